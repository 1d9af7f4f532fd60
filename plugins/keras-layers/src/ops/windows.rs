//! Neighbourhoods of pixels: blurs, edges, and the pixels themselves.

use super::args::{float_tensor, integers, tensor};
use super::{Outcome, unless};
use crate::conv::convolve;
use crate::geometry::{Edge, Window, channel_axis, layout, spatial_axes};
use crate::policy::one;
use crate::preprocess::config_numbers;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{BinaryFunction as B, Concat, Dim, Pad, PadMode, Tensor, ValueId};
use recast_plugin_api::lower::Lowering;

/// Widest kernel of a blur.
const BLUR_MAX: u64 = 128;

/// A convolution of each channel with a bell.
pub fn gaussian_blur(l: &mut Lowering<'_>) -> Outcome {
    let mut x = float_tensor(l)?;
    let single = l.rank(x) == 3;
    if single {
        x = l.expand(x, 0)?;
    }
    unless(l, l.rank(x) != 4, "an input that is no image")?;
    let sizes = l.config.u64s("kernel_size", 2)?;
    let sigma = config_numbers(l, "sigma")?.map(|sigma| sigma.values).filter(|sigma| sigma.len() == 2);
    let sigma = sigma.ok_or_else(|| l.config.bad("sigma", "two numbers"))?;
    unless(l, sizes.iter().any(|size| !(1..=BLUR_MAX).contains(size)), "a kernel of this size")?;
    let bell = |size: u64, sigma: f64| -> Vec<f64> {
        let at = (0..size).map(|i| i as f64 - (size as f64 - 1.0) / 2.0);
        let values: Vec<f64> = at.map(|at| (-0.5 * (at / sigma).powi(2)).exp()).collect();
        let sum: f64 = values.iter().sum();
        values.into_iter().map(|value| value / sum).collect()
    };
    // Keras makes it of the second size by the first, and only then gives it the shape of the first by the second.
    let (first, second) = (bell(sizes[0], sigma[0]), bell(sizes[1], sigma[1]));
    let layout = layout(l)?;
    let channels = l.known(x, channel_axis(layout, 4))?;
    unless(l, channels == 0 || channels > 1 << 12, "this many channels")?;
    let flat = second.iter().flat_map(|b| first.iter().map(move |a| a * b));
    let values: Vec<f64> = flat.flat_map(|value| std::iter::repeat_n(value, channels as usize)).collect();
    let kernel = Tensor::from_numbers(l.ty(x).dtype, &[sizes[0], sizes[1], 1, channels], &values);
    let kernel = l.constant(kernel)?;
    let window = Window { sizes, strides: vec![1, 1], dilations: vec![1, 1], edge: Edge::Same, layout }.checked(l)?;
    let y = convolve(l, x, kernel, None, &window, channels)?;
    Ok(one(if single { l.squeeze(y, 0)? } else { y }))
}

