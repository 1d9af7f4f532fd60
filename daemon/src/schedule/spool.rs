//! How other processes talk with a running daemon: they leave requests as files in the state directory, and read the
//! status file that it keeps there. No socket, no protocol: who may write the directory may ask.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

use super::{Daemon, DaemonError};
use crate::digest::is_sha256_hex;
use crate::ledger::State;
use crate::lineage::stamp;
use crate::watch::RootState;

const REQUESTS: &str = "requests";
const STATUS: &str = "status.json";

/// Requests that are answered at one tick.
const REQUESTS_MAX: usize = 1000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusRoot {
    pub path: String,
    pub up: bool,
    pub why: String,
    pub entries: u64,
    pub incomplete: u64,
}

/// What the daemon is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub pid: u32,
    pub at: String,
    pub summary: String,
    pub roots: Vec<StatusRoot>,
    /// Artifact, stage, and how far that is.
    pub running: Vec<(String, String, f64)>,
    /// State -> number of jobs.
    pub jobs: std::collections::BTreeMap<String, u64>,
    pub plugins: u64,
    /// Why nothing is taken at the moment.
    pub paused: Option<String>,
}

pub fn read_status(state_dir: &Path) -> Option<Status> {
    serde_json::from_slice(&fs::read(state_dir.join(STATUS)).ok()?).ok()
}

/// What the daemon can be asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Queue a job again.
    Retry(i64),
    /// Take a plugin file, by its sha256, out of quarantine.
    Release(String),
}

impl Request {
    /// `retry-12`, `release-0123...`.
    fn file_name(&self) -> String {
        match self {
            Request::Retry(id) => format!("retry-{id}"),
            Request::Release(sha256) => format!("release-{sha256}"),
        }
    }

    fn parse(name: &str) -> Option<Request> {
        match name.split_once('-')? {
            ("retry", id) => Some(Request::Retry(id.parse().ok()?)),
            ("release", sha256) if is_sha256_hex(sha256) => Some(Request::Release(sha256.into())),
            _ => None,
        }
    }
}

pub fn ask(state_dir: &Path, request: &Request) -> io::Result<()> {
    let dir = state_dir.join(REQUESTS);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(request.file_name()), b"")
}

impl Daemon {
    pub(super) fn answer_requests(&mut self) -> Result<(), DaemonError> {
        let dir = self.config.state.join(REQUESTS);
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        // A directory is nobody's request, and stays: it must neither end the daemon nor be in the way of others.
        let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        let entries = entries.filter(|entry| !entry.as_ref().is_ok_and(is_directory));
        for entry in entries.take(REQUESTS_MAX) {
            let entry = entry?;
            let request = entry.file_name().to_str().and_then(Request::parse);
            fs::remove_file(entry.path())?;
            match request {
                Some(Request::Retry(id)) if self.ledger.retry(id)? => {
                    tracing::info!(job = id, "queued again, as asked")
                }
                Some(Request::Retry(id)) => {
                    tracing::warn!(job = id, "asked to queue it again, but it neither failed nor waits");
                }
                Some(Request::Release(sha256)) if self.ledger.release(&sha256)? => self.choose_plugins()?,
                Some(Request::Release(sha256)) => tracing::warn!("no plugin file {sha256} is in quarantine"),
                None => tracing::warn!("{}: not a request", entry.path().display()),
            }
        }
        Ok(())
    }

    /// Says what is going on, wherever somebody may be listening.
    pub(super) fn tell(&mut self) -> Result<(), DaemonError> {
        self.notifier.alive();
        let status = self.status()?;
        let shown = format!("{}{:?}{:?}", status.summary, status.roots, status.paused);
        if shown == self.status_shown {
            return Ok(());
        }
        self.status_shown = shown;
        self.notifier.status(&status.summary);
        (self.status_sink)(&status.summary);
        let json = serde_json::to_vec(&status).map_err(io::Error::from)?;
        let draft = self.config.state.join(format!("{STATUS}.tmp"));
        fs::write(&draft, json)?;
        Ok(fs::rename(draft, self.config.state.join(STATUS))?)
    }

    fn status(&self) -> Result<Status, DaemonError> {
        let counts = self.ledger.counts()?;
        let count = |state: State| counts.iter().find(|(known, _)| *known == state).map_or(0, |(_, count)| *count);
        let mut running: Vec<_> = self.running.values().map(|r| (r.entry.clone(), r.stage.clone(), r.done)).collect();
        running.sort_by(|a, b| a.0.cmp(&b.0));
        let working = running.iter().map(|(entry, stage, _)| format!("{entry} {stage}").trim_end().to_owned());
        let settling: usize = self.stations.iter().map(|station| station.root.moving()).sum();
        let mut parts = vec![format!("{} done", count(State::Done))];
        for (number, word) in [
            (settling as u64, "settling"),
            (count(State::Queued), "queued"),
            (count(State::Parked), "parked"),
            (count(State::Deferred), "to be tried again"),
            (count(State::Quarantined), "in quarantine"),
        ] {
            if number > 0 {
                parts.push(format!("{number} {word}"));
            }
        }
        if !running.is_empty() {
            parts.push(format!("running: {}", working.collect::<Vec<_>>().join(", ")));
        }
        Ok(Status {
            pid: std::process::id(),
            at: stamp::rfc3339(crate::ledger::now_ms()),
            summary: parts.join(", "),
            roots: self.status_roots(),
            running,
            jobs: counts.iter().map(|(state, count)| (state.as_str().to_owned(), *count)).collect(),
            plugins: self.plugins.members.len() as u64,
            paused: self.paused.as_ref().map(|(_, why)| why.clone()),
        })
    }

    fn status_roots(&self) -> Vec<StatusRoot> {
        let of = |station: &super::Station| StatusRoot {
            path: station.key.clone(),
            up: station.root.state == RootState::Up,
            why: if let RootState::Down(why) = &station.root.state { why.clone() } else { String::new() },
            entries: station.root.len() as u64,
            incomplete: station.root.waiting().count() as u64,
        };
        self.stations.iter().map(of).collect()
    }
}
