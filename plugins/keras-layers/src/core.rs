//! Dense and its kin, embeddings, masking, the activation layers, and what is the identity at inference.

use crate::activations::{self, Activation};
use crate::policy::{as_float, compute_dtype, float_input, mask, one, through_float, weight};
use crate::table::{Masks, Row};
use crate::training::refuse_training;
use recast_keras_model::classes::ZEROED_SINCE;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{BinaryFunction, Clip, DType, Dim, Dropout, DropoutFunction, Einsum, Gather, MatMul};
use recast_plugin_api::ir::{ReduceFunction, UnaryFunction, ValueId, Where};
use recast_plugin_api::lower::{Lowering, Val};
use serde_json::Value as Json;

const CORE: &str = "core";
const ACTIVATION: &str = "activation";
const REGULARIZATION: &str = "regularization";
const NOISE: &str = "identity at inference; refused when called with training=True";

pub const ROWS: &[Row] = &[
    Row::new("Dense", CORE, Masks::Pass, dense, "any rank"),
    Row::new("EinsumDense", CORE, Masks::Drop, einsum_dense, ""),
    Row::new("Embedding", CORE, Masks::Own, embedding, "mask_zero makes a mask").raw(),
    Row::new("ReversibleEmbedding", CORE, Masks::Own, reversible_embedding, "both directions").raw(),
    Row::new("Identity", CORE, Masks::PassIn3, identity, ""),
    Row::new("Masking", CORE, Masks::Own, masking, "masked steps become zero"),
    Row::new("Activation", ACTIVATION, Masks::Pass, activation, ""),
    Row::new("ELU", ACTIVATION, Masks::Pass, activation_layer, ""),
    Row::new("LeakyReLU", ACTIVATION, Masks::Pass, activation_layer, ""),
    Row::new("PReLU", ACTIVATION, Masks::Pass, prelu, "shared_axes"),
    Row::new("ReLU", ACTIVATION, Masks::Pass, activation_layer, ""),
    Row::new("Softmax", ACTIVATION, Masks::Pass, softmax, "one axis or several; masks"),
    Row::new("ThresholdedReLU", ACTIVATION, Masks::Pass, activation_layer, ""),
    Row::new("ActivityRegularization", REGULARIZATION, Masks::Pass, identity, "identity at inference"),
    Row::new("AlphaDropout", REGULARIZATION, Masks::Pass, dropout, NOISE),
    Row::new("Dropout", REGULARIZATION, Masks::Pass, dropout, NOISE),
    Row::new("GaussianDropout", REGULARIZATION, Masks::Pass, dropout, NOISE),
    Row::new("GaussianNoise", REGULARIZATION, Masks::Pass, gaussian_noise, NOISE),
    Row::new("SpatialDropout1D", REGULARIZATION, Masks::Pass, dropout, NOISE),
    Row::new("SpatialDropout2D", REGULARIZATION, Masks::Pass, dropout, NOISE),
    Row::new("SpatialDropout3D", REGULARIZATION, Masks::Pass, dropout, NOISE),
];

/// The activation of the configuration (linear when it names none), over `x`.
pub fn activated(l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
    activations::read(l, "activation", "linear")?.apply(l, x)
}

/// x kernel (in, units) + bias, over the last axis.
fn dense(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let x = float_input(l)?;
    let last = l.rank(x).checked_sub(1).ok_or_else(|| l.unsupported("a scalar input"))?;
    let size = l.known(x, last)?;
    let units = l.config.u64("units")?;
    let mut y = match is_quantized(l) {
        true => {
            let kernel = weight(l, "kernel", &[Some(size), Some(units)])?;
            let x = rounded(l, x, &[last])?;
            let y = l.add(MatMul {}, &[x, kernel])?;
            unscaled(l, y, "kernel_scale")?
        }
        false => {
            let kernel = weight(l, "kernel", &[Some(size), Some(units)])?;
            l.add(MatMul {}, &[x, kernel])?
        }
    };
    if l.config.bool_or("use_bias", true)? {
        let bias = weight(l, "bias", &[Some(units)])?;
        y = l.binary(BinaryFunction::Add, y, bias)?;
    }
    Ok(one(activated(l, y)?))
}

/// Does Keras 3 compute it with whole numbers of eight bits?
fn is_quantized(l: &Lowering<'_>) -> bool {
    l.config.object().get("dtype").and_then(quantization) == Some("int8")
}

/// The mode of a dtype policy that Keras 3 quantized a layer by.
pub fn quantization(policy: &Json) -> Option<&str> {
    policy.get("config")?.get("mode")?.as_str()
}

