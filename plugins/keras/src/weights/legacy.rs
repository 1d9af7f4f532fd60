//! HDF5 files of Keras 1 to 3: one group for each layer of the top model, with its arrays' names in order.
//!
//! A nested model is one flat list. Keras writes trainable arrays first, then the others, as `trainable` was set when
//! it saved; versions differ in what they do with frozen parts, so the orders that occurred are tried, and the names
//! decide between them.

use super::Taken;
use super::roles::{self, Role};
use crate::array::Array;
use crate::config::Facts;
use recast_keras_model::config::keras1;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::model::Layer;
use std::collections::HashMap;

/// An array by its name in the list of its group: `bi/forward_lstm/lstm_cell/kernel:0`.
pub struct Listed<'t> {
    pub name: String,
    pub array: &'t Array<'t>,
}

/// A weight that some layer should have.
struct Slot<'l> {
    layer: &'l Layer,
    role: Role,
}

/// How Keras may have ordered a list.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// Trainable first, as the flags of the layers say.
    Flags,
    /// Trainable first, as if no layer were frozen.
    Unfrozen,
    /// Layer by layer.
    Layers,
}

/// Gives the arrays of one top-level group to `layer` and what is inside it.
pub fn assign<'t>(
    layer: &Layer,
    listed: Vec<Listed<'t>>,
    facts: &HashMap<String, Facts>,
) -> (Vec<Taken<'t>>, Findings) {
    let orders = [Order::Flags, Order::Unfrozen, Order::Layers];
    let candidates = orders.map(|order| slots(layer, facts, order));
    let mut best: Option<(usize, &Vec<Slot<'_>>)> = None;
    for slots in &candidates {
        let fits = slots.len() == listed.len()
            && slots.iter().zip(&listed).all(|(slot, listed)| fits(&slot.role, leaf(&listed.name)));
        let named = slots.iter().zip(&listed).filter(|(slot, listed)| names(&listed.name, &slot.layer.name)).count();
        if fits && best.is_none_or(|(most, _)| named > most) {
            best = Some((named, slots));
        }
    }
    match best {
        Some((_, slots)) => {
            let pairs = slots.iter().zip(listed);
            let kept = pairs.filter(|(slot, _)| !roles::is_ignored(&slot.layer.class, slot.role.leaf()));
            (kept.map(|(slot, listed)| slot.take(listed.array)).collect(), Findings::new())
        }
        None => by_name(layer, candidates.into_iter().next().unwrap_or_default(), listed, facts),
    }
}

impl Slot<'_> {
    fn take<'t>(&self, array: &'t Array<'t>) -> Taken<'t> {
        Taken::whole(self.layer.path.clone(), self.role.name.to_owned(), array)
    }
}

/// Does the layer, or anything in it, hold weights as far as its class tells? None where only the file knows.
pub fn expects(layer: &Layer, facts: &HashMap<String, Facts>) -> Option<bool> {
    if !slots(layer, facts, Order::Layers).is_empty() {
        return Some(true);
    }
    let mut unknown = Vec::new();
    dynamic(layer, facts, &mut unknown);
    if unknown.is_empty() { Some(false) } else { None }
}

/// How many arrays the layer holds, with what is in it. None where only the file knows.
pub fn count(layer: &Layer, facts: &HashMap<String, Facts>) -> Option<usize> {
    expects(layer, facts).map(|_| slots(layer, facts, Order::Layers).len())
}

/// Does an array of this name belong to the layer, or to one in it?
pub fn is_inside(name: &str, layer: &Layer) -> bool {
    names(name, &layer.name) || inside(layer).any(|inner| is_inside(name, inner))
}

fn slots<'l>(layer: &'l Layer, facts: &HashMap<String, Facts>, order: Order) -> Vec<Slot<'l>> {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    collect(layer, facts, order, order == Order::Layers, &mut first, &mut last);
    first.append(&mut last);
    first
}

fn collect<'l>(
    layer: &'l Layer,
    facts: &HashMap<String, Facts>,
    order: Order,
    frozen: bool,
    first: &mut Vec<Slot<'l>>,
    last: &mut Vec<Slot<'l>>,
) {
    let frozen = frozen || (order == Order::Flags && !layer.trainable);
    for role in facts.get(&layer.path).and_then(|facts| facts.roles.as_ref()).into_iter().flatten() {
        let slot = Slot { layer, role: role.clone() };
        if role.trainable && !frozen { first.push(slot) } else { last.push(slot) }
    }
    inside(layer).for_each(|inner| collect(inner, facts, order, frozen, first, last));
}

fn inside(layer: &Layer) -> impl Iterator<Item = &Layer> {
    let children = layer.children.iter().filter_map(|child| child.layer.as_ref());
    children.chain(layer.model.iter().flat_map(|model| &model.layers))
}

