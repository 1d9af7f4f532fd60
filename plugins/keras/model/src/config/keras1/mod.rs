//! Configurations of Keras 1 in the words of Keras 2: class names and keys by `table`, the containers here.
//!
//! | Keras 1 | becomes |
//! |---|---|
//! | `Merge` with a mode | the layer of that mode: `Add`, `Concatenate`, `Dot`, ... |
//! | a Sequential that begins with a `Merge` of models | a Functional model, with the branches laid open |
//! | layers that do not say their `dim_ordering` | the one that the other layers of the file say |

mod merge;
mod table;

pub use table::{Source, is_array, roles, sources};

use super::Version;
use crate::json;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::model::keras_version;
use serde_json::{Map, Value, json};

/// Keys that Keras 2 gave to layers that have weights, or two orders of their axes.
const SINCE_KERAS_2: &[&str] = &["data_format", "kernel_initializer", "units", "use_bias"];

/// Is this a configuration of Keras 1, as far as its keys tell? For files that do not say who wrote them.
pub fn is_configuration(value: &Value) -> bool {
    match value {
        Value::Object(map) => {
            !SINCE_KERAS_2.iter().any(|key| map.contains_key(*key)) && map.values().all(is_configuration)
        }
        Value::Array(list) => list.iter().all(is_configuration),
        _ => true,
    }
}

/// Classes that Keras 2 kept for a while as they were, keys and arrays of Keras 1 included (`keras.legacy.layers`).
const KEPT: &[&str] = &["Highway", "MaxoutDense", "Merge"];

/// Has a layer of this class the keys and arrays of Keras 1, whichever Keras wrote it?
pub fn is_kept(class: &str) -> bool {
    KEPT.contains(&class)
}

/// A configuration of Keras 2 with the layers upgraded that it kept from Keras 1; none where there is none of them.
pub fn upgrade_kept(value: &Value, at: &str) -> Result<Option<Value>, Diag> {
    if !json::names_class(value, &is_kept) {
        return Ok(None);
    }
    let given = Given { ordering: None, four_sides: true };
    Upgrade { given, at, kept_alone: true }.layer(value).map(Some)
}

/// The whole configuration, upgraded. `at` names the document.
pub fn upgrade(value: &Value, at: &str, version: &Version) -> Result<Value, Diag> {
    let mut ordering = Vec::new();
    orderings(value, &mut ordering);
    ordering.dedup();
    let ordering = match ordering[..] {
        [only] => Some(only),
        _ => None,
    };
    // Of 1.1.1 and later.
    let four_sides = keras_version(&version.text) > (1, 0) && version.text != "1.1.0";
    Upgrade { given: Given { ordering, four_sides }, at, kept_alone: false }.layer(value)
}

/// Every ordering that a layer states, in the words of the file.
fn orderings<'v>(value: &'v Value, out: &mut Vec<&'v str>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().filter(|_| key == "dim_ordering") {
                    Some(ordering) if !out.contains(&ordering) => out.push(ordering),
                    Some(_) => {}
                    None => orderings(value, out),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| orderings(value, out)),
        _ => {}
    }
}

/// What a layer's own configuration does not say.
#[derive(Clone, Copy)]
struct Given<'x> {
    /// `dim_ordering`: what the layers that say it say; none when none does, or when they differ.
    ordering: Option<&'x str>,
    /// Four numbers of padding are four sides, not two of them for both sides each.
    four_sides: bool,
}

struct Upgrade<'x> {
    given: Given<'x>,
    at: &'x str,
    /// The others are of Keras 2.
    kept_alone: bool,
}

impl Upgrade<'_> {
    /// `{"class_name", "config", ...}`; before Keras 1.0 the configuration alone, with the class as its name.
    fn layer(&self, value: &Value) -> Result<Value, Diag> {
        let Some(map) = value.as_object() else { return Ok(value.clone()) };
        let mut map = map.clone();
        let Some(class) = map.get("class_name").and_then(Value::as_str).map(str::to_owned) else {
            return Ok(value.clone());
        };
        let config = map.get("config").cloned().unwrap_or(Value::Null);
        let (class, config) = self.class(&class, config)?;
        map.insert("class_name".into(), json!(class));
        map.insert("config".into(), config);
        Ok(Value::Object(map))
    }

    fn class(&self, class: &str, config: Value) -> Result<(String, Value), Diag> {
        match (class, config) {
            ("Graph", _) => Err(Diag::new(Code::UnsupportedContainer, self.at, "a Graph container of Keras 0.3")
                .hint("load it in Keras 0.3 to 1.0, rebuild it as a Model, and save that")),
            ("Sequential", Value::Array(layers)) => self.sequential(&layers),
            ("Model" | "Sequential", Value::Object(mut config)) => {
                if let Some(Value::Array(layers)) = config.get("layers") {
                    let layers = layers.iter().map(|layer| self.layer(layer)).collect::<Result<Vec<_>, _>>()?;
                    config.insert("layers".into(), Value::Array(layers));
                }
                Ok((class.to_owned(), Value::Object(config)))
            }
            ("Merge", Value::Object(config)) => merge::layer(&config),
            (_, Value::Object(config)) => {
                let (class, mut config) = match self.kept_alone && !is_kept(class) {
                    true => (class.to_owned(), config),
                    false => table::translate(class, config, self.given, self.at)?,
                };
                if let Some(inner) = config.get("layer") {
                    let inner = self.layer(inner)?;
                    config.insert("layer".into(), inner);
                }
                Ok((class, Value::Object(config)))
            }
            (_, config) => Ok((class.to_owned(), config)),
        }
    }

    fn sequential(&self, layers: &[Value]) -> Result<(String, Value), Diag> {
        let merges = |layer: &Value| layer.get("class_name").and_then(Value::as_str) == Some("Merge");
        if layers.first().is_some_and(merges) {
            let mut open = merge::Open::new(self);
            let end = open.chain(layers, None)?;
            return Ok(("Model".into(), open.finish(&end)));
        }
        let layers = layers.iter().map(|layer| self.layer(layer)).collect::<Result<Vec<_>, _>>()?;
        Ok(("Sequential".into(), Value::Array(layers)))
    }

    fn malformed(&self, detail: impl Into<String>) -> Diag {
        Diag::new(Code::Malformed, self.at, detail)
    }
}

fn name_of(config: &Map<String, Value>) -> &str {
    config.get("name").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_who_wrote_a_configuration() {
        let layer = |config: Value| json!({"class_name": "Sequential", "config": [{"config": config}]});
        assert!(is_configuration(&layer(json!({"nb_filter": 3, "dim_ordering": "th"}))));
        assert!(!is_configuration(&layer(json!({"units": 3}))));
    }
}
