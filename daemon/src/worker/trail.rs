//! Which plugin calls are going on, in a file that outlives the worker: who is to blame when it dies.
//!
//! A file and no messages: a model of a thousand layers makes thousands of calls, and each message would wake the
//! daemon. The calls lie behind each other, the innermost last:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the call, little-endian; 0 behind the last one; the highest bit is set in one that was left |
//! | n | the call, JSON |

use crate::pipeline::SCRATCH;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const NAME: &str = "calls";
/// What is read of a file that a plugin may have written to.
const BYTES_MAX: u64 = 1 << 20;
const LEFT: u32 = 1 << 31;

/// A call that is going on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entered {
    pub plugin: String,
    pub call: String,
    /// The layer path, target or file that it is about.
    pub at: String,
}

/// The worker's side.
pub(super) struct Trail {
    file: File,
    /// Where each call begins, and its length.
    calls: Vec<(u64, u32)>,
}

impl Trail {
    pub(super) fn open(staging: &Path) -> io::Result<Trail> {
        let mut file = File::options().write(true).open(path(staging))?;
        // What a plugin writes to whatever is open goes behind all that is read.
        file.seek(SeekFrom::Start(BYTES_MAX))?;
        Ok(Trail { file, calls: Vec::new() })
    }

    pub(super) fn enter(&mut self, call: &Entered) -> io::Result<()> {
        let begin = self.end();
        let mut entry = vec![0; 4];
        serde_json::to_writer(&mut entry, call)?;
        let len = (entry.len() - 4) as u32;
        entry[..4].copy_from_slice(&len.to_le_bytes());
        entry.extend([0; 4]);
        self.calls.push((begin, len));
        self.file.write_all_at(&entry, begin)
    }

    pub(super) fn leave(&mut self) -> io::Result<()> {
        let Some((begin, len)) = self.calls.pop() else { return Ok(()) };
        self.file.write_all_at(&(len | LEFT).to_le_bytes(), begin)
    }

    fn end(&self) -> u64 {
        self.calls.last().map_or(0, |&(begin, len)| begin + 4 + u64::from(len))
    }
}

/// What a trail says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Calls {
    /// The innermost last.
    pub going_on: Vec<Entered>,
    /// The one that was left last, where no other began since.
    pub left: Option<Entered>,
}

fn path(staging: &Path) -> PathBuf {
    staging.join(SCRATCH).join(NAME)
}

/// The daemon's side: made before the worker starts and open as long as the job, as the worker removes the file at its
/// end, and may be done before the daemon looks.
pub(super) fn create(staging: &Path) -> io::Result<File> {
    std::fs::create_dir_all(staging.join(SCRATCH))?;
    File::options().read(true).write(true).create(true).truncate(true).open(path(staging))
}

/// A file that can't be read, or that a plugin wrote to, says what stands before that.
pub(super) fn read(file: &File) -> Calls {
    let mut bytes = vec![0; file.metadata().map_or(0, |meta| meta.len()).min(BYTES_MAX) as usize];
    let mut calls = Calls::default();
    if file.read_exact_at(&mut bytes, 0).is_err() {
        return calls;
    }
    let mut rest = bytes.as_slice();
    while let Some((len, behind)) = rest.split_first_chunk::<4>() {
        let len = u32::from_le_bytes(*len);
        let Some((call, behind)) = behind.split_at_checked((len & !LEFT) as usize) else { break };
        let Ok(call) = serde_json::from_slice(call) else { break };
        if len & LEFT != 0 {
            calls.left = Some(call);
            break;
        }
        calls.going_on.push(call);
        rest = behind;
    }
    calls
}

/// The calls that go on in the worker of this staging directory, the innermost last; none before it is in any.
pub fn calls_of(staging: &Path) -> Vec<Entered> {
    File::open(path(staging)).map_or(Vec::new(), |file| read(&file).going_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(at: &str) -> Entered {
        Entered { plugin: "p".into(), call: "lower".into(), at: at.into() }
    }

    #[test]
    fn calls_nest_and_are_left() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(calls_of(dir.path()), []);
        let seen = create(dir.path()).unwrap();
        let mut trail = Trail::open(dir.path()).unwrap();
        trail.enter(&call("outer")).unwrap();
        trail.enter(&call("a longer name")).unwrap();
        assert_eq!(calls_of(dir.path()), [call("outer"), call("a longer name")]);
        trail.leave().unwrap();
        trail.enter(&call("b")).unwrap();
        assert_eq!(calls_of(dir.path()), [call("outer"), call("b")]);
        trail.leave().unwrap();
        assert_eq!(read(&seen), Calls { going_on: vec![call("outer")], left: Some(call("b")) });
        trail.leave().unwrap();
        assert_eq!(calls_of(dir.path()), []);
        trail.leave().unwrap();
        trail.enter(&call("again")).unwrap();
        assert_eq!(calls_of(dir.path()), [call("again")]);
    }

    #[test]
    fn a_file_that_a_plugin_wrote_to_ends_where_it_makes_no_sense() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path()).unwrap();
        let mut trail = Trail::open(dir.path()).unwrap();
        trail.enter(&call("a")).unwrap();
        io::Write::write_all(&mut trail.file, &[255; 64]).unwrap();
        assert_eq!(calls_of(dir.path()), [call("a")]);
        for junk in [&[255; 8][..], b"\x02\0\0\0{]", b"\x09\0\0\0{}", b"\x01"] {
            trail.file.write_all_at(junk, trail.end()).unwrap();
            assert_eq!(calls_of(dir.path()), [call("a")]);
        }
    }
}
