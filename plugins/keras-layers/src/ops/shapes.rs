//! Operations that move elements and compute none.

use super::args::{axes, axis, common, flag, integer, integers, is_tf, number, operands, place, setting, tensor, text};
use super::reduce::flat;
use super::{Outcome, unless, word};
use crate::policy::one;
use crate::resample::{cropped_to_aspect, padded_to_aspect, resized};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::types::element_count;
use recast_plugin_api::ir::{
    BroadcastTo, Concat, DType, Dim, DimSize, Gather, Pad, PadMode, Reverse, Tensor, Tile, Triangle, ValueId,
};
use recast_plugin_api::lower::{Lowering, Val, resolve_axis};
use recast_plugin_api::model::ArgKind;
use serde_json::Value as Json;

/// One size of a shape that the file gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Known(u64),
    /// Unknown when the model was built: the input's own where several are open.
    Null,
    /// -1, or a tensor: what the number of elements leaves.
    Open,
}

/// A shape setting; a list may hold tensors.
fn sizes(l: &Lowering<'_>, names: &[&str]) -> Result<Vec<Size>, Diag> {
    let read = |json: &Json| match json.as_i64() {
        Some(size) if size >= 0 => Ok(Size::Known(size as u64)),
        Some(-1) => Ok(Size::Open),
        _ if json.is_null() => Ok(Size::Null),
        _ => Err(l.unsupported(format!("a shape with {json}"))),
    };
    for name in names {
        if let Some(ArgKind::List(list)) = l.kwarg(name) {
            let one = |kind: Option<&ArgKind>| match kind {
                Some(ArgKind::Json(text)) => read(&serde_json::from_str(text).unwrap_or(Json::String(text.clone()))),
                _ => Ok(Size::Open),
            };
            return list.items.iter().map(|item| one(item.kind.as_ref())).collect();
        }
    }
    match setting(l, names)? {
        Some(Json::Array(items)) => items.iter().map(read).collect(),
        Some(one) => Ok(vec![read(&one)?]),
        None => Err(l.unsupported("called without a shape")),
    }
}

/// The new shape of `x`: one size that is open follows from the number of elements.
fn resolve(l: &Lowering<'_>, x: ValueId, sizes: &[Size]) -> Result<Vec<Dim>, Diag> {
    let from = l.shape(x);
    let open = sizes.iter().filter(|size| !matches!(size, Size::Known(_))).count();
    let known = |(at, size): (usize, &Size)| match size {
        Size::Known(size) => Some(Dim::Known(*size)),
        Size::Null if open > 1 => from.get(at).cloned(),
        Size::Null | Size::Open => None,
    };
    let dims: Vec<Option<Dim>> = sizes.iter().enumerate().map(known).collect();
    let rest = dims.iter().flatten().fold(Dim::Known(1), |product, dim| product.times(dim));
    let missing = dims.iter().filter(|dim| dim.is_none()).count();
    if missing > 1 {
        return Err(l.unsupported("a shape with several sizes that are only known when the model runs"));
    }
    let left = if missing == 1 { element_count(&from).exact_div(&rest) } else { Some(Dim::Known(1)) };
    let left = left.ok_or_else(|| l.unsupported(format!("{} does not divide into the new shape", l.ty(x))))?;
    Ok(dims.into_iter().map(|dim| dim.unwrap_or_else(|| left.clone())).collect())
}

pub fn reshape(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    if word(l) == "Ravel" {
        return Ok(one(flat(l, x)?));
    }
    let sizes = sizes(l, &["newshape", "shape"])?;
    let shape = resolve(l, x, &sizes)?;
    Ok(one(l.reshape(x, shape)?))
}

pub fn transpose(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let rank = l.rank(x);
    let perm = axes(l, &["axes", "perm"], rank)?.unwrap_or_else(|| (0..rank).rev().collect());
    Ok(one(l.transpose(x, &perm)?))
}

/// Axes are those of the result.
pub fn expand_dims(l: &mut Lowering<'_>) -> Outcome {
    let mut x = tensor(l)?;
    let count = integers(l, &["axis", "dim"])?.map_or(0, |axes| axes.len());
    let axes = axes(l, &["axis", "dim"], l.rank(x) + count)?.ok_or_else(|| l.unsupported("called without an axis"))?;
    let mut axes = axes;
    axes.sort_unstable();
    for axis in axes {
        x = l.expand(x, axis)?;
    }
    Ok(one(x))
}

