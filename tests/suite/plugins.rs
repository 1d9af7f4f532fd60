//! Plugin files: found, trusted or refused with one line that says why, and the tools around them.

use crate::strangers::{Build, built, installed, plugin};
use recast::config;
use recast::host::tools::{self, Ground, Outcome, Sign};
use recast::host::{Finder, Host, HostSettings, Refusal, Silent, Step, TensorStore, Trust};
use recast::ledger::Fault;
use recast::worker::WorkerCommand;
use recast_plugin_api::diag::Code;
use recast_plugin_api::messages::LowerRequest;
use recast_plugin_api::model::Layer;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

fn examine(path: &Path) -> Result<recast::host::Found, Refusal> {
    Finder::new().examine(path, &Trust::default())
}

/// Refused at `step`, in one line with all of `words`.
fn refused(path: &Path, trust: &Trust, step: Step, words: &[&str]) {
    let refusal = Finder::new().examine(path, trust).expect_err("it is refused");
    let text = refusal.to_string();
    assert_eq!((refusal.step, text.lines().count()), (step, 1), "{text}");
    for word in words.iter().chain(&["found: ", "needed: ", "to do: "]) {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn worker() -> WorkerCommand {
    WorkerCommand::new(env!("CARGO_BIN_EXE_test-worker"), &["worker"])
}

fn configured(dirs: &[&Path]) -> config::Plugins {
    let path: Vec<PathBuf> = dirs.iter().map(|dir| dir.to_path_buf()).collect();
    config::Plugins { path, allow: BTreeSet::new(), winners: BTreeMap::new(), crashes_max: 5 }
}

#[test]
fn files_that_others_can_write_are_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let file = installed(&plugin("sample-layer"), dir.path());
    assert!(examine(&file).is_ok());
    chmod(&file, 0o777);
    refused(&file, &Trust::default(), Step::File, &["everybody may write", "chmod o-w"]);
    chmod(&file, 0o755);
    chmod(dir.path(), 0o777);
    refused(&file, &Trust::default(), Step::File, &["the directory", "everybody may write"]);
    chmod(dir.path(), 0o1777);
    assert!(examine(&file).is_ok(), "sticky: nobody can replace what is mine");
}

#[test]
fn files_of_others_are_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let file = installed(&plugin("sample-layer"), dir.path());
    if std::os::unix::fs::chown(&file, Some(12345), None).is_err() {
        eprintln!("SKIPPED files_of_others_are_not_loaded: only root can give a file away");
        return;
    }
    refused(&file, &Trust::default(), Step::File, &["belongs to user 12345", "chown"]);
    let trust = Trust { owners: BTreeSet::from([12345]), ..Trust::default() };
    assert!(Finder::new().examine(&file, &trust).is_ok());
}

#[test]
fn links_and_other_things_are_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("liblink.so");
    std::os::unix::fs::symlink(plugin("sample-layer"), &link).unwrap();
    refused(&link, &Trust::default(), Step::File, &["symbolic link"]);
    refused(&dir.path().join("libmissing.so"), &Trust::default(), Step::File, &["No such file"]);
    let directory = dir.path().join("libdir.so");
    std::fs::create_dir(&directory).unwrap();
    refused(&directory, &Trust::default(), Step::File, &["regular file"]);
}

#[test]
fn libraries_that_are_no_plugins_are_told_apart() {
    let libm = Command::new("cc").args(["-print-file-name=libm.so.6"]).output().unwrap();
    let libm = PathBuf::from(String::from_utf8(libm.stdout).unwrap().trim()).canonicalize().unwrap();
    refused(&libm, &Trust::default(), Step::Manifest, &["not a recast plugin", ".recast_manifest"]);
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("libtext.so");
    std::fs::write(&text, "this is no library").unwrap();
    refused(&text, &Trust::default(), Step::Elf, &["not a recast plugin"]);
    installed(&libm, dir.path());
    let discovery = Finder::new().discover(&[dir.path().to_owned()], &Trust::default());
    assert_eq!((discovery.found.len(), discovery.refused.len()), (0, 0), "nobody asked about these files");
}

#[test]
fn a_plugin_for_another_machine_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = installed(&plugin("sample-layer"), dir.path());
    let mut bytes = std::fs::read(&file).unwrap();
    // e_machine: RISC-V.
    bytes[18..20].copy_from_slice(&243u16.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    refused(&file, &Trust::default(), Step::Elf, &["riscv", std::env::consts::ARCH]);
}

