//! Monte Carlo arithmetic: each op's result disturbed at random by what rounding may add to it.
//!
//! An op that rounds once is off by u |y|, u = 2^-24 for f32. A dot product a.b of k terms is worse where terms cancel:
//! summed in random order, its error is about u |a| |b| (norms) when the signs of the terms are mixed, and about
//! u |a.b| sqrt(k / 3) when all terms have one sign. Runtimes sum in several lanes, which divides the k that counts by
//! at least 8. So each result moves by u r (|a| |b| + |a.b| sqrt(k / 8)), r uniform in [-1, 1]. The norms cost one
//! more pass over the factors instead of a second product. Sums, means and averages are dot products with ones, where
//! sum(|x|) stands for |x| |1|. Functions that runtimes approximate get four units, or the units of the naive
//! formula where that loses digits (`exp(x) - 1` near zero is off by u, however small its result).
//!
//! Matrix products, attention and the recurrent ops disturb themselves where the norms are at hand; everything else is
//! disturbed here. Ops that only move, select or compare values are exact.

use crate::array::{Array, Data, round_to};
use crate::eval::elementwise::pairs;
use crate::eval::{Ins, floats, reduce};
use crate::weights::strides;
use half::{bf16, f16};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    ActivationFunction, BinaryFunction, DType, Op, PoolFunction, ReduceFunction, ResizeMode, UnaryFunction,
};

/// Lanes in which the narrowest runtime sums.
const LANES: f64 = 8.0;

/// Units in the last place that an approximated function may be off by.
const APPROXIMATED: f64 = 4.0;

/// A source of disturbances: element `i` of one key always gets the same, whatever the threads do.
#[derive(Clone, Copy)]
pub struct Noise {
    unit: f64,
    seed: u64,
}

fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The seed of something that happens inside of what `seed` belongs to.
pub fn derived(seed: u64, key: u64) -> u64 {
    mixed(seed ^ mixed(key))
}

/// Half of the distance from one to the next number. Of float64 as if it were float32, which is what the runtimes of
/// several targets compute it in.
fn unit(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => 2f64.powi(-24),
    }
}

impl Noise {
    pub fn new(seed: u64, key: u64, dtype: Option<DType>) -> Noise {
        Noise { unit: unit(dtype.unwrap_or(DType::F32)), seed: derived(seed, key) }
    }

    pub fn keyed(self, key: u64) -> Noise {
        Noise { seed: derived(self.seed, key), ..self }
    }

