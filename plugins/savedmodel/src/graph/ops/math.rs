//! Element by element.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::value::{Int, Ints, Val, numbers};
use super::source::scalar;
use super::{fold, inputs, one, random, strings, values};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    Activation, ActivationFunction, Binary, BinaryFunction, Cast, Clip, DType, Data, Dim, Op, ReduceFunction, Tensor,
    Type, Unary, UnaryFunction, ValueId, Where,
};
use std::rc::Rc;

type Out = Result<Vec<Val>, Diag>;

const UNARY: &[(&str, UnaryFunction)] = &[
    ("Abs", UnaryFunction::Abs),
    ("Acos", UnaryFunction::Acos),
    ("Acosh", UnaryFunction::Acosh),
    ("Asin", UnaryFunction::Asin),
    ("Asinh", UnaryFunction::Asinh),
    ("Atan", UnaryFunction::Atan),
    ("Atanh", UnaryFunction::Atanh),
    ("Ceil", UnaryFunction::Ceil),
    ("Cos", UnaryFunction::Cos),
    ("Cosh", UnaryFunction::Cosh),
    ("Erf", UnaryFunction::Erf),
    ("Exp", UnaryFunction::Exp),
    ("Expm1", UnaryFunction::Expm1),
    ("Floor", UnaryFunction::Floor),
    ("Inv", UnaryFunction::Reciprocal),
    ("Invert", UnaryFunction::BitwiseNot),
    ("IsFinite", UnaryFunction::IsFinite),
    ("IsInf", UnaryFunction::IsInf),
    ("IsNan", UnaryFunction::IsNan),
    ("Log", UnaryFunction::Log),
    ("Log1p", UnaryFunction::Log1p),
    ("LogicalNot", UnaryFunction::Not),
    ("Neg", UnaryFunction::Neg),
    ("Reciprocal", UnaryFunction::Reciprocal),
    ("Relu", UnaryFunction::Relu),
    ("Rint", UnaryFunction::Round),
    ("Round", UnaryFunction::Round),
    ("Rsqrt", UnaryFunction::Rsqrt),
    ("Selu", UnaryFunction::Selu),
    ("Sigmoid", UnaryFunction::Sigmoid),
    ("Sign", UnaryFunction::Sign),
    ("Sin", UnaryFunction::Sin),
    ("Sinh", UnaryFunction::Sinh),
    ("Softplus", UnaryFunction::Softplus),
    ("Softsign", UnaryFunction::Softsign),
    ("Sqrt", UnaryFunction::Sqrt),
    ("Square", UnaryFunction::Square),
    ("Tan", UnaryFunction::Tan),
    ("Tanh", UnaryFunction::Tanh),
];

const BINARY: &[(&str, BinaryFunction)] = &[
    ("Add", BinaryFunction::Add),
    ("AddV2", BinaryFunction::Add),
    ("Atan2", BinaryFunction::Atan2),
    ("BitwiseAnd", BinaryFunction::BitwiseAnd),
    ("BitwiseOr", BinaryFunction::BitwiseOr),
    ("BitwiseXor", BinaryFunction::BitwiseXor),
    ("Div", BinaryFunction::Div),
    ("Equal", BinaryFunction::Equal),
    ("FloorDiv", BinaryFunction::FloorDiv),
    ("FloorMod", BinaryFunction::Mod),
    ("Greater", BinaryFunction::Greater),
    ("GreaterEqual", BinaryFunction::GreaterEqual),
    ("LeftShift", BinaryFunction::ShiftLeft),
    ("Less", BinaryFunction::Less),
    ("LessEqual", BinaryFunction::LessEqual),
    ("LogicalAnd", BinaryFunction::And),
    ("LogicalOr", BinaryFunction::Or),
    ("Maximum", BinaryFunction::Max),
    ("Minimum", BinaryFunction::Min),
    ("Mul", BinaryFunction::Mul),
    ("NotEqual", BinaryFunction::NotEqual),
    ("Pow", BinaryFunction::Pow),
    ("RealDiv", BinaryFunction::Div),
    ("RightShift", BinaryFunction::ShiftRight),
    ("Sub", BinaryFunction::Sub),
];

fn function<F: Copy>(node: &Node<'_>, table: &[(&str, F)]) -> Result<F, Diag> {
    let found = table.binary_search_by_key(&node.op, |row| row.0);
    found.map(|at| table[at].1).map_err(|_| node.unsupported("this form of it"))
}

