//! The keras plugin as a target: the layer model as a file for today's Keras.
//!
//! `upgrade` makes the configuration, `layout` says where each array goes, `hdf5` gives every byte its place; then the
//! arrays are streamed from where the host mapped them. Targets differ in the wrapping:
//!
//! | target | output |
//! |---|---|
//! | `keras` | `NAME.keras`: a zip, members stored, of `metadata.json`, `config.json`, `model.weights.h5` |
//! | `h5` | `NAME.h5`: HDF5 with `model_config` as an attribute, weights in one group for each layer |
//! | `keras2` | `NAME_keras2.h5`: the same in the words of tf.keras 2.15 |
//! | `tfjs` | `NAME_tfjs/`: `model.json` and the weights in files of 4 MiB |

pub mod hdf5;
mod layout;
mod tfjs;
mod upgrade;
mod words;

use hdf5::{Attr, Plan};
use layout::{Data, Layout};
use recast_keras_model::json::text_of;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::Op;
use recast_plugin_api::ir::Tensor;
use recast_plugin_api::messages::{Caps, Runner, WriteRequest};
use recast_plugin_api::model::{LayerModel, Model, SCHEMA_REV};
use recast_plugin_api::plugin::{WriteCx, options};
use serde_json::{Value, json};
use std::io::{BufWriter, Write};
pub use upgrade::javascript;
use upgrade::{Dialect, Newer, Typed, refused_by_2};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// What the outputs say that wrote them: the Keras whose spelling they follow.
const KERAS_VERSION: &str = "3.15.0";
const KERAS_2_VERSION: &str = "2.15.0";
/// Small pieces are collected before they cross the boundary.
const BUFFER_BYTES: usize = 1 << 16;
/// A zip member from here on needs wider numbers.
const ZIP64_BYTES: u64 = 0xffff_ffff;

/// The class under which a source of SavedModels hands on a graph without layers.
const TRACED: &str = "tf>Signature";

pub const TARGETS: &[&str] = &["h5", "keras", "keras2", "tfjs"];

/// What the targets take: any graph, because they write layers.
pub fn caps() -> Vec<Caps> {
    let runner = |name: &str| Some(Runner { name: name.into(), script: include_str!("run.py").into() });
    let caps = |target: &str, suffix: &str, read_back: &str, runner: Option<Runner>| Caps {
        schema_rev: SCHEMA_REV,
        target: target.into(),
        ops: Op::NAMES.iter().map(|name| name.to_string()).collect(),
        suffix: suffix.into(),
        wants_layers: true,
        read_back: read_back.into(),
        runner,
        renames: true,
        ..Caps::default()
    };
    vec![
        caps("h5", ".h5", crate::container::h5::FORMAT, runner("keras")),
        caps("keras", ".keras", crate::container::archive::FORMAT, runner("keras")),
        caps("keras2", "_keras2.h5", crate::container::h5::FORMAT, runner("keras2")),
        caps("tfjs", "_tfjs/", crate::container::tfjs::FORMAT, None),
    ]
}

/// Where weights come from and outputs go to: the host, or a test's memory.
pub trait Output {
    /// Calls `take` with the elements of a tensor: row-major, little-endian.
    fn read(&self, tensor: &Tensor, take: &mut dyn FnMut(&[u8]) -> Result<(), Diag>) -> Result<(), Diag>;
    fn create(&self, name: &str) -> Result<Box<dyn Write + '_>, Diag>;
    fn report(&self, diag: &Diag);
    /// Told the bytes of weights that are done, and all of them; an error stops the writing.
    fn progress(&self, done: u64, total: u64) -> Result<(), Diag>;
}

impl Output for WriteCx<'_> {
    fn read(&self, tensor: &Tensor, take: &mut dyn FnMut(&[u8]) -> Result<(), Diag>) -> Result<(), Diag> {
        take(self.view(tensor)?.bytes())
    }

    fn create(&self, name: &str) -> Result<Box<dyn Write + '_>, Diag> {
        Ok(Box::new(BufWriter::with_capacity(BUFFER_BYTES, WriteCx::create(self, name)?)))
    }

    fn report(&self, diag: &Diag) {
        (**self).report(diag);
    }

    fn progress(&self, done: u64, total: u64) -> Result<(), Diag> {
        (**self).progress(done, total, "writing weights");
        (**self).go_on()
    }
}

