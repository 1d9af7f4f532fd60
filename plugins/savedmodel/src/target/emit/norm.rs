use super::reduce::reduced;
use super::{Emit, Emitting, Val};
use crate::proto::dtype as tf;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    BatchNorm, DType, Dim, GroupNorm, LayerNorm, LogSoftmax, Node, ReduceFunction, RmsNorm, Softmax,
};

/// Input `index`, which has the sizes of `axes`, so that it broadcasts against an x of this shape; `None` when absent.
fn aligned(node: &Node, index: usize, shape: &[Dim], axes: &[usize], e: &mut Emit) -> Result<Option<Val>, Diag> {
    let Some(value) = node.inputs.get(index).copied().flatten() else { return Ok(None) };
    let val = e.val(value)?;
    // The last axes broadcast as they are.
    let first = axes.first().copied().unwrap_or(shape.len());
    if axes.len() == shape.len() - first {
        return Ok(Some(val));
    }
    let dims: Vec<Dim> = (first..shape.len())
        .map(|axis| if axes.contains(&axis) { shape[axis].clone() } else { Dim::Known(1) })
        .collect();
    Ok(Some(e.reshaped(&val, &dims)?))
}

/// `x * scale + offset`, each where it is there.
fn scaled(x: Val, node: &Node, axes: &[usize], e: &mut Emit) -> Emitting {
    let shape = e.shape(node.outputs[0]);
    let mut y = x;
    if let Some(scale) = aligned(node, 1, shape, axes, e)? {
        y = e.call("Mul", &[&y, &scale]);
    }
    if let Some(offset) = aligned(node, 2, shape, axes, e)? {
        y = e.call("AddV2", &[&y, &offset]);
    }
    e.bind(node.outputs[0], y);
    Ok(())
}

/// (x - mean) / sqrt(variance + epsilon) over `axes`.
fn standardized(x: &Val, axes: &[usize], epsilon: f64, dtype: DType, e: &mut Emit) -> Val {
    let mean = reduced(ReduceFunction::Mean, x, axes, true, dtype, e);
    let centred = e.call("Sub", &[x, &mean]);
    let squared = e.call("Square", &[&centred]);
    let variance = reduced(ReduceFunction::Mean, &squared, axes, true, dtype, e);
    let inverse = inverse_deviation(&variance, epsilon, dtype, e);
    e.call("Mul", &[&centred, &inverse])
}

fn inverse_deviation(variance: &Val, epsilon: f64, dtype: DType, e: &mut Emit) -> Val {
    let epsilon = e.scalar(dtype, epsilon);
    let shifted = e.call("AddV2", &[variance, &epsilon]);
    e.call("Rsqrt", &[&shifted])
}

pub fn batch_norm(op: &BatchNorm, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (shape, dtype) = (e.shape(value), e.ty(value).dtype);
    let x = e.val(value)?;
    if let (DType::F32, 4, 3, Some(channels)) = (dtype, shape.len(), op.axis, shape[op.axis].known()) {
        let mut part = |index: usize, default: f64| -> Result<Val, Diag> {
            Ok(match e.opt_arg(node, index)? {
                Some(val) => val,
                None => e.numbers(dtype, &[channels], &vec![default; channels as usize]),
            })
        };
        let (scale, offset, mean, variance) = (part(1, 1.0)?, part(2, 0.0)?, part(3, 0.0)?, part(4, 1.0)?);
        let build = e.op("FusedBatchNormV3", &[&x, &scale, &offset, &mean, &variance]);
        build.float("epsilon", op.epsilon).flag("is_training", false).to(node.outputs[0]);
        return Ok(());
    }
    let axes = [op.axis];
    let missing = || Diag::new(recast_plugin_api::diag::Code::Bug, &node.path, "batch_norm without statistics");
    let mean = aligned(node, 3, shape, &axes, e)?.ok_or_else(missing)?;
    let variance = aligned(node, 4, shape, &axes, e)?.ok_or_else(missing)?;
    let mut factor = inverse_deviation(&variance, op.epsilon, dtype, e);
    if let Some(scale) = aligned(node, 1, shape, &axes, e)? {
        factor = e.call("Mul", &[&factor, &scale]);
    }
    let product = e.call("Mul", &[&x, &factor]);
    let moved = e.call("Mul", &[&mean, &factor]);
    match aligned(node, 2, shape, &axes, e)? {
        Some(offset) => {
            let shift = e.call("Sub", &[&offset, &moved]);
            e.op("AddV2", &[&product, &shift]).to(node.outputs[0]);
        }
        None => e.op("Sub", &[&product, &moved]).to(node.outputs[0]),
    }
    Ok(())
}

