//! Images and tensors read at places between their elements.

use super::args::{Operand, as_float, float_tensor, number, operand, opt_operand, place, setting, tensor, text};
use super::{Outcome, unless, word};
use crate::geometry::layout;
use crate::policy::one;
use crate::resample::multiply_axis;
use crate::taps::Kernel;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::types::element_count;
use recast_plugin_api::ir::{
    BinaryFunction as B, BroadcastTo, Clip, DType, Dim, DimSize, Gather, GatherElements, Iota, Layout, Tensor,
    UnaryFunction as U, ValueId, Where,
};
use recast_plugin_api::lower::{Lowering, resolve_axis};
use serde_json::Value as Json;

/// Images as (batch, height * width, channels), to be read at places (batch or 1, places).
struct Pixels {
    flat: ValueId,
    height: u64,
    width: u64,
    fill: f64,
}

impl Pixels {
    fn index(&self, l: &mut Lowering<'_>, at: ValueId, size: u64) -> Result<(ValueId, ValueId), Diag> {
        let (from, below) = (l.binary_scalar(B::GreaterEqual, at, 0.0)?, l.binary_scalar(B::Less, at, size as f64)?);
        let inside = l.binary(B::And, from, below)?;
        let held = l.add(Clip { min: Some(0.0), max: Some(size as f64 - 1.0) }, &[at])?;
        Ok((held, inside))
    }

    /// The pixels at whole places (I64: sums of floats may fall short of them), or the fill value outside.
    fn read(&self, l: &mut Lowering<'_>, y: ValueId, x: ValueId) -> Result<ValueId, Diag> {
        let (row, in_height) = self.index(l, y, self.height)?;
        let (column, in_width) = self.index(l, x, self.width)?;
        let inside = l.binary(B::And, in_height, in_width)?;
        let row = l.binary_scalar(B::Mul, row, self.width as f64)?;
        let at = l.binary(B::Add, row, column)?;
        let mut shape = l.shape(self.flat);
        shape[1] = l.shape(at)[1].clone();
        let (at, inside) = (l.expand(at, 2)?, l.expand(inside, 2)?);
        let at = l.add(BroadcastTo { shape }, &[at])?;
        let found = l.add(GatherElements { axis: 1 }, &[self.flat, at])?;
        let fill = l.scalar_like(found, self.fill)?;
        l.add(Where {}, &[inside, found, fill])
    }

    /// Between four pixels, each of which may be outside.
    fn between(&self, l: &mut Lowering<'_>, y: ValueId, x: ValueId) -> Result<ValueId, Diag> {
        let (top, left) = (l.unary(U::Floor, y)?, l.unary(U::Floor, x)?);
        let (down, right) = (l.binary(B::Sub, y, top)?, l.binary(B::Sub, x, left)?);
        let (top, left) = (l.cast(top, DType::I64)?, l.cast(left, DType::I64)?);
        let mut rows = Vec::new();
        for row in [0.0, 1.0] {
            let row = l.binary_scalar(B::Add, top, row)?;
            let beside = l.binary_scalar(B::Add, left, 1.0)?;
            let (a, b) = (self.read(l, row, left)?, self.read(l, row, beside)?);
            rows.push(mixed(l, a, b, right)?);
        }
        mixed(l, rows[0], rows[1], down)
    }
}

/// a (1 - share) + b share, where `share` lacks the last axis.
fn mixed(l: &mut Lowering<'_>, a: ValueId, b: ValueId, share: ValueId) -> Result<ValueId, Diag> {
    let share = l.expand(share, 2)?;
    let share = l.cast(share, l.ty(a).dtype)?;
    let rest = l.unary(U::Neg, share)?;
    let rest = l.binary_scalar(B::Add, rest, 1.0)?;
    let (a, b) = (l.binary(B::Mul, a, rest)?, l.binary(B::Mul, b, share)?);
    l.binary(B::Add, a, b)
}

/// `ImageProjectiveTransform`: each place of the result is read at (a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k.
pub fn affine(l: &mut Lowering<'_>) -> Outcome {
    let transform = operand(l, 1, &["transform"])?;
    let mut transform = place(l, &transform, DType::F32)?;
    if l.rank(transform) == 1 {
        transform = l.expand(transform, 0)?;
    }
    unless(l, l.rank(transform) != 2 || l.known(transform, 1)? != 8, "a transform that is not of eight numbers")?;
    let mode = text(l, &["fill_mode"], "constant")?;
    transformed(l, transform, &mode)
}

