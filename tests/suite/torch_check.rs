//! The reader of packages, on packages that are not what they should be.

use recast_plugin_api::diag::Findings;
use recast_plugin_api::ir::wire::GraphProto;
use recast_plugin_api::ir::{
    ActivationFunction, ActivationSpec, BatchNorm, BinaryFunction, Conv, DType, Dim, Direction, Graph, KernelOrder,
    Layout, Lstm, MatMul, Pad, PadMode, Padding, Pool, PoolFunction, ReduceFunction, Tensor, Type, UnaryFunction,
    ValueId,
};
use recast_plugin_api::messages::{CheckReply, CheckRequest};
use recast_torch::facts::Facts;
use recast_torch::{check, options, weights};
use std::fs;
use std::path::Path;

/// A small image model, channels-first as the passes leave it.
fn graph() -> Graph {
    let mut g = Graph::new("net");
    let shape = vec![Dim::symbol("batch"), Dim::Known(3), Dim::Known(8), Dim::Known(8)];
    let mut x = g.input("image", Type::new(DType::F32, shape));
    let param = |g: &mut Graph, path: &str, role: &str, sizes: &[u64]| -> ValueId {
        let count = sizes.iter().product::<u64>() as usize;
        g.param(path, role, Tensor::from_f32(sizes, &vec![0.5; count]))
    };
    for (name, channels) in [("first", 3), ("second", 4)] {
        let kernel = param(&mut g, name, "kernel", &[4, channels, 3, 3]);
        let conv = Conv {
            strides: vec![1, 1],
            dilations: vec![1, 1],
            padding: vec![Padding::Explicit(1, 1); 2],
            groups: 1,
            layout: Layout::ChannelsFirst,
            kernel: KernelOrder::Oihw,
        };
        x = g.add(name, conv, &[x, kernel]).expect("it fits");
        x = g.unary(name, UnaryFunction::Relu, x).expect("it fits");
    }
    let statistics: Vec<ValueId> = ["gamma", "beta", "moving_mean", "moving_variance"]
        .iter()
        .map(|role| param(&mut g, "norm", role, &[4]))
        .collect();
    let inputs: Vec<ValueId> = std::iter::once(x).chain(statistics).collect();
    x = g.add("norm", BatchNorm { axis: 1, epsilon: 0.001 }, &inputs).expect("it fits");
    x = g.reduce("pool", ReduceFunction::Mean, x, &[2, 3], false).expect("it fits");
    let kernel = param(&mut g, "head", "kernel", &[4, 2]);
    let bias = param(&mut g, "head", "bias", &[2]);
    x = g.add("head", MatMul {}, &[x, kernel]).expect("it fits");
    x = g.binary("head", BinaryFunction::Add, x, bias).expect("it fits");
    g.output("class", x);
    g
}

/// Writes the package, changed by `change`, and reads it back.
fn read_back(change: impl Fn(&str) -> String) -> Result<CheckReply, Findings> {
    let graph = graph();
    let package = recast_torch::plan(&graph, &Facts::default(), "net", options::Options::default()).expect("a plan");
    let home = tempfile::tempdir().expect("a scratch directory");
    write(home.path(), &package, change);
    check::check(&CheckRequest {
        graph: Some(GraphProto::from(&graph)),
        path: home.path().to_string_lossy().into_owned(),
        ..CheckRequest::default()
    })
}

fn write(dir: &Path, package: &recast_torch::Package, change: impl Fn(&str) -> String) {
    fs::write(dir.join("model.py"), change(&package.model)).expect("writable");
    fs::write(dir.join("__init__.py"), &package.init).expect("writable");
    let mut bytes = weights::header(&package.weights, &[]).expect("a header");
    let total: u64 = package.weights.iter().map(weights::Weight::byte_len).sum();
    bytes.resize(bytes.len() + total as usize, 0);
    fs::write(dir.join("model.safetensors"), bytes).expect("writable");
}

#[test]
fn every_weight_is_found_once() {
    let reply = read_back(str::to_string).expect("it is what was to be written");
    let mut found: Vec<u32> = reply.weights.iter().map(|weight| weight.param).collect();
    found.sort_unstable();
    assert_eq!(found, (0..8).collect::<Vec<u32>>());
}

#[test]
fn inputs_are_channels_first_on_request() {
    let mut g = Graph::new("net");
    let sizes = [Dim::symbol("batch"), Dim::Known(8), Dim::Known(8), Dim::Known(3)];
    let image = g.input("image", Type::new(DType::F32, sizes.to_vec()));
    let scaled = g.binary_scalar("scale", BinaryFunction::Mul, image, 0.25).expect("it fits");
    let pad = Pad { padding: vec![(0, 0), (1, 0), (1, 0), (0, 0)], mode: PadMode::Constant };
    let padded = g.add("pad", pad, &[scaled]).expect("it fits");
    let turned = g.transpose("conv", padded, &[0, 3, 1, 2]).expect("it fits");
    let pool = Pool {
        function: PoolFunction::Max,
        window: vec![3, 3],
        strides: vec![3, 3],
        padding: vec![Padding::Explicit(0, 0); 2],
        layout: Layout::ChannelsFirst,
    };
    let pooled = g.add("pool", pool, &[turned]).expect("it fits");
    let back = g.transpose("pool", pooled, &[0, 2, 3, 1]).expect("it fits");
    g.output("map", back);
    let plan = |channels_first| {
        recast_torch::plan(&g, &Facts::default(), "net", options::Options { channels_first }).expect("a plan")
    };
    let (kept, turned) = (plan(false), plan(true));
    assert!(kept.model.contains(".permute(") && !kept.init.contains("CHANNELS_FIRST"), "{}", kept.model);
    assert!(!turned.model.contains("permute") && turned.model.contains("(1, 0, 1, 0)"), "{}", turned.model);
    assert!(turned.init.contains("CHANNELS_FIRST = (\"image\", \"map\")"), "{}", turned.init);
}

