//! Operations that rearrange: diagonals, turns, splits, pieces put in.

use super::args::{
    Operand, axes, axis, both, common, integer, integers, operand, opt_operand, pair, place, tensor, text,
};
use super::reduce::flat;
use super::{Outcome, unless, word};
use crate::policy::one;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    BinaryFunction as B, BroadcastTo, Concat, DType, Dim, Gather, Pad, PadMode, ReduceFunction as R, Reverse, Tensor,
    ValueId, Where,
};
use recast_plugin_api::lower::{Lowering, Val};
use serde_json::Value as Json;

/// Elements that are picked one by one.
const PLACES_MAX: u64 = 1 << 17;

/// The diagonal of two axes as the last axis: of the matrix as one row, every (columns + 1)th element.
fn diagonal_of(l: &mut Lowering<'_>, x: ValueId, offset: i64, a: usize, b: usize) -> Result<ValueId, Diag> {
    let (rows, columns) = (l.known(x, a)? as i64, l.known(x, b)? as i64);
    let offset = offset.clamp(-rows, columns);
    let rank = l.rank(x);
    let perm: Vec<usize> = (0..rank).filter(|axis| *axis != a && *axis != b).chain([a, b]).collect();
    let x = l.transpose(x, &perm)?;
    let mut shape = l.shape(x);
    shape.truncate(rank - 2);
    shape.push(Dim::Known((rows * columns) as u64));
    let x = l.reshape(x, shape)?;
    let (first, count) = if offset >= 0 {
        (offset, rows.min(columns - offset))
    } else {
        (-offset * columns, (rows + offset).min(columns))
    };
    unless(l, count <= 0, "a diagonal outside of the matrix")?;
    unless(l, count as u64 > PLACES_MAX, "a diagonal this long")?;
    let at: Vec<i64> = (0..count).map(|i| first + i * (columns + 1)).collect();
    let at = l.constant(Tensor::from_i64(&[at.len() as u64], &at))?;
    l.add(Gather { axis: rank - 2 }, &[x, at])
}

/// `diagonal`, and its sum: `trace`.
pub fn diagonal(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let rank = l.rank(x);
    unless(l, rank < 2, "a vector")?;
    // TensorFlow's matrices are the last two axes.
    let (first, second) = if super::args::is_tf(l) { (-2, -1) } else { (0, 1) };
    let (a, b) = (axis(l, &["axis1"], rank, first)?, axis(l, &["axis2"], rank, second)?);
    let y = diagonal_of(l, x, integer(l, &["offset"])?.unwrap_or(0), a, b)?;
    let last = l.rank(y) - 1;
    Ok(one(if word(l).eq_ignore_ascii_case("trace") { l.reduce(R::Sum, y, &[last], false)? } else { y }))
}

/// A vector on the diagonal of a matrix of zeros; of a matrix, its diagonal.
pub fn diag(l: &mut Lowering<'_>) -> Outcome {
    let mut x = tensor(l)?;
    let k = integer(l, &["k"])?.unwrap_or(0);
    if word(l) == "Diagflat" {
        x = flat(l, x)?;
    }
    match l.rank(x) {
        2 => Ok(one(diagonal_of(l, x, k, 0, 1)?)),
        1 => {
            let size = l.known(x, 0)?;
            let wide = size + k.unsigned_abs();
            unless(l, wide > 512, "a matrix this large")?;
            let (row, column) = (k.min(0).unsigned_abs(), k.max(0) as u64);
            let mark = |at: u64| {
                let (i, j) = (at / wide, at % wide);
                let inside = (row..row + size).contains(&i);
                f64::from(u8::from(inside && i - row + column == j))
            };
            let marks: Vec<f64> = (0..wide * wide).map(mark).collect();
            let marks = l.constant(Tensor::from_numbers(DType::Bool, &[wide, wide], &marks))?;
            let rows = l.expand(x, 1)?;
            let padding = vec![(row, wide - size - row), (0, 0)];
            let rows = l.add(Pad { padding, mode: PadMode::Constant }, &[rows])?;
            let zero = l.scalar_like(x, 0.0)?;
            Ok(one(l.add(Where {}, &[marks, rows, zero])?))
        }
        rank => Err(l.unsupported(format!("a tensor of rank {rank}")).into()),
    }
}

