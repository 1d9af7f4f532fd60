//! Workers: whatever a plugin does, the job ends with a report that says what happened and who did it, in time, with no
//! process left behind and nothing touched outside.

use crate::strangers::plugin;
use recast::host::{Events, Finder, Silent, Trust};
use recast::job::{JobReport, JobSpec, PluginPin, Policy, TargetSpec, VerifySpec, WorkerLimits};
use recast::worker::{Entered, WorkerCommand, calls_of, run_job};
use recast_tests::within;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Far beyond what any job here takes on a busy machine.
const WALL_SECONDS: u64 = 60;
const PLUGIN: &str = "test.misbehaving";

fn pin(path: &Path) -> PluginPin {
    Finder::new().examine(path, &Trust::default()).unwrap().pin()
}

/// A job in `dir` that lowers one layer of each class, with `path` in its configuration.
fn job(dir: &Path, classes: &[&str], path: &str) -> JobSpec {
    let (artifact, staging) = (dir.join("artifact"), dir.join("staging"));
    std::fs::write(&artifact, vec![1u8; 1 << 20]).unwrap();
    std::fs::create_dir_all(&staging).unwrap();
    let options = BTreeMap::from([("path".to_owned(), json!(path))]);
    let target = |class: &&str| TargetSpec { name: (*class).into(), options: options.clone() };
    JobSpec {
        name: "job".into(),
        artifact,
        architecture: None,
        golden: None,
        digest: Some("d1".into()),
        targets: classes.iter().map(target).collect(),
        staging,
        verify: VerifySpec { policy: Policy::Off, seed: 1, ..VerifySpec::default() },
        plugins: vec![pin(&plugin("misbehaving"))],
        winners: BTreeMap::new(),
        expressions: BTreeMap::new(),
        sources: BTreeMap::new(),
        limits: WorkerLimits { wall_seconds_max: WALL_SECONDS, memory_bytes_max: 512 << 20, ..WorkerLimits::default() },
        threads: 1,
        inspect: false,
    }
}

fn command() -> WorkerCommand {
    WorkerCommand::new(env!("CARGO_BIN_EXE_test-worker"), &["worker"])
}

/// The job's report; one that goes on without end fails the test.
fn ended(spec: JobSpec) -> JobReport {
    let limit = Duration::from_secs(WALL_SECONDS);
    within(limit, move || run_job(&command(), &spec, &Silent))
        .unwrap_or_else(|| panic!("still at work after {limit:?}"))
}

fn run(class: &str, path: &str) -> JobReport {
    let dir = tempfile::tempdir().unwrap();
    run_job(&command(), &job(dir.path(), &[class], path), &Silent)
}

fn text(report: &JobReport) -> String {
    report.diagnostics.iter().map(|f| format!("{} {} {}: {}\n", f.severity, f.code, f.at, f.detail)).collect()
}

/// The job fails with `code`, blames the plugin, and says all of `words`.
fn blamed(class: &str, path: &str, code: &str, words: &[&str]) -> String {
    let report = run(class, path);
    let text = text(&report);
    let first = report.diagnostics.first().unwrap_or_else(|| panic!("{class} went unnoticed"));
    assert_eq!((first.code.as_str(), first.at.as_str()), (code, PLUGIN), "{class}: {text}");
    for word in words.iter().chain(&["call lower", "model/layer"]) {
        assert!(text.contains(word), "{class}: {word:?} is not in: {text}");
    }
    assert_eq!((report.exit_code, report.digest.as_str()), (7, "d1"), "{class}: {text}");
    text
}

/// Landlock is a matter of the kernel; what it would have stopped can't be tested without it.
fn has_landlock() -> bool {
    // SAFETY: asks for the version, touches no memory.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, 1u32) };
    if version < 1 {
        eprintln!("SKIPPED: this kernel has no Landlock, so workers can't be kept to their directories");
    }
    version >= 1
}

