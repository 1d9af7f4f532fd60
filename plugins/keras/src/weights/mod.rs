//! Which stored array is which weight of which layer.
//!
//! A layer's arrays are found in its group by their names, and where names alone don't tell (a nested model is one flat
//! list) by the order in which Keras writes them. Every array is taken once; what nobody takes is a finding.

pub mod legacy;
pub mod tree;

pub use recast_keras_model::roles::{self, Role};

use crate::hdf5::Array;
use crate::io::{Files, Limits};
use recast_plugin_api::diag::Findings;
use recast_plugin_api::model::{Layer, Model, Weight};
use std::collections::HashMap;

/// An array that found its layer.
pub struct Taken<'t> {
    pub path: String,
    pub role: String,
    pub array: &'t Array,
}

/// Turns arrays into tensors and hands them to their layers.
pub fn deliver(
    taken: Vec<Taken<'_>>,
    root: &mut Model,
    files: &mut Files<'_, '_>,
    file: (u32, u64),
    limits: &Limits,
) -> Findings {
    let mut findings = Findings::new();
    let mut by_path: HashMap<String, Vec<Weight>> = HashMap::new();
    for Taken { path, role, array } in taken {
        match array.place(files, file, limits) {
            Ok(tensor) => {
                let weight = Weight { role, tensor: Some(tensor), stored_as: array.at.clone() };
                by_path.entry(path).or_default().push(weight);
            }
            Err(diag) => findings.push(diag),
        }
    }
    root.layers.iter_mut().for_each(|layer| fill(layer, &mut by_path));
    findings
}

fn fill(layer: &mut Layer, by_path: &mut HashMap<String, Vec<Weight>>) {
    if let Some(weights) = by_path.remove(&layer.path) {
        layer.weights = weights;
    }
    layer.children.iter_mut().filter_map(|child| child.layer.as_mut()).for_each(|child| fill(child, by_path));
    layer.model.iter_mut().flat_map(|model| &mut model.layers).for_each(|inner| fill(inner, by_path));
}
