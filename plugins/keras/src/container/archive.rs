//! The `.keras` format: a zip of
//!
//! | member | holds |
//! |---|---|
//! | `metadata.json` | `{"keras_version", "date_saved"}` |
//! | `config.json` | the architecture, with `build_config` and `compile_config` |
//! | `model.weights.h5` | the weights (`weights::tree`) |
//! | `assets/` | vocabularies |
//!
//! Keras stores members without compression, so the weights are read where they lie in the mapped file.

use super::h5::{self, Input};
use crate::config::Version;
use crate::hdf5::with_file;
use crate::io::{Files, INFLATION_MAX, Limits, TENSOR_BYTES_MAX};
use crate::json;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::model::LayerModel;
use serde_json::Value;
use std::borrow::Cow;
use std::io::{Cursor, Read};
use zip::ZipArchive;
use zip::result::ZipError;

pub const FORMAT: &str = "keras-v3";
pub const MAGIC: [u8; 4] = *b"PK\x03\x04";
/// Members of one archive.
const MEMBERS_MAX: usize = 10_000;
const WEIGHTS: &str = "model.weights.h5";

type Zip<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// A member, and where its bytes begin in the archive when they are stored plainly.
struct Member<'a> {
    bytes: Cow<'a, [u8]>,
    start: Option<u64>,
}

pub fn read(path: &str, bytes: &[u8], limits: &Limits, files: &mut Files<'_, '_>) -> Result<LayerModel, Findings> {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| malformed(path, &error))?;
    if zip.len() > MEMBERS_MAX {
        let detail = format!("{} members, the bound is {MEMBERS_MAX}", zip.len());
        return Err(Diag::new(Code::LimitExceeded, path, detail).into());
    }
    let config = parsed(&mut zip, bytes, "config.json", limits)?;
    let metadata = parsed(&mut zip, bytes, "metadata.json", limits)?;
    let stated = metadata.get("keras_version").and_then(Value::as_str).unwrap_or("3");
    if config.get("compile_config").is_some_and(|compiled| !compiled.is_null()) {
        let detail = "optimizer, loss and metrics are not carried over";
        files.io().report(&Diag::new(Code::TrainingDropped, "compile_config", detail).note());
    }
    let version = Version::parse(stated);
    if zip.index_for_name(WEIGHTS).is_none() {
        return Err(no_weights(&zip).into());
    }
    let member = member(&mut zip, bytes, WEIGHTS, TENSOR_BYTES_MAX)?;
    // Arrays of a member that had to be decoded lie in the scratch file, behind each other as in the member.
    let place = match member.start {
        Some(start) => (files.number(path), start),
        None => files.put(WEIGHTS, &member.bytes)?,
    };
    let input = Input { place, bytes: &member.bytes, architecture: Some(config), limits };
    with_file(&member.bytes, WEIGHTS, |file| h5::read_tree(&input, file, version, files))
}

fn malformed(at: &str, error: &ZipError) -> Diag {
    Diag::new(Code::Malformed, at, format!("zip: {error}"))
}

fn no_weights(zip: &Zip<'_>) -> Diag {
    let other = zip.file_names().find(|name| name.starts_with("model.weights."));
    match other {
        Some(name) => Diag::new(Code::UnsupportedContainer, name, "weights in a form that is not read yet")
            .hint("save the model again with `model.save(\"model.keras\")`"),
        None => Diag::new(Code::Malformed, WEIGHTS, "the archive holds no weights"),
    }
}

fn parsed(zip: &mut Zip<'_>, bytes: &[u8], name: &str, limits: &Limits) -> Result<Value, Diag> {
    let member = member(zip, bytes, name, limits.json_bytes)?;
    json::parse(&member.bytes, name, limits)
}

fn member<'a>(zip: &mut Zip<'_>, bytes: &'a [u8], name: &str, most: u64) -> Result<Member<'a>, Diag> {
    let mut file = zip.by_name(name).map_err(|error| match error {
        ZipError::FileNotFound => Diag::new(Code::Malformed, name, "the archive does not hold this member"),
        error => malformed(name, &error),
    })?;
    let (size, packed) = (file.size(), file.compressed_size());
    if file.compression() == zip::CompressionMethod::Stored {
        let start = file.data_start();
        let end = start.checked_add(size).filter(|_| size == packed).and_then(|end| usize::try_from(end).ok());
        let stored = end.and_then(|end| bytes.get(start as usize..end));
        let stored = stored.ok_or_else(|| Diag::new(Code::Malformed, name, "the member ends behind the file"))?;
        // The bound on decoded bytes does not matter here, that on JSON is checked by its reader.
        return Ok(Member { bytes: Cow::Borrowed(stored), start: Some(start) });
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
    Ok(Member { bytes: Cow::Owned(decoded), start: None })
}
