//! TextVectorization, Hashing and HashedCrossing: texts and whole numbers as indices.

use crate::lookup::words_of_texts;
use crate::policy::{compute_dtype, one};
use crate::preprocess::{Encoding, encoded};
use crate::table::{Masks, Row};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{
    BinaryFunction, DType, Dim, HashFunction, Pad, PadMode, SplitFunction, StringFunction, StringHash, StringMap,
    StringSplit, StringToIndex, Tensor, ValueId, Where,
};
use recast_plugin_api::lower::{Lowering, Val};
use serde_json::Value as Json;

/// Classes whose recordings are models of their own (`tests/fixtures/text`).
const TEXT: &str = "text";

pub const ROWS: &[Row] = &[
    Row::new("HashedCrossing", TEXT, Masks::Drop, hashed_crossing, "int, one_hot; ONNX has no such hash").raw(),
    Row::new(
        "Hashing",
        TEXT,
        Masks::Drop,
        hashing,
        "int, one_hot, multi_hot, count; with and without salt; ONNX has no such hash",
    )
    .raw(),
    Row::new(
        "TextVectorization",
        TEXT,
        Masks::Drop,
        text_vectorization,
        "all of Keras' own ways to standardize, split and count, ngrams; no functions of a user's own, nothing ragged",
    )
    .raw(),
];

type Outcome = Result<Vec<Val>, Findings>;

/// With what TensorFlow begins to join fingerprints, unless it is told otherwise.
const CROSS_KEY: u64 = 0xdecafcaffe;

fn is_dense(l: &Lowering<'_>) -> Result<(), Diag> {
    for key in ["sparse", "ragged"] {
        if l.config.bool_or(key, false)? {
            return Err(l.unsupported(format!("{key} outputs; set {key}=False")));
        }
    }
    Ok(())
}

/// A key of two numbers, or of one twice; none where it is null.
pub fn salt(l: &Lowering<'_>) -> Result<Option<Vec<u64>>, Diag> {
    let number = |json: &Json| json.as_i64().map(|number| number as u64);
    let found = match l.config.get("salt") {
        None => return Ok(None),
        Some(Json::Array(items)) => items.iter().map(number).collect::<Option<Vec<u64>>>().filter(|key| key.len() == 2),
        Some(one) => number(one).map(|salt| vec![salt, salt]),
    };
    found.map(Some).ok_or_else(|| l.config.bad("salt", "a whole number, or two"))
}

/// The bucket of each string, or of each number as it is written in decimals.
pub fn bucket(l: &mut Lowering<'_>, x: ValueId, buckets: u64, salt: Option<Vec<u64>>) -> Result<ValueId, Diag> {
    let x = match l.ty(x).dtype {
        DType::Str => x,
        _ => {
            let whole = l.cast(x, DType::I64)?;
            l.cast(whole, DType::Str)?
        }
    };
    let function = if salt.is_some() { HashFunction::SipHash } else { HashFunction::Fingerprint64 };
    l.add(StringHash { function, key: salt.unwrap_or_default(), buckets }, &[x])
}

/// Indices, or vectors of them, in the layer's dtype.
fn in_mode(l: &mut Lowering<'_>, indices: ValueId, depth: u64) -> Result<ValueId, Diag> {
    let mode = l.config.str_or("output_mode", "int")?.to_owned();
    let own = l.config.get("dtype").is_some();
    let dtype = compute_dtype(l)?;
    if mode == "int" {
        let to = if own && dtype.is_int() { dtype } else { DType::I64 };
        return l.cast(indices, to);
    }
    encoded(l, indices, &mode, Encoding { depth, dtype, weights: None })
}

fn hashing(l: &mut Lowering<'_>) -> Outcome {
    is_dense(l)?;
    let x = l.input()?.value;
    let bins = l.config.u64("num_bins")?;
    let salt = salt(l)?;
    let mask = l.config.get("mask_value").cloned().filter(|_| bins > 1);
    let mut y = bucket(l, x, if mask.is_some() { bins - 1 } else { bins }, salt)?;
    if let Some(mask) = mask {
        let is_mask = equals(l, x, &mask)?;
        y = l.binary_scalar(BinaryFunction::Add, y, 1.0)?;
        let zero = l.constant(Tensor::from_i64(&[], &[0]))?;
        y = l.add(Where {}, &[is_mask, zero, y])?;
    }
    Ok(one(in_mode(l, y, bins)?))
}

/// Where `x` is this word, or this number.
fn equals(l: &mut Lowering<'_>, x: ValueId, value: &Json) -> Result<ValueId, Diag> {
    let wrong = |l: &Lowering<'_>| l.config.bad("mask_value", "of the kind of its inputs");
    if l.ty(x).dtype == DType::Str {
        let word = value.as_str().ok_or_else(|| wrong(l))?.to_owned();
        let found = l.add(StringToIndex { keys: vec![word], values: vec![1], fallback: 0 }, &[x])?;
        return l.cast(found, DType::Bool);
    }
    let number = value.as_f64().ok_or_else(|| wrong(l))?;
    l.binary_scalar(BinaryFunction::Equal, x, number)
}

