//! Weights as one list of names, whose order is all that tells whose they are: TensorFlow.js.
//!
//! Python writes layer after layer, as HDF5 groups lie; JavaScript all trainable arrays of the model first.

use crate::array::Array;
use crate::config::Architecture;
use crate::weights::Taken;
use crate::weights::legacy::{self, Listed};
use recast_plugin_api::diag::Findings;
use recast_plugin_api::model::Layer;

/// Every array with the layer and role that it belongs to.
pub fn assign<'t>(architecture: &Architecture, arrays: &'t [Array<'t>]) -> (Vec<Taken<'t>>, Findings) {
    let listed = |arrays: &'t [Array<'t>]| {
        arrays.iter().map(|array| Listed { name: array.at().to_owned(), array }).collect::<Vec<_>>()
    };
    let mut taken = Vec::with_capacity(arrays.len());
    let mut rest = arrays;
    let mut by_layer = true;
    for layer in &architecture.root.layers {
        let Some(count) = legacy::count(layer, &architecture.facts) else {
            by_layer = false;
            break;
        };
        let Some((own, others)) = rest.split_at_checked(count) else {
            by_layer = false;
            break;
        };
        let (of_layer, findings) = legacy::assign(layer, listed(own), &architecture.facts);
        by_layer = findings.is_empty() && own.iter().all(|array| legacy::is_inside(array.at(), layer));
        if !by_layer {
            break;
        }
        taken.extend(of_layer);
        rest = others;
    }
    if by_layer && rest.is_empty() {
        return (taken, Findings::new());
    }
    let whole = Layer { model: Some(architecture.root.clone()), trainable: true, ..Layer::default() };
    legacy::assign(&whole, listed(arrays), &architecture.facts)
}
