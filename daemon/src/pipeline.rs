//! One job, in the worker: read, lower, then for each target make fit, write and verify. No step catches another's
//! failure: what fails is in the report, with everything else that was found.

use crate::digest;
use crate::host::{Elements, Host, Outputs, TensorStore};
use crate::inspect;
use crate::job::{
    ANY_FORMAT, Finding, JobReport, JobSpec, Level, Output, OutputFile, Policy, Status, TargetSpec, Verification,
    WorkerLimits,
};
use crate::lower;
use crate::passes;
use crate::tree::{self, Bounds, Trouble};
use crate::verify::compare::Distance;
use crate::verify::runtime::command::Commands;
use crate::verify::{self, Check, Outcome, ReadBack, structural};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::validate::{admit, validate};
use recast_plugin_api::ir::wire::GraphProto;
use recast_plugin_api::ir::{Graph, Tensor};
use recast_plugin_api::messages::{Caps, CheckRequest, ReadRequest, WriteRequest};
use recast_plugin_api::model::{LayerModel, SCHEMA_REV};
use recast_reference::Weights;
use recast_reference::weights::Bytes;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, ScopedJoinHandle};
use std::time::Instant;

/// Below the job's staging: files that only a check needs, and decoded tensors. Never published.
pub const SCRATCH: &str = ".scratch";

impl Weights for TensorStore {
    fn bytes<'a>(&'a self, tensor: &'a Tensor) -> Result<Bytes<'a>, Diag> {
        struct Held<'t>(Elements<'t>);
        impl AsRef<[u8]> for Held<'_> {
            fn as_ref(&self) -> &[u8] {
                self.0.bytes()
            }
        }
        Ok(Box::new(Held(self.elements(tensor)?)))
    }
}

/// A job on its way.
struct Job<'a> {
    host: &'a Host,
    spec: &'a JobSpec,
    report: JobReport,
    /// The model as its framework traced it, where the artifact holds that, too.
    witness: Option<Graph>,
    /// Classes of the layers for which there are no ops, where targets that write layers go without a graph.
    opaque: Vec<String>,
    known: OnceCell<Result<&'static str, Diag>>,
    /// Files written for checks so far: each gets a directory of its own.
    variants: Mutex<usize>,
}

/// An output, and what it was written from.
struct Written<'a> {
    target: &'a TargetSpec,
    caps: &'a Caps,
    /// After the passes.
    fitted: &'a Graph,
    files: &'a [OutputFile],
    /// The primary file or directory.
    path: PathBuf,
}

/// Runs one job to its report; what the artifact holds never makes it panic.
pub fn run(spec: &JobSpec, host: &Host) -> JobReport {
    let started = Instant::now();
    let mut job = Job {
        host,
        spec,
        report: JobReport::blank(),
        witness: None,
        opaque: Vec::new(),
        known: OnceCell::new(),
        variants: Mutex::new(0),
    };
    let result = if spec.inspect { job.inspect() } else { job.run() };
    let mut findings = host.take_notes();
    findings.extend(result.err().unwrap_or_default());
    let mut report = job.report;
    report.plugins = host.uses();
    for finding in findings.iter().map(Finding::from) {
        // Targets of one plugin find the same things.
        if !report.diagnostics.contains(&finding) {
            report.diagnostics.push(finding);
        }
    }
    report.timings_ms.insert("total".into(), ms_since(started));
    report.settle();
    report
}

fn ms_since(start: Instant) -> f64 {
    (start.elapsed().as_secs_f64() * 1e6).round() / 1e3
}

/// The artifact as layers and, where every class is known, as ops.
pub struct Read {
    pub format: String,
    pub model: LayerModel,
}

/// Reads the artifact through the source that claims it.
pub fn read(spec: &JobSpec, host: &Host) -> Result<Read, Findings> {
    let probed = host.probe(&spec.artifact)?;
    let given = source_options(spec, &host.formats(probed.plugin));
    let mut request = read_request(&spec.artifact, spec.architecture.as_deref(), &spec.limits)?;
    if !given.is_empty() {
        request.options = serde_json::to_string(&given).map_err(|e| Diag::new(Code::Bug, "options", e.to_string()))?;
    }
    let mut model = host.read(probed.plugin, &request)?;
    let unknown = |name: &&String| !model.options.iter().any(|option| option.name == **name);
    if let Some(name) = given.keys().find(unknown) {
        let detail = format!("what reads {} has no option '{name}'", model.format);
        return Err(Diag::new(Code::UnsupportedContainer, "options", detail).into());
    }
    lower::express(&mut model, &spec.expressions)?;
    Ok(Read { format: model.format.clone(), model })
}

