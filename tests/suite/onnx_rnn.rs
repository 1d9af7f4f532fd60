//! Cases of recurrent ops (masked ones too), attention and scans.

use crate::onnx_kit::{Build, Case, batch, batched, time};
use recast_plugin_api::ir::*;

const UNITS: u64 = 3;
const FEATURES: u64 = 2;

fn spec(function: ActivationFunction) -> ActivationSpec {
    ActivationSpec::plain(function)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Lstm,
    GruAfter,
    GruBefore,
    Simple,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Lstm, Kind::GruAfter, Kind::GruBefore, Kind::Simple];

    fn name(self) -> &'static str {
        match self {
            Kind::Lstm => "lstm",
            Kind::GruAfter => "gru",
            Kind::GruBefore => "gru_before",
            Kind::Simple => "rnn",
        }
    }

    fn gates(self) -> u64 {
        match self {
            Kind::Lstm => 4,
            Kind::GruAfter | Kind::GruBefore => 3,
            Kind::Simple => 1,
        }
    }

    fn states(self) -> usize {
        if self == Kind::Lstm { 2 } else { 1 }
    }

    fn op(self, directions: &[Direction], zero_masked: bool) -> Op {
        let (activation, recurrent_activation) = (spec(ActivationFunction::Tanh), spec(ActivationFunction::Sigmoid));
        let directions = directions.to_vec();
        match self {
            Kind::Lstm => Lstm { directions, activation, recurrent_activation, zero_masked }.into(),
            Kind::GruAfter | Kind::GruBefore => {
                let reset_after = self == Kind::GruAfter;
                Gru { directions, activation, recurrent_activation, reset_after, zero_masked }.into()
            }
            Kind::Simple => SimpleRnn { directions, activation, zero_masked }.into(),
        }
    }

    /// The embedded runtime has no RNN, and GRU in the form with the reset after only.
    fn embedded(self, case: Case) -> Case {
        if matches!(self, Kind::GruBefore | Kind::Simple) { case.not_embedded() } else { case }
    }
}

const FORWARD: &[Direction] = &[Direction::Forward];
const BACKWARD: &[Direction] = &[Direction::Backward];
const BOTH: &[Direction] = &[Direction::Forward, Direction::Backward];
const SWAPPED: &[Direction] = &[Direction::Backward, Direction::Forward];

/// Weights of each direction; initial states are inputs of the model.
fn weights(b: &mut Build, kind: Kind, directions: &[Direction], bias: bool, initial: bool) -> Vec<Option<ValueId>> {
    let wide = kind.gates() * UNITS;
    let mut values = Vec::new();
    for d in 0..directions.len() {
        values.push(Some(b.weight(&format!("kernel_{d}"), &[FEATURES, wide])));
        values.push(Some(b.weight(&format!("recurrent_{d}"), &[UNITS, wide])));
        let shape = if kind == Kind::GruAfter { vec![2, wide] } else { vec![wide] };
        values.push(bias.then(|| b.weight(&format!("bias_{d}"), &shape)));
        for state in 0..kind.states() {
            values.push(initial.then(|| b.input(&format!("state_{d}_{state}"), batched(&[UNITS]))));
        }
    }
    values
}

fn case(name: &str, kind: Kind, directions: &[Direction], setting: Setting) -> Case {
    Case::new(name, |b| {
        let x = b.input("x", vec![batch(), time(), Dim::Known(FEATURES)]);
        let mask = setting.masked.then(|| b.input_of("mask", DType::Bool, vec![batch(), time()]));
        let mut inputs = vec![Some(x), mask];
        inputs.extend(weights(b, kind, directions, setting.bias, setting.initial));
        let outputs = b.add_all(kind.op(directions, setting.zero_masked), &inputs);
        if setting.all_outputs { outputs } else { outputs[..2].to_vec() }
    })
}

#[derive(Clone, Copy)]
struct Setting {
    masked: bool,
    bias: bool,
    initial: bool,
    zero_masked: bool,
    /// The final cell state too.
    all_outputs: bool,
}

const PLAIN: Setting = Setting { masked: false, bias: true, initial: false, zero_masked: false, all_outputs: true };

pub fn recurrent() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in Kind::ALL {
        for (name, directions) in [("forward", FORWARD), ("backward", BACKWARD), ("both", BOTH), ("swapped", SWAPPED)] {
            for (bias, initial) in [(true, false), (false, true), (true, true)] {
                let name = format!("{}_{name}_{bias}_{initial}", kind.name());
                cases.push(kind.embedded(case(&name, kind, directions, Setting { bias, initial, ..PLAIN })));
            }
        }
    }
    for (i, activation) in [
        spec(ActivationFunction::Relu),
        ActivationSpec { function: ActivationFunction::Elu, alpha: 0.7, beta: 0.0 },
        ActivationSpec { function: ActivationFunction::LeakyRelu, alpha: 0.2, beta: 0.0 },
        spec(ActivationFunction::Linear),
        spec(ActivationFunction::Softsign),
    ]
    .into_iter()
    .enumerate()
    {
        let hard = ActivationSpec { function: ActivationFunction::HardSigmoid, alpha: 1.0 / 6.0, beta: 0.5 };
        cases.push(
            Case::new(&format!("lstm_activation_{i}"), |b| {
                let x = b.input("x", batched(&[4, FEATURES]));
                let mut inputs = vec![Some(x), None];
                inputs.extend(weights(b, Kind::Lstm, BOTH, true, false));
                let op = Lstm { directions: BOTH.to_vec(), activation, recurrent_activation: hard, zero_masked: false };
                b.add_all(op, &inputs)
            })
            .not_embedded(),
        );
    }
    cases
}

