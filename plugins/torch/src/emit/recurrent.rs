//! LSTM, GRU and SimpleRNN.
//!
//! `nn.LSTM` and its kin where they are the same function; else a cell and a loop over time (`run_steps` of the
//! helpers): masks may have gaps anywhere, which packed sequences can't, and PyTorch's modules know no other
//! activations.
//!
//! | | Keras | PyTorch | source |
//! |---|---|---|---|
//! | kernels | (in, gates u) | (gates u, in) | docs.pytorch.org, nn.LSTM: `weight_ih_l0` |
//! | LSTM gates | i, f, c, o | i, f, g, o | keras/src/layers/rnn/lstm.py; nn.LSTM |
//! | GRU gates | z, r, h | r, z, n | keras/src/layers/rnn/gru.py; nn.GRU |
//! | GRU bias | (2, 3u): input, recurrent | `bias_ih`, `bias_hh` | nn.GRU: n = tanh(.. + r (W h + b)) |
//! | LSTM, RNN bias | one | two, added | the second is zeros, and stays |
//!
//! A GRU with `reset_after=False` multiplies by r before the product: no module of PyTorch does.

use super::elementwise::function_of;
use super::matmul::dtype_arg;
use super::unsupported;
use crate::class::Helper;
use crate::py::{Arg, Py, StmtKind, call, kw, method};
use crate::scope::{Emit, Folded, Made, Making, shape_comment};
use crate::weights::{Source, Weight};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    ActivationFunction, ActivationSpec, DType, Direction, Graph, Gru, Lstm, Node, Op, Shape, SimpleRnn, Tensor, ValueId,
};

/// What the three kinds differ in.
struct Cell<'o> {
    /// `LSTM` of `nn.LSTM`, `nn.LSTMCell`.
    kind: &'static str,
    helper: Helper,
    directions: &'o [Direction],
    /// Keras' gate at each place of PyTorch's order.
    gates: &'static [usize],
    states: usize,
    activation: ActivationSpec,
    recurrent_activation: Option<ActivationSpec>,
    zero_masked: bool,
    /// Keras has both biases.
    two_biases: bool,
    /// PyTorch's own modules compute it.
    standard: bool,
    /// Further arguments of PyTorch's own modules.
    options: Vec<Arg>,
}

fn is_plain(spec: &ActivationSpec, function: ActivationFunction) -> bool {
    spec.function == function
}

pub fn lstm(op: &Lstm, node: &Node, e: &mut Emit) -> Making {
    let standard = is_plain(&op.activation, ActivationFunction::Tanh)
        && is_plain(&op.recurrent_activation, ActivationFunction::Sigmoid);
    let cell = Cell {
        kind: "LSTM",
        helper: Helper::LstmCell,
        directions: &op.directions,
        gates: &[0, 1, 2, 3],
        states: 2,
        activation: op.activation,
        recurrent_activation: Some(op.recurrent_activation),
        zero_masked: op.zero_masked,
        two_biases: false,
        standard,
        options: Vec::new(),
    };
    recurrent(&cell, node, e)
}

pub fn gru(op: &Gru, node: &Node, e: &mut Emit) -> Making {
    let standard = op.reset_after
        && is_plain(&op.activation, ActivationFunction::Tanh)
        && is_plain(&op.recurrent_activation, ActivationFunction::Sigmoid);
    let cell = Cell {
        kind: "GRU",
        helper: Helper::GruCell,
        directions: &op.directions,
        gates: &[1, 0, 2],
        states: 1,
        activation: op.activation,
        recurrent_activation: Some(op.recurrent_activation),
        zero_masked: op.zero_masked,
        two_biases: op.reset_after,
        standard,
        options: if standard { Vec::new() } else { vec![kw("reset_after", op.reset_after)] },
    };
    recurrent(&cell, node, e)
}

