//! Sums and their kind.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::value::{Int, Ints, Val};
use super::{axis, inputs, one};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    ArgFunction, ArgReduce, Cast, Cumulative, CumulativeFunction, DType, Dim, OneHot, Op, Reduce, ReduceFunction, TopK,
};

type Out = Result<Vec<Val>, Diag>;

pub fn reduce<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _] = inputs(node, vals)?;
    let function = match node.op {
        "Sum" => ReduceFunction::Sum,
        "Mean" => ReduceFunction::Mean,
        "Max" => ReduceFunction::Max,
        "Min" => ReduceFunction::Min,
        "Prod" => ReduceFunction::Prod,
        "All" => ReduceFunction::All,
        _ => ReduceFunction::Any,
    };
    let keepdims = node.flag("keep_dims", false)?;
    let rank = interp.shape_of(node, x)?.len();
    let mut axes = Vec::new();
    for at in interp.known(node, vals, 1, "axis")? {
        axes.push(axis(node, at, rank)?);
    }
    axes.sort_unstable();
    axes.dedup();
    if let Some(folded) = interp.ints(x).and_then(|ints| folded(function, &ints, &axes, keepdims)) {
        return Ok(vec![folded.val()]);
    }
    let x = interp.value(node, x)?;
    if axes.is_empty() {
        return one(interp, x);
    }
    let out = interp.add(node, Reduce { function, axes, keepdims }, &[x])?;
    one(interp, out)
}

/// Of the elements of a shape.
fn folded(function: ReduceFunction, ints: &Ints, axes: &[usize], keepdims: bool) -> Option<Ints> {
    let all = match ints.shape.len() {
        0 => return Some(ints.clone()),
        1 => axes == [0],
        _ => false,
    };
    if !all {
        return None;
    }
    let mut elements = ints.elements.iter();
    let total = match function {
        ReduceFunction::Sum => elements.try_fold(Int::N(0), |sum, next| sum.add(next))?,
        ReduceFunction::Prod => elements.try_fold(Int::N(1), |product, next| product.mul(next))?,
        ReduceFunction::Max => match elements.as_slice() {
            [only] => only.clone(),
            _ => Int::N(*ints.known()?.iter().max()?),
        },
        ReduceFunction::Min => match elements.as_slice() {
            [only] => only.clone(),
            _ => Int::N(*ints.known()?.iter().min()?),
        },
        ReduceFunction::All => Int::N(i64::from(ints.known()?.iter().all(|n| *n != 0))),
        ReduceFunction::Any => Int::N(i64::from(ints.known()?.iter().any(|n| *n != 0))),
        ReduceFunction::Mean | ReduceFunction::LogSumExp => return None,
    };
    Some(Ints { dtype: ints.dtype, shape: if keepdims { vec![1] } else { Vec::new() }, elements: vec![total] })
}

pub fn arg<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _] = inputs(node, vals)?;
    let function = if node.op == "ArgMax" { ArgFunction::Max } else { ArgFunction::Min };
    let at = interp.known(node, vals, 1, "axis")?;
    let x = interp.value(node, x)?;
    let at = axis(node, *at.first().ok_or_else(|| node.bad("no axis"))?, interp.shape(x).len())?;
    let found = interp.add(node, ArgReduce { function, axis: at, keepdims: false }, &[x])?;
    let to = node.dtype_or("output_type", DType::I64)?;
    let out = if to == DType::I64 { found } else { interp.add(node, Cast { to }, &[found])? };
    one(interp, out)
}

pub fn cumulative<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _] = inputs(node, vals)?;
    let function = if node.op == "Cumsum" { CumulativeFunction::Sum } else { CumulativeFunction::Prod };
    let at = interp.known(node, vals, 1, "axis")?;
    let x = interp.value(node, x)?;
    let at = axis(node, *at.first().ok_or_else(|| node.bad("no axis"))?, interp.shape(x).len())?;
    let (exclusive, reverse) = (node.flag("exclusive", false)?, node.flag("reverse", false)?);
    let out = interp.add(node, Cumulative { function, axis: at, exclusive, reverse }, &[x])?;
    one(interp, out)
}

pub fn top_k<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _] = inputs(node, vals)?;
    let k = interp.sizes_of(node, vals, 1, "k")?;
    let k: Dim = k.first().and_then(Int::dim).ok_or_else(|| node.bad("no k"))?;
    let x = interp.value(node, x)?;
    let last = interp.shape(x).len().checked_sub(1).ok_or_else(|| node.bad("a scalar"))?;
    let found = interp.add_node(node, Op::from(TopK { axis: last, k, largest: true }), &[x])?;
    let indices = interp.add(node, Cast { to: node.dtype_or("index_type", DType::I32)? }, &[found[1]])?;
    Ok(vec![interp.val(found[0]), interp.val(indices)])
}

/// values, size, weights: how often each number below `size` occurs in a row, or whether it does.
pub fn bincount<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _, weights] = inputs(node, vals)?;
    if interp.shape_of(node, weights)?.iter().any(|dim| *dim != Dim::Known(0)) {
        return Err(node.unsupported("weights"));
    }
    let depth = interp.known(node, vals, 1, "size")?;
    let depth = depth.first().and_then(|depth| u64::try_from(*depth).ok()).ok_or_else(|| node.bad("no size"))?;
    let dtype = node.dtype_or("T", DType::F32)?;
    let x = interp.value(node, x)?;
    let rank = interp.shape(x).len();
    let row = rank.checked_sub(1).ok_or_else(|| node.bad("a scalar"))?;
    let hot = interp.add(node, OneHot { depth, axis: rank, dtype }, &[x])?;
    let function = if node.flag("binary_output", false)? { ReduceFunction::Max } else { ReduceFunction::Sum };
    let out = interp.graph().reduce(node.name, function, hot, &[row], false)?;
    one(interp, out)
}
