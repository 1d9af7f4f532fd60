//! The daemon's own bounds: each is reached here, and holds.

use recast::config::{RawConfig, WATCHES_MAX};
use recast::job::{JobKey, exit};
use recast::ledger::{Enqueued, EntryState, Ledger, NewJob, State};
use recast::schedule::{Control, read_status};
use recast_tests::fake::{Fake, FakeRunner, config, wait_for};
use recast_tests::observe::bundles;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn slow(delay_ms: u64) -> Fake {
    let runner = FakeRunner { delay: Duration::from_millis(delay_ms), ..FakeRunner::default() };
    Fake { runner: Arc::new(runner), ..Fake::default() }
}

fn drop_models(home: &Path, count: usize) {
    for number in 0..count {
        fs::write(home.join(format!("drop/m{number}.bin")), format!("model {number}")).expect("writable");
    }
}

#[test]
fn workers_and_claims_are_bounded() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let limits = "[limits]\njobs_in_flight_max = 3\nqueue_length_max = 5";
    let config = config(home.path(), 0.1, "", limits);
    drop_models(home.path(), 25);
    let fake = slow(60);
    let daemon = fake.spawn(config);
    let claims = home.path().join("state/claims");
    let mut most = 0;
    wait_for(30.0, "all published", || {
        most = most.max(fs::read_dir(&claims).map_or(0, Iterator::count));
        bundles(&home.path().join("out")).len() == 25
    });
    daemon.stop().expect("it ends well");
    assert_eq!(fake.runner.at_work.lock().expect("not poisoned").1, 3, "workers at the same time");
    // Claims that wait, and those that are being worked on.
    assert!((4..=8).contains(&most), "{most} claims at the same time");
}

#[test]
fn nothing_is_taken_while_the_disk_is_full() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let config = |factor: u64| config(home.path(), 0.1, "", &format!("[limits]\nfree_space_factor = {factor}"));
    let fake = Fake::default();
    let daemon = fake.spawn(config(1 << 60));
    drop_models(home.path(), 1);
    let state = home.path().join("state");
    wait_for(10.0, "intake is paused", || read_status(&state).is_some_and(|status| status.paused.is_some()));
    assert!(bundles(&home.path().join("out")).is_empty());
    daemon.order(Control::Reload(Box::new(config(2))));
    wait_for(15.0, "it goes on when there is space", || bundles(&home.path().join("out")).len() == 1);
    daemon.stop().expect("it ends well");
}

#[test]
fn what_stays_incomplete_is_reported_after_its_time() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let config = || config(home.path(), 0.1, "", "[limits]\nsettle_seconds_max = 0.5");
    config();
    // A zip file that never ends.
    fs::write(home.path().join("drop/m.keras"), b"PK\x03\x04 and no end").expect("writable");
    let summary = Fake::default().until_idle(config()).expect("it ends well");
    assert_eq!(summary.exit_code, exit::MALFORMED);
    let ledger = Ledger::read(&home.path().join("state")).expect("there is a ledger");
    let entries = ledger.entries(None).expect("it can be read");
    assert_eq!(entries[0].state, EntryState::Incomplete);
    assert!(entries[0].reason.contains("end record"), "{}", entries[0].reason);
    assert!(ledger.jobs(None).expect("it can be read").is_empty(), "no attempt was made");
    let reasons = || -> Vec<PathBuf> {
        let dir = std::fs::read_dir(home.path().join("state/quarantine")).expect("there is one");
        dir.map(|entry| entry.expect("readable").path()).collect()
    };
    let text = fs::read_to_string(reasons()[0].join("reason.txt")).expect("it says why");
    for word in ["m.keras", "end record", "limits.settle_seconds_max", "remove it"] {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(reasons()[0].join("reason.json")).expect("it is there")).expect("JSON");
    assert_eq!((json["state"].as_str(), json["entry"].as_str()), (Some("incomplete"), Some("m.keras")));
    // A restart looks again, and comes to the same.
    Fake::default().until_idle(config()).expect("it ends well");
    assert_eq!(reasons().len(), 1);
    // The whole file under the same name: the reason is gone.
    fs::write(home.path().join("drop/m.keras"), b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").expect("writable");
    let summary = Fake::default().until_idle(config()).expect("it ends well");
    assert_eq!((summary.exit_code, reasons()), (exit::OK, vec![]));
}

fn new_job(number: u32) -> NewJob {
    let digest = recast::digest::of_bytes(&number.to_le_bytes());
    NewJob {
        key: JobKey { digest, options_digest: "o".into(), name: format!("m{number}") },
        root: "/drop".into(),
        entry: format!("m{number}.h5"),
        out: PathBuf::from("/out"),
    }
}

#[test]
fn a_job_that_outlives_too_many_daemons_is_blamed() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let (mut ledger, _) = Ledger::open(home.path()).expect("a new one");
    let id = match ledger.enqueue(&new_job(1), &BTreeSet::new()).expect("writable") {
        Enqueued::Queued(id) => id,
        Enqueued::Known(job) => panic!("{job:?}"),
    };
    for death in 1..=16 {
        assert_eq!(ledger.job(id).expect("readable").expect("there").state, State::Queued, "after {death} deaths");
        ledger.begin(id, "plugins").expect("writable");
        assert_eq!(ledger.recover().expect("writable"), 1);
    }
    let job = ledger.job(id).expect("readable").expect("there");
    assert_eq!((job.state, job.attempts), (State::Quarantined, 0), "{}", job.reason);
    assert!(job.reason.contains("16 times"), "{}", job.reason);
    assert!(ledger.retry(id).expect("writable"), "it can be tried again by hand");
}

#[test]
fn replaced_content_withdraws_what_waited_for_the_old_one() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let (mut ledger, _) = Ledger::open(home.path()).expect("a new one");
    let first = new_job(1);
    let mut second = new_job(2);
    second.entry = first.entry.clone();
    for job in [&first, &second] {
        ledger.enqueue(job, &BTreeSet::new()).expect("writable");
    }
    let states: Vec<State> = ledger.jobs(None).expect("readable").iter().map(|job| job.state).collect();
    assert_eq!(states, [State::Withdrawn, State::Queued]);
}

#[test]
fn a_clock_that_jumped_back_holds_nothing_for_long() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let (mut ledger, _) = Ledger::open(home.path()).expect("a new one");
    ledger.enqueue(&new_job(1), &BTreeSet::new()).expect("writable");
    ledger.begin(1, "plugins").expect("writable");
    let report = recast_tests::fake::blank(recast::job::Status::Failed, "");
    let day = Duration::from_secs(86_400);
    // Deferred when the clock was a day ahead.
    ledger.defer(1, &report, "later", day).expect("writable");
    let now = recast::lineage::stamp::unix_ms(std::time::SystemTime::now());
    let due = |wait: Duration| ledger.due(now, wait, 10).expect("readable").len();
    assert_eq!(due(day), 0, "that is within what a configuration may ask for");
    assert_eq!(due(Duration::from_secs(600)), 1, "no backoff is that long: the clock was wrong");
}

#[test]
fn the_number_of_watched_folders_is_bounded() {
    let folders = |count: usize| -> String {
        (0..count).map(|number| format!("[[watch]]\npath = \"d{number}\"\nout = \"out\"\n")).collect()
    };
    let resolve = |text: &str| toml::from_str::<RawConfig>(text).expect("it parses").resolve(Path::new("/"));
    assert!(resolve(&folders(WATCHES_MAX)).is_ok());
    assert!(resolve(&folders(WATCHES_MAX + 1)).is_err());
}
