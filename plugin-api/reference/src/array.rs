//! Arrays in memory: floating point as f64 whatever the dtype says, integers as i64, bools as bool, strings as text.

use half::{bf16, f16};
use recast_plugin_api::ir::numbers::{decode_integers, int_to_float, widen};
use recast_plugin_api::ir::{DType, Type};

/// The elements, C order. `U64` values above 2^63 - 1 are held as the i64 of the same bits.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    F(Vec<f64>),
    I(Vec<i64>),
    B(Vec<bool>),
    S(Vec<String>),
}

/// An array of values of `dtype`. Floating-point elements are not rounded to `dtype`: f64 is the reference, and what
/// float32 adds to it is what `Rounding::Perturbed` estimates.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub data: Data,
}

impl Data {
    pub fn len(&self) -> usize {
        match self {
            Data::F(values) => values.len(),
            Data::I(values) => values.len(),
            Data::B(values) => values.len(),
            Data::S(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        match self {
            Data::F(_) | Data::I(_) => self.len() as u64 * 8,
            Data::B(_) => self.len() as u64,
            Data::S(values) => values.iter().map(|text| (size_of::<String>() + text.len()) as u64).sum(),
        }
    }

    /// Elements in the order in which `pick` names them.
    pub fn picked(&self, pick: impl Iterator<Item = usize>) -> Data {
        match self {
            Data::F(values) => Data::F(pick.map(|i| values[i]).collect()),
            Data::I(values) => Data::I(pick.map(|i| values[i]).collect()),
            Data::B(values) => Data::B(pick.map(|i| values[i]).collect()),
            Data::S(values) => Data::S(pick.map(|i| values[i].clone()).collect()),
        }
    }
}

impl Array {
    pub fn floats(dtype: DType, shape: Vec<usize>, values: Vec<f64>) -> Array {
        Array { dtype, shape, data: Data::F(values) }
    }

    pub fn ints(dtype: DType, shape: Vec<usize>, values: Vec<i64>) -> Array {
        Array { dtype, shape, data: Data::I(values) }
    }

    pub fn bools(shape: Vec<usize>, values: Vec<bool>) -> Array {
        Array { dtype: DType::Bool, shape, data: Data::B(values) }
    }

    pub fn strings(shape: Vec<usize>, values: Vec<String>) -> Array {
        Array { dtype: DType::Str, shape, data: Data::S(values) }
    }

    /// An array of `dtype`; values are rounded to it, as if they had been stored. Of strings, which numbers are not, it
    /// makes empty ones.
    pub fn from_numbers(dtype: DType, shape: Vec<usize>, values: Vec<f64>) -> Array {
        if dtype.is_float() {
            return Array::floats(dtype, shape, values.into_iter().map(|v| round_to(dtype, v)).collect());
        }
        match dtype {
            DType::Bool => Array::bools(shape, values.into_iter().map(|v| v != 0.0).collect()),
            DType::Str => Array::strings(shape, vec![String::new(); values.len()]),
            _ => Array::ints(dtype, shape, values.into_iter().map(|v| float_to_int(dtype, v)).collect()),
        }
    }

    /// Every element as f64 (integers above 2^53 lose digits; bools are 0 and 1; unlike strings have unlike numbers,
    /// which say nothing more).
    pub fn numbers(&self) -> Vec<f64> {
        match &self.data {
            Data::F(values) => values.clone(),
            Data::I(values) => values.iter().map(|&v| int_to_float(self.dtype, v)).collect(),
            Data::B(values) => values.iter().map(|&v| v as u8 as f64).collect(),
            Data::S(values) => values.iter().map(|text| text_number(text)).collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    pub fn ty(&self) -> Type {
        Type::known(self.dtype, &self.shape.iter().map(|&n| n as u64).collect::<Vec<_>>())
    }

    /// As the op `Cast` does it: float to integer truncates toward zero (NaN is 0, what is out of range becomes the
    /// nearest bound), integer to a narrower one keeps the low bits, anything to bool is x != 0, and a float that
    /// comes from elsewhere than a narrower float is rounded.
    pub fn cast(&self, to: DType) -> Array {
        let shape = self.shape.clone();
        if to == self.dtype {
            return self.clone();
        }
        match (&self.data, to) {
            (Data::I(values), DType::Str) if self.dtype == DType::U64 => {
                Array::strings(shape, values.iter().map(|&v| (v as u64).to_string()).collect())
            }
            (Data::I(values), DType::Str) => Array::strings(shape, values.iter().map(i64::to_string).collect()),
            // Inference refuses both.
            (data, DType::Str) => Array::strings(shape, vec![String::new(); data.len()]),
            (Data::S(values), _) => Array::from_numbers(to, shape, vec![f64::NAN; values.len()]),
            (Data::F(values), DType::Bool) => Array::bools(shape, values.iter().map(|&v| v != 0.0).collect()),
            (Data::I(values), DType::Bool) => Array::bools(shape, values.iter().map(|&v| v != 0).collect()),
            (Data::B(values), DType::Bool) => Array::bools(shape, values.clone()),
            (Data::F(values), _) if to.is_float() => {
                let keep = to == DType::F64 || (to == DType::F32 && self.dtype != DType::F64);
                let convert = |&v: &f64| if keep { v } else { round_to(to, v) };
                Array::floats(to, shape, values.iter().map(convert).collect())
            }
            (Data::I(values), _) if to.is_float() => {
                let convert = |&v: &i64| round_to(to, int_to_float(self.dtype, v));
                Array::floats(to, shape, values.iter().map(convert).collect())
            }
            (Data::B(values), _) if to.is_float() => {
                Array::floats(to, shape, values.iter().map(|&v| v as u8 as f64).collect())
            }
            (Data::F(values), _) => Array::ints(to, shape, values.iter().map(|&v| float_to_int(to, v)).collect()),
            (Data::I(values), _) => Array::ints(to, shape, values.iter().map(|&v| wrap(to, v)).collect()),
            (Data::B(values), _) => Array::ints(to, shape, values.iter().map(|&v| v as i64).collect()),
        }
    }

    /// Floating point as x * factor + offset, rounded to the dtype; integers and bools as they are.
    pub fn styled(&self, factor: f64, offset: f64) -> Array {
        match &self.data {
            Data::F(values) => {
                let values = values.iter().map(|v| round_to(self.dtype, v * factor + offset)).collect();
                Array::floats(self.dtype, self.shape.clone(), values)
            }
            Data::I(_) | Data::B(_) | Data::S(_) => self.clone(),
        }
    }

    /// At most `count` first rows of axis 0.
    pub fn first_rows(&self, count: usize) -> Array {
        let Some(&rows) = self.shape.first() else { return self.clone() };
        let kept = rows.min(count);
        let row: usize = self.shape[1..].iter().product();
        let mut shape = self.shape.clone();
        shape[0] = kept;
        Array { dtype: self.dtype, shape, data: self.data.picked(0..kept * row) }
    }

    /// From bytes in storage form (little-endian, C order). `None` when they are not `shape`'s, or strings.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Option<Array> {
        let count = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
        if dtype == DType::Str || count.checked_mul(dtype.size())? != bytes.len() {
            return None;
        }
        let shape = shape.to_vec();
        Some(match dtype {
            DType::Bool => Array::bools(shape, bytes.iter().map(|&b| b != 0).collect()),
            float if float.is_float() => {
                let mut values = vec![0.0; count];
                widen(dtype, bytes, &mut values);
                Array::floats(dtype, shape, values)
            }
            _ => Array::ints(dtype, shape, decode_integers(dtype, bytes)),
        })
    }
}

/// A text as a whole number below 2^53: FNV-1a, folded.
fn text_number(text: &str) -> f64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    ((hash >> 53) ^ (hash & ((1 << 53) - 1))) as f64
}

/// The nearest value that a float dtype can hold.
pub fn round_to(dtype: DType, value: f64) -> f64 {
    match dtype {
        DType::F16 => f16::from_f64(value).to_f64(),
        DType::BF16 => bf16::from_f64(value).to_f64(),
        DType::F32 => value as f32 as f64,
        _ => value,
    }
}

fn float_to_int(dtype: DType, value: f64) -> i64 {
    match dtype {
        DType::I8 => value as i8 as i64,
        DType::I16 => value as i16 as i64,
        DType::I32 => value as i32 as i64,
        DType::U8 => value as u8 as i64,
        DType::U16 => value as u16 as i64,
        DType::U32 => value as u32 as i64,
        DType::U64 => value as u64 as i64,
        _ => value as i64,
    }
}

/// Arithmetic of an integer dtype: what does not fit wraps around.
pub fn wrap(dtype: DType, value: i64) -> i64 {
    match dtype {
        DType::I8 => value as i8 as i64,
        DType::I16 => value as i16 as i64,
        DType::I32 => value as i32 as i64,
        DType::U8 => value as u8 as i64,
        DType::U16 => value as u16 as i64,
        DType::U32 => value as u32 as i64,
        _ => value,
    }
}
