//! The operations that Keras 3 adds to a Functional model for masks that its configuration does not write down, as
//! that of Keras 2 never does: a Masking gives a `NotEqual` and an `Any`, and each layer that takes a mask hangs from
//! them. They count as distance from the outputs, and with it the order changes in which weights are stored. What each
//! class does with masks is that of Keras 3.15: `supports_masking`, `compute_mask` and the arguments of `call`.

use super::layer::parsed;
use super::order::{Node, values};
use recast_plugin_api::model::{Arg, ArgKind, Call, Layer, Model};
use serde_json::{Value, json};

/// What masks add to the graph of calls.
#[derive(Default)]
pub(super) struct Masks {
    /// What each operation computes from.
    pub operations: Vec<Vec<Node>>,
    /// Of each call: the masks that it is given.
    pub given: Vec<Vec<Node>>,
    /// Of each call: the mask on its first output.
    out: Vec<Option<Node>>,
}

/// What a class does with the masks on its inputs.
pub(super) enum Habit {
    /// Computes one from the inputs.
    Makes,
    /// Hands on, without being given it, the mask of its first input.
    Passes,
    /// Is given it, and hands it on.
    Takes,
    /// Is given it; the outputs have none.
    Ends,
    /// Is given it; hands it on with a sequence.
    Recurrent,
    /// Is given several at once, which Keras does not note; hands on that of the first.
    Attends,
    /// As `Attends`, with an operation in between.
    Converts,
    /// Any of the inputs' masks, when all have one.
    Merges,
    Concatenates,
    Drops,
}

pub(super) fn habit(layer: &Layer) -> Habit {
    if layer.model.is_some() {
        return Habit::Ends;
    }
    match layer.class.as_str() {
        "Masking" => Habit::Makes,
        "Embedding" if parsed(&layer.config).get("mask_zero") == Some(&json!(true)) => Habit::Makes,
        "Activation"
        | "ActivityRegularization"
        | "AlphaDropout"
        | "Dense"
        | "Dropout"
        | "ELU"
        | "GaussianDropout"
        | "GaussianNoise"
        | "GroupNormalization"
        | "Identity"
        | "LayerNormalization"
        | "LeakyReLU"
        | "Normalization"
        | "PReLU"
        | "ReLU"
        | "Rescaling"
        | "SpatialDropout1D"
        | "SpatialDropout2D"
        | "SpatialDropout3D"
        | "ThresholdedReLU"
        | "UnitNormalization" => Habit::Passes,
        "BatchNormalization" | "Softmax" | "TimeDistributed" => Habit::Takes,
        "GlobalAveragePooling1D" | "Lambda" | "Pipeline" => Habit::Ends,
        "Bidirectional" | "ConvLSTM1D" | "ConvLSTM2D" | "ConvLSTM3D" | "GRU" | "LSTM" | "RNN" | "SimpleRNN" => {
            Habit::Recurrent
        }
        "GroupQueryAttention" | "MultiHeadAttention" => Habit::Attends,
        "AdditiveAttention" | "Attention" => Habit::Converts,
        "Add" | "Average" | "Maximum" | "Minimum" | "Multiply" | "Subtract" => Habit::Merges,
        "Concatenate" => Habit::Concatenates,
        _ => Habit::Drops,
    }
}

/// `sorted` lists every call after those that it computes from.
pub(super) fn masks(model: &Model, sorted: &[Node]) -> Masks {
    let mut masks = Masks {
        operations: Vec::new(),
        given: vec![Vec::new(); model.calls.len()],
        out: vec![None; model.calls.len()],
    };
    for node in sorted {
        let Node::Call(at) = *node else { continue };
        let Some(call) = model.calls.get(at) else { continue };
        if let Some(layer) = model.layers.get(call.layer as usize) {
            masks.call(at, layer, call);
        }
    }
    masks
}

impl Masks {
    fn operation(&mut self, parents: Vec<Node>) -> Node {
        self.operations.push(parents);
        Node::Mask(self.operations.len() - 1)
    }

