//! LSTM, GRU, SimpleRNN and their relatives.
//!
//! A layer is lowered to one whole op (`Lstm`, `Gru`, `SimpleRnn`) where its activations have a word in the IR, else to
//! a `Scan`. Masks and states follow Keras' `backend.rnn`: a masked step keeps the states, and its output is that of
//! the step before (zeros before the first; always zeros with `zero_output_for_mask`). With `go_backwards`, Keras
//! returns the sequence in the order in which it was computed: time reversed.

mod bidirectional;
mod cell;
mod cells;
mod conv_lstm;
mod scan;

use crate::policy;
use crate::table::{Masks, Row};
use crate::training::refuse_dropout;
use cell::Cell;
pub use cells::run_cells;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{Cumulative, CumulativeFunction, DType, Dim, Direction, Reverse, ValueId, Where};
use recast_plugin_api::lower::{Config, Lowering, Val};
use recast_plugin_api::model::ArgKind;

pub const ROWS: &[Row] = &[
    Row::new(
        "Bidirectional",
        "recurrent",
        Masks::Own,
        bidirectional::bidirectional,
        "one op where both directions agree",
    ),
    Row::new("ConvLSTM1D", "recurrent", Masks::Own, conv_lstm::conv_lstm_1d, "a Scan over time"),
    Row::new("ConvLSTM2D", "recurrent", Masks::Own, conv_lstm::conv_lstm_2d, "a Scan over time"),
    Row::new("ConvLSTM3D", "recurrent", Masks::Own, conv_lstm::conv_lstm_3d, "a Scan over time"),
    Row::new("CuDNNGRU", "recurrent", Masks::Own, standard, "weights taken from cuDNN's order"),
    Row::new("CuDNNLSTM", "recurrent", Masks::Own, standard, "weights taken from cuDNN's order"),
    Row::new("GRU", "recurrent", Masks::Own, standard, "reset before or after the product"),
    Row::new("GRUCell", "recurrent", Masks::Drop, one_step, "inside of RNN, or called by itself: one step"),
    Row::new("LSTM", "recurrent", Masks::Own, standard, "a stateful layer starts from zeros"),
    Row::new("LSTMCell", "recurrent", Masks::Drop, one_step, "inside of RNN, or called by itself: one step"),
    Row::new("PeepholeLSTMCell", "recurrent", Masks::Drop, one_step, "a Scan over time"),
    Row::new(
        "RNN",
        "recurrent",
        Masks::Own,
        rnn,
        "cells: LSTMCell, GRUCell, SimpleRNNCell, PeepholeLSTMCell; StackedRNNCells, ResidualWrapper of them",
    ),
    Row::new("ResidualWrapper", "recurrent", Masks::Drop, one_step, "a cell whose input is added to its output"),
    Row::new("SimpleRNN", "recurrent", Masks::Own, standard, ""),
    Row::new("SimpleRNNCell", "recurrent", Masks::Drop, one_step, "inside of RNN, or called by itself: one step"),
    Row::new("StackedRNNCells", "recurrent", Masks::Drop, one_step, "inside of RNN, or called by itself: one step"),
];

/// What a recurrent layer's configuration says besides its cell.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub return_sequences: bool,
    pub return_state: bool,
    pub backwards: bool,
    pub zero_masked: bool,
    /// (time, batch, ...) in and out: Keras 2 alone.
    pub time_major: bool,
    pub stateful: bool,
    unroll: bool,
    /// The file was written on Theano.
    theano: bool,
}

impl Options {
    pub fn read(config: &Config) -> Result<Options, Diag> {
        Ok(Options {
            return_sequences: config.bool_or("return_sequences", false)?,
            return_state: config.bool_or("return_state", false)?,
            backwards: config.bool_or("go_backwards", false)?,
            zero_masked: config.bool_or("zero_output_for_mask", false)?,
            time_major: config.bool_or("time_major", false)?,
            stateful: config.bool_or("stateful", false)?,
            unroll: config.bool_or("unroll", false)?,
            theano: config.bool_or("legacy_theano", false)?,
        })
    }