pub fn squeeze(l: &mut Lowering<'_>) -> Outcome {
    let mut x = tensor(l)?;
    let shape = l.shape(x);
    let found = axes(l, &["axis", "squeeze_dims"], shape.len())?.filter(|axes| !axes.is_empty());
    let mut axes = found.unwrap_or_else(|| (0..shape.len()).filter(|&axis| shape[axis].is_one()).collect());
    axes.sort_unstable();
    for &axis in axes.iter().rev() {
        unless(l, !shape[axis].is_one(), "an axis to drop whose size is not known to be one")?;
        x = l.squeeze(x, axis)?;
    }
    Ok(one(x))
}

pub fn moveaxis(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let rank = l.rank(x);
    let missing = || l.unsupported("called without source and destination");
    let from = axes(l, &["source"], rank)?.ok_or_else(missing)?;
    let to = axes(l, &["destination"], rank)?.ok_or_else(missing)?;
    unless(l, from.len() != to.len(), "as many sources as destinations")?;
    let mut perm: Vec<usize> = (0..rank).filter(|axis| !from.contains(axis)).collect();
    let mut moves: Vec<(usize, usize)> = to.into_iter().zip(from).collect();
    moves.sort_unstable();
    for (to, from) in moves {
        perm.insert(to.min(perm.len()), from);
    }
    Ok(one(l.transpose(x, &perm)?))
}

pub fn swapaxes(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let rank = l.rank(x);
    let (a, b) = (axis(l, &["axis1"], rank, 0)?, axis(l, &["axis2"], rank, 1)?);
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(a, b);
    Ok(one(l.transpose(x, &perm)?))
}

/// The tensors of a list, in one dtype.
fn together(l: &mut Lowering<'_>) -> Result<Vec<ValueId>, Diag> {
    let items = operands(l, &["xs", "x", "values"])?;
    let dtype = common(l, &items.iter().collect::<Vec<_>>());
    items.iter().map(|item| place(l, item, dtype)).collect()
}

pub fn concatenate(l: &mut Lowering<'_>) -> Outcome {
    let values = together(l)?;
    let axis = axis(l, &["axis"], l.rank(values[0]), 0)?;
    Ok(one(l.add(Concat { axis }, &values)?))
}

pub fn stack(l: &mut Lowering<'_>) -> Outcome {
    let values = together(l)?;
    let axis = axis(l, &["axis"], l.rank(values[0]) + 1, 0)?;
    let values: Vec<ValueId> = values.into_iter().map(|value| l.expand(value, axis)).collect::<Result<_, _>>()?;
    Ok(one(l.add(Concat { axis }, &values)?))
}

/// Matrices one below or beside the other.
pub fn vstack(l: &mut Lowering<'_>) -> Outcome {
    let values = together(l)?;
    unless(l, values.iter().any(|&value| l.rank(value) < 2), "tensors of rank below two")?;
    let axis = if word(l) == "Vstack" { 0 } else { 1 };
    Ok(one(l.add(Concat { axis }, &values)?))
}

/// Parts of one tensor.
const PARTS_MAX: u64 = 1 << 14;

pub fn unstack(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let axis = axis(l, &["axis"], l.rank(x), 0)?;
    let count = l.known(x, axis)?;
    unless(l, count > PARTS_MAX, "this many parts")?;
    let mut outputs = Vec::new();
    for at in 0..count {
        let one = l.slice(x, axis, Dim::Known(at), Dim::Known(at + 1))?;
        outputs.push(Val::plain(l.squeeze(one, axis)?));
    }
    Ok(outputs)
}

