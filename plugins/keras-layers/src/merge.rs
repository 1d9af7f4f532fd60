//! Layers that join several inputs. Inputs of lower rank get axes of size one behind the batch axis.
//!
//! Masks: in Keras 2, the result keeps what all masked inputs keep. Keras 3 has no mask of several inputs before 3.4;
//! since then it keeps what any input keeps, and has no mask when one input has none; `Maximum`, `Minimum` and
//! `Multiply` then leave masked elements out.

use crate::norm::l2_normalized;
use crate::policy::{as_float, compute_dtype, one};
use crate::table::{Masks, Row};
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::{
    BinaryFunction, BroadcastTo, Concat, DType, Dim, Einsum, ReduceFunction, Shape, Tensor, ValueId, Where,
};
use recast_plugin_api::lower::{Lowering, Val, resolve_axis};
use serde_json::Value as Json;

const MERGE: &str = "merging";

pub const ROWS: &[Row] = &[
    Row::new("Add", MERGE, Masks::Own, add, "any number of inputs"),
    Row::new("Average", MERGE, Masks::Own, average, "any number of inputs"),
    Row::new("Concatenate", MERGE, Masks::Own, concatenate, "any axis"),
    Row::new("Dot", MERGE, Masks::Drop, dot, "axes, normalize"),
    Row::new("Maximum", MERGE, Masks::Own, maximum, "any number of inputs"),
    Row::new("Minimum", MERGE, Masks::Own, minimum, "any number of inputs"),
    Row::new("Multiply", MERGE, Masks::Own, multiply, "any number of inputs"),
    Row::new("Subtract", MERGE, Masks::Own, subtract, "two inputs"),
];

type Outcome = Result<Vec<Val>, Findings>;

fn add(l: &mut Lowering<'_>) -> Outcome {
    folded(l, BinaryFunction::Add)
}
fn maximum(l: &mut Lowering<'_>) -> Outcome {
    extreme(l, BinaryFunction::Max)
}
fn minimum(l: &mut Lowering<'_>) -> Outcome {
    extreme(l, BinaryFunction::Min)
}

/// Whether masks of several inputs are joined by "any" rather than "all".
fn keeps_any(l: &Lowering<'_>) -> bool {
    l.keras_version() >= (3, 4)
}

/// The inputs in one dtype. A merge of integers stays one; any float makes all the compute dtype.
fn merged_inputs(l: &mut Lowering<'_>) -> Result<Vec<Val>, Diag> {
    let inputs = l.positional();
    let first = inputs.first().ok_or_else(|| l.unsupported("called without inputs"))?;
    let dtype = l.ty(first.value).dtype;
    if inputs.iter().all(|input| l.ty(input.value).dtype == dtype) {
        return Ok(inputs);
    }
    let to = if inputs.iter().any(|input| l.ty(input.value).dtype.is_float()) { compute_dtype(l)? } else { DType::I64 };
    let cast = |input: &Val| Ok(Val { value: l.cast(input.value, to)?, mask: input.mask });
    inputs.iter().map(cast).collect()
}

/// Axes of size one behind the batch axis, until all have one rank.
fn same_rank(l: &mut Lowering<'_>, inputs: &[Val]) -> Result<Vec<ValueId>, Diag> {
    let rank = inputs.iter().map(|input| l.rank(input.value)).max().unwrap_or(0);
    let expand = |input: &Val| {
        let mut shape = l.shape(input.value);
        let missing = rank - shape.len();
        if missing == 0 || shape.is_empty() {
            return Ok(input.value);
        }
        shape.splice(1..1, std::iter::repeat_n(Dim::Known(1), missing));
        l.reshape(input.value, shape)
    };
    inputs.iter().map(expand).collect()
}

fn fold(l: &mut Lowering<'_>, values: &[ValueId], function: BinaryFunction) -> Result<ValueId, Diag> {
    let (first, rest) = values.split_first().ok_or_else(|| l.unsupported("called without inputs"))?;
    rest.iter().try_fold(*first, |joined, &value| l.binary(function, joined, value))
}

fn folded(l: &mut Lowering<'_>, function: BinaryFunction) -> Outcome {
    let inputs = merged_inputs(l)?;
    let values = same_rank(l, &inputs)?;
    let value = fold(l, &values, function)?;
    Ok(vec![Val { value, mask: merged_mask(l, &inputs)? }])
}

