//! Lookup tables as TensorFlow's own are saved: a resource that a function makes, and a function that fills it with two
//! constants when the model is loaded. Each is an object of the model, so that Python's loader makes it anew; C++'s
//! runs the initialisers through `__saved_model_init_op`.

use super::emit::{Table, arg_def, attrs};
use super::shapes;
use crate::proto::{
    Attr, FunctionDef, ObjectKind, ObjectReference, OpDef, SavedConcreteFunction, SavedConstant, SavedFunction,
    SavedResource, TensorProto, dtype,
};
use crate::structured::{FunctionSpec, Structured, StructuredValue, TensorSpecProto};
use std::collections::BTreeMap;

/// Objects of one table: itself, three functions, two constants.
pub const OBJECTS: i32 = 6;
const FUNCTIONS: [(&str, &str); 3] =
    [("_create_resource", "creator"), ("_initialize", "initializer"), ("_destroy_resource", "destroyer")];

/// The name of one of a table's functions.
fn function_name(what: &str, number: usize) -> String {
    format!("__inference__{what}_{number}")
}

pub fn initializer(number: usize) -> String {
    function_name(FUNCTIONS[1].1, number)
}

/// Nodes of the outer graph that hold what fills a table.
pub struct Constants {
    pub keys: String,
    pub values: String,
}

/// Texts as a constant.
pub fn texts(items: &[String], dims: &[u64]) -> TensorProto {
    TensorProto {
        dtype: dtype::STRING,
        tensor_shape: Some(shapes::known(dims)),
        string_val: items.iter().map(|text| text.clone().into_bytes()).collect(),
        ..TensorProto::default()
    }
}

/// Attributes of the op that makes the table.
pub fn attributes(table: &Table) -> [(&'static str, Attr); 3] {
    [
        ("key_dtype", Attr::Type(table.keys.dtype)),
        ("value_dtype", Attr::Type(table.values.dtype)),
        ("shared_name", Attr::S(format!("recast_{}", table.name).into_bytes())),
    ]
}

/// The functions that make, fill and drop a table.
pub fn functions(table: &Table, number: usize) -> Vec<FunctionDef> {
    let creator = Body::default().node("hash_table", "HashTableV2", &[], attributes(table));
    let creator = creator.returned("hash_table:table_handle:0", dtype::RESOURCE, "hash_table");
    let filled = Body {
        args: vec![
            arg_def("table_handle", dtype::RESOURCE),
            arg_def("keys", table.keys.dtype),
            arg_def("values", table.values.dtype),
        ],
        ..Body::default()
    };
    let types = [("Tin", Attr::Type(table.keys.dtype)), ("Tout", Attr::Type(table.values.dtype))];
    let filled = filled.node("import", "LookupTableImportV2", &["table_handle", "keys", "values"], types);
    let bodies = [creator, filled.done("import"), Body::default().done("")];
    let named = |(body, (_, what)): (Body, (&str, &str))| body.finish(function_name(what, number));
    bodies.into_iter().zip(FUNCTIONS).map(named).collect()
}

#[derive(Default)]
struct Body {
    function: FunctionDef,
    args: Vec<crate::proto::ArgDef>,
    /// Dtype of the one result.
    result: i32,
    is_stateful: bool,
}

impl Body {
    fn node(
        mut self,
        name: &str,
        op: &str,
        input: &[&str],
        list: impl IntoIterator<Item = (&'static str, Attr)>,
    ) -> Body {
        let input = input.iter().map(|input| input.to_string()).collect();
        let node =
            crate::proto::NodeDef { name: name.into(), op: op.into(), input, device: String::new(), attr: attrs(list) };
        self.function.node_def.push(node);
        self
    }

    /// Gives this tensor, after the node `after`.
    fn returned(mut self, tensor: &str, number: i32, after: &str) -> Body {
        let after = format!("^{after}");
        let mut input = vec![tensor];
        if after.len() > 1 {
            input.push(&after);
            self.is_stateful = true;
        }
        self.result = number;
        self.function.ret = BTreeMap::from([("identity".into(), "identity_of:output:0".into())]);
        self.node("identity_of", "Identity", &input, [("T", Attr::Type(number))])
    }

    /// Gives a one: functions of resources give something.
    fn done(self, after: &str) -> Body {
        let number = dtype::to_tf(recast_plugin_api::ir::DType::I32);
        let one = TensorProto {
            dtype: number,
            tensor_shape: Some(shapes::known(&[])),
            int_val: vec![1],
            ..TensorProto::default()
        };
        let list = [("dtype", Attr::Type(number)), ("value", Attr::Tensor(one))];
        self.node("one", "Const", &[], list).returned("one:output:0", number, after)
    }

    fn finish(self, name: String) -> FunctionDef {
        let signature = OpDef {
            name,
            input_arg: self.args,
            output_arg: vec![arg_def("identity", self.result)],
            is_stateful: self.is_stateful,
            control_output: Vec::new(),
        };
        FunctionDef { signature: Some(signature), ..self.function }
    }
}

/// What hangs below each object of a table whose first object is `first`.
pub fn children(first: i32) -> Vec<Vec<ObjectReference>> {
    let reference = |(i, (name, _)): (usize, (&str, &str))| ObjectReference {
        node_id: first + 1 + i as i32,
        local_name: name.into(),
    };
    let mut all = vec![FUNCTIONS.into_iter().enumerate().map(reference).collect()];
    all.resize(OBJECTS as usize, Vec::new());
    all
}

/// The objects of a table, in the order of `children`.
pub fn kinds(number: usize, constants: &Constants) -> Vec<Option<ObjectKind>> {
    let function = |(_, what): (&str, &str)| {
        Some(ObjectKind::Function(SavedFunction {
            concrete_functions: vec![function_name(what, number)],
            function_spec: Some(FunctionSpec::new(&[], &[], StructuredValue::none())),
        }))
    };
    let constant = |node: &String| Some(ObjectKind::Constant(SavedConstant { operation: node.clone() }));
    let resource = Some(ObjectKind::Resource(SavedResource { device: String::new() }));
    let functions = FUNCTIONS.into_iter().map(function);
    std::iter::once(resource).chain(functions).chain([constant(&constants.keys), constant(&constants.values)]).collect()
}

/// What a loader must know of each of a table's functions.
pub fn concrete(number: usize, first: i32) -> Vec<(String, SavedConcreteFunction)> {
    let nothing = || StructuredValue::tuple(vec![StructuredValue::tuple(Vec::new()), StructuredValue::dict([])]);
    let function = |(i, (_, what)): (usize, (&str, &str))| {
        let bound_inputs = if i == 1 { vec![first, first + 4, first + 5] } else { Vec::new() };
        let number_of = if i == 0 { dtype::RESOURCE } else { dtype::to_tf(recast_plugin_api::ir::DType::I32) };
        let spec = TensorSpecProto { name: String::new(), shape: Some(shapes::known(&[])), dtype: number_of };
        let described = SavedConcreteFunction {
            bound_inputs,
            canonicalized_input_signature: Some(nothing()),
            output_signature: Some(Structured::TensorSpec(spec).value()),
        };
        (function_name(what, number), described)
    };
    FUNCTIONS.into_iter().enumerate().map(function).collect()
}
