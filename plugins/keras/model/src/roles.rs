//! The arrays that each layer class makes, in the order in which it makes them: Keras' own names for them.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// `kernel`, `query/kernel`.
    pub name: &'static str,
    /// Kept apart by Keras: trainable arrays are written before the others.
    pub trainable: bool,
}

impl Role {
    /// The last word: what an array's stored name ends with.
    pub fn leaf(&self) -> &'static str {
        self.name.rsplit('/').next().unwrap_or(self.name)
    }
}

/// When a layer has the array.
enum When {
    Always,
    /// The flag of this name, with its default.
    Flag(&'static str, bool),
    Not(&'static str, bool),
    Null(&'static str),
    Given(&'static str),
    Is(&'static str, &'static str),
    IsNot(&'static str, &'static str),
    /// Both flags, the first false by default, the second true.
    Flags(&'static str, &'static str),
    /// One of them, with the same defaults.
    Either(&'static str, &'static str),
    /// Not the first, and the second, with the same defaults.
    Unless(&'static str, &'static str),
    /// Keras 3 keeps the layer's numbers in eight bits.
    Int8,
}

use When::{Always, Either, Flag, Flags, Given, Int8, Is, IsNot, Not, Null, Unless};

type Row = (&'static str, When, bool);

const fn always(name: &'static str) -> Row {
    (name, Always, true)
}

const fn state(name: &'static str) -> Row {
    (name, Always, false)
}

const fn biased(name: &'static str) -> Row {
    (name, Flag("use_bias", true), true)
}

const KERNEL: &[Row] = &[always("kernel"), biased("bias")];
const DENSE: &[Row] = &[always("kernel"), biased("bias"), ("kernel_scale", Int8, false)];
const DEPTHWISE: &[Row] = &[always("depthwise_kernel"), biased("bias")];
const SEPARABLE: &[Row] = &[always("depthwise_kernel"), always("pointwise_kernel"), biased("bias")];
const RECURRENT: &[Row] = &[always("kernel"), always("recurrent_kernel"), biased("bias")];
const PEEPHOLE: &[Row] = &[
    always("kernel"),
    always("recurrent_kernel"),
    biased("bias"),
    always("input_gate_peephole_weights"),
    always("forget_gate_peephole_weights"),
    always("output_gate_peephole_weights"),
];
const CUDNN: &[Row] = &[always("kernel"), always("recurrent_kernel"), always("bias")];
const GAMMA_BETA: &[Row] = &[("gamma", Flag("scale", true), true), ("beta", Flag("center", true), true)];
const ATTENTION: &[Row] = &[
    always("query/kernel"),
    biased("query/bias"),
    always("key/kernel"),
    biased("key/bias"),
    ("gate/kernel", Flag("use_gate", false), true),
    ("gate/bias", Flags("use_gate", "use_bias"), true),
    always("value/kernel"),
    biased("value/bias"),
    always("attention_output/kernel"),
    biased("attention_output/bias"),
];

/// Sorted by class. Classes that are not here have the arrays that the file has for them.
const TABLE: &[(&str, &[Row])] = &[
    ("AdditiveAttention", &[("scale", Flag("use_scale", true), true)]),
    (
        "Attention",
        &[("scale", Flag("use_scale", false), true), ("concat_score_weight", Is("score_mode", "concat"), true)],
    ),
    (
        "BatchNormalization",
        &[
            ("gamma", Flag("scale", true), true),
            ("beta", Flag("center", true), true),
            state("moving_mean"),
            state("moving_variance"),
            ("moving_stddev", Flag("renorm", false), false),
            ("renorm_mean", Flag("renorm", false), false),
            ("renorm_stddev", Flag("renorm", false), false),
        ],
    ),
    ("Bidirectional", &[]),
    ("Conv1D", KERNEL),
    ("Conv1DTranspose", KERNEL),
    ("Conv2D", KERNEL),
    ("Conv2DTranspose", KERNEL),
    ("Conv3D", KERNEL),
    ("Conv3DTranspose", KERNEL),
    ("ConvLSTM1D", RECURRENT),
    ("ConvLSTM2D", RECURRENT),
    ("ConvLSTM2DCell", RECURRENT),
    ("ConvLSTM3D", RECURRENT),
    ("CuDNNGRU", CUDNN),
    ("CuDNNLSTM", CUDNN),
    ("Dense", DENSE),
    ("DepthwiseConv1D", DEPTHWISE),
    ("DepthwiseConv2D", DEPTHWISE),
    ("Discretization", &[(LEARNT_BOUNDS, Null("bin_boundaries"), false)]),
    ("EinsumDense", &[always("kernel"), ("bias", Given("bias_axes"), true), ("kernel_scale", Int8, false)]),
    ("Embedding", &[always("embeddings"), ("embeddings_scale", Int8, false)]),
    ("GRU", RECURRENT),
    ("GRUCell", RECURRENT),
    ("GroupNormalization", GAMMA_BETA),
    ("GroupQueryAttention", ATTENTION),
    ("GroupedQueryAttention", ATTENTION),
    ("LSTM", RECURRENT),
    ("LSTMCell", RECURRENT),
    (
        "LayerNormalization",
        &[("gamma", Either("rms_scaling", "scale"), true), ("beta", Unless("rms_scaling", "center"), true)],
    ),
    ("LocallyConnected1D", KERNEL),
    ("LocallyConnected2D", KERNEL),
    ("MultiHeadAttention", ATTENTION),
    (
        "Normalization",
        &[("mean", Null("mean"), false), ("variance", Null("mean"), false), ("count", Null("mean"), false)],
    ),
    ("PReLU", &[always("alpha")]),
    ("PeepholeLSTMCell", PEEPHOLE),
    ("Pipeline", &[]),
    ("RMSNormalization", &[always("scale")]),
    ("RNN", &[]),
    ("RandomFourierFeatures", &[always("kernel_scale"), state("unscaled_kernel"), state("bias")]),
    ("ResidualWrapper", &[]),
    ("ReversibleEmbedding", &[always("embeddings"), ("reverse_embeddings", Not("tie_weights", true), true)]),
    ("STFTSpectrogram", &[("real_kernel", IsNot("mode", "imag"), true), ("imag_kernel", IsNot("mode", "real"), true)]),
    ("SeparableConv1D", SEPARABLE),
    ("SeparableConv2D", SEPARABLE),
    ("SimpleRNN", RECURRENT),
    ("SimpleRNNCell", RECURRENT),
    ("SpectralNormalization", &[state("vector_u")]),
    ("StackedRNNCells", &[]),
    ("TimeDistributed", &[]),
];

/// Stored, but no part of what the layer computes: (class or empty for any, last word of the name).
const IGNORED: &[(&str, &str)] = &[
    ("BatchNormalization", "moving_stddev"),
    ("BatchNormalization", "renorm_mean"),
    ("BatchNormalization", "renorm_mean_weight"),
    ("BatchNormalization", "renorm_stddev"),
    ("BatchNormalization", "renorm_stddev_weight"),
    // What the configuration says, once more.
    ("Discretization", "bins"),
    ("", "seed_generator_state"),
];

/// What a Discretization of Keras 2 keeps of the numbers that it was adapted to, instead of bounds (`learnt`).
pub const LEARNT_BOUNDS: &str = "summary";

/// Carried over though nothing is computed with it: how many batches a Normalization was adapted to decides how much
/// the next one counts. Not every file has it.
const SPARE: &[(&str, &str)] = &[("Discretization", LEARNT_BOUNDS), ("Normalization", "count")];

/// May a layer come without it?
pub fn is_spare(class: &str, leaf: &str) -> bool {
    is_ignored(class, leaf) || SPARE.contains(&(class, leaf))
}

pub fn is_ignored(class: &str, leaf: &str) -> bool {
    IGNORED.iter().any(|&(of, name)| name == leaf && (of.is_empty() || of == class))
}

/// The attributes below which a layer of this class keeps its own arrays; `part` is that of a role with two words.
pub fn homes(class: &str, part: &str) -> &'static [&'static str] {
    match (part, class) {
        ("query", _) => &["query_dense", "_query_dense"],
        ("key", _) => &["key_dense", "_key_dense"],
        ("gate", _) => &["gate_dense", "_gate_dense"],
        ("value", _) => &["value_dense", "_value_dense"],
        ("attention_output", _) => &["output_dense", "_output_dense"],
        (_, "LSTM" | "GRU" | "SimpleRNN" | "ConvLSTM1D" | "ConvLSTM2D" | "ConvLSTM3D") => &["cell"],
        _ => &[""],
    }
}

/// The only quantization whose numbers are read, and the classes that may have it.
const INT8: &str = "int8";
const QUANTIZED: &[&str] = &["Dense", "EinsumDense", "Embedding"];
/// Their arrays of eight bits, which Keras does not train.
const QUANTIZED_ROLES: &[&str] = &["kernel", "embeddings"];

/// The mode that Keras 3 quantized the layer in: `int8`, `int4/128`, `float8`, `gptq/4/-1`, ...
pub fn quantization(config: &Value) -> Option<&str> {
    config.get("dtype")?.get("config")?.get("mode")?.as_str()
}

/// The mode, when a layer of this class is not read in it.
pub fn unread_quantization<'v>(class: &str, config: &'v Value) -> Option<&'v str> {
    quantization(config).filter(|mode| *mode != INT8 || !QUANTIZED.contains(&class))
}

/// None when only the file knows.
pub fn of(class: &str, config: &Value) -> Option<Vec<Role>> {
    if class.starts_with("ops.") || class.starts_with("tf.") {
        return Some(Vec::new());
    }
    let found = TABLE.binary_search_by_key(&class, |(class, _)| class).ok()?;
    let rows = TABLE[found].1.iter().filter(|(_, when, _)| when.holds(config));
    let fixed = |name: &str| QUANTIZED_ROLES.contains(&name) && quantization(config) == Some(INT8);
    Some(rows.map(|&(name, _, trainable)| Role { name, trainable: trainable && !fixed(name) }).collect())
}

impl When {
    fn holds(&self, config: &Value) -> bool {
        let is_null = |key: &str| config.get(key).is_none_or(Value::is_null);
        match self {
            Always => true,
            Flag(key, default) => crate::json::flag(config, key, *default),
            Not(key, default) => !crate::json::flag(config, key, *default),
            Null(key) => is_null(key),
            Given(key) => !is_null(key),
            Int8 => quantization(config) == Some(INT8),
            Is(key, value) => config.get(key).and_then(Value::as_str) == Some(value),
            IsNot(key, value) => config.get(key).and_then(Value::as_str) != Some(value),
            Flags(off, on) => crate::json::flag(config, off, false) && crate::json::flag(config, on, true),
            Either(off, on) => crate::json::flag(config, off, false) || crate::json::flag(config, on, true),
            Unless(off, on) => !crate::json::flag(config, off, false) && crate::json::flag(config, on, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.is_sorted_by_key(|(class, _)| class));
    }

    #[test]
    fn options_decide_what_there_is() {
        let names = |class, config| of(class, &config).unwrap().iter().map(|role| role.name).collect::<Vec<_>>();
        assert_eq!(names("Dense", json!({"use_bias": false})), ["kernel"]);
        assert_eq!(names("BatchNormalization", json!({"scale": false})), ["beta", "moving_mean", "moving_variance"]);
        assert_eq!(names("Normalization", json!({"mean": 1.0})), [] as [&str; 0]);
        assert_eq!(names("tf.add", json!({})), [] as [&str; 0]);
        assert!(of("my_pkg>Scale", &json!({})).is_none());
    }

    /// In an .h5, Keras has what it trains before the rest.
    #[test]
    fn kernels_of_eight_bits_are_not_trained() {
        let config = json!({"dtype": {"config": {"mode": "int8"}}});
        for (class, config, want) in
            [("Dense", &config, &["bias"][..]), ("Embedding", &config, &[]), ("Dense", &json!({}), &["kernel", "bias"])]
        {
            let trained = of(class, config).unwrap().into_iter().filter(|role| role.trainable);
            assert_eq!(trained.map(|role| role.name).collect::<Vec<_>>(), want, "{class} {config}");
        }
    }
}
