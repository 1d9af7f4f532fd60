//! Keras' activation functions, read from a configuration and put into a graph.
//!
//! A configuration holds a name (`"relu"`), nothing (linear), a serialized function (`{"class_name": "function",
//! "config": "relu"}`) or a serialized activation layer (`{"class_name": "LeakyReLU", "config": {..}}`).

use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{
    Activation as ActivationOp, ActivationFunction, ActivationSpec, Binary, BinaryFunction, Cast, Clip, Cumulative,
    CumulativeFunction, DType, Dim, Graph, Iota, LogSoftmax, ReduceFunction, Softmax, TopK, UnaryFunction, ValueId,
    Where,
};
use recast_plugin_api::lower::{Config, Lowering, resolve_axis};
use serde_json::Value as Json;

/// A resolved activation: what it computes, every default spelled out.
#[derive(Debug, Clone, PartialEq)]
pub enum Activation {
    Linear,
    Unary(UnaryFunction),
    /// One with parameters that the IR has as an op.
    Spec(ActivationSpec),
    /// Keras' general ReLU: x > threshold ? min(x, max_value) : negative_slope (x - threshold).
    Relu {
        negative_slope: f64,
        max_value: Option<f64>,
        threshold: f64,
    },
    Clip(f64, f64),
    /// Over these axes, negative ones counted from the end.
    Softmax(Vec<i64>),
    LogSoftmax,
    /// First half times the sigmoid of the second half of the last axis.
    Glu,
    /// |x| > t ? x : 0
    HardShrink(f64),
    /// x > t ? x - t : x < -t ? x + t : 0
    SoftShrink(f64),
    /// x relu6(x + 3) / 6
    HardSilu,
    /// -softplus(-x)
    LogSigmoid,
    /// (x + sqrt(x^2 + b)) / 2
    Squareplus(f64),
    /// x <= -1 ? 0 : x < 1 ? (x + 1)^2 / 4 : x
    SparsePlus,
    Sparsemax,
    /// x - tanh(x)
    TanhShrink,
}

use Activation as A;

const fn spec(function: ActivationFunction, alpha: f64, beta: f64) -> Activation {
    A::Spec(ActivationSpec { function, alpha, beta })
}

/// The functions that Keras 2 and 3 know by name, except `hard_sigmoid`, which they define differently, and `softmax`.
const FUNCTIONS: &[(&str, Activation)] = &[
    ("celu", spec(ActivationFunction::Celu, 1.0, 0.0)),
    ("elu", spec(ActivationFunction::Elu, 1.0, 0.0)),
    ("exponential", A::Unary(UnaryFunction::Exp)),
    ("gelu", A::Unary(UnaryFunction::Gelu)),
    // As TensorFlow.js calls the approximate one; no Keras has a name for it.
    ("gelu_new", A::Unary(UnaryFunction::GeluTanh)),
    ("glu", A::Glu),
    ("hard_shrink", A::HardShrink(0.5)),
    ("hard_silu", A::HardSilu),
    ("hard_swish", A::HardSilu),
    ("hard_tanh", A::Clip(-1.0, 1.0)),
    ("leaky_relu", spec(ActivationFunction::LeakyRelu, 0.2, 0.0)),
    ("linear", A::Linear),
    ("log_sigmoid", A::LogSigmoid),
    ("log_softmax", A::LogSoftmax),
    ("mish", A::Unary(UnaryFunction::Mish)),
    ("relu", A::Unary(UnaryFunction::Relu)),
    ("relu6", A::Clip(0.0, 6.0)),
    ("selu", A::Unary(UnaryFunction::Selu)),
    ("sigmoid", A::Unary(UnaryFunction::Sigmoid)),
    ("silu", A::Unary(UnaryFunction::Silu)),
    ("soft_shrink", A::SoftShrink(0.5)),
    ("softplus", A::Unary(UnaryFunction::Softplus)),
    ("softsign", A::Unary(UnaryFunction::Softsign)),
    ("sparse_plus", A::SparsePlus),
    ("sparse_sigmoid", spec(ActivationFunction::HardSigmoid, 0.5, 0.5)),
    ("sparsemax", A::Sparsemax),
    ("squareplus", A::Squareplus(4.0)),
    ("swish", A::Unary(UnaryFunction::Silu)),
    ("tanh", A::Unary(UnaryFunction::Tanh)),
    ("tanh_shrink", A::TanhShrink),
];

