//! What a check asks: inputs, the outputs that they must give, and how far from those another float32 run may be.

use super::bindings::{self, Bound};
use super::compare::{self, Tolerance};
use super::{inputs, is_batched};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{DType, Graph, Output, ValueId};
use recast_reference::{Array, Options, Rounding, Weights, evaluate};
use std::time::{Duration, Instant};

/// Ways to fill the inputs that are tried until the check can tell something: factor and offset on what `inputs` makes.
/// The last are all above one: for logarithms, roots and the like.
pub const INPUT_STYLES: &[(f64, f64)] =
    &[(1.0, 0.0), (0.25, 0.5), (64.0, 128.0), (0.02, 0.0), (8.0, 0.0), (0.125, 2.0)];

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

    /// With float32 rounding at random: always the same for one seed.
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
        self.vacuous_within(graph, |_, tolerance| tolerance)
    }

    fn vacuous_within(
        &self,
        graph: &Graph,
        within: impl Fn(&Array, Tolerance) -> Tolerance,
    ) -> Vec<(usize, &'static str)> {
        let narrow = is_narrow(graph);
        let outputs = graph.outputs.iter().zip(&self.expected).enumerate();
        let reason = |(index, (output, (exact, tolerance))): (usize, (&Output, &(Array, _)))| {
            let rows = is_batched(graph.shape(output.value));
            compare::vacuous(exact, within(exact, *tolerance), rows, narrow).map(|reason| (index, reason))
        };
        outputs.filter_map(reason).collect()
    }

    /// Some output could not fail, and could if nothing but the last digits were allowed to differ.
    fn is_mute_by_tolerance(&self, graph: &Graph) -> bool {
        let whatever = self.vacuous_within(graph, |exact, _| Tolerance::derived(exact, exact));
        self.vacuous(graph).iter().any(|(index, _)| whatever.iter().all(|(other, _)| other != index))
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

    /// The tolerances for these very inputs, which those of other inputs are carried over from then on.
    fn measure(&mut self, evaluator: &Evaluator<'_>, set: &mut Set) -> Result<(), Diag> {
        let perturbed = evaluator.perturbed(&set.bound.graph, &set.inputs)?;
        for ((exact, tolerance), perturbed) in set.expected.iter_mut().zip(&perturbed) {
            *tolerance = Tolerance::derived(exact, perturbed);
        }
        self.measured = Some(set.expected.clone());
        Ok(())
    }

    /// The tolerance for outputs that somebody else computed; `None` where they have to be evaluated first.
    pub fn known(&self, expected: &[Array]) -> Option<Vec<Tolerance>> {
        let carried = |(measured, expected): (&(Array, Tolerance), &Array)| measured.1.carried(&measured.0, expected);
        self.measured.as_ref().map(|measured| measured.iter().zip(expected).map(carried).collect())
    }
}

/// Draws of the rounding at the inputs of one set, for outputs that are farther off than it said.
///
/// What a set says may be carried over from other inputs, and it is one draw: both fail where a single rounding decides
/// how far an output is off, as in a spectrogram that is normalised by its least logarithm. How small the smallest
/// magnitude is depends on the input, not on the output's scale; and one draw of that rounding, uniform in [-1, 1], may
/// come out at any part of its bound. A run that is off by r of the bound exceeds the room that `Tolerance` leaves over
/// the largest of n draws with probability (r / 4)^n: one time in 1,280 for four draws and any r.
pub struct Draws<'a> {
    evaluator: Evaluator<'a>,
    set: &'a Set,
    /// The set's own where the evaluator said what the outputs must be.
    exact: Option<Vec<Array>>,
    drawn: u64,
}

/// After so many an output is wrong.
const DRAWS_MAX: u64 = 4;

