//! `convert` reads an artifact where it lies: what changes under the worker's eyes is not published, and what lies
//! beside it takes part.

use recast::attempt::{Outcome, Workshop};
use recast::convert::{Request, convert};
use recast::job::{JobReport, JobSpec, Level, Policy, Status, VerifySpec, WorkerLimits, exit};
use recast::lineage::Key;
use recast::lineage::store::read_record;
use recast::publish::{Area, Atomic, Placed};
use recast::runner::{Cancel, EventSink, ReportFuture, Runner, cancellation};
use recast::tree::Bounds;
use recast_plugin_api::diag::Code;
use recast_tests::fake::{blank, write_output};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};

type Work = fn(&JobSpec) -> JobReport;

struct Does {
    work: Work,
    specs: Mutex<Vec<JobSpec>>,
}

impl Runner for Does {
    fn run(&self, spec: JobSpec, _events: EventSink, _cancel: Cancel) -> ReportFuture {
        let report = (self.work)(&spec);
        self.specs.lock().expect("not poisoned").push(spec);
        Box::pin(async { report })
    }
}

fn honest(spec: &JobSpec) -> JobReport {
    let digest = recast::digest::of_artifact(&spec.artifact, &Bounds::default()).expect("readable");
    let mut report = blank(Status::Verified, &digest);
    let content = format!("converted {digest}");
    report.outputs = vec![write_output(&spec.staging, "m.onnx", content.as_bytes(), Level::Reference)];
    report
}

fn run(home: &Path, path: &Path, work: Work) -> (Outcome, JobSpec) {
    let runner = Arc::new(Does { work, specs: Mutex::default() });
    let key = Key::open(&home.join("state/lineage.key")).expect("the key can be made");
    let shop =
        Workshop { runner: runner.clone(), place: Arc::new(Atomic), key: Arc::new(key), state: home.join("state") };
    let request = Request {
        targets: vec![],
        out: home.join("out"),
        architecture: None,
        golden: None,
        verify: VerifySpec { policy: Policy::Required, seed: 1, ..VerifySpec::default() },
        plugins: vec![],
        winners: Default::default(),
        lambda: Default::default(),
        sources: Default::default(),
        limits: WorkerLimits::default(),
        threads: 1,
        bounds: Bounds::default(),
    };
    let area = Area::open(&request.out).expect("writable");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(convert(&shop, &request, path, &area, Box::new(|_| {}), cancellation().1));
    let spec = runner.specs.lock().expect("not poisoned").pop().expect("the worker was asked");
    (outcome, spec)
}

fn artifact(home: &Path) -> std::path::PathBuf {
    let path = home.join("m.h5");
    fs::write(&path, b"a model").expect("writable");
    path
}

#[test]
fn an_artifact_that_changes_meanwhile_is_not_published() {
    let change: Work = |spec| {
        let report = honest(spec);
        fs::write(&spec.artifact, b"another").expect("writable");
        report
    };
    let change_back: Work = |spec| {
        fs::write(&spec.artifact, b"another").expect("writable");
        let report = honest(spec);
        fs::write(&spec.artifact, b"a model").expect("writable");
        report
    };
    let lie: Work = |spec| {
        let mut report = honest(spec);
        report.digest = recast::digest::of_bytes(b"something else");
        report
    };
    for work in [change, change_back, lie] {
        let home = tempfile::tempdir().expect("a scratch directory");
        let (outcome, _) = run(home.path(), &artifact(home.path()), work);
        assert!(outcome.published.is_none());
        assert!(outcome.report.has(Code::Changed), "{:?}", outcome.report.diagnostics);
        assert_eq!((outcome.report.status, outcome.report.exit_code), (Status::Failed, exit::IO));
        assert_eq!(fs::read_dir(home.path().join("out")).expect("readable").count(), 0, "something was left");
    }
}

#[test]
fn the_askers_links_are_followed_and_the_artifacts_are_not() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let path = artifact(home.path());
    let link = home.path().join("link.h5");
    symlink(&path, &link).expect("writable");
    let (outcome, spec) = run(home.path(), &link, honest);
    assert_eq!((outcome.report.exit_code, spec.name.as_str()), (0, "m"), "{:?}", outcome.report.diagnostics);
}

#[test]
fn what_lies_beside_the_artifact_takes_part() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let path = artifact(home.path());
    let (first, spec) = run(home.path(), &path, honest);
    assert_eq!((spec.golden, spec.architecture), (None, None));
    let first = first.published.expect("published");
    assert_eq!(first.placed, Placed::New);
    let (again, _) = run(home.path(), &path, honest);
    assert_eq!(again.published.expect("published").placed, Placed::Already);
    fs::write(home.path().join("m.golden.npz"), b"PK").expect("writable");
    fs::write(home.path().join("m.json"), b"{}").expect("writable");
    let (second, spec) = run(home.path(), &path, honest);
    assert!(spec.golden.is_some() && spec.architecture.is_some());
    let second = second.published.expect("published");
    assert_eq!((second.placed, &second.bundle), (Placed::Replaced, &first.bundle));
    let record = read_record(&second.records[0]).expect("ours");
    let roles: Vec<&str> = record.claims.dependencies.iter().map(|dependency| dependency.role.as_str()).collect();
    assert_eq!(roles, ["source", "architecture", "golden"]);
}

#[test]
fn a_record_beside_the_artifact_is_pinned_as_its_parent() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let (first, _) = run(home.path(), &artifact(home.path()), honest);
    let bundle = first.published.expect("published").bundle;
    // Elsewhere, where no index knows of it.
    let other = tempfile::tempdir().expect("a scratch directory");
    fs::copy(bundle.join("m.onnx"), other.path().join("m.bin")).expect("writable");
    fs::copy(bundle.join("m.onnx.sigstore.json"), other.path().join("m.bin.sigstore.json")).expect("writable");
    let (second, _) = run(other.path(), &other.path().join("m.bin"), honest);
    let record = read_record(&second.published.expect("published").records[0]).expect("ours");
    let pinned = record.claims.parent_record().expect("it has a parent");
    let parent = fs::read(bundle.join("m.onnx.sigstore.json")).expect("readable");
    assert_eq!(pinned.sha256, recast::digest::of_bytes(&parent));
}
