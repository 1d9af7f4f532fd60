//! Is a SavedModel directory all there? Its parts arrive in any order: `saved_model.pb`, `variables/variables.index`,
//! and the shards `variables/variables.data-K-of-N` that the index speaks of.
//!
//! The index is a sorted string table:
//! | part | |
//! |---|---|
//! | data blocks | entries `shared, unshared, value length` (varints), key suffix, value; then restart points |
//! | index block | last key of a data block -> its offset and size (varints) |
//! | footer, 48 bytes | handles of meta index and index block (varints), padding, magic |
//!
//! The value of the empty key names the number of shards; every other value a tensor's shard, offset and size.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use recast_plugin_api::parts::{take, varint};

use crate::tree::{Survey, Trouble, open_below};

const MODEL: [&str; 2] = ["saved_model.pb", "saved_model.pbtxt"];
const INDEX: &str = "variables/variables.index";
/// Outermost fields of a model that are looked at: a version and a few graphs.
const FIELDS_MAX: usize = 64;
/// Bytes of a graph that are searched for a variable.
const GRAPH_BYTES_MAX: u64 = 256 << 20;
const VARIABLES: [&[u8]; 2] = [b"VarHandleOp", b"VariableV2"];
const FOOTER_BYTES: usize = 48;
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;

/// Bytes after each block: compression type and checksum.
const TRAILER_BYTES: u64 = 5;

/// An index of a million tensors has about 60 MB.
const INDEX_BYTES_MAX: u64 = 256 << 20;

/// `Some` says what is still missing from the directory.
pub fn missing(dir: BorrowedFd, survey: &Survey) -> Result<Option<String>, Trouble> {
    let sizes: BTreeMap<&Path, u64> = survey.files().map(|node| (node.path.as_path(), node.size)).collect();
    if sizes.is_empty() {
        return Ok(Some("a directory without a file".to_owned()));
    }
    let has_variables = survey.nodes.iter().any(|node| node.is_dir && node.path == Path::new("variables"));
    let has_model = MODEL.iter().any(|name| sizes.contains_key(Path::new(name)));
    match (has_model, has_variables) {
        (false, true) => return Ok(Some("there is no saved_model.pb yet".to_owned())),
        // Not a SavedModel, or one without variables, which is legal and can't be told from an unfinished one.
        (false, false) => return Ok(None),
        (true, _) => {}
    }
    let model = MODEL.iter().find(|name| sizes.contains_key(Path::new(name))).copied().unwrap_or(MODEL[0]);
    let bytes = sizes.get(Path::new(model)).copied().unwrap_or(0);
    if model == MODEL[0] && !is_whole(&open_below(dir, Path::new(model))?, bytes)? {
        return Ok(Some(format!("{model} is not whole")));
    }
    let variables = sizes.keys().any(|path| path.starts_with("variables"));
    let Some(&index_bytes) = sizes.get(Path::new(INDEX)) else {
        // No variables, or only an empty directory, is what TensorFlow writes for a model without any, and what an
        // upload looks like before they arrive: the graph tells them apart.
        let wanted = variables || holds_variables(open_below(dir, Path::new(model))?)?;
        return Ok(wanted.then(|| format!("there is no {INDEX} yet")));
    };
    let bytes = read_index(open_below(dir, Path::new(INDEX))?, index_bytes)?;
    match needed(&bytes) {
        Some(shards) => Ok(shards.iter().find_map(|(shard, end)| short_shard(shard, *end, &sizes))),
        None => Ok(Some(format!("{INDEX} is not whole"))),
    }
}

/// Does the message end where the file ends? Its few outermost fields are looked at, not what is in them; what is no
/// such message is not for the watcher to refuse.
fn is_whole(file: &File, bytes: u64) -> io::Result<bool> {
    let mut at = 0u64;
    for _ in 0..FIELDS_MAX {
        if at >= bytes {
            return Ok(at == bytes && bytes > 0);
        }
        let mut head = [0; 20];
        let len = file.read_at(&mut head, at)?;
        let mut left = &head[..len];
        let Some(key) = varint(&mut left) else { return Ok(len >= head.len()) };
        let content = match key & 7 {
            0 => varint(&mut left).map(|_| 0),
            2 => varint(&mut left),
            _ => return Ok(true),
        };
        let Some(content) = content else { return Ok(len >= head.len()) };
        at = at.saturating_add((len - left.len()) as u64).saturating_add(content);
    }
    Ok(true)
}

/// Does the graph name an op that makes a variable?
fn holds_variables(mut file: File) -> io::Result<bool> {
    let mut bytes = Vec::new();
    let mut part = vec![0; 1 << 20];
    for _ in 0..GRAPH_BYTES_MAX >> 20 {
        match file.read(&mut part)? {
            0 => break,
            len => bytes.extend_from_slice(&part[..len]),
        }
        if VARIABLES.iter().any(|op| bytes.windows(op.len()).any(|window| window == *op)) {
            return Ok(true);
        }
        // An op's name may lie across two parts.
        bytes.drain(..bytes.len().saturating_sub(16));
    }
    Ok(false)
}

fn read_index(file: File, bytes: u64) -> io::Result<Vec<u8>> {
    if bytes > INDEX_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{INDEX} has {bytes} bytes")));
    }
    let mut all = Vec::new();
    file.take(INDEX_BYTES_MAX).read_to_end(&mut all)?;
    Ok(all)
}

