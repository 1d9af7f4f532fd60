//! What `recast inspect` says of targets is what a conversion would say, and FeatureSpaces, of which it says most.

use recast_tests::{convert_to, inspect, tests_dir};
use serde_json::Value as Json;

/// (fixture, target, whether it can be made): refused by the graph, by the ops, and by the writer alone.
const TARGETS: &[(&str, &str, bool)] = &[
    ("text/k3_text_whole_longer.keras", "onnx", false),
    ("text/k3_text_free.h5", "onnx", false),
    ("text/k3_text_free.h5", "tfjs", false),
    ("text/k3_text_free.h5", "torch", false),
    ("text/k3_text_free.h5", "keras2", true),
    ("options_keras3/nearest_antialias.keras", "keras2", false),
    ("options_keras3/nearest_antialias.keras", "keras", true),
    ("strings/tables", "keras", false),
    ("strings/tables", "savedmodel", true),
    ("lambda/unknown_keras2.h5", "onnx", false),
];

/// (code, at, detail) of errors.
fn errors(findings: &Json) -> Vec<[String; 3]> {
    let errors = findings.as_array().into_iter().flatten().filter(|finding| finding["severity"] == "error");
    let text = |finding: &Json, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    errors.map(|finding| ["code", "at", "detail"].map(|key| text(finding, key))).collect()
}

#[test]
fn inspect_says_what_a_conversion_would() {
    let mut refused = 0;
    for (name, target, possible) in TARGETS {
        let home = tempfile::tempdir().expect("a scratch directory");
        let artifact = tests_dir().join("fixtures").join(name);
        let seen = inspect(home.path(), &artifact, &[]);
        let targets = seen["inspection"]["targets"].as_array().unwrap_or_else(|| panic!("{name}: {seen}"));
        let of = targets.iter().find(|of| of["target"] == *target).unwrap_or_else(|| panic!("{target}: {seen}"));
        let made = convert_to(home.path(), &artifact, target, &["--no-verify"]);
        assert_eq!(of["possible"], *possible, "{name} {target}: {of}");
        assert_eq!(made.exit_code == 0, *possible, "{name} {target}: {}", made.findings());
        assert_eq!(errors(&of["findings"]), errors(&made.json["diagnostics"]), "{name} {target}");
        // Of a possible one, the bundle is called by the first 12 digits.
        let (digest, bundle) = (seen["digest"].as_str().unwrap_or_default(), made.json["bundle"].as_str());
        assert_eq!(digest.len(), 64, "{name}: {digest}");
        assert!(bundle.is_none_or(|bundle| bundle.ends_with(&digest[..12])), "{name}: {digest} {bundle:?}");
        refused += usize::from(!possible);
        let left = home.path().read_dir().expect("readable").flatten().map(|entry| entry.file_name());
        let left: Vec<_> = left.filter(|left| left != "out" && left != "state").collect();
        assert!(left.is_empty(), "inspect left {left:?}");
    }
    assert!(refused > 5, "{refused}");
}

/// What a FeatureSpace computed, and a model that begins with one: everywhere, but that ONNX has no hashes.
#[test]
fn feature_spaces_are_the_models_that_they_make() {
    let folder = tests_dir().join("fixtures/feature_space");
    for keras in ["k2", "k3"] {
        for (name, target, level) in [
            ("dict", "savedmodel", "structural"),
            ("dict", "keras", "structural"),
            ("known", "onnx", "golden"),
            ("known", "torch", "structural"),
            ("known", "keras2", "structural"),
            ("known_model", "onnx", "golden"),
            ("known_model", "keras", "structural"),
            ("known_model", "h5", "structural"),
        ] {
            let home = tempfile::tempdir().expect("a scratch directory");
            let golden = folder.join(format!("{keras}_{name}.golden.npz"));
            let more = ["--golden", &golden.to_string_lossy()];
            let result = convert_to(home.path(), &folder.join(format!("{keras}_{name}.keras")), target, &more);
            let said = result.findings();
            assert_eq!((result.status(), result.level()), ("verified", level), "{keras}_{name} {target}: {said}");
            assert!(!said.contains("custom-object"), "{keras}_{name} {target}: {said}");
        }
    }
}
