use super::*;
use crate::ir::op::Attention;

pub fn attention(_op: &Attention, ins: &mut Ins) -> Inferred {
    ins.count(3, 4)?;
    let (q, k, v) = (ins.get(0)?, ins.get(1)?, ins.get(2)?);
    for ty in [q, k, v] {
        want_rank(ty, 4)?;
        want_dtype(ty, "a float", |d| d.is_float() && d == q.dtype)?;
    }
    let batch = ins.same(&q.shape[0], &k.shape[0])?;
    ins.same(&batch, &v.shape[0])?;
    ins.same(&q.shape[3], &k.shape[3])?;
    ins.same(&k.shape[1], &v.shape[1])?;
    ins.same(&k.shape[2], &v.shape[2])?;
    let heads = (q.shape[2].known(), k.shape[2].known());
    if !matches!(heads, (Some(h), Some(g)) if g > 0 && h % g == 0) {
        return Err(format!("{} query heads over {} key heads", q.shape[2], k.shape[2]));
    }
    let scores = vec![batch.clone(), q.shape[2].clone(), q.shape[1].clone(), k.shape[1].clone()];
    if let Some(mask) = ins.opt(3) {
        want_dtype(mask, "bool", |d| d == DType::Bool)?;
        let shape = ins.broadcast(&mask.shape, &scores)?;
        if shape.len() != 4 {
            return Err(format!("mask {mask} has too many axes"));
        }
    }
    let output = vec![batch, q.shape[1].clone(), q.shape[2].clone(), v.shape[3].clone()];
    Ok(vec![q.with_shape(output), q.with_shape(scores)])
}
