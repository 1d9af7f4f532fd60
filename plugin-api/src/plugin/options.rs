//! A target's options, as JSON: `{"opset": 17}`. What is null is left as it is, what nobody knows is noted.

use crate::diag::{Code, Diag};
use serde_json::Value;

/// A refusal of what is in the options.
pub fn bad(detail: impl Into<String>) -> Diag {
    Diag::new(Code::UnsupportedOp, "options", detail)
}

/// Hands each entry of `text` (empty, or a JSON object) that is not null to `take`, which says whether the key means
/// anything to `target`. Returns a note for each key that does not.
pub fn read(
    text: &str,
    target: &str,
    mut take: impl FnMut(&str, &Value) -> Result<bool, Diag>,
) -> Result<Vec<Diag>, Diag> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let value: Value = serde_json::from_str(text).map_err(|e| bad(format!("not JSON: {e}")))?;
    let Value::Object(entries) = value else { return Err(bad("not a JSON object")) };
    let mut notes = Vec::new();
    for (key, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
        if !take(key, value)? {
            notes.push(Diag::new(Code::OptionIgnored, "options", format!("'{key}' means nothing to {target}")));
        }
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_taken_noted_or_refused() {
        let read = |text: &str| {
            let mut taken = Vec::new();
            let notes = read(text, "paper", |key, value| match (key, value) {
                ("ink", Value::String(ink)) => {
                    taken.push(ink.clone());
                    Ok(true)
                }
                ("ink", other) => Err(bad(format!("ink {other}"))),
                _ => Ok(false),
            });
            notes.map(|notes| (taken, notes.into_iter().map(|note| note.detail).collect::<Vec<_>>()))
        };
        assert_eq!(read(" "), Ok((vec![], vec![])));
        assert_eq!(read(r#"{"ink": null, "pen": null}"#), Ok((vec![], vec![])));
        let noted = vec!["'pen' means nothing to paper".to_string()];
        assert_eq!(read(r#"{"pen": 1, "ink": "red"}"#), Ok((vec!["red".into()], noted)));
        for wrong in [r#"{"ink": 3}"#, "[]", "{"] {
            assert_eq!(read(wrong).map_err(|diag| diag.code), Err(Code::UnsupportedOp), "{wrong}");
        }
    }
}