#[test]
fn cut_and_mangled_libraries_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let library = plugin("sample-layer");
    let whole = std::fs::read(&library).unwrap();
    let file = dir.path().join("libcut.so");
    for part in 0..64 {
        std::fs::write(&file, &whole[..whole.len() * part / 64]).unwrap();
        assert!(examine(&file).is_err(), "{part}/64 of a library");
    }
    let manifest = b"\"abi_major\":1";
    let at = whole.windows(manifest.len()).position(|window| window == manifest).unwrap();
    let mut bytes = whole;
    bytes[at + manifest.len() - 1] = b'x';
    std::fs::write(&file, &bytes).unwrap();
    refused(&file, &Trust::default(), Step::Manifest, &["not the JSON"]);
}

#[test]
fn an_allow_list_allows_nothing_else() {
    let file = plugin("sample-layer");
    let found = examine(&file).unwrap();
    let trust = |digest: &str| Trust { allow: BTreeSet::from([digest.to_owned()]), ..Trust::default() };
    assert!(Finder::new().examine(&file, &trust(&found.sha256)).is_ok());
    refused(&file, &trust(&"0".repeat(64)), Step::Digest, &[&found.sha256, "plugins.allow"]);
}

#[test]
fn the_first_directory_wins_and_two_files_in_one_do_not() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let library = plugin("sample-layer");
    let (one, _) = (installed(&library, first.path()), installed(&library, second.path()));
    let dirs = [first.path().to_owned(), second.path().to_owned()];
    let mut finder = Finder::new();
    let discovery = finder.discover(&dirs, &Trust::default());
    assert_eq!(discovery.found.iter().map(|found| &found.path).collect::<Vec<_>>(), [&one]);
    std::fs::copy(&library, first.path().join("libcopy.so")).unwrap();
    let discovery = finder.discover(&dirs, &Trust::default());
    assert!(discovery.found.is_empty(), "{discovery:?}");
    assert!(discovery.refused.iter().all(|refusal| refusal.step == Step::Duplicate));
    assert_eq!(discovery.refused.len(), 2);
}

#[test]
fn a_plugin_that_comes_goes_or_changes_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = [dir.path().to_owned()];
    let mut finder = Finder::new();
    let mut look = || finder.discover(&dirs, &Trust::default()).found;
    assert!(look().is_empty());
    let file = installed(&plugin("raw"), dir.path());
    let before = look();
    assert_eq!(before.len(), 1);
    assert_eq!(look(), before);
    let other = built(&Build::of("raw").feature("newer"));
    let beside = dir.path().join("new");
    std::fs::copy(other, &beside).unwrap();
    std::fs::rename(&beside, &file).unwrap();
    let after = look();
    assert_ne!(after[0].sha256, before[0].sha256);
    std::fs::remove_file(&file).unwrap();
    assert!(look().is_empty());
}

fn lower_with(plugins: &[PathBuf], winners: BTreeMap<String, String>) -> (Code, String) {
    let pins = plugins.iter().map(|path| examine(path).unwrap().pin()).collect::<Vec<_>>();
    let tensors = TensorStore::new(&[], Path::new("/nonexistent"), 0);
    let settings = HostSettings { winners, tensors, events: Arc::new(Silent), threads: 1 };
    let host = Host::open(&pins, settings).unwrap();
    let layer = Layer { class: "acme>ScaledTanh".into(), config: "{}".into(), ..Layer::default() };
    let request = LowerRequest { layer: Some(layer), ..LowerRequest::default() };
    let findings = host.lower(&request, &|_| unreachable!()).unwrap_err();
    (findings[0].code, findings[0].to_string())
}

