use super::At;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    Activation, ActivationSpec, Binary, BinaryFunction, BroadcastTo, Concat, Constant, Dim, Direction, Gru, Lstm,
    MatMul, SimpleRnn, Tensor, ValueId, Where,
};

type Found = Result<Option<Vec<ValueId>>, Diag>;

/// Weights and states of one direction.
struct Cell {
    recurrent: ValueId,
    /// Of the recurrent product, with `reset_after`.
    recurrent_bias: Option<ValueId>,
    units: u64,
}

/// From the projected input of one step (batch, gates units) and the states to the next states.
type Step<'s> = &'s dyn Fn(&mut At<'_>, &Cell, ValueId, &[ValueId]) -> Result<Vec<ValueId>, Diag>;

struct Layer<'o> {
    directions: &'o [Direction],
    states: usize,
    reset_after: bool,
    zero_masked: bool,
}

fn activate(at: &mut At<'_>, spec: ActivationSpec, x: ValueId) -> Result<ValueId, Diag> {
    at.add(Activation { function: spec.function, alpha: spec.alpha, beta: spec.beta }, &[x])
}

fn binary(at: &mut At<'_>, function: BinaryFunction, a: ValueId, b: ValueId) -> Result<ValueId, Diag> {
    at.add(Binary { function }, &[a, b])
}

fn gate(at: &mut At<'_>, x: ValueId, index: u64, units: u64) -> Result<ValueId, Diag> {
    at.slice(x, 1, index * units, (index + 1) * units)
}

pub fn lstm(op: &Lstm, at: &mut At<'_>) -> Found {
    use BinaryFunction::{Add, Mul};
    let step = |at: &mut At<'_>, cell: &Cell, x: ValueId, states: &[ValueId]| {
        let product = at.add(MatMul {}, &[states[0], cell.recurrent])?;
        let all = binary(at, Add, x, product)?;
        let mut gates = Vec::new();
        for index in 0..4 {
            let raw = gate(at, all, index, cell.units)?;
            gates.push(activate(at, if index == 2 { op.activation } else { op.recurrent_activation }, raw)?);
        }
        let kept = binary(at, Mul, gates[1], states[1])?;
        let new = binary(at, Mul, gates[0], gates[2])?;
        let c = binary(at, Add, kept, new)?;
        let shown = activate(at, op.activation, c)?;
        Ok(vec![binary(at, Mul, gates[3], shown)?, c])
    };
    let layer = Layer { directions: &op.directions, states: 2, reset_after: false, zero_masked: op.zero_masked };
    unrolled(&layer, at, &step)
}

pub fn gru(op: &Gru, at: &mut At<'_>) -> Found {
    use BinaryFunction::{Add, Mul, Sub};
    let step = |at: &mut At<'_>, cell: &Cell, x: ValueId, states: &[ValueId]| {
        let (h, units) = (states[0], cell.units);
        let mut gates = Vec::new();
        let mut product = at.add(MatMul {}, &[h, cell.recurrent])?;
        if let Some(bias) = cell.recurrent_bias {
            product = binary(at, Add, product, bias)?;
        }
        for index in 0..2 {
            let (a, b) = (gate(at, x, index, units)?, gate(at, product, index, units)?);
            let sum = binary(at, Add, a, b)?;
            gates.push(activate(at, op.recurrent_activation, sum)?);
        }
        let recalled = if op.reset_after {
            let own = gate(at, product, 2, units)?;
            binary(at, Mul, gates[1], own)?
        } else {
            let reset = binary(at, Mul, gates[1], h)?;
            let kernel = gate(at, cell.recurrent, 2, units)?;
            at.add(MatMul {}, &[reset, kernel])?
        };
        let own = gate(at, x, 2, units)?;
        let sum = binary(at, Add, own, recalled)?;
        let candidate = activate(at, op.activation, sum)?;
        // z h + (1 - z) candidate
        let change = binary(at, Sub, h, candidate)?;
        let part = binary(at, Mul, gates[0], change)?;
        Ok(vec![binary(at, Add, candidate, part)?])
    };
    let layer =
        Layer { directions: &op.directions, states: 1, reset_after: op.reset_after, zero_masked: op.zero_masked };
    unrolled(&layer, at, &step)
}

