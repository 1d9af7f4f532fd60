//! Convolutions: plain, depthwise, separable and transposed. Kernels stay as Keras stores them; a depthwise kernel
//! (spatial..., in, multiplier) is seen as the grouped one (spatial..., 1, in multiplier), which has the same bytes.

use crate::core::activated;
use crate::geometry::{Edge, Window, channel_axis, spatial_input, unfolded};
use crate::policy::{compute_dtype, one, weight};
use crate::table::{Masks, Row};
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::{Conv, ConvTranspose, Dim, KernelOrder, ValueId};
use recast_plugin_api::lower::{Lowering, Val};
use serde_json::Value as Json;

const CONV: &str = "convolution";
const ANY: &str = "strides, dilation, groups, both data formats";
const TRANSPOSED: &str = "output_padding, dilation, both data formats";
const DEPTHWISE: &str = "depth_multiplier, dilation, both data formats";

pub const ROWS: &[Row] = &[
    Row::new("Conv1D", CONV, Masks::Drop, conv1d, "causal too"),
    Row::new("Conv2D", CONV, Masks::Drop, conv2d, ANY),
    Row::new("Conv3D", CONV, Masks::Drop, conv3d, ANY),
    Row::new("Convolution1D", CONV, Masks::Drop, conv1d, "causal too"),
    Row::new("Convolution2D", CONV, Masks::Drop, conv2d, ANY),
    Row::new("Convolution3D", CONV, Masks::Drop, conv3d, ANY),
    Row::new("Conv1DTranspose", CONV, Masks::Drop, conv1d_transpose, TRANSPOSED),
    Row::new("Conv2DTranspose", CONV, Masks::Drop, conv2d_transpose, TRANSPOSED),
    Row::new("Conv3DTranspose", CONV, Masks::Drop, conv3d_transpose, TRANSPOSED),
    Row::new("Convolution1DTranspose", CONV, Masks::Drop, conv1d_transpose, TRANSPOSED),
    Row::new("Convolution2DTranspose", CONV, Masks::Drop, conv2d_transpose, TRANSPOSED),
    Row::new("Convolution3DTranspose", CONV, Masks::Drop, conv3d_transpose, TRANSPOSED),
    Row::new("Deconvolution2D", CONV, Masks::Drop, conv2d_transpose, TRANSPOSED),
    Row::new("Deconvolution3D", CONV, Masks::Drop, conv3d_transpose, TRANSPOSED),
    Row::new("DepthwiseConv1D", CONV, Masks::Drop, depthwise1d, DEPTHWISE),
    Row::new("DepthwiseConv2D", CONV, Masks::Drop, depthwise2d, DEPTHWISE),
    Row::new("SeparableConv1D", CONV, Masks::Drop, separable1d, DEPTHWISE),
    Row::new("SeparableConv2D", CONV, Masks::Drop, separable2d, DEPTHWISE),
    Row::new("SeparableConvolution1D", CONV, Masks::Drop, separable1d, DEPTHWISE),
    Row::new("SeparableConvolution2D", CONV, Masks::Drop, separable2d, DEPTHWISE),
];

type Outcome = Result<Vec<Val>, Findings>;

fn conv1d(l: &mut Lowering<'_>) -> Outcome {
    conv(l, 1)
}
fn conv2d(l: &mut Lowering<'_>) -> Outcome {
    conv(l, 2)
}
fn conv3d(l: &mut Lowering<'_>) -> Outcome {
    conv(l, 3)
}
fn conv1d_transpose(l: &mut Lowering<'_>) -> Outcome {
    conv_transpose(l, 1)
}
fn conv2d_transpose(l: &mut Lowering<'_>) -> Outcome {
    conv_transpose(l, 2)
}
fn conv3d_transpose(l: &mut Lowering<'_>) -> Outcome {
    conv_transpose(l, 3)
}
fn depthwise1d(l: &mut Lowering<'_>) -> Outcome {
    depthwise(l, 1)
}
fn depthwise2d(l: &mut Lowering<'_>) -> Outcome {
    depthwise(l, 2)
}
fn separable1d(l: &mut Lowering<'_>) -> Outcome {
    separable(l, 1)
}
fn separable2d(l: &mut Lowering<'_>) -> Outcome {
    separable(l, 2)
}

fn bias(l: &mut Lowering<'_>, filters: u64) -> Result<Option<ValueId>, Diag> {
    if !l.config.bool_or("use_bias", true)? {
        return Ok(None);
    }
    weight(l, "bias", &[Some(filters)]).map(Some)
}

