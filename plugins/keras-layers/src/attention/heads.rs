//! MultiHeadAttention and GroupedQueryAttention: projections to heads, attention over some axes, projection back.

use super::axes::Axes;
use super::{both, causal, mask_bias, near};
use crate::core::count;
use crate::policy;
use crate::training::refuse_dropout;
use recast_keras_model::classes::{TAKES_MASKS_SINCE, ZEROED_SINCE};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{
    Attention, BinaryFunction, DType, Dim, MatMul, ReduceFunction, Shape, UnaryFunction, ValueId, Where,
};
use recast_plugin_api::lower::{Lowering, Val, resolve_axis};
use recast_plugin_api::model::ArgKind;
use serde_json::Value as Json;

/// What the configuration says.
struct Heads {
    query_heads: u64,
    /// Of key and value; divides `query_heads`.
    key_heads: u64,
    key_dim: u64,
    value_dim: u64,
    use_bias: bool,
    use_gate: bool,
    /// Sizes that the result's last axis becomes; the query's own when `None`.
    output: Option<Vec<u64>>,
    /// Axes of the query (and of the key) that are attended over, in Keras' order.
    axes: Vec<usize>,
    window: Option<u64>,
    dropout: bool,
}

/// The call's arguments; masks as Keras finds them.
struct Call {
    query: ValueId,
    value: ValueId,
    key: ValueId,
    query_mask: Option<ValueId>,
    value_mask: Option<ValueId>,
    key_mask: Option<ValueId>,
    explicit: Option<ValueId>,
    causal: bool,
    return_scores: bool,
}

/// In Keras 2, the mask of the query is lost to the layer where it casts the query: it looks for the mask on what it
/// computes with. It hands it on nevertheless.
fn casts_query(l: &Lowering<'_>) -> Result<bool, Diag> {
    let given = l.positional().first().map(|query| l.ty(query.value).dtype);
    let to = policy::compute_dtype(l)?;
    Ok(l.keras_major() < 3 && to.is_float() && given.is_some_and(|given| given.is_float() && given != to))
}

pub fn multi_head(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let lost = casts_query(l)?;
    policy::autocast(l)?;
    let takes = l.keras_version() >= TAKES_MASKS_SINCE;
    let mut call = Call::read(l, takes)?;
    let handed_on = call.query_mask;
    call.query_mask = handed_on.filter(|_| !lost);
    let rank = l.rank(call.query);
    let key_dim = l.config.u64("key_dim")?;
    let heads = l.config.u64("num_heads")?;
    let heads = Heads {
        query_heads: heads,
        key_heads: heads,
        key_dim,
        value_dim: l.config.u64_or("value_dim", key_dim)?,
        output: output_sizes(l)?,
        axes: attention_axes(l, rank)?,
        ..common(l)?
    };
    let mut outputs = lower(l, &heads, &call)?;
    outputs.iter_mut().take(1).for_each(|output| output.mask = handed_on);
    Ok(outputs)
}

pub fn grouped(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let call = Call::read(l, false)?;
    let dim = l.config.u64("head_dim")?;
    let heads = Heads {
        query_heads: l.config.u64("num_query_heads")?,
        key_heads: l.config.u64("num_key_value_heads")?,
        key_dim: dim,
        value_dim: dim,
        ..common(l)?
    };
    if l.rank(call.query) != 3 {
        return Err(l.unsupported(format!("called on {}", l.ty(call.query))).into());
    }
    lower(l, &heads, &call)
}

fn common(l: &Lowering<'_>) -> Result<Heads, Diag> {
    Ok(Heads {
        query_heads: 1,
        key_heads: 1,
        key_dim: 1,
        value_dim: 1,
        use_bias: l.config.bool_or("use_bias", true)?,
        use_gate: l.config.bool_or("use_gate", false)?,
        output: None,
        axes: vec![1],
        window: l.config.opt_u64("sliding_window")?,
        dropout: l.config.f64_or("dropout", 0.0)? > 0.0,
    })
}