fn hashed_crossing(l: &mut Lowering<'_>) -> Outcome {
    is_dense(l)?;
    let bins = l.config.u64("num_bins")?;
    let mut features = Vec::new();
    for value in l.positional().iter().map(|val| val.value).collect::<Vec<_>>() {
        let dtype = l.ty(value).dtype;
        if dtype != DType::Str && !dtype.is_int() {
            return Err(l
                .unsupported(format!("an input of {}: it takes strings and whole numbers", l.ty(value)))
                .into());
        }
        features.push(if dtype == DType::Str { value } else { l.cast(value, DType::I64)? });
    }
    if features.len() < 2 {
        return Err(l.error(Code::BadConfig, "HashedCrossing of less than two inputs").into());
    }
    let cross = StringHash { function: HashFunction::Cross, key: vec![CROSS_KEY], buckets: bins };
    let y = l.add(cross, &features)?;
    Ok(one(in_mode(l, y, bins)?))
}

/// What the keys of a TextVectorization say about its texts.
struct Texts {
    standardize: &'static [StringFunction],
    split: Option<SplitFunction>,
    ngrams: Vec<u64>,
}

impl Texts {
    fn read(l: &Lowering<'_>) -> Result<Texts, Diag> {
        is_dense(l)?;
        let named = |key: &str, default: &'static str| match l.config.object().get(key) {
            None => Ok(Some(default)),
            Some(Json::Null) => Ok(None),
            Some(Json::String(name)) => Ok(Some(name.as_str())),
            Some(_) => Err(l.unsupported(format!("`{key}` is a function of a user's own"))),
        };
        use StringFunction::{Lower, StripPunctuation};
        let standardize: &'static [StringFunction] = match named("standardize", "lower_and_strip_punctuation")? {
            None => &[],
            Some("lower") => &[Lower],
            Some("strip_punctuation") => &[StripPunctuation],
            Some("lower_and_strip_punctuation") => &[Lower, StripPunctuation],
            Some(own) => return Err(l.unsupported(format!("`standardize` is '{own}', a function of a user's own"))),
        };
        let split = match named("split", "whitespace")? {
            None => None,
            Some("whitespace") => Some(SplitFunction::Whitespace),
            Some("character") => Some(SplitFunction::Characters),
            Some(own) => return Err(l.unsupported(format!("`split` is '{own}', a function of a user's own"))),
        };
        let encoding = l.config.str_or("encoding", "utf-8")?;
        if !encoding.eq_ignore_ascii_case("utf-8") {
            return Err(l.unsupported(format!("the encoding '{encoding}'; texts are UTF-8")));
        }
        let ngrams = match l.config.get("ngrams") {
            None => vec![1],
            Some(Json::Array(items)) => items
                .iter()
                .map(Json::as_u64)
                .collect::<Option<Vec<u64>>>()
                .ok_or_else(|| l.config.bad("ngrams", "a whole number, or several"))?,
            Some(_) => (1..=l.config.u64("ngrams")?).collect(),
        };
        if split.is_none() && ngrams != [1] {
            return Err(l.unsupported("ngrams of texts that are not split"));
        }
        Ok(Texts { standardize, split, ngrams })
    }
}

fn text_vectorization(l: &mut Lowering<'_>) -> Outcome {
    let Texts { standardize, split, ngrams } = Texts::read(l)?;
    let mut x = l.input()?.value;
    if l.ty(x).dtype != DType::Str {
        return Err(l.unsupported(format!("an input of {}, which are no strings", l.ty(x))).into());
    }
    for &function in standardize {
        x = l.add(StringMap { function }, &[x])?;
    }
    if let Some(by) = split {
        if l.rank(x) > 1 {
            x = l.squeeze(x, l.rank(x) - 1)?;
        }
        x = l.add(StringSplit { by, ngrams, words: Dim::symbol("words") }, &[x])?;
        if l.config.str_or("output_mode", "int")? == "one_hot" {
            return Err(l.unsupported("output_mode 'one_hot' of words").into());
        }
    }
    // An array of a Keras layer inside, stored a second time.
    ["idf_weights", "vars/idf_weights"].iter().for_each(|role| l.ignore(&format!("_lookup_layer/{role}")));
    let y = words_of_texts(l, x)?;
    let length = match l.config.get("output_sequence_length") {
        Some(_) if l.config.str_or("output_mode", "int")? == "int" => l.config.u64("output_sequence_length")?,
        _ => return Ok(one(y)),
    };
    let last = l.rank(y) - 1;
    let mut padding = vec![(0, 0); l.rank(y)];
    padding[last] = (0, length);
    let padded = l.add(Pad { padding, mode: PadMode::Constant }, &[y])?;
    Ok(one(l.slice(padded, last, Dim::Known(0), Dim::Known(length))?))
}
