"""Cases: dense, activations, shapes, normalisation, merges."""
import keras
import numpy as np
from keras import Input, Model, layers as L

from kit import KERAS
from registry import add, layer, stack


def wide(rng, shape, dtype):
    """Reaches both saturated ends of every activation, and its kinks."""
    return np.clip(rng.normal(0, 3.5, shape), -8, 8).astype(dtype)


def ids(size, pad=False):
    def make(rng, shape, dtype):
        values = rng.integers(1, size, shape).astype(dtype)
        if pad:
            values[0, -2:] = 0
            values[1, 1] = 0
        return values
    return make


# --- core -----------------------------------------------------------------------------------------------------------
layer("dense", lambda: L.Dense(4), (5,))
layer("dense_no_bias", lambda: L.Dense(4, use_bias=False), (5,))
layer("dense_relu", lambda: L.Dense(4, activation="relu"), (5,))
layer("dense_3d", lambda: L.Dense(4, activation="tanh"), (3, 5))
layer("dense_4d", lambda: L.Dense(3), (2, 3, 5))
layer("dense_dynamic_time", lambda: L.Dense(4), (None, 5))
layer("dense_one_unit", lambda: L.Dense(1, activation="sigmoid"), (5,))
layer("identity", lambda: L.Identity() if hasattr(L, "Identity") else L.Activation("linear"), (5,))
layer("activation_linear_layer", lambda: L.Activation("linear"), (5,))
layer("embedding", lambda: L.Embedding(9, 4), (6,), dtype="int32", makers=[ids(9)])
layer("embedding_int64", lambda: L.Embedding(9, 4), (6,), dtype="int64", makers=[ids(9)])
layer("embedding_float_ids", lambda: L.Embedding(9, 4), (6,), makers=[ids(9)])
layer("embedding_dynamic", lambda: L.Embedding(9, 4), (None,), dtype="int32", makers=[ids(9)])
layer("embedding_scalar_id", lambda: L.Embedding(9, 4), (), dtype="int32", makers=[ids(9)])
layer("embedding_2d_ids", lambda: L.Embedding(9, 4), (2, 3), dtype="int32", makers=[ids(9)])
stack("embedding_input_length", (6,),
      lambda: L.Embedding(9, 4, **({"input_length": 6} if KERAS < 3 else {})), L.Flatten, lambda: L.Dense(3),
      dtype="int32", makers=[ids(9)])
stack("embedding_flatten_dense", (6,), lambda: L.Embedding(9, 4, mask_zero=True), L.Flatten, lambda: L.Dense(3),
      dtype="int32", makers=[ids(9, pad=True)])
stack("embedding_mask_average", (6,), lambda: L.Embedding(9, 4, mask_zero=True), L.GlobalAveragePooling1D,
      lambda: L.Dense(3), dtype="int32", makers=[ids(9, pad=True)])
stack("embedding_mask_maximum", (6,), lambda: L.Embedding(9, 4, mask_zero=True), L.GlobalMaxPooling1D,
      lambda: L.Dense(3), dtype="int32", makers=[ids(9, pad=True)])


def masked_steps(value, where=((0, -1), (0, -2), (1, 1))):
    def make(rng, shape, dtype):
        x = rng.normal(0, 1.5, shape).astype(dtype)
        for row, step in where:
            x[row, step] = value
        return x
    return make


layer("masking", lambda: L.Masking(0.0), (5, 3), makers=[masked_steps(0.0)])
layer("masking_value", lambda: L.Masking(mask_value=-1.0), (5, 3), makers=[masked_steps(-1.0)])
stack("masking_average", (5, 3), lambda: L.Masking(2.0), L.GlobalAveragePooling1D, makers=[masked_steps(2.0)])
stack("masking_through_layers", (5, 3), lambda: L.Masking(0.0), lambda: L.Dense(4, activation="tanh"),
      lambda: L.Dropout(0.3), lambda: L.Activation("relu"), L.GlobalAveragePooling1D, makers=[masked_steps(0.0)])

