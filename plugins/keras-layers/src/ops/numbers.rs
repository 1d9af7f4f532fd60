//! numpy's many functions of single numbers, each by a few of the IR's.

use super::args::number as real;
use super::args::{Operand, as_float, both, common, dtype, flag, float_tensor, operand, pair, place, setting, tensor};
use super::{Outcome, unless, word};
use crate::policy::one;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    BinaryFunction as B, BroadcastTo, Clip, DType, Tensor, UnaryFunction as U, ValueId, Where,
};
use recast_plugin_api::lower::Lowering;
use recast_plugin_api::model::{Arg, ArgKind};
use std::f64::consts::{LN_2, PI};

/// condition ? number : x
fn number_where(l: &mut Lowering<'_>, condition: ValueId, number: f64, x: ValueId) -> Result<ValueId, Diag> {
    let number = l.scalar_like(x, number)?;
    l.add(Where {}, &[condition, number, x])
}

/// Functions of one float, by the last part of their name.
pub fn of_one(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    Ok(one(match word(l) {
        "Cbrt" => {
            let size = l.unary(U::Abs, x)?;
            let root = l.binary_scalar(B::Pow, size, 1.0 / 3.0)?;
            let sign = l.unary(U::Sign, x)?;
            l.binary(B::Mul, sign, root)?
        }
        "Deg2rad" => l.binary_scalar(B::Mul, x, PI / 180.0)?,
        "Rad2deg" => l.binary_scalar(B::Mul, x, 180.0 / PI)?,
        "Sinc" => {
            let origin = l.binary_scalar(B::Equal, x, 0.0)?;
            let safe = number_where(l, origin, 1.0, x)?;
            let angle = l.binary_scalar(B::Mul, safe, PI)?;
            let sin = l.unary(U::Sin, angle)?;
            let y = l.binary(B::Div, sin, angle)?;
            number_where(l, origin, 1.0, y)?
        }
        "Signbit" => {
            // The reciprocal tells the two zeros apart.
            let turned = l.unary(U::Reciprocal, x)?;
            let (below, turned) = (l.binary_scalar(B::Less, x, 0.0)?, l.binary_scalar(B::Less, turned, 0.0)?);
            l.binary(B::Or, below, turned)?
        }
        "Isposinf" | "Isneginf" => {
            let endless = l.unary(U::IsInf, x)?;
            let side = if word(l) == "Isposinf" { B::Greater } else { B::Less };
            let side = l.binary_scalar(side, x, 0.0)?;
            l.binary(B::And, endless, side)?
        }
        other => return Err(l.unsupported(format!("no function is called {other}")).into()),
    }))
}

/// Functions of two floats.
pub fn of_two(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = pair(l)?;
    Ok(one(match word(l) {
        "Fmax" | "Fmin" => {
            let (a, b) = (as_float(l, a)?, as_float(l, b)?);
            let y = l.binary(if word(l) == "Fmax" { B::Max } else { B::Min }, a, b)?;
            let (no_a, no_b) = (l.unary(U::IsNan, a)?, l.unary(U::IsNan, b)?);
            let y = l.add(Where {}, &[no_b, a, y])?;
            l.add(Where {}, &[no_a, b, y])?
        }
        "Fmod" => {
            let to = l.ty(a).dtype;
            let (a, b) = (as_float(l, a)?, as_float(l, b)?);
            let whole = l.binary(B::Div, a, b)?;
            let whole = l.unary(U::Trunc, whole)?;
            let whole = l.binary(B::Mul, whole, b)?;
            let rest = l.binary(B::Sub, a, whole)?;
            l.cast(rest, to)?
        }
        "Hypot" => {
            let (a, b) = (as_float(l, a)?, as_float(l, b)?);
            let (a, b) = (l.unary(U::Square, a)?, l.unary(U::Square, b)?);
            let sum = l.binary(B::Add, a, b)?;
            l.unary(U::Sqrt, sum)?
        }
        "Logaddexp2" => {
            let (a, b) = (as_float(l, a)?, as_float(l, b)?);
            let larger = l.binary(B::Max, a, b)?;
            let apart = l.binary(B::Sub, a, b)?;
            let apart = l.unary(U::Abs, apart)?;
            let apart = l.binary_scalar(B::Mul, apart, -LN_2)?;
            let share = l.unary(U::Exp, apart)?;
            let share = l.unary(U::Log1p, share)?;
            let share = l.binary_scalar(B::Div, share, LN_2)?;
            l.binary(B::Add, larger, share)?
        }
        "Ldexp" => {
            let (a, b) = (as_float(l, a)?, as_float(l, b)?);
            let two = l.scalar_like(b, 2.0)?;
            let power = l.binary(B::Pow, two, b)?;
            l.binary(B::Mul, a, power)?
        }
        "Heaviside" => {
            let (a, b) = (as_float(l, a)?, as_float(l, b)?);
            let above = l.binary_scalar(B::Greater, a, 0.0)?;
            let (unit, zero) = (l.scalar_like(a, 1.0)?, l.scalar_like(a, 0.0)?);
            let step = l.add(Where {}, &[above, unit, zero])?;
            let origin = l.binary_scalar(B::Equal, a, 0.0)?;
            l.add(Where {}, &[origin, b, step])?
        }
        other => return Err(l.unsupported(format!("no function is called {other}")).into()),
    }))
}

