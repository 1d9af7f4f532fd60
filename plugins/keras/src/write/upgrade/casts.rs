//! What Keras 2 computes with another dtype than Keras 3 does, whatever the layers' configurations say: images of whole
//! numbers become floats in Keras 2 and stay what they are in Keras 3; counts of words are floats there and whole
//! numbers here; indices differ in their width. Beside such a layer, a `Rescaling` by one, which both Keras have, makes
//! of one what the other has.

use super::layer::parsed;
use super::prepare::set;
use super::typed::{Typed, encodes};
use recast_keras_model::classes::{SAMPLES_SINCE, ZEROED_SINCE};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{DType, Dim, Type};
use recast_plugin_api::model::{Arg, ArgKind, Call, Child, Layer, Model, ValueRef};
use serde_json::{Value, json};
use std::collections::HashSet;

/// Makes floats of images in Keras 2, and gives them in their own dtype in Keras 3.
const IMAGES: &[&str] = &["RandomBrightness", "RandomContrast", "RandomCrop", "Resizing"];

/// Give images as they are, in any dtype, and take floats alone in Keras 3.
const FLOATS_IN_3: &[&str] = &["RandomHeight", "RandomWidth"];

/// Float32 holds whole numbers of as many bytes.
const HELD_BYTES: usize = 2;

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

/// The layer that computes: what a TimeDistributed wraps, and a layer without one itself.
pub(super) fn core(layer: &Layer) -> &Layer {
    match layer.child("layer").filter(|_| layer.class == "TimeDistributed") {
        Some(inner) if inner.model.is_none() => core(inner),
        _ => layer,
    }
}

pub(super) fn core_mut(layer: &mut Layer) -> &mut Layer {
    let wraps =
        |child: &Child| child.attribute == "layer" && child.layer.as_ref().is_some_and(|inner| inner.model.is_none());
    let at = layer.children.iter().position(wraps).filter(|_| layer.class == "TimeDistributed");
    if at.is_none() {
        return layer;
    }
    let inner = at.and_then(|at| layer.children[at].layer.as_mut());
    core_mut(inner.expect("found just now"))
}

/// What a layer is given and gives, by its place: as the graph has it, and where that has no trace of the layer, which
/// hands on what it is given, as what it is called on.
fn types(model: &Model, at: usize, typed: &Typed) -> Option<(DType, DType)> {
    let layer = model.layers.get(at)?;
    let inner = core(layer);
    let given = |path: &str| typed.takes(path).first().map(|ty| ty.dtype);
    let takes = given(&inner.path).or_else(|| given(&layer.path));
    let takes = takes.or_else(|| called_on(model, at, typed, model.calls.len()))?;
    let gives = typed.gives(&inner.path).first().or_else(|| typed.gives(&layer.path).first());
    Some((takes, gives.map_or(takes, |ty| ty.dtype)))
}

/// The dtype of the first tensor that a layer is called on, by a call before `before`.
fn called_on(model: &Model, at: usize, typed: &Typed, before: usize) -> Option<DType> {
    let calls = model.calls.iter().take(before);
    let (place, call) = calls.enumerate().find(|(_, call)| call.layer as usize == at)?;
    let value = call.args.first()?.leaves().into_iter().flatten().next()?;
    let Some(maker) = value.call else {
        return model.inputs.get(value.index as usize).and_then(|input| DType::from_keras(&input.dtype));
    };
    let by = model.calls.get(maker as usize).filter(|_| (maker as usize) < place)?.layer as usize;
    let gives = typed.gives(&core(model.layers.get(by)?).path).first();
    gives.map(|ty| ty.dtype).or_else(|| called_on(model, by, typed, place))
}

/// As `wanted_by_3`, of a layer of Keras 3 in Keras 2.
fn wanted_by_2(model: &Model, at: usize, typed: &Typed) -> Option<(Side, DType)> {
    let layer = core(&model.layers[at]);
    let (takes, gives) = types(model, at, typed)?;
    let differs = match layer.class.as_str() {
        "Discretization" => is_of_indices(layer) && gives != DType::I64,
        // It becomes a Rescaling, of any dtype.
        "RandomCrop" => false,
        class if IMAGES.contains(&class) => takes.is_int() && gives.is_int(),
        _ => false,
    };
    differs.then_some((Side::After, gives))
}

/// What a layer would be given or give in Keras 3.15, if that is not what its own Keras had.
fn wanted_by_3(model: &Model, at: usize, typed: &Typed) -> Option<(Side, DType)> {
    let layer = core(&model.layers[at]);
    let (takes, gives) = types(model, at, typed)?;
    if let Some(half) = half_in_floats(layer, typed) {
        return (takes != half).then_some((Side::Before, half));
    }
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
    policy_dtype(&config).filter(|dtype| matches!(dtype, DType::F16 | DType::BF16))
}

/// What a layer computes with, where it says so by a name.
fn policy_dtype(config: &Value) -> Option<DType> {
    let policy = config.get("dtype")?;
    let name = policy.as_str().or_else(|| policy.get("config")?.get("name")?.as_str())?;
    DType::from_keras(name.trim_start_matches("mixed_"))
}

