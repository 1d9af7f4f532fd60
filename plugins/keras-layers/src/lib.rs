//! The standard Keras layers, lowered to recast ops.
//!
//! A layer's row in its family's table says how its masks travel and which function lowers it. Around every lowering:
//! floating-point inputs are cast to the layer's compute dtype, as Keras autocasts them, and the mask rule is applied.

pub mod activations;
mod attention;
mod audio;
mod augmentation;
mod conv;
mod core;
mod equalize;
mod examples;
mod geometry;
mod lambda;
mod legacy;
mod local;
mod lookup;
mod merge;
mod norm;
mod ops;
pub mod policy;
mod pooling;
mod preprocess;
mod recurrent;
mod refused;
mod resample;
mod reshape;
pub mod table;
mod taps;
mod text;
mod training;
mod unsaid;
mod wrappers;

use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::lower::{LowerHost, Lowering, Val};
use recast_plugin_api::messages::{LowerRequest, Lowered};
use recast_plugin_api::plugin::{Layers, LowerCx};
use table::{Masks, Row};

pub struct KerasLayers;

impl Layers for KerasLayers {
    const CLASSES: &'static [&'static str] = &table::CLASSES;

    fn lower(&self, cx: &LowerCx<'_>, request: &LowerRequest) -> Result<Lowered, Findings> {
        lower_request(Some(cx), request)
    }

    fn examples(&self) -> Vec<LowerRequest> {
        examples::requests()
    }
}

/// Lowers one call. `cx` is only needed for wrapped layers.
pub fn lower_request(cx: Option<&dyn LowerHost>, request: &LowerRequest) -> Result<Lowered, Findings> {
    let mut l = Lowering::new(cx, request)?;
    let row = table::find(&l.layer.class).ok_or_else(|| {
        let detail = format!("{} is no class of this plugin", l.layer.class);
        Diag::new(Code::UnknownLayer, &l.layer.path, detail)
    })?;
    let outputs = lower_row(row, &mut l)?;
    l.finish(&outputs)
}

fn lower_row(row: &Row, l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    if row.autocast {
        policy::autocast(l)?;
    }
    unsaid::say(l);
    let mut outputs = (row.lower)(l)?;
    match row.masks {
        Masks::Own => {}
        Masks::Drop => outputs.iter_mut().for_each(|val| val.mask = None),
        Masks::PassIn3 if l.keras_major() < 3 => outputs.iter_mut().for_each(|val| val.mask = None),
        Masks::Pass | Masks::PassIn3 => {
            let mask = l.positional().first().and_then(|x| x.mask);
            outputs.iter_mut().for_each(|val| val.mask = mask);
        }
    }
    if !policy::hands_on(l) {
        outputs.iter_mut().for_each(|val| val.mask = None);
    }
    Ok(outputs)
}

recast_plugin_api::export_plugin! {
    id: "dev.recast.keras-layers",
    name: "Keras layers",
    layers: KerasLayers,
}
