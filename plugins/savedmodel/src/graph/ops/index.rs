//! Elements picked by their place.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::value::{Int, Ints, Val};
use super::{axis, inputs, one, strings};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    BinaryFunction, BroadcastTo, Concat, DType, Dim, DimSize, Gather, GatherElements, Iota, OneHot, Op, Reverse,
    Triangle, ValueId, Where,
};

type Out = Result<Vec<Val>, Diag>;

/// What is taken of one axis.
#[derive(Clone)]
enum Take {
    /// From, up to, every how many.
    Range { start: Dim, stop: Dim, step: u64 },
    /// The same of the axis read backwards.
    Backward { start: Dim, stop: Dim, step: u64 },
    /// One element, the axis is dropped.
    At(Dim),
    /// A new axis of size one.
    New,
}

/// A place counted from the end where it is negative, not beyond the ends where the length is known.
fn place(node: &Node<'_>, at: &Int, length: &Dim) -> Result<Dim, Diag> {
    let found = match at {
        Int::N(n) if *n < 0 => match length.known() {
            Some(size) => Some(Dim::Known(u64::try_from(size as i64 + n).unwrap_or(0))),
            None => length.offset(*n),
        },
        Int::N(n) => {
            let n = *n as u64;
            Some(Dim::Known(length.known().map_or(n, |size| n.min(size))))
        }
        Int::D(dim) => Some(dim.clone()),
    };
    found.ok_or_else(|| node.unsupported(format!("place {at:?} of a length of {length}")))
}

/// begin, end, strides and the masks, one entry for each spec.
struct Specs {
    begin: Vec<Int>,
    end: Vec<Int>,
    step: Vec<i64>,
    masks: [i64; 5],
}

const BEGIN: usize = 0;
const END: usize = 1;
const ELLIPSIS: usize = 2;
const NEW: usize = 3;
const SHRINK: usize = 4;

impl Specs {
    fn masked(&self, mask: usize, at: usize) -> bool {
        at < 63 && self.masks[mask] >> at & 1 == 1
    }

    fn takes(&self, node: &Node<'_>, shape: &[Dim]) -> Result<Vec<Take>, Diag> {
        let specs = self.begin.len();
        let news = (0..specs).filter(|&at| self.masked(NEW, at) && !self.masked(ELLIPSIS, at)).count();
        let ellipses = (0..specs).filter(|&at| self.masked(ELLIPSIS, at)).count();
        let named = specs - news - ellipses;
        let skipped = shape.len().checked_sub(named);
        let skipped = skipped.ok_or_else(|| node.bad(format!("{named} places in a rank of {}", shape.len())))?;
        let whole = |dim: &Dim| Take::Range { start: Dim::Known(0), stop: dim.clone(), step: 1 };
        let mut takes = Vec::new();
        let mut axis = 0;
        for at in 0..specs {
            if self.masked(ELLIPSIS, at) {
                takes.extend(shape[axis..axis + skipped].iter().map(whole));
                axis += skipped;
            } else if self.masked(NEW, at) {
                takes.push(Take::New);
            } else {
                takes.push(self.take(node, at, &shape[axis])?);
                axis += 1;
            }
        }
        takes.extend(shape[axis..].iter().map(whole));
        Ok(takes)
    }

