//! The original framework, asked on the spot: what the artifact gives for the inputs of the check.

use super::Check;
use super::bindings::Bound;
use super::candidate::{could_not, question};
use super::rounds::{Origin, Set};
use super::runtime::{Question, Refusal};
use recast_plugin_api::diag::Diag;

/// The same questions, with the framework's outputs as what they must give. It computes in float32, so both sides carry
/// rounding.
pub fn sets(check: &Check<'_>, asked: &[Set]) -> Result<Vec<Set>, Diag> {
    let questions: Vec<Question> = asked.iter().map(question).collect();
    let answers = check.commands.ask_oracle(check.artifact, &questions).map_err(|refusal| match refusal {
        Refusal::Fails(why) | Refusal::Lacks(why) | Refusal::Rejects(why) => {
            could_not("oracle", &why, "mend the command under [verify.oracle], or take it out to do without")
        }
    })?;
    let set = |(set, answer): (&Set, Vec<recast_reference::Array>)| {
        let tolerances = set.expected.iter().map(|(_, tolerance)| tolerance.doubled());
        Set {
            bound: Bound { sizes: set.bound.sizes.clone(), graph: set.bound.graph.clone() },
            inputs: set.inputs.clone(),
            expected: answer.into_iter().zip(tolerances).collect(),
            origin: Origin::Oracle,
        }
    };
    Ok(asked.iter().zip(answers).map(set).collect())
}
