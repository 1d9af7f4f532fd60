//! What the daemon needs from the worker side and from the plugin host: two small traits, so that everything above them
//! can be tested with others in their place.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;

use crate::config;
use crate::digest;
use crate::job::{Finding, JobReport, JobSpec, PluginPin};

/// What a worker says while it works.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// `done` goes from 0 to 1 within the stage.
    Progress { stage: String, done: f64 },
}

pub type EventSink = Box<dyn FnMut(Event) + Send>;
pub type ReportFuture = Pin<Box<dyn Future<Output = JobReport> + Send>>;

/// Runs one job in a process of its own. Never fails: a worker that dies is a report that says how.
pub trait Runner: Send + Sync {
    fn run(&self, spec: JobSpec, events: EventSink, cancel: Cancel) -> ReportFuture;
}

/// Tells a running job to stop; dropping the sender does not.
#[derive(Debug, Clone)]
pub struct Cancel(watch::Receiver<bool>);

#[derive(Debug, Clone)]
pub struct Canceller(Arc<watch::Sender<bool>>);

pub fn cancellation() -> (Canceller, Cancel) {
    let (sender, receiver) = watch::channel(false);
    (Canceller(Arc::new(sender)), Cancel(receiver))
}

impl Canceller {
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl Cancel {
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when the job is to stop; never, when nobody is left to say so.
    pub async fn cancelled(&mut self) {
        if self.0.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A plugin that may be loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub id: String,
    pub pin: PluginPin,
    /// What it claims, as a parked job names what it waits for: `layer:my_pkg>MyLayer`, `format:npz`, `target:onnx`.
    pub claims: BTreeSet<String>,
}

/// The plugins that may be loaded now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PluginSet {
    pub members: Vec<Member>,
    /// Files that were refused, and why.
    pub findings: Vec<Finding>,
}

impl PluginSet {
    pub fn pins(&self) -> Vec<PluginPin> {
        self.members.iter().map(|member| member.pin.clone()).collect()
    }

    pub fn claims(&self) -> BTreeSet<String> {
        self.members.iter().flat_map(|member| member.claims.iter().cloned()).collect()
    }

    pub fn digests(&self) -> BTreeSet<String> {
        self.members.iter().map(|member| member.pin.sha256.clone()).collect()
    }

    /// Changes when a plugin comes, goes or is replaced.
    pub fn digest(&self) -> String {
        let all: Vec<String> = self.digests().into_iter().collect();
        digest::of_bytes(all.join("\n").as_bytes())
    }
}

/// Finds plugins. Cheap enough to be asked at every rescan: unchanged files are not read again.
pub trait PluginSource: Send + Sync {
    fn scan(&self, config: &config::Plugins) -> PluginSet;

    /// For a process that asks once: `kept` is a file that holds what the last one saw, and then what this one did.
    fn scan_kept(&self, config: &config::Plugins, _kept: &Path) -> PluginSet {
        self.scan(config)
    }
}
