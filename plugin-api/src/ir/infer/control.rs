use super::*;
use crate::ir::op::{Constant, DimSize, Iota, Scan};
use crate::ir::types::{Data, INLINE_BYTES_MAX};

pub fn scan(op: &Scan, ins: &mut Ins) -> Inferred {
    let body = &op.body;
    if ins.len() != body.inputs.len() || ins.len() <= op.states || body.outputs.len() < op.states {
        return Err(format!("{} inputs for a body that takes {}", ins.len(), body.inputs.len()));
    }
    let mut time: Option<Dim> = None;
    for (index, input) in body.inputs.iter().enumerate() {
        let (ty, inner) = (ins.get(index)?, body.ty(input.value));
        want_dtype(ty, "the body's dtype", |d| d == inner.dtype)?;
        let mut shape = ty.shape.clone();
        if index >= op.states {
            if shape.len() < 2 {
                return Err(format!("scanned input {ty} has no time axis"));
            }
            let length = shape.remove(1);
            time = Some(match &time {
                Some(known) => ins.same(known, &length)?,
                None => length,
            });
        }
        ins.same_shape(&shape, &inner.shape)?;
    }
    let time = time.ok_or("nothing is scanned")?;
    let mut types = Vec::new();
    for (index, output) in body.outputs.iter().enumerate() {
        let mut ty = body.ty(output.value).clone();
        if index < op.states {
            let state = ins.get(index)?;
            want_dtype(&ty, "the state's dtype", |d| d == state.dtype)?;
            ins.same_shape(&ty.shape, &state.shape)?;
        } else if ty.rank() == 0 {
            return Err("a stacked output has no batch axis".into());
        } else {
            ty.shape.insert(1, time.clone());
        }
        types.push(ty);
    }
    Ok(types)
}

pub fn constant(op: &Constant, ins: &Ins) -> Inferred {
    ins.count(0, 0)?;
    let tensor = &op.tensor;
    let stored: u64 = tensor.stored.iter().product();
    if stored != tensor.len() {
        return Err(format!("{stored} elements stored, {} seen", tensor.len()));
    }
    match &tensor.data {
        Data::Inline(bytes) if bytes.len() > INLINE_BYTES_MAX => Err(format!("{} bytes inline", bytes.len())),
        Data::Inline(bytes) if tensor.dtype != DType::Str && bytes.len() as u64 != tensor.byte_len() => {
            Err(format!("{} bytes for {}", bytes.len(), tensor.ty()))
        }
        Data::Inline(_) | Data::Region { .. } => Ok(vec![tensor.ty()]),
    }
}

pub fn dim_size(_op: &DimSize, ins: &Ins) -> Inferred {
    ins.count(0, 0)?;
    Ok(vec![Type::known(DType::I64, &[])])
}

pub fn iota(op: &Iota, ins: &Ins) -> Inferred {
    ins.count(0, 0)?;
    if !op.dtype.is_int() && !op.dtype.is_float() {
        return Err(format!("counting in {}", op.dtype));
    }
    Ok(vec![Type::new(op.dtype, vec![op.dim.clone()])])
}