/// A number of equal parts; where to cut (Keras 3), or how long the parts are (TensorFlow, one may be -1).
pub fn split(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let axis = axis(l, &["axis"], l.rank(x), 0)?;
    let size = l.known(x, axis)? as i64;
    let names = ["indices_or_sections", "num_or_size_splits"];
    let given = setting(l, &names)?.ok_or_else(|| l.unsupported("called without parts"))?;
    let items = integers(l, &names)?.unwrap_or_default();
    let mut cuts = vec![0];
    if !given.is_array() {
        unless(l, items[0] <= 0 || size % items[0] != 0, "parts that are not equal")?;
        unless(l, items[0] > PARTS_MAX as i64, "this many parts")?;
        cuts.extend((1..=items[0]).map(|part| part * size / items[0]));
    } else if is_tf(l) {
        let rest = items.iter().filter(|&&length| length >= 0).fold(size, |rest, length| rest.saturating_sub(*length));
        for length in items {
            cuts.push(i64::saturating_add(cuts[cuts.len() - 1], if length < 0 { rest } else { length }));
        }
    } else {
        cuts.extend(items.iter().map(|&at| if at < 0 { at + size } else { at.min(size) }));
        cuts.push(size);
    }
    let mut outputs = Vec::new();
    for pair in cuts.windows(2) {
        unless(l, pair[0] < 0 || pair[1] < pair[0] || pair[1] > size, "parts that overlap or overrun")?;
        let part = l.slice(x, axis, Dim::Known(pair[0] as u64), Dim::Known(pair[1] as u64))?;
        outputs.push(Val::plain(part));
    }
    Ok(outputs)
}

pub fn flip(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let rank = l.rank(x);
    let mut axes = axes(l, &["axis"], rank)?.unwrap_or_else(|| (0..rank).collect());
    axes.sort_unstable();
    Ok(one(l.add(Reverse { axes }, &[x])?))
}

pub fn pad(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let mode = match text(l, &["mode"], "constant")?.to_lowercase().as_str() {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "symmetric" => PadMode::Symmetric,
        "edge" => PadMode::Edge,
        other => return Err(l.unsupported(format!("padding by '{other}'")).into()),
    };
    let padding = paddings(l, l.rank(x))?;
    let fill = number(l, &["constant_values"], 0.0)?;
    let mut inputs = vec![x];
    if mode == PadMode::Constant && fill != 0.0 {
        inputs.push(l.scalar_like(x, fill)?);
    }
    Ok(one(l.add(Pad { padding, mode }, &inputs)?))
}

/// Before and after each axis; Keras 3 also takes one number, or one pair, for all axes.
fn paddings(l: &Lowering<'_>, rank: usize) -> Result<Vec<(u64, u64)>, Diag> {
    let given = setting(l, &["pad_width", "paddings"])?;
    let pair = |json: &Json| match json {
        Json::Array(items) => match &items[..] {
            [both] => Some((both.as_u64()?, both.as_u64()?)),
            [before, after] => Some((before.as_u64()?, after.as_u64()?)),
            _ => None,
        },
        both => Some((both.as_u64()?, both.as_u64()?)),
    };
    let found = given.as_ref().and_then(|json| match json {
        Json::Array(items) if items.iter().all(Json::is_array) && items.len() == rank => {
            items.iter().map(pair).collect()
        }
        Json::Array(items) if items.len() == 1 => pair(&items[0]).map(|one| vec![one; rank]),
        other => pair(other).map(|one| vec![one; rank]),
    });
    found.ok_or_else(|| l.unsupported("padding that is not given as numbers for each axis"))
}

/// Each element so many times in a row.
pub fn repeat(l: &mut Lowering<'_>) -> Outcome {
    let mut x = tensor(l)?;
    if setting(l, &["axis"])?.is_none() {
        x = flat(l, x)?;
    }
    let axis = axis(l, &["axis"], l.rank(x), 0)?;
    let given = integers(l, &["repeats"])?.unwrap_or_default();
    let given: Option<Vec<u64>> = given.into_iter().map(|times| u64::try_from(times).ok()).collect();
    let times = match given.as_deref() {
        Some([times]) => *times,
        Some(each) => {
            // Of each element as often as its own number says.
            let fits = each.len() as u64 == l.known(x, axis)? && each.iter().sum::<u64>() < 1 << 16;
            unless(l, !fits, "as many repeats as elements")?;
            let at = each.iter().enumerate().flat_map(|(i, &times)| std::iter::repeat_n(i as i64, times as usize));
            let at: Vec<i64> = at.collect();
            let at = l.constant(Tensor::from_i64(&[at.len() as u64], &at))?;
            return Ok(one(l.add(Gather { axis }, &[x, at])?));
        }
        None => return Err(l.unsupported("repeats below zero").into()),
    };
    let mut shape = l.shape(x);
    let expanded = l.expand(x, axis + 1)?;
    let mut repeats = vec![Dim::Known(1); shape.len() + 1];
    repeats[axis + 1] = Dim::Known(times);
    shape[axis] = shape[axis].times(&Dim::Known(times));
    let tiled = l.add(Tile { repeats }, &[expanded])?;
    Ok(one(l.reshape(tiled, shape)?))
}

