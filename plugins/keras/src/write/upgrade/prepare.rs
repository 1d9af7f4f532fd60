//! Before anything is written: names that Keras 3 accepts, operations in the place of TensorFlow's functions, or the
//! other way round.

use super::{Dialect, functions};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::model::{Layer, Model};
use serde_json::Value;
use std::collections::HashSet;

/// A model that the dialect has words for, as far as that is a matter of classes and names.
pub fn prepare(root: &Model, dialect: Dialect) -> Result<(Model, Vec<Diag>), Findings> {
    let mut root = root.clone();
    let mut prepare = Prepare { dialect, findings: Findings::new(), notes: Vec::new() };
    prepare.model(&mut root);
    if prepare.findings.is_empty() { Ok((root, prepare.notes)) } else { Err(prepare.findings) }
}

struct Prepare {
    dialect: Dialect,
    findings: Findings,
    notes: Vec<Diag>,
}

impl Prepare {
    fn model(&mut self, model: &mut Model) {
        let mut calls: Vec<Vec<_>> = std::iter::repeat_with(Vec::new).take(model.layers.len()).collect();
        for call in &mut model.calls {
            if let Some(of) = calls.get_mut(call.layer as usize) {
                of.push(call);
            }
        }
        for (layer, mut calls) in model.layers.iter_mut().zip(calls) {
            let rewritten = match self.dialect {
                Dialect::Keras2 => functions::restore(layer, &mut calls),
                Dialect::Keras3 | Dialect::Both | Dialect::Js => functions::rewrite(layer, &mut calls),
            };
            if let Err(found) = rewritten {
                self.findings.extend(found);
            }
        }
        if self.dialect != Dialect::Keras2 {
            self.names(model);
        }
        for layer in &mut model.layers {
            self.inside(layer);
        }
    }

    fn inside(&mut self, layer: &mut Layer) {
        if let Some(model) = layer.model.as_mut() {
            self.model(model);
        }
        layer.children.iter_mut().filter_map(|child| child.layer.as_mut()).for_each(|child| self.inside(child));
    }

    /// Keras 3 allows no `/` in a name.
    fn names(&mut self, model: &mut Model) {
        let plain = |name: &str| name.replace('/', "_");
        let inputs = model.inputs.iter().map(|input| input.name.clone());
        let kept = model.layers.iter().map(|layer| layer.name.clone()).chain(inputs);
        let mut used: HashSet<String> = kept.filter(|name| !name.contains('/')).collect();
        let mut free = |name: &str| {
            let mut free = plain(name);
            while !used.insert(free.clone()) {
                free.push('_');
            }
            free
        };
        for input in model.inputs.iter_mut().filter(|input| input.name.contains('/')) {
            input.name = free(&input.name);
        }
        for layer in model.layers.iter_mut().filter(|layer| layer.name.contains('/')) {
            let name = free(&layer.name);
            let detail = format!("Keras 3 allows no `/` in a name: `{}` became `{name}`", layer.name);
            self.notes.push(Diag::new(Code::OptionIgnored, layer.path.as_str(), detail));
            layer.name = name;
            let config: Option<Value> = serde_json::from_str(&layer.config).ok();
            if let Some(mut config) = config.filter(Value::is_object) {
                config["name"] = Value::from(layer.name.as_str());
                layer.config = config.to_string();
            }
        }
        model.name = plain(&model.name);
    }
}
