use super::{Emit, Emitting, Val};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    Activation, ActivationFunction, ActivationSpec, Binary, BinaryFunction, Cast, Clip, DType, Node, Unary,
    UnaryFunction,
};

/// The TensorFlow op that is the function, where there is one.
fn unary_name(function: UnaryFunction) -> Option<&'static str> {
    use UnaryFunction::*;
    Some(match function {
        Abs => "Abs",
        Neg => "Neg",
        Sign => "Sign",
        Square => "Square",
        Sqrt => "Sqrt",
        Rsqrt => "Rsqrt",
        Reciprocal => "Reciprocal",
        Exp => "Exp",
        Expm1 => "Expm1",
        Log => "Log",
        Log1p => "Log1p",
        Floor => "Floor",
        Ceil => "Ceil",
        Round => "Round",
        Sin => "Sin",
        Cos => "Cos",
        Tan => "Tan",
        Asin => "Asin",
        Acos => "Acos",
        Atan => "Atan",
        Sinh => "Sinh",
        Cosh => "Cosh",
        Tanh => "Tanh",
        Asinh => "Asinh",
        Acosh => "Acosh",
        Atanh => "Atanh",
        Erf => "Erf",
        Sigmoid => "Sigmoid",
        Relu => "Relu",
        Softplus => "Softplus",
        Softsign => "Softsign",
        Selu => "Selu",
        Not => "LogicalNot",
        IsNan => "IsNan",
        IsInf => "IsInf",
        IsFinite => "IsFinite",
        BitwiseNot => "Invert",
        Trunc | Silu | Gelu | GeluTanh | Mish => return None,
    })
}

/// Numbers that these functions have no kernel for go through a wider dtype.
fn widened(function: UnaryFunction, dtype: DType) -> Option<DType> {
    use UnaryFunction::*;
    let small = matches!(dtype, DType::U8 | DType::U16 | DType::U32 | DType::U64);
    match function {
        Abs | Neg | Sign if small => Some(DType::I64),
        Sign | Square if matches!(dtype, DType::I8 | DType::I16 | DType::U8 | DType::U16 | DType::U32 | DType::U64) => {
            Some(DType::I64)
        }
        _ => None,
    }
}

pub fn unary(op: &Unary, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, dtype) = (e.val(value)?, e.ty(value).dtype);
    let y = match widened(op.function, dtype) {
        Some(wide) => {
            let x = e.cast(&x, wide);
            let y = apply(op.function, &x, wide, e);
            e.cast(&y, dtype)
        }
        None => apply(op.function, &x, dtype, e),
    };
    e.bind(node.outputs[0], y);
    Ok(())
}

fn apply(function: UnaryFunction, x: &Val, dtype: DType, e: &mut Emit) -> Val {
    use UnaryFunction::*;
    if let Some(name) = unary_name(function) {
        return e.call(name, &[x]);
    }
    match function {
        Trunc => {
            let zero = e.scalar(dtype, 0.0);
            let (down, up) = (e.call("Floor", &[x]), e.call("Ceil", &[x]));
            let below = e.call("Less", &[x, &zero]);
            e.call("SelectV2", &[&below, &up, &down])
        }
        Silu => {
            let sigmoid = e.call("Sigmoid", &[x]);
            e.call("Mul", &[x, &sigmoid])
        }
        Gelu => {
            let root = e.scalar(dtype, std::f64::consts::FRAC_1_SQRT_2);
            let scaled = e.call("Mul", &[x, &root]);
            let erf = e.call("Erf", &[&scaled]);
            half_gate(x, &erf, dtype, e)
        }
        GeluTanh => {
            let (one, cubic) = (e.scalar(dtype, 1.0), e.scalar(dtype, 0.044715));
            let root = e.scalar(dtype, (2.0 / std::f64::consts::PI).sqrt());
            let squared = e.call("Square", &[x]);
            let cubed = e.call("Mul", &[&squared, &cubic]);
            let factor = e.call("AddV2", &[&cubed, &one]);
            let inner = e.call("Mul", &[x, &factor]);
            let scaled = e.call("Mul", &[&inner, &root]);
            let tanh = e.call("Tanh", &[&scaled]);
            half_gate(x, &tanh, dtype, e)
        }
        _ => {
            // Mish, the only one left without a name.
            let softplus = e.call("Softplus", &[x]);
            let tanh = e.call("Tanh", &[&softplus]);
            e.call("Mul", &[x, &tanh])
        }
    }
}

