use super::At;
use super::picked::pick;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::types::{INLINE_BYTES_MAX, decode_numbers};
use recast_plugin_api::ir::{Constant, DType, Data, Dim, Graph, MatMul, Resize, ResizeMode, Tensor, Type, ValueId};
use recast_reference::{Array, Files, evaluate};

/// Resampling one axis is a product with a matrix of weights: what resampling makes of the identity. Of whole numbers,
/// the nearest are picked.
pub fn resize(op: &Resize, at: &mut At<'_>) -> Result<Option<Vec<ValueId>>, Diag> {
    let mut y = at.input(0)?;
    for (&axis, size) in op.axes.iter().zip(&op.sizes) {
        let (have, want) = (at.size(y, axis)?, size.known().unwrap_or(0));
        let dtype = at.graph.ty(y).dtype;
        let picks = !dtype.is_float() && op.mode == ResizeMode::Nearest;
        let dtype = if picks { DType::F32 } else { dtype };
        let Some(weights) = weights(op, have, want, at, dtype)? else { return Ok(None) };
        if picks {
            let indices = nearest(&weights, want as usize)?;
            let Some(picked) = pick(y, axis, &indices, at)? else { return Ok(None) };
            y = picked;
            continue;
        }
        // The axis last, (..., have) times (have, want), and back.
        let rank = at.shape(y).len();
        let last: Vec<usize> = (0..rank).filter(|&a| a != axis).chain([axis]).collect();
        let turned = at.transpose(y, &last)?;
        let matrix = at.add(Constant { tensor: weights }, &[])?;
        let product = at.add(MatMul {}, &[turned, matrix])?;
        y = at.transpose(product, &recast_plugin_api::ir::permute::inverse(&last))?;
    }
    Ok(Some(vec![y]))
}

/// The row with the one in each of `want` columns.
fn nearest(weights: &Tensor, want: usize) -> Result<Vec<f64>, Diag> {
    let Data::Inline(bytes) = &weights.data else { return Ok(Vec::new()) };
    let numbers = decode_numbers(weights.dtype, bytes);
    let row = |column: usize| numbers.iter().skip(column).step_by(want).position(|&weight| weight == 1.0).unwrap_or(0);
    Ok((0..want).map(|column| row(column) as f64).collect())
}

/// (have, want); `None` where it is too large for a constant in the graph.
fn weights(op: &Resize, have: u64, want: u64, at: &At<'_>, dtype: DType) -> Result<Option<Tensor>, Diag> {
    let count = have.saturating_mul(want) as usize;
    if !dtype.is_float() || count.saturating_mul(dtype.size()) > INLINE_BYTES_MAX {
        return Ok(None);
    }
    let mut graph = Graph::new("weights");
    let identity = graph.input("identity", Type::known(dtype, &[have, have]));
    let one = Resize { axes: vec![1], sizes: vec![Dim::Known(want)], ..op.clone() };
    let resized = graph.add(at.path, one, &[identity])?;
    graph.output("weights", resized);
    let n = have as usize;
    let ones = (0..n * n).map(|i| if i / n == i % n { 1.0 } else { 0.0 }).collect();
    let outputs = evaluate(&graph, &[Array::floats(dtype, vec![n, n], ones)], &Files::none(), &Default::default())?;
    let numbers = outputs.first().map(Array::numbers).unwrap_or_default();
    Ok(Some(Tensor::from_numbers(dtype, &[have, want], &numbers)))
}