/// Sobel's differences downwards and to the right, along a new last axis; the image is mirrored at its edges.
pub fn sobel_edges(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    unless(l, l.rank(x) != 4, "an input that is no batch of images")?;
    let axes = spatial_axes(layout(l)?, 4);
    let mut padding = vec![(0, 0); 4];
    axes.iter().for_each(|&axis| padding[axis] = (1, 1));
    let sizes: Vec<Dim> = axes.iter().map(|&axis| l.shape(x)[axis].clone()).collect();
    let wide = l.add(Pad { padding, mode: PadMode::Reflect }, &[x])?;
    let at = |l: &mut Lowering<'_>, row: u64, column: u64| -> Result<ValueId, Diag> {
        let mut part = wide;
        for ((&axis, size), start) in axes.iter().zip(&sizes).zip([row, column]) {
            let start = Dim::Known(start);
            part = l.slice(part, axis, start.clone(), start.plus(size))?;
        }
        Ok(part)
    };
    // One side: 1, 2, 1 times its pixels.
    let side = |l: &mut Lowering<'_>, places: [(u64, u64); 3]| -> Result<ValueId, Diag> {
        let [a, b, c] = places;
        let (a, b, c) = (at(l, a.0, a.1)?, at(l, b.0, b.1)?, at(l, c.0, c.1)?);
        let twice = l.binary_scalar(B::Mul, b, 2.0)?;
        let ends = l.binary(B::Add, a, c)?;
        l.binary(B::Add, ends, twice)
    };
    let mut both = Vec::new();
    for [near, far] in
        [[[(0, 0), (0, 1), (0, 2)], [(2, 0), (2, 1), (2, 2)]], [[(0, 0), (1, 0), (2, 0)], [(0, 2), (1, 2), (2, 2)]]]
    {
        let (near, far) = (side(l, near)?, side(l, far)?);
        let difference = l.binary(B::Sub, far, near)?;
        both.push(l.expand(difference, 4)?);
    }
    Ok(one(l.add(Concat { axis: 4 }, &both)?))
}

/// Most pixels of one neighbourhood.
const NEIGHBOURS_MAX: u64 = 1024;

/// (batch, channels, height, width) as (batch, channels * neighbourhood, places), as PyTorch has it.
pub fn unfold(l: &mut Lowering<'_>) -> Outcome {
    let mut x = tensor(l)?;
    unless(l, l.rank(x) != 4, "an input that is no batch of images")?;
    let two = |l: &Lowering<'_>, name: &str, default: u64| -> Result<[u64; 2], Diag> {
        let given = integers(l, &[name])?.unwrap_or_else(|| vec![default as i64]);
        let whole: Option<Vec<u64>> = given.iter().map(|&n| u64::try_from(n).ok().filter(|&n| n < 1 << 20)).collect();
        match whole.as_deref() {
            Some([all]) => Ok([*all; 2]),
            Some([a, b]) => Ok([*a, *b]),
            _ => Err(l.unsupported(format!("'{name}' of this kind"))),
        }
    };
    let (sizes, dilation) = (two(l, "kernel_size", 1)?, two(l, "dilation", 1)?);
    let (edge, stride) = (two(l, "padding", 0)?, two(l, "stride", 1)?);
    let neighbours = sizes[0].saturating_mul(sizes[1]);
    unless(l, neighbours == 0 || neighbours > NEIGHBOURS_MAX || stride.contains(&0), "neighbourhoods like these")?;
    if edge != [0, 0] {
        let padding = vec![(0, 0), (0, 0), (edge[0], edge[0]), (edge[1], edge[1])];
        x = l.add(Pad { padding, mode: PadMode::Constant }, &[x])?;
    }
    let have = [l.known(x, 2)?, l.known(x, 3)?];
    let reach: Vec<u64> = (0..2).map(|i| (sizes[i] - 1) * dilation[i] + 1).collect();
    unless(l, have[0] < reach[0] || have[1] < reach[1], "a neighbourhood wider than the image")?;
    let mut parts = Vec::new();
    for row in 0..sizes[0] {
        for column in 0..sizes[1] {
            let mut part = x;
            for (i, at) in [row, column].into_iter().enumerate() {
                let start = at * dilation[i];
                let stop = start + have[i] - reach[i] + 1;
                part = l.strided(part, 2 + i, (Dim::Known(start), Dim::Known(stop)), stride[i])?;
            }
            parts.push(l.expand(part, 2)?);
        }
    }
    let all = if let [part] = parts[..] { part } else { l.add(Concat { axis: 2 }, &parts)? };
    let shape = l.shape(all);
    let features = l.known(all, 1)?.saturating_mul(neighbours);
    let places = l.known(all, 3)?.saturating_mul(l.known(all, 4)?);
    Ok(one(l.reshape(all, vec![shape[0].clone(), Dim::Known(features), Dim::Known(places)])?))
}
