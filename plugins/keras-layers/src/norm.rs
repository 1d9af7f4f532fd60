//! Normalization over batches, layers, groups and vectors. Keras computes these in at least f32 and casts the result to
//! the compute dtype.

use crate::policy::{as_float, compute_dtype, float_input, mask, one};
use crate::table::{Masks, Row};
use crate::training::is_training;
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::{
    BatchNorm, BinaryFunction, Clip, DType, GroupNorm, LayerNorm, ReduceFunction, RmsNorm, UnaryFunction, ValueId,
};
use recast_plugin_api::lower::{Lowering, Val};
use serde_json::Value as Json;

const NORM: &str = "normalization";

pub const ROWS: &[Row] = &[
    Row::new("BatchNormalization", NORM, Masks::Pass, batch, "moving statistics; training=True: the batch's own").raw(),
    Row::new("BatchNormalizationV1", NORM, Masks::Pass, batch, "as BatchNormalization").raw(),
    Row::new("BatchNormalizationV2", NORM, Masks::Pass, batch, "as BatchNormalization").raw(),
    Row::new("SyncBatchNormalization", NORM, Masks::Pass, batch, "as BatchNormalization").raw(),
    Row::new("GroupNormalization", NORM, Masks::Pass, group, "groups of -1 too").raw(),
    Row::new("LayerNormalization", NORM, Masks::Pass, layer, "one axis or several; rms_scaling").raw(),
    Row::new("RMSNormalization", NORM, Masks::Drop, rms, "one axis or several"),
    Row::new("UnitNormalization", NORM, Masks::Pass, unit, "one axis or several"),
];

type Outcome = Result<Vec<Val>, Findings>;

/// The input in at least f32. Keras 2 casts it to the compute dtype before.
fn wide_input(l: &mut Lowering<'_>) -> Result<ValueId, Diag> {
    let mut x = l.input()?.value;
    let compute = compute_dtype(l)?;
    if l.keras_major() < 3 && compute.is_float() {
        x = l.cast(x, compute)?;
    }
    x = as_float(l, x)?;
    let half = matches!(l.ty(x).dtype, DType::F16 | DType::BF16);
    if half { l.cast(x, DType::F32) } else { Ok(x) }
}

fn given_dtype(l: &Lowering<'_>) -> Result<DType, Diag> {
    Ok(l.ty(l.input()?.value).dtype)
}

/// The result, back in the compute dtype.
fn narrowed(l: &mut Lowering<'_>, y: ValueId) -> Outcome {
    let to = compute_dtype(l)?;
    Ok(one(if to.is_float() { l.cast(y, to)? } else { y }))
}

/// Since 3.11, Keras 3 gives back the dtype that came: what it makes of whole numbers loses its fractions.
pub fn as_given(l: &mut Lowering<'_>, y: ValueId, given: DType) -> Result<ValueId, Diag> {
    if given.is_float() || l.keras_version() < (3, 11) { Ok(y) } else { l.cast(y, given) }
}

/// A weight of these sizes in the dtype of `x`, if `key` (`scale`, `center`) says that the layer has it.
fn optional(l: &mut Lowering<'_>, key: &str, role: &str, sizes: &[u64], x: ValueId) -> Result<Option<ValueId>, Diag> {
    if !l.config.bool_or(key, true)? {
        return Ok(None);
    }
    wide_weight(l, role, sizes, x).map(Some)
}

/// A weight over `sizes`. Where a configuration lists axes out of order, Keras stores that order and then reshapes.
fn wide_weight(l: &mut Lowering<'_>, role: &str, sizes: &[u64], x: ValueId) -> Result<ValueId, Diag> {
    let stored = l.layer.weight(role).and_then(|weight| weight.tensor.as_ref()).map(|tensor| tensor.decode_tensor());
    let mut stored = stored.transpose()?.map(|tensor| tensor.shape).unwrap_or_else(|| sizes.to_vec());
    let sorted = |sizes: &[u64]| {
        let mut sizes = sizes.to_vec();
        sizes.sort_unstable();
        sizes
    };
    if sorted(&stored) != sorted(sizes) {
        stored = sizes.to_vec();
    }
    let value = l.param_reshaped(role, &stored, sizes)?;
    l.cast(value, l.ty(x).dtype)
}

