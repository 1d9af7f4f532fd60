//! Lineage: records that verify, and what the check says of every way in which something is not as it was.

use p256::ecdsa::signature::Verifier;
use recast::lineage::bundle::{self, Trust};
use recast::lineage::key::{Key, PublicKey, public_path};
use recast::lineage::query::{self, Answer, Query, Subject, Verdict};
use recast::lineage::store::read_record;
use recast::lineage::{RECORD_BYTES_MAX, Store};
use recast_tests::fake::{Fake, config};
use recast_tests::observe::bundles;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A published bundle of `m.h5`, and of `second.bin`, which was made from the first one's output.
struct Chain {
    home: tempfile::TempDir,
    first: PathBuf,
    second: PathBuf,
}

fn convert(home: &Path, name: &str) -> PathBuf {
    let summary = Fake::default().until_idle(config(home, 0.05, "", "")).expect("it ends well");
    assert_eq!(summary.exit_code, 0, "{:?}", summary.reports);
    let named = |bundle: &PathBuf| bundle.parent().is_some_and(|dir| dir.ends_with(name));
    let bundle = bundles(&home.join("out")).into_iter().find(named).expect("published");
    bundle.join(format!("{name}.onnx"))
}

fn chain() -> Chain {
    let home = tempfile::tempdir().expect("a scratch directory");
    config(home.path(), 0.05, "", "");
    fs::write(home.path().join("drop/m.h5"), b"a model").expect("writable");
    let first = convert(home.path(), "m");
    fs::copy(&first, home.path().join("drop/second.bin")).expect("writable");
    let second = convert(home.path(), "second");
    Chain { first, second, home }
}

impl Chain {
    fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    fn key(&self) -> PublicKey {
        PublicKey::load(&public_path(&self.state().join("lineage.key"))).expect("it is exported")
    }

    fn ask(&self, subject: &Path) -> Answer {
        self.ask_with(&Subject::File(subject.to_owned()), &[self.key()], false)
    }

    fn ask_with(&self, subject: &Subject, keys: &[PublicKey], down: bool) -> Answer {
        let stores = [Store::open(&self.state()).expect("there is an index")];
        query::run(&Query { stores: &stores, keys, down, rehash: true }, subject).expect("it can be answered")
    }
}

fn sidecar(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.sigstore.json", path.display()))
}

fn rewrite(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("readable");
    edit(&mut bytes);
    fs::write(path, bytes).expect("writable");
}

#[test]
fn a_record_has_the_shape_that_other_verifiers_expect() {
    let chain = chain();
    let line = fs::read_to_string(sidecar(&chain.first)).expect("it lies beside the output");
    assert!(line.ends_with('\n') && line.lines().count() == 1 && line.len() < 16_000);
    let bundle: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(bundle["mediaType"], "application/vnd.dev.sigstore.bundle.v0.3+json");
    assert_eq!(bundle["verificationMaterial"]["tlogEntries"], serde_json::json!([]));
    assert_eq!(bundle["verificationMaterial"]["publicKey"]["hint"], chain.key().hint());
    let record = read_record(&sidecar(&chain.first)).expect("ours");
    let statement = &record.unwrapped.statement;
    let keys: Vec<&String> = statement.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["_type", "subject", "predicateType", "predicate"]);
    let dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().expect("a list");
    let byproducts = statement["predicate"]["runDetails"]["byproducts"].as_array().expect("a list");
    for descriptor in dependencies.iter().chain(byproducts) {
        // A descriptor needs a uri, a digest or content; readers don't notice when it has none.
        let sha256 = descriptor["digest"]["sha256"].as_str().expect("each has a digest");
        assert!(recast::digest::is_sha256_hex(sha256), "{descriptor}");
    }
    let report = fs::read(chain.first.with_file_name("report.json")).expect("it is in the bundle");
    assert_eq!(byproducts[0]["digest"]["sha256"], recast::digest::of_bytes(&report));
    assert_eq!(byproducts[0]["annotations"]["result"], "pass");
    assert!(!line.contains(&chain.home.path().to_string_lossy().into_owned()), "a path of this machine");
    assert!(!statement.to_string().contains(&*chain.home.path().to_string_lossy()), "a path of this machine");
}

