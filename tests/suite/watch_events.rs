//! Directories that are made and filled at once: the kernel's events alone miss files in them; scans don't.

use notify::{RecursiveMode, Watcher};
use recast_tests::fake::{Fake, config, wait_for};
use recast_tests::observe::published;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DIRECTORIES: usize = 200;

fn drop_directories(drop: &Path) {
    for number in 0..DIRECTORIES {
        let variables = drop.join(format!("m{number}/variables"));
        fs::create_dir_all(&variables).expect("writable");
        fs::write(drop.join(format!("m{number}/saved_model.pb")), format!("graph {number}")).expect("writable");
        fs::write(variables.join("variables.index"), saved_model_index(&[])).expect("writable");
        fs::write(variables.join("variables.data-00000-of-00001"), b"").expect("writable");
    }
}

/// `variables.index` as TensorFlow writes it, for tensors of the given (shard, offset, size).
pub fn saved_model_index(tensors: &[(u8, u8, u8)]) -> Vec<u8> {
    let shards = tensors.iter().map(|(shard, _, _)| shard + 1).max().unwrap_or(1);
    let block = |entries: &[(Vec<u8>, Vec<u8>)]| {
        let mut bytes = Vec::new();
        for (key, value) in entries {
            bytes.extend([0, key.len() as u8, value.len() as u8]);
            bytes.extend(key);
            bytes.extend(value);
        }
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes
    };
    let mut entries = vec![(vec![], vec![0x08, shards])];
    for (number, (shard, offset, size)) in tensors.iter().enumerate() {
        entries.push((vec![b'a' + number as u8], vec![0x18, *shard, 0x20, *offset, 0x28, *size]));
    }
    let data = block(&entries);
    let index = block(&[(vec![b'~'], vec![0, data.len() as u8])]);
    let mut file = data.clone();
    file.extend([0; 5]);
    let mut footer = vec![0, 0, file.len() as u8, index.len() as u8];
    file.extend(index);
    file.extend([0; 5]);
    footer.resize(40, 0);
    footer.extend(0xdb47_7524_8b80_fb57u64.to_le_bytes());
    file.extend(footer);
    file
}

#[test]
fn every_directory_of_a_burst_is_found() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let fake = Fake::default();
    let daemon = fake.spawn(config(home.path(), 0.2, "", ""));
    wait_for(5.0, "the daemon is up", || home.path().join("state/status.json").exists());
    drop_directories(&home.path().join("drop"));
    let out = home.path().join("out");
    wait_for(40.0, "all published", || recast_tests::observe::bundles(&out).len() == DIRECTORIES);
    daemon.stop().expect("it ends well");
    assert_eq!(published(&out).len(), DIRECTORIES);
}

#[test]
fn events_alone_miss_files_in_new_directories() {
    let drop = tempfile::tempdir().expect("a scratch directory");
    let seen: Arc<Mutex<BTreeSet<PathBuf>>> = Arc::default();
    let into = seen.clone();
    let mut watcher = notify::recommended_watcher(move |event: Result<notify::Event, notify::Error>| {
        into.lock().expect("not poisoned").extend(event.into_iter().flat_map(|event| event.paths));
    })
    .expect("there is inotify");
    watcher.watch(drop.path(), RecursiveMode::Recursive).expect("it can be watched");
    drop_directories(drop.path());
    std::thread::sleep(Duration::from_millis(500));
    let is_model = |path: &&PathBuf| path.file_name().is_some_and(|name| name == "saved_model.pb");
    let found = seen.lock().expect("not poisoned").iter().filter(is_model).count();
    println!("events told of {found} of {DIRECTORIES} files");
    assert!(found < DIRECTORIES, "notify has become reliable here: the scan may not be needed any more");
}
