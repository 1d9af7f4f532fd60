use super::{Cx, Ins, Lanes, Outcome, floats};
use crate::array::{Array, Data, wrap};
use crate::weights::{Offsets, strides};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{
    ArgFunction, ArgReduce, Cumulative, CumulativeFunction, DType, Reduce, ReduceFunction, TopK,
};

pub fn reduce(op: &Reduce, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    cx.output(reduced(op, &*ins.array(0)?, cx.len())?)
}

/// The elements of the result, of which there are `count`.
pub fn reduced(op: &Reduce, x: &Array, count: usize) -> Result<Data, Diag> {
    use ReduceFunction::*;
    let kept: Vec<usize> =
        x.shape.iter().enumerate().map(|(axis, &n)| if op.axes.contains(&axis) { 1 } else { n }).collect();
    let mut steps = strides(&kept);
    op.axes.iter().for_each(|&axis| steps[axis] = 0);
    let place = || Offsets::new(&x.shape, &steps);
    fn folded<T: Copy>(to: Offsets<'_>, from: &[T], count: usize, start: T, f: impl Fn(T, T) -> T) -> Vec<T> {
        let mut out = vec![start; count];
        to.zip(from).for_each(|(to, &v)| out[to] = f(out[to], v));
        out
    }
    let members = x.len() as f64 / count.max(1) as f64;
    let data = match (&x.data, op.function) {
        (Data::F(values), Sum) => Data::F(folded(place(), values, count, 0.0, |a, b| a + b)),
        (Data::F(values), Mean) => {
            Data::F(folded(place(), values, count, 0.0, |a, b| a + b).into_iter().map(|v| v / members).collect())
        }
        (Data::F(values), Max) => {
            Data::F(folded(place(), values, count, f64::NEG_INFINITY, |a, b| if b > a || b.is_nan() { b } else { a }))
        }
        (Data::F(values), Min) => {
            Data::F(folded(place(), values, count, f64::INFINITY, |a, b| if b < a || b.is_nan() { b } else { a }))
        }
        (Data::F(values), Prod) => Data::F(folded(place(), values, count, 1.0, |a, b| a * b)),
        (Data::F(values), LogSumExp) => {
            let largest = folded(place(), values, count, f64::NEG_INFINITY, f64::max);
            // Minus infinity throughout: nothing to take off.
            let largest: Vec<f64> = largest.into_iter().map(|v| if v.is_finite() { v } else { 0.0 }).collect();
            let mut sums = vec![0.0; count];
            place().zip(values).for_each(|(to, v)| sums[to] += (v - largest[to]).exp());
            Data::F(sums.into_iter().zip(largest).map(|(sum, largest)| largest + sum.ln()).collect())
        }
        (Data::I(values), Sum) => Data::I(folded(place(), values, count, 0, |a, b| wrap(x.dtype, a.wrapping_add(b)))),
        (Data::I(values), Prod) => Data::I(folded(place(), values, count, 1, |a, b| wrap(x.dtype, a.wrapping_mul(b)))),
        (Data::I(values), Max) if x.dtype == DType::U64 => {
            Data::I(folded(place(), values, count, 0, |a, b| (a as u64).max(b as u64) as i64))
        }
        (Data::I(values), Min) if x.dtype == DType::U64 => {
            Data::I(folded(place(), values, count, -1, |a, b| (a as u64).min(b as u64) as i64))
        }
        (Data::I(values), Max) => Data::I(folded(place(), values, count, i64::MIN, i64::max)),
        (Data::I(values), Min) => Data::I(folded(place(), values, count, i64::MAX, i64::min)),
        (Data::B(values), Any) => Data::B(folded(place(), values, count, false, |a, b| a | b)),
        (Data::B(values), All) => Data::B(folded(place(), values, count, true, |a, b| a & b)),
        (Data::F(_), Any | All) | (Data::I(_), Mean | LogSumExp | Any | All) | (Data::B(_) | Data::S(_), _) => {
            return Err(Diag::new(Code::Bug, "", format!("{} of {}", op.function, x.ty())));
        }
    };
    Ok(data)
}

