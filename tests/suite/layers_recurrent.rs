//! Recurrent, attention and wrapper layers against real Keras: every case of `conformance/recurrent_cases.py` is
//! lowered, evaluated by the reference evaluator, and compared, masks included; with sizes known and with symbols.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use recast_keras_layers::lower_request;
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::types::{decode_numbers, encode_number};
use recast_plugin_api::ir::wire::TensorProto;
use recast_plugin_api::ir::{DType, Dim, Graph, Tensor, Type, ValueId};
use recast_plugin_api::lower::LowerHost;
use recast_plugin_api::messages::{LowerInput, LowerRequest, Lowered};
use recast_plugin_api::model::{Arg, Child, Layer, NamedArg, ValueRef, Weight};
use recast_reference::{Array, Files, Options, evaluate};
use serde_json::Value as Json;
use std::cell::Cell;
use std::path::Path;

const RELATIVE: f64 = 1e-4;
const ABSOLUTE: f64 = 1e-5;

/// The host as far as these layers need it: wrapped layers are lowered by the same plugin.
#[derive(Default)]
struct Host {
    children: Cell<usize>,
}

impl LowerHost for Host {
    fn lower_child(&self, request: &LowerRequest) -> Result<Lowered, Findings> {
        self.children.set(self.children.get() + 1);
        lower_request(Some(self), request)
    }

    fn report(&self, diag: &Diag) {
        assert!(!diag.is_error(), "{diag}");
    }
}

struct Case {
    json: Json,
}

fn text<'j>(json: &'j Json, key: &str) -> &'j str {
    json[key].as_str().unwrap_or_else(|| panic!("'{key}' in {json}"))
}

fn items<'j>(json: &'j Json, key: &str) -> &'j [Json] {
    json[key].as_array().unwrap_or_else(|| panic!("'{key}' in {json}"))
}

fn shape(json: &Json) -> Vec<u64> {
    items(json, "shape").iter().map(|size| size.as_u64().expect("a size")).collect()
}

fn dtype(json: &Json) -> DType {
    DType::from_keras(text(json, "dtype")).expect("a dtype")
}

/// The array's numbers as bytes of its own dtype.
fn bytes(json: &Json) -> Vec<u8> {
    let stored = STANDARD.decode(text(json, "data")).expect("base64");
    if json["half"] != Json::Bool(true) {
        return stored;
    }
    let numbers = decode_numbers(DType::F16, &stored);
    numbers.into_iter().flat_map(|number| encode_number(dtype(json), number)).collect()
}

fn array(json: &Json) -> Array {
    let sizes: Vec<usize> = shape(json).into_iter().map(|size| size as usize).collect();
    Array::from_bytes(dtype(json), &sizes, &bytes(json)).expect("an array")
}

/// With symbols, each free axis is one: `batch`, and one name for each length, as lengths that meet are equal.
fn ty(json: &Json, free: &[Json], symbols: bool) -> Type {
    let dim = |(axis, size): (usize, u64)| match axis {
        axis if !symbols || !free.contains(&Json::from(axis)) => Dim::Known(size),
        0 => Dim::symbol("batch"),
        _ => Dim::symbol(&format!("time{size}")),
    };
    Type::new(dtype(json), shape(json).into_iter().enumerate().map(dim).collect::<Vec<_>>())
}

fn layer(json: &Json, path: &str) -> Layer {
    let weight = |json: &Json| Weight {
        role: text(json, "role").into(),
        tensor: Some(TensorProto::from(&Tensor::inline(dtype(json), &shape(json), bytes(json)))),
        ..Weight::default()
    };
    let child = |(name, json): (&String, &Json)| Child {
        attribute: name.clone(),
        layer: Some(layer(json, &format!("{path}/{name}"))),
    };
    Layer {
        name: path.rsplit('/').next().unwrap_or(path).into(),
        path: path.into(),
        class: text(json, "class").into(),
        config: json["config"].to_string(),
        weights: items(json, "weights").iter().map(weight).collect(),
        children: json["children"].as_object().expect("children").iter().map(child).collect(),
        ..Layer::default()
    }
}

