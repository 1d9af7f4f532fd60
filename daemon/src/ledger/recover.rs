//! The start after an end that nobody chose: what ran is queued again, and what the outputs say is taken over. With the
//! ledger lost, the outputs alone tell what need not be done again.

use rusqlite::params;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::jobs::INTERRUPTIONS_MAX;
use super::{Ledger, LedgerError, now_ms};
use crate::digest;
use crate::publish::read_bundle;
use crate::report::BundleReport;

/// What the comparison of ledger and outputs changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Published before the ledger could be told.
    pub found_done: u64,
    /// Bundles that the ledger did not know.
    pub adopted: u64,
    /// Done, and the bundle is not there.
    pub lost: u64,
}

impl Ledger {
    /// What was running when the daemon died is queued again; a job that outlived too many daemons is blamed.
    pub fn recover(&mut self) -> Result<u64, LedgerError> {
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "UPDATE attempt SET ended_ms = ?1, class = 'interrupted', detail = 'the daemon ended'
             WHERE ended_ms IS NULL",
            [now_ms()],
        )?;
        let recovered = transaction.execute(
            "UPDATE job SET state = 'queued', attempts = max(attempts - 1, 0), interruptions = interruptions + 1,
                updated_ms = ?1 WHERE state = 'running'",
            [now_ms()],
        )?;
        transaction.execute(
            "UPDATE job SET state = 'quarantined', exit_code = 1, updated_ms = ?2,
                reason = 'the daemon ended ' || interruptions || ' times while this ran'
             WHERE state = 'queued' AND interruptions >= ?1",
            params![INTERRUPTIONS_MAX, now_ms()],
        )?;
        transaction.commit()?;
        Ok(recovered as u64)
    }

    /// Compares the ledger with what is published below `out`.
    pub fn reconcile(&mut self, out: &Path) -> Result<Reconciled, LedgerError> {
        let mut result = Reconciled::default();
        for path in bundles(out)? {
            let known: i64 = self.connection.query_row(
                "SELECT count(*) FROM job WHERE bundle = ?1 AND state = 'done'",
                [path.to_string_lossy()],
                |row| row.get(0),
            )?;
            if known == 0
                && let Some(bundle) = read_bundle(&path)
            {
                self.adopt(out, &path, &bundle, &mut result)?;
            }
        }
        let done = self.jobs(Some(super::State::Done))?;
        for job in done.iter().filter(|job| job.out == out) {
            if !job.bundle.as_ref().is_some_and(|bundle| bundle.is_dir()) {
                self.withdraw(job.id, "its bundle is no longer there")?;
                result.lost += 1;
            }
        }
        Ok(result)
    }

    fn adopt(
        &mut self,
        out: &Path,
        path: &Path,
        bundle: &BundleReport,
        into: &mut Reconciled,
    ) -> Result<(), LedgerError> {
        let key = bundle.job.hex(out);
        let used: Vec<&String> = bundle.plugins.iter().map(|plugin| &plugin.sha256).collect();
        let used = serde_json::to_string(&used).map_err(|error| LedgerError::Content(error.to_string()))?;
        let transaction = self.connection.transaction()?;
        let updated = transaction.execute(
            "UPDATE job SET state = 'done', bundle = ?2, plugins_used = ?3, exit_code = 0, reason = '', updated_ms = ?4
             WHERE key = ?1",
            params![key, path.to_string_lossy(), used, now_ms()],
        )?;
        if updated == 0 {
            transaction.execute(
                "INSERT INTO job(key, seq, name, root, entry, out, digest, options_digest, state, exit_code,
                    plugins_used, bundle, created_ms, updated_ms)
                 VALUES (?1, 0, ?2, '', ?3, ?4, ?5, ?6, 'done', 0, ?7, ?8, ?9, ?9)",
                params![
                    key,
                    bundle.job.name,
                    bundle.report.artifact,
                    out.to_string_lossy(),
                    bundle.job.digest,
                    bundle.job.options_digest,
                    used,
                    path.to_string_lossy(),
                    now_ms()
                ],
            )?;
            into.adopted += 1;
        } else {
            into.found_done += 1;
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Every `out/<name>/<12 hex digits>`.
fn bundles(out: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in directories(out)? {
        for bundle in directories(&name)? {
            let short = bundle.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if short.len() == digest::SHORT_HEX_LEN && short.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                found.push(bundle);
            }
        }
    }
    Ok(found)
}

fn directories(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() && !entry.file_name().to_string_lossy().starts_with('.') {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
