//! What outlives a command or a job does not grow with their number, beyond what it is meant to keep: as many files,
//! and as many bytes, after three times as many.

use recast::attempt::Workshop;
use recast::convert::{Request, convert};
use recast::job::{JobKey, JobReport, Policy, Status, exit};
use recast::ledger::{ATTEMPTS_KEPT_MAX, Enqueued, EntryRow, EntryState, Ledger, NewJob, State};
use recast::lineage::{Key, Store};
use recast::publish::{Area, Atomic, area};
use recast::runner::{Event, PluginSet, cancellation};
use recast_tests::fake::{Fake, FakeRunner, Shared, blank, config, wait_for};
use recast_tests::observe::bundles;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const FEW: u64 = 30;
const MANY: u64 = 90;

/// What SQLite lets a journal grow to while others have the database open: a thousand pages of 4 KiB, and one commit.
const JOURNAL_BYTES_MAX: u64 = 5 << 20;

/// Files below `dir`, and their sizes.
fn files(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("readable") {
        let entry = entry.expect("readable");
        if entry.file_type().expect("readable").is_dir() {
            found.insert(entry.path(), 0);
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path(), entry.metadata().expect("readable").len());
        }
    }
    found
}

/// The same files, and no more bytes but for `slack`.
fn assert_same_size(few: &BTreeMap<PathBuf, u64>, many: &BTreeMap<PathBuf, u64>, slack: u64, what: &str) {
    assert_eq!(few.keys().collect::<Vec<_>>(), many.keys().collect::<Vec<_>>(), "{what}");
    for (path, bytes) in many {
        assert!(*bytes <= few[path] + slack, "{what}: {} grew from {} to {bytes}", path.display(), few[path]);
    }
}

/// One command: it converts `home/m.bin` under options that `seed` makes others.
fn convert_once(home: &Path, seed: u64) {
    let config = config(home, 0.1, "", "");
    let shop = Workshop {
        runner: Arc::new(Shared(Arc::new(FakeRunner { output_bytes: 1000, ..FakeRunner::default() }))),
        place: Arc::new(Atomic),
        key: Arc::new(Key::open(&config.key).expect("the key can be made")),
        state: config.state.clone(),
    };
    let mut request = Request::new(&config, &PluginSet::default(), Policy::Required);
    (request.out, request.verify.seed) = (home.join("out"), seed);
    area::purge(&request.out).expect("writable");
    let area = Area::open(&request.out).expect("writable");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let silent = Box::new(|_: Event| {});
    let outcome = runtime.block_on(convert(&shop, &request, &home.join("m.bin"), &area, silent, cancellation().1));
    assert_eq!(outcome.report.exit_code, exit::OK, "{:?}", outcome.report.diagnostics);
}

#[test]
fn commands_leave_no_more_behind_the_more_there_are() {
    // Are the options of each command others?
    for (others, what) in [(false, "a bundle made once"), (true, "a bundle made again each time")] {
        let home = tempfile::tempdir().expect("a scratch directory");
        fs::write(home.path().join("m.bin"), b"a model").expect("writable");
        let state = home.path().join("state");
        // Another program has the index open all the time: nobody is the last one to leave, who would tidy up.
        let other = Store::open(&state).expect("writable");
        let size = |commands: std::ops::Range<u64>, other: Option<Store>| {
            commands.for_each(|number| convert_once(home.path(), if others { number } else { 1 }));
            let busy = files(home.path());
            drop(other);
            drop(Store::open(&state).expect("writable"));
            (busy, files(home.path()))
        };
        let (_, few) = size(0..FEW, Some(other));
        let other = Store::open(&state).expect("writable");
        let (busy, many) = size(FEW..MANY, Some(other));
        assert_same_size(&few, &many, 16 << 10, what);
        let journal = busy[&state.join("lineage.sqlite-wal")];
        assert!(journal <= JOURNAL_BYTES_MAX, "{what}: the journal has {journal} bytes");
    }
}

