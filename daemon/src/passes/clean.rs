//! `clean`. Before: typed. After: no node whose results nobody uses, no node that returns its input as it is, no
//! `Transpose` or `Reshape` of a weight (it became a view of the weight's tensor), no `Dropout` that
//! is not to be kept.

use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{Graph, Node, Op, Rebuild, Tensor, ValueId};

/// What some targets want although inference does not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keep {
    /// Ops that only training tells from the identity.
    pub dropout: bool,
}

pub fn clean(graph: &Graph, keep: Keep) -> Result<Graph, Diag> {
    let folded = fold(graph, keep)?;
    drop_unused(&folded)
}

/// There is nothing to clean, or next to nothing: a graph is built anew for as little as one node.
pub fn is_clean(graph: &Graph, keep: Keep) -> bool {
    let mut constant = vec![false; graph.value_count()];
    graph.params.iter().for_each(|param| constant[param.value.0 as usize] = true);
    let as_it_is = graph.nodes().iter().all(|node| {
        if let Op::Constant(_) = &node.op {
            constant[node.outputs[0].0 as usize] = true;
        }
        let of_constant = node.inputs.first().copied().flatten().is_some_and(|input| constant[input.0 as usize]);
        let may_be_view = of_constant && matches!(&node.op, Op::Transpose(_) | Op::Reshape(_));
        !may_be_view && returns_input(graph, node, keep).is_none()
    });
    let (nodes, values) = used(graph);
    let all_used = nodes.iter().all(|&used| used) && graph.params.iter().all(|param| values[param.value.0 as usize]);
    as_it_is && all_used && graph.params_are_settled()
}

/// Removes what changes nothing and turns shape ops on weights into views.
fn fold(graph: &Graph, keep: Keep) -> Result<Graph, Diag> {
    let mut out = Rebuild::new(graph);
    out.copy_inputs();
    out.copy_params();
    let mut tensors: Vec<Option<Source>> = vec![None; graph.value_count()];
    for (index, param) in graph.params.iter().enumerate() {
        tensors[param.value.0 as usize] = Some(Source { param: Some(index), tensor: param.tensor.clone() });
    }
    for node in graph.nodes() {
        if let Op::Constant(constant) = &node.op {
            tensors[node.outputs[0].0 as usize] = Some(Source { param: None, tensor: constant.tensor.clone() });
        }
        if let Some(same) = returns_input(graph, node, keep) {
            let value = out.get(same);
            out.map(node.outputs[0], value);
            tensors[node.outputs[0].0 as usize] = tensors[same.0 as usize].clone();
            continue;
        }
        match view(node, &tensors) {
            Some(source) => {
                let value = source.add(graph, node, &mut out)?;
                out.map(node.outputs[0], value);
                tensors[node.outputs[0].0 as usize] = Some(source);
            }
            None => out.copy_node(node)?,
        }
    }
    Ok(out.finish())
}

/// A constant value: a view of a param, or of a constant.
#[derive(Clone)]
struct Source {
    param: Option<usize>,
    tensor: Tensor,
}

impl Source {
    fn add(&self, graph: &Graph, node: &Node, out: &mut Rebuild<'_>) -> Result<ValueId, Diag> {
        match self.param {
            None => out.graph.constant(&node.path, self.tensor.clone()),
            Some(index) => {
                let param = &graph.params[index];
                Ok(out.graph.param_view(&param.path, &param.role, self.tensor.clone()))
            }
        }
    }
}

/// The tensor that a shape op on a constant gives, where one view can say it.
fn view(node: &Node, tensors: &[Option<Source>]) -> Option<Source> {
    let input = node.inputs.first().copied().flatten()?;
    let source = tensors[input.0 as usize].as_ref()?;
    let tensor = if let Op::Transpose(op) = &node.op {
        source.tensor.permuted(&op.perm)?
    } else if let Op::Reshape(op) = &node.op {
        let sizes: Option<Vec<u64>> = op.shape.iter().map(|dim| dim.known()).collect();
        source.tensor.reshaped(&sizes?)?
    } else {
        return None;
    };
    Some(Source { param: source.param, tensor })
}

/// The input that a node returns unchanged, where it does.
fn returns_input(graph: &Graph, node: &Node, keep: Keep) -> Option<ValueId> {
    let input = node.inputs.first().copied().flatten()?;
    let same_type = graph.ty(input) == graph.ty(*node.outputs.first()?);
    let unchanged = if let Op::Dropout(_) = &node.op {
        !keep.dropout
    } else if let Op::Transpose(op) = &node.op {
        op.perm.iter().enumerate().all(|(i, &axis)| i == axis)
    } else {
        let keeps = matches!(
            &node.op,
            Op::Reshape(_) | Op::Cast(_) | Op::BroadcastTo(_) | Op::Concat(_) | Op::Slice(_) | Op::Pad(_) | Op::Tile(_)
        );
        keeps && node.inputs.len() == 1 && same_type
    };
    unchanged.then_some(input)
}

/// The nodes that an output needs, and the values.
fn used(graph: &Graph) -> (Vec<bool>, Vec<bool>) {
    let mut used = vec![false; graph.value_count()];
    graph.outputs.iter().for_each(|output| used[output.value.0 as usize] = true);
    let mut keep = vec![false; graph.nodes().len()];
    for (index, node) in graph.nodes().iter().enumerate().rev() {
        if node.outputs.iter().any(|output| used[output.0 as usize]) {
            keep[index] = true;
            node.inputs.iter().flatten().for_each(|input| used[input.0 as usize] = true);
        }
    }
    (keep, used)
}

fn drop_unused(graph: &Graph) -> Result<Graph, Diag> {
    let (keep, used) = used(graph);
    let mut out = Rebuild::new(graph);
    out.copy_inputs();
    out.copy_params_where(|param| used[param.value.0 as usize]);
    for (node, _) in graph.nodes().iter().zip(&keep).filter(|(_, keep)| **keep) {
        out.copy_node(node)?;
    }
    let mut graph = out.finish();
    graph.settle_param_names();
    Ok(graph)
}
