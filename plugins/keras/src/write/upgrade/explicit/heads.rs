//! MultiHeadAttention: in Keras 3 each mask is an argument of its own, in Keras 2 none is. And since Keras 3.8 it takes
//! the masks away from the tensors that it is called on: what was written by an older Keras calls it on a tensor of its
//! own, which has the same values and the same mask, where the first one is needed again.

use super::{Rule, Tensor, Views, Writer, named};
use crate::write::upgrade::casts::casts_first;
use crate::write::upgrade::layer::parsed;
use recast_plugin_api::model::{Arg, ArgKind, Call, Layer, Model, ValueRef};
use serde_json::{Value, json};

/// Does Keras give on the tensor itself where it does not train?
pub(super) fn gives_on(layer: &Layer) -> bool {
    match layer.class.as_str() {
        "ActivityRegularization"
        | "AlphaDropout"
        | "Dropout"
        | "GaussianDropout"
        | "GaussianNoise"
        | "Identity"
        | "SpatialDropout1D"
        | "SpatialDropout2D"
        | "SpatialDropout3D" => true,
        "Activation" => parsed(&layer.config).get("activation") == Some(&json!("linear")),
        _ => false,
    }
}

/// The tensors that a call attends with, by Keras' names.
const TENSORS: [&str; 3] = ["query", "value", "key"];

fn tensor_of(arg: &mut Arg) -> Option<&mut Arg> {
    matches!(arg.kind, Some(ArgKind::Value(_))).then_some(arg)
}

/// The arguments that are `TENSORS`, as far as the call has them.
fn tensors(call: &mut Call) -> [Option<&mut Arg>; 3] {
    let mut found = [None, None, None];
    for (at, arg) in call.args.iter_mut().take(TENSORS.len()).enumerate() {
        found[at] = tensor_of(arg);
    }
    for named in &mut call.kwargs {
        if let Some(at) = TENSORS.iter().position(|name| *name == named.name) {
            found[at] = named.arg.as_mut().and_then(tensor_of);
        }
    }
    found
}

fn value_of(arg: Option<&mut Arg>) -> Option<ValueRef> {
    match arg?.kind.as_ref()? {
        ArgKind::Value(value) => Some(value.clone()),
        ArgKind::List(_) | ArgKind::Dict(_) | ArgKind::Json(_) => None,
    }
}

