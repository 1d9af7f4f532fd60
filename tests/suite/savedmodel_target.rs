//! The SavedModel target, op by op: the same cases as the ONNX target's. What is written is decoded again and looked
//! at: every reference resolves, every op and attribute is one that TensorFlow has, the checkpoint reads back bit by
//! bit, and a second time gives the same bytes. `RECAST_TEST_SAVEDMODEL_DUMP` names a folder for the written models
//! with inputs and outputs of the reference evaluator: `tests/conformance/savedmodel.py ops` runs them in TensorFlow.

use crate::onnx_kit::{Case, Inline, all, batched, dims, inputs};
use prost::Message;
use recast::passes;
use recast_onnx::write::Weights as _;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::*;
use recast_reference::{Array, Files, evaluate};
use recast_savedmodel::proto::{Attr, BundleEntryProto, FunctionDef, NodeDef, SavedModel, TrackableObjectGraph};
use recast_savedmodel::target::{bundle, meta, objects, spec};
use recast_savedmodel::{crc32c, table};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// A written directory, in memory.
#[derive(PartialEq)]
pub struct Written {
    model: Vec<u8>,
    data: Vec<u8>,
    index: Vec<u8>,
}

struct Source<'a>(Inline<'a>);

impl bundle::Weights for Source<'_> {
    fn read(&self, name: &str, take: &mut dyn FnMut(&[u8]) -> Result<(), Diag>) -> Result<(), Diag> {
        self.0.read(name, take)
    }
}

pub fn written(graph: &Graph) -> Result<Written, String> {
    let said = |findings: recast_plugin_api::diag::Findings| findings[0].to_string();
    let graph = passes::fit(graph.clone(), &recast_savedmodel::target::caps()).map_err(said)?;
    let (model, variables, tables) = meta::plan(&graph).map_err(said)?;
    let mut data = Vec::new();
    let source = Source(Inline::new(&graph));
    let index = bundle::write(&variables, &objects::trackable(&variables, tables), &source, &mut data, &|_, _| Ok(()));
    Ok(Written { model: model.encode_to_vec(), data, index: index.map_err(|diag| diag.to_string())? })
}

impl Written {
    pub fn decoded(&self) -> SavedModel {
        SavedModel::decode(self.model.as_slice()).expect("what was encoded decodes")
    }

    fn functions(&self) -> Vec<FunctionDef> {
        let graph = self.decoded().meta_graphs.swap_remove(0).graph_def.unwrap_or_default();
        graph.library.unwrap_or_default().function
    }

    fn save(&self, dir: &Path) {
        let variables = dir.join("variables");
        std::fs::create_dir_all(&variables).expect("the folder is writable");
        let files = [
            (dir.join("saved_model.pb"), &self.model),
            (variables.join("variables.data-00000-of-00001"), &self.data),
            (variables.join("variables.index"), &self.index),
        ];
        files.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).expect("the folder is writable"));
    }
}

/// What is wrong with the nodes of one function: unknown ops, inputs that nothing makes, dtypes that are not said.
fn function_faults(function: &FunctionDef, library: &HashSet<String>) -> Vec<String> {
    let signature = function.signature.clone().unwrap_or_default();
    let mut known: HashSet<String> = signature.input_arg.iter().map(|arg| arg.name.clone()).collect();
    let mut faults = Vec::new();
    for node in &function.node_def {
        let Some((_, outputs)) = spec::find(&node.op) else {
            faults.push(format!("{}: op {}", node.name, node.op));
            continue;
        };
        // What a node waits for.
        known.insert(format!("^{}", node.name));
        outputs
            .iter()
            .for_each(|out| (0..64).for_each(|i| _ = known.insert(format!("{}:{}:{i}", node.name, out.name))));
        for attr in node.attr.values() {
            match attr.value.as_ref() {
                Some(Attr::Func(called)) if !library.contains(&called.name) => {
                    faults.push(format!("{} calls {}", node.name, called.name));
                }
                Some(Attr::Type(0)) | None => faults.push(format!("{}: an attribute without value", node.name)),
                _ => {}
            }
        }
    }
    let used = function.node_def.iter().flat_map(|node| &node.input).chain(function.ret.values());
    faults.extend(used.filter(|name| !known.contains(*name)).map(|name| format!("nothing makes {name}")));
    let mut names = HashSet::new();
    let doubled = function.node_def.iter().filter(|node| !names.insert(node.name.clone()));
    faults.extend(doubled.map(|node| format!("two nodes are called {}", node.name)));
    faults
}

