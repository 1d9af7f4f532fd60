//! Functions, branches and loops.

use super::super::def::Node;
use super::super::interp::{Frame, Interp};
use super::super::value::{Int, Ints, List, Val};
use super::{inputs, one};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{DType, Dim, Graph, Op, Scan, ValueId, Where};
use std::rc::Rc;

type Out = Result<Vec<Val>, Diag>;

pub fn call<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    interp.call(node, &node.function("f")?, vals)
}

fn is_true(interp: &Interp<'_>, val: &Val) -> Option<bool> {
    match interp.ints(val)?.known()?.as_slice() {
        [known] => Some(*known != 0),
        _ => None,
    }
}

/// One branch, where the condition is known; else both, and a choice between their results.
pub fn branch<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let (condition, arguments) = vals.split_first().ok_or_else(|| node.bad("no condition"))?;
    if matches!(condition, Val::Failed) {
        return Ok(vec![Val::Failed]);
    }
    let (then, otherwise) = (node.function("then_branch")?, node.function("else_branch")?);
    if let Some(known) = is_true(interp, condition) {
        return interp.call(node, if known { &then } else { &otherwise }, arguments);
    }
    let a = interp.call(node, &then, arguments)?;
    let b = interp.call(node, &otherwise, arguments)?;
    let condition = interp.value(node, condition)?;
    a.iter().zip(&b).map(|(a, b)| chosen(interp, node, condition, a, b)).collect()
}

fn chosen<'a>(interp: &mut Interp<'a>, node: &Node<'a>, condition: ValueId, a: &Val, b: &Val) -> Result<Val, Diag> {
    if matches!(a, Val::Nothing) || matches!(b, Val::Nothing) {
        return Ok(Val::Nothing);
    }
    if matches!(a, Val::Failed) || matches!(b, Val::Failed) {
        return Ok(Val::Failed);
    }
    let (a, b) = (interp.value(node, a)?, interp.value(node, b)?);
    if interp.shape(a) != interp.shape(b) {
        return Err(node.unsupported(format!("branches of {} and {}", interp.ty(a), interp.ty(b))));
    }
    let out = interp.add(node, Where {}, &[condition, a, b])?;
    Ok(interp.val(out))
}

/// TensorFlow 1's branch: data, condition.
pub fn switch<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, condition] = inputs(node, vals)?;
    match is_true(interp, condition) {
        Some(true) => Ok(vec![Val::Nothing, x.clone()]),
        Some(false) => Ok(vec![x.clone(), Val::Nothing]),
        None => Err(node.unsupported("a branch that is chosen by data, as TensorFlow 1 writes it")),
    }
}

/// Whichever branch was taken.
pub fn merge<'a>(_interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    if vals.iter().any(|val| matches!(val, Val::Failed)) {
        return Ok(vec![Val::Failed]);
    }
    let taken = vals.iter().position(|val| !matches!(val, Val::Nothing));
    let taken = taken.ok_or_else(|| node.bad("no branch is taken"))?;
    Ok(vec![vals[taken].clone(), Ints::scalar(DType::I32, Int::N(taken as i64)).val()])
}

/// What a variable of a loop turns out to be.
#[derive(Clone)]
enum Role {
    /// The same in each step.
    Fixed,
    /// 0, 1, 2, ...
    Counter,
    /// A list that the loop fills.
    Filled,
    /// A tensor that changes: its place among the states.
    State(usize),
}

/// `while condition(v): v = body(v)` as a walk over time.
pub fn repeat<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    if vals.iter().any(|val| matches!(val, Val::Failed)) {
        return Ok(vec![Val::Failed]);
    }
    let (condition, body) = (node.function("cond")?, node.function("body")?);
    let roles = roles(interp, node, &body, vals)?;
    let trips = trips(interp, node, &condition, vals, &roles)?;
    let mut states = Vec::new();
    for (val, role) in vals.iter().zip(&roles) {
        if let Role::State(_) = role {
            states.push(interp.value(node, val)?);
        }
    }
    let mut frame = Frame::new(Graph::new(format!("{}/step", node.name)));
    frame.trips = Some(trips.clone());
    let mut inner = Vec::new();
    for (at, &state) in states.iter().enumerate() {
        inner.push(frame.graph.input(format!("state{at}"), interp.ty(state)));
    }
    interp.frames.push(frame);
    let stepped = step(interp, node, &body, vals, &roles, &inner);
    let frame = interp.frames.pop().ok_or_else(|| node.bad("a loop without its frame"))?;
    let Some(step) = stepped? else { return Ok(vec![Val::Failed]) };
    finish(interp, node, frame, Walk { vals, roles: &roles, states, inner, step, trips })
}

