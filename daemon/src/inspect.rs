//! `recast inspect`: what an artifact holds, and for each target whether it can be made of it, and if not, why.

use crate::host::Host;
use crate::job::{Finding, JobSpec, TargetSpec};
use crate::lower::{self, layers_of};
use crate::passes;
use crate::pipeline::{self, Read};
use recast_plugin_api::diag::Findings;
use recast_plugin_api::ir::{Graph, Op};
use recast_plugin_api::model::{InputDim, Layer, LayerModel, ModelInput, SourceOption};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// What was found. Shapes hold `null` for a free dimension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    pub format: String,
    pub keras_version: String,
    pub model: String,
    pub inputs: Vec<Port>,
    /// Types are known only where every layer can be lowered.
    pub outputs: Vec<Port>,
    /// What may be chosen of the artifact, and what was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<OptionRow>,
    pub layers: Vec<LayerRow>,
    pub parameters: u64,
    /// Op name -> how often; empty where the model can't be lowered.
    pub ops: BTreeMap<String, u64>,
    /// Canonical text, when it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<String>,
    pub targets: Vec<Feasible>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Port {
    pub name: String,
    /// `f32[batch, 784]`, or Keras' dtype and sizes where the graph is not known.
    #[serde(rename = "type")]
    pub ty: String,
}

/// An option of the source: `--signature`, `[sources.FORMAT]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OptionRow {
    pub name: String,
    /// Empty where nothing had to be chosen.
    pub value: String,
    pub choices: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerRow {
    pub path: String,
    pub class: String,
    pub weights: Vec<WeightRow>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightRow {
    pub role: String,
    pub dtype: String,
    pub shape: Vec<u64>,
    pub stored_as: String,
    /// Bytes that only the plugin of its class reads: no parameter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opaque: bool,
}

/// Can this target be made, and if not, what stands in the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feasible {
    pub target: String,
    pub possible: bool,
    /// Errors where it is not possible, notes where it is.
    pub findings: Vec<Finding>,
}

/// Looks at an artifact. Fails only where it can't be read.
pub fn inspect(spec: &JobSpec, host: &Host) -> Result<Inspection, Findings> {
    let Read { format, model } = pipeline::read(spec, host)?;
    let lowered = pipeline::lower(&model, host);
    let instead = pipeline::traced_instead(&model, host).map(|traced| (pipeline::lower(&traced, host), traced));
    let feasible = |target: &TargetSpec| {
        // Targets that write layers as they are need no plugin for them, nor the graph in their place.
        let of_layers = host.capabilities(&target.name).is_ok_and(|caps| caps.writes_layers_alone());
        let (graph, model) = match &instead {
            Some((graph, traced)) if !of_layers => (graph, traced),
            _ => (&lowered, &model),
        };
        feasible(target, (graph.as_ref(), model), spec, host)
    };
    let targets = spec.targets.iter().map(feasible).collect();
    let graph = lowered.as_ref().ok();
    let layers: Vec<LayerRow> = layers_of(&model).into_iter().map(layer_row).collect();
    let elements = |weight: &WeightRow| weight.shape.iter().product::<u64>();
    Ok(Inspection {
        format,
        keras_version: model.keras_version.clone(),
        model: model.root.as_ref().map_or(String::new(), |root| root.name.clone()),
        inputs: inputs(&model, graph),
        outputs: outputs(&model, graph),
        parameters: layers.iter().flat_map(|layer| &layer.weights).filter(|w| !w.opaque).map(elements).sum(),
        options: model.options.iter().map(option_row).collect(),
        layers,
        ops: graph.map_or_else(BTreeMap::new, count_ops),
        graph: graph.map(Graph::to_string),
        targets,
    })
}

fn feasible(
    target: &TargetSpec,
    of: (Result<&Graph, &Findings>, &LayerModel),
    spec: &JobSpec,
    host: &Host,
) -> Feasible {
    let said = rehearsed(target, of, spec, host);
    let possible = said.is_ok();
    let found = said.unwrap_or_else(|found| found);
    Feasible { target: target.name.clone(), possible, findings: found.iter().map(Finding::from).collect() }
}

/// Everything that a conversion does before the first byte is written: its notes, or why it is refused.
fn rehearsed(
    target: &TargetSpec,
    (lowered, model): (Result<&Graph, &Findings>, &LayerModel),
    spec: &JobSpec,
    host: &Host,
) -> Result<Findings, Findings> {
    let caps = host.capabilities(&target.name)?;
    let fitted = match lowered {
        Ok(graph) => Some(passes::fit(graph.clone(), &caps)?),
        Err(found) if caps.writes_layers_alone() && found.iter().all(lower::is_beyond_ops) => None,
        Err(found) => return Err(found.clone()),
    };
    let layers = caps.wants_layers.then_some(model);
    let request = pipeline::write_request(host, spec, target, &caps, (fitted.as_ref(), layers), "")?;
    host.rehearse(&target.name, &request)
}