fn structure_faults(written: &Written) -> Vec<String> {
    let functions = written.functions();
    let name = |function: &FunctionDef| function.signature.clone().unwrap_or_default().name;
    let library: HashSet<String> = functions.iter().map(name).collect();
    let mut faults: Vec<String> = functions.iter().flat_map(|function| function_faults(function, &library)).collect();
    let entries = table::read::entries(&written.index).expect("the index is a table");
    let entries: HashMap<String, BundleEntryProto> = entries
        .into_iter()
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (String::from_utf8(key).expect("text"), BundleEntryProto::decode(value).expect("an entry")))
        .collect();
    for (key, entry) in &entries {
        let bytes = &written.data[entry.offset as usize..(entry.offset + entry.size) as usize];
        let is_text = key == bundle::OBJECT_GRAPH_KEY;
        if !is_text && crc32c::masked(bytes) != entry.crc32c {
            faults.push(format!("{key}: checksum"));
        }
    }
    let objects = &entries[bundle::OBJECT_GRAPH_KEY];
    let text = &written.data[objects.offset as usize..];
    // Length (a varint of at most ten bytes, the last one below 128), four bytes of checksum, the message.
    let start = text.iter().position(|byte| byte & 0x80 == 0).expect("a varint") + 5;
    let objects = TrackableObjectGraph::decode(&text[start..]).expect("the object graph");
    let saved = objects.nodes.iter().flat_map(|node| &node.attributes);
    faults.extend(saved.filter(|a| !entries.contains_key(&a.checkpoint_key)).map(|a| a.checkpoint_key.clone()));
    faults
}

