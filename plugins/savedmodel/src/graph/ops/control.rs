//! Functions, branches and loops.

use super::super::counter::Counter;
use super::super::def::{Body, Edge, Node};
use super::super::flow::{Loop, through_identities};
use super::super::interp::{Frame, Interp};
use super::super::literal;
use super::super::value::{Int, Ints, List, Val};
use super::super::walk::Given;
use super::{inputs, one};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    Binary, BinaryFunction, Cast, Clip, Concat, DType, Dim, Graph, Op, Reverse, Scan, ValueId, Where,
};
use std::collections::HashMap;
use std::rc::Rc;

type Out = Result<Vec<Val>, Diag>;

pub fn call<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    interp.call(node, &node.function("f")?, vals)
}

pub fn is_true(interp: &Interp<'_>, val: &Val) -> Option<bool> {
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

/// TensorFlow 1's branch: data, condition. Where data chooses, both sides are computed, and `choose` picks.
pub fn switch<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, condition] = inputs(node, vals)?;
    Ok(match is_true(interp, condition) {
        Some(true) => vec![Val::Nothing, x.clone()],
        Some(false) => vec![x.clone(), Val::Nothing],
        None => vec![x.clone(), x.clone()],
    })
}

/// A Merge that is no branch's: where at most one of its inputs is ever there.
pub fn merge<'a>(_interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    if vals.iter().any(|val| matches!(val, Val::Failed)) {
        return Ok(vec![Val::Failed]);
    }
    let mut taken = vals.iter().enumerate().filter(|(_, val)| !matches!(val, Val::Nothing));
    match (taken.next(), taken.next()) {
        (Some((at, val)), None) => Ok(vec![val.clone(), number(at)]),
        (None, _) => Ok(vec![Val::Nothing]),
        (Some(_), Some(_)) => Err(node.unsupported("no one condition says which of its inputs there is")),
    }
}

fn number(at: usize) -> Val {
    Ints::scalar(DType::I32, Int::N(at as i64)).val()
}

/// What a branch of TensorFlow 1 gives, and which input of its Merge that was. `sides` is the side that is taken where
/// the condition is known, else the true one and the false one.
pub fn choose<'a>(interp: &mut Interp<'a>, node: &Node<'a>, when_true: usize, condition: &Val, sides: &[Val]) -> Out {
    match sides {
        [] => Ok(vec![condition.clone()]),
        [Val::Failed] => Ok(vec![Val::Failed]),
        [taken] => {
            let is_true = is_true(interp, condition).unwrap_or(false);
            Ok(vec![taken.clone(), number(if is_true { when_true } else { 1 - when_true })])
        }
        [a, b, ..] => {
            let condition = interp.value(node, condition)?;
            let chosen = chosen(interp, node, condition, a, b)?;
            Ok(vec![chosen])
        }
    }
}

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

/// How a loop is spelled: by two functions, or as a frame of TensorFlow 1.
enum Spelled<'f, 'a> {
    Functions { condition: String, name: String, body: Rc<Body<'a>> },
    Frame(&'f FrameLoop<'f, 'a>),
}

pub struct FrameLoop<'f, 'a> {
    pub body: &'f Body<'a>,
    pub of: &'f Loop,
    pub arguments: &'f [Val],
    /// What is known where the loop stands, and what enters it to stay.
    pub nodes: HashMap<usize, Vec<Val>>,
}

impl<'a> FrameLoop<'_, 'a> {
    /// A part of the loop, its variables being these.
    fn part(&self, interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val], wanted: &[&str]) -> Out {
        let mut nodes = self.nodes.clone();
        for (variable, val) in self.of.variables.iter().zip(vals) {
            nodes.insert(variable.merge, vec![val.clone(), Val::Nothing]);
            nodes.extend(variable.switch.map(|switch| (switch, vec![Val::Nothing, val.clone()])));
        }
        let given = Given { arguments: self.arguments, nodes: &nodes };
        interp.inside(node, node.name, |interp| interp.part(self.body, given, wanted))
    }
}

