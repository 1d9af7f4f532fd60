//! Where the artifact holds the model twice, as layers and as the graph that its own framework traced
//! (`LayerModel::traced`), the traced graph is a witness of our reading of the layers: both are lowered by different
//! rules, and must compute the same.

use super::compare;
use super::rounds::{Origin, Set};
use super::{Check, Outcome, bindings};
use crate::job::Level;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::Graph;
use recast_reference::Array;

/// Evaluates the witness on the inputs of each set, and compares. False where there is none, or where its inputs and
/// outputs are called otherwise, so that nobody can tell which is which.
pub fn agrees(check: &Check<'_>, sets: &[Set]) -> Result<bool, Diag> {
    let Some(witness) = check.witness else { return Ok(false) };
    let (Some(inputs), Some(outputs)) =
        (order(&names_in(witness), &names_in(check.graph)), order(&names_out(check.graph), &names_out(witness)))
    else {
        return Ok(false);
    };
    for set in sets.iter().filter(|set| set.origin == Origin::Evaluator) {
        let given: Vec<Array> = inputs.iter().map(|&at| set.inputs[at].clone()).collect();
        let shapes: Vec<Vec<u64>> = given.iter().map(|a| a.shape.iter().map(|&n| n as u64).collect()).collect();
        let bound = bindings::from_shapes(witness, &shapes)?;
        let found = check.evaluator().exact(&bound.graph, &given)?;
        for ((output, (expected, tolerance)), &at) in check.graph.outputs.iter().zip(&set.expected).zip(&outputs) {
            let wrong = |why: String| {
                Diag::new(Code::Mismatch, &output.name, format!("against the graph that the artifact holds: {why}"))
                    .hint("the layers were lowered to something else than their framework traced; please report this")
            };
            let near = compare::distance(expected, &found[at], tolerance.doubled()).map_err(wrong)?;
            if near.outside > 0 {
                return Err(wrong(format!(
                    "{} of {} elements differ by up to {:.3e} where {:.3e} is rounding",
                    near.outside, near.elements, near.max_abs, tolerance.absolute
                )));
            }
        }
    }
    Ok(true)
}

/// A check in which the witness agreed is worth more than one without.
pub fn raised(mut outcome: Outcome, witnessed: bool) -> Outcome {
    if witnessed {
        outcome.verification.level = outcome.verification.level.max(Level::Witness);
    }
    outcome
}

fn names_in(graph: &Graph) -> Vec<&str> {
    graph.inputs.iter().map(|input| input.name.as_str()).collect()
}

fn names_out(graph: &Graph) -> Vec<&str> {
    graph.outputs.iter().map(|output| output.name.as_str()).collect()
}

/// For each of `names`, its place among `others`; one and one belong together whatever they are called.
fn order(names: &[&str], others: &[&str]) -> Option<Vec<usize>> {
    if let ([_], [_]) = (names, others) {
        return Some(vec![0]);
    }
    let place = |name: &&str| others.iter().position(|other| other == name);
    names.iter().map(place).collect::<Option<Vec<usize>>>().filter(|_| names.len() == others.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_where_there_are_several() {
        assert_eq!(order(&["a", "b"], &["b", "a"]), Some(vec![1, 0]));
        assert_eq!(order(&["x"], &["input_1"]), Some(vec![0]));
        assert_eq!(order(&["a", "b"], &["a", "c"]), None);
        assert_eq!(order(&["a"], &["a", "b"]), None);
    }
}
