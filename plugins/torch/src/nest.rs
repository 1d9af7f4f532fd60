//! From a graph to modules: each layer that is a model itself becomes a class of its own, whose `forward` holds the
//! nodes of that model; a model that is called again is called again.

use crate::class::{Class, Output, returning};
use crate::emit;
use crate::facts::Facts;
use crate::names::{Names, class_name, identifier};
use crate::py::{Py, StmtKind, call};
use crate::scope::{Emit, Made, POOL, shape_comment};
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::{DType, Graph, Node, ValueId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Everything that was written, the root class last.
pub struct Written {
    pub out: Output,
    pub class: String,
    /// `forward`'s arguments for the graph's inputs.
    pub arguments: Vec<String>,
}

/// A run of nodes of one class.
enum Item {
    Node(usize),
    Model(String, Vec<usize>),
}

/// Calls of nested models so far: by layer path, the attribute that holds the module and the shape of its calls.
type Known = BTreeMap<String, (String, String)>;

pub fn modules(graph: &Graph, facts: &Facts, name: &str, taken: &[&str]) -> Result<Written, Findings> {
    let mut names = Names::with(taken);
    let class = Class::new(names.take(&class_name(name)), "", Vec::new());
    let mut e = Emit::new(graph, facts, class);
    e.out.class_names = names;
    let mut arguments = Names::with(crate::names::TAKEN);
    for input in &graph.inputs {
        let name = arguments.take(&identifier(&input.name));
        e.bind_argument(input.value, &name);
        if !POOL.contains(&name.as_str()) {
            e.class.fixed.take(&name);
        }
    }
    e.class.doc = describe(graph);
    let order: Vec<usize> = (0..graph.nodes().len()).filter(|&at| emit::is_written(&graph.nodes()[at])).collect();
    e.begin(order, graph.outputs.iter().map(|output| output.value));
    let mut findings = Findings::new();
    run(&mut e, "", &mut findings);
    let values: Vec<Result<Py, Diag>> = graph.outputs.iter().map(|output| e.said_whole(output.value)).collect();
    let values: Vec<Py> =
        values.into_iter().filter_map(|value| value.map_err(|diag| findings.push(diag)).ok()).collect();
    if !findings.is_empty() {
        return Err(findings);
    }
    e.class.body.push(returning(values));
    let arguments = e.class.arguments.iter().map(|(name, _)| name.clone()).collect();
    let class = e.class.name.clone();
    let mut out = e.out;
    out.classes.push(e.class);
    Ok(Written { out, class, arguments })
}

fn describe(graph: &Graph) -> Vec<String> {
    let mut doc = vec!["Converted from Keras by recast.".to_string(), String::new()];
    let line = |kind: &str, name: &str, value: ValueId| {
        let ty = graph.ty(value);
        format!("{kind} {}: {}, {}.", clean_text(name), shape_comment(&ty.shape), ty.dtype.keras_name())
    };
    doc.extend(graph.inputs.iter().map(|input| line("Input", &input.name, input.value)));
    doc.extend(graph.outputs.iter().map(|output| line("Output", &output.name, output.value)));
    doc
}

/// Text that can't end a docstring or a line.
fn clean_text(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == '"' || c == '\\' { '_' } else { c }).collect()
}

/// Writes the nodes of the frame into the class in hand, which holds the model at `path`.
fn run(e: &mut Emit<'_>, path: &str, findings: &mut Findings) {
    let items = items(e.graph, e.facts, path, &e.frame.order);
    let mut known = Known::new();
    for item in items {
        match item {
            Item::Node(index) => plain(e, &[index], findings),
            Item::Model(model, nodes) => {
                for call in calls(e, &nodes) {
                    if !nested(e, &model, &call, &mut known, findings) {
                        plain(e, &call, findings);
                    }
                }
            }
        }
    }
}

fn items(graph: &Graph, facts: &Facts, path: &str, order: &[usize]) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for &index in order {
        let node = &graph.nodes()[index];
        match (facts.model_of(path, &node.path), items.last_mut()) {
            (Some(model), Some(Item::Model(last, nodes))) if last == model => nodes.push(index),
            (Some(model), _) => items.push(Item::Model(model.into(), vec![index])),
            (None, _) => items.push(Item::Node(index)),
        }
    }
    items
}

