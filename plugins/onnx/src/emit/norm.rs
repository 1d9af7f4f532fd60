use super::reduce::reduced;
use super::weights::{decode, encode};
use super::{Emit, Emitting};
use crate::write::Piece;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    BatchNorm, DType, Dim, GroupNorm, LayerNorm, LogSoftmax, Node, ReduceFunction, RmsNorm, Softmax,
};

/// Sizes of an input with those of `axes` kept and all others one: what broadcasts along `axes`.
fn along(shape: &[Dim], axes: &[usize]) -> Option<Vec<u64>> {
    let size = |(axis, dim): (usize, &Dim)| if axes.contains(&axis) { dim.known() } else { Some(1) };
    let first = axes.first().copied().unwrap_or(shape.len());
    // Leading ones say nothing.
    shape.iter().enumerate().skip(first).map(size).collect()
}

/// Input `index`, which has the sizes of `axes`, so that it broadcasts against an `x` of this shape.
fn aligned(node: &Node, index: usize, shape: &[Dim], axes: &[usize], e: &mut Emit) -> Result<String, Diag> {
    if let Some(dims) = along(shape, axes) {
        return e.reshaped(node, index, &dims);
    }
    // A symbolic size among `axes`: only a computed value can have it.
    let first = axes.first().copied().unwrap_or(shape.len());
    let dims: Vec<Dim> = (first..shape.len())
        .map(|axis| if axes.contains(&axis) { shape[axis].clone() } else { Dim::Known(1) })
        .collect();
    let (value, shape) = (e.arg(node, index)?, e.shape_vector(&dims)?);
    Ok(e.call("Reshape", &[&value, &shape]))
}

/// `x * scale + offset`, each where it is there; the last node makes the result.
fn scaled(x: String, node: &Node, axes: &[usize], e: &mut Emit) -> Emitting {
    let shape = e.shape(node.outputs[0]);
    let has = |index: usize| node.inputs.get(index).copied().flatten().is_some();
    let mut y = x;
    if has(1) {
        let scale = aligned(node, 1, shape, axes, e)?;
        if !has(2) {
            e.op("Mul", &[&y, &scale]).to(node.outputs[0]);
            return Ok(());
        }
        y = e.call("Mul", &[&y, &scale]);
    }
    if has(2) {
        let offset = aligned(node, 2, shape, axes, e)?;
        e.op("Add", &[&y, &offset]).to(node.outputs[0]);
        return Ok(());
    }
    e.alias(node.outputs[0], &y);
    Ok(())
}

/// (x - mean) / sqrt(variance + epsilon) over `axes` of an x of rank `rank`.
fn standardized(x: &str, axes: &[usize], epsilon: f64, dtype: DType, e: &mut Emit) -> String {
    let mean = reduced(ReduceFunction::Mean, x, axes, true, e);
    let centred = e.call("Sub", &[x, &mean]);
    let squared = e.call("Mul", &[&centred, &centred]);
    let variance = reduced(ReduceFunction::Mean, &squared, axes, true, e);
    let epsilon = e.scalar(dtype, epsilon);
    let shifted = e.call("Add", &[&variance, &epsilon]);
    let deviation = e.call("Sqrt", &[&shifted]);
    e.call("Div", &[&centred, &deviation])
}

pub fn batch_norm(op: &BatchNorm, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (shape, dtype) = (e.shape(value), e.ty(value).dtype);
    let channels = shape[op.axis].known();
    if let (1, Some(channels)) = (op.axis, channels) {
        let x = e.name(value);
        let mut part = |index: usize, default: f64| match e.opt_arg(node, index) {
            absent if absent.is_empty() => e.filled(dtype, &[channels], default),
            name => name,
        };
        let (scale, offset, mean, variance) = (part(1, 1.0), part(2, 0.0), part(3, 0.0), part(4, 1.0));
        let inputs: [&str; 5] = [&x, &scale, &offset, &mean, &variance];
        e.op("BatchNormalization", &inputs).float("epsilon", op.epsilon).to(node.outputs[0]);
        return Ok(());
    }
    if let (Some(channels), Some(parts)) = (channels, known_parts(node, e)) {
        return folded_norm(op, node, channels, parts, e);
    }
    let x = e.name(value);
    let mean = aligned(node, 3, shape, &[op.axis], e)?;
    let variance = aligned(node, 4, shape, &[op.axis], e)?;
    let epsilon = e.scalar(dtype, op.epsilon);
    let shifted = e.call("Add", &[&variance, &epsilon]);
    let deviation = e.call("Sqrt", &[&shifted]);
    let centred = e.call("Sub", &[&x, &mean]);
    let y = e.call("Div", &[&centred, &deviation]);
    scaled(y, node, &[op.axis], e)
}

/// The four vectors of a batch norm, where all of them are weights; `None` for an absent one.
fn known_parts(node: &Node, e: &Emit) -> Option<[Option<Piece>; 4]> {
    let mut parts = [None, None, None, None];
    for (i, part) in parts.iter_mut().enumerate() {
        if let Some(value) = node.inputs.get(i + 1).copied().flatten() {
            *part = Some(e.known(value)?.piece.clone());
        }
    }
    Some(parts)
}

