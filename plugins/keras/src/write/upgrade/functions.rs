//! TensorFlow's functions as Keras 3's operations. Keras 2 wrapped a function that a model called into a layer: its
//! first tensor is an argument, everything else goes by TensorFlow's names. Keras 3 wants the tensors as arguments and
//! the rest in the operation's configuration. `restore` goes the other way.

use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{DType, Type};
use recast_plugin_api::model::{Arg, ArgKind, Call, Layer, NamedArg};
use serde_json::{Map, Value, json};

/// (function, operation, its tensors in Keras' order by TensorFlow's names, options).
/// An option is `tensorflow>keras=DEFAULT`, the default as JSON; without one it has to be given. TensorFlow has no word
/// for `>keras=DEFAULT`: it does as the default says, as Keras does for `tensorflow>=DEFAULT`.
pub(super) type Rule = (&'static str, &'static str, &'static str, &'static str);

const REDUCE: &str = "axis>axis=null keepdims>keepdims=false";

/// Sorted by function, without `tf.`.
const RULES: &[Rule] = &[
    ("__operators__.add", "numpy.Add", "x y", ""),
    ("__operators__.eq", "numpy.Equal", "x y", ""),
    ("__operators__.getitem", "numpy.GetItem", "tensor slice_spec", ""),
    ("__operators__.ne", "numpy.NotEqual", "x y", ""),
    ("argsort", "numpy.Argsort", "values", "axis>axis=-1"),
    ("broadcast_to", "numpy.BroadcastTo", "input", "shape>shape"),
    ("cast", "core.Cast", "x", "dtype>dtype"),
    ("clip_by_value", "numpy.Clip", "t", "clip_value_min>x_min clip_value_max>x_max"),
    ("compat.v1.floor_div", "numpy.FloorDivide", "x y", ""),
    ("compat.v1.gather", "numpy.Take", "params indices", "axis>axis=0 batch_dims>=0"),
    ("compat.v1.math.scalar_mul", "numpy.Multiply", "scalar x", ""),
    ("compat.v1.norm", "linalg.Norm", "tensor", "axis>axis=null keepdims>keepdims=false ord>ord=null"),
    ("compat.v1.pad", "numpy.Pad", "tensor", "paddings>pad_width mode>mode=\"constant\" constant_values>=0"),
    ("compat.v1.squeeze", "numpy.Squeeze", "input", "axis>axis=null"),
    ("compat.v1.transpose", "numpy.Transpose", "a", "perm>axes=null"),
    ("concat", "numpy.Concatenate", "values", "axis>axis"),
    ("dtypes.saturate_cast", "core.SaturateCast", "value", "dtype>dtype"),
    ("expand_dims", "numpy.ExpandDims", "input", "axis>axis"),
    ("identity", "numpy.Copy", "input", ""),
    ("image.resize", "image.Resize", "images", "size>size method>interpolation=\"bilinear\" antialias>antialias=false"),
    ("linalg.matmul", "numpy.Matmul", "a b", ""),
    ("linalg.trace", "numpy.Trace", "x", ">offset=0 >axis1=-2 >axis2=-1"),
    ("math.abs", "numpy.Absolute", "x", ""),
    ("math.acos", "numpy.Arccos", "x", ""),
    ("math.acosh", "numpy.Arccosh", "x", ""),
    ("math.add", "numpy.Add", "x y", ""),
    ("math.argmax", "numpy.Argmax", "input", "axis>axis=0"),
    ("math.argmin", "numpy.Argmin", "input", "axis>axis=0"),
    ("math.asin", "numpy.Arcsin", "x", ""),
    ("math.asinh", "numpy.Arcsinh", "x", ""),
    ("math.atan", "numpy.Arctan", "x", ""),
    ("math.atan2", "numpy.Arctan2", "y x", ""),
    ("math.atanh", "numpy.Arctanh", "x", ""),
    ("math.ceil", "numpy.Ceil", "x", ""),
    ("math.cos", "numpy.Cos", "x", ""),
    ("math.cosh", "numpy.Cosh", "x", ""),
    ("math.cumprod", "numpy.Cumprod", "x", "axis>axis=0"),
    ("math.cumsum", "numpy.Cumsum", "x", "axis>axis=0"),
    ("math.divide", "numpy.Divide", "x y", ""),
    ("math.divide_no_nan", "numpy.DivideNoNan", "x y", ""),
    ("math.equal", "numpy.Equal", "x y", ""),
    ("math.erf", "math.Erf", "x", ""),
    ("math.erfc", "math.Erfc", "x", ""),
    ("math.exp", "numpy.Exp", "x", ""),
    ("math.expm1", "numpy.Expm1", "x", ""),
    ("math.floor", "numpy.Floor", "x", ""),
    ("math.floordiv", "numpy.FloorDivide", "x y", ""),
    ("math.floormod", "numpy.Mod", "x y", ""),
    ("math.greater", "numpy.Greater", "x y", ""),
    ("math.greater_equal", "numpy.GreaterEqual", "x y", ""),
    ("math.is_finite", "numpy.Isfinite", "x", ""),
    ("math.is_inf", "numpy.Isinf", "x", ""),
    ("math.is_nan", "numpy.Isnan", "x", ""),
    ("math.l2_normalize", "nn.Normalize", "x", "axis>axis=null epsilon>epsilon=1e-12 >order=2"),
    ("math.less", "numpy.Less", "x y", ""),
    ("math.less_equal", "numpy.LessEqual", "x y", ""),
    ("math.log", "numpy.Log", "x", ""),
    ("math.log1p", "numpy.Log1p", "x", ""),
    ("math.log_sigmoid", "nn.LogSigmoid", "x", ""),
    ("math.logical_and", "numpy.LogicalAnd", "x y", ""),
    ("math.logical_not", "numpy.LogicalNot", "x", ""),
    ("math.logical_or", "numpy.LogicalOr", "x y", ""),
    ("math.logical_xor", "numpy.LogicalXor", "x y", ""),
    ("math.maximum", "numpy.Maximum", "x y", ""),
    ("math.minimum", "numpy.Minimum", "x y", ""),
    ("math.multiply", "numpy.Multiply", "x y", ""),
    ("math.negative", "numpy.Negative", "x", ""),
    ("math.not_equal", "numpy.NotEqual", "x y", ""),
    ("math.pow", "numpy.Power", "x y", ""),
    ("math.reciprocal", "numpy.Reciprocal", "x", ""),
    ("math.reduce_all", "numpy.All", "input_tensor", REDUCE),
    ("math.reduce_any", "numpy.Any", "input_tensor", REDUCE),
    ("math.reduce_logsumexp", "math.Logsumexp", "input_tensor", REDUCE),
    ("math.reduce_max", "numpy.Max", "input_tensor", REDUCE),
    ("math.reduce_mean", "numpy.Mean", "input_tensor", REDUCE),
    ("math.reduce_min", "numpy.Min", "input_tensor", REDUCE),
    ("math.reduce_prod", "numpy.Prod", "input_tensor", REDUCE),
    ("math.reduce_std", "numpy.Std", "input_tensor", REDUCE),
    ("math.reduce_sum", "numpy.Sum", "input_tensor", REDUCE),
    ("math.reduce_variance", "numpy.Var", "input_tensor", REDUCE),
    ("math.round", "numpy.Round", "x", ">decimals=0"),
    ("math.rsqrt", "math.Rsqrt", "x", ""),
    ("math.scalar_mul", "numpy.Multiply", "scalar x", ""),
    ("math.sigmoid", "nn.Sigmoid", "x", ""),
    ("math.sign", "numpy.Sign", "x", ""),
    ("math.sin", "numpy.Sin", "x", ""),
    ("math.sinh", "numpy.Sinh", "x", ""),
    ("math.softplus", "nn.Softplus", "features", ""),
    ("math.sqrt", "numpy.Sqrt", "x", ""),
    ("math.square", "numpy.Square", "x", ""),
    ("math.subtract", "numpy.Subtract", "x y", ""),
    ("math.tan", "numpy.Tan", "x", ""),
    ("math.tanh", "numpy.Tanh", "x", ""),
    ("math.top_k", "math.TopK", "input", "k>k=1 sorted>sorted=true"),
    ("math.truediv", "numpy.TrueDivide", "x y", ""),
    ("nn.bias_add", "numpy.Add", "value bias", ""),
    ("nn.depth_to_space", "nn.DepthToSpace", "input", "block_size>block_size data_format>data_format=\"NHWC\""),
    ("nn.elu", "nn.Elu", "features", ">alpha=1.0"),
    ("nn.gelu", "nn.Gelu", "features", "approximate>approximate=false"),
    ("nn.leaky_relu", "nn.LeakyRelu", "features", "alpha>negative_slope=0.2"),
    ("nn.log_softmax", "nn.LogSoftmax", "logits", "axis>axis=-1"),
    ("nn.relu", "nn.Relu", "features", ""),
    ("nn.relu6", "nn.Relu6", "features", ""),
    ("nn.selu", "nn.Selu", "features", ""),
    ("nn.silu", "nn.Silu", "features", ""),
    ("nn.softmax", "nn.Softmax", "logits", "axis>axis=-1"),
    ("nn.softsign", "nn.Softsign", "features", ""),
    ("nn.space_to_depth", "nn.SpaceToDepth", "input", "block_size>block_size data_format>data_format=\"NHWC\""),
    ("one_hot", "nn.OneHot", "indices", "depth>num_classes axis>axis=-1 dtype>dtype=\"float32\" >sparse=false"),
    ("ones_like", "numpy.OnesLike", "input", "dtype>dtype=null"),
    ("pad", "numpy.Pad", "tensor", "paddings>pad_width mode>mode=\"constant\""),
    ("repeat", "numpy.Repeat", "input", "repeats>repeats axis>axis=null"),
    ("reshape", "numpy.Reshape", "tensor", "shape>newshape"),
    ("reverse", "numpy.Flip", "tensor", "axis>axis"),
    ("roll", "numpy.Roll", "input", "shift>shift axis>axis"),
    ("sort", "numpy.Sort", "values", "axis>axis=-1"),
    ("split", "numpy.Split", "value", "num_or_size_splits>indices_or_sections axis>axis=0"),
    ("squeeze", "numpy.Squeeze", "input", "axis>axis=null"),
    ("stack", "numpy.Stack", "values", "axis>axis=0"),
    ("stop_gradient", "core.StopGradient", "input", ""),
    ("tensordot", "numpy.Tensordot", "a b", "axes>axes=2"),
    ("tile", "numpy.Tile", "input", "multiples>repeats"),
    ("transpose", "numpy.Transpose", "a", "perm>axes=null"),
    ("unstack", "core.Unstack", "value", "num>num=null axis>axis=0"),
    ("where", "numpy.Where", "condition x y", ""),
    ("zeros_like", "numpy.ZerosLike", "input", "dtype>dtype=null"),
];

