//! The command line: what can be typed, and which room does it. Text for people, or with `--format json` one object per
//! artifact on stdout and nothing else there; everything else goes to stderr.

/// `print!`, except that a reader who has seen enough ends the program quietly.
macro_rules! say {
    ($($arguments:tt)*) => { $crate::cli::write_out(format_args!($($arguments)*)) };
}

macro_rules! say_line {
    ($($arguments:tt)*) => { $crate::cli::write_out(format_args!("{}\n", format_args!($($arguments)*))) };
}

mod convert;
mod inspect;
mod jobs;
mod lineage;
mod plugins;
mod progress;
mod run;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Builder;

use crate::config::{Config, ConfigError};
use crate::job::exit;
use crate::runner::{PluginSource, Runner};

/// Watches model directories and converts every Keras model that lands there: verified, signed, published.
#[derive(Debug, Parser)]
#[command(name = "recast", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: watch the configured folders
    Run(RunArgs),
    /// Convert artifacts now, read where they lie
    Convert(ConvertArgs),
    /// Say what an artifact holds, and for each target whether it can be written
    Inspect(InspectArgs),
    /// List, examine, test and begin plugins
    Plugins(PluginsArgs),
    /// List the daemon's jobs
    Jobs(JobsArgs),
    /// Queue a failed or parked job again
    Retry(RetryArgs),
    /// Say what the daemon is doing
    Status(StatusArgs),
    /// Say where a file comes from, or what was made from it
    Lineage(LineageArgs),
    /// Check a configuration file
    CheckConfig(CheckConfigArgs),
    /// One job, in a process of its own: the daemon calls this
    #[command(hide = true)]
    Worker(WorkerArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Configuration [default: ./config.toml, else /etc/recast/config.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Work off what is there, then exit
    #[arg(long)]
    pub until_idle: bool,
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Artifacts: files or directories
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Targets: onnx, keras, h5, torch, ...
    #[arg(long, required = true, value_delimiter = ',', value_name = "T")]
    pub to: Vec<String>,
    /// Where bundles are published
    #[arg(long, default_value = "out", value_name = "DIR")]
    pub out: PathBuf,
    /// Architecture of a weights-only file [default: NAME.json beside it]
    #[arg(long, value_name = "FILE.json")]
    pub architecture: Option<PathBuf>,
    /// Inputs and outputs recorded from the original framework [default: NAME.golden.npz beside it]
    #[arg(long, value_name = "FILE.npz")]
    pub golden: Option<PathBuf>,
    /// Directory searched first for plugins
    #[arg(long, value_name = "DIR")]
    pub plugins: Vec<PathBuf>,
    /// ONNX operator set [default: 17, or what the model needs]
    #[arg(long, value_name = "N")]
    pub opset: Option<u32>,
    /// Which of a SavedModel's signatures is converted [default: serving_default, else the only one]
    #[arg(long, value_name = "NAME")]
    pub signature: Option<String>,
    /// Publish without a check
    #[arg(long)]
    pub no_verify: bool,
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Configuration whose limits, plugins, target options and signing key are used
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What the command line says of the source, beside what the configuration does.
fn source_options(config: &crate::config::Config, signature: Option<&String>) -> crate::job::SourceOptions {
    let mut sources = config.sources.clone();
    if let Some(name) = signature {
        let options = [("signature".to_owned(), name.clone().into())].into();
        sources.insert(crate::job::ANY_FORMAT.to_owned(), options);
    }
    sources
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Print the lowered graph
    #[arg(long)]
    pub graph: bool,
    /// Which of a SavedModel's signatures is looked at [default: serving_default, else the only one]
    #[arg(long, value_name = "NAME")]
    pub signature: Option<String>,
    /// Architecture of a weights-only file [default: NAME.json beside it]
    #[arg(long, value_name = "FILE.json")]
    pub architecture: Option<PathBuf>,
    /// Directory searched first for plugins
    #[arg(long, value_name = "DIR")]
    pub plugins: Vec<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct PluginsArgs {
    #[command(subcommand)]
    pub action: PluginsAction,
    /// Directory searched first for plugins
    #[arg(long, global = true, value_name = "DIR")]
    pub plugins: Vec<PathBuf>,
    /// Configuration, where there is one [default: ./config.toml, else /etc/recast/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text", global = true)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum PluginsAction {
    /// Every plugin that is found, and what it claims
    List,
    /// What a plugin file says about itself, without running it
    Inspect { file: PathBuf },
    /// Why a plugin file is not loaded
    Doctor { file: PathBuf },
    /// Run a plugin against the rules of the boundary
    Test {
        file: PathBuf,
        /// Only the rules whose name contains this
        #[arg(long, value_name = "TEXT", default_value = "")]
        filter: String,
        /// All in this process, for a debugger: a case that crashes ends it
        #[arg(long)]
        in_process: bool,
    },
    /// Take a plugin that crashed too often out of quarantine
    Release {
        /// Its id, or the sha256 of its file
        plugin: String,
    },
    /// Begin a plugin: a crate of its own in ./NAME
    New { name: String },
}

#[derive(Debug, Args)]
pub struct JobsArgs {
    /// queued, running, done, parked, deferred, quarantined, withdrawn, superseded
    #[arg(long, value_name = "S")]
    pub state: Option<String>,
    /// Configuration [default: ./config.toml, else /etc/recast/config.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct RetryArgs {
    /// A job's number, as `recast jobs` prints it
    pub id: i64,
    /// Configuration [default: ./config.toml, else /etc/recast/config.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Configuration [default: ./config.toml, else /etc/recast/config.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct LineageArgs {
    /// A file, or sha256:HEX
    #[arg(value_name = "FILE|sha256:HEX")]
    pub subject: String,
    /// What was made from it, instead of where it comes from
    #[arg(long)]
    pub down: bool,
    /// Hash the files that the records speak of, and fail unless everything is OK
    #[arg(long)]
    pub verify: bool,
    /// Public key (PEM) to trust beside this machine's own
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// Configuration [default: ./config.toml, else /etc/recast/config.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct CheckConfigArgs {
    /// Configuration [default: ./config.toml, else /etc/recast/config.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// What the parent side passes to the child side
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

/// The rooms that the command line and the daemon call through a trait.
pub struct Wiring {
    pub runner: Arc<dyn Runner>,
    pub plugins: Arc<dyn PluginSource>,
}

/// An error that ends a command: what to say, and the exit code.
#[derive(Debug)]
pub struct Failure {
    pub code: i32,
    pub text: String,
}

impl Failure {
    pub fn io(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Failure {
        Failure { code: exit::IO, text: format!("{what}: {error}") }
    }

    pub fn usage(text: impl Into<String>) -> Failure {
        Failure { code: exit::USAGE, text: text.into() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        let code = if matches!(error, ConfigError::Read { .. }) { exit::IO } else { exit::USAGE };
        Failure { code, text: error.to_string() }
    }
}

/// Runs a command to its exit code.
pub fn dispatch(command: Command, wiring: Wiring) -> i32 {
    let result = match command {
        Command::Run(args) => run::run(&args, &wiring),
        Command::Convert(args) => convert::run(&args, &wiring),
        Command::Jobs(args) => jobs::list(&args),
        Command::Retry(args) => jobs::retry(&args),
        Command::Status(args) => jobs::status(&args),
        Command::Lineage(args) => lineage::run(&args),
        Command::CheckConfig(args) => check_config(&args),
        Command::Inspect(args) => inspect::run(&args, &wiring),
        Command::Plugins(args) => plugins::run(&args),
        Command::Worker(_) => Err(Failure::usage("a worker is started before anything else is")),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("recast: {}", failure.text);
        failure.code
    })
}

/// Logs go to stderr: text, or JSON lines where journald or a collector reads them (`RECAST_LOG_FORMAT=json`).
pub fn init_logging(default_level: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default_level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second initialisation, by a test in the same process, changes nothing.
    let _ = if std::env::var_os("RECAST_LOG_FORMAT").is_some_and(|format| format == "json") {
        builder.json().try_init()
    } else {
        builder.with_target(false).try_init()
    };
}

const CONFIG_PLACES: [&str; 2] = ["config.toml", "/etc/recast/config.toml"];

/// The file that is meant when none is named.
fn find_config(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let found = CONFIG_PLACES.iter().map(PathBuf::from).find(|path| path.is_file());
    let places = CONFIG_PLACES.join(" nor ");
    found.ok_or_else(|| Failure::usage(format!("neither {places} is there: name a configuration with --config FILE")))
}

fn load_config(given: Option<&Path>) -> Result<Config, Failure> {
    Ok(Config::load(&find_config(given)?)?)
}

/// Where a command without a configuration keeps its key and its index.
fn user_state_dir() -> Result<PathBuf, Failure> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = variable("RECAST_STATE") {
        return std::path::absolute(dir).map_err(|error| Failure::io("RECAST_STATE", error));
    }
    let base = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
    base.map(|base| base.join("recast")).ok_or_else(|| Failure::usage("neither RECAST_STATE nor HOME is set"))
}

fn check_config(args: &CheckConfigArgs) -> Result<i32, Failure> {
    let path = find_config(args.config.as_deref())?;
    let config = Config::load(&path)?;
    say_line!("{}: fine", path.display());
    for watch in &config.watches {
        let targets: Vec<&str> = watch.targets.iter().map(|target| target.name.as_str()).collect();
        say_line!("  {} -> {} as {}", watch.path.display(), watch.out.display(), targets.join(", "));
        if !watch.path.is_dir() {
            say_line!("    note: {} is not there now", watch.path.display());
        }
    }
    Ok(exit::OK)
}

pub(crate) fn write_out(text: std::fmt::Arguments) {
    if let Err(error) = std::io::stdout().write_fmt(text) {
        // `recast jobs | head` is not an error; a full disk is.
        let quiet = error.kind() == std::io::ErrorKind::BrokenPipe;
        std::process::exit(if quiet { exit::OK } else { exit::IO });
    }
}

/// Runs to its end. A copy that nobody waits for any more may not hold up the end of the process.
fn block_on<T>(mut runtime: Builder, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    const LEFTOVERS: std::time::Duration = std::time::Duration::from_millis(500);
    let runtime = runtime.enable_all().build().map_err(|error| Failure::io("tokio", error))?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(LEFTOVERS);
    result
}
