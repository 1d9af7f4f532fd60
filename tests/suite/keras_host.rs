//! A host for the keras source inside the test program: files are read, decoded arrays go to memory.

use recast_keras::io::{Io, Scratch};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::wire::TensorProto;
use recast_plugin_api::messages::{ReadLimits, ReadRequest};
use recast_plugin_api::model::LayerModel;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

pub const SCRATCH: &str = "/scratch";

/// `'a` is what the files live for.
#[derive(Default)]
pub struct TestHost<'a> {
    pub files: HashMap<String, &'a [u8]>,
    pub scratch: Rc<RefCell<Vec<u8>>>,
    pub reported: RefCell<Vec<Diag>>,
}

struct Memory(Rc<RefCell<Vec<u8>>>);

impl<'a> Io<'a> for TestHost<'a> {
    fn map(&self, path: &str) -> Result<&'a [u8], Diag> {
        self.files.get(path).copied().ok_or_else(|| Diag::new(Code::Io, path, "no such file"))
    }

    fn scratch(&self) -> Result<Box<dyn Scratch + 'a>, Diag> {
        Ok(Box::new(Memory(self.scratch.clone())))
    }

    fn report(&self, diag: &Diag) {
        self.reported.borrow_mut().push(diag.clone());
    }

    fn go_on(&self) -> Result<(), Diag> {
        Ok(())
    }
}

impl Scratch for Memory {
    fn path(&self) -> String {
        SCRATCH.into()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<u64, Diag> {
        let mut all = self.0.borrow_mut();
        let at = all.len().next_multiple_of(64);
        all.resize(at, 0);
        all.extend_from_slice(bytes);
        Ok(at as u64)
    }
}

impl<'a> TestHost<'a> {
    pub fn with(files: &[(&str, &'a [u8])]) -> TestHost<'a> {
        let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), *bytes)).collect();
        TestHost { files, ..TestHost::default() }
    }

    /// Reads `/m`, with `/a` as its architecture where there is one.
    pub fn read(&self, limits: Option<ReadLimits>) -> Result<LayerModel, Findings> {
        let architecture = self.files.contains_key("/a").then(|| "/a".to_owned());
        recast_keras::read(
            self,
            &ReadRequest { schema_rev: 1, path: "/m".into(), architecture, limits, ..ReadRequest::default() },
        )
    }

    /// Reads the directory `/m`, all of whose files the host has as `/m/NAME`.
    pub fn read_directory(&self) -> Result<LayerModel, Findings> {
        let mut files: Vec<String> =
            self.files.keys().filter_map(|path| path.strip_prefix("/m/")).map(str::to_owned).collect();
        files.sort();
        recast_keras::read(self, &ReadRequest { schema_rev: 1, path: "/m".into(), files, ..ReadRequest::default() })
    }

    /// The bytes that a tensor points at; panics where it points outside, which no reply may do.
    pub fn bytes(&self, model: &LayerModel, tensor: &TensorProto) -> Vec<u8> {
        let path = &model.files[tensor.file as usize];
        let range = tensor.offset as usize..(tensor.offset + tensor.len) as usize;
        if path == SCRATCH { self.scratch.borrow()[range].to_vec() } else { self.files[path][range].to_vec() }
    }
}
