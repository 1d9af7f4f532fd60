//! Reads a table: every block's checksum, every entry in order.

use super::{FOOTER_BYTES, MAGIC, TRAILER_BYTES};
use crate::crc32c;
use recast_plugin_api::parts::{take, varint};

/// Entries of one table: a model of a million tensors is none.
pub const ENTRIES_MAX: usize = 2_000_000;
/// Bytes of all keys together: with shared prefixes a small file could spell out a large one.
pub const KEY_BYTES_MAX: usize = 256 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// What does not follow the format, and where.
    Malformed(String),
    Unsupported(String),
    Limit(String),
}

/// Key and value, sorted by key.
pub type Entry<'a> = (Vec<u8>, &'a [u8]);

/// Every entry of the table.
pub fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, Trouble> {
    let malformed = |what: &str| Trouble::Malformed(what.to_owned());
    let start = bytes.len().checked_sub(FOOTER_BYTES).ok_or_else(|| malformed("shorter than its footer"))?;
    let footer = &bytes[start..];
    if footer[40..] != MAGIC.to_le_bytes() {
        return Err(malformed("it does not end as a table ends: cut off, or something else"));
    }
    let mut at = &footer[..40];
    let handles = (|| {
        let _meta = (varint(&mut at)?, varint(&mut at)?);
        Some((varint(&mut at)?, varint(&mut at)?))
    })();
    let index = block(bytes, handles.ok_or_else(|| malformed("the footer holds no handles"))?)?;
    let mut walk = Walk::default();
    for (_, handle) in walk.block(index)? {
        let mut handle = handle;
        let handle = varint(&mut handle).zip(varint(&mut handle));
        let data = block(bytes, handle.ok_or_else(|| malformed("an index entry without a handle"))?)?;
        let entries = walk.block(data)?;
        walk.found.extend(entries);
    }
    let sorted = walk.found.is_sorted_by(|a, b| a.0 < b.0);
    if sorted { Ok(walk.found) } else { Err(malformed("its keys are not in order")) }
}

/// The content of a block, its checksum checked.
fn block(bytes: &[u8], (offset, size): (u64, u64)) -> Result<&[u8], Trouble> {
    let whole = (|| {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(size).ok()?)?.checked_add(TRAILER_BYTES)?;
        bytes.get(start..end)
    })();
    let whole = whole.ok_or_else(|| Trouble::Malformed(format!("a block at {offset} ends behind the file")))?;
    let (checked, stored) = whole.split_at(whole.len() - 4);
    if crc32c::masked(checked).to_le_bytes() != stored {
        return Err(Trouble::Malformed(format!("the checksum of the block at {offset} is wrong")));
    }
    match checked.split_last() {
        Some((0, content)) => Ok(content),
        Some((kind, _)) => {
            Err(Trouble::Unsupported(format!("a block with compression {kind}: TensorFlow writes this table plain")))
        }
        None => Err(Trouble::Malformed("an empty block".into())),
    }
}

#[derive(Default)]
struct Walk<'a> {
    found: Vec<Entry<'a>>,
    entries: usize,
    key_bytes: usize,
}

impl Walk<'_> {
    fn block<'b>(&mut self, block: &'b [u8]) -> Result<Vec<Entry<'b>>, Trouble> {
        let malformed = || Trouble::Malformed("a block's entries do not add up".into());
        let count = block.last_chunk::<4>().map(|count| u32::from_le_bytes(*count)).ok_or_else(malformed)?;
        let tail = usize::try_from(count).ok().and_then(|count| count.checked_mul(4)?.checked_add(4));
        let end = tail.and_then(|tail| block.len().checked_sub(tail)).ok_or_else(malformed)?;
        let mut at = &block[..end];
        let mut found: Vec<Entry<'b>> = Vec::new();
        while !at.is_empty() {
            let last = found.last().map_or(&[][..], |(key, _)| key.as_slice());
            let entry = entry(&mut at, last).ok_or_else(malformed)?;
            self.entries += 1;
            self.key_bytes = self.key_bytes.saturating_add(entry.0.len());
            if self.entries > ENTRIES_MAX || self.key_bytes > KEY_BYTES_MAX {
                let detail = format!("more than {ENTRIES_MAX} entries, or keys of more than {KEY_BYTES_MAX} bytes");
                return Err(Trouble::Limit(detail));
            }
            found.push(entry);
        }
        Ok(found)
    }
}

fn entry<'b>(at: &mut &'b [u8], last: &[u8]) -> Option<Entry<'b>> {
    let (shared, unshared, value) = (varint(at)?, varint(at)?, varint(at)?);
    let mut key = last.get(..usize::try_from(shared).ok()?)?.to_vec();
    key.extend_from_slice(take(at, unshared)?);
    Some((key, take(at, value)?))
}
