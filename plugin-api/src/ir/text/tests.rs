use crate::ir::*;

fn symbolic(dims: &[&str]) -> Shape {
    dims.iter().map(|dim| Dim::parse(dim).unwrap()).collect()
}

fn body() -> Graph {
    let mut body = Graph::new("body {} \"");
    let h = body.input("h", Type::new(DType::F32, symbolic(&["batch", "4"])));
    let x = body.input("x", Type::new(DType::F32, symbolic(&["batch", "4"])));
    let bias = body.param("cell", "bias", Tensor::from_f32(&[4], &[1.0, -0.5, f32::INFINITY, f32::MIN_POSITIVE]));
    let y = body.binary("cell", BinaryFunction::Add, h, x).unwrap();
    let y = body.binary("cell", BinaryFunction::Mul, y, bias).unwrap();
    body.output("h", y);
    body.output("y", y);
    body
}

/// A graph that has one of everything that text can say.
fn everything() -> Graph {
    let mut g = Graph::new("a \"name\"\nwith \\ and \u{1} and ü 漢");
    let x = g.input("x", Type::new(DType::F32, symbolic(&["batch", "time", "4"])));
    let late = g.input("", Type::new(DType::F32, symbolic(&["batch", "steps", "4"])));
    let sum = g.binary("add", BinaryFunction::Add, x, late).unwrap();
    let data = Data::Region { file: 3, offset: 4096, len: 64 };
    let kernel = Tensor::stored(DType::F32, &[4, 4], data).permuted(&[1, 0]).unwrap();
    let kernel = g.param("deep/er \"path\"", "kernel", kernel);
    let view = Tensor::stored(DType::F32, &[2, 8], Data::Inline(vec![7; 64])).permuted(&[1, 0]).unwrap();
    let view = g.param("deep/er", "view", view.reshaped(&[4, 4]).unwrap());
    let y = g.add("dense", MatMul {}, &[sum, kernel]).unwrap();
    let y = g.add("dense", MatMul {}, &[y, view]).unwrap();
    let spec = ActivationSpec { function: ActivationFunction::Elu, alpha: 0.1 + 0.2, beta: -0.0 };
    let lstm =
        SimpleRnn { directions: vec![Direction::Forward, Direction::Backward], activation: spec, zero_masked: true };
    let inputs = [Some(y), None, Some(kernel), Some(view), None, None, Some(view), Some(kernel), None, None];
    let made = g.add_node("rnn", lstm.into(), &inputs).unwrap();
    let half = Slice { axis: 1, start: 0.into(), stop: Dim::parse("floor((time+1)/2)").unwrap(), step: 1 };
    let half = g.add("half", half, &[made[0]]).unwrap();
    let clip = Clip { min: None, max: Some(1e300) };
    let clipped = g.add("clip", clip, &[half]).unwrap();
    let nothing = g.constant("", Tensor::from_f32(&[0, 3], &[])).unwrap();
    let number = g.constant("", Tensor::scalar(DType::BF16, 1.5)).unwrap();
    images(&mut g);
    let zeros = g.input("h", Type::new(DType::F32, symbolic(&["batch", "4"])));
    let op = Op::Scan(Scan { body: Box::new(body()), states: 1, reverse: true });
    let scanned = g.add_node("scan", op, &[Some(zeros), Some(y)]).unwrap();
    for (index, value) in [clipped, nothing, number, scanned[1], x, kernel].into_iter().enumerate() {
        g.output(format!("y{index}"), value);
    }
    g
}

/// Ops with numbers that could overflow.
fn images(g: &mut Graph) {
    let x = g.input("image", Type::new(DType::F32, symbolic(&["batch", "height", "8", "6"])));
    let kernel = g.constant("conv", Tensor::from_f32(&[3, 3, 2, 3], &[0.5; 54])).unwrap();
    let conv = Conv {
        strides: vec![2, 1],
        dilations: vec![1, 1],
        padding: vec![Padding::Same, Padding::Explicit(1, 1)],
        groups: 3,
        layout: Layout::ChannelsLast,
        kernel: KernelOrder::Hwio,
    };
    let y = g.add("conv", conv, &[x, kernel]).unwrap();
    let kernel = g.constant("up", Tensor::from_f32(&[2, 2, 5, 3], &[0.5; 60])).unwrap();
    let up = ConvTranspose {
        strides: vec![2, 2],
        dilations: vec![1, 1],
        cropping: vec![(0, 1), (0, 0)],
        output_padding: vec![1, 0],
        groups: 1,
        layout: Layout::ChannelsLast,
        kernel: KernelOrder::Hwoi,
    };
    let y = g.add("up", up, &[y, kernel]).unwrap();
    let pool = Pool {
        function: PoolFunction::Average,
        window: vec![2, 2],
        strides: vec![2, 2],
        padding: vec![Padding::Explicit(1, 0); 2],
        layout: Layout::ChannelsLast,
    };
    let y = g.add("pool", pool, &[y]).unwrap();
    let padding = vec![(0, 0), (1, 2), (3, 4), (0, 0)];
    let y = g.add("pad", Pad { padding, mode: PadMode::Reflect }, &[y]).unwrap();
    let y = g.add("tile", Tile { repeats: symbolic(&["1", "2", "height", "1"]) }, &[y]).unwrap();
    let y = g.add("group", GroupNorm { axis: 3, groups: 5, epsilon: 1e-3 }, &[y]).unwrap();
    let y = g.add("top", TopK { axis: 3, k: 2.into(), largest: true }, &[y]);
    assert!(y.is_ok());
    let labels = g.input("labels", Type::new(DType::I64, symbolic(&["batch"])));
    g.add("hot", OneHot { depth: 3, axis: 1, dtype: DType::Bool }, &[labels]).unwrap();
}