fn average(l: &mut Lowering<'_>) -> Outcome {
    let inputs = merged_inputs(l)?;
    let values = same_rank(l, &inputs)?;
    let sum = fold(l, &values, BinaryFunction::Add)?;
    let sum = as_float(l, sum)?;
    let value = l.binary_scalar(BinaryFunction::Div, sum, values.len() as f64)?;
    Ok(vec![Val { value, mask: merged_mask(l, &inputs)? }])
}

fn subtract(l: &mut Lowering<'_>) -> Outcome {
    if l.positional().len() != 2 {
        return Err(l.unsupported(format!("takes two inputs, is called with {}", l.positional().len())).into());
    }
    folded(l, BinaryFunction::Sub)
}

fn merged_mask(l: &mut Lowering<'_>, inputs: &[Val]) -> Result<Option<ValueId>, Diag> {
    let masks: Vec<ValueId> = inputs.iter().filter_map(|input| input.mask).collect();
    if masks.is_empty() || (keeps_any(l) && masks.len() < inputs.len()) {
        return Ok(None);
    }
    let function = if keeps_any(l) { BinaryFunction::Or } else { BinaryFunction::And };
    fold(l, &masks, function).map(Some)
}

/// An input with its mask spread over its features.
struct Masked {
    value: ValueId,
    mask: Option<ValueId>,
}

fn spread(l: &mut Lowering<'_>, inputs: &[Val]) -> Result<Vec<Masked>, Diag> {
    let values = same_rank(l, inputs)?;
    let one = |(input, value): (&Val, ValueId)| {
        let mask = input.mask.map(|mask| l.expand(mask, l.rank(mask))).transpose()?;
        Ok(Masked { value, mask })
    };
    inputs.iter().zip(values).map(one).collect()
}

/// The result and its mask without the axis of the features.
fn unspread(l: &mut Lowering<'_>, value: ValueId, mask: Option<ValueId>) -> Outcome {
    let last = |mask: ValueId, l: &Lowering<'_>| l.rank(mask) - 1;
    let mask = mask.map(|mask| l.squeeze(mask, last(mask, l))).transpose()?;
    Ok(vec![Val { value, mask }])
}

fn multiply(l: &mut Lowering<'_>) -> Outcome {
    let inputs = merged_inputs(l)?;
    if !keeps_any(l) || inputs.iter().all(|input| input.mask.is_none()) {
        return folded(l, BinaryFunction::Mul);
    }
    let inputs = spread(l, &inputs)?;
    let mut product: Option<ValueId> = None;
    let mut kept: Option<ValueId> = None;
    let all_masked = inputs.iter().all(|input| input.mask.is_some());
    for Masked { mut value, mask } in inputs {
        if let Some(mask) = mask {
            let one = l.scalar_like(value, 1.0)?;
            value = l.add(Where {}, &[mask, value, one])?;
            kept = Some(kept.map_or(Ok(mask), |kept| l.binary(BinaryFunction::Or, kept, mask))?);
        }
        product = Some(product.map_or(Ok(value), |product| l.binary(BinaryFunction::Mul, product, value))?);
    }
    let mut product = product.ok_or_else(|| l.unsupported("called without inputs"))?;
    let kept = kept.filter(|_| all_masked);
    if let Some(kept) = kept {
        let zero = l.scalar_like(product, 0.0)?;
        product = l.add(Where {}, &[kept, product, zero])?;
    }
    unspread(l, product, kept)
}

/// The largest or smallest: where an element is masked, the other one counts.
fn extreme(l: &mut Lowering<'_>, function: BinaryFunction) -> Outcome {
    let inputs = merged_inputs(l)?;
    if !keeps_any(l) || inputs.iter().all(|input| input.mask.is_none()) {
        return folded(l, function);
    }
    let mut inputs = spread(l, &inputs)?.into_iter();
    let mut found = inputs.next().ok_or_else(|| l.unsupported("called without inputs"))?;
    for Masked { mut value, mask } in inputs {
        if let Some(mask) = mask {
            value = l.add(Where {}, &[mask, value, found.value])?;
        }
        if let Some(kept) = found.mask {
            found.value = l.add(Where {}, &[kept, found.value, value])?;
        }
        found.mask = match (found.mask, mask) {
            (Some(kept), Some(mask)) => Some(l.binary(BinaryFunction::Or, kept, mask)?),
            _ => None,
        };
        found.value = l.binary(function, found.value, value)?;
    }
    unspread(l, found.value, found.mask)
}