/// Writes nodes one by one, as statements of the class in hand.
fn plain(e: &mut Emit<'_>, nodes: &[usize], findings: &mut Findings) {
    for &index in nodes {
        if e.is_skipped(index) {
            continue;
        }
        let node = &e.graph.nodes()[index];
        e.go_to(index);
        if let Err(diag) = one(e, node) {
            findings.push(diag);
            // So that the rest has something to refer to, and its own findings are found.
            node.outputs.iter().for_each(|&value| {
                e.frame.vals.insert(value, "refused".into());
            });
        }
    }
}

/// Writes one node.
pub fn one<'a>(e: &mut Emit<'a>, node: &'a Node) -> Result<(), Diag> {
    e.path.clone_from(&node.path);
    let made = emit::op(node, e)?;
    e.consumed(node);
    match made {
        Made::Expr(py) => e.bind(node, node.outputs[0], py),
        Made::As(py, value) => e.bind(node, value, py),
        Made::Bound => {}
    }
    Ok(())
}

/// Values that come in from outside of `nodes`, in order of first use, and those that leave.
fn border(e: &Emit<'_>, nodes: &[usize]) -> (Vec<ValueId>, Vec<ValueId>) {
    let graph = e.graph;
    let made: BTreeSet<ValueId> = nodes.iter().flat_map(|&at| graph.nodes()[at].outputs.iter().copied()).collect();
    let mut inside: HashMap<ValueId, usize> = HashMap::new();
    let mut inputs = Vec::new();
    for value in nodes.iter().flat_map(|&at| graph.nodes()[at].inputs.iter().flatten()) {
        if made.contains(value) {
            *inside.entry(*value).or_default() += 1;
        } else if !e.statics.has(*value) && !inputs.contains(value) {
            inputs.push(*value);
        }
    }
    let leaves = |value: &ValueId| e.uses_left(*value) > inside.get(value).copied().unwrap_or(0);
    let outputs = nodes.iter().flat_map(|&at| &graph.nodes()[at].outputs).copied().filter(leaves).collect();
    (inputs, outputs)
}

/// What a run of nodes computes, whatever it is called with.
fn signature(e: &Emit<'_>, nodes: &[usize]) -> String {
    let (inputs, outputs) = border(e, nodes);
    let mut local: HashMap<ValueId, usize> = HashMap::new();
    let mut text = String::new();
    for &index in nodes {
        let node = &e.graph.nodes()[index];
        let input = |value: &Option<ValueId>| match value {
            None => "-".to_string(),
            Some(value) => match (local.get(value), inputs.iter().position(|input| input == value)) {
                (Some(at), _) => format!("%{at}"),
                (None, Some(at)) => format!("in{at}:{}", e.ty(*value)),
                (None, None) => e.param(*value).map_or_else(|| format!("{:?}", e.tensor(*value)), |param| param.name()),
            },
        };
        let inputs: Vec<String> = node.inputs.iter().map(input).collect();
        text.push_str(&format!("{} {:?} {}\n", node.path, node.op, inputs.join(" ")));
        for output in &node.outputs {
            local.insert(*output, local.len());
        }
    }
    let leaving: Vec<String> = outputs.iter().filter_map(|value| local.get(value)).map(usize::to_string).collect();
    text + &leaving.join(" ")
}

/// A model called twice in a row is one run of nodes: cut where the same begins again.
fn calls(e: &Emit<'_>, nodes: &[usize]) -> Vec<Vec<usize>> {
    let kind = |at: usize| {
        let node = &e.graph.nodes()[at];
        (node.path.as_str(), node.op.name())
    };
    for count in (2..=nodes.len()).rev().filter(|count| nodes.len().is_multiple_of(*count)) {
        let size = nodes.len() / count;
        let repeats = (size..nodes.len()).all(|at| kind(nodes[at]) == kind(nodes[at - size]));
        if !repeats {
            continue;
        }
        let parts: Vec<Vec<usize>> = nodes.chunks(size).map(<[usize]>::to_vec).collect();
        let first = signature(e, &parts[0]);
        if parts.iter().all(|part| signature(e, part) == first) {
            return parts;
        }
    }
    vec![nodes.to_vec()]
}

