//! The passes: they change nothing that a graph computes, turn no more data than its ends need, and cost linear time.

use crate::onnx_kit::{Build, Case, Runs, batched, check, difference, dims, fitted, inputs, written};
use crate::onnx_layers::{conv_of, pool_of};
use crate::{onnx_basic, onnx_layers, onnx_rnn};
use recast::passes::{Keep, clean, decompose, is_clean};
use recast::verify::runtime::embedded_lacks;
use recast_plugin_api::ir::*;
use recast_plugin_api::messages::Caps;
use recast_reference::{Files, evaluate};
use std::time::Instant;

/// A small generator of its own: the same nets on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % sides
    }
}

/// A channels-last network in the making.
struct Net {
    b: Build,
    weights: usize,
}

impl Net {
    fn new() -> Net {
        Net { b: Build::nested(), weights: 0 }
    }

    fn weight(&mut self, shape: &[u64]) -> ValueId {
        self.weights += 1;
        self.b.weight(&format!("w{}", self.weights), shape)
    }

    fn positive(&mut self, shape: &[u64]) -> ValueId {
        self.weights += 1;
        self.b.weight_in(&format!("w{}", self.weights), shape, 0.5, 1.5)
    }

    fn size(&self, x: ValueId, axis: usize) -> u64 {
        self.b.graph.shape(x)[axis].known().expect("a known size")
    }

    fn conv(&mut self, x: ValueId, filters: u64, window: u64, stride: u64, groups: u64) -> ValueId {
        let kernel = self.weight(&[window, window, self.size(x, 3) / groups, filters]);
        let bias = self.weight(&[filters]);
        self.b.add(conv_of(2, stride, 1, Padding::Same, groups), &[x, kernel, bias])
    }

    fn depthwise(&mut self, x: ValueId, stride: u64) -> ValueId {
        let channels = self.size(x, 3);
        self.conv(x, channels, 3, stride, channels)
    }

    fn norm(&mut self, x: ValueId) -> ValueId {
        let n = self.size(x, 3);
        let inputs = [
            Some(x),
            Some(self.weight(&[n])),
            Some(self.weight(&[n])),
            Some(self.weight(&[n])),
            Some(self.positive(&[n])),
        ];
        self.b.add_all(BatchNorm { axis: 3, epsilon: 1e-3 }, &inputs)[0]
    }

    fn unary(&mut self, function: UnaryFunction, x: ValueId) -> ValueId {
        self.b.add(Unary { function }, &[x])
    }

    fn binary(&mut self, function: BinaryFunction, x: ValueId, y: ValueId) -> ValueId {
        self.b.add(Binary { function }, &[x, y])
    }

    fn block(&mut self, x: ValueId, filters: u64, window: u64, stride: u64) -> ValueId {
        let y = self.conv(x, filters, window, stride, 1);
        let y = self.norm(y);
        self.unary(UnaryFunction::Relu, y)
    }

    fn mean(&mut self, x: ValueId, keepdims: bool) -> ValueId {
        self.b.add(Reduce { function: ReduceFunction::Mean, axes: vec![1, 2], keepdims }, &[x])
    }

    fn dense(&mut self, x: ValueId, units: u64) -> ValueId {
        let inputs = self.b.graph.shape(x).last().and_then(Dim::known).expect("features");
        let (kernel, bias) = (self.weight(&[inputs, units]), self.weight(&[units]));
        let y = self.b.add(MatMul {}, &[x, kernel]);
        self.binary(BinaryFunction::Add, y, bias)
    }

    fn flatten(&mut self, x: ValueId) -> ValueId {
        let count: u64 = (1..4).map(|axis| self.size(x, axis)).product();
        self.b.add(Reshape { shape: batched(&[count]) }, &[x])
    }

    /// Squeeze and excite, as EfficientNet has it: means, reshaped, through two pointwise convolutions.
    fn excite(&mut self, x: ValueId) -> ValueId {
        let channels = self.size(x, 3);
        let y = self.mean(x, false);
        let y = self.b.add(Reshape { shape: batched(&[1, 1, channels]) }, &[y]);
        let y = self.conv(y, 2, 1, 1, 1);
        let y = self.unary(UnaryFunction::Silu, y);
        let y = self.conv(y, channels, 1, 1, 1);
        let y = self.unary(UnaryFunction::Sigmoid, y);
        self.binary(BinaryFunction::Mul, x, y)
    }

    fn finish(mut self, outputs: &[ValueId]) -> Graph {
        for (i, &output) in outputs.iter().enumerate() {
            self.b.graph.output(format!("out{i}"), output);
        }
        self.b.graph
    }
}

