//! What Keras 2 computes with another dtype than Keras 3 does, whatever the layers' configurations say: images of whole
//! numbers become floats in Keras 2 and stay what they are in Keras 3; counts of words are floats there and whole
//! numbers here; indices differ in their width. Beside such a layer, a `Rescaling` by one, which both Keras have, makes
//! of one what the other has.

use super::layer::parsed;
use super::prepare::set;
use super::typed::{Typed, encodes};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{DType, Type};
use recast_plugin_api::model::{Arg, ArgKind, Call, Layer, Model, ValueRef};
use serde_json::{Value, json};
use std::collections::HashSet;

/// Makes floats of images in Keras 2, and gives them in their own dtype in Keras 3.
const IMAGES: &[&str] = &["RandomContrast", "Resizing"];

/// Functions whose indices are int32 in Keras 3, and what TensorFlow's are asked to be.
const INDICES: &[&str] = &["ops.numpy.Argmax", "ops.numpy.Argmin"];

/// Layers that take no notice of the dtype of whole numbers, or of floats in their place.
const ALL_ONE: &[&str] = &["CategoryEncoding", "Dense", "Embedding"];

/// Which side of the layer a cast belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// As `wanted_by_3`, of a layer of Keras 3 in Keras 2.
fn wanted_by_2(layer: &Layer, typed: &Typed) -> Option<(Side, DType)> {
    let (takes, gives) = (typed.takes(&layer.path).first()?.dtype, typed.gives(&layer.path).first()?.dtype);
    let differs = match layer.class.as_str() {
        "Discretization" => is_of_indices(layer) && gives != DType::I64,
        "Resizing" => takes.is_int() && gives.is_int(),
        _ => false,
    };
    differs.then_some((Side::After, gives))
}

/// What a layer of Keras 3 would be given or give, if that is not what Keras 2 had.
fn wanted_by_3(layer: &Layer, typed: &Typed) -> Option<(Side, DType)> {
    if let Some(half) = half_in_floats(layer, typed) {
        let given = typed.takes(&layer.path).first()?.dtype;
        return (given != half).then_some((Side::Before, half));
    }
    let (takes, gives) = (typed.takes(&layer.path).first()?.dtype, typed.gives(&layer.path).first()?.dtype);
    let class = layer.class.as_str();
    if IMAGES.contains(&class) {
        return (takes.is_int() && gives.is_float()).then_some((Side::Before, gives));
    }
    let own = match class {
        "IntegerLookup" | "StringLookup" | "TextVectorization" if encodes(layer) => DType::I64,
        "Discretization" if is_of_indices(layer) => DType::I32,
        _ if INDICES.contains(&class) => DType::I32,
        _ => return None,
    };
    (own != gives).then_some((Side::After, gives))
}

/// Does a layer of categories give their places?
fn is_of_indices(layer: &Layer) -> bool {
    parsed(&layer.config).get("output_mode").is_none_or(|mode| *mode == json!("int"))
}

/// The half precision that a layer computes in and does not keep to: TensorFlow resizes to float32.
fn half_in_floats(layer: &Layer, typed: &Typed) -> Option<DType> {
    if layer.class != "UpSampling2D" || typed.gives(&layer.path).first()?.dtype != DType::F32 {
        return None;
    }
    let config = parsed(&layer.config);
    if config.get("interpolation").is_none_or(|way| *way == json!("nearest")) {
        return None;
    }
    let policy = config.get("dtype")?;
    let name = policy.as_str().or_else(|| policy.get("config")?.get("name")?.as_str())?;
    DType::from_keras(name.trim_start_matches("mixed_")).filter(|dtype| matches!(dtype, DType::F16 | DType::BF16))
}

/// What Keras 3 does not compute as Keras 2 did, and nothing beside the layer makes up for.
pub(super) fn refused(model: &Model, typed: &Typed) -> Findings {
    let finding = |layer: &Layer| {
        let why = why_not(model, layer, typed)?;
        let hint = "other targets (onnx, keras2) keep what it computes";
        Some(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), why).hint(hint))
    };
    model.layers.iter().filter_map(finding).collect()
}

