//! Loops as walks over time.

use super::super::counter::Counter;
use super::super::def::{Edge, Node};
use super::super::flow::through_identities;
use super::super::interp::{Frame, Interp};
use super::super::value::{Int, Ints, List, Val};
use super::one;
use super::spelled::{FrameLoop, Spelled, single};
use super::trips::{Trips, trips};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    Binary, BinaryFunction, Cast, Clip, Concat, DType, Dim, Graph, Op, Reverse, Scan, ValueId, Where,
};
use std::rc::Rc;

type Out = Result<Vec<Val>, Diag>;

/// What a variable of a loop turns out to be.
#[derive(Clone)]
enum Role {
    /// The same in each step.
    Fixed,
    /// One more, or one less, in each step.
    Counter { down: bool },
    /// A list that the loop fills.
    Filled,
    /// A tensor that changes: its place among the states.
    State(usize),
}

/// `while condition(v): v = body(v)` as a walk over time.
pub fn repeat<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let (condition, name) = (node.function("cond")?, node.function("body")?);
    let body = interp.library.function(&name)?;
    if body.arguments.len() != vals.len() || body.results.len() != vals.len() {
        return Err(node.bad("a body that does not give back what it takes"));
    }
    repeated(interp, node, &Spelled::Functions { condition, name, body }, vals)
}

/// The same from a frame.
pub fn repeat_frame<'a>(interp: &mut Interp<'a>, node: &Node<'a>, frame: &FrameLoop<'_, 'a>, vals: &[Val]) -> Out {
    repeated(interp, node, &Spelled::Frame(frame), vals)
}

fn repeated<'a>(interp: &mut Interp<'a>, node: &Node<'a>, form: &Spelled<'_, 'a>, vals: &[Val]) -> Out {
    if vals.iter().any(|val| matches!(val, Val::Failed)) {
        return Ok(vec![Val::Failed]);
    }
    if interp.deciding {
        return Err(node.unsupported("a loop in the condition of a loop"));
    }
    let roles = roles(interp, form, vals);
    let depth = interp.depth() + 1;
    let seen = |(val, role): (&Val, &Role)| match role {
        Role::Counter { down } => counter_of(interp, val, *down, depth),
        Role::Fixed => val.clone(),
        Role::Filled | Role::State(_) => Val::Failed,
    };
    let seen_inside: Vec<Val> = vals.iter().zip(&roles).map(seen).collect();
    let trips = trips(interp, node, form, &seen_inside)?;
    let mut states = Vec::new();
    for (val, role) in vals.iter().zip(&roles) {
        if let Role::State(_) = role {
            states.push(interp.value(node, val)?);
        }
    }
    let mut frame = Frame::new(Graph::new(format!("{}/step", node.name)));
    frame.trips = Some(trips.count.clone());
    let mut inner = Vec::new();
    for (at, &state) in states.iter().enumerate() {
        inner.push(frame.graph.input(format!("state{at}"), interp.ty(state)));
    }
    interp.frames.push(frame);
    let stepped = step(interp, node, form, vals, &roles, &inner).and_then(|step| {
        let Some(mut step) = step else { return Ok(None) };
        hold(interp, node, &trips.ends, &inner, &mut step)?;
        Ok(Some(step))
    });
    let frame = interp.frames.pop().ok_or_else(|| node.bad("a loop without its frame"))?;
    let Some(step) = stepped? else { return Ok(vec![Val::Failed]) };
    finish(interp, node, frame, Walk { vals, roles: &roles, states, inner, step, trips })
}

/// What variables come back unchanged, and what is counted, stands in the body itself.
fn roles<'a>(interp: &Interp<'a>, form: &Spelled<'_, 'a>, vals: &[Val]) -> Vec<Role> {
    let mut states = 0;
    let mut roles = Vec::new();
    for ((at, val), result) in vals.iter().enumerate().zip(form.results()) {
        let origin = through_identities(form.body(), result);
        let fixed = form.variable(origin) == Some(at);
        roles.push(match val {
            _ if fixed => Role::Fixed,
            Val::List(_) => Role::Filled,
            _ => match start(interp, val).and_then(|_| counts(interp, form, origin, at, vals)) {
                Some(down) => Role::Counter { down },
                None => {
                    states += 1;
                    Role::State(states - 1)
                }
            },
        });
    }
    roles
}

