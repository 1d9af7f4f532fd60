//! The graph: a model as typed ops, in the order in which they are evaluated.
//!
//! - A value is an input, a param, or an output of a node; it has a `Type` and never changes.
//! - Nodes stand in evaluation order: a node's inputs are defined before it.
//! - `Graph::add` infers the types of a node's outputs and refuses what does not fit, so an untyped node can't exist.
//! - Every node carries the path of the layer that it came from; errors and reports speak of layers.
//! - A param is a weight, found by (layer path, role); its bytes stay in the file that they were read from.
//! - Masks are values like any other.
//! - Symbols are sizes that are free until the model runs. Where two of them meet (`Add` of two inputs), they are taken
//!   to be equal and the pair is kept in `equal`: whoever makes inputs must respect it.

pub mod attr;
pub mod build;
pub mod bytes;
pub mod dim;
pub mod infer;
pub mod numbers;
pub mod op;
pub mod permute;
pub mod sizes;
pub mod text;
pub mod types;
pub mod validate;
pub mod wire;

pub use attr::Attr;
pub use dim::Dim;
pub use op::*;
pub use types::{DType, Data, Shape, Tensor, Type};

use crate::diag::{Code, Diag};
use std::collections::{HashMap, HashSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    pub name: String,
    pub value: ValueId,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub name: String,
    pub value: ValueId,
}

/// A weight. (path, role) is unique in a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    pub path: String,
    pub role: String,
    pub tensor: Tensor,
    pub value: ValueId,
}

