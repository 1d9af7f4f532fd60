use super::{Emit, Emitting, unsupported};
use crate::proto::data_type;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    BroadcastTo, Concat, DType, Dim, Gather, GatherElements, Node, OneHot, Pad, PadMode, Reshape, Reverse, Slice, Tile,
    Transpose, Triangle,
};

impl Emit<'_> {
    /// The shape input of a Reshape from `have` to `want`: constant where 0 (as it was) and one -1 can say it.
    pub fn reshape_target(&mut self, have: &[Dim], want: &[Dim]) -> Result<String, Diag> {
        let mut open = 0;
        let target = want.iter().enumerate().map(|(axis, dim)| match dim.known() {
            Some(size) => size as i64,
            None if have.get(axis) == Some(dim) => 0,
            None => {
                open += 1;
                -1
            }
        });
        let target: Vec<i64> = target.collect();
        // A known size of zero can't be told from "as it was", nor be divided by for the -1.
        let empty = want.iter().any(|dim| dim.known() == Some(0));
        if open > 1 || (empty && target.iter().any(|&size| size < 0)) || empty_is_ambiguous(have, want) {
            return self.shape_vector(want);
        }
        Ok(self.ints(&target))
    }
}

fn empty_is_ambiguous(have: &[Dim], want: &[Dim]) -> bool {
    want.iter().enumerate().any(|(axis, dim)| dim.known() == Some(0) && have.get(axis) != Some(dim))
}

pub fn reshape(op: &Reshape, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    if let (Some(known), Some(dims)) = (e.known(value).cloned(), e.ty(node.outputs[0]).sizes()) {
        let name = e.init_as(&known, &dims);
        e.alias(node.outputs[0], &name);
        return Ok(());
    }
    let x = e.name(value);
    let target = e.reshape_target(e.shape(value), &op.shape)?;
    e.op("Reshape", &[&x, &target]).to(node.outputs[0]);
    Ok(())
}

pub fn transpose(op: &Transpose, node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    e.op("Transpose", &[&x]).ints("perm", op.perm.iter().map(|&axis| axis as i64)).to(node.outputs[0]);
    Ok(())
}

