//! Masks that are written out. Keras 2 and 3 let masks pass, and join them, by rules of their own: where a layer would
//! be given another mask by a reader of the output than by the Keras that wrote the source, it is given the right one
//! as an argument. Where a mask is an argument already and every reader would find the same by itself, a file for
//! Keras 2, which notes none, goes without.
//!
//! The operations that compute a mask become layers of the model. `ops.numpy.Copy` is how a mask is lost: its result is
//! another tensor, and nothing else.

mod heads;
mod inside;

use self::inside::{Doors, Flow, Inside, Seen};
use super::casts::casts_first;
use super::cells;
use super::layer::parsed;
use super::masks::{Habit, gives_sequence, habit};
use super::order::values;
use super::terms::{Id, Term, Terms};
use super::typed::Typed;
use recast_keras_model::classes::TAKES_MASKS_SINCE;
use recast_keras_model::config::evaluation;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::lower::CASTS_LOSE_MASKS;
use recast_plugin_api::model::{Arg, ArgKind, Call, Layer, Model, NamedArg, ValueRef, keras_version};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// How a Keras treats masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub major: u32,
    /// Joined where any holds, and lost where one is missing; products, largest and smallest leave out what is masked.
    any: bool,
    /// What is called with a list of tensors hands a mask on.
    lists: bool,
    /// A mask that is an argument is handed on.
    arguments: bool,
    /// MultiHeadAttention takes notice of the masks on its tensors, and hands one on.
    heads: bool,
    /// The mask travels with a tensor that a layer casts for itself.
    casts: bool,
    /// MultiHeadAttention takes the masks away from the tensors that it is called on.
    takes: bool,
    /// A masked step of a loop gives the first state, and not the output of the step before.
    gives_state: bool,
}

impl Rule {
    pub const KERAS_2: Rule = Rule {
        major: 2,
        any: false,
        lists: true,
        arguments: true,
        heads: true,
        casts: true,
        takes: false,
        gives_state: false,
    };
    pub const KERAS_3: Rule = Rule {
        major: 3,
        any: true,
        lists: true,
        arguments: true,
        heads: true,
        casts: true,
        takes: true,
        gives_state: false,
    };

    pub fn of(stated: &str) -> Rule {
        let version = keras_version(stated);
        let before_3 = version.0 < 3;
        Rule {
            major: version.0,
            any: version >= (3, 4),
            lists: before_3 || version >= (3, 4),
            arguments: before_3 || version >= (3, 11),
            heads: version >= (2, 10),
            casts: !CASTS_LOSE_MASKS.contains(&version),
            takes: version >= TAKES_MASKS_SINCE,
            // Until Keras took the loop of tf.keras, which lost it with TensorFlow 1.13.
            gives_state: version < if stated.contains("tf") { (2, 2) } else { (2, 3) },
        }
    }
}

pub(super) struct Rules<'t> {
    /// Of the Keras that wrote the source.
    pub source: Rule,
    /// Of those that are to read the output.
    pub readers: Vec<Rule>,
    /// Arguments stay where they are not needed, too.
    pub keep: bool,
    pub typed: &'t Typed,
}

impl Rules<'_> {
    fn all(&self) -> impl Iterator<Item = Rule> {
        std::iter::once(self.source).chain(self.readers.iter().copied())
    }
}

/// A call's output, or an input of the model: the call, and which of its outputs.
type Tensor = (Option<u32>, u32);

/// The mask on one tensor as the source's Keras sees it, and as each reader does.
type Views = Vec<Option<Id>>;

/// The model with masks written into it where they are needed.
pub(super) fn write_out(root: &Model, rules: &Rules<'_>) -> (Model, Findings) {
    let mut doors = Doors::default();
    loop {
        let mut model = root.clone();
        let (_, findings) = write(&mut model, rules, Writer::of(root, rules, None, &mut doors), &[]);
        // A model inside has no more than its inputs and outputs to ask for: this ends.
        if !std::mem::take(&mut doors.grown) {
            return (model, findings);
        }
    }
}

