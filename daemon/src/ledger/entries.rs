//! What lies in the drop folders, as it was last judged: why something is not taken, and which job took what.

use rusqlite::{OptionalExtension, Row, params};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::{Ledger, LedgerError, now_ms};
use crate::tree::printable;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryState {
    /// Not looked at long enough, or its format says that more is to come.
    Settling,
    Taken,
    /// Never, as it is: a link, a device, an impossible name.
    Refused,
    /// Stayed incomplete for longer than the configuration allows.
    Incomplete,
    /// A companion without its artifact.
    Waiting,
}

const STATES: &[(EntryState, &str)] = &[
    (EntryState::Settling, "settling"),
    (EntryState::Taken, "taken"),
    (EntryState::Refused, "refused"),
    (EntryState::Incomplete, "incomplete"),
    (EntryState::Waiting, "waiting"),
];

impl EntryState {
    pub fn as_str(self) -> &'static str {
        STATES.iter().find(|(state, _)| *state == self).map_or("", |(_, word)| word)
    }

    fn parse(word: &str) -> EntryState {
        // A word that is not in the table was not written by this version: judge the entry afresh.
        STATES.iter().find(|(_, known)| *known == word).map_or(EntryState::Settling, |(state, _)| *state)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRow {
    pub root: String,
    pub name: OsString,
    pub fingerprint: String,
    pub state: EntryState,
    pub reason: String,
    pub job_id: Option<i64>,
    pub watch_digest: String,
}

const COLUMNS: &str = "root, name, fingerprint, state, reason, job_id, watch_digest";

fn entry_of(row: &Row) -> rusqlite::Result<EntryRow> {
    Ok(EntryRow {
        root: row.get(0)?,
        name: OsString::from_vec(row.get(1)?),
        fingerprint: row.get(2)?,
        state: EntryState::parse(&row.get::<_, String>(3)?),
        reason: row.get(4)?,
        job_id: row.get(5)?,
        watch_digest: row.get(6)?,
    })
}

impl Ledger {
    /// Writes the judgements of one scan, and forgets what is no longer there, in one commit.
    pub fn record_entries(&mut self, rows: &[EntryRow], root: &str, gone: &[OsString]) -> Result<(), LedgerError> {
        if rows.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        for row in rows {
            transaction.execute(
                "INSERT INTO entry(root, name, shown, fingerprint, state, reason, job_id, watch_digest, updated_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT(root, name) DO UPDATE SET shown = excluded.shown, fingerprint = excluded.fingerprint,
                    state = excluded.state, reason = excluded.reason, job_id = excluded.job_id,
                    watch_digest = excluded.watch_digest, updated_ms = excluded.updated_ms",
                params![
                    row.root,
                    row.name.as_bytes(),
                    printable(&row.name),
                    row.fingerprint,
                    row.state.as_str(),
                    row.reason,
                    row.job_id,
                    row.watch_digest,
                    now_ms()
                ],
            )?;
        }
        for name in gone {
            transaction.execute("DELETE FROM entry WHERE root = ?1 AND name = ?2", params![root, name.as_bytes()])?;
        }
        transaction.commit()?;
        Ok(())
    }

    pub fn entry(&self, root: &str, name: &OsStr) -> Result<Option<EntryRow>, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM entry WHERE root = ?1 AND name = ?2");
        Ok(self.connection.query_row(&sql, params![root, name.as_bytes()], entry_of).optional()?)
    }

    pub fn entries(&self, root: Option<&str>) -> Result<Vec<EntryRow>, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM entry WHERE ?1 IS NULL OR root = ?1 ORDER BY root, name");
        let mut query = self.connection.prepare(&sql)?;
        let rows = query.query_map([root], entry_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
