//! Attention and AdditiveAttention: one head, no projections.

use super::{both, causal, mask_bias};
use crate::policy;
use crate::training::refuse_dropout;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{
    Attention, BinaryFunction, DType, MatMul, ReduceFunction, Softmax, UnaryFunction, ValueId, Where,
};
use recast_plugin_api::lower::{Lowering, Val};
use recast_plugin_api::model::ArgKind;

/// query (batch, t, d), value (batch, s, e), key (batch, s, d), with more batch axes where the caller has them.
struct Call {
    query: ValueId,
    value: ValueId,
    key: ValueId,
    query_mask: Option<ValueId>,
    value_mask: Option<ValueId>,
    causal: bool,
    return_scores: bool,
}

impl Call {
    fn read(l: &mut Lowering<'_>) -> Result<Call, Findings> {
        refuse_dropout(l)?;
        let inputs: Vec<Val> = l.positional().into_iter().filter(|val| l.ty(val.value).dtype != DType::Bool).collect();
        let (query, value, key) = match inputs[..] {
            [query, value] => (query, value, value),
            [query, value, key] => (query, value, key),
            ref other => {
                let detail = format!("takes query, value and perhaps key, is called with {} tensors", other.len());
                return Err(l.error(Code::BadConfig, detail).into());
            }
        };
        // The tensors are one list, the first argument; what follows has its place in the signature.
        let listed = matches!(l.request.args.first().and_then(|arg| arg.kind.as_ref()), Some(ArgKind::List(_)));
        let place = |at: usize| if listed { at } else { usize::MAX };
        let masks = l.argument_values(place(1), "mask");
        let explicit = |at: usize| masks.get(at).copied().flatten().map(|mask| mask.value);
        let (query_mask, value_mask) =
            if masks.is_empty() { (query.mask, value.mask) } else { (explicit(0), explicit(1)) };
        let causal = l.argument_flag(place(4), "use_causal_mask")? || l.config.bool_or("causal", false)?;
        let return_scores = l.argument_flag(place(3), "return_attention_scores")?;
        let (query_mask, value_mask) = (as_mask(l, query_mask)?, as_mask(l, value_mask)?);
        let (query, value, key) =
            (policy::as_float(l, query.value)?, policy::as_float(l, value.value)?, policy::as_float(l, key.value)?);
        if l.rank(query) < 3 || l.rank(query) != l.rank(key) || l.rank(key) != l.rank(value) {
            let detail = format!("called on {}, {} and {}", l.ty(query), l.ty(value), l.ty(key));
            return Err(l.unsupported(detail).into());
        }
        Ok(Call { query, value, key, query_mask, value_mask, causal, return_scores })
    }
}

fn as_mask(l: &mut Lowering<'_>, mask: Option<ValueId>) -> Result<Option<ValueId>, Diag> {
    mask.map(|mask| l.cast(mask, DType::Bool)).transpose()
}

pub fn attention(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let call = Call::read(l)?;
    let scale = if l.config.bool_or("use_scale", false)? { Some(policy::weight(l, "scale", &[])?) } else { None };
    match l.config.str_or("score_mode", "dot")? {
        "dot" => dot(l, &call, scale),
        "concat" => {
            let weight = policy::weight(l, "concat_score_weight", &[])?;
            let mut sum = sums(l, &call)?;
            if let Some(scale) = scale {
                sum = l.binary(BinaryFunction::Mul, sum, scale)?;
            }
            let seen = l.unary(UnaryFunction::Tanh, sum)?;
            let scores = l.reduce(ReduceFunction::Sum, seen, &[l.rank(seen) - 1], false)?;
            let scores = l.binary(BinaryFunction::Mul, scores, weight)?;
            attend(l, &call, scores)
        }
        other => Err(l.error(Code::BadConfig, format!("score_mode '{other}'")).into()),
    }
}