fn sizes_of(l: &Lowering<'_>, x: ValueId, axes: &[usize]) -> Result<Vec<u64>, Diag> {
    axes.iter().map(|&axis| l.known(x, axis)).collect()
}

/// `axis`, or the last one.
fn axes_or_last(l: &Lowering<'_>, rank: usize) -> Result<Vec<usize>, Diag> {
    match l.config.get("axis") {
        Some(_) => l.config.axes("axis", rank),
        None if rank > 0 => Ok(vec![rank - 1]),
        None => Err(l.unsupported("a scalar input")),
    }
}

fn batch(l: &mut Lowering<'_>) -> Outcome {
    let x = wide_input(l)?;
    let axes = axes_or_last(l, l.rank(x))?;
    let epsilon = l.config.f64_or("epsilon", 1e-3)?;
    match (l.config.u64_or("mode", 0)?, &axes[..]) {
        (0, _) => {}
        (1, [_]) => return sample_by_sample(l, x, epsilon),
        (2, [axis]) => {
            ["moving_mean", "moving_variance"].iter().for_each(|role| l.ignore(role));
            let y = batch_by_batch(l, x, *axis, epsilon)?;
            return narrowed(l, y);
        }
        (mode, _) => return Err(l.unsupported(format!("mode {mode}")).into()),
    }
    if l.config.bool_or("renorm", false)? {
        ["moving_stddev", "renorm_mean", "renorm_stddev"].iter().for_each(|role| l.ignore(role));
    }
    ["renorm_mean_weight", "renorm_stddev_weight"].iter().for_each(|role| l.ignore(role));
    let y = match axes[..] {
        [axis] => batch_over_one(l, x, axis, epsilon)?,
        _ => batch_over_several(l, x, &axes, epsilon)?,
    };
    narrowed(l, y)
}

fn batch_over_one(l: &mut Lowering<'_>, x: ValueId, axis: usize, epsilon: f64) -> Result<ValueId, Diag> {
    let size = l.known(x, axis)?;
    let gamma = optional(l, "scale", "gamma", &[size], x)?;
    let beta = optional(l, "center", "beta", &[size], x)?;
    let mut mean = wide_weight(l, "moving_mean", &[size], x)?;
    let mut variance = wide_weight(l, "moving_variance", &[size], x)?;
    // A frozen layer keeps to its moving statistics whatever the call says.
    if l.layer.trainable && is_training(l)? {
        if mask(l).is_some() || l.config.bool_or("renorm", false)? {
            return Err(l.unsupported("called with training=True together with a mask or renorm"));
        }
        let axes: Vec<usize> = (0..l.rank(x)).filter(|&other| other != axis).collect();
        let center = l.reduce(ReduceFunction::Mean, x, &axes, true)?;
        let off = l.binary(BinaryFunction::Sub, x, center)?;
        let square = l.unary(UnaryFunction::Square, off)?;
        mean = l.reduce(ReduceFunction::Mean, x, &axes, false)?;
        variance = l.reduce(ReduceFunction::Mean, square, &axes, false)?;
    }
    let op = BatchNorm { axis, epsilon };
    Ok(l.add_node(op, &[Some(x), gamma, beta, Some(mean), Some(variance)])?[0])
}

/// Mode 2 of Keras 1: the batch's own statistics, always.
fn batch_by_batch(l: &mut Lowering<'_>, x: ValueId, axis: usize, epsilon: f64) -> Result<ValueId, Diag> {
    let size = l.known(x, axis)?;
    let gamma = wide_weight(l, "gamma", &[size], x)?;
    let beta = wide_weight(l, "beta", &[size], x)?;
    let axes: Vec<usize> = (0..l.rank(x)).filter(|&other| other != axis).collect();
    let center = l.reduce(ReduceFunction::Mean, x, &axes, true)?;
    let off = l.binary(BinaryFunction::Sub, x, center)?;
    let square = l.unary(UnaryFunction::Square, off)?;
    let mean = l.reduce(ReduceFunction::Mean, x, &axes, false)?;
    let variance = l.reduce(ReduceFunction::Mean, square, &axes, false)?;
    let op = BatchNorm { axis, epsilon };
    Ok(l.add_node(op, &[Some(x), Some(gamma), Some(beta), Some(mean), Some(variance)])?[0])
}

