//! The gradient of a convolution: each input pixel, times the kernel, is added to the output under its window.

use super::conv::{Kernel, Slide, channels, channels_last, laid_out, spatial, wide, window};
use super::gemm::{Matrix, Sizes, gemm};
use super::{Cx, Ins, Outcome, floats};
use crate::noise::Noise;
use recast_plugin_api::ir::ConvTranspose;

/// Input pixels that are multiplied at a time.
const ROWS_ELEMENTS: usize = 1 << 21;

pub fn conv_transpose(op: &ConvTranspose, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.array(0)?;
    let shape = cx.shape();
    let kernel = Kernel::new(ins.operand(1)?, op.kernel);
    let window = window(ins.operand(1)?.shape(), op.kernel);
    // Seen backwards: the output is what the windows slide over, the input is where they stand.
    let slide = Slide {
        input: spatial(&shape, op.layout),
        output: spatial(&x.shape, op.layout),
        window,
        strides: wide(&op.strides),
        dilations: wide(&op.dilations),
        before: op.cropping.iter().map(|&(before, _)| before as usize).collect(),
    };
    let groups = op.groups as usize;
    let (all_in, all_out) = (channels(&x.shape, op.layout), channels(&shape, op.layout));
    let (input, outputs) = (all_in / groups, all_out / groups);
    let mut weights = vec![0.0; kernel.taps * kernel.input * kernel.output];
    kernel.read(0, kernel.output, &mut weights)?;
    // (tap, in, out) to (in, tap, out): one row for each input channel.
    let weights: Vec<f64> = (0..all_in)
        .flat_map(|i| (0..kernel.taps).map(move |tap| (tap * all_in + i) * outputs))
        .flat_map(|at| weights[at..at + outputs].iter().copied())
        .collect();
    let job =
        Job { x: &channels_last(&x, op.layout)?, batch: x.shape[0], slide, weights: &weights, groups, input, outputs };
    let mut out = vec![0.0; cx.len()];
    job.scatter(&mut out);
    if let Some(noise) = cx.noise {
        job.disturb(noise, &mut out);
    }
    if let Some(bias) = ins.optional(2)? {
        let bias = floats(&bias)?;
        out.chunks_exact_mut(all_out.max(1)).for_each(|row| row.iter_mut().zip(bias).for_each(|(v, b)| *v += b));
    }
    cx.floats(laid_out(out, &shape, op.layout))
}

/// What one transposed convolution needs, channels-last.
struct Job<'a> {
    x: &'a [f64],
    batch: usize,
    slide: Slide,
    /// (all input channels, taps, output channels of a group)
    weights: &'a [f64],
    groups: usize,
    /// Channels of one group.
    input: usize,
    outputs: usize,
}

impl Job<'_> {
    fn row(&self) -> usize {
        self.slide.taps() * self.outputs
    }

    /// Calls `add` with each input pixel (batch included), tap, and output pixel under it.
    fn each_target(&self, pixels: std::ops::Range<usize>, mut add: impl FnMut(usize, usize, usize)) {
        let (sources, targets) = (self.slide.pixels(), self.slide.input.iter().product::<usize>());
        let mut taps = Vec::new();
        for pixel in pixels {
            self.slide.sources(pixel % sources, &mut taps);
            for (tap, target) in taps.iter().enumerate() {
                if let Some(target) = target {
                    add(pixel, tap, pixel / sources * targets + target);
                }
            }
        }
    }

    /// Each pixel times the kernel, added where it belongs.
    fn scatter(&self, out: &mut [f64]) {
        let (all, row) = (self.batch * self.slide.pixels(), self.row());
        let block = (ROWS_ELEMENTS / row.max(1)).max(1);
        for (group, first) in (0..self.groups).flat_map(|g| (0..all).step_by(block).map(move |first| (g, first))) {
            let weights = Matrix::rows(&self.weights[group * self.input * row..], row);
            let width = self.groups * self.input;
            let x = Matrix { data: &self.x[first * width + group * self.input..], row: width, column: 1 };
            let count = block.min(all - first);
            let mut products = vec![0.0; count * row];
            gemm(Sizes { m: count, k: self.input, n: row }, x, weights, false, &mut products, row);
            self.each_target(first..first + count, |pixel, tap, target| {
                let product = &products[(pixel - first) * row + tap * self.outputs..][..self.outputs];
                let sums = &mut out[(target * self.groups + group) * self.outputs..][..self.outputs];
                sums.iter_mut().zip(product).for_each(|(sum, v)| *sum += v);
            });
        }
    }

    /// The norm of all that reaches an output pixel, against the norm of each filter over all taps: an upper bound of
    /// what it meets.
    fn disturb(&self, noise: Noise, out: &mut [f64]) {
        let mut squares = vec![0.0; out.len() / self.outputs.max(1)];
        self.each_target(0..self.batch * self.slide.pixels(), |pixel, _, target| {
            for group in 0..self.groups {
                let x = &self.x[(pixel * self.groups + group) * self.input..][..self.input];
                squares[target * self.groups + group] += x.iter().map(|v| v * v).sum::<f64>();
            }
        });
        let norms: Vec<f64> = (0..self.groups * self.outputs).map(|channel| self.filter_norm(channel)).collect();
        let terms = self.slide.taps() * self.input;
        for (at, sums) in out.chunks_exact_mut(self.outputs.max(1)).enumerate() {
            let norms = &norms[at % self.groups * self.outputs..][..self.outputs];
            noise.dots(sums, squares[at].sqrt(), norms, terms, at * self.outputs);
        }
    }

    fn filter_norm(&self, channel: usize) -> f64 {
        let (group, o) = (channel / self.outputs, channel % self.outputs);
        let kernel = &self.weights[group * self.input * self.row()..][..self.input * self.row()];
        kernel.iter().skip(o).step_by(self.outputs).map(|v| v * v).sum::<f64>().sqrt()
    }
}
