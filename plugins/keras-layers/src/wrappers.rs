//! Layers around another layer, which may be of any plugin, or a whole model.

use crate::core::quantization;
use crate::policy::compute_dtype;
use crate::table::{Masks, Row};
use crate::training::{handed_on, is_training};
use recast_keras_model::classes::is_made_of_others;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::types::element_count;
use recast_plugin_api::ir::{DType, Dim, ReduceFunction, ValueId};
use recast_plugin_api::lower::{Config, Lowering, Val};
use recast_plugin_api::model::Layer;

const WRAPPER: &str = "wrapper";

pub const ROWS: &[Row] = &[
    Row::new("Pipeline", WRAPPER, Masks::Own, pipeline, "any layers, one after the other").raw(),
    Row::new("SpectralNormalization", WRAPPER, Masks::Own, spectral, "the kernel as stored").raw(),
    Row::new("TimeDistributed", WRAPPER, Masks::Own, time_distributed, "any layer or model"),
];

/// Each layer on what the one before it gives, with its mask.
fn pipeline(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let mut values = l.positional();
    for child in &l.layer.children {
        if let Some(layer) = &child.layer {
            values = l.lower_child(layer, &values, &[], &[])?;
        }
    }
    Ok(values)
}

/// At inference the wrapped layer as it is: its kernel was normalized when it was trained.
fn spectral(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    for weight in &l.layer.weights {
        l.ignore(&weight.role);
    }
    if is_training(l)? {
        let detail = "called with training=True: it normalizes its kernel on each call";
        return Err(l.unsupported(detail).hint("save the model with that argument removed").into());
    }
    let child = l.child("layer")?;
    let inputs = l.positional();
    let mut outputs = l.lower_child(child, &inputs, &[], &[])?;
    // Keras 3 gives back the dtype that it was given: whole numbers as they came, floats as its own policy casts them.
    if let (true, Some(first)) = (l.keras_major() >= 3, inputs.first()) {
        let given = l.ty(first.value).dtype;
        let to = if given.is_float() { compute_dtype(l)? } else { given };
        for output in &mut outputs {
            output.value = l.cast(output.value, to)?;
        }
    }
    Ok(outputs)
}

/// The wrapped layer on every step at once: (batch, time, ...) is seen as (batch * time, ...).
fn time_distributed(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let inputs = l.positional();
    let first = *inputs.first().ok_or_else(|| l.error(Code::BadConfig, "called without a tensor"))?;
    let explicit = l.kwarg_values("mask").first().map(|mask| mask.value);
    let mask = explicit.or(first.mask);
    if l.rank(first.value) < 2 {
        return Err(l.unsupported(format!("called on {}", l.ty(first.value))).into());
    }
    let lead = l.shape(first.value)[..2].to_vec();
    let mut steps = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let value = merge_time(l, input.value)?;
        let own = if index == 0 { mask } else { input.mask };
        // A mask over time says nothing to a layer that sees one step.
        let own = match own {
            Some(mask) if l.rank(mask) > 2 => Some(merge_time(l, mask)?),
            Some(_) | None => None,
        };
        steps.push(Val { value, mask: own });
    }
    let child = stepped(l)?;
    let outputs = l.lower_child(&child, &steps, &handed_on(l), &[])?;
    let mut back = Vec::new();
    for output in outputs {
        let value = split_time(l, output.value, &lead)?;
        let mask = mask_behind(l, mask, output.mask, &lead)?;
        back.push(Val { value, mask });
    }
    Ok(back)
}

/// The wrapped layer as it computes. Keras 3 runs its `call` alone, so that not its dtype policy counts but the
/// wrapper's, for its weights, too; models, and layers that are made of others, run theirs as ever.
fn stepped(l: &Lowering<'_>) -> Result<Layer, Findings> {
    let mut child = l.child("layer")?.clone();
    if l.keras_major() < 3 || child.model.is_some() || is_made_of_others(&child.class) {
        return Ok(child);
    }
    let mut config = Config::new(&child.path, &child.config)?.object().clone();
    if let Some(mode) = config.get("dtype").and_then(quantization) {
        let detail =
            format!("a {} quantized to {mode}, whose whole numbers Keras takes there for weights", child.class);
        return Err(l.unsupported(detail).hint("quantize the model without this layer").into());
    }
    config["dtype"] = l.config.object().get("dtype").cloned().unwrap_or("float32".into());
    child.config = config.to_string();
    Ok(child)
}

fn merge_time(l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
    let shape = l.shape(x);
    let (lead, rest) = shape.split_at(shape.len().min(2));
    let merged: Vec<Dim> = [element_count(lead)].into_iter().chain(rest.iter().cloned()).collect();
    l.reshape(x, merged)
}

fn split_time(l: &mut Lowering<'_>, x: ValueId, lead: &[Dim]) -> Result<ValueId, Diag> {
    let shape = l.shape(x);
    let split: Vec<Dim> = lead.iter().chain(shape.iter().skip(1)).cloned().collect();
    l.reshape(x, split)
}

/// Keras 3 lets the incoming mask pass. Keras 2 asks the wrapped layer for a mask of every step; without one, a step
/// stays masked when all of it was.
fn mask_behind(
    l: &mut Lowering<'_>,
    before: Option<ValueId>,
    inner: Option<ValueId>,
    lead: &[Dim],
) -> Result<Option<ValueId>, Diag> {
    if l.keras_major() >= 3 {
        return Ok(before);
    }
    match (inner, before) {
        (Some(inner), _) => split_time(l, inner, lead).map(Some),
        (None, Some(mask)) if l.rank(mask) > 2 => {
            let axes: Vec<usize> = (2..l.rank(mask)).collect();
            let mask = l.cast(mask, DType::Bool)?;
            l.reduce(ReduceFunction::Any, mask, &axes, false).map(Some)
        }
        (None, mask) => Ok(mask),
    }
}