pub fn masked() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in Kind::ALL {
        for (name, directions) in [("forward", FORWARD), ("backward", BACKWARD), ("both", BOTH), ("swapped", SWAPPED)] {
            for (initial, zero_masked) in [(false, false), (true, false), (false, true)] {
                for all_outputs in [false, true] {
                    let setting = Setting { masked: true, bias: true, initial, zero_masked, all_outputs };
                    let name = format!("masked_{}_{name}_{initial}_{zero_masked}_{all_outputs}", kind.name());
                    let case = kind.embedded(case(&name, kind, directions, setting));
                    // `sequence_lens` is read over by the embedded runtime.
                    let lengths = directions.len() > 1 || (kind == Kind::Lstm && all_outputs);
                    cases.push(if lengths { case.misread() } else { case });
                }
            }
        }
    }
    cases
}

pub fn attention() -> Vec<Case> {
    let mut cases = Vec::new();
    for (causal, masked, groups) in
        [(false, false, 4), (true, false, 4), (false, true, 4), (true, true, 2), (false, true, 1)]
    {
        for dynamic in [true, false] {
            cases.push(Case::new(&format!("attention_{causal}_{masked}_{groups}_{dynamic}"), |b| {
                let length = if dynamic { time() } else { Dim::Known(4) };
                let shape =
                    |heads: u64, size: u64, t: &Dim| vec![batch(), t.clone(), Dim::Known(heads), Dim::Known(size)];
                let q = b.input("q", shape(4, 3, &length));
                let (k, v) = (b.input("k", shape(groups, 3, &time())), b.input("v", shape(groups, 5, &time())));
                let mask = masked
                    .then(|| b.input_of("keep", DType::Bool, vec![batch(), Dim::Known(1), Dim::Known(1), time()]));
                let op = Attention { scale: 0.5, causal, mask_bias: -1e9 };
                b.add_all(op, &[Some(q), Some(k), Some(v), mask])
            }));
        }
    }
    cases
}

/// h' = tanh(x w + h); y = h' * scale
fn body(weights: bool) -> Graph {
    let mut b = Build::nested();
    let h = b.input("h", batched(&[UNITS]));
    let x = b.input("x", batched(&[UNITS]));
    let projected = if weights {
        let w = b.weight("scan_kernel", &[UNITS, UNITS]);
        b.add(MatMul {}, &[x, w])
    } else {
        x
    };
    let sum = b.add(Binary { function: BinaryFunction::Add }, &[projected, h]);
    let next = b.add(Unary { function: UnaryFunction::Tanh }, &[sum]);
    let two = b.graph.scalar_like("layer", next, 2.0).unwrap();
    let y = b.add(Binary { function: BinaryFunction::Mul }, &[next, two]);
    b.graph.output("state", next);
    b.graph.output("y", y);
    b.graph.output("same", h);
    b.graph
}

pub fn scans() -> Vec<Case> {
    let mut cases = Vec::new();
    for (reverse, weights, length) in [(false, true, time()), (true, true, time()), (true, false, Dim::Known(4))] {
        cases.push(Case::new(&format!("scan_{reverse}_{weights}_{length}"), |b| {
            let h = b.input("h", batched(&[UNITS]));
            let x = b.input("x", vec![batch(), length.clone(), Dim::Known(UNITS)]);
            b.add_all(Scan { body: Box::new(body(weights)), states: 1, reverse }, &[Some(h), Some(x)])
        }));
    }
    cases.push(Case::new("scan_reshaping", |b| {
        // A body that asks for a size which only the outer graph can know.
        let mut inner = Build::nested();
        let s = inner.input("s", batched(&[2]));
        let x = inner.input("x", vec![batch(), time(), Dim::Known(2)]);
        let merged = inner.add(Reshape { shape: vec![batch().times(&time()), Dim::Known(2)] }, &[x]);
        let places = inner.add(Iota { dim: batch().times(&time()), dtype: DType::F32 }, &[]);
        let places = inner.add(Reshape { shape: vec![batch().times(&time()), Dim::Known(1)] }, &[places]);
        let y = inner.add(Binary { function: BinaryFunction::Add }, &[merged, places]);
        let y = inner.add(Reshape { shape: vec![batch(), time(), Dim::Known(2)] }, &[y]);
        inner.graph.output("s", s);
        inner.graph.output("y", y);
        let state = b.input("state", batched(&[2]));
        let steps = b.input("steps", vec![batch(), Dim::Known(3), time(), Dim::Known(2)]);
        b.add_all(Scan { body: Box::new(inner.graph), states: 1, reverse: false }, &[Some(state), Some(steps)])
    }));
    cases
}
