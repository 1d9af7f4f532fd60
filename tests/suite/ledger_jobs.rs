//! The ledger: one job for the same thing, retries, parked jobs, recovery of a lost or damaged file, one daemon at a
//! time.

use recast::job::exit;
use recast::ledger::{Ledger, LedgerError, Opened, State, backoff};
use recast::schedule::{DaemonError, Request};
use recast_tests::fake::{Fake, config, wait_for};
use recast_tests::observe::{bundles, published};
use std::fs;
use std::path::Path;
use std::time::Duration;

const QUICK: &str = "[limits]\nbackoff_seconds = 0.05\nbackoff_seconds_max = 0.4\nattempts_max = 4";

fn quick(home: &Path) -> recast::config::Config {
    config(home, 0.1, "", QUICK)
}

fn ledger(home: &Path) -> Ledger {
    Ledger::read(&home.join("state")).expect("there is a ledger")
}

fn state_of(home: &Path, entry: &str) -> State {
    let jobs = ledger(home).jobs(None).expect("it can be read");
    jobs.iter().find(|job| job.entry == entry).unwrap_or_else(|| panic!("no job for {entry}")).state
}

#[test]
fn the_same_bytes_are_converted_once_for_each_name() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let fake = Fake::default();
    config(home.path(), 0.1, "", "");
    let drop = home.path().join("drop");
    for number in 0..20 {
        fs::write(drop.join(format!("copy{number}.h5")), b"the same model").expect("writable");
    }
    fake.until_idle(config(home.path(), 0.1, "", "")).expect("it ends well");
    let digest = recast::digest::of_bytes(b"the same model");
    assert_eq!(fake.runner.runs_of(&digest), 20, "once for each name");
    let all = published(&home.path().join("out"));
    assert_eq!(all[&digest].len(), 20);
    for _ in 0..5 {
        // Again under the same name: another inode, other times, the same bytes.
        fs::write(drop.join("new"), b"the same model").expect("writable");
        fs::rename(drop.join("new"), drop.join("copy3.h5")).expect("it can be moved");
        fake.until_idle(config(home.path(), 0.1, "", "")).expect("it ends well");
    }
    assert_eq!(fake.runner.runs_of(&digest), 20, "not again, not after a restart either");
    let state = home.path().join("state");
    let store = recast::lineage::Store::open(&state).expect("there is an index");
    assert_eq!(store.made_from(&digest).expect("it can be read").len(), 20, "one record for each bundle");
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_quarantined() {
    let home = tempfile::tempdir().expect("a scratch directory");
    quick(home.path());
    let drop = home.path().join("drop");
    fs::write(drop.join("twice.h5"), b"fake: io 2").expect("writable");
    fs::write(drop.join("always.h5"), b"fake: io 99").expect("writable");
    fs::write(drop.join("broken.h5"), b"fake: malformed").expect("writable");
    fs::write(drop.join("slow.h5"), b"fake: timeout").expect("writable");
    fs::write(drop.join("misread.h5"), b"fake: misread").expect("writable");
    let fake = Fake::default();
    let summary = fake.until_idle(quick(home.path())).expect("it ends well");
    assert_eq!(summary.exit_code, exit::PLUGIN_CRASH, "the worst of them");
    let ledger = ledger(home.path());
    for (entry, state, attempts) in [
        ("twice.h5", State::Done, 3),
        ("always.h5", State::Quarantined, 4),
        ("broken.h5", State::Quarantined, 1),
        ("slow.h5", State::Quarantined, 2),
        ("misread.h5", State::Quarantined, 1),
    ] {
        let jobs = ledger.jobs(None).expect("it can be read");
        let job = jobs.iter().find(|job| job.entry == entry).expect("it has a job");
        assert_eq!(job.state, state, "{entry}");
        assert_eq!(ledger.attempts(job.id).expect("it can be read").len(), attempts, "{entry}");
        let reason = home.path().join("state/quarantine").join(job.key.hex(&job.out));
        assert_eq!(reason.join("reason.json").exists(), state == State::Quarantined, "{entry}");
        assert_eq!(reason.join("reason.txt").exists(), state == State::Quarantined, "{entry}");
    }
    // A restart spends no further attempt on what failed for good.
    let runs = fake.runner.runs.lock().expect("not poisoned").clone();
    fake.until_idle(quick(home.path())).expect("it ends well");
    assert_eq!(*fake.runner.runs.lock().expect("not poisoned"), runs);
}

