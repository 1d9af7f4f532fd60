//! Runtimes that run a written file: the second opinion.

pub mod embedded;
pub mod onnxruntime;

use recast_plugin_api::ir::{Node, Op};
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
}

/// A loaded file.
pub trait Session {
    /// Outputs in the order of `outputs`, from inputs by name.
    fn run(&mut self, inputs: &[(String, Array)], outputs: &[String]) -> Result<Vec<Array>, Refusal>;
}

/// Ops that the embedded runtime can't run in any spelling: a check of them runs on a decomposed graph.
pub fn embedded_lacks(node: &Node) -> bool {
    match &node.op {
        Op::SimpleRnn(_) | Op::Scan(_) => true,
        // It has only the form with the reset after the recurrent product.
        Op::Gru(op) => !op.reset_after,
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
        | Op::Lstm(_)
        | Op::Attention(_)
        | Op::Constant(_)
        | Op::DimSize(_)
        | Op::Iota(_) => false,
    }
}
