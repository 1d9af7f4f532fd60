use super::{Build, Emit, Emitting, Val, unsupported};
use crate::proto::{Attr, ListValue};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::infer::{reach, same_padding};
use recast_plugin_api::ir::{Conv, ConvTranspose, Dim, KernelOrder, Layout, Node, Padding};

/// How a node says its padding.
pub enum Pads {
    Same,
    Valid,
    /// Before and after, for each spatial axis.
    Explicit(Vec<(u64, u64)>),
    /// Some axes "same" of a length that only the run knows, others in numbers.
    Mixed,
}

/// Windows over spatial axes.
#[derive(Clone)]
pub struct Windows {
    pub sizes: Vec<Dim>,
    pub window: Vec<u64>,
    pub strides: Vec<u64>,
    pub dilations: Vec<u64>,
    pub padding: Vec<Padding>,
}

/// Shared passes made the graph channels-last; an op that is not shows a hole in them.
pub fn want_channels_last(layout: Layout, node: &Node) -> Emitting {
    match layout {
        Layout::ChannelsLast => Ok(()),
        Layout::ChannelsFirst => {
            Err(Diag::new(Code::Bug, &node.path, format!("{} is still channels-first", node.op.name())))
        }
    }
}

impl Windows {
    /// One axis is windows of height one: TensorFlow has no one-dimensional kernels.
    pub fn lifted(&mut self) {
        if self.window.len() == 1 {
            self.sizes.insert(0, Dim::Known(1));
            self.window.insert(0, 1);
            // Kernels want one stride for both; a height of one stays one under any.
            self.strides.insert(0, self.strides[0]);
            self.dilations.insert(0, 1);
            self.padding.insert(0, Padding::Explicit(0, 0));
        }
    }

    fn is_same(&self, i: usize) -> bool {
        let (window, stride, dilation) = (self.window[i], self.strides[i], self.dilations[i]);
        match (self.padding[i], self.sizes[i].known()) {
            (Padding::Same, _) => true,
            (explicit, Some(n)) => explicit == same_padding(n, window, stride, dilation),
            (explicit, None) => stride == 1 && explicit == same_padding(reach(window, dilation), window, 1, dilation),
        }
    }

    pub fn pads(&self) -> Pads {
        let explicit = |padding: &Padding| match padding {
            Padding::Explicit(before, after) => Some((*before, *after)),
            Padding::Same => None,
        };
        let numbers: Option<Vec<(u64, u64)>> = self.padding.iter().map(explicit).collect();
        match numbers {
            Some(numbers) if numbers.iter().all(|&pad| pad == (0, 0)) => Pads::Valid,
            _ if (0..self.window.len()).all(|i| self.is_same(i)) => Pads::Same,
            Some(numbers) => Pads::Explicit(numbers),
            None => Pads::Mixed,
        }
    }

    /// `x` padded by `fill` (zero where absent), so that nothing of it is left for the node to pad.
    pub fn padded(&self, x: &Val, fill: Option<&Val>, e: &mut Emit) -> Result<Val, Diag> {
        let mut rows = Vec::new();
        for (i, padding) in self.padding.iter().enumerate() {
            rows.push(match padding {
                Padding::Explicit(before, after) => (e.int(*before as i64), e.int(*after as i64)),
                Padding::Same => self.same_at_run_time(i, e)?,
            });
        }
        let known = self.padding.iter().map(|padding| match padding {
            Padding::Explicit(before, after) => Some((*before, *after)),
            Padding::Same => None,
        });
        let paddings = match known.collect::<Option<Vec<_>>>() {
            Some(known) => {
                let around: Vec<(u64, u64)> = [vec![(0, 0)], known, vec![(0, 0)]].concat();
                e.pairs(&around)
            }
            None => {
                let zero = e.int(0);
                rows.insert(0, (zero.clone(), zero.clone()));
                rows.push((zero.clone(), zero));
                let pairs = rows.into_iter().map(|(a, b)| e.call_list("Pack", &[a, b]));
                let pairs: Vec<Val> = pairs.collect();
                e.call_list("Pack", &pairs)
            }
        };
        Ok(match fill {
            Some(fill) => e.call("PadV2", &[x, &paddings, fill]),
            None => e.call("Pad", &[x, &paddings]),
        })
    }

