//! One layer: its name, its class, what it wraps.

use super::class::Stored;
use super::{Build, Facts, keras1, masked};
use crate::json;
use crate::roles;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::model::{Child, Layer};
use serde_json::{Map, Value, json};

impl Build<'_> {
    /// `value` is a layer as Keras serialises it; `prefix` is the path of the model that holds it.
    pub(super) fn layer(&mut self, value: &Value, prefix: &str) -> Result<Layer, Diag> {
        let stored = Stored::of(value, prefix)?;
        let named = value.get("name").or_else(|| stored.config.get("name")).and_then(Value::as_str);
        let name = match named {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => self.nameless(&stored, prefix)?,
        };
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        self.layer_at(&stored, value, name, path)
    }

    /// A list-shaped Sequential has no name of its own in Keras 2.2.
    fn nameless(&self, stored: &Stored<'_>, prefix: &str) -> Result<String, Diag> {
        let first = stored.config.get(0).and_then(|first| first.get("config")).and_then(|config| config.get("name"));
        match first.and_then(Value::as_str) {
            Some(first) if stored.class_name == "Sequential" => Ok(format!("sequential_of_{first}")),
            _ => Err(self.malformed(prefix, format!("a {} layer without a name", stored.class_name))),
        }
    }

    fn layer_at(&mut self, stored: &Stored<'_>, value: &Value, name: String, path: String) -> Result<Layer, Diag> {
        self.count_layer(&path)?;
        let path = self.unique(path);
        let class_name = stored.class_name.to_owned();
        let object = value.get("shared_object_id").and_then(Value::as_i64);
        let facts = Facts { roles: Some(Vec::new()), class_name, object };
        let trainable = json::flag(stored.config, "trainable", true);
        let mut layer =
            Layer { name, path: path.clone(), module: stored.module.to_owned(), trainable, ..Layer::default() };
        let shape = value.get("build_config").and_then(|build| build.get("input_shape"));
        self.facts.insert(path.clone(), facts);
        if let Some(mut model) = self.model(stored, &path, shape)? {
            model.name.clone_from(&layer.name);
            layer.class.clone_from(&model.kind);
            layer.config = outline(stored.config).to_string();
            layer.model = Some(model);
            return Ok(layer);
        }
        let Value::Object(config) = stored.config else {
            return Err(self.malformed(&path, "a layer without a configuration"));
        };
        layer.class = stored.key(self.version.major);
        if let Some(mode) = roles::unread_quantization(&layer.class, stored.config) {
            let detail =
                format!("{}: quantized as {mode}; int8 is read, of Dense, EinsumDense and Embedding", layer.class);
            let refused = Diag::new(Code::UnsupportedLayer, &path, detail);
            self.refused.push(refused.hint("save the model before it is quantized"));
        }
        layer.config = masked::heeded(self.version, value, stored.config).to_string();
        layer.children = self.children(&layer, config)?;
        if let Some(facts) = self.facts.get_mut(&path) {
            facts.roles = match self.version.major {
                1 => keras1::roles(&layer.class, stored.config),
                2 if keras1::is_kept(&layer.class) => keras1::roles(&layer.class, stored.config),
                _ => roles::of(&layer.class, stored.config),
            };
        }
        Ok(layer)
    }

    /// A name with `/` can spell the path of another layer.
    fn unique(&self, path: String) -> String {
        let mut free = path.clone();
        let mut number = 1;
        while self.facts.contains_key(&free) {
            number += 1;
            free = format!("{path}#{number}");
        }
        free
    }

    /// Wrapped layers, by the names that Keras gives these attributes.
    fn children(&mut self, layer: &Layer, config: &Map<String, Value>) -> Result<Vec<Child>, Diag> {
        match layer.class.as_str() {
            "Bidirectional" => self.directions(layer, config),
            "TimeDistributed" | "SpectralNormalization" => self.wrapped(layer, config, "layer"),
            "RNN" | "ConvRNN2D" | "ResidualWrapper" | "DropoutWrapper" => self.wrapped(layer, config, "cell"),
            "StackedRNNCells" => self.listed(layer, config, "cells", "cells"),
            "Pipeline" => self.listed(layer, config, "layers", "_pipeline_layers"),
            _ => Ok(Vec::new()),
        }
    }

    /// The layers that the configuration lists under `key`, in the list attribute that Keras keeps them in.
    fn listed(
        &mut self,
        layer: &Layer,
        config: &Map<String, Value>,
        key: &str,
        attribute: &str,
    ) -> Result<Vec<Child>, Diag> {
        let inner = config.get(key).map_or(Ok(&[][..]), |inner| json::array(inner, &layer.path, key))?;
        let inner = inner.iter().enumerate();
        inner.map(|(number, value)| self.child(layer, &format!("{attribute}/{number}"), value)).collect()
    }

    fn wrapped(&mut self, layer: &Layer, config: &Map<String, Value>, key: &str) -> Result<Vec<Child>, Diag> {
        match config.get(key) {
            Some(inner) if inner.is_object() => Ok(vec![self.child(layer, key, inner)?]),
            _ => Err(self.malformed(&layer.path, format!("a {} without its `{key}`", layer.class))),
        }
    }

    /// `key` is the attribute; the layer inside may be a model.
    fn child(&mut self, parent: &Layer, key: &str, value: &Value) -> Result<Child, Diag> {
        let path = format!("{}/{key}", parent.path);
        let stored = Stored::of(unwrapped(value), &path)?;
        let name = stored.config.get("name").and_then(Value::as_str).unwrap_or(key).to_owned();
        let layer = self.layer_at(&stored, value, name, path)?;
        Ok(Child { attribute: key.to_owned(), layer: Some(layer) })
    }

    /// Keras stores one layer and makes two of it.
    fn directions(&mut self, layer: &Layer, config: &Map<String, Value>) -> Result<Vec<Child>, Diag> {
        let Some(inner) = config.get("layer").filter(|inner| inner.is_object()) else {
            return Err(self.malformed(&layer.path, "a Bidirectional without its `layer`"));
        };
        let directed = |inner: &Value, prefix: &str, go_backwards: Option<bool>| {
            directed(inner, prefix, go_backwards, masked::pair_zeroes(self.version, inner))
        };
        let forward = directed(inner, "forward_", None);
        let backward = match config.get("backward_layer").filter(|own| own.is_object()) {
            Some(own) => directed(own, "backward_", None),
            None => {
                // Keras 3 sets it, Keras 2 turns it around; a layer inside that goes backwards is rare in both.
                let turned = self.version.major >= 3
                    || !inner.get("config").is_some_and(|config| json::flag(config, "go_backwards", false));
                directed(inner, "backward_", Some(turned))
            }
        };
        Ok(vec![self.child(layer, "forward_layer", &forward)?, self.child(layer, "backward_layer", &backward)?])
    }
}

