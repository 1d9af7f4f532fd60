//! Bidirectional: one layer over time in both directions, merged.
//!
//! Keras runs the backward layer with `go_backwards` and turns its sequence around again, so both are in the order of
//! time. The layers inside say what they give at masked steps (`zero_output_for_mask` in the configuration of each): no
//! file does, so that it is for every source to state; `config::masked` of `recast-keras-model` has the rules.

use super::cell::{self, Cell};
use super::{Call, Options};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{BinaryFunction, Concat, Dim, Direction, ReduceFunction, Reverse, ValueId};
use recast_plugin_api::lower::{Config, Lowering, Val};
use recast_plugin_api::model::{Arg, Layer, NamedArg, ValueRef};
use serde_json::Value as Json;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Merge {
    Concat,
    Sum,
    Mul,
    Average,
    /// Both, one after the other.
    Apart,
}

fn merge_mode(l: &Lowering<'_>) -> Result<Merge, Diag> {
    match l.config.object().get("merge_mode") {
        None => Ok(Merge::Concat),
        Some(Json::Null) => Ok(Merge::Apart),
        Some(Json::String(mode)) => match mode.as_str() {
            "concat" => Ok(Merge::Concat),
            "sum" => Ok(Merge::Sum),
            "mul" => Ok(Merge::Mul),
            "ave" => Ok(Merge::Average),
            other => Err(l.error(Code::BadConfig, format!("merge_mode '{other}'"))),
        },
        Some(other) => Err(l.error(Code::BadConfig, format!("merge_mode {other}"))),
    }
}

pub fn bidirectional(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let merge = merge_mode(l)?;
    let (forward, backward) = (l.child("forward_layer")?, l.child("backward_layer")?);
    let config = Config::new(&forward.path, &forward.config)?;
    let options = Options::read(&config)?;
    let mut call = Call::read(l)?;
    super::prepare(l, &options, &mut call)?;
    if call.mask.is_some() && options.zero_masked && !options.return_sequences {
        let detail = "taken for a layer of TensorFlow 1.13: zeros where the last step is masked. In one of 1.14 or \
                      1.15 whose `zero_output_for_mask` was set by hand, which no file tells apart, it has no effect";
        l.report(&Diag::new(Code::OptionIgnored, &l.layer.path, detail).note());
    }
    let input = super::width(l, call.x)?;
    let mut cells = [None, None];
    for (cell, layer) in cells.iter_mut().zip([forward, backward]) {
        if cell::is_standard(&layer.class) {
            *cell = Some(cell::read(l, layer, input)?);
        }
    }
    if let [Some(ahead), Some(behind)] = &cells
        && let Some(outputs) = as_one_op(l, merge, [ahead, behind], &call, &options)?
    {
        return Ok(outputs);
    }
    // Keras refuses a pair that runs the same way.
    let reversed = Options { backwards: !options.backwards, ..options };
    let half = call.states.len() / 2;
    let ahead = Call { states: call.states[..half].to_vec(), ..call };
    let behind = Call { states: call.states[half..].to_vec(), ..call };
    let mut y = run_layer(l, forward, &cells[0], &ahead, &options, false)?;
    let mut z = run_layer(l, backward, &cells[1], &behind, &reversed, true)?;
    if y.is_empty() || z.is_empty() {
        return Err(l.error(Code::PluginMisbehaved, "a direction without output").into());
    }
    let merged = merged(l, merge, y.remove(0).value, z.remove(0).value)?;
    Ok(with_states(&options, &call, merged, y.into_iter().chain(z).map(|state| state.value).collect()))
}

/// Adds the states, and the mask to what is a sequence.
fn with_states(options: &Options, call: &Call, merged: Vec<ValueId>, states: Vec<ValueId>) -> Vec<Val> {
    let mask = if options.return_sequences { call.passed } else { None };
    let outputs = merged.into_iter().map(|value| Val { value, mask });
    let states: Vec<ValueId> = if options.return_state { states } else { Vec::new() };
    outputs.chain(states.into_iter().map(Val::plain)).collect()
}

fn merged(l: &mut Lowering<'_>, merge: Merge, a: ValueId, b: ValueId) -> Result<Vec<ValueId>, Diag> {
    Ok(vec![match merge {
        Merge::Concat => l.add(Concat { axis: l.rank(a) - 1 }, &[a, b])?,
        Merge::Sum => l.binary(BinaryFunction::Add, a, b)?,
        Merge::Mul => l.binary(BinaryFunction::Mul, a, b)?,
        Merge::Average => {
            let sum = l.binary(BinaryFunction::Add, a, b)?;
            l.binary_scalar(BinaryFunction::Mul, sum, 0.5)?
        }
        Merge::Apart => return Ok(vec![a, b]),
    }])
}

