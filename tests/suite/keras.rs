//! The keras source against what the real frameworks say about their own models: inputs, outputs, and each weight's
//! bytes by layer path and role (`conformance/expect_layers.py` recorded it).

use crate::keras_host::TestHost;
use recast_plugin_api::diag::Code;
use recast_plugin_api::ir::DType;
use recast_plugin_api::model::{Layer, LayerModel, Model};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

pub fn tests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn expectations(keras: u32) -> Map<String, Value> {
    let path = tests().join(format!("fixtures/layers_keras{keras}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice::<Value>(&text).unwrap().as_object().unwrap().clone()
}

/// The artifact's file, and its architecture.
fn files(keras: u32, name: &str) -> (PathBuf, Option<PathBuf>) {
    let stem = match name.strip_prefix("samples/") {
        Some(sample) => tests().join("samples").join(sample),
        None => tests().join(format!("fixtures/keras{keras}")).join(name),
    };
    let with = |suffix: &str| PathBuf::from(format!("{}{suffix}", stem.display()));
    let artifact = [".h5", ".weights.h5"].map(with).into_iter().find(|path| path.exists());
    (artifact.unwrap_or_else(|| with(".h5")), Some(with(".json")).filter(|path| path.exists()))
}

/// What the reply says, in the form of the expectations.
pub fn found(host: &TestHost<'_>, model: &LayerModel) -> Value {
    let root = model.root.as_ref().unwrap();
    let inputs = root.inputs.iter().map(|input| {
        let dims: Vec<Option<u64>> = input.dims.iter().map(|dim| dim.size).collect();
        json!([input.name, input.dtype, dims])
    });
    let outputs = root.outputs.iter().map(|output| output.name.clone());
    let mut weights = Map::new();
    each_layer(root, &mut |layer| {
        let roles = layer.weights.iter().map(|weight| {
            let tensor = weight.tensor.as_ref().unwrap();
            let dtype = DType::parse(&tensor.dtype).unwrap().keras_name();
            let digest = Sha256::digest(host.bytes(model, tensor));
            let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            (weight.role.clone(), json!([tensor.stored, dtype, digest]))
        });
        let roles: Map<String, Value> = roles.collect();
        if !roles.is_empty() {
            weights.insert(layer.path.clone(), Value::Object(roles));
        }
    });
    json!({"inputs": inputs.collect::<Vec<_>>(), "outputs": outputs.collect::<Vec<_>>(), "weights": weights})
}

pub fn each_layer(model: &Model, see: &mut dyn FnMut(&Layer)) {
    fn one(layer: &Layer, see: &mut dyn FnMut(&Layer)) {
        see(layer);
        layer.children.iter().filter_map(|child| child.layer.as_ref()).for_each(|child| one(child, see));
        layer.model.iter().for_each(|model| each_layer(model, see));
    }
    model.layers.iter().for_each(|layer| one(layer, see));
}

/// Every reference points backwards, every layer of a call exists, and paths are unique.
pub fn check_model(model: &Model) {
    let mut paths = std::collections::HashSet::new();
    check_calls(model);
    each_layer(model, &mut |layer| {
        assert!(paths.insert(layer.path.clone()), "two layers at {}", layer.path);
        assert!(serde_json::from_str::<Value>(&layer.config).unwrap().is_object(), "{}", layer.path);
        layer.model.iter().for_each(check_calls);
    });
}

fn check_calls(model: &Model) {
    let check = |value: &recast_plugin_api::model::ValueRef, before: usize| match value.call {
        Some(call) => assert!((call as usize) < before, "call {before} of {} looks ahead", model.name),
        None => assert!((value.index as usize) < model.inputs.len(), "{} has no such input", model.name),
    };
    for (number, call) in model.calls.iter().enumerate() {
        assert!((call.layer as usize) < model.layers.len());
        let mut call = call.clone();
        let mut values = Vec::new();
        call.args.iter_mut().for_each(|arg| arg.values_mut(&mut values));
        call.kwargs.iter_mut().filter_map(|named| named.arg.as_mut()).for_each(|arg| arg.values_mut(&mut values));
        values.iter().for_each(|value| check(value, number));
    }
    model.outputs.iter().for_each(|output| check(output.value.as_ref().unwrap(), model.calls.len()));
}

/// What the source says otherwise than Keras.
fn differences(name: &str, host: &TestHost<'_>, expected: &Value) -> Vec<String> {
    let model = match host.read(None) {
        Ok(model) => model,
        Err(findings) => return vec![format!("{name}: {findings:?}")],
    };
    check_model(model.root.as_ref().unwrap());
    let found = found(host, &model);
    let keys =
        ["inputs", "outputs", "weights"].into_iter().filter(|&key| sorted(&found[key]) != sorted(&expected[key]));
    keys.map(|key| format!("{name}: {key}\n  found    {}\n  expected {}", found[key], expected[key])).collect()
}

fn read_all(keras: u32) {
    let mut wrong = Vec::new();
    for (name, expected) in expectations(keras) {
        let (artifact, architecture) = files(keras, &name);
        let read = |path: &Path| std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (bytes, architecture) = (read(&artifact), architecture.map(|path| read(&path)));
        let mut host = TestHost::with(&[("/m", &bytes)]);
        if let Some(architecture) = &architecture {
            host.files.insert("/a".into(), architecture);
        }
        wrong.extend(differences(&name, &host, &expected));
    }
    assert!(wrong.is_empty(), "{} of keras{keras}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Objects compare without regard to the order of their keys.
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            Value::Object(keys.into_iter().map(|key| (key.clone(), sorted(&map[key]))).collect())
        }
        other => other.clone(),
    }
}

/// The `.keras` format holds the same models, and its weights lie in the zip as they are.
#[test]
fn archives_hold_what_the_models_hold() {
    for (directory, keras) in [("2", 2), ("3", 3), ("2.12", 2)] {
        let expected = expectations(keras);
        let entries = std::fs::read_dir(tests().join("fixtures/keras_v3").join(directory)).unwrap();
        let mut wrong = Vec::new();
        for path in entries.map(|entry| entry.unwrap().path()) {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let bytes = std::fs::read(&path).unwrap();
            let host = TestHost::with(&[("/m", &bytes)]);
            wrong.extend(differences(name, &host, &expected[name]));
            assert!(host.scratch.borrow().is_empty(), "{name}: stored members are read in place");
            // None of them was ever compiled.
            assert!(host.reported.borrow().is_empty(), "{name}: {:?}", host.reported.borrow());
        }
        assert!(wrong.is_empty(), "{} of {directory}:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// What a compiled model loses is said; the archives above were never compiled, and nothing is said of them.
#[test]
fn what_a_compiled_archive_loses_is_reported() {
    let read = |name: &str| std::fs::read(tests().join("fixtures/containers/directory").join(name)).unwrap();
    let (metadata, weights) = (read("metadata.json"), read("model.weights.h5"));
    let mut config: Value = serde_json::from_slice(&read("config.json")).unwrap();
    config["compile_config"] = json!({"optimizer": "adam", "loss": "mse"});
    let config = serde_json::to_vec(&config).unwrap();
    let host = TestHost::with(&[
        ("/m/config.json", &config),
        ("/m/metadata.json", &metadata),
        ("/m/model.weights.h5", &weights),
    ]);
    host.read_directory().unwrap();
    let codes: Vec<Code> = host.reported.borrow().iter().map(|diag| diag.code).collect();
    assert_eq!(codes, [Code::TrainingDropped]);
}

/// Each member packed: the weights are decoded once, and the arrays point there.
#[test]
fn packed_archives_are_read() {
    let bytes = std::fs::read(tests().join("fixtures/hostile/packed.keras")).unwrap();
    let host = TestHost::with(&[("/m", &bytes)]);
    let wrong = differences("shared_dense", &host, &expectations(3)["shared_dense"]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!host.scratch.borrow().is_empty());
}

#[test]
fn every_fixture_of_keras_2_is_read_as_keras_made_it() {
    read_all(2);
}

#[test]
fn every_fixture_of_keras_3_is_read_as_keras_made_it() {
    read_all(3);
}
