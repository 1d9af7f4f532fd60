//! `decompose`, for checks alone. Before: bound, every size known. After: what `lacking` names is spelled out in ops
//! that every runtime has, as far as there is a way: recurrent layers and scans step by step, 3-D windows as 2-D ones,
//! resampling as products with weights, padding as a choice of elements, the place of the largest by comparison,
//! softplus in steps that stay finite.

mod elementwise;
mod index;
mod octets;
mod picked;
mod recurrent;
mod resize;
mod scan;
mod window;

pub use elementwise::is_softplus;
pub use octets::is_of_octets;

use super::{Keep, cleaned, recognised};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{Dim, Graph, Node, Op, Rebuild, ValueId};
use recast_plugin_api::messages::Caps;

/// Nodes that a decomposed graph may have: a scan of many steps over a large body is left alone rather than unrolled.
pub const DECOMPOSED_NODES_MAX: usize = 200_000;

/// Bodies in bodies: each round spells out one level.
const ROUNDS_MAX: usize = 8;

/// Which nodes of a graph (by their place) a runtime lacks.
pub type Lacking = fn(&Graph) -> Vec<bool>;

/// The bound graph with the nodes that `lacking` names spelled out in others; `None` when there is nothing to do.
/// Nodes whose results nobody uses are gone before `lacking` is asked: what they would need does not count. Loops are
/// what the target is given in their place, so what is checked is what is written.
pub fn decompose(graph: &Graph, caps: &Caps, lacking: Lacking) -> Result<Option<Graph>, Findings> {
    let graph = &recognised(cleaned(graph.clone(), Keep::default())?, caps, Keep::default())?;
    let mut found: Option<Graph> = None;
    for _ in 0..ROUNDS_MAX {
        match round(found.as_ref().unwrap_or(graph), lacking)? {
            Some(next) => found = Some(next),
            None => break,
        }
    }
    Ok(found)
}

fn round(graph: &Graph, lacking: Lacking) -> Result<Option<Graph>, Findings> {
    let mut out = Rebuild::new(graph);
    out.copy_inputs();
    out.copy_params();
    let mut changed = false;
    for (node, lacks) in graph.nodes().iter().zip(lacking(graph)) {
        let spelled = if lacks { spelled_out(node, &mut out)? } else { None };
        match spelled {
            Some(outputs) => {
                changed = true;
                node.outputs.iter().zip(outputs).for_each(|(old, new)| out.map(*old, new));
            }
            None => out.copy_node(node)?,
        }
        if out.graph.nodes().len() > DECOMPOSED_NODES_MAX {
            let detail = format!("more than {DECOMPOSED_NODES_MAX} nodes when spelled out for a check");
            return Err(Diag::new(Code::LimitExceeded, &node.path, detail).into());
        }
    }
    Ok(changed.then(|| out.finish()))
}

/// The values of a node's outputs without the node; `None` where there is no other way to say it.
fn spelled_out(node: &Node, out: &mut Rebuild<'_>) -> Result<Option<Vec<ValueId>>, Findings> {
    let inputs: Vec<Option<ValueId>> = node.inputs.iter().map(|value| value.map(|v| out.get(v))).collect();
    let mut at = At { graph: &mut out.graph, path: &node.path, inputs: &inputs };
    let found = if let Op::Lstm(op) = &node.op {
        recurrent::lstm(op, &mut at)?
    } else if let Op::Gru(op) = &node.op {
        recurrent::gru(op, &mut at)?
    } else if let Op::SimpleRnn(op) = &node.op {
        recurrent::simple_rnn(op, &mut at)?
    } else if let Op::Conv(op) = &node.op {
        window::conv(op, &mut at)?
    } else if let Op::ConvTranspose(op) = &node.op {
        window::conv_transpose(op, &mut at)?
    } else if let Op::Pool(op) = &node.op {
        window::pool(op, &mut at)?
    } else if let Op::Scan(op) = &node.op {
        scan::scan(op, &mut at)?
    } else if let Op::ArgReduce(op) = &node.op {
        index::arg_reduce(op, &mut at)?
    } else if let Op::Resize(op) = &node.op {
        resize::resize(op, &mut at)?
    } else if let Op::Pad(op) = &node.op {
        picked::pad(op, &mut at)?
    } else if is_softplus(&node.op) {
        Some(elementwise::softplus(&mut at)?)
    } else if is_of_octets(at.graph, &node.op, at.inputs) {
        Some(octets::widened(node, &mut at)?)
    } else {
        None
    };
    Ok(found)
}

/// Where a node is spelled out: its place and its inputs.
struct At<'g> {
    graph: &'g mut Graph,
    path: &'g str,
    inputs: &'g [Option<ValueId>],
}

impl At<'_> {
    fn input(&self, index: usize) -> Result<ValueId, Diag> {
        let value = self.inputs.get(index).copied().flatten();
        value.ok_or_else(|| Diag::new(Code::Bug, self.path, format!("input {index} is missing")))
    }

    fn opt(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId, Diag> {
        self.graph.add(self.path, op, inputs)
    }

    fn shape(&self, value: ValueId) -> Vec<Dim> {
        self.graph.shape(value).to_vec()
    }

    fn size(&self, value: ValueId, axis: usize) -> Result<u64, Diag> {
        let size = self.graph.shape(value)[axis].known();
        size.ok_or_else(|| Diag::new(Code::Bug, self.path, "a size is not bound"))
    }

    fn reshape(&mut self, value: ValueId, shape: Vec<Dim>) -> Result<ValueId, Diag> {
        self.graph.reshape(self.path, value, shape)
    }

    fn transpose(&mut self, value: ValueId, perm: &[usize]) -> Result<ValueId, Diag> {
        self.graph.transpose(self.path, value, perm)
    }

    fn slice(&mut self, value: ValueId, axis: usize, start: u64, stop: u64) -> Result<ValueId, Diag> {
        self.graph.slice(self.path, value, axis, Dim::Known(start), Dim::Known(stop))
    }

    /// Element `index` of `axis`, which goes away.
    fn pick(&mut self, value: ValueId, axis: usize, index: u64) -> Result<ValueId, Diag> {
        let one = self.slice(value, axis, index, index + 1)?;
        self.graph.squeeze(self.path, one, axis)
    }
}