/// Ways of TensorFlow to resize.
const ONLY_RESIZED_BY_2: &[&str] = &["gaussian", "mitchellcubic"];

fn why_not(model: &Model, layer: &Layer, typed: &Typed) -> Option<String> {
    let class = layer.class.as_str();
    if matches!(class, "Resizing" | "UpSampling2D") {
        let config = parsed(&layer.config);
        let way = config.get("interpolation").and_then(Value::as_str).unwrap_or_default();
        return ONLY_RESIZED_BY_2.contains(&way).then(|| format!("Keras 3's {class} has no interpolation `{way}`"));
    }
    let rank = typed.takes(&layer.path).first().map_or(0, Type::rank);
    let most = match class {
        "Conv1D" => 3,
        "Conv2D" => 4,
        "Conv3D" => 5,
        _ => usize::MAX,
    };
    if rank > most {
        return Some(format!("Keras 3's {class} takes {most} axes, and no more of samples, as here with {rank}"));
    }
    if class != "MultiHeadAttention" || !is_masked(layer, typed) {
        return None;
    }
    let scored = model.calls.iter().any(|call| {
        let here = model.layers.get(call.layer as usize).is_some_and(|by| by.path == layer.path);
        here && call.kwargs.iter().any(|named| named.name == "return_attention_scores" && named.arg != Some(no()))
    });
    let zeroed = scored || rank != 3;
    zeroed
        .then(|| "Keras 3 gives zeros to queries whose keys are all masked, Keras 2 the mean of the values".to_owned())
}

fn no() -> Arg {
    Arg::json(&json!(false))
}

fn is_masked(layer: &Layer, typed: &Typed) -> bool {
    typed.takes(&layer.path).iter().any(|ty| ty.dtype == DType::Bool)
}

/// Options of layers with which Keras 3 computes what Keras 2 did.
fn settle(layer: &mut Layer, typed: &Typed, notes: &mut Vec<Diag>) {
    if half_in_floats(layer, typed).is_some() {
        set(layer, "dtype", json!("float32"));
    }
    let dropout = parsed(&layer.config).get("dropout").and_then(Value::as_f64).unwrap_or(0.0);
    if layer.class == "MultiHeadAttention" && dropout > 0.0 && is_masked(layer, typed) {
        // The one that drops scores gives zeros to queries whose keys are all masked.
        set(layer, "dropout", json!(0.0));
        let detail = "dropout of masked scores is left out: with it, Keras 3 computes another inference than Keras 2";
        notes.push(Diag::new(Code::TrainingDropped, layer.path.as_str(), detail));
    }
}

/// Is everybody content with the numbers, whatever their dtype?
fn is_all_one(model: &Model, at: usize) -> bool {
    let own = |value: &ValueRef| {
        let call = value.call.and_then(|call| model.calls.get(call as usize));
        call.is_some_and(|call| call.layer as usize == at)
    };
    let mut takers = model.calls.iter().filter(|call| {
        let mut args = call.args.iter().chain(call.kwargs.iter().filter_map(|named| named.arg.as_ref()));
        args.any(|arg| arg.leaves().into_iter().flatten().any(own))
    });
    let content = |call: &Call| {
        let layer = model.layers.get(call.layer as usize);
        layer.is_some_and(|layer| ALL_ONE.contains(&layer.class.as_str()))
    };
    let shown = model.outputs.iter().filter_map(|output| output.value.as_ref()).any(own);
    !shown && takers.all(content)
}

