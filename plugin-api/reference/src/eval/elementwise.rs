use super::{Cx, Ins, Outcome, bools, broadcast_strides, floats, into_floats, ints};
use crate::array::{Array, Data, wrap};
use crate::weights::Offsets;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::numbers::int_to_float;
use recast_plugin_api::ir::{
    Activation, ActivationFunction, Binary, BinaryFunction, Cast, Clip, DType, Unary, UnaryFunction,
};

/// f(a, b) with numpy broadcasting to `to`. The common cases don't count indices.
pub fn pairs<T: Copy, R>(
    a_shape: &[usize],
    a: &[T],
    b_shape: &[usize],
    b: &[T],
    to: &[usize],
    f: impl Fn(T, T) -> R,
) -> Vec<R> {
    let count: usize = to.iter().product();
    if count == 0 {
        return Vec::new();
    }
    if a.len() == count && b.len() == count {
        return a.iter().zip(b).map(|(&x, &y)| f(x, y)).collect();
    }
    if a.len() == count && b.len() == 1 {
        return a.iter().map(|&x| f(x, b[0])).collect();
    }
    if b.len() == count && a.len() == 1 {
        return b.iter().map(|&y| f(a[0], y)).collect();
    }
    if a.len() == count && is_tail(b_shape, to) {
        return a.chunks_exact(b.len()).flat_map(|chunk| chunk.iter().zip(b).map(|(&x, &y)| f(x, y))).collect();
    }
    if b.len() == count && is_tail(a_shape, to) {
        return b.chunks_exact(a.len()).flat_map(|chunk| a.iter().zip(chunk).map(|(&x, &y)| f(x, y))).collect();
    }
    let (a_strides, b_strides) = (broadcast_strides(a_shape, to), broadcast_strides(b_shape, to));
    Offsets::new(to, &a_strides).zip(Offsets::new(to, &b_strides)).map(|(i, j)| f(a[i], b[j])).collect()
}

/// The shape is the last axes of `to`, with ones before it at most.
fn is_tail(shape: &[usize], to: &[usize]) -> bool {
    let leading = shape.iter().take_while(|&&size| size == 1).count();
    to.ends_with(&shape[leading..])
}

pub fn unary(op: &Unary, ins: &mut Ins<'_>, cx: &Cx<'_>) -> Outcome {
    use UnaryFunction::*;
    let x = ins.take(0)?;
    let test = |x: Array, f: fn(f64) -> bool| cx.output(Data::B(floats(&x)?.iter().map(|&v| f(v)).collect()));
    match op.function {
        Not => cx.output(Data::B(bools(&x)?.iter().map(|v| !v).collect())),
        IsNan => test(x, f64::is_nan),
        IsInf => test(x, f64::is_infinite),
        IsFinite => test(x, f64::is_finite),
        BitwiseNot => cx.output(Data::I(ints(&x)?.iter().map(|&v| wrap(x.dtype, !v)).collect())),
        function => match x.data {
            Data::I(values) => cx.output(Data::I(int_unary(function, x.dtype, values)?)),
            Data::F(mut values) => {
                map(function, &mut values);
                cx.output(Data::F(values))
            }
            Data::B(_) | Data::S(_) => Err(Diag::new(Code::Bug, "", format!("{function} of what is no number"))),
        },
    }
}

fn int_unary(function: UnaryFunction, dtype: DType, values: Vec<i64>) -> Result<Vec<i64>, Diag> {
    use UnaryFunction::*;
    // Unsigned 64-bit values above 2^63 are negative here; they are none the less positive.
    let negative = |v: i64| v < 0 && dtype.is_signed();
    let f: &dyn Fn(i64) -> i64 = match function {
        Abs => &|v| if negative(v) { v.wrapping_neg() } else { v },
        Neg => &i64::wrapping_neg,
        Sign => &|v| if negative(v) { -1 } else { (v != 0) as i64 },
        Square => &|v| v.wrapping_mul(v),
        Relu => &|v| if negative(v) { 0 } else { v },
        _ => return Err(Diag::new(Code::Bug, "", format!("{function} of integers"))),
    };
    Ok(values.into_iter().map(|v| wrap(dtype, f(v))).collect())
}