pub fn unary<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let function = function(node, UNARY)?;
    if let Some(whole) = random::floor(x).filter(|_| function == UnaryFunction::Floor) {
        return Ok(vec![whole]);
    }
    if let Some(ints) = interp.ints(x) {
        let folded = |f: fn(i64) -> i64| -> Option<Ints> {
            let elements = ints.known()?.into_iter().map(|n| Int::N(f(n))).collect();
            Some(Ints { elements, ..ints.clone() })
        };
        let folded = match function {
            UnaryFunction::Neg => {
                let elements = ints.elements.iter().map(|n| Int::N(0).sub(n)).collect::<Option<Vec<Int>>>();
                elements.map(|elements| Ints { elements, ..ints.clone() })
            }
            UnaryFunction::Abs => folded(i64::wrapping_abs),
            UnaryFunction::Not => folded(|n| i64::from(n == 0)),
            _ => None,
        };
        if let Some(folded) = folded {
            return Ok(vec![folded.val()]);
        }
    }
    let x = interp.value(node, x)?;
    let out = interp.add(node, Unary { function }, &[x])?;
    one(interp, out)
}

/// Shape arithmetic; none where it is not that. `is_size` tells the size of some tensor, which is at least one wherever
/// anything is computed, from what is computed of sizes: 8 - time may be below zero.
fn folded(function: BinaryFunction, a: &Ints, b: &Ints, is_size: &dyn Fn(&Int) -> bool) -> Option<Ints> {
    use BinaryFunction::*;
    let known = |f: fn(i64, i64) -> Option<i64>| move |a: &Int, b: &Int| f(a.known()?, b.known()?).map(Int::N);
    let tested = |f: fn(&i64, &i64) -> bool| {
        fold::zip(a, b, DType::Bool, |a, b| Some(Int::N(i64::from(f(&a.known()?, &b.known()?)))))
    };
    let same = |want: bool| {
        fold::zip(a, b, DType::Bool, |a, b| match (a.known(), b.known()) {
            (Some(a), Some(b)) => Some(Int::N(i64::from((a == b) == want))),
            _ if a == b => Some(Int::N(i64::from(want))),
            _ => None,
        })
    };
    match function {
        Add => fold::zip(a, b, a.dtype, Int::add),
        Sub => fold::zip(a, b, a.dtype, Int::sub),
        Mul => fold::zip(a, b, a.dtype, Int::mul),
        FloorDiv => fold::zip(a, b, a.dtype, Int::floor_div),
        Mod => fold::zip(a, b, a.dtype, |a, b| a.sub(&a.floor_div(b)?.mul(b)?)),
        Max | Min => fold::zip(a, b, a.dtype, |a, b| match (a.known(), b.known()) {
            (Some(x), Some(y)) => Some(Int::N(if function == Max { x.max(y) } else { x.min(y) })),
            _ if a == b => Some(a.clone()),
            (Some(n), None) if function == Max && n <= 1 && is_size(b) => Some(b.clone()),
            (None, Some(n)) if function == Max && n <= 1 && is_size(a) => Some(a.clone()),
            _ => None,
        }),
        Equal => same(true),
        NotEqual => same(false),
        Less => tested(|a, b| a < b),
        LessEqual => tested(|a, b| a <= b),
        Greater => tested(|a, b| a > b),
        GreaterEqual => tested(|a, b| a >= b),
        And => fold::zip(a, b, DType::Bool, known(|a, b| Some(a & b))),
        Or => fold::zip(a, b, DType::Bool, known(|a, b| Some(a | b))),
        Pow | Div | Atan2 | Xor | BitwiseAnd | BitwiseOr | BitwiseXor | ShiftLeft | ShiftRight => None,
    }
}

