//! `recast plugins test FILE`: does a plugin keep the rules of the boundary? Each case runs in a worker of its own,
//! with little time and memory, so that a case that crashes is a case that failed; or all of them in this process,
//! where a debugger sees them.

use crate::host::{Events, Found, Host, HostSettings, PluginId, Refusal, Silent, TensorStore, Trust};
use crate::job::{Finding, JobReport, JobSpec, Policy, VerifySpec, WorkerLimits};
use crate::publish::{Area, area};
use crate::worker::{WorkerCommand, run_case_job};
use prost::Message;
use recast_abi::id;
use recast_plugin_api::diag::{Code, Diag, Findings, Severity};
use recast_plugin_api::ir::{DType, Graph, Tensor};
use recast_plugin_api::messages::{LowerRequest, Lowered, ReadRequest};
use recast_plugin_api::plugin::SampleFile;
use recast_reference::{Array, Options, evaluate, weights::Files};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const WALL_SECONDS_MAX: u64 = 30;
const MEMORY_BYTES_MAX: u64 = 2 << 30;
const TRUNCATIONS: usize = 16;
const FLIPPED_BITS: usize = 64;
/// A plugin that is told to stop has stopped by then.
const CANCEL_MAX: Duration = Duration::from_secs(1);
/// Of the largest value: float32 arithmetic in another order.
const TOLERANCE: f64 = 1e-4;

