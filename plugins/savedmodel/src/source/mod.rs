//! Reads a SavedModel directory.
//!
//! Where Keras left the configuration of its model, that is what is read, and the variables are given to the layers.
//! Otherwise a signature is: the layer model then holds one layer, whose graph `crate::graph` lowers.

pub mod bundle;
pub mod directory;
pub mod keras;
pub mod objects;

use crate::proto::{MetaGraphDef, SavedModel};
use bundle::Bundle;
use directory::Directory;
use objects::Objects;
use prost::Message;
use recast_keras_model::io::{Files, Io, Limits};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::messages::ReadRequest;
use recast_plugin_api::model::LayerModel;
use recast_plugin_api::plugin::{Format, ReadCx, Source};

pub struct SavedModels;

pub const FORMAT: &str = "saved-model";
pub const MODEL: &str = "saved_model.pb";

impl Source for SavedModels {
    const FORMATS: &'static [Format] = &[Format { name: FORMAT, suffixes: &[], magic: &[] }];

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
    let model = SavedModel::decode(dir.map(MODEL)?)
        .map_err(|e| Diag::new(Code::Malformed, MODEL, format!("does not decode: {e}")))?;
    let meta = serving(&model)?;
    let bundle = Bundle::read(&dir)?;
    let mut files = Files::new(io);
    let saved = meta.object_graph_def.clone().unwrap_or_default();
    let objects = Objects::read(&saved, &bundle, &dir)?;
    let mut model = match keras::Metadata::read(&dir, &saved)? {
        Some(metadata) => {
            let root = metadata.root(&limits)?;
            let (bundle, objects, metadata) = (&bundle, &objects, &metadata);
            let found = keras::Found { dir: &dir, bundle, objects, metadata, limits: &limits };
            keras::read(&found, &root, &mut files)?
        }
        None => return Err(Diag::new(Code::UnsupportedContainer, MODEL, "graphs are not read yet").into()),
    };
    model.files = files.into_paths();
    Ok(model)
}

/// The graph that is made for serving.
fn serving(model: &SavedModel) -> Result<&MetaGraphDef, Diag> {
    let tags = |meta: &MetaGraphDef| meta.meta_info_def.as_ref().map_or(Vec::new(), |info| info.tags.clone());
    let found = model.meta_graphs.iter().find(|meta| tags(meta).iter().any(|tag| tag == "serve"));
    match (found, model.meta_graphs.as_slice()) {
        (Some(meta), _) => Ok(meta),
        (None, [only]) => Ok(only),
        (None, []) => Err(Diag::new(Code::Malformed, MODEL, "holds no graph")),
        (None, several) => {
            let tags: Vec<String> = several.iter().map(|meta| tags(meta).join("+")).collect();
            let detail = format!("none of its graphs is tagged 'serve'; there are: {}", tags.join(", "));
            Err(Diag::new(Code::UnsupportedContainer, MODEL, detail))
        }
    }
}