    /// Padding of an axis whose length the run knows: max((ceil(n/s) - 1) s + reach - n, 0), the odd one after.
    fn same_at_run_time(&self, i: usize, e: &mut Emit) -> Result<(Val, Val), Diag> {
        let (stride, reach) = (self.strides[i], reach(self.window[i], self.dilations[i]));
        let length = e.size(&self.sizes[i])?;
        let steps = e.size(&self.sizes[i].ceil_div(stride))?;
        let (stride, rest) = (e.int(stride as i64), e.int(reach as i64 - stride as i64));
        let slid = e.call("Mul", &[&steps, &stride]);
        let covered = e.call("AddV2", &[&slid, &rest]);
        let lacking = e.call("Sub", &[&covered, &length]);
        let (zero, two) = (e.int(0), e.int(2));
        let total = e.call("Maximum", &[&lacking, &zero]);
        let before = e.call("FloorDiv", &[&total, &two]);
        let after = e.call("Sub", &[&total, &before]);
        Ok((before, after))
    }
}

impl Emit<'_> {
    pub fn call_list(&mut self, op: &'static str, inputs: &[Val]) -> Val {
        self.op(op, &[]).more(inputs).tmp()
    }

    pub fn expand(&mut self, x: &Val, axis: i64) -> Val {
        let axis = self.int(axis);
        self.call("ExpandDims", &[x, &axis])
    }

    pub fn squeeze(&mut self, x: &Val, axis: i64) -> Val {
        self.op("Squeeze", &[x]).ints("squeeze_dims", &[axis]).tmp()
    }

    pub fn split(&mut self, x: &Val, axis: i64, count: u64) -> Vec<Val> {
        let axis = self.int(axis);
        self.op("Split", &[&axis, x]).int("num_split", count as i64).tmps()
    }

    pub fn concat(&mut self, parts: &[Val], axis: i64) -> Val {
        let axis = self.int(axis);
        self.op("ConcatV2", &[]).more(parts).more(&[axis]).int("N", parts.len() as i64).tmp()
    }
}

/// One number for each axis, spatial ones in the middle.
fn around(values: &[u64]) -> Vec<i64> {
    let inner = values.iter().map(|&value| value as i64);
    std::iter::once(1).chain(inner).chain(std::iter::once(1)).collect()
}

/// The kernel with zeros between its elements. Kernels for the CPU dilate plain two-dimensional convolutions alone.
fn spread(kernel: &Val, dims: &mut [u64], windows: &mut Windows, e: &mut Emit) -> Val {
    let mut y = kernel.clone();
    for axis in 0..windows.window.len() {
        let dilation = std::mem::replace(&mut windows.dilations[axis], 1);
        if dilation > 1 {
            y = spread_axis(&y, dims, axis, dilation, e);
            windows.window[axis] = dims[axis];
        }
    }
    y
}

/// One axis of it, all axes before and after taken together: kernels pad six axes at most.
fn spread_axis(kernel: &Val, dims: &mut [u64], axis: usize, dilation: u64, e: &mut Emit) -> Val {
    let (before, after): (u64, u64) = (dims[..axis].iter().product(), dims[axis + 1..].iter().product());
    let size = dims[axis];
    let apart = e.ints(&[(before * size) as i64, 1, after as i64]);
    let y = e.call("Reshape", &[kernel, &apart]);
    let pads = e.pairs(&[(0, 0), (0, dilation - 1), (0, 0)]);
    let y = e.call("Pad", &[&y, &pads]);
    let wide = e.ints(&[before as i64, (size * dilation) as i64, after as i64]);
    let y = e.call("Reshape", &[&y, &wide]);
    dims[axis] = reach(size, dilation);
    let (begin, end, one) = (e.ints(&[0, 0]), e.ints(&[0, dims[axis] as i64]), e.ints(&[1, 1]));
    let y = e.op("StridedSlice", &[&y, &begin, &end, &one]).int("begin_mask", 1).int("end_mask", 1).tmp();
    let shape = e.ints(&dims.iter().map(|&size| size as i64).collect::<Vec<_>>());
    e.call("Reshape", &[&y, &shape])
}