/// The condition of a loop, as far as it speaks of the counter.
fn condition(interp: &Interp<'_>, function: BinaryFunction, a: &Val, b: &Val) -> Option<Val> {
    if !interp.deciding {
        return None;
    }
    let known = |val: &Val| interp.ints(val).and_then(|ints| ints.known()).and_then(|known| known.first().copied());
    let (is_true, is_false) = (|val: &Val| known(val) == Some(1), |val: &Val| known(val) == Some(0));
    match (function, a, b) {
        (BinaryFunction::And, dropped, _) | (BinaryFunction::And, _, dropped) if is_false(dropped) => {
            Some(dropped.clone())
        }
        (BinaryFunction::Or, dropped, other) | (BinaryFunction::Or, other, dropped) if is_false(dropped) => {
            Some(other.clone())
        }
        (BinaryFunction::And, Val::Below(a), Val::Below(b)) => {
            Some(Val::Below(Rc::new(a.iter().chain(b.iter()).cloned().collect())))
        }
        (BinaryFunction::And, below @ Val::Below(_), other) | (BinaryFunction::And, other, below @ Val::Below(_)) => {
            is_true(other).then(|| below.clone())
        }
        // Whatever else is asked of the counter is decided nowhere, which matters only where it counts.
        (_, Val::Counter(_) | Val::Nothing, _) | (_, _, Val::Counter(_) | Val::Nothing) => Some(Val::Nothing),
        _ => None,
    }
}

/// A loop's condition on what it counts: how many steps may be done.
fn limit<'a>(
    interp: &mut Interp<'a>,
    node: &Node<'a>,
    function: BinaryFunction,
    a: &Val,
    b: &Val,
) -> Result<Option<Val>, Diag> {
    use BinaryFunction::{Greater, GreaterEqual, Less, LessEqual, Sub};
    // The loop that is decided upon is not begun yet.
    let own = |val: &Val| match val {
        Val::Counter(counter) if interp.deciding && counter.depth == interp.depth() + 1 => Some(counter.clone()),
        _ => None,
    };
    let (counter, bound, function) = match (own(a), own(b), function) {
        (Some(counter), None, function) => (counter, b, function),
        (None, Some(counter), Less) => (counter, a, Greater),
        (None, Some(counter), LessEqual) => (counter, a, GreaterEqual),
        (None, Some(counter), Greater) => (counter, a, Less),
        (None, Some(counter), GreaterEqual) => (counter, a, LessEqual),
        _ => return Ok(None),
    };
    let more = match (function, counter.down) {
        (Less, false) | (Greater, true) => 0,
        (LessEqual, false) | (GreaterEqual, true) => 1,
        _ => return Ok(None),
    };
    if !interp.shape_of(node, bound).is_ok_and(|shape| shape.is_empty()) {
        return Ok(None);
    }
    let Some(start) = counter.start.add(&Int::N(if counter.down { more } else { -more })) else { return Ok(None) };
    let start = Ints::scalar(counter.dtype, start).val();
    let (first, second) = if counter.down { (&start, bound) } else { (bound, &start) };
    let steps = match (interp.ints(first), interp.ints(second)) {
        (Some(first), Some(second)) => folded(Sub, &first, &second, &|int| is_size(interp, int)).map(Ints::val),
        _ if interp.ints(second).is_some_and(|second| second.known() == Some(vec![0])) => Some(first.clone()),
        _ => {
            let pair = values(interp, node, &[first.clone(), second.clone()])?;
            let steps = interp.add(node, Binary { function: Sub }, &pair)?;
            Some(interp.val(steps))
        }
    };
    Ok(steps.map(|steps| Val::Below(Rc::new(vec![steps]))))
}

/// A counter and a number that is known make another counter.
fn counted(interp: &Interp<'_>, function: BinaryFunction, a: &Val, b: &Val) -> Option<Val> {
    let number = |val: &Val| interp.ints(val).filter(|ints| ints.shape.is_empty())?.elements.first().cloned();
    let counter = match (a, b) {
        (Val::Counter(counter), n) => counter.shifted(function, &number(n)?, true)?,
        (n, Val::Counter(counter)) => counter.shifted(function, &number(n)?, false)?,
        _ => return None,
    };
    Some(Val::Counter(counter))
}

/// Two floating-point numbers that are known, rounded as TensorFlow rounds them.
fn scalars(function: BinaryFunction, a: &Val, b: &Val) -> Option<Val> {
    let (Val::Known(a), Val::Known(b)) = (a, b) else { return None };
    let is_number = |tensor: &Tensor| tensor.shape.is_empty() && matches!(tensor.dtype, DType::F32 | DType::F64);
    if !is_number(a) || !is_number(b) || a.dtype != b.dtype {
        return None;
    }
    let (x, y) = (*numbers(a)?.first()?, *numbers(b)?.first()?);
    let result = match function {
        BinaryFunction::Add => x + y,
        BinaryFunction::Sub => x - y,
        BinaryFunction::Mul => x * y,
        BinaryFunction::Div => x / y,
        _ => return None,
    };
    Some(scalar(a.dtype, result))
}