fn transposes(graph: &Graph) -> usize {
    graph.nodes().iter().filter(|node| matches!(node.op, Op::Transpose(_))).count()
}

/// The graph as the ONNX target gets it, proved to compute the same.
fn fit(graph: &Graph) -> Graph {
    let fitted = fitted(graph).unwrap_or_else(|findings| panic!("{}", findings[0]));
    let given = inputs(graph, (2, 5));
    let before = evaluate(graph, &given, &Files::none(), &Default::default()).expect("the graph runs");
    let after = evaluate(&fitted, &given, &Files::none(), &Default::default()).expect("the fitted graph runs");
    if let Some(wrong) = difference(&before, &after, 1e-12) {
        panic!("{}: {wrong}", graph.name);
    }
    for graph in [graph, &fitted].into_iter().filter(|graph| is_clean(graph, Keep::default())) {
        let cleaned = clean(graph, Keep::default()).expect("a clean graph can be cleaned");
        let ops = |graph: &Graph| -> Vec<Op> { graph.nodes().iter().map(|node| node.op.clone()).collect() };
        assert!(ops(&cleaned) == ops(graph), "{}: taken to be clean", graph.name);
        assert_eq!(cleaned.params.len(), graph.params.len(), "{}", graph.name);
    }
    for node in fitted.nodes() {
        let rank = node.inputs.first().copied().flatten().map_or(0, |x| fitted.shape(x).len());
        assert_ne!(node.op.layout(rank), Some(Layout::ChannelsLast), "{}", node.op.name());
    }
    fitted
}

/// One more layer on what there is; sizes stay small enough for windows to fit.
fn grow(net: &mut Net, values: &[ValueId], dice: &mut Dice) -> ValueId {
    let x = values[dice.roll(values.len())];
    let channels = net.size(x, 3);
    match dice.roll(15) {
        0 => net.conv(x, 3 + dice.roll(3) as u64, 3, 1, 1),
        1 => net.block(x, 4, 1, 1),
        2 => net.depthwise(x, 1),
        3 => net.norm(x),
        4 => net.unary(UnaryFunction::Tanh, x),
        5 => {
            let y = net.conv(x, channels, 3, 1, 1);
            net.binary(BinaryFunction::Add, x, y)
        }
        6 => net.b.add(Concat { axis: 3 }, &[x, values[0]]),
        7 => net.excite(x),
        8 => {
            let padded =
                net.b.add(Pad { padding: vec![(0, 0), (1, 0), (0, 1), (0, 0)], mode: PadMode::Constant }, &[x]);
            net.b.add(pool_of(PoolFunction::Average, 2, 2, 1, Padding::Explicit(0, 0)), &[padded])
        }
        9 => net.b.add(pool_of(PoolFunction::Max, 2, 3, 1, Padding::Same), &[x]),
        10 => {
            let axes = [vec![3], vec![1, 2], vec![1]][dice.roll(3)].clone();
            net.b.add(Softmax { axes }, &[x])
        }
        11 => {
            let (gamma, beta) = (net.weight(&[channels]), net.weight(&[channels]));
            net.b.add(LayerNorm { axes: vec![3], epsilon: 1e-3 }, &[x, gamma, beta])
        }
        12 => {
            let scale = net.weight(&[6, channels]);
            net.binary(BinaryFunction::Mul, x, scale)
        }
        13 => {
            let turned = net.b.add(Transpose { perm: vec![0, 2, 1, 3] }, &[x]);
            net.binary(BinaryFunction::Sub, x, turned)
        }
        _ => {
            let peak = net.b.add(Reduce { function: ReduceFunction::Max, axes: vec![3], keepdims: true }, &[x]);
            let seen = net
                .b
                .add(Cumulative { function: CumulativeFunction::Sum, axis: 2, exclusive: true, reverse: false }, &[x]);
            let y = net.binary(BinaryFunction::Div, seen, peak);
            net.unary(UnaryFunction::Sigmoid, y)
        }
    }
}

#[test]
fn random_convolution_nets_compute_the_same() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut net = Net::new();
        net.b.graph.name = format!("net {seed}");
        let x = net.b.input("pos_x", batched(&[6, 6, 3]));
        let mut values = vec![x];
        for _ in 0..2 + dice.roll(9) {
            let next = grow(&mut net, &values, &mut dice);
            values.push(next);
        }
        let last = *values.last().expect("one at least");
        let end = match dice.roll(4) {
            0 => last,
            1 => net.mean(last, false),
            2 => {
                let flat = net.flatten(last);
                net.dense(flat, 3)
            }
            _ => net.b.add(
                Resize {
                    axes: vec![1, 2],
                    sizes: dims(&[9, 12]),
                    mode: ResizeMode::Linear,
                    coordinates: ResizeCoordinates::HalfPixel,
                    rounding: NearestRounding::Floor,
                    cubic_a: -0.5,
                    antialias: false,
                },
                &[last],
            ),
        };
        fit(&net.finish(&[end, values[1]]));
    }
}