/// The Keras of a source: (major, minor).
type Version = (u32, u32);

/// Since then, a vector as short as the square of this is no longer left shorter than one.
const UNITS_SINCE: Version = (3, 6);

/// What Keras 3 does not compute as the Keras of the source did, and nothing beside the layer makes up for.
pub(super) fn refused(model: &Model, typed: &Typed, version: Version) -> Findings {
    let finding = |at: usize| {
        let layer = core(&model.layers[at]);
        let why = why_not(model, at, typed, version)?;
        let hint = "other targets (onnx, keras2) keep what it computes";
        Some(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), why).hint(hint))
    };
    (0..model.layers.len()).filter_map(finding).collect()
}

/// Ways of TensorFlow to resize.
const ONLY_RESIZED_BY_2: &[&str] = &["gaussian", "mitchellcubic"];

fn why_not(model: &Model, at: usize, typed: &Typed, version: Version) -> Option<String> {
    let layer = core(&model.layers[at]);
    let class = layer.class.as_str();
    if FLOATS_IN_3.contains(&class) {
        let whole = types(model, at, typed).filter(|(takes, _)| takes.is_int());
        return whole.map(|(takes, _)| format!("Keras 3's {class} takes floats alone, and no {takes} as here"));
    }
    if matches!(class, "Resizing" | "UpSampling2D") {
        let config = parsed(&layer.config);
        let way = config.get("interpolation").and_then(Value::as_str).unwrap_or_default();
        return ONLY_RESIZED_BY_2.contains(&way).then(|| format!("Keras 3's {class} has no interpolation `{way}`"));
    }
    if version.0 < 3 && class == "ops.numpy.Mean" {
        let whole = types(model, at, typed).filter(|(takes, _)| takes.is_int());
        return whole
            .map(|(takes, _)| format!("Keras 3's mean of {takes} gives floats, that of TensorFlow whole numbers"));
    }
    if version.0 < 3
        && class == "SpectralNormalization"
        && layer.child("layer").is_some_and(|inner| inner.class == "Embedding")
    {
        return Some(
            "Keras 3's SpectralNormalization of an Embedding gives whole numbers, that of Keras 2 floats".to_owned(),
        );
    }
    if version.0 < 3 && class == "MultiHeadAttention" && casts_query(layer, typed) {
        return Some("Keras 3 finds the mask of a query that it casts, Keras 2 does not".to_owned());
    }
    if class.starts_with("ConvLSTM") && has_free_sizes(layer, typed) {
        return Some(format!("Keras 3's {class} asks for the sizes of its images, which are free here"));
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
    if let Some(why) = encoded_by_row(layer, typed).filter(|_| version.0 == 3 && version < SAMPLES_SINCE) {
        return Some(why);
    }
    if version >= ZEROED_SINCE || !is_masked(layer, typed) {
        return None;
    }
    if class == "Softmax" {
        return Some("Keras 3 gives zeros where all is masked, the Keras of this model equal parts".to_owned());
    }
    if class != "MultiHeadAttention" {
        return None;
    }
    let zeroed =
        rank != 3 || calls_of(model, at).any(|call| asks_for_scores(&model.calls[call]) && is_shown(model, call));
    let detail =
        "Keras 3 gives zeros to queries whose keys are all masked, the Keras of this model the mean of the values";
    zeroed.then(|| detail.to_owned())
}

/// Of images over time: (batch, time, sizes..., channels), or the channels before the sizes.
fn has_free_sizes(layer: &Layer, typed: &Typed) -> bool {
    let Some(shape) = typed.takes(&layer.path).first().map(|ty| &ty.shape).filter(|shape| shape.len() > 3) else {
        return false;
    };
    let first = parsed(&layer.config).get("data_format").is_some_and(|format| *format == json!("channels_first"));
    let sizes = if first { &shape[3..] } else { &shape[2..shape.len() - 1] };
    sizes.iter().any(|size| size.known().is_none())
}

/// One number that becomes a row, and rows that are marked along another axis.
fn encoded_by_row(layer: &Layer, typed: &Typed) -> Option<String> {
    let config = parsed(&layer.config);
    let shape = &typed.takes(&layer.path).first()?.shape;
    let single = shape.len() > 1 && shape.last().is_some_and(Dim::is_one);
    let differs = match (config.get("output_mode")?.as_str()?, layer.class.as_str()) {
        ("one_hot", "CategoryEncoding" | "Discretization" | "HashedCrossing" | "Hashing") => single,
        ("multi_hot", "Discretization") => shape.len() != 2,
        _ => false,
    };
    differs
        .then(|| format!("Keras 3.0 to 3.3 put what {} makes of a row into other axes than Keras since", layer.class))
}

fn calls_of(model: &Model, at: usize) -> impl Iterator<Item = usize> {
    model.calls.iter().enumerate().filter(move |(_, call)| call.layer as usize == at).map(|(place, _)| place)
}

fn asks_for_scores(call: &Call) -> bool {
    call.kwargs.iter().any(|named| named.name == "return_attention_scores" && named.arg != Some(no()))
}

/// Does anybody see more than the first output of a call?
fn is_shown(model: &Model, at: usize) -> bool {
    let of = |value: &ValueRef| value.call == Some(at as u32) && value.index > 0;
    let shown = model.outputs.iter().filter_map(|output| output.value.as_ref()).any(of);
    shown || model.calls.iter().flat_map(Call::values).any(of)
}

/// Calls that ask for scores which nobody looks at don't ask for them: that way, masks count as they did.
fn without_scores(model: &mut Model, at: usize) {
    let unseen: Vec<usize> = calls_of(model, at).filter(|&call| !is_shown(model, call)).collect();
    for call in unseen {
        model.calls[call].kwargs.retain(|named| named.name != "return_attention_scores");
    }
}

fn no() -> Arg {
    Arg::json(&json!(false))
}

fn is_masked(layer: &Layer, typed: &Typed) -> bool {
    typed.takes(&layer.path).iter().any(|ty| ty.dtype == DType::Bool)
}

/// Is it given masks, and a query of other floats than it computes with?
pub(super) fn casts_query(layer: &Layer, typed: &Typed) -> bool {
    is_masked(layer, typed) && casts_first(layer, typed)
}

/// Is what comes first of other floats than it computes with?
pub(super) fn casts_first(layer: &Layer, typed: &Typed) -> bool {
    let first = typed.takes(&layer.path).first().map(|ty| ty.dtype).filter(|dtype| dtype.is_float());
    let own = || policy_dtype(&parsed(&layer.config)).unwrap_or(DType::F32);
    first.is_some_and(|first| first != own())
}

/// Options of layers with which Keras 3 computes what the Keras of the source did.
fn settle_for_3(model: &mut Model, at: usize, typed: &Typed, version: Version, notes: &mut Vec<Diag>) {
    let layer = core(&model.layers[at]);
    if layer.class == "MultiHeadAttention" && version < ZEROED_SINCE && is_masked(layer, typed) {
        without_scores(model, at);
    }
    let layer = core_mut(&mut model.layers[at]);
    if half_in_floats(layer, typed).is_some() {
        set(layer, "dtype", json!("float32"));
    }
    if version < UNITS_SINCE {
        notes.extend(short_vectors(layer));
    }
    let dropout = parsed(&layer.config).get("dropout").and_then(Value::as_f64).unwrap_or(0.0);
    let attends = layer.class == "MultiHeadAttention" && version < ZEROED_SINCE;
    if attends && dropout > 0.0 && is_masked(layer, typed) {
        // The one that drops scores gives zeros to queries whose keys are all masked.
        set(layer, "dropout", json!(0.0));
        let detail =
            "dropout of masked scores is left out: with it, Keras 3 computes another inference than this Keras";
        notes.push(Diag::new(Code::TrainingDropped, layer.path.as_str(), detail));
    }
}

/// What is said of a layer whose other Keras makes otherwise of the shortest vectors.
fn short_vectors(layer: &Layer) -> Option<Diag> {
    let detail =
        "Keras since 3.6 makes vectors shorter than 1e-6 as long as all others, Keras before divides them by 1e-6";
    (layer.class == "UnitNormalization").then(|| Diag::new(Code::Precision, layer.path.as_str(), detail))
}

/// The same for Keras 2.
fn settle_for_2(model: &mut Model, at: usize, typed: &Typed, version: Version, notes: &mut Vec<Diag>) {
    if version >= UNITS_SINCE {
        notes.extend(short_vectors(core(&model.layers[at])));
    }
    let Some((takes, _)) = types(model, at, typed).filter(|(takes, gives)| takes.is_int() && gives.is_int()) else {
        return;
    };
    let layer = core_mut(&mut model.layers[at]);
    if layer.class == "RandomCrop" {
        set(layer, "dtype", json!(takes.keras_name()));
    } else if IMAGES.contains(&layer.class.as_str()) && takes.size() > HELD_BYTES {
        let class = &layer.class;
        let detail = format!("Keras 2's {class} makes float32 of {takes}, which holds whole numbers up to 2^24");
        notes.push(Diag::new(Code::Precision, layer.path.as_str(), detail));
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

/// Writes casts into a model of another Keras than the `reader`'s, not into those inside of it. What they are, for
/// whoever reads the log.
pub(super) fn write_out(model: &mut Model, typed: &Typed, version: Version, reader: u32) -> Vec<Diag> {
    let mut notes = Vec::new();
    // From behind, so that the places of those before stay.
    for at in (0..model.layers.len()).rev() {
        let found = match reader {
            2 => wanted_by_2(model, at, typed),
            _ => wanted_by_3(model, at, typed),
        };
        match reader {
            2 => settle_for_2(model, at, typed, version, &mut notes),
            _ => settle_for_3(model, at, typed, version, &mut notes),
        }
        let Some((side, dtype)) = found else { continue };
        if side == Side::After && is_all_one(model, at) {
            continue;
        }
        let cast = cast(model, at, dtype);
        let layer = core(&model.layers[at]);
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
        call.values_mut().into_iter().for_each(|value| follow(value, &moved));
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
