//! From a drop folder into the ledger: scans, claims, and what is written down about entries that are not taken.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::Instant;

use super::outcome::{quarantine_entry, release_entry};
use super::station::Station;
use super::{DISK_FULL_WAIT, Daemon, DaemonError, Message};
use crate::digest::hex;
use crate::job::JobKey;
use crate::ledger::{Enqueued, EntryRow, EntryState, Job, NewJob, State};
use crate::publish::PlaceError;
use crate::watch::claim::Wanted;
use crate::watch::root::{Phase, Ready, Span};
use crate::watch::{Change, Claim, Claimed, RootState, Scan, claim, scan};

impl Daemon {
    /// Brings the stations in line with the configuration; a folder that is watched already keeps what is known of it.
    pub(super) fn set_stations(&mut self) {
        let mut before = std::mem::take(&mut self.stations);
        for watch in &self.config.watches {
            let known = before.iter().position(|station| station.is_at(&watch.path));
            let station = match known {
                Some(at) => {
                    let mut station = before.swap_remove(at);
                    station.update(&self.config, watch);
                    station
                }
                None => {
                    self.next_station += 1;
                    Station::new(self.next_station, &self.config, watch)
                }
            };
            self.stations.push(station);
        }
    }

    fn station(&mut self, id: u64) -> Option<&mut Station> {
        self.stations.iter_mut().find(|station| station.id == id)
    }

    pub(super) fn start_scans(&mut self) {
        let now = Instant::now();
        for station in &mut self.stations {
            if station.root.state == RootState::Up {
                station.keep_awake(&self.bell, false);
            }
            if !station.is_due(now) {
                continue;
            }
            station.begin_scan();
            let (id, watch, sender) = (station.id, station.root.watch.clone(), self.sender.clone());
            tokio::task::spawn_blocking(move || {
                let began = Instant::now();
                let result = scan(&watch);
                let span = Span { began, ended: Instant::now() };
                // The loop has ended: nobody wants to know.
                let _ = sender.blocking_send(Message::Scanned { station: id, result, span });
            });
        }
    }

    pub(super) fn scanned(&mut self, id: u64, result: io::Result<Scan>, span: Span) -> Result<(), DaemonError> {
        let bell = self.bell.clone();
        let Some(station) = self.station(id) else { return Ok(()) };
        station.end_scan(span.ended, result.is_ok());
        let scan = match result {
            Ok(scan) => scan,
            Err(error) => {
                if station.failures == 1 {
                    tracing::warn!("{}: {error}; nothing is concluded about what is in it", station.key);
                }
                station.root.down(error.to_string());
                return Ok(());
            }
        };
        let first = station.root.identity().is_none();
        let moved = station.root.identity().is_some_and(|known| known != scan.identity);
        if first || moved {
            station.look_at_file_system();
        }
        let present: BTreeSet<OsString> = scan.entries.iter().map(|(name, _)| name.clone()).collect();
        let changes = station.root.observe(scan, span);
        station.keep_awake(&bell, moved);
        let (key, wants) = (station.key.clone(), station.wants.clone());
        self.note_changes(&key, &wants, changes, first.then_some(&present))
    }

    /// Writes down what a scan found. At the first one, what the ledger remembers and the folder no longer has is gone.
    fn note_changes(
        &mut self,
        root: &str,
        wants: &str,
        changes: Vec<Change>,
        present: Option<&BTreeSet<OsString>>,
    ) -> Result<(), DaemonError> {
        let mut rows = Vec::new();
        let mut gone = Vec::new();
        let row = |name: OsString, fingerprint: String, state: EntryState, reason: String| EntryRow {
            root: root.to_owned(),
            name,
            fingerprint,
            state,
            reason,
            job_id: None,
            watch_digest: wants.to_owned(),
        };
        for change in changes {
            match change {
                // At the first scan everything is new to us, and most of it not to the ledger, which must not forget.
                Change::Settling(_) if present.is_some() => {}
                Change::Settling(name) => rows.push(row(name, String::new(), EntryState::Settling, String::new())),
                Change::Refused(name, refusal) => {
                    let reason = format!("{}: {}", refusal.reason, refusal.detail);
                    tracing::warn!("{}: {reason}", crate::tree::printable(&name));
                    rows.push(row(name, String::new(), EntryState::Refused, reason));
                }
                Change::Orphan(name) => {
                    let reason = "there is no artifact of this name beside it".to_owned();
                    rows.push(row(name, String::new(), EntryState::Waiting, reason));
                }
                Change::Incomplete(name, fingerprint, why) => {
                    tracing::warn!("{}: incomplete: {why}", crate::tree::printable(&name));
                    rows.push(row(name, hex(&fingerprint), EntryState::Incomplete, why));
                }
                Change::Gone(name) => gone.push(name),
            }
        }
        if let Some(present) = present {
            let known = self.ledger.entries(Some(root))?;
            gone.extend(known.into_iter().map(|row| row.name).filter(|name| !present.contains(name)));
        }
        self.ledger.record_entries(&rows, root, &gone)?;
        let (state, settle_max) = (&self.config.state, self.config.limits.settle_max);
        for row in &rows {
            match row.state {
                EntryState::Incomplete => quarantine_entry(state, row, settle_max)?,
                _ => release_entry(state, root, &row.name)?,
            }
        }
        gone.iter().try_for_each(|name| release_entry(state, root, name))?;
        self.withdraw_gone(root, &gone)?;
        if gone.is_empty() { Ok(()) } else { self.forget_ended() }
    }