impl<'a> Spelled<'_, 'a> {
    fn body(&self) -> &Body<'a> {
        match self {
            Spelled::Functions { body, .. } => body,
            Spelled::Frame(frame) => frame.body,
        }
    }

    fn condition(&self, interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
        match self {
            Spelled::Functions { condition, .. } => interp.call(node, condition, vals),
            Spelled::Frame(frame) => {
                let condition = frame.of.condition.ok_or_else(|| node.bad("a loop without a condition"))?;
                let wanted: Vec<&str> = frame.body.nodes[condition].data().collect();
                frame.part(interp, node, vals, &wanted)
            }
        }
    }

    fn step(&self, interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
        match self {
            Spelled::Functions { name, .. } => interp.call(node, name, vals),
            Spelled::Frame(frame) => frame.part(interp, node, vals, &self.results()),
        }
    }

    /// Where each variable comes from after a step.
    fn results(&self) -> Vec<&'a str> {
        match self {
            Spelled::Functions { body, .. } => body.results.clone(),
            Spelled::Frame(frame) => {
                let nexts = frame.of.variables.iter().map(|variable| &frame.body.nodes[variable.next]);
                nexts.map(|next| next.data().next().unwrap_or("")).collect()
            }
        }
    }

    /// The variable that this is, before the step.
    fn variable(&self, edge: Edge) -> Option<usize> {
        match self {
            Spelled::Functions { .. } => match edge {
                Edge::Argument(at) => Some(at),
                Edge::Output { .. } | Edge::Nowhere => None,
            },
            Spelled::Frame(frame) => frame.of.variables.iter().position(|variable| match edge {
                Edge::Output { node, output: 0 } => node == variable.merge,
                Edge::Output { node, output: 1 } => Some(node) == variable.switch,
                Edge::Output { .. } | Edge::Argument(_) | Edge::Nowhere => false,
            }),
        }
    }

    /// A number that stands in the body, or that enters the loop to stay.
    fn number(&self, interp: &Interp<'a>, edge: Edge) -> Option<i64> {
        let node = edge.node()?;
        if let Spelled::Frame(frame) = self
            && let Some(known) = frame.nodes.get(&node)
        {
            return single(interp, known.first()?);
        }
        let node = &self.body().nodes[node];
        let proto = node.tensor("value").ok().filter(|_| node.op == "Const")?;
        let tensor = literal::read(node.name, proto, &interp.origin).ok()?;
        Ints::of_tensor(&tensor)?.known()?.first().copied()
    }
}

fn single(interp: &Interp<'_>, val: &Val) -> Option<i64> {
    match interp.ints(val)?.known()?.as_slice() {
        [known] => Some(*known),
        _ => None,
    }
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
    let roles = roles(interp, form, vals);
    let trips = trips(interp, node, form, vals, &roles)?;
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

/// How often a loop runs.
struct Trips {
    /// This often, unless an end comes first.
    count: Dim,
    /// Scalars: at the step of that number, and after it, nothing changes any more.
    ends: Vec<Val>,
}

/// How often the condition lets the body run.
fn trips<'a>(
    interp: &mut Interp<'a>,
    node: &Node<'a>,
    form: &Spelled<'_, 'a>,
    vals: &[Val],
    roles: &[Role],
) -> Result<Trips, Diag> {
    let depth = interp.depth() + 1;
    let seen = |(val, role): (&Val, &Role)| match role {
        Role::Counter { down } => counter_of(interp, val, *down, depth),
        Role::Fixed => val.clone(),
        Role::Filled | Role::State(_) => Val::Failed,
    };
    let arguments: Vec<Val> = vals.iter().zip(roles).map(seen).collect();
    let outer = std::mem::replace(&mut interp.deciding, true);
    let found = form.condition(interp, node, &arguments);
    interp.deciding = outer;
    let found = found?;
    let Some(Val::Below(limits)) = found.first() else {
        return Err(endless(node));
    };
    let mut bounds = Bounds::default();
    limits.iter().for_each(|limit| bounds.add(interp, limit));
    bounds.trips(node)
}