    /// Whether zeros are put into the sequence by a mask in the order of time, while the sequence is in the order in
    /// which it was computed. `backend.rnn` of TensorFlow 1.13 to Keras 3 does so without a loop, and the masked steps
    /// themselves repeat the step before.
    fn zeroes_turned(&self, call: &Call) -> bool {
        self.zero_masked && self.unroll && self.backwards && self.return_sequences && call.mask.is_some()
    }

    /// Whether a masked step gives the first state. So it was in the loop of TensorFlow, before Keras took that of
    /// tf.keras (2.3); Theano, and TensorFlow without a loop, always repeated the output of the step before.
    fn masked_gives_state(&self, l: &Lowering<'_>) -> bool {
        is_early(l) && l.keras_version() < (2, 3) && !self.unroll && !self.theano
    }
}

/// A call's tensors, told apart.
pub struct Call {
    pub x: ValueId,
    /// Which steps the layer skips.
    pub mask: Option<ValueId>,
    /// Which steps the layers behind it skip, if it returns sequences.
    pub passed: Option<ValueId>,
    pub states: Vec<ValueId>,
    /// A skipped step gives the first state, not the output of the step before: they differ where a state is given at
    /// the beginning, or where the output is that of another cell.
    pub gives_state: bool,
}

impl Call {
    /// Reads the call of this layer. Keras 2 puts initial states behind the sequence as inputs, Keras 3 into
    /// `initial_state`; a mask may be an argument, or come with the sequence.
    pub fn read(l: &mut Lowering<'_>) -> Result<Call, Findings> {
        let is_mask = |l: &Lowering<'_>, val: &Val| l.ty(val.value).dtype == DType::Bool;
        let (masks, mut floats): (Vec<Val>, Vec<Val>) = l.positional().into_iter().partition(|val| is_mask(l, val));
        if floats.is_empty() {
            return Err(l.error(Code::BadConfig, "called without a sequence").into());
        }
        let sequence = floats.remove(0);
        floats.extend(l.kwarg_values("initial_state"));
        // A cell called by itself, in a file of Keras 2.
        floats.extend(l.kwarg_values("states"));
        if matches!(l.kwarg("initial_state"), Some(ArgKind::Json(text)) if text != "null" && text != "[]") {
            return Err(l.unsupported("a constant initial_state").hint("make it an input of the model").into());
        }
        let constants = l.config.u64_or("num_constants", 0)?;
        if constants > 0 || !l.kwarg_values("constants").is_empty() {
            return Err(l.unsupported("constants beside the states").into());
        }
        let explicit = l.kwarg_values("mask").first().or(masks.first()).map(|mask| mask.value);
        // Keras 3 finds the mask of the sequence by itself only where the sequence is the one tensor of the call.
        let unseen = l.keras_major() >= 3 && !floats.is_empty();
        let mask = explicit.or(if unseen { None } else { sequence.mask });
        let passed = explicit.or(sequence.mask);
        let x = policy::as_float(l, sequence.value)?;
        let states = floats.into_iter().map(|state| state.value).collect();
        let mut call = Call { x, mask, passed, states, gives_state: false };
        if let Some(mask) = call.mask {
            call.mask = Some(l.cast(mask, DType::Bool)?);
        }
        Ok(call)
    }
}

/// What ran, before the layer's options pick from it.
pub struct Ran {
    /// (batch, time, units) in the order of time
    sequence: ValueId,
    /// (batch, units): the output of the step that came last, where that is known to be so without the sequence
    last: Option<ValueId>,
    states: Vec<ValueId>,
}

