//! Layers that resample images: up-sampling, resizing, cropping to the centre.
//!
//! What most targets have no word for (lanczos, area, antialiasing) becomes a product with a constant matrix along each
//! axis, where the sizes are known.

use crate::geometry::{WINDOW_MAX, layout, spatial_axes};
use crate::policy::{compute_dtype, one};
use crate::table::{Masks, Row};
use crate::taps::{Kernel, matrix, phases};
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::types::{INLINE_BYTES_MAX, element_count};
use recast_plugin_api::ir::{
    BinaryFunction, BroadcastTo, Clip, Conv, DType, Dim, KernelOrder, Layout, MatMul, NearestRounding, Pad, PadMode,
    Padding, Resize, ResizeCoordinates, ResizeMode, Tensor, Tile, UnaryFunction, ValueId,
};
use recast_plugin_api::lower::{Lowering, Val};

const RESAMPLE: &str = "resampling";

pub const ROWS: &[Row] = &[
    Row::new("UpSampling1D", RESAMPLE, Masks::Drop, up_sampling1d, ""),
    Row::new("UpSampling2D", RESAMPLE, Masks::Drop, up_sampling2d, "nearest, bilinear, bicubic, lanczos, area"),
    Row::new("UpSampling3D", RESAMPLE, Masks::Drop, up_sampling3d, ""),
    Row::new("Resizing", RESAMPLE, Masks::Drop, resizing, "every interpolation"),
    Row::new("CenterCrop", RESAMPLE, Masks::Drop, center_crop, "small images are resized, as Keras does"),
];

type Outcome = Result<Vec<Val>, Findings>;

/// Every element along `axis`, `times` times in a row.
fn repeat(l: &mut Lowering<'_>, x: ValueId, axis: usize, times: u64) -> Result<ValueId, Diag> {
    if times == 1 {
        return Ok(x);
    }
    let mut shape = l.shape(x);
    let expanded = l.expand(x, axis + 1)?;
    let mut repeats = vec![Dim::Known(1); shape.len() + 1];
    repeats[axis + 1] = Dim::Known(times);
    let tiled = l.add(Tile { repeats }, &[expanded])?;
    shape[axis] = shape[axis].times(&Dim::Known(times));
    l.reshape(tiled, shape)
}

/// `size` of `n` spatial axes.
fn factors(l: &Lowering<'_>, n: usize) -> Result<Vec<u64>, Diag> {
    // Keras 1 called it `length` in one dimension.
    let key = if n == 1 && l.config.get("size").is_none() { "length" } else { "size" };
    let sizes = l.config.u64s_or(key, n, 2)?;
    let fine = sizes.iter().all(|size| (1..=WINDOW_MAX).contains(size));
    if fine { Ok(sizes) } else { Err(l.config.bad(key, "factors of at least one")) }
}

fn want_rank(l: &Lowering<'_>, rank: usize, n: usize) -> Result<(), Diag> {
    if rank == n + 2 {
        Ok(())
    } else {
        Err(l.unsupported(format!("an input of rank {rank} where {} is needed", n + 2)))
    }
}

fn up_sampling1d(l: &mut Lowering<'_>) -> Outcome {
    let x = l.input()?.value;
    want_rank(l, l.rank(x), 1)?;
    let factor = factors(l, 1)?[0];
    Ok(one(repeat(l, x, 1, factor)?))
}

fn up_sampling3d(l: &mut Lowering<'_>) -> Outcome {
    let mut x = l.input()?.value;
    let rank = l.rank(x);
    want_rank(l, rank, 3)?;
    for (axis, factor) in spatial_axes(layout(l)?, rank).into_iter().zip(factors(l, 3)?) {
        x = repeat(l, x, axis, factor)?;
    }
    Ok(one(x))
}

