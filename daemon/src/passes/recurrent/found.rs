//! A whole scan as cells: which states are whose, what each result of the scan is of them, and what is masked.

use super::Kind;
use super::cell::{Cell, Reading};
use super::step::{Mask, Side, Step, Weight};
use recast_plugin_api::ir::{DType, Dim, Node, Op, Scan, ValueId};

/// Changing states that are looked at: two for each cell of a stack, the last output, counters.
const STATES_MAX: usize = 48;

pub struct Found {
    /// Each after the one that it takes its input from.
    pub cells: Vec<Placed>,
    /// Of all cells.
    pub mask: Option<Mask>,
    /// Rows of the states.
    pub batch: Dim,
    /// What is scanned is the reverse, in time, of what these are.
    pub reversed: Vec<(usize, Unturned)>,
    pub zero_masked: bool,
    /// For each output of the scan.
    pub results: Vec<Result>,
}

/// A scanned input as it was before it was reversed: a value around the scan, and its axes.
pub struct Unturned {
    pub value: ValueId,
    pub perm: Vec<usize>,
}

/// Where a cell's input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// An input of the scan.
    Scanned(usize),
    /// The sequence of another cell.
    Cell(usize),
}

pub struct Placed {
    pub kind: Kind,
    pub input: Input,
    pub kernel: Weight,
    pub recurrent: Weight,
    pub bias: Option<Weight>,
    /// Inputs of the scan that the states start from; none for zeros.
    pub initial: Vec<Option<usize>>,
    states: Vec<usize>,
    /// (batch, units) of one step, in the body.
    output: ValueId,
}

