use super::gemm::{Matrix, Sizes, gemm_noisy};
use super::norm::softmax_over;
use super::{Cx, Ins, Outcome, bools, broadcast_strides, floats};
use crate::array::Array;
use crate::weights::Offsets;
use recast_plugin_api::ir::Attention;

/// Key head of query head `i`: runs of `heads / groups` query heads share one.
pub fn attention(op: &Attention, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let (q, k, v) = (ins.array(0)?, ins.array(1)?, ins.array(2)?);
    let (t, heads, d) = (q.shape[1], q.shape[2], q.shape[3]);
    let (s, groups, e) = (k.shape[1], k.shape[2], v.shape[3]);
    let score_shape = cx.shapes[1].clone();
    let masked = {
        let mask = ins.optional(3)?;
        let seen = match &mask {
            Some(mask) => {
                let steps = broadcast_strides(&mask.shape, &score_shape);
                let mask = bools(mask)?;
                Offsets::new(&score_shape, &steps).map(|at| mask[at]).collect()
            }
            None => vec![true; score_shape.iter().product()],
        };
        let future = |at: usize| op.causal && at % s > at / s % t;
        seen.into_iter().enumerate().map(|(at, seen)| !seen || future(at)).collect::<Vec<bool>>()
    };
    let (q, k, v) = (floats(&q)?, floats(&k)?, floats(&v)?);
    let head = |index: usize| (index / heads, index % heads, index % heads / (heads / groups));
    let mut scores = vec![0.0; masked.len()];
    cx.pool.chunks(&mut scores, t * s, |index, part| {
        let (b, h, g) = head(index);
        let query = Matrix { data: &q[(b * t * heads + h) * d..], row: heads * d, column: 1 };
        let key = Matrix { data: &k[(b * s * groups + g) * d..], row: 1, column: groups * d };
        gemm_noisy(Sizes { m: t, k: d, n: s }, query, key, part, cx.noise, index * t * s);
        Ok(())
    })?;
    for (score, masked) in scores.iter_mut().zip(masked) {
        *score = *score * op.scale + if masked { op.mask_bias } else { 0.0 };
    }
    softmax_over(&mut scores, &score_shape, &[3]);
    if let Some(noise) = cx.noise {
        // As `noise` does it for a softmax of its own.
        noise.keyed(1).relative(&mut scores, 8.0 + (s as f64 / 8.0).sqrt());
    }
    let noise = cx.noise.map(|noise| noise.keyed(2));
    let mut by_head = vec![0.0; cx.len()];
    cx.pool.chunks(&mut by_head, t * e, |index, part| {
        let (b, _, g) = head(index);
        let weights = Matrix::rows(&scores[index * t * s..], s);
        let value = Matrix { data: &v[(b * s * groups + g) * e..], row: groups * e, column: 1 };
        gemm_noisy(Sizes { m: t, k: s, n: e }, weights, value, part, noise, index * t * e);
        Ok(())
    })?;
    // (b, h, t, e) to (b, t, h, e).
    let (shape, steps) = (cx.shape(), [heads * t * e, e, t * e, 1]);
    let out = Offsets::new(&shape, &steps).map(|at| by_head[at]).collect();
    let dtype = ins.array(0)?.dtype;
    Ok(vec![Array::floats(dtype, cx.shape(), out), Array::floats(dtype, score_shape, scores)])
}
