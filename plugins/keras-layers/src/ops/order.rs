//! Sorting and what is made of it, and reductions that have no op of their own.

use super::args::{
    Operand, as_float, axes, axis, flag, float_tensor, integer, opt_operand, place, setting, tensor, text,
};
use super::reduce::flat;
use super::{Outcome, unless, word};
use crate::core::count;
use crate::policy::one;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{
    BinaryFunction as B, DType, Dim, Gather, ReduceFunction as R, Tensor, TopK, UnaryFunction as U, ValueId, Where,
};
use recast_plugin_api::lower::{Lowering, Val};
use serde_json::Value as Json;

/// Along `axis`, ascending or the largest first: the values and where they were.
pub fn sorted(l: &mut Lowering<'_>, x: ValueId, axis: usize, largest: bool) -> Result<(ValueId, ValueId), Diag> {
    let k = l.shape(x)[axis].clone();
    let found = l.add_node(TopK { axis, k, largest }, &[Some(x)])?;
    Ok((found[0], found[1]))
}

/// `sort` and `argsort`: the whole tensor as one row where the axis is null.
pub fn sort(l: &mut Lowering<'_>) -> Outcome {
    let mut x = tensor(l)?;
    let whole = l.config.object().get("axis").is_some_and(Json::is_null);
    if whole {
        x = flat(l, x)?;
    }
    let axis = axis(l, &["axis"], l.rank(x), -1)?;
    let largest = text(l, &["direction"], "ASCENDING")? == "DESCENDING";
    let (values, places) = sorted(l, x, axis, largest)?;
    let wanted = matches!(word(l), "Argsort" | "argsort");
    Ok(one(if wanted { l.cast(places, DType::I32)? } else { values }))
}

/// Median, quantile and percentile over one axis or several of known size.
pub fn quantile(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let rank = l.rank(x);
    let mut over = axes(l, &["axis"], rank)?.unwrap_or_else(|| (0..rank).collect());
    over.sort_unstable();
    let keep = flag(l, &["keepdims"], false)?;
    let (shares, single) = shares(l)?;
    let kept: Vec<usize> = (0..rank).filter(|axis| !over.contains(axis)).collect();
    let elements = count(&over.iter().map(|&axis| l.known(x, axis)).collect::<Result<Vec<_>, _>>()?);
    let shape = l.shape(x);
    let perm: Vec<usize> = kept.iter().chain(&over).copied().collect();
    let turned = l.transpose(x, &perm)?;
    let mut folded: Vec<Dim> = kept.iter().map(|&axis| shape[axis].clone()).collect();
    folded.push(Dim::Known(elements));
    let rows = l.reshape(turned, folded)?;
    let last = l.rank(rows) - 1;
    let (values, _) = sorted(l, rows, last, false)?;
    let method = method(l)?;
    let mut outputs = Vec::new();
    for share in shares {
        let y = if word(l).starts_with("Nan") {
            super::missing::at_share(l, rows, share, method)?
        } else {
            at_share(l, values, last, share * (elements.max(1) - 1) as f64, method)?
        };
        let y = if keep {
            let shape: Vec<Dim> = shape
                .iter()
                .enumerate()
                .map(|(i, dim)| if over.contains(&i) { Dim::Known(1) } else { dim.clone() })
                .collect();
            l.reshape(y, shape)?
        } else {
            y
        };
        outputs.push(if single { y } else { l.expand(y, 0)? });
    }
    Ok(one(if single { outputs[0] } else { l.add(recast_plugin_api::ir::Concat { axis: 0 }, &outputs)? }))
}

/// What stands for a place between two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Linear,
    Lower,
    Higher,
    Midpoint,
    Nearest,
}

fn method(l: &Lowering<'_>) -> Result<Method, Diag> {
    let given = text(l, &["method"], "linear")?;
    // Of Keras 3.15, this operation stores its `method` and computes the linear one all the same.
    if word(l) == "Quantile" && given != "linear" {
        let detail = "its 'method' is not used: as a node of a model, Keras computes the linear one";
        l.report(&Diag::new(Code::OptionIgnored, &l.layer.path, detail).note());
        return Ok(Method::Linear);
    }
    Ok(match given.as_str() {
        "linear" => Method::Linear,
        "lower" => Method::Lower,
        "higher" => Method::Higher,
        "midpoint" => Method::Midpoint,
        "nearest" => Method::Nearest,
        other => return Err(l.unsupported(format!("the method '{other}'"))),
    })
}