impl Param {
    /// `encoder/dense_1/kernel`: how the param is called across the plugin boundary and in outputs.
    pub fn name(&self) -> String {
        if self.path.is_empty() { self.role.clone() } else { format!("{}/{}", self.path, self.role) }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub op: Op,
    /// `None` is an optional input that is absent.
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<ValueId>,
    /// The layer that this node came from.
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    pub name: String,
    types: Vec<Type>,
    pub inputs: Vec<Input>,
    pub params: Vec<Param>,
    nodes: Vec<Node>,
    pub outputs: Vec<Output>,
    /// Dimensions that were taken to be equal.
    pub equal: Vec<(Dim, Dim)>,
    index: ParamIndex,
}

/// (path, role) to a position in `params`: derived, so two graphs never differ by it. It is filled where a param is
/// looked for, which in most graphs that cross a boundary none is.
#[derive(Debug, Clone, Default)]
struct ParamIndex {
    places: HashMap<(String, String), usize>,
    /// How many of the params are in it.
    known: usize,
}

impl PartialEq for ParamIndex {
    fn eq(&self, _: &ParamIndex) -> bool {
        true
    }
}

/// Between a role and the number of a further view of the same weight.
const VIEW_MARK: char = '@';

/// Bounds of a graph, checked where one is decoded or built from a file.
pub const NODES_MAX: usize = 1_000_000;
pub const RANK_MAX: usize = 16;

impl Graph {
    pub fn new(name: impl Into<String>) -> Graph {
        Graph { name: name.into(), ..Graph::default() }
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn ty(&self, value: ValueId) -> &Type {
        &self.types[value.0 as usize]
    }

    pub fn shape(&self, value: ValueId) -> &[Dim] {
        &self.ty(value).shape
    }

    pub fn value_count(&self) -> usize {
        self.types.len()
    }

    fn new_value(&mut self, ty: Type) -> ValueId {
        self.types.push(ty);
        ValueId(self.types.len() as u32 - 1)
    }

    pub fn input(&mut self, name: impl Into<String>, ty: Type) -> ValueId {
        let value = self.new_value(ty);
        self.inputs.push(Input { name: name.into(), value });
        value
    }

    /// Adds a weight, or finds it when (path, role) was added before with the same tensor.
    pub fn param(&mut self, path: &str, role: &str, tensor: Tensor) -> ValueId {
        match self.find_param(path, role) {
            Some(known) if known.tensor == tensor => known.value,
            _ => self.push_param(path, role, tensor),
        }
    }

    fn find_param(&mut self, path: &str, role: &str) -> Option<&Param> {
        let index = &mut self.index;
        for (at, param) in self.params.iter().enumerate().skip(index.known) {
            index.places.insert((param.path.clone(), param.role.clone()), at);
        }
        index.known = self.params.len();
        let at = index.places.get(&(path.to_owned(), role.to_owned()))?;
        self.params.get(*at)
    }

    /// Adds a view of a weight beside others of the same (path, role), whose role it then gets with a number behind it:
    /// passes make views, and drop those that are not used.
    pub fn param_view(&mut self, path: &str, role: &str, tensor: Tensor) -> ValueId {
        let base = role.split_once(VIEW_MARK).map_or(role, |(base, _)| base);
        let mut name = base.to_string();
        for number in 2.. {
            match self.find_param(path, &name) {
                Some(param) if param.tensor == tensor => return param.value,
                Some(_) => name = format!("{base}{VIEW_MARK}{number}"),
                None => break,
            }
        }
        self.param(path, &name, tensor)
    }

    /// No param has a name of `param_view`.
    pub fn params_are_settled(&self) -> bool {
        self.params.iter().all(|param| !param.role.contains(VIEW_MARK))
    }

    /// Gives params that are the only one left of their weight the weight's own name again.
    pub fn settle_param_names(&mut self) {
        let taken: HashSet<(String, String)> = self.params.iter().map(|p| (p.path.clone(), p.role.clone())).collect();
        let mut given = HashSet::new();
        for param in &mut self.params {
            let Some((base, _)) = param.role.split_once(VIEW_MARK) else { continue };
            let key = (param.path.clone(), base.to_string());
            if !taken.contains(&key) && given.insert(key) {
                param.role = base.to_string();
            }
        }
        self.index = ParamIndex::default();
    }

    fn push_param(&mut self, path: &str, role: &str, tensor: Tensor) -> ValueId {
        let value = self.new_value(tensor.ty());
        self.params.push(Param { path: path.into(), role: role.into(), tensor, value });
        value
    }

    pub fn output(&mut self, name: impl Into<String>, value: ValueId) {
        self.outputs.push(Output { name: name.into(), value });
    }

    /// Adds a node with all inputs present; for ops with one output, which is returned.
    pub fn add(&mut self, path: &str, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId, Diag> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        Ok(self.add_node(path, op.into(), &inputs)?[0])
    }

    /// Adds a node and returns all of its outputs.
    pub fn add_node(&mut self, path: &str, op: Op, inputs: &[Option<ValueId>]) -> Result<Vec<ValueId>, Diag> {
        let unknown = inputs.iter().flatten().find(|value| value.0 as usize >= self.types.len());
        if let Some(value) = unknown {
            return Err(Diag::new(Code::Bug, path, format!("{}: no value %{}", op.name(), value.0)));
        }
        let types: Vec<Option<&Type>> = inputs.iter().map(|value| value.map(|v| self.ty(v))).collect();
        let mut ins = infer::Ins::new(types);
        let op = infer::normalized(op, &ins);
        let found = infer::infer(&op, &mut ins).map_err(|misfit| {
            let inputs: Vec<String> = ins.types().iter().map(|ty| ty.map_or("-".into(), |t| t.to_string())).collect();
            Diag::new(Code::TypeMismatch, path, format!("{}({}): {misfit}", op.name(), inputs.join(", ")))
        })?;
        let equal = ins.into_equal();
        for pair in equal {
            if !self.equal.contains(&pair) {
                self.equal.push(pair);
            }
        }
        let outputs: Vec<ValueId> = found.into_iter().map(|ty| self.new_value(ty)).collect();
        self.nodes.push(Node { op, inputs: inputs.to_vec(), outputs: outputs.clone(), path: path.into() });
        Ok(outputs)
    }

    /// The graph's params, then those of the bodies of its scans, in the order of the nodes, depth first.
    pub fn all_params(&self) -> Vec<&Param> {
        fn visit<'g>(graph: &'g Graph, found: &mut Vec<&'g Param>) {
            found.extend(&graph.params);
            graph.bodies().for_each(|body| visit(body, found));
        }
        let mut found = Vec::new();
        visit(self, &mut found);
        found
    }

    /// Graphs inside of nodes.
    pub fn bodies(&self) -> impl Iterator<Item = &Graph> {
        self.nodes.iter().filter_map(|node| if let Op::Scan(op) = &node.op { Some(&*op.body) } else { None })
    }

    /// The node that makes a value; `None` for inputs and params.
    pub fn producers(&self) -> Vec<Option<usize>> {
        let mut producers = vec![None; self.types.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for output in &node.outputs {
                producers[output.0 as usize] = Some(index);
            }
        }
        producers
    }

