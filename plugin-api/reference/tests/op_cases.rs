//! Every op against what TensorFlow, Keras or numpy make of the same numbers, as tests/conformance/op_cases.py wrote
//! them down.

use recast_plugin_api::ir::{
    ActivationFunction, BinaryFunction, DType, Graph, Op, ReduceFunction, ResizeMode, Type, UnaryFunction, ValueId,
};
use recast_reference::npz::read_npz;
use recast_reference::testkit::random_inputs;
use recast_reference::{Array, Files, Options, Rounding, evaluate};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The expectations are float32, some of them computed in float32.
const TOLERANCE: f64 = 1e-5;

fn beside(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// One graph a case, by name.
fn graphs() -> Vec<Graph> {
    let text = std::fs::read_to_string(beside("op_cases.txt")).unwrap();
    let body = text.split_once("\n\n").unwrap().1;
    let parse = |text: &str| Graph::parse_text(text).unwrap_or_else(|diag| panic!("{diag}\n{text}"));
    body.split("\n\n").map(parse).collect()
}

fn far(found: &Array, expected: &Array) -> Option<String> {
    if found.ty() != expected.ty() {
        return Some(format!("{} instead of {}", found.ty(), expected.ty()));
    }
    let (a, b) = (found.numbers(), expected.numbers());
    let largest = b.iter().filter(|v| v.is_finite()).fold(1.0f64, |max, v| max.max(v.abs()));
    let limit = if found.dtype.is_float() { TOLERANCE * largest } else { 0.0 };
    let differs = |(x, y): (&f64, &f64)| !(x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= limit);
    let at = a.iter().zip(&b).position(differs)?;
    Some(format!("element {at} is {} instead of {}\n{a:?}\n{b:?}", a[at], b[at]))
}

#[test]
fn every_op_is_what_the_framework_says() {
    let arrays = read_npz(&beside("op_cases.npz")).unwrap();
    let mut failed = Vec::new();
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for graph in graphs() {
        let mut take = |ty: &Type| {
            let shape: Vec<usize> = ty.sizes().unwrap().into_iter().map(|size| size as usize).collect();
            let (_, flat) = arrays.iter().find(|(name, _)| *name == ty.dtype.as_str()).unwrap();
            let begin = taken.entry(ty.dtype.to_string()).or_default();
            let end = *begin + shape.iter().product::<usize>();
            let data = flat.data.picked(std::mem::replace(begin, end)..end);
            Array { dtype: ty.dtype, shape, data }
        };
        let inputs: Vec<Array> = graph.inputs.iter().map(|input| take(graph.ty(input.value))).collect();
        let expected: Vec<Array> = graph.outputs.iter().map(|output| take(graph.ty(output.value))).collect();
        for threads in [1, 2] {
            let options = Options { rounding: Rounding::Exact, threads };
            match evaluate(&graph, &inputs, &Files::none(), &options) {
                Err(diag) => failed.push(format!("{}: {diag}", graph.name)),
                Ok(found) => {
                    assert_eq!(found.len(), expected.len(), "{}", graph.name);
                    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        failed.extend(far(found, expected).map(|why| format!("{} y{index}: {why}", graph.name)));
                    }
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    for (name, flat) in &arrays {
        assert_eq!(taken.get(name), Some(&flat.len()), "{name} arrays are left over");
    }
}

#[test]
fn the_comparison_can_fail() {
    let one = Array::from_numbers(DType::F32, vec![2], vec![1.0, 2.0]);
    let other = Array::from_numbers(DType::F32, vec![2], vec![1.0, 2.001]);
    assert!(far(&one, &one).is_none() && far(&one, &other).is_some());
    assert!(far(&one, &Array::from_numbers(DType::F32, vec![2], vec![1.0, f64::NAN])).is_some());
}

#[test]
fn no_op_and_no_function_is_without_a_case() {
    let graphs = graphs();
    let nodes = || graphs.iter().flat_map(Graph::nodes);
    let used: BTreeSet<&str> = nodes().map(|node| node.op.name()).collect();
    let missing: Vec<&&str> = Op::NAMES.iter().filter(|name| !used.contains(**name)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
    let words: BTreeSet<String> = nodes()
        .flat_map(|node| node.op.attrs().into_iter().map(|(key, attr)| format!("{} {key} {attr:?}", node.op.name())))
        .collect();
    let absent = |op: &str, key: &str, word: &str| !words.contains(&format!("{op} {key} Str({word:?})"));
    for (op, key, all) in [
        ("unary", "function", UnaryFunction::ALL.iter().map(|f| f.as_str()).collect::<Vec<_>>()),
        ("activation", "function", ActivationFunction::ALL.iter().map(|f| f.as_str()).collect()),
        ("binary", "function", BinaryFunction::ALL.iter().map(|f| f.as_str()).collect()),
        ("reduce", "function", ReduceFunction::ALL.iter().map(|f| f.as_str()).collect()),
        ("resize", "mode", ResizeMode::ALL.iter().map(|f| f.as_str()).collect()),
    ] {
        let missing: Vec<&str> = all.into_iter().filter(|word| absent(op, key, word)).collect();
        assert!(missing.is_empty(), "no case for {op} {key} {missing:?}");
    }
}

/// A case with one number changed is another graph, or none; whatever it asks for, it is answered.
#[test]
fn changed_numbers_never_panic() {
    let elements = |graph: &Graph, value: ValueId| {
        graph.ty(value).sizes().map_or(u64::MAX, |sizes| sizes.into_iter().fold(1, u64::saturating_mul))
    };
    let mut evaluated = 0;
    for text in graphs().iter().map(Graph::to_text) {
        let digit = |at: usize| text.as_bytes()[at].is_ascii_digit();
        let begins = (1..text.len()).filter(|&at| digit(at) && !digit(at - 1));
        for begin in begins {
            let end = (begin..text.len()).find(|&at| !digit(at)).unwrap_or(text.len());
            for number in ["0", "1", "2", "7", "4294967297", "9223372036854775807"] {
                // What the text states of the result would refuse most changes: it is what the op makes of them.
                let Some(graph) = relaxed(&text[..begin], number, &text[end..]) else { continue };
                if (0..graph.value_count()).any(|v| elements(&graph, ValueId(v as u32)) > 100_000) {
                    continue;
                }
                let inputs = random_inputs(&graph, 1, 3).unwrap();
                for rounding in [Rounding::Exact, Rounding::Perturbed { seed: 1 }] {
                    let options = Options { rounding, threads: 1 };
                    let run = || evaluate(&graph, &inputs, &Files::none(), &options).is_ok();
                    assert!(std::panic::catch_unwind(run).is_ok(), "{graph}");
                }
                evaluated += 1;
            }
        }
    }
    assert!(evaluated > 1000, "{evaluated}");
}

/// Parses the text; where it states another type than the op gives, with that one.
fn relaxed(before: &str, number: &str, after: &str) -> Option<Graph> {
    let text = format!("{before}{number}{after}");
    match Graph::parse_text(&text) {
        Ok(graph) => Some(graph),
        Err(diag) => {
            let (op, types) = diag.detail.split_once(" gives ")?;
            let line = text.lines().find(|line| line.contains(&format!("= {op}(")) && line.starts_with("  %"))?;
            let ids: Vec<&str> = line.split(": ").filter_map(|part| part.rsplit_once('%').map(|(_, id)| id)).collect();
            let types = types.split("], ").map(|ty| format!("{}]", ty.trim_end_matches(']')));
            let made: Vec<String> = ids.iter().zip(types).map(|(id, ty)| format!("%{id}: {ty}")).collect();
            let (_, call) = line.split_once(" = ")?;
            Graph::parse_text(&text.replacen(line, &format!("  {} = {call}", made.join(", ")), 1)).ok()
        }
    }
}
