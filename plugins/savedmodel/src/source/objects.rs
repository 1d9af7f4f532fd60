//! Which object holds which variable: the objects of `saved_model.pb` side by side with those of the checkpoint, which
//! know under which key each variable is stored.

use super::bundle::Bundle;
use super::directory::Directory;
use crate::proto::{ObjectKind, SavedObjectGraph, TrackableObjectGraph};
use prost::Message;
use recast_plugin_api::diag::{Code, Diag};
use std::collections::HashMap;

pub const KEY: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";
/// Objects of one SavedModel.
pub const OBJECTS_MAX: usize = 2_000_000;

#[derive(Debug, Default)]
pub struct Object {
    /// By attribute name.
    pub children: Vec<(String, usize)>,
    /// Of a variable: its key in the bundle, and the name that it was made with (`dense/kernel`).
    pub variable: Option<Variable>,
}

#[derive(Debug, Clone)]
pub struct Variable {
    pub key: String,
    pub name: String,
    pub trainable: bool,
}

/// Objects under the numbers of `saved_model.pb`; 0 is the root.
#[derive(Debug, Default)]
pub struct Objects {
    pub all: Vec<Object>,
}

impl Objects {
    pub fn read(saved: &SavedObjectGraph, bundle: &Bundle, dir: &Directory<'_, '_>) -> Result<Objects, Diag> {
        if saved.nodes.len() > OBJECTS_MAX {
            let detail = format!("{} objects, the bound is {OBJECTS_MAX}", saved.nodes.len());
            return Err(Diag::new(Code::LimitExceeded, "object_graph_def", detail));
        }
        let tracked = if bundle.has(KEY) {
            TrackableObjectGraph::decode(bundle.string(dir, KEY)?)
                .map_err(|e| Diag::new(Code::Malformed, KEY, format!("does not decode: {e}")))?
        } else {
            TrackableObjectGraph::default()
        };
        let mut all: Vec<Object> = Vec::with_capacity(saved.nodes.len());
        for node in &saved.nodes {
            let mut object = Object::default();
            for child in &node.children {
                let target = usize::try_from(child.node_id).ok().filter(|id| *id < saved.nodes.len());
                let target = target.ok_or_else(|| {
                    let detail = format!("'{}' refers to object {}", child.local_name, child.node_id);
                    Diag::new(Code::Malformed, "object_graph_def", detail)
                })?;
                object.children.push((child.local_name.clone(), target));
            }
            all.push(object);
        }
        let mut objects = Objects { all };
        objects.find_keys(saved, &tracked);
        Ok(objects)
    }

    /// Walks both graphs along the same names.
    fn find_keys(&mut self, saved: &SavedObjectGraph, tracked: &TrackableObjectGraph) {
        let mut seen = vec![false; self.all.len()];
        let mut ahead = vec![(0usize, 0usize)];
        while let Some((object, other)) = ahead.pop() {
            let Some(node) = tracked.nodes.get(other) else { continue };
            if object >= seen.len() || std::mem::replace(&mut seen[object], true) {
                continue;
            }
            if let Some(attribute) = node.attributes.iter().find(|attribute| attribute.name == "VARIABLE_VALUE") {
                let (name, trainable) = match &saved.nodes[object].kind {
                    Some(ObjectKind::Variable(variable)) => (variable.name.clone(), variable.trainable),
                    _ => (attribute.full_name.clone(), false),
                };
                let name = if name.is_empty() { attribute.full_name.clone() } else { name };
                self.all[object].variable = Some(Variable { key: attribute.checkpoint_key.clone(), name, trainable });
            }
            let others: HashMap<&str, i32> =
                node.children.iter().map(|child| (child.local_name.as_str(), child.node_id)).collect();
            for (name, child) in &self.all[object].children {
                let other = others.get(name.as_str()).and_then(|id| usize::try_from(*id).ok());
                ahead.extend(other.map(|other| (*child, other)));
            }
        }
    }

    pub fn child(&self, object: usize, name: &str) -> Option<usize> {
        self.all.get(object)?.children.iter().find(|(known, _)| known == name).map(|(_, child)| *child)
    }

    /// Follows attributes separated by `/`.
    pub fn at(&self, object: usize, path: &str) -> Option<usize> {
        path.split('/').filter(|part| !part.is_empty()).try_fold(object, |object, name| self.child(object, name))
    }

    pub fn variable(&self, object: usize, path: &str) -> Option<&Variable> {
        self.all[self.at(object, path)?].variable.as_ref()
    }
}
