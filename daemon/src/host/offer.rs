//! What this host offers to plugins: the functions behind `RecastHost`, for the call that `ctx` stands for.

use super::call::Call;
use recast_abi::*;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Every extension of this host. A released one stays for good.
pub const IDS: &[&str] = &[
    id::HOST_LOG,
    id::HOST_FILES,
    id::HOST_SCRATCH,
    id::HOST_TENSOR,
    id::HOST_OUTPUT,
    id::HOST_LOWER,
    id::HOST_PROGRESS,
    id::HOST_CANCEL,
    id::HOST_THREADS,
];

/// The host that a plugin's `init` gets: it logs, and takes nothing. It lives as long as the process.
pub(super) fn for_init(plugin: &str) -> &'static RecastHost {
    let plugin: &'static String = Box::leak(Box::new(plugin.to_owned()));
    Box::leak(Box::new(RecastHost {
        struct_size: size_of::<RecastHost>() as u32,
        abi_major: ABI_MAJOR,
        ctx: (&raw const *plugin).cast_mut().cast(),
        log: log_of_init,
        emit: emit_nowhere,
        get_extension: extension_of_init,
    }))
}

/// The host of one call; `call` must outlive it.
pub(super) fn for_call(call: &Call<'_>) -> RecastHost {
    RecastHost {
        struct_size: size_of::<RecastHost>() as u32,
        abi_major: ABI_MAJOR,
        ctx: (&raw const *call).cast_mut().cast(),
        log,
        emit,
        get_extension,
    }
}

/// A panic of ours must not run into a plugin's frames.
fn answered<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(otherwise)
}

/// # Safety
/// `ctx` must be that of a host made by `for_call`, while the call runs.
unsafe fn call_of<'a>(ctx: *mut c_void) -> &'a Call<'a> {
    // SAFETY: the caller's promise.
    unsafe { &*ctx.cast::<Call<'a>>() }
}

fn say(plugin: &str, level: u32, target: &[u8], message: &[u8]) {
    let module = String::from_utf8_lossy(target);
    let message = String::from_utf8_lossy(message);
    let (module, message) = (module.as_ref(), message.as_ref());
    match level {
        level::ERROR => tracing::error!(target: "recast::plugin", plugin, module, "{message}"),
        level::WARN => tracing::warn!(target: "recast::plugin", plugin, module, "{message}"),
        level::INFO => tracing::info!(target: "recast::plugin", plugin, module, "{message}"),
        level::DEBUG => tracing::debug!(target: "recast::plugin", plugin, module, "{message}"),
        _ => tracing::trace!(target: "recast::plugin", plugin, module, "{message}"),
    }
}

unsafe extern "C" fn log_of_init(ctx: *mut c_void, level: u32, target: RecastBytes, message: RecastBytes) {
    // SAFETY: `for_init` put a leaked String there; the ABI: both texts are readable.
    let (plugin, target, message) = unsafe { (&*ctx.cast::<String>(), target.as_slice(), message.as_slice()) };
    answered((), || say(plugin, level, target, message));
}

unsafe extern "C" fn emit_nowhere(_: *mut c_void, _: u32, _: RecastBytes) -> i32 {
    status::MISUSE
}

unsafe extern "C" fn extension_of_init(_: *mut c_void, wanted: RecastBytes) -> *const c_void {
    // SAFETY: the ABI: readable.
    if unsafe { wanted.as_slice() } == id::HOST_LOG.as_bytes() { log_table() } else { std::ptr::null() }
}

fn log_table() -> *const c_void {
    use std::sync::OnceLock;
    use tracing::level_filters::LevelFilter;
    static TABLE: OnceLock<RecastHostLogV1> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let filter = LevelFilter::current();
        let levels = [LevelFilter::ERROR, LevelFilter::WARN, LevelFilter::INFO, LevelFilter::DEBUG, LevelFilter::TRACE];
        let level_max = levels.iter().filter(|&&level| level <= filter).count() as u32;
        RecastHostLogV1 { struct_size: size_of::<RecastHostLogV1>() as u32, level_max }
    });
    (&raw const *table).cast()
}

