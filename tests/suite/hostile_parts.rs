//! Models of several files that mean harm, or whose upload was cut: TensorFlow.js directories, sharded weights.

use crate::keras::tests;
use crate::keras_host::TestHost;
use recast_plugin_api::diag::{Code, Findings};
use recast_plugin_api::model::LayerModel;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The files of a directory, by their paths in it.
fn files(below: &str) -> BTreeMap<String, Vec<u8>> {
    fn walk(dir: &Path, prefix: &str, out: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            match entry.path().is_dir() {
                true => walk(&entry.path(), &format!("{name}/"), out),
                false => drop(out.insert(name, std::fs::read(entry.path()).expect("a file"))),
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(&tests().join(below), "", &mut out);
    out
}

fn read(files: &BTreeMap<String, Vec<u8>>) -> Result<LayerModel, Findings> {
    let named: Vec<(String, &[u8])> =
        files.iter().map(|(name, bytes)| (format!("/m/{name}"), bytes.as_slice())).collect();
    let named: Vec<(&str, &[u8])> = named.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect();
    TestHost::with(&named).read_directory()
}

#[track_caller]
fn refused(files: &BTreeMap<String, Vec<u8>>, code: Code) {
    let findings = read(files).expect_err("it was read");
    assert!(findings.iter().any(|diag| diag.code == code), "{findings:?}");
    assert!(findings.iter().all(|diag| !diag.at.is_empty() && !diag.detail.is_empty()), "{findings:?}");
    assert!(!findings.iter().any(|diag| diag.detail.contains("made its parser fail")), "{findings:?}");
}

const TFJS: &str = "fixtures/tfjs/conv2d";

/// The model with its `model.json` changed.
fn changed(change: impl FnOnce(&mut Value)) -> BTreeMap<String, Vec<u8>> {
    let mut files = files(TFJS);
    let mut model: Value = serde_json::from_slice(&files["model.json"]).expect("JSON");
    change(&mut model);
    files.insert("model.json".into(), model.to_string().into_bytes());
    files
}

#[test]
fn numbers_have_to_be_those_that_were_declared() {
    let whole = files(TFJS);
    read(&whole).expect("the sound one");
    for (name, bytes) in whole.iter().filter(|(name, _)| name.ends_with(".bin")) {
        let mut cut = whole.clone();
        cut.insert(name.clone(), bytes[..bytes.len() - 1].to_vec());
        refused(&cut, Code::Malformed);
        cut.insert(name.clone(), [bytes.as_slice(), b"more"].concat());
        refused(&cut, Code::Malformed);
        cut.remove(name);
        refused(&cut, Code::Io);
    }
    refused(&changed(|model| model["weightsManifest"][0]["weights"][0]["shape"] = json!([2, 2])), Code::Malformed);
    let huge = json!([4_000_000_000_u64, 4_000_000_000_u64, 4_000_000_000_u64]);
    refused(&changed(|model| model["weightsManifest"][0]["weights"][0]["shape"] = huge), Code::LimitExceeded);
    refused(&changed(|model| model["weightsManifest"][0]["weights"][0]["shape"] = json!([-1, 3])), Code::Malformed);
    refused(
        &changed(|model| model["weightsManifest"][0]["weights"][0]["dtype"] = json!("string")),
        Code::UnsupportedType,
    );
    let odd = json!({"dtype": "uint4", "scale": 1, "min": 0});
    refused(&changed(|model| model["weightsManifest"][0]["weights"][0]["quantization"] = odd), Code::UnsupportedType);
}

#[test]
fn no_file_outside_the_directory_is_opened() {
    for path in ["../group1-shard1of4.bin", "/etc/hostname", "a/../../b.bin", "", "./../x.bin", "a\\..\\b.bin"] {
        refused(&changed(|model| model["weightsManifest"][0]["paths"][0] = json!(path)), Code::UnsafeLink);
    }
}

#[test]
fn what_has_no_layers_is_told_apart() {
    refused(&changed(|model| model["format"] = json!("graph-model")), Code::UnsupportedContainer);
    refused(&changed(|model| model["modelTopology"] = json!(null)), Code::Malformed);
    refused(&changed(|model| model["weightsManifest"] = json!({})), Code::Malformed);
}

/// An array that no layer takes is a model that is not this one.
#[test]
fn arrays_of_an_archive_have_to_be_accounted_for() {
    let mut files = files("fixtures/containers/directory");
    read(&files).expect("the sound one");
    let mut config: Value = serde_json::from_slice(&files["config.json"]).expect("JSON");
    let gone = config["config"]["layers"].as_array_mut().and_then(Vec::pop).expect("layers");
    assert_eq!(gone["class_name"], "Dense");
    config["config"]["output_layers"] = json!(["flatten", 0, 0]);
    files.insert("config.json".into(), config.to_string().into_bytes());
    refused(&files, Code::WeightLeftover);
}

const SHARDED: &str = "fixtures/containers/sharded";

#[test]
fn shards_have_to_be_members() {
    let whole = files(SHARDED);
    read(&whole).expect("the sound one");
    let with = |map: Value| {
        let mut files = whole.clone();
        files.insert("model.weights.json".into(), json!({"weight_map": map}).to_string().into_bytes());
        files
    };
    refused(&with(json!({"/layers/dense/vars": ["../x.weights.h5"]})), Code::UnsafeLink);
    refused(&with(json!({"/layers/dense/vars": 7})), Code::UnsafeLink);
    refused(&with(json!({"/layers/dense/vars": "nobody.weights.h5"})), Code::Malformed);
    refused(&with(json!([])), Code::Malformed);
    let mut twice = with(json!({"/a": ["model_00000.weights.h5", "again.weights.h5"]}));
    twice.insert("again.weights.h5".into(), whole["model_00000.weights.h5"].clone());
    refused(&twice, Code::Malformed);
    let mut cut = whole.clone();
    let bytes = &whole["model_00000.weights.h5"];
    cut.insert("model_00000.weights.h5".into(), bytes[..bytes.len() / 2].to_vec());
    refused(&cut, Code::Malformed);
}