/// Options of the source that reads these formats.
fn source_options(spec: &JobSpec, formats: &[String]) -> BTreeMap<String, serde_json::Value> {
    let any = ANY_FORMAT.to_owned();
    let of = formats.iter().chain([&any]).filter_map(|format| spec.sources.get(format));
    of.flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What a source is asked: to read this file or directory.
pub fn read_request(artifact: &Path, architecture: Option<&Path>, limits: &WorkerLimits) -> Result<ReadRequest, Diag> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    Ok(ReadRequest {
        schema_rev: SCHEMA_REV,
        path: text(artifact),
        architecture: architecture.map(text),
        limits: Some(limits.of_reading()),
        options: String::new(),
        files: files_below(artifact)?,
    })
}

/// Paths of the files of a directory; nothing of a file.
fn files_below(artifact: &Path) -> Result<Vec<String>, Diag> {
    let at = artifact.display().to_string();
    let survey = tree::survey_path(artifact, &in_place());
    let survey = survey.map_err(|trouble| Diag::new(Code::Io, at, trouble.to_string()))?;
    if !survey.is_dir {
        return Ok(Vec::new());
    }
    let mut files: Vec<String> = survey.files().map(|node| node.path.to_string_lossy().into_owned()).collect();
    files.sort();
    Ok(files)
}

/// What a target is asked to write: a graph that fits its capabilities, layers, or both.
pub fn write_request(
    host: &Host,
    spec: &JobSpec,
    target: &TargetSpec,
    caps: &Caps,
    (graph, layers): (Option<&Graph>, Option<&LayerModel>),
    source_digest: &str,
) -> Result<WriteRequest, Findings> {
    let lens = host.tensors().file_lens();
    let admitted = graph.map(|graph| admit(graph, caps, Some(&lens))).transpose()?;
    Ok(WriteRequest {
        schema_rev: SCHEMA_REV,
        graph: admitted.map(|admitted| GraphProto::from(admitted.graph())),
        name: spec.name.clone(),
        options: options_text(target)?,
        source_digest: source_digest.to_owned(),
        layers: layers.cloned(),
        recast_version: env!("CARGO_PKG_VERSION").into(),
    })
}

/// The model as its framework traced it, where it has layers that no plugin lowers and the trace has none.
pub fn traced_instead(model: &LayerModel, host: &Host) -> Option<LayerModel> {
    let traced = model.traced.clone().filter(|_| !lower::missing_classes(model, host).is_empty())?;
    let instead = LayerModel { root: Some(traced), traced: None, ..model.clone() };
    lower::missing_classes(&instead, host).is_empty().then_some(instead)
}

/// Lowers to a graph that is typed and whole.
pub fn lower(model: &LayerModel, host: &Host) -> Result<Graph, Findings> {
    let graph = lower::lower(model, host)?;
    let mut findings = validate(&graph, Some(&host.tensors().file_lens()));
    findings.retain(Diag::is_error);
    if findings.is_empty() { Ok(graph) } else { Err(findings) }
}