fn up_sampling2d(l: &mut Lowering<'_>) -> Outcome {
    let x = l.input()?.value;
    let rank = l.rank(x);
    want_rank(l, rank, 2)?;
    let axes = spatial_axes(layout(l)?, rank);
    let shape = l.shape(x);
    let sizes: Vec<Dim> =
        axes.iter().zip(factors(l, 2)?).map(|(&axis, by)| shape[axis].times(&Dim::Known(by))).collect();
    let interpolation = l.config.str_or("interpolation", "nearest")?;
    if interpolation == "nearest" {
        // Whole factors: the plainest coordinates give the same pixels.
        let op = Resize {
            axes,
            sizes,
            mode: ResizeMode::Nearest,
            coordinates: ResizeCoordinates::Asymmetric,
            rounding: NearestRounding::Floor,
            cubic_a: -0.5,
            antialias: false,
        };
        return Ok(one(l.add(op, &[x])?));
    }
    let interpolation = interpolation.to_string();
    let early = l.keras_major() >= 3 && l.keras_version() < (3, 2) && layout(l)? == Layout::ChannelsFirst;
    let sizes = if early { early_sizes(l, &shape)? } else { sizes };
    let free = axes.iter().any(|&axis| shape[axis].known().is_none());
    let y = match interpolation.as_str() {
        "lanczos3" if free && !early => phased(l, x, &axes, Kernel::Lanczos(3.0))?,
        "lanczos5" if free && !early => phased(l, x, &axes, Kernel::Lanczos(5.0))?,
        "gaussian" if free && !early => phased(l, x, &axes, GAUSSIAN)?,
        "mitchellcubic" if free && !early => phased(l, x, &axes, Kernel::Mitchell)?,
        _ => resized(l, x, axes, sizes, &interpolation, false)?,
    };
    // Keras 2 leaves the f32 of TensorFlow's resize as it is, whatever the policy.
    Ok(one(if l.keras_major() < 3 { y } else { narrowed(l, y)? }))
}

/// Keras 3.0 and 3.1 turn channels-first images to channels-last and then take width and channels for height and width.
fn early_sizes(l: &Lowering<'_>, shape: &[Dim]) -> Result<Vec<Dim>, Diag> {
    let by = factors(l, 2)?;
    Ok(vec![shape[3].times(&Dim::Known(by[0])), shape[1].times(&Dim::Known(by[1]))])
}

/// TensorFlow's.
const GAUSSIAN: Kernel = Kernel::Gaussian(1.5);

/// Whole factors by this kernel, whatever the lengths: a convolution gives the elements that come out of
/// each one, and the same one over ones what their weights add up to at the edges.
fn phased(l: &mut Lowering<'_>, x: ValueId, axes: &[usize], kernel: Kernel) -> Result<ValueId, Diag> {
    let reach = kernel.reach();
    let mut y = if l.ty(x).dtype == DType::F64 { x } else { l.cast(x, DType::F32)? };
    for (&axis, factor) in axes.iter().zip(factors(l, 2)?) {
        if factor == 1 {
            continue;
        }
        let rank = l.rank(y);
        let mut perm: Vec<usize> = (0..rank).filter(|&other| other != axis).chain([axis]).collect();
        y = l.transpose(y, &perm)?;
        let mut shape = l.shape(y);
        let length = shape[rank - 1].clone();
        let rows = vec![element_count(&shape[..rank - 1]), length.clone(), Dim::Known(1)];
        let rows = l.reshape(y, rows)?;
        let weights = Tensor::from_numbers(l.ty(y).dtype, &[2 * reach + 1, 1, factor], &phases(kernel, factor));
        let weights = l.constant(weights)?;
        let unit = l.scalar_like(y, 1.0)?;
        let ones = l.add(BroadcastTo { shape: vec![Dim::Known(1), length.clone(), Dim::Known(1)] }, &[unit])?;
        let op = Conv {
            strides: vec![1],
            dilations: vec![1],
            padding: vec![Padding::Explicit(reach, reach)],
            groups: 1,
            layout: Layout::ChannelsLast,
            kernel: KernelOrder::Hwio,
        };
        let sums = l.add_node(op.clone(), &[Some(rows), Some(weights), None])?[0];
        let totals = l.add_node(op, &[Some(ones), Some(weights), None])?[0];
        let grown = l.binary(BinaryFunction::Div, sums, totals)?;
        shape[rank - 1] = length.times(&Dim::Known(factor));
        y = l.reshape(grown, shape)?;
        // Back: the last axis to its place.
        perm = (0..rank - 1).collect();
        perm.insert(axis, rank - 1);
        y = l.transpose(y, &perm)?;
    }
    Ok(y)
}