fn map(function: UnaryFunction, values: &mut [f64]) {
    use UnaryFunction::*;
    fn each(values: &mut [f64], f: impl Fn(f64) -> f64) {
        values.iter_mut().for_each(|v| *v = f(*v));
    }
    match function {
        Abs => each(values, f64::abs),
        Neg => each(values, |x| -x),
        Sign => each(values, |x| {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x
            }
        }),
        Square => each(values, |x| x * x),
        Sqrt => each(values, f64::sqrt),
        Rsqrt => each(values, |x| 1.0 / x.sqrt()),
        Reciprocal => each(values, |x| 1.0 / x),
        Exp => each(values, f64::exp),
        Expm1 => each(values, f64::exp_m1),
        Log => each(values, f64::ln),
        Log1p => each(values, f64::ln_1p),
        Floor => each(values, f64::floor),
        Ceil => each(values, f64::ceil),
        Round => each(values, f64::round_ties_even),
        Trunc => each(values, f64::trunc),
        Sin => each(values, f64::sin),
        Cos => each(values, f64::cos),
        Tan => each(values, f64::tan),
        Asin => each(values, f64::asin),
        Acos => each(values, f64::acos),
        Atan => each(values, f64::atan),
        Sinh => each(values, f64::sinh),
        Cosh => each(values, f64::cosh),
        Tanh => each(values, f64::tanh),
        Asinh => each(values, f64::asinh),
        Acosh => each(values, f64::acosh),
        Atanh => each(values, f64::atanh),
        Erf => each(values, erf),
        Sigmoid => each(values, sigmoid),
        // A comparison, not f64::max: NaN stays NaN.
        Relu => each(values, |x| if x < 0.0 { 0.0 } else { x }),
        Softplus => each(values, softplus),
        Softsign => each(values, |x| x / (1.0 + x.abs())),
        Silu => each(values, |x| x * sigmoid(x)),
        Gelu => each(values, gelu),
        GeluTanh => each(values, gelu_tanh),
        Mish => each(values, |x| x * softplus(x).tanh()),
        Selu => each(values, selu),
        // Not elementwise on floats: `unary` has handled them.
        Not | IsNan | IsInf | IsFinite | BitwiseNot => {}
    }
}

pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

fn gelu_tanh(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

fn selu(x: f64) -> f64 {
    const ALPHA: f64 = 1.6732632423543772;
    const SCALE: f64 = 1.0507009873554805;
    SCALE * if x > 0.0 { x } else { ALPHA * x.exp_m1() }
}

/// The error function. Below 3 the series 2/sqrt(pi) exp(-x^2) sum(2^n x^(2n+1) / (2n+1)!!), whose terms are all
/// positive, so nothing cancels; above, one minus a continued fraction.
pub fn erf(x: f64) -> f64 {
    let size = x.abs();
    if size.is_nan() {
        return x;
    }
    let value = if size < 3.0 {
        let (mut term, mut sum, mut n) = (size, size, 0.0);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= 2.0 * size * size / (2.0 * n + 1.0);
            sum += term;
        }
        std::f64::consts::FRAC_2_SQRT_PI * (-size * size).exp() * sum
    } else if size < 6.0 {
        let tail = (1..=60).rev().fold(size, |below, k| size + 0.5 * k as f64 / below);
        1.0 - (-size * size).exp() / (tail * std::f64::consts::PI.sqrt())
    } else {
        1.0
    };
    value.copysign(x)
}

pub fn activation(op: &Activation, ins: &mut Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let mut values = into_floats(ins.take(0)?)?;
    activate(op.function, op.alpha, op.beta, &mut values);
    cx.floats(values)
}

