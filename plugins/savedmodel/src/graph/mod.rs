//! From a graph of TensorFlow to recast's ops. The source hands a signature on as one layer of class `tf>Signature`,
//! with the graph's bytes as a weight: what is in it is lowered in one piece, because TensorFlow computes shapes with
//! tensors, across nodes.

pub mod counter;
pub mod def;
pub mod flow;
pub mod interp;
pub mod literal;
pub mod ops;
pub mod value;
pub mod walk;
pub mod wire;

use interp::{Interp, Variable};
use literal::Origin;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::Graph;
use recast_plugin_api::lower::{LowerHost, Lowering, Val as Output};
use recast_plugin_api::messages::{LowerRequest, Lowered};
use recast_plugin_api::model::Layer;
use recast_plugin_api::plugin::{Layers, LowerCx};
use serde_json::Value as Json;
use std::collections::HashMap;
use value::Val;
use walk::Given;

pub const CLASS: &str = "tf>Signature";
/// The weight that holds the bytes of the GraphDef.
pub const GRAPH: &str = "graph_def";
/// What lookup tables hold, in the layer's configuration: by node, `{"keys": [..], "values": [..]}`.
pub const TABLES: &str = "tables";

pub struct Signatures;

impl Layers for Signatures {
    const CLASSES: &'static [&'static str] = &[CLASS];

    fn lower(&self, cx: &LowerCx<'_>, request: &LowerRequest) -> Result<Lowered, Findings> {
        let layer = request.layer.as_ref();
        let layer = layer.ok_or_else(|| Diag::new(Code::PluginMisbehaved, "", "a request without layer"))?;
        let bytes = cx.tensor(&format!("{}/{GRAPH}", layer.path))?;
        lower(Some(cx), request, layer, bytes.bytes())
    }
}

/// The layer `tf>Signature` with these bytes of a GraphDef as ops. `host` takes notes.
pub fn lower(
    host: Option<&dyn LowerHost>,
    request: &LowerRequest,
    layer: &Layer,
    bytes: &[u8],
) -> Result<Lowered, Findings> {
    let mut l = Lowering::new(host, request)?;
    let missing = || Diag::new(Code::WeightMissing, &layer.path, "the graph itself is missing");
    let place = layer.weight(GRAPH).and_then(|weight| weight.tensor.as_ref()).ok_or_else(missing)?;
    let origin = Origin { bytes, file: place.file, offset: place.offset };
    let (body, library) = def::read(bytes)?;
    let given = names(&l, "inputs")?;
    let wanted = names(&l, "outputs")?;
    let inputs = l.positional();
    if given.len() != inputs.len() {
        return Err(l.error(Code::PluginMisbehaved, format!("{} inputs for {}", inputs.len(), given.len())).into());
    }
    let mut nodes = HashMap::new();
    for (name, input) in given.iter().zip(&inputs) {
        let node = name.split(':').next().unwrap_or(name);
        // What no output depends on may be missing.
        if let Some(node) = body.find(node) {
            nodes.insert(node, vec![Val::Tensor { depth: 0, value: input.value }]);
        }
    }
    let graph = std::mem::replace(&mut l.graph, Graph::new(""));
    let mut interp = Interp::new(&library, origin, variables(layer)?, graph);
    if let Some(Json::Object(tables)) = l.config.get(TABLES) {
        interp.tables = tables.clone();
    }
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let results = interp.run(&body, Given { arguments: &[], nodes: &nodes }, &wanted)?;
    let outputs = made(&mut interp, &body, &wanted, &results)?;
    if let Some(at) = interp.changed.take() {
        let detail = "stateful: it changes variables as it runs";
        let detail = format!("{detail}; every run of the converted model starts from what they held when it was saved");
        l.report(&Diag::new(Code::OptionIgnored, at, detail).hint("save it after reset_states() to start from zeros"));
    }
    l.graph = interp.frames.swap_remove(0).graph;
    layer.weights.iter().for_each(|weight| l.ignore(&weight.role));
    l.finish(&outputs)
}

/// The outputs as values of the graph, or everything that stands in the way.
fn made<'a>(
    interp: &mut Interp<'a>,
    body: &def::Body<'a>,
    wanted: &[&str],
    results: &[Val],
) -> Result<Vec<Output>, Findings> {
    let mut findings = interp.findings();
    let mut outputs = Vec::new();
    for (name, result) in wanted.iter().zip(results) {
        let node = body.find(name.split(':').next().unwrap_or(name)).map(|at| &body.nodes[at]);
        let node = node.ok_or_else(|| Diag::new(Code::Malformed, *name, "an output that the graph does not have"))?;
        match result {
            Val::Failed => {}
            result => match interp.value(node, result) {
                Ok(value) => outputs.push(Output::plain(value)),
                Err(diag) => findings.push(diag),
            },
        }
    }
    if findings.is_empty() && outputs.len() != wanted.len() {
        findings.push(Diag::new(Code::Bug, "", "an output was not lowered, and nothing says why"));
    }
    if findings.is_empty() { Ok(outputs) } else { Err(findings) }
}

fn names(l: &Lowering<'_>, key: &str) -> Result<Vec<String>, Diag> {
    let list = l.config.get(key).and_then(Json::as_array).ok_or_else(|| l.config.bad(key, "a list of tensors"))?;
    let name = |name: &Json| name.as_str().map(str::to_owned).ok_or_else(|| l.config.bad(key, "a list of tensors"));
    list.iter().map(name).collect()
}

/// Variables by the names of their nodes.
fn variables(layer: &Layer) -> Result<HashMap<String, Variable>, Diag> {
    let mut variables = HashMap::new();
    for weight in layer.weights.iter().filter(|weight| weight.role != GRAPH) {
        let Some(tensor) = &weight.tensor else { continue };
        let (path, role) = weight.role.rsplit_once('/').unwrap_or(("", &weight.role));
        let tensor = tensor.decode_tensor()?;

        variables.insert(weight.role.clone(), Variable { path: path.into(), role: role.into(), tensor });
    }
    Ok(variables)
}
