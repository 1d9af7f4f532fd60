//! Dtypes, types, and tensors (which are places in mapped files, not memory).

use super::dim::Dim;
pub use super::numbers::{decode_numbers, encode_number};
use std::fmt;

macro_rules! dtypes {
    ($($variant:ident = $text:literal, $bytes:literal, $keras:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DType { $($variant),* }

        impl DType {
            pub const ALL: &[DType] = &[$(DType::$variant),*];
            /// recast's name: `f32`.
            pub fn as_str(self) -> &'static str { match self { $(DType::$variant => $text),* } }
            /// Bytes of one element as stored; 0 for strings, which have no fixed size.
            pub fn size(self) -> usize { match self { $(DType::$variant => $bytes),* } }
            /// Keras' and numpy's name: `float32`.
            pub fn keras_name(self) -> &'static str { match self { $(DType::$variant => $keras),* } }
            pub fn parse(text: &str) -> Option<DType> { match text { $($text => Some(DType::$variant),)* _ => None } }
            pub fn from_keras(text: &str) -> Option<DType> {
                match text { $($keras => Some(DType::$variant),)* _ => None }
            }
        }
    };
}

dtypes! {
    F16 = "f16", 2, "float16";
    BF16 = "bf16", 2, "bfloat16";
    F32 = "f32", 4, "float32";
    F64 = "f64", 8, "float64";
    I8 = "i8", 1, "int8";
    I16 = "i16", 2, "int16";
    I32 = "i32", 4, "int32";
    I64 = "i64", 8, "int64";
    U8 = "u8", 1, "uint8";
    U16 = "u16", 2, "uint16";
    U32 = "u32", 4, "uint32";
    U64 = "u64", 8, "uint64";
    Bool = "bool", 1, "bool";
    Str = "str", 0, "string";
}

impl DType {
    pub fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }
    pub fn is_int(self) -> bool {
        !self.is_float() && self != DType::Bool && self != DType::Str
    }
    pub fn is_signed(self) -> bool {
        self.is_float() || matches!(self, DType::I8 | DType::I16 | DType::I32 | DType::I64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

pub type Shape = Vec<Dim>;

/// What a value is: element type and shape. Rank is always known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Type {
    pub dtype: DType,
    pub shape: Shape,
}

impl Type {
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> Type {
        Type { dtype, shape: shape.into() }
    }
    pub fn known(dtype: DType, sizes: &[u64]) -> Type {
        Type { dtype, shape: sizes.iter().map(|&size| Dim::Known(size)).collect() }
    }
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
    pub fn with_dtype(&self, dtype: DType) -> Type {
        Type { dtype, shape: self.shape.clone() }
    }
    pub fn with_shape(&self, shape: impl Into<Shape>) -> Type {
        Type { dtype: self.dtype, shape: shape.into() }
    }
    /// All sizes, where all are known.
    pub fn sizes(&self) -> Option<Vec<u64>> {
        self.shape.iter().map(Dim::known).collect()
    }
}

/// Number of elements, as a dimension.
pub fn element_count(shape: &[Dim]) -> Dim {
    shape.iter().fold(Dim::Known(1), |product, dim| product.times(dim))
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.shape.iter().map(Dim::to_string).collect();
        write!(f, "{}[{}]", self.dtype, dims.join(", "))
    }
}

/// Where a tensor's bytes are: little-endian, C order, no gaps.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Data {
    /// Bytes `offset .. offset + len` of file `file` of the job (`LayerModel::files`).
    Region { file: u32, offset: u64, len: u64 },
    /// In the graph itself; for small constants (at most `INLINE_BYTES_MAX`).
    Inline(Vec<u8>),
}

/// Constants above this belong in a scratch file.
pub const INLINE_BYTES_MAX: usize = 1 << 20;

/// A constant array: stored bytes of shape `stored`, then axes permuted by `perm`, then reshaped to `shape`.
/// The view costs nothing until a writer reads it; `perm` is the identity for a tensor as stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tensor {
    pub dtype: DType,
    pub stored: Vec<u64>,
    /// Axis `i` of the view is axis `perm[i]` of what is stored (as in numpy's `transpose`).
    pub perm: Vec<usize>,
    pub shape: Vec<u64>,
    pub data: Data,
}

impl Tensor {
    pub fn stored(dtype: DType, shape: &[u64], data: Data) -> Tensor {
        Tensor { dtype, stored: shape.to_vec(), perm: (0..shape.len()).collect(), shape: shape.to_vec(), data }
    }

    pub fn ty(&self) -> Type {
        Type::known(self.dtype, &self.shape)
    }

    pub fn is_plain(&self) -> bool {
        self.perm.iter().enumerate().all(|(i, &axis)| i == axis)
    }

    pub fn len(&self) -> u64 {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn byte_len(&self) -> u64 {
        self.len() * self.dtype.size() as u64
    }

    /// The same elements under another shape. `None` when the counts differ.
    pub fn reshaped(&self, shape: &[u64]) -> Option<Tensor> {
        if shape.iter().product::<u64>() != self.len() {
            return None;
        }
        let mut view = self.clone();
        view.shape = shape.to_vec();
        if view.is_plain() {
            view.stored = shape.to_vec();
            view.perm = (0..shape.len()).collect();
        }
        Some(view)
    }

    /// Axes permuted: axis `i` of the result is axis `perm[i]` of this view. `None` when a reshape lies over an
    /// earlier permutation, which one view can't say.
    pub fn permuted(&self, perm: &[usize]) -> Option<Tensor> {
        let view: Vec<u64> = self.perm.iter().map(|&axis| self.stored[axis]).collect();
        if view != self.shape || perm.len() != view.len() {
            return None;
        }
        Some(Tensor {
            perm: perm.iter().map(|&axis| self.perm[axis]).collect(),
            shape: perm.iter().map(|&axis| self.shape[axis]).collect(),
            ..self.clone()
        })
    }

    pub fn from_f32(shape: &[u64], values: &[f32]) -> Tensor {
        Tensor::inline(DType::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub fn from_i64(shape: &[u64], values: &[i64]) -> Tensor {
        Tensor::inline(DType::I64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub fn inline(dtype: DType, shape: &[u64], bytes: Vec<u8>) -> Tensor {
        Tensor::stored(dtype, shape, Data::Inline(bytes))
    }

    /// A rank-0 constant of any numeric dtype; the value is rounded to it.
    pub fn scalar(dtype: DType, value: f64) -> Tensor {
        Tensor::inline(dtype, &[], encode_number(dtype, value))
    }

    /// An array of any numeric dtype; values are rounded to it.
    pub fn from_numbers(dtype: DType, shape: &[u64], values: &[f64]) -> Tensor {
        Tensor::inline(dtype, shape, values.iter().flat_map(|&v| encode_number(dtype, v)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_compose_or_say_that_they_do_not() {
        let t = Tensor::from_f32(&[2, 3], &[0.0; 6]);
        let p = t.permuted(&[1, 0]).unwrap();
        assert_eq!((p.shape.clone(), p.is_plain()), (vec![3, 2], false));
        assert!(p.permuted(&[1, 0]).unwrap().is_plain());
        assert_eq!(p.reshaped(&[6]).unwrap().permuted(&[0]), None);
        assert_eq!(t.reshaped(&[3, 2]).unwrap().permuted(&[1, 0]).unwrap().shape, vec![2, 3]);
        assert_eq!(t.reshaped(&[7]), None);
    }
}
