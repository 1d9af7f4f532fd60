//! Row 21 of the acceptance table through the daemon itself: plugins that crash, hang, leak and lie, in jobs among good
//! ones. And what a plugin that does nothing else comes to.

use crate::strangers::{installed, plugin};
use recast::ledger::{Ledger, State};
use recast_tests::{output, recast, recast_binary, tests_dir};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

/// A model whose one layer has a class name long enough to write another one over it.
const VICTIM: &str = "keras2/layer_thresholded_relu.h5";
const CLASS: &str = "ThresholdedReLU";
const GOOD: usize = 12;
const WALL_SECONDS: u64 = 8;

/// The model with a layer of another class: the file keeps its length, JSON does not mind the space.
fn with_class(class: &str) -> Vec<u8> {
    let mut bytes = fs::read(tests_dir().join("fixtures").join(VICTIM)).expect("a fixture");
    let (from, to) = (format!("\"{CLASS}\""), format!("\"{class}\""));
    let places: Vec<usize> =
        bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from.as_bytes()).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "{VICTIM} has no {CLASS}");
    for at in places {
        bytes[at..at + from.len()].fill(b' ');
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

fn configure(home: &Path, crashes_max: u32) {
    let text = format!(
        "[[watch]]\npath = \"drop\"\nout = \"out\"\nsettle_seconds = 0.1\n\
         [plugins]\npath = [\"plugins\"]\ncrashes_max = {crashes_max}\n\
         [limits]\nworker_wall_seconds_max = {WALL_SECONDS}\nworker_memory_bytes_max = \"640 MiB\"\nattempts_max = 2\n\
         backoff_seconds = 0.05\nworker_threads = 1\n"
    );
    fs::write(home.join("config.toml"), text).expect("writable");
    fs::create_dir_all(home.join("drop")).expect("writable");
    fs::create_dir_all(home.join("plugins")).expect("writable");
    installed(&plugin("misbehaving"), &home.join("plugins"));
}

fn work_off(home: &Path) -> (Output, BTreeMap<String, Json>) {
    let output = output(recast(home).args(["run", "--until-idle", "--format", "json"]));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let reports = text.lines().map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
    let name = |report: &Json| {
        Path::new(report["artifact"].as_str().expect("a path"))
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    let by_name = reports.map(|report| (name(&report), report)).collect();
    (output, by_name)
}

fn say(home: &Path, arguments: &[&str]) -> String {
    let output = recast(home).args(arguments).output().expect("recast runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Processes of ours that still work in `home`.
fn left_behind(home: &Path) -> Vec<String> {
    let home = home.canonicalize().expect("it is there");
    let processes = fs::read_dir("/proc").expect("Linux").filter_map(|entry| Some(entry.ok()?.path()));
    let ours = |path: &Path| {
        fs::read_link(path.join("exe")).is_ok_and(|exe| exe == recast_binary())
            && fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&home))
    };
    processes.filter(|path| ours(path)).map(|path| path.display().to_string()).collect()
}

#[test]
fn a_daemon_with_a_misbehaving_plugin_does_all_good_jobs_and_blames_the_right_one() {
    // Class, the code of the finding, who is named.
    const BAD: [(&str, &str, &str); 10] = [
        ("Abort", "plugin-crashed", "test.misbehaving"),
        ("Segv", "plugin-crashed", "test.misbehaving"),
        ("Exit0", "plugin-crashed", "test.misbehaving"),
        ("CloseFds", "plugin-crashed", "test.misbehaving"),
        ("Junk", "plugin-misbehaved", "test.misbehaving"),
        ("Leak", "out-of-memory", "test.misbehaving"),
        ("Loop", "timeout", "test.misbehaving"),
        ("StopSelf", "timeout", "test.misbehaving"),
        ("Panic", "plugin-crashed", ""),
        ("ForkBomb", "io", "blocked"),
    ];
    let home = tempfile::tempdir().expect("a scratch directory");
    configure(home.path(), 0);
    let drop = home.path().join("drop");
    for (class, ..) in BAD {
        fs::write(drop.join(format!("{class}.h5")), with_class(&format!("bad>{class}"))).expect("writable");
    }
    for number in 0..GOOD {
        fs::copy(tests_dir().join("fixtures").join(VICTIM), drop.join(format!("good{number}.h5"))).expect("writable");
    }
    let began = Instant::now();
    let (output, reports) = work_off(home.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(7), "{said}");
    for number in 0..GOOD {
        assert_eq!(reports[&format!("good{number}")]["status"], "verified", "good{number}: {said}");
    }
    for (class, code, at) in BAD {
        let first = &reports[class]["diagnostics"][0];
        assert_eq!(
            (reports[class]["status"].as_str(), first["code"].as_str()),
            (Some("failed"), Some(code)),
            "{class}"
        );
        assert!(first["at"].as_str().is_some_and(|named| named.contains(at)), "{class}: {first}");
    }
    assert_eq!(left_behind(home.path()), Vec::<String>::new());
    let state = home.path().join("state");
    let quarantined = Ledger::read(&state).and_then(|ledger| ledger.jobs(Some(State::Quarantined))).expect("readable");
    assert_eq!(quarantined.len(), BAD.len());
    let reasons = fs::read_dir(state.join("quarantine")).expect("there is one").count();
    assert_eq!(reasons, BAD.len(), "each with its reason");
    // Two hangs, each tried twice, two at a time; the rest takes no more than its own work.
    assert!(began.elapsed() < Duration::from_secs(4 * WALL_SECONDS + 120), "{:?}", began.elapsed());
}

#[test]
fn a_plugin_that_only_crashes_is_left_out_shown_and_released() {
    let home = tempfile::tempdir().expect("a scratch directory");
    configure(home.path(), 2);
    for name in ["a", "b"] {
        fs::write(home.path().join(format!("drop/{name}.h5")), with_class("bad>Abort")).expect("writable");
    }
    let (output, reports) = work_off(home.path());
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["a", "b"] {
        assert_eq!(reports[name]["status"], "parked", "{}", reports[name]);
    }
    for arguments in [&["plugins", "list"][..], &["status"]] {
        let text = say(home.path(), arguments);
        assert!(text.contains("in quarantine after 2 crashes in a row"), "{arguments:?}:\n{text}");
        assert!(text.contains("recast plugins release test.misbehaving"), "{arguments:?}:\n{text}");
    }
    assert!(say(home.path(), &["plugins", "release", "nobody"]).contains("no plugin nobody is in quarantine"));
    assert!(say(home.path(), &["plugins", "release", "test.misbehaving"]).contains("is released"));
    assert!(!say(home.path(), &["plugins", "list"]).contains("in quarantine"));
}

#[test]
fn plugins_test_takes_a_part_of_the_names_and_this_process() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let file = plugin("sample-layer");
    let file = file.to_str().expect("a path");
    let text = say(home.path(), &["plugins", "test", file, "--in-process", "--filter", "unknown"]);
    for (word, times) in [("unknown-extension-is-null", 1), ("unknown-fields-are-ignored", 1), ("loads", 0)] {
        assert_eq!(text.matches(word).count(), times, "{word}:\n{text}");
    }
    assert!(text.contains("the plugin keeps the rules"), "{text}");
    let none = recast(home.path()).args(["plugins", "test", file, "--filter", "nonsense"]).output().expect("it runs");
    assert_eq!(none.status.code(), Some(2), "nothing was tried: that is no pass");
}
