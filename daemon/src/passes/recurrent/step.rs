//! What the body of a scan computes, as equations: sums of products with parts of weights.

use recast_plugin_api::ir::{
    Binary, BinaryFunction, DType, Dim, Graph, Node, Op, Scan, Slice, ValueId, types::decode_numbers,
};
use recast_plugin_api::ir::{Data, Tensor};
use std::collections::HashMap;

/// Nodes on the way from a result to what it is made of; none of the cells has as many.
const DEPTH_MAX: usize = 24;
/// Terms of a gate: two products and two biases are the most.
const TERMS_MAX: usize = 4;

/// A graph, and where each of its values comes from.
pub struct Side<'g> {
    pub graph: &'g Graph,
    producers: Vec<Option<usize>>,
    /// Places of params by their values.
    params: HashMap<ValueId, usize>,
}

impl<'g> Side<'g> {
    pub fn new(graph: &'g Graph) -> Side<'g> {
        let params = graph.params.iter().enumerate().map(|(at, param)| (param.value, at)).collect();
        Side { graph, producers: graph.producers(), params }
    }

    pub fn producer(&self, value: ValueId) -> Option<&'g Node> {
        self.producers[value.0 as usize].map(|at| &self.graph.nodes()[at])
    }

    /// The function and both inputs, where a value is made by a `Binary`.
    pub fn binary(&self, value: ValueId) -> Option<(BinaryFunction, [ValueId; 2])> {
        let node = self.producer(value)?;
        let Op::Binary(Binary { function }) = &node.op else { return None };
        Some((*function, [node.inputs[0]?, node.inputs[1]?]))
    }

    /// The number that every element of a value is, where a constant says so.
    pub fn number(&self, mut value: ValueId) -> Option<f64> {
        for _ in 0..DEPTH_MAX {
            let node = self.producer(value)?;
            if let Op::Constant(constant) = &node.op {
                return uniform(&constant.tensor);
            }
            let spreads = matches!(&node.op, Op::BroadcastTo(_) | Op::Reshape(_) | Op::Tile(_) | Op::Transpose(_));
            value = if spreads { node.inputs[0]? } else { return None };
        }
        None
    }

    /// The value that a chain of transposes turns into this one, and which of its axes each axis is.
    pub fn untransposed(&self, mut value: ValueId) -> (ValueId, Vec<usize>) {
        let mut perm: Vec<usize> = (0..self.graph.shape(value).len()).collect();
        for _ in 0..DEPTH_MAX {
            let Some(node) = self.producer(value) else { break };
            let (Op::Transpose(op), [Some(input)]) = (&node.op, node.inputs.as_slice()) else { break };
            perm.iter_mut().for_each(|axis| *axis = op.perm[*axis]);
            value = *input;
        }
        (value, perm)
    }

    fn width(&self, value: ValueId) -> Option<u64> {
        self.graph.shape(value).last()?.known()
    }
}

fn uniform(tensor: &Tensor) -> Option<f64> {
    let Data::Inline(bytes) = &tensor.data else { return None };
    if tensor.dtype == DType::Str {
        return None;
    }
    let numbers = decode_numbers(tensor.dtype, bytes);
    let first = *numbers.first()?;
    numbers.iter().all(|number| *number == first).then_some(first)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// A param of the graph around the scan.
    Outer(ValueId),
    /// A param of the body, by its place.
    Body(usize),
}

/// Columns `from..to` of a weight: of all its rows, or of one, where the part is a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub weight: Weight,
    pub row: Option<u64>,
    pub from: u64,
    pub to: u64,
    /// Of the weight as a whole.
    pub rank: usize,
    pub whole: u64,
}

impl Part {
    fn narrowed(self, start: u64, stop: u64) -> Option<Part> {
        let (from, to) = (self.from.checked_add(start)?, self.from.checked_add(stop)?);
        (start < stop && to <= self.to).then_some(Part { from, to, ..self })
    }

    pub fn is_vector(&self) -> bool {
        self.rank == 1 || self.row.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Term {
    /// (batch, n) times (n, columns)
    Product { of: ValueId, part: Part },
    /// (columns), added to each row of the batch.
    Vector(Part),
}

/// Which scanned input says whether a step counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask {
    /// Among the inputs of the scan.
    pub input: usize,
}

/// The body of a scan, and the graph around it.
pub struct Step<'g> {
    pub scan: &'g Scan,
    pub node: &'g Node,
    pub outer: &'g Side<'g>,
    pub body: Side<'g>,
    inputs: HashMap<ValueId, usize>,
}