/// A plane turned by `k` right angles.
pub fn rot90(l: &mut Lowering<'_>) -> Outcome {
    let x = operand(l, 0, &["array", "x", "m"])?;
    let dtype = super::args::dtype_of(l, &x);
    let x = place(l, &x, dtype)?;
    let rank = l.rank(x);
    let plane = axes(l, &["axes"], rank)?.unwrap_or_else(|| vec![0, 1]);
    unless(l, plane.len() != 2 || rank < 2, "a plane of two axes")?;
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(plane[0], plane[1]);
    Ok(one(match integer(l, &["k"])?.unwrap_or(1).rem_euclid(4) {
        0 => x,
        1 => {
            let x = l.add(Reverse { axes: vec![plane[1]] }, &[x])?;
            l.transpose(x, &perm)?
        }
        2 => {
            let mut axes = plane.clone();
            axes.sort_unstable();
            l.add(Reverse { axes }, &[x])?
        }
        _ => {
            let x = l.transpose(x, &perm)?;
            l.add(Reverse { axes: vec![plane[1]] }, &[x])?
        }
    }))
}

pub fn flip_one(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let axis = usize::from(word(l) == "Fliplr");
    unless(l, l.rank(x) <= axis, "a tensor of this rank")?;
    Ok(one(l.add(Reverse { axes: vec![axis] }, &[x])?))
}

pub fn append(l: &mut Lowering<'_>) -> Outcome {
    let (mut a, mut b) = pair(l)?;
    let axis = match axes(l, &["axis"], l.rank(a))?.as_deref() {
        Some([axis]) => *axis,
        _ => {
            (a, b) = (flat(l, a)?, flat(l, b)?);
            0
        }
    };
    Ok(one(l.add(Concat { axis }, &[a, b])?))
}

/// Along a third axis.
pub fn dstack(l: &mut Lowering<'_>) -> Outcome {
    let items = super::args::operands(l, &["xs"])?;
    let dtype = common(l, &items.iter().collect::<Vec<_>>());
    let mut values = Vec::new();
    for item in &items {
        let mut value = place(l, item, dtype)?;
        while l.rank(value) < 3 {
            value = if l.rank(value) < 2 { l.expand(value, 0)? } else { l.expand(value, 2)? };
        }
        values.push(value);
    }
    Ok(one(l.add(Concat { axis: 2 }, &values)?))
}

/// Parts that may differ by one (`array_split`), or parts along a fixed axis.
pub fn split(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let rank = l.rank(x);
    let along = match word(l) {
        "Vsplit" => 0,
        "Hsplit" => usize::from(rank > 1),
        "Dsplit" => 2,
        _ => axis(l, &["axis"], rank, 0)?,
    };
    unless(l, along >= rank, "a tensor of this rank")?;
    let size = l.known(x, along)? as i64;
    let given = super::args::setting(l, &["indices_or_sections"])?;
    let items = integers(l, &["indices_or_sections"])?.unwrap_or_default();
    let mut cuts = vec![0];
    if given.as_ref().is_some_and(Json::is_array) {
        cuts.extend(items.iter().map(|&at| if at < 0 { at + size } else { at.min(size) }));
        cuts.push(size);
    } else {
        let parts = items.first().copied().filter(|parts| (1..=4096).contains(parts));
        let parts = parts.ok_or_else(|| l.unsupported("called without parts"))?;
        cuts.extend((1..=parts).map(|part| part * (size / parts) + part.min(size % parts)));
    }
    let mut outputs = Vec::new();
    for pair in cuts.windows(2) {
        unless(l, pair[0] < 0 || pair[1] < pair[0] || pair[1] > size, "parts that overlap or overrun")?;
        let part = l.slice(x, along, Dim::Known(pair[0] as u64), Dim::Known(pair[1] as u64))?;
        outputs.push(Val::plain(part));
    }
    Ok(outputs)
}

/// Each vector spread over a grid of all of them.
pub fn meshgrid(l: &mut Lowering<'_>) -> Outcome {
    let items = super::args::positional(l)?;
    let mut order: Vec<usize> = (0..items.len()).collect();
    if text(l, &["indexing"], "xy")? == "xy" && order.len() > 1 {
        order.swap(0, 1);
    }
    let mut values = Vec::new();
    for item in &items {
        let dtype = super::args::dtype_of(l, item);
        let value = place(l, item, dtype)?;
        values.push(flat(l, value)?);
    }
    let shape: Vec<Dim> = order.iter().map(|&item| l.shape(values[item])[0].clone()).collect();
    let mut outputs = Vec::new();
    for (item, &value) in values.iter().enumerate() {
        let mut along = vec![Dim::Known(1); values.len()];
        let place = order.iter().position(|&other| other == item).unwrap_or(item);
        along[place] = shape[place].clone();
        let value = l.reshape(value, along)?;
        outputs.push(Val::plain(l.add(BroadcastTo { shape: shape.clone() }, &[value])?));
    }
    Ok(outputs)
}

