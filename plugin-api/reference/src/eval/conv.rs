//! Convolutions as products: for a block of output pixels, the elements under each window are laid out as one row, and
//! the rows are multiplied with the kernel as a (window * in, out) matrix. Everything is computed channels-last.

use super::gemm::{Matrix, Sizes, gemm};
use super::{Cx, Ins, Operand, Outcome, fault, floats};
use crate::array::Array;
use crate::noise::Noise;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{Conv, KernelOrder, Layout, Padding};

/// Elements of the rows that are laid out at a time, and of the kernel that are widened at a time.
const ROWS_ELEMENTS: usize = 1 << 21;
const KERNEL_ELEMENTS: usize = 1 << 23;

/// How windows slide over the spatial axes.
pub struct Slide {
    pub input: Vec<usize>,
    pub output: Vec<usize>,
    pub window: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    /// Elements of padding before each axis.
    pub before: Vec<usize>,
}

impl Slide {
    pub fn pixels(&self) -> usize {
        self.output.iter().product()
    }

    pub fn taps(&self) -> usize {
        self.window.iter().product()
    }

    /// The windows are single pixels, one after the other.
    fn is_pointwise(&self) -> bool {
        self.taps() == 1
            && self.input == self.output
            && self.strides.iter().all(|&s| s == 1)
            && self.before.iter().all(|&n| n == 0)
    }

    /// For each window position, the input pixel under it for the output pixel with this index; `None` in the padding.
    pub fn sources(&self, mut pixel: usize, found: &mut Vec<Option<usize>>) {
        let axes = self.input.len();
        let mut corner = vec![0isize; axes];
        for axis in (0..axes).rev() {
            let at = pixel % self.output[axis];
            pixel /= self.output[axis];
            corner[axis] = (at * self.strides[axis]) as isize - self.before[axis] as isize;
        }
        found.clear();
        let mut tap = vec![0usize; axes];
        for _ in 0..self.taps() {
            let source = (0..axes).try_fold(0usize, |source, axis| {
                let at = corner[axis] + (tap[axis] * self.dilations[axis]) as isize;
                let inside = at >= 0 && (at as usize) < self.input[axis];
                inside.then(|| source * self.input[axis] + at as usize)
            });
            found.push(source);
            for axis in (0..axes).rev() {
                tap[axis] += 1;
                if tap[axis] < self.window[axis] {
                    break;
                }
                tap[axis] = 0;
            }
        }
    }
}

pub fn wide(sizes: &[u64]) -> Vec<usize> {
    sizes.iter().map(|&size| size as usize).collect()
}

/// Padding before each axis. `Graph::add` has turned `Same` into numbers, because the lengths are known here.
pub fn before(padding: &[Padding]) -> Result<Vec<usize>, Diag> {
    let one = |padding: &Padding| match padding {
        Padding::Explicit(before, _) => Ok(*before as usize),
        Padding::Same => Err(fault("padding 'same' of a known length was not resolved")),
    };
    padding.iter().map(one).collect()
}

/// The spatial sizes of a kernel.
pub fn window(kernel: &[usize], order: KernelOrder) -> Vec<usize> {
    match order {
        KernelOrder::Hwio | KernelOrder::Hwoi => kernel[..kernel.len() - 2].to_vec(),
        KernelOrder::Oihw | KernelOrder::Iohw => kernel[2..].to_vec(),
    }
}

pub fn spatial(shape: &[usize], layout: Layout) -> Vec<usize> {
    match layout {
        Layout::ChannelsLast => shape[1..shape.len() - 1].to_vec(),
        Layout::ChannelsFirst => shape[2..].to_vec(),
    }
}

/// (batch, rows, columns) to (batch, columns, rows).
fn turned(values: &[f64], batch: usize, rows: usize, columns: usize) -> Vec<f64> {
    let mut out = vec![0.0; values.len()];
    const TILE: usize = 16;
    for b in 0..batch {
        let (from, to) = (&values[b * rows * columns..], &mut out[b * rows * columns..]);
        for i0 in (0..rows).step_by(TILE) {
            for j in 0..columns {
                for i in i0..(i0 + TILE).min(rows) {
                    to[j * rows + i] = from[i * columns + j];
                }
            }
        }
    }
    out
}

/// The elements of an image channels-last.
pub fn channels_last(x: &Array, layout: Layout) -> Result<std::borrow::Cow<'_, [f64]>, Diag> {
    let values = floats(x)?;
    Ok(match layout {
        Layout::ChannelsLast => values.into(),
        Layout::ChannelsFirst => {
            let (batch, channels) = (x.shape[0], x.shape[1]);
            turned(values, batch, channels, x.shape[2..].iter().product()).into()
        }
    })
}

/// Elements computed channels-last, as the layout wants them.
pub fn laid_out(values: Vec<f64>, shape: &[usize], layout: Layout) -> Vec<f64> {
    match layout {
        Layout::ChannelsLast => values,
        Layout::ChannelsFirst => turned(&values, shape[0], shape[2..].iter().product(), shape[1]),
    }
}

