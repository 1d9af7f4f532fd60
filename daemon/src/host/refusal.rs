//! Why a plugin file is not used, in one line: what was found, what is needed, what to do.

use recast_plugin_api::diag::{Code, Diag};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// The step of the way in at which a file was refused, in the order in which the steps are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The file as such: owner, permissions, kind.
    File,
    /// A library for this machine?
    Elf,
    /// What it says about itself, before any of its code runs.
    Manifest,
    /// Is it one of those that may be loaded?
    Digest,
    /// The dynamic linker.
    Open,
    /// The types of the boundary.
    Layout,
    /// The tables that it offers and those that it needs.
    Extensions,
    /// Another file claims to be the same plugin.
    Duplicate,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    pub path: PathBuf,
    pub step: Step,
    pub found: String,
    pub needed: String,
    pub remedy: String,
}

impl Refusal {
    pub fn new(
        path: &Path,
        step: Step,
        found: impl Into<String>,
        needed: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Refusal {
        // Texts of the dynamic linker and of abi_stable come with line breaks; a refusal is one line.
        let line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        Refusal {
            path: path.to_owned(),
            step,
            found: line(found.into()),
            needed: line(needed.into()),
            remedy: line(remedy.into()),
        }
    }

    /// The file holds no plugin at all: nothing to tell anybody who did not ask about this file.
    pub fn is_not_a_plugin(&self) -> bool {
        self.step <= Step::Manifest && self.found.starts_with(NOT_A_PLUGIN)
    }

    pub fn diag(&self) -> Diag {
        let at = self.path.display().to_string();
        Diag::new(Code::PluginRefused, at, format!("found: {}; needed: {}", self.found, self.needed))
            .hint(self.remedy.clone())
    }
}

pub(super) const NOT_A_PLUGIN: &str = "not a recast plugin";

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "{path}: found: {}; needed: {}; to do: {}", self.found, self.needed, self.remedy)
    }
}

impl std::error::Error for Refusal {}
