//! Attention layers.
//!
//! Where every key of a query is masked, Keras' result depends on its version and on the path that it takes: the mean
//! of all values where a large negative number swallows the scores, zeros where the softmax is masked once more. Both
//! are kept: the large number here is large enough to swallow the scores in any precision, as it does in Keras' f32.

mod axes;
mod dense;
mod heads;

use crate::table::{Masks, Row};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{BinaryFunction, DType, Dim, Iota, UnaryFunction, ValueId};
use recast_plugin_api::lower::Lowering;

pub const ROWS: &[Row] = &[
    Row::new("AdditiveAttention", "attention", Masks::Own, dense::additive, ""),
    Row::new("Attention", "attention", Masks::Own, dense::attention, "score_mode dot and concat"),
    Row::new("GroupQueryAttention", "attention", Masks::Own, heads::grouped, "several query heads on one key head"),
    Row::new("GroupedQueryAttention", "attention", Masks::Own, heads::grouped, "several query heads on one key head"),
    Row::new("MultiHeadAttention", "attention", Masks::Own, heads::multi_head, "any attention_axes").raw(),
];

/// What is added to a masked score.
fn mask_bias(dtype: DType) -> f64 {
    let largest = if dtype == DType::F16 { 65500.0 } else { 3.38953e38 };
    -0.7 * largest
}

/// A number for each row of (rows, columns) and one for each column: `test(row - column)` as (rows, columns) bool.
fn positions(l: &mut Lowering<'_>, rows: &Dim, columns: &Dim) -> Result<ValueId, Diag> {
    let row = l.add(Iota { dim: rows.clone(), dtype: DType::I64 }, &[])?;
    let column = l.add(Iota { dim: columns.clone(), dtype: DType::I64 }, &[])?;
    let (row, column) = (l.expand(row, 1)?, l.expand(column, 0)?);
    l.binary(BinaryFunction::Sub, row, column)
}

/// (rows, columns) bool: column <= row, as a sequence that must not see its future.
fn causal(l: &mut Lowering<'_>, rows: &Dim, columns: &Dim) -> Result<ValueId, Diag> {
    let distance = positions(l, rows, columns)?;
    l.binary_scalar(BinaryFunction::GreaterEqual, distance, 0.0)
}

/// (rows, columns) bool: |row - column| < window
fn near(l: &mut Lowering<'_>, rows: &Dim, columns: &Dim, window: u64) -> Result<ValueId, Diag> {
    let distance = positions(l, rows, columns)?;
    let distance = l.unary(UnaryFunction::Abs, distance)?;
    l.binary_scalar(BinaryFunction::Less, distance, window as f64)
}

/// Both of two masks, where there are two.
fn both(l: &mut Lowering<'_>, a: Option<ValueId>, b: Option<ValueId>) -> Result<Option<ValueId>, Diag> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => Some(l.binary(BinaryFunction::And, a, b)?),
        (one, other) => one.or(other),
    })
}
