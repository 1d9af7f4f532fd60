use super::*;
use crate::ir::op::{Activation, Binary, BinaryFunction, Cast, Clip, Dropout, Unary, UnaryFunction};

pub fn unary(op: &Unary, ins: &Ins) -> Inferred {
    use UnaryFunction::*;
    ins.count(1, 1)?;
    let x = ins.get(0)?;
    let dtype = match op.function {
        Not => {
            want_dtype(x, "bool", |d| d == DType::Bool)?;
            DType::Bool
        }
        IsNan | IsInf | IsFinite => {
            want_dtype(x, "a float", DType::is_float)?;
            DType::Bool
        }
        BitwiseNot => {
            want_dtype(x, "an integer", DType::is_int)?;
            x.dtype
        }
        Abs | Neg | Sign | Square | Relu => {
            want_dtype(x, "a number", |d| d.is_float() || d.is_int())?;
            x.dtype
        }
        Sqrt | Rsqrt | Reciprocal | Exp | Expm1 | Log | Log1p | Floor | Ceil | Round | Trunc | Sin | Cos | Tan
        | Asin | Acos | Atan | Sinh | Cosh | Tanh | Asinh | Acosh | Atanh | Erf | Sigmoid | Softplus | Softsign
        | Silu | Gelu | GeluTanh | Mish | Selu => {
            want_dtype(x, "a float", DType::is_float)?;
            x.dtype
        }
    };
    Ok(vec![x.with_dtype(dtype)])
}

pub fn activation(_op: &Activation, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    want_dtype(ins.get(0)?, "a float", DType::is_float)?;
    Ok(vec![ins.get(0)?.clone()])
}

pub fn binary(op: &Binary, ins: &mut Ins) -> Inferred {
    use BinaryFunction::*;
    ins.count(2, 2)?;
    let (a, b) = (ins.get(0)?, ins.get(1)?);
    if a.dtype != b.dtype {
        return Err(format!("dtypes {} and {} differ", a.dtype, b.dtype));
    }
    match op.function {
        Div | Atan2 => want_dtype(a, "a float", DType::is_float)?,
        And | Or | Xor => want_dtype(a, "bool", |d| d == DType::Bool)?,
        BitwiseAnd | BitwiseOr | BitwiseXor | ShiftLeft | ShiftRight => want_dtype(a, "an integer", DType::is_int)?,
        Add | Sub | Mul | FloorDiv | Mod | Pow | Max | Min | Less | LessEqual | Greater | GreaterEqual => {
            want_dtype(a, "a number", |d| d.is_float() || d.is_int())?
        }
        Equal | NotEqual => {}
    }
    let dtype = if op.function.is_comparison() { DType::Bool } else { a.dtype };
    Ok(vec![Type::new(dtype, ins.broadcast(&a.shape, &b.shape)?)])
}

pub fn clip(op: &Clip, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    want_dtype(ins.get(0)?, "a number", |d| d.is_float() || d.is_int())?;
    if let (Some(min), Some(max)) = (op.min, op.max)
        && min > max
    {
        return Err(format!("min {min} is above max {max}"));
    }
    Ok(vec![ins.get(0)?.clone()])
}

pub fn dropout(op: &Dropout, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    let x = ins.get(0)?;
    want_dtype(x, "a number", |d| d.is_float() || d.is_int())?;
    if !op.shared.is_empty() {
        want_axes(x, &op.shared)?;
    }
    Ok(vec![x.clone()])
}

pub fn select(ins: &mut Ins) -> Inferred {
    ins.count(3, 3)?;
    let (condition, a, b) = (ins.get(0)?, ins.get(1)?, ins.get(2)?);
    want_dtype(condition, "bool", |d| d == DType::Bool)?;
    if a.dtype != b.dtype {
        return Err(format!("dtypes {} and {} differ", a.dtype, b.dtype));
    }
    let shape = ins.broadcast(&a.shape, &b.shape)?;
    Ok(vec![Type::new(a.dtype, ins.broadcast(&condition.shape, &shape)?)])
}

pub fn cast(op: &Cast, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    let from = ins.get(0)?.dtype;
    if from == DType::Str || (op.to == DType::Str && !from.is_int()) {
        return Err(format!(
            "{from} as {}: only whole numbers have a form as strings, and these none as numbers",
            op.to
        ));
    }
    Ok(vec![ins.get(0)?.with_dtype(op.to)])
}
