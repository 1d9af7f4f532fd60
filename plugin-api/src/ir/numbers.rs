//! Numbers in their storage form: little-endian, as files and mapped memory hold them.

use super::types::DType;

/// One number in the storage form of `dtype` (little-endian); empty for strings.
pub fn encode_number(dtype: DType, value: f64) -> Vec<u8> {
    match dtype {
        DType::F16 => half::f16::from_f64(value).to_le_bytes().to_vec(),
        DType::BF16 => half::bf16::from_f64(value).to_le_bytes().to_vec(),
        DType::F32 => (value as f32).to_le_bytes().to_vec(),
        DType::F64 => value.to_le_bytes().to_vec(),
        DType::I8 => (value as i8).to_le_bytes().to_vec(),
        DType::I16 => (value as i16).to_le_bytes().to_vec(),
        DType::I32 => (value as i32).to_le_bytes().to_vec(),
        DType::I64 => (value as i64).to_le_bytes().to_vec(),
        DType::U8 => vec![value as u8],
        DType::U16 => (value as u16).to_le_bytes().to_vec(),
        DType::U32 => (value as u32).to_le_bytes().to_vec(),
        DType::U64 => (value as u64).to_le_bytes().to_vec(),
        DType::Bool => vec![(value != 0.0) as u8],
        DType::Str => Vec::new(),
    }
}

/// Numbers stored as `dtype`, widened to f64 (64-bit integers above 2^53 lose digits). Empty for strings.
pub fn decode_numbers(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    match dtype {
        DType::Str => Vec::new(),
        DType::Bool => bytes.iter().map(|&b| (b != 0) as u8 as f64).collect(),
        float if float.is_float() => {
            let mut values = vec![0.0; bytes.len() / float.size()];
            widen(float, bytes, &mut values);
            values
        }
        _ => decode_integers(dtype, bytes).into_iter().map(|value| int_to_float(dtype, value)).collect(),
    }
}

/// The i64 that holds an integer of `dtype`, as a number.
pub fn int_to_float(dtype: DType, value: i64) -> f64 {
    if dtype == DType::U64 { value as u64 as f64 } else { value as f64 }
}

/// Floating-point bytes as f64, into `out`.
pub fn widen(dtype: DType, bytes: &[u8], out: &mut [f64]) {
    match dtype {
        DType::F32 => {
            for (value, chunk) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*chunk) as f64;
            }
        }
        DType::F64 => {
            for (value, chunk) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *value = f64::from_le_bytes(*chunk);
            }
        }
        DType::F16 => {
            for (value, chunk) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = half::f16::from_le_bytes(*chunk).to_f64();
            }
        }
        DType::BF16 => {
            for (value, chunk) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = half::bf16::from_le_bytes(*chunk).to_f64();
            }
        }
        // Callers ask for floats only; nothing to widen elsewhere.
        _ => {}
    }
}

/// Integers stored as `dtype`; those of u64 keep their bits. Empty for what is no integer.
pub fn decode_integers(dtype: DType, bytes: &[u8]) -> Vec<i64> {
    macro_rules! read {
        ($t:ty) => {
            bytes.as_chunks::<{ size_of::<$t>() }>().0.iter().map(|chunk| <$t>::from_le_bytes(*chunk) as i64).collect()
        };
    }
    match dtype {
        DType::I8 => read!(i8),
        DType::I16 => read!(i16),
        DType::I32 => read!(i32),
        DType::I64 => read!(i64),
        DType::U8 => read!(u8),
        DType::U16 => read!(u16),
        DType::U32 => read!(u32),
        DType::U64 => read!(u64),
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 | DType::Bool | DType::Str => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_their_own_dtype() {
        for &dtype in DType::ALL.iter().filter(|d| d.size() > 0 && **d != DType::Bool) {
            assert_eq!(decode_numbers(dtype, &encode_number(dtype, 5.0)), [5.0], "{dtype}");
        }
    }

    #[test]
    fn large_unsigned_integers_are_not_negative() {
        let bytes = u64::MAX.to_le_bytes();
        assert_eq!(decode_numbers(DType::U64, &bytes), [u64::MAX as f64]);
        assert_eq!(decode_integers(DType::U64, &bytes), [-1]);
    }
}