fn arg(json: &Json) -> Arg {
    if let Some(index) = json["input"].as_u64() {
        return Arg::value(ValueRef { call: None, index: index as u32 });
    }
    match json["list"].as_array() {
        Some(items) => Arg::list(items.iter().map(arg).collect()),
        None => Arg::json(&json["json"]),
    }
}

impl Case {
    fn inputs(&self) -> &[Json] {
        items(&self.json, "inputs")
    }

    fn request(&self, symbols: bool) -> LowerRequest {
        let input = |json: &Json| {
            let free = items(json, "free");
            let mask = json.get("mask").map(|mask| (&ty(mask, free, symbols)).into());
            LowerInput { ty: Some((&ty(json, free, symbols)).into()), mask }
        };
        let kwargs = self.json["kwargs"].as_object().expect("kwargs");
        LowerRequest {
            layer: Some(layer(&self.json["layer"], text(&self.json, "name"))),
            inputs: self.inputs().iter().map(input).collect(),
            args: items(&self.json, "args").iter().map(arg).collect(),
            kwargs: kwargs.iter().map(|(name, json)| NamedArg { name: name.clone(), arg: Some(arg(json)) }).collect(),
            keras_version: text(&self.json, "keras_version").into(),
            ..LowerRequest::default()
        }
    }

    fn lower(&self, symbols: bool, host: &Host) -> Result<Lowered, String> {
        let told = |findings: Findings| findings.iter().map(Diag::to_string).collect::<Vec<_>>().join("; ");
        lower_request(Some(host), &self.request(symbols)).map_err(told)
    }

    /// Lowers, evaluates and compares; the error says what differs.
    fn check(&self, symbols: bool, host: &Host) -> Result<(), String> {
        let lowered = self.lower(symbols, host)?;
        let mut graph = decoded(&lowered)?;
        let expected = items(&self.json, "outputs");
        if lowered.outputs.len() != expected.len() {
            return Err(format!("{} outputs, Keras gives {}", lowered.outputs.len(), expected.len()));
        }
        for (output, json) in lowered.outputs.iter().zip(expected) {
            if output.mask.is_some() != json.get("mask").is_some() {
                return Err(format!("mask: {}, in Keras: {}", output.mask.is_some(), json.get("mask").is_some()));
            }
            for value in [Some(output.value), output.mask].into_iter().flatten() {
                graph.output("y", ValueId(value));
            }
        }
        let given = self.inputs().iter().flat_map(|json| [Some(json), json.get("mask")]).flatten();
        let arrays: Vec<Array> = given.map(array).collect();
        let found = evaluate(&graph, &arrays, &Files::none(), &Options::default()).map_err(|diag| diag.to_string())?;
        let expected = expected.iter().flat_map(|json| [Some(json), json.get("mask")]).flatten();
        found.iter().zip(expected).try_for_each(|(found, want)| same(found, &array(want)))
    }
}

fn decoded(lowered: &Lowered) -> Result<Graph, String> {
    lowered.graph.as_ref().ok_or("no graph")?.decode_graph().map_err(|diag| diag.to_string())
}

fn same(found: &Array, want: &Array) -> Result<(), String> {
    if (found.dtype, &found.shape) != (want.dtype, &want.shape) {
        return Err(format!("{} where Keras gives {}", found.ty(), want.ty()));
    }
    let (found, want) = (found.numbers(), want.numbers());
    // A NaN is far from everything.
    let far = |(a, b): (&f64, &f64)| (a - b).is_nan() || (a - b).abs() > ABSOLUTE + RELATIVE * b.abs();
    match found.iter().zip(&want).position(far) {
        Some(at) => Err(format!("element {at} of {}: {} where Keras gives {}", want.len(), found[at], want[at])),
        None => Ok(()),
    }
}

fn cases(major: u32) -> Vec<Case> {
    let path = format!("fixtures/layers/recurrent{major}.jsonl");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let lines = std::fs::read_to_string(&path).expect("the cases are there");
    lines.lines().map(|line| Case { json: serde_json::from_str(line).expect("a case is JSON") }).collect()
}

