//! Which variable is stored under which key: what TensorFlow's own restore op does, read instead of run. It is the same
//! in every version: `RestoreV2` gives tensors for a list of keys, and each is assigned to a variable.

use crate::graph::def::{Body, Library, Node};
use crate::proto::{SaverDef, TensorProto};
use prost::Message;
use recast_plugin_api::diag::{Code, Diag};
use std::collections::{HashMap, HashSet};

/// Ops between a restored tensor and its assignment.
const STEPS_MAX: usize = 64;

/// A graph or a function's body, and what its arguments are in the graph.
pub struct Scope<'s, 'a> {
    body: &'s Body<'a>,
    arguments: HashMap<&'a str, &'a str>,
}

impl<'s, 'a> Scope<'s, 'a> {
    pub fn top(body: &'s Body<'a>) -> Scope<'s, 'a> {
        Scope { body, arguments: HashMap::new() }
    }

    /// A function where it is called.
    pub fn call(function: &'s Body<'a>, call: &Node<'a>) -> Scope<'s, 'a> {
        let arguments = function.arguments.iter().copied().zip(call.data().map(plain)).collect();
        Scope { body: function, arguments }
    }

    pub fn body(&self) -> &'s Body<'a> {
        self.body
    }

    /// The node of the graph that an argument is.
    pub fn argument(&self, name: &str) -> Option<&'a str> {
        self.arguments.get(name).copied()
    }
}

/// Names of variables' nodes to keys.
pub fn keys<'a>(body: &Body<'a>, library: &Library<'a>, saver: &SaverDef) -> Result<HashMap<String, String>, Diag> {
    let mut keys = HashMap::new();
    let top = Scope::top(body);
    let mut seen = HashSet::new();
    let mut ahead = vec![plain(&saver.restore_op_name).to_owned()];
    while let Some(name) = ahead.pop() {
        let Some(at) = body.find(&name).filter(|at| seen.insert(*at)) else { continue };
        let node = &body.nodes[at];
        ahead.extend(node.inputs.iter().map(|input| plain(input).to_owned()));
        if matches!(node.op, "StatefulPartitionedCall" | "PartitionedCall") {
            let function = library.function(&node.function("f")?)?;
            let scope = Scope::call(&function, node);
            for node in &function.nodes {
                assigned(&scope, node, &mut keys)?;
            }
        } else {
            assigned(&top, node, &mut keys)?;
        }
    }
    Ok(keys)
}

/// A node without the number of its output, and without the mark of control.
pub fn plain(input: &str) -> &str {
    let input = input.strip_prefix('^').unwrap_or(input);
    input.split(':').next().unwrap_or(input)
}

fn assigned(scope: &Scope<'_, '_>, node: &Node<'_>, keys: &mut HashMap<String, String>) -> Result<(), Diag> {
    if !matches!(node.op, "AssignVariableOp" | "Assign") {
        return Ok(());
    }
    let mut inputs = node.data();
    let (Some(variable), Some(value)) = (inputs.next(), inputs.next()) else { return Ok(()) };
    let variable = scope.argument(plain(variable)).unwrap_or(plain(variable));
    if let Some(key) = key_of(scope, value)? {
        keys.insert(variable.to_owned(), key);
    }
    Ok(())
}

/// The key that a value was restored from; none for values that come from elsewhere.
fn key_of(scope: &Scope<'_, '_>, value: &str) -> Result<Option<String>, Diag> {
    let mut value = value;
    for _ in 0..STEPS_MAX {
        let Some(node) = scope.body.find(plain(value)).map(|at| &scope.body.nodes[at]) else { return Ok(None) };
        if node.op == "RestoreV2" {
            // `RestoreV2:3`, in a function `RestoreV2:tensors:3`.
            let number = value.rsplit_once(':').and_then(|(_, number)| number.parse::<usize>().ok()).unwrap_or(0);
            let names = node.data().nth(1).map(|names| strings(scope, names)).transpose()?.unwrap_or_default();
            return Ok(names.get(number).cloned());
        }
        match node.data().next() {
            Some(input) => value = input,
            None => return Ok(None),
        }
    }
    Ok(None)
}

fn strings(scope: &Scope<'_, '_>, name: &str) -> Result<Vec<String>, Diag> {
    let Some(node) = scope.body.find(plain(name)).map(|at| &scope.body.nodes[at]) else { return Ok(Vec::new()) };
    if node.op != "Const" {
        return Ok(Vec::new());
    }
    let tensor = TensorProto::decode(node.tensor("value")?)
        .map_err(|e| Diag::new(Code::Malformed, node.name, format!("a list of keys: {e}")))?;
    Ok(tensor.string_val.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect())
}