    /// u times a number in [-1, 1].
    fn at(self, index: usize) -> f64 {
        let bits = mixed(self.seed ^ (index as u64).wrapping_mul(0xd6e8_feb8_6659_fd93));
        self.unit * ((bits >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
    }

    /// Dot products of `k` terms: one row's norm against each column's.
    pub fn dots(self, row: &mut [f64], norm: f64, column_norms: &[f64], k: usize, first: usize) {
        let same_sign = (k as f64 / LANES).sqrt();
        for (j, (value, column)) in row.iter_mut().zip(column_norms).enumerate() {
            *value += self.at(first + j) * (norm * column + value.abs() * same_sign);
        }
    }

    /// Each value by `ulps` units of itself.
    pub fn relative(self, values: &mut [f64], ulps: f64) {
        self.scaled(values, |_, value| ulps * value.abs());
    }

    /// Each finite value by u times what `magnitude` says of it.
    fn scaled(self, values: &mut [f64], magnitude: impl Fn(usize, f64) -> f64) {
        for (i, value) in values.iter_mut().enumerate() {
            let moved = *value + self.at(i) * magnitude(i, *value);
            if moved.is_finite() {
                *value = moved;
            }
        }
    }
}

/// Disturbs the outputs of ops that don't do it themselves.
pub(crate) fn disturb(op: &Op, ins: &Ins<'_>, outputs: &mut [Array], noise: Noise) -> Result<(), Diag> {
    let Some(Array { data: Data::F(y), dtype, shape, .. }) = outputs.first_mut() else { return Ok(()) };
    match op {
        Op::Unary(op) => unary(op.function, ins, y, noise),
        Op::Activation(op) => activation(op.function, ins, y, noise),
        Op::Binary(op) => binary(op.function, ins, y, shape, noise),
        Op::Cast(_) => cast(ins, *dtype, y, noise),
        Op::Pool(op) => match op.function {
            PoolFunction::Max => Ok(()),
            PoolFunction::Average => {
                noise.relative(y, 1.0 + op.window.iter().product::<u64>() as f64);
                Ok(())
            }
        },
        Op::BatchNorm(op) => batch_norm(op.axis, op.epsilon, ins, y, noise),
        Op::LayerNorm(_) | Op::GroupNorm(_) | Op::RmsNorm(_) => norm(ins, y, noise),
        Op::Softmax(op) => softmax(&op.axes, ins, y, noise),
        Op::LogSoftmax(op) => softmax(&[op.axis], ins, y, noise),
        Op::Reduce(op) => reduction(op, ins, y, noise),
        Op::Cumulative(op) => {
            let running = shape.get(op.axis).copied().unwrap_or(1) as f64;
            let spread = reduce::largest(&*ins.array(0)?)?;
            noise.scaled(y, |_, value| value.abs() * running.sqrt() + spread * running.sqrt());
            Ok(())
        }
        Op::Resize(op) => {
            if op.mode != ResizeMode::Nearest {
                // Coordinates are computed in the same precision as values.
                let input = ins.operand(0)?.shape();
                let longest = op.axes.iter().map(|&axis| input[axis]).max().unwrap_or(1) as f64;
                let spread = reduce::largest(&*ins.array(0)?)?;
                noise.scaled(y, |_, value| APPROXIMATED * value.abs() + spread * longest / LANES);
            }
            Ok(())
        }
        // They disturb themselves, or hold bodies that are disturbed node by node.
        Op::MatMul(_)
        | Op::Einsum(_)
        | Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::Lstm(_)
        | Op::Gru(_)
        | Op::SimpleRnn(_)
        | Op::Attention(_)
        | Op::Scan(_) => Ok(()),
        // Exact.
        Op::Clip(_)
        | Op::Dropout(_)
        | Op::Where(_)
        | Op::ArgReduce(_)
        | Op::TopK(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Concat(_)
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::Tile(_)
        | Op::BroadcastTo(_)
        | Op::Gather(_)
        | Op::GatherElements(_)
        | Op::Reverse(_)
        | Op::OneHot(_)
        | Op::Triangle(_)
        | Op::Constant(_)
        | Op::DimSize(_)
        | Op::Iota(_) => Ok(()),
        Op::StringToIndex(_) | Op::IndexToString(_) => Ok(()),
        Op::StringMap(_) | Op::StringSplit(_) | Op::StringHash(_) => Ok(()),
    }
}

fn unary(function: UnaryFunction, ins: &Ins<'_>, y: &mut [f64], noise: Noise) -> Result<(), Diag> {
    use UnaryFunction::*;
    let input = ins.array(0)?;
    let x = floats(&input)?;
    match function {
        Abs | Neg | Sign | Floor | Ceil | Round | Trunc | Relu | Not | IsNan | IsInf | IsFinite | BitwiseNot => {}
        Square | Sqrt | Reciprocal => noise.relative(y, 1.0),
        Rsqrt => noise.relative(y, 2.0),
        Exp | Expm1 | Sigmoid => noise.scaled(y, |i, v| (APPROXIMATED + x[i].abs().min(16.0)) * v.abs()),
        Log | Log1p | Tanh | Erf | Asin | Acos | Atan | Asinh | Acosh | Atanh => {
            noise.scaled(y, |_, v| APPROXIMATED * v.abs().max(1e-3))
        }
        Sin | Cos | Tan | Sinh | Cosh => noise.scaled(y, |_, v| APPROXIMATED * v.abs().max(0.25)),
        Softplus | Selu => noise.scaled(y, |_, v| APPROXIMATED * (v.abs() + 0.5)),
        Softsign => noise.relative(y, 2.0),
        Silu | Gelu | GeluTanh | Mish => noise.scaled(y, |i, v| APPROXIMATED * (v.abs() + x[i].abs().min(4.0))),
    }
    Ok(())
}

fn activation(function: ActivationFunction, ins: &Ins<'_>, y: &mut [f64], noise: Noise) -> Result<(), Diag> {
    use ActivationFunction::*;
    let input = ins.array(0)?;
    let x = floats(&input)?;
    match function {
        Linear | Relu | ThresholdedRelu => {}
        LeakyRelu => noise.relative(y, 1.0),
        HardSigmoid | Affine => noise.scaled(y, |_, v| 2.0 * v.abs() + 1.0),
        Elu | Celu | Selu | Softplus => noise.scaled(y, |_, v| APPROXIMATED * (v.abs() + 0.5)),
        ScaledTanh | Tanh | Sigmoid | Softsign => noise.relative(y, APPROXIMATED),
        Exp => noise.scaled(y, |i, v| (APPROXIMATED + x[i].abs()) * v.abs()),
        Silu | Gelu | GeluTanh | Mish => noise.scaled(y, |i, v| APPROXIMATED * (v.abs() + x[i].abs().min(4.0))),
    }
    Ok(())
}

fn binary(function: BinaryFunction, ins: &Ins<'_>, y: &mut [f64], shape: &[usize], noise: Noise) -> Result<(), Diag> {
    use BinaryFunction::*;
    match function {
        Add | Sub | Mul => {
            let (a, b) = (ins.array(0)?, ins.array(1)?);
            let dtype = if a.dtype == DType::F64 { DType::F32 } else { a.dtype };
            let is_number = |value: f64| round_to(dtype, value) == value;
            let both = |a: f64, b: f64| (a, b, is_number(a) && is_number(b));
            let pairs = pairs(&a.shape, floats(&a)?, &b.shape, floats(&b)?, shape, both);
            // What comes out even is not rounded: a number of this dtype made of two of its numbers, or one of the
            // two as it was, since the other is nothing beside it.
            let rounds = |i: usize, value: f64| {
                let (a, b, numbers) = pairs[i];
                let even = value == a || value.abs() == b.abs() || numbers && is_number(value);
                if even { 0.0 } else { value.abs() }
            };
            noise.scaled(y, rounds);
        }
        Div => noise.relative(y, 1.0),
        Atan2 => noise.relative(y, APPROXIMATED),
        // a^b is exp(b log a) in most runtimes.
        Pow => noise.scaled(y, |_, v| (APPROXIMATED + v.abs().ln().abs().min(100.0)) * v.abs()),
        FloorDiv | Mod => {
            // a - b floor(a / b): the quotient rounds before it is floored.
            let (a, b) = (ins.array(0)?, ins.array(1)?);
            let sizes =
                pairs(&a.shape, floats(&a)?, &b.shape, floats(&b)?, shape, |a: f64, b: f64| a.abs().max(b.abs()));
            if function == Mod {
                noise.scaled(y, |i, _| sizes[i]);
            }
        }
        Max | Min | Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual | And | Or | Xor | BitwiseAnd
        | BitwiseOr | BitwiseXor | ShiftLeft | ShiftRight => {}
    }
    Ok(())
}

/// A narrower float rounds, and which way it does may hang by the last digit of what it is given: the evaluator's own
/// rounding is no bound for another's. Errors of the wider float are far smaller than what is rounded off, so another
/// gets the same number or one of the two beside it; one that computes in the wider float alone, a number between them.
fn cast(ins: &Ins<'_>, to: DType, y: &mut [f64], noise: Noise) -> Result<(), Diag> {
    let from = ins.array(0)?.dtype;
    if from.is_float() && to.is_float() && unit(to) > unit(from) {
        for (i, value) in y.iter_mut().enumerate() {
            let share = noise.at(i) / noise.unit;
            let beside = beside(to, *value, if share < 0.0 { -1 } else { 1 });
            if beside.is_finite() {
                *value += share.abs() * (beside - *value);
            }
        }
    }
    Ok(())
}

/// The next number of `dtype` in size: larger or smaller by one step, its sign kept. Zero has none smaller.
fn beside(dtype: DType, value: f64, step: i16) -> f64 {
    let size = value.abs();
    let moved = match dtype {
        DType::F16 => f16::from_bits(f16::from_f64(size).to_bits().saturating_add_signed(step)).to_f64(),
        DType::BF16 => bf16::from_bits(bf16::from_f64(size).to_bits().saturating_add_signed(step)).to_f64(),
        // Nothing that counts is wider than float32, so nothing is narrowed to it.
        _ => size,
    };
    moved.copysign(value)
}

/// (x - mean) * scale / sqrt(v + e) + offset, or x * a + b with folded a and b: x, the mean and the offset cancel.
fn batch_norm(axis: usize, epsilon: f64, ins: &Ins<'_>, y: &mut [f64], noise: Noise) -> Result<(), Diag> {
    let x = ins.array(0)?;
    let (mean, variance) = (ins.array(3)?, ins.array(4)?);
    let (mean, variance) = (floats(&mean)?, floats(&variance)?);
    let (scale, offset) = (ins.optional(1)?, ins.optional(2)?);
    let at = |array: &Option<std::sync::Arc<Array>>, c: usize, default: f64| match array {
        Some(array) => floats(array).map_or(default, |values| values[c].abs()),
        None => default,
    };
    let factors: Vec<f64> = (0..mean.len()).map(|c| at(&scale, c, 1.0) / (variance[c] + epsilon).sqrt()).collect();
    let fixed: Vec<f64> = (0..mean.len()).map(|c| factors[c] * mean[c].abs() + at(&offset, c, 0.0)).collect();
    let inner = strides(&x.shape)[axis];
    let values = floats(&x)?;
    let channel = |i: usize| i / inner % mean.len();
    noise.scaled(y, |i, _| 2.0 * (values[i].abs() * factors[channel(i)] + fixed[channel(i)]));
    Ok(())
}

/// Normalised values are about one; the mean that is taken off may be far larger than what is left.
fn norm(ins: &Ins<'_>, y: &mut [f64], noise: Noise) -> Result<(), Diag> {
    let x = ins.array(0)?;
    let x = floats(&x)?;
    let count = x.len().max(1) as f64;
    let mean = x.iter().sum::<f64>() / count;
    let spread = (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt().max(f64::MIN_POSITIVE);
    let largest = match ins.optional(1)? {
        Some(scale) => floats(&scale)?.iter().fold(0.0f64, |max, v| max.max(v.abs())),
        None => 1.0,
    };
    let cancelled = (largest * (mean.abs() / spread).min(1e4)).max(0.0);
    noise.scaled(y, |_, v| APPROXIMATED * (v.abs() + largest) + cancelled);
    Ok(())
}

/// exp(x - max): the difference rounds by its own size, and so does what comes out.
fn softmax(axes: &[usize], ins: &Ins<'_>, y: &mut [f64], noise: Noise) -> Result<(), Diag> {
    let shape = ins.operand(0)?.shape();
    let terms: usize = axes.iter().map(|&axis| shape[axis]).product();
    let sum = APPROXIMATED + (terms as f64 / LANES).sqrt();
    noise.scaled(y, |_, v| match v > 0.0 {
        true => v * (sum + v.ln().abs().min(100.0)),
        // A logarithm.
        false => v.abs() + sum,
    });
    Ok(())
}

fn reduction(op: &recast_plugin_api::ir::Reduce, ins: &Ins<'_>, y: &mut [f64], noise: Noise) -> Result<(), Diag> {
    let input = ins.array(0)?;
    let terms: usize = op.axes.iter().map(|&axis| input.shape[axis]).product();
    let same_sign = (terms as f64 / LANES).sqrt();
    match op.function {
        ReduceFunction::Sum | ReduceFunction::Mean => {
            let sizes = floats(&input)?.iter().map(|v| v.abs()).collect();
            let sizes = Array::floats(input.dtype, input.shape.clone(), sizes);
            let sizes = reduce::reduced(op, &sizes, y.len())?;
            let sizes = if let Data::F(sizes) = sizes { sizes } else { return Ok(()) };
            noise.scaled(y, |i, v| sizes[i] + v.abs() * same_sign);
        }
        ReduceFunction::Prod => noise.relative(y, (terms as f64).sqrt()),
        ReduceFunction::LogSumExp => noise.scaled(y, |_, v| v.abs() + APPROXIMATED + same_sign),
        ReduceFunction::Max | ReduceFunction::Min | ReduceFunction::Any | ReduceFunction::All => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::round_to;
    use crate::eval::Operand;

    /// Distance of `value` to the next larger number.
    fn spacing(dtype: DType, value: f64) -> f64 {
        let least = match dtype {
            DType::F16 => 2f64.powi(-24),
            _ => 2f64.powi(-133),
        };
        (2.0 * unit(dtype) * 2f64.powi(value.abs().log2().floor() as i32)).max(least)
    }

    #[test]
    fn casts_move_to_the_number_beside_and_no_further() {
        for (dtype, least) in [(DType::F16, 1e-7), (DType::BF16, 1e-30)] {
            let values: Vec<f64> =
                (0..300).map(|i| round_to(dtype, least * 1.31f64.powi(i % 70) * (i as f64 - 150.0))).collect();
            let input = Array::floats(DType::F64, vec![values.len()], values.clone());
            let ins = Ins::new(vec![Some(Operand::Made(input.into()))]);
            let (mut up, mut down, mut far) = (0, 0, 0);
            for seed in 0..4 {
                let mut moved = values.clone();
                cast(&ins, dtype, &mut moved, Noise::new(seed, 1, Some(dtype))).unwrap();
                for (&from, &to) in values.iter().zip(&moved) {
                    assert!((to - from).abs() <= spacing(dtype, from), "{dtype} {from:e} became {to:e}");
                    far += usize::from((to - from).abs() > 0.75 * spacing(dtype, from));
                    up += usize::from(to.abs() > from.abs());
                    down += usize::from(to.abs() < from.abs());
                }
            }
            assert!(up.min(down).min(far) > 200, "{dtype}: {up} {down} {far}");
        }
    }
}
