//! A `FeatureSpace` as the functional model that it makes of its features: an input of one column for each, one
//! preprocessor for each, crosses of what these give, a vector of zeros and ones where a feature asks for one, and all
//! of them joined in the order of their names, or a dictionary.

use crate::json;
use recast_plugin_api::diag::{Code, Diag};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};

const CLASS: &str = "FeatureSpace";
const JOINED: &str = "encoded_features";

/// The same as a functional model; none of what is no FeatureSpace. Its layers are in the order in which Keras stores
/// the preprocessors, with the crosses and encoders behind them.
pub fn written_out(value: &Value, at: &str) -> Result<Option<Value>, Diag> {
    let config = value.get("config").unwrap_or(&Value::Null);
    let Some(features) = config.get("features").filter(|_| text(value, "class_name") == Some(CLASS)) else {
        return Ok(None);
    };
    let mut space = Space { at, ..Space::default() };
    let mut encoded = space.features(json::object(features, at, "`features`")?)?;
    encoded.sort();
    let mut crossed = space.crosses(config.get("crosses").unwrap_or(&Value::Null))?;
    crossed.sort();
    encoded.extend(crossed);
    let outputs = if text(config, "output_mode") == Some("dict") {
        encoded.iter().map(|(name, layer)| (name.clone(), json!([layer, 0, 0]))).collect()
    } else {
        let parts: Vec<&str> = encoded.iter().map(|(_, layer)| layer.as_str()).collect();
        let joined = space.free(JOINED);
        let call = parts.iter().map(|layer| tensor(layer)).collect::<Vec<_>>();
        space.encoders.push(layer("Concatenate", &joined, json!({"axis": -1}), json!([call])));
        json!([joined, 0, 0])
    };
    let inputs: Map<String, Value> = space.inputs.iter().map(|input| (input.name.clone(), input.reference())).collect();
    let entries = space.inputs.iter().map(Input::entry);
    let layers: Vec<Value> = entries.chain(space.layers).chain(space.encoders).collect();
    let config = json!({"name": "feature_space", "layers": layers, "input_layers": inputs, "output_layers": outputs});
    Ok(Some(json!({"class_name": "Functional", "config": config})))
}

struct Input {
    name: String,
    dtype: String,
}

impl Input {
    fn reference(&self) -> Value {
        json!([self.name, 0, 0])
    }

    fn entry(&self) -> Value {
        let config = json!({"batch_shape": [null, 1], "dtype": self.dtype, "name": self.name});
        json!({"class_name": "InputLayer", "config": config, "name": self.name, "inbound_nodes": []})
    }
}

/// The first output of a layer that is called once.
fn tensor(layer: &str) -> Value {
    json!({"class_name": "__keras_tensor__", "config": {"keras_history": [layer, 0, 0]}})
}

fn layer(class: &str, name: &str, mut config: Value, args: Value) -> Value {
    config["name"] = json!(name);
    called(json!({"module": "keras.layers", "class_name": class, "config": config}), name, args)
}

fn called(mut layer: Value, name: &str, args: Value) -> Value {
    layer["name"] = json!(name);
    layer["inbound_nodes"] = json!([{"args": args, "kwargs": {}}]);
    layer
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

/// (feature or cross, the layer that gives it)
type Given = (String, String);

#[derive(Default)]
struct Space<'v> {
    at: &'v str,
    names: HashSet<String>,
    /// The names of preprocessors by their features.
    preprocessors: HashMap<String, String>,
    inputs: Vec<Input>,
    layers: Vec<Value>,
    /// Behind all others: they have no arrays, and must not count before those that have.
    encoders: Vec<Value>,
}

