//! What a worker prints: lines for the log, and the last of them for the report.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};

/// Lines that a report of a crash shows.
const TAIL_LINES: usize = 12;
const LINE_BYTES_MAX: usize = 500;
/// What one job may put into the log; the rest is read and dropped, so that nobody waits for a full pipe.
const FORWARDED_BYTES_MAX: usize = 1 << 20;
/// Pieces of a pipe or a channel that are read at once: who writes without end must not keep us from looking at the
/// time.
pub(super) const READS_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Printed {
    line: Vec<u8>,
    /// The rest of a line that was too long.
    skipping: bool,
    tail: VecDeque<String>,
    forwarded: usize,
}

impl Printed {
    /// Takes what the pipe has now; false when no more will come. It does not block.
    pub(super) fn read(&mut self, mut pipe: &File, mut log: impl FnMut(&str)) -> io::Result<bool> {
        let mut chunk = [0; 16 << 10];
        for _ in 0..READS_MAX {
            match pipe.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(read) => self.push(&chunk[..read], &mut log),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Bytes of the pipe; `log` gets each whole line that may still be logged.
    pub(super) fn push(&mut self, bytes: &[u8], mut log: impl FnMut(&str)) {
        for &byte in bytes {
            if byte == b'\n' {
                self.end_line(&mut log);
                self.skipping = false;
            } else if !self.skipping {
                self.line.push(byte);
                if self.line.len() == LINE_BYTES_MAX {
                    self.end_line(&mut log);
                    self.skipping = true;
                }
            }
        }
    }

    /// The last line may lack its end.
    pub(super) fn finish(&mut self, mut log: impl FnMut(&str)) {
        self.end_line(&mut log);
    }

    fn end_line(&mut self, log: &mut impl FnMut(&str)) {
        let line = printable(&std::mem::take(&mut self.line));
        if line.is_empty() {
            return;
        }
        self.remember(&line);
        self.forward(&line, log);
    }

    /// Into the log, unless too much of this job is there.
    pub(super) fn forward(&mut self, line: &str, log: &mut impl FnMut(&str)) {
        if self.forwarded > FORWARDED_BYTES_MAX {
            return;
        }
        self.forwarded += line.len();
        log(line);
        if self.forwarded > FORWARDED_BYTES_MAX {
            log("(this worker prints or logs too much; the rest is not logged)");
        }
    }

    pub(super) fn remember(&mut self, line: &str) {
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }

    pub(super) fn tail(&self) -> impl Iterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }
}

/// Somebody else's bytes, safe for a terminal.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_harmless() {
        let (mut printed, mut lines) = (Printed::default(), Vec::new());
        printed.push(b"one\n\x1b[31mtw", |line| lines.push(line.to_owned()));
        printed.push(&[b'x'; 2000], |line| lines.push(line.to_owned()));
        printed.push(b"\nlast", |line| lines.push(line.to_owned()));
        printed.finish(|line| lines.push(line.to_owned()));
        assert_eq!((lines[0].as_str(), lines[1].len(), lines[2].as_str()), ("one", LINE_BYTES_MAX, "last"));
        assert!(!lines[1].contains('\x1b'));
    }

    #[test]
    fn a_flood_is_not_logged_but_its_end_is_remembered() {
        let (mut printed, mut count) = (Printed::default(), 0);
        for number in 0..100_000 {
            printed.push(format!("line {number} of a flood\n").as_bytes(), |_| count += 1);
        }
        assert!(count < 100_000);
        assert_eq!(printed.tail().last(), Some("line 99999 of a flood"));
        assert_eq!(printed.tail().count(), TAIL_LINES);
    }
}
