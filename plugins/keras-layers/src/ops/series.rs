//! Rows of numbers made of their ends, and places taken apart.

use super::args::{
    Operand, as_float, axis, both, common, dtype, dtype_of, flag, float_tensor, integer, integers, number, operand,
    place, tensor,
};
use super::{Outcome, unless, word};
use crate::policy::one;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    BinaryFunction as B, BroadcastTo, Clip, Concat, DType, Dim, MatMul, ReduceFunction as R, Tensor, Triangle,
    UnaryFunction as U, ValueId,
};
use recast_plugin_api::lower::{Lowering, Val};

/// Longest row.
const ROW_MAX: i64 = 1 << 14;

/// `linspace`, `logspace`, `geomspace`: numbers from start to stop on a new axis.
pub fn spaced(l: &mut Lowering<'_>) -> Outcome {
    let (start, stop) = (operand(l, 0, &["start"])?, operand(l, 1, &["stop"])?);
    let found = common(l, &[&start, &stop]);
    let to = dtype(l, &["dtype"])?.unwrap_or(if found.is_float() { found } else { DType::F32 });
    let (mut start, mut stop) = (place(l, &start, to)?, place(l, &stop, to)?);
    let count = integer(l, &["num"])?.unwrap_or(50);
    unless(l, !(1..=ROW_MAX).contains(&count) || !to.is_float(), "a row of this length or dtype")?;
    unless(l, flag(l, &["retstep"], false)?, "retstep")?;
    let mut sign = None;
    if word(l) == "Geomspace" {
        sign = Some(l.unary(U::Sign, start)?);
        for end in [&mut start, &mut stop] {
            let size = l.unary(U::Abs, *end)?;
            let log = l.unary(U::Log, size)?;
            *end = l.binary_scalar(B::Div, log, std::f64::consts::LN_10)?;
        }
    }
    let rank = l.rank(start).max(l.rank(stop));
    let axis = axis(l, &["axis"], rank + 1, 0)?;
    let parts = count - i64::from(flag(l, &["endpoint"], true)?);
    let shares: Vec<f64> = (0..count).map(|i| i as f64 / parts.max(1) as f64).collect();
    let mut shape = vec![1; rank + 1];
    shape[axis] = count as u64;
    let shares = l.constant(Tensor::from_numbers(to, &shape, &shares))?;
    let range = l.binary(B::Sub, stop, start)?;
    let (start, range) = (grown(l, start, rank, axis)?, grown(l, range, rank, axis)?);
    let steps = l.binary(B::Mul, range, shares)?;
    let mut y = l.binary(B::Add, start, steps)?;
    if word(l) != "Linspace" {
        let base = if word(l) == "Geomspace" { 10.0 } else { number(l, &["base"], 10.0)? };
        let base = l.scalar_like(y, base)?;
        y = l.binary(B::Pow, base, y)?;
    }
    if let Some(sign) = sign {
        let sign = grown(l, sign, rank, axis)?;
        y = l.binary(B::Mul, y, sign)?;
    }
    Ok(one(y))
}

/// `x` of this rank, with a new axis of one.
fn grown(l: &mut Lowering<'_>, mut x: ValueId, rank: usize, axis: usize) -> Result<ValueId, Diag> {
    while l.rank(x) < rank {
        x = l.expand(x, 0)?;
    }
    l.expand(x, axis)
}

/// Where the elements of a flattened tensor of this shape lie, axis by axis. Keras on TensorFlow takes the sizes of
/// anything but a vector from the front.
pub fn unravel(l: &mut Lowering<'_>) -> Outcome {
    let mut x = operand(l, 0, &["indices"]).and_then(|x| {
        let own = dtype_of(l, &x);
        place(l, &x, own)
    })?;
    let mut sizes = integers(l, &["shape"])?.unwrap_or_default();
    unless(l, sizes.is_empty() || sizes.iter().any(|&size| size <= 0), "a shape like this")?;
    if l.rank(x) == 1 {
        sizes.reverse();
    }
    let mut outputs = Vec::new();
    for size in sizes {
        outputs.push(Val::plain(l.binary_scalar(B::Mod, x, size as f64)?));
        x = l.binary_scalar(B::FloorDiv, x, size as f64)?;
    }
    outputs.reverse();
    Ok(outputs)
}

