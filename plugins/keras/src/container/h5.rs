//! Whole models and weights in HDF5, as `model.save("x.h5")` and `model.save_weights("x.h5")` write them.
//!
//! | place | holds |
//! |---|---|
//! | `/@model_config` | the architecture, JSON; absent when only weights were saved |
//! | `/@keras_version`, `/@backend` | who wrote it; Keras 1.0 says neither |
//! | `/@training_config`, `/optimizer_weights` | not carried over |
//! | `/model_weights@layer_names` | layers of the top model (at the root when only weights were saved) |
//! | `/model_weights/LAYER@weight_names` | its arrays in order, as paths below this group |
//! | `/layers` | weights alone, in the layout of the `.keras` format (`weights::tree`) |
//! | `/model_weights/top_level_model_weights` | arrays of the model itself |

use crate::array::Array;
use crate::beside::beside;
use crate::config::{self, Architecture, Version, keras1};
use crate::hdf5::{Attrs, Tree, join, unsafe_link};
use crate::io::{Files, Limits};
use crate::json;
use crate::weights::convert::{self, Origin};
use crate::weights::legacy::{self, Listed};
use crate::weights::{self, Taken, tree};
use hdf5_pure::{File, Group};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::model::{LayerModel, SCHEMA_REV};
use serde_json::Value;
use std::collections::HashSet;

/// One HDF5 file to read.
pub struct Input<'x> {
    /// The number of the file that the bytes lie in, and where they begin there.
    pub place: (u32, u64),
    pub bytes: &'x [u8],
    /// The architecture that was given beside it.
    pub architecture: Option<Value>,
    pub limits: &'x Limits,
}

pub const FORMAT: &str = "keras-h5";
const TOP_LEVEL: &str = "top_level_model_weights";
/// Findings of one kind that are told one by one.
const FINDINGS_MAX: usize = 50;

pub fn read(input: &Input<'_>, file: &File, files: &mut Files<'_, '_>) -> Result<LayerModel, Findings> {
    let root = file.root();
    let attrs = Attrs::of(&root, "/")?;
    let find = || weights_group(input, &root, &attrs).and_then(|(group, at)| Ok((walk(input, &group, at)?, group, at)));
    let configured = || -> Result<_, Findings> {
        let (value, version) = architecture(input, &attrs, is_tree(&root))?;
        Ok((config::read(&value, "model_config", &version, input.limits)?, version))
    };
    let (found, configured) = beside(find, configured);
    weighted(input, &attrs, configured?, found?, files)
}

