//! Every lowering against real Keras: single layer calls with their outputs, recorded by
//! `tests/conformance/layer_cases.py`, lowered here, evaluated by the reference evaluator, and compared; with sizes
//! known, and with symbols in their place.

use base64::Engine;
use recast_keras_layers::lower_request;
use recast_keras_layers::table::LAYERS;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{DType, Dim, Graph, Tensor, Type, ValueId};
use recast_plugin_api::messages::{LowerInput, LowerRequest};
use recast_plugin_api::model::{Arg, Layer, NamedArg, ValueRef, Weight};
use recast_reference::{Array, Files, Options, evaluate};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

const RELATIVE: f64 = 1e-4;
const ABSOLUTE: f64 = 1e-5;
/// Cases and the mistakes in them that one run prints in full.
const SHOWN_MAX: usize = 60;

fn cases(name: &str) -> Vec<Json> {
    let path = format!("{}/../../tests/fixtures/layers/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.lines().map(|line| serde_json::from_str(line).expect("a case is JSON")).collect()
}

struct Stored {
    dtype: DType,
    shape: Vec<u64>,
    bytes: Vec<u8>,
    /// In the place of bytes.
    texts: Vec<String>,
}

fn stored(json: &Json) -> Stored {
    let dtype = DType::from_keras(json["dtype"].as_str().unwrap()).unwrap();
    let shape = json["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let texts = json["texts"].as_array().into_iter().flatten();
    let texts: Vec<String> = texts.map(|text| text.as_str().unwrap().into()).collect();
    let bytes = match json["parts"].as_str() {
        None if dtype == DType::Str => Vec::new(),
        None => decode(json["data"].as_str().unwrap()),
        Some(parts) => {
            let parts = decode(parts);
            let part = |pair: &[u8; 2]| f32::from(i16::from_le_bytes(*pair)) / 256.0;
            parts.as_chunks::<2>().0.iter().flat_map(|pair| part(pair).to_le_bytes()).collect()
        }
    };
    Stored { dtype, shape, bytes, texts }
}

impl Stored {
    fn array(&self) -> Array {
        let shape: Vec<usize> = self.shape.iter().map(|&n| n as usize).collect();
        if self.dtype == DType::Str {
            return Array::strings(shape, self.texts.clone());
        }
        Array::from_bytes(self.dtype, &shape, &self.bytes).expect("the bytes fit the shape")
    }
}

/// How an input's axes are given to the lowering.
#[derive(Clone, Copy, PartialEq)]
enum Sizes {
    Known,
    Symbolic,
}

/// The type of an input or its mask, with a symbol for each axis that may have one: the same for all inputs where they
/// have one size.
fn ty(case: &Json, index: usize, array: &Stored, sizes: Sizes) -> Type {
    let free: Vec<u64> = case["inputs"][index]["free"].as_array().unwrap().iter().filter_map(Json::as_u64).collect();
    let dim = |(axis, &size): (usize, &u64)| {
        if sizes == Sizes::Known || !free.contains(&(axis as u64)) {
            return Dim::Known(size);
        }
        let others = case["inputs"].as_array().unwrap().iter().filter_map(|input| input["shape"][axis].as_u64());
        let shared = others.into_iter().all(|other| other == size);
        Dim::symbol(&if shared { format!("n{axis}") } else { format!("n{axis}_{index}") })
    };
    Type::new(array.dtype, array.shape.iter().enumerate().map(dim).collect::<Vec<_>>())
}

/// The request of a case and the arrays that its graph takes.
fn request(case: &Json, sizes: Sizes) -> (LowerRequest, Vec<Array>) {
    let (mut inputs, mut arrays) = (Vec::new(), Vec::new());
    for (index, input) in case["inputs"].as_array().unwrap().iter().enumerate() {
        let value = stored(input);
        let mask = input.get("mask").map(stored);
        inputs.push(LowerInput {
            ty: Some((&ty(case, index, &value, sizes)).into()),
            mask: mask.as_ref().map(|mask| (&ty(case, index, mask, sizes)).into()),
        });
        arrays.push(value.array());
        arrays.extend(mask.map(|mask| mask.array()));
    }
    let refs: Vec<Arg> = (0..inputs.len() as u32).map(|index| Arg::value(ValueRef { call: None, index })).collect();
    let args = if case["list"] == true { vec![Arg::list(refs)] } else { refs };
    let mut kwargs = Vec::new();
    for (name, value) in case["kwargs"].as_object().unwrap() {
        let arg = if value.get("shape").is_some() {
            let value = stored(value);
            inputs.push(LowerInput { ty: Some((&Type::known(value.dtype, &value.shape)).into()), mask: None });
            arrays.push(value.array());
            Arg::value(ValueRef { call: None, index: inputs.len() as u32 - 1 })
        } else {
            Arg::json(value)
        };
        kwargs.push(NamedArg { name: name.clone(), arg: Some(arg) });
    }
    let request = LowerRequest {
        layer: Some(layer(case)),
        inputs,
        args,
        kwargs,
        keras_version: case["keras_version"].as_str().unwrap().into(),
        format: "keras-h5".into(),
        ..LowerRequest::default()
    };
    (request, arrays)
}

fn layer(case: &Json) -> Layer {
    let weight = |json: &Json| {
        let array = stored(json);
        let tensor = Tensor::inline(array.dtype, &array.shape, array.bytes);
        Weight { role: json["role"].as_str().unwrap().into(), tensor: Some((&tensor).into()), ..Weight::default() }
    };
    Layer {
        name: "it".into(),
        path: "it".into(),
        class: case["class"].as_str().unwrap().into(),
        config: case["config"].to_string(),
        weights: case["weights"].as_array().unwrap().iter().map(weight).collect(),
        trainable: case["trainable"].as_bool().unwrap_or(true),
        expression: case["expression"].as_str().map(String::from),
        ..Layer::default()
    }
}

/// Lowers and evaluates a case: its outputs, each followed by its mask where it has one.
fn computed(case: &Json, sizes: Sizes) -> Result<Vec<(Array, Option<Array>)>, String> {
    let (request, arrays) = request(case, sizes);
    let lowered = lower_request(None, &request).map_err(|all| format!("refused: {}", all[0]))?;
    let mut graph: Graph = lowered.graph.as_ref().unwrap().decode_graph().map_err(|e| e.to_string())?;
    for (index, output) in lowered.outputs.iter().enumerate() {
        graph.output(format!("y{index}"), ValueId(output.value));
        if let Some(mask) = output.mask {
            graph.output(format!("mask{index}"), ValueId(mask));
        }
    }
    let arrays =
        evaluate(&graph, &arrays, &Files::none(), &Options::default()).map_err(|e| format!("evaluator: {e}"))?;
    let mut arrays = arrays.into_iter();
    let mut outputs = Vec::new();
    for output in &lowered.outputs {
        outputs.push((arrays.next().unwrap(), output.mask.and_then(|_| arrays.next())));
    }
    Ok(outputs)
}

/// What is wrong with one array; `None` when it is right.
fn mistake(what: &str, got: &Array, want: &Stored, tolerance: f64) -> Option<String> {
    let shape: Vec<u64> = got.shape.iter().map(|&n| n as u64).collect();
    if shape != want.shape {
        return Some(format!("{what}: shape {shape:?}, Keras has {:?}", want.shape));
    }
    if got.dtype != want.dtype {
        return Some(format!("{what}: dtype {}, Keras has {}", got.dtype, want.dtype));
    }
    let (got, want) = (got.numbers(), want.array().numbers());
    let (relative, absolute) = (RELATIVE.max(tolerance), ABSOLUTE.max(tolerance));
    let off = |(a, b): (&f64, &f64)| a.is_nan() != b.is_nan() || (a - b).abs() > absolute + relative * b.abs();
    let at = got.iter().zip(&want).position(off)?;
    let count = got.iter().zip(&want).filter(|&pair| off(pair)).count();
    Some(format!("{what}: {count} of {} differ, first at {at}: {} where Keras has {}", got.len(), got[at], want[at]))
}

fn mistakes(case: &Json, sizes: Sizes) -> Option<String> {
    let outputs = match computed(case, sizes) {
        Ok(outputs) => outputs,
        Err(why) => return Some(why),
    };
    let wanted = case["outputs"].as_array().unwrap();
    if outputs.len() != wanted.len() {
        return Some(format!("{} outputs, Keras has {}", outputs.len(), wanted.len()));
    }
    // Half precision, which the evaluator does not round to between ops, and what Keras itself computes by tables.
    let tolerance = case["tolerance"].as_f64().unwrap_or(0.0);
    let masked = case["inputs"].as_array().unwrap().iter().any(|input| input.get("mask").is_some());
    for ((got, mask), want) in outputs.iter().zip(wanted) {
        if let Some(wrong) = mistake("output", got, &stored(want), tolerance) {
            return Some(wrong);
        }
        match (mask, want.get("mask")) {
            (None, None) => {}
            (Some(mask), Some(want)) => {
                if let Some(wrong) = mistake("mask", mask, &stored(want), 0.0) {
                    return Some(wrong);
                }
            }
            (Some(_), None) if masked => return Some("has a mask, in Keras it has none".into()),
            // Only cases that speak of masks record those that the layer makes itself.
            (Some(_), None) => {}
            (None, Some(_)) => return Some("has no mask, in Keras it has one".into()),
        }
    }
    None
}

fn check(file: &str) {
    let only = std::env::var("CASE").unwrap_or_default();
    let cases = cases(file);
    let (mut count, mut wrong) = (0, Vec::new());
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        if !name.contains(&only) {
            continue;
        }
        for (sizes, word) in [(Sizes::Known, "known"), (Sizes::Symbolic, "symbolic")] {
            count += 1;
            let config = || case["config"].to_string().chars().take(300).collect::<String>();
            wrong.extend(mistakes(case, sizes).map(|why| format!("{name} ({word}): {why}\n    {}", config())));
        }
    }
    let shown = &wrong[..wrong.len().min(SHOWN_MAX)];
    assert!(wrong.is_empty(), "{file}: {} of {count} are wrong\n{}", wrong.len(), shown.join("\n"));
    println!("{file}: {count} calls of {} cases are right", cases.len());
}

#[test]
fn keras_2_layers_compute_what_keras_computes() {
    check("keras2");
}

#[test]
fn keras_3_layers_compute_what_keras_computes() {
    check("keras3");
}

/// Families whose cases `layer_cases.py` records; others have recordings and tests of their own.
const FAMILIES: &[&str] = &[
    "audio",
    "core",
    "activation",
    "regularization",
    "convolution",
    "locally connected",
    "merging",
    "normalization",
    "pooling",
    "preprocessing",
    "reshaping",
    "resampling",
    "augmentation",
];

#[test]
fn every_class_has_a_case() {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for file in ["keras2", "keras3"] {
        seen.extend(cases(file).iter().map(|case| case["class"].as_str().unwrap().to_string()));
    }
    let ours = LAYERS.iter().filter(|row| FAMILIES.contains(&row.family));
    // An alias runs the function of a class that has cases.
    let covered = |lower: usize| LAYERS.iter().any(|row| row.lower as usize == lower && seen.contains(row.class));
    let missing: Vec<&str> = ours.filter(|row| !covered(row.lower as usize)).map(|row| row.class).collect();
    assert!(missing.is_empty(), "without a case: {missing:?}");
}

/// Values that no configuration should hold at most places.
fn odd_values() -> Vec<Json> {
    let texts = [
        "null",
        "true",
        "-1",
        "0",
        "1",
        "1.5",
        "-7",
        "4294967296",
        "9223372036854775807",
        "18446744073709551615",
        "1e300",
        "\"\"",
        "\"same\"",
        "\"channels_first\"",
        "[]",
        "[0]",
        "[-1]",
        "[[1, 2], [3]]",
        "[9223372036854775807, 2]",
        "[18446744073709551615, 18446744073709551615]",
        "[100, 100, 100]",
        "{}",
        r#"{"class_name": "LeakyReLU"}"#,
    ];
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

/// Whatever a configuration holds, a lowering answers: it never panics.
#[test]
fn odd_configurations_are_answered() {
    let (mut tried, mut panics) = (0, Vec::new());
    for case in ["keras2", "keras3"].iter().flat_map(|file| cases(file)) {
        // The first few of each kind hold every key.
        let number = case["name"].as_str().and_then(|name| name.rsplit('_').next()?.parse::<u32>().ok());
        if number.is_some_and(|number| number > 3) {
            continue;
        }
        let (request, _) = request(&case, Sizes::Symbolic);
        for key in case["config"].as_object().unwrap().keys() {
            for value in odd_values() {
                let mut config = case["config"].clone();
                config[key] = value.clone();
                let mut request = request.clone();
                request.layer.as_mut().unwrap().config = config.to_string();
                tried += 1;
                if std::panic::catch_unwind(|| lower_request(None, &request)).is_err() {
                    panics.push(format!("{} with {key}: {value}", case["name"]));
                }
            }
        }
    }
    assert!(
        panics.is_empty(),
        "{} of {tried} panic\n{}",
        panics.len(),
        panics[..panics.len().min(SHOWN_MAX)].join("\n")
    );
}

/// Whatever shapes the inputs have, a lowering answers.
#[test]
fn odd_inputs_are_answered() {
    let shapes: [&[u64]; 8] = [&[], &[0], &[3], &[2, 0], &[2, 5], &[2, 1, 1], &[1, 2, 3, 4, 5], &[u64::MAX, u64::MAX]];
    let mut panics = Vec::new();
    for case in ["keras2", "keras3"].iter().flat_map(|file| cases(file)) {
        let (request, _) = request(&case, Sizes::Known);
        for shape in shapes {
            for dtype in [DType::F32, DType::I8, DType::Bool, DType::Str] {
                let mut request = request.clone();
                for input in &mut request.inputs {
                    input.ty = Some((&Type::known(dtype, shape)).into());
                }
                if std::panic::catch_unwind(|| lower_request(None, &request)).is_err() {
                    panics.push(format!("{} with {}", case["name"], Type::known(dtype, shape)));
                }
            }
        }
    }
    assert!(panics.is_empty(), "{} panic\n{}", panics.len(), panics[..panics.len().min(SHOWN_MAX)].join("\n"));
}

fn refusal(class: &str, config: &str, training: bool, weights: &[(&str, &[u64])]) -> Vec<Diag> {
    let weight = |(role, shape): &(&str, &[u64])| {
        let values = vec![0.5; shape.iter().product::<u64>() as usize];
        let tensor = Tensor::from_f32(shape, &values);
        Weight { role: role.to_string(), tensor: Some((&tensor).into()), ..Weight::default() }
    };
    let layer = Layer {
        name: "it".into(),
        path: "inner/it".into(),
        class: class.into(),
        config: config.into(),
        weights: weights.iter().map(weight).collect(),
        ..Layer::default()
    };
    let ty = Type::new(DType::F32, vec![Dim::symbol("batch"), Dim::Known(4)]);
    let request = LowerRequest {
        layer: Some(layer),
        inputs: vec![LowerInput { ty: Some((&ty).into()), mask: None }],
        args: vec![Arg::value(ValueRef { call: None, index: 0 })],
        kwargs: vec![NamedArg { name: "training".into(), arg: Some(Arg::json(&Json::Bool(training))) }],
        keras_version: "2.15.0".into(),
        ..LowerRequest::default()
    };
    let found = lower_request(None, &request).expect_err(class);
    assert!(found.iter().all(|diag| diag.at == "inner/it" && diag.is_error()), "{found:?}");
    found
}

#[test]
fn refusals_name_the_layer_the_reason_and_the_remedy() {
    let kernel: (&str, &[u64]) = ("kernel", &[4, 3]);
    let bias: (&str, &[u64]) = ("bias", &[3]);
    /// Class, configuration, training, weights; code of the first finding, and a word of it.
    type Refusal<'a> = (&'a str, &'a str, bool, &'a [(&'a str, &'a [u64])], Code, &'a str);
    let table: [Refusal<'_>; 12] = [
        ("Lambda", r#"{"function": "4wEAAA=="}"#, false, &[], Code::UnsafeCode, "recast plugins new"),
        ("TorchModuleWrapper", "{}", false, &[], Code::UnsafeCode, "recast plugins new"),
        ("TextVectorization", "{}", false, &[], Code::UnsupportedLayer, "which are no strings"),
        ("Dropout", r#"{"rate": 0.5}"#, true, &[], Code::RandomAtInference, "training=True"),
        ("GaussianNoise", r#"{"stddev": 0.5}"#, true, &[], Code::RandomAtInference, "training=True"),
        ("RandomFlip", "{}", true, &[], Code::RandomAtInference, "training=True"),
        ("Activation", r#"{"activation": "my_pkg>wave"}"#, false, &[], Code::UnsupportedLayer, "my_pkg>wave"),
        ("Activation", r#"{"activation": {"class_name": "__lambda__"}}"#, false, &[], Code::UnsafeCode, "lambda"),
        ("Dense", r#"{"units": 3}"#, false, &[kernel], Code::WeightMissing, "'bias'"),
        ("Dense", r#"{"units": 3, "use_bias": false}"#, false, &[kernel, bias], Code::WeightLeftover, "bias"),
        ("Dense", r#"{"units": 5}"#, false, &[kernel, bias], Code::WeightShape, "[4, 5]"),
        ("Dense", r#"{"units": "many"}"#, false, &[kernel, bias], Code::BadConfig, "'units'"),
    ];
    for (class, config, training, weights, code, word) in table {
        let found = refusal(class, config, training, weights);
        assert_eq!(found[0].code, code, "{class} {config}: {}", found[0]);
        assert!(found[0].to_string().contains(word), "{class} {config}: {} has no '{word}'", found[0]);
    }
}

/// Whatever an operation is called with, it answers.
#[test]
fn odd_calls_of_operations_are_answered() {
    let shapes: [&[u64]; 6] = [&[], &[0], &[3], &[2, 5], &[1, 2, 3, 4, 5], &[u64::MAX, u64::MAX]];
    let dtypes = [DType::F32, DType::Str];
    // The first of each.
    let mut panics: BTreeMap<&str, String> = BTreeMap::new();
    let operations = LAYERS.iter().filter(|row| row.class.starts_with("ops.") || row.class.starts_with("tf."));
    let odd: Vec<Option<Json>> = odd_values().into_iter().map(Some).chain([None]).collect();
    for row in operations {
        for (shape, dtype) in shapes.iter().flat_map(|shape| dtypes.map(|dtype| (*shape, dtype))) {
            let ty = Type::known(dtype, shape);
            for (tensors, value) in [1, 2, 3].into_iter().flat_map(|n| odd.iter().map(move |value| (n, value))) {
                let refs = (0..tensors).map(|index| Arg::value(ValueRef { call: None, index }));
                let request = LowerRequest {
                    layer: Some(Layer { class: row.class.into(), config: "{}".into(), ..Layer::default() }),
                    inputs: (0..tensors).map(|_| LowerInput { ty: Some((&ty).into()), mask: None }).collect(),
                    args: refs.chain(value.iter().map(Arg::json)).collect(),
                    keras_version: "3.15.0".into(),
                    ..LowerRequest::default()
                };
                if std::panic::catch_unwind(|| lower_request(None, &request)).is_err() {
                    panics.entry(row.class).or_insert_with(|| format!("{tensors} of {ty} and {value:?}"));
                }
            }
        }
    }
    assert!(panics.is_empty(), "{} panic: {panics:#?}", panics.len());
}
