//! SavedModels as an artifact with several things in it: the signature that the user names, what counts as a parameter,
//! and a published directory that is dropped again.

use recast_tests::{convert, inspect, recast, tests_dir};
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    tests_dir().join("fixtures/saved_model").join(name)
}

/// A SavedModel without the golden file beside it.
fn copied(home: &Path, name: &str) -> PathBuf {
    let (from, to) = (fixture(name), home.join("models").join(name.rsplit('/').next().expect("a name")));
    copy(&from, &to);
    to
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("readable").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

#[test]
fn a_signature_is_taken_by_its_name() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let model = copied(home.path(), "module/module_signatures");
    for (more, names) in [(&[][..], "scale, shift"), (&["--signature", "predict"], "scale, shift")] {
        let refused = convert(home.path(), &model, more);
        assert_eq!((refused.exit_code, refused.errors()), (3, vec!["unsupported-container"]), "{}", refused.findings());
        assert!(refused.findings().contains(names), "{}", refused.findings());
    }
    let mut keys = Vec::new();
    for (name, output) in [("scale", "scaled"), ("shift", "shifted")] {
        let seen = inspect(home.path(), &model, &["--signature", name]);
        let options = serde_json::json!([{"name": "signature", "value": name, "choices": ["scale", "shift"]}]);
        assert_eq!(seen["inspection"]["options"], options, "{seen}");
        assert_eq!(seen["inspection"]["outputs"][0]["name"], output);
        let made = convert(home.path(), &model, &["--signature", name]);
        assert_eq!((made.status(), made.level()), ("verified", "reference"), "{}", made.findings());
        let bundle = PathBuf::from(made.json["bundle"].as_str().expect("published"));
        let record = recast::lineage::store::read_record(&bundle.join("module_signatures.onnx.sigstore.json"));
        let statement = record.expect("a record").unwrapped.statement;
        let given = &statement["predicate"]["buildDefinition"]["externalParameters"];
        assert_eq!(given["source"]["options"], serde_json::json!({ "signature": name }));
        keys.push(given["optionsDigest"]["sha256"].to_string());
    }
    assert_ne!(keys[0], keys[1], "two signatures are two jobs");
}

/// Of all artifacts, or of one; what the command line says counts before both.
#[test]
fn a_signature_is_taken_from_the_configuration() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let model = copied(home.path(), "module/module_signatures");
    let other = "[sources.\"saved-model:another\"]\nsignature = \"scale\"\n";
    let all = "[sources.saved-model]\nsignature = \"shift\"\n";
    let own = "[sources.\"saved-model:module_signatures\"]\nsignature = \"scale\"\n";
    let cases = [
        (other.to_owned(), &[][..], None),
        (format!("{all}{other}"), &[], Some("shift")),
        (format!("{all}{own}"), &[], Some("scale")),
        (own.to_owned(), &["--signature", "shift"], Some("shift")),
    ];
    for (text, more, expected) in cases {
        fs::write(home.path().join("config.toml"), &text).expect("writable");
        let made = convert(home.path(), &model, &[&["--config", "config.toml"], more].concat());
        let taken = made.json["source_options"]["signature"].as_str();
        assert_eq!((taken, made.status() == "verified"), (expected, expected.is_some()), "{text}: {}", made.findings());
    }
}

/// What reads an .h5 knows no signatures, and an option that nobody takes is no option that was taken.
#[test]
fn an_option_that_the_source_lacks_is_refused() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let sample = tests_dir().join("samples/mnist_mlp.h5");
    let refused = convert(home.path(), &sample, &["--signature", "predict"]);
    assert_eq!((refused.exit_code, refused.errors()), (3, vec!["unsupported-container"]), "{}", refused.findings());
    assert!(refused.findings().contains("keras-h5 has no option 'signature'"), "{}", refused.findings());
    // Options of another format are none of its business.
    fs::write(home.path().join("config.toml"), "[sources.saved-model]\nsignature = \"shift\"\n").expect("writable");
    let made = convert(home.path(), &sample, &["--config", "config.toml"]);
    assert_eq!(made.status(), "verified", "{}", made.findings());
}

#[test]
fn the_bytes_of_a_graph_are_no_parameters() {
    let home = tempfile::tempdir().expect("a scratch directory");
    for (name, parameters) in [("module/module_perceptron", 5 * 7 + 7 + 7 * 3), ("module/module_signatures", 3)] {
        let more: &[&str] = if name.ends_with("signatures") { &["--signature", "scale"] } else { &[] };
        let seen = inspect(home.path(), &fixture(name), more);
        assert_eq!(seen["inspection"]["parameters"], parameters, "{name}: {seen}");
    }
}

/// A published SavedModel dropped into a watched folder, without its record and under another name: what is made of it
/// leads back to the first model.
#[test]
fn a_published_directory_that_is_dropped_again_has_its_parent() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let at = home.path();
    fs::create_dir(at.join("drop")).expect("writable");
    let config = "[[watch]]\npath = \"drop\"\nout = \"out\"\nsettle_seconds = 0.3\ntargets = [\"savedmodel\"]\n";
    fs::write(at.join("config.toml"), config).expect("writable");
    let until_idle = || {
        let arguments = ["run", "--config", "config.toml", "--until-idle", "--format", "json"];
        let output = recast(at).args(arguments).output().expect("recast runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    fs::copy(tests_dir().join("samples/mnist_mlp.h5"), at.join("drop/m.h5")).expect("copied");
    until_idle();
    let published = at.join("out/m/latest/m_savedmodel");
    copy(&published, &at.join("drop/again"));
    until_idle();
    let ask = |path: &str| -> (Option<i32>, Json) {
        let arguments = ["lineage", "--config", "config.toml", "--format", "json", "--verify", path];
        let output = recast(at).args(arguments).output().expect("recast runs");
        (output.status.code(), serde_json::from_slice(&output.stdout).expect("one JSON object"))
    };
    let (code, answer) = ask("out/again/latest/again_savedmodel");
    let links = answer["links"].as_array().expect("links");
    assert_eq!((code, links.len()), (Some(0), 2), "{answer}");
    assert!(links.iter().all(|link| link["verdict"] == "OK"), "{answer}");
    let model = recast::digest::of_bytes(&fs::read(at.join("drop/m.h5")).expect("readable"));
    assert_eq!(links[1]["source_sha256"], model, "{answer}");
    // A byte of the first directory is not as it was signed.
    let graph = published.join("saved_model.pb");
    let mut bytes = fs::read(&graph).expect("readable");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&graph, bytes).expect("writable");
    let (code, answer) = ask("out/m/latest/m_savedmodel");
    assert_eq!((code, &answer["modified"]), (Some(5), &true.into()), "{answer}");
}

/// What a run changes is not carried over, and what is left of it is the state of the moment.
#[test]
fn a_stateful_function_is_said_to_be_one() {
    let home = tempfile::tempdir().unwrap();
    for (name, says) in [("export/lstm_stateful", true), ("export/lstm", false)] {
        let done = convert(home.path(), &fixture(name), &[]);
        assert_eq!(done.status(), "verified", "{name}: {}", done.findings());
        let said = done.findings().contains("starts from what they held when it was saved");
        assert_eq!(said, says, "{name}: {}", done.findings());
    }
}
