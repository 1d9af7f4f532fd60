//! What a plugin offers beside `recast.target/1`: came after the first release, so it is an extension of its own, and a
//! plugin that was built before it loads as it always did.

use crate::{RecastBytes, RecastHost};

/// `recast.check/1`: reads outputs back. [host thread, one call at a time]
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastCheckV1 {
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// `CheckRequest` -> `CheckReply`, what is found in the files at the request's path, read by code that shares
    /// nothing with `write`. `target` is one of the manifest's names. What differs from the request's graph is an error
    /// finding. Asked for only where the target's `Caps` say that it checks.
    pub check: unsafe extern "C" fn(host: *const RecastHost, target: RecastBytes, request: RecastBytes) -> i32,
}
