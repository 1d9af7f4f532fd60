//! TensorFlow.js layers models: `model.json`, alone or in a directory, and the files of numbers that it names.
//!
//! | key of `model.json` | holds |
//! |---|---|
//! | `format` | `layers-model` (a `graph-model` has no layers) |
//! | `modelTopology` | `{"model_config", "keras_version", "backend", ..}`, or the configuration itself |
//! | `weightsManifest` | groups: `paths` of files that are one run of bytes together, `weights` in its order |
//! | a weight | `name`, `shape`, `dtype`, and `quantization` when it is stored narrower |
//!
//! | `quantization.dtype` | a number is |
//! |---|---|
//! | `uint8`, `uint16` | stored * `scale` + `min` |
//! | `float16` | what is stored |

use super::flat;
use crate::array::{Array, Plain, byte_len};
use crate::config::{self, Version};
use crate::hdf5::join;
use crate::io::{Files, Limits, RANK_MAX};
use crate::json;
use crate::weights;
use crate::weights::convert::{self, Origin};
use crate::weights::tree;
use crate::write::javascript;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::DType;
use recast_plugin_api::model::{LayerModel, Model, SCHEMA_REV};
use serde_json::Value;
use std::borrow::Cow;

pub const FORMAT: &str = "tfjs-layers";
/// What such a file begins with, and nearly all others of JSON.
pub const MAGIC: [u8; 1] = *b"{";
pub const FILE: &str = "model.json";
/// Files of numbers of one model, and weights.
const SHARDS_MAX: usize = 10_000;
const WEIGHTS_MAX: usize = 400_000;

/// How surely the beginning of a file is one: its first keys say so.
pub fn is_topology(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    let says = |word: &[u8]| head.windows(word.len()).any(|window| window == word);
    head.starts_with(&MAGIC)
        && (says(b"\"layers-model\"") || says(b"\"modelTopology\"") || says(b"\"weightsManifest\""))
}

/// One weight as the manifest declares it.
struct Declared {
    name: String,
    dims: Vec<u64>,
    dtype: DType,
    quantized: Option<Quantized>,
}

enum Quantized {
    Half,
    Affine { stored: DType, scale: f64, min: f64 },
}

impl Declared {
    fn stored(&self) -> DType {
        match self.quantized {
            None => self.dtype,
            Some(Quantized::Half) => DType::F16,
            Some(Quantized::Affine { stored, .. }) => stored,
        }
    }
}

/// `path` is `model.json`; `base` the directory that its files lie in.
pub fn read<'a>(
    path: &str,
    base: &str,
    bytes: &'a [u8],
    limits: &Limits,
    files: &mut Files<'_, 'a>,
) -> Result<LayerModel, Findings> {
    let document = json::parse(bytes, path, limits)?;
    if document.get("format").and_then(Value::as_str) == Some("graph-model") {
        let detail = "a TensorFlow.js graph model: it holds operations, and no layers";
        return Err(Diag::new(Code::UnsupportedContainer, path, detail)
            .hint("convert the Keras model that it was made of")
            .into());
    }
    let topology = document.get("modelTopology").filter(|topology| !topology.is_null());
    let topology = topology.ok_or_else(|| malformed(path, "no `modelTopology`"))?;
    let (version, ported) = version_of(topology);
    let config = topology.get("model_config").filter(|config| config.is_object()).unwrap_or(topology);
    if topology.get("training_config").or_else(|| document.get("trainingConfig")).is_some_and(|t| !t.is_null()) {
        let detail = "optimizer, loss and metrics are not carried over";
        files.io().report(&Diag::new(Code::TrainingDropped, "training_config", detail).note());
    }
    let mut architecture = config::read(config, "modelTopology", &version, limits)?;
    if ported {
        heeded(&mut architecture.root);
        let findings = javascript::left_over(&architecture.root);
        if !findings.is_empty() {
            return Err(findings);
        }
    }
    let mut arrays = Vec::new();
    for (number, group) in list(&document, "weightsManifest", path)?.iter().enumerate() {
        arrays.extend(group_of(group, &format!("weightsManifest/{number}"), base, limits, files)?);
    }
    let (tree, arrays) = match flat::tree(arrays) {
        Ok(tree) => (Some(tree), Vec::new()),
        Err(arrays) => (None, arrays),
    };
    let (taken, mut findings) = match &tree {
        Some(tree) => tree::assign(&architecture, tree).0,
        None => flat::assign(&architecture, &arrays),
    };
    let origin = Origin::of(&version);
    let (taken, more) = convert::settle(taken, &mut architecture.root, origin, limits);
    findings.extend(more);
    findings.extend(weights::deliver(taken, &mut architecture.root, files, limits));
    if !findings.is_empty() {
        return Err(findings);
    }
    Ok(LayerModel {
        schema_rev: SCHEMA_REV,
        format: FORMAT.into(),
        keras_version: version.text,
        root: Some(architecture.root),
        ..LayerModel::default()
    })
}

