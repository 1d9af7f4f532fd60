//! The reader's own view of a safetensors file: names, dtypes, shapes and where the bytes lie.

use recast_plugin_api::diag::{Code, Diag};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// As the format itself bounds it.
const HEADER_BYTES_MAX: u64 = 100_000_000;

#[derive(Debug, Clone)]
pub struct Entry {
    pub dtype: String,
    pub shape: Vec<u64>,
    /// Of the file.
    pub offset: u64,
    pub len: u64,
}

pub fn read(path: &Path) -> Result<BTreeMap<String, Entry>, Diag> {
    let at = path.display().to_string();
    let wrong = |what: &str| Diag::new(Code::Mismatch, "model.safetensors", what);
    let mut file = File::open(path).map_err(|e| Diag::new(Code::Io, &at, e.to_string()))?;
    let size = file.metadata().map_err(|e| Diag::new(Code::Io, &at, e.to_string()))?.len();
    let mut head = [0u8; 8];
    file.read_exact(&mut head).map_err(|_| wrong("shorter than its header"))?;
    let len = u64::from_le_bytes(head);
    if len > HEADER_BYTES_MAX || len.saturating_add(8) > size {
        return Err(wrong("a header longer than the file"));
    }
    let mut text = vec![0u8; len as usize];
    file.read_exact(&mut text).map_err(|_| wrong("shorter than its header"))?;
    let Ok(Value::Object(items)) = serde_json::from_slice(&text) else {
        return Err(wrong("a header that is no JSON object"));
    };
    let mut entries = BTreeMap::new();
    for (name, item) in items.iter().filter(|(name, _)| *name != "__metadata__") {
        let numbers =
            |key: &str| -> Option<Vec<u64>> { item.get(key)?.as_array()?.iter().map(Value::as_u64).collect() };
        let found = (item.get("dtype").and_then(Value::as_str), numbers("shape"), numbers("data_offsets"));
        let (Some(dtype), Some(shape), Some(ends)) = found else {
            return Err(wrong("an entry without dtype, shape or place"));
        };
        let [begin, end] = ends[..] else { return Err(wrong("a place that is not two numbers")) };
        if begin > end || end > size - 8 - len {
            return Err(wrong("bytes beyond the end of the file"));
        }
        let entry = Entry { dtype: dtype.into(), shape, offset: 8 + len + begin, len: end - begin };
        entries.insert(name.clone(), entry);
    }
    let mut spans: Vec<(u64, u64)> = entries.values().map(|entry| (entry.offset, entry.len)).collect();
    spans.sort_unstable();
    let mut next = 8 + len;
    for (offset, len) in spans {
        if offset != next {
            return Err(wrong("gaps or overlaps between tensors"));
        }
        next += len;
    }
    if next != size { Err(wrong("bytes that belong to no tensor")) } else { Ok(entries) }
}
