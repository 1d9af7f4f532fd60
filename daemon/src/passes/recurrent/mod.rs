//! `recurrent`. Before: clean. After: a `Scan` whose body is the step of an LSTM, a GRU or a SimpleRNN, or of several
//! of them on top of each other, is these ops.
//!
//! Loops come from sources that know no layers: a TensorFlow graph holds a layer as its equations. What a body computes
//! is read as equations again (`step`), and compared with those of the three cells (`cell`). A body that differs in
//! anything stays the scan that it is: nothing is taken to be what it only resembles. The check of a written file
//! evaluates the graph as it was before the passes, loop and all, so it is a second opinion on what was recognised.

mod activation;
mod cell;
mod found;
mod step;

use found::{Found, Result as Answer};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{
    ActivationSpec, BroadcastTo, Dim, Direction, Graph, Gru, Lstm, Node, Op, Rebuild, Reverse, Scan, SimpleRnn, ValueId,
};
use std::collections::HashMap;
use step::Weight;

/// What a recognised cell is; activations as in the ops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Lstm { activation: ActivationSpec, recurrent_activation: ActivationSpec },
    Gru { activation: ActivationSpec, recurrent_activation: ActivationSpec, reset_after: bool },
    Simple { activation: ActivationSpec },
}

impl Kind {
    fn op(self, direction: Direction, zero_masked: bool) -> Op {
        let directions = vec![direction];
        match self {
            Kind::Lstm { activation, recurrent_activation } => {
                Lstm { directions, activation, recurrent_activation, zero_masked }.into()
            }
            Kind::Gru { activation, recurrent_activation, reset_after } => {
                Gru { directions, activation, recurrent_activation, reset_after, zero_masked }.into()
            }
            Kind::Simple { activation } => SimpleRnn { directions, activation, zero_masked }.into(),
        }
    }
}

/// Is there anything for `recurrent` to look at?
pub fn has_loops(graph: &Graph) -> bool {
    graph.nodes().iter().any(|node| matches!(&node.op, Op::Scan(_)))
}

/// `writes` says which ops the target has, by name.
pub fn recurrent(graph: &Graph, writes: &dyn Fn(&str) -> bool) -> Result<Graph, Diag> {
    let mut out = Rebuild::new(graph);
    out.copy_inputs();
    out.copy_params();
    let outer = step::Side::new(graph);
    let uses = graph.use_counts();
    let mut turned = HashMap::new();
    for node in graph.nodes() {
        let found = if let Op::Scan(scan) = &node.op { found::found(scan, node, &outer, &uses) } else { None };
        match (&node.op, found) {
            (Op::Scan(scan), Some(found)) if found.cells.iter().all(|cell| writes(cell.op_name())) => {
                Replacing { scan, node, found: &found, out: &mut out }.run(&mut turned)?;
            }
            _other => {
                if !unturned(node, &outer, &turned, &mut out)? {
                    out.copy_node(node)?;
                }
            }
        }
    }
    Ok(out.finish())
}

/// Of sequences of the old graph that are the reverse of one of the new graph: that one.
type Turned = HashMap<ValueId, ValueId>;

/// The reverse of the reverse of a sequence is the sequence.
fn unturned(node: &Node, outer: &step::Side<'_>, turned: &Turned, out: &mut Rebuild<'_>) -> Result<bool, Diag> {
    let (Op::Reverse(op), [Some(input)]) = (&node.op, node.inputs.as_slice()) else { return Ok(false) };
    let (source, perm) = outer.untransposed(*input);
    let Some(&sequence) = turned.get(&source) else { return Ok(false) };
    if !matches!(op.axes.as_slice(), [axis] if perm[*axis] == 1) {
        return Ok(false);
    }
    let value = out.graph.transpose(&node.path, sequence, &perm)?;
    out.map(node.outputs[0], value);
    Ok(true)
}

/// The results of one cell, in the new graph.
struct Ran {
    /// (batch, time, units), in the order of time
    sequence: ValueId,
    /// (batch, units)
    states: Vec<ValueId>,
}

/// The cells in the place of a scan.
struct Replacing<'r, 'g> {
    scan: &'r Scan,
    node: &'r Node,
    found: &'r Found,
    out: &'r mut Rebuild<'g>,
}

