//! The real daemon, real workers, real plugins, on copies of the sample perceptron: killed, stopped, told to reload.

use recast::ledger::{Ledger, State};
use recast_tests::fake::wait_for;
use recast_tests::observe::{Observer, bundles, is_whole};
use recast_tests::{recast_binary, tests_dir};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

const INPUTS: usize = 12;
const KILLS: u64 = 12;

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a scratch directory");
    fs::create_dir(home.path().join("drop")).expect("writable");
    write_config(home.path(), "");
    home
}

fn write_config(home: &Path, more: &str) {
    let text = format!("[[watch]]\npath = \"drop\"\nout = \"out\"\nsettle_seconds = 0.3\n{more}");
    fs::write(home.join("config.toml"), text).expect("writable");
}

fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(recast_binary());
    command.args(arguments).current_dir(home).env_remove("RECAST_PLUGIN_PATH").env("RUST_LOG", "off");
    command.env("RECAST_STATE", home.join("user-state"));
    command
}

fn daemon(home: &Path) -> Child {
    command(home, &["run", "--config", "config.toml"]).stdout(Stdio::null()).spawn().expect("recast runs")
}

/// Exit code and what was said, one JSON object per line.
fn json(home: &Path, arguments: &[&str]) -> (i32, Vec<serde_json::Value>) {
    let output = command(home, arguments).output().expect("recast runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    (output.status.code().expect("it ended by itself"), text.lines().map(line).collect())
}

fn until_idle(home: &Path) -> (i32, Vec<serde_json::Value>) {
    json(home, &["run", "--config", "config.toml", "--until-idle", "--format", "json"])
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).expect("it is ours");
}

fn ended(child: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_for(30.0, "the daemon ends", || {
        status = child.try_wait().expect("it is ours");
        status.is_some()
    });
    status.expect("it ended")
}

fn sample() -> Vec<u8> {
    fs::read(tests_dir().join("samples/mnist_mlp.h5")).expect("the sample is there")
}

fn write_slowly(path: &Path, content: &[u8], parts: usize, pause: Duration) {
    for part in content.chunks(content.len().div_ceil(parts)) {
        OpenOptions::new().create(true).append(true).open(path).expect("writable").write_all(part).expect("writable");
        std::thread::sleep(pause);
    }
}

#[test]
fn kills_lose_no_model_and_publish_none_twice() {
    let home = home();
    let observer = Observer::start(&home.path().join("out"));
    let drop = home.path().join("drop");
    let writer = std::thread::spawn(move || {
        for number in 0..INPUTS {
            let path = drop.join(format!("m{number:02}.h5"));
            match number % 3 {
                0 => write_slowly(&path, &sample(), 4, Duration::from_millis(100)),
                _ => fs::write(path, sample()).expect("writable"),
            }
        }
    });
    for kill in 0..KILLS {
        let mut child = daemon(home.path());
        std::thread::sleep(Duration::from_millis(400 + kill * 53 % 400));
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }
    writer.join().expect("the writer does not panic");
    let (code, reports) = until_idle(home.path());
    assert_eq!((code, reports.len()), (0, INPUTS), "{reports:?}");
    assert!(reports.iter().all(|report| report["status"] == "verified"));
    let sightings = observer.stop();
    assert_eq!(sightings.half, 0, "{sightings:?}");
    let all = bundles(&home.path().join("out"));
    assert!(all.len() == INPUTS && all.iter().all(|bundle| is_whole(bundle)), "{all:?}");
    let outputs: std::collections::BTreeSet<String> =
        reports.iter().map(|report| report["outputs"][0]["sha256"].to_string()).collect();
    // The names of model and graph differ; the same name gives the same bytes, before a kill and after it.
    assert_eq!(outputs.len(), INPUTS);
    let first = PathBuf::from(reports[0]["bundle"].as_str().expect("published")).join("m00.onnx");
    let before = fs::read(&first).expect("readable");
    fs::remove_dir_all(home.path().join("out/m00")).expect("there");
    assert_eq!(until_idle(home.path()).0, 0);
    assert!(fs::read(&first).expect("published again") == before, "another run gave other bytes");
}

