//! Layers that Keras 3 no longer has, as the keras source names their keys and weights.

use crate::core::activated;
use crate::policy::{float_input, one};
use crate::table::{Masks, Row};
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::{BinaryFunction, MatMul, ReduceFunction, Tensor, UnaryFunction, ValueId};
use recast_plugin_api::lower::{Lowering, Val, resolve_axis};

const LEGACY: &str = "Keras 1";

pub const ROWS: &[Row] = &[
    Row::new("Highway", LEGACY, Masks::Drop, highway, "a Dense, and a gate that lets its input through"),
    Row::new("LRN2D", LEGACY, Masks::Drop, lrn, "across channels"),
    Row::new("MaxoutDense", LEGACY, Masks::Drop, maxout, "the largest of several linear maps"),
    Row::new("Merge", LEGACY, Masks::Drop, cosine, "mode `cos` of vectors; other modes are today's layers"),
    Row::new("ParametricSoftplus", LEGACY, Masks::Drop, softplus, "alpha softplus(beta x)"),
    Row::new("RandomFourierFeatures", "kernelized", Masks::Drop, fourier, "the cosine of a Dense"),
    Row::new("SReLU", LEGACY, Masks::Drop, srelu, "linear in three pieces"),
];

/// Channels that a band matrix is made for.
const CHANNELS_MAX: u64 = 4096;

type Outcome = Result<Vec<Val>, Findings>;

fn vector_input(l: &mut Lowering<'_>) -> Result<(ValueId, u64), Diag> {
    let x = float_input(l)?;
    if l.rank(x) != 2 {
        return Err(l.unsupported(format!("an input of rank {}, it takes vectors", l.rank(x))));
    }
    Ok((x, l.known(x, 1)?))
}

/// The largest of `nb_feature` maps: kernel (features, in, units), bias (features, units).
fn maxout(l: &mut Lowering<'_>) -> Outcome {
    let (x, size) = vector_input(l)?;
    let (features, units) = (l.config.u64("nb_feature")?, l.config.u64("units")?);
    let kernel = l.param_shaped("kernel", &[Some(features), Some(size), Some(units)])?;
    // (batch, 1, 1, in) by (features, in, units).
    let x = l.expand(x, 1)?;
    let x = l.expand(x, 1)?;
    let y = l.add(MatMul {}, &[x, kernel])?;
    let mut y = l.squeeze(y, 2)?;
    if l.config.bool_or("use_bias", true)? {
        let bias = l.param_shaped("bias", &[Some(features), Some(units)])?;
        y = l.binary(BinaryFunction::Add, y, bias)?;
    }
    Ok(one(l.reduce(ReduceFunction::Max, y, &[1], false)?))
}

/// gate * activation(x kernel + bias) + (1 - gate) * x.
fn highway(l: &mut Lowering<'_>) -> Outcome {
    let (x, size) = vector_input(l)?;
    let biased = l.config.bool_or("use_bias", true)?;
    let gate = linear(l, x, size, ["carry_kernel", "carry_bias"], biased)?;
    let gate = l.unary(UnaryFunction::Sigmoid, gate)?;
    let y = linear(l, x, size, ["kernel", "bias"], biased)?;
    let y = activated(l, y)?;
    let y = l.binary(BinaryFunction::Mul, y, gate)?;
    let ones = l.scalar_like(x, 1.0)?;
    let rest = l.binary(BinaryFunction::Sub, ones, gate)?;
    let rest = l.binary(BinaryFunction::Mul, rest, x)?;
    Ok(one(l.binary(BinaryFunction::Add, y, rest)?))
}

fn linear(l: &mut Lowering<'_>, x: ValueId, size: u64, roles: [&str; 2], biased: bool) -> Result<ValueId, Diag> {
    let kernel = l.param_shaped(roles[0], &[Some(size), Some(size)])?;
    let y = l.add(MatMul {}, &[x, kernel])?;
    if !biased {
        return Ok(y);
    }
    let bias = l.param_shaped(roles[1], &[Some(size)])?;
    l.binary(BinaryFunction::Add, y, bias)
}

/// cos(x kernel / scale + bias), in f32.
fn fourier(l: &mut Lowering<'_>) -> Outcome {
    let (x, size) = vector_input(l)?;
    let units = l.config.u64("output_dim")?;
    let kernel = l.param_shaped("unscaled_kernel", &[Some(size), Some(units)])?;
    let scale = l.param_shaped("kernel_scale", &[Some(1)])?;
    let bias = l.param_shaped("bias", &[Some(units)])?;
    let kernel = l.binary(BinaryFunction::Div, kernel, scale)?;
    let y = l.add(MatMul {}, &[x, kernel])?;
    let y = l.binary(BinaryFunction::Add, y, bias)?;
    Ok(one(l.unary(UnaryFunction::Cos, y)?))
}

fn softplus(l: &mut Lowering<'_>) -> Outcome {
    let x = float_input(l)?;
    let (alpha, beta) = (l.param("alpha")?, l.param("beta")?);
    let y = l.binary(BinaryFunction::Mul, x, beta)?;
    let y = l.unary(UnaryFunction::Softplus, y)?;
    Ok(one(l.binary(BinaryFunction::Mul, y, alpha)?))
}

