//! Taking an entry: it is copied into the daemon's own staging while it is hashed, and looked at again afterwards. What
//! changed meanwhile is dropped and settles again; no attempt is spent on it. Nothing in the drop folder is touched.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::root::HOLE_PATIENCE;
use super::scan::{Artifact, Fingerprint, Identity, Look, look, open_root};
use super::{complete, names, saved_model, tfjs};
use crate::attempt::Source;
use crate::config::Watch;
use crate::digest;
use crate::lineage::stamp;
use crate::lineage::statement::Ingredient;
use crate::tree::{self, Refusal, Survey, Trouble};

/// An artifact in the daemon's own hands.
#[derive(Debug)]
pub struct Claim {
    /// Holds the copies; removed with the claim.
    dir: PathBuf,
    pub name: String,
    pub artifact: PathBuf,
    pub golden: Option<PathBuf>,
    pub architecture: Option<PathBuf>,
    pub digest: String,
    pub fingerprint: Fingerprint,
    pub source: Source,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            // It is removed at the next start at the latest.
            tracing::warn!("{}: {error}", self.dir.display());
        }
    }
}

#[derive(Debug)]
pub enum Claimed {
    Taken(Box<Claim>),
    /// It was not what the scan had seen, or not any more.
    Changed,
    /// Quiet, but not complete, and why.
    NotYet(String),
    Refused(Refusal),
    Failed(io::Error),
}

/// What a scan saw, and where it saw it.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub identity: Identity,
    pub name: OsString,
    pub fingerprint: Fingerprint,
    /// How long it has not changed.
    pub quiet: Duration,
}

/// Copies made by a daemon that is gone.
pub fn purge(claims_dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(claims_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(claims_dir)
}

pub fn claim(watch: &Watch, wanted: &Wanted, claims_dir: &Path) -> Claimed {
    match try_claim(watch, wanted, claims_dir) {
        Ok(claimed) => claimed,
        Err(Trouble::Changed) => Claimed::Changed,
        Err(Trouble::Refused(refusal)) => Claimed::Refused(refusal),
        Err(Trouble::Io(error)) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::FileTooLarge => Claimed::Changed,
            io::ErrorKind::PermissionDenied => {
                Claimed::Refused(Refusal { reason: "unreadable", detail: error.to_string() })
            }
            _ => Claimed::Failed(error),
        },
    }
}

fn try_claim(watch: &Watch, wanted: &Wanted, claims_dir: &Path) -> Result<Claimed, Trouble> {
    let (root, identity) = open_root(&watch.path)?;
    if identity != wanted.identity {
        return Err(Trouble::Changed);
    }
    let root = root.as_fd();
    let artifact = look_again(root, watch, wanted)?;
    if let Some(why) = not_yet(root, watch, wanted, &artifact)? {
        return Ok(Claimed::NotYet(why));
    }
    let copied = copy(root, wanted, &artifact, claims_dir)?;
    // Dropping the copy is all that has to be undone when this look differs.
    look_again(root, watch, wanted)?;
    Ok(Claimed::Taken(Box::new(copied)))
}

