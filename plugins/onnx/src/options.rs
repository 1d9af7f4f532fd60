//! Options of the target, as JSON: `{"opset": 17, "external_data": false}`. Without `opset`, it is 17, or what the
//! model needs.

use recast_plugin_api::diag::Diag;
use recast_plugin_api::plugin::options::{self, bad};
use serde_json::Value;

pub const OPSET_MIN: u32 = 13;
pub const OPSET_MAX: u32 = 22;
/// What a file has unless it needs a later one.
pub const OPSET_DEFAULT: u32 = 17;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// None: [`OPSET_DEFAULT`], or the first that has words for everything.
    pub opset: Option<u32>,
    /// Weights in a file of their own, however few they are.
    pub external_data: bool,
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
                options.opset = Some(opset.ok_or_else(wrong)?);
            }
            ("external_data", Value::Bool(on)) => options.external_data = *on,
            ("external_data", other) => return Err(bad(format!("external_data {other} is not true or false"))),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((options, notes))
}
