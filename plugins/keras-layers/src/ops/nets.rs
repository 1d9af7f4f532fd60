//! `keras.ops.nn` and `keras.ops.image`: what layers compute, with kernels that may be any tensor.

use super::args::{Operand, axes, axis, common, flag, integer, operand, opt_operand, place, setting, tensor};
use super::args::{float_tensor, number};
use super::{Outcome, unless, word};
use crate::conv::{conv_transpose_op, convolve};
use crate::core::count;
use crate::geometry::{Edge, Window, channel_axis, edge, layout, spatial_axes};
use crate::norm::{as_given, deviation_scaled};
use crate::policy::one;
use crate::pooling::{adaptive, pool};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    Attention, BatchNorm, BinaryFunction as B, Concat, DType, Dim, Einsum, Iota, LayerNorm, Layout, OneHot, Pad,
    PadMode, PoolFunction, ReduceFunction as R, RmsNorm, Softmax, Tensor, UnaryFunction as U, ValueId, Where,
};
use recast_plugin_api::lower::Lowering;

/// Spatial axes of an input of a convolution or a pooling.
fn spatial(l: &Lowering<'_>) -> Result<usize, Diag> {
    let x = l.positional().first().map(|x| x.value);
    let rank = x.map_or(0, |x| l.rank(x));
    if (3..=5).contains(&rank) { Ok(rank - 2) } else { Err(l.unsupported(format!("an input of rank {rank}"))) }
}

pub fn pooling(l: &mut Lowering<'_>) -> Outcome {
    let n = spatial(l)?;
    match word(l) {
        "MaxPool" => pool(l, n, PoolFunction::Max),
        "AveragePool" => pool(l, n, PoolFunction::Average),
        "AdaptiveMaxPool" => adaptive(l, n, R::Max),
        _ => adaptive(l, n, R::Mean),
    }
}

/// The tensor in this place, in the dtype of `x`.
fn beside(l: &mut Lowering<'_>, at: usize, name: &str, x: ValueId) -> Result<ValueId, Diag> {
    let found = operand(l, at, &[name])?;
    let dtype = l.ty(x).dtype;
    place(l, &found, dtype)
}

fn opt_beside(l: &mut Lowering<'_>, at: usize, name: &str, x: ValueId) -> Result<Option<ValueId>, Diag> {
    let Some(found) = opt_operand(l, at, &[name])? else { return Ok(None) };
    let dtype = l.ty(x).dtype;
    place(l, &found, dtype).map(Some)
}

/// The window that a kernel (spatial..., _, _) slides.
fn window(l: &Lowering<'_>, kernel: ValueId, n: usize) -> Result<Window, Diag> {
    if l.rank(kernel) != n + 2 {
        return Err(l.unsupported(format!("a kernel {}", l.ty(kernel))));
    }
    let sizes: Vec<u64> = (0..n).map(|i| l.known(kernel, i)).collect::<Result<_, _>>()?;
    let window = Window {
        sizes,
        strides: l.config.u64s_or("strides", n, 1)?,
        dilations: l.config.u64s_or("dilation_rate", n, 1)?,
        edge: edge(l)?,
        layout: layout(l)?,
    };
    window.checked(l)
}

pub fn conv(l: &mut Lowering<'_>) -> Outcome {
    let n = spatial(l)?;
    let x = float_tensor(l)?;
    let name = if word(l) == "SeparableConv" { "depthwise_kernel" } else { "kernel" };
    let kernel = beside(l, 1, name, x)?;
    let window = window(l, kernel, n)?;
    let channels = l.known(x, channel_axis(window.layout, n + 2))?;
    let (inner, outer) = (l.known(kernel, n)?, l.known(kernel, n + 1)?);
    if word(l) == "Conv" {
        unless(l, inner == 0 || channels % inner != 0, "channels that the kernel does not divide")?;
        return Ok(one(convolve(l, x, kernel, None, &window, channels / inner)?));
    }
    unless(l, inner != channels, "a kernel for other channels")?;
    let mut shape: Vec<Dim> = window.sizes.iter().map(|&size| Dim::Known(size)).collect();
    shape.extend([Dim::Known(1), Dim::Known(inner * outer)]);
    let grouped = l.reshape(kernel, shape)?;
    let y = convolve(l, x, grouped, None, &window, channels)?;
    if word(l) == "DepthwiseConv" {
        return Ok(one(y));
    }
    let pointwise = beside(l, 2, "pointwise_kernel", x)?;
    let ones = vec![1; n];
    let point = Window { sizes: ones.clone(), strides: ones.clone(), dilations: ones, edge: Edge::Valid, ..window };
    Ok(one(convolve(l, y, pointwise, None, &point, 1)?))
}

