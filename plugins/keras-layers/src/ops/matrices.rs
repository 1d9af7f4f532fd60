//! `keras.ops.linalg` where a handful of elements is enough: every formula written out, without pivots, by cofactors.

use super::args::{float_tensor, operand, opt_operand, place};
use super::{Outcome, unless, word};
use crate::policy::one;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{BinaryFunction as B, Concat, DType, Dim, MatMul, Tensor, UnaryFunction as U, ValueId};
use recast_plugin_api::lower::{Lowering, Val};

/// Largest matrix whose cofactors are written out; the number of terms grows with the factorial.
const COFACTORS_MAX: u64 = 4;
/// Largest triangle that is written out, with the third power.
const TRIANGLE_MAX: u64 = 8;

/// The elements of a matrix (..., n, n), each (..., 1, 1).
struct Entries {
    at: Vec<Vec<ValueId>>,
    rank: usize,
}

fn size_of(l: &Lowering<'_>, a: ValueId, most: u64) -> Result<(usize, u64), Diag> {
    let rank = l.rank(a);
    unless(l, rank < 2, "an input that is no matrix")?;
    let (rows, columns) = (l.known(a, rank - 2)?, l.known(a, rank - 1)?);
    if rows != columns || rows == 0 || rows > most {
        return Err(l.unsupported(format!("a matrix of {rows} by {columns}: square ones up to {most} are written out")));
    }
    Ok((rank, rows))
}

fn entries(l: &mut Lowering<'_>, a: ValueId, most: u64) -> Result<Entries, Diag> {
    let (rank, size) = size_of(l, a, most)?;
    let mut at = Vec::new();
    for row in 0..size {
        let line = l.slice(a, rank - 2, Dim::Known(row), Dim::Known(row + 1))?;
        let cells = (0..size).map(|column| l.slice(line, rank - 1, Dim::Known(column), Dim::Known(column + 1)));
        at.push(cells.collect::<Result<_, _>>()?);
    }
    Ok(Entries { at, rank })
}

/// The determinant of what these rows and columns hold, by the first row's cofactors.
fn minor(l: &mut Lowering<'_>, e: &Entries, rows: &[usize], columns: &[usize]) -> Result<ValueId, Diag> {
    let (Some((&row, rest)), [_, _, ..]) = (rows.split_first(), columns) else {
        return match (rows, columns) {
            ([row], [column]) => Ok(e.at[*row][*column]),
            // A matrix of one element: the cofactor is one.
            _ => l.scalar_like(e.at[0][0], 1.0),
        };
    };
    let mut sum = None;
    for (place, &column) in columns.iter().enumerate() {
        let others: Vec<usize> = columns.iter().copied().filter(|&other| other != column).collect();
        let below = minor(l, e, rest, &others)?;
        let term = l.binary(B::Mul, e.at[row][column], below)?;
        sum = Some(match sum {
            None => term,
            Some(sum) => l.binary(if place % 2 == 0 { B::Add } else { B::Sub }, sum, term)?,
        });
    }
    sum.ok_or_else(|| l.unsupported("a matrix without elements"))
}

fn determinant(l: &mut Lowering<'_>, e: &Entries) -> Result<ValueId, Diag> {
    let all: Vec<usize> = (0..e.at.len()).collect();
    minor(l, e, &all, &all)
}

/// (..., 1, 1) as (...).
fn bare(l: &mut Lowering<'_>, x: ValueId, rank: usize) -> Result<ValueId, Diag> {
    let x = l.squeeze(x, rank - 1)?;
    l.squeeze(x, rank - 2)
}

pub fn det(l: &mut Lowering<'_>) -> Outcome {
    let a = float_tensor(l)?;
    let e = entries(l, a, COFACTORS_MAX)?;
    let det = determinant(l, &e)?;
    let det = bare(l, det, e.rank)?;
    if word(l) == "Det" {
        return Ok(one(det));
    }
    let sign = l.unary(U::Sign, det)?;
    let size = l.unary(U::Abs, det)?;
    let log = l.unary(U::Log, size)?;
    Ok(vec![Val::plain(sign), Val::plain(log)])
}

/// Cofactors, turned over, divided by the determinant.
fn inverse(l: &mut Lowering<'_>, a: ValueId) -> Result<ValueId, Diag> {
    let e = entries(l, a, COFACTORS_MAX)?;
    let det = determinant(l, &e)?;
    let all: Vec<usize> = (0..e.at.len()).collect();
    let without = |at: usize| -> Vec<usize> { all.iter().copied().filter(|&other| other != at).collect() };
    let mut rows = Vec::new();
    for row in 0..all.len() {
        let mut cells = Vec::new();
        for column in 0..all.len() {
            let cofactor = minor(l, &e, &without(column), &without(row))?;
            cells.push(if (row + column) % 2 == 0 { cofactor } else { l.unary(U::Neg, cofactor)? });
        }
        rows.push(joined(l, e.rank - 1, &cells)?);
    }
    let adjugate = joined(l, e.rank - 2, &rows)?;
    l.binary(B::Div, adjugate, det)
}

