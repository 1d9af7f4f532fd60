//! `TensorFlowOpLayer` of TensorFlow 2.0 to 2.3: one node of a TensorFlow graph, with the inputs that are constants.
//! Each becomes the `TFOpLambda` that later versions write for the same function.
//!
//! `{"node_def": {"op": "AddV2", "attr": {..}}, "constants": {"1": 2.0}}`, called on the inputs that are tensors.

use crate::json;
use recast_plugin_api::diag::{Code, Diag};
use serde_json::{Map, Value, json};

/// How the inputs and attributes of an op are the arguments of a function.
#[derive(Clone, Copy)]
enum Call {
    /// One argument each, then the attributes (op's name, function's name).
    Each(&'static [(&'static str, &'static str)]),
    /// The first, the others under these names, then the attributes.
    Named(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// All in one list.
    List(&'static [(&'static str, &'static str)]),
    /// All but the last in one list.
    ListThenAxis,
    /// params, indices, axis.
    Gather,
    Strided,
}

use Call::{Each, Gather, List, ListThenAxis, Named, Strided};

const NONE: Call = Each(&[]);
const AXIS: Call = Named(&["axis"], &[]);
const KEEP: Call = Named(&["axis"], &[("keep_dims", "keepdims")]);

/// Sorted by op.
const TABLE: &[(&str, &str, Call)] = &[
    ("Abs", "math.abs", NONE),
    ("Add", "math.add", NONE),
    ("AddN", "math.add_n", List(&[])),
    ("AddV2", "math.add", NONE),
    ("All", "math.reduce_all", KEEP),
    ("Any", "math.reduce_any", KEEP),
    ("ArgMax", "math.argmax", AXIS),
    ("ArgMin", "math.argmin", AXIS),
    ("BatchMatMul", "linalg.matmul", Each(&[("adj_x", "transpose_a"), ("adj_y", "transpose_b")])),
    ("BatchMatMulV2", "linalg.matmul", Each(&[("adj_x", "transpose_a"), ("adj_y", "transpose_b")])),
    ("BiasAdd", "nn.bias_add", NONE),
    ("Cast", "cast", Each(&[("DstT", "dtype")])),
    ("Ceil", "math.ceil", NONE),
    ("ClipByValue", "clip_by_value", Named(&["clip_value_min", "clip_value_max"], &[])),
    ("ConcatV2", "concat", ListThenAxis),
    ("Cos", "math.cos", NONE),
    ("Elu", "nn.elu", NONE),
    ("Equal", "math.equal", NONE),
    ("Erf", "math.erf", NONE),
    ("Exp", "math.exp", NONE),
    ("ExpandDims", "expand_dims", AXIS),
    ("Floor", "math.floor", NONE),
    ("FloorDiv", "math.floordiv", NONE),
    ("FloorMod", "math.floormod", NONE),
    ("GatherV2", "gather", Gather),
    ("Greater", "math.greater", NONE),
    ("GreaterEqual", "math.greater_equal", NONE),
    ("Identity", "identity", NONE),
    ("LeakyRelu", "nn.leaky_relu", Each(&[("alpha", "alpha")])),
    ("Less", "math.less", NONE),
    ("LessEqual", "math.less_equal", NONE),
    ("Log", "math.log", NONE),
    ("LogSoftmax", "nn.log_softmax", NONE),
    ("LogicalAnd", "math.logical_and", NONE),
    ("LogicalNot", "math.logical_not", NONE),
    ("LogicalOr", "math.logical_or", NONE),
    ("MatMul", "linalg.matmul", Each(&[("transpose_a", "transpose_a"), ("transpose_b", "transpose_b")])),
    ("Max", "math.reduce_max", KEEP),
    ("Maximum", "math.maximum", NONE),
    ("Mean", "math.reduce_mean", KEEP),
    ("Min", "math.reduce_min", KEEP),
    ("Minimum", "math.minimum", NONE),
    ("Mul", "math.multiply", NONE),
    ("Neg", "math.negative", NONE),
    ("NotEqual", "math.not_equal", NONE),
    ("Pack", "stack", List(&[("axis", "axis")])),
    ("Pad", "pad", Named(&["paddings"], &[])),
    ("Pow", "math.pow", NONE),
    ("Prod", "math.reduce_prod", KEEP),
    ("RealDiv", "math.divide", NONE),
    ("Reciprocal", "math.reciprocal", NONE),
    ("Relu", "nn.relu", NONE),
    ("Relu6", "nn.relu6", NONE),
    ("Reshape", "reshape", Named(&["shape"], &[])),
    ("Rint", "math.rint", NONE),
    ("Rsqrt", "math.rsqrt", NONE),
    ("SelectV2", "where", NONE),
    ("Selu", "nn.selu", NONE),
    ("Sigmoid", "math.sigmoid", NONE),
    ("Sign", "math.sign", NONE),
    ("Sin", "math.sin", NONE),
    ("Softmax", "nn.softmax", NONE),
    ("Softplus", "math.softplus", NONE),
    ("Softsign", "nn.softsign", NONE),
    ("Sqrt", "math.sqrt", NONE),
    ("Square", "math.square", NONE),
    ("SquaredDifference", "math.squared_difference", NONE),
    ("Squeeze", "squeeze", Each(&[("squeeze_dims", "axis")])),
    ("StopGradient", "stop_gradient", NONE),
    ("StridedSlice", "__operators__.getitem", Strided),
    ("Sub", "math.subtract", NONE),
    ("Sum", "math.reduce_sum", KEEP),
    ("Tanh", "math.tanh", NONE),
    ("Tile", "tile", Named(&["multiples"], &[])),
    ("Transpose", "transpose", Named(&["perm"], &[])),
    ("ZerosLike", "zeros_like", NONE),
];

const CLASS: &str = "TensorFlowOpLayer";

/// The configuration with each such layer replaced; none when it has none.
pub fn replaced(value: &Value) -> Result<Option<Value>, Diag> {
    if !json::names_class(value, &|class| class == CLASS) {
        return Ok(None);
    }
    let mut value = value.clone();
    replace(&mut value)?;
    Ok(Some(value))
}

fn replace(value: &mut Value) -> Result<(), Diag> {
    match value {
        Value::Object(map) if map.get("class_name").and_then(Value::as_str) == Some(CLASS) => one(map),
        Value::Object(map) => map.values_mut().try_for_each(replace),
        Value::Array(list) => list.iter_mut().try_for_each(replace),
        _ => Ok(()),
    }
}

fn one(map: &mut Map<String, Value>) -> Result<(), Diag> {
    let config = map.get("config").cloned().unwrap_or_default();
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    // The layer's own name has a prefix that its configuration leaves out.
    let name = text(map.get("name")).or_else(|| text(config.get("name")).map(|name| format!("tf_op_layer_{name}")));
    let name = name.unwrap_or_default();
    let bad = |detail: &str| Diag::new(Code::BadConfig, name.as_str(), detail);
    let Some(node) = config.get("node_def").filter(|node| node.is_object()) else {
        let detail = "a TensorFlowOpLayer whose node is stored in binary, as TensorFlow 2.0 did";
        return Err(Diag::new(Code::UnsupportedContainer, name.as_str(), detail)
            .hint("load the model in TensorFlow 2.2 or later, and save it again"));
    };
    let op = text(node.get("op")).ok_or_else(|| bad("a node without an op"))?;
    let found = TABLE.binary_search_by_key(&op.as_str(), |row| row.0).ok().map(|found| &TABLE[found]);
    let (function, call) = found.map_or((format!("raw_ops.{op}"), NONE), |row| (row.1.to_owned(), row.2));
    let empty = Map::new();
    let constants = config.get("constants").and_then(Value::as_object).unwrap_or(&empty);
    let mut nodes = Vec::new();
    for inbound in map.get("inbound_nodes").and_then(Value::as_array).into_iter().flatten() {
        let inputs = inputs(inbound, constants).ok_or_else(|| bad("inputs and constants that don't fit"))?;
        let attrs = node.get("attr").unwrap_or(&Value::Null);
        nodes.push(arguments(call, inputs, attrs).ok_or_else(|| bad("a node without its arguments"))?);
    }
    let dtype = config.get("dtype").cloned().unwrap_or(Value::Null);
    map.insert("class_name".into(), json!("TFOpLambda"));
    map.insert(
        "config".into(),
        json!({"name": name, "trainable": config.get("trainable"), "dtype": dtype, "function": function}),
    );
    map.insert("name".into(), json!(name));
    map.insert("inbound_nodes".into(), Value::Array(nodes));
    Ok(())
}

/// Tensors and constants in the order of the op's inputs; constants stand at their index.
fn inputs(inbound: &Value, constants: &Map<String, Value>) -> Option<Vec<Value>> {
    let mut inputs = Vec::new();
    let leaves = match inbound.get("args") {
        Some(_) => return None,
        None => inbound.as_array()?,
    };
    let mut pending: Vec<&Value> = leaves.iter().rev().collect();
    while let Some(leaf) = pending.pop() {
        match leaf.as_array()?.as_slice() {
            [Value::String(layer), node, tensor, ..] => inputs.push(json!({
                "class_name": "__keras_tensor__", "config": {"keras_history": [layer, node, tensor]}
            })),
            inner => pending.extend(inner.iter().rev()),
        }
    }
    let mut placed: Vec<(usize, &Value)> =
        constants.iter().map(|(index, value)| Some((index.parse().ok()?, value))).collect::<Option<_>>()?;
    placed.sort_by_key(|(index, _)| *index);
    for (index, value) in placed {
        if index > inputs.len() {
            return None;
        }
        inputs.insert(index, plain(value));
    }
    Some(inputs)
}

/// numpy's values as Keras tags them, untagged.
fn plain(value: &Value) -> Value {
    let inner = value.get("config").and_then(|config| config.get("value")).or_else(|| value.get("value"));
    inner.unwrap_or(value).clone()
}

/// A call in the way of Keras 3, which can say what stands at which place.
fn arguments(call: Call, mut inputs: Vec<Value>, attrs: &Value) -> Option<Value> {
    let mut kwargs = Map::new();
    let args = match call {
        Each(names) => {
            given(names, attrs, &mut kwargs);
            inputs
        }
        Named(arguments, names) => {
            given(names, attrs, &mut kwargs);
            let others = inputs.split_off(inputs.len().min(1));
            if others.len() > arguments.len() {
                return None;
            }
            kwargs.extend(arguments.iter().map(|name| (*name).to_owned()).zip(others));
            inputs
        }
        List(names) => {
            given(names, attrs, &mut kwargs);
            vec![Value::Array(inputs)]
        }
        ListThenAxis => {
            kwargs.insert("axis".into(), inputs.pop()?);
            vec![Value::Array(inputs)]
        }
        Gather => {
            kwargs.insert("axis".into(), inputs.pop().filter(|_| inputs.len() == 2)?);
            inputs
        }
        Strided => strided(inputs, attrs)?,
    };
    Some(json!({"args": args, "kwargs": kwargs}))
}

fn given(names: &[(&str, &str)], attrs: &Value, kwargs: &mut Map<String, Value>) {
    for (attr, argument) in names {
        if let Some(value) = attrs.get(attr).and_then(attribute) {
            kwargs.insert((*argument).into(), value);
        }
    }
}

/// `{"i": "2"}`, `{"b": true}`, `{"f": 0.2}`, `{"type": "DT_FLOAT"}`, `{"list": {"i": ["1"]}}`; whole numbers are
/// texts.
fn attribute(attr: &Value) -> Option<Value> {
    let whole = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    if let Some(value) = attr.get("i") {
        return whole(value).map(|value| json!(value));
    }
    if let Some(list) = attr.get("list") {
        let list = list.get("i").and_then(Value::as_array)?;
        return list.iter().map(whole).collect::<Option<Vec<_>>>().map(|list| json!(list));
    }
    if let Some(dtype) = attr.get("type").and_then(Value::as_str) {
        let name = match dtype {
            "DT_FLOAT" => "float32",
            "DT_DOUBLE" => "float64",
            "DT_HALF" => "float16",
            "DT_BFLOAT16" => "bfloat16",
            "DT_INT32" => "int32",
            "DT_INT64" => "int64",
            "DT_UINT8" => "uint8",
            "DT_INT8" => "int8",
            "DT_BOOL" => "bool",
            other => other,
        };
        return Some(json!(name));
    }
    attr.get("b").or_else(|| attr.get("f")).cloned()
}

/// begin, end and strides with their masks, as a slicing expression.
fn strided(inputs: Vec<Value>, attrs: &Value) -> Option<Vec<Value>> {
    let [tensor, begin, end, strides] = &inputs[..] else { return None };
    let mask = |name: &str| attrs.get(name).and_then(attribute).and_then(|mask| mask.as_u64()).unwrap_or(0);
    let [begins, ends, shrinks, ellipses, news] =
        ["begin_mask", "end_mask", "shrink_axis_mask", "ellipsis_mask", "new_axis_mask"].map(mask);
    let (begin, end, strides) = (begin.as_array()?, end.as_array()?, strides.as_array()?);
    let mut items = Vec::with_capacity(begin.len());
    for (at, from) in begin.iter().enumerate() {
        let set = |mask: u64| at < 64 && mask >> at & 1 == 1;
        items.push(if set(ellipses) {
            json!({"class_name": "__ellipsis__", "config": {}})
        } else if set(news) {
            Value::Null
        } else if set(shrinks) {
            from.clone()
        } else {
            let open = |open: bool, value: &Value| if open { Value::Null } else { value.clone() };
            json!({"start": open(set(begins), from), "stop": open(set(ends), end.get(at)?), "step": strides.get(at)?})
        });
    }
    Some(vec![tensor.clone(), Value::Array(items)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.is_sorted_by_key(|row| row.0));
    }

    #[test]
    fn constants_stand_where_they_stood() {
        let config = json!({"layers": [{"class_name": CLASS, "name": "tf_op_layer_Mean", "config": {
            "name": "Mean", "trainable": true, "dtype": "float32", "constants": {"1": [1, 2]},
            "node_def": {"op": "Mean", "attr": {"keep_dims": {"b": true}}}}, "inbound_nodes": [[["x", 0, 0, {}]]]}]});
        let layer = &replaced(&config).unwrap().unwrap()["layers"][0];
        assert_eq!(layer["class_name"], "TFOpLambda");
        assert_eq!(layer["config"]["function"], "math.reduce_mean");
        let tensor = json!({"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}});
        assert_eq!(layer["inbound_nodes"], json!([{"args": [tensor], "kwargs": {"axis": [1, 2], "keepdims": true}}]));
        assert_eq!(replaced(&json!({"layers": []})).unwrap(), None);
    }
}
