//! Is the written file right? Two opinions: the reference evaluator on the graph as it was lowered (before any pass),
//! and the written file in a runtime that we did not write.
//!
//! Inputs are seeded and fit the graph; the tolerance is derived from the rounding that this graph must suffer; an
//! output that could not have failed the check is reported as such and never counts as agreement.

pub mod bindings;
mod bisect;
mod candidate;
pub mod compare;
mod golden;
pub mod inputs;
mod oracle;
pub mod read_back;
pub mod rounds;
pub mod runtime;
pub mod same;
pub mod structural;
pub mod witness;
mod words;

use crate::job::{Level, Policy, Verification, VerifySpec};
use candidate::Candidate;
use compare::{Distance, Tolerance};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{Dim, Graph};
use recast_plugin_api::messages::Runner;
use recast_reference::{Array, Weights};
use rounds::{Evaluator, Origin, Rounds, Set};
use runtime::Runtime;
use runtime::command::{Commands, Scripted};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// Everything that a check of one output needs.
pub struct Check<'a> {
    pub spec: &'a VerifySpec,
    /// As lowered.
    pub graph: &'a Graph,
    /// As the passes made it fit the target: what the file holds.
    pub written: &'a Graph,
    pub weights: &'a (dyn Weights + Sync),
    /// The written file.
    pub file: &'a Path,
    /// What runs such files: `Caps::runtime`.
    pub runtime: &'a str,
    /// Writes another graph (with symbols bound) through the same target into a scratch place, for the check alone:
    /// decomposed where the embedded runtime lacks an op, or with more outputs for bisection.
    pub variant: &'a dyn Fn(&Graph, &str) -> Result<PathBuf, Findings>,
    /// The bound graph without the ops that the embedded runtime lacks; `None` when nothing can be decomposed.
    pub decompose: &'a dyn Fn(&Graph) -> Result<Option<Graph>, Findings>,
    /// Reads the output back; `None` where the target has no way to.
    pub read_back: &'a dyn Fn() -> Result<Option<ReadBack>, Findings>,
    pub golden: Option<&'a Path>,
    /// For the oracle.
    pub artifact: &'a Path,
    /// What runs the file where the configuration has a command for it.
    pub runner: Option<&'a Runner>,
    pub commands: Commands,
    /// What `graph_gives` found: it is about the model, so one answer is good for all outputs of a job.
    pub known: &'a OnceCell<Result<&'static str, Diag>>,
    /// The same model as the framework that made the artifact traced it, lowered.
    pub witness: Option<&'a Graph>,
    pub threads: usize,
}

/// An output that was read back and is what was to be written: level `structural`.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadBack {
    /// Who read it: `read back by dev.recast.torch`.
    pub by: String,
    /// What was compared.
    pub note: String,
    /// Between the evaluator's outputs for both graphs, where those were compared.
    pub distance: Distance,
    /// Rows of outputs compared.
    pub samples: u64,
}

pub struct Outcome {
    pub verification: Verification,
    pub findings: Findings,
}

impl Outcome {
    /// What was read back is what was to be written.
    pub fn structural(ReadBack { by, note, distance, samples }: ReadBack) -> Outcome {
        let verification = Verification {
            level: Level::Structural,
            runtime: by,
            max_abs_error: distance.max_abs,
            max_rel_error: distance.max_rel,
            samples,
            note,
        };
        Outcome { verification, findings: Findings::new() }
    }

    pub fn none(reason: &str, findings: Findings) -> Outcome {
        let verification = Verification {
            level: Level::None,
            runtime: "none".into(),
            max_abs_error: 0.0,
            max_rel_error: 0.0,
            samples: 0,
            note: reason.into(),
        };
        Outcome { verification, findings }
    }
}

/// Checks one output. The policy decides later what an outcome means.
pub fn verify(check: &Check<'_>) -> Outcome {
    if check.spec.policy == Policy::Off {
        return Outcome::none("verification is off", Findings::new());
    }
    let read_back = match (check.read_back)() {
        Ok(read_back) => read_back,
        Err(findings) => {
            let reason = findings.first().map_or("it could not be read back".into(), |diag| diag.detail.clone());
            return Outcome::none(&reason, findings);
        }
    };
    let runtime = match pick_runtime(check) {
        Ok(Some(runtime)) => runtime,
        Ok(None) => return unrun(check, read_back),
        Err(diag) => return Outcome::none("the runtime could not be loaded", diag.into()),
    };
    match against(check, runtime.as_ref()) {
        Ok(mut outcome) => {
            let notes = [std::mem::take(&mut outcome.verification.note), read_back.map(|r| r.note).unwrap_or_default()];
            let notes: Vec<String> = notes.into_iter().filter(|note| !note.is_empty()).collect();
            outcome.verification.note = notes.join("; ");
            outcome
        }
        Err(diag) => Outcome::none(&diag.detail.clone(), diag.into()),
    }
}

