//! Names that TensorFlow takes: of nodes, of functions, of their arguments.

use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::Graph;
use std::collections::{HashMap, HashSet};

/// What Python calls no parameter by.
const KEYWORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
    "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
    "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// `[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*`; what does not fit becomes `_`.
pub fn node(path: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || "_./-".contains(c) { c } else { '_' };
    let name: String = path.chars().map(fits).collect();
    let name = name.trim_matches('/');
    match name.chars().next() {
        Some(first) if !first.is_ascii_alphanumeric() => format!("x{name}"),
        _ => name.to_string(),
    }
}

/// `[a-z][a-z0-9_]*`
pub fn argument(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = name.chars().map(fits).collect();
    match name.chars().next() {
        Some(first) if first.is_ascii_lowercase() => name,
        _ => format!("x{name}"),
    }
}

/// The parameter that TensorFlow makes of a signature's argument when it loads the model.
fn parameter(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let plain: String = name.chars().map(fits).collect();
    if plain.starts_with(|c: char| c.is_ascii_alphabetic()) { plain } else { format!("arg_{plain}") }
}

/// Inputs that Python could not be told apart by, or not call by at all, get `_` at the end: TensorFlow would write
/// such a model, and not load it. Outputs are keys of a dict, which may be called anything.
pub fn callable(graph: &mut Graph) -> Vec<Diag> {
    let fits = |name: &str| !KEYWORDS.contains(&parameter(name).as_str());
    let mut used = HashSet::new();
    let kept: Vec<bool> =
        graph.inputs.iter().map(|input| fits(&input.name) && used.insert(parameter(&input.name))).collect();
    let mut notes = Vec::new();
    for (input, _) in graph.inputs.iter_mut().zip(kept).filter(|(_, kept)| !kept) {
        let mut name = format!("{}_", input.name);
        while !used.insert(parameter(&name)) {
            name.push('_');
        }
        let why = match fits(&input.name) {
            true => format!("Python takes '{}' for the name of another input", input.name),
            false => format!("'{}' is a word of Python's own", input.name),
        };
        let detail = format!("{why}: signatures call the input '{name}'");
        notes.push(Diag::new(Code::OptionIgnored, &input.name, detail));
        input.name = name;
    }
    notes
}

/// `base`, or the first of `base_1`, `base_2`, ... that is free. Names that differ in case alone count as one: argument
/// names are made lower-case by others.
pub fn unique(base: &str, used: &mut HashSet<String>, next: &mut HashMap<String, u32>) -> String {
    if used.insert(base.to_ascii_lowercase()) {
        return base.to_string();
    }
    let next = next.entry(base.to_ascii_lowercase()).or_insert(0);
    loop {
        *next += 1;
        let name = format!("{base}_{next}");
        if used.insert(name.to_ascii_lowercase()) {
            return name;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recast_plugin_api::ir::{DType, Type};

    #[test]
    fn inputs_can_be_called() {
        let cases: &[(&[&str], &[&str])] = &[
            (&["x", "a-b", "1x", "match", "Class"], &["x", "a-b", "1x", "match", "Class"]),
            (&["class", "None"], &["class_", "None_"]),
            (&["lambda", "lambda_"], &["lambda__", "lambda_"]),
            (&["A", "a", "a-b", "a_b", "a_b_"], &["A", "a", "a-b", "a_b__", "a_b_"]),
        ];
        for (given, want) in cases {
            let mut graph = Graph::new("");
            given.iter().for_each(|name| _ = graph.input(*name, Type::known(DType::F32, &[1])));
            let notes = callable(&mut graph);
            let found: Vec<&str> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
            assert_eq!(found, *want);
            assert_eq!(notes.len(), given.iter().zip(*want).filter(|(a, b)| a != b).count());
        }
    }

    #[test]
    fn names_fit() {
        assert_eq!(node("a b/ü:0"), "a_b/__0");
        assert_eq!(node("_a"), "x_a");
        assert_eq!(argument("Dense/Kernel"), "dense_kernel");
        assert_eq!(argument("1x"), "x1x");
        let (mut used, mut next) = (HashSet::new(), HashMap::new());
        let made: Vec<String> = ["a", "A", "a_1", "a"].iter().map(|n| unique(n, &mut used, &mut next)).collect();
        assert_eq!(made, ["a", "A_1", "a_1_1", "a_2"]);
    }
}
