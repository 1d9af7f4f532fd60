//! Arrays that say what a layer learnt in other words than those that it computes with: they become options.

use super::{Taken, roles};
use crate::io::{Files, Limits};
use recast_keras_model::learnt;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::DType;
use recast_plugin_api::model::{Layer, Model};
use serde_json::{Value, json};

/// Takes the summary of each adapted Discretization away and gives its layer the bounds.
pub fn settle<'t>(
    taken: Vec<Taken<'t>>,
    root: &mut Model,
    files: &Files<'_, '_>,
    limits: &Limits,
) -> (Vec<Taken<'t>>, Findings) {
    let of_bounds = |weight: &Taken<'_>| weight.role == roles::LEARNT_BOUNDS;
    let (summaries, others): (Vec<_>, Vec<_>) = taken.into_iter().partition(of_bounds);
    let mut findings = Findings::new();
    for summary in summaries {
        let found = root.layers.iter_mut().find_map(|layer| find(layer, &summary.path));
        let Some(layer) = found.filter(|layer| layer.class == "Discretization") else { continue };
        findings.extend(give(layer, &summary, files, limits).err());
    }
    (others, findings)
}

fn find<'m>(layer: &'m mut Layer, path: &str) -> Option<&'m mut Layer> {
    if layer.path == path {
        return Some(layer);
    }
    let inner = layer.model.iter_mut().flat_map(|model| &mut model.layers);
    inner.chain(layer.children.iter_mut().filter_map(|child| child.layer.as_mut())).find_map(|inner| find(inner, path))
}

fn give(layer: &mut Layer, summary: &Taken<'_>, files: &Files<'_, '_>, limits: &Limits) -> Result<(), Diag> {
    let Some(array) = summary.arrays.first() else { return Ok(()) };
    let malformed = |detail: &str| Diag::new(Code::Malformed, array.at(), detail);
    let loaded = array.load(files, limits)?;
    let pairs = loaded.dtype == DType::F32 && loaded.dims.len() == 2 && loaded.dims[0] == 2;
    let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let all: Vec<f32> = loaded.bytes.chunks_exact(4).filter(|_| pairs).map(number).collect();
    let (numbers, counts) = all.split_at(all.len() / 2);
    let Ok(mut config) = serde_json::from_str::<Value>(&layer.config) else { return Ok(()) };
    let buckets = config.get("num_bins").and_then(Value::as_u64).unwrap_or(0);
    let bounds = learnt::bounds(numbers, counts, buckets);
    let bounds = bounds.ok_or_else(|| malformed("no numbers in order with their counts, from which bounds follow"))?;
    config["bin_boundaries"] = json!(bounds.iter().map(|&bound| f64::from(bound)).collect::<Vec<_>>());
    layer.config = config.to_string();
    Ok(())
}