/// What a counter begins with: a whole number that is known, or a size.
fn start(interp: &Interp<'_>, val: &Val) -> Option<Int> {
    let ints = interp.ints(val).filter(|ints| ints.shape.is_empty() && ints.dtype.is_int())?;
    ints.elements.first().cloned()
}

/// The counter that a variable is in the body at this depth.
fn counter_of(interp: &Interp<'_>, val: &Val, down: bool, depth: usize) -> Val {
    let dtype = interp.dtype_of(val).unwrap_or(DType::I32);
    start(interp, val).map_or(Val::Failed, |start| Val::Counter(Counter { depth, dtype, start, down }))
}

/// Is this the variable plus one (false), or minus one (true)?
fn counts<'a>(interp: &Interp<'a>, form: &Spelled<'_, 'a>, edge: Edge, at: usize, vals: &[Val]) -> Option<bool> {
    let node = &form.body().nodes[edge.node()?];
    let terms: Vec<Edge> = node.data().map(|input| through_identities(form.body(), input)).collect();
    let [a, b] = terms[..] else { return None };
    let number = |edge: Edge| match form.variable(edge) {
        // A step that is a variable of the loop, too.
        Some(other) => single(interp, &vals[other]),
        None => form.number(interp, edge),
    };
    let is_this = |edge: Edge| form.variable(edge) == Some(at);
    let change = match node.op {
        "Add" | "AddV2" if is_this(a) => number(b)?,
        "Add" | "AddV2" if is_this(b) => number(a)?,
        "Sub" if is_this(a) => number(b)?.checked_neg()?,
        _ => return None,
    };
    matches!(change, 1 | -1).then_some(change < 0)
}

/// What one step leaves.
struct Step {
    /// New states, in order.
    states: Vec<ValueId>,
    items: Vec<Item>,
}

/// What a step writes into a list.
struct Item {
    /// The variable that is the list.
    variable: usize,
    value: ValueId,
    /// The place; none where only the last step's stays.
    at: Option<Counter>,
}

/// Builds the body; none where something in it could not be lowered.
fn step<'a>(
    interp: &mut Interp<'a>,
    node: &Node<'a>,
    form: &Spelled<'_, 'a>,
    vals: &[Val],
    roles: &[Role],
    inner: &[ValueId],
) -> Result<Option<Step>, Diag> {
    let mut arguments = Vec::new();
    for (at, (val, role)) in vals.iter().zip(roles).enumerate() {
        arguments.push(match role {
            Role::Fixed => val.clone(),
            Role::Counter { down } => counter_of(interp, val, *down, interp.depth()),
            Role::Filled => Val::List(Rc::new(List::Reserved { len: None, of: Some(at) })),
            Role::State(n) => interp.val(inner[*n]),
        });
    }
    let results = form.step(interp, node, &arguments)?;
    let mut step = Step { states: Vec::new(), items: Vec::new() };
    for (at, (result, role)) in results.iter().zip(roles).enumerate() {
        match (role, result) {
            (_, Val::Failed) => return Ok(None),
            (Role::Fixed | Role::Counter { .. }, _) => {}
            (Role::Filled, Val::List(list)) => match &**list {
                List::Written { of, item, at: place } if *of == at => {
                    let item = interp.value(node, item)?;
                    step.items.push(Item { variable: at, value: item, at: place.clone() });
                }
                _ => return Err(node.unsupported("a list that a step does not write one element of")),
            },
            (Role::Filled, _) => return Err(node.unsupported("a list that becomes something else")),
            (Role::State(_), val) => step.states.push(interp.value(node, val)?),
        }
    }
    Ok(Some(step))
}

struct Walk<'w> {
    vals: &'w [Val],
    roles: &'w [Role],
    states: Vec<ValueId>,
    /// The states within the body.
    inner: Vec<ValueId>,
    step: Step,
    trips: Trips,
}

