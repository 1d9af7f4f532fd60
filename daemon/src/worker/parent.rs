//! The daemon's side of a worker: starts it, listens, and ends it when its time is over.

use super::command::Commands;
use super::ipc::{Frames, FromWorker, ToWorker, write_frame};
use super::output::{Printed, READS_MAX};
use super::trail::{self, Calls};
use super::verdict::{Ended, Stopped};
use crate::host::{Events, Silent};
use crate::job::{Finding, JobReport, JobSpec};
use recast_plugin_api::diag::Code;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use std::cell::LazyCell;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use tracing::level_filters::LevelFilter;

/// How often cancellation and time are looked at; messages are read as they come.
const TICK: Duration = Duration::from_millis(50);
/// Between SIGTERM, which well-behaved plugins follow, and SIGKILL.
const GRACE: Duration = Duration::from_millis(1500);
/// A channel that is closed without a last message: the process is ending, or has lost its mind.
const CLOSED_GRACE: Duration = Duration::from_millis(500);
/// After the last message there is nothing left to do but end.
const EXIT_GRACE: Duration = Duration::from_secs(2);

/// What a worker keeps of the daemon's environment: its locale and how to find libraries. No
/// `RUST_BACKTRACE`: a backtrace would push what matters out of the last lines that are kept.
const ENVIRONMENT: &[&str] = &["LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ"];

/// The allocator would take address space by the gigabyte, all of which counts against `worker_memory_bytes_max`, and
/// keep blocks of up to two: weights and activations of large models go back at once.
const ALLOCATOR: &[(&str, &str)] = &[("MIMALLOC_ARENA_RESERVE", "64MiB"), ("MIMALLOC_ARENA_MAX_OBJECT_SIZE", "32MiB")];

/// The program that is started as a worker.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    program: PathBuf,
    args: Vec<OsString>,
}

impl WorkerCommand {
    /// This very program: the file that runs, even when a newer one was put in its place meanwhile.
    pub fn this_program() -> WorkerCommand {
        WorkerCommand { program: "/proc/self/exe".into(), args: vec![super::SUBCOMMAND.into()] }
    }

    pub fn new(program: impl Into<PathBuf>, args: &[&str]) -> WorkerCommand {
        WorkerCommand { program: program.into(), args: args.iter().map(Into::into).collect() }
    }
}

/// Runs one job in a process of its own. Blocks; the calling thread must live as long as the job, as the kernel kills
/// a worker when the thread that started it ends. Never fails: a worker that dies is a report that says how.
pub fn run_job(command: &WorkerCommand, spec: &JobSpec, events: &dyn Events) -> JobReport {
    run(command, spec, None, events)
}

/// A case of the conformance kit instead of the pipeline, on the one plugin of the spec.
pub fn run_case_job(command: &WorkerCommand, spec: &JobSpec, case: &str) -> JobReport {
    run(command, spec, Some(case), &Silent)
}

fn run(command: &WorkerCommand, spec: &JobSpec, case: Option<&str>, events: &dyn Events) -> JobReport {
    match Running::start(command, spec, case) {
        Ok(running) => running.watch(events),
        Err(error) => {
            let detail = format!("the worker can't be started: {error}");
            JobReport::failed(Finding::error(Code::Io, "worker", detail))
        }
    }
}

struct Running<'s> {
    spec: &'s JobSpec,
    child: Child,
    pid: Pid,
    /// Readable when the process has ended.
    pidfd: OwnedFd,
    channel: UnixStream,
    log: std::fs::File,
    log_is_open: bool,
    frames: Frames,
    printed: Printed,
    /// What the worker tells of its calls.
    trail: std::fs::File,
    stage: String,
    started: Instant,
    artifact_bytes: u64,
    done: Option<JobReport>,
    /// Why it was stopped, and its calls then: what it does afterwards is nobody's fault.
    stopped: Option<(Stopped, Calls)>,
    kill_at: Option<Instant>,
    commands: Commands,
}

fn artifact_bytes(spec: &JobSpec) -> u64 {
    spec.artifact.symlink_metadata().map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 })
}