#[test]
fn every_op_is_written_whole_and_twice_the_same() {
    let dump = std::env::var_os("RECAST_TEST_SAVEDMODEL_DUMP").map(PathBuf::from);
    let only = std::env::var("RECAST_TEST_CASE").unwrap_or_default();
    let mut wrong = Vec::new();
    let mut cases = all();
    cases.retain(|case| case.name.contains(&only));
    for case in &cases {
        let first = match written(&case.graph) {
            Ok(first) => first,
            Err(why) => {
                wrong.push(format!("{}: {why}", case.name));
                continue;
            }
        };
        wrong.extend(structure_faults(&first).into_iter().map(|fault| format!("{}: {fault}", case.name)));
        if written(&case.graph).ok().as_ref() != Some(&first) {
            wrong.push(format!("{}: other bytes the second time", case.name));
        }
        if let Some(dir) = &dump {
            // TensorFlow takes brackets in a path for a pattern.
            let plain: String = case.name.chars().filter(|c| !"[], ".contains(*c)).collect();
            save_case(case, &first, &dir.join(plain));
        }
    }
    assert!(wrong.is_empty(), "{} faults in {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// What TensorFlow Serving, and every other user of the C++ loader, looks for in a SavedModel: the tag, the way to
/// restore the variables, and of each signature its method and its tensors, which the outer graph has.
fn serving_faults(written: &Written, graph: &Graph) -> Vec<String> {
    let model = written.decoded();
    let [meta] = &model.meta_graphs[..] else { return vec![format!("{} graphs", model.meta_graphs.len())] };
    let mut faults = Vec::new();
    let mut demand = |holds: bool, what: &str| {
        if !holds {
            faults.push(what.to_owned());
        }
    };
    demand(meta.meta_info_def.clone().unwrap_or_default().tags == ["serve"], "the tag");
    let nodes = meta.graph_def.clone().unwrap_or_default().node;
    let has = |name: &str| nodes.iter().any(|node| node.name == name);
    let tensor = |name: &str| name.split_once(':').is_some_and(|(op, index)| has(op) && index.parse::<u32>().is_ok());
    let saver = meta.saver_def.clone().unwrap_or_default();
    demand(saver.version == 2, "a checkpoint of version 2");
    demand(tensor(&saver.filename_tensor_name) && has(&saver.restore_op_name), "a way to restore");
    let restored = nodes.iter().filter(|node| node.op == "AssignVariableOp").count();
    demand(restored == nodes.iter().filter(|node| node.op == "VarHandleOp").count(), "all variables restored");
    let has_tables = nodes.iter().any(|node| node.op == "HashTableV2");
    let mut signatures = meta.signature_def.clone();
    let init = signatures.remove("__saved_model_init_op").and_then(|init| init.outputs.into_values().next());
    demand(init.map(|info| has(&info.name)) == has_tables.then_some(true), "what fills the tables");
    demand(signatures.keys().eq(["serve", "serving_default"]), "the signatures");
    for (name, signature) in &signatures {
        demand(signature.method_name == "tensorflow/serving/predict", &format!("{name}: the method"));
        let inputs = graph.inputs.iter().map(|input| (&input.name, signature.inputs.get(&input.name), input.value));
        let outputs = graph.outputs.iter().map(|out| (&out.name, signature.outputs.get(&out.name), out.value));
        demand(signature.inputs.len() == graph.inputs.len(), &format!("{name}: all inputs"));
        demand(signature.outputs.len() == graph.outputs.len(), &format!("{name}: all outputs"));
        for (key, info, value) in inputs.chain(outputs) {
            let info = info.cloned().unwrap_or_default();
            let shape = info.tensor_shape.unwrap_or_default();
            let sizes: Vec<i64> = shape.dim.iter().map(|dim| dim.size).collect();
            let wanted = graph.shape(value).iter().map(|dim| dim.known().map_or(-1, |size| size as i64));
            demand(tensor(&info.name) && info.dtype != 0, &format!("{name}: '{key}' as a tensor with a dtype"));
            demand(
                !shape.unknown_rank && sizes == wanted.collect::<Vec<_>>(),
                &format!("{name}: the sizes of '{key}'"),
            );
        }
    }
    faults
}

#[test]
fn tensorflow_serving_finds_all_that_it_asks_for() {
    let mut wrong = Vec::new();
    let cases = all();
    for case in &cases {
        let written = written(&case.graph).unwrap_or_else(|why| panic!("{}: {why}", case.name));
        let faults = serving_faults(&written, &case.graph);
        wrong.extend(faults.into_iter().map(|fault| format!("{}: not there: {fault}", case.name)));
    }
    assert!(wrong.is_empty(), "{} faults in {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Sizes of `batch` and `time` that a dumped case runs with.
const BINDINGS: [(u64, u64); 2] = [(2, 5), (3, 8)];

fn save_case(case: &Case, written: &Written, dir: &Path) {
    written.save(&dir.join("model"));
    let mut runs = Vec::new();
    for binding in BINDINGS {
        let given = inputs(&case.graph, binding);
        let made = evaluate(&case.graph, &given, &Files::none(), &Default::default());
        let made = made.unwrap_or_else(|diag| panic!("{}: {diag}", case.name));
        let arrays = |list: &[Array]| -> Vec<serde_json::Value> {
            let one = |array: &Array| {
                // JSON has no infinity: numbers go as text.
                let numbers: Vec<String> = array.numbers().iter().map(|v| format!("{v:e}")).collect();
                serde_json::json!({"dtype": array.dtype.keras_name(), "shape": array.shape, "data": numbers})
            };
            list.iter().map(one).collect()
        };
        let names: Vec<&str> = case.graph.inputs.iter().map(|input| input.name.as_str()).collect();
        runs.push(serde_json::json!({"inputs": names, "x": arrays(&given), "y": arrays(&made)}));
    }
    let text = serde_json::json!({"tolerance": case.tolerance, "runs": runs}).to_string();
    std::fs::write(dir.join("case.json"), text).expect("the folder is writable");
}

/// One line a node: `name = Op(inputs) {attributes}`.
fn printed(functions: &[FunctionDef]) -> String {
    let mut text = String::new();
    for function in functions {
        let signature = function.signature.clone().unwrap_or_default();
        let args: Vec<String> = signature.input_arg.iter().map(|arg| format!("{}: {}", arg.name, arg.r#type)).collect();
        text.push_str(&format!("{}({})\n", signature.name, args.join(", ")));
        function.node_def.iter().for_each(|node| text.push_str(&format!("  {}\n", node_line(node))));
        let results: Vec<String> = function.ret.iter().map(|(name, from)| format!("{name} = {from}")).collect();
        text.push_str(&format!("  -> {}\n\n", results.join(", ")));
    }
    text
}

fn node_line(node: &NodeDef) -> String {
    let attrs: BTreeMap<&String, String> =
        node.attr.iter().map(|(name, attr)| (name, attr_text(attr.value.as_ref()))).collect();
    let attrs: Vec<String> = attrs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{} = {}({}) {{{}}}", node.name, node.op, node.input.join(", "), attrs.join(", "))
}

fn attr_text(attr: Option<&Attr>) -> String {
    match attr {
        Some(Attr::S(text)) => String::from_utf8_lossy(text).into_owned(),
        Some(Attr::I(number)) => number.to_string(),
        Some(Attr::F(number)) => number.to_string(),
        Some(Attr::B(flag)) => flag.to_string(),
        Some(Attr::Type(number)) => format!("dtype {number}"),
        Some(Attr::Func(called)) => called.name.clone(),
        Some(Attr::List(list)) => format!("{:?}{:?}", list.i, list.r#type),
        Some(Attr::Tensor(tensor)) => format!("{} bytes", tensor.tensor_content.len()),
        Some(Attr::Shape(_)) | Some(Attr::Placeholder(_)) | None => "-".into(),
    }
}

#[test]
fn small_models_are_written_as_the_goldens_say() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/golden/savedmodel");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for name in
        ["masked_lstm_forward_true_false_false", "conv2d_2_1_2_false_false", "conv_transpose1d_1", "scan_true_false_4"]
    {
        let Some(case) = all().into_iter().find(|case| case.name == name) else { panic!("no case {name}") };
        let text = printed(&written(&case.graph).unwrap_or_else(|why| panic!("{why}")).functions());
        let path = golden.join(format!("{name}.txt"));
        if update {
            std::fs::create_dir_all(&golden).expect("the folder is writable");
            std::fs::write(&path, &text).expect("the folder is writable");
        }
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, wanted, "{name}: UPDATE_GOLDEN=1 writes it anew");
    }
}

#[test]
fn what_tensorflow_lacks_is_refused_with_its_reason() {
    let mut graph = Graph::new("refused");
    let x = graph.input("x", Type::new(DType::F32, batched(&[4, 4, 4, 4, 2])));
    let kernel = graph.param("deep", "kernel", Tensor::from_f32(&[1, 1, 1, 1, 2, 2], &[0.0; 4]));
    let conv = Conv {
        strides: vec![1; 4],
        dilations: vec![1; 4],
        padding: vec![Padding::Explicit(0, 0); 4],
        groups: 1,
        layout: Layout::ChannelsLast,
        kernel: KernelOrder::Hwio,
    };
    let y = graph.add("deep", conv, &[x, kernel]).expect("four axes are well typed");
    let doubles = graph.input("d", Type::new(DType::F64, batched(&[4, 4, 4, 2])));
    let pool = Pool {
        function: PoolFunction::Max,
        window: vec![2; 3],
        strides: vec![2; 3],
        padding: vec![Padding::Explicit(0, 0); 3],
        layout: Layout::ChannelsLast,
    };
    let z = graph.add("wide", pool, &[doubles]).expect("doubles are well typed");
    graph.output("y", y);
    graph.output("z", z);
    let findings = meta::plan(&graph).expect_err("TensorFlow has neither");
    let found: Vec<(Code, &str)> = findings.iter().map(|diag| (diag.code, diag.at.as_str())).collect();
    assert_eq!(found, [(Code::UnsupportedOp, "deep"), (Code::UnsupportedOp, "wide")]);
}

#[test]
fn one_name_for_each_argument_however_they_are_called() {
    let mut graph = Graph::new("names");
    let a = graph.input("A b", Type::new(DType::F32, dims(&[2])));
    let b = graph.input("a_b", Type::new(DType::F32, dims(&[2])));
    let sum = graph.add("la yer/ü", Binary { function: BinaryFunction::Add }, &[a, b]).expect("typed");
    graph.output("out/1", sum);
    graph.output("OUT_1", a);
    let written = written(&graph).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(structure_faults(&written), Vec::<String>::new());
    let model = written.decoded();
    let signature = &model.meta_graphs[0].signature_def["serving_default"];
    assert_eq!(signature.inputs.keys().collect::<Vec<_>>(), ["A b", "a_b"]);
    assert_eq!(signature.outputs.keys().collect::<Vec<_>>(), ["OUT_1", "out/1"]);
    if let Some(dir) = std::env::var_os("RECAST_TEST_SAVEDMODEL_DUMP").map(PathBuf::from) {
        save_case(&Case { graph, ..Case::new("names", |_| Vec::new()) }, &written, &dir.join("names"));
    }
}
