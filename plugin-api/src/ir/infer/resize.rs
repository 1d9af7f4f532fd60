use super::*;
use crate::ir::op::Resize;

pub fn resize(op: &Resize, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    let x = ins.get(0)?;
    want_axes(x, &op.axes)?;
    want_dtype(x, "a number", |d| d.is_float() || d.is_int())?;
    if op.axes.len() != op.sizes.len() {
        return Err(format!("{} sizes for {} axes", op.sizes.len(), op.axes.len()));
    }
    let mut shape = x.shape.clone();
    for (&axis, size) in op.axes.iter().zip(&op.sizes) {
        shape[axis] = size.clone();
    }
    Ok(vec![x.with_shape(shape)])
}
