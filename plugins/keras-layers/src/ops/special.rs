//! Functions of numbers that are series, loops or choices of others.

use super::args::{Operand, as_float, axis, both, common, flag, float_tensor, operand, opt_operand, place, tensor};
use super::{Outcome, unless, word};
use crate::policy::one;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::types::element_count;
use recast_plugin_api::ir::{
    BinaryFunction as B, Clip, DType, Dim, DimSize, Iota, OneHot, ReduceFunction as R, Tensor, UnaryFunction as U,
    ValueId, Where,
};
use recast_plugin_api::lower::Lowering;
use serde_json::Value as Json;

/// The first coefficient is of the highest power.
fn polynomial(l: &mut Lowering<'_>, x: ValueId, coefficients: &[f64]) -> Result<ValueId, Diag> {
    let mut sum = l.scalar_like(x, coefficients.first().copied().unwrap_or(0.0))?;
    for &coefficient in coefficients.iter().skip(1) {
        let higher = l.binary(B::Mul, sum, x)?;
        sum = l.binary_scalar(B::Add, higher, coefficient)?;
    }
    Ok(sum)
}

/// Modified Bessel function of order zero: the polynomials of Abramowitz and Stegun, 9.8.1 and 9.8.2, which are right
/// to 2e-7.
pub fn i0(l: &mut Lowering<'_>) -> Outcome {
    const NEAR: [f64; 7] = [0.0045813, 0.0360768, 0.2659732, 1.2067492, 3.0899424, 3.5156229, 1.0];
    const FAR: [f64; 9] =
        [0.00392377, -0.01647633, 0.02635537, -0.02057706, 0.00916281, -0.00157565, 0.00225319, 0.01328592, 0.39894228];
    const BORDER: f64 = 3.75;
    let x = float_tensor(l)?;
    let size = l.unary(U::Abs, x)?;
    let share = l.binary_scalar(B::Div, size, BORDER)?;
    let square = l.unary(U::Square, share)?;
    let near = polynomial(l, square, &NEAR)?;
    // What is near is taken from the other branch, and may be anything here but a division by zero.
    let large = l.binary_scalar(B::Max, size, BORDER)?;
    let inverse = l.unary(U::Reciprocal, large)?;
    let inverse = l.binary_scalar(B::Mul, inverse, BORDER)?;
    let series = polynomial(l, inverse, &FAR)?;
    let grown = l.unary(U::Exp, large)?;
    let root = l.unary(U::Sqrt, large)?;
    let grown = l.binary(B::Div, grown, root)?;
    let far = l.binary(B::Mul, grown, series)?;
    let is_near = l.binary_scalar(B::Less, size, BORDER)?;
    Ok(one(l.add(Where {}, &[is_near, near, far])?))
}

/// The inverse of erf by Giles' polynomials in w = -log(1 - x x), which are right to float32; infinite at the ends, NaN
/// beyond them.
pub fn erfinv(l: &mut Lowering<'_>) -> Outcome {
    const NEAR: [f64; 9] = [
        2.81022636e-08,
        3.43273939e-07,
        -3.5233877e-06,
        -4.39150654e-06,
        0.00021858087,
        -0.00125372503,
        -0.00417768164,
        0.246640727,
        1.50140941,
    ];
    const FAR: [f64; 9] = [
        -0.000200214257,
        0.000100950558,
        0.00134934322,
        -0.00367342844,
        0.00573950773,
        -0.0076224613,
        0.00943887047,
        1.00167406,
        2.83297682,
    ];
    let x = float_tensor(l)?;
    let minus = l.unary(U::Neg, x)?;
    let (up, down) = (l.unary(U::Log1p, x)?, l.unary(U::Log1p, minus)?);
    let sum = l.binary(B::Add, up, down)?;
    let w = l.unary(U::Neg, sum)?;
    let centred = l.binary_scalar(B::Sub, w, 2.5)?;
    let near = polynomial(l, centred, &NEAR)?;
    let root = l.unary(U::Sqrt, w)?;
    let shifted = l.binary_scalar(B::Sub, root, 3.0)?;
    let far = polynomial(l, shifted, &FAR)?;
    let is_near = l.binary_scalar(B::Less, w, 5.0)?;
    let factor = l.add(Where {}, &[is_near, near, far])?;
    let inside = l.binary(B::Mul, factor, x)?;
    let size = l.unary(U::Abs, x)?;
    let at_end = l.binary_scalar(B::Equal, size, 1.0)?;
    let endless = l.binary_scalar(B::Mul, x, f64::INFINITY)?;
    Ok(one(l.add(Where {}, &[at_end, endless, inside])?))
}

