//! Models inside of models: masks go in with their inputs and come out with their outputs, and no reader writes down
//! how. Where a mask is needed as a tensor on the other side, it goes through a door: one more input, or one more
//! output, of the model inside.

use super::super::terms::{Id, Term};
use super::{Views, Writer, named, write_inside};
use recast_plugin_api::model::{Arg, ArgKind, Call, Layer, Model, ModelInput, ModelOutput, ValueRef};
use serde_json::{Value, json};
use std::collections::HashMap;

/// What models inside are given and give beside what they are called with, by the paths of their layers.
#[derive(Default)]
pub(super) struct Doors {
    of: HashMap<String, Door>,
    /// One was asked for that was not known when the model was begun: it has to be written again.
    pub grown: bool,
}

/// The inputs of which the mask goes in as a tensor, and the outputs of which it comes out.
#[derive(Default)]
struct Door {
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

impl Doors {
    fn of(&self, path: &str) -> (&[usize], &[usize]) {
        self.of.get(path).map_or((&[], &[]), |door| (&door.inputs, &door.outputs))
    }

    /// The place among all of one kind, which is a new one if need be.
    fn place(&mut self, path: &str, list: fn(&mut Door) -> &mut Vec<usize>, index: usize) -> usize {
        let all = list(self.of.entry(path.to_owned()).or_default());
        let known = all.iter().position(|known| *known == index);
        known.unwrap_or_else(|| {
            self.grown = true;
            all.push(index);
            all.len() - 1
        })
    }
}

/// What a model inside does to masks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flow {
    /// Of each output, and of each Keras: none without a mask.
    endings: Vec<Vec<Option<Ending>>>,
    /// Of each input, and of each Keras: whether the mask is taken from it. Empty where no Keras does.
    taken: Vec<Vec<bool>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ending {
    /// It is made of those that came in.
    Brought(Brought),
    /// The number of the first Keras that sees the same.
    Made(usize),
}

/// A `Term` of nothing but the masks on the inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Brought {
    Input(usize),
    All(Vec<Brought>),
    Any(Vec<Brought>),
    Behind(Vec<Brought>),
}

pub(super) struct Inside {
    masked: Vec<bool>,
    flow: Flow,
    before: Model,
}

/// A model inside as the call of one sees it, whose masks are asked for.
pub(super) struct Seen {
    path: String,
    outputs: usize,
    sequential: bool,
}

