//! The bytes of tensors: the artifact's files and scratch files, mapped once, and views into them.
//!
//! A plain view costs nothing. One whose axes are permuted is made when it is asked for, and belongs to the asker.

use crate::tree;
use memmap2::{Mmap, UncheckedAdvice};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::bytes::permuted;
use recast_plugin_api::ir::{Data, Tensor};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub const SCRATCH_FILES_MAX: usize = 64;
/// Scratch offsets are multiples of it: decoded tensors come out aligned for any element type.
const SCRATCH_ALIGN: u64 = 64;

/// Smaller parts are not worth a system call.
const FORGET_BYTES_MIN: usize = 256 << 10;

/// Files of one job. Shared by the host, the pipeline and whoever verifies.
pub struct TensorStore {
    /// What plugins may have mapped: the artifact, the architecture.
    roots: Vec<PathBuf>,
    scratch_dir: PathBuf,
    scratch_bytes_max: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Every file that was mapped, by the path that it was asked for with. Mappings live as long as the store.
    mapped: BTreeMap<PathBuf, Arc<Mapping>>,
    scratch: Vec<Scratch>,
    scratch_bytes: u64,
    /// `LayerModel::files`, in its order.
    bound: Vec<Arc<Mapping>>,
}

struct Scratch {
    file: File,
    len: u64,
    /// What the plugin lists in `LayerModel::files`.
    name: Arc<str>,
}

/// A mapped file; an empty one has no mapping.
pub struct Mapping {
    map: Option<Mmap>,
}

impl Mapping {
    fn of(file: &File) -> std::io::Result<Mapping> {
        if file.metadata()?.len() == 0 {
            return Ok(Mapping { map: None });
        }
        // SAFETY: read-only. Somebody may truncate the file under us; that is a SIGBUS, which ends this worker and is
        // reported as such. In the daemon's own staging nobody can.
        Ok(Mapping { map: Some(unsafe { Mmap::map(file)? }) })
    }

    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }

    /// Gives the memory of a part back; who reads it again gets the same bytes from the page cache.
    fn forget(&self, begin: usize, end: usize) {
        if let Some(map) = self.map.as_ref().filter(|_| end - begin >= FORGET_BYTES_MIN) {
            // SAFETY: the mapping is read-only and of a file: dropped pages are read from it again.
            let advised = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, begin, end - begin) };
            if let Err(error) = advised {
                tracing::debug!("madvise: {error}");
            }
        }
    }
}

impl TensorStore {
    /// `roots`: files, or directories below which files, that may be mapped. Scratch files are unlinked at once, so
    /// nothing of them is left in `scratch_dir`.
    pub fn new(roots: &[PathBuf], scratch_dir: &Path, scratch_bytes_max: u64) -> TensorStore {
        TensorStore {
            roots: roots.to_vec(),
            scratch_dir: scratch_dir.to_owned(),
            scratch_bytes_max,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Maps a file of the artifact. Links are not followed below a root.
    pub fn map(&self, path: &Path) -> Result<Arc<Mapping>, Diag> {
        let at = || path.display().to_string();
        if let Some(mapping) = self.state().mapped.get(path) {
            return Ok(mapping.clone());
        }
        let file = self.open(path).map_err(|e| Diag::new(Code::Io, at(), e.to_string()))?;
        let mapping = Mapping::of(&file).map_err(|e| Diag::new(Code::Io, at(), e.to_string()))?;
        Ok(self.state().mapped.entry(path.to_owned()).or_insert(Arc::new(mapping)).clone())
    }

    fn open(&self, path: &Path) -> std::io::Result<File> {
        for root in &self.roots {
            let Ok(below) = path.strip_prefix(root) else { continue };
            if below.as_os_str().is_empty() {
                return tree::open_file(path);
            }
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
            let dir = rustix::fs::open(root, flags, Mode::empty())?;
            return tree::open_below(std::os::fd::AsFd::as_fd(&dir), below)
                .map_err(|trouble| std::io::Error::other(trouble.to_string()));
        }
        Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, "not a file of this artifact"))
    }

