//! The ledger: what the daemon has seen, what it is doing, what came of it. It survives kill -9 and power loss, and
//! memory holds nothing that is not in it or in the drop folders.
//!
//! One process writes it: the state directory is locked for as long as that lives. Others may read.

mod entries;
mod faults;
mod jobs;
mod recover;
mod schema;

pub use entries::{EntryRow, EntryState};
pub use faults::Fault;
pub use jobs::{ATTEMPTS_KEPT_MAX, Enqueued, Job, NewJob, State, backoff};
pub use recover::Reconciled;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::lineage::stamp;

const FILE_NAME: &str = "ledger.sqlite";
const LOCK_NAME: &str = "lock";
const DAMAGED: &str = "damaged-";

/// Readers such as `recast jobs` hold the write-ahead log for moments.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Damaged ledgers that stay beside the one that took their place: the last ones.
const DAMAGED_KEPT_MAX: usize = 3;

const LOCK_TRIES: u32 = 5;
const LOCK_WAIT: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("{} is in use by another recast daemon", .0.display())]
    Locked(PathBuf),
    #[error("{}: there is no ledger: the daemon never ran with this state directory", .0.display())]
    Absent(PathBuf),
    #[error("ledger: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("ledger: {0}")]
    Io(#[from] io::Error),
    #[error("ledger: {0}")]
    Content(String),
}

pub struct Ledger {
    connection: Connection,
    // Held, not used: the lock goes with the process, however that ends.
    _lock: Option<OwnedFd>,
}

/// What was found when the ledger was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    Existing,
    New,
    /// The file was not a whole database: it was put aside, and a new one begun.
    Replaced(PathBuf),
}

pub(crate) fn now_ms() -> i64 {
    stamp::unix_ms(SystemTime::now())
}

/// The lock of a state directory; None while another process holds it.
pub fn lock(state_dir: &Path) -> io::Result<Option<OwnedFd>> {
    fs::create_dir_all(state_dir)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(state_dir.join(LOCK_NAME), flags, Mode::from_raw_mode(0o600))?;
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(fd)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// `recast status` holds the lock for a moment, to see whether a daemon does: that must not turn a daemon away.
fn lock_patiently(state_dir: &Path) -> io::Result<Option<OwnedFd>> {
    for _ in 1..LOCK_TRIES {
        if let Some(held) = lock(state_dir)? {
            return Ok(Some(held));
        }
        std::thread::sleep(LOCK_WAIT);
    }
    lock(state_dir)
}

impl Ledger {
    /// Opens the ledger for writing.
    pub fn open(state_dir: &Path) -> Result<(Ledger, Opened), LedgerError> {
        let lock = lock_patiently(state_dir)?.ok_or_else(|| LedgerError::Locked(state_dir.to_owned()))?;
        let path = state_dir.join(FILE_NAME);
        let existed = path.exists();
        let (connection, opened) = match connect(&path) {
            Ok(connection) => (connection, if existed { Opened::Existing } else { Opened::New }),
            Err(error) if is_damage(&error) => {
                let aside = put_aside(&path)?;
                (connect(&path)?, Opened::Replaced(aside))
            }
            Err(error) => return Err(error.into()),
        };
        Ok((Ledger { connection, _lock: Some(lock) }, opened))
    }

    /// Opens the ledger for reading, beside a daemon that runs or without one.
    pub fn read(state_dir: &Path) -> Result<Ledger, LedgerError> {
        let path = state_dir.join(FILE_NAME);
        if !path.exists() {
            return Err(LedgerError::Absent(state_dir.to_owned()));
        }
        // Not read-only for SQLite: a write-ahead log that a dead daemon left has to be taken in first.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(Ledger { connection, _lock: None })
    }
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // NORMAL may forget the last commits at a power cut: a job would be done twice, or a reason lost.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(rusqlite::Error::SqliteFailure(code, Some(verdict)));
    }
    schema::apply(&connection)?;
    Ok(connection)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase))
}

fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = path.with_extension(format!("{DAMAGED}{}", stamp::ulid()));
    fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    forget_damaged(path)?;
    Ok(aside)
}

/// Each is named by the time at which it was put aside.
fn forget_damaged(path: &Path) -> io::Result<()> {
    let (Some(dir), Some(stem)) = (path.parent(), path.file_stem()) else { return Ok(()) };
    let is_aside = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        path.file_stem() == Some(stem) && extension.starts_with(DAMAGED)
    };
    let entries = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    let mut aside: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).filter(is_aside).collect();
    aside.sort();
    let old = aside.len().saturating_sub(DAMAGED_KEPT_MAX);
    aside[..old].iter().try_for_each(fs::remove_file)
}
