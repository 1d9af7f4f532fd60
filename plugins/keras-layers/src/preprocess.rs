//! Feature preprocessing with numbers: scaling, normalising, bucketing, encoding categories.

use crate::policy::{as_float, compute_dtype, one};
use crate::table::{Masks, Row};
use recast_keras_model::classes::SAMPLES_SINCE;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::types::INLINE_BYTES_MAX;
use recast_plugin_api::ir::{BinaryFunction, DType, OneHot, ReduceFunction, Tensor, UnaryFunction, ValueId};
use recast_plugin_api::lower::{Lowering, Val};
use serde_json::Value as Json;

pub const PREPROCESSING: &str = "preprocessing";
const MODES: &str = "int, one_hot, multi_hot, count";

pub const ROWS: &[Row] = &[
    Row::new("CategoryEncoding", PREPROCESSING, Masks::Drop, category_encoding, "one_hot, multi_hot, count").raw(),
    Row::new("Discretization", PREPROCESSING, Masks::Drop, discretization, MODES).raw(),
    Row::new("Normalization", PREPROCESSING, Masks::PassIn3, normalization, "given or adapted; invert"),
    Row::new("Rescaling", PREPROCESSING, Masks::PassIn3, rescaling, "numbers or lists"),
];

type Outcome = Result<Vec<Val>, Findings>;

/// The only input in the compute dtype.
fn in_compute_dtype(l: &mut Lowering<'_>) -> Result<ValueId, Diag> {
    let x = l.input()?.value;
    let to = compute_dtype(l)?;
    if to.is_float() { l.cast(x, to) } else { as_float(l, x) }
}

/// A number or nested lists of numbers, row-major.
pub struct Numbers {
    pub shape: Vec<u64>,
    pub values: Vec<f64>,
}

fn numbers(json: &Json) -> Option<Numbers> {
    match json {
        Json::Array(items) => {
            let parts: Vec<Numbers> = items.iter().map(numbers).collect::<Option<_>>()?;
            let inner = parts.first().map(|part| part.shape.clone()).unwrap_or_default();
            let even = parts.iter().all(|part| part.shape == inner);
            let shape = std::iter::once(parts.len() as u64).chain(inner).collect();
            even.then(|| Numbers { shape, values: parts.into_iter().flat_map(|part| part.values).collect() })
        }
        // Old files hold "1.0".
        Json::String(text) => text.parse().ok().map(|value| Numbers { shape: Vec::new(), values: vec![value] }),
        other => other.as_f64().map(|value| Numbers { shape: Vec::new(), values: vec![value] }),
    }
}

pub fn config_numbers(l: &Lowering<'_>, key: &str) -> Result<Option<Numbers>, Diag> {
    let Some(json) = l.config.get(key) else { return Ok(None) };
    let found = numbers(json).filter(|found| found.values.len() * 8 <= INLINE_BYTES_MAX);
    found.map(Some).ok_or_else(|| l.config.bad(key, "a number or lists of them"))
}

/// A constant in the dtype of `x`.
fn constant(l: &mut Lowering<'_>, numbers: &Numbers, shape: &[u64], x: ValueId) -> Result<ValueId, Diag> {
    let tensor = Tensor::from_numbers(l.ty(x).dtype, shape, &numbers.values);
    l.constant(tensor)
}

/// scale x + offset
fn rescaling(l: &mut Lowering<'_>) -> Outcome {
    let (x, dtype) = (l.input()?.value, compute_dtype(l)?);
    // Whole numbers, too, where they are asked for.
    let mut y = l.cast(x, dtype)?;
    for (key, function, neutral) in [("scale", BinaryFunction::Mul, 1.0), ("offset", BinaryFunction::Add, 0.0)] {
        let Some(by) = config_numbers(l, key)? else { continue };
        if by.values.iter().any(|&value| value != neutral) {
            let shape = by.shape.clone();
            let by = constant(l, &by, &shape, y)?;
            y = l.binary(function, y, by)?;
        }
    }
    Ok(one(y))
}

