//! What a loop counts, and the elements of lists that it reaches by that.

use super::def::Node;
use super::interp::Interp;
use super::value::{Int, Ints, Val};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{BinaryFunction, DType, Dim, Iota, Reverse, Transpose, ValueId};

/// A whole number that each step of a loop makes one larger, or (`down`) smaller.
#[derive(Debug, Clone, PartialEq)]
pub struct Counter {
    /// Of the loop's graph among the frames.
    pub depth: usize,
    pub dtype: DType,
    /// At the first step.
    pub start: Int,
    pub down: bool,
}

impl Counter {
    /// 0, 1, 2, ...
    pub fn plain(depth: usize) -> Counter {
        Counter { depth, dtype: DType::I32, start: Int::N(0), down: false }
    }

    /// `self + n`, `self - n`, `n - self`.
    pub fn shifted(&self, function: BinaryFunction, n: &Int, is_first: bool) -> Option<Counter> {
        let (start, down) = match (function, is_first) {
            (BinaryFunction::Add, _) => (self.start.add(n)?, self.down),
            (BinaryFunction::Sub, true) => (self.start.sub(n)?, self.down),
            (BinaryFunction::Sub, false) => (n.sub(&self.start)?, !self.down),
            _ => return None,
        };
        Some(Counter { start, down, ..self.clone() })
    }

    /// What it is after this many steps.
    pub fn after(&self, steps: &Int) -> Option<Int> {
        if self.down { self.start.sub(steps) } else { self.start.add(steps) }
    }

    /// The part of a list of this length that so many steps walk over, counted from its end for `down`; none where it
    /// is not known to be in the list.
    fn window(&self, length: &Dim, steps: &Dim) -> Option<(Dim, Dim)> {
        let (start, steps) = (&self.start, Int::of(steps.clone()));
        let (from, to) = match self.down {
            false => (start.clone(), start.add(&steps)?),
            true => {
                let to = start.add(&Int::N(1))?;
                (to.sub(&steps)?, to)
            }
        };
        let (from, to) = (from.dim()?, to.dim()?);
        let left = Int::of(length.clone()).sub(&Int::of(to.clone()))?;
        let fits = left.known().is_some_and(|left| left >= 0);
        // Turned around before it is cut: what is left may be nothing, and runtimes stumble over turning that around.
        let (from, to) =
            if self.down { (left.dim()?, Int::of(length.clone()).sub(&Int::of(from))?.dim()?) } else { (from, to) };
        fits.then_some((from, to))
    }
}

