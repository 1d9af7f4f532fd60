//! Dtypes of TimeDistributed and of the layer in it. Keras 2 calls that layer, which computes in its own policy;
//! Keras 3 runs its `call` alone, so that the wrapper's policy counts for it.

use super::Dialect;
use super::values::policy;
use recast_keras_model::classes::is_made_of_others;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::model::Layer;
use serde_json::Value;

/// The name of a layer's policy; none where it is more than a name, which nobody but Keras 3 has.
fn dtype(layer: &Layer) -> Option<String> {
    let config: Value = serde_json::from_str(&layer.config).ok()?;
    match config.get("dtype").unwrap_or(&Value::Null) {
        Value::Null => Some("float32".into()),
        stated => policy(stated).map(|name| name.unwrap_or("float32").to_owned()),
    }
}

/// Can whatever the inner layer's policy tells from another number pass through the wrapper's?
fn keeps(outer: &str, inner: &str) -> bool {
    outer == "float64" || outer == "float32" && inner != "float64"
}

/// Gives both the policy that the inner layer computes in where the source comes from; a finding where that has no
/// words.
pub fn agree(layer: &mut Layer, major: u32, dialect: Dialect) -> Result<(), Diag> {
    let Some(inner) = layer.child("layer") else { return Ok(()) };
    if layer.class != "TimeDistributed" || inner.model.is_some() || is_made_of_others(&inner.class) {
        return Ok(());
    }
    let (Some(own), Some(of_inner)) = (dtype(layer), dtype(inner)) else { return Ok(()) };
    // One of whole numbers is of what the layer gives: it casts no floats.
    let is_float = |name: &str| !name.contains("int");
    if own == of_inner || !is_float(&own) || !is_float(&of_inner) {
        return Ok(());
    }
    if major >= 3 && dialect != Dialect::Keras3 {
        let inner = layer.children.iter_mut().find(|child| child.attribute == "layer");
        let inner = inner.and_then(|child| child.layer.as_mut());
        inner.into_iter().for_each(|inner| super::prepare::set(inner, "dtype", Value::from(own.as_str())));
    } else if major < 3 && !dialect.is_old() {
        if !keeps(&own, &of_inner) {
            let detail = format!(
                "it takes its input in {own}, and its {} computes in {of_inner}: in Keras 3 both do in {own}",
                inner.class
            );
            let finding = Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail);
            return Err(finding.hint("the targets `keras2` and `onnx` keep what it computes"));
        }
        super::prepare::set(layer, "dtype", Value::from(of_inner));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use recast_plugin_api::model::Child;
    use serde_json::json;

    fn wrapped(class: &str, outer: &str, inner: &str) -> Layer {
        let layer = |class: &str, dtype: &str| Layer {
            class: class.into(),
            config: json!({"name": "it", "dtype": dtype}).to_string(),
            ..Layer::default()
        };
        let child = Child { attribute: "layer".into(), layer: Some(layer(class, inner)) };
        Layer { children: vec![child], ..layer("TimeDistributed", outer) }
    }

    #[test]
    fn both_get_the_policy_that_counts() {
        use Dialect::{Both, Js, Keras2, Keras3};
        let (half, full) = ("mixed_float16", "float32");
        // Of the source: its Keras, the wrapper's policy, the layer's; what both get, or none where it is refused.
        let cases = [
            (3, Keras2, full, half, Some((full, full))),
            (3, Js, half, full, Some((half, half))),
            (3, Both, half, full, Some((half, half))),
            (3, Keras3, half, full, Some((half, full))),
            (2, Keras3, full, half, Some((half, half))),
            (2, Both, full, half, Some((half, half))),
            (2, Keras3, half, full, None),
            (2, Keras2, half, full, Some((half, full))),
            (2, Keras3, half, half, Some((half, half))),
            (2, Keras3, full, "int64", Some((full, "int64"))),
            (3, Keras2, full, "uint8", Some((full, "uint8"))),
        ];
        for (major, dialect, outer, inner, want) in cases {
            let mut layer = wrapped("Dense", outer, inner);
            let made = agree(&mut layer, major, dialect).ok();
            let inner = layer.child("layer").and_then(dtype).unwrap_or_default();
            let outer = dtype(&layer).unwrap_or_default();
            let found = made.map(|()| (outer.as_str(), inner.as_str()));
            assert_eq!(found, want, "{major} to {dialect:?}");
        }
        let mut layer = wrapped("LSTM", full, half);
        assert!(agree(&mut layer, 3, Keras2).is_ok());
        assert_eq!(layer.child("layer").and_then(dtype).as_deref(), Some(half), "it calls its cell as ever");
    }
}
