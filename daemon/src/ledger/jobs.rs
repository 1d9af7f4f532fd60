//! Jobs and their attempts. An attempt is written down before it starts, so that one which takes the daemon with it
//! counts all the same.

use rusqlite::{OptionalExtension, Row, params};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Ledger, LedgerError, now_ms};
use crate::job::{JobKey, JobReport, exit};

/// Deaths of the daemon during one job before the job is blamed for them.
pub const INTERRUPTIONS_MAX: u32 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Queued,
    Running,
    Done,
    /// Waits for a plugin.
    Parked,
    /// Waits for its next attempt.
    Deferred,
    /// Failed for good.
    Quarantined,
    /// What it was made for is no longer there.
    Withdrawn,
    /// Its bundle was replaced by that of the same artifact under other options.
    Superseded,
}

const STATES: &[(State, &str)] = &[
    (State::Queued, "queued"),
    (State::Running, "running"),
    (State::Done, "done"),
    (State::Parked, "parked"),
    (State::Deferred, "deferred"),
    (State::Quarantined, "quarantined"),
    (State::Withdrawn, "withdrawn"),
    (State::Superseded, "superseded"),
];

impl State {
    pub fn as_str(self) -> &'static str {
        STATES.iter().find(|(state, _)| *state == self).map_or("", |(_, word)| word)
    }

    pub fn parse(word: &str) -> Option<State> {
        STATES.iter().find(|(_, known)| *known == word).map(|(state, _)| *state)
    }

    pub fn words() -> impl Iterator<Item = &'static str> {
        STATES.iter().map(|(_, word)| *word)
    }
}

/// Attempts of one job that are remembered, the last ones: each other set of plugins makes one, and so does each stop
/// of the daemon.
pub const ATTEMPTS_KEPT_MAX: u32 = 64;

/// A job to be entered: one artifact of one drop folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub key: JobKey,
    pub root: String,
    pub entry: String,
    pub out: PathBuf,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: i64,
    pub seq: i64,
    pub key: JobKey,
    pub root: String,
    pub entry: String,
    pub out: PathBuf,
    pub state: State,
    pub attempts: u32,
    pub interruptions: u32,
    pub not_before_ms: i64,
    pub exit_code: Option<i32>,
    pub reason: String,
    pub waits_for: BTreeSet<String>,
    pub plugin_set: String,
    pub plugins_used: BTreeSet<String>,
    pub bundle: Option<PathBuf>,
    pub report: Option<JobReport>,
    pub updated_ms: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Enqueued {
    /// To be run: new, or to be done again.
    Queued(i64),
    /// Nothing to do, or it waits for something.
    Known(Box<Job>),
}

const COLUMNS: &str = "id, seq, name, root, entry, out, digest, options_digest, state, attempts, interruptions, \
    not_before_ms, exit_code, reason, waits_for, plugin_set, plugins_used, bundle, report, updated_ms";

fn job_of(row: &Row) -> rusqlite::Result<Job> {
    let word: String = row.get(8)?;
    let state = State::parse(&word).ok_or_else(|| {
        let what = format!("unknown job state {word:?}");
        rusqlite::Error::FromSqlConversionFailure(8, rusqlite::types::Type::Text, what.into())
    })?;
    let set = |column: usize| -> rusqlite::Result<BTreeSet<String>> {
        let text: String = row.get(column)?;
        serde_json::from_str(&text).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
        })
    };
    let report: Option<String> = row.get(18)?;
    Ok(Job {
        id: row.get(0)?,
        seq: row.get(1)?,
        key: JobKey { name: row.get(2)?, digest: row.get(6)?, options_digest: row.get(7)? },
        root: row.get(3)?,
        entry: row.get(4)?,
        out: PathBuf::from(row.get::<_, String>(5)?),
        state,
        attempts: row.get(9)?,
        interruptions: row.get(10)?,
        not_before_ms: row.get(11)?,
        exit_code: row.get(12)?,
        reason: row.get(13)?,
        waits_for: set(14)?,
        plugin_set: row.get(15)?,
        plugins_used: set(16)?,
        bundle: row.get::<_, Option<String>>(17)?.map(PathBuf::from),
        // Of another version of recast, perhaps: what it says is shown, not needed.
        report: report.and_then(|text| serde_json::from_str(&text).ok()),
        updated_ms: row.get(19)?,
    })
}