/// The model with its weights: `at` is the path of `group`, below which the tree lies.
fn weighted(
    input: &Input<'_>,
    attrs: &Attrs,
    (mut architecture, version): (Architecture, Version),
    (tree, group, at): (Tree<'_>, Group, &str),
    files: &mut Files<'_, '_>,
) -> Result<LayerModel, Findings> {
    let backend = attrs.text("backend").unwrap_or_default().to_owned();
    note_training(attrs, files);
    let (taken, findings) = if at.is_empty() && tree::is_tree(&tree) {
        tree::assign(&architecture, &tree).0
    } else {
        collect(input, &architecture, &tree, &Attrs::of(&group, at)?)?
    };
    let origin = Origin::of(&version);
    let theano = if origin.keras_1 && backend.is_empty() { named_by_theano(&taken) } else { backend == "theano" };
    let backend = if theano { "theano".to_owned() } else { backend };
    let whole = LayerModel { format: FORMAT.into(), keras_version: version.text, backend, ..LayerModel::default() };
    deliver(input.limits, &mut architecture, (taken, findings), files, (whole, Origin { theano, ..origin }))
}

/// The model, once every weight is settled.
pub fn deliver(
    limits: &Limits,
    architecture: &mut Architecture,
    (taken, mut findings): (Vec<Taken<'_>>, Findings),
    files: &mut Files<'_, '_>,
    (whole, origin): (LayerModel, Origin),
) -> Result<LayerModel, Findings> {
    let (taken, more) = convert::settle(taken, &mut architecture.root, origin, limits);
    findings.extend(more);
    let (taken, more) = weights::learnt::settle(taken, &mut architecture.root, files, limits);
    findings.extend(more);
    findings.extend(weights::deliver(taken, &mut architecture.root, files, limits));
    if !findings.is_empty() {
        return Err(findings);
    }
    Ok(LayerModel { schema_rev: SCHEMA_REV, root: Some(std::mem::take(&mut architecture.root)), ..whole })
}

/// Keras 1 does not say which backend it ran on, but names its arrays as that did: TensorFlow's end in `:0`.
fn named_by_theano(taken: &[Taken<'_>]) -> bool {
    !taken.is_empty() && taken.iter().flat_map(|weight| &weight.arrays).all(|array| !array.at().ends_with(":0"))
}

/// The configuration, and who wrote it.
fn architecture(input: &Input<'_>, attrs: &Attrs, tree: bool) -> Result<(Value, Version), Diag> {
    let config = match (attrs.text("model_config"), &input.architecture) {
        (Some(text), _) => json::parse(text.as_bytes(), "model_config", input.limits)?,
        (None, Some(given)) => given.clone(),
        (None, None) if attrs.has("model_config") => {
            return Err(Diag::new(Code::Malformed, "model_config", "the model's configuration is no text"));
        }
        (None, None) => return Err(missing(attrs, tree)),
    };
    let stated = attrs.text("keras_version").or_else(|| config.get("keras_version").and_then(Value::as_str));
    // Only Keras 3 writes that layout into a file of its own, and it does not say so; of the others, only the first.
    let unsaid = match tree {
        true => "3",
        false if keras1::is_configuration(&config) => "1",
        false => "2",
    };
    let version = Version::parse(stated.unwrap_or(unsaid));
    Ok((config, version))
}

fn missing(attrs: &Attrs, tree: bool) -> Diag {
    if tree || attrs.has("layer_names") || attrs.has("layer_names0") {
        return Diag::new(Code::ArchitectureMissing, "/", "this file holds weights, but no architecture").hint(
            "give the JSON of `model.to_json()`: --architecture FILE.json, or put it beside NAME.weights.h5 or NAME.h5 \
             as NAME.json",
        );
    }
    Diag::new(Code::UnsupportedContainer, "/", "an HDF5 file, but not one that Keras wrote: no model_config")
        .hint("save the model with `model.save(\"model.h5\")`")
}

fn note_training(attrs: &Attrs, files: &Files<'_, '_>) {
    if attrs.has("training_config") {
        let detail = "optimizer, loss and metrics are not carried over";
        files.io().report(&Diag::new(Code::TrainingDropped, "training_config", detail).note());
    }
}

/// The group whose children are the layers.
fn weights_group(input: &Input<'_>, root: &Group, attrs: &Attrs) -> Result<(Group, &'static str), Diag> {
    match root.group("model_weights") {
        Ok(group) => Ok((group, "model_weights")),
        Err(_) if attrs.has("layer_names") || attrs.has("layer_names0") => Ok((root.clone(), "")),
        Err(_) if is_tree(root) => Ok((root.clone(), "")),
        Err(error) => Err(unsafe_link(input.bytes).unwrap_or_else(|| {
            Diag::new(Code::Malformed, "model_weights", format!("the group of weights can't be read: {error}"))
        })),
    }
}

fn walk(input: &Input<'_>, group: &Group, at: &str) -> Result<Tree<'static>, Diag> {
    // A soft link in an old group has an impossible address: say what it is instead.
    let explained = |diag: Diag| match diag.code {
        Code::Malformed => unsafe_link(input.bytes).unwrap_or(diag),
        _ => diag,
    };
    Tree::walk(group, at, input.bytes.len() as u64, input.place).map_err(explained)
}

/// The layout of the `.keras` format.
fn is_tree(root: &Group) -> bool {
    root.group("layers").is_ok() || root.group("_layer_checkpoint_dependencies").is_ok()
}

/// The arrays of one layer's group.
struct Section<'t> {
    layer: String,
    listed: Vec<Listed<'t>>,
}

/// Every array with the layer and role that it belongs to.
fn collect<'t>(
    input: &Input<'_>,
    architecture: &Architecture,
    tree: &'t Tree<'t>,
    attrs: &Attrs,
) -> Result<(Vec<Taken<'t>>, Findings), Findings> {
    let layer_names = attrs
        .names("layer_names")?
        .ok_or_else(|| Diag::new(Code::Malformed, "model_weights", "the list of layers (`layer_names`) is missing"))?;
    let mut seen = HashSet::new();
    let mut sections = Vec::new();
    let mut findings = Findings::new();
    for name in layer_names {
        let listed = section(input, tree, &name, &mut seen, &mut findings)?;
        if !listed.is_empty() {
            sections.push(Section { layer: name, listed });
        }
    }
    let spare = tree.arrays.iter().filter(|(path, _)| !seen.contains(path.as_str()));
    findings.extend(spare.take(FINDINGS_MAX).map(|(path, array)| {
        let whose = if path.starts_with(TOP_LEVEL) { "a weight of the model itself" } else { "an array of no layer" };
        Diag::new(Code::WeightLeftover, array.at(), format!("{whose}: the layers don't account for it"))
            .hint("models that hold weights outside their layers have to be rebuilt with layers")
    }));
    let mut taken = Vec::new();
    for (layer, section) in pair(architecture, sections)? {
        let (of_layer, more) = legacy::assign(&architecture.root.layers[layer], section.listed, &architecture.facts);
        taken.extend(of_layer);
        findings.extend(more);
    }
    Ok((taken, findings))
}

/// The arrays that a layer's group lists, in order.
fn section<'t>(
    input: &Input<'_>,
    tree: &'t Tree<'t>,
    name: &str,
    seen: &mut HashSet<&'t str>,
    findings: &mut Findings,
) -> Result<Vec<Listed<'t>>, Diag> {
    let missing = |at: &str, what: &str| {
        unsafe_link(input.bytes).unwrap_or_else(|| Diag::new(Code::WeightMissing, at, format!("{what} is missing")))
    };
    // HDF5 paths don't count empty parts.
    let path = name.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    let Some(group) = tree.groups.get(&path) else {
        findings.push(missing(name, "the group of this layer's weights"));
        return Ok(Vec::new());
    };
    let names = Attrs::of(group, name)?.names("weight_names")?.unwrap_or_default();
    let mut listed = Vec::with_capacity(names.len());
    for name in names {
        let path = join(&path, name.trim_matches('/'));
        match tree.arrays.get_key_value(path.as_str()) {
            None => findings.push(missing(&path, "this array")),
            Some((path, array)) if seen.insert(path.as_str()) => listed.push(Listed { name, array }),
            Some((_, array)) => findings.push(twice(array)),
        }
    }
    Ok(listed)
}

