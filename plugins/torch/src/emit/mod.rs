//! From ops to PyTorch: one arm for each op here, the work in the family's file.
//!
//! The graph that comes in is channels-first with OIHW kernels (the target's caps ask for that), so no file here turns
//! axes around for layout's sake.

mod attention;
mod control;
mod conv;
mod elementwise;
mod matmul;
mod norm;
mod pool;
pub mod recurrent;
mod reduce;
mod resize;
mod shape;

use crate::scope::{Emit, Making};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{Node, Op};

/// Is there an arm for the op of this name?
pub fn writes(name: &str) -> bool {
    // PyTorch has no tensors of strings.
    Op::NAMES.contains(&name) && !["string_to_index", "index_to_string"].contains(&name)
}

/// Does the node stand somewhere in the text? Constants and sizes are said where they are used.
pub fn is_written(node: &Node) -> bool {
    !matches!(node.op, Op::Constant(_) | Op::DimSize(_))
}

pub fn op<'a>(node: &'a Node, e: &mut Emit<'a>) -> Making {
    match &node.op {
        Op::Unary(op) => elementwise::unary(op, node, e),
        Op::Activation(op) => elementwise::activation(op, node, e),
        Op::Binary(op) => elementwise::binary(op, node, e),
        Op::Clip(op) => elementwise::clip(op, node, e),
        Op::Where(_) => elementwise::select(node, e),
        Op::Cast(op) => elementwise::cast(op, node, e),
        Op::Dropout(op) => elementwise::dropout(op, node, e),
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
        Op::StringToIndex(_) | Op::IndexToString(_) | Op::StringMap(_) | Op::StringSplit(_) | Op::StringHash(_) => {
            Err(unsupported(node, "PyTorch has no tensors of strings"))
        }
        Op::Resize(op) => resize::resize(op, node, e),
        Op::Lstm(op) => recurrent::lstm(op, node, e),
        Op::Gru(op) => recurrent::gru(op, node, e),
        Op::SimpleRnn(op) => recurrent::simple_rnn(op, node, e),
        Op::Attention(op) => attention::attention(op, node, e),
        Op::Scan(op) => control::scan(op, node, e),
        Op::Constant(_) | Op::DimSize(_) => control::said_where_used(node),
        Op::Iota(op) => control::iota(op, node, e),
    }
}

/// The finding for what PyTorch can't say.
pub fn unsupported(node: &Node, what: impl std::fmt::Display) -> Diag {
    Diag::new(Code::UnsupportedOp, &node.path, format!("{}: {what}", node.op.name()))
}