pub fn simple_rnn(op: &SimpleRnn, node: &Node, e: &mut Emit) -> Making {
    let relu = is_plain(&op.activation, ActivationFunction::Relu);
    let standard = relu || is_plain(&op.activation, ActivationFunction::Tanh);
    let cell = Cell {
        kind: "RNN",
        helper: Helper::RnnCell,
        directions: &op.directions,
        gates: &[0],
        states: 1,
        activation: op.activation,
        recurrent_activation: None,
        zero_masked: op.zero_masked,
        two_biases: false,
        standard,
        options: if relu { vec![kw("nonlinearity", "\"relu\"")] } else { Vec::new() },
    };
    recurrent(&cell, node, e)
}

/// Inputs of one direction: kernel, recurrent kernel, bias, then the states.
fn inputs_of(cell: &Cell, node: &Node, direction: usize) -> Vec<Option<ValueId>> {
    let per_direction = 3 + cell.states;
    let at = 2 + direction * per_direction;
    node.inputs.get(at..at + per_direction).map(<[_]>::to_vec).unwrap_or_default()
}

/// Sizes that all weights are made of.
#[derive(Clone, Copy)]
struct Sizes {
    input: u64,
    units: u64,
    dtype: DType,
}

fn weight_of(value: Option<ValueId>, node: &Node, e: &Emit) -> Result<(Tensor, String), Diag> {
    let param = value.and_then(|value| e.param(value));
    let param = param.ok_or_else(|| unsupported(node, "weights that are computed by the model"))?;
    Ok((param.tensor.clone(), param.name()))
}

/// Blocks of `block` bytes in another order.
fn reordered(bytes: &[u8], block: usize, order: &[usize]) -> Vec<u8> {
    order.iter().flat_map(|&at| bytes.get(at * block..(at + 1) * block).unwrap_or(&[]).to_vec()).collect()
}

/// A kernel turned to (gates u, in), its gates in PyTorch's order.
fn kernel(cell: &Cell, name: String, tensor: &Tensor, sizes: Sizes, node: &Node) -> Result<Weight, Diag> {
    let turned = tensor.permuted(&[1, 0]).ok_or_else(|| unsupported(node, "a kernel that is a view of a view"))?;
    if cell.gates.is_sorted() {
        return Ok(Weight::view(name, turned));
    }
    let block = (sizes.units * tensor.shape[0]) as usize * sizes.dtype.size();
    Ok(gated(name, turned.shape.clone(), turned, sizes.dtype, block, cell.gates))
}

fn gated(key: String, shape: Vec<u64>, from: Tensor, dtype: DType, block: usize, gates: &'static [usize]) -> Weight {
    let make = move |given: &[Vec<u8>]| given.iter().flat_map(|bytes| reordered(bytes, block, gates)).collect();
    Weight { key, dtype, shape, source: Source::Made { from: vec![from], make: Box::new(make) } }
}

/// Weights of one direction under the names of PyTorch; `suffix` is `_l0`, `_l0_reverse`, or empty for a cell.
struct Direct {
    weights: Vec<Weight>,
    /// Biases that Keras has not.
    added: Vec<&'static str>,
    key: String,
}

/// Bias vectors of one direction: what Keras has, and zeros for what it has not.
fn biases(cell: &Cell, bias: &Tensor, sizes: Sizes, names: [&'static str; 2], out: &mut Direct) {
    let width = cell.gates.len() as u64 * sizes.units;
    let block = sizes.units as usize * sizes.dtype.size();
    let bytes = width as usize * sizes.dtype.size();
    let gates = cell.gates;
    for (index, name) in names.into_iter().enumerate() {
        if index == 1 && !cell.two_biases {
            let source = Source::Filled(0.0);
            out.weights.push(Weight { key: name.into(), dtype: sizes.dtype, shape: vec![width], source });
            out.added.push(name);
            continue;
        }
        // Keras' two rows lie one behind the other.
        let make = move |given: &[Vec<u8>]| {
            let row =
                |all: &Vec<u8>| reordered(all.get(index * bytes..(index + 1) * bytes).unwrap_or(&[]), block, gates);
            given.iter().flat_map(row).collect()
        };
        let source = Source::Made { from: vec![bias.clone()], make: Box::new(make) };
        out.weights.push(Weight { key: name.into(), dtype: sizes.dtype, shape: vec![width], source });
    }
}

const LAYER: [&str; 4] = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"];
const REVERSE: [&str; 4] = ["weight_ih_l0_reverse", "weight_hh_l0_reverse", "bias_ih_l0_reverse", "bias_hh_l0_reverse"];
const STEP: [&str; 4] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];

