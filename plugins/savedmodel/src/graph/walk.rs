//! Walks a graph, or a part of it, from what is wanted back to what is given. Only data is followed: what merely has to
//! happen before something else (assertions, prints) computes nothing. Of a branch whose condition is known, only the
//! side that is taken is looked at; a loop of TensorFlow 1 is lowered in one piece when something asks for a result.

use super::def::{Body, Edge, Node};
use super::flow::{Choice, Flow, Part};
use super::interp::Interp;
use super::ops::{control, loops, spelled};
use super::value::Val;
use recast_plugin_api::diag::{Code, Diag};
use std::collections::HashMap;

/// What stands for the inputs of a body: a function's arguments in order, and all outputs of nodes by number.
#[derive(Clone, Copy)]
pub struct Given<'g> {
    pub arguments: &'g [Val],
    pub nodes: &'g HashMap<usize, Vec<Val>>,
}

struct Walk<'w, 'a> {
    body: &'w Body<'a>,
    flow: &'w Flow,
    given: Given<'w>,
    /// Outputs by node; none while it waits for its inputs.
    done: HashMap<usize, Option<Vec<Val>>>,
    /// Variables of loops after them.
    loops: HashMap<usize, Vec<Val>>,
}

impl<'a> Interp<'a> {
    /// The values that `wanted` refers to. Errors are those that end everything; what can't be lowered is `Failed`.
    pub fn run(&mut self, body: &Body<'a>, given: Given<'_>, wanted: &[&str]) -> Result<Vec<Val>, Diag> {
        let flow = body.flow()?;
        for name in wanted {
            let node = body.edge(name).and_then(Edge::node).filter(|at| !given.nodes.contains_key(at));
            if let Some(at) = node.filter(|at| flow.is_inside(*at) && !matches!(flow.part(*at), Some(Part::Odd(_)))) {
                return Err(body.nodes[at].bad("a value that never leaves its loop: nothing but an Exit does"));
            }
        }
        self.part(body, given, wanted)
    }

    /// As `run`, within a loop.
    pub fn part(&mut self, body: &Body<'a>, given: Given<'_>, wanted: &[&str]) -> Result<Vec<Val>, Diag> {
        let flow = body.flow()?;
        let mut walk = Walk { body, flow, given, done: HashMap::new(), loops: HashMap::new() };
        let mut stack: Vec<(usize, usize)> = Vec::new();
        for name in wanted {
            if let Edge::Output { node, .. } = walk.edge(name)?
                && walk.begin(node)?
            {
                stack.push((node, 0));
            }
            while let Some((at, next)) = stack.pop() {
                if let Some(needed) = walk.need(self, at, next)? {
                    stack.push((at, next + 1));
                    if let Edge::Output { node, .. } = needed
                        && walk.begin(node)?
                    {
                        stack.push((node, 0));
                    }
                } else {
                    let out = walk.compute(self, at)?;
                    walk.done.insert(at, Some(out));
                }
            }
        }
        wanted.iter().map(|name| walk.find(name)).collect()
    }
}

