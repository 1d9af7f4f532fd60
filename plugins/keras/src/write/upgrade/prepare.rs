//! Before anything is written: names that Keras 3 accepts, operations in the place of TensorFlow's functions, or the
//! other way round.

use super::explicit::{Rule, Rules, write_out};
use super::layer::is_renormalized;
use super::masks::{Habit, habit};
use super::order::{insides, orders_differ};
use super::typed::{Typed, asks_for_counts};
use super::{Dialect, Newer, casts, cells, functions, javascript, restore, stepped};
use crate::weights::roles;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::wire::ShapeProto;
use recast_plugin_api::model::{Call, Layer, LayerModel, Model, NamedArg, keras_version};
use serde_json::Value;
use std::collections::HashSet;

/// A model that the dialect has words for, as far as that is a matter of classes and names.
pub struct Prepared {
    pub root: Model,
    pub notes: Vec<Diag>,
    /// The layer, and why: what is written for both must be for Keras 3 alone.
    pub newer: Option<Newer>,
}

pub fn prepare(source: &LayerModel, root: &Model, dialect: Dialect, typed: &Typed) -> Result<Prepared, Findings> {
    let version = source.keras_version.as_str();
    let mut prepare = Prepare {
        typed,
        dialect,
        version,
        major: keras_version(version).0,
        findings: Findings::new(),
        notes: Vec::new(),
        newer: None,
        weighted: HashSet::new(),
    };
    let mut root = prepare.masks(root, Rule::of(version));
    prepare.model(&mut root);
    if dialect == Dialect::Both {
        root.layers.iter().flat_map(insides).for_each(|layer| prepare.finished(layer));
    }
    if dialect == Dialect::Js {
        prepare.findings.extend(javascript::refused(&root, typed));
        prepare.notes.extend(javascript::widened(&root));
    }
    let Prepare { findings, notes, newer, .. } = prepare;
    if findings.is_empty() { Ok(Prepared { root, notes, newer }) } else { Err(findings) }
}

/// Classes of Keras 3 that are called with several tensors by position, and what Keras 2 calls these.
const POSITIONS: &[(&str, &[&str])] = &[
    ("Bidirectional", &["sequences", "initial_state"]),
    ("ConvLSTM1D", &["sequences", "initial_state"]),
    ("ConvLSTM2D", &["sequences", "initial_state"]),
    ("ConvLSTM3D", &["sequences", "initial_state"]),
    ("GRU", &["sequences", "initial_state"]),
    ("LSTM", &["sequences", "initial_state"]),
    ("MultiHeadAttention", &["query", "value", "key"]),
    ("RNN", &["sequences", "initial_state"]),
    ("SimpleRNN", &["sequences", "initial_state"]),
];

/// Keras 2 notes one argument by its place, and all others by their names.
pub(super) fn name_positions(names: &[&str], call: &mut Call) {
    if call.args.len() < 2 || call.args.len() > names.len() {
        return;
    }
    let named = call.args.drain(1..).zip(&names[1..]);
    let named: Vec<NamedArg> = named.map(|(arg, name)| NamedArg { name: (*name).to_owned(), arg: Some(arg) }).collect();
    call.kwargs.splice(0..0, named);
}

/// What Keras 3 calls the operations with which its layers compute masks, and join them.
const MASK_OPERATIONS: &[&str] = &["any", "cast", "logical_or", "not_equal"];

fn makes_mask(layer: &Layer) -> bool {
    matches!(habit(layer), Habit::Makes)
}

pub(super) fn set(layer: &mut Layer, key: &str, value: Value) {
    if let Some(mut config) = serde_json::from_str::<Value>(&layer.config).ok().filter(Value::is_object) {
        config[key] = value;
        layer.config = config.to_string();
    }
}

/// Keras 3 sorts the axes of a LayerNormalization before it makes its weights. Keras 2 does not, and takes what it made
/// by the order of its list for numbers in the order of the axes: other sizes, and the same bytes.
fn sort_axes(layer: &mut Layer) {
    if layer.class != "LayerNormalization" {
        return;
    }
    let config: Value = serde_json::from_str(&layer.config).unwrap_or_default();
    let axes: Option<Vec<i64>> = config["axis"].as_array().and_then(|axes| axes.iter().map(Value::as_i64).collect());
    let Some(axes) = axes.filter(|axes| !axes.is_sorted()) else { return };
    let mut order: Vec<usize> = (0..axes.len()).collect();
    order.sort_by_key(|&place| axes[place]);
    set(layer, "axis", order.iter().map(|&place| axes[place]).collect());
    for tensor in layer.weights.iter_mut().filter_map(|weight| weight.tensor.as_mut()) {
        if let Ok(mut plain) = tensor.decode_tensor().map(|tensor| tensor.shape)
            && plain.len() == order.len()
        {
            plain = order.iter().map(|&place| plain[place]).collect();
            tensor.shape = Some(ShapeProto { sizes: plain });
        }
    }
}

