//! One drop folder over time: which entries are still moving, which are ready, which were dealt with. No I/O here:
//! scans and claims come in as values, with the time at which they were made.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use super::scan::{Fingerprint, Identity, Look, Scan};
use crate::config::Watch;
use crate::tree::Refusal;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootState {
    /// Not looked at yet.
    New,
    Up,
    /// It can't be looked at. Missing is not empty: nothing is concluded about its entries.
    Down(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    Settling,
    /// Quiet, but not complete; looked at again after a while.
    Waiting {
        why: String,
        again: Instant,
    },
    Ready,
    Claiming,
    /// Nothing to do until it changes.
    Settled,
    Refused(Refusal),
    Orphan,
}

#[derive(Debug, Clone)]
struct Tracked {
    fingerprint: Fingerprint,
    /// When this fingerprint was first seen.
    since: Instant,
    bytes: u64,
    phase: Phase,
}

/// An entry that may be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    pub name: OsString,
    pub fingerprint: Fingerprint,
    /// How long it has looked like that.
    pub quiet: Duration,
    pub bytes: u64,
}

/// When a scan was made: what it saw first, was there at its end; what it saw again, was so from its beginning.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub began: Instant,
    pub ended: Instant,
}

/// What is worth writing down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Seen for the first time, or changed.
    Settling(OsString),
    Refused(OsString, Refusal),
    Orphan(OsString),
    /// Incomplete for longer than is allowed.
    Incomplete(OsString, Fingerprint, String),
    Gone(OsString),
}

pub struct Root {
    pub watch: Watch,
    pub state: RootState,
    identity: Option<Identity>,
    entries: BTreeMap<OsString, Tracked>,
    settle_max: Duration,
}

/// Written extents that a format check can't judge get this many times the settle time.
pub const HOLE_PATIENCE: u32 = 10;

/// No root entry starts with this; stands for an entry that could not be looked at in peace.
const UNKNOWN: Fingerprint = [0; 32];

impl Root {
    pub fn new(watch: Watch, settle_max: Duration) -> Root {
        Root { watch, state: RootState::New, identity: None, entries: BTreeMap::new(), settle_max }
    }

    pub fn set_watch(&mut self, watch: Watch, settle_max: Duration) {
        (self.watch, self.settle_max) = (watch, settle_max);
    }

    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The folder could not be looked at.
    pub fn down(&mut self, why: String) {
        self.state = RootState::Down(why);
    }

    /// Takes in a scan. An entry becomes ready when two scans at least the settle time apart saw the same fingerprint.
    pub fn observe(&mut self, scan: Scan, span: Span) -> Vec<Change> {
        if self.identity.is_some_and(|known| known != scan.identity) {
            // Another directory under the same path: nothing that was seen in the old one counts here.
            self.entries.retain(|_, tracked| tracked.phase == Phase::Claiming);
        }
        self.identity = Some(scan.identity);
        self.state = RootState::Up;
        let mut changes = Vec::new();
        let mut seen: BTreeMap<OsString, Tracked> = BTreeMap::new();
        for (name, look) in scan.entries {
            let before = self.entries.remove(&name);
            let after = self.judge(&name, look, before, span, &mut changes);
            seen.insert(name, after);
        }
        let vanished = std::mem::replace(&mut self.entries, seen);
        changes.extend(vanished.into_keys().map(Change::Gone));
        changes
    }

