//! Control flow as TensorFlow 1 writes it into a graph, found again.
//!
//! A loop is a frame, which everything enters through an `Enter`. What a step changes meets what the step before left
//! in a `Merge`; a `Switch` lets it into another step, or out:
//!
//! ```text
//! Enter -> Merge -> Switch -- true -> body -> NextIteration -> (the Merge)
//!            |        ^   `-- false -> Exit
//!            `-> condition -> LoopCond
//! ```
//!
//! A branch is a `Switch` for each value that it takes, and a `Merge` for each that it gives. Which condition a `Merge`
//! belongs to stands nowhere: it is the one that one of its inputs needs to be true, and the other to be false.

use super::def::{Body, Edge, Node};
use recast_plugin_api::diag::{Code, Diag};
use std::collections::HashMap;
use std::rc::Rc;

/// Branches, and loops, inside each other.
pub const NESTED_MAX: usize = 64;

pub struct Flow {
    pub loops: Vec<Loop>,
    parts: HashMap<usize, Part>,
    /// The loops of Enters.
    entered: HashMap<usize, usize>,
    /// Of each node, the loop that it runs in.
    frames: Vec<Option<usize>>,
}

/// What a node is in a loop or a branch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part {
    /// A variable of a loop after it.
    Exit {
        number: usize,
        variable: usize,
    },
    /// The Merge or Switch of a variable of a loop: has a value only while it runs.
    Inside {
        number: usize,
    },
    Choice(Choice),
    /// Of no loop that could run: what is wrong with it.
    Odd(&'static str),
}

/// What a branch gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// A Switch of the branch: its second input is the condition.
    pub switch: usize,
    /// The place among the inputs of the Merge of what the true branch computes.
    pub when_true: usize,
}

pub struct Loop {
    pub variables: Vec<Variable>,
    /// Enters of what stays the same.
    pub fixed: Vec<usize>,
    /// The LoopCond, if it has one that all of its variables ask.
    pub condition: Option<usize>,
}

/// The nodes that a variable of a loop passes.
pub struct Variable {
    pub enter: usize,
    pub merge: usize,
    pub switch: Option<usize>,
    /// The NextIteration.
    pub next: usize,
}

impl Loop {
    /// What has to be known before the loop runs: variables, then what stays the same.
    pub fn entering(&self) -> impl Iterator<Item = usize> {
        self.variables.iter().map(|variable| variable.enter).chain(self.fixed.iter().copied())
    }
}

fn is_enter(node: &Node<'_>) -> bool {
    matches!(node.op, "Enter" | "RefEnter")
}

fn is_next(node: &Node<'_>) -> bool {
    matches!(node.op, "NextIteration" | "RefNextIteration")
}

fn is_merge(node: &Node<'_>) -> bool {
    matches!(node.op, "Merge" | "RefMerge")
}

fn is_switch(node: &Node<'_>) -> bool {
    matches!(node.op, "Switch" | "RefSwitch")
}

fn is_exit(node: &Node<'_>) -> bool {
    matches!(node.op, "Exit" | "RefExit")
}

impl Flow {
    pub fn part(&self, node: usize) -> Option<Part> {
        self.parts.get(&node).copied()
    }

    /// Does this node run in a loop, and not in the graph itself?
    pub fn is_inside(&self, node: usize) -> bool {
        self.frames.get(node).copied().flatten().is_some()
    }

    pub fn read(body: &Body<'_>) -> Result<Flow, Diag> {
        let mut flow = Flow { loops: Vec::new(), parts: HashMap::new(), entered: HashMap::new(), frames: Vec::new() };
        if !body.nodes.iter().any(|node| is_enter(node) || is_merge(node)) {
            return Ok(flow);
        }
        flow.find_loops(body)?;
        Trace::new(body).walk(&mut flow)?;
        flow.leave_unused(body);
        Ok(flow)
    }

