use super::{Emit, Emitting, unsupported};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::infer::{reach, same_padding};
use recast_plugin_api::ir::{Conv, ConvTranspose, Dim, KernelOrder, Layout, Node, Padding};

/// How an ONNX node says its padding.
pub enum Pads {
    /// All befores, then all afters.
    Explicit(Vec<i64>),
    SameUpper,
}

/// Shared passes made the graph channels-first; an op that is not shows a hole in them.
pub fn want_channels_first(layout: Layout, node: &Node) -> Emitting {
    match layout {
        Layout::ChannelsFirst => Ok(()),
        Layout::ChannelsLast => {
            Err(Diag::new(Code::Bug, &node.path, format!("{} is still channels-last", node.op.name())))
        }
    }
}

/// One way of padding for all axes: numbers, or SAME_UPPER where a length is symbolic.
pub fn pads(
    padding: &[Padding],
    sizes: &[Dim],
    window: &[u64],
    strides: &[u64],
    dilations: &[u64],
    node: &Node,
) -> Result<Pads, Diag> {
    let numbers = (0..padding.len()).map(|i| match padding[i] {
        Padding::Explicit(before, after) => Some((before as i64, after as i64)),
        // At most one element is missing, always at the end: where none is, the window does not reach the one too many.
        Padding::Same if reach(window[i], dilations[i]) <= 2 => Some((0, reach(window[i], dilations[i]) as i64 - 1)),
        Padding::Same => None,
    });
    if let Some(pairs) = numbers.collect::<Option<Vec<_>>>() {
        let (before, after): (Vec<i64>, Vec<i64>) = pairs.into_iter().unzip();
        return Ok(Pads::Explicit([before, after].concat()));
    }
    // What lies behind the last window would be a padding below zero, which runtimes refuse.
    if (0..padding.len()).any(|i| padding[i] == Padding::Same && strides[i] > reach(window[i], dilations[i])) {
        return Err(unsupported(node, "a stride above the window, padded to the same length, with symbolic lengths"));
    }
    // SAME_UPPER speaks for all axes: each axis given in numbers must be "same" too.
    let is_same = |i: usize| match (padding[i], sizes[i].known()) {
        (Padding::Same, _) => true,
        (explicit, Some(n)) => explicit == same_padding(n, window[i], strides[i], dilations[i]),
        (explicit, None) => {
            strides[i] == 1 && explicit == same_padding(n_at_least(window[i], dilations[i]), window[i], 1, dilations[i])
        }
    };
    if (0..padding.len()).all(is_same) {
        Ok(Pads::SameUpper)
    } else {
        Err(unsupported(node, "some axes padded to the same length, others not, with symbolic lengths"))
    }
}

fn n_at_least(window: u64, dilation: u64) -> u64 {
    (window.max(1) - 1) * dilation + 1
}

fn signed(values: &[u64]) -> Vec<i64> {
    values.iter().map(|&value| value as i64).collect()
}

pub fn spatial(shape: &[Dim]) -> &[Dim] {
    &shape[2..]
}

fn window_of(kernel: &[Dim], node: &Node) -> Result<Vec<u64>, Diag> {
    let window: Option<Vec<u64>> = kernel[2..].iter().map(Dim::known).collect();
    window.ok_or_else(|| unsupported(node, "a kernel of unknown size"))
}

pub fn conv(op: &Conv, node: &Node, e: &mut Emit) -> Emitting {
    want_channels_first(op.layout, node)?;
    if op.kernel != KernelOrder::Oihw {
        return Err(Diag::new(Code::Bug, &node.path, format!("conv kernel order {} was not turned", op.kernel)));
    }
    let window = window_of(e.shape(e.value(node, 1)?), node)?;
    let sizes = spatial(e.shape(e.value(node, 0)?));
    let pads = pads(&op.padding, sizes, &window, &op.strides, &op.dilations, node)?;
    let (x, kernel, bias) = (e.arg(node, 0)?, e.arg(node, 1)?, e.opt_arg(node, 2));
    let build = e
        .op("Conv", &[&x, &kernel, &bias])
        .ints("dilations", signed(&op.dilations))
        .int("group", op.groups as i64)
        .ints("kernel_shape", signed(&window));
    let build = match pads {
        Pads::Explicit(pads) => build.ints("pads", pads),
        Pads::SameUpper => build.str("auto_pad", "SAME_UPPER"),
    };
    build.ints("strides", signed(&op.strides)).to(node.outputs[0]);
    Ok(())
}

pub fn conv_transpose(op: &ConvTranspose, node: &Node, e: &mut Emit) -> Emitting {
    want_channels_first(op.layout, node)?;
    if op.kernel != KernelOrder::Iohw {
        return Err(Diag::new(
            Code::Bug,
            &node.path,
            format!("conv_transpose kernel order {} was not turned", op.kernel),
        ));
    }
    let window = window_of(e.shape(e.value(node, 1)?), node)?;
    let n = window.len();
    // Cropping and output padding at the end cancel each other.
    let before: Vec<i64> = op.cropping.iter().map(|crop| crop.0 as i64).collect();
    let net: Vec<i64> = (0..n).map(|i| op.cropping[i].1 as i64 - op.output_padding[i] as i64).collect();
    let after: Vec<i64> = net.iter().map(|&net| net.max(0)).collect();
    let padding: Vec<i64> = net.iter().map(|&net| (-net).max(0)).collect();
    let reach = |i: usize| ((window[i] - 1) * op.dilations[i]) as i64;
    // Runtimes disagree on pads that go beyond the kernel: those are cut off by a Slice.
    let cut = (0..n).any(|i| before[i] > reach(i) || after[i] > reach(i));
    let (x, kernel, bias) = (e.arg(node, 0)?, e.arg(node, 1)?, e.opt_arg(node, 2));
    let pads = if cut { vec![0; 2 * n] } else { [before.clone(), after.clone()].concat() };
    let mut build = e
        .op("ConvTranspose", &[&x, &kernel, &bias])
        .ints("dilations", signed(&op.dilations))
        .int("group", op.groups as i64)
        .ints("kernel_shape", signed(&window));
    if padding.iter().any(|&extra| extra > 0) {
        build = build.ints("output_padding", padding);
    }
    let build = build.ints("pads", pads).ints("strides", signed(&op.strides));
    if !cut {
        build.to(node.outputs[0]);
        return Ok(());
    }
    let whole = build.tmp();
    let ends: Vec<i64> = after.iter().map(|&after| if after > 0 { -after } else { i64::MAX }).collect();
    let axes: Vec<i64> = (2..2 + n as i64).collect();
    let (starts, ends, axes) = (e.ints(&before), e.ints(&ends), e.ints(&axes));
    e.op("Slice", &[&whole, &starts, &ends, &axes]).to(node.outputs[0]);
    Ok(())
}
