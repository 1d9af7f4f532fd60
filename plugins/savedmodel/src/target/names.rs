//! Names that TensorFlow takes: of nodes, of functions, of their arguments.

use std::collections::{HashMap, HashSet};

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
