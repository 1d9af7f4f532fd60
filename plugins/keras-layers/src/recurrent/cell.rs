//! The standard cells: what a layer's own configuration and weights say, whichever layer or wrapper holds them.

use crate::activations::{self, Activation};
use crate::policy;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{ActivationSpec, DType, Direction};
use recast_plugin_api::ir::{BinaryFunction, Concat, Dim, Gru, Lstm, Op, ReduceFunction, SimpleRnn, ValueId};
use recast_plugin_api::lower::{Config, Lowering};
use recast_plugin_api::model::Layer;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Lstm,
    Gru { reset_after: bool },
    SimpleRnn,
}

impl Kind {
    /// Columns of the kernels per unit.
    pub fn gates(self) -> u64 {
        match self {
            Kind::Lstm => 4,
            Kind::Gru { .. } => 3,
            Kind::SimpleRnn => 1,
        }
    }

    pub fn states(self) -> usize {
        match self {
            Kind::Lstm => 2,
            Kind::Gru { .. } | Kind::SimpleRnn => 1,
        }
    }
}

/// A cell with its weights taken, in the compute dtype.
#[derive(Debug, Clone)]
pub struct Cell {
    pub kind: Kind,
    pub units: u64,
    pub activation: Activation,
    pub recurrent_activation: Activation,
    /// (in, gates * units)
    pub kernel: ValueId,
    /// (units, gates * units)
    pub recurrent: ValueId,
    /// (gates * units), or (2, gates * units) of a GRU with `reset_after`
    pub bias: Option<ValueId>,
    /// (units) each, of an LSTM whose gates i, f, o see the carry
    pub peephole: Option<[ValueId; 3]>,
}

/// Of the gates i, f, o.
const PEEPHOLE: [&str; 3] =
    ["input_gate_peephole_weights", "forget_gate_peephole_weights", "output_gate_peephole_weights"];

/// Whether this plugin knows the class as a standard cell, or as a layer around one.
pub fn is_standard(class: &str) -> bool {
    let class = class.strip_suffix("Cell").unwrap_or(class);
    matches!(class, "LSTM" | "PeepholeLSTM" | "GRU" | "SimpleRNN" | "CuDNNLSTM" | "CuDNNGRU")
}

/// Reads the cell that `owner` is (`LSTMCell`) or contains (`LSTM`); its weights lie on `owner` itself. `input` is the
/// size of the last axis of what it is called on.
pub fn read(l: &mut Lowering<'_>, owner: &Layer, input: u64) -> Result<Cell, Findings> {
    let config = Config::new(&owner.path, &owner.config)?;
    let units = config.u64("units")?;
    let class = owner.class.strip_suffix("Cell").unwrap_or(&owner.class);
    let (kind, cudnn) = match class {
        "LSTM" | "PeepholeLSTM" => (Kind::Lstm, false),
        "CuDNNLSTM" => (Kind::Lstm, true),
        "GRU" => (Kind::Gru { reset_after: reset_after(l, owner, &config)? }, false),
        "CuDNNGRU" => (Kind::Gru { reset_after: true }, true),
        "SimpleRNN" => (Kind::SimpleRnn, false),
        other => {
            return Err(Diag::new(Code::UnsupportedLayer, &owner.path, format!("{other} is no standard cell")).into());
        }
    };
    let default = if sigmoid_by_default(l) { "sigmoid" } else { "hard_sigmoid" };
    let recurrent_activation = match kind {
        _ if cudnn => activation(l, &config, "", "sigmoid")?,
        Kind::Lstm | Kind::Gru { .. } => activation(l, &config, "recurrent_activation", default)?,
        Kind::SimpleRnn => Activation::Linear,
    };
    let wide = kind.gates() * units;
    let mut taken = vec!["kernel", "recurrent_kernel"];
    let kernel = weight(l, owner, "kernel", &[input, wide])?;
    let recurrent = weight(l, owner, "recurrent_kernel", &[units, wide])?;
    let bias = if config.bool_or("use_bias", true)? {
        taken.push("bias");
        Some(match (kind, cudnn) {
            (Kind::Lstm | Kind::Gru { .. }, true) => weight(l, owner, "bias", &[2 * wide])?,
            (Kind::Gru { reset_after: true }, false) => gru_bias(l, owner, wide)?,
            (Kind::Lstm | Kind::Gru { .. } | Kind::SimpleRnn, _) => weight(l, owner, "bias", &[wide])?,
        })
    } else {
        None
    };
    let peephole = if class == "PeepholeLSTM" {
        taken.extend(PEEPHOLE);
        let [i, f, o] = PEEPHOLE;
        Some([weight(l, owner, i, &[units])?, weight(l, owner, f, &[units])?, weight(l, owner, o, &[units])?])
    } else {
        None
    };
    refuse_leftover(owner, &taken)?;
    let activation = if cudnn { Activation::Unary(TANH) } else { activation(l, &config, "activation", "tanh")? };
    let cell = Cell { kind, units, activation, recurrent_activation, kernel, recurrent, bias, peephole };
    if cudnn { from_cudnn(l, cell, input) } else { Ok(cell) }
}

