//! Workers and plugins as the scheduler sees them.

use super::parent::{WorkerCommand, run_job};
use crate::config;
use crate::host::{Discovery, Events, Finder, Found, Trust, claims, search_path};
use crate::job::{Finding, JobReport, JobSpec};
use crate::runner::{Cancel, Event, EventSink, Member, PluginSet, PluginSource, ReportFuture, Runner};
use recast_plugin_api::diag::Code;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Runs each job in a worker process.
#[derive(Debug, Clone)]
pub struct Processes {
    command: WorkerCommand,
}

impl Processes {
    pub fn new() -> Processes {
        Processes { command: WorkerCommand::this_program() }
    }

    pub fn of(command: WorkerCommand) -> Processes {
        Processes { command }
    }
}

impl Default for Processes {
    fn default() -> Processes {
        Processes::new()
    }
}

impl Runner for Processes {
    fn run(&self, spec: JobSpec, events: EventSink, cancel: Cancel) -> ReportFuture {
        let command = self.command.clone();
        let watcher = Watcher { told: Mutex::new(Told { events, stage: String::new() }), cancel };
        Box::pin(async move {
            // One thread for the whole job: the kernel ties the worker's life to it.
            let job = tokio::task::spawn_blocking(move || run_job(&command, &spec, &watcher));
            job.await.unwrap_or_else(|e| JobReport::failed(Finding::error(Code::Bug, "worker", e.to_string())))
        })
    }
}

struct Watcher {
    told: Mutex<Told>,
    cancel: Cancel,
}

struct Told {
    events: EventSink,
    stage: String,
}

impl Watcher {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn tell(&mut self, done: f64) {
        let stage = self.stage.clone();
        (self.events)(Event::Progress { stage, done });
    }
}

impl Events for Watcher {
    fn stage(&self, name: &str) {
        let mut told = self.told();
        told.stage = name.into();
        told.tell(0.0);
    }

    fn progress(&self, done: u64, total: u64, _what: &str) {
        if total > 0 {
            self.told().tell((done as f64 / total as f64).min(1.0));
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

/// Finds plugins, and remembers files that did not change.
#[derive(Default)]
pub struct Scanner {
    finder: Mutex<Finder>,
}

impl Scanner {
    pub fn discover(&self, config: &config::Plugins) -> Discovery {
        let trust = Trust { allow: config.allow.clone(), ..Trust::default() };
        self.finder().discover(&search_path(&config.path), &trust)
    }

    fn finder(&self) -> MutexGuard<'_, Finder> {
        self.finder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn member(found: &Found) -> Member {
    Member { id: found.manifest.id.clone(), pin: found.pin(), claims: claims(&found.manifest).into_iter().collect() }
}

impl PluginSource for Scanner {
    fn scan(&self, config: &config::Plugins) -> PluginSet {
        let discovery = self.discover(config);
        PluginSet {
            members: discovery.found.iter().map(member).collect(),
            findings: discovery.refused.iter().map(|refusal| Finding::from(&refusal.diag())).collect(),
        }
    }

    fn scan_kept(&self, config: &config::Plugins, kept: &Path) -> PluginSet {
        self.finder().recall(kept);
        let found = self.scan(config);
        let finder = self.finder();
        // Without it, the next process takes as long as this one.
        if let Some(Err(error)) = finder.has_news().then(|| finder.keep(kept)) {
            tracing::debug!("{}: {error}", kept.display());
        }
        found
    }
}
