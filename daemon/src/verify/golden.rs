//! The third opinion: outputs that the user recorded from the original framework.

use super::bindings::{self, Bound};
use super::compare::Tolerance;
use super::rounds::{Origin, Rounds, Set};
use super::{Check, is_batched};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::Graph;
use recast_reference::Array;
use recast_reference::npz::read_npz;
use std::path::Path;

/// Rows of a recorded batch that are compared at once with the f64 evaluator.
const ROWS_MAX: usize = 4;

/// Recorded arrays in graph order: by the tensor's own name, or as `x0`, `x1` / `y0`, `y1`.
fn take(arrays: &[(String, Array)], names: &[&str], letter: char) -> Result<Vec<Array>, Diag> {
    let find = |key: &str| arrays.iter().find(|(name, _)| name == key).map(|(_, array)| array.clone());
    let one = |(index, name): (usize, &&str)| {
        let numbered = format!("{letter}{index}");
        find(&numbered).or_else(|| find(name)).ok_or_else(|| {
            let held: Vec<&str> = arrays.iter().map(|(name, _)| name.as_str()).collect();
            let detail = format!("neither '{numbered}' nor '{name}' is recorded; there are: {}", held.join(", "));
            Diag::new(Code::GoldenInvalid, *name, detail)
        })
    };
    names.iter().enumerate().map(one).collect()
}

fn recorded(graph: &Graph, path: &Path) -> Result<(Vec<Array>, Vec<Array>), Diag> {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arrays = read_npz(path).map_err(|diag| Diag { code: Code::GoldenInvalid, at: file, ..diag })?;
    let inputs: Vec<&str> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
    let outputs: Vec<&str> = graph.outputs.iter().map(|output| output.name.as_str()).collect();
    let mut given = take(&arrays, &inputs, 'x')?;
    for (array, input) in given.iter_mut().zip(&graph.inputs) {
        // numpy likes float64 and int64; the model takes what it takes.
        *array = array.cast(graph.ty(input.value).dtype);
    }
    Ok((given, take(&arrays, &outputs, 'y')?))
}

/// The recorded inputs, and the graph with their sizes, to compare two graphs on.
pub fn inputs(graph: &Graph, path: &Path) -> Result<(Bound, Vec<Array>), Diag> {
    let (inputs, expected) = recorded(graph, path)?;
    let (inputs, _) = first_rows(graph, inputs, expected);
    Ok((bound_to(graph, &inputs)?, inputs))
}

fn bound_to(graph: &Graph, inputs: &[Array]) -> Result<Bound, Diag> {
    let shapes: Vec<Vec<u64>> = inputs.iter().map(|a| a.shape.iter().map(|&n| n as u64).collect()).collect();
    bindings::from_shapes(graph, &shapes)
}

/// The recorded inputs, and the recorded outputs as what they must give. Another float32 framework computed them, so
/// both sides carry rounding.
pub fn set(check: &Check<'_>, path: &Path, rounding: &Rounds) -> Result<Set, Diag> {
    let (inputs, expected) = recorded(check.graph, path)?;
    let (inputs, expected) = first_rows(check.graph, inputs, expected);
    let bound = bound_to(check.graph, &inputs)?;
    let carried = rounding.known(&expected);
    let is_guess = carried.is_some();
    let tolerances = carried.map_or_else(|| measured(check, &bound.graph, &inputs), Ok)?;
    let expected = expected.into_iter().zip(tolerances.into_iter().map(Tolerance::doubled)).collect();
    let mut set = Set { bound, inputs, expected, origin: Origin::Recorded };
    let tells_nothing = |set: &Set| set.vacuous(check.graph).len() == check.graph.outputs.len();
    if is_guess && tells_nothing(&set) {
        // Made-up inputs may suffer far more rounding than recorded ones.
        let drawn = measured(check, &set.bound.graph, &set.inputs)?;
        set.expected.iter_mut().zip(drawn).for_each(|((_, tolerance), drawn)| *tolerance = drawn.doubled());
    }
    if tells_nothing(&set) {
        let vacuous = set.vacuous(check.graph);
        let reason = vacuous.first().map_or("there is none", |(_, reason)| reason);
        let detail = format!("no recorded output tells anything beyond what rounding may do: {reason}");
        return Err(Diag::new(Code::VacuousCheck, "", detail));
    }
    Ok(set)
}

/// The rounding that the graph suffers for these inputs.
fn measured(check: &Check<'_>, graph: &Graph, inputs: &[Array]) -> Result<Vec<Tolerance>, Diag> {
    let evaluator = check.evaluator();
    let (exact, perturbed) = (evaluator.exact(graph, inputs)?, evaluator.perturbed(graph, inputs)?);
    Ok(exact.iter().zip(&perturbed).map(|(exact, perturbed)| Tolerance::derived(exact, perturbed)).collect())
}

/// The first rows of everything, where every input and output has the batch first.
fn first_rows(graph: &Graph, inputs: Vec<Array>, outputs: Vec<Array>) -> (Vec<Array>, Vec<Array>) {
    let values = graph.inputs.iter().map(|input| input.value).chain(graph.outputs.iter().map(|output| output.value));
    let batched = values.into_iter().all(|value| is_batched(graph.shape(value)));
    if !batched {
        return (inputs, outputs);
    }
    let cut = |arrays: Vec<Array>| arrays.into_iter().map(|array| array.first_rows(ROWS_MAX)).collect();
    (cut(inputs), cut(outputs))
}
