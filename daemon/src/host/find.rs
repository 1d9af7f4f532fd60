//! Which plugin files there are: looked at, hashed, and trusted or refused, without running any of them.

use super::elf::{ReadManifest, read_manifest};
use super::refusal::{Refusal, Step};
use crate::digest;
use crate::job::PluginPin;
use crate::tree;
use recast_plugin_api::plugin::Manifest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::num::NonZero;
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Nothing near it is a plugin.
pub const PLUGIN_BYTES_MAX: u64 = 1 << 30;
/// Files in one plugin directory that are looked at.
const ENTRIES_MAX: usize = 10_000;

/// Whose files, and which ones, may be loaded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trust {
    /// When not empty: the only digests that may be loaded.
    pub allow: BTreeSet<String>,
    /// Owners beside root and the user that recast runs as.
    pub owners: BTreeSet<u32>,
}

/// A plugin file that may be loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    pub path: PathBuf,
    pub sha256: String,
    pub bytes: u64,
    pub manifest: Manifest,
}

impl Found {
    pub fn pin(&self) -> PluginPin {
        PluginPin { path: self.path.clone(), sha256: self.sha256.clone() }
    }
}

/// What a search came to. Neither list holds libraries that are no plugins at all, except for those asked by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Discovery {
    pub found: Vec<Found>,
    pub refused: Vec<Refusal>,
    /// Directories that were searched, in order.
    pub searched: Vec<PathBuf>,
}

impl Discovery {
    pub fn pins(&self) -> Vec<PluginPin> {
        self.found.iter().map(Found::pin).collect()
    }
}

pub const SYSTEM_DIR: &str = "/usr/lib/recast/plugins";
pub const PATH_VARIABLE: &str = "RECAST_PLUGIN_PATH";

/// Configured directories, `RECAST_PLUGIN_PATH`, the directory of the program, the system's.
pub fn search_path(configured: &[PathBuf]) -> Vec<PathBuf> {
    let mut path = configured.to_vec();
    if let Some(variable) = std::env::var_os(PATH_VARIABLE) {
        path.extend(std::env::split_paths(&variable).filter(|dir| !dir.as_os_str().is_empty()));
    }
    path.extend(std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned)));
    path.push(SYSTEM_DIR.into());
    let mut seen = BTreeSet::new();
    path.retain(|dir| seen.insert(dir.canonicalize().unwrap_or_else(|_| dir.clone())));
    path
}

/// Remembers what it saw of files that did not change, so that a daemon can look as often as it likes.
#[derive(Default)]
pub struct Finder {
    seen: BTreeMap<PathBuf, Looked>,
    has_news: bool,
}

/// A file, and what it came to.
type Looked = (Identity, Result<Found, Refusal>);

/// What changes when a file does.
#[derive(Debug, PartialEq, Clone, Copy, Serialize, Deserialize)]
pub struct Identity([i64; 8]);

impl Identity {
    pub(super) fn of(meta: &std::fs::Metadata) -> Identity {
        let mode_owner = (i64::from(meta.mode()) << 32) | i64::from(meta.uid());
        let (dev, ino, size) = (meta.dev() as i64, meta.ino() as i64, meta.size() as i64);
        Identity([dev, ino, size, meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec(), mode_owner])
    }

    /// When the file, or what is known of it, was changed last.
    pub(super) fn changed(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.0[5]).unwrap_or(0))
    }
}

impl Finder {
    pub fn new() -> Finder {
        Finder::default()
    }

    /// Takes a file for seen.
    pub(super) fn know(&mut self, identity: Identity, found: Found) {
        self.seen.insert(found.path.clone(), (identity, Ok(found)));
    }

    /// Plugins that were seen.
    pub(super) fn known(&self) -> impl Iterator<Item = (Identity, &Found)> {
        self.seen.values().filter_map(|(identity, looked)| Some((*identity, looked.as_ref().ok()?)))
    }

    /// Was there a plugin that was not known before?
    pub fn has_news(&self) -> bool {
        self.has_news
    }

    /// Every plugin in `dirs`. The first directory that holds a plugin id wins, as in any search path; two files with
    /// one id in the same directory are both refused, as nothing says which one is meant.
    pub fn discover(&mut self, dirs: &[PathBuf], trust: &Trust) -> Discovery {
        let mut discovery = Discovery { searched: dirs.to_vec(), ..Discovery::default() };
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for dir in dirs {
            let mut here: BTreeMap<String, Vec<Found>> = BTreeMap::new();
            let paths = libraries(dir);
            for (path, looked) in paths.iter().zip(self.look_at_all(&paths, trust)) {
                match self.remember(path, looked, trust) {
                    Ok(found) => here.entry(found.manifest.id.clone()).or_default().push(found),
                    Err(refusal) if refusal.is_not_a_plugin() => {}
                    Err(refusal) => discovery.refused.push(refusal),
                }
            }
            for (id, mut files) in here {
                if !taken.insert(id.clone()) {
                    tracing::debug!(plugin = id, dir = %dir.display(), "found again further down the search path");
                } else if files.len() == 1 {
                    discovery.found.append(&mut files);
                } else {
                    discovery.refused.extend(duplicates(&id, &files));
                }
            }
        }
        self.seen.retain(|path, _| path.exists());
        discovery
    }

    /// One file: everything that is checked before any of its code runs.
    pub fn examine(&mut self, path: &Path, trust: &Trust) -> Result<Found, Refusal> {
        let looked = self.look(path, trust);
        self.remember(path, looked, trust)
    }