fn direction(
    cell: &Cell,
    node: &Node,
    at: usize,
    sizes: Sizes,
    names: [&'static str; 4],
    with_bias: bool,
    e: &Emit,
) -> Result<Direct, Diag> {
    let inputs = inputs_of(cell, node, at);
    let (input_kernel, name) = weight_of(inputs[0], node, e)?;
    let (recurrent_kernel, _) = weight_of(inputs[1], node, e)?;
    let weights = vec![
        kernel(cell, names[0].into(), &input_kernel, sizes, node)?,
        kernel(cell, names[1].into(), &recurrent_kernel, sizes, node)?,
    ];
    let mut direct = Direct { weights, added: Vec::new(), key: name };
    if inputs[2].is_some() {
        let (bias, _) = weight_of(inputs[2], node, e)?;
        biases(cell, &bias, sizes, [names[2], names[3]], &mut direct);
    } else if with_bias {
        for name in [names[2], names[3]] {
            let shape = vec![cell.gates.len() as u64 * sizes.units];
            direct.weights.push(Weight { key: name.into(), dtype: sizes.dtype, shape, source: Source::Filled(0.0) });
            direct.added.push(name);
        }
    }
    Ok(direct)
}

fn recurrent(cell: &Cell, node: &Node, e: &mut Emit) -> Making {
    let ty = e.ty(e.value(node, 0)?);
    let units = inputs_of(cell, node, 0).get(1).copied().flatten().and_then(|r| e.shape(r)[0].known());
    let sizes =
        units.zip(ty.shape[2].known()).ok_or_else(|| unsupported(node, "units or features of unknown number"))?;
    let sizes = Sizes { units: sizes.0, input: sizes.1, dtype: ty.dtype };
    let masked = is_masked_somewhere(e.graph, node);
    let one_way = !matches!(cell.directions, [Direction::Backward, Direction::Forward]);
    if cell.standard && !masked && one_way { whole(cell, node, sizes, e) } else { stepwise(cell, node, sizes, e) }
}

/// Whether this call or another one with the same kernel is masked: a layer's weights lie in one module.
pub fn is_masked_somewhere(graph: &Graph, node: &Node) -> bool {
    let input = |node: &Node, index: usize| node.inputs.get(index).copied().flatten();
    let kernel = input(node, 2);
    let recurrent = |other: &Node| matches!(other.op, Op::Lstm(_) | Op::Gru(_) | Op::SimpleRnn(_));
    let mut masked = graph.nodes().iter().filter(|other| recurrent(other) && input(other, 1).is_some());
    masked.any(|other| kernel.is_some() && other.inputs.contains(&kernel))
}

fn has_bias(cell: &Cell, node: &Node) -> bool {
    (0..cell.directions.len()).any(|at| inputs_of(cell, node, at)[2].is_some())
}

/// The initial states of all directions, stacked; `None` where there are none.
fn initial(cell: &Cell, node: &Node, sizes: Sizes, e: &mut Emit) -> Result<Option<Py>, Diag> {
    let directions = cell.directions.len();
    let given = |which: usize| (0..directions).map(move |at| inputs_of(cell, node, at)[3 + which]);
    if (0..cell.states).flat_map(given).all(|state| state.is_none()) {
        return Ok(None);
    }
    let mut stacks = Vec::new();
    for which in 0..cell.states {
        let mut parts = Vec::new();
        for state in given(which).collect::<Vec<_>>() {
            parts.push(match state {
                Some(state) => e.say(state)?,
                None => zeros(node, sizes, e)?,
            });
        }
        stacks.push(match &parts[..] {
            [only] => method(only.clone(), "unsqueeze", vec![Py::from(0u64).into()]),
            _ => call("torch.stack", vec![Py::Tuple(parts).into()]),
        });
    }
    Ok(Some(if stacks.len() == 1 { stacks.remove(0) } else { e.temporary(&Py::Tuple(stacks)) }))
}

fn zeros(node: &Node, sizes: Sizes, e: &mut Emit) -> Result<Py, Diag> {
    let x = e.var(node, 0)?;
    let batch = e.shape(e.value(node, 0)?)[0].clone();
    let batch = e.size(&batch)?;
    Ok(method(x, "new_zeros", vec![batch.into(), Py::from(sizes.units).into()]))
}

/// One module for all steps.
fn whole(cell: &Cell, node: &Node, sizes: Sizes, e: &mut Emit) -> Making {
    let backward = cell.directions == [Direction::Backward];
    let both = cell.directions.len() == 2;
    let with_bias = has_bias(cell, node);
    let mut weights = Vec::new();
    let mut added = Vec::new();
    let mut key = String::new();
    for at in 0..cell.directions.len() {
        let names = if at == 0 { LAYER } else { REVERSE };
        let mut direct = direction(cell, node, at, sizes, names, with_bias, e)?;
        weights.append(&mut direct.weights);
        added.append(&mut direct.added);
        key.push_str(&direct.key);
    }
    let mut args: Vec<Arg> = vec![Py::from(sizes.input).into(), Py::from(sizes.units).into()];
    args.extend(cell.options.iter().cloned());
    args.extend((!with_bias).then(|| kw("bias", false)));
    args.push(kw("batch_first", true));
    args.extend(both.then(|| kw("bidirectional", true)));
    args.extend(dtype_arg(sizes.dtype));
    let base = e.attribute_base(&node.path, "");
    let module = e.module(key, &base, call(&format!("nn.{}", cell.kind), args), &added, weights);
    let flip = |x: Py| call("torch.flip", vec![x.into(), Py::Tuple(vec![1u64.into()]).into()]);
    let mut x = e.arg(node, 0)?;
    if backward {
        x = flip(x);
    }
    let state = initial(cell, node, sizes, e)?;
    let args = [x].into_iter().chain(state).map(Arg::from).collect();
    let wanted: Vec<bool> = node.outputs.iter().map(|&value| e.is_used(value)).collect();
    let names = result_names(node, &wanted, e);
    let states = if cell.states == 2 && (wanted[1] || wanted[2]) {
        format!("({}, {})", names[1], names[2])
    } else {
        names[1].clone()
    };
    let comment = if wanted[0] && !backward { shape_comment(&joined(node, 0, 2, e)) } else { String::new() };
    let targets = format!("{}, {states}", names[0]);
    e.push(StmtKind::Assign { targets, value: Py::Call(Box::new(module), args), comment });
    if wanted[0] && backward {
        let value = flip(names[0].as_str().into());
        let comment = shape_comment(&joined(node, 0, 2, e));
        e.push(StmtKind::Assign { targets: names[0].clone(), value, comment });
    }
    if wanted[0] {
        bind_sequence(node, &names[0], sizes, both, e);
    }
    for which in (1..=cell.states).filter(|&which| wanted[which]) {
        bind_state(node, which, &names[which], both, e);
    }
    Ok(Made::Bound)
}

/// A variable for each result that somebody uses.
fn result_names(node: &Node, wanted: &[bool], e: &mut Emit) -> Vec<String> {
    let mut names = Vec::new();
    for (index, (&value, &wanted)) in node.outputs.iter().zip(wanted).enumerate() {
        names.push(match (wanted, index) {
            (false, _) => "_".into(),
            (true, 0) => e.variable(value, &[]),
            (true, 1) => e.fixed_name("h"),
            (true, _) => e.fixed_name("c"),
        });
    }
    names
}

/// The shape of a result with its directions and units in one axis.
fn joined(node: &Node, index: usize, axis: usize, e: &Emit) -> Shape {
    let mut shape: Shape = e.shape(node.outputs[index]).to_vec();
    let units = shape.remove(axis + 1);
    shape[axis] = shape[axis].times(&units);
    shape
}

/// PyTorch's sequence is (batch, time, directions units).
fn bind_sequence(node: &Node, name: &str, sizes: Sizes, both: bool, e: &mut Emit) {
    let x = Py::from(name);
    let all = || Py::Slice(None, None, None);
    let (whole, parts) = if both {
        let size = Py::Tuple(vec![2u64.into(), sizes.units.into()]);
        let units = || Some(Box::new(Py::from(sizes.units)));
        let half = |slice: Py| Py::Index(Box::new(x.clone()), vec![all(), all(), slice]);
        let parts = vec![half(Py::Slice(None, units(), None)), half(Py::Slice(units(), None, None))];
        (method(x.clone(), "unflatten", vec![Py::from(2u64).into(), size.into()]), parts)
    } else {
        (method(x.clone(), "unsqueeze", vec![Py::from(2u64).into()]), vec![x.clone()])
    };
    let folded = Folded { joined: (x, joined(node, 0, 2, e)), whole, parts: (2, parts) };
    e.frame.folded.insert(node.outputs[0], folded);
}

/// PyTorch's states are (directions, batch, units).
fn bind_state(node: &Node, which: usize, name: &str, both: bool, e: &mut Emit) {
    let h = Py::from(name);
    let part = |at: u64| Py::Index(Box::new(h.clone()), vec![at.into()]);
    let parts = if both { vec![part(0), part(1)] } else { vec![part(0)] };
    let one = if both { call("torch.cat", vec![Py::Tuple(parts.clone()).into(), kw("dim", 1u64)]) } else { part(0) };
    let whole = method(h.clone(), "transpose", vec![Py::from(0u64).into(), Py::from(1u64).into()]);
    let folded = Folded { joined: (one, joined(node, which, 1, e)), whole, parts: (1, parts) };
    e.frame.folded.insert(node.outputs[which], folded);
}

/// A cell for each direction, and `run_steps` over it.
fn stepwise(cell: &Cell, node: &Node, sizes: Sizes, e: &mut Emit) -> Making {
    e.out.helpers.insert(Helper::RunSteps);
    let x = e.var(node, 0)?;
    let mask = e.opt_arg(node, 1)?;
    let mask = match mask {
        Some(mask) if matches!(mask, Py::Atom(_)) => Some(mask),
        Some(mask) => Some(e.temporary(&mask)),
        None => None,
    };
    let mut sequences = Vec::new();
    let mut finals: Vec<Vec<Py>> = vec![Vec::new(); cell.states];
    let wanted: Vec<bool> = node.outputs.iter().map(|&value| e.is_used(value)).collect();
    for (at, &way) in cell.directions.iter().enumerate() {
        let module = step_module(cell, node, at, sizes, e)?;
        let mut args: Vec<Arg> = vec![module.into(), x.clone().into()];
        args.extend(mask.clone().map(|mask| kw("mask", mask)));
        args.extend(step_states(cell, node, at, sizes, e)?.map(|state| kw("state", state)));
        args.extend((way == Direction::Backward).then(|| kw("reverse", true)));
        args.extend((cell.zero_masked && mask.is_some()).then(|| kw("zero_masked", true)));
        let prefix = match (cell.directions.len(), way) {
            (1, _) => "",
            (_, Direction::Forward) => "forward_",
            (_, Direction::Backward) => "backward_",
        };
        let sequence = if wanted[0] { e.fixed_name(&format!("{prefix}steps")) } else { "_".into() };
        let mut states = Vec::new();
        for which in 0..cell.states {
            let base = ["h", "c"][which.min(1)];
            states.push(if wanted[1 + which] { e.fixed_name(&format!("{prefix}{base}")) } else { "_".into() });
        }
        let states_text = if states.iter().all(|state| state == "_") { "_".into() } else { packed(&states) };
        let targets = format!("{sequence}, {states_text}");
        e.push(StmtKind::Assign { targets, value: call("run_steps", args), comment: String::new() });
        sequences.push(Py::from(sequence));
        finals.iter_mut().zip(&states).for_each(|(all, state)| all.push(state.as_str().into()));
    }
    if wanted[0] {
        bind_parts(node, 0, 2, sequences, e);
    }
    for (which, states) in finals.into_iter().enumerate().filter(|(which, _)| wanted[1 + which]) {
        bind_parts(node, 1 + which, 1, states, e);
    }
    Ok(Made::Bound)
}

fn packed(states: &[String]) -> String {
    match states {
        [only] => format!("({only},)"),
        _ => format!("({})", states.join(", ")),
    }
}

/// One result of all directions, each by itself a variable, directions to be at `axis`.
fn bind_parts(node: &Node, index: usize, axis: usize, parts: Vec<Py>, e: &mut Emit) {
    let (one, whole) = match &parts[..] {
        [only] => (only.clone(), method(only.clone(), "unsqueeze", vec![Py::from(axis).into()])),
        _ => (
            call("torch.cat", vec![Py::Tuple(parts.clone()).into(), kw("dim", axis)]),
            call("torch.stack", vec![Py::Tuple(parts.clone()).into(), kw("dim", axis)]),
        ),
    };
    let folded = Folded { joined: (one, joined(node, index, axis, e)), whole, parts: (axis, parts) };
    e.frame.folded.insert(node.outputs[index], folded);
}

fn step_states(cell: &Cell, node: &Node, at: usize, sizes: Sizes, e: &mut Emit) -> Result<Option<Py>, Diag> {
    let given = inputs_of(cell, node, at);
    if given[3..].iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut states = Vec::new();
    for state in &given[3..] {
        states.push(match state {
            Some(state) => e.say(*state)?,
            None => zeros(node, sizes, e)?,
        });
    }
    Ok(Some(Py::Tuple(states)))
}

/// `nn.LSTMCell` and its kin, or a cell of the helpers.
fn step_module(cell: &Cell, node: &Node, at: usize, sizes: Sizes, e: &mut Emit) -> Result<Py, Diag> {
    let with_bias = has_bias(cell, node);
    let mut direct = direction(cell, node, at, sizes, STEP, with_bias, e)?;
    let hint = match (cell.directions.len(), cell.directions[at]) {
        (1, _) => "",
        (_, Direction::Forward) => "forward",
        (_, Direction::Backward) => "backward",
    };
    let base = e.attribute_base(&node.path, hint);
    let mut args: Vec<Arg> = vec![Py::from(sizes.input).into(), Py::from(sizes.units).into()];
    args.extend((!with_bias).then(|| kw("bias", false)));
    let name = if cell.standard {
        args.extend(cell.options.iter().cloned());
        format!("nn.{}Cell", cell.kind)
    } else {
        e.out.helpers.insert(cell.helper);
        // A bias that is zeros and stays so is none.
        let has = |name: &str| name == "bias_ih" || cell.two_biases;
        direct.weights.retain(|weight| !direct.added.contains(&weight.key.as_str()) || has(&weight.key));
        direct.added.retain(|name| has(name));
        args.push(kw("activation", function_of(&cell.activation)));
        args.extend(cell.recurrent_activation.iter().map(|spec| kw("recurrent_activation", function_of(spec))));
        args.extend(cell.options.iter().filter(|arg| arg.name == Some("reset_after")).cloned());
        format!("Keras{}Cell", cell.kind)
    };
    args.extend(dtype_arg(sizes.dtype));
    Ok(e.module(format!("cell {}", direct.key), &base, call(&name, args), &direct.added, direct.weights))
}
