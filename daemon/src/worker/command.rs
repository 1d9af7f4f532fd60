//! Commands that a check needs: a worker may not start programs, so it asks here. Each runs in a process group of its
//! own, with an empty environment, in a directory below the job's staging, bounded in time and memory; it ends when it
//! is done, when its time is over, when the worker ends, and (by the kernel) when this process ends.
//!
//! The programs are those that the configuration names. They are not in the worker's sandbox: an interpreter needs too
//! much of the system. What they run is a script of a plugin, so a runtime is only for who trusts the plugins.

use super::ipc::{ToWorker, write_frame};
use super::output::Printed;
use crate::job::{CommandRequest, CommandSpec, JobSpec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getppid, kill_process_group, pidfd_open,
    set_parent_process_death_signal, setrlimit,
};
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Component, Path};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often time and the end of the worker are looked at.
const TICK: Duration = Duration::from_millis(50);

/// Where programs that a script calls are found.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The command of one worker: one at a time.
#[derive(Default)]
pub(super) struct Commands {
    running: Option<JoinHandle<()>>,
    /// From the question until just before the answer: the thread itself ends a little later than the worker hears.
    is_busy: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Commands {
    /// Runs a command on a thread of its own, which answers into the channel. An error is a worker that asks for
    /// something that it never would.
    pub(super) fn start(
        &mut self,
        spec: &JobSpec,
        request: CommandRequest,
        channel: &UnixStream,
    ) -> Result<(), String> {
        if self.is_busy.load(Ordering::Acquire) {
            return Err("a second command was asked for while one ran".into());
        }
        self.join();
        let (command, limits) = (allowed(spec, &request)?, Limits::of(spec));
        let is_busy = self.is_busy.clone();
        is_busy.store(true, Ordering::Release);
        let (stop, mut channel) = (self.stop.clone(), channel.try_clone().map_err(|e| e.to_string())?);
        // The kernel ties the command's life to this thread, which waits for its end.
        self.running = Some(std::thread::spawn(move || {
            let failure = run(&command, &limits, &request, &stop).err();
            is_busy.store(false, Ordering::Release);
            // A worker that is gone needs no answer; its end is seen by who watches it.
            if let Err(error) = write_frame(&mut channel, &ToWorker::Ran { failure }) {
                tracing::debug!("the end of a command was not told: {error}");
            }
        }));
        Ok(())
    }

    fn join(&mut self) {
        if self.running.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of a command panicked");
        }
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.stop();
        self.join();
    }
}

/// The configured command, where every path of the request is one that it may have.
fn allowed(spec: &JobSpec, request: &CommandRequest) -> Result<CommandSpec, String> {
    let command = match &request.runtime {
        Some(name) => spec.verify.runtimes.get(name),
        None => spec.verify.oracle.as_ref(),
    };
    let command = command.ok_or("a command was asked for that is not configured")?;
    let is_plain = |path: &Path| path.components().all(|part| !matches!(part, Component::ParentDir));
    let is_ours = |path: &Path| path.starts_with(&spec.staging) && is_plain(path);
    let is_known = |path: &Path| is_ours(path) || path == spec.artifact || Some(path) == spec.architecture.as_deref();
    if !is_ours(&request.dir) || !request.args.iter().all(|path| is_known(path)) {
        return Err("a command was asked for with paths outside of the job".into());
    }
    Ok(command.clone())
}

struct Limits {
    threads: u64,
    file_bytes_max: u64,
}

impl Limits {
    fn of(spec: &JobSpec) -> Limits {
        Limits { threads: spec.threads.max(1) as u64, file_bytes_max: spec.limits.output_bytes_max }
    }
}

