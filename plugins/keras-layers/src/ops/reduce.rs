//! Operations over axes.

use super::args::{as_float, axes, axis, dtype, flag, float_tensor, integer, is_tf, number, setting, tensor};
use super::{Outcome, unless, word};
use crate::norm::l2_normalized;
use crate::policy::one;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::types::element_count;
use recast_plugin_api::ir::{
    ArgFunction, ArgReduce, BinaryFunction as B, Cumulative, CumulativeFunction, DType, Dim, ReduceFunction as R, TopK,
    UnaryFunction as U, ValueId,
};
use recast_plugin_api::lower::{Lowering, Val};

const AXIS: &[&str] = &["axis", "axes", "reduction_indices"];
const KEEP: &[&str] = &["keepdims", "keep_dims"];

/// The axes to work over, ascending; all when none are given.
fn over(l: &Lowering<'_>, rank: usize) -> Result<Vec<usize>, Diag> {
    let mut axes = axes(l, AXIS, rank)?.unwrap_or_else(|| (0..rank).collect());
    axes.sort_unstable();
    axes.dedup();
    Ok(axes)
}

fn reduced(l: &mut Lowering<'_>, function: R, x: ValueId, axes: &[usize], keep: bool) -> Result<ValueId, Diag> {
    if axes.is_empty() { Ok(x) } else { l.reduce(function, x, axes, keep) }
}

/// What Keras 3 adds up in: narrow whole numbers in 32 bits.
fn summed(l: &Lowering<'_>, dtype: DType) -> DType {
    match dtype {
        DType::Bool => DType::I32,
        DType::I8 | DType::I16 if !is_tf(l) => DType::I32,
        DType::U8 | DType::U16 if !is_tf(l) => DType::U32,
        other => other,
    }
}

pub fn plain(l: &mut Lowering<'_>, function: R) -> Outcome {
    let mut x = tensor(l)?;
    let axes = over(l, l.rank(x))?;
    let keep = flag(l, KEEP, false)?;
    let initial = setting(l, &["initial"])?;
    unless(l, initial.is_some() && !matches!(function, R::Max | R::Min), "an initial value")?;
    let given = l.ty(x).dtype;
    let mut function = function;
    match function {
        R::Any | R::All => x = l.cast(x, DType::Bool)?,
        R::Sum | R::Prod => {
            let to = dtype(l, &["dtype"])?.unwrap_or(summed(l, given));
            x = l.cast(x, to)?;
        }
        R::Mean | R::LogSumExp => {
            unless(l, is_tf(l) && !given.is_float(), "a mean of whole numbers")?;
            x = as_float(l, x)?;
        }
        R::Max if given == DType::Bool => function = R::Any,
        R::Min if given == DType::Bool => function = R::All,
        R::Max | R::Min => {}
    }
    let mut y = reduced(l, function, x, &axes, keep)?;
    if initial.is_some() {
        let initial = l.scalar_like(y, number(l, &["initial"], 0.0)?)?;
        y = l.binary(if function == R::Max { B::Max } else { B::Min }, y, initial)?;
    }
    Ok(one(y))
}

/// The mean, and the mean of the squared distance to it. Half precision is too narrow for the squares.
fn spread(l: &mut Lowering<'_>, x: ValueId, axes: &[usize], keep: bool) -> Result<(ValueId, ValueId), Diag> {
    let given = l.ty(x).dtype;
    let wide = if matches!(given, DType::F16 | DType::BF16) { l.cast(x, DType::F32)? } else { x };
    let mean = reduced(l, R::Mean, wide, axes, true)?;
    let apart = l.binary(B::Sub, wide, mean)?;
    let square = l.unary(U::Square, apart)?;
    let variance = reduced(l, R::Mean, square, axes, keep)?;
    let mean = if keep { mean } else { reduced(l, R::Mean, wide, axes, false)? };
    Ok((l.cast(mean, given)?, l.cast(variance, given)?))
}

pub fn variance(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let axes = over(l, l.rank(x))?;
    let keep = flag(l, KEEP, false)?;
    Ok(one(spread(l, x, &axes, keep)?.1))
}