/// What is changed in model.py, into what, and what the finding names.
const CHANGES: &[(&str, &str, &str)] = &[
    ("self.first = nn.Conv2d(3, 4, 3, padding=1,", "self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1,", "first"),
    ("self.second = nn.Conv2d(4, 4, 3, padding=1,", "self.second = nn.Conv2d(4, 4, 3,", "second"),
    ("eps=0.001", "eps=1e-05", "norm"),
    ("self.first(image)", "self.second(image)", "first"),
    ("F.relu(self.second(x))", "self.second(x)", "second"),
    (".mean(dim=(2, 3))", ".sum(dim=(2, 3))", "pool"),
    ("self.norm(x)", "x", "norm"),
    ("x = self.head(x)", "x = self.head(self.head(x))", "head"),
    ("x = self.head(x)", "x = self.tail(x)", "model.py"),
];

#[test]
fn another_structure_is_a_finding() {
    for (from, to, at) in CHANGES {
        let findings = read_back(|text| {
            assert!(text.contains(from), "'{from}' is not in\n{text}");
            text.replacen(from, to, 1)
        });
        let findings = findings.err().unwrap_or_else(|| panic!("'{to}' for '{from}' went unnoticed"));
        assert!(findings.iter().any(|diag| diag.at.contains(at)), "'{to}': {findings:?}");
    }
}

/// Two recurrent layers of one kernel, or two normalizations of one mean, that differ in something else.
fn twins(what: &str) -> Graph {
    let mut g = Graph::new("net");
    let param = |g: &mut Graph, path: &str, role: &str, sizes: &[u64]| -> ValueId {
        let count = sizes.iter().product::<u64>() as usize;
        let base = path.len() + role.len();
        let values: Vec<f32> = (0..count).map(|i| ((i * 7 + base) % 11) as f32 / 20.0).collect();
        g.param(path, role, Tensor::from_f32(sizes, &values))
    };
    let sizes = vec![Dim::symbol("batch"), Dim::Known(4), Dim::Known(3)];
    let x = g.input("x", Type::new(DType::F32, sizes));
    let mask = g.input("seen", Type::new(DType::Bool, vec![Dim::symbol("batch"), Dim::Known(4)]));
    let shared = |own: &str, role: &str| if what.contains(role) { own.to_owned() } else { "a".to_owned() };
    for layer in ["a", "bb"] {
        let y = if what.starts_with("norm") {
            let roles = ["gamma", "beta", "moving_mean", "moving_variance"];
            let parts = roles.map(|role| param(&mut g, &shared(layer, role), role, &[3]));
            let epsilon = if what.contains("epsilon") && layer == "bb" { 0.01 } else { 0.001 };
            let inputs: Vec<ValueId> = std::iter::once(x).chain(parts).collect();
            g.add(layer, BatchNorm { axis: 2, epsilon }, &inputs).expect("it fits")
        } else {
            let kernel = param(&mut g, "a", "kernel", &[3, 8]);
            let recurrent = param(&mut g, &shared(layer, "recurrent"), "recurrent", &[2, 8]);
            let biased = !what.contains("without") || layer == "a";
            let bias = biased.then(|| param(&mut g, &shared(layer, "bias"), "bias", &[8]));
            let relu = what.contains("activation") && layer == "bb";
            let function = if relu { ActivationFunction::Relu } else { ActivationFunction::Tanh };
            let op = Lstm {
                directions: vec![Direction::Forward],
                activation: ActivationSpec::plain(function),
                recurrent_activation: ActivationSpec::plain(ActivationFunction::Sigmoid),
                zero_masked: false,
            };
            let mask = what.contains("masked").then_some(mask);
            let inputs = [Some(x), mask, Some(kernel), Some(recurrent), bias, None, None];
            let y = g.add_node(layer, op.into(), &inputs).expect("it fits")[0];
            g.squeeze(layer, y, 2).expect("it fits")
        };
        g.output(layer, y);
    }
    g
}

#[test]
fn layers_that_share_one_weight_keep_their_others() {
    let cases = [
        ("recurrent", 2),
        ("recurrent masked", 2),
        ("bias", 2),
        ("bias masked", 2),
        ("without bias", 2),
        ("activation", 2),
        ("activation masked", 2),
        ("same", 1),
        ("same masked", 1),
        ("norm moving_variance", 2),
        ("norm epsilon", 2),
        ("norm same", 1),
    ];
    for (what, modules) in cases {
        let graph = twins(what);
        let package = recast_torch::plan(&graph, &Facts::default(), "net", options::Options::default());
        let package = package.unwrap_or_else(|findings| panic!("{what}: {findings:?}"));
        let made = package.model.matches(" = nn.LSTM").count()
            + package.model.matches(" = KerasLSTMCell(").count()
            + package.model.matches(" = nn.BatchNorm").count();
        assert_eq!(made, modules, "{what}:\n{}", package.model);
        let home = tempfile::tempdir().expect("a scratch directory");
        write(home.path(), &package, str::to_owned);
        let read = check::check(&CheckRequest {
            graph: Some(GraphProto::from(&graph)),
            path: home.path().to_string_lossy().into_owned(),
            ..CheckRequest::default()
        });
        assert!(read.is_ok(), "{what}: {read:?}\n{}", package.model);
        assert_eq!(read.map(|reply| reply.weights.len()), Ok(graph.params.len()), "{what}");
    }
}
