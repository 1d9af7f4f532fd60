//! What each op may look like in PyTorch, as the reader expects it.

use super::python::Made;
use crate::emit::recurrent::is_masked_somewhere;
use recast_plugin_api::ir::{
    BinaryFunction, Direction, Graph, Layout, Node, Op, Padding, PoolFunction, ReduceFunction, UnaryFunction, ValueId,
};

/// Classes of model.py that are modules by themselves rather than models.
pub const HELPERS: &[&str] = &["Noise", "KerasLSTMCell", "KerasGRUCell", "KerasRNNCell"];

/// Weights of one module.
pub struct Weights {
    pub kinds: Vec<&'static str>,
    pub parts: Vec<Part>,
}

/// One param and where a module keeps it.
pub struct Part {
    pub param: String,
    pub suffix: &'static str,
    /// A second tensor that the param goes on in.
    pub second: Option<&'static str>,
    /// Elements of the first tensor.
    pub len: u64,
    pub perm: Vec<u32>,
    /// Keras' gate at each place.
    pub gates: Vec<usize>,
    pub is_bias: bool,
}

pub fn is_weightless(kind: &str) -> bool {
    kind.contains("Dropout") || kind == "Noise"
}

fn part(graph: &Graph, value: Option<ValueId>, suffix: &'static str) -> Option<Part> {
    let param = graph.params.iter().find(|param| Some(param.value) == value)?;
    let is_bias = suffix == "bias";
    let (param, len) = (param.name(), param.tensor.len());
    Some(Part { param, suffix, second: None, len, perm: Vec::new(), gates: vec![0], is_bias })
}

fn input(node: &Node, index: usize) -> Option<ValueId> {
    node.inputs.get(index).copied().flatten()
}

