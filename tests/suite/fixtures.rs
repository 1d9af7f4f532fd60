//! Every model in `fixtures` and `samples`, through the real binary: converted, and equal to what the real framework
//! computed (the golden file beside it). A directory of cases: to add one, put it there.

use prost::Message;
use recast_onnx::proto::NodeProto;
use recast_tests::{Converted, convert, in_parallel, tests_dir};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};

/// What the case's framework says should come of it.
struct Case {
    model: PathBuf,
    name: String,
    /// The code that it is refused with, where `expected.json` says so; else it is verified.
    refused: Option<String>,
    /// What walks over time in the ONNX file, where `loops.json` is to say it.
    loops: Option<String>,
}

fn cases() -> Vec<Case> {
    let dir = tests_dir();
    let text = std::fs::read_to_string(dir.join("fixtures/expected.json")).expect("expected.json");
    let expected: Json = serde_json::from_str(&text).expect("expected.json is JSON");
    let text = std::fs::read_to_string(dir.join("fixtures/loops.json")).expect("loops.json");
    let loops: Json = serde_json::from_str(&text).expect("loops.json is JSON");
    let mut cases = Vec::new();
    let fixed = [
        "keras1",
        "keras2",
        "keras3",
        "containers",
        "strings",
        "keras3_versions",
        "lambda",
        "legacy",
        "old_keras",
        "tfjs",
        "tensorflow_js",
        "options_keras2",
        "options_keras3",
    ];
    let fixed = fixed.map(|name| format!("fixtures/{name}"));
    let mut folders = fixed.to_vec();
    folders.push("samples".into());
    // One folder for each way to make a SavedModel.
    let ways = std::fs::read_dir(dir.join("fixtures/saved_model")).expect("saved_model").map(|way| way.expect("a way"));
    folders.extend(ways.map(|way| format!("fixtures/saved_model/{}", way.file_name().to_string_lossy())));
    for folder in &folders {
        let mut models: Vec<PathBuf> = std::fs::read_dir(dir.join(folder))
            .expect(folder)
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.is_dir() || path.extension().is_some_and(|suffix| suffix == "h5" || suffix == "keras"))
            .collect();
        models.sort();
        for model in models {
            let stem = model.file_stem().expect("a stem").to_string_lossy().into_owned();
            let of = |key: &str| expected[key]["code"].as_str();
            let version = folder.rsplit('/').next().unwrap_or(folder);
            let refused = of(&format!("{version}/{stem}")).or(of(&stem)).map(str::to_owned);
            let walks = || loops[&format!("{version}/{stem}")].as_str().unwrap_or_default().to_owned();
            let loops = folder.contains("saved_model").then(walks);
            cases.push(Case { name: format!("{folder}/{stem}"), model, refused, loops });
        }
    }
    cases
}

/// What is wrong with a result, if anything.
fn judge(case: &Case, result: &Converted) -> Option<String> {
    let status = result.status();
    if let Some(code) = &case.refused {
        let said = result.errors().contains(&code.as_str()) && result.exit_code == 3;
        let wrong = || format!("{}: {status}, should be refused as {code}: {}", case.name, result.findings());
        return (!said).then(wrong);
    }
    if status != "verified" {
        return Some(format!("{}: {status}: {}", case.name, result.findings()));
    }
    let golden = golden_of(&case.model).is_file();
    match (result.level(), golden, result.exit_code) {
        ("golden", true, 0) | ("reference", false, 0) => {
            let expected = case.loops.as_ref()?;
            let found = loops_of(result);
            (found != *expected).then(|| format!("{}: walks by '{found}', should by '{expected}'", case.name))
        }
        (level, _, code) => Some(format!("{}: level {level}, exit {code}: {}", case.name, result.findings())),
    }
}

/// An ONNX file, as far as its nodes go.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Nodes>,
}

#[derive(Clone, PartialEq, Message)]
struct Nodes {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
}

/// The ops of the written file that walk over time, sorted; those in bodies of others aside.
fn loops_of(result: &Converted) -> String {
    let part = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let path = Path::new(&part(&result.json["bundle"])).join(part(&result.json["outputs"][0]["path"]));
    let bytes = std::fs::read(path).expect("the published file");
    let graph = Model::decode(bytes.as_slice()).expect("an ONNX file").graph.expect("its graph");
    let walks = ["GRU", "LSTM", "Loop", "RNN", "Scan"];
    let mut found: Vec<String> = graph.node.into_iter().filter_map(|node| node.op_type).collect();
    found.retain(|op| walks.contains(&op.as_str()));
    found.sort();
    found.join(" ")
}

fn golden_of(model: &Path) -> PathBuf {
    let stem = model.file_stem().unwrap_or_default().to_string_lossy();
    model.with_file_name(format!("{}.golden.npz", stem.trim_end_matches(".weights")))
}

#[test]
fn every_fixture_converts_to_the_numbers_of_the_real_framework() {
    let cases = cases();
    assert!(cases.len() > 300, "only {} fixtures were found", cases.len());
    let only = std::env::var("RECAST_FIXTURE").unwrap_or_default();
    let chosen: Vec<&Case> = cases.iter().filter(|case| case.name.contains(&only)).collect();
    let wrong: Vec<String> = in_parallel(&chosen, |case| {
        let home = tempfile::tempdir().expect("a scratch directory");
        judge(case, &convert(home.path(), &case.model, &[]))
    })
    .into_iter()
    .flatten()
    .collect();
    assert!(wrong.is_empty(), "{} of {} fixtures:\n{}", wrong.len(), chosen.len(), wrong.join("\n"));
}
