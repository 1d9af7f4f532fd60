//! Outputs that are read back instead of run: each flaw of the writer or of the check is found, with the weight's name.

use crate::strangers::plugin;
use recast_tests::{Converted, convert_to, tests_dir};
use std::path::Path;

/// Converts a sample with a flaw asked for; `more` goes into the configuration.
pub fn converted(home: &Path, target: &str, artifact: &str, flaw: &str, more: &str) -> Converted {
    let text = format!("[state]\ndir = \"state\"\n[targets.{target}]\nflaw = \"{flaw}\"\n{more}\n");
    std::fs::write(home.join("config.toml"), text).unwrap();
    let plugins = plugin("checked");
    let plugins = plugins.parent().unwrap().to_str().unwrap();
    convert_to(home, &tests_dir().join(artifact), target, &["--config", "config.toml", "--plugins", plugins])
}

/// Target, flaw, what the finding says; nothing where there is none.
const READ_BACK: &[(&str, &str, &[&str])] = &[
    ("plain", "", &[]),
    ("plain", "byte", &["mismatch", "weights.bin", "other bytes"]),
    ("plain", "forget", &["mismatch", "/bias", "is not found"]),
    ("plain", "twice", &["mismatch", "named twice"]),
    ("plain", "perm", &["mismatch", "other bytes"]),
    ("plain", "short", &["mismatch", "should be"]),
    ("plain", "beyond", &["mismatch", "weights.bin"]),
    ("plain", "unknown", &["mismatch", "names weight 4294967295"]),
    ("plain", "elsewhere", &["mismatch", "not a file of the output"]),
    ("plain", "structure", &["mismatch", "index.txt", "nodes"]),
    ("plain", "malformed", &["mismatch", "index.txt", "read back"]),
    ("twin", "", &[]),
    ("twin", "rename", &[]),
    ("twin", "byte", &["mismatch", "/kernel", "other bytes"]),
    ("twin", "config", &["mismatch", "read back", "is rounding", "function of"]),
    ("twin", "output", &["mismatch", "its outputs are", "should be"]),
    ("twin", "garbage", &["mismatch", "read back", "bad-config"]),
    ("orphan", "", &["not-verified", "orphan-model"]),
];

#[test]
fn what_is_read_back_is_compared_with_what_was_to_be_written() {
    for (target, flaw, words) in READ_BACK {
        let home = tempfile::tempdir().unwrap();
        let result = converted(home.path(), target, "samples/mnist_mlp.h5", flaw, "");
        let findings = result.findings();
        if words.is_empty() {
            assert_eq!((result.exit_code, result.level()), (0, "structural"), "{target} {flaw}: {findings}");
            let verification = &result.json["outputs"][0]["verification"];
            assert_eq!(verification["runtime"], "read back by test.checked");
            let note = verification["note"].as_str().unwrap();
            assert!(note.contains("weights bit-identical") && note.contains("recorded outputs"), "{note}");
            assert_eq!(note.contains("other names"), *flaw == "rename", "{note}");
            continue;
        }
        assert_eq!((result.exit_code, result.status()), (5, "failed"), "{target} {flaw}: {findings}");
        words.iter().for_each(|word| assert!(findings.contains(word), "{target} {flaw}: {word} is not in {findings}"));
    }
}
