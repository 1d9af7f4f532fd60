//! Contrast limited adaptive histogram equalisation: each pixel looked up in the cumulative histograms of the four
//! tiles around it. It is not random, so it runs at inference.

use crate::augmentation::shifted;
use crate::geometry::layout;
use crate::policy::{compute_dtype, one};
use crate::preprocess::config_numbers;
use crate::table::{Masks, Row};
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::types::element_count;
use recast_plugin_api::ir::{
    BinaryFunction as B, Clip, Concat, Cumulative, CumulativeFunction, DType, Dim, Gather, Iota, Layout, OneHot, Pad,
    PadMode, ReduceFunction, Tensor, ValueId, Where,
};
use recast_plugin_api::lower::{Lowering, Val};

pub const ROWS: &[Row] = &[Row::new(
    "ContrastLimitedAdaptiveHistogramEqualization",
    "augmentation",
    Masks::Drop,
    equalize,
    "computed: it is not random; images of known size",
)];

/// Grey levels.
const LEVELS: u64 = 256;

/// The tiles of images (batch, height, width, channels).
struct Tiles {
    /// Of height and width: how many tiles, their size, the image's size.
    grid: [u64; 2],
    size: [u64; 2],
    image: [u64; 2],
    channels: u64,
}

fn equalize(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let x = l.input()?.value;
    if l.rank(x) != 4 {
        return Err(l.unsupported(format!("called on {} where a batch of images is needed", l.ty(x))).into());
    }
    let first = layout(l)? == Layout::ChannelsFirst;
    let x = if first { l.transpose(x, &[0, 2, 3, 1])? } else { x };
    let given = l.ty(x).dtype;
    let (low, high) = range(l)?;
    let plain = (low, high) == (0.0, 255.0);
    let mut y = l.cast(x, DType::F32)?;
    if !plain {
        // Levels are whole: the division must round as Keras' does.
        let above = l.binary_scalar(B::Sub, y, low)?;
        let share = l.binary_scalar(B::Div, above, high - low)?;
        y = l.binary_scalar(B::Mul, share, 255.0)?;
    }
    y = levelled(l, y)?;
    if !plain {
        y = shifted(l, y, 0.0, (high - low) / 255.0, low)?;
    }
    let to = if given.is_float() { compute_dtype(l)? } else { given };
    let y = l.cast(y, to)?;
    Ok(one(if first { l.transpose(y, &[0, 3, 1, 2])? } else { y }))
}

fn range(l: &Lowering<'_>) -> Result<(f64, f64), Diag> {
    match config_numbers(l, "value_range")? {
        None => Ok((0.0, 255.0)),
        Some(ends) => match ends.values[..] {
            [low, high] if low != high => Ok((low, high)),
            _ => Err(l.config.bad("value_range", "two different ends")),
        },
    }
}

fn levelled(l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
    let image = [l.known(x, 1)?, l.known(x, 2)?];
    let grid = if l.config.get("tile_grid_size").is_some() { l.config.u64s("tile_grid_size", 2)? } else { vec![8, 8] };
    let grid = [grid[0], grid[1]];
    let channels = l.known(x, 3)?;
    if grid.iter().chain(&image).chain([&channels]).any(|&n| !(1..=1 << 16).contains(&n)) {
        return Err(l.config.bad("tile_grid_size", "tiles that an image can have"));
    }
    let size = [image[0].div_ceil(grid[0]), image[1].div_ceil(grid[1])];
    let tiles = Tiles { grid, size, image, channels };
    let after: Vec<u64> = (0..2).map(|i| size[i] * grid[i] - image[i]).collect();
    let padding = vec![(0, 0), (0, after[0]), (0, after[1]), (0, 0)];
    let padded = if after == [0, 0] { x } else { l.add(Pad { padding, mode: PadMode::Symmetric }, &[x])? };
    let levels = l.add(Clip { min: Some(0.0), max: Some((LEVELS - 1) as f64) }, &[padded])?;
    let levels = l.cast(levels, DType::I64)?;
    let table = cumulative(l, &tiles, levels)?;
    let y = looked_up(l, &tiles, levels, table)?;
    let y = l.slice(y, 1, Dim::Known(0), Dim::Known(image[0]))?;
    l.slice(y, 2, Dim::Known(0), Dim::Known(tiles.image[1]))
}