/// Runs to the end; the failure in words, with what was printed last.
fn run(spec: &CommandSpec, limits: &Limits, request: &CommandRequest, stop: &AtomicBool) -> Result<(), String> {
    let program = spec.command.first().map_or("", String::as_str);
    let (mut child, log) =
        spawn(spec, limits, request).map_err(|error| format!("{program} can't be started: {error}"))?;
    let mut printed = Printed::default();
    let ended = wait(&mut child, &log, spec, stop, &mut printed);
    printed.finish(|_| {});
    let why = match ended {
        Ok(Ended::Status(status)) if status.success() => return Ok(()),
        Ok(Ended::Status(status)) => status_text(status),
        Ok(Ended::TimedOut) => format!("took longer than seconds_max = {}", spec.seconds_max),
        Ok(Ended::Stopped) => "was stopped with its job".into(),
        Err(error) => format!("was lost sight of: {error}"),
    };
    let tail: Vec<&str> = printed.tail().collect();
    let said = if tail.is_empty() { String::new() } else { format!("; it printed: {}", tail.join(" | ")) };
    Err(format!("{program} {why}{said}"))
}

fn status_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("died of signal {signal} (memory_bytes_max bounds its memory)"),
        (None, None) => "ended".into(),
    }
}

fn spawn(spec: &CommandSpec, limits: &Limits, request: &CommandRequest) -> io::Result<(Child, File)> {
    let (program, args) = spec.command.split_first().ok_or_else(|| io::Error::other("the command is empty"))?;
    let (log, into_log) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&log, true)?;
    let dir = &request.dir;
    let mut builder = Command::new(program);
    builder.args(args).args(&request.args).current_dir(dir).env_clear();
    builder.env("PATH", PATH).env("LANG", "C.UTF-8").env("HOME", dir).env("TMPDIR", dir);
    builder.env("OMP_NUM_THREADS", limits.threads.to_string());
    builder.stdin(Stdio::null()).stdout(into_log.try_clone()?).stderr(into_log).process_group(0);
    let (memory, parent) = (spec.memory_bytes_max, std::process::id());
    let cpu = spec.seconds_max.saturating_mul(limits.threads);
    let file_bytes = limits.file_bytes_max;
    // SAFETY: between fork and exec, `confine` makes system calls only; it does not allocate.
    unsafe { builder.pre_exec(move || confine(parent, memory, cpu, file_bytes)) };
    Ok((builder.spawn()?, File::from(log)))
}

/// In the new process, before the program.
fn confine(parent: u32, memory: u64, cpu: u64, file_bytes: u64) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before the line above.
    if getppid().is_none_or(|now| now.as_raw_nonzero().get() as u32 != parent) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    let bounds = [(Resource::As, memory), (Resource::Cpu, cpu), (Resource::Fsize, file_bytes), (Resource::Core, 0)];
    for (resource, bound) in bounds {
        // A limit that the daemon itself is under can only be lowered.
        let ceiling = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let bound = Some(bound.min(ceiling));
        setrlimit(resource, Rlimit { current: bound, maximum: bound })?;
    }
    Ok(())
}

enum Ended {
    Status(ExitStatus),
    TimedOut,
    Stopped,
}

fn wait(
    child: &mut Child,
    log: &File,
    spec: &CommandSpec,
    stop: &AtomicBool,
    printed: &mut Printed,
) -> io::Result<Ended> {
    let pid = Pid::from_child(child);
    let deadline = Instant::now() + Duration::from_secs(spec.seconds_max);
    let result = watch(pid, log, deadline, stop, printed);
    // The group first: until the child was waited for, its number is still its own. One that is gone needs no signal.
    let _ = kill_process_group(pid, Signal::KILL);
    let status = child.wait()?;
    printed.read(log, tell)?;
    Ok(result?.unwrap_or(Ended::Status(status)))
}

/// Until the process ends (none) or has to be ended.
fn watch(
    pid: Pid,
    log: &File,
    deadline: Instant,
    stop: &AtomicBool,
    printed: &mut Printed,
) -> io::Result<Option<Ended>> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let mut log_is_open = true;
    loop {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(log, PollFlags::IN)];
        let listening = if log_is_open { &mut fds[..] } else { &mut fds[..1] };
        let tick = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
        match poll(listening, Some(&tick)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = fds[0].revents().contains(PollFlags::IN);
        log_is_open = log_is_open && printed.read(log, tell)?;
        if ended {
            return Ok(None);
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Some(Ended::Stopped));
        }
        if Instant::now() >= deadline {
            return Ok(Some(Ended::TimedOut));
        }
    }
}

fn tell(line: &str) {
    tracing::debug!(target: "recast::command", "{line}");
}