    /// What was dropped and taken away again is not converted any more.
    fn withdraw_gone(&mut self, root: &str, gone: &[OsString]) -> Result<(), DaemonError> {
        if gone.is_empty() {
            return Ok(());
        }
        for state in [State::Queued, State::Deferred, State::Parked] {
            for job in self.ledger.jobs(Some(state))? {
                let is_gone = job.root == root && gone.iter().any(|name| *name == *job.entry);
                if is_gone && !self.claims.contains_key(&job.id) {
                    self.ledger.withdraw(job.id, "the artifact was removed before it was converted")?;
                }
            }
        }
        Ok(())
    }

    /// Queued jobs whose copy is not there (any more): their entries are claimed once more.
    pub(super) fn reopen_due(&mut self) -> Result<(), DaemonError> {
        let due = self.ledger.due(crate::ledger::now_ms(), self.config.limits.backoff_max, usize::MAX)?;
        for job in due {
            if self.running.contains_key(&job.id) || self.claims.contains_key(&job.id) {
                continue;
            }
            match self.stations.iter_mut().find(|station| station.key == job.root) {
                None => self.ledger.withdraw(job.id, "its folder is no longer watched")?,
                // Not looked at yet, or not to be looked at now: missing is not gone.
                Some(station) if !station.scanned || station.root.state != RootState::Up => {}
                Some(station) => {
                    if !station.root.reopen(OsStr::new(&job.entry)) {
                        self.ledger.withdraw(job.id, "the artifact was removed before it was converted")?;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn start_claims(&mut self) -> Result<(), DaemonError> {
        let now = Instant::now();
        if self.paused.as_ref().is_some_and(|(until, _)| now < *until) {
            return Ok(());
        }
        self.paused = None;
        for at in 0..self.stations.len() {
            while self.claims.len() + self.claiming < self.config.limits.queue_length_max {
                let station = &self.stations[at];
                let (Some(identity), Some(ready)) = (station.root.identity(), station.root.next_ready(now)) else {
                    break;
                };
                if self.is_dealt_with(at, &ready)? {
                    self.stations[at].root.set(&ready.name, ready.fingerprint, Phase::Settled);
                    continue;
                }
                if let Some(why) = self.disk_full(at, ready.bytes)? {
                    tracing::warn!("{why}; nothing is taken until there is space");
                    self.paused = Some((now + DISK_FULL_WAIT, why));
                    return Ok(());
                }
                let station = &mut self.stations[at];
                station.root.set(&ready.name, ready.fingerprint, Phase::Claiming);
                let Ready { name, fingerprint, quiet, .. } = ready;
                let wanted = Wanted { identity, name, fingerprint, quiet };
                let (id, watch, sender) = (station.id, station.root.watch.clone(), self.sender.clone());
                let claims_dir = self.claims_dir();
                self.claiming += 1;
                tokio::task::spawn_blocking(move || {
                    let result = claim(&watch, &wanted, &claims_dir);
                    // The loop has ended: the copy goes with the message.
                    let _ = sender.blocking_send(Message::Claimed { station: id, wanted, result });
                });
            }
        }
        Ok(())
    }

    /// Was this very entry taken before, under the same configuration, and is what came of it still valid?
    fn is_dealt_with(&self, at: usize, ready: &Ready) -> Result<bool, DaemonError> {
        let station = &self.stations[at];
        let Some(row) = self.ledger.entry(&station.key, &ready.name)? else { return Ok(false) };
        if row.fingerprint != hex(&ready.fingerprint) || row.watch_digest != station.wants {
            return Ok(false);
        }
        let Some(job) = row.job_id.map(|id| self.ledger.job(id)).transpose()?.flatten() else { return Ok(false) };
        Ok(match job.state {
            // What a plugin made before it fell into quarantine stays good.
            State::Done => job.plugins_used.is_subset(&self.plugins_found.digests()),
            State::Running | State::Parked | State::Quarantined => true,
            State::Deferred => job.not_before_ms > crate::ledger::now_ms(),
            State::Queued => self.claims.contains_key(&job.id),
            State::Withdrawn | State::Superseded => false,
        })
    }

    /// Full is: less free than the artifact needs several times over, or less than a hundredth.
    fn disk_full(&self, at: usize, bytes: u64) -> Result<Option<String>, DaemonError> {
        let need = bytes.saturating_mul(self.config.limits.free_space_factor);
        let watch = &self.stations[at].root.watch;
        for dir in [&self.config.state, &watch.out] {
            if let Some(free) = short_of_space(dir, need)? {
                return Ok(Some(format!("{}: {free} bytes free, {need} needed", dir.display())));
            }
        }
        Ok(None)
    }

    pub(super) fn claimed(&mut self, id: u64, wanted: &Wanted, result: Claimed) -> Result<(), DaemonError> {
        self.claiming -= 1;
        let Some(station) = self.station(id) else { return Ok(()) };
        let now = Instant::now();
        let again = now + station.root.watch.settle;
        match result {
            Claimed::Taken(claim) => return self.enter(id, wanted, *claim),
            Claimed::Changed => station.root.unsettle(&wanted.name, now),
            Claimed::NotYet(why) => {
                let phase = Phase::Waiting { why: why.clone(), again };
                station.root.set(&wanted.name, wanted.fingerprint, phase);
                self.note_entry(id, wanted, EntryState::Settling, why, None)?;
            }
            Claimed::Refused(refusal) => {
                let reason = format!("{}: {}", refusal.reason, refusal.detail);
                station.root.set(&wanted.name, wanted.fingerprint, Phase::Refused(refusal));
                self.note_entry(id, wanted, EntryState::Refused, reason, None)?;
            }
            Claimed::Failed(error) => {
                let why = format!("{}: {error}", crate::tree::printable(&wanted.name));
                tracing::warn!("{why}");
                let phase = Phase::Waiting { why: why.clone(), again: now + DISK_FULL_WAIT };
                station.root.set(&wanted.name, wanted.fingerprint, phase);
                if error.kind() == io::ErrorKind::StorageFull {
                    self.paused = Some((now + DISK_FULL_WAIT, why));
                }
            }
        }
        Ok(())
    }

    fn note_entry(
        &mut self,
        id: u64,
        wanted: &Wanted,
        state: EntryState,
        reason: String,
        job_id: Option<i64>,
    ) -> Result<(), DaemonError> {
        let Some(station) = self.station(id) else { return Ok(()) };
        let row = EntryRow {
            root: station.key.clone(),
            name: wanted.name.clone(),
            fingerprint: hex(&wanted.fingerprint),
            state,
            reason,
            job_id,
            watch_digest: station.wants.clone(),
        };
        let root = station.key.clone();
        // After a restart the same incomplete entry waits once more; that takes nothing back.
        if state != EntryState::Settling {
            release_entry(&self.config.state, &root, &row.name)?;
        }
        // An entry that waits is claimed again and again, and mostly for the same reason.
        if self.ledger.entry(&root, &row.name)?.as_ref() != Some(&row) {
            self.ledger.record_entries(&[row], &root, &[])?;
        }
        Ok(())
    }

    /// A claimed artifact becomes a job, or turns out to be one already.
    fn enter(&mut self, id: u64, wanted: &Wanted, claim: Claim) -> Result<(), DaemonError> {
        let Some(station) = self.stations.iter().find(|station| station.id == id) else { return Ok(()) };
        let watch = station.root.watch.clone();
        let new = NewJob {
            key: self.job_key(&watch, &claim),
            root: station.key.clone(),
            entry: claim.source.file_name.clone(),
            out: watch.out.clone(),
        };
        let entered = self.ledger.enqueue(&new, &self.plugins_found.digests())?;
        let job_id = match &entered {
            Enqueued::Queued(job_id) => *job_id,
            Enqueued::Known(job) => job.id,
        };
        self.note_entry(id, wanted, EntryState::Taken, String::new(), Some(job_id))?;
        if let Some(station) = self.station(id) {
            station.root.set(&wanted.name, wanted.fingerprint, Phase::Settled);
        }
        match entered {
            Enqueued::Queued(job_id) => {
                self.claims.insert(job_id, claim);
            }
            Enqueued::Known(job) => self.recognised(*job, claim)?,
        }
        Ok(())
    }

    fn job_key(&self, watch: &crate::config::Watch, claim: &Claim) -> JobKey {
        let spec = self.spec(watch, claim, Default::default());
        let golden = claim.source.golden.as_ref().map(|ingredient| ingredient.sha256.as_str());
        let architecture = claim.source.architecture.as_ref().map(|ingredient| ingredient.sha256.as_str());
        JobKey {
            digest: claim.digest.clone(),
            options_digest: spec.options_digest(golden, architecture),
            name: claim.name.clone(),
        }
    }

    fn recognised(&mut self, job: Job, claim: Claim) -> Result<(), DaemonError> {
        match (job.state, &job.bundle) {
            // The same content again: what is there already becomes the latest.
            (State::Done, Some(bundle)) if self.ledger.is_latest(&job)? => {
                if let (Some(parent), Some(short)) = (bundle.parent(), bundle.file_name()) {
                    match self.shop.place.point_latest(parent, &short.to_string_lossy()) {
                        Ok(()) => {}
                        Err(PlaceError::Durability(error)) => return Err(DaemonError::Durability(error.to_string())),
                        // The bundle is there; only its second name is not.
                        Err(PlaceError::Io(error)) => tracing::warn!("{}: latest: {error}", parent.display()),
                    }
                }
            }
            (State::Deferred, _) if job.not_before_ms <= crate::ledger::now_ms() => {
                self.claims.insert(job.id, claim);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Free bytes, when they are too few.
fn short_of_space(dir: &Path, need: u64) -> io::Result<Option<u64>> {
    let Some(dir) = dir.ancestors().find(|dir| dir.is_dir()) else { return Ok(None) };
    let stat = rustix::fs::statvfs(dir)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let hundredth = stat.f_blocks.saturating_mul(stat.f_frsize) / 100;
    Ok((free < need.max(hundredth)).then_some(free))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Workshop;
    use crate::config::{Plugins, RawConfig};
    use crate::job::{Finding, JobReport, JobSpec};
    use crate::lineage::Key;
    use crate::publish::Atomic;
    use crate::runner::{Cancel, EventSink, PluginSet, PluginSource, ReportFuture, Runner};
    use crate::schedule::Options;
    use crate::systemd::Notifier;
    use crate::watch::scan::Identity;
    use recast_plugin_api::diag::Code;
    use std::sync::Arc;

    /// Neither workers nor plugins.
    struct Nobody;

    impl Runner for Nobody {
        fn run(&self, _spec: JobSpec, _events: EventSink, _cancel: Cancel) -> ReportFuture {
            Box::pin(async { JobReport::failed(Finding::error(Code::Bug, "worker", "nobody works here")) })
        }
    }

    impl PluginSource for Nobody {
        fn scan(&self, _config: &Plugins) -> PluginSet {
            PluginSet::default()
        }
    }

    fn daemon(home: &Path) -> Daemon {
        let raw: RawConfig = toml::from_str("[[watch]]\npath = \"drop\"\nout = \"out\"").unwrap();
        let config = raw.resolve(home).unwrap();
        let shop = Workshop {
            runner: Arc::new(Nobody),
            place: Arc::new(Atomic),
            key: Arc::new(Key::open(&config.key).unwrap()),
            state: config.state.clone(),
        };
        let options = Options { until_idle: true, notifier: Notifier::none(), status_sink: Box::new(|_| {}) };
        Daemon::start(config, shop, Arc::new(Nobody), options).unwrap()
    }

    #[test]
    fn a_disk_that_fills_up_under_a_claim_pauses_the_intake_and_nothing_else_does() {
        for (kind, pauses) in [(io::ErrorKind::StorageFull, true), (io::ErrorKind::Other, false)] {
            let home = tempfile::tempdir().unwrap();
            let mut daemon = daemon(home.path());
            daemon.claiming = 1;
            let identity = Identity { device: 0, inode: 0 };
            let wanted = Wanted { identity, name: "m.h5".into(), fingerprint: [0; 32], quiet: Default::default() };
            let station = daemon.stations[0].id;
            daemon.claimed(station, &wanted, Claimed::Failed(kind.into())).unwrap();
            let paused = daemon.paused.as_ref().map(|(until, why)| (*until > Instant::now(), why.contains("m.h5")));
            assert_eq!(paused, pauses.then_some((true, true)), "{kind:?}");
        }
    }
}
