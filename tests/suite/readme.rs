//! The README's tables are printed from the tables that the code dispatches by. `UPDATE_GOLDEN=1` rewrites them.

use crate::tidy;
use recast_keras_layers::table::{LAYERS, Row};
use recast_plugin_api::diag::Code;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// Rows of Keras 3 operation nodes and TFOpLambda functions: too many for a line each.
const OPERATION: &str = "operation";

/// What the last run of the generated matrix found (`tests/conformance/run.py --set matrix`): class -> target -> models
/// about it that passed, and that were refused as foreseen.
type Counts = BTreeMap<String, BTreeMap<String, [u64; 2]>>;

fn counts() -> Counts {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/matrix_counts.json");
    let text = std::fs::read_to_string(&path).expect("matrix_counts.json");
    serde_json::from_str(&text).expect("counts by class and target")
}

/// What a cell of the table says of a class and a target: models that passed, and that were refused.
fn cell(counts: &Counts, class: &str, target: &str) -> String {
    match counts.get(class).and_then(|targets| targets.get(target)) {
        None | Some([0, 0]) => String::new(),
        Some([passed, 0]) => passed.to_string(),
        Some([passed, refused]) => format!("{passed}, {refused} refused"),
    }
}

/// A column for each target that the matrix has been run for.
fn layers() -> String {
    let counts = counts();
    let targets: BTreeSet<&str> = counts.values().flat_map(BTreeMap::keys).map(String::as_str).collect();
    let heads: String = targets.iter().map(|target| format!(" {target} |")).collect();
    let rules = "---|".repeat(targets.len());
    let mut table = format!("| class | family | lowered |{heads} |\n|---|---|---|{rules}---|\n");
    for row in LAYERS.iter().filter(|row| row.family != OPERATION) {
        let lowered = if row.note.starts_with("refused") { "no" } else { "yes" };
        let cells: String = targets.iter().map(|target| format!(" {} |", cell(&counts, row.class, target))).collect();
        writeln!(table, "| {} | {} | {lowered} |{cells} {} |", row.class, row.family, row.note)
            .expect("a string takes it");
    }
    let operation = |row: &Row| {
        let cells = targets.iter().map(|target| cell(&counts, row.class, target));
        let cells: Vec<String> = cells.map(|cell| if cell.is_empty() { "-".into() } else { cell }).collect();
        let known = counts.contains_key(row.class);
        if known { format!("`{}` {}", row.class, cells.join("/")) } else { format!("`{}`", row.class) }
    };
    let operations = LAYERS.iter().filter(|row| row.family == OPERATION).map(operation);
    let operations: Vec<String> = operations.collect();
    let order = targets.into_iter().collect::<Vec<_>>().join("/");
    writeln!(table, "\nOperation nodes of Keras 3 and TFOpLambda functions ({order}): {}.", operations.join("; "))
        .expect("a string takes it");
    table
}

/// A class that the matrix counts passing models of is one that this plugin lowers.
#[test]
fn the_matrix_passes_only_what_is_in_the_table() {
    let known = |class: &str| LAYERS.iter().any(|row| row.class == class);
    let counts = counts();
    let passes = |targets: &BTreeMap<String, [u64; 2]>| targets.values().any(|count| count[0] > 0);
    let strangers: Vec<&String> =
        counts.iter().filter(|(class, n)| passes(n) && !known(class)).map(|(c, _)| c).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    let total = |target: &str| counts.values().filter_map(|targets| targets.get(target)).map(|n| n[0]).sum::<u64>();
    for target in ["onnx", "torch"] {
        let passing = total(target);
        assert!(passing > 2300, "only {passing} passing models of {target}: the counts are of a part of the matrix");
    }
}

fn codes() -> String {
    let mut table = String::from("| code | exit | |\n|---|---|---|\n");
    for code in Code::ALL {
        writeln!(table, "| `{}` | {} | {} |", code.as_str(), code.class().exit_code(), code.meaning())
            .expect("a string takes it");
    }
    table
}

/// The README with the part between the markers of `name` replaced.
fn with(readme: &str, name: &str, table: &str) -> String {
    let open = format!("<!-- generated: {name} -->\n");
    let begin = readme.find(&open).unwrap_or_else(|| panic!("no marker for {name}")) + open.len();
    let end = begin + readme[begin..].find("<!-- end -->").expect("an end marker");
    format!("{}{table}{}", &readme[..begin], &readme[end..])
}

#[test]
fn the_generated_tables_are_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(&path).expect("README.md");
    let generated = with(&with(&readme, "layers", &layers()), "codes", &codes());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, generated).expect("README.md is writable");
        return;
    }
    assert!(readme == generated, "README.md is out of date: UPDATE_GOLDEN=1 cargo test -p recast-tests readme");
}

/// Every script is named where somebody looks for it, and what is named is there. `cases_*.py` names all that fit it.
#[test]
fn every_script_is_named() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(dir.join(path)).expect("it is committed");
    let texts = read("conformance/README.md") + &read("fixtures/README.md");
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '*' | '.' | '/' | '-');
    let words = texts.split(|c: char| !is_name(c)).map(|word| word.rsplit('/').next().unwrap_or(word));
    let is_script = |name: &str| [".py", ".sh", ".mjs"].iter().any(|end| name.ends_with(end)) && name != "__init__.py";
    let named: Vec<&str> = words.filter(|word| is_script(word)).collect();
    let fits = |name: &str, pattern: &str| match pattern.split_once('*') {
        Some((begin, end)) => name.starts_with(begin) && name.ends_with(end),
        None => name == pattern,
    };
    let scripts: Vec<String> = tidy::tracked()
        .into_iter()
        .filter(|path| path.starts_with("tests/conformance/"))
        .map(|path| path.rsplit('/').next().unwrap_or_default().to_owned())
        .filter(|name| is_script(name))
        .collect();
    assert!(scripts.len() > 60 && named.len() > 40, "{} scripts, {} names", scripts.len(), named.len());
    let unnamed: Vec<&String> =
        scripts.iter().filter(|name| !named.iter().any(|pattern| fits(name, pattern))).collect();
    assert!(unnamed.is_empty(), "no README says what these are for: {unnamed:?}");
    let gone: Vec<&&str> = named.iter().filter(|pattern| !scripts.iter().any(|name| fits(name, pattern))).collect();
    assert!(gone.is_empty(), "a README speaks of scripts that are not there: {gone:?}");
}
