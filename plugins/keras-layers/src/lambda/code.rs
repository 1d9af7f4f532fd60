//! The function that a `Lambda`'s configuration holds, and its digest.
//!
//! The digest is the first half of the SHA-256 of what the code does: its layout, arguments, instructions, constants,
//! names of globals and attributes. File, lines, the names of variables and of the first argument, and the text of a
//! docstring are left out: they change nothing. So are the values of its numbers: they are the parameters of an
//! expression.

use super::marshal::{self, CELL, Code, FREE, LOCAL, Value};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Says which fields are digested, and how.
const SCHEME: &[u8] = b"recast lambda 1";
/// Takes any number of arguments; is a generator or a coroutine. What other flags say is in the code.
const FLAGS: u32 = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200;
/// Most constants, and letters of each, in a message.
const SHOWN_MAX: usize = 12;
const SHOWN_LETTERS_MAX: usize = 40;

/// What a `Lambda` holds.
#[derive(Debug)]
pub struct Function {
    code: Code,
    /// Values of all arguments but the first, by name.
    pub parameters: BTreeMap<String, f64>,
}

/// The function in a `Lambda`'s configuration; else why there is none that could be recognised.
///
/// | written by | `function` |
/// |---|---|
/// | Keras 1 and 2 | `[code, defaults, closure]`, or the name of a function with `function_type` "function" |
/// | Keras 2.12 to 2.14 in `.keras` | `{"class_name": "__lambda__", "config": {"value": [code, defaults, closure]}}` |
/// | Keras 3 | `{"class_name": "__lambda__", "config": {"code": .., "defaults": .., "closure": ..}}` |
pub fn function(config: &Json) -> Result<Function, String> {
    let stored = &config["function"];
    let named = |name: &Json| format!("it calls the function {name} of the user's own, which the file does not hold");
    if config["function_type"] == "function" {
        return Err(named(stored));
    }
    let inner = &stored["config"];
    let [code, defaults, closure] = match stored {
        Json::String(_) => [stored, &Json::Null, &Json::Null],
        Json::Array(_) => [&stored[0], &stored[1], &stored[2]],
        _ if stored["class_name"] == "function" => return Err(named(inner)),
        _ if inner["value"].is_array() => [&inner["value"][0], &inner["value"][1], &inner["value"][2]],
        _ => [&inner["code"], &inner["defaults"], &inner["closure"]],
    };
    let text = code.as_str().ok_or("its configuration holds no code")?;
    let code = marshal::read(&bytes(text)?).map_err(|why| format!("its code is not read: {why}"))?;
    if !(closure.is_null() || closure.as_array().is_some_and(Vec::is_empty)) || code.uses(FREE) {
        return Err("its code uses values from around it, which are pickled".into());
    }
    if config.get("mask").is_some_and(|mask| !mask.is_null()) {
        return Err("it makes a mask by code".into());
    }
    let parameters = parameters(&code, defaults, &config["arguments"])?;
    Ok(Function { code, parameters })
}

/// Base64 in lines; before Keras 2.0.9 the bytes as letters of the same number.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let dense: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&alphabet::STANDARD, config);
    if let Ok(bytes) = engine.decode(dense) {
        return Ok(bytes);
    }
    let letters: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    letters.ok_or_else(|| "its code is neither base64 nor bytes".into())
}

/// Every argument but the first has a value: from `arguments`, else its default. Numbers only.
fn parameters(code: &Code, defaults: &Json, arguments: &Json) -> Result<BTreeMap<String, f64>, String> {
    let positional: Vec<String> = code.argument_names(1).take(code.arguments.saturating_sub(1) as usize).collect();
    let empty = Vec::new();
    let defaults = defaults.as_array().unwrap_or(&empty);
    let number = |name: &str, value: &Json| {
        let number = value.as_f64().ok_or_else(|| format!("its argument '{name}' is {value}, no number"))?;
        Ok::<_, String>((name.to_owned(), number))
    };
    let tail = positional.len().saturating_sub(defaults.len());
    let mut values = BTreeMap::new();
    let given = arguments.as_object();
    for (name, value) in positional[tail..].iter().zip(defaults) {
        if given.is_none_or(|given| !given.contains_key(name)) {
            values.extend([number(name, value)?]);
        }
    }
    for (name, value) in given.into_iter().flatten() {
        values.extend([number(name, value)?]);
    }
    let wanted: Vec<String> = code.argument_names(1).collect();
    match wanted.iter().find(|name| !values.contains_key(*name)) {
        Some(name) => Err(format!("its argument '{name}' has no value")),
        None if values.len() > wanted.len() => Err("it is given arguments that it does not take".into()),
        None => Ok(values),
    }
}