fn known_sizes(shape: &[Dim], node: &Node) -> Result<Vec<u64>, Diag> {
    let sizes: Option<Vec<u64>> = shape.iter().map(Dim::known).collect();
    sizes.ok_or_else(|| unsupported(node, "a kernel of unknown size"))
}

/// A convolution on its way: two or three spatial axes.
struct Making {
    x: Val,
    kernel: Val,
    /// Of the kernel: window, in, out.
    dims: Vec<u64>,
    windows: Windows,
}

pub fn conv(op: &Conv, node: &Node, e: &mut Emit) -> Emitting {
    want_channels_last(op.layout, node)?;
    if op.kernel != KernelOrder::Hwio {
        return Err(Diag::new(Code::Bug, &node.path, format!("conv kernel order {} was not turned", op.kernel)));
    }
    let (x_value, k_value) = (e.value(node, 0)?, e.value(node, 1)?);
    let mut dims = known_sizes(e.shape(k_value), node)?;
    let n = dims.len() - 2;
    if !(1..=3).contains(&n) {
        return Err(unsupported(node, format!("{n} spatial axes")).hint("TensorFlow has one to three"));
    }
    let mut windows = Windows {
        sizes: e.shape(x_value)[1..=n].to_vec(),
        window: dims[..n].to_vec(),
        strides: op.strides.clone(),
        dilations: op.dilations.clone(),
        padding: op.padding.clone(),
    };
    let (mut x, mut kernel) = (e.val(x_value)?, e.val(k_value)?);
    if n == 1 {
        x = e.expand(&x, 1);
        kernel = e.expand(&kernel, 0);
        dims.insert(0, 1);
        windows.lifted();
    }
    let depthwise = op.groups > 1 && dims[dims.len() - 2] == 1 && n < 3;
    let equal_strides = windows.strides.iter().all(|&stride| stride == windows.strides[0]);
    let making = Making { x, kernel, dims, windows };
    let y = if depthwise && equal_strides {
        depthwise_conv(making, op.groups, e)?
    } else if op.groups > 1 {
        grouped(making, op.groups, node, e)?
    } else {
        plain(making, e)?
    };
    finish(node, y, n == 1, e)
}

/// `lifted`: an axis of one was put in front of the only spatial one, and goes again; then the bias.
fn finish(node: &Node, mut y: Val, lifted: bool, e: &mut Emit) -> Result<(), Diag> {
    if lifted {
        y = e.squeeze(&y, 1);
    }
    if let Some(bias) = e.opt_arg(node, 2)? {
        y = e.call("BiasAdd", &[&y, &bias]);
    }
    e.bind(node.outputs[0], y);
    Ok(())
}

/// The node with its strides and its padding; what it can't pad itself is padded before.
fn windowed(
    op: &'static str,
    x: &Val,
    kernel: &Val,
    windows: &Windows,
    says_numbers: bool,
    e: &mut Emit,
) -> Result<Val, Diag> {
    let (x, padding, numbers) = match windows.pads() {
        Pads::Same => (x.clone(), "SAME", None),
        Pads::Valid => (x.clone(), "VALID", None),
        Pads::Explicit(pads) if says_numbers => (x.clone(), "EXPLICIT", Some(pads)),
        Pads::Explicit(_) | Pads::Mixed => (windows.padded(x, None, e)?, "VALID", None),
    };
    let build = e.op(op, &[&x, kernel]).ints("strides", &around(&windows.strides)).str("padding", padding);
    let build = if windows.dilations.iter().any(|&dilation| dilation != 1) {
        build.ints("dilations", &around(&windows.dilations))
    } else {
        build
    };
    Ok(with_paddings(build, numbers).tmp())
}

fn with_paddings<'e, 'a>(build: Build<'e, 'a>, numbers: Option<Vec<(u64, u64)>>) -> Build<'e, 'a> {
    let Some(numbers) = numbers else { return build };
    let flat = numbers.iter().flat_map(|&(before, after)| [before as i64, after as i64]);
    let flat: Vec<i64> = [0, 0].into_iter().chain(flat).chain([0, 0]).collect();
    build.attr("explicit_paddings", Attr::List(ListValue { i: flat, ..ListValue::default() }))
}

