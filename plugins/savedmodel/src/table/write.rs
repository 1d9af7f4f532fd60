//! Writes a table, uncompressed, as TensorFlow does.

use super::{FOOTER_BYTES, MAGIC};
use crate::crc32c;
use prost::encoding::encode_varint;

/// Entries after which a key is written whole.
const RESTART_EVERY: usize = 16;
/// A block ends when it is this long.
const BLOCK_BYTES: usize = 256 << 10;

#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    entries: usize,
    last: Vec<u8>,
}

impl Block {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let whole = self.entries.is_multiple_of(RESTART_EVERY);
        let shared = if whole { 0 } else { key.iter().zip(&self.last).take_while(|(a, b)| a == b).count() };
        if whole {
            self.restarts.push(self.bytes.len() as u32);
        }
        encode_varint(shared as u64, &mut self.bytes);
        encode_varint((key.len() - shared) as u64, &mut self.bytes);
        encode_varint(value.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(&key[shared..]);
        self.bytes.extend_from_slice(value);
        self.last = key.to_vec();
        self.entries += 1;
    }

    /// The block behind what was written so far; its handle.
    fn finish(mut self, out: &mut Vec<u8>) -> Vec<u8> {
        if self.restarts.is_empty() {
            self.restarts.push(0);
        }
        let count = self.restarts.len() as u32;
        self.bytes.extend(self.restarts.iter().flat_map(|at| at.to_le_bytes()));
        self.bytes.extend(count.to_le_bytes());
        let mut handle = Vec::new();
        encode_varint(out.len() as u64, &mut handle);
        encode_varint(self.bytes.len() as u64, &mut handle);
        // Kind of compression: none. The checksum is of it too.
        self.bytes.push(0);
        let crc = crc32c::masked(&self.bytes);
        out.extend_from_slice(&self.bytes);
        out.extend(crc.to_le_bytes());
        handle
    }
}

/// The table of these entries, which are sorted by key, each key once.
pub fn table<'e>(entries: impl IntoIterator<Item = (&'e [u8], &'e [u8])>) -> Vec<u8> {
    let (mut out, mut index, mut block) = (Vec::new(), Block::default(), Block::default());
    for (key, value) in entries {
        block.add(key, value);
        if block.bytes.len() >= BLOCK_BYTES {
            let full = std::mem::take(&mut block);
            let last = full.last.clone();
            let handle = full.finish(&mut out);
            index.add(&last, &handle);
        }
    }
    if block.entries > 0 {
        let last = block.last.clone();
        let handle = block.finish(&mut out);
        index.add(&last, &handle);
    }
    let meta = Block::default().finish(&mut out);
    let index = index.finish(&mut out);
    let mut footer = [meta, index].concat();
    footer.resize(FOOTER_BYTES - size_of::<u64>(), 0);
    footer.extend(MAGIC.to_le_bytes());
    out.extend(footer);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::read;

    #[test]
    fn what_is_written_is_read() {
        for count in [0usize, 1, 16, 17, 40_000] {
            let entries: Vec<(Vec<u8>, Vec<u8>)> =
                (0..count).map(|i| (format!("variables/{i:08}/key").into_bytes(), i.to_le_bytes().to_vec())).collect();
            let bytes = table(entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice())));
            let found = read::entries(&bytes).unwrap();
            assert_eq!(found.len(), count);
            assert!(found.iter().zip(&entries).all(|(a, b)| a.0 == b.0 && a.1 == b.1));
        }
    }
}
