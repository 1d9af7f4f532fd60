//! Models: their layers in Keras' order, and how these call each other.
//!
//! Keras 3 writes a call as `{"args": [...], "kwargs": {...}}`; Keras 2 understands only its own lists, which Keras 3
//! still reads where the tensors are all in the first argument. For both, such calls are written the old way.

use super::functions::ARRAYS;
use super::layer::parsed;
use super::order::{Operation, insides, order, order_without_masks};
use super::values::object;
use super::{Dialect, Upgrade};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::model::{Arg, ArgKind, Call, Layer, Model, ModelInput, NamedArg, ValueRef};
use serde_json::{Map, Value, json};

/// Classes whose states Keras 2 appends to the list of inputs.
pub(super) const RECURRENT: &[&str] =
    &["Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "GRU", "LSTM", "RNN", "SimpleRNN"];

/// With which Keras 3's attention is called where a mask is not the one that comes with the tensor.
const OWN_MASKS: &[&str] = &["query_mask", "value_mask", "key_mask"];

/// Names for the tensors of one model.
struct Names<'m> {
    dialect: Dialect,
    model: &'m Model,
    /// Of each call: how many calls of its layer come before it.
    turns: Vec<u32>,
}

impl<'m> Names<'m> {
    fn of(model: &'m Model, dialect: Dialect) -> Names<'m> {
        let mut counts = vec![0u32; model.layers.len()];
        let mut turn = |call: &Call| {
            let Some(count) = counts.get_mut(call.layer as usize) else { return 0 };
            *count += 1;
            *count - 1
        };
        Names { dialect, model, turns: model.calls.iter().map(&mut turn).collect() }
    }

    fn layer(&self, value: &ValueRef) -> Option<&'m Layer> {
        let call = self.model.calls.get(value.call? as usize)?;
        self.model.layers.get(call.layer as usize)
    }

    fn is_functional(&self, value: &ValueRef) -> bool {
        self.layer(value).and_then(|layer| layer.model.as_ref()).is_some_and(|model| model.kind == "Functional")
    }

    /// (layer, call, output).
    fn history(&self, value: &ValueRef) -> Value {
        match (self.layer(value), value.call) {
            (Some(layer), Some(call)) => json!([layer.name, self.turns[call as usize], value.index]),
            _ => json!([self.model.inputs.get(value.index as usize).map_or("", |input| &input.name), 0, 0]),
        }
    }

    /// As `output_layers` counts: a Functional model counts its own making as its first call, in Keras 2 any model.
    fn end(&self, value: &ValueRef) -> Value {
        let mut history = self.history(value);
        let inside = self.layer(value).is_some_and(|layer| layer.model.is_some());
        if self.is_functional(value) || (inside && self.dialect.is_old()) {
            history[1] = json!(history[1].as_u64().unwrap_or(0) + 1);
        }
        history
    }

    fn tensor(&self, value: &ValueRef) -> Value {
        let input = value.call.is_none().then(|| self.model.inputs.get(value.index as usize)).flatten();
        // Keras asks for a shape and forgets it: it infers that of an output again.
        let (shape, dtype) = input.map_or((json!([]), "float32"), |input| (shape(input), input.dtype.as_str()));
        json!({
            "class_name": "__keras_tensor__",
            "config": {"shape": shape, "dtype": dtype, "keras_history": self.history(value)},
        })
    }

    fn arg(&self, arg: &Arg) -> Value {
        match &arg.kind {
            None => Value::Null,
            Some(ArgKind::Value(value)) => self.tensor(value),
            Some(ArgKind::Json(text)) => parsed(text),
            Some(ArgKind::List(list)) => list.items.iter().map(|item| self.arg(item)).collect(),
            Some(ArgKind::Dict(dict)) => self.named(&dict.items),
        }
    }

    fn named(&self, args: &[NamedArg]) -> Value {
        let value = |named: &NamedArg| named.arg.as_ref().map_or(Value::Null, |arg| self.arg(arg));
        Value::Object(args.iter().map(|named| (named.name.clone(), value(named))).collect())
    }