fn plain(mut making: Making, e: &mut Emit) -> Result<Val, Diag> {
    if making.windows.window.len() == 2 {
        return windowed("Conv2D", &making.x, &making.kernel, &making.windows, true, e);
    }
    let kernel = spread(&making.kernel, &mut making.dims, &mut making.windows, e);
    windowed("Conv3D", &making.x, &kernel, &making.windows, false, e)
}

/// Every channel by itself: kernel (h, w, 1, channels times) as (h, w, channels, times).
fn depthwise_conv(mut making: Making, channels: u64, e: &mut Emit) -> Result<Val, Diag> {
    let kernel = spread(&making.kernel, &mut making.dims, &mut making.windows, e);
    let dims = &making.dims;
    let shape = e.ints(&[dims[0] as i64, dims[1] as i64, channels as i64, (dims[3] / channels) as i64]);
    let kernel = e.call("Reshape", &[&kernel, &shape]);
    windowed("DepthwiseConv2dNative", &making.x, &kernel, &making.windows, false, e)
}

/// Groups beyond this would make a graph of as many nodes.
const GROUPS_MAX: u64 = 1024;

/// Group by group: a node of several groups runs on a CPU, until TensorFlow's optimizer joins it with the bias behind
/// it into one that does not.
fn grouped(making: Making, groups: u64, node: &Node, e: &mut Emit) -> Result<Val, Diag> {
    if groups > GROUPS_MAX {
        return Err(unsupported(node, format!("{groups} groups")).hint(format!("at most {GROUPS_MAX}")));
    }
    let rank = making.dims.len() as i64;
    let xs = e.split(&making.x, rank - 1, groups);
    let kernels = e.split(&making.kernel, rank - 1, groups);
    let mut dims = making.dims.clone();
    dims[rank as usize - 1] /= groups;
    let mut parts = Vec::new();
    for (x, kernel) in xs.into_iter().zip(kernels) {
        parts.push(plain(Making { x, kernel, dims: dims.clone(), windows: making.windows.clone() }, e)?);
    }
    Ok(e.concat(&parts, rank - 1))
}

pub fn conv_transpose(op: &ConvTranspose, node: &Node, e: &mut Emit) -> Emitting {
    want_channels_last(op.layout, node)?;
    if op.kernel != KernelOrder::Hwoi {
        let detail = format!("conv_transpose kernel order {} was not turned", op.kernel);
        return Err(Diag::new(Code::Bug, &node.path, detail));
    }
    let (x_value, k_value) = (e.value(node, 0)?, e.value(node, 1)?);
    let mut dims = known_sizes(e.shape(k_value), node)?;
    let n = dims.len() - 2;
    if !(1..=3).contains(&n) || op.groups > GROUPS_MAX {
        return Err(unsupported(node, format!("{n} spatial axes, {} groups", op.groups)));
    }
    let (mut x, mut kernel) = (e.val(x_value)?, e.val(k_value)?);
    let mut back = Backwards::new(op, e.shape(x_value), &dims);
    if n == 1 {
        x = e.expand(&x, 1);
        kernel = e.expand(&kernel, 0);
        dims.insert(0, 1);
        back.lifted();
    }
    let kernel = spread(&kernel, &mut dims, &mut back.windows, e);
    let rank = dims.len() as i64;
    let (xs, kernels) = match op.groups {
        1 => (vec![x], vec![kernel]),
        groups => (e.split(&x, rank - 1, groups), e.split(&kernel, rank - 1, groups)),
    };
    let out = dims[dims.len() - 2];
    let mut parts = Vec::new();
    for (x, kernel) in xs.iter().zip(&kernels) {
        parts.push(back.node(x, kernel, &e.shape(x_value)[0].clone(), out, e)?);
    }
    let y = if parts.len() == 1 { parts.remove(0) } else { e.concat(&parts, rank - 1) };
    let y = back.cut_and_grown(y, e)?;
    finish(node, y, n == 1, e)
}

/// A transposed convolution, as TensorFlow says it: the gradient of one, of the length that is wanted.
struct Backwards {
    windows: Windows,
    cropping: Vec<(u64, u64)>,
    /// Added at the end: what the gradient itself can give (less than a stride), and what is beyond.
    extra: Vec<(u64, u64)>,
}

