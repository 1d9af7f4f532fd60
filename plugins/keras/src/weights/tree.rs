//! Weights as the `.keras` format stores them: a tree of attribute paths, arrays numbered in creation order.
//!
//! | path | what |
//! |---|---|
//! | `layers/dense_3/vars/0` | first array of the fourth Dense of the model, whatever its name is |
//! | `layers/functional/layers/...` | a nested model |
//! | `layers/lstm/cell/vars/1`, `layers/bidirectional/forward_layer/cell/vars/0` | layers inside layers, by attribute |
//! | `layers/dropout/seed_generator/vars/0` | state of random numbers, ignored |
//! | `preprocessors/normalization/vars/0` | a layer of a FeatureSpace |
//! | `_layer_checkpoint_dependencies/...` | Keras 2.12, 2.13: instead of `layers`; layers with weights count twice |
//!
//! A layer that is in several models or wrappers is stored where Keras comes upon it first.

use super::roles::Role;
use super::{Taken, legacy};
use crate::array::Array;
use crate::config::{Architecture, Facts};
use crate::hdf5::{Tree, join};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::model::{Layer, Model};
use std::collections::{HashMap, HashSet};

const LAYERS: &str = "layers";
/// Those of a FeatureSpace: whatever else it holds has no arrays.
const PREPROCESSORS: &str = "preprocessors";
const DEPENDENCIES: &str = "_layer_checkpoint_dependencies";
/// Findings of one kind that are told one by one.
const FINDINGS_MAX: usize = 50;

/// Is this the root of such a tree?
pub fn is_tree(tree: &Tree<'_>) -> bool {
    tree.groups.contains_key(LAYERS) || tree.groups.contains_key(DEPENDENCIES)
}

/// Weights with what they are made of, and what is wrong.
pub type Assigned<'t> = (Vec<Taken<'t>>, Findings);

/// Every array with the layer and role that it belongs to; and by the layers' paths in the model, those in the file.
pub fn assign<'t>(architecture: &Architecture, tree: &'t Tree<'t>) -> (Assigned<'t>, HashMap<String, String>) {
    let mut walk = Walk {
        tree,
        facts: &architecture.facts,
        seen: HashSet::new(),
        taken: Vec::new(),
        paths: HashMap::new(),
        objects: HashMap::new(),
    };
    walk.model(&architecture.root, "");
    let spare = tree.arrays.iter().filter(|(path, _)| is_weight(path) && !walk.seen.contains(path.as_str()));
    let findings = spare.take(FINDINGS_MAX).map(|(_, array)| {
        Diag::new(Code::WeightLeftover, array.at(), "no layer of the model takes this array")
            .hint("the file and the architecture are not of the same model, or this Keras version is not known yet")
    });
    let findings = findings.collect();
    ((walk.taken, findings), walk.paths)
}

/// Not optimizer, metrics or random state.
fn is_weight(path: &str) -> bool {
    let mut parts = path.split('/');
    let whose = parts.next().unwrap_or_default();
    [LAYERS, DEPENDENCIES, PREPROCESSORS, "vars"].contains(&whose)
        && !parts.any(|part| part == "seed_generator" || part == "_random_generator" || part == "_seed_generator")
}

struct Walk<'t, 'm> {
    tree: &'t Tree<'t>,
    facts: &'m HashMap<String, Facts>,
    seen: HashSet<&'t str>,
    taken: Vec<Taken<'t>>,
    paths: HashMap<String, String>,
    /// Where the weights of an object are.
    objects: HashMap<i64, String>,
}

