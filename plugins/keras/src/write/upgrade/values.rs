//! Values in a layer's configuration that are objects of their own: initializers, regularizers, constraints,
//! activations, dtype policies.

use super::{Dialect, Upgrade};
use recast_plugin_api::diag::{Code, Diag};
use serde_json::{Map, Value, json};

/// Classes that a configuration may name, and their arguments in every version: (class, other names, keys).
type Kind = &'static [(&'static str, &'static [&'static str], &'static [&'static str])];

const SEED: &[&str] = &["seed"];

const INITIALIZERS: Kind = &[
    ("Constant", &["constant"], &["value"]),
    ("GlorotNormal", &["glorot_normal"], SEED),
    ("GlorotUniform", &["glorot_uniform"], SEED),
    ("HeNormal", &["he_normal"], SEED),
    ("HeUniform", &["he_uniform"], SEED),
    ("Identity", &["identity", "IdentityInitializer"], &["gain"]),
    ("LecunNormal", &["lecun_normal"], SEED),
    ("LecunUniform", &["lecun_uniform"], SEED),
    ("Ones", &["ones", "one"], &[]),
    ("Orthogonal", &["orthogonal", "OrthogonalInitializer"], &["gain", "seed"]),
    ("RandomNormal", &["random_normal", "normal"], &["mean", "stddev", "seed"]),
    ("RandomUniform", &["random_uniform", "uniform"], &["minval", "maxval", "seed"]),
    ("TruncatedNormal", &["truncated_normal"], &["mean", "stddev", "seed"]),
    ("VarianceScaling", &["variance_scaling"], &["scale", "mode", "distribution", "seed"]),
    ("Zeros", &["zeros", "zero"], &[]),
];

const REGULARIZERS: Kind = &[
    ("L1", &["l1"], &["l1"]),
    ("L1L2", &["l1_l2"], &["l1", "l2"]),
    ("L2", &["l2"], &["l2"]),
    ("OrthogonalRegularizer", &["orthogonal_regularizer"], &["factor", "mode"]),
];

const CONSTRAINTS: Kind = &[
    ("MaxNorm", &["max_norm", "maxnorm"], &["max_value", "axis"]),
    ("MinMaxNorm", &["min_max_norm"], &["min_value", "max_value", "rate", "axis"]),
    ("NonNeg", &["non_neg", "nonneg"], &[]),
    ("UnitNorm", &["unit_norm", "unitnorm"], &["axis"]),
];

/// By what its key ends with: module, and what there is in it.
fn kind_of(key: &str) -> Option<(&'static str, Kind)> {
    let ends = |end: &str| key.ends_with(end);
    match () {
        () if ends("_initializer") => Some(("keras.initializers", INITIALIZERS)),
        () if ends("_regularizer") => Some(("keras.regularizers", REGULARIZERS)),
        () if ends("_constraint") => Some(("keras.constraints", CONSTRAINTS)),
        () => None,
    }
}

/// Functions that Keras 2 knows by another name, or as something else.
const HARD_SIGMOID: &str = "hard_sigmoid";

/// Functions of Keras 3.15 that tf.keras 2.15 does not have.
const NEW_ACTIVATIONS: &[&str] = &[
    "celu",
    "glu",
    "hard_shrink",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "log_sigmoid",
    "soft_shrink",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "tanh_shrink",
    "threshold",
];

/// An object as Keras 3 serialises it.
pub fn object(module: &str, class: &str, config: Value) -> Value {
    json!({"module": module, "class_name": class, "config": config, "registered_name": null})
}

/// The name of a function, however it is written.
pub(super) fn function(value: &Value) -> Option<&str> {
    let class = value.get("class_name").and_then(Value::as_str).unwrap_or_default();
    let is_function = matches!(class, "" | "function");
    value.as_str().or_else(|| value.get("config").filter(|_| is_function)?.as_str())
}

