//! What comes of an attempt: published, parked, tried again, or put into quarantine.

use recast_plugin_api::diag::Code;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Daemon, DaemonError};
use crate::attempt::Outcome;
use crate::digest;
use crate::job::{Finding, JobReport, Status, exit};
use crate::ledger::{EntryRow, Job, backoff};
use crate::report::{self, ArtifactReport};
use crate::tree::printable;

pub const QUARANTINE: &str = "quarantine";

/// A timeout may be the machine's fault once.
const TIMEOUT_ATTEMPTS_MAX: u32 = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Class {
    Parked,
    /// May pass by itself.
    Transient,
    Permanent,
    /// We stopped it.
    Interrupted,
}

fn classify(report: &JobReport, attempt: u32) -> Class {
    if report.status == Status::Parked && !report.waits_for.is_empty() {
        return Class::Parked;
    }
    if report.has(Code::Cancelled) {
        return Class::Interrupted;
    }
    if report.has(Code::Timeout) {
        return if attempt < TIMEOUT_ATTEMPTS_MAX { Class::Transient } else { Class::Permanent };
    }
    // A plugin file that is replaced while a job runs is refused by that job's worker, and found anew for the next one.
    let may_pass = report.exit_code == exit::IO || report.has(Code::OutOfMemory) || report.has(Code::PluginRefused);
    if may_pass { Class::Transient } else { Class::Permanent }
}

/// The worker read what was claimed, and nothing else.
pub fn same_artifact(report: &JobReport, digest: &str) -> Result<(), Finding> {
    if report.digest == digest {
        return Ok(());
    }
    let detail = "the worker reported another content digest than the one that was claimed";
    Err(Finding::error(Code::PluginMisbehaved, "digest", detail))
}

fn reason(report: &JobReport) -> String {
    let first = report.diagnostics.iter().find(|finding| finding.severity == "error");
    match first.or(report.diagnostics.first()) {
        Some(finding) => format!("{}: {}: {}", finding.code, finding.at, finding.detail),
        None => format!("ended with exit code {}", report.exit_code),
    }
}

impl Daemon {
    pub(super) fn finished(&mut self, id: i64, outcome: Outcome) -> Result<(), DaemonError> {
        self.running.remove(&id);
        if let Some(text) = outcome.fatal {
            return Err(DaemonError::Durability(text));
        }
        self.conclude(id, &outcome)?;
        self.forget_ended()
    }

    /// Forgets what nobody will ask for any more, with the reasons that lie in the quarantine.
    pub(super) fn forget_ended(&mut self) -> Result<(), DaemonError> {
        for job in self.ledger.forget(self.config.limits.ended_jobs_max)? {
            remove_reason(&self.quarantine_dir(&job))?;
            // Replaced before its turn came: its copy goes as well.
            self.claims.remove(&job.id);
        }
        Ok(())
    }

    fn conclude(&mut self, id: i64, outcome: &Outcome) -> Result<(), DaemonError> {
        let Some(job) = self.ledger.job(id)? else { return Ok(()) };
        let report = &outcome.report;
        if let Some(published) = &outcome.published {
            self.ledger.done(id, report, &published.bundle)?;
            remove_reason(&self.quarantine_dir(&job))?;
            let status = report::status_word(report.status);
            tracing::info!(job = id, bundle = %published.bundle.display(), "{}: {status}", job.entry);
            return self.judge_plugins(report);
        }
        let why = reason(report);
        match classify(report, job.attempts) {
            Class::Interrupted => self.ledger.interrupt(id)?,
            Class::Parked => {
                let claims: Vec<&str> = report.waits_for.iter().map(String::as_str).collect();
                tracing::warn!(job = id, "{}: parked, waits for {}", job.entry, claims.join(", "));
                self.ledger.park(id, report, &why)?;
            }
            Class::Transient if job.attempts < self.config.limits.attempts_max => {
                let limits = &self.config.limits;
                let wait = backoff(limits.backoff, limits.backoff_max, job.attempts, id);
                tracing::warn!(job = id, attempt = job.attempts, "{}: {why}; again in {wait:.1?}", job.entry);
                self.ledger.defer(id, report, &why, wait)?;
            }
            Class::Transient | Class::Permanent => self.quarantine(&job, report, &why)?,
        }
        self.judge_plugins(report)?;
        // What it waits for may have arrived while it ran.
        self.requeue_served()
    }

    /// The bundle's place can't be written now: no attempt was made, and none is counted.
    pub(super) fn postpone(&mut self, job: &Job, why: &str) -> Result<(), DaemonError> {
        tracing::warn!(job = job.id, "{why}");
        let report = JobReport::failed(Finding::error(Code::Io, "out", why));
        let limits = &self.config.limits;
        Ok(self.ledger.defer(job.id, &report, why, backoff(limits.backoff, limits.backoff_max, 1, job.id))?)
    }

