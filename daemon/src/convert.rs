//! `recast convert`: one artifact, read where it lies. The same job, report and bundle as the daemon's.

use recast_plugin_api::diag::Code;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::attempt::{self, Attempt, Outcome, Source, Workshop};
use crate::config::Config;
use crate::digest;
use crate::job::{Finding, JobReport, JobSpec, PluginPin, Policy, TargetSpec, VerifySpec, WorkerLimits};
use crate::lineage::statement::Ingredient;
use crate::publish::Area;
use crate::runner::{Cancel, EventSink, PluginSet};
use crate::tree::{self, Bounds, Survey, Trouble};
use crate::watch::names;

/// What is asked for, the same for every artifact of one command.
#[derive(Debug, Clone)]
pub struct Request {
    pub targets: Vec<TargetSpec>,
    pub out: PathBuf,
    /// When not given, what lies beside the artifact under the names that the daemon looks for.
    pub architecture: Option<PathBuf>,
    pub golden: Option<PathBuf>,
    pub verify: VerifySpec,
    pub plugins: Vec<PluginPin>,
    pub winners: std::collections::BTreeMap<String, String>,
    /// `model:layer` -> expression, as the config has them.
    pub lambda: std::collections::BTreeMap<String, String>,
    /// Options of sources, by `FORMAT` or `FORMAT:MODEL`.
    pub sources: crate::job::SourceOptions,
    pub limits: WorkerLimits,
    pub threads: usize,
    pub bounds: Bounds,
}

impl Request {
    /// To no target yet, and nowhere: what the configuration and the plugins that were found say.
    pub fn new(config: &Config, found: &PluginSet, policy: Policy) -> Request {
        Request {
            targets: Vec::new(),
            out: PathBuf::new(),
            architecture: None,
            golden: None,
            verify: config.verify.spec(policy),
            plugins: found.pins(),
            winners: config.plugins.winners.clone(),
            lambda: config.lambda.clone(),
            sources: config.sources.clone(),
            limits: config.limits.worker.clone(),
            threads: config.limits.worker_threads,
            bounds: Bounds { hard_links_allowed: true, ..Bounds::default() },
        }
    }
}

/// Converts one artifact; what stops it before a worker starts is in the report, too.
pub async fn convert(
    shop: &Workshop,
    request: &Request,
    path: &Path,
    area: &Area,
    events: EventSink,
    cancel: Cancel,
) -> Outcome {
    match prepare(request, path, area) {
        Ok(attempt) => attempt::run(shop, attempt, events, cancel).await,
        Err(finding) => Outcome { report: JobReport::failed(finding), published: None, fatal: None },
    }
}

fn io_finding(at: &Path, error: &io::Error) -> Finding {
    Finding::error(Code::Io, at.to_string_lossy(), error.to_string())
}

fn trouble_finding(at: &Path, trouble: Trouble) -> Finding {
    let at = at.to_string_lossy();
    match trouble {
        Trouble::Io(error) => Finding::error(Code::Io, at, error.to_string()),
        Trouble::Changed => Finding::error(Code::Changed, at, "it changed while it was looked at"),
        Trouble::Refused(refusal) if refusal.reason.starts_with("too-") => {
            Finding::error(Code::LimitExceeded, at, refusal.detail)
        }
        Trouble::Refused(refusal) => {
            Finding::error(Code::UnsafeLink, at, format!("{}: {}", refusal.reason, refusal.detail))
        }
    }
}

/// A job that only looks.
pub fn prepare_inspection(request: &Request, path: &Path, area: &Area) -> Result<JobSpec, Finding> {
    let (mut spec, _, _) = describe(request, path, area)?;
    spec.inspect = true;
    Ok(spec)
}