impl<'g> Step<'g> {
    pub fn new(scan: &'g Scan, node: &'g Node, outer: &'g Side<'g>) -> Step<'g> {
        let inputs = scan.body.inputs.iter().enumerate().map(|(at, input)| (input.value, at)).collect();
        Step { scan, node, outer, body: Side::new(&scan.body), inputs }
    }

    /// Which input of the scan a value of the body is.
    pub fn input(&self, value: ValueId) -> Option<usize> {
        self.inputs.get(&value).copied()
    }

    /// The scanned input that a value is one step of.
    pub fn scanned(&self, value: ValueId) -> Option<usize> {
        self.input(value).filter(|at| *at >= self.scan.states)
    }

    pub fn state(&self, value: ValueId) -> Option<usize> {
        self.input(value).filter(|at| *at < self.scan.states)
    }

    /// A state that no step changes.
    pub fn is_fixed(&self, state: usize) -> bool {
        self.scan.body.outputs[state].value == self.scan.body.inputs[state].value
    }

    /// The number that every element of a value of the body is, whether the body or the graph around it says so.
    pub fn number(&self, value: ValueId) -> Option<f64> {
        match self.state(value) {
            Some(state) if self.is_fixed(state) => self.outer.number(self.node.inputs[state]?),
            _other => self.body.number(value),
        }
    }

    /// The value as a part of a weight.
    fn part(&self, value: ValueId) -> Option<Part> {
        self.part_in(&self.body, value, DEPTH_MAX)
    }

    fn part_in(&self, side: &Side<'g>, value: ValueId, depth: usize) -> Option<Part> {
        let depth = depth.checked_sub(1)?;
        let in_body = std::ptr::eq(side.graph, self.body.graph);
        if let Some(&at) = side.params.get(&value) {
            let weight = if in_body { Weight::Body(at) } else { Weight::Outer(value) };
            let shape = &side.graph.params[at].tensor.shape;
            let whole = *shape.last()?;
            return Some(Part { weight, row: None, from: 0, to: whole, rank: shape.len(), whole });
        }
        if let Some(at) = self.input(value).filter(|_| in_body) {
            let is_fixed = at < self.scan.states && self.is_fixed(at);
            return if is_fixed { self.part_in(self.outer, self.node.inputs[at]?, depth) } else { None };
        }
        let node = side.producer(value)?;
        let input = *node.inputs.first()?.as_ref()?;
        if let Op::Slice(slice) = &node.op {
            return sliced(self.part_in(side, input, depth)?, side.graph.shape(input), slice);
        }
        // A row of a matrix as a vector.
        let is_row = matches!(&node.op, Op::Reshape(_)) && same_but_ones(side.graph, input, value);
        if is_row { self.part_in(side, input, depth).filter(Part::is_vector) } else { None }
    }

    /// A value (batch, n) as a sum of products and biases.
    pub fn sum(&self, value: ValueId) -> Option<Vec<Term>> {
        let mut terms = Vec::new();
        self.add_terms(value, (0, self.body.width(value)?), DEPTH_MAX, &mut terms)?;
        Some(terms)
    }

    /// Columns `range` of the value, as terms.
    fn add_terms(&self, value: ValueId, range: (u64, u64), depth: usize, terms: &mut Vec<Term>) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let width = self.body.width(value)?;
        if let Some((function, [a, b])) = self.body.binary(value) {
            let fits = |value| self.body.width(value) == Some(width);
            if function != BinaryFunction::Add || !fits(a) || !fits(b) {
                return None;
            }
            self.add_terms(a, range, depth, terms)?;
            return self.add_terms(b, range, depth, terms);
        }
        let node = self.body.producer(value);
        if let Some(Op::Slice(slice)) = node.map(|node| &node.op)
            && slice.axis == 1
            && slice.step == 1
            && self.body.graph.shape(value).len() == 2
        {
            let start = slice.start.known()?;
            let inner = (range.0.checked_add(start)?, range.1.checked_add(start)?);
            return self.add_terms(node?.inputs[0]?, inner, depth, terms);
        }
        let term = if let Some(Op::MatMul(_)) = node.map(|node| &node.op) {
            let part = self.part(node?.inputs[1]?)?.narrowed(range.0, range.1)?;
            (part.rank == 2 && !part.is_vector()).then_some(Term::Product { of: node?.inputs[0]?, part })?
        } else {
            Term::Vector(self.part(value)?.narrowed(range.0, range.1).filter(Part::is_vector)?)
        };
        terms.push(term);
        (terms.len() <= TERMS_MAX).then_some(())
    }

    /// The scanned mask (batch, time) behind a condition over (batch, units).
    pub fn mask(&self, mut value: ValueId, state: ValueId) -> Option<Mask> {
        let graph = self.body.graph;
        let spread = |value: ValueId| {
            let shape = graph.shape(value);
            shape.len() == 2 && shape[0] == graph.shape(state)[0]
        };
        if !spread(value) {
            return None;
        }
        for _ in 0..DEPTH_MAX {
            if let Some(input) = self.scanned(value) {
                let outer = self.outer.graph.ty(self.node.inputs[input]?);
                let of_steps = outer.dtype == DType::Bool && outer.shape[2..].iter().all(Dim::is_one);
                return of_steps.then_some(Mask { input });
            }
            let node = self.body.producer(value)?;
            let input = node.inputs.first().copied().flatten()?;
            let same_rows = matches!(&node.op, Op::Reshape(_)) && same_but_ones(graph, input, value);
            // One condition for all units of a row.
            let same_units =
                matches!(&node.op, Op::BroadcastTo(_) | Op::Tile(_)) && spread(input) && graph.shape(input)[1].is_one();
            value = if same_rows || same_units { input } else { return None };
        }
        None
    }
}

/// `start..stop` of the last axis of a part of this shape, or one of the rows of a matrix.
fn sliced(part: Part, shape: &[Dim], slice: &Slice) -> Option<Part> {
    let (start, stop) = (slice.start.known()?, slice.stop.known()?);
    if slice.step != 1 {
        return None;
    }
    if slice.axis + 1 == shape.len() {
        return part.narrowed(start, stop);
    }
    let is_row = part.rank == 2 && part.row.is_none() && slice.axis == 0 && stop.checked_sub(start) == Some(1);
    is_row.then_some(Part { row: Some(start), ..part })
}

/// Equal shapes, axes of size one aside.
fn same_but_ones(graph: &Graph, a: ValueId, b: ValueId) -> bool {
    let without = |value| graph.shape(value).iter().filter(|dim| !dim.is_one()).collect::<Vec<_>>();
    without(a) == without(b)
}
