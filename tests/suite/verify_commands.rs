//! Commands that take part in a check: runtimes of targets, and the oracle.

use crate::verify_structural::converted;
use recast_tests::{Converted, build_dir};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn fake_runner() -> PathBuf {
    let program = build_dir().join("fake-runner");
    assert!(program.is_file(), "{} is missing: run `cargo build --workspace` first", program.display());
    program
}

fn runtime(mode: &str, more: &str) -> String {
    format!("[verify.runtimes.plain]\ncommand = [{:?}, {mode:?}]\n{more}\n", fake_runner())
}

/// Without recorded outputs: what our own inputs show is to be seen.
pub fn bare(home: &Path, sample: &str) -> String {
    let from = recast_tests::tests_dir().join("samples").join(sample);
    let copy = home.join(sample);
    std::fs::copy(from, &copy).unwrap();
    copy.to_str().unwrap().to_owned()
}

fn run(sample: &str, flaw: &str, config: &str) -> Converted {
    let home = tempfile::tempdir().unwrap();
    let artifact = bare(home.path(), sample);
    converted(home.path(), "plain", &artifact, flaw, config)
}

#[test]
fn a_runtime_that_agrees_proves_the_output() {
    for sample in ["mnist_mlp.h5", "text_lstm.h5"] {
        let result = run(sample, "", &runtime("ok", ""));
        assert_eq!((result.exit_code, result.level()), (0, "reference"), "{sample}: {}", result.findings());
        let verification = &result.json["outputs"][0]["verification"];
        assert_eq!(verification["runtime"], "plain (command)");
        assert_eq!(verification["samples"], 3, "two batch sizes");
        assert!(verification["note"].as_str().unwrap().contains("weights bit-identical"));
    }
}

#[test]
fn recorded_outputs_are_compared_through_it() {
    let home = tempfile::tempdir().unwrap();
    let result = converted(home.path(), "plain", "samples/mnist_mlp.h5", "", &runtime("ok", ""));
    assert_eq!((result.exit_code, result.level()), (0, "golden"), "{}", result.findings());
}

/// Mode, more of its configuration, the finding.
const FAILURES: &[(&str, &str, &[&str])] = &[
    ("wrong", "", &["mismatch", "is rounding"]),
    ("fail", "", &["not-verified", "exit code 3", "No module named"]),
    ("hang", "seconds_max = 1", &["not-verified", "seconds_max = 1"]),
    ("flood", "seconds_max = 1", &["not-verified", "seconds_max = 1", "flood"]),
    ("memory", "memory_bytes_max = \"512 MiB\"", &["not-verified", "memory allocation"]),
    ("nothing", "", &["not-verified", "outputs_0.npz"]),
    ("misnamed", "", &["not-verified", "wrote no array"]),
];

#[test]
fn a_runtime_that_fails_is_an_error_although_the_structure_was_right() {
    for (mode, more, words) in FAILURES {
        let started = Instant::now();
        let result = run("mnist_mlp.h5", "", &runtime(mode, more));
        let findings = result.findings();
        assert_eq!((result.exit_code, result.status()), (5, "failed"), "{mode}: {findings}");
        words.iter().for_each(|word| assert!(findings.contains(word), "{mode}: {word} is not in {findings}"));
        assert!(started.elapsed() < Duration::from_secs(60), "{mode}");
    }
}

#[test]
fn what_is_read_back_wrong_is_not_run() {
    let result = run("mnist_mlp.h5", "byte", &runtime("fail", ""));
    let findings = result.findings();
    assert!(findings.contains("other bytes") && !findings.contains("exit code"), "{findings}");
}

