//! `Merge`: the layer that stands for it, and the models that it joins at the front of a Sequential.

use super::{Upgrade, name_of};
use recast_plugin_api::diag::{Code, Diag};
use serde_json::{Map, Value, json};

/// (mode, class); `cos` keeps its name: it gives one axis more than today's Dot.
const MODES: &[(&str, &str)] = &[
    ("ave", "Average"),
    ("concat", "Concatenate"),
    ("cos", "Merge"),
    ("dot", "Dot"),
    ("max", "Maximum"),
    ("mul", "Multiply"),
    ("sum", "Add"),
];

pub fn layer(config: &Map<String, Value>) -> Result<(String, Value), Diag> {
    let name = name_of(config);
    let mode = config.get("mode").and_then(Value::as_str).unwrap_or_default();
    if config.get("mode_type").and_then(Value::as_str).is_some_and(|kind| kind != "raw") {
        let detail = "a Merge whose mode is Python code, which is never read or run";
        return Err(
            Diag::new(Code::UnsafeCode, name, detail).hint("use one of its named modes, or a layer of your own")
        );
    }
    let Some((_, class)) = MODES.iter().find(|(known, _)| *known == mode) else {
        return Err(Diag::new(Code::BadConfig, name, format!("a Merge of mode `{mode}`")));
    };
    let mut out = Map::new();
    out.insert("name".into(), json!(name));
    out.insert("trainable".into(), config.get("trainable").cloned().unwrap_or(json!(true)));
    let axes = config.get("dot_axes").cloned().unwrap_or(json!(-1));
    match mode {
        "concat" => drop(out.insert("axis".into(), config.get("concat_axis").cloned().unwrap_or(json!(-1)))),
        "dot" => {
            out.insert("axes".into(), axes);
            out.insert("normalize".into(), json!(false));
        }
        "cos" => {
            out.insert("mode".into(), json!("cos"));
            out.insert("axes".into(), axes);
        }
        _ => {}
    }
    Ok(((*class).to_owned(), Value::Object(out)))
}

/// A Functional model under construction, of chains that meet in merges.
pub struct Open<'u, 'x> {
    upgrade: &'u Upgrade<'x>,
    layers: Vec<Value>,
    inputs: Vec<Value>,
}

type End = Value;

impl<'u, 'x> Open<'u, 'x> {
    pub fn new(upgrade: &'u Upgrade<'x>) -> Open<'u, 'x> {
        Open { upgrade, layers: Vec::new(), inputs: Vec::new() }
    }

    pub fn finish(self, end: &End) -> Value {
        json!({"name": "model", "layers": self.layers, "input_layers": self.inputs, "output_layers": [end]})
    }

    /// One layer after the other, beginning at `end` or at an input of its own; where it ends.
    pub fn chain(&mut self, layers: &[Value], mut end: Option<End>) -> Result<End, Diag> {
        for value in layers {
            let class = value.get("class_name").and_then(Value::as_str).unwrap_or_default();
            let config = value.get("config").unwrap_or(&Value::Null);
            let next = match (class, config.get("layers").and_then(Value::as_array)) {
                ("Merge", Some(branches)) if end.is_none() => {
                    let ends = branches.iter().map(|branch| self.branch(branch)).collect::<Result<Vec<_>, _>>()?;
                    self.call(value, ends)?
                }
                _ => {
                    let before = match end.take() {
                        Some(end) => end,
                        None => self.input(config)?,
                    };
                    if class == "InputLayer" { before } else { self.call(value, vec![before])? }
                }
            };
            end = Some(next);
        }
        end.ok_or_else(|| self.upgrade.malformed("a Sequential without layers"))
    }

    /// One of the models that a merge joins.
    fn branch(&mut self, value: &Value) -> Result<End, Diag> {
        let class = value.get("class_name").and_then(Value::as_str).unwrap_or_default();
        let config = value.get("config").unwrap_or(&Value::Null);
        match (class, config) {
            ("Sequential", Value::Array(layers)) => self.chain(layers, None),
            ("Model", Value::Object(config)) => {
                for layer in config.get("layers").and_then(Value::as_array).into_iter().flatten() {
                    self.layers.push(self.upgrade.layer(layer)?);
                }
                let ends = |key| config.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
                self.inputs.extend(ends("input_layers"));
                match &ends("output_layers")[..] {
                    [end] => Ok(end.clone()),
                    _ => Err(self.upgrade.malformed("a model with several outputs inside a Merge")),
                }
            }
            _ => self.chain(std::slice::from_ref(value), None),
        }
    }

    /// The input that a first layer declares.
    fn input(&mut self, config: &Value) -> Result<End, Diag> {
        let map = config.as_object().ok_or_else(|| self.upgrade.malformed("a layer without a configuration"))?;
        let shape = map.get("batch_input_shape").cloned();
        let shape = shape.ok_or_else(|| self.upgrade.malformed("a first layer inside a Merge without its shape"))?;
        let name = format!("{}_input", name_of(map));
        let dtype = map.get("input_dtype").filter(|dtype| dtype.is_string()).cloned().unwrap_or(json!("float32"));
        self.layers.push(json!({
            "class_name": "InputLayer", "name": name, "inbound_nodes": [],
            "config": {"name": name, "batch_input_shape": shape, "dtype": dtype, "sparse": false},
        }));
        let end = json!([name, 0, 0]);
        self.inputs.push(end.clone());
        Ok(end)
    }

    fn call(&mut self, value: &Value, on: Vec<End>) -> Result<End, Diag> {
        let mut layer = self.upgrade.layer(value)?;
        let name = layer.get("config").and_then(|config| config.get("name")).and_then(Value::as_str);
        let name = name.ok_or_else(|| self.upgrade.malformed("a nameless layer behind a Merge"))?.to_owned();
        if let Some(map) = layer.as_object_mut() {
            map.insert("name".into(), json!(name));
            map.insert("inbound_nodes".into(), json!([on]));
        }
        self.layers.push(layer);
        Ok(json!([name, 0, 0]))
    }
}
