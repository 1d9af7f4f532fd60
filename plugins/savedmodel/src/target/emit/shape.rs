use super::{Emit, Emitting, Val};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    BroadcastTo, Concat, DType, Dim, Gather, GatherElements, Node, OneHot, Pad, PadMode, Reshape, Reverse, Slice, Tile,
    Transpose, Triangle,
};

pub fn reshape(op: &Reshape, node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    let y = e.reshaped(&x, &op.shape)?;
    e.bind(node.outputs[0], y);
    Ok(())
}

pub fn transpose(op: &Transpose, node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    let perm = e.ints(&op.perm.iter().map(|&axis| axis as i64).collect::<Vec<_>>());
    e.op("Transpose", &[&x, &perm]).to(node.outputs[0]);
    Ok(())
}

pub fn concat(op: &Concat, node: &Node, e: &mut Emit) -> Emitting {
    let parts = (0..node.inputs.len()).map(|i| e.arg(node, i)).collect::<Result<Vec<_>, _>>()?;
    let y = if parts.len() == 1 { parts[0].clone() } else { e.concat(&parts, op.axis as i64) };
    e.bind(node.outputs[0], y);
    Ok(())
}

pub fn slice(op: &Slice, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let x = e.val(value)?;
    let length = &e.shape(value)[op.axis];
    // A slice up to the end needs no arithmetic, nor does one that ends a known distance before it.
    let rest = length.minus(&op.stop).and_then(|rest| rest.known());
    let (end, masked) = match rest {
        Some(0) => (Bound::Number(0), true),
        Some(rest) if op.stop.known().is_none() => (Bound::Number(-(rest as i64)), false),
        _ => (Bound::of(&op.stop), false),
    };
    let others = (1i64 << op.axis) - 1;
    let begin = bound_vector(op.axis, &Bound::of(&op.start), e)?;
    let end = bound_vector(op.axis, &end, e)?;
    let strides: Vec<i64> = (0..op.axis).map(|_| 1).chain([op.step as i64]).collect();
    let strides = e.ints(&strides);
    let end_mask = others | if masked { 1 << op.axis } else { 0 };
    let build = e.op("StridedSlice", &[&x, &begin, &end, &strides]);
    build.int("begin_mask", others).int("end_mask", end_mask).to(node.outputs[0]);
    Ok(())
}

enum Bound<'d> {
    Number(i64),
    Free(&'d Dim),
}

impl Bound<'_> {
    fn of(dim: &Dim) -> Bound<'_> {
        dim.known().map_or(Bound::Free(dim), |size| Bound::Number(size as i64))
    }
}

/// Zeros for the axes before, then the bound.
fn bound_vector(axis: usize, bound: &Bound, e: &mut Emit) -> Result<Val, Diag> {
    match bound {
        Bound::Number(number) => Ok(e.ints(&[vec![0; axis], vec![*number]].concat())),
        Bound::Free(dim) => {
            let mut parts = vec![e.int(0); axis];
            parts.push(e.size(dim)?);
            Ok(e.call_list("Pack", &parts))
        }
    }
}

pub fn pad(op: &Pad, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, out) = (e.val(value)?, node.outputs[0]);
    let mode = match op.mode {
        PadMode::Edge => return edge_pad(op, x, node, e),
        PadMode::Constant => None,
        PadMode::Reflect => Some("REFLECT"),
        PadMode::Symmetric => Some("SYMMETRIC"),
    };
    let paddings = e.pairs(&op.padding);
    match (mode, e.opt_arg(node, 1)?) {
        (Some(mode), _) => e.op("MirrorPad", &[&x, &paddings]).str("mode", mode).to(out),
        (None, Some(fill)) => e.op("PadV2", &[&x, &paddings, &fill]).to(out),
        (None, None) => e.op("Pad", &[&x, &paddings]).to(out),
    }
    Ok(())
}

/// The elements of the border again and again: those at -before .. n + after, clamped to 0 .. n - 1.
fn edge_pad(op: &Pad, x: Val, node: &Node, e: &mut Emit) -> Emitting {
    let shape = e.shape(e.value(node, 0)?);
    let mut y = x;
    for (axis, &(before, after)) in op.padding.iter().enumerate().filter(|(_, pad)| **pad != (0, 0)) {
        let whole = shape[axis].plus(&Dim::Known(before + after));
        let counted = e.counting(&whole)?;
        let (before, zero, one) = (e.int(before as i64), e.int(0), e.int(1));
        let moved = e.call("Sub", &[&counted, &before]);
        let length = e.size(&shape[axis])?;
        let last = e.call("Sub", &[&length, &one]);
        let below = e.call("Minimum", &[&moved, &last]);
        let index = e.call("Maximum", &[&below, &zero]);
        y = gathered(&y, &index, axis, 0, e);
    }
    e.bind(node.outputs[0], y);
    Ok(())
}

