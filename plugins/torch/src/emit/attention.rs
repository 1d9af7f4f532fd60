use crate::class::Helper;
use crate::py::{Arg, Py, StmtKind, call, kw, method};
use crate::scope::{Emit, Made, Making};
use recast_plugin_api::ir::{Attention, Node};

/// (batch, time, heads, width) to (batch, heads, time, width), and back.
fn turned(x: Py) -> Py {
    method(x, "transpose", vec![Py::from(1u64).into(), Py::from(2u64).into()])
}

/// `F.scaled_dot_product_attention` where nothing is masked but the future. A mask of Keras' lowers scores by a large
/// number rather than taking them away, so a row that is masked wholly attends to everything alike: `attention` of
/// the helpers. <https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html>
pub fn attention(op: &Attention, node: &Node, e: &mut Emit) -> Making {
    let (q, k, v) = (e.var(node, 0)?, e.var(node, 1)?, e.var(node, 2)?);
    let heads = (e.shape(e.value(node, 0)?)[2].known(), e.shape(e.value(node, 1)?)[2].known());
    let mask = e.opt_arg(node, 3)?;
    let scores = node.outputs.get(1).copied().filter(|&value| e.is_used(value));
    if mask.is_none() && scores.is_none() {
        let mut args: Vec<Arg> = vec![turned(q).into(), turned(k).into(), turned(v).into()];
        args.extend(op.causal.then(|| kw("is_causal", true)));
        args.push(kw("scale", op.scale));
        args.extend((heads.0 != heads.1).then(|| kw("enable_gqa", true)));
        let attended = e.temporary(&call("F.scaled_dot_product_attention", args));
        return Ok(turned(attended).into());
    }
    e.out.helpers.insert(Helper::Attention);
    let mut args: Vec<Arg> = vec![q.into(), k.into(), v.into()];
    args.extend(mask.map(|mask| kw("mask", mask)));
    args.push(kw("scale", op.scale));
    args.extend(op.causal.then(|| kw("causal", true)));
    args.push(kw("mask_bias", op.mask_bias));
    let first = if e.is_used(node.outputs[0]) { e.variable(node.outputs[0], &[]) } else { "_".into() };
    let second = match scores {
        Some(value) => e.variable(value, &[]),
        None => "_".into(),
    };
    let comment = String::new();
    e.push(StmtKind::Assign { targets: format!("{first}, {second}"), value: call("attention", args), comment });
    for (value, name) in node.outputs.iter().zip([first, second]) {
        e.frame.vals.insert(*value, name.into());
    }
    Ok(Made::Bound)
}
