//! From Keras' configuration JSON to a layer model without weights.
//!
//! `{"class_name": "Functional", "config": {"layers": [...], "input_layers": ..., "output_layers": ...}}`, where a
//! layer may be such a model again. What depends on the version that wrote it ends here and in
//! the weights of each container.

mod args;
mod class;
pub mod evaluation;
mod feature_space;
mod functional;
pub mod keras1;
mod layer;
mod masked;
mod ops;
mod raw_ops;
mod sequential;

use crate::io::{CALLS_MAX, Limits};
use crate::roles::Role;
use class::Stored;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::model::{InputDim, Model, ModelInput, keras_version};
use serde_json::Value;
use std::collections::HashMap;

/// What a file states of the Keras that wrote it, or what its layout tells, and the major version of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub text: String,
    pub major: u32,
}

impl Version {
    pub fn parse(text: &str) -> Version {
        Version { text: text.to_owned(), major: keras_version(text).0 }
    }
}

/// No axis of an input is longer.
const INPUT_SIZE_MAX: u64 = i32::MAX as u64;

/// What the weights' order depends on, kept aside while layers are built.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Own arrays in creation order; none for a class whose arrays only the file knows.
    pub roles: Option<Vec<Role>>,
    /// As stored, before it becomes the plugins' name: v3 paths are made of it.
    pub class_name: String,
    /// What Keras calls the object by, where the configuration holds it several times.
    pub object: Option<i64>,
}

/// A layer model without weights.
pub struct Architecture {
    pub root: Model,
    /// By layer path.
    pub facts: HashMap<String, Facts>,
}

/// `value` is what Keras calls a model's config: `{"class_name", "config"}`.
pub fn read(value: &Value, at: &str, version: &Version, limits: &Limits) -> Result<Architecture, Findings> {
    let upgraded = match version.major {
        1 => Some(keras1::upgrade(value, at, version)?),
        2 => keras1::upgrade_kept(value, at)?,
        _ => None,
    };
    let value = upgraded.as_ref().unwrap_or(value);
    // Of TensorFlow 2.0 to 2.3.
    let replaced = if version.major < 3 { raw_ops::replaced(value)? } else { None };
    let value = replaced.as_ref().unwrap_or(value);
    let space = feature_space::written_out(value, at)?;
    let value = space.as_ref().unwrap_or(value);
    let mut build = Build { version, limits, facts: HashMap::new(), layers: 0, calls: 0, at, refused: Vec::new() };
    let stored = Stored::of(value, at)?;
    let shape = value.get("build_config").and_then(|build| build.get("input_shape"));
    let Some(root) = build.model(&stored, "", shape)? else {
        let detail =
            format!("`{}` is a subclassed model: the file holds its weights, but no layers", stored.class_name);
        return Err(Diag::new(Code::UnsupportedContainer, at, detail)
            .hint("rebuild it as a Functional model (keras.Model(inputs, outputs)) and save that")
            .into());
    };
    if !build.refused.is_empty() {
        return Err(build.refused);
    }
    if root.inputs.is_empty() || root.outputs.is_empty() {
        return Err(Diag::new(Code::Malformed, at, "the model has no inputs or no outputs").into());
    }
    if let Some(input) = root.inputs.iter().find(|input| input.dtype.is_empty()) {
        let detail = format!("the model was never built: nothing tells the shape of `{}`", input.name);
        return Err(Diag::new(Code::UnsupportedContainer, at, detail)
            .hint("give the first layer an Input, or call the model once, and save it again")
            .into());
    }
    Ok(Architecture { root, facts: build.facts })
}

struct Build<'x> {
    version: &'x Version,
    limits: &'x Limits,
    facts: HashMap<String, Facts>,
    layers: u32,
    calls: u32,
    at: &'x str,
    /// Layers that can't be read; the others are looked at all the same, so that all are told at once.
    refused: Findings,
}

impl Build<'_> {
    /// None when this is no model but a layer.
    fn model(&mut self, stored: &Stored<'_>, prefix: &str, shape: Option<&Value>) -> Result<Option<Model>, Diag> {
        let config = stored.config;
        let listed = config.get("layers").is_some_and(Value::is_array);
        if stored.class_name == "Sequential" && (listed || config.is_array()) {
            return self.sequential(config, prefix, shape).map(Some);
        }
        if listed && config.get("output_layers").is_some() {
            return self.functional(config, prefix).map(Some);
        }
        Ok(None)
    }

    fn malformed(&self, path: &str, detail: impl Into<String>) -> Diag {
        Diag::new(Code::Malformed, if path.is_empty() { self.at } else { path }, detail)
    }

    fn count_layer(&mut self, path: &str) -> Result<(), Diag> {
        self.layers += 1;
        if self.layers > self.limits.layers {
            let detail = format!("more than {} layers", self.limits.layers);
            return Err(Diag::new(Code::LimitExceeded, path, detail).hint("raise limits.layers_max"));
        }
        Ok(())
    }

    fn count_call(&mut self, path: &str) -> Result<(), Diag> {
        self.calls += 1;
        if self.calls > CALLS_MAX {
            return Err(Diag::new(Code::LimitExceeded, path, format!("more than {CALLS_MAX} calls of layers")));
        }
        Ok(())
    }

    /// The input that `config` (of an InputLayer, or of a first layer that brings its shape) declares.
    fn input(&self, name: &str, config: &Value) -> Result<Option<ModelInput>, Diag> {
        let Some(shape) = input_shape(config) else { return Ok(None) };
        for kind in ["sparse", "ragged"] {
            if crate::json::flag(config, kind, false) {
                return Err(Diag::new(Code::UnsupportedContainer, name, format!("the input is {kind}"))
                    .hint("save the model with a dense input"));
            }
        }
        let dims = shape.iter().map(|dim| self.dim(name, dim)).collect::<Result<_, _>>()?;
        let dtype = config.get("dtype").and_then(dtype_of).unwrap_or("float32").to_owned();
        Ok(Some(ModelInput { name: name.to_owned(), dtype, dims }))
    }

    fn dim(&self, name: &str, dim: &Value) -> Result<InputDim, Diag> {
        match dim {
            Value::Null => Ok(InputDim { size: None }),
            // Keras 1 on Theano wrote -1 for a free dimension.
            Value::Number(size) if size.as_i64() == Some(-1) => Ok(InputDim { size: None }),
            _ => match dim.as_u64().filter(|size| *size <= INPUT_SIZE_MAX) {
                Some(size) => Ok(InputDim { size: Some(size) }),
                None => Err(self.malformed(name, format!("an input dimension of {dim}"))),
            },
        }
    }
}

/// The shape with the batch axis: Keras 2's key, Keras 3's key; a tuple may be tagged.
fn input_shape(config: &Value) -> Option<&Vec<Value>> {
    let shape = config.get("batch_input_shape").or_else(|| config.get("batch_shape"))?;
    shape.as_array().or_else(|| shape.get("items").and_then(Value::as_array))
}

/// The dtype that variables of a policy have: `"float32"`, `"mixed_float16"`, `{"config": {"name": "float32"}}`.
fn dtype_of(dtype: &Value) -> Option<&str> {
    let name = match dtype {
        Value::String(name) => name,
        _ => dtype.get("config")?.get("name")?.as_str()?,
    };
    Some(if name.starts_with("mixed_") { "float32" } else { name })
}