#[test]
fn two_plugins_that_claim_one_class_conflict_until_one_is_named() {
    let plugins = [plugin("sample-layer"), plugin("rival")];
    let (code, text) = lower_with(&plugins, BTreeMap::new());
    assert_eq!(code, Code::PluginConflict, "{text}");
    for word in ["com.acme.layers", "test.rival", "layer:acme>ScaledTanh", "[plugins.winners]"] {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    let wins = |id: &str| BTreeMap::from([("layer:acme>ScaledTanh".to_owned(), id.to_owned())]);
    assert!(lower_with(&plugins, wins("test.rival")).1.contains("the rival was asked"));
    assert_eq!(lower_with(&plugins, wins("com.acme.layers")).0, Code::BadConfig, "Acme's was asked");
}

#[test]
fn a_class_that_nobody_owns_is_named() {
    let (code, text) = lower_with(&[plugin("raw")], BTreeMap::new());
    assert_eq!(code, Code::UnknownLayer);
    assert!(text.contains("acme>ScaledTanh") && text.contains("recast plugins new"), "{text}");
}

#[test]
fn list_shows_plugins_refusals_and_conflicts() {
    let dir = tempfile::tempdir().unwrap();
    ["sample-layer", "rival"].iter().for_each(|name| drop(installed(&plugin(name), dir.path())));
    chmod(&installed(&plugin("raw"), dir.path()), 0o666);
    let config = configured(&[dir.path()]);
    let listing = tools::list(&config, &[]);
    let text = listing.to_string();
    for word in
        ["com.acme.layers 1.2.0", "lowers  acme>ScaledTanh, acme>Twice", "conflict: layer:acme>ScaledTanh", "refused: "]
    {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    assert!(!text.contains("quarantine"), "{text}");
    let json = serde_json::to_value(&listing).unwrap();
    let ours = json["plugins"].as_array().unwrap().iter().find(|plugin| plugin["id"] == "com.acme.layers").unwrap();
    assert_eq!(ours["claims"][0], "layer:acme>ScaledTanh");
    assert_eq!(
        (json["refused"][0]["step"].as_str(), json["conflicts"][0]["code"].as_str()),
        (Some("file"), Some("plugin-conflict"))
    );
    let sha256 = ours["sha256"].as_str().unwrap().to_owned();
    let fault = Fault { plugin: "p".into(), sha256, crashes: 3, reason: "SIGSEGV".into(), quarantined: true };
    let text = tools::list(&config, &[fault]).to_string();
    assert_eq!(text.matches("in quarantine after 3 crashes in a row, the last: SIGSEGV").count(), 1, "{text}");
}

/// A library whose constructor would tell on us.
#[test]
fn inspect_runs_no_code_of_the_plugin() {
    let dir = tempfile::tempdir().unwrap();
    let (source, witness) = (dir.path().join("c.c"), dir.path().join("it-ran"));
    let manifest = r#"{"schema":1,"id":"test.loud","name":"L","version":"1","abi_major":1,"provides":[]}"#;
    let section = r#"__attribute__((section(".recast_manifest"), used))"#;
    let ran = format!("{{ FILE *f = fopen({witness:?}, \"w\"); if (f) fclose(f); }}");
    let code = format!(
        "#include <stdio.h>\n{section} static const char m[] = {manifest:?};\n\
         __attribute__((constructor)) static void ran(void) {ran}\n"
    );
    std::fs::write(&source, code).unwrap();
    let library = dir.path().join("libloud.so");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
    assert!(compiled.success());
    let inspected = tools::inspect(&library).unwrap();
    assert_eq!(inspected.manifest.id, "test.loud");
    assert!(inspected.demands.as_ref().unwrap().libraries.iter().any(|library| library.starts_with("libc.so")));
    assert!(inspected.to_string().contains("test.loud 1"));
    assert!(!witness.exists(), "inspect ran the plugin");
    let diagnosis = tools::doctor(&library, &configured(&[]), &worker());
    assert!(!diagnosis.healthy && !witness.exists(), "{diagnosis}");
}

#[test]
fn the_doctor_finds_nothing_wrong_with_a_good_plugin() {
    let dir = tempfile::tempdir().unwrap();
    let file = installed(&plugin("sample-layer"), dir.path());
    let diagnosis = tools::doctor(&file, &configured(&[dir.path()]), &worker());
    assert!(diagnosis.healthy, "{diagnosis}");
    assert!(diagnosis.to_string().contains("layouts checked"), "{diagnosis}");
}

#[test]
fn the_doctor_names_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let check = |file: &Path, words: &[&str]| {
        let diagnosis = tools::doctor(file, &configured(&[dir.path()]), &worker());
        let bad = diagnosis.symptoms.iter().filter(|symptom| symptom.sign == Sign::Bad);
        let text = bad.map(|symptom| symptom.text.clone()).collect::<Vec<_>>().join("\n");
        assert!(!diagnosis.healthy, "{diagnosis}");
        words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in:\n{text}"));
    };
    check(&built(&Build::of("raw").feature("only-newer")), &["recast.layers/2"]);
    installed(&plugin("rival"), dir.path());
    check(&installed(&plugin("sample-layer"), dir.path()), &["claimed by", "test.rival"]);
    let file = dir.path().join("libacme_layers.so");
    chmod(&file, 0o666);
    check(&file, &["everybody may write"]);
    check(Path::new("/nonexistent.so"), &["No such file"]);
}

fn outcomes(conformance: &tools::Conformance) -> BTreeMap<&str, Outcome> {
    conformance.cases.iter().map(|case| (case.name.as_str(), case.outcome)).collect()
}

#[test]
fn the_conformance_kit_passes_a_good_plugin() {
    let conformance = tools::test(&plugin("sample-layer"), &Trust::default(), Ground::Worker(&worker()), "").unwrap();
    assert!(conformance.passed, "{conformance}");
    let outcomes = outcomes(&conformance);
    assert_eq!(outcomes["samples-are-read"], Outcome::Skipped, "{conformance}");
    for case in
        ["loads", "examples-are-lowered", "examples-agree-with-eval", "garbage-is-refused", "told-to-stop-it-stops"]
    {
        assert_eq!(outcomes[case], Outcome::Passed, "{case}:\n{conformance}");
    }
}

#[test]
fn the_conformance_kit_runs_in_this_process_too() {
    let here = |name: &str, feature: &str, filter: &str| {
        let library = built(&Build::of(name).feature(feature));
        tools::test(&library, &Trust::default(), Ground::Here, filter).unwrap()
    };
    let sound = here("sample-layer", "", "examples");
    assert!(sound.passed && sound.cases.len() == 2, "{sound}");
    let wrong = here("defective", "disagrees", "examples-agree-with-eval");
    assert_eq!(outcomes(&wrong)["examples-agree-with-eval"], Outcome::Failed, "{wrong}");
}

/// Each broken rule is found by the case that is there for it, whatever the plugin does to its process.
#[test]
fn the_conformance_kit_finds_broken_rules() {
    let expected = [
        ("defective", "disagrees", "examples-agree-with-eval"),
        ("defective", "panics-on-garbage", "garbage-is-refused"),
        ("defective", "random", "examples-are-lowered"),
        ("defective", "leaks-threads", "nothing-is-left-behind"),
        ("defective", "crashes", "examples-are-lowered"),
        ("defective", "deaf", "told-to-stop-it-stops"),
        ("defective", "fragile", "broken-samples-are-survived"),
        ("raw", "lists-other", "manifest-matches-exports"),
        ("raw", "odd-probe", "probe-takes-anything"),
    ];
    for (name, defect, case) in expected {
        let library = built(&Build::of(name).feature(defect));
        let conformance = tools::test(&library, &Trust::default(), Ground::Worker(&worker()), case).unwrap();
        assert_eq!(outcomes(&conformance)[case], Outcome::Failed, "{defect}:\n{conformance}");
    }
    let sound = tools::test(&plugin("defective"), &Trust::default(), Ground::Worker(&worker()), "").unwrap();
    assert!(sound.passed, "the control:\n{sound}");
}

#[test]
fn a_begun_plugin_builds_and_keeps_the_rules() {
    let place = recast_tests::build_dir().join("strangers/begun");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).unwrap();
    let written = tools::begin("my-layers", &place).unwrap();
    assert!(written.contains(&place.join("my-layers/src/lib.rs")));
    assert!(tools::begin("my-layers", &place).is_err(), "nothing is overwritten");
    for name in ["", "../x", "My Layers", "9x", "a/b"] {
        assert!(tools::begin(name, &place).is_err(), "{name:?}");
    }
    let library = built(&Build { dir: place.join("my-layers"), ..Build::default() });
    let conformance = tools::test(&library, &Trust::default(), Ground::Worker(&worker()), "").unwrap();
    assert!(conformance.passed, "{conformance}");
    assert_eq!(outcomes(&conformance)["examples-agree-with-eval"], Outcome::Passed, "{conformance}");
}
