//! HDF5 files as Keras' own library writes them by default: superblock 0, old groups, contiguous arrays. Everything
//! but the arrays is made in memory first, so every address is known before a byte is written; then arrays go straight
//! from where they lie to the output. The same tree gives the same bytes: no times, no padding that was not set.
//!
//! | block | layout (little-endian, addresses and lengths of 8 bytes) |
//! |---|---|
//! | superblock | signature, versions, 4 entries per leaf half, 16 per node half, end of file, entry of the root |
//! | object header | version 1, count of messages, references, bytes of messages; then messages |
//! | group | header with attributes and the addresses of a tree and a heap; the heap holds the names |
//! | `TREE` | level, count, then (name, child) by name; leaves are `SNOD` with up to 8 entries |
//! | `GCOL` | texts of attributes, which are numbered there |

mod attr;
mod datatype;
mod group;

pub use attr::{Attr, names};

use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::DType;
use std::collections::BTreeMap;

/// A group, to be written; children are linked by name.
#[derive(Default)]
pub struct Group {
    pub attrs: Vec<(String, Attr)>,
    pub children: BTreeMap<String, Node>,
}

pub enum Node {
    Group(Group),
    Array(Array),
}

/// An array, to be written: little-endian, C order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    pub dtype: DType,
    pub dims: Vec<u64>,
    /// What `Plan::write` asks for by this number.
    pub data: usize,
}

impl Array {
    /// None where it has more bytes than a number can say, or elements without a size.
    fn byte_len(&self) -> Option<u64> {
        let size = (self.dtype != DType::Str).then_some(self.dtype.size() as u64)?;
        self.dims.iter().try_fold(size, |len, &dim| len.checked_mul(dim))
    }
}

impl Group {
    /// The group at `path`, made with all groups above it where it is missing. None where an array is in the way.
    pub fn group(&mut self, path: &str) -> Option<&mut Group> {
        let mut here = self;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let node = here.children.entry(part.to_owned()).or_insert_with(|| Node::Group(Group::default()));
            here = match node {
                Node::Group(group) => group,
                Node::Array(_) => return None,
            };
        }
        Some(here)
    }

    /// Puts an array at `path`. False where something is there already.
    #[must_use]
    pub fn put(&mut self, path: &str, array: Array) -> bool {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(group) = self.group(above).filter(|group| !group.children.contains_key(name)) else { return false };
        group.children.insert(name.to_owned(), Node::Array(array));
        true
    }
}

/// A file whose every byte has its place.
pub struct Plan {
    head: Vec<u8>,
    /// Of each array: what to ask for, where it begins in the file, its length.
    arrays: Vec<(usize, u64, u64)>,
    len: u64,
}

/// Arrays begin at multiples of it.
const ALIGN: u64 = 8;
const SUPERBLOCK_BYTES: usize = 96;
const UNDEFINED: u64 = u64::MAX;

/// Puts the array of this number to where it is told to.
pub type Fetch<'a> = &'a mut dyn FnMut(usize, &mut dyn FnMut(&[u8]) -> Result<(), Diag>) -> Result<(), Diag>;

pub fn plan(root: &Group) -> Result<Plan, Diag> {
    let mut bytes = vec![0; SUPERBLOCK_BYTES];
    let texts = attr::Texts::of(root, &mut bytes);
    let mut image = Image { bytes, arrays: Vec::new(), texts };
    let placed = image.group(root, "/")?;
    let mut at = (image.bytes.len() as u64).next_multiple_of(ALIGN);
    let mut arrays = Vec::with_capacity(image.arrays.len());
    for pending in &image.arrays {
        // An array without elements has no place.
        let address = if pending.len == 0 { UNDEFINED } else { at };
        image.bytes[pending.patch..pending.patch + 8].copy_from_slice(&address.to_le_bytes());
        if pending.len > 0 {
            arrays.push((pending.data, at, pending.len));
            let end = at.checked_add(pending.len).and_then(|end| end.checked_next_multiple_of(ALIGN));
            at = end.ok_or_else(|| Diag::new(Code::LimitExceeded, "/", "the arrays outgrow any file"))?;
        }
    }
    let head_len = image.bytes.len().next_multiple_of(ALIGN as usize);
    image.bytes.resize(head_len, 0);
    image.superblock(placed, at);
    Ok(Plan { head: image.bytes, arrays, len: at })
}

impl Plan {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes the file; `fetch` gives each array once, in the order of the file.
    pub fn write(&self, out: &mut dyn std::io::Write, fetch: Fetch<'_>) -> Result<(), Diag> {
        let io = |error: std::io::Error| Diag::new(Code::Io, "HDF5", error.to_string());
        out.write_all(&self.head).map_err(io)?;
        let mut written = self.head.len() as u64;
        for &(data, at, len) in &self.arrays {
            let gap = at.checked_sub(written).filter(|&gap| gap < ALIGN);
            let gap = gap.ok_or_else(|| Diag::new(Code::Bug, "HDF5", "arrays out of order"))?;
            out.write_all(&[0; ALIGN as usize][..gap as usize]).map_err(io)?;
            let mut given = 0u64;
            fetch(data, &mut |bytes| {
                given += bytes.len() as u64;
                out.write_all(bytes).map_err(io)
            })?;
            if given != len {
                return Err(Diag::new(Code::Bug, "HDF5", format!("{given} bytes where {len} were planned")));
            }
            written = at + len;
        }
        let tail = (self.len - written) as usize;
        out.write_all(&[0; ALIGN as usize][..tail]).map_err(io)
    }
}

