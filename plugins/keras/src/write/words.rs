//! Words that a layer learnt, with their weights, as words and weights that it is given: where a configuration holds
//! the words, Keras takes the weights from there, too, and not from the arrays.

use super::Output;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::DType;
use recast_plugin_api::model::{Layer, Model};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// Classes that hold words and a weight for each.
const WEIGHED: &[&str] = &["IntegerLookup", "StringLookup", "TextVectorization"];
/// What their weights are called, wherever a Keras puts them.
const WEIGHTS: &str = "idf_weights";

/// The model with the weights of words in the configurations of their layers.
pub fn given<'m>(output: &dyn Output, root: &'m Model) -> Result<Cow<'m, Model>, Findings> {
    if !holds_any(root) {
        return Ok(Cow::Borrowed(root));
    }
    let mut root = root.clone();
    within(output, &mut root)?;
    Ok(Cow::Owned(root))
}

fn is_weighed(layer: &Layer) -> bool {
    WEIGHED.contains(&layer.class.as_str()) && layer.weights.iter().any(|weight| leaf(&weight.role) == WEIGHTS)
}

fn leaf(role: &str) -> &str {
    role.rsplit('/').next().unwrap_or(role)
}

fn holds_any(model: &Model) -> bool {
    model.layers.iter().any(|layer| is_weighed(layer) || layer.model.as_ref().is_some_and(holds_any))
}

fn within(output: &dyn Output, model: &mut Model) -> Result<(), Findings> {
    for layer in &mut model.layers {
        if let Some(inner) = &mut layer.model {
            within(output, inner)?;
        }
        let config: Option<Map<String, Value>> = serde_json::from_str(&layer.config).ok();
        let Some(mut config) = config.filter(|_| is_weighed(layer)) else { continue };
        let Some(words) = config.get("vocabulary").and_then(Value::as_array) else { continue };
        if !config.get(WEIGHTS).is_some_and(Value::is_array) {
            // Behind those of the words are zeros up to the size of the output.
            let mut weights = weights(output, layer)?;
            if weights.len() < words.len() {
                let detail = format!("{} weights for {} words", weights.len(), words.len());
                return Err(Diag::new(Code::Malformed, layer.path.as_str(), detail).into());
            }
            weights.truncate(words.len());
            config.insert(WEIGHTS.into(), json!(weights));
            layer.config = Value::Object(config).to_string();
        }
        // How many documents they were learnt from says nothing any more.
        layer.weights.clear();
    }
    Ok(())
}

fn weights(output: &dyn Output, layer: &Layer) -> Result<Vec<f64>, Diag> {
    let stored = layer.weights.iter().find(|weight| leaf(&weight.role) == WEIGHTS);
    let tensor = stored.and_then(|weight| weight.tensor.as_ref()).map(|tensor| tensor.decode_tensor()).transpose()?;
    let wrong = |detail: String| Diag::new(Code::Malformed, layer.path.as_str(), detail);
    let tensor = tensor.ok_or_else(|| wrong("no weights of words".into()))?;
    let mut bytes = Vec::new();
    output.read(&tensor, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    match tensor.dtype {
        DType::F32 => {
            let number = |piece: &[u8]| f64::from(f32::from_le_bytes([piece[0], piece[1], piece[2], piece[3]]));
            Ok(bytes.chunks_exact(4).map(number).collect())
        }
        other => Err(wrong(format!("weights of words as {other}"))),
    }
}