#[test]
fn the_signature_is_of_the_pre_authentication_encoding() {
    let chain = chain();
    let bundle: Value = serde_json::from_slice(&fs::read(sidecar(&chain.first)).expect("there")).expect("JSON");
    let decode = |value: &Value| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.decode(value.as_str().expect("text")).expect("base64")
    };
    let payload = decode(&bundle["dsseEnvelope"]["payload"]);
    let kind = bundle["dsseEnvelope"]["payloadType"].as_str().expect("text");
    let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    message.extend(&payload);
    let signature = decode(&bundle["dsseEnvelope"]["signatures"][0]["sig"]);
    let signature = p256::ecdsa::Signature::from_der(&signature).expect("DER");
    let pem = fs::read_to_string(public_path(&chain.state().join("lineage.key"))).expect("exported");
    let key: p256::PublicKey = pem.parse().expect("SPKI PEM");
    p256::ecdsa::VerifyingKey::from(key).verify(&message, &signature).expect("it verifies");
    message.push(b' ');
    assert!(p256::ecdsa::VerifyingKey::from(key).verify(&message, &signature).is_err());
}

#[test]
fn a_chain_is_told_up_and_down() {
    let chain = chain();
    let up = chain.ask(&chain.second);
    assert_eq!(up.links.len(), 2, "{up:?}");
    assert_eq!(up.worst(), Verdict::Ok, "{up:?}");
    assert_eq!((up.links[0].source.as_str(), up.links[1].source.as_str()), ("second.bin", "m.h5"));
    let model = recast::digest::of_bytes(b"a model");
    let down = chain.ask_with(&Subject::Digest(model), &[chain.key()], true);
    assert_eq!(down.links.iter().map(|link| link.depth).collect::<Vec<_>>(), [0, 1]);
    // Through the link that scripts use.
    let latest = chain.home.path().join("out/m/latest/m.onnx");
    assert!(chain.ask(&latest).found);
}

#[test]
fn a_renamed_file_is_found_by_what_it_holds() {
    let chain = chain();
    let moved = chain.home.path().join("renamed.model");
    fs::rename(&chain.first, &moved).expect("it can be moved");
    let answer = chain.ask(&moved);
    assert!(answer.found && answer.worst() == Verdict::Ok, "{answer:?}");
}

#[test]
fn a_modified_file_is_said_to_be_modified() {
    let chain = chain();
    rewrite(&chain.second, |bytes| bytes[0] ^= 1);
    let answer = chain.ask(&chain.second);
    assert!(!answer.found && answer.modified && answer.note.contains("modified"), "{answer:?}");
    // Asked by its old digest, the record itself tells that the file beside it is another one now.
    rewrite(&chain.second, |bytes| bytes[0] ^= 1);
    let digest = chain.ask(&chain.second).sha256;
    rewrite(&chain.second, |bytes| bytes[0] ^= 1);
    let answer = chain.ask_with(&Subject::Digest(digest), &[chain.key()], false);
    assert_eq!(answer.links[0].verdict, Verdict::Bad, "{answer:?}");
}

#[test]
fn a_flipped_byte_in_the_payload_is_bad() {
    let chain = chain();
    // The finish time, inside the signed statement.
    rewrite(&sidecar(&chain.second), |bytes| {
        use base64::Engine;
        let engine = base64::engine::general_purpose::STANDARD;
        let mut bundle: Value = serde_json::from_slice(bytes).expect("JSON");
        let payload = bundle["dsseEnvelope"]["payload"].as_str().expect("text").to_owned();
        let text = String::from_utf8(engine.decode(payload).expect("base64")).expect("UTF-8");
        let forged = text.replacen("\"level\":\"reference\"", "\"level\":\"golden\"", 1);
        assert_ne!(text, forged);
        bundle["dsseEnvelope"]["payload"] = engine.encode(forged).into();
        *bytes = bundle.to_string().into_bytes();
    });
    let answer = chain.ask(&chain.second);
    assert_eq!(answer.links[0].verdict, Verdict::Bad, "{answer:?}");
}

