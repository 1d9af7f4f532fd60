//! Windows put back together, and images compared window by window.

use super::args::{as_float, number, pair, tensor};
use super::{Outcome, unless};
use crate::audio;
use crate::conv::convolve;
use crate::core::count;
use crate::geometry::{Edge, Window, layout};
use crate::policy::one;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::types::{INLINE_BYTES_MAX, element_count};
use recast_plugin_api::ir::{
    BinaryFunction as B, ConvTranspose, DType, Dim, KernelOrder, Layout, ReduceFunction as R, Tensor,
    UnaryFunction as U, ValueId,
};
use recast_plugin_api::lower::Lowering;
use std::f64::consts::PI;

/// One number for both axes, or one for each.
fn both(l: &Lowering<'_>, name: &str, default: i64) -> Result<[u64; 2], Diag> {
    let given = super::args::integers(l, &[name])?.unwrap_or_else(|| vec![default]);
    let pair = match given[..] {
        [one] => Some([one, one]),
        [a, b] => Some([a, b]),
        _ => None,
    };
    let pair = pair.and_then(|[a, b]| Some([u64::try_from(a).ok()?, u64::try_from(b).ok()?]));
    pair.filter(|pair| pair.iter().all(|&n| n < 1 << 16)).ok_or_else(|| l.config.bad(name, "one or two numbers"))
}

/// The sum of patches (batch, channels * window, patches), each put where it came from.
pub fn fold(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    let x = as_float(l, x)?;
    unless(l, l.rank(x) != 3, "patches of another rank")?;
    let (sizes, window) = (both(l, "output_size", 1)?, both(l, "kernel_size", 1)?);
    let (dilations, padding, strides) = (both(l, "dilation", 1)?, both(l, "padding", 0)?, both(l, "stride", 1)?);
    let spots = window[0] * window[1];
    let features = l.known(x, 1)?;
    unless(l, spots == 0 || features % spots != 0 || strides.contains(&0) || dilations.contains(&0), "a window so")?;
    let channels = features / spots;
    unless(l, count(&[features, features, 4]) > INLINE_BYTES_MAX as u64, "patches of this size")?;
    let (mut counts, mut extra) = ([0; 2], Vec::new());
    for axis in 0..2 {
        let reach = dilations[axis] * (window[axis].max(1) - 1) + 1;
        let room = (sizes[axis] + 2 * padding[axis]).checked_sub(reach);
        let room = room.ok_or_else(|| l.unsupported("a window that does not fit"))?;
        counts[axis] = room / strides[axis] + 1;
        extra.push(room % strides[axis]);
    }
    unless(l, l.known(x, 2)? != counts[0] * counts[1], "as many patches as fit")?;
    // Each channel of a patch goes to its own place in the window.
    let mut identity = vec![0.0; (features * features) as usize];
    for feature in 0..features {
        let (channel, spot) = (feature / spots, feature % spots);
        identity[((spot * channels + channel) * features + feature) as usize] = 1.0;
    }
    let kernel = Tensor::from_numbers(l.ty(x).dtype, &[window[0], window[1], channels, features], &identity);
    let kernel = l.constant(kernel)?;
    let batch = l.shape(x)[0].clone();
    let grid = [features, counts[0], counts[1]].map(Dim::Known);
    let x = l.reshape(x, [vec![batch], grid.to_vec()].concat())?;
    let op = ConvTranspose {
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        cropping: padding.iter().map(|&n| (n, n)).collect(),
        output_padding: extra,
        groups: 1,
        layout: Layout::ChannelsFirst,
        kernel: KernelOrder::Hwoi,
    };
    Ok(one(l.add_node(op, &[Some(x), Some(kernel), None])?[0]))
}