/// Mode 1 of Keras 1: each sample by itself, over its last axis; epsilon counts twice.
fn sample_by_sample(l: &mut Lowering<'_>, x: ValueId, epsilon: f64) -> Outcome {
    let last = l.rank(x).checked_sub(1).ok_or_else(|| l.unsupported("a scalar input"))?;
    let size = l.known(x, last)?;
    ["moving_mean", "moving_variance"].iter().for_each(|role| l.ignore(role));
    let gamma = wide_weight(l, "gamma", &[size], x)?;
    let beta = wide_weight(l, "beta", &[size], x)?;
    let mean = l.reduce(ReduceFunction::Mean, x, &[last], true)?;
    let off = l.binary(BinaryFunction::Sub, x, mean)?;
    let square = l.unary(UnaryFunction::Square, off)?;
    let variance = l.reduce(ReduceFunction::Mean, square, &[last], true)?;
    let spread = l.binary_scalar(BinaryFunction::Add, variance, epsilon)?;
    let spread = l.unary(UnaryFunction::Sqrt, spread)?;
    let spread = l.binary_scalar(BinaryFunction::Add, spread, epsilon)?;
    let y = l.binary(BinaryFunction::Div, off, spread)?;
    let y = l.binary(BinaryFunction::Mul, y, gamma)?;
    let y = l.binary(BinaryFunction::Add, y, beta)?;
    narrowed(l, y)
}

/// Keras 2 with a list of axes: weights of the input's rank, 1 along the other axes.
fn batch_over_several(l: &mut Lowering<'_>, x: ValueId, axes: &[usize], epsilon: f64) -> Result<ValueId, Diag> {
    if is_training(l)? {
        return Err(l.unsupported("called with training=True over several axes"));
    }
    let size = |axis: usize| if axes.contains(&axis) { l.known(x, axis) } else { Ok(1) };
    let sizes: Vec<u64> = (0..l.rank(x)).map(size).collect::<Result<_, _>>()?;
    let gamma = optional(l, "scale", "gamma", &sizes, x)?;
    let beta = optional(l, "center", "beta", &sizes, x)?;
    let mean = wide_weight(l, "moving_mean", &sizes, x)?;
    let variance = wide_weight(l, "moving_variance", &sizes, x)?;
    let spread = l.binary_scalar(BinaryFunction::Add, variance, epsilon)?;
    let mut scale = l.unary(UnaryFunction::Rsqrt, spread)?;
    if let Some(gamma) = gamma {
        scale = l.binary(BinaryFunction::Mul, scale, gamma)?;
    }
    let off = l.binary(BinaryFunction::Sub, x, mean)?;
    let y = l.binary(BinaryFunction::Mul, off, scale)?;
    beta.map_or(Ok(y), |beta| l.binary(BinaryFunction::Add, y, beta))
}

fn layer(l: &mut Lowering<'_>) -> Outcome {
    let given = given_dtype(l)?;
    let x = wide_input(l)?;
    let axes = axes_or_last(l, l.rank(x))?;
    let sizes = sizes_of(l, x, &axes)?;
    let epsilon = l.config.f64_or("epsilon", 1e-3)?;
    if l.config.bool_or("rms_scaling", false)? {
        let y = rms_scaled(l, x, &axes, &sizes, epsilon)?;
        let y = as_given(l, y, given)?;
        return narrowed(l, y);
    }
    let gamma = optional(l, "scale", "gamma", &sizes, x)?;
    let beta = optional(l, "center", "beta", &sizes, x)?;
    let y = l.add_node(LayerNorm { axes, epsilon }, &[Some(x), gamma, beta])?[0];
    let y = as_given(l, y, given)?;
    narrowed(l, y)
}