/// Before tf.keras, `UpSampling2D` used TensorFlow 1's resize, whose pixels have no centre.
fn coordinates(l: &Lowering<'_>) -> ResizeCoordinates {
    let old = l.keras_version() < (2, 3) && !l.request.keras_version.ends_with("-tf");
    if old { ResizeCoordinates::Asymmetric } else { ResizeCoordinates::HalfPixel }
}

/// `tf.image.resize`: half-pixel centres, Keys' cubic with -1/2; the result is f32 except for nearest.
pub fn resized(
    l: &mut Lowering<'_>,
    x: ValueId,
    axes: Vec<usize>,
    sizes: Vec<Dim>,
    interpolation: &str,
    antialias: bool,
) -> Result<ValueId, Diag> {
    let smooth = match interpolation.to_ascii_lowercase().as_str() {
        "gaussian" => Some(GAUSSIAN),
        "mitchellcubic" => Some(Kernel::Mitchell),
        _ => None,
    };
    if let Some(kernel) = smooth {
        return smoothed(l, x, &axes, &sizes, kernel, antialias);
    }
    let mode = match interpolation.to_ascii_lowercase().as_str() {
        "nearest" => ResizeMode::Nearest,
        "bilinear" => ResizeMode::Linear,
        "bicubic" => ResizeMode::Cubic,
        "lanczos3" => ResizeMode::Lanczos3,
        "lanczos5" => ResizeMode::Lanczos5,
        "area" => ResizeMode::Area,
        other => return Err(l.unsupported(format!("interpolation '{other}'"))),
    };
    let exact = mode == ResizeMode::Nearest || l.ty(x).dtype == DType::F64;
    let x = if exact { x } else { l.cast(x, DType::F32)? };
    let kernel = match mode {
        ResizeMode::Lanczos3 => Some(Kernel::Lanczos(3.0)),
        ResizeMode::Lanczos5 => Some(Kernel::Lanczos(5.0)),
        ResizeMode::Area => Some(Kernel::Area),
        ResizeMode::Linear if antialias => Some(Kernel::Linear),
        ResizeMode::Cubic if antialias => Some(Kernel::Cubic),
        ResizeMode::Nearest | ResizeMode::Linear | ResizeMode::Cubic => None,
    };
    // Some runtimes shrink by a cubic kernel in the last two axes alone.
    let shrinks = axes.iter().zip(&sizes).any(|(&axis, to)| match (l.shape(x)[axis].known(), to.known()) {
        (Some(from), Some(to)) => to < from,
        (from, to) => from.is_none() && to.is_some(),
    });
    let kernel = if mode == ResizeMode::Cubic && shrinks { Some(Kernel::Cubic) } else { kernel };
    let lengths: Option<Vec<u64>> = axes.iter().map(|&axis| l.shape(x)[axis].known()).collect();
    let targets: Option<Vec<u64>> = sizes.iter().map(Dim::known).collect();
    if let (Some(kernel), Some(lengths), Some(targets), ResizeCoordinates::HalfPixel) =
        (kernel, lengths, targets, coordinates(l))
        && lengths.iter().zip(&targets).all(|(a, b)| a * b <= MATRIX_MAX)
    {
        return multiplied(l, x, &axes, &targets, kernel, antialias);
    }
    let turned = mode == ResizeMode::Cubic && shrinks && axes == [1, 2] && l.rank(x) == 4;
    let op = Resize {
        axes: if turned { vec![2, 3] } else { axes },
        sizes,
        mode,
        coordinates: coordinates(l),
        rounding: NearestRounding::HalfUp,
        cubic_a: -0.5,
        // There is nothing to smooth where one pixel is taken.
        antialias: antialias && mode != ResizeMode::Nearest,
    };
    if !turned {
        return l.add(op, &[x]);
    }
    let first = l.transpose(x, &[0, 3, 1, 2])?;
    let y = l.add(op, &[first])?;
    l.transpose(y, &[0, 2, 3, 1])
}

/// Kernels that no target has a word for, on known sizes.
fn smoothed(
    l: &mut Lowering<'_>,
    x: ValueId,
    axes: &[usize],
    sizes: &[Dim],
    kernel: Kernel,
    antialias: bool,
) -> Result<ValueId, Diag> {
    let targets: Option<Vec<u64>> = sizes.iter().map(Dim::known).collect();
    let targets = targets.ok_or_else(|| l.unsupported("this interpolation to a size that is not known"))?;
    for (&axis, &size) in axes.iter().zip(&targets) {
        if l.known(x, axis)?.saturating_mul(size) > MATRIX_MAX {
            return Err(l.unsupported(format!("this interpolation of {}", l.ty(x))));
        }
    }
    let x = if l.ty(x).dtype == DType::F64 { x } else { l.cast(x, DType::F32)? };
    multiplied(l, x, axes, &targets, kernel, antialias)
}