/// scores = sum over d of scale tanh(query + key)
pub fn additive(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let call = Call::read(l)?;
    let sum = sums(l, &call)?;
    let mut seen = l.unary(UnaryFunction::Tanh, sum)?;
    let last = l.rank(seen) - 1;
    if l.config.bool_or("use_scale", true)? {
        let size = l.known(seen, last)?;
        let scale = policy::weight(l, "scale", &[Some(size)])?;
        seen = l.binary(BinaryFunction::Mul, seen, scale)?;
    }
    let scores = l.reduce(ReduceFunction::Sum, seen, &[last], false)?;
    attend(l, &call, scores)
}

/// Every query plus every key: (..., t, s, d).
fn sums(l: &mut Lowering<'_>, call: &Call) -> Result<ValueId, Diag> {
    let rank = l.rank(call.query);
    let (query, key) = (l.expand(call.query, rank - 1)?, l.expand(call.key, rank - 2)?);
    l.binary(BinaryFunction::Add, query, key)
}

/// The dot product: the whole op where there is one batch axis.
fn dot(l: &mut Lowering<'_>, call: &Call, scale: Option<ValueId>) -> Result<Vec<Val>, Findings> {
    let query = match scale {
        Some(scale) => l.binary(BinaryFunction::Mul, call.query, scale)?,
        None => call.query,
    };
    let rank = l.rank(query);
    if rank != 3 {
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 2, rank - 1);
        let key = l.transpose(call.key, &perm)?;
        let scores = l.add(MatMul {}, &[query, key])?;
        return attend(l, call, scores);
    }
    let (q, k, v) = (l.expand(query, 2)?, l.expand(call.key, 2)?, l.expand(call.value, 2)?);
    let mask = match call.value_mask {
        Some(mask) => {
            let mask = l.expand(mask, 1)?;
            Some(l.expand(mask, 1)?)
        }
        None => None,
    };
    let op = Attention { scale: 1.0, causal: call.causal, mask_bias: mask_bias(l.ty(query).dtype) };
    let inputs: Vec<Option<ValueId>> = [Some(q), Some(k), Some(v)].into_iter().chain(mask.map(Some)).collect();
    let outputs = l.add_node(op, &inputs)?;
    let (output, scores) = (l.squeeze(outputs[0], 2)?, outputs[1]);
    let scores = if call.return_scores { Some(l.squeeze(scores, 1)?) } else { None };
    finish(l, call, output, scores)
}

/// From scores (..., t, s) to the outputs.
fn attend(l: &mut Lowering<'_>, call: &Call, scores: ValueId) -> Result<Vec<Val>, Findings> {
    let rank = l.rank(scores);
    let mut mask = match call.value_mask {
        Some(mask) => Some(l.expand(mask, l.rank(mask) - 1)?),
        None => None,
    };
    if call.causal {
        let shape = l.shape(scores);
        let ordered = causal(l, &shape[rank - 2], &shape[rank - 1])?;
        mask = both(l, mask, Some(ordered))?;
    }
    let scores = match mask {
        Some(mask) => {
            let bias = mask_bias(l.ty(scores).dtype);
            let bias = l.scalar_like(scores, bias)?;
            l.add(Where {}, &[mask, scores, bias])?
        }
        None => scores,
    };
    let weights = l.add(Softmax { axes: vec![rank - 1] }, &[scores])?;
    let output = l.add(MatMul {}, &[weights, call.value])?;
    finish(l, call, output, Some(weights))
}

fn finish(l: &mut Lowering<'_>, call: &Call, output: ValueId, scores: Option<ValueId>) -> Result<Vec<Val>, Findings> {
    let mut output = Val { value: output, mask: call.query_mask };
    if let Some(mask) = call.query_mask {
        let mask = l.expand(mask, l.rank(mask))?;
        let zero = l.scalar_like(output.value, 0.0)?;
        output.value = l.add(Where {}, &[mask, output.value, zero])?;
    }
    let scores = scores.filter(|_| call.return_scores).map(Val::plain);
    Ok(std::iter::once(output).chain(scores).collect())
}
