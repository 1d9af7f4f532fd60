//! The keras source against files that mean harm, or that a broken disk made: an error that says what is wrong, or a
//! sound model; never a panic, a hang, or memory that the file does not justify.

use crate::keras::{check_model, each_layer, tests};
use crate::keras_host::TestHost;
use recast_plugin_api::diag::{Code, Findings};
use recast_plugin_api::messages::ReadLimits;
use recast_plugin_api::model::LayerModel;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// One read of a sample takes milliseconds; this is what counts as a hang, on a loaded machine too.
const READ_MAX: Duration = Duration::from_secs(20);

fn directory(below: &str) -> PathBuf {
    tests().join(below)
}

fn hostile(name: &str) -> Vec<u8> {
    let name = if name.contains('.') { name.to_owned() } else { format!("{name}.h5") };
    let path = directory("fixtures/hostile").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(bytes: &[u8], limits: Option<ReadLimits>) -> Result<LayerModel, Findings> {
    TestHost::with(&[("/m", bytes)]).read(limits)
}

#[track_caller]
fn refused(name: &str, code: Code) {
    let findings = read(&hostile(name), None).expect_err(name);
    assert!(findings.iter().any(|diag| diag.code == code), "{name}: {findings:?}");
    assert!(findings.iter().all(|diag| !diag.at.is_empty() && !diag.detail.is_empty()), "{name}: {findings:?}");
    assert!(!findings.iter().any(|diag| diag.detail.contains("made its parser fail")), "{name}: {findings:?}");
}

#[test]
fn data_outside_the_file_is_refused() {
    for name in ["external_storage", "virtual", "soft_link", "soft_link_latest", "soft_link_group", "external_link"] {
        refused(name, Code::UnsafeLink);
    }
}

#[test]
fn declared_sizes_are_held_against_the_file() {
    refused("never_written", Code::Malformed);
    refused("tensor_bomb", Code::Malformed);
    refused("shape_bomb", Code::LimitExceeded);
}

#[test]
fn circles_end() {
    refused("circle", Code::LimitExceeded);
    refused("circle_of_calls", Code::Malformed);
}

#[test]
fn weights_and_layers_have_to_account_for_each_other() {
    refused("leftover", Code::WeightLeftover);
    refused("missing", Code::WeightMissing);
    refused("listed_twice", Code::Malformed);
    refused("odd_type", Code::UnsupportedType);
    refused("weights_alone", Code::ArchitectureMissing);
}

#[test]
fn what_the_architecture_does_not_say_is_not_guessed() {
    for name in ["json_broken", "no_layers", "same_names", "unknown_layer", "call_beyond"] {
        refused(name, Code::Malformed);
    }
    refused("json_deep", Code::LimitExceeded);
    refused("subclassed", Code::UnsupportedContainer);
    refused("never_built", Code::UnsupportedContainer);
    refused("no_keras", Code::UnsupportedContainer);
}

#[test]
fn archives_that_lie_are_refused() {
    refused("member_bomb.keras", Code::LimitExceeded);
    refused("no_weights.keras", Code::Malformed);
    refused("npz_weights.keras", Code::UnsafeCode);
    refused("no_config.keras", Code::Malformed);
}

/// Before anything is decoded, and as far as it goes: what a zip declares of a member that is packed.
#[test]
fn members_are_held_against_what_they_declare() {
    let whole = hostile("packed.keras");
    let last = whole.windows(4).rposition(|word| word == b"PK\x01\x02").expect("a directory of members");
    let told = |bytes: &[u8]| {
        let findings = read(bytes, None).expect_err("refused");
        (findings[0].code, findings[0].detail.clone())
    };
    let declaring = |size: u32| {
        let mut bytes = whole.clone();
        bytes[last + 24..last + 28].copy_from_slice(&size.to_le_bytes());
        told(&bytes)
    };
    for ((code, detail), expected, part) in [
        (declaring(u32::MAX - 1), Code::LimitExceeded, "declares 4294967294"),
        (declaring(1000), Code::Malformed, "1000 bytes declared"),
        (told(&hostile("member_bomb.keras")), Code::LimitExceeded, "declares 68157440"),
    ] {
        assert!(code == expected && detail.contains(part), "{code:?}: {detail}, should say {part}");
    }
}

#[test]
fn arrays_that_are_stored_otherwise_are_decoded() {
    let expected: Vec<u8> = (0..15u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
    for name in ["big_endian", "compressed"] {
        let bytes = hostile(name);
        let host = TestHost::with(&[("/m", &bytes)]);
        let model = host.read(None).unwrap();
        let kernel = model.root.as_ref().unwrap().layers[0].weight("kernel").unwrap().tensor.clone().unwrap();
        assert_eq!((kernel.stored.as_slice(), kernel.dtype.as_str()), (&[5, 3][..], "f32"));
        assert_eq!(host.bytes(&model, &kernel), expected, "{name}");
    }
}

#[test]
fn limits_of_the_request_hold() {
    let bytes = hostile("big_endian");
    let limited = |limits| read(&bytes, Some(limits)).unwrap_err()[0].code;
    assert_eq!(limited(ReadLimits { tensor_bytes_max: 59, ..ReadLimits::default() }), Code::LimitExceeded);
    assert_eq!(limited(ReadLimits { json_bytes_max: 100, ..ReadLimits::default() }), Code::LimitExceeded);
    assert_eq!(limited(ReadLimits { json_depth_max: 3, ..ReadLimits::default() }), Code::LimitExceeded);
    let bytes = std::fs::read(directory("samples/small_cnn.h5")).unwrap();
    let limits = ReadLimits { layers_max: 5, ..ReadLimits::default() };
    assert_eq!(read(&bytes, Some(limits)).unwrap_err()[0].code, Code::LimitExceeded);
}

/// Whatever comes out is sound, and every tensor lies within its file.
fn survives(bytes: &[u8], what: &str) {
    let begin = Instant::now();
    let host = TestHost::with(&[("/m", bytes)]);
    match host.read(None) {
        Ok(model) => {
            let root = model.root.as_ref().unwrap();
            check_model(root);
            each_layer(root, &mut |layer| {
                for tensor in layer.weights.iter().map(|weight| weight.tensor.as_ref().unwrap()) {
                    assert_eq!(host.bytes(&model, tensor).len() as u64, tensor.len, "{what}: {}", layer.path);
                }
            });
        }
        Err(findings) => assert!(findings.iter().any(|diag| diag.is_error()), "{what}: an error without an error"),
    }
    assert!(begin.elapsed() < READ_MAX, "{what}: {:?}", begin.elapsed());
}

fn samples() -> Vec<(String, Vec<u8>)> {
    let names = [
        "samples/mnist_mlp.h5",
        "samples/text_lstm.h5",
        "samples/small_cnn.h5",
        "fixtures/keras_v3/3/shared_dense.keras",
        "fixtures/keras1/lstm.h5",
        "fixtures/keras1/small_cnn_th.h5",
    ];
    names.map(|name| (name.to_owned(), std::fs::read(directory(name)).unwrap())).to_vec()
}

#[test]
fn cut_samples_are_refused() {
    for (name, bytes) in samples() {
        for part in 0..64 {
            let cut = &bytes[..bytes.len() * part / 64];
            survives(cut, &format!("{name} cut to {part}/64"));
            assert!(read(cut, None).is_err(), "{name} cut to {part}/64 was read");
        }
    }
}

/// splitmix64: a small generator whose numbers never change.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((value ^ (value >> 31)) % bound as u64) as usize
    }
}