/// The modules that the op is, where its weights are weights of the model.
pub fn modules(graph: &Graph, node: &Node) -> Vec<Weights> {
    let parts = |names: &[(usize, &'static str)]| -> Vec<Part> {
        names.iter().filter_map(|(index, name)| part(graph, input(node, *index), name)).collect()
    };
    let one = |kinds: &[&'static str], parts: Vec<Part>| vec![Weights { kinds: kinds.to_vec(), parts }];
    let made = match &node.op {
        Op::MatMul(_) => linear(graph, node),
        Op::Conv(_) => one(&["nn.Conv1d", "nn.Conv2d", "nn.Conv3d"], parts(&[(1, "weight"), (2, "bias")])),
        Op::ConvTranspose(_) => {
            let kinds = ["nn.ConvTranspose1d", "nn.ConvTranspose2d", "nn.ConvTranspose3d"];
            one(&kinds, parts(&[(1, "weight"), (2, "bias")]))
        }
        Op::BatchNorm(_) => {
            let kinds = ["nn.BatchNorm1d", "nn.BatchNorm2d", "nn.BatchNorm3d"];
            one(&kinds, parts(&[(3, "running_mean"), (4, "running_var"), (1, "weight"), (2, "bias")]))
        }
        Op::LayerNorm(_) => one(&["nn.LayerNorm"], parts(&[(1, "weight"), (2, "bias")])),
        Op::GroupNorm(_) => one(&["nn.GroupNorm"], parts(&[(1, "weight"), (2, "bias")])),
        Op::RmsNorm(_) => one(&["nn.RMSNorm"], parts(&[(1, "weight")])),
        Op::Gather(op) => {
            if op.axis == 0 {
                one(&["nn.Embedding"], parts(&[(0, "weight")]))
            } else {
                Vec::new()
            }
        }
        Op::Lstm(op) => recurrent(graph, node, &op.directions, &[0, 1, 2, 3], 2, false, "LSTM"),
        Op::Gru(op) => recurrent(graph, node, &op.directions, &[1, 0, 2], 1, op.reset_after, "GRU"),
        Op::SimpleRnn(op) => recurrent(graph, node, &op.directions, &[0], 1, false, "RNN"),
        Op::Unary(_) | Op::Activation(_) | Op::Binary(_) | Op::Clip(_) | Op::Where(_) | Op::Cast(_) => Vec::new(),
        Op::Dropout(_) | Op::Einsum(_) | Op::Pool(_) | Op::Softmax(_) | Op::LogSoftmax(_) => Vec::new(),
        Op::Reduce(_) | Op::ArgReduce(_) | Op::Cumulative(_) | Op::TopK(_) | Op::Reshape(_) => Vec::new(),
        Op::Transpose(_) | Op::Concat(_) | Op::Slice(_) | Op::Pad(_) | Op::Tile(_) | Op::BroadcastTo(_) => Vec::new(),
        Op::GatherElements(_) | Op::Reverse(_) | Op::OneHot(_) | Op::Triangle(_) | Op::Resize(_) => Vec::new(),
        Op::StringToIndex(_) | Op::IndexToString(_) => Vec::new(),
        Op::StringMap(_) | Op::StringSplit(_) | Op::StringHash(_) => Vec::new(),
        Op::Attention(_) | Op::Scan(_) | Op::Constant(_) | Op::DimSize(_) | Op::Iota(_) => Vec::new(),
    };
    let norm = matches!(node.op, Op::LayerNorm(_) | Op::GroupNorm(_) | Op::RmsNorm(_));
    let first_is_there = |weights: &Weights| norm || !weights.parts.is_empty();
    made.into_iter().filter(first_is_there).collect()
}

fn linear(graph: &Graph, node: &Node) -> Vec<Weights> {
    let Some(mut kernel) = part(graph, input(node, 1), "weight") else { return Vec::new() };
    if graph.shape(node.inputs[1].unwrap_or(ValueId(0))).len() != 2 {
        return Vec::new();
    }
    kernel.perm = vec![1, 0];
    let out = node.outputs[0];
    let adds = graph.nodes().iter().filter(|next| {
        matches!(&next.op, Op::Binary(op) if op.function == BinaryFunction::Add) && next.path == node.path
    });
    let bias = adds.filter(|next| next.inputs.contains(&Some(out))).find_map(|next| {
        next.inputs.iter().filter(|value| **value != Some(out)).find_map(|value| part(graph, *value, "bias"))
    });
    vec![Weights { kinds: vec!["nn.Linear"], parts: std::iter::once(kernel).chain(bias).collect() }]
}

const LAYER: [[&str; 4]; 2] = [
    ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"],
    ["weight_ih_l0_reverse", "weight_hh_l0_reverse", "bias_ih_l0_reverse", "bias_hh_l0_reverse"],
];
const CELL: [&str; 4] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];

/// One module for all directions, or a cell for each; which of them it is, the graph says by its mask and activations.
fn recurrent(
    graph: &Graph,
    node: &Node,
    directions: &[Direction],
    gates: &[usize],
    states: usize,
    two_biases: bool,
    kind: &str,
) -> Vec<Weights> {
    let direction = |at: usize, names: [&'static str; 4]| -> Vec<Part> {
        let first = 2 + at * (3 + states);
        let mut parts: Vec<Part> =
            (0..3).filter_map(|index| part(graph, input(node, first + index), names[index])).collect();
        for part in &mut parts {
            part.gates = gates.to_vec();
            part.is_bias = part.suffix == names[2];
            if part.is_bias {
                part.second = two_biases.then_some(names[3]);
            } else {
                part.perm = vec![1, 0];
            }
        }
        parts
    };
    let layers = ["nn.LSTM", "nn.GRU", "nn.RNN"];
    let cells = ["nn.LSTMCell", "nn.GRUCell", "nn.RNNCell", "KerasLSTMCell", "KerasGRUCell", "KerasRNNCell"];
    let of_kind = |all: &[&'static str]| all.iter().filter(|name| name.contains(kind)).copied().collect::<Vec<_>>();
    if is_whole(graph, node, directions) {
        let parts = (0..directions.len()).flat_map(|at| direction(at, LAYER[at.min(1)])).collect();
        return vec![Weights { kinds: of_kind(&layers), parts }];
    }
    (0..directions.len()).map(|at| Weights { kinds: of_kind(&cells), parts: direction(at, CELL) }).collect()
}

fn is_whole(graph: &Graph, node: &Node, directions: &[Direction]) -> bool {
    use recast_plugin_api::ir::ActivationFunction::{Relu, Sigmoid, Tanh};
    let plain = match &node.op {
        Op::Lstm(op) => op.activation.function == Tanh && op.recurrent_activation.function == Sigmoid,
        Op::Gru(op) => op.reset_after && op.activation.function == Tanh && op.recurrent_activation.function == Sigmoid,
        Op::SimpleRnn(op) => matches!(op.activation.function, Tanh | Relu),
        Op::Unary(_) | Op::Activation(_) | Op::Binary(_) | Op::Clip(_) | Op::Where(_) | Op::Cast(_) => false,
        Op::Dropout(_) | Op::Einsum(_) | Op::Pool(_) | Op::Softmax(_) | Op::LogSoftmax(_) => false,
        Op::Reduce(_) | Op::ArgReduce(_) | Op::Cumulative(_) | Op::TopK(_) | Op::Reshape(_) => false,
        Op::Transpose(_) | Op::Concat(_) | Op::Slice(_) | Op::Pad(_) | Op::Tile(_) | Op::BroadcastTo(_) => false,
        Op::GatherElements(_) | Op::Reverse(_) | Op::OneHot(_) | Op::Triangle(_) | Op::Resize(_) => false,
        Op::StringToIndex(_) | Op::IndexToString(_) => false,
        Op::StringMap(_) | Op::StringSplit(_) | Op::StringHash(_) => false,
        Op::Attention(_) | Op::Scan(_) | Op::Constant(_) | Op::DimSize(_) | Op::Iota(_) => false,
        Op::MatMul(_) | Op::Conv(_) | Op::ConvTranspose(_) | Op::Gather(_) => false,
        Op::BatchNorm(_) | Op::LayerNorm(_) | Op::GroupNorm(_) | Op::RmsNorm(_) => false,
    };
    plain && !is_masked_somewhere(graph, node) && directions != [Direction::Backward, Direction::Forward]
}

/// The functions that the op may be; empty where it may be none at all, or many.
pub fn functions(node: &Node) -> Vec<&'static str> {
    match &node.op {
        Op::Unary(op) => unary(op.function),
        Op::Binary(op) => binary(op.function),
        Op::Where(_) => vec!["torch.where"],
        Op::Einsum(_) => vec!["torch.einsum"],
        Op::MatMul(_) => vec!["torch.matmul"],
        Op::Dropout(_) => {
            vec!["nn.Dropout", "nn.Dropout1d", "nn.Dropout2d", "nn.Dropout3d", "nn.AlphaDropout", "Noise"]
        }
        Op::Pool(op) => match op.function {
            PoolFunction::Max => vec!["F.max_pool1d", "F.max_pool2d", "F.max_pool3d"],
            PoolFunction::Average => vec!["F.avg_pool1d", "F.avg_pool2d", "F.avg_pool3d", "average_pool"],
        },
        Op::Softmax(op) if op.axes.len() == 1 => vec!["F.softmax"],
        Op::LogSoftmax(_) => vec!["F.log_softmax"],
        Op::Reduce(op) if !op.axes.is_empty() => vec![match op.function {
            ReduceFunction::Sum => ".sum",
            ReduceFunction::Mean => ".mean",
            ReduceFunction::Max => ".amax",
            ReduceFunction::Min => ".amin",
            ReduceFunction::Prod => ".prod",
            ReduceFunction::LogSumExp => ".logsumexp",
            ReduceFunction::Any => ".any",
            ReduceFunction::All => ".all",
        }],
        Op::ArgReduce(_) => vec![".argmax", ".argmin"],
        Op::Cumulative(_) => vec!["torch.cumsum", "torch.cumprod"],
        Op::TopK(_) => vec!["torch.sort"],
        Op::Concat(op) => {
            if op.axis < usize::MAX {
                vec!["torch.cat"]
            } else {
                Vec::new()
            }
        }
        Op::Transpose(_) => Vec::new(),
        Op::Pad(_) => vec!["F.pad", "pad_edges"],
        Op::Tile(_) => vec![".repeat"],
        Op::BroadcastTo(_) => vec!["torch.broadcast_to"],
        Op::GatherElements(_) => vec!["torch.gather"],
        Op::Reverse(_) => vec!["torch.flip"],
        Op::Triangle(_) => vec!["torch.tril", "torch.triu"],
        // Never written.
        Op::StringToIndex(_) | Op::IndexToString(_) => Vec::new(),
        Op::StringMap(_) | Op::StringSplit(_) | Op::StringHash(_) => Vec::new(),
        Op::Resize(_) => vec!["F.interpolate", "resize_axis"],
        Op::Attention(_) => vec!["F.scaled_dot_product_attention", "attention"],
        Op::Conv(_) => vec!["F.conv1d", "F.conv2d", "F.conv3d"],
        Op::ConvTranspose(_) => vec!["F.conv_transpose1d", "F.conv_transpose2d", "F.conv_transpose3d"],
        Op::Softmax(_) | Op::Reduce(_) | Op::Activation(_) | Op::Clip(_) | Op::Cast(_) => Vec::new(),
        Op::BatchNorm(_) | Op::LayerNorm(_) | Op::GroupNorm(_) | Op::RmsNorm(_) => Vec::new(),
        Op::Reshape(_) | Op::Slice(_) | Op::Gather(_) | Op::OneHot(_) => Vec::new(),
        Op::Lstm(_) | Op::Gru(_) | Op::SimpleRnn(_) | Op::Scan(_) => Vec::new(),
        Op::Constant(_) | Op::DimSize(_) | Op::Iota(_) => Vec::new(),
    }
}

fn unary(function: UnaryFunction) -> Vec<&'static str> {
    use UnaryFunction::*;
    match function {
        Relu => vec!["F.relu"],
        Sigmoid => vec!["torch.sigmoid"],
        Tanh => vec!["torch.tanh"],
        Exp => vec!["torch.exp"],
        Gelu | GeluTanh => vec!["F.gelu"],
        Silu => vec!["F.silu"],
        Selu => vec!["F.selu"],
        Mish => vec!["F.mish"],
        Softplus => vec!["F.softplus"],
        Softsign => vec!["F.softsign"],
        Sqrt => vec!["torch.sqrt"],
        Square => vec!["torch.square"],
        Abs | Neg | Sign | Rsqrt | Reciprocal | Expm1 | Log | Log1p | Floor | Ceil | Round | Trunc | Sin | Cos
        | Tan | Asin | Acos | Atan | Sinh | Cosh | Asinh | Acosh | Atanh | Erf | Not | IsNan | IsInf | IsFinite
        | BitwiseNot => Vec::new(),
    }
}

