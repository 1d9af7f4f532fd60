//! Strings: lookup tables, constants, and what is compared with these.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::value::{Texts, Val};
use super::{inputs, one};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{
    Binary, BinaryFunction, Cast, DType, Dim, HashFunction, IndexToString, ReduceFunction, StringFunction, StringHash,
    StringMap, StringToIndex, Tensor, Unary, UnaryFunction, ValueId,
};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::rc::Rc;

type Out = Result<Vec<Val>, Diag>;

pub fn table<'a>(_interp: &mut Interp<'a>, node: &Node<'a>, _vals: &[Val]) -> Out {
    Ok(vec![Val::Table(node.name.into())])
}

/// Keys or values of a table.
enum Column {
    Texts(Vec<String>),
    Numbers(Vec<i64>),
}

impl Column {
    fn of(json: Option<&Json>) -> Option<Column> {
        let items = json?.as_array()?;
        let numbers: Option<Vec<i64>> = items.iter().map(Json::as_i64).collect();
        let texts = || items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>();
        match numbers {
            Some(numbers) => Some(Column::Numbers(numbers)),
            None => texts().map(Column::Texts),
        }
    }
}

/// The columns of the table that an input is.
fn columns(interp: &Interp<'_>, node: &Node<'_>, val: &Val) -> Result<(Column, Column), Diag> {
    let Val::Table(name) = val else { return Err(node.bad("its first input is no table")) };
    let unknown = || {
        let detail = format!("{}: nothing known fills the table '{name}' with constants or a text file", node.op);
        Diag::new(Code::UnsupportedLayer, node.name, detail)
            .hint("save the model with a StaticHashTable (tf.lookup), which is filled when the model is loaded")
    };
    let table = interp.tables.get(&**name).ok_or_else(unknown)?;
    let column = |key: &str| Column::of(table.get(key));
    column("keys").zip(column("values")).ok_or_else(|| node.bad(format!("the table '{name}' is no table")))
}

pub fn size<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [table] = inputs(node, vals)?;
    let (keys, _) = columns(interp, node, table)?;
    let count = match keys {
        Column::Texts(texts) => texts.len(),
        Column::Numbers(numbers) => numbers.len(),
    };
    Ok(vec![super::source::scalar(DType::I64, count as f64)])
}

pub fn find<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [table, x, default] = inputs(node, vals)?;
    let (keys, values) = columns(interp, node, table)?;
    let dtype = interp.dtype_of(default).ok_or_else(|| node.bad("a default that is no tensor"))?;
    let x = interp.value(node, x)?;
    match (keys, values, default) {
        (Column::Texts(keys), Column::Numbers(values), default) => {
            let fallback = interp.known(node, std::slice::from_ref(default), 0, "default")?;
            let [fallback] = fallback[..] else { return Err(node.bad("more than one default")) };
            let found = interp.add(node, StringToIndex { keys, values, fallback }, &[x])?;
            let found = if dtype == DType::I64 { found } else { interp.add(node, Cast { to: dtype }, &[found])? };
            one(interp, found)
        }
        (Column::Numbers(keys), Column::Texts(values), Val::Texts(fallback)) => {
            let [fallback] = &fallback.items[..] else { return Err(node.bad("more than one default")) };
            let x = as_i64(interp, node, x)?;
            let found = interp.add(node, IndexToString { keys, values, fallback: fallback.clone() }, &[x])?;
            one(interp, found)
        }
        (Column::Texts(keys), Column::Texts(values), Val::Texts(fallback)) => {
            let [fallback] = &fallback.items[..] else { return Err(node.bad("more than one default")) };
            let places: Vec<i64> = (0..keys.len() as i64).collect();
            let place = StringToIndex { keys, values: places.clone(), fallback: -1 };
            let place = interp.add(node, place, &[x])?;
            let back = IndexToString { keys: places, values, fallback: fallback.clone() };
            let found = interp.add(node, back, &[place])?;
            one(interp, found)
        }
        (Column::Numbers(keys), Column::Numbers(values), default) => {
            let fallback = interp.known(node, std::slice::from_ref(default), 0, "default")?;
            let [fallback] = fallback[..] else { return Err(node.bad("more than one default")) };
            let x = as_i64(interp, node, x)?;
            let found = number_of(interp, node, x, (&keys, &values), fallback)?;
            let found = if dtype == DType::I64 { found } else { interp.add(node, Cast { to: dtype }, &[found])? };
            one(interp, found)
        }
        (_, Column::Texts(_), _) => Err(node.bad("a table of strings with a default that is none")),
    }
}

