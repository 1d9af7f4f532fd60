//! The variables on disk: their bytes one after the other, and the table that says where each is.

use crate::crc32c;
use crate::proto::{BundleEntryProto, BundleHeaderProto, TrackableObjectGraph, VersionDef, dtype};
use crate::table::write::table;
use crate::target::emit::Variable;
use crate::target::shapes;
use prost::Message;
use prost::encoding::encode_varint;
use recast_plugin_api::diag::{Code, Diag};
use std::collections::BTreeMap;
use std::io;

/// Where weights come from: the host, or a test's memory.
pub trait Weights {
    /// Calls `take` once with the param's bytes: row-major, little-endian, as the graph's param of this name says.
    fn read(&self, name: &str, take: &mut dyn FnMut(&[u8]) -> Result<(), Diag>) -> Result<(), Diag>;
}

/// Told (done, total) bytes of weights between two of them; an error stops the writing.
pub type Progress<'a> = &'a dyn Fn(u64, u64) -> Result<(), Diag>;

/// Key of the message that says which object holds which variable.
pub const OBJECT_GRAPH_KEY: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";

/// The checkpoint's key of the variable at this place.
pub fn key(index: usize) -> String {
    format!("variables/{index}/.ATTRIBUTES/VARIABLE_VALUE")
}

/// Bytes that are checksummed and handed on at once, while they are in the cache.
const CHUNK_BYTES: usize = 1 << 20;

/// An entry without its checksum, which is known when the bytes went by. `None` for sizes that the format can't count.
fn entry(variable: &Variable, offset: u64) -> Option<BundleEntryProto> {
    let elements = variable.dims.iter().try_fold(1u64, |product, &size| product.checked_mul(size))?;
    let size = elements.checked_mul(variable.dtype.size() as u64)?;
    offset.checked_add(size).filter(|end| i64::try_from(*end).is_ok())?;
    Some(BundleEntryProto {
        dtype: dtype::to_tf(variable.dtype),
        shape: Some(shapes::known(&variable.dims)),
        shard_id: 0,
        offset: offset as i64,
        size: size as i64,
        crc32c: 0,
        slices: Vec::new(),
    })
}

/// Where each variable lies; the length of all of them together.
pub fn places(variables: &[Variable]) -> Result<(Vec<BundleEntryProto>, u64), Diag> {
    let mut offset = 0;
    let mut entries = Vec::new();
    for variable in variables {
        let entry = entry(variable, offset)
            .ok_or_else(|| Diag::new(Code::Bug, &variable.name, "more bytes than a checkpoint can count"))?;
        offset += entry.size as u64;
        entries.push(entry);
    }
    Ok((entries, offset))
}

/// Streams the variables' bytes, then the object graph; returns the index.
pub fn write(
    variables: &[Variable],
    objects: &TrackableObjectGraph,
    weights: &dyn Weights,
    out: &mut dyn io::Write,
    progress: Progress,
) -> Result<Vec<u8>, Diag> {
    write_with(variables, &keys(variables.len()), objects, weights, out, progress)
}

/// The checkpoint's keys of so many variables.
pub fn keys(count: usize) -> Vec<String> {
    (0..count).map(key).collect()
}

/// As `write`, with the key of each variable: those beyond the object graph's own are restored by nothing.
pub fn write_with(
    variables: &[Variable],
    keys: &[String],
    objects: &TrackableObjectGraph,
    weights: &dyn Weights,
    out: &mut dyn io::Write,
    progress: Progress,
) -> Result<Vec<u8>, Diag> {
    let (mut entries, total) = places(variables)?;
    for (variable, entry) in variables.iter().zip(&mut entries) {
        progress(entry.offset as u64, total)?;
        weights.read(&variable.name, &mut |bytes| {
            if bytes.len() as i64 != entry.size {
                let detail = format!("{} bytes where {} were planned", bytes.len(), entry.size);
                return Err(Diag::new(Code::Bug, &variable.name, detail));
            }
            let mut crc = 0;
            for chunk in bytes.chunks(CHUNK_BYTES) {
                crc = crc32c::append(crc, chunk);
                out.write_all(chunk).map_err(|e| Diag::new(Code::Io, &variable.name, e.to_string()))?;
            }
            entry.crc32c = crc32c::mask(crc);
            Ok(())
        })?;
    }
    let (text, mut object_entry) = text_tensor(&objects.encode_to_vec());
    object_entry.offset = total as i64;
    out.write_all(&text).map_err(|e| Diag::new(Code::Io, OBJECT_GRAPH_KEY, e.to_string()))?;
    Ok(index(keys, entries, object_entry))
}

/// A rank-0 string as it is stored: its length, the masked checksum of that, its bytes. The checksum of lengths is that
/// of numbers of four bytes each.
fn text_tensor(text: &[u8]) -> (Vec<u8>, BundleEntryProto) {
    let length = match u32::try_from(text.len()) {
        Ok(short) => short.to_le_bytes().to_vec(),
        Err(_) => (text.len() as u64).to_le_bytes().to_vec(),
    };
    let crc = crc32c::append(0, &length);
    let checksum = crc32c::mask(crc).to_le_bytes();
    let crc = crc32c::append(crc32c::append(crc, &checksum), text);
    let mut bytes = Vec::new();
    encode_varint(text.len() as u64, &mut bytes);
    bytes.extend(checksum);
    bytes.extend_from_slice(text);
    let entry = BundleEntryProto {
        dtype: dtype::STRING,
        shape: Some(shapes::known(&[])),
        size: bytes.len() as i64,
        crc32c: crc32c::mask(crc),
        ..BundleEntryProto::default()
    };
    (bytes, entry)
}

fn index(keys: &[String], entries: Vec<BundleEntryProto>, objects: BundleEntryProto) -> Vec<u8> {
    let header = BundleHeaderProto {
        num_shards: 1,
        endianness: 0,
        version: Some(VersionDef { producer: 1, ..VersionDef::default() }),
    };
    // Sorted by bytes, as the table wants it.
    let mut rows = BTreeMap::from([(Vec::new(), header.encode_to_vec())]);
    rows.insert(OBJECT_GRAPH_KEY.as_bytes().to_vec(), objects.encode_to_vec());
    for (key, entry) in keys.iter().zip(&entries) {
        rows.insert(key.clone().into_bytes(), entry.encode_to_vec());
    }
    table(rows.iter().map(|(key, value)| (key.as_slice(), value.as_slice())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use recast_plugin_api::ir::DType;

    #[test]
    fn offsets_beyond_two_and_four_gigabytes_are_counted() {
        let variable = |name: &str, dims: &[u64]| Variable::of(name, DType::F32, dims);
        let large = [variable("a", &[1 << 29]), variable("b", &[1 << 30]), variable("c", &[3])];
        let (entries, total) = places(&large).unwrap();
        let offsets: Vec<i64> = entries.iter().map(|entry| entry.offset).collect();
        assert_eq!(offsets, [0, 1 << 31, (1 << 31) + (1 << 32)]);
        assert_eq!(total, (1 << 31) + (1 << 32) + 12);
        assert!(places(&[variable("a", &[1 << 40, 1 << 40])]).is_err());
    }
}
