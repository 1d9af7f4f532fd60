//! The configuration. `raw` mirrors the file; this is what it means: paths resolved, durations, bounds, all checked.

mod raw;

pub use raw::{HardLinks, RawConfig, WatchMode};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest;
use crate::job::{CommandSpec, Policy, SourceOptions, TargetSpec, VerifySpec, WorkerLimits};
use crate::tree::Bounds;

/// Bytes of a configuration file.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Watched folders in one configuration.
pub const WATCHES_MAX: usize = 256;

/// The longest wait or run: a deadline that far off is still a time that the clock can tell.
pub const SECONDS_MAX: u64 = 366 * 86_400;

/// Threads of one worker, each of which is given address space.
pub const WORKER_THREADS_MAX: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {error}")]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{path}: {error}")]
    Parse { path: PathBuf, error: Box<toml::de::Error> },
    /// What the file says can't be: the key, and why.
    #[error("{key}: {why}")]
    Invalid { key: String, why: String },
}

fn invalid<T>(key: impl Into<String>, why: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Invalid { key: key.into(), why: why.into() })
}

#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    pub path: PathBuf,
    pub out: PathBuf,
    pub targets: Vec<TargetSpec>,
    pub policy: Policy,
    pub settle: Duration,
    pub poll: Duration,
    pub mode: WatchMode,
    /// Suffix of the marker that says an entry is ready, where the producer writes one.
    pub sentinel: Option<String>,
    pub ignore: Vec<String>,
    pub bounds: Bounds,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    pub worker: WorkerLimits,
    pub worker_threads: usize,
    pub jobs_in_flight_max: usize,
    /// Copies of artifacts that wait, claimed, for a worker.
    pub queue_length_max: usize,
    /// Jobs that came to nothing and whose artifact is gone or another one now: as many are remembered.
    pub ended_jobs_max: u64,
    /// How long an entry may stay incomplete before that is reported as its fault.
    pub settle_max: Duration,
    pub rescan: Duration,
    pub attempts_max: u32,
    pub backoff: Duration,
    pub backoff_max: Duration,
    pub drain: Duration,
    /// Free space that has to be left, as a multiple of the artifact's size.
    pub free_space_factor: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Plugins {
    pub path: Vec<PathBuf>,
    /// When not empty, only these digests are loaded.
    pub allow: BTreeSet<String>,
    pub winners: BTreeMap<String, String>,
    /// Crashes in a row after which a plugin file is used no more; 0: never.
    pub crashes_max: u32,
}

/// The options of the check that are the same for every artifact.
#[derive(Debug, Clone, PartialEq)]
pub struct Verify {
    pub rtol: Option<f64>,
    pub atol: Option<f64>,
    pub seed: u64,
    pub onnxruntime: Option<PathBuf>,
    pub runtimes: BTreeMap<String, CommandSpec>,
    pub oracle: Option<CommandSpec>,
}

