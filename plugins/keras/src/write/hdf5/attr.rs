//! Attributes: a text, or a list of names.

use super::{Group, Image, Message, Node, datatype, kind, pad};
use recast_plugin_api::ir::DType;
use std::collections::VecDeque;
use std::ops::Range;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attr {
    /// Of any length: it lies in the file's heap.
    Text(String),
    /// As numpy stores a list of byte strings: all as long as the longest, in the header itself.
    Names(Vec<String>),
}

/// What Keras allows one attribute: the header has room for 64 KiB, of which it leaves some to others.
pub const NAMES_BYTES_MAX: usize = 64512;

/// A list of names as Keras stores it: in one attribute, or in `name0`, `name1`, ... where it is too long for one.
pub fn names(name: &str, list: &[String]) -> Vec<(String, Attr)> {
    let mut parts = 1;
    while split(list.len(), parts).any(|range| bytes_of(&list[range]) > NAMES_BYTES_MAX && parts < list.len()) {
        parts += 1;
    }
    if parts == 1 {
        return vec![(name.to_owned(), Attr::Names(list.to_vec()))];
    }
    let part = |(number, range): (usize, Range<usize>)| (format!("{name}{number}"), Attr::Names(list[range].to_vec()));
    split(list.len(), parts).enumerate().map(part).collect()
}

/// As numpy's `array_split`: the first parts are one longer where it does not divide.
fn split(len: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let (each, more) = (len / parts, len % parts);
    (0..parts).map(move |part| {
        let begin = part * each + part.min(more);
        begin..begin + each + usize::from(part < more)
    })
}

fn bytes_of(list: &[String]) -> usize {
    list.len() * list.iter().map(String::len).max().unwrap_or(0)
}

/// Rank 0 is a scalar.
pub fn dataspace(dims: &[u64]) -> Vec<u8> {
    let mut out = vec![1, dims.len() as u8, 0, 0, 0, 0, 0, 0];
    dims.iter().for_each(|dim| out.extend_from_slice(&dim.to_le_bytes()));
    out
}

/// The texts of a file, in collections, and where each of them is: in the order in which they are asked for.
#[derive(Default)]
pub struct Texts {
    /// Address of the collection, number in it.
    places: VecDeque<(u64, u32)>,
}

/// libhdf5 makes none smaller.
const COLLECTION_BYTES_MIN: usize = 4096;
/// A collection is closed when it is this large.
const COLLECTION_BYTES: usize = 1 << 16;
const COLLECTION_HEAD_BYTES: usize = 16;
const OBJECT_HEAD_BYTES: usize = 16;

/// What says that the two bytes of an element are a bfloat16: HDF5 has no such type.
pub const BF16: (&str, &str) = ("dtype", "bfloat16");

impl Texts {
    /// Writes every text below `root` in collections to the end of `bytes`, in the order of `Image::group`.
    pub fn of(root: &Group, bytes: &mut Vec<u8>) -> Texts {
        let mut all = Vec::new();
        gather(root, &mut all);
        let mut texts = Texts::default();
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            let mut size = 0;
            let fits = |text: &&&str| {
                let before = size;
                size += OBJECT_HEAD_BYTES + text.len().next_multiple_of(8);
                before == 0 || size <= COLLECTION_BYTES
            };
            let count = rest.iter().take_while(fits).count();
            texts.collection(&rest[..count], bytes);
            rest = &rest[count..];
        }
        texts
    }

    fn collection(&mut self, texts: &[&str], bytes: &mut Vec<u8>) {
        pad(bytes);
        let address = bytes.len();
        let objects: usize = texts.iter().map(|text| OBJECT_HEAD_BYTES + text.len().next_multiple_of(8)).sum();
        let size = (COLLECTION_HEAD_BYTES + objects + OBJECT_HEAD_BYTES).max(COLLECTION_BYTES_MIN);
        bytes.extend_from_slice(b"GCOL\x01\0\0\0");
        bytes.extend_from_slice(&(size as u64).to_le_bytes());
        for (number, text) in texts.iter().enumerate() {
            bytes.extend_from_slice(&(number as u16 + 1).to_le_bytes());
            bytes.extend_from_slice(&[1, 0, 0, 0, 0, 0]);
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
            pad(bytes);
            self.places.push_back((address as u64, number as u32 + 1));
        }
        // Object 0 is the room that is left, its own head included.
        let free = address + size - bytes.len();
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&(free as u64).to_le_bytes());
        bytes.resize(address + size, 0);
    }

    /// A reference to the next text: its length, its collection, its number there.
    fn next(&mut self, text: &str) -> Vec<u8> {
        let (address, number) = self.places.pop_front().unwrap_or((super::UNDEFINED, 0));
        let mut out = (text.len() as u32).to_le_bytes().to_vec();
        out.extend_from_slice(&address.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        out
    }
}

/// Texts below a group: those of its children, then its own.
fn gather<'g>(group: &'g Group, out: &mut Vec<&'g str>) {
    for child in group.children.values() {
        match child {
            Node::Group(group) => gather(group, out),
            Node::Array(array) if array.dtype == DType::BF16 => out.push(BF16.1),
            Node::Array(_) => {}
        }
    }
    out.extend(group.attrs.iter().filter_map(|(_, attr)| match attr {
        Attr::Text(text) => Some(text.as_str()),
        Attr::Names(_) => None,
    }));
}

impl Image {
    /// A message for an attribute.
    pub fn attribute(&mut self, name: &str, value: &Attr) -> Message {
        let (datatype, dims, data) = match value {
            Attr::Text(text) => (datatype::text(), Vec::new(), self.texts.next(text)),
            // numpy has no type for an empty list but its default.
            Attr::Names(list) if list.is_empty() => (datatype::of(DType::F64), vec![0], Vec::new()),
            Attr::Names(list) => fixed(list),
        };
        let mut out = vec![1, 0];
        let space = dataspace(&dims);
        for len in [name.len() + 1, datatype.len(), space.len()] {
            out.extend_from_slice(&(len as u16).to_le_bytes());
        }
        for part in [[name.as_bytes(), &[0]].concat(), datatype, space, data] {
            out.extend(part);
            pad(&mut out);
        }
        Message::new(kind::ATTRIBUTE, out)
    }
}

fn fixed(list: &[String]) -> (Vec<u8>, Vec<u64>, Vec<u8>) {
    let len = list.iter().map(String::len).max().unwrap_or(0).max(1);
    let mut data = Vec::with_capacity(len * list.len());
    for name in list {
        data.extend_from_slice(name.as_bytes());
        data.resize(data.len() + len - name.len(), 0);
    }
    (datatype::fixed_text(len as u32), vec![list.len() as u64], data)
}
