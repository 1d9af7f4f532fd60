//! Runtimes that run a written file: the second opinion.

pub mod embedded;
pub mod onnxruntime;

use recast_plugin_api::ir::{ActivationFunction, ActivationSpec, Graph, Node, Op};
use recast_reference::Array;
use std::path::Path;

/// Why a runtime did not run a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// It lacks something that the file uses: no word about the file.
    Lacks(String),
    /// It should be able to, and says that the file is wrong.
    Rejects(String),
}

pub trait Runtime {
    /// Name and version, for reports.
    fn name(&self) -> String;
    fn load(&self, file: &Path) -> Result<Box<dyn Session>, Refusal>;
    /// What the runtime would read over in a file of this graph, without a word: a check must not rely on it then.
    fn misreads(&self, _graph: &Graph) -> Option<String> {
        None
    }
}

/// A loaded file.
pub trait Session {
    /// Outputs in the order of `outputs`, from inputs by name.
    fn run(&mut self, inputs: &[(String, Array)], outputs: &[String]) -> Result<Vec<Array>, Refusal>;
}

/// Ops that the embedded runtime can't run in any spelling: a check of them runs on a decomposed graph.
pub fn embedded_lacks(node: &Node) -> bool {
    match &node.op {
        Op::SimpleRnn(_) => true,
        Op::Scan(op) => op.body.nodes().iter().any(embedded_lacks),
        // It has only the form with the reset after the recurrent product; and see `embedded_misreads` for masks.
        Op::Gru(op) => !op.reset_after || is_masked(node) || !usual(op.activation, op.recurrent_activation),
        Op::Lstm(op) => is_masked(node) || !usual(op.activation, op.recurrent_activation),
        Op::Conv(op) => op.strides.len() > 2,
        Op::ConvTranspose(op) => op.strides.len() > 2,
        Op::Pool(op) => op.window.len() > 2,
        Op::Unary(_)
        | Op::Activation(_)
        | Op::Binary(_)
        | Op::Clip(_)
        | Op::Where(_)
        | Op::Cast(_)
        | Op::MatMul(_)
        | Op::Einsum(_)
        | Op::BatchNorm(_)
        | Op::LayerNorm(_)
        | Op::GroupNorm(_)
        | Op::RmsNorm(_)
        | Op::Softmax(_)
        | Op::LogSoftmax(_)
        | Op::Reduce(_)
        | Op::ArgReduce(_)
        | Op::Cumulative(_)
        | Op::TopK(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Concat(_)
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::Tile(_)
        | Op::BroadcastTo(_)
        | Op::Gather(_)
        | Op::GatherElements(_)
        | Op::Reverse(_)
        | Op::OneHot(_)
        | Op::Triangle(_)
        | Op::Resize(_)
        | Op::Attention(_)
        | Op::Constant(_)
        | Op::DimSize(_)
        | Op::Iota(_) => false,
    }
}

/// The embedded runtime has no other activations in recurrent ops.
fn usual(activation: ActivationSpec, recurrent: ActivationSpec) -> bool {
    (activation.function, recurrent.function) == (ActivationFunction::Tanh, ActivationFunction::Sigmoid)
}

fn is_masked(node: &Node) -> bool {
    node.inputs.get(1).is_some_and(Option::is_some)
}

/// The embedded runtime ignores `sequence_lens`, which a masked recurrent op needs for two directions at once and for a
/// final cell state. It would run such a file, and give other numbers.
pub fn embedded_misreads(graph: &Graph) -> Option<String> {
    let uses = graph.use_counts();
    let relies = |node: &&Node| {
        let cell_state = node.outputs.get(2).is_some_and(|value| uses[value.0 as usize] > 0);
        let directions = match &node.op {
            Op::Lstm(op) => op.directions.len(),
            Op::Gru(op) => op.directions.len(),
            _other => return false,
        };
        is_masked(node) && (directions > 1 || cell_state)
    };
    graph.nodes().iter().find(relies).map(|node| format!("lengths of masked rows in '{}'", node.path))
}