pub fn channels(shape: &[usize], layout: Layout) -> usize {
    match layout {
        Layout::ChannelsLast => shape[shape.len() - 1],
        Layout::ChannelsFirst => shape[1],
    }
}

/// A kernel in its own order: (taps, channels first named, channels last named) and how to find an element.
pub struct Kernel<'k> {
    operand: &'k Operand<'k>,
    order: KernelOrder,
    pub taps: usize,
    pub input: usize,
    pub output: usize,
}

impl<'k> Kernel<'k> {
    pub fn new(operand: &'k Operand<'k>, order: KernelOrder) -> Kernel<'k> {
        let shape = operand.shape();
        let n = shape.len() - 2;
        let (window, input, output) = match order {
            KernelOrder::Hwio => (&shape[..n], shape[n], shape[n + 1]),
            KernelOrder::Hwoi => (&shape[..n], shape[n + 1], shape[n]),
            KernelOrder::Oihw => (&shape[2..], shape[1], shape[0]),
            KernelOrder::Iohw => (&shape[2..], shape[0], shape[1]),
        };
        Kernel { operand, order, taps: window.iter().product(), input, output }
    }

    /// Elements of output channels `begin..end` as (tap, input, output).
    pub fn read(&self, begin: usize, end: usize, out: &mut [f64]) -> Result<(), Diag> {
        let width = end - begin;
        let mut run = vec![0.0; self.taps.max(self.input)];
        match self.order {
            KernelOrder::Hwio => {
                for (row, part) in out.chunks_exact_mut(width.max(1)).enumerate() {
                    self.operand.read(row * self.output + begin, part)?;
                }
            }
            KernelOrder::Hwoi => {
                for (tap, o) in (0..self.taps).flat_map(|tap| (begin..end).map(move |o| (tap, o))) {
                    self.operand.read((tap * self.output + o) * self.input, &mut run[..self.input])?;
                    (0..self.input).for_each(|i| out[(tap * self.input + i) * width + o - begin] = run[i]);
                }
            }
            KernelOrder::Oihw | KernelOrder::Iohw => {
                for (o, i) in (begin..end).flat_map(|o| (0..self.input).map(move |i| (o, i))) {
                    let at = if self.order == KernelOrder::Oihw { o * self.input + i } else { i * self.output + o };
                    self.operand.read(at * self.taps, &mut run[..self.taps])?;
                    (0..self.taps).for_each(|tap| out[(tap * self.input + i) * width + o - begin] = run[tap]);
                }
            }
        }
        Ok(())
    }
}

/// What one convolution needs, apart from the kernel.
struct Job<'a> {
    x: &'a [f64],
    slide: Slide,
    groups: usize,
    /// Input channels.
    input: usize,
    bias: Option<&'a [f64]>,
    noise: Option<Noise>,
    cx: &'a Cx<'a>,
}

pub fn conv(op: &Conv, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.array(0)?;
    let bias = ins.optional(2)?;
    let shape = cx.shape();
    let kernel = Kernel::new(ins.operand(1)?, op.kernel);
    let window = window(ins.operand(1)?.shape(), op.kernel);
    let slide = Slide {
        input: spatial(&x.shape, op.layout),
        output: spatial(&shape, op.layout),
        window,
        strides: wide(&op.strides),
        dilations: wide(&op.dilations),
        before: before(&op.padding)?,
    };
    let job = Job {
        x: &channels_last(&x, op.layout)?,
        slide,
        groups: op.groups as usize,
        input: channels(&x.shape, op.layout),
        bias: bias.as_deref().map(floats).transpose()?,
        noise: cx.noise,
        cx,
    };
    let mut out = vec![0.0; cx.len()];
    let depth = kernel.taps * kernel.input;
    if out.is_empty() || depth == 0 {
        // Nothing to sum.
        let bias = job.bias.unwrap_or(&[0.0]);
        out.iter_mut().zip(bias.iter().cycle()).for_each(|(v, b)| *v = *b);
        return cx.floats(laid_out(out, &shape, op.layout));
    }
    // Groups cut the output channels into runs that one block of them would cross.
    let block =
        if job.groups > 1 { kernel.output } else { (KERNEL_ELEMENTS / depth.max(1)).clamp(1, kernel.output.max(1)) };
    for begin in (0..kernel.output).step_by(block.max(1)) {
        let end = (begin + block).min(kernel.output);
        let mut wide = vec![0.0; depth * (end - begin)];
        kernel.read(begin, end, &mut wide)?;
        job.block(&wide, begin, end, kernel.output, &mut out)?;
    }
    cx.floats(laid_out(out, &shape, op.layout))
}

