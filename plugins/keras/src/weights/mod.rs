//! Which stored array is which weight of which layer.
//!
//! A layer's arrays are found in its group by their names, and where names alone don't tell (a nested model is one flat
//! list) by the order in which Keras writes them. Every array is taken once; what nobody takes is a finding.

pub mod convert;
pub mod learnt;
pub mod legacy;
pub mod recipe;
pub mod tree;

pub use recast_keras_model::roles::{self, Role};

use crate::array::Array;
use crate::io::{Files, Limits, region};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::wire::TensorProto;
use recast_plugin_api::model::{Layer, Model, Weight};
use recipe::Step;
use std::collections::HashMap;

/// A weight of a layer, and what it is made of.
pub struct Taken<'t> {
    pub path: String,
    pub role: String,
    pub arrays: Vec<&'t Array<'t>>,
    /// What is done to each array; several are then joined along their last axis.
    pub each: Vec<Step>,
    /// What is done to the whole.
    pub steps: Vec<Step>,
}

impl<'t> Taken<'t> {
    /// An array that is the weight as it is.
    pub fn whole(path: String, role: String, array: &'t Array<'t>) -> Taken<'t> {
        Taken { path, role, arrays: vec![array], each: Vec::new(), steps: Vec::new() }
    }

    fn tensor(&self, files: &mut Files<'_, '_>, limits: &Limits) -> Result<(TensorProto, String), Diag> {
        let first =
            self.arrays.first().ok_or_else(|| Diag::new(Code::Bug, self.path.as_str(), "a weight of nothing"))?;
        let names: Vec<&str> = self.arrays.iter().map(|array| array.at()).collect();
        if self.arrays.len() == 1 && self.each.is_empty() && self.steps.is_empty() {
            return Ok((first.place(files, limits)?, names.join(" + ")));
        }
        files.io().go_on()?;
        let load = |array: &&Array<'_>| recipe::run(array.at(), vec![array.load(files, limits)?], &self.each);
        let loaded = self.arrays.iter().map(load).collect::<Result<_, _>>()?;
        let made = recipe::run(first.at(), loaded, &self.steps)?;
        let place = files.put(first.at(), &made.bytes)?;
        Ok((region(made.dtype, &made.dims, place, made.bytes.len() as u64), names.join(" + ")))
    }
}

/// Turns arrays into tensors and hands them to their layers.
pub fn deliver(taken: Vec<Taken<'_>>, root: &mut Model, files: &mut Files<'_, '_>, limits: &Limits) -> Findings {
    let mut findings = Findings::new();
    let mut by_path: HashMap<String, Vec<Weight>> = HashMap::new();
    for taken in taken {
        match taken.tensor(files, limits) {
            Ok((tensor, stored_as)) => {
                let weight = Weight { role: taken.role, tensor: Some(tensor), stored_as, opaque: false };
                by_path.entry(taken.path).or_default().push(weight);
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