/// The signal whose windows were transformed: each one back, weighted, and added where it was.
pub fn istft(l: &mut Lowering<'_>) -> Outcome {
    let length = l.config.u64("sequence_length")?;
    let (stride, size) = (l.config.u64("sequence_stride")?, l.config.u64("fft_length")?);
    let fits = (1..=audio::FFT_LENGTH_MAX).contains(&size) && length <= size && (1..=size).contains(&stride);
    unless(l, !fits, "windows of this length and stride")?;
    let frames = super::fourier::real_again(l, size)?;
    unless(l, l.rank(frames) < 2, "an input of one axis")?;
    let weights = inverse_window(l, length, size, stride)?;
    let weights = l.constant(Tensor::from_numbers(l.ty(frames).dtype, &[size], &weights))?;
    let frames = l.binary(B::Mul, frames, weights)?;
    unless(l, size * size * 8 > INLINE_BYTES_MAX as u64, "windows of this length")?;
    let mut identity = vec![0.0; (size * size) as usize];
    (0..size).for_each(|i| identity[(i * size + i) as usize] = 1.0);
    let kernel = l.constant(Tensor::from_numbers(l.ty(frames).dtype, &[size, 1, size], &identity))?;
    let shape = l.shape(frames);
    let (lead, tail) = shape.split_at(shape.len() - 2);
    let rows = l.reshape(frames, vec![element_count(lead), tail[0].clone(), tail[1].clone()])?;
    let op = ConvTranspose {
        strides: vec![stride],
        dilations: vec![1],
        cropping: vec![(0, 0)],
        output_padding: vec![0],
        groups: 1,
        layout: Layout::ChannelsLast,
        kernel: KernelOrder::Hwoi,
    };
    let signal = l.add_node(op, &[Some(rows), Some(kernel), None])?[0];
    let all = l.shape(signal)[1].clone();
    let signal = l.reshape(signal, lead.iter().cloned().chain([all.clone()]).collect::<Vec<_>>())?;
    let center = l.config.bool_or("center", true)?;
    let start = if center { size / 2 } else { 0 };
    let end = match super::args::integer(l, &["length"])? {
        Some(length) => Dim::Known(start + length.max(0) as u64),
        None if center => all.offset(-((size / 2) as i64)).ok_or_else(|| l.unsupported("a signal this short"))?,
        None => all.clone(),
    };
    let end = match (end.known(), all.known()) {
        (Some(end), Some(all)) => Dim::Known(end.min(all)),
        _ => end,
    };
    let axis = l.rank(signal) - 1;
    Ok(one(l.slice(signal, axis, Dim::Known(start), end)?))
}

/// What undoes a window whose overlaps were added: itself by the sum of the squares that meet there.
fn inverse_window(l: &Lowering<'_>, length: u64, size: u64, stride: u64) -> Result<Vec<f64>, Diag> {
    let before = (size - length) / 2;
    let wave = |i: u64| (2.0 * PI * i as f64 / length as f64).cos();
    let at = |i: u64| (before..before + length).contains(&i).then(|| i - before);
    let window: Vec<f64> = match l.config.object().get("window").and_then(|window| window.as_str()) {
        Some("hann") => (0..size).map(|i| at(i).map_or(0.0, |i| 0.5 - 0.5 * wave(i))).collect(),
        Some("hamming") => (0..size).map(|i| at(i).map_or(0.0, |i| 0.54 - 0.46 * wave(i))).collect(),
        Some(other) => return Err(l.unsupported(format!("the window '{other}'"))),
        None if l.config.get("window").is_none() => return Ok(vec![1.0; size as usize]),
        None => return Err(l.unsupported("a window of its own")),
    };
    let sum =
        |i: usize| -> f64 { window.iter().skip(i % stride as usize).step_by(stride as usize).map(|w| w * w).sum() };
    let share = |(i, w): (usize, &f64)| if sum(i) == 0.0 { 0.0 } else { w / sum(i) };
    Ok(window.iter().enumerate().map(share).collect())
}