pub fn tile(l: &mut Lowering<'_>) -> Outcome {
    let mut x = tensor(l)?;
    let given = integers(l, &["repeats", "multiples"])?.ok_or_else(|| l.unsupported("called without repeats"))?;
    let size = |&times: &i64| u64::try_from(times).map(Dim::Known).map_err(|_| l.unsupported("repeats below zero"));
    let mut repeats: Vec<Dim> = given.iter().map(size).collect::<Result<_, _>>()?;
    while repeats.len() < l.rank(x) {
        repeats.insert(0, Dim::Known(1));
    }
    while l.rank(x) < repeats.len() {
        x = l.expand(x, 0)?;
    }
    Ok(one(l.add(Tile { repeats }, &[x])?))
}

pub fn broadcast_to(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let (sizes, from) = (sizes(l, &["shape"])?, l.shape(x));
    let own = |at: usize| (at + from.len()).checked_sub(sizes.len()).and_then(|axis| from.get(axis).cloned());
    let dim = |(at, size): (usize, &Size)| match size {
        Size::Known(size) => Ok(Dim::Known(*size)),
        Size::Null => own(at).ok_or_else(|| l.unsupported("a new axis whose size is not known")),
        Size::Open => Err(l.unsupported("a shape that is only known when the model runs")),
    };
    let shape: Vec<Dim> = sizes.iter().enumerate().map(dim).collect::<Result<_, _>>()?;
    Ok(one(l.add(BroadcastTo { shape }, &[x])?))
}

/// Elements move on by `shift`; those that leave come in at the other end.
pub fn roll(l: &mut Lowering<'_>) -> Outcome {
    let mut x = tensor(l)?;
    let shape = l.shape(x);
    let shifts = integers(l, &["shift"])?.ok_or_else(|| l.unsupported("called without a shift"))?;
    let over = axes(l, &["axis"], shape.len())?;
    if over.is_none() {
        x = flat(l, x)?;
    }
    let over = over.clone().unwrap_or_else(|| vec![0]);
    unless(l, over.len() != shifts.len(), "as many shifts as axes")?;
    for (&axis, shift) in over.iter().zip(shifts) {
        let size = l.known(x, axis)?;
        let cut = size - shift.rem_euclid(size.max(1) as i64) as u64;
        if cut < size {
            let tail = l.slice(x, axis, Dim::Known(cut), Dim::Known(size))?;
            let head = l.slice(x, axis, Dim::Known(0), Dim::Known(cut))?;
            x = l.add(Concat { axis }, &[tail, head])?;
        }
    }
    if setting(l, &["axis"])?.is_none() {
        x = l.reshape(x, shape)?;
    }
    Ok(one(x))
}

pub fn triangle(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let k = integer(l, &["k"])?.unwrap_or(0);
    Ok(one(l.add(Triangle { lower: word(l) == "Tril", k }, &[x])?))
}

/// The sizes as a tensor.
pub fn shape(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let to = super::args::dtype(l, &["out_type"])?.unwrap_or(DType::I32);
    let mut sizes = Vec::new();
    for dim in l.shape(x) {
        let size = l.add(DimSize { dim }, &[])?;
        sizes.push(l.expand(size, 0)?);
    }
    unless(l, sizes.is_empty(), "the shape of a scalar")?;
    let sizes = if sizes.len() == 1 { sizes[0] } else { l.add(Concat { axis: 0 }, &sizes)? };
    Ok(one(l.cast(sizes, to)?))
}

