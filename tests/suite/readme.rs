//! The README's tables are printed from the tables that the code dispatches by. `UPDATE_GOLDEN=1` rewrites them.

use recast_keras_layers::table::{LAYERS, Row};
use recast_plugin_api::diag::Code;
use std::collections::BTreeMap;
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

fn layers() -> String {
    let counts = counts();
    let mut table = String::from("| class | family | ONNX | passing | |\n|---|---|---|---|---|\n");
    for row in LAYERS.iter().filter(|row| row.family != OPERATION) {
        let onnx = if row.note.starts_with("refused") { "no" } else { "yes" };
        let passed = counts.get(row.class).and_then(|targets| targets.get("onnx")).map_or(0, |count| count[0]);
        let passed = if passed == 0 { String::new() } else { passed.to_string() };
        writeln!(table, "| {} | {} | {onnx} | {passed} | {} |", row.class, row.family, row.note)
            .expect("a string takes it");
    }
    let operation = |row: &Row| match counts.get(row.class).and_then(|targets| targets.get("onnx")) {
        Some([passed, _]) if *passed > 0 => format!("`{}` {passed}", row.class),
        _ => format!("`{}`", row.class),
    };
    let operations = LAYERS.iter().filter(|row| row.family == OPERATION).map(operation);
    let operations: Vec<String> = operations.collect();
    writeln!(table, "\nOperation nodes of Keras 3 and TFOpLambda functions: {}.", operations.join(", "))
        .expect("a string takes it");
    table
}

/// A class that the matrix counts passing models of is one that this plugin lowers.
#[test]
fn the_matrix_passes_only_what_is_in_the_table() {
    let known = |class: &str| LAYERS.iter().any(|row| row.class == class);
    let counts = counts();
    let strangers: Vec<&String> =
        counts.iter().filter(|(class, n)| n["onnx"][0] > 0 && !known(class)).map(|(c, _)| c).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    let total: u64 = counts.values().map(|targets| targets["onnx"][0]).sum();
    assert!(total > 2300, "only {total} passing models: matrix_counts.json is of a part of the matrix");
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
