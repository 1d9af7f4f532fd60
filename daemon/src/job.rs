//! What one job is and what came of it: the words that the command line, the daemon, the worker process and the
//! ledger share. `JobSpec` goes to the worker, `JobReport` comes back; both cross as one line of JSON.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use recast_plugin_api::diag::Code;
use recast_plugin_api::messages::ReadLimits;

use crate::digest;

/// How far an output must be proved before it may be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// What is not verified is not published.
    #[default]
    Required,
    /// Publish what could not be checked, and say so; a mismatch is still never published.
    BestEffort,
    Off,
}

/// What agreed, weakest first, so that `max` and `>=` mean what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    None,
    Structural,
    Reference,
    Witness,
    Oracle,
    Golden,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetSpec {
    /// A target's public name: `onnx`, `keras`, `h5`, `torch`, ...
    pub name: String,
    /// Options of that target, as its plugin documents them (`opset`, `external_data`, ...).
    #[serde(default)]
    pub options: BTreeMap<String, serde_json::Value>,
}

/// A plugin file pinned by content: the worker loads these bytes or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginPin {
    pub path: PathBuf,
    /// Lower-case hex.
    pub sha256: String,
}

/// Bounds of one worker process; each has a key under `[limits]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerLimits {
    pub memory_bytes_max: u64,
    pub cpu_seconds_max: u64,
    pub wall_seconds_max: u64,
    pub output_bytes_max: u64,
    pub open_files_max: u64,
    /// One array of an artifact.
    pub tensor_bytes_max: u64,
    /// One configuration of an artifact.
    pub json_bytes_max: u64,
    /// Layers of all models of an artifact together.
    pub layers_max: u32,
}

impl WorkerLimits {
    /// What a source is held to.
    pub fn of_reading(&self) -> ReadLimits {
        ReadLimits {
            tensor_bytes_max: self.tensor_bytes_max,
            json_bytes_max: self.json_bytes_max,
            layers_max: self.layers_max,
            ..ReadLimits::default()
        }
    }
}

impl Default for WorkerLimits {
    fn default() -> Self {
        WorkerLimits {
            memory_bytes_max: 32 << 30,
            cpu_seconds_max: 3600,
            wall_seconds_max: 1800,
            output_bytes_max: 64 << 30,
            open_files_max: 256,
            tensor_bytes_max: 8 << 30,
            json_bytes_max: 64 << 20,
            layers_max: 100_000,
        }
    }
}

/// A program of the machine's owner that takes part in a check, and its bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandSpec {
    /// The program's path, then its first arguments.
    pub command: Vec<String>,
    pub seconds_max: u64,
    /// Address space.
    pub memory_bytes_max: u64,
}

/// What a worker asks its parent to run: it may not start programs itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandRequest {
    /// A key of `VerifySpec::runtimes`; none is the oracle.
    pub runtime: Option<String>,
    /// Below the staging directory: where the program runs.
    pub dir: PathBuf,
    /// Paths below the staging directory, or the artifact.
    pub args: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct VerifySpec {
    pub policy: Policy,
    /// Fixed tolerances on top of the one that the evaluator derives; both or neither.
    pub rtol: Option<f64>,
    pub atol: Option<f64>,
    pub seed: u64,
    /// `libonnxruntime.so`, when it is configured or was found.
    pub onnxruntime: Option<PathBuf>,
    /// What runs outputs that no runtime here runs, by the name that targets give it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runtimes: BTreeMap<String, CommandSpec>,
    /// Computes the artifact's outputs in the original framework.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oracle: Option<CommandSpec>,
}

/// Format -> option -> value.
pub type SourceOptions = BTreeMap<String, BTreeMap<String, serde_json::Value>>;

/// Who asks at a command line needs not know what reads the artifact.
pub const ANY_FORMAT: &str = "";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The artifact's name without its suffix: names the bundle and every file in it.
    pub name: String,
    /// The artifact where the worker reads it: in place (`convert`) or in the daemon's staging.
    pub artifact: PathBuf,
    /// Architecture JSON that goes with a weights-only file.
    pub architecture: Option<PathBuf>,
    /// Inputs and outputs that the user recorded from the original framework.
    pub golden: Option<PathBuf>,
    /// Content digest when the claim already knows it; else the worker hashes while it reads.
    pub digest: Option<String>,
    pub targets: Vec<TargetSpec>,
    /// Where the worker writes its outputs; empty at the start, on the file system of the bundle's place.
    pub staging: PathBuf,
    pub verify: VerifySpec,
    pub plugins: Vec<PluginPin>,
    /// Winners that the config names where two plugins claim one class or format: claim -> plugin id.
    #[serde(default)]
    pub winners: BTreeMap<String, String>,
    /// What layers compute whose code is never run: layer path -> expression, as the config says.
    #[serde(default)]
    pub expressions: BTreeMap<String, String>,
    /// Options of sources, by the format that they read; `ANY_FORMAT`: of whichever reads the artifact.
    #[serde(default)]
    pub sources: SourceOptions,
    pub limits: WorkerLimits,
    /// Threads that the worker and its plugins share.
    pub threads: usize,
    /// Look only: what is in the artifact, and whether each target can be made of it.
    #[serde(default)]
    pub inspect: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Verified,
    Unverified,
    Parked,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    pub level: Level,
    /// `rten 0.27.0`, `onnxruntime 1.23.0`, `none`.
    pub runtime: String,
    #[serde(deserialize_with = "number_or_nan")]
    pub max_abs_error: f64,
    #[serde(deserialize_with = "number_or_nan")]
    pub max_rel_error: f64,
    /// Output rows compared.
    pub samples: u64,
    /// Why the level is no higher, what was decomposed for the check; empty when there is nothing to add.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// JSON has no NaN: it is written as null, and has to come back.
