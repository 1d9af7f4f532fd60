//! The files of a SavedModel directory.

use recast_keras_model::io::Io;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::messages::ReadRequest;
use std::collections::BTreeSet;

/// `'a` is the call: mapped bytes live as long.
pub struct Directory<'io, 'a> {
    io: &'io dyn Io<'a>,
    root: String,
    files: BTreeSet<&'io str>,
}

impl<'io, 'a> Directory<'io, 'a> {
    pub fn new(io: &'io dyn Io<'a>, request: &'io ReadRequest) -> Directory<'io, 'a> {
        let top = request.path.trim_end_matches('/');
        let files = || request.files.iter().map(String::as_str);
        match newest_version(files()) {
            // As TensorFlow Serving keeps its models: a directory of numbered ones.
            Some(number) if !files().any(|file| file == super::MODEL) => {
                let inside = |file: &'io str| file.strip_prefix(number)?.strip_prefix('/');
                Directory { io, root: format!("{top}/{number}"), files: files().filter_map(inside).collect() }
            }
            _ => Directory { io, root: top.to_owned(), files: files().collect() },
        }
    }

    pub fn io(&self) -> &'io dyn Io<'a> {
        self.io
    }

    pub fn has(&self, name: &str) -> bool {
        self.files.contains(name)
    }

    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    /// A file that must be there.
    pub fn map(&self, name: &str) -> Result<&'a [u8], Diag> {
        if !self.has(name) {
            return Err(Diag::new(Code::Malformed, name, "this file of the SavedModel is missing"));
        }
        self.io.map(&self.path(name))
    }
}

/// The highest number that is a directory with a model in it.
fn newest_version<'f>(files: impl Iterator<Item = &'f str>) -> Option<&'f str> {
    let folder = |file: &'f str| file.strip_suffix(super::MODEL)?.strip_suffix('/');
    let numbered = files.filter_map(folder).filter_map(|name| Some((name.parse::<u64>().ok()?, name)));
    numbered.max().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_is_the_model() {
        let files = ["2/saved_model.pb", "10/saved_model.pb", "11/variables", "a/saved_model.pb", "1/2/saved_model.pb"];
        assert_eq!(newest_version(files.into_iter()), Some("10"));
        assert_eq!(newest_version(["saved_model.pb"].into_iter()), None);
    }
}
