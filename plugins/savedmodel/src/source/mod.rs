//! Reads a SavedModel directory.
//!
//! Where Keras left the configuration of its model, that is what is read, and the variables are given to the layers.
//! Otherwise a signature is: the layer model then holds one layer, whose graph `crate::graph` lowers.

pub mod bundle;
pub mod directory;
pub mod keras;
pub mod objects;
pub mod restore;
pub mod signature;
pub mod tables;

use crate::layers;
use crate::proto::{AssetFileDef, MetaInfoDef, SavedObjectGraph, SaverDef, SignatureDef};
use bundle::Bundle;
use directory::Directory;
use objects::Objects;
use prost::Message;
use recast_keras_model::io::{Files, Io, Limits};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::messages::ReadRequest;
use recast_plugin_api::model::{LayerModel, SCHEMA_REV};
use recast_plugin_api::plugin::{Format, ReadCx, Source};
use std::collections::BTreeMap;

pub struct SavedModels;

pub const FORMAT: &str = "saved-model";
pub const MODEL: &str = "saved_model.pb";

impl Source for SavedModels {
    const FORMATS: &'static [Format] = &[Format { name: FORMAT, suffixes: &[MODEL], magic: &[] }];

    /// The head of a directory is its listing.
    fn probe(&self, head: &[u8], _name: &str) -> u8 {
        let listed = |name: &str| head.split(|byte| *byte == b'\n').any(|entry| entry == name.as_bytes());
        if listed(MODEL) || listed("saved_model.pbtxt") { 95 } else { 0 }
    }

    fn read(&self, cx: &ReadCx<'_>, request: &ReadRequest) -> Result<LayerModel, Findings> {
        read(cx, request)
    }
}

/// The source without its boundary: everything that it asks of its host is in `io`.
pub fn read<'a>(io: &dyn Io<'a>, request: &ReadRequest) -> Result<LayerModel, Findings> {
    let limits = Limits::from(request.limits.as_ref());
    let dir = Directory::new(io, request);
    if dir.has("saved_model.pbtxt") && !dir.has(MODEL) {
        return Err(Diag::new(Code::UnsupportedContainer, "saved_model.pbtxt", "a SavedModel in text form")
            .hint("save the model again: TensorFlow writes saved_model.pb by default")
            .into());
    }
    let whole = dir.map(MODEL)?;
    let model =
        Outline::decode(whole).map_err(|e| Diag::new(Code::Malformed, MODEL, format!("does not decode: {e}")))?;
    let number = serving(&model)?;
    let meta = &model.meta_graphs[number];
    let bundle = Bundle::read(&dir)?;
    let mut files = Files::new(io);
    let graph = signature::graph_bytes(whole, number)?;
    let saved = meta.object_graph_def.clone().unwrap_or_default();
    let found = signature::Found {
        dir: &dir,
        bundle: &bundle,
        limits: &limits,
        whole,
        graph,
        saver: meta.saver_def.as_ref(),
        saved: &saved,
        assets: &meta.asset_file_def,
    };
    let asked = asked(&request.options)?;
    let signature = signature::choose(&meta.signature_def, asked.as_deref());
    // Who names a signature wants that function, whatever the layers are.
    let layers = match &asked {
        Some(_) => None,
        None => keras_layers(&found, meta, &mut files)?,
    };
    let taken = if layers.is_some() { "" } else { signature.as_ref().map_or("", |(name, _)| name) };
    let option = signature::option(&meta.signature_def, taken);
    let mut model = match (layers, signature) {
        (Some(model), Ok(_)) if bundle.keys().any(keras::is_state) => {
            // Its graph goes on from there, the layers begin anew: the one says nothing of the other.
            let detail = "not used: the graph that the artifact holds goes on from the states that it was saved with";
            io.report(&Diag::new(Code::Traced, "", detail).note());
            model
        }
        (Some(model), Ok(signature)) => {
            // The layers are what counts: a graph that can't be read is no witness, and that is all.
            let traced = signature::read(&found, signature, &mut files).ok().and_then(|traced| traced.root);
            LayerModel { traced, ..model }
        }
        (Some(model), Err(_)) => model,
        (None, signature) => signature::read(&found, signature?, &mut files)?,
    };
    model.files = files.into_paths();
    model.options = vec![option];
    Ok(model)
}

