//! The order in which Keras 3 keeps the operations of a Functional model once it has loaded it. Weights are stored by
//! it: the second Dense of this order is `layers/dense_1`. Keras walks back from the outputs, gives each operation its
//! distance from them, and sorts: the most distant first, at one distance in the order of the walk. Masks that Keras 3
//! computes on its own are operations, too.

use super::masks::{Masks, masks};
use recast_plugin_api::model::{Arg, ArgKind, Call, Layer, Model, NamedArg, ValueRef};
use std::collections::{HashMap, HashSet};

/// What Keras calls an operation of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Position among the model's inputs.
    Input(usize),
    /// Position among its layers.
    Layer(usize),
}

/// Keras' node: an input, a call, or an operation that computes a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Node {
    Input(usize),
    Call(usize),
    Mask(usize),
}

impl Node {
    pub(super) fn of(value: &ValueRef) -> Node {
        value.call.map_or(Node::Input(value.index as usize), |call| Node::Call(call as usize))
    }
}

/// Every operation that an output needs, and every input, as Keras 3 orders them.
pub fn order(model: &Model) -> Vec<Operation> {
    let plain = Graph { model, parents: model.calls.iter().map(parents).collect(), masks: Masks::default() };
    let masks = masks(model, &plain.walk(&mut |_| {}));
    if masks.operations.is_empty() {
        return plain.order();
    }
    let parents = plain.parents.into_iter().zip(&masks.given);
    let parents = parents.map(|(parents, given)| parents.into_iter().chain(given.iter().copied()).collect()).collect();
    Graph { model, parents, masks }.order()
}

/// The same for Keras 2, which knows no operations of masks.
pub fn order_without_masks(model: &Model) -> Vec<Operation> {
    Graph { model, parents: model.calls.iter().map(parents).collect(), masks: Masks::default() }.order()
}

/// What is directly inside of a layer: of a model, or of a wrapper.
pub fn insides(layer: &Layer) -> impl Iterator<Item = &Layer> {
    let model = layer.model.iter().flat_map(|model| &model.layers);
    model.chain(layer.children.iter().filter_map(|child| child.layer.as_ref()))
}

pub fn has_weights(layer: &Layer) -> bool {
    !layer.weights.is_empty() || insides(layer).any(has_weights)
}

/// The first layer whose weights Keras 2 and Keras 3 would look for in different places of one list.
pub fn orders_differ(model: &Model) -> Option<&Layer> {
    let weighted = |operations: Vec<Operation>| -> Vec<usize> {
        let layers = operations.into_iter().filter_map(|operation| match operation {
            Operation::Layer(layer) => Some(layer),
            Operation::Input(_) => None,
        });
        layers.filter(|&layer| has_weights(&model.layers[layer])).collect()
    };
    let (new, old) = (weighted(order(model)), weighted(order_without_masks(model)));
    let here = new.iter().zip(&old).find(|(new, old)| new != old).map(|(new, _)| &model.layers[*new]);
    here.or_else(|| model.layers.iter().filter_map(|layer| layer.model.as_ref()).find_map(orders_differ))
}

struct Graph<'m> {
    model: &'m Model,
    /// Of each call: what it computes from.
    parents: Vec<Vec<Node>>,
    masks: Masks,
}

