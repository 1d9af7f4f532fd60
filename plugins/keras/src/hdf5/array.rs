//! One stored array: its declared type and size checked against the file, and its place as a tensor. What lies in the
//! file as one little-endian run stays there; all else is decoded into the scratch file.

use super::view::malformed;
use crate::array::{Loaded, byte_len};
use crate::io::{Files, INFLATION_MAX, Limits, RANK_MAX, region};
use hdf5_pure::{Datatype, DatatypeByteOrder, Error, FormatError, Layout};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::DType;
use recast_plugin_api::ir::wire::TensorProto;

pub struct Dataset {
    dataset: hdf5_pure::Dataset,
    /// Path in its file.
    pub at: String,
    file_len: u64,
    /// The file, and where HDF5 begins in it.
    base: (u32, u64),
}

/// What the header says.
struct Header {
    dtype: DType,
    swap: bool,
    dims: Vec<u64>,
    len: u64,
    layout: Layout,
}

impl Dataset {
    pub(super) fn new(dataset: hdf5_pure::Dataset, at: String, file_len: u64, base: (u32, u64)) -> Dataset {
        Dataset { dataset, at, file_len, base }
    }

    pub fn place(&self, files: &mut Files<'_, '_>, limits: &Limits) -> Result<TensorProto, Diag> {
        let header = self.header(limits)?;
        if let (Layout::Contiguous { address: Some(address), size }, false) = (&header.layout, header.swap) {
            let end = address.checked_add(*size).filter(|&end| end <= self.file_len);
            if *size != header.len || end.is_none() {
                let detail = format!("{} bytes at {address} of a file of {}", header.len, self.file_len);
                return Err(Diag::new(Code::Malformed, self.at.as_str(), detail));
            }
            return Ok(region(header.dtype, &header.dims, (self.base.0, self.base.1 + address), header.len));
        }
        self.decode(files, &header)
    }

    fn decode(&self, files: &mut Files<'_, '_>, header: &Header) -> Result<TensorProto, Diag> {
        let bytes = self.elements(files, header)?;
        let place = files.put(&self.at, &bytes)?;
        Ok(region(header.dtype, &header.dims, place, header.len))
    }

    pub fn dims(&self, limits: &Limits) -> Result<Vec<u64>, Diag> {
        self.header(limits).map(|header| header.dims)
    }

    pub fn load(&self, files: &Files<'_, '_>, limits: &Limits) -> Result<Loaded, Diag> {
        let header = self.header(limits)?;
        let bytes = self.elements(files, &header)?;
        Ok(Loaded { dtype: header.dtype, dims: header.dims, bytes })
    }

    /// Decoded, little-endian.
    fn elements(&self, files: &Files<'_, '_>, header: &Header) -> Result<Vec<u8>, Diag> {
        self.check_stored(header)?;
        files.io().go_on()?;
        let mut bytes = self.dataset.read_raw().map_err(|error| self.refused(&error))?;
        if bytes.len() as u64 != header.len {
            let detail = format!("{} bytes declared, {} found", header.len, bytes.len());
            return Err(Diag::new(Code::Malformed, self.at.as_str(), detail));
        }
        if header.swap {
            bytes.chunks_exact_mut(header.dtype.size()).for_each(<[u8]>::reverse);
        }
        Ok(bytes)
    }

    fn header(&self, limits: &Limits) -> Result<Header, Diag> {
        let datatype = self.dataset.datatype().map_err(|error| self.refused(&error))?;
        let (dtype, swap) = self.dtype(&datatype)?;
        let dims = self.dataset.shape().map_err(|error| self.refused(&error))?;
        if dims.len() > RANK_MAX {
            let detail = format!("{} axes, the bound is {RANK_MAX}", dims.len());
            return Err(Diag::new(Code::LimitExceeded, self.at.as_str(), detail));
        }
        let len = byte_len(&self.at, dtype, &dims, limits)?;
        let layout = self.dataset.layout().map_err(|error| self.refused(&error))?;
        Ok(Header { dtype, swap, dims, len, layout })
    }

