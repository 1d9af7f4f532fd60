//! The configuration file: the shipped one is the built-in one, and what it says wrongly is said back.

use recast::config::{Config, ConfigError, RawConfig};
use recast::job::Policy;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("config.toml")
}

fn parse(text: &str) -> Result<Config, String> {
    let raw: RawConfig = toml::from_str(text).map_err(|error| error.to_string())?;
    raw.resolve(Path::new("/base")).map_err(|error| error.to_string())
}

#[test]
fn the_shipped_file_is_the_default() {
    let text = fs::read_to_string(shipped()).expect("it is shipped");
    let raw: RawConfig = toml::from_str(&text).expect("it parses");
    assert_eq!(raw, RawConfig::default());
    assert_eq!(raw.resolve(Path::new("")).expect("it is valid"), Config::default());
}

#[test]
fn the_shipped_file_speaks_of_every_key() {
    let text = fs::read_to_string(shipped()).expect("it is shipped");
    let source = fs::read_to_string(shipped().with_file_name("daemon/src/config/raw.rs")).expect("readable");
    let keys: Vec<&str> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'))
        .map(|(key, _)| key.trim())
        .filter(|key| !key.contains(' '))
        .collect();
    assert!(keys.len() > 30, "{keys:?}");
    for key in keys {
        let spoken = text.lines().any(|line| {
            let line = line.trim_start_matches("# ");
            line.starts_with(&format!("{key} ="))
                || line.contains(&format!("[{key}"))
                || line.contains(&format!(".{key}."))
                || line.contains(&format!(".{key}]"))
        });
        assert!(spoken, "config.toml does not mention {key}");
    }
}

#[test]
fn paths_are_relative_to_the_file() {
    let config = parse("[[watch]]\npath = \"drop\"\nout = \"/elsewhere\"\n[lineage]\nkey = \"k\"").expect("valid");
    assert_eq!(config.watches[0].path, Path::new("/base/drop"));
    assert_eq!(config.watches[0].out, Path::new("/elsewhere"));
    assert_eq!(config.state, Path::new("/base/state"));
    assert_eq!(config.key, Path::new("/base/k"));
    assert_eq!(config.watches[0].policy, Policy::Required);
    let home = tempfile::tempdir().expect("a scratch directory");
    let file = home.path().join("c.toml");
    fs::write(&file, "[[watch]]\npath = \"drop\"\nout = \"out\"").expect("writable");
    let loaded = Config::load(&file).expect("valid");
    assert_eq!(loaded.watches[0].path, home.path().join("drop"));
    assert_eq!(loaded.limits.backoff, Duration::from_secs(5));
}

#[test]
fn what_is_wrong_is_named() {
    const WATCH: &str = "[[watch]]\npath = \"drop\"\nout = \"out\"\n";
    for (text, says) in [
        ("nonsense = 1".to_owned(), "nonsense"),
        (format!("{WATCH}setle_seconds = 1"), "setle_seconds"),
        (format!("{WATCH}settle_seconds = -1"), "watch[0].settle_seconds"),
        (format!("{WATCH}settle_seconds = nan"), "watch[0].settle_seconds"),
        (format!("{WATCH}targets = []"), "watch[0].targets"),
        (format!("{WATCH}targets = [\"onnx\", \"onnx\"]"), "watch[0].targets"),
        (format!("{WATCH}policy = \"maybe\""), "policy"),
        (format!("{WATCH}sentinel = \"\""), "watch[0].sentinel"),
        (format!("{WATCH}{WATCH}"), "watch[1].path"),
        ("[[watch]]\npath = \"drop\"\nout = \"drop/out\"".to_owned(), "watch[0].out"),
        (format!("{WATCH}[verify]\nrtol = 1.0"), "verify"),
        (format!("{WATCH}[verify]\nrtol = -1.0\natol = 1.0"), "verify.rtol"),
        (format!("{WATCH}[lambda.scale]\nexpression = \"x\""), "lambda.\"scale\""),
        (format!("{WATCH}[lambda.\"m:scale\"]\nexpression = \" \""), "lambda.\"m:scale\".expression"),
        (format!("{WATCH}[lambda.\"m:scale\"]\nexpresion = \"x\""), "expresion"),
        (format!("{WATCH}[sources.\":m\"]\nsignature = \"x\""), "sources.\":m\""),
        (format!("{WATCH}[sources.\"saved-model:\"]\nsignature = \"x\""), "sources.\"saved-model:\""),
        (format!("{WATCH}[plugins]\nallow = [\"ABC\"]"), "plugins.allow"),
        (format!("{WATCH}[limits]\njobs_in_flight_max = 0"), "limits.jobs_in_flight_max"),
        (format!("{WATCH}[limits]\nentry_bytes_max = \"12 GB\""), "number of bytes"),
        (format!("{WATCH}[limits]\ndrain_seconds = 1e12"), "limits.drain_seconds"),
        (format!("{WATCH}[limits]\nworker_threads = 1025"), "limits.worker_threads"),
        (format!("{WATCH}[limits]\nworker_cpu_seconds_max = 0"), "limits.worker_cpu_seconds_max"),
        (format!("{WATCH}[limits]\nworker_wall_seconds_max = {}", i64::MAX), "limits.worker_wall_seconds_max"),
        (
            format!("{WATCH}[verify.oracle]\ncommand = [\"/bin/true\"]\nseconds_max = {}", i64::MAX),
            "verify.oracle.seconds_max",
        ),
        (
            format!("{WATCH}[verify.runtimes.torch]\ncommand = [\"/bin/true\"]\nseconds_max = 31622401"),
            "verify.runtimes.torch.seconds_max",
        ),
        (format!("{WATCH}[limits]\nbackoff_seconds = 10\nbackoff_seconds_max = 1"), "limits.backoff_seconds_max"),
    ] {
        let error = parse(&text).expect_err(&text);
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn a_file_over_its_bound_is_not_read() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let file = home.path().join("c.toml");
    fs::write(&file, vec![b'#'; recast::config::CONFIG_BYTES_MAX as usize + 1]).expect("writable");
    assert!(matches!(Config::load(&file), Err(ConfigError::Invalid { .. })));
    assert!(matches!(Config::load(&home.path().join("none")), Err(ConfigError::Read { .. })));
}