/// New levels by tile, channel and old level, the outermost tiles doubled: (batch, gh + 2, gw + 2, channels, levels).
fn cumulative(l: &mut Lowering<'_>, tiles: &Tiles, levels: ValueId) -> Result<ValueId, Diag> {
    let batch = l.shape(levels)[0].clone();
    let pixels = tiles.size[0] * tiles.size[1];
    let known = Dim::Known;
    let ([gh, gw], [th, tw]) = (tiles.grid, tiles.size);
    let split = [known(gh), known(th), known(gw), known(tw), known(tiles.channels)];
    let tiled = l.reshape(levels, [vec![batch.clone()], split.to_vec()].concat())?;
    let tiled = l.transpose(tiled, &[0, 1, 3, 5, 2, 4])?;
    let flat = l.reshape(tiled, vec![batch, known(gh), known(gw), known(tiles.channels), known(pixels)])?;
    let hot = l.add(OneHot { depth: LEVELS, axis: 5, dtype: DType::F32 }, &[flat])?;
    let mut counts = l.reduce(ReduceFunction::Sum, hot, &[4], false)?;
    let limit = l.config.f64_or("clip_limit", 4.0)?;
    if limit > 0.0 {
        let limit = limit * pixels as f64 / LEVELS as f64;
        let clipped = l.add(Clip { min: Some(0.0), max: Some(limit) }, &[counts])?;
        let excess = l.binary(B::Sub, counts, clipped)?;
        let excess = l.reduce(ReduceFunction::Sum, excess, &[4], true)?;
        let share = l.binary_scalar(B::Mul, excess, 1.0 / LEVELS as f64)?;
        counts = l.binary(B::Add, clipped, share)?;
    }
    let running = Cumulative { function: CumulativeFunction::Sum, axis: 4, exclusive: false, reverse: false };
    let running = l.add(running, &[counts])?;
    let least = l.reduce(ReduceFunction::Min, running, &[4], true)?;
    let above = l.binary(B::Sub, running, least)?;
    let above = l.binary_scalar(B::Mul, above, 255.0)?;
    let all = l.scalar_like(least, pixels as f64)?;
    let span = l.binary(B::Sub, all, least)?;
    let none = l.binary_scalar(B::Equal, span, 0.0)?;
    let unit = l.scalar_like(span, 1.0)?;
    let span = l.add(Where {}, &[none, unit, span])?;
    let share = l.binary(B::Div, above, span)?;
    let table = l.add(Clip { min: Some(0.0), max: Some(255.0) }, &[share])?;
    let table = doubled(l, table, 1, gh)?;
    doubled(l, table, 2, gw)
}

/// The first and the last of `count` elements along `axis` once more.
fn doubled(l: &mut Lowering<'_>, x: ValueId, axis: usize, count: u64) -> Result<ValueId, Diag> {
    let first = l.slice(x, axis, Dim::Known(0), Dim::Known(1))?;
    let last = l.slice(x, axis, Dim::Known(count - 1), Dim::Known(count))?;
    l.add(Concat { axis }, &[first, x, last])
}

/// Of each position along an axis: the two tiles around it in the doubled grid, and the share of the second.
fn neighbours(count: u64, size: u64) -> [Vec<f64>; 3] {
    let mut found = [Vec::new(), Vec::new(), Vec::new()];
    for at in 0..count * size {
        let place = (at as f64 - size as f64 / 2.0) / size as f64 + 1.0;
        let before = place.floor();
        let tile = |at: f64| at.clamp(0.0, (count + 1) as f64);
        found[0].push(tile(before));
        found[1].push(tile(before + 1.0));
        found[2].push(place - before);
    }
    found
}

/// Each pixel between the new levels that its four tiles have for it.
fn looked_up(l: &mut Lowering<'_>, tiles: &Tiles, levels: ValueId, table: ValueId) -> Result<ValueId, Diag> {
    let per_column = LEVELS * tiles.channels;
    let per_row = per_column * (tiles.grid[1] + 2);
    let per_image = per_row * (tiles.grid[0] + 2);
    let all = l.shape(table);
    let flat = l.reshape(table, vec![element_count(&all)])?;
    let image = l.add(Iota { dim: l.shape(levels)[0].clone(), dtype: DType::I64 }, &[])?;
    let image = l.binary_scalar(B::Mul, image, per_image as f64)?;
    let image = l.reshape(image, vec![l.shape(levels)[0].clone(), Dim::Known(1), Dim::Known(1), Dim::Known(1)])?;
    let channel: Vec<i64> = (0..tiles.channels).map(|channel| (channel * LEVELS) as i64).collect();
    let channel = l.constant(Tensor::from_i64(&[tiles.channels], &channel))?;
    let base = l.binary(B::Add, levels, image)?;
    let base = l.binary(B::Add, base, channel)?;
    let (rows, columns) = (neighbours(tiles.grid[0], tiles.size[0]), neighbours(tiles.grid[1], tiles.size[1]));
    let mut lines = Vec::new();
    for row in &rows[..2] {
        let mut ends = Vec::new();
        for column in &columns[..2] {
            let index = moved(l, base, row, per_row, true)?;
            let index = moved(l, index, column, per_column, false)?;
            ends.push(l.add(Gather { axis: 0 }, &[flat, index])?);
        }
        lines.push(between(l, ends[0], ends[1], &columns[2], false)?);
    }
    between(l, lines[0], lines[1], &rows[2], true)
}

/// The shape in which numbers along one axis of an image broadcast.
fn along(count: usize, down: bool) -> [u64; 3] {
    if down { [count as u64, 1, 1] } else { [1, count as u64, 1] }
}

fn moved(l: &mut Lowering<'_>, index: ValueId, by: &[f64], step: u64, down: bool) -> Result<ValueId, Diag> {
    let by: Vec<i64> = by.iter().map(|&tile| tile as i64 * step as i64).collect();
    let by = l.constant(Tensor::from_i64(&along(by.len(), down), &by))?;
    l.binary(B::Add, index, by)
}

fn between(l: &mut Lowering<'_>, a: ValueId, b: ValueId, share: &[f64], down: bool) -> Result<ValueId, Diag> {
    let shape = along(share.len(), down);
    let rest: Vec<f64> = share.iter().map(|share| 1.0 - share).collect();
    let share = l.constant(Tensor::from_numbers(DType::F32, &shape, share))?;
    let rest = l.constant(Tensor::from_numbers(DType::F32, &shape, &rest))?;
    let (a, b) = (l.binary(B::Mul, a, rest)?, l.binary(B::Mul, b, share)?);
    l.binary(B::Add, a, b)
}
