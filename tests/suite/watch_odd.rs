//! What else can lie in a drop folder: nothing is followed, nothing hangs, every reason is written down.

use recast::ledger::{EntryState, Ledger};
use recast_tests::fake::{Fake, config, wait_for};
use recast_tests::observe::{bundles, published};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

fn odd_entries(home: &Path, drop: &Path) -> Vec<(&'static str, &'static str)> {
    let secret = home.join("secret");
    fs::write(&secret, b"not for the drop folder").expect("writable");
    symlink(&secret, drop.join("outside.h5")).expect("writable");
    symlink("loop.h5", drop.join("loop.h5")).expect("writable");
    fs::hard_link(&secret, drop.join("hard.h5")).expect("writable");
    let fifo = rustix::fs::CWD;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(fifo, drop.join("fifo.h5"), rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO can be made");
    drop_socket(&drop.join("socket.h5"));
    let devices = devices(drop);
    fs::File::create(drop.join("sparse.h5")).expect("writable").set_len(1 << 40).expect("sparse files are there");
    fs::write(drop.join(format!("{}.h5", "n".repeat(250))), b"long name").expect("writable");
    fs::write(drop.join("new\nline.h5"), b"newline").expect("writable");
    fs::write(drop.join(OsStr::from_bytes(b"\xff\xfe.h5")), b"not UTF-8").expect("writable");
    let deep = drop.join("deep").join("d/".repeat(100));
    fs::create_dir_all(&deep).expect("writable");
    fs::write(deep.join("leaf"), b"x").expect("writable");
    let linked = drop.join("linked");
    fs::create_dir(&linked).expect("writable");
    fs::write(linked.join("saved_model.pb"), b"graph").expect("writable");
    symlink(&secret, linked.join("assets")).expect("writable");
    let mut expected = vec![
        ("outside.h5", "symlink"),
        ("loop.h5", "symlink"),
        ("hard.h5", "hard-link"),
        ("fifo.h5", "special-file"),
        ("socket.h5", "special-file"),
        ("sparse.h5", "too-large"),
        ("deep", "too-deep"),
        ("linked", "symlink"),
    ];
    expected.extend(devices);
    expected
}

/// Alone, and inside of a directory; reading the first would give zeros for ever. Only root can make them.
fn devices(drop: &Path) -> Vec<(&'static str, &'static str)> {
    fs::create_dir(drop.join("holds-device")).expect("writable");
    let (zero, mode) = (rustix::fs::makedev(1, 5), rustix::fs::Mode::from_raw_mode(0o666));
    let make = |name: &str, kind| rustix::fs::mknodat(rustix::fs::CWD, drop.join(name), kind, mode, zero);
    use rustix::fs::FileType::{BlockDevice, CharacterDevice};
    let made = make("zero.h5", CharacterDevice)
        .and_then(|()| make("block.h5", BlockDevice))
        .and_then(|()| make("holds-device/saved_model.pb", CharacterDevice));
    if let Err(error) = made {
        eprintln!("SKIPPED device nodes of row 12: {error}");
        fs::remove_dir_all(drop.join("holds-device")).expect("writable");
        return Vec::new();
    }
    vec![("zero.h5", "special-file"), ("block.h5", "special-file"), ("holds-device", "special-file")]
}

/// The file stays when nobody listens any more.
fn drop_socket(path: &Path) {
    UnixListener::bind(path).expect("a socket can be made");
}

#[test]
fn odd_entries_are_refused_with_their_reason() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let config = || config(home.path(), 0.1, "", "");
    config();
    let drop = home.path().join("drop");
    let expected = odd_entries(home.path(), &drop);
    fs::write(drop.join("good.h5"), b"a model").expect("writable");
    fs::write(drop.join("unfinished.h5.part"), b"half a mod").expect("writable");
    fs::write(drop.join("nobody.golden.npz"), b"PK").expect("writable");
    let began = Instant::now();
    let summary = Fake::default().until_idle(config()).expect("it ends well");
    assert!(began.elapsed().as_secs() < 20, "something hung");
    assert_eq!(summary.exit_code, 4);
    let out = home.path().join("out");
    assert_eq!(bundles(&out).len(), 1, "only the good one");
    let ledger = Ledger::read(&home.path().join("state")).expect("there is a ledger");
    let entries = ledger.entries(None).expect("it can be read");
    let reasons: BTreeMap<_, _> =
        entries.iter().map(|row| (row.name.clone(), (row.state, row.reason.clone()))).collect();
    for (name, reason) in expected {
        let (state, said) = &reasons[OsStr::new(name)];
        assert_eq!(*state, EntryState::Refused, "{name}");
        assert!(said.starts_with(&format!("{reason}:")), "{name}: {said}");
    }
    for name in [b"new\nline.h5".as_slice(), b"\xff\xfe.h5"] {
        let (_, said) = &reasons[OsStr::from_bytes(name)];
        assert!(said.starts_with("bad-name:") && !said.contains('\n'), "{said}");
    }
    assert!(reasons.values().any(|(_, said)| said.starts_with("name-too-long:")));
    assert_eq!(reasons[OsStr::new("nobody.golden.npz")].0, EntryState::Waiting);
    assert!(!reasons.contains_key(OsStr::new("unfinished.h5.part")));
}

