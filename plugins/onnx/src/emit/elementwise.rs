use super::{Emit, Emitting, Static, needs_opset, unsupported};
use crate::proto::data_type;
use crate::write::Piece;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    Activation, ActivationFunction, Binary, BinaryFunction, Cast, Clip, DType, Node, Unary, UnaryFunction,
};

/// The ONNX op that is the function, where there is one.
fn unary_name(function: UnaryFunction) -> Option<&'static str> {
    use UnaryFunction::*;
    Some(match function {
        Abs => "Abs",
        Neg => "Neg",
        Sign => "Sign",
        Sqrt => "Sqrt",
        Reciprocal => "Reciprocal",
        Exp => "Exp",
        Log => "Log",
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
        Not => "Not",
        IsNan => "IsNaN",
        IsInf => "IsInf",
        BitwiseNot => "BitwiseNot",
        // Selu and Mish exist too, but not in every runtime; as two or three nodes they do.
        Square | Rsqrt | Expm1 | Log1p | Trunc | Silu | Gelu | GeluTanh | Mish | Selu | IsFinite => return None,
    })
}

pub fn unary(op: &Unary, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, dtype, out) = (e.name(value), e.ty(value).dtype, node.outputs[0]);
    match unary_name(op.function) {
        Some("BitwiseNot") => {
            needs_opset(node, "BitwiseNot", 18, e)?;
            e.op("BitwiseNot", &[&x]).to(out);
        }
        // Relu of integers came with opset 14.
        Some("Relu") if !dtype.is_float() => {
            let zero = e.scalar(dtype, 0.0);
            e.op("Max", &[&x, &zero]).to(out);
        }
        Some(name) => e.op(name, &[&x]).to(out),
        None => composed(op.function, &x, dtype, e, &mut |e, op_type, inputs| e.op(op_type, inputs).to(out)),
    }
    Ok(())
}

