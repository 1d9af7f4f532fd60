//! Is the written file right? Two opinions: the reference evaluator on the graph as it was lowered (before any pass),
//! and the written file in a runtime that we did not write.
//!
//! Inputs are seeded and fit the graph; the tolerance is derived from the rounding that this graph must suffer; an
//! output that could not have failed the check is reported as such and never counts as agreement.

pub mod bindings;
mod bisect;
pub mod compare;
mod golden;
pub mod inputs;
pub mod runtime;
pub mod structural;

use crate::job::{Level, Policy, Verification, VerifySpec};
use bindings::Bound;
use compare::{Distance, Tolerance};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{Dim, Graph};
use recast_reference::{Array, Options, Rounding, Weights, evaluate};
use runtime::{Refusal, Runtime, Session};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Everything that a check of one output needs.
pub struct Check<'a> {
    pub spec: &'a VerifySpec,
    /// As lowered.
    pub graph: &'a Graph,
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

/// Ways to fill the inputs that are tried until the check can tell something: factor and offset on what `inputs` makes.
const INPUT_STYLES: &[(f64, f64)] = &[(1.0, 0.0), (0.25, 0.5), (64.0, 128.0), (0.02, 0.0), (8.0, 0.0)];

/// Checks one output. The policy decides later what an outcome means.
pub fn verify(check: &Check<'_>) -> Outcome {
    if check.spec.policy == Policy::Off {
        return Outcome::none("verification is off", Findings::new());
    }
    let read_back = match (check.read_back)() {
        Ok(read_back) => read_back,
        Err(findings) => return Outcome::none("the output is not what was to be written", findings),
    };
    let runtime = match pick_runtime(check) {
        Ok(Some(runtime)) => runtime,
        Ok(None) => return unrun(check, read_back),
        Err(diag) => return Outcome::none("the runtime could not be loaded", diag.into()),
    };
    let outcome = against_reference(check, runtime.as_ref()).and_then(|(reference, rounding)| match check.golden {
        Some(path) => golden::verify(check, runtime.as_ref(), path, reference, &rounding),
        None => Ok(reference),
    });
    outcome.unwrap_or_else(|diag| Outcome::none(&diag.detail.clone(), diag.into()))
}

/// Nothing here runs the output: it is as good as what reading it back showed.
fn unrun(check: &Check<'_>, read_back: Option<ReadBack>) -> Outcome {
    let Some(ReadBack { by, note, distance, samples }) = read_back else {
        return Outcome::none(&format!("no runtime for '{}' files", check.runtime), Findings::new());
    };
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

fn pick_runtime(check: &Check<'_>) -> Result<Option<Box<dyn Runtime>>, Diag> {
    if check.runtime != "onnx" {
        return Ok(None);
    }
    match &check.spec.onnxruntime {
        Some(library) => Ok(Some(Box::new(runtime::onnxruntime::OnnxRuntime::open(library, check.threads)?))),
        None => Ok(Some(Box::new(runtime::embedded::Embedded { threads: check.threads }))),
    }
}

/// Reference outputs of a bound graph, exact and (where asked) with float32 rounding at random.
pub(crate) fn evaluate_pair(
    check: &Check<'_>,
    graph: &Graph,
    inputs: &[Array],
    perturb: bool,
) -> Result<(Vec<Array>, Vec<Array>), Diag> {
    let run = |rounding| {
        let options = Options { rounding, threads: check.threads };
        evaluate(graph, inputs, check.weights, &options)
    };
    let exact = run(Rounding::Exact)?;
    let perturbed = if perturb { run(Rounding::Perturbed { seed: check.spec.seed })? } else { Vec::new() };
    Ok((exact, perturbed))
}

/// The written file in a runtime, or, where the runtime lacks an op, a decomposed variant of it for each binding.
pub(crate) struct Candidate<'a> {
    check: &'a Check<'a>,
    runtime: &'a dyn Runtime,
    whole: Option<Box<dyn Session>>,
    pub note: String,
}