fn sized(window: &[u64], tail: &[u64]) -> Vec<Option<u64>> {
    window.iter().chain(tail).map(|&size| Some(size)).collect()
}

fn conv(l: &mut Lowering<'_>, n: usize) -> Outcome {
    let window = Window::of_conv(l, n)?;
    let (x, lead) = spatial_input(l, n, window.layout)?;
    let channels = l.known(x, channel_axis(window.layout, n + 2))?;
    let (filters, groups) = (l.config.u64("filters")?, l.config.u64_or("groups", 1)?);
    if groups == 0 || channels % groups != 0 {
        return Err(l.unsupported(format!("{channels} channels in {groups} groups")).into());
    }
    let kernel = weight(l, "kernel", &sized(&window.sizes, &[channels / groups, filters]))?;
    let bias = bias(l, filters)?;
    let y = convolve(l, x, kernel, bias, &window, groups)?;
    let y = activated(l, y)?;
    Ok(one(unfolded(l, y, &lead)?))
}

pub fn convolve(
    l: &mut Lowering<'_>,
    x: ValueId,
    kernel: ValueId,
    bias: Option<ValueId>,
    window: &Window,
    groups: u64,
) -> Result<ValueId, Diag> {
    let op = Conv {
        strides: window.strides.clone(),
        dilations: window.dilations.clone(),
        padding: window.padding(),
        groups,
        layout: window.layout,
        kernel: KernelOrder::Hwio,
    };
    Ok(l.add_node(op, &[Some(x), Some(kernel), bias])?[0])
}

/// The kernel of a depthwise convolution over `channels`, as a grouped one. Keras 2 calls it `depthwise_kernel`.
fn depthwise_kernel(l: &mut Lowering<'_>, window: &[u64], channels: u64, multiplier: u64) -> Result<ValueId, Diag> {
    let role = if l.layer.weight("depthwise_kernel").is_some() { "depthwise_kernel" } else { "kernel" };
    let stored: Vec<u64> = window.iter().copied().chain([channels, multiplier]).collect();
    let grouped: Vec<u64> = window.iter().copied().chain([1, channels.saturating_mul(multiplier)]).collect();
    let kernel = l.param_reshaped(role, &stored, &grouped)?;
    let to = compute_dtype(l)?;
    l.cast(kernel, to)
}

fn depthwise(l: &mut Lowering<'_>, n: usize) -> Outcome {
    let window = Window::of_conv(l, n)?;
    let (x, lead) = spatial_input(l, n, window.layout)?;
    let channels = l.known(x, channel_axis(window.layout, n + 2))?;
    let multiplier = l.config.u64_or("depth_multiplier", 1)?;
    let kernel = depthwise_kernel(l, &window.sizes, channels, multiplier)?;
    let bias = bias(l, channels * multiplier)?;
    let y = convolve(l, x, kernel, bias, &window, channels)?;
    let y = activated(l, y)?;
    Ok(one(unfolded(l, y, &lead)?))
}

/// Depthwise, then a convolution with a window of one; bias and activation after the second.
fn separable(l: &mut Lowering<'_>, n: usize) -> Outcome {
    let window = Window::of_conv(l, n)?;
    let (x, lead) = spatial_input(l, n, window.layout)?;
    let channels = l.known(x, channel_axis(window.layout, n + 2))?;
    let (filters, multiplier) = (l.config.u64("filters")?, l.config.u64_or("depth_multiplier", 1)?);
    let kernel = depthwise_kernel(l, &window.sizes, channels, multiplier)?;
    let y = convolve(l, x, kernel, None, &window, channels)?;
    let ones = vec![1; n];
    let pointwise = weight(l, "pointwise_kernel", &sized(&ones, &[channels * multiplier, filters]))?;
    let bias = bias(l, filters)?;
    let point = Window { sizes: ones.clone(), strides: ones.clone(), dilations: ones, edge: Edge::Valid, ..window };
    let y = convolve(l, y, pointwise, bias, &point, 1)?;
    let y = activated(l, y)?;
    Ok(one(unfolded(l, y, &lead)?))
}

/// How a transposed convolution's full result, (n - 1) stride + reach long, becomes Keras' output along one axis.
#[derive(Debug, PartialEq, Eq)]
struct Fit {
    cropping: (u64, u64),
    extra: u64,
}