/// The transform that takes the end points to the start points.
pub fn perspective(l: &mut Lowering<'_>) -> Outcome {
    let read = |l: &Lowering<'_>, at: usize, name: &str| -> Result<Vec<f64>, Diag> {
        let numbers = match operand(l, at, &[name])? {
            Operand::Constant(json, _) => leaves(&json),
            Operand::Value(_) => None,
        };
        let numbers = numbers.filter(|numbers| !numbers.is_empty() && numbers.len() % 8 == 0);
        numbers.ok_or_else(|| l.unsupported("points that the model computes"))
    };
    let (start, end) = (read(l, 1, "start_points")?, read(l, 2, "end_points")?);
    unless(l, start.len() != end.len() || start.len() > 8 * 1024, "as many start points as end points")?;
    let mut rows = Vec::new();
    for (from, to) in start.chunks(8).zip(end.chunks(8)) {
        rows.extend(homography(from, to).ok_or_else(|| l.unsupported("points on a line"))?);
    }
    let transform = l.constant(Tensor::from_numbers(DType::F32, &[rows.len() as u64 / 8, 8], &rows))?;
    transformed(l, transform, "constant")
}

/// All numbers of nested lists.
fn leaves(json: &Json) -> Option<Vec<f64>> {
    match json {
        Json::Array(items) => items.iter().map(leaves).collect::<Option<Vec<_>>>().map(|rows| rows.concat()),
        one => Some(vec![one.as_f64()?]),
    }
}

/// The eight numbers of a projection that takes each point (x, y) of `to` to that of `from`: Gauss' elimination.
fn homography(from: &[f64], to: &[f64]) -> Option<Vec<f64>> {
    let mut rows: Vec<[f64; 9]> = Vec::new();
    for (start, end) in from.chunks(2).zip(to.chunks(2)) {
        let ([u, v], [x, y]) = ([start[0], start[1]], [end[0], end[1]]);
        rows.push([x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, u]);
        rows.push([0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, v]);
    }
    for column in 0..8 {
        let best = (column..8).max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()))?;
        rows.swap(column, best);
        let pivot = rows[column];
        if pivot[column].abs() < 1e-12 {
            return None;
        }
        for (_, row) in rows.iter_mut().enumerate().filter(|(at, _)| *at != column) {
            let share = row[column] / pivot[column];
            row.iter_mut().zip(pivot).for_each(|(value, of)| *value -= share * of);
        }
    }
    Some((0..8).map(|at| rows[at][8] / rows[at][at]).collect())
}

fn transformed(l: &mut Lowering<'_>, transform: ValueId, mode: &str) -> Outcome {
    let mut x = tensor(l)?;
    let (given, single) = (l.ty(x).dtype, l.rank(x) == 3);
    let nearest = text(l, &["interpolation"], "bilinear")? == "nearest";
    unless(l, !given.is_float() && !nearest, "whole numbers")?;
    if single {
        x = l.expand(x, 0)?;
    }
    unless(l, l.rank(x) != 4, "an input that is no image")?;
    let first = layout(l)? == Layout::ChannelsFirst;
    if first {
        x = l.transpose(x, &[0, 2, 3, 1])?;
    }
    let shape = l.shape(x);
    let (height, width) = (l.known(x, 1)?, l.known(x, 2)?);
    let flat = l.reshape(x, vec![shape[0].clone(), Dim::Known(height * width), shape[3].clone()])?;
    let pixels = Pixels { flat, height, width, fill: number(l, &["fill_value"], 0.0)? };
    let [row, column, depth] = projected(l, transform, height, width)?;
    let (row, column) = (brought_inside(l, row, height, mode)?, brought_inside(l, column, width, mode)?);
    // Whatever the mode, what would be read at infinity is read outside.
    let endless = l.binary_scalar(B::Equal, depth, 0.0)?;
    let outside = l.scalar_like(row, -2.0)?;
    let row = l.add(Where {}, &[endless, outside, row])?;
    let column = l.add(Where {}, &[endless, outside, column])?;
    let y = if nearest {
        let (row, column) = (half_up(l, row)?, half_up(l, column)?);
        pixels.read(l, row, column)?
    } else {
        pixels.between(l, row, column)?
    };
    let mut y = l.reshape(y, shape)?;
    if first {
        y = l.transpose(y, &[0, 3, 1, 2])?;
    }
    Ok(one(if single { l.squeeze(y, 0)? } else { y }))
}

