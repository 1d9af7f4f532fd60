//! The objects that `tf.saved_model.load` makes: a root with its variables, `serve`, and `signatures`.

use crate::proto::{
    ObjectKind, ObjectReference, SavedBareConcreteFunction, SavedConcreteFunction, SavedFunction, SavedObject,
    SavedObjectGraph, SavedUserObject, SavedVariable, SerializedTensor, TrackableObject, TrackableObjectGraph,
    VersionDef, dtype,
};
use crate::structured::{FunctionSpec, Structured, StructuredValue, TensorSpecProto};
use crate::target::bundle;
use crate::target::emit::Variable;
use crate::target::shapes;
use crate::target::tables::{self, Constants};
use recast_plugin_api::ir::{Graph, Type};

/// The name under which TensorFlow Serving and everybody else looks first.
pub const SERVING_DEFAULT: &str = "serving_default";
/// The name that Keras calls its endpoint by.
pub const SERVE: &str = "serve";
pub const SIGNATURES: [&str; 2] = [SERVING_DEFAULT, SERVE];

/// Names of the two functions: the model itself, and the model with named arguments and results.
pub struct Functions<'n> {
    pub model: &'n str,
    pub wrapper: &'n str,
}

/// Roles of weights that training doesn't move by gradients.
const STATISTICS: &[&str] = &["moving_mean", "moving_variance", "mean", "variance", "count", "seed_generator_state"];

fn is_trainable(variable: &Variable) -> bool {
    let role = variable.name.rsplit('/').next().unwrap_or_default();
    variable.dtype.is_float() && !STATISTICS.contains(&role)
}

/// Places of the objects: the root, three lists, `serve`, `signatures` and what they hold, then the variables.
const LISTS: [(&str, i32); 3] = [("variables", 1), ("trainable_variables", 2), ("non_trainable_variables", 3)];
const SERVE_NODE: i32 = 4;
const SIGNATURES_NODE: i32 = 5;
const FIRST_SIGNATURE: i32 = 6;
const FIRST_VARIABLE: i32 = FIRST_SIGNATURE + SIGNATURES.len() as i32;

fn reference(name: impl Into<String>, node: i32) -> ObjectReference {
    ObjectReference { node_id: node, local_name: name.into() }
}

fn user(identifier: &str) -> Option<ObjectKind> {
    Some(ObjectKind::UserObject(SavedUserObject {
        identifier: identifier.into(),
        version: Some(VersionDef { producer: 1, min_consumer: 1, bad_consumers: Vec::new() }),
        metadata: String::new(),
    }))
}

/// Tables stand behind the variables.
fn first_of_table(variables: &[Variable], number: usize) -> i32 {
    FIRST_VARIABLE + variables.len() as i32 + number as i32 * tables::OBJECTS
}

fn children(variables: &[Variable], tables: usize) -> Vec<Vec<ObjectReference>> {
    let mut root: Vec<ObjectReference> = LISTS.iter().map(|&(name, node)| reference(name, node)).collect();
    root.extend([reference(SERVE, SERVE_NODE), reference("signatures", SIGNATURES_NODE)]);
    let first_tables: Vec<i32> = (0..tables).map(|i| first_of_table(variables, i)).collect();
    root.extend(first_tables.iter().enumerate().map(|(i, &first)| reference(format!("_table_{i}"), first)));
    let mut lists = vec![Vec::new(); LISTS.len()];
    for (i, variable) in variables.iter().enumerate() {
        let node = FIRST_VARIABLE + i as i32;
        for which in [0, if is_trainable(variable) { 1 } else { 2 }] {
            let list: &mut Vec<ObjectReference> = &mut lists[which];
            list.push(reference(list.len().to_string(), node));
        }
    }
    let named = |(i, name): (usize, &&str)| reference(*name, FIRST_SIGNATURE + i as i32);
    let signatures = SIGNATURES.iter().enumerate().map(named).collect();
    let mut all = vec![root];
    all.extend(lists);
    all.extend([Vec::new(), signatures]);
    all.resize(FIRST_VARIABLE as usize + variables.len(), Vec::new());
    all.extend(first_tables.into_iter().flat_map(tables::children));
    all
}

fn spec(name: &str, ty: &Type) -> StructuredValue {
    let spec = TensorSpecProto { name: name.into(), shape: Some(shapes::of(&ty.shape)), dtype: dtype::to_tf(ty.dtype) };
    Structured::TensorSpec(spec).value()
}

/// One value as it is, several as a list: how Keras' `serve` takes and gives them.
fn one_or_list(mut specs: Vec<StructuredValue>) -> StructuredValue {
    if specs.len() == 1 { specs.swap_remove(0) } else { StructuredValue::list(specs) }
}

