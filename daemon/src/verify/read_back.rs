//! Outputs that are artifacts themselves (`Caps::read_back`): read through the source that claims their format, lowered
//! by the same layers plugins, and compared with the graph that was to be written.
//!
//! Where the graphs are the same, weights included, evaluating both would say nothing more, and is not done. Where they
//! differ (a SavedModel comes back as TensorFlow's ops), both are evaluated on the same inputs, and how many of the
//! weights were found bit for bit is said in the note.

use super::ReadBack;
use super::compare::{self, Distance, Tolerance};
use super::golden;
use super::rounds::{self, Evaluator, Origin, Rounds, Set};
use super::same::{Placed, Sameness, same, signatures_differ};
use super::structural::as_verdicts;
use crate::host::{Host, PluginId, TensorStore, format_claim};
use crate::job::JobSpec;
use crate::lower::layers_of;
use crate::pipeline;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{Graph, Node, Op, Tensor};
use recast_plugin_api::messages::Caps;
use recast_plugin_api::model::LayerModel;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// Reads the output at `path`, of the format `caps.read_back`, and compares it with `graph` as it was lowered.
pub fn by_source(host: &Host, spec: &JobSpec, graph: &Graph, path: &Path, caps: &Caps) -> Result<ReadBack, Findings> {
    let plugin = reader(host, &caps.read_back)?;
    let scratch = spec.staging.join(pipeline::SCRATCH);
    let other = host.sibling(TensorStore::new(&[path.to_owned()], &scratch, spec.limits.output_bytes_max));
    let request = pipeline::read_request(path, None, &spec.limits)?;
    let model = other.read(plugin, &request).map_err(as_verdicts)?;
    let by = format!("read back by {}", host.id_of(plugin));
    let Some(traced) = model.traced.clone() else {
        return same_model(spec, (graph, caps.renames), &model, (host, &other), by);
    };
    // An output that holds layers and a graph is right if both are.
    let layers = same_model(spec, (graph, caps.renames), &model, (host, &other), by.clone())?;
    let traced = LayerModel { root: Some(traced), traced: None, ..model };
    let ReadBack { note, distance, samples, .. } =
        same_model(spec, (graph, caps.renames), &traced, (host, &other), by.clone())?;
    Ok(ReadBack { by, note: format!("{note}; its layers: {}", layers.note), distance, samples })
}

/// Compares what was read, with the host that read it. `renames` is that of `Caps`.
fn same_model(
    spec: &JobSpec,
    (graph, renames): (&Graph, bool),
    model: &LayerModel,
    (host, other): (&Host, &Host),
    by: String,
) -> Result<ReadBack, Findings> {
    let found = pipeline::lower(model, other).map_err(as_verdicts)?;
    if let Some(difference) = signatures_differ(graph, &found, renames) {
        return Err(Diag::new(Code::Mismatch, "", format!("read back, {difference}")).into());
    }
    let (mine, theirs) = (Placed { graph, store: host.tensors() }, Placed { graph: &found, store: other.tensors() });
    match same(mine, theirs)? {
        Sameness::Same { nodes, weights, renamed, first } => {
            let mut note = format!("identical graph: {nodes} nodes, {weights} weights bit-identical");
            if let Some((mine, theirs)) = first {
                note += &format!("; {renamed} nodes in layers of other names ('{mine}' is '{theirs}')");
            }
            Ok(ReadBack { by, note, distance: Distance::default(), samples: 0 })
        }
        Sameness::OtherWeight(name) => {
            Err(Diag::new(Code::Mismatch, name, "read back, the weight has other bytes than in the model").into())
        }
        Sameness::Differs(how) => equal_outputs(spec, mine, theirs, by, &how).map_err(Findings::from),
    }
}

/// The plugin that reads what was written.
fn reader(host: &Host, format: &str) -> Result<PluginId, Findings> {
    host.owner(&format_claim(format))?.ok_or_else(|| {
        let detail = format!("no plugin reads the format {format:?} back");
        let hint = "install the plugin that reads it, or policy = \"best-effort\"";
        Diag::new(Code::NotVerified, "", detail).hint(hint).into()
    })
}

/// As `by_source`, for a model with layers of `opaque` classes, for which there are no ops: there are no outputs to
/// compare, only what is stored. Layers of other classes may come back as what they are in the format.
pub fn layers_by_source(
    host: &Host,
    spec: &JobSpec,
    (model, opaque): (&LayerModel, &[String]),
    path: &Path,
    format: &str,
) -> Result<ReadBack, Findings> {
    let plugin = reader(host, format)?;
    let scratch = spec.staging.join(pipeline::SCRATCH);
    let other = host.sibling(TensorStore::new(&[path.to_owned()], &scratch, spec.limits.output_bytes_max));
    let found = other.read(plugin, &pipeline::read_request(path, None, &spec.limits)?).map_err(as_verdicts)?;
    let (mine, theirs) = (weights(model, host.tensors())?, weights(&found, other.tensors())?);
    if mine != theirs {
        return Err(Diag::new(Code::Mismatch, "", "read back, it has other weights").into());
    }
    let (layers, others) = (classes(model), classes(&found));
    if let Some(class) = opaque.iter().find(|class| layers.get(class.as_str()) != others.get(class.as_str())) {
        let detail = format!("read back, it has another number of layers of class {class}");
        return Err(Diag::new(Code::Mismatch, "", detail).into());
    }
    let rewritten = layers.iter().filter(|(class, count)| others.get(*class) != Some(count));
    let rewritten: Vec<&str> = rewritten.map(|(class, _)| *class).collect();
    let said = match rewritten.is_empty() {
        true => "identical layers".to_owned(),
        false => format!("the same layers, but for {}, which are others in this format", rewritten.join(", ")),
    };
    let note = format!(
        "{said}, {} weights bit-identical; nothing here knows what {} computes: no outputs were compared",
        mine.len(),
        opaque.join(", ")
    );
    let by = format!("read back by {}", host.id_of(plugin));
    Ok(ReadBack { by, note, distance: Distance::default(), samples: 0 })
}

