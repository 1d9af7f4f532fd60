//! From a worker's staging directory to a bundle that readers see whole or not at all.
//!
//! The worker is not believed: what it says it wrote is compared with what lies there. Then reports and records are
//! added, and `place` makes the whole durable and visible in one rename.

pub mod area;
pub mod place;

pub use area::Area;
pub use place::{Atomic, Place, PlaceError, Placed};

use recast_plugin_api::diag::{Code, Diag};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

use crate::digest;
use crate::job::{Finding, JobKey, JobReport, JobSpec, Level, Policy, Status};
use crate::lineage::statement::{Facts, Ingredient};
use crate::lineage::{Key, LineageError, RECORD_SUFFIX, bundle, stamp, statement};
use crate::report::{ArtifactReport, BundleReport, text};
use crate::tree::{self, Bounds, Trouble};

pub const REPORT_JSON: &str = "report.json";
pub const REPORT_TEXT: &str = "report.txt";

/// Files of one bundle; a SavedModel or a torch package has a few dozen.
const BUNDLE_FILES_MAX: u64 = 10_000;

/// Directories inside each other in a bundle.
const BUNDLE_DEPTH_MAX: u32 = 16;

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The result must not be published, now or later.
    #[error("{}", .0.detail)]
    Refused(Box<Finding>),
    /// May pass: disk full, permissions.
    #[error("{0}")]
    Io(io::Error),
    /// The kernel lost data that it had accepted. What is on disk is unknown: end the process, recover at the start.
    #[error("fsync: {0}")]
    Durability(io::Error),
    #[error(transparent)]
    Lineage(#[from] LineageError),
}

impl From<io::Error> for PublishError {
    fn from(error: io::Error) -> PublishError {
        PublishError::Io(error)
    }
}

impl From<PlaceError> for PublishError {
    fn from(error: PlaceError) -> PublishError {
        match error {
            PlaceError::Io(error) => PublishError::Io(error),
            PlaceError::Durability(error) => PublishError::Durability(error),
        }
    }
}

fn refused(code: Code, at: &str, detail: impl Into<String>) -> PublishError {
    PublishError::Refused(Box::new(Finding::error(code, at, detail)))
}

/// One finished job, and what its bundle has to say.
pub struct Delivery<'a> {
    pub spec: &'a JobSpec,
    pub report: &'a JobReport,
    pub key: &'a JobKey,
    /// The artifact's file name, without a directory.
    pub source_name: &'a str,
    pub source_bytes: u64,
    pub golden: Option<Ingredient>,
    pub architecture: Option<Ingredient>,
    /// The record of how the artifact itself was made.
    pub parent: Option<Ingredient>,
    pub started_ms: i64,
    pub finished_ms: i64,
    pub out: &'a Path,
    /// False when a newer version of the same name was published meanwhile.
    pub is_latest: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub bundle: PathBuf,
    pub placed: Placed,
    /// The record files, for the index.
    pub records: Vec<PathBuf>,
}

/// Where the bundle of a job lies.
pub fn bundle_path(out: &Path, name: &str, digest: &str) -> PathBuf {
    out.join(name).join(&digest[..digest::SHORT_HEX_LEN.min(digest.len())])
}

pub fn deliver(delivery: &Delivery, key: &Key, place: &dyn Place) -> Result<Published, PublishError> {
    let staging = &delivery.spec.staging;
    check_policy(delivery)?;
    recheck(staging, delivery.report, delivery.spec.limits.output_bytes_max)?;
    let mine = bundle_report(delivery);
    let records = write_records(delivery, &mine, key)?;
    let parent = delivery.out.join(&delivery.spec.name);
    let short = &delivery.report.digest[..digest::SHORT_HEX_LEN];
    let placed = match place.place(staging, &parent, short)? {
        Placed::Occupied => replace(place, &parent, short, staging, &mine)?,
        other => other,
    };
    if delivery.is_latest {
        place.point_latest(&parent, short)?;
    }
    let bundle = parent.join(short);
    let records = records.into_iter().map(|record| bundle.join(record)).collect();
    Ok(Published { bundle, placed, records })
}