/// One direction by itself; `turned`: Keras turns the sequence that the layer gives around again.
fn run_layer(
    l: &mut Lowering<'_>,
    layer: &Layer,
    cell: &Option<Cell>,
    call: &Call,
    options: &Options,
    turned: bool,
) -> Result<Vec<Val>, Findings> {
    let ran = if let Some(cell) = cell {
        super::run_layer(l, cell, call, options)?
    } else if layer.class == "RNN" {
        let cell = layer.child("cell").ok_or_else(|| l.error(Code::BadConfig, "an RNN without cell"))?;
        super::run_cells(l, cell, call, options)?
    } else {
        let mut outputs = run_foreign(l, layer, call, options)?;
        if let (true, true, Some(sequence)) = (turned, options.return_sequences, outputs.first_mut()) {
            sequence.value = l.add(Reverse { axes: vec![1] }, &[sequence.value])?;
        }
        return Ok(outputs);
    };
    // Turned twice is not turned.
    let backwards = if turned && options.return_sequences { !options.backwards } else { options.backwards };
    super::outputs(l, &Options { backwards, ..*options }, call, ran)
}

/// A layer of another kind, through whoever lowers its class.
fn run_foreign(l: &mut Lowering<'_>, layer: &Layer, call: &Call, options: &Options) -> Result<Vec<Val>, Findings> {
    let mut config = Config::new(&layer.path, &layer.config)?.object().clone();
    if let Some(object) = config.as_object_mut() {
        object.insert("go_backwards".into(), options.backwards.into());
        object.insert("zero_output_for_mask".into(), options.zero_masked.into());
    }
    let layer = Layer { config: config.to_string(), ..layer.clone() };
    let states: Vec<Val> = call.states.iter().map(|&state| Val::plain(state)).collect();
    let mut kwargs = Vec::new();
    if !states.is_empty() {
        let refs = (1..=states.len() as u32).map(|index| Arg::value(ValueRef { call: None, index }));
        kwargs.push(NamedArg { name: "initial_state".into(), arg: Some(Arg::list(refs.collect())) });
    }
    l.lower_child(&layer, &[Val { value: call.x, mask: call.mask }], &kwargs, &states)
}

/// Both directions in one op, where they are the same kind of cell, of one size and with the same activations.
fn as_one_op(
    l: &mut Lowering<'_>,
    merge: Merge,
    cells: [&Cell; 2],
    call: &Call,
    options: &Options,
) -> Result<Option<Vec<Val>>, Findings> {
    // What old Keras and states under a mask need besides is written for one direction.
    if options.backwards || options.time_major || (call.mask.is_some() && !call.states.is_empty()) {
        return Ok(None);
    }
    // Then the last output is not the last state, or one direction has zeros elsewhere.
    if options.zero_masked && call.mask.is_some() && (!options.return_sequences || options.unroll) {
        return Ok(None);
    }
    let like = |a: &Cell, b: &Cell| {
        let activations = a.activation == b.activation && a.recurrent_activation == b.recurrent_activation;
        a.kind == b.kind && a.units == b.units && activations
    };
    let op = cells[0].op(l, &[Direction::Forward, Direction::Backward], options.zero_masked);
    let Some(op) = op.filter(|_| like(cells[0], cells[1])) else { return Ok(None) };
    super::check_states(l, call.states.len(), 2 * cells[0].kind.states())?;
    let half = call.states.len() / 2;
    let mut inputs = vec![Some(call.x), call.mask];
    inputs.extend(cells[0].op_inputs(&call.states[..half]));
    inputs.extend(cells[1].op_inputs(&call.states[half..]));
    let outputs = l.add_node(op, &inputs)?;
    // A direction's own axis: 2 of the sequence, 1 of a state.
    let merged = if options.return_sequences {
        merged_axis(l, merge, outputs[0], 2)?
    } else {
        merged_axis(l, merge, outputs[1], 1)?
    };
    let mut states = Vec::new();
    for direction in [0, 1] {
        for &state in outputs[1..].iter().filter(|_| options.return_state) {
            states.push(part(l, state, 1, direction)?);
        }
    }
    Ok(Some(with_states(options, call, merged, states)))
}

/// Merges the two entries of `axis`, which the last axis follows.
fn merged_axis(l: &mut Lowering<'_>, merge: Merge, x: ValueId, axis: usize) -> Result<Vec<ValueId>, Diag> {
    let function = match merge {
        Merge::Concat => {
            let mut shape = l.shape(x);
            let units = shape.remove(axis + 1);
            shape[axis] = shape[axis].times(&units);
            return Ok(vec![l.reshape(x, shape)?]);
        }
        Merge::Apart => return Ok(vec![part(l, x, axis, 0)?, part(l, x, axis, 1)?]),
        Merge::Sum => ReduceFunction::Sum,
        Merge::Mul => ReduceFunction::Prod,
        Merge::Average => ReduceFunction::Mean,
    };
    Ok(vec![l.reduce(function, x, &[axis], false)?])
}

fn part(l: &mut Lowering<'_>, x: ValueId, axis: usize, index: u64) -> Result<ValueId, Diag> {
    let part = l.slice(x, axis, Dim::Known(index), Dim::Known(index + 1))?;
    l.squeeze(part, axis)
}
