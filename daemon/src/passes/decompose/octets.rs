//! Integers of eight bits computed in 32 and cut off again: sums, differences and products are the same in the low
//! bits, and everything else does not leave the eight.

use super::At;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{DType, Graph, Node, Op, ValueId};

/// Is it one of the ops that runtimes have for 32 bits only, on eight?
pub fn is_of_octets(graph: &Graph, op: &Op, inputs: &[Option<ValueId>]) -> bool {
    let computes = matches!(op, Op::Binary(_) | Op::Concat(_) | Op::Reduce(_) | Op::Where(_));
    computes && inputs.iter().flatten().any(|value| is_octet(graph, *value))
}

fn is_octet(graph: &Graph, value: ValueId) -> bool {
    matches!(graph.ty(value).dtype, DType::U8 | DType::I8)
}

pub fn widened(node: &Node, at: &mut At<'_>) -> Result<Vec<ValueId>, Diag> {
    let mut inputs = Vec::with_capacity(node.inputs.len());
    let mut octet = None;
    for index in 0..at.inputs.len() {
        let value = at.input(index)?;
        inputs.push(Some(if is_octet(at.graph, value) {
            octet = Some(at.graph.ty(value).dtype);
            at.graph.cast(at.path, value, DType::I32)?
        } else {
            value
        }));
    }
    let outputs = at.graph.add_node(at.path, node.op.clone(), &inputs)?;
    let cut = |value: ValueId| match octet {
        Some(octet) if at.graph.ty(value).dtype == DType::I32 => at.graph.cast(at.path, value, octet),
        _ => Ok(value),
    };
    outputs.into_iter().map(cut).collect()
}
