use super::gemm::{Matrix, Sizes, gemm, gemm_noisy};
use super::{Cx, Ins, Operand, Outcome, fault, floats};
use crate::array::{Array, Data, wrap};
use crate::noise::Noise;
use crate::weights::{Offsets, Stored, strides};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::Einsum;
use std::collections::BTreeMap;

/// Elements of a weight that are widened to f64 at a time.
const PANEL_ELEMENTS: usize = 1 << 20;
/// Up to this many rows a product reads the weight once, row by row, without packing it.
const FEW_ROWS: usize = 4;

pub fn matmul(ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let a = ins.array(0)?;
    if let Data::I(_) = &a.data {
        return int_matmul(&a, &*ins.array(1)?, cx);
    }
    let b = ins.operand(1)?;
    let shape = cx.shape();
    let (k, n) = (a.shape[a.rank() - 1], shape[shape.len() - 1]);
    let shared = b.shape()[..b.shape().len() - 2].iter().all(|&size| size == 1);
    let a_rows = a.len() / k.max(1);
    let mut out = vec![0.0; cx.len()];
    if out.is_empty() {
        return cx.floats(out);
    }
    if shared && a_rows * n == out.len() && k > 0 {
        let sizes = Sizes { m: a_rows, k, n };
        match b {
            Operand::Stored(stored) => stored_product(sizes, floats(&a)?, stored, &mut out, cx)?,
            Operand::Made(b) => product(sizes, floats(&a)?, Matrix::rows(floats(b)?, n), &mut out, cx)?,
        }
        return cx.floats(out);
    }
    let b = b.array()?;
    let m = shape[shape.len() - 2];
    let lead = &shape[..shape.len() - 2];
    let (a_at, b_at) = (lead_offsets(&a.shape, lead), lead_offsets(&b.shape, lead));
    let (a, b) = (floats(&a)?, floats(&b)?);
    let sizes = Sizes { m, k, n };
    cx.pool.chunks(&mut out, m * n, |index, part| {
        let (a, b) = (Matrix::rows(&a[a_at[index]..], k), Matrix::rows(&b[b_at[index]..], n));
        gemm_noisy(sizes, a, b, part, cx.noise, index * m * n);
        Ok(())
    })?;
    cx.floats(out)
}

/// Where each matrix of a stack begins when its leading axes are broadcast to `lead`.
fn lead_offsets(shape: &[usize], lead: &[usize]) -> Vec<usize> {
    let own = strides(shape);
    let axes = shape.len() - 2;
    let missing = lead.len() - axes;
    let step = |axis: usize| if axis < missing || shape[axis - missing] == 1 { 0 } else { own[axis - missing] };
    let steps: Vec<usize> = (0..lead.len()).map(step).collect();
    Offsets::new(lead, &steps).collect()
}

/// out = a b with rows of `a` shared among the threads.
fn product(sizes: Sizes, a: &[f64], b: Matrix<'_>, out: &mut [f64], cx: &Cx<'_>) -> Result<(), Diag> {
    let Sizes { m, k, n } = sizes;
    let rows = m.div_ceil(cx.pool.threads()).max(1);
    cx.pool.chunks(out, rows * n, |index, part| {
        let m = part.len() / n.max(1);
        let a = Matrix::rows(&a[index * rows * k..], k);
        gemm_noisy(Sizes { m, k, n }, a, b, part, cx.noise, index * rows * n);
        Ok(())
    })
}