impl Backwards {
    fn new(op: &ConvTranspose, shape: &[Dim], kernel: &[u64]) -> Backwards {
        let n = op.strides.len();
        let extra = |i: usize| {
            let own = op.output_padding[i].min(op.strides[i].saturating_sub(1));
            (own, op.output_padding[i] - own)
        };
        Backwards {
            windows: Windows {
                sizes: shape[1..=n].to_vec(),
                window: kernel[..n].to_vec(),
                strides: op.strides.clone(),
                dilations: op.dilations.clone(),
                padding: vec![Padding::Explicit(0, 0); n],
            },
            cropping: op.cropping.clone(),
            extra: (0..n).map(extra).collect(),
        }
    }

    fn lifted(&mut self) {
        self.windows.lifted();
        // Here the height must come out as one.
        self.windows.strides[0] = 1;
        self.cropping.insert(0, (0, 0));
        self.extra.insert(0, (0, 0));
    }

    /// Is the cropping that of "same"? Then the node does it.
    fn is_same(&self) -> bool {
        (0..self.cropping.len()).all(|i| {
            let ((before, after), own) = (self.cropping[i], self.extra[i].0);
            let (stride, reach) = (self.windows.strides[i], reach(self.windows.window[i], self.windows.dilations[i]));
            let Some(total) = (before + after).checked_sub(own) else { return false };
            let Some(last) = (reach + own).checked_sub(before + after) else { return false };
            self.extra[i].1 == 0 && before == total / 2 && (1..=stride).contains(&last)
        })
    }

    /// Length of an axis before anything is cropped.
    fn whole(&self, i: usize) -> Dim {
        let stride = Dim::Known(self.windows.strides[i]);
        let reach = reach(self.windows.window[i], self.windows.dilations[i]) + self.extra[i].0;
        let grown = self.windows.sizes[i].times(&stride).plus(&Dim::Known(reach));
        grown.minus(&stride).unwrap_or(Dim::Known(0))
    }

    fn node(&self, x: &Val, kernel: &Val, batch: &Dim, out: u64, e: &mut Emit) -> Result<Val, Diag> {
        let same = self.is_same();
        let mut shape = vec![batch.clone()];
        for (i, (before, after)) in self.cropping.iter().enumerate() {
            let whole = self.whole(i);
            let cut = Dim::Known(before + after);
            shape.push(if same { whole.minus(&cut).unwrap_or(Dim::Known(0)) } else { whole });
        }
        shape.push(Dim::Known(out));
        let shape = e.shape_vector(&shape)?;
        let op = if self.cropping.len() == 2 { "Conv2DBackpropInput" } else { "Conv3DBackpropInputV2" };
        let build = e.op(op, &[&shape, kernel, x]).ints("strides", &around(&self.windows.strides));
        Ok(build.str("padding", if same { "SAME" } else { "VALID" }).tmp())
    }

    fn cut_and_grown(&self, y: Val, e: &mut Emit) -> Result<Val, Diag> {
        let mut y = y;
        if !self.is_same() && self.cropping.iter().any(|&crop| crop != (0, 0)) {
            let n = self.cropping.len();
            let begin: Vec<i64> = [0].into_iter().chain(self.cropping.iter().map(|crop| crop.0 as i64)).collect();
            let end: Vec<i64> = [0].into_iter().chain(self.cropping.iter().map(|crop| -(crop.1 as i64))).collect();
            // A bound that is masked is the end of the axis.
            let mask = end.iter().enumerate().filter(|(_, end)| **end == 0).map(|(i, _)| 1i64 << i).sum();
            let (begin, end, one) = (e.ints(&begin), e.ints(&end), e.ints(&vec![1; n + 1]));
            y = e.op("StridedSlice", &[&y, &begin, &end, &one]).int("end_mask", mask).tmp();
        }
        if self.extra.iter().all(|extra| extra.1 == 0) {
            return Ok(y);
        }
        let beyond = self.extra.iter().map(|extra| (0, extra.1));
        let pads: Vec<(u64, u64)> = [(0, 0)].into_iter().chain(beyond).chain([(0, 0)]).collect();
        let pads = e.pairs(&pads);
        Ok(e.call("Pad", &[&y, &pads]))
    }
}