    fn quarantine_dir(&self, job: &Job) -> PathBuf {
        self.config.state.join(QUARANTINE).join(job.key.hex(&job.out))
    }

    fn quarantine(&mut self, job: &Job, report: &JobReport, why: &str) -> Result<(), DaemonError> {
        tracing::error!(job = job.id, "{}: {why}", job.entry);
        let attempts = self.ledger.attempts(job.id)?;
        let dir = self.quarantine_dir(job);
        write_reason(&dir, job, report, why, &attempts)?;
        Ok(self.ledger.quarantine(job.id, report, why)?)
    }
}

/// Where the reason lies why an entry of a drop folder never became a job.
fn entry_dir(state: &Path, root: &str, name: &OsStr) -> PathBuf {
    let mut key = format!("recast-entry/1\n{root}\n").into_bytes();
    key.extend_from_slice(name.as_bytes());
    state.join(QUARANTINE).join(format!("entry-{}", digest::of_bytes(&key)))
}

/// An entry that stayed incomplete for longer than the configuration allows: there is no job and no report of one, but
/// somebody who looks into the quarantine finds it there, with what is missing.
pub(super) fn quarantine_entry(state: &Path, row: &EntryRow, settle_max: Duration) -> Result<(), DaemonError> {
    let dir = entry_dir(state, &row.root, &row.name);
    fs::create_dir_all(&dir)?;
    let (name, noted) = (printable(&row.name), crate::lineage::stamp::rfc3339(crate::ledger::now_ms()));
    let json = serde_json::json!({
        "entry": name,
        "root": row.root,
        "state": row.state.as_str(),
        "reason": row.reason,
        "noted": noted,
    });
    fs::write(dir.join("reason.json"), format!("{json:#}\n"))?;
    let waited = settle_max.as_secs_f64();
    let text = format!(
        "{name}\n\nincomplete: {}\n\nNothing about it changed for {waited} s (limits.settle_seconds_max), and it is \
         still not complete.\nIt is in {}, and is looked at again as soon as it changes there: write it once more, \
         under a temporary name first, or remove it.\n",
        row.reason, row.root
    );
    Ok(fs::write(dir.join("reason.txt"), text)?)
}

/// It changed, was taken, or is gone.
pub(super) fn release_entry(state: &Path, root: &str, name: &OsStr) -> Result<(), DaemonError> {
    remove_reason(&entry_dir(state, root, name))
}

fn remove_reason(dir: &Path) -> Result<(), DaemonError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn write_reason(
    dir: &Path,
    job: &Job,
    report: &JobReport,
    why: &str,
    attempts: &[(u32, i64, String, String)],
) -> Result<(), DaemonError> {
    fs::create_dir_all(dir)?;
    let shown = ArtifactReport::new(&job.entry, report, None);
    let tried: Vec<_> = attempts
        .iter()
        .map(|(number, started_ms, class, detail)| {
            let started = crate::lineage::stamp::rfc3339(*started_ms);
            serde_json::json!({"number": number, "started": started, "class": class, "detail": detail})
        })
        .collect();
    let json = serde_json::json!({
        "job": job.id,
        "key": job.key,
        "root": job.root,
        "reason": why,
        "attempts": tried,
        "report": shown,
        "plugins": report.plugins,
    });
    fs::write(dir.join("reason.json"), format!("{json:#}\n"))?;
    let mut text = format!("{}\n\n{why}\n\n{}", job.entry, report::text(&shown));
    let _ = writeln!(text, "\nTried {} time(s). The artifact is still in {}.", attempts.len().max(1), job.root);
    let _ = writeln!(text, "Replace it there, or run `recast retry {}` once the cause is gone.", job.id);
    fs::write(dir.join("reason.txt"), text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(code: Code) -> JobReport {
        JobReport::failed(Finding::error(code, "x", "y"))
    }

    #[test]
    fn only_what_may_pass_by_itself_is_tried_again() {
        for (code, attempt, class) in [
            (Code::Io, 1, Class::Transient),
            (Code::Changed, 1, Class::Transient),
            (Code::OutOfMemory, 3, Class::Transient),
            (Code::PluginRefused, 1, Class::Transient),
            (Code::Timeout, 1, Class::Transient),
            (Code::Timeout, 2, Class::Permanent),
            (Code::Malformed, 1, Class::Permanent),
            (Code::Mismatch, 1, Class::Permanent),
            (Code::PluginCrashed, 1, Class::Permanent),
            (Code::Bug, 1, Class::Permanent),
            (Code::Cancelled, 1, Class::Interrupted),
        ] {
            assert_eq!(classify(&report(code), attempt), class, "{code:?} {attempt}");
        }
        let mut parked = report(Code::UnknownLayer);
        parked.status = Status::Parked;
        assert_eq!(classify(&parked, 1), Class::Permanent, "it names nothing to wait for");
        parked.waits_for = vec!["layer:a>B".into()];
        assert_eq!(classify(&parked, 1), Class::Parked);
    }
}