#[test]
fn waits_double_within_a_fifth_and_are_bounded() {
    let (first, most) = (Duration::from_secs(5), Duration::from_secs(600));
    for job in 1..50 {
        for (attempt, seconds) in [(1, 5.0), (2, 10.0), (3, 20.0), (7, 320.0), (8, 600.0), (99, 600.0)] {
            let wait = backoff(first, most, attempt, job).as_secs_f64();
            assert!((0.8 * seconds..=1.2 * seconds).contains(&wait), "job {job} attempt {attempt}: {wait}");
        }
    }
}

#[test]
fn a_parked_job_runs_when_its_plugin_arrives() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let fake = Fake::default();
    let daemon = fake.spawn(quick(home.path()));
    fs::write(home.path().join("drop/m.h5"), b"fake: park layer:my_pkg>MyLayer").expect("writable");
    wait_for(10.0, "parked", || {
        Ledger::read(&home.path().join("state"))
            .and_then(|ledger| ledger.jobs(Some(State::Parked)))
            .is_ok_and(|jobs| jobs.len() == 1)
    });
    fake.plugins.set(&["layer:other>Layer"], "another plugin");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(state_of(home.path(), "m.h5"), State::Parked, "that plugin does not serve it");
    fake.plugins.set(&["layer:my_pkg>MyLayer"], "the plugin");
    wait_for(15.0, "published", || bundles(&home.path().join("out")).len() == 1);
    daemon.stop().expect("it ends well");
}

const THREE_CRASHES: &str = "[plugins]\ncrashes_max = 3\n[limits]\nbackoff_seconds = 0.05";

/// Drops `crash` orders of different content, works them off, and says in which state the jobs are.
fn drop_crashes(home: &Path, fake: &Fake, numbers: std::ops::Range<u32>) -> Vec<State> {
    let config = config(home, 0.1, "", THREE_CRASHES);
    for number in numbers.clone() {
        fs::write(home.join(format!("drop/c{number}.h5")), format!("fake: crash\n{number}")).expect("writable");
    }
    fake.until_idle(config).expect("it ends well");
    numbers.map(|number| state_of(home, &format!("c{number}.h5"))).collect()
}

#[test]
fn a_plugin_that_only_crashes_is_not_used_any_more() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let fake = Fake::default();
    let claim = "layer:test>Crash";
    fake.plugins.set(&[claim], "bad");
    assert_eq!(drop_crashes(home.path(), &fake, 0..2), [State::Quarantined; 2], "each pays for itself alone");
    assert!(!ledger(home.path()).plugin_faults().expect("readable")[0].quarantined);
    assert_eq!(drop_crashes(home.path(), &fake, 2..3), [State::Parked]);
    let held = || ledger(home.path()).plugin_faults().expect("readable").into_iter().any(|fault| fault.quarantined);
    assert!(held());
    // After a restart it is still out, and all that it crashed on waits for another one.
    assert_eq!(drop_crashes(home.path(), &fake, 3..4), [State::Parked]);
    assert_eq!(drop_crashes(home.path(), &fake, 0..4), [State::Parked; 4]);
    let runs =
        |number: u32| fake.runner.runs_of(&recast::digest::of_bytes(format!("fake: crash\n{number}").as_bytes()));
    assert_eq!(runs(3), 1, "the plugin was not tried on it");
    // Released, it has all its chances again.
    let (mut open, _) = Ledger::open(&home.path().join("state")).expect("no daemon runs");
    let sha256 = recast::digest::of_bytes(b"bad");
    assert!(open.release(&sha256).expect("writable") && !open.release(&sha256).expect("writable"));
    drop(open);
    assert!(!held());
    drop_crashes(home.path(), &fake, 0..4);
    assert!(held(), "four more crashes");
    // Another file under the same id.
    fake.plugins.set(&[claim], "good");
    drop_crashes(home.path(), &fake, 0..1);
    let known = ledger(home.path()).plugin_faults().expect("readable");
    assert!(known.iter().all(|fault| fault.sha256 != sha256), "the old file is forgotten: {known:?}");
}