/// |a - b| <= atol + rtol |b|; of numbers without end, `allclose` finds only equal ones close.
pub fn is_close(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = pair(l)?;
    let (a, b) = (as_float(l, a)?, as_float(l, b)?);
    let (rtol, atol) = (tolerance(l, 2, "rtol", 1e-5)?, tolerance(l, 3, "atol", 1e-8)?);
    let apart = l.binary(B::Sub, a, b)?;
    let apart = l.unary(U::Abs, apart)?;
    let size = l.unary(U::Abs, b)?;
    let bound = l.binary_scalar(B::Mul, size, rtol)?;
    let bound = l.binary_scalar(B::Add, bound, atol)?;
    let mut close = l.binary(B::LessEqual, apart, bound)?;
    if word(l) == "AllClose" {
        let (some_a, some_b) = (l.unary(U::IsFinite, a)?, l.unary(U::IsFinite, b)?);
        let (same, some) = (l.binary(B::Equal, a, b)?, l.binary(B::And, some_a, some_b)?);
        close = l.binary(B::And, close, some)?;
        close = l.binary(B::Or, close, same)?;
    }
    if flag(l, &["equal_nan"], false)? {
        let (no_a, no_b) = (l.unary(U::IsNan, a)?, l.unary(U::IsNan, b)?);
        let neither = l.binary(B::And, no_a, no_b)?;
        close = l.binary(B::Or, close, neither)?;
    }
    Ok(one(close))
}

/// A tolerance by its place among the arguments, or as a setting.
fn tolerance(l: &Lowering<'_>, at: usize, name: &str, default: f64) -> Result<f64, Diag> {
    match super::args::opt_operand(l, at, &[name])? {
        None => real(l, &[name], default),
        Some(Operand::Constant(json, _)) if json.is_number() => Ok(json.as_f64().unwrap_or(default)),
        Some(_) => Err(l.unsupported(format!("a '{name}' that is no number"))),
    }
}

/// Whole numbers, bit by bit.
pub fn bitwise(l: &mut Lowering<'_>, function: B) -> Outcome {
    let (mut a, mut b) = pair(l)?;
    if l.ty(a).dtype == DType::Bool {
        (a, b) = (l.cast(a, DType::I32)?, l.cast(b, DType::I32)?);
    }
    Ok(one(l.binary(function, a, b)?))
}

/// The real part of real numbers is what they are; the imaginary part is zero.
pub fn real_part(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let (value, dtype) = match word(l) {
        "Imag" => (0.0, l.ty(x).dtype),
        "Isreal" => (1.0, DType::Bool),
        _ => return Ok(one(x)),
    };
    let value = l.constant(Tensor::scalar(dtype, value))?;
    let shape = l.shape(x);
    Ok(one(l.add(BroadcastTo { shape }, &[value])?))
}

pub fn largest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 65504.0,
        DType::BF16 => f64::from(f32::from_bits(0x7f7f_0000)),
        DType::F64 => f64::MAX,
        _ => f64::from(f32::MAX),
    }
}

pub fn nan_to_num(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    Ok(one(without_nan(l, x, 0.0)?))
}

/// Endless numbers as the largest; `nan` is what stands for NaN where the file does not say.
pub fn without_nan(l: &mut Lowering<'_>, x: ValueId, nan: f64) -> Result<ValueId, Diag> {
    let end = largest(l.ty(x).dtype);
    let (nan, high, low) = (real(l, &["nan"], nan)?, real(l, &["posinf"], end)?, real(l, &["neginf"], -end)?);
    let none = l.unary(U::IsNan, x)?;
    let endless = l.unary(U::IsInf, x)?;
    let above = l.binary_scalar(B::Greater, x, 0.0)?;
    let (high, low) = (l.scalar_like(x, high)?, l.scalar_like(x, low)?);
    let end = l.add(Where {}, &[above, high, low])?;
    let y = l.add(Where {}, &[endless, end, x])?;
    number_where(l, none, nan, y)
}