    fn take(&self, node: &Node<'_>, at: usize, length: &Dim) -> Result<Take, Diag> {
        if self.masked(SHRINK, at) {
            return Ok(Take::At(place(node, &self.begin[at], length)?));
        }
        let (zero, step) = (Dim::Known(0), self.step[at]);
        let (begin, end) = (self.masked(BEGIN, at), self.masked(END, at));
        if step > 0 {
            let start = if begin { zero } else { place(node, &self.begin[at], length)? };
            let mut stop = if end { length.clone() } else { place(node, &self.end[at], length)? };
            if let (Some(from), Some(to)) = (start.known(), stop.known())
                && to < from
            {
                stop = start.clone();
            }
            return Ok(Take::Range { start, stop, step: step as u64 });
        }
        if step == 0 {
            return Err(node.bad("a step of zero"));
        }
        // Place n read forwards is length - 1 - n read backwards.
        let turned = |dim: Dim| length.offset(-1).and_then(|last| last.minus(&dim));
        let impossible = || node.unsupported("a step backwards from a place that depends on the length");
        let start = if begin { zero } else { turned(place(node, &self.begin[at], length)?).unwrap_or(Dim::Known(0)) };
        let stop =
            if end { length.clone() } else { turned(place(node, &self.end[at], length)?).ok_or_else(impossible)? };
        Ok(Take::Backward { start, stop, step: step.unsigned_abs() })
    }
}

/// One element of an axis, at a place that is computed when the model runs: `x[:, t]`. All other axes are whole.
fn computed<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let steps = interp.known(node, vals, 3, "step")?;
    let masks = [node.int("begin_mask", 0)?, node.int("end_mask", 0)?, node.int("shrink_axis_mask", 0)?];
    let [begin, end, shrink] = masks.map(|mask| move |at: usize| at < 63 && mask >> at & 1 == 1);
    let plain = node.int("ellipsis_mask", 0)? == 0 && node.int("new_axis_mask", 0)? == 0;
    let fits = (0..steps.len()).all(|at| shrink(at) || (begin(at) && end(at) && steps[at] == 1));
    if !plain || !fits {
        return Err(node.unsupported("its beginning is computed from data when the model runs"));
    }
    let mut y = interp.value(node, &vals[0])?;
    let places = interp.value(node, &vals[1])?;
    let mut axis = 0;
    for at in 0..steps.len() {
        if !shrink(at) {
            axis += 1;
            continue;
        }
        let place = Dim::Known(at as u64);
        let place = interp.graph().slice(node.name, places, 0, place, Dim::Known(at as u64 + 1))?;
        let place = interp.graph().reshape(node.name, place, Vec::new())?;
        let length = Int::of(interp.shape(y)[axis].clone());
        let length = interp.value(node, &Ints::scalar(interp.ty(place).dtype, length).val())?;
        let zero = interp.graph().scalar_like(node.name, place, 0.0)?;
        let below = interp.graph().binary(node.name, BinaryFunction::Less, place, zero)?;
        let turned = interp.graph().binary(node.name, BinaryFunction::Add, place, length)?;
        let place = interp.add(node, Where {}, &[below, turned, place])?;
        y = interp.add(node, Gather { axis }, &[y, place])?;
    }
    one(interp, y)
}

pub fn strided_slice<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, begin, _, _] = inputs(node, vals)?;
    if interp.ints(begin).is_none() {
        return computed(interp, node, vals);
    }
    let specs = Specs {
        begin: interp.sizes_of(node, vals, 1, "beginning")?,
        end: interp.sizes_of(node, vals, 2, "end")?,
        step: interp.known(node, vals, 3, "step")?,
        masks: [
            node.int("begin_mask", 0)?,
            node.int("end_mask", 0)?,
            node.int("ellipsis_mask", 0)?,
            node.int("new_axis_mask", 0)?,
            node.int("shrink_axis_mask", 0)?,
        ],
    };
    if specs.end.len() != specs.begin.len() || specs.step.len() != specs.begin.len() {
        return Err(node.bad("beginning, end and steps of different length"));
    }
    let takes = specs.takes(node, &interp.shape_of(node, x)?)?;
    picked(interp, node, x, &takes)
}

fn picked<'a>(interp: &mut Interp<'a>, node: &Node<'a>, x: &Val, takes: &[Take]) -> Out {
    if let Some(ints) = interp.ints(x)
        && let Some(taken) = taken_of(&ints, takes)
    {
        return Ok(vec![taken.val()]);
    }
    let x = interp.value(node, x)?;
    let out = taken(interp, node, x, takes)?;
    one(interp, out)
}

