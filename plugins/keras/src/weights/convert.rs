//! From the arrays that a file holds to the weights that a layer of Keras 2 or 3 has.
//!
//! | who wrote it | what differs |
//! |---|---|
//! | Keras 1 | one array for each gate; `th` kernels as (out, in, rows, columns); 1-D kernels have four axes |
//! | Theano | it convolves truly: kernels are reversed along their spatial axes |
//! | cuDNN's recurrent layers | gates transposed, two biases |
//! | an early Keras 2 | some convolution kernels in another order of axes, told by their shape |
//! | Keras 3 before 3.4 | `rms_scaling` of LayerNormalization is not written down, told by the missing shift |

use super::Taken;
use super::recipe::Step;
use crate::io::Limits;
use crate::json;
use recast_keras_model::config::{Version, keras1};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::model::{Layer, Model, keras_version};
use serde_json::{Value, json};
use std::cell::OnceCell;
use std::collections::HashMap;

/// Who wrote the arrays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    pub keras_1: bool,
    pub theano: bool,
    /// Keras 3 before 3.4.
    pub early_3: bool,
}

impl Origin {
    pub fn of(version: &Version) -> Origin {
        let (major, minor) = keras_version(&version.text);
        Origin { keras_1: major == 1, theano: false, early_3: major == 3 && minor < 4 }
    }
}

/// What of a layer the conversion looks at.
struct Kind {
    class: String,
    text: String,
    /// Most layers are never asked for theirs.
    config: OnceCell<Value>,
}

impl Kind {
    fn config(&self) -> &Value {
        self.config.get_or_init(|| serde_json::from_str(&self.text).unwrap_or(Value::Null))
    }
}

/// Settles every weight; layers of cuDNN become the ones that compute the same.
pub fn settle<'t>(
    taken: Vec<Taken<'t>>,
    root: &mut Model,
    origin: Origin,
    limits: &Limits,
) -> (Vec<Taken<'t>>, Findings) {
    let mut kinds = HashMap::new();
    each(root, &mut |layer| {
        let (class, text) = (layer.class.clone(), layer.config.clone());
        kinds.insert(layer.path.clone(), Kind { class, text, config: OnceCell::new() });
    });
    let of_keras_1 = |path: &str| origin.keras_1 || kinds.get(path).is_some_and(|kind| keras1::is_kept(&kind.class));
    let (old, mut settled): (Vec<_>, Vec<_>) = taken.into_iter().partition(|weight| of_keras_1(&weight.path));
    settled.extend(joined(old, &kinds));
    let mut findings = Findings::new();
    if origin.theano {
        let mut odd: Vec<(&String, &Kind)> = kinds.iter().filter(|(_, kind)| pads_unlike_any(kind)).collect();
        odd.sort_by_key(|(path, _)| path.as_str());
        findings.extend(odd.into_iter().map(|(path, kind)| theano_padding(path, kind)));
    }
    for weight in &mut settled {
        let Some(kind) = kinds.get(&weight.path) else { continue };
        if let Err(diag) = settle_one(weight, kind, origin, limits) {
            findings.push(diag);
        }
    }
    if let Err(diag) = from_cudnn(&mut settled, &kinds, limits) {
        findings.push(diag);
    }
    let has = |path: &str, role: &str| settled.iter().any(|weight| weight.path == path && weight.role == role);
    each(root, &mut |layer| {
        if origin.early_3 && layer.class == "LayerNormalization" {
            say_rms_scaling(layer, has(&layer.path, "gamma"), has(&layer.path, "beta"));
        }
        if origin.theano && kinds.get(&layer.path).is_some_and(pads_otherwise) {
            set(layer, &json!({"padding": "theano"}));
        }
        today(layer, origin);
    });
    (settled, findings)
}

fn each(model: &mut Model, see: &mut dyn FnMut(&mut Layer)) {
    fn one(layer: &mut Layer, see: &mut dyn FnMut(&mut Layer)) {
        see(layer);
        layer.children.iter_mut().filter_map(|child| child.layer.as_mut()).for_each(|child| one(child, see));
        layer.model.iter_mut().for_each(|model| each(model, see));
    }
    model.layers.iter_mut().for_each(|layer| one(layer, see));
}

