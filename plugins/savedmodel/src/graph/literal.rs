//! TensorProto, the elements of a constant, without a copy of what is large.

use super::value::Texts;
use super::wire::{Broken, Field, fields};
use crate::proto::{TensorProto, dtype};
use prost::Message;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::types::{INLINE_BYTES_MAX, encode_number};
use recast_plugin_api::ir::{DType, Data, RANK_MAX, Tensor};
use recast_plugin_api::parts::varint;

/// Larger constants stay where they are in the file.
const INLINE_BYTES: usize = 4096;

/// Strings of one constant.
const TEXTS_MAX: u64 = 1 << 20;

/// Where the graph's bytes lie: file and offset of their first one.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    pub bytes: &'a [u8],
    pub file: u32,
    pub offset: u64,
}

impl Origin<'_> {
    /// The place in the file of a part of the graph's bytes.
    fn place(&self, part: &[u8]) -> Option<u64> {
        let within = (part.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize)?;
        (within + part.len() <= self.bytes.len()).then(|| self.offset + within as u64)
    }
}

/// Elements as they are listed: each of the lists as little-endian bytes of the dtype.
struct Listed {
    dtype: DType,
    bytes: Vec<u8>,
}

impl Listed {
    fn push(&mut self, number: f64) {
        self.bytes.extend(encode_number(self.dtype, number));
    }

    fn raw(&mut self, bits: u64) {
        self.bytes.extend(&bits.to_le_bytes()[..self.dtype.size()]);
    }
}

/// The strings of a constant; none where it holds something else.
pub fn texts(at: &str, proto: &[u8]) -> Result<Option<Texts>, Diag> {
    let malformed = |detail: String| Diag::new(Code::Malformed, at, format!("a constant: {detail}"));
    let number = fields(proto).find_map(|field| match field {
        Ok((1, Field::Varint(number))) => Some(number as i32),
        _ => None,
    });
    if number.and_then(dtype::from_tf) != Some(DType::Str) {
        return Ok(None);
    }
    let tensor = TensorProto::decode(proto).map_err(|e| malformed(e.to_string()))?;
    let dims = tensor.tensor_shape.iter().flat_map(|shape| &shape.dim);
    let shape: Option<Vec<u64>> = dims.map(|dim| u64::try_from(dim.size).ok()).collect();
    let shape = shape.filter(|shape| shape.len() <= RANK_MAX).ok_or_else(|| malformed("of no shape".into()))?;
    let count = shape.iter().try_fold(1u64, |count, &size| count.checked_mul(size));
    let count = count.filter(|&count| count <= TEXTS_MAX && tensor.string_val.len() as u64 <= count);
    let count = count.ok_or_else(|| malformed(format!("{} strings for {shape:?}", tensor.string_val.len())))?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes);
    let items: Result<Vec<String>, _> = tensor.string_val.into_iter().map(text).collect();
    let mut items =
        items.map_err(|_| Diag::new(Code::UnsupportedType, at, "a constant of bytes that are no UTF-8 text"))?;
    let last = items.last().cloned().unwrap_or_default();
    items.resize(count as usize, last);
    Ok(Some(Texts { shape, items }))
}

