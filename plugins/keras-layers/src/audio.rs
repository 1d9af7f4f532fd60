//! Spectrograms of audio, as convolutions with the windowed waves of the Fourier transform.

use crate::geometry::{channel_axis, edge, layout, padding};
use crate::policy::{compute_dtype, one, weight};
use crate::preprocess::config_numbers;
use crate::table::{Masks, Row};
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::types::INLINE_BYTES_MAX;
use recast_plugin_api::ir::types::element_count;
use recast_plugin_api::ir::{
    BinaryFunction as B, Clip, Concat, Conv, DType, Dim, Iota, KernelOrder, Layout, Pad, PadMode, Padding,
    ReduceFunction, Tensor, UnaryFunction as U, ValueId,
};
use recast_plugin_api::lower::{Lowering, Val};
use std::f64::consts::{LN_10, PI};

const AUDIO: &str = "audio";

pub const ROWS: &[Row] = &[
    Row::new("MelSpectrogram", AUDIO, Masks::Drop, mel_spectrogram, "transforms of up to 8192 samples"),
    Row::new("STFTSpectrogram", AUDIO, Masks::Drop, stft_spectrogram, "every mode; the windows as stored"),
];

type Outcome = Result<Vec<Val>, Findings>;

/// Below this Keras takes no logarithm and no root (`keras.config.epsilon`).
const EPSILON: f64 = 1e-7;

/// Longest transform that is written out as waves: they are computed when the model is loaded.
pub const FFT_LENGTH_MAX: u64 = 1 << 13;

/// x (n, time, 1) against `kernel` (window, 1, bins): (n, frames, bins).
pub fn framed(
    l: &mut Lowering<'_>,
    x: ValueId,
    kernel: ValueId,
    stride: u64,
    edge: Vec<Padding>,
) -> Result<ValueId, Diag> {
    let op = Conv {
        strides: vec![stride],
        dilations: vec![1],
        padding: edge,
        groups: 1,
        layout: Layout::ChannelsLast,
        kernel: KernelOrder::Hwio,
    };
    Ok(l.add_node(op, &[Some(x), Some(kernel), None])?[0])
}

/// What the configuration of `STFTSpectrogram` says.
struct Stft {
    layout: Layout,
    frame: u64,
    step: u64,
    bins: u64,
    edge: Vec<Padding>,
}

impl Stft {
    fn read(l: &Lowering<'_>) -> Result<Stft, Diag> {
        let frame = l.config.u64_or("frame_length", 256)?;
        let step = l.config.u64_or("frame_step", 0)?;
        let step = if step == 0 { frame / 2 } else { step };
        let fft = l.config.u64_or("fft_length", 0)?;
        let fft = if fft == 0 { frame.next_power_of_two() } else { fft };
        if frame == 0 || step == 0 || frame > fft {
            return Err(l.config.bad("frame_length", "above zero and at most fft_length"));
        }
        let edge = padding(edge(l)?, &[frame], &[1]);
        Ok(Stft { layout: layout(l)?, frame, step, bins: fft / 2 + 1, edge })
    }
}

/// Each channel by itself; modes as in Keras: `log`, `magnitude`, `psd`, `real`, `imag`, `angle`, `stft`.
fn stft_spectrogram(l: &mut Lowering<'_>) -> Outcome {
    let x = l.input()?.value;
    let stft = Stft::read(l)?;
    if l.rank(x) != 3 || !l.ty(x).dtype.is_float() {
        return Err(l.unsupported(format!("called on {} where floats of rank 3 are needed", l.ty(x))).into());
    }
    let apart = if channel_axis(stft.layout, 3) == 2 { l.transpose(x, &[0, 2, 1])? } else { x };
    let shape = l.shape(apart);
    let folded = vec![shape[0].times(&shape[1]), shape[2].clone(), Dim::Known(1)];
    let signal = l.reshape(apart, folded)?;
    let mode = l.config.str_or("mode", "log")?.to_string();
    let real = if mode == "imag" { None } else { Some(part(l, &stft, signal, "real_kernel")?) };
    let imag = if mode == "real" { None } else { Some(part(l, &stft, signal, "imag_kernel")?) };
    let y = match (real, imag) {
        (Some(real), Some(imag)) => joined(l, &mode, stft.bins, real, imag)?,
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return Err(l.config.bad("mode", "a mode of STFTSpectrogram").into()),
    };
    Ok(one(arranged(l, &stft, y, &shape[..2])?))
}