/// Writes one target.
pub fn write(output: &dyn Output, target: &str, request: &WriteRequest) -> Result<(), Findings> {
    // There is nothing to choose.
    let notes = options::read(&request.options, target, |_, _| Ok(false))?;
    notes.iter().for_each(|note| output.report(note));
    let source = request.layers.as_ref();
    let source = source.ok_or_else(|| Diag::new(Code::Bug, target, "a target of layers was given none"))?;
    let root = source.root.as_ref();
    let root = root.ok_or_else(|| Diag::new(Code::PluginMisbehaved, target, "a layer model without root"))?;
    refuse_traced(root)?;
    let dialect = match target {
        "keras" => Dialect::Keras3,
        "h5" => Dialect::Both,
        "keras2" => Dialect::Keras2,
        "tfjs" => Dialect::Js,
        other => return Err(Diag::new(Code::UnknownTarget, other, "the keras plugin writes no such target").into()),
    };
    let (root, said) = words::given(output, root, dialect)?;
    said.iter().for_each(|note| output.report(note));
    let typed = match &request.graph {
        Some(_) => Typed::of(&request.decoded_graph()?),
        None => Typed::default(),
    };
    let refused = match dialect {
        Dialect::Keras3 => Findings::new(),
        Dialect::Both | Dialect::Keras2 | Dialect::Js => refused_by_2(source, &root, &typed),
    };
    let prepared = upgrade::prepare(source, &root, dialect, &typed);
    if dialect.is_old() && !refused.is_empty() {
        return Err(refused.into_iter().chain(prepared.err().into_iter().flatten()).collect());
    }
    let upgrade::Prepared { root, notes, newer } = prepared?;
    // Of a file for both, Keras 2 must not make something else.
    let newer = newer.or_else(|| refused.first().map(|diag| (diag.at.clone(), diag.detail.clone())));
    notes.iter().for_each(|note| output.report(note));
    match dialect {
        Dialect::Keras3 => keras(output, source, &root, &request.name),
        Dialect::Both => h5(output, source, &root, &format!("{}.h5", request.name), (dialect, newer)),
        Dialect::Keras2 => h5(output, source, &root, &format!("{}_keras2.h5", request.name), (dialect, None)),
        Dialect::Js => tfjs::write(output, source, &root, &request.name, &request.recast_version),
    }
}

/// A graph that TensorFlow traced, handed on as one layer, is nothing that a Keras file can hold.
fn refuse_traced(root: &Model) -> Result<(), Findings> {
    let traced = root.layers.iter().filter(|layer| layer.class == TRACED);
    let refused = |layer: &recast_plugin_api::model::Layer| {
        let detail = "the artifact holds a graph that TensorFlow traced, and no Keras layers to write";
        Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail)
            .hint("choose targets that are made from ops (onnx, torch, savedmodel), or convert the .keras or .h5 file")
    };
    let findings: Findings = traced.map(refused).collect();
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

/// Both parts of a model, and every finding of both.
fn parts(
    output: &dyn Output,
    source: &LayerModel,
    root: &Model,
    (dialect, newer): (Dialect, Option<Newer>),
) -> Result<(Value, Layout), Findings> {
    let layout = match dialect {
        Dialect::Keras3 => layout::tree(root),
        Dialect::Both | Dialect::Keras2 | Dialect::Js => layout::flat(root, dialect),
    };
    match (upgrade::model(source, root, dialect, newer), layout) {
        (Ok(upgraded), Ok(layout)) => {
            upgraded.notes.iter().for_each(|note| output.report(note));
            Ok((upgraded.config, layout))
        }
        (upgraded, layout) => Err(upgraded.err().into_iter().chain(layout.err()).flatten().collect()),
    }
}

fn keras(output: &dyn Output, source: &LayerModel, root: &Model, name: &str) -> Result<(), Findings> {
    let (config, layout) = parts(output, source, root, (Dialect::Keras3, None))?;
    let plan = hdf5::plan(&layout.root)?;
    // No date: the same model gives the same bytes.
    let metadata = json!({"keras_version": KERAS_VERSION});
    let failed = |error: &dyn std::fmt::Display| Diag::new(Code::Io, name, error.to_string());
    let mut zip = ZipWriter::new_stream(output.create(&format!("{name}.keras"))?);
    let stored = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default());
    for (member, value) in [("metadata.json", &metadata), ("config.json", &config)] {
        zip.start_file(member, stored).map_err(|error| failed(&error))?;
        zip.write_all(text_of(value).as_bytes()).map_err(|error| failed(&error))?;
    }
    let large = stored.large_file(plan.len() >= ZIP64_BYTES);
    zip.start_file("model.weights.h5", large).map_err(|error| failed(&error))?;
    stream(output, &plan, &layout, &mut zip)?;
    let mut file = zip.finish().map_err(|error| failed(&error))?.into_inner();
    file.flush().map_err(|error| failed(&error))?;
    Ok(())
}

fn h5(
    output: &dyn Output,
    source: &LayerModel,
    root: &Model,
    file: &str,
    (dialect, newer): (Dialect, Option<Newer>),
) -> Result<(), Findings> {
    let (config, mut layout) = parts(output, source, root, (dialect, newer))?;
    let version = if dialect.is_old() { KERAS_2_VERSION } else { KERAS_VERSION };
    let about = || [("backend".into(), text("tensorflow")), ("keras_version".into(), text(version))];
    layout.root.attrs.extend(about());
    layout.root.attrs.push(("model_config".into(), text(&text_of(&config))));
    if let Some(group) = layout.root.group("model_weights") {
        group.attrs.extend(about());
    }
    let plan = hdf5::plan(&layout.root)?;
    let mut out = output.create(file)?;
    stream(output, &plan, &layout, &mut out)?;
    out.flush().map_err(|error| Diag::new(Code::Io, file, error.to_string()))?;
    Ok(())
}

fn text(text: &str) -> Attr {
    Attr::Text(text.to_owned())
}

fn stream(output: &dyn Output, plan: &Plan, layout: &Layout, out: &mut dyn Write) -> Result<(), Diag> {
    let mut done = 0u64;
    plan.write(out, &mut |number, take| {
        output.progress(done, plan.len())?;
        match &layout.data[number] {
            Data::Bytes(bytes) => take(bytes),
            Data::Tensor(tensor) => {
                done += tensor.byte_len();
                output.read(tensor, take)
            }
        }
    })
}