    /// The call as Keras 2 writes it; none where that has no words for it.
    fn legacy(&self, layer: &Layer, args: &[Arg], kwargs: &[NamedArg]) -> Option<Value> {
        let [first] = args else { return None };
        // A function takes what it is given: one tensor is no list of one, and a number is a tensor to it.
        let function = layer.class.starts_with("tf.");
        let one;
        let items = match &first.kind {
            Some(ArgKind::Value(_)) => {
                one = [first.clone()];
                &one[..]
            }
            Some(ArgKind::List(list)) if list.items.len() > 1 || (function && !list.items.is_empty()) => &list.items,
            Some(ArgKind::Json(_)) if function => {
                one = [first.clone()];
                &one[..]
            }
            _ => return None,
        };
        let mut options = Map::new();
        for named in kwargs {
            let value = match named.arg.as_ref().and_then(|arg| arg.kind.as_ref())? {
                ArgKind::Json(text) => parsed(text),
                // Keras 3 takes such a reference for a list of numbers.
                _ if self.dialect.is_old() => self.legacy_value(named.arg.as_ref()?)?,
                _ => return None,
            };
            options.insert(named.name.clone(), value);
        }
        let leaf = |item: &Arg| self.leaf(item, &options, function);
        match (&first.kind, function) {
            (Some(ArgKind::Value(_) | ArgKind::Json(_)), true) => leaf(first),
            _ => items.iter().map(leaf).collect(),
        }
    }
}

impl Names<'_> {
    /// A tensor among the inputs of a call of Keras 2, or a list of them, as a stack of cells has its states.
    fn leaf(&self, item: &Arg, options: &Map<String, Value>, function: bool) -> Option<Value> {
        match &item.kind {
            Some(ArgKind::Value(value)) if self.dialect.is_old() || !self.is_functional(value) => {
                let mut leaf = if self.dialect.is_old() { self.end(value) } else { self.history(value) };
                leaf.as_array_mut()?.push(Value::Object(options.clone()));
                Some(leaf)
            }
            Some(ArgKind::Json(text)) if function => Some(json!(["_CONSTANT_VALUE", -1, parsed(text), options])),
            Some(ArgKind::List(list)) if self.dialect.is_old() && !function => {
                list.items.iter().map(|item| self.leaf(item, options, function)).collect()
            }
            _ => None,
        }
    }

    /// A tensor, or a list of them, among the keywords of a call of Keras 2.
    fn legacy_value(&self, arg: &Arg) -> Option<Value> {
        match arg.kind.as_ref()? {
            ArgKind::Value(value) => Some(self.end(value)),
            ArgKind::Json(text) => Some(parsed(text)),
            ArgKind::List(list) => list.items.iter().map(|item| self.legacy_value(item)).collect(),
            ArgKind::Dict(_) => None,
        }
    }
}

fn shape(input: &ModelInput) -> Value {
    input.dims.iter().map(|dim| dim.size.map_or(Value::Null, |size| json!(size))).collect()
}