/// `output_shape`: a number or several.
fn output_sizes(l: &Lowering<'_>) -> Result<Option<Vec<u64>>, Diag> {
    let bad = || l.error(Code::BadConfig, "'output_shape' should be sizes");
    match l.config.get("output_shape") {
        None => Ok(None),
        Some(Json::Array(items)) if items.is_empty() => Ok(None),
        Some(Json::Array(items)) => {
            items.iter().map(|item| item.as_u64().ok_or_else(bad)).collect::<Result<_, _>>().map(Some)
        }
        Some(one) => one.as_u64().map(|size| Some(vec![size])).ok_or_else(bad),
    }
}

/// All axes between batch and channels, where the configuration does not name them.
fn attention_axes(l: &Lowering<'_>, rank: usize) -> Result<Vec<usize>, Diag> {
    let items = match l.config.get("attention_axes") {
        None => return Ok((1..rank.saturating_sub(1)).collect()),
        Some(Json::Array(items)) => items.clone(),
        Some(one) => vec![one.clone()],
    };
    let axis = |item: &Json| {
        item.as_i64().and_then(|axis| resolve_axis(axis, rank)).filter(|axis| (1..rank - 1).contains(axis))
    };
    let axes: Option<Vec<usize>> = items.iter().map(axis).collect();
    let distinct = |axes: &Vec<usize>| axes.iter().enumerate().all(|(at, axis)| !axes[..at].contains(axis));
    let bad = || {
        l.error(Code::BadConfig, format!("'attention_axes' should be axes between the first and the last of {rank}"))
    };
    axes.filter(|axes| !axes.is_empty() && distinct(axes)).ok_or_else(bad)
}

impl Call {
    /// `takes`: the masks away, as of `TAKES_MASKS_SINCE`.
    fn read(l: &mut Lowering<'_>, takes: bool) -> Result<Call, Findings> {
        refuse_dropout(l)?;
        let newer = l.keras_major() >= 3;
        // Keras 3 takes the three masks before attention_mask.
        let after_key = if newer { 6 } else { 3 };
        let one =
            |l: &Lowering<'_>, place: usize, name: &str| l.argument_values(place, name).first().copied().flatten();
        let missing = |l: &Lowering<'_>, name: &str| l.error(Code::BadConfig, format!("called without a {name}"));
        let query = one(l, 0, "query").ok_or_else(|| missing(l, "query"))?;
        let value = one(l, 1, "value").ok_or_else(|| missing(l, "value"))?;
        let key = one(l, 2, "key");
        let explicit = one(l, after_key, "attention_mask").map(|mask| mask.value);
        if explicit.is_none()
            && matches!(l.argument(after_key, "attention_mask"), Some(ArgKind::Json(text)) if text != "null")
        {
            return Err(l.unsupported("a constant attention_mask").hint("make it an input of the model").into());
        }
        let stated = |l: &Lowering<'_>, place: usize, name: &str, own: Option<ValueId>| {
            if newer { one(l, place, name).map(|mask| mask.value).or(own) } else { own }
        };
        // Keras before 2.10 has no idea of the masks that travel with its tensors.
        let aware = newer || l.keras_version() >= (2, 10);
        let own = |val: Option<Val>| val.and_then(|val| val.mask).filter(|_| aware);
        let masks = [
            if takes { query.mask } else { stated(l, 3, "query_mask", own(Some(query))) },
            stated(l, 4, "value_mask", own(Some(value))),
            stated(l, 5, "key_mask", own(key)),
            explicit,
        ];
        let mut cast = Vec::new();
        for mask in masks {
            cast.push(mask.map(|mask| l.cast(mask, DType::Bool)).transpose()?);
        }
        let key = key.unwrap_or(value);
        let mut x = Vec::new();
        for value in [query.value, value.value, key.value] {
            if takes {
                l.unmask(value);
            }
            x.push(policy::as_float(l, value)?);
        }
        if x.iter().any(|&value| l.rank(value) < 3) {
            return Err(l.unsupported(format!("called on {} and {}", l.ty(x[0]), l.ty(x[1]))).into());
        }
        Ok(Call {
            query: x[0],
            value: x[1],
            key: x[2],
            query_mask: cast[0],
            value_mask: cast[1],
            key_mask: cast[2],
            explicit: cast[3],
            causal: l.argument_flag(after_key + 3, "use_causal_mask")?,
            return_scores: l.argument_flag(after_key + 1, "return_attention_scores")?,
        })
    }
}

