//! What an operation is called with: tensors, constants of the file, and settings.
//!
//! | | operands | settings |
//! |---|---|---|
//! | Keras 3 operation | positional or by name | in the configuration, few by name |
//! | Keras 2 function | the first positional, the rest by TensorFlow's names | by TensorFlow's names |

use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{DType, Tensor, ValueId};
use recast_plugin_api::lower::{Lowering, resolve_axis};
use recast_plugin_api::model::{Arg, ArgKind};
use serde_json::Value as Json;

/// Whether this is a TensorFlow function (of a Keras 2 file) rather than a Keras 3 operation.
pub fn is_tf(l: &Lowering<'_>) -> bool {
    l.layer.class.starts_with("tf.")
}

/// A tensor of the model, or a constant of the file.
#[derive(Debug, Clone)]
pub enum Operand {
    Value(ValueId),
    /// The number or nested list, and the dtype where the file tells one.
    Constant(Json, Option<DType>),
}

/// What an operand has to say about the dtype of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Dtype(DType),
    /// A Python number: takes the dtype of what it meets.
    Int,
    Float,
}

fn constant(l: &Lowering<'_>, text: &str) -> Result<Option<Operand>, Diag> {
    let json: Json = serde_json::from_str(text).map_err(|e| l.error(Code::BadConfig, format!("an argument: {e}")))?;
    Ok(operand_of(json))
}

/// Numpy arrays and TensorFlow constants are tagged and say their dtype.
fn operand_of(json: Json) -> Option<Operand> {
    let config = json.get("class_name").and(json.get("config"));
    if let Some(value) = config.and_then(|config| config.get("value")) {
        let dtype = config.and_then(|config| config.get("dtype")).and_then(Json::as_str).and_then(DType::from_keras);
        return Some(Operand::Constant(value.clone(), dtype));
    }
    (!json.is_null()).then_some(Operand::Constant(json, None))
}

fn argument<'a>(l: &Lowering<'a>, place: usize, names: &[&str]) -> Option<&'a ArgKind> {
    let positional = l.request.args.get(place).and_then(|arg| arg.kind.as_ref());
    positional.or_else(|| names.iter().find_map(|name| l.kwarg(name)))
}

fn read(l: &Lowering<'_>, kind: &ArgKind) -> Result<Option<Operand>, Diag> {
    match kind {
        ArgKind::Value(value) => {
            let input = l.inputs().get(value.index as usize);
            let input = input.ok_or_else(|| l.error(Code::PluginMisbehaved, "an argument that is no input"))?;
            Ok(Some(Operand::Value(input.value)))
        }
        ArgKind::Json(text) => constant(l, text),
        ArgKind::List(list) if list.items.len() == 1 => {
            list.items[0].kind.as_ref().map_or(Ok(None), |kind| read(l, kind))
        }
        ArgKind::List(_) | ArgKind::Dict(_) => Err(l.unsupported("a list of tensors where one tensor is expected")),
    }
}

/// The operand in this place or under one of these names; `None` when it is absent or null.
pub fn opt_operand(l: &Lowering<'_>, place: usize, names: &[&str]) -> Result<Option<Operand>, Diag> {
    argument(l, place, names).map_or(Ok(None), |kind| read(l, kind))
}

pub fn operand(l: &Lowering<'_>, place: usize, names: &[&str]) -> Result<Operand, Diag> {
    // Keras 2 leaves out some constants when it saves: that of `x == 2`, the operands of `einsum`.
    opt_operand(l, place, names)?.ok_or_else(|| {
        l.unsupported(format!("the file does not say argument {} of the call ('{}')", place + 1, names.join("' or '")))
    })
}

/// A list of operands: the first argument, or the one under `name`.
pub fn operands(l: &Lowering<'_>, names: &[&str]) -> Result<Vec<Operand>, Diag> {
    let items: Vec<Operand> = match argument(l, 0, names) {
        Some(ArgKind::List(list)) => {
            let one = |item: &Arg| item.kind.as_ref().map_or(Ok(None), |kind| read(l, kind));
            let items: Vec<Option<Operand>> = list.items.iter().map(one).collect::<Result<_, _>>()?;
            items.into_iter().flatten().collect()
        }
        Some(kind) => read(l, kind)?.into_iter().collect(),
        None => Vec::new(),
    };
    if items.is_empty() { Err(l.unsupported("called without tensors")) } else { Ok(items) }
}

