use super::unsupported;
use crate::class::Helper;
use crate::py::{Arg, Py, binary as infix, call, kw, method};
use crate::scope::{Emit, Making, dtype};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    Activation, ActivationFunction, ActivationSpec, Binary, BinaryFunction, Cast, Clip, DType, Dropout,
    DropoutFunction, Node, Unary, UnaryFunction,
};

/// PyTorch's function. Sources: docs.pytorch.org, `torch` (elementwise functions) and `torch.nn.functional`.
fn unary_name(function: UnaryFunction) -> &'static str {
    use UnaryFunction::*;
    match function {
        Abs => "torch.abs",
        Neg => "torch.neg",
        Sign => "torch.sign",
        Square => "torch.square",
        Sqrt => "torch.sqrt",
        Rsqrt => "torch.rsqrt",
        Reciprocal => "torch.reciprocal",
        Exp => "torch.exp",
        Expm1 => "torch.expm1",
        Log => "torch.log",
        Log1p => "torch.log1p",
        Floor => "torch.floor",
        Ceil => "torch.ceil",
        // Halves to even, too.
        Round => "torch.round",
        Trunc => "torch.trunc",
        Sin => "torch.sin",
        Cos => "torch.cos",
        Tan => "torch.tan",
        Asin => "torch.asin",
        Acos => "torch.acos",
        Atan => "torch.atan",
        Sinh => "torch.sinh",
        Cosh => "torch.cosh",
        Tanh => "torch.tanh",
        Asinh => "torch.asinh",
        Acosh => "torch.acosh",
        Atanh => "torch.atanh",
        Erf => "torch.erf",
        Sigmoid => "torch.sigmoid",
        Relu => "F.relu",
        Softplus => "F.softplus",
        Softsign => "F.softsign",
        Silu => "F.silu",
        Gelu | GeluTanh => "F.gelu",
        Mish => "F.mish",
        Selu => "F.selu",
        Not => "torch.logical_not",
        IsNan => "torch.isnan",
        IsInf => "torch.isinf",
        IsFinite => "torch.isfinite",
        BitwiseNot => "torch.bitwise_not",
    }
}

pub fn unary(op: &Unary, node: &Node, e: &mut Emit) -> Making {
    let x = e.tensor_arg(node, 0)?;
    Ok(apply_unary(op.function, x).into())
}

fn apply_unary(function: UnaryFunction, x: Py) -> Py {
    let mut args: Vec<Arg> = vec![x.into()];
    match function {
        UnaryFunction::GeluTanh => args.push(kw("approximate", "\"tanh\"")),
        // By default PyTorch continues linearly from 20 on, which is another function by 2e-9.
        UnaryFunction::Softplus => {}
        _ => {}
    }
    call(unary_name(function), args)
}

pub fn activation(op: &Activation, node: &Node, e: &mut Emit) -> Making {
    let spec = ActivationSpec { function: op.function, alpha: op.alpha, beta: op.beta };
    let x = e.tensor_arg(node, 0)?;
    Ok(apply(&spec, x).into())
}

/// Keras 3's hard_sigmoid is relu6(x + 3) / 6, as PyTorch's; Keras 2's has a slope of 0.2.
const SIXTH: f64 = 1.0 / 6.0;

