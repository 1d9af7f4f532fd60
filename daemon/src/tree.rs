//! Looking at what strangers dropped. Nothing here follows a link: every step opens one name below a directory that is
//! already open, with O_NOFOLLOW, and O_NONBLOCK so that a FIFO can't hold the caller.

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What one entry of a drop folder may be at most.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    pub files_max: u64,
    pub bytes_max: u64,
    pub depth_max: u32,
    /// A hard link may be the other name of a file that its dropper can't read.
    pub hard_links_allowed: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { files_max: 10_000, bytes_max: 64 << 30, depth_max: 32, hard_links_allowed: false }
    }
}

/// One file or directory below an entry, as it was seen.
#[derive(Debug, Clone)]
pub struct Node {
    /// Relative to the entry; empty for the entry itself.
    pub path: PathBuf,
    pub is_dir: bool,
    pub size: u64,
    pub inode: u64,
    pub mtime_ns: i128,
    pub ctime_ns: i128,
}

/// A whole entry, at one look.
#[derive(Debug, Clone)]
pub struct Survey {
    pub is_dir: bool,
    /// In path order, parents first.
    pub nodes: Vec<Node>,
    pub bytes: u64,
    /// A file below the entry whose name says that it is still being written.
    pub partial: Option<String>,
}

/// Why an entry is not looked at any further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A word for machines: `symlink`, `hard-link`, `special-file`, ...
    pub reason: &'static str,
    pub detail: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("{}: {}", .0.reason, .0.detail)]
    Refused(Refusal),
    /// It was there a moment ago: somebody is working on it.
    #[error("it changed while it was looked at")]
    Changed,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Trouble {
        match errno {
            // A name that turned into a link or went away between two looks.
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Trouble::Changed,
            other => Trouble::Io(other.into()),
        }
    }
}

fn refuse<T>(reason: &'static str, detail: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Refused(Refusal { reason, detail: detail.into() }))
}

/// A name for logs and records: control characters and broken UTF-8 can't forge lines there.
pub fn printable(name: &OsStr) -> String {
    name.to_string_lossy().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Opens one regular file for reading; refuses everything else without waiting for it.
pub fn open_file(path: &Path) -> io::Result<File> {
    open_file_at(CWD, path.as_os_str())
}

pub fn open_file_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(File::from(fd))
}

pub fn open_dir_at(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Names in an open directory, without `.` and `..`, sorted by bytes; at most `names_max` of them.
pub fn names(dir: BorrowedFd<'_>, names_max: u64) -> Result<Vec<OsString>, Trouble> {
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        if found.len() as u64 >= names_max {
            return refuse("too-many-files", format!("more than {names_max} names in one directory"));
        }
        found.push(OsString::from_vec(name.to_vec()));
    }
    found.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    Ok(found)
}

pub fn survey_path(path: &Path, bounds: &Bounds) -> Result<Survey, Trouble> {
    survey(CWD, path.as_os_str(), bounds)
}

/// Looks at the entry `name` of `dir` and everything below it.
pub fn survey(dir: BorrowedFd<'_>, name: &OsStr, bounds: &Bounds) -> Result<Survey, Trouble> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let mut survey = Survey { is_dir, nodes: Vec::new(), bytes: 0, partial: None };
    let mut walk = Walk { bounds, device: stat.st_dev, survey: &mut survey };
    walk.visit(dir, name, &stat, PathBuf::new(), 0)?;
    Ok(survey)
}

struct Walk<'a> {
    bounds: &'a Bounds,
    device: u64,
    survey: &'a mut Survey,
}

