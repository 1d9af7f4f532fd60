//! HDF5 as far as Keras uses it: a tree of groups with string attributes and arrays.
//!
//! hdf5-pure does the parsing; it follows no link out of the file. Here are the bounds, and the tree walked once, so
//! that finding a thousand layers costs a thousand look-ups and not a thousand walks.

mod array;
mod links;
mod view;

pub use array::Dataset;
pub use links::unsafe_link;
pub use view::{with_file, with_files};

use crate::array::Array;
use crate::io::{GROUP_DEPTH_MAX, OBJECT_BYTES_MIN, OBJECTS_MAX};
use hdf5_pure::{AttrValue, Group};
use recast_plugin_api::diag::{Code, Diag};
use std::collections::{BTreeMap, HashMap};

pub const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// Everything below one group; keys are paths from there, with `/`.
#[derive(Default)]
pub struct Tree<'b> {
    pub groups: BTreeMap<String, Group>,
    pub arrays: BTreeMap<String, Array<'b>>,
}

impl<'b> Tree<'b> {
    /// `at` is the path of `root` in its file, for messages; `file_len` bounds how much there can be; `base` is where
    /// the HDF5 file begins.
    pub fn walk(root: &Group, at: &str, file_len: u64, base: (u32, u64)) -> Result<Tree<'b>, Diag> {
        let most = OBJECTS_MAX.min(file_len / OBJECT_BYTES_MIN);
        let mut walk = Walk { tree: Tree::default(), left: most, most, at, file_len, base };
        walk.below(root, "", 0)?;
        Ok(walk.tree)
    }

    /// Takes another tree in; an error is the path of an array that both have.
    pub fn extend(&mut self, other: Tree<'b>) -> Result<(), String> {
        self.groups.extend(other.groups);
        for (path, array) in other.arrays {
            if self.arrays.contains_key(&path) {
                return Err(path);
            }
            self.arrays.insert(path, array);
        }
        Ok(())
    }
}

struct Walk<'a, 'b> {
    tree: Tree<'b>,
    left: u64,
    most: u64,
    at: &'a str,
    file_len: u64,
    base: (u32, u64),
}

impl Walk<'_, '_> {
    fn below(&mut self, group: &Group, path: &str, depth: usize) -> Result<(), Diag> {
        let here = join(self.at, path);
        if depth > GROUP_DEPTH_MAX {
            let detail = format!("groups nested deeper than {GROUP_DEPTH_MAX}: a group may hold itself");
            return Err(Diag::new(Code::LimitExceeded, here, detail));
        }
        for (name, dataset) in group.iter_datasets().map_err(|error| view::malformed(&here, &error))? {
            self.count(&here)?;
            let path = join(path, &name);
            let array = Array::Hdf5(Dataset::new(dataset, join(self.at, &path), self.file_len, self.base));
            self.tree.arrays.insert(path, array);
        }
        for (name, child) in group.iter_groups().map_err(|error| view::malformed(&here, &error))? {
            self.count(&here)?;
            let path = join(path, &name);
            self.below(&child, &path, depth + 1)?;
            self.tree.groups.insert(path, child);
        }
        Ok(())
    }

    fn count(&mut self, at: &str) -> Result<(), Diag> {
        let Some(left) = self.left.checked_sub(1) else {
            let detail = format!("more than {} HDF5 objects, which a file of this size can't hold", self.most);
            return Err(Diag::new(Code::LimitExceeded, at, detail));
        };
        self.left = left;
        Ok(())
    }
}

pub fn join(path: &str, name: &str) -> String {
    match (path.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => path.to_owned(),
        _ => format!("{path}/{name}"),
    }
}

/// The attributes of one group.
pub struct Attrs {
    values: HashMap<String, AttrValue>,
    at: String,
}

impl Attrs {
    pub fn of(group: &Group, at: &str) -> Result<Attrs, Diag> {
        let values = group.attrs().map_err(|error| view::malformed(at, &error))?;
        // The library leaves out what it can't decode: a model whose configuration is damaged has one all the same.
        let types = group.attr_datatypes().map_err(|error| view::malformed(at, &error))?;
        if let Some(name) = types.keys().filter(|name| !values.contains_key(*name)).min() {
            return Err(Diag::new(Code::Malformed, at, format!("the attribute `{name}` can't be decoded")));
        }
        Ok(Attrs { values, at: at.to_owned() })
    }

    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).and_then(AttrValue::as_str)
    }

    /// A list of names, which Keras splits into `name0`, `name1`, ... when it does not fit into one attribute.
    pub fn names(&self, name: &str) -> Result<Option<Vec<String>>, Diag> {
        if let Some(value) = self.values.get(name) {
            return self.list(name, value).map(Some);
        }
        let mut names = Vec::new();
        for part in 0.. {
            let part = format!("{name}{part}");
            let Some(value) = self.values.get(&part) else { break };
            names.extend(self.list(&part, value)?);
        }
        Ok(if self.values.contains_key(&format!("{name}0")) { Some(names) } else { None })
    }

    fn list(&self, name: &str, value: &AttrValue) -> Result<Vec<String>, Diag> {
        if let Some(names) = value.as_strings() {
            return Ok(names.to_vec());
        }
        // numpy makes an empty list an array of float64.
        match value {
            AttrValue::F64Array(none) if none.is_empty() => Ok(Vec::new()),
            _ => Err(Diag::new(Code::Malformed, self.at.as_str(), format!("the attribute `{name}` holds no names"))),
        }
    }
}