unsafe extern "C" fn log(ctx: *mut c_void, level: u32, target: RecastBytes, message: RecastBytes) {
    // SAFETY: the ABI: `ctx` is the call's, both texts are readable.
    let (call, target, message) = unsafe { (call_of(ctx), target.as_slice(), message.as_slice()) };
    answered((), || say(call.plugin_id(), level, target, message));
}

unsafe extern "C" fn emit(ctx: *mut c_void, stream: u32, chunk: RecastBytes) -> i32 {
    // SAFETY: the ABI: `ctx` is the call's, the chunk is readable.
    let (call, chunk) = unsafe { (call_of(ctx), chunk.as_slice()) };
    answered(status::INTERNAL, || call.emit(stream, chunk))
}

unsafe extern "C" fn get_extension(_: *mut c_void, wanted: RecastBytes) -> *const c_void {
    fn pointer<T>(table: &'static T) -> *const c_void {
        (&raw const *table).cast()
    }
    // SAFETY: the ABI: readable.
    match std::str::from_utf8(unsafe { wanted.as_slice() }) {
        Ok(id::HOST_LOG) => log_table(),
        Ok(id::HOST_FILES) => pointer(&FILES),
        Ok(id::HOST_SCRATCH) => pointer(&SCRATCH),
        Ok(id::HOST_TENSOR) => pointer(&TENSOR),
        Ok(id::HOST_OUTPUT) => pointer(&OUTPUT),
        Ok(id::HOST_LOWER) => pointer(&LOWER),
        Ok(id::HOST_PROGRESS) => pointer(&PROGRESS),
        Ok(id::HOST_CANCEL) => pointer(&CANCEL),
        Ok(id::HOST_THREADS) => pointer(&THREADS),
        _ => std::ptr::null(),
    }
}

static FILES: RecastHostFilesV1 =
    RecastHostFilesV1 { struct_size: size_of::<RecastHostFilesV1>() as u32, reserved: 0, map };

unsafe extern "C" fn map(ctx: *mut c_void, path: RecastBytes, out: *mut RecastBytes) -> i32 {
    // SAFETY: the ABI: `ctx` is the call's, the path readable, `out` writable.
    let (call, path, out) = unsafe { (call_of(ctx), path.as_slice(), &mut *out) };
    answered(status::INTERNAL, || match call.map(path) {
        Ok(bytes) => {
            *out = bytes;
            status::OK
        }
        Err(code) => code,
    })
}

static SCRATCH: RecastHostScratchV1 = RecastHostScratchV1 {
    struct_size: size_of::<RecastHostScratchV1>() as u32,
    reserved: 0,
    create: scratch_create,
    append: scratch_append,
};

unsafe extern "C" fn scratch_create(ctx: *mut c_void, path: *mut RecastBytes) -> i32 {
    // SAFETY: the ABI: `ctx` is the call's, `path` is writable.
    let (call, path) = unsafe { (call_of(ctx), &mut *path) };
    answered(status::INTERNAL, || match call.scratch_create() {
        Ok((number, name)) => {
            *path = name;
            number as i32
        }
        Err(code) => code,
    })
}

unsafe extern "C" fn scratch_append(ctx: *mut c_void, file: u32, chunk: RecastBytes) -> i64 {
    // SAFETY: the ABI: `ctx` is the call's, the chunk readable.
    let (call, chunk) = unsafe { (call_of(ctx), chunk.as_slice()) };
    answered(i64::from(status::INTERNAL), || call.scratch_append(file, chunk))
}

static TENSOR: RecastHostTensorV1 = RecastHostTensorV1 {
    struct_size: size_of::<RecastHostTensorV1>() as u32,
    reserved: 0,
    get: tensor_get,
    view: tensor_view,
    done: tensor_done,
};

unsafe extern "C" fn tensor_get(ctx: *mut c_void, name: RecastBytes, out: *mut RecastTensorView) -> i32 {
    // SAFETY: the ABI: `ctx` is the call's, the name readable, `out` writable.
    let (call, name, out) = unsafe { (call_of(ctx), name.as_slice(), &mut *out) };
    answered(status::INTERNAL, || give(call.tensor_by_name(name), out))
}

