//! Picking elements: `x[..]`, gathers, one-hot.

use super::args::{
    Operand, axes, axis, dtype, dtype_of, integer, integers, is_tf, number, operand, opt_operand, place,
};
use super::args::{setting, tensor};
use super::reduce::flat;
use super::{Outcome, unless};
use crate::policy::one;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{
    BinaryFunction as B, DType, Dim, DimSize, Gather, GatherElements, OneHot, Reverse, ValueId, Where,
};
use recast_plugin_api::lower::Lowering;
use recast_plugin_api::model::ArgKind;
use serde_json::Value as Json;

/// One of the things between the brackets of `x[..]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Index {
    At(i64),
    Range {
        start: Option<i64>,
        stop: Option<i64>,
        step: i64,
    },
    /// A new axis of size one.
    New,
    Ellipsis,
}

/// One element between the brackets; `None` for what is no index that a file can hold.
fn index(json: &Json) -> Option<Index> {
    match json {
        Json::Null => Some(Index::New),
        Json::Number(number) => number.as_i64().map(Index::At),
        Json::Object(object) => {
            if json.get("class_name").and_then(Json::as_str) == Some("__ellipsis__") {
                return Some(Index::Ellipsis);
            }
            // Keras 3 tags slices, Keras 2 does not.
            let object = object.get("config").and_then(Json::as_object).unwrap_or(object);
            let bound = |key: &str| match object.get(key) {
                None | Some(Json::Null) => Some(None),
                Some(value) => value.as_i64().map(Some),
            };
            let whole = object.contains_key("start") || object.contains_key("stop");
            let step = bound("step")?.unwrap_or(1);
            (whole && step != 0).then_some(Index::Range { start: bound("start")?, stop: bound("stop")?, step })
        }
        _ => None,
    }
}

fn indices(l: &Lowering<'_>) -> Result<Vec<Index>, Diag> {
    let kind = l.argument(1, if is_tf(l) { "slice_spec" } else { "key" });
    let Some(ArgKind::Json(text)) = kind else { return Err(l.unsupported("an index that the model computes")) };
    let json: Json = serde_json::from_str(text).map_err(|e| l.error(Code::BadConfig, format!("the index: {e}")))?;
    let items = match &json {
        Json::Array(items) => items.as_slice(),
        tagged if tagged.get("items").is_some() => tagged["items"].as_array().map_or(&[][..], Vec::as_slice),
        one => std::slice::from_ref(one),
    };
    let one = |item: &Json| index(item).ok_or_else(|| l.unsupported(format!("the index {item}")));
    items.iter().map(one).collect()
}

/// x[indices], as numpy's basic indexing.
pub fn get_item(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let indices = indices(l)?;
    picked(l, x, indices).map(one).map_err(Into::into)
}

pub fn picked(l: &mut Lowering<'_>, mut x: ValueId, mut indices: Vec<Index>) -> Result<ValueId, Diag> {
    let taken = |indices: &[Index]| indices.iter().filter(|i| matches!(i, Index::At(_) | Index::Range { .. })).count();
    let rank = l.rank(x);
    let free = rank.checked_sub(taken(&indices)).ok_or_else(|| l.unsupported("more indices than axes"))?;
    let whole = Index::Range { start: None, stop: None, step: 1 };
    if let Some(at) = indices.iter().position(|index| *index == Index::Ellipsis) {
        indices.splice(at..=at, std::iter::repeat_n(whole, free));
    }
    let mut axis = 0;
    for index in indices {
        match index {
            Index::At(at) => {
                let start = position(l, x, axis, at)?;
                let stop = start.plus(&Dim::Known(1));
                x = l.slice(x, axis, start, stop)?;
                x = l.squeeze(x, axis)?;
            }
            Index::Range { start, stop, step } => {
                x = range(l, x, axis, start, stop, step)?;
                axis += 1;
            }
            Index::New => {
                x = l.expand(x, axis)?;
                axis += 1;
            }
            Index::Ellipsis => return Err(l.unsupported("two ellipses")),
        }
    }
    Ok(x)
}

