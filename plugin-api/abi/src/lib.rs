//! The boundary between recast and its plugins: plain `repr(C)` structs of functions over bytes, and nothing else.
//!
//! Everything here is frozen at 1.0. A released struct never changes: not a field more, not a type, not an order. What
//! is new gets a new extension id (`recast.source/2`) and a new struct; both sides ask for ids with `get_extension` and
//! take null for "I don't know it". A plugin built for ABI 1 therefore loads in every later host of ABI 1, and a newer
//! plugin loads in an older host as long as it also offers an id that this host knows.
//!
//! The rules of every call, which the types can't say:
//! - *Threads.* The host calls a plugin from one thread at a time. Host functions may be called from any thread.
//! - *Owners.* Who allocates frees. Nothing that crosses is owned by the receiver: `RecastBytes` borrows until the call
//!   that carried it returns; pointers from `manifest` and `get_extension` live as long as the process.
//! - *Results* do not return by value: the plugin hands bytes to `RecastHost::emit`, in as many chunks as it likes.
//! - *Unwinding* never crosses. A plugin answers a panic of its own with `status::PANIC`.
//! - *Unloading* does not exist: a worker process loads, runs one job, and ends.
//!
//! Payloads are protobuf messages, declared by the crate `recast-plugin-api`. `recast_plugin.h` says the same in C.
#![no_std]

mod check;
mod export;
mod host;
mod plugin;
#[cfg(feature = "abi-stable")]
pub mod root;

pub use check::*;
pub use host::*;
pub use plugin::*;

use core::ffi::c_void;

/// First field of `RecastEntry`: "RECASTP1", little-endian. What does not start with it is not a plugin.
pub const MAGIC: u64 = u64::from_le_bytes(*b"RECASTP1");
/// The ABI that this crate describes. A host refuses every other one.
pub const ABI_MAJOR: u32 = 1;
/// The data symbol (`RecastEntry`) that every plugin exports, in whatever language it is written.
pub const ENTRY_SYMBOL: &str = "recast_plugin_entry_v1";
/// The ELF section that holds the manifest (JSON, UTF-8), so that a plugin is known before any of its code runs.
pub const MANIFEST_SECTION: &str = ".recast_manifest";

/// Extension ids. A plugin offers those without `host` in them, a host the others.
pub mod id {
    pub const SOURCE: &str = "recast.source/1";
    pub const TARGET: &str = "recast.target/1";
    pub const LAYERS: &str = "recast.layers/1";
    pub const SELFTEST: &str = "recast.selftest/1";
    pub const CHECK: &str = "recast.check/1";

    pub const HOST_LOG: &str = "recast.host.log/1";
    pub const HOST_FILES: &str = "recast.host.files/1";
    pub const HOST_SCRATCH: &str = "recast.host.scratch/1";
    pub const HOST_TENSOR: &str = "recast.host.tensor/1";
    pub const HOST_OUTPUT: &str = "recast.host.output/1";
    pub const HOST_LOWER: &str = "recast.host.lower/1";
    pub const HOST_PROGRESS: &str = "recast.host.progress/1";
    pub const HOST_CANCEL: &str = "recast.host.cancel/1";
    pub const HOST_THREADS: &str = "recast.host.threads/1";
}

/// What a call returns. Zero is success; findings and an error text go through `emit`.
pub mod status {
    pub const OK: i32 = 0;
    /// The plugin lacks something that the request needs.
    pub const UNSUPPORTED: i32 = -1;
    /// The artifact or the request is not what it claims to be.
    pub const BAD_INPUT: i32 = -2;
    pub const IO: i32 = -3;
    pub const CANCELLED: i32 = -4;
    /// The plugin contradicts itself.
    pub const INTERNAL: i32 = -5;
    /// A host function was called with something that it can't take: an unknown stream, a bad name.
    pub const MISUSE: i32 = -6;
    pub const PANIC: i32 = -100;
}

/// Streams of `RecastHost::emit`. Output files get the numbers above these from `recast.host.output/1`.
pub mod stream {
    /// The reply message of the call.
    pub const RESULT: u32 = 0;
    /// One `ErrorProto`: why the call as a whole failed.
    pub const ERROR: u32 = 1;
    /// One `DiagProto` a chunk.
    pub const DIAGNOSTIC: u32 = 2;
    pub const FIRST_OUTPUT: u32 = 3;
}

