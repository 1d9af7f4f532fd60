//! Does the noise of `Rounding::Perturbed` tell how far a real float32 run is off? A plain float32 implementation of a
//! few nets is compared with it: it must lie within a few times the disturbance, and not far below it either.

use recast_plugin_api::ir::*;
use recast_reference::testkit::{Random, difference};
use recast_reference::{Array, Files, Options, Rounding, evaluate};

/// The largest error of a real run over the largest disturbance. The daemon's tolerance has more room than this.
const REAL_OVER_NOISE: std::ops::Range<f64> = 0.02..4.0;

struct Net {
    graph: Graph,
    random: Random,
}

impl Net {
    fn new(seed: u64, shape: &[u64]) -> (Net, ValueId) {
        let mut graph = Graph::new("");
        let x = graph.input("x", Type::known(DType::F32, shape));
        (Net { graph, random: Random::new(seed) }, x)
    }

    /// Random weights; `scale` over the square root of what is summed keeps activations at about one.
    fn weight(&mut self, shape: &[u64], scale: f64, offset: f64) -> ValueId {
        let count = shape.iter().product::<u64>();
        let fan_in = (count / shape[shape.len() - 1]).max(1) as f64;
        let factor = if shape.len() > 1 { scale / fan_in.sqrt() } else { scale };
        let values: Vec<f64> = (0..count).map(|_| self.random.normal() * factor + offset).collect();
        let role = format!("w{}", self.graph.params.len());
        self.graph.param("", &role, Tensor::from_numbers(DType::F32, shape, &values))
    }

    fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.graph.add("", op, inputs).unwrap()
    }

    fn unary(&mut self, function: UnaryFunction, x: ValueId) -> ValueId {
        self.graph.unary("", function, x).unwrap()
    }

    fn dense(&mut self, x: ValueId, units: u64, offset: f64) -> ValueId {
        let width = self.graph.shape(x).last().and_then(Dim::known).unwrap();
        let kernel = self.weight(&[width, units], 1.3, offset);
        let bias = self.weight(&[units], 0.3, 0.0);
        let y = self.add(MatMul {}, &[x, kernel]);
        self.graph.binary("", BinaryFunction::Add, y, bias).unwrap()
    }
}

fn mlp(offset: f64, function: UnaryFunction) -> Graph {
    let (mut net, mut x) = Net::new(11, &[4, 784]);
    for units in [256, 128, 64] {
        x = net.dense(x, units, offset);
        x = net.unary(function, x);
    }
    let y = net.dense(x, 10, 0.0);
    let y = net.add(Softmax { axes: vec![1] }, &[y]);
    net.graph.output("y", y);
    net.graph
}

fn cnn(layers: usize) -> Graph {
    let (mut net, mut x) = Net::new(12, &[1, 12, 12, 8]);
    for _ in 0..layers {
        let channels = net.graph.shape(x)[3].known().unwrap();
        let kernel = net.weight(&[3, 3, channels, 24], 1.4, 0.0);
        let conv = Conv {
            strides: vec![1, 1],
            dilations: vec![1, 1],
            padding: vec![Padding::Same; 2],
            groups: 1,
            layout: Layout::ChannelsLast,
            kernel: KernelOrder::Hwio,
        };
        x = net.add(conv, &[x, kernel]);
        let weights = [(0.2, 1.0), (0.3, 0.0), (0.5, 0.0)].map(|(scale, offset)| net.weight(&[24], scale, offset));
        let variance = net.weight(&[24], 0.05, 1.0);
        let norm = BatchNorm { axis: 3, epsilon: 1e-3 };
        x = net.add(norm, &[x, weights[0], weights[1], weights[2], variance]);
        x = net.unary(UnaryFunction::Relu, x);
    }
    let y = net.add(Reduce { function: ReduceFunction::Mean, axes: vec![1, 2], keepdims: false }, &[x]);
    let y = net.dense(y, 10, 0.0);
    net.graph.output("y", y);
    net.graph
}