/// Functions that give indices: int64, unless they are asked for the int32 of Keras 3.
pub(super) const INDICES: &[&str] = &["math.argmax", "math.argmin"];

/// Functions that do less than Keras 3's operations: `gather` takes no index from the end.
const ONE_WAY: &[&str] = &["compat.v1.gather"];

pub(super) fn find(function: &str) -> Option<&'static Rule> {
    let found = RULES.binary_search_by_key(&function, |rule| rule.0).ok()?;
    Some(&RULES[found])
}

/// The options of a rule: TensorFlow's name, Keras' name, the default.
pub(super) fn spelled(
    options: &'static str,
) -> impl Iterator<Item = (&'static str, &'static str, Option<&'static str>)> {
    options.split(' ').filter(|option| !option.is_empty()).map(|option| {
        let (name, rest) = option.split_once('>').unwrap_or((option, option));
        let (key, default) = rest.split_once('=').map_or((rest, None), |(key, default)| (key, Some(default)));
        (name, key, default)
    })
}

/// Makes an operation of a layer of a TensorFlow function, and of all of its calls, where Keras 3 has that operation.
/// `takes`: what the layer is given.
pub fn rewrite(layer: &mut Layer, calls: &mut [&mut Call], takes: &[Type]) -> Result<(), Findings> {
    let Some(function) = layer.class.strip_prefix("tf.") else { return Ok(()) };
    let Some(rule) = find(function) else { return Ok(()) };
    let mut config: Option<Map<String, Value>> = None;
    for call in calls {
        if INDICES.contains(&function) {
            // A cast says it.
            call.kwargs.retain(|named| named.name != "output_type");
        }
        let found = match turned(function, call) {
            Some(subscripts) => rewrite_product(call, subscripts),
            None => rewrite_call(rule, &layer.path, call, takes)?,
        };
        if config.as_ref().is_some_and(|config| *config != found) {
            let detail =
                format!("{function} is called with different options, which are the operation's own in Keras 3");
            return Err(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail).into());
        }
        config = Some(found);
    }
    let mut whole = Map::new();
    whole.insert("name".into(), json!(layer.name));
    whole.extend(config.unwrap_or_default());
    let operation = if whole.contains_key(SUBSCRIPTS) { "numpy.Einsum" } else { rule.1 };
    layer.config = Value::Object(whole).to_string();
    layer.class = format!("ops.{operation}");
    layer.module = String::new();
    Ok(())
}