impl Verify {
    pub fn spec(&self, policy: Policy) -> VerifySpec {
        let Verify { rtol, atol, seed, onnxruntime, runtimes, oracle } = self.clone();
        VerifySpec { policy, rtol, atol, seed, onnxruntime, runtimes, oracle }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub watches: Vec<Watch>,
    pub plugins: Plugins,
    pub limits: Limits,
    pub verify: Verify,
    /// Options by target name, also for targets that no watch asks for.
    pub targets: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    /// Options of sources, by `FORMAT` or `FORMAT:MODEL`.
    pub sources: SourceOptions,
    /// What layers compute whose code is never run: `model:layer` -> expression.
    pub lambda: BTreeMap<String, String>,
    pub state: PathBuf,
    pub key: PathBuf,
}

/// Of `model:layer` keys, those of one model, by layer path.
pub fn expressions_of(lambda: &BTreeMap<String, String>, model: &str) -> BTreeMap<String, String> {
    let own = |key: &str| key.split_once(':').filter(|(of, _)| *of == model).map(|(_, layer)| layer.to_owned());
    lambda.iter().filter_map(|(key, expression)| Some((own(key)?, expression.clone()))).collect()
}

/// Of `format` and `format:model` keys, what they come to for one model, by format: its own before everybody's.
pub fn sources_of(sources: &SourceOptions, model: &str) -> SourceOptions {
    let mut found = SourceOptions::new();
    for (key, options) in sources {
        let (format, own) = key.split_once(':').map_or((key.as_str(), None), |(format, own)| (format, Some(own)));
        if own.is_none_or(|own| own == model) {
            // Sorted: the format's own key comes before those that name a model.
            found.entry(format.to_owned()).or_default().extend(options.clone());
        }
    }
    found
}

impl Default for Config {
    fn default() -> Config {
        let shipped = RawConfig::default().resolve(Path::new(""));
        shipped.expect("the built-in configuration is valid: a test says so")
    }
}

impl Config {
    /// Reads and checks a file; relative paths in it are relative to its directory.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let read_error = |error| ConfigError::Read { path: path.to_owned(), error };
        let bytes = std::fs::metadata(path).map_err(read_error)?.len();
        if bytes > CONFIG_BYTES_MAX {
            return invalid(path.display().to_string(), format!("{bytes} bytes, at most {CONFIG_BYTES_MAX}"));
        }
        let text = std::fs::read_to_string(path).map_err(read_error)?;
        let absolute = std::path::absolute(path).map_err(read_error)?;
        let base = absolute.parent().unwrap_or(Path::new("/"));
        let raw: RawConfig = toml::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), error: Box::new(error) })?;
        raw.resolve(base)
    }

    /// What a command without a configuration file goes by.
    pub fn without_watches() -> Config {
        Config { watches: Vec::new(), ..Config::default() }
    }

    pub fn target(&self, name: &str) -> TargetSpec {
        TargetSpec { name: name.to_owned(), options: self.targets.get(name).cloned().unwrap_or_default() }
    }
}

impl RawConfig {
    pub fn resolve(self, base: &Path) -> Result<Config, ConfigError> {
        let targets = checked_options("targets", &self.targets)?;
        let sources = self.source_options()?;
        let verify = self.resolve_verify(base)?;
        let limits = self.resolve_limits()?;
        if self.watch.len() > WATCHES_MAX {
            return invalid("watch", format!("{} folders, at most {WATCHES_MAX}", self.watch.len()));
        }
        let mut watches = Vec::new();
        for (index, watch) in self.watch.iter().enumerate() {
            watches.push(self.resolve_watch(index, watch, base, &targets)?);
        }
        check_apart(&watches)?;
        let state = base.join(&self.state.dir);
        let key = if self.lineage.key.as_os_str().is_empty() {
            state.join("lineage.key")
        } else {
            base.join(&self.lineage.key)
        };
        let plugins = self.resolve_plugins(base)?;
        let lambda = self.resolve_lambda()?;
        Ok(Config { watches, plugins, limits, verify, targets, sources, lambda, state, key })
    }

    fn resolve_lambda(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let mut all = BTreeMap::new();
        for (key, lambda) in &self.lambda {
            if !key.split_once(':').is_some_and(|(model, layer)| !model.is_empty() && !layer.is_empty()) {
                return invalid(
                    format!("lambda.\"{key}\""),
                    "is named \"MODEL:LAYER\", as `recast inspect` lists layers",
                );
            }
            if lambda.expression.trim().is_empty() {
                return invalid(format!("lambda.\"{key}\".expression"), "is empty");
            }
            all.insert(key.clone(), lambda.expression.clone());
        }
        Ok(all)
    }

    fn source_options(&self) -> Result<SourceOptions, ConfigError> {
        for key in self.sources.keys() {
            if key.is_empty() || key.starts_with(':') || key.ends_with(':') {
                return invalid(format!("sources.\"{key}\""), "is named \"FORMAT\" or \"FORMAT:MODEL\"");
            }
        }
        checked_options("sources", &self.sources)
    }

