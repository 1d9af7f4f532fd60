//! What Keras 2 does not do with these very types or values, though it has the class or function: Keras 3 makes floats
//! of whole numbers where TensorFlow refuses them, and its layers take more ranks and options together.

use super::{casts, functions};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{DType, Graph, Op, Type, ValueId};
use recast_plugin_api::model::{Layer, LayerModel, Model, ValueRef, keras_version};
use serde_json::{Value, json};
use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};

/// Types of what each layer takes from others and gives to others, by its path; empty where there is no graph.
#[derive(Default)]
pub struct Typed {
    takes: HashMap<String, Vec<Type>>,
    gives: HashMap<String, Vec<Type>>,
    /// Layers that choose between values.
    chooses: HashSet<String>,
}

impl Typed {
    pub fn of(graph: &Graph) -> Typed {
        let mut typed = Typed::default();
        let mut makers: HashMap<ValueId, &str> = graph.inputs.iter().map(|input| (input.value, "")).collect();
        for node in graph.nodes() {
            for value in node.inputs.iter().flatten() {
                let Some(maker) = makers.get(value).filter(|maker| **maker != node.path) else { continue };
                let ty = graph.ty(*value);
                typed.takes.entry(node.path.clone()).or_default().push(ty.clone());
                typed.gives.entry((*maker).to_owned()).or_default().push(ty.clone());
            }
            if matches!(node.op, Op::Where(_)) {
                typed.chooses.insert(node.path.clone());
            }
            makers.extend(node.outputs.iter().map(|&value| (value, node.path.as_str())));
        }
        for output in &graph.outputs {
            if let Some(maker) = makers.get(&output.value) {
                typed.gives.entry((*maker).to_owned()).or_default().push(graph.ty(output.value).clone());
            }
        }
        typed
    }

    pub(super) fn takes(&self, path: &str) -> &[Type] {
        self.takes.get(path).map_or(&[], Vec::as_slice)
    }

    pub(super) fn gives(&self, path: &str) -> &[Type] {
        self.gives.get(path).map_or(&[], Vec::as_slice)
    }
}

/// Everything in a model by Keras 3 that Keras 2 refuses, or computes otherwise, for its types and values.
pub fn refused_by_2(source: &LayerModel, root: &Model, typed: &Typed) -> Findings {
    let mut findings = Findings::new();
    if keras_version(&source.keras_version).0 >= 3 {
        within(root, typed, &mut findings);
    }
    findings
}

fn within(model: &Model, typed: &Typed, findings: &mut Findings) {
    for (index, layer) in model.layers.iter().enumerate() {
        let mut whys = whys(layer, typed);
        // What a wrapper gives is what its layer gives.
        whys.extend(counted(model, index, casts::core(layer)));
        let finding = |why: String| Diag::new(Code::UnsupportedLayer, layer.path.as_str(), why);
        findings.extend(whys.into_iter().map(finding));
        if let Some(inner) = &layer.model {
            within(inner, typed, findings);
        }
        for child in layer.children.iter().filter_map(|child| child.layer.as_ref()) {
            let alone = Model { layers: vec![child.clone()], ..Model::default() };
            within(&alone, typed, findings);
        }
    }
}

/// Layers that make vectors of categories, of samples of one axis in Keras 2.
const ENCODERS: &[&str] = &[
    "CategoryEncoding",
    "Discretization",
    "HashedCrossing",
    "Hashing",
    "IntegerLookup",
    "StringLookup",
    "TextVectorization",
];

/// Those of them that give whole numbers in Keras 3 whatever dtype they have, and floats in Keras 2 whatever is asked.
const COUNTS: &[&str] = &["IntegerLookup", "TextVectorization"];
/// Gives the whole numbers that it is asked for in Keras 2.
const COUNTS_AS_ASKED: &str = "StringLookup";

fn mode(config: &Value) -> &str {
    config.get("output_mode").and_then(Value::as_str).unwrap_or("int")
}

/// Who sees the dtype of what a layer gives: functions and users of the model, and layers, which compute with floats.
struct Seen {
    dtype: bool,
    numbers: bool,
}