const SUBSCRIPTS: &str = "subscripts";

/// A product of matrices of which one is turned, which Keras 3's takes as they are: as a sum.
fn turned(function: &str, call: &Call) -> Option<&'static str> {
    let is = |flags: [&str; 2]| {
        let yes = Some(Arg::json(&json!(true)));
        call.kwargs.iter().any(|named| flags.contains(&named.name.as_str()) && named.arg == yes)
    };
    // Numbers are real, and their own conjugates.
    let (left, right) = (["transpose_a", "adjoint_a"], ["transpose_b", "adjoint_b"]);
    let known = |name: &str| left.contains(&name) || right.contains(&name) || matches!(name, "a" | "b" | "name");
    let plain = call.kwargs.iter().all(|named| known(&named.name) || is_neutral(named.arg.as_ref()));
    match (is(left), is(right)) {
        _ if function != "linalg.matmul" || !plain => None,
        (false, false) => None,
        (true, false) => Some("...ji,...jk->...ik"),
        (false, true) => Some("...ij,...kj->...ik"),
        (true, true) => Some("...ji,...kj->...ik"),
    }
}

fn rewrite_product(call: &mut Call, subscripts: &str) -> Map<String, Value> {
    let others = std::mem::take(&mut call.kwargs).into_iter().filter(|named| matches!(named.name.as_str(), "a" | "b"));
    call.args.extend(others.filter_map(|named| named.arg));
    Map::from_iter([(SUBSCRIPTS.to_owned(), json!(subscripts))])
}