pub fn conv_transpose(l: &mut Lowering<'_>) -> Outcome {
    let n = spatial(l)?;
    let x = float_tensor(l)?;
    let kernel = beside(l, 1, "kernel", x)?;
    let window = window(l, kernel, n)?;
    unless(l, window.edge == Edge::Causal, "causal padding")?;
    let op = conv_transpose_op(l, &window, n)?;
    Ok(one(l.add_node(op, &[Some(x), Some(kernel), None])?[0]))
}

/// x, mean, variance, offset, scale.
pub fn batch_norm(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let axis = axis(l, &["axis"], l.rank(x), -1)?;
    let (mean, variance) = (beside(l, 1, "mean", x)?, beside(l, 2, "variance", x)?);
    let (offset, scale) = (opt_beside(l, 3, "offset", x)?, opt_beside(l, 4, "scale", x)?);
    let op = BatchNorm { axis, epsilon: number(l, &["epsilon"], 1e-3)? };
    Ok(one(l.add_node(op, &[Some(x), scale, offset, Some(mean), Some(variance)])?[0]))
}

pub fn layer_norm(l: &mut Lowering<'_>) -> Outcome {
    let given = l.positional().first().map_or(DType::F32, |x| l.ty(x.value).dtype);
    let x = float_tensor(l)?;
    let rank = l.rank(x);
    let mut over = axes(l, &["axis"], rank)?.unwrap_or_else(|| vec![rank.max(1) - 1]);
    over.sort_unstable();
    let epsilon = number(l, &["epsilon"], 1e-7)?;
    let y = if word(l) == "RMSNorm" {
        let scale = opt_beside(l, 1, "scale", x)?;
        l.add_node(RmsNorm { axes: over, epsilon }, &[Some(x), scale])?[0]
    } else if flag(l, &["rms_scaling"], false)? {
        let y = deviation_scaled(l, x, &over, epsilon)?;
        match opt_beside(l, 1, "gamma", x)? {
            Some(gamma) => l.binary(B::Mul, y, gamma)?,
            None => y,
        }
    } else {
        let (scale, offset) = (opt_beside(l, 1, "gamma", x)?, opt_beside(l, 2, "beta", x)?);
        l.add_node(LayerNorm { axes: over, epsilon }, &[Some(x), scale, offset])?[0]
    };
    Ok(one(as_given(l, y, given)?))
}

pub fn attention(l: &mut Lowering<'_>) -> Outcome {
    let query = float_tensor_named(l, "query")?;
    let (key, value) = (beside(l, 1, "key", query)?, beside(l, 2, "value", query)?);
    unless(l, setting(l, &["attn_logits_soft_cap"])?.is_some(), "a cap of the scores")?;
    unless(l, l.rank(query) != 4, "a query that is not of rank 4")?;
    let mask = match opt_operand(l, 4, &["mask"])? {
        Some(mask) => Some(place(l, &mask, DType::Bool)?),
        None => None,
    };
    let scale = match opt_operand(l, 5, &["scale"])? {
        Some(Operand::Constant(json, _)) => json.as_f64(),
        Some(Operand::Value(_)) => None,
        None => Some(1.0 / (l.known(query, 3)? as f64).sqrt()),
    };
    let scale = scale.ok_or_else(|| l.unsupported("a scale that the model computes"))?;
    let causal = flag(l, &["is_causal"], false)?;
    if let Some(bias) = opt_beside(l, 3, "bias", query)? {
        return biased_attention(l, [query, key, value], (scale, bias), mask, causal);
    }
    let op = Attention { scale, causal, mask_bias: -1e9 };
    Ok(one(l.add_node(op, &[Some(query), Some(key), Some(value), mask])?[0]))
}

