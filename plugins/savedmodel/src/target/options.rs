//! Options of the target, as JSON: `{"version": 1}`.

use recast_plugin_api::diag::Diag;
use recast_plugin_api::plugin::options::{self, bad};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// The model lies in a directory of this number, as TensorFlow Serving wants it.
    pub version: Option<u64>,
}

impl Options {
    /// The directory of the model below the output's own: empty, or `1/`.
    pub fn folder(&self) -> String {
        self.version.map_or(String::new(), |version| format!("{version}/"))
    }
}

/// The options, and a note for each that means nothing here.
pub fn parse(text: &str) -> Result<(Options, Vec<Diag>), Diag> {
    let mut options = Options::default();
    let notes = options::read(text, "savedmodel", |key, value| {
        if key != "version" {
            return Ok(false);
        }
        let version = value.as_u64().filter(|version| *version <= i64::MAX as u64);
        let wrong = || bad(format!("version {value}")).hint("a whole number from 0 on: a directory's name");
        options.version = Some(version.ok_or_else(wrong)?);
        Ok(true)
    })?;
    Ok((options, notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused() {
        assert_eq!(parse("").unwrap().0.folder(), "");
        assert_eq!(parse(r#"{"version": 3}"#).unwrap().0.folder(), "3/");
        assert_eq!(parse(r#"{"opset": 17}"#).unwrap().1.len(), 1);
        for bad in [r#"{"version": -1}"#, r#"{"version": "a"}"#, "[]", "{"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
