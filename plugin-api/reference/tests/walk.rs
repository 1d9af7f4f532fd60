//! The walk itself: bindings, memory, observers, threads, refusals.

use recast_plugin_api::diag::Code;
use recast_plugin_api::ir::*;
use recast_reference::testkit::{LayerTest, Random, assert_close, difference, random_inputs};
use recast_reference::{Array, Data as Values, Files, Options, Rounding, evaluate, evaluate_observed};

fn f32s(shape: &[usize], values: &[f64]) -> Array {
    Array::from_numbers(DType::F32, shape.to_vec(), values.to_vec())
}

fn dims(names: &[&str]) -> Shape {
    names.iter().map(|name| Dim::parse(name).unwrap()).collect()
}

/// A chain of `length` additions over one input of `size` elements.
fn chain(length: usize, size: u64) -> Graph {
    let mut g = Graph::new("chain");
    let mut x = g.input("x", Type::known(DType::F32, &[size]));
    for layer in 0..length {
        x = g.binary_scalar(&format!("layer_{layer}"), BinaryFunction::Add, x, 1.0).unwrap();
    }
    g.output("y", x);
    g
}

#[test]
fn symbols_are_bound_by_the_inputs() {
    let mut g = Graph::new("");
    let x = g.input("x", Type::new(DType::F32, dims(&["batch", "time", "2"])));
    let half = Slice { axis: 1, start: 0.into(), stop: Dim::parse("floor((time+1)/2)").unwrap(), step: 1 };
    let y = g.add("half", half, &[x]).unwrap();
    let length = g.add("", DimSize { dim: Dim::symbol("time") }, &[]).unwrap();
    g.output("y", y);
    g.output("length", length);
    let x = Random::new(1).array(DType::F32, &[2, 5, 2], 0);
    let made = evaluate(&g, &[x], &Files::none(), &Options::default()).unwrap();
    assert_eq!((made[0].shape.clone(), made[1].numbers()), (vec![2, 3, 2], vec![5.0]));
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let g = chain(1, 3);
    for inputs in [vec![], vec![f32s(&[4], &[0.0; 4])], vec![Array::from_numbers(DType::F64, vec![3], vec![0.0; 3])]] {
        let diag = evaluate(&g, &inputs, &Files::none(), &Options::default()).unwrap_err();
        assert_eq!(diag.code, Code::TypeMismatch);
    }
    let mut short = f32s(&[3], &[0.0; 3]);
    short.data = Values::F(vec![0.0; 2]);
    assert!(evaluate(&g, &[short], &Files::none(), &Options::default()).is_err());
}

#[test]
fn values_are_dropped_after_their_last_use() {
    let size = 1 << 16;
    let x = f32s(&[size as usize], &vec![0.0; size as usize]);
    let done = evaluate_observed(&chain(50, size), &[x], &Files::none(), &Options::default(), &mut |_, _| {}).unwrap();
    assert_eq!(done.outputs[0].numbers()[7], 50.0);
    // The input, and one result on its way into the next.
    assert!(done.peak_bytes <= 3 * 8 * size, "{} bytes for values of {}", done.peak_bytes, 8 * size);
}

#[test]
fn a_file_can_not_ask_for_any_amount_of_memory() {
    let mut g = Graph::new("");
    let x = g.input("x", Type::known(DType::F32, &[1]));
    let y = g.add("huge", BroadcastTo { shape: vec![Dim::Known(1 << 60)] }, &[x]).unwrap();
    g.output("y", y);
    let diag = evaluate(&g, &[f32s(&[1], &[0.0])], &Files::none(), &Options::default()).unwrap_err();
    assert_eq!((diag.code, diag.at.as_str()), (Code::LimitExceeded, "huge"));
}

