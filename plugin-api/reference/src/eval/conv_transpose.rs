//! The gradient of a convolution: each input pixel, times the kernel, is added to the output under its window.

use super::conv::{Kernel, Slide, channels, channels_last, laid_out, spatial, wide};
use super::gemm::{Matrix, Sizes, gemm};
use super::{Cx, Ins, Outcome, floats};
use recast_plugin_api::ir::{ConvTranspose, KernelOrder};

/// Input pixels that are multiplied at a time.
const ROWS_ELEMENTS: usize = 1 << 21;

pub fn conv_transpose(op: &ConvTranspose, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.array(0)?;
    let shape = cx.shape();
    let kernel = Kernel::new(ins.operand(1)?, op.kernel);
    let window = match op.kernel {
        KernelOrder::Hwio | KernelOrder::Hwoi => ins.operand(1)?.shape()[..op.strides.len()].to_vec(),
        KernelOrder::Oihw | KernelOrder::Iohw => ins.operand(1)?.shape()[2..].to_vec(),
    };
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
    let values = channels_last(&x, op.layout)?;
    let (pixels, targets) = (slide.pixels(), slide.input.iter().product::<usize>());
    let wide_row = kernel.taps * outputs;
    let mut out = vec![0.0; cx.len()];
    let mut squares = vec![0.0; if cx.noise.is_some() { out.len() / outputs.max(1) } else { 0 }];
    let block = (ROWS_ELEMENTS / wide_row.max(1)).max(1);
    let mut taps = Vec::new();
    for group in 0..groups {
        let weights = Matrix::rows(&weights[group * input * wide_row..], wide_row);
        for first in (0..x.shape[0] * pixels).step_by(block) {
            let count = block.min(x.shape[0] * pixels - first);
            let rows = Matrix { data: &values[first * all_in + group * input..], row: all_in, column: 1 };
            let mut products = vec![0.0; count * wide_row];
            gemm(Sizes { m: count, k: input, n: wide_row }, rows, weights, false, &mut products, wide_row);
            for (i, product) in products.chunks_exact(wide_row.max(1)).enumerate() {
                let (batch, pixel) = ((first + i) / pixels, (first + i) % pixels);
                slide.sources(pixel, &mut taps);
                for (tap, target) in taps.iter().enumerate() {
                    let Some(target) = target else { continue };
                    let at = (batch * targets + target) * groups + group;
                    let sums = &mut out[at * outputs..][..outputs];
                    sums.iter_mut().zip(&product[tap * outputs..]).for_each(|(sum, v)| *sum += v);
                    if cx.noise.is_some() {
                        let x = &values[(first + i) * all_in + group * input..][..input];
                        squares[at] += x.iter().map(|v| v * v).sum::<f64>();
                    }
                }
            }
        }
    }
    if let Some(noise) = cx.noise {
        // Norms of each filter over all taps: an upper bound of what one output pixel meets.
        let norms: Vec<f64> = (0..all_out).map(|o| filter_norm(&weights, o, (input, outputs, kernel.taps))).collect();
        for (at, sums) in out.chunks_exact_mut(outputs.max(1)).enumerate() {
            let norms = &norms[at % groups * outputs..][..outputs];
            noise.dots(sums, squares[at].sqrt(), norms, kernel.taps * input, at * outputs);
        }
    }
    if let Some(bias) = ins.optional(2)? {
        let bias = floats(&bias)?;
        out.chunks_exact_mut(all_out.max(1)).for_each(|row| row.iter_mut().zip(bias).for_each(|(v, b)| *v += b));
    }
    cx.floats(laid_out(out, &shape, op.layout))
}

fn filter_norm(weights: &[f64], channel: usize, (input, outputs, taps): (usize, usize, usize)) -> f64 {
    let (group, o) = (channel / outputs, channel % outputs);
    let elements = (0..input).flat_map(|i| (0..taps).map(move |tap| ((group * input + i) * taps + tap) * outputs + o));
    elements.map(|at| weights[at].powi(2)).sum::<f64>().sqrt()
}
