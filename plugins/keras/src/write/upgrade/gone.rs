//! Keys of older versions that Keras 3 does not take: under which values one can be left out, and what became of the
//! others.

use serde_json::{Value, json};

/// When a key may be left out without changing what the layer computes.
pub enum When {
    /// Whatever it says: it is about training, speed, or what is written elsewhere.
    Always,
    Null,
    False,
    One,
    Zero,
}

/// (class or empty for any, key, when it may go).
const GONE: &[(&str, &str, When)] = &[
    // Inputs are layers of their own.
    ("", "batch_input_shape", When::Always),
    ("", "input_dtype", When::Always),
    ("", "input_shape", When::Always),
    ("Dense", "input_dim", When::Always),
    ("Embedding", "input_length", When::Always),
    ("Embedding", "sparse", When::False),
    ("", "ragged", When::False),
    // How it is computed, and with which random numbers.
    ("", "implementation", When::Always),
    ("", "consume_less", When::Always),
    ("", "unroll", When::Always),
    ("", "force_generator", When::Always),
    ("", "rng_type", When::Always),
    ("BatchNormalization", "fused", When::Always),
    ("BatchNormalization", "virtual_batch_size", When::Null),
    ("BatchNormalization", "adjustment", When::Null),
    ("BatchNormalization", "mode", When::Zero),
    ("", "noise_shape", When::Always),
    ("", "time_major", When::False),
    ("RNN", "num_constants", When::Null),
    ("Bidirectional", "num_constants", When::Null),
    ("", "groups", When::One),
    // Arguments of a parent class that the layer does not use.
    ("", "kernel_initializer", When::Always),
    ("", "kernel_regularizer", When::Always),
    ("", "kernel_constraint", When::Always),
    ("", "activity_regularizer", When::Always),
    // Shapes that the layer was built with.
    ("MultiHeadAttention", "query_shape", When::Always),
    ("MultiHeadAttention", "key_shape", When::Always),
    ("MultiHeadAttention", "value_shape", When::Always),
    ("", "vocabulary_size", When::Always),
    ("", "has_input_vocabulary", When::Always),
    ("", "autocast", When::Always),
];

/// May this key be left out?
pub fn may_go(class: &str, key: &str, value: &Value) -> bool {
    let rows = GONE.iter().filter(|(of, gone, _)| *gone == key && (of.is_empty() || *of == class));
    rows.into_iter().any(|(_, _, when)| match when {
        When::Always => true,
        When::Null => value.is_null(),
        When::False => value.is_null() || *value == json!(false),
        When::One => value.is_null() || *value == json!(1),
        When::Zero => value.is_null() || *value == json!(0),
    })
}

/// (class or empty for any, key, its value when it is left out): keys that earlier versions of Keras 3 do not take.
const LATER: &[(&str, &str, &str)] = &[
    ("CategoryEncoding", "sparse", "false"),
    ("GroupQueryAttention", "flash_attention", "null"),
    ("GroupQueryAttention", "seed", "null"),
    ("GroupQueryAttention", "sliding_window", "null"),
    ("GroupQueryAttention", "use_gate", "false"),
    ("", "output_padding", "null"),
];

/// What an option is when a configuration does not say it, if a later Keras 3 than the first came with it.
pub fn later(class: &str, key: &str) -> Option<Value> {
    let (_, _, value) = LATER.iter().find(|(of, known, _)| *known == key && (of.is_empty() || *of == class))?;
    serde_json::from_str(value).ok()
}

/// (class, its key once, its key now).
const RENAMED: &[(&str, &str, &str)] = &[
    ("Discretization", "bins", "bin_boundaries"),
    ("LeakyReLU", "alpha", "negative_slope"),
    ("CategoryEncoding", "max_tokens", "num_tokens"),
];

pub fn renamed(class: &str, key: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(of, once, _)| *of == class && *once == key).map(|(_, _, now)| *now)
}