/// t_left + center + a_right relu(x - t_right'), where t_right' = t_left + |t_right| and the center is x - t_left from
/// 0 to |t_right|, and a_left times it below. Theano bounds that too from above, which matters for a negative a_left.
fn srelu(l: &mut Lowering<'_>) -> Outcome {
    let x = float_input(l)?;
    let (left, left_slope) = (l.param("t_left")?, l.param("a_left")?);
    let (right, right_slope) = (l.param("t_right")?, l.param("a_right")?);
    let width = l.unary(UnaryFunction::Abs, right)?;
    let right = l.binary(BinaryFunction::Add, left, width)?;
    let inside = l.binary(BinaryFunction::Sub, x, left)?;
    let positive = l.unary(UnaryFunction::Relu, inside)?;
    let negative = l.binary(BinaryFunction::Sub, inside, positive)?;
    let negative = l.binary(BinaryFunction::Mul, negative, left_slope)?;
    let center = if l.config.bool_or("legacy_theano", false)? {
        let all = l.binary(BinaryFunction::Add, positive, negative)?;
        l.binary(BinaryFunction::Min, all, width)?
    } else {
        let bounded = l.binary(BinaryFunction::Min, positive, width)?;
        l.binary(BinaryFunction::Add, bounded, negative)?
    };
    let over = l.binary(BinaryFunction::Sub, x, right)?;
    let over = l.unary(UnaryFunction::Relu, over)?;
    let over = l.binary(BinaryFunction::Mul, over, right_slope)?;
    let y = l.binary(BinaryFunction::Add, left, center)?;
    Ok(one(l.binary(BinaryFunction::Add, y, over)?))
}

/// The cosine of two vectors, as (batch, 1, 1).
fn cosine(l: &mut Lowering<'_>) -> Outcome {
    let inputs = l.positional();
    let [a, b] = inputs[..] else { return Err(l.unsupported("`cos` merges two inputs").into()) };
    if l.rank(a.value) != 2 || l.rank(b.value) != 2 || l.config.axes("axes", 2)? != [1] {
        return Err(l.unsupported("`cos` of more than vectors").into());
    }
    let dot = inner(l, a.value, b.value)?;
    let (aa, bb) = (inner(l, a.value, a.value)?, inner(l, b.value, b.value)?);
    let norms = l.binary(BinaryFunction::Mul, aa, bb)?;
    let norms = l.unary(UnaryFunction::Sqrt, norms)?;
    // Keras 1's backend epsilon.
    let norms = l.binary_scalar(BinaryFunction::Max, norms, 1e-7)?;
    let y = l.binary(BinaryFunction::Div, dot, norms)?;
    Ok(one(l.expand(y, 1)?))
}

fn inner(l: &mut Lowering<'_>, a: ValueId, b: ValueId) -> Result<ValueId, Diag> {
    let products = l.binary(BinaryFunction::Mul, a, b)?;
    l.reduce(ReduceFunction::Sum, products, &[1], true)
}

/// x / (k + alpha sum over n neighbouring channels of x^2) ^ beta, of a channels-first picture.
fn lrn(l: &mut Lowering<'_>) -> Outcome {
    let x = float_input(l)?;
    let n = l.config.u64_or("n", 5)?;
    let axis = resolve_axis(1, l.rank(x)).ok_or_else(|| l.unsupported("an input without channels"))?;
    let channels = l.known(x, axis)?;
    if n % 2 == 0 || channels > CHANNELS_MAX {
        return Err(l.unsupported(format!("a window of {n} over {channels} channels")).into());
    }
    let (k, alpha, beta) =
        (l.config.f64_or("k", 2.0)?, l.config.f64_or("alpha", 1e-4)?, l.config.f64_or("beta", 0.75)?);
    let squares = l.binary(BinaryFunction::Mul, x, x)?;
    // A band matrix sums the neighbours: (.., channels) by (channels, channels).
    let half = n / 2;
    let near = |at: u64| (at / channels).abs_diff(at % channels) <= half;
    let band: Vec<f64> = (0..channels * channels).map(|at| f64::from(u8::from(near(at)))).collect();
    let band = l.constant(Tensor::from_numbers(l.ty(x).dtype, &[channels, channels], &band))?;
    let mut order: Vec<usize> = (0..l.rank(x)).collect();
    order.swap(axis, l.rank(x) - 1);
    let squares = l.transpose(squares, &order)?;
    let sums = l.add(MatMul {}, &[squares, band])?;
    let sums = l.transpose(sums, &order)?;
    let scale = l.binary_scalar(BinaryFunction::Mul, sums, alpha)?;
    let scale = l.binary_scalar(BinaryFunction::Add, scale, k)?;
    let scale = l.binary_scalar(BinaryFunction::Pow, scale, beta)?;
    Ok(one(l.binary(BinaryFunction::Div, x, scale)?))
}
