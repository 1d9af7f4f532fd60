//! What a check asks: inputs, the outputs that they must give, and how far from those another float32 run may be.

use super::bindings::{self, Bound};
use super::compare::{self, Tolerance};
use super::{inputs, is_batched};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{DType, Graph, Node, Output};
use recast_reference::{Array, Options, Rounding, Weights, evaluate};
use std::time::{Duration, Instant};

/// Ways to fill the inputs that are tried until the check can tell something: factor and offset on what `inputs` makes.
pub const INPUT_STYLES: &[(f64, f64)] = &[(1.0, 0.0), (0.25, 0.5), (64.0, 128.0), (0.02, 0.0), (8.0, 0.0)];

/// An evaluation that takes longer is not done twice for the same graph.
const EVALUATION_SLOW: Duration = Duration::from_millis(150);

/// The reference evaluator on graphs over the same weights.
#[derive(Clone, Copy)]
pub struct Evaluator<'a> {
    pub weights: &'a (dyn Weights + Sync),
    pub seed: u64,
    pub threads: usize,
}

impl Evaluator<'_> {
    pub fn exact(&self, graph: &Graph, inputs: &[Array]) -> Result<Vec<Array>, Diag> {
        self.run(graph, inputs, Rounding::Exact)
    }

    /// With float32 rounding at random.
    pub fn perturbed(&self, graph: &Graph, inputs: &[Array]) -> Result<Vec<Array>, Diag> {
        self.run(graph, inputs, Rounding::Perturbed { seed: self.seed })
    }

    fn run(&self, graph: &Graph, inputs: &[Array], rounding: Rounding) -> Result<Vec<Array>, Diag> {
        evaluate(graph, inputs, self.weights, &Options { rounding, threads: self.threads })
    }
}

/// Who says what the outputs must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Evaluator,
    Recorded,
    Oracle,
}

/// One question to the written file.
pub struct Set {
    pub bound: Bound,
    pub inputs: Vec<Array>,
    pub expected: Vec<(Array, Tolerance)>,
    pub origin: Origin,
}

impl Set {
    /// Outputs (by place) that could not fail this question, with the reason.
    pub fn vacuous(&self, graph: &Graph) -> Vec<(usize, &'static str)> {
        let narrow =
            |node: &Node| node.outputs.iter().any(|&value| matches!(graph.ty(value).dtype, DType::F16 | DType::BF16));
        let narrow = graph.nodes().iter().any(narrow);
        let outputs = graph.outputs.iter().zip(&self.expected).enumerate();
        let reason = |(index, (output, (exact, tolerance))): (usize, (&Output, &(Array, _)))| {
            let rows = is_batched(graph.shape(output.value));
            compare::vacuous(exact, *tolerance, rows, narrow).map(|reason| (index, reason))
        };
        outputs.filter_map(reason).collect()
    }

    /// Rows of the outputs.
    pub fn rows(&self) -> u64 {
        let rows = |(array, _): &(Array, Tolerance)| array.shape.first().copied().unwrap_or(1) as u64;
        self.expected.iter().map(rows).max().unwrap_or(0)
    }
}

/// The rounding that a graph suffers: measured anew for each set of inputs, or, where one evaluation takes long, once.
#[derive(Default)]
pub struct Rounds {
    /// Per output: the exact result, and the tolerance derived from it.
    measured: Option<Vec<(Array, Tolerance)>>,
}

impl Rounds {
    /// Reference outputs, and how far from them another float32 run may be.
    pub fn evaluate(
        &mut self,
        evaluator: &Evaluator<'_>,
        graph: &Graph,
        inputs: &[Array],
    ) -> Result<Vec<(Array, Tolerance)>, Diag> {
        let started = Instant::now();
        let exact = evaluator.exact(graph, inputs)?;
        if let Some(measured) = &self.measured {
            return Ok(carried(measured, exact));
        }
        let slow = started.elapsed() > EVALUATION_SLOW;
        let perturbed = evaluator.perturbed(graph, inputs)?;
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
    pub fn known(&self, expected: &[Array]) -> Option<Vec<Tolerance>> {
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

/// Two batch sizes and two lengths of everything free, each with inputs to which every output says something, as far as
/// any kind of input makes it.
pub fn plan(evaluator: &Evaluator<'_>, graph: &Graph, rounding: &mut Rounds) -> Result<Vec<Set>, Diag> {
    let bounds = bindings::choose(graph)?;
    // The smaller batch first: where an evaluation takes long, the rounding is measured there.
    let bounds = bounds.into_iter().enumerate().rev();
    bounds.map(|(index, bound)| telling(evaluator, graph, rounding, bound, index as u64)).collect()
}

/// Tries one kind of input after the other until every output tells something; the first when none does.
fn telling(
    evaluator: &Evaluator<'_>,
    graph: &Graph,
    rounding: &mut Rounds,
    bound: Bound,
    index: u64,
) -> Result<Set, Diag> {
    let base = inputs::make(&bound.graph, evaluator.seed.wrapping_add(index));
    let mut first: Option<Set> = None;
    let mut last = None;
    for &(factor, offset) in INPUT_STYLES {
        let inputs: Vec<Array> = base.iter().map(|array| array.styled(factor, offset)).collect();
        if last.as_ref() == Some(&inputs) {
            break;
        }
        let expected = rounding.evaluate(evaluator, &bound.graph, &inputs)?;
        last = Some(inputs.clone());
        let bound = Bound { sizes: bound.sizes.clone(), graph: bound.graph.clone() };
        let set = Set { bound, inputs, expected, origin: Origin::Evaluator };
        if set.vacuous(graph).is_empty() {
            return Ok(set);
        }
        first.get_or_insert(set);
    }
    first.ok_or_else(|| Diag::new(Code::Bug, "", "no kind of input was tried"))
}

/// The finding that no kind of input makes an output say something.
pub fn tells_nothing(sets: &[Set], graph: &Graph) -> Option<Diag> {
    let (output, reason) = sets.iter().find_map(|set| set.vacuous(graph).first().copied())?;
    let output = &graph.outputs[output].name;
    let detail = format!("output '{output}' tells nothing for {} kinds of input: {reason}", INPUT_STYLES.len());
    let hint = "record inputs and outputs of the original framework in NAME.golden.npz beside the artifact";
    Some(Diag::new(Code::VacuousCheck, output, detail).hint(hint))
}