impl<'a> Candidate<'a> {
    pub(crate) fn load(check: &'a Check<'a>, runtime: &'a dyn Runtime) -> Result<Candidate<'a>, Diag> {
        let lacks = check.graph.nodes().iter().zip(runtime.lacks(check.graph)).find(|(_, lacks)| *lacks);
        if let Some((node, _)) = lacks {
            let what = format!("'{}' as '{}' needs it", node.op.name(), node.path);
            let note = format!("{} lacks {what}: checked in a decomposed form", runtime.name());
            return Ok(Candidate { check, runtime, whole: None, note });
        }
        match runtime.load(check.file) {
            Ok(session) => Ok(Candidate { check, runtime, whole: Some(session), note: String::new() }),
            Err(Refusal::Lacks(what)) => {
                let note = format!("{} lacks {what}: checked in a decomposed form", runtime.name());
                Ok(Candidate { check, runtime, whole: None, note })
            }
            Err(Refusal::Rejects(why)) => {
                Err(Diag::new(Code::Mismatch, "", format!("{} does not load the written file: {why}", runtime.name())))
            }
        }
    }

    pub(crate) fn run(&mut self, bound: &Bound, inputs: &[Array]) -> Result<Vec<Array>, Diag> {
        let named = bound.graph.inputs.iter().zip(inputs).map(|(input, array)| (input.name.clone(), array.clone()));
        let named: Vec<(String, Array)> = named.collect();
        let outputs: Vec<String> = bound.graph.outputs.iter().map(|output| output.name.clone()).collect();
        if let Some(session) = &mut self.whole {
            match session.run(&named, &outputs) {
                Ok(found) => return Ok(found),
                Err(Refusal::Rejects(why)) => return Err(self.rejected(&why)),
                Err(Refusal::Lacks(what)) => {
                    self.note = format!("{} lacks {what}: checked in a decomposed form", self.runtime.name());
                    self.whole = None;
                }
            }
        }
        let mut session = self.decomposed(bound)?;
        session.run(&named, &outputs).map_err(|refusal| match refusal {
            Refusal::Lacks(what) => self.unable(&what),
            Refusal::Rejects(why) => self.rejected(&why),
        })
    }

    fn decomposed(&self, bound: &Bound) -> Result<Box<dyn Session>, Diag> {
        let first = |mut found: Findings| found.pop().unwrap_or_else(|| self.unable("no finding"));
        let graph = (self.check.decompose)(&bound.graph).map_err(first)?;
        let graph = graph.ok_or_else(|| self.unable("and nothing can be decomposed"))?;
        let file = (self.check.variant)(&graph, "decomposed").map_err(first)?;
        self.runtime.load(&file).map_err(|refusal| match refusal {
            Refusal::Lacks(what) => self.unable(&what),
            Refusal::Rejects(why) => self.rejected(&why),
        })
    }

    fn unable(&self, what: &str) -> Diag {
        let detail = format!("{}; {what}", self.note);
        Diag::new(Code::NotVerified, "", detail).hint(
            "configure ONNX Runtime ([verify] onnxruntime = \"/path/libonnxruntime.so\"), or policy = \"best-effort\"",
        )
    }

    fn rejected(&self, why: &str) -> Diag {
        Diag::new(Code::Mismatch, "", format!("{} fails on the written file: {why}", self.runtime.name()))
    }
}

/// One comparison that counts.
struct Round {
    distance: Distance,
    rows: u64,
    /// Outputs that could not have failed, with the reason.
    vacuous: Vec<(String, &'static str)>,
}

/// The rounding that a graph suffers: measured anew for each set of inputs, or, where one evaluation takes long, once.
#[derive(Default)]
pub(crate) struct Rounds {
    /// Per output: the exact result, and the tolerance derived from it.
    measured: Option<Vec<(Array, Tolerance)>>,
}

/// An evaluation that takes longer is not done twice for the same graph.
const EVALUATION_SLOW: Duration = Duration::from_millis(150);

impl Rounds {
    /// Reference outputs, and how far from them another float32 run may be.
    pub(crate) fn evaluate(
        &mut self,
        check: &Check<'_>,
        graph: &Graph,
        inputs: &[Array],
    ) -> Result<Vec<(Array, Tolerance)>, Diag> {
        let started = Instant::now();
        let (exact, _) = evaluate_pair(check, graph, inputs, false)?;
        if let Some(measured) = &self.measured {
            return Ok(carried(measured, exact));
        }
        let slow = started.elapsed() > EVALUATION_SLOW;
        let options = Options { rounding: Rounding::Perturbed { seed: check.spec.seed }, threads: check.threads };
        let perturbed = evaluate(graph, inputs, check.weights, &options)?;
        let derived = exact.into_iter().zip(&perturbed).map(|(exact, perturbed)| {
            let tolerance = Tolerance::derived(&exact, perturbed);
            (exact, tolerance)
        });
        let derived: Vec<(Array, Tolerance)> = derived.collect();
        if slow {
            self.measured = Some(derived.clone());
        }
        Ok(derived)
    }

