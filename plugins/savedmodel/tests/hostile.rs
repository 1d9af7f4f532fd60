//! SavedModels that a broken disk made, or that mean harm: an error that says what is wrong, in bounded time and
//! memory.

use prost::Message;
use recast_keras_model::io::{Io, Scratch};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::messages::{LowerRequest, Lowered, ReadRequest};
use recast_plugin_api::model::{Layer, LayerModel, Weight};
use recast_plugin_api::plugin::example;
use recast_savedmodel::graph::{self, GRAPH};
use recast_savedmodel::proto::*;
use recast_savedmodel::source;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What counts as a hang, on a loaded machine too.
const LONG: Duration = Duration::from_secs(60);
/// What reading may hold at once. A sample is 30 KB; the largest graph that is taken has a quarter of a million nodes.
const LARGE: usize = 256 << 20;

/// Counts what each thread holds: a test reads on its own.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.get().wrapping_add(layout.size());
        HELD.set(held);
        // What was taken on another thread and given back here is below zero.
        if held as isize > MOST.get() as isize {
            MOST.set(held);
        }
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size()));
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Does this within bounds.
#[track_caller]
fn bounded<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (begin, held) = (Instant::now(), HELD.get());
    MOST.set(held);
    let done = work();
    assert!(begin.elapsed() < LONG, "{what}: {:?}", begin.elapsed());
    let most = MOST.get().wrapping_sub(held);
    assert!(most < LARGE, "{what}: {most} bytes");
    done
}

/// A directory in memory.
struct Files(BTreeMap<String, Vec<u8>>);

impl<'a> Io<'a> for &'a Files {
    fn map(&self, path: &str) -> Result<&'a [u8], Diag> {
        let name = path.strip_prefix("/m/").unwrap_or(path);
        self.0.get(name).map(Vec::as_slice).ok_or_else(|| Diag::new(Code::Io, path, "no such file"))
    }
    fn scratch(&self) -> Result<Box<dyn Scratch + 'a>, Diag> {
        Err(Diag::new(Code::Io, "scratch", "not in a test"))
    }
    fn report(&self, _diag: &Diag) {}
    fn go_on(&self) -> Result<(), Diag> {
        Ok(())
    }
}

impl Files {
    fn of(name: &str) -> Files {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/saved_model").join(name);
        let mut files = BTreeMap::new();
        collect(&root, &root, &mut files);
        assert!(files.contains_key("saved_model.pb"), "{name} is missing");
        Files(files)
    }

    fn read(&self) -> Result<LayerModel, Findings> {
        let files = self.0.keys().cloned().collect();
        let host = self;
        source::read(&host, &ReadRequest { schema_rev: 1, path: "/m".into(), files, ..ReadRequest::default() })
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.0.get_mut(name).unwrap_or_else(|| panic!("{name} is missing")));
    }
}

fn collect(root: &Path, at: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

const INDEX: &str = "variables/variables.index";
const DATA: &str = "variables/variables.data-00000-of-00001";
/// By layers, by a graph, of TensorFlow 1.
const SAMPLES: [&str; 3] = ["save/dense_relu", "export/dense_relu", "module/v1_simple_save"];

#[track_caller]
fn refused(files: &Files, code: Code, words: &str) {
    let findings = bounded(words, || files.read()).expect_err(words);
    assert!(findings.iter().any(|diag| diag.code == code && diag.detail.contains(words)), "{words}: {findings:?}");
}

#[test]
fn what_is_missing_or_broken_is_named() {
    for name in SAMPLES {
        let with = |change: &dyn Fn(&mut Files)| {
            let mut files = Files::of(name);
            files.read().unwrap_or_else(|findings| panic!("{name}: {findings:?}"));
            change(&mut files);
            files
        };
        refused(&with(&|f| drop(f.0.remove(DATA))), Code::Malformed, "missing");
        refused(&with(&|f| drop(f.0.remove("saved_model.pb"))), Code::Malformed, "missing");
        refused(&with(&|f| f.change(INDEX, |b| b.truncate(b.len() - 1))), Code::Malformed, "does not end");
        refused(&with(&|f| f.change(INDEX, |b| b[3] ^= 1)), Code::Malformed, "checksum of the block");
        refused(&with(&|f| f.change(DATA, |b| b[0] ^= 1)), Code::Malformed, "checksum of its bytes");
        refused(&with(&|f| f.change(DATA, |b| b.truncate(7))), Code::Malformed, "which has 7");
        refused(&with(&|f| f.change("saved_model.pb", |b| b.truncate(b.len() / 2))), Code::Malformed, "");
    }
}

#[test]
fn cut_and_mutated_files_do_no_harm() {
    let mut seed = 1u64;
    let mut random = |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % bound.max(1)
    };
    for name in SAMPLES {
        for file in ["saved_model.pb", INDEX] {
            for round in 0..150 {
                let mut files = Files::of(name);
                files.change(file, |bytes| {
                    let at = random(bytes.len());
                    if round % 3 == 0 { bytes.truncate(at) } else { bytes[at] = random(256) as u8 }
                });
                if let Err(findings) = bounded(&format!("{name} {file} round {round}"), || files.read()) {
                    assert!(findings.iter().any(Diag::is_error), "{name}: an error without an error");
                }
            }
        }
    }
}

