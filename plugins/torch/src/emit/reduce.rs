use super::norm::dims;
use crate::py::{Arg, Py, StmtKind, call, kw, method};
use crate::scope::{Emit, Made, Making, dtype, shape_comment};
use recast_plugin_api::ir::{
    ArgFunction, ArgReduce, Cumulative, CumulativeFunction, Node, Reduce, ReduceFunction, TopK,
};

/// Sums of integers are 64 bits wide in PyTorch unless it is told.
fn integer_dtype(node: &Node, e: &Emit) -> Result<Option<Arg>, recast_plugin_api::diag::Diag> {
    let ty = e.ty(e.value(node, 0)?);
    if ty.dtype.is_int() { Ok(Some(kw("dtype", dtype(ty.dtype, node)?))) } else { Ok(None) }
}

pub fn reduce(op: &Reduce, node: &Node, e: &mut Emit) -> Making {
    use ReduceFunction::*;
    let x = e.arg(node, 0)?;
    if op.axes.is_empty() {
        return Ok(x.into());
    }
    let keep = op.keepdims.then(|| kw("keepdim", true));
    let name = match op.function {
        Sum => "sum",
        Mean => "mean",
        Max => "amax",
        Min => "amin",
        LogSumExp => "logsumexp",
        Any => "any",
        All => "all",
        Prod => {
            // One axis at a time; from the last on, so that the others keep their places.
            let integer = integer_dtype(node, e)?;
            let one = |x: Py, axis: &usize| {
                let args = [kw("dim", *axis)].into_iter().chain(keep.clone()).chain(integer.clone());
                method(x, "prod", args.collect())
            };
            return Ok(op.axes.iter().rev().fold(x, one).into());
        }
    };
    let mut args = vec![kw("dim", dims(&op.axes))];
    args.extend(keep);
    if op.function == Sum {
        args.extend(integer_dtype(node, e)?);
    }
    Ok(method(x, name, args).into())
}

/// The index of the first of equal values, in PyTorch too.
/// <https://docs.pytorch.org/docs/stable/generated/torch.argmax.html>
pub fn arg_reduce(op: &ArgReduce, node: &Node, e: &mut Emit) -> Making {
    let x = e.arg(node, 0)?;
    let name = match op.function {
        ArgFunction::Max => "argmax",
        ArgFunction::Min => "argmin",
    };
    let args = [kw("dim", op.axis)].into_iter().chain(op.keepdims.then(|| kw("keepdim", true)));
    Ok(method(x, name, args.collect()).into())
}

pub fn cumulative(op: &Cumulative, node: &Node, e: &mut Emit) -> Making {
    let mut x = e.var(node, 0)?;
    let flipped = |x: Py| call("torch.flip", vec![x.into(), Py::Tuple(vec![op.axis.into()]).into()]);
    if op.reverse {
        x = e.temporary(&flipped(x));
    }
    let name = match op.function {
        CumulativeFunction::Sum => "torch.cumsum",
        CumulativeFunction::Prod => "torch.cumprod",
    };
    if op.exclusive {
        // One step later: the neutral element comes first, the last one is left out.
        let mut front = vec![Py::Slice(None, None, None); op.axis + 1];
        front[op.axis] = Py::Slice(None, Some(Box::new(1u64.into())), None);
        let mut rest = front.clone();
        rest[op.axis] = Py::Slice(None, Some(Box::new((-1i64).into())), None);
        let like = match op.function {
            CumulativeFunction::Sum => "torch.zeros_like",
            CumulativeFunction::Prod => "torch.ones_like",
        };
        let first = call(like, vec![Py::Index(Box::new(x.clone()), front).into()]);
        let rest = Py::Index(Box::new(x), rest);
        x = e.temporary(&call("torch.cat", vec![Py::Tuple(vec![first, rest]).into(), kw("dim", op.axis)]));
    }
    let args = [x.into(), kw("dim", op.axis)].into_iter().chain(integer_dtype(node, e)?);
    let made = call(name, args.collect());
    Ok(if op.reverse { flipped(made) } else { made }.into())
}

/// A stable sort: `torch.topk` does not say which of equal values it takes.
/// <https://docs.pytorch.org/docs/stable/generated/torch.topk.html>
pub fn top_k(op: &TopK, node: &Node, e: &mut Emit) -> Making {
    let x = e.arg(node, 0)?;
    let k = e.size(&op.k)?;
    let mut items = vec![Py::Slice(None, None, None); op.axis + 1];
    items[op.axis] = Py::Slice(None, Some(Box::new(k)), None);
    let args = vec![x.into(), kw("dim", op.axis), kw("descending", op.largest), kw("stable", true)];
    let sorted = e.temporary(&call("torch.sort", args));
    for (value, part) in node.outputs.iter().zip(["values", "indices"]) {
        if !e.is_used(*value) {
            continue;
        }
        let taken = Py::Index(Box::new(Py::Attr(Box::new(sorted.clone()), part.into())), items.clone());
        let name = e.variable(*value, &[]);
        let comment = shape_comment(e.shape(*value));
        e.push(StmtKind::Assign { targets: name.clone(), value: taken, comment });
        e.frame.vals.insert(*value, name.into());
    }
    Ok(Made::Bound)
}
