//! Why a plugin file is not loaded: every step of the way in, each with what was found and what to do.

use super::conformance::{self, Ground, Outcome};
use crate::config;
use crate::digest;
use crate::host::find::{check_digest, check_trust, io_refusal, open, read};
use crate::host::{Found, Refusal, Registry, claims, demands};
use crate::tree;
use crate::worker::WorkerCommand;
use serde::Serialize;
use std::ffi::CStr;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where the dynamic linker looks, beside `LD_LIBRARY_PATH`.
const LIBRARY_DIRS: &[&str] = &[
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    Good,
    /// Worth knowing; the plugin loads.
    Odd,
    /// The plugin does not load, or is not asked.
    Bad,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Symptom {
    pub sign: Sign,
    pub step: &'static str,
    pub text: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    pub path: PathBuf,
    pub symptoms: Vec<Symptom>,
    pub healthy: bool,
}

/// Looks at the file, then loads it in a worker.
pub fn doctor(path: &Path, config: &config::Plugins, worker: &WorkerCommand) -> Diagnosis {
    let mut symptoms = Symptoms(Vec::new());
    symptoms.examine(path, config, worker);
    let healthy = symptoms.0.iter().all(|symptom| symptom.sign != Sign::Bad);
    Diagnosis { path: path.to_owned(), symptoms: symptoms.0, healthy }
}

struct Symptoms(Vec<Symptom>);

impl Symptoms {
    fn note(&mut self, sign: Sign, step: &'static str, text: impl Into<String>) {
        self.0.push(Symptom { sign, step, text: text.into() });
    }

    /// What a check came to; none when it refused.
    fn checked<T>(&mut self, step: &'static str, result: Result<T, Refusal>, good: impl Fn(&T) -> String) -> Option<T> {
        match result {
            Ok(value) => {
                self.note(Sign::Good, step, good(&value));
                Some(value)
            }
            Err(Refusal { found, needed, remedy, .. }) => {
                self.note(Sign::Bad, step, format!("found: {found}; needed: {needed}; to do: {remedy}"));
                None
            }
        }
    }

    /// Later steps only where the earlier ones leave something to look at.
    fn examine(&mut self, path: &Path, config: &config::Plugins, worker: &WorkerCommand) {
        let trust = super::trust(config);
        let trusted = tree::open_file(path).and_then(|file| file.metadata()).map_err(|e| io_refusal(path, &e));
        let trusted = trusted.and_then(|meta| check_trust(path, &meta, &trust));
        let is_trusted = self.checked("file", trusted, |()| "owner and permissions are as they should be".into());
        let Ok(file) = open(path) else { return };
        let found = self.checked("manifest", read(path, &file), |found| {
            format!("{} {}, plugin ABI {}", found.manifest.id, found.manifest.version, found.manifest.abi_major)
        });
        let Some(found) = found else { return };
        let allowed = check_digest(found.clone(), &trust);
        let is_allowed = self.checked("digest", allowed, |found| match trust.allow.is_empty() {
            true => format!("sha256 {} (no allow list)", found.sha256),
            false => format!("sha256 {} is on the allow list", found.sha256),
        });
        if let Some(demands) = self.checked("system", demands(path, &file), |_| "a whole ELF file".into()) {
            self.compare_glibc(demands.glibc.as_deref());
            demands.libraries.iter().for_each(|library| self.look_for(library));
            if demands.runpath.is_some_and(|path| path.contains("$ORIGIN")) {
                let text =
                    "RUNPATH with $ORIGIN means nothing here: plugins are loaded by content, not from their place";
                self.note(Sign::Odd, "system", text);
            }
        }
        self.compare_claims(&found, config);
        if is_trusted.is_some() && is_allowed.is_some() {
            self.try_loading(&found, worker);
        }
    }

    fn compare_glibc(&mut self, needed: Option<&str>) {
        // SAFETY: returns a constant text.
        let ours = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_string_lossy().into_owned();
        let Some(needed) = needed else { return };
        let number = |text: &str| -> Vec<u32> { text.split('.').map_while(|part| part.parse().ok()).collect() };
        let is_enough = number(needed.trim_start_matches("GLIBC_")) <= number(&ours);
        let text = format!("needs {needed}, this system has {ours}");
        let remedy = if is_enough { "" } else { "; build the plugin on a system as old as this one" };
        self.note(if is_enough { Sign::Good } else { Sign::Bad }, "glibc", format!("{text}{remedy}"));
    }

    fn look_for(&mut self, library: &str) {
        let configured = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let mut dirs = std::env::split_paths(&configured).chain(LIBRARY_DIRS.iter().map(PathBuf::from));
        match dirs.find(|dir| dir.join(library).exists()) {
            Some(dir) => self.note(Sign::Good, "library", format!("{library} is in {}", dir.display())),
            // /etc/ld.so.conf may name more directories; whether it loads is seen below.
            None => self.note(Sign::Odd, "library", format!("{library} is in none of the usual directories")),
        }
    }

    fn compare_claims(&mut self, found: &Found, config: &config::Plugins) {
        let mut all = super::discovered(config).found;
        let same = |other: &Found| digest_of(other) == digest_of(found);
        match all.iter().position(same) {
            Some(_) => self.note(Sign::Good, "search", "it lies on the search path"),
            None => {
                let shadow = all.iter().find(|other| other.manifest.id == found.manifest.id);
                match shadow {
                    Some(other) => {
                        let text =
                            format!("another file is the plugin {}: {}", other.manifest.id, other.path.display());
                        self.note(Sign::Bad, "search", format!("{text}; keep one of them"));
                    }
                    None => self.note(Sign::Odd, "search", "it does not lie on the search path"),
                }
                all.retain(|other| other.manifest.id != found.manifest.id);
                all.push(found.clone());
            }
        }
        let registry = Registry::new(all.iter().map(|found| &found.manifest));
        for claim in claims(&found.manifest) {
            if let Err(conflict) = registry.owner(&claim, &config.winners, |plugin| &all[plugin].manifest.id) {
                self.note(Sign::Bad, "claims", format!("{claim} is {}; {}", conflict.detail, conflict.hint));
            }
        }
    }

    fn try_loading(&mut self, found: &Found, worker: &WorkerCommand) {
        let result = conformance::one(found, Ground::Worker(worker), conformance::LOADS);
        match result.outcome {
            Outcome::Failed => self.note(Sign::Bad, "load", result.details.join("; ")),
            Outcome::Passed | Outcome::Skipped => {
                self.note(Sign::Good, "load", format!("loads in a worker ({})", result.details.join("; ")));
            }
        }
    }
}

fn digest_of(found: &Found) -> &str {
    debug_assert!(digest::is_sha256_hex(&found.sha256));
    &found.sha256
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.path.display())?;
        for Symptom { sign, step, text } in &self.symptoms {
            let mark = match sign {
                Sign::Good => "ok ",
                Sign::Odd => "?  ",
                Sign::Bad => "BAD",
            };
            writeln!(f, "    {mark} {step:<9}{text}")?;
        }
        writeln!(f, "{}", if self.healthy { "it will be loaded" } else { "it will not be loaded, or not be asked" })
    }
}
