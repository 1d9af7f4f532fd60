//! Requests and replies of the three plugin kinds, as they cross the boundary (protobuf by `prost`).
//! Unknown fields are ignored by older builds, so options grow without touching the ABI.

use crate::diag::{Code, Diag};
use crate::ir::Graph;
use crate::ir::wire::{GraphProto, TypeProto};
use crate::model::{Arg, Layer, NamedArg};
use prost::Message;

/// To a source: read this artifact.
#[derive(Clone, PartialEq, Message)]
pub struct ReadRequest {
    #[prost(uint32, tag = "1")]
    pub schema_rev: u32,
    /// Absolute; a file or a directory.
    #[prost(string, tag = "2")]
    pub path: String,
    /// Absolute; the architecture JSON of a weights-only file.
    #[prost(string, optional, tag = "3")]
    pub architecture: Option<String>,
    #[prost(message, optional, tag = "4")]
    pub limits: Option<ReadLimits>,
    /// Of a directory: the files below it, as paths relative to it, sorted.
    #[prost(string, repeated, tag = "5")]
    pub files: Vec<String>,
    /// What the user chose, as a JSON object; empty for nothing. A source names the options that it knows in
    /// `LayerModel::options`: the host refuses to go on without one of those that it gave.
    #[prost(string, tag = "6")]
    pub options: String,
}

/// Bounds that a source holds while it reads; zero means the plugin's own default.
#[derive(Clone, PartialEq, Message)]
pub struct ReadLimits {
    #[prost(uint64, tag = "1")]
    pub tensor_bytes_max: u64,
    #[prost(uint64, tag = "2")]
    pub json_bytes_max: u64,
    #[prost(uint32, tag = "3")]
    pub json_depth_max: u32,
    #[prost(uint32, tag = "4")]
    pub layers_max: u32,
}

/// To a layers plugin: lower one call of one layer.
#[derive(Clone, PartialEq, Message)]
pub struct LowerRequest {
    #[prost(uint32, tag = "1")]
    pub schema_rev: u32,
    /// With weights and children; nested models are never sent, the host lowers them itself.
    #[prost(message, optional, tag = "2")]
    pub layer: Option<Layer>,
    /// The tensors of the call, flattened in order of first appearance in `args`, then `kwargs`.
    #[prost(message, repeated, tag = "3")]
    pub inputs: Vec<LowerInput>,
    /// As in `model::Call`, but each `ValueRef::index` is a position in `inputs` (and `call` is absent).
    #[prost(message, repeated, tag = "4")]
    pub args: Vec<Arg>,
    #[prost(message, repeated, tag = "5")]
    pub kwargs: Vec<NamedArg>,
    #[prost(string, tag = "6")]
    pub keras_version: String,
    /// `keras-h5`, ...: the few differences that follow the container.
    #[prost(string, tag = "7")]
    pub format: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct LowerInput {
    #[prost(message, optional, tag = "1")]
    pub ty: Option<TypeProto>,
    /// Type of the Keras mask that travels with this tensor, where there is one (bool, as Keras computes it).
    #[prost(message, optional, tag = "2")]
    pub mask: Option<TypeProto>,
}

/// From a layers plugin: the layer's ops as a graph. Its inputs are, for each `LowerInput` in order, the tensor and,
/// where there is one, its mask. Its params are weights of the layer (or of its children).
#[derive(Clone, PartialEq, Message)]
pub struct Lowered {
    #[prost(message, optional, tag = "1")]
    pub graph: Option<GraphProto>,
    /// In the layer's output order.
    #[prost(message, repeated, tag = "2")]
    pub outputs: Vec<LoweredOutput>,
    /// Positions among the inputs of tensors that lose their masks by this call: to every later call on the same
    /// tensor, in this model or around it, they come without. MultiHeadAttention of Keras 3.8 and later does that.
    #[prost(uint32, repeated, tag = "3")]
    pub unmasked: Vec<u32>,
}

/// Ids of values of `Lowered::graph`.
#[derive(Clone, PartialEq, Message)]
pub struct LoweredOutput {
    #[prost(uint32, tag = "1")]
    pub value: u32,
    #[prost(uint32, optional, tag = "2")]
    pub mask: Option<u32>,
}

/// To a target: write this graph.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    #[prost(uint32, tag = "1")]
    pub schema_rev: u32,
    #[prost(message, optional, tag = "2")]
    pub graph: Option<GraphProto>,
    /// The artifact's name without suffix; output files are named after it.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Options of this target, JSON object.
    #[prost(string, tag = "4")]
    pub options: String,
    /// sha256 of the artifact, lower-case hex; empty where it is not known yet.
    #[prost(string, tag = "5")]
    pub source_digest: String,
    /// The layer model, for targets that write layers rather than ops (`Caps::wants_layers`).
    #[prost(message, optional, tag = "6")]
    pub layers: Option<crate::model::LayerModel>,
    /// The daemon's version, for producer fields.
    #[prost(string, tag = "7")]
    pub recast_version: String,
}

