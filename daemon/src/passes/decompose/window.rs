//! 3-D windows over 2-D ones. All in channels-last: (batch, depth, height, width, channels).

use super::At;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::permute::to_layout;
use recast_plugin_api::ir::{
    Binary, BinaryFunction, Conv, ConvTranspose, Dim, KernelOrder, Layout, Pad, PadMode, Padding, Pool, Slice, ValueId,
};

type Found = Result<Option<Vec<ValueId>>, Diag>;

/// Rank of a value with three spatial axes.
const RANK: usize = 5;

/// Runs `work` on x in channels-last, and gives its result back in the layout that x had.
fn channels_last(
    layout: Layout,
    at: &mut At<'_>,
    work: impl FnOnce(&mut At<'_>, ValueId) -> Result<ValueId, Diag>,
) -> Found {
    let x = at.input(0)?;
    let y = match layout {
        Layout::ChannelsLast => work(at, x)?,
        Layout::ChannelsFirst => {
            let turned = at.transpose(x, &to_layout(Layout::ChannelsLast, RANK))?;
            let y = work(at, turned)?;
            at.transpose(y, &to_layout(Layout::ChannelsFirst, RANK))?
        }
    };
    Ok(Some(vec![y]))
}

/// The kernel with its spatial axes first, then the two of channels as Keras orders them.
fn spatial_first(order: KernelOrder, at: &mut At<'_>) -> Result<ValueId, Diag> {
    let kernel = at.input(1)?;
    match order {
        KernelOrder::Hwio | KernelOrder::Hwoi => Ok(kernel),
        KernelOrder::Oihw | KernelOrder::Iohw => at.transpose(kernel, &[2, 3, 4, 1, 0]),
    }
}

/// (batch depth, height, width, channels)
fn merged(at: &mut At<'_>, x: ValueId) -> Result<ValueId, Diag> {
    let shape = at.shape(x);
    let merged = std::iter::once(shape[0].times(&shape[1])).chain(shape[2..].iter().cloned()).collect();
    at.reshape(x, merged)
}

/// Back from `merged`, with another depth.
fn split(at: &mut At<'_>, x: ValueId, batch: &Dim, depth: u64) -> Result<ValueId, Diag> {
    let shape = at.shape(x);
    let split = [batch.clone(), Dim::Known(depth)].into_iter().chain(shape[1..].iter().cloned()).collect();
    at.reshape(x, split)
}

fn padded_depth(at: &mut At<'_>, x: ValueId, before: u64, after: u64) -> Result<ValueId, Diag> {
    if (before, after) == (0, 0) {
        return Ok(x);
    }
    let mut padding = vec![(0, 0); RANK];
    padding[1] = (before, after);
    at.add(Pad { padding, mode: PadMode::Constant }, &[x])
}

fn sum(at: &mut At<'_>, so_far: Option<ValueId>, next: ValueId) -> Result<ValueId, Diag> {
    match so_far {
        Some(before) => at.add(Binary { function: BinaryFunction::Add }, &[before, next]),
        None => Ok(next),
    }
}

fn biased(at: &mut At<'_>, y: ValueId) -> Result<ValueId, Diag> {
    match at.opt(2) {
        Some(bias) => at.add(Binary { function: BinaryFunction::Add }, &[y, bias]),
        None => Ok(y),
    }
}

/// The sum over the kernel's depth of 2-D convolutions of slices.
pub fn conv(op: &Conv, at: &mut At<'_>) -> Found {
    let Some(Padding::Explicit(before, after)) = op.padding.first().copied().filter(|_| op.strides.len() == 3) else {
        return Ok(None);
    };
    channels_last(op.layout, at, |at, x| {
        let kernel = spatial_first(op.kernel, at)?;
        let batch = at.shape(x)[0].clone();
        let x = padded_depth(at, x, before, after)?;
        let (depth, window) = (at.size(x, 1)?, at.size(kernel, 0)?);
        let out = (depth - (window - 1) * op.dilations[0] - 1) / op.strides[0] + 1;
        let flat = Conv {
            strides: op.strides[1..].to_vec(),
            dilations: op.dilations[1..].to_vec(),
            padding: op.padding[1..].to_vec(),
            groups: op.groups,
            layout: Layout::ChannelsLast,
            kernel: KernelOrder::Hwio,
        };
        let mut total = None;
        for k in 0..window {
            let start = k * op.dilations[0];
            let (stop, step) = (start + (out - 1) * op.strides[0] + 1, op.strides[0]);
            let slice = Slice { axis: 1, start: Dim::Known(start), stop: Dim::Known(stop), step };
            let part = at.add(slice, &[x])?;
            let part = merged(at, part)?;
            let kernel = at.pick(kernel, 0, k)?;
            let part = at.add(flat.clone(), &[part, kernel])?;
            total = Some(sum(at, total, part)?);
        }
        let y = total.ok_or_else(|| Diag::new(recast_plugin_api::diag::Code::Bug, at.path, "an empty kernel"))?;
        let y = split(at, y, &batch, out)?;
        biased(at, y)
    })
}

/// The sum over the kernel's depth of 2-D transposed convolutions, each spread out and moved along the depth.
pub fn conv_transpose(op: &ConvTranspose, at: &mut At<'_>) -> Found {
    if op.strides.len() != 3 {
        return Ok(None);
    }
    channels_last(op.layout, at, |at, x| {
        let kernel = spatial_first(op.kernel, at)?;
        let batch = at.shape(x)[0].clone();
        let (depth, window) = (at.size(x, 1)?, at.size(kernel, 0)?);
        let flat = ConvTranspose {
            strides: op.strides[1..].to_vec(),
            dilations: op.dilations[1..].to_vec(),
            cropping: op.cropping[1..].to_vec(),
            output_padding: op.output_padding[1..].to_vec(),
            groups: op.groups,
            layout: Layout::ChannelsLast,
            kernel: KernelOrder::Hwoi,
        };
        let x = merged(at, x)?;
        let mut total = None;
        for k in 0..window {
            let kernel = at.pick(kernel, 0, k)?;
            let part = at.add(flat.clone(), &[x, kernel])?;
            let part = split(at, part, &batch, depth)?;
            let part = spread_depth(at, part, op.strides[0])?;
            let (before, after) = (k * op.dilations[0], (window - 1 - k) * op.dilations[0]);
            let part = padded_depth(at, part, before, after)?;
            total = Some(sum(at, total, part)?);
        }
        let y = total.ok_or_else(|| Diag::new(recast_plugin_api::diag::Code::Bug, at.path, "an empty kernel"))?;
        let y = padded_depth(at, y, 0, op.output_padding[0])?;
        let whole = at.size(y, 1)?;
        let y = at.slice(y, 1, op.cropping[0].0, whole - op.cropping[0].1)?;
        biased(at, y)
    })
}

/// `stride - 1` zeros between neighbours of the depth.
fn spread_depth(at: &mut At<'_>, x: ValueId, stride: u64) -> Result<ValueId, Diag> {
    let depth = at.size(x, 1)?;
    if stride == 1 || depth == 1 {
        return Ok(x);
    }
    let shape = at.shape(x);
    let mut apart = shape.clone();
    apart.insert(2, Dim::Known(1));
    let x = at.reshape(x, apart)?;
    let mut padding = vec![(0, 0); RANK + 1];
    padding[2] = (0, stride - 1);
    let x = at.add(Pad { padding, mode: PadMode::Constant }, &[x])?;
    let mut joined = shape;
    joined[1] = Dim::Known(depth * stride);
    let x = at.reshape(x, joined)?;
    at.slice(x, 1, 0, (depth - 1) * stride + 1)
}

/// First over height and width, then over depth: maxima are separable, and so are means of windows without their
/// padding, because how many elements a slice counts is the same for every slice.
pub fn pool(op: &Pool, at: &mut At<'_>) -> Found {
    if op.window.len() != 3 {
        return Ok(None);
    }
    channels_last(op.layout, at, |at, x| {
        let (batch, depth) = (at.shape(x)[0].clone(), at.size(x, 1)?);
        let part = |axes: std::ops::Range<usize>| Pool {
            function: op.function,
            window: op.window[axes.clone()].to_vec(),
            strides: op.strides[axes.clone()].to_vec(),
            padding: op.padding[axes].to_vec(),
            layout: Layout::ChannelsLast,
        };
        let x = merged(at, x)?;
        let y = at.add(part(1..3), &[x])?;
        let y = split(at, y, &batch, depth)?;
        let shape = at.shape(y);
        let lane = shape[2..].iter().fold(Dim::Known(1), |product, dim| product.times(dim));
        let y = at.reshape(y, vec![batch.clone(), Dim::Known(depth), lane])?;
        let y = at.add(part(0..1), &[y])?;
        let out = at.shape(y)[1].clone();
        at.reshape(y, [batch, out].into_iter().chain(shape[2..].iter().cloned()).collect())
    })
}
