//! Which plugins there are, and what one says about itself. No plugin code runs.

use crate::config;
use crate::host::{Demands, Found, Refusal, Registry, claims, demands};
use crate::job::Finding;
use crate::ledger::Fault;
use recast_plugin_api::plugin::Manifest;
use serde::Serialize;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

/// Names shown of a long list before the rest is only counted.
const NAMES_SHOWN: usize = 6;

#[derive(Debug, Clone, Serialize)]
pub struct Listing {
    pub plugins: Vec<Inspected>,
    pub refused: Vec<Refusal>,
    /// Claims that nobody owns, because several plugins make them.
    pub conflicts: Vec<Finding>,
    pub searched: Vec<PathBuf>,
}

/// One plugin file.
#[derive(Debug, Clone, Serialize)]
pub struct Inspected {
    pub path: PathBuf,
    pub sha256: String,
    pub bytes: u64,
    #[serde(flatten)]
    pub manifest: Manifest,
    /// `layer:Dense`, `format:keras-h5`, `target:onnx`.
    pub claims: Vec<String>,
    /// Why no daemon uses it at the moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Fault>,
    /// What it needs of the system; only of a plugin that was asked for by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demands: Option<Demands>,
}

impl From<Found> for Inspected {
    fn from(found: Found) -> Inspected {
        let Found { path, sha256, bytes, manifest } = found;
        Inspected { path, sha256, bytes, claims: claims(&manifest), manifest, quarantine: None, demands: None }
    }
}

/// `faults`: what a ledger knows against plugin files.
pub fn list(config: &config::Plugins, faults: &[Fault]) -> Listing {
    let discovery = super::discovered(config);
    let registry = Registry::new(discovery.found.iter().map(|found| &found.manifest));
    let conflicts = registry.conflicts(&config.winners, |plugin| &discovery.found[plugin].manifest.id);
    Listing {
        conflicts: conflicts.iter().map(Finding::from).collect(),
        plugins: discovery.found.into_iter().map(|found| known(found, faults)).collect(),
        refused: discovery.refused,
        searched: discovery.searched,
    }
}

fn known(found: Found, faults: &[Fault]) -> Inspected {
    let fault = faults.iter().find(|fault| fault.quarantined && fault.sha256 == found.sha256);
    Inspected { quarantine: fault.cloned(), ..Inspected::from(found) }
}

/// What a file says about itself. Whose file it is and whether it may be loaded is the doctor's business.
pub fn inspect(path: &Path) -> Result<Inspected, Refusal> {
    let file = super::super::find::open(path)?;
    let mut inspected = Inspected::from(super::super::find::read(path, &file)?);
    inspected.demands = Some(demands(path, &file)?);
    Ok(inspected)
}

impl Inspected {
    /// `lowers  Dense, ... (104 in all)`, one line for each kind.
    fn offers(&self, shown: usize) -> String {
        let mut text = String::new();
        for (kind, label) in [("format", "reads"), ("target", "writes"), ("layer", "lowers")] {
            let prefix = format!("{kind}:");
            let names: Vec<&str> = self.claims.iter().filter_map(|claim| claim.strip_prefix(&prefix)).collect();
            if names.is_empty() {
                continue;
            }
            let list = names[..names.len().min(shown)].join(", ");
            let more = if names.len() > shown { format!(", ... ({} in all)", names.len()) } else { String::new() };
            let _ = writeln!(text, "    {label:<8}{list}{more}");
        }
        text
    }

    fn head(&self) -> String {
        let Manifest { id, name, version, .. } = &self.manifest;
        format!("{id} {version}  {name}\n    file    {}\n", self.path.display())
    }
}

impl fmt::Display for Inspected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Manifest { license, url, abi_major, sdk, rustc, target, panic, needs, .. } = &self.manifest;
        f.write_str(&self.head())?;
        let mut row = |label: &str, text: &str| match text {
            "" => Ok(()),
            text => writeln!(f, "    {label:<8}{text}"),
        };
        row("sha256", &self.sha256)?;
        row("bytes", &self.bytes.to_string())?;
        row("abi", &abi_major.to_string())?;
        row("license", license)?;
        row("url", url)?;
        row("built", &[sdk.as_str(), rustc, target, panic].join("  "))?;
        row("needs", &needs.join(", "))?;
        if let Some(demands) = &self.demands {
            row("system", &format!("{} {}", demands.libraries.join(" "), demands.glibc.as_deref().unwrap_or("")))?;
        }
        f.write_str(&self.offers(usize::MAX))
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for plugin in &self.plugins {
            write!(f, "{}{}", plugin.head(), plugin.offers(NAMES_SHOWN))?;
            plugin.quarantine.iter().try_for_each(|fault| writeln!(f, "    {fault}"))?;
        }
        if self.plugins.is_empty() {
            writeln!(f, "no plugins; searched:")?;
            self.searched.iter().try_for_each(|dir| writeln!(f, "    {}", dir.display()))?;
        }
        for conflict in &self.conflicts {
            writeln!(f, "conflict: {}: {} ({})", conflict.at, conflict.detail, conflict.hint)?;
        }
        self.refused.iter().try_for_each(|refusal| writeln!(f, "refused: {refusal}"))
    }
}
