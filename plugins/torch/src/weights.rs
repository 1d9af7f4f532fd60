//! The safetensors container: 8 bytes of header length (little-endian), a JSON header, then every tensor's bytes
//! (little-endian, row-major) without gaps, in the header's order.
//!
//! Every length is known from the plan, so the header is written first and the bytes are streamed behind it.

use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::types::encode_number;
use recast_plugin_api::ir::{DType, Tensor};
use recast_plugin_api::plugin::WriteCx;
use serde_json::{Map, Value, json};
use std::hash::{Hash, Hasher};
use std::io::Write;

/// Makes a tensor's bytes from those of others.
pub type Make = Box<dyn Fn(&[Vec<u8>]) -> Vec<u8>>;

pub enum Source {
    /// Elements of a tensor of the graph, row-major in the shape of the view.
    View(Tensor),
    /// As many elements of this value as the shape asks for: what PyTorch has and Keras has not.
    Filled(f64),
    /// Small weights in another order.
    Made { from: Vec<Tensor>, make: Make },
}

/// One tensor of the file.
pub struct Weight {
    pub key: String,
    pub dtype: DType,
    pub shape: Vec<u64>,
    pub source: Source,
}

/// What it is called and what it is made of.
impl Hash for Weight {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.key, self.dtype, &self.shape).hash(state);
        match &self.source {
            Source::View(tensor) => tensor.hash(state),
            Source::Filled(value) => value.to_bits().hash(state),
            Source::Made { from, .. } => from.hash(state),
        }
    }
}

impl Weight {
    pub fn view(key: String, tensor: Tensor) -> Weight {
        Weight { key, dtype: tensor.dtype, shape: tensor.shape.clone(), source: Source::View(tensor) }
    }

    pub fn byte_len(&self) -> u64 {
        self.shape.iter().product::<u64>() * self.dtype.size() as u64
    }

    fn copy_to(&self, cx: &WriteCx<'_>, out: &mut dyn Write) -> Result<(), Diag> {
        let want = self.byte_len();
        let mut put = |bytes: &[u8]| {
            if bytes.len() as u64 != want {
                return Err(Diag::new(
                    Code::Bug,
                    &self.key,
                    format!("{} bytes where {want} were planned", bytes.len()),
                ));
            }
            out.write_all(bytes).map_err(|e| Diag::new(Code::Io, &self.key, e.to_string()))
        };
        match &self.source {
            Source::View(tensor) => put(cx.view(tensor)?.bytes()),
            Source::Filled(value) => {
                put(&encode_number(self.dtype, *value).repeat(self.shape.iter().product::<u64>() as usize))
            }
            Source::Made { from, make } => {
                let fetched = from.iter().map(|tensor| Ok(cx.view(tensor)?.bytes().to_vec()));
                put(&make(&fetched.collect::<Result<Vec<_>, Diag>>()?))
            }
        }
    }
}

/// The container's name of a dtype; `None` for what it can't hold.
pub fn dtype_name(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::F32 => "F32",
        DType::F64 => "F64",
        DType::I8 => "I8",
        DType::I16 => "I16",
        DType::I32 => "I32",
        DType::I64 => "I64",
        DType::U8 => "U8",
        DType::U16 => "U16",
        DType::U32 => "U32",
        DType::U64 => "U64",
        DType::Bool => "BOOL",
        DType::Str => return None,
    })
}

/// Writes the whole file. `metadata` are strings for the header.
pub fn write(
    cx: &WriteCx<'_>,
    weights: &[Weight],
    metadata: &[(&str, String)],
    out: &mut dyn Write,
) -> Result<(), Diag> {
    let io = |e: std::io::Error| Diag::new(Code::Io, "safetensors", e.to_string());
    out.write_all(&header(weights, metadata)?).map_err(io)?;
    let total: u64 = weights.iter().map(Weight::byte_len).sum();
    let mut done = 0;
    for weight in weights {
        cx.progress(done, total, "writing weights");
        cx.go_on()?;
        weight.copy_to(cx, out)?;
        done += weight.byte_len();
    }
    out.flush().map_err(io)
}

/// The file's beginning, up to the first tensor.
pub fn header(weights: &[Weight], metadata: &[(&str, String)]) -> Result<Vec<u8>, Diag> {
    let mut entries = Map::new();
    let strings = metadata.iter().map(|(key, value)| (key.to_string(), Value::from(value.as_str())));
    entries.insert("__metadata__".into(), Value::Object(strings.collect()));
    let mut offset = 0u64;
    for weight in weights {
        let dtype = dtype_name(weight.dtype)
            .ok_or_else(|| Diag::new(Code::UnsupportedType, &weight.key, format!("weights of {}", weight.dtype)))?;
        let end = offset + weight.byte_len();
        let entry = json!({"dtype": dtype, "shape": weight.shape, "data_offsets": [offset, end]});
        if entries.insert(weight.key.clone(), entry).is_some() {
            return Err(Diag::new(Code::Bug, &weight.key, "two tensors of one name"));
        }
        offset = end;
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    // Readers map the file: the bytes begin at a multiple of eight.
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    Ok(bytes)
}
