//! Where Keras 3 looks for each array: the tree of the `.keras` format, and the flat lists of the old HDF5 files.
//! `weights::tree` and `weights::legacy` read the same layouts.

use super::hdf5::{Array, Attr, Group, names};
use super::upgrade::{Dialect, Operation, javascript, order, order_without_masks, orders_differ};
use crate::hdf5::join;
use crate::weights::roles::{self, Role};
use crate::weights::tree::{numbered, role_home, snake_case};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{DType, Tensor};
use recast_plugin_api::model::{Layer, Model};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// The bytes of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    Tensor(Tensor),
    Bytes(Vec<u8>),
}

/// Groups and arrays, and the bytes that the arrays ask for by number.
#[derive(Default)]
pub struct Layout {
    pub root: Group,
    pub data: Vec<Data>,
    /// Whether masks count in the order of layers: not in Keras 2.
    old: bool,
    findings: Findings,
}

/// How arrays of layers inside of others are called.
#[derive(Clone, Copy)]
enum Scopes {
    /// By all the layers around them.
    Paths,
    JavaScript,
}

/// One array of a layer.
struct Slot<'m> {
    layer: &'m Layer,
    role: String,
    trainable: bool,
    dtype: DType,
    dims: Vec<u64>,
    data: Data,
}

impl Layout {
    fn order(&self, model: &Model) -> Vec<Operation> {
        if self.old { order_without_masks(model) } else { order(model) }
    }

    fn done(self) -> Result<Layout, Findings> {
        if self.findings.is_empty() { Ok(self) } else { Err(self.findings) }
    }

    fn put(&mut self, path: &str, slot: Slot<'_>) {
        self.data.push(slot.data);
        let array = Array { dtype: slot.dtype, dims: slot.dims, data: self.data.len() - 1 };
        if !self.root.put(path, array) {
            let detail = format!("two arrays would be `{path}`");
            self.findings.push(Diag::new(Code::UnsupportedLayer, slot.layer.path.as_str(), detail));
        }
    }

    fn name(&mut self, path: &str, name: &str) {
        if let Some(group) = self.root.group(path) {
            group.attrs.push(("name".into(), Attr::Text(name.to_owned())));
        }
    }

    /// The arrays of a layer itself, in the order in which Keras makes them.
    fn slots<'m>(&mut self, layer: &'m Layer) -> Vec<Slot<'m>> {
        let config: Value = serde_json::from_str(&layer.config).unwrap_or_default();
        let Some(known) = roles::of(&layer.class, &config) else { return self.dynamic(layer) };
        let mut slots = Vec::with_capacity(known.len());
        let mut taken = HashSet::new();
        for role in known {
            match layer.weight(role.name) {
                Some(_) => {
                    taken.insert(role.name);
                    slots.extend(self.stored(layer, role.name, role.trainable));
                }
                None if roles::is_spare(&layer.class, role.leaf()) => slots.push(absent(layer, &role)),
                None => self.finding(Code::WeightMissing, layer, format!("no `{}` to write", role.name)),
            }
        }
        for spare in layer.weights.iter().filter(|weight| !taken.contains(weight.role.as_str())) {
            let detail = format!("Keras 3's {} has no place for `{}`", layer.class, spare.role);
            self.finding(Code::UnsupportedLayer, layer, detail);
        }
        slots
    }

    /// A stranger's layer: its arrays as the file had them.
    fn dynamic<'m>(&mut self, layer: &'m Layer) -> Vec<Slot<'m>> {
        layer.weights.iter().filter_map(|weight| self.stored(layer, &weight.role, true)).collect()
    }

    fn stored<'m>(&mut self, layer: &'m Layer, role: &str, trainable: bool) -> Option<Slot<'m>> {
        let tensor = layer.weight(role).and_then(|weight| weight.tensor.as_ref());
        match tensor.map(|tensor| tensor.decode_tensor()) {
            Some(Ok(tensor)) => {
                let (dtype, dims) = (tensor.dtype, tensor.shape.clone());
                Some(Slot { layer, role: role.to_owned(), trainable, dtype, dims, data: Data::Tensor(tensor) })
            }
            Some(Err(diag)) => {
                self.findings.push(diag);
                None
            }
            None => {
                self.finding(Code::WeightMissing, layer, format!("`{role}` has no tensor"));
                None
            }
        }
    }

    fn finding(&mut self, code: Code, layer: &Layer, detail: String) {
        self.findings.push(Diag::new(code, layer.path.as_str(), detail));
    }
}

/// What files leave out because nothing is computed with it: the count of batches that a Normalization saw.
fn absent<'m>(layer: &'m Layer, role: &Role) -> Slot<'m> {
    let data = Data::Bytes(vec![0; DType::I32.size()]);
    let (role, trainable) = (role.name.to_owned(), role.trainable);
    Slot { layer, role, trainable, dtype: DType::I32, dims: Vec::new(), data }
}

