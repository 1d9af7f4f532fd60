//! The ONNX target, op by op: every op of the table in its forms, static and symbolic, at several opsets.

use crate::onnx_kit::{Case, check};
use crate::{onnx_basic, onnx_layers, onnx_rnn};
use recast::verify::runtime::onnxruntime::OnnxRuntime;
use recast_plugin_api::ir::Op;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// ONNX Runtime, where the environment names its library.
fn onnxruntime() -> Option<&'static OnnxRuntime> {
    static ONE: OnceLock<Option<OnnxRuntime>> = OnceLock::new();
    let open = || {
        let library = std::env::var_os("RECAST_TEST_ONNXRUNTIME")?;
        Some(OnnxRuntime::open(Path::new(&library), 1).unwrap_or_else(|diag| panic!("{diag}")))
    };
    ONE.get_or_init(open).as_ref()
}

fn check_all(cases: Vec<Case>) {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let dump = std::env::var_os("RECAST_TEST_ONNX_DUMP").map(PathBuf::from);
    let dir = dump.unwrap_or_else(|| scratch.path().to_path_buf());
    let only = std::env::var("RECAST_TEST_CASE").unwrap_or_default();
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.name.contains(&only)).collect();
    let wrong: Vec<String> = cases.iter().flat_map(|case| check(case, onnxruntime(), &dir)).collect();
    assert!(wrong.is_empty(), "{} of {} cases and more:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn all() -> Vec<Case> {
    let groups = [
        onnx_basic::elementwise(),
        onnx_basic::products(),
        onnx_basic::reductions(),
        onnx_basic::shapes(),
        onnx_layers::windows(),
        onnx_layers::norms(),
        onnx_layers::resizes(),
        onnx_rnn::recurrent(),
        onnx_rnn::masked(),
        onnx_rnn::attention(),
        onnx_rnn::scans(),
    ];
    groups.into_iter().flatten().collect()
}

#[test]
fn elementwise_ops_run_right() {
    check_all(onnx_basic::elementwise());
}

#[test]
fn products_run_right() {
    check_all(onnx_basic::products());
}

#[test]
fn reductions_run_right() {
    check_all(onnx_basic::reductions());
}

#[test]
fn shape_ops_run_right() {
    check_all(onnx_basic::shapes());
}

#[test]
fn windows_run_right() {
    check_all(onnx_layers::windows());
}

#[test]
fn norms_run_right() {
    check_all(onnx_layers::norms());
}

#[test]
fn resizes_run_right() {
    check_all(onnx_layers::resizes());
}

#[test]
fn recurrent_ops_run_right() {
    check_all(onnx_rnn::recurrent());
}

#[test]
fn masked_recurrent_ops_run_right() {
    check_all(onnx_rnn::masked());
}

#[test]
fn attention_runs_right() {
    check_all(onnx_rnn::attention());
}

#[test]
fn scans_run_right() {
    check_all(onnx_rnn::scans());
}

#[test]
fn the_capabilities_name_what_the_cases_show() {
    let shown: BTreeSet<&str> = all().iter().flat_map(|case| case.graph.nodes().iter().map(|node| node.op.name()).collect::<Vec<_>>()).collect();
    let claimed = recast_onnx::caps().ops;
    assert_eq!(claimed.iter().map(String::as_str).collect::<BTreeSet<_>>(), shown, "one case at least for each op");
    assert_eq!(claimed.len(), Op::NAMES.len());
}
