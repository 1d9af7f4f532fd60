use super::matmul::{dtype_arg, hint};
use super::unsupported;
use crate::class::Helper;
use crate::py::{Arg, Py, call, kw, one_or_all, tuple};
use crate::scope::{Emit, Making};
use crate::weights::Weight;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{Conv, ConvTranspose, Dim, KernelOrder, Layout, Node, Padding, Param};

/// Shared passes made the graph channels-first; an op that is not shows a hole in them.
pub fn want_channels_first(layout: Layout, node: &Node) -> Result<(), Diag> {
    match layout {
        Layout::ChannelsFirst => Ok(()),
        Layout::ChannelsLast => {
            Err(Diag::new(Code::Bug, &node.path, format!("{} is still channels-last", node.op.name())))
        }
    }
}

/// How an input is padded: by the module itself, or before it.
pub enum Pads {
    /// The same before and after each axis.
    Even(Vec<u64>),
    /// (before, after) of each axis.
    Uneven(Vec<(u64, u64)>),
    /// Some axes to the length of the input over the stride, known only when the model runs.
    Same,
}

pub fn pads(padding: &[Padding]) -> Pads {
    let numbers = padding.iter().map(|padding| match padding {
        Padding::Explicit(before, after) => Some((*before, *after)),
        Padding::Same => None,
    });
    match numbers.collect::<Option<Vec<_>>>() {
        Some(pairs) if pairs.iter().all(|(before, after)| before == after) => {
            Pads::Even(pairs.into_iter().map(|(before, _)| before).collect())
        }
        Some(pairs) => Pads::Uneven(pairs),
        None => Pads::Same,
    }
}

/// `F.pad` counts from the last axis backwards.
/// <https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.pad.html>
pub fn padded(x: Py, pairs: &[(u64, u64)], value: Option<Py>) -> Py {
    let flat = pairs.iter().rev().flat_map(|&(before, after)| [before, after]);
    let mut args: Vec<Arg> = vec![x.into(), tuple(flat).into()];
    args.extend(value.map(|value| kw("value", value)));
    call("F.pad", args)
}

/// The numbers of (before, after) of each axis; zeros where they depend on the length.
pub fn pairs(padding: &[Padding]) -> Vec<(u64, u64)> {
    let pairs = padding.iter().map(|padding| match padding {
        Padding::Explicit(before, after) => (*before, *after),
        Padding::Same => (0, 0),
    });
    pairs.collect()
}

/// `pad_same(x, window, strides, dilations)` of the helpers; axes that need none are given a window of one. Axes that
/// are padded by numbers are padded first.
pub fn padded_same(
    x: Py,
    padding: &[Padding],
    window: &[u64],
    strides: &[u64],
    dilations: &[u64],
    value: Option<Py>,
    e: &mut Emit,
) -> Py {
    e.out.helpers.insert(Helper::PadSame);
    let windows = padding.iter().zip(window).map(|(padding, &size)| if *padding == Padding::Same { size } else { 1 });
    let windows: Vec<u64> = windows.collect();
    let numbers = pairs(padding);
    let x = if numbers.iter().any(|&pair| pair != (0, 0)) { padded(x, &numbers, value.clone()) } else { x };
    let mut args: Vec<Arg> = vec![x.into(), tuple(windows).into(), tuple(strides.to_vec()).into()];
    if dilations.iter().any(|&dilation| dilation != 1) {
        args.push(tuple(dilations.to_vec()).into());
    }
    args.extend(value.map(|value| kw("value", value)));
    call("pad_same", args)
}

pub fn window_of(kernel: &[Dim], node: &Node) -> Result<Vec<u64>, Diag> {
    let window: Option<Vec<u64>> = kernel[2..].iter().map(Dim::known).collect();
    window.ok_or_else(|| unsupported(node, "a kernel of unknown size"))
}

/// Arguments that differ from PyTorch's defaults.
fn unless_default(name: &'static str, values: &[u64], default: u64) -> Option<Arg> {
    values.iter().any(|&value| value != default).then(|| kw(name, one_or_all(values)))
}

/// Weights of a convolution module: the kernel as it is, and the bias where there is one.
fn kernel_and_bias<'a>(node: &Node, e: &Emit<'a>) -> Option<(&'a Param, Vec<Weight>, String)> {
    let kernel = e.param(e.opt_value(node, 1)?)?;
    let mut weights = vec![Weight::view("weight".into(), kernel.tensor.clone())];
    let mut key = format!("{} {}", node.op.name(), kernel.name());
    if let Some(bias) = e.opt_value(node, 2) {
        let bias = e.param(bias)?;
        weights.push(Weight::view("bias".into(), bias.tensor.reshaped(&[bias.tensor.len()])?));
        key.push_str(&bias.name());
    }
    let float = weights.iter().all(|weight| weight.dtype == kernel.tensor.dtype) && kernel.tensor.dtype.is_float();
    float.then_some((kernel, weights, key))
}