#[test]
fn what_is_printed_parses_to_the_same_graph() {
    let g = everything();
    let text = g.to_text();
    let parsed = Graph::parse_text(&text).unwrap_or_else(|diag| panic!("{diag}\n{text}"));
    assert_eq!(parsed, g, "{text}");
    assert_eq!(parsed.to_text(), text);
    assert!(!g.equal.is_empty());
}

#[test]
fn text_is_readable() {
    let mut g = Graph::new("mlp");
    let x = g.input("x", Type::new(DType::F32, symbolic(&["batch", "784"])));
    let data = Data::Region { file: 0, offset: 4096, len: 401408 };
    let kernel = g.param("dense", "kernel", Tensor::stored(DType::F32, &[784, 128], data));
    let y = g.add("dense", MatMul {}, &[x, kernel]).unwrap();
    let y = g.unary("dense", UnaryFunction::Relu, y).unwrap();
    g.output("y", y);
    let expected = r#"graph "mlp" {
  input %0: f32[batch, 784] = "x"
  param %1: f32[784, 128] = "dense" "kernel" file 0 at 4096 len 401408
  %2: f32[batch, 128] = matmul(%0, %1) @ "dense"
  %3: f32[batch, 128] = unary(%2) function="relu" @ "dense"
  output %3 = "y"
}
"#;
    assert_eq!(g.to_text(), expected);
    let commented = format!("# a comment\n{}", expected.replace(" @ ", "\n # more\n @ "));
    assert_eq!(Graph::parse_text(&commented).unwrap(), g);
}

#[test]
fn errors_name_their_line() {
    let text = everything().to_text();
    let cases = [
        ("%2: f32[batch, time, 4]", "%2: f32[batch, time, 5]"),
        ("time, 4] = \"x\"", "time, 4] = \"x"),
        ("function=\"add\"", "function=\"addition\""),
        ("function=\"add\"", "function=\"add\" more=1"),
        ("output %", "output %9"),
        ("len 64", "len 65"),
        ("perm [1, 0]", "perm [1, 1]"),
        ("@ \"add\"", "@ \"\\u{110000}\""),
    ];
    for (from, to) in cases {
        assert!(text.contains(from), "{from}");
        let diag = Graph::parse_text(&text.replacen(from, to, 1)).expect_err(to);
        assert!(diag.at.starts_with("line ") && !diag.detail.is_empty(), "{diag}");
    }
    assert_eq!(Graph::parse_text("graph \"\" {\n  input %0: f32[1] = \"x\"\n  nonsense\n}").unwrap_err().at, "line 3");
    let deep =
        "graph \"\" { input %0: f32[] = \"x\" %1: f32[] = unary(%0) function=".to_string() + &"[".repeat(100_000);
    assert!(Graph::parse_text(&deep).is_err());
}

/// Small, seeded, good enough to hit every branch.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*state >> 33) as usize
}

#[test]
fn mutated_text_never_panics() {
    let text = everything().to_text();
    let pieces = [
        "%",
        "9223372036854775807",
        "18446744073709551615",
        "-",
        "<",
        ">",
        "[",
        "]",
        "\"",
        "graph \"\" {",
        "}",
        "0",
        "time",
        "floor((",
        ")/2)",
        "\\u{",
        "@",
        "hex \"",
        "=",
        ",",
        "NaN",
        "1e999",
        "ü",
    ];
    let mut state = 7;
    for _ in 0..3000 {
        let mut mutated: Vec<char> = text.chars().collect();
        for _ in 0..1 + next(&mut state) % 3 {
            let at = next(&mut state) % mutated.len();
            let end = (at + next(&mut state) % 4).min(mutated.len());
            let piece = pieces[next(&mut state) % pieces.len()];
            match next(&mut state) % 3 {
                0 => drop(mutated.drain(at..end)),
                1 => drop(mutated.splice(at..at, piece.chars())),
                _ => drop(mutated.splice(at..end, piece.chars())),
            }
        }
        let mutated: String = mutated.into_iter().collect();
        if let Ok(graph) = Graph::parse_text(&mutated) {
            assert_eq!(Graph::parse_text(&graph.to_text()).map(|g| g.to_text()), Ok(graph.to_text()), "{mutated}");
        }
    }
    for cut in (0..text.len()).filter(|&cut| text.is_char_boundary(cut)) {
        assert!(Graph::parse_text(&text[..cut]).is_err() || cut + 1 >= text.len());
    }
}

#[test]
fn numbers_of_any_size_never_panic() {
    let text = everything().to_text();
    let digit = |at: usize| text.as_bytes()[at].is_ascii_digit();
    let begins = (1..text.len()).filter(|&at| digit(at) && !digit(at - 1));
    for begin in begins {
        let end = (begin..text.len()).find(|&at| !digit(at)).unwrap_or(text.len());
        for number in ["0", "4294967297", "4611686018427387904", "9223372036854775807", "18446744073709551615"] {
            let mutated = format!("{}{number}{}", &text[..begin], &text[end..]);
            let parsed = std::panic::catch_unwind(|| Graph::parse_text(&mutated).is_ok());
            assert!(parsed.is_ok(), "line {}: {number}", text[..begin].matches('\n').count() + 1);
        }
    }
}