/// The sandbox stopped it, and the plugin lived to tell.
fn blocked(class: &str, path: &str) {
    let report = run(class, path);
    let text = text(&report);
    assert!(text.contains("io blocked"), "{class}: {text}");
    assert!(!text.contains("escape"), "{class}: {text}");
}

#[test]
fn a_good_plugin_reports() {
    let report = run("bad>Good", "");
    assert!(report.diagnostics.is_empty(), "{}", text(&report));
    assert_eq!(report.plugins[0].layers, ["bad>Good x1"]);
}

#[test]
fn crashes_are_named_and_blamed() {
    blamed("bad>Abort", "", "plugin-crashed", &["SIGABRT"]);
    blamed("bad>Segv", "", "plugin-crashed", &["SIGSEGV"]);
    blamed("bad>StackOverflow", "", "plugin-crashed", &["overflowed its stack"]);
    blamed("bad>Exit7", "", "plugin-crashed", &["exited with code 7"]);
}

#[test]
fn success_needs_the_last_message() {
    blamed("bad>Exit0", "", "plugin-crashed", &["exited with code 0 and without a result"]);
}

#[test]
fn what_a_dying_plugin_printed_and_logged_is_in_the_report() {
    let words = [
        "this is printed by a plugin",
        "this is logged by a plugin",
        "inside{part=3}: this is said to the log crate by a plugin",
    ];
    let said = blamed("bad>Prints", "", "plugin-crashed", &words);
    assert!(!said.contains("more than the host wants to hear"), "{said}");
}

#[test]
fn a_panic_is_an_answer() {
    let report = run("bad>Panic", "");
    let text = text(&report);
    assert_eq!(
        (report.diagnostics[0].code.as_str(), report.diagnostics[0].at.as_str()),
        ("plugin-crashed", "model/layer")
    );
    for word in [PLUGIN, "panicked in lower", "as layer asked for", "src/lib.rs"] {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    assert!(run("bad>PanicInThread", "").diagnostics.is_empty(), "a thread's panic that the plugin caught is its own");
}

#[test]
fn time_is_bounded() {
    for class in ["bad>Loop", "bad>StopSelf", "bad>Logs", "bad>PrintsOn"] {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = job(dir.path(), &[class], "");
        spec.limits.wall_seconds_max = 2;
        let started = Instant::now();
        let report = ended(spec);
        let first = &report.diagnostics[0];
        assert_eq!((first.code.as_str(), first.at.as_str()), ("timeout", PLUGIN), "{class}: {}", text(&report));
        assert!(first.detail.contains("after 2 s (limits.worker_wall_seconds_max)"), "{class}: {}", first.detail);
        // Two seconds, one and a half for it to end by itself, and a busy machine.
        assert!(started.elapsed() < Duration::from_secs(10), "{class} took {:?}", started.elapsed());
    }
}

#[test]
fn processor_time_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = job(dir.path(), &["bad>Loop"], "");
    (spec.limits.cpu_seconds_max, spec.limits.wall_seconds_max) = (1, 60);
    let report = run_job(&command(), &spec, &Silent);
    assert_eq!(report.diagnostics[0].code, "timeout", "{}", text(&report));
    assert!(text(&report).contains("worker_cpu_seconds_max"), "{}", text(&report));
}

#[test]
fn memory_is_bounded() {
    blamed("bad>Leak", "", "out-of-memory", &["worker_memory_bytes_max"]);
}

#[test]
fn the_channel_takes_no_nonsense() {
    blamed("bad>Junk", "", "plugin-misbehaved", &["broke the protocol"]);
    blamed("bad>CloseFds", "", "plugin-crashed", &["without a result"]);
    blamed("bad>CloseFdsAndStay", "", "plugin-misbehaved", &["broke the protocol", "without a last message"]);
}

#[test]
fn a_reply_that_is_no_graph_is_still_a_reply() {
    // The host hands it on; the pipeline judges it.
    assert!(run("bad>NotAGraph", "").diagnostics.is_empty());
}

