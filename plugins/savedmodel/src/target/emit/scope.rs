//! What is known while a graph is emitted: values, nodes so far, functions, variables.
//!
//! A function sees only its arguments. The outermost scope is the function of the whole model; the body of a loop is a
//! scope inside it, and what a body uses from outside becomes an argument more of it (`capture`).

use super::Build;
use crate::proto::{ArgDef, Attr, AttrValue, FunctionDef, NodeDef, TensorProto, dtype};
use crate::target::names;
use crate::target::shapes;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::types::encode_number;
use recast_plugin_api::ir::{DType, Data, Dim, Graph, Node, Tensor, Type, ValueId};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A tensor inside a function: `node:output:0` or the name of an argument, and TensorFlow's number of its dtype.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Val {
    pub name: String,
    pub dtype: i32,
}

/// A weight as the model's function gets it.
#[derive(Debug, Clone)]
pub struct Variable {
    /// The param's name.
    pub name: String,
    pub dtype: DType,
    pub dims: Vec<u64>,
    /// Name of the argument that is its handle.
    pub arg: String,
    read: Val,
}

/// A lookup table as the model's function gets it.
#[derive(Debug, Clone)]
pub struct Table {
    /// The layer that looks things up, made free.
    pub name: String,
    /// Vectors of one length.
    pub keys: TensorProto,
    pub values: TensorProto,
    /// Name of the argument that is its handle.
    pub arg: String,
}

/// One function in the making.
pub(super) struct Scope<'a> {
    pub graph: &'a Graph,
    values: Vec<Option<Val>>,
    tensors: HashMap<ValueId, &'a Tensor>,
    /// Names of params, in the graph of this scope.
    params: HashMap<ValueId, usize>,
    pub nodes: Vec<NodeDef>,
    used: HashSet<String>,
    next: HashMap<String, u32>,
    consts: HashMap<(i32, Vec<u64>, Vec<u8>), Val>,
    pub(super) sizes: HashMap<Dim, Val>,
    /// Values of the scope around this one, and the arguments that they are here.
    pub captures: Vec<(Val, Val)>,
}

impl<'a> Scope<'a> {
    pub fn new(graph: &'a Graph) -> Scope<'a> {
        Scope {
            graph,
            values: vec![None; graph.value_count()],
            tensors: HashMap::new(),
            params: graph.params.iter().enumerate().map(|(i, param)| (param.value, i)).collect(),
            nodes: Vec::new(),
            used: HashSet::new(),
            next: HashMap::new(),
            consts: HashMap::new(),
            sizes: HashMap::new(),
            captures: Vec::new(),
        }
    }
}

pub struct Emit<'a> {
    pub(super) scopes: Vec<Scope<'a>>,
    uses: Vec<u32>,
    path: String,
    pub variables: Vec<Variable>,
    pub tables: Vec<Table>,
    by_name: HashMap<String, (usize, &'a Tensor)>,
    pub functions: Vec<FunctionDef>,
    /// Faults of the emitter itself.
    pub(super) bugs: Vec<Diag>,
}

impl<'a> Emit<'a> {
    pub fn new(graph: &'a Graph) -> Emit<'a> {
        Emit {
            scopes: vec![Scope::new(graph)],
            uses: graph.use_counts(),
            path: String::new(),
            variables: Vec::new(),
            tables: Vec::new(),
            by_name: HashMap::new(),
            functions: Vec::new(),
            bugs: Vec::new(),
        }
    }

    /// The innermost scope. There is always one: only `Emit::new` makes the list, and `inside` restores what it takes.
    pub(super) fn scope(&self) -> &Scope<'a> {
        &self.scopes[self.scopes.len() - 1]
    }

    pub(super) fn scope_mut(&mut self) -> &mut Scope<'a> {
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    pub fn graph(&self) -> &'a Graph {
        self.scope().graph
    }