/// Where each place of (height, width) is read: rows, columns, and what these were divided by, zero at infinity;
/// (transforms, height * width).
fn projected(l: &mut Lowering<'_>, transform: ValueId, height: u64, width: u64) -> Result<[ValueId; 3], Diag> {
    let at = l.add(Iota { dim: Dim::Known(height * width), dtype: DType::I64 }, &[])?;
    let (y, x) = (l.binary_scalar(B::FloorDiv, at, width as f64)?, l.binary_scalar(B::Mod, at, width as f64)?);
    let (y, x) = (l.cast(y, DType::F32)?, l.cast(x, DType::F32)?);
    let line = |l: &mut Lowering<'_>, from: u64| -> Result<ValueId, Diag> {
        let (a, b) = (
            l.slice(transform, 1, Dim::Known(from), Dim::Known(from + 1))?,
            l.slice(transform, 1, Dim::Known(from + 1), Dim::Known(from + 2))?,
        );
        let (a, b) = (l.binary(B::Mul, a, x)?, l.binary(B::Mul, b, y)?);
        l.binary(B::Add, a, b)
    };
    let depth = line(l, 6)?;
    let depth = l.binary_scalar(B::Add, depth, 1.0)?;
    let mut places = Vec::new();
    for from in [3, 0] {
        let sum = line(l, from)?;
        let shift = l.slice(transform, 1, Dim::Known(from + 2), Dim::Known(from + 3))?;
        let sum = l.binary(B::Add, sum, shift)?;
        places.push(l.binary(B::Div, sum, depth)?);
    }
    Ok([places[0], places[1], depth])
}

/// As C's `round`: halves away from zero. I64.
fn half_up(l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
    let size = l.unary(U::Abs, x)?;
    let size = l.binary_scalar(B::Add, size, 0.5)?;
    let size = l.unary(U::Floor, size)?;
    let sign = l.unary(U::Sign, x)?;
    let (size, sign) = (l.cast(size, DType::I64)?, l.cast(sign, DType::I64)?);
    l.binary(B::Mul, sign, size)
}

/// What TensorFlow makes of a place outside of an axis.
fn brought_inside(l: &mut Lowering<'_>, at: ValueId, size: u64, mode: &str) -> Result<ValueId, Diag> {
    let n = size as f64;
    let clip = Clip { min: Some(0.0), max: Some(n - 1.0) };
    match mode {
        // As far outside as no pixel is near; how far, is nothing to compute with.
        "constant" => return l.add(Clip { min: Some(-2.0), max: Some(n + 1.0) }, &[at]),
        "nearest" => return l.add(clip, &[at]),
        _ if size <= 1 => return l.binary_scalar(B::Mul, at, 0.0),
        "reflect" | "wrap" => {}
        other => return Err(l.unsupported(format!("fill_mode '{other}'"))),
    }
    let whole_parts = |l: &mut Lowering<'_>, x: ValueId, by: f64| -> Result<ValueId, Diag> {
        let parts = l.binary_scalar(B::Div, x, by)?;
        l.unary(U::Trunc, parts)
    };
    let minus = l.unary(U::Neg, at)?;
    let (before, behind) = if mode == "wrap" {
        let parts = whole_parts(l, minus, n - 1.0)?;
        let parts = l.binary_scalar(B::Add, parts, 1.0)?;
        let parts = l.binary_scalar(B::Mul, parts, n)?;
        let past = whole_parts(l, at, n - 1.0)?;
        let past = l.binary_scalar(B::Mul, past, n)?;
        (l.binary(B::Add, at, parts)?, l.binary(B::Sub, at, past)?)
    } else {
        let parts = whole_parts(l, minus, 2.0 * n)?;
        let parts = l.binary_scalar(B::Mul, parts, 2.0 * n)?;
        let moved = l.binary(B::Add, at, parts)?;
        let far = l.binary_scalar(B::Less, moved, -n)?;
        let turned = l.unary(U::Neg, moved)?;
        let turned = l.binary_scalar(B::Sub, turned, 1.0)?;
        let moved = l.binary_scalar(B::Add, moved, 2.0 * n)?;
        let past = whole_parts(l, at, 2.0 * n)?;
        let past = l.binary_scalar(B::Mul, past, 2.0 * n)?;
        let past = l.binary(B::Sub, at, past)?;
        let beyond = l.binary_scalar(B::GreaterEqual, past, n)?;
        let back = l.unary(U::Neg, past)?;
        let back = l.binary_scalar(B::Add, back, 2.0 * n - 1.0)?;
        (l.add(Where {}, &[far, moved, turned])?, l.add(Where {}, &[beyond, back, past])?)
    };
    let is_before = l.binary_scalar(B::Less, at, 0.0)?;
    let is_behind = l.binary_scalar(B::Greater, at, n - 1.0)?;
    let y = l.add(Where {}, &[is_behind, behind, at])?;
    let y = l.add(Where {}, &[is_before, before, y])?;
    l.add(clip, &[y])
}

