//! Target `safetensors`: every weight under its Keras path (`encoder/dense_1/kernel`), in the shape and order in which
//! Keras keeps it, and the architecture beside it as JSON.

use crate::BUFFER_BYTES;
use crate::check::header;
use crate::options;
use crate::weights::{self, Weight};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{DType, Op};
use recast_plugin_api::messages::{Caps, CheckReply, CheckRequest, FoundWeight, Piece, WriteRequest};
use recast_plugin_api::model::{Arg, ArgKind, Call, Layer, LayerModel, Model, NamedArg, ValueRef};
use recast_plugin_api::plugin::WriteCx;
use serde_json::{Map, Value, json};
use std::io::BufWriter;
use std::path::Path;

/// A graph that TensorFlow traced comes as one layer of this class: its weights are variables, which have whole names,
/// and beside them, under `TRACED_GRAPH`, lies the graph.
const TRACED: &str = "tf>Signature";
const TRACED_GRAPH: &str = "graph_def";

/// No layout, no kernel order: the graph's params stay as they are stored.
pub fn caps() -> Caps {
    Caps {
        schema_rev: recast_plugin_api::model::SCHEMA_REV,
        target: "safetensors".into(),
        ops: Op::NAMES.iter().map(|name| name.to_string()).collect(),
        dtypes: DType::ALL.iter().map(|dtype| dtype.as_str().to_string()).collect(),
        suffix: ".safetensors".into(),
        wants_layers: true,
        // The check compares with its params.
        needs_graph: true,
        checks: true,
        ..Caps::default()
    }
}

pub fn write(cx: &WriteCx<'_>, request: &WriteRequest) -> Result<(), Findings> {
    let (_, notes) = options::parse(&request.options, "safetensors")?;
    notes.iter().for_each(|note| cx.report(note));
    let model = request.layers.as_ref();
    let model = model.ok_or_else(|| Diag::new(Code::Bug, &request.name, "no layer model came with the request"))?;
    let mut found = Vec::new();
    let root = model.root.as_ref().ok_or_else(|| Diag::new(Code::Bug, &request.name, "a layer model without root"))?;
    root.layers.iter().try_for_each(|layer| collect(layer, &mut found))?;
    let mut metadata = vec![("format", "keras".to_string()), ("keras_version", model.keras_version.clone())];
    if !request.source_digest.is_empty() {
        metadata.push(("recast.source_sha256", request.source_digest.clone()));
    }
    let path = format!("{}.safetensors", request.name);
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, cx.create(&path)?);
    weights::write(cx, &found, &metadata, &mut file)?;
    drop(file);
    let path = format!("{}.config.json", request.name);
    let text = serde_json::to_string_pretty(&architecture(model, root))
        .map_err(|e| Diag::new(Code::Bug, &path, e.to_string()))?;
    cx.create_with(&path, (text + "\n").as_bytes())?;
    Ok(())
}

/// Reads the file back: every param of the graph is there under its own name, as it is stored.
pub fn check(request: &CheckRequest) -> Result<CheckReply, Findings> {
    let graph = request.decoded_graph()?;
    let entries = header::read(Path::new(&request.path))?;
    let mut weights = Vec::new();
    let mut findings = Findings::new();
    for (index, param) in graph.all_params().iter().enumerate() {
        let name = param.name();
        let own = name.split_once('@').map_or(name.as_str(), |(own, _)| own);
        let Some(entry) = entries.get(own) else {
            findings.push(Diag::new(Code::Mismatch, &name, "is not in the file"));
            continue;
        };
        // The file has the array as it is stored, the graph a view of it: axis i is the stored axis perm[i].
        let mut perm = vec![0u32; param.tensor.perm.len()];
        param.tensor.perm.iter().enumerate().for_each(|(axis, &stored)| perm[stored] = axis as u32);
        let plain = param.tensor.is_plain() || param.tensor.shape.len() != perm.len();
        let piece = Piece { file: request.path.clone(), offset: entry.offset, len: entry.len };
        weights.push(FoundWeight {
            param: index as u32,
            perm: if plain { Vec::new() } else { perm },
            pieces: vec![piece],
        });
    }
    if findings.is_empty() { Ok(CheckReply { weights }) } else { Err(findings) }
}

