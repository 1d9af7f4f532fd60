//! Words that a layer learnt, with their weights, as words and weights that it is given: where a configuration holds
//! the words, Keras asks for the weights there, too, whatever it finds among the arrays.

use super::Output;
use super::upgrade::Dialect;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{DType, Tensor};
use recast_plugin_api::model::{Layer, Model, Weight};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// Classes that hold words and a weight for each.
const WEIGHED: &[&str] = &["IntegerLookup", "StringLookup", "TextVectorization"];
/// Weights of one layer.
const COUNT_MAX: usize = 1 << 21;
/// What their weights are called, wherever a Keras puts them.
const WEIGHTS: &str = "idf_weights";

/// The model with the weights of words in the configurations of their layers, and as arrays where the readers of the
/// dialect ask for them; what is said about that.
pub fn given<'m>(
    output: &dyn Output,
    root: &'m Model,
    dialect: Dialect,
) -> Result<(Cow<'m, Model>, Vec<Diag>), Findings> {
    if !holds_any(root) {
        return Ok((Cow::Borrowed(root), Vec::new()));
    }
    let (mut root, mut notes) = (root.clone(), Vec::new());
    within(output, &mut root, dialect, &mut notes)?;
    Ok((Cow::Owned(root), notes))
}

fn config_of(layer: &Layer) -> Option<Map<String, Value>> {
    // Most layers are of other classes, and their configurations need no parsing.
    if !WEIGHED.contains(&layer.class.as_str()) {
        return None;
    }
    let config: Map<String, Value> = serde_json::from_str(&layer.config).ok()?;
    let weighs = matches!(config.get("output_mode").and_then(Value::as_str), Some("tf_idf" | "tf-idf"));
    weighs.then_some(config)
}

fn leaf(role: &str) -> &str {
    role.rsplit('/').next().unwrap_or(role)
}

fn holds_any(model: &Model) -> bool {
    model.layers.iter().any(|layer| config_of(layer).is_some() || layer.model.as_ref().is_some_and(holds_any))
}

fn within(output: &dyn Output, model: &mut Model, dialect: Dialect, notes: &mut Vec<Diag>) -> Result<(), Findings> {
    for layer in &mut model.layers {
        if let Some(inner) = &mut layer.model {
            within(output, inner, dialect, notes)?;
        }
        let Some(mut config) = config_of(layer) else { continue };
        let Some(count) = config.get("vocabulary").and_then(Value::as_array).map(Vec::len) else { continue };
        let stored = weights(output, layer)?;
        let own = config.get(WEIGHTS).and_then(Value::as_array);
        let own: Option<Vec<f64>> = own.map(|items| items.iter().filter_map(Value::as_f64).collect());
        let all = match (stored, &own) {
            (Some(stored), _) => stored,
            (None, Some(own)) => padded(&config, own).map_err(|detail| {
                Diag::new(
                    Code::LimitExceeded,
                    layer.path.as_str(),
                    format!("{detail}, at most {COUNT_MAX} are written"),
                )
            })?,
            // Said where the layer is written.
            (None, None) => continue,
        };
        if all.len() < count {
            let detail = format!("{} weights for {count} words", all.len());
            return Err(Diag::new(Code::Malformed, layer.path.as_str(), detail).into());
        }
        let roles: &[&str] = match (dialect, layer.class.as_str()) {
            // The layer, and the one inside of it.
            (Dialect::Keras3, "TextVectorization") => &["_lookup_layer/vars/idf_weights", "vars/idf_weights"],
            (Dialect::Keras3, _) => &["vars/idf_weights"],
            (Dialect::Keras2 | Dialect::Js, _) => &[WEIGHTS],
            (Dialect::Both, _) => &[],
        };
        if roles.is_empty() {
            let detail = "Keras 3 loads this file, tf.keras 2 does not: it asks for the weights of words as an array";
            notes.push(Diag::new(Code::NeedsNewer, layer.path.as_str(), detail).note());
        }
        let numbers: Vec<f32> = all.iter().map(|&weight| weight as f32).collect();
        let tensor = Tensor::from_f32(&[numbers.len() as u64], &numbers);
        let weight = |role: &&str| Weight { role: (*role).into(), tensor: Some((&tensor).into()), ..Weight::default() };
        layer.weights = roles.iter().map(weight).collect();
        if own.is_none() {
            config.insert(WEIGHTS.into(), json!(all[..count]));
            layer.config = Value::Object(config).to_string();
        }
    }
    Ok(())
}

/// Given weights as Keras makes an array of them: their mean for unknown words, unless these stand among the others,
/// and zeros up to the size of the output. What the configuration has too many of, else.
fn padded(config: &Map<String, Value>, given: &[f64]) -> Result<Vec<f64>, String> {
    let number = |key: &str, default: usize| match config.get(key).and_then(Value::as_u64).map(usize::try_from) {
        None => Ok(default),
        Some(Ok(count)) if count <= COUNT_MAX => Ok(count),
        Some(count) => Err(format!("{key} = {}", count.unwrap_or(usize::MAX))),
    };
    let unknown = number("num_oov_indices", 1)?;
    let token = config.get("oov_token").cloned().unwrap_or_else(|| json!("[UNK]"));
    let words = config.get("vocabulary").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let led = words.len() >= unknown && words[..unknown].iter().all(|word| *word == token);
    let mean = given.iter().sum::<f64>() / given.len().max(1) as f64;
    let mut all: Vec<f64> =
        std::iter::repeat_n(mean, if led { 0 } else { unknown }).chain(given.iter().copied()).collect();
    if config.get("pad_to_max_tokens") == Some(&json!(true)) {
        all.resize(number("max_tokens", 0)?.max(all.len()), 0.0);
    }
    Ok(all)
}

/// Those that are stored.
fn weights(output: &dyn Output, layer: &Layer) -> Result<Option<Vec<f64>>, Diag> {
    let stored = layer.weights.iter().find(|weight| leaf(&weight.role) == WEIGHTS);
    let tensor = stored.and_then(|weight| weight.tensor.as_ref()).map(|tensor| tensor.decode_tensor()).transpose()?;
    let Some(tensor) = tensor else { return Ok(None) };
    let mut bytes = Vec::new();
    output.read(&tensor, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    match tensor.dtype {
        DType::F32 => {
            let number = |piece: &[u8]| f64::from(f32::from_le_bytes([piece[0], piece[1], piece[2], piece[3]]));
            Ok(Some(bytes.chunks_exact(4).map(number).collect()))
        }
        other => {
            let detail = format!("weights of words as {other}");
            Err(Diag::new(Code::Malformed, layer.path.as_str(), detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_padded_within_bounds() {
        let of = |config: Value| padded(config.as_object().unwrap(), &[1.0, 3.0]);
        assert_eq!(of(json!({"vocabulary": ["a", "b"]})), Ok(vec![2.0, 1.0, 3.0]));
        assert_eq!(of(json!({"vocabulary": ["[UNK]", "b"]})), Ok(vec![1.0, 3.0]));
        let padding = json!({"vocabulary": ["a", "b"], "pad_to_max_tokens": true, "max_tokens": 4});
        assert_eq!(of(padding), Ok(vec![2.0, 1.0, 3.0, 0.0]));
        assert!(of(json!({"num_oov_indices": 1_u64 << 60})).is_err());
        assert!(of(json!({"pad_to_max_tokens": true, "max_tokens": u64::MAX})).is_err());
    }
}