    /// No memory is taken for an array that the file can't hold.
    fn check_stored(&self, header: &Header) -> Result<(), Diag> {
        let most = match &header.layout {
            Layout::Compact { size } | Layout::Contiguous { address: Some(_), size } => (*size).min(self.file_len),
            Layout::Contiguous { address: None, .. } => {
                // An array that was never written looks like one whose data is in another file; only a read tells.
                self.dataset.read_raw_rows(0, 0).map_err(|error| self.refused(&error))?;
                0
            }
            Layout::Chunked { .. } => {
                let chunks = self.dataset.chunks().map_err(|error| self.refused(&error))?;
                let stored = chunks.iter().fold(0u64, |sum, chunk| sum.saturating_add(chunk.storage_size));
                stored.min(self.file_len).saturating_mul(INFLATION_MAX)
            }
            _ => {
                let detail = "a virtual dataset: its data is in other files";
                return Err(Diag::new(Code::UnsafeLink, self.at.as_str(), detail).hint(UNLINK));
            }
        };
        if header.len > most {
            let detail = format!("an array of {} bytes, but the file holds no more than {most} of it", header.len);
            return Err(Diag::new(Code::Malformed, self.at.as_str(), detail));
        }
        Ok(())
    }

    /// The element type, and whether its bytes have to be reversed.
    fn dtype(&self, datatype: &Datatype) -> Result<(DType, bool), Diag> {
        let (dtype, order) = match datatype {
            Datatype::FloatingPoint { size, byte_order, layout } => {
                let dtype = match (size, layout.exponent_size, layout.mantissa_size) {
                    (2, 5, 10) => DType::F16,
                    (2, 8, 7) => DType::BF16,
                    (4, 8, 23) => DType::F32,
                    (8, 11, 52) => DType::F64,
                    _ => return Err(self.odd_type(datatype)),
                };
                (dtype, byte_order)
            }
            Datatype::FixedPoint { size, byte_order, layout } => {
                (integer(*size, layout.signed).ok_or_else(|| self.odd_type(datatype))?, byte_order)
            }
            // numpy's bool, as h5py writes it.
            Datatype::Enumeration { size: 1, members, .. } if members.iter().any(|member| member.name == "TRUE") => {
                (DType::Bool, &DatatypeByteOrder::LittleEndian)
            }
            // Keras' bfloat16: two opaque bytes, in `.keras` files of Keras 3 with the name in an attribute.
            Datatype::Opaque { size: 2, .. } if self.says_bfloat16()? => {
                (DType::BF16, &DatatypeByteOrder::LittleEndian)
            }
            _ => return Err(self.odd_type(datatype)),
        };
        match order {
            DatatypeByteOrder::LittleEndian => Ok((dtype, false)),
            DatatypeByteOrder::BigEndian => Ok((dtype, dtype.size() > 1)),
            DatatypeByteOrder::Vax => Err(self.odd_type(datatype)),
        }
    }

    fn says_bfloat16(&self) -> Result<bool, Diag> {
        let attrs = self.dataset.attrs().map_err(|error| self.refused(&error))?;
        Ok(attrs.get("dtype").is_none_or(|value| value.as_str() == Some("bfloat16")))
    }

    fn odd_type(&self, datatype: &Datatype) -> Diag {
        Diag::new(Code::UnsupportedType, self.at.as_str(), format!("an array of {datatype:?}"))
            .hint("recast reads booleans, integers and floating point numbers of 8 to 64 bits")
    }

    fn refused(&self, error: &Error) -> Diag {
        if matches!(error, Error::Format(FormatError::UnsupportedExternalStorage)) {
            return Diag::new(Code::UnsafeLink, self.at.as_str(), "the data of this array is in another file")
                .hint(UNLINK);
        }
        malformed(&self.at, error)
    }
}

pub const UNLINK: &str = "save the model into one file that holds all of its data";

fn integer(size: u32, signed: bool) -> Option<DType> {
    Some(match (size, signed) {
        (1, true) => DType::I8,
        (1, false) => DType::U8,
        (2, true) => DType::I16,
        (2, false) => DType::U16,
        (4, true) => DType::I32,
        (4, false) => DType::U32,
        (8, true) => DType::I64,
        (8, false) => DType::U64,
        _ => return None,
    })
}
