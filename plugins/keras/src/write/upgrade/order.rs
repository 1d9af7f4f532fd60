//! The order in which Keras 3 keeps the operations of a Functional model once it has loaded it. Weights are stored by
//! it: the second Dense of this order is `layers/dense_1`. Keras walks back from the outputs, gives each operation its
//! distance from them, and sorts: the most distant first, at one distance in the order of the walk.

use recast_plugin_api::model::{Arg, ArgKind, Call, Model, NamedArg, ValueRef};
use std::collections::HashMap;

/// What Keras calls an operation of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Position among the model's inputs.
    Input(usize),
    /// Position among its layers.
    Layer(usize),
}

/// Keras' node: an input, or a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    Input(usize),
    Call(usize),
}

impl Node {
    fn of(value: &ValueRef) -> Node {
        value.call.map_or(Node::Input(value.index as usize), |call| Node::Call(call as usize))
    }
}

/// Every operation that an output needs, and every input.
pub fn order(model: &Model) -> Vec<Operation> {
    if model.kind == "Sequential" {
        return (0..model.layers.len()).map(Operation::Layer).collect();
    }
    let operation = |node: Node| match node {
        Node::Input(input) => Operation::Input(input),
        Node::Call(call) => Operation::Layer(model.calls[call].layer as usize),
    };
    let parents: Vec<Vec<Node>> = model.calls.iter().map(parents).collect();
    let mut seen: HashMap<Operation, i64> = HashMap::new();
    let finished = walk(model, &parents, &mut |node| {
        let next = seen.len() as i64;
        seen.entry(operation(node)).or_insert(next);
    });
    let mut node_depths: HashMap<Node, u64> = HashMap::new();
    let mut depths: HashMap<Operation, u64> = HashMap::new();
    for &node in finished.iter().rev() {
        let own = node_depths.get(&node).copied().unwrap_or(0);
        let of = depths.entry(operation(node)).or_insert(0);
        // A shared layer stands where its most distant call stands.
        *of = own.max(*of);
        let depth = *of;
        let Node::Call(call) = node else { continue };
        for &parent in &parents[call] {
            let parent = node_depths.entry(parent).or_insert(0);
            *parent = (*parent).max(depth + 1);
        }
    }
    for input in 0..model.inputs.len() {
        depths.entry(Operation::Input(input)).or_insert(0);
        seen.entry(Operation::Input(input)).or_insert(-1);
    }
    let mut all: Vec<Operation> = depths.keys().copied().collect();
    all.sort_by_key(|operation| (std::cmp::Reverse(depths[operation]), seen[operation], *operation));
    all
}

/// Depth first from each output; the nodes in the order in which they are finished. `begin` hears of each when it is
/// reached.
fn walk(model: &Model, parents: &[Vec<Node>], begin: &mut dyn FnMut(Node)) -> Vec<Node> {
    let mut finished = Vec::with_capacity(model.calls.len());
    let mut known: HashMap<Node, ()> = HashMap::new();
    let none = Vec::new();
    let mut stack: Vec<(Node, usize)> = Vec::new();
    for output in model.outputs.iter().filter_map(|output| output.value.as_ref()) {
        let mut enter = |node: Node, stack: &mut Vec<(Node, usize)>| {
            let exists = match node {
                Node::Input(input) => input < model.inputs.len(),
                Node::Call(call) => {
                    model.calls.get(call).is_some_and(|call| (call.layer as usize) < model.layers.len())
                }
            };
            if exists && known.insert(node, ()).is_none() {
                begin(node);
                stack.push((node, 0));
            }
        };
        enter(Node::of(output), &mut stack);
        while let Some((node, next)) = stack.last_mut() {
            let needs = match node {
                Node::Input(_) => &none,
                Node::Call(call) => parents.get(*call).unwrap_or(&none),
            };
            match needs.get(*next).copied() {
                Some(need) => {
                    *next += 1;
                    enter(need, &mut stack);
                }
                None => {
                    finished.push(*node);
                    stack.pop();
                }
            }
        }
    }
    finished
}

/// The tensors of a call as Keras flattens them: positions first, then keywords by name.
fn parents(call: &Call) -> Vec<Node> {
    let mut out = Vec::new();
    call.args.iter().for_each(|arg| values(arg, &mut out));
    named(&call.kwargs, &mut out);
    out
}

fn named(args: &[NamedArg], out: &mut Vec<Node>) {
    let mut sorted: Vec<&NamedArg> = args.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    sorted.iter().filter_map(|named| named.arg.as_ref()).for_each(|arg| values(arg, out));
}

fn values(arg: &Arg, out: &mut Vec<Node>) {
    match &arg.kind {
        Some(ArgKind::Value(value)) => out.push(Node::of(value)),
        Some(ArgKind::List(list)) => list.items.iter().for_each(|item| values(item, out)),
        Some(ArgKind::Dict(dict)) => named(&dict.items, out),
        Some(ArgKind::Json(_)) | None => {}
    }
}
