//! LSTM, GRU and SimpleRNN as loops. The product of the whole input and the kernel is made once, before the loop; its
//! rows, one for each step, are a list that the loop takes one element after the other from.

use super::control::{time_first, turned};
use super::elementwise::activate;
use super::matmul::product;
use super::{Emit, Emitting, Step, Val, unsupported};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{ActivationSpec, DType, Dim, Direction, Gru, Lstm, Node, SimpleRnn};

/// What the three kinds differ in.
#[derive(Clone, Copy)]
enum Kind {
    Lstm { activation: ActivationSpec, recurrent: ActivationSpec },
    Gru { activation: ActivationSpec, recurrent: ActivationSpec, reset_after: bool },
    Simple { activation: ActivationSpec },
}

impl Kind {
    fn gates(self) -> u64 {
        match self {
            Kind::Lstm { .. } => 4,
            Kind::Gru { .. } => 3,
            Kind::Simple { .. } => 1,
        }
    }

    fn states(self) -> usize {
        match self {
            Kind::Lstm { .. } => 2,
            Kind::Gru { .. } | Kind::Simple { .. } => 1,
        }
    }
}

pub fn lstm<'a>(op: &Lstm, node: &'a Node, e: &mut Emit<'a>) -> Emitting {
    let kind = Kind::Lstm { activation: op.activation, recurrent: op.recurrent_activation };
    recurrent(kind, &op.directions, op.zero_masked, node, e)
}

pub fn gru<'a>(op: &Gru, node: &'a Node, e: &mut Emit<'a>) -> Emitting {
    let kind = Kind::Gru { activation: op.activation, recurrent: op.recurrent_activation, reset_after: op.reset_after };
    recurrent(kind, &op.directions, op.zero_masked, node, e)
}

pub fn simple_rnn<'a>(op: &SimpleRnn, node: &'a Node, e: &mut Emit<'a>) -> Emitting {
    recurrent(Kind::Simple { activation: op.activation }, &op.directions, op.zero_masked, node, e)
}

/// What all directions share.
struct Layer {
    kind: Kind,
    zero_masked: bool,
    dtype: DType,
    units: u64,
    x: Val,
    /// Steps; rank-0 i32.
    count: Val,
    /// bool (time, batch, 1).
    mask: Option<Val>,
    /// (batch, units) as a vector of i32.
    state_shape: Val,
    wants_sequence: bool,
}

/// Weights of one direction.
struct Weights {
    kernel: Val,
    recurrent: Val,
    /// Added to the product of the input.
    bias: Option<Val>,
    /// Added to the product of the state (`reset_after`).
    recurrent_bias: Option<Val>,
    states: Vec<Val>,
}

fn recurrent<'a>(
    kind: Kind,
    directions: &[Direction],
    zero_masked: bool,
    node: &'a Node,
    e: &mut Emit<'a>,
) -> Emitting {
    let value = e.value(node, 0)?;
    let ty = e.ty(value);
    let units = e.shape(e.value(node, 3)?)[0].known().ok_or_else(|| unsupported(node, "units of unknown number"))?;
    let batch = ty.shape[0].clone();
    let mask = match e.opt_arg(node, 1)? {
        Some(mask) => {
            let steps = time_first(&mask, 2, e);
            Some(e.expand(&steps, 2))
        }
        None => None,
    };
    let layer = Layer {
        kind,
        zero_masked,
        dtype: ty.dtype,
        units,
        x: e.val(value)?,
        count: e.size(&ty.shape[1])?,
        mask,
        state_shape: e.shape_vector(&[batch, Dim::Known(units)])?,

        wants_sequence: e.is_used(node.outputs[0]),
    };
    let mut results: Vec<Vec<Val>> = vec![Vec::new(); 1 + kind.states()];
    for (d, direction) in directions.iter().enumerate() {
        let weights = weights(&layer, node, d, e)?;
        let made = one_direction(&layer, &weights, *direction == Direction::Backward, e)?;
        results.iter_mut().zip(made).for_each(|(all, one)| all.extend(one));
    }
    for (i, (parts, &value)) in results.iter().zip(&node.outputs).enumerate() {
        if parts.is_empty() {
            continue;
        }
        let axis = if i == 0 { 2 } else { 1 };
        let joined = match &parts[..] {
            [only] => e.expand(only, axis),
            parts => e.op("Pack", &[]).more(parts).int("axis", axis).tmp(),
        };
        e.bind(value, joined);
    }
    Ok(())
}

