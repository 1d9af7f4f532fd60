//! A SavedModel that Keras 2 wrote: the configuration of every object is stored as JSON, in `keras_metadata.pb`, and
//! before TensorFlow 2.5 in `saved_model.pb` itself. The root's is that of the model; the others tell which object is
//! which layer, and so which variable is which weight.

use super::bundle::Bundle;
use super::directory::Directory;
use super::objects::{self, Objects, Variable};
use super::tables;
use crate::graph::def::{self, Body};
use crate::proto::{AssetFileDef, ObjectKind, SavedMetadata, SavedObjectGraph};
use prost::Message;
use recast_keras_model::config::{self, Architecture, Version};
use recast_keras_model::io::{Files, Limits};
use recast_keras_model::{json, roles};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::model::{Layer, LayerModel, Model, SCHEMA_REV, Weight};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

pub const METADATA: &str = "keras_metadata.pb";
const ROOTS: [&str; 3] = ["_tf_keras_sequential", "_tf_keras_network", "_tf_keras_model"];

/// The JSON of each of Keras' objects, by object.
pub struct Metadata {
    by_object: HashMap<usize, (String, String)>,
}

impl Metadata {
    /// None where Keras left no metadata.
    pub fn read(dir: &Directory<'_, '_>, saved: &SavedObjectGraph) -> Result<Option<Metadata>, Diag> {
        let mut by_object = HashMap::new();
        if dir.has(METADATA) {
            let stored = SavedMetadata::decode(dir.map(METADATA)?)
                .map_err(|e| Diag::new(Code::Malformed, METADATA, format!("does not decode: {e}")))?;
            for node in stored.nodes {
                let object = usize::try_from(node.node_id).unwrap_or(usize::MAX);
                by_object.insert(object, (node.identifier, node.metadata));
            }
        } else {
            for (object, node) in saved.nodes.iter().enumerate() {
                if let Some(ObjectKind::UserObject(user)) = &node.kind
                    && user.identifier.starts_with("_tf_keras_")
                    && !user.metadata.is_empty()
                {
                    by_object.insert(object, (user.identifier.clone(), user.metadata.clone()));
                }
            }
        }
        let is_model = by_object.get(&0).is_some_and(|(identifier, _)| ROOTS.contains(&identifier.as_str()));
        Ok(is_model.then_some(Metadata { by_object }))
    }

    fn json(&self, object: usize, limits: &Limits) -> Result<Value, Diag> {
        match self.by_object.get(&object) {
            Some((_, text)) => json::parse(text.as_bytes(), &format!("{METADATA}, object {object}"), limits),
            None => Ok(Value::Null),
        }
    }

    /// The model's own configuration, `{"class_name", "config", "keras_version", ..}`.
    pub fn root(&self, limits: &Limits) -> Result<Value, Diag> {
        let mut root = self.json(0, limits)?;
        untag(&mut root);
        Ok(root)
    }

    /// Is the root a model whose layers are all in its configuration?
    pub fn is_whole(root: &Value) -> bool {
        let config = root.get("config").unwrap_or(&Value::Null);
        config.is_array() || config.get("layers").is_some_and(Value::is_array)
    }
}

/// Tuples and shapes are tagged in this JSON; in all others Keras writes them as lists.
fn untag(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let tagged = matches!(object.get("class_name").and_then(Value::as_str), Some("__tuple__" | "TensorShape"));
            match object.get_mut("items").filter(|items| tagged && items.is_array()).map(Value::take) {
                Some(items) => *value = items,
                None => {
                    object.values_mut().for_each(untag);
                    return;
                }
            }
            untag(value);
        }
        Value::Array(items) => items.iter_mut().for_each(untag),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

pub struct Found<'x, 'io, 'a> {
    pub dir: &'x Directory<'io, 'a>,
    pub bundle: &'x Bundle,
    pub objects: &'x Objects,
    pub metadata: &'x Metadata,
    pub limits: &'x Limits,
    pub saved: &'x SavedObjectGraph,
    /// The GraphDef, and the files that it reads.
    pub graph: &'a [u8],
    pub assets: &'x [AssetFileDef],
}