fn short_shard(shard: &Path, end: u64, sizes: &BTreeMap<&Path, u64>) -> Option<String> {
    match sizes.get(shard) {
        None => Some(format!("there is no {} yet", shard.display())),
        Some(size) if *size < end => Some(format!("{} has {size} of {end} bytes", shard.display())),
        Some(_) => None,
    }
}

/// Each shard and the bytes that it must have at least; None where the index does not parse to its end.
fn needed(bytes: &[u8]) -> Option<Vec<(PathBuf, u64)>> {
    let footer = &bytes[bytes.len().checked_sub(FOOTER_BYTES)?..];
    if u64::from_le_bytes(footer[40..48].try_into().ok()?) != MAGIC {
        return None;
    }
    let mut at = footer;
    let (_meta_offset, _meta_size) = (varint(&mut at)?, varint(&mut at)?);
    let (offset, size) = (varint(&mut at)?, varint(&mut at)?);
    let mut shard_count = 1;
    let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
    for (_, handle) in entries(block(bytes, offset, size)?)? {
        let mut handle = handle.as_slice();
        let (offset, size) = (varint(&mut handle)?, varint(&mut handle)?);
        for (key, value) in entries(block(bytes, offset, size)?)? {
            let fields = varint_fields(&value)?;
            let field = |number: u64| fields.iter().find(|(n, _)| *n == number).map_or(0, |(_, value)| *value);
            if key.is_empty() {
                // BundleHeaderProto.num_shards
                shard_count = field(1).max(1);
            } else {
                // BundleEntryProto.shard_id, .offset, .size
                let end = ends.entry(field(3)).or_default();
                *end = (*end).max(field(4).checked_add(field(5))?);
            }
        }
    }
    if shard_count > u64::from(u16::MAX) {
        return None;
    }
    let shard = |k: u64| PathBuf::from(format!("variables/variables.data-{k:05}-of-{shard_count:05}"));
    Some((0..shard_count).map(|k| (shard(k), ends.get(&k).copied().unwrap_or(0))).collect())
}

fn block(bytes: &[u8], offset: u64, size: u64) -> Option<&[u8]> {
    let end = offset.checked_add(size)?;
    let whole = bytes.get(usize::try_from(offset).ok()?..usize::try_from(end.checked_add(TRAILER_BYTES)?).ok()?)?;
    let (content, trailer) = whole.split_at(usize::try_from(size).ok()?);
    // TensorFlow does not compress this table.
    (trailer[0] == 0).then_some(content)
}

type Entry = (Vec<u8>, Vec<u8>);

fn entries(block: &[u8]) -> Option<Vec<Entry>> {
    let restarts = u32::from_le_bytes(block.get(block.len().checked_sub(4)?..)?.try_into().ok()?);
    let tail = 4usize.checked_add(usize::try_from(restarts).ok()?.checked_mul(4)?)?;
    let mut at = &block[..block.len().checked_sub(tail)?];
    let mut found: Vec<Entry> = Vec::new();
    while !at.is_empty() {
        let (shared, unshared, value_len) = (varint(&mut at)?, varint(&mut at)?, varint(&mut at)?);
        let previous = found.last().map_or(&[][..], |(key, _)| key.as_slice());
        let mut key = previous.get(..usize::try_from(shared).ok()?)?.to_vec();
        key.extend_from_slice(take(&mut at, unshared)?);
        found.push((key, take(&mut at, value_len)?.to_vec()));
    }
    Some(found)
}

/// The varint fields of a protobuf message; others are passed over.
fn varint_fields(mut message: &[u8]) -> Option<Vec<(u64, u64)>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => fields.push((key >> 3, varint(&mut message)?)),
            1 => drop(take(&mut message, 8)?),
            2 => {
                let length = varint(&mut message)?;
                take(&mut message, length)?;
            }
            5 => drop(take(&mut message, 4)?),
            _ => return None,
        }
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One data block, one index block, as TensorFlow lays them out.
    fn table(entries: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
        let block = |entries: &[(&[u8], Vec<u8>)]| {
            let mut bytes = Vec::new();
            for (key, value) in entries {
                bytes.extend([0, key.len() as u8, value.len() as u8]);
                bytes.extend(*key);
                bytes.extend(value);
            }
            bytes.extend(0u32.to_le_bytes());
            bytes.extend(1u32.to_le_bytes());
            bytes
        };
        let data = block(entries);
        let index = block(&[(b"~", vec![0, data.len() as u8])]);
        let mut file = data.clone();
        file.extend([0; 5]);
        let index_at = file.len() as u8;
        file.extend(&index);
        file.extend([0; 5]);
        let mut footer = vec![0, 0, index_at, index.len() as u8];
        footer.resize(40, 0);
        footer.extend(MAGIC.to_le_bytes());
        file.extend(footer);
        file
    }

    #[test]
    fn the_index_says_how_long_each_shard_is() {
        let bytes =
            table(&[(b"", vec![0x08, 2]), (b"a", vec![0x08, 1, 0x20, 10, 0x28, 90]), (b"b", vec![0x18, 1, 0x28, 7])]);
        let expected = vec![
            (PathBuf::from("variables/variables.data-00000-of-00002"), 100),
            (PathBuf::from("variables/variables.data-00001-of-00002"), 7),
        ];
        assert_eq!(needed(&bytes), Some(expected));
        for cut in 0..bytes.len() {
            assert_eq!(needed(&bytes[..cut]), None, "cut at {cut}");
        }
    }
}