fn weights(layer: &Layer, node: &Node, direction: usize, e: &mut Emit) -> Result<Weights, Diag> {
    let at = 2 + direction * (3 + layer.kind.states());
    let mut bias = e.opt_arg(node, at + 2)?;
    let mut recurrent_bias = None;
    if let (Kind::Gru { reset_after: true, .. }, Some(both)) = (layer.kind, bias.clone()) {
        bias = Some(e.element(&both, 0));
        recurrent_bias = Some(e.element(&both, 1));
    }
    let mut states = Vec::new();
    for i in 0..layer.kind.states() {
        states.push(match e.opt_arg(node, at + 3 + i)? {
            Some(state) => state,
            None => zeros(layer, e),
        });
    }
    Ok(Weights { kernel: e.arg(node, at)?, recurrent: e.arg(node, at + 1)?, bias, recurrent_bias, states })
}

fn zeros(layer: &Layer, e: &mut Emit) -> Val {
    let zero = e.scalar(layer.dtype, 0.0);
    e.call("Fill", &[&layer.state_shape, &zero])
}

/// The sequence (batch, time, units), where it is wanted, and the final states (batch, units).
fn one_direction<'a>(
    layer: &Layer,
    weights: &Weights,
    backwards: bool,
    e: &mut Emit<'a>,
) -> Result<Vec<Option<Val>>, Diag> {
    let width = (layer.kind.gates() * layer.units) as i64;
    let mut inputs = product(&layer.x, 3, &weights.kernel, 2, e);
    if let Some(bias) = &weights.bias {
        inputs = e.call("AddV2", &[&inputs, bias]);
    }
    let inputs = time_first(&inputs, 3, e);
    let inputs = turned(inputs, backwards, e);
    let inputs = e.list_of(&inputs, &[-1, width]);
    let mask = layer.mask.clone().map(|mask| {
        let mask = turned(mask, backwards, e);
        e.list_of(&mask, &[-1, 1])
    });
    let mut loop_states = weights.states.clone();
    let own = loop_states.len();
    if layer.wants_sequence {
        loop_states.push(e.list_reserved(&layer.state_shape, &layer.count, layer.dtype));
        if layer.mask.is_some() && !layer.zero_masked {
            // What a masked step repeats.
            loop_states.push(zeros(layer, e));
        }
    }
    let graph = e.graph();
    let results = e.repeat(&layer.count, &loop_states, graph, |e, step| {
        let list = e.capture(&inputs);
        let row = e.list_item(&list, &step.number, &[-1, width], layer.dtype);
        let states = &step.states[..own];
        let next = cell(layer, weights, &row, states, e);
        shown(layer, step, mask.as_ref(), own, next, e)
    })?;
    let mut made = vec![None];
    if layer.wants_sequence {
        let stacked = e.list_stacked(&results[own], &layer.state_shape, layer.dtype);
        let stacked = turned(stacked, backwards, e);
        made[0] = Some(time_first(&stacked, 3, e));
    }
    made.extend(results.into_iter().take(own).map(Some));
    Ok(made)
}

/// The loop's states after a step: the layer's own, then the list of outputs, then the last output.
fn shown(
    layer: &Layer,
    step: &Step,
    mask: Option<&Val>,
    own: usize,
    next: Vec<Val>,
    e: &mut Emit,
) -> Result<Vec<Val>, Diag> {
    let at = &step.number;
    let mut output = next[0].clone();
    let mut after = next;
    if let Some(mask) = mask {
        let mask = e.capture(mask);
        let counts = e.list_item(&mask, at, &[-1, 1], DType::Bool);
        let before = match step.states.get(own + 1) {
            Some(last) => last.clone(),
            None => e.scalar(layer.dtype, 0.0),
        };
        if layer.wants_sequence {
            output = e.call("SelectV2", &[&counts, &output, &before]);
        }
        for (new, old) in after.iter_mut().zip(&step.states[..own]) {
            *new = e.call("SelectV2", &[&counts, new, old]);
        }
    }
    if let Some(list) = step.states.get(own) {
        after.push(e.call("TensorListSetItem", &[list, at, &output]));
    }
    if step.states.len() > own + 1 {
        after.push(output);
    }
    Ok(after)
}

