//! Panics stay inside: they become a status and an `ErrorProto`.

use super::cx::Cx;
use super::proto::ErrorProto;
use prost::Message;
use recast_abi::{status, stream};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Where the last panic of this thread happened: the hook sees it, `catch_unwind` does not.
    static LAST_PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Replaces the default hook of this plugin's own std, which would print to a stdout that belongs to nobody.
pub(super) fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let message = payload_text(info.payload());
            let location = info.location().map(ToString::to_string).unwrap_or_default();
            let backtrace = std::backtrace::Backtrace::capture();
            super::log::to_host(recast_abi::level::ERROR, "panic", &format!("{message} at {location}\n{backtrace}"));
            LAST_PANIC.with_borrow_mut(|last| *last = Some((message, location)));
        }));
    });
}

fn payload_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().map(str::to_owned);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".into())
}

/// Runs one call. What it panics with is told to the host on the error stream.
pub(super) fn guarded(cx: Option<Cx<'_>>, call: impl FnOnce() -> i32) -> i32 {
    LAST_PANIC.with_borrow_mut(|last| *last = None);
    let payload = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(code) => return code,
        Err(payload) => payload,
    };
    let hooked = LAST_PANIC.with_borrow_mut(Option::take);
    let (message, location) = hooked.unwrap_or_else(|| (payload_text(&*payload), String::new()));
    // Dropping a payload may panic in turn, and nothing stands between that and the host.
    std::mem::forget(payload);
    if let Some(cx) = cx {
        let error = ErrorProto { code: status::PANIC, message, location, ..ErrorProto::default() };
        // The status says it as well, if the host takes no more.
        let _ = cx.emit(stream::ERROR, &error.encode_to_vec());
    }
    status::PANIC
}