/// The loop as a Scan, and its variables afterwards.
fn finish<'a>(interp: &mut Interp<'a>, node: &Node<'a>, mut frame: Frame, mut walk: Walk<'_>) -> Out {
    if frame.scanned.is_empty() {
        // Only its length is walked over.
        interp.frames.push(frame);
        let counted = interp.value(node, &Val::Counter(Counter::plain(interp.depth())));
        frame = interp.frames.pop().ok_or_else(|| node.bad("a loop without its frame"))?;
        counted?;
    }
    let Frame { graph: mut body, captured, scanned, .. } = frame;
    let order: Vec<ValueId> = walk.inner.iter().copied().chain(captured.iter().map(|pair| pair.1)).collect();
    let place = |value: ValueId| {
        let steps = scanned.iter().position(|pair| pair.1 == value).map(|at| order.len() + at);
        order.iter().position(|state| *state == value).or(steps)
    };
    body.inputs.sort_by_key(|input| place(input.value));
    for (at, &state) in walk.step.states.iter().enumerate() {
        body.output(format!("state{at}_next"), state);
    }
    for (at, (_, inner)) in captured.iter().enumerate() {
        body.output(format!("fixed{at}_next"), *inner);
    }
    let flat = with_batch(node, &mut body, &mut walk.step.items)?;
    for (at, item) in walk.step.items.iter().enumerate() {
        body.output(format!("item{at}"), item.value);
    }
    let states = walk.states.len() + captured.len();
    let inputs: Vec<ValueId> = walk
        .states
        .iter()
        .copied()
        .chain(captured.iter().map(|pair| pair.0))
        .chain(scanned.iter().map(|pair| pair.0))
        .collect();
    let outputs = interp.add_node(node, Op::from(Scan { body: Box::new(body), states, reverse: false }), &inputs)?;
    let mut lists = Vec::new();
    for (at, item) in walk.step.items.iter().enumerate() {
        let list = filled(interp, node, &walk, item, flat[at], &outputs, outputs[states + at])?;
        lists.push((item.variable, Val::List(Rc::new(list))));
    }
    let counts = counted(interp, node, &walk)?;
    let result = |(at, role): (usize, &Role)| match role {
        Role::Fixed => walk.vals[at].clone(),
        Role::Counter { .. } => counts.iter().find(|count| count.0 == at).map_or(Val::Failed, |count| count.1.clone()),
        Role::State(n) => interp.val(outputs[*n]),
        Role::Filled => lists.iter().find(|list| list.0 == at).map_or(Val::Failed, |list| list.1.clone()),
    };
    Ok(walk.roles.iter().enumerate().map(result).collect())
}

/// Elements without a batch axis get one, as time is axis 1. Which ones these were.
fn with_batch(node: &Node<'_>, body: &mut Graph, items: &mut [Item]) -> Result<Vec<bool>, Diag> {
    let mut flat = Vec::new();
    for item in items {
        let scalar = body.shape(item.value).is_empty();
        flat.push(scalar);
        if scalar {
            item.value = body.reshape(node.name, item.value, vec![Dim::Known(1)])?;
        }
    }
    Ok(flat)
}

/// A list that the loop filled. `stacked` is what its steps wrote, along axis 1.
fn filled<'a>(
    interp: &mut Interp<'a>,
    node: &Node<'a>,
    walk: &Walk<'_>,
    item: &Item,
    is_flat: bool,
    outputs: &[ValueId],
    stacked: ValueId,
) -> Result<List, Diag> {
    let trips = &walk.trips.count;
    let Some(place) = &item.at else {
        let state = walk.step.states.iter().position(|state| *state == item.value);
        let last = match state {
            Some(state) => interp.val(outputs[state]),
            None => last_of(interp, node, stacked, trips)?,
        };
        return Ok(List::Items(vec![last]));
    };
    let (before, length) = match &walk.vals[item.variable] {
        Val::List(list) => match &**list {
            List::Items(items) => (items.clone(), None),
            List::Reserved { len, .. } => (Vec::new(), len.clone()),
            List::Of { .. } | List::Written { .. } => {
                return Err(node.unsupported("a list that is filled already"));
            }
        },
        _ => (Vec::new(), None),
    };
    let fits = match (place.down, length.map(|length| length.dim())) {
        (false, None) => place.start == Int::N(before.len() as i64),
        // Longer than it was made to be is what grows.
        (false, Some(length)) => {
            let grows = |length: Dim| length.known().zip(trips.known()).is_some_and(|(length, trips)| length <= trips);
            let same = length.is_none_or(|length| length == *trips || length == Dim::Known(0) || grows(length));
            place.start == Int::N(0) && same
        }
        (true, Some(Some(length))) => {
            length == *trips && place.start.add(&Int::N(1)).and_then(|n| n.dim()) == Some(length)
        }
        (true, _) => false,
    };
    if !fits {
        return Err(node.unsupported("a list that a loop fills in part"));
    }
    let mut all = stacked;
    if place.down {
        all = interp.add(node, Reverse { axes: vec![1] }, &[all])?;
    }
    let mut parts = Vec::new();
    for item in &before {
        let item = interp.value(node, item)?;
        let item = if is_flat { interp.graph().reshape(node.name, item, vec![Dim::Known(1)])? } else { item };
        parts.push(interp.graph().expand(node.name, item, 1)?);
    }
    if !parts.is_empty() {
        parts.push(all);
        all = interp.add(node, Concat { axis: 1 }, &parts)?;
    }
    if !is_flat {
        return Ok(List::Of { tensor: interp.val(all), axis: 1 });
    }
    let count = interp.shape(all)[1].clone();
    let row = interp.graph().reshape(node.name, all, vec![count])?;
    Ok(List::Of { tensor: interp.val(row), axis: 0 })
}