impl<'a> Walk<'_, 'a> {
    fn edge(&self, name: &str) -> Result<Edge, Diag> {
        let missing = || Diag::new(Code::Malformed, name, "the graph refers to a node that it does not hold");
        self.body.edge(name).ok_or_else(missing)
    }

    /// Is the node to be walked? Not again, where it was.
    fn begin(&mut self, node: usize) -> Result<bool, Diag> {
        match self.done.get(&node) {
            Some(Some(_)) => Ok(false),
            Some(None) => {
                let detail = "nodes that wait for each other, and no step of a loop is between them";
                Err(Diag::new(Code::Malformed, self.body.nodes[node].name, detail))
            }
            None => {
                self.done.insert(node, None);
                Ok(true)
            }
        }
    }

    /// What a node still needs after `next` other values.
    fn need(&self, interp: &Interp<'a>, at: usize, next: usize) -> Result<Option<Edge>, Diag> {
        if self.given.nodes.contains_key(&at) {
            return Ok(None);
        }
        let node = &self.body.nodes[at];
        match self.flow.part(at) {
            Some(Part::Exit { number, .. }) => {
                let entering = self.flow.loops[number].entering().nth(next);
                Ok(entering.map(|node| Edge::Output { node, output: 0 }))
            }
            Some(Part::Choice(choice)) => match next {
                0 => self.edge(self.condition(choice)?).map(Some),
                number => {
                    let sides = self.sides(interp, node, choice)?;
                    sides.get(number - 1).map(|side| self.edge(side)).transpose()
                }
            },
            Some(Part::Inside { .. }) => Err(node.bad("a value of a loop outside of it")),
            Some(Part::Odd(why)) => Err(node.bad(why)),
            None => node.data().nth(next).map(|name| self.edge(name)).transpose(),
        }
    }

    fn condition(&self, choice: Choice) -> Result<&'a str, Diag> {
        let switch = &self.body.nodes[choice.switch];
        switch.data().nth(1).ok_or_else(|| switch.bad("no condition"))
    }

    /// What a branch gives, as far as it has to be known: the side that is taken, where that is known.
    fn sides(&self, interp: &Interp<'a>, node: &Node<'a>, choice: Choice) -> Result<Vec<&'a str>, Diag> {
        let condition = self.find(self.condition(choice)?)?;
        let both: Vec<&str> = node.data().collect();
        let when_false = 1 - choice.when_true;
        Ok(match control::is_true(interp, &condition) {
            Some(true) => vec![both[choice.when_true]],
            Some(false) => vec![both[when_false]],
            None if matches!(condition, Val::Failed | Val::Nothing) => Vec::new(),
            None => vec![both[choice.when_true], both[when_false]],
        })
    }

    fn compute(&mut self, interp: &mut Interp<'a>, at: usize) -> Result<Vec<Val>, Diag> {
        if let Some(known) = self.given.nodes.get(&at) {
            return Ok(known.clone());
        }
        let node = &self.body.nodes[at];
        match self.flow.part(at) {
            Some(Part::Exit { number, variable }) => {
                interp.count(node)?;
                if !self.loops.contains_key(&number) {
                    let after = self.repeat(interp, node, number)?;
                    self.loops.insert(number, after);
                }
                // Of a loop that could not be lowered, one finding stands for all results.
                Ok(vec![self.loops[&number].get(variable).cloned().unwrap_or(Val::Failed)])
            }
            Some(Part::Choice(choice)) => {
                interp.count(node)?;
                let condition = self.find(self.condition(choice)?)?;
                let sides = self.sides(interp, node, choice)?;
                let sides: Vec<Val> = sides.into_iter().map(|side| self.find(side)).collect::<Result<_, _>>()?;
                interp.settled(|interp| control::choose(interp, node, choice.when_true, &condition, &sides))
            }
            Some(Part::Inside { .. } | Part::Odd(_)) | None => {
                let inputs: Vec<Val> = node.data().map(|input| self.find(input)).collect::<Result<_, _>>()?;
                interp.node(node, &inputs)
            }
        }
    }

    fn repeat(&self, interp: &mut Interp<'a>, node: &Node<'a>, number: usize) -> Result<Vec<Val>, Diag> {
        let of = &self.flow.loops[number];
        let entered = |at: &usize| self.done.get(at).cloned().flatten().unwrap_or_default();
        let vals: Vec<Val> =
            of.variables.iter().map(|v| entered(&v.enter).first().cloned().unwrap_or(Val::Failed)).collect();
        let mut nodes = self.given.nodes.clone();
        nodes.extend(of.fixed.iter().map(|at| (*at, entered(at))));
        let frame = spelled::FrameLoop { body: self.body, of, arguments: self.given.arguments, nodes };
        interp.settled(|interp| loops::repeat_frame(interp, node, &frame, &vals))
    }

    fn find(&self, name: &str) -> Result<Val, Diag> {
        let (node, output) = match self.edge(name)? {
            Edge::Argument(at) => return Ok(self.given.arguments.get(at).cloned().unwrap_or(Val::Failed)),
            Edge::Output { node, output } => (node, output),
            Edge::Nowhere => return Ok(Val::Failed),
        };
        let found = self.done.get(&node).and_then(Option::as_deref).unwrap_or(&[]);
        match (found.get(output), found) {
            (Some(val), _) => Ok(val.clone()),
            (None, [Val::Failed]) => Ok(Val::Failed),
            (None, [Val::Nothing]) => Ok(Val::Nothing),
            (None, _) => {
                let (at, node) = (node, &self.body.nodes[node]);
                if let Some(Part::Choice(_)) = self.flow.part(at) {
                    return Err(node.unsupported("which side of a branch was taken, as a number"));
                }
                Err(node.bad(format!("something takes its output {output}, it has {}", found.len())))
            }
        }
    }
}