fn lower(l: &mut Lowering<'_>, heads: &Heads, call: &Call) -> Result<Vec<Val>, Findings> {
    let q = project(l, "query", call.query, heads.query_heads, heads.key_dim, heads.use_bias)?;
    let k = project(l, "key", call.key, heads.key_heads, heads.key_dim, heads.use_bias)?;
    let v = project(l, "value", call.value, heads.key_heads, heads.value_dim, heads.use_bias)?;
    let gate = if heads.use_gate {
        let gate = project(l, "gate", call.query, heads.query_heads, heads.value_dim, heads.use_bias)?;
        Some(l.unary(UnaryFunction::Sigmoid, gate)?)
    } else {
        None
    };
    let axes = Axes::new(l, &heads.axes, q, k);
    let masked_twice = masks_twice(l, heads, call);
    // The op's own causal mask is over its two time axes, and Keras' is over axis 1.
    let whole = call.causal && heads.axes == [1] && !masked_twice;
    let mask = mask(l, heads, call, call.causal && !whole)?;
    let mask = match mask {
        Some(mask) => Some(axes.mask(l, mask)?),
        None => None,
    };
    let (q, k, v) = (axes.merged(l, q)?, axes.merged(l, k)?, axes.merged(l, v)?);
    let op =
        Attention { scale: 1.0 / (heads.key_dim as f64).sqrt(), causal: whole, mask_bias: mask_bias(l.ty(q).dtype) };
    let inputs: Vec<Option<ValueId>> = [Some(q), Some(k), Some(v)].into_iter().chain(mask.map(Some)).collect();
    let outputs = l.add_node(op, &inputs)?;
    let (mut output, mut scores) = (outputs[0], outputs[1]);
    if let (Some(mask), true) = (mask, masked_twice) {
        (output, scores) = without_dead_rows(l, mask, output, scores)?;
    }
    output = axes.apart(l, output, heads.value_dim)?;
    if let Some(gate) = gate {
        output = l.binary(BinaryFunction::Mul, output, gate)?;
    }
    let output = project_back(l, heads, output, call.query)?;
    let mut outputs = vec![Val { value: output, mask: call.query_mask }];
    if call.return_scores {
        outputs.push(Val::plain(axes.scores(l, scores)?));
    }
    Ok(outputs)
}

/// Since 3.10, Keras sets masked scores to zero after the softmax too, on the path that does not use the fused
/// attention.
fn masks_twice(l: &Lowering<'_>, heads: &Heads, call: &Call) -> bool {
    let unfused = heads.dropout || call.return_scores || l.rank(call.query) != 3;
    let padded = [call.query_mask, call.value_mask, call.key_mask, call.explicit].iter().any(Option::is_some);
    // Of what comes before it, a query always sees something.
    let may_be_blind = padded || heads.window.is_some();
    l.keras_version() >= ZEROED_SINCE && unfused && may_be_blind
}

/// Zeros where a query has every key masked. mask (b, h, t, s), each but the last perhaps 1.
fn without_dead_rows(
    l: &mut Lowering<'_>,
    mask: ValueId,
    output: ValueId,
    scores: ValueId,
) -> Result<(ValueId, ValueId), Diag> {
    let alive = l.reduce(ReduceFunction::Any, mask, &[3], true)?;
    let zero = l.scalar_like(scores, 0.0)?;
    let scores = l.add(Where {}, &[alive, scores, zero])?;
    let alive = l.transpose(alive, &[0, 2, 1, 3])?;
    Ok((l.add(Where {}, &[alive, output, zero])?, scores))
}

