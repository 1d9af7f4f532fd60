//! A GraphDef as nodes and functions, borrowed from the bytes that it was read from.

use super::flow::Flow;
use super::wire::{Broken, Field, fields, text};
use crate::proto::{Attr, AttrValue, TensorShapeProto, dtype};
use prost::Message;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::DType;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Nodes of one graph, and of one function. A large transformer has twenty thousand.
pub const GRAPH_NODES_MAX: usize = 250_000;
/// Functions of one graph.
pub const FUNCTIONS_MAX: usize = 100_000;

pub struct Node<'a> {
    pub name: &'a str,
    pub op: &'a str,
    /// `node`, `node:1`, in a function `node:argument:0`; `^node` for control.
    pub inputs: Vec<&'a str>,
    /// Undecoded `AttrValue`s.
    attrs: Vec<(&'a str, &'a [u8])>,
}

/// A graph or the body of a function.
pub struct Body<'a> {
    pub nodes: Vec<Node<'a>>,
    index: HashMap<&'a str, usize>,
    /// Names of the arguments.
    pub arguments: Vec<&'a str>,
    /// Of each result, where it comes from.
    pub results: Vec<&'a str>,
    is_function: bool,
    flow: OnceCell<Flow>,
}

/// What the name of an input stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edge {
    Argument(usize),
    Output {
        node: usize,
        output: usize,
    },
    /// The graph does not hold it.
    Nowhere,
}

impl Edge {
    pub fn node(self) -> Option<usize> {
        match self {
            Edge::Output { node, .. } => Some(node),
            Edge::Argument(_) | Edge::Nowhere => None,
        }
    }
}

pub struct Library<'a> {
    functions: HashMap<&'a str, &'a [u8]>,
    parsed: std::cell::RefCell<HashMap<&'a str, Rc<Body<'a>>>>,
}

fn broken(at: &str) -> impl Fn(Broken) -> Diag + '_ {
    move |Broken| Diag::new(Code::Malformed, at, "the graph's bytes are no protobuf message")
}