/// May a name hold it?
fn fits(dialect: Dialect, c: char) -> bool {
    match dialect {
        Dialect::Keras3 | Dialect::Both => c != '/',
        // Names of weights begin with it.
        Dialect::Js => c.is_ascii_alphanumeric() || "-._".contains(c),
        // A name is a scope of TensorFlow.
        Dialect::Keras2 => c.is_ascii_alphanumeric() || "_.\\/>-".contains(c),
    }
}

/// The name with something else for what it may not hold.
fn plain(dialect: Dialect, name: &str) -> String {
    let plain: String = name.chars().map(|c| if fits(dialect, c) { c } else { '_' }).collect();
    let (begins, first): (fn(char) -> bool, &str) = match dialect {
        Dialect::Keras3 | Dialect::Both => return plain,
        Dialect::Keras2 => (|c| c.is_ascii_alphanumeric() || c == '.', "."),
        Dialect::Js => (|c| c.is_ascii_alphanumeric(), "0"),
    };
    if plain.starts_with(begins) { plain } else { plain.replacen(|_: char| true, first, 1) }
}

/// The operation as the layer that computes the same: Keras 3 writes its sizes as a list, and wants a tuple when it
/// reads them.
fn adaptive_pool(layer: &mut Layer) {
    let kind = match layer.class.as_str() {
        "ops.nn.AdaptiveAveragePool" => "Average",
        "ops.nn.AdaptiveMaxPool" => "Max",
        _ => return,
    };
    let config: Value = serde_json::from_str(&layer.config).unwrap_or_default();
    if let Some(sizes) = config["output_size"].as_array() {
        layer.class = format!("Adaptive{kind}Pooling{}D", sizes.len());
    }
}

struct Prepare<'t> {
    typed: &'t Typed,
    dialect: Dialect,
    /// Of the Keras that wrote the source.
    version: &'t str,
    major: u32,
    findings: Findings,
    notes: Vec<Diag>,
    newer: Option<Newer>,
    /// Names of layers that have weights, of the whole model: TensorFlow.js finds weights by these alone.
    weighted: HashSet<String>,
}

