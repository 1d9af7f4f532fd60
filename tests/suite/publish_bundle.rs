//! Publishing: what the worker says is compared with what lies there, and nothing is ever replaced by something else.

use recast::attempt::{self, Attempt, Source, Workshop};
use recast::job::{Finding, JobReport, JobSpec, Level, Output, Policy, Status, VerifySpec, WorkerLimits};
use recast::lineage::Key;
use recast::publish::{Area, Atomic, Placed, PublishError, area, read_bundle, recheck};
use recast::runner::{Cancel, EventSink, ReportFuture, Runner, cancellation};
use recast_plugin_api::diag::Code;
use recast_tests::fake::{blank, write_output};
use recast_tests::observe::is_whole;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a test's worker writes: content, level, status.
#[derive(Clone)]
struct Writes {
    content: &'static str,
    level: Level,
    status: Status,
    digest: String,
    target: &'static str,
}

impl Runner for Writes {
    fn run(&self, spec: JobSpec, _events: EventSink, _cancel: Cancel) -> ReportFuture {
        let this = self.clone();
        Box::pin(async move {
            let mut report = blank(this.status, &this.digest);
            let output = write_output(&spec.staging, "m.onnx", this.content.as_bytes(), this.level);
            report.outputs = vec![Output { target: this.target.into(), ..output }];
            report
        })
    }
}

fn publish(home: &Path, writes: Writes, policy: Policy, seed: u64) -> attempt::Outcome {
    let area = Area::open(&home.join("out")).expect("writable");
    let key = Key::open(&home.join("state/lineage.key")).expect("the key can be made");
    let digest = writes.digest.clone();
    let shop =
        Workshop { runner: Arc::new(writes), place: Arc::new(Atomic), key: Arc::new(key), state: home.join("state") };
    let spec = JobSpec {
        name: "m".into(),
        artifact: home.join("m.h5"),
        architecture: None,
        golden: None,
        digest: Some(digest),
        targets: vec![],
        staging: area.job_dir().expect("writable"),
        verify: VerifySpec { policy, seed, ..VerifySpec::default() },
        plugins: vec![],
        winners: Default::default(),
        expressions: Default::default(),
        sources: Default::default(),
        limits: WorkerLimits::default(),
        threads: 1,
        inspect: false,
    };
    let source = Source { file_name: "m.h5".into(), bytes: 7, golden: None, architecture: None, record: None };
    let recheck = Box::new(|_: &JobReport| Ok::<(), Finding>(()));
    let attempt = Attempt { spec, source, out: home.join("out"), is_latest: true, recheck };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(attempt::run(&shop, attempt, Box::new(|_| {}), cancellation().1))
}

fn writes(content: &'static str) -> Writes {
    let digest = recast::digest::of_bytes(b"the artifact");
    Writes { content, level: Level::Reference, status: Status::Verified, digest, target: "onnx" }
}

#[test]
fn the_same_result_is_left_and_another_one_takes_its_place() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let place = |outcome: &attempt::Outcome| outcome.published.as_ref().map(|published| published.placed);
    let first = publish(home.path(), writes("model"), Policy::Required, 1);
    assert_eq!(place(&first), Some(Placed::New));
    let bundle = first.published.expect("published").bundle;
    let report = fs::read(bundle.join("report.json")).expect("readable");
    let second = publish(home.path(), writes("model"), Policy::Required, 1);
    assert_eq!(place(&second), Some(Placed::Already));
    assert_eq!(fs::read(bundle.join("report.json")).expect("readable"), report, "it was touched");
    let third = publish(home.path(), writes("model"), Policy::Required, 2);
    assert_eq!(place(&third), Some(Placed::Replaced));
    assert!(is_whole(&bundle));
    let latest = home.path().join("out/m/latest");
    assert_eq!(fs::canonicalize(latest).expect("it points somewhere"), bundle.canonicalize().expect("there"));
    assert_eq!(fs::metadata(bundle.join("m.onnx")).expect("there").permissions().mode() & 0o777, 0o644);
    let left: Vec<_> = fs::read_dir(home.path().join("out")).expect("readable").flatten().collect();
    assert_eq!(left.len(), 1, "staging was left behind: {left:?}");
}

#[test]
fn targets_that_the_new_bundle_has_not_are_said_to_be_gone() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let warned = |target: &'static str| {
        let outcome = publish(home.path(), Writes { target, ..writes("model") }, Policy::Required, 1);
        assert!(outcome.published.is_some(), "{:?}", outcome.report.diagnostics);
        outcome.report.diagnostics.iter().find(|finding| finding.code == "replaced").map(|f| f.detail.clone())
    };
    assert_eq!(warned("onnx"), None);
    assert_eq!(warned("onnx"), None);
    let detail = warned("torch").expect("the ONNX file is gone");
    assert!(detail.contains("onnx") && !detail.contains("torch"), "{detail}");
}

#[test]
fn a_digest_that_begins_alike_replaces_nobody() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let first = publish(home.path(), writes("model"), Policy::Required, 1);
    let bundle = first.published.expect("published").bundle;
    let mut twin = writes("another model");
    twin.digest.replace_range(20.., &"0".repeat(44));
    let outcome = publish(home.path(), twin, Policy::Required, 1);
    assert!(outcome.published.is_none());
    assert!(outcome.report.has(Code::LimitExceeded), "{:?}", outcome.report.diagnostics);
    assert_eq!(fs::read(bundle.join("m.onnx")).expect("readable"), b"model");
}

