//! Lowers the nodes of a graph of TensorFlow, functions put in place of their calls.

use super::def::{Library, Node};
use super::literal::Origin;
use super::ops;
use super::value::{Int, Ints, List, Val};
use super::walk::Given;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::types::INLINE_BYTES_MAX;
use recast_plugin_api::ir::{Cast, Concat, DType, Data, Dim, DimSize, Graph, Op, Tensor, Type, ValueId};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Functions inside each other.
pub const CALL_DEPTH_MAX: usize = 64;
/// Nodes that are lowered, those of a function counted each time that it is called.
pub const LOWERED_MAX: usize = 500_000;
/// Findings of one kind that are told one by one.
const FINDINGS_MAX: usize = 50;

/// A variable: its elements, and what it is called in outputs.
pub struct Variable {
    pub path: String,
    pub role: String,
    pub tensor: Tensor,
}

/// A graph in the making: the model's, or the body of a loop.
pub struct Frame {
    pub graph: Graph,
    /// Values of the frame outside that the body uses: there, and the input that they are here.
    pub captured: Vec<(ValueId, ValueId)>,
    /// What a loop walks over: outside with time on axis 1, here one step of it.
    pub scanned: Vec<(ValueId, ValueId)>,
    /// How often a loop runs; none in the model itself.
    pub trips: Option<Dim>,
    /// The number of steps done as a scalar, once something asked for it.
    pub counter: Option<ValueId>,
    /// Values that stand in blocks.
    pub blocked: HashMap<ValueId, ops::blocks::Blocked>,
}

impl Frame {
    pub fn new(graph: Graph) -> Frame {
        Frame { graph, captured: Vec::new(), scanned: Vec::new(), trips: None, counter: None, blocked: HashMap::new() }
    }
}

pub struct Interp<'a> {
    pub library: &'a Library<'a>,
    pub origin: Origin<'a>,
    pub variables: HashMap<String, Variable>,
    /// What lookup tables hold, by node: see `super::TABLES`.
    pub tables: serde_json::Map<String, serde_json::Value>,
    pub frames: Vec<Frame>,
    /// A loop's condition is looked at for how often it holds, not lowered.
    pub deciding: bool,
    calls: Vec<String>,
    lowered: usize,
    /// Ops that nothing lowers: how often, and the first nodes of each.
    unknown: BTreeMap<String, (usize, Vec<String>)>,
    findings: Findings,
    /// The first node of a function that changes a variable.
    pub changed: Option<String>,
}

/// With a way out, where a loop over samples stands in the way that TensorFlow makes of `vectorized_map`.
fn of_pfor(diag: Diag) -> Diag {
    if !diag.at.contains("/pfor/") || !diag.hint.is_empty() {
        return diag;
    }
    diag.hint(
        "Keras 3 maps TimeDistributed over a free length so: export it with a fixed one, or convert the .keras file",
    )
}

/// Ops that change a variable.
const CHANGES: &[&str] = &["AssignAddVariableOp", "AssignSubVariableOp", "AssignVariableOp"];