/// The signature that the options name.
fn asked(options: &str) -> Result<Option<String>, Diag> {
    let bad = |detail: &str| Diag::new(Code::UnsupportedContainer, "options", format!("of saved-model: {detail}"));
    if options.is_empty() {
        return Ok(None);
    }
    let options: serde_json::Value = serde_json::from_str(options).map_err(|e| bad(&e.to_string()))?;
    match options.get(signature::OPTION) {
        None => Ok(None),
        Some(serde_json::Value::String(name)) => Ok(Some(name.clone())),
        Some(_) => Err(bad("'signature' is a name")),
    }
}

/// `SavedModel` without what is large: graphs are read where they lie.
#[derive(Clone, PartialEq, Message)]
struct Outline {
    #[prost(message, repeated, tag = "2")]
    meta_graphs: Vec<Meta>,
}

#[derive(Clone, PartialEq, Message)]
struct Meta {
    #[prost(message, optional, tag = "1")]
    meta_info_def: Option<MetaInfoDef>,
    #[prost(message, optional, tag = "3")]
    saver_def: Option<SaverDef>,
    #[prost(btree_map = "string, message", tag = "5")]
    signature_def: BTreeMap<String, SignatureDef>,
    #[prost(message, repeated, tag = "6")]
    asset_file_def: Vec<AssetFileDef>,
    #[prost(message, optional, tag = "7")]
    object_graph_def: Option<SavedObjectGraph>,
}

/// The model as Keras' layers; none where Keras left no configuration that holds all of them, and a signature does.
fn keras_layers(
    found: &signature::Found<'_, '_, '_>,
    meta: &Meta,
    files: &mut Files<'_, '_>,
) -> Result<Option<LayerModel>, Findings> {
    let signature::Found { dir, bundle, limits, graph, saved, assets, .. } = *found;
    let Some(metadata) = keras::Metadata::read(dir, saved)? else {
        return own_layers(dir, bundle, limits, files);
    };
    let root = metadata.root(limits)?;
    let subclassed = !keras::Metadata::is_whole(&root);
    if subclassed && signature::choose(&meta.signature_def, None).is_ok() {
        return Ok(None);
    }
    let objects = Objects::read(saved, bundle, dir)?;
    let found = keras::Found { dir, bundle, objects: &objects, metadata: &metadata, limits, saved, graph, assets };
    keras::read(&found, &root, files).map(Some)
}

/// What recast left of the layers that it wrote this graph from.
fn own_layers(
    dir: &Directory<'_, '_>,
    bundle: &Bundle,
    limits: &Limits,
    files: &mut Files<'_, '_>,
) -> Result<Option<LayerModel>, Findings> {
    if !dir.has(layers::FILE) {
        return Ok(None);
    }
    let stored = LayerModel::decode(dir.map(layers::FILE)?)
        .map_err(|e| Diag::new(Code::Malformed, layers::FILE, format!("does not decode: {e}")))?;
    // Of another recast: the graph says the same, if without layers.
    if stored.schema_rev != SCHEMA_REV {
        return Ok(None);
    }
    let filled = layers::fill(stored, &mut |key| bundle.tensor(dir, files, key, limits))?;
    Ok(Some(LayerModel { format: FORMAT.into(), ..filled }))
}

/// The number of the graph that is made for serving.
fn serving(model: &Outline) -> Result<usize, Diag> {
    let tags = |meta: &Meta| meta.meta_info_def.as_ref().map_or(Vec::new(), |info| info.tags.clone());
    let found = model.meta_graphs.iter().position(|meta| tags(meta).iter().any(|tag| tag == "serve"));
    match (found, model.meta_graphs.as_slice()) {
        (Some(number), _) => Ok(number),
        (None, [_]) => Ok(0),
        (None, []) => Err(Diag::new(Code::Malformed, MODEL, "holds no graph")),
        (None, several) => {
            let tags: Vec<String> = several.iter().map(|meta| tags(meta).join("+")).collect();
            let detail = format!("none of its graphs is tagged 'serve'; there are: {}", tags.join(", "));
            Err(Diag::new(Code::UnsupportedContainer, MODEL, detail))
        }
    }
}
