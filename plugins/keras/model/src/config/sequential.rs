//! Sequential: `{"name", "layers", "build_input_shape"?}`, up to Keras 2.2.2 the bare list of layers.

use super::{Build, functional::check_names};
use crate::json;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::model::{Arg, Call, InputDim, Layer, Model, ModelInput, ModelOutput, ValueRef};
use serde_json::Value;

impl Build<'_> {
    pub(super) fn sequential(&mut self, config: &Value, prefix: &str, shape: Option<&Value>) -> Result<Model, Diag> {
        let listed = config.get("layers").unwrap_or(config);
        let listed = json::array(listed, prefix, "the list of layers")?;
        let mut input: Option<ModelInput> = None;
        let mut layers: Vec<Layer> = Vec::with_capacity(listed.len());
        for (position, value) in listed.iter().enumerate() {
            let config = value.get("config").unwrap_or(&Value::Null);
            if value.get("class_name").and_then(Value::as_str) == Some("InputLayer") && position == 0 {
                let name = json::object(config, prefix, "an InputLayer's configuration")?;
                input = self.input(json::text(name, "name").unwrap_or("input"), config)?;
                continue;
            }
            let layer = self.layer(value, prefix)?;
            if layers.is_empty() && input.is_none() {
                input = self.input(&format!("{}_input", layer.name), config)?;
            }
            layers.push(layer);
        }
        check_names(self, prefix, layers.iter().map(|layer| layer.name.as_str()))?;
        let build_shape = config.get("build_input_shape").filter(|shape| !shape.is_null()).or(shape);
        let input = match input {
            Some(input) => input,
            None => self.first_input(prefix, &layers, build_shape)?,
        };
        let calls = self.chain(layers.len(), prefix)?;
        let name = config.get("name").and_then(Value::as_str).unwrap_or("sequential").to_owned();
        let last = layers.last().map_or(input.name.clone(), |layer| layer.name.clone());
        let value = calls.len().checked_sub(1).map(|last| last as u32);
        let output = ModelOutput { name: last, value: Some(ValueRef { call: value, index: 0 }) };
        Ok(Model { name, kind: "Sequential".into(), layers, calls, inputs: vec![input], outputs: vec![output] })
    }

    /// Each layer called once, on what the one before it gave.
    fn chain(&mut self, len: usize, prefix: &str) -> Result<Vec<Call>, Diag> {
        let mut calls = Vec::with_capacity(len);
        for number in 0..len as u32 {
            self.count_call(prefix)?;
            let arg = Arg::value(ValueRef { call: number.checked_sub(1), index: 0 });
            calls.push(Call { layer: number, args: vec![arg], kwargs: Vec::new() });
        }
        Ok(calls)
    }

    /// The input of a Sequential whose first layer does not bring its shape: that of a model inside, or the shape that
    /// the model was built with. A model that is never built alone may have none: its dtype is left empty.
    fn first_input(&self, prefix: &str, layers: &[Layer], shape: Option<&Value>) -> Result<ModelInput, Diag> {
        let Some(first) = layers.first() else {
            return Err(self.malformed(prefix, "a Sequential without layers or input"));
        };
        let name = format!("{}_input", first.name);
        if let Some([input]) = first.model.as_ref().map(|model| model.inputs.as_slice()) {
            return Ok(ModelInput { name, ..input.clone() });
        }
        let shape = shape.map(|shape| shape.get("items").unwrap_or(shape)).and_then(Value::as_array);
        let Some(shape) = shape else {
            return Ok(ModelInput { name, ..ModelInput::default() });
        };
        let dims = shape.iter().map(|dim| self.dim(&name, dim)).collect::<Result<Vec<InputDim>, _>>()?;
        Ok(ModelInput { name, dtype: "float32".into(), dims })
    }
}
