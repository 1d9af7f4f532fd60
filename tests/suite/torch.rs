//! Targets `torch` and `safetensors`, end to end: what they write for the fixtures, read back; three packages kept as
//! goldens (`UPDATE_GOLDEN=1` rewrites them), because a person has to like them.

use recast_tests::{convert_to, in_parallel, recast, tests_dir};
use std::fs;
use std::path::{Path, PathBuf};

/// Model, and the golden's name.
const GOLDENS: &[(&str, &str)] = &[
    ("samples/mnist_mlp.h5", "mlp"),
    ("fixtures/torch/resnet50.keras", "resnet50"),
    ("fixtures/keras3/bidirectional_lstm_masked.h5", "bidirectional_lstm_masked"),
];

fn package(home: &Path, artifact: &Path, more: &[&str]) -> PathBuf {
    let converted = convert_to(home, artifact, "torch", more);
    assert_eq!(converted.status(), "verified", "{}: {}", artifact.display(), converted.findings());
    assert_eq!(converted.level(), "structural");
    let bundle = PathBuf::from(converted.json["bundle"].as_str().expect("a bundle"));
    bundle.join(converted.json["outputs"][0]["path"].as_str().expect("an output"))
}

#[test]
fn packages_read_as_their_goldens() {
    for (model, name) in GOLDENS {
        let home = tempfile::tempdir().expect("a scratch directory");
        let written = package(home.path(), &tests_dir().join(model), &[]);
        let golden = tests_dir().join("suite/golden/torch").join(format!("{name}.py"));
        let found = fs::read_to_string(written.join("model.py")).expect("model.py");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(golden.parent().expect("a directory")).expect("writable");
            fs::write(&golden, &found).expect("writable");
        }
        let wanted = fs::read_to_string(&golden).unwrap_or_default();
        assert!(found == wanted, "{name}: model.py is not {}: UPDATE_GOLDEN=1, then read it", golden.display());
    }
}

/// Every `STEP`th fixture of each Keras; the conformance run takes all of them.
const STEP: usize = 29;

fn some_fixtures() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["keras2", "keras3"] {
        let entries = fs::read_dir(tests_dir().join("fixtures").join(folder)).expect("fixtures");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
        // Some fixtures are there to be refused.
        let whole = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.ends_with(".h5")
                && path.with_extension("golden.npz").exists()
                && !["custom", "lambda", "weights"].iter().any(|part| name.contains(part))
        };
        paths.retain(|path| whole(path));
        paths.sort();
        found.extend(paths.into_iter().step_by(STEP));
    }
    // Layers whose weights lie in one module, though one call of them has a mask and the other has none.
    found.push(tests_dir().join("fixtures/options_keras3/masked_or_not.keras"));
    found
}

#[test]
fn both_targets_hold_the_same_structure_and_weights() {
    let fixtures = some_fixtures();
    assert!(fixtures.len() > 20, "{} fixtures", fixtures.len());
    let wrong: Vec<String> = in_parallel(&fixtures, |path| {
        let home = tempfile::tempdir().expect("a scratch directory");
        let converted = convert_to(home.path(), path, "torch,safetensors", &[]);
        let outputs = converted.json["outputs"].as_array().map_or(0, Vec::len);
        let levels = (0..outputs).map(|i| converted.json["outputs"][i]["verification"]["level"].clone());
        let good = outputs == 2 && levels.into_iter().all(|level| level == "structural");
        (!good).then(|| format!("{}: {}", path.display(), converted.findings()))
    })
    .into_iter()
    .flatten()
    .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// It reads layers for what the graph does not say, but it writes ops.
#[test]
fn a_class_that_nothing_lowers_is_waited_for() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let artifact = tests_dir().join("fixtures/keras2/custom_layer.h5");
    let converted = convert_to(home.path(), &artifact, "torch", &[]);
    assert_eq!(converted.status(), "parked", "{}", converted.findings());
    assert_eq!(converted.json["diagnostics"][0]["code"], "unknown-layer", "{}", converted.findings());
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let artifact = tests_dir().join("samples/small_cnn.h5");
    let read = || {
        let home = tempfile::tempdir().expect("a scratch directory");
        let written = package(home.path(), &artifact, &[]);
        ["model.py", "__init__.py", "model.safetensors"].map(|name| fs::read(written.join(name)).expect("written"))
    };
    assert!(read() == read());
}

#[test]
fn weights_alone_go_by_their_keras_paths() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let converted = convert_to(home.path(), &tests_dir().join("samples/mnist_mlp.h5"), "safetensors", &[]);
    let bundle = PathBuf::from(converted.json["bundle"].as_str().expect("a bundle"));
    let file = fs::read(bundle.join("mnist_mlp.safetensors")).expect("the weights");
    let len = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
    let header: serde_json::Value = serde_json::from_slice(&file[8..8 + len]).expect("a JSON header");
    assert_eq!(header["hidden/kernel"]["shape"], serde_json::json!([784, 128]));
    let config = fs::read(bundle.join("mnist_mlp.config.json")).expect("the architecture");
    let config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!(config["model"]["kind"], "Sequential");
    let layers = config["model"]["layers"].as_array().expect("layers");
    assert!(layers.iter().any(|layer| layer["path"] == "hidden" && layer["class"] == "Dense"), "{layers:?}");
}

/// PyTorch needs to know what a layer computes, and so does the check of `safetensors`; only targets that are read back
/// as layers do without. A finding says which of several targets it stops.
#[test]
fn a_custom_layer_parks_where_ops_are_needed() {
    let model = tests_dir().join("fixtures/keras3/custom_layer.h5");
    for (targets, status) in
        [("torch", "parked"), ("safetensors", "parked"), ("keras,torch", "parked"), ("h5", "verified")]
    {
        let home = tempfile::tempdir().expect("a scratch directory");
        let converted = convert_to(home.path(), &model, targets, &[]);
        assert_eq!(converted.status(), status, "{targets}: {}", converted.findings());
    }
    let home = tempfile::tempdir().expect("a scratch directory");
    let recurrent = tests_dir().join("fixtures/saved_model/export/dense_relu");
    let converted = convert_to(home.path(), &recurrent, "keras,tfjs", &[]);
    assert_eq!(converted.errors(), ["unsupported-layer", "unsupported-layer"], "{}", converted.findings());
    for target in ["keras: ", "tfjs: "] {
        assert!(converted.findings().contains(target), "{target} in {}", converted.findings());
    }
}

/// A directory is asked for like a file, with or without the slash; a file that nobody wrote makes it another one.
#[test]
fn a_directory_has_lineage() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let written = package(home.path(), &tests_dir().join("samples/mnist_mlp.h5"), &[]);
    let asked = |path: &Path| {
        let output = recast(home.path()).args(["lineage", "--format", "json"]).arg(path).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for path in [written.clone(), written.join("")] {
        let (code, answer) = asked(&path);
        assert!(code == Some(0) && answer.contains("\"found\":true"), "{}: {answer}", path.display());
    }
    fs::write(written.join("more.py"), "").expect("writable");
    let (code, answer) = asked(&written);
    assert!(code == Some(5) && answer.contains("modified, added or removed"), "{answer}");
}