    fn resolve_watch(
        &self,
        index: usize,
        raw: &raw::RawWatch,
        base: &Path,
        options: &BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    ) -> Result<Watch, ConfigError> {
        let key = |name: &str| format!("watch[{index}].{name}");
        if raw.targets.is_empty() {
            return invalid(key("targets"), "names no target");
        }
        let unique: BTreeSet<&String> = raw.targets.iter().collect();
        if unique.len() != raw.targets.len() {
            return invalid(key("targets"), "names a target twice");
        }
        if raw.sentinel.as_deref().is_some_and(|s| s.is_empty() || s.contains('/')) {
            return invalid(key("sentinel"), "is a suffix such as \".ready\"");
        }
        let targets = raw
            .targets
            .iter()
            .map(|name| TargetSpec { name: name.clone(), options: options.get(name).cloned().unwrap_or_default() });
        Ok(Watch {
            path: base.join(&raw.path),
            out: base.join(&raw.out),
            targets: targets.collect(),
            policy: raw.policy,
            settle: seconds(&key("settle_seconds"), raw.settle_seconds, 0.01)?,
            poll: seconds(&key("poll_seconds"), raw.poll_seconds, 0.05)?,
            mode: raw.mode,
            sentinel: raw.sentinel.clone(),
            ignore: raw.ignore.clone(),
            bounds: Bounds {
                files_max: at_least_one("limits.entry_files_max", self.limits.entry_files_max)?,
                bytes_max: at_least_one("limits.entry_bytes_max", self.limits.entry_bytes_max.0)?,
                depth_max: self.limits.entry_depth_max,
                hard_links_allowed: raw.hard_links == HardLinks::Copy,
            },
        })
    }

    fn resolve_plugins(&self, base: &Path) -> Result<Plugins, ConfigError> {
        for digest in &self.plugins.allow {
            if !digest::is_sha256_hex(digest) {
                return invalid("plugins.allow", format!("{digest:?} is not a sha256 in lower-case hex"));
            }
        }
        Ok(Plugins {
            path: self.plugins.path.iter().map(|path| base.join(path)).collect(),
            allow: self.plugins.allow.iter().cloned().collect(),
            winners: self.plugins.winners.clone(),
            crashes_max: self.plugins.crashes_max,
        })
    }

    fn resolve_verify(&self, base: &Path) -> Result<Verify, ConfigError> {
        let raw = &self.verify;
        if raw.rtol.is_some() != raw.atol.is_some() {
            return invalid("verify", "rtol and atol are given together or not at all");
        }
        for (key, value) in [("verify.rtol", raw.rtol), ("verify.atol", raw.atol)] {
            if value.is_some_and(|v| !v.is_finite() || v < 0.0) {
                return invalid(key, "is a number of at least 0");
            }
        }
        let mut runtimes = BTreeMap::new();
        for (name, command) in &raw.runtimes {
            runtimes.insert(name.clone(), resolve_command(&format!("verify.runtimes.{name}"), command, base)?);
        }
        let oracle = raw.oracle.as_ref().map(|command| resolve_command("verify.oracle", command, base));
        Ok(Verify {
            runtimes,
            oracle: oracle.transpose()?,
            rtol: raw.rtol,
            atol: raw.atol,
            seed: raw.seed,
            onnxruntime: raw.onnxruntime.as_ref().map(|path| base.join(path)),
        })
    }

    fn resolve_limits(&self) -> Result<Limits, ConfigError> {
        let raw = &self.limits;
        let count = |key: &str, value: u64| at_least_one(&format!("limits.{key}"), value);
        let wait = |key: &str, value: f64| seconds(&format!("limits.{key}"), value, 0.001);
        let runs = |key: &str, value: u64| whole_seconds(&format!("limits.{key}"), value);
        if raw.worker_threads > WORKER_THREADS_MAX {
            return invalid("limits.worker_threads", format!("is at most {WORKER_THREADS_MAX}"));
        }
        let limits = Limits {
            worker: WorkerLimits {
                memory_bytes_max: count("worker_memory_bytes_max", raw.worker_memory_bytes_max.0)?,
                cpu_seconds_max: runs("worker_cpu_seconds_max", raw.worker_cpu_seconds_max)?,
                wall_seconds_max: runs("worker_wall_seconds_max", raw.worker_wall_seconds_max)?,
                output_bytes_max: count("worker_output_bytes_max", raw.worker_output_bytes_max.0)?,
                open_files_max: count("worker_open_files_max", raw.worker_open_files_max)?,
                tensor_bytes_max: count("tensor_bytes_max", raw.tensor_bytes_max.0)?,
                json_bytes_max: count("json_bytes_max", raw.json_bytes_max.0)?,
                layers_max: count("layers_max", raw.layers_max.into())? as u32,
            },
            worker_threads: if raw.worker_threads == 0 { cores() } else { raw.worker_threads },
            jobs_in_flight_max: count("jobs_in_flight_max", raw.jobs_in_flight_max)? as usize,
            queue_length_max: count("queue_length_max", raw.queue_length_max)? as usize,
            ended_jobs_max: raw.ended_jobs_max,
            settle_max: wait("settle_seconds_max", raw.settle_seconds_max)?,
            rescan: wait("rescan_seconds", raw.rescan_seconds)?,
            attempts_max: count("attempts_max", u64::from(raw.attempts_max))? as u32,
            backoff: wait("backoff_seconds", raw.backoff_seconds)?,
            backoff_max: wait("backoff_seconds_max", raw.backoff_seconds_max)?,
            drain: wait("drain_seconds", raw.drain_seconds)?,
            free_space_factor: raw.free_space_factor,
        };
        if limits.backoff_max < limits.backoff {
            return invalid("limits.backoff_seconds_max", "is shorter than backoff_seconds");
        }
        Ok(limits)
    }
}