impl Writer<'_> {
    pub(super) fn tensor(&self, value: &ValueRef) -> Tensor {
        let tensor = (value.call, value.index);
        self.same.get(&tensor).copied().unwrap_or(tensor)
    }

    /// The masks on a tensor are taken by these.
    pub(super) fn take(&mut self, value: &ValueRef, by: &[bool]) {
        if by.iter().any(|by| *by) {
            let taken = self.taken.entry(self.tensor(value)).or_insert_with(|| vec![false; by.len()]);
            taken.iter_mut().zip(by).for_each(|(taken, by)| *taken |= by);
        }
    }

    pub(super) fn heads(&mut self, model: &Model, (at, layer): (usize, &Layer), old: &Call, call: &mut Call) -> Views {
        let given: Vec<Option<ValueRef>> = tensors(&mut old.clone()).into_iter().map(value_of).collect();
        let none = vec![None; self.rules.readers.len() + 1];
        let views: Vec<Views> = given
            .iter()
            .map(|value| value.as_ref().map_or_else(|| none.clone(), |value| self.found(layer, value)))
            .collect();
        let several = layer.class == "MultiHeadAttention";
        if several && !self.rules.source.heads {
            // Of no mask it takes notice, and none leaves it.
            let masked = views.iter().map(|views| views.iter().any(Option::is_some));
            for (_, arg) in masked.zip(tensors(call)).filter(|(masked, _)| *masked) {
                arg.into_iter().for_each(|arg| self.unmask(layer, std::slice::from_mut(arg)));
            }
            return none;
        }
        // A tensor that is cast for it is another one.
        let cast = casts_first(layer, self.rules.typed);
        let takes = |rule: Rule| several && rule.takes && !cast;
        let mut on_own = Vec::new();
        for (place, views) in views.iter().enumerate() {
            let kept = self.rules.all().skip(1).zip(&views[1..]).any(|(rule, view)| takes(rule) && view.is_some());
            let again = given[place].as_ref().is_some_and(|value| self.is_needed_again(model, at, value));
            if kept && again && !takes(self.rules.source) && !self.sequential {
                if let Some(arg) = tensors(call)[place].as_mut() {
                    self.on_its_own(layer, arg, &mut on_own);
                }
            } else if let Some(value) = &given[place] {
                let by: Vec<bool> = self.rules.all().map(takes).collect();
                self.take(value, &by);
            }
        }
        let mut out = views[0].clone();
        for (place, (name, views)) in TENSORS.iter().zip(&views).enumerate() {
            let mask = format!("{name}_mask");
            // Where the tensor's own counts alone, an argument is none.
            let own = place == 0 && several && self.rules.all().any(|rule| rule.takes);
            let written = !own && old.kwargs.iter().any(|named| named.name == mask && named.arg.is_some());
            if !written && views.iter().any(|view| *view != views[0]) {
                self.reconcile(layer, call, (place, &mask, own), views);
                if place == 0 {
                    out = vec![views[0].filter(|_| !own); views.len()];
                    out[0] = views[0];
                }
            }
        }
        out
    }

    /// One of the tensors has another mask to a reader than to the source's Keras. `own`: that of the tensor counts
    /// alone, and not the argument called `mask`.
    fn reconcile(&mut self, layer: &Layer, call: &mut Call, (place, mask, own): (usize, &str, bool), views: &Views) {
        let Some(id) = views[0] else {
            if let Some(arg) = tensors(call)[place].as_mut() {
                self.unmask(layer, std::slice::from_mut(*arg));
            }
            return;
        };
        let newer = self.rules.readers.iter().all(|rule| rule.major >= 3);
        let free = !call.kwargs.iter().any(|named| named.name == "attention_mask") && call.args.len() <= TENSORS.len();
        match self.compute(layer, id).filter(|_| newer) {
            Some(given) if !own => call.kwargs.push(named(mask, Arg::value(given))),
            // A query that is masked sees nothing: (batch, query) to (batch, query, 1).
            Some(given) if free => {
                let wide = self.operation(layer, "ExpandDims", json!({"axis": -1}), vec![Arg::value(given)]);
                call.kwargs.push(named("attention_mask", Arg::value(wide)));
            }
            _ => self.refuse(layer, &format!("its {mask} is another one by the rules of the output's Keras")),
        }
    }

    /// Is the tensor, or one that is the same, used by another call, or by what is around the model?
    pub(super) fn is_needed_again(&self, model: &Model, at: usize, value: &ValueRef) -> bool {
        let tensor = self.tensor(value);
        let is = |other: &ValueRef| self.tensor(other) == tensor;
        let gives_on = |call: usize| self.same.get(&(Some(call as u32), 0)) == Some(&tensor);
        let mut others = model.calls.iter().enumerate().filter(|(other, _)| *other != at && !gives_on(*other));
        let mut outputs = model.outputs.iter().filter_map(|output| output.value.as_ref());
        tensor.0.is_none() || others.any(|(_, call)| call.values().any(is)) || outputs.any(is)
    }

    /// Another tensor with the same values and mask: x where it is positive, and x where it is not.
    fn on_its_own(&mut self, layer: &Layer, arg: &mut Arg, made: &mut Vec<(ValueRef, ValueRef)>) {
        let Some(ArgKind::Value(value)) = &mut arg.kind else { return };
        let known = made.iter().find(|(of, _)| of == value).map(|(_, own)| own.clone());
        let own = known.unwrap_or_else(|| {
            let dtype = parsed(&layer.config).get("dtype").cloned().unwrap_or_else(|| json!("float32"));
            // In an .h5, what does not say whether it is trained is an operation.
            let config = json!({"dtype": dtype, "trainable": true, "negative_slope": 1.0, "max_value": Value::Null,
                "threshold": 0.0});
            let own = self.beside(layer, "ReLU".to_owned(), config, vec![Arg::value(value.clone())]);
            made.push((value.clone(), own.clone()));
            own
        });
        *value = own;
    }
}