fn lstm(steps: u64) -> Graph {
    let (mut net, x) = Net::new(13, &[2, steps, 16]);
    let weights = [net.weight(&[16, 128], 1.0, 0.0), net.weight(&[32, 128], 1.5, 0.0), net.weight(&[128], 0.3, 0.0)];
    let op = Lstm {
        directions: vec![Direction::Forward],
        activation: ActivationSpec::plain(ActivationFunction::Tanh),
        recurrent_activation: ActivationSpec::plain(ActivationFunction::Sigmoid),
        zero_masked: false,
    };
    let mut inputs = vec![Some(x), None];
    inputs.extend(weights.map(Some));
    inputs.extend([None, None]);
    let made = net.graph.add_node("", op.into(), &inputs).unwrap();
    net.graph.output("h", made[1]);
    net.graph
}

/// Float32 arithmetic in the order in which a textbook writes it, eight lanes in sums as the narrowest runtime has.
struct Plain<'a> {
    graph: &'a Graph,
    values: Vec<Vec<f32>>,
}

fn dot(terms: impl Iterator<Item = (f32, f32)>) -> f32 {
    let mut lanes = [0f32; 8];
    terms.enumerate().for_each(|(i, (a, b))| lanes[i % 8] += a * b);
    lanes.iter().sum()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

impl Plain<'_> {
    fn run(graph: &Graph, x: &Array) -> Vec<f32> {
        let mut plain = Plain { graph, values: vec![Vec::new(); graph.value_count()] };
        plain.values[graph.inputs[0].value.0 as usize] = x.numbers().iter().map(|&v| v as f32).collect();
        for param in &graph.params {
            let Data::Inline(bytes) = &param.tensor.data else { panic!("inline") };
            let floats = bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap()));
            plain.values[param.value.0 as usize] = floats.collect();
        }
        for node in graph.nodes() {
            let made = plain.node(node);
            // Only the LSTM's final state is asked for.
            let to = if node.outputs.len() > 1 { node.outputs[1] } else { node.outputs[0] };
            plain.values[to.0 as usize] = made;
        }
        std::mem::take(&mut plain.values[graph.outputs[0].value.0 as usize])
    }

    fn sizes(&self, value: ValueId) -> Vec<usize> {
        self.graph.ty(value).sizes().unwrap().into_iter().map(|n| n as usize).collect()
    }

    fn node(&self, node: &Node) -> Vec<f32> {
        let ids: Vec<ValueId> = node.inputs.iter().flatten().copied().collect();
        let input = |i: usize| self.values[ids[i].0 as usize].as_slice();
        match &node.op {
            Op::MatMul(_) => matmul(input(0), input(1), self.sizes(ids[1])[1]),
            Op::Binary(_) => input(0).iter().enumerate().map(|(i, a)| a + input(1)[i % input(1).len()]).collect(),
            Op::Unary(op) => input(0).iter().map(|&x| unary(op.function, x)).collect(),
            Op::Softmax(_) => input(0).chunks(self.sizes(ids[0])[1]).flat_map(softmax).collect(),
            Op::Conv(_) => conv(input(0), input(1), &self.sizes(ids[0]), self.sizes(ids[1])[3]),
            Op::BatchNorm(op) => batch_norm(input(0), [1, 2, 3, 4].map(input), op.epsilon as f32),
            Op::Reduce(_) => mean(input(0), self.sizes(ids[0])[3]),
            Op::Lstm(_) => lstm_final(input(0), [1, 2, 3].map(input), &self.sizes(ids[0])),
            other => panic!("no float32 {}", other.name()),
        }
    }
}

fn matmul(a: &[f32], b: &[f32], n: usize) -> Vec<f32> {
    let k = b.len() / n;
    a.chunks(k).flat_map(|row| (0..n).map(move |j| dot((0..k).map(|i| (row[i], b[i * n + j]))))).collect()
}

fn unary(function: UnaryFunction, x: f32) -> f32 {
    match function {
        UnaryFunction::Relu => x.max(0.0),
        UnaryFunction::Tanh => x.tanh(),
        UnaryFunction::Sigmoid => sigmoid(x),
        UnaryFunction::GeluTanh => 0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044715 * x * x * x)).tanh()),
        other => panic!("no float32 {other}"),
    }
}