pub fn conv(op: &Conv, node: &Node, e: &mut Emit) -> Making {
    want_channels_first(op.layout, node)?;
    if op.kernel != KernelOrder::Oihw {
        return Err(Diag::new(Code::Bug, &node.path, format!("conv kernel order {} was not turned", op.kernel)));
    }
    let shape = e.shape(e.value(node, 1)?);
    let window = window_of(shape, node)?;
    let n = window.len();
    if n > 3 {
        return Err(unsupported(node, format!("{n} spatial axes")));
    }
    let mut x = e.arg(node, 0)?;
    let mut even = vec![0; n];
    match pads(&op.padding) {
        Pads::Even(pads) => even = pads,
        Pads::Uneven(pairs) => x = padded(x, &pairs, None),
        Pads::Same => x = padded_same(x, &op.padding, &window, &op.strides, &op.dilations, None, e),
    }
    let options = [
        unless_default("stride", &op.strides, 1),
        unless_default("padding", &even, 0),
        unless_default("dilation", &op.dilations, 1),
        (op.groups != 1).then(|| kw("groups", op.groups)),
    ];
    let options = options.into_iter().flatten();
    let Some((kernel, weights, key)) = kernel_and_bias(node, e) else {
        let weight = e.tensor_arg(node, 1)?;
        let bias = e.opt_arg(node, 2)?.map(Arg::from);
        let args = [x.into(), weight.into()].into_iter().chain(bias).chain(options).collect();
        return Ok(call(&format!("F.conv{n}d"), args).into());
    };
    let (outputs, inputs) = (kernel.tensor.shape[0], kernel.tensor.shape[1].saturating_mul(op.groups));
    let mut args: Vec<Arg> = vec![Py::from(inputs).into(), Py::from(outputs).into(), one_or_all(&window).into()];
    args.extend(options);
    args.extend((weights.len() == 1).then(|| kw("bias", false)));
    args.extend(dtype_arg(kernel.tensor.dtype));
    let base = e.attribute_base(&kernel.path, &hint(kernel, e));
    let key = format!("{key} {op:?}");
    let module = e.module(key, &base, call(&format!("nn.Conv{n}d"), args), &[], weights);
    Ok(Py::Call(Box::new(module), vec![x.into()]).into())
}

/// What PyTorch's own arguments can say of a transposed convolution: padding p cuts p off both ends, output padding
/// adds at the end again. <https://docs.pytorch.org/docs/stable/generated/torch.nn.ConvTranspose2d.html>
struct Ends {
    padding: Vec<u64>,
    output_padding: Vec<u64>,
    /// Cut off afterwards.
    cut: Option<Vec<(u64, u64)>>,
}

fn ends(op: &ConvTranspose, node: &Node) -> Result<Ends, Diag> {
    let n = op.cropping.len();
    // Cropping and output padding at the end cancel each other.
    let net = |i: usize| op.cropping[i].1 as i64 - op.output_padding[i] as i64;
    let room = |i: usize| op.strides[i].max(op.dilations[i]) as i64;
    let extra: Vec<i64> = (0..n).map(|i| op.cropping[i].0 as i64 - net(i)).collect();
    if (0..n).all(|i| (0..room(i)).contains(&extra[i])) {
        return Ok(Ends {
            padding: op.cropping.iter().map(|crop| crop.0).collect(),
            output_padding: extra.iter().map(|&extra| extra as u64).collect(),
            cut: None,
        });
    }
    if (0..n).any(|i| -net(i) >= room(i)) {
        return Err(unsupported(node, "an output padding as large as the stride"));
    }
    Ok(Ends {
        padding: vec![0; n],
        output_padding: (0..n).map(|i| (-net(i)).max(0) as u64).collect(),
        cut: Some((0..n).map(|i| (op.cropping[i].0, net(i).max(0) as u64)).collect()),
    })
}

pub fn conv_transpose(op: &ConvTranspose, node: &Node, e: &mut Emit) -> Making {
    want_channels_first(op.layout, node)?;
    if op.kernel != KernelOrder::Iohw {
        let detail = format!("conv_transpose kernel order {} was not turned", op.kernel);
        return Err(Diag::new(Code::Bug, &node.path, detail));
    }
    let window = window_of(e.shape(e.value(node, 1)?), node)?;
    let n = window.len();
    if n > 3 {
        return Err(unsupported(node, format!("{n} spatial axes")));
    }
    let ends = ends(op, node)?;
    let x = e.arg(node, 0)?;
    let options = [
        unless_default("stride", &op.strides, 1),
        unless_default("padding", &ends.padding, 0),
        unless_default("output_padding", &ends.output_padding, 0),
        (op.groups != 1).then(|| kw("groups", op.groups)),
        unless_default("dilation", &op.dilations, 1),
    ];
    let options = options.into_iter().flatten();
    let made = match kernel_and_bias(node, e) {
        Some((kernel, weights, key)) => {
            let shape = &kernel.tensor.shape;
            let (inputs, outputs) = (shape[0], shape[1].saturating_mul(op.groups));
            let mut args: Vec<Arg> =
                vec![Py::from(inputs).into(), Py::from(outputs).into(), one_or_all(&window).into()];
            args.extend(options);
            args.extend((weights.len() == 1).then(|| kw("bias", false)));
            args.extend(dtype_arg(kernel.tensor.dtype));
            let base = e.attribute_base(&kernel.path, &hint(kernel, e));
            let ctor = call(&format!("nn.ConvTranspose{n}d"), args);
            let module = e.module(format!("{key} {op:?}"), &base, ctor, &[], weights);
            Py::Call(Box::new(module), vec![x.into()])
        }
        None => {
            let weight = e.tensor_arg(node, 1)?;
            let bias = e.opt_arg(node, 2)?.map(Arg::from);
            let args = [x.into(), weight.into()].into_iter().chain(bias).chain(options).collect();
            call(&format!("F.conv_transpose{n}d"), args)
        }
    };
    let Some(cut) = ends.cut else { return Ok(made.into()) };
    let all = || Py::Slice(None, None, None);
    let end = |after: u64| (after > 0).then(|| Box::new(Py::from(-(after as i64))));
    let begin = |before: u64| (before > 0).then(|| Box::new(Py::from(before)));
    let cuts = cut.iter().map(|&(before, after)| Py::Slice(begin(before), end(after), None));
    let items = [all(), all()].into_iter().chain(cuts).collect();
    Ok(Py::Index(Box::new(made), items).into())
}
