//! The cells of a recurrent layer: one, a stack of them, or one whose input is added to its output. Each runs over the
//! whole sequence before the next: the same as layers on top of each other that all return sequences and see one mask.

use super::cell::{self, Cell};
use super::scan::{self, Walk};
use super::{Call, Options, Ran, check_states, run, width, zero_turned};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{BinaryFunction, ValueId, Where};
use recast_plugin_api::lower::{Config, Lowering};
use recast_plugin_api::model::Layer;

/// Deepest nesting of cells.
const DEPTH_MAX: usize = 32;

/// Cells with their weights taken.
enum Part {
    Standard(Box<Cell>),
    Stack {
        parts: Vec<Part>,
        /// The states of the last cell come first.
        reversed: bool,
    },
    Residual(Box<Part>),
}

/// Runs a layer's cell over its sequence.
pub fn run_cells(l: &mut Lowering<'_>, cell: &Layer, call: &Call, options: &Options) -> Result<Ran, Findings> {
    let input = width(l, call.x)?;
    let (part, _) = read(l, cell, input, DEPTH_MAX)?;
    check_states(l, call.states.len(), part.states())?;
    let mut states = call.states.clone().into_iter();
    let turned = options.zeroes_turned(call);
    let inside = Options { zero_masked: options.zero_masked && !turned, ..*options };
    let ran = part.run(l, call, &inside, &mut states)?;
    if turned { zero_turned(l, ran, call) } else { Ok(ran) }
}

/// The cell, and the size of what it gives.
fn read(l: &mut Lowering<'_>, cell: &Layer, input: u64, depth: usize) -> Result<(Part, u64), Findings> {
    if cell::is_standard(&cell.class) {
        let cell = cell::read(l, cell, input)?;
        let units = cell.units;
        return Ok((Part::Standard(Box::new(cell)), units));
    }
    let config = Config::new(&cell.path, &cell.config)?;
    let refused = |detail: String| Diag::new(Code::UnsupportedLayer, &cell.path, detail);
    match cell.class.as_str() {
        "StackedRNNCells" if depth > 0 => {
            // Before Keras 2.2, always; tf.keras of that time, from TensorFlow 1.11 on, has the option.
            let always = !l.request.keras_version.contains("tf") && l.keras_version() < (2, 2);
            let reversed = always || config.bool_or("reverse_state_order", false)?;
            let parts = cell.children.iter().filter(|child| child.attribute.starts_with("cells/"));
            let (mut stack, mut size) = (Vec::new(), input);
            for child in parts.filter_map(|child| child.layer.as_ref()) {
                let (part, units) = read(l, child, size, depth - 1)?;
                stack.push(part);
                size = units;
            }
            if stack.is_empty() {
                Err(refused("a stack without cells".into()).into())
            } else {
                Ok((Part::Stack { parts: stack, reversed }, size))
            }
        }
        "ResidualWrapper" if depth > 0 => {
            if config.get("residual_fn").is_some() {
                let detail = "its residual_fn is Python code, which is never run";
                return Err(Diag::new(Code::UnsafeCode, &cell.path, detail).into());
            }
            let child = cell.child("cell").ok_or_else(|| refused("a wrapper without its cell".into()))?;
            let (part, units) = read(l, child, input, depth - 1)?;
            if units != input {
                return Err(refused(format!("an output of {units} where the input of {input} is added to it")).into());
            }
            Ok((Part::Residual(Box::new(part)), units))
        }
        class => {
            let hint = "provide the whole layer through a plugin: `recast plugins new`";
            Err(refused(format!("the cell {class} of {}", l.layer.class)).hint(hint).into())
        }
    }
}

impl Part {
    fn states(&self) -> usize {
        match self {
            Part::Standard(cell) => cell.kind.states(),
            Part::Stack { parts, .. } => parts.iter().map(Part::states).sum(),
            Part::Residual(part) => part.states(),
        }
    }

    /// `states` are the initial ones, of all cells in order; none where they start from zeros.
    fn run(
        &self,
        l: &mut Lowering<'_>,
        call: &Call,
        options: &Options,
        states: &mut std::vec::IntoIter<ValueId>,
    ) -> Result<Ran, Findings> {
        match self {
            Part::Standard(cell) => {
                let own: Vec<ValueId> = states.take(cell.kind.states()).collect();
                run(l, cell, &call.on(call.x, own), options.backwards, options.zero_masked)
            }
            Part::Stack { parts, reversed } => run_stack(l, parts, *reversed, call, options, states),
            Part::Residual(part) => {
                let ran = part.run(l, call, options, states)?;
                let sum = l.binary(BinaryFunction::Add, call.x, ran.sequence)?;
                let sequence = held(l, sum, call, options)?;
                Ok(Ran { sequence, last: None, states: ran.states })
            }
        }
    }
}

/// Cells on top of each other. `states` are taken, and given, in the order of the cells, or of the cells from the last
/// to the first.
fn run_stack(
    l: &mut Lowering<'_>,
    parts: &[Part],
    reversed: bool,
    call: &Call,
    options: &Options,
    states: &mut std::vec::IntoIter<ValueId>,
) -> Result<Ran, Findings> {
    let turned =
        |count: usize| -> Vec<usize> { if reversed { (0..count).rev().collect() } else { (0..count).collect() } };
    let mut own: Vec<Vec<ValueId>> = vec![Vec::new(); parts.len()];
    for index in turned(parts.len()) {
        own[index] = states.take(parts[index].states()).collect();
    }
    let mut ran = Ran { sequence: call.x, last: None, states: Vec::new() };
    let (mut given, mut first) = (Vec::new(), None);
    for (part, own) in parts.iter().zip(own) {
        let next = part.run(l, &call.on(ran.sequence, Vec::new()), options, &mut own.into_iter())?;
        given.push(next.states);
        first.get_or_insert(next.sequence);
        (ran.sequence, ran.last) = (next.sequence, next.last);
    }
    // The first state is another cell's: its sequence is what the skipped steps give.
    if let (true, false, Some(mask), Some(first)) = (call.gives_state, reversed, call.mask, first)
        && parts.len() > 1
    {
        let mask = l.expand(mask, 2)?;
        ran.sequence = l.add(Where {}, &[mask, ran.sequence, first])?;
        ran.last = None;
    }
    for index in turned(given.len()) {
        ran.states.append(&mut given[index]);
    }
    Ok(ran)
}

impl Call {
    /// The same call on another sequence.
    fn on(&self, x: ValueId, states: Vec<ValueId>) -> Call {
        Call { x, states, ..*self }
    }
}

/// A sequence (batch, time, units) whose masked steps repeat the step before (zeros before the first), or are zeros.
fn held(l: &mut Lowering<'_>, sequence: ValueId, call: &Call, options: &Options) -> Result<ValueId, Findings> {
    if call.mask.is_none() {
        return Ok(sequence);
    }
    let mut step = l.shape(sequence);
    step.remove(1);
    let zeros = scan::zeros(l, l.ty(sequence).dtype, step)?;
    let walk = Walk {
        inputs: &[sequence],
        mask: call.mask,
        states: &[zeros],
        fixed: &[],
        backwards: options.backwards,
        zero_masked: options.zero_masked,
    };
    Ok(scan::walk(l, &walk, |_, step| Ok(step.inputs.clone()))?.sequence)
}