/// Weights of a layer and of what it wraps, in the order of the file.
fn collect(layer: &Layer, out: &mut Vec<Weight>) -> Result<(), Diag> {
    let traced = layer.class == TRACED;
    for weight in layer.weights.iter().filter(|weight| !(traced && weight.role == TRACED_GRAPH)) {
        let tensor = weight.tensor.as_ref();
        let tensor = tensor.ok_or_else(|| Diag::new(Code::Bug, &layer.path, format!("'{}' is empty", weight.role)))?;
        let tensor = tensor.decode_tensor()?;
        let name = if traced { weight.role.clone() } else { format!("{}/{}", layer.path, weight.role) };
        out.push(Weight::view(name, tensor));
    }
    let inner = layer.model.iter().flat_map(|model| &model.layers);
    let children = layer.children.iter().filter_map(|child| child.layer.as_ref());
    inner.chain(children).try_for_each(|layer| collect(layer, out))
}

fn architecture(model: &LayerModel, root: &Model) -> Value {
    json!({
        "format": model.format,
        "keras_version": model.keras_version,
        "backend": model.backend,
        "model": network(root),
    })
}

fn network(model: &Model) -> Value {
    let dims = |input: &recast_plugin_api::model::ModelInput| -> Vec<Option<u64>> {
        input.dims.iter().map(|dim| dim.size).collect()
    };
    let inputs = model.inputs.iter().map(|i| json!({"name": i.name, "dtype": i.dtype, "shape": dims(i)}));
    let outputs = model.outputs.iter().map(|o| json!({"name": o.name, "value": o.value.as_ref().map(reference)}));
    json!({
        "name": model.name,
        "kind": model.kind,
        "inputs": inputs.collect::<Vec<_>>(),
        "layers": model.layers.iter().map(layer_json).collect::<Vec<_>>(),
        "calls": model.calls.iter().map(|call| call_json(model, call)).collect::<Vec<_>>(),
        "outputs": outputs.collect::<Vec<_>>(),
    })
}

fn layer_json(layer: &Layer) -> Value {
    let mut entry = Map::new();
    entry.insert("name".into(), layer.name.as_str().into());
    entry.insert("path".into(), layer.path.as_str().into());
    entry.insert("class".into(), layer.class.as_str().into());
    entry.insert("trainable".into(), layer.trainable.into());
    // What can't be read as JSON (NaN, say) stays text.
    let config = serde_json::from_str(&layer.config).unwrap_or_else(|_| layer.config.as_str().into());
    entry.insert("config".into(), config);
    let weights: Vec<&str> = layer.weights.iter().map(|weight| weight.role.as_str()).collect();
    entry.insert("weights".into(), weights.into());
    if let Some(model) = &layer.model {
        entry.insert("model".into(), network(model));
    }
    if !layer.children.is_empty() {
        let child = |child: &recast_plugin_api::model::Child| {
            let inner = child.layer.as_ref().map(layer_json);
            json!({"attribute": child.attribute, "layer": inner})
        };
        entry.insert("children".into(), layer.children.iter().map(child).collect());
    }
    Value::Object(entry)
}

/// `{"call": 3, "output": 0}`, or `{"input": 0}` of the model.
fn reference(value: &ValueRef) -> Value {
    match value.call {
        Some(call) => json!({"call": call, "output": value.index}),
        None => json!({"input": value.index}),
    }
}

fn call_json(model: &Model, call: &Call) -> Value {
    let layer = model.layers.get(call.layer as usize).map(|layer| layer.name.as_str());
    json!({
        "layer": layer,
        "args": call.args.iter().map(arg_json).collect::<Vec<_>>(),
        "kwargs": named_json(&call.kwargs),
    })
}

fn named_json(named: &[NamedArg]) -> Value {
    let entry = |named: &NamedArg| (named.name.clone(), named.arg.as_ref().map_or(Value::Null, arg_json));
    Value::Object(named.iter().map(entry).collect())
}

fn arg_json(arg: &Arg) -> Value {
    match &arg.kind {
        Some(ArgKind::Value(value)) => reference(value),
        Some(ArgKind::Json(text)) => json!({"constant": serde_json::from_str::<Value>(text).unwrap_or_default()}),
        Some(ArgKind::List(list)) => list.items.iter().map(arg_json).collect(),
        Some(ArgKind::Dict(dict)) => named_json(&dict.items),
        None => Value::Null,
    }
}