impl Job<'_> {
    fn inspect(&mut self) -> Result<(), Findings> {
        self.report.inspection = Some(inspect::inspect(self.spec, self.host)?);
        let digest = digest::of_artifact(&self.spec.artifact, &in_place());
        self.report.digest = digest.map_err(|error| io(&self.spec.artifact, &error))?;
        Ok(())
    }

    /// What is done beside the reading: later plugins are fetched, then the artifact is hashed, which is not needed
    /// before something is written. One after the other: what is read first waits for both where processors are few.
    fn beside(spec: &JobSpec, host: &Host) -> Result<String, Trouble> {
        host.fetch(spec.targets.iter().map(|target| target.name.as_str()));
        spec.digest.clone().map_or_else(|| digest::of_artifact(&spec.artifact, &in_place()), Ok)
    }

    fn run(&mut self) -> Result<(), Findings> {
        let (spec, host) = (self.spec, self.host);
        std::thread::scope(|scope| {
            let hashing = Builder::new().spawn_scoped(scope, || Self::beside(spec, host));
            let model = self.timed("read", |_| read(spec, host));
            let graph = model.and_then(|read| {
                self.report.source_format = read.format;
                self.report.source_version = read.model.keras_version.clone();
                let taken = read.model.options.iter().filter(|option| !option.value.is_empty());
                self.report.source_options = taken.map(|option| (option.name.clone(), option.value.clone())).collect();
                let mut model = read.model;
                let missing = self.settle_missing(&mut model);
                self.report.waits_for = missing.iter().map(|m| crate::host::layer_claim(&m.class)).collect();
                let graph = match self.timed("lower", |_| lower(&model, host)) {
                    Ok(graph) => Some(graph),
                    Err(found) => self.layers_alone(&model, found)?,
                };
                self.witness = self.timed("lower", |job| job.traced(&model));
                Ok((model, graph))
            });
            let digest = match hashing.map(ScopedJoinHandle::join) {
                Ok(Ok(digest)) => digest,
                Ok(Err(_)) => return Err(Diag::new(Code::Bug, "digest", "the hashing thread died").into()),
                // No thread could be had.
                Err(_) => Self::beside(spec, host),
            };
            self.report.digest = digest.map_err(|error| io(&spec.artifact, &error))?;
            let (model, graph) = graph?;
            let result = self.targets(&model, graph.as_ref());
            // The process ends with the job: taking thousands of layers apart is left to the kernel.
            std::mem::forget((model, graph));
            result
        })
    }

    /// A layer that nothing lowers stops targets of ops, not those that write layers and are read back as such: then
    /// there is no graph, and the report says why.
    fn layers_alone(&mut self, model: &LayerModel, found: Findings) -> Result<Option<Graph>, Findings> {
        let layers_only = found.iter().all(lower::is_beyond_ops);
        for target in &self.spec.targets {
            if !layers_only || !self.host.capabilities(&target.name)?.writes_layers_alone() {
                return Err(found);
            }
        }
        self.opaque = lower::missing_classes(model, self.host).into_iter().map(|missing| missing.class).collect();
        let layers = lower::layers_of(model);
        for diag in found.into_iter().filter(|diag| diag.code == Code::UnsupportedLayer) {
            let at = layers.iter().filter(|layer| layer.path == diag.at && !self.opaque.contains(&layer.class));
            let classes: Vec<String> = at.map(|layer| layer.class.clone()).collect();
            self.opaque.extend(classes);
            self.report.diagnostics.push(Finding::from(&diag.note()));
        }
        Ok(None)
    }

    fn timed<T>(&mut self, stage: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        self.host.events().stage(stage);
        let start = Instant::now();
        let result = work(self);
        *self.report.timings_ms.entry(stage.into()).or_default() += ms_since(start);
        result
    }

    /// Classes that no plugin owns; none where the traced graph takes the place of the layers.
    fn settle_missing(&mut self, model: &mut LayerModel) -> Vec<lower::Missing> {
        let missing = lower::missing_classes(model, self.host);
        // Targets that write layers as they are need no plugin for them.
        let of_layers =
            |target: &TargetSpec| self.host.capabilities(&target.name).is_ok_and(|caps| caps.writes_layers_alone());
        let instead = if self.spec.targets.iter().all(of_layers) { None } else { traced_instead(model, self.host) };
        let Some(instead) = instead else { return missing };
        let classes: Vec<&str> = missing.iter().map(|missing| missing.class.as_str()).collect();
        let detail = format!("no plugin lowers {}: the graph that the artifact holds is used", classes.join(", "));
        self.report.diagnostics.push(Finding::from(&Diag::new(Code::Traced, "", detail).note()));
        *model = instead;
        Vec::new()
    }

    /// The traced graph beside the layers, where a check can use it; what it can't be lowered for is a note.
    fn traced(&mut self, model: &LayerModel) -> Option<Graph> {
        let asked = self.spec.verify.policy != Policy::Off && !model.traced_by_recast;
        let traced = model.traced.clone().filter(|_| asked)?;
        match lower(&LayerModel { root: Some(traced), traced: None, ..model.clone() }, self.host) {
            Ok(graph) => Some(graph),
            Err(findings) => {
                let why = findings.first().map_or(String::new(), |diag| format!("{}: {}", diag.at, diag.detail));
                let detail = format!("the graph that the artifact holds is no witness: {why}");
                self.report.diagnostics.push(Finding::from(&Diag::new(Code::Traced, "", detail).note()));
                None
            }
        }
    }

    /// Every target, even when one of them can't be written: all findings at once.
    fn targets(&mut self, model: &LayerModel, graph: Option<&Graph>) -> Result<(), Findings> {
        let mut findings = Findings::new();
        for target in &self.spec.targets {
            match self.target(target, model, graph) {
                Ok(output) => self.report.outputs.push(output),
                Err(found) => findings.extend(found.into_iter().map(|diag| self.said_of(target, diag))),
            }
        }
        if findings.is_empty() { Ok(()) } else { Err(findings) }
    }

    /// Where several targets are asked for, a finding says which of them it stops.
    fn said_of(&self, target: &TargetSpec, mut diag: Diag) -> Diag {
        if self.spec.targets.len() > 1 {
            diag.detail = format!("{}: {}", target.name, diag.detail);
        }
        diag
    }

    fn target(&mut self, target: &TargetSpec, model: &LayerModel, graph: Option<&Graph>) -> Result<Output, Findings> {
        let caps = self.host.capabilities(&target.name)?;
        let fitted = self.timed("passes", |_| graph.map(|graph| passes::fit(graph.clone(), &caps)).transpose())?;
        let layers = caps.wants_layers.then_some(model);
        let staging = self.spec.staging.clone();
        let files = self.timed("write", |job| job.write(target, &caps, fitted.as_ref(), layers, &staging))?;
        let primary = files.first().cloned();
        let primary = primary.ok_or_else(|| Diag::new(Code::PluginMisbehaved, &target.name, "it wrote no file"))?;
        let path = primary_path(&primary.path);
        let outcome = self.timed("verify", |job| match (graph, &fitted) {
            (Some(graph), Some(fitted)) => {
                let written = Written { target, caps: &caps, fitted, files: &files, path: staging.join(&path) };
                job.verify(&written, graph)
            }
            _ => job.verify_layers(&caps, model, &staging.join(&path)),
        });
        let verification = self.judge(outcome)?;
        Ok(Output { target: target.name.clone(), path, sha256: primary.sha256.clone(), verification, files })
    }

    fn write(
        &self,
        target: &TargetSpec,
        caps: &Caps,
        graph: Option<&Graph>,
        layers: Option<&LayerModel>,
        dir: &Path,
    ) -> Result<Vec<OutputFile>, Findings> {
        let request = write_request(self.host, self.spec, target, caps, (graph, layers), &self.report.digest)?;
        let outputs = Outputs::new(dir, self.spec.limits.output_bytes_max).map_err(|e| io(dir, &e))?;
        let outputs = Mutex::new(outputs);
        self.host.write(&target.name, &request, &outputs)?;
        Ok(outputs.into_inner().unwrap_or_else(PoisonError::into_inner).finish())
    }

    fn verify(&self, written: &Written<'_>, graph: &Graph) -> Outcome {
        let Written { target, caps, path: file, .. } = written;
        let variant = |graph: &Graph, what: &str| self.variant(target, caps, graph, what);
        let decompose = |graph: &Graph| passes::decompose(graph, caps, verify::runtime::embedded_lacks);
        verify::verify(&Check {
            spec: &self.spec.verify,
            graph,
            written: written.fitted,
            weights: self.host.tensors(),
            file,
            runtime: &caps.runtime,
            variant: &variant,
            decompose: &decompose,
            read_back: &|| self.read_back(written, graph),
            golden: self.spec.golden.as_deref(),
            artifact: &self.spec.artifact,
            runner: caps.runner.as_ref(),
            commands: Commands { events: self.host.shared_events(), scratch: self.spec.staging.join(SCRATCH) },
            known: &self.known,
            witness: self.witness.as_ref(),
            threads: self.spec.threads,
        })
    }

    /// An output of layers whose ops nobody knows: what can be compared is what is stored.
    fn verify_layers(&self, caps: &Caps, model: &LayerModel, file: &Path) -> Outcome {
        if self.spec.verify.policy == Policy::Off {
            return Outcome::none("verification is off", Findings::new());
        }
        match verify::read_back::layers_by_source(self.host, self.spec, (model, &self.opaque), file, &caps.read_back) {
            Ok(read_back) => Outcome::structural(read_back),
            Err(findings) => {
                let reason = findings.first().map_or(String::new(), |diag| diag.detail.clone());
                Outcome::none(&reason, findings)
            }
        }
    }

    /// The output as somebody else than its writer finds it.
    fn read_back(&self, written: &Written<'_>, graph: &Graph) -> Result<Option<ReadBack>, Findings> {
        if !written.caps.read_back.is_empty() {
            return verify::read_back::by_source(self.host, self.spec, graph, &written.path, written.caps).map(Some);
        }
        if !written.caps.checks {
            return Ok(None);
        }
        let target = written.target;
        let request = CheckRequest {
            schema_rev: SCHEMA_REV,
            graph: Some(GraphProto::from(written.fitted)),
            path: written.path.to_string_lossy().into_owned(),
            name: self.spec.name.clone(),
            options: options_text(target)?,
        };
        let (reply, plugin) = self.host.check(&target.name, &request).map_err(structural::as_verdicts)?;
        let (store, dir) = (self.host.tensors(), &self.spec.staging);
        let compared = structural::compare_weights(written.fitted, &reply, store, dir, written.files)?;
        let note = format!(
            "the structure as the target's own check sees it, and {} weights bit-identical ({} bytes)",
            compared.weights, compared.bytes
        );
        let by = format!("read back by {plugin}");
        Ok(Some(ReadBack { by, note, distance: Distance::default(), samples: 0 }))
    }

    /// Another graph, through the same passes and the same writer, into a place of its own.
    fn variant(&self, target: &TargetSpec, caps: &Caps, graph: &Graph, what: &str) -> Result<PathBuf, Findings> {
        let mut count = self.variants.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        let dir = self.spec.staging.join(SCRATCH).join(format!("{what}-{count}"));
        std::fs::create_dir_all(&dir).map_err(|e| io(&dir, &e))?;
        let fitted = passes::fit(graph.clone(), caps)?;
        let files = self.write(target, caps, Some(&fitted), None, &dir)?;
        let primary = files.first();
        let primary = primary.ok_or_else(|| Diag::new(Code::PluginMisbehaved, &target.name, "it wrote no file"))?;
        Ok(dir.join(primary_path(&primary.path)))
    }

    /// What an outcome means under the policy: an error, or a level that is said.
    fn judge(&mut self, outcome: Outcome) -> Result<Verification, Findings> {
        let Outcome { verification, findings } = outcome;
        let policy = self.spec.verify.policy;
        let proved = verification.level >= Level::Structural;
        let wrong = findings.iter().any(|diag| matches!(diag.code, Code::Mismatch | Code::GoldenInvalid));
        if wrong || (!proved && policy == Policy::Required) {
            let mut findings = findings;
            if !findings.iter().any(Diag::is_error) {
                let hint = "policy = \"best-effort\" publishes what could not be checked";
                findings.push(Diag::new(Code::NotVerified, "", verification.note.clone()).hint(hint));
            }
            return Err(findings);
        }
        // Under best-effort, why nothing was proved is worth a note, not an error.
        let notes = findings.into_iter().map(|diag| if diag.is_error() { diag.note() } else { diag });
        self.report.diagnostics.extend(notes.map(|diag| Finding::from(&diag)));
        Ok(verification)
    }
}