/// The activation that a configuration names under `key`; `default` (a name) where the key is absent. An explicit
/// null is linear.
pub fn read(l: &Lowering<'_>, key: &str, default: &str) -> Result<Activation, Diag> {
    match l.config.object().get(key) {
        None => named(default, l.keras_major()).ok_or_else(|| l.error(Code::Bug, format!("activation '{default}'"))),
        Some(json) => resolve(json, l.keras_major(), &l.layer.path),
    }
}

/// What a serialized activation computes.
pub fn resolve(json: &Json, keras_major: u32, path: &str) -> Result<Activation, Diag> {
    match json {
        Json::Null => Ok(A::Linear),
        Json::String(name) => by_name(name, keras_major, path),
        Json::Object(object) => {
            let class = object.get("class_name").and_then(Json::as_str).unwrap_or("");
            match (class, object.get("config")) {
                ("function", Some(Json::String(name))) => by_name(name, keras_major, path),
                ("__lambda__", _) => Err(lambda(path)),
                (_, Some(config @ Json::Object(_))) => {
                    from_layer(class, &Config::new(path, &config.to_string())?, keras_major)?
                        .ok_or_else(|| unknown(class, path))
                }
                _ => Err(unknown(class, path)),
            }
        }
        other => Err(Diag::new(Code::BadConfig, path, format!("{other} is no activation"))),
    }
}

/// A function by name, or an activation layer by its class name (which then has its defaults).
fn by_name(name: &str, keras_major: u32, path: &str) -> Result<Activation, Diag> {
    if let Some(activation) = named(name, keras_major) {
        return Ok(activation);
    }
    from_layer(name, &Config::new(path, "{}")?, keras_major)?.ok_or_else(|| unknown(name, path))
}

fn unknown(name: &str, path: &str) -> Diag {
    let detail = format!("activation '{name}' is no activation function of Keras");
    Diag::new(Code::UnsupportedLayer, path, detail).hint("provide the layer through a plugin: `recast plugins new`")
}

fn lambda(path: &str) -> Diag {
    Diag::new(Code::UnsafeCode, path, "the activation is a lambda: its code is stored in the file and is never run")
        .hint("save the model with a named activation, or provide the layer through a plugin: `recast plugins new`")
}

/// A function by the name that Keras has for it.
pub fn named(name: &str, keras_major: u32) -> Option<Activation> {
    if name == "hard_sigmoid" {
        // Keras 3 took over the other common definition, relu6(x + 3) / 6.
        let alpha = if keras_major >= 3 { 1.0 / 6.0 } else { 0.2 };
        return Some(spec(ActivationFunction::HardSigmoid, alpha, 0.5));
    }
    if name == "softmax" {
        return Some(Activation::Softmax(vec![-1]));
    }
    FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, activation)| activation.clone())
}

/// The activation layers without weights; `None` for any other class.
pub fn from_layer(class: &str, config: &Config, keras_major: u32) -> Result<Option<Activation>, Diag> {
    Ok(Some(match class {
        // Keras 3 stores relu with options as an operation of this name.
        "ReLU" => Activation::Relu {
            negative_slope: config.f64_or("negative_slope", 0.0)?,
            max_value: config.get("max_value").map(|_| config.f64("max_value")).transpose()?,
            threshold: config.f64_or("threshold", 0.0)?,
        },
        "LeakyReLU" => {
            let old = config.f64_or("alpha", 0.3)?;
            spec(ActivationFunction::LeakyRelu, config.f64_or("negative_slope", old)?, 0.0)
        }
        "ELU" => spec(ActivationFunction::Elu, config.f64_or("alpha", 1.0)?, 0.0),
        "ThresholdedReLU" => spec(ActivationFunction::ThresholdedRelu, config.f64_or("theta", 1.0)?, 0.0),
        "Softmax" => Activation::Softmax(axes(config)?),
        "Activation" => match config.object().get("activation") {
            Some(inner) => resolve(inner, keras_major, config.path())?,
            None => Activation::Linear,
        },
        "Pipeline" => match scaled_and_clipped(config) {
            Some((alpha, beta)) => spec(ActivationFunction::HardSigmoid, alpha, beta),
            None => return Ok(None),
        },
        _ => return Ok(None),
    }))
}