/// Least divisor of `Normalization`.
const DEVIATION_MIN: f64 = 1e-7;

/// (x - mean) / max(sqrt(variance), 1e-7), or the inverse of it, with statistics along the axes of `axis`.
fn normalization(l: &mut Lowering<'_>) -> Outcome {
    let x = in_compute_dtype(l)?;
    let axes = match l.config.get("axis") {
        None => Vec::new(),
        Some(Json::Array(items)) if items.is_empty() => Vec::new(),
        Some(_) => l.config.axes("axis", l.rank(x))?,
    };
    l.ignore("count");
    let mean = statistic(l, "mean", &axes, x)?;
    let variance = statistic(l, "variance", &axes, x)?;
    let deviation = l.unary(UnaryFunction::Sqrt, variance)?;
    let deviation = l.binary_scalar(BinaryFunction::Max, deviation, DEVIATION_MIN)?;
    let y = if l.config.bool_or("invert", false)? {
        let spread = l.binary(BinaryFunction::Mul, x, deviation)?;
        l.binary(BinaryFunction::Add, spread, mean)?
    } else {
        let off = l.binary(BinaryFunction::Sub, x, mean)?;
        l.binary(BinaryFunction::Div, off, deviation)?
    };
    Ok(one(y))
}

/// Mean or variance, from the configuration or as adapted, in a shape that broadcasts against `x`.
fn statistic(l: &mut Lowering<'_>, key: &str, axes: &[usize], x: ValueId) -> Result<ValueId, Diag> {
    let mut shape = vec![1; l.rank(x)];
    if let Some(given) = config_numbers(l, key)? {
        l.ignore(key);
        if given.shape.len() > axes.len() {
            return Err(l.config.bad(key, "numbers along the axes of 'axis'"));
        }
        for (size, &axis) in given.shape.iter().rev().zip(axes.iter().rev()) {
            shape[axis] = *size;
        }
        return constant(l, &given, &shape, x);
    }
    let sizes: Vec<u64> = axes.iter().map(|&axis| l.known(x, axis)).collect::<Result<_, _>>()?;
    axes.iter().zip(&sizes).for_each(|(&axis, &size)| shape[axis] = size);
    let value = l.param_reshaped(key, &sizes, &shape)?;
    l.cast(value, l.ty(x).dtype)
}

/// Buckets of a `Discretization`.
struct Bounds {
    numbers: Numbers,
    /// A bound belongs to the bucket before it.
    right: bool,
}

/// `bin_boundaries`; before TensorFlow 2.5 `bins`. TensorFlow 2.4 and 2.5 put a bound into the bucket before it: 2.4
/// (whose Keras has the version of that in 2.3) shows itself by a last bound of infinity.
fn bounds(l: &mut Lowering<'_>) -> Result<Bounds, Diag> {
    if let Some(numbers) = config_numbers(l, "bin_boundaries")? {
        return Ok(Bounds { numbers, right: l.keras_major() == 2 && l.keras_version() < (2, 6) });
    }
    let numbers = config_numbers(l, "bins")?;
    let mut numbers =
        numbers.ok_or_else(|| l.error(Code::WeightMissing, "its 'bin_boundaries' are not in the file"))?;
    let right = numbers.values.last().is_some_and(|last| *last == f64::INFINITY);
    if right && numbers.shape.len() == 1 {
        numbers.values.pop();
        numbers.shape = vec![numbers.values.len() as u64];
    }
    Ok(Bounds { numbers, right })
}