/// Where an index points, negative ones counted from the end.
fn position(l: &Lowering<'_>, x: ValueId, axis: usize, at: i64) -> Result<Dim, Diag> {
    let size = l.shape(x)[axis].clone();
    let found = if at < 0 { size.offset(at) } else { Some(Dim::Known(at as u64)) };
    let inside = |dim: &Dim| dim.known().zip(size.known()).is_none_or(|(at, size)| at < size);
    found.filter(inside).ok_or_else(|| l.error(Code::BadConfig, format!("index {at} of {}", l.ty(x))))
}

fn range(
    l: &mut Lowering<'_>,
    x: ValueId,
    axis: usize,
    start: Option<i64>,
    stop: Option<i64>,
    step: i64,
) -> Result<ValueId, Diag> {
    let size = l.shape(x)[axis].clone();
    if step > 0 {
        let start = bound(&size, start.unwrap_or(0));
        let stop = stop.map_or(size.clone(), |stop| bound(&size, stop));
        let start = if stop.minus(&start).is_none() { stop.clone() } else { start };
        return l.strided(x, axis, (start, stop), step.unsigned_abs());
    }
    let reversed = l.add(Reverse { axes: vec![axis] }, &[x])?;
    let (start, stop) = match (size.known(), start, stop) {
        (_, None, None) => (Dim::Known(0), size),
        (Some(size), start, stop) => {
            // Seen from the other end, where index i is size - 1 - i.
            let size = size as i64;
            let seen = |at: i64| (size - 1 - if at < 0 { at + size } else { at }).clamp(0, size) as u64;
            let (start, stop) = (start.map_or(0, seen), stop.map_or(size as u64, seen));
            (Dim::Known(start.min(stop)), Dim::Known(stop))
        }
        (None, ..) => return Err(l.unsupported("a backward range of an axis whose size is not known")),
    };
    l.strided(reversed, axis, (start, stop), step.unsigned_abs())
}

/// A bound of a range: negative ones counted from the end, and none beyond the ends.
fn bound(size: &Dim, at: i64) -> Dim {
    let at = if at < 0 { size.offset(at).unwrap_or(Dim::Known(0)) } else { Dim::Known(at as u64) };
    match (at.known(), size.known()) {
        (Some(at), Some(size)) => Dim::Known(at.min(size)),
        _ => at,
    }
}