#[test]
fn nobody_outlives_the_check() {
    let result = run("mnist_mlp.h5", "", &runtime("hang-children", "seconds_max = 1"));
    let findings = result.findings();
    let child = findings.split("child ").nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let child: i32 = child.expect("the child's number is printed").parse().unwrap();
    let gone = || std::fs::read_to_string(format!("/proc/{child}/stat")).map_or(true, |stat| stat.contains(") Z "));
    let deadline = Instant::now() + Duration::from_secs(5);
    while !gone() {
        assert!(Instant::now() < deadline, "{child} is left: {findings}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn its_surroundings_are_empty_and_bounded() {
    let bounds = "seconds_max = 70\nmemory_bytes_max = \"3 GiB\"\n\
                  [limits]\nworker_threads = 3\nworker_output_bytes_max = \"5 GiB\"";
    let findings = run("mnist_mlp.h5", "", &runtime("surroundings", bounds)).findings();
    let bound = |name: &str, value: u64| format!("{name}=Some({value}) of Some({value})");
    for expected in [
        "HOME,LANG,OMP_NUM_THREADS,PATH,TMPDIR inside=true script=the script of plain".to_owned(),
        // Seconds of each of its threads.
        bound("cpu", 3 * 70),
        bound("memory", 3 << 30),
        bound("file", 5 << 30),
        bound("core", 0),
    ] {
        assert!(findings.contains(&expected), "{expected} is not in {findings}");
    }
}

#[test]
fn a_command_that_is_not_there_is_an_error_of_the_configuration() {
    let home = tempfile::tempdir().unwrap();
    for command in ["[]", "[\"python3\"]", "[\"/nonexistent/python3\"]"] {
        for key in ["runtimes.torch", "oracle"] {
            let config = home.path().join("config.toml");
            std::fs::write(&config, format!("[verify.{key}]\ncommand = {command}\n")).unwrap();
            let output = recast_tests::recast(home.path()).arg("check-config").arg("--config").arg(&config).output();
            let output = output.unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
            assert!(!output.status.success() && text.contains(&format!("verify.{key}.command")), "{text}");
        }
    }
}

/// The graph that an honest conversion of a sample wrote, for the oracle to evaluate.
pub fn truth(home: &Path, sample: &str) -> PathBuf {
    let result = converted(home, "plain", &bare(home, sample), "", "");
    let bundle = PathBuf::from(result.json["bundle"].as_str().expect("published"));
    let graph = bundle.join(result.json["outputs"][0]["path"].as_str().unwrap()).join("graph.pb");
    // The next conversion of the same artifact takes the bundle's place.
    let kept = home.join("truth.pb");
    std::fs::copy(graph, &kept).unwrap();
    kept
}

fn oracle(mode: &str, graph: &Path) -> String {
    format!("[verify.oracle]\ncommand = [{:?}, {mode:?}, {graph:?}]\n", fake_runner())
}

#[test]
fn the_oracle_is_asked_for_every_kind_of_output() {
    let home = tempfile::tempdir().unwrap();
    let graph = truth(home.path(), "mnist_mlp.h5");
    let artifact = bare(home.path(), "mnist_mlp.h5");
    let asked = |target: &str, config: &str| converted(home.path(), target, &artifact, "", config);
    // An output that the embedded runtime runs.
    let embedded = |mode: &str| {
        std::fs::write(home.path().join("oracle.toml"), oracle(mode, &graph)).unwrap();
        recast_tests::convert(home.path(), Path::new(&artifact), &["--config", "oracle.toml"])
    };
    let onnx = embedded("oracle");
    assert_eq!((onnx.exit_code, onnx.level()), (0, "oracle"), "{}", onnx.findings());
    let onnx = embedded("oracle-wrong");
    assert!(onnx.exit_code == 5 && onnx.findings().contains("original framework"), "{}", onnx.findings());
    // One that a command runs.
    let both = asked("plain", &(runtime("ok", "") + &oracle("oracle", &graph)));
    assert_eq!((both.exit_code, both.level()), (0, "oracle"), "{}", both.findings());
    // One that is only read back: the level stays, the graph is held against the framework all the same.
    let twin = asked("twin", &oracle("oracle", &graph));
    assert_eq!((twin.exit_code, twin.level()), (0, "structural"), "{}", twin.findings());
    let note = twin.json["outputs"][0]["verification"]["note"].as_str().unwrap();
    assert!(note.contains("gives the original framework's outputs"), "{note}");
    let twin = asked("twin", &oracle("oracle-wrong", &graph));
    assert!(twin.exit_code == 5 && twin.findings().contains("original framework"), "{}", twin.findings());
    let twin = asked("twin", &oracle("fail", &graph));
    assert!(twin.exit_code == 5 && twin.findings().contains("not-verified"), "{}", twin.findings());
}