/// The output is (n - 1) stride + tail long. It is what a convolution of that length would have come from, so `same`
/// cuts half of what is too long (the smaller half) before it; on Theano it was half of the window, which is odd.
fn fit(edge: Edge, reach: u64, stride: u64, output_padding: Option<u64>) -> Fit {
    let tail = match (edge, output_padding) {
        (Edge::Same | Edge::Theano, None) => stride,
        (Edge::Same | Edge::Theano, Some(extra)) => reach % 2 + extra,
        (_, None) => reach.max(stride),
        (_, Some(extra)) => reach + extra,
    };
    let before = match edge {
        Edge::Same => reach.saturating_sub(tail) / 2,
        // The window of the convolution that it comes from begins there.
        Edge::Theano => reach / 2,
        _ => 0,
    };
    let rest = reach - before;
    Fit { cropping: (before, rest.saturating_sub(tail)), extra: tail.saturating_sub(rest) }
}

fn conv_transpose(l: &mut Lowering<'_>, n: usize) -> Outcome {
    let window = Window::of_conv(l, n)?;
    if window.edge == Edge::Causal {
        return Err(l.config.bad("padding", "valid or same").into());
    }
    let (x, lead) = spatial_input(l, n, window.layout)?;
    let channels = l.known(x, channel_axis(window.layout, n + 2))?;
    let filters = l.config.u64("filters")?;
    let kernel = weight(l, "kernel", &sized(&window.sizes, &[filters, channels]))?;
    let bias = bias(l, filters)?;
    let op = conv_transpose_op(l, &window, n)?;
    let y = l.add_node(op, &[Some(x), Some(kernel), bias])?[0];
    stated_shape(l, y)?;
    let y = activated(l, y)?;
    Ok(one(unfolded(l, y, &lead)?))
}

/// The op for a window, with the `output_padding` of the configuration.
pub fn conv_transpose_op(l: &Lowering<'_>, window: &Window, n: usize) -> Result<ConvTranspose, Diag> {
    let output_padding = match l.config.get("output_padding") {
        Some(_) => l.config.u64s("output_padding", n)?.into_iter().map(Some).collect(),
        None => vec![None; n],
    };
    let reach = |i: usize| (window.sizes[i] - 1) * window.dilations[i] + 1;
    let fits: Vec<Fit> = (0..n).map(|i| fit(window.edge, reach(i), window.strides[i], output_padding[i])).collect();
    Ok(ConvTranspose {
        strides: window.strides.clone(),
        dilations: window.dilations.clone(),
        cropping: fits.iter().map(|fit| fit.cropping).collect(),
        output_padding: fits.iter().map(|fit| fit.extra).collect(),
        groups: 1,
        layout: window.layout,
        kernel: KernelOrder::Hwoi,
    })
}

/// Keras 1 states the shape of the result; sizes that need padding of the output are not among those that it can be.
fn stated_shape(l: &Lowering<'_>, y: ValueId) -> Result<(), Diag> {
    let Some(Json::Array(stated)) = l.config.get("legacy_output_shape") else { return Ok(()) };
    let shape = l.shape(y);
    let differs = |(size, dim): (&Json, &Dim)| size.as_u64().is_some_and(|size| dim.known() != Some(size));
    if stated.len() != shape.len() || stated.iter().zip(&shape).skip(1).any(differs) {
        let stated = Json::Array(stated.clone());
        return Err(l.unsupported(format!("an output of the shape {stated}, its options make {}", l.ty(y))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_lengths_are_those_of_keras() {
        let length = |edge, reach: u64, stride: u64, extra| {
            let fit = fit(edge, reach, stride, extra);
            4 * stride + reach + fit.extra - fit.cropping.0 - fit.cropping.1
        };
        // Five steps in.
        assert_eq!(length(Edge::Same, 3, 2, None), 10);
        assert_eq!(length(Edge::Same, 2, 3, None), 15);
        assert_eq!(length(Edge::Valid, 3, 2, None), 11);
        assert_eq!(length(Edge::Valid, 2, 3, None), 15);
        assert_eq!(length(Edge::Same, 3, 2, Some(0)), 9);
        assert_eq!(length(Edge::Valid, 3, 2, Some(1)), 12);
        assert_eq!(length(Edge::Theano, 3, 2, None), 10);
        assert_eq!(length(Edge::Theano, 3, 2, Some(1)), 10);
        assert_eq!(fit(Edge::Same, 4, 1, None), Fit { cropping: (1, 2), extra: 0 });
        assert_eq!(fit(Edge::Theano, 3, 2, None), Fit { cropping: (1, 0), extra: 0 });
    }
}
