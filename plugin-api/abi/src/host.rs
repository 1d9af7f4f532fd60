//! What a host offers: one table for each extension id, got from `RecastHost::get_extension`.
//!
//! [any thread] for each function but `lower_child`. `ctx` is `RecastHost::ctx` of the call that it is used in; views
//! and bytes that a host function hands out live until that call returns.

use crate::{RecastBytes, RecastTensorView};
use core::ffi::c_void;

/// `recast.host.log/1`: what the host wants to hear, so that a plugin need not format what nobody reads.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastHostLogV1 {
    pub struct_size: u32,
    /// The highest of `level` that is kept.
    pub level_max: u32,
}

/// `recast.host.files/1`: the artifact's bytes, mapped and hashed by the host.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastHostFilesV1 {
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Maps a file: a path of the request, or one below it when that is a directory.
    pub map: unsafe extern "C" fn(ctx: *mut c_void, path: RecastBytes, out: *mut RecastBytes) -> i32,
}

/// `recast.host.scratch/1`: files for decoded tensors that have no place in the artifact as they are.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastHostScratchV1 {
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// A new empty file: its number, or a negative status. `path` gets what belongs into `LayerModel::files`.
    pub create: unsafe extern "C" fn(ctx: *mut c_void, path: *mut RecastBytes) -> i32,
    /// Appends; the offset at which the chunk begins, or a negative status. Begins are multiples of 64.
    pub append: unsafe extern "C" fn(ctx: *mut c_void, file: u32, chunk: RecastBytes) -> i64,
}

/// `recast.host.tensor/1`: weights by name.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastHostTensorV1 {
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// `name` is a param's name: layer path, `/`, role.
    pub get: unsafe extern "C" fn(ctx: *mut c_void, name: RecastBytes, out: *mut RecastTensorView) -> i32,
    /// Any tensor of the request's graph, by its `TensorProto`: constants have no name.
    pub view: unsafe extern "C" fn(ctx: *mut c_void, tensor: RecastBytes, out: *mut RecastTensorView) -> i32,
    /// Tells that a view is not used again: a tensor that had to be rearranged is freed.
    pub done: unsafe extern "C" fn(ctx: *mut c_void, view: *const RecastTensorView),
}

/// `recast.host.output/1`: the files that a target writes. The host writes and hashes each chunk where it lies.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastHostOutputV1 {
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Creates a file (`name.onnx`, `name_torch/model.py`): the stream to `emit` its bytes to, or a negative status.
    /// The first one is the primary file of the output.
    pub open: unsafe extern "C" fn(ctx: *mut c_void, name: RecastBytes) -> i32,
    /// No more bytes come: lets go of the file. What is still open when `write` returns is closed then.
    pub close: unsafe extern "C" fn(ctx: *mut c_void, stream: u32) -> i32,
}

/// Receives the reply of `lower_child`; `bytes` are borrowed until it returns. A plain function pointer in C: the
/// wrapper is there because abi_stable does not describe a function that takes a function.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastReply {
    pub call: unsafe extern "C" fn(user: *mut c_void, bytes: RecastBytes),
}

/// `recast.host.lower/1`: lowers a wrapped layer, whichever plugin owns its class, while its wrapper is lowered.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastHostLowerV1 {
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// [thread of the call] `LowerRequest` -> `Lowered`, given to `reply` before this returns; `reply` is not called on
    /// failure. The same plugin may own the child: its `lower` is then entered again on this thread. The findings of a
    /// failure are reported by the host already; the plugin only passes the status on.
    pub lower_child:
        unsafe extern "C" fn(ctx: *mut c_void, request: RecastBytes, reply: RecastReply, user: *mut c_void) -> i32,
}

/// `recast.host.progress/1`: how far a long call is.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastHostProgressV1 {
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// `total` 0: not known.
    pub report: unsafe extern "C" fn(ctx: *mut c_void, done: u64, total: u64, what: RecastBytes),
}

/// `recast.host.cancel/1`: a plugin that works for long asks at least twice a second.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastHostCancelV1 {
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// 1: stop and return `status::CANCELLED`.
    pub is_cancelled: unsafe extern "C" fn(ctx: *mut c_void) -> i32,
}

/// `recast.host.threads/1`: each plugin has thread pools of its own; this is how many threads it may start.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastHostThreadsV1 {
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    pub budget: unsafe extern "C" fn(ctx: *mut c_void) -> u32,
}