/// The rule that makes an operation of a function again: by a name that TensorFlow has, rather than a method's.
pub(super) fn find_operation(operation: &str) -> Option<&'static Rule> {
    let rules = || RULES.iter().filter(|rule| rule.1 == operation && !ONE_WAY.contains(&rule.0));
    rules().find(|rule| !rule.0.starts_with("__") && !rule.0.starts_with("compat")).or_else(|| rules().next())
}

/// The function that an operation of Keras 3 becomes, where there is one.
pub fn restored(operation: &str) -> Option<&'static str> {
    find_operation(operation).map(|rule| rule.0)
}

/// Tensors of one dtype in TensorFlow.
const ONE_DTYPE: &[&str] = &["x y", "y x", "a b", "value bias"];

/// Has it two tensors, of one dtype in TensorFlow?
pub fn takes_one_dtype(operation: &str) -> bool {
    find_operation(operation).is_some_and(|rule| ONE_DTYPE.contains(&rule.2))
}

/// Classes with which Keras 3 keeps an array of numbers among the arguments of a call: `{"value", "dtype"}`.
pub const ARRAYS: [&str; 2] = ["__numpy__", "__tensor__"];

/// A list of numbers as the array that Keras 3 takes in the place of a tensor; without a dtype, that of its numbers.
fn array_of(arg: Arg, dtype: Option<DType>) -> Arg {
    match &arg.kind {
        Some(ArgKind::Json(text)) if text.starts_with('[') => {
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            let own = match text {
                text if text.contains("true") || text.contains("false") => DType::Bool,
                text if text.contains(['.', 'e', 'N', 'I']) => DType::F32,
                _ => DType::I32,
            };
            let dtype = dtype.unwrap_or(own).keras_name();
            Arg::json(&json!({"class_name": ARRAYS[0], "config": {"value": value, "dtype": dtype}}))
        }
        _ => arg,
    }
}

