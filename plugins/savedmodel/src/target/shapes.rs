//! Shapes as TensorFlow writes them, and the bytes of small constants.

use crate::proto::{Attr, ListValue, ShapeDim, TensorShapeProto};
use recast_plugin_api::ir::{Dim, Tensor};

pub fn known(dims: &[u64]) -> TensorShapeProto {
    let dim = dims.iter().map(|&size| ShapeDim { size: i64::try_from(size).unwrap_or(i64::MAX), name: String::new() });
    TensorShapeProto { dim: dim.collect(), unknown_rank: false }
}

/// -1 for every size that is free.
pub fn of(dims: &[Dim]) -> TensorShapeProto {
    let size = |dim: &Dim| dim.known().map_or(-1, |size| i64::try_from(size).unwrap_or(i64::MAX));
    let dim = dims.iter().map(|dim| ShapeDim { size: size(dim), name: String::new() });
    TensorShapeProto { dim: dim.collect(), unknown_rank: false }
}

/// A list of one shape, as arguments of functions carry theirs.
pub fn listed(shape: TensorShapeProto) -> Attr {
    Attr::List(ListValue { shape: vec![shape], ..ListValue::default() })
}

/// The bytes that a view shows, from the stored ones.
pub fn view(tensor: &Tensor, stored: &[u8]) -> Vec<u8> {
    if tensor.is_plain() {
        return stored.to_vec();
    }
    let size = tensor.dtype.size();
    let rank = tensor.stored.len();
    let mut strides = vec![size; rank];
    for axis in (1..rank).rev() {
        strides[axis - 1] = strides[axis] * tensor.stored[axis] as usize;
    }
    let sizes: Vec<usize> = tensor.perm.iter().map(|&axis| tensor.stored[axis] as usize).collect();
    let strides: Vec<usize> = tensor.perm.iter().map(|&axis| strides[axis]).collect();
    let mut out = Vec::with_capacity(stored.len());
    let mut index = vec![0usize; rank];
    let mut offset = 0;
    for _ in 0..sizes.iter().product::<usize>() {
        out.extend_from_slice(stored.get(offset..offset + size).unwrap_or_default());
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

#[cfg(test)]
mod tests {
    use super::*;
    use recast_plugin_api::ir::DType;

    #[test]
    fn a_view_is_turned() {
        let tensor = Tensor::inline(DType::U8, &[2, 3], vec![1, 2, 3, 4, 5, 6]).permuted(&[1, 0]).unwrap();
        assert_eq!(view(&tensor, &[1, 2, 3, 4, 5, 6]), [1, 4, 2, 5, 3, 6]);
    }
}