/// What tfjs-layers was ported from, and does to this day: masked steps that repeat the state, bilinear resizing by the
/// pixels' corners, a GRU that resets before. Seen in 4.22, whose models say `tfjs-layers 4.22.0`.
const PORTED: &str = "2.1.6";

/// What the model means, and whether TensorFlow.js itself made it.
fn version_of(topology: &Value) -> (Version, bool) {
    let stated = topology.get("keras_version").and_then(Value::as_str).unwrap_or("2.15.0");
    let ported = stated.starts_with("tfjs-");
    (Version::parse(if ported { PORTED } else { stated }), ported)
}

/// Without the options that TensorFlow.js writes down and does not heed: a dilation of a DepthwiseConv2D, and those of
/// the cell of an RNN, which it writes twice.
fn heeded(model: &mut Model) {
    for layer in &mut model.layers {
        layer.model.iter_mut().for_each(heeded);
        let ignores = matches!(layer.class.as_str(), "DepthwiseConv2D" | "RNN");
        let Some(Value::Object(mut config)) = ignores.then(|| serde_json::from_str(&layer.config).ok()).flatten()
        else {
            continue;
        };
        if layer.class == "RNN" {
            let cell = config.get("cell").and_then(|cell| cell.get("config")).and_then(Value::as_object).cloned();
            let twice = |key: &str| cell.as_ref().is_some_and(|cell| cell.contains_key(key));
            config.retain(|key, _| matches!(key.as_str(), "name" | "trainable" | "dtype") || !twice(key));
        } else {
            config.insert("dilation_rate".into(), Value::from(vec![1, 1]));
        }
        layer.config = Value::Object(config).to_string();
    }
}

/// The weights of one group, over its files.
fn group_of<'a>(
    group: &Value,
    at: &str,
    base: &str,
    limits: &Limits,
    files: &mut Files<'_, 'a>,
) -> Result<Vec<Array<'a>>, Diag> {
    let paths = list(group, "paths", at)?;
    let declared = list(group, "weights", at)?;
    if paths.len() > SHARDS_MAX || declared.len() > WEIGHTS_MAX {
        let detail = format!("{} files and {} weights", paths.len(), declared.len());
        return Err(Diag::new(Code::LimitExceeded, at, detail));
    }
    let mut shards = Vec::with_capacity(paths.len());
    for path in paths {
        let name = path.as_str().ok_or_else(|| malformed(at, "a path that is no text"))?;
        let path = below(base, name).ok_or_else(|| {
            let detail = format!("the file {name:?} lies outside the model's directory");
            Diag::new(Code::UnsafeLink, at, detail).hint("keep all files of the model in one directory")
        })?;
        shards.push((files.number(&path), files.io().map(&path)?));
    }
    let total: u64 = shards.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let mut run = Run { shards, offset: 0 };
    let mut arrays = Vec::with_capacity(declared.len());
    for weight in declared {
        arrays.push(run.array(weight_of(weight, at)?, limits, files)?);
    }
    if run.offset != total {
        let detail = format!("the files hold {total} bytes, the weights take {}", run.offset);
        return Err(malformed(at, detail));
    }
    Ok(arrays)
}

/// The files of a group as one run of bytes.
struct Run<'a> {
    shards: Vec<(u32, &'a [u8])>,
    offset: u64,
}

/// Bytes, and their (file, offset) when they lie in one.
type Taken<'a> = (Cow<'a, [u8]>, Option<(u32, u64)>);

