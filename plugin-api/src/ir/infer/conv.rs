use super::*;
use crate::ir::op::{ConvTranspose, KernelOrder, Layout};

/// Index of the channel axis and of the first spatial axis.
fn axes(x: &Type, layout: Layout) -> (usize, usize) {
    match layout {
        Layout::ChannelsLast => (x.rank() - 1, 1),
        Layout::ChannelsFirst => (1, 2),
    }
}

pub fn spatial(x: &Type, layout: Layout) -> Vec<Dim> {
    if x.rank() < 3 {
        return Vec::new();
    }
    let first = axes(x, layout).1;
    x.shape[first..first + x.rank() - 2].to_vec()
}

/// Spatial sizes, input channels per group (or output channels), of a kernel by its order: (window, in, out).
fn kernel_parts(kernel: &Type, order: KernelOrder) -> Option<(Vec<u64>, u64, u64)> {
    let sizes = kernel.sizes()?;
    let n = sizes.len().checked_sub(2)?;
    Some(match order {
        KernelOrder::Hwio => (sizes[..n].to_vec(), sizes[n], sizes[n + 1]),
        KernelOrder::Hwoi => (sizes[..n].to_vec(), sizes[n + 1], sizes[n]),
        KernelOrder::Oihw => (sizes[2..].to_vec(), sizes[1], sizes[0]),
        KernelOrder::Iohw => (sizes[2..].to_vec(), sizes[0], sizes[1]),
    })
}

pub fn kernel_window(conv: &Conv, kernel: &Type) -> Option<Vec<u64>> {
    kernel_parts(kernel, conv.kernel).map(|(window, _, _)| window)
}

pub fn explicit(
    padding: &[Padding],
    sizes: &[Dim],
    window: &[u64],
    strides: &[u64],
    dilations: &[u64],
) -> Vec<Padding> {
    let known = |i: usize| Some((sizes.get(i)?, *window.get(i)?, *strides.get(i)?, *dilations.get(i)?));
    let resolve = |(i, padding): (usize, &Padding)| match (padding, known(i)) {
        (Padding::Same, Some((Dim::Known(n), w, s, d))) => same_padding(*n, w, s, d),
        // With stride one the length does not matter.
        (Padding::Same, Some((_, w, 1, d))) => same_padding(super::reach(w, d), w, 1, d),
        (other, _) => *other,
    };
    padding.iter().enumerate().map(resolve).collect()
}

/// Above every number that a window can have; products of two stay within 64 bits.
const EXTENT_MAX: u64 = 1 << 31;

fn bounded(numbers: &[u64]) -> Result<(), Misfit> {
    match numbers.iter().find(|number| !(1..=EXTENT_MAX).contains(number)) {
        Some(0) => Err("windows, strides and dilations are at least one".into()),
        Some(number) => Err(format!("a window, stride, dilation or padding of {number}")),
        None => Ok(()),
    }
}

/// Length after a window slides over one axis.
fn slid(length: &Dim, window: u64, stride: u64, dilation: u64, padding: Padding) -> Result<Dim, Misfit> {
    bounded(&[window, stride, dilation])?;
    let (before, after) = match padding {
        Padding::Same => return Ok(length.ceil_div(stride)),
        Padding::Explicit(before, after) => (before, after),
    };
    bounded(&[before.saturating_add(1), after.saturating_add(1)])?;
    let reach = super::reach(window, dilation) as i64;
    let slack = length.offset(before as i64 + after as i64 - reach);
    let slack = slack.ok_or_else(|| format!("a window of {reach} does not fit a length of {length}"))?;
    Ok(slack.floor_div(stride).plus(&Dim::Known(1)))
}

fn check_spatial(n: usize, lists: &[usize]) -> Result<(), Misfit> {
    if n == 0 || lists.iter().any(|&len| len != n) {
        return Err(format!("{n} spatial axes against attribute lists of {lists:?}"));
    }
    Ok(())
}

fn with_spatial(x: &Type, layout: Layout, lengths: Vec<Dim>, channels: Dim) -> Type {
    let (channel, first) = axes(x, layout);
    let mut shape = x.shape.clone();
    shape[channel] = channels;
    shape.splice(first..first + lengths.len(), lengths);
    Type::new(x.dtype, shape)
}

