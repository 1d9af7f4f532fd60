//! The keras plugin: reads what Keras saved, of any version, without Keras, and writes it for today's.
//!
//! `container` finds the architecture and the arrays in a file, `config` makes layers and calls of the architecture,
//! `weights` gives each array to its layer. `write` goes the way back. The plugin executes no code of a model and
//! follows no link out of its file.

pub mod array;
mod beside;
pub mod container;
pub mod hdf5;
pub mod weights;
pub mod write;

pub use recast_keras_model::{config, io, json};

use container::package::Package;
use container::{archive, h5, tfjs};
use io::{Files, Io, Limits};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::messages::{Caps, ReadRequest, WriteRequest};
use recast_plugin_api::model::LayerModel;
use recast_plugin_api::plugin::{Format, ReadCx, SampleFile, Source, Target, WriteCx};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What decides what a file is.
const HEAD_BYTES: usize = 4096;

const SHARD_MAP: &[u8] = b"\"weight_map\"";

pub struct Keras;

impl Source for Keras {
    const FORMATS: &'static [Format] = &[
        Format { name: h5::FORMAT, suffixes: &[".h5", ".hdf5", ".keras"], magic: &hdf5::SIGNATURE },
        Format { name: archive::FORMAT, suffixes: &[".keras"], magic: &archive::MAGIC },
        Format { name: tfjs::FORMAT, suffixes: &["model.json"], magic: &tfjs::MAGIC },
    ];

    fn probe(&self, head: &[u8], name: &str) -> u8 {
        let named = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
        match head {
            _ if head.starts_with(&hdf5::SIGNATURE) => {
                if named(&[".h5", ".hdf5", ".keras"]) {
                    90
                } else {
                    50
                }
            }
            // Many things are zip archives.
            _ if head.starts_with(&archive::MAGIC) && named(&[".keras"]) => 95,
            _ if name.ends_with(".json") && tfjs::is_topology(head) => 80,
            _ if is_shard_map(name, head) => 80,
            // A directory: its listing.
            _ if lists(head, archive::CONFIG) && lists(head, archive::METADATA) => 70,
            _ if lists(head, tfjs::FILE) && !lists(head, "saved_model.pb") => 60,
            _ => 0,
        }
    }

    fn read(&self, cx: &ReadCx<'_>, request: &ReadRequest) -> Result<LayerModel, Findings> {
        read(cx, request)
    }

    fn samples(&self) -> Vec<SampleFile> {
        let sample = |name: &str, bytes: &[u8]| SampleFile { name: name.into(), bytes: bytes.into() };
        vec![
            sample("dense.h5", include_bytes!("../samples/dense.h5")),
            sample("shared_dense.keras", include_bytes!("../samples/shared_dense.keras")),
        ]
    }
}

/// The way back.
pub struct Writer;

impl Target for Writer {
    const TARGETS: &'static [&'static str] = write::TARGETS;

    fn capabilities(&self) -> Vec<Caps> {
        write::caps()
    }

    fn write(&self, cx: &WriteCx<'_>, target: &str, request: &WriteRequest) -> Result<(), Findings> {
        write::write(cx, target, request)
    }
}

recast_plugin_api::export_plugin! {
    id: "dev.recast.keras",
    name: "Keras model files",
    source: Keras,
    target: Writer,
}

/// The source without its boundary: everything that it asks of its host is in `io`.
pub fn read<'a>(io: &dyn Io<'a>, request: &ReadRequest) -> Result<LayerModel, Findings> {
    // The parser of HDF5 is somebody else's, and the file is a stranger's: if they meet in a way that nobody thought
    // of, it is the file that is refused.
    catch_unwind(AssertUnwindSafe(|| read_file(io, request))).unwrap_or_else(|_| {
        Err(Diag::new(Code::Malformed, request.path.as_str(), "the file made its parser fail").into())
    })
}

fn read_file<'a>(io: &dyn Io<'a>, request: &ReadRequest) -> Result<LayerModel, Findings> {
    let limits = Limits::from(request.limits.as_ref());
    let mut files = Files::new(io);
    let mut model = match request.files.is_empty() {
        true => read_one(io, request, &limits, &mut files)?,
        false if request.files.iter().any(|file| file == archive::CONFIG) => {
            archive::read(&Package::directory(&request.path, &request.files)?, &limits, &mut files)?
        }
        false => {
            let path = format!("{}/{}", request.path, tfjs::FILE);
            tfjs::read(&path, &request.path, io.map(&path)?, &limits, &mut files)?
        }
    };
    model.files = files.into_paths();
    Ok(model)
}

/// The artifact is one file.
fn read_one<'a>(
    io: &dyn Io<'a>,
    request: &ReadRequest,
    limits: &Limits,
    files: &mut Files<'_, 'a>,
) -> Result<LayerModel, Findings> {
    let bytes = io.map(&request.path)?;
    let architecture = match &request.architecture {
        Some(path) => Some(json::parse(io.map(path)?, path, limits)?),
        None => None,
    };
    if bytes.starts_with(&archive::MAGIC) {
        return archive::read(&Package::zip(&request.path, bytes)?, limits, files);
    }
    if tfjs::is_topology(&bytes[..bytes.len().min(HEAD_BYTES)]) {
        let detail = "the numbers of a TensorFlow.js model are in files of their own, which belong to the artifact";
        return Err(Diag::new(Code::UnsupportedContainer, request.path.as_str(), detail)
            .hint("give the directory that holds model.json and the files beside it")
            .into());
    }
    if is_shard_map(&request.path, &bytes[..bytes.len().min(HEAD_BYTES)]) {
        let detail = "weights over several files, which are read from a directory that holds their architecture, too";
        let hint = "put all of them into one directory, this one as model.weights.json, with the text of \
                    model.to_json() as config.json and {\"keras_version\": \"3\"} as metadata.json, and give that";
        return Err(Diag::new(Code::UnsupportedContainer, request.path.as_str(), detail).hint(hint).into());
    }
    let input = h5::Input { place: (files.number(&request.path), 0), bytes, architecture, limits };
    hdf5::with_file(bytes, &request.path, |file| h5::read(&input, file, files))
}

/// Which array is in which file, as Keras 3 writes it beside the files.
fn is_shard_map(name: &str, head: &[u8]) -> bool {
    name.ends_with(".weights.json") && head.windows(SHARD_MAP.len()).any(|bytes| bytes == SHARD_MAP)
}

/// Does a directory's listing hold this file?
fn lists(head: &[u8], name: &str) -> bool {
    head.split(|&byte| byte == b'\n').any(|line| line == name.as_bytes())
}