impl Writer<'_> {
    pub(super) fn flow(&self, model: &Model, ends: &[Views]) -> Flow {
        let ending = |views: &Views, id: Id| match self.only_brought(id) {
            Some(brought) => Ending::Brought(brought),
            None => Ending::Made(views.iter().position(|other| *other == Some(id)).unwrap_or(0)),
        };
        let endings = ends.iter().map(|views| views.iter().map(|view| view.map(|id| ending(views, id))).collect());
        let taken = |index: usize| self.taken.get(&(None, index as u32)).cloned().unwrap_or_default();
        Flow { endings: endings.collect(), taken: (0..model.inputs.len()).map(taken).collect() }
    }

    /// The mask as it comes with inputs of a model inside, and with nothing else.
    pub(super) fn only_brought(&self, id: Id) -> Option<Brought> {
        let all = |parts: &[Id]| parts.iter().map(|part| self.only_brought(*part)).collect::<Option<Vec<_>>>();
        match self.terms.get(id) {
            Term::Unknown(ValueRef { call: None, index }, _) => Some(Brought::Input(*index as usize)),
            Term::All(parts) => all(parts).map(Brought::All),
            Term::Any(parts) => all(parts).map(Brought::Any),
            Term::Behind(parts) => all(parts).map(Brought::Behind),
            Term::Unknown(..) | Term::Differs(..) | Term::AnyDiffers(..) | Term::Given(_) => None,
        }
    }

    /// The term around the model, of these masks on its inputs.
    fn around(&mut self, brought: &Brought, inputs: &[Option<Id>]) -> Option<Id> {
        let all = |writer: &mut Self, parts: &[Brought]| -> Option<Vec<Id>> {
            parts.iter().map(|part| writer.around(part, inputs)).collect()
        };
        match brought {
            Brought::Input(at) => inputs.get(*at).copied().flatten(),
            Brought::All(parts) => {
                let parts = all(self, parts)?;
                self.terms.joined(parts, Term::All)
            }
            Brought::Any(parts) => {
                let parts = all(self, parts)?;
                self.terms.joined(parts, Term::Any)
            }
            Brought::Behind(parts) => {
                let parts = all(self, parts)?;
                Some(self.terms.id(Term::Behind(parts)))
            }
        }
    }

    /// A model inside: masks go in with its inputs, or as an argument, and come out with its outputs.
    pub(super) fn inside(
        &mut self,
        model: &mut Model,
        (old, call): (&Call, &mut Call),
        layer: &Layer,
        (inputs, views): (&[ValueRef], &[Views]),
    ) -> Vec<Views> {
        let at = self.outputs.len() as u32;
        let (wanted, unmasked) = self.brought(model, (old, call), layer, (inputs, views));
        let Some(flow) = self.written_inside(model, old, layer, wanted.iter().map(Option::is_some).collect()) else {
            return Vec::new();
        };
        let mask = call.kwargs.iter().find(|named| named.name == "mask").and_then(|named| named.arg.as_ref());
        let given = mask.map(Arg::leaves).unwrap_or_default();
        // A mask that is an argument hangs on the tensor from now on.
        for (index, (input, mask)) in inputs.iter().zip(given).enumerate() {
            if mask.is_some() && !unmasked.contains(&index) {
                self.taken.remove(&self.tensor(input));
            }
        }
        for (index, (input, taken)) in inputs.iter().zip(&flow.taken).enumerate() {
            let mut taken = taken.clone();
            if unmasked.contains(&index) {
                // The readers take it from a tensor of its own.
                taken.iter_mut().skip(1).for_each(|taken| *taken = false);
            }
            self.take(input, &taken);
        }
        if let Some(inner) = &layer.model {
            let sequential = inner.kind == "Sequential";
            self.seen.insert(at, Seen { path: layer.path.clone(), outputs: inner.outputs.len(), sequential });
        }
        self.let_in(layer, call, &wanted);
        let mut out = Vec::with_capacity(flow.endings.len());
        for (index, endings) in flow.endings.iter().enumerate() {
            let value = ValueRef { call: Some(at), index: index as u32 };
            let view = |ending: &Option<Ending>| match ending.as_ref()? {
                Ending::Made(by) => Some(self.terms.id(Term::Unknown(value.clone(), *by))),
                Ending::Brought(brought) => self.around(brought, &wanted),
            };
            out.push(endings.iter().map(view).collect());
        }
        out
    }

    /// Further arguments of the call: the masks that its model asks for.
    fn let_in(&mut self, layer: &Layer, call: &mut Call, wanted: &[Option<Id>]) {
        let asked = self.doors.of(&layer.path).0.to_vec();
        let mut masks = Vec::with_capacity(asked.len());
        for input in asked {
            match wanted.get(input).copied().flatten().and_then(|id| self.compute(layer, id)) {
                Some(mask) => masks.push(Arg::value(mask)),
                None => return self.refuse(layer, "its model is given a mask that is nowhere computed"),
            }
        }
        if masks.is_empty() {
            return;
        }
        let mut tensors = match call.args.first().map(|arg| &arg.kind) {
            Some(Some(ArgKind::Value(value))) => vec![Arg::value(value.clone())],
            Some(Some(ArgKind::List(list))) => list.items.clone(),
            _ => Vec::new(),
        };
        if tensors.len() != wanted.len() || call.args.len() != 1 {
            return self.refuse(layer, "its model, which is called with a dictionary, is given a mask");
        }
        let further = masks.len();
        tensors.extend(masks);
        call.args = vec![Arg::list(tensors)];
        for named in call.kwargs.iter_mut().filter(|named| named.name == "mask") {
            let leaves = named.arg.as_ref().map(Arg::leaves).unwrap_or_default().into_iter();
            let arg = |leaf: Option<&ValueRef>| leaf.map_or(Arg::json(&Value::Null), |value| Arg::value(value.clone()));
            let none = std::iter::repeat_n(None, further);
            named.arg = Some(Arg::list(leaves.chain(none).map(arg).collect()));
        }
    }

    /// The tensor of a mask that is known on the other side.
    pub(super) fn through(&mut self, value: &ValueRef, by: usize) -> Option<ValueRef> {
        let index = value.index as usize;
        let Some(call) = value.call else {
            let at = self.doors.place(self.here.as_deref()?, |door| &mut door.inputs, index);
            return Some(ValueRef { call: None, index: (self.inputs.len() + at) as u32 });
        };
        // What is needed is as the source's Keras sees it, which is the first.
        let seen = self.seen.get(&call).filter(|seen| by == 0 && !seen.sequential)?;
        let at = self.doors.place(&seen.path, |door| &mut door.outputs, index);
        let moved = self.moved_to(value);
        Some(ValueRef { call: moved.call, index: (seen.outputs + at) as u32 })
    }

    /// The doors of the model in hand: behind all of its inputs, and behind all of its outputs. `ends`: the masks on
    /// these.
    pub(super) fn open(&mut self, model: &Model, ends: &[Views]) -> (Vec<ModelInput>, Vec<ModelOutput>) {
        let Some(here) = self.here.clone() else { return (Vec::new(), Vec::new()) };
        let outputs = self.doors.of(&here).1.to_vec();
        let beside = Layer { path: format!("{here}/mask"), ..Layer::default() };
        let mut out = Vec::with_capacity(outputs.len());
        for output in outputs {
            let id = ends.get(output).and_then(|views| views[0]);
            let Some(value) = id.and_then(|id| self.compute(&beside, id)) else {
                self.refuse(&beside, "the mask on an output of the model is nowhere computed");
                continue;
            };
            out.push(ModelOutput { name: format!("mask_of_{}", model.outputs[output].name), value: Some(value) });
        }
        // These are known last: a mask that comes out may be made of one that comes in.
        let inputs = self.doors.of(&here).0.to_vec();
        let input = |at: usize| {
            let of = model.inputs.get(at).cloned().unwrap_or_default();
            let name = self.name();
            // A mask has no features.
            ModelInput { name, dtype: "bool".to_owned(), dims: of.dims.into_iter().take(2).collect() }
        };
        (inputs.into_iter().map(input).collect(), out)
    }

    /// The masks that a model inside has on its inputs by the source's rules; its call is given as an argument what its
    /// readers would not find. And the inputs that became other tensors, as readers would find a mask on them.
    fn brought(
        &mut self,
        model: &Model,
        (old, call): (&Call, &mut Call),
        layer: &Layer,
        (inputs, views): (&[ValueRef], &[Views]),
    ) -> (Vec<Option<Id>>, Vec<usize>) {
        let mask = old.kwargs.iter().find(|named| named.name == "mask").and_then(|named| named.arg.as_ref());
        let written = mask.and_then(Arg::masks);
        // Before Keras 3, a list of masks says of which tensors there are none, too.
        let travels = self.rules.source.major >= 3 || written.is_none();
        let written = written.unwrap_or_default();
        let given = written.iter().map(|value| value.map(|value| self.terms.written(model, value)));
        let given: Vec<Option<Id>> = given.chain(std::iter::repeat(None)).take(views.len()).collect();
        let found = |(views, given): (&Views, &Option<Id>)| given.or(views[0].filter(|_| travels));
        let wanted: Vec<Option<Id>> = views.iter().zip(&given).map(found).collect();
        let agreed = |(views, wanted): (&Views, &Option<Id>)| views[1..].iter().all(|view| view == wanted);
        if views.iter().zip(&wanted).all(agreed) {
            if !self.rules.keep {
                call.kwargs.retain(|named| named.name != "mask");
            }
            return (wanted, Vec::new());
        }
        // Beside another mask, none is an argument to Keras 2.
        let said = wanted.iter().any(Option::is_some) && self.rules.readers.iter().all(|rule| rule.major < 3);
        let mut masks = Vec::with_capacity(wanted.len());
        let mut unmasked: Vec<usize> = Vec::new();
        for (at, (views, wanted)) in views.iter().zip(&wanted).enumerate() {
            let written = written.get(at).copied().flatten().map(|value| self.moved_to(value));
            let mask = written.or_else(|| wanted.and_then(|id| self.compute(layer, id))).map(Arg::value);
            let differs = !agreed((views, wanted));
            let lost = differs && mask.is_none() && !said;
            // What is an argument hangs on the tensor from then on, and nobody else is to find it there.
            let hangs = differs && mask.is_some() && !self.sequential;
            if lost && (wanted.is_some() || self.sequential) {
                self.refuse(layer, &format!("a model inside is called with a mask on its input {at}"));
            } else if lost || (hangs && self.is_needed_again(model, self.outputs.len(), &inputs[at])) {
                let mut refs: Vec<&mut ValueRef> = Vec::new();
                call.args.iter_mut().for_each(|arg| arg.values_mut(&mut refs));
                // One tensor stays one.
                let known = unmasked.iter().find(|other| inputs[**other] == inputs[at]);
                let known = known.and_then(|other| refs.get(*other)).map(|value| (**value).clone());
                if let Some(value) = refs.into_iter().nth(at) {
                    let args = vec![Arg::value(value.clone())];
                    *value = known.unwrap_or_else(|| self.operation(layer, "Copy", json!({}), args));
                }
                unmasked.push(at);
            }
            masks.push(mask.unwrap_or_else(|| Arg::json(&Value::Null)));
        }
        call.kwargs.retain(|named| named.name != "mask");
        if said || masks.iter().any(|mask| mask.leaves().iter().any(Option::is_some)) {
            let mask = if masks.len() == 1 { masks.remove(0) } else { Arg::list(masks) };
            call.kwargs.push(named("mask", mask));
        }
        (wanted, unmasked)
    }

    /// The masks inside of a model, written out for inputs of which these bring one.
    fn written_inside(&mut self, model: &mut Model, old: &Call, layer: &Layer, masked: Vec<bool>) -> Option<Flow> {
        let inner = model.layers[old.layer as usize].model.as_mut()?;
        let Some(known) = self.inside.get(&old.layer) else {
            let before = inner.clone();
            let (flow, findings) = write_inside(inner, self.rules, (&layer.path, &masked), self.doors);
            self.findings.extend(findings);
            self.inside.insert(old.layer, Inside { masked, flow: flow.clone(), before });
            return Some(flow);
        };
        if known.masked == masked {
            return Some(known.flow.clone());
        }
        // Called with other masks than before: what was written must be right for these, too.
        let mut again = known.before.clone();
        let (flow, findings) = write_inside(&mut again, self.rules, (&layer.path, &masked), self.doors);
        let differs = again != *inner;
        self.findings.extend(findings);
        if differs {
            self.refuse(layer, "a model inside is called with a mask here and without one there");
        }
        Some(flow)
    }
}