# --- input dtypes ---------------------------------------------------------------------------------------------------
stack("input_uint8", (4, 4, 3), lambda: L.Rescaling(1 / 127.5, offset=-1.0), lambda: L.Conv2D(2, 3), dtype="uint8")
stack("input_int32_rescaled", (4,), lambda: L.Rescaling(0.5), lambda: L.Dense(3), dtype="int32")
layer("input_bool_concat", lambda: L.Concatenate(), (3,), (4,))
layer("rescaling", lambda: L.Rescaling(1 / 255.0), (5,))
layer("rescaling_offset", lambda: L.Rescaling(2.0, offset=-0.5), (4, 4, 3))
layer("rescaling_list", lambda: L.Rescaling([0.5, 2.0, 3.0], offset=[0.1, -0.2, 0.3]), (4, 3))

# --- identities at inference ----------------------------------------------------------------------------------------
stack("dropout_family", (6, 4), lambda: L.Dropout(0.4), lambda: L.SpatialDropout1D(0.3), lambda: L.GaussianNoise(0.5),
      lambda: L.GaussianDropout(0.2), lambda: L.ActivityRegularization(0.1), lambda: L.Dense(3))
if hasattr(L, "AlphaDropout"):
    stack("alpha_dropout", (6,), lambda: L.AlphaDropout(0.2), lambda: L.Dense(3))
stack("spatial_dropout_2d", (4, 4, 3), lambda: L.SpatialDropout2D(0.4), lambda: L.Conv2D(2, 2))
stack("spatial_dropout_3d", (3, 4, 4, 2), lambda: L.SpatialDropout3D(0.4), lambda: L.Dense(2))

# --- activations ----------------------------------------------------------------------------------------------------
COMMON = ["relu", "softmax", "elu", "selu", "softplus", "softsign", "sigmoid", "tanh", "exponential", "linear",
          "hard_sigmoid", "gelu", "swish", "mish"]
NEW = ["leaky_relu", "relu6", "celu", "silu", "hard_silu", "hard_swish", "hard_tanh", "log_softmax", "log_sigmoid",
       "hard_shrink", "soft_shrink", "tanh_shrink", "squareplus", "sparse_plus", "sparse_sigmoid", "sparsemax",
       "glu", "threshold"]


def known(function):
    try:
        return keras.activations.get(function) is not None
    except (ValueError, TypeError):
        return False


for function in COMMON + [f for f in NEW if KERAS >= 3]:
    if known(function) and function != "threshold":
        layer(f"activation_{function}", lambda f=function: L.Activation(f), (3, 8), makers=[wide])
for function in ("softmax", "elu", "gelu", "swish", "hard_sigmoid"):
    layer(f"dense_{function}", lambda f=function: L.Dense(6, activation=f), (5,), makers=[wide])
layer("layer_relu", lambda: L.ReLU(), (8,), makers=[wide])
layer("layer_relu_max", lambda: L.ReLU(max_value=3.0), (8,), makers=[wide])
layer("layer_relu_slope", lambda: L.ReLU(negative_slope=0.15), (8,), makers=[wide])
layer("layer_relu_threshold", lambda: L.ReLU(threshold=1.0), (8,), makers=[wide])
layer("layer_relu_all", lambda: L.ReLU(max_value=4.0, negative_slope=0.2, threshold=0.7), (16,), makers=[wide])
layer("layer_relu_max_threshold", lambda: L.ReLU(max_value=6.0, threshold=1.5), (16,), makers=[wide])
layer("layer_leaky_relu", lambda: L.LeakyReLU(), (8,), makers=[wide])
layer("layer_leaky_relu_slope", lambda: L.LeakyReLU(0.05), (8,), makers=[wide])
layer("layer_elu", lambda: L.ELU(), (8,), makers=[wide])
layer("layer_elu_alpha", lambda: L.ELU(alpha=0.4), (8,), makers=[wide])
layer("layer_prelu", lambda: L.PReLU(), (4, 3), makers=[wide])
layer("layer_prelu_shared", lambda: L.PReLU(shared_axes=[1, 2]), (4, 4, 3), makers=[wide])
layer("layer_prelu_shared_one", lambda: L.PReLU(shared_axes=[1]), (4, 3), makers=[wide])
layer("layer_softmax", lambda: L.Softmax(), (3, 4))
layer("layer_softmax_axis", lambda: L.Softmax(axis=1), (3, 4))
layer("layer_softmax_axes", lambda: L.Softmax(axis=[1, 2]), (3, 4))
if hasattr(L, "ThresholdedReLU"):
    layer("layer_thresholded_relu", lambda: L.ThresholdedReLU(theta=0.8), (8,), makers=[wide])