impl<'a> Draws<'a> {
    pub fn new(evaluator: Evaluator<'a>, set: &'a Set) -> Draws<'a> {
        Draws { evaluator, set, exact: None, drawn: 0 }
    }

    /// One more draw: what each output may be off by, where that is more than all before it said. False when enough
    /// have been drawn.
    pub fn widen(&mut self, tolerances: &mut [Tolerance]) -> Result<bool, Diag> {
        if self.drawn == DRAWS_MAX {
            return Ok(false);
        }
        self.drawn += 1;
        let (graph, inputs) = (&self.set.bound.graph, &self.set.inputs);
        let evaluator = Evaluator { seed: self.evaluator.seed.wrapping_add(self.drawn), ..self.evaluator };
        let perturbed = evaluator.perturbed(graph, inputs)?;
        let exact = match self.exact.take() {
            Some(exact) => exact,
            None if self.set.origin == Origin::Evaluator => {
                self.set.expected.iter().map(|(exact, _)| exact.clone()).collect()
            }
            None => evaluator.exact(graph, inputs)?,
        };
        for ((tolerance, exact), perturbed) in tolerances.iter_mut().zip(&exact).zip(&perturbed) {
            let drawn = Tolerance::derived(exact, perturbed);
            // The others compute in float32, too.
            let drawn = if self.set.origin == Origin::Evaluator { drawn } else { drawn.doubled() };
            *tolerance = tolerance.joined(drawn);
        }
        self.exact = Some(exact);
        Ok(true)
    }
}

/// Is something on the way computed in half precision?
pub fn is_narrow(graph: &Graph) -> bool {
    let half = |value: &ValueId| matches!(graph.ty(*value).dtype, DType::F16 | DType::BF16);
    graph.nodes().iter().any(|node| node.outputs.iter().any(half))
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
    let mut style = 0;
    // The smaller batch first: where an evaluation takes long, the rounding is measured there.
    let bounds = bounds.into_iter().enumerate().rev();
    bounds.map(|(index, bound)| telling(evaluator, graph, rounding, bound, (index as u64, &mut style))).collect()
}