fn twice(array: &Array<'_>) -> Diag {
    Diag::new(Code::Malformed, array.at(), "two weights are stored in this one array")
}

/// Which layer of the top model each section belongs to: by name, and where the architecture was built with other names
/// (a JSON beside the weights), as Keras does, by order among the layers that have weights.
fn pair<'t>(architecture: &Architecture, sections: Vec<Section<'t>>) -> Result<Vec<(usize, Section<'t>)>, Diag> {
    let layers = &architecture.root.layers;
    let by_name: std::collections::HashMap<&str, usize> =
        layers.iter().enumerate().map(|(number, layer)| (layer.name.as_str(), number)).collect();
    if let Some(numbers) = sections.iter().map(|section| by_name.get(section.layer.as_str()).copied()).collect() {
        let numbers: Vec<usize> = numbers;
        return Ok(numbers.into_iter().zip(sections).collect());
    }
    let expects = |layer| legacy::expects(layer, &architecture.facts);
    let holders: Vec<usize> = (0..layers.len()).filter(|&number| expects(&layers[number]) == Some(true)).collect();
    let unknown = layers.iter().filter(|layer| expects(layer).is_none()).count();
    if holders.len() != sections.len() || unknown > 0 {
        let strangers = sections.iter().filter(|section| !by_name.contains_key(section.layer.as_str()));
        let names: Vec<&str> = strangers.map(|section| section.layer.as_str()).take(5).collect();
        let detail = format!(
            "{} layers with weights are stored, the architecture has {}; it has no layer called {}",
            sections.len(),
            holders.len() + unknown,
            names.join(", ")
        );
        return Err(Diag::new(Code::Malformed, "layer_names", detail)
            .hint("the architecture is not that of these weights: use the JSON of the same model"));
    }
    Ok(holders.into_iter().zip(sections).collect())
}