    /// Of what enters a loop to stay, only what its condition and its steps compute with: where a graph was trained,
    /// the stacks that keep values for the way back enter, too.
    fn leave_unused(&mut self, body: &Body<'_>) {
        let loops = self.loops.iter().filter_map(|found| Some((found, found.condition?)));
        let ends = loops.flat_map(|(found, condition)| found.variables.iter().map(|v| v.next).chain([condition]));
        let mut ahead: Vec<usize> = ends.collect();
        let mut used = vec![false; body.nodes.len()];
        while let Some(at) = ahead.pop() {
            // Out of all loops there is nothing that enters one.
            if self.frames[at].is_some() && !std::mem::replace(&mut used[at], true) {
                ahead.extend(body.nodes[at].data().filter_map(|name| body.edge(name)?.node()));
            }
        }
        self.loops.iter_mut().for_each(|found| found.fixed.retain(|enter| used[*enter]));
    }

    fn find_loops(&mut self, body: &Body<'_>) -> Result<(), Diag> {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut of_merge: HashMap<usize, (usize, usize)> = HashMap::new();
        for (at, node) in body.nodes.iter().enumerate().filter(|(_, node)| is_merge(node)) {
            let inputs: Vec<usize> = node.data().filter_map(|name| body.edge(name)?.node()).collect();
            let Some(&next) = inputs.iter().find(|&&input| is_next(&body.nodes[input])) else { continue };
            let Some(&enter) = inputs.iter().find(|&&input| is_enter(&body.nodes[input])) else {
                self.parts.insert(at, Part::Odd("a step comes back to where nothing entered"));
                continue;
            };
            let number = self.number_of(&mut numbers, &body.nodes[enter])?;
            self.entered.insert(enter, number);
            of_merge.insert(at, (number, self.loops[number].variables.len()));
            self.loops[number].variables.push(Variable { enter, merge: at, switch: None, next });
            self.parts.insert(at, Part::Inside { number });
        }
        self.find_switches(body, &of_merge);
        for (at, node) in body.nodes.iter().enumerate().filter(|(_, node)| is_enter(node)) {
            if node.flag("is_constant", false)? {
                let number = self.number_of(&mut numbers, node)?;
                self.entered.insert(at, number);
                self.loops[number].fixed.push(at);
            }
        }
        Ok(())
    }

    /// A frame's number, by the name that its Enters have for it.
    fn number_of(&mut self, numbers: &mut HashMap<String, usize>, enter: &Node<'_>) -> Result<usize, Diag> {
        let name = enter.text("frame_name", "")?;
        Ok(*numbers.entry(name).or_insert_with(|| {
            self.loops.push(Loop { variables: Vec::new(), fixed: Vec::new(), condition: None });
            self.loops.len() - 1
        }))
    }

    fn find_switches(&mut self, body: &Body<'_>, of_merge: &HashMap<usize, (usize, usize)>) {
        let mut of_switch = HashMap::new();
        for (at, node) in body.nodes.iter().enumerate().filter(|(_, node)| is_switch(node)) {
            let ends: Vec<Option<usize>> = node.data().map(|name| through_identities(body, name).node()).collect();
            let [Some(data), Some(condition)] = ends[..] else { continue };
            if body.nodes[condition].op != "LoopCond" {
                continue;
            }
            let Some(&(number, variable)) = of_merge.get(&data) else { continue };
            let found = &mut self.loops[number];
            if *found.condition.get_or_insert(condition) != condition {
                self.parts.insert(at, Part::Odd("a loop with two conditions"));
                continue;
            }
            found.variables[variable].switch = Some(at);
            of_switch.insert(at, (number, variable));
            self.parts.insert(at, Part::Inside { number });
        }
        for (at, node) in body.nodes.iter().enumerate().filter(|(_, node)| is_exit(node)) {
            let from = node.data().next().and_then(|name| body.edge(name)?.node());
            let of = from.and_then(|from| of_switch.get(&from));
            let exit = of.map(|&(number, variable)| Part::Exit { number, variable });
            self.parts.insert(at, exit.unwrap_or(Part::Odd("an exit out of no loop")));
        }
    }