    fn on(&self, tensor: Tensor) -> Option<Node> {
        match tensor {
            (Node::Call(call), 0) => self.out.get(call).copied().flatten(),
            _ => None,
        }
    }

    fn call(&mut self, at: usize, layer: &Layer, call: &Call) {
        let inputs = tensors(call.args.iter());
        let explicit = call.kwargs.iter().filter(|named| named.name == "mask").filter_map(|named| named.arg.as_ref());
        let explicit = tensors(explicit).first().map(|(node, _)| *node);
        let found: Vec<Option<Node>> = inputs.iter().map(|tensor| self.on(*tensor)).collect();
        let first = explicit.or(found.first().copied().flatten());
        let auto: Vec<Node> =
            if is_noted(layer, call) { found.iter().copied().flatten().collect() } else { Vec::new() };
        let (given, out) = match habit(layer) {
            Habit::Makes => (Vec::new(), inputs.first().map(|(input, _)| self.made(layer, *input))),
            Habit::Passes => (Vec::new(), first),
            Habit::Takes => (auto, first),
            Habit::Ends => (auto, None),
            Habit::Recurrent => (auto, first.filter(|_| gives_sequence(layer))),
            Habit::Attends => (Vec::new(), first),
            Habit::Converts => (Vec::new(), first.map(|mask| self.operation(vec![mask]))),
            Habit::Merges => (Vec::new(), self.any(&found)),
            Habit::Concatenates => (Vec::new(), self.concatenated(&inputs, &found)),
            Habit::Drops => (Vec::new(), None),
        };
        self.given[at] = given;
        self.out[at] = out;
    }

    fn made(&mut self, layer: &Layer, input: Node) -> Node {
        let differs = self.operation(vec![input]);
        if layer.class == "Masking" { self.operation(vec![differs]) } else { differs }
    }

    fn any(&mut self, found: &[Option<Node>]) -> Option<Node> {
        let all: Vec<Node> = found.iter().copied().collect::<Option<_>>()?;
        let (first, others) = all.split_first()?;
        Some(others.iter().fold(*first, |so_far, mask| self.operation(vec![so_far, *mask])))
    }

    /// Each mask as wide as its input, ones for those without.
    fn concatenated(&mut self, inputs: &[Tensor], found: &[Option<Node>]) -> Option<Node> {
        found.iter().flatten().next()?;
        let mut wide = Vec::with_capacity(inputs.len());
        for ((input, _), mask) in inputs.iter().zip(found) {
            let like = self.operation(vec![*input]);
            wide.push(match mask {
                None => like,
                Some(mask) => {
                    let expanded = self.operation(vec![*mask]);
                    self.operation(vec![expanded, like])
                }
            });
        }
        let joined = self.operation(wide);
        Some(self.operation(vec![joined]))
    }
}

/// Whether Keras 3 remembers, with the call, a mask that it gives to it. Where it first copies the arguments to convert
/// them, which it does unless the only one is a tensor, the mask is added to the copy; a model converts none.
fn is_noted(layer: &Layer, call: &Call) -> bool {
    let says_nothing = |arg: &Arg| *arg == Arg::json(&Value::Null);
    let named = call.kwargs.iter().filter_map(|named| named.arg.as_ref());
    let tensor = |args: &[Arg]| matches!(args, [Arg { kind: Some(ArgKind::Value(_)) }]);
    layer.model.is_some() || (tensor(&call.args) && named.into_iter().all(says_nothing))
}

/// A node, and which of its outputs.
type Tensor = (Node, u32);

fn tensors<'m>(args: impl Iterator<Item = &'m Arg>) -> Vec<Tensor> {
    let mut out = Vec::new();
    args.for_each(|arg| values(arg, &mut |value| out.push((Node::of(value), value.index))));
    out
}

pub(super) fn gives_sequence(layer: &Layer) -> bool {
    let says = |config: &Value| config.get("return_sequences") == Some(&json!(true));
    let inner = layer.children.iter().filter_map(|child| child.layer.as_ref());
    says(&parsed(&layer.config))
        || (layer.class == "Bidirectional" && inner.into_iter().any(|child| says(&parsed(&child.config))))
}
