//! Loops as TensorFlow spells them: what their variables are, their condition and one step.

use super::super::def::{Body, Edge, Node};
use super::super::flow::Loop;
use super::super::interp::Interp;
use super::super::literal;
use super::super::value::{Ints, Val};
use super::super::walk::Given;
use recast_plugin_api::diag::Diag;
use std::collections::HashMap;
use std::rc::Rc;

type Out = Result<Vec<Val>, Diag>;

/// How a loop is spelled: by two functions, or as a frame of TensorFlow 1.
pub enum Spelled<'f, 'a> {
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
    pub fn body(&self) -> &Body<'a> {
        match self {
            Spelled::Functions { body, .. } => body,
            Spelled::Frame(frame) => frame.body,
        }
    }

    pub fn condition(&self, interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
        match self {
            Spelled::Functions { condition, .. } => interp.call(node, condition, vals),
            Spelled::Frame(frame) => {
                let condition = frame.of.condition.ok_or_else(|| node.bad("a loop without a condition"))?;
                let wanted: Vec<&str> = frame.body.nodes[condition].data().collect();
                frame.part(interp, node, vals, &wanted)
            }
        }
    }

    pub fn step(&self, interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
        match self {
            Spelled::Functions { name, .. } => interp.call(node, name, vals),
            Spelled::Frame(frame) => frame.part(interp, node, vals, &self.results()),
        }
    }

    /// Where each variable comes from after a step.
    pub fn results(&self) -> Vec<&'a str> {
        match self {
            Spelled::Functions { body, .. } => body.results.clone(),
            Spelled::Frame(frame) => {
                let nexts = frame.of.variables.iter().map(|variable| &frame.body.nodes[variable.next]);
                nexts.map(|next| next.data().next().unwrap_or("")).collect()
            }
        }
    }

    /// The variable that this is, before the step.
    pub fn variable(&self, edge: Edge) -> Option<usize> {
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
    pub fn number(&self, interp: &Interp<'a>, edge: Edge) -> Option<i64> {
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

pub fn single(interp: &Interp<'_>, val: &Val) -> Option<i64> {
    match interp.ints(val)?.known()?.as_slice() {
        [known] => Some(*known),
        _ => None,
    }
}