pub fn tile(op: &Tile, node: &Node, e: &mut Emit) -> Emitting {
    let (x, repeats) = (e.arg(node, 0)?, e.shape_vector(&op.repeats)?);
    e.op("Tile", &[&x, &repeats]).to(node.outputs[0]);
    Ok(())
}

pub fn broadcast_to(op: &BroadcastTo, node: &Node, e: &mut Emit) -> Emitting {
    let (x, shape) = (e.arg(node, 0)?, e.shape_vector(&op.shape)?);
    e.op("BroadcastTo", &[&x, &shape]).to(node.outputs[0]);
    Ok(())
}

/// Indices as TensorFlow takes them: i32 or i64.
fn indices(node: &Node, index: usize, e: &mut Emit) -> Result<Val, Diag> {
    let value = e.value(node, index)?;
    let val = e.val(value)?;
    Ok(match e.ty(value).dtype {
        DType::I32 | DType::I64 => val,
        DType::U32 | DType::U64 => e.cast(&val, DType::I64),
        _ => e.cast(&val, DType::I32),
    })
}

pub fn gathered(x: &Val, indices: &Val, axis: usize, batch_dims: usize, e: &mut Emit) -> Val {
    let axis = e.int(axis as i64);
    let build = e.op("GatherV2", &[x, indices, &axis]);
    if batch_dims == 0 { build.tmp() } else { build.int("batch_dims", batch_dims as i64).tmp() }
}

pub fn gather(op: &Gather, node: &Node, e: &mut Emit) -> Emitting {
    let (x, indices) = (e.arg(node, 0)?, indices(node, 1, e)?);
    let y = gathered(&x, &indices, op.axis, 0, e);
    e.bind(node.outputs[0], y);
    Ok(())
}

/// Along the last axis, all others being batch axes.
pub fn gather_elements(op: &GatherElements, node: &Node, e: &mut Emit) -> Emitting {
    let rank = e.ty(e.value(node, 0)?).rank();
    let (mut x, mut indices) = (e.arg(node, 0)?, indices(node, 1, e)?);
    let moved = op.axis + 1 != rank;
    let mut swap: Vec<i64> = (0..rank as i64).collect();
    swap.swap(op.axis, rank - 1);
    let perm = e.ints(&swap);
    if moved {
        x = e.call("Transpose", &[&x, &perm]);
        indices = e.call("Transpose", &[&indices, &perm]);
    }
    let mut y = gathered(&x, &indices, rank - 1, rank - 1, e);
    if moved {
        y = e.call("Transpose", &[&y, &perm]);
    }
    e.bind(node.outputs[0], y);
    Ok(())
}

pub fn reverse(op: &Reverse, node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    let axes = e.ints(&op.axes.iter().map(|&axis| axis as i64).collect::<Vec<_>>());
    e.op("ReverseV2", &[&x, &axes]).to(node.outputs[0]);
    Ok(())
}

pub fn one_hot(op: &OneHot, node: &Node, e: &mut Emit) -> Emitting {
    let (indices, depth) = (indices(node, 0, e)?, e.int(op.depth as i64));
    let (on, off) = (e.scalar(op.dtype, 1.0), e.scalar(op.dtype, 0.0));
    // The last axis is written -1, as its kernel is quickest to see.
    let last = op.axis + 1 == e.ty(node.outputs[0]).rank();
    let axis = if last { -1 } else { op.axis as i64 };
    e.op("OneHot", &[&indices, &depth, &on, &off]).int("axis", axis).to(node.outputs[0]);
    Ok(())
}

pub fn triangle(op: &Triangle, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, ty) = (e.val(value)?, e.ty(value));
    let [rows, columns] = [&ty.shape[ty.rank() - 2], &ty.shape[ty.rank() - 1]];
    let kept = band(rows, columns, op.lower, op.k, e)?;
    if ty.dtype == DType::Bool {
        e.op("LogicalAnd", &[&x, &kept]).to(node.outputs[0]);
        return Ok(());
    }
    let zero = e.scalar(ty.dtype, 0.0);
    e.op("SelectV2", &[&kept, &x, &zero]).to(node.outputs[0]);
    Ok(())
}

/// Bool (rows, columns): column - row <= k (`lower`), or >= k.
pub fn band(rows: &Dim, columns: &Dim, lower: bool, k: i64, e: &mut Emit) -> Result<Val, Diag> {
    let (row, column) = (e.counting(rows)?, e.counting(columns)?);
    let mut row = e.expand(&row, 1);
    if k != 0 {
        let k = e.int(k);
        row = e.call("AddV2", &[&row, &k]);
    }
    Ok(e.call(if lower { "LessEqual" } else { "GreaterEqual" }, &[&column, &row]))
}