/// All positional arguments, one operand each.
pub fn positional(l: &Lowering<'_>) -> Result<Vec<Operand>, Diag> {
    (0..l.request.args.len()).map(|place| operand(l, place, &[])).collect()
}

/// The first argument as a tensor.
pub fn tensor(l: &mut Lowering<'_>) -> Result<ValueId, Diag> {
    let names = ["x", "input", "inputs", "features", "input_tensor", "tensor", "logits", "value", "images", "a", "t"];
    let operand = operand(l, 0, &names)?;
    let dtype = dtype_of(l, &operand);
    place(l, &operand, dtype)
}

/// The first argument as a float: everything else becomes f32.
pub fn float_tensor(l: &mut Lowering<'_>) -> Result<ValueId, Diag> {
    let x = tensor(l)?;
    as_float(l, x)
}

pub fn as_float(l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
    if l.ty(x).dtype.is_float() { Ok(x) } else { l.cast(x, DType::F32) }
}

/// The dtype that an operand has by itself.
pub fn dtype_of(l: &Lowering<'_>, operand: &Operand) -> DType {
    match says(l, operand) {
        Says::Dtype(dtype) => dtype,
        Says::Int => DType::I32,
        Says::Float => DType::F32,
    }
}

fn says(l: &Lowering<'_>, operand: &Operand) -> Says {
    match operand {
        Operand::Value(value) => Says::Dtype(l.ty(*value).dtype),
        Operand::Constant(_, Some(dtype)) => Says::Dtype(*dtype),
        Operand::Constant(json, None) => match (json, leaves(json)) {
            (Json::Bool(_), _) => Says::Dtype(DType::Bool),
            (Json::Array(_), Leaves::Bools) => Says::Dtype(DType::Bool),
            (Json::Array(_), Leaves::Ints) => Says::Dtype(DType::I32),
            (Json::Array(_), Leaves::Floats) => Says::Dtype(DType::F32),
            (_, Leaves::Floats) => Says::Float,
            (_, Leaves::Bools | Leaves::Ints) => Says::Int,
        },
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leaves {
    Bools,
    Ints,
    Floats,
}

/// The widest kind of number in a nested list.
fn leaves(json: &Json) -> Leaves {
    match json {
        Json::Array(items) => items.iter().map(leaves).max().unwrap_or(Leaves::Floats),
        Json::Bool(_) => Leaves::Bools,
        Json::Number(number) if number.is_i64() || number.is_u64() => Leaves::Ints,
        _ => Leaves::Floats,
    }
}

/// The dtype that these operands meet in. TensorFlow takes that of the tensors, Keras 3 promotes.
pub fn common(l: &Lowering<'_>, operands: &[&Operand]) -> DType {
    let of_value = |operand: &&&Operand| matches!(operand, Operand::Value(_));
    if is_tf(l)
        && let Some(value) = operands.iter().find(of_value)
    {
        return dtype_of(l, value);
    }
    let said: Vec<Says> = operands.iter().map(|operand| says(l, operand)).collect();
    let strong = said.iter().filter_map(|says| if let Says::Dtype(dtype) = says { Some(*dtype) } else { None });
    let strong = strong.reduce(promoted);
    let (float, int) = (said.contains(&Says::Float), said.contains(&Says::Int));
    match strong {
        Some(dtype) if dtype.is_float() => dtype,
        Some(_) if float => DType::F32,
        // TensorFlow's whole numbers are i64 for Keras.
        Some(DType::Bool) if int => DType::I64,
        Some(dtype) => dtype,
        None if float => DType::F32,
        None => DType::I32,
    }
}

/// Keras 3's promotion of two dtypes (the lattice of JAX): bool, whole numbers, floats; a whole number meets a float in
/// that float, and u64 meets a signed one in f32.
pub fn promoted(a: DType, b: DType) -> DType {
    let size = |dtype: DType| dtype.size();
    match (a, b) {
        _ if a == b => a,
        (DType::Bool, other) | (other, DType::Bool) => other,
        _ if a.is_float() && b.is_float() => match size(a).cmp(&size(b)) {
            std::cmp::Ordering::Less => b,
            std::cmp::Ordering::Greater => a,
            std::cmp::Ordering::Equal => DType::F32,
        },
        _ if a.is_float() => a,
        _ if b.is_float() => b,
        _ if a.is_signed() == b.is_signed() => {
            if size(a) < size(b) {
                b
            } else {
                a
            }
        }
        _ => {
            let (signed, unsigned) = if a.is_signed() { (a, b) } else { (b, a) };
            match size(signed).max(2 * size(unsigned)) {
                2 => DType::I16,
                4 => DType::I32,
                8 => DType::I64,
                _ => DType::F32,
            }
        }
    }
}

/// The operand as a value of this dtype.
pub fn place(l: &mut Lowering<'_>, operand: &Operand, dtype: DType) -> Result<ValueId, Diag> {
    match operand {
        Operand::Value(value) => l.cast(*value, dtype),
        Operand::Constant(json, _) => {
            let mut shape = Vec::new();
            let mut numbers = Vec::new();
            let fits = dtype != DType::Str && flatten(json, 0, &mut shape, &mut numbers);
            if !fits || shape.iter().product::<u64>() != numbers.len() as u64 {
                return Err(l.unsupported("an argument that is neither a tensor nor numbers"));
            }
            l.constant(Tensor::from_numbers(dtype, &shape, &numbers))
        }
    }
}

/// The numbers of a nested list in C order; the sizes are those along the first branch.
fn flatten(json: &Json, depth: usize, shape: &mut Vec<u64>, out: &mut Vec<f64>) -> bool {
    match json {
        Json::Array(items) => {
            if shape.len() == depth {
                shape.push(items.len() as u64);
            }
            shape[depth] == items.len() as u64 && items.iter().all(|item| flatten(item, depth + 1, shape, out))
        }
        _ => match json.as_f64().or(json.as_bool().map(f64::from)) {
            Some(number) => {
                out.push(number);
                shape.len() == depth
            }
            None => false,
        },
    }
}

/// Two operands in the dtype they meet in.
pub fn pair(l: &mut Lowering<'_>) -> Result<(ValueId, ValueId), Diag> {
    let (a, b) = both(l)?;
    let dtype = common(l, &[&a, &b]);
    Ok((place(l, &a, dtype)?, place(l, &b, dtype)?))
}

pub fn both(l: &Lowering<'_>) -> Result<(Operand, Operand), Diag> {
    let a = operand(l, 0, &["x1", "x", "a", "scalar", "self", "value"])?;
    Ok((a, operand(l, 1, &["x2", "y", "b", "x", "other", "bias"])?))
}

/// A setting under one of its names; `None` when it is absent or null.
pub fn setting(l: &Lowering<'_>, names: &[&str]) -> Result<Option<Json>, Diag> {
    for name in names {
        match l.kwarg(name) {
            Some(ArgKind::Json(_)) => match l.kwarg_json(name)? {
                Some(json) => return Ok(Some(plain(json))),
                None => continue,
            },
            Some(_) => return Err(l.unsupported(format!("'{name}' is computed by the model"))),
            // A Keras 2 function's configuration is that of the layer around it.
            None if is_tf(l) => {}
            None => {
                if let Some(json) = l.config.get(name) {
                    return Ok(Some(plain(json.clone())));
                }
            }
        }
    }
    Ok(None)
}

/// Without the tag of a tuple or an array.
fn plain(json: Json) -> Json {
    let inner = json.get("items").or_else(|| json.get("config")?.get("value"));
    match inner {
        Some(inner) if json.get("class_name").is_some() => inner.clone(),
        _ => json,
    }
}

fn bad(l: &Lowering<'_>, name: &str, want: &str, found: &Json) -> Diag {
    let found: String = found.to_string().chars().take(80).collect();
    l.error(Code::BadConfig, format!("'{name}' should be {want}, is {found}"))
}

pub fn flag(l: &Lowering<'_>, names: &[&str], default: bool) -> Result<bool, Diag> {
    let Some(json) = setting(l, names)? else { return Ok(default) };
    json.as_bool().or(json.as_i64().map(|n| n != 0)).ok_or_else(|| bad(l, names[0], "true or false", &json))
}

pub fn number(l: &Lowering<'_>, names: &[&str], default: f64) -> Result<f64, Diag> {
    let Some(json) = setting(l, names)? else { return Ok(default) };
    json.as_f64().ok_or_else(|| bad(l, names[0], "a number", &json))
}

pub fn text(l: &Lowering<'_>, names: &[&str], default: &str) -> Result<String, Diag> {
    let Some(json) = setting(l, names)? else { return Ok(default.into()) };
    json.as_str().map(String::from).ok_or_else(|| bad(l, names[0], "a text", &json))
}

/// A dtype setting.
pub fn dtype(l: &Lowering<'_>, names: &[&str]) -> Result<Option<DType>, Diag> {
    let Some(json) = setting(l, names)? else { return Ok(None) };
    let name = json.as_str().map(|name| name.trim_start_matches("tf."));
    if name.is_some_and(|name| name.starts_with("complex")) {
        return Err(l.unsupported("complex numbers, which no target has"));
    }
    name.and_then(DType::from_keras).map(Some).ok_or_else(|| bad(l, names[0], "a dtype", &json))
}

/// One whole number or a list of them.
pub fn integers(l: &Lowering<'_>, names: &[&str]) -> Result<Option<Vec<i64>>, Diag> {
    let Some(json) = setting(l, names)? else { return Ok(None) };
    let items = match &json {
        Json::Array(items) => items.iter().map(Json::as_i64).collect(),
        one => one.as_i64().map(|one| vec![one]),
    };
    items.map(Some).ok_or_else(|| bad(l, names[0], "whole numbers", &json))
}

pub fn integer(l: &Lowering<'_>, names: &[&str]) -> Result<Option<i64>, Diag> {
    match integers(l, names)?.as_deref() {
        None => Ok(None),
        Some([one]) => Ok(Some(*one)),
        Some(_) => Err(l.error(Code::BadConfig, format!("'{}' should be one whole number", names[0]))),
    }
}

/// Axes in the order given, negative ones counted from the end of `rank`.
pub fn axes(l: &Lowering<'_>, names: &[&str], rank: usize) -> Result<Option<Vec<usize>>, Diag> {
    let Some(items) = integers(l, names)? else { return Ok(None) };
    let one = |&axis: &i64| {
        let detail = || l.error(Code::BadConfig, format!("'{}': axis {axis} of rank {rank}", names[0]));
        resolve_axis(axis, rank).ok_or_else(detail)
    };
    items.iter().map(one).collect::<Result<_, _>>().map(Some)
}

pub fn axis(l: &Lowering<'_>, names: &[&str], rank: usize, default: i64) -> Result<usize, Diag> {
    let wrong = || l.error(Code::BadConfig, format!("'{}' should be one axis of rank {rank}", names[0]));
    match axes(l, names, rank)?.as_deref() {
        Some([axis]) => Ok(*axis),
        Some(_) => Err(wrong()),
        None => resolve_axis(default, rank).ok_or_else(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dtypes_meet_as_in_keras() {
        assert_eq!(promoted(DType::Bool, DType::I8), DType::I8);
        assert_eq!(promoted(DType::I64, DType::F16), DType::F16);
        assert_eq!(promoted(DType::BF16, DType::F16), DType::F32);
        assert_eq!(promoted(DType::U8, DType::I8), DType::I16);
        assert_eq!(promoted(DType::U32, DType::I8), DType::I64);
        assert_eq!(promoted(DType::I16, DType::I64), DType::I64);
    }
}