/// In place; also what the recurrent ops use.
pub fn activate(function: ActivationFunction, alpha: f64, beta: f64, values: &mut [f64]) {
    use ActivationFunction::*;
    fn each(values: &mut [f64], f: impl Fn(f64) -> f64) {
        values.iter_mut().for_each(|v| *v = f(*v));
    }
    match function {
        Elu => each(values, |x| if x > 0.0 { x } else { alpha * x.exp_m1() }),
        LeakyRelu => each(values, |x| if x >= 0.0 { x } else { alpha * x }),
        HardSigmoid => each(values, |x| (alpha * x + beta).clamp(0.0, 1.0)),
        Celu => each(values, |x| if x > 0.0 { x } else { alpha * (x / alpha).exp_m1() }),
        ThresholdedRelu => each(values, |x| if x > alpha { x } else { 0.0 }),
        ScaledTanh => each(values, |x| alpha * (beta * x).tanh()),
        Affine => each(values, |x| alpha * x + beta),
        Linear => {}
        Tanh => map(UnaryFunction::Tanh, values),
        Sigmoid => map(UnaryFunction::Sigmoid, values),
        Relu => map(UnaryFunction::Relu, values),
        Softplus => map(UnaryFunction::Softplus, values),
        Softsign => map(UnaryFunction::Softsign, values),
        Selu => map(UnaryFunction::Selu, values),
        Silu => map(UnaryFunction::Silu, values),
        Gelu => map(UnaryFunction::Gelu, values),
        GeluTanh => map(UnaryFunction::GeluTanh, values),
        Exp => map(UnaryFunction::Exp, values),
        Mish => map(UnaryFunction::Mish, values),
    }
}

pub fn binary(op: &Binary, ins: &mut Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let (a, b) = (ins.array(0)?, ins.array(1)?);
    let to = cx.shape();
    let data = match (&a.data, &b.data) {
        (Data::F(x), Data::F(y)) => {
            let swallows = if a.dtype == DType::F64 { 0.0 } else { SWALLOWS };
            float_binary(op.function, (&a.shape, x), (&b.shape, y), &to, swallows)
        }
        (Data::I(x), Data::I(y)) => int_binary(op.function, a.dtype, (&a.shape, x), (&b.shape, y), &to),
        (Data::B(x), Data::B(y)) => bool_binary(op.function, (&a.shape, x), (&b.shape, y), &to),
        _ => None,
    };
    let data = data.ok_or_else(|| Diag::new(Code::Bug, "", format!("{} of {} and {}", op.function, a.ty(), b.ty())));
    cx.output(data?)
}

type Side<'a, T> = (&'a [usize], &'a [T]);

/// At most half a unit in the last place of float32: added to a number of size one, nothing is left of less.
/// `(1 - mask) * -1e9 + scores` makes use of that: where all keys are masked, all scores are the same.
const SWALLOWS: f64 = 1.0 / (1u64 << 25) as f64;

/// x + y, or the larger one alone where the smaller is less than `swallows` times that.
fn sum(x: f64, y: f64, swallows: f64) -> f64 {
    if y.abs() < x.abs() * swallows {
        x
    } else if x.abs() < y.abs() * swallows {
        y
    } else {
        x + y
    }
}