/// Elements of a constant resampling matrix.
const MATRIX_MAX: u64 = (INLINE_BYTES_MAX / 8) as u64;

/// Height and width multiplied by matrices of weights; an axis that keeps its size without stretch stays.
fn multiplied(
    l: &mut Lowering<'_>,
    x: ValueId,
    axes: &[usize],
    targets: &[u64],
    kernel: Kernel,
    antialias: bool,
) -> Result<ValueId, Diag> {
    let mut y = x;
    for (&axis, &size) in axes.iter().zip(targets) {
        let length = l.known(y, axis)?;
        if length == size && kernel.keeps() {
            continue;
        }
        let weights = matrix(kernel, length, size, antialias);
        y = multiply_axis(l, y, axis, size, &weights)?;
    }
    Ok(y)
}

/// An axis multiplied by `weights` (size, length).
pub fn multiply_axis(
    l: &mut Lowering<'_>,
    x: ValueId,
    axis: usize,
    size: u64,
    weights: &[f64],
) -> Result<ValueId, Diag> {
    let mut shape = l.shape(x);
    let length = l.known(x, axis)?;
    let weights = l.constant(Tensor::from_numbers(l.ty(x).dtype, &[size, length], weights))?;
    // (size, length) times (..., length, everything behind it).
    let (lead, tail) = shape.split_at(axis);
    let flat: Vec<Dim> = lead.iter().cloned().chain([tail[0].clone(), element_count(&tail[1..])]).collect();
    let flat = l.reshape(x, flat)?;
    let product = l.add(MatMul {}, &[weights, flat])?;
    shape[axis] = Dim::Known(size);
    l.reshape(product, shape)
}

pub fn narrowed(l: &mut Lowering<'_>, y: ValueId) -> Result<ValueId, Diag> {
    let to = compute_dtype(l)?;
    if to.is_float() { l.cast(y, to) } else { Ok(y) }
}

/// An image or a batch of images: its value, and the axes of height and width.
pub fn image(l: &Lowering<'_>) -> Result<(ValueId, [usize; 2]), Diag> {
    let x = l.input()?.value;
    let rank = l.rank(x);
    if rank != 3 && rank != 4 {
        return Err(l.unsupported(format!("an input of rank {rank} where an image or a batch of them is needed")));
    }
    let end = if layout(l)? == Layout::ChannelsLast { rank - 1 } else { rank };
    Ok((x, [end - 2, end - 1]))
}

pub fn target(l: &Lowering<'_>) -> Result<[u64; 2], Diag> {
    let target = [l.config.u64("height")?, l.config.u64("width")?];
    let fine = target.iter().all(|size| (1..=WINDOW_MAX).contains(size));
    if fine { Ok(target) } else { Err(l.config.bad("height", "a size of at least one, as 'width'")) }
}

fn resizing(l: &mut Lowering<'_>) -> Outcome {
    let (mut x, axes) = image(l)?;
    let given = l.ty(x).dtype;
    let target = target(l)?;
    let interpolation = l.config.str_or("interpolation", "bilinear")?.to_string();
    let antialias = l.config.bool_or("antialias", false)?;
    if l.keras_major() < 3 && interpolation == "nearest" {
        x = narrowed(l, x)?;
    }
    if l.config.bool_or("crop_to_aspect_ratio", false)? {
        x = cropped_to_aspect(l, x, axes, target)?;
    } else if l.config.bool_or("pad_to_aspect_ratio", false)? {
        x = padded_to_aspect(l, x, axes, target)?;
    }
    let sizes = target.map(Dim::Known).to_vec();
    let y = resized(l, x, axes.to_vec(), sizes, &interpolation, antialias)?;
    Ok(one(match l.keras_version() {
        (0..=2, _) => narrowed(l, y)?,
        // Cut off, not rounded.
        (3, 0..=5) => l.cast(y, given)?,
        _ => saturated(l, y, given)?,
    }))
}

