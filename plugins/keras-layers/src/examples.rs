//! One small request for each layer class, for whoever tests this plugin through its boundary.

use recast_plugin_api::ir::{DType, Dim, Tensor, Type};
use recast_plugin_api::messages::{LowerInput, LowerRequest};
use recast_plugin_api::model::{Arg, Layer, ValueRef, Weight};

/// Input shapes without the batch axis, weights by role and shape.
struct Example {
    classes: &'static [&'static str],
    config: &'static str,
    inputs: &'static [&'static [u64]],
    weights: &'static [(&'static str, &'static [u64])],
}

const fn plain(classes: &'static [&'static str], config: &'static str, input: &'static [&'static [u64]]) -> Example {
    Example { classes, config, inputs: input, weights: &[] }
}

const VECTOR: &[&[u64]] = &[&[4]];
const SEQUENCE: &[&[u64]] = &[&[6, 4]];
const IMAGE: &[&[u64]] = &[&[6, 6, 4]];
const VOLUME: &[&[u64]] = &[&[4, 4, 4, 2]];
const PAIR: &[&[u64]] = &[&[6, 4], &[6, 4]];
const VECTOR_STATISTICS: &[(&str, &[u64])] =
    &[("gamma", &[4]), ("beta", &[4]), ("moving_mean", &[4]), ("moving_variance", &[4])];

