//! The classes of Keras 3.15 and the arguments that each takes, measured on it and on tf.keras 2.15 (by
//! `tests/conformance/class_keys.py`, which prints this table). A key that is not here can't be written; `GONE` says
//! which of those may be left out.

use super::Home::{self, Application, Both, Legacy, Only3};
use serde_json::Value;

/// One class.
pub struct Row {
    pub class: &'static str,
    pub home: Home,
    /// Keys of `config` that Keras 3 takes, and 2.15 where it has the class; without `name`, `trainable`, `dtype`.
    pub keys: &'static str,
    /// Keys that only Keras 3 takes, with the values that they have when they are left out, as JSON.
    pub new: &'static str,
}

const fn row(class: &'static str, home: Home, keys: &'static str, new: &'static str) -> Row {
    Row { class, home, keys, new }
}

const CONVNEXT: Home = Application("keras.src.applications.convnext");

/// Sorted by class.
pub const CLASSES: &[Row] = &[
    row("Activation", Both, "activation", ""),
    row("ActivityRegularization", Both, "l1 l2", ""),
    row("AdaptiveAveragePooling1D", Only3, "output_size data_format", ""),
    row("AdaptiveAveragePooling2D", Only3, "output_size data_format", ""),
    row("AdaptiveAveragePooling3D", Only3, "output_size data_format", ""),
    row("AdaptiveMaxPooling1D", Only3, "output_size data_format", ""),
    row("AdaptiveMaxPooling2D", Only3, "output_size data_format", ""),
    row("AdaptiveMaxPooling3D", Only3, "output_size data_format", ""),
    row("Add", Both, "", ""),
    row("AdditiveAttention", Both, "use_scale dropout seed", ""),
    row("AlphaDropout", Both, "rate noise_shape seed", ""),
    row("Attention", Both, "use_scale score_mode dropout seed", ""),
    row(
        "AugMix",
        Only3,
        "value_range num_chains chain_depth factor alpha all_ops interpolation seed data_format \
         bounding_box_format",
        "",
    ),
    row("AutoContrast", Only3, "value_range factor bounding_box_format data_format", ""),
    row("Average", Both, "", ""),
    row("AveragePooling1D", Both, "pool_size strides padding data_format", ""),
    row("AveragePooling2D", Both, "pool_size strides padding data_format", ""),
    row("AveragePooling3D", Both, "pool_size strides padding data_format", ""),
    row(
        "BatchNormalization",
        Both,
        "axis momentum epsilon center scale beta_initializer gamma_initializer moving_mean_initializer \
         moving_variance_initializer beta_regularizer gamma_regularizer beta_constraint gamma_constraint renorm \
         renorm_clipping renorm_momentum synchronized",
        "",
    ),
    row("Bidirectional", Both, "layer merge_mode backward_layer", ""),
    row("CategoryEncoding", Both, "num_tokens output_mode sparse", ""),
    row("CenterCrop", Both, "height width", "data_format=null factor=null bounding_box_format=null"),
    row("Concatenate", Both, "axis", ""),
    row(
        "ContrastLimitedAdaptiveHistogramEqualization",
        Only3,
        "value_range clip_limit tile_grid_size data_format factor bounding_box_format",
        "",
    ),
    row(
        "Conv1D",
        Both,
        "filters kernel_size strides padding data_format dilation_rate groups activation use_bias \
         kernel_initializer bias_initializer kernel_regularizer bias_regularizer activity_regularizer \
         kernel_constraint bias_constraint",
        "lora_rank=null lora_alpha=null",
    ),
    row(
        "Conv1DTranspose",
        Both,
        "filters kernel_size strides padding output_padding data_format dilation_rate activation use_bias \
         kernel_initializer bias_initializer kernel_regularizer bias_regularizer activity_regularizer \
         kernel_constraint bias_constraint",
        "",
    ),
    row(
        "Conv2D",
        Both,
        "filters kernel_size strides padding data_format dilation_rate groups activation use_bias \
         kernel_initializer bias_initializer kernel_regularizer bias_regularizer activity_regularizer \
         kernel_constraint bias_constraint",
        "lora_rank=null lora_alpha=null",
    ),
    row(
        "Conv2DTranspose",
        Both,
        "filters kernel_size strides padding output_padding data_format dilation_rate activation use_bias \
         kernel_initializer bias_initializer kernel_regularizer bias_regularizer activity_regularizer \
         kernel_constraint bias_constraint",
        "",
    ),
    row(
        "Conv3D",
        Both,
        "filters kernel_size strides padding data_format dilation_rate groups activation use_bias \
         kernel_initializer bias_initializer kernel_regularizer bias_regularizer activity_regularizer \
         kernel_constraint bias_constraint",
        "lora_rank=null lora_alpha=null",
    ),
    row(
        "Conv3DTranspose",
        Both,
        "filters kernel_size strides padding data_format output_padding dilation_rate activation use_bias \
         kernel_initializer bias_initializer kernel_regularizer bias_regularizer activity_regularizer \
         kernel_constraint bias_constraint",
        "",
    ),
    row(
        "ConvLSTM1D",
        Both,
        "filters kernel_size strides padding data_format dilation_rate activation recurrent_activation use_bias \
         kernel_initializer recurrent_initializer bias_initializer unit_forget_bias kernel_regularizer \
         recurrent_regularizer bias_regularizer activity_regularizer kernel_constraint recurrent_constraint \
         bias_constraint dropout recurrent_dropout return_sequences return_state go_backwards stateful unroll",
        "seed=null zero_output_for_mask=false",
    ),
    row(
        "ConvLSTM2D",
        Both,
        "filters kernel_size strides padding data_format dilation_rate activation recurrent_activation use_bias \
         kernel_initializer recurrent_initializer bias_initializer unit_forget_bias kernel_regularizer \
         recurrent_regularizer bias_regularizer activity_regularizer kernel_constraint recurrent_constraint \
         bias_constraint dropout recurrent_dropout return_sequences return_state go_backwards stateful unroll",
        "seed=null zero_output_for_mask=false",
    ),
    row(
        "ConvLSTM3D",
        Both,
        "filters kernel_size strides padding data_format dilation_rate activation recurrent_activation use_bias \
         kernel_initializer recurrent_initializer bias_initializer unit_forget_bias kernel_regularizer \
         recurrent_regularizer bias_regularizer activity_regularizer kernel_constraint recurrent_constraint \
         bias_constraint dropout recurrent_dropout return_sequences return_state go_backwards stateful unroll",
        "seed=null zero_output_for_mask=false",
    ),
    row("Cropping1D", Both, "cropping", ""),
    row("Cropping2D", Both, "cropping data_format", ""),
    row("Cropping3D", Both, "cropping data_format", ""),
    row("CustomScaleLayer", Application("keras.src.applications.inception_resnet_v2"), "scale", ""),
    row("CutMix", Only3, "factor seed data_format bounding_box_format", ""),
    row(
        "Dense",
        Both,
        "units activation use_bias kernel_initializer bias_initializer kernel_regularizer bias_regularizer \
         activity_regularizer kernel_constraint bias_constraint",
        "lora_rank=null lora_alpha=null quantization_config=null",
    ),
    row(
        "DepthwiseConv1D",
        Both,
        "kernel_size strides padding depth_multiplier data_format dilation_rate activation use_bias \
         depthwise_initializer bias_initializer depthwise_regularizer bias_regularizer activity_regularizer \
         depthwise_constraint bias_constraint",
        "",
    ),
    row(
        "DepthwiseConv2D",
        Both,
        "kernel_size strides padding depth_multiplier data_format dilation_rate activation use_bias \
         depthwise_initializer bias_initializer depthwise_regularizer bias_regularizer activity_regularizer \
         depthwise_constraint bias_constraint",
        "",
    ),
    row("Discretization", Both, "bin_boundaries num_bins epsilon output_mode sparse", ""),
    row("Dot", Both, "axes normalize", ""),
    row("Dropout", Both, "rate noise_shape seed", ""),
    row("ELU", Both, "alpha", ""),
    row(
        "EinsumDense",
        Both,
        "equation output_shape activation bias_axes kernel_initializer bias_initializer kernel_regularizer \
         bias_regularizer kernel_constraint bias_constraint activity_regularizer",
        "lora_rank=null lora_alpha=null gptq_unpacked_column_size=null quantization_config=null",
    ),
    row(
        "Embedding",
        Both,
        "input_dim output_dim embeddings_initializer embeddings_regularizer embeddings_constraint mask_zero \
         activity_regularizer",
        "lora_rank=null lora_alpha=null quantization_config=null",
    ),
    row("Equalization", Only3, "value_range bins data_format factor bounding_box_format", ""),
    row("Flatten", Both, "data_format", ""),
    row(
        "GRU",
        Both,
        "units activation recurrent_activation use_bias kernel_initializer recurrent_initializer bias_initializer \
         kernel_regularizer recurrent_regularizer bias_regularizer activity_regularizer kernel_constraint \
         recurrent_constraint bias_constraint dropout recurrent_dropout seed return_sequences return_state \
         go_backwards stateful unroll reset_after",
        "use_cudnn=\"auto\" zero_output_for_mask=false",
    ),
    row(
        "GRUCell",
        Both,
        "units activation recurrent_activation use_bias kernel_initializer recurrent_initializer bias_initializer \
         kernel_regularizer recurrent_regularizer bias_regularizer kernel_constraint recurrent_constraint \
         bias_constraint dropout recurrent_dropout reset_after seed",
        "",
    ),
    row("GaussianDropout", Both, "rate seed", ""),
    row("GaussianNoise", Both, "stddev seed", ""),
    row("GlobalAveragePooling1D", Both, "data_format keepdims", ""),
    row("GlobalAveragePooling2D", Both, "data_format keepdims", ""),
    row("GlobalAveragePooling3D", Both, "data_format keepdims", ""),
    row("GlobalMaxPooling1D", Both, "data_format keepdims", ""),
    row("GlobalMaxPooling2D", Both, "data_format keepdims", ""),
    row("GlobalMaxPooling3D", Both, "data_format keepdims", ""),
    row(
        "GroupNormalization",
        Both,
        "groups axis epsilon center scale beta_initializer gamma_initializer beta_regularizer gamma_regularizer \
         beta_constraint gamma_constraint",
        "",
    ),
    row(
        "GroupQueryAttention",
        Only3,
        "head_dim num_query_heads num_key_value_heads dropout use_bias sliding_window flash_attention \
         kernel_initializer bias_initializer kernel_regularizer bias_regularizer activity_regularizer \
         kernel_constraint bias_constraint use_gate seed",
        "",
    ),
    row("HashedCrossing", Both, "num_bins output_mode sparse", ""),
    row("Hashing", Both, "num_bins mask_value salt output_mode sparse", ""),
    row("Identity", Both, "", ""),
    row(
        "IntegerLookup",
        Both,
        "max_tokens num_oov_indices mask_token oov_token vocabulary vocabulary_dtype idf_weights invert \
         output_mode sparse pad_to_max_tokens",
        "oov_method=\"floormod\" salt=null",
    ),
    row(
        "LSTM",
        Both,
        "units activation recurrent_activation use_bias kernel_initializer recurrent_initializer bias_initializer \
         unit_forget_bias kernel_regularizer recurrent_regularizer bias_regularizer activity_regularizer \
         kernel_constraint recurrent_constraint bias_constraint dropout recurrent_dropout seed return_sequences \
         return_state go_backwards stateful unroll",
        "use_cudnn=\"auto\" zero_output_for_mask=false",
    ),
    row(
        "LSTMCell",
        Both,
        "units activation recurrent_activation use_bias kernel_initializer recurrent_initializer bias_initializer \
         unit_forget_bias kernel_regularizer recurrent_regularizer bias_regularizer kernel_constraint \
         recurrent_constraint bias_constraint dropout recurrent_dropout seed",
        "",
    ),
    row(
        "LayerNormalization",
        Both,
        "axis epsilon center scale beta_initializer gamma_initializer beta_regularizer gamma_regularizer \
         beta_constraint gamma_constraint",
        "rms_scaling=false",
    ),
    row("LayerScale", CONVNEXT, "init_values projection_dim", ""),
    row("LeakyReLU", Both, "negative_slope", ""),
    row("Masking", Both, "mask_value", ""),
    row("MaxNumBoundingBoxes", Only3, "max_number fill_value factor bounding_box_format data_format", ""),
    row("MaxPooling1D", Both, "pool_size strides padding data_format", ""),
    row("MaxPooling2D", Both, "pool_size strides padding data_format", ""),
    row("MaxPooling3D", Both, "pool_size strides padding data_format", ""),
    row("Maximum", Both, "", ""),
    row(
        "MelSpectrogram",
        Only3,
        "fft_length sequence_stride sequence_length window sampling_rate num_mel_bins min_freq max_freq \
         power_to_db top_db mag_exp min_power ref_power",
        "",
    ),
    row("Minimum", Both, "", ""),
    row("MixUp", Only3, "alpha data_format seed factor bounding_box_format", ""),
    row(
        "MultiHeadAttention",
        Both,
        "num_heads key_dim value_dim dropout use_bias output_shape attention_axes kernel_initializer \
         bias_initializer kernel_regularizer bias_regularizer activity_regularizer kernel_constraint \
         bias_constraint",
        "sliding_window=null flash_attention=null use_gate=false seed=null",
    ),
    row("Multiply", Both, "", ""),
    row("Normalization", Both, "axis mean variance invert", ""),
    row("PReLU", Both, "alpha_initializer alpha_regularizer alpha_constraint shared_axes", ""),
    row("Permute", Both, "dims", ""),
    row("Pipeline", Only3, "layers", ""),
    row("RMSNormalization", Only3, "axis epsilon", ""),
    row("RNN", Both, "cell return_sequences return_state go_backwards stateful unroll", "zero_output_for_mask=false"),
    row("RandAugment", Only3, "value_range num_ops factor interpolation seed data_format bounding_box_format", ""),
    row("RandomBrightness", Both, "factor value_range seed", "bounding_box_format=null data_format=null"),
    row("RandomColorDegeneration", Only3, "factor value_range data_format seed bounding_box_format", ""),
    row(
        "RandomColorJitter",
        Only3,
        "value_range brightness_factor contrast_factor saturation_factor hue_factor seed data_format factor \
         bounding_box_format",
        "",
    ),
    row("RandomContrast", Both, "factor seed", "value_range=[0,255] bounding_box_format=null data_format=null"),
    row("RandomCrop", Both, "height width seed", "data_format=null factor=null bounding_box_format=null"),
    row(
        "RandomElasticTransform",
        Only3,
        "factor scale interpolation fill_mode fill_value value_range seed data_format bounding_box_format",
        "",
    ),
    row("RandomErasing", Only3, "factor scale fill_value value_range seed data_format bounding_box_format", ""),
    row("RandomFlip", Both, "mode seed", "data_format=null factor=null bounding_box_format=null"),
    row("RandomGaussianBlur", Only3, "factor kernel_size sigma value_range data_format seed bounding_box_format", ""),
    row("RandomGrayscale", Only3, "factor data_format seed bounding_box_format", ""),
    row("RandomHeight", Legacy, "factor interpolation seed", ""),
    row("RandomHue", Only3, "factor value_range data_format seed bounding_box_format", ""),
    row("RandomInvert", Only3, "factor value_range seed data_format bounding_box_format", ""),
    row("RandomPerspective", Only3, "factor scale interpolation fill_value seed data_format bounding_box_format", ""),
    row("RandomPosterization", Only3, "factor value_range data_format seed bounding_box_format", ""),
    row(
        "RandomRotation",
        Both,
        "factor fill_mode interpolation seed fill_value",
        "data_format=null bounding_box_format=null",
    ),
    row("RandomSaturation", Only3, "factor value_range data_format seed bounding_box_format", ""),
    row("RandomSharpness", Only3, "factor value_range data_format seed bounding_box_format", ""),
    row(
        "RandomShear",
        Only3,
        "x_factor y_factor interpolation fill_mode fill_value data_format seed factor bounding_box_format",
        "",
    ),
    row(
        "RandomTranslation",
        Both,
        "height_factor width_factor fill_mode interpolation seed fill_value",
        "data_format=null factor=null bounding_box_format=null",
    ),
    row("RandomWidth", Legacy, "factor interpolation seed", ""),
    row(
        "RandomZoom",
        Both,
        "height_factor width_factor fill_mode interpolation seed fill_value",
        "data_format=null factor=null bounding_box_format=null",
    ),
    row("ReLU", Both, "max_value negative_slope threshold", ""),
    row("RepeatVector", Both, "n", ""),
    row("Rescaling", Both, "scale offset", ""),
    row("Reshape", Both, "target_shape", ""),
    row(
        "Resizing",
        Both,
        "height width interpolation crop_to_aspect_ratio",
        "pad_to_aspect_ratio=false fill_mode=\"constant\" fill_value=0.0 antialias=false data_format=null \
         factor=null bounding_box_format=null",
    ),
    row(
        "ReversibleEmbedding",
        Only3,
        "input_dim output_dim tie_weights embeddings_initializer embeddings_regularizer embeddings_constraint \
         mask_zero reverse_dtype logit_soft_cap lora_rank lora_alpha quantization_config",
        "",
    ),
    row(
        "STFTSpectrogram",
        Only3,
        "mode frame_length frame_step fft_length window periodic scaling padding expand_dims data_format",
        "",
    ),
    row(
        "SeparableConv1D",
        Both,
        "filters kernel_size strides padding data_format dilation_rate depth_multiplier activation use_bias \
         depthwise_initializer pointwise_initializer bias_initializer depthwise_regularizer pointwise_regularizer \
         bias_regularizer activity_regularizer depthwise_constraint pointwise_constraint bias_constraint",
        "",
    ),
    row(
        "SeparableConv2D",
        Both,
        "filters kernel_size strides padding data_format dilation_rate depth_multiplier activation use_bias \
         depthwise_initializer pointwise_initializer bias_initializer depthwise_regularizer pointwise_regularizer \
         bias_regularizer activity_regularizer depthwise_constraint pointwise_constraint bias_constraint",
        "",
    ),
    row(
        "SimpleRNN",
        Both,
        "units activation use_bias kernel_initializer recurrent_initializer bias_initializer kernel_regularizer \
         recurrent_regularizer bias_regularizer activity_regularizer kernel_constraint recurrent_constraint \
         bias_constraint dropout recurrent_dropout return_sequences return_state go_backwards stateful unroll",
        "seed=null zero_output_for_mask=false",
    ),
    row(
        "SimpleRNNCell",
        Both,
        "units activation use_bias kernel_initializer recurrent_initializer bias_initializer kernel_regularizer \
         recurrent_regularizer bias_regularizer kernel_constraint recurrent_constraint bias_constraint dropout \
         recurrent_dropout seed",
        "",
    ),
    row("Softmax", Both, "axis", ""),
    row(
        "Solarization",
        Only3,
        "addition_factor threshold_factor value_range seed factor bounding_box_format data_format",
        "",
    ),
    row("SpatialDropout1D", Both, "rate seed", ""),
    row("SpatialDropout2D", Both, "rate data_format seed", ""),
    row("SpatialDropout3D", Both, "rate data_format seed", ""),
    row("SpectralNormalization", Both, "layer power_iterations", ""),
    row("StackedRNNCells", Both, "cells", ""),
    row("StochasticDepth", CONVNEXT, "drop_path_rate", ""),
    row(
        "StringLookup",
        Both,
        "max_tokens num_oov_indices mask_token oov_token vocabulary idf_weights invert output_mode \
         pad_to_max_tokens sparse encoding vocabulary_dtype",
        "salt=null oov_method=\"floormod\"",
    ),
    row("Subtract", Both, "", ""),
    row(
        "TextVectorization",
        Both,
        "max_tokens standardize split ngrams output_mode output_sequence_length pad_to_max_tokens vocabulary \
         idf_weights sparse ragged encoding",
        "",
    ),
    row("ThresholdedReLU", Legacy, "theta", ""),
    row("TimeDistributed", Both, "layer", ""),
    row("UnitNormalization", Both, "axis", ""),
    row("UpSampling1D", Both, "size", ""),
    row("UpSampling2D", Both, "size data_format interpolation", ""),
    row("UpSampling3D", Both, "size data_format", ""),
    row("ZeroPadding1D", Both, "padding", "data_format=null"),
    row("ZeroPadding2D", Both, "padding data_format", ""),
    row("ZeroPadding3D", Both, "padding data_format", ""),
];

