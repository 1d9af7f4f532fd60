//! The daemon's one loop. Everything that takes time (scans, claims, jobs) runs elsewhere and comes back as a message;
//! the loop only decides, and writes what it decides into the ledger before it acts on it.

mod intake;
mod outcome;
mod plugins;
mod spool;
mod station;
mod summary;

pub use spool::{Request, Status, StatusRoot, ask, read_status};
pub use summary::{Summary, summarize};

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

use crate::attempt::{self, Attempt, Outcome, Workshop};
use crate::config::Config;
use crate::job::{JobSpec, exit};
use crate::ledger::{Job, Ledger, LedgerError, Opened, State};
use crate::lineage::{LineageError, Store};
use crate::publish::{Area, area};
use crate::runner::{Canceller, Event, PluginSet, PluginSource, cancellation};
use crate::systemd::Notifier;
use crate::watch::claim::Wanted;
use crate::watch::{Claim, Claimed, RootState, Scan, claim};
use station::Station;

/// The loop wakes at least this often, for requests, the watchdog and the status.
const TICK: Duration = Duration::from_millis(500);

/// Two scans of one folder are at least this far apart, however many events there are.
const SCAN_GAP_MIN: Duration = Duration::from_millis(50);

/// After a full disk: how long before the next look.
const DISK_FULL_WAIT: Duration = Duration::from_secs(5);

/// How long stopped workers may take to be gone.
const CANCEL_GRACE: Duration = Duration::from_secs(4);