fn endless(node: &Node<'_>) -> Diag {
    node.unsupported("a loop that ends by what it computes")
        .hint("give it a limit that is known before it runs: `maximum_iterations=`, or a counter below a size")
}

/// Everything that a loop's counter stays below.
#[derive(Default)]
struct Bounds {
    known: Option<i64>,
    free: Vec<Dim>,
    data: Vec<Val>,
}

impl Bounds {
    fn add(&mut self, interp: &Interp<'_>, limit: &Val) {
        let element = interp.ints(limit).and_then(|ints| ints.elements.first().cloned());
        match (element, limit) {
            (Some(Int::N(n)), _) => self.known = Some(self.known.map_or(n, |known| known.min(n))),
            (Some(Int::D(dim)), _) => {
                // What can be told apart: the smaller of a length and one less.
                let less = |a: &Dim, b: &Dim| Int::D(b.clone()).sub(&Int::D(a.clone())).and_then(|by| by.known());
                if self.free.iter().any(|other| less(other, &dim).is_some_and(|by| by >= 0)) {
                    return;
                }
                self.free.retain(|other| less(&dim, other).is_none_or(|by| by < 0));
                self.free.push(dim);
            }
            (None, Val::Tensor { depth, value }) => {
                // The least of several limits: each of them is one.
                let graph = &interp.frames[*depth].graph;
                let maker = graph.nodes().iter().find(|maker| maker.outputs.contains(value));
                let parts = maker.map(|maker| (&maker.op, maker.inputs.iter().flatten()));
                let tensor = |value: &ValueId| Val::Tensor { depth: *depth, value: *value };
                match parts {
                    Some((Op::Binary(Binary { function: BinaryFunction::Min }), parts)) => {
                        parts.for_each(|part| self.add(interp, &tensor(part)));
                    }
                    Some((Op::Cast(_), mut parts)) => match parts.next() {
                        Some(whole) if graph.ty(*whole).dtype.is_int() => self.add(interp, &tensor(whole)),
                        Some(_) | None => self.data.push(limit.clone()),
                    },
                    Some((Op::DimSize(size), _)) => {
                        let size = Ints::scalar(DType::I32, Int::of(size.dim.clone())).val();
                        self.add(interp, &size);
                    }
                    Some((Op::Constant(constant), _)) if Ints::of_tensor(&constant.tensor).is_some() => {
                        self.add(interp, &Val::Known(Rc::new(constant.tensor.clone())));
                    }
                    Some(_) | None => self.data.push(limit.clone()),
                }
            }
            (None, _) => self.data.push(limit.clone()),
        }
    }

    fn trips(self, node: &Node<'_>) -> Result<Trips, Diag> {
        let scalar = |int: Int| Ints::scalar(DType::I32, int).val();
        let mut free = self.free.into_iter();
        match (free.next(), self.known) {
            (Some(count), known) => {
                // A bound that no sequence reaches, beside the length itself.
                let known = known.filter(|known| *known < i64::from(i32::MAX));
                let ends = free.map(Int::D).chain(known.map(Int::N)).map(scalar).chain(self.data).collect();
                Ok(Trips { count, ends })
            }
            (None, Some(known)) => {
                let count = u64::try_from(known).ok().filter(|count| *count < u64::from(i32::MAX as u32));
                let count =
                    count.ok_or_else(|| if known < 0 { node.bad("a loop that never runs") } else { endless(node) })?;
                Ok(Trips { count: Dim::Known(count), ends: self.data })
            }
            (None, None) => Err(endless(node)),
        }
    }
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