pub fn concat(op: &Concat, node: &Node, e: &mut Emit) -> Emitting {
    let parts = (0..node.inputs.len()).map(|i| e.arg(node, i)).collect::<Result<Vec<_>, _>>()?;
    if let [only] = &parts[..] {
        e.alias(node.outputs[0], only);
        return Ok(());
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    e.op("Concat", &parts).int("axis", op.axis as i64).to(node.outputs[0]);
    Ok(())
}

pub fn slice(op: &Slice, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let x = e.name(value);
    let length = &e.shape(value)[op.axis];
    let start = e.size(&op.start)?;
    // A slice up to the end needs no arithmetic, nor does one that ends a known distance before it.
    let stop = match length.minus(&op.stop).and_then(|rest| rest.known()) {
        Some(0) => e.ints(&[i64::MAX]),
        Some(rest) if op.stop.known().is_none() => e.ints(&[-(rest as i64)]),
        _ => e.size(&op.stop)?,
    };
    let (axes, steps) = (e.ints(&[op.axis as i64]), e.ints(&[op.step as i64]));
    let inputs = [x.as_str(), &start, &stop, &axes, &steps];
    let inputs = if op.step == 1 { &inputs[..4] } else { &inputs[..] };
    e.op("Slice", inputs).to(node.outputs[0]);
    Ok(())
}

pub fn pad(op: &Pad, node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    let mode = match op.mode {
        PadMode::Constant => "constant",
        PadMode::Reflect => "reflect",
        PadMode::Edge => "edge",
        PadMode::Symmetric => return symmetric_pad(op, x, node, e),
    };
    let before = op.padding.iter().map(|pad| pad.0 as i64);
    let after = op.padding.iter().map(|pad| pad.1 as i64);
    let pads = e.ints(&before.chain(after).collect::<Vec<_>>());
    let fill = if op.mode == PadMode::Constant { e.opt_arg(node, 1) } else { String::new() };
    e.op("Pad", &[&x, &pads, &fill]).str("mode", mode).to(node.outputs[0]);
    Ok(())
}

/// ONNX mirrors without the edge only: each padded end is a reversed slice.
fn symmetric_pad(op: &Pad, x: String, node: &Node, e: &mut Emit) -> Emitting {
    let mut y = x;
    for (axis, &(before, after)) in op.padding.iter().enumerate().filter(|(_, pad)| **pad != (0, 0)) {
        let mut parts = Vec::new();
        if before > 0 {
            parts.push(reversed_slice(&y, axis, before as i64 - 1, i64::MIN, e));
        }
        parts.push(y.clone());
        if after > 0 {
            parts.push(reversed_slice(&y, axis, -1, -1 - after as i64, e));
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        y = e.op("Concat", &parts).int("axis", axis as i64).tmp();
    }
    e.alias(node.outputs[0], &y);
    Ok(())
}

fn reversed_slice(x: &str, axis: usize, start: i64, stop: i64, e: &mut Emit) -> String {
    let (start, stop, axes, steps) = (e.ints(&[start]), e.ints(&[stop]), e.ints(&[axis as i64]), e.ints(&[-1]));
    e.call("Slice", &[x, &start, &stop, &axes, &steps])
}

pub fn tile(op: &Tile, node: &Node, e: &mut Emit) -> Emitting {
    let (x, repeats) = (e.arg(node, 0)?, e.shape_vector(&op.repeats)?);
    e.op("Tile", &[&x, &repeats]).to(node.outputs[0]);
    Ok(())
}

pub fn broadcast_to(op: &BroadcastTo, node: &Node, e: &mut Emit) -> Emitting {
    let (x, shape) = (e.arg(node, 0)?, e.shape_vector(&op.shape)?);
    e.op("Expand", &[&x, &shape]).to(node.outputs[0]);
    Ok(())
}

/// Indices as ONNX takes them: i32 or i64.
fn indices(node: &Node, index: usize, e: &mut Emit) -> Result<String, Diag> {
    let value = e.value(node, index)?;
    let name = e.name(value);
    match e.ty(value).dtype {
        DType::I32 | DType::I64 => Ok(name),
        _ => Ok(e.op("Cast", &[&name]).int("to", data_type(DType::I64).into()).tmp()),
    }
}

pub fn gather(op: &Gather, node: &Node, e: &mut Emit) -> Emitting {
    let (x, indices) = (e.arg(node, 0)?, indices(node, 1, e)?);
    e.op("Gather", &[&x, &indices]).int("axis", op.axis as i64).to(node.outputs[0]);
    Ok(())
}

pub fn gather_elements(op: &GatherElements, node: &Node, e: &mut Emit) -> Emitting {
    let (x, indices) = (e.arg(node, 0)?, indices(node, 1, e)?);
    e.op("GatherElements", &[&x, &indices]).int("axis", op.axis as i64).to(node.outputs[0]);
    Ok(())
}

pub fn reverse(op: &Reverse, node: &Node, e: &mut Emit) -> Emitting {
    let (x, n) = (e.arg(node, 0)?, op.axes.len());
    let axes: Vec<i64> = op.axes.iter().map(|&axis| axis as i64).collect();
    let (starts, ends) = (e.ints(&vec![-1; n]), e.ints(&vec![i64::MIN; n]));
    let (axes, steps) = (e.ints(&axes), e.ints(&vec![-1; n]));
    e.op("Slice", &[&x, &starts, &ends, &axes, &steps]).to(node.outputs[0]);
    Ok(())
}

pub fn one_hot(op: &OneHot, node: &Node, e: &mut Emit) -> Emitting {
    // ONNX' OneHot counts negative indices from the end; a comparison gives zeros for them, as Keras does.
    let rank = e.ty(node.outputs[0]).rank();
    let indices = indices(node, 0, e)?;
    let indices = match e.ty(e.value(node, 0)?).dtype {
        DType::I32 => e.op("Cast", &[&indices]).int("to", data_type(DType::I64).into()).tmp(),
        _ => indices,
    };
    let new_axis = e.ints(&[op.axis as i64]);
    let spread = e.call("Unsqueeze", &[&indices, &new_axis]);
    let mut classes = e.counting(&Dim::Known(op.depth))?;
    if op.axis + 1 < rank {
        let axes = e.ints(&(1..(rank - op.axis) as i64).collect::<Vec<_>>());
        classes = e.call("Unsqueeze", &[&classes, &axes]);
    }
    if op.dtype == DType::Bool {
        e.op("Equal", &[&spread, &classes]).to(node.outputs[0]);
        return Ok(());
    }
    let hot = e.call("Equal", &[&spread, &classes]);
    e.op("Cast", &[&hot]).int("to", data_type(op.dtype).into()).to(node.outputs[0]);
    Ok(())
}

pub fn triangle(op: &Triangle, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, ty, out) = (e.name(value), e.ty(value), node.outputs[0]);
    if e.opset >= 14 && matches!(ty.dtype, DType::F32 | DType::F64 | DType::I64 | DType::F16) {
        let k = e.scalar(DType::I64, op.k as f64);
        e.op("Trilu", &[&x, &k]).int("upper", (!op.lower).into()).to(out);
        return Ok(());
    }
    let [rows, columns] = [&ty.shape[ty.rank() - 2], &ty.shape[ty.rank() - 1]];
    let kept = band(rows, columns, op.lower, op.k, e)?;
    if ty.dtype == DType::Bool {
        e.op("And", &[&x, &kept]).to(out);
        return Ok(());
    }
    if ty.dtype == DType::Str {
        return Err(unsupported(node, "strings"));
    }
    let zero = e.scalar(ty.dtype, 0.0);
    e.op("Where", &[&kept, &x, &zero]).to(out);
    Ok(())
}

/// Bool (rows, columns): column - row <= k (`lower`), or >= k.
pub fn band(rows: &Dim, columns: &Dim, lower: bool, k: i64, e: &mut Emit) -> Result<String, Diag> {
    let (row, column) = (e.counting(rows)?, e.counting(columns)?);
    let last = e.ints(&[1]);
    let mut row = e.call("Unsqueeze", &[&row, &last]);
    if k != 0 {
        let k = e.scalar(DType::I64, k as f64);
        row = e.call("Add", &[&row, &k]);
    }
    Ok(e.call(if lower { "LessOrEqual" } else { "GreaterOrEqual" }, &[&column, &row]))
}