/// The shares asked for, and whether it was one number.
fn shares(l: &Lowering<'_>) -> Result<(Vec<f64>, bool), Diag> {
    if matches!(word(l), "Median" | "Nanmedian") {
        return Ok((vec![0.5], true));
    }
    let scale = if word(l).to_lowercase().ends_with("percentile") { 0.01 } else { 1.0 };
    let given = match opt_operand(l, 1, &["q"])? {
        Some(Operand::Constant(Json::Array(items), _)) => {
            (items.iter().map(Json::as_f64).collect::<Option<Vec<_>>>(), false)
        }
        Some(Operand::Constant(one, _)) => (one.as_f64().map(|one| vec![one]), true),
        _ => (None, true),
    };
    let numbers =
        given.0.filter(|all| !all.is_empty()).ok_or_else(|| l.unsupported("a share that the model computes"))?;
    Ok((numbers.into_iter().map(|share| share * scale).collect(), given.1))
}

/// The element at a place between two, along `axis`.
fn at_share(l: &mut Lowering<'_>, x: ValueId, axis: usize, place: f64, method: Method) -> Result<ValueId, Diag> {
    let pick = |l: &mut Lowering<'_>, at: f64| {
        let at = l.constant(Tensor::from_i64(&[], &[at as i64]))?;
        l.add(Gather { axis }, &[x, at])
    };
    let (below, above) = (place.floor(), place.ceil());
    let share = match method {
        Method::Linear => place - below,
        Method::Midpoint => 0.5,
        Method::Lower => 0.0,
        Method::Higher => 1.0,
        Method::Nearest => place.round_ties_even() - below,
    };
    if below == above || share == 0.0 {
        return pick(l, below);
    }
    if share == 1.0 {
        return pick(l, above);
    }
    let (low, high) = (pick(l, below)?, pick(l, above)?);
    let low = l.binary_scalar(B::Mul, low, 1.0 - share)?;
    let high = l.binary_scalar(B::Mul, high, share)?;
    l.binary(B::Add, low, high)
}

fn over(l: &Lowering<'_>, rank: usize) -> Result<(Vec<usize>, bool), Diag> {
    let mut over = axes(l, &["axis"], rank)?.unwrap_or_else(|| (0..rank).collect());
    over.sort_unstable();
    over.dedup();
    Ok((over, flag(l, &["keepdims"], false)?))
}

/// Largest less smallest.
pub fn range(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let (over, keep) = over(l, l.rank(x))?;
    let (most, least) = (l.reduce(R::Max, x, &over, keep)?, l.reduce(R::Min, x, &over, keep)?);
    Ok(one(l.binary(B::Sub, most, least)?))
}

pub fn count_nonzero(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let (over, _) = over(l, l.rank(x))?;
    let set = l.cast(x, DType::Bool)?;
    let set = l.cast(set, DType::I32)?;
    Ok(one(l.reduce(R::Sum, set, &over, false)?))
}

/// The mean, weighted along one axis.
pub fn average(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let (over, _) = over(l, l.rank(x))?;
    let Some(weights) = opt_operand(l, 1, &["weights"])? else {
        return Ok(one(l.reduce(R::Mean, x, &over, false)?));
    };
    let to = l.ty(x).dtype;
    let mut weights = place(l, &weights, to)?;
    if l.rank(weights) == 1 && l.rank(x) > 1 {
        unless(l, over.len() != 1, "weights of one axis over several")?;
        let mut shape = vec![Dim::Known(1); l.rank(x)];
        shape[over[0]] = l.shape(weights)[0].clone();
        weights = l.reshape(weights, shape)?;
    }
    let weighted = l.binary(B::Mul, x, weights)?;
    let total = l.reduce(R::Sum, weighted, &over, false)?;
    let shape = l.shape(x);
    let all = l.add(recast_plugin_api::ir::BroadcastTo { shape }, &[weights])?;
    let count = l.reduce(R::Sum, all, &over, false)?;
    Ok(one(l.binary(B::Div, total, count)?))
}