/// Levels of `RecastHost::log`.
pub mod level {
    pub const ERROR: u32 = 1;
    pub const WARN: u32 = 2;
    pub const INFO: u32 = 3;
    pub const DEBUG: u32 = 4;
    pub const TRACE: u32 = 5;
}

/// Element types of `RecastTensorView`.
pub mod dtype {
    pub const BOOL: u32 = 1;
    pub const I8: u32 = 2;
    pub const U8: u32 = 3;
    pub const I16: u32 = 4;
    pub const U16: u32 = 5;
    pub const I32: u32 = 6;
    pub const U32: u32 = 7;
    pub const I64: u32 = 8;
    pub const U64: u32 = 9;
    pub const F16: u32 = 10;
    pub const BF16: u32 = 11;
    pub const F32: u32 = 12;
    pub const F64: u32 = 13;
}

/// Bytes that somebody else owns. `ptr` may be null when `len` is 0.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastBytes {
    pub ptr: *const u8,
    pub len: usize,
}

// SAFETY: a pointer and a length; whoever dereferences them answers for what they point at.
unsafe impl Send for RecastBytes {}
// SAFETY: as above; the struct itself has no interior mutability.
unsafe impl Sync for RecastBytes {}

impl RecastBytes {
    pub const EMPTY: RecastBytes = RecastBytes { ptr: core::ptr::null(), len: 0 };

    pub const fn new(bytes: &[u8]) -> RecastBytes {
        RecastBytes { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// # Safety
    /// `ptr..ptr + len` must be readable and unchanged for as long as the result is used.
    pub const unsafe fn as_slice<'a>(self) -> &'a [u8] {
        if self.len == 0 || self.ptr.is_null() {
            return &[];
        }
        // SAFETY: the caller's promise, and not null.
        unsafe { core::slice::from_raw_parts(self.ptr, self.len) }
    }
}

/// A tensor in memory that the host mapped: row-major, little-endian, without gaps.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastTensorView {
    /// One of `dtype`.
    pub dtype: u32,
    pub rank: u32,
    /// `rank` sizes; null for a scalar.
    pub dims: *const i64,
    pub data: RecastBytes,
    /// What `data.ptr` is a multiple of. A tensor inside a file may lie at an odd address.
    pub align: u32,
    /// Zero in v1.
    pub flags: u32,
}

/// What a plugin gets to talk to the host. The one of `init` lives as long as the process and takes no results; the
/// one of a call lives until that call returns.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastHost {
    pub struct_size: u32,
    pub abi_major: u32,
    /// First argument of every host function, those of host extensions included.
    pub ctx: *mut c_void,
    /// [any thread] `level` as in `level`; `target` a module path; both texts UTF-8, copied before the call returns.
    pub log: unsafe extern "C" fn(ctx: *mut c_void, level: u32, target: RecastBytes, message: RecastBytes),
    /// [any thread] Nonzero: cancelled or full; the plugin stops and returns. The chunk is consumed before it returns.
    pub emit: unsafe extern "C" fn(ctx: *mut c_void, stream: u32, chunk: RecastBytes) -> i32,
    /// [any thread] A host extension by id, or null.
    pub get_extension: unsafe extern "C" fn(ctx: *mut c_void, id: RecastBytes) -> *const c_void,
}

/// What a plugin is: exported as the data symbol `recast_plugin_entry_v1`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "abi-stable", derive(abi_stable::StableAbi))]
pub struct RecastEntry {
    pub magic: u64,
    pub struct_size: u32,
    pub abi_major: u32,
    /// [any thread] The bytes of the section `.recast_manifest`.
    pub manifest: unsafe extern "C" fn() -> RecastBytes,
    /// [host thread] Called before everything else, perhaps more than once.
    pub init: unsafe extern "C" fn(host: *const RecastHost) -> i32,
    /// [host thread] A plugin extension by id, or null.
    pub get_extension: unsafe extern "C" fn(id: RecastBytes) -> *const c_void,
}