impl Upgrade<'_> {
    /// `outline` is what the model's own configuration says beside its layers.
    pub(super) fn model(&mut self, model: &Model, outline: &Value, root: bool) -> Value {
        let trainable = outline.get("trainable").and_then(Value::as_bool).unwrap_or(true);
        let mut config = Map::new();
        config.insert("name".into(), json!(model.name));
        config.insert("trainable".into(), json!(trainable));
        let sequential = model.kind == "Sequential";
        if sequential {
            self.sequential(model, root, &mut config);
        } else {
            self.functional(model, root, &mut config);
        }
        match (self.plain(), sequential) {
            (true, _) => json!({"class_name": model.kind, "config": config}),
            (false, true) => object("keras", "Sequential", Value::Object(config)),
            (false, false) => json!({
                "module": "keras.src.models.functional", "class_name": "Functional", "config": config,
                "registered_name": "Functional",
            }),
        }
    }

    fn sequential(&mut self, model: &Model, root: bool, config: &mut Map<String, Value>) {
        let mut layers = Vec::with_capacity(model.layers.len() + 1);
        // Keras 2 counts the calls of a model inside from another number when the model brings its input.
        let input =
            model.inputs.first().filter(|input| !input.dtype.is_empty() && (root || self.dialect != Dialect::Both));
        if let Some(input) = input {
            layers.push(self.input(input));
            config.insert("build_input_shape".into(), shape(input));
        }
        layers.extend(model.layers.iter().map(|layer| self.entry(layer)));
        config.insert("layers".into(), Value::Array(layers));
    }

    fn input(&self, input: &ModelInput) -> Value {
        // tf.keras 2 does not know the newer key, and does not load the file.
        let shape_key = if self.plain() && !self.closed { "batch_input_shape" } else { "batch_shape" };
        let mut config = json!({
            shape_key: shape(input), "dtype": input.dtype, "sparse": false, "name": input.name,
        });
        if self.plain() {
            config["ragged"] = json!(false);
            return json!({"class_name": "InputLayer", "config": config});
        }
        object("keras.layers", "InputLayer", config)
    }

    fn functional(&mut self, model: &Model, root: bool, config: &mut Map<String, Value>) {
        let names = Names::of(model, self.dialect);
        let mut calls: Vec<Vec<Value>> = vec![Vec::new(); model.layers.len()];
        for call in &model.calls {
            let Some(layer) = model.layers.get(call.layer as usize) else { continue };
            let written = self.call(&names, layer, call);
            calls[call.layer as usize].push(written);
        }
        let mut layers = Vec::with_capacity(model.layers.len() + model.inputs.len());
        let sorted = if self.dialect.is_old() { order_without_masks(model) } else { order(model) };
        for operation in sorted {
            let (mut entry, name, nodes) = match operation {
                Operation::Input(input) => (self.input(&model.inputs[input]), &model.inputs[input].name, Vec::new()),
                Operation::Layer(layer) => {
                    let nodes = std::mem::take(&mut calls[layer]);
                    (self.entry(&model.layers[layer]), &model.layers[layer].name, nodes)
                }
            };
            entry["name"] = json!(name);
            entry["inbound_nodes"] = Value::Array(nodes);
            layers.push(entry);
        }
        config.insert("layers".into(), Value::Array(layers));
        let starts: Vec<Value> = model.inputs.iter().map(|input| json!([input.name, 0, 0])).collect();
        let ends = model.outputs.iter().filter_map(|output| output.value.as_ref());
        let ends: Vec<Value> = ends.map(|value| names.end(value)).collect();
        config.insert("input_layers".into(), ends_of(starts, !self.plain()));
        // A list of one makes Keras 3 give a list of one, in which TimeDistributed does not find its layer's shape.
        let single = !self.plain() || (!root && self.dialect == Dialect::Both);
        config.insert("output_layers".into(), ends_of(ends, single));
    }

    fn call(&mut self, names: &Names<'_>, layer: &Layer, call: &Call) -> Value {
        let (args, kwargs) = self.arguments(layer, call);
        if self.plain()
            && let Some(legacy) = names.legacy(layer, &args, &kwargs)
        {
            return legacy;
        }
        // An operation of Keras 3 is refused as such: how it is called is no second finding.
        if self.dialect.is_old() && !layer.class.starts_with("ops.") {
            let detail = "called in a way that Keras 2 has no words for";
            let hint = "other targets (keras, onnx) may keep what it computes";
            self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail).hint(hint));
        }
        if !layer.class.starts_with("ops.") {
            self.needs_newer(&layer.path, "it is called with other tensors than its inputs, or with those of a model");
        }
        let lost = if self.dialect == Dialect::Both { args.iter().find_map(lost_in_h5) } else { None };
        if let Some(what) = lost {
            let detail = format!("{what}: Keras 3 does not read it from an .h5");
            let hint = "the target `keras` writes it as a .keras file";
            self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail).hint(hint));
        }
        let args: Vec<Value> = args.iter().map(|arg| names.arg(arg)).collect();
        json!({"args": args, "kwargs": names.named(&kwargs)})
    }

    /// The arguments of a call in Keras 3's places.
    fn arguments(&mut self, layer: &Layer, call: &Call) -> (Vec<Arg>, Vec<NamedArg>) {
        let (mut args, mut kwargs) = (call.args.clone(), call.kwargs.clone());
        if self.major < 3 || self.dialect.is_old() {
            // Both list arguments that were not given; not all of them are ones to the other.
            kwargs.retain(|named| *named != NamedArg { name: named.name.clone(), arg: Some(Arg::json(&Value::Null)) });
        }
        if self.major >= 3 && self.dialect != Dialect::Keras3 {
            // How Keras 3 traced the call, which each later call of the model says anew. To Keras 2 it is for good.
            kwargs.retain(|named| named.name != "training");
        }
        if layer.class.starts_with("ops.") {
            return (args, kwargs);
        }
        if self.major < 3 && !self.dialect.is_old() && kwargs.iter().any(trains) && normalizes(layer) {
            let detail = "called with training=True: Keras 2 takes the batch's own statistics, Keras 3 the moving ones";
            let finding = Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail);
            self.findings.push(finding.hint("the target `keras2`, and others (onnx), keep what it computes"));
        }
        let unknown = |named: &&NamedArg| {
            OWN_MASKS.contains(&named.name.as_str()) && named.arg.as_ref().is_some_and(holds_tensor)
        };
        if layer.class == "MultiHeadAttention"
            && self.dialect.is_old()
            && let Some(named) = kwargs.iter().find(unknown)
        {
            let detail = format!("called with a `{}`, which Keras 2's MultiHeadAttention does not have", named.name);
            self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail));
        }
        if layer.model.is_some() {
            args.iter_mut().for_each(flatten);
            // No mask on any input, which is said of each.
            kwargs.retain(|named| named.name != "mask" || named.arg.as_ref().is_some_and(holds_tensor));
            kwargs.iter_mut().filter_map(|named| named.arg.as_mut()).for_each(flatten);
        }
        if RECURRENT.contains(&layer.class.as_str()) && !self.dialect.is_old() {
            self.states(layer, &mut args, &mut kwargs);
        }
        let config = parsed(&layer.config);
        if config.get("causal") == Some(&json!(true)) && layer.class.ends_with("Attention") {
            kwargs.push(NamedArg { name: "use_causal_mask".into(), arg: Some(Arg::json(&json!(true))) });
        }
        (args, kwargs)
    }

    /// `[x, state, state]` becomes `x, initial_state=[state, state]`.
    fn states(&mut self, layer: &Layer, args: &mut [Arg], kwargs: &mut Vec<NamedArg>) {
        let Some(first) = args.first_mut() else { return };
        let Some(ArgKind::List(list)) = first.kind.as_mut().filter(|_| self.major < 3) else { return };
        let constants = parsed(&layer.config).get("num_constants").and_then(Value::as_u64).unwrap_or(0);
        if constants > 0 {
            let detail = "constants of a recurrent layer: Keras 3 has no such argument";
            self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail));
        }
        if list.items.is_empty() {
            return;
        }
        let states = list.items.split_off(1);
        let x = list.items.remove(0);
        if !states.is_empty() {
            kwargs.push(NamedArg { name: "initial_state".into(), arg: Some(Arg::list(states)) });
        }
        *first = x;
    }
}