/// Keras 2's hard sigmoid in Keras 3's words, which calls another function so: a Rescaling, then a ReLU that ends at 1.
fn scaled_and_clipped(config: &Config) -> Option<(f64, f64)> {
    let layers: Vec<(&str, &Json)> = config.object().get("layers")?.as_array()?.iter().map(class_and_config).collect();
    let [("Rescaling", scale), ("ReLU", clip)] = layers.as_slice() else { return None };
    let number = |json: &Json, key: &str| json.get(key).and_then(Json::as_f64);
    let plain = ["negative_slope", "threshold"].iter().all(|key| number(clip, key).is_none_or(|value| value == 0.0));
    let clipped = plain && number(clip, "max_value") == Some(1.0);
    Some((number(scale, "scale")?, number(scale, "offset").unwrap_or(0.0))).filter(|_| clipped)
}

fn class_and_config(layer: &Json) -> (&str, &Json) {
    (layer.get("class_name").and_then(Json::as_str).unwrap_or_default(), layer.get("config").unwrap_or(&Json::Null))
}

/// `axis`: a number or a list of them, -1 when absent.
pub fn axes(config: &Config) -> Result<Vec<i64>, Diag> {
    match config.get("axis") {
        Some(Json::Array(items)) => {
            let axis = |item: &Json| item.as_i64();
            let bad = || Diag::new(Code::BadConfig, config.path(), "'axis' should be axes");
            items.iter().map(axis).collect::<Option<_>>().ok_or_else(bad)
        }
        _ => Ok(vec![config.i64_or("axis", -1)?]),
    }
}

impl Activation {
    /// As an attribute of a recurrent op; `None` for those that the recurrent ops of targets have no word for.
    pub fn spec(&self) -> Option<ActivationSpec> {
        use ActivationFunction as F;
        Some(match self {
            A::Linear => ActivationSpec::plain(F::Linear),
            A::Spec(spec) if spec.function == F::Celu => return None,
            A::Spec(spec) => *spec,
            A::Relu { negative_slope, max_value: None, threshold: 0.0 } => {
                ActivationSpec { function: F::LeakyRelu, alpha: *negative_slope, beta: 0.0 }
            }
            A::Unary(function) => ActivationSpec::plain(match function {
                UnaryFunction::Tanh => F::Tanh,
                UnaryFunction::Sigmoid => F::Sigmoid,
                UnaryFunction::Relu => F::Relu,
                UnaryFunction::Softplus => F::Softplus,
                UnaryFunction::Softsign => F::Softsign,
                _ => return None,
            }),
            _ => return None,
        })
    }

    /// Puts the activation of `x` into a lowering's graph.
    pub fn apply(&self, l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
        self.add(&mut l.graph, &l.layer.path, x)
    }