/// The same for a model inside: the path of its layer, and which of its inputs bring a mask.
fn write_inside(
    model: &mut Model,
    rules: &Rules<'_>,
    (path, masked): (&str, &[bool]),
    doors: &mut Doors,
) -> (Flow, Findings) {
    let writer = Writer::of(model, rules, Some(path.to_owned()), doors);
    write(model, rules, writer, masked)
}

fn write(model: &mut Model, rules: &Rules<'_>, mut writer: Writer<'_>, masked: &[bool]) -> (Flow, Findings) {
    let ordered =
        rules.all().any(|rule| rule.takes) && model.kind == "Functional" && evaluation::attends(&model.layers);
    if ordered {
        evaluation::by_depth(model);
    }
    let inputs = (0..model.inputs.len()).map(|index| {
        let value = ValueRef { call: None, index: index as u32 };
        let known = masked.get(index).copied().unwrap_or(false);
        let id = known.then(|| writer.terms.id(Term::Unknown(value, 0)));
        vec![id; rules.readers.len() + 1]
    });
    let inputs: Vec<Views> = inputs.collect();
    writer.inputs = inputs;
    for at in 0..model.calls.len() {
        writer.call(model, at);
    }
    let ends = writer.ends(model);
    let flow = writer.flow(model, &ends);
    let (inputs, outputs) = writer.open(model, &ends);
    let findings = writer.finish(model);
    model.inputs.extend(inputs);
    model.outputs.extend(outputs);
    // As it will be read: what is read and written again is the same file.
    if ordered && rules.readers.iter().any(|rule| rule.takes) {
        evaluation::by_depth(model);
    } else if ordered {
        evaluation::depth_first(model);
    }
    (flow, findings)
}

struct Writer<'r> {
    rules: &'r Rules<'r>,
    /// The path of the layer that the model is inside of.
    here: Option<String>,
    doors: &'r mut Doors,
    terms: Terms,
    inputs: Vec<Views>,
    /// Of each call: the masks on its outputs, as many as may have any: a layer's first, or all of a model's.
    outputs: Vec<Vec<Views>>,
    /// Tensors from which masks were taken, and by which Keras.
    taken: HashMap<Tensor, Vec<bool>>,
    /// What Keras gives on as it came, as layers do that do nothing but in training: the result, and what it is.
    same: HashMap<Tensor, Tensor>,
    /// Models inside, by their layers, once they are done: which inputs had masks, how it ended, and what they were.
    inside: HashMap<u32, Inside>,
    /// The same, by their calls.
    seen: HashMap<u32, Seen>,
    calls: Vec<Call>,
    /// Where each call went.
    moved: Vec<u32>,
    layers: Vec<Layer>,
    /// Outputs that became tensors without what travelled with them, by number.
    ends: HashMap<usize, ValueRef>,
    computed: HashMap<Id, ValueRef>,
    copied: HashMap<(Option<u32>, u32), ValueRef>,
    names: HashSet<String>,
    sequential: bool,
    old_layers: usize,
    findings: Findings,
}

