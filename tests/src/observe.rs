//! A reader of published bundles, as a user's script would be one: it looks all the time, and counts what it should
//! never see. The end of a test can't show a bundle that was half written for a moment.

use recast::digest;
use recast::publish::{PlaceError, Placed, REPORT_JSON, read_bundle};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Every `out/<name>/<digest>` directory.
pub fn bundles(out: &Path) -> Vec<PathBuf> {
    let directories = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
        let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        let visible = |entry: &fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
        entries.iter().filter(|entry| is_dir(entry) && visible(entry)).map(fs::DirEntry::path).collect()
    };
    directories(out).iter().flat_map(|name| directories(name)).collect()
}

/// Is the bundle whole: its report, every output with the right digest, every record?
pub fn is_whole(bundle: &Path) -> bool {
    let Some(report) = read_bundle(bundle) else { return false };
    report.report.outputs.iter().all(|output| {
        let record = bundle.join(format!("{}.sigstore.json", output.path));
        let right = |file: &recast::job::OutputFile| {
            digest::of_file(&bundle.join(&file.path)).is_ok_and(|(sha256, _)| sha256 == file.sha256)
        };
        record.is_file() && output.files.iter().all(right)
    })
}

/// Artifact digest -> bundles that say they were made of it.
pub fn published(out: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut all: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for bundle in bundles(out) {
        let report = read_bundle(&bundle).unwrap_or_else(|| panic!("{} is not whole", bundle.display()));
        all.entry(report.report.digest).or_default().push(bundle);
    }
    all
}

pub struct Observer {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Sightings>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Sightings {
    pub scans: u64,
    pub whole: u64,
    pub half: u64,
}

impl Observer {
    pub fn start(out: &Path) -> Observer {
        let stop = Arc::new(AtomicBool::new(false));
        let (out, flag) = (out.to_owned(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut sightings = Sightings::default();
            let mut known: BTreeMap<PathBuf, u64> = BTreeMap::new();
            while !flag.load(Ordering::Relaxed) {
                sightings.scans += 1;
                for bundle in bundles(&out) {
                    look(&bundle, &mut known, &mut sightings);
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            sightings
        });
        Observer { stop, thread }
    }

    pub fn stop(self) -> Sightings {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the observer does not panic")
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|meta| meta.ino())
}

/// A bundle that was whole once is not read again while it is the same directory.
fn look(bundle: &Path, known: &mut BTreeMap<PathBuf, u64>, sightings: &mut Sightings) {
    let Some(before) = inode(bundle) else { return };
    if known.get(bundle) == Some(&before) {
        return;
    }
    if is_whole(bundle) {
        sightings.whole += 1;
        known.insert(bundle.to_owned(), before);
    } else if inode(bundle) == Some(before) {
        // Still the same directory: it was not replaced while we read it.
        sightings.half += 1;
    }
}

/// A publisher as one would write it without thinking: straight into place. The negative control of the observer.
#[derive(Debug, Default)]
pub struct Direct;

impl recast::publish::Place for Direct {
    fn place(&self, staged: &Path, parent: &Path, name: &str) -> Result<Placed, PlaceError> {
        let place = parent.join(name);
        if place.join(REPORT_JSON).exists() {
            return Ok(Placed::Occupied);
        }
        fs::create_dir_all(&place)?;
        for entry in fs::read_dir(staged)? {
            let entry = entry?;
            fs::copy(entry.path(), place.join(entry.file_name()))?;
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Ok(Placed::New)
    }

    fn exchange(&self, staged: &Path, parent: &Path, name: &str) -> Result<Placed, PlaceError> {
        fs::remove_dir_all(parent.join(name))?;
        self.place(staged, parent, name)
    }

    fn point_latest(&self, _parent: &Path, _name: &str) -> Result<(), PlaceError> {
        Ok(())
    }
}

/// One rename, as it should be, and no fsync: whole for every reader until the power fails.
#[derive(Debug, Default)]
pub struct Unsynced;

impl recast::publish::Place for Unsynced {
    fn place(&self, staged: &Path, parent: &Path, name: &str) -> Result<Placed, PlaceError> {
        if parent.join(name).exists() {
            return Ok(Placed::Occupied);
        }
        fs::create_dir_all(parent)?;
        fs::rename(staged, parent.join(name))?;
        Ok(Placed::New)
    }

    fn exchange(&self, staged: &Path, parent: &Path, name: &str) -> Result<Placed, PlaceError> {
        fs::remove_dir_all(parent.join(name))?;
        self.place(staged, parent, name)
    }

    fn point_latest(&self, _parent: &Path, _name: &str) -> Result<(), PlaceError> {
        Ok(())
    }
}