fn joined(l: &mut Lowering<'_>, axis: usize, parts: &[ValueId]) -> Result<ValueId, Diag> {
    if let [one] = parts { Ok(*one) } else { l.add(Concat { axis }, parts) }
}

pub fn inv(l: &mut Lowering<'_>) -> Outcome {
    let a = float_tensor(l)?;
    Ok(one(inverse(l, a)?))
}

/// The second operand as columns; whether it was one column without an axis of its own.
fn columns(l: &mut Lowering<'_>, a: ValueId) -> Result<(ValueId, bool), Diag> {
    let b = operand(l, 1, &["b"])?;
    let b = place(l, &b, l.ty(a).dtype)?;
    let single = l.rank(b) + 1 == l.rank(a);
    unless(l, !single && l.rank(b) != l.rank(a), "operands of these ranks")?;
    Ok((if single { l.expand(b, l.rank(b))? } else { b }, single))
}

pub fn solve(l: &mut Lowering<'_>) -> Outcome {
    let a = float_tensor(l)?;
    let (b, single) = columns(l, a)?;
    let inverse = inverse(l, a)?;
    let x = l.add(MatMul {}, &[inverse, b])?;
    Ok(one(if single { l.squeeze(x, l.rank(x) - 1)? } else { x }))
}

/// One unknown after the other, from the row that has but one.
pub fn solve_triangular(l: &mut Lowering<'_>) -> Outcome {
    let a = float_tensor(l)?;
    let (b, single) = columns(l, a)?;
    let e = entries(l, a, TRIANGLE_MAX)?;
    let size = e.at.len();
    let lower = l.config.bool_or("lower", false)?;
    let order: Vec<usize> = if lower { (0..size).collect() } else { (0..size).rev().collect() };
    let mut known: Vec<Option<ValueId>> = vec![None; size];
    for row in order {
        let at = row as u64;
        let mut sum = l.slice(b, e.rank - 2, Dim::Known(at), Dim::Known(at + 1))?;
        for (&factor, value) in e.at[row].iter().zip(&known) {
            if let Some(value) = *value {
                let part = l.binary(B::Mul, factor, value)?;
                sum = l.binary(B::Sub, sum, part)?;
            }
        }
        known[row] = Some(l.binary(B::Div, sum, e.at[row][row])?);
    }
    let rows: Vec<ValueId> = known.into_iter().flatten().collect();
    let x = joined(l, e.rank - 2, &rows)?;
    Ok(one(if single { l.squeeze(x, l.rank(x) - 1)? } else { x }))
}

/// The triangle whose product with itself the matrix is; `None` above the diagonal.
fn triangle(l: &mut Lowering<'_>, e: &Entries) -> Result<Vec<Vec<ValueId>>, Diag> {
    let mut found: Vec<Vec<ValueId>> = Vec::new();
    for row in 0..e.at.len() {
        let mut line: Vec<ValueId> = Vec::new();
        for (column, &entry) in e.at[row].iter().enumerate().take(row + 1) {
            let mut sum = entry;
            for before in 0..column {
                let other = if column == row { line[before] } else { found[column][before] };
                let part = l.binary(B::Mul, line[before], other)?;
                sum = l.binary(B::Sub, sum, part)?;
            }
            line.push(if column == row {
                l.unary(U::Sqrt, sum)?
            } else {
                l.binary(B::Div, sum, found[column][column])?
            });
        }
        found.push(line);
    }
    Ok(found)
}

pub fn cholesky(l: &mut Lowering<'_>) -> Outcome {
    let a = float_tensor(l)?;
    let e = entries(l, a, TRIANGLE_MAX)?;
    let found = triangle(l, &e)?;
    let zero = l.scalar_like(a, 0.0)?;
    let zero = l.binary(B::Mul, e.at[0][0], zero)?;
    let upper = l.config.bool_or("upper", false)?;
    let mut rows = Vec::new();
    for row in 0..found.len() {
        let cell = |column: usize| {
            let (row, column) = if upper { (column, row) } else { (row, column) };
            found[row].get(column).copied().unwrap_or(zero)
        };
        let cells: Vec<ValueId> = (0..found.len()).map(cell).collect();
        rows.push(joined(l, e.rank - 1, &cells)?);
    }
    Ok(one(joined(l, e.rank - 2, &rows)?))
}

/// Of a positive definite matrix: twice the logarithms of its triangle's diagonal.
pub fn logdet(l: &mut Lowering<'_>) -> Outcome {
    let a = float_tensor(l)?;
    let e = entries(l, a, TRIANGLE_MAX)?;
    let found = triangle(l, &e)?;
    let diagonal: Vec<ValueId> = found.iter().filter_map(|line| line.last().copied()).collect();
    let diagonal = joined(l, e.rank - 1, &diagonal)?;
    let logs = l.unary(U::Log, diagonal)?;
    let sum = l.reduce(recast_plugin_api::ir::ReduceFunction::Sum, logs, &[e.rank - 2, e.rank - 1], false)?;
    Ok(one(l.binary_scalar(B::Mul, sum, 2.0)?))
}

