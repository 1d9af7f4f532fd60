//! The files of a SavedModel directory.

use recast_keras_model::io::Io;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::messages::ReadRequest;
use std::collections::BTreeSet;

/// `'a` is the call: mapped bytes live as long.
pub struct Directory<'io, 'a> {
    io: &'io dyn Io<'a>,
    root: &'io str,
    files: BTreeSet<&'io str>,
}

impl<'io, 'a> Directory<'io, 'a> {
    pub fn new(io: &'io dyn Io<'a>, request: &'io ReadRequest) -> Directory<'io, 'a> {
        let files = request.files.iter().map(String::as_str).collect();
        Directory { io, root: request.path.trim_end_matches('/'), files }
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
