//! How a weight of today is made of arrays that an older Keras, or another one, stored: joined, turned around, in
//! another layout. Elements move, and none changes, but for biases that are added.

use crate::array::Loaded;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::DType;
use recast_plugin_api::ir::bytes::{permuted, strides};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Transpose(Vec<usize>),
    /// Reverses these axes.
    Flip(Vec<usize>),
    /// As many elements under another shape.
    Reshape(Vec<u64>),
    /// Kernels of this many gates, stacked along the last axis, from cuDNN's layout: each gate's (in, units) was
    /// written as (units, in).
    CudnnGates(u64),
    /// The two halves of cuDNN's bias, added.
    SumHalves,
}

/// `at` is the first array, for messages.
pub fn run(at: &str, arrays: Vec<Loaded>, steps: &[Step]) -> Result<Loaded, Diag> {
    let wrong = |detail: String| Diag::new(Code::WeightShape, at, detail);
    let mut now = join(arrays).map_err(wrong)?;
    for step in steps {
        let dims = now.dims.clone();
        let refused = || wrong(format!("an array of shape {dims:?} can't be converted: {step:?}"));
        now = apply(now, step).ok_or_else(refused)?;
    }
    Ok(now)
}

/// Along the last axis.
fn join(mut arrays: Vec<Loaded>) -> Result<Loaded, String> {
    if arrays.len() == 1 {
        return Ok(arrays.remove(0));
    }
    let first = arrays.first().ok_or("no array")?;
    let (dtype, rank) = (first.dtype, first.dims.len());
    let rows: u64 = first.dims.iter().take(rank.saturating_sub(1)).product();
    let alike = |array: &Loaded| {
        array.dtype == dtype && array.dims.len() == rank && rank > 0 && array.dims[..rank - 1] == first.dims[..rank - 1]
    };
    if !arrays.iter().all(alike) {
        let shapes: Vec<&[u64]> = arrays.iter().map(|array| array.dims.as_slice()).collect();
        return Err(format!("arrays of the gates with the shapes {shapes:?}"));
    }
    let mut dims = first.dims.clone();
    dims[rank - 1] = arrays.iter().map(|array| array.dims[rank - 1]).sum();
    let mut bytes = Vec::with_capacity(arrays.iter().map(|array| array.bytes.len()).sum());
    for row in 0..rows as usize {
        for array in &arrays {
            let width = array.dims[rank - 1] as usize * dtype.size();
            bytes.extend_from_slice(&array.bytes[row * width..(row + 1) * width]);
        }
    }
    Ok(Loaded { dtype, dims, bytes })
}

/// None where the shape does not allow it.
fn apply(array: Loaded, step: &Step) -> Option<Loaded> {
    let rank = array.dims.len();
    match step {
        Step::Transpose(perm) => (perm.len() == rank).then(|| transpose(&array, perm)),
        Step::Flip(axes) => axes.iter().all(|&axis| axis < rank).then(|| flip(&array, axes)),
        Step::Reshape(dims) => {
            let same = dims.iter().product::<u64>() == array.dims.iter().product::<u64>();
            same.then(|| Loaded { dims: dims.clone(), ..array })
        }
        Step::CudnnGates(gates) => cudnn(&array, *gates),
        Step::SumHalves => sum_halves(&array),
    }
}

fn sizes(array: &Loaded) -> Vec<usize> {
    array.dims.iter().map(|&size| size as usize).collect()
}

/// Row-major elements of `dims`, each fetched from where `start` and `strides` put it.
fn gather(array: &Loaded, dims: Vec<u64>, start: isize, strides: &[isize]) -> Loaded {
    let size = array.dtype.size();
    let mut bytes = Vec::with_capacity(array.bytes.len());
    let mut index = vec![0u64; dims.len()];
    let mut at = start;
    for _ in 0..dims.iter().product::<u64>() {
        let from = at as usize * size;
        bytes.extend_from_slice(&array.bytes[from..from + size]);
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < dims[axis] {
                break;
            }
            at -= strides[axis] * dims[axis] as isize;
            index[axis] = 0;
        }
    }
    Loaded { dtype: array.dtype, dims, bytes }
}

fn transpose(array: &Loaded, perm: &[usize]) -> Loaded {
    let dims = perm.iter().map(|&axis| array.dims[axis]).collect();
    Loaded { dtype: array.dtype, dims, bytes: permuted(&array.bytes, &sizes(array), perm, array.dtype.size()) }
}

