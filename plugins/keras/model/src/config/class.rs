//! What a layer is called by the plugins that lower it: one name for each meaning, whatever the version that saved it.

use super::ops;
use recast_plugin_api::diag::{Code, Diag};
use serde_json::Value;

/// (stored, current): names that meant the same in some version.
const ALIASES: &[(&str, &str)] = &[
    ("AvgPool1D", "AveragePooling1D"),
    ("AvgPool2D", "AveragePooling2D"),
    ("AvgPool3D", "AveragePooling3D"),
    ("BatchNormalizationV1", "BatchNormalization"),
    ("BatchNormalizationV2", "BatchNormalization"),
    ("Convolution1D", "Conv1D"),
    ("Convolution1DTranspose", "Conv1DTranspose"),
    ("Convolution2D", "Conv2D"),
    ("Convolution2DTranspose", "Conv2DTranspose"),
    ("Convolution3D", "Conv3D"),
    ("Convolution3DTranspose", "Conv3DTranspose"),
    ("CuDNNGRUV2", "CuDNNGRU"),
    ("Deconvolution2D", "Conv2DTranspose"),
    ("Deconvolution3D", "Conv3DTranspose"),
    ("DepthwiseConvolution2D", "DepthwiseConv2D"),
    ("GRUCellV2", "GRUCell"),
    ("GRUV1", "GRU"),
    ("GRUV2", "GRU"),
    ("GlobalAvgPool1D", "GlobalAveragePooling1D"),
    ("GlobalAvgPool2D", "GlobalAveragePooling2D"),
    ("GlobalAvgPool3D", "GlobalAveragePooling3D"),
    ("GlobalMaxPool1D", "GlobalMaxPooling1D"),
    ("GlobalMaxPool2D", "GlobalMaxPooling2D"),
    ("GlobalMaxPool3D", "GlobalMaxPooling3D"),
    ("GroupedQueryAttention", "GroupQueryAttention"),
    ("LSTMCellV2", "LSTMCell"),
    ("LSTMV1", "LSTM"),
    ("LSTMV2", "LSTM"),
    ("MaxPool1D", "MaxPooling1D"),
    ("MaxPool2D", "MaxPooling2D"),
    ("MaxPool3D", "MaxPooling3D"),
    ("SeparableConvolution1D", "SeparableConv1D"),
    ("SeparableConvolution2D", "SeparableConv2D"),
    ("SyncBatchNormalization", "BatchNormalization"),
    // What a FeatureSpace is made of.
    ("TFDConcat", "Concatenate"),
    ("TFDIdentity", "Identity"),
];

/// Keras' own layer classes: a class of the same name from a stranger's module is another one.
const KERAS: &[&str] = &[
    "Activation",
    "ActivityRegularization",
    "Add",
    "AdditiveAttention",
    "AlphaDropout",
    "Attention",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "BatchNormalization",
    "Bidirectional",
    "CategoryEncoding",
    "CenterCrop",
    "Concatenate",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "CuDNNGRU",
    "CuDNNLSTM",
    "Dense",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Discretization",
    "Dot",
    "Dropout",
    "ELU",
    "EinsumDense",
    "Embedding",
    "Flatten",
    "Functional",
    "GRU",
    "GRUCell",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "GroupNormalization",
    "GroupQueryAttention",
    "Hashing",
    "Identity",
    "InputLayer",
    "IntegerLookup",
    "LSTM",
    "LSTMCell",
    "Lambda",
    "LayerNormalization",
    "LeakyReLU",
    "LocallyConnected1D",
    "LocallyConnected2D",
    "Masking",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "Maximum",
    "MelSpectrogram",
    "Minimum",
    "Model",
    "MultiHeadAttention",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "RMSNormalization",
    "RNN",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "Resizing",
    "ReversibleEmbedding",
    "STFTSpectrogram",
    "SeparableConv1D",
    "SeparableConv2D",
    "Sequential",
    "SimpleRNN",
    "SimpleRNNCell",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "SpectralNormalization",
    "StackedRNNCells",
    "StringLookup",
    "Subtract",
    "TextVectorization",
    "ThresholdedReLU",
    "TimeDistributed",
    "UnitNormalization",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
];

/// Modules of Keras in its various homes.
const HOMES: &[&str] = &["keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "builtins"];

/// One of Keras' own layer classes, by today's name.
pub fn is_keras(class: &str) -> bool {
    KERAS.contains(&class)
}

/// A class as the file names it.
pub struct Stored<'v> {
    pub class_name: &'v str,
    pub module: &'v str,
    pub registered: &'v str,
    pub config: &'v Value,
}

