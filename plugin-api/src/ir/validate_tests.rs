use super::*;
use crate::ir::{Dim, Output, Padding, PoolFunction, Scan, Unary, UnaryFunction};

fn image_net() -> Graph {
    let mut g = Graph::new("net");
    let x = g.input("x", Type::new(DType::F32, vec![Dim::symbol("batch"), 8.into(), 8.into(), 3.into()]));
    let data = Data::Region { file: 0, offset: 0, len: 3 * 3 * 3 * 4 * 4 };
    let kernel = g.param("conv", "kernel", Tensor::stored(DType::F32, &[3, 3, 3, 4], data));
    let conv = Conv {
        strides: vec![1, 1],
        dilations: vec![1, 1],
        padding: vec![Padding::Same; 2],
        groups: 1,
        layout: Layout::ChannelsLast,
        kernel: KernelOrder::Hwio,
    };
    let y = g.add("conv", conv, &[x, kernel]).unwrap();
    let pool = Pool {
        function: PoolFunction::Max,
        window: vec![2, 2],
        strides: vec![2, 2],
        padding: vec![Padding::Explicit(0, 0); 2],
        layout: Layout::ChannelsLast,
    };
    let y = g.add("pool", pool, &[y]).unwrap();
    g.output("y", y);
    g
}

fn caps(ops: &[&str]) -> Caps {
    Caps { target: "t".into(), ops: ops.iter().map(|op| op.to_string()).collect(), ..Caps::default() }
}

fn details(diags: &[Diag]) -> String {
    diags.iter().map(|d| format!("{d}\n")).collect()
}

#[test]
fn a_good_graph_has_no_findings() {
    let g = image_net();
    assert_eq!(validate(&g, Some(&[432])), []);
    assert_eq!(validate(&g, None), []);
}

#[test]
fn every_finding_is_reported_at_once() {
    let mut g = image_net();
    g.types[0].shape[1] = Dim::Known(9);
    g.outputs.push(Output { name: "y".into(), value: ValueId(77) });
    g.inputs.push(g.inputs[0].clone());
    g.nodes[1].inputs[0] = Some(ValueId(3));
    let found = details(&validate(&g, Some(&[431])));
    let expected = [
        "conv gives f32[batch, 9, 8, 4]",
        "the output %77 is never made",
        "two inputs have this name",
        "two outputs have this name",
        "%0 is defined twice",
        "pool uses %3 before it is defined",
        "bytes 0+432 of file 0, which has 431",
    ];
    for part in expected {
        assert!(found.contains(part), "{part}\n{found}");
    }
}

#[test]
fn tensors_that_contradict_themselves_are_found() {
    let good = Tensor::from_f32(&[2, 3], &[0.0; 6]);
    assert_eq!(check_tensor(&good), Ok(()));
    let bad = [
        Tensor { perm: vec![0, 0], ..good.clone() },
        Tensor { shape: vec![7], ..good.clone() },
        Tensor { data: Data::Inline(vec![0; 23]), ..good.clone() },
        Tensor { stored: vec![u64::MAX, 2], shape: vec![u64::MAX, 2], ..good.clone() },
        Tensor::stored(DType::U8, &[INLINE_BYTES_MAX as u64 + 1], Data::Inline(vec![0; INLINE_BYTES_MAX + 1])),
    ];
    for tensor in bad {
        assert!(check_tensor(&tensor).is_err(), "{:?}", tensor.shape);
    }
}

#[test]
fn unused_inputs_are_notes_and_missing_outputs_errors() {
    let mut g = image_net();
    g.input("unused", Type::known(DType::F32, &[1]));
    let found = validate(&g, None);
    assert!(found.len() == 1 && !found[0].is_error() && found[0].at == "unused", "{}", details(&found));
    g.outputs.clear();
    assert!(refused(&validate(&g, None)));
}

#[test]
fn bodies_are_validated_too_and_their_depth_is_bounded() {
    let step = |inner: Option<Graph>| {
        let mut body = Graph::new("body");
        let h = body.input("h", Type::known(DType::F32, &[2]));
        let x = body.input("x", Type::known(DType::F32, &[2]));
        if let Some(inner) = inner {
            let scanned = body.add("", crate::ir::Reshape { shape: vec![2.into(), 1.into()] }, &[x]).unwrap();
            let op = Op::Scan(Scan { body: Box::new(inner), states: 1, reverse: false });
            body.add_node("inner", op, &[Some(h), Some(scanned)]).unwrap();
        }
        body.output("h", h);
        body
    };
    let mut graph = step(None);
    for _ in 0..DEPTH_MAX {
        graph = step(Some(graph));
    }
    assert_eq!(validate(&graph, None), []);
    graph = step(Some(graph));
    assert!(details(&validate(&graph, None)).contains("nested"));
    let mut broken = step(None);
    broken.outputs[0].value = ValueId(9);
    assert!(details(&validate(&step(Some(step(None))), None)).is_empty());
    let mut outer = step(Some(step(None)));
    if let Op::Scan(scan) = &mut outer.nodes[1].op {
        scan.body.outputs[0].value = ValueId(9);
    }
    assert!(refused(&validate(&outer, None)));
}

#[test]
fn all_that_a_target_lacks_is_said_with_paths() {
    let mut g = image_net();
    let y = g.outputs[0].value;
    let z = g.add("head", Unary { function: UnaryFunction::Relu }, &[y]).unwrap();
    g.output("z", z);
    assert!(admit(&g, &caps(&["conv", "pool", "unary"]), None).is_ok());
    let found = details(&admit(&g, &caps(&["unary"]), None).unwrap_err());
    assert!(found.contains("conv: target 't' does not write conv") && found.contains("pool"), "{found}");
    let narrow = Caps { dtypes: vec!["i32".into()], rank_max: 3, ..caps(&["conv", "pool", "unary"]) };
    let found = details(&admit(&g, &narrow, None).unwrap_err());
    assert!(found.contains("dtype f32") && found.contains("rank 4 (at most 3)"), "{found}");
}

#[test]
fn layouts_that_no_pass_settled_are_found() {
    let g = image_net();
    let ops = ["conv", "pool"];
    let first = Caps { layout: "channels_first".into(), kernel: "oihw".into(), ..caps(&ops) };
    let found = admit(&g, &first, None).unwrap_err();
    assert_eq!(found.len(), 3, "{}", details(&found));
    assert!(found.iter().all(|d| d.code == Code::Bug));
    let last = Caps { layout: "channels_last".into(), kernel: "hwio".into(), ..caps(&ops) };
    assert!(admit(&g, &last, None).is_ok());
}
