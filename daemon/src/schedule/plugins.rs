//! The plugins that jobs may use: those that are found, without those that do nothing but crash.

use recast_plugin_api::diag::Code;
use std::time::{Duration, Instant};

use super::{Daemon, DaemonError, Message};
use crate::job::{JobReport, PluginUse};
use crate::runner::PluginSet;

/// How often the plugin directories are looked at.
const PLUGINS_EVERY: Duration = Duration::from_secs(2);

/// The plugin that a worker died in, and how, where one did.
fn blamed(report: &JobReport) -> Option<(&str, &str)> {
    let fatal = [Code::PluginCrashed, Code::PluginMisbehaved, Code::Timeout].map(Code::as_str);
    let first = report.diagnostics.first().filter(|finding| fatal.contains(&finding.code.as_str()))?;
    Some((&first.at, &first.detail))
}

impl Daemon {
    /// Other plugins than before: what waited for them runs, and what used those that are gone is done again.
    pub(super) fn take_plugins(&mut self, found: PluginSet) -> Result<(), DaemonError> {
        for finding in &found.findings {
            tracing::warn!("{}: {}", finding.at, finding.detail);
        }
        for member in &found.members {
            self.ledger.plugin_replaced(&member.id, &member.pin.sha256)?;
        }
        self.plugins_found = found;
        self.choose_plugins()
    }

    /// Leaves out what is in quarantine.
    pub(super) fn choose_plugins(&mut self) -> Result<(), DaemonError> {
        let faults = self.ledger.plugin_faults()?;
        let mut chosen = self.plugins_found.clone();
        chosen.members.retain(|member| {
            let fault = faults.iter().find(|fault| fault.quarantined && fault.sha256 == member.pin.sha256);
            if let Some(fault) = fault {
                tracing::error!("{}: {fault}", member.pin.path.display());
            }
            fault.is_none()
        });
        self.plugins = chosen;
        for station in &mut self.stations {
            station.root.reopen_all();
        }
        self.requeue_served()
    }

    pub(super) fn requeue_served(&mut self) -> Result<(), DaemonError> {
        let queued = self.ledger.plugins_changed(&self.plugins.claims(), &self.plugins.digest())?;
        if !queued.is_empty() {
            tracing::info!(jobs = queued.len(), "the plugins changed: jobs that waited for them are queued");
        }
        Ok(())
    }

    pub(super) fn look_for_plugins(&mut self) {
        if self.plugins_asked || self.plugins_at.elapsed() < PLUGINS_EVERY {
            return;
        }
        (self.plugins_asked, self.plugins_at) = (true, Instant::now());
        let (source, config, sender) = (self.plugin_source.clone(), self.config.plugins.clone(), self.sender.clone());
        tokio::task::spawn_blocking(move || {
            let found = source.scan(&config);
            // The loop has ended: nobody wants to know.
            let _ = sender.blocking_send(Message::Plugins(found));
        });
    }

    /// Remembers who ended a worker and who did not. To be called when the job's own fate is written down: a plugin
    /// that is now in quarantine takes its jobs with it, and they wait.
    pub(super) fn judge_plugins(&mut self, report: &JobReport) -> Result<(), DaemonError> {
        let Some((id, reason)) = blamed(report) else {
            let used = report.plugins.iter().map(|PluginUse { sha256, .. }| sha256.as_str());
            return Ok(self.ledger.plugins_worked(used)?);
        };
        // It may have been replaced while the job ran, or be nobody: "worker", a layer whose lowering panicked.
        let Some(member) = self.plugins.members.iter().find(|member| member.id == id).cloned() else { return Ok(()) };
        let crashes_max = self.config.plugins.crashes_max;
        let fault = self.ledger.plugin_crashed((id, &member.pin.sha256), reason, crashes_max)?;
        if fault.quarantined { self.choose_plugins() } else { Ok(()) }
    }
}
