//! The well-known functions: `known.txt`, written by tests/conformance/lambda_known.py.
//!
//! ```text
//! = x / a - b
//! lambda x: x / a - b
//!  2c5f.. 3.8,3.9,3.10 1=a,2=b
//! ```
//! An expression; what computes it in Python; the digests of its code with the Pythons that compile it so. Digests
//! leave out the values of numbers: `1=a` says that constant 1 is the expression's `a`, `1=2` that it must be 2.

use super::code::Function;
use super::expression::Parameters;
use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("known.txt");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub expression: &'static str,
    /// The Python that it was compiled from.
    pub source: &'static str,
    /// Pairs of a constant's index and what it is.
    constants: &'static str,
}

/// Functions of one digest differ in the numbers that they must have.
static KNOWN: LazyLock<HashMap<&'static str, Vec<Known>>> = LazyLock::new(|| {
    let mut known: HashMap<_, Vec<_>> = HashMap::new();
    for (digest, row) in rows() {
        known.entry(digest).or_default().push(row);
    }
    known
});

/// Digests and what they are.
fn rows() -> impl Iterator<Item = (&'static str, Known)> {
    let (mut expression, mut source) = ("", "");
    TABLE.lines().filter_map(move |line| {
        if let Some(heading) = line.strip_prefix("= ") {
            expression = heading;
            return None;
        }
        let Some(row) = line.strip_prefix(' ') else {
            source = line;
            return None;
        };
        let (digest, pythons) = row.split_once(' ')?;
        let constants = pythons.split_once(' ').map_or("", |(_, constants)| constants);
        Some((digest, Known { expression, source, constants }))
    })
}

/// What a function is, with all the numbers of its expression: those of its arguments and those of its code.
pub fn find(function: &Function) -> Option<(Known, Parameters)> {
    let rows = KNOWN.get(function.digest().as_str())?;
    rows.iter().find_map(|row| Some((*row, row.parameters(function)?)))
}

impl Known {
    /// `None` where a number is not the one that it must be.
    fn parameters(&self, function: &Function) -> Option<Parameters> {
        let mut parameters = function.parameters.clone();
        for pair in self.constants.split(',').filter(|pair| !pair.is_empty()) {
            let (index, name) = pair.split_once('=')?;
            let number = function.number(index.parse().ok()?)?;
            match name.parse::<f64>() {
                Ok(wanted) if wanted != number => return None,
                Ok(_) => {}
                Err(_) => drop(parameters.insert(name.into(), number)),
            }
        }
        Some(parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::super::code;
    use super::super::expression::{Parameters, parse};
    use super::*;
    use serde_json::json;

    /// Marshalled functions, one a line: the Python, its source, its base64.
    const COMPILED: &str = include_str!("../../tests/lambda/compiled.txt");

    #[test]
    fn every_digest_is_one_function_and_every_expression_is_read() {
        let all: Vec<_> = rows().collect();
        let distinct: std::collections::BTreeSet<_> = all.iter().map(|(digest, row)| (digest, row.constants)).collect();
        assert_eq!(all.len(), distinct.len(), "a function stands twice");
        assert!(all.len() > 500, "{}", all.len());
        let names = ["a", "b", "c", "scale", "alpha", "factor", "i", "idx", "index"];
        let parameters: Parameters = names.map(|name| (name.to_owned(), 1.0)).into();
        for (digest, known) in all {
            assert!(digest.len() == 32 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "{digest}");
            let parsed = parse(known.expression, &parameters);
            assert!(parsed.is_ok(), "{}: {parsed:?}", known.expression);
        }
    }

    #[test]
    fn what_each_python_wrote_is_found() {
        let mut pythons = std::collections::BTreeSet::new();
        for line in COMPILED.lines() {
            let [python, source, text] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let defaults = if source.contains("i=1") { json!([1]) } else { json!(null) };
            let arguments = if source.contains("scale") { json!({"scale": 0.5}) } else { json!({}) };
            let config = json!({"function": [text, defaults, null], "arguments": arguments});
            let function = code::function(&config).unwrap_or_else(|why| panic!("{line}: {why}"));
            let (known, _) = find(&function).unwrap_or_else(|| panic!("{line}: {}", function.shown()));
            assert_eq!(known.source, source, "{python}");
            pythons.insert(python);
        }
        assert!(pythons.len() >= 9, "{pythons:?}");
    }

    /// Cut anywhere, or with any byte another one, code is read, refused, or another function: never a crash.
    #[test]
    fn damaged_code_is_read_or_refused() {
        let engine = &base64::engine::general_purpose::STANDARD;
        for line in COMPILED.lines().step_by(7) {
            let text = line.rsplit('\t').next().unwrap_or_default();
            let whole = base64::Engine::decode(engine, text).unwrap_or_default();
            for at in 0..whole.len() {
                assert!(super::super::marshal::read(&whole[..at]).is_err(), "{line} cut at {at}");
                for byte in [0x00, 0x28, 0x7f, 0xa9, 0xff] {
                    let mut damaged = whole.clone();
                    damaged[at] = byte;
                    if let Ok(function) = code::of_bytes(&damaged) {
                        function.digest();
                        function.shown();
                    }
                }
            }
        }
    }
}