impl<'t> Walk<'t, '_> {
    fn model(&mut self, model: &Model, base: &str) {
        let (modern, early) = (join(base, LAYERS), join(base, DEPENDENCIES));
        let twice = !self.tree.groups.contains_key(&modern) && self.tree.groups.contains_key(&early);
        let space = base.is_empty() && !self.tree.groups.contains_key(LAYERS);
        let base = match twice {
            true => early,
            false if space && self.tree.groups.contains_key(PREPROCESSORS) => PREPROCESSORS.into(),
            false => modern,
        };
        let mut counts: HashMap<String, u32> = HashMap::new();
        for layer in model.layers.iter().filter(|layer| !layer.class.starts_with("ops.")) {
            let name = snake_case(&self.class_name(layer));
            let count = counts.entry(name.clone()).or_default();
            let path = join(&base, &numbered(&name, *count));
            let weighted = twice && legacy::expects(layer, self.facts).unwrap_or_else(|| self.holds(&path));
            *count += if weighted { 2 } else { 1 };
            self.layer(layer, &path);
        }
    }

    fn class_name(&self, layer: &Layer) -> String {
        let stored = self.facts.get(&layer.path).map_or("", |facts| facts.class_name.as_str());
        // Keras 2.12 writes the registered name, `my_pkg>Scale`, and makes paths of the class.
        let stored = stored.rsplit('>').next().unwrap_or(stored);
        // Exported under another name than the class has.
        if stored == "GroupQueryAttention" { "GroupedQueryAttention".into() } else { stored.into() }
    }

    /// Is there any array below this path?
    fn holds(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.tree.arrays.range(below.clone()..).next().is_some_and(|(path, _)| path.starts_with(&below))
    }

    fn layer(&mut self, layer: &Layer, path: &str) {
        let object = self.facts.get(&layer.path).and_then(|facts| facts.object);
        let first = object.and_then(|object| self.objects.get(&object).cloned()).filter(|_| !self.holds(path));
        let path = first.as_deref().unwrap_or(path);
        self.objects.extend(object.map(|object| (object, path.to_owned())));
        self.paths.insert(layer.path.clone(), path.to_owned());
        if let Some(model) = &layer.model {
            return self.model(model, path);
        }
        match self.facts.get(&layer.path).and_then(|facts| facts.roles.as_deref()) {
            None => self.everything(layer, path),
            Some(roles) => self.roles(layer, roles, path),
        }
        let mut counts: HashMap<String, u32> = HashMap::new();
        for child in &layer.children {
            let Some(inner) = &child.layer else { continue };
            let attribute = match child.attribute.split_once('/') {
                // A list of layers is numbered by class, like the layers of a model.
                Some((list, _)) => {
                    let name = snake_case(&self.class_name(inner));
                    let count = counts.entry(name.clone()).or_default();
                    *count += 1;
                    join(list, &numbered(&name, *count - 1))
                }
                None => child.attribute.clone(),
            };
            self.layer(inner, &join(path, &attribute));
        }
    }

    /// A class that only its plugin knows: every array below it, by its path.
    fn everything(&mut self, layer: &Layer, path: &str) {
        let below = format!("{path}/");
        let arrays = self.tree.arrays.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below));
        for (path, array) in arrays.filter(|(path, _)| is_weight(path)) {
            self.seen.insert(path);
            let role = path[below.len()..].to_owned();
            self.taken.push(Taken::whole(layer.path.clone(), role, array));
        }
    }

    fn roles(&mut self, layer: &Layer, roles: &[Role], path: &str) {
        let mut number: HashMap<&str, usize> = HashMap::new();
        if layer.class == "SpectralNormalization" {
            // It holds the kernel of the layer inside as its own, too: the same array, stored twice.
            self.seen.extend(self.array(path, 0).map(|(stored, _)| stored));
            number.insert("", 1);
        }
        for role in roles {
            let part = role.name.split_once('/').map_or("", |(part, _)| part);
            let index = number.entry(part).or_default();
            let found =
                super::roles::homes(&layer.class, part).iter().find_map(|home| self.array(&join(path, home), *index));
            *index += 1;
            let Some((stored, array)) = found else { continue };
            self.seen.insert(stored);
            if !super::roles::is_ignored(&layer.class, role.leaf()) {
                self.taken.push(Taken::whole(layer.path.clone(), role.name.to_owned(), array));
            }
        }
    }

    fn array(&self, path: &str, index: usize) -> Option<(&'t str, &'t Array<'t>)> {
        let path = format!("{}/{index}", join(path, "vars"));
        self.tree.arrays.get_key_value(path.as_str()).map(|(path, array)| (path.as_str(), array))
    }
}

/// The one among the homes that today's Keras writes: the public attribute where there is one.
pub fn role_home(layer: &Layer, part: &str) -> &'static str {
    let homes = super::roles::homes(&layer.class, part);
    let private = (layer.class == "GroupQueryAttention" || part == "gate") && homes.len() > 1;
    homes[usize::from(private)]
}

pub fn numbered(name: &str, count: u32) -> String {
    if count == 0 { name.to_owned() } else { format!("{name}_{count}") }
}

/// Keras' own rule, with what looks like its slips: `PReLU` is `p_re_lu`, `Conv2DTranspose` is `conv2d_transpose`.
pub fn snake_case(class: &str) -> String {
    let chars: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut words: Vec<char> = Vec::with_capacity(chars.len() + 8);
    let mut at = 0;
    while at < chars.len() {
        words.push(chars[at]);
        at += 1;
        // Before a capital that a small letter follows; the word that begins there is not looked into.
        let lower = |at: usize| chars.get(at).is_some_and(char::is_ascii_lowercase);
        if chars.get(at).is_some_and(char::is_ascii_uppercase) && lower(at + 1) {
            words.push('_');
            words.push(chars[at]);
            at += 1;
            while lower(at) {
                words.push(chars[at]);
                at += 1;
            }
        }
    }
    let mut out = String::with_capacity(words.len() + 4);
    for (at, &c) in words.iter().enumerate() {
        if c.is_ascii_uppercase() && at > 0 && words[at - 1].is_ascii_lowercase() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_spelt_as_keras_spells_them() {
        let expected = [
            ("Dense", "dense"),
            ("PReLU", "p_re_lu"),
            ("ReLU", "re_lu"),
            ("Conv2D", "conv2d"),
            ("Conv2DTranspose", "conv2d_transpose"),
            ("ConvLSTM1D", "conv_lstm1d"),
            ("BatchNormalization", "batch_normalization"),
            ("MaxPooling1D", "max_pooling1d"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("LSTM", "lstm"),
            ("LSTMCell", "lstm_cell"),
            ("TFOpLambda", "tf_op_lambda"),
            ("StackedRNNCells", "stacked_rnn_cells"),
            ("ELU", "elu"),
        ];
        for (class, snake) in expected {
            assert_eq!(snake_case(class), snake, "{class}");
        }
    }

    /// Seen in Keras 3.15: it looks for the gate of either attention there, and for the rest where the class has it.
    #[test]
    fn parts_of_attention_lie_where_keras_looks() {
        for (class, part, home) in [
            ("MultiHeadAttention", "gate", "_gate_dense"),
            ("MultiHeadAttention", "query", "query_dense"),
            ("GroupQueryAttention", "gate", "_gate_dense"),
            ("GroupQueryAttention", "query", "_query_dense"),
        ] {
            let layer = Layer { class: class.into(), ..Layer::default() };
            assert_eq!(role_home(&layer, part), home, "{class} {part}");
        }
    }

    #[test]
    fn state_that_is_no_weight_is_told_apart() {
        assert!(is_weight("layers/dense/vars/0") && is_weight("vars/0"));
        assert!(!is_weight("optimizer/vars/0") && !is_weight("layers/dropout/seed_generator/vars/0"));
    }
}
