//! Products, convolutions, pools, normalization, resampling.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::value::Val;
use super::{inputs, one, values};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    BatchNorm, BinaryFunction, Conv, ConvTranspose, DType, Dim, Einsum, KernelOrder, Layout, LogSoftmax, MatMul,
    NearestRounding, Padding, Pool, PoolFunction, ReduceFunction, Resize, ResizeCoordinates, ResizeMode, Softmax,
    UnaryFunction, ValueId,
};

type Out = Result<Vec<Val>, Diag>;

/// MatMul and BatchMatMul, with either side transposed (conjugated is the same for real numbers).
pub fn mat_mul<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let pair = values(interp, node, inputs::<2>(node, vals)?)?;
    let flags = if node.op == "MatMul" { ["transpose_a", "transpose_b"] } else { ["adj_x", "adj_y"] };
    let mut sides = Vec::new();
    for (value, flag) in pair.into_iter().zip(flags) {
        let rank = interp.shape(value).len();
        if node.flag(flag, false)? && rank >= 2 {
            let mut perm: Vec<usize> = (0..rank).collect();
            perm.swap(rank - 2, rank - 1);
            sides.push(interp.graph().transpose(node.name, value, &perm)?);
        } else {
            sides.push(value);
        }
    }
    let out = interp.add(node, MatMul {}, &sides)?;
    one(interp, out)
}

pub fn einsum<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let operands = values(interp, node, vals)?;
    let ranks: Vec<usize> = operands.iter().map(|&value| interp.shape(value).len()).collect();
    let equation = spelled_out(node, &node.text("equation", "")?, &ranks)?;
    let out = interp.add(node, Einsum { equation }, &operands)?;
    one(interp, out)
}

/// The equation with letters in the place of `...`.
fn spelled_out(node: &Node<'_>, equation: &str, ranks: &[usize]) -> Result<String, Diag> {
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = equation.split_once("->").ok_or_else(|| node.unsupported("an equation without '->'"))?;
    let mut free = ('a'..='z').chain('A'..='Z').filter(|letter| !equation.contains(*letter));
    let parts: Vec<&str> = left.split(',').collect();
    if parts.len() != ranks.len() {
        return Err(node.bad(format!("the equation '{equation}' for {} operands", ranks.len())));
    }
    let mut widest = 0;
    for (part, rank) in parts.iter().zip(ranks) {
        if let Some((before, after)) = part.split_once("...") {
            widest = widest.max(rank.saturating_sub(before.len() + after.len()));
        }
    }
    let letters: String = free.by_ref().take(widest).collect();
    // Operands of fewer leading axes are broadcast: their letters are the last ones.
    let expanded = parts.iter().zip(ranks).map(|(part, rank)| match part.split_once("...") {
        Some((before, after)) => {
            let own = rank.saturating_sub(before.len() + after.len());
            format!("{before}{}{after}", &letters[letters.len() - own..])
        }
        None => (*part).to_owned(),
    });
    Ok(format!("{}->{}", expanded.collect::<Vec<_>>().join(","), right.replace("...", &letters)))
}

/// Layout and spatial axes of an image-like op.
struct Frame {
    layout: Layout,
    spatial: Vec<usize>,
    channels: usize,
}

fn frame(node: &Node<'_>, rank: usize) -> Result<Frame, Diag> {
    let default = if rank == 5 { "NDHWC" } else { "NHWC" };
    match node.text("data_format", default)?.as_str() {
        "NHWC" | "NDHWC" => {
            Ok(Frame { layout: Layout::ChannelsLast, spatial: (1..rank - 1).collect(), channels: rank - 1 })
        }
        "NCHW" | "NCDHW" => Ok(Frame { layout: Layout::ChannelsFirst, spatial: (2..rank).collect(), channels: 1 }),
        other => Err(node.unsupported(format!("data_format '{other}'"))),
    }
}

/// The spatial entries of an attribute with one number for each axis.
fn spatial(node: &Node<'_>, name: &str, frame: &Frame) -> Result<Vec<u64>, Diag> {
    let all = node.ints(name)?;
    if all.is_empty() {
        return Ok(vec![1; frame.spatial.len()]);
    }
    let at = |axis: &usize| all.get(*axis).and_then(|n| u64::try_from(*n).ok()).filter(|n| (1..1 << 32).contains(n));
    let found: Option<Vec<u64>> = frame.spatial.iter().map(at).collect();
    let apart = (0..all.len()).filter(|axis| !frame.spatial.contains(axis)).all(|axis| all[axis] == 1);
    found.filter(|_| apart).ok_or_else(|| node.unsupported(format!("{name} {all:?}")))
}