/// One rule, and how it is tried.
pub struct Case {
    pub name: &'static str,
    try_it: fn(&Bench<'_>) -> Tried,
}

/// `Err`: the rule is broken. `Ok(text)`: it holds, and `text` says how far that goes.
type Tried = Result<String, Findings>;

pub const LOADS: &str = "loads";

pub const CASES: &[Case] = &[
    Case { name: LOADS, try_it: loads },
    Case { name: "init-may-be-called-twice", try_it: init_twice },
    Case { name: "manifest-matches-exports", try_it: manifest_matches },
    Case { name: "unknown-extension-is-null", try_it: unknown_extension },
    Case { name: "probe-takes-anything", try_it: probe_anything },
    Case { name: "samples-are-read", try_it: samples_read },
    Case { name: "broken-samples-are-survived", try_it: broken_samples },
    Case { name: "examples-are-lowered", try_it: examples_lower },
    Case { name: "examples-agree-with-eval", try_it: examples_agree },
    Case { name: "garbage-is-refused", try_it: garbage_refused },
    Case { name: "unknown-fields-are-ignored", try_it: unknown_fields },
    Case { name: "told-to-stop-it-stops", try_it: stops },
    Case { name: "nothing-is-left-behind", try_it: nothing_left },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    Failed,
    /// There was nothing to try it on.
    Skipped,
}

#[derive(Debug, Clone, Serialize)]
pub struct CaseResult {
    pub name: String,
    pub outcome: Outcome,
    pub ms: f64,
    pub details: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Conformance {
    pub path: PathBuf,
    pub plugin: String,
    pub cases: Vec<CaseResult>,
    pub passed: bool,
}

/// Where a case is tried.
#[derive(Debug, Clone, Copy)]
pub enum Ground<'w> {
    /// In a process of its own.
    Worker(&'w WorkerCommand),
    /// In this process, with no sandbox and no limits: a case that crashes ends it.
    Here,
}

/// Tries every case whose name contains `filter`.
pub fn test(path: &Path, trust: &Trust, ground: Ground<'_>, filter: &str) -> Result<Conformance, Refusal> {
    let found = crate::host::Finder::new().examine(path, trust)?;
    let cases = CASES.iter().filter(|case| case.name.contains(filter));
    let cases: Vec<CaseResult> = cases.map(|case| one(&found, ground, case.name)).collect();
    let passed = cases.iter().all(|case| case.outcome != Outcome::Failed);
    Ok(Conformance { path: path.to_owned(), plugin: found.manifest.id, cases, passed })
}

/// A case in this process.
fn run_here(spec: &JobSpec, case: &str) -> JobReport {
    let tensors = TensorStore::new(std::slice::from_ref(&spec.artifact), &spec.staging, spec.limits.output_bytes_max);
    let (winners, threads) = (spec.winners.clone(), spec.threads);
    let settings = HostSettings { winners, tensors, events: Arc::new(Silent), threads };
    match Host::open(&spec.plugins, settings) {
        Ok(host) => run_case(case, spec, &host),
        Err(findings) => {
            let diagnostics: Vec<Finding> = findings.iter().map(Finding::from).collect();
            JobReport { diagnostics, ..JobReport::failed(Finding::error(Code::PluginRefused, case, "")) }
        }
    }
}

/// Runs one case.
pub(super) fn one(found: &Found, ground: Ground<'_>, case: &str) -> CaseResult {
    let started = Instant::now();
    let report = match scratch_dir() {
        Ok((_area, dir)) => {
            let spec = spec(found, &dir);
            match ground {
                Ground::Worker(worker) => run_case_job(worker, &spec, case),
                Ground::Here => run_here(&spec, case),
            }
        }
        Err(error) => JobReport::failed(Finding::error(Code::Io, "scratch directory", error.to_string())),
    };
    let skipped = report.diagnostics.iter().any(|finding| finding.at == SKIPPED);
    let failed = report.exit_code != 0 || report.diagnostics.iter().any(|finding| finding.severity == "error");
    let outcome = match (failed, skipped) {
        (true, _) => Outcome::Failed,
        (false, true) => Outcome::Skipped,
        (false, false) => Outcome::Passed,
    };
    let details = report.diagnostics.iter().map(|finding| match finding.severity.as_str() {
        "note" if outcome != Outcome::Failed => finding.detail.clone(),
        _ => format!("{} [{}] {}", finding.at, finding.code, finding.detail),
    });
    let ms = (started.elapsed().as_secs_f64() * 1e4).round() / 10.0;
    CaseResult { name: case.into(), outcome, ms, details: details.collect() }
}

/// `at` of the note that says that a case had nothing to try.
const SKIPPED: &str = "skipped";

/// A directory that is removed with its area; the next command removes what a killed one left.
fn scratch_dir() -> std::io::Result<(Area, PathBuf)> {
    let shared = std::env::temp_dir();
    area::purge(&shared)?;
    let area = Area::open(&shared)?;
    let dir = area.job_dir()?;
    Ok((area, dir))
}

/// A job whose artifact is its own scratch directory: what a case writes there, the plugin may read.
fn spec(found: &Found, dir: &Path) -> JobSpec {
    let limits = WorkerLimits {
        memory_bytes_max: MEMORY_BYTES_MAX,
        cpu_seconds_max: WALL_SECONDS_MAX,
        wall_seconds_max: WALL_SECONDS_MAX,
        ..WorkerLimits::default()
    };
    JobSpec {
        name: "conformance".into(),
        artifact: dir.to_owned(),
        architecture: None,
        golden: None,
        digest: None,
        targets: Vec::new(),
        staging: dir.to_owned(),
        verify: VerifySpec { policy: Policy::Off, seed: 0, ..VerifySpec::default() },
        plugins: vec![found.pin()],
        winners: Default::default(),
        expressions: Default::default(),
        sources: Default::default(),
        limits,
        threads: 1,
        inspect: false,
    }
}

/// In the worker: tries one case on the one plugin of the job.
pub fn run_case(name: &str, spec: &JobSpec, host: &Host) -> JobReport {
    let mut report = JobReport::failed(Finding::error(Code::Bug, name, "no such case"));
    let (Some(case), Some((plugin, _))) = (CASES.iter().find(|case| case.name == name), host.manifests().next()) else {
        return report;
    };
    let findings = match (case.try_it)(&Bench { host, plugin, spec }) {
        Ok(text) if text.is_empty() => vec![Diag::new(Code::OptionIgnored, SKIPPED, "nothing to try it on").note()],
        Ok(text) => vec![Diag::new(Code::OptionIgnored, "passed", text).note()],
        Err(findings) => findings,
    };
    report.diagnostics = findings.iter().map(Finding::from).collect();
    report.exit_code = if findings.iter().any(Diag::is_error) { 1 } else { 0 };
    report
}

struct Bench<'b> {
    host: &'b Host,
    plugin: PluginId,
    spec: &'b JobSpec,
}

fn broken(detail: impl Into<String>) -> Findings {
    vec![Diag::new(Code::PluginMisbehaved, "rule", detail)]
}

/// Findings that no input may lead to.
fn is_misbehaviour(diag: &Diag) -> bool {
    matches!(diag.code, Code::PluginCrashed | Code::PluginMisbehaved | Code::PluginRefused)
}

impl Bench<'_> {
    /// An answer either way, as long as it is one.
    fn survived<T>(&self, what: &str, result: Result<T, Findings>) -> Result<(), Findings> {
        match result {
            Ok(_) => Ok(()),
            Err(findings) if findings.iter().any(is_misbehaviour) => {
                let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
                Err(broken(format!("{what}: {}", texts.join("; "))))
            }
            Err(findings) if findings.iter().all(|diag| diag.severity != Severity::Error) => {
                Err(broken(format!("{what}: it failed without saying why")))
            }
            Err(_) => Ok(()),
        }
    }

