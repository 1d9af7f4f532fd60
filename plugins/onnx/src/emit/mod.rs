//! From ops to ONNX nodes: one arm for each op here, the work in the family's file.
//!
//! The graph that comes in is channels-first with OIHW kernels (the target's caps ask for that), so no file here turns
//! axes around for layout's sake. Values get the name of the layer and the ONNX op that made them; graph inputs, graph
//! outputs and weights keep their own names.

mod attention;
mod builder;
mod control;
mod conv;
mod dims;
mod elementwise;
mod masked;
mod matmul;
mod norm;
mod pool;
mod recurrent;
mod reduce;
mod resize;
mod scope;
mod shape;
mod single;
mod strings;
pub mod weights;

pub use builder::Build;
pub use scope::{Emit, Emitted, Static};
pub use single::Doubles;
pub use strings::{LACKS, ML};

use crate::options::OPSET_DEFAULT;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{Graph, Node, Op};

type Emitting = Result<(), Diag>;

/// Nodes of a graph in ONNX; every op that can't be said is a finding. `opset`: the one that was asked for.
pub fn graph(graph: &Graph, opset: Option<u32>) -> Result<Emitted, Findings> {
    let emitted = of_opset(graph, opset)?;
    if emitted.doubles.is_empty() {
        return Ok(emitted);
    }
    let narrowed = single::narrowed(graph, &emitted.doubles)?;
    Ok(Emitted { doubles: emitted.doubles, ..of_opset(&narrowed, opset)? })
}

/// In the opset that was asked for, else in the first that has all the words, from the default on.
fn of_opset(graph: &Graph, opset: Option<u32>) -> Result<Emitted, Findings> {
    let first = emitted(graph, opset.unwrap_or(OPSET_DEFAULT), opset.is_some())?;
    let Some(need) = first.need else { return Ok(first) };
    let detail = format!("the file is of opset {}: {} exists from it on", need.opset, need.what);
    let hint = format!("readers of opset {OPSET_DEFAULT} alone don't load it");
    let newer = Diag::new(Code::NeedsNewer, need.path, detail).note().hint(hint);
    Ok(Emitted { newer: Some(newer), ..emitted(graph, need.opset, true)? })
}

fn emitted(graph: &Graph, opset: u32, stated: bool) -> Result<Emitted, Findings> {
    let mut emit = Emit::new(graph, opset, stated);
    let mut findings = Findings::new();
    for node in graph.nodes() {
        emit.enter(node);
        if let Err(diag) = op(node, &mut emit) {
            findings.push(diag);
            // So that the rest of the graph has something to refer to, and its own findings are found.
            node.outputs.iter().for_each(|&value| emit.alias(value, "refused"));
        }
    }
    if findings.is_empty() { Ok(emit.finish()) } else { Err(findings) }
}

/// Is the op of this name written?
pub fn writes(name: &str) -> bool {
    // Training is nothing that these files are for: the passes take it away.
    Op::NAMES.contains(&name) && name != "dropout" && !strings::LACKS.iter().any(|(op, ..)| *op == name)
}

fn op<'a>(node: &'a Node, e: &mut Emit<'a>) -> Emitting {
    match &node.op {
        Op::Unary(op) => elementwise::unary(op, node, e),
        Op::Activation(op) => elementwise::activation(op, node, e),
        Op::Binary(op) => elementwise::binary(op, node, e),
        Op::Clip(op) => elementwise::clip(op, node, e),
        Op::Where(_) => elementwise::select(node, e),
        Op::Cast(op) => elementwise::cast(op, node, e),
        Op::Dropout(_) => elementwise::dropout(node, e),
        Op::MatMul(_) => matmul::matmul(node, e),
        Op::Einsum(op) => matmul::einsum(op, node, e),
        Op::Conv(op) => conv::conv(op, node, e),
        Op::ConvTranspose(op) => conv::conv_transpose(op, node, e),
        Op::Pool(op) => pool::pool(op, node, e),
        Op::BatchNorm(op) => norm::batch_norm(op, node, e),
        Op::LayerNorm(op) => norm::layer_norm(op, node, e),
        Op::GroupNorm(op) => norm::group_norm(op, node, e),
        Op::RmsNorm(op) => norm::rms_norm(op, node, e),
        Op::Softmax(op) => norm::softmax(op, node, e),
        Op::LogSoftmax(op) => norm::log_softmax(op, node, e),
        Op::Reduce(op) => reduce::reduce(op, node, e),
        Op::ArgReduce(op) => reduce::arg_reduce(op, node, e),
        Op::Cumulative(op) => reduce::cumulative(op, node, e),
        Op::TopK(op) => reduce::top_k(op, node, e),
        Op::Reshape(op) => shape::reshape(op, node, e),
        Op::Transpose(op) => shape::transpose(op, node, e),
        Op::Concat(op) => shape::concat(op, node, e),
        Op::Slice(op) => shape::slice(op, node, e),
        Op::Pad(op) => shape::pad(op, node, e),
        Op::Tile(op) => shape::tile(op, node, e),
        Op::BroadcastTo(op) => shape::broadcast_to(op, node, e),
        Op::Gather(op) => shape::gather(op, node, e),
        Op::GatherElements(op) => shape::gather_elements(op, node, e),
        Op::Reverse(op) => shape::reverse(op, node, e),
        Op::OneHot(op) => shape::one_hot(op, node, e),
        Op::Triangle(op) => shape::triangle(op, node, e),
        Op::StringToIndex(op) => strings::string_to_index(op, node, e),
        Op::IndexToString(op) => strings::index_to_string(op, node, e),
        Op::StringMap(op) => strings::string_map(op, node, e),
        Op::StringSplit(_) | Op::StringHash(_) => Err(unsupported(node, "ONNX has no such op")),
        Op::Resize(op) => resize::resize(op, node, e),
        Op::Lstm(op) => recurrent::lstm(op, node, e),
        Op::Gru(op) => recurrent::gru(op, node, e),
        Op::SimpleRnn(op) => recurrent::simple_rnn(op, node, e),
        Op::Attention(op) => attention::attention(op, node, e),
        Op::Scan(op) => control::scan(op, node, e),
        Op::Constant(op) => control::constant(op, node, e),
        Op::DimSize(op) => control::dim_size(op, node, e),
        Op::Iota(op) => control::iota(op, node, e),
    }
}

/// The finding for an op that ONNX, or this opset of it, can't say.
fn unsupported(node: &Node, what: impl std::fmt::Display) -> Diag {
    Diag::new(Code::UnsupportedOp, &node.path, format!("{}: {what}", node.op.name()))
}

/// Something that exists in ONNX from this opset on.
fn needs_opset(node: &Node, what: &'static str, opset: u32, e: &mut Emit) -> Emitting {
    if e.opset >= opset || e.may_need(what, opset) {
        return Ok(());
    }
    let detail = format!("{what} exists in ONNX from opset {opset} on");
    Err(unsupported(node, detail).hint(format!("set opset {opset} or more, or none")))
}
