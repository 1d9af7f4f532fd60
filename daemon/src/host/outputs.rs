//! The files that a target writes: created in the job's staging directory, written from where the plugin's bytes lie,
//! and hashed on the way.

use crate::digest::hex;
use crate::job::OutputFile;
use recast_abi::{status, stream};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A model split into thousands of shards is a mistake.
pub const OUTPUT_FILES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 1024;
const NAME_DEPTH_MAX: usize = 8;
/// From here on it pays to hash on a second core while this one writes.
const PARALLEL_BYTES_MIN: usize = 1 << 20;
/// What is hashed is still in the cache when it is written.
const PIECE_BYTES: usize = 256 << 10;

/// The outputs of one `write` call, below one directory.
pub struct Outputs {
    root: PathBuf,
    /// None in a rehearsal, which ends where the first file would begin.
    dir: Option<OwnedFd>,
    /// The rehearsal has ended there.
    rehearsed: bool,
    files: Vec<Output>,
    bytes_max: u64,
    bytes: u64,
    /// The first failure, in words: the plugin only gets a status.
    failure: Option<String>,
}

struct Output {
    name: String,
    bytes: u64,
    state: State,
}

enum State {
    Open(File, Box<Sha256>),
    Closed(String),
}

impl Outputs {
    /// `bytes_max` bounds all files together.
    pub fn new(root: &Path, bytes_max: u64) -> io::Result<Outputs> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let dir = rustix::fs::open(root, flags, Mode::empty())?;
        Ok(Outputs { root: root.to_owned(), dir: Some(dir), bytes_max, ..Outputs::rehearsal() })
    }

    /// Takes no file: a writer comes as far as what it refuses before it writes.
    pub fn rehearsal() -> Outputs {
        let (root, dir, rehearsed) = (PathBuf::new(), None, false);
        Outputs { root, dir, rehearsed, files: Vec::new(), bytes_max: 0, bytes: 0, failure: None }
    }

    /// Has the writer come to its first file, with nothing to refuse?
    pub fn rehearsed(&self) -> bool {
        self.rehearsed
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The stream of a new file, or a status.
    pub(super) fn open(&mut self, name: &[u8]) -> i32 {
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| is_plain(name)) else {
            let name = String::from_utf8_lossy(name).into_owned();
            return self.fail(status::MISUSE, format!("{name:?} is not a plain relative path"));
        };
        if self.files.len() == OUTPUT_FILES_MAX {
            return self.fail(status::MISUSE, format!("more than {OUTPUT_FILES_MAX} output files"));
        }
        let Some(dir) = &self.dir else {
            self.rehearsed = true;
            return self.fail(status::CANCELLED, format!("a rehearsal, which ends before {name}"));
        };
        match create(dir, name) {
            Ok(file) => {
                let state = State::Open(file, Box::default());
                self.files.push(Output { name: name.to_owned(), bytes: 0, state });
                // At most OUTPUT_FILES_MAX.
                stream::FIRST_OUTPUT as i32 + self.files.len() as i32 - 1
            }
            Err(error) => self.fail(status::IO, format!("{name}: {error}")),
        }
    }

    pub(super) fn write(&mut self, stream: u32, chunk: &[u8]) -> i32 {
        let Some(index) = self.index(stream) else {
            return self.fail(status::MISUSE, format!("stream {stream} is not an output"));
        };
        self.bytes = self.bytes.saturating_add(chunk.len() as u64);
        if self.bytes > self.bytes_max {
            let max = self.bytes_max;
            return self.fail(status::IO, format!("the outputs grew over limits.worker_output_bytes_max ({max})"));
        }
        let output = &mut self.files[index];
        let State::Open(file, hash) = &mut output.state else {
            let message = format!("{} is closed", output.name);
            return self.fail(status::MISUSE, message);
        };
        match write_hashed(file, hash, chunk) {
            Ok(()) => {
                output.bytes += chunk.len() as u64;
                status::OK
            }
            Err(error) => {
                let message = format!("{}: {error}", output.name);
                self.fail(status::IO, message)
            }
        }
    }

    pub(super) fn close(&mut self, stream: u32) -> i32 {
        let Some(index) = self.index(stream) else { return status::MISUSE };
        self.files[index].close();
        status::OK
    }

    /// The first thing that went wrong, in words.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Every file, in the order in which they were opened: the primary one first. Paths are relative to the root.
    pub fn finish(mut self) -> Vec<OutputFile> {
        self.files.iter_mut().for_each(Output::close);
        let files = self.files.into_iter().filter_map(|output| match output.state {
            State::Closed(sha256) => Some(OutputFile { path: output.name, sha256, bytes: output.bytes }),
            State::Open(..) => None,
        });
        files.collect()
    }

    fn index(&self, stream: u32) -> Option<usize> {
        let index = stream.checked_sub(stream::FIRST_OUTPUT)? as usize;
        (index < self.files.len()).then_some(index)
    }

    fn fail(&mut self, code: i32, message: String) -> i32 {
        self.failure.get_or_insert(message);
        code
    }
}