#[test]
fn a_job_that_ends_well_clears_its_plugins() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let fake = Fake::default();
    fake.plugins.set(&[], "mostly good");
    for round in 0..3 {
        drop_crashes(home.path(), &fake, 2 * round..2 * round + 2);
        fs::write(home.path().join("drop/good.h5"), format!("good {round}")).expect("writable");
        fake.until_idle(config(home.path(), 0.1, "", THREE_CRASHES)).expect("it ends well");
        assert_eq!(ledger(home.path()).plugin_faults().expect("readable"), [], "round {round}");
    }
}

#[test]
fn a_daemon_that_runs_releases_a_plugin_when_asked() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let fake = Fake::default();
    fake.plugins.set(&["layer:test>Crash"], "bad");
    drop_crashes(home.path(), &fake, 0..3);
    let daemon = fake.spawn(config(home.path(), 0.1, "", THREE_CRASHES));
    let state = home.path().join("state");
    wait_for(10.0, "it runs", || recast::schedule::read_status(&state).is_some_and(|status| status.plugins == 0));
    let sha256 = recast::digest::of_bytes(b"bad");
    let runs =
        || (0..3).map(|n| fake.runner.runs_of(&recast::digest::of_bytes(format!("fake: crash\n{n}").as_bytes())));
    let before: u32 = runs().sum();
    // What is no request does no harm.
    fs::create_dir_all(state.join("requests/notes")).expect("writable");
    recast::schedule::ask(&state, &Request::Release(sha256)).expect("writable");
    wait_for(15.0, "its jobs are tried again", || runs().sum::<u32>() > before);
    daemon.stop().expect("it ends well");
}

/// A ledger as version 1 had it: everything but the plugins' crashes.
#[test]
fn a_ledger_of_the_first_version_is_kept() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let fake = Fake::default();
    quick(home.path());
    fs::write(home.path().join("drop/m.h5"), b"fake: malformed").expect("writable");
    fake.until_idle(quick(home.path())).expect("it ends well");
    let file = home.path().join("state/ledger.sqlite");
    let connection = rusqlite::Connection::open(&file).expect("a database");
    connection.execute_batch("DROP TABLE plugin_fault; PRAGMA user_version = 1").expect("writable");
    drop(connection);
    assert_eq!(ledger(home.path()).plugin_faults().expect("readable"), [], "before a daemon has seen it");
    let (open, opened) = Ledger::open(&home.path().join("state")).expect("it opens");
    assert_eq!((opened, open.plugin_faults().expect("readable")), (Opened::Existing, vec![]));
    assert_eq!(open.jobs(None).expect("readable")[0].state, State::Quarantined);
}

#[test]
fn results_of_a_plugin_that_was_replaced_are_made_again() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let fake = Fake::default();
    fake.plugins.set(&[], "version 1");
    quick(home.path());
    fs::write(home.path().join("drop/m.h5"), b"a model").expect("writable");
    let digest = recast::digest::of_bytes(b"a model");
    for (content, runs) in [("version 1", 1), ("version 1", 1), ("version 2", 2), ("version 2", 2)] {
        fake.plugins.set(&[], content);
        fake.until_idle(quick(home.path())).expect("it ends well");
        assert_eq!(fake.runner.runs_of(&digest), runs, "{content}");
    }
}

#[test]
fn other_options_replace_the_bundle() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let fake = Fake::default();
    quick(home.path());
    fs::write(home.path().join("drop/m.h5"), b"a model").expect("writable");
    fake.until_idle(quick(home.path())).expect("it ends well");
    let out = home.path().join("out");
    let before = recast::publish::read_bundle(&bundles(&out)[0]).expect("whole");
    let options = format!("{QUICK}\n[verify]\nseed = 7");
    fake.until_idle(config(home.path(), 0.1, "", &options)).expect("it ends well");
    assert_eq!(bundles(&out).len(), 1);
    let after = recast::publish::read_bundle(&bundles(&out)[0]).expect("whole");
    assert_ne!(before.job.options_digest, after.job.options_digest);
    let counts = ledger(home.path()).counts().expect("it can be read");
    assert!(counts.contains(&(State::Done, 1)) && counts.contains(&(State::Superseded, 1)), "{counts:?}");
}

