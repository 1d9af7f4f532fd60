//! Keras 3's operations as TensorFlow's functions, by the rules of `functions` read the other way round, for a file
//! that Keras 2 is to read.

use super::functions::{ARRAYS, INDICES, Rule, data_format, find, find_operation, restored, spelled};
use super::prepare::name_positions;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::model::{Arg, ArgKind, Call, Layer, NamedArg};
use serde_json::{Map, Value, json};

/// Whole constants among floats as floats: TensorFlow goes by the first argument, and Keras 3 by the tensors.
pub fn state_floats(calls: &mut [&mut Call]) {
    fn floats(value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(floats),
            whole => {
                if let Some(number) = whole.as_i64() {
                    *whole = json!(number as f64);
                }
            }
        }
    }
    for arg in calls.iter_mut().flat_map(|call| &mut call.args) {
        let Some(ArgKind::Json(text)) = &mut arg.kind else { continue };
        let mut value: Value = serde_json::from_str(text).unwrap_or_default();
        floats(&mut value);
        *text = value.to_string();
    }
}

/// Makes a layer of a TensorFlow function of an operation of Keras 3, and of all of its calls, where there is such a
/// function. What has none stays, and is refused as what Keras 2 does not have.
pub fn restore(layer: &mut Layer, calls: &mut [&mut Call]) -> Result<(), Findings> {
    if let Some(function) = layer.class.strip_prefix("tf.").map(str::to_owned) {
        return retold(layer, &function, calls);
    }
    let operation = match layer.class.strip_prefix("ops.") {
        // A tensor is one already.
        Some("core.ConvertToTensor") => Some("numpy.Copy"),
        operation => operation,
    };
    let Some(rule) = operation.and_then(find_operation) else { return Ok(()) };
    let (function, operation, tensors, _) = *rule;
    let refuse = |detail: String| {
        let detail = format!("{operation} as TensorFlow's {function}: {detail}");
        Findings::from(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail))
    };
    let named = options_of(layer, rule).map_err(refuse)?;
    for call in calls {
        let mut dtypes = Vec::new();
        call.args.iter_mut().for_each(|arg| list_arrays(arg, &mut dtypes));
        let first = call.args.first().is_some_and(|arg| matches!(arg.kind, Some(ArgKind::Json(_))));
        if let Some(dtype) = dtypes.iter().find(|dtype| first && !matches!(dtype.as_str(), "float32" | "int32")) {
            return Err(refuse(format!(
                "its first operand is an array of {dtype}, which Keras 2 keeps without its dtype"
            )));
        }
        // Keras 3 names arguments that were not given.
        call.kwargs.retain(|named| named.arg.as_ref() != Some(&Arg::json(&Value::Null)));
        let mut args = std::mem::take(&mut call.args).into_iter();
        let given = tensors.split(' ').zip(args.by_ref());
        let mut given: Vec<NamedArg> =
            given.map(|(name, arg)| NamedArg { name: name.to_owned(), arg: Some(arg) }).collect();
        if args.next().is_some() || given.is_empty() || !call.kwargs.is_empty() {
            return Err(refuse("called with other arguments than its tensors".into()));
        }
        call.args.extend(given.remove(0).arg);
        call.kwargs = given;
        call.kwargs.iter_mut().filter(|named| named.name == "slice_spec").for_each(|named| untag(&mut named.arg));
        call.kwargs.extend(named.iter().cloned());
    }
    layer.class = format!("tf.{function}");
    layer.config = json!({"name": layer.name, "trainable": true, "dtype": "float32", "function": function}).to_string();
    layer.module = String::new();
    Ok(())
}

/// What Keras takes where no `epsilon` is given.
const KERAS_EPSILON: f64 = 1e-7;