/// x / sqrt(variance + epsilon)
pub fn deviation_scaled(l: &mut Lowering<'_>, x: ValueId, axes: &[usize], epsilon: f64) -> Result<ValueId, Diag> {
    let mean = l.reduce(ReduceFunction::Mean, x, axes, true)?;
    let off = l.binary(BinaryFunction::Sub, x, mean)?;
    let square = l.unary(UnaryFunction::Square, off)?;
    let variance = l.reduce(ReduceFunction::Mean, square, axes, true)?;
    let variance = l.binary_scalar(BinaryFunction::Add, variance, epsilon)?;
    let scale = l.unary(UnaryFunction::Rsqrt, variance)?;
    l.binary(BinaryFunction::Mul, x, scale)
}

/// x gamma / sqrt(variance + epsilon): Keras divides by the deviation from the mean, but leaves the mean in.
fn rms_scaled(l: &mut Lowering<'_>, x: ValueId, axes: &[usize], sizes: &[u64], epsilon: f64) -> Result<ValueId, Diag> {
    let gamma = wide_weight(l, "gamma", sizes, x)?;
    let y = deviation_scaled(l, x, axes, epsilon)?;
    let broadcast: Vec<u64> =
        (0..l.rank(x)).map(|axis| axes.iter().position(|&other| other == axis).map_or(1, |at| sizes[at])).collect();
    let gamma = l.reshape(gamma, crate::core::dims(&broadcast))?;
    l.binary(BinaryFunction::Mul, y, gamma)
}

fn group(l: &mut Lowering<'_>) -> Outcome {
    if l.keras_major() < 3 && mask(l).is_some() {
        return Err(l.unsupported("called with a mask (Keras 2 leaves masked elements out of the statistics)").into());
    }
    let x = wide_input(l)?;
    let axis = l.config.axis_or("axis", l.rank(x), -1)?;
    let size = l.known(x, axis)?;
    let groups = match l.config.i64_or("groups", 32)? {
        -1 => size,
        groups => u64::try_from(groups).map_err(|_| l.config.bad("groups", "a number of groups, or -1"))?,
    };
    let gamma = optional(l, "scale", "gamma", &[size], x)?;
    let beta = optional(l, "center", "beta", &[size], x)?;
    let epsilon = l.config.f64_or("epsilon", 1e-3)?;
    let y = l.add_node(GroupNorm { axis, groups, epsilon }, &[Some(x), gamma, beta])?[0];
    narrowed(l, y)
}

fn rms(l: &mut Lowering<'_>) -> Outcome {
    let given = given_dtype(l)?;
    let x = wide_input(l)?;
    let axes = axes_or_last(l, l.rank(x))?;
    let sizes = sizes_of(l, x, &axes)?;
    let scale = wide_weight(l, "scale", &sizes, x)?;
    let epsilon = l.config.f64_or("epsilon", 1e-6)?;
    let y = l.add(RmsNorm { axes, epsilon }, &[x, scale])?;
    match given.is_float() {
        true => narrowed(l, y),
        false => Ok(one(as_given(l, y, given)?)),
    }
}

fn unit(l: &mut Lowering<'_>) -> Outcome {
    let x = float_input(l)?;
    let axes = match l.config.get("axis") {
        Some(Json::Array(items)) if items.is_empty() => (0..l.rank(x)).collect(),
        _ => axes_or_last(l, l.rank(x))?,
    };
    // Keras bounds the square of the norm by 1e-12, since 3.6 the norm.
    let floor = if l.keras_version() >= (3, 6) { 1e-24 } else { 1e-12 };
    Ok(one(l2_normalized(l, x, &axes, floor)?))
}

/// x / sqrt(max(sum of squares, floor))
pub fn l2_normalized(l: &mut Lowering<'_>, x: ValueId, axes: &[usize], floor: f64) -> Result<ValueId, Diag> {
    let square = l.unary(UnaryFunction::Square, x)?;
    let total = l.reduce(ReduceFunction::Sum, square, axes, true)?;
    let total = l.add(Clip { min: Some(floor), max: None }, &[total])?;
    let scale = l.unary(UnaryFunction::Rsqrt, total)?;
    l.binary(BinaryFunction::Mul, x, scale)
}