/// A message as this field of another one.
fn wrapped(field: u32, message: &[u8]) -> Vec<u8> {
    let mut outer = Vec::new();
    prost::encoding::encode_key(field, prost::encoding::WireType::LengthDelimited, &mut outer);
    prost::encoding::encode_varint(message.len() as u64, &mut outer);
    outer.extend(message);
    outer
}

/// What a function takes: a list of a list of a list.
#[test]
fn messages_without_bottom_are_refused() {
    let lists = (0..4000).fold(Vec::new(), |inner, _| wrapped(51, &wrapped(1, &inner)));
    // canonicalized_input_signature, a value of concrete_functions, object_graph_def, meta_graphs.
    let deep = [3, 2, 2, 7, 2].iter().fold(lists, |inner, field| wrapped(*field, &inner));
    for name in SAMPLES {
        let mut files = Files::of(name);
        files.change("saved_model.pb", |bytes| bytes.extend(&deep));
        refused(&files, Code::Malformed, "recursion limit");
    }
}

fn node(name: &str, op: &str, inputs: &[&str]) -> NodeDef {
    let input = inputs.iter().map(|input| input.to_string()).collect();
    NodeDef { name: name.into(), op: op.into(), input, ..NodeDef::default() }
}

fn calls(name: &str, function: &str, input: &str) -> NodeDef {
    let list = NameAttrList { name: function.into(), ..NameAttrList::default() };
    let attr = BTreeMap::from([("f".to_owned(), AttrValue { value: Some(Attr::Func(list)) })]);
    NodeDef { attr, ..node(name, "PartitionedCall", &[input]) }
}