/// How the rows of a matrix go together: covariances by the deviations of both.
pub fn corrcoef(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    unless(l, l.rank(x) != 2, "a tensor that is no matrix")?;
    let mean = l.reduce(R::Mean, x, &[1], true)?;
    let apart = l.binary(B::Sub, x, mean)?;
    let turned = l.transpose(apart, &[1, 0])?;
    let products = l.add(MatMul {}, &[apart, turned])?;
    let square = l.unary(U::Square, apart)?;
    let size = l.reduce(R::Sum, square, &[1], true)?;
    let size = l.unary(U::Sqrt, size)?;
    let other = l.transpose(size, &[1, 0])?;
    let sizes = l.binary(B::Mul, size, other)?;
    let y = l.binary(B::Div, products, sizes)?;
    Ok(one(l.add(Clip { min: Some(-1.0), max: Some(1.0) }, &[y])?))
}

/// Whether all of two tensors is close: one truth.
pub fn all_close(l: &mut Lowering<'_>) -> Outcome {
    let close = super::numbers::is_close(l)?[0].value;
    let axes: Vec<usize> = (0..l.rank(close)).collect();
    Ok(one(if axes.is_empty() { close } else { l.reduce(R::All, close, &axes, false)? }))
}

/// Zeros, which `empty_like` of TensorFlow gives.
pub fn empty_like(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let to = dtype(l, &["dtype"])?.unwrap_or(l.ty(x).dtype);
    let zero = l.constant(Tensor::scalar(to, 0.0))?;
    let shape = l.shape(x);
    Ok(one(l.add(BroadcastTo { shape }, &[zero])?))
}

/// Vectors along given axes; of two elements, the third is zero.
pub fn cross(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = both(l)?;
    let to = common(l, &[&a, &b]);
    let (a, b) = (place(l, &a, to)?, place(l, &b, to)?);
    let whole = integer(l, &["axis"])?;
    let mut parts = Vec::new();
    for (x, key) in [(a, "axisa"), (b, "axisb")] {
        let rank = l.rank(x);
        let at = if whole.is_some() { axis(l, &["axis"], rank, -1)? } else { axis(l, &[key], rank, -1)? };
        let size = l.known(x, at)?;
        unless(l, !(2..=3).contains(&size), "vectors that are not of two or three")?;
        let mut elements = Vec::new();
        for i in 0..size {
            let element = l.slice(x, at, Dim::Known(i), Dim::Known(i + 1))?;
            elements.push(l.squeeze(element, at)?);
        }
        if size == 2 {
            elements.push(l.scalar_like(x, 0.0)?);
        }
        parts.push((elements, size));
    }
    let [(a, of_a), (b, of_b)] = [parts[0].clone(), parts[1].clone()];
    let element = |l: &mut Lowering<'_>, i: usize| -> Result<ValueId, Diag> {
        let (j, k) = ((i + 1) % 3, (i + 2) % 3);
        let (plus, minus) = (l.binary(B::Mul, a[j], b[k])?, l.binary(B::Mul, a[k], b[j])?);
        l.binary(B::Sub, plus, minus)
    };
    let last = element(l, 2)?;
    if of_a == 2 && of_b == 2 {
        return Ok(one(last));
    }
    let rank = l.rank(last);
    let at = if whole.is_some() { axis(l, &["axis"], rank + 1, -1)? } else { axis(l, &["axisc"], rank + 1, -1)? };
    let mut all = Vec::new();
    let shape = l.shape(last);
    for i in 0..3 {
        let value = if i == 2 { last } else { element(l, i)? };
        let value = l.add(BroadcastTo { shape: shape.clone() }, &[value])?;
        all.push(l.expand(value, at)?);
    }
    Ok(one(l.add(Concat { axis: at }, &all)?))
}