#[test]
fn nothing_is_written_outside_of_the_staging_directory() {
    if !has_landlock() {
        return;
    }
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("escaped");
    blocked("bad>Writes", file.to_str().unwrap());
    assert!(!file.exists());
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("staging/inside");
    let report = run_job(&command(), &job(dir.path(), &["bad>Writes"], inside.to_str().unwrap()), &Silent);
    assert!(text(&report).contains("write was allowed"), "the control: {}", text(&report));
}

#[test]
fn nothing_is_read_but_the_artifact() {
    if !has_landlock() {
        return;
    }
    let outside = tempfile::NamedTempFile::new().unwrap();
    blocked("bad>Reads", outside.path().to_str().unwrap());
    blocked("bad>Reads", "/etc/passwd");
    let dir = tempfile::tempdir().unwrap();
    let artifact = dir.path().join("artifact");
    let report = run_job(&command(), &job(dir.path(), &["bad>Reads"], artifact.to_str().unwrap()), &Silent);
    assert!(text(&report).contains("read was allowed"), "the control: {}", text(&report));
}

#[test]
fn nothing_goes_out_and_nobody_is_called() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    blocked("bad>Connect", &listener.local_addr().unwrap().to_string());
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody came");
    blocked("bad>ChildProcess", "");
    blocked("bad>ForkBomb", "");
    blocked("bad>KillParent", "");
}

#[test]
fn open_files_are_bounded() {
    let text = text(&run("bad>FdLeak", ""));
    let opened = text.split("io blocked: ").nth(1).and_then(|rest| rest.split(" open: ").next());
    let opened: u64 = opened.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{text}"));
    // The machine has a bound of its own, which is another one.
    assert!(opened < WorkerLimits::default().open_files_max, "{text}");
}

#[test]
fn written_bytes_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("staging/full");
    let mut spec = job(dir.path(), &["bad>Fills"], file.to_str().unwrap());
    spec.limits.output_bytes_max = 1 << 20;
    let report = run_job(&command(), &spec, &Silent);
    assert_eq!(report.diagnostics[0].code, "limit-exceeded", "{}", text(&report));
    assert!(text(&report).contains("worker_output_bytes_max"), "{}", text(&report));
}

#[test]
fn crashes_outside_of_plugins_are_our_own() {
    let panicked = run("host:panic", "");
    assert_eq!((panicked.diagnostics[0].code.as_str(), panicked.exit_code), ("bug", 1), "{}", text(&panicked));
    assert!(text(&panicked).contains("the pipeline panicked"));
    let aborted = run("host:abort", "");
    assert_eq!((aborted.diagnostics[0].code.as_str(), aborted.exit_code), ("bug", 1), "{}", text(&aborted));
    assert!(text(&aborted).contains("outside of any plugin"), "{}", text(&aborted));
}

#[test]
fn an_artifact_that_is_truncated_while_it_is_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let spec = job(dir.path(), &["host:truncated"], "");
    let report = std::thread::scope(|scope| {
        let running = scope.spawn(|| run_job(&command(), &spec, &Silent));
        std::thread::sleep(Duration::from_millis(500));
        std::fs::File::options().write(true).open(&spec.artifact).unwrap().set_len(10).unwrap();
        running.join().unwrap()
    });
    assert_eq!(report.diagnostics[0].code, "changed", "{}", text(&report));
}

/// Cancels once the worker lowers a layer.
struct CancelsLower {
    staging: PathBuf,
    calls: Mutex<Vec<Entered>>,
}

impl Events for CancelsLower {
    fn is_cancelled(&self) -> bool {
        let mut calls = self.calls.lock().unwrap();
        if calls.is_empty() {
            *calls = calls_of(&self.staging);
            calls.retain(|entered| entered.call == "lower");
        }
        !calls.is_empty()
    }
}