/// The arrays of Keras 1 under the names of today's weights, gates together.
fn joined<'t>(taken: Vec<Taken<'t>>, kinds: &HashMap<String, Kind>) -> Vec<Taken<'t>> {
    let mut order: Vec<String> = Vec::new();
    let mut layers: HashMap<String, Vec<Option<Taken<'t>>>> = HashMap::new();
    for weight in taken {
        if !layers.contains_key(&weight.path) {
            order.push(weight.path.clone());
        }
        layers.entry(weight.path.clone()).or_default().push(Some(weight));
    }
    let mut out = Vec::new();
    for path in order {
        let mut own = layers.remove(&path).unwrap_or_default();
        let class = kinds.get(&path).map_or("", |kind| kind.class.as_str());
        for source in keras1::sources(class) {
            let place = |name: &str| own.iter().position(|weight| weight.as_ref().is_some_and(|w| w.role == name));
            let Some(places) = source.stored.iter().map(|name| place(name)).collect::<Option<Vec<_>>>() else {
                continue;
            };
            let arrays =
                places.iter().filter_map(|&place| own[place].take()).flat_map(|weight| weight.arrays).collect();
            out.push(Taken {
                path: path.clone(),
                role: source.role.into(),
                arrays,
                each: Vec::new(),
                steps: Vec::new(),
            });
        }
        out.extend(own.into_iter().flatten());
    }
    out
}

fn settle_one(weight: &mut Taken<'_>, kind: &Kind, origin: Origin, limits: &Limits) -> Result<(), Diag> {
    let kernels: &[&str] = match kind.class.as_str() {
        "Conv1D" | "Conv2D" | "Conv3D" | "Conv2DTranspose" => &["kernel"],
        "ConvLSTM2D" => &["kernel", "recurrent_kernel"],
        "SeparableConv2D" => &["depthwise_kernel", "pointwise_kernel"],
        _ => return Ok(()),
    };
    if !kernels.contains(&weight.role.as_str()) {
        return Ok(());
    }
    let Some(first) = weight.arrays.first() else { return Ok(()) };
    let dims = first.dims(limits)?;
    if origin.keras_1 {
        weight.each.extend(axes_of_keras_1(kind, &dims));
    } else if turned(kind, &dims) {
        weight.each.push(Step::Transpose(vec![3, 2, 0, 1]));
    }
    // Depthwise kernels, which Theano had late, Keras itself reversed before it gave them to Theano.
    if origin.theano && kind.class != "SeparableConv2D" {
        let rank = if kind.class == "Conv1D" { 3 } else { dims.len() };
        weight.each.push(Step::Flip((0..rank.saturating_sub(2)).collect()));
    }
    Ok(())
}

fn axes_of_keras_1(kind: &Kind, dims: &[u64]) -> Vec<Step> {
    let first = kind.config().get("data_format").and_then(Value::as_str) == Some("channels_first");
    let turn = |perm: &[usize]| vec![Step::Transpose(perm.to_vec())];
    match (kind.class.as_str(), first, dims) {
        // Up to Keras 1.1: (filters, channels, length, 1).
        ("Conv1D", _, &[filters, channels, length, 1]) if length == number(kind, "kernel_size", 0) => {
            [turn(&[2, 3, 1, 0]), vec![Step::Reshape(vec![length, channels, filters])]].concat()
        }
        ("Conv1D", _, &[length, 1, channels, filters]) => vec![Step::Reshape(vec![length, channels, filters])],
        ("Conv2D" | "ConvLSTM2D" | "SeparableConv2D", true, _) => turn(&[2, 3, 1, 0]),
        ("Conv2DTranspose", true, _) => turn(&[2, 3, 0, 1]),
        ("Conv2DTranspose", false, _) => turn(&[0, 1, 3, 2]),
        ("Conv3D", true, _) => turn(&[2, 3, 4, 1, 0]),
        _ => Vec::new(),
    }
}

/// A size of the configuration; 0 when it is not there.
fn number(kind: &Kind, key: &str, at: usize) -> u64 {
    let value = kind.config().get(key).unwrap_or(&Value::Null);
    value.get(at).unwrap_or(value).as_u64().unwrap_or(0)
}

/// A kernel of four axes that only fits its layer after Keras 2's own transposition.
fn turned(kind: &Kind, dims: &[u64]) -> bool {
    let &[d0, d1, d2, d3] = dims else { return false };
    let size = [number(kind, "kernel_size", 0), number(kind, "kernel_size", 1)];
    let filters = number(kind, "filters", 0);
    let fits = |rows, columns, before, last| match kind.class.as_str() {
        "Conv2D" => [rows, columns] == size && last == filters,
        "Conv2DTranspose" => [rows, columns] == size && before == filters,
        _ => true,
    };
    !fits(d0, d1, d2, d3) && fits(d3, d2, d0, d1)
}

/// The numbers of a list, or the one number.
fn numbers(kind: &Kind, key: &str) -> Vec<u64> {
    match kind.config().get(key) {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_u64).collect(),
        Some(value) => value.as_u64().into_iter().collect(),
        None => Vec::new(),
    }
}

fn is_padded(kind: &Kind) -> bool {
    kind.config().get("padding").and_then(Value::as_str) == Some("same")
}

fn has_even_window(kind: &Kind) -> bool {
    numbers(kind, "kernel_size").iter().any(|size| size % 2 == 0)
}