fn softmax(row: &[f32]) -> Vec<f32> {
    let largest = row.iter().fold(f32::MIN, |a, &b| a.max(b));
    let powers: Vec<f32> = row.iter().map(|v| (v - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|v| v / sum).collect()
}

/// 3 x 3, stride one, padded to the same size, one image.
fn conv(x: &[f32], kernel: &[f32], sizes: &[usize], out: usize) -> Vec<f32> {
    let (h, w, c) = (sizes[1] as isize, sizes[2] as isize, sizes[3]);
    let mut y = Vec::new();
    for (row, column, o) in (0..h).flat_map(|r| (0..w).flat_map(move |q| (0..out).map(move |o| (r, q, o)))) {
        let taps = (0..9).map(|tap| (tap, row + tap / 3 - 1, column + tap % 3 - 1));
        let inside = taps.filter(|(_, r, q)| (0..h).contains(r) && (0..w).contains(q));
        y.push(dot(inside.flat_map(|(tap, r, q)| {
            (0..c).map(move |i| (x[(r * w + q) as usize * c + i], kernel[(tap as usize * c + i) * out + o]))
        })));
    }
    y
}

fn batch_norm(x: &[f32], [scale, offset, mean, variance]: [&[f32]; 4], epsilon: f32) -> Vec<f32> {
    let c = scale.len();
    // Folded, as runtimes do it.
    let factor: Vec<f32> = (0..c).map(|i| scale[i] / (variance[i] + epsilon).sqrt()).collect();
    let shift: Vec<f32> = (0..c).map(|i| offset[i] - mean[i] * factor[i]).collect();
    x.iter().enumerate().map(|(i, v)| v * factor[i % c] + shift[i % c]).collect()
}

fn mean(x: &[f32], channels: usize) -> Vec<f32> {
    let count = x.len() / channels;
    (0..channels).map(|c| (0..count).map(|i| x[i * channels + c]).sum::<f32>() / count as f32).collect()
}

fn lstm_final(x: &[f32], [kernel, recurrent, bias]: [&[f32]; 3], sizes: &[usize]) -> Vec<f32> {
    let (batch, time, width) = (sizes[0], sizes[1], sizes[2]);
    let u = bias.len() / 4;
    let mut finals = Vec::new();
    for b in 0..batch {
        let (mut h, mut c) = (vec![0f32; u], vec![0f32; u]);
        for t in 0..time {
            let x = &x[(b * time + t) * width..][..width];
            let (from_x, from_h) = (matmul(x, kernel, 4 * u), matmul(&h, recurrent, 4 * u));
            let z: Vec<f32> = (0..4 * u).map(|j| from_x[j] + from_h[j] + bias[j]).collect();
            for j in 0..u {
                c[j] = sigmoid(z[u + j]) * c[j] + sigmoid(z[j]) * z[2 * u + j].tanh();
                h[j] = sigmoid(z[3 * u + j]) * c[j].tanh();
            }
        }
        finals.extend(h);
    }
    finals
}

#[test]
fn a_real_float32_run_lies_within_the_noise() {
    let nets = [
        ("mlp", mlp(0.0, UnaryFunction::Relu)),
        ("mlp with weights of one sign", mlp(0.02, UnaryFunction::Sigmoid)),
        ("mlp of gelu", mlp(0.0, UnaryFunction::GeluTanh)),
        ("cnn", cnn(3)),
        ("deep cnn", cnn(12)),
        ("lstm", lstm(8)),
        ("long lstm", lstm(60)),
    ];
    let mut outside = Vec::new();
    for (name, graph) in nets {
        let shape: Vec<usize> = graph.ty(graph.inputs[0].value).sizes().unwrap().iter().map(|&n| n as usize).collect();
        for seed in 0..4 {
            let x = Random::new(100 + seed).array(DType::F32, &shape, 0);
            let run = |rounding| {
                let options = Options { rounding, threads: 1 };
                evaluate(&graph, std::slice::from_ref(&x), &Files::none(), &options).unwrap().remove(0)
            };
            let exact = run(Rounding::Exact);
            let noise = difference(&run(Rounding::Perturbed { seed }), &exact).unwrap().max_abs;
            let plain = Plain::run(&graph, &x).into_iter().map(f64::from).collect();
            let real = difference(&Array::floats(DType::F32, exact.shape.clone(), plain), &exact).unwrap().max_abs;
            println!("{name}: real {real:.2e}, noise {noise:.2e}, ratio {:.3}", real / noise);
            if !REAL_OVER_NOISE.contains(&(real / noise)) {
                outside.push(format!("{name}: real {real:.2e}, noise {noise:.2e}"));
            }
        }
    }
    assert!(outside.is_empty(), "{}", outside.join("\n"));
}
