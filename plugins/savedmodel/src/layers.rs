//! Layers beside the graph: what recast writes into a SavedModel so that it can be made a Keras file again.
//!
//! A file in `assets.extra`, the place that TensorFlow leaves to others, holds the layer model as a message. Its
//! weights are keys of the checkpoint: those of the graph's variables where these hold the very same bytes, keys of
//! their own otherwise. It is no `keras_metadata.pb`: that would tell Keras 2 to build layers of classes by a spelling
//! that it does not know.

use crate::graph::CLASS;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::Tensor;
use recast_plugin_api::model::{Layer, LayerModel, Weight};

pub const FILE: &str = "assets.extra/recast_layers.pb";

/// The checkpoint's key of the weight of this number that no variable holds.
pub fn key(index: usize) -> String {
    format!("recast_layers/{index}")
}

/// A layer and all that is in it.
fn visit(layer: &mut Layer, each: &mut dyn FnMut(&mut Layer) -> Result<(), Diag>) -> Result<(), Diag> {
    each(layer)?;
    layer.children.iter_mut().filter_map(|child| child.layer.as_mut()).try_for_each(|child| visit(child, each))?;
    layer.model.iter_mut().flat_map(|model| &mut model.layers).try_for_each(|inner| visit(inner, each))
}

fn visit_all(model: &mut LayerModel, each: &mut dyn FnMut(&mut Layer) -> Result<(), Diag>) -> Result<(), Diag> {
    model.root.iter_mut().flat_map(|root| &mut root.layers).try_for_each(|layer| visit(layer, each))
}

/// The layers without their weights, and the weights that the checkpoint has to hold beside the variables.
pub struct Plan {
    pub layers: LayerModel,
    pub more: Vec<Tensor>,
}

/// `held` are the tensors of the graph's variables with their keys. None for a traced graph, which has no layers.
pub fn plan(model: &LayerModel, held: &[(&Tensor, String)]) -> Result<Option<Plan>, Diag> {
    let mut layers =
        LayerModel { traced: None, traced_by_recast: true, files: Vec::new(), options: Vec::new(), ..model.clone() };
    let mut more: Vec<Tensor> = Vec::new();
    let mut is_traced = false;
    visit_all(&mut layers, &mut |layer| {
        is_traced |= layer.class == CLASS;
        // Given by the owner of the machine, not by the model.
        layer.expression = None;
        for weight in &mut layer.weights {
            let tensor = weight.tensor.take().ok_or_else(|| empty(&layer.path, weight))?.decode_tensor()?;
            weight.stored_as = match held.iter().find(|(other, _)| **other == tensor) {
                Some((_, key)) => key.clone(),
                None => {
                    more.push(tensor);
                    key(more.len() - 1)
                }
            };
        }
        Ok(())
    })?;
    Ok((!is_traced).then_some(Plan { layers, more }))
}

fn empty(path: &str, weight: &Weight) -> Diag {
    Diag::new(Code::Bug, path, format!("'{}' has no tensor", weight.role))
}

/// Gives the layers their weights.
pub fn fill(
    mut layers: LayerModel,
    tensor: &mut dyn FnMut(&str) -> Result<recast_plugin_api::ir::wire::TensorProto, Diag>,
) -> Result<LayerModel, Diag> {
    visit_all(&mut layers, &mut |layer| {
        layer.expression = None;
        layer.weights.iter_mut().try_for_each(|weight| {
            weight.tensor = Some(tensor(&weight.stored_as)?);
            Ok(())
        })
    })?;
    Ok(LayerModel { traced: None, traced_by_recast: true, files: Vec::new(), ..layers })
}