/// The input as the quantized layer sees it: rounded to 127 steps on either side of zero, the largest absolute value
/// over `axes` being the last. Keras takes the scale out of the product; here it goes in again at once.
fn rounded(l: &mut Lowering<'_>, x: ValueId, axes: &[usize]) -> Result<ValueId, Diag> {
    let size = l.unary(UnaryFunction::Abs, x)?;
    let largest = l.reduce(ReduceFunction::Max, size, axes, true)?;
    let largest = l.binary_scalar(BinaryFunction::Add, largest, 1e-7)?;
    let steps = l.scalar_like(x, 127.0)?;
    let scale = l.binary(BinaryFunction::Div, steps, largest)?;
    let y = l.binary(BinaryFunction::Mul, x, scale)?;
    let y = l.unary(UnaryFunction::Round, y)?;
    let y = l.add(Clip { min: Some(-127.0), max: Some(127.0) }, &[y])?;
    l.binary(BinaryFunction::Div, y, scale)
}

/// What a kernel of whole numbers made, divided by the kernel's scale.
fn unscaled(l: &mut Lowering<'_>, y: ValueId, role: &str) -> Result<ValueId, Diag> {
    let scale = l.param(role)?;
    let scale = in_compute_dtype(l, scale)?;
    l.binary(BinaryFunction::Div, y, scale)
}

/// The axes of the first operand that the result does not have.
fn contracted(equation: &str) -> Vec<usize> {
    let (operands, result) = equation.split_once("->").unwrap_or((equation, ""));
    let first = operands.split(',').next().unwrap_or_default();
    first.chars().enumerate().filter(|(_, letter)| !result.contains(*letter)).map(|(axis, _)| axis).collect()
}

/// Any contraction of the input with a kernel; the stored bias broadcasts against the trailing axes of the result.
fn einsum_dense(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let x = float_input(l)?;
    let equation = spelled_out(l.config.str("equation")?, l.rank(x));
    let equation = equation.ok_or_else(|| l.config.bad("equation", "a contraction of the input with a kernel"))?;
    let kernel = l.param("kernel")?;
    let kernel = in_compute_dtype(l, kernel)?;
    let x = match is_quantized(l) {
        true => {
            let axes = contracted(&equation);
            rounded(l, x, &axes)?
        }
        false => x,
    };
    let mut y = l.add(Einsum { equation }, &[x, kernel])?;
    if is_quantized(l) {
        y = unscaled(l, y, "kernel_scale")?;
    }
    if l.config.get("bias_axes").is_some() {
        let bias = l.param("bias")?;
        let bias = in_compute_dtype(l, bias)?;
        y = l.binary(BinaryFunction::Add, y, bias)?;
    }
    Ok(one(activated(l, y)?))
}

fn in_compute_dtype(l: &mut Lowering<'_>, value: ValueId) -> Result<ValueId, Diag> {
    let to = compute_dtype(l)?;
    l.cast(value, to)
}

/// The equation with letters in the place of `...`, for an input of this rank.
fn spelled_out(equation: &str, rank: usize) -> Option<String> {
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    if !equation.contains("...") {
        return Some(equation);
    }
    let named = equation.split(',').next()?.chars().filter(char::is_ascii_alphabetic).count();
    let free = ('a'..='z').chain('A'..='Z').filter(|letter| !equation.contains(*letter));
    let elided: String = free.take(rank.checked_sub(named)?).collect();
    Some(equation.replace("...", &elided))
}

fn embedding(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let x = l.input()?.value;
    let (rows, width) = (l.config.u64("input_dim")?, l.config.u64("output_dim")?);
    let table = weight(l, "embeddings", &[Some(rows), Some(width)])?;
    let indices = as_indices(l, x)?;
    let mut y = l.add(Gather { axis: 0 }, &[table, indices])?;
    if is_quantized(l) {
        let scales = weight(l, "embeddings_scale", &[Some(rows)])?;
        let scale = l.add(Gather { axis: 0 }, &[scales, indices])?;
        let scale = l.expand(scale, l.rank(scale))?;
        y = l.binary(BinaryFunction::Div, y, scale)?;
    }
    let mask = if l.config.bool_or("mask_zero", false)? {
        Some(l.binary_scalar(BinaryFunction::NotEqual, x, 0.0)?)
    } else {
        None
    };
    Ok(vec![Val { value: y, mask }])
}

fn as_indices(l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
    if matches!(l.ty(x).dtype, DType::I32 | DType::I64) { Ok(x) } else { l.cast(x, DType::I32) }
}

