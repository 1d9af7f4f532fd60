//! The graph around the model's function: variables, their way back from a checkpoint, a call for each signature.

use crate::proto::{
    Attr, AttrValue, FunctionDef, FunctionDefLibrary, GraphDef, ListValue, MetaGraphDef, MetaInfoDef, NameAttrList,
    NodeDef, OpDef, SavedModel, SaverDef, SignatureDef, TensorInfo, TensorProto, TensorShapeProto, VersionDef, dtype,
};
use crate::target::bundle;
use crate::target::emit::{self, Emitted, Table, Val, Variable, arg_def, attrs, shape_attrs};
use crate::target::names;
use crate::target::objects::{self, Functions, SIGNATURES};
use crate::target::shapes;
use crate::target::tables::{self, Constants};
use recast_plugin_api::ir::{DType, Graph, Type};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The model; the model with its arguments and results by name.
pub const MODEL: &str = "__inference_serve_0";
const WRAPPER: &str = "__inference_signature_wrapper_serve_0";
/// Version of the graph format, and the oldest reader: TensorFlow 2.15 and 1.0.
const PRODUCER: i32 = 1645;
const MIN_CONSUMER: i32 = 12;
const TENSORFLOW: &str = "2.15.0";
/// What TensorFlow Serving answers predictions by.
const METHOD: &str = "tensorflow/serving/predict";

/// Nodes of the outer graph, with free names.
#[derive(Default)]
struct Outer {
    nodes: Vec<NodeDef>,
    used: HashSet<String>,
    next: HashMap<String, u32>,
}