impl Replacing<'_, '_> {
    fn run(&mut self, turned: &mut Turned) -> Result<(), Diag> {
        let found = self.found;
        let is_reversed = !found.reversed.is_empty();
        let backward = self.scan.reverse != is_reversed;
        let mut ran: Vec<Ran> = Vec::new();
        for cell in &found.cells {
            let below = match cell.input {
                found::Input::Scanned(at) => self.x(at)?,
                found::Input::Cell(below) => ran[below].sequence,
            };
            let next = self.cell(cell, below, backward)?;
            ran.push(next);
        }
        for (&old, answer) in self.node.outputs.iter().zip(&found.results) {
            let new = match *answer {
                Answer::Unused => continue,
                Answer::Given(at) => self.given(at)?,
                Answer::Sequence(cell) if is_reversed => {
                    turned.insert(old, ran[cell].sequence);
                    self.out.graph.add(&self.node.path, Reverse { axes: vec![1] }, &[ran[cell].sequence])?
                }
                Answer::Sequence(cell) => ran[cell].sequence,
                Answer::State(cell, state) => ran[cell].states[state],
                Answer::Last(cell) => self.last(ran[cell].sequence, backward)?,
            };
            self.out.map(old, new);
        }
        Ok(())
    }

    fn cell(&mut self, cell: &found::Placed, x: ValueId, backward: bool) -> Result<Ran, Diag> {
        let path = &self.node.path;
        let mut inputs = vec![Some(x), self.mask()?];
        for weight in [Some(&cell.kernel), Some(&cell.recurrent), cell.bias.as_ref()] {
            inputs.push(weight.map(|weight| weight_of(weight, self.scan, self.out)));
        }
        for initial in &cell.initial {
            inputs.push(initial.map(|at| self.given(at)).transpose()?);
        }
        let direction = if backward { Direction::Backward } else { Direction::Forward };
        let op = cell.kind.op(direction, self.found.zero_masked);
        let outputs = self.out.graph.add_node(path, op, &inputs)?;
        let sequence = self.out.graph.squeeze(path, outputs[0], 2)?;
        let states = outputs[1..].iter().map(|&state| self.out.graph.squeeze(path, state, 1));
        Ok(Ran { sequence, states: states.collect::<Result<_, _>>()? })
    }

    fn given(&self, at: usize) -> Result<ValueId, Diag> {
        let value = self.node.inputs[at].map(|value| self.out.get(value));
        value.ok_or_else(|| Diag::new(Code::Bug, &self.node.path, format!("a scan without input {at}")))
    }

    /// A scanned input in the order of time.
    fn scanned(&mut self, at: usize) -> Result<ValueId, Diag> {
        match self.found.reversed.iter().find(|(input, _)| *input == at) {
            Some((_, before)) => {
                let value = self.out.get(before.value);
                self.out.graph.transpose(&self.node.path, value, &before.perm)
            }
            None => self.given(at),
        }
    }

    /// (batch, time, in), with as many rows as the states have.
    fn x(&mut self, at: usize) -> Result<ValueId, Diag> {
        let x = self.scanned(at)?;
        let mut shape = self.out.graph.shape(x).to_vec();
        if shape[0] == self.found.batch {
            return Ok(x);
        }
        shape[0] = self.found.batch.clone();
        self.out.graph.add(&self.node.path, BroadcastTo { shape }, &[x])
    }

    /// (batch, time), of what may have further axes of size one.
    fn mask(&mut self) -> Result<Option<ValueId>, Diag> {
        let Some(mask) = self.found.mask else { return Ok(None) };
        let value = self.scanned(mask.input)?;
        let shape = self.out.graph.shape(value)[..2].to_vec();
        self.out.graph.reshape(&self.node.path, value, shape).map(Some)
    }

    /// The step of a sequence (batch, time, units) that is computed last.
    fn last(&mut self, sequence: ValueId, backward: bool) -> Result<ValueId, Diag> {
        let path = &self.node.path;
        let time = self.out.graph.shape(sequence)[1].clone();
        let no_step = || Diag::new(Code::TypeMismatch, path, "a loop that never runs");
        let start = if backward { Dim::Known(0) } else { time.offset(-1).ok_or_else(no_step)? };
        let stop = start.offset(1).ok_or_else(no_step)?;
        let step = self.out.graph.slice(path, sequence, 1, start, stop)?;
        self.out.graph.squeeze(path, step, 1)
    }
}

fn weight_of(weight: &Weight, scan: &Scan, out: &mut Rebuild<'_>) -> ValueId {
    match *weight {
        Weight::Outer(value) => out.get(value),
        Weight::Body(at) => {
            let param = &scan.body.params[at];
            out.graph.param_view(&param.path, &param.role, param.tensor.clone())
        }
    }
}