fn part(l: &mut Lowering<'_>, stft: &Stft, x: ValueId, role: &str) -> Result<ValueId, Diag> {
    let kernel = weight(l, role, &[Some(stft.frame), Some(1), Some(stft.bins)])?;
    framed(l, x, kernel, stft.step, stft.edge.clone())
}

/// (n, frames, bins) from both parts.
fn joined(l: &mut Lowering<'_>, mode: &str, bins: u64, real: ValueId, imag: ValueId) -> Result<ValueId, Diag> {
    match mode {
        "angle" => return l.binary(B::Atan2, imag, real),
        "stft" => return l.add(Concat { axis: 2 }, &[real, imag]),
        _ => {}
    }
    let power = power_of(l, real, imag)?;
    match mode {
        // A real signal's spectrum is symmetric: what lies between the ends counts twice.
        "psd" => {
            let twice: Vec<f64> = (0..bins).map(|bin| if bin == 0 || bin + 1 == bins { 1.0 } else { 2.0 }).collect();
            let twice = l.constant(Tensor::from_numbers(l.ty(power).dtype, &[bins], &twice))?;
            l.binary(B::Mul, power, twice)
        }
        "magnitude" | "log" => {
            let power = l.binary_scalar(B::Max, power, EPSILON)?;
            let size = l.unary(U::Sqrt, power)?;
            if mode == "magnitude" {
                return Ok(size);
            }
            let size = l.binary_scalar(B::Max, size, EPSILON)?;
            l.unary(U::Log, size)
        }
        _ => Err(l.config.bad("mode", "a mode of STFTSpectrogram")),
    }
}

fn power_of(l: &mut Lowering<'_>, real: ValueId, imag: ValueId) -> Result<ValueId, Diag> {
    let (real, imag) = (l.unary(U::Square, real)?, l.unary(U::Square, imag)?);
    l.binary(B::Add, real, imag)
}

/// From (batch * channels, frames, bins) to what the options ask for; `lead`: batch and channels.
fn arranged(l: &mut Lowering<'_>, stft: &Stft, y: ValueId, lead: &[Dim]) -> Result<ValueId, Diag> {
    let shape = l.shape(y);
    let (frames, bins) = (shape[1].clone(), shape[2].clone());
    let mut apart = lead.to_vec();
    apart.extend([frames.clone(), bins.clone()]);
    let y = l.reshape(y, apart)?;
    let joined = lead[1].times(&bins);
    match (stft.layout, l.config.bool_or("expand_dims", false)?) {
        (Layout::ChannelsLast, true) => l.transpose(y, &[0, 2, 3, 1]),
        (Layout::ChannelsFirst, true) => Ok(y),
        (Layout::ChannelsLast, false) => {
            let y = l.transpose(y, &[0, 2, 1, 3])?;
            l.reshape(y, vec![lead[0].clone(), frames, joined])
        }
        (Layout::ChannelsFirst, false) => {
            let y = l.transpose(y, &[0, 1, 3, 2])?;
            l.reshape(y, vec![lead[0].clone(), joined, frames])
        }
    }
}

