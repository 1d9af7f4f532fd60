//! Rearranging the bytes of small constants.

use recast_plugin_api::ir::Tensor;

/// Axes of `bytes` (row-major, `shape`, elements of `size` bytes) permuted: axis `i` of the result is axis `perm[i]`.
pub fn permute(bytes: &[u8], shape: &[u64], perm: &[usize], size: usize) -> Vec<u8> {
    let rank = shape.len();
    let mut strides = vec![size; rank];
    for axis in (1..rank).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as usize;
    }
    let sizes: Vec<usize> = perm.iter().map(|&axis| shape[axis] as usize).collect();
    let strides: Vec<usize> = perm.iter().map(|&axis| strides[axis]).collect();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = vec![0usize; rank];
    let count: usize = sizes.iter().product();
    let mut offset = 0;
    for _ in 0..count {
        out.extend_from_slice(&bytes[offset..offset + size]);
        for axis in (0..rank).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < sizes[axis] {
                break;
            }
            offset -= strides[axis] * sizes[axis];
            index[axis] = 0;
        }
    }
    out
}

/// The bytes that a view shows, from the stored ones.
pub fn view(tensor: &Tensor, stored: &[u8]) -> Vec<u8> {
    if tensor.is_plain() {
        return stored.to_vec();
    }
    permute(stored, &tensor.stored, &tensor.perm, tensor.dtype.size())
}