impl Prepare<'_> {
    /// With the masks written out that the readers would not find by themselves.
    fn masks(&mut self, root: &Model, source: Rule) -> Model {
        let readers = match self.dialect {
            Dialect::Keras3 => vec![Rule::KERAS_3],
            Dialect::Both => vec![Rule::KERAS_2, Rule::KERAS_3],
            Dialect::Keras2 | Dialect::Js => vec![Rule::KERAS_2],
        };
        let mut rules = Rules { source, readers, keep: self.dialect == Dialect::Keras3, typed: self.typed };
        let (mut written, mut findings) = write_out(root, &rules);
        // Masks that are not written count among the operations by which Keras 3 orders weights.
        if self.dialect == Dialect::Both && orders_differ(&written).is_some() && orders_differ(root).is_none() {
            rules.keep = true;
            (written, findings) = write_out(root, &rules);
        }
        if let (Dialect::Both, Some(first)) = (self.dialect, findings.first().cloned()) {
            let rules = Rules { source, readers: vec![Rule::KERAS_3], keep: true, typed: self.typed };
            let (newer, others) = write_out(root, &rules);
            if others.is_empty() {
                self.newer = Some((first.at, first.detail));
                return newer;
            }
        }
        self.findings.extend(findings);
        written
    }

    fn model(&mut self, model: &mut Model) {
        self.findings.extend(cells::arrange(model, self.version, self.dialect));
        // Keras 3 takes no notice of it.
        if matches!(self.dialect, Dialect::Both | Dialect::Keras2) && self.major >= 3 {
            let asked: Vec<usize> = (0..model.layers.len()).filter(|&at| asks_for_counts(model, at)).collect();
            for at in asked {
                set(casts::core_mut(&mut model.layers[at]), "dtype", Value::from("int64"));
            }
        }
        let mut calls: Vec<Vec<_>> = std::iter::repeat_with(Vec::new).take(model.layers.len()).collect();
        for call in &mut model.calls {
            if let Some(of) = calls.get_mut(call.layer as usize) {
                of.push(call);
            }
        }
        for (layer, mut calls) in model.layers.iter_mut().zip(calls) {
            let takes = self.typed.takes(&layer.path);
            let joins = layer.class.strip_prefix("ops.").is_some_and(functions::takes_one_dtype);
            // Nothing is known of the operations that masks were written by: their constants fit already.
            let floats = !takes.is_empty() && takes.iter().all(|ty| ty.dtype.is_float());
            if joins && self.dialect == Dialect::Keras2 && floats {
                restore::state_floats(&mut calls);
            }
            let rewritten = match self.dialect {
                Dialect::Keras2 => restore::restore(layer, &mut calls),
                Dialect::Keras3 | Dialect::Both | Dialect::Js => functions::rewrite(layer, &mut calls, takes),
            };
            if let Err(found) = rewritten {
                self.findings.extend(found);
            }
            // Before the layers are ordered: Keras orders them by what it is given in this way.
            match self.dialect {
                Dialect::Keras2 => {
                    let known = POSITIONS.iter().find(|(class, _)| *class == layer.class);
                    known
                        .into_iter()
                        .for_each(|(_, names)| calls.iter_mut().for_each(|call| name_positions(names, call)));
                }
                Dialect::Js => calls.iter_mut().for_each(|call| javascript::list_states(&layer.class, call)),
                Dialect::Keras3 | Dialect::Both => {}
            }
        }
        let version = keras_version(self.version);
        if matches!(self.dialect, Dialect::Keras3 | Dialect::Both) {
            self.findings.extend(casts::refused(model, self.typed, version));
            self.notes.extend(casts::write_out(model, self.typed, version, 3));
        }
        if self.dialect == Dialect::Keras2 && self.major >= 3 {
            self.notes.extend(casts::write_out(model, self.typed, version, 2));
        }
        self.names(model);
        for layer in &mut model.layers {
            self.inside(layer);
        }
    }

    /// Normalization computes from copies of its weights. Keras 3 makes them anew when it has read an .h5, not those
    /// of layers inside of others.
    fn finished(&mut self, layer: &Layer) {
        if layer.class == "Normalization" && !layer.weights.is_empty() {
            let detail = "a learnt Normalization inside of a model: Keras 3 does not use its weights from an .h5";
            let hint = "the targets `keras` and `keras2` write it as it is";
            self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail).hint(hint));
        }
        insides(layer).for_each(|inner| self.finished(inner));
    }

    fn inside(&mut self, layer: &mut Layer) {
        if layer.class == "BatchNormalization" && is_renormalized(layer) {
            self.without_renorm(layer);
        }
        if matches!(self.dialect, Dialect::Keras3 | Dialect::Both) {
            adaptive_pool(layer);
            if self.major < 3 {
                sort_axes(layer);
            }
        }
        self.findings.extend(stepped::agree(layer, self.major, self.dialect).err());
        if self.dialect == Dialect::Js {
            javascript::reword(layer, self.typed, &mut self.notes);
        }
        if let Some(model) = layer.model.as_mut() {
            self.model(model);
        }
        layer.children.iter_mut().filter_map(|child| child.layer.as_mut()).for_each(|child| self.inside(child));
    }

    /// Without the further moments with which training alone computes: no source delivers them.
    fn without_renorm(&mut self, layer: &mut Layer) {
        layer.weights.retain(|weight| !roles::is_ignored("BatchNormalization", &weight.role));
        set(layer, "renorm", Value::Bool(false));
        let detail = "batch renormalization is left out: it only matters to training";
        self.notes.push(Diag::new(Code::TrainingDropped, layer.path.as_str(), detail));
    }

    fn names(&mut self, model: &mut Model) {
        let inputs = model.inputs.iter().map(|input| input.name.clone());
        let names: Vec<String> = model.layers.iter().map(|layer| layer.name.clone()).chain(inputs).collect();
        let mut used: HashSet<String> = names.into_iter().filter(|name| plain(self.dialect, name) == *name).collect();
        let has_masks = model.layers.iter().any(makes_mask);
        for input in &mut model.inputs {
            if let Some(name) = self.renamed(&input.name, &input.name, has_masks, &mut used) {
                input.name = name;
            }
        }
        for layer in &mut model.layers {
            let renamed = self.renamed(&layer.name, &layer.path, has_masks, &mut used);
            if self.dialect == Dialect::Js && javascript::names_weights(layer) {
                self.weighted.insert(renamed.as_ref().unwrap_or(&layer.name).clone());
            }
            let Some(name) = renamed else { continue };
            layer.name = name;
            let config: Option<Value> = serde_json::from_str(&layer.config).ok();
            if let Some(mut config) = config.filter(Value::is_object) {
                config["name"] = Value::from(layer.name.as_str());
                layer.config = config.to_string();
            }
        }
        model.name = plain(self.dialect, &model.name);
        let odd = |layer: &&Layer| plain(Dialect::Keras2, &layer.name) != layer.name;
        if let (Dialect::Both, Some(layer)) = (self.dialect, model.layers.iter().find(odd)) {
            let why = format!("it has no layers by names such as `{}`", layer.name);
            self.newer.get_or_insert((layer.path.clone(), why));
        }
    }

    /// Might Keras 3 give the name to an operation that computes a mask? A model has a name once. Of a `.keras` of its
    /// own it knows these operations again, of an `.h5` it does not.
    fn is_taken(&self, name: &str) -> bool {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let bare = name.rsplit_once('_').filter(|(_, number)| is_number(number)).map_or(name, |(bare, _)| bare);
        let makes_anew = match self.dialect {
            Dialect::Keras3 => self.major < 3,
            Dialect::Both => true,
            Dialect::Keras2 | Dialect::Js => false,
        };
        makes_anew && MASK_OPERATIONS.contains(&bare)
    }

    /// The name that a layer gets in the place of one that it can't have.
    fn renamed(&mut self, name: &str, path: &str, has_masks: bool, used: &mut HashSet<String>) -> Option<String> {
        let mut free = plain(self.dialect, name);
        let taken = has_masks && self.is_taken(name);
        let twice = self.weighted.contains(name);
        if free == name && !taken && !twice {
            return None;
        }
        while self.weighted.contains(&free) || !used.insert(free.clone()) {
            free.push('_');
        }
        let who = match self.dialect {
            Dialect::Keras3 | Dialect::Both => "Keras 3",
            Dialect::Keras2 => "Keras 2",
            Dialect::Js => "TensorFlow.js",
        };
        let mut odd: Vec<char> = name.chars().filter(|c| !fits(self.dialect, *c)).collect();
        odd.dedup();
        let odd = String::from_iter(odd);
        let detail = match taken {
            true => format!("Keras 3 calls an operation on masks `{name}`: the layer became `{free}`"),
            false if twice => format!("TensorFlow.js tells weights by their layers' names: `{name}` became `{free}`"),
            false => format!("{who} allows no `{odd}` in a name: `{name}` became `{free}`"),
        };
        self.notes.push(Diag::new(Code::OptionIgnored, path, detail));
        Some(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recast_plugin_api::ir::wire::TensorProto;
    use recast_plugin_api::model::Weight;
    use serde_json::json;

    /// Seen in Keras 3.15, which does not load a gamma of (4, 3) for the axes [3, 1], and in tf.keras 2.15.
    #[test]
    fn axes_that_go_down_are_turned_and_the_bytes_stay() {
        let tensor = TensorProto {
            dtype: "f32".into(),
            stored: vec![4, 3],
            inline: Some(vec![7; 48]),
            len: 48,
            ..TensorProto::default()
        };
        let weight = Weight { role: "gamma".into(), tensor: Some(tensor), ..Weight::default() };
        let mut layer = Layer {
            class: "LayerNormalization".into(),
            config: json!({"axis": [3, 1]}).to_string(),
            weights: vec![weight],
            ..Layer::default()
        };
        sort_axes(&mut layer);
        let sorted = layer.clone();
        sort_axes(&mut layer);
        assert_eq!(layer, sorted, "what is sorted stays");
        let tensor = layer.weight("gamma").and_then(|weight| weight.tensor.as_ref()).unwrap();
        let decoded = tensor.decode_tensor().unwrap_or_else(|diag| panic!("{diag}"));
        assert_eq!((decoded.shape, &tensor.stored), (vec![3, 4], &vec![4, 3]));
        assert_eq!(serde_json::from_str::<Value>(&layer.config).unwrap()["axis"], json!([1, 3]));
    }
}