fn flip(array: &Loaded, axes: &[usize]) -> Loaded {
    let mut strides: Vec<isize> = strides(&sizes(array)).into_iter().map(|stride| stride as isize).collect();
    let mut start = 0;
    for &axis in axes {
        start += strides[axis] * (array.dims[axis] as isize - 1).max(0);
        strides[axis] = -strides[axis];
    }
    gather(array, array.dims.clone(), start, &strides)
}

fn cudnn(array: &Loaded, gates: u64) -> Option<Loaded> {
    let &[rows, columns] = array.dims.as_slice() else { return None };
    let units = columns.checked_div(gates).filter(|units| units * gates == columns)?;
    // Element (i, gate, j) of the result is element `j * rows + i` of the gate's block read row by row, and that block
    // lies in `array` as `units` columns: position p stands at row p / units, column p % units.
    let size = array.dtype.size();
    let mut bytes = Vec::with_capacity(array.bytes.len());
    for i in 0..rows {
        for gate in 0..gates {
            for j in 0..units {
                let position = j * rows + i;
                let from = (position / units * columns + gate * units + position % units) as usize * size;
                bytes.extend_from_slice(&array.bytes[from..from + size]);
            }
        }
    }
    Some(Loaded { dtype: array.dtype, dims: array.dims.clone(), bytes })
}

fn sum_halves(array: &Loaded) -> Option<Loaded> {
    let &[len] = array.dims.as_slice() else { return None };
    if len % 2 != 0 || array.dtype != DType::F32 {
        return None;
    }
    let (first, second) = array.bytes.split_at(array.bytes.len() / 2);
    let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let pairs = first.chunks_exact(4).zip(second.chunks_exact(4));
    let bytes = pairs.flat_map(|(a, b)| (number(a) + number(b)).to_le_bytes()).collect();
    Some(Loaded { dtype: array.dtype, dims: vec![len / 2], bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(dims: &[u64], values: &[u8]) -> Loaded {
        Loaded { dtype: DType::U8, dims: dims.to_vec(), bytes: values.to_vec() }
    }

    fn made(array: Loaded, step: Step) -> (Vec<u64>, Vec<u8>) {
        let made = run("x", vec![array], &[step]).unwrap();
        (made.dims, made.bytes)
    }

    #[test]
    fn elements_go_where_numpy_puts_them() {
        let matrix = || array(&[2, 3], &[0, 1, 2, 3, 4, 5]);
        assert_eq!(made(matrix(), Step::Transpose(vec![1, 0])), (vec![3, 2], vec![0, 3, 1, 4, 2, 5]));
        assert_eq!(made(matrix(), Step::Flip(vec![0])), (vec![2, 3], vec![3, 4, 5, 0, 1, 2]));
        assert_eq!(made(matrix(), Step::Flip(vec![0, 1])), (vec![2, 3], vec![5, 4, 3, 2, 1, 0]));
        let cube = array(&[2, 1, 3], &[0, 1, 2, 3, 4, 5]);
        assert_eq!(made(cube, Step::Transpose(vec![2, 0, 1])), (vec![3, 2, 1], vec![0, 3, 1, 4, 2, 5]));
        // numpy: np.hstack([k.T.reshape(k.shape, order="F") for k in np.hsplit(np.arange(12).reshape(2, 6), 2)])
        let gates = array(&[2, 6], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        let expected = vec![0, 2, 7, 3, 5, 10, 1, 6, 8, 4, 9, 11];
        assert_eq!(made(gates, Step::CudnnGates(2)), (vec![2, 6], expected));
    }

    #[test]
    fn gates_are_joined_along_the_last_axis() {
        let gates = vec![array(&[2, 1], &[0, 1]), array(&[2, 2], &[2, 3, 4, 5])];
        assert_eq!(run("x", gates, &[]).unwrap(), array(&[2, 3], &[0, 2, 3, 1, 4, 5]));
        let odd = vec![array(&[2, 1], &[0, 1]), array(&[1, 2], &[2, 3])];
        assert_eq!(run("x", odd, &[]).unwrap_err().code, Code::WeightShape);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let matrix = || array(&[2, 3], &[0, 1, 2, 3, 4, 5]);
        for step in [
            Step::Transpose(vec![0]),
            Step::Flip(vec![2]),
            Step::Reshape(vec![4]),
            Step::CudnnGates(4),
            Step::SumHalves,
        ] {
            assert_eq!(run("x", vec![matrix()], &[step]).unwrap_err().code, Code::WeightShape);
        }
    }
}