impl Graph<'_> {
    fn needs(&self, node: Node) -> &[Node] {
        match node {
            Node::Input(_) => &[],
            Node::Call(call) => self.parents.get(call).map_or(&[], Vec::as_slice),
            Node::Mask(mask) => self.masks.operations.get(mask).map_or(&[], Vec::as_slice),
        }
    }

    fn operation(&self, node: Node) -> Option<Operation> {
        match node {
            Node::Input(input) => Some(Operation::Input(input)),
            Node::Call(call) => Some(Operation::Layer(self.model.calls[call].layer as usize)),
            Node::Mask(_) => None,
        }
    }

    fn exists(&self, node: Node) -> bool {
        let model = self.model;
        match node {
            Node::Input(input) => input < model.inputs.len(),
            Node::Call(call) => model.calls.get(call).is_some_and(|call| (call.layer as usize) < model.layers.len()),
            Node::Mask(mask) => mask < self.masks.operations.len(),
        }
    }

    fn order(&self) -> Vec<Operation> {
        if self.model.kind == "Sequential" {
            return (0..self.model.layers.len()).map(Operation::Layer).collect();
        }
        let mut seen: HashMap<Operation, i64> = HashMap::new();
        let finished = self.walk(&mut |node| {
            let next = seen.len() as i64;
            if let Some(operation) = self.operation(node) {
                seen.entry(operation).or_insert(next);
            }
        });
        let mut node_depths: HashMap<Node, u64> = HashMap::new();
        let mut depths: HashMap<Operation, u64> = HashMap::new();
        for &node in finished.iter().rev() {
            let mut depth = node_depths.get(&node).copied().unwrap_or(0);
            if let Some(operation) = self.operation(node) {
                // A shared layer stands where its most distant call stands.
                let of = depths.entry(operation).or_insert(0);
                *of = depth.max(*of);
                depth = *of;
            }
            for &parent in self.needs(node) {
                let parent = node_depths.entry(parent).or_insert(0);
                *parent = (*parent).max(depth + 1);
            }
        }
        for input in 0..self.model.inputs.len() {
            depths.entry(Operation::Input(input)).or_insert(0);
            seen.entry(Operation::Input(input)).or_insert(-1);
        }
        let mut all: Vec<Operation> = depths.keys().copied().collect();
        all.sort_by_key(|operation| (std::cmp::Reverse(depths[operation]), seen[operation], *operation));
        all
    }

    /// Depth first from each output; the nodes in the order in which they are finished. `begin` hears of each when it
    /// is reached.
    fn walk(&self, begin: &mut dyn FnMut(Node)) -> Vec<Node> {
        let mut finished = Vec::with_capacity(self.model.calls.len());
        let mut known: HashSet<Node> = HashSet::new();
        let mut stack: Vec<(Node, usize)> = Vec::new();
        for output in self.model.outputs.iter().filter_map(|output| output.value.as_ref()) {
            let mut enter = |node: Node, stack: &mut Vec<(Node, usize)>| {
                if self.exists(node) && known.insert(node) {
                    begin(node);
                    stack.push((node, 0));
                }
            };
            enter(Node::of(output), &mut stack);
            while let Some((node, next)) = stack.last_mut() {
                match self.needs(*node).get(*next).copied() {
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
}

/// The tensors of a call as Keras flattens them: positions first, then keywords by name.
fn parents(call: &Call) -> Vec<Node> {
    let mut out = Vec::new();
    call.args.iter().for_each(|arg| values(arg, &mut |value| out.push(Node::of(value))));
    named(&call.kwargs, &mut |value| out.push(Node::of(value)));
    out
}

fn named(args: &[NamedArg], take: &mut dyn FnMut(&ValueRef)) {
    let mut sorted: Vec<&NamedArg> = args.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    sorted.iter().filter_map(|named| named.arg.as_ref()).for_each(|arg| values(arg, take));
}

pub(super) fn values(arg: &Arg, take: &mut dyn FnMut(&ValueRef)) {
    match &arg.kind {
        Some(ArgKind::Value(value)) => take(value),
        Some(ArgKind::List(list)) => list.items.iter().for_each(|item| values(item, take)),
        Some(ArgKind::Dict(dict)) => named(&dict.items, take),
        Some(ArgKind::Json(_)) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recast_plugin_api::model::{Layer, ModelInput, ModelOutput};

    /// Of two branches of one depth, the one with a mask stands farther from the outputs: seen in Keras 3.15.
    #[test]
    fn masks_count_as_distance() {
        let layer = |class: &str| Layer { class: class.into(), config: "{}".into(), ..Layer::default() };
        let classes = ["Dense", "Masking", "LSTM", "Dense", "Activation", "LSTM", "Concatenate"];
        let tensor = |call: Option<u32>, index: u32| Arg::value(ValueRef { call, index });
        let call = |layer: u32, args: Vec<Arg>| Call { layer, args, kwargs: Vec::new() };
        let calls = vec![
            call(0, vec![tensor(None, 0)]),
            call(1, vec![tensor(Some(0), 0)]),
            call(2, vec![tensor(Some(1), 0)]),
            call(3, vec![tensor(None, 1)]),
            call(4, vec![tensor(Some(3), 0)]),
            call(5, vec![tensor(Some(4), 0)]),
            call(6, vec![Arg::list(vec![tensor(Some(5), 0), tensor(Some(2), 0)])]),
        ];
        let outputs = vec![ModelOutput { value: Some(ValueRef { call: Some(6), index: 0 }), ..ModelOutput::default() }];
        let model = Model {
            kind: "Functional".into(),
            inputs: vec![ModelInput::default(); 2],
            layers: classes.map(layer).to_vec(),
            calls,
            outputs,
            ..Model::default()
        };
        let layers = |operations: Vec<Operation>| -> Vec<usize> {
            let layer = |operation| if let Operation::Layer(layer) = operation { Some(layer) } else { None };
            operations.into_iter().filter_map(layer).collect()
        };
        assert_eq!(layers(order(&model)), [0, 3, 4, 1, 5, 2, 6]);
        assert_eq!(layers(order_without_masks(&model)), [3, 0, 4, 1, 5, 2, 6]);
    }
}
