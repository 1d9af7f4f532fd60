//! The `.keras` format: a zip, or a directory, of
//!
//! | member | holds |
//! |---|---|
//! | `metadata.json` | `{"keras_version", "date_saved"}` |
//! | `config.json` | the architecture, with `build_config` and `compile_config` |
//! | `model.weights.h5` | the weights (`weights::tree`) |
//! | `model.weights.json`, `model_00000.weights.h5`, .. | the same in several files: `{"weight_map": {path: [file]}}` |
//! | `assets/PATH/vocabulary.txt` | the words of the layer whose weights would be at PATH, one a line |
//!
//! Keras stores members without compression, so the weights are read where they lie in the mapped file.

use super::h5;
use super::package::{Member, Package};
use crate::beside::beside;
use crate::config::{self, Architecture, Version};
use crate::hdf5::{Tree, with_files};
use crate::io::{Files, Limits, TENSOR_BYTES_MAX};
use crate::json;
use crate::weights::convert::Origin;
use crate::weights::tree;
use hdf5_pure::File;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::model::{Layer, LayerModel, Model};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

pub const FORMAT: &str = "keras-v3";
pub const MAGIC: [u8; 4] = *b"PK\x03\x04";
pub const CONFIG: &str = "config.json";
pub const METADATA: &str = "metadata.json";
const WEIGHTS: &str = "model.weights.h5";
const SHARDED: &str = "model.weights.json";
/// Files that the weights are spread over.
const SHARDS_MAX: usize = 1000;
/// Bytes of one vocabulary.
const VOCABULARY_BYTES_MAX: u64 = 256 << 20;

pub fn read<'a>(package: &Package<'a>, limits: &Limits, files: &mut Files<'_, 'a>) -> Result<LayerModel, Findings> {
    let config = package.member(CONFIG, limits.json_bytes, files)?;
    let metadata = parsed(package, METADATA, limits, files)?;
    let stated = metadata.get("keras_version").and_then(Value::as_str).unwrap_or("3");
    let version = Version::parse(stated);
    let members = weights(package, limits, files)?;
    let mut places = Vec::with_capacity(members.len());
    for (name, member) in &members {
        // Arrays of a member that had to be decoded lie in the scratch file, behind each other as in the member.
        places.push(match member.place {
            Some(place) => place,
            None => files.put(name, &member.bytes)?,
        });
    }
    let shards: Vec<(&str, &[u8])> = members.iter().map(|(name, member)| (name.as_str(), &*member.bytes)).collect();
    with_files(&shards, &mut |opened| {
        let configured = || Configured::read(&json::parse(&config.bytes, CONFIG, limits)?, &version, limits);
        let (whole, configured) = beside(|| walk(opened, &places, &shards), configured);
        let Configured { mut architecture, compiled } = configured?;
        let whole = whole?;
        if compiled {
            let detail = "optimizer, loss and metrics are not carried over";
            files.io().report(&Diag::new(Code::TrainingDropped, "compile_config", detail).note());
        }
        let (found, paths) = tree::assign(&architecture, &whole);
        vocabularies(package, &mut architecture.root, &paths, files)?;
        let model = LayerModel { format: FORMAT.into(), keras_version: version.text.clone(), ..LayerModel::default() };
        h5::deliver(limits, &mut architecture, found, files, (model, Origin::of(&version)))
    })
}

/// What `config.json` says.
struct Configured {
    architecture: Architecture,
    compiled: bool,
}

impl Configured {
    fn read(config: &Value, version: &Version, limits: &Limits) -> Result<Configured, Findings> {
        // Keras 3 writes an empty one for a model that was never compiled.
        let compiled = config.get("compile_config").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
        Ok(Configured { architecture: config::read(config, CONFIG, version, limits)?, compiled })
    }
}

/// The arrays of all files.
fn walk(opened: &[File], places: &[(u32, u64)], shards: &[(&str, &[u8])]) -> Result<Tree<'static>, Diag> {
    let mut whole = Tree::default();
    for ((file, &place), (name, bytes)) in opened.iter().zip(places).zip(shards) {
        let part = Tree::walk(&file.root(), "", bytes.len() as u64, place)?;
        whole
            .extend(part)
            .map_err(|path| Diag::new(Code::Malformed, *name, format!("the array {path} is in several files")))?;
    }
    Ok(whole)
}