#[test]
fn the_observer_sees_every_node_in_order() {
    let mut seen = Vec::new();
    let x = f32s(&[2], &[1.0, 2.0]);
    let mut observer = |node: &Node, values: &[std::sync::Arc<Array>]| {
        seen.push((node.op.name(), values[0].numbers()));
    };
    evaluate_observed(&chain(1, 2), &[x], &Files::none(), &Options::default(), &mut observer).unwrap();
    assert_eq!(seen, [("constant", vec![1.0]), ("binary", vec![2.0, 3.0])]);
}

#[test]
fn faults_name_the_layer() {
    let mut g = Graph::new("");
    let x = g.input("x", Type::known(DType::F32, &[3, 2]));
    let i = g.input("i", Type::known(DType::I32, &[1]));
    let y = g.add("encoder/embedding", Gather { axis: 0 }, &[x, i]).unwrap();
    g.output("y", y);
    let inputs = [f32s(&[3, 2], &[0.0; 6]), Array::from_numbers(DType::I32, vec![1], vec![3.0])];
    let diag = evaluate(&g, &inputs, &Files::none(), &Options::default()).unwrap_err();
    assert_eq!(diag.at, "encoder/embedding");
    assert!(diag.detail.contains("index 3"), "{diag}");
    let mut g = Graph::new("");
    let data = Data::Region { file: 0, offset: 4, len: 8 };
    let w = g.param("dense", "kernel", Tensor::stored(DType::F32, &[2], data));
    let y = g.unary("dense", UnaryFunction::Neg, w).unwrap();
    g.output("y", y);
    let diag = evaluate(&g, &[], &Files(vec![&[0; 11]]), &Options::default()).unwrap_err();
    assert_eq!(diag.at, "dense/kernel");
    let made = evaluate(&g, &[], &Files(vec![&[0, 0, 0, 0, 0, 0, 128, 63, 0, 0, 0, 64]]), &Options::default()).unwrap();
    assert_eq!(made[0].numbers(), [-1.0, -2.0]);
}

/// A weight far larger than a panel, so that every way to multiply it is taken.
fn wide_dense(rows: u64) -> (Graph, Vec<u8>, Array) {
    let (k, n) = (3000, 700);
    let mut g = Graph::new("");
    let x = g.input("x", Type::known(DType::F32, &[rows, k]));
    let data = Data::Region { file: 0, offset: 0, len: k * n * 4 };
    let w = g.param("dense", "kernel", Tensor::stored(DType::F32, &[k, n], data));
    let y = g.add("dense", MatMul {}, &[x, w]).unwrap();
    g.output("y", y);
    let weights = Random::new(5).array(DType::F32, &[k as usize, n as usize], 0);
    let bytes = weights.numbers().iter().flat_map(|v| (*v as f32).to_le_bytes()).collect();
    (g, bytes, weights)
}

#[test]
fn large_weights_are_multiplied_panel_by_panel() {
    for rows in [1, 4, 5, 9] {
        let (g, bytes, weights) = wide_dense(rows);
        let inputs = random_inputs(&g, 3, 0).unwrap();
        let (x, w) = (inputs[0].numbers(), weights.numbers());
        let expected: Vec<f64> = (0..rows as usize)
            .flat_map(|i| (0..700).map(move |j| (i, j)))
            .map(|(i, j)| (0..3000).map(|k| x[i * 3000 + k] * w[k * 700 + j]).sum())
            .collect();
        let expected = Array::floats(DType::F32, vec![rows as usize, 700], expected);
        for threads in [1, 2] {
            let options = Options { threads, ..Options::default() };
            let made = evaluate(&g, &inputs, &Files(vec![&bytes]), &options).unwrap();
            assert_close(&made[0], &expected, 1e-10, 1e-10);
        }
    }
}

