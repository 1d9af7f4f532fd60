//! States of stacks of cells. Keras 3, and Keras 2 since TensorFlow's, take and give them as the cells have them, those
//! of one cell in a list of their own, from the first cell to the last. Files have them in one row, and those of Keras
//! before 2.2 from the last cell to the first, as later ones do on request.

use super::Dialect;
use super::layer::parsed;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::model::{Arg, ArgKind, Call, Layer, Model, NamedArg, ValueRef, keras_version};
use serde_json::Value;

/// Where the states of a cell lie in the row that the source has them in.
enum Place {
    One(usize),
    Several(Vec<Place>),
}

impl Place {
    /// The states as today's Keras takes them.
    fn arranged(&self, row: &[Arg]) -> Arg {
        match self {
            Place::One(at) => row.get(*at).cloned().unwrap_or_else(|| Arg::json(&Value::Null)),
            Place::Several(places) => Arg::list(places.iter().map(|place| place.arranged(row)).collect()),
        }
    }

    /// Places in today's order.
    fn flat(&self, out: &mut Vec<usize>) {
        match self {
            Place::One(at) => out.push(*at),
            Place::Several(places) => places.iter().for_each(|place| place.flat(out)),
        }
    }
}

/// As the lowering has it: always before Keras 2.2, and where tf.keras, from TensorFlow 1.11 on, was asked to.
fn is_reversed(stack: &Layer, version: &str) -> bool {
    let always = !version.contains("tf") && keras_version(version) < (2, 2);
    always || parsed(&stack.config).get("reverse_state_order") == Some(&Value::Bool(true))
}

/// The places of a cell's states, `next` being the first; none for a cell of somebody's own.
fn places(cell: &Layer, version: &str, next: &mut usize) -> Option<Place> {
    let mut take = || {
        *next += 1;
        Place::One(*next - 1)
    };
    match cell.class.as_str() {
        "GRUCell" | "SimpleRNNCell" => Some(take()),
        "LSTMCell" | "PeepholeLSTMCell" => Some(Place::Several(vec![take(), take()])),
        "ResidualWrapper" => places(cell.child("cell")?, version, next),
        "StackedRNNCells" => {
            let cells = cell.children.iter().filter(|child| child.attribute.starts_with("cells/"));
            let mut cells: Vec<&Layer> = cells.filter_map(|child| child.layer.as_ref()).collect();
            let reversed = is_reversed(cell, version);
            if reversed {
                cells.reverse();
            }
            let mut found = cells.into_iter().map(|cell| places(cell, version, next)).collect::<Option<Vec<_>>>()?;
            if reversed {
                found.reverse();
            }
            Some(Place::Several(found))
        }
        _ => None,
    }
}

fn is_stack(layer: &Layer) -> bool {
    layer.child("cell").is_some_and(|cell| cell.class == "StackedRNNCells")
}

/// Whether a stack of several cells is in the layer.
pub(super) fn is_of_several(layer: &Layer) -> bool {
    let several = |layer: &Layer| {
        let cells = layer.child("cell").map(|cell| &cell.children[..]).unwrap_or_default();
        cells.iter().filter(|child| child.attribute.starts_with("cells/")).count() > 1
    };
    several(layer) || ["forward_layer", "backward_layer"].iter().filter_map(|way| layer.child(way)).any(several)
}

/// The states of the layer's one direction, or of both; none where it has no stack.
fn states_of(layer: &Layer, version: &str) -> Option<Result<Vec<Place>, Diag>> {
    let ways: Vec<&Layer> = match layer.class.as_str() {
        "RNN" => vec![layer],
        "Bidirectional" => ["forward_layer", "backward_layer"].iter().filter_map(|way| layer.child(way)).collect(),
        _ => return None,
    };
    if !ways.iter().any(|way| is_stack(way)) {
        return None;
    }
    let (mut next, mut all) = (0, Vec::new());
    for cell in ways.iter().filter_map(|way| way.child("cell")) {
        match places(cell, version, &mut next) {
            Some(Place::Several(places)) => all.extend(places),
            Some(place) => all.push(place),
            None => {
                let detail = "a stack that holds a cell of your own: how many states that has is not known";
                let hint = "give the layer no states, and ask it for none";
                return Some(Err(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail).hint(hint)));
            }
        }
    }
    Some(Ok(all))
}