fn look_again(root: BorrowedFd, watch: &Watch, wanted: &Wanted) -> Result<Artifact, Trouble> {
    let exists = |name: &OsStr| rustix::fs::statat(root, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok();
    match look(root, watch, &wanted.name, exists) {
        Some(Look::Artifact(artifact)) if artifact.fingerprint == wanted.fingerprint => Ok(artifact),
        Some(Look::Refused(refusal)) => Err(Trouble::Refused(refusal)),
        Some(Look::Artifact(_) | Look::Changing | Look::Orphan) | None => Err(Trouble::Changed),
    }
}

fn not_yet(root: BorrowedFd, watch: &Watch, wanted: &Wanted, artifact: &Artifact) -> Result<Option<String>, Trouble> {
    if !artifact.sentinel {
        let suffix = watch.sentinel.as_deref().unwrap_or_default();
        return Ok(Some(format!("there is no {}{suffix} yet", tree::printable(&wanted.name))));
    }
    let survey = &artifact.survey;
    if let Some(partial) = &survey.partial {
        return Ok(Some(format!("{partial} is being written")));
    }
    for node in survey.files() {
        let file = open_node(root, &wanted.name, &node.path)?;
        let at = |why: &str| match survey.is_dir {
            true => format!("{}: {why}", tree::printable(node.path.as_os_str())),
            false => why.to_owned(),
        };
        if let Some(why) = complete::missing(&file, node.size, survey.is_dir)? {
            return Ok(Some(at(&why)));
        }
        if complete::has_writer(&file) {
            return Ok(Some(at("somebody has it open for writing")));
        }
        if complete::has_hole(&file, node.size) && wanted.quiet < watch.settle * HOLE_PATIENCE {
            return Ok(Some(at("parts of it are reserved and not written")));
        }
    }
    if survey.is_dir {
        let dir = tree::open_dir_at(root, &wanted.name)?;
        return match saved_model::missing(dir.as_fd(), survey)? {
            None => tfjs::missing(dir.as_fd(), survey),
            why => Ok(why),
        };
    }
    Ok(None)
}

fn open_node(root: BorrowedFd, entry: &OsStr, path: &Path) -> Result<File, Trouble> {
    if path.as_os_str().is_empty() {
        return tree::open_below(root, Path::new(entry));
    }
    tree::open_below(root, &Path::new(entry).join(path))
}

/// Removes what was copied unless it became a claim.
struct Draft(Option<PathBuf>);

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(dir) = &self.0 {
            // What stays is removed at the next start.
            let _ = fs::remove_dir_all(dir);
        }
    }
}

fn copy(root: BorrowedFd, wanted: &Wanted, artifact: &Artifact, claims_dir: &Path) -> Result<Claim, Trouble> {
    let dir = claims_dir.join(stamp::ulid());
    fs::create_dir_all(&dir)?;
    let mut draft = Draft(Some(dir.clone()));
    let name = names::artifact_name(&wanted.name, artifact.survey.is_dir).map_err(Trouble::Refused)?;
    let place = dir.join(&wanted.name);
    let digest = if artifact.survey.is_dir {
        copy_tree(root, &wanted.name, &artifact.survey, &place)?
    } else {
        let source = tree::open_below(root, Path::new(&wanted.name))?;
        copy_file(source, &place, artifact.survey.bytes)?
    };
    let companion = |name: &Option<OsString>| -> Result<Option<(PathBuf, Ingredient)>, Trouble> {
        let Some(name) = name else { return Ok(None) };
        let source = tree::open_below(root, Path::new(name))?;
        let bytes = source.metadata()?.len();
        let place = dir.join(name);
        let sha256 = copy_file(source, &place, bytes)?;
        Ok(Some((place, Ingredient { name: tree::printable(name), sha256 })))
    };
    let golden = companion(&artifact.companions.golden)?;
    let architecture = companion(&artifact.companions.architecture)?;
    let record = companion(&artifact.companions.record)?;
    let split = |found: Option<(PathBuf, Ingredient)>| found.map_or((None, None), |(path, i)| (Some(path), Some(i)));
    let (golden, golden_ingredient) = split(golden);
    let (architecture, architecture_ingredient) = split(architecture);
    draft.0 = None;
    Ok(Claim {
        dir,
        name,
        artifact: place,
        golden,
        architecture,
        digest,
        fingerprint: wanted.fingerprint,
        source: Source {
            file_name: tree::printable(&wanted.name),
            bytes: artifact.survey.bytes,
            golden: golden_ingredient,
            architecture: architecture_ingredient,
            record: record.map(|(path, _)| path),
        },
    })
}

fn copy_tree(root: BorrowedFd, entry: &OsStr, survey: &Survey, place: &Path) -> Result<String, Trouble> {
    let mut files = Vec::new();
    for node in &survey.nodes {
        let target = place.join(&node.path);
        if node.is_dir {
            fs::create_dir_all(&target)?;
        } else {
            let source = open_node(root, entry, &node.path)?;
            files.push((node.path.clone(), copy_file(source, &target, node.size)?));
        }
    }
    Ok(digest::of_listing(&mut files))
}

fn copy_file(mut source: File, place: &Path, bytes: u64) -> Result<String, Trouble> {
    let mut target = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(place)?;
    let (sha256, copied) = digest::copy_hashed(&mut source, &mut target, bytes)?;
    if copied != bytes || source.read(&mut [0])? != 0 {
        return Err(Trouble::Changed);
    }
    Ok(sha256)
}