fn float_binary(function: BinaryFunction, a: Side<f64>, b: Side<f64>, to: &[usize], swallows: f64) -> Option<Data> {
    use BinaryFunction::*;
    let floats = |f: fn(f64, f64) -> f64| Some(Data::F(pairs(a.0, a.1, b.0, b.1, to, f)));
    let tests = |f: fn(f64, f64) -> bool| Some(Data::B(pairs(a.0, a.1, b.0, b.1, to, f)));
    match function {
        // The four that large nets spend their time with are compiled into the loop.
        Add => Some(Data::F(pairs(a.0, a.1, b.0, b.1, to, |x, y| sum(x, y, swallows)))),
        Sub => Some(Data::F(pairs(a.0, a.1, b.0, b.1, to, |x, y| sum(x, -y, swallows)))),
        Mul => Some(Data::F(pairs(a.0, a.1, b.0, b.1, to, |x, y| x * y))),
        Div => Some(Data::F(pairs(a.0, a.1, b.0, b.1, to, |x, y| x / y))),
        FloorDiv => floats(|x, y| (x / y).floor()),
        Mod => floats(|x, y| {
            let rest = x % y;
            if rest != 0.0 && (rest < 0.0) != (y < 0.0) { rest + y } else { rest }
        }),
        Pow => floats(f64::powf),
        // Comparisons, not f64::max and min: NaN wins, as in numpy.
        Max => floats(|x, y| if x > y || x.is_nan() { x } else { y }),
        Min => floats(|x, y| if x < y || x.is_nan() { x } else { y }),
        Atan2 => floats(f64::atan2),
        Equal => tests(|x, y| x == y),
        NotEqual => tests(|x, y| x != y),
        Less => tests(|x, y| x < y),
        LessEqual => tests(|x, y| x <= y),
        Greater => tests(|x, y| x > y),
        GreaterEqual => tests(|x, y| x >= y),
        And | Or | Xor | BitwiseAnd | BitwiseOr | BitwiseXor | ShiftLeft | ShiftRight => None,
    }
}

fn int_binary(function: BinaryFunction, dtype: DType, a: Side<i64>, b: Side<i64>, to: &[usize]) -> Option<Data> {
    use BinaryFunction::*;
    // 128 bits hold the values of every dtype and their sums, so one rule serves signed and unsigned.
    let wide = |v: i64| if dtype == DType::U64 { v as u64 as i128 } else { v as i128 };
    let ints = |f: &dyn Fn(i128, i128) -> i128| {
        Some(Data::I(pairs(a.0, a.1, b.0, b.1, to, |x, y| wrap(dtype, f(wide(x), wide(y)) as i64))))
    };
    let tests =
        |f: fn(&i128, &i128) -> bool| Some(Data::B(pairs(a.0, a.1, b.0, b.1, to, |x, y| f(&wide(x), &wide(y)))));
    let bits = dtype.size() as i128 * 8;
    match function {
        Add => ints(&|x, y| x + y),
        Sub => ints(&|x, y| x - y),
        Mul => ints(&|x, y| x.wrapping_mul(y)),
        // By zero: zero, as numpy does.
        FloorDiv => ints(&|x, y| if y == 0 { 0 } else { (x - floor_mod(x, y)) / y }),
        Mod => ints(&|x, y| if y == 0 { 0 } else { floor_mod(x, y) }),
        Pow => ints(&power),
        Max => ints(&|x, y| x.max(y)),
        Min => ints(&|x, y| x.min(y)),
        Equal => tests(i128::eq),
        NotEqual => tests(i128::ne),
        Less => tests(i128::lt),
        LessEqual => tests(i128::le),
        Greater => tests(i128::gt),
        GreaterEqual => tests(i128::ge),
        BitwiseAnd => ints(&|x, y| x & y),
        BitwiseOr => ints(&|x, y| x | y),
        BitwiseXor => ints(&|x, y| x ^ y),
        ShiftLeft => ints(&|x, y| if (0..bits).contains(&y) { x << y } else { 0 }),
        // The sign fills up what is shifted in.
        ShiftRight => ints(&|x, y| x >> if (0..bits).contains(&y) { y } else { bits }),
        Div | Atan2 | And | Or | Xor => None,
    }
}

/// Has the sign of the divisor.
fn floor_mod(x: i128, y: i128) -> i128 {
    let rest = x % y;
    if rest != 0 && (rest < 0) != (y < 0) { rest + y } else { rest }
}

