//! What a plugin offers: one table of functions for each extension id.
//!
//! Of each table: [host thread, one call at a time]. `host` and all bytes are borrowed until the call returns. `i32`
//! results are of `status`. A function that is an `Option` may be absent (null in C).

use crate::{RecastBytes, RecastHost};

/// `recast.source/1`: reads artifacts.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastSourceV1 {
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Is this yours? From the first bytes and the file name: 0 no, 100 surely. Of a directory the first
    /// bytes are those of its listing: sorted names, each with a newline behind it, a directory's with `/` before that.
    pub probe: unsafe extern "C" fn(host: *const RecastHost, head: RecastBytes, name: RecastBytes) -> i32,
    /// `ReadRequest` -> `LayerModel` that may lack its tensors: for listings.
    pub describe: Option<unsafe extern "C" fn(host: *const RecastHost, request: RecastBytes) -> i32>,
    /// `ReadRequest` -> `LayerModel`.
    pub read: unsafe extern "C" fn(host: *const RecastHost, request: RecastBytes) -> i32,
}

/// `recast.target/1`: writes formats.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastTargetV1 {
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// -> `CapsList`, one `Caps` for each target name of the manifest.
    pub capabilities: unsafe extern "C" fn(host: *const RecastHost) -> i32,
    /// `WriteRequest` -> files through `recast.host.output/1`. `target` is one of the manifest's names.
    pub write: unsafe extern "C" fn(host: *const RecastHost, target: RecastBytes, request: RecastBytes) -> i32,
}

/// `recast.layers/1`: lowers layer classes to ops.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastLayersV1 {
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// -> the manifest's class names, one a line.
    pub list: unsafe extern "C" fn(host: *const RecastHost) -> i32,
    /// `LowerRequest` -> `Lowered` whose graph has inputs and outputs alone.
    pub infer_shape: Option<unsafe extern "C" fn(host: *const RecastHost, request: RecastBytes) -> i32>,
    /// `LowerRequest` -> `Lowered`.
    pub lower: unsafe extern "C" fn(host: *const RecastHost, request: RecastBytes) -> i32,
    /// `LowerRequest` -> `EvalReply`: the layer computed by the plugin itself, a second opinion on `lower`. Inputs are
    /// the tensors `input/0`, `input/1`, ... of `recast.host.tensor/1`.
    pub eval: Option<unsafe extern "C" fn(host: *const RecastHost, request: RecastBytes) -> i32>,
}

/// `recast.selftest/1`: what the conformance kit needs to exercise a plugin that it knows nothing about.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastSelftestV1 {
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// -> `SelftestCases`.
    pub cases: unsafe extern "C" fn(host: *const RecastHost) -> i32,
}