fn options_text(target: &TargetSpec) -> Result<String, Diag> {
    serde_json::to_string(&target.options).map_err(|e| Diag::new(Code::Bug, "options", e.to_string()))
}

/// Who asked for the conversion has looked at the artifact already; what counts here is its content.
fn in_place() -> Bounds {
    Bounds { hard_links_allowed: true, ..Bounds::default() }
}

/// The file, or the directory that the first file lies in: `m.onnx`, `m_torch`.
fn primary_path(first: &str) -> String {
    first.split('/').next().unwrap_or(first).to_string()
}

fn io(path: &Path, error: &dyn std::fmt::Display) -> Diag {
    Diag::new(Code::Io, path.display().to_string(), error.to_string())
}

impl From<&Diag> for Finding {
    fn from(diag: &Diag) -> Finding {
        Finding {
            code: diag.code.as_str().into(),
            severity: diag.severity.as_str().into(),
            at: diag.at.clone(),
            detail: diag.detail.clone(),
            hint: diag.hint.clone(),
        }
    }
}

impl JobReport {
    /// Status and exit code from what was found and made. A job parks when a missing plugin is all that stops it.
    fn settle(&mut self) {
        let errors = self.diagnostics.iter().filter(|finding| finding.severity == "error");
        let codes: Vec<Code> = errors.map(|finding| Code::parse(&finding.code).unwrap_or(Code::Bug)).collect();
        let waits = |code: &Code| matches!(code, Code::UnknownLayer);
        self.exit_code = crate::job::exit::worst(codes.iter().map(|code| code.class().exit_code()));
        let unproved = self.outputs.iter().any(|output| output.verification.level < Level::Structural);
        self.status = match codes.is_empty() {
            false if codes.iter().all(waits) && !self.waits_for.is_empty() => Status::Parked,
            false => Status::Failed,
            true if unproved => Status::Unverified,
            true => Status::Verified,
        };
        if self.status != Status::Parked {
            self.waits_for.clear();
        }
        if self.status == Status::Failed || self.status == Status::Parked {
            self.outputs.clear();
        }
    }
}