fn check_all(major: u32, at_least: usize) {
    let host = Host::default();
    let cases = cases(major);
    assert!(cases.len() >= at_least, "only {} cases", cases.len());
    let mut failed = Vec::new();
    for case in &cases {
        for symbols in [false, true] {
            if let Err(why) = case.check(symbols, &host) {
                failed.push(format!("{} (symbols {symbols}): {why}", text(&case.json, "name")));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), 2 * cases.len(), failed.join("\n"));
    assert!(host.children.get() > 0, "no wrapped layer was lowered");
}

#[test]
fn keras_2_agrees() {
    check_all(2, 380);
}

#[test]
fn keras_3_agrees() {
    check_all(3, 400);
}

/// A check that can't fail is none: one wrong weight, mask or option is seen in nearly every case.
#[test]
fn a_wrong_weight_is_seen() {
    let host = Host::default();
    let (mut seen, mut all) = (0, 0);
    for mut case in cases(3) {
        let weights = case.json["layer"]["weights"].as_array_mut().expect("weights");
        let Some(weight) = weights.first_mut() else { continue };
        let mut numbers = bytes(weight);
        // Another exponent of the first number.
        let last = numbers.len().min(4) - 1;
        numbers[last] ^= 0x81;
        weight["data"] = STANDARD.encode(&numbers).into();
        weight["half"] = false.into();
        all += 1;
        seen += usize::from(case.check(false, &host).is_err());
    }
    assert!(all > 200 && seen * 100 >= all * 97, "{seen} of {all}");
}

/// Before TensorFlow took Keras in, a masked step gave the state, which before the first step is the initial one. Such
/// a Keras does not run here; what it gives follows from what Keras 2.15 gives.
#[test]
fn old_keras_gives_the_state_at_masked_steps() {
    let host = Host::default();
    let named = |name: &str| ["lstm", "gru", "gru_before", "simple"].contains(&name);
    let of = |case: &Case| text(&case.json, "name").strip_suffix("_both_initial_masked").is_some_and(named);
    let mut checked = 0;
    for mut case in cases(2).into_iter().filter(of) {
        case.json["keras_version"] = "2.2.4".into();
        let (sequence, initial) = (array(&case.json["outputs"][0]), array(&case.json["inputs"][1]).numbers());
        let mask = array(&case.json["inputs"][0]["mask"]).numbers();
        let (time, units) = (sequence.shape[1], sequence.shape[2]);
        let mut numbers = sequence.numbers();
        for (step, values) in numbers.chunks_mut(units).enumerate() {
            let batch = step / time;
            if mask[batch * time..=step].iter().all(|&seen| seen == 0.0) {
                values.copy_from_slice(&initial[batch * units..][..units]);
            }
        }
        let bytes: Vec<u8> = numbers.iter().flat_map(|&number| encode_number(DType::F32, number)).collect();
        case.json["outputs"][0]["data"] = STANDARD.encode(bytes).into();
        case.check(true, &host).unwrap_or_else(|why| panic!("{}: {why}", text(&case.json, "name")));
        // The last output is then the state.
        case.json["layer"]["config"]["return_sequences"] = false.into();
        let state = case.json["outputs"][1].clone();
        case.json["outputs"][0] = state;
        case.check(true, &host).unwrap_or_else(|why| panic!("{}: {why}", text(&case.json, "name")));
        checked += 1;
    }
    assert_eq!(checked, 4);
}

/// Weights of a mixed policy are f32 in the file and f16 in the graph.
#[test]
fn mixed_precision_lowers_to_half_floats() {
    let host = Host::default();
    let mut checked = 0;
    for mut case in cases(3) {
        let layer = &mut case.json["layer"];
        let own = layer["children"].as_object().is_some_and(|children| children.is_empty());
        if !own || layer["config"].get("dtype").is_some() {
            continue;
        }
        layer["config"]["dtype"] = "mixed_float16".into();
        let lowered = case.lower(true, &host).unwrap_or_else(|why| panic!("{}: {why}", text(&case.json, "name")));
        let graph = decoded(&lowered).expect("a graph");
        for output in &lowered.outputs {
            assert_eq!(graph.ty(ValueId(output.value)).dtype, DType::F16, "{}", text(&case.json, "name"));
        }
        checked += 1;
    }
    assert!(checked > 200, "{checked} cases");
}