    fn judge(
        &self,
        name: &OsStr,
        look: Look,
        before: Option<Tracked>,
        span: Span,
        changes: &mut Vec<Change>,
    ) -> Tracked {
        let fresh = |phase: Phase, fingerprint: Fingerprint, bytes: u64| Tracked {
            fingerprint,
            since: span.ended,
            bytes,
            phase,
        };
        let artifact = match look {
            Look::Artifact(artifact) => artifact,
            Look::Changing => return fresh(Phase::Settling, UNKNOWN, 0),
            Look::Refused(refusal) => {
                let phase = Phase::Refused(refusal.clone());
                if before.is_none_or(|tracked| tracked.phase != phase) {
                    changes.push(Change::Refused(name.to_owned(), refusal));
                }
                return fresh(phase, UNKNOWN, 0);
            }
            Look::Orphan => {
                if before.is_none_or(|tracked| tracked.phase != Phase::Orphan) {
                    changes.push(Change::Orphan(name.to_owned()));
                }
                return fresh(Phase::Orphan, UNKNOWN, 0);
            }
        };
        let same = before.filter(|tracked| tracked.fingerprint == artifact.fingerprint);
        let Some(mut tracked) = same else {
            changes.push(Change::Settling(name.to_owned()));
            return fresh(Phase::Settling, artifact.fingerprint, artifact.survey.bytes);
        };
        let quiet = span.began.saturating_duration_since(tracked.since);
        match &tracked.phase {
            Phase::Settling if quiet >= self.watch.settle => tracked.phase = Phase::Ready,
            Phase::Waiting { why, .. } if quiet >= self.settle_max => {
                changes.push(Change::Incomplete(name.to_owned(), tracked.fingerprint, why.clone()));
                tracked.phase = Phase::Settled;
            }
            Phase::Waiting { again, .. } if span.ended >= *again => tracked.phase = Phase::Ready,
            _ => {}
        }
        tracked
    }

    pub fn next_ready(&self, now: Instant) -> Option<Ready> {
        let (name, tracked) = self.entries.iter().find(|(_, tracked)| tracked.phase == Phase::Ready)?;
        Some(Ready {
            name: name.clone(),
            fingerprint: tracked.fingerprint,
            quiet: now.saturating_duration_since(tracked.since),
            bytes: tracked.bytes,
        })
    }

    /// Sets what has become of an entry, unless it changed meanwhile.
    pub fn set(&mut self, name: &OsStr, fingerprint: Fingerprint, phase: Phase) {
        if let Some(tracked) = self.entries.get_mut(name)
            && tracked.fingerprint == fingerprint
        {
            tracked.phase = phase;
        }
    }

    /// Starts the settle time of an entry anew.
    pub fn unsettle(&mut self, name: &OsStr, now: Instant) {
        if let Some(tracked) = self.entries.get_mut(name) {
            tracked.since = now;
            tracked.phase = Phase::Settling;
        }
    }

    /// Makes a settled entry claimable once more. False when there is no such entry.
    pub fn reopen(&mut self, name: &OsStr) -> bool {
        match self.entries.get_mut(name) {
            Some(tracked) => {
                if tracked.phase == Phase::Settled {
                    tracked.phase = Phase::Ready;
                }
                true
            }
            None => false,
        }
    }

    /// After a change of the configuration or of the plugins: everything that was dealt with is judged again.
    pub fn reopen_all(&mut self) {
        for tracked in self.entries.values_mut() {
            if tracked.phase == Phase::Settled {
                tracked.phase = Phase::Ready;
            }
        }
    }

    /// Is anything on its way? What stays incomplete for long is not: nobody can say when it goes on.
    pub fn is_busy(&self, now: Instant) -> bool {
        let patience = self.watch.settle * (HOLE_PATIENCE + 2);
        let busy = |tracked: &Tracked| match tracked.phase {
            Phase::Settling | Phase::Ready | Phase::Claiming => true,
            Phase::Waiting { .. } => now.saturating_duration_since(tracked.since) < patience,
            Phase::Settled | Phase::Refused(_) | Phase::Orphan => false,
        };
        self.state == RootState::New || self.entries.values().any(busy)
    }

    pub fn contains(&self, name: &OsStr) -> bool {
        self.entries.contains_key(name)
    }

    /// When the next scan can change anything by itself.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadline = |tracked: &Tracked| match &tracked.phase {
            Phase::Settling => Some(tracked.since + self.watch.settle),
            Phase::Waiting { again, .. } => Some(*again),
            Phase::Ready | Phase::Claiming | Phase::Settled | Phase::Refused(_) | Phase::Orphan => None,
        };
        self.entries.values().filter_map(deadline).min()
    }

    /// How many entries are in which phase, and the incomplete ones with the reason.
    pub fn waiting(&self) -> impl Iterator<Item = (&OsString, &str)> {
        self.entries.iter().filter_map(|(name, tracked)| match &tracked.phase {
            Phase::Waiting { why, .. } => Some((name, why.as_str())),
            _ => None,
        })
    }

    /// Entries on their way to a claim.
    pub fn moving(&self) -> usize {
        let moving = |tracked: &&Tracked| matches!(tracked.phase, Phase::Settling | Phase::Ready | Phase::Claiming);
        self.entries.values().filter(moving).count()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