/// The graph itself and its functions.
pub fn read(graph: &[u8]) -> Result<(Body<'_>, Library<'_>), Diag> {
    let mut nodes = Vec::new();
    let mut functions = HashMap::new();
    for field in fields(graph) {
        match field.map_err(broken("graph_def"))? {
            (1, Field::Bytes(node)) => push(&mut nodes, node, "graph_def")?,
            (2, Field::Bytes(library)) => {
                for field in fields(library) {
                    if let (1, Field::Bytes(function)) = field.map_err(broken("library"))? {
                        let name = function_name(function).map_err(broken("library"))?;
                        functions.insert(name, function);
                        if functions.len() > FUNCTIONS_MAX {
                            let detail = format!("more than {FUNCTIONS_MAX} functions");
                            return Err(Diag::new(Code::LimitExceeded, "library", detail));
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok((Body::new(nodes), Library { functions, parsed: Default::default() }))
}

fn push<'a>(nodes: &mut Vec<Node<'a>>, bytes: &'a [u8], at: &str) -> Result<(), Diag> {
    if nodes.len() == GRAPH_NODES_MAX {
        let detail = format!("more than {GRAPH_NODES_MAX} nodes in one graph");
        return Err(Diag::new(Code::LimitExceeded, at, detail));
    }
    nodes.push(Node::read(bytes).map_err(broken(at))?);
    Ok(())
}

fn function_name(function: &[u8]) -> Result<&str, Broken> {
    text(super::wire::bytes_of(super::wire::bytes_of(function, 1)?, 1)?)
}

impl<'a> Node<'a> {
    fn read(bytes: &'a [u8]) -> Result<Node<'a>, Broken> {
        let mut node = Node { name: "", op: "", inputs: Vec::new(), attrs: Vec::new() };
        for field in fields(bytes) {
            match field? {
                (1, Field::Bytes(name)) => node.name = text(name)?,
                (2, Field::Bytes(op)) => node.op = text(op)?,
                (3, Field::Bytes(input)) => node.inputs.push(text(input)?),
                (5, Field::Bytes(entry)) => node.attrs.push(map_entry(entry)?),
                _ => {}
            }
        }
        Ok(node)
    }

    /// What the node takes as data, without control.
    pub fn data(&self) -> impl Iterator<Item = &'a str> {
        self.inputs.iter().copied().filter(|input| !input.starts_with('^'))
    }

    fn raw(&self, name: &str) -> Option<&'a [u8]> {
        self.attrs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    pub fn bad(&self, detail: impl Into<String>) -> Diag {
        Diag::new(Code::Malformed, self.name, format!("{}: {}", self.op, detail.into()))
    }

    pub fn unsupported(&self, detail: impl Into<String>) -> Diag {
        Diag::new(Code::UnsupportedLayer, self.name, format!("{}: {}", self.op, detail.into()))
    }

    fn attr(&self, name: &str) -> Result<Option<Attr>, Diag> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let value = AttrValue::decode(raw).map_err(|e| self.bad(format!("attribute '{name}': {e}")))?;
        Ok(value.value)
    }

    fn wrong<T>(&self, name: &str) -> Result<T, Diag> {
        Err(self.bad(format!("attribute '{name}' is of another kind")))
    }

    pub fn int(&self, name: &str, default: i64) -> Result<i64, Diag> {
        match self.attr(name)? {
            None => Ok(default),
            Some(Attr::I(value)) => Ok(value),
            Some(_) => self.wrong(name),
        }
    }

    pub fn float(&self, name: &str, default: f64) -> Result<f64, Diag> {
        match self.attr(name)? {
            None => Ok(default),
            Some(Attr::F(value)) => Ok(f64::from(value)),
            Some(_) => self.wrong(name),
        }
    }

    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Diag> {
        match self.attr(name)? {
            None => Ok(default),
            Some(Attr::B(value)) => Ok(value),
            Some(_) => self.wrong(name),
        }
    }

    pub fn text(&self, name: &str, default: &str) -> Result<String, Diag> {
        match self.attr(name)? {
            None => Ok(default.to_owned()),
            Some(Attr::S(value)) => String::from_utf8(value).map_err(|_| self.bad(format!("'{name}' is no text"))),
            Some(_) => self.wrong(name),
        }
    }

    pub fn ints(&self, name: &str) -> Result<Vec<i64>, Diag> {
        match self.attr(name)? {
            None => Ok(Vec::new()),
            Some(Attr::List(list)) => Ok(list.i),
            Some(_) => self.wrong(name),
        }
    }

    pub fn floats(&self, name: &str) -> Result<Vec<f64>, Diag> {
        match self.attr(name)? {
            None => Ok(Vec::new()),
            Some(Attr::List(list)) => Ok(list.f.into_iter().map(f64::from).collect()),
            Some(_) => self.wrong(name),
        }
    }

    pub fn shape(&self, name: &str) -> Result<Option<TensorShapeProto>, Diag> {
        match self.attr(name)? {
            None => Ok(None),
            Some(Attr::Shape(shape)) => Ok(Some(shape)),
            Some(_) => self.wrong(name),
        }
    }

    pub fn dtype(&self, name: &str) -> Result<DType, Diag> {
        match self.attr(name)? {
            Some(Attr::Type(number)) => dtype::from_tf(number).ok_or_else(|| {
                Diag::new(Code::UnsupportedType, self.name, format!("{}: TensorFlow's dtype {number}", self.op))
            }),
            None => Err(self.bad(format!("lacks attribute '{name}'"))),
            Some(_) => self.wrong(name),
        }
    }

    pub fn dtype_or(&self, name: &str, default: DType) -> Result<DType, Diag> {
        if self.raw(name).is_none() { Ok(default) } else { self.dtype(name) }
    }

    pub fn function(&self, name: &str) -> Result<String, Diag> {
        match self.attr(name)? {
            Some(Attr::Func(function)) => Ok(function.name),
            None => Err(self.bad(format!("lacks attribute '{name}'"))),
            Some(_) => self.wrong(name),
        }
    }

    /// The names of a list of functions.
    pub fn functions(&self, name: &str) -> Result<Vec<String>, Diag> {
        match self.attr(name)? {
            Some(Attr::List(list)) => Ok(list.func.into_iter().map(|function| function.name).collect()),
            None => Err(self.bad(format!("lacks attribute '{name}'"))),
            Some(_) => self.wrong(name),
        }
    }

    /// The bytes of a TensorProto.
    pub fn tensor(&self, name: &str) -> Result<&'a [u8], Diag> {
        let raw = self.raw(name).ok_or_else(|| self.bad(format!("lacks attribute '{name}'")))?;
        super::wire::bytes_of(raw, 8).map_err(broken(self.name))
    }
}

fn map_entry(entry: &[u8]) -> Result<(&str, &[u8]), Broken> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    for field in fields(entry) {
        match field? {
            (1, Field::Bytes(bytes)) => key = bytes,
            (2, Field::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((text(key)?, value))
}

impl<'a> Body<'a> {
    fn new(nodes: Vec<Node<'a>>) -> Body<'a> {
        let index = nodes.iter().enumerate().map(|(at, node)| (node.name, at)).collect();
        let (arguments, results) = (Vec::new(), Vec::new());
        Body { nodes, index, arguments, results, is_function: false, flow: OnceCell::new() }
    }

    /// `node`, `node:1`, in a function `argument`, `node:output:0`; `^node` for control.
    pub fn edge(&self, name: &str) -> Option<Edge> {
        let name = name.strip_prefix('^').unwrap_or(name);
        if let Some(at) = self.arguments.iter().position(|argument| *argument == name) {
            return Some(Edge::Argument(at));
        }
        let mut parts = name.split(':');
        let (node, second, third) = (parts.next()?, parts.next(), parts.next());
        let node = self.find(node)?;
        let number = |text: Option<&str>| text.map_or(Some(0), |text| text.parse::<usize>().ok());
        let output = match (self.is_function, second) {
            (false, second) => number(second)?,
            (true, Some(named)) => {
                let row = super::ops::find(self.nodes[node].op);
                row.map_or(0, |row| row.output(named)).checked_add(number(third)?)?
            }
            (true, None) => 0,
        };
        Some(Edge::Output { node, output })
    }

    /// Loops and branches as TensorFlow 1 writes them.
    pub fn flow(&self) -> Result<&Flow, Diag> {
        if let Some(known) = self.flow.get() {
            return Ok(known);
        }
        let read = Flow::read(self)?;
        Ok(self.flow.get_or_init(|| read))
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    fn function(bytes: &'a [u8], at: &str) -> Result<Body<'a>, Diag> {
        let mut nodes = Vec::new();
        let (mut arguments, mut outputs, mut returned) = (Vec::new(), Vec::new(), HashMap::new());
        for field in fields(bytes) {
            match field.map_err(broken(at))? {
                (1, Field::Bytes(signature)) => {
                    for field in fields(signature) {
                        match field.map_err(broken(at))? {
                            (2, Field::Bytes(argument)) => arguments.push(name_of(argument).map_err(broken(at))?),
                            (3, Field::Bytes(output)) => outputs.push(name_of(output).map_err(broken(at))?),
                            _ => {}
                        }
                    }
                }
                (3, Field::Bytes(node)) => push(&mut nodes, node, at)?,
                (4, Field::Bytes(entry)) => {
                    let (key, value) = map_entry(entry).map_err(broken(at))?;
                    returned.insert(key, text(value).map_err(broken(at))?);
                }
                _ => {}
            }
        }
        let result = |name: &&'a str| {
            let missing = || Diag::new(Code::Malformed, at, format!("the function does not return its '{name}'"));
            returned.get(name).copied().ok_or_else(missing)
        };
        let results = outputs.iter().map(result).collect::<Result<_, _>>()?;
        Ok(Body { arguments, results, is_function: true, ..Body::new(nodes) })
    }
}

fn name_of(definition: &[u8]) -> Result<&str, Broken> {
    text(super::wire::bytes_of(definition, 1)?)
}

impl<'a> Library<'a> {
    pub fn function(&self, name: &str) -> Result<Rc<Body<'a>>, Diag> {
        if let Some(body) = self.parsed.borrow().get(name) {
            return Ok(body.clone());
        }
        let found = self.functions.get_key_value(name);
        let (&name, &bytes) = found
            .ok_or_else(|| Diag::new(Code::Malformed, name, "the graph calls a function that it does not hold"))?;
        let body = Rc::new(Body::function(bytes, name)?);
        self.parsed.borrow_mut().insert(name, body.clone());
        Ok(body)
    }
}
