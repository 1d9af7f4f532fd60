//! LSTM, GRU and SimpleRNN as one ONNX node each. Both directions of a Bidirectional are one node.
//!
//! ONNX lays time before batch, transposes the kernels, orders LSTM gates i, o, f, c and joins both biases.

use super::masked::{self, Masking};
use super::weights::{gates_ordered, gates_transposed};
use super::{Emit, Emitting, unsupported};
use crate::write::Piece;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    ActivationFunction, ActivationSpec, DType, Dim, Direction, Gru, Lstm, Node, SimpleRnn, ValueId,
};

/// What the three kinds differ in.
pub struct Cell<'o> {
    op_type: &'static str,
    pub directions: &'o [Direction],
    /// Keras' gate at each place of ONNX' order.
    gates: &'static [usize],
    /// 2 with a cell state.
    pub states: usize,
    /// In ONNX' order, for one direction.
    activations: Vec<ActivationSpec>,
    defaults: &'static [&'static str],
    reset_after: bool,
    pub zero_masked: bool,
}

pub fn lstm(op: &Lstm, node: &Node, e: &mut Emit) -> Emitting {
    let cell = Cell {
        op_type: "LSTM",
        directions: &op.directions,
        gates: &[0, 3, 1, 2],
        states: 2,
        activations: vec![op.recurrent_activation, op.activation, op.activation],
        defaults: &["Sigmoid", "Tanh", "Tanh"],
        reset_after: false,
        zero_masked: op.zero_masked,
    };
    recurrent(&cell, node, e)
}

pub fn gru(op: &Gru, node: &Node, e: &mut Emit) -> Emitting {
    let cell = Cell {
        op_type: "GRU",
        directions: &op.directions,
        gates: &[0, 1, 2],
        states: 1,
        activations: vec![op.recurrent_activation, op.activation],
        defaults: &["Sigmoid", "Tanh"],
        reset_after: op.reset_after,
        zero_masked: op.zero_masked,
    };
    recurrent(&cell, node, e)
}

pub fn simple_rnn(op: &SimpleRnn, node: &Node, e: &mut Emit) -> Emitting {
    let cell = Cell {
        op_type: "RNN",
        directions: &op.directions,
        gates: &[0],
        states: 1,
        activations: vec![op.activation],
        defaults: &["Tanh"],
        reset_after: false,
        zero_masked: op.zero_masked,
    };
    recurrent(&cell, node, e)
}

/// ONNX' name of an activation, and how many of alpha and beta it takes.
fn activation_name(function: ActivationFunction) -> Option<(&'static str, usize)> {
    use ActivationFunction::*;
    Some(match function {
        Tanh => ("Tanh", 0),
        Sigmoid => ("Sigmoid", 0),
        Relu => ("Relu", 0),
        Softplus => ("Softplus", 0),
        Softsign => ("Softsign", 0),
        Elu => ("Elu", 1),
        LeakyRelu => ("LeakyRelu", 1),
        ThresholdedRelu => ("ThresholdedRelu", 1),
        HardSigmoid => ("HardSigmoid", 2),
        ScaledTanh => ("ScaledTanh", 2),
        Affine | Linear => ("Affine", 2),
        Celu | Selu | Silu | Gelu | GeluTanh | Exp | Mish => return None,
    })
}

