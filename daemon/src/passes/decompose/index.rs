//! The first index of the largest or smallest, by comparison: runtimes differ in which of several equals they take.

use super::At;
use recast_plugin_api::diag::Findings;
use recast_plugin_api::ir::{
    ArgFunction, ArgReduce, Binary, BinaryFunction, DType, Dim, Iota, Reduce, ReduceFunction, Tensor, ValueId, Where,
};

pub fn arg_reduce(op: &ArgReduce, at: &mut At<'_>) -> Result<Option<Vec<ValueId>>, Findings> {
    let x = at.input(0)?;
    let (size, rank) = (at.size(x, op.axis)?, at.shape(x).len());
    let function = match op.function {
        ArgFunction::Max => ReduceFunction::Max,
        ArgFunction::Min => ReduceFunction::Min,
    };
    let extreme = at.add(Reduce { function, axes: vec![op.axis], keepdims: true }, &[x])?;
    let found = at.add(Binary { function: BinaryFunction::Equal }, &[x, extreme])?;
    let places = at.add(Iota { dim: Dim::Known(size), dtype: DType::I64 }, &[])?;
    let mut along = vec![Dim::Known(1); rank];
    along[op.axis] = Dim::Known(size);
    let places = at.reshape(places, along)?;
    let beyond = at.graph.constant(at.path, Tensor::scalar(DType::I64, size as f64))?;
    let places = at.add(Where {}, &[found, places, beyond])?;
    let axes = vec![op.axis];
    Ok(Some(vec![at.add(Reduce { function: ReduceFunction::Min, axes, keepdims: op.keepdims }, &[places])?]))
}