/// 0.5 x (1 + gate)
fn half_gate(x: &Val, gate: &Val, dtype: DType, e: &mut Emit) -> Val {
    let (half, one) = (e.scalar(dtype, 0.5), e.scalar(dtype, 1.0));
    let gate = e.call("AddV2", &[gate, &one]);
    let scaled = e.call("Mul", &[x, &half]);
    e.call("Mul", &[&scaled, &gate])
}

pub fn activation(op: &Activation, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, dtype) = (e.val(value)?, e.ty(value).dtype);
    let spec = ActivationSpec { function: op.function, alpha: op.alpha, beta: op.beta };
    let y = activate(spec, &x, dtype, e);
    e.bind(node.outputs[0], y);
    Ok(())
}

/// An activation with its parameters; recurrent layers use it too.
pub fn activate(spec: ActivationSpec, x: &Val, dtype: DType, e: &mut Emit) -> Val {
    use ActivationFunction as A;
    use UnaryFunction as U;
    match spec.function {
        A::Elu => scaled_elu(x, spec.alpha, 1.0, dtype, e),
        A::LeakyRelu if (0.0..=1.0).contains(&spec.alpha) => e.op("LeakyRelu", &[x]).float("alpha", spec.alpha).tmp(),
        A::LeakyRelu => {
            let (zero, alpha) = (e.scalar(dtype, 0.0), e.scalar(dtype, spec.alpha));
            let scaled = e.call("Mul", &[x, &alpha]);
            let negative = e.call("Less", &[x, &zero]);
            e.call("SelectV2", &[&negative, &scaled, x])
        }
        A::HardSigmoid => {
            let y = affine(x, spec, dtype, e);
            let (zero, one) = (e.scalar(dtype, 0.0), e.scalar(dtype, 1.0));
            let y = e.call("Minimum", &[&y, &one]);
            e.call("Maximum", &[&y, &zero])
        }
        A::Celu => scaled_elu(x, spec.alpha, spec.alpha, dtype, e),
        A::ThresholdedRelu => {
            let (threshold, zero) = (e.scalar(dtype, spec.alpha), e.scalar(dtype, 0.0));
            let above = e.call("Greater", &[x, &threshold]);
            e.call("SelectV2", &[&above, x, &zero])
        }
        A::ScaledTanh => {
            let (alpha, beta) = (e.scalar(dtype, spec.alpha), e.scalar(dtype, spec.beta));
            let scaled = e.call("Mul", &[x, &beta]);
            let tanh = e.call("Tanh", &[&scaled]);
            e.call("Mul", &[&tanh, &alpha])
        }
        A::Affine => affine(x, spec, dtype, e),
        A::Linear => x.clone(),
        A::Tanh => apply(U::Tanh, x, dtype, e),
        A::Sigmoid => apply(U::Sigmoid, x, dtype, e),
        A::Relu => apply(U::Relu, x, dtype, e),
        A::Softplus => apply(U::Softplus, x, dtype, e),
        A::Softsign => apply(U::Softsign, x, dtype, e),
        A::Selu => apply(U::Selu, x, dtype, e),
        A::Silu => apply(U::Silu, x, dtype, e),
        A::Gelu => apply(U::Gelu, x, dtype, e),
        A::GeluTanh => apply(U::GeluTanh, x, dtype, e),
        A::Exp => apply(U::Exp, x, dtype, e),
        A::Mish => apply(U::Mish, x, dtype, e),
    }
}

fn affine(x: &Val, spec: ActivationSpec, dtype: DType, e: &mut Emit) -> Val {
    let (alpha, beta) = (e.scalar(dtype, spec.alpha), e.scalar(dtype, spec.beta));
    let scaled = e.call("Mul", &[x, &alpha]);
    e.call("AddV2", &[&scaled, &beta])
}

