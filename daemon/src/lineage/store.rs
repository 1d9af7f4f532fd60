//! The index of records: which record speaks of a digest, and which records used one. It holds nothing that the
//! records beside the outputs do not say, so it can be thrown away and rebuilt; therefore it is a file of its own,
//! apart from the ledger, and several processes may write it.

use rusqlite::{Connection, OptionalExtension, params};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::statement::{self, Claims};
use super::{LineageError, RECORD_BYTES_MAX, RECORD_SUFFIX, bundle};
use crate::digest;

const FILE_NAME: &str = "lineage.sqlite";
/// A file of an older one gets the indexes that it lacks when it is opened.
const SCHEMA_VERSION: i64 = 3;

/// Records of one path that the index remembers, the last ones: a bundle that is made again has others. Where a record
/// lay is still said of those that another one's bundle took the place of.
const RECORDS_OF_PATH_MAX: u32 = 8;

/// How long a process waits for another one that writes the index.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Directories inside each other that a rebuild looks into: out/<name>/<digest>/<output>/....
const REBUILD_DEPTH_MAX: u32 = 8;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS record (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL,
    finished TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS subject (
    record_id INTEGER NOT NULL REFERENCES record(id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS dependency (
    record_id INTEGER NOT NULL REFERENCES record(id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    sha256 TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS subject_sha256 ON subject(sha256);
CREATE INDEX IF NOT EXISTS subject_name ON subject(name);
CREATE INDEX IF NOT EXISTS dependency_sha256 ON dependency(sha256);
CREATE INDEX IF NOT EXISTS subject_record ON subject(record_id);
CREATE INDEX IF NOT EXISTS dependency_record ON dependency(record_id);
CREATE INDEX IF NOT EXISTS record_path ON record(path);
";

pub struct Store {
    connection: Connection,
}

/// A record file as it lies on disk, not yet believed.
#[derive(Debug, Clone)]
pub struct Record {
    pub path: PathBuf,
    pub sha256: String,
    pub unwrapped: bundle::Unwrapped,
    pub claims: Claims,
}

/// Reads and takes apart one record file.
pub fn read_record(path: &Path) -> Result<Record, LineageError> {
    let mut bytes = Vec::new();
    crate::tree::open_file(path)?.take(RECORD_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let unwrapped = bundle::unwrap(&bytes)?;
    let claims = statement::read(&unwrapped.statement)
        .ok_or_else(|| LineageError::Malformed("not a SLSA provenance statement".to_owned()))?;
    Ok(Record { path: path.to_owned(), sha256: digest::of_bytes(&bytes), unwrapped, claims })
}

impl Store {
    pub fn exists(state_dir: &Path) -> bool {
        state_dir.join(FILE_NAME).exists()
    }

    pub fn open(state_dir: &Path) -> Result<Store, LineageError> {
        fs::create_dir_all(state_dir)?;
        let connection = Connection::open(state_dir.join(FILE_NAME))?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A record that a power cut takes out of the index is found again by a rebuild.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version != SCHEMA_VERSION {
            connection.execute_batch(SCHEMA)?;
            connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        Ok(Store { connection })
    }

    /// Enters a record, or its new place when it is known already.
    pub fn add(&mut self, record: &Record) -> Result<(), LineageError> {
        let path = std::path::absolute(&record.path)?;
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute(
            "INSERT INTO record(sha256, path, finished) VALUES (?1, ?2, ?3)
             ON CONFLICT(sha256) DO UPDATE SET path = excluded.path",
            params![record.sha256, path.to_string_lossy(), record.claims.finished],
        )?;
        transaction.execute(
            "DELETE FROM record WHERE path = ?1 AND id NOT IN
                (SELECT id FROM record WHERE path = ?1 ORDER BY id DESC LIMIT ?2)",
            params![path.to_string_lossy(), RECORDS_OF_PATH_MAX],
        )?;
        let id: i64 =
            transaction.query_row("SELECT id FROM record WHERE sha256 = ?1", [&record.sha256], |row| row.get(0))?;
        transaction.execute("DELETE FROM subject WHERE record_id = ?1", [id])?;
        transaction.execute("DELETE FROM dependency WHERE record_id = ?1", [id])?;
        // A directory that was published may come back as one artifact.
        for subject in record.claims.subjects.iter().chain(&record.claims.whole()) {
            transaction.execute(
                "INSERT INTO subject(record_id, name, sha256) VALUES (?1, ?2, ?3)",
                params![id, subject.name, subject.sha256],
            )?;
        }
        for dependency in &record.claims.dependencies {
            transaction.execute(
                "INSERT INTO dependency(record_id, role, sha256) VALUES (?1, ?2, ?3)",
                params![id, dependency.role, dependency.sha256],
            )?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Enters every record below `dir`; what is no record of ours is passed by and counted.
    pub fn add_tree(&mut self, dir: &Path) -> Result<Found, LineageError> {
        let mut found = Found::default();
        self.add_below(dir, 0, &mut found)?;
        Ok(found)
    }

    fn add_below(&mut self, dir: &Path, depth: u32, found: &mut Found) -> Result<(), LineageError> {
        if depth > REBUILD_DEPTH_MAX {
            return Ok(());
        }
        let mut entries = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries {
            // `latest` is a link to a directory that is visited under its own name.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.add_below(&entry.path(), depth + 1, found)?;
            } else if kind.is_file() && entry.file_name().to_string_lossy().ends_with(RECORD_SUFFIX) {
                match read_record(&entry.path()) {
                    Ok(record) => {
                        self.add(&record)?;
                        found.records += 1;
                    }
                    Err(LineageError::Malformed(_)) => found.malformed += 1,
                    Err(other) => return Err(other),
                }
            }
        }
        Ok(())
    }

    fn records(&self, sql: &str, argument: &str) -> Result<Vec<PathBuf>, LineageError> {
        let mut query = self.connection.prepare(sql)?;
        let rows = query.query_map([argument], |row| row.get::<_, String>(0))?;
        Ok(rows.map(|row| row.map(PathBuf::from)).collect::<Result<_, _>>()?)
    }

    /// Records whose subject has this digest, the newest first.
    pub fn made_as(&self, sha256: &str) -> Result<Vec<PathBuf>, LineageError> {
        self.records(
            "SELECT DISTINCT path FROM record JOIN subject ON record_id = record.id
             WHERE subject.sha256 = ?1 ORDER BY finished DESC, path",
            sha256,
        )
    }

    /// Records that used this digest, as a source or as a plugin.
    pub fn made_from(&self, sha256: &str) -> Result<Vec<PathBuf>, LineageError> {
        self.records(
            "SELECT DISTINCT path FROM record JOIN dependency ON record_id = record.id
             WHERE dependency.sha256 = ?1 ORDER BY finished DESC, path",
            sha256,
        )
    }

    /// Where the record file with this digest lies.
    pub fn record_at(&self, record_sha256: &str) -> Result<Option<PathBuf>, LineageError> {
        let path: Option<String> = self
            .connection
            .query_row("SELECT path FROM record WHERE sha256 = ?1", [record_sha256], |row| row.get(0))
            .optional()?;
        Ok(path.map(PathBuf::from))
    }

    /// Digests that records know under this file name, the newest first.
    pub fn known_as(&self, name: &str) -> Result<Vec<String>, LineageError> {
        let mut query = self.connection.prepare(
            "SELECT subject.sha256 FROM record JOIN subject ON record_id = record.id
             WHERE subject.name = ?1 ORDER BY finished DESC",
        )?;
        let rows = query.query_map([name], |row| row.get::<_, String>(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    pub records: u64,
    pub malformed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record is entered in time that does not grow with what the index holds.
    #[test]
    fn nothing_is_searched_row_by_row() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for table in ["subject", "dependency"] {
            let sql = format!("EXPLAIN QUERY PLAN DELETE FROM {table} WHERE record_id = 1");
            let plan: String = store.connection.query_row(&sql, [], |row| row.get("detail")).unwrap();
            assert!(plan.starts_with("SEARCH"), "{plan}");
        }
    }
}
