//! Helpers that the suite shares: the built binary, a scratch directory, a run of `recast convert`.

pub mod fake;
pub mod observe;

use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Far beyond what any command of the suite takes on a busy machine.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(180);

/// The folder `tests`.
pub fn tests_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo put the binaries and plugins of the profile that this test was built with.
pub fn build_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let deps = test.parent().expect("a test lies in deps");
    deps.parent().expect("deps lies in the build directory").to_path_buf()
}

/// The daemon's binary with its standard plugins beside it.
pub fn recast_binary() -> PathBuf {
    let binary = build_dir().join("recast");
    assert!(binary.is_file(), "{} is missing: run `cargo build --workspace` first", binary.display());
    binary
}

/// The binary, with a state of its own below `home`, and nothing of the caller's surroundings.
pub fn recast(home: &Path) -> Command {
    let mut command = Command::new(recast_binary());
    command.current_dir(home).env("RECAST_STATE", home.join("state")).env_remove("RECAST_PLUGIN_PATH");
    command
}

/// What `work` gives; None when it takes longer, or panics. Where a bound of time is what is tested, the test must not
/// wait for it without one of its own: it would hang where it should fail.
pub fn within<R: Send + 'static>(limit: Duration, work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(limit).ok()
}

/// Runs a command to its end; one that does not come to it is killed, and fails the test.
pub fn output(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let pid = rustix::process::Pid::from_child(&child);
    let ended = within(COMMAND_TIME_MAX, || child.wait_with_output()).unwrap_or_else(|| {
        let killed = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        panic!("{command:?} was still at work after {COMMAND_TIME_MAX:?}; killed: {killed:?}");
    });
    ended.expect("its output can be read")
}

/// What `recast convert --format json` said of one artifact.
pub struct Converted {
    pub json: Json,
    pub exit_code: i32,
    pub stderr: String,
}

impl Converted {
    pub fn status(&self) -> &str {
        self.json["status"].as_str().unwrap_or("none")
    }

    pub fn level(&self) -> &str {
        self.json["outputs"][0]["verification"]["level"].as_str().unwrap_or("none")
    }

    /// Codes of the findings that are errors.
    pub fn errors(&self) -> Vec<&str> {
        let findings = self.json["diagnostics"].as_array().map_or(&[][..], Vec::as_slice);
        let errors = findings.iter().filter(|finding| finding["severity"] == "error");
        errors.filter_map(|finding| finding["code"].as_str()).collect()
    }

    /// Findings as lines, for a test's message.
    pub fn findings(&self) -> String {
        let findings = self.json["diagnostics"].as_array().map_or(&[][..], Vec::as_slice);
        let line = |f: &Json| format!("[{}] {}: {}", f["code"], f["at"], f["detail"]).replace('"', "");
        findings.iter().map(line).collect::<Vec<_>>().join("; ")
    }
}

/// Converts one artifact to ONNX into `home/out`, with further arguments.
pub fn convert(home: &Path, artifact: &Path, more: &[&str]) -> Converted {
    convert_to(home, artifact, "onnx", more)
}

/// Converts one artifact into `home/out`, with further arguments.
pub fn convert_to(home: &Path, artifact: &Path, target: &str, more: &[&str]) -> Converted {
    let mut command = recast(home);
    command.arg("convert").arg(artifact).args(["--to", target, "--out", "out", "--format", "json"]).args(more);
    converted(output(&mut command))
}

/// What `recast inspect` says, with further arguments.
pub fn inspect(home: &Path, artifact: &Path, more: &[&str]) -> serde_json::Value {
    let mut command = recast(home);
    command.arg("inspect").arg(artifact).args(["--format", "json"]).args(more);
    let output = output(&mut command);
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn converted(output: Output) -> Converted {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 1, "one JSON object on one line, got: {stdout}\n{stderr}");
    let json = serde_json::from_str(lines[0]).unwrap_or_else(|e| panic!("{e}: {}\n{stderr}", lines[0]));
    Converted { json, exit_code: output.status.code().unwrap_or(-1), stderr }
}

/// Runs `work` on every item, two at a time, and returns the results in order.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results: Vec<std::sync::Mutex<Option<R>>> = items.iter().map(|_| std::sync::Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    let result = work(item);
                    *results[index].lock().expect("no test panics while it stores a result") = Some(result);
                }
            });
        }
    });
    let take =
        |slot: std::sync::Mutex<Option<R>>| slot.into_inner().expect("not poisoned").expect("every item was done");
    results.into_iter().map(take).collect()
}