/// A piece put in the place of what is there, at a start that the file gives.
pub fn slice_update(l: &mut Lowering<'_>) -> Outcome {
    let first = operand(l, 0, &["inputs"])?;
    let dtype = super::args::dtype_of(l, &first);
    let x = place(l, &first, dtype)?;
    let starts = match opt_operand(l, 1, &["start_indices"])? {
        Some(Operand::Constant(Json::Array(items), _)) => items.iter().map(Json::as_u64).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let starts = starts.filter(|starts| starts.len() == l.rank(x));
    let starts = starts.ok_or_else(|| l.unsupported("a start that the model computes"))?;
    let piece = operand(l, 2, &["updates"])?;
    let piece = place(l, &piece, dtype)?;
    unless(l, l.rank(piece) != l.rank(x), "a piece of another rank")?;
    let mut padding = Vec::new();
    for (axis, start) in starts.into_iter().enumerate() {
        if l.shape(piece)[axis] == l.shape(x)[axis] {
            padding.push((0, 0));
            continue;
        }
        let (room, size) = (l.known(x, axis)?, l.known(piece, axis)?);
        let start = start.min(room.saturating_sub(size));
        padding.push((start, room.saturating_sub(start + size)));
    }
    let shape = l.shape(piece);
    let put = l.constant(Tensor::scalar(DType::Bool, 1.0))?;
    let put = l.add(BroadcastTo { shape }, &[put])?;
    let put = l.add(Pad { padding: padding.clone(), mode: PadMode::Constant }, &[put])?;
    let piece = l.add(Pad { padding, mode: PadMode::Constant }, &[piece])?;
    Ok(one(l.add(Where {}, &[put, piece, x])?))
}

/// The last axes against each other.
pub fn inner(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = pair(l)?;
    let y = match (l.rank(a), l.rank(b)) {
        (0, _) | (_, 0) => l.binary(B::Mul, a, b)?,
        (a_rank, b_rank) => super::products::contract(l, a, b, &[(a_rank - 1, b_rank - 1)])?,
    };
    Ok(one(y))
}

/// All elements against each other: one number.
pub fn vdot(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = pair(l)?;
    let (a, b) = (flat(l, a)?, flat(l, b)?);
    let product = l.binary(B::Mul, a, b)?;
    Ok(one(l.reduce(R::Sum, product, &[0], false)?))
}

/// Every element of the one times the whole other.
pub fn kron(l: &mut Lowering<'_>) -> Outcome {
    let (mut a, mut b) = pair(l)?;
    while l.rank(a) < l.rank(b) {
        a = l.expand(a, 0)?;
    }
    while l.rank(b) < l.rank(a) {
        b = l.expand(b, 0)?;
    }
    let (of_a, of_b) = (l.shape(a), l.shape(b));
    let wide = |shape: &[Dim], first: bool| -> Vec<Dim> {
        let pair = |dim: &Dim| if first { [dim.clone(), Dim::Known(1)] } else { [Dim::Known(1), dim.clone()] };
        shape.iter().flat_map(pair).collect()
    };
    let (a, b) = (l.reshape(a, wide(&of_a, true))?, l.reshape(b, wide(&of_b, false))?);
    let y = l.binary(B::Mul, a, b)?;
    let shape: Vec<Dim> = of_a.iter().zip(&of_b).map(|(a, b)| a.times(b)).collect();
    Ok(one(l.reshape(y, shape)?))
}

/// Windows along the last axis.
pub fn sequences(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let axis = l.rank(x).checked_sub(1).ok_or_else(|| l.unsupported("a scalar"))?;
    let size = l.known(x, axis)?;
    let positive = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).filter(|&n| n > 0);
    let length = positive(integer(l, &["sequence_length"])?).filter(|&length| length <= size);
    let stride = positive(integer(l, &["sequence_stride"])?);
    let (length, stride) =
        length.zip(stride).ok_or_else(|| l.unsupported("windows that do not fit, or a stride of zero"))?;
    let count = (size - length) / stride + 1;
    unless(l, count.saturating_mul(length) > PLACES_MAX, "this many windows")?;
    let at: Vec<i64> = (0..count).flat_map(|i| (0..length).map(move |j| (i * stride + j) as i64)).collect();
    let at = l.constant(Tensor::from_i64(&[count, length], &at))?;
    Ok(one(l.add(Gather { axis }, &[x, at])?))
}

/// Whether an element is among those of a list.
pub fn is_in(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = both(l)?;
    let dtype = common(l, &[&a, &b]);
    let (a, b) = (place(l, &a, dtype)?, place(l, &b, dtype)?);
    let b = flat(l, b)?;
    let wide = l.expand(a, l.rank(a))?;
    let equal = l.binary(B::Equal, wide, b)?;
    let last = l.rank(equal) - 1;
    let found = l.reduce(R::Any, equal, &[last], false)?;
    let invert = super::args::flag(l, &["invert"], false)?;
    Ok(one(if invert { l.unary(recast_plugin_api::ir::UnaryFunction::Not, found)? } else { found }))
}