/// Numbers added up in a tensor of zeros, at places that the file gives.
pub fn scatter(l: &mut Lowering<'_>) -> Outcome {
    let sizes = integers(l, &["shape"])?.unwrap_or_default();
    let sizes: Option<Vec<u64>> = sizes.into_iter().map(|size| u64::try_from(size).ok()).collect();
    let sizes = sizes.filter(|sizes| !sizes.is_empty()).ok_or_else(|| l.config.bad("shape", "sizes"))?;
    let rows = match operand(l, 0, &["indices"])? {
        Operand::Constant(serde_json::Value::Array(rows), _) => rows,
        _ => return Err(l.unsupported("places that the model computes").into()),
    };
    let values = operand(l, 1, &["values"])?;
    let own = dtype_of(l, &values);
    let values = place(l, &values, own)?;
    let zero = l.constant(Tensor::scalar(own, 0.0))?;
    let zeros = l.add(BroadcastTo { shape: sizes.into_iter().map(Dim::Known).collect() }, &[zero])?;
    let numbers = |row: &serde_json::Value| row.as_array()?.iter().map(serde_json::Value::as_u64).collect();
    let places: Option<Vec<Vec<u64>>> = rows.iter().map(numbers).collect();
    let places = places.ok_or_else(|| l.unsupported("places like these"))?;
    Ok(one(super::special::scattered(l, zeros, values, places, "add")?))
}

/// x rounded at a power of ten, as Keras does it on TensorFlow.
pub fn rounded(l: &mut Lowering<'_>, x: ValueId, decimals: i64) -> Result<ValueId, Diag> {
    let by = 10_f64.powi(decimals.clamp(-30, 30) as i32);
    let whole = !l.ty(x).dtype.is_float();
    let given = l.ty(x).dtype;
    let x = as_float(l, x)?;
    let y = l.binary_scalar(B::Mul, x, by)?;
    let y = l.unary(U::Round, y)?;
    let y = l.binary_scalar(B::Div, y, by)?;
    if whole { l.cast(y, given) } else { Ok(y) }
}

/// What a matrix has within `num_lower` diagonals below and `num_upper` above the main one; all of them where negative.
pub fn band(l: &mut Lowering<'_>) -> Outcome {
    let mut x = tensor(l)?;
    unless(l, l.rank(x) < 2, "a vector")?;
    for (name, lower) in [("num_lower", false), ("num_upper", true)] {
        let given = integer(l, &[name])?.ok_or_else(|| l.unsupported(format!("called without {name}")))?;
        if given >= 0 {
            x = l.add(Triangle { lower, k: if lower { given } else { -given } }, &[x])?;
        }
    }
    Ok(one(x))
}

/// x, no longer than `clip_norm` over the axes.
pub fn clip_by_norm(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let rank = l.rank(x);
    let over = super::args::axes(l, &["axes"], rank)?.unwrap_or_else(|| (0..rank).collect());
    let bound = number(l, &["clip_norm"], f64::NAN)?;
    unless(l, !bound.is_finite() || over.is_empty(), "a bound that the model computes")?;
    let square = l.unary(U::Square, x)?;
    let total = l.reduce(R::Sum, square, &over, true)?;
    let size = l.unary(U::Sqrt, total)?;
    let floor = l.scalar_like(size, bound)?;
    let most = l.binary(B::Max, size, floor)?;
    let scaled = l.binary_scalar(B::Mul, x, bound)?;
    Ok(one(l.binary(B::Div, scaled, most)?))
}

/// The positive part, and beside it that of the negative.
pub fn both_parts(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let axis = axis(l, &["axis"], l.rank(x), -1)?;
    let minus = l.unary(U::Neg, x)?;
    let both = l.add(Concat { axis }, &[x, minus])?;
    Ok(one(l.unary(U::Relu, both)?))
}
