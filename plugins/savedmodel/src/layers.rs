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

#[cfg(test)]
mod tests {
    use super::*;
    use recast_plugin_api::ir::DType;
    use recast_plugin_api::ir::wire::TensorProto;
    use recast_plugin_api::model::{Child, Model};

    fn tensor(first: f32) -> Tensor {
        Tensor::inline(DType::F32, &[2], [first, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    fn layer(path: &str, first: f32) -> Layer {
        let weight = Weight { role: "kernel".into(), tensor: Some((&tensor(first)).into()), ..Weight::default() };
        Layer { path: path.into(), class: "Dense".into(), weights: vec![weight], ..Layer::default() }
    }

    /// A layer, one that wraps another, and a model in the model.
    fn model() -> LayerModel {
        let mut plain = layer("plain", 1.0);
        plain.expression = Some("x + 1".into());
        let mut wrapper = layer("wrapper", 2.0);
        wrapper.children = vec![Child { layer: Some(layer("wrapper/inner", 3.0)), ..Child::default() }];
        let mut nested = layer("nested", 4.0);
        nested.model = Some(Model { layers: vec![layer("nested/inner", 1.0)], ..Model::default() });
        let root = Model { layers: vec![plain, wrapper, nested], ..Model::default() };
        LayerModel { root: Some(root), files: vec!["/somewhere/m.h5".into()], ..LayerModel::default() }
    }

    /// Path, key and whether there are elements, of every weight.
    fn stored(model: &LayerModel) -> Vec<(String, String, bool)> {
        let mut found = Vec::new();
        visit_all(&mut model.clone(), &mut |layer| {
            let weights = layer.weights.iter();
            found.extend(weights.map(|w| (layer.path.clone(), w.stored_as.clone(), w.tensor.is_some())));
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn what_a_variable_holds_is_not_stored_twice() {
        let (first, other) = (tensor(1.0), tensor(9.0));
        let held = [(&other, "variables/0".to_owned()), (&first, "variables/1".to_owned())];
        let plan = plan(&model(), &held).unwrap().unwrap();
        let expected = [
            ("plain", "variables/1"),
            ("wrapper", "recast_layers/0"),
            ("wrapper/inner", "recast_layers/1"),
            ("nested", "recast_layers/2"),
            ("nested/inner", "variables/1"),
        ];
        assert_eq!(stored(&plan.layers), expected.map(|(path, key)| (path.into(), key.into(), false)));
        assert_eq!(plan.more, [tensor(2.0), tensor(3.0), tensor(4.0)]);
        // Nothing of this machine, and nothing that its owner said of the model.
        assert!(plan.layers.files.is_empty() && plan.layers.traced_by_recast);
        assert_eq!(plan.layers.root.unwrap().layers[0].expression, None);
    }

    #[test]
    fn layers_come_back_with_the_weights_of_their_keys() {
        let first = tensor(1.0);
        let plan = plan(&model(), &[(&first, "variables/1".to_owned())]).unwrap().unwrap();
        let find = |key: &str| -> Result<TensorProto, Diag> {
            let number = key.strip_prefix("recast_layers/").map(|number| number.parse::<usize>().unwrap());
            Ok(number.map_or(&first, |number| &plan.more[number]).into())
        };
        let filled = fill(plan.layers.clone(), &mut |key| find(key)).unwrap();
        let weights = |model: &LayerModel| {
            let mut all = Vec::new();
            let mut take = |layer: &mut Layer| {
                all.extend(layer.weights.iter().map(|w| w.tensor.clone().unwrap().decode_tensor().unwrap()));
                Ok(())
            };
            visit_all(&mut model.clone(), &mut take).unwrap();
            all
        };
        assert_eq!(weights(&filled), weights(&model()));
        let missing = |key: &str| match key {
            "recast_layers/1" => Err(Diag::new(Code::WeightMissing, key, "not in the checkpoint")),
            key => find(key),
        };
        assert_eq!(fill(plan.layers.clone(), &mut |key| missing(key)).unwrap_err().code, Code::WeightMissing);
    }

    #[test]
    fn a_traced_graph_has_no_layers_to_keep() {
        let mut model = model();
        model.root.as_mut().unwrap().layers[2].model.as_mut().unwrap().layers[0].class = CLASS.into();
        assert!(plan(&model, &[]).unwrap().is_none());
    }

    #[test]
    fn a_weight_without_elements_is_told() {
        let mut model = model();
        model.root.as_mut().unwrap().layers[1].weights[0].tensor = None;
        let diag = plan(&model, &[]).err().unwrap();
        assert_eq!((diag.code, diag.at.as_str()), (Code::Bug, "wrapper"));
    }
}
