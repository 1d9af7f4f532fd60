//! Plugins that end their workers. One crash costs one job; a plugin that does nothing but crash is put into
//! quarantine, and the jobs that need it wait as if it were not there, until its file is another one or somebody
//! releases it.

use rusqlite::{OptionalExtension, Row, params};

use super::{Ledger, LedgerError, now_ms};

/// Crashes of one plugin file in a row: a job that it brings to an end takes the row away.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    pub plugin: String,
    pub sha256: String,
    pub crashes: u32,
    /// What was said of the last one.
    pub reason: String,
    pub quarantined: bool,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Fault { plugin, crashes, reason, .. } = self;
        write!(
            f,
            "in quarantine after {crashes} crashes in a row, the last: {reason} (recast plugins release {plugin})"
        )
    }
}

const COLUMNS: &str = "plugin, sha256, crashes, reason, quarantined";

fn fault_of(row: &Row) -> rusqlite::Result<Fault> {
    Ok(Fault {
        plugin: row.get(0)?,
        sha256: row.get(1)?,
        crashes: row.get(2)?,
        reason: row.get(3)?,
        quarantined: row.get(4)?,
    })
}

impl Ledger {
    /// Counts a crash; the plugin is in quarantine from the `crashes_max`th in a row on (0: never).
    pub fn plugin_crashed(
        &mut self,
        (plugin, sha256): (&str, &str),
        reason: &str,
        crashes_max: u32,
    ) -> Result<Fault, LedgerError> {
        let sql = format!(
            "INSERT INTO plugin_fault({COLUMNS}, updated_ms) VALUES (?1, ?2, 1, ?3, ?4 = 1, ?5)
             ON CONFLICT(sha256) DO UPDATE SET plugin = ?1, crashes = crashes + 1, reason = ?3, updated_ms = ?5,
                quarantined = quarantined OR (?4 > 0 AND crashes + 1 >= ?4)
             RETURNING {COLUMNS}"
        );
        let row = params![plugin, sha256, reason, crashes_max, now_ms()];
        Ok(self.connection.query_row(&sql, row, fault_of)?)
    }

    /// They took part in a job that came to its end.
    pub fn plugins_worked<'a>(&mut self, digests: impl IntoIterator<Item = &'a str>) -> Result<(), LedgerError> {
        for sha256 in digests {
            let sql = "DELETE FROM plugin_fault WHERE sha256 = ?1 AND NOT quarantined";
            self.connection.execute(sql, [sha256])?;
        }
        Ok(())
    }

    /// A file with other content took the place of the one that crashed: nothing is known against it.
    pub fn plugin_replaced(&mut self, plugin: &str, sha256: &str) -> Result<(), LedgerError> {
        let sql = "DELETE FROM plugin_fault WHERE plugin = ?1 AND sha256 != ?2";
        self.connection.execute(sql, [plugin, sha256])?;
        Ok(())
    }

    /// Takes a plugin file out of quarantine; false when it was not in it.
    pub fn release(&mut self, sha256: &str) -> Result<bool, LedgerError> {
        let sql = "DELETE FROM plugin_fault WHERE sha256 = ?1 AND quarantined";
        Ok(self.connection.execute(sql, [sha256])? == 1)
    }

    pub fn plugin_faults(&self) -> Result<Vec<Fault>, LedgerError> {
        // Another version of recast wrote this ledger, and no daemon of this one has opened it yet.
        let table = "SELECT 1 FROM sqlite_schema WHERE name = 'plugin_fault'";
        if self.connection.query_row(table, [], |_| Ok(())).optional()?.is_none() {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT {COLUMNS} FROM plugin_fault ORDER BY plugin, sha256");
        let mut query = self.connection.prepare(&sql)?;
        let rows = query.query_map([], fault_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