/// The options of an operation by TensorFlow's names.
fn options_of(layer: &Layer, rule: &Rule) -> Result<Vec<NamedArg>, String> {
    let (function, _, _, options) = *rule;
    let config: Map<String, Value> = serde_json::from_str(&layer.config).unwrap_or_default();
    let narrow = || NamedArg { name: "output_type".to_owned(), arg: Some(Arg::json(&json!("int32"))) };
    let mut named: Vec<NamedArg> = INDICES.iter().filter(|known| **known == function).map(|_| narrow()).collect();
    let options: Vec<_> = spelled(options).collect();
    for (key, value) in &config {
        let option = options.iter().find(|(_, known, _)| known == key);
        let converts = layer.class.ends_with(".ConvertToTensor") && key == "dtype" && !value.is_null();
        if option.is_none() && !converts && matches!(key.as_str(), "name" | "trainable" | "dtype") {
            continue;
        }
        match option {
            Some(("", _, Some(default)))
                if serde_json::from_str(default).is_ok_and(|default: Value| default == *value) => {}
            Some(("", ..)) => return Err(format!("no word for `{key}`, which is {value} here")),
            Some((_, "indices_or_sections", _)) if !value.is_u64() => {
                return Err("split at places, and not into parts of one size".into());
            }
            Some((name, "epsilon", _)) => {
                let least = value.as_f64().unwrap_or(KERAS_EPSILON);
                named.push(NamedArg { name: (*name).to_owned(), arg: Some(Arg::json(&json!(least * least))) });
            }
            // No axis means another thing to the one than to the other where the default is an axis.
            Some((_, _, Some(default))) if value.is_null() && *default != "null" => {
                return Err(format!("no `{key}` is another thing there"));
            }
            // As if it were not given.
            Some((_, _, Some("null"))) if value.is_null() => {}
            Some(_) if function == "reverse" && value.is_null() => return Err("no `axis`".into()),
            // It takes nothing but a list.
            Some((name, ..)) if function == "reverse" && value.is_number() => {
                named.push(NamedArg { name: (*name).to_owned(), arg: Some(Arg::json(&json!([value]))) });
            }
            Some((name, "data_format", _)) => {
                let format = value.as_str().map(data_format);
                named.push(NamedArg { name: (*name).to_owned(), arg: Some(Arg::json(&json!(format))) });
            }
            Some((name, ..)) => named.push(NamedArg { name: (*name).to_owned(), arg: Some(Arg::json(value)) }),
            None if value.is_null() || *value == json!(false) => {}
            None => return Err(format!("no word for `{key}`, which is {value} here")),
        }
    }
    Ok(named)
}

/// What Keras 2 wrote, so that it reads it, which it does not for all that it writes: tensors in a list of arguments of
/// any length, and the second of `==`, are lost on the way into a file; `x + y` wants no list for x; `size` wants no
/// name of a dtype.
fn retold(layer: &mut Layer, function: &str, calls: &mut [&mut Call]) -> Result<(), Findings> {
    let refuse = |detail: String| {
        let detail = format!("{function}: {detail}");
        Findings::from(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail))
    };
    let rule = find(function);
    let names: Vec<&str> = rule.iter().flat_map(|rule| rule.2.split(' ')).collect();
    for call in calls.iter_mut() {
        if call.values().next().is_none() {
            return Err(refuse("Keras 2 does not store what it is called on".into()));
        }
        name_positions(&names, call);
        if matches!(function, "size" | "compat.v1.size") {
            let narrow = Some(Arg::json(&json!("int32")));
            call.kwargs.retain(|named| named.name != "out_type" || named.arg != narrow);
            if call.kwargs.iter().any(|named| named.name == "out_type") {
                return Err(refuse("Keras 2 does not read the `out_type` that it stores".into()));
            }
        }
    }
    let Some(rule) = rule.filter(|rule| rule.0.starts_with("__operators__.")) else { return Ok(()) };
    if calls.iter().any(|call| call.args.len() + call.kwargs.len() < 2) {
        return Err(refuse("Keras 2 does not store what it compares with".into()));
    }
    let function = restored(rule.1).unwrap_or(rule.0);
    let mut config: Map<String, Value> = serde_json::from_str(&layer.config).unwrap_or_default();
    config.insert("function".into(), json!(function));
    layer.config = Value::Object(config).to_string();
    layer.class = format!("tf.{function}");
    Ok(())
}

/// What stands between brackets as Keras 2 writes it: without saying what is a slice.
fn untag(arg: &mut Option<Arg>) {
    let Some(ArgKind::Json(text)) = arg.as_ref().and_then(|arg| arg.kind.as_ref()) else { return };
    let spec: Value = serde_json::from_str(text).unwrap_or_default();
    let bare = |item: &Value| match item.get("class_name").and_then(Value::as_str) {
        Some("__slice__") => item.get("config").cloned().unwrap_or_default(),
        _ => item.clone(),
    };
    let spec = match &spec {
        Value::Array(items) => items.iter().map(bare).collect(),
        // One index, or a slice alone: Keras 2 has a list of them.
        one => Value::Array(vec![bare(one)]),
    };
    *arg = Some(Arg::json(&spec));
}