fn padding(node: &Node<'_>, frame: &Frame) -> Result<Vec<Padding>, Diag> {
    match node.text("padding", "VALID")?.as_str() {
        "SAME" => Ok(vec![Padding::Same; frame.spatial.len()]),
        "VALID" => Ok(vec![Padding::Explicit(0, 0); frame.spatial.len()]),
        "EXPLICIT" => {
            let all = node.ints("explicit_paddings")?;
            let at = |place: usize| all.get(place).and_then(|n| u64::try_from(*n).ok());
            let pairs = frame.spatial.iter().map(|axis| Some(Padding::Explicit(at(2 * axis)?, at(2 * axis + 1)?)));
            pairs.collect::<Option<_>>().ok_or_else(|| node.bad("explicit paddings that do not fit"))
        }
        other => Err(node.bad(format!("padding '{other}'"))),
    }
}

fn rank_of(interp: &Interp<'_>, node: &Node<'_>, x: ValueId) -> Result<usize, Diag> {
    match interp.shape(x).len() {
        rank @ (4 | 5) => Ok(rank),
        rank => Err(node.bad(format!("an input of rank {rank}"))),
    }
}

fn known(interp: &Interp<'_>, node: &Node<'_>, x: ValueId, axis: usize) -> Result<u64, Diag> {
    let size = interp.shape(x).get(axis).and_then(Dim::known);
    size.ok_or_else(|| node.unsupported(format!("axis {axis} of {} is not known", interp.ty(x))))
}

pub fn conv<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let pair = values(interp, node, inputs::<2>(node, vals)?)?;
    let rank = rank_of(interp, node, pair[0])?;
    let frame = frame(node, rank)?;
    let channels = known(interp, node, pair[0], frame.channels)?;
    let taken = known(interp, node, pair[1], rank - 2)?;
    if taken == 0 || channels % taken != 0 {
        return Err(node.bad(format!("{channels} channels for a kernel of {taken}")));
    }
    let op = Conv {
        strides: spatial(node, "strides", &frame)?,
        dilations: spatial(node, "dilations", &frame)?,
        padding: padding(node, &frame)?,
        groups: channels / taken,
        layout: frame.layout,
        kernel: KernelOrder::Hwio,
    };
    let out = interp.add(node, op, &pair)?;
    one(interp, out)
}

/// The kernel (h, w, in, multiplier) is one of as many groups as there are channels.
pub fn depthwise_conv<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let mut pair = values(interp, node, inputs::<2>(node, vals)?)?;
    let frame = frame(node, rank_of(interp, node, pair[0])?)?;
    let kernel = interp.shape(pair[1]);
    let [h, w, channels, multiplier] = &kernel[..] else {
        return Err(node.bad("a kernel that is not of rank four"));
    };
    let shape = vec![h.clone(), w.clone(), Dim::Known(1), channels.times(multiplier)];
    let groups = known(interp, node, pair[1], 2)?;
    pair[1] = interp.weight_as(node, pair[1], shape)?;
    let op = Conv {
        strides: spatial(node, "strides", &frame)?,
        dilations: spatial(node, "dilations", &frame)?,
        padding: padding(node, &frame)?,
        groups,
        layout: frame.layout,
        kernel: KernelOrder::Hwio,
    };
    let out = interp.add(node, op, &pair)?;
    one(interp, out)
}

/// output sizes, kernel (h, w, out, in), x: the gradient of a convolution, used as one.
pub fn conv_transpose<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [_, kernel, x] = inputs(node, vals)?;
    let sizes = interp.sizes_of(node, vals, 0, "output size")?;
    let (kernel, x) = (interp.value(node, kernel)?, interp.value(node, x)?);
    let rank = rank_of(interp, node, x)?;
    let frame = frame(node, rank)?;
    let (strides, dilations) = (spatial(node, "strides", &frame)?, spatial(node, "dilations", &frame)?);
    let same = node.text("padding", "VALID")? == "SAME";
    let shape = interp.shape(x);
    // As a shape, or its spatial part alone.
    let skip = if sizes.len() == rank { None } else { Some(()) };
    let (mut cropping, mut output_padding) = (Vec::new(), Vec::new());
    for (at, &axis) in frame.spatial.iter().enumerate() {
        let wanted = sizes.get(if skip.is_some() { at } else { axis }).and_then(|size| size.dim());
        let wanted = wanted.ok_or_else(|| node.bad("an output size that is no shape"))?;
        let window = (known(interp, node, kernel, at)?.max(1) - 1) * dilations[at] + 1;
        let spread = shape[axis].offset(-1).map(|n| n.times(&Dim::Known(strides[at])).plus(&Dim::Known(window)));
        let full = spread.ok_or_else(|| node.bad("an empty input"))?;
        let cut = full.minus(&wanted).and_then(|cut| cut.known());
        let added = wanted.minus(&full).and_then(|added| added.known());
        match (cut, added) {
            (Some(cut), _) => {
                let before = if same { cut / 2 } else { 0 };
                cropping.push((before, cut - before));
                output_padding.push(0);
            }
            (None, Some(added)) => {
                cropping.push((0, 0));
                output_padding.push(added);
            }
            (None, None) => return Err(node.unsupported(format!("an output of {wanted} where {full} is natural"))),
        }
    }
    let op = ConvTranspose {
        strides,
        dilations,
        cropping,
        output_padding,
        groups: 1,
        layout: frame.layout,
        kernel: KernelOrder::Hwoi,
    };
    let out = interp.add(node, op, &[x, kernel])?;
    one(interp, out)
}

