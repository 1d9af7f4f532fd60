//! Functions of one element in steps that stay finite.

use super::At;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    Activation, ActivationFunction, Binary, BinaryFunction, Op, Unary, UnaryFunction, ValueId,
};

pub fn is_softplus(op: &Op) -> bool {
    matches!(op, Op::Unary(Unary { function: UnaryFunction::Softplus }))
        || matches!(op, Op::Activation(Activation { function: ActivationFunction::Softplus, .. }))
}

/// log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))
pub fn softplus(at: &mut At<'_>) -> Result<Vec<ValueId>, Diag> {
    let x = at.input(0)?;
    let above = at.add(Unary { function: UnaryFunction::Relu }, &[x])?;
    let mut rest = x;
    for function in [UnaryFunction::Abs, UnaryFunction::Neg, UnaryFunction::Exp, UnaryFunction::Log1p] {
        rest = at.add(Unary { function }, &[rest])?;
    }
    Ok(vec![at.add(Binary { function: BinaryFunction::Add }, &[above, rest])?])
}
