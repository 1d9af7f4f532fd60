use super::At;
use super::picked::pick;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::types::INLINE_BYTES_MAX;
use recast_plugin_api::ir::{Constant, DType, Dim, Graph, MatMul, Resize, ResizeMode, Tensor, Type, ValueId};
use recast_reference::{Array, Files, evaluate};

/// Resampling one axis is a product with a matrix of weights: what resampling makes of the identity. Of whole numbers,
/// the nearest are picked: what it makes of their places.
pub fn resize(op: &Resize, at: &mut At<'_>) -> Result<Option<Vec<ValueId>>, Diag> {
    let mut y = at.input(0)?;
    for (&axis, size) in op.axes.iter().zip(&op.sizes) {
        let (have, want) = (at.size(y, axis)?, size.known().unwrap_or(0));
        let dtype = at.graph.ty(y).dtype;
        let done = match (dtype.is_float(), op.mode) {
            (true, _) => weighted(op, (have, want), y, axis, at)?,
            (false, ResizeMode::Nearest) => picked(op, (have, want), y, axis, at)?,
            (false, _) => None,
        };
        let Some(done) = done else { return Ok(None) };
        y = done;
    }
    Ok(Some(vec![y]))
}

fn picked(
    op: &Resize,
    (have, want): (u64, u64),
    x: ValueId,
    axis: usize,
    at: &mut At<'_>,
) -> Result<Option<ValueId>, Diag> {
    if have.max(want).saturating_mul(8) > INLINE_BYTES_MAX as u64 {
        return Ok(None);
    }
    let places = Array::floats(DType::F32, vec![1, have as usize], (0..have).map(|place| place as f64).collect());
    let indices = resampled(op, places, want, at.path)?;
    pick(x, axis, &indices, at)
}

/// `None` where the matrix is too large for a constant in the graph.
fn weighted(
    op: &Resize,
    (have, want): (u64, u64),
    x: ValueId,
    axis: usize,
    at: &mut At<'_>,
) -> Result<Option<ValueId>, Diag> {
    let dtype = at.graph.ty(x).dtype;
    let count = have.saturating_mul(want) as usize;
    if count.saturating_mul(dtype.size()) > INLINE_BYTES_MAX {
        return Ok(None);
    }
    let n = have as usize;
    let ones = (0..n * n).map(|i| if i / n == i % n { 1.0 } else { 0.0 }).collect();
    let weights = resampled(op, Array::floats(dtype, vec![n, n], ones), want, at.path)?;
    let tensor = Tensor::from_numbers(dtype, &[have, want], &weights);
    // The axis last, (..., have) times (have, want), and back.
    let rank = at.shape(x).len();
    let last: Vec<usize> = (0..rank).filter(|&a| a != axis).chain([axis]).collect();
    let turned = at.transpose(x, &last)?;
    let matrix = at.add(Constant { tensor }, &[])?;
    let product = at.add(MatMul {}, &[turned, matrix])?;
    at.transpose(product, &recast_plugin_api::ir::permute::inverse(&last)).map(Some)
}

/// The rows of `x` (rows, have) resampled to (rows, want).
fn resampled(op: &Resize, x: Array, want: u64, path: &str) -> Result<Vec<f64>, Diag> {
    let mut graph = Graph::new("rows");
    let shape: Vec<u64> = x.shape.iter().map(|&size| size as u64).collect();
    let input = graph.input("x", Type::known(x.dtype, &shape));
    let one = Resize { axes: vec![1], sizes: vec![Dim::Known(want)], ..op.clone() };
    let y = graph.add(path, one, &[input])?;
    graph.output("y", y);
    let outputs = evaluate(&graph, &[x], &Files::none(), &Default::default())?;
    Ok(outputs.first().map(Array::numbers).unwrap_or_default())
}