/// Shape arithmetic: what is taken, element by element.
fn taken_of(ints: &Ints, takes: &[Take]) -> Option<Ints> {
    let whole = |dim: &Dim| dim.known().map(|n| n as usize);
    let mut lengths = ints.shape.iter();
    let mut shape = Vec::new();
    // Places in the elements, in the order of the axes walked so far.
    let mut places = vec![0usize];
    for take in takes {
        let along = |length: usize, start: &Dim, stop: &Dim, step: u64| {
            let (start, stop) = (whole(start)?, whole(stop)?.min(length));
            Some((start..stop).step_by(step as usize).collect::<Vec<usize>>())
        };
        let (chosen, length) = match take {
            Take::New => {
                shape.push(1);
                continue;
            }
            Take::At(at) => {
                let length = *lengths.next()?;
                (vec![whole(at).filter(|at| *at < length)?], length)
            }
            Take::Range { start, stop, step } => {
                let length = *lengths.next()?;
                let chosen = along(length, start, stop, *step)?;
                shape.push(chosen.len());
                (chosen, length)
            }
            Take::Backward { start, stop, step } => {
                let length = *lengths.next()?;
                let chosen: Vec<usize> = along(length, start, stop, *step)?.iter().map(|at| length - 1 - at).collect();
                shape.push(chosen.len());
                (chosen, length)
            }
        };
        places = places.iter().flat_map(|place| chosen.iter().map(move |at| place * length + at)).collect();
    }
    if lengths.next().is_some() {
        return None;
    }
    let elements = places.into_iter().map(|at| ints.elements.get(at).cloned()).collect::<Option<Vec<Int>>>()?;
    Some(Ints { dtype: ints.dtype, shape, elements })
}

fn taken(interp: &mut Interp<'_>, node: &Node<'_>, x: ValueId, takes: &[Take]) -> Result<ValueId, Diag> {
    let mut y = x;
    let mut shape = Vec::new();
    let mut axis = 0;
    for take in takes {
        match take.clone() {
            Take::New => {
                shape.push(Dim::Known(1));
                continue;
            }
            Take::At(at) => {
                let stop = at.plus(&Dim::Known(1));
                y = interp.graph().slice(node.name, y, axis, at, stop)?;
            }
            Take::Range { start, stop, step } => {
                y = interp.graph().strided(node.name, y, axis, (start, stop), step)?;
                shape.push(interp.shape(y)[axis].clone());
            }
            Take::Backward { start, stop, step } => {
                y = interp.add(node, Reverse { axes: vec![axis] }, &[y])?;
                y = interp.graph().strided(node.name, y, axis, (start, stop), step)?;
                shape.push(interp.shape(y)[axis].clone());
            }
        }
        axis += 1;
    }
    interp.graph().reshape(node.name, y, shape)
}

/// x, beginning, size (-1 is the rest)
pub fn slice<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _, _] = inputs(node, vals)?;
    let begin = interp.sizes_of(node, vals, 1, "beginning")?;
    let size = interp.sizes_of(node, vals, 2, "size")?;
    let shape = interp.shape_of(node, x)?;
    if begin.len() != shape.len() || size.len() != shape.len() {
        return Err(node.bad("beginning and size of another rank than the input"));
    }
    let mut takes = Vec::new();
    for (at, length) in shape.iter().enumerate() {
        let start = begin[at].dim().ok_or_else(|| node.bad("a beginning below zero"))?;
        let stop = match &size[at] {
            Int::N(-1) => length.clone(),
            size => start.plus(&size.dim().ok_or_else(|| node.bad("a size below zero"))?),
        };
        takes.push(Take::Range { start, stop, step: 1 });
    }
    picked(interp, node, x, &takes)
}

