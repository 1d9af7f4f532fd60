use super::*;
use crate::ir::op::{BatchNorm, GroupNorm, LayerNorm, LogSoftmax, RmsNorm, Softmax};

fn same_as_input(ins: &Ins) -> Inferred {
    want_dtype(ins.get(0)?, "a float", DType::is_float)?;
    Ok(vec![ins.get(0)?.clone()])
}

/// Each present input from `from` on has exactly these sizes.
fn want_shape(ins: &mut Ins, from: usize, shape: &[Dim]) -> Result<(), Misfit> {
    for index in from..ins.len() {
        if let Some(ty) = ins.opt(index) {
            ins.same_shape(&ty.shape, shape)?;
        }
    }
    Ok(())
}

pub fn batch_norm(op: &BatchNorm, ins: &mut Ins) -> Inferred {
    ins.count(1, 5)?;
    let x = ins.get(0)?;
    want_axis(x, op.axis)?;
    ins.get(3)?;
    ins.get(4)?;
    want_shape(ins, 1, std::slice::from_ref(&x.shape[op.axis]))?;
    same_as_input(ins)
}

fn sizes_of(x: &Type, axes: &[usize]) -> Vec<Dim> {
    axes.iter().map(|&axis| x.shape[axis].clone()).collect()
}

pub fn layer_norm(op: &LayerNorm, ins: &mut Ins) -> Inferred {
    ins.count(1, 3)?;
    let x = ins.get(0)?;
    want_axes(x, &op.axes)?;
    want_shape(ins, 1, &sizes_of(x, &op.axes))?;
    same_as_input(ins)
}

pub fn rms_norm(op: &RmsNorm, ins: &mut Ins) -> Inferred {
    ins.count(1, 2)?;
    let x = ins.get(0)?;
    want_axes(x, &op.axes)?;
    want_shape(ins, 1, &sizes_of(x, &op.axes))?;
    same_as_input(ins)
}

pub fn group_norm(op: &GroupNorm, ins: &mut Ins) -> Inferred {
    ins.count(1, 3)?;
    let x = ins.get(0)?;
    want_axis(x, op.axis)?;
    if let Some(channels) = x.shape[op.axis].known()
        && (op.groups == 0 || channels % op.groups != 0)
    {
        return Err(format!("{channels} channels in {} groups", op.groups));
    }
    want_shape(ins, 1, std::slice::from_ref(&x.shape[op.axis]))?;
    same_as_input(ins)
}

pub fn softmax(op: &Softmax, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    want_axes(ins.get(0)?, &op.axes)?;
    same_as_input(ins)
}

pub fn log_softmax(op: &LogSoftmax, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    want_axis(ins.get(0)?, op.axis)?;
    same_as_input(ins)
}