/// Integer keys compared in one go with all elements of the input.
const COMPARED_MAX: usize = 100_000;

/// The number beside each of x (i64): the sum, over the keys that are equal to it, of what is beside them.
fn number_of(
    interp: &mut Interp<'_>,
    node: &Node<'_>,
    x: ValueId,
    (keys, values): (&[i64], &[i64]),
    fallback: i64,
) -> Result<ValueId, Diag> {
    if keys.is_empty() || keys.len() > COMPARED_MAX {
        return Err(node.unsupported(format!("a table of {} numbers (1 to {COMPARED_MAX})", keys.len())));
    }
    let size = [keys.len() as u64];
    let beyond: Option<Vec<i64>> = values.iter().map(|value| value.checked_sub(fallback)).collect();
    let beyond = beyond.ok_or_else(|| node.unsupported("numbers too far apart"))?;
    let mut wide = interp.shape(x);
    wide.push(Dim::Known(1));
    let last = wide.len() - 1;
    let graph = interp.graph();
    let x = graph.reshape(node.name, x, wide)?;
    let keys = graph.constant(node.name, Tensor::from_i64(&size, keys))?;
    let beyond = graph.constant(node.name, Tensor::from_i64(&size, &beyond))?;
    let equal = graph.binary(node.name, BinaryFunction::Equal, x, keys)?;
    let equal = graph.cast(node.name, equal, DType::I64)?;
    let placed = graph.binary(node.name, BinaryFunction::Mul, equal, beyond)?;
    let sum = graph.reduce(node.name, ReduceFunction::Sum, placed, &[last], false)?;
    graph.binary_scalar(node.name, BinaryFunction::Add, sum, fallback as f64)
}

/// Whole numbers in decimals.
pub fn as_string<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let plain = node.int("precision", -1)? == -1 && node.int("width", -1)? == -1 && node.text("fill", "")?.is_empty();
    if !plain || !interp.dtype_of(x).is_some_and(DType::is_int) {
        return Err(node.unsupported("writes other numbers than whole ones, or in columns"));
    }
    let x = interp.value(node, x)?;
    let text = interp.add(node, Cast { to: DType::Str }, &[x])?;
    one(interp, text)
}

pub fn lower<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    if !node.text("encoding", "")?.is_empty() {
        return Err(node.unsupported("small letters beyond those of ASCII"));
    }
    let x = interp.value(node, x)?;
    let text = interp.add(node, StringMap { function: StringFunction::Lower }, &[x])?;
    one(interp, text)
}

/// How TensorFlow and Keras write that it is one of ASCII's signs.
const PUNCTUATION: [&str; 2] = ["[[:punct:]]", r##"[!"#$%&()\*\+,-\./:;<=>?@\[\\\]^_`{|}~\']"##];

pub fn regex<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let pattern = node.text("pattern", "")?;
    let strips = node.text("rewrite", "")?.is_empty() && node.flag("replace_global", true)?;
    if !strips || !PUNCTUATION.contains(&pattern.as_str()) {
        return Err(node.unsupported(format!("the regular expression {pattern:?}")));
    }
    let x = interp.value(node, x)?;
    let text = interp.add(node, StringMap { function: StringFunction::StripPunctuation }, &[x])?;
    one(interp, text)
}

fn buckets(node: &Node<'_>) -> Result<u64, Diag> {
    u64::try_from(node.int("num_buckets", 0)?).ok().filter(|&n| n > 0).ok_or_else(|| node.unsupported("no buckets"))
}

pub fn hash<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let x = interp.value(node, x)?;
    let (function, key) = match node.op {
        "StringToHashBucketStrong" => {
            (HashFunction::SipHash, node.ints("key")?.into_iter().map(|number| number as u64).collect())
        }
        _ => (HashFunction::Fingerprint64, Vec::new()),
    };
    let bucket = interp.add(node, StringHash { function, key, buckets: buckets(node)? }, &[x])?;
    one(interp, bucket)
}