#[test]
fn noise_is_repeatable_and_small_and_not_nothing() {
    let (g, bytes, _) = wide_dense(4);
    let inputs = random_inputs(&g, 3, 0).unwrap();
    let run = |rounding, threads| {
        evaluate(&g, &inputs, &Files(vec![&bytes]), &Options { rounding, threads }).unwrap().remove(0)
    };
    let exact = run(Rounding::Exact, 1);
    let one = run(Rounding::Perturbed { seed: 1 }, 1);
    assert_eq!(one, run(Rounding::Perturbed { seed: 1 }, 2));
    assert_ne!(one, run(Rounding::Perturbed { seed: 2 }, 1));
    let apart = difference(&one, &exact).unwrap().max_abs;
    assert!(apart > 1e-6 && apart < 1e-2, "{apart}");
}

#[test]
fn only_casts_round() {
    let mut g = Graph::new("");
    let x = g.input("x", Type::known(DType::F16, &[1]));
    let y = g.binary("", BinaryFunction::Div, x, x).unwrap();
    let third = g.binary_scalar("", BinaryFunction::Div, y, 3.0).unwrap();
    let wide = g.cast("", third, DType::F32).unwrap();
    let narrow = g.cast("", wide, DType::BF16).unwrap();
    g.output("third", third);
    g.output("narrow", narrow);
    let x = Array::from_numbers(DType::F16, vec![1], vec![2.0]);
    let made = evaluate(&g, &[x], &Files::none(), &Options::default()).unwrap();
    assert_eq!(made[0].numbers(), [1.0 / 3.0]);
    assert_eq!(made[1].numbers(), [0.333984375]);
}

#[test]
fn arrays_are_what_their_dtype_can_hold() {
    let array = |dtype, values: &[f64]| Array::from_numbers(dtype, vec![values.len()], values.to_vec());
    assert_eq!(array(DType::U8, &[-1.0, 256.0, f64::NAN, 3.7]).numbers(), [0.0, 255.0, 0.0, 3.0]);
    assert_eq!(array(DType::F32, &[0.1]).numbers(), [0.1f32 as f64]);
    assert_eq!(array(DType::I64, &[-3.0]).cast(DType::U64).numbers(), [18446744073709551613.0]);
    assert_eq!(array(DType::F64, &[0.1]).cast(DType::F32).numbers(), [0.1f32 as f64]);
    assert_eq!(f32s(&[2], &[1.0, 2.0]).styled(64.0, 128.0).numbers(), [192.0, 256.0]);
    assert_eq!(f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]).first_rows(1), f32s(&[1, 2], &[1.0, 2.0]));
}

#[test]
fn a_mask_of_the_kit_has_holes_in_the_middle() {
    let mask = Random::new(9).array(DType::Bool, &[2, 7], 0).numbers();
    assert!(mask[0] == 1.0 && mask[3] == 0.0 && mask[7] == 1.0 && mask[10] == 0.0);
    let ids = Random::new(9).array(DType::I32, &[50], 4).numbers();
    assert!(ids.iter().all(|id| (0.0..4.0).contains(id)) && ids.contains(&0.0) && ids.contains(&3.0));
}

#[test]
fn the_kit_refuses_a_broken_lowering() {
    let test = LayerTest::new("X", "{}").input(f32s(&[1, 2], &[0.0; 2]));
    assert!(test.run(|_| Ok(Default::default())).is_err());
    let far = std::panic::catch_unwind(|| assert_close(&f32s(&[1], &[1.0]), &f32s(&[1], &[2.0]), 1e-3, 0.0));
    assert!(far.is_err());
    assert_eq!(difference(&f32s(&[2, 2], &[0.0; 4]), &f32s(&[2, 2], &[0.0, 0.0, 5.0, 0.0])).unwrap().at, [1, 0]);
}