/// (batch, samples) to (batch, mel bins, frames).
fn mel_spectrogram(l: &mut Lowering<'_>) -> Outcome {
    let x = l.input()?.value;
    let compute = compute_dtype(l)?;
    let x = l.cast(x, if compute == DType::F64 { DType::F64 } else { DType::F32 })?;
    let fft = l.config.u64_or("fft_length", 2048)?;
    let stride = l.config.u64_or("sequence_stride", 512)?;
    if l.rank(x) != 2 || stride == 0 || !(2..=FFT_LENGTH_MAX).contains(&fft) {
        let detail = format!("fft_length {fft}, sequence_stride {stride} on {}", l.ty(x));
        return Err(l.unsupported(detail).into());
    }
    let bins = fft / 2 + 1;
    let padded = l.add(Pad { padding: vec![(0, 0), (fft / 2, fft / 2)], mode: PadMode::Reflect }, &[x])?;
    let signal = l.expand(padded, 2)?;
    let waves = waves(l, x, fft, bins)?;
    let both = framed(l, signal, waves, stride, vec![Padding::Explicit(0, 0)])?;
    let real = l.slice(both, 2, Dim::Known(0), Dim::Known(bins))?;
    let imag = l.slice(both, 2, Dim::Known(bins), Dim::Known(2 * bins))?;
    let power = power_of(l, real, imag)?;
    let exponent = l.config.f64_or("mag_exp", 2.0)?;
    let spectrum = if exponent == 2.0 {
        power
    } else {
        let size = l.unary(U::Sqrt, power)?;
        l.binary_scalar(B::Pow, size, exponent)?
    };
    let mel = mel_matrix(l, x, bins)?;
    let mut y = l.add(recast_plugin_api::ir::MatMul {}, &[spectrum, mel])?;
    if l.config.bool_or("power_to_db", true)? {
        y = decibels(l, y)?;
    }
    let y = l.transpose(y, &[0, 2, 1])?;
    Ok(one(l.cast(y, compute)?))
}

/// Cosines and sines of i k / `period` turns, each (rows, columns).
pub fn turns(
    l: &mut Lowering<'_>,
    dtype: DType,
    (rows, columns): (u64, u64),
    period: u64,
) -> Result<(ValueId, ValueId), Diag> {
    let row = l.add(Iota { dim: Dim::Known(rows), dtype: DType::I64 }, &[])?;
    let row = l.expand(row, 1)?;
    let column = l.add(Iota { dim: Dim::Known(columns), dtype: DType::I64 }, &[])?;
    let turns = l.binary(B::Mul, row, column)?;
    let turns = l.binary_scalar(B::Mod, turns, period as f64)?;
    let turns = l.cast(turns, dtype)?;
    let angle = l.binary_scalar(B::Mul, turns, 2.0 * PI / period as f64)?;
    Ok((l.unary(U::Cos, angle)?, l.unary(U::Sin, angle)?))
}

/// Windows of x (..., time) against the waves of a transform of `fft` samples: their sums with the cosines and with the
/// sines, each (..., frames, bins).
pub fn transformed(l: &mut Lowering<'_>, x: ValueId, fft: u64, stride: u64) -> Result<(ValueId, ValueId), Diag> {
    let shape = l.shape(x);
    let (lead, time) = shape.split_at(shape.len() - 1);
    let signal = l.reshape(x, vec![element_count(lead), time[0].clone(), Dim::Known(1)])?;
    let bins = fft / 2 + 1;
    let waves = waves(l, x, fft, bins)?;
    let both = framed(l, signal, waves, stride, vec![Padding::Explicit(0, 0)])?;
    let mut part = |start: u64| -> Result<ValueId, Diag> {
        let part = l.slice(both, 2, Dim::Known(start), Dim::Known(start + bins))?;
        let frames = l.shape(part)[1].clone();
        l.reshape(part, lead.iter().cloned().chain([frames, Dim::Known(bins)]).collect::<Vec<_>>())
    };
    Ok((part(0)?, part(bins)?))
}

/// The window times the cosines and sines of the transform: (fft, 1, 2 bins), in the dtype of `like`. Only the window
/// is stored; the angles are exact, because they are reduced as integers.
fn waves(l: &mut Lowering<'_>, like: ValueId, fft: u64, bins: u64) -> Result<ValueId, Diag> {
    let dtype = l.ty(like).dtype;
    let (cos, sin) = turns(l, dtype, (fft, bins), fft)?;
    let waves = l.add(Concat { axis: 1 }, &[cos, sin])?;
    let window = window(l, fft)?;
    let window = l.constant(Tensor::from_numbers(dtype, &[fft, 1], &window))?;
    let waves = l.binary(B::Mul, waves, window)?;
    l.expand(waves, 1)
}

