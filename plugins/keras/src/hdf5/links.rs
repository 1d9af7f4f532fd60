//! Why a group or an array is not there: a soft or external link stands in its place. hdf5-pure passes over both
//! silently, so the file's link tables are looked at here, and only when something is missing.
//!
//! | where | a link looks like |
//! |---|---|
//! | symbol table node (`SNOD`) | name offset, header address, cache type (2 is a soft link), 4 + 16 more bytes |
//! | link message (type 6) | version 1, flags, type (0 hard, 1 soft, 64 external) if bit 3, name |
//!
//! Links in fractal heaps (groups with many links of the newest format, which Keras never writes) are not looked at.

use super::array::UNLINK;
use recast_plugin_api::diag::{Code, Diag};
use std::collections::HashSet;

/// Object headers, tree nodes and continuation blocks that are looked at before giving up.
const BLOCKS_MAX: usize = 10_000;
/// Bytes of one block of messages that are looked at.
const BLOCK_BYTES_MAX: usize = 1 << 20;

/// The finding for the first link that leads out of where it stands.
pub fn unsafe_link(bytes: &[u8]) -> Option<Diag> {
    let mut scan = Scan { bytes, base: 0, offset: 8, length: 8, todo: Vec::new(), seen: HashSet::new() };
    scan.superblock()?;
    while let Some(block) = scan.todo.pop() {
        if scan.seen.len() > BLOCKS_MAX {
            return None;
        }
        if let Some(kind) = scan.block(block) {
            let detail = format!("the file holds {kind}, which is never followed");
            return Some(Diag::new(Code::UnsafeLink, "/", detail).hint(UNLINK));
        }
    }
    None
}

enum Block {
    /// An object header.
    Header(usize),
    /// Messages of a version 1 or 2 header: begin, end, bytes of a creation order.
    Messages(usize, usize, Option<usize>),
    /// A node of a group's tree, or a symbol table node.
    Node(usize),
}

struct Scan<'b> {
    bytes: &'b [u8],
    base: usize,
    /// Bytes of an address, and of a length.
    offset: usize,
    length: usize,
    todo: Vec<Block>,
    seen: HashSet<usize>,
}

const SOFT: &str = "a soft link";
const EXTERNAL: &str = "an external link";

