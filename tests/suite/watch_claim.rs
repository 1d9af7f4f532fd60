//! A claim holds one version of an artifact, however it is written to meanwhile.

use recast::watch::claim::{Claimed, Wanted, claim};
use recast::watch::scan::{Look, scan};
use recast_tests::fake::config;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Long enough to be written to while it is copied.
const BYTES: usize = 16 << 20;

/// The artifact as a scan sees it now.
fn seen(watch: &recast::config::Watch) -> Wanted {
    let scan = scan(watch).expect("the folder is there");
    let of = |(name, look): (OsString, Look)| match look {
        Look::Artifact(artifact) => Some((name, artifact.fingerprint)),
        Look::Refused(_) | Look::Changing | Look::Orphan => None,
    };
    let (name, fingerprint) = scan.entries.into_iter().find_map(of).expect("the artifact is there");
    Wanted { identity: scan.identity, name, fingerprint, quiet: Duration::from_secs(3600) }
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none())
}

#[test]
fn what_changed_since_the_scan_is_not_taken() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let watch = config(home.path(), 0.1, "", "").watches.remove(0);
    let claims = home.path().join("claims");
    let artifact = home.path().join("drop/m.bin");
    fs::write(&artifact, b"one").expect("writable");
    let wanted = seen(&watch);
    assert!(matches!(claim(&watch, &wanted, &claims), Claimed::Taken(_)), "the control");
    fs::write(&artifact, b"two").expect("writable");
    assert!(matches!(claim(&watch, &wanted, &claims), Claimed::Changed));
    assert!(is_empty(&claims), "a copy was left");
}

/// Writes `content` over the artifact, in place, once its copy has begun; not when the claim has ended before that.
fn write_over(artifact: &Path, claims: &Path, content: u8, has_ended: &AtomicBool) {
    while is_empty(claims) {
        if has_ended.load(Ordering::Relaxed) {
            return;
        }
        std::thread::yield_now();
    }
    let mut file = fs::OpenOptions::new().write(true).open(artifact).expect("it is there");
    file.write_all(&vec![content; BYTES]).expect("writable");
}

#[test]
fn what_changes_while_it_is_copied_is_not_taken() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let watch = config(home.path(), 0.1, "", "").watches.remove(0);
    let (claims, artifact) = (home.path().join("claims"), home.path().join("drop/m.bin"));
    let mut was_changed = false;
    // The copy may be faster than the writer; then it is whole.
    for round in 2..=20u8 {
        fs::write(&artifact, vec![1; BYTES]).expect("writable");
        let wanted = seen(&watch);
        let has_ended = AtomicBool::new(false);
        let claimed = std::thread::scope(|scope| {
            let writer = scope.spawn(|| write_over(&artifact, &claims, round, &has_ended));
            let claimed = claim(&watch, &wanted, &claims);
            has_ended.store(true, Ordering::Relaxed);
            writer.join().expect("the writer does not panic");
            claimed
        });
        match claimed {
            Claimed::Changed => was_changed = true,
            Claimed::Taken(claim) => {
                let copy = fs::read(&claim.artifact).expect("it is there");
                assert!(copy.iter().all(|byte| *byte == 1), "parts of two versions");
            }
            other => panic!("{other:?}"),
        }
        fs::remove_dir_all(&claims).expect("it was made");
        if was_changed {
            return;
        }
    }
    panic!("no copy was ever seen to change");
}