unsafe extern "C" fn tensor_view(ctx: *mut c_void, tensor: RecastBytes, out: *mut RecastTensorView) -> i32 {
    // SAFETY: the ABI: `ctx` is the call's, the message readable, `out` writable.
    let (call, tensor, out) = unsafe { (call_of(ctx), tensor.as_slice(), &mut *out) };
    answered(status::INTERNAL, || give(call.tensor_by_proto(tensor), out))
}

fn give(view: Result<RecastTensorView, i32>, out: &mut RecastTensorView) -> i32 {
    match view {
        Ok(view) => {
            *out = view;
            status::OK
        }
        Err(code) => code,
    }
}

unsafe extern "C" fn tensor_done(ctx: *mut c_void, view: *const RecastTensorView) {
    // SAFETY: the ABI: `ctx` is the call's, `view` readable.
    let (call, view) = unsafe { (call_of(ctx), &*view) };
    answered((), || call.tensor_done(view));
}

static OUTPUT: RecastHostOutputV1 = RecastHostOutputV1 {
    struct_size: size_of::<RecastHostOutputV1>() as u32,
    reserved: 0,
    open: output_open,
    close: output_close,
};

unsafe extern "C" fn output_open(ctx: *mut c_void, name: RecastBytes) -> i32 {
    // SAFETY: the ABI: `ctx` is the call's, the name readable.
    let (call, name) = unsafe { (call_of(ctx), name.as_slice()) };
    answered(status::INTERNAL, || call.output_open(name))
}

unsafe extern "C" fn output_close(ctx: *mut c_void, stream: u32) -> i32 {
    // SAFETY: the ABI: `ctx` is the call's.
    let call = unsafe { call_of(ctx) };
    answered(status::INTERNAL, || call.output_close(stream))
}

static LOWER: RecastHostLowerV1 =
    RecastHostLowerV1 { struct_size: size_of::<RecastHostLowerV1>() as u32, reserved: 0, lower_child };

unsafe extern "C" fn lower_child(ctx: *mut c_void, request: RecastBytes, reply: RecastReply, user: *mut c_void) -> i32 {
    // SAFETY: the ABI: `ctx` is the call's, the request readable.
    let (call, request) = unsafe { (call_of(ctx), request.as_slice()) };
    match answered(Err(status::INTERNAL), || call.lower_child(request)) {
        Ok(lowered) => {
            // SAFETY: the ABI: `reply` takes its own `user` and borrowed bytes.
            unsafe { (reply.call)(user, RecastBytes::new(&lowered)) };
            status::OK
        }
        Err(code) => code,
    }
}

static PROGRESS: RecastHostProgressV1 =
    RecastHostProgressV1 { struct_size: size_of::<RecastHostProgressV1>() as u32, reserved: 0, report };

unsafe extern "C" fn report(ctx: *mut c_void, done: u64, total: u64, what: RecastBytes) {
    // SAFETY: the ABI: `ctx` is the call's, the text readable.
    let (call, what) = unsafe { (call_of(ctx), what.as_slice()) };
    answered((), || call.events().progress(done, total, &String::from_utf8_lossy(what)));
}

static CANCEL: RecastHostCancelV1 =
    RecastHostCancelV1 { struct_size: size_of::<RecastHostCancelV1>() as u32, reserved: 0, is_cancelled };

unsafe extern "C" fn is_cancelled(ctx: *mut c_void) -> i32 {
    // SAFETY: the ABI: `ctx` is the call's.
    let call = unsafe { call_of(ctx) };
    answered(1, || i32::from(call.events().is_cancelled()))
}

static THREADS: RecastHostThreadsV1 =
    RecastHostThreadsV1 { struct_size: size_of::<RecastHostThreadsV1>() as u32, reserved: 0, budget };

unsafe extern "C" fn budget(ctx: *mut c_void) -> u32 {
    // SAFETY: the ABI: `ctx` is the call's.
    let call = unsafe { call_of(ctx) };
    answered(1, || call.threads())
}
