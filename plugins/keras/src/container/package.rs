//! The members of a `.keras`: of a zip, or of a directory that holds the same files. Nothing is ever unpacked: a member
//! is read where it lies, by a name that this plugin asks for.

use crate::hdf5::join;
use crate::io::{Files, INFLATION_MAX};
use recast_plugin_api::diag::{Code, Diag};
use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{Cursor, Read};
use zip::ZipArchive;
use zip::result::ZipError;

/// Members of one archive.
pub const MEMBERS_MAX: usize = 10_000;

pub struct Package<'a> {
    /// Of files alone, with `/`.
    pub names: Vec<String>,
    held: Held<'a>,
}

enum Held<'a> {
    Zip { zip: RefCell<ZipArchive<Cursor<&'a [u8]>>>, bytes: &'a [u8], path: String },
    Directory { base: String },
}

/// A member, and where its bytes begin in a file of the artifact when they are stored there as they are.
pub struct Member<'a> {
    pub bytes: Cow<'a, [u8]>,
    pub place: Option<(u32, u64)>,
}

impl<'a> Package<'a> {
    pub fn zip(path: &str, bytes: &'a [u8]) -> Result<Package<'a>, Diag> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| malformed(path, &error))?;
        let names: Vec<String> = zip.file_names().filter(|name| !name.ends_with('/')).map(str::to_owned).collect();
        bounded(path, zip.len())?;
        Ok(Package { names, held: Held::Zip { zip: RefCell::new(zip), bytes, path: path.to_owned() } })
    }

    /// `files` are relative to `base`.
    pub fn directory(base: &str, files: &[String]) -> Result<Package<'a>, Diag> {
        bounded(base, files.len())?;
        Ok(Package { names: files.to_vec(), held: Held::Directory { base: base.to_owned() } })
    }

    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// `most` bounds what is decoded; a member that is stored as it is costs no memory.
    pub fn member(&self, name: &str, most: u64, files: &mut Files<'_, 'a>) -> Result<Member<'a>, Diag> {
        if !self.has(name) {
            return Err(Diag::new(Code::Malformed, name, "the archive does not hold this member"));
        }
        match &self.held {
            Held::Directory { base } => {
                let path = join(base, name);
                let bytes = Cow::Borrowed(files.io().map(&path)?);
                Ok(Member { bytes, place: Some((files.number(&path), 0)) })
            }
            Held::Zip { zip, bytes, path } => {
                zipped(&mut zip.borrow_mut(), bytes, name, most, |start| (files.number(path), start))
            }
        }
    }
}

fn bounded(at: &str, len: usize) -> Result<(), Diag> {
    if len > MEMBERS_MAX {
        return Err(Diag::new(Code::LimitExceeded, at, format!("{len} members, the bound is {MEMBERS_MAX}")));
    }
    Ok(())
}

fn malformed(at: &str, error: &ZipError) -> Diag {
    Diag::new(Code::Malformed, at, format!("zip: {error}"))
}

fn zipped<'a>(
    zip: &mut ZipArchive<Cursor<&'a [u8]>>,
    bytes: &'a [u8],
    name: &str,
    most: u64,
    place: impl FnOnce(u64) -> (u32, u64),
) -> Result<Member<'a>, Diag> {
    let mut file = zip.by_name(name).map_err(|error| malformed(name, &error))?;
    let (size, packed) = (file.size(), file.compressed_size());
    if file.compression() == zip::CompressionMethod::Stored {
        let start = file.data_start();
        let end = start.checked_add(size).filter(|_| size == packed).and_then(|end| usize::try_from(end).ok());
        let stored = end.and_then(|end| bytes.get(start as usize..end));
        let stored = stored.ok_or_else(|| Diag::new(Code::Malformed, name, "the member ends behind the file"))?;
        // The bound on decoded bytes does not matter here, that on JSON is checked by its reader.
        return Ok(Member { bytes: Cow::Borrowed(stored), place: Some(place(start)) });
    }
    if size > most || size > packed.saturating_mul(INFLATION_MAX) {
        let detail = format!("a member of {packed} bytes that declares {size}, the bound is {most}");
        return Err(Diag::new(Code::LimitExceeded, name, detail));
    }
    let mut decoded = Vec::new();
    let read = file.by_ref().take(size + 1).read_to_end(&mut decoded);
    read.map_err(|error| Diag::new(Code::Malformed, name, format!("zip: {error}")))?;
    if decoded.len() as u64 != size {
        return Err(Diag::new(Code::Malformed, name, format!("{size} bytes declared, {} found", decoded.len())));
    }
    Ok(Member { bytes: Cow::Owned(decoded), place: None })
}
