//! The layer model: the artifact as Keras sees it. A source plugin makes it, the host walks it, layers plugins lower
//! it layer by layer. It is the wire form itself (protobuf by `prost`): no second set of types to keep in step.
//!
//! What a source has settled before a layer model leaves it:
//! - call order: `Model::calls` is in evaluation order, every reference points backwards;
//! - weights: every stored array belongs to exactly one layer, under the role that the layers plugin asks for; the
//!   knowledge of how a Keras version names and orders arrays ends in the source;
//! - versions: `config` is the layer's own JSON as stored (only renamed to Keras 2/3 key names when the file is of
//!   Keras 1), `keras_version` tells which defaults hold.

use crate::ir::wire::TensorProto;
use prost::Message;

pub const SCHEMA_REV: u32 = 1;

/// Major and minor version of the Keras that a file states: `2.15.0`, `2.2.4-tf`, `3.15.1`. A file of Keras 1 may be
/// too old to state one: (1, 0). A major version alone, `2` or `3`, is what a source says of a file whose layout tells
/// no more (weights of Keras 3 beside its `to_json()`): the newest of these, whose files are the most.
pub fn keras_version(stated: &str) -> (u32, u32) {
    let mut parts = stated.split(['.', '-']).map(|part| part.trim().parse().ok());
    let major = parts.next().flatten().unwrap_or(1);
    (major, parts.next().flatten().unwrap_or(if major == 1 { 0 } else { u32::MAX }))
}

#[derive(Clone, PartialEq, Message)]
pub struct LayerModel {
    #[prost(uint32, tag = "1")]
    pub schema_rev: u32,
    /// `keras-h5`, `keras-v3`, `savedmodel`, ...
    #[prost(string, tag = "2")]
    pub format: String,
    /// As the file states it (`2.15.0`, `2.1.6-tf`), or the major version where only that can be told; read by
    /// [`keras_version`].
    #[prost(string, tag = "3")]
    pub keras_version: String,
    /// `tensorflow`, `theano`, ...; empty when not stated.
    #[prost(string, tag = "4")]
    pub backend: String,
    #[prost(message, optional, tag = "5")]
    pub root: Option<Model>,
    /// Files that tensors point into (`TensorProto::file` is an index here), absolute paths.
    #[prost(string, repeated, tag = "6")]
    pub files: Vec<String>,
    /// Where the artifact holds the model a second time, as its framework traced it: the same inputs and outputs (under
    /// the same names, in any order), by layers of other classes. It is lowered beside `root` as a witness, and in its
    /// place where no plugin owns a class of `root`.
    #[prost(message, optional, tag = "7")]
    pub traced: Option<Model>,
    /// `traced` was written by recast from the layers themselves: a second reading of the file, but no witness of what
    /// another framework makes of them.
    #[prost(bool, tag = "8")]
    pub traced_by_recast: bool,
    /// The options that the source knows for this artifact.
    #[prost(message, repeated, tag = "9")]
    pub options: Vec<SourceOption>,
}

/// What a user may choose of an artifact that holds several things.
#[derive(Clone, PartialEq, Message)]
pub struct SourceOption {
    /// `signature`
    #[prost(string, tag = "1")]
    pub name: String,
    /// What was taken; empty where nothing had to be chosen.
    #[prost(string, tag = "2")]
    pub value: String,
    /// What could have been.
    #[prost(string, repeated, tag = "3")]
    pub choices: Vec<String>,
}