pub fn gather<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let (x, indices) = match vals {
        [x, indices] | [x, indices, _] => (x, indices),
        _ => return Err(node.bad("takes a tensor, indices and an axis")),
    };
    let rank = interp.shape_of(node, x)?.len();
    let at = if vals.len() == 3 { interp.known(node, vals, 2, "axis")? } else { vec![0] };
    let at = axis(node, *at.first().ok_or_else(|| node.bad("no axis"))?, rank)?;
    if let (Some(ints), Some(places)) = (interp.ints(x), interp.ints(indices))
        && let (1, Some(known)) = (rank, places.known())
    {
        let element = |n: &i64| usize::try_from(*n).ok().and_then(|n| ints.elements.get(n).cloned());
        let elements: Option<Vec<Int>> = known.iter().map(element).collect();
        let elements = elements.ok_or_else(|| node.bad("an index out of range"))?;
        return Ok(vec![Ints { dtype: ints.dtype, shape: places.shape, elements }.val()]);
    }
    if let Some(picked) = strings::picked(interp, node, x, indices)? {
        return one(interp, picked);
    }
    let pair = super::values(interp, node, &[x.clone(), indices.clone()])?;
    let op: Op = match node.int("batch_dims", 0)? {
        0 => Gather { axis: at }.into(),
        // Each row by its own indices: what numpy calls take_along_axis.
        batch if batch + 1 == rank as i64 && at + 1 == rank && interp.shape(pair[1]).len() == rank => {
            GatherElements { axis: at }.into()
        }
        _ => return Err(node.unsupported("batch_dims")),
    };
    let out = interp.add(node, op, &pair)?;
    one(interp, out)
}

pub fn resource_gather<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    if node.int("batch_dims", 0)? != 0 {
        return Err(node.unsupported("batch_dims"));
    }
    let pair = super::values(interp, node, inputs::<2>(node, vals)?)?;
    let out = interp.add(node, Gather { axis: 0 }, &pair)?;
    one(interp, out)
}

/// Where each index is one place of the first axis, it is a plain gather.
pub fn gather_nd<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let pair = super::values(interp, node, inputs::<2>(node, vals)?)?;
    let mut shape = interp.shape(pair[1]);
    if shape.pop() != Some(Dim::Known(1)) {
        return Err(node.unsupported("indices of more than one axis"));
    }
    let indices = interp.graph().reshape(node.name, pair[1], shape)?;
    let out = interp.add(node, Gather { axis: 0 }, &[pair[0], indices])?;
    one(interp, out)
}

pub fn reverse<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _] = inputs(node, vals)?;
    let rank = interp.shape_of(node, x)?.len();
    let mut axes = Vec::new();
    for at in interp.known(node, vals, 1, "axis")? {
        axes.push(axis(node, at, rank)?);
    }
    axes.sort_unstable();
    let x = interp.value(node, x)?;
    let out = if axes.is_empty() { x } else { interp.add(node, Reverse { axes }, &[x])? };
    one(interp, out)
}

/// Shifted along axes, what leaves at one end comes in at the other.
pub fn roll<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _, _] = inputs(node, vals)?;
    let (shifts, axes) = (interp.known(node, vals, 1, "shift")?, interp.known(node, vals, 2, "axis")?);
    let mut y = interp.value(node, x)?;
    for (shift, at) in shifts.into_iter().zip(axes) {
        let shape = interp.shape(y);
        let at = axis(node, at, shape.len())?;
        let length = &shape[at];
        let cut = match length.known() {
            Some(0) => continue,
            Some(size) => Dim::Known((-shift).rem_euclid(size as i64) as u64),
            None if shift < 0 => Dim::Known(shift.unsigned_abs()),
            None => length.offset(-shift).ok_or_else(|| node.unsupported("a shift by more than the length"))?,
        };
        let head = interp.graph().slice(node.name, y, at, Dim::Known(0), cut.clone())?;
        let tail = interp.graph().slice(node.name, y, at, cut, length.clone())?;
        y = interp.add(node, Concat { axis: at }, &[tail, head])?;
    }
    one(interp, y)
}