    pub fn ty(&self, value: ValueId) -> &'a Type {
        self.graph().ty(value)
    }

    pub fn shape(&self, value: ValueId) -> &'a [Dim] {
        self.graph().shape(value)
    }

    /// Does anything use this value? Inside of a loop's body, everything counts as used.
    pub fn is_used(&self, value: ValueId) -> bool {
        self.scopes.len() > 1 || self.uses.get(value.0 as usize).is_none_or(|&count| count > 0)
    }

    pub fn enter(&mut self, node: &Node) {
        self.path.clone_from(&node.path);
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn set_path(&mut self, path: String) {
        self.path = path;
    }

    /// A node name that is free in this function: `base`, `base_1`, ...
    pub fn unique(&mut self, base: &str) -> String {
        let scope = self.scope_mut();
        names::unique(base, &mut scope.used, &mut scope.next)
    }

    /// A free name for a node of the layer at hand.
    pub fn node_name(&mut self, op: &str) -> String {
        let path = names::node(&self.path);
        let base = if path.is_empty() { op.to_string() } else { format!("{path}/{op}") };
        self.unique(&base)
    }

    /// A free name for an argument of this function.
    pub fn arg_name(&mut self, base: &str) -> String {
        self.unique(&names::argument(base))
    }

    pub fn bind(&mut self, value: ValueId, val: Val) {
        self.scope_mut().values[value.0 as usize] = Some(val);
    }

    /// What a value is in this function. A param becomes a variable the first time that it is asked for.
    pub fn val(&mut self, value: ValueId) -> Result<Val, Diag> {
        if let Some(val) = &self.scope().values[value.0 as usize] {
            return Ok(val.clone());
        }
        let graph = self.graph();
        let val = if let Some(&index) = self.scope().params.get(&value) {
            let param = &graph.params[index];
            self.variable(param.name(), &param.tensor)?
        } else if let Some(tensor) = self.scope().tensors.get(&value).copied() {
            self.constant(tensor)?
        } else {
            // Nodes stand in evaluation order, so this is a value of a node that was refused.
            Val { name: "refused".into(), dtype: dtype::to_tf(graph.ty(value).dtype) }
        };
        self.bind(value, val.clone());
        Ok(val)
    }

    /// A weight, read once where the model's function begins.
    fn variable(&mut self, name: String, tensor: &'a Tensor) -> Result<Val, Diag> {
        if self.scopes.len() > 1 {
            return self.captured(|e| e.variable(name, tensor));
        }
        if let Some(&(index, known)) = self.by_name.get(&name) {
            if known != tensor {
                let detail = "a loop and the graph around it see this weight in different axes under one name";
                return Err(Diag::new(Code::UnsupportedOp, name, detail));
            }
            return Ok(self.variables[index].read.clone());
        }
        let arg = self.arg_name(&name);
        let handle = Val { name: arg.clone(), dtype: dtype::RESOURCE };
        let node = self.unique(&format!("{}/Read/ReadVariableOp", names::node(&name)));
        let read = self.op("ReadVariableOp", &[&handle]).ty("dtype", tensor.dtype).named(node);
        self.by_name.insert(name.clone(), (self.variables.len(), tensor));
        let (dtype, dims) = (tensor.dtype, tensor.shape.clone());
        self.variables.push(Variable { name, dtype, dims, arg, read: read.clone() });
        Ok(read)
    }

    /// A lookup table with these keys and values: its handle. Equal ones are one.
    pub fn table(&mut self, keys: TensorProto, values: TensorProto) -> Result<Val, Diag> {
        if self.scopes.len() > 1 {
            return self.captured(|e| e.table(keys, values));
        }
        if let Some(known) = self.tables.iter().find(|table| table.keys == keys && table.values == values) {
            return Ok(Val { name: known.arg.clone(), dtype: dtype::RESOURCE });
        }
        let path = self.path.clone();
        let arg = self.arg_name(&format!("{path}_table"));
        self.tables.push(Table { name: format!("{path}/table_{}", self.tables.len()), keys, values, arg: arg.clone() });
        Ok(Val { name: arg, dtype: dtype::RESOURCE })
    }

    /// Remembers a constant: it becomes a node when somebody uses it.
    pub fn know(&mut self, value: ValueId, tensor: &'a Tensor) {
        self.scope_mut().tensors.insert(value, tensor);
    }

    fn constant(&mut self, tensor: &Tensor) -> Result<Val, Diag> {
        match &tensor.data {
            Data::Inline(stored) => {
                let bytes = tensor.view_of(stored)?.into_owned();
                Ok(self.bytes(tensor.dtype, &tensor.shape, bytes))
            }
            Data::Region { .. } => {
                Err(Diag::new(Code::Bug, &self.path, "a constant in a file was not turned into a param"))
            }
        }
    }

    /// A constant of these bytes; equal ones are one node.
    pub fn bytes(&mut self, of: DType, dims: &[u64], bytes: Vec<u8>) -> Val {
        let key = (dtype::to_tf(of), dims.to_vec(), bytes);
        if let Some(val) = self.scope().consts.get(&key) {
            return val.clone();
        }
        let tensor = TensorProto {
            dtype: key.0,
            tensor_shape: Some(shapes::known(dims)),
            tensor_content: key.2.clone(),
            ..TensorProto::default()
        };
        let val = self.op("Const", &[]).attr("value", Attr::Tensor(tensor)).ty("dtype", of).tmp();
        self.scope_mut().consts.insert(key, val.clone());
        val
    }

    /// A rank-0 constant; the value is rounded to the dtype.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> Val {
        self.bytes(dtype, &[], encode_number(dtype, value))
    }

    /// A rank-0 i32: an axis, a size.
    pub fn int(&mut self, value: i64) -> Val {
        self.scalar(DType::I32, value as f64)
    }

    /// A vector of i32: axes, shapes.
    pub fn ints(&mut self, values: &[i64]) -> Val {
        let bytes = values.iter().flat_map(|&value| encode_number(DType::I32, value as f64)).collect();
        self.bytes(DType::I32, &[values.len() as u64], bytes)
    }

    /// A matrix of i32 with two columns: paddings.
    pub fn pairs(&mut self, values: &[(u64, u64)]) -> Val {
        let flat = values.iter().flat_map(|&(a, b)| [a, b]);
        let bytes = flat.flat_map(|value| encode_number(DType::I32, value as f64)).collect();
        self.bytes(DType::I32, &[values.len() as u64, 2], bytes)
    }

    pub fn numbers(&mut self, dtype: DType, dims: &[u64], values: &[f64]) -> Val {
        let bytes = values.iter().flat_map(|&value| encode_number(dtype, value)).collect();
        self.bytes(dtype, dims, bytes)
    }

    pub fn value(&self, node: &Node, index: usize) -> Result<ValueId, Diag> {
        let value = node.inputs.get(index).copied().flatten();
        value.ok_or_else(|| Diag::new(Code::Bug, &node.path, format!("{} lacks input {index}", node.op.name())))
    }

    pub fn arg(&mut self, node: &Node, index: usize) -> Result<Val, Diag> {
        let value = self.value(node, index)?;
        self.val(value)
    }

    pub fn opt_arg(&mut self, node: &Node, index: usize) -> Result<Option<Val>, Diag> {
        node.inputs.get(index).copied().flatten().map(|value| self.val(value)).transpose()
    }

    pub fn op(&mut self, op: &'static str, inputs: &[&Val]) -> Build<'_, 'a> {
        Build::new(self, op, inputs)
    }

    /// A node without attributes of its own and with one result.
    pub fn call(&mut self, op: &'static str, inputs: &[&Val]) -> Val {
        self.op(op, inputs).tmp()
    }

    pub fn cast(&mut self, x: &Val, to: DType) -> Val {
        if x.dtype == dtype::to_tf(to) {
            return x.clone();
        }
        self.op("Cast", &[x]).ty("DstT", to).tmp()
    }

    pub fn push(&mut self, node: NodeDef) {
        self.scope_mut().nodes.push(node);
    }

    pub fn bug(&mut self, detail: String) {
        let diag = Diag::new(Code::Bug, &self.path, detail);
        self.bugs.push(diag);
    }

    /// `make` runs in the scope around this one; its value becomes an argument here.
    pub fn captured(&mut self, make: impl FnOnce(&mut Self) -> Result<Val, Diag>) -> Result<Val, Diag> {
        let Some(inner) = self.scopes.pop() else { return Err(Diag::new(Code::Bug, &self.path, "no scope")) };
        let outer = make(self);
        self.scopes.push(inner);
        Ok(self.capture(&outer?))
    }

    /// A value of the scope around this one, as an argument of this function.
    pub fn capture(&mut self, outer: &Val) -> Val {
        if let Some((_, inner)) = self.scope().captures.iter().find(|(known, _)| known == outer) {
            return inner.clone();
        }
        let base = outer.name.split(':').next().unwrap_or_default().to_string();
        let inner = Val { name: self.arg_name(&base), dtype: outer.dtype };
        self.scope_mut().captures.push((outer.clone(), inner.clone()));
        inner
    }

    /// Runs `emit` in the scope of a new function, and returns that scope.
    pub(super) fn inside<T>(
        &mut self,
        graph: &'a Graph,
        emit: impl FnOnce(&mut Self) -> Result<T, Diag>,
    ) -> Result<(Scope<'a>, T), Diag> {
        self.scopes.push(Scope::new(graph));
        let path = self.path.clone();
        let made = emit(self);
        self.path = path;
        match self.scopes.pop() {
            Some(scope) => Ok((scope, made?)),
            None => Err(Diag::new(Code::Bug, &self.path, "no scope")),
        }
    }
}

/// An argument of a function.
pub fn arg_def(name: &str, dtype: i32) -> ArgDef {
    ArgDef { name: name.into(), r#type: dtype, ..ArgDef::default() }
}

pub fn attrs(list: impl IntoIterator<Item = (&'static str, Attr)>) -> BTreeMap<String, AttrValue> {
    list.into_iter().map(|(name, attr)| (name.to_string(), AttrValue { value: Some(attr) })).collect()
}

impl Variable {
    /// One of the checkpoint alone: no function reads it.
    pub fn of(name: &str, dtype: DType, dims: &[u64]) -> Variable {
        let read = Val { name: String::new(), dtype: 0 };
        Variable { name: name.into(), dtype, dims: dims.to_vec(), arg: String::new(), read }
    }
}