/// Writes one call of a nested model, and its class the first time. `false`: it can't be a module by itself.
fn nested(e: &mut Emit<'_>, model: &str, nodes: &[usize], known: &mut Known, findings: &mut Findings) -> bool {
    let (inputs, outputs) = border(e, nodes);
    if outputs.is_empty() || inputs.is_empty() {
        return false;
    }
    let shape = signature(e, nodes);
    let attribute = match known.get(model) {
        Some((attribute, same)) if *same == shape => attribute.clone(),
        Some(_) => return false,
        None => {
            let mark = e.out.mark();
            let Some(attribute) = define(e, model, nodes, &inputs, &outputs) else {
                e.out.back_to(mark);
                return false;
            };
            known.insert(model.into(), (attribute.clone(), shape));
            attribute
        }
    };
    let args: Vec<Result<Py, Diag>> = inputs.iter().map(|&value| e.say(value)).collect();
    let args: Vec<Py> = args.into_iter().filter_map(|arg| arg.map_err(|diag| findings.push(diag)).ok()).collect();
    nodes.iter().for_each(|&at| {
        let node = &e.graph.nodes()[at];
        e.consumed(node);
    });
    e.path = model.into();
    let made = call(&format!("self.{attribute}"), args.into_iter().map(Into::into).collect());
    let given: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
    let names: Vec<String> = outputs.iter().map(|&value| e.variable(value, &given)).collect();
    let comments: Vec<String> = outputs.iter().map(|&value| shape_comment(e.shape(value))).collect();
    e.push(StmtKind::Assign { targets: names.join(", "), value: made, comment: comments.join(", ") });
    outputs.iter().zip(&names).for_each(|(&value, name)| {
        e.frame.vals.insert(value, name.as_str().into());
    });
    true
}

/// Writes the class of a nested model and gives the class in hand a module of it: the attribute's name.
fn define(e: &mut Emit<'_>, model: &str, nodes: &[usize], inputs: &[ValueId], outputs: &[ValueId]) -> Option<String> {
    let own = model.strip_prefix(&e.class.path).unwrap_or(model);
    let mut attributes = e.class.attributes.clone();
    let attribute = attributes.take(&identifier(own));
    let prefix: Vec<String> = e.class.prefix.iter().cloned().chain([attribute.clone()]).collect();
    let name = e.out.class_names.take(&class_name(own));
    let outer_class = std::mem::replace(&mut e.class, Class::new(name.clone(), model, prefix));
    let outer_frame = std::mem::take(&mut e.frame);
    let mut names = Names::with(crate::names::TAKEN);
    for (index, &value) in inputs.iter().enumerate() {
        let base = if e.ty(value).dtype == DType::Bool { "mask" } else { POOL.get(index).copied().unwrap_or("value") };
        let name = names.take(base);
        e.bind_argument(value, &name);
        if !POOL.contains(&name.as_str()) {
            e.class.fixed.take(&name);
        }
    }
    e.begin(nodes.to_vec(), outputs.iter().copied());
    let mut found = Findings::new();
    run(e, model, &mut found);
    let values: Result<Vec<Py>, Diag> = outputs.iter().map(|&value| e.say(value)).collect();
    let class = std::mem::replace(&mut e.class, outer_class);
    e.frame = outer_frame;
    match values {
        // Inlined, it may well work: a size may be known outside only. If not, the same is found again there.
        _ if !found.is_empty() => return None,
        Err(_) => return None,
        Ok(values) => finish(e, class, values, attribute.clone(), name),
    }
    e.class.attributes = attributes;
    Some(attribute)
}

fn finish(e: &mut Emit<'_>, mut class: Class, values: Vec<Py>, attribute: String, name: String) {
    class.body.push(returning(values));
    let content = class.content();
    let same = e.out.classes.iter().find(|known| known.content() == content).map(|known| known.name.clone());
    if same.is_none() {
        e.out.classes.push(class);
    }
    let value = call(&same.unwrap_or(name), Vec::new());
    e.class.kept.push(crate::class::Kept::Module { name: attribute, value });
}