#[test]
fn what_is_not_verified_is_not_published_unless_the_policy_says_so() {
    for (policy, level, status, published) in [
        (Policy::Required, Level::Reference, Status::Verified, true),
        (Policy::Required, Level::Structural, Status::Verified, true),
        (Policy::Required, Level::None, Status::Verified, false),
        (Policy::Required, Level::None, Status::Unverified, false),
        (Policy::BestEffort, Level::None, Status::Unverified, true),
        (Policy::BestEffort, Level::None, Status::Failed, false),
        (Policy::Off, Level::None, Status::Unverified, true),
    ] {
        let home = tempfile::tempdir().expect("a scratch directory");
        let outcome = publish(home.path(), Writes { level, status, ..writes("model") }, policy, 1);
        assert_eq!(outcome.published.is_some(), published, "{policy:?} {level:?} {status:?}");
        let there = home.path().join("out/m").exists();
        assert_eq!(there, published, "{policy:?} {level:?} {status:?}");
        if !published && status != Status::Failed {
            assert_eq!(outcome.report.exit_code, recast::job::exit::VERIFICATION);
        }
    }
}

type Tamper = fn(&Path, &mut JobReport);

#[test]
fn the_worker_is_not_believed() {
    let cases: [(&str, Tamper); 11] = [
        ("a file more", |dir, _| fs::write(dir.join("extra"), b"x").expect("writable")),
        ("a link", |dir, _| symlink("/etc/passwd", dir.join("link")).expect("writable")),
        ("a second name", |dir, _| fs::hard_link(dir.join("m.onnx"), dir.join("n.onnx")).expect("writable")),
        ("other bytes", |dir, _| fs::write(dir.join("m.onnx"), b"MODEL").expect("writable")),
        ("nothing", |dir, _| fs::remove_file(dir.join("m.onnx")).expect("there")),
        ("another length", |_, report| report.outputs[0].files[0].bytes += 1),
        ("listed twice", |_, report| {
            let file = report.outputs[0].files[0].clone();
            report.outputs[0].files.push(file);
        }),
        ("a path outside", |_, report| report.outputs[0].files[0].path = "../m.onnx".into()),
        ("an absolute path", |_, report| report.outputs[0].path = "/etc/passwd".into()),
        ("a report of its own", |dir, report| {
            fs::rename(dir.join("m.onnx"), dir.join("report.json")).expect("there");
            report.outputs[0].files[0].path = "report.json".into();
        }),
        ("a record of its own", |dir, report| {
            fs::rename(dir.join("m.onnx"), dir.join("m.onnx.sigstore.json")).expect("there");
            report.outputs[0].files[0].path = "m.onnx.sigstore.json".into();
        }),
    ];
    for (what, tamper) in cases {
        let staging = tempfile::tempdir().expect("a scratch directory");
        let mut report = blank(Status::Verified, &recast::digest::of_bytes(b""));
        report.outputs = vec![write_output(staging.path(), "m.onnx", b"model", Level::Reference)];
        recheck(staging.path(), &report, 100).expect("as it was written, it is fine");
        tamper(staging.path(), &mut report);
        match recheck(staging.path(), &report, 100) {
            Err(PublishError::Refused(finding)) => assert_eq!(finding.code, Code::PluginMisbehaved.as_str(), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    let staging = tempfile::tempdir().expect("a scratch directory");
    let mut report = blank(Status::Verified, &recast::digest::of_bytes(b""));
    report.outputs = vec![write_output(staging.path(), "m.onnx", &[1; 101], Level::Reference)];
    assert!(recheck(staging.path(), &report, 100).is_err(), "over the output bound");
    assert!(recheck(staging.path(), &report, 101).is_ok());
}

#[test]
fn staging_of_the_dead_is_removed_and_that_of_the_living_is_not() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let out = home.path().join("out");
    let living = Area::open(&out).expect("writable");
    let dead: PathBuf = out.join(".recast-staging-OF-A-DEAD-PROCESS");
    fs::create_dir_all(dead.join("job")).expect("writable");
    fs::write(dead.join("job/m.onnx"), b"half").expect("writable");
    // As in a directory for everybody's files. Only root can make them.
    let others = out.join(".recast-staging-OF-SOMEBODY-ELSE");
    fs::create_dir(&others).expect("writable");
    let is_theirs = std::os::unix::fs::chown(&others, Some(12_345), None).is_ok();
    assert_eq!(area::purge(&out).expect("writable"), if is_theirs { 1 } else { 2 });
    assert!(!dead.exists() && living.path().exists() && others.exists() == is_theirs);
    let path = living.path().to_owned();
    drop(living);
    assert!(!path.exists());
}

#[test]
fn a_bundle_with_a_file_missing_is_not_a_bundle() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let outcome = publish(home.path(), writes("model"), Policy::Required, 1);
    let bundle = outcome.published.expect("published").bundle;
    assert!(read_bundle(&bundle).is_some());
    fs::write(bundle.join("m.onnx"), b"mod").expect("writable");
    assert!(read_bundle(&bundle).is_none());
    let again = publish(home.path(), writes("model"), Policy::Required, 1);
    assert_eq!(again.published.expect("published").placed, Placed::Replaced, "it is mended");
    assert!(is_whole(&bundle));
}