/// Numbers that the new dtype can't hold become the nearest that it can.
pub fn saturate_cast(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let to = dtype(l, &["dtype"])?.ok_or_else(|| l.unsupported("called without a dtype"))?;
    let ends = match to {
        DType::U8 => Some((0.0, 255.0)),
        DType::I8 => Some((-128.0, 127.0)),
        DType::U16 => Some((0.0, 65535.0)),
        DType::I16 => Some((-32768.0, 32767.0)),
        DType::F16 => Some((-largest(to), largest(to))),
        _ if to == l.ty(x).dtype => None,
        _ => return Err(l.unsupported(format!("into {to}")).into()),
    };
    let held = match ends {
        Some((min, max)) if l.ty(x).dtype != DType::Bool => l.add(Clip { min: Some(min), max: Some(max) }, &[x])?,
        _ => x,
    };
    Ok(one(l.cast(held, to)?))
}

pub fn convert(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    match dtype(l, &["dtype"])? {
        Some(to) => Ok(one(l.cast(x, to)?)),
        None => Ok(one(x)),
    }
}

pub fn full_like(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let to = dtype(l, &["dtype"])?.unwrap_or(l.ty(x).dtype);
    let fill = operand(l, 1, &["fill_value"])?;
    let fill = place(l, &fill, to)?;
    let shape = l.shape(x);
    Ok(one(l.add(BroadcastTo { shape }, &[fill])?))
}

fn items(l: &Lowering<'_>, place: usize, name: &str) -> Result<Vec<Operand>, Diag> {
    let Some(ArgKind::List(list)) = l.argument(place, name) else {
        return Err(l.unsupported(format!("'{name}' that is no list")));
    };
    let one = |item: &Arg| match &item.kind {
        Some(ArgKind::Value(value)) => l.inputs().get(value.index as usize).map(|val| Operand::Value(val.value)),
        Some(ArgKind::Json(text)) => serde_json::from_str(text).ok().map(|json| Operand::Constant(json, None)),
        _ => None,
    };
    list.items.iter().map(one).collect::<Option<_>>().ok_or_else(|| l.unsupported(format!("'{name}' of lists")))
}

/// Of the choices, that of the first condition that holds.
pub fn select(l: &mut Lowering<'_>) -> Outcome {
    let (conditions, choices) = (items(l, 0, "condlist")?, items(l, 1, "choicelist")?);
    unless(l, conditions.len() != choices.len(), "as many choices as conditions")?;
    let default = super::args::opt_operand(l, 2, &["default"])?;
    let default = default.unwrap_or(Operand::Constant(serde_json::Value::from(0), None));
    let all: Vec<&Operand> = choices.iter().chain([&default]).collect();
    let dtype = common(l, &all);
    let mut y = place(l, &default, dtype)?;
    for (condition, choice) in conditions.iter().zip(&choices).rev() {
        let condition = place(l, condition, DType::Bool)?;
        let choice = place(l, choice, dtype)?;
        y = l.add(Where {}, &[condition, choice, y])?;
    }
    Ok(one(y))
}

/// In which gap between sorted numbers each number lies.
pub fn digitize(l: &mut Lowering<'_>) -> Outcome {
    let (x, bins, function) = if word(l) == "Digitize" {
        let (x, bins) = both(l).or_else(|_| Ok::<_, Diag>((operand(l, 0, &["x"])?, operand(l, 1, &["bins"])?)))?;
        (x, bins, B::GreaterEqual)
    } else {
        let right = setting(l, &["side"])?.is_some_and(|side| side == "right");
        let function = if right { B::GreaterEqual } else { B::Greater };
        (operand(l, 1, &["values"])?, operand(l, 0, &["sorted_sequence"])?, function)
    };
    let dtype = common(l, &[&x, &bins]);
    let (x, bins) = (place(l, &x, dtype)?, place(l, &bins, dtype)?);
    unless(l, l.rank(bins) != 1, "more than one row of bins")?;
    let wide = l.expand(x, l.rank(x))?;
    let passed = l.binary(function, wide, bins)?;
    let passed = l.cast(passed, DType::I32)?;
    let last = l.rank(passed) - 1;
    Ok(one(l.reduce(recast_plugin_api::ir::ReduceFunction::Sum, passed, &[last], false)?))
}

/// Distances between the rows of two matrices, in batches.
pub fn distances(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = pair(l)?;
    let (a, b) = (as_float(l, a)?, as_float(l, b)?);
    unless(l, l.rank(a) < 2 || l.rank(b) < 2, "vectors")?;
    let (a, b) = (l.expand(a, l.rank(a) - 1)?, l.expand(b, l.rank(b) - 2)?);
    let apart = l.binary(B::Sub, a, b)?;
    let square = l.unary(U::Square, apart)?;
    let last = l.rank(square) - 1;
    let total = l.reduce(recast_plugin_api::ir::ReduceFunction::Sum, square, &[last], false)?;
    Ok(one(l.unary(U::Sqrt, total)?))
}