/// Scores with a bias, step by step: what is masked or comes later gets the least number of the dtype.
fn biased_attention(
    l: &mut Lowering<'_>,
    [query, key, value]: [ValueId; 3],
    (scale, bias): (f64, ValueId),
    mask: Option<ValueId>,
    causal: bool,
) -> Outcome {
    let scores = l.add(Einsum { equation: "bthd,bshd->bhts".into() }, &[query, key])?;
    let scores = l.binary_scalar(B::Mul, scores, scale)?;
    let mut scores = l.binary(B::Add, scores, bias)?;
    let least = l.scalar_like(scores, super::numbers::largest(l.ty(scores).dtype) * -0.7)?;
    let shape = l.shape(scores);
    let later = if causal {
        let rows = l.add(Iota { dim: shape[2].clone(), dtype: DType::I64 }, &[])?;
        let columns = l.add(Iota { dim: shape[3].clone(), dtype: DType::I64 }, &[])?;
        let rows = l.expand(rows, 1)?;
        Some(l.binary(B::GreaterEqual, rows, columns)?)
    } else {
        None
    };
    for seen in [mask, later].into_iter().flatten() {
        scores = l.add(Where {}, &[seen, scores, least])?;
    }
    let shares = l.add(Softmax { axes: vec![3] }, &[scores])?;
    Ok(one(l.add(Einsum { equation: "bhts,bshd->bthd".into() }, &[shares, value])?))
}

fn float_tensor_named(l: &mut Lowering<'_>, name: &str) -> Result<ValueId, Diag> {
    let x = operand(l, 0, &[name])?;
    let dtype = common(l, &[&x]);
    let x = place(l, &x, dtype)?;
    super::args::as_float(l, x)
}

/// Which of `num_classes` a row of whole numbers holds.
pub fn multi_hot(l: &mut Lowering<'_>) -> Outcome {
    let x = operand(l, 0, &["inputs"])?;
    let x = place(l, &x, DType::I64)?;
    let depth = integer(l, &["num_classes", "num_tokens"])?.and_then(|depth| u64::try_from(depth).ok());
    let depth = depth.ok_or_else(|| l.unsupported("called without a number of classes"))?;
    let dtype = super::args::dtype(l, &["dtype"])?.unwrap_or(DType::F32);
    let rank = l.rank(x);
    let axis = axis(l, &["axis"], rank + 1, -1)?;
    let hot = l.add(OneHot { depth, axis, dtype }, &[x])?;
    Ok(one(l.reduce(R::Max, hot, &[usize::from(rank > 1)], false)?))
}

/// Red, green and blue by how bright they are seen.
pub fn grayscale(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let axis = channels(l, x)?;
    let mut shape = vec![1; l.rank(x)];
    shape[axis] = 3;
    let share = l.constant(Tensor::from_numbers(l.ty(x).dtype, &shape, &[0.2989, 0.587, 0.114]))?;
    let seen = l.binary(B::Mul, x, share)?;
    Ok(one(l.reduce(R::Sum, seen, &[axis], true)?))
}

/// The axis of the three colours.
fn channels(l: &Lowering<'_>, x: ValueId) -> Result<usize, Diag> {
    let rank = l.rank(x);
    unless(l, rank != 4 && rank != 3, "an input that is no image")?;
    let axis = if layout(l)? == Layout::ChannelsLast { rank - 1 } else { rank - 3 };
    if l.known(x, axis)? == 3 { Ok(axis) } else { Err(l.unsupported("an image that is not of three colours")) }
}