if KERAS >= 3:
    layer("dense_gelu_activation_3d", lambda: L.Dense(4, activation="gelu"), (3, 5))

# --- shapes ---------------------------------------------------------------------------------------------------------
layer("flatten", lambda: L.Flatten(), (2, 3, 4))
layer("flatten_channels_first", lambda: L.Flatten(data_format="channels_first"), (2, 3, 4))
layer("flatten_1d", lambda: L.Flatten(), (5,))
layer("flatten_scalar", lambda: L.Flatten(), ())
layer("reshape", lambda: L.Reshape((4, 3)), (12,))
layer("reshape_infer", lambda: L.Reshape((-1, 2)), (3, 4))
layer("reshape_infer_last", lambda: L.Reshape((2, -1)), (3, 4))
layer("reshape_flat", lambda: L.Reshape((-1,)), (3, 4))
layer("reshape_dynamic", lambda: L.Reshape((-1, 2)), (None, 4))
layer("permute", lambda: L.Permute((2, 1)), (3, 4))
layer("permute_3d", lambda: L.Permute((3, 1, 2)), (2, 3, 4))
layer("repeat_vector", lambda: L.RepeatVector(3), (4,))
stack("reshape_after_conv", (4, 4, 2), lambda: L.Conv2D(3, 3), lambda: L.Reshape((4, 3)), lambda: L.Permute((2, 1)),
      lambda: L.Dense(2))
stack("flatten_after_conv", (5, 4, 2), lambda: L.Conv2D(3, 2), L.Flatten, lambda: L.Dense(3))
layer("zero_padding_1d", lambda: L.ZeroPadding1D((1, 2)), (4, 3))
layer("zero_padding_1d_int", lambda: L.ZeroPadding1D(2), (4, 3))
layer("zero_padding_2d", lambda: L.ZeroPadding2D(((1, 0), (2, 3))), (4, 3, 2))
layer("zero_padding_2d_pair", lambda: L.ZeroPadding2D((1, 2)), (4, 3, 2))
layer("zero_padding_2d_channels_first", lambda: L.ZeroPadding2D(((1, 0), (2, 3)), data_format="channels_first"),
      (2, 4, 3))
layer("zero_padding_3d", lambda: L.ZeroPadding3D(((1, 0), (0, 2), (1, 1))), (2, 3, 4, 2))
layer("cropping_1d", lambda: L.Cropping1D((1, 2)), (6, 3))
layer("cropping_2d", lambda: L.Cropping2D(((1, 0), (2, 1))), (5, 6, 2))
layer("cropping_2d_channels_first", lambda: L.Cropping2D(((1, 0), (2, 1)), data_format="channels_first"), (2, 5, 6))
layer("cropping_3d", lambda: L.Cropping3D(((1, 0), (0, 2), (1, 1))), (4, 5, 6, 2))
layer("upsampling_1d", lambda: L.UpSampling1D(3), (4, 3))
layer("upsampling_2d", lambda: L.UpSampling2D((2, 3)), (3, 4, 2))
layer("upsampling_2d_bilinear", lambda: L.UpSampling2D((2, 3), interpolation="bilinear"), (3, 4, 2))
layer("upsampling_2d_channels_first", lambda: L.UpSampling2D((2, 3), data_format="channels_first"), (2, 3, 4))
layer("upsampling_3d", lambda: L.UpSampling3D((2, 1, 3)), (2, 3, 2, 2))

# --- normalisation --------------------------------------------------------------------------------------------------
layer("batch_norm", lambda: L.BatchNormalization(), (5,))
layer("batch_norm_3d", lambda: L.BatchNormalization(epsilon=1e-5), (4, 3))
layer("batch_norm_4d", lambda: L.BatchNormalization(), (3, 4, 2))
layer("batch_norm_5d", lambda: L.BatchNormalization(), (2, 3, 4, 2))
layer("batch_norm_axis_1", lambda: L.BatchNormalization(axis=1), (3, 4, 2))
layer("batch_norm_axis_2", lambda: L.BatchNormalization(axis=2), (3, 4, 2))
layer("batch_norm_no_scale", lambda: L.BatchNormalization(scale=False), (5,))
layer("batch_norm_no_center", lambda: L.BatchNormalization(center=False), (5,))
layer("batch_norm_bare", lambda: L.BatchNormalization(center=False, scale=False), (5,))
stack("conv_batch_norm_relu", (5, 5, 2), lambda: L.Conv2D(3, 3, use_bias=False), lambda: L.BatchNormalization(),
      lambda: L.ReLU(6.0))
