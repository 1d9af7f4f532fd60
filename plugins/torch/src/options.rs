//! Options of the targets, as JSON: `{"layout": "channels_first"}`.

use recast_plugin_api::diag::{Code, Diag};
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Image inputs and outputs in PyTorch's order of axes rather than Keras'.
    pub channels_first: bool,
}

/// The options, and a note for each that means nothing to `target`.
pub fn parse(text: &str, target: &str) -> Result<(Options, Vec<Diag>), Diag> {
    let mut options = Options::default();
    let mut notes = Vec::new();
    if text.trim().is_empty() {
        return Ok((options, notes));
    }
    let bad = |detail: String| Diag::new(Code::UnsupportedOp, "options", detail);
    let value: Value = serde_json::from_str(text).map_err(|e| bad(format!("not JSON: {e}")))?;
    let Value::Object(entries) = value else { return Err(bad("not a JSON object".into())) };
    for (key, value) in &entries {
        match (key.as_str(), value) {
            (_, Value::Null) => {}
            ("layout", Value::String(layout)) if target == "torch" => match layout.as_str() {
                "channels_first" => options.channels_first = true,
                "channels_last" => options.channels_first = false,
                other => {
                    let hint = "choose channels_first or channels_last";
                    return Err(bad(format!("layout '{other}'")).hint(hint));
                }
            },
            ("layout", other) if target == "torch" => return Err(bad(format!("layout {other} is not a text"))),
            _ => notes.push(Diag::new(Code::OptionIgnored, "options", format!("'{key}' means nothing to {target}"))),
        }
    }
    Ok((options, notes))
}