/// A Sequential or Functional model, at the top or as a layer of another one.
#[derive(Clone, PartialEq, Message)]
pub struct Model {
    #[prost(string, tag = "1")]
    pub name: String,
    /// `Sequential` or `Functional`.
    #[prost(string, tag = "2")]
    pub kind: String,
    #[prost(message, repeated, tag = "3")]
    pub layers: Vec<Layer>,
    #[prost(message, repeated, tag = "4")]
    pub calls: Vec<Call>,
    #[prost(message, repeated, tag = "5")]
    pub inputs: Vec<ModelInput>,
    #[prost(message, repeated, tag = "6")]
    pub outputs: Vec<ModelOutput>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ModelInput {
    #[prost(string, tag = "1")]
    pub name: String,
    /// Keras' name: `float32`, `int32`, `bool`, `string`, ...
    #[prost(string, tag = "2")]
    pub dtype: String,
    /// With the batch axis; an absent size is a free dimension (the host gives it its symbol).
    #[prost(message, repeated, tag = "3")]
    pub dims: Vec<InputDim>,
}

#[derive(Clone, PartialEq, Message)]
pub struct InputDim {
    #[prost(uint64, optional, tag = "1")]
    pub size: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ModelOutput {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<ValueRef>,
}

/// A tensor inside one model: an output of one of its calls, or (no `call`) one of its inputs.
#[derive(Clone, PartialEq, Message)]
pub struct ValueRef {
    #[prost(uint32, optional, tag = "1")]
    pub call: Option<u32>,
    /// Which output of the call, or which input of the model.
    #[prost(uint32, tag = "2")]
    pub index: u32,
}

/// A layer: one object with weights, called once or more.
#[derive(Clone, PartialEq, Message)]
pub struct Layer {
    #[prost(string, tag = "1")]
    pub name: String,
    /// From the root, with `/`: `encoder/dense_1`. Unique in the layer model.
    #[prost(string, tag = "2")]
    pub path: String,
    /// What plugins claim: `Dense`; `my_pkg>MyLayer` for a registered custom class; `ops.numpy.Add` for a Keras 3
    /// operation node; `tf.nn.relu` for a TFOpLambda of that function.
    #[prost(string, tag = "3")]
    pub class: String,
    /// The layer's `config` as JSON.
    #[prost(string, tag = "4")]
    pub config: String,
    #[prost(message, repeated, tag = "5")]
    pub weights: Vec<Weight>,
    /// Wrapped layers by Keras attribute name: `layer` of TimeDistributed, `forward_layer` and `backward_layer` of
    /// Bidirectional, `cell` of RNN, `cells/0` of StackedRNNCells.
    #[prost(message, repeated, tag = "6")]
    pub children: Vec<Child>,
    /// Set when the layer is itself a model; `class` is then `Sequential` or `Functional`.
    #[prost(message, optional, tag = "7")]
    pub model: Option<Model>,
    /// The module that the file names, for reports: `keras.layers`, `my_pkg.layers`.
    #[prost(string, tag = "8")]
    pub module: String,
    /// `trainable` as stored; targets that go on training need it.
    #[prost(bool, tag = "9")]
    pub trainable: bool,
    /// What the user's configuration says that the layer computes, in the place of code that is never run. The host
    /// puts it here; a source leaves it empty.
    #[prost(string, optional, tag = "10")]
    pub expression: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Child {
    #[prost(string, tag = "1")]
    pub attribute: String,
    #[prost(message, optional, tag = "2")]
    pub layer: Option<Layer>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Weight {
    /// `kernel`, `bias`, `gamma`, `moving_mean`, `query/kernel` (the weight's path below its layer, in Keras' words).
    #[prost(string, tag = "1")]
    pub role: String,
    #[prost(message, optional, tag = "2")]
    pub tensor: Option<TensorProto>,
    /// As the container names it, for messages: `model_weights/dense/dense/kernel:0`.
    #[prost(string, tag = "3")]
    pub stored_as: String,
    /// Bytes that only the owner of the class reads, a traced graph or a vocabulary: no parameter of the model.
    #[prost(bool, tag = "4")]
    pub opaque: bool,
}

/// One call of a layer: Keras' "node".
#[derive(Clone, PartialEq, Message)]
pub struct Call {
    /// Index into `Model::layers`.
    #[prost(uint32, tag = "1")]
    pub layer: u32,
    #[prost(message, repeated, tag = "2")]
    pub args: Vec<Arg>,
    #[prost(message, repeated, tag = "3")]
    pub kwargs: Vec<NamedArg>,
}

#[derive(Clone, PartialEq, Message)]
pub struct NamedArg {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub arg: Option<Arg>,
}

/// An argument of a call: a tensor, a JSON constant, or a list or dictionary of arguments.
#[derive(Clone, PartialEq, Message)]
pub struct Arg {
    #[prost(oneof = "ArgKind", tags = "1, 2, 3, 4")]
    pub kind: Option<ArgKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ArgKind {
    #[prost(message, tag = "1")]
    Value(ValueRef),
    /// A constant, as JSON text.
    #[prost(string, tag = "2")]
    Json(String),
    #[prost(message, tag = "3")]
    List(ArgList),
    #[prost(message, tag = "4")]
    Dict(ArgDict),
}

#[derive(Clone, PartialEq, Message)]
pub struct ArgList {
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<Arg>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ArgDict {
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<NamedArg>,
}

impl Arg {
    pub fn value(value: ValueRef) -> Arg {
        Arg { kind: Some(ArgKind::Value(value)) }
    }
    pub fn json(value: &serde_json::Value) -> Arg {
        Arg { kind: Some(ArgKind::Json(value.to_string())) }
    }
    pub fn list(items: Vec<Arg>) -> Arg {
        Arg { kind: Some(ArgKind::List(ArgList { items })) }
    }
    pub fn dict(items: Vec<NamedArg>) -> Arg {
        Arg { kind: Some(ArgKind::Dict(ArgDict { items })) }
    }

    /// Every tensor of this argument, depth first, in order.
    pub fn values_mut<'a>(&'a mut self, out: &mut Vec<&'a mut ValueRef>) {
        match self.kind.as_mut() {
            Some(ArgKind::Value(value)) => out.push(value),
            Some(ArgKind::List(list)) => list.items.iter_mut().for_each(|arg| arg.values_mut(out)),
            Some(ArgKind::Dict(dict)) => {
                dict.items.iter_mut().filter_map(|named| named.arg.as_mut()).for_each(|arg| arg.values_mut(out))
            }
            Some(ArgKind::Json(_)) | None => {}
        }
    }

    /// The leaves of this argument, depth first, in order: tensors, and `None` for each constant.
    pub fn leaves(&self) -> Vec<Option<&ValueRef>> {
        match &self.kind {
            Some(ArgKind::Value(value)) => vec![Some(value)],
            Some(ArgKind::List(list)) => list.items.iter().flat_map(Arg::leaves).collect(),
            Some(ArgKind::Dict(dict)) => {
                dict.items.iter().filter_map(|named| named.arg.as_ref()).flat_map(Arg::leaves).collect()
            }
            Some(ArgKind::Json(_)) | None => vec![None],
        }
    }

    /// What an argument `mask` says: none where it is null, which is as if it were absent. A list of nulls is not: it
    /// says, for each tensor, that it has no mask.
    pub fn masks(&self) -> Option<Vec<Option<&ValueRef>>> {
        let Some(ArgKind::Json(text)) = &self.kind else { return self.kind.as_ref().map(|_| self.leaves()) };
        match serde_json::from_str(text) {
            Ok(serde_json::Value::Array(items)) => Some(vec![None; items.len()]),
            _ => None,
        }
    }
}

impl Call {
    /// Every tensor that it is called with, in the order of its arguments.
    pub fn values(&self) -> impl Iterator<Item = &ValueRef> {
        let kwargs = self.kwargs.iter().filter_map(|named| named.arg.as_ref());
        self.args.iter().chain(kwargs).flat_map(Arg::leaves).flatten()
    }

    pub fn values_mut(&mut self) -> Vec<&mut ValueRef> {
        let mut values = Vec::new();
        self.args.iter_mut().for_each(|arg| arg.values_mut(&mut values));
        self.kwargs.iter_mut().filter_map(|named| named.arg.as_mut()).for_each(|arg| arg.values_mut(&mut values));
        values
    }
}

impl Layer {
    pub fn child(&self, attribute: &str) -> Option<&Layer> {
        self.children.iter().find(|child| child.attribute == attribute).and_then(|child| child.layer.as_ref())
    }
    pub fn weight(&self, role: &str) -> Option<&Weight> {
        self.weights.iter().find(|weight| weight.role == role)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_are_told_from_what_a_file_states() {
        for (stated, version) in [
            ("3.15.1", (3, 15)),
            ("2.2.4-tf", (2, 2)),
            ("2.16-tf", (2, 16)),
            ("3.0.0.dev2023", (3, 0)),
            ("3", (3, u32::MAX)),
            ("2", (2, u32::MAX)),
            ("1", (1, 0)),
            ("", (1, 0)),
            ("unknown", (1, 0)),
        ] {
            assert_eq!(super::keras_version(stated), version, "{stated}");
        }
    }
}
