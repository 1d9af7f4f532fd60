//! JSON as Python writes it: `NaN`, `Infinity` and `-Infinity` are literals there. They become the strings of the same
//! spelling, which no Keras configuration uses for anything else. Size and depth are bounded before anything is built.

use crate::io::Limits;
use recast_plugin_api::diag::{Code, Diag};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Longer than anything else that may stand where a literal stands.
const LITERALS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

pub fn parse(text: &[u8], at: &str, limits: &Limits) -> Result<Value, Diag> {
    if text.len() as u64 > limits.json_bytes {
        let detail = format!("{} bytes of JSON, the bound is {}", text.len(), limits.json_bytes);
        return Err(Diag::new(Code::LimitExceeded, at, detail).hint("raise limits.json_bytes_max"));
    }
    let text = std::str::from_utf8(text).map_err(|_| Diag::new(Code::Malformed, at, "the JSON is not UTF-8"))?;
    let text = text.trim_start_matches('\u{feff}').trim_end_matches('\0');
    let depth = depth(text);
    if depth > limits.json_depth {
        let detail = format!("JSON nested {depth} deep, the bound is {}", limits.json_depth);
        return Err(Diag::new(Code::LimitExceeded, at, detail));
    }
    serde_json::from_str(&quote_literals(text))
        .map_err(|error| Diag::new(Code::Malformed, at, format!("not JSON: {error}")))
}

/// The deepest nesting of brackets outside strings.
fn depth(text: &str) -> u32 {
    let (mut now, mut most) = (0u32, 0u32);
    let mut outside = Outside::default();
    for byte in text.bytes() {
        if !outside.step(byte) {
            continue;
        }
        match byte {
            b'[' | b'{' => {
                now += 1;
                most = most.max(now);
            }
            b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Tells which bytes stand outside strings.
#[derive(Default)]
struct Outside {
    in_string: bool,
    escaped: bool,
}

impl Outside {
    fn step(&mut self, byte: u8) -> bool {
        if self.in_string {
            if self.escaped {
                self.escaped = false;
            } else if byte == b'\\' {
                self.escaped = true;
            } else if byte == b'"' {
                self.in_string = false;
            }
            return false;
        }
        self.in_string = byte == b'"';
        !self.in_string
    }
}

fn quote_literals(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut outside = Outside::default();
    let (mut copied, mut next) = (0, 0);
    for (at, byte) in text.bytes().enumerate() {
        if at < next || !outside.step(byte) {
            continue;
        }
        let found = if matches!(byte, b'-' | b'I' | b'N') {
            LITERALS.iter().find(|literal| text.as_bytes()[at..].starts_with(literal.as_bytes()))
        } else {
            None
        };
        if let Some(literal) = found {
            out.push_str(&text[copied..at]);
            out.push('"');
            out.push_str(literal);
            out.push('"');
            next = at + literal.len();
            copied = next;
        }
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// Keys of configurations under which a string is no number, whatever it says: words, and names of layers.
const WORDS: &[&str] =
    &["name", "vocabulary", "mask_token", "oov_token", "keras_history", "input_layers", "output_layers"];

/// The other way round, for Python: a string that spells a literal is one, where a number may stand.
pub fn text_of(value: &Value) -> String {
    // In what an array or object is written as, a quote within a string has a backslash before it.
    let plain = value.to_string();
    if !LITERALS.iter().any(|literal| plain.contains(&format!("\"{literal}\""))) {
        return plain;
    }
    let mut marked = value.clone();
    mark(&mut marked);
    LITERALS
        .iter()
        .fold(marked.to_string(), |text, literal| text.replace(&format!("\"{MARK_ESCAPED}{literal}\""), literal))
}

/// No text of a model begins with it.
const MARK: char = '\u{1}';
const MARK_ESCAPED: &str = "\\u0001";

fn mark(value: &mut Value) {
    match value {
        Value::String(text) if LITERALS.contains(&text.as_str()) => text.insert(0, MARK),
        Value::Array(items) => items.iter_mut().for_each(mark),
        Value::Object(map) => {
            map.iter_mut().filter(|(key, _)| !WORDS.contains(&key.as_str())).for_each(|(_, value)| mark(value));
        }
        _ => {}
    }
}

pub fn object<'v>(value: &'v Value, at: &str, what: &str) -> Result<&'v Map<String, Value>, Diag> {
    value.as_object().ok_or_else(|| Diag::new(Code::Malformed, at, format!("{what} is not a JSON object")))
}

pub fn array<'v>(value: &'v Value, at: &str, what: &str) -> Result<&'v [Value], Diag> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| Diag::new(Code::Malformed, at, format!("{what} is not a JSON list")))
}

pub fn text<'v>(map: &'v Map<String, Value>, key: &str) -> Option<&'v str> {
    map.get(key).and_then(Value::as_str)
}

/// A flag with its default; anything but a boolean counts as absent.
pub fn flag(config: &Value, key: &str, default: bool) -> bool {
    config.get(key).and_then(Value::as_bool).unwrap_or(default)
}

/// Is there an object anywhere in it whose `class_name` is one of those?
pub fn names_class(value: &Value, is_one: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::Object(map) => {
            text(map, "class_name").is_some_and(is_one) || map.values().any(|v| names_class(v, is_one))
        }
        Value::Array(list) => list.iter().any(|value| names_class(value, is_one)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_literals_become_strings() {
        let text = br#"{"a": NaN, "b": [-Infinity, Infinity, -1.5], "c": "NaN \" Infinity"}"#;
        let value = parse(text, "x", &Limits::default()).unwrap();
        assert_eq!(value.to_string(), r#"{"a":"NaN","b":["-Infinity","Infinity",-1.5],"c":"NaN \" Infinity"}"#);
        assert_eq!(text_of(&value), r#"{"a":NaN,"b":[-Infinity,Infinity,-1.5],"c":"NaN \" Infinity"}"#);
        let words = r#"{"ord":Infinity,"config":{"name":"NaN","vocabulary":["NaN","Infinity"]},"ends":[["x",0,0]]}"#;
        assert_eq!(text_of(&parse(words.as_bytes(), "config", &Limits::default()).unwrap()), words);
    }

    #[test]
    fn bounds_hold() {
        let deep = [b"[".repeat(121), b"]".repeat(121)].concat();
        assert_eq!(parse(&deep, "x", &Limits::default()).unwrap_err().code, Code::LimitExceeded);
        let fits = [b"[".repeat(120), b"]".repeat(120)].concat();
        assert!(parse(&fits, "x", &Limits::default()).is_ok());
        let limits = Limits { json_bytes: 3, ..Limits::default() };
        assert_eq!(parse(b"null", "x", &limits).unwrap_err().code, Code::LimitExceeded);
        assert_eq!(parse(b"[1, N]", "x", &Limits::default()).unwrap_err().code, Code::Malformed);
        assert_eq!(parse(b"\xff", "x", &Limits::default()).unwrap_err().code, Code::Malformed);
    }
}
