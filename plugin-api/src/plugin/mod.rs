//! How a plugin is written: implement `Source`, `Target` or `Layers`, and export it.
//!
//! ```ignore
//! struct ScaledTanh;
//!
//! impl Layers for ScaledTanh {
//!     const CLASSES: &'static [&'static str] = &["acme>ScaledTanh"];
//!     fn lower(&self, cx: &LowerCx, request: &LowerRequest) -> Result<Lowered, Findings> { ... }
//! }
//!
//! recast_plugin_api::export_plugin! {
//!     id: "com.acme.layers",
//!     name: "Acme's layers",
//!     layers: ScaledTanh,
//! }
//! ```
//!
//! Build it as a `cdylib` and put the file where recast looks for plugins. The macro writes the manifest from the
//! traits' constants, catches panics, forwards `tracing` events to the host, and exports both entry symbols; the author
//! writes no `unsafe` and sees no pointer. Building with `panic = "abort"` is refused: a panic must stay an answer.
//!
//! Instances are constants without state. One call runs at a time; what a plugin wants to remember between calls it
//! keeps in statics of its own, and it must not count on them: each job is a new process.

mod cx;
mod error;
mod export;
mod guard;
mod log;
mod manifest;
pub mod options;
mod proto;
mod tensor;

pub use cx::{Cx, File, LowerCx, OutputFile, ReadCx, ScratchFile, WriteCx};
pub use error::{HostError, status_of};
pub use manifest::{Format, MANIFEST_BYTES_MAX, Manifest, Provided};
pub use proto::{CapsList, ErrorProto, EvalReply, EvalTensor, SampleFile, SelftestCases};
pub use tensor::{Tensor, dtype_code, dtype_of_code};

/// A request as the host makes it: one call of one layer on inputs of these types. For `Layers::examples`.
pub fn example(layer: Layer, inputs: &[Type]) -> LowerRequest {
    let value = |index| Arg::value(ValueRef { call: None, index });
    LowerRequest {
        schema_rev: SCHEMA_REV,
        layer: Some(layer),
        inputs: inputs.iter().map(|ty| LowerInput { ty: Some(ty.into()), mask: None }).collect(),
        args: (0..inputs.len() as u32).map(value).collect(),
        keras_version: "3.0.0".into(),
        ..LowerRequest::default()
    }
}

/// What `export_plugin!` expands to; not for authors.
#[doc(hidden)]
pub mod internal {
    pub use super::export::*;
    pub use super::manifest::constant::*;
    pub use recast_abi;
}

use crate::diag::{Code, Diag, Findings};
use crate::ir::Type;
use crate::messages::{Caps, CheckReply, CheckRequest, LowerInput, LowerRequest, Lowered, ReadRequest, WriteRequest};
use crate::model::{Arg, Layer, LayerModel, SCHEMA_REV, ValueRef};

/// Reads artifacts of one or more formats.
pub trait Source: Send + Sync + 'static {
    const FORMATS: &'static [Format];

    /// Is this yours? `head` is the beginning of the file (at most 4 KiB), `name` its name. A directory's head is its
    /// listing: sorted names, each with a newline behind it, those of directories with `/` before that.
    /// 0 is no, 100 is certain; the highest answer of all plugins reads the artifact.
    fn probe(&self, head: &[u8], name: &str) -> u8;

    /// The artifact as layers. Every file that a tensor points into is listed in `LayerModel::files`.
    fn read(&self, cx: &ReadCx<'_>, request: &ReadRequest) -> Result<LayerModel, Findings>;

    /// Small files that the conformance kit reads, cuts and flips bits in.
    fn samples(&self) -> Vec<SampleFile> {
        Vec::new()
    }
}

/// Writes one or more formats.
pub trait Target: Send + Sync + 'static {
    /// Public target names: `onnx`.
    const TARGETS: &'static [&'static str];

    /// One for each name.
    fn capabilities(&self) -> Vec<Caps>;

    /// Writes through `cx.create`; the graph in the request fits the capabilities of `target`. What can be refused is
    /// refused before the first file is created: `recast inspect` calls this, too, and stops it there.
    fn write(&self, cx: &WriteCx<'_>, target: &str, request: &WriteRequest) -> Result<(), Findings>;

    /// Reads the output back for a structural check, by code that shares nothing with `write`; only of a target that
    /// says so in `Caps::checks`. The files are the plugin's to open below `request.path`. What is there otherwise than
    /// the request's graph says is an error finding (`Code::Mismatch`, with the layer's path); where each param lies is
    /// the reply, and the host compares the bytes itself.
    fn check(&self, _cx: &Cx<'_>, target: &str, _request: &CheckRequest) -> Result<CheckReply, Findings> {
        Err(Diag::new(Code::PluginMisbehaved, target, "the target says that it checks its output, and does not").into())
    }
}

/// Lowers layer classes.
pub trait Layers: Send + Sync + 'static {
    /// As in `model::Layer::class`: `Dense`, `my_pkg>MyLayer`.
    const CLASSES: &'static [&'static str];

    fn lower(&self, cx: &LowerCx<'_>, request: &LowerRequest) -> Result<Lowered, Findings>;

    /// The layer computed by the plugin itself, as a second opinion on `lower`: one array for each output. The inputs
    /// are the tensors `input/0`, `input/1`, ... `None`: no second opinion on this layer.
    fn eval(&self, _cx: &LowerCx<'_>, _request: &LowerRequest) -> Result<Option<EvalReply>, Findings> {
        Ok(None)
    }

    /// Requests that the conformance kit lowers; at least one for each class.
    fn examples(&self) -> Vec<LowerRequest> {
        Vec::new()
    }
}