/// What a target can be given; the shared passes make the graph fit, `admit` refuses what can't be made to.
#[derive(Clone, PartialEq, Message)]
pub struct Caps {
    #[prost(uint32, tag = "1")]
    pub schema_rev: u32,
    /// The public target name that these are for: `onnx`.
    #[prost(string, tag = "2")]
    pub target: String,
    /// Names of ops (`Op::name`) that the target writes.
    #[prost(string, repeated, tag = "3")]
    pub ops: Vec<String>,
    /// `channels_first`, `channels_last`, or empty for both.
    #[prost(string, tag = "4")]
    pub layout: String,
    /// Kernel order of Conv: `oihw`, `hwio`, or empty for both.
    #[prost(string, tag = "5")]
    pub kernel: String,
    /// Dtypes by recast's names (`f32`); empty for all.
    #[prost(string, repeated, tag = "6")]
    pub dtypes: Vec<String>,
    /// 0 for no bound.
    #[prost(uint32, tag = "7")]
    pub rank_max: u32,
    /// What runs the written file in a check: `onnx`, `keras`, `python-torch`; empty for none.
    #[prost(string, tag = "8")]
    pub runtime: String,
    /// The suffix of the primary output: `.onnx`, `_torch/`.
    #[prost(string, tag = "9")]
    pub suffix: String,
    /// The target writes from the layer model (`.keras`, `.h5`), not from the graph alone.
    #[prost(bool, tag = "10")]
    pub wants_layers: bool,
    /// The primary output is itself an artifact of this format (`keras-v3`, `saved-model`): a check reads it back
    /// through the source that claims the format and compares what it finds with what was to be written.
    #[prost(string, tag = "11")]
    pub read_back: String,
    /// Runs the output in the framework that it is for, where the configuration has a command for that.
    #[prost(message, optional, tag = "12")]
    pub runner: Option<Runner>,
    /// `Target::check` reads the output back (formats that no source reads).
    #[prost(bool, tag = "13")]
    pub checks: bool,
    /// Dtypes that the target stores and casts from, but does not compute in (`bf16`): the shared passes compute in f32
    /// instead.
    #[prost(string, repeated, tag = "14")]
    pub widens: Vec<String>,
    /// With `wants_layers`: the layers are written beside the graph, which is needed all the same (`torch`).
    #[prost(bool, tag = "15")]
    pub needs_graph: bool,
    /// Not every name can be kept: what is neither a letter nor a digit of ASCII may come back as `_`, with more of
    /// them at the end where that name is taken.
    #[prost(bool, tag = "16")]
    pub renames: bool,
    /// Why ops that are not among `ops` are not, where there is more to say than that.
    #[prost(message, repeated, tag = "17")]
    pub lacks: Vec<Lack>,
}

/// An op that the format has no words for.
#[derive(Clone, PartialEq, Message)]
pub struct Lack {
    #[prost(string, tag = "1")]
    pub op: String,
    #[prost(string, tag = "2")]
    pub why: String,
    /// What to do about it.
    #[prost(string, tag = "3")]
    pub hint: String,
}

impl Caps {
    /// Is the layer model all that is written, so that classes that nothing lowers are no obstacle?
    pub fn writes_layers_alone(&self) -> bool {
        self.wants_layers && !self.needs_graph
    }

