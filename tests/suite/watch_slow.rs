//! Writers that pause in the middle, for longer than the settle time, in every way that hides it: only the whole file
//! is ever converted, and no attempt is spent on a part.

use crate::watch_events::saved_model_index;
use recast::digest;
use recast::ledger::Ledger;
use recast_tests::fake::{Fake, Spawned, config, wait_for};
use recast_tests::observe::{bundles, published};
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const SETTLE: f64 = 0.25;
/// Three times the settle time.
const PAUSE: Duration = Duration::from_millis(750);

/// The outline of an HDF5 file: a superblock that says how long it is, and bytes that differ by `seed`.
fn hdf5(bytes: usize, seed: u8) -> Vec<u8> {
    let mut file = b"\x89HDF\r\n\x1a\n\x00\x00\x00\x00\x00\x08\x08\x00\x04\x00\x10\x00\x00\x00\x00\x00".to_vec();
    file.extend(0u64.to_le_bytes());
    file.extend(u64::MAX.to_le_bytes());
    file.extend((bytes as u64).to_le_bytes());
    file.resize(bytes, seed);
    file
}

/// Writes one file under its final name and returns what it holds in the end.
type Writer = fn(&Path) -> Vec<u8>;

fn held_open(path: &Path) -> Vec<u8> {
    let content = hdf5(60_000, 1);
    let mut file = File::create(path).expect("writable");
    for part in content.chunks(20_000) {
        file.write_all(part).expect("writable");
        std::thread::sleep(PAUSE);
    }
    content
}

fn reopened_for_each_part(path: &Path) -> Vec<u8> {
    let content = hdf5(60_000, 2);
    for part in content.chunks(20_000) {
        OpenOptions::new().create(true).append(true).open(path).expect("writable").write_all(part).expect("writable");
        std::thread::sleep(PAUSE);
    }
    content
}

fn reserved_first(path: &Path) -> Vec<u8> {
    let content = hdf5(60_000, 3);
    let file = File::create(path).expect("writable");
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 60_000).expect("this file system reserves");
    drop(file);
    for (number, part) in content.chunks(20_000).enumerate() {
        std::thread::sleep(PAUSE);
        let file = OpenOptions::new().write(true).open(path).expect("writable");
        file.write_all_at(part, number as u64 * 20_000).expect("writable");
    }
    content
}

fn mapped(path: &Path) -> Vec<u8> {
    let content = hdf5(8192, 4);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).expect("writable");
    file.set_len(8192).expect("writable");
    let flags = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a fresh mapping of a file that is as long; nobody else has it.
    let map =
        unsafe { libc::mmap(std::ptr::null_mut(), 8192, flags.0, flags.1, std::os::fd::AsRawFd::as_raw_fd(&file), 0) };
    assert_ne!(map, libc::MAP_FAILED);
    drop(file);
    for (number, part) in content.chunks(4096).enumerate() {
        // SAFETY: within the mapping, which is 8192 bytes long.
        unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), map.cast::<u8>().add(number * 4096), part.len()) };
        std::thread::sleep(PAUSE);
    }
    // SAFETY: mapped above, and not used after this.
    unsafe { libc::munmap(map, 8192) };
    content
}

fn set_times(path: &Path, offset_seconds: i64) {
    let now = SystemTime::now();
    let by = Duration::from_secs(offset_seconds.unsigned_abs());
    let time = if offset_seconds < 0 { now - by } else { now + by };
    File::options().write(true).open(path).expect("writable").set_modified(time).expect("times can be set");
}

fn old_modification_time(path: &Path) -> Vec<u8> {
    let content = hdf5(60_000, 5);
    for part in content.chunks(20_000) {
        OpenOptions::new().create(true).append(true).open(path).expect("writable").write_all(part).expect("writable");
        set_times(path, -86_400 * 30);
        std::thread::sleep(PAUSE);
    }
    content
}

fn modification_time_of_tomorrow(path: &Path) -> Vec<u8> {
    let content = hdf5(60_000, 6);
    for part in content.chunks(20_000) {
        OpenOptions::new().create(true).append(true).open(path).expect("writable").write_all(part).expect("writable");
        set_times(path, 86_400);
        std::thread::sleep(PAUSE);
    }
    content
}

fn zip_end_record_last(path: &Path) -> Vec<u8> {
    let mut content = b"PK\x03\x04".to_vec();
    content.resize(50_000, 7);
    let directory_at = content.len() as u32;
    content.extend(b"PK\x05\x06\0\0\0\0\0\0\0\0");
    content.extend(0u32.to_le_bytes());
    content.extend(directory_at.to_le_bytes());
    content.extend([0, 0]);
    for part in content.chunks(25_000) {
        OpenOptions::new().create(true).append(true).open(path).expect("writable").write_all(part).expect("writable");
        std::thread::sleep(PAUSE);
    }
    content
}