/// A function of x that hands it to `inner`.
fn function(name: &str, inner: &str) -> FunctionDef {
    let argument = |name: &str| ArgDef { name: name.into(), r#type: 1, ..ArgDef::default() };
    let signature = OpDef {
        name: name.into(),
        input_arg: vec![argument("x")],
        output_arg: vec![argument("y")],
        ..OpDef::default()
    };
    FunctionDef {
        signature: Some(signature),
        node_def: vec![calls("inner", inner, "x")],
        ret: BTreeMap::from([("y".to_owned(), "inner:output:0".to_owned())]),
        ..FunctionDef::default()
    }
}

fn lowered(graph: GraphDef, output: &str) -> Result<Lowered, Findings> {
    let bytes = graph.encode_to_vec();
    let layer = Layer {
        name: "s".into(),
        path: "s".into(),
        class: graph::CLASS.into(),
        config: format!("{{\"inputs\": [\"x:0\"], \"outputs\": [\"{output}:0\"]}}"),
        weights: vec![Weight { role: GRAPH.into(), tensor: Some(Default::default()), ..Weight::default() }],
        ..Layer::default()
    };
    let ty = recast_plugin_api::ir::Type::known(recast_plugin_api::ir::DType::F32, &[2, 3]);
    let request: LowerRequest = example(layer.clone(), &[ty]);
    bounded(output, || graph::lower(None, &request, &layer, &bytes))
}

#[track_caller]
fn not_lowered(graph: GraphDef, output: &str, code: Code, words: &str) {
    let findings = lowered(graph, output).expect_err(words);
    assert!(findings.iter().any(|diag| diag.code == code && diag.detail.contains(words)), "{words}: {findings:?}");
}

fn with_functions(functions: Vec<FunctionDef>, nodes: Vec<NodeDef>) -> GraphDef {
    let library = Some(FunctionDefLibrary { function: functions });
    GraphDef { node: [vec![node("x", "Placeholder", &[])], nodes].concat(), library, versions: None }
}

#[test]
fn functions_that_call_each_other_end() {
    let circle = vec![function("a", "b"), function("b", "a")];
    not_lowered(with_functions(circle, vec![calls("y", "a", "x")]), "y", Code::LimitExceeded, "calls itself");
    let deep = (0..200).map(|n| function(&format!("f{n}"), &format!("f{}", n + 1))).collect();
    not_lowered(with_functions(deep, vec![calls("y", "f0", "x")]), "y", Code::LimitExceeded, "deep");
    not_lowered(with_functions(Vec::new(), vec![calls("y", "f", "x")]), "y", Code::Malformed, "does not hold");
}

#[test]
fn nodes_that_wait_for_each_other_are_told() {
    let circle = vec![node("a", "AddV2", &["x", "b"]), node("b", "Identity", &["a"])];
    not_lowered(with_functions(Vec::new(), circle), "b", Code::Malformed, "wait for each other");
}

/// Each function calls the next one twice: forty of them would be a million million nodes.
#[test]
fn calls_that_multiply_end() {
    let twice = |n: usize| {
        let mut function = function(&format!("f{n}"), &format!("f{}", n + 1));
        function.node_def.push(calls("again", &format!("f{}", n + 1), "inner:output:0"));
        function.ret = BTreeMap::from([("y".to_owned(), "again:output:0".to_owned())]);
        function
    };
    let mut last = function("f40", "");
    last.node_def = vec![node("inner", "Identity", &["x"])];
    let functions = (0..40).map(twice).chain([last]).collect();
    not_lowered(with_functions(functions, vec![calls("y", "f0", "x")]), "y", Code::LimitExceeded, "nodes");
}

#[test]
fn a_million_nodes_are_too_many_and_a_long_chain_is_not() {
    let chain = |count: usize| {
        let name = |n: usize| if n == 0 { "x".to_owned() } else { format!("n{n}") };
        (1..=count).map(|n| node(&name(n), "Identity", &[&name(n - 1)])).collect::<Vec<_>>()
    };
    not_lowered(with_functions(Vec::new(), chain(1_000_000)), "n1000000", Code::LimitExceeded, "nodes in one graph");
    lowered(with_functions(Vec::new(), chain(100_000)), "n100000").unwrap();
}

#[test]
fn every_unknown_op_is_named_at_once() {
    let strange = vec![
        node("a", "Frobnicate", &["x"]),
        node("b", "Frobnicate", &["a"]),
        node("c", "Defenestrate", &["x"]),
        node("d", "AddV2", &["b", "c"]),
    ];
    let findings = lowered(with_functions(Vec::new(), strange), "d").unwrap_err();
    let said: Vec<&str> = findings.iter().map(|diag| diag.detail.as_str()).collect();
    assert!(said.iter().any(|text| text.contains("'Frobnicate' is not known; 2 of it")), "{said:?}");
    assert!(said.iter().any(|text| text.contains("'Defenestrate'")), "{said:?}");
    assert!(findings.iter().all(|diag| diag.code == Code::UnsupportedOp));
}

fn with(node: NodeDef, name: &str, value: Attr) -> NodeDef {
    let mut node = node;
    node.attr.insert(name.into(), AttrValue { value: Some(value) });
    node
}

fn enter(name: &str, frame: &str, input: &str) -> NodeDef {
    with(node(name, "Enter", &[input]), "frame_name", Attr::S(frame.as_bytes().to_vec()))
}

fn number(name: &str, n: i32) -> NodeDef {
    let tensor =
        TensorProto { dtype: 3, int_val: vec![n], tensor_shape: Some(Default::default()), ..Default::default() };
    with(node(name, "Const", &[]), "value", Attr::Tensor(tensor))
}

/// The nodes of a loop that runs three times: `i` counts, `y` begins as `from` and is what `step` computes of
/// `NAME/y:1`. It ends as `NAME`.
fn frame_loop(name: &str, from: &str, step: &str) -> Vec<NodeDef> {
    let own = |part: &str| format!("{name}/{part}");
    let of = |part: &str, op: &str, inputs: &[&str]| {
        let inputs: Vec<String> = inputs.iter().map(|input| input.replace("~", name)).collect();
        node(&own(part), op, &inputs.iter().map(String::as_str).collect::<Vec<_>>())
    };
    vec![
        number(&own("zero"), 0),
        number(&own("one"), 1),
        number(&own("three"), 3),
        enter(&own("enter_i"), name, &own("zero")),
        enter(&own("enter_y"), name, from),
        of("merge_i", "Merge", &["~/enter_i", "~/next_i"]),
        of("merge_y", "Merge", &["~/enter_y", "~/next_y"]),
        of("less", "Less", &["~/merge_i", "~/three"]),
        of("cond", "LoopCond", &["~/less"]),
        of("i", "Switch", &["~/merge_i", "~/cond"]),
        of("y", "Switch", &["~/merge_y", "~/cond"]),
        of("more", "AddV2", &["~/i:1", "~/one"]),
        of("next_i", "NextIteration", &["~/more"]),
        of("next_y", "NextIteration", &[step]),
        node(name, "Exit", &[&own("y")]),
    ]
}

fn nested_loops(depth: usize) -> Vec<NodeDef> {
    let name = |n: usize| format!("l{n}");
    let one = |n: usize| {
        let from = if n == 0 { "x".to_owned() } else { format!("{}/y:1", name(n - 1)) };
        let step = if n + 1 == depth { "~/y:1".to_owned() } else { name(n + 1) };
        frame_loop(&name(n), &from, &step)
    };
    (0..depth).flat_map(one).collect()
}

fn graph(nodes: Vec<NodeDef>) -> GraphDef {
    with_functions(Vec::new(), nodes)
}

/// A sample of what runs, so that the refusals below are of what they name.
#[test]
fn frames_are_loops() {
    let mut nodes = frame_loop("l", "x", "l/twice");
    nodes.push(node("l/twice", "AddV2", &["l/y:1", "l/y:1"]));
    lowered(graph(nodes.clone()), "l").unwrap();
    let chain = |count: usize| {
        let name = |n: usize| if n == 0 { "x".to_owned() } else { format!("l{n}") };
        (1..=count).flat_map(|n| frame_loop(&name(n), &name(n - 1), "~/y:1")).collect::<Vec<_>>()
    };
    lowered(graph(chain(3000)), "l3000").unwrap();
    lowered(graph(nested_loops(20)), "l0").unwrap();
}

#[test]
fn frames_that_are_no_loops_are_told() {
    let change = |name: &str, change: &dyn Fn(&mut NodeDef)| {
        let mut nodes = frame_loop("l", "x", "l/y:1");
        nodes.iter_mut().filter(|node| node.name == name).for_each(change);
        graph(nodes)
    };
    let with_input = |name: &str, at: usize, input: &str| change(name, &|node| node.input[at] = input.into());
    not_lowered(change("", &|_| {}), "l/next_y", Code::Malformed, "never leaves its loop");
    not_lowered(change("", &|_| {}), "l/more", Code::Malformed, "never leaves its loop");
    not_lowered(with_input("l", 0, "x"), "l", Code::Malformed, "out of no loop");
    not_lowered(with_input("l/merge_y", 0, "x"), "l", Code::Malformed, "no loop");
    not_lowered(with_input("l/next_y", 0, "l/nowhere"), "l", Code::Malformed, "does not hold");
    not_lowered(with_input("l/less", 1, "x"), "l", Code::UnsupportedLayer, "ends by what it computes");
    not_lowered(with_input("l/more", 1, "l/three"), "l", Code::UnsupportedLayer, "ends by what it computes");
    not_lowered(change("l/merge_y", &|node| node.op = "Identity".into()), "l", Code::Malformed, "no loop");
    not_lowered(change("l/next_y", &|node| node.op = "Identity".into()), "l", Code::Malformed, "no loop");
    let mut two = frame_loop("l", "x", "l/y:1");
    two.push(node("l/other", "LoopCond", &["l/less"]));
    two.iter_mut().filter(|node| node.name == "l/y").for_each(|node| node.input[1] = "l/other".into());
    not_lowered(graph(two), "l", Code::Malformed, "no loop");
}

#[test]
fn loops_and_branches_without_bottom_end() {
    not_lowered(graph(nested_loops(100)), "l0", Code::LimitExceeded, "nested over");
    // Each loop asks for the one before it from the inside.
    let name = |n: usize| format!("l{n}");
    let begin = frame_loop("l0", "x", "~/y:1");
    let ask = |n: usize| {
        let mut nodes = frame_loop(&name(n), "x", "~/both");
        nodes.push(node(&format!("l{n}/both"), "AddV2", &[&format!("l{n}/y:1"), &name(n - 1)]));
        nodes
    };
    let asking = begin.into_iter().chain((1..100).flat_map(ask)).collect();
    not_lowered(graph(asking), "l99", Code::LimitExceeded, "nested over");
    let branch = |n: usize| node(&format!("s{}", n + 1), "Switch", &[&format!("s{n}"), &format!("p{n}")]);
    let asked = |n: usize| node(&format!("p{n}"), "Frobnicate", &["x"]);
    let first = node("s0", "Identity", &["x"]);
    let deep: Vec<NodeDef> = (0..100).flat_map(|n| [asked(n), branch(n)]).collect();
    let merged = [vec![first], deep, vec![node("y", "Merge", &["s100", "s0"])]].concat();
    not_lowered(graph(merged), "y", Code::LimitExceeded, "branches nested over");
}

#[test]
fn a_choice_without_a_condition_is_told() {
    let merged = vec![node("a", "Identity", &["x"]), node("y", "Merge", &["a", "x"])];
    not_lowered(graph(merged), "y", Code::UnsupportedLayer, "no one condition");
}