impl Scan<'_> {
    fn number(&self, at: usize, len: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..at.checked_add(len)?)?;
        let value =
            bytes.iter().rev().try_fold(0u64, |value, &byte| Some(value.checked_mul(256)? + u64::from(byte)))?;
        usize::try_from(value).ok()
    }

    /// An address as a position in the file.
    fn address(&self, at: usize) -> Option<usize> {
        let address = self.number(at, self.offset)?.checked_add(self.base)?;
        (address < self.bytes.len()).then_some(address)
    }

    fn push_header(&mut self, at: Option<usize>) {
        if let Some(at) = at.filter(|&at| self.seen.insert(at)) {
            self.todo.push(Block::Header(at));
        }
    }

    fn superblock(&mut self) -> Option<()> {
        let begin = std::iter::once(0).chain((9..32).map(|shift| 1 << shift));
        let start = begin
            .take_while(|&at| at < self.bytes.len())
            .find(|&at| self.bytes[at..].starts_with(&super::SIGNATURE))?;
        let version = *self.bytes.get(start + 8)?;
        let sizes = if version < 2 { start + 13 } else { start + 9 };
        (self.offset, self.length) = (self.number(sizes, 1)?, self.number(sizes + 1, 1)?);
        if !matches!((self.offset, self.length), (2 | 4 | 8, 2 | 4 | 8)) {
            return None;
        }
        self.base = start;
        let root = match version {
            // Four addresses, then the root's symbol table entry, which begins with a name offset.
            0 => start + 24 + 5 * self.offset,
            1 => start + 28 + 5 * self.offset,
            _ => start + 12 + 3 * self.offset,
        };
        let root = self.address(root);
        self.push_header(root);
        Some(())
    }

    fn block(&mut self, block: Block) -> Option<&'static str> {
        match block {
            Block::Header(at) => {
                self.header(at);
                None
            }
            Block::Messages(begin, end, order) => self.messages(begin, end, order),
            Block::Node(at) => self.node(at),
        }
    }

    fn header(&mut self, at: usize) -> Option<()> {
        if self.bytes.get(at..at + 4)? == b"OHDR" {
            let flags = self.number(at + 5, 1)?;
            let times = if flags & 0x20 != 0 { 16 } else { 0 };
            let phases = if flags & 0x10 != 0 { 4 } else { 0 };
            let size_at = at + 6 + times + phases;
            let width = 1 << (flags & 3);
            let len = self.number(size_at, width)?.min(BLOCK_BYTES_MAX);
            let order = if flags & 4 != 0 { 2 } else { 0 };
            self.todo.push(Block::Messages(size_at + width, size_at + width + len, Some(order)));
        } else if self.number(at, 1)? == 1 {
            let len = self.number(at + 8, 4)?.min(BLOCK_BYTES_MAX);
            self.todo.push(Block::Messages(at + 16, at + 16 + len, None));
        }
        Some(())
    }

    /// `order` is none in a version 1 header.
    fn messages(&mut self, mut at: usize, end: usize, order: Option<usize>) -> Option<&'static str> {
        let end = end.min(self.bytes.len());
        let head = order.map_or(8, |order| 4 + order);
        while at + head <= end {
            let (kind, size) = match order {
                None => (self.number(at, 2)?, self.number(at + 2, 2)?),
                Some(_) => (self.number(at, 1)?, self.number(at + 1, 2)?),
            };
            let body = at + head;
            match kind {
                0x06 => {
                    if let Some(found) = self.link(body) {
                        return Some(found);
                    }
                }
                0x10 => self.continuation(body, order)?,
                0x11 => {
                    let tree = self.address(body);
                    self.todo.extend(tree.map(Block::Node));
                }
                _ => {}
            }
            at = body + size;
        }
        None
    }

    fn continuation(&mut self, body: usize, order: Option<usize>) -> Option<()> {
        let begin = self.address(body)?;
        let len = self.number(body + self.offset, self.length)?.min(BLOCK_BYTES_MAX);
        if self.seen.insert(begin) {
            let skip = if order.is_some() { 4 } else { 0 };
            self.todo.push(Block::Messages(begin + skip, begin + len, order));
        }
        Some(())
    }

    fn link(&mut self, body: usize) -> Option<&'static str> {
        let flags = self.number(body + 1, 1)?;
        let mut at = body + 2;
        let kind = if flags & 8 != 0 { self.number(at, 1)? } else { 0 };
        at += usize::from(flags & 8 != 0) + if flags & 4 != 0 { 8 } else { 0 } + usize::from(flags & 16 != 0);
        let width = 1 << (flags & 3);
        let name = self.number(at, width)?;
        match kind {
            0 => {
                let child = self.address((at + width).checked_add(name)?);
                self.push_header(child);
                None
            }
            1 => Some(SOFT),
            _ => Some(EXTERNAL),
        }
    }

    fn node(&mut self, at: usize) -> Option<&'static str> {
        if !self.seen.insert(at) {
            return None;
        }
        let count = self.number(at + 6, 2)?;
        match self.bytes.get(at..at + 4)? {
            b"TREE" => {
                let first = at + 8 + 2 * self.offset + self.length;
                for child in 0..count {
                    let child = self.address(first + child * (self.offset + self.length));
                    self.todo.extend(child.map(Block::Node));
                }
                None
            }
            b"SNOD" => {
                for entry in 0..count {
                    let entry = at + 8 + entry * (2 * self.offset + 24);
                    if self.number(entry + 2 * self.offset, 4)? == 2 {
                        return Some(SOFT);
                    }
                    let child = self.address(entry + self.offset);
                    self.push_header(child);
                }
                None
            }
            _ => None,
        }
    }
}
