//! The ONNX target, op by op: every op of the table in its forms, static and symbolic, at several opsets.

use crate::onnx_kit::{Build, Case, Inline, all, batched, check, difference, fitted, inputs, written};
use crate::{onnx_basic, onnx_layers, onnx_rnn};
use recast::verify::runtime::Runtime;
use recast::verify::runtime::embedded::Embedded;
use recast::verify::runtime::onnxruntime::OnnxRuntime;
use recast_onnx::options::{self, Options};
use recast_onnx::write::{self, About};
use recast_plugin_api::diag::Code;
use recast_plugin_api::ir::*;
use recast_reference::{Files, evaluate};
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

#[test]
fn elementwise_ops_run_right() {
    check_all(onnx_basic::elementwise());
}

#[test]
fn far_from_zero_they_run_right() {
    check_all(onnx_basic::far_from_zero());
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
    let shown: BTreeSet<&str> = all()
        .iter()
        .flat_map(|case| case.graph.nodes().iter().map(|node| node.op.name()).collect::<Vec<_>>())
        .collect();
    let caps = recast_onnx::caps();
    let claimed: BTreeSet<&str> = caps.ops.iter().map(String::as_str).collect();
    assert_eq!(claimed, shown, "one case at least for each op");
    let unclaimed = Op::NAMES.iter().copied().filter(|name| !claimed.contains(name));
    let unsaid: Vec<&str> = unclaimed.filter(|name| !caps.lacks.iter().any(|lack| lack.op == *name)).collect();
    // What only training needs is taken out by the passes.
    assert_eq!(unsaid, ["dropout"]);
}

/// A dense layer whose kernel is large enough to leave the file.
fn large() -> Graph {
    let case = Case::new("large", |b| {
        let x = b.input("x", batched(&[64]));
        let (kernel, bias) = (b.weight("kernel", &[64, 32]), b.weight("bias", &[32]));
        let y = b.add(MatMul {}, &[x, kernel]);
        vec![b.add(Binary { function: BinaryFunction::Add }, &[y, bias])]
    });
    case.graph
}

/// Model and data file.
fn write_both(graph: &Graph, options: &Options) -> (Vec<u8>, Vec<u8>) {
    let about = About { name: "large", source_digest: "c0ffee", recast_version: "1.2.3" };
    let plan = write::plan(graph, options, &about).unwrap_or_else(|findings| panic!("{}", findings[0]));
    let (mut model, mut data) = (Vec::new(), Vec::new());
    let weights = Inline::new(graph);
    plan.write_model(&weights, &mut model, &|_, _| Ok(())).expect("it is written");
    if plan.data_file().is_some() {
        plan.write_data(&weights, &mut data, &|_, _| Ok(())).expect("its data is written");
    }
    (model, data)
}

#[test]
fn external_data_lies_beside_the_model_and_is_found() {
    let graph = fitted(&large()).expect("it fits");
    let (model, data) = write_both(&graph, &Options { external_data: true, ..Options::default() });
    assert_eq!(data.len(), 64 * 32 * 4, "the kernel; the bias is too small to leave");
    let dir = tempfile::tempdir().expect("a scratch folder");
    let file = dir.path().join("large.onnx");
    std::fs::write(&file, model).expect("the folder is writable");
    std::fs::write(dir.path().join("large.onnx.data"), data).expect("the folder is writable");
    let given = inputs(&graph, (2, 5));
    let expected = evaluate(&graph, &given, &Files::none(), &Default::default()).expect("the graph runs");
    let mut session = Embedded { threads: 1 }.load(&file).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let found = session.run(&[("x".into(), given[0].clone())], &["out0".into()]);
    let found = found.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(difference(&expected, &found, 1e-5), None);
}

#[test]
fn every_run_writes_the_same_bytes() {
    for case in onnx_rnn::masked().into_iter().step_by(7).chain(onnx_layers::norms().into_iter().step_by(5)) {
        let graph = fitted(&case.graph).expect("it fits");
        let options = Options { opset: Some(18), external_data: true };
        assert!(write_both(&graph, &options) == write_both(&graph, &options), "{}", case.name);
    }
}

