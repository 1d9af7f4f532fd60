//! Cases of elementwise ops, products, reductions and shapes.

use crate::onnx_kit::{Case, batch, batched, dims, time};
use recast::verify::runtime::embedded_lacks;
use recast_plugin_api::ir::*;

fn unary_input(function: UnaryFunction) -> &'static str {
    use UnaryFunction::*;
    match function {
        Sqrt | Rsqrt | Reciprocal | Log => "pos_x",
        Acosh => "pos_x",
        Asin | Acos | Atanh | Tan | Log1p => "unit_x",
        _ => "x",
    }
}

fn unary(function: UnaryFunction) -> Case {
    use UnaryFunction::*;
    let case = Case::new(&format!("unary_{function}"), |b| {
        let x = match function {
            Not => b.input_of("x", DType::Bool, batched(&[3])),
            BitwiseNot => b.input_of("x", DType::I32, batched(&[3])),
            Acosh => {
                let x = b.input("pos_x", batched(&[3]));
                let one = b.graph.scalar_like("layer", x, 1.0).unwrap();
                b.add(Binary { function: BinaryFunction::Add }, &[x, one])
            }
            IsNan | IsInf | IsFinite => {
                let x = b.input("x", batched(&[3]));
                let zero = b.graph.scalar_like("layer", x, 0.0).unwrap();
                let root = b.add(Unary { function: Sqrt }, &[x]);
                let inf = b.add(Binary { function: BinaryFunction::Div }, &[root, zero]);
                b.add(Concat { axis: 1 }, &[x, root, inf])
            }
            _ => b.input(unary_input(function), batched(&[3])),
        };
        vec![b.add(Unary { function }, &[x])]
    });
    if function == BitwiseNot { case.since_opset(18).not_embedded() } else { case }
}

fn activation(function: ActivationFunction, alpha: f64, beta: f64) -> Case {
    Case::new(&format!("activation_{function}_{alpha}"), |b| {
        let x = b.input("x", batched(&[4]));
        vec![b.add(Activation { function, alpha, beta }, &[x])]
    })
}

/// Factors of what is drawn: far from zero, where a function may be finite and a step on the way to it not.
const FAR: [f64; 4] = [15.0, 60.0, 300.0, 1e4];

fn far(name: &str, input: &str, op: impl Into<Op>) -> Case {
    let op = op.into();
    let case = Case::new(&format!("far_{name}"), |b| {
        let x = b.input(input, batched(&[8]));
        let mut at = |factor: f64| {
            let factor = b.graph.scalar_like("layer", x, factor).unwrap();
            let x = b.add(Binary { function: BinaryFunction::Mul }, &[x, factor]);
            b.add(op.clone(), &[x])
        };
        FAR.map(&mut at).into()
    });
    if embedded_lacks(&case.graph).contains(&true) { case.misread() } else { case }
}

/// Functions that are finite far from zero, and change slowly there.
pub fn far_from_zero() -> Vec<Case> {
    use UnaryFunction::*;
    let near = |function: &UnaryFunction| {
        let within = matches!(function, Asin | Acos | Atanh | Log1p);
        let steep = matches!(function, Exp | Expm1 | Sinh | Cosh | Sin | Cos | Tan);
        within || steep || matches!(function, Not | BitwiseNot | IsNan | IsInf | IsFinite)
    };
    let functions = UnaryFunction::ALL.iter().copied().filter(|function| !near(function));
    let mut cases: Vec<Case> =
        functions.map(|function| far(&function.to_string(), unary_input(function), Unary { function })).collect();
    for &function in ActivationFunction::ALL.iter().filter(|function| **function != ActivationFunction::Exp) {
        let (alpha, beta) = (0.3, 0.5);
        cases.push(far(&format!("activation_{function}"), "x", Activation { function, alpha, beta }));
    }
    cases.push(far("softmax", "x", Softmax { axes: vec![1] }));
    cases.push(far("log_softmax", "x", LogSoftmax { axis: 1 }));
    let function = ReduceFunction::LogSumExp;
    cases.push(far("log_sum_exp", "x", Reduce { function, axes: vec![1], keepdims: false }));
    cases
}

fn binary(function: BinaryFunction, dtype: DType) -> Case {
    use BinaryFunction::*;
    let case = Case::new(&format!("binary_{function}_{dtype}"), |b| {
        let name = if function == Pow { "pos_a" } else { "a" };
        let a = b.input_of(name, dtype, batched(&[3, 4]));
        let mut y = b.input_of("b", dtype, dims(&[4]));
        if matches!(function, FloorDiv | Mod) && dtype.is_int() {
            let one = b.graph.scalar_like("layer", y, -5.0).unwrap();
            y = b.add(Binary { function: Add }, &[y, one]);
        }
        vec![b.add(Binary { function }, &[a, y])]
    });
    match function {
        BitwiseAnd | BitwiseOr | BitwiseXor => case.since_opset(18).not_embedded(),
        ShiftLeft | ShiftRight if !dtype.is_signed() => case.not_embedded(),
        _ => case,
    }
}

