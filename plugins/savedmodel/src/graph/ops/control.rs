//! Functions and branches.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::value::{Int, Ints, Val};
use super::inputs;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{BinaryFunction, DType, ValueId, Where};

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

/// One of several branches by its number; the last one for every number that none has.
pub fn case<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let (number, arguments) = vals.split_first().ok_or_else(|| node.bad("no number of a branch"))?;
    if matches!(number, Val::Failed) {
        return Ok(vec![Val::Failed]);
    }
    let branches = node.functions("branches")?;
    let (last, others) = branches.split_last().ok_or_else(|| node.bad("no branches"))?;
    if let Some([known]) = interp.ints(number).and_then(|ints| ints.known()).as_deref() {
        let taken = usize::try_from(*known).ok().and_then(|at| branches.get(at)).unwrap_or(last);
        return interp.call(node, taken, arguments);
    }
    let number = interp.value(node, number)?;
    let mut results = interp.call(node, last, arguments)?;
    for (at, branch) in others.iter().enumerate() {
        let own = interp.call(node, branch, arguments)?;
        let this = interp.graph().scalar_like(node.name, number, at as f64)?;
        let is_this = interp.graph().binary(node.name, BinaryFunction::Equal, number, this)?;
        let pairs = own.iter().zip(&results);
        results = pairs.map(|(a, b)| chosen(interp, node, is_this, a, b)).collect::<Result<_, _>>()?;
    }
    Ok(results)
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
