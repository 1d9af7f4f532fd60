//! `recast jobs`, `retry`, `status`: read the ledger, beside a daemon that runs or without one.

use std::fmt::Write as _;

use super::{Failure, Format, JobsArgs, RetryArgs, StatusArgs};
use crate::job::exit;
use crate::ledger::{self, EntryState, Job, Ledger, LedgerError, State};
use crate::lineage::stamp;
use crate::report::status_word;
use crate::schedule::{Request, ask, read_status};
use crate::tree::printable;

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Failure {
        Failure { code: exit::IO, text: error.to_string() }
    }
}

pub fn list(args: &JobsArgs) -> Result<i32, Failure> {
    super::init_logging("warn");
    let state = match &args.state {
        None => None,
        Some(word) => Some(State::parse(word).ok_or_else(|| {
            let known: Vec<&str> = State::words().collect();
            Failure::usage(format!("--state {word}: is one of {}", known.join(", ")))
        })?),
    };
    let config = super::load_config(args.config.as_deref())?;
    let ledger = Ledger::read(&config.state)?;
    let jobs = ledger.jobs(state)?;
    for job in &jobs {
        match args.format {
            Format::Json => say_line!("{}", job_json(job)),
            Format::Text => say!("{}", job_text(job)),
        }
    }
    if args.format == Format::Text && jobs.is_empty() {
        say_line!("no jobs");
    }
    Ok(exit::OK)
}

fn job_json(job: &Job) -> serde_json::Value {
    serde_json::json!({
        "id": job.id,
        "state": job.state.as_str(),
        "artifact": job.entry,
        "root": job.root,
        "digest": job.key.digest,
        "attempts": job.attempts,
        "waits_for": job.waits_for,
        "reason": job.reason,
        "bundle": job.bundle,
        "status": job.report.as_ref().map(|report| status_word(report.status)),
        "exit_code": job.exit_code,
        "updated": stamp::rfc3339(job.updated_ms),
    })
}

fn job_text(job: &Job) -> String {
    let short = &job.key.digest[..crate::digest::SHORT_HEX_LEN.min(job.key.digest.len())];
    let mut text = format!("{:>5}  {:<11}  {short}  {}", job.id, job.state.as_str(), job.entry);
    match (job.state, &job.bundle) {
        (State::Done, Some(bundle)) => {
            let _ = write!(text, "  {}", bundle.display());
        }
        _ if !job.reason.is_empty() => {
            let _ = write!(text, "  {}", job.reason);
        }
        _ => {}
    }
    if job.state == State::Parked {
        let claims: Vec<&str> = job.waits_for.iter().map(String::as_str).collect();
        let _ = write!(text, "  (waits for {})", claims.join(", "));
    }
    text.push('\n');
    text
}

pub fn retry(args: &RetryArgs) -> Result<i32, Failure> {
    super::init_logging("warn");
    let config = super::load_config(args.config.as_deref())?;
    let job = Ledger::read(&config.state)?.job(args.id)?;
    let Some(job) = job else { return Err(Failure::usage(format!("there is no job {}", args.id))) };
    if !matches!(job.state, State::Quarantined | State::Parked | State::Deferred | State::Withdrawn) {
        return Err(Failure::usage(format!("job {} is {}: there is nothing to retry", job.id, job.state.as_str())));
    }
    match Ledger::open(&config.state) {
        Ok((mut ledger, _)) => {
            ledger.retry(args.id)?;
            say_line!("job {} is queued; the daemon is not running", args.id);
        }
        Err(LedgerError::Locked(_)) => {
            ask(&config.state, &Request::Retry(args.id)).map_err(|error| Failure::io(config.state.display(), error))?;
            say_line!("the daemon was asked to run job {} again", args.id);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(exit::OK)
}

pub fn status(args: &StatusArgs) -> Result<i32, Failure> {
    super::init_logging("warn");
    let config = super::load_config(args.config.as_deref())?;
    let ledger = Ledger::read(&config.state)?;
    let idle_lock = ledger::lock(&config.state).map_err(|error| Failure::io(config.state.display(), error))?;
    let runs = idle_lock.is_none();
    drop(idle_lock);
    let live = read_status(&config.state).filter(|_| runs);
    let counts = ledger.counts()?;
    let faults: Vec<_> = ledger.plugin_faults()?.into_iter().filter(|fault| fault.quarantined).collect();
    let untaken: Vec<_> =
        ledger.entries(None)?.into_iter().filter(|row| !matches!(row.state, EntryState::Taken)).collect();
    if args.format == Format::Json {
        let jobs: std::collections::BTreeMap<_, _> =
            counts.iter().map(|(state, count)| (state.as_str(), *count)).collect();
        let entries: Vec<_> = untaken
            .iter()
            .map(|row| {
                let (name, state) = (printable(&row.name), row.state.as_str());
                serde_json::json!({"root": row.root, "name": name, "state": state, "reason": row.reason})
            })
            .collect();
        say_line!(
            "{}",
            serde_json::json!({"running": runs, "jobs": jobs, "entries": entries,
            "plugins_in_quarantine": faults, "daemon": live})
        );
        return Ok(exit::OK);
    }
    match &live {
        Some(live) => say_line!("the daemon runs (pid {}): {}", live.pid, live.summary),
        None if runs => say_line!("the daemon runs"),
        None => say_line!("the daemon does not run"),
    }
    for root in live.iter().flat_map(|live| &live.roots) {
        let state = if root.up { "watched".to_owned() } else { format!("not there: {}", root.why) };
        say_line!("  {}  {state}, {} entries, {} incomplete", root.path, root.entries, root.incomplete);
    }
    if let Some(why) = live.as_ref().and_then(|live| live.paused.as_ref()) {
        say_line!("  nothing is taken: {why}");
    }
    for (state, count) in counts.iter().filter(|(_, count)| *count > 0) {
        say_line!("  {:>6}  {}", count, state.as_str());
    }
    for fault in faults {
        say_line!("  {}  {}", fault.plugin, fault);
    }
    for row in untaken {
        say_line!("  {}  {}: {}", printable(&row.name), row.state.as_str(), row.reason);
    }
    Ok(exit::OK)
}