pub fn elementwise() -> Vec<Case> {
    use ActivationFunction::*;
    use BinaryFunction::*;
    let mut cases: Vec<Case> = UnaryFunction::ALL.iter().map(|&function| unary(function)).collect();
    for &function in ActivationFunction::ALL {
        let parameters: &[(f64, f64)] = match function {
            Elu | LeakyRelu | Celu => &[(1.0, 0.0), (0.3, 0.0)],
            ThresholdedRelu => &[(0.7, 0.0)],
            HardSigmoid => &[(0.2, 0.5), (1.0 / 6.0, 0.5)],
            ScaledTanh | Affine => &[(1.7, 0.6)],
            _ => &[(0.0, 0.0)],
        };
        cases.extend(parameters.iter().map(|&(alpha, beta)| activation(function, alpha, beta)));
    }
    for &function in BinaryFunction::ALL {
        let dtypes: &[DType] = match function {
            And | Or | Xor => &[DType::Bool],
            BitwiseAnd | BitwiseOr | BitwiseXor => &[DType::I32],
            ShiftLeft | ShiftRight => &[DType::I32, DType::U32],
            Div | Atan2 => &[DType::F32],
            Pow => &[DType::F32],
            _ => &[DType::F32, DType::I32],
        };
        cases.extend(dtypes.iter().map(|&dtype| binary(function, dtype)));
    }
    cases.push(Case::new("relu_int", |b| {
        let x = b.input_of("x", DType::I32, batched(&[3]));
        let two = b.graph.scalar_like("layer", x, 2.0).unwrap();
        let x = b.add(Binary { function: Sub }, &[x, two]);
        vec![b.add(Unary { function: UnaryFunction::Relu }, &[x])]
    }));
    for (min, max) in [(Some(-1.0), Some(1.5)), (None, Some(0.5)), (Some(0.0), None)] {
        cases.push(Case::new(&format!("clip_{}_{}", min.is_some(), max.is_some()), |b| {
            let x = b.input("x", batched(&[3]));
            vec![b.add(Clip { min, max }, &[x])]
        }));
    }
    for dtype in [DType::F32, DType::Bool, DType::I32] {
        cases.push(Case::new(&format!("where_{dtype}"), |b| {
            let condition = b.input_of("c", DType::Bool, batched(&[3, 1]));
            let (x, y) = (b.input_of("x", dtype, batched(&[3, 4])), b.input_of("y", dtype, dims(&[4])));
            vec![b.add(Where {}, &[condition, x, y])]
        }));
    }
    for (from, to) in
        [(DType::F32, DType::I32), (DType::I32, DType::F32), (DType::F32, DType::Bool), (DType::Bool, DType::F32)]
    {
        cases.push(Case::new(&format!("cast_{from}_{to}"), |b| {
            let x = b.input_of("x", from, batched(&[3]));
            vec![b.add(Cast { to }, &[x])]
        }));
    }
    cases
}

pub fn products() -> Vec<Case> {
    let dense = Case::new("dense", |b| {
        let x = b.input("x", batched(&[4]));
        let (k, bias) = (b.weight("kernel", &[4, 3]), b.weight("bias", &[3]));
        let y = b.add(MatMul {}, &[x, k]);
        vec![b.add(Binary { function: BinaryFunction::Add }, &[y, bias])]
    });
    let stacked = Case::new("matmul_batched", |b| {
        let (x, y) = (b.input("x", batched(&[3, 4, 2])), b.input("y", dims(&[2, 5])));
        vec![b.add(MatMul {}, &[x, y])]
    });
    let mut cases = vec![dense, stacked];
    for equation in ["abc,cde->abde", "bqhd,bkhd->bhqk", "ab->ba", "abc->ac", "ab,ab->a"] {
        cases.push(Case::new(&format!("einsum_{}", equation.replace(',', "_").replace("->", "_to_")), |b| {
            let (terms, _) = equation.split_once("->").unwrap();
            let size = |letter: char| u64::from(letter as u32 % 5 + 2);
            let inputs = terms.split(',').enumerate().map(|(i, term)| {
                let shape: Vec<Dim> = term.chars().map(|letter| Dim::Known(size(letter))).collect();
                b.input(&format!("x{i}"), shape)
            });
            let inputs: Vec<ValueId> = inputs.collect();
            vec![b.add(Einsum { equation: equation.into() }, &inputs)]
        }));
    }
    cases
}