#[test]
fn the_journal_of_the_index_begins_anew_while_others_have_it_open() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let state = home.path().join("state");
    fs::write(home.path().join("m.bin"), b"a model").expect("writable");
    convert_once(home.path(), 1);
    let record = files(home.path()).into_keys().find(|path| path.to_string_lossy().ends_with(".sigstore.json"));
    let mut record = recast::lineage::store::read_record(&record.expect("it was published")).expect("ours");
    let _other = Store::open(&state).expect("writable");
    for number in 0..1500u32 {
        record.sha256 = recast::digest::of_bytes(&number.to_le_bytes());
        Store::open(&state).and_then(|mut store| store.add(&record)).expect("writable");
    }
    let journal = files(&state)[&state.join("lineage.sqlite-wal")];
    assert!(journal <= JOURNAL_BYTES_MAX, "the journal has {journal} bytes");
}

const KEPT: u64 = 4;

#[test]
fn jobs_that_came_to_nothing_are_forgotten_with_their_reasons() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let config = || config(home.path(), 0.05, "", &format!("[limits]\nended_jobs_max = {KEPT}"));
    config();
    let artifact = home.path().join("drop/m.h5");
    let jobs = || Ledger::read(&home.path().join("state")).and_then(|ledger| ledger.jobs(None)).expect("readable");
    for number in 0..3 * KEPT {
        fs::write(&artifact, format!("fake: malformed\n{number}")).expect("writable");
        Fake::default().until_idle(config()).expect("it ends well");
        let last = jobs().pop().expect("the last one");
        assert_eq!((last.state, last.entry.as_str()), (State::Quarantined, "m.h5"), "an entry stands for it");
    }
    let reasons = || fs::read_dir(home.path().join("state/quarantine")).expect("there is one").count() as u64;
    // Those, and the one that lies in the folder.
    assert_eq!((jobs().len() as u64, reasons()), (KEPT + 1, KEPT + 1));
    fs::remove_file(&artifact).expect("it is there");
    Fake::default().until_idle(config()).expect("it ends well");
    assert_eq!((jobs().len() as u64, reasons()), (KEPT, KEPT));
    // What was published stays known as long as it lies there.
    for number in 0..2 * KEPT {
        fs::write(&artifact, format!("model {number}")).expect("writable");
        Fake::default().until_idle(config()).expect("it ends well");
    }
    let done = jobs().iter().filter(|job| job.state == State::Done).count() as u64;
    assert_eq!((done, bundles(&home.path().join("out")).len() as u64), (2 * KEPT, 2 * KEPT));
}

#[test]
fn attempts_of_a_job_are_remembered_up_to_a_number_and_damaged_ledgers_too() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let (mut ledger, _) = Ledger::open(home.path()).expect("a new one");
    let key = JobKey { digest: recast::digest::of_bytes(b"m"), options_digest: "o".into(), name: "m".into() };
    let new = NewJob { key, root: "/drop".into(), entry: "m.h5".into(), out: PathBuf::from("/out") };
    let Enqueued::Queued(id) = ledger.enqueue(&new, &BTreeSet::new()).expect("writable") else { panic!("it is new") };
    for number in 1..=2 * ATTEMPTS_KEPT_MAX {
        assert_eq!(ledger.begin(id, "plugins").expect("writable"), number);
        ledger.interrupt(id).expect("writable");
    }
    let attempts = ledger.attempts(id).expect("readable");
    let numbers: Vec<u32> = attempts.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (ATTEMPTS_KEPT_MAX + 1..=2 * ATTEMPTS_KEPT_MAX).collect::<Vec<_>>());
    drop(ledger);
    for _ in 0..6 {
        fs::write(home.path().join("ledger.sqlite"), vec![0x5a; 20_000]).expect("writable");
        Ledger::open(home.path()).expect("it is put aside");
    }
    let aside = files(home.path()).into_keys().filter(|path| path.to_string_lossy().contains("damaged")).count();
    assert_eq!(aside, 3);
}