/// What variables come back unchanged, and what is counted, stands in the body itself.
fn roles<'a>(interp: &Interp<'a>, node: &Node<'a>, body: &str, vals: &[Val]) -> Result<Vec<Role>, Diag> {
    let body = interp.library.function(body)?;
    if body.arguments.len() != vals.len() || body.results.len() != vals.len() {
        return Err(node.bad("a body that does not give back what it takes"));
    }
    let mut states = 0;
    let mut roles = Vec::new();
    for (at, val) in vals.iter().enumerate() {
        let origin = through_identities(&body, body.results[at]);
        let fixed = origin == body.arguments[at];
        let is_zero = interp.ints(val).and_then(|ints| ints.known()).is_some_and(|known| known == [0]);
        roles.push(match val {
            _ if fixed => Role::Fixed,
            Val::List(_) => Role::Filled,
            _ if is_zero && counts(interp, &body, origin, at, vals) => Role::Counter,
            _ => {
                states += 1;
                Role::State(states - 1)
            }
        });
    }
    Ok(roles)
}

fn through_identities<'b>(body: &super::super::def::Body<'b>, mut name: &'b str) -> &'b str {
    for _ in 0..64 {
        let Some(node) = body.find(name.split(':').next().unwrap_or(name)).map(|at| &body.nodes[at]) else { break };
        match node.data().next() {
            Some(input) if node.op == "Identity" => name = input,
            _ => break,
        }
    }
    name
}

/// Is this the argument plus one?
fn counts<'b>(interp: &Interp<'b>, body: &super::super::def::Body<'b>, name: &str, at: usize, vals: &[Val]) -> bool {
    let argument = body.arguments[at];
    let Some(node) = body.find(name.split(':').next().unwrap_or(name)).map(|at| &body.nodes[at]) else { return false };
    let terms: Vec<&str> = node.data().map(|input| through_identities(body, input)).collect();
    let is_one = |name: &str| {
        // A step that is a variable of the loop, too.
        if let Some(at) = body.arguments.iter().position(|argument| *argument == name) {
            return interp.ints(&vals[at]).and_then(|ints| ints.known()).is_some_and(|known| known == [1]);
        }
        let node = body.find(name.split(':').next().unwrap_or(name)).map(|at| &body.nodes[at]);
        let proto = node.filter(|node| node.op == "Const").and_then(|node| node.tensor("value").ok());
        let tensor = proto.and_then(|proto| super::super::literal::read(name, proto, &interp.origin).ok());
        tensor.and_then(|tensor| Ints::of_tensor(&tensor)?.known()).is_some_and(|known| known == [1])
    };
    let sums = matches!(node.op, "Add" | "AddV2") && terms.len() == 2;
    sums && ((terms[0] == argument && is_one(terms[1])) || (terms[1] == argument && is_one(terms[0])))
}

/// How often the condition lets the body run.
fn trips<'a>(
    interp: &mut Interp<'a>,
    node: &Node<'a>,
    condition: &str,
    vals: &[Val],
    roles: &[Role],
) -> Result<Dim, Diag> {
    let seen = |(val, role): (&Val, &Role)| match role {
        Role::Counter => Val::Counter,
        Role::Fixed => val.clone(),
        Role::Filled | Role::State(_) => Val::Failed,
    };
    let arguments: Vec<Val> = vals.iter().zip(roles).map(seen).collect();
    let outer = std::mem::replace(&mut interp.deciding, true);
    let found = interp.call(node, condition, &arguments);
    interp.deciding = outer;
    let found = found?;
    let Some(Val::Below(limits)) = found.first() else {
        return Err(node.unsupported("a loop that ends by what it computes"));
    };
    let known: Option<i64> = limits.iter().filter_map(Int::known).min();
    let free: Vec<Dim> = limits.iter().filter(|limit| limit.known().is_none()).filter_map(Int::dim).collect();
    match (known, free.as_slice()) {
        (Some(known), []) => u64::try_from(known).map(Dim::Known).map_err(|_| node.bad("a loop that never runs")),
        (None, [first, rest @ ..]) if rest.iter().all(|dim| dim == first) => Ok(first.clone()),
        // A bound that no sequence reaches, beside the length itself.
        (Some(known), [first, rest @ ..]) if known >= i64::from(i32::MAX) && rest.iter().all(|dim| dim == first) => {
            Ok(first.clone())
        }
        _ => Err(node.unsupported(format!("a loop with several ends: {limits:?}"))),
    }
}

/// What one step leaves.
struct Step {
    /// New states, in order.
    states: Vec<ValueId>,
    /// For each filled list: the variable, what the step writes, and whether only the last one stays.
    items: Vec<(usize, ValueId, bool)>,
}

