use super::unsupported;
use crate::class::Helper;
use crate::py::{Arg, Py, StmtKind, call, kw, method, tuple};
use crate::scope::{Emit, Folded, Made, Making, dtype, shape_comment};
use crate::weights::Weight;
use recast_plugin_api::ir::{
    BroadcastTo, Concat, DType, Dim, Gather, GatherElements, Node, OneHot, Pad, PadMode, Reshape, Reverse, Slice, Tile,
    Transpose, Triangle,
};

fn number(value: impl Into<Py>) -> Arg {
    value.into().into()
}

/// The axis that `longer` has more than `shorter`, of size one.
fn extra_axis(shorter: &[Dim], longer: &[Dim]) -> Option<usize> {
    if shorter.len() + 1 != longer.len() {
        return None;
    }
    (0..longer.len()).rev().find(|&axis| {
        longer[axis].is_one() && longer[..axis] == shorter[..axis] && longer[axis + 1..] == shorter[axis..]
    })
}

pub fn reshape(op: &Reshape, node: &Node, e: &mut Emit) -> Making {
    let value = e.value(node, 0)?;
    if let Some(folded) = e.frame.folded.get(&value).filter(|folded| folded.joined.1 == op.shape) {
        return Ok(folded.joined.0.clone().into());
    }
    let x = e.tensor_arg(node, 0)?;
    let from = e.shape(value);
    if from == op.shape {
        return Ok(x.into());
    }
    if op.shape.is_empty() {
        return Ok(method(x, "squeeze", Vec::new()).into());
    }
    if let Some(axis) = extra_axis(&op.shape, from) {
        return Ok(method(x, "squeeze", vec![number(axis)]).into());
    }
    if let Some(axis) = extra_axis(from, &op.shape) {
        return Ok(method(x, "unsqueeze", vec![number(axis)]).into());
    }
    let lead = op.shape.len().saturating_sub(1);
    if lead > 0 && from.len() > op.shape.len() && from[..lead] == op.shape[..lead] {
        return Ok(call("torch.flatten", vec![x.into(), number(lead)]).into());
    }
    let sizes = e.sizes(&op.shape)?;
    Ok(method(x, "reshape", sizes.into_iter().map(Arg::from).collect()).into())
}

pub fn transpose(op: &Transpose, node: &Node, e: &mut Emit) -> Making {
    let x = e.tensor_arg(node, 0)?;
    let moved: Vec<usize> = (0..op.perm.len()).filter(|&axis| op.perm[axis] != axis).collect();
    if let [a, b] = moved[..] {
        return Ok(method(x, "transpose", vec![number(a), number(b)]).into());
    }
    Ok(method(x, "permute", op.perm.iter().map(|&axis| number(axis)).collect()).into())
}

pub fn concat(op: &Concat, node: &Node, e: &mut Emit) -> Making {
    let parts = (0..node.inputs.len()).map(|index| e.tensor_arg(node, index)).collect::<Result<Vec<_>, _>>()?;
    Ok(call("torch.cat", vec![Py::Tuple(parts).into(), kw("dim", op.axis)]).into())
}

fn at_axis(x: Py, axis: usize, item: Py) -> Py {
    let mut items = vec![Py::Slice(None, None, None); axis + 1];
    items[axis] = item;
    Py::Index(Box::new(x), items)
}

pub fn slice(op: &Slice, node: &Node, e: &mut Emit) -> Making {
    let value = e.value(node, 0)?;
    if let (Some(folded), Some(start), Some(stop)) = (e.frame.folded.get(&value), op.start.known(), op.stop.known())
        && folded.parts.0 == op.axis
        && stop == start + 1
        && let Some(part) = folded.parts.1.get(start as usize).cloned()
    {
        let mut shape = e.shape(node.outputs[0]).to_vec();
        shape.remove(op.axis);
        let name = e.variable(node.outputs[0], &[]);
        let comment = shape_comment(&shape);
        e.push(StmtKind::Assign { targets: name.clone(), value: part, comment });
        let name = Py::from(name);
        let whole = method(name.clone(), "unsqueeze", vec![number(op.axis)]);
        let folded = Folded { joined: (name.clone(), shape), whole, parts: (op.axis, vec![name]) };
        e.frame.folded.insert(node.outputs[0], folded);
        return Ok(Made::Bound);
    }
    let x = e.tensor_arg(node, 0)?;
    let start = if op.start == Dim::Known(0) { None } else { Some(Box::new(e.size(&op.start)?)) };
    let whole = e.shape(value)[op.axis] == op.stop;
    let stop = match (whole, e.shape(value)[op.axis].minus(&op.stop)) {
        (true, _) => None,
        // So many before the end, where the length itself is free.
        (false, Some(Dim::Known(left))) if op.stop.known().is_none() => Some(Box::new(Py::from(-(left as i64)))),
        (false, _) => Some(Box::new(e.size(&op.stop)?)),
    };
    Ok(at_axis(x, op.axis, Py::Slice(start, stop, Some(op.step))).into())
}

