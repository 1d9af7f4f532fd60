//! Is a TensorFlow.js model directory all there? `model.json` names the files of numbers, and declares what they hold.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

use serde_json::Value;

use crate::tree::{Survey, Trouble, open_below};

const FILE: &str = "model.json";
/// What the reader of such a file takes as well.
const JSON_BYTES_MAX: u64 = 64 << 20;

/// `Some` says what is still missing from the directory.
pub fn missing(dir: BorrowedFd, survey: &Survey) -> Result<Option<String>, Trouble> {
    let sizes: BTreeMap<&Path, u64> = survey.files().map(|node| (node.path.as_path(), node.size)).collect();
    match sizes.get(Path::new(FILE)) {
        Some(&bytes) if bytes <= JSON_BYTES_MAX => {}
        // Something else, or a file that its reader refuses.
        _ => return Ok(None),
    }
    let mut text = Vec::new();
    open_below(dir, Path::new(FILE))?.take(JSON_BYTES_MAX).read_to_end(&mut text)?;
    match serde_json::from_slice::<Value>(&text) {
        Ok(model) => Ok(missing_of(&model, &sizes)),
        Err(error) if error.classify() == serde_json::error::Category::Eof => Ok(Some(format!("{FILE} is not whole"))),
        // Its reader says what is wrong.
        Err(_) => Ok(None),
    }
}

fn missing_of(model: &Value, sizes: &BTreeMap<&Path, u64>) -> Option<String> {
    let groups = model.get("weightsManifest").and_then(Value::as_array)?;
    groups.iter().find_map(|group| {
        let mut held = 0u64;
        for path in group.get("paths").and_then(Value::as_array)?.iter().filter_map(Value::as_str) {
            match sizes.get(Path::new(path.strip_prefix("./").unwrap_or(path))) {
                Some(size) => held = held.saturating_add(*size),
                None => return Some(format!("there is no {path:?} yet")),
            }
        }
        let weights = group.get("weights").and_then(Value::as_array)?;
        let needed = weights.iter().map(bytes_of).try_fold(0u64, |sum, bytes| sum.checked_add(bytes?))?;
        (held < needed).then(|| format!("its files have {held} of {needed} bytes"))
    })
}

/// None where the declaration makes no sense, which is the reader's to say.
fn bytes_of(weight: &Value) -> Option<u64> {
    let quantized = weight.get("quantization").and_then(|quantization| quantization.get("dtype"));
    let width = match quantized.or_else(|| weight.get("dtype"))?.as_str()? {
        "uint8" | "bool" => 1,
        "uint16" | "float16" => 2,
        "float32" | "int32" => 4,
        _ => return None,
    };
    let dims = weight.get("shape")?.as_array()?.iter().map(Value::as_u64);
    dims.into_iter().try_fold(width, |bytes: u64, dim| bytes.checked_mul(dim?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_file_has_to_be_there_with_its_bytes() {
        let model = json!({"weightsManifest": [{"paths": ["a.bin", "b.bin"], "weights": [
            {"name": "k", "shape": [3, 2], "dtype": "float32"},
            {"name": "b", "shape": [5], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 1, "min": 0}},
        ]}]});
        let held = |sizes: &[(&'static str, u64)]| {
            let sizes = sizes.iter().map(|&(path, size)| (Path::new(path), size)).collect();
            missing_of(&model, &sizes)
        };
        assert!(held(&[("a.bin", 29)]).is_some_and(|why| why.contains("b.bin")));
        assert!(held(&[("a.bin", 20), ("b.bin", 8)]).is_some_and(|why| why.contains("28 of 29")));
        assert_eq!(held(&[("a.bin", 20), ("b.bin", 9)]), None);
    }
}