fn start(home: &Path, watch: &str) -> (Fake, Spawned, PathBuf) {
    let fake = Fake::default();
    let daemon = fake.spawn(config(home, SETTLE, watch, "[limits]\nrescan_seconds = 1"));
    wait_for(5.0, "the daemon is up", || home.join("state/status.json").exists());
    (fake, daemon, home.join("out"))
}

#[test]
fn pauses_of_three_settle_times_publish_no_part() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let (_fake, daemon, out) = start(home.path(), "");
    let writers: [(&str, Writer); 7] = [
        ("held.h5", held_open),
        ("reopened.h5", reopened_for_each_part),
        ("reserved.h5", reserved_first),
        ("mapped.h5", mapped),
        ("old.h5", old_modification_time),
        ("tomorrow.h5", modification_time_of_tomorrow),
        ("zipped.keras", zip_end_record_last),
    ];
    let threads = writers.map(|(name, write)| {
        let path = home.path().join("drop").join(name);
        std::thread::spawn(move || digest::of_bytes(&write(&path)))
    });
    let mut expected: Vec<String> = threads.map(|thread| thread.join().expect("it writes")).to_vec();
    wait_for(20.0, "all published", || bundles(&out).len() >= expected.len());
    daemon.stop().expect("it ends well");
    let mut found: Vec<String> = published(&out).into_keys().collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "something was published that nobody had finished");
    let ledger = Ledger::read(&home.path().join("state")).expect("there is a ledger");
    for job in ledger.jobs(None).expect("it can be read") {
        let attempts = ledger.attempts(job.id).expect("it can be read");
        assert_eq!(attempts.len(), 1, "{}: an attempt was spent on a part: {attempts:?}", job.entry);
    }
}

#[test]
fn a_file_that_is_rewritten_after_its_claim_is_converted_again() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let (_fake, daemon, out) = start(home.path(), "");
    let path = home.path().join("drop/m.h5");
    fs::write(&path, hdf5(5000, 1)).expect("writable");
    wait_for(5.0, "the first version", || bundles(&out).len() == 1);
    let mut file = OpenOptions::new().write(true).open(&path).expect("writable");
    file.seek(SeekFrom::Start(100)).expect("seekable");
    file.write_all(b"changed").expect("writable");
    drop(file);
    wait_for(5.0, "the second version", || bundles(&out).len() == 2);
    daemon.stop().expect("it ends well");
    let second = digest::of_file(&path).expect("readable").0;
    let latest = fs::read_link(out.join("m/latest")).expect("there is a latest");
    assert_eq!(latest.to_string_lossy(), second[..digest::SHORT_HEX_LEN]);
}

fn saved_model(dir: &Path, shards: &[u8]) {
    fs::create_dir_all(dir.join("variables")).expect("writable");
    fs::write(dir.join("saved_model.pb"), b"graph").expect("writable");
    fs::write(dir.join("variables/variables.index"), saved_model_index(&[(0, 0, 90), (1, 0, 60)])).expect("writable");
    for shard in shards {
        let name = format!("variables/variables.data-{shard:05}-of-00002");
        fs::write(dir.join(name), vec![*shard; if *shard == 0 { 90 } else { 60 }]).expect("writable");
    }
}

#[test]
fn a_shard_that_comes_late_is_waited_for() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let (_fake, daemon, out) = start(home.path(), "");
    let dir = home.path().join("drop/m");
    saved_model(&dir, &[0]);
    std::thread::sleep(PAUSE * 2);
    assert!(bundles(&out).is_empty(), "published without its second shard");
    let late = dir.join("variables/variables.data-00001-of-00002");
    fs::write(&late, [1; 30]).expect("writable");
    std::thread::sleep(PAUSE);
    assert!(bundles(&out).is_empty(), "published with half of its second shard");
    fs::write(&late, [1; 60]).expect("writable");
    wait_for(10.0, "published when it is whole", || bundles(&out).len() == 1);
    daemon.stop().expect("it ends well");
}

#[test]
fn a_sentinel_is_waited_for_where_one_is_promised() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let (_fake, daemon, out) = start(home.path(), "sentinel = \".ready\"");
    let drop = home.path().join("drop");
    saved_model(&drop.join("m"), &[0, 1]);
    std::thread::sleep(PAUSE * 2);
    assert!(bundles(&out).is_empty(), "published without the sentinel");
    fs::write(drop.join("m.ready"), b"").expect("writable");
    wait_for(10.0, "published with the sentinel", || bundles(&out).len() == 1);
    daemon.stop().expect("it ends well");
}