/// Puts a call's tensors into their places; the options are the operation's configuration.
fn rewrite_call(rule: &Rule, path: &str, call: &mut Call, takes: &[Type]) -> Result<Map<String, Value>, Findings> {
    let (function, _, tensors, options) = *rule;
    let refuse = |detail: String| Diag::new(Code::UnsupportedLayer, path, format!("{function}: {detail}"));
    let mut given: Vec<NamedArg> = std::mem::take(&mut call.kwargs);
    let mut names = tensors.split(' ');
    for arg in std::mem::take(&mut call.args) {
        let name = names.next().ok_or_else(|| refuse("more arguments than it has tensors".into()))?;
        given.push(NamedArg { name: name.to_owned(), arg: Some(arg) });
    }
    let mut take = |name: &str| {
        let found = given.iter().position(|named| named.name == name)?;
        given.remove(found).arg
    };
    for name in tensors.split(' ') {
        let arg = take(name).ok_or_else(|| refuse(format!("called without `{name}`")))?;
        let shared = takes.first().map(|ty| ty.dtype).filter(|_| ONE_DTYPE.contains(&tensors));
        call.args.push(match name {
            "slice_spec" => tagged(arg),
            // Keras 3 takes these as a list, too.
            "indices" => arg,
            _ => array_of(arg, shared),
        });
    }
    let mut config = Map::new();
    for (name, key, default) in spelled(options) {
        let value = match take(name).and_then(|arg| arg.kind) {
            Some(ArgKind::Json(text)) => text,
            Some(_) => return Err(refuse(format!("`{name}` is computed by the model")).into()),
            None => default.ok_or_else(|| refuse(format!("called without `{name}`")))?.to_owned(),
        };
        // As if it were not given.
        let value = if value == "null" { default.unwrap_or("null").to_owned() } else { value };
        let value = tuple(serde_json::from_str(&value).unwrap_or_default());
        if key.is_empty() {
            if value.as_f64() != default.and_then(|default| default.parse().ok()) {
                return Err(
                    refuse(format!("Keras 3 has no word for its argument `{name}`, which is {value} here")).into()
                );
            }
            continue;
        }
        let value = match (key, &value) {
            ("ord", ord) => {
                let whole = config["axis"].is_null() && takes.iter().any(|ty| ty.rank() > 2);
                let ord = norm(&config["axis"], ord).filter(|_| !whole);
                ord.ok_or_else(|| {
                    refuse(format!("Keras 3 has no norm with `ord` {value} over `axis` {}", config["axis"]))
                })?
            }
            ("mode", Value::String(mode)) => json!(mode.to_lowercase()),
            // Of the sum of squares there, of its root here.
            ("epsilon", Value::Number(least)) => json!(least.as_f64().map(f64::sqrt)),
            ("data_format", Value::String(format)) => json!(data_format(format)),
            ("interpolation", Value::String(way)) if !RESIZED.contains(&way.as_str()) => {
                return Err(refuse(format!("Keras 3 has no interpolation `{way}`")).into());
            }
            ("indices_or_sections", Value::Array(sizes)) => {
                places(sizes).ok_or_else(|| refuse("split into parts of which one takes what is left".to_owned()))?
            }
            _ => value,
        };
        config.insert(key.to_owned(), value);
    }
    let spare = given.iter().find(|named| named.name != "name" && !is_neutral(named.arg.as_ref()));
    match spare {
        Some(named) => Err(refuse(format!("Keras 3 has no word for its argument `{}`", named.name)).into()),
        None => Ok(config),
    }
}