/// Reductions that leave out what is no number.
pub fn without_nan(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let (over, keep) = over(l, l.rank(x))?;
    let none = l.unary(U::IsNan, x)?;
    let (function, neutral) = match word(l) {
        "Nanprod" => (R::Prod, 1.0),
        "Nanmax" => (R::Max, f64::NEG_INFINITY),
        "Nanmin" => (R::Min, f64::INFINITY),
        _ => (R::Sum, 0.0),
    };
    let neutral = l.scalar_like(x, neutral)?;
    let kept = l.add(Where {}, &[none, neutral, x])?;
    if matches!(word(l), "Nansum" | "Nanprod" | "Nanmax" | "Nanmin") {
        return Ok(one(l.reduce(function, kept, &over, keep)?));
    }
    let some = l.unary(U::Not, none)?;
    let some = l.cast(some, l.ty(x).dtype)?;
    let count = l.reduce(R::Sum, some, &over, true)?;
    let total = l.reduce(R::Sum, kept, &over, true)?;
    let mean = l.binary(B::Div, total, count)?;
    let mut y = mean;
    if matches!(word(l), "Nanvar" | "Nanstd") {
        let apart = l.binary(B::Sub, kept, mean)?;
        let apart = l.binary(B::Mul, apart, some)?;
        let square = l.unary(U::Square, apart)?;
        let square = l.reduce(R::Sum, square, &over, true)?;
        y = l.binary(B::Div, square, count)?;
        if word(l) == "Nanstd" {
            y = l.unary(U::Sqrt, y)?;
        }
    }
    if !keep {
        for &axis in over.iter().rev() {
            y = l.squeeze(y, axis)?;
        }
    }
    Ok(one(y))
}

/// Differences of neighbours, `n` times.
pub fn differences(l: &mut Lowering<'_>) -> Outcome {
    let mut x = tensor(l)?;
    let axis = axis(l, &["axis"], l.rank(x), -1)?;
    for _ in 0..integer(l, &["n"])?.unwrap_or(1).clamp(0, 64) {
        let size = l.shape(x)[axis].clone();
        let before = size.offset(-1).ok_or_else(|| l.unsupported("an axis without elements"))?;
        let (tail, head) = (l.slice(x, axis, Dim::Known(1), size)?, l.slice(x, axis, Dim::Known(0), before)?);
        x = l.binary(B::Sub, tail, head)?;
    }
    Ok(one(x))
}

/// The area under a curve whose points are `dx` apart.
pub fn trapezoid(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let x = as_float(l, x)?;
    unless(l, setting(l, &["x"])?.is_some(), "points that are given")?;
    let axis = axis(l, &["axis"], l.rank(x), -1)?;
    let size = l.shape(x)[axis].clone();
    let before = size.offset(-1).ok_or_else(|| l.unsupported("an axis without elements"))?;
    let (tail, head) = (l.slice(x, axis, Dim::Known(1), size)?, l.slice(x, axis, Dim::Known(0), before)?);
    let sum = l.binary(B::Add, tail, head)?;
    let sum = l.binary_scalar(B::Mul, sum, 0.5 * super::args::number(l, &["dx"], 1.0)?)?;
    Ok(one(l.reduce(R::Sum, sum, &[axis], false)?))
}

/// Whether each target is among the `k` largest of its row.
pub fn in_top_k(l: &mut Lowering<'_>) -> Outcome {
    let targets = super::args::operand(l, 0, &["targets"])?;
    let targets = place(l, &targets, DType::I64)?;
    let scores = super::args::operand(l, 1, &["predictions"])?;
    let scores = place(l, &scores, DType::F32)?;
    let k = integer(l, &["k"])?.unwrap_or(1).max(1);
    let row = l.expand(targets, 1)?;
    let own = l.add(recast_plugin_api::ir::GatherElements { axis: 1 }, &[scores, row])?;
    let above = l.binary(B::Greater, scores, own)?;
    let above = l.cast(above, DType::I32)?;
    let above = l.reduce(R::Sum, above, &[1], false)?;
    Ok(vec![Val::plain(l.binary_scalar(B::Less, above, k as f64)?)])
}