/// `model.weights.h5` of the `.keras` format.
pub fn tree(model: &Model) -> Result<Layout, Findings> {
    let mut layout = Layout::default();
    layout.root.group("layers");
    layout.tree_model(model, "");
    layout.done()
}

impl Layout {
    fn tree_model(&mut self, model: &Model, base: &str) {
        self.name(&join(base, "vars"), &model.name);
        let mut counts: HashMap<String, u32> = HashMap::new();
        for operation in self.order(model) {
            let Operation::Layer(layer) = operation else { continue };
            let layer = &model.layers[layer];
            if layer.class.starts_with("ops.") {
                continue;
            }
            let name = snake_case(bare_class(layer));
            let count = counts.entry(name.clone()).or_default();
            let path = join(&join(base, "layers"), &numbered(&name, *count));
            *count += 1;
            self.tree_layer(layer, &path);
        }
    }

    fn tree_layer(&mut self, layer: &Layer, path: &str) {
        if let Some(model) = &layer.model {
            return self.tree_model(model, path);
        }
        let known = roles::of(&layer.class, &Value::Null).is_some();
        if known {
            self.tree_slots(layer, path);
        } else {
            self.tree_dynamic(layer, path);
        }
        let mut counts: HashMap<String, u32> = HashMap::new();
        for child in &layer.children {
            let Some(inner) = &child.layer else { continue };
            let attribute = match child.attribute.split_once('/') {
                Some((list, _)) => {
                    let name = snake_case(bare_class(inner));
                    let count = counts.entry(name.clone()).or_default();
                    *count += 1;
                    join(list, &numbered(&name, *count - 1))
                }
                None => child.attribute.clone(),
            };
            self.tree_layer(inner, &join(path, &attribute));
        }
    }

    fn tree_slots(&mut self, layer: &Layer, path: &str) {
        let mut number: HashMap<String, usize> = HashMap::new();
        let slots = self.slots(layer);
        if slots.is_empty() && layer.class != "SpectralNormalization" {
            return;
        }
        if layer.class == "SpectralNormalization"
            && let Some(kernel) = self.spectral_kernel(layer)
        {
            self.put(&format!("{path}/vars/0"), kernel);
            number.insert(path.to_owned(), 1);
        }
        for slot in slots {
            let part = slot.role.split_once('/').map_or("", |(part, _)| part);
            let home = join(path, role_home(layer, part));
            let index = number.entry(home.clone()).or_default();
            let place = join(&home, &format!("vars/{index}"));
            *index += 1;
            self.put(&place, slot);
        }
        self.name(&join(path, "vars"), &layer.name);
    }

    /// It holds the kernel of the layer inside as its own, too, and stores it twice.
    fn spectral_kernel<'m>(&mut self, layer: &'m Layer) -> Option<Slot<'m>> {
        let inner = layer.child("layer")?;
        let role = ["kernel", "embeddings"].into_iter().find(|role| inner.weight(role).is_some())?;
        self.stored(inner, role, true)
    }

    /// Roles that are paths of such a tree stay; names in the order of an old file become its numbers.
    fn tree_dynamic(&mut self, layer: &Layer, path: &str) {
        let slots = self.dynamic(layer);
        let placed = slots.iter().all(|slot| slot.role.starts_with("vars/") || slot.role.contains("/vars/"));
        let flat = slots.iter().all(|slot| !slot.role.contains('/'));
        for (number, slot) in slots.into_iter().enumerate() {
            match (placed, flat) {
                (true, _) => self.put(&join(path, &slot.role.clone()), slot),
                (false, true) => self.put(&format!("{path}/vars/{number}"), slot),
                (false, false) => {
                    let detail = format!(
                        "`{}` lies in a layer inside `{}`: which attribute holds that layer, the file does not say",
                        slot.role, layer.class
                    );
                    self.finding(Code::UnsupportedLayer, layer, detail);
                }
            }
        }
        if !layer.weights.is_empty() {
            self.name(&join(path, "vars"), &layer.name);
        }
    }
}

/// The class as Python calls it: paths are made of it.
fn bare_class(layer: &Layer) -> &str {
    match layer.class.as_str() {
        // Exported under another name than the class has.
        "GroupQueryAttention" => "GroupedQueryAttention",
        // What a crop of Keras 2 becomes.
        class => class.rsplit('>').next().unwrap_or(class),
    }
}

/// An array of a plain list of them.
pub struct Listed {
    pub name: String,
    pub dtype: DType,
    pub dims: Vec<u64>,
    pub data: Data,
}

