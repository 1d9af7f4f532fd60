//! One small graph a case: made fit, written as ONNX at several opsets, run in the embedded runtime and, where
//! `RECAST_TEST_ONNXRUNTIME` names its library, in ONNX Runtime, and compared with the reference evaluator.
//! `RECAST_TEST_ONNX_DUMP` names a folder for the written files, for other tools to look at.

use crate::{onnx_basic, onnx_layers, onnx_rnn};
use recast::passes;
use recast::verify::runtime::embedded::Embedded;
use recast::verify::runtime::onnxruntime::OnnxRuntime;
use recast::verify::runtime::{Refusal, Runtime};
use recast_onnx::options::Options;
use recast_onnx::write::{self, About, Weights};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::types::Data;
use recast_plugin_api::ir::{DType, Dim, Graph, Op, Tensor, Type, ValueId};
use recast_reference::{Array, Files, evaluate};
use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;

/// What the runtimes are expected to do with a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    Everywhere,
    /// The embedded runtime lacks an op, and says so.
    NotEmbedded,
    /// The embedded runtime reads over something (`embedded_lacks`), so it is not asked.
    Misread,
}

pub struct Case {
    pub name: String,
    pub graph: Graph,
    pub runs: Runs,
    /// Lowest opset that can say it.
    pub opset_min: u32,
    pub tolerance: f64,
}

impl Case {
    /// A graph whose outputs are what `build` returns.
    pub fn new(name: &str, build: impl FnOnce(&mut Build) -> Vec<ValueId>) -> Case {
        let mut b = Build { graph: Graph::new(name), random: Cell::new(name.len() as u64 + 7) };
        let outputs = build(&mut b);
        for (i, output) in outputs.into_iter().enumerate() {
            b.graph.output(format!("out{i}"), output);
        }
        Case { name: name.into(), graph: b.graph, runs: Runs::Everywhere, opset_min: 13, tolerance: 2e-5 }
    }

    pub fn not_embedded(mut self) -> Case {
        self.runs = Runs::NotEmbedded;
        self
    }

    pub fn misread(mut self) -> Case {
        self.runs = Runs::Misread;
        self
    }

    pub fn since_opset(mut self, opset: u32) -> Case {
        self.opset_min = opset;
        self
    }
}

/// A graph in the making, with weights drawn from a seed.
pub struct Build {
    pub graph: Graph,
    random: Cell<u64>,
}

pub fn batch() -> Dim {
    Dim::symbol("batch")
}

pub fn time() -> Dim {
    Dim::symbol("time")
}

pub fn dims(sizes: &[u64]) -> Vec<Dim> {
    sizes.iter().map(|&size| Dim::Known(size)).collect()
}

/// (batch, sizes...)
pub fn batched(sizes: &[u64]) -> Vec<Dim> {
    std::iter::once(batch()).chain(dims(sizes)).collect()
}

/// Uniform in -1 .. 1.
fn uniform(state: &Cell<u64>) -> f64 {
    let next = state.get().wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    state.set(next);
    (next >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

impl Build {
    /// For the body of a scan.
    pub fn nested() -> Build {
        Build { graph: Graph::new("body"), random: Cell::new(3) }
    }

    pub fn input(&mut self, name: &str, shape: impl Into<Vec<Dim>>) -> ValueId {
        self.graph.input(name, Type::new(DType::F32, shape.into()))
    }

    pub fn input_of(&mut self, name: &str, dtype: DType, shape: impl Into<Vec<Dim>>) -> ValueId {
        self.graph.input(name, Type::new(dtype, shape.into()))
    }

    /// A weight with values in -0.5 .. 0.5.
    pub fn weight(&mut self, role: &str, shape: &[u64]) -> ValueId {
        self.weight_in(role, shape, -0.5, 0.5)
    }

    pub fn weight_in(&mut self, role: &str, shape: &[u64], low: f64, high: f64) -> ValueId {
        let count = shape.iter().product::<u64>();
        let draw = |_| (low + (uniform(&self.random) + 1.0) / 2.0 * (high - low)) as f32;
        let values: Vec<f32> = (0..count).map(draw).collect();
        self.graph.param("layer", role, Tensor::from_f32(shape, &values))
    }

    pub fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.graph.add("layer", op, inputs).unwrap_or_else(|diag| panic!("{diag}"))
    }

    pub fn add_all(&mut self, op: impl Into<Op>, inputs: &[Option<ValueId>]) -> Vec<ValueId> {
        self.graph.add_node("layer", op.into(), inputs).unwrap_or_else(|diag| panic!("{diag}"))
    }
}

/// Params that lie in the graph itself, by name; those of bodies too.
pub struct Inline<'a>(HashMap<String, &'a Tensor>);