    /// Is `outer` the loop that `inner` is, or one around it?
    fn holds(parents: &[Option<usize>], outer: usize, inner: usize) -> bool {
        let mut at = Some(inner);
        for _ in 0..=NESTED_MAX {
            match at {
                Some(number) if number == outer => return true,
                Some(number) => at = parents[number],
                None => return false,
            }
        }
        false
    }
}

/// Where a value comes from, Identities left out.
pub fn through_identities(body: &Body<'_>, name: &str) -> Edge {
    let mut edge = body.edge(name);
    for _ in 0..NESTED_MAX {
        let Some(Edge::Output { node, output: 0 }) = edge else { break };
        let node = &body.nodes[node];
        match node.data().next().and_then(|input| body.edge(input)) {
            Some(input) if matches!(node.op, "Identity" | "RefIdentity") => edge = Some(input),
            _ => break,
        }
    }
    edge.unwrap_or(Edge::Nowhere)
}

/// What must hold for a node to run: numbers of conditions, times two, plus one where it must be true. Sorted.
type Needs = Rc<[u32]>;

/// Follows every node from what it takes, control included.
struct Trace<'b, 'a> {
    body: &'b Body<'a>,
    conditions: HashMap<Edge, u32>,
    /// A Switch for each condition.
    switches: Vec<usize>,
    needs: Vec<Needs>,
    /// The loop around each loop.
    parents: Vec<Option<usize>>,
    /// How many loops are around each, itself counted.
    depths: Vec<usize>,
    none: Needs,
}

impl<'b, 'a> Trace<'b, 'a> {
    fn new(body: &'b Body<'a>) -> Trace<'b, 'a> {
        let none: Needs = Rc::from([]);
        Trace {
            body,
            conditions: HashMap::new(),
            switches: Vec::new(),
            needs: vec![none.clone(); body.nodes.len()],
            parents: Vec::new(),
            depths: Vec::new(),
            none,
        }
    }

    fn walk(&mut self, flow: &mut Flow) -> Result<(), Diag> {
        self.parents = vec![None; flow.loops.len()];
        self.depths = vec![1; flow.loops.len()];
        flow.frames = vec![None; self.body.nodes.len()];
        for at in self.order() {
            let node = &self.body.nodes[at];
            flow.frames[at] = self.frame(flow, at)?;
            if is_merge(node) && flow.part(at).is_none() {
                self.merge(flow, at);
                continue;
            }
            let comes_back = matches!(flow.part(at), Some(Part::Inside { .. })) && is_merge(node);
            let inputs = node.inputs.iter().filter(|name| {
                let from = self.body.edge(name).and_then(Edge::node);
                !(comes_back && from.is_some_and(|from| is_next(&self.body.nodes[from])))
            });
            let mut needs = self.none.clone();
            for name in inputs {
                needs = union(&needs, &self.needs_of(flow, name));
            }
            if needs.len() > NESTED_MAX {
                let detail = format!("branches nested over {NESTED_MAX} deep");
                return Err(Diag::new(Code::LimitExceeded, node.name, detail));
            }
            self.needs[at] = needs;
        }
        Ok(())
    }

    /// Every node after what it takes; where a loop comes back, or nodes wait for each other, from anywhere.
    fn order(&self) -> Vec<usize> {
        let mut seen = vec![false; self.body.nodes.len()];
        let mut order = Vec::with_capacity(seen.len());
        let mut stack: Vec<(usize, usize)> = Vec::new();
        for first in 0..self.body.nodes.len() {
            if !std::mem::replace(&mut seen[first], true) {
                stack.push((first, 0));
            }
            while let Some((at, next)) = stack.pop() {
                let node = &self.body.nodes[at];
                let Some(name) = node.inputs.get(next) else {
                    order.push(at);
                    continue;
                };
                stack.push((at, next + 1));
                let Some(from) = self.body.edge(name).and_then(Edge::node) else { continue };
                let comes_back = is_merge(node) && is_next(&self.body.nodes[from]);
                if !comes_back && !std::mem::replace(&mut seen[from], true) {
                    stack.push((from, 0));
                }
            }
        }
        order
    }

