//! Locally connected layers of Keras 2: convolutions with a kernel of their own at each position.

use crate::core::{activated, count, dims};
use crate::geometry::{Edge, Window, channel_axis};
use crate::policy::{compute_dtype, float_input, one};
use crate::table::{Masks, Row};
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::types::INLINE_BYTES_MAX;
use recast_plugin_api::ir::{
    BinaryFunction, Conv, DType, Dim, Einsum, Gather, KernelOrder, Layout, MatMul, Padding, Tensor, ValueId,
};
use recast_plugin_api::lower::{Lowering, Val};

const LOCAL: &str = "locally connected";
const STORED: &str = "every implementation";

pub const ROWS: &[Row] = &[
    Row::new("LocallyConnected1D", LOCAL, Masks::Drop, local1d, STORED),
    Row::new("LocallyConnected2D", LOCAL, Masks::Drop, local2d, STORED),
];

type Outcome = Result<Vec<Val>, Findings>;

fn local1d(l: &mut Lowering<'_>) -> Outcome {
    local(l, 1)
}
fn local2d(l: &mut Lowering<'_>) -> Outcome {
    local(l, 2)
}

/// Sizes of one call.
struct Local {
    window: Window,
    /// Spatial sizes of input and output.
    inner: Vec<u64>,
    outer: Vec<u64>,
    channels: u64,
    filters: u64,
}

fn local(l: &mut Lowering<'_>, n: usize) -> Outcome {
    let x = float_input(l)?;
    let window = Window::of_conv(l, n)?;
    if l.rank(x) != n + 2 || window.edge == Edge::Causal {
        return Err(l.unsupported(format!("an input of rank {} with this padding", l.rank(x))).into());
    }
    let channels = l.known(x, channel_axis(window.layout, n + 2))?;
    let first = if window.layout == Layout::ChannelsLast { 1 } else { 2 };
    let inner: Vec<u64> = (0..n).map(|i| l.known(x, first + i)).collect::<Result<_, _>>()?;
    let outer: Option<Vec<u64>> = (0..n).map(|i| output_length(&window, i, inner[i])).collect();
    let outer = outer.ok_or_else(|| l.unsupported(format!("a window that does not fit {}", l.ty(x))))?;
    let it = Local { window, inner, outer, channels, filters: l.config.u64("filters")? };
    let y = match l.config.u64_or("implementation", 1)? {
        1 => by_patches(l, x, &it)?,
        2 => by_matrix(l, x, &it)?,
        3 => by_list(l, x, &it)?,
        other => return Err(l.unsupported(format!("implementation {other}")).into()),
    };
    let y = biased(l, y, &it)?;
    Ok(one(activated(l, y)?))
}

fn output_length(window: &Window, i: usize, length: u64) -> Option<u64> {
    match window.edge {
        Edge::Same => Some(length.div_ceil(window.strides[i])),
        _ => Some((length.checked_sub(window.sizes[i])?) / window.strides[i] + 1),
    }
}

/// The shape of a value with these spatial sizes and channels.
fn shaped(l: &Lowering<'_>, x: ValueId, it: &Local, spatial: &[u64], channels: u64) -> Vec<Dim> {
    let mut shape = vec![l.shape(x)[0].clone()];
    match it.window.layout {
        Layout::ChannelsLast => shape.extend(dims(&[spatial, &[channels]].concat())),
        Layout::ChannelsFirst => shape.extend(dims(&[&[channels], spatial].concat())),
    }
    shape
}

/// Implementation 1: each position's patch (a convolution with the identity cuts them out) times its own matrix.
fn by_patches(l: &mut Lowering<'_>, x: ValueId, it: &Local) -> Result<ValueId, Diag> {
    let n = it.inner.len();
    let spots = count(&it.window.sizes);
    let (features, positions) = (count(&[spots, it.channels]), count(&it.outer));
    if count(&[features, features, 4]) > INLINE_BYTES_MAX as u64 || it.window.edge != Edge::Valid {
        return Err(l.unsupported(format!("patches of {features} elements, or padding, in implementation 1")));
    }
    let mut identity = vec![0.0; (features * features) as usize];
    for spot in 0..spots {
        for channel in 0..it.channels {
            // Patches are flattened in the order of the input's axes.
            let feature = match it.window.layout {
                Layout::ChannelsLast => spot * it.channels + channel,
                Layout::ChannelsFirst => channel * spots + spot,
            };
            identity[((spot * it.channels + channel) * features + feature) as usize] = 1.0;
        }
    }
    let sizes = [&it.window.sizes[..], &[it.channels, features]].concat();
    let identity = l.constant(Tensor::from_numbers(l.ty(x).dtype, &sizes, &identity))?;
    let op = Conv {
        strides: it.window.strides.clone(),
        dilations: vec![1; n],
        padding: vec![Padding::Explicit(0, 0); n],
        groups: 1,
        layout: it.window.layout,
        kernel: KernelOrder::Hwio,
    };
    let patches = l.add_node(op, &[Some(x), Some(identity), None])?[0];
    let patches = {
        let shape = shaped(l, x, it, &[positions], features);
        l.reshape(patches, shape)?
    };
    let kernel = l.param_shaped("kernel", &[Some(positions), Some(features), Some(it.filters)])?;
    let kernel = l.cast(kernel, compute_dtype(l)?)?;
    let equation = match it.window.layout {
        Layout::ChannelsLast => "bpf,pfo->bpo",
        Layout::ChannelsFirst => "bfp,pfo->bop",
    };
    let y = l.add(Einsum { equation: equation.into() }, &[patches, kernel])?;
    let shape = shaped(l, x, it, &it.outer, it.filters);
    l.reshape(y, shape)
}