/// Theano pads half a window on both sides and cuts what is too much at the end: with an even window, or with strides,
/// that is not what `same` means since. Pooling pads more.
fn pads_otherwise(kind: &Kind) -> bool {
    let stepped = numbers(kind, "strides").iter().any(|&stride| stride != 1);
    match kind.class.as_str() {
        "Conv1D" | "Conv2D" | "Conv3D" | "Conv2DTranspose" | "ConvLSTM2D" | "DepthwiseConv2D" | "SeparableConv1D"
        | "SeparableConv2D" => is_padded(kind) && (stepped || has_even_window(kind)),
        class => is_padded(kind) && class.contains("Pooling"),
    }
}

/// Keras refused the one on Theano, and forgot to cut what the other makes too long.
fn pads_unlike_any(kind: &Kind) -> bool {
    let class = kind.class.as_str();
    is_padded(kind)
        && has_even_window(kind)
        && matches!(class, "Conv2DTranspose" | "SeparableConv1D" | "SeparableConv2D")
}

fn theano_padding(path: &str, kind: &Kind) -> Diag {
    let detail = format!(
        "the file was written on Theano, where no length comes out of a {} of `padding=\"same\"` and an even window",
        kind.class
    );
    Diag::new(Code::UnsupportedLayer, path, detail).hint("put a ZeroPadding layer before it, and `padding=\"valid\"`")
}

/// Gates of a recurrent layer.
fn gates(class: &str) -> Option<u64> {
    match class {
        "LSTM" | "CuDNNLSTM" => Some(4),
        "GRU" | "CuDNNGRU" => Some(3),
        _ => None,
    }
}

/// Weights that cuDNN's layers stored, told by the bias, which has twice as many numbers: whatever the architecture
/// calls the layer.
fn from_cudnn(settled: &mut [Taken<'_>], kinds: &HashMap<String, Kind>, limits: &Limits) -> Result<(), Diag> {
    let mut doubled: HashMap<String, u64> = HashMap::new();
    for weight in settled.iter().filter(|weight| weight.role == "bias" && weight.arrays.len() == 1) {
        let kind = kinds.get(&weight.path);
        let Some((kind, gates)) = kind.and_then(|kind| Some((kind, gates(&kind.class)?))) else { continue };
        let units = number(kind, "units", 0);
        if weight.arrays[0].dims(limits)?[..] == [units.saturating_mul(2 * gates)] {
            doubled.insert(weight.path.clone(), units);
        }
    }
    for weight in settled.iter_mut() {
        let Some(&units) = doubled.get(&weight.path) else { continue };
        let gates = kinds.get(&weight.path).and_then(|kind| gates(&kind.class)).unwrap_or(0);
        match (weight.role.as_str(), gates) {
            ("kernel" | "recurrent_kernel", _) => weight.steps.push(Step::CudnnGates(gates)),
            ("bias", 4) => weight.steps.push(Step::SumHalves),
            ("bias", _) => weight.steps.push(Step::Reshape(vec![2, units.saturating_mul(gates)])),
            _ => {}
        }
    }
    Ok(())
}

/// cuDNN's layers have fixed activations, and are today's layers with these; what only old files mean, is written out.
fn today(layer: &mut Layer, origin: Origin) {
    let (class, fixed) = match layer.class.as_str() {
        "CuDNNLSTM" => ("LSTM", json!({"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": true})),
        "CuDNNGRU" => (
            "GRU",
            json!({"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": true, "reset_after": true}),
        ),
        // Its two backends differ.
        "SReLU" => ("SReLU", json!({"legacy_theano": origin.theano})),
        // In what masked steps give.
        class @ ("LSTM" | "GRU" | "SimpleRNN" | "RNN" | "ConvLSTM2D") if origin.theano => {
            (class, json!({"legacy_theano": true}))
        }
        _ => return,
    };
    let class = class.to_owned();
    set(layer, &fixed);
    layer.class = class;
}

/// A layer that ought to have a shift and has none scales by the root of the mean square.
fn say_rms_scaling(layer: &mut Layer, gamma: bool, beta: bool) {
    let Ok(config) = serde_json::from_str::<Value>(&layer.config) else { return };
    if gamma && !beta && config.get("rms_scaling").is_none() && json::flag(&config, "center", true) {
        set(layer, &json!({"rms_scaling": true}));
    }
}

/// Puts keys into a layer's configuration.
fn set(layer: &mut Layer, keys: &Value) {
    let Ok(Value::Object(mut config)) = serde_json::from_str::<Value>(&layer.config) else { return };
    for (key, value) in keys.as_object().into_iter().flatten() {
        config.insert(key.clone(), value.clone());
    }
    layer.config = Value::Object(config).to_string();
}