    fn lower(&self, request: &LowerRequest) -> Result<Lowered, Findings> {
        lower_alone(self.host, request)
    }

    fn examples(&self) -> Result<Vec<LowerRequest>, Findings> {
        Ok(self.host.selftest(self.plugin)?.lower)
    }

    fn samples(&self) -> Result<Vec<SampleFile>, Findings> {
        Ok(self.host.selftest(self.plugin)?.files)
    }

    /// Puts bytes where the plugin may read them, and has them read.
    fn read(&self, number: usize, name: &str, bytes: &[u8]) -> Result<Vec<u8>, Findings> {
        let io = |error: std::io::Error| vec![Diag::new(Code::Bug, "sample", error.to_string())];
        let dir = self.spec.staging.join(format!("sample-{number}"));
        std::fs::create_dir_all(&dir).map_err(io)?;
        let path = dir.join(Path::new(name).file_name().unwrap_or(std::ffi::OsStr::new("sample")));
        std::fs::write(&path, bytes).map_err(io)?;
        let request = ReadRequest { path: path.to_string_lossy().into_owned(), ..ReadRequest::default() };
        let model = self.host.read(self.plugin, &request)?;
        Ok(model.encode_to_vec())
    }
}

/// Lowers; a wrapped layer must be this plugin's own, as there is no other.
fn lower_alone(host: &Host, request: &LowerRequest) -> Result<Lowered, Findings> {
    host.lower(request, &|child| lower_alone(host, child))
}

fn loads(bench: &Bench<'_>) -> Tried {
    Ok(bench.host.load(bench.plugin)?.as_str().into())
}

fn init_twice(bench: &Bench<'_>) -> Tried {
    match bench.host.init_again(bench.plugin)? {
        recast_abi::status::OK => Ok("called twice".into()),
        code => Err(broken(format!("the second init answered {code}"))),
    }
}

fn manifest_matches(bench: &Bench<'_>) -> Tried {
    let (_, manifest) = bench.host.describe(bench.plugin);
    let claimed = manifest.provided(id::LAYERS).map(|provided| provided.classes.clone()).unwrap_or_default();
    let listed = bench.host.listed_classes(bench.plugin)?;
    if claimed != listed {
        return Err(broken(format!("the manifest claims {claimed:?}, the code lists {listed:?}")));
    }
    let targets = manifest.provided(id::TARGET).map(|provided| provided.targets.clone()).unwrap_or_default();
    for target in &targets {
        bench.host.capabilities(target)?;
    }
    Ok(format!("{} classes, {} targets", listed.len(), targets.len()))
}