#[test]
fn mutated_samples_do_no_harm() {
    const VALUES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
    for (name, bytes) in samples() {
        let mut random = Random(1);
        // Half of the changes go where structure is: beginnings of the file and of its headers.
        let structured: Vec<usize> = structure(&bytes);
        for round in 0..500 {
            let mut changed = bytes.clone();
            for _ in 0..=random.below(4) {
                let at = match random.below(2) {
                    0 => structured[random.below(structured.len())],
                    _ => random.below(changed.len()),
                };
                changed[at] = match random.below(2) {
                    0 => changed[at] ^ (1 << random.below(8)),
                    _ => VALUES[random.below(VALUES.len())],
                };
            }
            survives(&changed, &format!("{name}, mutation {round}"));
        }
    }
}

/// Bytes near the marks of HDF5's structures.
fn structure(bytes: &[u8]) -> Vec<usize> {
    let marks: [&[u8]; 5] = [b"\x89HDF", b"TREE", b"SNOD", b"HEAP", b"GCOL"];
    let mut found: Vec<usize> = (0..bytes.len().min(512)).collect();
    for at in 0..bytes.len() {
        if marks.iter().any(|mark| bytes[at..].starts_with(mark)) {
            found.extend((at..bytes.len()).take(128));
        }
    }
    found
}