/// One cell over x (batch, time, in).
pub fn run(
    l: &mut Lowering<'_>,
    cell: &Cell,
    call: &Call,
    backwards: bool,
    zero_masked: bool,
) -> Result<Ran, Findings> {
    let direction = if backwards { Direction::Backward } else { Direction::Forward };
    check_states(l, call.states.len(), cell.kind.states())?;
    let Some(op) = cell.op(l, &[direction], zero_masked) else {
        let walked = scan::standard(l, cell, call.x, call.mask, &call.states, backwards, zero_masked)?;
        let ran = Ran { sequence: walked.sequence, last: Some(walked.last), states: walked.states };
        return begin_with_state(l, ran, call, backwards);
    };
    let inputs: Vec<Option<ValueId>> =
        [Some(call.x), call.mask].into_iter().chain(cell.op_inputs(&call.states)).collect();
    let outputs = l.add_node(op, &inputs)?;
    let sequence = l.squeeze(outputs[0], 2)?;
    let states: Vec<ValueId> = outputs[1..].iter().map(|&state| l.squeeze(state, 1)).collect::<Result<_, _>>()?;
    let last = last_is_state(call, zero_masked).then_some(states[0]);
    begin_with_state(l, Ran { sequence, last, states }, call, backwards)
}

/// One cell over x, as the options of its layer say.
pub fn run_layer(l: &mut Lowering<'_>, cell: &Cell, call: &Call, options: &Options) -> Result<Ran, Findings> {
    let turned = options.zeroes_turned(call);
    let ran = run(l, cell, call, options.backwards, options.zero_masked && !turned)?;
    if turned { zero_turned(l, ran, call) } else { Ok(ran) }
}

/// A sequence whose zeros stand where the mask, turned around, has them: see [`Options::zeroes_turned`].
fn zero_turned(l: &mut Lowering<'_>, mut ran: Ran, call: &Call) -> Result<Ran, Findings> {
    if let Some(mask) = call.mask {
        let mut turned = l.add(Reverse { axes: vec![1] }, &[mask])?;
        for axis in 2..l.rank(ran.sequence) {
            turned = l.expand(turned, axis)?;
        }
        let zero = l.scalar_like(ran.sequence, 0.0)?;
        ran.sequence = l.add(Where {}, &[turned, ran.sequence, zero])?;
    }
    Ok(ran)
}

/// What ran, with the initial state in the place of the zeros before the first step, where skipped steps give the
/// state.
fn begin_with_state(l: &mut Lowering<'_>, mut ran: Ran, call: &Call, backwards: bool) -> Result<Ran, Findings> {
    if let (true, Some(mask), Some(&initial)) = (call.gives_state, call.mask, call.states.first()) {
        ran.sequence = begin_with(l, ran.sequence, mask, initial, backwards)?;
        ran.last = ran.states.first().copied();
    }
    Ok(ran)
}

/// Whether the last output is the last state. Not so where the whole row may be masked: its output is then zeros, its
/// state the initial one.
fn last_is_state(call: &Call, zero_masked: bool) -> bool {
    call.mask.is_none() || (!zero_masked && call.states.is_empty())
}

/// Keras before it became a part of TensorFlow, and tf.keras before TensorFlow 1.13.
fn is_early(l: &Lowering<'_>) -> bool {
    l.keras_version() < if l.request.keras_version.contains("tf") { (2, 2) } else { (2, 4) }
}

/// Puts the initial state (batch, units) in the place of the zeros that stand before the first step that is not masked.
fn begin_with(
    l: &mut Lowering<'_>,
    sequence: ValueId,
    mask: ValueId,
    initial: ValueId,
    backwards: bool,
) -> Result<ValueId, Diag> {
    let steps = l.cast(mask, DType::I32)?;
    let running = Cumulative { function: CumulativeFunction::Sum, axis: 1, exclusive: false, reverse: backwards };
    let running = l.add(running, &[steps])?;
    let begun = l.cast(running, DType::Bool)?;
    let (begun, initial) = (l.expand(begun, 2)?, l.expand(initial, 1)?);
    l.add(Where {}, &[begun, sequence, initial])
}

pub fn check_states(l: &Lowering<'_>, have: usize, want: usize) -> Result<(), Diag> {
    if have == 0 || have == want {
        return Ok(());
    }
    Err(l.error(Code::BadConfig, format!("{have} initial states where the cells have {want}")))
}