impl Code {
    fn uses(&self, kind: u8) -> bool {
        self.variables.iter().any(|(_, own)| own & kind != 0)
    }

    /// Names of the arguments from `first` on.
    fn argument_names(&self, first: usize) -> impl Iterator<Item = String> {
        let count = self.arguments as usize + self.keyword_only as usize;
        let names = self.variables[..count].iter().skip(first);
        names.map(|(name, _)| String::from_utf8_lossy(name).into_owned())
    }

    /// `first`: the arguments from there on may be named by the caller.
    fn digest(&self, first: usize) -> [u8; 32] {
        let mut out = Fields(Sha256::new());
        out.bytes(SCHEME);
        out.bytes(self.layout.name().as_bytes());
        for count in [self.arguments, self.positional_only, self.keyword_only, self.flags & FLAGS] {
            out.bytes(&count.to_le_bytes());
        }
        out.bytes(&self.code);
        out.bytes(&self.exceptions);
        let kinds: Vec<u8> = self.variables.iter().map(|(_, kind)| kind & (LOCAL | CELL | FREE)).collect();
        out.bytes(&kinds);
        out.list(self.argument_names(first).map(String::into_bytes));
        out.list(self.names.iter().cloned());
        out.count(self.constants.len());
        for (index, constant) in self.constants.iter().enumerate() {
            match &**constant {
                Value::Int(_) | Value::Float(_) => out.bytes(b"number"),
                Value::Text(_) | Value::Bytes(_) if index == 0 && self.has_docstring() => out.bytes(b"docstring"),
                other => out.value(other),
            }
        }
        out.0.finalize().into()
    }

    /// Until Python 3.13 the first constant of a function (of a lambda none) is its docstring or None.
    fn has_docstring(&self) -> bool {
        self.name != b"<lambda>"
    }
}

/// Fields with their lengths, so that no two functions are written alike.
struct Fields(Sha256);

impl Fields {
    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    fn list(&mut self, items: impl Iterator<Item = Vec<u8>>) {
        let items: Vec<Vec<u8>> = items.collect();
        self.count(items.len());
        items.iter().for_each(|item| self.bytes(item));
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::None => self.bytes(b"None"),
            Value::True => self.bytes(b"True"),
            Value::False => self.bytes(b"False"),
            Value::Ellipsis => self.bytes(b"Ellipsis"),
            Value::StopIteration => self.bytes(b"StopIteration"),
            Value::Int(number) => self.tagged(b"int", &number.to_le_bytes()),
            Value::Float(bits) => self.tagged(b"float", &bits.to_le_bytes()),
            Value::Complex(real, imaginary) => {
                self.tagged(b"complex", &real.to_le_bytes());
                self.bytes(&imaginary.to_le_bytes());
            }
            Value::Bytes(bytes) => self.tagged(b"bytes", bytes),
            Value::Text(text) => self.tagged(b"text", text),
            Value::Tuple(items) => self.items(b"tuple", items),
            Value::Set(items) => self.items(b"set", items),
            Value::Code(code) => self.tagged(b"code", &code.digest(0)),
        }
    }

    fn tagged(&mut self, tag: &[u8], bytes: &[u8]) {
        self.bytes(tag);
        self.bytes(bytes);
    }

    fn items(&mut self, tag: &[u8], items: &[std::rc::Rc<Value>]) {
        self.bytes(tag);
        self.count(items.len());
        items.iter().for_each(|item| self.value(item));
    }
}

/// Marshalled code alone.
#[cfg(test)]
pub fn of_bytes(bytes: &[u8]) -> Result<Function, String> {
    marshal::read(bytes).map(|code| Function { code, parameters: BTreeMap::new() })
}

