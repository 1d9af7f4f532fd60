//! Lists of tensors: how TensorFlow 2 takes a sequence apart for a loop, and puts together what the loop computed.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::value::{Int, Ints, List, Val};
use super::{inputs, one};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{DType, Dim, Gather, Op, Transpose};
use std::rc::Rc;

type Out = Result<Vec<Val>, Diag>;

fn list(list: List) -> Out {
    Ok(vec![Val::List(Rc::new(list))])
}

pub fn from_tensor<'a>(_interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _] = inputs(node, vals)?;
    list(List::Of { tensor: x.clone(), axis: 0 })
}

/// element shape, length
pub fn reserve<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [_, len] = inputs(node, vals)?;
    let len = interp.ints(len).and_then(|ints| ints.elements.first().cloned());
    list(List::Reserved { len, of: None })
}

pub fn empty<'a>(_interp: &mut Interp<'a>, _node: &Node<'a>, _vals: &[Val]) -> Out {
    list(List::Reserved { len: Some(Int::N(0)), of: None })
}

pub fn length<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let found = match &**interp.list(node, vals, 0)? {
        List::Of { tensor, axis } => interp.shape_of(node, tensor)?.get(*axis).cloned().map(Int::of),
        List::Reserved { len, .. } => len.clone(),
        List::Items(items) => Some(Int::N(items.len() as i64)),
        List::Written { .. } => None,
    };
    let found = found.ok_or_else(|| node.unsupported("the length of a list that a loop fills"))?;
    Ok(vec![Ints::scalar(DType::I32, found).val()])
}

/// list, place, element shape
pub fn get_item<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let at = vals.get(1).ok_or_else(|| node.bad("no place"))?;
    match (&**interp.list(node, vals, 0)?, at) {
        (List::Of { tensor, axis }, Val::Counter(counter)) => {
            let item = interp.element_now(node, tensor, *axis, counter)?;
            Ok(vec![item])
        }
        (List::Of { tensor, axis }, place) => {
            let place = interp.ints(place).and_then(|ints| ints.elements.first().cloned());
            let ends = place.and_then(|place| Some((place.dim()?, place.add(&Int::N(1))?.dim()?)));
            let (from, to) =
                ends.ok_or_else(|| node.unsupported("an element at a place that is computed from data"))?;
            let x = interp.value(node, tensor)?;
            let part = interp.graph().slice(node.name, x, *axis, from, to)?;
            let part = interp.graph().squeeze(node.name, part, *axis)?;
            one(interp, part)
        }
        (List::Items(items), place) => {
            let place = interp.ints(place).and_then(|ints| ints.elements.first().and_then(Int::known));
            let item = place.and_then(|n| items.get(usize::try_from(n).ok()?));
            Ok(vec![item.cloned().ok_or_else(|| node.unsupported("an element that is not there"))?])
        }
        _ => Err(node.unsupported("an element of a list while it is filled")),
    }
}

/// list, place, item
pub fn set_item<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [_, place, item] = inputs(node, vals)?;
    let at = interp.ints(place).and_then(|ints| ints.elements.first().and_then(Int::known));
    match (&**interp.list(node, vals, 0)?, place, at) {
        (List::Reserved { of: Some(of), .. }, Val::Counter(counter), _) if counter.depth == interp.depth() => {
            list(List::Written { of: *of, item: item.clone(), at: Some(counter.clone()) })
        }
        // A list of one: what the last step writes stays.
        (List::Reserved { of: Some(of), .. }, _, Some(0)) => {
            list(List::Written { of: *of, item: item.clone(), at: None })
        }
        (List::Reserved { of: None, .. }, _, Some(0)) => list(List::Items(vec![item.clone()])),
        (List::Items(items), _, Some(at)) if at == items.len() as i64 => {
            list(List::Items(items.iter().chain([item]).cloned().collect()))
        }
        _ => Err(node.unsupported("an element that is written elsewhere than one after the other")),
    }
}

pub fn stack<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    match &**interp.list(node, vals, 0)? {
        List::Of { tensor, axis: 0 } => Ok(vec![tensor.clone()]),
        List::Of { tensor, .. } => {
            let x = interp.value(node, tensor)?;
            let rank = interp.shape(x).len();
            let perm: Vec<usize> = [1, 0].into_iter().chain(2..rank).collect();
            let out = interp.add(node, Transpose { perm }, &[x])?;
            one(interp, out)
        }
        List::Items(items) => super::shape::pack(interp, node, &items.clone()),
        List::Reserved { .. } | List::Written { .. } => Err(node.unsupported("a list that nothing has filled")),
    }
}

/// A TensorArray is its handle and a float that stands for what was written so far, which is what changes.
/// size
pub fn array<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [len] = inputs(node, vals)?;
    let len = interp.ints(len).and_then(|ints| ints.elements.first().cloned());
    let list = Val::List(Rc::new(List::Reserved { len, of: None }));
    Ok(vec![list.clone(), list])
}

/// handle, place, flow
pub fn array_read<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [_, place, flow] = inputs(node, vals)?;
    get_item(interp, node, &[flow.clone(), place.clone()])
}

/// handle, place, item, flow
pub fn array_write<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [_, place, item, flow] = inputs(node, vals)?;
    set_item(interp, node, &[flow.clone(), place.clone(), item.clone()])
}

/// handle, places, items, flow
pub fn array_scatter<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [_, places, items, flow] = inputs(node, vals)?;
    let is_fresh = matches!(&**interp.list(node, std::slice::from_ref(flow), 0)?, List::Reserved { of: None, .. });
    let count = interp.shape_of(node, items)?.first().cloned();
    if !is_fresh || !count.is_some_and(|count| is_each(interp, places, &count)) {
        return Err(node.unsupported("elements that are put elsewhere than one after the other into a new list"));
    }
    list(List::Of { tensor: items.clone(), axis: 0 })
}

/// Are these 0, 1, ... count - 1?
fn is_each(interp: &Interp<'_>, places: &Val, count: &Dim) -> bool {
    if let Some(places) = interp.ints(places) {
        let all = places.elements.iter().enumerate().all(|(at, place)| *place == Int::N(at as i64));
        return all && *count == Dim::Known(places.elements.len() as u64);
    }
    let Val::Tensor { depth, value } = places else { return false };
    let nodes = interp.frames[*depth].graph.nodes();
    let maker = nodes.iter().find(|maker| maker.outputs.contains(value));
    maker.is_some_and(|maker| matches!(&maker.op, Op::Iota(iota) if iota.dim == *count))
}

/// handle, places, flow
pub fn array_gather<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [_, places, flow] = inputs(node, vals)?;
    let all = stack(interp, node, std::slice::from_ref(flow))?.remove(0);
    let count = interp.shape_of(node, &all)?.first().cloned();
    if count.is_some_and(|count| is_each(interp, places, &count)) {
        return Ok(vec![all]);
    }
    let (all, places) = (interp.value(node, &all)?, interp.value(node, places)?);
    let out = interp.add(node, Gather { axis: 0 }, &[all, places])?;
    one(interp, out)
}

/// handle, flow
pub fn array_size<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [handle, flow] = inputs(node, vals)?;
    let reserved = matches!(&**interp.list(node, vals, 0)?, List::Reserved { len: Some(_), .. });
    length(interp, node, &[if reserved { handle } else { flow }.clone()])
}