/// Arrays of numbers as the lists that Keras 2 has for them; their dtypes.
fn list_arrays(arg: &mut Arg, dtypes: &mut Vec<String>) {
    match &mut arg.kind {
        Some(ArgKind::Json(text)) if ARRAYS.iter().any(|class| text.contains(class)) => {
            let array: Value = serde_json::from_str(text).unwrap_or_default();
            dtypes.extend(array["config"]["dtype"].as_str().map(str::to_owned));
            *text = array["config"]["value"].to_string();
        }
        Some(ArgKind::List(list)) => list.items.iter_mut().for_each(|item| list_arrays(item, dtypes)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::functions::tests::{call, layer};
    use super::*;
    use recast_plugin_api::model::ValueRef;

    /// Seen in tf.keras 2.15: `reverse` takes a list, `zeros_like` heeds its dtype, `multiply(0, floats)` fails.
    #[test]
    fn operations_become_functions_with_their_options() {
        let x = Arg::value(ValueRef { call: None, index: 0 });
        for (operation, config, function, kwargs) in [
            ("numpy.Flip", json!({"axis": 2}), "tf.reverse", json!({"axis": [2]})),
            ("numpy.Flip", json!({"axis": [1, 2]}), "tf.reverse", json!({"axis": [1, 2]})),
            ("numpy.ZerosLike", json!({"dtype": "int32"}), "tf.zeros_like", json!({"dtype": "int32"})),
            ("numpy.OnesLike", json!({"dtype": null}), "tf.ones_like", json!({})),
        ] {
            let mut made = Layer { config: config.to_string(), ..layer(&format!("ops.{operation}")) };
            let mut one = call(vec![x.clone()], &[]);
            restore(&mut made, &mut [&mut one]).unwrap_or_else(|found| panic!("{operation}: {}", found[0]));
            let named = one.kwargs.iter().map(|named| (named.name.clone(), named.arg.clone()));
            let wanted = kwargs.as_object().unwrap().iter();
            let wanted = wanted.map(|(name, value)| (name.clone(), Some(Arg::json(value))));
            assert_eq!(made.class, function, "{operation} {config}");
            assert_eq!(named.collect::<Vec<_>>(), wanted.collect::<Vec<_>>(), "{operation} {config}");
        }
        let mut sum = layer("tf.__operators__.add");
        let mut one = call(vec![Arg::json(&json!([1.5]))], &[]);
        one.kwargs.push(NamedArg { name: "y".into(), arg: Some(x.clone()) });
        restore(&mut sum, &mut [&mut one]).unwrap();
        assert_eq!((sum.class.as_str(), sum.config.as_str()), ("tf.math.add", r#"{"function":"math.add"}"#));
        let mut size = layer("tf.compat.v1.size");
        let mut one = call(vec![x.clone()], &[("out_type", json!("int32"))]);
        restore(&mut size, &mut [&mut one]).unwrap();
        assert!(one.kwargs.is_empty());
        let mut long = call(vec![x.clone()], &[("out_type", json!("int64"))]);
        assert!(restore(&mut size, &mut [&mut long]).is_err());
        for (function, args) in
            [("einsum", vec![Arg::json(&json!("ab,bc->ac"))]), ("__operators__.eq", vec![x.clone()])]
        {
            let found = restore(&mut layer(&format!("tf.{function}")), &mut [&mut call(args, &[])]).unwrap_err();
            assert!(found[0].detail.contains("does not store"), "{}", found[0]);
        }
        let mut all = Layer { config: json!({"axis": null}).to_string(), ..layer("ops.numpy.Flip") };
        assert!(restore(&mut all, &mut [&mut call(vec![x.clone()], &[])]).is_err());
        let mut one = call(vec![Arg::json(&json!(0)), x], &[]);
        state_floats(&mut [&mut one]);
        assert_eq!(one.args[0], Arg::json(&json!(0.0)));
    }

    #[test]
    fn arrays_are_lists_without_a_dtype() {
        let x = Arg::value(ValueRef { call: None, index: 0 });
        let array =
            |dtype: &str| Arg::json(&json!({"class_name": "__numpy__", "config": {"value": [1.5], "dtype": dtype}}));
        for (args, want) in [
            (vec![array("float32"), x.clone()], Some(Arg::json(&json!([1.5])))),
            (vec![x.clone(), array("float64")], Some(x.clone())),
            (vec![array("float64"), x.clone()], None),
        ] {
            let mut one = call(args, &[]);
            let done = restore(&mut layer("ops.numpy.Add"), &mut [&mut one]);
            assert_eq!(done.ok().map(|()| one.args), want.map(|first| vec![first]));
        }
    }
}
