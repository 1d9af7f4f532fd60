//! Resampling, one axis after the other. Each output element is a weighted mean of input elements, as TensorFlow has
//! it: taps that lie outside of the image are left out and the weights of the others are scaled up to sum one.

use super::{Cx, Ins, Lanes, Outcome, fault};
use crate::array::{Array, Data, wrap};

use recast_plugin_api::ir::{NearestRounding, Resize, ResizeCoordinates, ResizeMode};

/// One output element: the first input element and the weights from there on.
struct Taps {
    first: usize,
    weights: Vec<f64>,
}

pub fn resize(op: &Resize, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.array(0)?;
    let mut shape = x.shape.clone();
    let mut data = x.data.clone();
    for &axis in &op.axes {
        let size = cx.shape()[axis];
        let lanes = Lanes::of(&shape, axis);
        if lanes.len == 0 && size > 0 {
            return Err(fault("an axis without elements can't be resized"));
        }
        let nearest = op.mode == ResizeMode::Nearest;
        data = match (data, nearest) {
            (data, true) => {
                let from: Vec<usize> = (0..size).map(|i| nearest_index(op, i, lanes.len, size)).collect();
                let from = &from;
                data.picked((0..lanes.outer).flat_map(|o| {
                    from.iter().flat_map(move |i| (0..lanes.inner).map(move |j| (o * lanes.len + i) * lanes.inner + j))
                }))
            }
            (Data::F(values), false) => Data::F(weighted(&values, lanes, &taps(op, lanes.len, size))),
            (Data::I(values), false) => {
                let values: Vec<f64> = values.into_iter().map(|v| v as f64).collect();
                let means = weighted(&values, lanes, &taps(op, lanes.len, size));
                Data::I(means.into_iter().map(|v| wrap(x.dtype, v.round_ties_even() as i64)).collect())
            }
            (Data::B(_) | Data::S(_), false) => return Err(fault("means of what is no number")),
        };
        shape[axis] = size;
    }
    Ok(vec![Array { dtype: x.dtype, shape, data }])
}

fn weighted(values: &[f64], lanes: Lanes, taps: &[Taps]) -> Vec<f64> {
    let mut out = vec![0.0; lanes.outer * taps.len() * lanes.inner];
    for (row, part) in out.chunks_exact_mut(lanes.inner.max(1)).enumerate() {
        let (o, taps) = (row / taps.len(), &taps[row % taps.len()]);
        for (i, weight) in taps.weights.iter().enumerate() {
            let from = (o * lanes.len + taps.first + i) * lanes.inner;
            part.iter_mut().zip(&values[from..]).for_each(|(sum, v)| *sum += weight * v);
        }
    }
    out
}

/// Output index `i` as an input coordinate: a fraction, because nearest depends on which side of a half it falls.
fn coordinate(op: &Resize, i: usize, input: usize, output: usize) -> (i128, i128) {
    let (i, input, output) = (i as i128, input as i128, output as i128);
    match op.coordinates {
        ResizeCoordinates::HalfPixel => ((2 * i + 1) * input - output, 2 * output),
        ResizeCoordinates::Asymmetric => (i * input, output),
        ResizeCoordinates::AlignCorners if output > 1 => (i * (input - 1), output - 1),
        ResizeCoordinates::AlignCorners => (0, 1),
    }
}

fn nearest_index(op: &Resize, i: usize, input: usize, output: usize) -> usize {
    let (top, bottom) = coordinate(op, i, input, output);
    let floor = |top: i128, bottom: i128| top.div_euclid(bottom);
    let index = match op.rounding {
        NearestRounding::Floor => floor(top, bottom),
        NearestRounding::Ceil => -floor(-top, bottom),
        NearestRounding::HalfUp => floor(2 * top + bottom, 2 * bottom),
        NearestRounding::HalfDown => -floor(bottom - 2 * top, 2 * bottom),
    };
    index.clamp(0, input as i128 - 1) as usize
}

fn taps(op: &Resize, input: usize, output: usize) -> Vec<Taps> {
    let scale = input as f64 / output as f64;
    // Shrinking with antialias widens the kernel, so that every input element counts.
    let stretch = if op.antialias { scale.max(1.0) } else { 1.0 };
    let one = |i: usize| {
        let (top, bottom) = coordinate(op, i, input, output);
        let center = top as f64 / bottom as f64;
        match op.mode {
            ResizeMode::Area => covered(i as f64 * scale, (i + 1) as f64 * scale, input),
            ResizeMode::Nearest | ResizeMode::Linear => sampled(center, stretch, input, 1.0, |x| 1.0 - x),
            ResizeMode::Cubic => sampled(center, stretch, input, 2.0, |x| cubic(x, op.cubic_a)),
            ResizeMode::Lanczos3 => sampled(center, stretch, input, 3.0, |x| lanczos(x, 3.0)),
            ResizeMode::Lanczos5 => sampled(center, stretch, input, 5.0, |x| lanczos(x, 5.0)),
        }
    };
    (0..output).map(one).collect()
}

/// Weights `kernel(|j - center| / stretch)` of the elements within `radius * stretch`.
fn sampled(center: f64, stretch: f64, input: usize, radius: f64, kernel: impl Fn(f64) -> f64) -> Taps {
    let last = input as f64 - 1.0;
    let reach = radius * stretch;
    let first = (center - reach).ceil().clamp(0.0, last);
    let end = (center + reach).floor().clamp(first, last);
    let count = (end - first) as usize + 1;
    let mut weights: Vec<f64> = (0..count)
        .map(|i| {
            let distance = (first + i as f64 - center).abs() / stretch;
            if distance < radius { kernel(distance) } else { 0.0 }
        })
        .collect();
    let sum: f64 = weights.iter().sum();
    match sum == 0.0 {
        // Beyond the image by more than the kernel reaches (`asymmetric` at the far end): the border element.
        true => {
            let nearest = (center.clamp(0.0, last) - first).round() as usize;
            weights[nearest.min(count - 1)] = 1.0;
        }
        false => weights.iter_mut().for_each(|w| *w /= sum),
    }
    Taps { first: first as usize, weights }
}

/// The part of `begin..end` that each element covers.
fn covered(begin: f64, end: f64, input: usize) -> Taps {
    let first = begin.floor().clamp(0.0, input as f64 - 1.0);
    let last = (end.ceil() - 1.0).clamp(first, input as f64 - 1.0);
    let share = |j: f64| (end.min(j + 1.0) - begin.max(j)).max(0.0) / (end - begin);
    let weights = (0..=(last - first) as usize).map(|i| share(first + i as f64)).collect();
    Taps { first: first as usize, weights }
}

fn cubic(x: f64, a: f64) -> f64 {
    match x < 1.0 {
        true => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        false => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
    }
}

fn lanczos(x: f64, radius: f64) -> f64 {
    if x <= 1e-3 {
        return 1.0;
    }
    let angle = std::f64::consts::PI * x;
    radius * angle.sin() * (angle / radius).sin() / (angle * angle)
}
