//! Pooling over windows, and over everything.

use crate::geometry::{Edge, Window, channel_axis, layout, spatial_axes};
use crate::policy::{as_float, float_input, mask, one, through_float};
use crate::table::{Masks, Row};
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::{BinaryFunction, Concat, Dim, Layout, Padding, Pool, PoolFunction, ReduceFunction};
use recast_plugin_api::lower::{Lowering, Val};

const POOLING: &str = "pooling";
const WINDOW: &str = "strides, valid and same, both data formats";
const GLOBAL: &str = "keepdims, both data formats";

const ADAPTIVE: &str = "windows that do not divide the length too; both data formats";

pub const ROWS: &[Row] = &[
    Row::new("AdaptiveAveragePooling1D", POOLING, Masks::Drop, adaptive_average1d, ADAPTIVE),
    Row::new("AdaptiveAveragePooling2D", POOLING, Masks::Drop, adaptive_average2d, ADAPTIVE),
    Row::new("AdaptiveAveragePooling3D", POOLING, Masks::Drop, adaptive_average3d, ADAPTIVE),
    Row::new("AdaptiveMaxPooling1D", POOLING, Masks::Drop, adaptive_max1d, ADAPTIVE),
    Row::new("AdaptiveMaxPooling2D", POOLING, Masks::Drop, adaptive_max2d, ADAPTIVE),
    Row::new("AdaptiveMaxPooling3D", POOLING, Masks::Drop, adaptive_max3d, ADAPTIVE),
    Row::new("AveragePooling1D", POOLING, Masks::Drop, average1d, WINDOW),
    Row::new("AveragePooling2D", POOLING, Masks::Drop, average2d, WINDOW),
    Row::new("AveragePooling3D", POOLING, Masks::Drop, average3d, WINDOW),
    Row::new("AvgPool1D", POOLING, Masks::Drop, average1d, WINDOW),
    Row::new("AvgPool2D", POOLING, Masks::Drop, average2d, WINDOW),
    Row::new("AvgPool3D", POOLING, Masks::Drop, average3d, WINDOW),
    Row::new("MaxPool1D", POOLING, Masks::Drop, max1d, WINDOW),
    Row::new("MaxPool2D", POOLING, Masks::Drop, max2d, WINDOW),
    Row::new("MaxPool3D", POOLING, Masks::Drop, max3d, WINDOW),
    Row::new("MaxPooling1D", POOLING, Masks::Drop, max1d, WINDOW),
    Row::new("MaxPooling2D", POOLING, Masks::Drop, max2d, WINDOW),
    Row::new("MaxPooling3D", POOLING, Masks::Drop, max3d, WINDOW),
    Row::new("GlobalAveragePooling1D", POOLING, Masks::Drop, global_average1d, "keepdims; masks"),
    Row::new("GlobalAveragePooling2D", POOLING, Masks::Drop, global_average2d, GLOBAL),
    Row::new("GlobalAveragePooling3D", POOLING, Masks::Drop, global_average3d, GLOBAL),
    Row::new("GlobalAvgPool1D", POOLING, Masks::Drop, global_average1d, "keepdims; masks"),
    Row::new("GlobalAvgPool2D", POOLING, Masks::Drop, global_average2d, GLOBAL),
    Row::new("GlobalAvgPool3D", POOLING, Masks::Drop, global_average3d, GLOBAL),
    Row::new("GlobalMaxPool1D", POOLING, Masks::Drop, global_max1d, GLOBAL),
    Row::new("GlobalMaxPool2D", POOLING, Masks::Drop, global_max2d, GLOBAL),
    Row::new("GlobalMaxPool3D", POOLING, Masks::Drop, global_max3d, GLOBAL),
    Row::new("GlobalMaxPooling1D", POOLING, Masks::Drop, global_max1d, GLOBAL),
    Row::new("GlobalMaxPooling2D", POOLING, Masks::Drop, global_max2d, GLOBAL),
    Row::new("GlobalMaxPooling3D", POOLING, Masks::Drop, global_max3d, GLOBAL),
];

type Outcome = Result<Vec<Val>, Findings>;

fn average1d(l: &mut Lowering<'_>) -> Outcome {
    pool(l, 1, PoolFunction::Average)
}
fn average2d(l: &mut Lowering<'_>) -> Outcome {
    pool(l, 2, PoolFunction::Average)
}
fn average3d(l: &mut Lowering<'_>) -> Outcome {
    pool(l, 3, PoolFunction::Average)
}
fn max1d(l: &mut Lowering<'_>) -> Outcome {
    pool(l, 1, PoolFunction::Max)
}
fn max2d(l: &mut Lowering<'_>) -> Outcome {
    pool(l, 2, PoolFunction::Max)
}
fn max3d(l: &mut Lowering<'_>) -> Outcome {
    pool(l, 3, PoolFunction::Max)
}
fn global_average2d(l: &mut Lowering<'_>) -> Outcome {
    global(l, 2, ReduceFunction::Mean)
}
fn global_average3d(l: &mut Lowering<'_>) -> Outcome {
    global(l, 3, ReduceFunction::Mean)
}
fn global_max1d(l: &mut Lowering<'_>) -> Outcome {
    global(l, 1, ReduceFunction::Max)
}
fn global_max2d(l: &mut Lowering<'_>) -> Outcome {
    global(l, 2, ReduceFunction::Max)
}
fn global_max3d(l: &mut Lowering<'_>) -> Outcome {
    global(l, 3, ReduceFunction::Max)
}

