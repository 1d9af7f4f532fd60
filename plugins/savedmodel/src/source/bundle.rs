//! The variables of a SavedModel: `variables.index` says for each key where its bytes lie in which shard.

use super::directory::Directory;
use crate::crc32c;
use crate::proto::{BundleEntryProto, BundleHeaderProto, TensorShapeProto, dtype};
use crate::table::read::{self, Trouble};
use prost::Message;
use recast_keras_model::io::{Files, Limits, RANK_MAX, region};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::DType;
use recast_plugin_api::ir::wire::TensorProto;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

pub const INDEX: &str = "variables/variables.index";
/// Files that a bundle may be spread over.
pub const SHARDS_MAX: i32 = 10_000;

pub struct Bundle {
    shards: i32,
    /// Keys whose bytes were found sound: a model that is read by its layers and by its graph is summed up once.
    sound: RefCell<BTreeSet<String>>,
    entries: BTreeMap<String, BundleEntryProto>,
}

fn malformed(at: &str, detail: impl Into<String>) -> Diag {
    Diag::new(Code::Malformed, at, detail)
}

/// An entry's bytes, and where they begin: (file, offset).
struct Place<'a> {
    bytes: &'a [u8],
    file: String,
    offset: u64,
}

impl Bundle {
    /// No entries where the directory holds no variables.
    pub fn read(dir: &Directory<'_, '_>) -> Result<Bundle, Diag> {
        if !dir.has(INDEX) {
            return Ok(Bundle { shards: 0, sound: RefCell::default(), entries: BTreeMap::new() });
        }
        let found = read::entries(dir.map(INDEX)?).map_err(|trouble| match trouble {
            Trouble::Malformed(what) => malformed(INDEX, what),
            Trouble::Unsupported(what) => Diag::new(Code::UnsupportedContainer, INDEX, what),
            Trouble::Limit(what) => Diag::new(Code::LimitExceeded, INDEX, what),
        })?;
        let mut entries = BTreeMap::new();
        let mut header = None;
        for (key, value) in found {
            let bad = |what: &str| malformed(INDEX, format!("the entry of {}: {what}", String::from_utf8_lossy(&key)));
            if key.is_empty() {
                header = Some(BundleHeaderProto::decode(value).map_err(|e| bad(&e.to_string()))?);
                continue;
            }
            let entry = BundleEntryProto::decode(value).map_err(|e| bad(&e.to_string()))?;
            let Ok(key) = String::from_utf8(key.clone()) else {
                // Pieces of a tensor that was saved in parts; the entry of the whole names them, and is refused.
                continue;
            };
            entries.insert(key, entry);
        }
        let header = header.ok_or_else(|| malformed(INDEX, "the header is missing"))?;
        if header.endianness != 0 {
            return Err(Diag::new(Code::UnsupportedContainer, INDEX, "written on a big-endian machine"));
        }
        if !(1..=SHARDS_MAX).contains(&header.num_shards) {
            let detail = format!("{} shards, there may be 1 to {SHARDS_MAX}", header.num_shards);
            return Err(Diag::new(Code::LimitExceeded, INDEX, detail));
        }
        Ok(Bundle { shards: header.num_shards, sound: RefCell::default(), entries })
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    fn place<'a>(&self, dir: &Directory<'_, 'a>, key: &str) -> Result<(&BundleEntryProto, Place<'a>), Diag> {
        let entry = self.entries.get(key);
        let entry = entry.ok_or_else(|| Diag::new(Code::WeightMissing, key, "no such key in variables.index"))?;
        if !entry.slices.is_empty() {
            return Err(Diag::new(Code::UnsupportedContainer, key, "a variable that was saved in pieces")
                .hint("save the model again without a partitioner"));
        }
        if !(0..self.shards).contains(&entry.shard_id) {
            return Err(malformed(key, format!("lies in shard {} of {}", entry.shard_id, self.shards)));
        }
        let file = format!("variables/variables.data-{:05}-of-{:05}", entry.shard_id, self.shards);
        let shard = dir.map(&file)?;
        let offset = u64::try_from(entry.offset).ok();
        let bytes = offset.zip(u64::try_from(entry.size).ok()).and_then(|(offset, size)| {
            let start = usize::try_from(offset).ok()?;
            shard.get(start..start.checked_add(usize::try_from(size).ok()?)?)
        });
        let bytes = bytes.ok_or_else(|| {
            let detail = format!("{} bytes at {} of {file}, which has {}", entry.size, entry.offset, shard.len());
            malformed(key, detail)
        })?;
        Ok((entry, Place { bytes, file, offset: offset.unwrap_or(0) }))
    }