pub fn pool<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let x = interp.value(node, x)?;
    let frame = frame(node, rank_of(interp, node, x)?)?;
    let op = Pool {
        function: if node.op.starts_with("Max") { PoolFunction::Max } else { PoolFunction::Average },
        window: spatial(node, "ksize", &frame)?,
        strides: spatial(node, "strides", &frame)?,
        padding: padding(node, &frame)?,
        layout: frame.layout,
    };
    let out = interp.add(node, op, &[x])?;
    one(interp, out)
}

pub fn bias_add<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let mut pair = values(interp, node, inputs::<2>(node, vals)?)?;
    let rank = interp.shape(pair[0]).len();
    if node.text("data_format", "NHWC")?.starts_with("NC") && rank > 2 {
        let mut shape = interp.shape(pair[1]);
        shape.resize(rank - 1, Dim::Known(1));
        pair[1] = interp.graph().reshape(node.name, pair[1], shape)?;
    }
    let out = interp.graph().binary(node.name, BinaryFunction::Add, pair[0], pair[1])?;
    one(interp, out)
}

/// x, scale, offset, mean, variance. The other outputs serve training.
pub fn batch_norm<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, scale, offset, mean, variance] = inputs(node, vals)?;
    let x = interp.value(node, x)?;
    let rank = rank_of(interp, node, x)?;
    let axis = frame(node, rank)?.channels;
    let epsilon = node.float("epsilon", f64::from(1e-4f32))?;
    if node.flag("is_training", true)? {
        let pair = values(interp, node, &[scale.clone(), offset.clone()])?;
        return by_own_statistics(interp, node, x, axis, epsilon, [pair[0], pair[1]]);
    }
    let mut inputs = vec![x];
    for val in [scale, offset, mean, variance] {
        inputs.push(interp.value(node, val)?);
    }
    let y = interp.add(node, BatchNorm { axis, epsilon }, &inputs)?;
    let mut out = vec![interp.val(y)];
    out.resize(6, Val::Nothing);
    Ok(out)
}

/// Mean and variance of what it is given, for each channel: how Keras 2 spells a LayerNormalization.
fn by_own_statistics(
    interp: &mut Interp<'_>,
    node: &Node<'_>,
    x: ValueId,
    axis: usize,
    epsilon: f64,
    affine: [ValueId; 2],
) -> Out {
    let rank = interp.shape(x).len();
    let axes: Vec<usize> = (0..rank).filter(|at| *at != axis).collect();
    let path = node.name;
    let mean = interp.graph().reduce(path, ReduceFunction::Mean, x, &axes, true)?;
    let centred = interp.graph().binary(path, BinaryFunction::Sub, x, mean)?;
    let square = interp.graph().unary(path, UnaryFunction::Square, centred)?;
    let variance = interp.graph().reduce(path, ReduceFunction::Mean, square, &axes, true)?;
    let safe = interp.graph().binary_scalar(path, BinaryFunction::Add, variance, epsilon)?;
    let scale = interp.graph().unary(path, UnaryFunction::Rsqrt, safe)?;
    let mut y = interp.graph().binary(path, BinaryFunction::Mul, centred, scale)?;
    for (function, value) in [BinaryFunction::Mul, BinaryFunction::Add].into_iter().zip(affine) {
        let mut shape = interp.shape(value);
        shape.resize(rank - axis, Dim::Known(1));
        let value = interp.graph().reshape(path, value, shape)?;
        y = interp.graph().binary(path, function, y, value)?;
    }
    let mut out = vec![interp.val(y)];
    out.resize(6, Val::Nothing);
    Ok(out)
}