#[test]
fn another_key_is_unknown_and_a_false_name_is_bad() {
    let chain = chain();
    let other = tempfile::tempdir().expect("a scratch directory");
    let stranger = Key::open(&other.path().join("lineage.key")).expect("a key can be made");
    let answer = chain.ask_with(&Subject::File(chain.second.clone()), &[stranger.public().clone()], false);
    assert_eq!(answer.worst(), Verdict::UnknownKey, "{answer:?}");
    let record = read_record(&sidecar(&chain.second)).expect("ours");
    assert_eq!(record.unwrapped.trust(&[]), Trust::UnknownKey);
    // Signed by a stranger under our name.
    let mut forged: Value =
        serde_json::from_slice(&bundle::wrap(&record.unwrapped.statement, &stranger)).expect("JSON");
    forged["verificationMaterial"]["publicKey"]["hint"] = chain.key().hint().into();
    let forged = bundle::unwrap(forged.to_string().as_bytes()).expect("well formed");
    assert_eq!(forged.trust(&[chain.key()]), Trust::Bad);
}

#[test]
fn a_swapped_sidecar_is_noticed() {
    let chain = chain();
    let elsewhere = chain.home.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("writable");
    fs::write(elsewhere.join("m.onnx"), b"nobody's file").expect("writable");
    fs::copy(sidecar(&chain.second), elsewhere.join("m.onnx.sigstore.json")).expect("writable");
    let answer = chain.ask(&elsewhere.join("m.onnx"));
    assert!(!answer.found && answer.modified && answer.note.contains("another file's"), "{answer:?}");
}

#[test]
fn a_missing_parent_is_missing() {
    let chain = chain();
    fs::remove_dir_all(chain.first.parent().expect("its bundle")).expect("there");
    let answer = chain.ask(&chain.second);
    assert_eq!(answer.links.len(), 2, "{answer:?}");
    assert_eq!((answer.links[0].verdict, answer.links[1].verdict), (Verdict::Ok, Verdict::Missing));
}

/// Another record of the first output, by the right key and of the right file, which the second one was not made under.
#[test]
fn a_record_in_the_place_of_the_pinned_one_is_bad() {
    let chain = chain();
    let key = Key::open(&chain.state().join("lineage.key")).expect("the daemon's");
    let mut statement = read_record(&sidecar(&chain.first)).expect("ours").unwrapped.statement;
    statement["predicate"]["runDetails"]["metadata"]["finishedOn"] = "2020-01-01T00:00:00Z".into();
    fs::write(sidecar(&chain.first), bundle::wrap(&statement, &key)).expect("writable");
    assert_eq!(chain.ask(&chain.first).links[0].verdict, Verdict::Ok, "by itself it is a good one");
    let answer = chain.ask(&chain.second);
    let parent = &answer.links[1];
    assert_eq!((answer.links[0].verdict, parent.verdict), (Verdict::Ok, Verdict::Bad), "{answer:?}");
    assert!(parent.reasons[0].contains("pins the record sha256:"), "{answer:?}");
}

#[test]
fn a_lost_index_is_rebuilt_from_the_records() {
    let chain = chain();
    for entry in fs::read_dir(chain.state()).expect("readable").flatten() {
        if entry.file_name().to_string_lossy().starts_with("lineage.sqlite") {
            fs::remove_file(entry.path()).expect("there");
        }
    }
    let mut store = Store::open(&chain.state()).expect("a new one");
    let found = store.add_tree(&chain.home.path().join("out")).expect("readable");
    assert_eq!((found.records, found.malformed), (2, 0));
    assert_eq!(chain.ask(&chain.second).links.len(), 2);
}

#[test]
fn the_key_is_its_owners_and_stays_the_same() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let path = home.path().join("state/lineage.key");
    let made = Key::open(&path).expect("a key can be made").public().hint();
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(Key::open(&path).expect("readable").public().hint(), made);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("ours");
    assert!(Key::open(&path).is_err(), "a key that others can read is refused");
    // Two that start at once end with one key.
    let race = home.path().join("race/lineage.key");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let race = race.clone();
            std::thread::spawn(move || Key::open(&race).expect("one of them makes it").public().hint())
        })
        .collect();
    let hints: std::collections::BTreeSet<String> =
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    assert_eq!(hints.len(), 1);
}

#[test]
fn signing_is_repeatable_and_a_record_has_a_bound() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let key = Key::open(&home.path().join("lineage.key")).expect("a key can be made");
    let statement = serde_json::json!({"_type": "x"});
    assert_eq!(bundle::wrap(&statement, &key), bundle::wrap(&statement, &key));
    let huge = vec![b' '; RECORD_BYTES_MAX as usize + 1];
    assert!(bundle::unwrap(&huge).is_err());
    fs::write(home.path().join("huge.sigstore.json"), huge).expect("writable");
    assert!(read_record(&home.path().join("huge.sigstore.json")).is_err());
}
