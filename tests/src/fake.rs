//! A daemon whose worker is a function, for tests of everything around the worker: watching, the ledger, publishing.
//! What the "worker" does stands in the artifact: `fake: malformed`, `fake: io 2` (fail twice), `fake: park layer:a>B`,
//! `fake: crash`, `fake: misread` (another artifact).

use recast::attempt::Workshop;
use recast::config::{Config, Plugins, RawConfig};
use recast::job::{Finding, JobReport, JobSpec, Level, Output, OutputFile, PluginPin, PluginUse, Status, Verification};
use recast::lineage::Key;
use recast::publish::{Atomic, Place};
use recast::runner::{Cancel, EventSink, Member, PluginSet, PluginSource, ReportFuture, Runner};
use recast::schedule::{Control, Daemon, Options, Summary, summarize};
use recast::systemd::Notifier;
use recast::tree::Bounds;
use recast::worker::{Processes, WorkerCommand};
use recast_plugin_api::diag::Code;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// The id of the one plugin that there is.
pub const PLUGIN: &str = "test.plugin";

#[derive(Default)]
pub struct FakeRunner {
    pub delay: Duration,
    pub output_bytes: usize,
    /// Content digest -> how often it was run.
    pub runs: Mutex<BTreeMap<String, u32>>,
    /// Jobs at work, now and at most.
    pub at_work: Mutex<(usize, usize)>,
}