pub fn softmax<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let x = interp.value(node, x)?;
    let last = interp.shape(x).len().checked_sub(1).ok_or_else(|| node.bad("a scalar"))?;
    let out = match node.op {
        "Softmax" => interp.add(node, Softmax { axes: vec![last] }, &[x])?,
        _ => interp.add(node, LogSoftmax { axis: last }, &[x])?,
    };
    one(interp, out)
}

/// images (b, h, w, c), size (2). The result is f32, except for nearest.
/// Resizing with kernels that widen when an image shrinks; as `tf.image.resize` uses it: scaled to its size, not moved.
pub fn translate<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _, scale, moved] = inputs(node, vals)?;
    let sizes = interp.sizes_of(node, vals, 1, "size")?;
    let sizes: Option<Vec<u64>> = sizes.iter().map(|size| size.dim()?.known()).collect();
    let sizes =
        sizes.filter(|sizes| sizes.len() == 2).ok_or_else(|| node.unsupported("a size that is not constant"))?;
    let mut x = interp.value(node, x)?;
    let numbers = |val: &Val| match val {
        Val::Known(tensor) => super::super::value::numbers(tensor),
        _ => None,
    };
    let whole = |(i, scale): (usize, &f64)| {
        let have = interp.shape(x).get(i + 1).and_then(Dim::known);
        have.is_some_and(|have| (sizes[i] as f64 / have as f64 - scale).abs() <= 1e-6 * scale.abs())
    };
    let scales = numbers(scale).filter(|scales| scales.len() == 2);
    let plain = scales.is_some_and(|scales| scales.iter().enumerate().all(whole));
    if !plain || numbers(moved).is_none_or(|moved| moved.iter().any(|&by| by != 0.0)) {
        return Err(node.unsupported("an image that is moved, or scaled beyond its size"));
    }
    let mode = match node.text("kernel_type", "lanczos3")?.as_str() {
        "triangle" => ResizeMode::Linear,
        "keyscubic" => ResizeMode::Cubic,
        "lanczos3" => ResizeMode::Lanczos3,
        "lanczos5" => ResizeMode::Lanczos5,
        other => return Err(node.unsupported(format!("kernel '{other}'"))),
    };
    if interp.ty(x).dtype != DType::F32 {
        x = interp.graph().cast(node.name, x, DType::F32)?;
    }
    let op = Resize {
        axes: vec![1, 2],
        sizes: sizes.into_iter().map(Dim::Known).collect(),
        mode,
        coordinates: ResizeCoordinates::HalfPixel,
        rounding: NearestRounding::Floor,
        cubic_a: -0.5,
        antialias: node.flag("antialias", true)?,
    };
    let out = interp.add(node, op, &[x])?;
    one(interp, out)
}

/// Images that a matrix turns, moves or bends.
pub fn warped<'a>(_interp: &mut Interp<'a>, node: &Node<'a>, _vals: &[Val]) -> Out {
    Err(node.unsupported("images that are turned, moved or bent by a matrix: no output has an op for it"))
}

pub fn resize<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _] = inputs(node, vals)?;
    let sizes = interp.sizes_of(node, vals, 1, "size")?;
    let sizes: Option<Vec<Dim>> = sizes.iter().map(|size| size.dim()).collect();
    let sizes = sizes.filter(|sizes| sizes.len() == 2).ok_or_else(|| node.bad("a size that is no size"))?;
    let mut x = interp.value(node, x)?;
    let (align, half) = (node.flag("align_corners", false)?, node.flag("half_pixel_centers", false)?);
    let coordinates = match (align, half) {
        (true, _) => ResizeCoordinates::AlignCorners,
        (false, true) => ResizeCoordinates::HalfPixel,
        (false, false) => ResizeCoordinates::Asymmetric,
    };
    let mode = match node.op {
        "ResizeBilinear" => ResizeMode::Linear,
        "ResizeNearestNeighbor" => ResizeMode::Nearest,
        _ if half => ResizeMode::Cubic,
        _ => return Err(node.unsupported("the old cubic, without half-pixel centres")),
    };
    if mode != ResizeMode::Nearest && interp.ty(x).dtype != DType::F32 {
        x = interp.graph().cast(node.name, x, DType::F32)?;
    }
    // floor((i + 0.5) s) is the half-pixel coordinate (i + 0.5) s - 0.5 with halves rounded up.
    let rounding = if align || half { NearestRounding::HalfUp } else { NearestRounding::Floor };
    let op = Resize { axes: vec![1, 2], sizes, mode, coordinates, rounding, cubic_a: -0.5, antialias: false };
    let out = interp.add(node, op, &[x])?;
    one(interp, out)
}