pub fn deviation(l: &mut Lowering<'_>) -> Outcome {
    let variance = variance(l)?[0].value;
    Ok(one(l.unary(U::Sqrt, variance)?))
}

/// Mean and variance.
pub fn moments(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let axes = over(l, l.rank(x))?;
    let keep = flag(l, KEEP, false)?;
    let (mean, variance) = spread(l, x, &axes, keep)?;
    Ok(vec![Val::plain(mean), Val::plain(variance)])
}

/// The Euclidean norm of vectors or (Frobenius) matrices; of vectors also the sum and the largest of the sizes.
pub fn norm(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let axes = over(l, l.rank(x))?;
    let keep = flag(l, KEEP, false)?;
    let order =
        setting(l, &["ord"])?.map_or("2".to_string(), |order| order.to_string().trim_matches('"').to_lowercase());
    let size = l.unary(U::Abs, x)?;
    let y = match order.as_str() {
        "euclidean" | "fro" => root(l, x, &axes, keep)?,
        // A matrix' 2-norm is its largest singular value; Keras 3's default is Frobenius all the same.
        "2" | "2.0" if axes.len() == 1 || is_tf(l) || setting(l, &["ord"])?.is_none() => root(l, x, &axes, keep)?,
        "1" | "1.0" if axes.len() == 1 => reduced(l, R::Sum, size, &axes, keep)?,
        "inf" | "infinity" if axes.len() == 1 => reduced(l, R::Max, size, &axes, keep)?,
        other => match (other.trim_end_matches("inity").replace("infinity", "inf").as_str(), &axes[..]) {
            ("-inf", [_]) => reduced(l, R::Min, size, &axes, keep)?,
            ("0" | "0.0", [_]) => {
                let some = l.binary_scalar(B::NotEqual, x, 0.0)?;
                let some = l.cast(some, l.ty(x).dtype)?;
                reduced(l, R::Sum, some, &axes, keep)?
            }
            (matrix @ ("1" | "1.0" | "inf" | "-inf"), [_, _]) => of_matrix(l, size, matrix, keep)?,
            (order, [_]) => match order.parse::<f64>() {
                Ok(order) => powered(l, size, order, &axes, keep)?,
                Err(_) => return Err(l.unsupported(format!("the norm of order {other}")).into()),
            },
            _ => return Err(l.unsupported(format!("the norm of order {other}")).into()),
        },
    };
    Ok(one(y))
}

/// (sum size^order)^(1 / order)
fn powered(l: &mut Lowering<'_>, size: ValueId, order: f64, axes: &[usize], keep: bool) -> Result<ValueId, Diag> {
    let powers = l.binary_scalar(B::Pow, size, order)?;
    let total = reduced(l, R::Sum, powers, axes, keep)?;
    l.binary_scalar(B::Pow, total, 1.0 / order)
}

/// The largest sum of a column (order 1), or the largest or smallest of a row, in the order of the axes as given.
fn of_matrix(l: &mut Lowering<'_>, size: ValueId, order: &str, keep: bool) -> Result<ValueId, Diag> {
    let given = axes(l, AXIS, l.rank(size))?.unwrap_or_else(|| vec![0, 1]);
    let (rows, columns) = (given[0], given[1]);
    let (first, then) = if order.starts_with('1') { (rows, columns) } else { (columns, rows) };
    let sums = l.reduce(R::Sum, size, &[first], true)?;
    let found = l.reduce(if order == "-inf" { R::Min } else { R::Max }, sums, &[then], true)?;
    if keep {
        return Ok(found);
    }
    let found = l.squeeze(found, rows.max(columns))?;
    l.squeeze(found, rows.min(columns))
}

fn root(l: &mut Lowering<'_>, x: ValueId, axes: &[usize], keep: bool) -> Result<ValueId, Diag> {
    let square = l.unary(U::Square, x)?;
    let total = reduced(l, R::Sum, square, axes, keep)?;
    l.unary(U::Sqrt, total)
}

