use super::{Emit, Emitting, Val};
use recast_plugin_api::ir::{
    ArgFunction, ArgReduce, Cumulative, CumulativeFunction, DType, Node, Reduce, ReduceFunction, TopK,
};

/// `function` of `x` over `axes`; x itself where there are none.
pub fn reduced(function: ReduceFunction, x: &Val, axes: &[usize], keepdims: bool, dtype: DType, e: &mut Emit) -> Val {
    if axes.is_empty() && function != ReduceFunction::LogSumExp {
        return x.clone();
    }
    let name = match function {
        ReduceFunction::Sum => "Sum",
        ReduceFunction::Mean => "Mean",
        ReduceFunction::Max => "Max",
        ReduceFunction::Min => "Min",
        ReduceFunction::Prod => "Prod",
        ReduceFunction::Any => "Any",
        ReduceFunction::All => "All",
        ReduceFunction::LogSumExp => return log_sum_exp(x, axes, keepdims, dtype, e),
    };
    let axes = e.ints(&axes.iter().map(|&axis| axis as i64).collect::<Vec<_>>());
    e.op(name, &[x, &axes]).flag("keep_dims", keepdims).tmp()
}

/// log(sum(exp(x - max))) + max, with zero for a maximum that is infinite.
fn log_sum_exp(x: &Val, axes: &[usize], keepdims: bool, dtype: DType, e: &mut Emit) -> Val {
    let max = reduced(ReduceFunction::Max, x, axes, true, dtype, e);
    let zero = e.scalar(dtype, 0.0);
    let finite = e.call("IsFinite", &[&max]);
    let max = e.call("SelectV2", &[&finite, &max, &zero]);
    let shifted = e.call("Sub", &[x, &max]);
    let exp = e.call("Exp", &[&shifted]);
    let sum = reduced(ReduceFunction::Sum, &exp, axes, true, dtype, e);
    let log = e.call("Log", &[&sum]);
    let y = e.call("AddV2", &[&log, &max]);
    if keepdims || axes.is_empty() {
        return y;
    }
    let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
    e.op("Squeeze", &[&y]).ints("squeeze_dims", &axes).tmp()
}

pub fn reduce(op: &Reduce, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, dtype) = (e.val(value)?, e.ty(value).dtype);
    let y = reduced(op.function, &x, &op.axes, op.keepdims, dtype, e);
    e.bind(node.outputs[0], y);
    Ok(())
}

pub fn arg_reduce(op: &ArgReduce, node: &Node, e: &mut Emit) -> Emitting {
    let (x, axis) = (e.arg(node, 0)?, e.int(op.axis as i64));
    let name = match op.function {
        ArgFunction::Max => "ArgMax",
        ArgFunction::Min => "ArgMin",
    };
    let mut y = e.op(name, &[&x, &axis]).ty("output_type", DType::I64).tmp();
    if op.keepdims {
        y = e.expand(&y, op.axis as i64);
    }
    e.bind(node.outputs[0], y);
    Ok(())
}

pub fn cumulative(op: &Cumulative, node: &Node, e: &mut Emit) -> Emitting {
    let (x, axis) = (e.arg(node, 0)?, e.int(op.axis as i64));
    let name = match op.function {
        CumulativeFunction::Sum => "Cumsum",
        CumulativeFunction::Prod => "Cumprod",
    };
    let build = e.op(name, &[&x, &axis]).flag("exclusive", op.exclusive).flag("reverse", op.reverse);
    build.to(node.outputs[0]);
    Ok(())
}

/// TopKV2 is for the largest along the last axis. Integers turn their order when their bits are flipped, floats when
/// they are negated.
pub fn top_k(op: &TopK, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (mut x, ty) = (e.val(value)?, e.ty(value));
    let rank = ty.rank();
    let mut swap: Vec<i64> = (0..rank as i64).collect();
    swap.swap(op.axis, rank - 1);
    let moved = op.axis + 1 != rank;
    let turned = if ty.dtype.is_float() { "Neg" } else { "Invert" };
    if !op.largest {
        x = e.call(turned, &[&x]);
    }
    let perm = e.ints(&swap);
    if moved {
        x = e.call("Transpose", &[&x, &perm]);
    }
    let k = e.size(&op.k)?;
    let found = e.op("TopKV2", &[&x, &k]).flag("sorted", true).tmps();
    let [values, indices] = &found[..] else { return Ok(()) };
    let (mut values, mut indices) = (values.clone(), e.cast(indices, DType::I64));
    if moved {
        values = e.call("Transpose", &[&values, &perm]);
        indices = e.call("Transpose", &[&indices, &perm]);
    }
    if !op.largest {
        values = e.call(turned, &[&values]);
    }
    e.bind(node.outputs[0], values);
    e.bind(node.outputs[1], indices);
    Ok(())
}