impl Upgrade<'_> {
    /// The value of a key of a layer at `path`; none where it is left out.
    pub(super) fn value(&mut self, key: &str, value: &Value, path: &str) -> Option<Value> {
        if let Some((module, kind)) = kind_of(key) {
            return self.training_object(module, kind, key, value, path);
        }
        match key {
            "activation" | "recurrent_activation" => Some(self.activation(value, path)),
            _ => Some(value.clone()),
        }
    }

    /// What only training needs: one that Keras 3 does not have is left out, and said.
    fn training_object(&mut self, module: &str, kind: Kind, key: &str, value: &Value, path: &str) -> Option<Value> {
        if value.is_null() {
            return Some(Value::Null);
        }
        let empty = Map::new();
        let (name, config) = match value {
            Value::String(name) => (name.as_str(), &empty),
            _ => {
                let name = value.get("class_name").and_then(Value::as_str).unwrap_or_default();
                (name, value.get("config").and_then(Value::as_object).unwrap_or(&empty))
            }
        };
        let found = kind.iter().find(|(class, aliases, _)| *class == name || aliases.contains(&name));
        let Some((class, _, keys)) = found else {
            if name.contains('>') && value.is_object() {
                return Some(value.clone());
            }
            let detail = format!("`{key}` is left out: Keras has no `{name}` in {module}; it only matters to training");
            self.notes.push(Diag::new(Code::TrainingDropped, path, detail));
            return None;
        };
        let kept = config.iter().filter(|(key, _)| keys.contains(&key.as_str()));
        Some(object(module, class, Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())))
    }

    /// A function by its name; an activation layer as an object.
    pub(super) fn activation(&mut self, value: &Value, path: &str) -> Value {
        if let Some(name) = function(value) {
            return self.named_activation(name, path);
        }
        let class = value.get("class_name").and_then(Value::as_str).unwrap_or_default();
        match value.get("config") {
            Some(config) if super::classes::find(class).is_some() => self.plain_object(class, config.clone(), path),
            _ => value.clone(),
        }
    }

    fn named_activation(&mut self, name: &str, path: &str) -> Value {
        let old = self.major < 3;
        match self.dialect {
            Dialect::Keras3 | Dialect::Both | Dialect::Keras2 if name == "gelu_new" => {
                let detail = "no Keras has a name for `gelu_new`, the approximate gelu of TensorFlow.js";
                self.findings.push(Diag::new(Code::UnsupportedLayer, path, detail));
            }
            Dialect::Keras2 | Dialect::Js if NEW_ACTIVATIONS.contains(&name) => {
                let detail = format!("Keras 2 and TensorFlow.js have no activation `{name}`");
                self.findings.push(Diag::new(Code::UnsupportedLayer, path, detail));
            }
            Dialect::Both if NEW_ACTIVATIONS.contains(&name) => {
                self.needs_newer(path, format!("it has no activation `{name}`"));
            }
            _ if name != HARD_SIGMOID => {}
            Dialect::Keras3 | Dialect::Both if old => {
                self.needs_newer(path, "its hard_sigmoid is another function than that of Keras 3");
                return hard_sigmoid(0.2, &self.dtype);
            }
            // tf.keras would load the name, and compute its own function.
            Dialect::Both => {
                self.needs_newer(path, "its hard_sigmoid is another function than that of Keras 3");
                return hard_sigmoid(1.0 / 6.0, &self.dtype);
            }
            Dialect::Keras2 | Dialect::Js if !old => {
                let detail = "hard_sigmoid of Keras 3 is another function than that of Keras 2 and TensorFlow.js";
                self.findings.push(Diag::new(Code::UnsupportedLayer, path, detail));
            }
            Dialect::Keras3 | Dialect::Keras2 | Dialect::Js => {}
        }
        // Keras 2 takes the name of an activation layer, too.
        if name.starts_with(|c: char| c.is_ascii_uppercase()) && super::classes::find(name).is_some() {
            return object("keras.layers", name, json!({}));
        }
        json!(name)
    }

    /// `dtype` of a layer: a policy by name, or as it is where it is more than a name.
    pub(super) fn dtype(&mut self, value: &Value, path: &str) -> Option<Value> {
        let Some(name) = policy(value) else {
            let class = value.get("class_name").and_then(Value::as_str).unwrap_or_default();
            self.needs_newer(path, format!("it has no {class}"));
            if self.dialect.is_old() {
                let detail = format!("Keras 2 and TensorFlow.js have no {class}");
                self.findings.push(Diag::new(Code::UnsupportedLayer, path, detail));
            }
            return Some(value.clone());
        };
        name.map(|name| json!(name))
    }
}

/// The name of a dtype policy, which may be left out; none where a policy is more than a name.
pub(super) fn policy(value: &Value) -> Option<Option<&str>> {
    let class = value.get("class_name").and_then(Value::as_str).unwrap_or("DTypePolicy");
    if !matches!(class, "DTypePolicy" | "Policy" | "PolicyV1") {
        return None;
    }
    let name = value.as_str().or_else(|| value.get("config")?.get("name")?.as_str());
    // What TensorFlow 1 infers from the inputs is float32.
    Some(name.filter(|name| !matches!(*name, "infer" | "_infer")))
}

/// clip(scale * x + 1 / 2, 0, 1): Keras 2's hard sigmoid scales by 1 / 5, the one that Keras 3 calls so by 1 / 6.
/// `dtype`: that of the layer which it belongs to, and which does not hand it on.
fn hard_sigmoid(scale: f64, dtype: &Value) -> Value {
    let mut scale = json!({"name": "hard_sigmoid_scale", "scale": scale, "offset": 0.5});
    let mut clip = json!({"name": "hard_sigmoid_clip", "max_value": 1.0});
    if !dtype.is_null() && *dtype != json!("float32") {
        [&mut scale, &mut clip].into_iter().for_each(|config| config["dtype"] = dtype.clone());
    }
    let layers = [object("keras.layers", "Rescaling", scale), object("keras.layers", "ReLU", clip)];
    object("keras.layers", "Pipeline", json!({"name": "hard_sigmoid", "layers": layers}))
}