/// Elements as numbers that compare as the dtype does, exactly.
fn comparable(x: &Array) -> Vec<i128> {
    match &x.data {
        // The bits of a float, so turned that they compare as the numbers do; NaN above all.
        Data::F(values) => values
            .iter()
            .map(|v| {
                let bits = (if *v == 0.0 { 0.0f64 } else { v.abs() }).to_bits() as i128;
                if v.is_sign_negative() && !v.is_nan() { -bits } else { bits }
            })
            .collect(),
        Data::I(values) if x.dtype == DType::U64 => values.iter().map(|&v| v as u64 as i128).collect(),
        Data::I(values) => values.iter().map(|&v| v as i128).collect(),
        Data::B(values) => values.iter().map(|&v| v as i128).collect(),
        // Inference refuses them.
        Data::S(values) => vec![0; values.len()],
    }
}

pub fn arg_reduce(op: &ArgReduce, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.array(0)?;
    let values = comparable(&x);
    let lanes = Lanes::of(&x.shape, op.axis);
    let first = |start: usize| {
        let better = |a: i128, b: i128| match op.function {
            ArgFunction::Max => a > b,
            ArgFunction::Min => a < b,
        };
        let at = |i: usize| values[start + i * lanes.inner];
        (1..lanes.len).fold(0, |best, i| if better(at(i), at(best)) { i } else { best }) as i64
    };
    if lanes.len == 0 && cx.len() > 0 {
        return Err(super::fault("the largest of no elements"));
    }
    cx.output(Data::I(lanes.starts().map(first).collect()))
}

pub fn cumulative(op: &Cumulative, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.array(0)?;
    let lanes = Lanes::of(&x.shape, op.axis);
    fn run<T: Copy>(values: &[T], lanes: Lanes, op: &Cumulative, start: T, f: impl Fn(T, T) -> T) -> Vec<T> {
        let mut out = values.to_vec();
        for lane in lanes.starts() {
            let mut sum = start;
            for step in 0..lanes.len {
                let i = if op.reverse { lanes.len - 1 - step } else { step };
                let at = lane + i * lanes.inner;
                let next = f(sum, values[at]);
                out[at] = if op.exclusive { sum } else { next };
                sum = next;
            }
        }
        out
    }
    let dtype = x.dtype;
    let data = match (&x.data, op.function) {
        (Data::F(values), CumulativeFunction::Sum) => Data::F(run(values, lanes, op, 0.0, |a, b| a + b)),
        (Data::F(values), CumulativeFunction::Prod) => Data::F(run(values, lanes, op, 1.0, |a, b| a * b)),
        (Data::I(values), CumulativeFunction::Sum) => {
            Data::I(run(values, lanes, op, 0, |a, b| wrap(dtype, a.wrapping_add(b))))
        }
        (Data::I(values), CumulativeFunction::Prod) => {
            Data::I(run(values, lanes, op, 1, |a, b| wrap(dtype, a.wrapping_mul(b))))
        }
        (Data::B(_) | Data::S(_), _) => return Err(Diag::new(Code::Bug, "", "running sums of what is no number")),
    };
    cx.output(data)
}

pub fn top_k(op: &TopK, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.array(0)?;
    let shape = cx.shape();
    let keys = comparable(&x);
    let (lanes, found) = (Lanes::of(&x.shape, op.axis), Lanes::of(&shape, op.axis));
    if found.len > lanes.len {
        return Err(super::fault(format!("the {} largest of {}", found.len, lanes.len)));
    }
    let (mut sources, mut indices) = (vec![0; cx.len()], vec![0i64; cx.len()]);
    for (from, to) in lanes.starts().zip(found.starts()) {
        let mut order: Vec<usize> = (0..lanes.len).collect();
        let key = |i: &usize| keys[from + i * lanes.inner];
        // Stable: equal values stay in the order of their indices.
        order.sort_by(|a, b| if op.largest { key(b).cmp(&key(a)) } else { key(a).cmp(&key(b)) });
        for (i, &source) in order.iter().take(found.len).enumerate() {
            sources[to + i * found.inner] = from + source * lanes.inner;
            indices[to + i * found.inner] = source as i64;
        }
    }
    let values = Array { dtype: x.dtype, shape: shape.clone(), data: x.data.picked(sources.into_iter()) };
    Ok(vec![values, Array::ints(DType::I64, shape, indices)])
}

/// The largest absolute value.
pub fn largest(x: &Array) -> Result<f64, Diag> {
    Ok(floats(x)?.iter().fold(0.0f64, |max, v| max.max(v.abs())))
}
