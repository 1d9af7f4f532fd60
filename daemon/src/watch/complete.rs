//! Is a file all there, by the rules of its own format? A pause in an upload looks like its end to every clock; these
//! formats say how long they are.
//!
//! | format | begins with | is complete when |
//! |---|---|---|
//! | zip (.keras, .npz) | `PK\x03\x04` | an end record stands at the very end, and its directory lies before it |
//! | HDF5 | `\x89HDF\r\n\x1a\n` | the file is as long as the superblock's end-of-file address says |
//! | SavedModel | `saved_model.pb` in a directory | see `saved_model` |
//! | TensorFlow.js | `model.json` in a directory | see `tfjs` |
//!
//! Only that is judged here: a complete file may still be nonsense, which is for its reader to say.

use rustix::fs::SeekFrom;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Once;

/// Bytes of a zip end record without its comment, and of the longest comment.
const ZIP_END_BYTES: u64 = 22;
const ZIP_COMMENT_BYTES_MAX: u64 = u16::MAX as u64;

/// Longest superblock prefix that is read.
const SUPERBLOCK_BYTES: usize = 64;

const HDF5_MAGIC: &[u8; 8] = b"\x89HDF\r\n\x1a\n";
const ZIP_MAGIC: &[u8; 4] = b"PK\x03\x04";
const ZIP_END_MAGIC: &[u8; 4] = b"PK\x05\x06";

/// `Some` says what is still missing. A model can't be empty nor begin with zeros; a part of one can be both: an empty
/// asset, a shard of biases.
pub fn missing(file: &File, size: u64, is_part: bool) -> io::Result<Option<String>> {
    if size == 0 {
        return Ok((!is_part).then(|| "it is empty".to_owned()));
    }
    let mut head = [0u8; SUPERBLOCK_BYTES];
    let read = read_some(file, &mut head, 0)?;
    let head = &head[..read];
    if head.starts_with(ZIP_MAGIC) {
        return zip_missing(file, size);
    }
    if head.starts_with(HDF5_MAGIC) {
        return Ok(hdf5_missing(head, size));
    }
    if !is_part && head.iter().all(|byte| *byte == 0) {
        // Reserved, not written.
        return Ok(Some("its beginning is not written".to_owned()));
    }
    Ok(None)
}

