use super::{Cx, Ins, Outcome, broadcast_strides, floats, into_floats};
use crate::array::Array;
use crate::weights::{Offsets, strides};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{BatchNorm, GroupNorm, LayerNorm, LogSoftmax, RmsNorm, Softmax};

/// Multiplies (or adds) one number for each place of `axes` to every element.
fn apply(
    values: &mut [f64],
    shape: &[usize],
    axes: &[usize],
    factors: Option<&Array>,
    f: impl Fn(f64, f64) -> f64,
) -> Result<(), Diag> {
    let Some(factors) = factors else { return Ok(()) };
    let factors = floats(factors)?;
    if axes.last() == Some(&(shape.len() - 1)) && axes.len() == 1 {
        for row in values.chunks_exact_mut(factors.len().max(1)) {
            row.iter_mut().zip(factors).for_each(|(v, &factor)| *v = f(*v, factor));
        }
        return Ok(());
    }
    let sizes: Vec<usize> = (0..shape.len()).map(|axis| if axes.contains(&axis) { shape[axis] } else { 1 }).collect();
    let steps = broadcast_strides(&sizes, shape);
    values.iter_mut().zip(Offsets::new(shape, &steps)).for_each(|(v, at)| *v = f(*v, factors[at]));
    Ok(())
}

pub fn batch_norm(op: &BatchNorm, ins: &mut Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let (scale, offset) = (ins.optional(1)?, ins.optional(2)?);
    let (mean, variance) = (ins.array(3)?, ins.array(4)?);
    let x = ins.take(0)?;
    let shape = x.shape.clone();
    let mut values = into_floats(x)?;
    let deviation = |v: &f64| 1.0 / (v + op.epsilon).sqrt();
    let mut factor: Vec<f64> = floats(&variance)?.iter().map(deviation).collect();
    if let Some(scale) = scale {
        factor.iter_mut().zip(floats(&scale)?).for_each(|(f, s)| *f *= s);
    }
    let factor = Array::floats(variance.dtype, variance.shape.clone(), factor);
    apply(&mut values, &shape, &[op.axis], Some(&mean), |v, mean| v - mean)?;
    apply(&mut values, &shape, &[op.axis], Some(&factor), |v, factor| v * factor)?;
    apply(&mut values, &shape, &[op.axis], offset.as_deref(), |v, offset| v + offset)?;
    cx.floats(values)
}

/// For each element the number of its group: elements that differ only in their place along `axes` share one.
struct Groups {
    shape: Vec<usize>,
    steps: Vec<usize>,
    count: usize,
}

impl Groups {
    fn new(shape: &[usize], axes: &[usize]) -> Groups {
        let kept: Vec<usize> =
            (0..shape.len()).map(|axis| if axes.contains(&axis) { 1 } else { shape[axis] }).collect();
        let own = strides(&kept);
        let steps = (0..shape.len()).map(|axis| if axes.contains(&axis) { 0 } else { own[axis] }).collect();
        Groups { shape: shape.to_vec(), steps, count: kept.iter().product() }
    }

    fn each(&self) -> Offsets<'_> {
        Offsets::new(&self.shape, &self.steps)
    }

    fn folded(&self, values: &[f64], start: f64, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let mut sums = vec![start; self.count];
        self.each().zip(values).for_each(|(group, &v)| sums[group] = f(sums[group], v));
        sums
    }

    fn members(&self) -> f64 {
        self.shape.iter().product::<usize>() as f64 / self.count.max(1) as f64
    }
}

/// (x - m) / sqrt(v + epsilon) within each group.
fn standardised(values: &mut [f64], groups: &Groups, epsilon: f64) {
    let members = groups.members();
    let means: Vec<f64> = groups.folded(values, 0.0, |sum, v| sum + v).into_iter().map(|sum| sum / members).collect();
    values.iter_mut().zip(groups.each()).for_each(|(v, group)| *v -= means[group]);
    let squares = groups.folded(values, 0.0, |sum, v| sum + v * v);
    let factors: Vec<f64> = squares.into_iter().map(|sum| 1.0 / (sum / members + epsilon).sqrt()).collect();
    values.iter_mut().zip(groups.each()).for_each(|(v, group)| *v *= factors[group]);
}