#[test]
fn hard_links_are_copied_where_that_is_asked_for() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let config = config(home.path(), 0.1, "hard_links = \"copy\"", "");
    fs::write(home.path().join("elsewhere"), b"a model").expect("writable");
    fs::hard_link(home.path().join("elsewhere"), home.path().join("drop/m.h5")).expect("writable");
    let summary = Fake::default().until_idle(config).expect("it ends well");
    assert_eq!(summary.exit_code, 0);
}

#[test]
fn every_bound_of_an_entry_is_kept() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let bounds = "[limits]\nentry_files_max = 4\nentry_bytes_max = \"1 KiB\"\nentry_depth_max = 2";
    let config = config(home.path(), 0.1, "", bounds);
    let drop = home.path().join("drop");
    fs::write(drop.join("large.h5"), vec![1; 1025]).expect("writable");
    fs::create_dir_all(drop.join("deep/a/b/c")).expect("writable");
    fs::create_dir(drop.join("many")).expect("writable");
    for number in 0..5 {
        fs::write(drop.join(format!("many/{number}")), b"x").expect("writable");
    }
    fs::write(drop.join("fits.h5"), vec![1; 1024]).expect("writable");
    Fake::default().until_idle(config).expect("it ends well");
    let ledger = Ledger::read(&home.path().join("state")).expect("there is a ledger");
    let reasons: Vec<String> = ledger
        .entries(None)
        .expect("it can be read")
        .into_iter()
        .map(|row| row.reason)
        .filter(|r| !r.is_empty())
        .collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    for reason in ["too-large:", "too-deep:", "too-many-files:"] {
        assert!(reasons.iter().any(|said| said.starts_with(reason)), "{reason} {reasons:?}");
    }
    assert_eq!(published(&home.path().join("out")).len(), 1);
}

#[test]
fn a_missing_folder_is_not_an_empty_folder() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let config = || config(home.path(), 0.1, "", "");
    let watched = config();
    let drop = home.path().join("drop");
    fs::write(drop.join("m.h5"), b"a model").expect("writable");
    let fake = Fake::default();
    let daemon = fake.spawn(watched);
    let out = home.path().join("out");
    wait_for(5.0, "published", || bundles(&out).len() == 1);
    let away = home.path().join("away");
    fs::rename(&drop, &away).expect("it can be moved");
    std::thread::sleep(std::time::Duration::from_millis(700));
    fs::write(away.join("elsewhere.h5"), b"another model").expect("writable");
    let ledger = Ledger::read(&home.path().join("state")).expect("there is a ledger");
    assert_eq!(ledger.entries(None).expect("it can be read").len(), 1, "the entry was forgotten");
    fs::create_dir(&drop).expect("writable");
    fs::write(drop.join("n.h5"), b"a third model").expect("writable");
    wait_for(10.0, "the new folder is watched", || bundles(&out).len() == 2);
    daemon.stop().expect("it ends well");
    let names: Vec<_> = fs::read_dir(&out).expect("readable").flatten().map(|entry| entry.file_name()).collect();
    assert!(!names.contains(&"elsewhere".into()), "a job came from the folder that was moved away");
}