impl<'r> Writer<'r> {
    fn of(model: &Model, rules: &'r Rules<'r>, here: Option<String>, doors: &'r mut Doors) -> Writer<'r> {
        let names = model.layers.iter().map(|layer| layer.name.clone());
        Writer {
            rules,
            here,
            doors,
            terms: Terms::default(),
            inputs: Vec::new(),
            outputs: Vec::with_capacity(model.calls.len()),
            taken: HashMap::new(),
            same: HashMap::new(),
            inside: HashMap::new(),
            seen: HashMap::new(),
            calls: Vec::with_capacity(model.calls.len()),
            moved: Vec::with_capacity(model.calls.len()),
            layers: Vec::new(),
            ends: HashMap::new(),
            computed: HashMap::new(),
            copied: HashMap::new(),
            names: names.chain(model.inputs.iter().map(|input| input.name.clone())).collect(),
            sequential: model.kind == "Sequential",
            old_layers: model.layers.len(),
            findings: Findings::new(),
        }
    }

    fn finish(self, model: &mut Model) -> Findings {
        let moved = |value: &mut ValueRef| {
            if let Some(call) = value.call.as_mut() {
                *call = self.moved.get(*call as usize).copied().unwrap_or(*call);
            }
        };
        model.outputs.iter_mut().filter_map(|output| output.value.as_mut()).for_each(moved);
        for (index, unmasked) in self.ends {
            model.outputs[index].value = Some(unmasked);
        }
        model.calls = self.calls;
        model.layers.extend(self.layers);
        self.findings
    }

    /// The masks on the outputs. Of a model inside of another, one that only readers see is taken away; nobody asks for
    /// those of the root.
    fn ends(&mut self, model: &Model) -> Vec<Views> {
        let inside = self.here.is_some();
        let mut ends = Vec::with_capacity(model.outputs.len());
        for (index, value) in model.outputs.iter().enumerate() {
            let Some(value) = &value.value else { continue };
            let mut views = self.on(value);
            let call = value.call.and_then(|call| model.calls.get(call as usize));
            let layer = call.and_then(|call| model.layers.get(call.layer as usize));
            if let (Some(layer), true) = (layer, inside && !self.sequential && views[0].is_none())
                && views.iter().any(Option::is_some)
            {
                let mut end = self.moved_to(value);
                self.unmask_one(layer, &mut end);
                self.ends.insert(index, end);
                views.fill(None);
            }
            ends.push(views);
        }
        ends
    }

    /// The masks that a layer finds on one of its tensors.
    fn found(&self, layer: &Layer, value: &ValueRef) -> Views {
        let mut views = self.on(value);
        let mut lost: Vec<&mut Option<Id>> = views
            .iter_mut()
            .zip(self.rules.all())
            .filter(|(view, rule)| view.is_some() && !rule.casts)
            .map(|(view, _)| view)
            .collect();
        if !lost.is_empty() && layer.model.is_none() && casts_first(layer, self.rules.typed) {
            lost.iter_mut().for_each(|view| **view = None);
        }
        views
    }

    fn on(&self, value: &ValueRef) -> Views {
        let mut views = self.came(value);
        if let Some(taken) = self.taken.get(&self.tensor(value)) {
            views.iter_mut().zip(taken).filter(|(_, taken)| **taken).for_each(|(view, _)| *view = None);
        }
        views
    }

    /// The masks with which a tensor was made.
    fn came(&self, value: &ValueRef) -> Views {
        let none = || vec![None; self.rules.readers.len() + 1];
        match (value.call, value.index) {
            (None, index) => self.inputs.get(index as usize).cloned().unwrap_or_else(none),
            (Some(call), index) => {
                let found = self.outputs.get(call as usize).and_then(|outputs| outputs.get(index as usize));
                found.cloned().unwrap_or_else(none)
            }
        }
    }

    fn call(&mut self, model: &mut Model, at: usize) {
        let mut call = model.calls[at].clone();
        self.follow(&mut call);
        let old = model.calls[at].clone();
        let Some(layer) = model.layers.get(old.layer as usize).cloned() else {
            self.moved.push(self.calls.len() as u32);
            self.outputs.push(Vec::new());
            self.calls.push(call);
            return;
        };
        let mut inputs = Vec::new();
        old.args.iter().for_each(|arg| values(arg, &mut |value| inputs.push(value.clone())));
        let views: Vec<Views> = inputs.iter().map(|value| self.found(&layer, value)).collect();
        if layer.model.is_some() {
            let out = self.inside(model, (&old, &mut call), &layer, (&inputs, &views));
            self.moved.push(self.calls.len() as u32);
            self.outputs.push(out);
            self.calls.push(call);
            return;
        }
        let masked = views.iter().flatten().any(Option::is_some);
        if let ([input], true) = (&inputs[..], masked && heads::gives_on(&layer)) {
            self.same.insert((Some(at as u32), 0), self.tensor(input));
        }
        let out = match habit(&layer) {
            Habit::Makes => inputs.first().map(|input| self.terms.made(&layer, input)).map(|id| self.everybody(id)),
            Habit::Passes if layer.class == "GroupNormalization" => {
                // Keras 2 leaves out of its statistics what is masked.
                let mut views: Vec<Views> = views.into_iter().take(1).collect();
                self.apart(&layer, &mut call, (&mut views, &inputs[..1.min(inputs.len())]), &|rule| rule.major < 3);
                views.first().map(|views| self.passed(&layer, views))
            }
            Habit::Passes => views.first().map(|views| self.passed(&layer, views)),
            Habit::Takes if layer.class == "BatchNormalization" => views.first().cloned(),
            Habit::Takes | Habit::Ends | Habit::Recurrent => Some(self.one(model, &layer, &old, &mut call, &views)),
            Habit::Attends => Some(self.heads(model, (at, &layer), &old, &mut call)),
            Habit::Converts => Some(self.pair(model, &layer, &old, &mut call, &views)),
            Habit::Merges => Some(self.merged(&layer, &mut call, views, &inputs)),
            Habit::Concatenates => Some(self.concatenated(at, &layer, &mut call, views, &inputs)),
            Habit::Drops => None,
        };
        self.moved.push(self.calls.len() as u32);
        self.outputs.push(out.into_iter().collect());
        self.calls.push(call);
    }

    /// The references of a call to those before it, where these are now.
    fn follow(&self, call: &mut Call) {
        for value in call.values_mut() {
            *value = self.moved_to(value);
        }
    }

    fn moved_to(&self, value: &ValueRef) -> ValueRef {
        let call = value.call.map(|call| self.moved.get(call as usize).copied().unwrap_or(call));
        ValueRef { call, index: value.index }
    }

    fn everybody(&self, id: Id) -> Views {
        vec![Some(id); self.rules.readers.len() + 1]
    }

    fn passed(&self, layer: &Layer, views: &Views) -> Views {
        // These came to masks with Keras 3.
        let late = matches!(layer.class.as_str(), "Identity" | "Normalization" | "Rescaling");
        let pass = |(view, rule): (&Option<Id>, Rule)| view.filter(|_| !late || rule.major >= 3);
        views.iter().zip(self.rules.all()).map(pass).collect()
    }

    /// A layer that is given the mask of its sequence. What comes out carries it on, as far as the layer does that.
    fn one(&mut self, model: &Model, layer: &Layer, old: &Call, call: &mut Call, views: &[Views]) -> Views {
        let first = views.first().cloned().unwrap_or_else(|| vec![None; self.rules.readers.len() + 1]);
        let explicit = explicit(old).map(|value| self.terms.written(model, &value));
        let tensors = views.len() + states(old);
        let recurrent = matches!(habit(layer), Habit::Recurrent);
        let found = |rule: Rule, view: Option<Id>| view.filter(|_| !(recurrent && rule.major >= 3 && tensors > 1));
        let seen: Vec<Option<Id>> = self.rules.all().zip(&first).map(|(rule, view)| found(rule, *view)).collect();
        let wanted = explicit.or(seen[0]);
        if wanted.is_some() && layer.class == "Bidirectional" && !zeroes_like_today(layer) {
            self.refuse(layer, "with a mask, it gives zeros at other steps than a pair of the output's Keras");
        }
        let given = states(old) > 0 || views.len() > 1;
        if wanted.is_some() && recurrent && self.rules.source.gives_state && keeps_state(layer, given) {
            let detail = "a masked step gives the first state here, and in later Keras the output of the step before";
            let hint = "other targets (onnx, torch, savedmodel) keep what it computes";
            self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail).hint(hint));
        }
        let mut passed = first;
        passed[0] = explicit.filter(|_| self.rules.source.arguments).or(passed[0]);
        let agreed = seen[1..].iter().all(|view| *view == wanted);
        match (explicit, agreed) {
            (Some(_), true) if !self.rules.keep => call.kwargs.retain(|named| named.name != "mask"),
            (Some(_), _) => passed[1..].fill(wanted),
            (None, true) => {}
            (None, false) => {
                let given = wanted.and_then(|id| self.compute(layer, id));
                match (given, wanted) {
                    (Some(mask), _) => call.kwargs.push(named("mask", Arg::value(mask))),
                    (None, Some(_)) => self.refuse(layer, "it is given a mask that is nowhere computed"),
                    (None, None) => self.unmask(layer, &mut call.args),
                }
                passed[1..].fill(wanted);
            }
        }
        let on = match habit(layer) {
            Habit::Ends => false,
            Habit::Recurrent => gives_sequence(layer),
            _ => true,
        };
        if on { passed } else { vec![None; passed.len()] }
    }

    /// Attention, which takes a list of masks.
    fn pair(&mut self, model: &Model, layer: &Layer, old: &Call, call: &mut Call, views: &[Views]) -> Views {
        let none = || vec![None; self.rules.readers.len() + 1];
        let given = old.kwargs.iter().find(|named| named.name == "mask").and_then(|named| named.arg.as_ref());
        if let Some(given) = given.and_then(Arg::masks) {
            // What is written already is what counts for all.
            let first = given.first().copied().flatten().map(|value| self.terms.written(model, value));
            return self.of_list(first);
        }
        let differs = |views: &Views| views.iter().any(|view| *view != views[0]);
        if !views.iter().take(2).any(differs) {
            let first = views.first().cloned().unwrap_or_else(none);
            return self.rules.all().zip(first).map(|(rule, view)| view.filter(|_| rule.lists)).collect();
        }
        let mut masks = Vec::new();
        for views in views.iter().take(2) {
            masks.push(match views[0] {
                None => Arg::json(&Value::Null),
                Some(id) => match self.compute(layer, id) {
                    Some(mask) => Arg::value(mask),
                    None => {
                        self.refuse(layer, "it is given a mask that is nowhere computed");
                        Arg::json(&Value::Null)
                    }
                },
            });
        }
        call.kwargs.push(named("mask", Arg::list(masks)));
        self.of_list(views.first().and_then(|views| views[0]))
    }

    /// The mask that a list of tensors hands on, as each Keras sees it.
    fn of_list(&self, mask: Option<Id>) -> Views {
        self.rules.all().map(|rule| mask.filter(|_| rule.lists)).collect()
    }

    fn merged(&mut self, layer: &Layer, call: &mut Call, mut views: Vec<Views>, inputs: &[ValueRef]) -> Views {
        let counts = |rule: Rule| match layer.class.as_str() {
            "Maximum" | "Minimum" | "Multiply" => rule.any,
            _ => false,
        };
        self.apart(layer, call, (&mut views, inputs), &counts);
        let rules: Vec<Rule> = self.rules.all().collect();
        let join = |(at, rule): (usize, &Rule)| {
            let found: Vec<Option<Id>> = views.iter().map(|views| views[at]).collect();
            self.join(*rule, &found)
        };
        rules.iter().enumerate().map(join).collect()
    }

    fn join(&mut self, rule: Rule, found: &[Option<Id>]) -> Option<Id> {
        if !rule.lists {
            return None;
        }
        if !rule.any {
            return self.terms.joined(found.iter().copied().flatten(), Term::All);
        }
        let all: Option<Vec<Id>> = found.iter().copied().collect();
        self.terms.joined(all?, Term::Any)
    }

    fn concatenated(
        &mut self,
        at: usize,
        layer: &Layer,
        call: &mut Call,
        mut views: Vec<Views>,
        inputs: &[ValueRef],
    ) -> Views {
        // Keras 3 joins masks by an operation that takes the name that such a layer has by itself.
        let source = self.rules.source;
        // A mask that comes with an input of the model it joins only when it runs, without such an operation.
        let brought = views.iter().flat_map(|views| &views[1..]).flatten().all(|id| self.only_brought(*id).is_some());
        self.apart(layer, call, (&mut views, inputs), &|rule| rule.major >= 3 && source.major < 3 && !brought);
        let axis = parsed(&layer.config).get("axis").and_then(Value::as_i64).unwrap_or(-1);
        let rules: Vec<Rule> = self.rules.all().collect();
        let mixed = |by: usize| {
            let found = || views.iter().map(|views| views[by].is_some());
            rules[by].major < 3 && found().any(|is| is) && !found().all(|is| is)
        };
        // Keras 2 puts ones as wide as a tensor behind a mask that is one wide, which does not fit.
        if axis != -1 && axis < 2 && source.major >= 3 && (1..rules.len()).any(mixed) {
            self.apart(layer, call, (&mut views, inputs), &|rule| rule.major < 3);
        }
        // Two of one Keras make the same of the same masks, whatever that is.
        let alike = |a: usize, b: usize| rules[a].major == rules[b].major && views.iter().all(|of| of[a] == of[b]);
        let first: Vec<usize> =
            (0..rules.len()).map(|by| (0..by).find(|other| alike(*other, by)).unwrap_or(by)).collect();
        let mut out = Vec::with_capacity(rules.len());
        for (by, rule) in rules.into_iter().enumerate() {
            let found: Vec<Option<Id>> = views.iter().map(|views| views[by]).collect();
            let all: Option<Vec<Id>> = found.iter().copied().collect();
            out.push(match (axis, all) {
                _ if found.iter().all(Option::is_none) || !rule.lists => None,
                (1 | -2, Some(all)) => Some(self.terms.id(Term::Behind(all))),
                (1 | -2, None) => {
                    let value = ValueRef { call: Some(at as u32), index: 0 };
                    Some(self.terms.id(Term::Unknown(value, first[by])))
                }
                // Where one has none, its features hold everywhere: with any of them, all does.
                _ => self.join(rule, &found),
            });
        }
        out
    }

    /// Where masks count for the numbers by the rules of one Keras and not by another's: without them, if that is
    /// right.
    fn apart(
        &mut self,
        layer: &Layer,
        call: &mut Call,
        (views, inputs): (&mut Vec<Views>, &[ValueRef]),
        counts: &dyn Fn(Rule) -> bool,
    ) {
        let rules: Vec<Rule> = self.rules.all().collect();
        let of = |at: usize| -> Vec<Option<Id>> {
            views.iter().map(|views| views[at].filter(|_| counts(rules[at]))).collect()
        };
        let wanted = of(0);
        if (1..rules.len()).all(|at| of(at) == wanted) {
            return;
        }
        if wanted.iter().any(Option::is_some) {
            return self.refuse(layer, "it leaves out what is masked, by other rules than those of the output's Keras");
        }
        self.unmask(layer, &mut call.args);
        debug_assert_eq!(inputs.len(), views.len());
        views.iter_mut().for_each(|views| views[1..].fill(None));
    }

    /// The tensors of some arguments without what travels with them.
    fn unmask(&mut self, layer: &Layer, args: &mut [Arg]) {
        if self.sequential {
            return self.refuse(layer, "a Sequential has no place for what takes its mask away");
        }
        let mut refs: Vec<&mut ValueRef> = Vec::new();
        args.iter_mut().for_each(|arg| arg.values_mut(&mut refs));
        refs.into_iter().for_each(|value| self.unmask_one(layer, value));
    }

    fn unmask_one(&mut self, layer: &Layer, value: &mut ValueRef) {
        let key = (value.call, value.index);
        let copy = match self.copied.get(&key) {
            Some(copy) => copy.clone(),
            None => {
                let copy = self.operation(layer, "Copy", json!({}), vec![Arg::value(value.clone())]);
                self.copied.insert(key, copy.clone());
                copy
            }
        };
        *value = copy;
    }

    /// The tensor of a mask; none where it is nowhere to be had.
    fn compute(&mut self, layer: &Layer, id: Id) -> Option<ValueRef> {
        if let Some(known) = self.computed.get(&id) {
            return Some(known.clone());
        }
        if self.sequential {
            return None;
        }
        let several = |writer: &mut Self, parts: &[Id]| -> Option<Vec<Arg>> {
            parts.iter().map(|part| writer.compute(layer, *part).map(Arg::value)).collect()
        };
        let value = match self.terms.get(id).clone() {
            Term::Unknown(value, by) => self.through(&value, by)?,
            Term::Given(value) => self.moved_to(&value),
            Term::Differs(x, number) => self.differs(layer, &x, number),
            Term::AnyDiffers(x, number) => {
                let differs = self.differs(layer, &x, number);
                self.operation(layer, "Any", json!({"axis": [-1], "keepdims": false}), vec![Arg::value(differs)])
            }
            Term::All(parts) => {
                let parts = several(self, &parts)?;
                self.folded(layer, "LogicalAnd", parts)?
            }
            Term::Any(parts) => {
                let parts = several(self, &parts)?;
                self.folded(layer, "LogicalOr", parts)?
            }
            Term::Behind(parts) => {
                let parts = several(self, &parts)?;
                self.operation(layer, "Concatenate", json!({"axis": 1}), vec![Arg::list(parts)])
            }
        };
        self.computed.insert(id, value.clone());
        Some(value)
    }

    fn differs(&mut self, layer: &Layer, x: &ValueRef, number: f64) -> ValueRef {
        // Whole numbers without a point: an integer stays one where it is compared.
        let number = if number.fract() == 0.0 { json!(number as i64) } else { json!(number) };
        let x = self.moved_to(x);
        self.operation(layer, "NotEqual", json!({}), vec![Arg::value(x), Arg::json(&number)])
    }

    fn folded(&mut self, layer: &Layer, operation: &str, parts: Vec<Arg>) -> Option<ValueRef> {
        let mut parts = parts.into_iter();
        let mut so_far = parts.next()?;
        for part in parts {
            so_far = Arg::value(self.operation(layer, operation, json!({}), vec![so_far, part]));
        }
        match so_far.kind {
            Some(ArgKind::Value(value)) => Some(value),
            _ => None,
        }
    }

    /// An operation beside `layer`, called.
    fn operation(&mut self, layer: &Layer, operation: &str, config: Value, args: Vec<Arg>) -> ValueRef {
        self.beside(layer, format!("ops.numpy.{operation}"), config, args)
    }

    fn name(&mut self) -> String {
        let mut number = self.layers.len() + 1;
        while !self.names.insert(format!("mask_{number}")) {
            number += 1;
        }
        format!("mask_{number}")
    }

    fn beside(&mut self, layer: &Layer, class: String, mut config: Value, args: Vec<Arg>) -> ValueRef {
        let name = self.name();
        config["name"] = json!(name);
        let path = match layer.path.rsplit_once('/') {
            Some((above, _)) => format!("{above}/{name}"),
            None => name.clone(),
        };
        self.calls.push(Call { layer: (self.old_layers + self.layers.len()) as u32, args, kwargs: Vec::new() });
        self.layers.push(Layer { name, path, class, config: config.to_string(), trainable: true, ..Layer::default() });
        ValueRef { call: Some(self.calls.len() as u32 - 1), index: 0 }
    }

    fn refuse(&mut self, layer: &Layer, why: &str) {
        let detail = format!("{why}, and Keras 2 and 3 do not treat masks alike");
        let hint = "other targets (onnx, torch, savedmodel) keep what it computes";
        self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail).hint(hint));
    }
}

