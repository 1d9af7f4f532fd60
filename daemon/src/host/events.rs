//! What a job tells while it runs, to whoever watches it.

use crate::job::CommandRequest;

/// Methods may be called from any thread. `entering` and `left` nest: a plugin that lowers a wrapper asks the host to
/// lower what is inside.
pub trait Events: Send + Sync {
    /// A stage begins: `read`, `lower`, `write`, ...
    fn stage(&self, _name: &str) {}
    /// A plugin is called: from here on it is to blame.
    fn entering(&self, _plugin: &str, _call: &str, _at: &str) {}
    fn left(&self) {}
    /// `total` 0 when it is not known.
    fn progress(&self, _done: u64, _total: u64, _what: &str) {}
    fn is_cancelled(&self) -> bool {
        false
    }
    /// Runs a configured command and waits for its end; why it did not end well.
    fn run_command(&self, _request: &CommandRequest) -> Result<(), String> {
        Err("nobody is there to run a command".into())
    }
}

/// Nobody watches.
pub struct Silent;

impl Events for Silent {}
