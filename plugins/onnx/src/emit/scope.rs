//! What is known while a graph is emitted: names of values, nodes so far, initializers.

use super::Build;
use super::single::{Doubles, is_double};
use crate::proto::{NodeProto, ValueInfo};
use crate::write::{Init, InitSource, Piece};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::types::encode_number;
use recast_plugin_api::ir::{DType, Data, Dim, Graph, Node, Tensor, Type, ValueId};
use std::collections::{HashMap, HashSet};

/// An emitted graph: messages, and weights still to be fetched.
pub struct Emitted {
    pub nodes: Vec<NodeProto>,
    pub inputs: Vec<ValueInfo>,
    pub outputs: Vec<ValueInfo>,
    pub inits: Vec<Init>,
    /// What was to be in float64, but is not.
    pub doubles: Doubles,
    pub opset: u32,
    /// An opset that this one does not reach, and nobody asked for this one.
    pub need: Option<Need>,
    /// The note that the opset is a later one than the default.
    pub newer: Option<Diag>,
}

/// The opset that something needs, and the layer.
pub struct Need {
    pub opset: u32,
    pub what: &'static str,
    pub path: String,
}

/// A value that is known before the model runs: a param or a constant.
#[derive(Debug, Clone)]
pub struct Static {
    pub piece: Piece,
    pub dtype: DType,
    pub dims: Vec<u64>,
    pub name: String,
}

/// One graph's own part: the model's, or that of a loop's body.
struct Scope<'a> {
    graph: &'a Graph,
    names: Vec<Option<String>>,
    statics: HashMap<ValueId, Static>,
    /// Values that leave the graph straight from the node that makes them, under these names.
    outputs: HashMap<ValueId, String>,
    /// Names of the graph's outputs, in their order.
    output_names: Vec<String>,
    uses: Vec<u32>,
    nodes: Vec<NodeProto>,
}

pub struct Emit<'a> {
    pub opset: u32,
    /// Somebody asked for this opset.
    stated: bool,
    need: Option<Need>,
    scope: Scope<'a>,
    path: String,
    /// The node at hand, if it has values of float64.
    double: Option<&'a Node>,
    doubles: Doubles,
    inits: Vec<Init>,
    /// Params of all graphs by name: the host knows them by it.
    params: HashMap<String, &'a Tensor>,
    /// Initializers by content, so that equal ones are one.
    shared: HashMap<(Piece, DType, Vec<u64>), String>,
    used: HashSet<String>,
    next: HashMap<String, u32>,
    /// Sizes known at run time, as one-element vectors (see `dims`).
    pub(super) sizes: HashMap<Dim, String>,
}

impl<'a> Scope<'a> {
    fn new(graph: &'a Graph) -> Scope<'a> {
        let params = graph.params.iter().map(|param| {
            let piece = Piece::Param(param.name());
            let (dtype, dims) = (param.tensor.dtype, param.tensor.shape.clone());
            (param.value, Static { piece, dtype, dims, name: param.name() })
        });
        Scope {
            graph,
            names: vec![None; graph.value_count()],
            statics: params.collect(),
            outputs: HashMap::new(),
            output_names: Vec::new(),
            uses: graph.use_counts(),
            nodes: Vec::new(),
        }
    }
}

impl<'a> Emit<'a> {
    pub fn new(graph: &'a Graph, opset: u32, stated: bool) -> Emit<'a> {
        let mut emit = Emit {
            opset,
            stated,
            need: None,
            scope: Scope::new(graph),
            path: String::new(),
            double: None,
            doubles: Doubles::default(),
            inits: Vec::new(),
            params: graph.params.iter().map(|param| (param.name(), &param.tensor)).collect(),
            shared: HashMap::new(),
            used: HashSet::new(),
            next: HashMap::new(),
            sizes: HashMap::new(),
        };
        for input in &graph.inputs {
            let name = emit.unique(&input.name);
            emit.scope.names[input.value.0 as usize] = Some(name);
        }
        emit.reserve_outputs(graph);
        emit
    }

    /// Output names are taken before any node can; a value that leaves twice has its first name.
    fn reserve_outputs(&mut self, graph: &Graph) {
        for output in &graph.outputs {
            let name = self.unique(&output.name);
            self.scope.output_names.push(name.clone());
            self.scope.outputs.entry(output.value).or_insert(name);
        }
    }

    pub fn graph(&self) -> &'a Graph {
        self.scope.graph
    }

    pub fn ty(&self, value: ValueId) -> &'a Type {
        self.scope.graph.ty(value)
    }

