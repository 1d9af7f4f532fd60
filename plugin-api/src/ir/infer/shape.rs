use super::*;
use crate::ir::op::{
    BroadcastTo, Concat, Gather, GatherElements, OneHot, Pad, PadMode, Reshape, Reverse, Slice, Tile, Transpose,
    Triangle,
};
use crate::ir::types::element_count;

pub fn reshape(op: &Reshape, ins: &mut Ins) -> Inferred {
    ins.count(1, 1)?;
    let x = ins.get(0)?;
    let (have, want) = (element_count(&x.shape), element_count(&op.shape));
    if let Err(misfit) = ins.same(&have, &want) {
        return Err(format!("element counts: {misfit}"));
    }
    Ok(vec![x.with_shape(op.shape.clone())])
}

pub fn transpose(op: &Transpose, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    let x = ins.get(0)?;
    let mut sorted = op.perm.clone();
    sorted.sort_unstable();
    if sorted != (0..x.rank()).collect::<Vec<_>>() {
        return Err(format!("{:?} is not a permutation of the axes of {x}", op.perm));
    }
    Ok(vec![x.with_shape(op.perm.iter().map(|&axis| x.shape[axis].clone()).collect::<Vec<_>>())])
}

pub fn concat(op: &Concat, ins: &mut Ins) -> Inferred {
    let first = ins.get(0)?;
    want_axis(first, op.axis)?;
    let mut shape = first.shape.clone();
    for index in 1..ins.len() {
        let next = ins.get(index)?;
        want_rank(next, shape.len())?;
        want_dtype(next, "the first input's dtype", |d| d == first.dtype)?;
        for (axis, dim) in next.shape.iter().enumerate() {
            shape[axis] = if axis == op.axis { shape[axis].plus(dim) } else { ins.same(&shape[axis].clone(), dim)? };
        }
    }
    Ok(vec![first.with_shape(shape)])
}

pub fn slice(op: &Slice, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    let x = ins.get(0)?;
    want_axis(x, op.axis)?;
    let length = op.stop.minus(&op.start).ok_or_else(|| format!("slice {}..{} is backwards", op.start, op.stop))?;
    if op.step == 0 {
        return Err("a step of zero".into());
    }
    if let (Some(size), Some(stop)) = (x.shape[op.axis].known(), op.stop.known())
        && stop > size
    {
        return Err(format!("slice up to {stop} of {size}"));
    }
    let mut shape = x.shape.clone();
    shape[op.axis] = length.ceil_div(op.step);
    Ok(vec![x.with_shape(shape)])
}

pub fn pad(op: &Pad, ins: &Ins) -> Inferred {
    ins.count(1, 2)?;
    let x = ins.get(0)?;
    if op.padding.len() != x.rank() {
        return Err(format!("padding for {} axes of {x}", op.padding.len()));
    }
    if let Some(fill) = ins.opt(1) {
        want_rank(fill, 0)?;
        want_dtype(fill, "the input's dtype", |d| d == x.dtype)?;
    }
    for (&(before, after), dim) in op.padding.iter().zip(&x.shape) {
        let room = match op.mode {
            PadMode::Constant | PadMode::Edge => u64::MAX,
            PadMode::Symmetric => dim.known().unwrap_or(u64::MAX),
            PadMode::Reflect => dim.known().map_or(u64::MAX, |size| size.saturating_sub(1)),
        };
        if before.max(after) > room {
            return Err(format!("{} padding of {before} and {after} on a length of {dim}", op.mode));
        }
    }
    let grown = x.shape.iter().zip(&op.padding).map(|(dim, (before, after))| dim.plus(&Dim::Known(before + after)));
    Ok(vec![x.with_shape(grown.collect::<Vec<_>>())])
}

pub fn tile(op: &Tile, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    let x = ins.get(0)?;
    want_rank(x, op.repeats.len())?;
    Ok(vec![x.with_shape(x.shape.iter().zip(&op.repeats).map(|(dim, times)| dim.times(times)).collect::<Vec<_>>())])
}

pub fn broadcast_to(op: &BroadcastTo, ins: &mut Ins) -> Inferred {
    ins.count(1, 1)?;
    let x = ins.get(0)?;
    let shape = ins.broadcast(&x.shape, &op.shape)?;
    if shape.len() != op.shape.len() {
        return Err(format!("{x} has more axes than the {} asked for", op.shape.len()));
    }
    Ok(vec![x.with_shape(op.shape.clone())])
}

pub fn gather(op: &Gather, ins: &Ins) -> Inferred {
    ins.count(2, 2)?;
    let (x, indices) = (ins.get(0)?, ins.get(1)?);
    want_axis(x, op.axis)?;
    want_dtype(indices, "an integer", DType::is_int)?;
    let mut shape = x.shape.clone();
    shape.splice(op.axis..=op.axis, indices.shape.iter().cloned());
    Ok(vec![x.with_shape(shape)])
}

pub fn gather_elements(op: &GatherElements, ins: &mut Ins) -> Inferred {
    ins.count(2, 2)?;
    let (x, indices) = (ins.get(0)?, ins.get(1)?);
    want_axis(x, op.axis)?;
    want_rank(indices, x.rank())?;
    want_dtype(indices, "an integer", DType::is_int)?;
    for axis in (0..x.rank()).filter(|&axis| axis != op.axis) {
        ins.same(&x.shape[axis], &indices.shape[axis])?;
    }
    Ok(vec![x.with_shape(indices.shape.clone())])
}

pub fn reverse(op: &Reverse, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    want_axes(ins.get(0)?, &op.axes)?;
    Ok(vec![ins.get(0)?.clone()])
}

pub fn one_hot(op: &OneHot, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    let indices = ins.get(0)?;
    want_dtype(indices, "an integer", DType::is_int)?;
    if op.axis > indices.rank() {
        return Err(format!("a new axis {} in {indices}", op.axis));
    }
    let mut shape = indices.shape.clone();
    shape.insert(op.axis, Dim::Known(op.depth));
    Ok(vec![Type::new(op.dtype, shape)])
}

pub fn triangle(_op: &Triangle, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    if ins.get(0)?.rank() < 2 {
        return Err(format!("{} has no matrix", ins.get(0)?));
    }
    Ok(vec![ins.get(0)?.clone()])
}