/// Has it statistics of batches, by itself or inside?
fn normalizes(layer: &Layer) -> bool {
    layer.class == "BatchNormalization" || insides(layer).any(normalizes)
}

/// `training=True`, or what Keras 1 and 2 take for it.
fn trains(named: &NamedArg) -> bool {
    let Some(ArgKind::Json(text)) = named.arg.as_ref().and_then(|arg| arg.kind.as_ref()) else { return false };
    named.name == "training" && !matches!(text.as_str(), "null" | "false" | "0" | "0.0")
}

/// One input or output is a tensor to Keras 3, more of them a list. Keras 2 always writes lists, and reads both.
fn ends_of(mut ends: Vec<Value>, single: bool) -> Value {
    match ends.len() {
        1 if single => ends.remove(0),
        _ => Value::Array(ends),
    }
}

/// A dictionary of tensors as the list that Keras makes of it, in the order of its keys: the inputs of a model inside
/// are written as a list, too, and a single one as itself.
fn flatten(arg: &mut Arg) {
    if let Some(ArgKind::Dict(dict)) = arg.kind.as_mut() {
        let items = std::mem::take(&mut dict.items).into_iter().filter_map(|named| named.arg).collect();
        *arg = Arg::list(items);
    }
    if let Some(ArgKind::List(list)) = arg.kind.as_mut()
        && list.items.len() == 1
    {
        *arg = list.items.remove(0);
    }
}

/// What an argument holds that Keras 3 writes into an .h5, too.
fn lost_in_h5(arg: &Arg) -> Option<&'static str> {
    match &arg.kind {
        Some(ArgKind::Json(text)) if text.contains("\"__ellipsis__\"") => {
            Some("an Ellipsis between brackets (`x[..., 0]`)")
        }
        Some(ArgKind::Json(text)) if ARRAYS.iter().any(|class| text.contains(class)) => {
            Some("an array of numbers among the operands")
        }
        Some(ArgKind::List(list)) => list.items.iter().find_map(lost_in_h5),
        _ => None,
    }
}

fn holds_tensor(arg: &Arg) -> bool {
    arg.leaves().iter().any(Option::is_some)
}