impl<'a> Inline<'a> {
    pub fn new(graph: &'a Graph) -> Inline<'a> {
        let mut found = Inline(HashMap::new());
        found.collect(graph);
        found
    }

    fn collect(&mut self, graph: &'a Graph) {
        self.0.extend(graph.params.iter().map(|param| (param.name(), &param.tensor)));
        for node in graph.nodes() {
            if let Op::Scan(scan) = &node.op {
                self.collect(&scan.body);
            }
        }
    }
}

impl Weights for Inline<'_> {
    fn read(&self, name: &str, take: &mut dyn FnMut(&[u8]) -> Result<(), Diag>) -> Result<(), Diag> {
        let tensor = self.0.get(name).ok_or_else(|| Diag::new(Code::Bug, name, "no such weight"))?;
        let Data::Inline(stored) = &tensor.data else { return Err(Diag::new(Code::Bug, name, "not inline")) };
        take(&tensor.view_of(stored)?)
    }
}

/// The graph as the target sees it.
pub fn fitted(graph: &Graph) -> Result<Graph, Findings> {
    passes::fit(graph.clone(), &recast_onnx::caps())
}

/// The written model.
pub fn written(graph: &Graph, opset: u32) -> Result<Vec<u8>, Findings> {
    let options = Options { opset: Some(opset), external_data: false };
    let about = About { name: "case", source_digest: "00", recast_version: "0" };
    let plan = write::plan(graph, &options, &about)?;
    let mut bytes = Vec::new();
    plan.write_model(&Inline::new(graph), &mut bytes, &|_, _| Ok(()))?;
    Ok(bytes)
}

/// Sizes of `batch` and `time` that a case runs with.
const BINDINGS: [(u64, u64); 2] = [(2, 5), (3, 8)];

fn size(dim: &Dim, (batch, time): (u64, u64)) -> usize {
    let bound = dim.bind(&|name| Some(Dim::Known(if name == "batch" { batch } else { time })));
    bound.known().expect("only batch and time are symbols") as usize
}

/// Inputs by name: `pos...` are positive, `unit...` within -1 .. 1, `mask...` true in two of three places with one row
/// all false, `keep...` true at least at the start of each row, integers within 0 .. 5.
pub fn inputs(graph: &Graph, binding: (u64, u64)) -> Vec<Array> {
    let random = Cell::new(binding.0 * 31 + binding.1);
    let make = |input: &recast_plugin_api::ir::Input| {
        let ty = graph.ty(input.value);
        let shape: Vec<usize> = ty.shape.iter().map(|dim| size(dim, binding)).collect();
        let count: usize = shape.iter().product();
        let row = count / shape.first().copied().unwrap_or(1).max(1);
        let last = shape.last().copied().unwrap_or(1).max(1);
        let draw = |i: usize| match ty.dtype {
            DType::Bool if input.name.starts_with("mask") => (i >= row && uniform(&random) > -0.3) as u8 as f64,
            DType::Bool if input.name.starts_with("keep") => {
                (i.is_multiple_of(last) || uniform(&random) > 0.0) as u8 as f64
            }
            DType::Bool => (uniform(&random) > 0.0) as u8 as f64,
            dtype if dtype.is_int() => ((uniform(&random) + 1.0) * 2.5).floor().min(4.0),
            _ if input.name.starts_with("pos") => 1.6 + 1.5 * uniform(&random),
            _ if input.name.starts_with("unit") => 0.95 * uniform(&random),
            _ => 2.5 * uniform(&random),
        };
        let values = (0..count).map(draw).collect();
        Array::from_numbers(ty.dtype, shape, values)
    };
    graph.inputs.iter().map(make).collect()
}

/// The largest excess over the tolerance, as a message.
pub fn difference(expected: &[Array], found: &[Array], tolerance: f64) -> Option<String> {
    for (i, (expected, found)) in expected.iter().zip(found).enumerate() {
        if expected.shape != found.shape {
            return Some(format!("output {i} has shape {:?}, not {:?}", found.shape, expected.shape));
        }
        let (want, have) = (expected.numbers(), found.numbers());
        let scale = want.iter().filter(|v| v.is_finite()).fold(1.0f64, |max, v| max.max(v.abs()));
        for (at, (want, have)) in want.iter().zip(&have).enumerate() {
            let same = want == have || (want.is_nan() && have.is_nan()) || (want - have).abs() <= tolerance * scale;
            if !same {
                return Some(format!("output {i}, element {at} of {:?}: {have} where {want} is right", expected.shape));
            }
        }
    }
    None
}