    /// How many nodes and graph outputs use each value.
    pub fn use_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.types.len()];
        let used = self.nodes.iter().flat_map(|node| node.inputs.iter().flatten());
        for value in used.chain(self.outputs.iter().map(|output| &output.value)) {
            counts[value.0 as usize] += 1;
        }
        counts
    }

    /// Every symbol of the inputs, in order of appearance.
    pub fn symbols(&self) -> Vec<String> {
        let mut symbols: Vec<String> = Vec::new();
        for dim in self.inputs.iter().flat_map(|input| self.shape(input.value)) {
            for name in dim.symbols() {
                if !symbols.iter().any(|known| **known == *name) {
                    symbols.push(name.to_string());
                }
            }
        }
        symbols
    }

    /// The same graph with sizes in the place of symbols, every type inferred anew.
    pub fn bind(&self, sizes: &dyn Fn(&str) -> Option<Dim>) -> Result<Graph, Diag> {
        let mut rebuilt = Rebuild::new(self);
        for input in &self.inputs {
            let shape: Shape = self.shape(input.value).iter().map(|dim| dim.bind(sizes)).collect();
            let ty = self.ty(input.value).with_shape(shape);
            let value = rebuilt.graph.input(input.name.clone(), ty);
            rebuilt.map(input.value, value);
        }
        rebuilt.copy_params();
        for node in &self.nodes {
            rebuilt.copy_node_as(node, bind_op(&node.op, sizes)?)?;
        }
        Ok(rebuilt.finish())
    }
}

/// Dims are the only attributes that binding changes; the table's generic form reaches all of them.
fn bind_op(op: &Op, sizes: &dyn Fn(&str) -> Option<Dim>) -> Result<Op, Diag> {
    fn bind(attr: &Attr, sizes: &dyn Fn(&str) -> Option<Dim>) -> Result<Attr, Diag> {
        Ok(match attr {
            Attr::Dim(dim) => Attr::Dim(dim.bind(sizes)),
            Attr::List(items) => Attr::List(items.iter().map(|item| bind(item, sizes)).collect::<Result<_, _>>()?),
            Attr::Graph(graph) => Attr::Graph(Box::new(graph.bind(sizes)?)),
            Attr::None | Attr::Bool(_) | Attr::Int(_) | Attr::Float(_) | Attr::Str(_) | Attr::Tensor(_) => attr.clone(),
        })
    }
    let attrs = op.attrs().into_iter().map(|(name, attr)| Ok((name.to_string(), bind(&attr, sizes)?)));
    let attrs: Attrs = attrs.collect::<Result<_, Diag>>()?;
    Op::from_attrs(op.name(), attrs).map_err(|e| Diag::new(Code::Bug, op.name(), e))
}

/// A graph made from another one, node by node: what passes are written with.
pub struct Rebuild<'a> {
    pub from: &'a Graph,
    pub graph: Graph,
    mapped: Vec<Option<ValueId>>,
}

impl<'a> Rebuild<'a> {
    pub fn new(from: &'a Graph) -> Rebuild<'a> {
        let mut graph = Graph::new(from.name.clone());
        graph.equal = from.equal.clone();
        Rebuild { from, graph, mapped: vec![None; from.value_count()] }
    }

    pub fn copy_inputs(&mut self) {
        for input in &self.from.inputs {
            let value = self.graph.input(input.name.clone(), self.from.ty(input.value).clone());
            self.map(input.value, value);
        }
    }

    pub fn copy_params(&mut self) {
        self.copy_params_where(|_| true);
    }

    pub fn copy_params_where(&mut self, keep: impl Fn(&Param) -> bool) {
        for param in self.from.params.iter().filter(|param| keep(param)) {
            let value = self.graph.push_param(&param.path, &param.role, param.tensor.clone());
            self.map(param.value, value);
        }
    }

    /// From now on, `old` of the original graph is `new` here.
    pub fn map(&mut self, old: ValueId, new: ValueId) {
        self.mapped[old.0 as usize] = Some(new);
    }

    /// Panics when `old` was not mapped: passes walk in evaluation order, so that would be a bug in the pass.
    pub fn get(&self, old: ValueId) -> ValueId {
        self.mapped[old.0 as usize].unwrap_or_else(|| panic!("value %{} was used before it was rebuilt", old.0))
    }

    pub fn try_get(&self, old: ValueId) -> Option<ValueId> {
        self.mapped[old.0 as usize]
    }

    pub fn copy_node(&mut self, node: &Node) -> Result<(), Diag> {
        self.copy_node_as(node, node.op.clone())
    }

    /// Copies a node with another op in its place; the outputs keep their meaning.
    pub fn copy_node_as(&mut self, node: &Node, op: Op) -> Result<(), Diag> {
        let inputs: Vec<Option<ValueId>> = node.inputs.iter().map(|value| value.map(|v| self.get(v))).collect();
        let outputs = self.graph.add_node(&node.path, op, &inputs)?;
        for (old, new) in node.outputs.iter().zip(outputs) {
            self.map(*old, new);
        }
        Ok(())
    }

    /// Adds the original's outputs and returns the graph.
    pub fn finish(mut self) -> Graph {
        for output in &self.from.outputs {
            let value = self.get(output.value);
            self.graph.output(output.name.clone(), value);
        }
        self.graph
    }
}
