//! `layout = "channels_first"`: the transposes that the shared pass left at the model's image inputs and outputs go,
//! and with them Keras' order of axes there.

use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{Graph, Node, Op, Rebuild, Type, ValueId};

/// A graph whose image inputs and outputs are channels-first, and the names of those that changed.
pub struct Turned {
    pub graph: Graph,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
}

/// (batch, ..., channels) to (batch, channels, ...).
fn channels_first(rank: usize) -> Vec<usize> {
    let mut perm = vec![0, rank - 1];
    perm.extend(1..rank - 1);
    perm
}

fn channels_last(rank: usize) -> Vec<usize> {
    let mut perm = vec![0];
    perm.extend(2..rank);
    perm.push(1);
    perm
}

fn is_turn(node: &Node, perm: &[usize]) -> bool {
    matches!(&node.op, Op::Transpose(op) if op.perm == perm)
}

pub fn turned(graph: &Graph) -> Result<Turned, Diag> {
    let mut out = Rebuild::new(graph);
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    let mut dropped: Vec<ValueId> = Vec::new();
    for input in &graph.inputs {
        let ty = graph.ty(input.value);
        let users: Vec<&Node> = graph.nodes().iter().filter(|node| node.inputs.contains(&Some(input.value))).collect();
        let leaves = graph.outputs.iter().any(|output| output.value == input.value);
        let perm = if ty.rank() >= 4 { channels_first(ty.rank()) } else { Vec::new() };
        if perm.is_empty() || leaves || users.is_empty() || !users.iter().all(|node| is_turn(node, &perm)) {
            let value = out.graph.input(input.name.clone(), ty.clone());
            out.map(input.value, value);
            continue;
        }
        let shape: Vec<_> = perm.iter().map(|&axis| ty.shape[axis].clone()).collect();
        let value = out.graph.input(input.name.clone(), Type::new(ty.dtype, shape));
        inputs.push(input.name.clone());
        for node in users {
            out.map(node.outputs[0], value);
            dropped.push(node.outputs[0]);
        }
    }
    out.copy_params();
    for node in graph.nodes().iter().filter(|node| !dropped.contains(&node.outputs[0])) {
        out.copy_node(node)?;
    }
    for output in &graph.outputs {
        let rank = graph.ty(output.value).rank();
        let maker = graph.nodes().iter().find(|node| node.outputs.contains(&output.value));
        let turn = maker.filter(|node| rank >= 4 && is_turn(node, &channels_last(rank)));
        let value = match turn.and_then(|node| node.inputs[0]) {
            Some(before) => {
                outputs.push(output.name.clone());
                out.get(before)
            }
            None => out.get(output.value),
        };
        out.graph.output(output.name.clone(), value);
    }
    Ok(Turned { graph: without_unused(out.graph)?, inputs, outputs })
}

/// The transposes at the outputs, which nobody uses any more.
fn without_unused(graph: Graph) -> Result<Graph, Diag> {
    let counts = graph.use_counts();
    let is_unused = |node: &Node| node.outputs.iter().all(|value| counts[value.0 as usize] == 0);
    let mut out = Rebuild::new(&graph);
    out.copy_inputs();
    out.copy_params();
    for node in graph.nodes().iter().filter(|node| !(matches!(node.op, Op::Transpose(_)) && is_unused(node))) {
        out.copy_node(node)?;
    }
    Ok(out.finish())
}