    pub fn shape(&self, value: ValueId) -> &'a [Dim] {
        self.scope.graph.shape(value)
    }

    pub fn is_used(&self, value: ValueId) -> bool {
        self.scope.uses[value.0 as usize] > 0
    }

    pub fn enter(&mut self, node: &'a Node) {
        self.path.clone_from(&node.path);
        self.double = is_double(node, self).then_some(node);
    }

    /// Notes that a later opset is needed, where that is free to choose.
    pub fn may_need(&mut self, what: &'static str, opset: u32) -> bool {
        if !self.stated && self.need.as_ref().is_none_or(|need| need.opset < opset) {
            self.need = Some(Need { opset, what, path: self.path.clone() });
        }
        !self.stated
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// `base`, or the first `base_1`, `base_2` that is free.
    pub fn unique(&mut self, base: &str) -> String {
        if self.used.insert(base.to_string()) {
            return base.to_string();
        }
        let next = self.next.entry(base.to_string()).or_insert(0);
        loop {
            *next += 1;
            let name = format!("{base}_{next}");
            if self.used.insert(name.clone()) {
                return name;
            }
        }
    }

    /// A name for a value that `op_type` makes in the layer at hand.
    pub fn value_name(&mut self, op_type: &str) -> String {
        let base = if self.path.is_empty() { op_type.to_string() } else { format!("{}/{op_type}", self.path) };
        self.unique(&base)
    }

    /// The name under which a node's result is to be known.
    pub fn result_name(&mut self, value: ValueId, op_type: &str) -> String {
        match self.scope.outputs.get(&value) {
            Some(name) => name.clone(),
            None => self.value_name(op_type),
        }
    }

    pub fn bind(&mut self, value: ValueId, name: String) {
        self.scope.names[value.0 as usize] = Some(name);
    }

    /// `value` is what `name` is. No node, unless the value has a name of its own to leave under.
    pub fn alias(&mut self, value: ValueId, name: &str) {
        self.bind(value, name.to_string());
    }

    /// A value's name; a param becomes an initializer the first time that it is asked for.
    pub fn name(&mut self, value: ValueId) -> String {
        if let Some(name) = &self.scope.names[value.0 as usize] {
            return name.clone();
        }
        let name = match self.scope.statics.get(&value).cloned() {
            Some(known) => {
                let dims = known.dims.clone();
                self.init_as(&known, &dims)
            }
            // Nodes stand in evaluation order, so this is a value of a node that was refused.
            None => "refused".into(),
        };
        self.bind(value, name.clone());
        name
    }

    pub fn arg(&mut self, node: &Node, index: usize) -> Result<String, Diag> {
        Ok(self.name(self.value(node, index)?))
    }

    /// Empty when absent, as ONNX writes an optional input that is left out.
    pub fn opt_arg(&mut self, node: &Node, index: usize) -> String {
        match node.inputs.get(index).copied().flatten() {
            Some(value) => self.name(value),
            None => String::new(),
        }
    }

    pub fn value(&self, node: &Node, index: usize) -> Result<ValueId, Diag> {
        let value = node.inputs.get(index).copied().flatten();
        value.ok_or_else(|| Diag::new(Code::Bug, &node.path, format!("{} lacks input {index}", node.op.name())))
    }

    /// What is known of a value before the model runs.
    pub fn known(&self, value: ValueId) -> Option<&Static> {
        self.scope.statics.get(&value)
    }

    pub fn know(&mut self, value: ValueId, known: Static) {
        self.scope.statics.insert(value, known);
    }

    pub fn tensor(&self, tensor: &Tensor, name: String) -> Result<Static, Diag> {
        match &tensor.data {
            Data::Inline(stored) => {
                let piece = Piece::Bytes(tensor.view_of(stored)?.into_owned());
                Ok(Static { piece, dtype: tensor.dtype, dims: tensor.shape.clone(), name })
            }
            Data::Region { .. } => {
                Err(Diag::new(Code::Bug, &self.path, "a constant in a file was not turned into a param"))
            }
        }
    }

    /// An initializer with the elements of `known` under the shape `dims`.
    pub fn init_as(&mut self, known: &Static, dims: &[u64]) -> String {
        let key = (known.piece.clone(), known.dtype, dims.to_vec());
        if let Some(name) = self.shared.get(&key) {
            return name.clone();
        }
        let name = self.unique(&known.name);
        let source = InitSource::Piece(known.piece.clone());
        self.inits.push(Init { name: name.clone(), dtype: known.dtype, dims: dims.to_vec(), source });
        self.shared.insert(key, name.clone());
        name
    }

    /// An initializer that is computed from weights when the file is written.
    pub fn init_made(
        &mut self,
        name: &str,
        dtype: DType,
        dims: &[u64],
        from: Vec<Piece>,
        make: impl Fn(&[Vec<u8>]) -> Vec<u8> + 'static,
    ) -> String {
        let name = self.unique(name);
        let source = InitSource::Made { from, make: Box::new(make) };
        self.inits.push(Init { name: name.clone(), dtype, dims: dims.to_vec(), source });
        name
    }

    fn constant(&mut self, dtype: DType, dims: &[u64], bytes: Vec<u8>, name: String) -> String {
        let known = Static { piece: Piece::Bytes(bytes), dtype, dims: dims.to_vec(), name };
        self.init_as(&known, dims)
    }

    /// A rank-0 constant, shared by all who use it.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> String {
        self.constant(dtype, &[], encode_number(dtype, value), format!("{dtype}_{value}"))
    }

    /// A vector of i64, for axes, shapes and the like.
    pub fn ints(&mut self, values: &[i64]) -> String {
        let text: Vec<String> = values.iter().take(8).map(i64::to_string).collect();
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(DType::I64, &[values.len() as u64], bytes, format!("ints_{}", text.join("_")))
    }

    pub fn floats(&mut self, values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(DType::F32, &[values.len() as u64], bytes, "scales".into())
    }

    /// `dims` elements, all `value`.
    pub fn filled(&mut self, dtype: DType, dims: &[u64], value: f64) -> String {
        let count = dims.iter().product::<u64>() as usize;
        self.constant(dtype, dims, encode_number(dtype, value).repeat(count), format!("{dtype}_{value}_{count}"))
    }

    pub fn op(&mut self, op_type: &'static str, inputs: &[&str]) -> Build<'_, 'a> {
        Build::new(self, op_type, inputs)
    }

    /// A node without attributes and with one result.
    pub fn call(&mut self, op_type: &'static str, inputs: &[&str]) -> String {
        self.op(op_type, inputs).tmp()
    }

    pub fn push(&mut self, node: NodeProto) {
        if let (Some(double), Some(op_type)) = (self.double, &node.op_type) {
            self.doubles.see(double, op_type);
        }
        self.scope.nodes.push(node);
    }

    /// Emits `body` as a graph inside this one. `inputs` are its input names; sizes and initializers are shared with
    /// the graph around it, whose values a body may use by name.
    pub fn nested(
        &mut self,
        body: &'a Graph,
        inputs: &[String],
        mut emit: impl FnMut(&'a Node, &mut Emit<'a>) -> Result<(), Diag>,
    ) -> Result<(Vec<NodeProto>, Vec<String>), Diag> {
        for param in &body.params {
            let known = *self.params.entry(param.name()).or_insert(&param.tensor);
            if *known != param.tensor {
                let detail = "a loop and the graph around it see this weight in different axes under one name";
                return Err(Diag::new(Code::UnsupportedOp, param.name(), detail));
            }
        }
        let outer = std::mem::replace(&mut self.scope, Scope::new(body));
        let (path, double, sizes) = (self.path.clone(), self.double, self.sizes.clone());
        for (input, name) in body.inputs.iter().zip(inputs) {
            self.bind(input.value, name.clone());
        }
        let mut result = Ok(());
        for node in body.nodes() {
            self.enter(node);
            result = result.and(emit(node, self));
        }
        (self.path, self.double) = (path, double);
        let outputs = body.outputs.iter().map(|output| self.leave(output.value)).collect();
        self.sizes = sizes;
        let inner = std::mem::replace(&mut self.scope, outer);
        result.map(|()| (inner.nodes, outputs))
    }

    /// A name of its own for an output of a nested graph.
    fn leave(&mut self, value: ValueId) -> String {
        let name = self.name(value);
        self.call("Identity", &[&name])
    }

    pub fn finish(mut self) -> Emitted {
        let graph = self.scope.graph;
        let mut outputs = Vec::new();
        for (output, name) in graph.outputs.iter().zip(self.scope.output_names.clone()) {
            let have = self.name(output.value);
            if have != name {
                self.path.clear();
                self.push(NodeProto {
                    input: vec![have],
                    output: vec![name.clone()],
                    name: Some(format!("{name}/Identity")),
                    op_type: Some("Identity".into()),
                    attribute: Vec::new(),
                    domain: None,
                });
            }
            outputs.push(ValueInfo::new(&name, graph.ty(output.value)));
        }
        let inputs = graph.inputs.iter().map(|input| ValueInfo::new(&self.name(input.value), graph.ty(input.value)));
        let inputs = inputs.collect::<Vec<_>>();
        let names = outputs.iter().filter_map(|output: &ValueInfo| output.name.clone());
        let (nodes, used) = used_nodes(self.scope.nodes, names.collect());
        self.inits.retain(|init| used.contains(&init.name));
        Emitted {
            nodes,
            inputs,
            outputs,
            inits: self.inits,
            doubles: self.doubles,
            opset: self.opset,
            need: self.need,
            newer: None,
        }
    }
}

/// The nodes that `wanted` names depend on, and every name that they use: sizes are prepared for a loop that may not
/// ask for all of them, and constants for a form that may not need them.
fn used_nodes(nodes: Vec<NodeProto>, mut wanted: HashSet<String>) -> (Vec<NodeProto>, HashSet<String>) {
    let mut kept = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().rev() {
        if node.output.iter().any(|name| wanted.contains(name)) {
            want_inputs(&node, &mut wanted);
            kept.push(node);
        }
    }
    kept.reverse();
    (kept, wanted)
}

fn want_inputs(node: &NodeProto, wanted: &mut HashSet<String>) {
    wanted.extend(node.input.iter().cloned());
    for body in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
        body.node.iter().for_each(|node| want_inputs(node, wanted));
    }
}