impl Space<'_> {
    /// A name that no layer has.
    fn free(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        while !self.names.insert(free.clone()) {
            free.push('_');
        }
        free
    }

    fn wrong(&self, what: &str, detail: impl std::fmt::Display) -> Diag {
        Diag::new(Code::Malformed, self.at, format!("{what}: {detail}"))
    }

    fn features(&mut self, features: &Map<String, Value>) -> Result<Vec<Given>, Diag> {
        self.names.extend(features.keys().cloned());
        let mut given = Vec::with_capacity(features.len());
        for (name, feature) in features {
            let config = feature.get("config").unwrap_or(&Value::Null);
            let whole = |layer: &&Value| layer.get("config").is_some_and(Value::is_object);
            let preprocessor = config.get("preprocessor").filter(whole);
            let preprocessor = preprocessor.ok_or_else(|| self.wrong(name, "a feature without a preprocessor"))?;
            let own = preprocessor.get("config").and_then(|own| text(own, "name")).unwrap_or(name);
            let own = self.free(own);
            let dtype = text(config, "dtype").unwrap_or("float32").to_owned();
            self.inputs.push(Input { name: name.clone(), dtype });
            let mut layer = preprocessor.clone();
            layer["config"]["name"] = json!(own);
            self.layers.push(called(layer, &own, json!([tensor(name)])));
            self.preprocessors.insert(name.clone(), own.clone());
            given.push((name.clone(), self.encoded(name, config, preprocessor, &own)?));
        }
        Ok(given)
    }

    /// What is crossed are the preprocessed features.
    fn crosses(&mut self, crosses: &Value) -> Result<Vec<Given>, Diag> {
        let mut given = Vec::new();
        for cross in crosses.as_array().into_iter().flatten() {
            let config = cross.get("config").unwrap_or(&Value::Null);
            let names = config.get("feature_names").and_then(Value::as_array);
            let names: Option<Vec<&str>> = names.and_then(|names| names.iter().map(Value::as_str).collect());
            let names = names.ok_or_else(|| self.wrong("crosses", "a cross without the names of its features"))?;
            let name = names.join("_X_");
            let own = self.free(&name);
            let mut parts = Vec::with_capacity(names.len());
            for crossed in &names {
                let part = self.preprocessors.get(*crossed);
                let part = part.ok_or_else(|| self.wrong(&name, format!("no feature is called {crossed}")))?;
                parts.push(tensor(part));
            }
            let hashed = json!({"num_bins": config.get("crossing_dim"), "output_mode": "int", "dtype": "int64"});
            let crosser = layer("HashedCrossing", &own, hashed, json!([parts]));
            given.push((name.clone(), self.encoded(&name, config, &crosser, &own)?));
            self.layers.push(crosser);
        }
        Ok(given)
    }

    /// The layer that gives the feature: an encoder behind the preprocessor where it is to be zeros and ones.
    fn encoded(&mut self, name: &str, feature: &Value, from: &Value, own: &str) -> Result<String, Diag> {
        if text(feature, "output_mode") != Some("one_hot") {
            return Ok(own.to_owned());
        }
        let tokens = tokens(from).ok_or_else(|| {
            let class = text(from, "class_name").unwrap_or("the preprocessor");
            let detail = format!("feature {name}: how many numbers {class} gives is not in the file");
            Diag::new(Code::UnsupportedContainer, self.at, detail)
                .hint("save the functional model of its get_inputs() and get_encoded_features() instead")
        })?;
        let encoder = self.free(&format!("{name}_encoder"));
        let config = json!({"num_tokens": tokens, "output_mode": "multi_hot"});
        self.encoders.push(layer("CategoryEncoding", &encoder, config, json!([tensor(own)])));
        Ok(encoder)
    }
}

/// How many different numbers a layer gives.
fn tokens(layer: &Value) -> Option<u64> {
    let config = layer.get("config")?;
    let number = |key: &str| config.get(key).and_then(Value::as_u64);
    match text(layer, "class_name")? {
        "IntegerLookup" | "StringLookup" => number("vocabulary_size"),
        "CategoryEncoding" => number("num_tokens"),
        "Hashing" | "HashedCrossing" => number("num_bins"),
        "Discretization" => {
            let bounds = config.get("bin_boundaries").and_then(Value::as_array);
            number("num_bins").or(bounds.map(|bounds| bounds.len() as u64 + 1))
        }
        _ => None,
    }
}
