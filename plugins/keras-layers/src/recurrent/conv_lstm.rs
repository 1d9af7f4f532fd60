//! ConvLSTM1D, 2D and 3D: an LSTM whose products are convolutions.
//!
//! The convolution of the input has no memory, so it runs over all steps at once, before the scan.

use super::cell::{self, Cell, Kind};
use super::scan::{self, Walk};
use super::{Call, Options, Ran};
use crate::activations;
use crate::geometry::{self, Edge};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::types::element_count;
use recast_plugin_api::ir::{Conv, Dim, KernelOrder, Layout, Padding, ValueId};
use recast_plugin_api::lower::{Config, Lowering, Val};
use serde_json::Value as Json;

pub fn conv_lstm_1d(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    conv_lstm(l, 1)
}

pub fn conv_lstm_2d(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    conv_lstm(l, 2)
}

pub fn conv_lstm_3d(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    conv_lstm(l, 3)
}

/// What both convolutions of a cell share.
struct Shape {
    /// Spatial axes.
    axes: usize,
    filters: u64,
    window: Vec<u64>,
    layout: Layout,
}

/// x (batch, time, spatial..., channels), or channels before the spatial axes.
fn conv_lstm(l: &mut Lowering<'_>, axes: usize) -> Result<Vec<Val>, Findings> {
    // Keras 2 takes `time_major` here and makes nothing of it.
    let options = Options { time_major: false, ..Options::read(&l.config)? };
    let mut call = Call::read(l)?;
    super::prepare(l, &options, &mut call)?;
    if l.rank(call.x) != axes + 3 {
        return Err(l.unsupported(format!("called on {}", l.ty(call.x))).into());
    }
    let layout = match l.config.str_or("data_format", "channels_last")? {
        "channels_first" => Layout::ChannelsFirst,
        _ => Layout::ChannelsLast,
    };
    let shape = Shape { axes, filters: l.config.u64("filters")?, window: l.config.u64s("kernel_size", axes)?, layout };
    let (cell, taken) = read(l, &call, &shape)?;
    cell::refuse_leftover(l.layer, &taken)?;
    let projected = project(l, &cell, &call, &shape)?;
    super::check_states(l, call.states.len(), 2)?;
    let mut states = call.states.clone();
    if states.is_empty() {
        let mut one = l.shape(projected);
        one.remove(1);
        let channels = 1 + if layout == Layout::ChannelsLast { axes } else { 0 };
        one[channels] = Dim::Known(shape.filters);
        let zeros = scan::zeros(l, l.ty(call.x).dtype, one)?;
        states = vec![zeros, zeros];
    }
    let turned = options.zeroes_turned(&call);
    let walk = Walk {
        inputs: &[projected],
        mask: call.mask,
        states: &states,
        fixed: &[cell.recurrent],
        backwards: options.backwards,
        zero_masked: options.zero_masked && !turned,
    };
    let theano = l.config.bool_or("legacy_theano", false)?;
    let walked = scan::walk(l, &walk, |l, step| {
        let same = match theano {
            true => geometry::padding(Edge::Theano, &shape.window, &vec![1; axes]),
            false => shape.window.iter().map(|&size| same_padding(size)).collect(),
        };
        let recurrent = l.add(shape.conv(vec![1; axes], vec![1; axes], same), &[step.states[0], step.fixed[0]])?;
        let sum = l.binary(recast_plugin_api::ir::BinaryFunction::Add, step.inputs[0], recurrent)?;
        let mut gates = Vec::new();
        for gate in 0..4 {
            let (start, stop) = (Dim::Known(gate * shape.filters), Dim::Known((gate + 1) * shape.filters));
            gates.push(l.slice(sum, shape.channel_axis(), start, stop)?);
        }
        scan::lstm_gates(l, &cell, [gates[0], gates[1], gates[2], gates[3]], step.states[1], None)
    })?;
    let ran = Ran { sequence: walked.sequence, last: Some(walked.last), states: walked.states };
    let ran = if turned { super::zero_turned(l, ran, &call)? } else { ran };
    super::outputs(l, &options, &call, ran)
}