impl<'a> Interp<'a> {
    pub fn new(
        library: &'a Library<'a>,
        origin: Origin<'a>,
        variables: HashMap<String, Variable>,
        graph: Graph,
    ) -> Interp<'a> {
        Interp {
            library,
            origin,
            variables,
            tables: Default::default(),
            frames: vec![Frame::new(graph)],
            deciding: false,
            calls: Vec::new(),
            lowered: 0,
            unknown: BTreeMap::new(),
            findings: Findings::new(),
            changed: None,
        }
    }

    /// Everything that could not be lowered, at once.
    pub fn findings(&mut self) -> Findings {
        let mut findings: Findings = std::mem::take(&mut self.findings).into_iter().map(of_pfor).collect();
        for (op, (count, nodes)) in std::mem::take(&mut self.unknown) {
            let detail = format!("TensorFlow's op '{op}' is not known; {count} of it, the first: {}", nodes.join(", "));
            findings.push(Diag::new(Code::UnsupportedOp, nodes.first().cloned().unwrap_or_default(), detail));
        }
        findings
    }

    fn note(&mut self, diag: Diag) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(diag);
        }
    }

    pub fn node(&mut self, node: &Node<'a>, inputs: &[Val]) -> Result<Vec<Val>, Diag> {
        self.count(node)?;
        let Some(row) = ops::find(node.op) else {
            let (count, nodes) = self.unknown.entry(node.op.to_owned()).or_default();
            *count += 1;
            if nodes.len() < 3 {
                nodes.push(node.name.to_owned());
            }
            return Ok(vec![Val::Failed]);
        };
        if inputs.iter().any(|val| matches!(val, Val::Failed)) && !row.is_lenient() {
            return Ok(vec![Val::Failed]);
        }
        // What a branch that is not taken goes on to compute.
        if inputs.iter().any(|val| matches!(val, Val::Nothing)) && !row.is_lenient() && !self.deciding {
            return Ok(vec![Val::Nothing]);
        }
        if inputs.iter().any(|val| matches!(val, Val::Ragged(_))) && !row.is_lenient() {
            return self.settled(|interp| ops::ragged::node(interp, node, inputs));
        }
        self.settled(|interp| (row.lower)(interp, node, inputs))
    }

    pub fn count(&mut self, node: &Node<'a>) -> Result<(), Diag> {
        self.lowered += 1;
        if self.lowered > LOWERED_MAX {
            let detail = format!("more than {LOWERED_MAX} nodes, functions counted each time that they are called");
            return Err(Diag::new(Code::LimitExceeded, node.name, detail));
        }
        Ok(())
    }

    /// Errors are noted, but for those that end everything.
    pub fn settled(&mut self, lower: impl FnOnce(&mut Interp<'a>) -> Result<Vec<Val>, Diag>) -> Result<Vec<Val>, Diag> {
        match lower(self) {
            Ok(out) => Ok(out),
            // A bound ends everything, so does a graph that contradicts itself.
            Err(diag) if matches!(diag.code, Code::LimitExceeded | Code::Bug) => Err(diag),
            Err(diag) => {
                self.note(diag);
                Ok(vec![Val::Failed])
            }
        }
    }

    /// A function of the library in place of its call.
    pub fn call(&mut self, at: &Node<'a>, name: &str, arguments: &[Val]) -> Result<Vec<Val>, Diag> {
        if self.calls.iter().any(|active| active == name) {
            return Err(Diag::new(Code::LimitExceeded, at.name, format!("the function {name} calls itself")));
        }
        let body = self.library.function(name)?;
        if body.arguments.len() != arguments.len() {
            let detail = format!("{name} takes {} arguments, is given {}", body.arguments.len(), arguments.len());
            return Err(at.bad(detail));
        }
        if self.changed.is_none() {
            let change = body.nodes.iter().find(|node| CHANGES.contains(&node.op));
            self.changed = change.map(|node| node.name.to_string());
        }
        let nodes = HashMap::new();
        self.inside(at, name, |interp| interp.run(&body, Given { arguments, nodes: &nodes }, &body.results))
    }

    /// One level deeper: in a function, or a loop.
    pub fn inside<T>(
        &mut self,
        at: &Node<'a>,
        name: &str,
        run: impl FnOnce(&mut Interp<'a>) -> Result<T, Diag>,
    ) -> Result<T, Diag> {
        if self.calls.len() == CALL_DEPTH_MAX {
            let detail = format!("functions and loops nested over {CALL_DEPTH_MAX} deep");
            return Err(Diag::new(Code::LimitExceeded, at.name, detail));
        }
        self.calls.push(name.to_owned());
        let out = run(self);
        self.calls.pop();
        out
    }

    pub fn depth(&self) -> usize {
        self.frames.len() - 1
    }

    pub fn graph(&mut self) -> &mut Graph {
        let last = self.frames.len() - 1;
        &mut self.frames[last].graph
    }

    pub fn val(&self, value: ValueId) -> Val {
        Val::Tensor { depth: self.depth(), value }
    }

    /// Adds an op with one output.
    pub fn add(&mut self, node: &Node<'_>, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId, Diag> {
        let op = op.into();
        self.graph().add(node.name, op, inputs)
    }

    pub fn add_node(&mut self, node: &Node<'_>, op: Op, inputs: &[ValueId]) -> Result<Vec<ValueId>, Diag> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        self.graph().add_node(node.name, op, &inputs)
    }

    pub fn ty(&self, value: ValueId) -> Type {
        self.frames[self.depth()].graph.ty(value).clone()
    }

    pub fn shape(&self, value: ValueId) -> Vec<Dim> {
        self.ty(value).shape
    }

    /// The value in the graph that is being built, made where it only was known.
    pub fn value(&mut self, node: &Node<'_>, val: &Val) -> Result<ValueId, Diag> {
        match val {
            Val::Tensor { depth, value } => self.captured(*depth, *value, self.depth()),
            Val::Known(tensor) => self.constant(node, tensor),
            Val::Ints(ints) => self.sizes(node, ints),
            Val::Counter(counter) => self.counter(node, counter),
            Val::Texts(texts) => ops::strings::constant(self, node, texts),
            Val::Variable(name) => self.variable(node, name),
            Val::Table(_) => Err(node.unsupported("a lookup table as a value")),
            Val::List(_) => Err(node.unsupported("a list of tensors where a tensor is needed")),
            Val::Drawn(drawn) => Err(drawn.refused()),
            Val::Bits(_) => Err(node.unsupported("the bits of numbers, besides the sign")),
            Val::Below(_) => Err(node.unsupported("a loop's condition as a value")),
            Val::Ragged(_) => Err(node.unsupported("words of texts, of which each has another number")),
            Val::Filled(_) => Err(node.unsupported("the places of a sparse tensor as a value")),
            Val::Nothing => Err(node.unsupported("the result of a branch that is not taken")),
            Val::Failed => Err(Diag::new(Code::Bug, node.name, "a value that could not be lowered")),
        }
    }

    fn constant(&mut self, node: &Node<'_>, tensor: &Tensor) -> Result<ValueId, Diag> {
        if let Data::Region { .. } = &tensor.data {
            // Weights that were frozen into the graph are weights again.
            if self.depth() == 0 {
                let (path, role) = node.name.rsplit_once('/').unwrap_or(("", node.name));
                return Ok(self.graph().param_view(path, role, tensor.clone()));
            }
        }
        if let Data::Inline(bytes) = &tensor.data
            && bytes.len() > INLINE_BYTES_MAX
        {
            return Err(Diag::new(Code::LimitExceeded, node.name, format!("a constant of {} bytes", bytes.len())));
        }
        self.graph().constant(node.name, tensor.clone())
    }

    pub fn variable(&mut self, node: &Node<'_>, name: &str) -> Result<ValueId, Diag> {
        let variable = self.variables.get(name);
        let variable = variable.ok_or_else(|| {
            let detail = format!("the variable '{name}' has no value in the checkpoint");
            Diag::new(Code::WeightMissing, node.name, detail)
        })?;
        let (path, role, tensor) = (variable.path.clone(), variable.role.clone(), variable.tensor.clone());
        let value = self.frames[0].graph.param(&path, &role, tensor);
        self.captured(0, value, self.depth())
    }

    /// A value of an outer graph inside the body of a loop: it travels as a state that stays what it is.
    fn captured(&mut self, depth: usize, value: ValueId, to: usize) -> Result<ValueId, Diag> {
        if depth >= to {
            return if depth == to {
                Ok(value)
            } else {
                Err(Diag::new(Code::Bug, "", "a value of a loop's body outside of it"))
            };
        }
        let outer = self.captured(depth, value, to - 1)?;
        if let Some((_, inner)) = self.frames[to].captured.iter().find(|(known, _)| *known == outer) {
            return Ok(*inner);
        }
        let ty = self.frames[to - 1].graph.ty(outer).clone();
        let frame = &mut self.frames[to];
        let inner = frame.graph.input(format!("fixed{}", frame.captured.len()), ty);
        frame.captured.push((outer, inner));
        Ok(inner)
    }

    /// Sizes as a tensor, computed when the model runs.
    fn sizes(&mut self, node: &Node<'_>, ints: &Ints) -> Result<ValueId, Diag> {
        let mut parts = Vec::new();
        for element in &ints.elements {
            let value = match element {
                Int::N(n) => {
                    self.add(node, recast_plugin_api::ir::Constant { tensor: Tensor::from_i64(&[], &[*n]) }, &[])?
                }
                Int::D(dim) => self.add(node, DimSize { dim: dim.clone() }, &[])?,
            };
            let value =
                if ints.dtype == DType::I64 { value } else { self.add(node, Cast { to: ints.dtype }, &[value])? };
            if ints.shape.is_empty() {
                return Ok(value);
            }
            parts.push(self.graph().reshape(node.name, value, vec![Dim::Known(1)])?);
        }
        let flat = match parts.as_slice() {
            [] => return Err(node.bad("an empty tensor of free sizes")),
            [one] => *one,
            several => {
                let several = several.to_vec();
                self.add(node, Concat { axis: 0 }, &several)?
            }
        };
        let shape: Vec<Dim> = ints.shape.iter().map(|&size| Dim::Known(size as u64)).collect();
        self.graph().reshape(node.name, flat, shape)
    }

    /// A weight under another shape: seen so, where it is a weight as stored.
    pub fn weight_as(&mut self, node: &Node<'_>, value: ValueId, shape: Vec<Dim>) -> Result<ValueId, Diag> {
        let sizes: Option<Vec<u64>> = shape.iter().map(Dim::known).collect();
        let graph = self.graph();
        let param = graph.params.iter().find(|param| param.value == value).cloned();
        let view = param.zip(sizes).and_then(|(param, sizes)| Some((param.tensor.reshaped(&sizes)?, param)));
        match view {
            Some((tensor, param)) => Ok(graph.param_view(&param.path, &param.role, tensor)),
            None => graph.reshape(node.name, value, shape),
        }
    }

    pub fn dtype_of(&self, val: &Val) -> Option<DType> {
        match val {
            Val::Tensor { depth, value } => Some(self.frames[*depth].graph.ty(*value).dtype),
            Val::Known(tensor) => Some(tensor.dtype),
            Val::Ints(ints) => Some(ints.dtype),
            Val::Counter(counter) => Some(counter.dtype),
            Val::Variable(name) => self.variables.get(&**name).map(|variable| variable.tensor.dtype),
            Val::Texts(_) => Some(DType::Str),
            Val::Drawn(drawn) => Some(drawn.dtype),
            Val::Bits(_) => Some(DType::I32),
            Val::Table(_) | Val::List(_) | Val::Below(_) | Val::Nothing | Val::Failed => None,
            Val::Ragged(_) | Val::Filled(_) => None,
        }
    }

    pub fn shape_of(&self, node: &Node<'_>, val: &Val) -> Result<Vec<Dim>, Diag> {
        let known = |shape: &[u64]| shape.iter().map(|&size| Dim::Known(size)).collect();
        match val {
            Val::Tensor { depth, value } => Ok(self.frames[*depth].graph.shape(*value).to_vec()),
            Val::Known(tensor) => Ok(known(&tensor.shape)),
            Val::Ints(ints) => Ok(ints.shape.iter().map(|&size| Dim::Known(size as u64)).collect()),
            Val::Counter(_) => Ok(Vec::new()),
            Val::Variable(name) => match self.variables.get(&**name) {
                Some(variable) => Ok(known(&variable.tensor.shape)),
                None => Err(node.bad(format!("the variable '{name}' has no value in the checkpoint"))),
            },
            Val::Texts(texts) => Ok(known(&texts.shape)),
            Val::Drawn(drawn) => drawn.shape.clone().ok_or_else(|| drawn.refused()),
            Val::Bits(of) => self.shape_of(node, of),
            Val::Table(_)
            | Val::List(_)
            | Val::Below(_)
            | Val::Ragged(_)
            | Val::Filled(_)
            | Val::Nothing
            | Val::Failed => Err(node.unsupported("this has no shape")),
        }
    }

    /// Whole numbers that are known, or sizes that are free.
    pub fn ints(&self, val: &Val) -> Option<Ints> {
        match val {
            Val::Known(tensor) => Ints::of_tensor(tensor),
            Val::Ints(ints) => Some((**ints).clone()),
            Val::Tensor { .. }
            | Val::Texts(_)
            | Val::Variable(_)
            | Val::Table(_)
            | Val::List(_)
            | Val::Counter(_)
            | Val::Drawn(_)
            | Val::Bits(_)
            | Val::Below(_)
            | Val::Ragged(_)
            | Val::Filled(_)
            | Val::Nothing
            | Val::Failed => None,
        }
    }

    /// Whole numbers that must be known: axes, permutations.
    pub fn known(&self, node: &Node<'_>, inputs: &[Val], at: usize, what: &str) -> Result<Vec<i64>, Diag> {
        let found = inputs.get(at).and_then(|val| self.ints(val)).and_then(|ints| ints.known());
        found.ok_or_else(|| node.unsupported(format!("its {what} is computed when the model runs")))
    }

    /// A shape: known numbers and free sizes.
    pub fn sizes_of(&self, node: &Node<'_>, inputs: &[Val], at: usize, what: &str) -> Result<Vec<Int>, Diag> {
        let found = inputs.get(at).and_then(|val| self.ints(val)).map(|ints| ints.elements);
        found.ok_or_else(|| node.unsupported(format!("its {what} is computed from data when the model runs")))
    }

    pub fn list<'v>(&self, node: &Node<'_>, inputs: &'v [Val], at: usize) -> Result<&'v Rc<List>, Diag> {
        match inputs.get(at) {
            Some(Val::List(list)) => Ok(list),
            _ => Err(node.unsupported("takes a list of tensors that was not made by a known op")),
        }
    }
}
