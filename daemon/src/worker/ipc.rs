//! Frames between daemon and worker.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the message, little-endian, at most `FRAME_BYTES_MAX` |
//! | n | the message, JSON |

use crate::job::{CommandRequest, JobReport, JobSpec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// A report with the text of a large graph in it stays well below.
pub const FRAME_BYTES_MAX: usize = 256 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToWorker {
    Start {
        spec: Box<JobSpec>,
        /// Process id of the daemon: a worker whose parent is somebody else was orphaned before it could notice.
        parent: u32,
        /// `off`, `error`, ... `trace`: what of the log is worth sending.
        log_level: String,
        /// Instead of the pipeline: a case of the conformance kit.
        #[serde(default)]
        case: Option<String>,
    },
    /// A command that was asked for has ended; why not well, where it did not.
    Ran { failure: Option<String> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromWorker {
    /// What of the sandbox this kernel does not give; empty when all of it holds.
    Sandboxed {
        missing: Vec<String>,
    },
    Stage {
        name: String,
    },
    Progress {
        done: u64,
        total: u64,
        what: String,
    },
    Log {
        level: String,
        target: String,
        plugin: Option<String>,
        message: String,
    },
    /// Asks for a configured command to be run, and waits for `Ran`.
    Run {
        request: CommandRequest,
    },
    /// The last message.
    Done {
        report: Box<JobReport>,
    },
}

pub fn write_frame(into: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let len = frame.len() - 4;
    if len > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {len} bytes")));
    }
    frame[..4].copy_from_slice(&(len as u32).to_le_bytes());
    // One write: a worker that dies leaves whole messages or none, as far as the socket's buffer goes.
    into.write_all(&frame)
}

/// Reads one frame, waiting for it.
pub(super) fn read_frame<M: DeserializeOwned>(from: &mut impl Read) -> io::Result<M> {
    let mut frames = Frames::default();
    let mut chunk = [0; 4096];
    loop {
        if let Some(message) = frames.next_message().map_err(io::Error::other)? {
            return Ok(message);
        }
        match from.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => frames.push(&chunk[..read]),
        }
    }
}

/// Frames out of bytes as they come.
#[derive(Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// Bytes before it are consumed.
    begin: usize,
}

impl Frames {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.begin);
        self.begin = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message; none when more bytes have to come. An error is junk: nothing after it can be read.
    pub fn next_message<M: DeserializeOwned>(&mut self) -> Result<Option<M>, String> {
        let rest = &self.bytes[self.begin..];
        let Some((head, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_le_bytes(*head) as usize;
        if len > FRAME_BYTES_MAX {
            return Err(format!("a message of {len} bytes is announced"));
        }
        let Some(message) = rest.get(..len) else { return Ok(None) };
        let message = serde_json::from_slice(message).map_err(|e| format!("a message that is none: {e}"))?;
        self.begin += 4 + len;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage() -> FromWorker {
        FromWorker::Stage { name: "read".into() }
    }

    fn framed() -> Vec<u8> {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &stage()).unwrap();
        bytes
    }

    #[test]
    fn frames_come_whole_however_the_bytes_come() {
        let bytes = [framed(), framed()].concat();
        for step in 1..bytes.len() {
            let mut frames = Frames::default();
            let mut count = 0;
            for piece in bytes.chunks(step) {
                frames.push(piece);
                while let Some(message) = frames.next_message::<FromWorker>().unwrap() {
                    assert_eq!(message, stage());
                    count += 1;
                }
            }
            assert_eq!(count, 2, "in steps of {step}");
        }
    }

    #[test]
    fn junk_is_an_error_and_needs_no_memory() {
        let mut frames = Frames::default();
        frames.push(&u32::MAX.to_le_bytes());
        assert!(frames.next_message::<FromWorker>().unwrap_err().contains("announced"));
        let mut frames = Frames::default();
        frames.push(b"\x04\0\0\0junk");
        assert!(frames.next_message::<FromWorker>().is_err());
    }
}
