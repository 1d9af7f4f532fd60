//! Operations on each element, and those that only look like them (softmax).

use super::args::number as real;
use super::args::{Operand, axes, axis, operand, operands, pair, place, setting, tensor};
use super::args::{as_float, both, common, dtype, dtype_of, flag, float_tensor, integers, is_tf};
use super::{Outcome, unless, word};
use crate::activations::Activation;
use crate::policy::one;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    ActivationFunction, ActivationSpec, Binary, BinaryFunction as B, BroadcastTo, Clip, DType, LogSoftmax, Softmax,
    Tensor, UnaryFunction as U, ValueId, Where,
};
use recast_plugin_api::lower::Lowering;

pub fn float(l: &mut Lowering<'_>, function: U) -> Outcome {
    let x = float_tensor(l)?;
    Ok(one(l.unary(function, x)?))
}

pub fn number(l: &mut Lowering<'_>, function: U) -> Outcome {
    let mut x = tensor(l)?;
    if l.ty(x).dtype == DType::Bool {
        x = l.cast(x, DType::I32)?;
    }
    Ok(one(l.unary(function, x)?))
}

/// A function with parameters, by the last part of its name.
pub fn parametric(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let spec = |function, alpha| Activation::Spec(ActivationSpec { function, alpha, beta: 0.0 });
    let found = match word(l) {
        "LeakyRelu" | "leaky_relu" => spec(ActivationFunction::LeakyRelu, real(l, &["negative_slope", "alpha"], 0.2)?),
        "Elu" => spec(ActivationFunction::Elu, real(l, &["alpha"], 1.0)?),
        "elu" => spec(ActivationFunction::Elu, 1.0),
        "Celu" => spec(ActivationFunction::Celu, real(l, &["alpha"], 1.0)?),
        "Gelu" | "gelu" => {
            let tanh = flag(l, &["approximate"], !is_tf(l))?;
            Activation::Unary(if tanh { U::GeluTanh } else { U::Gelu })
        }
        "Silu" | "silu" => {
            unless(l, real(l, &["beta"], 1.0)? != 1.0, "a beta other than one")?;
            Activation::Unary(U::Silu)
        }
        "HardShrink" => Activation::HardShrink(real(l, &["threshold"], 0.5)?),
        "SoftShrink" => Activation::SoftShrink(real(l, &["threshold"], 0.5)?),
        "Squareplus" => Activation::Squareplus(real(l, &["b"], 4.0)?),
        "ReLU" => Activation::Relu {
            negative_slope: real(l, &["negative_slope"], 0.0)?,
            max_value: setting(l, &["max_value"])?.map(|_| real(l, &["max_value"], 0.0)).transpose()?,
            threshold: real(l, &["threshold"], 0.0)?,
        },
        other => return Err(l.unsupported(format!("no activation is called {other}")).into()),
    };
    Ok(one(found.apply(l, x)?))
}

/// Functions over one axis that are defined for the last one.
pub fn along_last(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let rank = l.rank(x);
    let axis = axis(l, &["axis"], rank, -1)?;
    let found = if word(l) == "Glu" { Activation::Glu } else { Activation::Sparsemax };
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(axis, rank - 1);
    let x = l.transpose(x, &perm)?;
    let y = found.apply(l, x)?;
    Ok(one(l.transpose(y, &perm)?))
}

/// x > threshold ? x : default_value
pub fn threshold(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let above = l.binary_scalar(B::Greater, x, real(l, &["threshold"], 0.0)?)?;
    let other = l.scalar_like(x, real(l, &["default_value"], 0.0)?)?;
    Ok(one(l.add(Where {}, &[above, x, other])?))
}

pub fn softmax(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let rank = l.rank(x);
    let all = !is_tf(l) && l.config.object().get("axis").is_some_and(serde_json::Value::is_null);
    let mut axes = match axes(l, &["axis", "dim"], rank)? {
        Some(axes) => axes,
        None if all => (0..rank).collect(),
        None => vec![axis(l, &[""], rank, -1)?],
    };
    axes.sort_unstable();
    axes.dedup();
    Ok(one(l.add(Softmax { axes }, &[x])?))
}

pub fn log_softmax(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let axis = axis(l, &["axis", "dim"], l.rank(x), -1)?;
    Ok(one(l.add(LogSoftmax { axis }, &[x])?))
}

