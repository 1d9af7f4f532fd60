//! A watched folder and the means of watching it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

use super::SCAN_GAP_MIN;
use crate::config::{Config, Watch, WatchMode};
use crate::digest;
use crate::watch::Root;
use crate::watch::wake::{Signal, Wake, is_remote};

/// Waits between tries to look at a folder that is not there, and to have its events.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);

pub struct Station {
    pub id: u64,
    /// The folder's path, as the ledger knows it.
    pub key: String,
    pub root: Root,
    /// Digest of what the configuration wants done with this folder's entries.
    pub wants: String,
    pub scanning: bool,
    /// Has a scan succeeded since the start?
    pub scanned: bool,
    pub failures: u32,
    signal: Arc<Signal>,
    wake: Option<Wake>,
    wake_again: Instant,
    wake_failures: u32,
    last_scan: Option<Instant>,
    created: Instant,
    rescan: Duration,
    /// On a file system whose events don't tell of everybody's changes.
    remote: bool,
}

/// What decides the result of a job apart from the artifact and the plugins.
pub fn wants(config: &Config, watch: &Watch) -> String {
    let canonical = serde_json::json!({
        "targets": watch.targets,
        "verify": config.verify.spec(watch.policy),
        "winners": config.plugins.winners,
        "out": watch.out,
        "recast": env!("CARGO_PKG_VERSION"),
    });
    digest::of_bytes(canonical.to_string().as_bytes())
}

fn doubling(failures: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX)).min(RETRY_MAX)
}

impl Station {
    pub fn new(id: u64, config: &Config, watch: &Watch) -> Station {
        Station {
            id,
            key: watch.path.to_string_lossy().into_owned(),
            root: Root::new(watch.clone(), config.limits.settle_max),
            wants: wants(config, watch),
            scanning: false,
            scanned: false,
            failures: 0,
            signal: Arc::default(),
            wake: None,
            wake_again: Instant::now(),
            wake_failures: 0,
            last_scan: None,
            created: Instant::now(),
            rescan: config.limits.rescan,
            remote: false,
        }
    }

    /// Takes over new settings for the same folder. What was dealt with under the old ones is judged again.
    pub fn update(&mut self, config: &Config, watch: &Watch) {
        self.root.set_watch(watch.clone(), config.limits.settle_max);
        (self.wants, self.rescan) = (wants(config, watch), config.limits.rescan);
        self.signal.mark_dirty();
        self.root.reopen_all();
    }

    /// To be called when it is another directory than before.
    pub fn look_at_file_system(&mut self) {
        self.remote = is_remote(&self.root.watch.path);
    }

    /// How often to look when nothing says so: without events, only looking tells.
    fn every(&self) -> Duration {
        let deaf = self.remote || self.wake.is_none();
        if deaf { self.root.watch.poll.min(self.rescan) } else { self.rescan }
    }

    /// Is it time to look?
    pub fn is_due(&self, now: Instant) -> bool {
        !self.scanning && self.next_scan().is_some_and(|at| at <= now)
    }

    /// When to look next; None while it is being looked at.
    pub fn next_scan(&self) -> Option<Instant> {
        if self.scanning {
            return None;
        }
        let Some(last) = self.last_scan else { return Some(self.created) };
        if self.failures > 0 {
            return Some(last + doubling(self.failures - 1).min(self.every()));
        }
        let regular = last + self.every();
        let by_itself = self.root.next_deadline().map_or(regular, |deadline| deadline.min(regular));
        let hinted = if self.signal.is_dirty() { by_itself.min(last) } else { by_itself };
        Some(hinted.max(last + SCAN_GAP_MIN))
    }

    pub fn begin_scan(&mut self) {
        self.scanning = true;
        // Before the scan: what happens while it runs makes it dirty again.
        self.signal.take_dirty();
    }

    pub fn end_scan(&mut self, at: Instant, worked: bool) {
        (self.scanning, self.last_scan) = (false, Some(at));
        self.failures = if worked { 0 } else { self.failures.saturating_add(1) };
        self.scanned |= worked;
    }

    /// Keeps the event watch alive: after an error, or when the folder is another one now, it is made anew.
    pub fn keep_awake(&mut self, bell: &Arc<Notify>, moved: bool) {
        if self.root.watch.mode == WatchMode::Poll {
            self.wake = None;
            return;
        }
        if self.signal.take_failed() || moved {
            self.wake = None;
        }
        let now = Instant::now();
        if self.wake.is_some() || now < self.wake_again {
            return;
        }
        match Wake::new(&self.root.watch.path, self.signal.clone(), bell.clone()) {
            Ok(wake) => {
                self.wake = Some(wake);
                self.wake_failures = 0;
                // What happened while nobody listened.
                self.signal.mark_dirty();
            }
            Err(error) => {
                if self.wake_failures == 0 {
                    let every = self.every().as_secs_f64();
                    tracing::warn!("{}: no events ({error}); looking every {every} s", self.key);
                }
                self.wake_failures = self.wake_failures.saturating_add(1);
                self.wake_again = now + doubling(self.wake_failures);
            }
        }
    }

    pub fn is_at(&self, path: &Path) -> bool {
        self.root.watch.path == path
    }
}