/// Where the last node of a composed function goes.
type Last<'l> = &'l mut dyn FnMut(&mut Emit, &'static str, &[&str]);

fn composed(function: UnaryFunction, x: &str, dtype: DType, e: &mut Emit, last: Last) {
    use UnaryFunction::*;
    match function {
        Square => last(e, "Mul", &[x, x]),
        Rsqrt => {
            let root = e.call("Sqrt", &[x]);
            last(e, "Reciprocal", &[&root]);
        }
        Expm1 => {
            // tanh(x/2) (exp(x) + 1): exact near zero, where exp(x) - 1 has lost its digits.
            let (half, one) = (e.scalar(dtype, 0.5), e.scalar(dtype, 1.0));
            let x2 = e.call("Mul", &[x, &half]);
            let t = e.call("Tanh", &[&x2]);
            let exp = e.call("Exp", &[x]);
            let exp1 = e.call("Add", &[&exp, &one]);
            last(e, "Mul", &[&t, &exp1]);
        }
        Log1p => log1p(x, dtype, e, last),
        Trunc => {
            let sign = e.call("Sign", &[x]);
            let abs = e.call("Abs", &[x]);
            let floor = e.call("Floor", &[&abs]);
            last(e, "Mul", &[&sign, &floor]);
        }
        Silu => {
            let sigmoid = e.call("Sigmoid", &[x]);
            last(e, "Mul", &[x, &sigmoid]);
        }
        Gelu => gelu(x, dtype, e, last),
        GeluTanh => gelu_tanh(x, dtype, e, last),
        Mish => {
            let softplus = e.call("Softplus", &[x]);
            let tanh = e.call("Tanh", &[&softplus]);
            last(e, "Mul", &[x, &tanh]);
        }
        Selu => {
            let scale = e.scalar(dtype, SELU_SCALE);
            let elu = e.op("Elu", &[x]).float("alpha", SELU_ALPHA).tmp();
            last(e, "Mul", &[&elu, &scale]);
        }
        IsFinite => {
            let nan = e.call("IsNaN", &[x]);
            let inf = e.call("IsInf", &[x]);
            let either = e.call("Or", &[&nan, &inf]);
            last(e, "Not", &[&either]);
        }
        // All others have an ONNX op of their own.
        Abs | Neg | Sign | Sqrt | Reciprocal | Exp | Log | Floor | Ceil | Round | Sin | Cos | Tan | Asin | Acos
        | Atan | Sinh | Cosh | Tanh | Asinh | Acosh | Atanh | Erf | Sigmoid | Relu | Softplus | Softsign | Not
        | IsNan | IsInf | BitwiseNot => {
            if let Some(name) = unary_name(function) {
                last(e, name, &[x]);
            }
        }
    }
}

const SELU_ALPHA: f64 = 1.6732632423543772;
const SELU_SCALE: f64 = 1.0507009873554805;

fn log1p(x: &str, dtype: DType, e: &mut Emit, last: Last) {
    // log(1 + x) loses x near zero; there, 2 atanh(x / (2 + x)) is the same and keeps it.
    let (one, two, half) = (e.scalar(dtype, 1.0), e.scalar(dtype, 2.0), e.scalar(dtype, 0.5));
    let abs = e.call("Abs", &[x]);
    let small = e.call("Less", &[&abs, &half]);
    let x2 = e.call("Add", &[x, &two]);
    let ratio = e.call("Div", &[x, &x2]);
    let atanh = e.call("Atanh", &[&ratio]);
    let near = e.call("Mul", &[&atanh, &two]);
    let x1 = e.call("Add", &[x, &one]);
    let far = e.call("Log", &[&x1]);
    last(e, "Where", &[&small, &near, &far]);
}

fn gelu(x: &str, dtype: DType, e: &mut Emit, last: Last) {
    if e.opset >= 20 {
        return last(e, "Gelu", &[x]);
    }
    let (half, one, root) = (e.scalar(dtype, 0.5), e.scalar(dtype, 1.0), e.scalar(dtype, std::f64::consts::SQRT_2));
    let scaled = e.call("Div", &[x, &root]);
    let erf = e.call("Erf", &[&scaled]);
    let erf1 = e.call("Add", &[&erf, &one]);
    let weighted = e.call("Mul", &[x, &erf1]);
    last(e, "Mul", &[&weighted, &half]);
}

fn gelu_tanh(x: &str, dtype: DType, e: &mut Emit, last: Last) {
    // Spelled out for all opsets: Gelu's `approximate` form would be an attribute that only this arm needs.
    let (half, one) = (e.scalar(dtype, 0.5), e.scalar(dtype, 1.0));
    let (cubic, root) = (e.scalar(dtype, 0.044715), e.scalar(dtype, (2.0 / std::f64::consts::PI).sqrt()));
    let x2 = e.call("Mul", &[x, x]);
    let x2c = e.call("Mul", &[&x2, &cubic]);
    let factor = e.call("Add", &[&x2c, &one]);
    let inner = e.call("Mul", &[x, &factor]);
    let scaled = e.call("Mul", &[&inner, &root]);
    let tanh = e.call("Tanh", &[&scaled]);
    let tanh1 = e.call("Add", &[&tanh, &one]);
    let weighted = e.call("Mul", &[x, &tanh1]);
    last(e, "Mul", &[&weighted, &half]);
}

pub fn activation(op: &Activation, node: &Node, e: &mut Emit) -> Emitting {
    use ActivationFunction::*;
    let value = e.value(node, 0)?;
    let (x, dtype, out) = (e.name(value), e.ty(value).dtype, node.outputs[0]);
    let mut last = |e: &mut Emit, op_type: &'static str, inputs: &[&str]| e.op(op_type, inputs).to(out);
    match op.function {
        Elu => e.op("Elu", &[&x]).float("alpha", op.alpha).to(out),
        LeakyRelu => e.op("LeakyRelu", &[&x]).float("alpha", op.alpha).to(out),
        HardSigmoid => e.op("HardSigmoid", &[&x]).float("alpha", op.alpha).float("beta", op.beta).to(out),
        Celu => {
            // alpha elu(x / alpha), which every runtime has.
            let alpha = e.scalar(dtype, op.alpha);
            let scaled = e.call("Div", &[&x, &alpha]);
            let elu = e.op("Elu", &[&scaled]).float("alpha", 1.0).tmp();
            e.op("Mul", &[&elu, &alpha]).to(out);
        }
        ThresholdedRelu => {
            let (threshold, zero) = (e.scalar(dtype, op.alpha), e.scalar(dtype, 0.0));
            let above = e.call("Greater", &[&x, &threshold]);
            e.op("Where", &[&above, &x, &zero]).to(out);
        }
        ScaledTanh => {
            let (alpha, beta) = (e.scalar(dtype, op.alpha), e.scalar(dtype, op.beta));
            let scaled = e.call("Mul", &[&x, &beta]);
            let tanh = e.call("Tanh", &[&scaled]);
            e.op("Mul", &[&tanh, &alpha]).to(out);
        }
        Affine => {
            let (alpha, beta) = (e.scalar(dtype, op.alpha), e.scalar(dtype, op.beta));
            let scaled = e.call("Mul", &[&x, &alpha]);
            e.op("Add", &[&scaled, &beta]).to(out);
        }
        Linear => e.alias(out, &x),
        Tanh => composed(UnaryFunction::Tanh, &x, dtype, e, &mut last),
        Sigmoid => composed(UnaryFunction::Sigmoid, &x, dtype, e, &mut last),
        Relu => composed(UnaryFunction::Relu, &x, dtype, e, &mut last),
        Softplus => composed(UnaryFunction::Softplus, &x, dtype, e, &mut last),
        Softsign => composed(UnaryFunction::Softsign, &x, dtype, e, &mut last),
        Selu => composed(UnaryFunction::Selu, &x, dtype, e, &mut last),
        Silu => composed(UnaryFunction::Silu, &x, dtype, e, &mut last),
        Gelu => composed(UnaryFunction::Gelu, &x, dtype, e, &mut last),
        GeluTanh => composed(UnaryFunction::GeluTanh, &x, dtype, e, &mut last),
        Exp => composed(UnaryFunction::Exp, &x, dtype, e, &mut last),
        Mish => composed(UnaryFunction::Mish, &x, dtype, e, &mut last),
    }
    Ok(())
}

pub fn binary(op: &Binary, node: &Node, e: &mut Emit) -> Emitting {
    use BinaryFunction::*;
    let dtype = e.ty(e.value(node, 0)?).dtype;
    let (a, b, out) = (e.arg(node, 0)?, e.arg(node, 1)?, node.outputs[0]);
    let name = match op.function {
        Add => "Add",
        Sub => "Sub",
        Mul => "Mul",
        Div => "Div",
        Pow => "Pow",
        Max => "Max",
        Min => "Min",
        Equal => "Equal",
        Less => "Less",
        LessEqual => "LessOrEqual",
        Greater => "Greater",
        GreaterEqual => "GreaterOrEqual",
        And => "And",
        Or => "Or",
        Xor => "Xor",
        BitwiseAnd => bitwise("BitwiseAnd", node, e)?,
        BitwiseOr => bitwise("BitwiseOr", node, e)?,
        BitwiseXor => bitwise("BitwiseXor", node, e)?,
        NotEqual => {
            let equal = e.call("Equal", &[&a, &b]);
            e.op("Not", &[&equal]).to(out);
            return Ok(());
        }
        FloorDiv => return floor_div(&a, &b, dtype, node, e),
        Mod => return modulo(&a, &b, dtype, node, e),
        Atan2 => return atan2(&a, &b, dtype, node, e),
        ShiftLeft | ShiftRight => return shift(op.function == ShiftLeft, &a, &b, dtype, node, e),
    };
    e.op(name, &[&a, &b]).to(out);
    Ok(())
}

fn bitwise(name: &'static str, node: &Node, e: &mut Emit) -> Result<&'static str, Diag> {
    needs_opset(node, name, 18, e).map(|()| name)
}

/// Remainder with the divisor's sign.
fn floor_mod(a: &str, b: &str, dtype: DType, e: &mut Emit) -> String {
    if !dtype.is_float() {
        return e.call("Mod", &[a, b]);
    }
    // The only Mod of floats follows the dividend; where signs differ, one divisor more is the other remainder.
    let zero = e.scalar(dtype, 0.0);
    let rest = e.op("Mod", &[a, b]).int("fmod", 1).tmp();
    let signs = e.call("Mul", &[&rest, b]);
    let other = e.call("Less", &[&signs, &zero]);
    let moved = e.call("Add", &[&rest, b]);
    e.call("Where", &[&other, &moved, &rest])
}

fn modulo(a: &str, b: &str, dtype: DType, node: &Node, e: &mut Emit) -> Emitting {
    let name = floor_mod(a, b, dtype, e);
    e.alias(node.outputs[0], &name);
    Ok(())
}

fn floor_div(a: &str, b: &str, dtype: DType, node: &Node, e: &mut Emit) -> Emitting {
    if dtype.is_float() {
        let quotient = e.call("Div", &[a, b]);
        e.op("Floor", &[&quotient]).to(node.outputs[0]);
        return Ok(());
    }
    // What is left after the remainder divides exactly, so that truncation does not matter.
    let rest = floor_mod(a, b, dtype, e);
    let whole = e.call("Sub", &[a, &rest]);
    e.op("Div", &[&whole, b]).to(node.outputs[0]);
    Ok(())
}

/// atan(y / x), moved into the quadrant of (x, y).
fn atan2(y: &str, x: &str, dtype: DType, node: &Node, e: &mut Emit) -> Emitting {
    let (zero, pi, half) = (e.scalar(dtype, 0.0), e.scalar(dtype, std::f64::consts::PI), e.scalar(dtype, 0.5));
    let half_pi = e.call("Mul", &[&pi, &half]);
    let ratio = e.call("Div", &[y, x]);
    let right = e.call("Atan", &[&ratio]);
    let below = e.call("Less", &[y, &zero]);
    let minus_pi = e.call("Neg", &[&pi]);
    let turn = e.call("Where", &[&below, &minus_pi, &pi]);
    let left = e.call("Add", &[&right, &turn]);
    let is_left = e.call("Less", &[x, &zero]);
    let turned = e.call("Where", &[&is_left, &left, &right]);
    // On the axis x = 0 the ratio is infinite or NaN: sign(y) pi/2 there, 0 at the origin.
    let sign = e.call("Sign", &[y]);
    let upright = e.call("Mul", &[&sign, &half_pi]);
    let is_upright = e.call("Equal", &[x, &zero]);
    e.op("Where", &[&is_upright, &upright, &turned]).to(node.outputs[0]);
    Ok(())
}

fn shift(left: bool, a: &str, b: &str, dtype: DType, node: &Node, e: &mut Emit) -> Emitting {
    let out = node.outputs[0];
    if !dtype.is_signed() {
        e.op("BitShift", &[a, b]).str("direction", if left { "LEFT" } else { "RIGHT" }).to(out);
        return Ok(());
    }
    if !matches!(dtype, DType::I32 | DType::I64) {
        return Err(unsupported(node, format!("shifting {dtype}")));
    }
    // BitShift is for unsigned integers only.
    let two = e.scalar(dtype, 2.0);
    let power = e.call("Pow", &[&two, b]);
    if !left {
        return floor_div(a, &power, dtype, node, e);
    }
    e.op("Mul", &[a, &power]).to(out);
    Ok(())
}

pub fn clip(op: &Clip, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, dtype) = (e.name(value), e.ty(value).dtype);
    let mut bound = |bound: Option<f64>| bound.map_or(String::new(), |value| e.scalar(dtype, value));
    let (min, max) = (bound(op.min), bound(op.max));
    e.op("Clip", &[&x, &min, &max]).to(node.outputs[0]);
    Ok(())
}

/// Inference leaves it alone.
pub fn dropout(node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    e.alias(node.outputs[0], &x);
    Ok(())
}

pub fn select(node: &Node, e: &mut Emit) -> Emitting {
    let (condition, a, b, out) = (e.arg(node, 0)?, e.arg(node, 1)?, e.arg(node, 2)?, node.outputs[0]);
    if e.ty(out).dtype != DType::Bool {
        e.op("Where", &[&condition, &a, &b]).to(out);
        return Ok(());
    }
    // Runtimes have no Where of bool.
    let yes = e.call("And", &[&condition, &a]);
    let not = e.call("Not", &[&condition]);
    let no = e.call("And", &[&not, &b]);
    e.op("Or", &[&yes, &no]).to(out);
    Ok(())
}

pub fn cast(op: &Cast, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let from = e.ty(value).dtype;
    // Weights in float32 already: no runtime computes in bfloat16 here, and many don't read it. (float16 stays as it
    // is, for every runtime reads that.)
    if let (Some(known), (DType::F64 | DType::BF16, DType::F32)) = (e.known(value), (from, op.to)) {
        let piece = Piece::Single(from, Box::new(known.piece.clone()));
        let known = Static { piece, dtype: op.to, ..known.clone() };
        e.know(node.outputs[0], known);
        return Ok(());
    }
    let x = e.name(value);
    if op.to == DType::Bool && from != DType::Bool {
        // Runtimes that hold bool as an integer would truncate fractions to false.
        let zero = e.scalar(from, 0.0);
        let is_zero = e.call("Equal", &[&x, &zero]);
        e.op("Not", &[&is_zero]).to(node.outputs[0]);
        return Ok(());
    }
    e.op("Cast", &[&x]).int("to", data_type(op.to).into()).to(node.outputs[0]);
    Ok(())
}