/// The layers whose weights only the file knows.
fn dynamic<'l>(layer: &'l Layer, facts: &HashMap<String, Facts>, out: &mut Vec<&'l Layer>) {
    if facts.get(&layer.path).is_some_and(|facts| facts.roles.is_none()) {
        out.push(layer);
    }
    inside(layer).for_each(|inner| dynamic(inner, facts, out));
}

/// Each array where its name says, for lists that no order explains: custom layers, weights of newer versions.
fn by_name<'t>(
    layer: &Layer,
    slots: Vec<Slot<'_>>,
    listed: Vec<Listed<'t>>,
    facts: &HashMap<String, Facts>,
) -> (Vec<Taken<'t>>, Findings) {
    let mut unknown = Vec::new();
    dynamic(layer, facts, &mut unknown);
    let alone = inside(layer).next().is_none();
    let mut slots: Vec<Option<Slot<'_>>> = slots.into_iter().map(Some).collect();
    let (mut taken, mut findings) = (Vec::new(), Findings::new());
    let mut used: HashMap<(String, String), u32> = HashMap::new();
    for Listed { name, array } in listed {
        let last = leaf(&name);
        let matching = slots.iter().position(|slot| {
            slot.as_ref().is_some_and(|slot| fits(&slot.role, last) && (alone || names(&name, &slot.layer.name)))
        });
        if let Some(slot) = matching.and_then(|found| slots[found].take()) {
            if !roles::is_ignored(&slot.layer.class, slot.role.leaf()) {
                taken.push(slot.take(array));
            }
            continue;
        }
        let owner = unknown.iter().rev().find(|owner| names(&name, &owner.name)).or(unknown.first().filter(|_| alone));
        if let Some(owner) = owner {
            let role = below(&name, &owner.name);
            let count = used.entry((owner.path.clone(), role.clone())).or_default();
            *count += 1;
            let role = if *count > 1 { format!("{role}#{count}") } else { role };
            taken.push(Taken::whole(owner.path.clone(), role, array));
        } else if !roles::is_ignored(&layer.class, last) {
            findings.push(leftover(layer, array));
        }
    }
    (taken, findings)
}

fn leftover(layer: &Layer, array: &Array<'_>) -> Diag {
    let detail = format!("no weight of `{}` ({}) is called `{}`", layer.path, layer.class, array.at());
    Diag::new(Code::WeightLeftover, layer.path.as_str(), detail)
        .hint("the file and the architecture are not of the same model, or this Keras version is not known yet")
}

/// `kernel` of `bi/forward_lstm/lstm_cell/kernel:0`.
fn leaf(name: &str) -> &str {
    let name = plain(name);
    name.rsplit('/').next().unwrap_or(name)
}

/// Without TensorFlow's output number.
fn plain(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((plain, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => plain,
        _ => name,
    }
}

/// TensorFlow numbers a name that is taken: `kernel_1`.
fn fits(role: &Role, leaf: &str) -> bool {
    let same = |leaf: &str| {
        // Keras 3 calls a depthwise kernel just a kernel.
        leaf == role.leaf() || (role.leaf() == "depthwise_kernel" && leaf == "kernel")
    };
    same(leaf)
        // Keras 1: `lstm_1_W_i`, or no name at all.
        || (keras1::is_array(role.leaf()) && leaf.strip_suffix(role.leaf()).is_some_and(|layer| layer.ends_with('_')))
        || leaf.strip_prefix("param_").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        || leaf.rsplit_once('_').is_some_and(|(word, number)| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && same(word)
        })
}

/// Does the layer's name stand in the path of the array?
fn names(path: &str, layer: &str) -> bool {
    find(path, layer).is_some()
}

/// Where the layer's name ends in the path, as whole parts (it may itself hold `/`).
fn find(path: &str, layer: &str) -> Option<usize> {
    if layer.is_empty() {
        return None;
    }
    let whole = |&(at, _): &(usize, &str)| {
        let end = at + layer.len();
        (at == 0 || path.as_bytes()[at - 1] == b'/') && path.as_bytes().get(end) == Some(&b'/')
    };
    path.match_indices(layer).find(whole).map(|(at, _)| at + layer.len() + 1)
}

/// The name of an array below its layer.
fn below(name: &str, layer: &str) -> String {
    let name = plain(name);
    find(name, layer).map_or(name, |start| &name[start..]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_arrays_are_read() {
        assert_eq!(leaf("bi/forward_lstm/lstm_cell/kernel:0"), "kernel");
        assert_eq!(below("sequential/scale/sub/factor:0", "scale"), "sub/factor");
        assert_eq!(below("other/factor", "scale"), "other/factor");
        assert!(names("a/block/one/kernel:0", "block/one") && !names("a/block/one_1/kernel", "block/one"));
        let role = |name| Role { name, trainable: true };
        assert!(fits(&role("kernel"), "kernel_2") && !fits(&role("kernel"), "kernel_x"));
        assert!(fits(&role("query/kernel"), "kernel") && fits(&role("depthwise_kernel"), "kernel"));
        assert!(!fits(&role("kernel"), "recurrent_kernel"));
    }
}
