use super::{Emit, Emitting};
use crate::proto::data_type;
use recast_plugin_api::ir::{
    ArgFunction, ArgReduce, Cumulative, CumulativeFunction, DType, Node, Reduce, ReduceFunction, TopK,
};

fn reduce_name(function: ReduceFunction) -> &'static str {
    match function {
        ReduceFunction::Sum => "ReduceSum",
        ReduceFunction::Mean => "ReduceMean",
        ReduceFunction::Max | ReduceFunction::Any => "ReduceMax",
        ReduceFunction::Min | ReduceFunction::All => "ReduceMin",
        ReduceFunction::Prod => "ReduceProd",
        ReduceFunction::LogSumExp => "ReduceLogSumExp",
    }
}

/// From when on the axes are an input rather than an attribute.
fn axes_are_input(function: ReduceFunction, opset: u32) -> bool {
    opset >= 18 || function == ReduceFunction::Sum
}

fn build<'e, 'a>(
    function: ReduceFunction,
    x: &str,
    axes: &[usize],
    keepdims: bool,
    e: &'e mut Emit<'a>,
) -> super::Build<'e, 'a> {
    let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
    let build = if axes_are_input(function, e.opset) {
        let axes = e.ints(&axes);
        e.op(reduce_name(function), &[x, &axes])
    } else {
        e.op(reduce_name(function), &[x]).ints("axes", axes)
    };
    build.int("keepdims", keepdims.into())
}

pub fn reduced(function: ReduceFunction, x: &str, axes: &[usize], keepdims: bool, e: &mut Emit) -> String {
    build(function, x, axes, keepdims, e).tmp()
}

pub fn reduce(op: &Reduce, node: &Node, e: &mut Emit) -> Emitting {
    let (x, out) = (e.arg(node, 0)?, node.outputs[0]);
    if op.axes.is_empty() {
        // Without axes ONNX would reduce them all.
        e.alias(out, &x);
        return Ok(());
    }
    if !matches!(op.function, ReduceFunction::Any | ReduceFunction::All) {
        build(op.function, &x, &op.axes, op.keepdims, e).to(out);
        return Ok(());
    }
    let numbers = e.op("Cast", &[&x]).int("to", data_type(DType::I32).into()).tmp();
    let found = reduced(op.function, &numbers, &op.axes, op.keepdims, e);
    e.op("Cast", &[&found]).int("to", data_type(DType::Bool).into()).to(out);
    Ok(())
}

/// Runtimes compare and sum these; other integers go through a wider type.
fn widened(x: String, dtype: DType, e: &mut Emit) -> (String, DType) {
    let wide = match dtype {
        DType::I8 | DType::I16 | DType::U8 | DType::U16 => DType::I32,
        DType::U32 | DType::U64 => DType::I64,
        other => return (x, other),
    };
    (e.op("Cast", &[&x]).int("to", data_type(wide).into()).tmp(), wide)
}

pub fn arg_reduce(op: &ArgReduce, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, dtype) = (e.name(value), e.ty(value).dtype);
    let (mut x, dtype) = widened(x, dtype, e);
    if dtype == DType::I64 {
        // ONNX Runtime has no ArgMax of i64.
        x = e.op("Cast", &[&x]).int("to", data_type(DType::F64).into()).tmp();
    }
    let name = match op.function {
        ArgFunction::Max => "ArgMax",
        ArgFunction::Min => "ArgMin",
    };
    e.op(name, &[&x]).int("axis", op.axis as i64).int("keepdims", op.keepdims.into()).to(node.outputs[0]);
    Ok(())
}

pub fn cumulative(op: &Cumulative, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, dtype, out) = (e.name(value), e.ty(value).dtype, node.outputs[0]);
    if op.function == CumulativeFunction::Prod {
        return running_product(op, node, e);
    }
    let (x, wide) = widened(x, dtype, e);
    let axis = e.scalar(DType::I64, op.axis as f64);
    let build = e.op("CumSum", &[&x, &axis]).int("exclusive", op.exclusive.into()).int("reverse", op.reverse.into());
    if wide == dtype {
        build.to(out);
    } else {
        let sum = build.tmp();
        e.op("Cast", &[&sum]).int("to", data_type(dtype).into()).to(out);
    }
    Ok(())
}

/// ONNX has no running product: for each element, the product over a new axis of all that come before it.
fn running_product(op: &Cumulative, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, ty) = (e.name(value), e.ty(value));
    let length = &ty.shape[op.axis];
    // (..., n, n, ...): axis `axis` counts results, the one after it factors.
    let new_axis = e.ints(&[op.axis as i64]);
    let factors = e.call("Unsqueeze", &[&x, &new_axis]);
    let after = ty.rank() - op.axis - 1;
    let counted = e.counting(length)?;
    let trailing = |extra: usize, e: &mut Emit| {
        let axes: Vec<i64> = (1..=(after + extra) as i64).collect();
        if axes.is_empty() {
            return counted.clone();
        }
        let axes = e.ints(&axes);
        e.call("Unsqueeze", &[&counted, &axes])
    };
    let result = trailing(1, e);
    let factor = trailing(0, e);
    let counts = match (op.reverse, op.exclusive) {
        (false, false) => e.call("LessOrEqual", &[&factor, &result]),
        (false, true) => e.call("Less", &[&factor, &result]),
        (true, false) => e.call("GreaterOrEqual", &[&factor, &result]),
        (true, true) => e.call("Greater", &[&factor, &result]),
    };
    let one = e.scalar(ty.dtype, 1.0);
    let chosen = e.call("Where", &[&counts, &factors, &one]);
    build(ReduceFunction::Prod, &chosen, &[op.axis + 1], false, e).to(node.outputs[0]);
    Ok(())
}

pub fn top_k(op: &TopK, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, dtype) = (e.name(value), e.ty(value).dtype);
    let (x, wide) = widened(x, dtype, e);
    let k = e.size(&op.k)?;
    let build = e.op("TopK", &[&x, &k]).int("axis", op.axis as i64).int("largest", op.largest.into()).int("sorted", 1);
    if wide == dtype {
        build.to_all(&node.outputs);
        return Ok(());
    }
    let parts = build.tmps(&[true, true]);
    e.op("Cast", &[&parts[0]]).int("to", data_type(dtype).into()).to(node.outputs[0]);
    e.alias(node.outputs[1], &parts[1]);
    Ok(())
}