/// x (..., in) to (..., heads, dim).
fn project(l: &mut Lowering<'_>, name: &str, x: ValueId, heads: u64, dim: u64, bias: bool) -> Result<ValueId, Diag> {
    let last = l.rank(x) - 1;
    let input = l.known(x, last)?;
    let wide = heads * dim;
    let sizes = [Some(input), Some(heads), Some(dim)];
    let kernel = weight(l, &format!("{name}/kernel"), &sizes, &[input, wide])?;
    let mut y = l.add(MatMul {}, &[x, kernel])?;
    if bias {
        let bias = weight(l, &format!("{name}/bias"), &sizes[1..], &[wide])?;
        y = l.binary(BinaryFunction::Add, y, bias)?;
    }
    let mut shape = l.shape(y);
    shape[last] = Dim::Known(heads);
    shape.push(Dim::Known(dim));
    l.reshape(y, shape)
}

/// x (..., heads, dim) to (..., sizes of the output).
fn project_back(l: &mut Lowering<'_>, heads: &Heads, x: ValueId, query: ValueId) -> Result<ValueId, Diag> {
    let sizes = match &heads.output {
        Some(sizes) => sizes.clone(),
        None => vec![l.known(query, l.rank(query) - 1)?],
    };
    let (inner, wide) = (count(&[heads.query_heads, heads.value_dim]), count(&sizes));
    let stored: Vec<Option<u64>> =
        [heads.query_heads, heads.value_dim].iter().chain(&sizes).map(|&n| Some(n)).collect();
    let kernel = weight(l, "attention_output/kernel", &stored, &[inner, wide])?;
    let mut shape = l.shape(x);
    shape.truncate(shape.len() - 2);
    let lead = shape.clone();
    shape.push(Dim::Known(inner));
    let x = l.reshape(x, shape)?;
    let mut y = l.add(MatMul {}, &[x, kernel])?;
    if heads.use_bias {
        let bias = weight(l, "attention_output/bias", &stored[2..], &[wide])?;
        y = l.binary(BinaryFunction::Add, y, bias)?;
    }
    let shape: Shape = lead.into_iter().chain(sizes.into_iter().map(Dim::Known)).collect();
    l.reshape(y, shape)
}

/// A weight seen under another shape, in the compute dtype.
fn weight(l: &mut Lowering<'_>, role: &str, sizes: &[Option<u64>], shape: &[u64]) -> Result<ValueId, Diag> {
    let value = l.param_as(role, sizes, shape)?;
    let to = policy::compute_dtype(l)?;
    if to.is_float() { l.cast(value, to) } else { Ok(value) }
}

/// The conjunction of all masks, as Keras puts it together: (b, t, s), or of the explicit mask's rank.
fn mask(l: &mut Lowering<'_>, heads: &Heads, call: &Call, ordered: bool) -> Result<Option<ValueId>, Diag> {
    let mut mask = None;
    if let Some(queries) = call.query_mask {
        mask = Some(l.expand(queries, l.rank(queries))?);
    }
    for keys in [call.value_mask, call.key_mask].into_iter().flatten() {
        let keys = l.expand(keys, l.rank(keys) - 1)?;
        mask = both(l, mask, Some(keys))?;
    }
    let (rows, columns) = (l.shape(call.query)[1].clone(), l.shape(call.value)[1].clone());
    if ordered {
        let ordered = causal(l, &rows, &columns)?;
        let ordered = l.expand(ordered, 0)?;
        mask = both(l, mask, Some(ordered))?;
    }
    if let Some(window) = heads.window {
        let near = near(l, &rows, &columns, window)?;
        let near = l.expand(near, 0)?;
        mask = both(l, mask, Some(near))?;
    }
    // A mask for each head: the others hold for all of them.
    if let (Some(own), Some(explicit)) = (mask, call.explicit)
        && l.rank(explicit) == l.rank(own) + 1
    {
        mask = Some(l.expand(own, 1)?);
    }
    both(l, call.explicit, mask)
}