#[test]
fn a_mobile_net_turns_its_input_and_nothing_else() {
    let mut net = Net::new();
    let x = net.b.input("x", batched(&[16, 16, 3]));
    let padded = net.b.add(Pad { padding: vec![(0, 0), (0, 1), (0, 1), (0, 0)], mode: PadMode::Constant }, &[x]);
    let mut y = net.block(padded, 8, 3, 2);
    for i in 0..6 {
        let wide = net.block(y, 16, 1, 1);
        let deep = net.depthwise(wide, 1);
        let deep = net.norm(deep);
        let deep = net.b.add(Clip { min: Some(0.0), max: Some(6.0) }, &[deep]);
        let narrow = net.conv(deep, 8, 1, 1, 1);
        let narrow = net.norm(narrow);
        y = if i % 2 == 0 { narrow } else { net.binary(BinaryFunction::Add, y, narrow) };
    }
    let y = net.mean(y, false);
    let y = net.dense(y, 10);
    let y = net.b.add(Softmax { axes: vec![1] }, &[y]);
    assert_eq!(transposes(&fit(&net.finish(&[y]))), 1);
}

#[test]
fn a_residual_net_with_excitation_turns_its_input_and_nothing_else() {
    let mut net = Net::new();
    let x = net.b.input("x", batched(&[16, 16, 3]));
    let scale = net.weight(&[3]);
    let x = net.binary(BinaryFunction::Mul, x, scale);
    let mut y = net.block(x, 8, 3, 2);
    y = net.b.add(pool_of(PoolFunction::Max, 2, 3, 2, Padding::Same), &[y]);
    for _ in 0..4 {
        let shortcut = net.conv(y, 8, 1, 1, 1);
        let inner = net.block(y, 4, 3, 1);
        let inner = net.conv(inner, 8, 1, 1, 1);
        let inner = net.excite(inner);
        y = net.binary(BinaryFunction::Add, shortcut, inner);
        let both = net.b.add(Concat { axis: 3 }, &[y, inner]);
        y = net.conv(both, 8, 1, 1, 1);
    }
    let y = net.mean(y, true);
    let y = net.b.add(Reshape { shape: batched(&[8]) }, &[y]);
    let y = net.dense(y, 10);
    assert_eq!(transposes(&fit(&net.finish(&[y]))), 1);
}

#[test]
fn ends_that_need_the_data_as_it_was_are_turned_once() {
    // One channel: nothing moves on the way in. Flatten asks for the data as Keras has it.
    let mut net = Net::new();
    let x = net.b.input("x", batched(&[8, 8, 1]));
    let y = net.block(x, 4, 3, 2);
    let y = net.flatten(y);
    let y = net.dense(y, 3);
    assert_eq!(transposes(&fit(&net.finish(&[y]))), 1);
    // One pixel: not even that.
    let mut net = Net::new();
    let x = net.b.input("x", batched(&[8, 8, 1]));
    let y = net.block(x, 4, 3, 8);
    let y = net.flatten(y);
    let fitted = fit(&net.finish(&[y]));
    assert_eq!(transposes(&fitted), 0);
    // An image to an image: in and out.
    let mut net = Net::new();
    let x = net.b.input("x", batched(&[8, 8, 3]));
    let y = net.block(x, 4, 3, 1);
    let y = net.conv(y, 3, 3, 1, 1);
    let y = net.unary(UnaryFunction::Sigmoid, y);
    assert_eq!(transposes(&fit(&net.finish(&[y]))), 2);
}

#[test]
fn a_block_with_normalized_channels_is_turned_around_it() {
    // ConvNeXt: what needs the channels last gets them once a block, and gives them back.
    let mut net = Net::new();
    let x = net.b.input("x", batched(&[8, 8, 4]));
    let mut y = net.conv(x, 4, 3, 1, 1);
    for _ in 0..3 {
        let deep = net.depthwise(y, 1);
        let (gamma, beta) = (net.weight(&[4]), net.weight(&[4]));
        let inner = net.b.add(LayerNorm { axes: vec![3], epsilon: 1e-6 }, &[deep, gamma, beta]);
        let inner = net.dense(inner, 8);
        let inner = net.unary(UnaryFunction::Gelu, inner);
        let inner = net.dense(inner, 4);
        let scale = net.weight(&[4]);
        let inner = net.binary(BinaryFunction::Mul, inner, scale);
        y = net.binary(BinaryFunction::Add, y, inner);
    }
    let y = net.mean(y, false);
    assert_eq!(transposes(&fit(&net.finish(&[y]))), 1 + 3 * 2);
}