/// The step of a sequence (batch, time, ...) that was computed last.
fn last_of(l: &mut Lowering<'_>, sequence: ValueId, backwards: bool) -> Result<ValueId, Diag> {
    let time = l.shape(sequence)[1].clone();
    let at = if backwards { Dim::Known(0) } else { before(l, &time)? };
    let next = at.offset(1).unwrap_or(time);
    let step = l.slice(sequence, 1, at, next)?;
    l.squeeze(step, 1)
}

fn before(l: &Lowering<'_>, time: &Dim) -> Result<Dim, Diag> {
    time.offset(-1).ok_or_else(|| l.error(Code::TypeMismatch, "the last step of a sequence without steps"))
}

/// The layer's outputs, as its options ask for them.
pub fn outputs(l: &mut Lowering<'_>, options: &Options, call: &Call, ran: Ran) -> Result<Vec<Val>, Findings> {
    let mut outputs = vec![output(l, options, call, &ran)?];
    if options.return_state {
        outputs.extend(ran.states.into_iter().map(Val::plain));
    }
    Ok(outputs)
}

fn output(l: &mut Lowering<'_>, options: &Options, call: &Call, ran: &Ran) -> Result<Val, Findings> {
    if !options.return_sequences {
        return Ok(Val::plain(match ran.last {
            Some(last) => last,
            None => last_of(l, ran.sequence, options.backwards)?,
        }));
    }
    let mut sequence = ran.sequence;
    if options.backwards {
        sequence = l.add(Reverse { axes: vec![1] }, &[sequence])?;
    }
    if options.time_major {
        sequence = swap_time(l, sequence)?;
    }
    Ok(Val { value: sequence, mask: call.passed })
}

/// (batch, time, ...) to (time, batch, ...) and back.
fn swap_time(l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
    let mut perm: Vec<usize> = (0..l.rank(x)).collect();
    perm.swap(0, 1);
    l.transpose(x, &perm)
}

/// Brings the call into (batch, time, ...) and says what a stateful layer loses.
pub fn prepare(l: &mut Lowering<'_>, options: &Options, call: &mut Call) -> Result<(), Findings> {
    refuse_dropout(l)?;
    if options.time_major {
        call.x = swap_time(l, call.x)?;
        call.mask = call.mask.map(|mask| swap_time(l, mask)).transpose()?;
    }
    call.gives_state = call.mask.is_some() && options.masked_gives_state(l);
    if options.stateful && call.states.is_empty() {
        let detail = "stateful: every run of the converted model starts from zeros, as Keras does after reset_states()";
        l.report(&Diag::new(Code::OptionIgnored, &l.layer.path, detail));
    }
    Ok(())
}

/// Size of the last axis, which the kernels must fit.
pub fn width(l: &Lowering<'_>, x: ValueId) -> Result<u64, Diag> {
    match l.rank(x).checked_sub(1) {
        Some(axis) => l.known(x, axis),
        None => Err(l.unsupported("called on a scalar")),
    }
}

fn standard(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let options = Options::read(&l.config)?;
    let mut call = Call::read(l)?;
    prepare(l, &options, &mut call)?;
    let input = width(l, call.x)?;
    let cell = cell::read(l, l.layer, input)?;
    let ran = run_layer(l, &cell, &call, &options)?;
    outputs(l, &options, &call, ran)
}

fn rnn(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let options = Options::read(&l.config)?;
    let mut call = Call::read(l)?;
    prepare(l, &options, &mut call)?;
    let cell = l.child("cell")?;
    let ran = run_cells(l, cell, &call, &options)?;
    outputs(l, &options, &call, ran)
}

/// A cell that is called by itself, on (batch, in) and states: a sequence of one step. Gives the output and the states.
fn one_step(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    refuse_dropout(l)?;
    let mut call = Call::read(l)?;
    if l.rank(call.x) != 2 {
        return Err(l.unsupported(format!("called on {}", l.ty(call.x))).into());
    }
    call.x = l.expand(call.x, 1)?;
    (call.mask, call.passed) = (None, None);
    let options = Options { return_state: true, ..Options::read(&l.config)? };
    let ran = run_cells(l, l.layer, &call, &options)?;
    outputs(l, &options, &call, ran)
}