/// Greatest common divisor of two numbers that are not negative: as many steps of Euclid as the largest pair needs.
fn divisor(l: &mut Lowering<'_>, a: ValueId, b: ValueId) -> Result<ValueId, Diag> {
    // Fibonacci numbers take the most steps: log2 of the golden ratio is 0.694.
    let steps = match l.ty(a).dtype {
        DType::I8 | DType::U8 => 12,
        DType::I16 | DType::U16 => 24,
        DType::I32 | DType::U32 => 47,
        _ => 93,
    };
    let (mut a, mut b) = (a, b);
    let (zero, one) = (l.scalar_like(a, 0.0)?, l.scalar_like(a, 1.0)?);
    for _ in 0..steps {
        let more = l.binary(B::NotEqual, b, zero)?;
        let safe = l.binary(B::Max, b, one)?;
        let rest = l.binary(B::Mod, a, safe)?;
        a = l.add(Where {}, &[more, b, a])?;
        b = l.add(Where {}, &[more, rest, zero])?;
    }
    Ok(a)
}

/// Greatest common divisor, least common multiple.
pub fn common_divisor(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = both(l)?;
    let dtype = common(l, &[&a, &b]);
    unless(l, !dtype.is_int(), "numbers that are not whole")?;
    let (a, b) = (place(l, &a, dtype)?, place(l, &b, dtype)?);
    let signed = matches!(dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64);
    let (a, b) = if signed { (l.unary(U::Abs, a)?, l.unary(U::Abs, b)?) } else { (a, b) };
    // Both in the shape that they meet in.
    let nothing = l.scalar_like(b, 0.0)?;
    let spread = l.binary(B::Mul, b, nothing)?;
    let wide = l.binary(B::Add, a, spread)?;
    let found = divisor(l, wide, b)?;
    if word(l) == "Gcd" {
        return Ok(one(found));
    }
    let unit = l.scalar_like(found, 1.0)?;
    let safe = l.binary(B::Max, found, unit)?;
    let times = l.binary(B::FloorDiv, b, safe)?;
    Ok(one(l.binary(B::Mul, a, times)?))
}

/// How many axes, and how many elements, there are.
pub fn counts(l: &mut Lowering<'_>) -> Outcome {
    let x = tensor(l)?;
    if matches!(word(l), "Ndim" | "rank") {
        let rank = Tensor::from_numbers(DType::I32, &[], &[l.rank(x) as f64]);
        return Ok(one(l.constant(rank)?));
    }
    let dim = element_count(l.graph.shape(x));
    let count = l.add(DimSize { dim }, &[])?;
    Ok(one(l.cast(count, DType::I32)?))
}

/// Zero, or pi for what is negative.
pub fn angle(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let negative = l.binary_scalar(B::Less, x, 0.0)?;
    let (half, none) = (l.scalar_like(x, std::f64::consts::PI)?, l.scalar_like(x, 0.0)?);
    Ok(one(l.add(Where {}, &[negative, half, none])?))
}

/// `keras.config.epsilon`.
const EPSILON: f64 = 1e-7;

fn two_floats(l: &mut Lowering<'_>) -> Result<(ValueId, ValueId), Diag> {
    let output = operand(l, 1, &["output"])?;
    let dtype = common(l, &[&output]);
    let output = place(l, &output, dtype)?;
    let output = as_float(l, output)?;
    let target = operand(l, 0, &["target"])?;
    Ok((place(l, &target, l.ty(output).dtype)?, output))
}

/// -(t log p + (1 - t) log(1 - p)); of logits max(x, 0) - x t + log(1 + exp(-|x|)).
pub fn binary_crossentropy(l: &mut Lowering<'_>) -> Outcome {
    let (target, output) = two_floats(l)?;
    if flag(l, &["from_logits"], false)? {
        let high = l.unary(U::Relu, output)?;
        let product = l.binary(B::Mul, output, target)?;
        let size = l.unary(U::Abs, output)?;
        let minus = l.unary(U::Neg, size)?;
        let rest = l.unary(U::Softplus, minus)?;
        let sum = l.binary(B::Sub, high, product)?;
        return Ok(one(l.binary(B::Add, sum, rest)?));
    }
    let unit = l.scalar_like(output, 1.0)?;
    let held = l.add(Clip { min: Some(EPSILON), max: Some(1.0 - EPSILON) }, &[output])?;
    let log = l.unary(U::Log, held)?;
    let (others, other) = (l.binary(B::Sub, unit, held)?, l.binary(B::Sub, unit, target)?);
    let other_log = l.unary(U::Log, others)?;
    let (yes, no) = (l.binary(B::Mul, target, log)?, l.binary(B::Mul, other, other_log)?);
    let sum = l.binary(B::Add, yes, no)?;
    Ok(one(l.unary(U::Neg, sum)?))
}

/// The logarithm of what is predicted for each class, along `axis`.
fn log_shares(l: &mut Lowering<'_>, output: ValueId, axis: usize, divided: bool) -> Result<ValueId, Diag> {
    if flag(l, &["from_logits"], false)? {
        let all = l.reduce(R::LogSumExp, output, &[axis], true)?;
        return l.binary(B::Sub, output, all);
    }
    let shares = if divided {
        let sum = l.reduce(R::Sum, output, &[axis], true)?;
        l.binary(B::Div, output, sum)?
    } else {
        output
    };
    let held = l.add(Clip { min: Some(EPSILON), max: Some(1.0 - EPSILON) }, &[shares])?;
    l.unary(U::Log, held)
}

