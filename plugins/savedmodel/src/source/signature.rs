//! A signature of a graph as a layer model of one layer: its inputs and outputs, and the variables that it reaches.

use super::bundle::Bundle;
use super::directory::Directory;
use super::objects::Objects;
use super::restore;
use super::tables;
use crate::graph::def::{self, Body};
use crate::graph::{CLASS, GRAPH, TABLES, wire};
use crate::proto::{AssetFileDef, SavedConcreteFunction, SavedObjectGraph, SaverDef, SignatureDef, TensorInfo, dtype};
use crate::structured::Structured;
use recast_keras_model::io::{Files, Limits, region};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::DType;
use recast_plugin_api::model::{
    Arg, Call, InputDim, Layer, LayerModel, Model, ModelInput, ModelOutput, SCHEMA_REV, SourceOption, ValueRef, Weight,
};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What TensorFlow calls the signature that is meant to be used, and what Keras 3 calls it beside that.
const PREFERRED: [&str; 3] = ["serving_default", "serve", "default"];
const INTERNAL: &str = "__saved_model_";
/// The option that names a signature.
pub const OPTION: &str = "signature";

pub struct Found<'x, 'io, 'a> {
    pub dir: &'x Directory<'io, 'a>,
    pub bundle: &'x Bundle,
    pub limits: &'x Limits,
    /// `saved_model.pb`, and the GraphDef within it.
    pub whole: &'a [u8],
    pub graph: &'a [u8],
    pub saver: Option<&'x SaverDef>,
    pub saved: &'x SavedObjectGraph,
    pub assets: &'x [AssetFileDef],
}

/// The signatures that compute something.
fn usable(signatures: &BTreeMap<String, SignatureDef>) -> Vec<(&String, &SignatureDef)> {
    let usable =
        |(name, signature): &(&String, &SignatureDef)| !name.starts_with(INTERNAL) && !signature.outputs.is_empty();
    signatures.iter().filter(usable).collect()
}

/// What the option `signature` took, and what it could have taken.
pub fn option(signatures: &BTreeMap<String, SignatureDef>, taken: &str) -> SourceOption {
    let choices = usable(signatures).into_iter().map(|(name, _)| name.clone()).collect();
    SourceOption { name: OPTION.into(), value: taken.into(), choices }
}

/// The signature that is read: the one that was asked for, else the one that is meant to be.
pub fn choose<'s>(
    signatures: &'s BTreeMap<String, SignatureDef>,
    asked: Option<&str>,
) -> Result<(&'s str, &'s SignatureDef), Diag> {
    let found = usable(signatures);
    if let Some(asked) = asked {
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        let asked = found.iter().find(|(name, _)| *name == asked).ok_or_else(|| {
            let detail = format!("it has no signature '{asked}'; there are: {}", names.join(", "));
            Diag::new(Code::UnsupportedContainer, super::MODEL, detail)
        });
        return asked.map(|(name, signature)| (name.as_str(), *signature));
    }
    for preferred in PREFERRED {
        if let Some((name, signature)) = found.iter().find(|(name, _)| *name == preferred) {
            return Ok((name, signature));
        }
    }
    match found.as_slice() {
        [(name, signature)] => Ok((name, signature)),
        [] => Err(Diag::new(
            Code::UnsupportedContainer,
            super::MODEL,
            "it has no signature, so nothing says what it computes",
        )
        .hint("save it with `signatures=`, or from Keras with `model.export(dir)`")),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
            let detail = format!("none of its signatures is called serving_default: {}", names.join(", "));
            Err(Diag::new(Code::UnsupportedContainer, super::MODEL, detail)
                .hint("name one: `--signature NAME`, or `signature` under [sources.saved-model] in the configuration"))
        }
    }
}

