//! Runtimes that run a written file: the second opinion.

pub mod command;
pub mod embedded;
pub mod onnxruntime;

use crate::passes::{is_of_octets, is_softplus};
use recast_plugin_api::ir::{ActivationFunction, ActivationSpec, DType, Graph, Node, Op, PadMode, ResizeMode, ValueId};
use recast_reference::Array;
use std::collections::HashSet;
use std::path::Path;

/// Why a runtime did not run a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// It lacks something that the file uses: no word about the file.
    Lacks(String),
    /// It should be able to, and says that the file is wrong.
    Rejects(String),
    /// It did not get to an answer: no word about the file, and yet an error, as it was configured to answer.
    Fails(String),
}

/// One run of a file: inputs by name, and the names of the outputs that are wanted.
pub struct Question {
    pub inputs: Vec<(String, Array)>,
    pub outputs: Vec<String>,
}

pub trait Runtime {
    /// Name and version, for reports.
    fn name(&self) -> String;
    /// Which nodes (by their place) it can't run, whatever the file says: known before anything is loaded.
    fn lacks(&self, graph: &Graph) -> Vec<bool> {
        vec![false; graph.nodes().len()]
    }
    /// Can it run another file, with more outputs, to find where the outputs diverge?
    fn bisects(&self) -> bool {
        true
    }
    fn load(&self, file: &Path) -> Result<Box<dyn Session>, Refusal>;
}

/// A loaded file.
pub trait Session {
    /// Outputs in the order of `outputs`, from inputs by name.
    fn run(&mut self, inputs: &[(String, Array)], outputs: &[String]) -> Result<Vec<Array>, Refusal>;
    /// Several runs, in order: at once, where starting is what takes long.
    fn run_all(&mut self, questions: &[Question]) -> Result<Vec<Vec<Array>>, Refusal> {
        questions.iter().map(|question| self.run(&question.inputs, &question.outputs)).collect()
    }
}

/// Nodes that the embedded runtime can't run in any spelling, or runs wrong without a word: a check of them runs on a
/// decomposed graph.
pub fn embedded_lacks(graph: &Graph) -> Vec<bool> {
    let used = used_values(graph);
    let uses = |value: Option<&ValueId>| value.is_some_and(|value| used[value.0 as usize]);
    // Weights in bfloat16 are written as what they are cast to.
    let stored: HashSet<ValueId> = graph.params.iter().map(|param| param.value).collect();
    // It resamples float32 alone, and computes with few ops in eight bits.
    let whole = |node: &Node| {
        if is_of_octets(graph, &node.op, &node.inputs) {
            return true;
        }
        let resized = node.inputs.first().copied().flatten().filter(|_| matches!(node.op, Op::Resize(_)));
        resized.is_some_and(|value| !graph.ty(value).dtype.is_float())
    };
    graph
        .nodes()
        .iter()
        .map(|node| {
            let cast = matches!(&node.op, Op::Cast(cast) if cast.to == DType::F32);
            let brain = |value: &ValueId| graph.ty(*value).dtype == DType::BF16 && !(cast && stored.contains(value));
            let values = node.inputs.iter().flatten().chain(&node.outputs).any(brain);
            node.outputs.iter().any(|v| uses(Some(v)))
                && (values || whole(node) || lacks(node, uses(node.outputs.get(2))))
        })
        .collect()
}

/// Values that an output of the graph depends on. Lowerings leave nodes behind that nobody asks for in the end.
fn used_values(graph: &Graph) -> Vec<bool> {
    let mut used = vec![false; graph.value_count()];
    graph.outputs.iter().for_each(|output| used[output.value.0 as usize] = true);
    for node in graph.nodes().iter().rev() {
        if node.outputs.iter().any(|output| used[output.0 as usize]) {
            node.inputs.iter().flatten().for_each(|input| used[input.0 as usize] = true);
        }
    }
    used
}

fn lacks(node: &Node, cell_state_used: bool) -> bool {
    let tanh = ActivationSpec::plain(ActivationFunction::Tanh);
    let sigmoid = ActivationSpec::plain(ActivationFunction::Sigmoid);
    let masked = node.inputs.get(1).is_some_and(Option::is_some);
    match &node.op {
        Op::SimpleRnn(_) => true,
        // Written as a Loop, which it has: what counts is what the body holds.
        Op::Scan(op) => embedded_lacks(&op.body).contains(&true),
        // Of equal values it takes the last one.
        Op::ArgReduce(_) => true,
        // Its log(1 + exp(x)) is infinite where exp(x) is.
        Op::Unary(_) | Op::Activation(_) => is_softplus(&node.op),
        // It ignores `sequence_lens`, which masked layers of two directions and masked cell states need.
        Op::Lstm(op) => {
            let lengths = masked && (op.directions.len() > 1 || cell_state_used);
            lengths || (op.activation, op.recurrent_activation) != (tanh, sigmoid)
        }
        // It has only the form with the reset after the recurrent product.
        Op::Gru(op) => {
            let lengths = masked && op.directions.len() > 1;
            lengths || !op.reset_after || (op.activation, op.recurrent_activation) != (tanh, sigmoid)
        }
        Op::Conv(op) => op.strides.len() > 2,
        Op::ConvTranspose(op) => op.strides.len() > 2,
        Op::Pool(op) => op.window.len() > 2,
        // It has no strings.
        Op::StringToIndex(_) | Op::IndexToString(_) => true,
        Op::StringMap(_) | Op::StringSplit(_) | Op::StringHash(_) => true,
        Op::Resize(op) => op.antialias || !matches!(op.mode, ResizeMode::Nearest | ResizeMode::Linear),
        // With an axis' own elements, it pads the last two axes only.
        Op::Pad(op) => {
            let others = op.padding.len().saturating_sub(2);
            op.mode != PadMode::Constant && op.padding[..others].iter().any(|padding| *padding != (0, 0))
        }
        Op::Binary(_)
        | Op::Clip(_)
        | Op::Where(_)
        | Op::Cast(_)
        | Op::Dropout(_)
        | Op::MatMul(_)
        | Op::Einsum(_)
        | Op::BatchNorm(_)
        | Op::LayerNorm(_)
        | Op::GroupNorm(_)
        | Op::RmsNorm(_)
        | Op::Softmax(_)
        | Op::LogSoftmax(_)
        | Op::Reduce(_)
        | Op::Cumulative(_)
        | Op::TopK(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Concat(_)
        | Op::Slice(_)
        | Op::Tile(_)
        | Op::BroadcastTo(_)
        | Op::Gather(_)
        | Op::GatherElements(_)
        | Op::Reverse(_)
        | Op::OneHot(_)
        | Op::Triangle(_)
        | Op::Attention(_)
        | Op::Constant(_)
        | Op::DimSize(_)
        | Op::Iota(_) => false,
    }
}