stack("batch_norm_before_conv", (5, 5, 2), lambda: L.BatchNormalization(), lambda: L.Conv2D(3, 3, padding="same"))
layer("layer_norm", lambda: L.LayerNormalization(), (5,))
layer("layer_norm_3d", lambda: L.LayerNormalization(epsilon=1e-6), (4, 5))
layer("layer_norm_axes", lambda: L.LayerNormalization(axis=[1, 2]), (4, 5))
layer("layer_norm_axis_1", lambda: L.LayerNormalization(axis=1), (4, 5))
layer("layer_norm_split_axes", lambda: L.LayerNormalization(axis=[1, 3]), (3, 4, 2))
layer("layer_norm_no_scale", lambda: L.LayerNormalization(scale=False), (5,))
layer("layer_norm_no_center", lambda: L.LayerNormalization(center=False), (5,))
layer("normalization_given", lambda: L.Normalization(mean=[0.5, -1.0, 2.0], variance=[1.5, 0.5, 2.0]), (4, 3))
layer("normalization_scalar", lambda: L.Normalization(axis=None, mean=0.7, variance=2.5), (4, 3))
layer("normalization_invert", lambda: L.Normalization(mean=[0.5, -1.0, 2.0], variance=[1.5, 0.5, 2.0], invert=True),
      (3,))


def adapted(shape, **options):
    def build():
        normalization = L.Normalization(**options)
        normalization.adapt(np.random.default_rng(5).normal(1.0, 2.0, (16,) + shape).astype("float32"))
        x = Input(shape)
        return Model(x, normalization(x))
    return build


add("normalization_adapted", adapted((3,)))
add("normalization_adapted_axis_1", adapted((3, 2), axis=1))
add("normalization_adapted_axes", adapted((3, 2), axis=(1, 2)))
add("normalization_adapted_all", adapted((3, 2), axis=None))

# --- merges ---------------------------------------------------------------------------------------------------------
for merge in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
    layer(f"merge_{merge.lower()}", lambda m=merge: getattr(L, m)(), (3, 4), (3, 4))
    layer(f"merge_{merge.lower()}_broadcast", lambda m=merge: getattr(L, m)(), (3, 4), (1, 4))
for merge in ("Add", "Average", "Maximum"):
    layer(f"merge_{merge.lower()}_three", lambda m=merge: getattr(L, m)(), (4,), (4,), (4,))
layer("merge_add_lower_rank", lambda: L.Add(), (3, 4), (4,))
layer("merge_multiply_lower_rank", lambda: L.Multiply(), (2, 3, 4), (4,))
layer("merge_multiply_gate", lambda: L.Multiply(), (4, 4, 3), (1, 1, 3))
layer("concatenate", lambda: L.Concatenate(), (3, 4), (3, 2))
layer("concatenate_axis_1", lambda: L.Concatenate(axis=1), (3, 4), (2, 4), (1, 4))
layer("concatenate_axis_negative", lambda: L.Concatenate(axis=-2), (3, 4), (2, 4))
layer("dot", lambda: L.Dot(axes=1), (4,), (4,))
layer("dot_2d", lambda: L.Dot(axes=(2, 1)), (3, 4), (4, 5))
layer("dot_same_axis", lambda: L.Dot(axes=1), (4, 3), (4, 5))
layer("dot_last_axis", lambda: L.Dot(axes=2), (3, 4), (5, 4))
layer("dot_negative_axes", lambda: L.Dot(axes=-1), (3, 4), (5, 4))
layer("dot_normalize", lambda: L.Dot(axes=1, normalize=True), (4,), (4,))
layer("dot_normalize_2d", lambda: L.Dot(axes=2, normalize=True), (3, 4), (5, 4))
layer("dot_mixed_rank", lambda: L.Dot(axes=(1, 2)), (4,), (3, 4))