/// How many layers there are of each class.
fn classes(model: &LayerModel) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    layers_of(model).into_iter().for_each(|layer| *counts.entry(layer.class.as_str()).or_default() += 1);
    counts
}

/// All weights by shape and bytes, sorted: a stranger's weights have no names of their own.
fn weights(model: &LayerModel, store: &TensorStore) -> Result<Vec<(Vec<u64>, String)>, Findings> {
    let layers = layers_of(model);
    let mut weights = Vec::new();
    for tensor in layers.iter().flat_map(|layer| &layer.weights).filter_map(|weight| weight.tensor.as_ref()) {
        let tensor = tensor.decode_tensor()?;
        weights.push((tensor.shape.clone(), digest_of(&tensor, store)?));
    }
    weights.sort();
    Ok(weights)
}

/// Both graphs, evaluated on the same inputs; level `structural` all the same, as no other runtime ran the file.
fn equal_outputs(
    spec: &JobSpec,
    mine: Placed<'_>,
    theirs: Placed<'_>,
    by: String,
    how: &str,
) -> Result<ReadBack, Diag> {
    let (seed, threads) = (spec.verify.seed, spec.threads);
    let evaluator = Evaluator { weights: mine.store, seed, threads };
    let other = Evaluator { weights: theirs.store, seed, threads };
    let mut rounding = Rounds::default();
    let mut sets = rounds::plan(&evaluator, mine.graph, &mut rounding)?;
    if let Some(vacuous) = rounds::tells_nothing(&sets, mine.graph).filter(|_| spec.golden.is_none()) {
        return Err(vacuous);
    }
    // What its user recorded may reach what no input of ours does.
    if let Some(path) = &spec.golden {
        let (bound, inputs) = golden::inputs(mine.graph, path)?;
        let expected = rounding.evaluate(&evaluator, &bound.graph, &inputs)?;
        sets.push(Set { bound, inputs, expected, origin: Origin::Evaluator });
    }
    let (mut distance, mut samples) = (Distance::default(), 0);
    for set in &sets {
        // What the evaluator can't do there says nothing about the output; what does not fit, does.
        let found = other.exact(theirs.graph, &set.inputs)?;
        for ((output, (expected, tolerance)), found) in mine.graph.outputs.iter().zip(&set.expected).zip(&found) {
            let near = compared(&output.name, expected, found, *tolerance, how)?;
            distance = distance.join(near);
        }
        samples += set.rows();
    }
    let (kept, all) = kept_weights(mine, theirs)?;
    let note = format!(
        "equal outputs: the evaluator on what was read back agrees to {:.1e} over {samples} rows; {kept} of {all} \
         weights bit-identical; another graph ({how})",
        distance.max_abs
    );
    Ok(ReadBack { by, note, distance, samples })
}

fn compared(
    output: &str,
    expected: &recast_reference::Array,
    found: &recast_reference::Array,
    tolerance: Tolerance,
    how: &str,
) -> Result<Distance, Diag> {
    let wrong = |why: String| Diag::new(Code::Mismatch, output, format!("read back: {why}; {how}"));
    let near = compare::distance(expected, found, tolerance).map_err(wrong)?;
    if near.outside == 0 {
        return Ok(near);
    }
    Err(wrong(format!(
        "{} of {} elements differ by up to {:.3e} where {:.3e} is rounding",
        near.outside, near.elements, near.max_abs, tolerance.absolute
    )))
}

/// How many weights of the first graph are a weight or a constant of the second, bit for bit; and how many there are.
fn kept_weights(mine: Placed<'_>, theirs: Placed<'_>) -> Result<(usize, usize), Diag> {
    let mut held = HashSet::new();
    fn constant(node: &Node) -> Option<&Tensor> {
        if let Op::Constant(op) = &node.op { Some(&op.tensor) } else { None }
    }
    let constants = theirs.graph.nodes().iter().filter_map(constant);
    for tensor in theirs.graph.all_params().into_iter().map(|param| &param.tensor).chain(constants) {
        held.insert(digest_of(tensor, theirs.store)?);
    }
    let params = mine.graph.all_params();
    let mut kept = 0;
    for param in &params {
        kept += usize::from(held.contains(&digest_of(&param.tensor, mine.store)?));
    }
    Ok((kept, params.len()))
}

/// Strings have no stored form and no digest.
fn digest_of(tensor: &Tensor, store: &TensorStore) -> Result<String, Diag> {
    if tensor.dtype.size() == 0 {
        return Ok(String::new());
    }
    let elements = store.elements(tensor)?;
    let digest = format!("{} {}", tensor.dtype, crate::digest::of_bytes(elements.bytes()));
    elements.forget();
    Ok(digest)
}
