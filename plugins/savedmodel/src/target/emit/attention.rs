use super::norm::softmax_of;
use super::shape::band;
use super::{Emit, Emitting, Val};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{Attention, Dim, Node};

/// softmax(scale q k^T + bias) v, head by head.
pub fn attention(op: &Attention, node: &Node, e: &mut Emit) -> Emitting {
    let (q_value, k_value, v_value) = (e.value(node, 0)?, e.value(node, 1)?, e.value(node, 2)?);
    let (q, k, v) = (e.shape(q_value), e.shape(k_value), e.shape(v_value));
    let dtype = e.ty(q_value).dtype;
    let heads_first = e.ints(&[0, 2, 1, 3]);
    let mut turned = Vec::new();
    for value in [q_value, k_value, v_value] {
        let x = e.val(value)?;
        turned.push(e.call("Transpose", &[&x, &heads_first]));
    }
    let (heads, groups) = (&q[2], &k[2]);
    let keys = repeated(&turned[1], [&k[0], &k[2], &k[1], &k[3]], heads, groups, e)?;
    let values = repeated(&turned[2], [&v[0], &v[2], &v[1], &v[3]], heads, groups, e)?;
    let mut scores = e.op("BatchMatMulV2", &[&turned[0], &keys]).flag("adj_y", true).tmp();
    if op.scale != 1.0 {
        let scale = e.scalar(dtype, op.scale);
        scores = e.call("Mul", &[&scores, &scale]);
    }
    if let Some(kept) = kept(op, node, &q[1], &k[1], e)? {
        let (zero, bias) = (e.scalar(dtype, 0.0), e.scalar(dtype, op.mask_bias));
        let bias = e.call("SelectV2", &[&kept, &zero, &bias]);
        scores = e.call("AddV2", &[&scores, &bias]);
    }
    let weights = softmax_of(&scores, &[3], 4, dtype, e);
    let mixed = e.call("BatchMatMulV2", &[&weights, &values]);
    e.bind(node.outputs[1], weights);
    e.op("Transpose", &[&mixed, &heads_first]).to(node.outputs[0]);
    Ok(())
}

/// What may be attended to: bool, broadcasting to (batch, heads, queries, keys).
fn kept(op: &Attention, node: &Node, t: &Dim, s: &Dim, e: &mut Emit) -> Result<Option<Val>, Diag> {
    let mask = e.opt_arg(node, 3)?;
    if !op.causal {
        return Ok(mask);
    }
    let past = band(t, s, true, 0, e)?;
    Ok(Some(match mask {
        Some(mask) => e.call("LogicalAnd", &[&mask, &past]),
        None => past,
    }))
}

/// Each of `groups` heads (axis 1 of four) repeated so that there are `heads`.
fn repeated(x: &Val, shape: [&Dim; 4], heads: &Dim, groups: &Dim, e: &mut Emit) -> Result<Val, Diag> {
    let Some(times) = heads.exact_div(groups).filter(|times| !times.is_one()) else { return Ok(x.clone()) };
    let spread = e.expand(x, 2);
    let repeats = e.shape_vector(&[Dim::Known(1), Dim::Known(1), times, Dim::Known(1), Dim::Known(1)])?;
    let tiled = e.call("Tile", &[&spread, &repeats]);
    let target = [shape[0].clone(), heads.clone(), shape[2].clone(), shape[3].clone()];
    let target = e.shape_vector(&target)?;
    Ok(e.call("Reshape", &[&tiled, &target]))
}
