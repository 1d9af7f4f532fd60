//! After a mismatch: which layer diverges first.

use super::compare::{self, Tolerance};
use super::runtime::Runtime;
use super::{Check, bindings::Bound};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{DType, Graph, ValueId};
use recast_reference::Array;

/// Outputs that a probing file may have besides the model's own.
const PROBES_MAX: usize = 512;

/// The last floating-point value of each layer, in evaluation order.
fn probes(graph: &Graph) -> Vec<(String, ValueId)> {
    let mut probes: Vec<(String, ValueId)> = Vec::new();
    for node in graph.nodes() {
        let value = node.outputs.iter().copied().find(|&v| graph.ty(v).dtype.is_float());
        let Some(value) = value.filter(|&v| graph.ty(v).dtype != DType::F16) else { continue };
        match probes.last_mut() {
            Some(last) if last.0 == node.path => last.1 = value,
            _ => probes.push((node.path.clone(), value)),
        }
    }
    let stride = probes.len().div_ceil(PROBES_MAX).max(1);
    probes.into_iter().step_by(stride).collect()
}

/// The first layer whose result differs, as text for the finding; what went wrong when that can't be told.
pub fn first_divergence(check: &Check<'_>, runtime: &dyn Runtime, bound: &Bound, inputs: &[Array]) -> String {
    match probe(check, runtime, bound, inputs) {
        Ok(Some(layer)) => format!("the first layer that diverges is '{layer}'"),
        Ok(None) => "every single layer agrees: only the outputs differ".into(),
        Err(diag) => format!("bisection failed: {diag}"),
    }
}

fn probe(check: &Check<'_>, runtime: &dyn Runtime, bound: &Bound, inputs: &[Array]) -> Result<Option<String>, Diag> {
    let mut graph = bound.graph.clone();
    let probes = probes(&graph);
    graph.outputs.clear();
    for (index, (_, value)) in probes.iter().enumerate() {
        graph.output(format!("probe_{index}"), *value);
    }
    let evaluator = check.evaluator();
    let (exact, perturbed) = (evaluator.exact(&graph, inputs)?, evaluator.perturbed(&graph, inputs)?);
    let variant = |graph: &Graph| {
        let all = |mut found: Vec<Diag>| found.pop().unwrap_or_else(|| Diag::new(Code::Bug, "", "no finding"));
        (check.variant)(graph, "probe").map_err(all)
    };
    let refused = |refusal| Diag::new(Code::Mismatch, "probe", format!("{refusal:?}"));
    let mut session = runtime.load(&variant(&graph)?).map_err(refused)?;
    let names: Vec<String> = graph.outputs.iter().map(|output| output.name.clone()).collect();
    let named: Vec<(String, Array)> =
        graph.inputs.iter().zip(inputs).map(|(input, array)| (input.name.clone(), array.clone())).collect();
    let found = session.run(&named, &names).map_err(refused)?;
    for (index, (path, _)) in probes.iter().enumerate() {
        let tolerance = Tolerance::derived(&exact[index], &perturbed[index]);
        let near = compare::distance(&exact[index], &found[index], tolerance);
        if !near.is_ok_and(|distance| distance.outside == 0) {
            return Ok(Some(path.clone()));
        }
    }
    Ok(None)
}
