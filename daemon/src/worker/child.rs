//! The worker's own side: takes the job from its standard input, closes the sandbox, runs the pipeline, reports.

use super::ipc::{FromWorker, ToWorker, read_frame, write_frame};
use super::sandbox;
use super::trail::{Entered, Trail};
use crate::host::{Events, Host, HostSettings, TensorStore, tools};
use crate::job::{CommandRequest, Finding, JobReport, JobSpec};
use crate::pipeline::SCRATCH;
use recast_plugin_api::diag::Code;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::fmt::Write;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// What a worker does between its first and its last message.
pub type Pipeline = fn(&JobSpec, &Host) -> JobReport;

/// A terminal shows no more.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Runs the one job of this process and ends it. Call it before any thread is started: Landlock binds only the thread
/// that asks for it and those that it starts later.
pub fn child_main(pipeline: Pipeline) -> ! {
    let code = match take_channel().and_then(|channel| work(channel, pipeline)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("recast worker: {error}");
            1
        }
    };
    // SAFETY: ends the process at once. Exit handlers and destructors of plugins have nothing to add to a report that
    // is sent, and might crash.
    unsafe { libc::_exit(code) }
}

/// The channel came as standard input. It moves out of the way of whatever reads that, and plugins find nothing there.
fn take_channel() -> io::Result<UnixStream> {
    let channel: OwnedFd = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 10)?;
    // SAFETY: standard input is open, as it was just duplicated, and nobody closes it: it is given up again below.
    let mut stdin = unsafe { OwnedFd::from_raw_fd(0) };
    let replaced = rustix::io::dup2(std::fs::File::open("/dev/null")?, &mut stdin);
    std::mem::forget(stdin);
    replaced?;
    Ok(channel.into())
}

fn work(mut channel: UnixStream, pipeline: Pipeline) -> io::Result<()> {
    let ToWorker::Start { spec, parent, log_level, case } = read_frame(&mut channel)? else {
        return Err(io::Error::other("the first message is no job"));
    };
    die_with(parent)?;
    obey_sigterm();
    let answers = Mutex::new(channel.try_clone()?);
    let trail = Mutex::new(Trail::open(&spec.staging)?);
    let report = Arc::new(Reporter { channel: Mutex::new(channel), answers, progress: Mutex::new(None), trail });
    let level = log_level.parse().unwrap_or(tracing::level_filters::LevelFilter::INFO);
    let subscriber = tracing_subscriber::registry().with(Forward(report.clone()).with_filter(level));
    // A test that is its own worker may have one already.
    let _ = tracing::subscriber::set_global_default(subscriber);
    report.send(&FromWorker::Sandboxed { missing: sandbox::enter(&spec) });
    let result = run(&spec, report.clone(), |spec, host| match &case {
        Some(case) => tools::run_case(case, spec, host),
        None => pipeline(spec, host),
    });
    std::fs::remove_dir_all(spec.staging.join(SCRATCH)).ok();
    report.try_send(&FromWorker::Done { report: Box::new(result) })
}

fn run(spec: &JobSpec, events: Arc<Reporter>, pipeline: impl Fn(&JobSpec, &Host) -> JobReport) -> JobReport {
    let mut roots: Vec<PathBuf> = vec![spec.artifact.clone()];
    roots.extend(spec.architecture.clone());
    let scratch = spec.staging.join(SCRATCH);
    let tensors = TensorStore::new(&roots, &scratch, spec.limits.output_bytes_max);
    let settings = HostSettings { winners: spec.winners.clone(), tensors, events, threads: spec.threads };
    let host = match Host::open(&spec.plugins, settings) {
        Ok(host) => host,
        Err(findings) => {
            let mut findings = findings.iter().map(Finding::from);
            let mut report = JobReport::failed(findings.next().unwrap_or_else(|| bug("no plugins, and no reason")));
            report.diagnostics.extend(findings);
            return report;
        }
    };
    catch_unwind(AssertUnwindSafe(|| pipeline(spec, &host))).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
        JobReport::failed(bug(text.unwrap_or("a panic without a text")))
    })
}