    /// The loop that a node runs in: the innermost of those that its inputs run in.
    fn frame(&mut self, flow: &Flow, at: usize) -> Result<Option<usize>, Diag> {
        let node = &self.body.nodes[at];
        let mut deepest: Option<usize> = None;
        for name in &node.inputs {
            let Some(from) = self.body.edge(name).and_then(Edge::node) else { continue };
            deepest = match (deepest, flow.frames[from]) {
                (Some(one), Some(other)) if Flow::holds(&self.parents, other, one) => Some(one),
                (one, None) => one,
                (_, other) => other,
            };
        }
        if let Some(Part::Exit { number, .. }) = flow.part(at) {
            return Ok(self.parents[number]);
        }
        let Some(&number) = flow.entered.get(&at) else { return Ok(deepest) };
        if let Some(outer) = deepest.filter(|outer| *outer != number && self.parents[number].is_none()) {
            self.parents[number] = Some(outer);
            self.depths[number] = self.depths[outer] + 1;
            if self.depths[number] > NESTED_MAX {
                let detail = format!("loops nested over {NESTED_MAX} deep");
                return Err(Diag::new(Code::LimitExceeded, node.name, detail));
            }
        }
        Ok(Some(number))
    }

    /// What must hold for this input to be there.
    fn needs_of(&mut self, flow: &Flow, name: &str) -> Needs {
        let Some(Edge::Output { node, output }) = self.body.edge(name) else { return self.none.clone() };
        let needs = self.needs[node].clone();
        let switch = &self.body.nodes[node];
        if name.starts_with('^') || !is_switch(switch) || flow.part(node).is_some() {
            return needs;
        }
        let Some(condition) = switch.data().nth(1) else { return needs };
        let condition = through_identities(self.body, condition);
        let fresh = self.switches.len() as u32;
        let number = *self.conditions.entry(condition).or_insert_with(|| {
            self.switches.push(node);
            fresh
        });
        union(&needs, &[number * 2 + u32::from(output == 1)])
    }

    /// Finds the condition that tells the inputs of a Merge apart.
    fn merge(&mut self, flow: &mut Flow, at: usize) {
        let node = &self.body.nodes[at];
        let sides: Vec<Needs> = node.data().map(|name| self.needs_of(flow, name)).collect();
        let [first, second] = sides.as_slice() else { return };
        let opposite = first.iter().find(|need| second.contains(&(**need ^ 1))).copied();
        let alone = |these: &Needs, others: &Needs| {
            let mut own = these.iter().filter(|need| !others.contains(need));
            own.next().copied().filter(|_| own.next().is_none())
        };
        // A constant that was cut off from its branch is what is left when the other one is not taken.
        let of_first = opposite.or_else(|| match (alone(first, second), alone(second, first)) {
            (Some(need), None) if second.iter().all(|other| first.contains(other)) => Some(need),
            (None, Some(need)) if first.iter().all(|other| second.contains(other)) => Some(need ^ 1),
            _ => None,
        });
        let Some(of_first) = of_first else { return };
        let switch = self.switches[of_first as usize / 2];
        let when_true = usize::from(of_first % 2 == 0);
        flow.parts.insert(at, Part::Choice(Choice { switch, when_true }));
        let shared: Needs = first.iter().filter(|need| second.contains(need)).copied().collect();
        let control = node.inputs.iter().filter(|name| name.starts_with('^'));
        self.needs[at] = control.fold(shared, |needs, name| union(&needs, &self.needs_of(flow, name)));
    }
}

/// Both, sorted.
fn union(a: &Needs, b: &[u32]) -> Needs {
    if b.iter().all(|need| a.contains(need)) {
        return a.clone();
    }
    let mut all: Vec<u32> = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    all.dedup();
    all.into()
}
