//! Models that look words up, through the real binary: what each target makes of them, and that a wrong word is found.

use recast_reference::Array;
use recast_reference::npz::{read_npz, write_npz};
use recast_tests::{convert, convert_to, tests_dir};
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    tests_dir().join("fixtures/strings").join(name)
}

#[test]
fn a_saved_model_that_is_written_reads_back_as_the_same_tables() {
    for name in ["k3_learnt.keras", "k3_names.keras", "k2_counted.h5", "k3_tabular.keras", "tables"] {
        let home = tempfile::tempdir().expect("a scratch directory");
        let result = convert_to(home.path(), &fixture(name), "savedmodel", &[]);
        assert_eq!((result.status(), result.level()), ("verified", "structural"), "{name}: {}", result.findings());
    }
}

#[test]
fn targets_without_strings_say_so() {
    for (target, code) in [("torch", "unsupported-op"), ("tfjs", "unsupported-layer")] {
        let home = tempfile::tempdir().expect("a scratch directory");
        let result = convert_to(home.path(), &fixture("k3_learnt.keras"), target, &[]);
        assert_eq!((result.status(), result.exit_code), ("failed", 3), "{target}");
        assert!(result.errors().contains(&code), "{target}: {}", result.findings());
    }
}

/// The recorded words, one of them another: of the outputs of a model that gives words, and of the inputs of one that
/// takes some.
#[test]
fn a_word_that_differs_is_a_mismatch() {
    for (model, golden, key) in [("k3_names.keras", "k3_names", "y0"), ("k3_learnt.keras", "k3_learnt", "x0")] {
        let mut arrays = read_npz(&fixture(&format!("{golden}.golden.npz"))).expect("recorded");
        let (_, array) = arrays.iter_mut().find(|(name, _)| name == key).expect(key);
        let recast_reference::Data::S(words) = &array.data else { panic!("{key} holds no strings") };
        let mut words = words.clone();
        words[0] = if words[0] == "b" { "c".into() } else { "b".into() };
        *array = Array::strings(array.shape.clone(), words);
        let home = tempfile::tempdir().expect("a scratch directory");
        let path = home.path().join("other.npz");
        write_npz(&path, &arrays).expect("writable");
        let result = convert(home.path(), &fixture(model), &["--golden", &path.to_string_lossy()]);
        assert_eq!((result.status(), result.exit_code), ("failed", 5), "{model}: {}", result.findings());
        assert!(result.errors().contains(&"mismatch"), "{model}: {}", result.findings());
    }
}