/// Wraps; a negative exponent leaves only the powers of one.
fn power(base: i128, exponent: i128) -> i128 {
    if exponent < 0 {
        return match base {
            1 => 1,
            -1 => 1 - 2 * (exponent & 1),
            _ => 0,
        };
    }
    let (mut base, mut exponent, mut product) = (base, exponent, 1i128);
    while exponent > 0 {
        if exponent & 1 == 1 {
            product = product.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        exponent >>= 1;
    }
    product
}

fn bool_binary(function: BinaryFunction, a: Side<bool>, b: Side<bool>, to: &[usize]) -> Option<Data> {
    use BinaryFunction::*;
    let tests = |f: fn(bool, bool) -> bool| Some(Data::B(pairs(a.0, a.1, b.0, b.1, to, f)));
    match function {
        And => tests(|x, y| x & y),
        Or => tests(|x, y| x | y),
        Xor | NotEqual => tests(|x, y| x ^ y),
        Equal => tests(|x, y| x == y),
        Add | Sub | Mul | Div | FloorDiv | Mod | Pow | Max | Min | Atan2 | Less | LessEqual | Greater
        | GreaterEqual | BitwiseAnd | BitwiseOr | BitwiseXor | ShiftLeft | ShiftRight => None,
    }
}

pub fn clip(op: &Clip, ins: &mut Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.take(0)?;
    // As the dtype holds them: 1 - 1e-7 is not what float32 has next to one.
    let bound = |bound: Option<f64>, none: f64| match x.dtype {
        DType::F32 => bound.map_or(none, |bound| bound as f32 as f64),
        _ => bound.unwrap_or(none),
    };
    let (low, high) = (bound(op.min, f64::NEG_INFINITY), bound(op.max, f64::INFINITY));
    match x.data {
        Data::F(mut values) => {
            values.iter_mut().for_each(|v| {
                *v = if *v < low {
                    low
                } else if *v > high {
                    high
                } else {
                    *v
                }
            });
            cx.floats(values)
        }
        Data::I(values) => {
            let clip = |v: i64| match int_to_float(x.dtype, v) {
                number if number < low => low as i64,
                number if number > high => high as i64,
                _ => v,
            };
            cx.output(Data::I(values.into_iter().map(clip).collect()))
        }
        Data::B(_) | Data::S(_) => Err(Diag::new(Code::Bug, "", "clip of what is no number")),
    }
}

pub fn select(ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let (condition, a, b) = (ins.array(0)?, ins.array(1)?, ins.array(2)?);
    let to = cx.shape();
    let chosen = {
        let strides = broadcast_strides(&condition.shape, &to);
        let condition = bools(&condition)?;
        Offsets::new(&to, &strides).map(|i| condition[i]).collect::<Vec<bool>>()
    };
    fn merge<T: Clone>(chosen: &[bool], to: &[usize], a: Side<T>, b: Side<T>) -> Vec<T> {
        let (a_strides, b_strides) = (broadcast_strides(a.0, to), broadcast_strides(b.0, to));
        let places = Offsets::new(to, &a_strides).zip(Offsets::new(to, &b_strides));
        chosen.iter().zip(places).map(|(&first, (i, j))| if first { a.1[i].clone() } else { b.1[j].clone() }).collect()
    }
    match (&a.data, &b.data) {
        (Data::F(x), Data::F(y)) => cx.output(Data::F(merge(&chosen, &to, (&a.shape, x), (&b.shape, y)))),
        (Data::I(x), Data::I(y)) => cx.output(Data::I(merge(&chosen, &to, (&a.shape, x), (&b.shape, y)))),
        (Data::B(x), Data::B(y)) => cx.output(Data::B(merge(&chosen, &to, (&a.shape, x), (&b.shape, y)))),
        (Data::S(x), Data::S(y)) => cx.output(Data::S(merge(&chosen, &to, (&a.shape, x), (&b.shape, y)))),
        _ => Err(Diag::new(Code::Bug, "", format!("a choice of {} and {}", a.ty(), b.ty()))),
    }
}

pub fn cast(op: &Cast, ins: &Ins<'_>) -> Outcome {
    Ok(vec![ins.array(0)?.cast(op.to)])
}