/// x > 0 ? x : alpha (exp(x / width) - 1)
fn scaled_elu(x: &Val, alpha: f64, width: f64, dtype: DType, e: &mut Emit) -> Val {
    if alpha == 1.0 && width == 1.0 {
        return e.call("Elu", &[x]);
    }
    let (zero, alpha) = (e.scalar(dtype, 0.0), e.scalar(dtype, alpha));
    // The exponential of what is not negative is not wanted, and would overflow.
    let mut low = e.call("Minimum", &[x, &zero]);
    if width != 1.0 {
        let width = e.scalar(dtype, width);
        low = e.call("RealDiv", &[&low, &width]);
    }
    let low = e.call("Expm1", &[&low]);
    let low = e.call("Mul", &[&low, &alpha]);
    let above = e.call("Greater", &[x, &zero]);
    e.call("SelectV2", &[&above, x, &low])
}

pub fn binary(op: &Binary, node: &Node, e: &mut Emit) -> Emitting {
    use BinaryFunction::*;
    let dtype = e.ty(e.value(node, 0)?).dtype;
    let (a, b) = (e.arg(node, 0)?, e.arg(node, 1)?);
    let name = match op.function {
        Add => "AddV2",
        Sub => "Sub",
        Mul => "Mul",
        Div => "RealDiv",
        FloorDiv => "FloorDiv",
        Mod => "FloorMod",
        Pow => "Pow",
        Max => "Maximum",
        Min => "Minimum",
        Atan2 => "Atan2",
        Equal => "Equal",
        // Of bools, being unlike is the exclusive or.
        NotEqual | Xor => "NotEqual",
        Less => "Less",
        LessEqual => "LessEqual",
        Greater => "Greater",
        GreaterEqual => "GreaterEqual",
        And => "LogicalAnd",
        Or => "LogicalOr",
        BitwiseAnd => "BitwiseAnd",
        BitwiseOr => "BitwiseOr",
        BitwiseXor => "BitwiseXor",
        ShiftLeft => "LeftShift",
        ShiftRight => "RightShift",
    };
    if op.function == Pow && dtype.is_int() && !matches!(dtype, DType::I32 | DType::I64) {
        let (a, b) = (e.cast(&a, DType::I64), e.cast(&b, DType::I64));
        let power = e.call(name, &[&a, &b]);
        let power = e.cast(&power, dtype);
        e.bind(node.outputs[0], power);
        return Ok(());
    }
    e.op(name, &[&a, &b]).to(node.outputs[0]);
    Ok(())
}

pub fn dropout(node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    e.bind(node.outputs[0], x);
    Ok(())
}

pub fn clip(op: &Clip, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, dtype) = (e.val(value)?, e.ty(value).dtype);
    if (op.min, op.max) == (Some(0.0), Some(6.0)) && dtype.is_float() {
        e.op("Relu6", &[&x]).to(node.outputs[0]);
        return Ok(());
    }
    let y = clipped(&x, op.min, op.max, dtype, e);
    e.bind(node.outputs[0], y);
    Ok(())
}

pub fn clipped(x: &Val, min: Option<f64>, max: Option<f64>, dtype: DType, e: &mut Emit) -> Val {
    let mut y = x.clone();
    if let Some(max) = max {
        let max = e.scalar(dtype, max);
        y = e.call("Minimum", &[&y, &max]);
    }
    if let Some(min) = min {
        let min = e.scalar(dtype, min);
        y = e.call("Maximum", &[&y, &min]);
    }
    y
}

pub fn select(node: &Node, e: &mut Emit) -> Emitting {
    let (condition, a, b) = (e.arg(node, 0)?, e.arg(node, 1)?, e.arg(node, 2)?);
    e.op("SelectV2", &[&condition, &a, &b]).to(node.outputs[0]);
    Ok(())
}

pub fn cast(op: &Cast, node: &Node, e: &mut Emit) -> Result<(), Diag> {
    let value = e.value(node, 0)?;
    let (x, from) = (e.val(value)?, e.ty(value).dtype);
    if op.to == DType::Bool && from != DType::Bool {
        // A cast of a fraction to bool is left to the compiler of the kernel; a comparison is not.
        let zero = e.scalar(from, 0.0);
        e.op("NotEqual", &[&x, &zero]).to(node.outputs[0]);
        return Ok(());
    }
    if op.to == DType::Str && from != DType::Str {
        e.op("AsString", &[&x]).to(node.outputs[0]);
        return Ok(());
    }
    let y = e.cast(&x, op.to);
    e.bind(node.outputs[0], y);
    Ok(())
}