fn unknown_extension(bench: &Bench<'_>) -> Tried {
    for id in ["", "recast.nonsense/1", "recast.layers/9999", "\u{0}"] {
        if bench.host.offers(bench.plugin, id)? {
            return Err(broken(format!("it offers {id:?}")));
        }
    }
    Ok("null".into())
}

/// A fixed sequence that looks like noise.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

fn probe_anything(bench: &Bench<'_>) -> Tried {
    if !bench.host.provides(bench.plugin, id::SOURCE) {
        return Ok(String::new());
    }
    let mut heads = vec![Vec::new(), vec![0], vec![0xff; 4096]];
    heads.extend((0..32).map(|seed| noise(1 << (seed % 13), seed)));
    for file in bench.samples()? {
        heads.extend((0..64.min(file.bytes.len())).map(|len| file.bytes[..len].to_vec()));
    }
    for (number, head) in heads.iter().enumerate() {
        for name in ["", "x", "model.h5", "\u{fffd}\n..", "a/b/../c"] {
            let score = bench.host.probe_bytes(bench.plugin, head, name)?;
            if !(0..=100).contains(&score) {
                return Err(broken(format!("probe answers {score} for head {number} of {} bytes", head.len())));
            }
        }
    }
    Ok(format!("{} heads", heads.len()))
}

fn samples_read(bench: &Bench<'_>) -> Tried {
    let files = bench.samples()?;
    for (number, file) in files.iter().enumerate() {
        let head = &file.bytes[..file.bytes.len().min(4096)];
        if bench.host.probe_bytes(bench.plugin, head, &file.name)? == 0 {
            return Err(broken(format!("it does not know its own sample {}", file.name)));
        }
        if bench.read(number, &file.name, &file.bytes)? != bench.read(number, &file.name, &file.bytes)? {
            return Err(broken(format!("{} is read differently the second time", file.name)));
        }
    }
    Ok(if files.is_empty() { String::new() } else { format!("{} samples, each twice", files.len()) })
}

fn broken_samples(bench: &Bench<'_>) -> Tried {
    let files = bench.samples()?;
    let mut tried = 0;
    for file in &files {
        let len = file.bytes.len();
        for part in 0..TRUNCATIONS {
            tried += 1;
            let cut = &file.bytes[..len * part / TRUNCATIONS];
            bench.survived(&format!("{} cut to {}", file.name, cut.len()), bench.read(tried, &file.name, cut))?;
        }
        for (flip, place) in noise(FLIPPED_BITS * 8, len as u64).chunks(8).enumerate() {
            let mut bytes = file.bytes.clone();
            let at = u64::from_le_bytes(place.try_into().unwrap_or_default()) as usize % len.max(1);
            let Some(byte) = bytes.get_mut(at) else { break };
            *byte ^= 1 << (flip % 8);
            tried += 1;
            bench.survived(
                &format!("{} with a bit of byte {at} flipped", file.name),
                bench.read(tried, &file.name, &bytes),
            )?;
        }
    }
    Ok(if tried == 0 { String::new() } else { format!("{tried} broken files") })
}

fn graph_of(lowered: &Lowered) -> Result<Graph, Findings> {
    let graph = lowered.graph.as_ref().ok_or_else(|| broken("lowered to no graph"))?;
    Ok(graph.decode_graph()?)
}

fn examples_lower(bench: &Bench<'_>) -> Tried {
    let (_, manifest) = bench.host.describe(bench.plugin);
    let mut untried = manifest.provided(id::LAYERS).map(|provided| provided.classes.clone()).unwrap_or_default();
    let examples = bench.examples()?;
    for example in &examples {
        let lowered = bench.lower(example)?;
        graph_of(&lowered)?;
        if lowered != bench.lower(example)? {
            return Err(broken("the same request is lowered differently the second time"));
        }
        untried.retain(|class| example.layer.as_ref().is_none_or(|layer| layer.class != *class));
    }
    if examples.is_empty() {
        return Ok(String::new());
    }
    let without = if untried.is_empty() { String::new() } else { format!("; no example of {}", untried.join(", ")) };
    Ok(format!("{} examples, each twice{without}", examples.len()))
}

