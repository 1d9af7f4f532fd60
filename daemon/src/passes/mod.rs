//! The shared passes: named, few, ordered. They make a graph fit what a target declares, and change nothing that it
//! computes. A pass takes a typed graph and returns a typed graph, or says why it can't.

mod clean;
mod decompose;
mod layout;
mod recurrent;
mod widen;

pub use clean::{Keep, clean, is_clean};
pub use decompose::{Lacking, decompose, is_of_octets, is_softplus};
pub use layout::{Wanted, layout};
pub use recurrent::{has_loops, recurrent};
pub use widen::{holds, widen};

use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::validate::{refused, validate};
use recast_plugin_api::ir::{DType, Graph, Layout};
use recast_plugin_api::messages::Caps;

/// Makes a graph fit a target, in this order: `widen` where the target wants it, `clean`, `recurrent`, `layout` where
/// the target has one; `clean` again of what these left.
pub fn fit(graph: Graph, caps: &Caps) -> Result<Graph, Findings> {
    let wanted = Wanted {
        layout: Layout::parse(&caps.layout),
        channels_first_kernel: match caps.kernel.as_str() {
            "oihw" => Some(true),
            "hwio" => Some(false),
            _ => None,
        },
    };
    let keep = Keep { dropout: caps.ops.iter().any(|op| op == "dropout") };
    let mut graph = graph;
    for narrow in caps.widens.iter().filter_map(|name| DType::parse(name)) {
        if holds(&graph, narrow) {
            graph = checked("widen", widen(&graph, narrow, DType::F32)?)?;
        }
    }
    let graph = recognised(cleaned(graph, keep)?, caps, keep)?;
    if wanted.layout.is_none() && wanted.channels_first_kernel.is_none() {
        return Ok(graph);
    }
    cleaned(checked("layout", layout(&graph, wanted)?)?, keep)
}

fn cleaned(graph: Graph, keep: Keep) -> Result<Graph, Findings> {
    if is_clean(&graph, keep) {
        return Ok(graph);
    }
    checked("clean", clean(&graph, keep)?)
}

/// With the loops that are recurrent layers as such where the target has them.
fn recognised(graph: Graph, caps: &Caps, keep: Keep) -> Result<Graph, Findings> {
    if !has_loops(&graph) {
        return Ok(graph);
    }
    let writes = |name: &str| caps.ops.iter().any(|op| op == name);
    cleaned(checked("recurrent", recurrent(&graph, &writes)?)?, keep)
}

/// What a pass leaves must be a whole graph; if not, the pass is to blame.
fn checked(pass: &str, graph: Graph) -> Result<Graph, Findings> {
    let found = validate(&graph, None);
    if !refused(&found) {
        return Ok(graph);
    }
    let blame = |diag: Diag| Diag { detail: format!("after pass '{pass}': {}", diag.detail), ..diag };
    Err(found.into_iter().filter(Diag::is_error).map(blame).collect())
}