/// Ended jobs are forgotten, whatever they ended as; those that an entry stands for, that wait or that were published
/// are not.
#[test]
fn only_what_nobody_will_ask_for_is_forgotten() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let (mut ledger, _) = Ledger::open(home.path()).expect("a new one");
    let report: JobReport = blank(Status::Failed, "");
    let mut ids = Vec::new();
    for number in 0..6u32 {
        let digest = recast::digest::of_bytes(&number.to_le_bytes());
        let key = JobKey { digest, options_digest: "o".into(), name: format!("m{number}") };
        let (entry, out) = (format!("m{number}.h5"), PathBuf::from("/out"));
        let new = NewJob { key, root: "/drop".into(), entry, out };
        match ledger.enqueue(&new, &BTreeSet::new()).expect("writable") {
            Enqueued::Queued(id) => ids.push(id),
            Enqueued::Known(job) => panic!("{job:?}"),
        }
    }
    ledger.withdraw(ids[0], "gone").expect("writable");
    ledger.quarantine(ids[1], &report, "broken").expect("writable");
    ledger.quarantine(ids[2], &report, "broken, and still there").expect("writable");
    ledger.done(ids[3], &report, Path::new("/out/m3/0")).expect("writable");
    ledger.park(ids[4], &report, "waits").expect("writable");
    let row = EntryRow {
        root: "/drop".into(),
        name: "m2.h5".into(),
        fingerprint: String::new(),
        state: EntryState::Taken,
        reason: String::new(),
        job_id: Some(ids[2]),
        watch_digest: String::new(),
    };
    ledger.record_entries(&[row], "/drop", &[]).expect("writable");
    let forgotten = |ledger: &mut Ledger, kept: u64| -> Vec<i64> {
        ledger.forget(kept).expect("writable").iter().map(|job| job.id).collect()
    };
    assert_eq!(forgotten(&mut ledger, 2), Vec::<i64>::new());
    assert_eq!(forgotten(&mut ledger, 1), [ids[0]], "the newest stays");
    assert_eq!(forgotten(&mut ledger, 0), [ids[1]]);
    assert_eq!(ledger.jobs(None).expect("readable").len(), 4);
}

/// A daemon in a process of its own, with real worker processes.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // A test that fails leaves nobody behind.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    fn start(home: &Path) -> Daemon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fake-daemon"));
        command.arg(home).arg("workers").env("TEST_WORKER", env!("CARGO_BIN_EXE_test-worker"));
        Daemon(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs"))
    }

    fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0.id())).expect("it runs").count()
    }
}

#[test]
fn a_daemon_holds_no_more_the_more_jobs_it_had() {
    let home = tempfile::tempdir().expect("a scratch directory");
    config(home.path(), 0.1, "", "");
    let daemon = Daemon::start(home.path());
    let ended = || {
        let jobs = Ledger::read(&home.path().join("state")).and_then(|ledger| ledger.jobs(Some(State::Quarantined)));
        jobs.map_or(0, |jobs| jobs.len() as u64)
    };
    let held = |jobs: std::ops::Range<u64>| {
        let upto = jobs.end;
        for number in jobs {
            fs::write(home.path().join(format!("drop/m{number}.bin")), format!("model {number}")).expect("writable");
        }
        wait_for(60.0, "all came to their end", || ended() == upto);
        let left = |dir: &Path| fs::read_dir(dir).map_or(0, Iterator::count);
        wait_for(5.0, "copies and staging are gone", || {
            let out = fs::read_dir(home.path().join("out")).expect("it is there");
            let staging: usize = out.map(|entry| left(&entry.expect("readable").path())).sum();
            left(&home.path().join("state/claims")) == 0 && staging == 0
        });
        std::thread::sleep(Duration::from_millis(300));
        daemon.open_files()
    };
    let few = held(0..FEW);
    let many = held(FEW..MANY);
    assert!(many <= few, "{few} open files, then {many}");
}