pub fn read(
    found: &Found<'_, '_, '_>,
    (name, signature): (&str, &SignatureDef),
    files: &mut Files<'_, '_>,
) -> Result<LayerModel, Findings> {
    let (body, library) = def::read(found.graph)?;
    let (mut given, mut wanted) = (sorted(&signature.inputs), sorted(&signature.outputs));
    as_called(found.saved, &mut given, &mut wanted);
    let mut inputs = Vec::new();
    let mut findings = Findings::new();
    for (name, info) in &given {
        match input(name, info) {
            Ok(input) => inputs.push(input),
            Err(diag) => findings.push(diag),
        }
    }
    let stops: BTreeSet<&str> = given.iter().map(|(_, info)| node_of(&info.name)).collect();
    let Reached { variables, tables } = reached(&body, &stops, wanted.iter().map(|(_, info)| info.name.as_str()));
    let restored = match found.saver {
        Some(saver) => restore::keys(&body, &library, saver)?,
        None => Default::default(),
    };
    let bound = bound(found, &body)?;
    let mut weights = vec![graph_weight(found, files)];
    for variable in variables {
        let key = bound.get(variable).or_else(|| restored.get(variable)).map(String::as_str);
        // TensorFlow 1 stores a variable under its own name.
        let key = key.or_else(|| found.bundle.has(variable).then_some(variable));
        let Some(key) = key else { continue };
        match found.bundle.tensor(found.dir, files, key, found.limits) {
            Ok(tensor) => {
                let (role, stored_as) = (variable.into(), key.into());
                weights.push(Weight { role, tensor: Some(tensor), stored_as, opaque: false });
            }
            Err(diag) => findings.push(diag),
        }
    }
    let tables = table_contents(found, &body, &library, &tables).unwrap_or_else(|diag| {
        findings.push(diag);
        Json::Null
    });
    if !findings.is_empty() {
        return Err(findings);
    }
    let names = |list: &[(&String, &TensorInfo)]| list.iter().map(|(_, info)| info.name.clone()).collect::<Vec<_>>();
    let config = json!({"name": name, "inputs": names(&given), "outputs": names(&wanted), TABLES: tables});
    let layer = Layer {
        name: name.into(),
        path: name.into(),
        class: CLASS.into(),
        config: config.to_string(),
        weights,
        trainable: true,
        ..Layer::default()
    };
    Ok(LayerModel {
        schema_rev: SCHEMA_REV,
        format: super::FORMAT.into(),
        keras_version: "tensorflow".into(),
        backend: "tensorflow".into(),
        root: Some(model_of(layer, inputs, &wanted)),
        ..LayerModel::default()
    })
}

/// A model that is one call of this layer.
fn model_of(layer: Layer, inputs: Vec<ModelInput>, wanted: &[(&String, &TensorInfo)]) -> Model {
    let output = |(index, (name, _)): (usize, &(&String, &TensorInfo))| ModelOutput {
        name: name.to_string(),
        value: Some(ValueRef { call: Some(0), index: index as u32 }),
    };
    let args = (0..inputs.len() as u32).map(|index| Arg::value(ValueRef { call: None, index })).collect();
    Model {
        name: layer.name.clone(),
        kind: "Functional".into(),
        layers: vec![layer],
        calls: vec![Call { layer: 0, args, kwargs: Vec::new() }],
        inputs,
        outputs: wanted.iter().enumerate().map(output).collect(),
    }
}

/// A signature has its tensors by name. The function behind it, where the model has one of the same names, has them in
/// the model's order.
fn as_called(saved: &SavedObjectGraph, given: &mut [(&String, &TensorInfo)], wanted: &mut [(&String, &TensorInfo)]) {
    let positional = |function: &SavedConcreteFunction| {
        let Some(Structured::Tuple(both)) = function.canonicalized_input_signature.clone()?.kind else { return None };
        both.values.into_iter().next()
    };
    for function in saved.concrete_functions.values() {
        let order = positional(function);
        order.iter().for_each(|order| arrange(given, &order.tensor_names()));
        // Results in a dict are in no order of the model's.
        if let Some(result) = &function.output_signature
            && matches!(result.kind, Some(Structured::List(_) | Structured::Tuple(_)))
        {
            arrange(wanted, &result.tensor_names());
        }
    }
}

/// Puts a list into the order of these names, if they are all of its names.
fn arrange(list: &mut [(&String, &TensorInfo)], names: &[&str]) {
    let place = |name: &str| names.iter().position(|known| *known == name);
    if list.len() == names.len() && list.iter().all(|(name, _)| place(name).is_some()) {
        list.sort_by_key(|(name, _)| place(name));
    }
}

/// Names in the order in which people count: `output_2` before `output_10`.
fn sorted(tensors: &BTreeMap<String, TensorInfo>) -> Vec<(&String, &TensorInfo)> {
    let key = |name: &str| {
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (stem, number) = name.split_at(name.len() - digits);
        (stem.to_owned(), number.parse::<u64>().ok(), name.to_owned())
    };
    let mut sorted: Vec<(&String, &TensorInfo)> = tensors.iter().collect();
    sorted.sort_by_cached_key(|(name, _)| key(name));
    sorted
}

fn node_of(tensor: &str) -> &str {
    tensor.split(':').next().unwrap_or(tensor)
}