/// The activation of `x`.
pub fn apply(spec: &ActivationSpec, x: Py) -> Py {
    use ActivationFunction::*;
    let (alpha, beta) = (spec.alpha, spec.beta);
    let named = |name: &str, x: Py| call(name, vec![x.into(), alpha.into_arg()]);
    match spec.function {
        Elu if alpha == 1.0 => call("F.elu", vec![x.into()]),
        Elu => call("F.elu", vec![x.into(), kw("alpha", alpha)]),
        LeakyRelu => named("F.leaky_relu", x),
        HardSigmoid if (alpha - SIXTH).abs() < 1e-9 && beta == 0.5 => call("F.hardsigmoid", vec![x.into()]),
        HardSigmoid => {
            let line = infix("+", infix("*", x, alpha.into()), beta.into());
            call("torch.clamp", vec![line.into(), kw("min", 0.0), kw("max", 1.0)])
        }
        Celu => call("F.celu", vec![x.into(), kw("alpha", alpha)]),
        ThresholdedRelu => call("F.threshold", vec![x.into(), Py::from(alpha).into(), Py::from(0.0).into()]),
        ScaledTanh => infix("*", call("torch.tanh", vec![infix("*", x, beta.into()).into()]), alpha.into()),
        Affine => infix("+", infix("*", x, alpha.into()), beta.into()),
        Linear => x,
        Tanh => apply_unary(UnaryFunction::Tanh, x),
        Sigmoid => apply_unary(UnaryFunction::Sigmoid, x),
        Relu => apply_unary(UnaryFunction::Relu, x),
        Softplus => apply_unary(UnaryFunction::Softplus, x),
        Softsign => apply_unary(UnaryFunction::Softsign, x),
        Selu => apply_unary(UnaryFunction::Selu, x),
        Silu => apply_unary(UnaryFunction::Silu, x),
        Gelu => apply_unary(UnaryFunction::Gelu, x),
        GeluTanh => apply_unary(UnaryFunction::GeluTanh, x),
        Exp => apply_unary(UnaryFunction::Exp, x),
        Mish => apply_unary(UnaryFunction::Mish, x),
    }
}

/// The activation as a function of one argument, by name or as a lambda.
pub fn function_of(spec: &ActivationSpec) -> Py {
    match apply(spec, "x".into()) {
        Py::Call(callee, args) if args.len() == 1 => *callee,
        other => format!("lambda x: {}", other.inline()).into(),
    }
}

trait IntoArg {
    fn into_arg(self) -> Arg;
}

impl IntoArg for f64 {
    fn into_arg(self) -> Arg {
        Py::from(self).into()
    }
}

/// An operator, or a function that takes numbers only as tensors.
fn binary_name(function: BinaryFunction) -> Result<&'static str, &'static str> {
    use BinaryFunction::*;
    match function {
        Add => Ok("+"),
        Sub => Ok("-"),
        Mul => Ok("*"),
        Div => Ok("/"),
        // Both take the sign of the divisor, in PyTorch too.
        FloorDiv => Ok("//"),
        Mod => Ok("%"),
        Equal => Ok("=="),
        NotEqual => Ok("!="),
        Less => Ok("<"),
        LessEqual => Ok("<="),
        Greater => Ok(">"),
        GreaterEqual => Ok(">="),
        And => Ok("&"),
        Or => Ok("|"),
        Pow => Err("torch.pow"),
        Max => Err("torch.maximum"),
        Min => Err("torch.minimum"),
        Atan2 => Err("torch.atan2"),
        Xor => Err("torch.logical_xor"),
        BitwiseAnd => Err("torch.bitwise_and"),
        BitwiseOr => Err("torch.bitwise_or"),
        BitwiseXor => Err("torch.bitwise_xor"),
        ShiftLeft => Err("torch.bitwise_left_shift"),
        ShiftRight => Err("torch.bitwise_right_shift"),
    }
}

pub fn binary(op: &Binary, node: &Node, e: &mut Emit) -> Making {
    use BinaryFunction::*;
    let (a, b) = (e.value(node, 0)?, e.value(node, 1)?);
    // A constant of one element is a number, where the other side has as many axes.
    let (left, right) = (e.scalar(a, e.ty(b).rank()), e.scalar(b, e.ty(a).rank()));
    if let (Some(number), Max | Min) = (right.clone().or(left.clone()), op.function)
        && left.is_none() != right.is_none()
    {
        let x = if right.is_some() { e.say(a)? } else { e.say(b)? };
        let bound = if op.function == Max { "min" } else { "max" };
        return Ok(call("torch.clamp", vec![x.into(), kw(bound, number)]).into());
    }
    let (x, y) = match (left, right) {
        (Some(_), Some(_)) => (e.tensor_arg(node, 0)?, e.tensor_arg(node, 1)?),
        (None, Some(number)) if !matches!(op.function, Atan2 | Xor) => (e.say(a)?, number),
        (Some(number), None) if binary_name(op.function).is_ok() || op.function == Pow => (number, e.say(b)?),
        _ => (e.tensor_arg(node, 0)?, e.tensor_arg(node, 1)?),
    };
    Ok(match binary_name(op.function) {
        Ok(operator) => infix(operator, x, y),
        Err(name) => call(name, vec![x.into(), y.into()]),
    }
    .into())
}