    /// Puts the activation of `x` into any graph.
    pub fn add(&self, g: &mut Graph, path: &str, x: ValueId) -> Result<ValueId, Diag> {
        use BinaryFunction as B;
        match self {
            A::Linear => Ok(x),
            A::Unary(function) => g.unary(path, *function, x),
            A::Spec(ActivationSpec { function, alpha, beta }) => {
                g.add(path, ActivationOp { function: *function, alpha: *alpha, beta: *beta }, &[x])
            }
            A::Relu { negative_slope, max_value, threshold } => {
                relu(g, path, x, *negative_slope, *max_value, *threshold)
            }
            A::Clip(min, max) => g.add(path, Clip { min: Some(*min), max: Some(*max) }, &[x]),
            A::Softmax(axes) => softmax(g, path, x, axes),
            A::LogSoftmax => g.add(path, LogSoftmax { axis: last_axis(g, path, x)? }, &[x]),
            A::Glu => glu(g, path, x),
            A::HardShrink(threshold) => {
                let size = g.unary(path, UnaryFunction::Abs, x)?;
                let beyond = g.binary_scalar(path, B::Greater, size, *threshold)?;
                select_or(g, path, beyond, x, 0.0)
            }
            A::SoftShrink(threshold) => {
                let kept = g.add(path, Clip { min: Some(-threshold), max: Some(*threshold) }, &[x])?;
                g.binary(path, B::Sub, x, kept)
            }
            A::HardSilu => {
                let op = ActivationOp { function: ActivationFunction::HardSigmoid, alpha: 1.0 / 6.0, beta: 0.5 };
                let gate = g.add(path, op, &[x])?;
                g.binary(path, B::Mul, x, gate)
            }
            A::LogSigmoid => {
                let negative = g.unary(path, UnaryFunction::Neg, x)?;
                let softplus = g.unary(path, UnaryFunction::Softplus, negative)?;
                g.unary(path, UnaryFunction::Neg, softplus)
            }
            A::Squareplus(b) => squareplus(g, path, x, *b),
            A::SparsePlus => sparse_plus(g, path, x),
            A::Sparsemax => sparsemax(g, path, x),
            A::TanhShrink => {
                let tanh = g.unary(path, UnaryFunction::Tanh, x)?;
                g.binary(path, B::Sub, x, tanh)
            }
        }
    }
}

fn last_axis(g: &Graph, path: &str, x: ValueId) -> Result<usize, Diag> {
    let rank = g.shape(x).len();
    rank.checked_sub(1).ok_or_else(|| Diag::new(Code::TypeMismatch, path, "an activation over an axis of a scalar"))
}

/// condition ? x : otherwise
fn select_or(g: &mut Graph, path: &str, condition: ValueId, x: ValueId, otherwise: f64) -> Result<ValueId, Diag> {
    let otherwise = g.scalar_like(path, x, otherwise)?;
    g.add(path, Where {}, &[condition, x, otherwise])
}

fn relu(g: &mut Graph, path: &str, x: ValueId, slope: f64, max: Option<f64>, threshold: f64) -> Result<ValueId, Diag> {
    if threshold == 0.0 && slope != 0.0 && max.is_none() {
        return g.add(path, ActivationOp { function: ActivationFunction::LeakyRelu, alpha: slope, beta: 0.0 }, &[x]);
    }
    let mut y = match (threshold == 0.0, max) {
        (true, None) => g.unary(path, UnaryFunction::Relu, x)?,
        (true, Some(max)) => g.add(path, Clip { min: Some(0.0), max: Some(max.max(0.0)) }, &[x])?,
        (false, _) => {
            let above = g.binary_scalar(path, BinaryFunction::Greater, x, threshold)?;
            let kept = select_or(g, path, above, x, 0.0)?;
            // A threshold below zero lets negative values through; only `max_value` clips them.
            if max.is_some() { g.add(path, Clip { min: Some(0.0), max }, &[kept])? } else { kept }
        }
    };
    if slope != 0.0 {
        let below = g.binary_scalar(path, BinaryFunction::Sub, x, threshold)?;
        let below = g.add(path, Clip { min: None, max: Some(0.0) }, &[below])?;
        let below = g.binary_scalar(path, BinaryFunction::Mul, below, slope)?;
        y = g.binary(path, BinaryFunction::Add, y, below)?;
    }
    Ok(y)
}

/// Softmax over some axes of `x`.
pub fn softmax(g: &mut Graph, path: &str, x: ValueId, axes: &[i64]) -> Result<ValueId, Diag> {
    let rank = g.shape(x).len();
    let resolve = |&axis: &i64| resolve_axis(axis, rank);
    let resolved: Option<Vec<usize>> = axes.iter().map(resolve).collect();
    let bad = || Diag::new(Code::BadConfig, path, format!("softmax over axes {axes:?} of {}", g.ty(x)));
    let mut resolved = resolved.ok_or_else(bad)?;
    resolved.sort_unstable();
    resolved.dedup();
    g.add(path, Softmax { axes: resolved }, &[x])
}