impl<'a> Run<'a> {
    /// The next array.
    fn array(&mut self, declared: Declared, limits: &Limits, files: &mut Files<'_, 'a>) -> Result<Array<'a>, Diag> {
        let at = declared.name.as_str();
        byte_len(at, declared.dtype, &declared.dims, limits)?;
        let len = byte_len(at, declared.stored(), &declared.dims, limits)?;
        let (bytes, place) = self.take(len).ok_or_else(|| {
            malformed(at, format!("{len} bytes from {} on lie beyond the end of the files", self.offset))
        })?;
        self.offset += len;
        let (bytes, place) = match &declared.quantized {
            Some(quantized) => {
                let bytes = widened(&bytes, quantized, declared.dtype)
                    .ok_or_else(|| malformed(at, format!("a quantized {}", declared.dtype)))?;
                (Cow::Owned(bytes), None)
            }
            None => (bytes, place),
        };
        let place = match place {
            Some(place) => place,
            None => files.put(at, &bytes)?,
        };
        Ok(Array::Plain(Plain { at: declared.name, dtype: declared.dtype, dims: declared.dims, place, bytes }))
    }

    /// `len` bytes, and their place when they lie in one file.
    fn take(&self, len: u64) -> Option<Taken<'a>> {
        let (mut skip, mut left) = (self.offset, len);
        let mut joined: Option<Vec<u8>> = None;
        for &(file, bytes) in &self.shards {
            if skip > bytes.len() as u64 || (skip == bytes.len() as u64 && left > 0) {
                skip -= bytes.len() as u64;
                continue;
            }
            let here = left.min(bytes.len() as u64 - skip);
            let part = &bytes[skip as usize..(skip + here) as usize];
            if here == len {
                return Some((Cow::Borrowed(part), Some((file, skip))));
            }
            joined.get_or_insert_with(Vec::new).extend_from_slice(part);
            (skip, left) = (0, left - here);
            if left == 0 {
                break;
            }
        }
        (left == 0).then(|| (Cow::Owned(joined.unwrap_or_default()), None))
    }
}

fn weight_of(weight: &Value, at: &str) -> Result<Declared, Diag> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let name = text(weight, "name").ok_or_else(|| malformed(at, "a weight without a name"))?;
    let dims = list(weight, "shape", &name)?.iter().map(Value::as_u64).collect::<Option<Vec<_>>>();
    let dims = dims.filter(|dims| dims.len() <= RANK_MAX).ok_or_else(|| malformed(&name, "an impossible shape"))?;
    let stated = text(weight, "dtype").unwrap_or_default();
    let odd = |stated: &str| Diag::new(Code::UnsupportedType, name.as_str(), format!("an array of {stated:?}"));
    let dtype = match stated.as_str() {
        "float32" => DType::F32,
        "int32" => DType::I32,
        "uint8" => DType::U8,
        "bool" => DType::Bool,
        other => return Err(odd(other)),
    };
    let quantized = match weight.get("quantization").filter(|quantization| !quantization.is_null()) {
        None => None,
        Some(quantization) => {
            let number = |key: &str| quantization.get(key).and_then(Value::as_f64);
            Some(match (text(quantization, "dtype").unwrap_or_default().as_str(), number("scale"), number("min")) {
                ("float16", _, _) => Quantized::Half,
                ("uint8", Some(scale), Some(min)) => Quantized::Affine { stored: DType::U8, scale, min },
                ("uint16", Some(scale), Some(min)) => Quantized::Affine { stored: DType::U16, scale, min },
                (other, _, _) => return Err(odd(&format!("{stated} quantized to {other}"))),
            })
        }
    };
    Ok(Declared { name, dims, dtype, quantized })
}

/// The numbers as TensorFlow.js computes them: in float32.
fn widened(bytes: &[u8], quantized: &Quantized, dtype: DType) -> Option<Vec<u8>> {
    let numbers: Vec<f32> = match *quantized {
        Quantized::Half => {
            bytes.chunks_exact(2).map(|pair| half::f16::from_le_bytes([pair[0], pair[1]]).to_f32()).collect()
        }
        Quantized::Affine { stored, scale, min } => {
            let number = |stored: u16| (f64::from(stored) * scale + min) as f32;
            match stored {
                DType::U8 => bytes.iter().map(|&byte| number(byte.into())).collect(),
                _ => bytes.chunks_exact(2).map(|pair| number(u16::from_le_bytes([pair[0], pair[1]]))).collect(),
            }
        }
    };
    match dtype {
        DType::F32 => Some(numbers.into_iter().flat_map(f32::to_le_bytes).collect()),
        DType::I32 => Some(numbers.into_iter().flat_map(|number| (number.round() as i32).to_le_bytes()).collect()),
        _ => None,
    }
}

/// A path that stays below the directory; JavaScript begins it with `./`.
fn below(base: &str, name: &str) -> Option<String> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']);
    name.split('/').all(plain).then(|| join(base, name))
}

fn list<'v>(value: &'v Value, key: &str, at: &str) -> Result<&'v [Value], Diag> {
    let list = value.get(key).and_then(Value::as_array).map(Vec::as_slice);
    list.ok_or_else(|| malformed(at, format!("no list `{key}`")))
}

fn malformed(at: &str, detail: impl Into<String>) -> Diag {
    Diag::new(Code::Malformed, at, detail)
}