/// Columns of one, each row crossed: places and shape of what comes out are those of a column.
pub fn cross<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let columns = super::values(interp, node, vals)?;
    let narrow = columns.iter().all(|&column| {
        let shape = interp.shape(column);
        shape.len() == 2 && shape[1].is_one()
    });
    if !narrow || node.int("N", 0)? != 0 || !node.flag("hashed_output", false)? {
        return Err(node.unsupported("crosses something else than columns of one feature, or hashes nothing"));
    }
    let key = vec![node.int("hash_key", 0)? as u64];
    let op = StringHash { function: HashFunction::Cross, key, buckets: buckets(node)? };
    let column = interp.add(node, op, &columns)?;
    let rows = interp.shape(column)[..1].to_vec();
    let flat = interp.graph().reshape(node.name, column, rows)?;
    let filled = Val::Filled(Rc::new(interp.val(column)));
    Ok(vec![filled.clone(), interp.val(flat), filled])
}

pub fn sparse_to_dense<'a>(_interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [places, shape, values, _] = inputs(node, vals)?;
    match (places, shape, values) {
        (Val::Filled(dense), Val::Filled(_), Val::Tensor { .. }) => Ok(vec![(**dense).clone()]),
        _ => Err(node.unsupported("fills places that are computed from data")),
    }
}

fn as_i64(interp: &mut Interp<'_>, node: &Node<'_>, x: ValueId) -> Result<ValueId, Diag> {
    if interp.ty(x).dtype == DType::I64 { Ok(x) } else { interp.add(node, Cast { to: DType::I64 }, &[x]) }
}

/// Strings in the graph: the graph holds no tensors of them, so they are looked up by their place.
pub fn constant(interp: &mut Interp<'_>, node: &Node<'_>, texts: &Texts) -> Result<ValueId, Diag> {
    let places: Vec<i64> = (0..texts.items.len() as i64).collect();
    let tensor = Tensor::from_i64(&texts.shape, &places);
    let places = interp.graph().constant(node.name, tensor)?;
    interp.add(node, by_place(texts), &[places])
}

fn by_place(texts: &Texts) -> IndexToString {
    let keys = (0..texts.items.len() as i64).collect();
    IndexToString { keys, values: texts.items.clone(), fallback: String::new() }
}

/// One of a list of known strings for each index: names of classes, say. None where it is something else.
pub fn picked(interp: &mut Interp<'_>, node: &Node<'_>, from: &Val, indices: &Val) -> Result<Option<ValueId>, Diag> {
    let Val::Texts(texts) = from else { return Ok(None) };
    if texts.shape.len() != 1 {
        return Ok(None);
    }
    let indices = interp.value(node, indices)?;
    let indices = as_i64(interp, node, indices)?;
    interp.add(node, by_place(texts), &[indices]).map(Some)
}

/// Strings equal to known ones: both as places in a list of these. None where neither is known, or neither a string.
pub fn equal(interp: &mut Interp<'_>, node: &Node<'_>, a: &Val, b: &Val, negated: bool) -> Result<Option<Val>, Diag> {
    let (x, texts) = match (a, b) {
        (x, Val::Texts(texts)) | (Val::Texts(texts), x) => (x, texts),
        _ => return Ok(None),
    };
    let mut places: HashMap<&str, i64> = HashMap::new();
    let mut keys = Vec::new();
    for text in &texts.items {
        places.entry(text).or_insert_with(|| {
            keys.push(text.clone());
            keys.len() as i64 - 1
        });
    }
    let known: Vec<i64> = texts.items.iter().map(|text| places[text.as_str()]).collect();
    let x = interp.value(node, x)?;
    let values = (0..keys.len() as i64).collect();
    let found = interp.add(node, StringToIndex { keys, values, fallback: -1 }, &[x])?;
    let known = interp.graph().constant(node.name, Tensor::from_i64(&texts.shape, &known))?;
    let mut same = interp.add(node, Binary { function: BinaryFunction::Equal }, &[found, known])?;
    if negated {
        same = interp.add(node, Unary { function: UnaryFunction::Not }, &[same])?;
    }
    Ok(Some(interp.val(same)))
}