/// Values that are asked for a size, the newest first.
const SIZES_MAX: usize = 4096;

/// Is this a size that some tensor of the graph has?
fn is_size(interp: &Interp<'_>, int: &Int) -> bool {
    let Int::D(dim) = int else { return false };
    let graph = &interp.frames[interp.depth()].graph;
    let values = (0..graph.value_count()).rev().take(SIZES_MAX).map(|at| ValueId(at as u32));
    let inputs = graph.inputs.iter().map(|input| input.value);
    inputs.chain(values).any(|value| graph.shape(value).contains(dim))
}

pub fn binary<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [a, b] = inputs(node, vals)?;
    let function = function(node, BINARY)?;
    if let Some(counter) = counted(interp, function, a, b) {
        return Ok(vec![counter]);
    }
    if let Some(known) = scalars(function, a, b) {
        return Ok(vec![known]);
    }
    if let Some(bounded) = random::binary(function, a, b) {
        return Ok(vec![bounded]);
    }
    if let Some(limit) = limit(interp, node, function, a, b)? {
        return Ok(vec![limit]);
    }
    if let Some(condition) = condition(interp, function, a, b) {
        return Ok(vec![condition]);
    }
    if let (Some(a), Some(b)) = (interp.ints(a), interp.ints(b))
        && let Some(folded) = folded(function, &a, &b, &|int| is_size(interp, int))
    {
        return Ok(vec![folded.val()]);
    }
    if function == BinaryFunction::Div && interp.dtype_of(a).is_some_and(DType::is_int) {
        return truncate_div(interp, node, vals);
    }
    if function == BinaryFunction::Min
        && let Some(bound) = settled(interp, a, b).or_else(|| settled(interp, b, a))
    {
        return Ok(vec![bound]);
    }
    if matches!(function, BinaryFunction::Equal | BinaryFunction::NotEqual)
        && let Some(same) = strings::equal(interp, node, a, b, function == BinaryFunction::NotEqual)?
    {
        return Ok(vec![same]);
    }
    let pair = values(interp, node, &[a.clone(), b.clone()])?;
    let out = interp.add(node, Binary { function }, &pair)?;
    one(interp, out)
}

/// min(bound, max(floor, whatever)) is the bound where the floor is no less: how Keras says the size of a count.
fn settled(interp: &Interp<'_>, bound: &Val, other: &Val) -> Option<Val> {
    let known = |val: &Val| match interp.ints(val)?.known()?.as_slice() {
        [number] => Some(*number),
        _ => None,
    };
    let (limit, Val::Tensor { depth, value }) = (known(bound)?, other) else { return None };
    let graph = &interp.frames[*depth].graph;
    let maximum = |op: &Op| matches!(op, Op::Binary(op) if op.function == BinaryFunction::Max);
    let node = graph.nodes().iter().rev().find(|node| node.outputs.contains(value) && maximum(&node.op))?;
    let is_floor = |input: &ValueId| {
        let made = graph.nodes().iter().rev().find(|node| node.outputs.contains(input));
        let tensor = made.and_then(|node| if let Op::Constant(op) = &node.op { Some(&op.tensor) } else { None });
        let numbers = tensor.and_then(Ints::of_tensor).and_then(|ints| ints.known());
        numbers.is_some_and(|numbers| !numbers.is_empty() && numbers.iter().all(|&floor| floor >= limit))
    };
    let scalar = graph.shape(*value).is_empty();
    (scalar && node.inputs.iter().flatten().any(is_floor)).then(|| bound.clone())
}

pub fn add_n<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let terms = values(interp, node, vals)?;
    let (&first, rest) = terms.split_first().ok_or_else(|| node.bad("a sum of nothing"))?;
    let sum = rest
        .iter()
        .try_fold(first, |sum, &term| interp.add(node, Binary { function: BinaryFunction::Add }, &[sum, term]))?;
    one(interp, sum)
}

pub fn squared_difference<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let pair = values(interp, node, inputs::<2>(node, vals)?)?;
    let difference = interp.add(node, Binary { function: BinaryFunction::Sub }, &pair)?;
    let out = interp.add(node, Unary { function: UnaryFunction::Square }, &[difference])?;
    one(interp, out)
}

