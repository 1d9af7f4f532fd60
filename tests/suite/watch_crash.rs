//! The daemon is killed again and again while files arrive: nothing is lost, nothing is done twice, and nobody ever
//! sees half a bundle.

use recast::ledger::{Ledger, State};
use recast_tests::fake::{Fake, config, wait_for};
use recast_tests::observe::{Observer, Sightings, is_whole, published};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const INPUTS: u64 = 150;
const KILLS: u64 = 30;
const SEED: u64 = 20_261_122;

/// Steps of a fixed sequence: a failing run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn fake_daemon(home: &Path, how: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_fake-daemon"))
        .arg(home)
        .arg(how)
        .env("RUST_LOG", "off")
        .stdout(Stdio::null())
        .spawn()
        .expect("the fake daemon starts")
}

/// Files and directories; a third of them written slowly, under their final name.
fn drop_inputs(drop: &Path, count: u64) {
    for number in 0..count {
        let content = format!("input {number} ").repeat(200);
        let path = drop.join(format!("m{number:04}.bin"));
        match number % 3 {
            0 => {
                let mut file = fs::File::create(&path).expect("writable");
                for part in content.as_bytes().chunks(content.len() / 4) {
                    file.write_all(part).expect("writable");
                    std::thread::sleep(Duration::from_millis(8));
                }
            }
            1 => fs::write(&path, &content).expect("writable"),
            _ => {
                let dir = drop.join(format!("m{number:04}"));
                fs::create_dir(&dir).expect("writable");
                fs::write(dir.join("a.bin"), &content).expect("writable");
                fs::write(dir.join("b.bin"), number.to_le_bytes()).expect("writable");
            }
        }
    }
}

fn kill_loop(home: &Path, kills: u64, how: &str) {
    let mut dice = Dice(SEED);
    for _ in 0..kills {
        let mut child = fake_daemon(home, how);
        std::thread::sleep(Duration::from_millis(50 + dice.roll(120)));
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }
}

fn storm(home: &Path, inputs: u64, kills: u64, how: &str) -> Sightings {
    // Makes the folder before anybody looks.
    config(home, 0.1, "", "");
    let observer = Observer::start(&home.join("out"));
    let drop = home.join("drop");
    let writer = std::thread::spawn(move || drop_inputs(&drop, inputs));
    kill_loop(home, kills, how);
    writer.join().expect("the writer does not panic");
    let mut last = fake_daemon(home, how);
    wait_for(120.0, "all inputs published", || {
        recast_tests::observe::bundles(&home.join("out")).len() as u64 >= inputs
    });
    std::thread::sleep(Duration::from_millis(300));
    last.kill().expect("it is ours");
    last.wait().expect("it is ours");
    observer.stop()
}

/// What dead daemons left where workers write and where claims are kept.
fn leftovers(home: &Path) -> Vec<PathBuf> {
    let names = |dir: &str| fs::read_dir(home.join(dir)).expect("readable").flatten().map(|entry| entry.path());
    let hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    names("out").filter(hidden).chain(names("state/claims")).collect()
}

#[test]
fn thirty_kills_lose_nothing_and_repeat_nothing() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let sightings = storm(home.path(), INPUTS, KILLS, "atomic");
    println!("seed {SEED}: {sightings:?}");
    // A last look by a daemon that ends by itself brings ledger and outputs in line.
    Fake::default().until_idle(config(home.path(), 0.1, "", "")).expect("the last run ends well");
    let published: BTreeMap<String, Vec<PathBuf>> = published(&home.path().join("out"));
    assert_eq!(published.len() as u64, INPUTS, "lost");
    assert!(published.values().all(|bundles| bundles.len() == 1), "published twice");
    assert!(published.values().flatten().all(|bundle| is_whole(bundle)));
    assert_eq!(leftovers(home.path()), Vec::<PathBuf>::new(), "staging of killed daemons");
    assert_eq!(sightings.half, 0, "half a bundle was seen");
    assert!(sightings.whole >= INPUTS);
    let ledger = Ledger::read(&home.path().join("state")).expect("there is a ledger");
    let jobs = ledger.jobs(None).expect("it can be read");
    assert!(jobs.iter().all(|job| job.state == State::Done), "{:?}", jobs.iter().find(|job| job.state != State::Done));
    let attempts = jobs.iter().map(|job| ledger.attempts(job.id).expect("it can be read").len()).max();
    assert!(attempts <= Some(6), "{attempts:?} attempts");
}

#[test]
fn a_publisher_that_writes_in_place_is_caught() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let sightings = storm(home.path(), 30, 6, "direct");
    assert!(sightings.half > 0, "the observer would not notice: {sightings:?}");
}