impl Placed {
    pub fn op_name(&self) -> &'static str {
        match self.kind {
            Kind::Lstm { .. } => "lstm",
            Kind::Gru { .. } => "gru",
            Kind::Simple { .. } => "simple_rnn",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Result {
    Unused,
    /// What this input of the scan was: a state that nothing changes.
    Given(usize),
    Sequence(usize),
    /// A state of a cell after the last step.
    State(usize, usize),
    /// The output of the step that came last.
    Last(usize),
}

/// A state after a step.
struct Next {
    state: usize,
    /// Where the step counts.
    value: ValueId,
    mask: Option<Mask>,
}

/// A cell, its states, and what it gives where the step counts.
struct Read {
    cell: Cell,
    states: Vec<usize>,
    output: ValueId,
    mask: Option<Mask>,
}

/// The scan as cells; `uses` counts who uses each value around it. None where it is anything else.
pub fn found(scan: &Scan, node: &Node, outer: &Side<'_>, uses: &[u32]) -> Option<Found> {
    let step = Step::new(scan, node, outer);
    let changing: Vec<usize> = (0..scan.states).filter(|state| !step.is_fixed(*state)).collect();
    if changing.len() > STATES_MAX {
        return None;
    }
    let nexts: Vec<Next> = changing.iter().map(|&state| next(&step, state)).collect();
    let read: Vec<Read> = nexts.iter().filter_map(|next| read(&step, next, &nexts)).collect();
    let mask = read.first()?.mask;
    if read.iter().any(|cell| cell.mask != mask) {
        return None;
    }
    let batch = batch_of(&step, &read)?;
    let cells = placed(&step, &read, (mask, &batch))?;
    let reversed = reversed(&step, &cells, mask);
    let mut answers = Answers { step: &step, cells: &cells, mask, zero_masked: None };
    let mut results = Vec::new();
    for (at, &value) in node.outputs.iter().enumerate() {
        let used = uses[value.0 as usize] > 0;
        results.push(if used { answers.result(at)? } else { Result::Unused });
    }
    let zero_masked = answers.zero_masked.unwrap_or(false);
    Some(Found { cells, mask, batch, reversed, zero_masked, results })
}

/// What a step leaves in a state: a masked step leaves what was there.
fn next(step: &Step<'_>, state: usize) -> Next {
    let value = step.scan.body.outputs[state].value;
    let old = step.scan.body.inputs[state].value;
    match chosen(step, value) {
        Some((mask, new, kept)) if kept == old => Next { state, value: new, mask: Some(mask) },
        _other => Next { state, value, mask: None },
    }
}

/// mask ? new : other
fn chosen(step: &Step<'_>, value: ValueId) -> Option<(Mask, ValueId, ValueId)> {
    let node = step.body.producer(value)?;
    let Op::Where(_) = &node.op else { return None };
    let [condition, new, other] = [node.inputs[0]?, node.inputs[1]?, node.inputs[2]?];
    Some((step.mask(condition, new)?, new, other))
}

/// The cell whose output is the new value of this state.
fn read(step: &Step<'_>, next: &Next, nexts: &[Next]) -> Option<Read> {
    let body = &step.scan.body;
    let h = body.inputs[next.state].value;
    let ty = body.ty(h);
    let [_, units] = ty.shape.as_slice() else { return None };
    // No target has a recurrent op in half precision.
    if !matches!(ty.dtype, DType::F32 | DType::F64) {
        return None;
    }
    let reading = Reading { step, h, units: units.known()? };
    let one = |cell: Cell, states: Vec<usize>| Read { cell, states, output: next.value, mask: next.mask };
    for other in nexts.iter().filter(|other| other.state != next.state && other.mask == next.mask) {
        let c = body.inputs[other.state].value;
        let found = reading.lstm(next.value, other.value, c).filter(|_| body.ty(c) == ty);
        if let Some(cell) = found {
            return Some(one(cell, vec![next.state, other.state]));
        }
    }
    let cell = reading.gru(next.value).or_else(|| reading.simple(next.value))?;
    Some(one(cell, vec![next.state]))
}

/// The rows that all states have.
fn batch_of(step: &Step<'_>, read: &[Read]) -> Option<Dim> {
    let rows = |state: usize| step.node.inputs[state].and_then(|value| step.outer.graph.shape(value).first());
    let mut all = read.iter().flat_map(|cell| &cell.states).map(|&state| rows(state));
    let first = all.next()??;
    all.all(|other| other == Some(first)).then(|| first.clone())
}

/// The cells in an order in which they can run, with their inputs found.
fn placed(step: &Step<'_>, read: &[Read], (mask, batch): (Option<Mask>, &Dim)) -> Option<Vec<Placed>> {
    let mut cells: Vec<Placed> = Vec::new();
    while cells.len() < read.len() {
        let is_done = |cell: &Read| cells.iter().any(|placed| placed.output == cell.output);
        let mut ready = read.iter().filter(|cell| !is_done(cell));
        let (cell, input) = ready.find_map(|cell| Some((cell, input_of(step, cell.cell.x, &cells)?)))?;
        if let Input::Scanned(at) = input {
            fits(step, at, mask, batch)?;
        }
        cells.push(place(step, cell, input));
    }
    Some(cells)
}

fn input_of(step: &Step<'_>, x: ValueId, cells: &[Placed]) -> Option<Input> {
    let below = cells.iter().position(|cell| cell.output == x);
    step.scanned(x).map(Input::Scanned).or(below.map(Input::Cell))
}

/// x (batch, time, in), and a mask of the same batch and time. States of a known number of rows may meet an input of a
/// free one, whose single row then goes to all of them.
fn fits(step: &Step<'_>, x: usize, mask: Option<Mask>, batch: &Dim) -> Option<()> {
    let shape = |at: usize| step.node.inputs[at].map(|value| step.outer.graph.shape(value));
    let x = shape(x).filter(|x| x.len() == 3)?;
    let spreads = mask.is_none() && batch.known().is_some() && x[0].known().is_none_or(|rows| rows == 1);
    if x[0] != *batch && !spreads {
        return None;
    }
    let Some(mask) = mask else { return Some(()) };
    (shape(mask.input)?[..2] == x[..2]).then_some(())
}

/// What all scanned inputs of the cells, the mask included, are the reverse of; nothing where not all are.
fn reversed(step: &Step<'_>, cells: &[Placed], mask: Option<Mask>) -> Vec<(usize, Unturned)> {
    let scanned = cells.iter().filter_map(|cell| match cell.input {
        Input::Scanned(at) => Some(at),
        Input::Cell(_) => None,
    });
    let before = |at: usize| {
        let (value, perm) = step.outer.untransposed(step.node.inputs[at]?);
        let node = step.outer.producer(value)?;
        let Op::Reverse(op) = &node.op else { return None };
        let value = node.inputs[0].filter(|_| op.axes == [perm[1]])?;
        Some((at, Unturned { value, perm }))
    };
    let found: Option<Vec<_>> = scanned.chain(mask.map(|mask| mask.input)).map(before).collect();
    found.unwrap_or_default()
}

fn place(step: &Step<'_>, read: &Read, input: Input) -> Placed {
    let Cell { kind, kernel, recurrent, bias, .. } = read.cell;
    let initial = read.states.iter().map(|&state| (!starts_from_zeros(step, state)).then_some(state)).collect();
    Placed { kind, input, kernel, recurrent, bias, initial, states: read.states.clone(), output: read.output }
}

fn starts_from_zeros(step: &Step<'_>, state: usize) -> bool {
    step.node.inputs[state].and_then(|value| step.outer.number(value)) == Some(0.0)
}

/// Says what the results of the scan are.
struct Answers<'a, 'g> {
    step: &'a Step<'g>,
    cells: &'a [Placed],
    mask: Option<Mask>,
    /// What a masked step gives, once a result tells.
    zero_masked: Option<bool>,
}

impl Answers<'_, '_> {
    fn result(&mut self, at: usize) -> Option<Result> {
        let states = self.step.scan.states;
        let value = self.step.scan.body.outputs[at].value;
        if at >= states {
            return self.sequence(value).map(Result::Sequence);
        }
        if self.step.is_fixed(at) {
            return Some(Result::Given(at));
        }
        for (index, cell) in self.cells.iter().enumerate() {
            if let Some(which) = cell.states.iter().position(|state| *state == at) {
                return Some(Result::State(index, which));
            }
        }
        // The last output, kept beside the states for steps that are masked.
        self.sequence(value).map(Result::Last)
    }

    /// The cell whose output this is at each step, masked ones included.
    fn sequence(&mut self, value: ValueId) -> Option<usize> {
        let cell = |output: ValueId| self.cells.iter().position(|cell| cell.output == output);
        if self.mask.is_none() {
            return cell(value);
        }
        let (mask, new, other) = chosen(self.step, value)?;
        let found = cell(new).filter(|_| Some(mask) == self.mask)?;
        let zeros = match self.step.state(other) {
            // What the step before gave: zeros before the first.
            Some(state) if self.step.scan.body.outputs[state].value == value => {
                starts_from_zeros(self.step, state).then_some(false)?
            }
            _other => (self.step.number(other) == Some(0.0)).then_some(true)?,
        };
        let agrees = *self.zero_masked.get_or_insert(zeros) == zeros;
        agrees.then_some(found)
    }
}
