//! Options of the target, as JSON: `{"opset": 17, "external_data": false}`.

use recast_plugin_api::diag::Diag;
use recast_plugin_api::plugin::options::{self, bad};
use serde_json::Value;

pub const OPSET_MIN: u32 = 13;
pub const OPSET_MAX: u32 = 22;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub opset: u32,
    /// Weights in a file of their own, however few they are.
    pub external_data: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { opset: 17, external_data: false }
    }
}

/// The options, and a note for each that means nothing here.
pub fn parse(text: &str) -> Result<(Options, Vec<Diag>), Diag> {
    let mut options = Options::default();
    let notes = options::read(text, "onnx", |key, value| {
        match (key, value) {
            ("opset", value) => {
                let opset = value.as_u64().and_then(|n| u32::try_from(n).ok());
                let opset = opset.filter(|n| (OPSET_MIN..=OPSET_MAX).contains(n));
                let wrong = || bad(format!("opset {value}")).hint(format!("choose {OPSET_MIN} to {OPSET_MAX}"));
                options.opset = opset.ok_or_else(wrong)?;
            }
            ("external_data", Value::Bool(on)) => options.external_data = *on,
            ("external_data", other) => return Err(bad(format!("external_data {other} is not true or false"))),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((options, notes))
}