/// Pixels cut from the edges, or zeros put around them.
pub fn framed(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let rank = l.rank(x);
    unless(l, rank != 4 && rank != 3, "an input that is no image")?;
    let axes = if rank == 4 { spatial_axes(layout(l)?, 4) } else { vec![0, 1] };
    unless(l, rank == 3 && layout(l)? == Layout::ChannelsFirst, "one image with channels first")?;
    let crops = word(l) == "CropImages";
    let kind = if crops { "cropping" } else { "padding" };
    let mut ends = Vec::new();
    for (axis, [first, last, target]) in axes.iter().zip([["top", "bottom", "height"], ["left", "right", "width"]]) {
        let size = l.known(x, *axis)? as i64;
        let read = |l: &Lowering<'_>, name: String| integer(l, &[name.as_str()]);
        let (before, after) = (read(l, format!("{first}_{kind}"))?, read(l, format!("{last}_{kind}"))?);
        let target = read(l, format!("target_{target}"))?;
        let all = target.map(|target| if crops { size - target } else { target - size });
        let ended = match (before, after, all) {
            (Some(before), Some(after), _) => (before, after),
            (Some(before), None, Some(all)) => (before, all - before),
            (None, Some(after), Some(all)) => (all - after, after),
            _ => return Err(l.unsupported("edges that the file does not give").into()),
        };
        unless(l, ended.0 < 0 || ended.1 < 0 || (crops && ended.0 + ended.1 > size), "edges that do not fit")?;
        ends.push((*axis, ended.0 as u64, ended.1 as u64, size as u64));
    }
    let mut y = x;
    if crops {
        for (axis, before, after, size) in ends {
            y = l.slice(y, axis, Dim::Known(before), Dim::Known(size - after))?;
        }
        return Ok(one(y));
    }
    let mut padding = vec![(0, 0); rank];
    ends.into_iter().for_each(|(axis, before, after, _)| padding[axis] = (before, after));
    Ok(one(l.add(Pad { padding, mode: PadMode::Constant }, &[y])?))
}

/// Patches of an image or a volume as the channels of their place: a convolution with the identity.
pub fn patches(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let rank = l.rank(x);
    unless(l, !(4..=5).contains(&rank), "an input that is no batch of images")?;
    let (layout, n) = (layout(l)?, rank - 2);
    let sizes = l.config.u64s("size", n)?;
    let strides = if l.config.get("strides").is_some() { l.config.u64s("strides", n)? } else { sizes.clone() };
    let channels = l.known(x, channel_axis(layout, rank))?;
    let features = count(&sizes).saturating_mul(channels);
    unless(l, features == 0 || features > 400, "patches of this size")?;
    let mut identity = vec![0.0; (features * features) as usize];
    (0..features).for_each(|i| identity[(i * features + i) as usize] = 1.0);
    let shape = [&sizes[..], &[channels, features]].concat();
    let kernel = l.constant(Tensor::from_numbers(l.ty(x).dtype, &shape, &identity))?;
    let dilations = l.config.u64s_or("dilation_rate", n, 1)?;
    let window = Window { sizes, strides, dilations, edge: edge(l)?, layout }.checked(l)?;
    Ok(one(convolve(l, x, kernel, None, &window, 1)?))
}

/// Hue, saturation and value of red, green and blue, and back.
pub fn hsv(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let axis = channels(l, x)?;
    let mut parts = Vec::new();
    for i in 0..3 {
        parts.push(l.slice(x, axis, Dim::Known(i), Dim::Known(i + 1))?);
    }
    let parts = if word(l) == "RGBToHSV" { to_hsv(l, &parts)? } else { to_rgb(l, &parts)? };
    Ok(one(l.add(Concat { axis }, &parts)?))
}