/// Whole numbers are round already, as far as no digits before the point are rounded.
pub fn round(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let decimals = integers(l, &["decimals"])?.unwrap_or_default().first().copied().unwrap_or(0);
    if !l.ty(x).dtype.is_float() && decimals >= 0 {
        return Ok(one(x));
    }
    if decimals != 0 {
        return Ok(one(super::series::rounded(l, x, decimals)?));
    }
    let function = if word(l) == "Trunc" { U::Trunc } else { U::Round };
    Ok(one(l.unary(function, x)?))
}

pub fn scaled_log(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let y = match word(l) {
        "Exp2" => {
            let base = l.scalar_like(x, 2.0)?;
            l.binary(B::Pow, base, x)?
        }
        base => {
            let log = l.unary(U::Log, x)?;
            let scale = if base == "Log2" { std::f64::consts::LN_2 } else { std::f64::consts::LN_10 };
            l.binary_scalar(B::Div, log, scale)?
        }
    };
    Ok(one(y))
}

pub fn erfc(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let erf = l.unary(U::Erf, x)?;
    let whole = l.scalar_like(x, 1.0)?;
    Ok(one(l.binary(B::Sub, whole, erf)?))
}

/// Truth values add up as "or" and multiply as "and".
pub fn arithmetic(l: &mut Lowering<'_>, function: B) -> Outcome {
    let (mut a, mut b) = pair(l)?;
    let mut function = function;
    if l.ty(a).dtype == DType::Bool {
        match function {
            B::Add | B::Max => function = B::Or,
            B::Mul | B::Min => function = B::And,
            _ => (a, b) = (l.cast(a, DType::I32)?, l.cast(b, DType::I32)?),
        }
    }
    Ok(one(l.add(Binary { function }, &[a, b])?))
}

pub fn compare(l: &mut Lowering<'_>, function: B) -> Outcome {
    let (mut a, mut b) = pair(l)?;
    if l.ty(a).dtype == DType::Bool && !matches!(function, B::Equal | B::NotEqual) {
        (a, b) = (l.cast(a, DType::I32)?, l.cast(b, DType::I32)?);
    }
    Ok(one(l.binary(function, a, b)?))
}

pub fn logical(l: &mut Lowering<'_>, function: B) -> Outcome {
    let (a, b) = both(l)?;
    let (a, b) = (truth(l, &a)?, truth(l, &b)?);
    Ok(one(l.binary(function, a, b)?))
}

fn truth(l: &mut Lowering<'_>, operand: &Operand) -> Result<ValueId, Diag> {
    let dtype = dtype_of(l, operand);
    let value = place(l, operand, dtype)?;
    l.cast(value, DType::Bool)
}

pub fn not(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let x = l.cast(x, DType::Bool)?;
    Ok(one(l.unary(U::Not, x)?))
}

/// The bias runs along the channels.
pub fn bias_add(l: &mut Lowering<'_>) -> Outcome {
    let (x, mut bias) = pair(l)?;
    let format = super::args::text(l, &["data_format"], "NHWC")?;
    for _ in 2..l.rank(x) {
        if format.starts_with("NC") {
            bias = l.expand(bias, l.rank(bias))?;
        }
    }
    Ok(one(l.binary(B::Add, x, bias)?))
}

/// Operands of a true division: TensorFlow takes wide whole numbers to f64, Keras 3 all to f32.
fn quotient(l: &mut Lowering<'_>) -> Result<(ValueId, ValueId), Diag> {
    let (a, b) = both(l)?;
    let meets = common(l, &[&a, &b]);
    let to = match meets {
        dtype if dtype.is_float() => dtype,
        DType::I32 | DType::I64 | DType::U32 | DType::U64 if is_tf(l) => DType::F64,
        _ => DType::F32,
    };
    Ok((place(l, &a, to)?, place(l, &b, to)?))
}

pub fn divide(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = quotient(l)?;
    Ok(one(l.binary(B::Div, a, b)?))
}

/// Zero where the divisor is zero.
pub fn divide_no_nan(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = quotient(l)?;
    let void = l.binary_scalar(B::Equal, b, 0.0)?;
    let (zero, whole) = (l.scalar_like(b, 0.0)?, l.scalar_like(b, 1.0)?);
    let by = l.add(Where {}, &[void, whole, b])?;
    let y = l.binary(B::Div, a, by)?;
    Ok(one(l.add(Where {}, &[void, zero, y])?))
}