/// Bucket by its bounds: how many of them x has reached.
fn discretization(l: &mut Lowering<'_>) -> Outcome {
    let x = l.input()?.value;
    let x = if l.ty(x).dtype.is_float() { x } else { l.cast(x, DType::F32)? };
    let Bounds { numbers, right } = bounds(l)?;
    let count = numbers.values.len() as u64;
    let bounds = constant(l, &numbers, &numbers.shape.clone(), x)?;
    let wide = l.expand(x, l.rank(x))?;
    let function = if right { BinaryFunction::Greater } else { BinaryFunction::GreaterEqual };
    let reached = l.binary(function, wide, bounds)?;
    let reached = l.cast(reached, DType::I64)?;
    let last = l.rank(reached) - 1;
    let bucket = l.reduce(ReduceFunction::Sum, reached, &[last], false)?;
    let mode = l.config.str_or("output_mode", "int")?.to_string();
    if mode == "int" {
        let narrow = l.keras_version() >= (3, 12) || (l.keras_major() == 2 && l.keras_version() < (2, 6));
        let to = if narrow { DType::I32 } else { DType::I64 };
        return Ok(one(l.cast(bucket, to)?));
    }
    let dtype = compute_dtype(l)?;
    let y = encoded(l, bucket, &mode, Encoding { depth: count + 1, dtype, weights: None })?;
    Ok(one(y))
}

fn early(l: &Lowering<'_>) -> bool {
    l.keras_major() >= 3 && l.keras_version() < SAMPLES_SINCE
}

pub struct Encoding {
    pub depth: u64,
    pub dtype: DType,
    pub weights: Option<ValueId>,
}

/// Integers as vectors of `depth` numbers; multi_hot and count mark or count the integers of each sample.
pub fn encoded(l: &mut Lowering<'_>, x: ValueId, mode: &str, how: Encoding) -> Result<ValueId, Diag> {
    let x = if l.ty(x).dtype.is_int() { x } else { l.cast(x, DType::I64)? };
    let stays = early(l) && !l.layer.class.ends_with("Lookup");
    let single = l.rank(x) > 1 && l.shape(x)[l.rank(x) - 1].is_one() && !stays;
    let x = if mode == "one_hot" && single { l.squeeze(x, l.rank(x) - 1)? } else { x };
    let mut hot = l.add(OneHot { depth: how.depth, axis: l.rank(x), dtype: how.dtype }, &[x])?;
    // A vector is one sample.
    let along_last = early(l) && mode == "multi_hot" && l.layer.class == "Discretization";
    let sample = if along_last { l.rank(x).saturating_sub(1) } else { usize::from(l.rank(x) > 1) };
    match mode {
        "one_hot" => Ok(hot),
        // Up to Keras 2.5 by this name.
        "multi_hot" | "binary" => l.reduce(ReduceFunction::Max, hot, &[sample], false),
        "count" => {
            if let Some(weights) = how.weights {
                let weights = l.cast(weights, how.dtype)?;
                let weights = l.expand(weights, l.rank(x))?;
                hot = l.binary(BinaryFunction::Mul, hot, weights)?;
            }
            l.reduce(ReduceFunction::Sum, hot, &[sample], false)
        }
        other => Err(l.unsupported(format!("output_mode '{other}'"))),
    }
}

fn category_encoding(l: &mut Lowering<'_>) -> Outcome {
    let x = l.input()?.value;
    // By TensorFlow 2.3 and 2.4 `max_tokens`, null where it was adapted.
    let key = if l.config.object().get("max_tokens").is_some() { "max_tokens" } else { "num_tokens" };
    let depth = l.config.u64(key)?;
    let mode = l.config.str_or("output_mode", "multi_hot")?.to_string();
    let weights = l.kwarg_values("count_weights").first().map(|val| val.value);
    let dtype = compute_dtype(l)?;
    if mode == "tf-idf" {
        let counts = encoded(l, x, "count", Encoding { depth, dtype, weights: None })?;
        let idf = l.param_shaped("idf", &[Some(depth)])?;
        return Ok(one(l.binary(BinaryFunction::Mul, counts, idf)?));
    }
    let y = encoded(l, x, &mode, Encoding { depth, dtype, weights })?;
    Ok(one(y))
}