    /// A new scratch file: its number, and what stands for it in `LayerModel::files`.
    pub(super) fn create_scratch(&self) -> std::io::Result<(u32, Arc<str>)> {
        let mut state = self.state();
        let number = state.scratch.len();
        if number == SCRATCH_FILES_MAX {
            return Err(std::io::Error::other(format!("more than {SCRATCH_FILES_MAX} scratch files")));
        }
        let path = self.scratch_dir.join(format!(".scratch-{number}"));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file: File = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))?.into();
        std::fs::remove_file(&path)?;
        let name: Arc<str> = format!("scratch:{number}").into();
        state.scratch.push(Scratch { file, len: 0, name: name.clone() });
        Ok((number as u32, name))
    }

    /// Appends to a scratch file; the offset at which the bytes begin.
    pub(super) fn append_scratch(&self, number: u32, bytes: &[u8]) -> std::io::Result<u64> {
        let mut state = self.state();
        let total = state.scratch_bytes.saturating_add(bytes.len() as u64).saturating_add(SCRATCH_ALIGN);
        if total > self.scratch_bytes_max {
            let max = self.scratch_bytes_max;
            return Err(std::io::Error::other(format!("scratch files grew over {max} bytes")));
        }
        state.scratch_bytes = total;
        let unknown = || std::io::Error::other(format!("no scratch file {number}"));
        let scratch = state.scratch.get_mut(number as usize).ok_or_else(unknown)?;
        let begin = scratch.len.next_multiple_of(SCRATCH_ALIGN);
        let padding = [0u8; SCRATCH_ALIGN as usize];
        scratch.file.write_all(&padding[..(begin - scratch.len) as usize])?;
        scratch.file.write_all(bytes)?;
        scratch.len = begin + bytes.len() as u64;
        Ok(begin)
    }

    /// Gives the file numbers of a layer model their meaning: `files[i]` is file `i` of every tensor from now on.
    pub fn bind(&self, files: &[String]) -> Result<(), Findings> {
        let mut findings = Findings::new();
        let mut bound = Vec::with_capacity(files.len());
        for name in files {
            match self.bind_one(name) {
                Ok(mapping) => bound.push(mapping),
                Err(diag) => findings.push(diag),
            }
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        self.state().bound = bound;
        Ok(())
    }

    /// Lengths of the model's files, by file number.
    pub fn file_lens(&self) -> Vec<u64> {
        self.state().bound.iter().map(|mapping| mapping.bytes().len() as u64).collect()
    }

    fn bind_one(&self, name: &str) -> Result<Arc<Mapping>, Diag> {
        let state = self.state();
        let Some(scratch) = state.scratch.iter().find(|scratch| *scratch.name == *name) else {
            drop(state);
            return self.map(Path::new(name));
        };
        Mapping::of(&scratch.file).map(Arc::new).map_err(|e| Diag::new(Code::Io, name, e.to_string()))
    }

    /// The elements of a tensor: row-major, in the shape of the view.
    pub fn elements<'t>(&self, tensor: &'t Tensor) -> Result<Elements<'t>, Diag> {
        let stored = self.stored(tensor)?;
        if tensor.is_plain() {
            return Ok(stored);
        }
        let made = tensor.view_of(stored.bytes())?.into_owned();
        stored.forget();
        Ok(Elements::Made(made))
    }

    /// The bytes of a tensor as they are stored, before its axes are permuted.
    fn stored<'t>(&self, tensor: &'t Tensor) -> Result<Elements<'t>, Diag> {
        let wrong = |detail: String| Diag::new(Code::Malformed, "tensor", detail);
        let size = tensor.dtype.size() as u64;
        let elements = tensor.stored.iter().try_fold(size, |product, &dim| product.checked_mul(dim));
        let expected = elements.filter(|_| size > 0).ok_or_else(|| wrong("no tensor has this size".into()))?;
        match &tensor.data {
            Data::Inline(bytes) if bytes.len() as u64 == expected => Ok(Elements::Inline(bytes)),
            Data::Inline(bytes) => Err(wrong(format!("{} bytes where {expected} belong", bytes.len()))),
            Data::Region { file, offset, len } => {
                let mapping = self.state().bound.get(*file as usize).cloned();
                let mapping = mapping.ok_or_else(|| wrong(format!("file {file} is not one of the model's")))?;
                let end = offset.checked_add(*len).filter(|&end| end <= mapping.bytes().len() as u64);
                match end {
                    Some(end) if *len == expected => Ok(Elements::Mapped(mapping, *offset as usize, end as usize)),
                    Some(_) => Err(wrong(format!("{len} bytes where {expected} belong"))),
                    None => Err(wrong(format!("bytes {offset}+{len} are beyond the file's end"))),
                }
            }
        }
    }
}