impl Output {
    fn close(&mut self) {
        if let State::Open(_, hash) = &mut self.state {
            self.state = State::Closed(hex(&std::mem::take(&mut **hash).finalize()));
        }
    }
}

/// Names with one or more parts below the root, none of which could lead out of it or surprise a shell.
fn is_plain(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= 255;
    name.len() <= NAME_BYTES_MAX
        && name.split('/').count() <= NAME_DEPTH_MAX
        && name.split('/').all(is_part)
        && !name.contains('\\')
        && !name.chars().any(char::is_control)
}

fn create(dir: &OwnedFd, name: &str) -> io::Result<File> {
    // Whatever lies in the directory: nothing is followed out of it, nothing is overwritten.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut made = String::new();
    for part in Path::new(name).parent().into_iter().flat_map(Path::components) {
        made = format!("{made}{}", part.as_os_str().to_string_lossy());
        match rustix::fs::mkdirat(dir, &*made, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => made.push('/'),
            Err(error) => return Err(error.into()),
        }
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(openat2(dir, name, flags, Mode::from_raw_mode(0o644), resolve)?.into())
}

fn write_hashed(file: &mut File, hash: &mut Sha256, chunk: &[u8]) -> io::Result<()> {
    if chunk.len() < PARALLEL_BYTES_MIN {
        hash.update(chunk);
        return file.write_all(chunk);
    }
    std::thread::scope(|scope| {
        let hashing = std::thread::Builder::new().spawn_scoped(scope, || {
            // In pieces, so that both threads read the same part of memory at about the same time.
            chunk.chunks(PIECE_BYTES).for_each(|piece| hash.update(piece));
        });
        let written = file.write_all(chunk);
        match hashing.map(|thread| thread.join()) {
            Ok(Ok(())) => written,
            Ok(Err(_)) => Err(io::Error::other("hashing failed")),
            Err(error) => Err(error),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_root() {
        for name in ["", "/x", "../x", "a/../x", "a//x", "./x", "a\\x", "a\nb", "a/", "1/2/3/4/5/6/7/8/9"] {
            assert!(!is_plain(name), "{name:?}");
        }
        assert!(is_plain("m.onnx") && is_plain("m_torch/model.py"));
    }

    #[test]
    fn files_are_hashed_as_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut outputs = Outputs::new(dir.path(), 10 << 20).unwrap();
        let (a, b) = (outputs.open(b"m.onnx") as u32, outputs.open(b"m_data/w.bin") as u32);
        let large = vec![7u8; 3 << 20];
        assert_eq!([outputs.write(a, b"head"), outputs.write(b, &large), outputs.write(a, b"tail")], [0, 0, 0]);
        assert_eq!(outputs.close(a), 0);
        assert_eq!(outputs.write(a, b"late"), status::MISUSE);
        assert!(outputs.open(b"m.onnx") < 0, "nothing is overwritten");
        let files = outputs.finish();
        assert_eq!((files[0].path.as_str(), files[0].bytes), ("m.onnx", 8));
        assert_eq!(files[0].sha256, crate::digest::of_bytes(b"headtail"));
        assert_eq!(files[1].sha256, crate::digest::of_file(&dir.path().join("m_data/w.bin")).unwrap().0);
    }

    #[test]
    fn the_bound_holds_for_all_files_together() {
        let dir = tempfile::tempdir().unwrap();
        let mut outputs = Outputs::new(dir.path(), 10).unwrap();
        let (a, b) = (outputs.open(b"a") as u32, outputs.open(b"b") as u32);
        assert_eq!([outputs.write(a, b"123456"), outputs.write(b, b"123456")], [0, status::IO]);
        assert!(outputs.failure().unwrap().contains("worker_output_bytes_max"));
    }

    #[test]
    fn a_rehearsal_ends_at_the_first_file() {
        let mut outputs = Outputs::rehearsal();
        assert_eq!((outputs.open(b"../m"), outputs.rehearsed()), (status::MISUSE, false));
        assert_eq!((outputs.open(b"m.onnx"), outputs.rehearsed()), (status::CANCELLED, true));
        assert!(outputs.finish().is_empty());
    }

    #[test]
    fn a_link_in_the_staging_directory_is_not_followed() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        let mut outputs = Outputs::new(dir.path(), 10).unwrap();
        assert!(outputs.open(b"link/x") < 0);
        assert!(!outside.path().join("x").exists());
    }
}