/// `sequence_length` elements of the window, zeros around them up to `fft`.
fn window(l: &Lowering<'_>, fft: u64) -> Result<Vec<f64>, Diag> {
    let length = l.config.u64_or("sequence_length", fft)?;
    if length > fft || length == 0 {
        return Err(l.config.bad("sequence_length", "above zero and at most fft_length"));
    }
    let cosine = |a: f64| (0..length).map(|i| a - (1.0 - a) * (2.0 * PI * i as f64 / length as f64).cos()).collect();
    let inner: Vec<f64> = match l.config.get("window") {
        None => vec![1.0; length as usize],
        Some(name) if name == "hann" => cosine(0.5),
        Some(name) if name == "hamming" => cosine(0.54),
        Some(_) => match config_numbers(l, "window")? {
            Some(given) if given.shape == [length] => given.values,
            _ => return Err(l.config.bad("window", "hann, hamming, or sequence_length numbers")),
        },
    };
    let before = ((fft - length) / 2) as usize;
    let mut window = vec![0.0; fft as usize];
    window[before..before + inner.len()].copy_from_slice(&inner);
    Ok(window)
}

/// Triangles on the mel scale (that of HTK) over the bins: (bins, mel bins). The bin of the mean belongs to none.
fn mel_matrix(l: &mut Lowering<'_>, like: ValueId, bins: u64) -> Result<ValueId, Diag> {
    let count = l.config.u64_or("num_mel_bins", 128)?;
    let rate = l.config.f64_or("sampling_rate", 16000.0)?;
    let low = l.config.f64_or("min_freq", 20.0)?;
    let high = l.config.f64_or("max_freq", (rate / 2.0).trunc())?;
    let dtype = l.ty(like).dtype;
    let bytes = bins.checked_mul(count).and_then(|n| n.checked_mul(dtype.size() as u64));
    if bytes.is_none_or(|bytes| bytes > INLINE_BYTES_MAX as u64) || count == 0 {
        return Err(l.unsupported(format!("{count} mel bins of {bins} frequencies")));
    }
    let mel = |hertz: f64| 1127.0 * (1.0 + hertz / 700.0).ln();
    let edge = |i: u64| mel(low) + (mel(high) - mel(low)) * i as f64 / (count + 1) as f64;
    let mut weights = Vec::with_capacity((bins * count) as usize);
    for bin in 0..bins {
        let at = mel(rate / 2.0 * bin as f64 / (bins - 1) as f64);
        for i in 0..count {
            let (lower, center, upper) = (edge(i), edge(i + 1), edge(i + 2));
            let slope = ((at - lower) / (center - lower)).min((upper - at) / (upper - center));
            weights.push(if bin == 0 { 0.0 } else { slope.max(0.0) });
        }
    }
    l.constant(Tensor::from_numbers(dtype, &[bins, count], &weights))
}

/// 10 log10, relative to `ref_power`, and at most `top_db` below the loudest of the whole batch.
fn decibels(l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
    let least = l.config.f64_or("min_power", 1e-10)?;
    let reference = l.config.f64_or("ref_power", 1.0)?.abs().max(least);
    let y = l.add(Clip { min: Some(least), max: None }, &[x])?;
    let y = l.unary(U::Log, y)?;
    let y = l.binary_scalar(B::Mul, y, 10.0 / LN_10)?;
    let y = l.binary_scalar(B::Sub, y, 10.0 * reference.log10())?;
    let loudest = l.reduce(ReduceFunction::Max, y, &[0, 1, 2], false)?;
    let floor = l.binary_scalar(B::Sub, loudest, l.config.f64_or("top_db", 80.0)?)?;
    l.binary(B::Max, y, floor)
}