/// Attributes `activations`, `activation_alpha`, `activation_beta`.
type Activations = (Vec<&'static str>, Vec<f64>, Vec<f64>);

fn activations(cell: &Cell, node: &Node) -> Result<Activations, Diag> {
    let (mut names, mut alphas, mut betas) = (Vec::new(), Vec::new(), Vec::new());
    for spec in &cell.activations {
        let found = activation_name(spec.function);
        let (name, parameters) = found.ok_or_else(|| {
            unsupported(node, format!("activation '{}'", spec.function))
                .hint("ONNX' recurrent ops know tanh, sigmoid, relu, elu, hard_sigmoid, softplus, softsign and linear")
        })?;
        let linear = spec.function == ActivationFunction::Linear;
        let (alpha, beta) = if linear { (1.0, 0.0) } else { (spec.alpha, spec.beta) };
        names.push(name);
        alphas.extend((parameters >= 1).then_some(alpha));
        betas.extend((parameters >= 2).then_some(beta));
    }
    Ok((names, alphas, betas))
}

/// Inputs of one direction: kernel, recurrent kernel, bias, states.
fn inputs_of(cell: &Cell, node: &Node, direction: usize) -> Vec<Option<ValueId>> {
    let per_direction = 3 + cell.states;
    let at = 2 + direction * per_direction;
    node.inputs[at..at + per_direction].to_vec()
}

fn weight(value: Option<ValueId>, node: &Node, e: &Emit) -> Result<Piece, Diag> {
    let known = value.and_then(|value| e.known(value));
    known.map(|known| known.piece.clone()).ok_or_else(|| unsupported(node, "weights that are computed by the model"))
}

/// Sizes that all weights are made of.
#[derive(Clone, Copy)]
struct Sizes {
    input: usize,
    units: usize,
    dtype: DType,
}

/// W (directions, gates units, input), or R with `units` for `input`.
fn kernels(
    cell: &Cell,
    node: &Node,
    sizes: Sizes,
    order: &[usize],
    which: usize,
    e: &mut Emit,
) -> Result<String, Diag> {
    let rows = if which == 0 { sizes.input } else { sizes.units };
    let pieces = order.iter().map(|&d| weight(inputs_of(cell, node, d)[which], node, e));
    let pieces = pieces.collect::<Result<Vec<_>, _>>()?;
    let gates = cell.gates;
    let dims = [order.len() as u64, (gates.len() * sizes.units) as u64, rows as u64];
    let name = format!("{}/{}", e.path(), if which == 0 { "W" } else { "R" });
    let make = move |kernels: &[Vec<u8>]| {
        let turned = |kernel: &Vec<u8>| gates_transposed(kernel, rows, sizes.units, gates, sizes.dtype.size());
        kernels.iter().flat_map(turned).collect()
    };
    Ok(e.init_made(&name, sizes.dtype, &dims, pieces, make))
}

/// B (directions, 2 gates units): input bias, recurrent bias. Empty where no direction has one.
fn biases(cell: &Cell, node: &Node, sizes: Sizes, order: &[usize], e: &mut Emit) -> Result<String, Diag> {
    let present: Vec<bool> = order.iter().map(|&d| inputs_of(cell, node, d)[2].is_some()).collect();
    if !present.contains(&true) {
        return Ok(String::new());
    }
    let mut pieces = Vec::new();
    for (&d, _) in order.iter().zip(&present).filter(|(_, present)| **present) {
        pieces.push(weight(inputs_of(cell, node, d)[2], node, e)?);
    }
    let (gates, reset_after, size) = (cell.gates, cell.reset_after, sizes.dtype.size());
    let width = gates.len() * sizes.units * size;
    let dims = [order.len() as u64, 2 * (gates.len() * sizes.units) as u64];
    let make = move |given: &[Vec<u8>]| {
        let mut given = given.iter();
        let mut out = Vec::new();
        for &present in &present {
            let both = match (present.then(|| given.next()).flatten(), reset_after) {
                (Some(bias), true) => bias.clone(),
                (Some(bias), false) => [bias.as_slice(), &vec![0; width]].concat(),
                (None, _) => vec![0; 2 * width],
            };
            out.extend(gates_ordered(&both[..width], sizes.units, gates, size));
            out.extend(gates_ordered(&both[width..], sizes.units, gates, size));
        }
        out
    };
    Ok(e.init_made(&format!("{}/B", e.path()), sizes.dtype, &dims, pieces, make))
}

/// Initial state number `which` as (directions, batch, units); empty where no direction has one.
fn initial(
    cell: &Cell,
    node: &Node,
    sizes: Sizes,
    order: &[usize],
    which: usize,
    e: &mut Emit,
) -> Result<String, Diag> {
    let given: Vec<Option<ValueId>> = order.iter().map(|&d| inputs_of(cell, node, d)[3 + which]).collect();
    if given.iter().all(Option::is_none) {
        return Ok(String::new());
    }
    let batch = e.shape(e.value(node, 0)?)[0].clone();
    let mut parts = Vec::new();
    for value in given {
        parts.push(match value {
            Some(value) => {
                let (state, axis) = (e.name(value), e.ints(&[0]));
                e.call("Unsqueeze", &[&state, &axis])
            }
            None => {
                let zero = e.scalar(sizes.dtype, 0.0);
                let shape = e.shape_vector(&[Dim::Known(1), batch.clone(), Dim::Known(sizes.units as u64)])?;
                e.call("Expand", &[&zero, &shape])
            }
        });
    }
    if let [only] = &parts[..] {
        return Ok(only.clone());
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(e.op("Concat", &parts).int("axis", 0).tmp())
}

fn recurrent(cell: &Cell, node: &Node, e: &mut Emit) -> Emitting {
    let (names, alphas, betas) = activations(cell, node)?;
    // ONNX has the forward direction first.
    let mut order: Vec<usize> = (0..cell.directions.len()).collect();
    order.sort_by_key(|&d| cell.directions[d] == Direction::Backward);
    let swapped = order.first() == Some(&1);
    let value = e.value(node, 0)?;
    let ty = e.ty(value);
    let units = inputs_of(cell, node, 0)[1].and_then(|r| e.shape(r)[0].known());
    let sizes =
        units.zip(ty.shape[2].known()).ok_or_else(|| unsupported(node, "units or features of unknown number"))?;
    let sizes = Sizes { units: sizes.0 as usize, input: sizes.1 as usize, dtype: ty.dtype };
    let masking = Masking::new(cell, node, e)?;
    let x = match &masking {
        Some(masking) => masking.compacted.clone(),
        None => e.name(value),
    };
    let x = e.op("Transpose", &[&x]).ints("perm", [1, 0, 2]).tmp();
    let w = kernels(cell, node, sizes, &order, 0, e)?;
    let r = kernels(cell, node, sizes, &order, 1, e)?;
    let b = biases(cell, node, sizes, &order, e)?;
    let states = (0..cell.states).map(|which| initial(cell, node, sizes, &order, which, e));
    let states = states.collect::<Result<Vec<_>, _>>()?;
    let lengths = masking.as_ref().map_or(String::new(), |masking| masking.lengths.clone());
    let mut inputs = vec![x.as_str(), &w, &r, &b, &lengths];
    inputs.extend(states.iter().map(String::as_str));
    let direction = match cell.directions {
        [Direction::Forward] => "forward",
        [Direction::Backward] => "reverse",
        _ => "bidirectional",
    };
    let is_default = names == cell.defaults;
    let repeated = |values: &[f64]| values.repeat(order.len());
    let wanted = wanted(cell, node, masking.is_some(), e);
    let mut build = e.op(cell.op_type, &inputs).str("direction", direction).int("hidden_size", sizes.units as i64);
    if !is_default {
        build = build.strs("activations", &names.repeat(order.len()));
    }
    if !alphas.is_empty() {
        build = build.floats("activation_alpha", &repeated(&alphas));
    }
    if !betas.is_empty() {
        build = build.floats("activation_beta", &repeated(&betas));
    }
    if cell.reset_after {
        build = build.int("linear_before_reset", 1);
    }
    let results = build.tmps(&wanted);
    match masking {
        Some(masking) => masked::results(masking, cell, node, results, &states, swapped, e),
        None => plain_results(node, results, swapped, e),
    }
}

/// Which of Y, Y_h, Y_c somebody uses.
fn wanted(cell: &Cell, node: &Node, masked: bool, e: &Emit) -> Vec<bool> {
    let mut wanted: Vec<bool> = node.outputs.iter().map(|&value| e.is_used(value)).collect();
    // Masked layers may read final states from the sequence.
    wanted[0] |= masked;
    debug_assert_eq!(wanted.len(), 1 + cell.states);
    wanted
}

fn plain_results(node: &Node, results: Vec<String>, swapped: bool, e: &mut Emit) -> Emitting {
    for (i, (result, &value)) in results.iter().zip(&node.outputs).enumerate() {
        if result.is_empty() {
            continue;
        }
        // (time, directions, batch, units) and (directions, batch, units): batch comes first.
        let (perm, axis) = if i == 0 { (vec![2, 0, 1, 3], 2) } else { (vec![1, 0, 2], 1) };
        let turned = e.op("Transpose", &[result]).ints("perm", perm);
        if swapped {
            let turned = turned.tmp();
            directions_swapped(&turned, axis, value, e);
        } else {
            turned.to(value);
        }
    }
    Ok(())
}

/// The two directions of a result in the order of the op.
pub fn directions_swapped(x: &str, axis: i64, value: ValueId, e: &mut Emit) {
    let order = e.ints(&[1, 0]);
    e.op("Gather", &[x, &order]).int("axis", axis).to(value);
}