impl<'v> Stored<'v> {
    /// Of `{"class_name", "config", "module"?, "registered_name"?}`.
    pub fn of(value: &'v Value, at: &str) -> Result<Stored<'v>, Diag> {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let class_name =
            text("class_name").ok_or_else(|| Diag::new(Code::Malformed, at, "a layer without a class name"))?;
        Ok(Stored {
            class_name,
            module: text("module").unwrap_or_default(),
            registered: text("registered_name").unwrap_or_default(),
            config: value.get("config").unwrap_or(&Value::Null),
        })
    }

    /// As in `Layer::class`.
    pub fn key(&self, keras_major: u32) -> String {
        if let Some(key) = self.function_key() {
            return key;
        }
        if let Some(family) = self.operation_family() {
            return format!("ops.{family}.{}", self.class_name);
        }
        let bare = self.module.is_empty() && keras_major >= 3 && self.config.get("trainable").is_none();
        if let Some(key) = ops::class_of(self.class_name).filter(|_| bare) {
            return key;
        }
        let name = if self.registered.contains('>') { self.registered } else { self.class_name };
        let name = name.strip_prefix("Keras>").or_else(|| name.strip_prefix("keras>")).unwrap_or(name);
        let current = ALIASES.binary_search_by_key(&name, |(stored, _)| stored).map_or(name, |found| ALIASES[found].1);
        if KERAS.contains(&current) && !self.at_home() {
            return format!("{}>{}", self.module, self.class_name);
        }
        current.to_owned()
    }

    fn at_home(&self) -> bool {
        self.module.is_empty()
            || HOMES
                .iter()
                .any(|home| self.module.strip_prefix(home).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }

    /// TensorFlow functions that Keras 2 wrapped into layers.
    fn function_key(&self) -> Option<String> {
        let text = |key: &str| self.config.get(key).and_then(Value::as_str);
        match self.class_name {
            "TFOpLambda" | "SlicingOpLambda" => Some(format!("tf.{}", text("function")?)),
            "ClassMethod" => Some(format!("tf.{}.{}", text("cls_symbol")?, text("method_name")?)),
            "InstanceMethod" | "InstanceProperty" => Some(format!("tf.instance.{}", text("attr_name")?)),
            _ => None,
        }
    }

    /// `numpy` of `keras.src.ops.numpy`.
    fn operation_family(&self) -> Option<&'v str> {
        let below = self.module.strip_prefix("keras.src.").or_else(|| self.module.strip_prefix("keras."))?;
        if below.starts_with("activations") {
            return Some("activations");
        }
        below.strip_prefix("ops.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(value: Value, major: u32) -> String {
        Stored::of(&value, "x").unwrap().key(major)
    }

    #[test]
    fn the_tables_are_sorted() {
        assert!(ALIASES.is_sorted());
        assert!(KERAS.is_sorted());
    }

    #[test]
    fn one_name_for_each_meaning() {
        let op = |config: Value| json!({"class_name": "Add", "config": config});
        assert_eq!(key(op(json!({"name": "add"})), 3), "ops.numpy.Add");
        assert_eq!(key(op(json!({"name": "add", "trainable": true})), 3), "Add");
        assert_eq!(key(op(json!({"name": "add"})), 2), "Add");
        assert_eq!(key(json!({"class_name": "Relu", "module": "keras.src.ops.nn", "config": {}}), 3), "ops.nn.Relu");
        assert_eq!(key(json!({"class_name": "BatchNormalizationV1", "config": {}}), 2), "BatchNormalization");
        assert_eq!(key(json!({"class_name": "my_pkg>Scale", "config": {}}), 2), "my_pkg>Scale");
        let scale = json!({"class_name": "Scale", "module": "m", "registered_name": "my_pkg>Scale", "config": {}});
        assert_eq!(key(scale, 3), "my_pkg>Scale");
        assert_eq!(key(json!({"class_name": "Dense", "module": "theirs", "config": {}}), 3), "theirs>Dense");
        assert_eq!(key(json!({"class_name": "Dense", "module": "keras.layers", "config": {}}), 3), "Dense");
        let lambda = json!({"class_name": "TFOpLambda", "config": {"function": "math.multiply"}});
        assert_eq!(key(lambda, 2), "tf.math.multiply");
    }
}