fn to_hsv(l: &mut Lowering<'_>, rgb: &[ValueId]) -> Result<Vec<ValueId>, Diag> {
    let [r, g, b] = [rgb[0], rgb[1], rgb[2]];
    let (most, least) = (l.binary(B::Max, r, g)?, l.binary(B::Min, r, g)?);
    let (most, least) = (l.binary(B::Max, most, b)?, l.binary(B::Min, least, b)?);
    let range = l.binary(B::Sub, most, least)?;
    let (zero, unit) = (l.scalar_like(most, 0.0)?, l.scalar_like(most, 1.0)?);
    let bright = l.binary_scalar(B::Greater, most, 0.0)?;
    let by = l.add(Where {}, &[bright, most, unit])?;
    let saturation = l.binary(B::Div, range, by)?;
    let saturation = l.add(Where {}, &[bright, saturation, zero])?;
    let coloured = l.binary_scalar(B::Greater, range, 0.0)?;
    let by = l.add(Where {}, &[coloured, range, unit])?;
    let sixth = |l: &mut Lowering<'_>, a: ValueId, b: ValueId, turn: f64| {
        let apart = l.binary(B::Sub, a, b)?;
        let share = l.binary(B::Div, apart, by)?;
        let share = l.binary_scalar(B::Add, share, turn)?;
        l.binary_scalar(B::Mul, share, 1.0 / 6.0)
    };
    let (of_r, of_g, of_b) = (sixth(l, g, b, 0.0)?, sixth(l, b, r, 2.0)?, sixth(l, r, g, 4.0)?);
    let (red, green) = (l.binary(B::Equal, r, most)?, l.binary(B::Equal, g, most)?);
    let hue = l.add(Where {}, &[green, of_g, of_b])?;
    let hue = l.add(Where {}, &[red, of_r, hue])?;
    let hue = l.add(Where {}, &[coloured, hue, zero])?;
    let below = l.binary_scalar(B::Less, hue, 0.0)?;
    let turned = l.binary_scalar(B::Add, hue, 1.0)?;
    let hue = l.add(Where {}, &[below, turned, hue])?;
    Ok(vec![hue, saturation, most])
}

fn to_rgb(l: &mut Lowering<'_>, hsv: &[ValueId]) -> Result<Vec<ValueId>, Diag> {
    let [h, s, v] = [hsv[0], hsv[1], hsv[2]];
    let sixths = l.binary_scalar(B::Mul, h, 6.0)?;
    let mut out = Vec::new();
    // |6 h - 3| - 1, 2 - |6 h - 2|, 2 - |6 h - 4|, each within 0 and 1.
    for (centre, sign, offset) in [(3.0, 1.0, -1.0), (2.0, -1.0, 2.0), (4.0, -1.0, 2.0)] {
        let apart = l.binary_scalar(B::Sub, sixths, centre)?;
        let apart = l.unary(U::Abs, apart)?;
        let apart = l.binary_scalar(B::Mul, apart, sign)?;
        let full = l.binary_scalar(B::Add, apart, offset)?;
        let full = l.add(recast_plugin_api::ir::Clip { min: Some(0.0), max: Some(1.0) }, &[full])?;
        let less = l.binary_scalar(B::Sub, full, 1.0)?;
        let less = l.binary(B::Mul, less, s)?;
        let share = l.binary_scalar(B::Add, less, 1.0)?;
        out.push(l.binary(B::Mul, share, v)?);
    }
    Ok(out)
}

/// Where the error is small against the largest value: 10 log10(max^2 / mean((a - b)^2)).
pub fn psnr(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = super::args::pair(l)?;
    let largest = number(l, &["max_val"], 1.0)?;
    let apart = l.binary(B::Sub, a, b)?;
    let square = l.unary(U::Square, apart)?;
    let all: Vec<usize> = (0..l.rank(square)).collect();
    let mean = l.reduce(R::Mean, square, &all, false)?;
    let log = l.unary(U::Log, mean)?;
    let log = l.binary_scalar(B::Mul, log, -10.0 / std::f64::consts::LN_10)?;
    Ok(one(l.binary_scalar(B::Add, log, 20.0 * largest.log10())?))
}