/// The constant; strings become an error.
pub fn read(at: &str, proto: &[u8], origin: &Origin<'_>) -> Result<Tensor, Diag> {
    let malformed = |detail: &str| Diag::new(Code::Malformed, at, format!("a constant: {detail}"));
    let broken = |Broken| malformed("its bytes are no protobuf message");
    let (mut number, mut shape, mut content): (i32, &[u8], &[u8]) = (0, &[], &[]);
    for field in fields(proto) {
        match field.map_err(broken)? {
            (1, Field::Varint(value)) => number = value as i32,
            (2, Field::Bytes(bytes)) => shape = bytes,
            (4, Field::Bytes(bytes)) => content = bytes,
            _ => {}
        }
    }
    let dtype = dtype::from_tf(number).filter(|dtype| *dtype != DType::Str);
    let dtype = dtype
        .ok_or_else(|| Diag::new(Code::UnsupportedType, at, format!("a constant of TensorFlow's dtype {number}")))?;
    let shape = crate::proto::TensorShapeProto::decode(shape).map_err(|e| malformed(&e.to_string()))?;
    if shape.unknown_rank || shape.dim.len() > RANK_MAX {
        return Err(malformed("of unknown or impossible rank"));
    }
    let dims: Option<Vec<u64>> = shape.dim.iter().map(|dim| u64::try_from(dim.size).ok()).collect();
    let dims = dims.ok_or_else(|| malformed("a size below zero"))?;
    let count = dims.iter().try_fold(1u64, |count, dim| count.checked_mul(*dim));
    let len = count.and_then(|count| usize::try_from(count.checked_mul(dtype.size() as u64)?).ok());
    let len = len.ok_or_else(|| malformed("more elements than there can be"))?;
    if !content.is_empty() {
        if content.len() != len {
            return Err(malformed(&format!("{} bytes for {dims:?} of {dtype}", content.len())));
        }
        let data = match origin.place(content) {
            Some(offset) if len > INLINE_BYTES => Data::Region { file: origin.file, offset, len: len as u64 },
            _ => Data::Inline(content.to_vec()),
        };
        return Ok(Tensor::stored(dtype, &dims, data));
    }
    if len > INLINE_BYTES_MAX {
        return Err(Diag::new(Code::LimitExceeded, at, format!("{len} bytes of listed elements")));
    }
    let mut listed = Listed { dtype, bytes: Vec::new() };
    list(proto, &mut listed, len).map_err(broken)?;
    Ok(Tensor::inline(dtype, &dims, spread(listed, len).ok_or_else(|| malformed("more elements than its shape has"))?))
}

/// The last element is repeated to the end; none is zero.
fn spread(listed: Listed, len: usize) -> Option<Vec<u8>> {
    let size = listed.dtype.size();
    let mut bytes = listed.bytes;
    if bytes.len() > len {
        return None;
    }
    let last = if bytes.is_empty() { vec![0; size] } else { bytes[bytes.len() - size..].to_vec() };
    while bytes.len() < len {
        bytes.extend(&last);
    }
    Some(bytes)
}

fn list(proto: &[u8], listed: &mut Listed, len: usize) -> Result<(), Broken> {
    for field in fields(proto) {
        let (number, field) = field?;
        if !matches!(number, 5 | 6 | 7 | 10 | 11 | 13 | 16 | 17) {
            continue;
        }
        match field {
            Field::Varint(value) => integer(listed, value),
            Field::Fixed32(bits) => listed.push(f64::from(f32::from_bits(bits))),
            Field::Fixed64(bits) => listed.push(f64::from_bits(bits)),
            Field::Bytes(packed) => packed_list(packed, number, listed)?,
        }
        // One more than fits is told apart; more than that is not worth keeping.
        if listed.bytes.len() > len + 8 {
            return Ok(());
        }
    }
    Ok(())
}

fn packed_list(mut packed: &[u8], number: u32, listed: &mut Listed) -> Result<(), Broken> {
    match number {
        5 => packed.chunks_exact(4).for_each(|chunk| {
            listed.push(f64::from(f32::from_le_bytes(chunk.try_into().unwrap_or_default())));
        }),
        6 => packed.chunks_exact(8).for_each(|chunk| {
            listed.push(f64::from_le_bytes(chunk.try_into().unwrap_or_default()));
        }),
        _ => {
            while !packed.is_empty() {
                let value = varint(&mut packed).ok_or(Broken)?;
                integer(listed, value);
            }
        }
    }
    Ok(())
}

/// Halves are listed as their bits.
fn integer(listed: &mut Listed, value: u64) {
    listed.raw(if listed.dtype == DType::Bool { u64::from(value != 0) } else { value });
}