/// Vectors of length one.
pub fn normalize(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let rank = l.rank(x);
    if is_tf(l) {
        let axes = axes(l, &["axis", "dim"], rank)?.unwrap_or_else(|| (0..rank).collect());
        let floor = number(l, &["epsilon"], 1e-12)?;
        return Ok(one(l2_normalized(l, x, &axes, floor)?));
    }
    let axis = axis(l, &["axis"], rank, -1)?;
    let epsilon = number(l, &["epsilon"], 1e-7)?;
    match number(l, &["order"], 2.0)? {
        // Keras bounds the norm, `l2_normalized` its square.
        2.0 => Ok(one(l2_normalized(l, x, &[axis], epsilon * epsilon)?)),
        1.0 => {
            let size = l.unary(U::Abs, x)?;
            let total = l.reduce(R::Sum, size, &[axis], true)?;
            let floor = l.scalar_like(total, epsilon)?;
            let total = l.binary(B::Max, total, floor)?;
            Ok(one(l.binary(B::Div, x, total)?))
        }
        order => {
            let size = l.unary(U::Abs, x)?;
            let total = powered(l, size, order, &[axis], true)?;
            let floor = l.scalar_like(total, epsilon)?;
            let total = l.binary(B::Max, total, floor)?;
            Ok(one(l.binary(B::Div, x, total)?))
        }
    }
}

/// A tensor as one long axis.
pub fn flat(l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
    let count = element_count(l.graph.shape(x));
    l.reshape(x, vec![count])
}

pub fn arg(l: &mut Lowering<'_>) -> Outcome {
    let mut x = tensor(l)?;
    if l.ty(x).dtype == DType::Bool {
        x = l.cast(x, DType::I32)?;
    }
    let keepdims = flag(l, KEEP, false)?;
    let axis = match (axes(l, &["axis", "dimension"], l.rank(x))?.as_deref(), is_tf(l)) {
        (Some([axis]), _) => *axis,
        (None, true) => 0,
        (None, false) if !keepdims => {
            x = flat(l, x)?;
            0
        }
        _ => return Err(l.unsupported("several axes at once").into()),
    };
    let function = if matches!(word(l), "Argmax" | "argmax") { ArgFunction::Max } else { ArgFunction::Min };
    let index = l.add(ArgReduce { function, axis, keepdims }, &[x])?;
    let to = if is_tf(l) { dtype(l, &["output_type"])?.unwrap_or(DType::I64) } else { DType::I32 };
    Ok(one(l.cast(index, to)?))
}

pub fn cumulative(l: &mut Lowering<'_>) -> Outcome {
    let mut x = tensor(l)?;
    if word(l).starts_with("Nan") && l.ty(x).dtype.is_float() {
        x = super::numbers::without_nan(l, x, if word(l) == "Nancumsum" { 0.0 } else { 1.0 })?;
    }
    let to = dtype(l, &["dtype"])?.unwrap_or(summed(l, l.ty(x).dtype));
    x = l.cast(x, to)?;
    let axis = match axes(l, &["axis"], l.rank(x))?.as_deref() {
        Some([axis]) => *axis,
        Some(_) => return Err(l.unsupported("several axes at once").into()),
        None if is_tf(l) => 0,
        None => {
            x = flat(l, x)?;
            0
        }
    };
    let function = if matches!(word(l), "Cumsum" | "cumsum" | "Nancumsum") {
        CumulativeFunction::Sum
    } else {
        CumulativeFunction::Prod
    };
    let (exclusive, reverse) = (flag(l, &["exclusive"], false)?, flag(l, &["reverse"], false)?);
    Ok(one(l.add(Cumulative { function, axis, exclusive, reverse }, &[x])?))
}

/// The largest along the last axis, and where they are.
pub fn top_k(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let axis = l.rank(x).checked_sub(1).ok_or_else(|| l.unsupported("a scalar input"))?;
    let k = integer(l, &["k"])?.unwrap_or(1);
    let k = u64::try_from(k).map_err(|_| l.unsupported(format!("the {k} largest")))?;
    let found = l.add_node(TopK { axis, k: Dim::Known(k), largest: true }, &[Some(x)])?;
    let to = dtype(l, &["index_type"])?.unwrap_or(DType::I32);
    let index = l.cast(found[1], to)?;
    Ok(vec![Val::plain(found[0]), Val::plain(index)])
}