pub fn clip(op: &Clip, node: &Node, e: &mut Emit) -> Making {
    let value = e.value(node, 0)?;
    let float = e.ty(value).dtype.is_float();
    let x = e.tensor_arg(node, 0)?;
    let number = |bound: f64| if float { Py::from(bound) } else { Py::from(bound as i64) };
    if op.min == Some(0.0) && op.max == Some(6.0) && float {
        return Ok(call("F.relu6", vec![x.into()]).into());
    }
    let mut args = vec![x.into()];
    args.extend(op.min.map(|bound| kw("min", number(bound))));
    args.extend(op.max.map(|bound| kw("max", number(bound))));
    Ok(match args.len() {
        1 => e.arg(node, 0)?,
        _ => call("torch.clamp", args),
    }
    .into())
}

pub fn select(node: &Node, e: &mut Emit) -> Making {
    let (a, b) = (e.value(node, 1)?, e.value(node, 2)?);
    let condition = e.tensor_arg(node, 0)?;
    let numbers = e.scalar(a, 0).is_some() && e.scalar(b, 0).is_some();
    let (x, y) = if numbers || e.ty(a).dtype == DType::Bool {
        (e.tensor_arg(node, 1)?, e.tensor_arg(node, 2)?)
    } else {
        (e.arg(node, 1)?, e.arg(node, 2)?)
    };
    Ok(call("torch.where", vec![condition.into(), x.into(), y.into()]).into())
}

pub fn cast(op: &Cast, node: &Node, e: &mut Emit) -> Making {
    let to = dtype(op.to, node)?;
    let value = e.value(node, 0)?;
    if e.ty(value).dtype == DType::Str {
        return Err(unsupported(node, "PyTorch has no tensors of strings"));
    }
    let x = e.tensor_arg(node, 0)?;
    Ok(method(x, "to", vec![to.into()]).into())
}

/// nn.Dropout, its kin that drop whole channels, and what PyTorch lacks as a module of our own.
pub fn dropout(op: &Dropout, node: &Node, e: &mut Emit) -> Making {
    let value = e.value(node, 0)?;
    let x = e.say(value)?;
    let rank = e.ty(value).rank();
    let rate = Py::from(op.rate);
    let channelwise = op.shared == (2..rank).collect::<Vec<_>>() && !op.shared.is_empty();
    let ctor = match (op.function, channelwise, rank) {
        (DropoutFunction::Dropout, false, _) if op.shared.is_empty() => call("nn.Dropout", vec![rate.into()]),
        (DropoutFunction::Dropout, true, 3) => call("nn.Dropout1d", vec![rate.into()]),
        (DropoutFunction::Dropout, true, 4) => call("nn.Dropout2d", vec![rate.into()]),
        (DropoutFunction::Dropout, true, 5) => call("nn.Dropout3d", vec![rate.into()]),
        (DropoutFunction::Alpha, _, _) if op.shared.is_empty() => call("nn.AlphaDropout", vec![rate.into()]),
        (function, ..) => noise(function, op, node, e)?,
    };
    let base = e.attribute_base(&node.path, "");
    let module = e.module(format!("dropout {} {:?}", node.path, op), &base, ctor, &[], Vec::new());
    Ok(Py::Call(Box::new(module), vec![x.into()]).into())
}

fn noise(function: DropoutFunction, op: &Dropout, node: &Node, e: &mut Emit) -> Result<Py, Diag> {
    let kind = match function {
        DropoutFunction::Dropout => "dropout",
        DropoutFunction::Gaussian => "multiply",
        DropoutFunction::Noise => "add",
        DropoutFunction::Alpha => return Err(unsupported(node, "alpha dropout of whole axes")),
    };
    e.out.helpers.insert(Helper::Noise);
    let mut args = vec![Py::from(format!("\"{kind}\"")).into(), Py::from(op.rate).into()];
    if !op.shared.is_empty() {
        args.push(kw("shared", crate::py::tuple(op.shared.iter().copied())));
    }
    Ok(call("Noise", args))
}