    /// The tolerance for outputs that somebody else computed; `None` where they have to be evaluated first.
    pub(crate) fn known(&self, expected: &[Array]) -> Option<Vec<Tolerance>> {
        let carried = |(measured, expected): (&(Array, Tolerance), &Array)| measured.1.carried(&measured.0, expected);
        self.measured.as_ref().map(|measured| measured.iter().zip(expected).map(carried).collect())
    }
}

fn carried(measured: &[(Array, Tolerance)], exact: Vec<Array>) -> Vec<(Array, Tolerance)> {
    let carry = |(measured, exact): (&(Array, Tolerance), Array)| {
        let tolerance = measured.1.carried(&measured.0, &exact);
        (exact, tolerance)
    };
    measured.iter().zip(exact).map(carry).collect()
}

fn against_reference(check: &Check<'_>, runtime: &dyn Runtime) -> Result<(Outcome, Rounds), Diag> {
    let bounds = bindings::choose(check.graph)?;
    let mut candidate = Candidate::load(check, runtime)?;
    let mut total = Distance::default();
    let mut samples = 0;
    let mut rounding = Rounds::default();
    // The smaller batch first: where an evaluation takes long, the rounding is measured there.
    for (index, bound) in bounds.iter().enumerate().rev() {
        let mut context = Context { check, runtime, candidate: &mut candidate, rounding: &mut rounding, bound };
        let round = telling_round(&mut context, index as u64)?;
        // Recorded outputs say more than any input of ours: where there are some, they decide.
        if let Some((output, reason)) = round.vacuous.first().filter(|_| check.golden.is_none()) {
            let detail = format!("output '{output}' tells nothing for {} kinds of input: {reason}", INPUT_STYLES.len());
            let hint = "record inputs and outputs of the original framework in NAME.golden.npz beside the artifact";
            return Err(Diag::new(Code::VacuousCheck, output, detail).hint(hint));
        }
        total = total.join(round.distance);
        samples += round.rows;
    }
    let verification = Verification {
        level: Level::Reference,
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
    Ok((Outcome { verification, findings }, rounding))
}

/// What the rounds of one binding share.
struct Context<'c, 'a> {
    check: &'c Check<'a>,
    runtime: &'c dyn Runtime,
    candidate: &'c mut Candidate<'a>,
    rounding: &'c mut Rounds,
    bound: &'c Bound,
}

/// Tries one kind of input after the other until every output tells something; the last round when none does.
fn telling_round(context: &mut Context<'_, '_>, index: u64) -> Result<Round, Diag> {
    let base = inputs::make(&context.bound.graph, context.check.spec.seed.wrapping_add(index));
    let mut last = None;
    let mut first_vacuous: Option<Round> = None;
    for &(factor, offset) in INPUT_STYLES {
        let styled: Vec<Array> = base.iter().map(|array| array.styled(factor, offset)).collect();
        if last.as_ref() == Some(&styled) {
            break;
        }
        let round = round(context, &styled)?;
        if round.vacuous.is_empty() {
            return Ok(round);
        }
        first_vacuous.get_or_insert(round);
        last = Some(styled);
    }
    first_vacuous.ok_or_else(|| Diag::new(Code::Bug, "", "no kind of input was tried"))
}

fn round(context: &mut Context<'_, '_>, inputs: &[Array]) -> Result<Round, Diag> {
    let (check, bound) = (context.check, context.bound);
    let expected = context.rounding.evaluate(check, &bound.graph, inputs)?;
    let found = context.candidate.run(bound, inputs)?;
    let mut result = Round { distance: Distance::default(), rows: 0, vacuous: Vec::new() };
    for ((output, (exact, tolerance)), found) in check.graph.outputs.iter().zip(&expected).zip(&found) {
        let mut near =
            compare::distance(exact, found, *tolerance).map_err(|why| Diag::new(Code::Mismatch, &output.name, why))?;
        if let Some(fixed) = fixed(check.spec) {
            let strict = compare::distance(exact, found, fixed);
            near.outside = near.outside.max(strict.map_or(0, |distance| distance.outside));
        }
        if near.outside > 0 {
            return Err(mismatch(context, inputs, &output.name, near, *tolerance));
        }
        let rows = is_batched(check.graph.shape(output.value));
        if let Some(reason) = compare::vacuous(exact, *tolerance, rows) {
            result.vacuous.push((output.name.clone(), reason));
        }
        result.rows = result.rows.max(exact.shape.first().copied().unwrap_or(1) as u64);
        result.distance = result.distance.join(near);
    }
    Ok(result)
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

fn mismatch(context: &Context<'_, '_>, inputs: &[Array], output: &str, near: Distance, tolerance: Tolerance) -> Diag {
    let place = bisect::first_divergence(context.check, context.runtime, context.bound, inputs);
    let detail = format!(
        "{} of {} elements differ by up to {:.3e} where {:.3e} is rounding; {place}",
        near.outside, near.elements, near.max_abs, tolerance.absolute
    );
    let hint = "the output was not published; please report this with the model's architecture";
    Diag::new(Code::Mismatch, output, detail).hint(hint)
}