pub fn one_hot<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [indices, _, on, off] = inputs(node, vals)?;
    let depth = interp.known(node, vals, 1, "depth")?;
    let depth = depth.first().and_then(|depth| u64::try_from(*depth).ok()).ok_or_else(|| node.bad("no depth"))?;
    let dtype = node.dtype_or("T", DType::F32)?;
    let indices = interp.value(node, indices)?;
    let rank = interp.shape(indices).len();
    let at = axis(node, node.int("axis", -1)?, rank + 1)?;
    let hot = interp.add(node, OneHot { depth, axis: at, dtype }, &[indices])?;
    let number = |val: &Val| match val {
        Val::Known(tensor) => super::super::value::numbers(tensor)?.first().copied(),
        _ => None,
    };
    match (number(on), number(off)) {
        (Some(1.0), Some(0.0)) => one(interp, hot),
        (Some(on), Some(off)) => {
            let scaled = interp.graph().binary_scalar(node.name, BinaryFunction::Mul, hot, on - off)?;
            let out = interp.graph().binary_scalar(node.name, BinaryFunction::Add, scaled, off)?;
            one(interp, out)
        }
        _ => Err(node.unsupported("values that are computed when the model runs")),
    }
}

/// x, diagonals kept below, diagonals kept above; -1 keeps all.
pub fn band_part<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _, _] = inputs(node, vals)?;
    let single = |list: Vec<i64>| list.first().copied().unwrap_or(-1);
    let below = single(interp.known(node, vals, 1, "number of diagonals")?);
    let above = single(interp.known(node, vals, 2, "number of diagonals")?);
    let mut y = interp.value(node, x)?;
    if above >= 0 {
        y = interp.add(node, Triangle { lower: true, k: above }, &[y])?;
    }
    if below >= 0 {
        y = interp.add(node, Triangle { lower: false, k: -below }, &[y])?;
    }
    one(interp, y)
}

/// x, lengths: the first so many elements along `seq_dim` turned around, each row along `batch_dim` by its own length.
pub fn reverse_sequence<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, lengths] = inputs(node, vals)?;
    let (x, lengths) = (interp.value(node, x)?, interp.value(node, lengths)?);
    let shape = interp.shape(x);
    let (time, batch) =
        (axis(node, node.int("seq_dim", 0)?, shape.len())?, axis(node, node.int("batch_dim", 0)?, shape.len())?);
    if time == batch {
        return Err(node.bad("time and batch on one axis"));
    }
    let along = |at: usize| -> Vec<Dim> {
        shape.iter().enumerate().map(|(n, dim)| if n == at { dim.clone() } else { Dim::Known(1) }).collect()
    };
    let steps = interp.add(node, Iota { dim: shape[time].clone(), dtype: DType::I32 }, &[])?;
    let steps = interp.graph().reshape(node.name, steps, along(time))?;
    // TensorFlow refuses lengths that are longer than the sequence.
    let most = interp.add(node, DimSize { dim: shape[time].clone() }, &[])?;
    let lengths = interp.graph().cast(node.name, lengths, DType::I64)?;
    let lengths = interp.graph().binary(node.name, BinaryFunction::Min, lengths, most)?;
    let lengths = interp.graph().cast(node.name, lengths, DType::I32)?;
    let lengths = interp.graph().reshape(node.name, lengths, along(batch))?;
    let last = interp.graph().binary_scalar(node.name, BinaryFunction::Sub, lengths, 1.0)?;
    let turned = interp.graph().binary(node.name, BinaryFunction::Sub, last, steps)?;
    let within = interp.graph().binary(node.name, BinaryFunction::Less, steps, lengths)?;
    let places = interp.add(node, Where {}, &[within, turned, steps])?;
    let places = interp.add(node, BroadcastTo { shape }, &[places])?;
    let out = interp.add(node, GatherElements { axis: time }, &[x, places])?;
    one(interp, out)
}