pub fn conv(op: &Conv, ins: &mut Ins) -> Inferred {
    ins.count(2, 3)?;
    let (x, kernel) = (ins.get(0)?, ins.get(1)?);
    want_dtype(x, "a float", DType::is_float)?;
    want_rank(kernel, x.rank())?;
    let (window, in_per_group, out) = kernel_parts(kernel, op.kernel).ok_or("the kernel's sizes are not known")?;
    if matches!(op.kernel, KernelOrder::Hwoi | KernelOrder::Iohw) {
        return Err(format!("kernel order {} is of transposed convolutions", op.kernel));
    }
    check_spatial(window.len(), &[op.strides.len(), op.dilations.len(), op.padding.len()])?;
    let (channel, _) = axes(x, op.layout);
    ins.same(&x.shape[channel], &Dim::Known(in_per_group.saturating_mul(op.groups)))?;
    if op.groups == 0 || out % op.groups != 0 {
        return Err(format!("{out} filters in {} groups", op.groups));
    }
    check_bias(ins, 2, out)?;
    let sizes = spatial(x, op.layout);
    let lengths = (0..window.len()).map(|i| slid(&sizes[i], window[i], op.strides[i], op.dilations[i], op.padding[i]));
    let lengths: Vec<Dim> = lengths.collect::<Result<_, _>>()?;
    Ok(vec![with_spatial(x, op.layout, lengths, Dim::Known(out))])
}

fn check_bias(ins: &Ins, index: usize, out: u64) -> Result<(), Misfit> {
    match ins.opt(index) {
        Some(bias) if bias.sizes() != Some(vec![out]) => Err(format!("bias {bias} for {out} channels")),
        _ => Ok(()),
    }
}

pub fn conv_transpose(op: &ConvTranspose, ins: &mut Ins) -> Inferred {
    ins.count(2, 3)?;
    let (x, kernel) = (ins.get(0)?, ins.get(1)?);
    want_dtype(x, "a float", DType::is_float)?;
    want_rank(kernel, x.rank())?;
    if matches!(op.kernel, KernelOrder::Hwio | KernelOrder::Oihw) {
        return Err(format!("kernel order {} is of plain convolutions", op.kernel));
    }
    let (window, channels_in, out) = kernel_parts(kernel, op.kernel).ok_or("the kernel's sizes are not known")?;
    let lists = [op.strides.len(), op.dilations.len(), op.cropping.len(), op.output_padding.len()];
    check_spatial(window.len(), &lists)?;
    let (channel, _) = axes(x, op.layout);
    ins.same(&x.shape[channel], &Dim::Known(channels_in))?;
    if op.groups == 0 || channels_in % op.groups != 0 {
        return Err(format!("{channels_in} channels in {} groups", op.groups));
    }
    check_bias(ins, 2, out.saturating_mul(op.groups))?;
    let sizes = spatial(x, op.layout);
    let length = |i: usize| {
        let (before, after) = op.cropping[i];
        bounded(&[window[i], op.strides[i], op.dilations[i]])?;
        bounded(&[before.saturating_add(1), after.saturating_add(1), op.output_padding[i].saturating_add(1)])?;
        let reach = super::reach(window[i], op.dilations[i]) + op.output_padding[i];
        let grown = sizes[i].times(&Dim::Known(op.strides[i]));
        let length = grown.offset(reach as i64 - op.strides[i] as i64 - before as i64 - after as i64);
        length.ok_or_else(|| format!("nothing is left of axis {i} after cropping"))
    };
    let lengths: Vec<Dim> = (0..window.len()).map(length).collect::<Result<_, _>>()?;
    Ok(vec![with_spatial(x, op.layout, lengths, Dim::Known(out.saturating_mul(op.groups)))])
}

pub fn pool(op: &Pool, ins: &mut Ins) -> Inferred {
    ins.count(1, 1)?;
    let x = ins.get(0)?;
    want_dtype(x, "a float", DType::is_float)?;
    let n = x.rank().saturating_sub(2);
    check_spatial(n, &[op.window.len(), op.strides.len(), op.padding.len()])?;
    let sizes = spatial(x, op.layout);
    let lengths = (0..n).map(|i| slid(&sizes[i], op.window[i], op.strides[i], 1, op.padding[i]));
    let lengths: Vec<Dim> = lengths.collect::<Result<_, _>>()?;
    let channels = x.shape[axes(x, op.layout).0].clone();
    Ok(vec![with_spatial(x, op.layout, lengths, channels)])
}
