//! Making a directory durable and visible. Power loss was tried on all of it: without the fsync of the files a bundle
//! comes back with empty files, without that of the directories without its name.

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::start_writeback;
use crate::lineage::stamp;

pub const LATEST: &str = "latest";

/// Workers write for themselves; what is published is for everybody who may enter the output directory.
const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    New,
    /// The same result lay there already.
    Already,
    /// Another result for the same artifact lay there.
    Replaced,
    /// Something is there: nothing was done.
    Occupied,
}

#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("fsync: {0}")]
    Durability(io::Error),
}

/// How a finished staging directory becomes `parent/name`. A trait so that a test can show what goes wrong otherwise.
pub trait Place: Send + Sync {
    /// `Occupied` when there is something already.
    fn place(&self, staged: &Path, parent: &Path, name: &str) -> Result<Placed, PlaceError>;
    /// Takes the place of what is there, in one step, and removes that.
    fn exchange(&self, staged: &Path, parent: &Path, name: &str) -> Result<Placed, PlaceError>;
    fn point_latest(&self, parent: &Path, name: &str) -> Result<(), PlaceError>;
}

/// The way it is done: fsync files, fsync directories from the leaves up, rename, fsync the parent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Atomic;

impl Place for Atomic {
    fn place(&self, staged: &Path, parent: &Path, name: &str) -> Result<Placed, PlaceError> {
        sync_tree(staged)?;
        create_parent(parent)?;
        let place = parent.join(name);
        match rustix::fs::renameat_with(CWD, staged, CWD, &place, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST | Errno::NOTEMPTY) => return Ok(Placed::Occupied),
            // Network file systems don't know the flag. A plain rename replaces no directory that holds anything,
            // either.
            Err(Errno::INVAL | Errno::NOSYS) => match rustix::fs::rename(staged, &place) {
                Ok(()) => {}
                Err(Errno::EXIST | Errno::NOTEMPTY) => return Ok(Placed::Occupied),
                Err(error) => return Err(PlaceError::Io(error.into())),
            },
            Err(error) => return Err(PlaceError::Io(error.into())),
        }
        sync_dir(parent)?;
        Ok(Placed::New)
    }

    fn exchange(&self, staged: &Path, parent: &Path, name: &str) -> Result<Placed, PlaceError> {
        sync_tree(staged)?;
        let place = parent.join(name);
        match rustix::fs::renameat_with(CWD, staged, CWD, &place, RenameFlags::EXCHANGE) {
            Ok(()) => {
                sync_dir(parent)?;
                fs::remove_dir_all(staged)?;
            }
            Err(Errno::INVAL | Errno::NOSYS) => {
                let aside = staged.with_extension("old");
                fs::rename(&place, &aside)?;
                fs::rename(staged, &place)?;
                sync_dir(parent)?;
                fs::remove_dir_all(aside)?;
            }
            Err(error) => return Err(PlaceError::Io(error.into())),
        }
        Ok(Placed::Replaced)
    }

    fn point_latest(&self, parent: &Path, name: &str) -> Result<(), PlaceError> {
        let latest = parent.join(LATEST);
        if fs::read_link(&latest).is_ok_and(|target| target == Path::new(name)) {
            return Ok(());
        }
        let draft = parent.join(format!(".{}.{LATEST}", stamp::ulid()));
        symlink(name, &draft)?;
        fs::rename(&draft, &latest)?;
        sync_dir(parent)
    }
}

fn create_parent(parent: &Path) -> Result<(), PlaceError> {
    if parent.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(parent)?;
    fs::set_permissions(parent, fs::Permissions::from_mode(DIRECTORY_MODE))?;
    match parent.parent() {
        Some(above) => sync_dir(above),
        None => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> Result<(), PlaceError> {
    File::open(dir)?.sync_all().map_err(PlaceError::Durability)
}

/// Everything is on its way to the disk before the first wait: one commit of the file system's journal then holds all
/// of it, where each file had one of its own.
fn sync_tree(dir: &Path) -> Result<(), PlaceError> {
    settle_tree(dir)?;
    wait_for_tree(dir)
}

fn settle_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            settle_tree(&entry.path())?;
        } else {
            let file = File::open(entry.path())?;
            file.set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
            start_writeback(&file);
        }
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(DIRECTORY_MODE))
}

/// Children first, so that a directory that survives names only what survives.
fn wait_for_tree(dir: &Path) -> Result<(), PlaceError> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            wait_for_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all().map_err(PlaceError::Durability)?;
        }
    }
    sync_dir(dir)
}