pub fn reductions() -> Vec<Case> {
    use ReduceFunction::*;
    let mut cases = Vec::new();
    for &function in ReduceFunction::ALL {
        for (axes, keepdims) in [(vec![1], false), (vec![1, 2], true), (vec![0, 2], false)] {
            cases.push(Case::new(&format!("reduce_{function}_{axes:?}_{keepdims}"), |b| {
                let dtype = if matches!(function, Any | All) { DType::Bool } else { DType::F32 };
                let x = b.input_of("x", dtype, vec![batch(), time(), Dim::Known(3)]);
                vec![b.add(Reduce { function, axes: axes.clone(), keepdims }, &[x])]
            }));
        }
    }
    for &function in ArgFunction::ALL {
        for (keepdims, dtype) in [(true, DType::F32), (false, DType::I32), (false, DType::I64)] {
            let case = Case::new(&format!("arg_{function}_{keepdims}_{dtype}"), |b| {
                let x = b.input_of("x", dtype, batched(&[4, 3]));
                vec![b.add(ArgReduce { function, axis: 1, keepdims }, &[x])]
            });
            // Of equal values, which only integers are likely to have, the embedded runtime gives the last one.
            cases.push(if dtype.is_int() { case.misread() } else { case });
        }
    }
    for &function in CumulativeFunction::ALL {
        for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
            for (axis, shape) in [(1, vec![batch(), time(), Dim::Known(3)]), (2, batched(&[2, 4]))] {
                cases.push(Case::new(&format!("cumulative_{function}_{exclusive}_{reverse}_{axis}"), |b| {
                    let x = b.input("x", shape);
                    vec![b.add(Cumulative { function, axis, exclusive, reverse }, &[x])]
                }));
            }
        }
    }
    for (largest, k) in [(true, Dim::Known(2)), (false, Dim::Known(3)), (true, time())] {
        cases.push(Case::new(&format!("top_k_{largest}_{k}"), |b| {
            let x = b.input("x", vec![batch(), time(), Dim::Known(2)]);
            b.add_all(TopK { axis: 1, k: k.clone(), largest }, &[Some(x)])
        }));
    }
    cases
}

fn reshapes() -> Vec<Case> {
    let (b, t) = (batch(), time());
    let six = Dim::Known(6);
    let shapes: [(&str, Vec<Dim>, Vec<Dim>); 6] = [
        ("flatten", batched(&[2, 3]), vec![b.clone(), six.clone()]),
        ("split", vec![b.clone(), six.clone()], batched(&[2, 3])),
        ("merge", vec![b.clone(), t.clone(), six.clone()], vec![b.times(&t), six.clone()]),
        ("unmerge", vec![b.clone(), t.clone(), six.clone()], vec![b.clone(), t.times(&Dim::Known(2)), Dim::Known(3)]),
        ("swap", vec![b.clone(), t.clone(), six.clone()], vec![t.clone(), b.clone(), six.clone()]),
        ("three", vec![b.clone(), t.clone(), six.clone()], vec![t.clone(), Dim::Known(2), b.clone(), Dim::Known(3)]),
    ];
    let case = |(name, from, to): (&str, Vec<Dim>, Vec<Dim>)| {
        Case::new(&format!("reshape_{name}"), |b| {
            let x = b.input("x", from);
            vec![b.add(Reshape { shape: to }, &[x])]
        })
    };
    shapes.into_iter().map(case).collect()
}

fn one(name: &str, shape: Vec<Dim>, op: impl Into<Op>) -> Case {
    Case::new(name, |b| {
        let x = b.input("x", shape);
        vec![b.add(op, &[x])]
    })
}

fn gathers() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::I32, DType::I64] {
        cases.push(Case::new(&format!("embedding_{dtype}"), |b| {
            let ids = b.input_of("ids", dtype, vec![batch(), time()]);
            let table = b.weight("embeddings", &[5, 3]);
            vec![b.add(Gather { axis: 0 }, &[table, ids])]
        }));
        cases.push(Case::new(&format!("gather_elements_{dtype}"), |b| {
            let ids = b.input_of("ids", dtype, batched(&[2]));
            let x = b.input("x", batched(&[6]));
            vec![b.add(GatherElements { axis: 1 }, &[x, ids])]
        }));
        for axis in [1, 2] {
            cases.push(Case::new(&format!("one_hot_{dtype}_{axis}"), |b| {
                let ids = b.input_of("ids", dtype, vec![batch(), time()]);
                let three = b.graph.scalar_like("layer", ids, 1.0).unwrap();
                let ids = b.add(Binary { function: BinaryFunction::Sub }, &[ids, three]);
                vec![b.add(OneHot { depth: 3, axis, dtype: DType::F32 }, &[ids])]
            }));
        }
    }
    cases
}