fn option_row(option: &SourceOption) -> OptionRow {
    OptionRow { name: option.name.clone(), value: option.value.clone(), choices: option.choices.clone() }
}

fn layer_row(layer: &Layer) -> LayerRow {
    let weight = |weight: &recast_plugin_api::model::Weight| {
        let tensor = weight.tensor.as_ref().map(|tensor| tensor.decode_tensor());
        let tensor = tensor.and_then(Result::ok);
        WeightRow {
            role: weight.role.clone(),
            dtype: tensor.as_ref().map_or("?".into(), |tensor| tensor.dtype.to_string()),
            shape: tensor.map_or_else(Vec::new, |tensor| tensor.shape),
            stored_as: weight.stored_as.clone(),
            opaque: weight.opaque,
        }
    };
    LayerRow {
        path: layer.path.clone(),
        class: layer.class.clone(),
        weights: layer.weights.iter().map(weight).collect(),
    }
}

fn inputs(model: &LayerModel, graph: Option<&Graph>) -> Vec<Port> {
    let stored = |input: &ModelInput| {
        let size = |dim: &InputDim| dim.size.map_or("?".to_string(), |size| size.to_string());
        let sizes: Vec<String> = input.dims.iter().map(size).collect();
        Port { name: input.name.clone(), ty: format!("{}[{}]", input.dtype, sizes.join(", ")) }
    };
    match graph {
        Some(graph) => {
            let port = |input: &recast_plugin_api::ir::Input| (input.name.clone(), graph.ty(input.value).to_string());
            graph.inputs.iter().map(port).map(|(name, ty)| Port { name, ty }).collect()
        }
        None => model.root.iter().flat_map(|root| &root.inputs).map(stored).collect(),
    }
}

fn outputs(model: &LayerModel, graph: Option<&Graph>) -> Vec<Port> {
    match graph {
        Some(graph) => {
            let port = |output: &recast_plugin_api::ir::Output| Port {
                name: output.name.clone(),
                ty: graph.ty(output.value).to_string(),
            };
            graph.outputs.iter().map(port).collect()
        }
        None => {
            let named = model.root.iter().flat_map(|root| &root.outputs);
            named.map(|output| Port { name: output.name.clone(), ty: "?".into() }).collect()
        }
    }
}

fn count_ops(graph: &Graph) -> BTreeMap<String, u64> {
    let mut ops = BTreeMap::new();
    let computes = |op: &Op| op.family() != "source";
    for node in graph.nodes().iter().filter(|node| computes(&node.op)) {
        *ops.entry(node.op.name().to_string()).or_default() += 1;
    }
    ops
}

/// For people.
impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({}, Keras {})", self.model, self.format, self.keras_version)?;
        for (label, ports) in [("input", &self.inputs), ("output", &self.outputs)] {
            ports.iter().try_for_each(|port| writeln!(f, "  {label:<7} {}  {}", port.name, port.ty))?;
        }
        for option in self.options.iter().filter(|option| !option.choices.is_empty()) {
            let value = if option.value.is_empty() { "none of them is needed" } else { &option.value };
            writeln!(f, "  {:<7} {value}  (of {})", option.name, option.choices.join(", "))?;
        }
        writeln!(f, "  {} layers, {} parameters", self.layers.len(), self.parameters)?;
        let wide = self.layers.iter().map(|layer| layer.path.len()).max().unwrap_or(0).min(60);
        for layer in &self.layers {
            let mut weights = String::new();
            for weight in &layer.weights {
                write!(weights, "  {} {}{:?}", weight.role, weight.dtype, weight.shape)?;
            }
            writeln!(f, "    {:<wide$}  {}{weights}", layer.path, layer.class)?;
        }
        for target in &self.targets {
            let answer = if target.possible { "can be made" } else { "can't be made" };
            writeln!(f, "  {}: {answer}", target.target)?;
            for finding in &target.findings {
                writeln!(f, "    [{}] {}: {}", finding.code, finding.at, finding.detail)?;
                if !finding.hint.is_empty() {
                    writeln!(f, "      {}", finding.hint)?;
                }
            }
        }
        match &self.graph {
            Some(graph) => f.write_str(graph),
            None => Ok(()),
        }
    }
}