/// What `serve` takes, as its one argument.
fn model_input(graph: &Graph) -> StructuredValue {
    one_or_list(graph.inputs.iter().map(|input| spec(&input.name, graph.ty(input.value))).collect())
}

pub fn saved(
    graph: &Graph,
    variables: &[Variable],
    constants: &[Constants],
    functions: &Functions,
) -> SavedObjectGraph {
    let inputs: Vec<String> = sorted(graph.inputs.iter().map(|input| input.name.clone()));
    let keywords: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let signature = || {
        Some(ObjectKind::BareConcreteFunction(SavedBareConcreteFunction {
            concrete_function_name: functions.wrapper.into(),
            argument_keywords: inputs.clone(),
            // One input alone may go without its name: Keras' TFSMLayer calls it so.
            allowed_positional_arguments: (inputs.len() == 1).into(),
            function_spec: Some(FunctionSpec::new(&[], &keywords, StructuredValue::none())),
        }))
    };
    let serve = ObjectKind::Function(SavedFunction {
        concrete_functions: vec![functions.model.into()],
        function_spec: Some(FunctionSpec::new(&["args_0"], &[], StructuredValue::tuple(vec![model_input(graph)]))),
    });
    let mut kinds = vec![user("_generic_user_object")];
    kinds.extend(LISTS.map(|_| user("trackable_list_wrapper")));
    kinds.extend([Some(serve), user("signature_map")]);
    kinds.extend(SIGNATURES.map(|_| signature()));
    kinds.extend(variables.iter().map(|variable| {
        Some(ObjectKind::Variable(SavedVariable {
            dtype: dtype::to_tf(variable.dtype),
            shape: Some(shapes::known(&variable.dims)),
            trainable: is_trainable(variable),
            synchronization: 0,
            aggregation: 0,
            name: variable.name.clone(),
        }))
    }));
    kinds.extend(constants.iter().enumerate().flat_map(|(i, constants)| tables::kinds(i, constants)));
    let object = |(children, kind)| SavedObject { children, kind, ..SavedObject::default() };
    let nodes = children(variables, constants.len()).into_iter().zip(kinds).map(object).collect();
    let of_tables = (0..constants.len()).flat_map(|i| tables::concrete(i, first_of_table(variables, i)));
    let own = concrete(graph, variables, constants.len(), functions);
    SavedObjectGraph { nodes, concrete_functions: own.into_iter().chain(of_tables).collect() }
}

/// Names in the order in which Python flattens a dict.
pub fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn concrete(
    graph: &Graph,
    variables: &[Variable],
    tables: usize,
    functions: &Functions,
) -> [(String, SavedConcreteFunction); 2] {
    let mut bound_inputs: Vec<i32> = (0..variables.len() as i32).map(|i| FIRST_VARIABLE + i).collect();
    bound_inputs.extend((0..tables).map(|i| first_of_table(variables, i)));
    let outputs =
        || graph.outputs.iter().map(|output| (output.name.clone(), spec(&output.name, graph.ty(output.value))));
    let inputs = graph.inputs.iter().map(|input| (input.name.clone(), spec(&input.name, graph.ty(input.value))));
    let nothing = || StructuredValue::tuple(Vec::new());
    let model = SavedConcreteFunction {
        bound_inputs: bound_inputs.clone(),
        canonicalized_input_signature: Some(StructuredValue::tuple(vec![
            StructuredValue::tuple(vec![model_input(graph)]),
            StructuredValue::dict([]),
        ])),
        output_signature: Some(one_or_list(outputs().map(|(_, spec)| spec).collect())),
    };
    let wrapper = SavedConcreteFunction {
        bound_inputs,
        canonicalized_input_signature: Some(StructuredValue::tuple(vec![nothing(), StructuredValue::dict(inputs)])),
        output_signature: Some(StructuredValue::dict(outputs())),
    };
    [(functions.model.into(), model), (functions.wrapper.into(), wrapper)]
}

/// The same objects as a checkpoint sees them.
pub fn trackable(variables: &[Variable], tables: usize) -> TrackableObjectGraph {
    let object = |(place, children): (usize, Vec<ObjectReference>)| {
        let variable = place.checked_sub(FIRST_VARIABLE as usize).and_then(|i| Some((i, variables.get(i)?)));
        let attribute = |(i, variable): (usize, &Variable)| SerializedTensor {
            name: "VARIABLE_VALUE".into(),
            full_name: variable.name.clone(),
            checkpoint_key: bundle::key(i),
        };
        let attributes = variable.map(attribute).into_iter().collect();
        TrackableObject { children, attributes, slot_variables: Vec::new() }
    };
    TrackableObjectGraph { nodes: children(variables, tables).into_iter().enumerate().map(object).collect() }
}
