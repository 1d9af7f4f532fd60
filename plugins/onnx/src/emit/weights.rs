//! Small weights in another order or folded into one another, made when they are written.

use recast_plugin_api::ir::DType;
use recast_plugin_api::ir::types::{decode_numbers, encode_number};

pub fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    decode_numbers(dtype, bytes)
}

pub fn encode(dtype: DType, values: impl Iterator<Item = f64>) -> Vec<u8> {
    values.flat_map(|value| encode_number(dtype, value)).collect()
}

/// Keras' gate columns as ONNX' gate rows: (rows, gates * units) -> (gates * units, rows), gate `g` of the result being
/// gate `order[g]` of `kernel`.
pub fn gates_transposed(kernel: &[u8], rows: usize, units: usize, order: &[usize], size: usize) -> Vec<u8> {
    let width = order.len() * units;
    let mut out = Vec::with_capacity(kernel.len());
    for &gate in order {
        for unit in 0..units {
            let column = gate * units + unit;
            for row in 0..rows {
                let at = (row * width + column) * size;
                out.extend_from_slice(&kernel[at..at + size]);
            }
        }
    }
    out
}

/// A bias (gates * units) with its gates in another order.
pub fn gates_ordered(bias: &[u8], units: usize, order: &[usize], size: usize) -> Vec<u8> {
    let run = units * size;
    order.iter().flat_map(|&gate| bias[gate * run..(gate + 1) * run].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_move_and_turn() {
        // One row, two gates of two units: columns a0 a1 b0 b1.
        assert_eq!(gates_transposed(&[1, 2, 3, 4], 1, 2, &[1, 0], 1), [3, 4, 1, 2]);
        // Two rows, one gate.
        assert_eq!(gates_transposed(&[1, 2, 3, 4], 2, 2, &[0], 1), [1, 3, 2, 4]);
        assert_eq!(gates_ordered(&[1, 2, 3, 4], 2, &[1, 0], 1), [3, 4, 1, 2]);
    }
}
