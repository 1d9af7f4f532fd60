//! Which plugin calls are going on, in a file that outlives the worker: who is to blame when it dies.
//!
//! A file and no messages: a model of a thousand layers makes thousands of calls, and each message would wake the
//! daemon. The worker writes to it through a mapping: what it stored there outlives it, and costs no system call. The
//! calls lie behind each other, the innermost last:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the call, little-endian; 0 behind the last one; the highest bit is set in one that was left |
//! | n | the call, JSON |

use crate::pipeline::SCRATCH;
use memmap2::MmapMut;
use rustix::io::{Errno, fcntl_getfd};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const NAME: &str = "calls";
/// Length of the file. A call that would end behind it is not told.
const BYTES: usize = 128 << 10;
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
    map: MmapMut,
    /// Tells whether a plugin closed what is not its own. Read-only: some write to whatever is open.
    witness: File,
    closed: bool,
    /// Where each call begins, and its length.
    calls: Vec<(usize, u32)>,
    /// Empty between calls of `enter`.
    entry: Vec<u8>,
}

impl Trail {
    pub(super) fn open(staging: &Path) -> io::Result<Trail> {
        let file = File::options().read(true).write(true).open(path(staging))?;
        // SAFETY: the file has its length, and its blocks, since it was made; the daemon only reads it.
        let map = unsafe { MmapMut::map_mut(&file)? };
        Ok(Trail { map, witness: File::open(path(staging))?, closed: false, calls: Vec::new(), entry: Vec::new() })
    }

    pub(super) fn enter(&mut self, call: &Entered) -> io::Result<()> {
        if self.closed {
            return Err(Errno::BADF.into());
        }
        self.entry.clear();
        serde_json::to_writer(&mut self.entry, call)?;
        let (begin, len) = (self.end(), self.entry.len());
        self.calls.push((begin, len as u32));
        let room = self.map.get_mut(begin..).and_then(|room| room.get_mut(..len + 8));
        let (head, text) = room.and_then(|room| room.split_first_chunk_mut::<4>()).ok_or(io::ErrorKind::StorageFull)?;
        // The length last: a call that stands there is whole.
        head.fill(0);
        text[..len].copy_from_slice(&self.entry);
        text[len..].fill(0);
        *head = (len as u32).to_le_bytes();
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        // The worker will end for want of its channel, some calls later: for the report, it is this one that goes on.
        self.closed |= fcntl_getfd(&self.witness).is_err();
        if self.closed {
            return;
        }
        let Some((begin, len)) = self.calls.pop() else { return };
        if let Some(head) = self.map.get_mut(begin..).and_then(|room| room.first_chunk_mut::<4>()) {
            *head = (len | LEFT).to_le_bytes();
        }
    }

    fn end(&self) -> usize {
        self.calls.last().map_or(0, |&(begin, len)| begin + 4 + len as usize)
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
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path(staging))?;
    // Written, so that it has its place: where the disk is full, a store to a page without one would kill the worker.
    file.write_all_at(&[0; BYTES], 0)?;
    Ok(file)
}

/// A file that can't be read, or that a plugin wrote to, says what stands before that.
pub(super) fn read(file: &File) -> Calls {
    let mut bytes = vec![0; file.metadata().map_or(0, |meta| meta.len()).min(BYTES as u64) as usize];
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
    use std::os::fd::FromRawFd;

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
        trail.leave();
        trail.enter(&call("b")).unwrap();
        assert_eq!(calls_of(dir.path()), [call("outer"), call("b")]);
        trail.leave();
        assert_eq!(read(&seen), Calls { going_on: vec![call("outer")], left: Some(call("b")) });
        trail.leave();
        assert_eq!(calls_of(dir.path()), []);
        trail.leave();
        trail.enter(&call("again")).unwrap();
        assert_eq!(calls_of(dir.path()), [call("again")]);
    }

    #[test]
    fn a_file_that_a_plugin_wrote_to_ends_where_it_makes_no_sense() {
        let dir = tempfile::tempdir().unwrap();
        let file = create(dir.path()).unwrap();
        let mut trail = Trail::open(dir.path()).unwrap();
        trail.enter(&call("a")).unwrap();
        for junk in [&[255; 8][..], b"\x02\0\0\0{]", b"\x09\0\0\0{}", b"\x01"] {
            file.write_all_at(junk, trail.end() as u64).unwrap();
            assert_eq!(calls_of(dir.path()), [call("a")]);
        }
        // Cut short, too, though then the next call would be the worker's last.
        file.set_len(2).unwrap();
        assert_eq!(calls_of(dir.path()), []);
    }

    #[test]
    fn who_closes_every_file_stays_in_its_call() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path()).unwrap();
        let mut trail = Trail::open(dir.path()).unwrap();
        trail.enter(&call("a")).unwrap();
        trail.leave();
        trail.enter(&call("closes")).unwrap();
        // SAFETY: nobody has so many files open, and it is given up before it could be closed.
        let closed = unsafe { File::from_raw_fd(1 << 30) };
        let witness = std::mem::replace(&mut trail.witness, closed);
        trail.leave();
        std::mem::forget(std::mem::replace(&mut trail.witness, witness));
        trail.enter(&call("next")).unwrap_err();
        trail.leave();
        assert_eq!(calls_of(dir.path()), [call("closes")]);
    }

    #[test]
    fn a_call_for_which_there_is_no_room_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path()).unwrap();
        let mut trail = Trail::open(dir.path()).unwrap();
        trail.enter(&call("a")).unwrap();
        trail.enter(&call(&"b".repeat(BYTES))).unwrap_err();
        trail.enter(&call("inside")).unwrap_err();
        assert_eq!(calls_of(dir.path()), [call("a")]);
        trail.leave();
        trail.leave();
        trail.enter(&call("c")).unwrap();
        assert_eq!(calls_of(dir.path()), [call("a"), call("c")]);
    }
}