/// A tensor of any rank read at coordinates (rank, ...).
pub fn map_coordinates(l: &mut Lowering<'_>) -> Outcome {
    let x = operand(l, 0, &["inputs"])?;
    let given = super::args::dtype_of(l, &x);
    let x = place(l, &x, given)?;
    let places = operand(l, 1, &["coordinates"])?;
    let places = place(l, &places, DType::F32)?;
    let rank = l.rank(x);
    unless(l, l.rank(places) < 2 || l.known(places, 0)? != rank as u64 || rank > 4, "coordinates of this shape")?;
    let linear = super::args::integer(l, &["order"])?.unwrap_or(1) == 1;
    let mode = text(l, &["fill_mode"], "constant")?;
    let fill = number(l, &["fill_value"], 0.0)?;
    // Of each axis: the whole places beside a coordinate, whether they are inside, how much they count.
    let mut axes = Vec::new();
    for axis in 0..rank {
        let size = size_of(l, x, axis)?;
        let taps = taps_of(l, places, (axis, size), linear, &mode)?;
        axes.push((taps, size));
    }
    let count = element_count(&l.shape(x));
    let flat = l.reshape(x, vec![count])?;
    let mut total = None;
    for corner in 0..1_usize << if linear { rank } else { 0 } {
        let (mut at, mut inside, mut share) = (None, None, None);
        for (axis, (taps, size)) in axes.iter().enumerate() {
            let (index, within, weight) = taps[corner >> axis & 1];
            at = Some(match at {
                None => index,
                Some(before) => {
                    let before = l.binary(B::Mul, before, *size)?;
                    l.binary(B::Add, before, index)?
                }
            });
            inside = Some(match inside {
                None => within,
                Some(before) => l.binary(B::And, before, within)?,
            });
            share = Some(match share {
                None => weight,
                Some(before) => l.binary(B::Mul, before, weight)?,
            });
        }
        let (Some(at), Some(inside), Some(share)) = (at, inside, share) else {
            return Err(l.unsupported("a scalar input").into());
        };
        let found = l.add(Gather { axis: 0 }, &[flat, at])?;
        let found = l.cast(found, DType::F32)?;
        let outside = l.scalar_like(found, fill)?;
        let found = l.add(Where {}, &[inside, found, outside])?;
        let part = l.binary(B::Mul, share, found)?;
        total = Some(match total {
            None => part,
            Some(before) => l.binary(B::Add, before, part)?,
        });
    }
    let y = total.ok_or_else(|| l.unsupported("a scalar input"))?;
    let y = if given.is_float() { y } else { l.unary(U::Round, y)? };
    Ok(one(l.cast(y, given)?))
}

/// A whole place along an axis, whether it is inside, and how much it counts.
type Tap = (ValueId, ValueId, ValueId);

/// The places beside each coordinate along one axis of this size.
fn taps_of(
    l: &mut Lowering<'_>,
    places: ValueId,
    (axis, size): (usize, ValueId),
    linear: bool,
    mode: &str,
) -> Result<Vec<Tap>, Diag> {
    let at = l.slice(places, 0, Dim::Known(axis as u64), Dim::Known(axis as u64 + 1))?;
    let at = l.squeeze(at, 0)?;
    let low = l.unary(if linear { U::Floor } else { U::Round }, at)?;
    let above = l.binary(B::Sub, at, low)?;
    let mut taps = Vec::new();
    for step in 0..=u8::from(linear) {
        let index = l.cast(low, DType::I64)?;
        let index = l.binary_scalar(B::Add, index, f64::from(step))?;
        let (index, inside) = folded(l, index, size, mode)?;
        let share = match (linear, step) {
            (false, _) => l.binary_scalar(B::Mul, above, 0.0).and_then(|z| l.binary_scalar(B::Add, z, 1.0))?,
            (true, 0) => l.unary(U::Neg, above).and_then(|z| l.binary_scalar(B::Add, z, 1.0))?,
            (true, _) => above,
        };
        taps.push((index, inside, share));
    }
    Ok(taps)
}

/// The size of an axis as a whole number of the graph.
fn size_of(l: &mut Lowering<'_>, x: ValueId, axis: usize) -> Result<ValueId, Diag> {
    match l.shape(x)[axis].clone() {
        Dim::Known(size) => l.constant(Tensor::scalar(DType::I64, size as f64)),
        dim => l.add(DimSize { dim }, &[]),
    }
}