/// Inputs for an example whose sizes are all known; none otherwise.
fn inputs_of(example: &LowerRequest) -> Result<Option<Vec<Array>>, Diag> {
    let mut inputs = Vec::new();
    for (number, input) in example.inputs.iter().enumerate() {
        let ty = input.ty.as_ref().map(|ty| ty.decode_type()).transpose()?;
        let sizes = ty.as_ref().and_then(|ty| ty.sizes());
        let (Some(ty), Some(sizes)) = (ty, sizes) else { return Ok(None) };
        if input.mask.is_some() || ty.dtype != DType::F32 {
            return Ok(None);
        }
        let shape: Vec<usize> = sizes.iter().map(|&size| size as usize).collect();
        let count: usize = shape.iter().product();
        let values = noise(count, number as u64).iter().map(|&byte| (f64::from(byte) - 127.5) / 64.0).collect();
        inputs.push(Array::from_numbers(DType::F32, shape, values));
    }
    Ok(Some(inputs))
}

fn examples_agree(bench: &Bench<'_>) -> Tried {
    let mut compared = 0;
    for example in &bench.examples()? {
        let Some(inputs) = inputs_of(example)? else { continue };
        let tensor = |array: &Array| {
            let shape: Vec<u64> = array.shape.iter().map(|&size| size as u64).collect();
            Tensor::from_numbers(DType::F32, &shape, &array.numbers())
        };
        let tensors: Vec<Tensor> = inputs.iter().map(tensor).collect();
        let Some(theirs) = bench.host.eval(example, &tensors)? else { continue };
        let lowered = bench.lower(example)?;
        let graph = graph_of(&lowered)?;
        let ours = evaluate(&whole(graph, &lowered)?, &inputs, &Files::none(), &Options::default())?;
        for (number, (ours, theirs)) in ours.iter().zip(&theirs.outputs).enumerate() {
            compare(number, &ours.numbers(), &theirs.values)?;
        }
        if ours.len() != theirs.outputs.len() {
            return Err(broken(format!("lower gives {} outputs, eval {}", ours.len(), theirs.outputs.len())));
        }
        compared += 1;
    }
    Ok(if compared == 0 { String::new() } else { format!("{compared} examples") })
}

/// The fragment with exactly the layer's outputs as its own.
fn whole(mut graph: Graph, lowered: &Lowered) -> Result<Graph, Findings> {
    graph.outputs.clear();
    for (number, output) in lowered.outputs.iter().enumerate() {
        if output.value as usize >= graph.value_count() {
            return Err(broken(format!("output {number} is no value of its graph")));
        }
        graph.output(format!("y{number}"), recast_plugin_api::ir::ValueId(output.value));
    }
    Ok(graph)
}

fn compare(number: usize, ours: &[f64], theirs: &[f64]) -> Result<(), Findings> {
    if ours.len() != theirs.len() {
        return Err(broken(format!("output {number}: lower gives {} values, eval {}", ours.len(), theirs.len())));
    }
    let scale = theirs.iter().fold(1.0f64, |max, value| max.max(value.abs()));
    let worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    if worst <= TOLERANCE * scale {
        return Ok(());
    }
    Err(broken(format!("output {number}: lower and eval differ by {worst:.3e} where the largest value is {scale:.3e}")))
}