fn json(value: &impl serde::Serialize) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(|error| LedgerError::Content(error.to_string()))
}

/// How long to wait after the given attempt (1, 2, ...): doubling, bounded, spread by a fifth so that jobs which failed
/// together don't come back together.
pub fn backoff(first: Duration, most: Duration, attempt: u32, job: i64) -> Duration {
    let doubled = first.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
    let base = doubled.min(most).as_secs_f64();
    // Not random: the same job at the same attempt waits as long, and a test can say how long.
    let mixed = (job as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(attempt % 64) >> 11;
    let spread = mixed as f64 / (1u64 << 53) as f64;
    Duration::from_secs_f64(base * (0.8 + 0.4 * spread))
}

impl Ledger {
    fn select(&self, clause: &str, arguments: impl rusqlite::Params) -> Result<Vec<Job>, LedgerError> {
        let mut query = self.connection.prepare(&format!("SELECT {COLUMNS} FROM job {clause}"))?;
        let rows = query.query_map(arguments, job_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub fn job(&self, id: i64) -> Result<Option<Job>, LedgerError> {
        Ok(self.select("WHERE id = ?1", [id])?.pop())
    }

    pub fn jobs(&self, state: Option<State>) -> Result<Vec<Job>, LedgerError> {
        self.select("WHERE ?1 IS NULL OR state = ?1 ORDER BY seq", [state.map(State::as_str)])
    }

    /// Jobs to start, the oldest first. A clock that jumped back must not hold a job for longer than any backoff.
    pub fn due(&self, now_ms: i64, wait_max: Duration, count_max: usize) -> Result<Vec<Job>, LedgerError> {
        let far = now_ms.saturating_add((wait_max.as_millis() as i64).saturating_mul(2));
        self.select(
            "WHERE state = 'queued' OR (state = 'deferred' AND (not_before_ms <= ?1 OR not_before_ms > ?2))
             ORDER BY seq LIMIT ?3",
            params![now_ms, far, count_max as i64],
        )
    }

    pub fn counts(&self) -> Result<Vec<(State, u64)>, LedgerError> {
        let mut query = self.connection.prepare("SELECT state, count(*) FROM job GROUP BY state")?;
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?)))?;
        let found: Vec<(String, u64)> = rows.collect::<Result<_, _>>()?;
        let count = |word: &str| found.iter().find(|(state, _)| state == word).map_or(0, |(_, count)| *count);
        Ok(STATES.iter().map(|(state, word)| (*state, count(word))).collect())
    }

    /// Enters a claimed artifact. `plugins` are those that may be loaded now: a result that used others is out of date.
    pub fn enqueue(&mut self, new: &NewJob, plugins: &BTreeSet<String>) -> Result<Enqueued, LedgerError> {
        let hex = new.key.hex(&new.out);
        let transaction = self.connection.transaction()?;
        let seq: i64 = transaction.query_row("SELECT coalesce(max(seq), 0) + 1 FROM job", [], |row| row.get(0))?;
        let known =
            transaction.query_row(&format!("SELECT {COLUMNS} FROM job WHERE key = ?1"), [&hex], job_of).optional()?;
        let id = match &known {
            None => {
                transaction.execute(
                    "INSERT INTO job(key, seq, name, root, entry, out, digest, options_digest, state,
                        created_ms, updated_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'queued', ?9, ?9)",
                    params![
                        hex,
                        seq,
                        new.key.name,
                        new.root,
                        new.entry,
                        new.out.to_string_lossy(),
                        new.key.digest,
                        new.key.options_digest,
                        now_ms()
                    ],
                )?;
                transaction.last_insert_rowid()
            }
            Some(job) => {
                transaction.execute(
                    "UPDATE job SET seq = ?2, root = ?3, entry = ?4, updated_ms = ?5 WHERE id = ?1",
                    params![job.id, seq, new.root, new.entry, now_ms()],
                )?;
                job.id
            }
        };
        let again = known.as_ref().is_some_and(|job| must_run_again(job, plugins));
        if again {
            transaction
                .execute("UPDATE job SET state = 'queued', attempts = 0, not_before_ms = 0 WHERE id = ?1", [id])?;
        }
        // The entry has other content now: what waited for the old content waits for nothing.
        transaction.execute(
            "UPDATE job SET state = 'withdrawn', reason = 'the artifact was replaced', updated_ms = ?4
             WHERE root = ?1 AND entry = ?2 AND id != ?3 AND state IN ('queued', 'deferred', 'parked')",
            params![new.root, new.entry, id, now_ms()],
        )?;
        transaction.commit()?;
        match self.job(id)? {
            Some(job) if job.state != State::Queued => Ok(Enqueued::Known(Box::new(job))),
            _ => Ok(Enqueued::Queued(id)),
        }
    }

    /// Writes an attempt down, before it starts; returns its number.
    pub fn begin(&mut self, id: i64, plugin_set: &str) -> Result<u32, LedgerError> {
        let transaction = self.connection.transaction()?;
        let number: u32 = transaction.query_row(
            "SELECT coalesce(max(number), 0) + 1 FROM attempt WHERE job_id = ?1",
            [id],
            |row| row.get(0),
        )?;
        transaction.execute(
            "INSERT INTO attempt(job_id, number, started_ms) VALUES (?1, ?2, ?3)",
            params![id, number, now_ms()],
        )?;
        transaction.execute(
            "DELETE FROM attempt WHERE job_id = ?1 AND number <= ?2 - ?3",
            params![id, number, ATTEMPTS_KEPT_MAX],
        )?;
        transaction.execute(
            "UPDATE job SET state = 'running', attempts = attempts + 1, plugin_set = ?2, updated_ms = ?3 WHERE id = ?1",
            params![id, plugin_set, now_ms()],
        )?;
        transaction.commit()?;
        Ok(number)
    }

    fn end(&mut self, id: i64, end: &End) -> Result<(), LedgerError> {
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "UPDATE attempt SET ended_ms = ?2, class = ?3, detail = ?4 WHERE job_id = ?1 AND ended_ms IS NULL",
            params![id, now_ms(), end.class, end.reason],
        )?;
        transaction.execute(
            "UPDATE job SET state = ?2, reason = ?3, not_before_ms = ?4, exit_code = ?5, waits_for = ?6,
                plugins_used = ?7, bundle = ?8, report = ?9, updated_ms = ?10 WHERE id = ?1",
            params![
                id,
                end.state.as_str(),
                end.reason,
                end.not_before_ms,
                end.report.exit_code,
                json(&end.report.waits_for)?,
                json(&end.report.plugins.iter().map(|plugin| &plugin.sha256).collect::<Vec<_>>())?,
                end.bundle.map(|bundle| bundle.to_string_lossy().into_owned()),
                json(end.report)?,
                now_ms()
            ],
        )?;
        if let Some(bundle) = end.bundle {
            transaction.execute(
                "UPDATE job SET state = 'superseded', updated_ms = ?3
                 WHERE bundle = ?2 AND id != ?1 AND state = 'done'",
                params![id, bundle.to_string_lossy(), now_ms()],
            )?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// The bundle is out and durable.
    pub fn done(&mut self, id: i64, report: &JobReport, bundle: &Path) -> Result<(), LedgerError> {
        self.end(id, &End { bundle: Some(bundle), ..End::new(State::Done, "done", "", report) })
    }

    pub fn park(&mut self, id: i64, report: &JobReport, reason: &str) -> Result<(), LedgerError> {
        self.end(id, &End::new(State::Parked, "parked", reason, report))
    }

    pub fn defer(&mut self, id: i64, report: &JobReport, reason: &str, wait: Duration) -> Result<(), LedgerError> {
        let not_before_ms = now_ms().saturating_add(wait.as_millis() as i64);
        self.end(id, &End { not_before_ms, ..End::new(State::Deferred, "retry", reason, report) })
    }

    pub fn quarantine(&mut self, id: i64, report: &JobReport, reason: &str) -> Result<(), LedgerError> {
        self.end(id, &End::new(State::Quarantined, "permanent", reason, report))
    }

    /// We stopped it ourselves: that attempt costs nothing.
    pub fn interrupt(&mut self, id: i64) -> Result<(), LedgerError> {
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "UPDATE attempt SET ended_ms = ?2, class = 'interrupted' WHERE job_id = ?1 AND ended_ms IS NULL",
            params![id, now_ms()],
        )?;
        transaction.execute(
            "UPDATE job SET state = 'queued', attempts = max(attempts - 1, 0), updated_ms = ?2 WHERE id = ?1",
            params![id, now_ms()],
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// What the job was made for is gone.
    pub fn withdraw(&mut self, id: i64, reason: &str) -> Result<(), LedgerError> {
        self.connection.execute(
            "UPDATE job SET state = 'withdrawn', reason = ?2, updated_ms = ?3
             WHERE id = ?1 AND state IN ('queued', 'deferred', 'parked', 'done')",
            params![id, reason, now_ms()],
        )?;
        Ok(())
    }

    /// Forgets jobs that came to nothing and that no entry of a drop folder stands for, except for the newest; returns
    /// those that it forgot.
    pub fn forget(&mut self, kept_max: u64) -> Result<Vec<Job>, LedgerError> {
        let forgotten = self.select(
            "WHERE state IN ('withdrawn', 'superseded', 'quarantined')
                AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.job_id = job.id)
             ORDER BY seq DESC, id DESC LIMIT -1 OFFSET ?1",
            [i64::try_from(kept_max).unwrap_or(i64::MAX)],
        )?;
        let transaction = self.connection.transaction()?;
        for job in &forgotten {
            transaction.execute("DELETE FROM attempt WHERE job_id = ?1", [job.id])?;
            transaction.execute("DELETE FROM job WHERE id = ?1", [job.id])?;
        }
        transaction.commit()?;
        Ok(forgotten)
    }

    /// Queues a job that failed or waits; false when it does neither.
    pub fn retry(&mut self, id: i64) -> Result<bool, LedgerError> {
        let changed = self.connection.execute(
            "UPDATE job SET state = 'queued', attempts = 0, interruptions = 0, not_before_ms = 0, updated_ms = ?2
             WHERE id = ?1 AND state IN ('quarantined', 'parked', 'deferred', 'withdrawn')",
            params![id, now_ms()],
        )?;
        Ok(changed == 1)
    }

    /// The plugins changed: queues what waited for what is there now, and what failed through a plugin that may be
    /// another one now. Each job is tried once per set of plugins, so one that parks again does not spin.
    pub fn plugins_changed(&mut self, claims: &BTreeSet<String>, plugin_set: &str) -> Result<Vec<i64>, LedgerError> {
        let waiting = self.select(
            "WHERE plugin_set != ?1 AND (state = 'parked' OR (state = 'quarantined' AND exit_code IN (?2, ?3)))
             ORDER BY seq",
            params![plugin_set, exit::UNSUPPORTED, exit::PLUGIN_CRASH],
        )?;
        let mut queued = Vec::new();
        for job in waiting {
            let served = job.waits_for.iter().all(|claim| claims.contains(claim));
            if served && self.retry(job.id)? {
                queued.push(job.id);
            }
        }
        Ok(queued)
    }

    /// Is there a later drop of the same name that was published already?
    pub fn is_latest(&self, job: &Job) -> Result<bool, LedgerError> {
        let newer: i64 = self.connection.query_row(
            "SELECT count(*) FROM job WHERE out = ?1 AND name = ?2 AND seq > ?3 AND state = 'done'",
            params![job.out.to_string_lossy(), job.key.name, job.seq],
            |row| row.get(0),
        )?;
        Ok(newer == 0)
    }

    pub fn attempts(&self, id: i64) -> Result<Vec<(u32, i64, String, String)>, LedgerError> {
        let mut query = self.connection.prepare(
            "SELECT number, started_ms, coalesce(class, 'running'), detail FROM attempt
             WHERE job_id = ?1 ORDER BY number",
        )?;
        let rows = query.query_map([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Dropped again: does what is known about it still hold?
fn must_run_again(job: &Job, plugins: &BTreeSet<String>) -> bool {
    match job.state {
        State::Done => !job.plugins_used.is_subset(plugins),
        State::Withdrawn | State::Superseded => true,
        State::Queued | State::Running | State::Parked | State::Deferred | State::Quarantined => false,
    }
}

struct End<'a> {
    state: State,
    class: &'static str,
    reason: &'a str,
    report: &'a JobReport,
    bundle: Option<&'a Path>,
    not_before_ms: i64,
}

impl<'a> End<'a> {
    fn new(state: State, class: &'static str, reason: &'a str, report: &'a JobReport) -> End<'a> {
        End { state, class, reason, report, bundle: None, not_before_ms: 0 }
    }
}
