//! `layout = "channels_first"`: the transposes that the shared pass left at the model's image inputs and outputs go,
//! and with them Keras' order of axes there.

use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::permute::Want;
use recast_plugin_api::ir::{Graph, Node, Op, Rebuild, Type, ValueId};
use std::collections::{BTreeMap, BTreeSet};

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

/// Nodes between an input and the transposes that turn it, by their place: what they are over the turned input.
struct Sunk {
    ops: BTreeMap<usize, Op>,
    /// Values that are turned already.
    turned: BTreeSet<ValueId>,
    /// Transposes that do nothing any more.
    dropped: BTreeSet<usize>,
}

/// Follows `value` through nodes that can be turned with it (padding, scaling), up to the transposes. `false`:
/// something on the way needs the axes as they are.
fn sink(graph: &Graph, value: ValueId, perm: &[usize], sunk: &mut Sunk) -> bool {
    let leaves = graph.outputs.iter().any(|output| output.value == value);
    let mut users = graph.nodes().iter().enumerate().filter(|(_, node)| node.inputs.contains(&Some(value))).peekable();
    if leaves || users.peek().is_none() {
        return false;
    }
    sunk.turned.insert(value);
    users.all(|(at, node)| {
        if is_turn(node, perm) {
            sunk.dropped.insert(at);
            return true;
        }
        let types: Vec<Option<&Type>> = node.inputs.iter().map(|input| input.map(|value| graph.ty(value))).collect();
        let Some(permuted) = node.op.permuted(&types, perm) else { return false };
        // All else that the node takes stays as it is: weights, numbers.
        let fits = node.inputs.iter().zip(&permuted.inputs).all(|(input, want)| match (input, want) {
            (None, _) | (_, Want::Same) => *input != Some(value),
            (Some(input), Want::Axes(_)) => *input == value || graph.ty(*input).rank() == 0,
        });
        if !fits || node.outputs.len() != 1 || permuted.outputs != [perm.to_vec()] {
            return false;
        }
        sunk.ops.insert(at, permuted.op);
        sink(graph, node.outputs[0], perm, sunk)
    })
}

pub fn turned(graph: &Graph) -> Result<Turned, Diag> {
    let mut out = Rebuild::new(graph);
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    let mut all = Sunk { ops: BTreeMap::new(), turned: BTreeSet::new(), dropped: BTreeSet::new() };
    for input in &graph.inputs {
        let ty = graph.ty(input.value);
        let perm = if ty.rank() >= 4 { channels_first(ty.rank()) } else { Vec::new() };
        let mut sunk = Sunk { ops: BTreeMap::new(), turned: BTreeSet::new(), dropped: BTreeSet::new() };
        let turns = !perm.is_empty() && sink(graph, input.value, &perm, &mut sunk);
        let ty = match turns {
            true => Type::new(ty.dtype, perm.iter().map(|&axis| ty.shape[axis].clone()).collect::<Vec<_>>()),
            false => ty.clone(),
        };
        let value = out.graph.input(input.name.clone(), ty);
        out.map(input.value, value);
        if turns {
            inputs.push(input.name.clone());
            all.ops.append(&mut sunk.ops);
            all.dropped.append(&mut sunk.dropped);
        }
    }
    out.copy_params();
    for (at, node) in graph.nodes().iter().enumerate() {
        match (all.ops.remove(&at), node.inputs.first().copied().flatten()) {
            (None, Some(before)) if all.dropped.contains(&at) => {
                let value = out.get(before);
                out.map(node.outputs[0], value);
            }
            (Some(op), _) => out.copy_node_as(node, op)?,
            (None, _) => out.copy_node(node)?,
        }
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
