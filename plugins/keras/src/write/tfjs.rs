//! TensorFlow.js layers models: a directory with `model.json` and the weights behind each other in files of 4 MiB.
//!
//! | key of `model.json` | holds |
//! |---|---|
//! | `modelTopology` | `keras_version`, `backend`, `model_config` as Keras 2 writes it: TensorFlow.js knows no other |
//! | `weightsManifest` | one group: its files in order, and name, shape, dtype of each weight in order |

use super::layout::{self, Data};
use super::upgrade::{self, Dialect};
use super::{BUFFER_BYTES, Output};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::DType;
use recast_plugin_api::model::{LayerModel, Model};
use serde_json::{Value, json};
use std::io::{BufWriter, Write};

/// As large as browsers like to cache.
const SHARD_BYTES: u64 = 4 << 20;
/// The Keras that TensorFlow.js follows.
const KERAS_VERSION: &str = "2.15.0";

pub fn write(
    output: &dyn Output,
    source: &LayerModel,
    root: &Model,
    name: &str,
    version: &str,
) -> Result<(), Findings> {
    let (upgraded, weights) = match (upgrade::model(source, root, Dialect::Js, None), layout::listed(root)) {
        (Ok(upgraded), Ok(weights)) => (upgraded, weights),
        (upgraded, weights) => return Err(upgraded.err().into_iter().chain(weights.err()).flatten().collect()),
    };
    upgraded.notes.iter().for_each(|note| output.report(note));
    let declared: Vec<Value> = weights.iter().map(declared).collect::<Result<_, Diag>>()?;
    let total: u64 = weights.iter().map(|weight| weight.byte_len()).sum();
    let shards = total.div_ceil(SHARD_BYTES);
    let path = |shard: u64| format!("group1-shard{shard}of{shards}.bin");
    let group = json!({"paths": (1..=shards).map(path).collect::<Vec<_>>(), "weights": declared});
    let document = json!({
        "format": "layers-model",
        "generatedBy": format!("keras v{KERAS_VERSION}"),
        "convertedBy": format!("recast {version}"),
        "modelTopology": {"keras_version": KERAS_VERSION, "backend": "tensorflow", "model_config": upgraded.config},
        "weightsManifest": [group],
    });
    let io = |error: std::io::Error| Diag::new(Code::Io, name, error.to_string());
    let mut file = output.create(&format!("{name}_tfjs/model.json"))?;
    file.write_all(document.to_string().as_bytes()).and_then(|()| file.flush()).map_err(io)?;
    drop(file);
    let mut run = Shards { output, path: &|shard| format!("{name}_tfjs/{}", path(shard)), open: None, next: 1 };
    let mut done = 0;
    for weight in &weights {
        output.progress(done, total)?;
        match &weight.data {
            Data::Bytes(bytes) => run.put(bytes)?,
            Data::Tensor(tensor) => output.read(tensor, &mut |bytes| run.put(bytes))?,
        }
        done += weight.byte_len();
    }
    run.close()?;
    Ok(())
}

fn declared(weight: &layout::Listed) -> Result<Value, Diag> {
    let dtype = match weight.dtype {
        DType::F32 => "float32",
        DType::I32 => "int32",
        DType::U8 => "uint8",
        DType::Bool => "bool",
        other => {
            let detail = format!("a weight of {other}: TensorFlow.js has float32, int32, uint8 and bool");
            return Err(Diag::new(Code::UnsupportedType, weight.name.as_str(), detail));
        }
    };
    Ok(json!({"name": weight.name, "shape": weight.dims, "dtype": dtype}))
}

/// One run of bytes, cut into files.
struct Shards<'o> {
    output: &'o dyn Output,
    path: &'o dyn Fn(u64) -> String,
    /// The file that is being written, and how much it still takes.
    open: Option<(BufWriter<Box<dyn Write + 'o>>, u64)>,
    next: u64,
}

impl Shards<'_> {
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), Diag> {
        while !bytes.is_empty() {
            if self.open.is_none() {
                let file = self.output.create(&(self.path)(self.next))?;
                self.open = Some((BufWriter::with_capacity(BUFFER_BYTES, file), SHARD_BYTES));
                self.next += 1;
            }
            let Some((mut file, left)) = self.open.take() else { continue };
            let here = bytes.len().min(left as usize);
            file.write_all(&bytes[..here]).map_err(|error| self.failed(&error))?;
            bytes = &bytes[here..];
            self.open = Some((file, left - here as u64));
            if left == here as u64 {
                self.close()?;
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diag> {
        match self.open.take() {
            Some((mut file, _)) => file.flush().map_err(|error| self.failed(&error)),
            None => Ok(()),
        }
    }

    fn failed(&self, error: &std::io::Error) -> Diag {
        Diag::new(Code::Io, (self.path)(self.next), error.to_string())
    }
}
