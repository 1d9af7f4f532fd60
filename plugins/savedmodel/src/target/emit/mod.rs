//! From ops to TensorFlow nodes: one arm for each op here, the work in the family's file.
//!
//! The graph that comes in is channels-last with kernels as Keras has them (the target's caps ask for that), so no file
//! here turns axes around for layout's sake. Nodes get the name of the layer and of the TensorFlow op.

mod attention;
mod build;
mod control;
mod conv;
mod dims;
mod elementwise;
mod function;
mod matmul;
mod norm;
mod pool;
mod recurrent;
mod reduce;
mod resize;
mod scope;
mod shape;
mod strings;

pub use build::Build;
use function::function;
pub use function::{Step, shape_attrs};
pub use scope::{Emit, Table, Val, Variable, arg_def, attrs};

use crate::proto::{FunctionDef, dtype};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{Graph, Node, Op};

type Emitting = Result<(), Diag>;

/// The model as a function of its inputs and the handles of its variables and tables, and the functions that it calls.
pub struct Emitted {
    pub function: FunctionDef,
    pub library: Vec<FunctionDef>,
    pub variables: Vec<Variable>,
    pub tables: Vec<Table>,
}

/// The function `name` of a graph; every op that can't be said is a finding.
pub fn graph(graph: &Graph, name: &str) -> Result<Emitted, Findings> {
    let mut e = Emit::new(graph);
    let mut args = Vec::new();
    for input in &graph.inputs {
        let val = Val { name: e.arg_name(&input.name), dtype: dtype::to_tf(graph.ty(input.value).dtype) };
        args.push(val.clone());
        e.bind(input.value, val);
    }
    let mut findings = Findings::new();
    for node in graph.nodes() {
        e.enter(node);
        if let Err(diag) = op(node, &mut e) {
            findings.push(diag);
            // So that the rest of the graph has something to refer to, and its own findings are found.
            for &value in &node.outputs {
                let refused = Val { name: "refused".into(), dtype: dtype::to_tf(graph.ty(value).dtype) };
                e.bind(value, refused);
            }
        }
    }
    e.set_path(String::new());
    let mut results = Vec::new();
    for output in &graph.outputs {
        match e.val(output.value) {
            Ok(val) => results.push(e.call("Identity", &[&val])),
            Err(diag) => findings.push(diag),
        }
    }
    findings.append(&mut e.bugs);
    if !findings.is_empty() {
        return Err(findings);
    }
    let handles = e.variables.iter().map(|variable| &variable.arg).chain(e.tables.iter().map(|table| &table.arg));
    args.extend(handles.map(|arg| Val { name: arg.clone(), dtype: dtype::RESOURCE }));
    let mut function = function(name, &args, &results, e.scope_mut());
    if let Some(signature) = &mut function.signature {
        // It reads variables and tables.
        signature.is_stateful = !e.variables.is_empty() || !e.tables.is_empty();
    }
    Ok(Emitted { function, library: e.functions, variables: e.variables, tables: e.tables })
}

/// Is there an arm for the op of this name?
pub fn writes(name: &str) -> bool {
    // A graph that is only to infer needs no dropout: the passes take it out.
    Op::NAMES.contains(&name) && name != "dropout"
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
        Op::StringSplit(op) => strings::string_split(op, node, e),
        Op::StringHash(op) => strings::string_hash(op, node, e),
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

/// The finding for an op that TensorFlow can't say.
fn unsupported(node: &Node, what: impl std::fmt::Display) -> Diag {
    Diag::new(Code::UnsupportedOp, &node.path, format!("{}: {what}", node.op.name()))
}