pub fn arctan2(l: &mut Lowering<'_>) -> Outcome {
    // TensorFlow names them y and x, in this order.
    let (a, b) = (operand(l, 0, &["y", "x1"])?, operand(l, 1, &["x", "x2"])?);
    let dtype = common(l, &[&a, &b]);
    let (a, b) = (place(l, &a, dtype)?, place(l, &b, dtype)?);
    let (a, b) = (as_float(l, a)?, as_float(l, b)?);
    Ok(one(l.binary(B::Atan2, a, b)?))
}

pub fn squared_difference(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = pair(l)?;
    let difference = l.binary(B::Sub, a, b)?;
    Ok(one(l.unary(U::Square, difference)?))
}

/// max(a, b) + log(1 + exp(-|a - b|))
pub fn logaddexp(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = pair(l)?;
    let (a, b) = (as_float(l, a)?, as_float(l, b)?);
    let larger = l.binary(B::Max, a, b)?;
    let apart = l.binary(B::Sub, a, b)?;
    let apart = l.unary(U::Abs, apart)?;
    let apart = l.unary(U::Neg, apart)?;
    let share = l.unary(U::Exp, apart)?;
    let share = l.unary(U::Log1p, share)?;
    Ok(one(l.binary(B::Add, larger, share)?))
}

pub fn add_n(l: &mut Lowering<'_>) -> Outcome {
    let items = operands(l, &["inputs"])?;
    let dtype = common(l, &items.iter().collect::<Vec<_>>());
    let mut sum = place(l, &items[0], dtype)?;
    for item in &items[1..] {
        let item = place(l, item, dtype)?;
        sum = l.binary(B::Add, sum, item)?;
    }
    Ok(one(sum))
}

pub fn select(l: &mut Lowering<'_>) -> Outcome {
    let condition = operand(l, 0, &["condition"])?;
    let (a, b) = (operand(l, 1, &["x1", "x"])?, operand(l, 2, &["x2", "y"])?);
    let dtype = common(l, &[&a, &b]);
    let condition = truth(l, &condition)?;
    let (a, b) = (place(l, &a, dtype)?, place(l, &b, dtype)?);
    Ok(one(l.add(Where {}, &[condition, a, b])?))
}

/// A bound: a setting of the operation, or an argument that may be a tensor.
fn bound(l: &Lowering<'_>, place: usize, names: &[&str]) -> Result<Operand, Diag> {
    if let Some(found) = super::args::opt_operand(l, place, names)? {
        return Ok(found);
    }
    let json = setting(l, names)?.ok_or_else(|| l.unsupported(format!("called without '{}'", names[0])))?;
    Ok(Operand::Constant(json, None))
}

pub fn clip(l: &mut Lowering<'_>) -> Outcome {
    let x = operand(l, 0, &["x", "t"])?;
    let min = bound(l, 1, &["x_min", "clip_value_min"])?;
    let max = bound(l, 2, &["x_max", "clip_value_max"])?;
    let dtype = match common(l, &[&x, &min, &max]) {
        DType::Bool => DType::I32,
        other => other,
    };
    let x = place(l, &x, dtype)?;
    if let (Operand::Constant(low, _), Operand::Constant(high, _)) = (&min, &max)
        && let (Some(low), Some(high)) = (low.as_f64(), high.as_f64())
    {
        return Ok(one(l.add(Clip { min: Some(low), max: Some(high) }, &[x])?));
    }
    let (min, max) = (place(l, &min, dtype)?, place(l, &max, dtype)?);
    let y = l.binary(B::Max, x, min)?;
    Ok(one(l.binary(B::Min, y, max)?))
}

pub fn cast(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let to = dtype(l, &["dtype"])?.ok_or_else(|| l.unsupported("called without a dtype"))?;
    Ok(one(l.cast(x, to)?))
}

/// Zeros or ones in the shape of a tensor.
pub fn filled_like(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let dtype = dtype(l, &["dtype"])?.unwrap_or(l.ty(x).dtype);
    let value = if matches!(word(l), "OnesLike" | "ones_like") { 1.0 } else { 0.0 };
    let value = l.constant(Tensor::scalar(dtype, value))?;
    let shape = l.shape(x);
    Ok(one(l.add(BroadcastTo { shape }, &[value])?))
}
