//! The configuration as the file spells it. An unknown key is an error: a misspelt limit must not pass for a default.

use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::job::{Policy, WorkerLimits};
use crate::tree::Bounds;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    // Not the default's folder: a file that names none watches none.
    #[serde(default = "Vec::new")]
    pub watch: Vec<RawWatch>,
    #[serde(default)]
    pub state: RawState,
    #[serde(default)]
    pub plugins: RawPlugins,
    #[serde(default)]
    pub limits: RawLimits,
    #[serde(default)]
    pub verify: RawVerify,
    /// Options of a target as its plugin documents them: the plugin checks them, not this file's reader.
    #[serde(default)]
    pub targets: BTreeMap<String, BTreeMap<String, toml::Value>>,
    /// Options of what reads a format, by `FORMAT` or `FORMAT:MODEL`: the plugin checks them.
    #[serde(default)]
    pub sources: BTreeMap<String, BTreeMap<String, toml::Value>>,
    #[serde(default)]
    pub lambda: BTreeMap<String, RawLambda>,
    #[serde(default)]
    pub lineage: RawLineage,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLambda {
    pub expression: String,
}

impl Default for RawConfig {
    /// The shipped configuration: it converts the samples of this repository.
    fn default() -> Self {
        RawConfig {
            watch: vec![RawWatch { path: "tests/samples".into(), out: "out".into(), ..RawWatch::default() }],
            state: RawState::default(),
            plugins: RawPlugins::default(),
            limits: RawLimits::default(),
            verify: RawVerify::default(),
            targets: BTreeMap::new(),
            sources: BTreeMap::new(),
            lambda: BTreeMap::new(),
            lineage: RawLineage::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum WatchMode {
    /// The kernel says when to look; network file systems are polled.
    #[default]
    Auto,
    Poll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum HardLinks {
    #[default]
    Refuse,
    Copy,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWatch {
    pub path: PathBuf,
    pub out: PathBuf,
    #[serde(default = "onnx")]
    pub targets: Vec<String>,
    #[serde(default)]
    pub policy: Policy,
    #[serde(default = "settle_seconds")]
    pub settle_seconds: f64,
    #[serde(default = "poll_seconds")]
    pub poll_seconds: f64,
    #[serde(default)]
    pub mode: WatchMode,
    #[serde(default)]
    pub sentinel: Option<String>,
    #[serde(default)]
    pub hard_links: HardLinks,
    #[serde(default = "ignore")]
    pub ignore: Vec<String>,
}

fn onnx() -> Vec<String> {
    vec!["onnx".to_owned()]
}

fn settle_seconds() -> f64 {
    2.0
}

fn poll_seconds() -> f64 {
    5.0
}

fn ignore() -> Vec<String> {
    ["README*", "LICENSE*", "*.md", "*.txt", "*.py"].map(str::to_owned).to_vec()
}

impl Default for RawWatch {
    fn default() -> Self {
        RawWatch {
            path: PathBuf::new(),
            out: PathBuf::new(),
            targets: onnx(),
            policy: Policy::default(),
            settle_seconds: settle_seconds(),
            poll_seconds: poll_seconds(),
            mode: WatchMode::default(),
            sentinel: None,
            hard_links: HardLinks::default(),
            ignore: ignore(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawState {
    pub dir: PathBuf,
}

impl Default for RawState {
    fn default() -> Self {
        RawState { dir: "state".into() }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPlugins {
    pub path: Vec<PathBuf>,
    pub allow: Vec<String>,
    pub winners: BTreeMap<String, String>,
    pub crashes_max: u32,
}

impl Default for RawPlugins {
    fn default() -> Self {
        RawPlugins { path: Vec::new(), allow: Vec::new(), winners: BTreeMap::new(), crashes_max: 5 }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawVerify {
    pub rtol: Option<f64>,
    pub atol: Option<f64>,
    pub seed: u64,
    pub onnxruntime: Option<PathBuf>,
    pub runtimes: BTreeMap<String, RawCommand>,
    pub oracle: Option<RawCommand>,
}

impl Default for RawVerify {
    fn default() -> Self {
        RawVerify { rtol: None, atol: None, seed: 42, onnxruntime: None, runtimes: BTreeMap::new(), oracle: None }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCommand {
    pub command: Vec<String>,
    #[serde(default = "command_seconds_max")]
    pub seconds_max: u64,
    #[serde(default = "command_memory_bytes_max")]
    pub memory_bytes_max: ByteCount,
}

fn command_seconds_max() -> u64 {
    600
}

/// Frameworks reserve much more address space than they use.
fn command_memory_bytes_max() -> ByteCount {
    ByteCount(32 << 30)
}

#[derive(Debug, Clone, PartialEq, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct RawLineage {
    /// Empty: `lineage.key` in the state directory.
    pub key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    pub worker_memory_bytes_max: ByteCount,
    pub worker_cpu_seconds_max: u64,
    pub worker_wall_seconds_max: u64,
    pub worker_output_bytes_max: ByteCount,
    pub worker_open_files_max: u64,
    pub worker_threads: usize,
    pub tensor_bytes_max: ByteCount,
    pub json_bytes_max: ByteCount,
    pub layers_max: u32,
    pub jobs_in_flight_max: u64,
    pub queue_length_max: u64,
    pub ended_jobs_max: u64,
    pub settle_seconds_max: f64,
    pub rescan_seconds: f64,
    pub entry_bytes_max: ByteCount,
    pub entry_files_max: u64,
    pub entry_depth_max: u32,
    pub attempts_max: u32,
    pub backoff_seconds: f64,
    pub backoff_seconds_max: f64,
    pub drain_seconds: f64,
    pub free_space_factor: u64,
}

impl Default for RawLimits {
    fn default() -> Self {
        let worker = WorkerLimits::default();
        let entry = Bounds::default();
        RawLimits {
            worker_memory_bytes_max: ByteCount(worker.memory_bytes_max),
            worker_cpu_seconds_max: worker.cpu_seconds_max,
            worker_wall_seconds_max: worker.wall_seconds_max,
            worker_output_bytes_max: ByteCount(worker.output_bytes_max),
            worker_open_files_max: worker.open_files_max,
            worker_threads: 0,
            tensor_bytes_max: ByteCount(worker.tensor_bytes_max),
            json_bytes_max: ByteCount(worker.json_bytes_max),
            layers_max: worker.layers_max,
            jobs_in_flight_max: 2,
            queue_length_max: 16,
            ended_jobs_max: 1000,
            settle_seconds_max: 3600.0,
            rescan_seconds: 60.0,
            entry_bytes_max: ByteCount(entry.bytes_max),
            entry_files_max: entry.files_max,
            entry_depth_max: entry.depth_max,
            attempts_max: 5,
            backoff_seconds: 5.0,
            backoff_seconds_max: 600.0,
            drain_seconds: 25.0,
            free_space_factor: 2,
        }
    }
}

/// A number of bytes, spelled as a number or as `"32 GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteCount(pub u64);

const UNITS: &[(&str, u64)] = &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("B", 1)];

impl ByteCount {
    fn parse(text: &str) -> Option<ByteCount> {
        let (number, factor) =
            UNITS.iter().find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, *factor)))?;
        number.trim().parse::<u64>().ok()?.checked_mul(factor).map(ByteCount)
    }
}

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelling {
            Number(u64),
            Text(String),
        }
        let wrong = || serde::de::Error::custom("a number of bytes, or text such as \"32 GiB\"");
        match Spelling::deserialize(deserializer).map_err(|_| wrong())? {
            Spelling::Number(bytes) => Ok(ByteCount(bytes)),
            Spelling::Text(text) => ByteCount::parse(&text).ok_or_else(wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spelled_with_binary_units() {
        assert_eq!(ByteCount::parse("32 GiB"), Some(ByteCount(32 << 30)));
        assert_eq!(ByteCount::parse("7B"), Some(ByteCount(7)));
        assert_eq!(ByteCount::parse("32 GB"), None);
        assert_eq!(ByteCount::parse("99999999 TiB"), None);
    }
}