fn binary(function: BinaryFunction) -> Vec<&'static str> {
    use BinaryFunction::*;
    match function {
        Add => vec!["+"],
        Sub => vec!["-"],
        Mul => vec!["*"],
        Div => vec!["/"],
        Max => vec!["torch.maximum", "torch.clamp"],
        Min => vec!["torch.minimum", "torch.clamp"],
        Pow => vec!["torch.pow"],
        FloorDiv | Mod | Atan2 | Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual | And | Or | Xor
        | BitwiseAnd | BitwiseOr | BitwiseXor | ShiftLeft | ShiftRight => Vec::new(),
    }
}

/// `3` or `(3, 3)` as numbers for `n` axes.
fn per_axis(text: Option<&String>, default: u64, n: usize) -> Option<Vec<u64>> {
    let Some(text) = text else { return Some(vec![default; n]) };
    let items = super::python::split(text.trim_matches(['(', ')']));
    let numbers: Vec<u64> = items.iter().map(|item| item.parse().ok()).collect::<Option<_>>()?;
    if numbers.len() == 1 { Some(vec![numbers[0]; n]) } else { Some(numbers) }
}

fn want(what: &str, have: Option<Vec<u64>>, should: &[u64]) -> Result<(), String> {
    match have {
        Some(have) if have == should => Ok(()),
        Some(have) => Err(format!("{what} {have:?}, should be {should:?}")),
        None => Err(format!("{what} is not a number")),
    }
}