/// Tries one kind of input after the other until every output tells something; the first when none does. It begins with
/// the kind that did so for the set before: the rounding that was measured there says little of other kinds. A
/// recurrent net may be chaotic for one, and exact to the last digits for the next.
fn telling(
    evaluator: &Evaluator<'_>,
    graph: &Graph,
    rounding: &mut Rounds,
    bound: Bound,
    (index, style): (u64, &mut usize),
) -> Result<Set, Diag> {
    let base = inputs::make(&bound.graph, evaluator.seed.wrapping_add(index));
    let mut first: Option<Set> = None;
    let mut last = None;
    let begin = *style;
    for at in (0..INPUT_STYLES.len()).map(|step| (begin + step) % INPUT_STYLES.len()) {
        let (factor, offset) = INPUT_STYLES[at];
        let inputs: Vec<Array> = base.iter().map(|array| array.styled(factor, offset)).collect();
        if last.as_ref() == Some(&inputs) {
            break;
        }
        let is_guess = rounding.measured.is_some();
        let expected = rounding.evaluate(evaluator, &bound.graph, &inputs)?;
        last = Some(inputs.clone());
        let bound = Bound { sizes: bound.sizes.clone(), graph: bound.graph.clone() };
        let mut set = Set { bound, inputs, expected, origin: Origin::Evaluator };
        if is_guess && set.is_mute_by_tolerance(graph) {
            rounding.measure(evaluator, &mut set)?;
        }
        if set.vacuous(graph).is_empty() {
            *style = at;
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

#[cfg(test)]
mod tests {
    use super::*;
    use recast_plugin_api::ir::{BinaryFunction, DType, Type, UnaryFunction};
    use recast_reference::Files;

    /// y = log(sqrt(a) - sqrt(b)): of the same size for any inputs, and as much off as the difference is small.
    fn graph() -> Graph {
        let mut graph = Graph::new("");
        let inputs = ["a", "b"].map(|name| graph.input(name, Type::known(DType::F32, &[1, 2])));
        let scaled = inputs.map(|x| graph.unary("", UnaryFunction::Sqrt, x).expect("floats"));
        let least = graph.binary("", BinaryFunction::Sub, scaled[0], scaled[1]).expect("same shapes");
        let y = graph.unary("", UnaryFunction::Log, least).expect("floats");
        graph.output("y", y);
        graph
    }

    /// The second element of sqrt(a) - sqrt(b) is `gap`.
    fn given(gap: f64) -> Vec<Array> {
        let array = |values: [f64; 2]| Array::floats(DType::F32, vec![1, 2], values.to_vec());
        vec![array([90_000.0, (1.0 + gap).powi(2)]), array([4.0, 1.0])]
    }

    fn evaluator<'a>(weights: &'a Files<'a>) -> Evaluator<'a> {
        Evaluator { weights, seed: 7, threads: 1 }
    }

    /// What float32 arithmetic makes of it.
    fn plain(inputs: &[Array]) -> Array {
        let roots = |array: &Array| array.numbers().iter().map(|&v| (v as f32).sqrt()).collect::<Vec<f32>>();
        let (a, b) = (roots(&inputs[0]), roots(&inputs[1]));
        let values = a.iter().zip(&b).map(|(a, b)| f64::from((a - b).ln())).collect();
        Array::floats(DType::F32, vec![1, 2], values)
    }

    /// The tolerance is carried over from inputs where nothing cancels to ones where much does.
    fn carried_over(weights: &Files<'_>) -> Set {
        let (graph, evaluator) = (graph(), evaluator(weights));
        let mut rounds = Rounds::default();
        let measured = rounds.evaluate(&evaluator, &graph, &given(2.0)).expect("evaluates");
        rounds.measured = Some(measured);
        let inputs = given(1e-4);
        let expected = rounds.evaluate(&evaluator, &graph, &inputs).expect("evaluates");
        Set { bound: Bound { sizes: Default::default(), graph }, inputs, expected, origin: Origin::Evaluator }
    }

    fn outside(set: &Set, tolerance: Tolerance, found: &Array) -> u64 {
        compare::distance(&set.expected[0].0, found, tolerance).expect("the same shape").outside
    }

    #[test]
    fn what_other_inputs_say_is_drawn_anew_where_it_is_exceeded() {
        let weights = Files::none();
        let set = carried_over(&weights);
        let found = plain(&set.inputs);
        let mut tolerances = vec![set.expected[0].1];
        assert_eq!(outside(&set, tolerances[0], &found), 1, "nothing to mend: the guess was good");
        let mut draws = Draws::new(evaluator(&weights), &set);
        let mut count = 0;
        while outside(&set, tolerances[0], &found) > 0 && draws.widen(&mut tolerances).expect("evaluates") {
            count += 1;
        }
        assert_eq!(outside(&set, tolerances[0], &found), 0, "{count} draws give {:?}", tolerances[0]);
    }

    /// y = tanh(x) + sin(1e8 max(x - 0.9, 0)): large inputs and any rounding give any result, small ones don't.
    #[test]
    fn a_kind_of_input_that_tells_nothing_leaves_the_others_their_own_rounding() {
        let weights = Files::none();
        let evaluator = evaluator(&weights);
        let mut graph = Graph::new("");
        let x = graph.input("x", Type::known(DType::F32, &[2, 16]));
        let above = graph.binary_scalar("", BinaryFunction::Sub, x, 0.9).expect("floats");
        let above = graph.unary("", UnaryFunction::Relu, above).expect("floats");
        let fast = graph.binary_scalar("", BinaryFunction::Mul, above, 1e8).expect("floats");
        let wild = graph.unary("", UnaryFunction::Sin, fast).expect("floats");
        let tame = graph.unary("", UnaryFunction::Tanh, x).expect("floats");
        let y = graph.binary("", BinaryFunction::Add, tame, wild).expect("same shapes");
        graph.output("y", y);
        let mut rounds = Rounds::default();
        let inputs = inputs::make(&graph, evaluator.seed);
        rounds.measured = Some(rounds.evaluate(&evaluator, &graph, &inputs).expect("evaluates"));
        let mut style = 0;
        let bound = Bound { sizes: Default::default(), graph: graph.clone() };
        let set = telling(&evaluator, &graph, &mut rounds, bound, (0, &mut style)).expect("evaluates");
        assert_eq!((set.vacuous(&graph), style), (Vec::new(), 3), "{:?}", set.expected[0].1);
    }

    #[test]
    fn a_wrong_result_stays_wrong_whatever_is_drawn() {
        let weights = Files::none();
        let set = carried_over(&weights);
        // As a constant too many would do it: log(sqrt(a) - sqrt(b) + 1e-6).
        let mut wrong = plain(&set.inputs).numbers();
        wrong[1] = (wrong[1].exp() + 1e-6).ln();
        let found = Array::floats(DType::F32, vec![1, 2], wrong);
        let mut tolerances = vec![set.expected[0].1];
        let mut draws = Draws::new(evaluator(&weights), &set);
        let mut count = 0;
        while draws.widen(&mut tolerances).expect("evaluates") {
            count += 1;
        }
        assert_eq!((count, outside(&set, tolerances[0], &found)), (DRAWS_MAX, 1), "{:?}", tolerances[0]);
    }
}
