//! A stored array, whatever container holds it: where it lies, and its elements where it has to be made into another.

use crate::hdf5;
use crate::io::{Files, Limits, region};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::DType;
use recast_plugin_api::ir::wire::TensorProto;
use std::borrow::Cow;

/// `'b` are the mapped bytes of the artifact.
pub enum Array<'b> {
    Hdf5(hdf5::Dataset),
    Plain(Plain<'b>),
}

/// One little-endian, row-major run of bytes.
pub struct Plain<'b> {
    /// Its name in the container, for messages.
    pub at: String,
    pub dtype: DType,
    pub dims: Vec<u64>,
    /// (file, offset).
    pub place: (u32, u64),
    pub bytes: Cow<'b, [u8]>,
}

/// The elements of an array, little-endian and row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub dtype: DType,
    pub dims: Vec<u64>,
    pub bytes: Vec<u8>,
}

impl Array<'_> {
    pub fn at(&self) -> &str {
        match self {
            Array::Hdf5(dataset) => &dataset.at,
            Array::Plain(plain) => &plain.at,
        }
    }

    /// The array as a tensor.
    pub fn place(&self, files: &mut Files<'_, '_>, limits: &Limits) -> Result<TensorProto, Diag> {
        match self {
            Array::Hdf5(dataset) => dataset.place(files, limits),
            Array::Plain(plain) => Ok(region(plain.dtype, &plain.dims, plain.place, plain.bytes.len() as u64)),
        }
    }

    pub fn dims(&self, limits: &Limits) -> Result<Vec<u64>, Diag> {
        match self {
            Array::Hdf5(dataset) => dataset.dims(limits),
            Array::Plain(plain) => Ok(plain.dims.clone()),
        }
    }

    pub fn load(&self, files: &Files<'_, '_>, limits: &Limits) -> Result<Loaded, Diag> {
        match self {
            Array::Hdf5(dataset) => dataset.load(files, limits),
            Array::Plain(plain) => {
                Ok(Loaded { dtype: plain.dtype, dims: plain.dims.clone(), bytes: plain.bytes.to_vec() })
            }
        }
    }
}

/// Bytes of an array of this type and shape, within the bound on one array.
pub fn byte_len(at: &str, dtype: DType, dims: &[u64], limits: &Limits) -> Result<u64, Diag> {
    let len = dims.iter().try_fold(dtype.size() as u64, |len, &dim| len.checked_mul(dim));
    len.filter(|&len| len <= limits.tensor_bytes).ok_or_else(|| {
        let detail = format!("an array of shape {dims:?}, the bound is {} bytes", limits.tensor_bytes);
        Diag::new(Code::LimitExceeded, at, detail).hint("raise limits.tensor_bytes_max")
    })
}