fn glu(g: &mut Graph, path: &str, x: ValueId) -> Result<ValueId, Diag> {
    let axis = last_axis(g, path, x)?;
    let size = g.shape(x)[axis].known().filter(|size| size % 2 == 0);
    let size =
        size.ok_or_else(|| Diag::new(Code::TypeMismatch, path, format!("glu halves the last axis of {}", g.ty(x))))?;
    let value = g.slice(path, x, axis, Dim::Known(0), Dim::Known(size / 2))?;
    let gate = g.slice(path, x, axis, Dim::Known(size / 2), Dim::Known(size))?;
    let gate = g.unary(path, UnaryFunction::Sigmoid, gate)?;
    g.binary(path, BinaryFunction::Mul, value, gate)
}

fn squareplus(g: &mut Graph, path: &str, x: ValueId, b: f64) -> Result<ValueId, Diag> {
    let square = g.unary(path, UnaryFunction::Square, x)?;
    let under = g.binary_scalar(path, BinaryFunction::Add, square, b)?;
    let root = g.unary(path, UnaryFunction::Sqrt, under)?;
    let sum = g.binary(path, BinaryFunction::Add, x, root)?;
    g.binary_scalar(path, BinaryFunction::Mul, sum, 0.5)
}

fn sparse_plus(g: &mut Graph, path: &str, x: ValueId) -> Result<ValueId, Diag> {
    // Inside of (-1, 1) the parabola; clipping x before it gives 0 below and makes the join above exact.
    let inside = g.add(path, Clip { min: Some(-1.0), max: Some(1.0) }, &[x])?;
    let shifted = g.binary_scalar(path, BinaryFunction::Add, inside, 1.0)?;
    let square = g.unary(path, UnaryFunction::Square, shifted)?;
    let parabola = g.binary_scalar(path, BinaryFunction::Mul, square, 0.25)?;
    let beyond = g.binary_scalar(path, BinaryFunction::GreaterEqual, x, 1.0)?;
    g.add(path, Where {}, &[beyond, x, parabola])
}

/// max(x - tau, 0), with tau as Keras computes it: (the sum of the running sums over the support - 1) / its size.
fn sparsemax(g: &mut Graph, path: &str, x: ValueId) -> Result<ValueId, Diag> {
    use BinaryFunction as B;
    let axis = last_axis(g, path, x)?;
    let (dtype, size) = (g.ty(x).dtype, g.shape(x)[axis].clone());
    let sorted = g.add_node(path, TopK { axis, k: size.clone(), largest: true }.into(), &[Some(x)])?[0];
    let running = Cumulative { function: CumulativeFunction::Sum, axis, exclusive: false, reverse: false };
    let running = g.add(path, running, &[sorted])?;
    let counted = g.add(path, Iota { dim: size, dtype: DType::I64 }, &[])?;
    let counted = g.add(path, Cast { to: dtype }, &[counted])?;
    let counted = g.binary_scalar(path, B::Add, counted, 1.0)?;
    let excess = g.binary_scalar(path, B::Sub, running, 1.0)?;
    let mean = g.binary(path, B::Div, excess, counted)?;
    let support = g.add(path, Binary { function: B::Greater }, &[sorted, mean])?;
    let kept = select_or(g, path, support, running, 0.0)?;
    let total = g.reduce(path, ReduceFunction::Sum, kept, &[axis], true)?;
    let ones = g.add(path, Cast { to: dtype }, &[support])?;
    let count = g.reduce(path, ReduceFunction::Sum, ones, &[axis], true)?;
    let total = g.binary_scalar(path, B::Sub, total, 1.0)?;
    let tau = g.binary(path, B::Div, total, count)?;
    let above = g.binary(path, B::Sub, x, tau)?;
    g.unary(path, UnaryFunction::Relu, above)
}
