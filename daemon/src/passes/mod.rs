//! The shared passes: named, few, ordered. They make a graph fit what a target declares, and change nothing that it
//! computes. A pass takes a typed graph and returns a typed graph, or says why it can't.

mod clean;

pub use clean::clean;

use recast_plugin_api::diag::Findings;
use recast_plugin_api::ir::Graph;
use recast_plugin_api::messages::Caps;

/// Makes a graph fit a target, in this order: `clean`.
pub fn fit(graph: Graph, _caps: &Caps) -> Result<Graph, Findings> {
    Ok(clean(&graph)?)
}