impl Listed {
    pub fn byte_len(&self) -> u64 {
        match &self.data {
            Data::Tensor(tensor) => tensor.byte_len(),
            Data::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// Every array under the name that TensorFlow.js gives it, in Keras' order.
pub fn listed(model: &Model) -> Result<Vec<Listed>, Findings> {
    let mut layout = Layout { old: true, ..Layout::default() };
    let mut list = Vec::new();
    for operation in layout.order(model) {
        let Operation::Layer(layer) = operation else { continue };
        let layer = &model.layers[layer];
        let (mut first, mut last) = (Vec::new(), Vec::new());
        layout.collect(layer, &layer.name, Scopes::JavaScript, false, &mut first, &mut last);
        let listed =
            |(name, slot): (String, Slot<'_>)| Listed { name, dtype: slot.dtype, dims: slot.dims, data: slot.data };
        list.extend(first.into_iter().chain(last).map(listed));
    }
    layout.done().map(|_| list)
}

/// `model_weights` of an old HDF5 file, with the lists that its root does not need.
pub fn flat(model: &Model, dialect: Dialect) -> Result<Layout, Findings> {
    let mut layout = Layout { old: dialect.is_old(), ..Layout::default() };
    if dialect == Dialect::Both {
        layout.agree(model);
    }
    let mut layer_names = Vec::with_capacity(model.layers.len() + model.inputs.len());
    let at = |name: &str| format!("model_weights/{}", name.trim_matches('/'));
    for operation in layout.order(model) {
        let layer = match operation {
            Operation::Input(input) => {
                let name = &model.inputs[input].name;
                layer_names.push(name.clone());
                layout.list(&at(name), "weight_names", &[]);
                continue;
            }
            Operation::Layer(layer) => &model.layers[layer],
        };
        if layer.class.starts_with("ops.") {
            continue;
        }
        layer_names.push(layer.name.clone());
        layout.section(layer, &at(&layer.name));
    }
    layout.list("model_weights", "layer_names", &layer_names);
    layout.list("model_weights/top_level_model_weights", "weight_names", &[]);
    layout.done()
}

impl Layout {
    /// Such a file lists its weights for Keras 2 and 3 alike: where masks set their orders apart, it is right for one.
    fn agree(&mut self, model: &Model) {
        if let Some(layer) = orders_differ(model) {
            let detail = "Keras 2 and Keras 3, which counts the operations that compute masks, would read the weights \
                          of an .h5 file in different orders: choose the target `keras` or `keras2` instead";
            self.finding(Code::UnsupportedLayer, layer, detail.to_owned());
        }
    }

    fn list(&mut self, path: &str, name: &str, list: &[String]) {
        match self.root.group(path) {
            Some(group) => group.attrs.extend(names(name, list)),
            None => self.findings.push(Diag::new(Code::Bug, path, "an array where a group should be")),
        }
    }

    fn section(&mut self, layer: &Layer, path: &str) {
        let mut names = Vec::new();
        for (name, slot) in self.section_slots(layer) {
            if slot.dtype == DType::BF16 {
                // Seen in Keras 3.15: it knows them in a `.keras` only.
                let detail = format!("no Keras reads bfloat16 (`{}`) from an .h5 file", slot.role);
                let hint = "choose the target `keras` instead";
                let diag = Diag::new(Code::UnsupportedType, slot.layer.path.as_str(), detail);
                self.findings.push(diag.hint(hint));
            }
            self.put(&format!("{path}/{name}"), slot);
            names.push(name);
        }
        self.list(path, "weight_names", &names);
    }

    /// The arrays of a layer of the top model and of all that is in it, under names that differ.
    fn section_slots<'m>(&mut self, layer: &'m Layer) -> Vec<(String, Slot<'m>)> {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        self.collect(layer, &layer.name, Scopes::Paths, false, &mut first, &mut last);
        first.append(&mut last);
        let mut used = HashSet::new();
        for (name, _) in &mut first {
            let mut free = name.clone();
            let mut number = 0;
            while !used.insert(free.clone()) {
                number += 1;
                free = format!("{name}_{number}");
            }
            *name = free;
        }
        first
    }

    /// Trainable arrays first, then the others; what is frozen counts among the others, in its own order.
    fn collect<'m>(
        &mut self,
        layer: &'m Layer,
        path: &str,
        scopes: Scopes,
        frozen: bool,
        first: &mut Vec<(String, Slot<'m>)>,
        last: &mut Vec<(String, Slot<'m>)>,
    ) {
        let frozen = frozen || !layer.trainable;
        for slot in if layer.model.is_some() { Vec::new() } else { self.slots(layer) } {
            let name = format!("{path}/{}", slot.role.replace("vars/", ""));
            if slot.trainable && !frozen { first.push((name, slot)) } else { last.push((name, slot)) }
        }
        if let Some(model) = &layer.model {
            for operation in self.order(model) {
                let Operation::Layer(inner) = operation else { continue };
                let inner = &model.layers[inner];
                let path = match scopes {
                    Scopes::Paths => format!("{path}/{}", inner.name),
                    Scopes::JavaScript => inner.name.clone(),
                };
                self.collect(inner, &path, scopes, frozen, first, last);
            }
        }
        for child in &layer.children {
            let Some(inner) = &child.layer else { continue };
            let path = match scopes {
                Scopes::Paths => format!("{path}/{}", inner.name),
                Scopes::JavaScript => javascript::scope(layer, path, &child.attribute),
            };
            self.collect(inner, &path, scopes, frozen, first, last);
        }
    }
}