    /// Several files at a time: a command hashes every plugin, and that takes longer than a small model.
    fn look_at_all(&self, paths: &[PathBuf], trust: &Trust) -> Vec<Result<Looked, Refusal>> {
        let some = |paths: &[PathBuf]| paths.iter().map(|path| self.look(path, trust)).collect::<Vec<_>>();
        // Of these, the last command saw all: a thread takes longer to start than they are looked at.
        if paths.iter().all(|path| self.seen.contains_key(path)) {
            return some(paths);
        }
        let at_once = std::thread::available_parallelism().map_or(1, NonZero::get);
        std::thread::scope(|scope| {
            let parts = paths.chunks(paths.len().div_ceil(at_once).max(1));
            let threads: Vec<_> = parts.map(|part| scope.spawn(move || some(part))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        })
    }

    fn look(&self, path: &Path, trust: &Trust) -> Result<Looked, Refusal> {
        let file = open(path)?;
        let meta = file.metadata().map_err(|e| io_refusal(path, &e))?;
        check_trust(path, &meta, trust)?;
        let identity = Identity::of(&meta);
        let known = self.seen.get(path).filter(|(seen, _)| *seen == identity);
        Ok((identity, known.map_or_else(|| read(path, &file), |(_, result)| result.clone())))
    }

    fn remember(&mut self, path: &Path, looked: Result<Looked, Refusal>, trust: &Trust) -> Result<Found, Refusal> {
        let looked = looked?;
        let result = looked.1.clone();
        self.has_news |= result.is_ok() && self.seen.get(path).is_none_or(|(identity, _)| *identity != looked.0);
        self.seen.insert(path.to_owned(), looked);
        check_digest(result?, trust)
    }
}

fn libraries(dir: &Path) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            // Most of the default directories are not there, and need not be.
            tracing::debug!(dir = %dir.display(), %error, "plugin directory skipped");
            return Vec::new();
        }
    };
    let paths = entries.take(ENTRIES_MAX).filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == "so")).collect();
    paths.sort();
    paths
}

fn duplicates(id: &str, files: &[Found]) -> Vec<Refusal> {
    let names: Vec<String> = files.iter().map(|f| f.path.display().to_string()).collect();
    let refuse = |found: &Found| {
        let others = names.join(" and ");
        let needed = "one file for each plugin id in a directory";
        let (at, remedy) = (&found.path, "keep one of them");
        Refusal::new(at, Step::Duplicate, format!("the plugin {id} in {others}"), needed, remedy)
    };
    files.iter().map(refuse).collect()
}

pub(super) fn io_refusal(path: &Path, error: &std::io::Error) -> Refusal {
    let is_link = path.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
    let found = if is_link { "a symbolic link".to_owned() } else { error.to_string() };
    Refusal::new(path, Step::File, found, "a regular file that can be read", "put the library itself here")
}

pub(super) fn open(path: &Path) -> Result<File, Refusal> {
    tree::open_file(path).map_err(|e| io_refusal(path, &e))
}

/// Code that somebody else can change is somebody else's code.
pub(super) fn check_trust(path: &Path, meta: &std::fs::Metadata, trust: &Trust) -> Result<(), Refusal> {
    let refuse = |found: String, needed: &str, remedy: &str| Err(Refusal::new(path, Step::File, found, needed, remedy));
    if !meta.is_file() {
        return refuse("not a regular file".into(), "a shared library", "remove it from the plugin directory");
    }
    if meta.size() > PLUGIN_BYTES_MAX {
        return refuse(format!("{} bytes", meta.size()), "at most 1 GiB", "strip the library");
    }
    let me = rustix::process::geteuid().as_raw();
    let is_known = |uid: u32| uid == 0 || uid == me || trust.owners.contains(&uid);
    if meta.mode() & 0o002 != 0 {
        return refuse("a file that everybody may write to".into(), "mode 0755 or stricter", "chmod o-w the file");
    }
    if !is_known(meta.uid()) {
        let found = format!("a file that belongs to user {}", meta.uid());
        return refuse(found, "root or the user that recast runs as", "chown the file");
    }
    for dir in path.canonicalize().as_deref().unwrap_or(path).ancestors().skip(1) {
        let Ok(meta) = dir.symlink_metadata() else { continue };
        // In a sticky directory (/tmp) others can't replace what is mine.
        if meta.mode() & 0o1002 == 0o002 {
            let found = format!("the directory {} that everybody may write to", dir.display());
            return refuse(found, "mode 0755 or stricter, or the sticky bit", "chmod o-w the directory");
        }
        if !is_known(meta.uid()) && Some(dir) == path.parent() {
            let found = format!("a directory that belongs to user {}", meta.uid());
            return refuse(found, "root or the user that recast runs as", "chown the directory");
        }
    }
    Ok(())
}

pub(super) fn read(path: &Path, file: &File) -> Result<Found, Refusal> {
    let ReadManifest { manifest, .. } = read_manifest(path, file)?;
    let mut again = open(path)?;
    let (sha256, bytes) = digest::of_reader(&mut again).map_err(|e| io_refusal(path, &e))?;
    Ok(Found { path: path.to_owned(), sha256, bytes, manifest })
}

pub(super) fn check_digest(found: Found, trust: &Trust) -> Result<Found, Refusal> {
    if trust.allow.is_empty() || trust.allow.contains(&found.sha256) {
        return Ok(found);
    }
    let remedy = "add the digest to plugins.allow in the configuration, if you trust the file";
    let what = format!("sha256 {}", found.sha256);
    Err(Refusal::new(&found.path, Step::Digest, what, "a digest of the allow list", remedy))
}