const EXAMPLES: &[Example] = &[
    Example {
        classes: &["Dense"],
        config: r#"{"units": 3, "activation": "relu"}"#,
        inputs: VECTOR,
        weights: &[("kernel", &[4, 3]), ("bias", &[3])],
    },
    Example {
        classes: &["EinsumDense"],
        config: r#"{"equation": "abc,cd->abd", "bias_axes": "d"}"#,
        inputs: SEQUENCE,
        weights: &[("kernel", &[4, 3]), ("bias", &[3])],
    },
    Example {
        classes: &["Embedding", "ReversibleEmbedding"],
        config: r#"{"input_dim": 8, "output_dim": 3, "mask_zero": true}"#,
        inputs: VECTOR,
        weights: &[("embeddings", &[8, 3])],
    },
    plain(
        &[
            "ActivityRegularization",
            "AlphaDropout",
            "Dropout",
            "ELU",
            "GaussianDropout",
            "GaussianNoise",
            "Identity",
            "LeakyReLU",
            "Masking",
            "ReLU",
            "Softmax",
            "SpatialDropout1D",
            "ThresholdedReLU",
            "UnitNormalization",
            "Rescaling",
            "Flatten",
        ],
        r#"{"rate": 0.5, "scale": 2.0}"#,
        SEQUENCE,
    ),
    plain(&["Activation"], r#"{"activation": "tanh"}"#, SEQUENCE),
    Example { classes: &["PReLU"], config: "{}", inputs: SEQUENCE, weights: &[("alpha", &[6, 4])] },
    plain(&["SpatialDropout2D"], r#"{"rate": 0.5}"#, IMAGE),
    plain(&["SpatialDropout3D"], r#"{"rate": 0.5}"#, VOLUME),
    Example {
        classes: &["Conv1D", "Convolution1D"],
        config: r#"{"filters": 3, "kernel_size": [2], "padding": "causal"}"#,
        inputs: SEQUENCE,
        weights: &[("kernel", &[2, 4, 3]), ("bias", &[3])],
    },
    Example {
        classes: &["Conv2D", "Convolution2D"],
        config: r#"{"filters": 3, "kernel_size": [2, 2], "padding": "same"}"#,
        inputs: IMAGE,
        weights: &[("kernel", &[2, 2, 4, 3]), ("bias", &[3])],
    },
    Example {
        classes: &["Conv3D", "Convolution3D"],
        config: r#"{"filters": 3, "kernel_size": [2, 2, 2]}"#,
        inputs: VOLUME,
        weights: &[("kernel", &[2, 2, 2, 2, 3]), ("bias", &[3])],
    },
    Example {
        classes: &["Conv1DTranspose", "Convolution1DTranspose"],
        config: r#"{"filters": 3, "kernel_size": [2], "strides": [2]}"#,
        inputs: SEQUENCE,
        weights: &[("kernel", &[2, 3, 4]), ("bias", &[3])],
    },
    Example {
        classes: &["Conv2DTranspose", "Convolution2DTranspose", "Deconvolution2D"],
        config: r#"{"filters": 3, "kernel_size": [2, 2], "padding": "same"}"#,
        inputs: IMAGE,
        weights: &[("kernel", &[2, 2, 3, 4]), ("bias", &[3])],
    },
    Example {
        classes: &["Conv3DTranspose", "Convolution3DTranspose", "Deconvolution3D"],
        config: r#"{"filters": 3, "kernel_size": [2, 2, 2]}"#,
        inputs: VOLUME,
        weights: &[("kernel", &[2, 2, 2, 3, 2]), ("bias", &[3])],
    },
    Example {
        classes: &["DepthwiseConv1D"],
        config: r#"{"kernel_size": [2]}"#,
        inputs: SEQUENCE,
        weights: &[("kernel", &[2, 4, 1]), ("bias", &[4])],
    },
    Example {
        classes: &["DepthwiseConv2D"],
        config: r#"{"kernel_size": [2, 2], "depth_multiplier": 2}"#,
        inputs: IMAGE,
        weights: &[("kernel", &[2, 2, 4, 2]), ("bias", &[8])],
    },
    Example {
        classes: &["SeparableConv1D", "SeparableConvolution1D"],
        config: r#"{"filters": 3, "kernel_size": [2]}"#,
        inputs: SEQUENCE,
        weights: &[("depthwise_kernel", &[2, 4, 1]), ("pointwise_kernel", &[1, 4, 3]), ("bias", &[3])],
    },
    Example {
        classes: &["SeparableConv2D", "SeparableConvolution2D"],
        config: r#"{"filters": 3, "kernel_size": [2, 2]}"#,
        inputs: IMAGE,
        weights: &[("depthwise_kernel", &[2, 2, 4, 1]), ("pointwise_kernel", &[1, 1, 4, 3]), ("bias", &[3])],
    },
    Example {
        classes: &["LocallyConnected1D"],
        config: r#"{"filters": 3, "kernel_size": [2], "implementation": 1}"#,
        inputs: SEQUENCE,
        weights: &[("kernel", &[5, 8, 3]), ("bias", &[5, 3])],
    },
    Example {
        classes: &["LocallyConnected2D"],
        config: r#"{"filters": 3, "kernel_size": [2, 2], "implementation": 1}"#,
        inputs: IMAGE,
        weights: &[("kernel", &[25, 16, 3]), ("bias", &[5, 5, 3])],
    },
    plain(&["AveragePooling1D", "AvgPool1D", "MaxPool1D", "MaxPooling1D"], r#"{"pool_size": [2]}"#, SEQUENCE),
    plain(&["AveragePooling2D", "AvgPool2D", "MaxPool2D", "MaxPooling2D"], r#"{"pool_size": [2, 2]}"#, IMAGE),
    plain(&["AveragePooling3D", "AvgPool3D", "MaxPool3D", "MaxPooling3D"], r#"{"pool_size": [2, 2, 2]}"#, VOLUME),
    plain(&["AdaptiveAveragePooling1D", "AdaptiveMaxPooling1D"], r#"{"output_size": [4]}"#, SEQUENCE),
    plain(&["AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D"], r#"{"output_size": [3, 4]}"#, IMAGE),
    plain(&["AdaptiveAveragePooling3D", "AdaptiveMaxPooling3D"], r#"{"output_size": [2, 3, 1]}"#, VOLUME),
    plain(
        &["GlobalAveragePooling1D", "GlobalAvgPool1D", "GlobalMaxPool1D", "GlobalMaxPooling1D"],
        r#"{"keepdims": true}"#,
        SEQUENCE,
    ),
    plain(&["GlobalAveragePooling2D", "GlobalAvgPool2D", "GlobalMaxPool2D", "GlobalMaxPooling2D"], "{}", IMAGE),
    plain(&["GlobalAveragePooling3D", "GlobalAvgPool3D", "GlobalMaxPool3D", "GlobalMaxPooling3D"], "{}", VOLUME),
    Example {
        classes: &["BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2", "SyncBatchNormalization"],
        config: r#"{"axis": [-1], "epsilon": 0.001}"#,
        inputs: IMAGE,
        weights: VECTOR_STATISTICS,
    },
    Example {
        classes: &["LayerNormalization", "GroupNormalization"],
        config: r#"{"axis": -1, "epsilon": 0.001, "groups": 2}"#,
        inputs: SEQUENCE,
        weights: &[("gamma", &[4]), ("beta", &[4])],
    },
    Example { classes: &["RMSNormalization"], config: "{}", inputs: SEQUENCE, weights: &[("scale", &[4])] },
    plain(&["Normalization"], r#"{"axis": [-1], "mean": 0.5, "variance": 2.0}"#, SEQUENCE),
    plain(&["Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"], "{}", PAIR),
    plain(&["Dot"], r#"{"axes": 2}"#, PAIR),
    plain(&["Permute"], r#"{"dims": [2, 1]}"#, SEQUENCE),
    plain(&["RepeatVector"], r#"{"n": 3}"#, VECTOR),
    plain(&["Reshape"], r#"{"target_shape": [-1, 8]}"#, SEQUENCE),
    plain(&["Cropping1D", "ZeroPadding1D"], r#"{"cropping": [1, 2], "padding": [1, 2]}"#, SEQUENCE),
    plain(&["Cropping2D", "ZeroPadding2D"], r#"{"cropping": 1, "padding": [[1, 0], [0, 2]]}"#, IMAGE),
    plain(&["Cropping3D", "ZeroPadding3D"], r#"{"cropping": 1, "padding": 1}"#, VOLUME),
    plain(&["UpSampling1D"], r#"{"size": 2}"#, SEQUENCE),
    plain(&["UpSampling2D"], r#"{"size": [2, 3], "interpolation": "bilinear"}"#, IMAGE),
    plain(&["UpSampling3D"], r#"{"size": [2, 1, 2]}"#, VOLUME),
    plain(&["CenterCrop", "RandomCrop", "Resizing"], r#"{"height": 3, "width": 4}"#, IMAGE),
    plain(
        &[
            "AugMix",
            "AutoContrast",
            "CutMix",
            "Equalization",
            "MaxNumBoundingBoxes",
            "MixUp",
            "RandAugment",
            "RandomBrightness",
            "RandomColorDegeneration",
            "RandomColorJitter",
            "RandomContrast",
            "RandomElasticTransform",
            "RandomErasing",
            "RandomFlip",
            "RandomGaussianBlur",
            "RandomGrayscale",
            "RandomHeight",
            "RandomHue",
            "RandomInvert",
            "RandomPerspective",
            "RandomPosterization",
            "RandomRotation",
            "RandomSaturation",
            "RandomSharpness",
            "RandomShear",
            "RandomTranslation",
            "RandomWidth",
            "RandomZoom",
            "Solarization",
        ],
        "{}",
        IMAGE,
    ),
    plain(&["CategoryEncoding"], r#"{"num_tokens": 8, "output_mode": "multi_hot"}"#, VECTOR),
    plain(&["Discretization"], r#"{"bin_boundaries": [-1.0, 0.0, 1.0]}"#, VECTOR),
    plain(&["IntegerLookup"], r#"{"vocabulary": [3, 5, 7]}"#, VECTOR),
];

pub fn requests() -> Vec<LowerRequest> {
    EXAMPLES.iter().flat_map(|example| example.classes.iter().map(|class| request(class, example))).collect()
}

fn request(class: &str, example: &Example) -> LowerRequest {
    let weight = |(role, shape): &(&str, &[u64])| {
        let values = vec![0.5; shape.iter().product::<u64>() as usize];
        let tensor = Tensor::from_f32(shape, &values);
        Weight { role: role.to_string(), tensor: Some((&tensor).into()), ..Weight::default() }
    };
    let layer = Layer {
        name: class.to_lowercase(),
        path: class.to_lowercase(),
        class: class.into(),
        config: example.config.into(),
        weights: example.weights.iter().map(weight).collect(),
        trainable: true,
        ..Layer::default()
    };
    let input = |sizes: &&[u64]| {
        let shape: Vec<Dim> =
            std::iter::once(Dim::symbol("batch")).chain(sizes.iter().map(|&n| Dim::Known(n))).collect();
        LowerInput { ty: Some((&Type::new(DType::F32, shape)).into()), mask: None }
    };
    let refs: Vec<Arg> =
        (0..example.inputs.len() as u32).map(|index| Arg::value(ValueRef { call: None, index })).collect();
    LowerRequest {
        layer: Some(layer),
        inputs: example.inputs.iter().map(input).collect(),
        args: if refs.len() == 1 { refs } else { vec![Arg::list(refs)] },
        keras_version: "3.15.0".into(),
        format: "keras-h5".into(),
        ..LowerRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower_request;

    #[test]
    fn every_example_lowers() {
        for request in requests() {
            let class = request.layer.as_ref().map(|layer| layer.class.clone()).unwrap_or_default();
            assert!(lower_request(None, &request).is_ok(), "{class}: {:?}", lower_request(None, &request).err());
        }
    }
}