fn concatenate(l: &mut Lowering<'_>) -> Outcome {
    let inputs = merged_inputs(l)?;
    let values: Vec<ValueId> = inputs.iter().map(|input| input.value).collect();
    let axis = l.config.axis_or("axis", l.rank(values[0]), -1)?;
    let value = l.add(Concat { axis }, &values)?;
    Ok(vec![Val { value, mask: concatenated_mask(l, &inputs, axis)? }])
}

/// The masks spread over their inputs and joined as these are; a position of the result is kept when all (or any, since
/// Keras 3.4) of its elements along the last axis are.
fn concatenated_mask(l: &mut Lowering<'_>, inputs: &[Val], axis: usize) -> Result<Option<ValueId>, Diag> {
    if inputs.iter().all(|input| input.mask.is_none()) {
        return Ok(None);
    }
    let mut masks = Vec::new();
    for input in inputs {
        let shape = l.shape(input.value);
        masks.push(match input.mask {
            None => filled(l, true, shape)?,
            Some(mask) if l.rank(mask) < shape.len() => {
                let mask = l.expand(mask, l.rank(mask))?;
                l.add(BroadcastTo { shape }, &[mask])?
            }
            Some(mask) => mask,
        });
    }
    let joined = l.add(Concat { axis }, &masks)?;
    let function = if keeps_any(l) { ReduceFunction::Any } else { ReduceFunction::All };
    let last = l.rank(joined) - 1;
    l.reduce(function, joined, &[last], false).map(Some)
}

fn filled(l: &mut Lowering<'_>, value: bool, shape: Shape) -> Result<ValueId, Diag> {
    let scalar = l.constant(Tensor::scalar(DType::Bool, f64::from(value)))?;
    l.add(BroadcastTo { shape }, &[scalar])
}

/// Sums over one axis of each input; the batch axes run along. Two vectors give (batch, 1).
fn dot(l: &mut Lowering<'_>) -> Outcome {
    let inputs = merged_inputs(l)?;
    let [a, b] = inputs[..] else {
        return Err(l.unsupported(format!("takes two inputs, is called with {}", inputs.len())).into());
    };
    let (mut x, mut y) = (as_float(l, a.value)?, as_float(l, b.value)?);
    let (x_rank, y_rank) = (l.rank(x), l.rank(y));
    let want = || l.config.bad("axes", "an axis for each input, not that of the batch");
    let number = |value: &Json| value.as_i64().ok_or_else(want);
    let (x_axis, y_axis) = match l.config.get("axes") {
        Some(Json::Array(items)) if items.len() == 2 => (number(&items[0])?, number(&items[1])?),
        Some(value) => (number(value)?, number(value)?),
        None => return Err(want().into()),
    };
    let inner = |axis: i64, rank: usize| resolve_axis(axis, rank).filter(|&axis| axis > 0).ok_or_else(want);
    let (x_axis, y_axis) = (inner(x_axis, x_rank)?, inner(y_axis, y_rank)?);
    if l.config.bool_or("normalize", false)? {
        x = l2_normalized(l, x, &[x_axis], 1e-12)?;
        y = l2_normalized(l, y, &[y_axis], 1e-12)?;
    }
    let equation = contraction(x_rank, x_axis, y_rank, y_axis).ok_or_else(|| l.unsupported("ranks this high"))?;
    let z = l.add(Einsum { equation }, &[x, y])?;
    let z = if l.rank(z) == 1 { l.expand(z, 1)? } else { z };
    Ok(one(z))
}

/// Letters for both operands: the batch and the summed axis are shared. `None` when there are not enough of them.
fn contraction(x_rank: usize, x_axis: usize, y_rank: usize, y_axis: usize) -> Option<String> {
    let mut free = 'b'..='y';
    let mut letters = |rank: usize, summed: usize| -> Option<Vec<char>> {
        let letter = |axis: usize| match axis {
            0 => Some('a'),
            axis if axis == summed => Some('z'),
            _ => free.next(),
        };
        (0..rank).map(letter).collect()
    };
    let (x, y) = (letters(x_rank, x_axis)?, letters(y_rank, y_axis)?);
    let result = x.iter().chain(&y[1..]).filter(|&&letter| letter != 'z');
    let text = |letters: &[char]| letters.iter().collect::<String>();
    Some(format!("{},{}->{}", text(&x), text(&y), result.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contractions_are_batched() {
        assert_eq!(contraction(2, 1, 2, 1).as_deref(), Some("az,az->a"));
        assert_eq!(contraction(3, 2, 4, 1).as_deref(), Some("abz,azcd->abcd"));
    }
}
