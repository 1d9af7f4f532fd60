//! What the layers say that ops do not: which of them are models, which are frozen, and how training goes on.

use recast_plugin_api::model::{Layer, LayerModel};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Keras' default of `BatchNormalization(momentum=..)`: the share of the old statistics that stays.
const KERAS_MOMENTUM: f64 = 0.99;
/// Models and wrappers inside each other; the host refuses more.
const NESTING_MAX: usize = 64;

#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Paths of layers that are models themselves.
    models: BTreeSet<String>,
    frozen: BTreeSet<String>,
    /// Momentum of batch normalizations, as Keras means it.
    momentum: BTreeMap<String, f64>,
    /// Layers with dropout inside of the recurrence, which no op and no module of PyTorch has.
    pub recurrent_dropout: Vec<String>,
}

impl Facts {
    pub fn of(model: Option<&LayerModel>) -> Facts {
        let mut facts = Facts::default();
        for layer in model.and_then(|model| model.root.as_ref()).iter().flat_map(|root| &root.layers) {
            facts.add(layer, true, 0);
        }
        facts
    }

    fn add(&mut self, layer: &Layer, trainable: bool, depth: usize) {
        let trainable = trainable && layer.trainable;
        if depth > NESTING_MAX {
            return;
        }
        if !trainable {
            self.frozen.insert(layer.path.clone());
        }
        let config: Value = serde_json::from_str(&layer.config).unwrap_or_default();
        let number = |key: &str| config.get(key).and_then(Value::as_f64);
        if let Some(momentum) = number("momentum") {
            self.momentum.insert(layer.path.clone(), momentum);
        }
        let inside = ["dropout", "recurrent_dropout"].iter().filter_map(|key| number(key)).any(|rate| rate > 0.0);
        if inside && config.get("units").is_some() {
            self.recurrent_dropout.push(layer.path.clone());
        }
        if let Some(model) = &layer.model {
            self.models.insert(layer.path.clone());
            model.layers.iter().for_each(|inner| self.add(inner, trainable, depth + 1));
        }
        layer.children.iter().filter_map(|child| child.layer.as_ref()).for_each(|inner| {
            self.add(inner, trainable, depth + 1);
        });
    }

    pub fn is_frozen(&self, path: &str) -> bool {
        self.frozen.contains(path)
    }

    /// PyTorch's momentum is the share of the new statistics: one minus that of Keras.
    /// <https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html>
    pub fn momentum(&self, path: &str) -> f64 {
        let keras = self.momentum.get(path).copied().unwrap_or(KERAS_MOMENTUM);
        // Ten digits: 1 - 0.99 is 0.010000000000000009 otherwise.
        ((1.0 - keras) * 1e10).round() / 1e10
    }

    /// The outermost model below `prefix` that `path` lies in, or is.
    pub fn model_of<'p>(&self, prefix: &str, path: &'p str) -> Option<&'p str> {
        let below = if prefix.is_empty() { path } else { path.strip_prefix(prefix)?.strip_prefix('/')? };
        let begin = path.len() - below.len();
        let ends = below.match_indices('/').map(|(at, _)| begin + at).chain([path.len()]);
        ends.map(|end| &path[..end]).find(|candidate| self.models.contains(*candidate))
    }
}
