//! The order in which a functional model's calls are evaluated. Any order serves in which each comes after those that
//! it computes from, but for the layers that do something to the tensors that they are called on
//! (`attends`): with these, what Keras runs first counts.

use recast_plugin_api::model::{Call, Layer, Model, ValueRef};
use std::cmp::Reverse;
use std::collections::HashMap;

/// Does a call anywhere inside take the masks away from its tensors, in Keras 3.8 and later?
pub fn attends(layers: &[Layer]) -> bool {
    let inside = |layer: &Layer| layer.model.as_ref().is_some_and(|model| attends(&model.layers));
    layers.iter().any(|layer| layer.class == "MultiHeadAttention" || inside(layer))
}

/// Depth first from the outputs; what no output needs is left out. False where calls need each other in a circle.
pub fn depth_first(model: &mut Model) -> bool {
    let needs = needs(model);
    let Some(finished) = finished(model, &needs) else { return false };
    arrange(model, &finished);
    true
}

/// As Keras 3 runs them: those first that are farthest from the outputs, where the most distant call of a layer counts
/// for its later ones; at one distance, in the order in which its walk back from the outputs meets them. False where
/// calls need each other in a circle.
pub fn by_depth(model: &mut Model) -> bool {
    let needs = needs(model);
    let Some(finished) = finished(model, &needs) else { return false };
    let mut depths: Vec<Option<u64>> = vec![None; needs.len()];
    let mut of_layers: HashMap<u32, u64> = HashMap::new();
    let mut met = Vec::with_capacity(finished.len());
    for &call in finished.iter().rev() {
        if depths[call].is_none() {
            met.push(call);
        }
        let of_layer = of_layers.entry(model.calls[call].layer).or_insert(0);
        let depth = depths[call].unwrap_or(0).max(*of_layer);
        (depths[call], *of_layer) = (Some(depth), depth);
        for &need in &needs[call] {
            if depths[need].is_none() {
                met.push(need);
            }
            depths[need] = depths[need].max(Some(depth + 1));
        }
    }
    met.sort_by_key(|&call| Reverse(depths[call]));
    arrange(model, &met);
    true
}

/// Of each call: the calls that it computes from, in the order of its arguments.
fn needs(model: &Model) -> Vec<Vec<usize>> {
    let known = model.calls.len();
    let call = |value: &ValueRef| value.call.map(|call| call as usize).filter(|call| *call < known);
    model.calls.iter().map(|at| at.values().filter_map(call).collect()).collect()
}

/// The calls in this order, and every reference to where they are now. `order` has each once that one of it needs.
fn arrange(model: &mut Model, order: &[usize]) {
    let mut places = vec![0u32; model.calls.len()];
    order.iter().enumerate().for_each(|(place, &call)| places[call] = place as u32);
    let moved = |value: &mut ValueRef| {
        value.call = value.call.map(|call| places.get(call as usize).copied().unwrap_or(call));
    };
    let mut calls: Vec<Option<Call>> = std::mem::take(&mut model.calls).into_iter().map(Some).collect();
    model.calls = order.iter().filter_map(|&call| calls[call].take()).collect();
    model.calls.iter_mut().flat_map(Call::values_mut).for_each(moved);
    model.outputs.iter_mut().filter_map(|output| output.value.as_mut()).for_each(moved);
}

/// Each call after all that it needs, depth first from the outputs; none when they need each other in a circle.
fn finished(model: &Model, needs: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut order = Vec::with_capacity(needs.len());
    // 0 untouched, 1 being visited, 2 done.
    let mut state = vec![0u8; needs.len()];
    let mut stack: Vec<(usize, usize)> = Vec::new();
    let wanted = model.outputs.iter().filter_map(|output| output.value.as_ref()?.call);
    for root in wanted.map(|call| call as usize).filter(|call| *call < needs.len()) {
        if state[root] == 0 {
            state[root] = 1;
            stack.push((root, 0));
        }
        while let Some((call, next)) = stack.last_mut() {
            let (here, need) = (*call, needs[*call].get(*next).copied());
            *next += 1;
            match need {
                None => {
                    state[here] = 2;
                    order.push(here);
                    stack.pop();
                }
                Some(need) if state[need] == 0 => {
                    state[need] = 1;
                    stack.push((need, 0));
                }
                Some(need) if state[need] == 1 => return None,
                Some(_) => {}
            }
        }
    }
    Some(order)
}