/// What the artifact tells the worker to do; empty when it is anything else.
fn order(artifact: &Path) -> String {
    let mut head = Vec::new();
    if let Ok(file) = fs::File::open(artifact) {
        file.take(200).read_to_end(&mut head).unwrap_or_default();
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    text.lines().next().and_then(|line| line.strip_prefix("fake: ")).unwrap_or_default().to_owned()
}

pub fn blank(status: Status, digest: &str) -> JobReport {
    let mut report = JobReport::failed(Finding::error(Code::Bug, "", ""));
    report.diagnostics.clear();
    (report.status, report.digest, report.exit_code) = (status, digest.to_owned(), 0);
    (report.source_format, report.source_version) = ("fake".into(), "fake 1".into());
    report
}

/// Writes one output file into the staging directory and describes it.
pub fn write_output(staging: &Path, path: &str, content: &[u8], level: Level) -> Output {
    fs::write(staging.join(path), content).expect("staging is writable");
    let sha256 = recast::digest::of_bytes(content);
    Output {
        target: "onnx".into(),
        path: path.into(),
        sha256: sha256.clone(),
        verification: Verification {
            level,
            runtime: "fake 1".into(),
            max_abs_error: 1e-7,
            max_rel_error: 1e-6,
            samples: 8,
            note: String::new(),
        },
        files: vec![OutputFile { path: path.into(), sha256, bytes: content.len() as u64 }],
    }
}

pub fn uses(pins: &[PluginPin]) -> Vec<PluginUse> {
    let used = |pin: &PluginPin| PluginUse {
        id: PLUGIN.into(),
        name: "plugin".into(),
        version: "1.0.0".into(),
        sha256: pin.sha256.clone(),
        role: "layers".into(),
        extension: "recast.layers/1".into(),
        rustc: "1.0".into(),
        layers: vec![],
        targets: vec![],
    };
    pins.iter().map(used).collect()
}

impl FakeRunner {
    pub fn runs_of(&self, digest: &str) -> u32 {
        self.runs.lock().expect("not poisoned").get(digest).copied().unwrap_or(0)
    }

    fn work(&self, spec: &JobSpec) -> JobReport {
        let bounds = Bounds { hard_links_allowed: true, ..Bounds::default() };
        let digest = recast::digest::of_artifact(&spec.artifact, &bounds).expect("the artifact is readable");
        let runs = {
            let mut all = self.runs.lock().expect("not poisoned");
            let runs = all.entry(digest.clone()).or_default();
            *runs += 1;
            *runs
        };
        let order = order(&spec.artifact);
        let words: Vec<&str> = order.split(' ').collect();
        let fail = |code: Code| {
            let mut report = JobReport::failed(Finding::error(code, "fake", "as ordered"));
            report.digest = digest.clone();
            report
        };
        let park = |claim: &str| {
            let waits_for = vec![claim.to_owned()];
            JobReport { status: Status::Parked, waits_for, ..fail(Code::UnknownLayer) }
        };
        match words.as_slice() {
            ["malformed"] => return fail(Code::Malformed),
            ["timeout"] => return fail(Code::Timeout),
            ["crash"] if !spec.plugins.is_empty() => {
                let died = Finding::error(Code::PluginCrashed, PLUGIN, "the worker died, as ordered");
                return JobReport { digest: digest.clone(), ..JobReport::failed(died) };
            }
            ["crash"] => return park("layer:test>Crash"),
            ["io", times] if runs <= times.parse().unwrap_or(u32::MAX) => return fail(Code::Io),
            ["park", claim] if spec.plugins.is_empty() => return park(claim),
            _ => {}
        }
        let mut content = format!("converted {digest} ").into_bytes();
        content.resize(content.len().max(self.output_bytes), b'.');
        let output = write_output(&spec.staging, &format!("{}.onnx", spec.name), &content, Level::Reference);
        match words.as_slice() {
            ["extra-file"] => fs::write(spec.staging.join("extra"), b"x").expect("writable"),
            ["link"] => std::os::unix::fs::symlink("/etc/passwd", spec.staging.join("link")).expect("writable"),
            ["lie"] => fs::write(spec.staging.join(&output.path), b"something else").expect("writable"),
            _ => {}
        }
        let read = if order == "misread" { recast::digest::of_bytes(b"something else") } else { digest };
        let mut report = blank(Status::Verified, &read);
        report.outputs = vec![output];
        report.plugins = uses(&spec.plugins);
        report
    }
}

/// Hands the same runner to a daemon and to the test.
pub struct Shared(pub Arc<FakeRunner>);

impl Runner for Shared {
    fn run(&self, spec: JobSpec, _events: EventSink, mut cancel: Cancel) -> ReportFuture {
        let runner = self.0.clone();
        Box::pin(async move {
            let _counted = AtWork::begin(&runner);
            tokio::select! {
                () = tokio::time::sleep(runner.delay) => {}
                () = cancel.cancelled() => {
                    return JobReport::failed(Finding::error(Code::Cancelled, "fake", "told to stop"));
                }
            }
            let worker = runner.clone();
            tokio::task::spawn_blocking(move || worker.work(&spec)).await.expect("the fake worker does not panic")
        })
    }
}

/// Counts a job for as long as it lives.
struct AtWork<'a>(&'a FakeRunner);

impl AtWork<'_> {
    fn begin(runner: &FakeRunner) -> AtWork<'_> {
        let mut count = runner.at_work.lock().expect("not poisoned");
        count.0 += 1;
        count.1 = count.1.max(count.0);
        AtWork(runner)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.lock().expect("not poisoned").0 -= 1;
    }
}

#[derive(Default)]
pub struct FakePlugins(pub Mutex<PluginSet>);

impl FakePlugins {
    pub fn set(&self, claims: &[&str], content: &str) {
        let sha256 = recast::digest::of_bytes(content.as_bytes());
        *self.0.lock().expect("not poisoned") = PluginSet {
            members: vec![Member {
                id: PLUGIN.into(),
                pin: PluginPin { path: PathBuf::from("/nowhere"), sha256 },
                claims: claims.iter().map(|claim| (*claim).to_owned()).collect::<BTreeSet<_>>(),
            }],
            findings: vec![],
        };
    }
}

impl PluginSource for FakePlugins {
    fn scan(&self, _config: &Plugins) -> PluginSet {
        self.0.lock().expect("not poisoned").clone()
    }
}