/// Nothing here runs the output: it is as good as what reading it back showed.
fn unrun(check: &Check<'_>, read_back: Option<ReadBack>) -> Outcome {
    let Some(mut read_back) = read_back else {
        let reason = match check.runtime {
            "" => "nothing here reads or runs this format".into(),
            runtime => format!("no runtime for '{runtime}' files"),
        };
        return Outcome::none(&reason, Findings::new());
    };
    match check.known.get_or_init(|| graph_gives(check)).clone() {
        Ok(known) => read_back.note += known,
        Err(diag) => return Outcome::none(&diag.detail.clone(), diag.into()),
    }
    Outcome::structural(read_back)
}

/// The output is the graph, and no runtime runs the output: whether the graph gives what was recorded, or what the
/// original framework gives, is for the evaluator to say.
fn graph_gives(check: &Check<'_>) -> Result<&'static str, Diag> {
    let evaluator = check.evaluator();
    if let Some(path) = check.golden {
        let set = golden::set(check, path, &Rounds::default())?;
        compare_set(check, None, &set, &evaluator.exact(&set.bound.graph, &set.inputs)?)?;
    }
    if check.spec.oracle.is_some() {
        let sets = rounds::plan(&evaluator, check.graph, &mut Rounds::default())?;
        for (set, ours) in oracle::sets(check, &sets)?.iter().zip(&sets) {
            let found: Vec<Array> = ours.expected.iter().map(|(array, _)| array.clone()).collect();
            compare_set(check, None, set, &found)?;
        }
    }
    Ok(match (check.golden, &check.spec.oracle) {
        (Some(_), _) => "; the graph, evaluated, gives the recorded outputs",
        (None, Some(_)) => "; the graph, evaluated, gives the original framework's outputs",
        (None, None) => "",
    })
}

fn pick_runtime(check: &Check<'_>) -> Result<Option<Box<dyn Runtime>>, Diag> {
    if let Some(runner) = check.runner.filter(|runner| check.spec.runtimes.contains_key(&runner.name)) {
        let (commands, name, script) = (check.commands.clone(), runner.name.clone(), runner.script.clone());
        return Ok(Some(Box::new(Scripted { commands, name, script })));
    }
    if check.runtime != "onnx" {
        return Ok(None);
    }
    match &check.spec.onnxruntime {
        Some(library) => Ok(Some(Box::new(runtime::onnxruntime::OnnxRuntime::open(library, check.threads)?))),
        None => Ok(Some(Box::new(runtime::embedded::Embedded { threads: check.threads }))),
    }
}

impl Check<'_> {
    fn evaluator(&self) -> Evaluator<'_> {
        Evaluator { weights: self.weights, seed: self.spec.seed, threads: self.threads }
    }
}

/// Asks the written file in a runtime, and compares its answers with everybody who knows what they must be.
fn against(check: &Check<'_>, runtime: &dyn Runtime) -> Result<Outcome, Diag> {
    let mut rounding = Rounds::default();
    let mut sets = rounds::plan(&check.evaluator(), check.graph, &mut rounding)?;
    let witnessed = witness::agrees(check, &sets)?;
    match check.golden {
        // Recorded outputs say more than any input of ours: where there are some, they decide.
        Some(path) => sets.push(golden::set(check, path, &rounding)?),
        None => rounds::tells_nothing(&sets, check.graph).map_or(Ok(()), Err)?,
    }
    let mut candidate = Candidate::load(check, runtime)?;
    let found = candidate.run(&sets)?;
    let (mut total, mut samples) = (Distance::default(), 0);
    for (set, found) in sets.iter().zip(&found) {
        total = total.join(compare_set(check, Some(runtime), set, found)?);
        samples += set.rows();
    }
    if check.spec.oracle.is_some() {
        let ours: Vec<Set> = sets.into_iter().filter(|set| set.origin == Origin::Evaluator).collect();
        for (set, found) in oracle::sets(check, &ours)?.iter().zip(&found) {
            total = total.join(compare_set(check, Some(runtime), set, found)?);
        }
    }
    let level = match (check.golden, &check.spec.oracle) {
        (Some(_), _) => Level::Golden,
        (None, Some(_)) => Level::Oracle,
        (None, None) => Level::Reference,
    };
    let verification = Verification {
        level,
        runtime: runtime.name(),
        max_abs_error: total.max_abs,
        max_rel_error: total.max_rel,
        samples,
        note: candidate.note.clone(),
    };
    let findings = match candidate.note.is_empty() {
        true => Findings::new(),
        false => Diag::new(Code::Decomposed, "", candidate.note).note().into(),
    };
    Ok(witness::raised(Outcome { verification, findings }, witnessed))
}