/// A resized image in the dtype that it had: integers rounded, and cut off at their bounds.
pub fn saturated(l: &mut Lowering<'_>, y: ValueId, to: DType) -> Result<ValueId, Diag> {
    let bounds = match to {
        DType::I8 => Some((-128.0, 127.0)),
        DType::U8 => Some((0.0, 255.0)),
        DType::I16 => Some((-32768.0, 32767.0)),
        DType::U16 => Some((0.0, 65535.0)),
        _ => None,
    };
    if l.ty(y).dtype == to || to == DType::Bool {
        return Ok(y);
    }
    let mut y = y;
    if to.is_int() {
        y = l.unary(UnaryFunction::Round, y)?;
    }
    if let Some((min, max)) = bounds {
        y = l.add(Clip { min: Some(min), max: Some(max) }, &[y])?;
    }
    l.cast(y, to)
}

/// Height and width of the largest window with the target's proportions.
pub fn window(l: &Lowering<'_>, x: ValueId, axes: [usize; 2], target: [u64; 2]) -> Result<[u64; 2], Diag> {
    let (height, width) = (l.known(x, axes[0])?, l.known(x, axes[1])?);
    let window_height = scaled(width, target[0], target[1]).min(height).max(1);
    Ok([window_height, scaled(height, target[1], target[0]).min(width).max(1)])
}

/// That window, from the middle of the image.
pub fn cropped_to_aspect(
    l: &mut Lowering<'_>,
    x: ValueId,
    axes: [usize; 2],
    target: [u64; 2],
) -> Result<ValueId, Diag> {
    let mut y = x;
    for (axis, kept) in axes.into_iter().zip(window(l, x, axes, target)?) {
        let start = (l.known(x, axis)?.saturating_sub(kept)) / 2;
        y = l.slice(y, axis, Dim::Known(start), Dim::Known(start + kept))?;
    }
    Ok(y)
}

/// floor(size over / by), as Keras computes it in f32.
fn scaled(size: u64, over: u64, by: u64) -> u64 {
    ((size * over) as f32 / by as f32) as u64
}

/// Equal borders of `fill_value` around the image, up to the target's proportions.
pub fn padded_to_aspect(l: &mut Lowering<'_>, x: ValueId, axes: [usize; 2], target: [u64; 2]) -> Result<ValueId, Diag> {
    let (height, width) = (l.known(x, axes[0])?, l.known(x, axes[1])?);
    let mut padding = vec![(0, 0); l.rank(x)];
    for (axis, size, wanted) in
        [(axes[0], height, scaled(width, target[0], target[1])), (axes[1], width, scaled(height, target[1], target[0]))]
    {
        let border = wanted.saturating_sub(size) / 2;
        padding[axis] = (border, border);
    }
    let fill = l.constant(Tensor::scalar(l.ty(x).dtype, l.config.f64_or("fill_value", 0.0)?))?;
    l.add(Pad { padding, mode: PadMode::Constant }, &[x, fill])
}

fn center_crop(l: &mut Lowering<'_>) -> Outcome {
    let (x, axes) = image(l)?;
    let target = target(l)?;
    let mut x = narrowed(l, x)?;
    let shape = l.shape(x);
    let smaller = |i: usize| shape[axes[i]].known().is_some_and(|size| size < target[i]);
    if smaller(0) || smaller(1) {
        return smart_resized(l, x, axes, target);
    }
    for (axis, kept) in axes.into_iter().zip(target) {
        let slack = shape[axis].offset(-(kept as i64));
        // Keras 2 decides at run time between cropping and resizing.
        let slack = slack.filter(|slack| slack.known().is_some() || l.keras_major() >= 3);
        let slack = slack.ok_or_else(|| l.unsupported(format!("axis {axis} of {} is not known", l.ty(x))))?;
        let start = slack.floor_div(2);
        let stop = start.plus(&Dim::Known(kept));
        x = l.slice(x, axis, start, stop)?;
    }
    Ok(one(x))
}

pub fn smart_resized(l: &mut Lowering<'_>, x: ValueId, axes: [usize; 2], target: [u64; 2]) -> Outcome {
    let x = cropped_to_aspect(l, x, axes, target)?;
    let y = resized(l, x, axes.to_vec(), target.map(Dim::Known).to_vec(), "bilinear", false)?;
    Ok(one(narrowed(l, y)?))
}