/// The worker judges, and this is asked again where it counts: at the door.
fn check_policy(delivery: &Delivery) -> Result<(), PublishError> {
    let report = delivery.report;
    if !digest::is_sha256_hex(&report.digest) {
        return Err(refused(Code::Bug, &delivery.spec.name, "the worker reported no content digest"));
    }
    if !matches!(report.status, Status::Verified | Status::Unverified) || report.outputs.is_empty() {
        return Err(refused(Code::Bug, &delivery.spec.name, "there is nothing to publish"));
    }
    let unproved = |level: Level| level == Level::None;
    let required = delivery.spec.verify.policy == Policy::Required;
    if required && report.status != Status::Verified {
        return Err(refused(Code::NotVerified, &delivery.spec.name, "the policy requires a verified result"));
    }
    match report.outputs.iter().find(|output| required && unproved(output.verification.level)) {
        Some(output) => Err(refused(Code::NotVerified, &output.path, "the policy requires a verified result")),
        None => Ok(()),
    }
}

fn is_plain(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// What lies in the staging directory is what the report lists: every file, nothing else, byte for byte, no links.
pub fn recheck(staging: &Path, report: &JobReport, output_bytes_max: u64) -> Result<(), PublishError> {
    let misbehaved = |at: &str, detail: &str| Err(refused(Code::PluginMisbehaved, at, detail));
    let bounds = Bounds {
        files_max: BUNDLE_FILES_MAX,
        bytes_max: output_bytes_max,
        depth_max: BUNDLE_DEPTH_MAX,
        hard_links_allowed: false,
    };
    let survey = tree::survey_path(staging, &bounds).map_err(|trouble| match trouble {
        Trouble::Refused(refusal) => refused(Code::PluginMisbehaved, refusal.reason, refusal.detail),
        Trouble::Changed => refused(Code::PluginMisbehaved, "outputs", "they changed after the worker had ended"),
        Trouble::Io(error) => PublishError::Io(error),
    })?;
    let mut listed = BTreeMap::new();
    for output in &report.outputs {
        if !is_plain(&output.path) || output.files.is_empty() {
            return misbehaved(&output.path, "is not a path inside the bundle with files of its own");
        }
        for file in &output.files {
            let belongs = file.path == output.path || file.path.starts_with(&format!("{}/", output.path));
            let beside = !file.path.contains('/');
            if !is_plain(&file.path) || !(belongs || beside) || is_reserved(&file.path) {
                return misbehaved(&file.path, "is not a name that an output may have");
            }
            if listed.insert(PathBuf::from(&file.path), file).is_some() {
                return misbehaved(&file.path, "is listed twice");
            }
        }
    }
    let present: BTreeSet<&PathBuf> = survey.files().map(|node| &node.path).collect();
    if let Some(extra) = present.iter().find(|path| !listed.contains_key(**path)) {
        return misbehaved(&extra.to_string_lossy(), "was written but not reported");
    }
    for (path, file) in &listed {
        if !present.contains(path) {
            return misbehaved(&file.path, "was reported but not written");
        }
        let mut opened = tree::open_file(&staging.join(path))?;
        start_writeback(&opened);
        let (sha256, bytes) = digest::of_reader(&mut opened)?;
        if sha256 != file.sha256 || bytes != file.bytes {
            return misbehaved(&file.path, "is not what the worker reported");
        }
    }
    Ok(())
}

fn is_reserved(path: &str) -> bool {
    path == REPORT_JSON || path == REPORT_TEXT || path.ends_with(RECORD_SUFFIX)
}

/// The disk works while the processor hashes; the fsync that follows then finds less to do. Only a hint.
fn start_writeback(file: &fs::File) {
    // SAFETY: a system call on a descriptor that is open for the whole call.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

fn bundle_report(delivery: &Delivery) -> BundleReport {
    let mut report = ArtifactReport::new(delivery.source_name, delivery.report, Some(Path::new(".")));
    // The bundle may be moved: inside it, its place is "here".
    report.bundle = Some(".".to_owned());
    BundleReport {
        report,
        job: delivery.key.clone(),
        plugins: delivery.report.plugins.clone(),
        finished: stamp::rfc3339(delivery.finished_ms),
    }
}

/// Adds the reports and one signed record per output; returns the records' names.
fn write_records(delivery: &Delivery, mine: &BundleReport, key: &Key) -> Result<Vec<String>, PublishError> {
    let staging = &delivery.spec.staging;
    let mut json = serde_json::to_vec_pretty(mine).map_err(|error| PublishError::Io(error.into()))?;
    json.push(b'\n');
    write_new(&staging.join(REPORT_JSON), &json)?;
    write_new(&staging.join(REPORT_TEXT), text(&mine.report).as_bytes())?;
    let invocation = stamp::ulid();
    let report_sha256 = digest::of_bytes(&json);
    let facts = Facts {
        spec: delivery.spec,
        report: delivery.report,
        source_name: delivery.source_name,
        source_bytes: delivery.source_bytes,
        options_digest: &delivery.key.options_digest,
        invocation: &invocation,
        started_ms: delivery.started_ms,
        finished_ms: delivery.finished_ms,
        report_sha256: &report_sha256,
        golden: delivery.golden.clone(),
        architecture: delivery.architecture.clone(),
        parent: delivery.parent.clone(),
    };
    let mut names = Vec::new();
    for output in &delivery.report.outputs {
        let name = format!("{}{RECORD_SUFFIX}", output.path);
        write_new(&staging.join(&name), &bundle::wrap(&statement::statement(&facts, output), key))?;
        names.push(name);
    }
    Ok(names)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(bytes)
}

/// Something is published at this place already. The same result: leave it. The same artifact converted under other
/// options or plugins: the new bundle takes the name. Another artifact: its digest begins alike, and nobody's is
/// replaced.
fn replace(
    place: &dyn Place,
    parent: &Path,
    short: &str,
    staging: &Path,
    mine: &BundleReport,
) -> Result<Placed, PublishError> {
    match read_bundle(&parent.join(short)) {
        Some(theirs) if theirs.report.digest != mine.report.digest => {
            let detail = format!("{short} names another artifact's bundle: sha256:{}", theirs.report.digest);
            Err(refused(Code::LimitExceeded, &mine.job.name, detail))
        }
        Some(theirs) if theirs.same_result(mine) => {
            fs::remove_dir_all(staging)?;
            Ok(Placed::Already)
        }
        Some(_) | None => Ok(place.exchange(staging, parent, short)?),
    }
}

/// What readers of the bundle that lies there now will miss: targets that this job has not, and the last one had.
pub fn replaced(out: &Path, name: &str, report: &JobReport) -> Option<Finding> {
    let theirs = read_bundle(&bundle_path(out, name, &report.digest))?;
    let kept = |target: &str| report.outputs.iter().any(|output| output.target == target);
    let gone = theirs.report.outputs.iter().map(|output| output.target.as_str()).filter(|target| !kept(target));
    let gone: Vec<&str> = gone.collect();
    if gone.is_empty() || theirs.report.digest != report.digest {
        return None;
    }
    let detail = format!("the bundle of this artifact held {}, which it holds no more", gone.join(", "));
    let hint = "name all targets at once to have them together, or give each an output directory of its own";
    Some(Finding::from(&Diag::new(Code::Replaced, name, detail).hint(hint)))
}

/// What a published bundle says about itself; None where it is no bundle, or not whole.
pub fn read_bundle(path: &Path) -> Option<BundleReport> {
    const REPORT_BYTES_MAX: u64 = 64 << 20;
    let mut text = String::new();
    let file = tree::open_file(&path.join(REPORT_JSON)).ok()?;
    io::Read::read_to_string(&mut io::Read::take(file, REPORT_BYTES_MAX), &mut text).ok()?;
    let report: BundleReport = serde_json::from_str(&text).ok()?;
    let whole = report.report.outputs.iter().all(|output| {
        let there = |file: &crate::job::OutputFile| {
            fs::symlink_metadata(path.join(&file.path)).is_ok_and(|meta| meta.is_file() && meta.len() == file.bytes)
        };
        output.files.iter().all(|file| is_plain(&file.path) && there(file))
    });
    whole.then_some(report)
}