/// How far the outputs are from what the set says. Where one is outside, its rounding is drawn anew for these inputs
/// before that counts as wrong.
fn compare_set(check: &Check<'_>, runtime: Option<&dyn Runtime>, set: &Set, found: &[Array]) -> Result<Distance, Diag> {
    let mut tolerances: Vec<Tolerance> = set.expected.iter().map(|(_, tolerance)| *tolerance).collect();
    let mut draws = rounds::Draws::new(check.evaluator(), set);
    loop {
        let Outside { output, near, can_widen } = match compare_outputs(check, set, found, &tolerances)? {
            Ok(total) => return Ok(total),
            Err(outside) => outside,
        };
        let before = tolerances[output];
        let wrong = |tolerance| Err(mismatch(check, runtime, set, output, near, tolerance));
        if !can_widen || !draws.widen(&mut tolerances)? {
            return wrong(before);
        }
        // What is drawn may be so much that nothing could be outside: that is no agreement.
        let rows = is_batched(check.graph.shape(check.graph.outputs[output].value));
        if compare::vacuous(&set.expected[output].0, tolerances[output], rows, rounds::is_narrow(check.graph)).is_some()
        {
            return wrong(before);
        }
    }
}

/// An output with elements outside the tolerance.
struct Outside {
    /// Its place.
    output: usize,
    near: Distance,
    /// False where the configuration's own tolerance says so.
    can_widen: bool,
}

fn compare_outputs(
    check: &Check<'_>,
    set: &Set,
    found: &[Array],
    tolerances: &[Tolerance],
) -> Result<Result<Distance, Outside>, Diag> {
    let mut total = Distance::default();
    let pairs = set.expected.iter().map(|(expected, _)| expected).zip(found);
    for (output, ((expected, found), tolerance)) in pairs.zip(tolerances).enumerate() {
        let name = &check.graph.outputs[output].name;
        let wrong = |why: String| Diag::new(Code::Mismatch, name, format!("{}{why}", against_whom(set.origin)));
        let mut near = compare::distance(expected, found, *tolerance).map_err(wrong)?;
        let mut can_widen = true;
        if let (Some(fixed), Origin::Evaluator) = (fixed(check.spec), set.origin) {
            let strict = compare::distance(expected, found, fixed).map_err(wrong)?;
            can_widen = strict.outside == 0;
            near.outside = near.outside.max(strict.outside);
        }
        if near.outside > 0 {
            return Ok(Err(Outside { output, near, can_widen }));
        }
        total = total.join(near);
    }
    Ok(Ok(total))
}

fn against_whom(origin: Origin) -> &'static str {
    match origin {
        Origin::Evaluator => "",
        Origin::Recorded => "against the recorded output: ",
        Origin::Oracle => "against the original framework's output: ",
    }
}

fn is_batched(shape: &[Dim]) -> bool {
    shape.first().is_some_and(|dim| dim.as_symbol() == Some(bindings::BATCH))
}

/// The tolerance of the configuration, which comes on top of the derived one.
fn fixed(spec: &VerifySpec) -> Option<Tolerance> {
    match (spec.rtol, spec.atol) {
        (None, None) => None,
        (rtol, atol) => Some(Tolerance { absolute: atol.unwrap_or(0.0), relative: rtol.unwrap_or(0.0) }),
    }
}

fn mismatch(
    check: &Check<'_>,
    runtime: Option<&dyn Runtime>,
    set: &Set,
    output: usize,
    near: Distance,
    tolerance: Tolerance,
) -> Diag {
    let output = &check.graph.outputs[output].name;
    let (whom, mut place) = (against_whom(set.origin), String::new());
    if let Some(runtime) = runtime.filter(|runtime| set.origin == Origin::Evaluator && runtime.bisects()) {
        place = format!("; {}", bisect::first_divergence(check, runtime, &set.bound, &set.inputs));
    }
    let detail = format!(
        "{whom}{} of {} elements differ by up to {:.3e} where {:.3e} is rounding{place}",
        near.outside, near.elements, near.max_abs, tolerance.absolute
    );
    let hint = match set.origin {
        Origin::Evaluator => "the output was not published; please report this with the model's architecture",
        Origin::Recorded => {
            "the graph means something else than the original model, or the recording is of another one"
        }
        Origin::Oracle => "the graph means something else than the original model; please report this",
    };
    Diag::new(Code::Mismatch, output, detail).hint(hint)
}
