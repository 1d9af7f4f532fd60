//! One attempt at one job, from a spec to a published bundle: the same for `convert` and for the daemon.

use recast_plugin_api::diag::Code;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::job::{Finding, JobKey, JobReport, JobSpec, Status};
use crate::lineage::statement::Ingredient;
use crate::lineage::{self, Key, LineageError, Store, stamp};
use crate::publish::{self, Delivery, Place, PublishError, Published};
use crate::runner::{Cancel, EventSink, Runner};

/// What does not change from job to job.
pub struct Workshop {
    pub runner: Arc<dyn Runner>,
    pub place: Arc<dyn Place>,
    pub key: Arc<Key>,
    /// Where the index of records lies.
    pub state: PathBuf,
}

/// An artifact and all that belongs to it, ready to be read.
#[derive(Debug, Clone)]
pub struct Source {
    /// The artifact's file name, as the record and the report call it.
    pub file_name: String,
    pub bytes: u64,
    pub golden: Option<Ingredient>,
    pub architecture: Option<Ingredient>,
    /// A record that lies beside the artifact.
    pub record: Option<PathBuf>,
}

#[derive(Debug)]
pub struct Outcome {
    pub report: JobReport,
    pub published: Option<Published>,
    /// The process must end: what the disk holds is unknown (see `PublishError::Durability`).
    pub fatal: Option<String>,
}

/// Says whether the artifact is still what it was, after the worker has read it.
pub type Recheck = Box<dyn FnOnce(&JobReport) -> Result<(), Finding> + Send>;

pub struct Attempt {
    pub spec: JobSpec,
    pub source: Source,
    pub out: PathBuf,
    /// False when a newer version of the same name is published already.
    pub is_latest: bool,
    pub recheck: Recheck,
}

impl Attempt {
    pub fn options_digest(&self) -> String {
        let sha256 = |ingredient: &Option<Ingredient>| ingredient.as_ref().map(|i| i.sha256.clone());
        self.spec.options_digest(sha256(&self.source.golden).as_deref(), sha256(&self.source.architecture).as_deref())
    }
}

/// Runs the job and publishes what came of it. The staging directory is gone afterwards.
pub async fn run(shop: &Workshop, attempt: Attempt, events: EventSink, cancel: Cancel) -> Outcome {
    let started_ms = stamp::unix_ms(SystemTime::now());
    let staging = attempt.spec.staging.clone();
    let report = shop.runner.run(attempt.spec.clone(), events, cancel).await;
    let (place, key, state) = (shop.place.clone(), shop.key.clone(), shop.state.clone());
    let finish = move || finish(attempt, report, started_ms, &*place, &key, &state);
    let outcome = match tokio::task::spawn_blocking(finish).await {
        Ok(outcome) => outcome,
        Err(error) => failed(Finding::error(Code::Bug, "publish", error.to_string())),
    };
    remove_staging(&staging);
    outcome
}

fn remove_staging(staging: &Path) {
    match fs::remove_dir_all(staging) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        // It is removed at the latest when this process ends.
        Err(error) => tracing::warn!("{}: {error}", staging.display()),
    }
}

fn failed(finding: Finding) -> Outcome {
    Outcome { report: JobReport::failed(finding), published: None, fatal: None }
}

fn finish(
    attempt: Attempt,
    mut report: JobReport,
    started_ms: i64,
    place: &dyn Place,
    key: &Key,
    state: &Path,
) -> Outcome {
    if !matches!(report.status, Status::Verified | Status::Unverified) {
        return Outcome { report, published: None, fatal: None };
    }
    let options_digest = attempt.options_digest();
    if let Err(finding) = (attempt.recheck)(&report) {
        return spoil(report, finding);
    }
    report.diagnostics.extend(publish::replaced(&attempt.out, &attempt.spec.name, &report));
    let result = Store::open(state).map_err(PublishError::Lineage).and_then(|mut store| {
        let parent = lineage::parent_of(&report.digest, attempt.source.record.as_deref(), &store)?;
        let job = JobKey { digest: report.digest.clone(), options_digest, name: attempt.spec.name.clone() };
        let delivery = Delivery {
            spec: &attempt.spec,
            report: &report,
            key: &job,
            source_name: &attempt.source.file_name,
            source_bytes: attempt.source.bytes,
            golden: attempt.source.golden,
            architecture: attempt.source.architecture,
            parent,
            started_ms,
            finished_ms: stamp::unix_ms(SystemTime::now()),
            out: &attempt.out,
            is_latest: attempt.is_latest,
        };
        let published = publish::deliver(&delivery, key, place)?;
        index(&mut store, &published);
        Ok(published)
    });
    match result {
        Ok(published) => Outcome { report, published: Some(published), fatal: None },
        Err(PublishError::Refused(finding)) => spoil(report, *finding),
        Err(PublishError::Io(error)) => spoil(report, Finding::error(Code::Io, "publish", error.to_string())),
        Err(PublishError::Lineage(error)) => spoil(report, lineage_finding(&error)),
        Err(PublishError::Durability(error)) => {
            let text = format!("fsync: {error}");
            let mut outcome = spoil(report, Finding::error(Code::Io, "publish", text.clone()));
            outcome.fatal = Some(text);
            outcome
        }
    }
}

/// The worker did its part, and yet nothing is published.
fn spoil(mut report: JobReport, finding: Finding) -> Outcome {
    report.status = Status::Failed;
    report.exit_code = JobReport::failed(finding.clone()).exit_code;
    report.diagnostics.push(finding);
    Outcome { report, published: None, fatal: None }
}

fn lineage_finding(error: &LineageError) -> Finding {
    Finding::error(Code::Io, "lineage", error.to_string())
}

/// The bundle is out, with its records in it. The index only finds them faster and can be rebuilt, so a failure here
/// takes nothing back.
fn index(store: &mut Store, published: &Published) {
    for path in &published.records {
        let added = lineage::store::read_record(path).and_then(|record| store.add(&record));
        if let Err(error) = added {
            tracing::warn!("{}: not in the lineage index: {error}", path.display());
        }
    }
}
