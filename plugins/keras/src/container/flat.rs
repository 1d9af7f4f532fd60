//! Weights as one list of names: TensorFlow.js.
//!
//! | written by | order |
//! |---|---|
//! | its converter, from an .h5 | layer after layer, as they lie in the file: by the alphabet |
//! | its converter, from a `.keras` | paths of the file's tree, which tell everything |
//! | recast, earlier converters | layer after layer, as in the model |
//! | JavaScript | all trainable arrays of the model first |

use crate::array::Array;
use crate::config::Architecture;
use crate::hdf5::Tree;
use crate::weights::Taken;
use crate::weights::legacy::{self, Listed};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::model::Layer;
use std::collections::HashMap;

/// What the arrays of a `.keras` are called by.
const TREE: &str = "layers/";

/// Arrays with the layer and role that each belongs to, and what is wrong.
pub type Assigned<'t> = (Vec<Taken<'t>>, Findings);

/// The arrays as a tree, where their names are its paths; or back as they are.
pub fn tree(arrays: Vec<Array<'_>>) -> Result<Tree<'_>, Vec<Array<'_>>> {
    if !arrays.iter().any(|array| array.at().starts_with(TREE)) {
        return Err(arrays);
    }
    let arrays = arrays.into_iter().map(|array| (array.at().to_owned(), array)).collect();
    Ok(Tree { arrays, ..Tree::default() })
}

/// Every array with the layer and role that it belongs to.
pub fn assign<'t>(architecture: &Architecture, arrays: &'t [Array<'t>]) -> Assigned<'t> {
    let layers: Vec<&Layer> = architecture.root.layers.iter().collect();
    let mut sorted = layers.clone();
    sorted.sort_by_key(|layer| &layer.name);
    by_layer(architecture, &layers, arrays)
        .or_else(|| by_layer(architecture, &sorted, arrays))
        .or_else(|| by_name(architecture, arrays))
        .unwrap_or_else(|| at_once(architecture, arrays))
}

fn listed<'t>(arrays: impl Iterator<Item = &'t Array<'t>>) -> Vec<Listed<'t>> {
    arrays.map(|array| Listed { name: array.at().to_owned(), array }).collect()
}

/// Layer after layer in this order, where the names say the same.
fn by_layer<'t>(architecture: &Architecture, layers: &[&Layer], arrays: &'t [Array<'t>]) -> Option<Assigned<'t>> {
    let mut taken = Vec::with_capacity(arrays.len());
    let mut rest = arrays;
    for layer in layers {
        let (own, others) = rest.split_at_checked(legacy::count(layer, &architecture.facts)?)?;
        if !own.iter().all(|array| legacy::is_inside(array.at(), layer)) {
            return None;
        }
        let (of_layer, findings) = legacy::assign(layer, listed(own.iter()), &architecture.facts);
        if !findings.is_empty() {
            return None;
        }
        taken.extend(of_layer);
        rest = others;
    }
    rest.is_empty().then(|| (taken, Findings::new()))
}

/// Each array to the one layer of the model whose name, or that of a layer in it, its own holds.
fn by_name<'t>(architecture: &Architecture, arrays: &'t [Array<'t>]) -> Option<Assigned<'t>> {
    let layers = &architecture.root.layers;
    let mut of: HashMap<usize, Vec<&Array<'_>>> = HashMap::new();
    for array in arrays {
        let mut owners = (0..layers.len()).filter(|&at| legacy::is_inside(array.at(), &layers[at]));
        let (Some(owner), None) = (owners.next(), owners.next()) else { return None };
        of.entry(owner).or_default().push(array);
    }
    let mut taken = Vec::with_capacity(arrays.len());
    for (at, layer) in layers.iter().enumerate() {
        let own = of.remove(&at).unwrap_or_default();
        let (of_layer, findings) = legacy::assign(layer, listed(own.into_iter()), &architecture.facts);
        if !findings.is_empty() {
            return None;
        }
        taken.extend(of_layer);
    }
    Some((taken, Findings::new()))
}

/// The whole model as one list, in which no array may lie where another layer is named.
fn at_once<'t>(architecture: &Architecture, arrays: &'t [Array<'t>]) -> Assigned<'t> {
    let whole = Layer { model: Some(architecture.root.clone()), trainable: true, ..Layer::default() };
    let (taken, mut findings) = legacy::assign(&whole, listed(arrays.iter()), &architecture.facts);
    let layers = &architecture.root.layers;
    let holds = |layer: &Layer, path: &str| {
        path.strip_prefix(layer.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for one in &taken {
        let owner = layers.iter().find(|layer| holds(layer, &one.path));
        let (Some(owner), Some(array)) = (owner, one.arrays.first()) else { continue };
        let name = array.at();
        let others = || layers.iter().any(|layer| legacy::is_inside(name, layer));
        if !legacy::is_inside(name, owner) && others() {
            let detail =
                format!("by its place, `{name}` is of the layer `{}`, which its name does not hold", owner.name);
            findings.push(
                Diag::new(Code::WeightLeftover, owner.path.as_str(), detail)
                    .hint("convert the .h5 or .keras file that the model was made of"),
            );
        }
    }
    (taken, findings)
}