/// out = a b for a weight that stays in its dtype but for one panel of rows at a time.
fn stored_product(sizes: Sizes, a: &[f64], b: &Stored<'_>, out: &mut [f64], cx: &Cx<'_>) -> Result<(), Diag> {
    let Sizes { m, k, n } = sizes;
    let (few, noisy) = (m <= FEW_ROWS, cx.noise.is_some());
    if few {
        few_rows(sizes, a, b, out, cx)?;
    }
    let mut squares = vec![0.0; n];
    let panel = (PANEL_ELEMENTS / n.max(1)).clamp(1, k);
    for begin in (0..k).step_by(panel).filter(|_| noisy || !few) {
        let depth = panel.min(k - begin);
        cx.pool.with_buffer(depth * n, |wide| {
            b.widen(begin * n, wide);
            for row in wide.chunks_exact(n.max(1)).filter(|_| noisy) {
                squares.iter_mut().zip(row).for_each(|(sum, v)| *sum += v * v);
            }
            if few {
                return Ok(());
            }
            let rows = m.div_ceil(cx.pool.threads()).max(1);
            cx.pool.chunks(out, rows * n, |index, part| {
                let a = Matrix { data: &a[index * rows * k + begin..], row: k, column: 1 };
                let sizes = Sizes { m: part.len() / n, k: depth, n };
                gemm(sizes, a, Matrix::rows(wide, n), begin > 0, part, n);
                Ok(())
            })
        })?;
    }
    if let Some(noise) = cx.noise {
        let columns: Vec<f64> = squares.into_iter().map(f64::sqrt).collect();
        let norms = Matrix::rows(a, k).row_norms(m, k);
        for (i, row) in out.chunks_mut(n.max(1)).enumerate() {
            noise.dots(row, norms[i], &columns, k, i * n);
        }
    }
    Ok(())
}

/// One pass over the weight; each thread takes a range of columns.
fn few_rows(sizes: Sizes, a: &[f64], b: &Stored<'_>, out: &mut [f64], cx: &Cx<'_>) -> Result<(), Diag> {
    let Sizes { m, k, n } = sizes;
    let columns = n.div_ceil(cx.pool.threads()).clamp(1, 1024);
    // Column by column range, all rows of it together; put in order below.
    let mut ranges = vec![0.0; m * n];
    cx.pool.chunks(&mut ranges, columns * m, |index, part| {
        let begin = index * columns;
        let width = part.len() / m.max(1);
        let mut wide = vec![0.0; width];
        for depth in 0..k {
            b.widen(depth * n + begin, &mut wide);
            for (i, sums) in part.chunks_exact_mut(width).enumerate() {
                let factor = a[i * k + depth];
                sums.iter_mut().zip(&wide).for_each(|(sum, v)| *sum += factor * v);
            }
        }
        Ok(())
    })?;
    for (index, part) in ranges.chunks(columns * m).enumerate() {
        let width = part.len() / m;
        for (i, sums) in part.chunks_exact(width).enumerate() {
            out[i * n + index * columns..][..width].copy_from_slice(sums);
        }
    }
    Ok(())
}

fn int_matmul(a: &Array, b: &Array, cx: &Cx<'_>) -> Outcome {
    let shape = cx.shape();
    let (m, n) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let k = a.shape[a.rank() - 1];
    let lead = &shape[..shape.len() - 2];
    let (a_at, b_at) = (lead_offsets(&a.shape, lead), lead_offsets(&b.shape, lead));
    let (x, y) = (super::ints(a)?, super::ints(b)?);
    let mut out = Vec::with_capacity(cx.len());
    for (a_at, b_at) in a_at.into_iter().zip(b_at) {
        for i in 0..m {
            for j in 0..n {
                let terms = (0..k).map(|l| x[a_at + i * k + l].wrapping_mul(y[b_at + l * n + j]));
                out.push(wrap(a.dtype, terms.fold(0, i64::wrapping_add)));
            }
        }
    }
    cx.output(Data::I(out))
}

/// An operand of an einsum: one letter an axis.
struct Term {
    letters: Vec<char>,
    values: Vec<f64>,
}