pub fn find(class: &str) -> Option<&'static Row> {
    CLASSES.binary_search_by(|row| row.class.cmp(class)).ok().map(|at| &CLASSES[at])
}

impl Row {
    /// Is this key one of the class?
    pub fn takes(&self, key: &str) -> bool {
        self.keys.split(' ').any(|known| known == key) || self.default(key).is_some()
    }

    /// What Keras 3 takes a key for that it alone knows, when it is left out.
    pub fn default(&self, key: &str) -> Option<Value> {
        let words = self.new.split(' ').filter_map(|word| word.split_once('='));
        let (_, value) = words.into_iter().find(|(known, _)| *known == key)?;
        serde_json::from_str(value).ok()
    }

    pub fn module(&self) -> &'static str {
        match self.home {
            Both | Only3 => "keras.layers",
            Application(module) => module,
            Legacy => "keras._legacy.layers",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_defaults_are_json() {
        assert!(CLASSES.is_sorted_by_key(|row| row.class));
        for row in CLASSES {
            for word in row.new.split(' ').filter(|word| !word.is_empty()) {
                let (key, _) = word.split_once('=').unwrap();
                assert!(row.default(key).is_some(), "{} {key}", row.class);
            }
        }
        assert!(find("Dense").is_some_and(|row| row.takes("units") && row.takes("lora_rank") && !row.takes("unit")));
    }
}
