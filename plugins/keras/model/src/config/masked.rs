//! `zero_output_for_mask`, as the Keras that wrote the file heeded it: whether a recurrent layer gives zeros at the
//! steps that are masked, or what it gave at the step before. Of the two layers of a Bidirectional, no file says it.
//!
//! | written by | a pair's masked steps |
//! |---|---|
//! | Keras up to 2.3, tf.keras of TensorFlow up to 1.12 | never zero: there is no such option |
//! | TensorFlow 1.13 | always zero, the last output of a pair that gives no sequence, too |
//! | later | zero in sequences, whatever the option says; but for the LSTM and GRU of TensorFlow 2.0 and 2.1 |

use super::Version;
use crate::json::flag;
use recast_plugin_api::model::keras_version;
use serde_json::Value;
use std::borrow::Cow;

const KEY: &str = "zero_output_for_mask";

/// What TensorFlow 1.13 to 2.1 state.
fn is_tf_2_2(version: &Version) -> bool {
    version.text.ends_with("-tf") && keras_version(&version.text) == (2, 2)
}

/// Whether the layers of a pair, made of the layer `inner`, give zeros at masked steps.
pub(super) fn pair_zeroes(version: &Version, inner: &Value) -> bool {
    let first = if version.text.contains("tf") { (2, 2) } else { (2, 4) };
    let config = inner.get("config").unwrap_or(&Value::Null);
    let sequences = flag(config, "return_sequences", false);
    if keras_version(&version.text) < first || is_forgotten(version, inner) {
        return false;
    }
    sequences || is_of_1_13(version, config)
}

/// TensorFlow 1.13 left the option on in a layer that gives no sequence. Later ones that state the same version turn it
/// off there, whoever set it; the initializers of TensorFlow 2 have no dtype.
fn is_of_1_13(version: &Version, config: &Value) -> bool {
    let initializer = config.get("kernel_initializer").and_then(|initializer| initializer.get("config"));
    is_tf_2_2(version)
        && flag(config, KEY, false)
        && initializer.is_some_and(|initializer| initializer.get("dtype").is_some())
}

/// Whether the option is left unread by this layer: an LSTM or GRU of TensorFlow 2.0 or 2.1 with the options that cuDNN
/// has, without a GPU, too. TensorFlow 1.14 and 1.15 state the same version, but another `implementation`, if the user
/// does not.
fn is_forgotten(version: &Version, layer: &Value) -> bool {
    let config = layer.get("config").unwrap_or(&Value::Null);
    let says = |key: &str, text: &str| config.get(key).and_then(Value::as_str) == Some(text);
    let known = match layer.get("class_name").and_then(Value::as_str) {
        Some("LSTM") => true,
        Some("GRU") => flag(config, "reset_after", false),
        _ => false,
    };
    known
        && is_tf_2_2(version)
        && config.get("implementation").and_then(Value::as_u64) == Some(2)
        && says("activation", "tanh")
        && says("recurrent_activation", "sigmoid")
        && flag(config, "use_bias", true)
        && !flag(config, "unroll", false)
        && config.get("recurrent_dropout").and_then(Value::as_f64).unwrap_or(0.0) == 0.0
}

/// The layer's configuration, without the option where it does not count.
pub(super) fn heeded<'v>(version: &Version, layer: &Value, config: &'v Value) -> Cow<'v, Value> {
    let mut config = Cow::Borrowed(config);
    if is_forgotten(version, layer) {
        config.to_mut().as_object_mut().map(|config| config.remove(KEY));
    }
    config
}

/// Says it of one of a pair.
pub(super) fn state(zeroes: bool, config: &mut serde_json::Map<String, Value>) {
    config.insert(KEY.into(), Value::Bool(zeroes));
}