/// A window: where it starts and how large it is.
pub fn slice(l: &mut Lowering<'_>) -> Outcome {
    let first = operand(l, 0, &["inputs", "input_"])?;
    let dtype = dtype_of(l, &first);
    let mut x = place(l, &first, dtype)?;
    let starts = match opt_operand(l, 1, &["start_indices", "begin"])? {
        Some(Operand::Constant(Json::Array(items), _)) => items.iter().map(Json::as_u64).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let starts = starts.ok_or_else(|| l.unsupported("a start that the model computes"))?;
    let sizes = integers(l, if is_tf(l) { &["size"] } else { &["shape"] })?.unwrap_or_default();
    unless(l, starts.len() != l.rank(x) || sizes.len() != l.rank(x), "as many starts and sizes as axes")?;
    for (axis, (start, size)) in starts.into_iter().zip(sizes).enumerate() {
        let stop = match u64::try_from(size) {
            Ok(size) => Dim::Known(start + size),
            Err(_) => l.shape(x)[axis].clone(),
        };
        x = l.slice(x, axis, Dim::Known(start), stop)?;
    }
    Ok(one(x))
}

/// Indices into `axis` as the IR wants them: whole numbers from zero on.
fn positions(l: &mut Lowering<'_>, operand: &Operand, x: ValueId, axis: usize) -> Result<ValueId, Diag> {
    let to = if dtype_of(l, operand) == DType::I64 { DType::I64 } else { DType::I32 };
    let indices = place(l, operand, to)?;
    // TensorFlow has no negative indices.
    if is_tf(l) {
        return Ok(indices);
    }
    let negative = l.binary_scalar(B::Less, indices, 0.0)?;
    let size = match l.shape(x)[axis].clone() {
        Dim::Known(size) => l.scalar_like(indices, size as f64)?,
        dim => {
            let size = l.add(DimSize { dim }, &[])?;
            l.cast(size, to)?
        }
    };
    let from_end = l.binary(B::Add, indices, size)?;
    l.add(Where {}, &[negative, from_end, indices])
}

pub fn take(l: &mut Lowering<'_>) -> Outcome {
    let first = operand(l, 0, &["x", "params"])?;
    let own = dtype_of(l, &first);
    let mut x = place(l, &first, own)?;
    let at = operand(l, 1, &["indices"])?;
    unless(l, integer(l, &["batch_dims"])?.unwrap_or(0) != 0, "batch_dims")?;
    if setting(l, &["axis"])?.is_none() && !is_tf(l) {
        x = flat(l, x)?;
    }
    let axis = axis(l, &["axis"], l.rank(x), 0)?;
    let indices = constant_positions(l, &at, x, axis).unwrap_or(at);
    let indices = positions_or_plain(l, &indices, x, axis)?;
    Ok(one(l.add(Gather { axis }, &[x, indices])?))
}

/// Constant indices counted from the start, so that nothing is left to do when the model runs.
fn constant_positions(l: &Lowering<'_>, operand: &Operand, x: ValueId, axis: usize) -> Option<Operand> {
    let Operand::Constant(json, _) = operand else { return None };
    let size = l.shape(x)[axis].known();
    Some(Operand::Constant(from_start(json, size)?, Some(DType::I64)))
}

fn from_start(json: &Json, size: Option<u64>) -> Option<Json> {
    match json {
        Json::Array(items) => items.iter().map(|item| from_start(item, size)).collect::<Option<_>>().map(Json::Array),
        one => {
            let at = one.as_i64()?;
            Some(Json::from(if at < 0 { at + i64::try_from(size?).ok()? } else { at }))
        }
    }
}

fn positions_or_plain(l: &mut Lowering<'_>, operand: &Operand, x: ValueId, axis: usize) -> Result<ValueId, Diag> {
    match operand {
        Operand::Constant(_, Some(DType::I64)) => place(l, operand, DType::I64),
        other => positions(l, other, x, axis),
    }
}

pub fn take_along_axis(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let at = operand(l, 1, &["indices"])?;
    let axis = axes(l, &["axis"], l.rank(x))?.and_then(|axes| axes.first().copied());
    let axis = axis.ok_or_else(|| l.unsupported("called without an axis"))?;
    let indices = positions(l, &at, x, axis)?;
    unless(l, l.rank(indices) != l.rank(x), "indices of another rank")?;
    Ok(one(l.add(GatherElements { axis }, &[x, indices])?))
}

pub fn one_hot(l: &mut Lowering<'_>) -> Outcome {
    let first = operand(l, 0, &["x", "indices"])?;
    let to = if dtype_of(l, &first) == DType::I64 { DType::I64 } else { DType::I32 };
    let x = place(l, &first, to)?;
    let depth = integer(l, &["num_classes", "depth"])?.and_then(|depth| u64::try_from(depth).ok());
    let depth = depth.ok_or_else(|| l.unsupported("called without a depth"))?;
    unless(
        l,
        number(l, &["on_value"], 1.0)? != 1.0 || number(l, &["off_value"], 0.0)? != 0.0,
        "values other than 0 and 1",
    )?;
    let dtype = dtype(l, &["dtype"])?.unwrap_or(DType::F32);
    let axis = axis(l, &["axis"], l.rank(x) + 1, -1)?;
    Ok(one(l.add(OneHot { depth, axis, dtype }, &[x])?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn indices_in_both_spellings() {
        let range = Index::Range { start: None, stop: Some(2), step: 1 };
        assert_eq!(index(&json!({"start": null, "stop": 2, "step": null})), Some(range.clone()));
        let tagged = json!({"class_name": "__slice__", "config": {"start": null, "stop": 2, "step": null}});
        assert_eq!(index(&tagged), Some(range));
        assert_eq!(index(&json!({"class_name": "__ellipsis__"})), Some(Index::Ellipsis));
        assert_eq!(index(&json!(true)), None);
    }
}