impl<'s> Running<'s> {
    fn start(command: &WorkerCommand, spec: &'s JobSpec, case: Option<&str>) -> io::Result<Running<'s>> {
        let (mut channel, theirs) = UnixStream::pair()?;
        let trail = trail::create(&spec.staging)?;
        let (log, into_log) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mut builder = Command::new(&command.program);
        builder.arg0("recast").args(&command.args).env_clear();
        builder.envs(ALLOCATOR.iter().copied());
        builder.envs(ENVIRONMENT.iter().filter_map(|&name| Some((name, std::env::var_os(name)?))));
        // The channel goes in as standard input: nothing has to be inherited that other workers could inherit too.
        builder.stdin(OwnedFd::from(theirs)).stdout(into_log.try_clone()?).stderr(into_log).process_group(0);
        let child = builder.spawn()?;
        // Our ends of what the child has must close, or its end would never be seen.
        drop(builder);
        let pid = Pid::from_child(&child);
        let mut running = Running {
            spec,
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            child,
            channel: channel.try_clone()?,
            log: log.into(),
            log_is_open: true,
            frames: Frames::default(),
            printed: Printed::default(),
            trail,
            stage: String::new(),
            started: Instant::now(),
            artifact_bytes: artifact_bytes(spec),
            done: None,
            stopped: None,
            kill_at: None,
            commands: Commands::default(),
        };
        // Warnings are kept for the report of a crash, even where nobody reads the log.
        let log_level = LevelFilter::current().max(LevelFilter::WARN).to_string();
        let (spec, parent, case) = (Box::new(spec.clone()), std::process::id(), case.map(str::to_owned));
        let start = ToWorker::Start { spec, parent, log_level, case };
        // A worker that dies before it has read its job is seen by the watch.
        let sent = write_frame(&mut channel, &start);
        running.channel.set_nonblocking(true)?;
        rustix::io::ioctl_fionbio(&running.log, true)?;
        if let Err(error) = sent {
            running.printed.remember(&format!("the job could not be sent: {error}"));
        }
        Ok(running)
    }

    fn watch(mut self, events: &dyn Events) -> JobReport {
        let status = loop {
            match self.step(events) {
                Ok(None) => {}
                Ok(Some(status)) => break status,
                Err(error) => {
                    self.kill();
                    let detail = format!("lost sight of the worker: {error}");
                    return JobReport::failed(Finding::error(Code::Io, "worker", detail));
                }
            }
        };
        self.printed.finish(|_| {});
        if let Some(report) = self.done.take() {
            if !status.success() {
                tracing::warn!(%status, "the worker finished its job, but did not end well");
            }
            return report;
        }
        let truncated = artifact_bytes(self.spec) < self.artifact_bytes;
        let (stopped, calls) = match self.stopped.take() {
            Some((why, calls)) => (Some(why), calls),
            None => (None, self.calls()),
        };
        let (tail, stage) = (self.printed.tail().collect(), self.stage.as_str());
        Ended { spec: self.spec, status, stopped, calls, stage, tail, truncated }.report()
    }

    /// Waits for the next thing to happen and sees to it; the exit status when the process has ended.
    fn step(&mut self, events: &dyn Events) -> io::Result<Option<ExitStatus>> {
        // What has ended stays readable: polled, it would keep this thread from waiting.
        let mut fds = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        if self.log_is_open {
            fds.push(PollFd::new(&self.log, PollFlags::IN));
        }
        if self.done.is_none() && self.stopped.is_none() {
            fds.push(PollFd::new(&self.channel, PollFlags::IN));
        }
        let tick = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
        match poll(&mut fds, Some(&tick)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = fds[0].revents().contains(PollFlags::IN);
        // A channel whose other end is gone reads as ended, forever: it is only listened to while it matters.
        let is_open = self.listen(events)?;
        self.read_log()?;
        if ended {
            self.kill();
            return self.child.wait().map(Some);
        }
        if !is_open && self.done.is_none() && self.stopped.is_none() {
            // Ending the process closes the channel as well; give it the moment to be seen as ended.
            self.stop_at(Instant::now() + CLOSED_GRACE);
        }
        self.keep_time(events);
        Ok(None)
    }

    /// Reads what the worker sent; false when it will send no more.
    fn listen(&mut self, events: &dyn Events) -> io::Result<bool> {
        let mut chunk = vec![0; 64 << 10];
        for _ in 0..READS_MAX {
            match self.channel.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(read) => self.frames.push(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // What a killed process leaves behind.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(error),
            }
            while self.done.is_none() && self.stopped.is_none() {
                match self.frames.next_message::<FromWorker>() {
                    Ok(Some(message)) => self.hear(message, events),
                    Ok(None) => break,
                    Err(why) => {
                        self.stop(Stopped::Misspoke(why));
                        self.stop_at(Instant::now());
                    }
                }
            }
        }
        Ok(true)
    }

    fn calls(&self) -> Calls {
        trail::read(&self.trail)
    }

    fn stop(&mut self, why: Stopped) {
        self.stopped = Some((why, self.calls()));
    }

    fn hear(&mut self, message: FromWorker, events: &dyn Events) {
        match message {
            FromWorker::Sandboxed { missing } => tell_missing(&missing),
            FromWorker::Stage { name } => {
                events.stage(&name);
                self.stage = name;
            }
            FromWorker::Progress { done, total, what } => events.progress(done, total, &what),
            FromWorker::Log { level, target, plugin, message } => {
                if level == "error" || level == "warn" {
                    self.printed.remember(&message);
                }
                let plugin = plugin.as_deref().unwrap_or("");
                self.printed.forward(&message, &mut |text| say(&level, &target, plugin, text));
            }
            FromWorker::Run { request } => {
                if let Err(why) = self.commands.start(self.spec, request, &self.channel) {
                    self.stop(Stopped::Misspoke(why));
                    self.stop_at(Instant::now());
                }
            }
            FromWorker::Done { report } => {
                self.done = Some(*report);
                self.stop_at(Instant::now() + EXIT_GRACE);
            }
        }
    }

    fn read_log(&mut self) -> io::Result<()> {
        let plugin =
            LazyCell::new(|| trail::read(&self.trail).going_on.pop().map_or(String::new(), |call| call.plugin));
        let tell = |line: &str| tracing::info!(target: "recast::printed", plugin = plugin.as_str(), "{line}");
        self.log_is_open = self.printed.read(&self.log, tell)?;
        Ok(())
    }

    fn keep_time(&mut self, events: &dyn Events) {
        let now = Instant::now();
        let wall = Duration::from_secs(self.spec.limits.wall_seconds_max);
        if self.stopped.is_none() && self.done.is_none() {
            let late = now.duration_since(self.started) > wall;
            if late || events.is_cancelled() {
                self.stop(if late { Stopped::TimedOut(wall) } else { Stopped::Cancelled });
                // The group is ours: `process_group(0)`. One that is gone needs no signal.
                let _ = kill_process_group(self.pid, Signal::TERM);
                self.stop_at(now + GRACE);
            }
        }
        if self.kill_at.is_some_and(|at| now >= at) {
            if self.stopped.is_none() && self.done.is_none() {
                self.stop(Stopped::Misspoke("the channel was closed without a last message".into()));
            }
            self.kill();
            // It dies in its own time; the pidfd tells.
            self.kill_at = None;
        }
    }

    fn stop_at(&mut self, at: Instant) {
        let at = self.kill_at.map_or(at, |earlier| earlier.min(at));
        self.kill_at = Some(at);
    }

    /// The worker and whatever it may have started. It has not been waited for, so its number is still its own.
    fn kill(&self) {
        self.commands.stop();
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Nothing to do after `watch` has seen the end: a child that was waited for is not waited for again.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// Said once for each process, not for each of its thousand jobs.
fn tell_missing(missing: &[String]) {
    use std::sync::Once;
    static ONCE: Once = Once::new();
    if !missing.is_empty() {
        ONCE.call_once(|| tracing::warn!("workers run with a part of their sandbox only: {}", missing.join("; ")));
    }
}

fn say(level: &str, module: &str, plugin: &str, message: &str) {
    match level {
        "error" => tracing::error!(target: "recast::worker", plugin, module, "{message}"),
        "warn" => tracing::warn!(target: "recast::worker", plugin, module, "{message}"),
        "info" => tracing::info!(target: "recast::worker", plugin, module, "{message}"),
        "debug" => tracing::debug!(target: "recast::worker", plugin, module, "{message}"),
        _ => tracing::trace!(target: "recast::worker", plugin, module, "{message}"),
    }
}