/// Options as plugins are given them.
fn checked_options(
    section: &str,
    given: &BTreeMap<String, BTreeMap<String, toml::Value>>,
) -> Result<BTreeMap<String, BTreeMap<String, serde_json::Value>>, ConfigError> {
    let mut all = BTreeMap::new();
    for (name, options) in given {
        let mut checked = BTreeMap::new();
        for (option, value) in options {
            let Ok(json) = serde_json::to_value(value) else {
                return invalid(format!("{section}.{name}.{option}"), "not a value that a plugin can be given");
            };
            checked.insert(option.clone(), json);
        }
        all.insert(name.clone(), checked);
    }
    Ok(all)
}

/// The program is named by its path: what a PATH finds is not for a daemon to guess.
fn resolve_command(key: &str, raw: &raw::RawCommand, base: &Path) -> Result<CommandSpec, ConfigError> {
    let [program, args @ ..] = raw.command.as_slice() else {
        return invalid(format!("{key}.command"), "is a program's path and its arguments");
    };
    if !program.contains('/') || raw.command.iter().any(|word| word.contains('\0')) {
        return invalid(format!("{key}.command"), format!("{program:?} is not the path of a program"));
    }
    let program = base.join(program);
    if !program.is_file() {
        return invalid(format!("{key}.command"), format!("{} is not a file", program.display()));
    }
    let Some(program) = program.to_str() else {
        return invalid(format!("{key}.command"), "the path is not UTF-8");
    };
    Ok(CommandSpec {
        command: std::iter::once(program).chain(args.iter().map(String::as_str)).map(str::to_owned).collect(),
        seconds_max: whole_seconds(&format!("{key}.seconds_max"), raw.seconds_max)?,
        memory_bytes_max: at_least_one(&format!("{key}.memory_bytes_max"), raw.memory_bytes_max.0)?,
    })
}

/// What a daemon publishes must not come back to it as a drop.
fn check_apart(watches: &[Watch]) -> Result<(), ConfigError> {
    for (index, watch) in watches.iter().enumerate() {
        if watches[..index].iter().any(|earlier| earlier.path == watch.path) {
            return invalid(format!("watch[{index}].path"), "is watched already");
        }
        if let Some(inside) = watches.iter().find(|other| watch.out.starts_with(&other.path)) {
            let why = format!("lies inside the watched folder {}", inside.path.display());
            return invalid(format!("watch[{index}].out"), why);
        }
    }
    Ok(())
}

fn seconds(key: &str, value: f64, least: f64) -> Result<Duration, ConfigError> {
    if !value.is_finite() || value < least || value > SECONDS_MAX as f64 {
        return invalid(key, format!("is a number of seconds, from {least} to {SECONDS_MAX}"));
    }
    Ok(Duration::from_secs_f64(value))
}

fn whole_seconds(key: &str, value: u64) -> Result<u64, ConfigError> {
    if !(1..=SECONDS_MAX).contains(&value) {
        return invalid(key, format!("is a whole number of seconds, from 1 to {SECONDS_MAX}"));
    }
    Ok(value)
}

fn at_least_one(key: &str, value: u64) -> Result<u64, ConfigError> {
    if value == 0 { invalid(key, "is at least 1") } else { Ok(value) }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}