/// Toward zero: through the floating-point division of the absolute values, where integers are small enough.
pub fn truncate_div<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let pair = values(interp, node, inputs::<2>(node, vals)?)?;
    let dtype = interp.ty(pair[0]).dtype;
    if !dtype.is_int() {
        let quotient = interp.add(node, Binary { function: BinaryFunction::Div }, &pair)?;
        let out = interp.add(node, Unary { function: UnaryFunction::Trunc }, &[quotient])?;
        return one(interp, out);
    }
    let abs = |interp: &mut Interp<'a>, x| interp.add(node, Unary { function: UnaryFunction::Abs }, &[x]);
    let (a, b) = (abs(interp, pair[0])?, abs(interp, pair[1])?);
    let quotient = interp.add(node, Binary { function: BinaryFunction::FloorDiv }, &[a, b])?;
    let product = interp.add(node, Binary { function: BinaryFunction::Mul }, &pair)?;
    let sign = interp.add(node, Unary { function: UnaryFunction::Sign }, &[product])?;
    let out = interp.add(node, Binary { function: BinaryFunction::Mul }, &[quotient, sign])?;
    one(interp, out)
}

/// Zero wherever `guard` is zero, else `f(a, b)`.
fn unless_zero<'a>(interp: &mut Interp<'a>, node: &Node<'a>, f: BinaryFunction, vals: &[Val], guard: usize) -> Out {
    let pair = values(interp, node, inputs::<2>(node, vals)?)?;
    let zero = interp.graph().scalar_like(node.name, pair[guard], 0.0)?;
    let is_zero = interp.add(node, Binary { function: BinaryFunction::Equal }, &[pair[guard], zero])?;
    let result = interp.add(node, Binary { function: f }, &pair)?;
    let out = interp.add(node, Where {}, &[is_zero, zero, result])?;
    one(interp, out)
}

/// `DivNoNan` by its divisor, `Xdivy` by what is divided.
pub fn div_no_nan<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    unless_zero(interp, node, BinaryFunction::Div, vals, usize::from(node.op == "DivNoNan"))
}

pub fn mul_no_nan<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    unless_zero(interp, node, BinaryFunction::Mul, vals, 1)
}

pub fn activation<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let (function, alpha) = match node.op {
        "LeakyRelu" => (ActivationFunction::LeakyRelu, node.float("alpha", f64::from(0.2f32))?),
        _ => (ActivationFunction::Elu, 1.0),
    };
    let x = interp.value(node, x)?;
    let out = interp.add(node, Activation { function, alpha, beta: 0.0 }, &[x])?;
    one(interp, out)
}

pub fn relu6<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let x = interp.value(node, x)?;
    let out = interp.add(node, Clip { min: Some(0.0), max: Some(6.0) }, &[x])?;
    one(interp, out)
}

pub fn erfc<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let x = interp.value(node, x)?;
    let erf = interp.add(node, Unary { function: UnaryFunction::Erf }, &[x])?;
    let unit = interp.graph().scalar_like(node.name, x, 1.0)?;
    let out = interp.add(node, Binary { function: BinaryFunction::Sub }, &[unit, erf])?;
    one(interp, out)
}

/// Half the sum of squares.
pub fn l2_loss<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let x = interp.value(node, x)?;
    let axes: Vec<usize> = (0..interp.shape(x).len()).collect();
    let square = interp.add(node, Unary { function: UnaryFunction::Square }, &[x])?;
    let sum = interp.graph().reduce(node.name, ReduceFunction::Sum, square, &axes, false)?;
    let out = interp.graph().binary_scalar(node.name, BinaryFunction::Mul, sum, 0.5)?;
    one(interp, out)
}

/// The only element of a stored tensor.
fn single(val: &Val) -> Option<f64> {
    match val {
        Val::Known(tensor) => match numbers(tensor)?.as_slice() {
            [number] => Some(*number),
            _ => None,
        },
        _ => None,
    }
}

