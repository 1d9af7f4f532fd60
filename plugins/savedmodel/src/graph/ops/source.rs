//! Where values come from, and ops that hand them on.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::literal;
use super::super::value::Val;
use super::inputs;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{DType, Tensor};
use std::rc::Rc;

type Out = Result<Vec<Val>, Diag>;

pub fn constant<'a>(interp: &mut Interp<'a>, node: &Node<'a>, _vals: &[Val]) -> Out {
    let proto = node.tensor("value")?;
    if let Some(texts) = literal::texts(node.name, proto)? {
        return Ok(vec![Val::Texts(Rc::new(texts))]);
    }
    let tensor = literal::read(node.name, proto, &interp.origin)?;
    // What is large and all the same needs no bytes: zeros of a state, say.
    Ok(vec![Val::Known(Rc::new(tensor))])
}

pub fn placeholder<'a>(_interp: &mut Interp<'a>, node: &Node<'a>, _vals: &[Val]) -> Out {
    Err(node.bad("an input that the signature does not have"))
}

pub fn variable<'a>(_interp: &mut Interp<'a>, node: &Node<'a>, _vals: &[Val]) -> Out {
    Ok(vec![Val::Variable(node.name.into())])
}

pub fn identity<'a>(_interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    Ok(vec![x.clone()])
}

pub fn identity_n<'a>(_interp: &mut Interp<'a>, _node: &Node<'a>, vals: &[Val]) -> Out {
    Ok(vals.to_vec())
}

/// What it asserts is taken to hold.
pub fn ensure_shape<'a>(_interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    Ok(vec![x.clone()])
}

pub fn nothing<'a>(_interp: &mut Interp<'a>, _node: &Node<'a>, _vals: &[Val]) -> Out {
    Ok(vec![Val::Nothing])
}

/// A scalar that is known.
pub fn scalar(dtype: DType, value: f64) -> Val {
    Val::Known(Rc::new(Tensor::scalar(dtype, value)))
}