fn cancelled(class: &str) -> (JobReport, Duration) {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = job(dir.path(), &[class], "");
    spec.limits.wall_seconds_max = 60;
    let events = CancelsLower { staging: spec.staging.clone(), calls: Mutex::default() };
    let started = Instant::now();
    let report = run_job(&command(), &spec, &events);
    let calls = events.calls.into_inner().unwrap();
    assert_eq!(calls, [Entered { plugin: PLUGIN.into(), call: "lower".into(), at: "model/layer".into() }]);
    (report, started.elapsed())
}

#[test]
fn a_job_that_is_told_to_stop_stops() {
    for class in ["bad>ObeysCancel", "bad>Loop"] {
        let (report, elapsed) = cancelled(class);
        assert_eq!(report.diagnostics[0].code, "cancelled", "{class}: {}", text(&report));
        assert!(elapsed < Duration::from_secs(4), "{class}: {elapsed:?}");
    }
}

#[test]
fn a_plugin_that_changed_since_it_was_pinned_is_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let copy = crate::strangers::installed(&plugin("misbehaving"), dir.path());
    let mut spec = job(dir.path(), &["bad>Good"], "");
    spec.plugins = vec![pin(&copy)];
    let mut bytes = std::fs::read(&copy).unwrap();
    bytes.push(0);
    std::fs::write(&copy, bytes).unwrap();
    let report = run_job(&command(), &spec, &Silent);
    assert_eq!(report.diagnostics[0].code, "plugin-refused", "{}", text(&report));
    assert!(text(&report).contains("other content than when"), "{}", text(&report));
}

#[test]
fn a_worker_that_can_not_be_started_is_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let report = run_job(&WorkerCommand::new("/nonexistent/worker", &[]), &job(dir.path(), &[], ""), &Silent);
    assert_eq!((report.diagnostics[0].code.as_str(), report.exit_code), ("io", 6));
    let report = run_job(&WorkerCommand::new("/bin/true", &[]), &job(dir.path(), &[], ""), &Silent);
    assert_eq!(report.exit_code, 1, "a program that is no worker: {}", text(&report));
}

/// Row 21 of the acceptance table, reduced: misbehaving jobs among good ones, several at a time.
#[test]
fn good_jobs_are_not_harmed_by_bad_ones_and_nobody_is_left_behind() {
    const BAD: [&str; 9] = [
        "bad>Abort",
        "bad>Segv",
        "bad>Panic",
        "bad>Exit0",
        "bad>Junk",
        "bad>StackOverflow",
        "bad>Leak",
        "bad>CloseFds",
        "bad>ForkBomb",
    ];
    let before = children();
    let jobs: Vec<&str> = (0..60).map(|i| if i % 4 == 0 { BAD[i / 4 % BAD.len()] } else { "bad>Good" }).collect();
    let queue = Mutex::new(jobs.iter());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some(class) = queue.lock().unwrap().next() else { break };
                    let report = run(class, "");
                    done.lock().unwrap().push((*class, report.diagnostics.is_empty()));
                }
            });
        }
    });
    let done = done.into_inner().unwrap();
    assert_eq!(done.len(), jobs.len());
    for (class, is_clean) in done {
        assert_eq!(is_clean, class == "bad>Good", "{class}");
    }
    let left: Vec<u32> = children().into_iter().filter(|pid| !before.contains(pid)).collect();
    let left: Vec<u32> = left.into_iter().filter(|pid| is_worker(*pid)).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn children() -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// A process of the test worker that this test program started and that none of its other tests is running now.
fn is_worker(pid: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let rest = status.rsplit(')').next().unwrap_or_default();
    let mut fields = rest.split_whitespace();
    let (state, parent) = (fields.next(), fields.next());
    // A child of ours is being waited for by another test; one that nobody waits for has no parent left but init.
    state != Some("Z") && parent == Some("1") && {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        exe == Path::new(env!("CARGO_BIN_EXE_test-worker"))
    }
}
