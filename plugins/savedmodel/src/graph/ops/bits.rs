//! The bits of floating-point numbers. No target sees them; but Keras 3 looks at the sign of zeros in `argmax`,
//! `argmin` and `signbit`, and the sign alone is a comparison.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::value::Val;
use super::source::scalar;
use super::{inputs, math, one, values};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{Binary, BinaryFunction, DType, Unary, UnaryFunction, Where};
use std::rc::Rc;

type Out = Result<Vec<Val>, Diag>;

/// x
pub fn bitcast<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let (from, to) = (interp.dtype_of(x), node.dtype("type")?);
    match from == Some(DType::F32) && to == DType::I32 {
        true => Ok(vec![Val::Bits(Rc::new(x.clone()))]),
        false => Err(node.unsupported(format!("bits seen as {to}"))),
    }
}

/// a, b. Of the bits of a number, the sign.
pub fn and<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [a, b] = inputs(node, vals)?;
    let is_sign = |val: &Val| interp.ints(val).and_then(|ints| ints.known()) == Some(vec![i32::MIN.into()]);
    match (a, b) {
        (Val::Bits(of), mask) | (mask, Val::Bits(of)) if is_sign(mask) => sign(interp, node, of),
        _ => math::binary(interp, node, vals),
    }
}

/// The sign bit where x has one, else nothing. The reciprocal tells the two zeros apart.
fn sign<'a>(interp: &mut Interp<'a>, node: &Node<'a>, x: &Val) -> Out {
    let zero = scalar(DType::F32, 0.0);
    let vals = values(interp, node, &[x.clone(), zero])?;
    let (x, zero) = (vals[0], vals[1]);
    let below = interp.add(node, Binary { function: BinaryFunction::Less }, &[x, zero])?;
    let turned = interp.add(node, Unary { function: UnaryFunction::Reciprocal }, &[x])?;
    let turned = interp.add(node, Binary { function: BinaryFunction::Less }, &[turned, zero])?;
    let sign = interp.add(node, Binary { function: BinaryFunction::Or }, &[below, turned])?;
    let bits = values(interp, node, &[scalar(DType::I32, i32::MIN.into()), scalar(DType::I32, 0.0)])?;
    let bits = interp.add(node, Where {}, &[sign, bits[0], bits[1]])?;
    one(interp, bits)
}