/// An array whose place is not known yet.
struct Pending {
    data: usize,
    len: u64,
    /// Where its address goes.
    patch: usize,
}

/// The metadata as it grows.
struct Image {
    bytes: Vec<u8>,
    arrays: Vec<Pending>,
    texts: attr::Texts,
}

/// Where the parts of a written group are.
struct Placed {
    header: u64,
    tree: u64,
    heap: u64,
}

impl Image {
    fn here(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn superblock(&mut self, root: Placed, end: u64) {
        let mut block = Vec::with_capacity(SUPERBLOCK_BYTES);
        block.extend_from_slice(&crate::hdf5::SIGNATURE);
        // Versions of superblock, free space, root group, (reserved), shared headers; sizes of addresses and lengths.
        block.extend_from_slice(&[0, 0, 0, 0, 0, 8, 8, 0]);
        block.extend_from_slice(&group::LEAF_HALF.to_le_bytes());
        block.extend_from_slice(&group::NODE_HALF.to_le_bytes());
        block.extend_from_slice(&0u32.to_le_bytes());
        for address in [0, UNDEFINED, end, UNDEFINED] {
            block.extend_from_slice(&address.to_le_bytes());
        }
        // The root's entry: no name, its header, and as a cached group its tree and heap.
        block.extend_from_slice(&0u64.to_le_bytes());
        block.extend_from_slice(&root.header.to_le_bytes());
        block.extend_from_slice(&1u64.to_le_bytes());
        block.extend_from_slice(&root.tree.to_le_bytes());
        block.extend_from_slice(&root.heap.to_le_bytes());
        self.bytes[..SUPERBLOCK_BYTES].copy_from_slice(&block);
    }

    /// An object header with these messages; where each message's data begins.
    fn header(&mut self, messages: &[Message], at: &str) -> Result<Vec<usize>, Diag> {
        let body: usize = messages.iter().map(|message| MESSAGE_HEAD_BYTES + message.data.len()).sum();
        let count = u16::try_from(messages.len()).ok();
        let (Some(count), Ok(size)) = (count, u32::try_from(body)) else {
            return Err(Diag::new(Code::LimitExceeded, at, "more attributes than an HDF5 object can have"));
        };
        self.bytes.extend_from_slice(&[1, 0]);
        self.bytes.extend_from_slice(&count.to_le_bytes());
        self.bytes.extend_from_slice(&1u32.to_le_bytes());
        self.bytes.extend_from_slice(&size.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        let mut places = Vec::with_capacity(messages.len());
        for message in messages {
            let len = u16::try_from(message.data.len()).map_err(|_| {
                Diag::new(Code::LimitExceeded, at, format!("an attribute of {} bytes", message.data.len()))
            })?;
            self.bytes.extend_from_slice(&message.kind.to_le_bytes());
            self.bytes.extend_from_slice(&len.to_le_bytes());
            self.bytes.extend_from_slice(&[0; 4]);
            places.push(self.bytes.len());
            self.bytes.extend_from_slice(&message.data);
        }
        Ok(places)
    }

    /// The header of an array; its address is patched in later.
    fn array(&mut self, array: &Array, at: &str) -> Result<u64, Diag> {
        let len = array.byte_len().ok_or_else(|| {
            Diag::new(Code::UnsupportedType, at, format!("an array of {} {:?}", array.dtype, array.dims))
        })?;
        let mut layout = vec![3, 1];
        layout.extend_from_slice(&UNDEFINED.to_le_bytes());
        layout.extend_from_slice(&len.to_le_bytes());
        let mut messages = vec![
            Message::new(kind::DATASPACE, attr::dataspace(&array.dims)),
            Message::new(kind::DATATYPE, datatype::of(array.dtype)),
            // Space is given late, nothing is filled in: there are no gaps.
            Message::new(kind::FILL, vec![2, 2, 2, 1, 0, 0, 0, 0]),
            Message::new(kind::LAYOUT, layout),
        ];
        if array.dtype == DType::BF16 {
            messages.push(self.attribute(attr::BF16.0, &Attr::Text(attr::BF16.1.into())));
        }
        let begin = self.here();
        let places = self.header(&messages, at)?;
        self.arrays.push(Pending { data: array.data, len, patch: places[3] + 2 });
        Ok(begin)
    }
}

const MESSAGE_HEAD_BYTES: usize = 8;

mod kind {
    pub const DATASPACE: u16 = 0x01;
    pub const DATATYPE: u16 = 0x03;
    pub const FILL: u16 = 0x05;
    pub const LAYOUT: u16 = 0x08;
    pub const ATTRIBUTE: u16 = 0x0c;
    pub const SYMBOL_TABLE: u16 = 0x11;
}

struct Message {
    kind: u16,
    /// A multiple of 8 bytes.
    data: Vec<u8>,
}

impl Message {
    fn new(kind: u16, mut data: Vec<u8>) -> Message {
        pad(&mut data);
        Message { kind, data }
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

#[cfg(test)]
mod tests;
