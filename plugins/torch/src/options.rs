//! Options of the targets, as JSON: `{"layout": "channels_first"}`.

use recast_plugin_api::diag::Diag;
use recast_plugin_api::plugin::options::{self, bad};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Image inputs and outputs in PyTorch's order of axes rather than Keras'.
    pub channels_first: bool,
}

/// The options, and a note for each that means nothing to `target`.
pub fn parse(text: &str, target: &str) -> Result<(Options, Vec<Diag>), Diag> {
    let mut options = Options::default();
    let notes = options::read(text, target, |key, value| {
        if (target, key) != ("torch", "layout") {
            return Ok(false);
        }
        options.channels_first = match value.as_str() {
            Some("channels_first") => true,
            Some("channels_last") => false,
            Some(other) => {
                return Err(bad(format!("layout '{other}'")).hint("choose channels_first or channels_last"));
            }
            None => return Err(bad(format!("layout {value} is not a text"))),
        };
        Ok(true)
    })?;
    Ok((options, notes))
}