/// A whole place brought into an axis as Keras does it, and whether it was inside.
fn folded(l: &mut Lowering<'_>, at: ValueId, size: ValueId, mode: &str) -> Result<(ValueId, ValueId), Diag> {
    let last = l.binary_scalar(B::Sub, size, 1.0)?;
    let from = l.binary_scalar(B::GreaterEqual, at, 0.0)?;
    let below = l.binary(B::Less, at, size)?;
    let inside = l.binary(B::And, from, below)?;
    let all = l.binary(B::Or, from, below)?;
    let clipped = |l: &mut Lowering<'_>, x: ValueId| {
        let zero = l.scalar_like(x, 0.0)?;
        let x = l.binary(B::Max, x, zero)?;
        l.binary(B::Min, x, last)
    };
    match mode {
        "constant" => Ok((clipped(l, at)?, inside)),
        "nearest" => Ok((clipped(l, at)?, all)),
        "wrap" => Ok((l.binary(B::Mod, at, size)?, all)),
        "mirror" | "reflect" => {
            let size_2 = l.binary_scalar(B::Mul, size, 2.0)?;
            let far = l.unary(U::Abs, at)?;
            let far = l.binary(B::Mod, far, size_2)?;
            let under = l.binary(B::Less, far, size)?;
            let mut over = l.binary(B::Sub, size_2, far)?;
            if mode == "reflect" {
                over = l.binary_scalar(B::Sub, over, 1.0)?;
            }
            let at = l.add(Where {}, &[under, far, over])?;
            Ok((clipped(l, at)?, all))
        }
        other => Err(l.unsupported(format!("fill_mode '{other}'"))),
    }
}

/// Axes resampled by a scale and a translation that the file gives.
pub fn scale_and_translate(l: &mut Lowering<'_>) -> Outcome {
    let mut y = float_tensor(l)?;
    y = as_float(l, y)?;
    let read = |l: &Lowering<'_>, at: usize, name: &str| -> Result<Vec<f64>, Diag> {
        let numbers = match opt_operand(l, at, &[name])? {
            Some(Operand::Constant(json, _)) => leaves(json.get("items").unwrap_or(&json)),
            _ => None,
        };
        numbers.ok_or_else(|| l.unsupported(format!("a {name} that the model computes")))
    };
    let (sizes, scale) = (read(l, 1, "output_shape")?, read(l, 2, "scale")?);
    let translation = read(l, 3, "translation")?;
    let rank = l.rank(y);
    let axes = setting(l, &["spatial_dims"])?.and_then(|json| leaves(&json)).unwrap_or_default();
    let axes: Option<Vec<usize>> = axes.iter().map(|&axis| resolve_axis(axis as i64, rank)).collect();
    let axes = axes.ok_or_else(|| l.config.bad("spatial_dims", "axes of the input"))?;
    let kernel = match text(l, &["method"], "linear")?.as_str() {
        "linear" | "bilinear" | "trilinear" | "triangle" => Kernel::Linear,
        "cubic" | "bicubic" | "tricubic" => Kernel::Cubic,
        "lanczos3" => Kernel::Lanczos(3.0),
        "lanczos5" => Kernel::Lanczos(5.0),
        other => return Err(l.unsupported(format!("{} by '{other}'", word(l))).into()),
    };
    let antialias = super::args::flag(l, &["antialias"], true)?;
    let fits = sizes.len() == rank && scale.len() == axes.len() && translation.len() == axes.len();
    unless(l, !fits, "a scale and a translation of each axis")?;
    for (number, &axis) in axes.iter().enumerate() {
        let (from, to) = (l.known(y, axis)?, sizes[axis] as u64);
        unless(l, from.saturating_mul(to) > 1 << 17 || scale[number] == 0.0, "a scale or a size like this")?;
        let weights = crate::taps::placed(kernel, (from, to), scale[number], translation[number], antialias);
        y = multiply_axis(l, y, axis, to, &weights)?;
    }
    Ok(one(y))
}

#[cfg(test)]
mod tests {
    use super::homography;

    #[test]
    fn points_that_stay_are_the_identity() {
        let square = [0.0, 0.0, 4.0, 0.0, 0.0, 5.0, 4.0, 5.0];
        let found = homography(&square, &square).unwrap();
        for (a, b) in found.iter().zip([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]) {
            assert!((a - b).abs() < 1e-12, "{found:?}");
        }
        assert!(homography(&square, &[0.0; 8]).is_none());
    }
}