const TANH: recast_plugin_api::ir::UnaryFunction = recast_plugin_api::ir::UnaryFunction::Tanh;

fn activation(l: &Lowering<'_>, config: &Config, key: &str, default: &str) -> Result<Activation, Diag> {
    let default = serde_json::Value::from(default);
    let json = config.object().get(key).unwrap_or(&default);
    activations::resolve(json, l.keras_major(), config.path())
}

/// Keras before 2.3 (and tf.keras of TensorFlow 1) gave LSTM and GRU a hard sigmoid. All of them write the key; this is
/// for files that leave it out.
fn sigmoid_by_default(l: &Lowering<'_>) -> bool {
    l.keras_version() >= (2, 3)
}

/// GRU's variant: as the file says; where it does not, only `reset_after` has a bias of two rows.
fn reset_after(l: &Lowering<'_>, owner: &Layer, config: &Config) -> Result<bool, Diag> {
    if config.get("reset_after").is_some() {
        return config.bool_or("reset_after", false);
    }
    let rank = owner.weight("bias").and_then(|bias| bias.tensor.as_ref()).map(|tensor| tensor.decode_tensor());
    Ok(match rank.transpose()? {
        Some(bias) => bias.shape.len() == 2,
        None => l.keras_version() >= (2, 3),
    })
}

/// A weight of a wrapped layer (or of this one), its shape checked, in the compute dtype.
pub fn weight(l: &mut Lowering<'_>, owner: &Layer, role: &str, sizes: &[u64]) -> Result<ValueId, Diag> {
    weight_as(l, owner, role, sizes, sizes)
}

fn weight_as(l: &mut Lowering<'_>, owner: &Layer, role: &str, sizes: &[u64], shape: &[u64]) -> Result<ValueId, Diag> {
    let found = owner.weight(role).and_then(|weight| weight.tensor.as_ref());
    let tensor = found.ok_or_else(|| {
        let held: Vec<&str> = owner.weights.iter().map(|weight| weight.role.as_str()).collect();
        let detail = format!("no '{role}' in the file; the layer's weights: {}", held.join(", "));
        Diag::new(Code::WeightMissing, &owner.path, detail)
    })?;
    let tensor = tensor.decode_tensor()?;
    let misfit = || {
        let detail = format!("'{role}' is {}, should be {sizes:?}", tensor.ty());
        Diag::new(Code::WeightShape, &owner.path, detail)
    };
    let view = if tensor.shape == sizes { tensor.reshaped(shape) } else { None };
    let view = view.ok_or_else(misfit)?;
    if owner.path == l.layer.path {
        l.ignore(role);
    }
    let value = l.graph.param(&owner.path, role, view);
    let to = policy::compute_dtype(l)?;
    if to.is_float() { l.cast(value, to) } else { Ok(value) }
}

/// (2, 3 units). Files that CuDNNGRU wrote hold the same numbers in one row.
fn gru_bias(l: &mut Lowering<'_>, owner: &Layer, wide: u64) -> Result<ValueId, Diag> {
    let tensor = owner.weight("bias").and_then(|bias| bias.tensor.as_ref()).map(|t| t.decode_tensor()).transpose()?;
    match tensor {
        Some(tensor) if tensor.shape.len() == 1 => weight_as(l, owner, "bias", &[2 * wide], &[2, wide]),
        _ => weight(l, owner, "bias", &[2, wide]),
    }
}