/// Powers of the elements of a vector, the highest first.
pub fn vander(l: &mut Lowering<'_>) -> Outcome {
    let x = super::args::tensor(l)?;
    unless(l, l.rank(x) != 1, "an input that is no vector")?;
    let count = match super::args::integer(l, &["N"])? {
        Some(count) => u64::try_from(count).map_err(|_| l.unsupported(format!("{count} columns")))?,
        None => l.known(x, 0)?,
    };
    unless(l, count == 0 || count > 1024, "this many columns")?;
    let rising = l.config.bool_or("increasing", false)?;
    let powers: Vec<f64> = (0..count).map(|at| if rising { at } else { count - 1 - at } as f64).collect();
    let given = l.ty(x).dtype;
    let x = super::args::as_float(l, x)?;
    let powers = l.constant(Tensor::from_numbers(l.ty(x).dtype, &[count], &powers))?;
    let x = l.expand(x, 1)?;
    let y = l.binary(B::Pow, x, powers)?;
    Ok(one(l.cast(y, given)?))
}

/// Products of a vector with another one, moved along it.
pub fn correlate(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = super::args::both(l)?;
    let dtype = super::args::common(l, &[&a, &b]);
    let dtype = match dtype {
        DType::I64 => DType::F64,
        other if other.is_float() => other,
        _ => DType::F32,
    };
    let (x, kernel) = (place(l, &a, dtype)?, place(l, &b, dtype)?);
    unless(l, l.rank(x) != 1 || l.rank(kernel) != 1, "inputs that are no vectors")?;
    let (n, m) = (l.known(x, 0)?, l.known(kernel, 0)?);
    unless(l, n == 0 || m == 0, "an empty vector")?;
    let mode = super::args::text(l, &["mode"], "valid")?;
    let edge = if mode == "valid" { 0 } else { m - 1 };
    let sizes = [[1, n, 1], [m, 1, 1]].map(|sizes| sizes.map(Dim::Known).to_vec());
    let [x_shape, kernel_shape] = sizes;
    let (x, kernel) = (l.reshape(x, x_shape)?, l.reshape(kernel, kernel_shape)?);
    let y = crate::audio::framed(l, x, kernel, 1, vec![recast_plugin_api::ir::Padding::Explicit(edge, edge)])?;
    let y = l.squeeze(y, 2)?;
    let y = l.squeeze(y, 0)?;
    let (all, kept) = (n + m - 1, n.max(m));
    match mode.as_str() {
        "same" => {
            let start = (all - kept) / 2;
            Ok(one(l.slice(y, 0, Dim::Known(start), Dim::Known(start + kept))?))
        }
        "full" | "valid" => Ok(one(y)),
        other => Err(l.unsupported(format!("mode '{other}'")).into()),
    }
}

/// Rows of the first operand, added up (or their largest, smallest, product) by the segment that the second one tells.
pub fn segments(l: &mut Lowering<'_>) -> Outcome {
    use recast_plugin_api::ir::{Iota, ReduceFunction as R, Where};
    let x = float_tensor(l)?;
    let ids = opt_operand(l, 1, &["segment_ids"])?.ok_or_else(|| l.unsupported("called without segments"))?;
    let ids = place(l, &ids, DType::I64)?;
    let count = super::args::integer(l, &["num_segments"])?.and_then(|count| u64::try_from(count).ok());
    let count = count.ok_or_else(|| l.unsupported("a number of segments that depends on the values"))?;
    unless(l, l.rank(ids) != 1 || l.rank(x) == 0, "segments that are no vector")?;
    unless(l, l.shape(ids)[0] != l.shape(x)[0], "segments of another length than the batch, which is not known")?;
    let (function, neutral) = match word(l) {
        "SegmentSum" => (R::Sum, 0.0),
        "SegmentProd" => (R::Prod, 1.0),
        "SegmentMax" => (R::Max, -f64::from(f32::MAX)),
        _ => (R::Min, f64::from(f32::MAX)),
    };
    unless(l, neutral.abs() > 1.0 && l.ty(x).dtype != DType::F32, "other than float32")?;
    // (segments, rows, 1, ..): whether the row belongs to the segment.
    let segment = l.add(Iota { dim: Dim::Known(count), dtype: DType::I64 }, &[])?;
    let segment = l.expand(segment, 1)?;
    let mut own = l.binary(B::Equal, segment, ids)?;
    for _ in 1..l.rank(x) {
        own = l.expand(own, l.rank(own))?;
    }
    let neutral = l.scalar_like(x, neutral)?;
    let kept = l.add(Where {}, &[own, x, neutral])?;
    Ok(one(l.reduce(function, kept, &[1], false)?))
}