/// Ways to resize that both have.
const RESIZED: &[&str] = &["bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"];

/// Which of the one's words is which of the other's.
pub(super) fn data_format(format: &str) -> &str {
    match format {
        "NHWC" => "channels_last",
        "NCHW" => "channels_first",
        "channels_last" => "NHWC",
        "channels_first" => "NCHW",
        other => other,
    }
}

/// Keras 3's `ord`. TensorFlow's norm over no axis, or over one, is that of a vector, over two that of a matrix; Keras
/// 3's over no axis is that of what is there.
fn norm(axis: &Value, ord: &Value) -> Option<Value> {
    let pair = axis.as_array().is_some_and(|axes| axes.len() == 2);
    match ord.as_str() {
        Some("euclidean" | "fro") if pair => Some(json!("fro")),
        Some("euclidean") => Some(Value::Null),
        None if ord.is_null() => Some(Value::Null),
        _ if axis.is_null() => (*ord == json!(2)).then_some(Value::Null),
        _ => Some(ord.clone()),
    }
}

/// Where parts of these sizes begin, the first left out: Keras splits at places.
fn places(sizes: &[Value]) -> Option<Value> {
    let (_, sizes) = sizes.split_last()?;
    let mut at = 0u64;
    let next = |size: &Value| {
        at = at.checked_add(size.as_u64()?)?;
        Some(json!(at))
    };
    sizes.iter().map(next).collect::<Option<Vec<_>>>().map(Value::Array)
}

/// What stands between brackets: Keras 2 writes a slice as its three numbers, Keras 3 says that it is one.
fn tagged(arg: Arg) -> Arg {
    let Some(ArgKind::Json(text)) = &arg.kind else { return arg };
    let spec: Value = serde_json::from_str(text).unwrap_or_default();
    let tag = |item: &Value| match item.get("class_name") {
        None if item.is_object() => json!({"class_name": "__slice__", "config": item}),
        Some(class) => json!({"class_name": class, "config": item.get("config").cloned().unwrap_or(json!({}))}),
        None => item.clone(),
    };
    let spec = tuple(spec);
    Arg::json(&match spec.as_array() {
        Some(items) => items.iter().map(tag).collect(),
        None => tag(&spec),
    })
}

/// Absent, null or false: what TensorFlow's optional arguments are when they do nothing.
fn is_neutral(arg: Option<&Arg>) -> bool {
    match arg.and_then(|arg| arg.kind.as_ref()) {
        None => true,
        Some(ArgKind::Json(text)) => matches!(text.as_str(), "null" | "false"),
        Some(_) => false,
    }
}

