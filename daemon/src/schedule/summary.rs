//! What `run --until-idle` ends with: every entry of the watched folders, and what came of it.

use recast_plugin_api::diag::Code;
use std::path::Path;

use super::{Daemon, DaemonError};
use crate::job::{Finding, JobReport, Status, exit};
use crate::ledger::{EntryRow, EntryState, Job, State};
use crate::publish::read_bundle;
use crate::report::ArtifactReport;
use crate::tree::printable;

#[derive(Debug, Clone)]
pub struct Summary {
    pub reports: Vec<ArtifactReport>,
    pub exit_code: i32,
}

pub fn summarize(daemon: &Daemon) -> Result<Summary, DaemonError> {
    let mut summary = Summary { reports: Vec::new(), exit_code: exit::OK };
    let mut codes = Vec::new();
    for station in &daemon.stations {
        for row in daemon.ledger.entries(Some(&station.key))? {
            let job = row.job_id.map(|id| daemon.ledger.job(id)).transpose()?.flatten();
            if let Some((report, code)) = entry_report(&row, job.as_ref()) {
                summary.reports.push(report);
                codes.push(code);
            }
        }
    }
    for (path, why) in daemon.roots_down() {
        let report = JobReport::failed(Finding::error(Code::Io, path.to_string_lossy(), why));
        summary.reports.push(ArtifactReport::new(&path.to_string_lossy(), &report, None));
        codes.push(exit::IO);
    }
    summary.exit_code = exit::worst(codes);
    Ok(summary)
}

fn entry_report(row: &EntryRow, job: Option<&Job>) -> Option<(ArtifactReport, i32)> {
    let shown = Path::new(&row.root).join(printable(&row.name));
    let shown = shown.to_string_lossy();
    let untaken = |code: Code, detail: String| {
        let report = JobReport::failed(Finding::error(code, shown.clone(), detail));
        (ArtifactReport::new(&shown, &report, None), report.exit_code)
    };
    match (row.state, job) {
        (EntryState::Waiting, _) => None,
        (EntryState::Refused, _) => Some(untaken(Code::UnsafeLink, row.reason.clone())),
        (EntryState::Incomplete | EntryState::Settling, _) => {
            Some(untaken(Code::Malformed, format!("incomplete: {}", row.reason)))
        }
        (EntryState::Taken, None) => Some(untaken(Code::Bug, "taken, and no job knows of it".to_owned())),
        (EntryState::Taken, Some(job)) => Some(job_report(&shown, job)),
    }
}

/// What the ledger and the bundle know about a job.
pub fn job_report(shown: &str, job: &Job) -> (ArtifactReport, i32) {
    if matches!(job.state, State::Queued | State::Running) {
        let mut report = JobReport::failed(Finding::error(Code::Cancelled, shown, "it was not finished"));
        report.digest = job.key.digest.clone();
        return (ArtifactReport::new(shown, &report, None), report.exit_code);
    }
    let code = job.exit_code.unwrap_or(exit::BUG);
    let bundle = job.bundle.as_deref().filter(|_| job.state == State::Done);
    if let Some(report) = &job.report {
        return (ArtifactReport::new(shown, report, bundle), code);
    }
    // Adopted from the outputs: they tell.
    if let Some((path, mut found)) = bundle.and_then(|path| Some((path, read_bundle(path)?.report))) {
        found.artifact = shown.to_owned();
        found.bundle = Some(path.to_string_lossy().into_owned());
        return (found, code);
    }
    let mut report = JobReport::failed(Finding::error(Code::Bug, shown, job.reason.clone()));
    report.digest = job.key.digest.clone();
    if job.state == State::Parked {
        report.status = Status::Parked;
    }
    (ArtifactReport::new(shown, &report, None), code)
}