/// An image batch, channels last, its shape and the block size.
fn blocks(l: &mut Lowering<'_>) -> Result<(ValueId, Vec<Dim>, u64), Diag> {
    let mut x = tensor(l)?;
    unless(l, l.rank(x) != 4, "an input that is no batch of images")?;
    if channels_before(l)? {
        x = l.transpose(x, &[0, 2, 3, 1])?;
    }
    let block = integer(l, &["block_size"])?.and_then(|block| u64::try_from(block).ok()).filter(|&block| block > 0);
    Ok((x, l.shape(x), block.ok_or_else(|| l.unsupported("called without a block size"))?))
}

fn channels_before(l: &Lowering<'_>) -> Result<bool, Diag> {
    match text(l, &["data_format"], "NHWC")?.as_str() {
        "NHWC" | "channels_last" => Ok(false),
        "NCHW" | "channels_first" => Ok(true),
        other => Err(l.unsupported(format!("data_format '{other}'"))),
    }
}

/// Back to the order of axes that the input had.
fn as_given(l: &mut Lowering<'_>, y: ValueId) -> Outcome {
    Ok(one(if channels_before(l)? { l.transpose(y, &[0, 3, 1, 2])? } else { y }))
}

pub fn depth_to_space(l: &mut Lowering<'_>) -> Outcome {
    let (x, shape, block) = blocks(l)?;
    let channels = l.known(x, 3)? / (block * block);
    let [b, h, w, r, c] =
        [shape[0].clone(), shape[1].clone(), shape[2].clone(), Dim::Known(block), Dim::Known(channels)];
    let split = l.reshape(x, vec![b.clone(), h.clone(), w.clone(), r.clone(), r.clone(), c.clone()])?;
    let moved = l.transpose(split, &[0, 1, 3, 2, 4, 5])?;
    let y = l.reshape(moved, vec![b, h.times(&r), w.times(&r), c])?;
    as_given(l, y)
}

pub fn space_to_depth(l: &mut Lowering<'_>) -> Outcome {
    let (x, shape, block) = blocks(l)?;
    let r = Dim::Known(block);
    let part = |dim: &Dim| dim.exact_div(&r).ok_or_else(|| l.unsupported(format!("blocks of {block} in {dim}")));
    let (b, h, w, c) = (shape[0].clone(), part(&shape[1])?, part(&shape[2])?, shape[3].clone());
    let split = l.reshape(x, vec![b.clone(), h.clone(), r.clone(), w.clone(), r.clone(), c.clone()])?;
    let moved = l.transpose(split, &[0, 1, 3, 2, 4, 5])?;
    let y = l.reshape(moved, vec![b, h, w, c.times(&Dim::Known(block * block))])?;
    as_given(l, y)
}

/// Images to another size; other than nearest gives floats.
pub fn resize(l: &mut Lowering<'_>) -> Outcome {
    let mut x = tensor(l)?;
    let rank = l.rank(x);
    unless(l, rank != 3 && rank != 4, "an input that is no image or batch of images")?;
    unless(l, flag(l, &["preserve_aspect_ratio"], false)?, "preserve_aspect_ratio")?;
    let format = text(l, &["data_format"], "channels_last")?;
    let last = resolve_axis(if format == "channels_first" { -1 } else { -2 }, rank).unwrap_or(1);
    let sizes = match integers(l, &["size"])?.as_deref() {
        Some([h, w]) if *h > 0 && *w > 0 => [*h as u64, *w as u64],
        _ => return Err(l.unsupported("a size that is no height and width").into()),
    };
    if flag(l, &["crop_to_aspect_ratio"], false)? {
        x = cropped_to_aspect(l, x, [last - 1, last], sizes)?;
    } else if flag(l, &["pad_to_aspect_ratio"], false)? {
        x = padded_to_aspect(l, x, [last - 1, last], sizes)?;
    }
    let sizes = sizes.map(Dim::Known).to_vec();
    let method = text(l, &["interpolation", "method"], "bilinear")?;
    unless(l, !is_tf(l) && !l.ty(x).dtype.is_float() && method != "nearest", "whole numbers")?;
    let antialias = flag(l, &["antialias"], false)?;
    let given = l.ty(x).dtype;
    let y = resized(l, x, vec![last - 1, last], sizes, &method, antialias)?;
    Ok(one(if is_tf(l) { y } else { l.cast(y, given)? }))
}
