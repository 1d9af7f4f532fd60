use super::{Emit, Emitting, Step, Val, op as emit_op};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{Constant, DType, Dim, DimSize, Graph, Iota, Node, Scan};

pub fn constant<'a>(op: &'a Constant, node: &Node, e: &mut Emit<'a>) -> Emitting {
    e.know(node.outputs[0], &op.tensor);
    Ok(())
}

pub fn dim_size(op: &DimSize, node: &Node, e: &mut Emit) -> Emitting {
    let size = e.size(&op.dim)?;
    let size = e.cast(&size, DType::I64);
    e.bind(node.outputs[0], size);
    Ok(())
}

pub fn iota(op: &Iota, node: &Node, e: &mut Emit) -> Emitting {
    let counted = e.counting(&op.dim)?;
    let counted = e.cast(&counted, op.dtype);
    e.bind(node.outputs[0], counted);
    Ok(())
}

/// `x` (batch, time, ...) with time first.
pub fn time_first(x: &Val, rank: usize, e: &mut Emit) -> Val {
    let perm = e.ints(&[1, 0].into_iter().chain(2..rank as i64).collect::<Vec<_>>());
    e.call("Transpose", &[x, &perm])
}

/// A shape as list elements have it: -1 where it is free.
fn element(dims: &[Dim]) -> Vec<i64> {
    dims.iter().map(|dim| dim.known().map_or(-1, |size| size as i64)).collect()
}

/// Time (the first axis) turned around for a loop that runs backwards, as Keras does it: readers of loops know a step
/// by its number.
pub fn turned(x: Val, backwards: bool, e: &mut Emit) -> Val {
    if !backwards {
        return x;
    }
    let time = e.ints(&[0]);
    e.call("ReverseV2", &[&x, &time])
}

pub fn scan<'a>(op: &'a Scan, node: &'a Node, e: &mut Emit<'a>) -> Emitting {
    let body: &'a Graph = &op.body;
    let mut states = (0..op.states).map(|i| e.arg(node, i)).collect::<Result<Vec<_>, _>>()?;
    let count = e.size(&e.shape(e.value(node, op.states)?)[1].clone())?;
    let mut lists = Vec::new();
    for (i, input) in body.inputs.iter().enumerate().skip(op.states) {
        let value = e.value(node, i)?;
        let (x, rank) = (e.val(value)?, e.ty(value).rank());
        let steps = time_first(&x, rank, e);
        let steps = turned(steps, op.reverse, e);
        lists.push(e.list_of(&steps, &element(body.shape(input.value))));
    }
    let mut shapes = Vec::new();
    for output in &body.outputs[op.states..] {
        let shape = e.shape_vector(body.shape(output.value))?;
        states.push(e.list_reserved(&shape, &count, body.ty(output.value).dtype));
        shapes.push(shape);
    }
    let results = e.repeat(&count, &states, body, |e, step| one_step(op, body, &lists, step, e))?;
    for (i, (result, &value)) in results.iter().zip(&node.outputs).enumerate() {
        let mut y = result.clone();
        if i >= op.states {
            let ty = e.ty(value);
            let stacked = e.list_stacked(&y, &shapes[i - op.states], ty.dtype);
            let stacked = turned(stacked, op.reverse, e);
            y = time_first(&stacked, ty.rank(), e);
        }
        e.bind(value, y);
    }
    Ok(())
}

/// States first, then a list for each stacked output.
fn one_step<'a>(op: &Scan, body: &'a Graph, lists: &[Val], step: &Step, e: &mut Emit<'a>) -> Result<Vec<Val>, Diag> {
    let at = &step.number;
    for (i, input) in body.inputs.iter().enumerate() {
        let val = if i < op.states {
            step.states[i].clone()
        } else {
            let list = e.capture(&lists[i - op.states]);
            let ty = body.ty(input.value);
            e.list_item(&list, at, &element(&ty.shape), ty.dtype)
        };
        e.bind(input.value, val);
    }
    for node in body.nodes() {
        e.enter(node);
        emit_op(node, e)?;
    }
    let mut next = Vec::new();
    for (i, output) in body.outputs.iter().enumerate() {
        let val = e.val(output.value)?;
        next.push(if i < op.states { val } else { e.call("TensorListSetItem", &[&step.states[i], at, &val]) });
    }
    Ok(next)
}
