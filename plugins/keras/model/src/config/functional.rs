//! Functional models: `{"name", "layers", "input_layers", "output_layers"}`, each layer with its calls
//! (`inbound_nodes`). Here the calls are put into evaluation order, and links become references.
//!
//! Which call a link means depends on who wrote it: Keras counts the calls of a layer, and counts one more, at the
//! front, for a model that was built before it was called. Measured: Keras 2 does for nested models everywhere, Keras 3
//! only in `output_layers`. The numbers of the file itself are the better witness where they tell.

use super::Build;
use super::args::{Args, Link, Place};
use super::evaluation;
use crate::classes::TAKES_MASKS_SINCE;
use crate::json;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::model::{Call, Layer, Model, ModelInput, ModelOutput, ValueRef, keras_version};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// What a name in the model stands for.
#[derive(Clone, Copy)]
enum Named {
    Input(usize),
    Layer(usize),
}

struct Wiring<'v> {
    names: HashMap<&'v str, Named>,
    links: Vec<Link<'v>>,
    /// As written, their tensors still links.
    nodes: Vec<Call>,
    /// By layer: its first node, and how many it has.
    spans: Vec<(usize, usize)>,
}

impl Build<'_> {
    pub(super) fn functional(&mut self, config: &Value, prefix: &str) -> Result<Model, Diag> {
        let config = json::object(config, prefix, "the model's configuration")?;
        let listed = json::array(config.get("layers").unwrap_or(&Value::Null), prefix, "`layers`")?;
        let (mut layers, mut inputs, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        let mut names = HashMap::with_capacity(listed.len());
        for value in listed {
            let (name, named) = self.named_layer(value, prefix, &mut layers, &mut inputs)?;
            if names.insert(name, named).is_some() {
                return Err(self.malformed(prefix, format!("two layers are called `{name}`")));
            }
            if let Named::Layer(_) = named {
                calls.push(match value.get("inbound_nodes") {
                    Some(nodes) => json::array(nodes, name, "`inbound_nodes`")?,
                    None => &[],
                });
            }
        }
        let mut wiring = Wiring { names, links: Vec::new(), nodes: Vec::new(), spans: Vec::new() };
        for (number, nodes) in calls.into_iter().enumerate() {
            self.wire(&mut wiring, number, &layers[number].path, nodes)?;
        }
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        for (key, out) in [("input_layers", &mut starts), ("output_layers", &mut ends)] {
            let Some(value) = config.get(key) else { continue };
            let knows = |_: &str| true;
            Args { links: &mut wiring.links, path: self.at, knows: &knows }.ends(value, out)?;
        }
        let offsets = self.offsets(&wiring, &layers);
        let inputs = self.order_inputs(&wiring, &starts, inputs)?;
        let resolved = self.resolve(&wiring, &offsets, &inputs.1)?;
        let name = json::text(config, "name").unwrap_or("model").to_owned();
        let outputs = outputs(&wiring, &ends, &resolved);
        let mut calls = wiring.nodes;
        for value in calls.iter_mut().flat_map(Call::values_mut) {
            // Until now the number of a link.
            *value = value.call.and_then(|link| resolved.get(link as usize)).cloned().unwrap_or_default();
        }
        let mut model = Model { name, kind: "Functional".into(), layers, calls, inputs: inputs.0, outputs };
        let takes_masks = keras_version(&self.version.text) >= TAKES_MASKS_SINCE && evaluation::attends(&model.layers);
        let ordered = if takes_masks { evaluation::by_depth(&mut model) } else { evaluation::depth_first(&mut model) };
        if ordered { Ok(model) } else { Err(self.malformed(prefix, "the calls of layers form a circle")) }
    }

    /// Adds a layer, or an input, of the model.
    fn named_layer<'v>(
        &mut self,
        value: &'v Value,
        prefix: &str,
        layers: &mut Vec<Layer>,
        inputs: &mut Vec<ModelInput>,
    ) -> Result<(&'v str, Named), Diag> {
        let config = value.get("config").unwrap_or(&Value::Null);
        let name = value.get("name").or_else(|| config.get("name")).and_then(Value::as_str);
        let name = name.ok_or_else(|| self.malformed(prefix, "a layer without a name"))?;
        if value.get("class_name").and_then(Value::as_str) == Some("InputLayer") {
            let input = self.input(name, config)?;
            inputs.push(input.ok_or_else(|| self.malformed(name, "an InputLayer without a shape"))?);
            return Ok((name, Named::Input(inputs.len() - 1)));
        }
        layers.push(self.layer(value, prefix)?);
        Ok((name, Named::Layer(layers.len() - 1)))
    }

    fn wire<'v>(&mut self, wiring: &mut Wiring<'v>, layer: usize, path: &str, nodes: &'v [Value]) -> Result<(), Diag> {
        wiring.spans.push((wiring.nodes.len(), nodes.len()));
        for node in nodes {
            self.count_call(path)?;
            let names = &wiring.names;
            let knows = |name: &str| names.contains_key(name);
            let (args, kwargs) = Args { links: &mut wiring.links, path, knows: &knows }.call(node)?;
            wiring.nodes.push(Call { layer: layer as u32, args, kwargs });
        }
        Ok(())
    }

    /// For each layer: at which number its calls begin, for links in calls and for links at the ends.
    fn offsets(&self, wiring: &Wiring<'_>, layers: &[Layer]) -> Vec<[u64; 2]> {
        let mut seen = vec![[(false, false); 2]; layers.len()];
        for link in &wiring.links {
            if let Some(Named::Layer(layer)) = wiring.names.get(link.layer) {
                let (zero, beyond) = &mut seen[*layer][usize::from(link.place == Place::End)];
                *zero |= link.node == 0;
                *beyond |= link.node == wiring.spans[*layer].1 as u64;
            }
        }
        let guess = |layer: &Layer, end: bool| match (&layer.model, self.version.major) {
            (None, _) => 0,
            (Some(model), 3..) => u64::from(end && model.kind == "Functional"),
            (Some(_), _) => 1,
        };
        let settle = |(zero, beyond): (bool, bool), guess: u64| match (zero, beyond) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => guess,
        };
        let pairs = seen.iter().zip(layers);
        pairs.map(|(seen, layer)| [settle(seen[0], guess(layer, false)), settle(seen[1], guess(layer, true))]).collect()
    }

    /// The inputs in the order of `input_layers`, and where each InputLayer went.
    fn order_inputs(
        &self,
        wiring: &Wiring<'_>,
        starts: &[usize],
        inputs: Vec<ModelInput>,
    ) -> Result<(Vec<ModelInput>, Vec<usize>), Diag> {
        let mut order: Vec<usize> = Vec::new();
        let mut known = HashSet::new();
        for &start in starts {
            let name = wiring.links[start].layer;
            match wiring.names.get(name) {
                Some(&Named::Input(input)) if known.insert(input) => order.push(input),
                Some(Named::Input(_)) => {}
                _ => return Err(self.malformed(name, "an input of the model that is no InputLayer")),
            }
        }
        // Ancillary inputs that `input_layers` leaves out still have to be fed when something reads them.
        order.extend((0..inputs.len()).filter(|input| !known.contains(input)));
        let mut places = vec![0; inputs.len()];
        order.iter().enumerate().for_each(|(place, &input)| places[input] = place);
        let mut taken: Vec<Option<ModelInput>> = inputs.into_iter().map(Some).collect();
        Ok((order.iter().filter_map(|&input| taken[input].take()).collect(), places))
    }

    /// Each link as a reference; `call` is a node of the wiring here.
    fn resolve(&self, wiring: &Wiring<'_>, offsets: &[[u64; 2]], inputs: &[usize]) -> Result<Vec<ValueRef>, Diag> {
        wiring.links.iter().map(|link| self.resolve_one(wiring, link, offsets, inputs)).collect()
    }

    fn resolve_one(
        &self,
        wiring: &Wiring<'_>,
        link: &Link<'_>,
        offsets: &[[u64; 2]],
        inputs: &[usize],
    ) -> Result<ValueRef, Diag> {
        match wiring.names.get(link.layer) {
            None => Err(self.malformed(link.layer, "an output is used of a layer that the model does not have")),
            Some(&Named::Input(input)) => Ok(ValueRef { call: None, index: inputs[input] as u32 }),
            Some(&Named::Layer(layer)) => {
                let (first, len) = wiring.spans[layer];
                let offset = offsets[layer][usize::from(link.place == Place::End)];
                let node = link.node.checked_sub(offset).filter(|&node| node < len as u64).ok_or_else(|| {
                    let detail =
                        format!("call {} of `{}` is used, of {len} calls from {offset}", link.node, link.layer);
                    self.malformed(link.layer, detail)
                })?;
                Ok(ValueRef { call: Some((first as u64 + node) as u32), index: link.tensor })
            }
        }
    }
}

/// Keras names an output after its layer, and the second output of a layer `name_1`.
fn outputs(wiring: &Wiring<'_>, ends: &[usize], resolved: &[ValueRef]) -> Vec<ModelOutput> {
    let mut used = HashSet::new();
    let mut counts: HashMap<&str, u32> = HashMap::new();
    let mut outputs = Vec::with_capacity(ends.len());
    for &end in ends {
        let layer = wiring.links[end].layer;
        let mut name = layer.to_owned();
        while !used.insert(name.clone()) {
            let count = counts.entry(layer).or_insert(0);
            *count += 1;
            name = format!("{layer}_{count}");
        }
        outputs.push(ModelOutput { name, value: Some(resolved[end].clone()) });
    }
    outputs
}

pub(super) fn check_names<'n>(
    build: &Build<'_>,
    prefix: &str,
    names: impl Iterator<Item = &'n str>,
) -> Result<(), Diag> {
    let mut known = HashSet::new();
    for name in names {
        if !known.insert(name) {
            return Err(build.malformed(prefix, format!("two layers are called `{name}`")));
        }
    }
    Ok(())
}
