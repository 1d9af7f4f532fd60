//! Products of matrices in f64: the one fast kernel that convolutions, dense layers, attention and recurrence share.

use crate::noise::Noise;

/// A matrix inside a slice: element (i, j) lies at `i * row + j * column`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub data: &'a [f64],
    pub row: usize,
    pub column: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other, `columns` elements each.
    pub fn rows(data: &'a [f64], columns: usize) -> Matrix<'a> {
        Matrix { data, row: columns, column: 1 }
    }

    fn reach(&self, rows: usize, columns: usize) -> usize {
        (rows - 1) * self.row + (columns - 1) * self.column + 1
    }

    /// sqrt of the sum of squares of each row.
    pub fn row_norms(&self, rows: usize, columns: usize) -> Vec<f64> {
        let square = |i: usize, j: usize| self.data[i * self.row + j * self.column].powi(2);
        (0..rows).map(|i| (0..columns).map(|j| square(i, j)).sum::<f64>().sqrt()).collect()
    }

    /// sqrt of the sum of squares of each column.
    pub fn column_norms(&self, rows: usize, columns: usize) -> Vec<f64> {
        let mut sums = vec![0.0; columns];
        for i in 0..rows {
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum += self.data[i * self.row + j * self.column].powi(2);
            }
        }
        sums.into_iter().map(f64::sqrt).collect()
    }
}

/// Sizes of a product: (m, k) times (k, n).
#[derive(Clone, Copy)]
pub struct Sizes {
    pub m: usize,
    pub k: usize,
    pub n: usize,
}

/// out = a b (+ out with `add`), where row i of out begins at `i * out_row`.
pub fn gemm(sizes: Sizes, a: Matrix<'_>, b: Matrix<'_>, add: bool, out: &mut [f64], out_row: usize) {
    let Sizes { m, k, n } = sizes;
    if m == 0 || n == 0 {
        return;
    }
    let written = Matrix { data: out, row: out_row, column: 1 }.reach(m, n);
    assert!(out.len() >= written && out_row >= n, "the product does not fit its place");
    if k == 0 {
        if !add {
            (0..m).for_each(|i| out[i * out_row..][..n].fill(0.0));
        }
        return;
    }
    assert!(a.data.len() >= a.reach(m, k) && b.data.len() >= b.reach(k, n), "a factor is too short");
    let beta = if add { 1.0 } else { 0.0 };
    // SAFETY: the largest offset of each matrix was compared with its slice above, and out's rows don't overlap.
    unsafe {
        matrixmultiply::dgemm(
            m,
            k,
            n,
            1.0,
            a.data.as_ptr(),
            a.row as isize,
            a.column as isize,
            b.data.as_ptr(),
            b.row as isize,
            b.column as isize,
            beta,
            out.as_mut_ptr(),
            out_row as isize,
            1,
        );
    }
}

/// As `gemm`, with what rounding adds to each dot product: element (i, j) draws number `first + i * n + j`.
pub fn gemm_noisy(sizes: Sizes, a: Matrix<'_>, b: Matrix<'_>, out: &mut [f64], noise: Option<Noise>, first: usize) {
    let Sizes { m, k, n } = sizes;
    gemm(sizes, a, b, false, out, n);
    if let Some(noise) = noise {
        let (rows, columns) = (a.row_norms(m, k), b.column_norms(k, n));
        for (i, (row, norm)) in out.chunks_mut(n.max(1)).zip(&rows).enumerate() {
            noise.dots(row, *norm, &columns, k, first + i * n);
        }
    }
}