fn adaptive_average1d(l: &mut Lowering<'_>) -> Outcome {
    adaptive(l, 1, ReduceFunction::Mean)
}
fn adaptive_average2d(l: &mut Lowering<'_>) -> Outcome {
    adaptive(l, 2, ReduceFunction::Mean)
}
fn adaptive_average3d(l: &mut Lowering<'_>) -> Outcome {
    adaptive(l, 3, ReduceFunction::Mean)
}
fn adaptive_max1d(l: &mut Lowering<'_>) -> Outcome {
    adaptive(l, 1, ReduceFunction::Max)
}
fn adaptive_max2d(l: &mut Lowering<'_>) -> Outcome {
    adaptive(l, 2, ReduceFunction::Max)
}
fn adaptive_max3d(l: &mut Lowering<'_>) -> Outcome {
    adaptive(l, 3, ReduceFunction::Max)
}

pub fn pool(l: &mut Lowering<'_>, n: usize, function: PoolFunction) -> Outcome {
    let window = Window::of_pool(l, n)?;
    if window.edge == Edge::Causal {
        return Err(l.config.bad("padding", "valid or same").into());
    }
    let given = l.input()?.value;
    let padding = window.padding();
    let op = Pool { function, window: window.sizes, strides: window.strides, padding, layout: window.layout };
    // The largest of whole numbers is a whole number; runtimes pool floats.
    if function == PoolFunction::Max && l.ty(given).dtype.is_int() {
        return Ok(one(through_float(l, given, |l, x| l.add(op, &[x]))?));
    }
    let x = as_float(l, given)?;
    Ok(one(l.add(op, &[x])?))
}

fn want_rank(l: &Lowering<'_>, rank: usize, n: usize) -> Result<(), Diag> {
    if rank == n + 2 {
        Ok(())
    } else {
        Err(l.unsupported(format!("an input of rank {rank} where {} is needed", n + 2)))
    }
}

fn global(l: &mut Lowering<'_>, n: usize, function: ReduceFunction) -> Outcome {
    let mut x = l.input()?.value;
    if function == ReduceFunction::Mean {
        x = as_float(l, x)?;
    }
    let rank = l.rank(x);
    want_rank(l, rank, n)?;
    let axes = spatial_axes(layout(l)?, rank);
    let keep = l.config.bool_or("keepdims", false)?;
    Ok(one(l.reduce(function, x, &axes, keep)?))
}

/// The mean over time; with a mask, over the steps that it keeps.
fn global_average1d(l: &mut Lowering<'_>) -> Outcome {
    // Before Keras 2.2 it took none, and TensorFlow.js, which follows that, leaves it out.
    let Some(mask) = mask(l).filter(|_| l.keras_version() >= (2, 2)) else {
        return global(l, 1, ReduceFunction::Mean);
    };
    let x = float_input(l)?;
    let (rank, layout) = (l.rank(x), layout(l)?);
    want_rank(l, rank, 1)?;
    let keep = l.config.bool_or("keepdims", false)?;
    let time = if layout == Layout::ChannelsLast { 1 } else { 2 };
    let kept = l.cast(mask, l.ty(x).dtype)?;
    let kept = l.expand(kept, channel_axis(layout, rank))?;
    let weighted = l.binary(BinaryFunction::Mul, x, kept)?;
    let total = l.reduce(ReduceFunction::Sum, weighted, &[time], keep)?;
    let count = l.reduce(ReduceFunction::Sum, kept, &[time], keep)?;
    Ok(one(l.binary(BinaryFunction::Div, total, count)?))
}

/// Outputs of one axis of an adaptive pooling whose windows differ in size: each is a slice of its own.
const ADAPTIVE_MAX: u64 = 1024;

/// Output i of `size` covers floor(i n / size) to ceil((i + 1) n / size) of a length n, axis by axis.
pub fn adaptive(l: &mut Lowering<'_>, n: usize, function: ReduceFunction) -> Outcome {
    let mut x = float_input(l)?;
    let (rank, layout) = (l.rank(x), layout(l)?);
    want_rank(l, rank, n)?;
    let sizes = l.config.u64s("output_size", n)?;
    let axes = spatial_axes(layout, rank);
    let lengths: Vec<u64> = axes.iter().map(|&axis| l.known(x, axis)).collect::<Result<_, _>>()?;
    if sizes.iter().any(|size| !(1..=ADAPTIVE_MAX).contains(size)) || lengths.contains(&0) {
        return Err(l.config.bad("output_size", &format!("sizes of 1 to {ADAPTIVE_MAX}")).into());
    }
    if lengths.iter().zip(&sizes).all(|(length, size)| length % size == 0) {
        let window: Vec<u64> = lengths.iter().zip(&sizes).map(|(length, size)| length / size).collect();
        let function = if function == ReduceFunction::Max { PoolFunction::Max } else { PoolFunction::Average };
        let padding = vec![Padding::Explicit(0, 0); n];
        return Ok(one(l.add(Pool { function, strides: window.clone(), window, padding, layout }, &[x])?));
    }
    for ((axis, length), size) in axes.into_iter().zip(lengths).zip(sizes) {
        let mut parts = Vec::new();
        for i in 0..size {
            let (start, stop) = (i * length / size, ((i + 1) * length).div_ceil(size));
            let part = l.slice(x, axis, Dim::Known(start), Dim::Known(stop))?;
            parts.push(l.reduce(function, part, &[axis], true)?);
        }
        x = if parts.len() == 1 { parts[0] } else { l.add(Concat { axis }, &parts)? };
    }
    Ok(one(x))
}