/// Implementation 2: one matrix between all elements of input and output, with a mask of what a window reaches.
fn by_matrix(l: &mut Lowering<'_>, x: ValueId, it: &Local) -> Result<ValueId, Diag> {
    let (inside, outside) = (count(&it.inner), count(&it.outer));
    if count(&[inside, outside, 4]) > INLINE_BYTES_MAX as u64 {
        return Err(l.unsupported(format!("{inside} by {outside} positions in implementation 2")));
    }
    let joined = |spatial: &[u64], channels: u64| match it.window.layout {
        Layout::ChannelsLast => [spatial, &[channels]].concat(),
        Layout::ChannelsFirst => [&[channels], spatial].concat(),
    };
    let stored = [joined(&it.inner, it.channels), joined(&it.outer, it.filters)].concat();
    let sizes: Vec<Option<u64>> = stored.iter().map(|&size| Some(size)).collect();
    let kernel = l.param_shaped("kernel", &sizes)?;
    let dtype = compute_dtype(l)?;
    let kernel = l.cast(kernel, dtype)?;
    let mask_shape = [joined(&it.inner, 1), joined(&it.outer, 1)].concat();
    let mask = l.constant(Tensor::from_numbers(dtype, &mask_shape, &reached(it)))?;
    let kernel = l.binary(BinaryFunction::Mul, kernel, mask)?;
    let from = count(&[inside, it.channels]);
    let matrix = l.reshape(kernel, dims(&[from, count(&[outside, it.filters])]))?;
    times(l, x, matrix, from, it)
}

/// All `from` elements of an input together, times a matrix.
fn times(l: &mut Lowering<'_>, x: ValueId, matrix: ValueId, from: u64, it: &Local) -> Result<ValueId, Diag> {
    let flat = vec![l.shape(x)[0].clone(), Dim::Known(from)];
    let flat = l.reshape(x, flat)?;
    let y = l.add(MatMul {}, &[flat, matrix])?;
    let shape = shaped(l, x, it, &it.outer, it.filters);
    l.reshape(y, shape)
}

/// Implementation 3: the same matrix, of which the file holds what a window reaches: row by row of the output's
/// elements, in the order of the input's.
fn by_list(l: &mut Lowering<'_>, x: ValueId, it: &Local) -> Result<ValueId, Diag> {
    let (inside, outside) = (count(&it.inner), count(&it.outer));
    let (from, to) = (count(&[inside, it.channels]), count(&[outside, it.filters]));
    if count(&[from, to, 8]) > INLINE_BYTES_MAX as u64 {
        return Err(l.unsupported(format!("{from} by {to} elements in implementation 3")));
    }
    let place = |element: u64, channels: u64, positions: u64| match it.window.layout {
        Layout::ChannelsLast => element / channels,
        Layout::ChannelsFirst => element % positions,
    };
    let reached = reached(it);
    let (mut stored, mut there, mut at) = (Vec::new(), Vec::new(), 0_u64);
    for output in 0..to {
        for input in 0..from {
            let pair = place(input, it.channels, inside) * outside + place(output, it.filters, outside);
            let has = reached[pair as usize] == 1.0;
            stored.push(if has { at as f64 } else { 0.0 });
            there.push(f64::from(has));
            at += u64::from(has);
        }
    }
    let kernel = l.param_shaped("kernel", &[Some(at)])?;
    let dtype = compute_dtype(l)?;
    let kernel = l.cast(kernel, dtype)?;
    let stored = l.constant(Tensor::from_numbers(DType::I64, &[to, from], &stored))?;
    let there = l.constant(Tensor::from_numbers(dtype, &[to, from], &there))?;
    let matrix = l.add(Gather { axis: 0 }, &[kernel, stored])?;
    let matrix = l.binary(BinaryFunction::Mul, matrix, there)?;
    let matrix = l.transpose(matrix, &[1, 0])?;
    times(l, x, matrix, from, it)
}

/// 1 where an output position's window reaches an input position, input positions first.
fn reached(it: &Local) -> Vec<f64> {
    let unravel = |mut at: u64, sizes: &[u64]| {
        let mut index = vec![0; sizes.len()];
        for (slot, size) in index.iter_mut().zip(sizes).rev() {
            *slot = at % size;
            at /= size;
        }
        index
    };
    let reaches = |input: &[u64], output: &[u64]| {
        (0..input.len()).all(|i| {
            let (stride, size) = (it.window.strides[i], it.window.sizes[i]);
            // Keras centres the window on the strided position, unlike a convolution with `same`.
            let before = if it.window.edge == Edge::Same { size / 2 } else { 0 };
            (output[i] * stride..output[i] * stride + size).contains(&(input[i] + before))
        })
    };
    let (inside, outside) = (count(&it.inner), count(&it.outer));
    let pairs = (0..inside).flat_map(|input| (0..outside).map(move |output| (input, output)));
    let mark = |(input, output)| f64::from(reaches(&unravel(input, &it.inner), &unravel(output, &it.outer)));
    pairs.map(mark).collect()
}

/// A bias for each position and filter. With channels first, Keras reads its bytes as (filters, positions).
fn biased(l: &mut Lowering<'_>, y: ValueId, it: &Local) -> Result<ValueId, Diag> {
    if !l.config.bool_or("use_bias", true)? {
        return Ok(y);
    }
    let stored = [&it.outer[..], &[it.filters]].concat();
    let seen = match it.window.layout {
        Layout::ChannelsLast => stored.clone(),
        Layout::ChannelsFirst => [&[it.filters], &it.outer[..]].concat(),
    };
    let bias = l.param_reshaped("bias", &stored, &seen)?;
    let to: DType = compute_dtype(l)?;
    let bias = l.cast(bias, to)?;
    l.binary(BinaryFunction::Add, y, bias)
}
