//! What a machine can hold of the project's style, so that no review has to.

use std::path::{Path, PathBuf};

const TOP_LEVEL: &[&str] =
    &["Cargo.lock", "Cargo.toml", "README.md", "config.toml", "daemon", "plugin-api", "plugins", "tests"];
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 1000;
const LINE_COLUMNS_MAX: usize = 120;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// Files that git tracks or would track, so that build output and editors' leavings don't count.
pub fn tracked() -> Vec<String> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    assert!(listed.status.success(), "git ls-files failed");
    let text = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    text.lines().filter(|path| root().join(path).is_file()).map(str::to_string).collect()
}

pub fn rust_files() -> Vec<(String, String)> {
    let files: Vec<(String, String)> = tracked()
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .map(|path| {
            let text = std::fs::read_to_string(root().join(&path)).expect("a tracked file is readable");
            (path, text)
        })
        .collect();
    assert!(files.len() > 50, "only {} Rust files were found: the check would be vacuous", files.len());
    files
}

fn none(found: Vec<String>, what: &str) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn the_top_level_is_what_the_readme_says() {
    let mut found: Vec<String> =
        tracked().iter().map(|path| path.split('/').next().unwrap_or(path).to_string()).collect();
    found.sort();
    found.dedup();
    let visible: Vec<&String> = found.iter().filter(|name| !name.starts_with('.') && *name != "rustfmt.toml").collect();
    assert_eq!(visible, TOP_LEVEL, "the top level is fixed");
}

#[test]
fn files_and_lines_are_short() {
    let mut found = Vec::new();
    for (path, text) in rust_files() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{path}: {lines} lines"));
        }
        let long = text.lines().enumerate().filter(|(_, line)| line.chars().count() > LINE_COLUMNS_MAX);
        found.extend(long.map(|(n, _)| format!("{path}:{}: over {LINE_COLUMNS_MAX} columns", n + 1)));
    }
    none(found, "too long");
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn starts_function(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().take_while(|word| *word != "fn").collect();
    let modifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\"", "default"];
    line.contains("fn ") && words.iter().all(|word| modifiers.contains(word)) && words.len() <= 5
}

/// (line number, length) of each function; rustfmt puts the closing brace at the function's own indent.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| starts_function(line)) {
        let own = indent(line);
        if line.trim_end().ends_with('}') || line.trim_end().ends_with(';') {
            continue;
        }
        let end =
            lines[at..].iter().position(|l| indent(l) == own && (l.trim() == "}" || l.trim_end().ends_with(");")));
        found.extend(end.map(|length| (at + 1, length + 1)));
    }
    found
}

#[test]
fn functions_are_short() {
    let mut count = 0;
    let mut found = Vec::new();
    for (path, text) in rust_files() {
        for (line, length) in functions(&text) {
            count += 1;
            if length > FUNCTION_LINES_MAX {
                found.push(format!("{path}:{line}: {length} lines"));
            }
        }
    }
    assert!(count > 500, "only {count} functions were recognised: the check would be vacuous");
    none(found, "functions too long");
}

/// Lines of wildcard arms in a match that has arms on `Op`.
fn wildcards_on_op(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let wildcard = |line: &str| line.trim_start().starts_with("_ =>") || line.trim_start().starts_with("_ if ");
    let beside_op = |at: usize| {
        let own = indent(lines[at]);
        let before = lines[..at].iter().rev().take_while(|l| l.trim().is_empty() || indent(l) >= own);
        before.filter(|l| indent(l) == own).any(|l| {
            let arm = l.trim_start().trim_start_matches("| ");
            arm.starts_with("Op::") || arm.starts_with("Some(Op::") || arm.starts_with("(Op::")
        })
    };
    (0..lines.len()).filter(|&at| wildcard(lines[at]) && beside_op(at)).map(|at| at + 1).collect()
}

#[test]
fn no_match_on_op_has_a_wildcard() {
    let mut found = Vec::new();
    for (path, text) in rust_files() {
        found.extend(wildcards_on_op(&text).iter().map(|line| format!("{path}:{line}")));
    }
    none(found, "wildcard arms on Op (a new op would be forgotten there)");
}

#[test]
fn the_checks_can_fail() {
    let long = format!("fn a() {{\n{}}}\n", "    b();\n".repeat(FUNCTION_LINES_MAX));
    assert_eq!(functions(&long), [(1, FUNCTION_LINES_MAX + 2)]);
    let sloppy = "match op {\n    Op::Conv(op) => x(op),\n    _ => y(),\n}\n";
    assert_eq!(wildcards_on_op(sloppy), [3]);
    let fine = "match op {\n    Op::Conv(op) => match z {\n        _ => y(),\n    },\n}\n";
    assert_eq!(wildcards_on_op(fine), [] as [usize; 0]);
}

#[test]
fn no_file_is_ignored_by_a_test_that_does_not_run() {
    let ignored = concat!("#[", "ignore");
    let found = rust_files().into_iter().filter(|(_, text)| text.contains(ignored)).map(|(path, _)| path).collect();
    none(found, "tests that do not run");
}