impl Function {
    pub fn digest(&self) -> String {
        self.code.digest(1)[..16].iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").ok();
            hex
        })
    }

    /// A constant of its code that is a number.
    pub fn number(&self, index: usize) -> Option<f64> {
        match **self.code.constants.get(index)? {
            Value::Int(number) => Some(number as f64),
            Value::Float(bits) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }

    /// What of it a reader can make sense of: the names that it uses, and its constants.
    pub fn shown(&self) -> String {
        let names = self.code.names.iter().take(SHOWN_MAX).map(|name| text(name));
        let constants = self.code.constants.iter().filter(|value| ***value != Value::None).take(SHOWN_MAX);
        let list = |items: Vec<String>| if items.is_empty() { "none".into() } else { items.join(", ") };
        let arguments = list(self.code.argument_names(0).collect());
        let (names, constants) = (list(names.collect()), list(constants.map(|value| shown(value)).collect()));
        format!("arguments: {arguments}; names: {names}; constants: {constants}")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(SHOWN_LETTERS_MAX).collect::<String>().escape_debug().to_string()
}

fn shown(value: &Value) -> String {
    match value {
        Value::None => "None".into(),
        Value::True => "True".into(),
        Value::False => "False".into(),
        Value::Ellipsis => "...".into(),
        Value::StopIteration => "StopIteration".into(),
        Value::Int(number) => number.to_string(),
        Value::Float(bits) => format!("{:?}", f64::from_bits(*bits)),
        Value::Complex(..) => "a complex number".into(),
        Value::Bytes(bytes) | Value::Text(bytes) => format!("'{}'", text(bytes)),
        Value::Tuple(items) => {
            let items: Vec<String> = items.iter().take(SHOWN_MAX).map(|item| shown(item)).collect();
            format!("({})", items.join(", "))
        }
        Value::Set(items) => format!("a set of {}", items.len()),
        Value::Code(code) => format!("the function {}", text(&code.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `lambda x, scale: x[0] + x[1] * scale` by some Python.
    fn scaled() -> String {
        let compiled = include_str!("../../tests/lambda/compiled.txt");
        let line = compiled.lines().find(|line| line.contains("\tlambda x, scale: "));
        line.and_then(|line| line.rsplit('\t').next()).expect("a compiled function").to_owned()
    }

    #[test]
    fn code_is_found_however_it_is_stored() {
        let code = scaled();
        let bytes = bytes(&code).expect("base64");
        let letters: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        let lines: String =
            code.as_bytes().chunks(60).map(|part| format!("{}\n", String::from_utf8_lossy(part))).collect();
        let arguments = json!({"scale": 2});
        let digests: Vec<String> = [
            json!({"function": [code, null, null], "function_type": "lambda", "arguments": arguments}),
            json!({"function": [lines, [0.5], []], "arguments": {}}),
            json!({"function": [letters, null, null], "arguments": arguments}),
            json!({"function": {"class_name": "__lambda__", "config": {"code": code}}, "arguments": arguments}),
            json!({"function": {"class_name": "__lambda__", "config": {"value": [code, null, null]}},
                   "arguments": arguments}),
        ]
        .iter()
        .map(|config| function(config).unwrap_or_else(|why| panic!("{config}: {why}")).digest())
        .collect();
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
    }

    #[test]
    fn what_can_not_be_recognised_says_why() {
        let code = scaled();
        let with = |arguments: Json| json!({"function": [code, null, null], "arguments": arguments});
        let table = [
            (json!({}), "holds no code"),
            (json!({"function": 3}), "holds no code"),
            (json!({"function": "relu", "function_type": "function"}), "\"relu\" of the user's own"),
            (json!({"function": {"class_name": "function", "config": "own"}}), "\"own\" of the user's own"),
            (json!({"function": ["4wEAAA==", null, null]}), "it ends too early"),
            (json!({"function": ["\u{1234}", null, null]}), "neither base64 nor bytes"),
            (json!({"function": [code, null, ["a cell"]], "arguments": {"scale": 1}}), "values from around it"),
            (json!({"function": [code, null, null], "arguments": {"scale": 1}, "mask": [1]}), "a mask by code"),
            (with(json!({})), "'scale' has no value"),
            (with(json!(null)), "'scale' has no value"),
            (with(json!({"scale": [1, 2]})), "'scale' is [1,2], no number"),
            (with(json!({"scale": 1, "more": 2})), "arguments that it does not take"),
        ];
        for (config, want) in table {
            let why = function(&config).map_or_else(|why| why, |found| found.shown());
            assert!(why.contains(want), "{config}: {why}");
        }
    }
}
