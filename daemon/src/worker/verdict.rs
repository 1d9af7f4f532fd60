//! Why a worker ended without its last message, and who is to blame.

use super::trail::{Calls, Entered};
use crate::job::{Finding, JobReport, JobSpec};
use recast_plugin_api::diag::Code;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// What the parent did to a worker, where it did something.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stopped {
    TimedOut(Duration),
    Cancelled,
    /// It sent what is no message, or closed the channel.
    Misspoke(String),
}

pub(super) struct Ended<'a> {
    pub spec: &'a JobSpec,
    pub status: ExitStatus,
    pub stopped: Option<Stopped>,
    pub calls: Calls,
    pub stage: &'a str,
    pub tail: Vec<&'a str>,
    /// The artifact is shorter than when the job began.
    pub truncated: bool,
}

impl Ended<'_> {
    pub(super) fn report(&self) -> JobReport {
        let (code, cause) = self.cause();
        // Where no plugin was at work, a crash is our own.
        let code = if self.calls.going_on.is_empty() && code == Code::PluginCrashed { Code::Bug } else { code };
        // What was said wrong is read some time after it was said.
        let left = self.calls.left.as_ref().filter(|_| matches!(self.stopped, Some(Stopped::Misspoke(_))));
        let (at, who) = match self.calls.going_on.last().or(left) {
            Some(Entered { plugin, call, at }) => {
                let place = if at.is_empty() { String::new() } else { format!(" ({at})") };
                (plugin.clone(), format!("in the plugin {plugin}, call {call}{place}"))
            }
            None => ("worker".to_owned(), format!("outside of any plugin, at stage {:?}", self.stage)),
        };
        let mut report = JobReport::failed(Finding::error(code, at.clone(), format!("the worker {cause}, {who}")));
        report.digest = self.spec.digest.clone().unwrap_or_default();
        if !self.tail.is_empty() {
            let lines = format!("its last lines: {}", self.tail.join(" | "));
            report.diagnostics.push(Finding { severity: "note".into(), ..Finding::error(code, at, lines) });
        }
        report
    }

    fn cause(&self) -> (Code, String) {
        match &self.stopped {
            Some(Stopped::TimedOut(after)) => {
                let text = format!("was stopped after {} s (limits.worker_wall_seconds_max)", after.as_secs());
                return (Code::Timeout, text);
            }
            Some(Stopped::Cancelled) => return (Code::Cancelled, "was told to stop".into()),
            Some(Stopped::Misspoke(why)) => return (Code::PluginMisbehaved, format!("broke the protocol: {why}")),
            None => {}
        }
        match self.status.signal() {
            Some(signal) => self.signalled(signal),
            None => {
                let code = self.status.code().unwrap_or(-1);
                (Code::PluginCrashed, format!("exited with code {code} and without a result"))
            }
        }
    }

    fn signalled(&self, signal: i32) -> (Code, String) {
        let said = |text: &str| self.tail.iter().any(|line| line.contains(text));
        match signal {
            libc::SIGXCPU => (Code::Timeout, "used up limits.worker_cpu_seconds_max".into()),
            libc::SIGXFSZ => (Code::LimitExceeded, "wrote a file over limits.worker_output_bytes_max".into()),
            libc::SIGKILL => {
                let text = "was killed, most likely by the kernel for want of memory (limits.worker_memory_bytes_max)";
                (Code::OutOfMemory, text.into())
            }
            libc::SIGABRT if said("memory allocation of") || said("bad_alloc") => {
                (Code::OutOfMemory, "ran out of memory (limits.worker_memory_bytes_max)".into())
            }
            libc::SIGABRT if said("overflowed its stack") => (Code::PluginCrashed, "overflowed its stack".into()),
            libc::SIGBUS if self.truncated => {
                (Code::Changed, "lost the end of the artifact: it was truncated while it was read".into())
            }
            signal => (Code::PluginCrashed, format!("died of {}", signal_name(signal))),
        }
    }
}

fn signal_name(signal: i32) -> String {
    let text = match signal {
        libc::SIGSEGV => "SIGSEGV (an address that is not its own)",
        libc::SIGBUS => "SIGBUS (memory that could not be read)",
        libc::SIGABRT => "SIGABRT (it aborted)",
        libc::SIGILL => "SIGILL (an instruction that this processor does not have)",
        libc::SIGFPE => "SIGFPE (a division by zero)",
        libc::SIGTERM => "SIGTERM (somebody ended it)",
        libc::SIGSYS => "SIGSYS (a forbidden system call)",
        other => return format!("signal {other}"),
    };
    text.into()
}