impl<'a> Interp<'a> {
    /// Does this in the graph of the loop at that depth: what it gives is of that graph.
    pub fn at_depth<T>(
        &mut self,
        depth: usize,
        work: impl FnOnce(&mut Interp<'a>) -> Result<T, Diag>,
    ) -> Result<T, Diag> {
        let inner = self.frames.split_off((depth + 1).min(self.frames.len()));
        let done = work(self);
        self.frames.extend(inner);
        done
    }

    /// The counter as a scalar.
    pub fn counter(&mut self, node: &Node<'_>, counter: &Counter) -> Result<ValueId, Diag> {
        let steps = self.at_depth(counter.depth, |interp| interp.steps(node, counter.depth))?;
        let mut value = self.value(node, &Val::Tensor { depth: counter.depth, value: steps })?;
        if counter.dtype != DType::I32 {
            value = self.graph().cast(node.name, value, counter.dtype)?;
        }
        let function = if counter.down { BinaryFunction::Sub } else { BinaryFunction::Add };
        if !counter.down && counter.start == Int::N(0) {
            return Ok(value);
        }
        let start = self.value(node, &Ints::scalar(counter.dtype, counter.start.clone()).val())?;
        self.graph().binary(node.name, function, start, value)
    }

    /// How many steps were done, as an i32 scalar of the loop's graph: a walk over 0, 1, 2, ...
    fn steps(&mut self, node: &Node<'_>, depth: usize) -> Result<ValueId, Diag> {
        let frame = self.frames.get(depth).filter(|_| depth > 0);
        let Some(frame) = frame else { return Err(node.unsupported("the counter of a loop outside of it")) };
        if let Some(known) = frame.counter {
            return Ok(known);
        }
        let Some(trips) = frame.trips.clone() else {
            return Err(node.unsupported("the counter of a loop outside of it"));
        };
        let outer = &mut self.frames[depth - 1].graph;
        let steps = outer.add(node.name, Iota { dim: trips.clone(), dtype: DType::I32 }, &[])?;
        let steps = outer.reshape(node.name, steps, vec![Dim::Known(1), trips])?;
        let inner = self.step_of(node, steps)?;
        let scalar = self.graph().reshape(node.name, inner, Vec::new())?;
        self.frames[depth].counter = Some(scalar);
        Ok(scalar)
    }

    /// One step, in the loop's body, of a tensor outside whose axis 1 is time.
    fn step_of(&mut self, node: &Node<'_>, outer: ValueId) -> Result<ValueId, Diag> {
        let at = self.depth();
        let mut ty = self.frames[at - 1].graph.ty(outer).clone();
        if ty.rank() < 2 {
            return Err(node.unsupported("a walk over a tensor without a time axis"));
        }
        let length = ty.shape.remove(1);
        let frame = &mut self.frames[at];
        if let Some((_, inner)) = frame.scanned.iter().find(|(known, _)| *known == outer) {
            return Ok(*inner);
        }
        if frame.trips.as_ref().is_some_and(|trips| *trips != length) {
            let steps = frame.trips.as_ref().map_or(String::new(), Dim::to_string);
            return Err(node.unsupported(format!("a loop of {steps} steps walks over {length}")));
        }
        let inner = frame.graph.input(format!("step{}", frame.scanned.len()), ty);
        frame.scanned.push((outer, inner));
        Ok(inner)
    }

    /// The element of a list that a loop is at. `axis` is that of time.
    pub fn element_now(&mut self, node: &Node<'_>, list: &Val, axis: usize, counter: &Counter) -> Result<Val, Diag> {
        let depth = counter.depth;
        let trips = self.frames.get(depth).and_then(|frame| frame.trips.clone()).filter(|_| depth > 0);
        let trips = trips.ok_or_else(|| node.unsupported("an element of a list at a counter, outside of a loop"))?;
        // The list is the outer graph's: what has to be done with it is done there.
        let (outer, is_row) = self.at_depth(depth - 1, |interp| {
            let (tensor, is_row) = interp.time_second(node, list, axis)?;
            let length = interp.shape(tensor)[1].clone();
            let window = counter.window(&length, &trips);
            let (from, to) = window.ok_or_else(|| {
                node.unsupported(format!("{trips} elements of a list of {length}, from the one at {:?}", counter.start))
            })?;
            let turned = if counter.down { interp.add(node, Reverse { axes: vec![1] }, &[tensor])? } else { tensor };
            let whole = from == Dim::Known(0) && to == length;
            let part = if whole { turned } else { interp.graph().slice(node.name, turned, 1, from, to)? };
            Ok((part, is_row))
        })?;
        let value = self.at_depth(depth, |interp| {
            let step = interp.step_of(node, outer)?;
            if is_row { interp.graph().reshape(node.name, step, Vec::new()) } else { Ok(step) }
        })?;
        Ok(Val::Tensor { depth, value })
    }

    /// A list with time on axis 1, and whether its elements are scalars, which then are a batch of one.
    fn time_second(&mut self, node: &Node<'_>, list: &Val, axis: usize) -> Result<(ValueId, bool), Diag> {
        let tensor = self.value(node, list)?;
        let shape = self.shape(tensor);
        match (axis, shape.len()) {
            (1, _) => Ok((tensor, false)),
            (_, 1) => {
                let mut row = shape;
                row.insert(0, Dim::Known(1));
                Ok((self.graph().reshape(node.name, tensor, row)?, true))
            }
            (_, rank) => {
                let perm: Vec<usize> = [1, 0].into_iter().chain(2..rank).collect();
                Ok((self.add(node, Transpose { perm }, &[tensor])?, false))
            }
        }
    }
}
