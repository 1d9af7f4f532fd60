//! Two things of one file at a time: its arrays are found while its configuration is read.

use std::panic::resume_unwind;
use std::thread::{Builder, scope};

/// What `found` and `read` give: `found` on a thread of its own, or after `read` where none can be had. The larger of
/// the two belongs into `read`: memory that a thread gives back is not had again by others.
pub fn beside<F: Send, R>(found: impl Fn() -> F + Copy + Send, read: impl FnOnce() -> R) -> (F, R) {
    scope(|scope| {
        let thread = Builder::new().spawn_scoped(scope, found);
        let read = read();
        let found =
            thread.map_or_else(|_| found(), |thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        (found, read)
    })
}