/// Elements of `tensor` (row-major, as `TensorStore::elements` gives them) with axis `i` being axis `perm[i]` of it;
/// `perm` is a permutation of its axes.
pub fn permuted_elements(bytes: &[u8], tensor: &Tensor, perm: &[usize]) -> Vec<u8> {
    let dims: Vec<usize> = tensor.shape.iter().map(|&size| size as usize).collect();
    permuted(bytes, &dims, perm, tensor.dtype.size())
}

/// Bytes of a tensor, and what keeps them alive.
pub enum Elements<'t> {
    Inline(&'t [u8]),
    Mapped(Arc<Mapping>, usize, usize),
    Made(Vec<u8>),
}

impl Elements<'_> {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Elements::Inline(bytes) => bytes,
            Elements::Mapped(mapping, begin, end) => &mapping.bytes()[*begin..*end],
            Elements::Made(bytes) => bytes,
        }
    }

    /// The reader is done with them for now: a large part of a file need not stay in memory.
    pub fn forget(&self) {
        if let Elements::Mapped(mapping, begin, end) = self {
            mapping.forget(*begin, *end);
        }
    }

    /// Free of the tensor that described it.
    pub fn into_owned(self) -> Elements<'static> {
        match self {
            Elements::Inline(bytes) => Elements::Made(bytes.to_vec()),
            Elements::Mapped(mapping, begin, end) => Elements::Mapped(mapping, begin, end),
            Elements::Made(bytes) => Elements::Made(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recast_plugin_api::ir::DType;

    fn store(dir: &Path) -> TensorStore {
        TensorStore::new(&[dir.join("model")], dir, 1 << 20)
    }

    #[test]
    fn regions_are_views_and_permuted_ones_are_made() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("model"), [9u8, 1, 2, 3, 4, 5, 6]).unwrap();
        let store = store(dir.path());
        store.bind(&[dir.path().join("model").display().to_string()]).unwrap();
        let data = Data::Region { file: 0, offset: 1, len: 6 };
        let tensor = Tensor::stored(DType::U8, &[2, 3], data);
        assert_eq!(store.elements(&tensor).unwrap().bytes(), [1, 2, 3, 4, 5, 6]);
        let turned = tensor.permuted(&[1, 0]).unwrap();
        assert_eq!(store.elements(&turned).unwrap().bytes(), [1, 4, 2, 5, 3, 6]);
    }

    #[test]
    fn a_region_outside_of_its_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("model"), [0u8; 8]).unwrap();
        let store = store(dir.path());
        store.bind(&[dir.path().join("model").display().to_string()]).unwrap();
        for (offset, len, shape) in [(4, 8, 8), (u64::MAX, 8, 8), (0, 8, 7), (0, 8, u64::MAX)] {
            let tensor = Tensor::stored(DType::U8, &[shape], Data::Region { file: 0, offset, len });
            assert!(store.elements(&tensor).is_err(), "{offset} {len} {shape}");
        }
        let tensor = Tensor::stored(DType::U8, &[8], Data::Region { file: 1, offset: 0, len: 8 });
        assert!(store.elements(&tensor).is_err());
    }

    #[test]
    fn only_the_artifact_is_mapped() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("model"), b"x").unwrap();
        std::fs::write(dir.path().join("secret"), b"x").unwrap();
        let store = store(dir.path());
        assert!(store.map(&dir.path().join("model")).is_ok());
        assert!(store.map(&dir.path().join("secret")).is_err());
        assert!(store.map(&dir.path().join("model/../secret")).is_err());
    }

    #[test]
    fn scratch_files_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let store = TensorStore::new(&[], dir.path(), 1000);
        let (number, name) = store.create_scratch().unwrap();
        assert_eq!(store.append_scratch(number, b"abc").unwrap(), 0);
        assert_eq!(store.append_scratch(number, b"defg").unwrap(), 64);
        assert!(store.append_scratch(number, &[0; 1000]).is_err());
        store.bind(&[name.to_string()]).unwrap();
        let tensor = Tensor::stored(DType::U8, &[4], Data::Region { file: 0, offset: 64, len: 4 });
        assert_eq!(store.elements(&tensor).unwrap().bytes(), b"defg");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