pub fn layer_norm(op: &LayerNorm, ins: &mut Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let (scale, offset) = (ins.optional(1)?, ins.optional(2)?);
    let mut values = into_floats(ins.take(0)?)?;
    let shape = cx.shape();
    standardised(&mut values, &Groups::new(&shape, &op.axes), op.epsilon);
    apply(&mut values, &shape, &op.axes, scale.as_deref(), |v, scale| v * scale)?;
    apply(&mut values, &shape, &op.axes, offset.as_deref(), |v, offset| v + offset)?;
    cx.floats(values)
}

pub fn group_norm(op: &GroupNorm, ins: &mut Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let (scale, offset) = (ins.optional(1)?, ins.optional(2)?);
    let mut values = into_floats(ins.take(0)?)?;
    let shape = cx.shape();
    // The channel axis becomes (groups, channels of a group).
    let groups = op.groups as usize;
    let mut split = shape.clone();
    split.splice(op.axis..=op.axis, [groups, shape[op.axis] / groups]);
    let axes: Vec<usize> = (1..split.len()).filter(|&axis| axis != op.axis).collect();
    standardised(&mut values, &Groups::new(&split, &axes), op.epsilon);
    apply(&mut values, &shape, &[op.axis], scale.as_deref(), |v, scale| v * scale)?;
    apply(&mut values, &shape, &[op.axis], offset.as_deref(), |v, offset| v + offset)?;
    cx.floats(values)
}

pub fn rms_norm(op: &RmsNorm, ins: &mut Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let scale = ins.optional(1)?;
    let mut values = into_floats(ins.take(0)?)?;
    let shape = cx.shape();
    let groups = Groups::new(&shape, &op.axes);
    let squares = groups.folded(&values, 0.0, |sum, v| sum + v * v);
    let members = groups.members();
    let factors: Vec<f64> = squares.into_iter().map(|sum| 1.0 / (sum / members + op.epsilon).sqrt()).collect();
    values.iter_mut().zip(groups.each()).for_each(|(v, group)| *v *= factors[group]);
    apply(&mut values, &shape, &op.axes, scale.as_deref(), |v, scale| v * scale)?;
    cx.floats(values)
}

pub fn softmax(op: &Softmax, ins: &mut Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let mut values = into_floats(ins.take(0)?)?;
    softmax_over(&mut values, &cx.shape(), &op.axes);
    cx.floats(values)
}

/// In place; also what attention uses. The largest value is taken off first, so that nothing overflows.
pub fn softmax_over(values: &mut [f64], shape: &[usize], axes: &[usize]) {
    let groups = Groups::new(shape, axes);
    let largest = groups.folded(values, f64::NEG_INFINITY, f64::max);
    values.iter_mut().zip(groups.each()).for_each(|(v, group)| *v = (*v - largest[group]).exp());
    let sums = groups.folded(values, 0.0, |sum, v| sum + v);
    values.iter_mut().zip(groups.each()).for_each(|(v, group)| *v /= sums[group]);
}

pub fn log_softmax(op: &LogSoftmax, ins: &mut Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let mut values = into_floats(ins.take(0)?)?;
    let groups = Groups::new(&cx.shape(), &[op.axis]);
    let largest = groups.folded(&values, f64::NEG_INFINITY, f64::max);
    values.iter_mut().zip(groups.each()).for_each(|(v, group)| *v -= largest[group]);
    let sums = groups.folded(&values, 0.0, |sum, v| sum + v.exp());
    values.iter_mut().zip(groups.each()).for_each(|(v, group)| *v -= sums[group].ln());
    cx.floats(values)
}
