//! One look at a drop folder.

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::names::{self, Companions};
use crate::config::Watch;
use crate::tree::{self, Refusal, Survey, Trouble};

/// Entries of one drop folder.
pub const ENTRIES_MAX: u64 = 1_000_000;

pub type Fingerprint = [u8; 32];

/// Which directory this is: another one under the same path is another root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub device: u64,
    pub inode: u64,
}

#[derive(Debug)]
pub struct Scan {
    pub identity: Identity,
    pub entries: Vec<(OsString, Look)>,
}

/// What one entry looked like.
#[derive(Debug, Clone)]
pub enum Look {
    Artifact(Artifact),
    Refused(Refusal),
    /// Somebody was at it while it was looked at.
    Changing,
    /// A companion without its artifact.
    Orphan,
}

#[derive(Debug, Clone)]
pub struct Artifact {
    /// Covers the companions and the sentinel too: when one of them comes, the entry settles anew.
    pub fingerprint: Fingerprint,
    pub survey: Survey,
    pub companions: Companions,
    /// Is the marker there, where the watch wants one?
    pub sentinel: bool,
}

pub fn open_root(path: &Path) -> io::Result<(OwnedFd, Identity)> {
    // The configured path may go through links: it is the administrator's.
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    Ok((fd, Identity { device: stat.st_dev, inode: stat.st_ino }))
}

/// An error means that nothing is known about the folder: not that it is empty.
pub fn scan(watch: &Watch) -> io::Result<Scan> {
    let (root, identity) = open_root(&watch.path)?;
    let all = tree::names(root.as_fd(), ENTRIES_MAX).map_err(|trouble| match trouble {
        Trouble::Io(error) => error,
        other => io::Error::other(other.to_string()),
    })?;
    let present: BTreeSet<OsString> = all.into_iter().filter(|name| !names::is_skipped(name)).collect();
    let mut entries = Vec::new();
    let mut owned: BTreeSet<OsString> = BTreeSet::new();
    let is_artifact = |name: &&OsString| {
        !names::is_companion(name)
            && !is_sentinel(watch, name)
            && !watch.ignore.iter().any(|pattern| names::matches(pattern, name))
    };
    for name in present.iter().filter(is_artifact) {
        if let Some(look) = look(root.as_fd(), watch, name, |other| present.contains(other)) {
            if let Look::Artifact(artifact) = &look {
                let Companions { golden, architecture, record } = &artifact.companions;
                owned.extend([golden, architecture, record].into_iter().flatten().cloned());
            }
            entries.push((name.clone(), look));
        }
    }
    let orphans = present.iter().filter(|name| names::is_companion(name) && !owned.contains(*name));
    entries.extend(orphans.map(|name| (name.clone(), Look::Orphan)));
    Ok(Scan { identity, entries })
}

fn is_sentinel(watch: &Watch, name: &OsStr) -> bool {
    watch.sentinel.as_ref().is_some_and(|suffix| name.as_bytes().ends_with(suffix.as_bytes()))
}

/// Looks at one entry and all that belongs to it. None when it is not there.
pub fn look(root: BorrowedFd, watch: &Watch, name: &OsStr, present: impl Fn(&OsStr) -> bool) -> Option<Look> {
    let survey = match tree::survey(root, name, &watch.bounds) {
        Ok(survey) => survey,
        Err(Trouble::Refused(refusal)) => return Some(Look::Refused(refusal)),
        Err(Trouble::Changed) => return present(name).then_some(Look::Changing),
        Err(Trouble::Io(error)) => return Some(Look::Refused(unreadable(&error))),
    };
    if let Err(refusal) = names::artifact_name(name, survey.is_dir) {
        return Some(Look::Refused(refusal));
    }
    let companions = names::companions(name, survey.is_dir, &present);
    let sentinel = watch.sentinel.as_ref().is_none_or(|suffix| {
        let mut marker = name.to_owned();
        marker.push(suffix);
        present(&marker)
    });
    let mut hasher = Sha256::new();
    hasher.update(survey.fingerprint());
    for companion in [&companions.golden, &companions.architecture, &companions.record] {
        match companion.as_ref().map(|name| tree::survey(root, name, &watch.bounds)) {
            None => hasher.update([0]),
            Some(Ok(survey)) => {
                hasher.update([1]);
                hasher.update(survey.fingerprint());
            }
            Some(Err(Trouble::Refused(refusal))) => return Some(Look::Refused(refusal)),
            Some(Err(Trouble::Changed)) => return Some(Look::Changing),
            Some(Err(Trouble::Io(error))) => return Some(Look::Refused(unreadable(&error))),
        }
    }
    hasher.update([u8::from(sentinel)]);
    Some(Look::Artifact(Artifact { fingerprint: hasher.finalize().into(), survey, companions, sentinel }))
}

fn unreadable(error: &io::Error) -> Refusal {
    Refusal { reason: "unreadable", detail: error.to_string() }
}