#[test]
fn empty_batches_give_empty_results() {
    let mut g = Graph::new("");
    let x = g.input("x", Type::new(DType::F32, dims(&["batch", "4", "4", "2"])));
    let kernel = g.param("conv", "kernel", Tensor::from_f32(&[3, 3, 2, 2], &[0.5; 36]));
    let conv = Conv {
        strides: vec![1, 1],
        dilations: vec![1, 1],
        padding: vec![Padding::Same; 2],
        groups: 1,
        layout: Layout::ChannelsLast,
        kernel: KernelOrder::Hwio,
    };
    let y = g.add("conv", conv, &[x, kernel]).unwrap();
    let y = g.add("norm", LayerNorm { axes: vec![3], epsilon: 1e-3 }, &[y]).unwrap();
    let y = g.reduce("mean", ReduceFunction::Mean, y, &[1, 2], false).unwrap();
    let kernel = g.param("dense", "kernel", Tensor::from_f32(&[2, 3], &[0.5; 6]));
    let y = g.add("dense", MatMul {}, &[y, kernel]).unwrap();
    let y = g.add("softmax", Softmax { axes: vec![1] }, &[y]).unwrap();
    g.output("y", y);
    for rounding in [Rounding::Exact, Rounding::Perturbed { seed: 1 }] {
        let x = f32s(&[0, 4, 4, 2], &[]);
        let made = evaluate(&g, &[x], &Files::none(), &Options { rounding, threads: 2 }).unwrap();
        assert_eq!(made[0].shape, [0, 3]);
    }
}

/// The results of the exact run and of a disturbed one.
fn both_runs(graph: &Graph, inputs: &[Array]) -> [Vec<f64>; 2] {
    [Rounding::Exact, Rounding::Perturbed { seed: 3 }].map(|rounding| {
        let options = Options { rounding, threads: 1 };
        evaluate(graph, inputs, &Files::none(), &options).unwrap()[0].numbers().to_vec()
    })
}

/// softmax(scores + (1 - mask) * -1e9): where nothing is left to attend to, float32 keeps nothing of the scores.
#[test]
fn large_numbers_swallow_small_ones() {
    let mut g = Graph::new("");
    let (scores, mask) =
        (g.input("scores", Type::known(DType::F32, &[2, 3])), g.input("mask", Type::known(DType::F32, &[2, 3])));
    let rest = g.unary("", UnaryFunction::Neg, mask).unwrap();
    let rest = g.binary_scalar("", BinaryFunction::Add, rest, 1.0).unwrap();
    let bias = g.binary_scalar("", BinaryFunction::Mul, rest, -1e9).unwrap();
    let sum = g.binary("", BinaryFunction::Add, scores, bias).unwrap();
    let y = g.add("", Softmax { axes: vec![1] }, &[sum]).unwrap();
    g.output("y", y);
    let scores = f32s(&[2, 3], &[0.3, -2.0, 5.5, 0.3, -2.0, 5.5]);
    for y in both_runs(&g, &[scores, f32s(&[2, 3], &[0.0, 0.0, 0.0, 1.0, 1.0, 0.0])]) {
        let kept = 1.0 / (1.0 + (-2.3f64).exp());
        let want = [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, kept, 1.0 - kept, 0.0];
        assert!(y.iter().zip(want).all(|(y, want)| (y - want).abs() < 1e-5), "{y:?}");
    }
}

/// floor(0.7 i) hangs by the last digit: ten times 0.7 is 7 in float32, and less in f64.
#[test]
fn what_no_input_has_a_part_in_is_as_float32_has_it() {
    let (slope, count) = (0.7f32, 40u8);
    let mut g = Graph::new("");
    let at = g.add("", Iota { dim: Dim::Known(count.into()), dtype: DType::I64 }, &[]).unwrap();
    let at = g.add("", Cast { to: DType::F32 }, &[at]).unwrap();
    let at = g.binary_scalar("", BinaryFunction::Mul, at, f64::from(slope)).unwrap();
    let at = g.unary("", UnaryFunction::Floor, at).unwrap();
    g.output("y", at);
    let want: Vec<f64> = (0..count).map(|i| f64::from((f32::from(i) * slope).floor())).collect();
    let wide: Vec<f64> = (0..count).map(|i| (f64::from(i) * f64::from(slope)).floor()).collect();
    assert_ne!(want, wide, "the case says nothing");
    assert_eq!(both_runs(&g, &[]), [want.clone(), want]);
}