pub fn pad(op: &Pad, node: &Node, e: &mut Emit) -> Making {
    let x = e.tensor_arg(node, 0)?;
    if op.mode != PadMode::Constant {
        e.out.helpers.insert(Helper::PadEdges);
        let mode = format!("\"{}\"", op.mode);
        let padded = op.padding.iter().enumerate().filter(|(_, pads)| **pads != (0, 0));
        let one = |x: Py, (axis, (before, after)): (usize, &(u64, u64))| {
            let args = vec![x.into(), number(axis), number(*before), number(*after), number(mode.clone())];
            call("pad_edges", args)
        };
        return Ok(padded.fold(x, one).into());
    }
    let first = op.padding.iter().position(|pads| *pads != (0, 0)).unwrap_or(op.padding.len());
    let value = match e.opt_value(node, 1) {
        None => None,
        Some(fill) => match e.scalar(fill, 0) {
            Some(literal) if matches!(literal.inline().as_str(), "0" | "0.0" | "-0.0") => None,
            Some(literal) => Some(literal),
            None => return Err(unsupported(node, "a fill value that is computed by the model")),
        },
    };
    Ok(super::conv::padded(x, &op.padding[first..], value).into())
}

pub fn tile(op: &Tile, node: &Node, e: &mut Emit) -> Making {
    let x = e.tensor_arg(node, 0)?;
    let repeats = op.repeats.iter().map(|dim| e.size(dim)).collect::<Result<Vec<_>, _>>()?;
    Ok(method(x, "repeat", repeats.into_iter().map(Arg::from).collect()).into())
}

pub fn broadcast_to(op: &BroadcastTo, node: &Node, e: &mut Emit) -> Making {
    let x = e.tensor_arg(node, 0)?;
    let sizes = op.shape.iter().map(|dim| e.size(dim)).collect::<Result<Vec<_>, _>>()?;
    Ok(call("torch.broadcast_to", vec![x.into(), Py::Tuple(sizes).into()]).into())
}

/// PyTorch looks up by 32 and 64 bit integers; it reads bytes as a mask.
fn index(node: &Node, at: usize, e: &mut Emit) -> Result<Py, recast_plugin_api::diag::Diag> {
    let value = e.value(node, at)?;
    let wide = matches!(e.ty(value).dtype, DType::I32 | DType::I64);
    let indices = e.tensor_arg(node, at)?;
    Ok(if wide { indices } else { method(indices, "long", Vec::new()) })
}

pub fn gather(op: &Gather, node: &Node, e: &mut Emit) -> Making {
    let table = e.value(node, 0)?;
    let indices = index(node, 1, e)?;
    if let Some(param) = e.param(table)
        && let (0, [rows, width], true) = (op.axis, &param.tensor.shape[..], param.tensor.dtype.is_float())
    {
        let mut args = vec![number(*rows), number(*width)];
        args.extend(super::matmul::dtype_arg(param.tensor.dtype));
        let base = e.attribute_base(&param.path, &super::matmul::hint(param, e));
        let weights = vec![Weight::view("weight".into(), param.tensor.clone())];
        let key = format!("embedding {}", param.name());
        let module = e.module(key, &base, call("nn.Embedding", args), &[], weights);
        // Whoever takes the table itself takes this one.
        if let Py::Attr(_, name) = &module {
            let mut owner = e.class.prefix.clone();
            owner.push(name.clone());
            e.out.remember(param.name(), &owner, "weight");
        }
        return Ok(Py::Call(Box::new(module), vec![indices.into()]).into());
    }
    let x = e.tensor_arg(node, 0)?;
    Ok(at_axis(x, op.axis, indices).into())
}

pub fn gather_elements(op: &GatherElements, node: &Node, e: &mut Emit) -> Making {
    let x = e.tensor_arg(node, 0)?;
    let value = e.value(node, 1)?;
    let mut indices = e.tensor_arg(node, 1)?;
    if e.ty(value).dtype != DType::I64 {
        indices = method(indices, "long", Vec::new());
    }
    Ok(call("torch.gather", vec![x.into(), number(op.axis), indices.into()]).into())
}

pub fn reverse(op: &Reverse, node: &Node, e: &mut Emit) -> Making {
    let x = e.tensor_arg(node, 0)?;
    Ok(call("torch.flip", vec![x.into(), tuple(op.axes.iter().copied()).into()]).into())
}

/// A comparison rather than `F.one_hot`, which refuses what is out of range.
pub fn one_hot(op: &OneHot, node: &Node, e: &mut Emit) -> Making {
    let rank = e.ty(e.value(node, 0)?).rank();
    let indices = e.var(node, 0)?;
    let device = Py::Attr(Box::new(indices.clone()), "device".into());
    let mut classes = call("torch.arange", vec![number(op.depth), kw("device", device)]);
    if op.axis < rank {
        let ones = std::iter::repeat_n(number(1u64), rank - op.axis);
        classes = method(classes, "view", std::iter::once(number(-1i64)).chain(ones).collect());
    }
    let spread = method(indices, "unsqueeze", vec![number(op.axis)]);
    let hot = crate::py::binary("==", spread, classes);
    Ok(method(hot, "to", vec![dtype(op.dtype, node)?.into()]).into())
}

pub fn triangle(op: &Triangle, node: &Node, e: &mut Emit) -> Making {
    let x = e.tensor_arg(node, 0)?;
    let mut args: Vec<Arg> = vec![x.into()];
    args.extend((op.k != 0).then(|| kw("diagonal", op.k)));
    Ok(call(if op.lower { "torch.tril" } else { "torch.triu" }, args).into())
}