pub fn layer_norm(op: &LayerNorm, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, dtype) = (e.val(value)?, e.ty(value).dtype);
    let y = standardized(&x, &op.axes, op.epsilon, dtype, e);
    scaled(y, node, &op.axes, e)
}

pub fn group_norm(op: &GroupNorm, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, ty) = (e.val(value)?, e.ty(value));
    let groups = Dim::Known(op.groups);
    let inside = ty.shape[op.axis].exact_div(&groups).unwrap_or(Dim::Known(1));
    // (batch, ..., groups, channels of one group, ...): normalized over all but the batch and the groups.
    let mut split = ty.shape.clone();
    split.splice(op.axis..=op.axis, [groups, inside]);
    let axes: Vec<usize> = (1..split.len()).filter(|&axis| axis != op.axis).collect();
    let grouped = e.reshaped(&x, &split)?;
    let standard = standardized(&grouped, &axes, op.epsilon, ty.dtype, e);
    let y = e.reshaped(&standard, &ty.shape)?;
    scaled(y, node, &[op.axis], e)
}

pub fn rms_norm(op: &RmsNorm, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, dtype) = (e.val(value)?, e.ty(value).dtype);
    let squared = e.call("Square", &[&x]);
    let mean = reduced(ReduceFunction::Mean, &squared, &op.axes, true, dtype, e);
    let inverse = inverse_deviation(&mean, op.epsilon, dtype, e);
    let y = e.call("Mul", &[&x, &inverse]);
    scaled(y, node, &op.axes, e)
}

pub fn softmax(op: &Softmax, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, ty) = (e.val(value)?, e.ty(value));
    let y = softmax_of(&x, &op.axes, ty.rank(), ty.dtype, e);
    e.bind(node.outputs[0], y);
    Ok(())
}

/// TensorFlow's own node is for the last axis alone.
pub fn softmax_of(x: &Val, axes: &[usize], rank: usize, dtype: DType, e: &mut Emit) -> Val {
    debug_assert_eq!(x.dtype, tf::to_tf(dtype));
    if axes == [rank - 1] {
        return e.call("Softmax", &[x]);
    }
    let max = reduced(ReduceFunction::Max, x, axes, true, dtype, e);
    let shifted = e.call("Sub", &[x, &max]);
    let exp = e.call("Exp", &[&shifted]);
    let sum = reduced(ReduceFunction::Sum, &exp, axes, true, dtype, e);
    e.call("RealDiv", &[&exp, &sum])
}

pub fn log_softmax(op: &LogSoftmax, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, ty) = (e.val(value)?, e.ty(value));
    if op.axis + 1 == ty.rank() {
        e.op("LogSoftmax", &[&x]).to(node.outputs[0]);
        return Ok(());
    }
    let axes = [op.axis];
    let max = reduced(ReduceFunction::Max, &x, &axes, true, ty.dtype, e);
    let shifted = e.call("Sub", &[&x, &max]);
    let exp = e.call("Exp", &[&shifted]);
    let sum = reduced(ReduceFunction::Sum, &exp, &axes, true, ty.dtype, e);
    let log = e.call("Log", &[&sum]);
    e.op("Sub", &[&shifted, &log]).to(node.outputs[0]);
    Ok(())
}
