//! What is known while a module is written: how to say each value, which variables are free, attributes so far.

use crate::class::{Class, Kept, Output};
use crate::emit;
use crate::facts::Facts;
use crate::names::identifier;
use crate::py::{Py, Stmt, StmtKind, binary};
use crate::weights::{Source, Weight};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::dim::Atom;
use recast_plugin_api::ir::types::decode_numbers;
use recast_plugin_api::ir::{DType, Data, Dim, Graph, Node, Op, Param, Shape, Tensor, Type, ValueId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Short names for values on their way through.
pub const POOL: &[&str] = &["x", "y", "z"];

/// What an op became.
pub enum Made {
    /// An expression of the node's only output.
    Expr(Py),
    /// An expression of another value: nodes that follow were taken in.
    As(Py, ValueId),
    /// All outputs are bound already.
    Bound,
}

pub type Making = Result<Made, Diag>;

impl From<Py> for Made {
    fn from(py: Py) -> Made {
        Made::Expr(py)
    }
}

/// A result of a recurrent layer: PyTorch has it in other axes than the op, and what follows mostly wants PyTorch's.
#[derive(Clone)]
pub struct Folded {
    /// Directions and units joined in one axis, and the shape of that.
    pub joined: (Py, Shape),
    /// In the op's own axes.
    pub whole: Py,
    /// The axis of directions, and each of them by itself, without that axis.
    pub parts: (usize, Vec<Py>),
}

/// The values of one function, or of a loop inside it.
#[derive(Default)]
pub struct Frame {
    pub vals: HashMap<ValueId, Py>,
    pub folded: HashMap<ValueId, Folded>,
    /// Uses of a value that are still to come.
    left: HashMap<ValueId, usize>,
    /// A value that is another one under a second id.
    alias: HashMap<ValueId, ValueId>,
    /// The value that a variable holds.
    holders: BTreeMap<String, ValueId>,
    /// Variables of the function around a loop.
    reserved: BTreeSet<String>,
    /// Nodes still to be written, and those that others took in.
    pub order: Vec<usize>,
    /// Where each of them stands in `order`.
    places: HashMap<usize, usize>,
    at: usize,
    skipped: BTreeSet<usize>,
    depth: usize,
}

/// What a graph's values are before the model runs.
pub struct Statics<'a> {
    params: HashMap<ValueId, &'a Param>,
    constants: HashMap<ValueId, &'a Tensor>,
    sizes: HashMap<ValueId, &'a Dim>,
}

impl<'a> Statics<'a> {
    pub fn of(graph: &'a Graph) -> Statics<'a> {
        let mut statics = Statics {
            params: graph.params.iter().map(|param| (param.value, param)).collect(),
            constants: HashMap::new(),
            sizes: HashMap::new(),
        };
        for node in graph.nodes() {
            if let Op::Constant(op) = &node.op {
                statics.constants.insert(node.outputs[0], &op.tensor);
            } else if let Op::DimSize(op) = &node.op {
                statics.sizes.insert(node.outputs[0], &op.dim);
            }
        }
        statics
    }

    pub fn has(&self, value: ValueId) -> bool {
        self.params.contains_key(&value) || self.constants.contains_key(&value) || self.sizes.contains_key(&value)
    }
}

pub struct Emit<'a> {
    pub graph: &'a Graph,
    pub statics: Statics<'a>,
    pub facts: &'a Facts,
    pub class: Class,
    pub frame: Frame,
    pub out: Output,
    pub path: String,
}

