//! Pooling over windows, and over everything.

use crate::geometry::{Edge, Window, channel_axis, layout, spatial_axes};
use crate::policy::{as_float, float_input, mask, one};
use crate::table::{Masks, Row};
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::{BinaryFunction, Layout, Pool, PoolFunction, ReduceFunction};
use recast_plugin_api::lower::{Lowering, Val};

const POOLING: &str = "pooling";
const WINDOW: &str = "strides, valid and same, both data formats";
const GLOBAL: &str = "keepdims, both data formats";

pub const ROWS: &[Row] = &[
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

fn pool(l: &mut Lowering<'_>, n: usize, function: PoolFunction) -> Outcome {
    let window = Window::of_pool(l, n)?;
    if window.edge == Edge::Causal {
        return Err(l.config.bad("padding", "valid or same").into());
    }
    let x = float_input(l)?;
    let padding = window.padding();
    let op = Pool { function, window: window.sizes, strides: window.strides, padding, layout: window.layout };
    Ok(one(l.add(op, &[x])?))
}

fn want_rank(l: &Lowering<'_>, rank: usize, n: usize) -> Result<(), Diag> {
    if rank == n + 2 { Ok(()) } else { Err(l.unsupported(format!("an input of rank {rank} where {} is needed", n + 2))) }
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
    let Some(mask) = mask(l) else {
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