fn prepare(request: &Request, given: &Path, area: &Area) -> Result<Attempt, Finding> {
    let (spec, source, survey) = describe(request, given, area)?;
    let before = survey.fingerprint();
    let (path, bounds) = (spec.artifact.clone(), request.bounds.clone());
    // Plugins run in the worker, so what it says it read is computed here again, meanwhile: the pages are shared.
    let hashed = {
        let (path, bounds) = (path.clone(), bounds.clone());
        std::thread::spawn(move || digest::of_artifact(&path, &bounds))
    };
    Ok(Attempt {
        spec,
        source,
        out: request.out.clone(),
        is_latest: true,
        recheck: Box::new(move |report| unchanged(&path, &bounds, before, hashed, report)),
    })
}

fn describe(request: &Request, given: &Path, area: &Area) -> Result<(JobSpec, Source, Survey), Finding> {
    // The asker's own links are followed; those inside the artifact are not.
    let path = std::fs::canonicalize(given).map_err(|error| io_finding(given, &error))?;
    let file_name = path.file_name().unwrap_or(OsStr::new("")).to_owned();
    let survey = tree::survey_path(&path, &request.bounds).map_err(|trouble| trouble_finding(given, trouble))?;
    let name = names::artifact_name(&file_name, survey.is_dir)
        .map_err(|refusal| Finding::error(Code::Io, given.to_string_lossy(), refusal.detail))?;
    let dir = path.parent().unwrap_or(Path::new("/")).to_owned();
    let beside = names::companions(&file_name, survey.is_dir, |candidate| dir.join(candidate).is_file());
    let place = |given: &Option<PathBuf>, found: Option<OsString>| -> Result<Option<PathBuf>, Finding> {
        let Some(path) = given.clone().or(found.map(|found| dir.join(found))) else { return Ok(None) };
        // The worker has no working directory of the asker's.
        std::fs::canonicalize(&path).map(Some).map_err(|error| io_finding(&path, &error))
    };
    let golden = place(&request.golden, beside.golden)?;
    let architecture = place(&request.architecture, beside.architecture)?;
    let staging = area.job_dir().map_err(|error| io_finding(area.path(), &error))?;
    let source = Source {
        file_name: tree::printable(&file_name),
        bytes: survey.bytes,
        golden: ingredient(golden.as_deref())?,
        architecture: ingredient(architecture.as_deref())?,
        record: beside.record.map(|record| dir.join(record)),
    };
    let expressions = crate::config::expressions_of(&request.lambda, &name);
    let sources = crate::config::sources_of(&request.sources, &name);
    let spec = JobSpec {
        name,
        artifact: path,
        architecture,
        golden,
        digest: None,
        targets: request.targets.clone(),
        staging,
        verify: request.verify.clone(),
        plugins: request.plugins.clone(),
        winners: request.winners.clone(),
        expressions,
        sources,
        limits: request.limits.clone(),
        threads: request.threads,
        inspect: false,
    };
    Ok((spec, source, survey))
}

fn ingredient(path: Option<&Path>) -> Result<Option<Ingredient>, Finding> {
    let Some(path) = path else { return Ok(None) };
    let (sha256, _) = digest::of_file(path).map_err(|error| io_finding(path, &error))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Some(Ingredient { name, sha256 }))
}

type Hashed = std::thread::JoinHandle<Result<String, Trouble>>;

/// The record will say what was read: it must be what lies there, from before the worker began until after it ended.
fn unchanged(
    path: &Path,
    bounds: &Bounds,
    before: [u8; 32],
    hashed: Hashed,
    report: &JobReport,
) -> Result<(), Finding> {
    let at = path.to_string_lossy();
    let changed = |detail: &str| Finding::error(Code::Changed, at.clone(), detail.to_owned());
    let hashed = hashed.join().map_err(|_| Finding::error(Code::Bug, at.clone(), "hashing panicked"))?;
    let digest = hashed.map_err(|trouble| trouble_finding(path, trouble))?;
    let after = tree::survey_path(path, bounds).map_err(|trouble| trouble_finding(path, trouble))?;
    if after.fingerprint() != before {
        return Err(changed("it was changed while it was converted"));
    }
    if digest != report.digest {
        return Err(changed("the worker read other bytes than those that lie there"));
    }
    Ok(())
}
