//! What TensorFlow.js makes of the layers of Keras 2: tfjs-layers 4.22, seen in its CPU backend. It has fewer classes,
//! ignores options without a word, and lets a mask reach layers that have none. What it would refuse to load, or would
//! compute otherwise, is written in other words or refused.

use super::calls::RECURRENT;
use super::classes;
use super::layer::parsed;
use super::masks::{Habit, gives_sequence, habit};
use super::order::values;
use super::prepare::set;
use super::values::function;
use super::{Home, Typed};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::model::{Arg, ArgKind, Call, Layer, Model, ModelInput, NamedArg, ValueRef};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};

/// One class: the options that have an effect there in these values only, and the ranks it takes (any, if none).
struct Row {
    class: &'static str,
    only: &'static [(&'static str, &'static [&'static str])],
    ranks: &'static [usize],
}

const fn row(class: &'static str, only: &'static [(&'static str, &'static [&'static str])]) -> Row {
    Row { class, only, ranks: &[] }
}

const fn of_ranks(mut row: Row, ranks: &'static [usize]) -> Row {
    row.ranks = ranks;
    row
}

const CHANNELS_LAST: (&str, &[&str]) = ("data_format", &["channels_last"]);
const NO_DILATION: (&str, &[&str]) = ("dilation_rate", &["1"]);
const NO_GROUPS: (&str, &[&str]) = ("groups", &["1"]);
const NO_KEEPDIMS: (&str, &[&str]) = ("keepdims", &["false"]);
const BATCH_FIRST: (&str, &[&str]) = ("time_major", &["false"]);
const RESET_BEFORE: (&str, &[&str]) = ("reset_after", &["false"]);
const TRANSPOSED: &[(&str, &[&str])] = &[NO_DILATION, ("output_padding", &[])];

/// Sorted by class.
const ROWS: &[Row] = &[
    row("Activation", &[]),
    row("Add", &[]),
    row("AlphaDropout", &[]),
    row("Average", &[]),
    of_ranks(row("AveragePooling1D", &[CHANNELS_LAST]), &[3]),
    of_ranks(row("AveragePooling2D", &[]), &[4]),
    of_ranks(row("AveragePooling3D", &[]), &[5]),
    of_ranks(row("BatchNormalization", &[]), &[2, 3, 4]),
    row("Bidirectional", &[("backward_layer", &[])]),
    row("Concatenate", &[]),
    of_ranks(row("Conv1D", &[CHANNELS_LAST, NO_GROUPS, ("padding", &["valid", "same"])]), &[3]),
    of_ranks(row("Conv2D", &[NO_GROUPS]), &[4]),
    of_ranks(row("Conv2DTranspose", TRANSPOSED), &[4]),
    of_ranks(row("Conv3D", &[NO_GROUPS]), &[5]),
    of_ranks(row("Conv3DTranspose", TRANSPOSED), &[5]),
    row("ConvLSTM2D", &[]),
    row("Cropping2D", &[]),
    row("Dense", &[]),
    of_ranks(row("DepthwiseConv2D", &[NO_DILATION]), &[4]),
    of_ranks(row("Dot", &[]), &[2, 3]),
    row("Dropout", &[]),
    row("ELU", &[("alpha", &["1"])]),
    row("Embedding", &[]),
    row("Flatten", &[]),
    row("GRU", &[RESET_BEFORE, BATCH_FIRST]),
    row("GRUCell", &[RESET_BEFORE]),
    row("GaussianDropout", &[]),
    row("GaussianNoise", &[]),
    row("GlobalAveragePooling1D", &[CHANNELS_LAST, NO_KEEPDIMS]),
    row("GlobalAveragePooling2D", &[NO_KEEPDIMS]),
    row("GlobalMaxPooling1D", &[CHANNELS_LAST, NO_KEEPDIMS]),
    row("GlobalMaxPooling2D", &[NO_KEEPDIMS]),
    row("LSTM", &[BATCH_FIRST]),
    row("LSTMCell", &[]),
    of_ranks(row("LayerNormalization", &[]), &[2, 3, 4]),
    row("LeakyReLU", &[]),
    row("Masking", &[]),
    of_ranks(row("MaxPooling1D", &[CHANNELS_LAST]), &[3]),
    of_ranks(row("MaxPooling2D", &[]), &[4]),
    of_ranks(row("MaxPooling3D", &[]), &[5]),
    row("Maximum", &[]),
    row("Minimum", &[]),
    row("Multiply", &[]),
    row("PReLU", &[]),
    row("Permute", &[]),
    row("RNN", &[BATCH_FIRST]),
    row("ReLU", &[("negative_slope", &["0"]), ("threshold", &["0"])]),
    row("RepeatVector", &[]),
    row("Rescaling", &[]),
    row("Reshape", &[]),
    of_ranks(row("SeparableConv2D", &[CHANNELS_LAST]), &[4]),
    row("SimpleRNN", &[BATCH_FIRST]),
    row("SimpleRNNCell", &[]),
    row("Softmax", &[]),
    row("SpatialDropout1D", &[]),
    row("StackedRNNCells", &[]),
    row("ThresholdedReLU", &[]),
    row("TimeDistributed", &[]),
    of_ranks(row("UpSampling2D", &[("interpolation", &["nearest"])]), &[4]),
    of_ranks(row("ZeroPadding2D", &[]), &[4]),
];

/// Classes that it has, and that nobody can use.
const BROKEN: &[(&str, &str)] = &[
    ("CategoryEncoding", "overwrites the shape of its input"),
    ("CenterCrop", "overwrites the shape of its input"),
    ("Resizing", "does not run"),
];

const ACTIVATIONS: &[&str] = &[
    "elu",
    "gelu",
    "gelu_new",
    "hard_sigmoid",
    "linear",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
];

/// Functions by their names there.
const RENAMED: &[(&str, &str)] = &[("silu", "swish")];

/// Classes that it does not have, or that are random in it at inference, and that hand on what they are given: a linear
/// Activation does the same.
const NOTHING: &[&str] = &[
    "ActivityRegularization",
    "Identity",
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomHeight",
    "RandomRotation",
    "RandomTranslation",
    "RandomWidth",
    "RandomZoom",
    "SpatialDropout2D",
    "SpatialDropout3D",
];

/// They hand on a mask in Keras and there.
const PASSES: &[&str] = &[
    "Activation",
    "AlphaDropout",
    "BatchNormalization",
    "Dense",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "LayerNormalization",
    "PReLU",
    "ReLU",
    "SpatialDropout1D",
    "TimeDistributed",
];

const CELLS: &[&str] = &["GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"];

/// They make floats of whole numbers there, too.
const OF_WHOLE_NUMBERS: &[&str] = &["Embedding", "Rescaling", "TimeDistributed"];

/// Input types that it takes; it computes all floats as float32.
const TYPES: &[&str] = &["", "bfloat16", "bool", "float16", "float32", "float64", "int32"];

// --- in its words ---------------------------------------------------------------------------------------------------

/// A layer in words that it has, where the class or option that it lacks has a twin. `typed` says what comes in.
pub(super) fn reword(layer: &mut Layer, typed: &Typed, notes: &mut Vec<Diag>) {
    if NOTHING.contains(&layer.class.as_str()) && layer.weights.is_empty() {
        let detail = format!(
            "{} became the linear Activation that it is at inference, for which TensorFlow.js has a class",
            layer.class
        );
        notes.push(Diag::new(Code::TrainingDropped, layer.path.as_str(), detail).note());
        let config = parsed(&layer.config);
        let mut plain = json!({"name": layer.name, "activation": "linear"});
        for key in ["trainable", "dtype"] {
            if let Some(value) = config.get(key) {
                plain[key] = value.clone();
            }
        }
        layer.class = "Activation".into();
        layer.config = plain.to_string();
    }
    let config = parsed(&layer.config);
    for key in ["activation", "recurrent_activation"] {
        let renamed = RENAMED.iter().find(|(name, _)| config.get(key).and_then(function) == Some(name));
        renamed.into_iter().for_each(|(_, name)| set(layer, key, Value::from(*name)));
    }
    if layer.class == "Bidirectional" && mirrors(&config) {
        set(layer, "backward_layer", Value::Null);
    }
    let input = typed.takes(&layer.path).first();
    // It takes every negative axis for the last one.
    let axis = config.get("axis").and_then(Value::as_i64).filter(|axis| *axis < -1);
    if let ("Concatenate", Some(axis), Some(input)) = (layer.class.as_str(), axis, input) {
        set(layer, "axis", Value::from(axis + input.rank() as i64));
    }
    // Its Flatten wants three axes whose sizes are known. What is flat already is no operation, and takes nothing.
    let flat = input.is_none_or(|input| input.rank() == 2);
    let free = input.is_some_and(|input| input.shape.iter().skip(1).any(|size| size.known().is_none()));
    let last = config.get("data_format") != Some(&json!("channels_first"));
    if layer.class == "Flatten" && (flat || free && last) {
        layer.class = "Reshape".into();
        let dtype = config.get("dtype").cloned().unwrap_or_default();
        layer.config = json!({"name": layer.name, "dtype": dtype, "target_shape": [-1]}).to_string();
    }
}

/// Is the backward layer, which Keras 3 always writes, what anybody would make of the forward one?
fn mirrors(config: &Value) -> bool {
    let options = |key: &str| config.get(key)?.get("config")?.as_object().cloned();
    let (Some(mut forward), Some(mut backward)) = (options("layer"), options("backward_layer")) else { return false };
    let turned = |options: &Map<String, Value>| options.get("go_backwards") == Some(&json!(true));
    let class = |key: &str| config.get(key).and_then(|layer| layer.get("class_name")).cloned();
    let opposite = turned(&forward) != turned(&backward);
    // Initializers are objects of their own, with seeds and numbers of their own.
    let computes = |key: &str| !matches!(key, "name" | "go_backwards") && !key.ends_with("_initializer");
    forward.retain(|key, _| computes(key));
    backward.retain(|key, _| computes(key));
    opposite && class("layer") == class("backward_layer") && forward == backward
}

/// Says once, of the first layer that computes in half precision, that nothing does there.
pub(super) fn widened(root: &Model) -> Option<Diag> {
    let mut inner = root.layers.iter().filter_map(|layer| layer.model.as_ref());
    let half =
        |layer: &&Layer| parsed(&layer.config).get("dtype").is_some_and(|dtype| dtype.to_string().contains("float16"));
    let first = root.layers.iter().find(half).map(|layer| {
        let detail = "half precision is computed in float32, which is all that TensorFlow.js has";
        Diag::new(Code::Precision, layer.path.as_str(), detail)
    });
    first.or_else(|| inner.find_map(widened))
}

/// `initial_state=[state, ..]` as `[x, state, ..]`: it finds no tensors among keywords.
pub(super) fn list_states(class: &str, call: &mut Call) {
    if !RECURRENT.contains(&class) {
        return;
    }
    let named = call.kwargs.iter().position(|named| named.name == "initial_state");
    let states = match named {
        Some(at) => call.kwargs.remove(at).arg,
        None if call.args.len() == 2 => call.args.pop(),
        None => None,
    };
    let items = match states.and_then(|states| states.kind) {
        Some(ArgKind::List(list)) => list.items,
        Some(state @ ArgKind::Value(_)) => vec![Arg { kind: Some(state) }],
        _ => return,
    };
    let Some(x) = call.args.first_mut() else { return };
    *x = Arg::list(std::iter::once(x.clone()).chain(items).collect());
}

/// How it scopes the weights of a layer inside another, whose own scope is `base`.
pub fn scope(outer: &Layer, base: &str, attribute: &str) -> String {
    let config = parsed(&outer.config);
    let named = || config.get("layer")?.get("config")?.get("name")?.as_str();
    match attribute {
        "forward_layer" => format!("{base}/forward_{}", named().unwrap_or_default()),
        "backward_layer" => format!("{base}/backward_{}", named().unwrap_or_default()),
        _ => match attribute.strip_prefix("cells/") {
            Some(number) => format!("{base}/RNNCell_{number}"),
            None => base.to_owned(),
        },
    }
}

/// Does it keep weights under the name of this layer? Those of a model inside are under the names of its layers.
pub(super) fn names_weights(layer: &Layer) -> bool {
    layer.model.is_none()
        && (!layer.weights.is_empty() || layer.children.iter().filter_map(|c| c.layer.as_ref()).any(names_weights))
}

// --- what it lacks --------------------------------------------------------------------------------------------------

/// Everything that it would not load, or compute otherwise.
pub(super) fn refused(root: &Model, typed: &Typed) -> Findings {
    let mut findings = Findings::new();
    let masked = makes_masks(root);
    findings.extend(root.inputs.iter().filter_map(refused_input));
    within(root, typed, masked, &mut findings);
    let mut given = HashSet::new();
    let of = |value: &ValueRef| (value.call, value.index);
    for output in root.outputs.iter().filter(|output| !given.insert(output.value.as_ref().map(of))) {
        let detail = "the same tensor is an output twice, which TensorFlow.js does not compute";
        findings.push(Diag::new(Code::UnsupportedLayer, output.name.as_str(), detail));
    }
    findings
}

fn refused_input(input: &ModelInput) -> Option<Diag> {
    let detail = if !TYPES.contains(&input.dtype.as_str()) {
        format!("an input of {}: TensorFlow.js has float32, int32 and bool", input.dtype)
    } else if input.dims.len() == 1 {
        "an input of one axis, the batch: TensorFlow.js adds another".to_owned()
    } else {
        return None;
    };
    Some(Diag::new(Code::UnsupportedType, input.name.as_str(), detail))
}

fn makes_masks(model: &Model) -> bool {
    let makes = |layer: &Layer| matches!(habit(layer), Habit::Makes) || layer.model.as_ref().is_some_and(makes_masks);
    model.layers.iter().any(makes)
}

fn finding(layer: &Layer, why: String) -> Diag {
    Diag::new(Code::UnsupportedLayer, layer.path.as_str(), why)
        .hint("other targets (onnx, savedmodel, keras) keep what it computes")
}

fn within(model: &Model, typed: &Typed, masked: bool, findings: &mut Findings) {
    let mut calls: Vec<Option<String>> = vec![None; model.layers.len()];
    for call in &model.calls {
        let Some(layer) = model.layers.get(call.layer as usize) else { continue };
        calls[call.layer as usize] = calls[call.layer as usize].take().or_else(|| refused_call(layer, call));
    }
    for (layer, called) in model.layers.iter().zip(calls) {
        let mut whys = inside(layer, typed);
        whys.extend(called);
        if CELLS.contains(&layer.class.as_str()) {
            whys.push("TensorFlow.js calls a cell only inside of an RNN".to_owned());
        }
        findings.extend(whys.into_iter().map(|why| finding(layer, why)));
        if let Some(inner) = &layer.model {
            within(inner, typed, masked, findings);
        }
    }
    if masked {
        findings.extend(refused_masks(model, &|_| true));
    }
}

/// Of a layer, and of those that it wraps.
fn inside(layer: &Layer, typed: &Typed) -> Vec<String> {
    let mut whys = refused_layer(layer, typed);
    for inner in layer.children.iter().filter_map(|child| child.layer.as_ref()) {
        whys.extend(inside(inner, typed));
        if let Some(model) = inner.model.as_ref().filter(|_| layer.class == "TimeDistributed") {
            whys.extend(model.layers.iter().flat_map(|layer| inside(layer, typed)));
        }
    }
    // Both directions of a Bidirectional say the same.
    let mut said = HashSet::new();
    whys.retain(|why| said.insert(why.clone()));
    whys
}

fn refused_layer(layer: &Layer, typed: &Typed) -> Vec<String> {
    let class = layer.class.as_str();
    let Ok(at) = ROWS.binary_search_by(|row| row.class.cmp(class)) else {
        // What Keras 2 does not have is said elsewhere; a class of the user's own is registered there.
        let known = layer.model.is_none() && classes::find(class).is_some_and(|row| row.home != Home::Only3);
        let broken = BROKEN.iter().find(|(broken, _)| *broken == class);
        let why =
            broken.map_or(format!("TensorFlow.js has no {class}"), |(_, why)| format!("TensorFlow.js's {class} {why}"));
        return if known { vec![why] } else { Vec::new() };
    };
    let row = &ROWS[at];
    let config = parsed(&layer.config);
    let takes = typed.takes(&layer.path);
    let mut whys = Vec::new();
    for (key, allowed) in row.only {
        let value = config.get(*key).unwrap_or(&Value::Null);
        if !all_of(value, allowed) {
            let own = value.get("class_name").and_then(Value::as_str).map(|class| format!("its own, a {class}"));
            whys.push(format!(
                "TensorFlow.js's {class} has no `{key}` of {}",
                own.unwrap_or_else(|| value.to_string())
            ));
        }
    }
    for key in ["activation", "recurrent_activation"] {
        let value = config.get(key).unwrap_or(&Value::Null);
        let known = value.is_null() || function(value).is_some_and(|name| ACTIVATIONS.contains(&name));
        if !known {
            let name = function(value).or(value.get("class_name").and_then(Value::as_str)).unwrap_or("object");
            whys.push(format!("TensorFlow.js has no activation function `{name}`"));
        }
    }
    let mut ranks = takes.iter().map(|ty| ty.rank());
    let rank = ranks.clone().next();
    if let Some(rank) = ranks.find(|rank| !row.ranks.is_empty() && !row.ranks.contains(rank)) {
        whys.push(format!("TensorFlow.js's {class} takes no tensors of {rank} axes"));
    }
    let axis = match config.get("axis") {
        Some(Value::Array(axes)) if axes.len() == 1 => axes[0].as_i64(),
        axis => axis.and_then(Value::as_i64),
    };
    let last = |axis: i64| axis == -1 || rank.is_some_and(|rank| axis + 1 == rank as i64);
    if matches!(class, "BatchNormalization" | "Softmax") && !axis.is_none_or(last) {
        whys.push(format!("TensorFlow.js's {class} takes the last axis alone"));
    }
    let gives_floats = typed.gives(&layer.path).iter().any(|ty| ty.dtype.is_float());
    let whole = takes.iter().all(|ty| !ty.dtype.is_float()) && !takes.is_empty() && gives_floats;
    if whole && !OF_WHOLE_NUMBERS.contains(&class) {
        whys.push(format!("TensorFlow.js's {class} gives whole numbers of whole numbers, where Keras gives floats"));
    }
    let same = config.get("padding") == Some(&json!("same"));
    if class == "Conv3DTranspose" && same && skips(&config) {
        whys.push("TensorFlow.js's Conv3DTranspose with `same` padding takes no strides wider than its kernel".into());
    }
    whys
}

/// Is a stride wider than the kernel?
fn skips(config: &Value) -> bool {
    let sizes = |key: &str| config.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let pairs = sizes("strides").into_iter().zip(sizes("kernel_size"));
    pairs.into_iter().any(|(stride, size)| stride.as_u64() > size.as_u64())
}

fn flag(layer: &Layer, key: &str) -> bool {
    parsed(&layer.config).get(key) == Some(&json!(true))
}

/// Is it one of these, or all of it? What is left out is always right.
fn all_of(value: &Value, allowed: &[&str]) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().all(|item| all_of(item, allowed)),
        Value::String(text) => allowed.contains(&text.as_str()),
        Value::Number(number) => allowed.iter().any(|word| word.parse().ok() == number.as_f64()),
        other => allowed.contains(&other.to_string().as_str()),
    }
}

fn refused_call(layer: &Layer, call: &Call) -> Option<String> {
    let listed = |arg: &Arg| matches!(&arg.kind, Some(ArgKind::List(list)) if list.items.len() > 1);
    if layer.class == "ConvLSTM2D" && call.args.first().is_some_and(listed) {
        return Some("TensorFlow.js's ConvLSTM2D takes no initial state".to_owned());
    }
    let given = |named: &NamedArg| named.arg.as_ref().is_some_and(|arg| *arg != Arg::json(&Value::Null));
    let named = call.kwargs.iter().find(|named| given(named))?;
    let off = named.arg.as_ref() == Some(&Arg::json(&json!(false)));
    match named.name.as_str() {
        "training" if off => None,
        name => Some(format!("TensorFlow.js is told no `{name}` when it calls a {}", layer.class)),
    }
}

// --- masks ----------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq)]
enum Mask {
    None,
    Known,
    /// Keras hands it on, TensorFlow.js does not.
    Lost,
}

/// It is what TensorFlow.js itself does: a model that was made there computes so.
const LEFT_OVER: &str = "gives a layer without a mask the last one that any other layer had";

/// Of a model that masks something somewhere, made in TensorFlow.js or to be run there.
fn refused_masks(model: &Model, whys: &dyn Fn(&str) -> bool) -> Findings {
    let mut findings = Findings::new();
    let mut on: HashMap<(u32, u32), Mask> = HashMap::new();
    for (number, call) in model.calls.iter().enumerate() {
        let Some(layer) = model.layers.get(call.layer as usize) else { continue };
        let mut masks = Vec::new();
        let mask = |value: &ValueRef| value.call.and_then(|call| on.get(&(call, value.index)).copied());
        call.args.iter().for_each(|arg| values(arg, &mut |value| masks.push(mask(value).unwrap_or(Mask::None))));
        let (why, out) = step(layer, &masks);
        let why = why.filter(|why| whys(why)).map(|why| finding(layer, format!("TensorFlow.js {why}")));
        findings.extend(why);
        on.insert((number as u32, 0), out);
        if layer.class == "Bidirectional" {
            on.insert((number as u32, 1), out);
        }
    }
    findings
}

/// Layers of a model made in TensorFlow.js to which it gives the mask of another layer.
pub fn left_over(model: &Model) -> Findings {
    let inner = model.layers.iter().filter_map(|layer| layer.model.as_ref());
    let mut findings: Findings = inner.flat_map(left_over).collect();
    if makes_masks(model) {
        findings.extend(refused_masks(model, &|why| why == LEFT_OVER));
    }
    findings
}

/// What TensorFlow.js makes otherwise of the masks on a layer's inputs, and the mask on its first output.
fn step(layer: &Layer, masks: &[Mask]) -> (Option<&'static str>, Mask) {
    let class = layer.class.as_str();
    let first = masks.first().copied().unwrap_or(Mask::None);
    let masked = masks.iter().any(|mask| *mask != Mask::None);
    let uses = |layer: &Layer| RECURRENT.contains(&layer.class.as_str()) || layer.class == "Softmax";
    if layer.model.is_some() {
        return (masked.then_some("gives a model inside no mask as Keras does"), Mask::None);
    }
    if RECURRENT.contains(&class) {
        let sequences = gives_sequence(layer);
        let why = match first {
            Mask::None => Some(LEFT_OVER),
            Mask::Lost => Some("does not hand on the mask that it has in Keras"),
            Mask::Known if class == "ConvLSTM2D" => Some("takes the mask of images otherwise"),
            Mask::Known if masks.len() > 1 => {
                Some("gives the initial state where the first steps are masked, and Keras gives zeros")
            }
            Mask::Known if class == "Bidirectional" && sequences || flag(layer, "zero_output_for_mask") => {
                Some("repeats states where steps are masked, and Keras gives zeros")
            }
            Mask::Known => None,
        };
        return (why, if sequences { first } else { Mask::None });
    }
    if uses(layer) || class == "TimeDistributed" && layer.child("layer").is_some_and(uses) {
        return (Some(LEFT_OVER), Mask::None);
    }
    match habit(layer) {
        Habit::Makes => (None, Mask::Known),
        Habit::Merges | Habit::Concatenates => (masked.then_some("joins no masks as Keras does"), Mask::None),
        Habit::Ends => ((first != Mask::None).then_some("leaves the mask out of it"), Mask::None),
        Habit::Passes | Habit::Takes if PASSES.contains(&class) => (None, first),
        Habit::Passes | Habit::Takes if first != Mask::None => (None, Mask::Lost),
        _ => (None, Mask::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(ROWS.is_sorted_by_key(|row| row.class), "it is searched by class");
    }

    /// (class, configuration, part of why it is refused): seen in tfjs-layers 4.22.
    const CASES: &[(&str, &str, &str)] = &[
        ("Conv1D", r#"{"padding": "causal"}"#, "`padding` of \"causal\""),
        ("Conv1D", r#"{"padding": "same", "dilation_rate": [2], "groups": 1}"#, ""),
        ("Conv2D", r#"{"groups": 2, "data_format": "channels_first"}"#, "`groups` of 2"),
        ("Conv2DTranspose", r#"{"output_padding": [1, 1]}"#, "`output_padding`"),
        ("Conv2DTranspose", r#"{"output_padding": null, "dilation_rate": [1, 1]}"#, ""),
        ("DepthwiseConv2D", r#"{"dilation_rate": [1, 2]}"#, "`dilation_rate` of [1,2]"),
        ("ELU", r#"{"alpha": 1.0}"#, ""),
        ("ELU", r#"{"alpha": 0.5}"#, "`alpha` of 0.5"),
        ("GRU", r#"{"reset_after": true}"#, "`reset_after` of true"),
        ("GRU", r#"{"reset_after": false, "recurrent_activation": "hard_sigmoid"}"#, ""),
        ("LSTM", r#"{"activation": "exponential"}"#, "function `exponential`"),
        ("Dense", r#"{"activation": {"class_name": "Softmax", "config": {"axis": 1}}}"#, "function `Softmax`"),
        ("Softmax", r#"{"axis": 1}"#, "last axis"),
        ("BatchNormalization", r#"{"axis": [-1]}"#, ""),
        ("BatchNormalization", r#"{"axis": 1}"#, "last axis"),
        ("Resizing", "{}", "does not run"),
        ("Attention", "{}", "no Attention"),
        ("GlobalMaxPooling2D", r#"{"keepdims": true}"#, "`keepdims` of true"),
    ];

    /// As Keras 3 writes a pair of its own making, and one whose backward layer the user chose.
    #[test]
    fn only_a_backward_layer_of_its_own_is_kept() {
        let gru = |units: u64, name: &str, backwards: bool, number: u64| {
            let initializer = json!({"class_name": "Orthogonal", "shared_object_id": number});
            let config = json!({
                "name": name, "units": units, "go_backwards": backwards, "reset_after": false,
                "kernel_initializer": initializer,
            });
            json!({"class_name": "GRU", "config": config})
        };
        let mirror =
            json!({"layer": gru(3, "forward_gru", false, 7), "backward_layer": gru(3, "backward_gru", true, 8)});
        assert!(mirrors(&mirror));
        for backward in [gru(4, "backward_gru", true, 7), gru(3, "backward_gru", false, 7), Value::Null] {
            assert!(!mirrors(&json!({"layer": gru(3, "forward_gru", false, 7), "backward_layer": backward})));
        }
        let config = json!({"backward_layer": gru(4, "backward_gru", true, 7)}).to_string();
        let layer = Layer { class: "Bidirectional".into(), config, ..Layer::default() };
        let whys = refused_layer(&layer, &Typed::default());
        assert_eq!(whys, ["TensorFlow.js's Bidirectional has no `backward_layer` of its own, a GRU"]);
    }

    #[test]
    fn what_it_ignores_is_refused() {
        for (class, config, want) in CASES {
            let layer = Layer { class: (*class).into(), config: (*config).into(), ..Layer::default() };
            let whys = refused_layer(&layer, &Typed::default()).join("; ");
            assert_eq!(whys.is_empty(), want.is_empty(), "{class} {config}: {whys}");
            assert!(whys.contains(want), "{class} {config}: {whys}");
        }
    }
}
