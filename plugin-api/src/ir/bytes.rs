//! The bytes of an array with its axes in another order, moved element by element with the cache in mind.

use super::Tensor;
use crate::diag::{Code, Diag};
use std::borrow::Cow;

/// Elements of a tile's side: a tile of each array fits the first-level cache.
const TILE: usize = 32;

impl Tensor {
    /// The bytes that this view shows, of the bytes as they are stored.
    pub fn view_of<'b>(&self, stored: &'b [u8]) -> Result<Cow<'b, [u8]>, Diag> {
        if self.is_plain() {
            return Ok(Cow::Borrowed(stored));
        }
        let size = self.dtype.size();
        let dims: Vec<usize> = self.stored.iter().map(|&n| n as usize).collect();
        let expected = dims.iter().try_fold(size, |product, &dim| product.checked_mul(dim));
        if size == 0 || expected != Some(stored.len()) {
            return Err(Diag::new(Code::Malformed, "", format!("{} bytes for {}", stored.len(), self.ty())));
        }
        Ok(Cow::Owned(permuted(stored, &dims, &self.perm, size)))
    }
}

/// Distance between neighbours along each axis, in elements, C order.
pub fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// The array `from` (row-major, sizes `dims`) with axis `i` of the result being axis `perm[i]` of it.
pub fn permuted(from: &[u8], dims: &[usize], perm: &[usize], element: usize) -> Vec<u8> {
    let (dims, perm) = merged(dims, perm);
    let mut into = vec![0u8; from.len()];
    match element {
        1 => copy::<1>(from, &mut into, &dims, &perm),
        2 => copy::<2>(from, &mut into, &dims, &perm),
        4 => copy::<4>(from, &mut into, &dims, &perm),
        _ => copy::<8>(from, &mut into, &dims, &perm),
    }
    into
}

/// Axes that stay side by side are one axis; axes of one element are none.
fn merged(dims: &[usize], perm: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut last = None;
    for &axis in perm.iter().filter(|&&axis| dims[axis] != 1) {
        let follows = last.is_some_and(|last: usize| (last + 1..axis).all(|between| dims[between] == 1) && last < axis);
        match groups.last_mut() {
            Some(group) if follows => group.push(axis),
            _ => groups.push(vec![axis]),
        }
        last = Some(axis);
    }
    let mut stored: Vec<usize> = (0..groups.len()).collect();
    stored.sort_by_key(|&group| groups[group][0]);
    let sizes = stored.iter().map(|&group| groups[group].iter().map(|&axis| dims[axis]).product());
    let order = (0..groups.len()).map(|group| stored.iter().position(|&g| g == group).unwrap_or(0));
    (sizes.collect(), order.collect())
}

fn copy<const N: usize>(from: &[u8], into: &mut [u8], dims: &[usize], perm: &[usize]) {
    let Some(last) = dims.len().checked_sub(1) else { return into.copy_from_slice(from) };
    if from.is_empty() {
        return;
    }
    let (from_strides, into_dims) = (strides(dims), perm.iter().map(|&axis| dims[axis]).collect::<Vec<_>>());
    let into_strides = strides(&into_dims);
    // Where the stored array's last axis lies in the result: along it reads are contiguous, along the result's own
    // last axis writes are.
    let row = perm.iter().position(|&axis| axis == last).unwrap_or(last);
    let outer: Vec<usize> = (0..=last).filter(|&axis| axis != row && axis != last).collect();
    let mut index = vec![0usize; outer.len()];
    loop {
        let at = |strides: &dyn Fn(usize) -> usize| index.iter().zip(&outer).map(|(&i, &axis)| i * strides(axis)).sum();
        let read: usize = at(&|axis| from_strides[perm[axis]]);
        let write: usize = at(&|axis| into_strides[axis]);
        if row == last {
            let bytes = into_dims[last] * N;
            into[write * N..][..bytes].copy_from_slice(&from[read * N..][..bytes]);
        } else {
            let (rows, columns) = (into_dims[row], into_dims[last]);
            let plane = Plane { rows, columns, read_stride: from_strides[perm[last]], write_stride: into_strides[row] };
            plane.turn::<N>(&from[read * N..], &mut into[write * N..]);
        }
        if !advance(&mut index, &outer, &into_dims) {
            return;
        }
    }
}

fn advance(index: &mut [usize], axes: &[usize], dims: &[usize]) -> bool {
    for (i, &axis) in index.iter_mut().zip(axes).rev() {
        *i += 1;
        if *i < dims[axis] {
            return true;
        }
        *i = 0;
    }
    false
}

/// One two-dimensional transposition inside the larger one.
struct Plane {
    rows: usize,
    columns: usize,
    read_stride: usize,
    write_stride: usize,
}

impl Plane {
    fn turn<const N: usize>(&self, from: &[u8], into: &mut [u8]) {
        for row_begin in (0..self.rows).step_by(TILE) {
            for column_begin in (0..self.columns).step_by(TILE) {
                for row in row_begin..(row_begin + TILE).min(self.rows) {
                    for column in column_begin..(column_begin + TILE).min(self.columns) {
                        let read = (column * self.read_stride + row) * N;
                        let write = (row * self.write_stride + column) * N;
                        into[write..write + N].copy_from_slice(&from[read..read + N]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::DType;

    /// The definition, one element at a time.
    fn slow(from: &[u8], dims: &[usize], perm: &[usize], element: usize) -> Vec<u8> {
        let strides = strides(dims);
        let into_dims: Vec<usize> = perm.iter().map(|&axis| dims[axis]).collect();
        let mut into = Vec::new();
        for i in 0..into_dims.iter().product() {
            let (mut rest, mut at) = (i, 0);
            for axis in (0..perm.len()).rev() {
                at += rest % into_dims[axis] * strides[perm[axis]];
                rest /= into_dims[axis];
            }
            into.extend_from_slice(&from[at * element..][..element]);
        }
        into
    }

    #[test]
    fn every_permutation_is_as_defined() {
        let dims_of = [vec![3, 5, 2, 7], vec![1, 40, 1, 70], vec![33, 1, 2, 2], vec![2, 3, 0, 4]];
        for dims in dims_of {
            for element in [1, 2, 4, 8] {
                let count: usize = dims.iter().product();
                let from: Vec<u8> = (0..count * element).map(|i| (i * 31 % 251) as u8).collect();
                for code in 0..256usize {
                    let perm: Vec<usize> = (0..4).map(|i| code >> (2 * i) & 3).collect();
                    let mut sorted = perm.clone();
                    sorted.sort_unstable();
                    if sorted != [0, 1, 2, 3] {
                        continue;
                    }
                    let expected = slow(&from, &dims, &perm, element);
                    assert_eq!(permuted(&from, &dims, &perm, element), expected, "{dims:?} {perm:?} {element}");
                }
            }
        }
    }

    #[test]
    fn a_view_is_turned() {
        let tensor = Tensor::inline(DType::U8, &[2, 3], vec![1, 2, 3, 4, 5, 6]).permuted(&[1, 0]).unwrap();
        assert_eq!(*tensor.view_of(&[1, 2, 3, 4, 5, 6]).unwrap(), [1, 4, 2, 5, 3, 6]);
        assert!(tensor.view_of(&[1, 2, 3, 4, 5]).is_err());
    }

    #[test]
    fn scalars_and_vectors_stay_as_they_are() {
        assert_eq!(permuted(&[1, 2, 3, 4], &[], &[], 4), [1, 2, 3, 4]);
        assert_eq!(permuted(&[1, 2, 3, 4], &[4], &[0], 1), [1, 2, 3, 4]);
    }
}
