//! What a command says and ends with: one case for each code that no other test is about, and that all codes have one.

use crate::keras_host::TestHost;
use crate::tidy;
use recast_plugin_api::diag::{Class, Code};
use recast_reference::array::{Array, Data};
use recast_reference::npz::{read_npz, write_npz};
use recast_tests::{convert_to, tests_dir};
use std::fs;
use std::path::{Path, PathBuf};

/// How the artifact of a case comes about, in a scratch directory.
enum Made {
    /// A file of `tests`.
    Of(&'static str),
    /// A file of this name and text.
    Text(&'static str, &'static str),
    /// The sample of a perceptron with zeros for its weights: whatever goes in, the same comes out.
    Zeroed,
    /// The same sample whose recorded outputs are changed so.
    Recorded(fn(&mut Vec<(String, Array)>)),
}

fn without_outputs(arrays: &mut Vec<(String, Array)>) {
    arrays.retain(|(name, _)| !name.starts_with('y'));
}

fn constant(arrays: &mut Vec<(String, Array)>) {
    let outputs = arrays.iter_mut().filter(|(name, _)| name.starts_with('y'));
    outputs.for_each(|(_, array)| array.data = Data::F(vec![0.1; array.data.len()]));
}

fn one_off(arrays: &mut Vec<(String, Array)>) {
    let outputs = arrays.iter_mut().filter(|(name, _)| name.starts_with('y'));
    outputs.for_each(|(_, array)| {
        if let Data::F(values) = &mut array.data {
            values[0] += 1e-3;
        }
    });
}

fn not_a_number(arrays: &mut Vec<(String, Array)>) {
    let outputs = arrays.iter_mut().filter(|(name, _)| name.starts_with('y'));
    outputs.for_each(|(_, array)| {
        if let Data::F(values) = &mut array.data {
            values[0] = f64::NAN;
        }
    });
}

const SAMPLE: &str = "samples/mnist_mlp.h5";

impl Made {
    fn make(&self, home: &Path) -> PathBuf {
        let sample = home.join("sample.h5");
        match self {
            Made::Of(path) => return tests_dir().join(path),
            Made::Text(name, text) => {
                fs::write(home.join(name), text).expect("writable");
                return home.join(name);
            }
            Made::Zeroed => fs::write(&sample, zeroed()).expect("writable"),
            Made::Recorded(change) => {
                fs::copy(tests_dir().join(SAMPLE), &sample).expect("a sample");
                let golden = tests_dir().join(SAMPLE).with_extension("golden.npz");
                let mut arrays = read_npz(&golden).expect("arrays");
                change(&mut arrays);
                write_npz(&home.join("sample.golden.npz"), &arrays).expect("writable");
            }
        }
        sample
    }
}

fn zeroed() -> Vec<u8> {
    let mut bytes = fs::read(tests_dir().join(SAMPLE)).expect("a sample");
    let model = TestHost::with(&[("/m", &bytes)]).read(None).expect("it is read");
    let layers = &model.root.as_ref().expect("a model").layers;
    let tensors = layers.iter().flat_map(|layer| &layer.weights).filter_map(|weight| weight.tensor.as_ref());
    let places: Vec<_> = tensors.map(|tensor| (tensor.offset as usize, tensor.len as usize)).collect();
    assert!(places.len() > 3, "{places:?}");
    places.into_iter().for_each(|(offset, len)| bytes[offset..offset + len].fill(0));
    bytes
}

/// (artifact, target, further arguments, what is said, a part of it).
#[rustfmt::skip]
const CASES: &[(Made, &str, &[&str], Code, &str)] = &[
    (Made::Text("m.bin", "no model"), "onnx", &[], Code::UnknownFormat, "no plugin reads this"),
    (Made::Of(SAMPLE), "nonsense", &[], Code::UnknownTarget, "no plugin writes this"),
    (Made::Zeroed, "onnx", &[], Code::VacuousCheck, "tells nothing"),
    (Made::Recorded(constant), "onnx", &[], Code::VacuousCheck, "no recorded output tells anything"),
    (Made::Recorded(without_outputs), "onnx", &[], Code::GoldenInvalid, "there are: x0"),
    (Made::Recorded(one_off), "onnx", &[], Code::Mismatch, ""),
    (Made::Recorded(not_a_number), "onnx", &[], Code::VacuousCheck, "NaN or infinity"),
    (Made::Of("fixtures/keras2/lstm_stateful.h5"), "onnx", &[], Code::OptionIgnored, "starts from zeros"),
    (Made::Of("fixtures/lambda/known_keras3.keras"), "onnx", &[], Code::LambdaRecognised, "by its code"),
    (Made::Of("fixtures/keras3/mha.h5"), "h5", &[], Code::NeedsNewer, "tf.keras 2"),
    (Made::Of("fixtures/options_keras3/doubles.keras"), "onnx", &[], Code::Precision, "no float64"),
    (Made::Of("fixtures/keras2/simple_rnn_mask_state.h5"), "onnx", &[], Code::Decomposed, "lacks 'simple_rnn'"),
    (Made::Of("fixtures/saved_model/traces/traced_custom_layer"), "onnx", &[], Code::Traced, "no plugin lowers my_pkg"),
];

#[test]
fn codes_end_a_command_as_they_should() {
    for (made, target, more, code, part) in CASES {
        let home = tempfile::tempdir().expect("a scratch directory");
        let done = convert_to(home.path(), &made.make(home.path()), target, more);
        let findings = done.findings();
        assert!(findings.contains(&format!("[{}]", code.as_str())) && findings.contains(part), "{code:?}: {findings}");
        let (exit, status) = match code.class() {
            Class::Loss => (0, "verified"),
            _ => (code.class().exit_code(), "failed"),
        };
        assert_eq!((done.exit_code, done.status()), (exit, status), "{code:?}: {findings}");
        assert_eq!(done.errors().is_empty(), exit == 0, "{code:?}: {findings}");
    }
}

/// By its name in Rust or in a report, somewhere among the tests or in what they expect.
#[test]
fn no_code_is_without_a_test() {
    let is_test = |path: &str| path.starts_with("tests/") && !path.starts_with("tests/conformance/");
    let is_test = |path: &str| is_test(path) || path.contains("/tests/") || path.ends_with("_tests.rs");
    let read = |path: String| fs::read_to_string(tidy::root().join(path)).unwrap_or_default();
    let tests: Vec<String> = tidy::tracked()
        .into_iter()
        .filter(|path| is_test(path) && (path.ends_with(".rs") || path.ends_with(".json")))
        .map(read)
        .collect();
    let named = |code: &&Code| {
        let names = [format!("Code::{code:?}"), format!("\"{}\"", code.as_str()), format!("[{}]", code.as_str())];
        tests.iter().any(|text| names.iter().any(|name| text.contains(name)))
    };
    let without: Vec<&Code> = Code::ALL.iter().filter(|code| !named(code)).collect();
    assert!(without.is_empty(), "no test expects {without:?}");
}

/// A remedy that is not there is none: every `limits.KEY` that a text speaks of is a key of the configuration.
#[test]
fn limits_that_texts_name_can_be_set() {
    let config = fs::read_to_string(tidy::root().join("config.toml")).expect("it is shipped");
    let mut named = Vec::new();
    for (path, text) in tidy::rust_files().into_iter().filter(|(path, _)| !path.starts_with("tests/")) {
        let quoted = text.lines().flat_map(|line| line.split('"').skip(1).step_by(2));
        for said in quoted.flat_map(|text| text.split("limits.").skip(1)) {
            let key: String = said.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            named.push((path.clone(), key));
        }
    }
    named.retain(|(_, key)| !key.is_empty());
    assert!(named.len() > 10, "{named:?}");
    let unknown: Vec<_> =
        named.iter().filter(|(_, key)| !config.lines().any(|line| line.starts_with(&format!("{key} = ")))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// What an artifact may hold is what the configuration says.
#[test]
fn the_bounds_of_an_artifact_are_those_of_the_configuration() {
    for (line, detail) in [
        ("layers_max = 1", "more than 1 layers"),
        ("json_bytes_max = 100", "the bound is 100"),
        ("tensor_bytes_max = \"64 B\"", "the bound is 64 bytes"),
    ] {
        let home = tempfile::tempdir().expect("a scratch directory");
        fs::write(home.path().join("config.toml"), format!("[limits]\n{line}\n")).expect("writable");
        let done = convert_to(home.path(), &tests_dir().join(SAMPLE), "onnx", &["--config", "config.toml"]);
        assert_eq!((done.exit_code, done.errors()[0]), (4, "limit-exceeded"), "{line}: {}", done.findings());
        assert!(done.findings().contains(detail), "{line}: {}", done.findings());
    }
}
