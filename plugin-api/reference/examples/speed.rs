//! How long the evaluator takes for nets of the shape of ResNet50 and VGG16, one sample at 224 x 224.
//!
//!     cargo run --release -p recast-reference --example speed [threads [resnet50|vgg16]]

use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::*;
use recast_reference::{Array, Files, Options, Rounding, evaluate_observed};
use std::time::Instant;

/// Builds nets whose weights all begin at the start of one file of noise.
struct Builder {
    graph: Graph,
    layers: usize,
    largest: u64,
}

impl Builder {
    fn new(name: &str) -> (Builder, ValueId) {
        let mut graph = Graph::new(name);
        let x = graph.input("x", Type::known(DType::F32, &[1, 224, 224, 3]));
        (Builder { graph, layers: 0, largest: 0 }, x)
    }

    fn weight(&mut self, role: &str, shape: &[u64]) -> ValueId {
        let len = shape.iter().product::<u64>() * 4;
        self.largest = self.largest.max(len);
        let tensor = Tensor::stored(DType::F32, shape, Data::Region { file: 0, offset: 0, len });
        self.graph.param(&format!("layer_{}", self.layers), role, tensor)
    }

    fn conv(&mut self, x: ValueId, filters: u64, window: u64, stride: u64, norm: bool) -> Result<ValueId, Diag> {
        self.layers += 1;
        let channels = self.graph.shape(x)[3].known().unwrap_or(0);
        let kernel = self.weight("kernel", &[window, window, channels, filters]);
        let conv = Conv {
            strides: vec![stride; 2],
            dilations: vec![1; 2],
            padding: vec![Padding::Same; 2],
            groups: 1,
            layout: Layout::ChannelsLast,
            kernel: KernelOrder::Hwio,
        };
        let y = self.graph.add("", conv, &[x, kernel])?;
        if !norm {
            return Ok(y);
        }
        let weights = ["scale", "offset", "mean", "variance"].map(|role| Some(self.weight(role, &[filters])));
        let op = Op::BatchNorm(BatchNorm { axis: 3, epsilon: 1.0 });
        Ok(self.graph.add_node("", op, &[&[Some(y)], weights.as_slice()].concat())?[0])
    }

    fn relu(&mut self, x: ValueId) -> Result<ValueId, Diag> {
        self.graph.unary("", UnaryFunction::Relu, x)
    }

    fn pool(&mut self, x: ValueId, window: u64) -> Result<ValueId, Diag> {
        let op = Pool {
            function: PoolFunction::Max,
            window: vec![window; 2],
            strides: vec![2; 2],
            padding: vec![Padding::Same; 2],
            layout: Layout::ChannelsLast,
        };
        self.graph.add("", op, &[x])
    }

    fn dense(&mut self, x: ValueId, units: u64) -> Result<ValueId, Diag> {
        self.layers += 1;
        let width = self.graph.shape(x)[1].known().unwrap_or(0);
        let kernel = self.weight("kernel", &[width, units]);
        self.graph.add("", MatMul {}, &[x, kernel])
    }
}

fn resnet50() -> Result<Builder, Diag> {
    let (mut b, x) = Builder::new("ResNet50");
    let y = b.conv(x, 64, 7, 2, true)?;
    let y = b.relu(y)?;
    let mut y = b.pool(y, 3)?;
    for (width, blocks, stride) in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)] {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            let shortcut = if block == 0 { b.conv(y, 4 * width, 1, stride, true)? } else { y };
            let z = b.conv(y, width, 1, stride, true)?;
            let z = b.relu(z)?;
            let z = b.conv(z, width, 3, 1, true)?;
            let z = b.relu(z)?;
            let z = b.conv(z, 4 * width, 1, 1, true)?;
            let z = b.graph.binary("", BinaryFunction::Add, z, shortcut)?;
            y = b.relu(z)?;
        }
    }
    let y = b.graph.reduce("", ReduceFunction::Mean, y, &[1, 2], false)?;
    let y = b.dense(y, 1000)?;
    b.graph.output("y", y);
    Ok(b)
}

fn vgg16() -> Result<Builder, Diag> {
    let (mut b, mut y) = Builder::new("VGG16");
    for (width, count) in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)] {
        for _ in 0..count {
            y = b.conv(y, width, 3, 1, false)?;
            y = b.relu(y)?;
        }
        y = b.pool(y, 2)?;
    }
    let mut y = b.graph.reshape("", y, vec![Dim::Known(1), Dim::Known(7 * 7 * 512)])?;
    for units in [4096, 4096, 1000] {
        y = b.dense(y, units)?;
    }
    b.graph.output("y", y);
    Ok(b)
}

fn main() -> Result<(), Diag> {
    let threads = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let only = std::env::args().nth(2);
    for built in [resnet50()?, vgg16()?] {
        if only.as_ref().is_some_and(|only| !built.graph.name.eq_ignore_ascii_case(only)) {
            continue;
        }
        let value = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
        let noise: Vec<u8> = (0..built.largest / 4).flat_map(|i| (0.1 * value(i)).to_le_bytes()).collect();
        let x = Array::from_numbers(
            DType::F32,
            vec![1, 224, 224, 3],
            (0..224 * 224 * 3).map(|i| value(i) as f64).collect(),
        );
        for rounding in [Rounding::Exact, Rounding::Exact, Rounding::Perturbed { seed: 1 }] {
            let options = Options { rounding, threads };
            let begin = Instant::now();
            let mut by_op: std::collections::BTreeMap<&str, f64> = Default::default();
            let mut last = begin;
            let files = Files(vec![&noise]);
            let done = evaluate_observed(&built.graph, std::slice::from_ref(&x), &files, &options, &mut |node, _| {
                *by_op.entry(node.op.name()).or_default() += last.elapsed().as_secs_f64();
                last = Instant::now();
            })?;
            let (seconds, peak) = (begin.elapsed().as_secs_f64(), done.peak_bytes >> 20);
            println!("{} {rounding:?}: {seconds:.3} s, values at most {peak} MiB", built.graph.name);
            by_op.iter().for_each(|(op, seconds)| println!("    {op}: {seconds:.3}"));
        }
    }
    Ok(())
}
