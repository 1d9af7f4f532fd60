//! Power cuts: state and outputs on two ext4 file systems of their own, which are shut down under the daemon and
//! mounted again. What was said to be done is done, and what is visible is whole. Needs root and loop devices; says
//! so where they are not there. Killing a process can't show a missing fsync, this can: the negative control
//! publishes without.

use recast::ledger::{Ledger, State};
use recast_tests::observe::{bundles, is_whole};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const CUTS: u64 = 12;
const IMAGE_BYTES: u64 = 64 << 20;

/// Forget what is only in memory, the journal included.
const FS_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
const NO_LOG_FLUSH: u32 = 2;

struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

fn runs(program: &str, arguments: &[&Path]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

impl Disk {
    /// None where this machine does not let us.
    fn make(home: &Path, name: &str) -> Option<Disk> {
        let disk = Disk { image: home.join(format!("{name}.img")), mount: home.join(name) };
        fs::create_dir(&disk.mount).expect("writable");
        File::create(&disk.image).expect("writable").set_len(IMAGE_BYTES).expect("writable");
        let made = runs("mkfs.ext4", &[Path::new("-q"), Path::new("-F"), &disk.image]);
        (made && disk.mount()).then_some(disk)
    }

    fn mount(&self) -> bool {
        runs("mount", &[Path::new("-o"), Path::new("loop"), &self.image, &self.mount])
    }

    fn cut(&self) {
        let root = File::open(&self.mount).expect("mounted");
        // SAFETY: the call reads one u32, which lives until it returns.
        let result = unsafe { libc::ioctl(root.as_raw_fd(), FS_IOC_SHUTDOWN, &NO_LOG_FLUSH) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }

    fn remount(&self) {
        recast_tests::fake::wait_for(20.0, "unmounted", || runs("umount", &[&self.mount]));
        assert!(self.mount(), "{} can't be mounted again", self.image.display());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        runs("umount", &[&self.mount]);
    }
}

fn daemon(home: &Path, how: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_fake-daemon"))
        .args([home.as_os_str(), how.as_ref()])
        .env("RUST_LOG", "off")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the fake daemon starts")
}

fn done(home: &Path) -> BTreeSet<String> {
    let jobs = Ledger::read(&home.join("state")).and_then(|ledger| ledger.jobs(Some(State::Done)));
    jobs.map(|jobs| jobs.into_iter().map(|job| job.entry).collect()).unwrap_or_default()
}

#[derive(Debug, Default)]
struct Damage {
    half: usize,
    forgotten: usize,
    missing: usize,
    done: usize,
}

/// None where power can't be cut.
fn cut_power(cuts: u64, how: &str) -> Option<Damage> {
    let home = tempfile::tempdir().expect("a scratch directory");
    fs::create_dir(home.path().join("drop")).expect("writable");
    let disks = [Disk::make(home.path(), "state")?, Disk::make(home.path(), "out")?];
    let mut damage = Damage::default();
    for cut in 0..cuts {
        for number in 0..15 {
            let path = home.path().join(format!("drop/m{cut:03}-{number:02}.bin"));
            fs::write(path, format!("model {cut} {number}")).expect("writable");
        }
        let mut child = daemon(home.path(), how);
        // However slow this machine is, the cut comes while the daemon is at work.
        recast_tests::fake::wait_for(30.0, "the daemon is at work", || done(home.path()).len() > damage.done);
        std::thread::sleep(Duration::from_millis(cut * 37 % 150));
        let acknowledged = done(home.path());
        disks.iter().for_each(Disk::cut);
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        disks.iter().for_each(Disk::remount);
        damage.half += bundles(&home.path().join("out")).iter().filter(|bundle| !is_whole(bundle)).count();
        let remembered = done(home.path());
        damage.forgotten += acknowledged.difference(&remembered).count();
        let there = |entry: &&String| {
            let name = entry.trim_end_matches(".bin");
            bundles(&home.path().join("out"))
                .iter()
                .any(|bundle| bundle.parent().is_some_and(|dir| dir.ends_with(name)))
        };
        damage.missing += remembered.iter().filter(|entry| !there(entry)).count();
        damage.done = remembered.len();
    }
    Some(damage)
}

#[test]
fn power_cuts_take_back_nothing_that_was_said_to_be_done() {
    match cut_power(CUTS, "atomic") {
        None => println!("not tried: power cuts need root, loop devices and mkfs.ext4"),
        Some(damage) => {
            println!("{CUTS} cuts: {damage:?}");
            assert_eq!((damage.half, damage.forgotten, damage.missing), (0, 0, 0), "{damage:?}");
            assert!(damage.done > 0, "nothing was done between the cuts");
        }
    }
}

#[test]
fn publishing_without_fsync_is_caught() {
    match cut_power(CUTS, "unsynced") {
        None => println!("not tried: power cuts need root, loop devices and mkfs.ext4"),
        Some(damage) => assert!(damage.half + damage.missing > 0, "power cuts here show nothing: {damage:?}"),
    }
}