fn bug(detail: &str) -> Finding {
    Finding::error(Code::Bug, "worker", detail)
}

/// A worker must not outlive its daemon.
fn die_with(parent: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before the line above.
    match rustix::process::getppid() {
        Some(now) if now.as_raw_nonzero().get() as u32 == parent => Ok(()),
        _ => Err(io::Error::other("the daemon is gone")),
    }?;
    // When memory runs out, this process goes first. Not being allowed to say so is no reason not to work.
    let _ = std::fs::write("/proc/self/oom_score_adj", "800");
    Ok(())
}

extern "C" fn on_sigterm(_: libc::c_int) {
    CANCELLED.store(true, Ordering::Relaxed);
}

fn obey_sigterm() {
    let handler: extern "C" fn(libc::c_int) = on_sigterm;
    // SAFETY: the handler only stores to an atomic, which is allowed in one.
    unsafe { libc::signal(libc::SIGTERM, handler as libc::sighandler_t) };
}

/// Sends what happens to the daemon.
struct Reporter {
    channel: Mutex<UnixStream>,
    /// The same channel, to read from: held from a question to its answer.
    answers: Mutex<UnixStream>,
    progress: Mutex<Option<Instant>>,
    trail: Mutex<Trail>,
}

impl Reporter {
    fn try_send(&self, message: &FromWorker) -> io::Result<()> {
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        write_frame(&mut *channel, message)
    }

    fn trail(&self) -> MutexGuard<'_, Trail> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For messages that the job does not depend on.
    fn send(&self, message: &FromWorker) {
        let _ = self.try_send(message);
    }
}

impl Events for Reporter {
    fn stage(&self, name: &str) {
        self.send(&FromWorker::Stage { name: name.into() });
    }

    fn entering(&self, plugin: &str, call: &str, at: &str) {
        let entered = Entered { plugin: plugin.into(), call: call.into(), at: at.into() };
        // Without it, a crash is only told less precisely.
        let _ = self.trail().enter(&entered);
    }

    fn left(&self) {
        self.trail().leave();
    }

    fn progress(&self, done: u64, total: u64, what: &str) {
        let mut last = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < PROGRESS_INTERVAL) && done < total {
            return;
        }
        *last = Some(Instant::now());
        self.send(&FromWorker::Progress { done, total, what: what.into() });
    }

    fn is_cancelled(&self) -> bool {
        CANCELLED.load(Ordering::Relaxed)
    }

    fn run_command(&self, request: &CommandRequest) -> Result<(), String> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = self.try_send(&FromWorker::Run { request: request.clone() });
        match asked.and_then(|()| read_frame(&mut *answers)) {
            Ok(ToWorker::Ran { failure: None }) => Ok(()),
            Ok(ToWorker::Ran { failure: Some(why) }) => Err(why),
            Ok(ToWorker::Start { .. }) => Err("the daemon answered with another job".into()),
            Err(error) => Err(format!("the daemon does not answer: {error}")),
        }
    }
}

/// `tracing` events as messages.
struct Forward(Arc<Reporter>);

impl<S: tracing::Subscriber> Layer<S> for Forward {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let target = text.module.unwrap_or_else(|| metadata.target().to_owned());
        let message = format!("{}{}", text.message, text.rest);
        let level = metadata.level().as_str().to_ascii_lowercase();
        self.0.send(&FromWorker::Log { level, target, plugin: text.plugin, message });
    }
}

#[derive(Default)]
struct Text {
    message: String,
    plugin: Option<String>,
    module: Option<String>,
    rest: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "plugin" => self.plugin = Some(value.into()),
            "module" => self.module = Some(value.into()),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.rest, " {name}={value:?}"),
        };
    }
}