/// A list as Keras 3 stores it, whatever tag it had.
fn tuple(value: Value) -> Value {
    match value.get("items") {
        Some(items) => items.clone(),
        None => value,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use recast_plugin_api::model::ValueRef;

    pub fn call(args: Vec<Arg>, kwargs: &[(&str, Value)]) -> Call {
        let named = |(name, value): &(&str, Value)| NamedArg { name: name.to_string(), arg: Some(Arg::json(value)) };
        Call { layer: 0, args, kwargs: kwargs.iter().map(named).collect() }
    }

    pub fn layer(class: &str) -> Layer {
        Layer { name: "f".into(), path: "f".into(), class: class.into(), ..Layer::default() }
    }

    #[test]
    fn rules_are_sorted() {
        assert!(RULES.is_sorted_by_key(|rule| rule.0));
    }

    #[test]
    fn options_become_configuration_and_tensors_arguments() {
        let x = Arg::value(ValueRef { call: None, index: 0 });
        let mut sum = layer("tf.math.reduce_sum");
        let mut one = call(vec![x.clone()], &[("axis", json!([1])), ("name", json!(null))]);
        rewrite(&mut sum, &mut [&mut one], &[]).unwrap();
        assert_eq!((sum.class.as_str(), one.args.len(), one.kwargs.len()), ("ops.numpy.Sum", 1, 0));
        assert_eq!(sum.config, r#"{"name":"f","axis":[1],"keepdims":false}"#);
        let mut minus = layer("tf.math.subtract");
        let mut one = call(vec![Arg::json(&json!(1.0))], &[]);
        one.kwargs.push(NamedArg { name: "y".into(), arg: Some(x.clone()) });
        rewrite(&mut minus, &mut [&mut one], &[]).unwrap();
        assert_eq!(one.args, [Arg::json(&json!(1.0)), x.clone()]);
        let mut product = layer("tf.linalg.matmul");
        let mut one = call(vec![x.clone(), x.clone()], &[("transpose_b", json!(true))]);
        rewrite(&mut product, &mut [&mut one], &[]).unwrap();
        assert_eq!((product.class.as_str(), one.args.len(), one.kwargs.len()), ("ops.numpy.Einsum", 2, 0));
        assert_eq!(product.config, r#"{"name":"f","subscripts":"...ij,...kj->...ik"}"#);
        let mut sparse = layer("tf.linalg.matmul");
        let mut one = call(vec![x.clone(), x.clone()], &[("transpose_b", json!(true)), ("a_is_sparse", json!(true))]);
        assert_eq!(rewrite(&mut sparse, &mut [&mut one], &[]).unwrap_err()[0].code, Code::UnsupportedLayer);
        let mut reshape = layer("tf.reshape");
        let mut one = call(vec![x.clone(), x], &[]);
        assert!(rewrite(&mut reshape, &mut [&mut one], &[]).is_err());
    }

    #[test]
    fn norms_are_those_of_vectors_or_of_matrices() {
        for (axis, ord, want) in [
            (json!(null), json!("euclidean"), Some(json!(null))),
            (json!(null), json!(2), Some(json!(null))),
            (json!(null), json!("Infinity"), None),
            (json!(1), json!("euclidean"), Some(json!(null))),
            (json!([1]), json!("Infinity"), Some(json!("Infinity"))),
            (json!([1, 2]), json!("euclidean"), Some(json!("fro"))),
            (json!([1, 2]), json!(1), Some(json!(1))),
        ] {
            assert_eq!(norm(&axis, &ord), want, "{axis} {ord}");
        }
    }

    #[test]
    fn lists_of_numbers_are_arrays_to_keras_3() {
        let x = Arg::value(ValueRef { call: None, index: 0 });
        let mut sum = layer("tf.math.add");
        let mut one = call(vec![Arg::json(&json!([1.5, 2.0]))], &[]);
        one.kwargs.push(NamedArg { name: "y".into(), arg: Some(x.clone()) });
        rewrite(&mut sum, &mut [&mut one], &[]).unwrap();
        let array = json!({"class_name": "__numpy__", "config": {"value": [1.5, 2.0], "dtype": "float32"}});
        assert_eq!(one.args, [Arg::json(&array), x]);
    }
}
