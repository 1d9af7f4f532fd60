//! The tables. A ledger of an older version gets what it lacks; one of a newer version is rebuilt from the outputs, as
//! a lost one is.

use rusqlite::Connection;

const VERSION: i64 = 3;

const TABLES: &str = "
CREATE TABLE job (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    -- Grows whenever the artifact is dropped (again): decides what `latest` means.
    seq INTEGER NOT NULL,
    name TEXT NOT NULL,
    root TEXT NOT NULL,
    entry TEXT NOT NULL,
    out TEXT NOT NULL,
    digest TEXT NOT NULL,
    options_digest TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    interruptions INTEGER NOT NULL DEFAULT 0,
    not_before_ms INTEGER NOT NULL DEFAULT 0,
    exit_code INTEGER,
    reason TEXT NOT NULL DEFAULT '',
    waits_for TEXT NOT NULL DEFAULT '[]',
    -- The whole set that the last attempt could choose from, and the digests of those that it used.
    plugin_set TEXT NOT NULL DEFAULT '',
    plugins_used TEXT NOT NULL DEFAULT '[]',
    bundle TEXT,
    report TEXT,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
);
CREATE INDEX job_state ON job(state, seq);
CREATE INDEX job_entry ON job(root, entry);
CREATE INDEX job_name ON job(out, name, seq);
CREATE TABLE attempt (
    job_id INTEGER NOT NULL REFERENCES job(id),
    number INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    -- done, parked, retry, permanent, interrupted
    class TEXT,
    detail TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (job_id, number)
);
CREATE TABLE entry (
    root TEXT NOT NULL,
    name BLOB NOT NULL,
    shown TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    job_id INTEGER REFERENCES job(id),
    -- What the watch asked for when the entry was taken: another configuration takes it again.
    watch_digest TEXT NOT NULL DEFAULT '',
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (root, name)
);
";

/// Since version 2.
const PLUGIN_FAULT: &str = "
CREATE TABLE plugin_fault (
    sha256 TEXT PRIMARY KEY,
    plugin TEXT NOT NULL,
    -- In a row.
    crashes INTEGER NOT NULL,
    reason TEXT NOT NULL,
    quarantined INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
);
";

/// Since version 3: which entries stand for a job.
const ENTRY_JOB: &str = "CREATE INDEX IF NOT EXISTS entry_job ON entry(job_id);";

pub fn apply(connection: &Connection) -> Result<(), rusqlite::Error> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        VERSION => Ok(()),
        0..VERSION => {
            let transaction = connection.unchecked_transaction()?;
            if version == 0 {
                transaction.execute_batch(TABLES)?;
            }
            if version < 2 {
                transaction.execute_batch(PLUGIN_FAULT)?;
            }
            transaction.execute_batch(ENTRY_JOB)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()
        }
        other => {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
            Err(rusqlite::Error::SqliteFailure(code, Some(format!("ledger version {other}, this is {VERSION}"))))
        }
    }
}