#[test]
fn a_lost_ledger_is_rebuilt_from_the_outputs() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let fake = Fake::default();
    quick(home.path());
    for number in 0..5 {
        fs::write(home.path().join(format!("drop/m{number}.h5")), format!("model {number}")).expect("writable");
    }
    fake.until_idle(quick(home.path())).expect("it ends well");
    let runs = fake.runner.runs.lock().expect("not poisoned").clone();
    let state = home.path().join("state");
    let all = |fake: &Fake| fake.runner.runs.lock().expect("not poisoned").clone();
    // Deleted, damaged, and from a version that nobody knows.
    for damage in ["delete", "garbage", "version"] {
        let path = state.join("ledger.sqlite");
        match damage {
            "delete" => fs::remove_file(&path).expect("it is there"),
            "garbage" => fs::write(&path, vec![0x5a; 20_000]).expect("writable"),
            _ => {
                let connection = rusqlite::Connection::open(&path).expect("it is a database");
                connection.pragma_update(None, "user_version", 99).expect("writable");
            }
        }
        let summary = fake.until_idle(quick(home.path())).expect("it ends well");
        assert_eq!(summary.exit_code, 0, "{damage}");
        assert_eq!(summary.reports.len(), 5, "{damage}");
        assert_eq!(all(&fake), runs, "{damage}: something was converted again");
    }
    fs::remove_dir_all(home.path().join("out/m3")).expect("it is there");
    fake.until_idle(quick(home.path())).expect("it ends well");
    assert_eq!(published(&home.path().join("out")).len(), 5, "a bundle that is gone is made again");
}

#[test]
fn a_second_daemon_is_refused() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let fake = Fake::default();
    fs::create_dir_all(home.path().join("drop")).expect("writable");
    fs::write(home.path().join("drop/m.h5"), b"a model").expect("writable");
    let daemon = fake.spawn(quick(home.path()));
    wait_for(10.0, "published", || bundles(&home.path().join("out")).len() == 1);
    match fake.until_idle(quick(home.path())) {
        Err(error @ DaemonError::Ledger(LedgerError::Locked(_))) => assert_eq!(error.exit_code(), exit::IO),
        other => panic!("the second daemon was let in: {:?}", other.map(|summary| summary.reports.len())),
    }
    daemon.stop().expect("the first one is not disturbed");
    let (_, opened) = Ledger::open(&home.path().join("state")).expect("free again");
    assert_eq!(opened, Opened::Existing);
    assert_eq!(fake.runner.runs_of(&recast::digest::of_bytes(b"a model")), 1);
}

#[test]
fn stopping_hands_back_what_it_can_not_finish() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let runner = recast_tests::fake::FakeRunner { delay: Duration::from_secs(60), ..Default::default() };
    let fake = Fake { runner: std::sync::Arc::new(runner), ..Fake::default() };
    let config = || config(home.path(), 0.1, "", "[limits]\ndrain_seconds = 0.2");
    config();
    fs::write(home.path().join("drop/m.h5"), b"a model").expect("writable");
    let daemon = fake.spawn(config());
    wait_for(10.0, "running", || {
        Ledger::read(&home.path().join("state"))
            .and_then(|ledger| ledger.jobs(Some(State::Running)))
            .is_ok_and(|jobs| jobs.len() == 1)
    });
    let began = std::time::Instant::now();
    daemon.stop().expect("it ends well");
    assert!(began.elapsed() < Duration::from_secs(10));
    let jobs = ledger(home.path()).jobs(None).expect("it can be read");
    assert_eq!((jobs[0].state, jobs[0].attempts), (State::Queued, 0), "handed back, at no cost");
    assert!(bundles(&home.path().join("out")).is_empty());
}

#[test]
fn a_plugin_that_arrives_while_the_job_runs_is_not_missed() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let runner = recast_tests::fake::FakeRunner { delay: Duration::from_secs(4), ..Default::default() };
    let fake = Fake { runner: std::sync::Arc::new(runner), ..Fake::default() };
    quick(home.path());
    fs::write(home.path().join("drop/m.h5"), b"fake: park layer:my_pkg>MyLayer").expect("writable");
    let daemon = fake.spawn(quick(home.path()));
    wait_for(10.0, "running", || fake.runner.at_work.lock().expect("not poisoned").0 == 1);
    // Found by the daemon at least a second before the worker, which knows nothing of it, parks the job.
    fake.plugins.set(&["layer:my_pkg>MyLayer"], "the plugin");
    wait_for(30.0, "published", || bundles(&home.path().join("out")).len() == 1);
    daemon.stop().expect("it ends well");
}