/// -sum t log p along `axis`; the sparse form's targets are the places of the classes.
pub fn crossentropy(l: &mut Lowering<'_>) -> Outcome {
    let sparse = word(l) == "SparseCategoricalCrossentropy";
    let (target, output) = if sparse {
        let output = operand(l, 1, &["output"])?;
        let dtype = common(l, &[&output]);
        let output = place(l, &output, dtype)?;
        let target = operand(l, 0, &["target"])?;
        let mut target = place(l, &target, DType::I64)?;
        let rank = l.rank(target);
        if rank == l.rank(output) && rank > 0 {
            target = l.squeeze(target, rank - 1)?;
        }
        (target, as_float(l, output)?)
    } else {
        two_floats(l)?
    };
    let rank = l.rank(output);
    unless(l, rank == 0, "a scalar input")?;
    let axis = axis(l, &["axis"], rank, -1)?;
    let logs = log_shares(l, output, axis, true)?;
    let target = if sparse {
        unless(l, axis + 1 != rank, "classes that are not along the last axis")?;
        let depth = l.known(output, axis)?;
        l.add(OneHot { depth, axis, dtype: l.ty(output).dtype }, &[target])?
    } else {
        target
    };
    let product = l.binary(B::Mul, target, logs)?;
    let sum = l.reduce(R::Sum, product, &[axis], false)?;
    Ok(one(l.unary(U::Neg, sum)?))
}

/// Most places that are put one by one.
const UPDATES_MAX: usize = 256;

/// Pieces put (or added) in the places that the file gives.
pub fn scatter_update(l: &mut Lowering<'_>) -> Outcome {
    let first = operand(l, 0, &["inputs"])?;
    let dtype = super::args::dtype_of(l, &first);
    let y = place(l, &first, dtype)?;
    let places = match opt_operand(l, 1, &["indices"])? {
        Some(Operand::Constant(Json::Array(rows), _)) => {
            let numbers = |row: &Json| row.as_array()?.iter().map(Json::as_u64).collect::<Option<Vec<u64>>>();
            rows.iter().map(numbers).collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    let places = places.ok_or_else(|| l.unsupported("places that the model computes"))?;
    let reduction = super::args::text(l, &["reduction"], "")?;
    let updates = operand(l, 2, &["updates"])?;
    let updates = place(l, &updates, dtype)?;
    Ok(one(scattered(l, y, updates, places, &reduction)?))
}

/// `updates` put (or added, ..) in `y` at these places of its first axes, one after the other.
pub fn scattered(
    l: &mut Lowering<'_>,
    mut y: ValueId,
    updates: ValueId,
    places: Vec<Vec<u64>>,
    reduction: &str,
) -> Result<ValueId, Diag> {
    let depth = places.first().map_or(0, Vec::len);
    let even = places.iter().all(|place| place.len() == depth) && (1..=l.rank(y)).contains(&depth);
    unless(l, !even || places.len() > UPDATES_MAX, "places like these")?;
    unless(l, !matches!(reduction, "" | "add" | "max" | "min" | "mul"), "this reduction")?;
    unless(l, l.rank(updates) != l.rank(y) - depth + 1, "updates of another rank")?;
    for (number, place) in places.into_iter().enumerate() {
        let piece = l.slice(updates, 0, Dim::Known(number as u64), Dim::Known(number as u64 + 1))?;
        let piece = l.squeeze(piece, 0)?;
        let new = match reduction {
            "add" => l.binary(B::Add, y, piece)?,
            "max" => l.binary(B::Max, y, piece)?,
            "min" => l.binary(B::Min, y, piece)?,
            "mul" => l.binary(B::Mul, y, piece)?,
            _ => piece,
        };
        let here = chosen(l, y, &place)?;
        y = l.add(Where {}, &[here, new, y])?;
    }
    Ok(y)
}

/// Which elements of `x` lie at this place of its first axes.
fn chosen(l: &mut Lowering<'_>, x: ValueId, place: &[u64]) -> Result<ValueId, Diag> {
    let mut found = None;
    for (axis, &at) in place.iter().enumerate() {
        let dim = l.shape(x)[axis].clone();
        if dim.known().is_some_and(|size| at >= size) {
            return Err(l.error(Code::BadConfig, format!("place {at} of {}", l.ty(x))));
        }
        let mut index = l.add(Iota { dim, dtype: DType::I64 }, &[])?;
        for _ in axis + 1..l.rank(x) {
            index = l.expand(index, l.rank(index))?;
        }
        let own = l.binary_scalar(B::Equal, index, at as f64)?;
        found = Some(match found {
            None => own,
            Some(others) => l.binary(B::And, others, own)?,
        });
    }
    found.ok_or_else(|| l.unsupported("a place without axes"))
}