impl Outer {
    fn add(
        &mut self,
        name: &str,
        op: &str,
        input: Vec<String>,
        list: impl IntoIterator<Item = (&'static str, Attr)>,
    ) -> String {
        let name = names::unique(&names::node(name), &mut self.used, &mut self.next);
        let node = NodeDef { name: name.clone(), op: op.into(), input, device: String::new(), attr: attrs(list) };
        self.nodes.push(node);
        name
    }

    fn text(&mut self, name: &str, values: Vec<String>) -> String {
        self.constant(name, tables::texts(&values, &[values.len() as u64]))
    }

    fn constant(&mut self, name: &str, tensor: TensorProto) -> String {
        self.add(name, "Const", Vec::new(), [("dtype", Attr::Type(tensor.dtype)), ("value", Attr::Tensor(tensor))])
    }
}

fn types(list: impl Iterator<Item = i32>) -> Attr {
    Attr::List(ListValue { r#type: list.collect(), ..ListValue::default() })
}

pub fn saved_model(graph: &Graph, emitted: Emitted) -> SavedModel {
    let functions = Functions { model: MODEL, wrapper: WRAPPER };
    let variables = emitted.variables;
    let mut outer = Outer::default();
    let mut handles: Vec<String> = variables.iter().map(|variable| handle(variable, &mut outer)).collect();
    let saver = saver(&variables, &handles, &mut outer);
    let (tables, init_op) = tables_made(&emitted.tables, &mut outer);
    handles.extend(tables.iter().map(|(handle, _)| handle.clone()));
    let constants: Vec<Constants> = tables.into_iter().map(|(_, constants)| constants).collect();
    let signature = |name: &&str| (name.to_string(), signature(name, graph, &handles, &mut outer));
    let mut signature_def: BTreeMap<String, SignatureDef> = SIGNATURES.iter().map(signature).collect();
    signature_def.extend(init_op);
    let mut library = emitted.library;
    library.extend(emitted.tables.iter().enumerate().flat_map(|(i, table)| tables::functions(table, i)));
    library.push(model_function(graph, emitted.function, &variables));
    library.push(wrapper(graph, &variables, &emitted.tables));
    let versions = VersionDef { producer: PRODUCER, min_consumer: MIN_CONSUMER, bad_consumers: Vec::new() };
    let meta_graph = MetaGraphDef {
        meta_info_def: Some(MetaInfoDef {
            tags: vec!["serve".into()],
            tensorflow_version: TENSORFLOW.into(),
            tensorflow_git_version: "unknown".into(),
            stripped_default_attrs: true,
        }),
        graph_def: Some(GraphDef {
            node: outer.nodes,
            library: Some(FunctionDefLibrary { function: library }),
            versions: Some(versions),
        }),
        saver_def: Some(saver),
        signature_def,
        object_graph_def: Some(objects::saved(graph, &variables, &constants, &functions)),
        ..MetaGraphDef::default()
    };
    SavedModel { saved_model_schema_version: 1, meta_graphs: vec![meta_graph] }
}

fn handle(variable: &Variable, outer: &mut Outer) -> String {
    let list = [
        ("dtype", Attr::Type(dtype::to_tf(variable.dtype))),
        ("shape", Attr::Shape(shapes::known(&variable.dims))),
        ("shared_name", Attr::S(variable.name.clone().into_bytes())),
    ];
    outer.add(&variable.name, "VarHandleOp", Vec::new(), list)
}

/// What C++'s loader runs before it serves.
const INIT_OP: &str = "__saved_model_init_op";

/// A signature by its name.
type Named = (String, SignatureDef);

/// Tables as nodes, with the constants that fill each; and the signature of the op that fills them all.
fn tables_made(tables: &[Table], outer: &mut Outer) -> (Vec<(String, Constants)>, Option<Named>) {
    let mut made = Vec::new();
    let mut done = Vec::new();
    for (i, table) in tables.iter().enumerate() {
        let handle = outer.add(&table.name, "HashTableV2", Vec::new(), tables::attributes(table));
        let keys = outer.constant(&format!("{}/keys", table.name), table.keys.clone());
        let values = outer.constant(&format!("{}/values", table.name), table.values.clone());
        let list = [
            ("Tin", types([dtype::RESOURCE, table.keys.dtype, table.values.dtype].into_iter())),
            ("Tout", types(std::iter::once(dtype::to_tf(DType::I32)))),
            ("f", Attr::Func(NameAttrList { name: tables::initializer(i), attr: BTreeMap::new() })),
        ];
        let inputs = vec![handle.clone(), keys.clone(), values.clone()];
        done.push(format!("^{}", outer.add("StatefulPartitionedCall", "StatefulPartitionedCall", inputs, list)));
        made.push((handle, Constants { keys, values }));
    }
    let init_op = (!tables.is_empty()).then(|| {
        let shape = TensorShapeProto { unknown_rank: true, ..TensorShapeProto::default() };
        let name = outer.add("NoOp", "NoOp", done, []);
        let info = TensorInfo { name, dtype: 0, tensor_shape: Some(shape) };
        let outputs = BTreeMap::from([(INIT_OP.to_string(), info)]);
        (INIT_OP.to_string(), SignatureDef { outputs, ..SignatureDef::default() })
    });
    (made, init_op)
}

/// The nodes that load a checkpoint into the variables, and that save them.
fn saver(variables: &[Variable], handles: &[String], outer: &mut Outer) -> SaverDef {
    let text = [("dtype", Attr::Type(dtype::STRING)), ("shape", Attr::Shape(shapes::known(&[])))];
    let filename = outer.add("saver_filename", "Placeholder", Vec::new(), text);
    let mut done = Vec::new();
    let mut save_after = Vec::new();
    if !variables.is_empty() {
        let keys = outer.text("save/tensor_names", (0..variables.len()).map(bundle::key).collect());
        let whole = outer.text("save/shape_and_slices", vec![String::new(); variables.len()]);
        let dtypes = || types(variables.iter().map(|variable| dtype::to_tf(variable.dtype)));
        let inputs = vec![filename.clone(), keys.clone(), whole.clone()];
        let restored = outer.add("save/RestoreV2", "RestoreV2", inputs, [("dtypes", dtypes())]);
        let mut values = vec![filename.clone(), keys, whole];
        for (i, (variable, handle)) in variables.iter().zip(handles).enumerate() {
            let dtype = || [("dtype", Attr::Type(dtype::to_tf(variable.dtype)))];
            let value = if i == 0 { restored.clone() } else { format!("{restored}:{i}") };
            let assign = outer.add("save/AssignVariableOp", "AssignVariableOp", vec![handle.clone(), value], dtype());
            done.push(format!("^{assign}"));
            values.push(outer.add("save/ReadVariableOp", "ReadVariableOp", vec![handle.clone()], dtype()));
        }
        let save = outer.add("save/SaveV2", "SaveV2", values, [("dtypes", dtypes())]);
        save_after.push(format!("^{save}"));
    }
    let restore = outer.add("save/restore_all", "NoOp", done, []);
    let inputs = [vec![filename.clone()], save_after].concat();
    let saved = outer.add("save/control_dependency", "Identity", inputs, [("T", Attr::Type(dtype::STRING))]);
    SaverDef {
        filename_tensor_name: format!("{filename}:0"),
        save_tensor_name: format!("{saved}:0"),
        restore_op_name: restore,
        max_to_keep: 5,
        sharded: false,
        keep_checkpoint_every_n_hours: 10000.0,
        version: 2,
    }
}

fn info(name: String, ty: &Type) -> TensorInfo {
    TensorInfo { name, dtype: dtype::to_tf(ty.dtype), tensor_shape: Some(shapes::of(&ty.shape)) }
}

/// Inputs (or outputs) by name, in the order in which Python flattens a dict: name and position in the graph.
fn in_order<'n>(names: impl Iterator<Item = &'n String>) -> Vec<(&'n String, usize)> {
    let mut order: Vec<(&String, usize)> = names.enumerate().map(|(i, name)| (name, i)).collect();
    order.sort();
    order
}

fn signature(name: &str, graph: &Graph, handles: &[String], outer: &mut Outer) -> SignatureDef {
    let mut inputs = BTreeMap::new();
    let mut args = Vec::new();
    for (key, i) in in_order(graph.inputs.iter().map(|input| &input.name)) {
        let ty = graph.ty(graph.inputs[i].value);
        let list = [("dtype", Attr::Type(dtype::to_tf(ty.dtype))), ("shape", Attr::Shape(shapes::of(&ty.shape)))];
        let fed = outer.add(&format!("{name}_{key}"), "Placeholder", Vec::new(), list);
        inputs.insert(key.clone(), info(format!("{fed}:0"), ty));
        args.push(fed);
    }
    let input_types = in_order(graph.inputs.iter().map(|input| &input.name));
    let input_types = input_types.iter().map(|&(_, i)| dtype::to_tf(graph.ty(graph.inputs[i].value).dtype));
    let input_types = types(input_types.chain(handles.iter().map(|_| dtype::RESOURCE)));
    let order = in_order(graph.outputs.iter().map(|output| &output.name));
    let results = types(order.iter().map(|&(_, i)| dtype::to_tf(graph.ty(graph.outputs[i].value).dtype)));
    let function = Attr::Func(NameAttrList { name: WRAPPER.into(), attr: BTreeMap::new() });
    args.extend_from_slice(handles);
    let list = [("Tin", input_types), ("Tout", results), ("f", function)];
    let call = outer.add("StatefulPartitionedCall", "StatefulPartitionedCall", args, list);
    let result = |(at, &(key, i)): (usize, &(&String, usize))| {
        (key.clone(), info(format!("{call}:{at}"), graph.ty(graph.outputs[i].value)))
    };
    SignatureDef { inputs, outputs: order.iter().enumerate().map(result).collect(), method_name: METHOD.into() }
}

/// The emitted function, its arguments with the shapes that they have.
fn model_function(graph: &Graph, mut function: FunctionDef, variables: &[Variable]) -> FunctionDef {
    let inputs = graph.inputs.iter().map(|input| graph.ty(input.value));
    with_shapes(&mut function, inputs, variables);
    function
}

fn with_shapes<'t>(function: &mut FunctionDef, inputs: impl Iterator<Item = &'t Type>, variables: &[Variable]) {
    let shapes_of_inputs: Vec<_> = inputs.map(|ty| shapes::of(&ty.shape)).collect();
    let count = shapes_of_inputs.len();
    for (i, shape) in shapes_of_inputs.into_iter().enumerate() {
        function.arg_attr.insert(i as u32, shape_attrs(shapes::listed(shape)));
    }
    let Some(signature) = &mut function.signature else { return };
    for (i, variable) in variables.iter().enumerate() {
        function.arg_attr.insert((count + i) as u32, shape_attrs(shapes::listed(shapes::known(&[]))));
        if let Some(arg) = signature.input_arg.get_mut(count + i) {
            arg.handle_data = vec![crate::proto::DtypeAndShape {
                dtype: dtype::to_tf(variable.dtype),
                shape: Some(shapes::known(&variable.dims)),
            }];
        }
    }
}

/// Arguments and results in the order of their names; the model takes and gives them in its own.
fn wrapper(graph: &Graph, variables: &[Variable], tables: &[Table]) -> FunctionDef {
    let (mut used, mut next) = (HashSet::new(), HashMap::new());
    let mut free = |base: &str| names::unique(&names::argument(base), &mut used, &mut next);
    let order = in_order(graph.inputs.iter().map(|input| &input.name));
    let mut args: Vec<Val> = Vec::new();
    let mut place = vec![0; order.len()];
    for (at, &(key, i)) in order.iter().enumerate() {
        place[i] = at;
        args.push(Val { name: free(key), dtype: dtype::to_tf(graph.ty(graph.inputs[i].value).dtype) });
    }
    let held = variables.iter().map(|variable| &variable.name).chain(tables.iter().map(|table| &table.name));
    args.extend(held.map(|name| Val { name: free(name), dtype: dtype::RESOURCE }));
    let count = order.len();
    let passed: Vec<&Val> = place.iter().map(|&at| &args[at]).chain(&args[count..]).collect();
    let call = "StatefulPartitionedCall";
    let own = graph.outputs.iter().map(|output| dtype::to_tf(graph.ty(output.value).dtype));
    let list = [
        ("Tin", types(passed.iter().map(|arg| arg.dtype))),
        ("Tout", types(own)),
        ("f", Attr::Func(NameAttrList { name: MODEL.into(), attr: BTreeMap::new() })),
    ];
    let mut nodes = vec![NodeDef {
        name: free(call),
        op: call.into(),
        input: passed.iter().map(|arg| arg.name.clone()).collect(),
        device: String::new(),
        attr: attrs(list),
    }];
    let made = nodes[0].name.clone();
    let (mut output_arg, mut ret) = (Vec::new(), BTreeMap::new());
    for (key, i) in in_order(graph.outputs.iter().map(|output| &output.name)) {
        let number = dtype::to_tf(graph.ty(graph.outputs[i].value).dtype);
        let (out, name) = (free(key), free("identity"));
        let attr = BTreeMap::from([("T".to_string(), AttrValue { value: Some(Attr::Type(number)) })]);
        let input = vec![format!("{made}:output:{i}")];
        nodes.push(NodeDef { name: name.clone(), op: "Identity".into(), input, device: String::new(), attr });
        ret.insert(out.clone(), format!("{name}:output:0"));
        output_arg.push(arg_def(&out, number));
    }
    let signature = OpDef {
        name: WRAPPER.into(),
        input_arg: args.iter().map(|arg| arg_def(&arg.name, arg.dtype)).collect(),
        output_arg,
        is_stateful: true,
        control_output: Vec::new(),
    };
    let mut function = FunctionDef { signature: Some(signature), node_def: nodes, ret, ..FunctionDef::default() };
    with_shapes(&mut function, order.iter().map(|&(_, i)| graph.ty(graph.inputs[i].value)), variables);
    function
}

/// What a graph is as a SavedModel: the message, its variables in the order in which they are stored, how many tables
/// it has.
pub fn plan(graph: &Graph) -> Result<(SavedModel, Vec<Variable>, usize), recast_plugin_api::diag::Findings> {
    let emitted = emit::graph(graph, MODEL)?;
    let (variables, tables) = (emitted.variables.clone(), emitted.tables.len());
    Ok((saved_model(graph, emitted), variables, tables))
}