    /// A target that takes graphs in any layout and with any dtype, and writes `NAME` + `suffix` first.
    pub fn of(target: &str, suffix: &str, ops: &[&str]) -> Caps {
        Caps {
            schema_rev: crate::model::SCHEMA_REV,
            target: target.into(),
            ops: ops.iter().map(|op| op.to_string()).collect(),
            suffix: suffix.into(),
            ..Caps::default()
        }
    }
}

fn decoded(graph: &Option<GraphProto>, name: &str) -> Result<Graph, Diag> {
    let missing = || Diag::new(Code::PluginMisbehaved, name, "a request without a graph");
    graph.clone().ok_or_else(missing)?.decode_graph()
}

impl WriteRequest {
    /// The graph, checked and typed.
    pub fn decoded_graph(&self) -> Result<Graph, Diag> {
        decoded(&self.graph, &self.name)
    }
}

impl CheckRequest {
    /// The graph, checked and typed.
    pub fn decoded_graph(&self) -> Result<Graph, Diag> {
        decoded(&self.graph, &self.name)
    }
}

/// A script for an interpreter that the machine's owner configures: `[verify.runtimes.NAME] command = [...]`. It is
/// called as `COMMAND... SCRIPT MODEL INPUTS.npz OUTPUTS.npz [INPUTS.npz OUTPUTS.npz]...` in a process of its own,
/// bounded in time and memory: it loads the output at MODEL (file or directory) once; then, for each pair in order, it
/// feeds it the arrays of INPUTS.npz, which are named as the graph's inputs, lie in the order of these, and have the
/// dtypes of the graph (bfloat16 comes as float32), and writes OUTPUTS.npz with arrays named as the graph's outputs, or
/// `arr_0`, `arr_1`, .. in the order of these (bfloat16 as float32). Batch size and free lengths differ from pair to
/// pair. It exits with 0; anything else fails the check, and the last lines that it printed are in the report. Its
/// working directory, HOME and TMPDIR are an empty place that is removed afterwards; the environment holds nothing else
/// but PATH, LANG and OMP_NUM_THREADS.
#[derive(Clone, PartialEq, Message)]
pub struct Runner {
    /// The key under `[verify.runtimes]`: `torch`, `tensorflow`, `keras`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Python source.
    #[prost(string, tag = "2")]
    pub script: String,
}

/// To a target: read back what you wrote, by code that shares nothing with the writer, and say where it differs.
#[derive(Clone, PartialEq, Message)]
pub struct CheckRequest {
    #[prost(uint32, tag = "1")]
    pub schema_rev: u32,
    /// As it was written: after the passes.
    #[prost(message, optional, tag = "2")]
    pub graph: Option<GraphProto>,
    /// Absolute path of the primary output, a file or a directory.
    #[prost(string, tag = "3")]
    pub path: String,
    #[prost(string, tag = "4")]
    pub name: String,
    #[prost(string, tag = "5")]
    pub options: String,
}

/// What was found in the output. The host compares the bytes of every parameter with the source's: a parameter that
/// is not named here, or named twice, fails the check. Differences of structure come as findings instead.
#[derive(Clone, PartialEq, Message)]
pub struct CheckReply {
    #[prost(message, repeated, tag = "1")]
    pub weights: Vec<FoundWeight>,
}

/// One parameter in the written files: its elements (little-endian, C order), after its axes are permuted by `perm` as
/// in numpy's `transpose`, are the pieces put one after the other. Pieces say in which order a format keeps gates.
#[derive(Clone, PartialEq, Message)]
pub struct FoundWeight {
    /// Position in `Graph::all_params`: the graph's params, then those of the bodies of its scans.
    #[prost(uint32, tag = "1")]
    pub param: u32,
    /// Empty for the order that the param has in the graph.
    #[prost(uint32, repeated, tag = "2")]
    pub perm: Vec<u32>,
    #[prost(message, repeated, tag = "3")]
    pub pieces: Vec<Piece>,
}

/// Bytes of a written file.
#[derive(Clone, PartialEq, Message)]
pub struct Piece {
    /// Absolute.
    #[prost(string, tag = "1")]
    pub file: String,
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    #[prost(uint64, tag = "3")]
    pub len: u64,
}