impl Walk<'_> {
    fn visit(&mut self, dir: BorrowedFd, name: &OsStr, stat: &Stat, path: PathBuf, depth: u32) -> Result<(), Trouble> {
        let at = || if path.as_os_str().is_empty() { printable(name) } else { printable(path.as_os_str()) };
        if depth > self.bounds.depth_max {
            return refuse("too-deep", format!("{} directories inside each other", depth));
        }
        if stat.st_dev != self.device {
            return refuse("other-file-system", format!("{} is a mount point", at()));
        }
        if self.survey.nodes.len() as u64 >= self.bounds.files_max {
            return refuse("too-many-files", format!("more than {} files", self.bounds.files_max));
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::RegularFile => self.check_file(stat, &at())?,
            FileType::Directory => {}
            FileType::Symlink => return refuse("symlink", format!("{} is a symbolic link", at())),
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {
                return refuse("special-file", format!("{} is a {}", at(), kind_word(kind)));
            }
        }
        if depth > 0 && self.survey.partial.is_none() && crate::watch::names::is_partial(name) {
            self.survey.partial = Some(at());
        }
        let is_dir = kind == FileType::Directory;
        self.survey.nodes.push(node_of(stat, path.clone(), is_dir));
        if is_dir {
            self.descend(dir, name, stat, &path, depth)?;
        }
        Ok(())
    }

    fn check_file(&mut self, stat: &Stat, at: &str) -> Result<(), Trouble> {
        if stat.st_nlink > 1 && !self.bounds.hard_links_allowed {
            return refuse("hard-link", format!("{at} has {} names", stat.st_nlink));
        }
        self.survey.bytes = self.survey.bytes.saturating_add(stat.st_size.max(0) as u64);
        if self.survey.bytes > self.bounds.bytes_max {
            return refuse("too-large", format!("more than {} bytes", self.bounds.bytes_max));
        }
        Ok(())
    }

    fn descend(&mut self, dir: BorrowedFd, name: &OsStr, seen: &Stat, path: &Path, depth: u32) -> Result<(), Trouble> {
        let opened = open_dir_at(dir, name)?;
        if rustix::fs::fstat(&opened)?.st_ino != seen.st_ino {
            return Err(Trouble::Changed);
        }
        for child in names(opened.as_fd(), self.bounds.files_max)? {
            let stat = rustix::fs::statat(&opened, &child, AtFlags::SYMLINK_NOFOLLOW)?;
            self.visit(opened.as_fd(), &child, &stat, path.join(&child), depth + 1)?;
        }
        Ok(())
    }
}

fn kind_word(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "FIFO",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        _ => "file of an unknown type",
    }
}

fn node_of(stat: &Stat, path: PathBuf, is_dir: bool) -> Node {
    let nanos = |seconds: i64, nanos: i128| i128::from(seconds) * 1_000_000_000 + nanos;
    Node {
        path,
        is_dir,
        size: stat.st_size.max(0) as u64,
        inode: stat.st_ino,
        mtime_ns: nanos(stat.st_mtime, stat.st_mtime_nsec as i128),
        ctime_ns: nanos(stat.st_ctime, stat.st_ctime_nsec as i128),
    }
}

impl Survey {
    /// Changes whenever anything below the entry was written, replaced, renamed, added or removed. The change time is
    /// in it because `cp -p` and `rsync -t` restore the modification time, and the inode because a rename restores
    /// both.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for node in &self.nodes {
            let path = node.path.as_os_str().as_bytes();
            hasher.update((path.len() as u64).to_le_bytes());
            hasher.update(path);
            hasher.update([u8::from(node.is_dir)]);
            hasher.update(node.size.to_le_bytes());
            hasher.update(node.inode.to_le_bytes());
            hasher.update(node.mtime_ns.to_le_bytes());
            hasher.update(node.ctime_ns.to_le_bytes());
        }
        hasher.finalize().into()
    }

    pub fn files(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !node.is_dir)
    }
}

/// Opens the file `path` below the open directory `root`, one name at a time, through no link.
pub fn open_below(root: BorrowedFd<'_>, path: &Path) -> Result<File, Trouble> {
    let mut parts: Vec<&OsStr> = path.iter().collect();
    let Some(last) = parts.pop() else { return Err(Trouble::Changed) };
    let mut held: Option<OwnedFd> = None;
    for part in parts {
        let parent = held.as_ref().map_or(root, |fd| fd.as_fd());
        held = Some(open_dir_at(parent, part)?);
    }
    let parent = held.as_ref().map_or(root, |fd| fd.as_fd());
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = rustix::fs::openat(parent, last, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
        return Err(Trouble::Changed);
    }
    Ok(File::from(fd))
}