pub fn read(found: &Found<'_, '_, '_>, root: &Value, files: &mut Files<'_, '_>) -> Result<LayerModel, Findings> {
    let text = |key: &str| root.get(key).and_then(Value::as_str).unwrap_or_default();
    let stated = text("keras_version");
    let version = Version::parse(if stated.is_empty() { "2" } else { stated });
    if root.get("training_config").is_some_and(|config| !config.is_null()) {
        let detail = "optimizer, loss and metrics are not carried over";
        found.dir.io().report(&Diag::new(Code::TrainingDropped, "training_config", detail).note());
    }
    let mut architecture = config::read(root, METADATA, &version, found.limits)?;
    let mut walk =
        Walk { found, architecture: &architecture, taken: Vec::new(), tables: HashMap::new(), seen: BTreeSet::new() };
    walk.model(&architecture.root, 0)?;
    let Walk { taken, tables, seen, .. } = walk;
    let mut findings = leftovers(found, &seen);
    let mut by_path: HashMap<String, Vec<Weight>> = HashMap::new();
    for Taken { path, role, key } in taken {
        match found.bundle.tensor(found.dir, files, &key, found.limits) {
            Ok(tensor) => {
                let weight = Weight { role, tensor: Some(tensor), stored_as: key, opaque: false };
                by_path.entry(path).or_default().push(weight);
            }
            Err(diag) => findings.push(diag),
        }
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    architecture.root.layers.iter_mut().for_each(|layer| fill(layer, &mut by_path));
    if !tables.is_empty() {
        let (body, library) = def::read(found.graph)?;
        let contents = tables::contents(&body, &library, found.assets)?;
        let nodes = tables::by_object(found.saved, &body)?.into_iter().collect();
        let vocabularies = Vocabularies { found, body: &body, tables, nodes, contents };
        architecture.root.layers.iter_mut().try_for_each(|layer| vocabularies.give(layer))?;
    }
    Ok(LayerModel {
        schema_rev: SCHEMA_REV,
        format: super::FORMAT.into(),
        keras_version: version.text,
        backend: text("backend").to_owned(),
        root: Some(architecture.root),
        ..LayerModel::default()
    })
}

fn fill(layer: &mut Layer, by_path: &mut HashMap<String, Vec<Weight>>) {
    if let Some(weights) = by_path.remove(&layer.path) {
        layer.weights = weights;
    }
    layer.children.iter_mut().filter_map(|child| child.layer.as_mut()).for_each(|child| fill(child, by_path));
    layer.model.iter_mut().flat_map(|model| &mut model.layers).for_each(|inner| fill(inner, by_path));
}

/// Classes whose words may stand in a lookup table instead of their configuration: those that they learnt, or read from
/// a file.
const LOOKUPS: [&str; 3] = ["IntegerLookup", "StringLookup", "TextVectorization"];
/// The lookup inside of a TextVectorization.
const INNER: &str = "_lookup_layer";
const TABLE: &str = "lookup_table";

struct Vocabularies<'x, 'y, 'io, 'a> {
    found: &'x Found<'y, 'io, 'a>,
    body: &'x Body<'a>,
    /// Layers' paths, and the objects that are their tables.
    tables: HashMap<String, usize>,
    nodes: HashMap<usize, String>,
    contents: HashMap<String, tables::Content<'a>>,
}

impl Vocabularies<'_, '_, '_, '_> {
    fn give(&self, layer: &mut Layer) -> Result<(), Diag> {
        if let Some(model) = &mut layer.model {
            model.layers.iter_mut().try_for_each(|inner| self.give(inner))?;
        }
        let node = self.tables.get(&layer.path).and_then(|object| self.nodes.get(object));
        let content = node.and_then(|node| Some((self.contents.get(node)?, self.body.find(node)?)));
        let (Some((content, at)), Ok(Value::Object(mut config))) = (content, serde_json::from_str(&layer.config))
        else {
            return Ok(());
        };
        if config.get("vocabulary").is_some_and(Value::is_array) {
            return Ok(());
        }
        let mut table = content.json(&self.body.nodes[at], self.found.dir)?;
        let [tokens, places] = match config.get("invert") {
            Some(Value::Bool(true)) => ["values", "keys"],
            _ => ["keys", "values"],
        }
        .map(|column| table[column].take());
        let (Value::Array(tokens), Value::Array(places)) = (tokens, places) else { return Ok(()) };
        let mut placed: Vec<(Option<i64>, Value)> = places.iter().map(Value::as_i64).zip(tokens).collect();
        placed.sort_by_key(|(place, _)| *place);
        config.insert("vocabulary".into(), placed.into_iter().map(|(_, token)| token).collect());
        layer.config = Value::Object(config).to_string();
        Ok(())
    }
}

/// Findings of one kind that are told one by one.
const FINDINGS_MAX: usize = 50;

/// What a stateful layer held when the model was saved.
pub fn is_state(key: &str) -> bool {
    key.contains("/keras_api/states/")
}

/// Variables that no layer took, and that are no part of training.
fn leftovers(found: &Found<'_, '_, '_>, seen: &BTreeSet<&str>) -> Findings {
    let training = |key: &str| {
        let first = key.split('/').next().unwrap_or(key);
        key == objects::KEY
            || matches!(first, "optimizer" | "save_counter" | "keras_api" | "_random_generator" | "loss" | "metrics")
            || key.contains("/.OPTIMIZER_SLOT/")
            || key.contains("/_random_generator/")
            || is_state(key)
            || !key.contains("/.ATTRIBUTES/VARIABLE_VALUE")
    };
    let left = found.bundle.keys().filter(|key| !seen.contains(key) && !training(key));
    let finding = |key: &str| {
        Diag::new(Code::WeightLeftover, key, "a variable of no layer: the layers don't account for it")
            .hint("models that hold weights outside their layers have to be rebuilt with layers")
    };
    left.take(FINDINGS_MAX).map(finding).collect()
}

struct Taken {
    path: String,
    role: String,
    key: String,
}

struct Walk<'x, 'y, 'io, 'a> {
    found: &'x Found<'y, 'io, 'a>,
    architecture: &'x Architecture,
    taken: Vec<Taken>,
    tables: HashMap<String, usize>,
    seen: BTreeSet<&'x str>,
}

impl<'x> Walk<'x, '_, '_, '_> {
    fn model(&mut self, model: &Model, object: usize) -> Result<(), Diag> {
        let found = self.found;
        // Each layer once, in the order of the model; a layer with weights is there under two names.
        let mut listed: Vec<(usize, usize)> = Vec::new();
        for (name, child) in &found.objects.all[object].children {
            if let Some(number) = name.strip_prefix("layer-").and_then(|number| number.parse().ok()) {
                listed.push((number, *child));
            }
        }
        listed.sort_unstable();
        let mut by_name: HashMap<String, usize> = HashMap::new();
        for (_, child) in &listed {
            if let Some(name) = name_of(&found.metadata.json(*child, found.limits)?) {
                by_name.entry(name).or_insert(*child);
            }
        }
        for layer in &model.layers {
            let listed = by_name.get(&layer.name).copied();
            // A layer without an object has no weights: an op that was called by itself.
            if let Some(object) = listed.or_else(|| found.objects.child(object, &layer.name)) {
                self.layer(layer, object)?;
            }
        }
        Ok(())
    }

    fn layer(&mut self, layer: &Layer, object: usize) -> Result<(), Diag> {
        if let Some(model) = &layer.model {
            return self.model(model, object);
        }
        if LOOKUPS.contains(&layer.class.as_str())
            && let holder = self.found.objects.child(object, INNER).unwrap_or(object)
            && let Some(table) = self.found.objects.child(holder, TABLE)
        {
            self.tables.insert(layer.path.clone(), table);
        }
        match self.architecture.facts.get(&layer.path).and_then(|facts| facts.roles.as_deref()) {
            Some(roles) => roles.iter().for_each(|role| self.role(layer, object, role)),
            None => self.everything(layer, object),
        }
        for child in &layer.children {
            let Some(inner) = &child.layer else { continue };
            if let Some(object) = self.found.objects.at(object, &child.attribute) {
                self.layer(inner, object)?;
            }
        }
        Ok(())
    }

    fn role(&mut self, layer: &Layer, object: usize, role: &roles::Role) {
        let part = role.name.split_once('/').map_or("", |(part, _)| part);
        let homes = roles::homes(&layer.class, part);
        let path = |home: &str| if home.is_empty() { role.leaf().into() } else { format!("{home}/{}", role.leaf()) };
        let found = homes.iter().find_map(|home| self.found.objects.variable(object, &path(home)));
        let Some(variable) = found else { return };
        self.seen.insert(&variable.key);
        if !roles::is_ignored(&layer.class, role.leaf()) {
            let Variable { key, .. } = variable.clone();
            self.taken.push(Taken { path: layer.path.clone(), role: role.name.to_owned(), key });
        }
    }

    /// A class that only its plugin knows: every variable below it, under the name that it was made with.
    fn everything(&mut self, layer: &Layer, object: usize) {
        let objects = self.found.objects;
        let mut seen = BTreeSet::from([object]);
        let mut ahead = vec![(object, String::new())];
        let mut names: HashMap<String, u32> = HashMap::new();
        while let Some((at, path)) = ahead.pop() {
            for (name, child) in &objects.all[at].children {
                if is_bookkeeping(name) || !seen.insert(*child) {
                    continue;
                }
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                let Some(variable) = &objects.all[*child].variable else {
                    ahead.push((*child, path));
                    continue;
                };
                self.seen.insert(&variable.key);
                let role = below(&variable.name, &layer.name).unwrap_or(&path).to_owned();
                let count = names.entry(role.clone()).or_default();
                *count += 1;
                let role = if *count > 1 { format!("{role}#{count}") } else { role };
                self.taken.push(Taken { path: layer.path.clone(), role, key: variable.key.clone() });
            }
        }
    }
}

/// Lists that Keras keeps beside the attributes themselves.
fn is_bookkeeping(name: &str) -> bool {
    matches!(
        name,
        "variables" | "trainable_variables" | "non_trainable_variables" | "keras_api" | "_random_generator" | "layers"
    ) || name.ends_with("_losses")
}

/// The name of a variable below its layer: `factor` of `model/scale/factor` for `scale`.
fn below<'n>(name: &'n str, layer: &str) -> Option<&'n str> {
    let at = name.rfind(&format!("{layer}/")).filter(|at| *at == 0 || name.as_bytes()[at - 1] == b'/')?;
    Some(&name[at + layer.len() + 1..])
}

fn name_of(metadata: &Value) -> Option<String> {
    let name = metadata.get("config").and_then(|config| config.get("name")).or_else(|| metadata.get("name"));
    name.and_then(Value::as_str).map(str::to_owned)
}