pub fn simple_rnn(op: &SimpleRnn, at: &mut At<'_>) -> Found {
    let step = |at: &mut At<'_>, cell: &Cell, x: ValueId, states: &[ValueId]| {
        let product = at.add(MatMul {}, &[states[0], cell.recurrent])?;
        let sum = binary(at, BinaryFunction::Add, x, product)?;
        Ok(vec![activate(at, op.activation, sum)?])
    };
    let layer = Layer { directions: &op.directions, states: 1, reset_after: false, zero_masked: op.zero_masked };
    unrolled(&layer, at, &step)
}

fn unrolled(layer: &Layer<'_>, at: &mut At<'_>, step: Step<'_>) -> Found {
    let x = at.input(0)?;
    let time = at.size(x, 1)?;
    if time == 0 {
        return Ok(None);
    }
    let mut sequences = Vec::new();
    let mut finals: Vec<Vec<ValueId>> = vec![Vec::new(); layer.states];
    for (index, &direction) in layer.directions.iter().enumerate() {
        let (sequence, states) = one_direction(layer, at, step, index, direction, time)?;
        sequences.push(sequence);
        for (all, state) in finals.iter_mut().zip(states) {
            all.push(at.graph.expand(at.path, state, 1)?);
        }
    }
    let mut outputs = vec![joined(at, sequences, 2)?];
    for all in finals {
        outputs.push(joined(at, all, 1)?);
    }
    Ok(Some(outputs))
}

fn joined(at: &mut At<'_>, parts: Vec<ValueId>, axis: usize) -> Result<ValueId, Diag> {
    if let [only] = parts[..] { Ok(only) } else { at.add(Concat { axis }, &parts) }
}

/// Sequence (batch, time, 1, units) and final states (batch, units).
fn one_direction(
    layer: &Layer<'_>,
    at: &mut At<'_>,
    step: Step<'_>,
    index: usize,
    direction: Direction,
    time: u64,
) -> Result<(ValueId, Vec<ValueId>), Diag> {
    let x = at.input(0)?;
    let first = 2 + index * (3 + layer.states);
    let (kernel, recurrent) = (at.input(first)?, at.input(first + 1)?);
    let units = at.size(recurrent, 0)?;
    let batch = at.shape(x)[0].clone();
    let mut projected = at.add(MatMul {}, &[x, kernel])?;
    let mut recurrent_bias = None;
    if let Some(bias) = at.opt(first + 2) {
        let own = if layer.reset_after {
            recurrent_bias = Some(at.pick(bias, 0, 1)?);
            at.pick(bias, 0, 0)?
        } else {
            bias
        };
        projected = binary(at, BinaryFunction::Add, projected, own)?;
    }
    let cell = Cell { recurrent, recurrent_bias, units };
    let zeros = zeros(at, x, vec![batch.clone(), Dim::Known(units)])?;
    let mut states: Vec<ValueId> = (0..layer.states).map(|i| at.opt(first + 3 + i).unwrap_or(zeros)).collect();
    let mut output = zeros;
    let mut outputs = vec![zeros; time as usize];
    for count in 0..time {
        let t = if direction == Direction::Backward { time - 1 - count } else { count };
        let now = at.pick(projected, 1, t)?;
        let next = step(at, &cell, now, &states)?;
        match at.opt(1) {
            Some(mask) => {
                let valid = at.slice(mask, 1, t, t + 1)?;
                output = at.add(Where {}, &[valid, next[0], if layer.zero_masked { zeros } else { output }])?;
                for (state, next) in states.iter_mut().zip(next) {
                    *state = at.add(Where {}, &[valid, next, *state])?;
                }
            }
            None => {
                output = next[0];
                states = next;
            }
        }
        outputs[t as usize] =
            at.reshape(output, vec![batch.clone(), Dim::Known(1), Dim::Known(1), Dim::Known(units)])?;
    }
    Ok((joined(at, outputs, 1)?, states))
}

fn zeros(at: &mut At<'_>, like: ValueId, shape: Vec<Dim>) -> Result<ValueId, Diag> {
    let dtype = at.graph.ty(like).dtype;
    let zero = at.add(Constant { tensor: Tensor::scalar(dtype, 0.0) }, &[])?;
    at.add(BroadcastTo { shape }, &[zero])
}