/// The HDF5 files that hold the weights.
fn weights<'a>(
    package: &Package<'a>,
    limits: &Limits,
    files: &mut Files<'_, 'a>,
) -> Result<Vec<(String, Member<'a>)>, Diag> {
    if package.has(WEIGHTS) {
        return Ok(vec![(WEIGHTS.into(), package.member(WEIGHTS, TENSOR_BYTES_MAX, files)?)]);
    }
    if !package.has(SHARDED) {
        return Err(no_weights(package));
    }
    let map = parsed(package, SHARDED, limits, files)?;
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (path, shards) in json::object(map.get("weight_map").unwrap_or(&Value::Null), SHARDED, "`weight_map`")? {
        let listed = shards.as_array().map_or(std::slice::from_ref(shards), Vec::as_slice);
        for shard in listed {
            let plain = shard.as_str().filter(|name| !name.contains(['/', '\\', '\0']));
            names.insert(plain.ok_or_else(|| {
                Diag::new(Code::UnsafeLink, SHARDED, format!("the file {shard} of {path}, which is no member"))
            })?);
        }
    }
    if names.len() > SHARDS_MAX {
        let detail = format!("{} files, the bound is {SHARDS_MAX}", names.len());
        return Err(Diag::new(Code::LimitExceeded, SHARDED, detail));
    }
    names.into_iter().map(|name| Ok((name.to_owned(), package.member(name, TENSOR_BYTES_MAX, files)?))).collect()
}

fn no_weights(package: &Package<'_>) -> Diag {
    let hint = "save the model again with `model.save(\"model.keras\")`";
    match package.names.iter().find(|name| name.starts_with("model.weights.")) {
        Some(name) if name.ends_with(".npz") => {
            Diag::new(Code::UnsafeCode, name.as_str(), "weights as pickled Python objects, which are never unpickled")
                .hint(hint)
        }
        Some(name) => {
            Diag::new(Code::UnsupportedContainer, name.as_str(), "weights in a form that is not known").hint(hint)
        }
        None => Diag::new(Code::Malformed, WEIGHTS, "the archive holds no weights"),
    }
}

fn parsed<'a>(package: &Package<'a>, name: &str, limits: &Limits, files: &mut Files<'_, 'a>) -> Result<Value, Diag> {
    let member = package.member(name, limits.json_bytes, files)?;
    json::parse(&member.bytes, name, limits)
}

/// Words that a layer learnt, as its `vocabulary` key: where Keras writes those that it was given.
fn vocabularies<'a>(
    package: &Package<'a>,
    model: &mut Model,
    paths: &HashMap<String, String>,
    files: &mut Files<'_, 'a>,
) -> Result<(), Diag> {
    for layer in &mut model.layers {
        if let Some(inner) = &mut layer.model {
            vocabularies(package, inner, paths, files)?;
        }
        let Some(path) = paths.get(&layer.path) else { continue };
        let name = format!("assets/{path}/vocabulary.txt");
        if package.has(&name) {
            let member = package.member(&name, VOCABULARY_BYTES_MAX, files)?;
            give(layer, &name, &member.bytes)?;
        }
    }
    Ok(())
}

fn give(layer: &mut Layer, name: &str, text: &[u8]) -> Result<(), Diag> {
    let malformed = |detail: &str| Diag::new(Code::Malformed, name, detail);
    let text = std::str::from_utf8(text).map_err(|_| malformed("words that are not UTF-8"))?;
    let Ok(Value::Object(mut config)) = serde_json::from_str::<Value>(&layer.config) else {
        return Err(malformed("the layer has no configuration"));
    };
    if config.get("vocabulary").is_some_and(|given| !given.is_null()) {
        return Ok(());
    }
    let lines = text.split('\n');
    let words = match layer.class.as_str() {
        "IntegerLookup" => {
            let number = |line: &str| line.trim().parse::<i64>().map(Value::from);
            lines.map(number).collect::<Result<Vec<_>, _>>().map_err(|_| malformed("a token that is no number"))?
        }
        _ => lines.map(Value::from).collect(),
    };
    config.insert("vocabulary".into(), Value::Array(words));
    layer.config = Value::Object(config).to_string();
    Ok(())
}