fn garbage_refused(bench: &Bench<'_>) -> Tried {
    let examples = bench.examples()?;
    let mut tried = 0;
    for example in &examples {
        for config in ["", "{", "[]", "null", "{}", r#"{"name": 7, "units": -1, "axis": 99}"#] {
            let mut request = example.clone();
            if let Some(layer) = &mut request.layer {
                layer.config = config.into();
            }
            tried += 1;
            bench.survived(&format!("config {config:?}"), bench.lower(&request))?;
        }
        let mut without_inputs = example.clone();
        without_inputs.inputs.clear();
        without_inputs.args.clear();
        let mut without_weights = example.clone();
        without_weights.layer.iter_mut().for_each(|layer| layer.weights.clear());
        let mut without_children = example.clone();
        without_children.layer.iter_mut().for_each(|layer| layer.children.clear());
        for (what, request) in
            [("inputs", without_inputs), ("weights", without_weights), ("children", without_children)]
        {
            tried += 1;
            bench.survived(&format!("without {what}"), bench.lower(&request))?;
        }
    }
    Ok(if tried == 0 { String::new() } else { format!("{tried} requests") })
}

fn unknown_fields(bench: &Bench<'_>) -> Tried {
    let examples = bench.examples()?;
    // Wrapped layers go through the ordinary door: one example without children is enough.
    let Some(example) = examples.iter().find(|e| e.layer.as_ref().is_some_and(|layer| layer.children.is_empty()))
    else {
        return Ok(String::new());
    };
    if bench.host.lower_with_unknown_fields(example)? != bench.lower(example)? {
        return Err(broken("a field that it does not know changes its answer"));
    }
    Ok("ignored".into())
}

struct Stop;

impl Events for Stop {
    fn is_cancelled(&self) -> bool {
        true
    }
}

fn stops(bench: &Bench<'_>) -> Tried {
    let (pin, _) = bench.host.describe(bench.plugin);
    let tensors = TensorStore::new(&[], &bench.spec.staging, 0);
    let settings = HostSettings { winners: Default::default(), tensors, events: Arc::new(Stop), threads: 1 };
    let stopping = Host::open(std::slice::from_ref(pin), settings)?;
    let examples = bench.examples()?;
    for example in &examples {
        let started = Instant::now();
        // `emit` refuses everything: an answer of success would be a lie.
        if lower_alone(&stopping, example).is_ok() {
            return Err(broken("it answers success although `emit` refused its reply"));
        }
        if started.elapsed() > CANCEL_MAX {
            return Err(broken(format!("it goes on for {:?} after it was told to stop", started.elapsed())));
        }
    }
    Ok(if examples.is_empty() { String::new() } else { format!("{} examples", examples.len()) })
}

fn count(dir: &str) -> usize {
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}

/// Runs after which what each of them leaves behind is counted.
const LEAKING_RUNS: usize = 4;

fn nothing_left(bench: &Bench<'_>) -> Tried {
    let examples = bench.examples()?;
    let files = bench.samples()?;
    let run = |number: usize| {
        // Only what stays matters here; what fails is another case's business.
        examples.iter().for_each(|example| drop(bench.lower(example)));
        files.iter().for_each(|file| drop(bench.read(number, &file.name, &file.bytes)));
    };
    run(0);
    let before = (count("/proc/self/task"), count("/proc/self/fd"));
    // More than once: threads of our own that end meanwhile would make up for a single one that stays.
    (0..LEAKING_RUNS).for_each(|_| run(0));
    let after = (count("/proc/self/task"), count("/proc/self/fd"));
    if after.0 > before.0 || after.1 > before.1 {
        return Err(broken(format!("threads {} -> {}, open files {} -> {}", before.0, after.0, before.1, after.1)));
    }
    Ok(if examples.is_empty() && files.is_empty() { String::new() } else { "no thread, no open file".into() })
}

impl fmt::Display for Conformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  {}", self.plugin, self.path.display())?;
        for CaseResult { name, outcome, ms, details } in &self.cases {
            let mark = match outcome {
                Outcome::Passed => "ok  ",
                Outcome::Failed => "FAIL",
                Outcome::Skipped => "-   ",
            };
            writeln!(f, "    {mark} {name:<30}{ms:>8.1} ms  {}", details.join("; "))?;
        }
        writeln!(f, "{}", if self.passed { "the plugin keeps the rules" } else { "the plugin breaks the rules" })
    }
}