/// Whether both layers of a pair give zeros at masked steps just where they give sequences, as those of TensorFlow 2.15
/// and Keras 3 do whatever their configuration says.
fn zeroes_like_today(pair: &Layer) -> bool {
    pair.children.iter().filter_map(|child| child.layer.as_ref()).all(|layer| {
        let config = parsed(&layer.config);
        let says = |key: &str| config.get(key) == Some(&Value::Bool(true));
        says("zero_output_for_mask") == says("return_sequences")
    })
}

/// Whether the first state is another thing than the output before, where masked steps give the state: where a state is
/// given at the beginning, or the first state is that of another cell than gives the output.
fn keeps_state(layer: &Layer, given: bool) -> bool {
    let loops = |layer: &Layer| {
        let config = parsed(&layer.config);
        let says = |key: &str| config.get(key) == Some(&Value::Bool(true));
        !says("unroll") && !says("legacy_theano")
    };
    let mut ways = ["forward_layer", "backward_layer"].iter().filter_map(|way| layer.child(way)).peekable();
    let loops = if ways.peek().is_some() { ways.any(loops) } else { loops(layer) };
    loops && (given || cells::is_of_several(layer))
}

fn named(name: &str, arg: Arg) -> NamedArg {
    NamedArg { name: name.to_owned(), arg: Some(arg) }
}

/// The tensor that a call names as the mask.
fn explicit(call: &Call) -> Option<ValueRef> {
    let arg = call.kwargs.iter().find(|named| named.name == "mask").and_then(|named| named.arg.as_ref())?;
    let mut found = Vec::new();
    values(arg, &mut |value| found.push(value.clone()));
    found.into_iter().next()
}

/// How many tensors a call names as states.
fn states(call: &Call) -> usize {
    let arg = call.kwargs.iter().find(|named| named.name == "initial_state").and_then(|named| named.arg.as_ref());
    let mut count = 0;
    if let Some(arg) = arg {
        values(arg, &mut |_| count += 1);
    }
    count
}