/// Runs a written file once for each binding.
fn run(case: &Case, runtime: &dyn Runtime, file: &Path, expected: &[(Vec<Array>, Vec<Array>)]) -> Result<(), String> {
    let mut session = match runtime.load(file) {
        Ok(session) => session,
        Err(Refusal::Lacks(_)) if case.runs == Runs::NotEmbedded && runtime.name().starts_with("rten") => return Ok(()),
        Err(refusal) => return Err(format!("does not load: {refusal:?}")),
    };
    let outputs: Vec<String> = case.graph.outputs.iter().map(|output| output.name.clone()).collect();
    for (inputs, expected) in expected {
        let names = case.graph.inputs.iter().map(|input| input.name.clone());
        let named: Vec<(String, Array)> = names.zip(inputs.iter().cloned()).collect();
        let found = match session.run(&named, &outputs) {
            Ok(found) => found,
            Err(_) if case.runs == Runs::NotEmbedded && runtime.name().starts_with("rten") => return Ok(()),
            Err(refusal) => return Err(format!("does not run: {refusal:?}")),
        };
        if let Some(wrong) = difference(expected, &found, case.tolerance) {
            return Err(wrong);
        }
    }
    Ok(())
}

/// Opsets at which every case is written: those where ops change their form.
pub const OPSETS: [u32; 5] = [13, 17, 18, 20, 22];

/// Everything that is wrong with a case.
pub fn check(case: &Case, ort: Option<&OnnxRuntime>, dir: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expected = Vec::new();
    for binding in BINDINGS {
        let given = inputs(&case.graph, binding);
        match evaluate(&case.graph, &given, &Files::none(), &Default::default()) {
            Ok(outputs) => expected.push((given, outputs)),
            Err(diag) => return vec![format!("{}: reference: {diag}", case.name)],
        }
    }
    let fitted = match fitted(&case.graph) {
        Ok(fitted) => fitted,
        Err(findings) => return vec![format!("{}: passes: {}", case.name, findings[0])],
    };
    for (given, outputs) in &expected {
        match evaluate(&fitted, given, &Files::none(), &Default::default()) {
            Ok(found) => {
                wrong.extend(difference(outputs, &found, 1e-12).map(|w| format!("{}: passes: {w}", case.name)))
            }
            Err(diag) => wrong.push(format!("{}: reference after passes: {diag}", case.name)),
        }
    }
    for opset in OPSETS {
        let bytes = match written(&fitted, opset) {
            Ok(bytes) => bytes,
            Err(_) if opset < case.opset_min => continue,
            Err(findings) => {
                wrong.push(format!("{} opset {opset}: {}", case.name, findings[0]));
                continue;
            }
        };
        if opset < case.opset_min {
            wrong.push(format!("{} opset {opset}: it was written after all", case.name));
        }
        let file = dir.join(format!("{}_{opset}.onnx", case.name));
        std::fs::write(&file, bytes).expect("the folder is writable");
        let embedded = Embedded { threads: 1 };
        let asked = Some(&embedded as &dyn Runtime).filter(|_| case.runs != Runs::Misread);
        let runtimes: [Option<&dyn Runtime>; 2] = [asked, ort.map(|ort| ort as &dyn Runtime)];
        for runtime in runtimes.into_iter().flatten() {
            if let Err(why) = run(case, runtime, &file, &expected) {
                wrong.push(format!("{} opset {opset} in {}: {why}", case.name, runtime.name()));
            }
        }
    }
    wrong
}

/// Every case, by the ops that it is about.
pub fn all() -> Vec<Case> {
    let groups = [
        onnx_basic::elementwise(),
        onnx_basic::far_from_zero(),
        onnx_basic::products(),
        onnx_basic::reductions(),
        onnx_basic::shapes(),
        onnx_layers::windows(),
        onnx_layers::norms(),
        onnx_layers::resizes(),
        onnx_rnn::recurrent(),
        onnx_rnn::masked(),
        onnx_rnn::attention(),
        onnx_rnn::scans(),
    ];
    groups.into_iter().flatten().collect()
}
