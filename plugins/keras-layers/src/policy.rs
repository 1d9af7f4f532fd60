//! The dtype policy of a layer, and what every lowering does with it: inputs and weights in the compute dtype.

use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{DType, ValueId};
use recast_plugin_api::lower::{Lowering, Val};
use recast_plugin_api::model::ArgKind;
use serde_json::Value as Json;

/// The dtype that the layer computes in: f16 under `mixed_float16`, else the layer's `dtype`, else f32.
pub fn compute_dtype(l: &Lowering<'_>) -> Result<DType, Diag> {
    let dtype = l.config.object().get("dtype");
    if dtype.is_some_and(|dtype| dtype.is_object() && policy_name(Some(dtype)).is_none()) {
        return Err(l.config.bad("dtype", "a dtype or a named policy"));
    }
    match policy_name(dtype) {
        None | Some("_infer") => Ok(DType::F32),
        Some("mixed_float16") => Ok(DType::F16),
        Some("mixed_bfloat16") => Ok(DType::BF16),
        Some(name) => DType::from_keras(name)
            .ok_or_else(|| l.error(Code::UnsupportedLayer, format!("{}: the dtype policy '{name}'", l.layer.class))),
    }
}

/// `"float32"`, or the name in `{"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}`; of a quantized
/// policy the one that it was made of, of a map of policies the default.
fn policy_name(dtype: Option<&Json>) -> Option<&str> {
    match dtype? {
        Json::String(name) => Some(name),
        Json::Object(object) => {
            let config = object.get("config")?;
            let name = config.get("name").or_else(|| config.get("source_name")).and_then(Json::as_str);
            name.or_else(|| policy_name(config.get("default_policy")))
        }
        _ => None,
    }
}

/// Casts the floating-point inputs to the compute dtype. Integers stay what they are until the layer needs a float.
pub fn autocast(l: &mut Lowering<'_>) -> Result<(), Diag> {
    let to = compute_dtype(l)?;
    if !to.is_float() || !l.config.bool_or("autocast", true)? {
        return Ok(());
    }
    l.cast_float_inputs(to)
}

/// A weight in the compute dtype (variables of a mixed policy are stored as f32).
pub fn weight(l: &mut Lowering<'_>, role: &str, sizes: &[Option<u64>]) -> Result<ValueId, Diag> {
    let to = compute_dtype(l)?;
    let value = l.param_shaped(role, sizes)?;
    if to.is_float() { l.cast(value, to) } else { Ok(value) }
}

/// Whether the outputs have a mask, if the class hands one on. Before 3.4, Keras 3 does not look for the masks of a
/// list of tensors, and before 3.11 it hands on the mask that travels with the first input, never one that is an
/// argument.
pub fn hands_on(l: &Lowering<'_>) -> bool {
    if l.keras_major() < 3 {
        return true;
    }
    let first = l.request.args.first().and_then(|arg| arg.kind.as_ref());
    let listed = matches!(first, Some(ArgKind::List(_)));
    let travels = || l.positional().first().is_some_and(|x| x.mask.is_some());
    match l.keras_version() {
        (_, 0..=3) if listed => false,
        (_, 0..=10) => l.kwarg_values("mask").is_empty() || listed || travels(),
        _ => true,
    }
}

/// The only input, as a float: integers are cast to the compute dtype.
pub fn float_input(l: &mut Lowering<'_>) -> Result<ValueId, Diag> {
    let x = l.input()?.value;
    as_float(l, x)
}

/// Integers and booleans cast to the compute dtype.
pub fn as_float(l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
    if l.ty(x).dtype.is_float() {
        return Ok(x);
    }
    let to = compute_dtype(l)?;
    l.cast(x, if to.is_float() { to } else { DType::F32 })
}

/// Whole numbers of whole numbers, computed in a float that holds them.
pub fn through_float(
    l: &mut Lowering<'_>,
    x: ValueId,
    compute: impl FnOnce(&mut Lowering<'_>, ValueId) -> Result<ValueId, Diag>,
) -> Result<ValueId, Diag> {
    let dtype = l.ty(x).dtype;
    let x = l.cast(x, if dtype.size() > 2 { DType::F64 } else { DType::F32 })?;
    let y = compute(l, x)?;
    l.cast(y, dtype)
}

/// The mask that the layer computes with: an explicit `mask` argument, else the one that travels with the first input.
pub fn mask(l: &Lowering<'_>) -> Option<ValueId> {
    match l.kwarg_values("mask").first() {
        Some(explicit) => Some(explicit.value),
        None => l.positional().first().and_then(|x| x.mask),
    }
}

/// One output whose mask the row's rule sets.
pub fn one(value: ValueId) -> Vec<Val> {
    vec![Val::plain(value)]
}