/// Builds the body; none where something in it could not be lowered.
fn step<'a>(
    interp: &mut Interp<'a>,
    node: &Node<'a>,
    body: &str,
    vals: &[Val],
    roles: &[Role],
    inner: &[ValueId],
) -> Result<Option<Step>, Diag> {
    let mut arguments = Vec::new();
    for (at, (val, role)) in vals.iter().zip(roles).enumerate() {
        arguments.push(match role {
            Role::Fixed => val.clone(),
            Role::Counter => Val::Counter,
            Role::Filled => Val::List(Rc::new(List::Reserved { len: None, of: Some(at) })),
            Role::State(n) => interp.val(inner[*n]),
        });
    }
    let results = interp.call(node, body, &arguments)?;
    let mut step = Step { states: Vec::new(), items: Vec::new() };
    for (at, (result, role)) in results.iter().zip(roles).enumerate() {
        match (role, result) {
            (_, Val::Failed) => return Ok(None),
            (Role::Fixed | Role::Counter, _) => {}
            (Role::Filled, Val::List(list)) => match &**list {
                List::Written { of, item, last } if *of == at => {
                    let item = interp.value(node, item)?;
                    step.items.push((at, item, *last));
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
    trips: Dim,
}

/// The loop as a Scan, and its variables afterwards.
fn finish<'a>(interp: &mut Interp<'a>, node: &Node<'a>, mut frame: Frame, mut walk: Walk<'_>) -> Out {
    if frame.scanned.is_empty() {
        // Only its length is walked over.
        interp.frames.push(frame);
        let counted = interp.value(node, &Val::Counter);
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
    for (at, (_, item, _)) in walk.step.items.iter().enumerate() {
        body.output(format!("item{at}"), *item);
    }
    let states = walk.states.len() + captured.len();
    let inputs: Vec<ValueId> = walk
        .states
        .iter()
        .copied()
        .chain(captured.iter().map(|pair| pair.0))
        .chain(scanned.iter().map(|pair| pair.0))
        .collect();
    let after = &walk.step.states;
    let finals: Vec<Option<usize>> = walk
        .step
        .items
        .iter()
        .map(|(_, item, last)| after.iter().position(|state| state == item).filter(|_| *last))
        .collect();
    let outputs = interp.add_node(node, Op::from(Scan { body: Box::new(body), states, reverse: false }), &inputs)?;
    let mut lists = Vec::new();
    for (at, (variable, _, last)) in walk.step.items.iter().enumerate() {
        let stacked = outputs[states + at];
        let list = match (finals[at], *last) {
            (Some(state), _) => List::Items(vec![interp.val(outputs[state])]),
            (None, true) => List::Items(vec![last_of(interp, node, stacked, &walk.trips)?]),
            (None, false) if flat[at] => {
                let row = interp.graph().reshape(node.name, stacked, vec![walk.trips.clone()])?;
                List::Of { tensor: interp.val(row), axis: 0 }
            }
            (None, false) => List::Of { tensor: interp.val(stacked), axis: 1 },
        };
        lists.push((*variable, Val::List(Rc::new(list))));
    }
    let result = |(at, role): (usize, &Role)| match role {
        Role::Fixed => walk.vals[at].clone(),
        Role::Counter => Ints::scalar(DType::I32, Int::of(walk.trips.clone())).val(),
        Role::State(n) => interp.val(outputs[*n]),
        Role::Filled => lists.iter().find(|list| list.0 == at).map_or(Val::Failed, |list| list.1.clone()),
    };
    Ok(walk.roles.iter().enumerate().map(result).collect())
}

/// Elements without a batch axis get one, as time is axis 1. Which ones these were.
fn with_batch(node: &Node<'_>, body: &mut Graph, items: &mut [(usize, ValueId, bool)]) -> Result<Vec<bool>, Diag> {
    let mut flat = Vec::new();
    for (_, item, _) in items {
        let scalar = body.shape(*item).is_empty();
        flat.push(scalar);
        if scalar {
            *item = body.reshape(node.name, *item, vec![Dim::Known(1)])?;
        }
    }
    Ok(flat)
}

/// The last step of what a loop stacked along axis 1.
fn last_of<'a>(interp: &mut Interp<'a>, node: &Node<'a>, stacked: ValueId, trips: &Dim) -> Result<Val, Diag> {
    let start = trips.offset(-1).ok_or_else(|| node.bad("a loop that never runs"))?;
    let part = interp.graph().slice(node.name, stacked, 1, start, trips.clone())?;
    let part = interp.graph().squeeze(node.name, part, 1)?;
    Ok(one(interp, part)?.remove(0))
}