fn read_some(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(&mut into[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

fn zip_missing(file: &File, size: u64) -> io::Result<Option<String>> {
    let tail_bytes = size.min(ZIP_END_BYTES + ZIP_COMMENT_BYTES_MAX);
    let mut tail = vec![0u8; tail_bytes as usize];
    let read = read_some(file, &mut tail, size - tail_bytes)?;
    let tail = &tail[..read];
    let start = size - tail_bytes;
    let ends = (0..tail.len().saturating_sub(ZIP_END_BYTES as usize - 1)).rev().any(|at| {
        let record = &tail[at..];
        if !record.starts_with(ZIP_END_MAGIC) {
            return false;
        }
        let comment = little_endian(&record[20..22]);
        let (directory_bytes, directory_at) = (little_endian(&record[12..16]), little_endian(&record[16..20]));
        let here = start + at as u64;
        // All ones: the true numbers are in the zip64 record, which lies before this one.
        let zip64 = directory_at == u64::from(u32::MAX) || directory_bytes == u64::from(u32::MAX);
        here + ZIP_END_BYTES + comment == size && (zip64 || directory_at + directory_bytes <= here)
    });
    Ok(if ends { None } else { Some("a zip file without its end record".to_owned()) })
}

/// `end` is an absolute address, whatever the base address is.
fn hdf5_missing(head: &[u8], size: u64) -> Option<String> {
    let short = || Some("an HDF5 file that ends inside its superblock".to_owned());
    let Some(&version) = head.get(8) else { return short() };
    let (width_at, addresses_at, index) = match version {
        0 => (13, 24, 2),
        1 => (13, 28, 2),
        2 | 3 => (9, 12, 2),
        // Unknown: its reader will say so.
        _ => return None,
    };
    let Some(&width) = head.get(width_at) else { return short() };
    let width = usize::from(width);
    if !matches!(width, 2 | 4 | 8) {
        return None;
    }
    let at = addresses_at + index * width;
    let Some(bytes) = head.get(at..at + width) else { return short() };
    let end = little_endian(bytes);
    (size < end).then(|| format!("an HDF5 file of {size} bytes that says it has {end}"))
}

/// Parts of the file that were reserved and never written. Legal, but the mark of a writer that sets the size first.
pub fn has_hole(file: &File, size: u64) -> bool {
    rustix::fs::seek(file, SeekFrom::Hole(0)).is_ok_and(|at| at < size)
}

/// Has somebody the file open for writing, or mapped? Only evidence: network file systems and other users' files don't
/// tell.
pub fn has_writer(file: &File) -> bool {
    static NO_SIGNAL: Once = Once::new();
    // Who opens the file while we hold the lease makes the kernel tell us by a signal, which would end the process.
    // SAFETY: ignoring a signal runs no code of ours.
    NO_SIGNAL.call_once(|| unsafe {
        libc::signal(libc::SIGIO, libc::SIG_IGN);
    });
    // SAFETY: fcntl on a descriptor that is open for both calls; the lease is given back at once.
    unsafe {
        if libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) == 0 {
            libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK);
            return false;
        }
    }
    io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn superblock(version: u8, end: u64) -> Vec<u8> {
        let mut head = HDF5_MAGIC.to_vec();
        match version {
            0 | 1 => {
                head.extend([version, 0, 0, 0, 0, 8, 8, 0, 4, 0, 16, 0, 0, 0, 0, 0]);
                if version == 1 {
                    head.extend([32, 0, 0, 0]);
                }
                head.extend(0u64.to_le_bytes());
                head.extend(u64::MAX.to_le_bytes());
            }
            _ => {
                head.extend([version, 8, 8, 0]);
                head.extend(0u64.to_le_bytes());
                head.extend(u64::MAX.to_le_bytes());
            }
        }
        head.extend(end.to_le_bytes());
        head
    }

    fn check(bytes: &[u8]) -> Option<String> {
        let mut file = tempfile().unwrap();
        file.write_all(bytes).unwrap();
        missing(&file, bytes.len() as u64, false).unwrap()
    }

    fn tempfile() -> io::Result<File> {
        let dir = std::env::temp_dir();
        let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR;
        Ok(File::from(rustix::fs::open(dir, flags, rustix::fs::Mode::from_raw_mode(0o600))?))
    }

    #[test]
    fn hdf5_says_its_own_length_in_every_superblock() {
        for version in 0..=3 {
            let mut bytes = superblock(version, 96);
            bytes.resize(95, 7);
            assert!(check(&bytes).is_some(), "version {version}");
            bytes.push(7);
            assert_eq!(check(&bytes), None, "version {version}");
            assert!(check(&bytes[..20]).is_some(), "version {version}");
        }
    }

    #[test]
    fn a_zip_file_ends_with_its_end_record() {
        let mut zip = b"PK\x03\x04rest of a member".to_vec();
        let directory_at = zip.len() as u32;
        zip.extend(b"PK\x01\x02directory");
        let directory_bytes = zip.len() as u32 - directory_at;
        zip.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
        zip.extend(directory_bytes.to_le_bytes());
        zip.extend(directory_at.to_le_bytes());
        zip.extend([0, 0]);
        assert_eq!(check(&zip), None);
        assert!(check(&zip[..zip.len() - 1]).is_some());
        let mut padded = zip.clone();
        padded.extend([0; 100]);
        assert!(check(&padded).is_some(), "a file that was reserved in full and not yet written to its end");
        let mut commented = zip.clone();
        let length_at = commented.len() - 2;
        commented[length_at] = 5;
        commented.extend(b"hello");
        assert_eq!(check(&commented), None);
    }

    #[test]
    fn what_is_not_begun_is_not_complete() {
        assert!(check(b"").is_some());
        assert!(check(&[0; 4096]).is_some());
        assert_eq!(check(b"anything else"), None);
    }
}