/// A lookup, or with `reverse=True` the product with the transposed table (or with a table of its own).
fn reversible_embedding(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let tied = l.config.bool_or("tie_weights", true)?;
    let reverse = l.kwarg_json("reverse")?.and_then(|value| value.as_bool()).unwrap_or(false);
    if !reverse {
        l.ignore("reverse_embeddings");
        return embedding(l);
    }
    let (rows, width) = (l.config.u64("input_dim")?, l.config.u64("output_dim")?);
    let x = float_input(l)?;
    let kernel = if tied {
        let table = weight(l, "embeddings", &[Some(rows), Some(width)])?;
        l.transpose(table, &[1, 0])?
    } else {
        l.ignore("embeddings");
        weight(l, "reverse_embeddings", &[Some(width), Some(rows)])?
    };
    let to = match l.config.get("reverse_dtype").and_then(|name| name.as_str()) {
        Some(name) => DType::from_keras(name).ok_or_else(|| l.config.bad("reverse_dtype", "a dtype"))?,
        None => compute_dtype(l)?,
    };
    let (x, kernel) = (l.cast(x, to)?, l.cast(kernel, to)?);
    let mut y = l.add(MatMul {}, &[x, kernel])?;
    if l.config.get("logit_soft_cap").is_some() {
        let cap = l.config.f64("logit_soft_cap")?;
        let scaled = l.binary_scalar(BinaryFunction::Div, y, cap)?;
        let tanh = l.unary(UnaryFunction::Tanh, scaled)?;
        y = l.binary_scalar(BinaryFunction::Mul, tanh, cap)?;
    }
    Ok(one(y))
}

fn identity(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    Ok(l.positional())
}

/// A step whose features all equal `mask_value` is masked, and becomes zero.
fn masking(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let x = l.input()?.value;
    let last = l.rank(x).checked_sub(1).ok_or_else(|| l.unsupported("a scalar input"))?;
    let compared = as_float(l, x)?;
    let differs = l.binary_scalar(BinaryFunction::NotEqual, compared, l.config.f64_or("mask_value", 0.0)?)?;
    let keep = l.reduce(ReduceFunction::Any, differs, &[last], true)?;
    let zero = l.scalar_like(x, 0.0)?;
    let y = l.add(Where {}, &[keep, x, zero])?;
    let mask = l.squeeze(keep, last)?;
    Ok(vec![Val { value: y, mask: Some(mask) }])
}

fn activation(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let x = l.input()?.value;
    let activation = activations::read(l, "activation", "linear")?;
    // Piecewise linear functions keep integers; all others work on floats.
    let keeps =
        matches!(activation, Activation::Linear | Activation::Unary(UnaryFunction::Relu) | Activation::Clip(..));
    let x = if keeps { x } else { as_float(l, x)? };
    Ok(one(activation.apply(l, x)?))
}

fn activation_layer(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let given = l.input()?.value;
    let activation = activations::from_layer(&l.layer.class, &l.config, l.keras_major())?;
    let activation = activation.ok_or_else(|| l.error(Code::Bug, "no activation layer"))?;
    // Of whole numbers, ReLU makes whole numbers.
    if l.layer.class == "ReLU" && l.ty(given).dtype.is_int() {
        return Ok(one(through_float(l, given, |l, x| activation.apply(l, x))?));
    }
    let x = as_float(l, given)?;
    Ok(one(activation.apply(l, x)?))
}

/// max(x, 0) + alpha min(x, 0), alpha of the input's shape without the batch, 1 along shared axes.
fn prelu(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let x = float_input(l)?;
    let alpha = l.param("alpha")?;
    let alpha = in_compute_dtype(l, alpha)?;
    let positive = l.unary(UnaryFunction::Relu, x)?;
    let negative = l.add(Clip { min: None, max: Some(0.0) }, &[x])?;
    let scaled = l.binary(BinaryFunction::Mul, alpha, negative)?;
    Ok(one(l.binary(BinaryFunction::Add, positive, scaled)?))
}

/// What Keras puts in the place of masked scores: large, and finite in the dtype.
pub fn large_negative(dtype: DType) -> f64 {
    if dtype == DType::F16 { -3e4 } else { -1e9 }
}