pub fn clip<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, min, max] = inputs(node, vals)?;
    let out = match (single(min), single(max)) {
        (Some(min), Some(max)) if min <= max => {
            let x = interp.value(node, x)?;
            interp.add(node, Clip { min: Some(min), max: Some(max) }, &[x])?
        }
        _ => {
            let [x, min, max] = [interp.value(node, x)?, interp.value(node, min)?, interp.value(node, max)?];
            let below = interp.add(node, Binary { function: BinaryFunction::Min }, &[x, max])?;
            interp.add(node, Binary { function: BinaryFunction::Max }, &[below, min])?
        }
    };
    one(interp, out)
}

pub fn cast<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let to = node.dtype("DstT")?;
    if interp.dtype_of(x) == Some(to) {
        return Ok(vec![x.clone()]);
    }
    if let Some(ints) = interp.ints(x) {
        if to.is_int() {
            return Ok(vec![Ints { dtype: to, ..ints }.val()]);
        }
        if let Some(known) = ints.known() {
            let shape: Vec<u64> = ints.shape.iter().map(|&size| size as u64).collect();
            let known: Vec<f64> = known.into_iter().map(|n| n as f64).collect();
            return Ok(vec![Val::Known(Rc::new(Tensor::from_numbers(to, &shape, &known)))]);
        }
    }
    let x = interp.value(node, x)?;
    let out = interp.add(node, Cast { to }, &[x])?;
    one(interp, out)
}

pub fn select<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [condition, a, b] = inputs(node, vals)?;
    // A choice that depends on shapes alone is made now.
    if let Some([known]) = interp.ints(condition).and_then(|ints| ints.known()).as_deref() {
        let chosen = if *known != 0 { a } else { b };
        let other = interp.shape_of(node, if *known != 0 { b } else { a })?;
        if other.is_empty() || interp.shape_of(node, chosen)? == other {
            return Ok(vec![chosen.clone()]);
        }
    }
    let vals = values(interp, node, &[condition.clone(), a.clone(), b.clone()])?;
    let out = interp.add(node, Where {}, &vals)?;
    one(interp, out)
}

/// A condition of rank one chooses whole rows.
pub fn select_rows<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [condition, a, b] = inputs(node, vals)?;
    let (rank, shape) = (interp.shape_of(node, a)?.len(), interp.shape_of(node, condition)?);
    if shape.len() != 1 || rank < 2 {
        return select(interp, node, vals);
    }
    let [condition, a, b] = [interp.value(node, condition)?, interp.value(node, a)?, interp.value(node, b)?];
    let mut rows = shape;
    rows.resize(rank, Dim::Known(1));
    let condition = interp.graph().reshape(node.name, condition, rows)?;
    let out = interp.add(node, Where {}, &[condition, a, b])?;
    one(interp, out)
}

/// How many of the boundaries are not above x.
pub fn bucketize<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let boundaries = node.floats("boundaries")?;
    let x = interp.value(node, x)?;
    let Type { dtype, shape } = interp.ty(x);
    let count = boundaries.len() as u64;
    let bytes = Tensor::from_numbers(dtype, &[count], &boundaries);
    debug_assert!(matches!(bytes.data, Data::Inline(_)));
    let boundaries = interp.graph().constant(node.name, bytes)?;
    let last = shape.len();
    let column = interp.graph().expand(node.name, x, last)?;
    let reached = interp.add(node, Binary { function: BinaryFunction::GreaterEqual }, &[column, boundaries])?;
    let ones = interp.add(node, Cast { to: DType::I32 }, &[reached])?;
    let out = interp.graph().reduce(node.name, ReduceFunction::Sum, ones, &[last], false)?;
    one(interp, out)
}

/// A tensor of one number everywhere.
pub fn filled<'a>(interp: &mut Interp<'a>, node: &Node<'a>, dtype: DType, value: f64, shape: Vec<Dim>) -> Out {
    let value = scalar(dtype, value);
    super::shape::spread(interp, node, &value, shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tf.maximum(0, 8 - length) is no size of its own: only what some tensor has is.
    #[test]
    fn a_difference_may_be_below_zero() {
        let time = Int::D(Dim::symbol("time"));
        let is_size = |int: &Int| *int == time;
        let zero = Ints::scalar(DType::I32, Int::N(0));
        let largest = |int: Int| folded(BinaryFunction::Max, &zero, &Ints::scalar(DType::I32, int), &is_size);
        assert_eq!(largest(time.clone()).map(|ints| ints.elements), Some(vec![time.clone()]));
        let missing = Int::N(8).sub(&time).expect("8 - time");
        assert_eq!(largest(missing), None);
    }
}