/// Structural similarity of two images, channel by channel, over windows that lie wholly inside.
pub fn ssim(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = pair(l)?;
    let given = l.ty(a).dtype;
    let (mut a, mut b) = (as_float(l, a)?, as_float(l, b)?);
    let single = l.rank(a) == 3;
    if single {
        (a, b) = (l.expand(a, 0)?, l.expand(b, 0)?);
    }
    unless(l, l.rank(a) != 4 || l.rank(b) != 4, "inputs that are no images")?;
    if layout(l)? == Layout::ChannelsLast {
        (a, b) = (l.transpose(a, &[0, 3, 1, 2])?, l.transpose(b, &[0, 3, 1, 2])?);
    }
    let shape = l.shape(a);
    let planes = vec![element_count(&shape[..2]), shape[2].clone(), shape[3].clone(), Dim::Known(1)];
    (a, b) = (l.reshape(a, planes.clone())?, l.reshape(b, planes)?);
    let (size, sigma) = (super::args::integer(l, &["filter_size"])?.unwrap_or(11), number(l, &["filter_sigma"], 1.5)?);
    let size = u64::try_from(size).ok().filter(|size| (1..=128).contains(size));
    let size = size.ok_or_else(|| l.unsupported("a filter of this size"))?;
    let kernel = bell(l, size, sigma, l.ty(a).dtype)?;
    let window = Window {
        sizes: vec![size; 2],
        strides: vec![1; 2],
        dilations: vec![1; 2],
        edge: Edge::Valid,
        layout: Layout::ChannelsLast,
    };
    let smooth = |l: &mut Lowering<'_>, x: ValueId, y: ValueId| -> Result<ValueId, Diag> {
        let product = l.binary(B::Mul, x, y)?;
        convolve(l, product, kernel, None, &window, 1)
    };
    let unit = l.scalar_like(a, 1.0)?;
    let (mean_a, mean_b) = (smooth(l, a, unit)?, smooth(l, b, unit)?);
    let (square_a, square_b, product) = (smooth(l, a, a)?, smooth(l, b, b)?, smooth(l, a, b)?);
    let (of_a, of_b) = (l.unary(U::Square, mean_a)?, l.unary(U::Square, mean_b)?);
    let of_both = l.binary(B::Mul, mean_a, mean_b)?;
    let most = number(l, &["max_val"], 1.0)?;
    let (c1, c2) = ((number(l, &["k1"], 0.01)? * most).powi(2), (number(l, &["k2"], 0.03)? * most).powi(2));
    let spread = l.binary(B::Sub, product, of_both)?;
    let plus = |l: &mut Lowering<'_>, x: ValueId, by: f64, c: f64| -> Result<ValueId, Diag> {
        let x = l.binary_scalar(B::Mul, x, by)?;
        l.binary_scalar(B::Add, x, c)
    };
    let (over, times) = (plus(l, of_both, 2.0, c1)?, plus(l, spread, 2.0, c2)?);
    let over = l.binary(B::Mul, over, times)?;
    let squares = l.binary(B::Add, of_a, of_b)?;
    let all = l.binary(B::Add, square_a, square_b)?;
    let spreads = l.binary(B::Sub, all, squares)?;
    let (under, times) = (plus(l, squares, 1.0, c1)?, plus(l, spreads, 1.0, c2)?);
    let under = l.binary(B::Mul, under, times)?;
    let map = l.binary(B::Div, over, under)?;
    let each = l.reduce(R::Mean, map, &[1, 2, 3], false)?;
    let each = l.reshape(each, shape[..2].to_vec())?;
    let mean = l.reduce(R::Mean, each, &[1], false)?;
    let mean = if single { l.squeeze(mean, 0)? } else { mean };
    Ok(one(l.cast(mean, given)?))
}

/// A bell (size, size, 1, 1) that sums to one.
fn bell(l: &mut Lowering<'_>, size: u64, sigma: f64, dtype: DType) -> Result<ValueId, Diag> {
    let at = |i: u64| i as f64 - (size as f64 - 1.0) / 2.0;
    let row: Vec<f64> = (0..size).map(|i| (-at(i) * at(i) / (2.0 * sigma * sigma)).exp()).collect();
    let sum: f64 = row.iter().sum();
    let values: Vec<f64> = row.iter().flat_map(|a| row.iter().map(move |b| a * b / (sum * sum))).collect();
    l.constant(Tensor::from_numbers(dtype, &[size, size, 1, 1], &values))
}