/// Numbers to words, moved about, and back: no strings go in or out.
fn words() -> Case {
    let texts = |words: [&str; 3]| words.map(String::from).to_vec();
    let build = |b: &mut crate::onnx_kit::Build| {
        let x = b.input_of("x", DType::I64, [batch(), time()]);
        let table = IndexToString { keys: vec![0, 1, 3], values: texts(["a", "\u{e9}", "C"]), fallback: "?".into() };
        let word = b.add(table, &[x]);
        let word = b.add(StringMap { function: StringFunction::Lower }, &[word]);
        let turned = b.add(Transpose { perm: vec![1, 0] }, &[word]);
        let keys = texts(["\u{e9}", "?", "c"]);
        vec![b.add(StringToIndex { keys, values: vec![4, -2, 9], fallback: 7 }, &[turned])]
    };
    Case::new("words", build).not_embedded()
}

pub fn shapes() -> Vec<Case> {
    let sequence = || vec![batch(), time(), Dim::Known(3)];
    let mut cases = reshapes();
    cases.push(words());
    cases.push(one("transpose", sequence(), Transpose { perm: vec![2, 0, 1] }));
    for (i, (axis, start, stop, step)) in [
        (1, Dim::Known(1), time(), 1),
        (1, Dim::Known(0), time().offset(-2).unwrap(), 2),
        (1, time().floor_div(2), time(), 1),
        (2, Dim::Known(1), Dim::Known(3), 1),
        (2, Dim::Known(0), Dim::Known(3), 2),
    ]
    .into_iter()
    .enumerate()
    {
        cases.push(one(&format!("slice_{i}"), sequence(), Slice { axis, start, stop, step }));
    }
    for &mode in PadMode::ALL {
        for padding in [vec![(0, 0), (1, 2), (0, 0)], vec![(0, 0), (0, 3), (2, 1)]] {
            cases.push(one(&format!("pad_{mode}_{}", padding[1].0), sequence(), Pad { padding, mode }));
        }
    }
    cases.push(Case::new("pad_filled", |b| {
        let x = b.input("x", batched(&[3]));
        let fill = b.graph.scalar_like("layer", x, 2.5).unwrap();
        vec![b.add(Pad { padding: vec![(0, 0), (2, 0)], mode: PadMode::Constant }, &[x, fill])]
    }));
    cases.push(one("tile", sequence(), Tile { repeats: vec![Dim::Known(1), time(), Dim::Known(2)] }));
    cases.push(one(
        "broadcast",
        batched(&[1, 3]),
        BroadcastTo { shape: vec![Dim::Known(2), batch(), Dim::Known(4), Dim::Known(3)] },
    ));
    cases.push(one("reverse", sequence(), Reverse { axes: vec![1, 2] }));
    cases.push(Case::new("repeat_vector", |b| {
        let x = b.input("x", batched(&[3]));
        let x = b.add(Reshape { shape: batched(&[1, 3]) }, &[x]);
        vec![b.add(Tile { repeats: dims(&[1, 4, 1]) }, &[x])]
    }));
    cases.push(Case::new("concat", |b| {
        let (x, y) = (b.input("x", sequence()), b.input("y", vec![batch(), time(), Dim::Known(2)]));
        vec![b.add(Concat { axis: 2 }, &[x, y, x])]
    }));
    cases.extend(gathers());
    for (lower, k) in [(true, 0), (false, 0), (true, -1), (false, 1), (true, 2)] {
        cases.push(one(&format!("triangle_{lower}_{k}"), vec![batch(), time(), Dim::Known(4)], Triangle { lower, k }));
    }
    cases.push(Case::new("triangle_bool", |b| {
        let x = b.input_of("x", DType::Bool, vec![batch(), time(), time()]);
        vec![b.add(Triangle { lower: true, k: 0 }, &[x])]
    }));
    cases.push(Case::new("sizes", |b| {
        let x = b.input("x", sequence());
        let half = time().plus(&Dim::Known(1)).floor_div(2).times(&batch());
        let size = b.add(DimSize { dim: half }, &[]);
        let count = b.add(Iota { dim: time(), dtype: DType::F32 }, &[]);
        let count = b.add(Reshape { shape: vec![time(), Dim::Known(1)] }, &[count]);
        let y = b.add(Binary { function: BinaryFunction::Add }, &[x, count]);
        let places = b.add(Iota { dim: Dim::Known(4), dtype: DType::I32 }, &[]);
        vec![size, y, places]
    }));
    cases.push(Case::new("constant", |b| {
        let x = b.input("x", batched(&[3]));
        let c = b.graph.constant("layer", Tensor::from_f32(&[3], &[1.0, 2.0, 4.0])).unwrap();
        let y = b.add(Binary { function: BinaryFunction::Mul }, &[x, c]);
        vec![y, c, x, y]
    }));
    cases
}