/// ONNX' BatchNormalization is for axis 1 alone. On any other axis it is one product and one sum of weights that are
/// computed (in f64) when they are written.
fn folded_norm(op: &BatchNorm, node: &Node, channels: u64, parts: [Option<Piece>; 4], e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, dtype, shape) = (e.name(value), e.ty(value).dtype, e.shape(value));
    let dims: Vec<u64> = std::iter::once(channels).chain((op.axis + 1..shape.len()).map(|_| 1)).collect();
    let present = parts.clone().map(|part| part.is_some());
    let pieces: Vec<Piece> = parts.into_iter().flatten().collect();
    let (epsilon, n) = (op.epsilon, channels as usize);
    let fold = move |bytes: &[Vec<u8>], offset: bool| {
        let mut given = bytes.iter();
        let part = |present: bool, default: f64, given: &mut std::slice::Iter<Vec<u8>>| match present {
            true => given.next().map_or(Vec::new(), |bytes| decode(dtype, bytes)),
            false => vec![default; n],
        };
        let scale = part(present[0], 1.0, &mut given);
        let shift = part(present[1], 0.0, &mut given);
        let mean = part(present[2], 0.0, &mut given);
        let variance = part(present[3], 1.0, &mut given);
        let factor = |i: usize| scale[i] / (variance[i] + epsilon).sqrt();
        let made = (0..n).map(|i| if offset { shift[i] - mean[i] * factor(i) } else { factor(i) });
        encode(dtype, made)
    };
    let path = e.path().to_string();
    let (multiply, add) = (fold, fold);
    let factor = e.init_made(&format!("{path}/factor"), dtype, &dims, pieces.clone(), move |b| multiply(b, false));
    let shift = e.init_made(&format!("{path}/shift"), dtype, &dims, pieces, move |b| add(b, true));
    let product = e.call("Mul", &[&x, &factor]);
    e.op("Add", &[&product, &shift]).to(node.outputs[0]);
    Ok(())
}

pub fn layer_norm(op: &LayerNorm, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (ty, x) = (e.ty(value), e.name(value));
    let first = op.axes.first().copied().unwrap_or(ty.rank());
    let trailing = op.axes.len() == ty.rank() - first && !op.axes.is_empty();
    let sizes: Option<Vec<u64>> = ty.shape[first..].iter().map(Dim::known).collect();
    if let (true, true, Some(sizes)) = (e.opset >= 17, trailing, sizes) {
        let scale = match e.opt_arg(node, 1) {
            absent if absent.is_empty() => e.filled(ty.dtype, &sizes, 1.0),
            name => name,
        };
        let offset = e.opt_arg(node, 2);
        let build = e.op("LayerNormalization", &[&x, &scale, &offset]).int("axis", first as i64);
        build.float("epsilon", op.epsilon).to(node.outputs[0]);
        return Ok(());
    }
    let y = standardized(&x, &op.axes, op.epsilon, ty.dtype, e);
    scaled(y, node, &op.axes, e)
}

pub fn group_norm(op: &GroupNorm, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (ty, x) = (e.ty(value), e.name(value));
    let groups = Dim::Known(op.groups);
    let channels = &ty.shape[op.axis];
    let inside = channels.exact_div(&groups).unwrap_or(Dim::Known(1));
    // (batch, ..., groups, channels of one group, ...): normalized over all but the batch and the groups.
    let mut split = ty.shape.clone();
    split.splice(op.axis..=op.axis, [groups, inside]);
    let axes: Vec<usize> = (1..split.len()).filter(|&axis| axis != op.axis).collect();
    let split_shape = e.reshape_target(&ty.shape, &split)?;
    let grouped = e.call("Reshape", &[&x, &split_shape]);
    let standard = standardized(&grouped, &axes, op.epsilon, ty.dtype, e);
    let back = e.reshape_target(&split, &ty.shape)?;
    let y = e.call("Reshape", &[&standard, &back]);
    scaled(y, node, &[op.axis], e)
}

pub fn rms_norm(op: &RmsNorm, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (dtype, x) = (e.ty(value).dtype, e.name(value));
    let squared = e.call("Mul", &[&x, &x]);
    let mean = reduced(ReduceFunction::Mean, &squared, &op.axes, true, e);
    let epsilon = e.scalar(dtype, op.epsilon);
    let shifted = e.call("Add", &[&mean, &epsilon]);
    let root = e.call("Sqrt", &[&shifted]);
    let y = e.call("Div", &[&x, &root]);
    scaled(y, node, &op.axes, e)
}

pub fn softmax(op: &Softmax, node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    if let [axis] = op.axes[..] {
        e.op("Softmax", &[&x]).int("axis", axis as i64).to(node.outputs[0]);
        return Ok(());
    }
    let max = reduced(ReduceFunction::Max, &x, &op.axes, true, e);
    let shifted = e.call("Sub", &[&x, &max]);
    let exp = e.call("Exp", &[&shifted]);
    let sum = reduced(ReduceFunction::Sum, &exp, &op.axes, true, e);
    e.op("Div", &[&exp, &sum]).to(node.outputs[0]);
    Ok(())
}

pub fn log_softmax(op: &LogSoftmax, node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    e.op("LogSoftmax", &[&x]).int("axis", op.axis as i64).to(node.outputs[0]);
    Ok(())
}
