//! Where stored numbers come from. They stay in their stored dtype until an op needs them, and are widened block by
//! block where they are large: a 400 MB kernel never becomes 800 MB of f64.

use crate::array::Array;
use recast_plugin_api::diag::{Code, Diag};
pub use recast_plugin_api::ir::bytes::strides;
use recast_plugin_api::ir::numbers::widen;
use recast_plugin_api::ir::{DType, Data, Tensor};

/// Bytes and whatever keeps them alive.
pub type Bytes<'a> = Box<dyn AsRef<[u8]> + Send + Sync + 'a>;

/// Gives the bytes of params and constants.
pub trait Weights {
    /// The bytes of a tensor's view: C order of `shape`, permutation applied, little-endian.
    fn bytes<'a>(&'a self, tensor: &'a Tensor) -> Result<Bytes<'a>, Diag>;
}

/// Files in memory (or mapped), by number.
pub struct Files<'f>(pub Vec<&'f [u8]>);

impl Files<'_> {
    /// For graphs whose tensors are all inline.
    pub fn none() -> Files<'static> {
        Files(Vec::new())
    }
}

impl Weights for Files<'_> {
    fn bytes<'a>(&'a self, tensor: &'a Tensor) -> Result<Bytes<'a>, Diag> {
        let stored: &[u8] = match &tensor.data {
            Data::Inline(bytes) => bytes,
            Data::Region { file, offset, len } => {
                let file_bytes = self.0.get(*file as usize).copied();
                let region = file_bytes.and_then(|bytes| {
                    let begin = usize::try_from(*offset).ok()?;
                    bytes.get(begin..begin.checked_add(usize::try_from(*len).ok()?)?)
                });
                region.ok_or_else(|| {
                    let detail = format!("bytes {offset}+{len} of file {file} are not there");
                    Diag::new(Code::Malformed, "", detail)
                })?
            }
        };
        Ok(Box::new(tensor.view_of(stored)?))
    }
}

/// Walks a shape in C order and gives the offset of each element under other strides.
pub struct Offsets<'a> {
    shape: &'a [usize],
    strides: &'a [usize],
    index: Vec<usize>,
    offset: usize,
    left: usize,
}

impl<'a> Offsets<'a> {
    pub fn new(shape: &'a [usize], strides: &'a [usize]) -> Offsets<'a> {
        Offsets { shape, strides, index: vec![0; shape.len()], offset: 0, left: shape.iter().product() }
    }
}

impl Iterator for Offsets<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let current = self.offset;
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            self.offset += self.strides[axis];
            if self.index[axis] < self.shape[axis] {
                break;
            }
            self.offset -= self.strides[axis] * self.shape[axis];
            self.index[axis] = 0;
        }
        Some(current)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// A tensor in its stored dtype.
pub struct Stored<'a> {
    pub dtype: DType,
    pub shape: Vec<usize>,
    bytes: Bytes<'a>,
}

impl<'a> Stored<'a> {
    pub fn open(tensor: &'a Tensor, weights: &'a dyn Weights) -> Result<Stored<'a>, Diag> {
        if tensor.dtype == DType::Str {
            return Err(Diag::new(Code::UnsupportedType, "", "strings have no numbers to evaluate"));
        }
        let bytes = weights.bytes(tensor)?;
        let have = (*bytes).as_ref().len() as u64;
        if have != tensor.byte_len() {
            return Err(Diag::new(Code::Bug, "", format!("{have} bytes came for {}", tensor.ty())));
        }
        let shape = tensor.shape.iter().map(|&n| n as usize).collect();
        Ok(Stored { dtype: tensor.dtype, shape, bytes })
    }

    pub fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }

    /// Floating-point elements `begin .. begin + out.len()`, widened.
    pub fn widen(&self, begin: usize, out: &mut [f64]) {
        let size = self.dtype.size();
        widen(self.dtype, &self.bytes()[begin * size..(begin + out.len()) * size], out);
    }

    pub fn to_array(&self) -> Option<Array> {
        Array::from_bytes(self.dtype, &self.shape, self.bytes())
    }
}