/// The states that a call is given, taken out of it: behind the sequence, or by their name.
fn take_states(call: &mut Call) -> Vec<Arg> {
    let mut found = Vec::new();
    fn leaves(arg: Arg, found: &mut Vec<Arg>) {
        match arg.kind {
            Some(ArgKind::List(list)) => list.items.into_iter().for_each(|arg| leaves(arg, found)),
            _ => found.push(arg),
        }
    }
    if let Some(ArgKind::List(list)) = call.args.first_mut().and_then(|arg| arg.kind.as_mut())
        && list.items.len() > 1
    {
        list.items.drain(1..).for_each(|arg| leaves(arg, &mut found));
    }
    let named = call.kwargs.iter().position(|named| named.name == "initial_state");
    if let Some(at) = named.filter(|_| found.is_empty()) {
        call.kwargs.remove(at).arg.into_iter().for_each(|arg| leaves(arg, &mut found));
        found.retain(|arg| *arg != Arg::json(&Value::Null));
    }
    found
}

fn give_states(call: &mut Call, states: Vec<Arg>) {
    match call.args.first_mut().and_then(|arg| arg.kind.as_mut()) {
        Some(ArgKind::List(list)) => list.items.extend(states),
        _ => call.kwargs.push(NamedArg { name: "initial_state".to_owned(), arg: Some(Arg::list(states)) }),
    }
}

/// Whether a call takes or gives states.
fn uses_states(model: &Model, at: usize) -> bool {
    let of = |value: &ValueRef| {
        let call = value.call.and_then(|call| model.calls.get(call as usize));
        call.is_some_and(|call| call.layer as usize == at) && value.index > 0
    };
    let given = model.calls.iter().flat_map(Call::values).any(of);
    let shown = model.outputs.iter().filter_map(|output| output.value.as_ref()).any(of);
    let own = |call: &Call| call.layer as usize == at && !take_states(&mut call.clone()).is_empty();
    given || shown || model.calls.iter().any(own)
}

/// Gives the stacks of a model, not of those inside of it, their states in today's order.
pub(super) fn arrange(model: &mut Model, version: &str, dialect: Dialect) -> Findings {
    let mut findings = Findings::new();
    for at in 0..model.layers.len() {
        match states_of(&model.layers[at], version) {
            None => continue,
            Some(Err(diag)) => findings.extend(uses_states(model, at).then_some(diag)),
            Some(Ok(_)) if dialect == Dialect::Js && is_of_several(&model.layers[at]) && uses_states(model, at) => {
                let detail = "TensorFlow.js takes and gives the states of a stack from the last cell to the first";
                let hint = "other targets (keras, keras2, onnx) keep what it computes";
                findings.push(Diag::new(Code::UnsupportedLayer, model.layers[at].path.as_str(), detail).hint(hint));
            }
            Some(Ok(places)) => one(model, at, &places),
        }
        settle(&mut model.layers[at]);
    }
    findings
}

/// The option has done what it says.
fn settle(layer: &mut Layer) {
    if let Value::Object(mut config) = parsed(&layer.config)
        && layer.class == "StackedRNNCells"
        && config.remove("reverse_state_order").is_some()
    {
        layer.config = Value::Object(config).to_string();
    }
    layer.children.iter_mut().filter_map(|child| child.layer.as_mut()).for_each(settle);
}

fn one(model: &mut Model, at: usize, places: &[Place]) {
    let mut order = Vec::new();
    places.iter().for_each(|place| place.flat(&mut order));
    let mut own = vec![false; model.calls.len()];
    for (call, own) in model.calls.iter_mut().zip(&mut own).filter(|(call, _)| call.layer as usize == at) {
        *own = true;
        let row = take_states(call);
        if !row.is_empty() {
            give_states(call, places.iter().map(|place| place.arranged(&row)).collect());
        }
    }
    // Behind the sequence, or both of a pair that is not merged.
    let unmerged = parsed(&model.layers[at].config).get("merge_mode") == Some(&Value::Null);
    let first = if model.layers[at].class == "Bidirectional" && unmerged { 2 } else { 1 };
    let turn = |value: &mut ValueRef| {
        let is_own = value.call.is_some_and(|call| own.get(call as usize) == Some(&true));
        let state = (value.index as usize).checked_sub(first).filter(|_| is_own);
        if let Some(now) = state.and_then(|state| order.iter().position(|&place| place == state)) {
            value.index = (first + now) as u32;
        }
    };
    let mut refs: Vec<&mut ValueRef> = Vec::new();
    for call in &mut model.calls {
        refs.extend(call.values_mut());
    }
    refs.extend(model.outputs.iter_mut().filter_map(|output| output.value.as_mut()));
    refs.into_iter().for_each(turn);
}