#[test]
fn a_model_that_arrives_in_parts_is_converted_once_and_whole() {
    let home = home();
    let mut child = daemon(home.path());
    let path = home.path().join("drop/m.h5");
    write_slowly(&path, &sample(), 4, Duration::from_millis(900));
    wait_for(20.0, "published", || bundles(&home.path().join("out")).len() == 1);
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(ended(&mut child).code(), Some(0));
    let (_, jobs) = json(home.path(), &["jobs", "--config", "config.toml", "--format", "json"]);
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!((&jobs[0]["state"], &jobs[0]["attempts"]), (&"done".into(), &1.into()));
    assert_eq!(jobs[0]["digest"], recast::digest::of_bytes(&sample()));
}

#[test]
fn a_second_daemon_ends_with_code_six() {
    let home = home();
    let mut first = daemon(home.path());
    wait_for(10.0, "it is up", || home.path().join("state/status.json").exists());
    let mut second = daemon(home.path());
    assert_eq!(ended(&mut second).code(), Some(6));
    let (code, status) = json(home.path(), &["status", "--config", "config.toml", "--format", "json"]);
    assert_eq!((code, &status[0]["running"]), (0, &true.into()));
    assert_eq!(status[0]["daemon"]["pid"], first.id());
    signal(&first, rustix::process::Signal::TERM);
    assert_eq!(ended(&mut first).code(), Some(0));
}

#[test]
fn a_broken_configuration_changes_nothing() {
    let home = home();
    let mut child = daemon(home.path());
    wait_for(10.0, "it is up", || home.path().join("state/status.json").exists());
    write_config(home.path(), "nonsense = 1");
    let (code, _) = json(home.path(), &["check-config", "--config", "config.toml"]);
    assert_eq!(code, 2);
    signal(&child, rustix::process::Signal::HUP);
    fs::write(home.path().join("drop/m.h5"), sample()).expect("writable");
    wait_for(20.0, "the old configuration works on", || bundles(&home.path().join("out")).len() == 1);
    fs::create_dir(home.path().join("drop2")).expect("writable");
    write_config(home.path(), "[[watch]]\npath = \"drop2\"\nout = \"out2\"\nsettle_seconds = 0.3");
    signal(&child, rustix::process::Signal::HUP);
    fs::write(home.path().join("drop2/n.h5"), sample()).expect("writable");
    wait_for(20.0, "the new folder is watched", || bundles(&home.path().join("out2")).len() == 1);
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(ended(&mut child).code(), Some(0));
}

#[test]
fn a_failed_job_is_quarantined_and_can_be_retried() {
    let home = home();
    let path = home.path().join("drop/m.h5");
    let mut broken = sample();
    // The superblock stays as it is; what it points at does not.
    let length = broken.len();
    broken[1000..length / 2].fill(0x55);
    fs::write(&path, &broken).expect("writable");
    let (code, reports) = until_idle(home.path());
    assert_eq!((code, &reports[0]["status"]), (4, &"failed".into()), "{reports:?}");
    let ledger = Ledger::read(&home.path().join("state")).expect("there is a ledger");
    let jobs = ledger.jobs(Some(State::Quarantined)).expect("it can be read");
    let reason = home.path().join("state/quarantine").join(jobs[0].key.hex(&jobs[0].out)).join("reason.txt");
    assert!(fs::read_to_string(&reason).expect("it says why").contains("m.h5"));
    let id = jobs[0].id.to_string();
    let retry = |id: &str| command(home.path(), &["retry", id, "--config", "config.toml"]).output().expect("it runs");
    assert_eq!(retry(&id).status.code(), Some(0));
    assert_eq!(retry(&id).status.code(), Some(2), "it is queued already");
    assert_eq!(until_idle(home.path()).0, 4);
    fs::write(&path, sample()).expect("writable");
    assert_eq!(until_idle(home.path()).0, 0, "replaced by a sound one");
}

