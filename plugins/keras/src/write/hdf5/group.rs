//! Groups of the old kind: a heap of names, and a tree of entries sorted by name.

use super::{Group, Image, Message, Node, Placed, UNDEFINED, kind, pad};
use recast_plugin_api::diag::Diag;

/// Half the entries of a leaf, half the children of a node: libhdf5's own numbers.
pub const LEAF_HALF: u16 = 4;
pub const NODE_HALF: u16 = 16;

const LEAF: usize = 2 * LEAF_HALF as usize;
const NODE: usize = 2 * NODE_HALF as usize;
const ENTRY_BYTES: usize = 40;
const LEAF_BYTES: usize = 8 + LEAF * ENTRY_BYTES;
const NODE_BYTES: usize = 24 + (2 * NODE + 1) * 8;
/// No free block in a heap.
const NO_FREE: u64 = 1;

/// Something that a tree node points to: its address, and where its last name stands in the heap.
struct Branch {
    address: u64,
    last: u64,
}

impl Image {
    /// Writes a group with all that is in it. What it holds comes first, so that addresses are known.
    pub(super) fn group(&mut self, group: &Group, at: &str) -> Result<Placed, Diag> {
        let mut names = vec![0u8; 8];
        let mut entries = Vec::with_capacity(group.children.len());
        for (name, child) in &group.children {
            let at = format!("{}/{name}", at.trim_end_matches('/'));
            let address = match child {
                Node::Group(child) => self.group(child, &at)?.header,
                Node::Array(array) => self.array(array, &at)?,
            };
            entries.push((names.len() as u64, address));
            names.extend_from_slice(name.as_bytes());
            names.push(0);
            pad(&mut names);
        }
        let heap = self.heap(&names);
        let tree = self.tree(&entries);
        let mut table = tree.to_le_bytes().to_vec();
        table.extend_from_slice(&heap.to_le_bytes());
        let mut messages = vec![Message::new(kind::SYMBOL_TABLE, table)];
        for (name, value) in &group.attrs {
            messages.push(self.attribute(name, value));
        }
        let header = self.here();
        self.header(&messages, at)?;
        Ok(Placed { header, tree, heap })
    }

    fn heap(&mut self, names: &[u8]) -> u64 {
        let address = self.here();
        self.bytes.extend_from_slice(b"HEAP\0\0\0\0");
        for number in [names.len() as u64, NO_FREE, address + 32] {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        self.bytes.extend_from_slice(names);
        address
    }

    /// Leaves, then level by level the nodes above them, until there is one.
    fn tree(&mut self, entries: &[(u64, u64)]) -> u64 {
        let mut level: Vec<Branch> = entries.chunks(LEAF).map(|entries| self.leaf(entries)).collect();
        let mut height = 0;
        loop {
            // An empty group has a node without children.
            let count = level.len().div_ceil(NODE).max(1);
            let begin = self.here();
            level = (0..count).map(|number| self.node(&level, height, number, begin, count)).collect();
            if let [root] = level.as_slice() {
                return root.address;
            }
            height += 1;
        }
    }

    fn leaf(&mut self, entries: &[(u64, u64)]) -> Branch {
        let address = self.here();
        self.bytes.extend_from_slice(b"SNOD\x01\0");
        self.bytes.extend_from_slice(&(entries.len() as u16).to_le_bytes());
        for &(name, header) in entries {
            self.bytes.extend_from_slice(&name.to_le_bytes());
            self.bytes.extend_from_slice(&header.to_le_bytes());
            self.bytes.extend_from_slice(&[0; ENTRY_BYTES - 16]);
        }
        self.bytes.resize(address as usize + LEAF_BYTES, 0);
        Branch { address, last: entries.last().map_or(0, |&(name, _)| name) }
    }

    /// Node `number` of `count` of one level; all of them lie behind each other from `begin`.
    fn node(&mut self, level: &[Branch], height: u8, number: usize, begin: u64, count: usize) -> Branch {
        let beside = |number: Option<usize>| {
            number.filter(|&number| number < count).map_or(UNDEFINED, |number| begin + (number * NODE_BYTES) as u64)
        };
        let first = number * NODE;
        let children = level.get(first..level.len().min(first + NODE)).unwrap_or_default();
        let address = self.here();
        self.bytes.extend_from_slice(b"TREE\0");
        self.bytes.push(height);
        self.bytes.extend_from_slice(&(children.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&beside(number.checked_sub(1)).to_le_bytes());
        self.bytes.extend_from_slice(&beside(Some(number + 1)).to_le_bytes());
        // Each child stands between the last name before it and its own last name.
        let before = first.checked_sub(1).and_then(|before| level.get(before)).map_or(0, |branch| branch.last);
        self.bytes.extend_from_slice(&before.to_le_bytes());
        for child in children {
            self.bytes.extend_from_slice(&child.address.to_le_bytes());
            self.bytes.extend_from_slice(&child.last.to_le_bytes());
        }
        self.bytes.resize(address as usize + NODE_BYTES, 0);
        Branch { address, last: children.last().map_or(0, |branch| branch.last) }
    }
}