fn seen(model: &Model, index: usize) -> Seen {
    let own = |value: &ValueRef| {
        let call = value.call.and_then(|call| model.calls.get(call as usize));
        call.is_some_and(|call| call.layer as usize == index)
    };
    let shown = model.outputs.iter().filter_map(|output| output.value.as_ref()).any(own);
    let mut seen = Seen { dtype: shown, numbers: false };
    for call in &model.calls {
        let mut args = call.args.iter().chain(call.kwargs.iter().filter_map(|named| named.arg.as_ref()));
        if args.any(|arg| arg.leaves().into_iter().flatten().any(own)) {
            let function = model.layers.get(call.layer as usize).is_some_and(|by| by.class.starts_with("ops."));
            seen.dtype |= function;
            seen.numbers |= !function;
        }
    }
    seen
}

/// Does the layer give a vector for its tokens, of what is there, or how often?
pub(super) fn encodes(layer: &Layer) -> bool {
    let config: Value = serde_json::from_str(&layer.config).unwrap_or_default();
    matches!(mode(&config), "one_hot" | "multi_hot" | "count")
}

/// Counts of Keras 2 are floats: to a layer that computes with floats it is all one, not to functions and users.
fn counted(model: &Model, index: usize, layer: &Layer) -> Option<String> {
    let class = layer.class.as_str();
    let (never, asked) = (COUNTS.contains(&class), class == COUNTS_AS_ASKED);
    if !(never || asked) || !encodes(layer) {
        return None;
    }
    let seen = seen(model, index);
    let differs = seen.dtype && (never || seen.numbers);
    differs.then(|| format!("Keras 2's {class} gives floats where Keras 3 gives whole numbers"))
}

/// Does Keras 2 have to be asked for whole numbers?
pub fn asks_for_counts(model: &Model, index: usize) -> bool {
    let layer = model.layers.get(index).map(casts::core).filter(|layer| layer.class == COUNTS_AS_ASKED);
    layer.is_some_and(encodes) && seen(model, index).dtype
}

fn whys(layer: &Layer, typed: &Typed) -> Vec<String> {
    // Of most classes nothing is asked.
    let config = LazyCell::new(|| serde_json::from_str::<Value>(&layer.config).unwrap_or_default());
    let (takes, gives) = (typed.takes(&layer.path), typed.gives(&layer.path));
    if let Some(operation) = layer.class.strip_prefix("ops.") {
        return function(operation, &config, takes, gives).into_iter().collect();
    }
    let class = layer.class.as_str();
    let several = |key: &str| match config.get(key) {
        Some(Value::Array(items)) => items.iter().any(|item| item.as_u64().is_some_and(|size| size > 1)),
        Some(size) => size.as_u64().is_some_and(|size| size > 1),
        None => false,
    };
    let has = |key: &str, value: Value| config.get(key) == Some(&value);
    let mut whys = Vec::new();
    let mut say = |is: bool, why: &str| whys.extend(is.then(|| format!("Keras 2's {class} {why}")));
    let encodes = ENCODERS.contains(&class) && mode(&config) != "int";
    say(encodes && gives.iter().any(|ty| ty.rank() > 2), "gives no more than two axes, which are more here");
    let whole = takes.iter().any(|ty| !ty.dtype.is_float());
    say(class == "Masking" && whole, "takes floats alone, and no whole numbers as here");
    let smooth = || config.get("interpolation").is_some_and(|way| *way != json!("nearest"));
    let kept = takes.iter().chain(gives).all(|ty| ty.dtype.is_int()) && !takes.is_empty();
    say(class == "Resizing" && kept && smooth(), "gives floats of whole numbers, that of Keras 3 whole numbers");
    let curved = || !matches!(config.get("activation").and_then(Value::as_str), Some("linear" | "relu") | None);
    say(
        class == "Activation" && whole && curved(),
        "takes floats alone for its function, and no whole numbers as here",
    );
    say(class == "Conv3DTranspose" && several("dilation_rate"), "does not dilate");
    let spread = class.contains("Conv") && several("strides") && several("dilation_rate");
    say(spread, "has no strides together with a dilation_rate");
    let zeroed = class.starts_with("ConvLSTM") && has("zero_output_for_mask", json!(true));
    say(zeroed, "has no `zero_output_for_mask`, which is true here");
    let embeds = layer.child("layer").is_some_and(|inner| inner.class == "Embedding");
    say(class == "SpectralNormalization" && embeds, "of an Embedding gives floats, that of Keras 3 whole numbers");
    // Keras 3.10 and later, where they do not use the fused attention.
    let zeroed = class == "MultiHeadAttention" && typed.chooses.contains(&layer.path);
    say(zeroed, "gives queries whose keys are all masked the mean of the values, that of Keras 3 zeros");
    let unseen = class == "MultiHeadAttention" && casts::casts_query(layer, typed);
    say(unseen, "does not find the mask of a query that it casts");
    let zeroed = class == "Softmax" && typed.chooses.contains(&layer.path);
    say(zeroed, "does not give zeros where all is masked, as that of Keras 3");
    let open = |ty: &Type| ty.shape.iter().rev().skip(1).take(2).any(|size| size.known().is_none());
    say(class == "CenterCrop" && takes.iter().any(open), "asks for the sizes of its images, which are free here");
    whys
}