#[test]
fn lineage_says_where_an_output_comes_from() {
    let home = home();
    fs::write(home.path().join("drop/m.h5"), sample()).expect("writable");
    assert_eq!(until_idle(home.path()).0, 0);
    let output = home.path().join("out/m/latest/m.onnx");
    let ask = |arguments: &[&str]| {
        let all = [&["lineage", "--config", "config.toml", "--format", "json", "--verify"], arguments].concat();
        let (code, mut answers) = json(home.path(), &all);
        (code, answers.remove(0))
    };
    let (code, answer) = ask(&[&output.to_string_lossy()]);
    assert_eq!((code, &answer["links"][0]["verdict"]), (0, &"OK".into()), "{answer}");
    let model = format!("sha256:{}", recast::digest::of_bytes(&sample()));
    let (code, answer) = ask(&[&model, "--down"]);
    assert_eq!((code, &answer["links"][0]["source_sha256"]), (0, &model[7..].into()), "{answer}");
    let (code, _) = ask(&["config.toml"]);
    assert_eq!(code, 3, "nothing is known of it");
    let mut bytes = fs::read(&output).expect("readable");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&output, bytes).expect("writable");
    let (code, answer) = ask(&[&output.to_string_lossy()]);
    assert_eq!((code, &answer["modified"]), (5, &true.into()), "{answer}");
}

/// The files of a SavedModel that Keras 2 wrote, in the order in which a writer puts them.
fn saved_model_files(order: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
    let root = tests_dir().join("fixtures/saved_model/save/dense_relu");
    let names = order.iter().map(|name| match *name {
        "data" => "variables/variables.data-00000-of-00001",
        "index" => "variables/variables.index",
        name => name,
    });
    names.map(|name| (PathBuf::from(name), fs::read(root.join(name)).expect(name))).collect()
}

/// Each writer pauses for three times the settle time after each part: the model is converted once, when it is whole.
#[test]
fn a_saved_model_that_arrives_in_parts_is_converted_once_and_whole() {
    let home = home();
    let mut child = daemon(home.path());
    let drop = home.path().join("drop");
    let pause = Duration::from_millis(900);
    let orders: [&[&str]; 3] = [
        &["saved_model.pb", "keras_metadata.pb", "index", "data"],
        &["data", "index", "keras_metadata.pb", "saved_model.pb"],
        &["index", "data", "keras_metadata.pb", "saved_model.pb"],
    ];
    std::thread::scope(|scope| {
        for (number, order) in orders.iter().enumerate() {
            let model = drop.join(format!("m{number}"));
            scope.spawn(move || {
                // What every writer makes first; without it, nobody could know that variables are to come.
                fs::create_dir_all(model.join("variables")).expect("writable");
                for (name, content) in saved_model_files(order) {
                    write_slowly(&model.join(name), &content, 2, pause);
                }
            });
        }
        scope.spawn(|| {
            // rsync writes each file under a temporary name beside it; then the whole directory gets its name.
            let hidden = drop.join(".m3.partial");
            fs::create_dir_all(hidden.join("variables")).expect("writable");
            for (name, content) in saved_model_files(orders[0]) {
                let path = hidden.join(&name);
                let file = path.file_name().expect("a file").to_string_lossy();
                let temporary = path.with_file_name(format!(".{file}.Ab12Cd"));
                write_slowly(&temporary, &content, 2, pause);
                fs::rename(&temporary, &path).expect("writable");
            }
            fs::rename(&hidden, drop.join("m3")).expect("writable");
        });
    });
    wait_for(60.0, "published", || bundles(&home.path().join("out")).len() == 4);
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(ended(&mut child).code(), Some(0));
    let (_, jobs) = json(home.path(), &["jobs", "--config", "config.toml", "--format", "json"]);
    assert_eq!(jobs.len(), 4, "{jobs:?}");
    for job in &jobs {
        assert_eq!((&job["state"], &job["attempts"]), (&"done".into(), &1.into()), "{job}");
        assert_eq!(job["digest"], jobs[0]["digest"], "a part was taken for the whole: {job}");
    }
}