/// The last step of what a loop stacked along axis 1.
fn last_of<'a>(interp: &mut Interp<'a>, node: &Node<'a>, stacked: ValueId, trips: &Dim) -> Result<Val, Diag> {
    let start = trips.offset(-1).ok_or_else(|| node.bad("a loop that never runs"))?;
    let part = interp.graph().slice(node.name, stacked, 1, start, trips.clone())?;
    let part = interp.graph().squeeze(node.name, part, 1)?;
    Ok(one(interp, part)?.remove(0))
}

/// After its end, a loop keeps its states and writes zeros.
fn hold<'a>(
    interp: &mut Interp<'a>,
    node: &Node<'a>,
    ends: &[Val],
    inner: &[ValueId],
    step: &mut Step,
) -> Result<(), Diag> {
    for end in ends {
        let (counter, end) =
            (interp.value(node, &Val::Counter(Counter::plain(interp.depth())))?, interp.value(node, end)?);
        let end = interp.add(node, Cast { to: DType::I32 }, &[end])?;
        let runs = interp.add(node, Binary { function: BinaryFunction::Less }, &[counter, end])?;
        for (state, before) in step.states.iter_mut().zip(inner) {
            *state = interp.add(node, Where {}, &[runs, *state, *before])?;
        }
        for item in &mut step.items {
            if item.at.is_none() {
                return Err(node.unsupported("a list of one in a loop that data may end early"));
            }
            let zero = interp.graph().scalar_like(node.name, item.value, 0.0)?;
            item.value = interp.add(node, Where {}, &[runs, item.value, zero])?;
        }
    }
    Ok(())
}

/// What the loop counted, when it is over: by variable.
fn counted<'a>(interp: &mut Interp<'a>, node: &Node<'a>, walk: &Walk<'_>) -> Result<Vec<(usize, Val)>, Diag> {
    let mut steps = Ints::scalar(DType::I32, Int::of(walk.trips.count.clone())).val();
    for end in &walk.trips.ends {
        let (a, b) = (interp.value(node, &steps)?, interp.value(node, end)?);
        let b = interp.add(node, Cast { to: DType::I32 }, &[b])?;
        let least = interp.add(node, Binary { function: BinaryFunction::Min }, &[a, b])?;
        let least = interp.add(node, Clip { min: Some(0.0), max: None }, &[least])?;
        steps = interp.val(least);
    }
    let mut counts = Vec::new();
    for (at, role) in walk.roles.iter().enumerate() {
        let Role::Counter { down } = role else { continue };
        let Val::Counter(counter) = counter_of(interp, &walk.vals[at], *down, 0) else { continue };
        let known = interp.ints(&steps).and_then(|steps| counter.after(steps.elements.first()?));
        let after = match known {
            Some(known) => Ints::scalar(counter.dtype, known).val(),
            None => {
                let (start, steps) = (interp.value(node, &walk.vals[at])?, interp.value(node, &steps)?);
                let steps = interp.add(node, Cast { to: counter.dtype }, &[steps])?;
                let function = if *down { BinaryFunction::Sub } else { BinaryFunction::Add };
                let after = interp.add(node, Binary { function }, &[start, steps])?;
                interp.val(after)
            }
        };
        counts.push((at, after));
    }
    Ok(counts)
}