/// Every stored array has a use, or the file and the configuration do not belong together.
pub fn refuse_leftover(owner: &Layer, taken: &[&str]) -> Result<(), Diag> {
    let left: Vec<&str> = owner.weights.iter().map(|weight| weight.role.as_str()).collect();
    let left: Vec<&str> = left.into_iter().filter(|role| !taken.contains(role)).collect();
    if left.is_empty() {
        return Ok(());
    }
    let detail = format!("{} has no use for the stored {}", owner.class, left.join(", "));
    Err(Diag::new(Code::WeightLeftover, &owner.path, detail))
}

/// cuDNN holds each gate's matrices as (out, in) in an array declared (in, out), and adds two biases.
fn from_cudnn(l: &mut Lowering<'_>, cell: Cell, input: u64) -> Result<Cell, Findings> {
    let (units, gates) = (cell.units, cell.kind.gates());
    let gate_of = |l: &mut Lowering<'_>, value, gate: u64, rows: u64| -> Result<ValueId, Diag> {
        let stored = l.slice(value, 1, Dim::Known(gate * units), Dim::Known((gate + 1) * units))?;
        let matrix = l.reshape(stored, vec![Dim::Known(units), Dim::Known(rows)])?;
        l.transpose(matrix, &[1, 0])
    };
    let join = |l: &mut Lowering<'_>, value, rows| -> Result<ValueId, Diag> {
        let parts = (0..gates).map(|gate| gate_of(l, value, gate, rows)).collect::<Result<Vec<_>, _>>()?;
        l.add(Concat { axis: 1 }, &parts)
    };
    let kernel = join(l, cell.kernel, input)?;
    let recurrent = join(l, cell.recurrent, units)?;
    let bias = match cell.bias {
        None => None,
        Some(bias) => {
            let rows = l.reshape(bias, vec![Dim::Known(2), Dim::Known(gates * units)])?;
            Some(match cell.kind {
                Kind::Gru { .. } => rows,
                Kind::Lstm | Kind::SimpleRnn => l.reduce(ReduceFunction::Sum, rows, &[0], false)?,
            })
        }
    };
    Ok(Cell { kernel, recurrent, bias, ..cell })
}

impl Cell {
    /// Both activations as attributes of a recurrent op; `None` where one of them needs ops of its own.
    pub fn specs(&self) -> Option<(ActivationSpec, ActivationSpec)> {
        Some((self.activation.spec()?, self.recurrent_activation.spec()?))
    }

    /// The whole op for these directions; `None` as in `specs`, with peepholes, and in half precision: no target has a
    /// recurrent op for it, and its weights are stored in another dtype.
    pub fn op(&self, l: &Lowering<'_>, directions: &[Direction], zero_masked: bool) -> Option<Op> {
        if matches!(l.ty(self.kernel).dtype, DType::F16 | DType::BF16) {
            return None;
        }
        if self.peephole.is_some() {
            return None;
        }
        let (activation, recurrent_activation) = self.specs()?;
        let directions = directions.to_vec();
        Some(match self.kind {
            Kind::Lstm => Lstm { directions, activation, recurrent_activation, zero_masked }.into(),
            Kind::Gru { reset_after } => {
                Gru { directions, activation, recurrent_activation, reset_after, zero_masked }.into()
            }
            Kind::SimpleRnn => SimpleRnn { directions, activation, zero_masked }.into(),
        })
    }

    /// One direction's inputs of the whole op.
    pub fn op_inputs(&self, states: &[ValueId]) -> Vec<Option<ValueId>> {
        let states = (0..self.kind.states()).map(|at| states.get(at).copied());
        [Some(self.kernel), Some(self.recurrent), self.bias].into_iter().chain(states).collect()
    }

    /// x (batch, time, in) times the kernel, plus the bias of the input: (batch, time, gates * units).
    pub fn project(&self, l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
        let wide = l.add(recast_plugin_api::ir::MatMul {}, &[x, self.kernel])?;
        match self.bias {
            None => Ok(wide),
            Some(bias) => {
                let bias = if self.has_two_biases() { self.bias_row(l, bias, 0)? } else { bias };
                l.binary(BinaryFunction::Add, wide, bias)
            }
        }
    }

    pub fn has_two_biases(&self) -> bool {
        self.kind == Kind::Gru { reset_after: true }
    }

    /// (gates * units) of (2, gates * units)
    pub fn bias_row(&self, l: &mut Lowering<'_>, bias: ValueId, row: u64) -> Result<ValueId, Diag> {
        let row = l.slice(bias, 0, Dim::Known(row), Dim::Known(row + 1))?;
        l.squeeze(row, 0)
    }
}