fn input(name: &str, info: &TensorInfo) -> Result<ModelInput, Diag> {
    if info.name.is_empty() {
        return Err(Diag::new(Code::UnsupportedType, name, "an input that is sparse, ragged or composite"));
    }
    let dtype = dtype::from_tf(info.dtype).ok_or_else(|| {
        Diag::new(Code::UnsupportedType, name, format!("an input of TensorFlow's dtype {}", info.dtype))
    })?;
    let shape = info.tensor_shape.as_ref().filter(|shape| !shape.unknown_rank);
    let shape = shape.ok_or_else(|| {
        Diag::new(Code::UnsupportedType, name, "an input of unknown rank")
            .hint("save it with an input signature that names the axes: tf.TensorSpec([None, 28, 28, 1])")
    })?;
    let dims = shape.dim.iter().map(|dim| InputDim { size: u64::try_from(dim.size).ok() }).collect();
    Ok(ModelInput { name: name.into(), dtype: dtype.keras_name().into(), dims })
}

/// Variables by what Python's loader gives to each function: the objects that stand for its last arguments.
fn bound(found: &Found<'_, '_, '_>, body: &Body<'_>) -> Result<HashMap<String, String>, Diag> {
    let objects = Objects::read(found.saved, found.bundle, found.dir)?;
    let mut keys = HashMap::new();
    for (object, node) in tables::by_object(found.saved, body)? {
        if let Some(variable) = objects.all.get(object).and_then(|object| object.variable.as_ref()) {
            keys.insert(node, variable.key.clone());
        }
    }
    Ok(keys)
}

/// What each of these tables holds, by its node; one of which that is not known is left out.
fn table_contents<'a>(
    found: &Found<'_, '_, 'a>,
    body: &Body<'a>,
    library: &def::Library<'a>,
    nodes: &[&str],
) -> Result<Json, Diag> {
    let mut known = serde_json::Map::new();
    if nodes.is_empty() {
        return Ok(Json::Object(known));
    }
    let contents = tables::contents(body, library, found.assets)?;
    for name in nodes {
        if let (Some(at), Some(content)) = (body.find(name), contents.get(*name)) {
            known.insert(name.to_string(), content.json(&body.nodes[at], found.dir)?);
        }
    }
    Ok(Json::Object(known))
}

/// Nodes that the outputs depend on, by name.
struct Reached<'b> {
    variables: Vec<&'b str>,
    tables: Vec<&'b str>,
}

fn reached<'b>(body: &Body<'b>, stops: &BTreeSet<&str>, wanted: impl Iterator<Item = &'b str>) -> Reached<'b> {
    let mut seen = BTreeSet::new();
    let (mut variables, mut tables) = (Vec::new(), Vec::new());
    let mut ahead: Vec<&'b str> = wanted.map(node_of).collect();
    while let Some(name) = ahead.pop() {
        if stops.contains(name) || !seen.insert(name) {
            continue;
        }
        let Some(node) = body.find(name).map(|at| &body.nodes[at]) else { continue };
        if matches!(node.op, "VarHandleOp" | "VariableV2" | "Variable") {
            variables.push(node.name);
        }
        if tables::is_table(node.op) {
            tables.push(node.name);
        }
        ahead.extend(node.data().map(node_of));
    }
    variables.sort_unstable();
    tables.sort_unstable();
    Reached { variables, tables }
}

/// The graph's bytes, where they lie in `saved_model.pb`.
fn graph_weight(found: &Found<'_, '_, '_>, files: &mut Files<'_, '_>) -> Weight {
    let offset = (found.graph.as_ptr() as usize).saturating_sub(found.whole.as_ptr() as usize) as u64;
    let len = found.graph.len() as u64;
    let file = files.number(&found.dir.path(super::MODEL));
    let tensor = region(DType::U8, &[len], (file, offset), len);
    Weight { role: GRAPH.into(), tensor: Some(tensor), stored_as: super::MODEL.into(), opaque: true }
}

/// The GraphDef of the meta graph with this number.
pub fn graph_bytes(whole: &[u8], number: usize) -> Result<&[u8], Diag> {
    let broken = |wire::Broken| Diag::new(Code::Malformed, super::MODEL, "its bytes are no protobuf message");
    let mut count = 0;
    for field in wire::fields(whole) {
        if let (2, wire::Field::Bytes(meta)) = field.map_err(broken)? {
            if count == number {
                return wire::bytes_of(meta, 2).map_err(broken);
            }
            count += 1;
        }
    }
    Err(Diag::new(Code::Bug, super::MODEL, "the graph is gone"))
}