/// Messages on their way to the loop. Senders wait when it is full.
const MESSAGES_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Lineage(#[from] LineageError),
    #[error("{0}")]
    Io(#[from] io::Error),
    /// An fsync failed: what the disk holds is unknown.
    #[error("{0}; ending at once, the next start recovers")]
    Durability(String),
}

impl DaemonError {
    pub fn exit_code(&self) -> i32 {
        exit::IO
    }
}

enum Message {
    Scanned { station: u64, result: io::Result<Scan>, span: crate::watch::root::Span },
    Claimed { station: u64, wanted: Wanted, result: Claimed },
    Progress { job: i64, stage: String, done: f64 },
    Finished { job: i64, outcome: Box<Outcome> },
    Plugins(PluginSet),
}

/// What comes from outside while the loop runs.
pub enum Control {
    /// Finish or hand back what runs, then end.
    Stop,
    /// A checked configuration.
    Reload(Box<Config>),
}

struct Running {
    canceller: Canceller,
    name: String,
    out: PathBuf,
    entry: String,
    stage: String,
    done: f64,
}

/// Called with a line for people whenever what the daemon does has changed.
pub type StatusSink = Box<dyn FnMut(&str) + Send>;

pub struct Daemon {
    config: Config,
    ledger: Ledger,
    shop: Arc<Workshop>,
    plugin_source: Arc<dyn PluginSource>,
    /// What was found, and what of it jobs may use: all but what is in quarantine.
    plugins_found: PluginSet,
    plugins: PluginSet,
    plugins_at: Instant,
    plugins_asked: bool,
    stations: Vec<Station>,
    next_station: u64,
    areas: HashMap<PathBuf, Area>,
    claims: HashMap<i64, Claim>,
    claiming: usize,
    running: HashMap<i64, Running>,
    /// Intake waits for disk space until then.
    paused: Option<(Instant, String)>,
    sender: mpsc::Sender<Message>,
    receiver: mpsc::Receiver<Message>,
    bell: Arc<Notify>,
    until_idle: bool,
    notifier: Notifier,
    status_sink: StatusSink,
    status_shown: String,
}

pub struct Options {
    pub until_idle: bool,
    pub notifier: Notifier,
    pub status_sink: StatusSink,
}

impl Daemon {
    /// Takes the state directory, recovers from whatever happened before, and looks at nothing yet.
    pub fn start(
        config: Config,
        shop: Workshop,
        plugin_source: Arc<dyn PluginSource>,
        options: Options,
    ) -> Result<Daemon, DaemonError> {
        let (ledger, opened) = Ledger::open(&config.state)?;
        let plugins = plugin_source.scan(&config.plugins);
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        let mut daemon = Daemon {
            config,
            ledger,
            shop: Arc::new(shop),
            plugin_source,
            plugins_found: plugins.clone(),
            plugins,
            plugins_at: Instant::now(),
            plugins_asked: false,
            stations: Vec::new(),
            next_station: 0,
            areas: HashMap::new(),
            claims: HashMap::new(),
            claiming: 0,
            running: HashMap::new(),
            paused: None,
            sender,
            receiver,
            bell: Arc::new(Notify::new()),
            until_idle: options.until_idle,
            notifier: options.notifier,
            status_sink: options.status_sink,
            status_shown: String::new(),
        };
        daemon.recover(&opened)?;
        daemon.take_plugins(daemon.plugins_found.clone())?;
        daemon.set_stations();
        Ok(daemon)
    }

    fn recover(&mut self, opened: &Opened) -> Result<(), DaemonError> {
        if let Opened::Replaced(aside) = opened {
            tracing::warn!("the ledger was damaged; it is now {}, and rebuilt from the outputs", aside.display());
        }
        let interrupted = self.ledger.recover()?;
        if interrupted > 0 {
            tracing::info!(interrupted, "jobs were running when the last daemon ended; queued again");
        }
        claim::purge(&self.claims_dir())?;
        let index_is_new = !Store::exists(&self.config.state);
        let mut index = Store::open(&self.config.state)?;
        let outs: BTreeSet<PathBuf> = self.config.watches.iter().map(|watch| watch.out.clone()).collect();
        for out in outs {
            area::purge(&out)?;
            let reconciled = self.ledger.reconcile(&out)?;
            if reconciled != Default::default() {
                tracing::info!(?reconciled, "{}: the ledger was brought in line with the outputs", out.display());
            }
            if index_is_new && out.is_dir() {
                index.add_tree(&out)?;
            }
        }
        self.forget_ended()
    }

    fn claims_dir(&self) -> PathBuf {
        self.config.state.join("claims")
    }

    /// Runs until told to stop, or until there is nothing left to do.
    pub async fn run(&mut self, mut control: mpsc::Receiver<Control>) -> Result<(), DaemonError> {
        self.notifier.ready();
        loop {
            self.step()?;
            if self.until_idle && self.is_idle()? {
                return Ok(());
            }
            let wait = self.wait_time()?;
            let bell = self.bell.clone();
            tokio::select! {
                Some(message) = self.receiver.recv() => self.take(message)?,
                Some(order) = control.recv() => match order {
                    Control::Stop => return self.drain().await,
                    Control::Reload(config) => self.reload(*config)?,
                },
                () = bell.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            // What else has arrived is taken in before anything is decided.
            while let Ok(message) = self.receiver.try_recv() {
                self.take(message)?;
            }
        }
    }

    fn step(&mut self) -> Result<(), DaemonError> {
        self.answer_requests()?;
        self.look_for_plugins();
        self.start_scans();
        self.reopen_due()?;
        self.start_claims()?;
        self.start_jobs()?;
        self.tell()?;
        Ok(())
    }

    fn take(&mut self, message: Message) -> Result<(), DaemonError> {
        match message {
            Message::Scanned { station, result, span } => self.scanned(station, result, span),
            Message::Claimed { station, wanted, result } => self.claimed(station, &wanted, result),
            Message::Progress { job, stage, done } => {
                if let Some(running) = self.running.get_mut(&job) {
                    (running.stage, running.done) = (stage, done);
                }
                Ok(())
            }
            Message::Finished { job, outcome } => self.finished(job, *outcome),
            Message::Plugins(found) => {
                self.plugins_asked = false;
                if found.digest() != self.plugins_found.digest() { self.take_plugins(found) } else { Ok(()) }
            }
        }
    }

    /// Starts what is claimed, in the order in which it was dropped; one at a time for each name, so that the newest
    /// ends as the latest.
    fn start_jobs(&mut self) -> Result<(), DaemonError> {
        if self.running.len() >= self.config.limits.jobs_in_flight_max || self.claims.is_empty() {
            return Ok(());
        }
        let mut waiting = Vec::new();
        for id in self.claims.keys() {
            waiting.extend(self.ledger.job(*id)?);
        }
        waiting.sort_by_key(|job| job.seq);
        for job in waiting {
            if self.running.len() >= self.config.limits.jobs_in_flight_max {
                break;
            }
            let same = |running: &Running| running.name == job.key.name && running.out == job.out;
            if !self.running.values().any(same) {
                self.start_job(&job)?;
            }
        }
        Ok(())
    }

    fn start_job(&mut self, job: &Job) -> Result<(), DaemonError> {
        let Some(claim) = self.claims.remove(&job.id) else { return Ok(()) };
        let Some(watch) = self.watch_of(job) else {
            return Ok(self.ledger.withdraw(job.id, "its folder is no longer watched")?);
        };
        let staging = match self.staging(&job.out) {
            Ok(staging) => staging,
            Err(error) => return self.postpone(job, &format!("{}: {error}", job.out.display())),
        };
        let spec = self.spec(&watch, &claim, staging);
        self.ledger.begin(job.id, &self.plugins.digest())?;
        let is_latest = self.ledger.is_latest(job)?;
        let (canceller, cancel) = cancellation();
        let running = Running {
            canceller,
            name: job.key.name.clone(),
            out: job.out.clone(),
            entry: job.entry.clone(),
            stage: String::new(),
            done: 0.0,
        };
        self.running.insert(job.id, running);
        let digest = claim.digest.clone();
        let attempt = Attempt {
            spec,
            source: claim.source.clone(),
            out: job.out.clone(),
            is_latest,
            recheck: Box::new(move |report| outcome::same_artifact(report, &digest)),
        };
        let (shop, id) = (self.shop.clone(), job.id);
        let (progress, finished) = (self.sender.clone(), self.sender.clone());
        let events = Box::new(move |event| {
            let Event::Progress { stage, done } = event;
            // Progress that finds the queue full is not worth waiting for.
            let _ = progress.try_send(Message::Progress { job: id, stage, done });
        });
        tokio::spawn(async move {
            let outcome = attempt::run(&shop, attempt, events, cancel).await;
            drop(claim);
            // The loop has ended: the next start finds the bundle, or runs the job again.
            let _ = finished.send(Message::Finished { job: id, outcome: Box::new(outcome) }).await;
        });
        Ok(())
    }

    fn staging(&mut self, out: &Path) -> io::Result<PathBuf> {
        if !self.areas.contains_key(out) {
            self.areas.insert(out.to_owned(), Area::open(out)?);
        }
        self.areas[out].job_dir()
    }

    fn spec(&self, watch: &crate::config::Watch, claim: &Claim, staging: PathBuf) -> JobSpec {
        JobSpec {
            name: claim.name.clone(),
            artifact: claim.artifact.clone(),
            architecture: claim.architecture.clone(),
            golden: claim.golden.clone(),
            digest: Some(claim.digest.clone()),
            targets: watch.targets.clone(),
            staging,
            verify: self.config.verify.spec(watch.policy),
            plugins: self.plugins.pins(),
            winners: self.config.plugins.winners.clone(),
            expressions: crate::config::expressions_of(&self.config.lambda, &claim.name),
            sources: crate::config::sources_of(&self.config.sources, &claim.name),
            limits: self.config.limits.worker.clone(),
            threads: self.config.limits.worker_threads,
            inspect: false,
        }
    }

    fn watch_of(&self, job: &Job) -> Option<crate::config::Watch> {
        let station = self.stations.iter().find(|station| station.key == job.root)?;
        Some(station.root.watch.clone())
    }

    fn is_idle(&self) -> Result<bool, DaemonError> {
        let now = Instant::now();
        let moving = !self.running.is_empty() || !self.claims.is_empty() || self.claiming > 0 || self.paused.is_some();
        let busy = |station: &Station| station.scanning || station.root.is_busy(now);
        if moving || self.stations.iter().any(busy) {
            return Ok(false);
        }
        let reachable = |job: &Job| {
            let station = self.stations.iter().find(|station| station.key == job.root);
            station.is_some_and(|station| station.root.state == RootState::Up)
        };
        let mut pending = self.ledger.jobs(Some(State::Queued))?;
        pending.extend(self.ledger.jobs(Some(State::Deferred))?);
        Ok(!pending.iter().any(reachable))
    }

    /// How long nothing can happen by itself.
    fn wait_time(&self) -> Result<Duration, DaemonError> {
        let now = Instant::now();
        let scans = self.stations.iter().filter_map(|station| station.next_scan());
        let resume = self.paused.iter().map(|(at, _)| *at);
        let next = scans.chain(resume).min().map_or(TICK, |at| at.saturating_duration_since(now));
        Ok(next.clamp(Duration::from_millis(1), TICK))
    }

    fn reload(&mut self, config: Config) -> Result<(), DaemonError> {
        self.notifier.reloading();
        if config.state != self.config.state || config.key != self.config.key {
            tracing::warn!("another state directory or key takes a restart; nothing was changed");
            self.notifier.ready();
            return Ok(());
        }
        tracing::info!("the configuration was read again");
        self.config = config;
        self.set_stations();
        let found = self.plugin_source.scan(&self.config.plugins);
        self.take_plugins(found)?;
        self.notifier.ready();
        Ok(())
    }

    /// Takes nothing new; what runs may finish, and what does not in time is stopped and queued again.
    async fn drain(&mut self) -> Result<(), DaemonError> {
        self.notifier.stopping(self.config.limits.drain + CANCEL_GRACE);
        self.notifier.status("stopping");
        let soft = tokio::time::Instant::now() + self.config.limits.drain;
        self.finish_running(soft).await?;
        for running in self.running.values() {
            running.canceller.cancel();
        }
        self.finish_running(tokio::time::Instant::now() + CANCEL_GRACE).await?;
        let left: Vec<i64> = self.running.drain().map(|(id, _)| id).collect();
        for id in left {
            self.ledger.interrupt(id)?;
        }
        self.claims.clear();
        self.areas.clear();
        Ok(())
    }

    async fn finish_running(&mut self, until: tokio::time::Instant) -> Result<(), DaemonError> {
        while !self.running.is_empty() && tokio::time::Instant::now() < until {
            self.notifier.alive();
            let tick = until.min(tokio::time::Instant::now() + TICK);
            // What else arrives is of no interest any more: a claim is dropped with its copy.
            if let Ok(Some(Message::Finished { job, outcome })) =
                tokio::time::timeout_at(tick, self.receiver.recv()).await
            {
                self.finished(job, *outcome)?;
            }
        }
        Ok(())
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Folders that can't be looked at now, and why.
    pub fn roots_down(&self) -> Vec<(PathBuf, String)> {
        let down = |station: &Station| match &station.root.state {
            RootState::Down(why) => Some((station.root.watch.path.clone(), why.clone())),
            RootState::New | RootState::Up => None,
        };
        self.stations.iter().filter_map(down).collect()
    }

    /// Entries that are quiet but incomplete, and why.
    pub fn incomplete(&self) -> Vec<(PathBuf, OsString, String)> {
        let of = |station: &Station| -> Vec<(PathBuf, OsString, String)> {
            let path = &station.root.watch.path;
            station.root.waiting().map(|(name, why)| (path.clone(), name.clone(), why.to_owned())).collect()
        };
        self.stations.iter().flat_map(of).collect()
    }
}