/// The states after one step of the layer: `row` is the input's product (batch, gates units). The first is the output.
fn cell(layer: &Layer, weights: &Weights, row: &Val, states: &[Val], e: &mut Emit) -> Vec<Val> {
    let dtype = layer.dtype;
    let recurrent = e.capture(&weights.recurrent);
    let h = &states[0];
    match layer.kind {
        Kind::Simple { activation } => {
            let rows = e.call("MatMul", &[h, &recurrent]);
            let sum = e.call("AddV2", &[row, &rows]);
            vec![activate(activation, &sum, dtype, e)]
        }
        Kind::Lstm { activation, recurrent: gate } => {
            let rows = e.call("MatMul", &[h, &recurrent]);
            let sum = e.call("AddV2", &[row, &rows]);
            let parts = e.split(&sum, 1, 4);
            let [i, f, candidate, o] = &parts[..] else { return Vec::new() };
            let (i, f) = (activate(gate, i, dtype, e), activate(gate, f, dtype, e));
            let (candidate, o) = (activate(activation, candidate, dtype, e), activate(gate, o, dtype, e));
            let kept = e.call("Mul", &[&f, &states[1]]);
            let added = e.call("Mul", &[&i, &candidate]);
            let c = e.call("AddV2", &[&kept, &added]);
            let shown = activate(activation, &c, dtype, e);
            vec![e.call("Mul", &[&o, &shown]), c]
        }
        Kind::Gru { activation, recurrent: gate, reset_after } => {
            let (z, candidate) = gru_parts(layer, weights, row, h, &recurrent, gate, reset_after, e);
            let candidate = activate(activation, &candidate, dtype, e);
            let one = e.scalar(dtype, 1.0);
            let kept = e.call("Mul", &[&z, h]);
            let rest = e.call("Sub", &[&one, &z]);
            let added = e.call("Mul", &[&rest, &candidate]);
            vec![e.call("AddV2", &[&kept, &added])]
        }
    }
}

/// The update gate, and the candidate before its activation.
#[allow(clippy::too_many_arguments)]
fn gru_parts(
    layer: &Layer,
    weights: &Weights,
    row: &Val,
    h: &Val,
    recurrent: &Val,
    gate: ActivationSpec,
    reset_after: bool,
    e: &mut Emit,
) -> (Val, Val) {
    let dtype = layer.dtype;
    let x = e.split(row, 1, 3);
    if reset_after {
        let mut rows = e.call("MatMul", &[h, recurrent]);
        if let Some(bias) = &weights.recurrent_bias {
            let bias = e.capture(bias);
            rows = e.call("AddV2", &[&rows, &bias]);
        }
        let parts = e.split(&rows, 1, 3);
        let z = e.call("AddV2", &[&x[0], &parts[0]]);
        let r = e.call("AddV2", &[&x[1], &parts[1]]);
        let (z, r) = (activate(gate, &z, dtype, e), activate(gate, &r, dtype, e));
        let reset = e.call("Mul", &[&r, &parts[2]]);
        return (z, e.call("AddV2", &[&x[2], &reset]));
    }
    let kernels = e.split(recurrent, 1, 3);
    let z = e.call("MatMul", &[h, &kernels[0]]);
    let z = e.call("AddV2", &[&x[0], &z]);
    let r = e.call("MatMul", &[h, &kernels[1]]);
    let r = e.call("AddV2", &[&x[1], &r]);
    let (z, r) = (activate(gate, &z, dtype, e), activate(gate, &r, dtype, e));
    let reset = e.call("Mul", &[&r, h]);
    let rows = e.call("MatMul", &[&reset, &kernels[2]]);
    (z, e.call("AddV2", &[&x[2], &rows]))
}