    /// A variable as a region of its shard, its checksum checked.
    pub fn tensor(
        &self,
        dir: &Directory<'_, '_>,
        files: &mut Files<'_, '_>,
        key: &str,
        limits: &Limits,
    ) -> Result<TensorProto, Diag> {
        let (entry, place) = self.place(dir, key)?;
        let dtype = dtype::from_tf(entry.dtype).filter(|dtype| *dtype != DType::Str);
        let dtype = dtype
            .ok_or_else(|| Diag::new(Code::UnsupportedType, key, format!("TensorFlow's dtype {}", entry.dtype)))?;
        let dims = dims(key, entry.shape.as_ref())?;
        let count = dims.iter().try_fold(1u64, |count, dim| count.checked_mul(*dim));
        let len = count.and_then(|count| count.checked_mul(dtype.size() as u64));
        if len != Some(place.bytes.len() as u64) {
            let detail = format!("{dims:?} of {} in {} bytes", dtype.as_str(), place.bytes.len());
            return Err(malformed(key, detail));
        }
        if place.bytes.len() as u64 > limits.tensor_bytes {
            let detail = format!("{} bytes, the bound is {}", place.bytes.len(), limits.tensor_bytes);
            return Err(Diag::new(Code::LimitExceeded, key, detail).hint("raise limits.tensor_bytes_max"));
        }
        if !self.sound.borrow().contains(key) {
            if crc32c::masked(place.bytes) != entry.crc32c {
                return Err(malformed(key, format!("the checksum of its bytes in {} is wrong", place.file)));
            }
            self.sound.borrow_mut().insert(key.to_owned());
        }
        let file = files.number(&dir.path(&place.file));
        Ok(region(dtype, &dims, (file, place.offset), place.bytes.len() as u64))
    }

    /// A scalar string: its length as a varint, a checksum of the length, the bytes.
    pub fn string<'a>(&self, dir: &Directory<'_, 'a>, key: &str) -> Result<&'a [u8], Diag> {
        let (entry, place) = self.place(dir, key)?;
        if entry.dtype != dtype::STRING || !dims(key, entry.shape.as_ref())?.is_empty() {
            return Err(malformed(key, "should be one string"));
        }
        let mut at = place.bytes;
        let len = recast_plugin_api::parts::varint(&mut at).and_then(|len| usize::try_from(len).ok());
        let (Some(len), Some((lens_crc, text))) = (len, at.split_first_chunk::<4>()) else {
            return Err(malformed(key, "a string that is cut off"));
        };
        if text.len() != len {
            return Err(malformed(key, format!("a string of {len} bytes in {}", text.len())));
        }
        // Of the length as four bytes (eight where that is not enough), of its checksum, then of the text.
        let of_len = match u32::try_from(len) {
            Ok(short) => crc32c::append(0, &short.to_le_bytes()),
            Err(_) => crc32c::append(0, &(len as u64).to_le_bytes()),
        };
        let whole = crc32c::append(crc32c::append(of_len, lens_crc), text);
        if crc32c::mask(of_len).to_le_bytes() != *lens_crc || crc32c::mask(whole) != entry.crc32c {
            return Err(malformed(key, format!("the checksum of its bytes in {} is wrong", place.file)));
        }
        Ok(text)
    }
}

/// The sizes of a stored shape: all known.
pub fn dims(at: &str, shape: Option<&TensorShapeProto>) -> Result<Vec<u64>, Diag> {
    let Some(shape) = shape else { return Ok(Vec::new()) };
    if shape.unknown_rank || shape.dim.len() > RANK_MAX {
        return Err(malformed(at, "a stored tensor of unknown or impossible rank"));
    }
    let size = |size: i64| u64::try_from(size).map_err(|_| malformed(at, format!("a size of {size}")));
    shape.dim.iter().map(|dim| size(dim.size)).collect()
}
