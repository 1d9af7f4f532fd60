//! `tracing` events and `log` records of a plugin, handed to the host.
//!
//! A plugin has a `tracing` and a `log` of its own, with no subscriber and no logger in them: what it, or a crate that
//! it uses, says would be lost. These format an event and the spans around it into one line of text and pass it on; the
//! host says it again under the plugin's name.

use recast_abi::{RecastBytes, RecastHost, RecastHostLogV1, id, level};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The host of `init`, which lives as long as the process.
static HOST: AtomicPtr<RecastHost> = AtomicPtr::new(std::ptr::null_mut());
static LEVEL_MAX: AtomicU32 = AtomicU32::new(level::INFO);

/// Longer lines are cut: a message is for people.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// # Safety
/// `host` must be what the ABI promises for `init`.
pub(super) unsafe fn connect(host: *const RecastHost) {
    HOST.store(host.cast_mut(), Ordering::Release);
    // SAFETY: the caller's promise.
    let table = unsafe { ((*host).get_extension)((*host).ctx, RecastBytes::new(id::HOST_LOG.as_bytes())) };
    // SAFETY: null or the table of this id.
    if let Some(table) = unsafe { table.cast::<RecastHostLogV1>().as_ref() } {
        LEVEL_MAX.store(table.level_max, Ordering::Relaxed);
    }
    static ONCE: Once = Once::new();
    // An author who set a subscriber or a logger of their own keeps it.
    ONCE.call_once(|| {
        drop(tracing::subscriber::set_global_default(Forward::default()));
        if log::set_logger(&Records).is_ok() {
            log::set_max_level(filter_of(LEVEL_MAX.load(Ordering::Relaxed)));
        }
    });
}

pub(super) fn to_host(level: u32, target: &str, message: &str) {
    // SAFETY: null, or the host of `init`, which lives as long as the process.
    let Some(host) = (unsafe { HOST.load(Ordering::Acquire).as_ref() }) else { return };
    let message = &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)];
    // SAFETY: both texts are readable until `log` returns.
    unsafe {
        (host.log)(host.ctx, level, RecastBytes::new(target.as_bytes()), RecastBytes::new(message.as_bytes()));
    }
}

#[derive(Default)]
struct Forward {
    next: AtomicU64,
    /// Open spans: what they print as, and how many handles there are.
    spans: Mutex<HashMap<u64, (String, usize)>>,
}

thread_local! {
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl Forward {
    fn spans(&self) -> std::sync::MutexGuard<'_, HashMap<u64, (String, usize)>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spans that this thread is in, outermost first: `read: layer{name="a"}: `.
    fn entered(&self) -> String {
        let mut line = String::new();
        ENTERED.with_borrow(|entered| {
            let spans = self.spans();
            for text in entered.iter().filter_map(|id| spans.get(id)) {
                let _ = write!(line, "{}: ", text.0);
            }
        });
        line
    }
}

fn number(level: &Level) -> u32 {
    match *level {
        Level::ERROR => level::ERROR,
        Level::WARN => level::WARN,
        Level::INFO => level::INFO,
        Level::DEBUG => level::DEBUG,
        Level::TRACE => level::TRACE,
    }
}

/// The most that a host who wants `level_max` is told: `log` asks before it formats anything.
fn filter_of(level_max: u32) -> log::LevelFilter {
    match level_max {
        0 => log::LevelFilter::Off,
        level::ERROR => log::LevelFilter::Error,
        level::WARN => log::LevelFilter::Warn,
        level::INFO => log::LevelFilter::Info,
        level::DEBUG => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    }
}

/// What `log::info!` and its like say.
struct Records;

impl log::Log for Records {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= filter_of(LEVEL_MAX.load(Ordering::Relaxed))
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            log::Level::Error => level::ERROR,
            log::Level::Warn => level::WARN,
            log::Level::Info => level::INFO,
            log::Level::Debug => level::DEBUG,
            log::Level::Trace => level::TRACE,
        };
        let around = tracing::dispatcher::get_default(|d| d.downcast_ref::<Forward>().map(Forward::entered));
        to_host(level, record.target(), &format!("{}{}", around.unwrap_or_default(), record.args()));
    }

    fn flush(&self) {}
}

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(metadata.level()) <= LEVEL_MAX.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL_MAX.load(Ordering::Relaxed) {
            0 => LevelFilter::OFF,
            level::ERROR => LevelFilter::ERROR,
            level::WARN => LevelFilter::WARN,
            level::INFO => LevelFilter::INFO,
            level::DEBUG => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut text = attributes.metadata().name().to_owned();
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if !fields.rest.is_empty() {
            let _ = write!(text, "{{{}}}", fields.rest.trim_start());
        }
        // Span ids are never 0.
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.spans().insert(id, (text, 1));
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = self.entered();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let _ = write!(line, "{}{}", fields.message, fields.rest);
        to_host(number(event.metadata().level()), event.metadata().target(), &line);
    }

    fn enter(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(id.into_u64()));
    }

    fn exit(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| {
            if let Some(at) = entered.iter().rposition(|&open| open == id.into_u64()) {
                entered.remove(at);
            }
        });
    }

    fn clone_span(&self, id: &Id) -> Id {
        if let Some(span) = self.spans().get_mut(&id.into_u64()) {
            span.1 += 1;
        }
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut spans = self.spans();
        let Some(span) = spans.get_mut(&id.into_u64()) else { return false };
        span.1 -= 1;
        let last = span.1 == 0;
        if last {
            spans.remove(&id.into_u64());
        }
        last
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.rest, " {name}={value:?}"),
        };
    }
}