#[test]
fn the_file_says_where_it_comes_from() {
    let (model, _) = write_both(&fitted(&large()).expect("it fits"), &Options::default());
    for text in
        ["recast", "1.2.3", "recast.source_sha256", "c0ffee", "recast.record", "large.onnx.sigstore.json", "batch"]
    {
        assert!(model.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
}

/// ONNX Runtime up to 1.18 takes a `Pad` of zeros into this attribute of a pool that follows: no zero is the largest of
/// a window below zero any more.
#[test]
fn a_pool_without_padding_has_no_pads() {
    for (padding, says) in [(Padding::Explicit(0, 0), false), (Padding::Explicit(1, 1), true)] {
        let mut b = Build::nested();
        let x = b.input("x", batched(&[6, 6, 2]));
        let y = b.add(onnx_layers::pool_of(PoolFunction::Max, 2, 3, 2, padding), &[x]);
        b.graph.output("y", y);
        let bytes = written(&fitted(&b.graph).expect("it fits"), 17).expect("it is written");
        assert_eq!(bytes.windows(4).any(|name| name == b"pads"), says, "{padding:?}");
    }
}

#[test]
fn options_are_read_and_wrong_ones_refused() {
    let parsed = |text: &str| options::parse(text).map(|(options, notes)| (options, notes.len()));
    assert_eq!(parsed(""), Ok((Options::default(), 0)));
    assert_eq!(
        parsed(r#"{"opset": 21, "external_data": true}"#),
        Ok((Options { opset: Some(21), external_data: true }, 0))
    );
    assert_eq!(parsed(r#"{"opset": null, "colour": 3}"#), Ok((Options::default(), 1)));
    for wrong in [r#"{"opset": 12}"#, r#"{"opset": 23}"#, r#"{"opset": "17"}"#, r#"{"external_data": 1}"#, "[]", "{"] {
        assert_eq!(parsed(wrong).map_err(|diag| diag.code), Err(Code::UnsupportedOp), "{wrong}");
    }
}

#[test]
fn what_an_opset_cannot_say_is_refused_by_name_and_all_at_once() {
    let case = Case::new("refused", |b| {
        let x = b.input_of("x", DType::I32, batched(&[3]));
        let y = b.add(Unary { function: UnaryFunction::BitwiseNot }, &[x]);
        vec![b.add(Binary { function: BinaryFunction::BitwiseAnd }, &[x, y])]
    });
    let findings = written(&case.graph, 17).expect_err("opset 17 has no bitwise ops");
    assert_eq!(findings.len(), 2);
    assert!(findings.iter().all(|diag| diag.code == Code::UnsupportedOp && diag.at == "layer"));
    assert!(findings[0].hint.contains("opset 18"), "{}", findings[0]);
    let about = About { name: "case", source_digest: "00", recast_version: "0" };
    let plan = write::plan(&case.graph, &Options::default(), &about).expect("nobody asks for opset 17");
    let mut bytes = Vec::new();
    plan.write_model(&Inline::new(&case.graph), &mut bytes, &|_, _| Ok(())).expect("written");
    assert!(bytes == written(&case.graph, 18).expect("opset 18 has them"));
    let said: Vec<(Code, &str)> = plan.losses.iter().map(|diag| (diag.code, diag.at.as_str())).collect();
    assert_eq!(said, [(Code::NeedsNewer, "layer")], "{:?}", plan.losses);
}

#[test]
fn recurrent_layers_are_one_node() {
    for (case, op_type) in onnx_rnn::recurrent().iter().zip(std::iter::repeat(["LSTM", "GRU", "RNN"])) {
        let plan = recast_onnx::emit::graph(&fitted(&case.graph).expect("it fits"), Some(17));
        let nodes = plan.unwrap_or_else(|findings| panic!("{}", findings[0])).nodes;
        let types = nodes.iter().filter_map(|node| node.op_type.as_deref());
        assert_eq!(types.filter(|name| op_type.contains(name)).count(), 1, "{}", case.name);
    }
}
