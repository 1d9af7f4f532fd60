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

/// Models that cut, hash and cross texts: what the live model gave, the SavedModel read back, and Keras' files.
#[test]
fn texts_are_cut_and_hashed_as_keras_does() {
    let folder = tests_dir().join("fixtures/text");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("fixtures").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".npz") {
            continue;
        }
        let stem = name.split('.').next().unwrap_or(&name).to_owned();
        let golden = folder.join(format!("{stem}.golden.npz"));
        let home = tempfile::tempdir().expect("a scratch directory");
        let more = ["--golden", &golden.to_string_lossy()];
        let result = convert_to(home.path(), &entry.path(), "savedmodel", &more);
        assert_eq!((result.status(), result.level()), ("verified", "structural"), "{name}: {}", result.findings());
        seen += 1;
    }
    assert!(seen >= 30, "{seen}");
}

#[test]
fn layers_of_texts_are_written_for_each_keras() {
    for (name, target) in [
        ("k2_hash_salts.h5", "keras"),
        ("k2_text_learnt.keras", "keras"),
        ("k2_text_learnt_tf_idf.keras", "keras"),
        ("k3_text_learnt_tf_idf.keras", "keras2"),
        ("k3_text_classifier.keras", "h5"),
        ("k3_tabular.keras", "keras2"),
    ] {
        let home = tempfile::tempdir().expect("a scratch directory");
        let result = convert_to(home.path(), &tests_dir().join("fixtures/text").join(name), target, &[]);
        assert_eq!((result.status(), result.level()), ("verified", "structural"), "{name}: {}", result.findings());
    }
}

#[test]
fn what_onnx_has_no_word_for_is_said() {
    for (name, why) in [
        ("k3_hash_salts.h5", "string_hash"),
        ("k3_text_free.h5", "what white space is"),
        ("k3_text_count_characters_saved", "nor into characters"),
    ] {
        let home = tempfile::tempdir().expect("a scratch directory");
        let result = convert_to(home.path(), &tests_dir().join("fixtures/text").join(name), "onnx", &[]);
        assert_eq!((result.status(), result.exit_code), ("failed", 3), "{name}");
        assert!(result.findings().contains(why), "{name}: {}", result.findings());
    }
}