impl Shape {
    fn conv(&self, strides: Vec<u64>, dilations: Vec<u64>, padding: Vec<Padding>) -> Conv {
        Conv { strides, dilations, padding, groups: 1, layout: self.layout, kernel: KernelOrder::Hwio }
    }

    /// Of one step: (batch, spatial..., channels) or (batch, channels, spatial...).
    fn channel_axis(&self) -> usize {
        if self.layout == Layout::ChannelsLast { self.axes + 1 } else { 1 }
    }
}

/// Output as long as the input at stride one: the odd element behind.
fn same_padding(size: u64) -> Padding {
    let all = size.saturating_sub(1);
    Padding::Explicit(all / 2, all - all / 2)
}

/// The cell with its kernels (window..., in, 4 filters) and (window..., filters, 4 filters); and the roles taken.
fn read(l: &mut Lowering<'_>, call: &Call, shape: &Shape) -> Result<(Cell, Vec<&'static str>), Findings> {
    let channels = l.known(call.x, 1 + shape.channel_axis())?;
    let wide = 4 * shape.filters;
    let sizes = |input: u64| shape.window.iter().copied().chain([input, wide]).collect::<Vec<_>>();
    let owner = l.layer;
    let kernel = cell::weight(l, owner, "kernel", &sizes(channels))?;
    let recurrent = cell::weight(l, owner, "recurrent_kernel", &sizes(shape.filters))?;
    let mut taken = vec!["kernel", "recurrent_kernel"];
    let bias = if l.config.bool_or("use_bias", true)? {
        taken.push("bias");
        Some(cell::weight(l, owner, "bias", &[wide])?)
    } else {
        None
    };
    let activation = activations::read(l, "activation", "tanh")?;
    // Keras 2 defaults to the hard sigmoid here to the end; Keras 3 to the sigmoid.
    let default = if l.keras_major() < 3 { "hard_sigmoid" } else { "sigmoid" };
    let recurrent_activation = activations::read(l, "recurrent_activation", default)?;
    let units = shape.filters;
    Ok((
        Cell { kind: Kind::Lstm, units, activation, recurrent_activation, kernel, recurrent, bias, peephole: None },
        taken,
    ))
}

/// The convolution of every step, as one batch of batch * time.
fn project(l: &mut Lowering<'_>, cell: &Cell, call: &Call, shape: &Shape) -> Result<ValueId, Findings> {
    let config = l.config.clone();
    let strides = config.u64s_or("strides", shape.axes, 1)?;
    let dilations = config.u64s_or("dilation_rate", shape.axes, 1)?;
    let padding = padding(l, &config, shape)?;
    let full = l.shape(call.x);
    let mut merged = vec![element_count(&full[..2])];
    merged.extend_from_slice(&full[2..]);
    let x = l.reshape(call.x, merged)?;
    let inputs: Vec<ValueId> = [Some(x), Some(cell.kernel), cell.bias].into_iter().flatten().collect();
    let y = l.add(shape.conv(strides, dilations, padding), &inputs)?;
    let mut apart = full[..2].to_vec();
    apart.extend_from_slice(&l.shape(y)[1..]);
    Ok(l.reshape(y, apart)?)
}

fn padding(l: &Lowering<'_>, config: &Config, shape: &Shape) -> Result<Vec<Padding>, Diag> {
    match config.get("padding").and_then(Json::as_str).unwrap_or("valid") {
        "valid" => Ok(vec![Padding::Explicit(0, 0); shape.axes]),
        "same" => Ok(vec![Padding::Same; shape.axes]),
        "theano" => {
            let dilations = config.u64s_or("dilation_rate", shape.axes, 1)?;
            Ok(geometry::padding(Edge::Theano, &shape.window, &dilations))
        }
        other => Err(l.error(Code::BadConfig, format!("padding '{other}'"))),
    }
}