impl Term {
    /// Axes in the order of `letters`; those that it lacks are summed over.
    fn arranged(&self, letters: &[char], sizes: &BTreeMap<char, usize>) -> Vec<f64> {
        let shape: Vec<usize> = self.letters.iter().map(|c| sizes[c]).collect();
        let own = strides(&shape);
        let stride = |c: &char| own[self.letters.iter().position(|l| l == c).unwrap_or(0)];
        let summed: Vec<char> = self.letters.iter().copied().filter(|c| !letters.contains(c)).collect();
        let order: Vec<char> = letters.iter().copied().chain(summed.iter().copied()).collect();
        let to: Vec<usize> = order.iter().map(|c| sizes[c]).collect();
        let steps: Vec<usize> = order.iter().map(stride).collect();
        let run: usize = summed.iter().map(|c| sizes[c]).product();
        let moved: Vec<f64> = Offsets::new(&to, &steps).map(|i| self.values[i]).collect();
        // By count, not by chunks: a sum of no terms is zero, not nothing.
        let count: usize = letters.iter().map(|c| sizes[c]).product();
        (0..count).map(|i| moved[i * run..(i + 1) * run].iter().sum()).collect()
    }
}

pub fn einsum(op: &Einsum, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let bad = || fault(format!("equation '{}'", op.equation));
    let (operands, result) = op.equation.split_once("->").ok_or_else(bad)?;
    let result: Vec<char> = result.chars().collect();
    let letters: Vec<Vec<char>> = operands.split(',').map(|term| term.chars().collect()).collect();
    if letters.len() != ins.len() {
        return Err(bad());
    }
    let mut sizes = BTreeMap::new();
    let mut terms = Vec::new();
    for (index, letters) in letters.into_iter().enumerate() {
        let array = ins.array(index)?;
        if matches!(array.data, Data::B(_)) {
            return Err(fault("einsum of bools"));
        }
        sizes.extend(letters.iter().copied().zip(array.shape.iter().copied()));
        terms.push(Term { letters, values: array.numbers() });
    }
    let mut terms = terms.into_iter();
    let mut whole = terms.next().ok_or_else(bad)?;
    let mut step = 0;
    while let Some(next) = terms.next() {
        let rest: Vec<char> = terms.as_slice().iter().flat_map(|term| term.letters.clone()).collect();
        let kept = |c: &char| result.contains(c) || rest.contains(c);
        step += 1;
        whole = contract(&whole, &next, &kept, &sizes, cx.noise.map(|noise| noise.keyed(step)));
    }
    let values = whole.arranged(&result, &sizes);
    match cx.dtype {
        // Products of integers that a model holds stay far below 2^53.
        Some(dtype) if dtype.is_int() => {
            cx.output(Data::I(values.into_iter().map(|v| wrap(dtype, v as i64)).collect()))
        }
        _ => cx.floats(values),
    }
}

/// Two operands into one: letters of both that are kept stack matrices, letters of both that are not are summed over.
fn contract(
    a: &Term,
    b: &Term,
    kept: &dyn Fn(&char) -> bool,
    sizes: &BTreeMap<char, usize>,
    noise: Option<Noise>,
) -> Term {
    let both = |c: &&char| b.letters.contains(c);
    let stack: Vec<char> = a.letters.iter().filter(both).filter(|c| kept(c)).copied().collect();
    let inner: Vec<char> = a.letters.iter().filter(both).filter(|c| !kept(c)).copied().collect();
    let rows: Vec<char> = a.letters.iter().filter(|c| !b.letters.contains(c) && kept(c)).copied().collect();
    let columns: Vec<char> = b.letters.iter().filter(|c| !a.letters.contains(c) && kept(c)).copied().collect();
    let count = |letters: &[char]| letters.iter().map(|c| sizes[c]).product::<usize>();
    let (m, k, n) = (count(&rows), count(&inner), count(&columns));
    let x = a.arranged(&[stack.as_slice(), &rows, &inner].concat(), sizes);
    let y = b.arranged(&[stack.as_slice(), &inner, &columns].concat(), sizes);
    let mut values = vec![0.0; count(&stack) * m * n];
    for (index, part) in values.chunks_mut((m * n).max(1)).enumerate() {
        let (x, y) = (Matrix::rows(&x[index * m * k..], k), Matrix::rows(&y[index * k * n..], n));
        gemm_noisy(Sizes { m, k, n }, x, y, part, noise, index * m * n);
    }
    Term { letters: [stack, rows, columns].concat(), values }
}
