use super::shape::band;
use super::{Emit, Emitting};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{Attention, Dim, Node};

/// softmax(scale q k^T + bias) v, head by head, in the ops that every opset has.
pub fn attention(op: &Attention, node: &Node, e: &mut Emit) -> Emitting {
    let (q_value, k_value) = (e.value(node, 0)?, e.value(node, 1)?);
    let (q, k) = (e.shape(q_value), e.shape(k_value));
    let dtype = e.ty(q_value).dtype;
    let (names, heads, groups) = ((e.arg(node, 0)?, e.arg(node, 1)?, e.arg(node, 2)?), &q[2], &k[2]);
    let queries = e.op("Transpose", &[&names.0]).ints("perm", [0, 2, 1, 3]).tmp();
    let keys = e.op("Transpose", &[&names.1]).ints("perm", [0, 2, 3, 1]).tmp();
    let values = e.op("Transpose", &[&names.2]).ints("perm", [0, 2, 1, 3]).tmp();
    let keys = repeated(keys, &[&k[0], &k[2], &k[3], &k[1]], heads, groups, e)?;
    let v = e.shape(e.value(node, 2)?);
    let values = repeated(values, &[&v[0], &v[2], &v[1], &v[3]], heads, groups, e)?;
    let mut scores = e.call("MatMul", &[&queries, &keys]);
    if op.scale != 1.0 {
        let scale = e.scalar(dtype, op.scale);
        scores = e.call("Mul", &[&scores, &scale]);
    }
    if let Some(kept) = kept(op, node, &q[1], &k[1], e)? {
        let (zero, bias) = (e.scalar(dtype, 0.0), e.scalar(dtype, op.mask_bias));
        let bias = e.call("Where", &[&kept, &zero, &bias]);
        scores = e.call("Add", &[&scores, &bias]);
    }
    e.op("Softmax", &[&scores]).int("axis", 3).to(node.outputs[1]);
    let weights = e.name(node.outputs[1]);
    let mixed = e.call("MatMul", &[&weights, &values]);
    e.op("Transpose", &[&mixed]).ints("perm", [0, 2, 1, 3]).to(node.outputs[0]);
    Ok(())
}

/// What may be attended to: bool, broadcasting to (batch, heads, queries, keys).
fn kept(op: &Attention, node: &Node, t: &Dim, s: &Dim, e: &mut Emit) -> Result<Option<String>, Diag> {
    let mask = Some(e.opt_arg(node, 3)).filter(|name| !name.is_empty());
    if !op.causal {
        return Ok(mask);
    }
    let past = band(t, s, true, 0, e)?;
    Ok(Some(match mask {
        Some(mask) => e.call("And", &[&mask, &past]),
        None => past,
    }))
}

/// Each of `groups` heads (axis 1 of four) repeated so that there are `heads`.
fn repeated(x: String, shape: &[&Dim; 4], heads: &Dim, groups: &Dim, e: &mut Emit) -> Result<String, Diag> {
    let Some(times) = heads.exact_div(groups).filter(|times| !times.is_one()) else { return Ok(x) };
    let axis = e.ints(&[2]);
    let spread = e.call("Unsqueeze", &[&x, &axis]);
    let repeats = e.shape_vector(&[Dim::Known(1), Dim::Known(1), times, Dim::Known(1), Dim::Known(1)])?;
    let tiled = e.call("Tile", &[&spread, &repeats]);
    let target = [shape[0].clone(), heads.clone(), shape[2].clone(), shape[3].clone()];
    let target = e.shape_vector(&target)?;
    Ok(e.call("Reshape", &[&tiled, &target]))
}
