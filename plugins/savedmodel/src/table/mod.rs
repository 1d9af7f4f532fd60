//! The sorted string table of TensorFlow's checkpoints (`variables.index`):
//!
//! | part | |
//! |---|---|
//! | data blocks | entries `shared, unshared, value length` (varints), rest of the key, value; then restarts |
//! | restarts | the offsets of the entries that share nothing (u32 each), and how many these are (u32) |
//! | after each block | compression (0 none, 1 snappy), masked CRC-32C of block and compression (u32) |
//! | meta index block | empty |
//! | index block | a key not below any of a data block -> its offset and size (varints) |
//! | footer, 48 bytes | offset and size of meta index and index block (varints), padding, magic |

pub mod read;
pub mod write;

pub const FOOTER_BYTES: usize = 48;
pub const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// Compression and checksum after each block.
pub const TRAILER_BYTES: usize = 5;