/// Writes casts into a model of the other Keras than the `reader`'s, not into those inside of it. What they are, for
/// whoever reads the log.
pub(super) fn write_out(model: &mut Model, typed: &Typed, reader: u32) -> Vec<Diag> {
    let mut notes = Vec::new();
    // From behind, so that the places of those before stay.
    for at in (0..model.layers.len()).rev() {
        let found = match reader {
            2 => wanted_by_2(&model.layers[at], typed),
            _ => wanted_by_3(&model.layers[at], typed),
        };
        if reader > 2 {
            settle(&mut model.layers[at], typed, &mut notes);
        }
        let Some((side, dtype)) = found else { continue };
        if side == Side::After && is_all_one(model, at) {
            continue;
        }
        let cast = cast(model, at, dtype);
        let layer = &model.layers[at];
        let detail = match side {
            Side::Before => {
                format!(
                    "Keras {reader}'s {} keeps the dtype of images: `{}` makes them {dtype}",
                    layer.class, cast.name
                )
            }
            Side::After => {
                format!("Keras {reader}'s {} gives another dtype: `{}` makes {dtype} of it", layer.class, cast.name)
            }
        };
        notes.push(Diag::new(Code::OptionIgnored, layer.path.as_str(), detail).note());
        insert(model, at as u32, side, cast);
    }
    notes
}

fn cast(model: &Model, at: usize, dtype: DType) -> Layer {
    let layer = &model.layers[at];
    let inputs = model.inputs.iter().map(|input| input.name.as_str());
    let names: HashSet<&str> = model.layers.iter().map(|layer| layer.name.as_str()).chain(inputs).collect();
    // An output goes by the name of the layer that gives it.
    let mut name = format!("{}_", layer.name);
    while names.contains(name.as_str()) {
        name.push('_');
    }
    let path = match layer.path.rsplit_once('/') {
        Some((above, _)) => format!("{above}/{name}"),
        None => name.clone(),
    };
    let config: Value =
        json!({"name": name, "trainable": true, "dtype": dtype.keras_name(), "scale": 1.0, "offset": 0.0});
    Layer { name, path, class: "Rescaling".into(), config: config.to_string(), trainable: true, ..Layer::default() }
}

/// Puts a layer to one side of another, and a call of it to that side of each of the other's calls.
fn insert(model: &mut Model, at: u32, side: Side, cast: Layer) {
    let place = if side == Side::Before { at } else { at + 1 };
    model.layers.insert(place as usize, cast);
    let target = if side == Side::Before { at + 1 } else { at };
    // Where the outputs of each call are now.
    let mut moved: Vec<u32> = Vec::with_capacity(model.calls.len());
    let mut calls: Vec<Call> = Vec::with_capacity(model.calls.len() + 1);
    let follow = |value: &mut ValueRef, moved: &[u32]| {
        value.call = value.call.map(|call| moved.get(call as usize).copied().unwrap_or(call));
    };
    for mut call in std::mem::take(&mut model.calls) {
        call.layer += u32::from(call.layer >= place);
        let mut refs = Vec::new();
        call.args.iter_mut().for_each(|arg| arg.values_mut(&mut refs));
        call.kwargs.iter_mut().filter_map(|named| named.arg.as_mut()).for_each(|arg| arg.values_mut(&mut refs));
        refs.into_iter().for_each(|value| follow(value, &moved));
        let of = |arg: Arg| Call { layer: place, args: vec![arg], kwargs: Vec::new() };
        let output = |calls: &[Call]| ValueRef { call: Some(calls.len() as u32 - 1), index: 0 };
        let first = call.args.first_mut().filter(|arg| matches!(arg.kind, Some(ArgKind::Value(_))));
        match (call.layer == target, side, first) {
            (true, Side::Before, Some(first)) => {
                calls.push(of(first.clone()));
                *first = Arg::value(output(&calls));
                calls.push(call);
            }
            (true, Side::After, _) => {
                calls.push(call);
                let given = output(&calls);
                calls.push(of(Arg::value(given)));
            }
            _ => calls.push(call),
        }
        moved.push(calls.len() as u32 - 1);
    }
    model.calls = calls;
    let ends = model.outputs.iter_mut().filter_map(|output| output.value.as_mut());
    ends.for_each(|value| follow(value, &moved));
}