fn want_epsilon(made: &Made, epsilon: f64) -> Result<(), String> {
    let have = made.named.get("eps").and_then(|text| text.parse::<f64>().ok());
    if have == Some(epsilon) { Ok(()) } else { Err(format!("eps {have:?}, should be {epsilon}")) }
}

/// Compares a module's arguments with the op's attributes.
pub fn numbers(graph: &Graph, node: &Node, made: &Made) -> Result<(), String> {
    let sizes = |index: usize| input(node, index).and_then(|value| graph.ty(value).sizes()).unwrap_or_default();
    let size = |index: usize| per_axis(made.positional.get(index), 0, 1);
    match &node.op {
        Op::MatMul(_) => {
            let kernel = sizes(1);
            want("sizes", Some([size(0).unwrap_or_default(), size(1).unwrap_or_default()].concat()), &kernel)
        }
        Op::Conv(op) => {
            let (kernel, n) = (sizes(1), op.strides.len());
            let named = |name: &str, default: u64| per_axis(made.named.get(name), default, n);
            if op.layout != Layout::ChannelsFirst || kernel.len() != n + 2 {
                return Err("the op is not channels-first".into());
            }
            want("out channels", size(1), &kernel[..1])?;
            want("in channels", size(0), &[kernel[1] * op.groups])?;
            want("kernel_size", per_axis(made.positional.get(2), 0, n), &kernel[2..])?;
            want("stride", named("stride", 1), &op.strides)?;
            want("dilation", named("dilation", 1), &op.dilations)?;
            want("groups", per_axis(made.named.get("groups"), 1, 1), &[op.groups])?;
            let even: Option<Vec<u64>> = op.padding.iter().map(even_padding).collect();
            want("padding", named("padding", 0), &even.unwrap_or(vec![0; n]))
        }
        Op::ConvTranspose(op) => {
            let n = op.strides.len();
            want("stride", per_axis(made.named.get("stride"), 1, n), &op.strides)?;
            want("dilation", per_axis(made.named.get("dilation"), 1, n), &op.dilations)
        }
        Op::BatchNorm(op) => want_epsilon(made, op.epsilon),
        Op::LayerNorm(op) => want_epsilon(made, op.epsilon),
        Op::RmsNorm(op) => want_epsilon(made, op.epsilon),
        Op::GroupNorm(op) => {
            want("groups", size(0), &[op.groups])?;
            want_epsilon(made, op.epsilon)
        }
        Op::Lstm(_) | Op::Gru(_) | Op::SimpleRnn(_) => {
            let (kernel, recurrent) = (sizes(2), sizes(3));
            want("input size", size(0), kernel.get(..1).unwrap_or(&[]))?;
            want("hidden size", size(1), recurrent.get(..1).unwrap_or(&[]))
        }
        Op::Gather(_) => want("rows", size(0), sizes(0).get(..1).unwrap_or(&[])),
        // None of these is a module with weights (`modules`).
        Op::Unary(_) | Op::Activation(_) | Op::Binary(_) | Op::Clip(_) | Op::Where(_) | Op::Cast(_) => Ok(()),
        Op::Dropout(_) | Op::Einsum(_) | Op::Pool(_) | Op::Softmax(_) | Op::LogSoftmax(_) => Ok(()),
        Op::Reduce(_) | Op::ArgReduce(_) | Op::Cumulative(_) | Op::TopK(_) | Op::Reshape(_) => Ok(()),
        Op::Transpose(_) | Op::Concat(_) | Op::Slice(_) | Op::Pad(_) | Op::Tile(_) | Op::BroadcastTo(_) => Ok(()),
        Op::GatherElements(_) | Op::Reverse(_) | Op::OneHot(_) | Op::Triangle(_) | Op::Resize(_) => Ok(()),
        Op::StringToIndex(_) | Op::IndexToString(_) => Ok(()),
        Op::StringMap(_) | Op::StringSplit(_) | Op::StringHash(_) => Ok(()),
        Op::Attention(_) | Op::Scan(_) | Op::Constant(_) | Op::DimSize(_) | Op::Iota(_) => Ok(()),
    }
}

fn even_padding(padding: &Padding) -> Option<u64> {
    match padding {
        Padding::Explicit(before, after) if before == after => Some(*before),
        Padding::Explicit(..) | Padding::Same => None,
    }
}
