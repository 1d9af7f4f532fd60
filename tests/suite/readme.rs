//! The README's tables are printed from the tables that the code dispatches by. `UPDATE_GOLDEN=1` rewrites them.

use recast_keras_layers::table::LAYERS;
use recast_plugin_api::diag::Code;
use std::fmt::Write;
use std::path::Path;

/// Rows of Keras 3 operation nodes and TFOpLambda functions: too many for a line each.
const OPERATION: &str = "operation";

fn layers() -> String {
    let mut table = String::from("| class | family | ONNX | |\n|---|---|---|---|\n");
    for row in LAYERS.iter().filter(|row| row.family != OPERATION) {
        let onnx = if row.note.starts_with("refused") { "no" } else { "yes" };
        writeln!(table, "| {} | {} | {onnx} | {} |", row.class, row.family, row.note).expect("a string takes it");
    }
    let operations = LAYERS.iter().filter(|row| row.family == OPERATION).map(|row| format!("`{}`", row.class));
    let operations: Vec<String> = operations.collect();
    writeln!(table, "\nOperation nodes of Keras 3 and TFOpLambda functions: {}.", operations.join(", "))
        .expect("a string takes it");
    table
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