impl Job<'_> {
    /// Output channels `begin..end` of all pixels.
    fn block(&self, kernel: &[f64], begin: usize, end: usize, all: usize, out: &mut [f64]) -> Result<(), Diag> {
        let depth = self.slide.taps() * self.input / self.groups;
        let pixels = out.len() / all.max(1);
        let shared = pixels.div_ceil(self.cx.pool.threads());
        let rows = (ROWS_ELEMENTS / depth.max(1)).clamp(1, shared.max(1));
        let norms = self.noise.map(|_| Matrix::rows(kernel, end - begin).column_norms(depth, end - begin));
        self.cx.pool.chunks(out, rows * all, |index, part| {
            let first = index * rows;
            let count = part.len() / all;
            if self.groups == self.input && self.groups > 1 {
                self.depthwise(kernel, first, part, all);
            } else {
                self.dense(kernel, first, part, (begin, end, all));
            }
            if let (Some(noise), Some(norms)) = (self.noise, &norms) {
                for (i, row) in part.chunks_exact_mut(all).enumerate().take(count) {
                    self.disturb(noise, first + i, &mut row[begin..end], norms, (begin, all));
                }
            }
            if let Some(bias) = self.bias {
                for row in part.chunks_exact_mut(all) {
                    row[begin..end].iter_mut().zip(&bias[begin..end]).for_each(|(v, b)| *v += b);
                }
            }
            Ok(())
        })
    }

    /// Each input channel has its own `all / groups` outputs: no product of matrices, but sums over whole pixels.
    fn depthwise(&self, kernel: &[f64], first: usize, part: &mut [f64], all: usize) {
        let (pixels, sources) = (self.slide.pixels(), self.slide.input.iter().product::<usize>());
        let times = all / self.groups;
        let mut taps = Vec::new();
        for (i, row) in part.chunks_exact_mut(all).enumerate() {
            let (batch, pixel) = ((first + i) / pixels, (first + i) % pixels);
            self.slide.sources(pixel, &mut taps);
            for (tap, source) in taps.iter().enumerate() {
                let Some(source) = source else { continue };
                let x = &self.x[(batch * sources + source) * self.input..][..self.input];
                let weights = &kernel[tap * all..][..all];
                if times == 1 {
                    row.iter_mut().zip(x).zip(weights).for_each(|((sum, x), w)| *sum += x * w);
                } else {
                    let each = row.chunks_exact_mut(times).zip(weights.chunks_exact(times)).zip(x);
                    each.for_each(|((sums, w), x)| sums.iter_mut().zip(w).for_each(|(sum, w)| *sum += x * w));
                }
            }
        }
    }

    /// Rows of window elements times the kernel, group by group.
    fn dense(&self, kernel: &[f64], first: usize, part: &mut [f64], (begin, end, all): (usize, usize, usize)) {
        let (input, outputs) = (self.input / self.groups, (end - begin) / self.groups);
        let depth = self.slide.taps() * input;
        let count = part.len() / all;
        let sizes = Sizes { m: count, k: depth, n: outputs };
        for group in 0..self.groups {
            let kernel = Matrix { data: &kernel[group * outputs..], row: end - begin, column: 1 };
            let to = &mut part[begin + group * outputs..];
            if self.slide.is_pointwise() {
                let x = Matrix { data: &self.x[first * self.input + group * input..], row: self.input, column: 1 };
                gemm(sizes, x, kernel, false, to, all);
                continue;
            }
            self.cx.pool.with_buffer(count * depth, |rows| {
                self.lay_out(first, group * input, input, rows);
                gemm(sizes, Matrix::rows(rows, depth), kernel, false, to, all);
            });
        }
    }

    /// The elements under each window, for input channels from `channel` on.
    fn lay_out(&self, first: usize, channel: usize, input: usize, rows: &mut [f64]) {
        let (pixels, sources) = (self.slide.pixels(), self.slide.input.iter().product::<usize>());
        let mut taps = Vec::new();
        for (i, row) in rows.chunks_exact_mut(self.slide.taps() * input).enumerate() {
            let (batch, pixel) = ((first + i) / pixels, (first + i) % pixels);
            self.slide.sources(pixel, &mut taps);
            for (run, source) in row.chunks_exact_mut(input).zip(&taps) {
                match source {
                    Some(source) => {
                        let at = (batch * sources + source) * self.input + channel;
                        run.copy_from_slice(&self.x[at..at + input]);
                    }
                    None => run.fill(0.0),
                }
            }
        }
    }

    /// The norm of what lies under the window, group by group, against the norm of each filter.
    fn disturb(&self, noise: Noise, pixel: usize, row: &mut [f64], norms: &[f64], (begin, all): (usize, usize)) {
        let (pixels, sources) = (self.slide.pixels(), self.slide.input.iter().product::<usize>());
        let (input, outputs) = (self.input / self.groups, row.len() / self.groups);
        let mut taps = Vec::new();
        self.slide.sources(pixel % pixels, &mut taps);
        for (group, (row, norms)) in row.chunks_exact_mut(outputs).zip(norms.chunks_exact(outputs)).enumerate() {
            let squares = taps.iter().flatten().map(|source| {
                let at = (pixel / pixels * sources + source) * self.input + group * input;
                self.x[at..at + input].iter().map(|v| v * v).sum::<f64>()
            });
            let norm = squares.sum::<f64>().sqrt();
            noise.dots(row, norm, norms, taps.len() * input, pixel * all + begin + group * outputs);
        }
    }
}