/// A configuration that watches `home/drop` into `home/out`, with the settle time and whatever else the text adds.
pub fn config(home: &Path, settle_seconds: f64, watch: &str, rest: &str) -> Config {
    fs::create_dir_all(home.join("drop")).expect("writable");
    let text = format!(
        "[[watch]]\npath = \"drop\"\nout = \"out\"\npoll_seconds = 0.2\n\
         settle_seconds = {settle_seconds}\n{watch}\n{rest}"
    );
    let raw: RawConfig = toml::from_str(&text).expect("the test's configuration parses");
    raw.resolve(home).expect("the test's configuration is valid")
}

pub struct Fake {
    pub runner: Arc<FakeRunner>,
    pub plugins: Arc<FakePlugins>,
    pub place: Arc<dyn Place>,
    /// Where the service manager would listen.
    pub notify: Option<PathBuf>,
    /// Worker processes, in place of `runner`.
    pub workers: Option<WorkerCommand>,
}

impl Default for Fake {
    fn default() -> Self {
        let runner = FakeRunner { delay: Duration::from_millis(2), output_bytes: 1000, ..FakeRunner::default() };
        Fake { runner: Arc::new(runner), plugins: Arc::default(), place: Arc::new(Atomic), notify: None, workers: None }
    }
}

impl Fake {
    fn start(&self, config: Config, until_idle: bool) -> Result<Daemon, recast::schedule::DaemonError> {
        let key = Key::open(&config.key).expect("the key can be made");
        let runner: Arc<dyn Runner> = match &self.workers {
            Some(command) => Arc::new(Processes::of(command.clone())),
            None => Arc::new(Shared(self.runner.clone())),
        };
        let shop = Workshop { runner, place: self.place.clone(), key: Arc::new(key), state: config.state.clone() };
        let notifier = self.notify.as_deref().map_or_else(Notifier::none, Notifier::to);
        let options = Options { until_idle, notifier, status_sink: Box::new(|_| {}) };
        Daemon::start(config, shop, self.plugins.clone(), options)
    }

    /// Works off what is there.
    pub fn until_idle(&self, config: Config) -> Result<Summary, recast::schedule::DaemonError> {
        let (_sender, orders) = mpsc::channel(1);
        runtime().block_on(async {
            let mut daemon = self.start(config, true)?;
            daemon.run(orders).await?;
            summarize(&daemon)
        })
    }

    /// Runs in a thread until it is told to stop.
    pub fn spawn(&self, config: Config) -> Spawned {
        let (sender, orders) = mpsc::channel(4);
        let fake = Fake {
            runner: self.runner.clone(),
            plugins: self.plugins.clone(),
            place: self.place.clone(),
            notify: self.notify.clone(),
            workers: self.workers.clone(),
        };
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let mut daemon = fake.start(config, false)?;
                daemon.run(orders).await
            })
        });
        Spawned { sender, thread: Some(thread) }
    }

    /// Runs for as long as the process lives.
    pub fn forever(&self, config: Config) {
        let (_sender, orders) = mpsc::channel(1);
        runtime().block_on(async {
            let mut daemon = self.start(config, false).expect("the daemon starts");
            daemon.run(orders).await.expect("the daemon runs");
        });
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads can be had")
}

type Ended = Result<(), recast::schedule::DaemonError>;

pub struct Spawned {
    sender: mpsc::Sender<Control>,
    thread: Option<std::thread::JoinHandle<Ended>>,
}

impl Spawned {
    pub fn order(&self, order: Control) {
        assert!(self.sender.blocking_send(order).is_ok(), "the daemon runs");
    }

    pub fn stop(mut self) -> Ended {
        self.order(Control::Stop);
        self.thread.take().expect("it was not stopped before").join().expect("the daemon does not panic")
    }
}

/// Waits until `what` holds; fails the test when it does not in time.
pub fn wait_for(seconds: f64, what: &str, mut holds: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs_f64(seconds);
    while !holds() {
        assert!(std::time::Instant::now() < until, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
