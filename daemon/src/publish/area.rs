//! Staging on the file system of the outputs, where workers write and from where bundles are renamed. Each process has
//! its own directory there and holds a lock on it while it lives, so that what a dead one left can be told and removed.

use rustix::fs::{FlockOperation, Mode, OFlags};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::lineage::stamp;

/// Hidden: whoever lists the outputs does not see it.
const PREFIX: &str = ".recast-staging-";

/// A purge of another process may take a directory between its making and its locking; that is bad luck once.
const TRIES_MAX: u32 = 5;

#[derive(Debug)]
pub struct Area {
    dir: PathBuf,
    _lock: OwnedFd,
}

fn lock(dir: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, flags, Mode::empty())?;
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let still_there = fs::symlink_metadata(dir)
        .is_ok_and(|now| rustix::fs::fstat(&fd).is_ok_and(|held| held.st_ino == now.ino() && held.st_dev == now.dev()));
    Ok(still_there.then_some(fd))
}

impl Area {
    pub fn open(out: &Path) -> io::Result<Area> {
        fs::create_dir_all(out)?;
        for _ in 0..TRIES_MAX {
            let dir = out.join(format!("{PREFIX}{}", stamp::ulid()));
            fs::create_dir(&dir)?;
            match lock(&dir) {
                Ok(Some(held)) => return Ok(Area { dir, _lock: held }),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!("{}: staging directories vanish as they are made", out.display())))
    }

    /// A new empty directory for one attempt of one job.
    pub fn job_dir(&self) -> io::Result<PathBuf> {
        let dir = self.dir.join(stamp::ulid());
        fs::create_dir(&dir)?;
        Ok(dir)
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // What can't be removed now is what the next purge is for.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Removes the staging of this user's processes that are gone; returns how many there were.
pub fn purge(out: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut purged = 0;
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) || !entry.file_type()?.is_dir() {
            continue;
        }
        match purge_one(&entry) {
            Ok(was_left) => purged += u64::from(was_left),
            // Its process ended meanwhile, and took it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(purged)
}

fn purge_one(entry: &fs::DirEntry) -> io::Result<bool> {
    // A directory for everybody's files may hold others' staging.
    if entry.metadata()?.uid() != rustix::process::geteuid().as_raw() {
        return Ok(false);
    }
    let Some(_held) = lock(&entry.path())? else { return Ok(false) };
    fs::remove_dir_all(entry.path())?;
    Ok(true)
}