fn softmax(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let mut x = float_input(l)?;
    let axes = activations::axes(&l.config)?;
    let Some(mask) = mask(l) else {
        return Ok(one(Activation::Softmax(axes).apply(l, x)?));
    };
    let dtype = l.ty(x).dtype;
    if l.keras_major() < 3 {
        let kept = l.cast(mask, dtype)?;
        let masked = l.binary_scalar(BinaryFunction::Sub, kept, 1.0)?;
        let low = if dtype == DType::F16 { 65504.0 } else { 1e9 };
        let adder = l.binary_scalar(BinaryFunction::Mul, masked, low)?;
        x = l.binary(BinaryFunction::Add, x, adder)?;
        return Ok(one(Activation::Softmax(axes).apply(l, x)?));
    }
    let mask = as_mask(l, mask)?;
    let low = l.scalar_like(x, large_negative(dtype))?;
    x = l.add(Where {}, &[mask, x, low])?;
    let y = Activation::Softmax(axes).apply(l, x)?;
    if l.keras_version() < ZEROED_SINCE {
        return Ok(one(y));
    }
    // A row that is masked as a whole would come out uniform.
    let zero = l.scalar_like(y, 0.0)?;
    Ok(one(l.add(Where {}, &[mask, y, zero])?))
}

/// A mask given as numbers holds where it is above one half.
fn as_mask(l: &mut Lowering<'_>, mask: ValueId) -> Result<ValueId, Diag> {
    match l.ty(mask).dtype {
        DType::Bool => Ok(mask),
        dtype if dtype.is_float() => l.binary_scalar(BinaryFunction::Greater, mask, 0.5),
        _ => l.binary_scalar(BinaryFunction::Greater, mask, 0.0),
    }
}

fn dropout(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let function = match l.layer.class.as_str() {
        "AlphaDropout" => DropoutFunction::Alpha,
        "GaussianDropout" => DropoutFunction::Gaussian,
        _ => DropoutFunction::Dropout,
    };
    let rate = l.config.f64_or("rate", 0.5)?;
    let x = identity_unless_random(l, rate)?;
    let shared = shared_draws(l, l.rank(x[0].value));
    training_only(l, x, function, rate, shared)
}

fn gaussian_noise(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let deviation = l.config.f64_or("stddev", 1.0)?;
    let x = identity_unless_random(l, deviation)?;
    training_only(l, x, DropoutFunction::Noise, deviation, Vec::new())
}

/// Axes along which one draw decides: the spatial ones of `SpatialDropout`, those of size one in `noise_shape`.
fn shared_draws(l: &Lowering<'_>, rank: usize) -> Vec<usize> {
    if l.layer.class.starts_with("SpatialDropout") {
        let first = l.config.get("data_format").and_then(Json::as_str) == Some("channels_first");
        return if first { (2..rank).collect() } else { (1..rank.saturating_sub(1)).collect() };
    }
    let Some(Json::Array(sizes)) = l.config.get("noise_shape") else { return Vec::new() };
    let one = |&axis: &usize| sizes.get(axis).and_then(Json::as_u64) == Some(1);
    (0..rank).filter(one).collect()
}

fn training_only(
    l: &mut Lowering<'_>,
    x: Vec<Val>,
    function: DropoutFunction,
    rate: f64,
    shared: Vec<usize>,
) -> Result<Vec<Val>, Findings> {
    let dtype = l.ty(x[0].value).dtype;
    // Keras' random generators work on floats; an odd rate (over one, say) means nothing to anybody.
    if rate == 0.0 || !dtype.is_float() || (function != DropoutFunction::Noise && !(0.0..1.0).contains(&rate)) {
        return Ok(x);
    }
    let value = l.add(Dropout { function, rate, shared }, &[x[0].value])?;
    Ok(vec![Val { value, mask: x[0].mask }])
}

/// The identity, unless the model calls the layer with `training=True` and it has any effect then.
pub fn identity_unless_random(l: &mut Lowering<'_>, strength: f64) -> Result<Vec<Val>, Findings> {
    ignore_seeds(l);
    if strength != 0.0 {
        refuse_training(l)?;
    }
    let x = l.input()?;
    Ok(vec![x])
}

/// Generators of random numbers keep their state among the weights.
pub fn ignore_seeds(l: &mut Lowering<'_>) {
    let seeds = |role: &&str| role.rsplit('/').next().is_some_and(|name| name.starts_with("seed"));
    let roles: Vec<&str> = l.layer.weights.iter().map(|weight| weight.role.as_str()).filter(seeds).collect();
    roles.into_iter().for_each(|role| l.ignore(role));
}

/// Known sizes as dimensions.
pub fn dims(sizes: &[u64]) -> Vec<Dim> {
    sizes.iter().map(|&size| Dim::Known(size)).collect()
}

/// Elements of these sizes; where there are too many to count, the largest number that there is.
pub fn count(sizes: &[u64]) -> u64 {
    sizes.iter().fold(1, |all, &size| all.saturating_mul(size))
}
