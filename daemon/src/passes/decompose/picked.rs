//! Axes picked element by element: padding with the axis' own elements, and the nearest neighbours of whole numbers.

use super::At;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::types::INLINE_BYTES_MAX;
use recast_plugin_api::ir::{Constant, DType, Gather, Pad, PadMode, Tensor, ValueId};

/// x with `indices` of `axis`; `None` where these are too many for a constant in the graph.
pub fn pick(x: ValueId, axis: usize, indices: &[f64], at: &mut At<'_>) -> Result<Option<ValueId>, Diag> {
    if indices.len().saturating_mul(DType::I64.size()) > INLINE_BYTES_MAX {
        return Ok(None);
    }
    let tensor = Tensor::from_numbers(DType::I64, &[indices.len() as u64], indices);
    let indices = at.add(Constant { tensor }, &[])?;
    at.add(Gather { axis }, &[x, indices]).map(Some)
}

pub fn pad(op: &Pad, at: &mut At<'_>) -> Result<Option<Vec<ValueId>>, Diag> {
    if op.mode == PadMode::Constant {
        return Ok(None);
    }
    let mut y = at.input(0)?;
    for (axis, &(before, after)) in op.padding.iter().enumerate().filter(|(_, padding)| **padding != (0, 0)) {
        let size = at.size(y, axis)? as i64;
        let places = -(before as i64)..size.saturating_add(after as i64);
        if size == 0 || places.end.saturating_add(before as i64) > INLINE_BYTES_MAX as i64 {
            return Ok(None);
        }
        let indices: Vec<f64> = places.map(|place| source(op.mode, place, size) as f64).collect();
        let Some(picked) = pick(y, axis, &indices, at)? else { return Ok(None) };
        y = picked;
    }
    Ok(Some(vec![y]))
}

/// Which of `size` elements stands at `place`, counted from the first of them.
fn source(mode: PadMode, place: i64, size: i64) -> i64 {
    // There and back again, for ever: the second half is the first one from its end, which is `last`.
    let folded = |period: i64, last: i64| {
        let at = place.rem_euclid(period);
        at.min(last - at)
    };
    match mode {
        PadMode::Constant | PadMode::Edge => place.clamp(0, size - 1),
        PadMode::Reflect if size == 1 => 0,
        PadMode::Reflect => folded(2 * size - 2, 2 * size - 2),
        // The borders stand twice.
        PadMode::Symmetric => folded(2 * size, 2 * size - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_repeats_elements_as_numpy_does() {
        let padded = |mode| (-3..6).map(|place| source(mode, place, 3)).collect::<Vec<_>>();
        assert_eq!(padded(PadMode::Edge), [0, 0, 0, 0, 1, 2, 2, 2, 2]);
        assert_eq!(padded(PadMode::Reflect), [1, 2, 1, 0, 1, 2, 1, 0, 1]);
        assert_eq!(padded(PadMode::Symmetric), [2, 1, 0, 0, 1, 2, 2, 1, 0]);
    }
}
