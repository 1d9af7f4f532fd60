use super::*;
use crate::ir::op::{ArgReduce, Cumulative, Reduce, ReduceFunction, TopK};

pub fn reduce(op: &Reduce, ins: &Ins) -> Inferred {
    use ReduceFunction::*;
    ins.count(1, 1)?;
    let x = ins.get(0)?;
    match op.function {
        Any | All => want_dtype(x, "bool", |d| d == DType::Bool)?,
        Mean | LogSumExp => want_dtype(x, "a float", DType::is_float)?,
        Sum | Max | Min | Prod => want_dtype(x, "a number", |d| d.is_float() || d.is_int())?,
    }
    want_axes(x, &op.axes)?;
    Ok(vec![x.with_shape(reduced(&x.shape, &op.axes, op.keepdims))])
}

pub fn arg_reduce(op: &ArgReduce, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    let x = ins.get(0)?;
    want_dtype(x, "a number", |d| d.is_float() || d.is_int())?;
    want_axis(x, op.axis)?;
    Ok(vec![Type::new(DType::I64, reduced(&x.shape, &[op.axis], op.keepdims))])
}

pub fn cumulative(op: &Cumulative, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    let x = ins.get(0)?;
    want_dtype(x, "a number", |d| d.is_float() || d.is_int())?;
    want_axis(x, op.axis)?;
    Ok(vec![x.clone()])
}

pub fn top_k(op: &TopK, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    let x = ins.get(0)?;
    want_dtype(x, "a number", |d| d.is_float() || d.is_int())?;
    want_axis(x, op.axis)?;
    if let (Some(size), Some(k)) = (x.shape[op.axis].known(), op.k.known())
        && k > size
    {
        return Err(format!("the {k} largest of {size}"));
    }
    let mut shape = x.shape.clone();
    shape[op.axis] = op.k.clone();
    Ok(vec![x.with_shape(shape.clone()), Type::new(DType::I64, shape)])
}