/// The cell that is in wrappers which do nothing. A DropoutWrapper drops at inference too, unless it keeps everything.
fn unwrapped(mut value: &Value) -> &Value {
    let keeps_all = |config: &Value| {
        let kept = |key: &str| config.get(key).is_none_or(|kept| kept.is_null() || kept.as_f64() == Some(1.0));
        ["input_keep_prob", "output_keep_prob", "state_keep_prob"].into_iter().all(kept)
    };
    loop {
        let config = value.get("config").unwrap_or(&Value::Null);
        let inner = config.get("cell").filter(|cell| cell.is_object());
        match (value.get("class_name").and_then(Value::as_str), inner) {
            (Some("DeviceWrapper"), Some(inner)) => value = inner,
            (Some("DropoutWrapper"), Some(inner)) if keeps_all(config) => value = inner,
            _ => return value,
        }
    }
}

/// A copy of a recurrent layer under another name; `zeroes`: at the steps that are masked.
fn directed(inner: &Value, prefix: &str, go_backwards: Option<bool>, zeroes: bool) -> Value {
    let mut copy = inner.clone();
    // Keras makes a layer of its own of it.
    copy.as_object_mut().map(|object| object.remove("shared_object_id"));
    if let Some(config) = copy.get_mut("config").and_then(Value::as_object_mut) {
        let name = config.get("name").and_then(Value::as_str).unwrap_or_default();
        let name = format!("{prefix}{}", name.strip_prefix(prefix).unwrap_or(name));
        config.insert("name".into(), json!(name));
        if let Some(go_backwards) = go_backwards {
            config.insert("go_backwards".into(), json!(go_backwards));
        }
        masked::state(zeroes, config);
    }
    copy
}

/// A model's configuration without its layers, which stand in `Layer::model`.
fn outline(config: &Value) -> Value {
    let mut outline = Map::new();
    for (key, value) in config.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "layers" | "input_layers" | "output_layers") {
            outline.insert(key.clone(), value.clone());
        }
    }
    Value::Object(outline)
}