/// Functions that change the dtype, or whose operands have dtypes of their own.
const CASTS: &[&str] = &["core.Cast", "core.ConvertToTensor", "nn.OneHot", "numpy.CountNonzero"];

/// Functions that add up in a wider dtype in Keras 3, and do not in TensorFlow.
const SUMS: &[&str] = &["numpy.Cumprod", "numpy.Cumsum", "numpy.Prod", "numpy.Sum"];

/// Functions that TensorFlow does not have for truth values.
const ARITHMETIC: &[&str] = &[
    "numpy.Add",
    "numpy.Clip",
    "numpy.Max",
    "numpy.Maximum",
    "numpy.Min",
    "numpy.Minimum",
    "numpy.Multiply",
    "numpy.Prod",
    "numpy.Sort",
    "numpy.Subtract",
    "numpy.Sum",
];

fn function(operation: &str, config: &Value, takes: &[Type], gives: &[Type]) -> Option<String> {
    let name = functions::restored(operation)?;
    let refused = |what: String| Some(format!("{operation} as TensorFlow's {name}: {what}"));
    let named = |key: &str| config.get(key);
    match operation {
        "numpy.ExpandDims" if named("axis").is_some_and(Value::is_array) => {
            return refused("several axes at once".into());
        }
        "numpy.Roll" if named("axis").is_none_or(Value::is_null) => return refused("no `axis`".into()),
        "linalg.Norm"
            if named("ord")
                .is_some_and(|ord| *ord == json!("-Infinity") || ord.as_f64().is_some_and(|ord| ord <= 0.0)) =>
        {
            return refused(format!("an `ord` of {}", config["ord"]));
        }
        // Over no axis it takes whatever is there for one vector.
        "linalg.Norm"
            if named("ord").is_some_and(|ord| !ord.is_null())
                && named("axis").is_none_or(Value::is_null)
                && takes.iter().any(|ty| ty.rank() > 1) =>
        {
            return refused("an `ord` of a matrix without its axes".into());
        }
        "linalg.Norm" if named("ord") == Some(&json!("nuc")) => return refused("a nuclear norm".into()),
        "numpy.Matmul" if takes.iter().any(|ty| ty.rank() < 2) => return refused("of a vector".into()),
        _ => {}
    }
    let (first, given) = (takes.first()?.dtype, gives.first()?.dtype);
    let differs = takes.iter().find(|ty| ty.dtype != first).filter(|_| functions::takes_one_dtype(operation));
    if let Some(other) = differs {
        return refused(format!("{first} and {} together", other.dtype));
    }
    let turned = given.is_float() && takes.iter().all(|ty| !ty.dtype.is_float()) && !CASTS.contains(&operation);
    if turned || SUMS.contains(&operation) && given != first {
        return refused(format!("{given} of {first}"));
    }
    let truth = first == DType::Bool && ARITHMETIC.contains(&operation);
    if truth { refused("truth values".into()) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dtype and rank.
    type Of = (DType, usize);
    /// (class, configuration, what it takes, what it gives, part of why Keras 2 refuses it): seen in tf.keras 2.15.
    const CASES: &[(&str, &str, &[Of], Of, &str)] = &[
        ("Hashing", r#"{"output_mode": "one_hot"}"#, &[(DType::Str, 2)], (DType::F32, 3), "two axes"),
        ("Hashing", r#"{"output_mode": "one_hot"}"#, &[(DType::Str, 2)], (DType::F32, 2), ""),
        ("Hashing", "{}", &[(DType::Str, 3)], (DType::I64, 3), ""),
        ("Masking", "{}", &[(DType::I32, 3)], (DType::I32, 3), "whole numbers"),
        ("Activation", r#"{"activation": "tanh"}"#, &[(DType::I32, 3)], (DType::F32, 3), "whole numbers"),
        ("Activation", r#"{"activation": "relu"}"#, &[(DType::I32, 3)], (DType::I32, 3), ""),
        ("Masking", "{}", &[(DType::F16, 3)], (DType::F16, 3), ""),
        ("DepthwiseConv2D", r#"{"strides": [2, 2], "dilation_rate": [2, 2]}"#, &[], (DType::F32, 4), "together"),
        ("DepthwiseConv2D", r#"{"strides": [2, 2], "dilation_rate": [1, 1]}"#, &[], (DType::F32, 4), ""),
        ("Conv3DTranspose", r#"{"strides": 1, "dilation_rate": 2}"#, &[], (DType::F32, 5), "does not dilate"),
        ("ConvLSTM1D", r#"{"zero_output_for_mask": true}"#, &[], (DType::F32, 3), "zero_output_for_mask"),
        ("Resizing", r#"{"interpolation": "bilinear"}"#, &[(DType::U8, 4)], (DType::U8, 4), "gives floats"),
        ("Resizing", r#"{"interpolation": "nearest"}"#, &[(DType::U8, 4)], (DType::U8, 4), ""),
        ("CenterCrop", "{}", &[(DType::F32, 4)], (DType::F32, 4), ""),
        ("ops.numpy.Mean", "{}", &[(DType::I32, 2)], (DType::F32, 1), "f32 of i32"),
        ("ops.numpy.Mean", "{}", &[(DType::F16, 2)], (DType::F16, 1), ""),
        ("ops.numpy.Sum", "{}", &[(DType::U8, 2)], (DType::U32, 1), "u32 of u8"),
        ("ops.numpy.Subtract", "{}", &[(DType::Bool, 2), (DType::F32, 2)], (DType::F32, 2), "bool and f32"),
        ("ops.numpy.Add", "{}", &[(DType::Bool, 2), (DType::Bool, 2)], (DType::Bool, 2), "truth values"),
        ("ops.core.Cast", r#"{"dtype": "float32"}"#, &[(DType::I32, 2)], (DType::F32, 2), ""),
        ("ops.numpy.Greater", "{}", &[(DType::F32, 2), (DType::F32, 2)], (DType::Bool, 2), ""),
        ("ops.numpy.ExpandDims", r#"{"axis": [1, 3]}"#, &[(DType::F32, 2)], (DType::F32, 4), "several axes"),
        ("ops.numpy.Roll", r#"{"shift": 1, "axis": null}"#, &[(DType::F32, 2)], (DType::F32, 2), "no `axis`"),
        ("ops.linalg.Norm", r#"{"ord": "-Infinity"}"#, &[(DType::F32, 2)], (DType::F32, 0), "`ord` of"),
        ("ops.linalg.Norm", r#"{"ord": 0}"#, &[(DType::F32, 2)], (DType::F32, 1), "`ord` of 0"),
        ("ops.linalg.Norm", r#"{"ord": "fro"}"#, &[(DType::F32, 2)], (DType::F32, 0), "without its axes"),
        ("ops.linalg.Norm", r#"{"ord": "nuc", "axis": [1, 2]}"#, &[(DType::F32, 3)], (DType::F32, 1), "nuclear"),
        ("ops.linalg.Norm", r#"{"ord": "Infinity", "axis": 1}"#, &[(DType::F32, 2)], (DType::F32, 1), ""),
        ("ops.numpy.Matmul", "{}", &[(DType::F32, 1), (DType::F32, 2)], (DType::F32, 1), "of a vector"),
        ("ops.numpy.Matmul", "{}", &[(DType::F32, 2), (DType::F32, 2)], (DType::F32, 2), ""),
    ];

    #[test]
    fn what_keras_2_does_not_do_is_refused() {
        let of = |&(dtype, rank): &(DType, usize)| Type::known(dtype, &vec![2; rank]);
        for (class, config, takes, gives, want) in CASES {
            let layer =
                Layer { path: "l".into(), class: (*class).into(), config: (*config).into(), ..Layer::default() };
            let typed = Typed {
                takes: HashMap::from([("l".to_owned(), takes.iter().map(of).collect())]),
                gives: HashMap::from([("l".to_owned(), vec![of(gives)])]),
                chooses: HashSet::new(),
            };
            let whys = whys(&layer, &typed).join("; ");
            assert_eq!(whys.is_empty(), want.is_empty(), "{class} {config}: {whys}");
            assert!(whys.contains(want), "{class} {config}: {whys}");
        }
    }
}