impl<'a> Emit<'a> {
    pub fn new(graph: &'a Graph, facts: &'a Facts, class: Class) -> Emit<'a> {
        let (statics, frame, out) = (Statics::of(graph), Frame::default(), Output::default());
        Emit { graph, statics, facts, class, frame, out, path: String::new() }
    }

    pub fn ty(&self, value: ValueId) -> &'a Type {
        self.graph.ty(value)
    }

    pub fn shape(&self, value: ValueId) -> &'a [Dim] {
        self.graph.shape(value)
    }

    pub fn param(&self, value: ValueId) -> Option<&'a Param> {
        self.statics.params.get(&value).copied()
    }

    /// A weight's or a constant's tensor.
    pub fn tensor(&self, value: ValueId) -> Option<&'a Tensor> {
        self.param(value).map(|param| &param.tensor).or_else(|| self.statics.constants.get(&value).copied())
    }

    // --- values -----------------------------------------------------------------------------------------------------
    /// The values that nodes `order` take, plus those that leave.
    pub fn begin(&mut self, order: Vec<usize>, leaving: impl Iterator<Item = ValueId>) {
        let inputs = order.iter().flat_map(|&at| self.graph.nodes()[at].inputs.iter().flatten().copied());
        let mut left = HashMap::new();
        for value in inputs.chain(leaving) {
            *left.entry(value).or_insert(0) += 1;
        }
        self.frame.left = left;
        self.frame.places = order.iter().enumerate().map(|(place, &index)| (index, place)).collect();
        self.frame.order = order;
        self.frame.at = 0;
    }

    /// Binds an input of the function to its argument.
    pub fn bind_argument(&mut self, value: ValueId, name: &str) {
        self.frame.vals.insert(value, name.into());
        self.frame.holders.insert(name.into(), value);
        self.class.arguments.push((name.into(), self.shape(value).to_vec()));
    }

    /// Binds a value to a variable of its own that stays.
    pub fn bind_variable(&mut self, value: ValueId, name: &str) {
        self.frame.vals.insert(value, name.into());
        self.frame.holders.insert(name.into(), value);
    }

    fn root(&self, value: ValueId) -> ValueId {
        let mut value = value;
        while let Some(&next) = self.frame.alias.get(&value) {
            value = next;
        }
        value
    }

    /// Uses of the value that are still to come.
    pub fn uses_left(&self, value: ValueId) -> usize {
        self.frame.left.get(&self.root(value)).copied().unwrap_or(0)
    }

    pub fn is_used(&self, value: ValueId) -> bool {
        self.frame.left.get(&value).copied().unwrap_or(0) > 0
    }

    /// One use less of each input.
    pub fn consumed(&mut self, node: &Node) {
        for value in node.inputs.iter().flatten() {
            let root = self.root(*value);
            if let Some(left) = self.frame.left.get_mut(&root) {
                *left = left.saturating_sub(1);
            }
        }
    }

    pub fn go_to(&mut self, index: usize) {
        self.frame.at = self.frame.places.get(&index).copied().unwrap_or(0);
    }

    /// The node right behind the one in hand (and behind those that it took in), where it is of the same layer.
    pub fn next(&self) -> Option<&'a Node> {
        let nodes = self.graph.nodes();
        let behind = self.frame.order.get(self.frame.at + 1..)?;
        let next = &nodes[*behind.iter().find(|index| !self.is_skipped(**index))?];
        (next.path == nodes[self.frame.order[self.frame.at]].path).then_some(next)
    }

    /// Takes in the next node: it is written already.
    pub fn skip_next(&mut self) {
        let behind = self.frame.order.get(self.frame.at + 1..).unwrap_or(&[]);
        if let Some(&index) = behind.iter().find(|index| !self.is_skipped(**index)) {
            self.frame.skipped.insert(index);
            let node = &self.graph.nodes()[index];
            self.consumed(node);
        }
    }

    pub fn is_skipped(&self, index: usize) -> bool {
        self.frame.skipped.contains(&index)
    }

    pub fn value(&self, node: &Node, index: usize) -> Result<ValueId, Diag> {
        let value = node.inputs.get(index).copied().flatten();
        value.ok_or_else(|| Diag::new(Code::Bug, &node.path, format!("{} lacks input {index}", node.op.name())))
    }

    pub fn opt_value(&self, node: &Node, index: usize) -> Option<ValueId> {
        node.inputs.get(index).copied().flatten()
    }

    /// How to say a value: a variable, an expression, a literal, an attribute.
    pub fn say(&mut self, value: ValueId) -> Result<Py, Diag> {
        if let Some(py) = self.frame.vals.get(&value) {
            return Ok(py.clone());
        }
        if let Some(folded) = self.frame.folded.get(&value) {
            return Ok(folded.whole.clone());
        }
        if let Some(literal) = self.scalar(value, 0) {
            return Ok(literal);
        }
        if let Some(param) = self.param(value) {
            return self.raw_param(param);
        }
        if let Some(tensor) = self.statics.constants.get(&value).copied() {
            return self.raw_constant(tensor);
        }
        if let Some(dim) = self.statics.sizes.get(&value).copied() {
            let size = self.size(dim)?;
            return Ok(crate::py::call("torch.tensor", vec![size.into()]));
        }
        // The node that makes it was refused.
        Ok("refused".into())
    }

    pub fn arg(&mut self, node: &Node, index: usize) -> Result<Py, Diag> {
        self.say(self.value(node, index)?)
    }

    pub fn opt_arg(&mut self, node: &Node, index: usize) -> Result<Option<Py>, Diag> {
        self.opt_value(node, index).map(|value| self.say(value)).transpose()
    }

    /// As a variable or an attribute: what may be said more than once.
    pub fn var(&mut self, node: &Node, index: usize) -> Result<Py, Diag> {
        let value = self.value(node, index)?;
        let py = self.say(value)?;
        if matches!(&py, Py::Atom(_)) || matches!(&py, Py::Attr(on, _) if **on == Py::from("self")) {
            return Ok(py);
        }
        let name = self.temporary(&py);
        self.frame.vals.insert(value, name.clone());
        Ok(name)
    }

    /// As a tensor even where it is a number: for functions that take no numbers.
    pub fn tensor_arg(&mut self, node: &Node, index: usize) -> Result<Py, Diag> {
        let value = self.value(node, index)?;
        match self.scalar(value, 0) {
            Some(literal) => {
                let dtype = dtype(self.ty(value).dtype, node)?;
                Ok(crate::py::call("torch.tensor", vec![literal.into(), crate::py::kw("dtype", dtype)]))
            }
            None => self.say(value),
        }
    }

    /// As a tensor, which an output is even where it is a plain number.
    pub fn said_whole(&mut self, value: ValueId) -> Result<Py, Diag> {
        let Some(literal) = self.scalar(value, 0) else { return self.say(value) };
        let dtype = torch_dtype(self.ty(value).dtype);
        Ok(crate::py::call("torch.tensor", vec![literal.into(), crate::py::kw("dtype", Py::from(dtype))]))
    }

    /// The number that a constant of one element is, if its rank is not above `rank`.
    pub fn scalar(&self, value: ValueId, rank: usize) -> Option<Py> {
        let tensor = self.statics.constants.get(&value)?;
        if tensor.len() != 1 || tensor.shape.len() > rank {
            return None;
        }
        let Data::Inline(bytes) = &tensor.data else { return None };
        literal(tensor.dtype, bytes)
    }

    // --- statements -------------------------------------------------------------------------------------------------
    pub fn push(&mut self, kind: StmtKind) {
        self.class.body.push(Stmt { depth: self.frame.depth, kind });
    }

    pub fn deeper(&mut self, by: usize) {
        self.frame.depth += by;
    }

    pub fn depth(&self) -> usize {
        self.frame.depth
    }

    fn is_free(&self, name: &str) -> bool {
        let held = self.frame.holders.get(name).is_some_and(|&value| self.uses_left(value) > 0);
        !held && !self.frame.reserved.contains(name) && !self.class.fixed.has(name)
    }

    /// A variable for a value: that of an input which nobody needs any more, else a short one, else the layer's name.
    pub fn variable(&mut self, value: ValueId, inputs: &[Option<ValueId>]) -> String {
        let freed = |input: &ValueId| match self.frame.vals.get(input) {
            Some(Py::Atom(name)) if POOL.contains(&name.as_str()) && self.is_free(name) => Some(name.clone()),
            _ => None,
        };
        let mut freed: Vec<String> = inputs.iter().flatten().filter_map(freed).collect();
        freed.sort();
        let name = freed
            .into_iter()
            .next()
            .or_else(|| POOL.iter().find(|letter| self.is_free(letter)).map(|letter| letter.to_string()));
        let is_mask = self.ty(value).dtype == DType::Bool && self.is_free("mask");
        let name = if is_mask { "mask".into() } else { name.unwrap_or_else(|| self.local_name()) };
        self.frame.holders.insert(name.clone(), value);
        name
    }

    /// A free variable named after the layer.
    fn local_name(&self) -> String {
        let base = identifier(self.path.rsplit('/').next().unwrap_or("value"));
        let mut name = base.clone();
        let mut number = 1;
        while !self.is_free(&name) {
            number += 1;
            name = format!("{base}_{number}");
        }
        name
    }

    /// Assigns an expression to a variable that stays for the rest of the function.
    pub fn temporary(&mut self, py: &Py) -> Py {
        let name = self.fixed_name(&self.local_name());
        self.push(StmtKind::Assign { targets: name.clone(), value: py.clone(), comment: String::new() });
        name.into()
    }

    /// A variable that nothing else of the function gets.
    pub fn fixed_name(&mut self, base: &str) -> String {
        let mut name = base.to_string();
        let mut number = 1;
        while self.class.fixed.has(&name) || self.frame.holders.contains_key(&name) || POOL.contains(&name.as_str()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        self.class.fixed.take(&name)
    }

    /// Binds a node's result: as an expression inside the next statement where that reads well, else to a variable.
    pub fn bind(&mut self, node: &Node, value: ValueId, py: Py) {
        if let Py::Atom(name) = &py {
            if let Some(&holder) = self.frame.holders.get(name) {
                let (own, root) = (self.uses_left(value), self.root(holder));
                if root != value {
                    *self.frame.left.entry(root).or_insert(0) += own;
                    self.frame.alias.insert(value, root);
                }
            }
            self.frame.vals.insert(value, py);
            return;
        }
        if self.reads_well_inside(node, value, &py) {
            self.frame.vals.insert(value, py);
            return;
        }
        self.assign(node, value, py);
    }

    fn reads_well_inside(&self, node: &Node, value: ValueId, py: &Py) -> bool {
        const INLINE_MAX: usize = 44;
        let Some(next) = self.next().filter(|next| next.path == node.path && !matches!(next.op, Op::Scan(_))) else {
            return false;
        };
        self.uses_left(value) == 1
            && next.inputs.iter().flatten().filter(|input| **input == value).count() == 1
            && py.inline().len() <= INLINE_MAX
    }

    pub fn assign(&mut self, node: &Node, value: ValueId, py: Py) -> String {
        let name = self.variable(value, &node.inputs);
        let before = node.inputs.iter().flatten().find(|input| !self.statics.has(**input));
        let shape = self.shape(value);
        let changed = before.is_none_or(|&input| self.shape(input) != shape);
        let comment = if changed { shape_comment(shape) } else { String::new() };
        self.push(StmtKind::Assign { targets: name.clone(), value: py, comment });
        self.frame.vals.insert(value, name.clone().into());
        name
    }

    // --- sizes ------------------------------------------------------------------------------------------------------
    /// A size as a Python integer.
    pub fn size(&mut self, dim: &Dim) -> Result<Py, Diag> {
        if let Some(size) = dim.known() {
            return Ok(size.into());
        }
        if let Some(name) = self.class.sizes.get(dim) {
            return Ok(name.as_str().into());
        }
        let found = self
            .class
            .arguments
            .iter()
            .find_map(|(name, shape)| shape.iter().position(|have| have == dim).map(|axis| (name.clone(), axis)));
        if let Some((argument, axis)) = found {
            let name = self.fixed_name(&identifier(dim.as_symbol().unwrap_or("size")));
            let shape = Py::Attr(Box::new(argument.into()), "shape".into());
            let value = Py::Index(Box::new(shape), vec![axis.into()]);
            let kind = StmtKind::Assign { targets: name.clone(), value, comment: String::new() };
            self.class.prologue.push(Stmt { depth: 0, kind });
            self.class.sizes.insert(dim.clone(), name.clone());
            return Ok(name.into());
        }
        if dim.as_symbol().is_some() {
            let detail = format!("the size '{dim}' is not that of an input's axis, so it can't be known at run time");
            return Err(Diag::new(Code::UnsupportedOp, &self.path, detail));
        }
        self.polynomial(&dim.terms())
    }

    fn polynomial(&mut self, terms: &[(i64, Vec<Atom>)]) -> Result<Py, Diag> {
        let mut sum: Option<Py> = None;
        // Constants sort first; people write them last.
        let (constants, others): (Vec<_>, Vec<_>) = terms.iter().partition(|(_, factors)| factors.is_empty());
        for (coefficient, factors) in others.into_iter().chain(constants) {
            let mut product: Option<Py> = None;
            let size = coefficient.unsigned_abs();
            if size != 1 || factors.is_empty() {
                product = Some(size.into());
            }
            for factor in factors {
                let factor = match factor {
                    Atom::Symbol(name) => self.size(&Dim::symbol(name))?,
                    Atom::Floor(inner, divisor) => {
                        let inner = self.size(&Dim::Symbolic(inner.clone()))?;
                        binary("//", inner, (*divisor).into())
                    }
                };
                product = Some(match product {
                    Some(before) => binary("*", before, factor),
                    None => factor,
                });
            }
            let term = product.unwrap_or_else(|| 0u64.into());
            sum = Some(match sum {
                Some(before) => binary(if *coefficient < 0 { "-" } else { "+" }, before, term),
                None if *coefficient < 0 => Py::Negative(Box::new(term)),
                None => term,
            });
        }
        Ok(sum.unwrap_or_else(|| 0u64.into()))
    }

    /// Sizes for `reshape`: -1 in the place of the only one that is not known.
    pub fn sizes(&mut self, dims: &[Dim]) -> Result<Vec<Py>, Diag> {
        let free = dims.iter().filter(|dim| dim.known().is_none()).count();
        let size = |dim: &Dim| if free == 1 && dim.known().is_none() { Ok((-1i64).into()) } else { self.size(dim) };
        dims.iter().map(size).collect()
    }

    // --- attributes -------------------------------------------------------------------------------------------------
    /// The attribute name for something of the layer in hand; `hint` where the layer has several.
    pub fn attribute_base(&self, path: &str, hint: &str) -> String {
        let own = path.strip_prefix(&self.class.path).unwrap_or(path);
        let base = identifier(own);
        if hint.is_empty() { base } else { identifier(&format!("{base}_{hint}")) }
    }

    /// The module for `key`, made the first time that it is asked for with this constructor and these weights, which
    /// are named below the module.
    pub fn module(&mut self, key: String, base: &str, ctor: Py, frozen: &[&str], weights: Vec<Weight>) -> Py {
        let mut held = DefaultHasher::new();
        weights.iter().for_each(|weight| weight.hash(&mut held));
        let key = format!("{key} {} {:x}", ctor.inline(), held.finish());
        if let Some(known) = self.out.attribute(&key, &self.class.prefix) {
            return known;
        }
        let name = self.class.attributes.take(base);
        let own = self.class.key(&name);
        self.class.kept.push(Kept::Module { name: name.clone(), value: ctor });
        if self.facts.is_frozen(&self.path) && !weights.is_empty() {
            self.class.kept.push(Kept::Line(format!("self.{name}.requires_grad_(False)")));
        } else {
            let lines = frozen.iter().map(|part| Kept::Line(format!("self.{name}.{part}.requires_grad = False")));
            self.class.kept.extend(lines);
        }
        self.out
            .weights
            .extend(weights.into_iter().map(|weight| Weight { key: format!("{own}.{}", weight.key), ..weight }));
        self.out.remember(key, &self.class.prefix, &name);
        Py::Attr(Box::new("self".into()), name)
    }

    /// A weight by itself: a Parameter, or a buffer where Keras does not train it either.
    pub fn raw_param(&mut self, param: &Param) -> Result<Py, Diag> {
        let key = param.name();
        if let Some(known) = self.out.attribute(&key, &self.class.prefix) {
            return Ok(known);
        }
        let (base, _) = param.role.split_once('@').unwrap_or((&param.role, ""));
        let trained = param.tensor.dtype.is_float() && !is_statistic(base);
        let frozen = self.facts.is_frozen(&param.path);
        let name = self.class.attributes.take(&self.attribute_base(&param.path, base));
        self.keep(&name, param.tensor.clone(), trained, frozen)?;
        self.out.remember(key, &self.class.prefix, &name);
        Ok(Py::Attr(Box::new("self".into()), name))
    }

    fn raw_constant(&mut self, tensor: &Tensor) -> Result<Py, Diag> {
        let key = format!("{tensor:?}");
        if let Some(known) = self.out.attribute(&key, &self.class.prefix) {
            return Ok(known);
        }
        let name = self.class.attributes.take(&self.attribute_base(&self.path, "constant"));
        self.keep(&name, tensor.clone(), false, false)?;
        self.out.remember(key, &self.class.prefix, &name);
        Ok(Py::Attr(Box::new("self".into()), name))
    }

    fn keep(&mut self, name: &str, tensor: Tensor, trained: bool, frozen: bool) -> Result<(), Diag> {
        let dtype = torch_dtype(tensor.dtype);
        self.class.kept.push(match trained {
            true => Kept::parameter(name, &tensor.shape, dtype, !frozen),
            false => Kept::buffer(name, &tensor.shape, dtype),
        });
        let key = self.class.key(name);
        self.out.weights.push(Weight { source: Source::View(tensor.clone()), ..Weight::view(key, tensor) });
        Ok(())
    }

    // --- loops ------------------------------------------------------------------------------------------------------
    /// Writes a loop's body: another graph, in the same function.
    pub fn inner<T>(
        &mut self,
        body: &'a Graph,
        write: impl FnOnce(&mut Emit<'a>) -> Result<T, Diag>,
    ) -> Result<T, Diag> {
        let (graph, statics) = (self.graph, std::mem::replace(&mut self.statics, Statics::of(body)));
        let mut frame = Frame { depth: self.frame.depth, ..Frame::default() };
        frame.reserved = self.frame.reserved.iter().chain(self.frame.holders.keys()).cloned().collect();
        let outer = std::mem::replace(&mut self.frame, frame);
        let path = self.path.clone();
        self.graph = body;
        let order =
            body.nodes().iter().enumerate().filter(|(_, node)| emit::is_written(node)).map(|(at, _)| at).collect();
        self.begin(order, body.outputs.iter().map(|output| output.value));
        let result = write(self);
        (self.graph, self.statics, self.frame, self.path) = (graph, statics, outer, path);
        result
    }
}

/// Weights that Keras itself does not train.
const STATISTICS: &[&str] = &["moving_mean", "moving_variance", "mean", "variance", "vector_u"];

fn is_statistic(role: &str) -> bool {
    STATISTICS.contains(&role.rsplit('/').next().unwrap_or(role))
}

pub fn shape_comment(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
    if let [only] = &dims[..] { format!("({only},)") } else { format!("({})", dims.join(", ")) }
}

/// One number as Python writes it.
pub fn literal(dtype: DType, bytes: &[u8]) -> Option<Py> {
    let value = decode_numbers(dtype, bytes).first().copied()?;
    Some(match dtype {
        DType::Bool => (value != 0.0).into(),
        DType::Str => return None,
        // The shortest text that is this number in float32 (or less): 0.1 rather than 0.10000000149011612.
        // But PyTorch reads it in float64, where that text of the largest one is above it.
        DType::F32 if value.is_finite() && value.abs() < f64::from(f32::MAX) => Py::Atom(format!("{:?}", value as f32)),
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 => value.into(),
        DType::I64 => i64::from_le_bytes(bytes.try_into().ok()?).into(),
        DType::U64 => u64::from_le_bytes(bytes.try_into().ok()?).into(),
        DType::I8 | DType::I16 | DType::I32 | DType::U8 | DType::U16 | DType::U32 => (value as i64).into(),
    })
}

/// `torch.float32`
pub fn torch_dtype(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "torch.float16",
        DType::BF16 => "torch.bfloat16",
        DType::F32 => "torch.float32",
        DType::F64 => "torch.float64",
        DType::I8 => "torch.int8",
        DType::I16 => "torch.int16",
        DType::I32 => "torch.int32",
        DType::I64 => "torch.int64",
        DType::U8 => "torch.uint8",
        DType::U16 => "torch.uint16",
        DType::U32 => "torch.uint32",
        DType::U64 => "torch.uint64",
        DType::Bool => "torch.bool",
        DType::Str => "str",
    }
}

pub fn dtype(dtype: DType, node: &Node) -> Result<Py, Diag> {
    match dtype {
        DType::Str => Err(emit::unsupported(node, "PyTorch has no tensors of strings")),
        other => Ok(torch_dtype(other).into()),
    }
}