#[test]
fn shape_ops_on_weights_become_views() {
    let mut b = Build::nested();
    let x = b.input("x", batched(&[6]));
    let w = b.weight("w", &[3, 6]);
    let turned = b.add(Transpose { perm: vec![1, 0] }, &[w]);
    let y = b.add(MatMul {}, &[x, turned]);
    let flat = b.add(Reshape { shape: dims(&[18]) }, &[w]);
    let flat = b.add(Slice { axis: 0, start: Dim::Known(0), stop: Dim::Known(3), step: 1 }, &[flat]);
    let y = b.add(Binary { function: BinaryFunction::Add }, &[y, flat]);
    let unused = b.weight("unused", &[2]);
    b.add(Unary { function: UnaryFunction::Tanh }, &[unused]);
    b.graph.output("y", y);
    let fitted = fit(&b.graph);
    let names: Vec<&str> = fitted.nodes().iter().map(|node| node.op.name()).collect();
    assert_eq!(names, ["matmul", "slice", "binary"]);
    assert_eq!(fitted.params.len(), 2, "two views of one weight");
    assert!(!is_clean(&b.graph, Keep::default()));
}

/// Ops that only exist in forms which the embedded runtime lacks, spelled out: the same numbers, and it runs them.
#[test]
fn what_the_embedded_runtime_lacks_is_spelled_out() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let cases = [
        onnx_basic::elementwise(),
        onnx_basic::far_from_zero(),
        onnx_basic::reductions(),
        onnx_layers::windows(),
        onnx_layers::resizes(),
        onnx_rnn::recurrent(),
        onnx_rnn::masked(),
        onnx_rnn::scans(),
    ];
    let mut spelled = 0;
    for case in cases.into_iter().flatten() {
        if !embedded_lacks(&case.graph).contains(&true) {
            continue;
        }
        let given = inputs(&case.graph, (2, 5));
        let sizes = |name: &str| Some(Dim::Known(if name == "batch" { 2 } else { 5 }));
        let bound = case.graph.bind(&sizes).expect("it binds");
        let graph = decompose(&bound, &Caps::default(), embedded_lacks)
            .expect("it is spelled out")
            .expect("something was to be spelled out");
        assert!(!embedded_lacks(&graph).contains(&true), "{} is not spelled out", case.name);
        let before = evaluate(&bound, &given, &Files::none(), &Default::default()).expect("the graph runs");
        let after = evaluate(&graph, &given, &Files::none(), &Default::default()).expect("the decomposed graph runs");
        let tolerance = match case.name.split('_').next() {
            // Weights of resampling are f32 in the spelled-out graph.
            Some("resize") => 1e-6,
            // A sum that is spelled out swallows what f32 would not hold.
            Some("far") => 1e-9,
            _ => 1e-12,
        };
        if let Some(wrong) = difference(&before, &after, tolerance) {
            panic!("{}: {wrong}", case.name);
        }
        let wrong = check(&Case { graph, runs: Runs::Everywhere, opset_min: 13, ..case }, None, scratch.path());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        spelled += 1;
    }
    assert!(spelled > 60, "{spelled} cases");
    let scans = onnx_rnn::scans().iter().filter(|case| embedded_lacks(&case.graph).contains(&true)).count();
    assert_eq!(scans, 0, "a loop over what it has is nothing that it lacks");
}

#[test]
fn ten_times_the_layers_take_ten_times_the_time() {
    let chain = |layers: usize| {
        let mut net = Net::new();
        let x = net.b.input("x", batched(&[4, 4, 2]));
        let y = (0..layers / 4).fold(x, |y, _| {
            let z = net.block(y, 2, 1, 1);
            net.binary(BinaryFunction::Add, y, z)
        });
        net.finish(&[y])
    };
    let cost = |graph: &Graph| {
        let start = Instant::now();
        let fitted = fitted(graph).expect("it fits");
        assert!(written(&fitted, 17).expect("it is written").len() > 1000);
        start.elapsed().as_secs_f64()
    };
    let (small, large) = (chain(2_000), chain(20_000));
    let short = (0..3).map(|_| cost(&small)).fold(f64::MAX, f64::min);
    let long = cost(&large);
    // Quadratic cost would make it a hundred times; other tests run beside this one.
    assert!(long < 50.0 * short, "{short:.3} s for 2,000 layers, {long:.3} s for 20,000");
}