fn number_or_nan<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Relative to the bundle.
    pub path: String,
    pub sha256: String,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    pub target: String,
    /// The primary file or directory, relative to the bundle.
    pub path: String,
    /// Of the primary file.
    pub sha256: String,
    pub verification: Verification,
    /// Every file of this output, the primary one first.
    pub files: Vec<OutputFile>,
}

/// A finding as it is reported: see `recast_plugin_api::diag` for the codes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub code: String,
    /// `error`, `warning` (a loss) or `note`.
    pub severity: String,
    /// Layer path, file member, or node.
    pub at: String,
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

/// A plugin that took part, for lineage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginUse {
    pub id: String,
    pub name: String,
    pub version: String,
    pub sha256: String,
    /// `reader`, `writer`, `layers`.
    pub role: String,
    pub extension: String,
    pub rustc: String,
    /// `Acme>SpectralNorm x4`.
    pub layers: Vec<String>,
    /// What a writer wrote in this job.
    #[serde(default)]
    pub targets: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobReport {
    pub status: Status,
    /// sha256 of the artifact's content, lower-case hex.
    pub digest: String,
    pub source_format: String,
    pub source_version: String,
    /// What was chosen of an artifact that holds several things (`signature`), by the user or by the source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source_options: BTreeMap<String, String>,
    pub outputs: Vec<Output>,
    pub diagnostics: Vec<Finding>,
    /// What a parked job waits for, as claims: `layer:my_pkg>MyLayer`, `format:npz`.
    pub waits_for: Vec<String>,
    pub plugins: Vec<PluginUse>,
    /// Stage -> milliseconds: read, lower, passes, write, verify, total.
    pub timings_ms: BTreeMap<String, f64>,
    /// 0, or the exit code of the first error's class (see `exit`).
    pub exit_code: i32,
    /// Only of a job that was to look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspection: Option<crate::inspect::Inspection>,
}

impl JobSpec {
    /// Digest of everything but the artifact and the plugins that decides what a job writes and how it is checked.
    pub fn options_digest(&self, golden_sha256: Option<&str>, architecture_sha256: Option<&str>) -> String {
        let canonical = serde_json::json!({
            "recast": env!("CARGO_PKG_VERSION"),
            "targets": self.targets,
            "verify": self.verify,
            "winners": self.winners,
            "expressions": self.expressions,
            "sources": self.sources,
            "golden": golden_sha256,
            "architecture": architecture_sha256,
        });
        digest::of_bytes(canonical.to_string().as_bytes())
    }
}

/// What makes two jobs the same job. The plugins are not in it: a job remembers which of them it used, and is done
/// again when one of those is replaced, not whenever any plugin comes or goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobKey {
    pub digest: String,
    pub options_digest: String,
    pub name: String,
}

impl JobKey {
    pub fn hex(&self, out: &Path) -> String {
        let mut text = format!("recast-job/1\n{}\n{}\n{}\n", self.digest, self.options_digest, self.name).into_bytes();
        text.extend_from_slice(out.as_os_str().as_bytes());
        digest::of_bytes(&text)
    }
}

/// Exit codes: scripts rely on them.
pub mod exit {
    pub const OK: i32 = 0;
    pub const BUG: i32 = 1;
    pub const USAGE: i32 = 2;
    pub const UNSUPPORTED: i32 = 3;
    pub const MALFORMED: i32 = 4;
    pub const VERIFICATION: i32 = 5;
    pub const IO: i32 = 6;
    pub const PLUGIN_CRASH: i32 = 7;

    /// Several artifacts, one exit code: the one that outweighs the others.
    pub fn worst(codes: impl IntoIterator<Item = i32>) -> i32 {
        const LIGHTEST_FIRST: [i32; 8] = [OK, UNSUPPORTED, MALFORMED, VERIFICATION, IO, PLUGIN_CRASH, USAGE, BUG];
        let weight = |code: &i32| LIGHTEST_FIRST.iter().position(|known| known == code).unwrap_or(LIGHTEST_FIRST.len());
        codes.into_iter().max_by_key(weight).unwrap_or(OK)
    }
}

impl Finding {
    pub fn error(code: Code, at: impl Into<String>, detail: impl Into<String>) -> Finding {
        Finding {
            code: code.as_str().to_owned(),
            severity: "error".to_owned(),
            at: at.into(),
            detail: detail.into(),
            hint: String::new(),
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Finding {
        self.hint = hint.into();
        self
    }
}

impl JobReport {
    /// A job that came to nothing, for one reason.
    pub fn failed(finding: Finding) -> JobReport {
        let exit_code = Code::parse(&finding.code).map_or(exit::BUG, |code| code.class().exit_code());
        JobReport { diagnostics: vec![finding], exit_code, ..JobReport::blank() }
    }

    /// Of a job that has not come to anything yet.
    pub fn blank() -> JobReport {
        JobReport {
            status: Status::Failed,
            digest: String::new(),
            source_format: String::new(),
            source_version: String::new(),
            source_options: BTreeMap::new(),
            outputs: Vec::new(),
            diagnostics: Vec::new(),
            waits_for: Vec::new(),
            plugins: Vec::new(),
            timings_ms: BTreeMap::new(),
            exit_code: 0,
            inspection: None,
        }
    }

    pub fn has(&self, code: Code) -> bool {
        self.diagnostics.iter().any(|finding| finding.code == code.as_str() && finding.severity == "error")
    }
}
