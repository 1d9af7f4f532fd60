//! What is computed of the numbers of a row, where some are none.

use super::args::{axis, float_tensor};
use super::order::{Method, sorted};
use super::reduce::flat;
use super::word;
use crate::policy::one;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    ArgFunction, ArgReduce, BinaryFunction as B, DType, GatherElements, ReduceFunction as R, Tensor,
    UnaryFunction as U, ValueId, Where,
};
use recast_plugin_api::lower::Lowering;

/// Where the largest or smallest number is; -1 where there is none.
pub fn arg(l: &mut Lowering<'_>) -> super::Outcome {
    let mut x = float_tensor(l)?;
    let keepdims = super::args::flag(l, &["keepdims"], false)?;
    let at = if super::args::setting(l, &["axis"])?.is_some() {
        axis(l, &["axis"], l.rank(x), 0)?
    } else {
        super::unless(l, keepdims, "keepdims without an axis")?;
        x = flat(l, x)?;
        0
    };
    let none = l.unary(U::IsNan, x)?;
    let (function, last) = match word(l) {
        "Nanargmax" => (ArgFunction::Max, f64::NEG_INFINITY),
        _ => (ArgFunction::Min, f64::INFINITY),
    };
    let last = l.scalar_like(x, last)?;
    let x = l.add(Where {}, &[none, last, x])?;
    let found = l.add(ArgReduce { function, axis: at, keepdims }, &[x])?;
    let found = l.cast(found, DType::I32)?;
    let all = l.reduce(R::All, none, &[at], keepdims)?;
    let minus = l.scalar_like(found, -1.0)?;
    Ok(one(l.add(Where {}, &[all, minus, found])?))
}

/// Of each row (..., n), the element at a share of its numbers: what is none sorts behind them.
pub fn at_share(l: &mut Lowering<'_>, rows: ValueId, share: f64, method: Method) -> Result<ValueId, Diag> {
    let last = l.rank(rows) - 1;
    let none = l.unary(U::IsNan, rows)?;
    let end = l.scalar_like(rows, f64::INFINITY)?;
    let held = l.add(Where {}, &[none, end, rows])?;
    let (values, _) = sorted(l, held, last, false)?;
    let some = l.unary(U::Not, none)?;
    let some = l.cast(some, DType::F64)?;
    let count = l.reduce(R::Sum, some, &[last], true)?;
    let place = l.binary_scalar(B::Sub, count, 1.0)?;
    let zero = l.scalar_like(place, 0.0)?;
    let place = l.binary(B::Max, place, zero)?;
    let place = l.binary_scalar(B::Mul, place, share)?;
    let pick = |l: &mut Lowering<'_>, at: ValueId| -> Result<ValueId, Diag> {
        let at = l.cast(at, DType::I64)?;
        l.add(GatherElements { axis: last }, &[values, at])
    };
    let (below, above) = (l.unary(U::Floor, place)?, l.unary(U::Ceil, place)?);
    let y = match method {
        Method::Lower => pick(l, below)?,
        Method::Higher => pick(l, above)?,
        Method::Nearest => {
            let near = l.unary(U::Round, place)?;
            pick(l, near)?
        }
        Method::Midpoint | Method::Linear => {
            let share = l.binary(B::Sub, place, below)?;
            let share =
                if method == Method::Linear { l.cast(share, l.ty(rows).dtype)? } else { l.scalar_like(rows, 0.5)? };
            let (low, high) = (pick(l, below)?, pick(l, above)?);
            let range = l.binary(B::Sub, high, low)?;
            let range = l.binary(B::Mul, range, share)?;
            l.binary(B::Add, low, range)?
        }
    };
    let empty = l.binary_scalar(B::Equal, count, 0.0)?;
    let nan = l.constant(Tensor::scalar(l.ty(y).dtype, f64::NAN))?;
    let y = l.add(Where {}, &[empty, nan, y])?;
    l.squeeze(y, last)
}
