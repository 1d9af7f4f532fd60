//! Plugins as strangers write and build them: each with a workspace of its own, outside of this one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

pub fn source(name: &str) -> PathBuf {
    root().join("tests/strangers").join(name)
}

/// Where strangers are built: beside what cargo builds of ours, so that nothing is downloaded or built twice.
fn target_dir() -> PathBuf {
    recast_tests::build_dir().join("strangers")
}

/// One way of building one crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Build {
    pub dir: PathBuf,
    pub features: Vec<String>,
    pub toolchain: Option<String>,
}

impl Build {
    pub fn of(name: &str) -> Build {
        Build { dir: source(name), ..Build::default() }
    }

    pub fn feature(mut self, feature: &str) -> Build {
        self.features.push(feature.into());
        self
    }

    pub fn toolchain(mut self, toolchain: &str) -> Build {
        self.toolchain = Some(toolchain.into());
        self
    }
}

/// Builds a crate once, into a directory that holds nothing but its library.
pub fn built(build: &Build) -> PathBuf {
    static BUILT: Mutex<BTreeMap<Build, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut known = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(build.clone()).or_insert_with(|| run_cargo(build)).clone()
}

pub fn plugin(name: &str) -> PathBuf {
    built(&Build::of(name))
}

fn run_cargo(build: &Build) -> PathBuf {
    let library = cargo(build, |message| {
        let files = message["filenames"].as_array()?;
        files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".so")).map(PathBuf::from)
    });
    keep(&library.expect("cargo built a library"), build)
}

/// Runs `cargo build`; what `pick` finds in the last of its messages that has it.
fn cargo(build: &Build, pick: impl Fn(&serde_json::Value) -> Option<PathBuf>) -> Option<PathBuf> {
    // The versions that this workspace has, so that nothing new is needed from the network.
    std::fs::copy(root().join("Cargo.lock"), build.dir.join("Cargo.lock")).expect("Cargo.lock is copied");
    let target = target_dir().join(build.toolchain.as_deref().unwrap_or("stable"));
    let mut command = match &build.toolchain {
        Some(toolchain) => {
            let mut command = Command::new("rustup");
            command.args(["run", toolchain, "cargo"]);
            // Cargo tells its children which cargo and rustc they are of.
            command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC");
            command
        }
        None => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
    };
    command.args(["build", "--offline", "--quiet", "--message-format=json-render-diagnostics", "--features"]);
    command.arg(build.features.join(",")).current_dir(&build.dir).env("CARGO_TARGET_DIR", &target);
    // Nobody debugs them, and they build in two thirds of the time.
    command.env("CARGO_PROFILE_DEV_DEBUG", "0");
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "{build:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().rev().find_map(|line| pick(&serde_json::from_str(line).ok()?))
}

/// Builds a crate that is a program.
pub fn program(build: &Build) -> PathBuf {
    let message = cargo(build, |message| message["executable"].as_str().map(PathBuf::from));
    message.expect("cargo built a program")
}

/// The next variant of the same crate overwrites cargo's file.
fn keep(library: &Path, build: &Build) -> PathBuf {
    let key = recast::digest::of_bytes(format!("{build:?}").as_bytes());
    let dir = target_dir().join("kept").join(&key[..16]);
    std::fs::create_dir_all(&dir).expect("a directory for the library");
    let kept = dir.join(library.file_name().expect("a name"));
    let _ = std::fs::remove_file(&kept);
    std::fs::copy(library, &kept).expect("the library is copied");
    kept
}

/// The plugin in C.
pub fn c_plugin(into: &Path, flags: &[&str]) -> PathBuf {
    let library = into.join("libcplugin.so");
    let include = root().join("plugin-api/include");
    let output = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I"])
        .arg(include)
        .args(flags)
        .arg(source("c-plugin/plugin.c"))
        .arg("-o")
        .arg(&library)
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

/// Puts a copy of a library into a directory of its own choice.
pub fn installed(library: &Path, dir: &Path) -> PathBuf {
    let copy = dir.join(library.file_name().expect("a name"));
    std::fs::copy(library, &copy).expect("the library is copied");
    copy
}
