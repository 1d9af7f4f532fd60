//! SHA-256 of what goes in and out. A file's digest is that of its bytes. A directory's digest is that of the lines
//! `<hex digest of the file>  <path inside the directory>\n`, sorted by path: what
//! `find . -type f -printf '%P\n' | LC_ALL=C sort | xargs sha256sum | sha256sum` prints, so anybody can repeat it.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::tree::{self, Bounds, Trouble};

/// One read of a file that is hashed: large enough that the system calls do not show, small enough that it is still in
/// the processor's cache when it is hashed, and written.
pub const CHUNK_BYTES: usize = 64 << 10;

/// Digits of the content digest that name a bundle's directory.
pub const SHORT_HEX_LEN: usize = 12;

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Digest and length of everything that `reader` yields.
pub fn of_reader(reader: &mut impl Read) -> io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0u8; CHUNK_BYTES];
    let mut bytes = 0u64;
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok((hex(&hasher.finalize()), bytes)),
            Ok(n) => {
                hasher.update(&chunk[..n]);
                bytes += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Digest of one regular file; a symlink is refused, not followed.
pub fn of_file(path: &Path) -> io::Result<(String, u64)> {
    let mut file = tree::open_file(path)?;
    of_reader(&mut file)
}

/// The content digest of an artifact: see the head of this module.
pub fn of_artifact(path: &Path, bounds: &Bounds) -> Result<String, Trouble> {
    let survey = tree::survey_path(path, bounds)?;
    if !survey.is_dir {
        return Ok(of_file(path)?.0);
    }
    let mut files = Vec::new();
    for node in survey.nodes.iter().filter(|node| !node.is_dir) {
        files.push((node.path.clone(), of_file(&path.join(&node.path))?.0));
    }
    Ok(of_listing(&mut files))
}

/// The directory digest of files that were hashed already.
pub fn of_listing(files: &mut [(PathBuf, String)]) -> String {
    files.sort_by(|a, b| a.0.as_os_str().as_bytes().cmp(b.0.as_os_str().as_bytes()));
    let mut hasher = Sha256::new();
    for (path, digest) in files {
        hasher.update(digest.as_bytes());
        hasher.update(b"  ");
        hasher.update(path.as_os_str().as_bytes());
        hasher.update(b"\n");
    }
    hex(&hasher.finalize())
}

/// Copies `from` into `into` and hashes what was written, in one pass over the data.
pub fn copy_hashed(from: &mut File, into: &mut File, bytes_max: u64) -> io::Result<(String, u64)> {
    // A clone shares the blocks and is a snapshot: what is hashed afterwards is exactly what the worker will read.
    if rustix::fs::ioctl_ficlone(&*into, &*from).is_ok() {
        return of_reader(into);
    }
    let mut hasher = Sha256::new();
    let mut chunk = vec![0u8; CHUNK_BYTES];
    let mut bytes = 0u64;
    loop {
        let n = match from.read(&mut chunk) {
            Ok(0) => return Ok((hex(&hasher.finalize()), bytes)),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes += n as u64;
        if bytes > bytes_max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file grew while it was copied"));
        }
        hasher.update(&chunk[..n]);
        io::Write::write_all(into, &chunk[..n])?;
    }
}

pub fn is_sha256_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_digest_is_what_the_shell_computes() {
        let a = of_bytes(b"one");
        let b = of_bytes(b"two");
        let mut files = vec![(PathBuf::from("b/x"), b.clone()), (PathBuf::from("a"), a.clone())];
        assert_eq!(of_listing(&mut files), of_bytes(format!("{a}  a\n{b}  b/x\n").as_bytes()));
    }

    #[test]
    fn hex_is_checked_strictly() {
        assert!(is_sha256_hex(&of_bytes(b"")));
        assert!(!is_sha256_hex(&of_bytes(b"").to_uppercase()));
        assert!(!is_sha256_hex("abc"));
    }
}
