"""Cases: convolutions and pooling."""
from keras import layers as L

from kit import KERAS
from registry import layer, stack

# --- convolutions ---------------------------------------------------------------------------------------------------
layer("conv1d", lambda: L.Conv1D(3, 3), (7, 2))
layer("conv1d_same", lambda: L.Conv1D(3, 4, padding="same"), (7, 2))
layer("conv1d_same_strides", lambda: L.Conv1D(3, 3, padding="same", strides=2), (8, 2))
layer("conv1d_causal", lambda: L.Conv1D(3, 3, padding="causal", activation="relu"), (7, 2))
layer("conv1d_causal_dilated", lambda: L.Conv1D(3, 2, padding="causal", dilation_rate=3), (8, 2))
layer("conv1d_causal_strides", lambda: L.Conv1D(3, 3, padding="causal", strides=2), (8, 2))
layer("conv1d_dilated", lambda: L.Conv1D(3, 3, dilation_rate=2), (8, 2))
layer("conv1d_groups", lambda: L.Conv1D(4, 3, groups=2), (7, 4))
layer("conv1d_dynamic", lambda: L.Conv1D(3, 3, padding="same"), (None, 2))
layer("conv1d_dynamic_causal_strides", lambda: L.Conv1D(3, 3, padding="causal", strides=2), (None, 2))
layer("conv1d_dynamic_same_strides", lambda: L.Conv1D(3, 3, padding="same", strides=2), (None, 2))
layer("conv2d", lambda: L.Conv2D(3, 3), (6, 5, 2))
layer("conv2d_same", lambda: L.Conv2D(3, 3, padding="same", activation="relu"), (6, 5, 2))
layer("conv2d_same_even_kernel", lambda: L.Conv2D(3, (2, 4), padding="same"), (6, 5, 2))
layer("conv2d_strides", lambda: L.Conv2D(3, 3, strides=(2, 1)), (7, 5, 2))
layer("conv2d_same_strides", lambda: L.Conv2D(3, 3, strides=2, padding="same"), (6, 7, 2))
layer("conv2d_same_wide_strides", lambda: L.Conv2D(3, 2, strides=3, padding="same"), (7, 8, 2))
layer("conv2d_dilated", lambda: L.Conv2D(3, 3, dilation_rate=(2, 1)), (8, 5, 2))
layer("conv2d_same_dilated", lambda: L.Conv2D(3, 3, dilation_rate=2, padding="same"), (7, 6, 2))
layer("conv2d_groups", lambda: L.Conv2D(6, 3, groups=2), (5, 5, 4))
layer("conv2d_no_bias", lambda: L.Conv2D(3, 3, use_bias=False), (5, 5, 2))
layer("conv2d_1x1", lambda: L.Conv2D(4, 1), (3, 3, 2))
layer("conv2d_dynamic", lambda: L.Conv2D(3, 3, padding="same"), (None, None, 2))
layer("conv2d_dynamic_same_strides", lambda: L.Conv2D(3, 3, padding="same", strides=2), (None, None, 2))
# The width of the outputs differs from the number of filters: where they agree, Keras 3 on TensorFlow takes the bias
# for one of the last axis and adds it there.
layer("conv2d_channels_first", lambda: L.Conv2D(3, 3, data_format="channels_first"), (2, 6, 7), compiled=True)
layer("conv2d_channels_first_same", lambda: L.Conv2D(3, 3, strides=2, padding="same", data_format="channels_first"),
      (2, 6, 7), compiled=True)
layer("depthwise_conv2d_channels_first", lambda: L.DepthwiseConv2D(3, depth_multiplier=2, data_format="channels_first"),
      (2, 6, 5), compiled=True)
layer("conv1d_channels_first", lambda: L.Conv1D(3, 3, data_format="channels_first"), (2, 7), compiled=True)
stack("chain_channels_first", (2, 8, 8), lambda: L.Conv2D(3, 3, data_format="channels_first"),
      lambda: L.BatchNormalization(axis=1), lambda: L.MaxPooling2D(2, data_format="channels_first"),
      lambda: L.Flatten(data_format="channels_first"), lambda: L.Dense(3), compiled=True)
layer("conv3d", lambda: L.Conv3D(3, 2), (3, 4, 4, 2))
layer("conv3d_same_strides", lambda: L.Conv3D(3, (3, 2, 2), strides=(1, 2, 2), padding="same"), (3, 4, 5, 2))
layer("conv3d_dilated", lambda: L.Conv3D(2, 2, dilation_rate=(1, 2, 1), use_bias=False), (3, 5, 4, 2))
layer("depthwise_conv2d", lambda: L.DepthwiseConv2D(3), (5, 6, 3))
layer("depthwise_conv2d_multiplier", lambda: L.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), (5, 6, 3))
layer("depthwise_conv2d_strides", lambda: L.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False), (6, 6, 3))
layer("depthwise_conv2d_dilated", lambda: L.DepthwiseConv2D(3, dilation_rate=2, activation="relu"), (7, 7, 2))
layer("depthwise_conv1d", lambda: L.DepthwiseConv1D(3, depth_multiplier=2), (7, 3))
layer("separable_conv1d", lambda: L.SeparableConv1D(4, 3), (7, 3))
layer("separable_conv1d_same", lambda: L.SeparableConv1D(4, 3, depth_multiplier=2, padding="same", strides=2), (8, 3))
layer("separable_conv1d_causal", lambda: L.SeparableConv1D(4, 3, padding="causal"), (7, 3), only=2)
layer("separable_conv2d", lambda: L.SeparableConv2D(4, 3), (5, 6, 3))
layer("separable_conv2d_same", lambda: L.SeparableConv2D(4, 3, depth_multiplier=2, padding="same", strides=2,
                                                        activation="relu"), (6, 6, 3))
layer("separable_conv2d_no_bias", lambda: L.SeparableConv2D(4, 3, use_bias=False, dilation_rate=2), (7, 7, 3))
layer("conv1d_transpose", lambda: L.Conv1DTranspose(3, 3, strides=2), (5, 2))
layer("conv1d_transpose_same", lambda: L.Conv1DTranspose(3, 3, strides=2, padding="same"), (5, 2))
layer("conv2d_transpose", lambda: L.Conv2DTranspose(3, 3), (4, 5, 2))
layer("conv2d_transpose_strides", lambda: L.Conv2DTranspose(3, 3, strides=(2, 3)), (4, 5, 2))
layer("conv2d_transpose_small_kernel", lambda: L.Conv2DTranspose(3, 2, strides=3), (4, 3, 2))
layer("conv2d_transpose_same", lambda: L.Conv2DTranspose(3, 3, strides=2, padding="same", activation="relu"), (4, 5, 2))
layer("conv2d_transpose_same_even", lambda: L.Conv2DTranspose(3, 4, strides=2, padding="same"), (4, 5, 2))
layer("conv2d_transpose_same_one", lambda: L.Conv2DTranspose(3, 3, padding="same", use_bias=False), (4, 5, 2))
layer("conv2d_transpose_output_padding", lambda: L.Conv2DTranspose(3, 3, strides=2, output_padding=1), (4, 5, 2))
layer("conv2d_transpose_same_output_padding",
      lambda: L.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=(1, 0)), (4, 5, 2))
layer("conv2d_transpose_dynamic", lambda: L.Conv2DTranspose(3, 3, strides=2, padding="same"), (None, None, 2))
layer("conv3d_transpose", lambda: L.Conv3DTranspose(2, 2, strides=2, padding="same"), (2, 3, 3, 2))

# --- pooling --------------------------------------------------------------------------------------------------------
for kind in ("Max", "Average"):
    low = kind.lower()

    def pool(rank, kind=kind, **options):
        return lambda: getattr(L, f"{kind}Pooling{rank}D")(**{"pool_size": 2, **options})

    layer(f"{low}_pooling_1d", pool(1), (7, 3))
    layer(f"{low}_pooling_1d_same", pool(1, pool_size=3, strides=2, padding="same"), (8, 3))
    layer(f"{low}_pooling_1d_overlap", pool(1, pool_size=3, strides=1), (7, 3))
    layer(f"{low}_pooling_1d_channels_first", pool(1, data_format="channels_first"), (3, 8))
    layer(f"{low}_pooling_2d", pool(2), (5, 6, 2))
    layer(f"{low}_pooling_2d_same", pool(2, pool_size=(3, 2), strides=2, padding="same"), (5, 6, 2))
    layer(f"{low}_pooling_2d_same_one", pool(2, pool_size=3, strides=1, padding="same"), (5, 6, 2))
    layer(f"{low}_pooling_2d_channels_first", pool(2, data_format="channels_first"), (2, 6, 4), compiled=True)
    layer(f"{low}_pooling_2d_dynamic", pool(2, pool_size=3, strides=2, padding="same"), (None, None, 2))
    layer(f"{low}_pooling_3d", pool(3), (4, 5, 4, 2))
    layer(f"{low}_pooling_3d_same", pool(3, pool_size=3, strides=2, padding="same"), (3, 4, 5, 2))

for kind in ("Max", "Average"):
    for rank, shape in ((1, (5, 3)), (2, (4, 5, 3)), (3, (3, 2, 4, 3))):
        cls = getattr(L, f"Global{kind}Pooling{rank}D")
        name = f"global_{kind.lower()}_pooling_{rank}d"
        layer(name, cls, shape)
        layer(f"{name}_keepdims", lambda c=cls: c(keepdims=True), shape)
        layer(f"{name}_channels_first", lambda c=cls: c(data_format="channels_first"), shape)
layer("global_average_pooling_2d_dynamic", lambda: L.GlobalAveragePooling2D(), (None, None, 3))
layer("global_max_pooling_1d_dynamic", lambda: L.GlobalMaxPooling1D(), (None, 3))

# --- chains that exercise the layout pass ---------------------------------------------------------------------------
stack("chain_conv_pool_dense", (8, 8, 1), lambda: L.Conv2D(3, 3, activation="relu"), L.MaxPooling2D,
      lambda: L.Conv2D(4, 2), lambda: L.LeakyReLU(0.1), L.GlobalAveragePooling2D, lambda: L.Dense(3))
stack("chain_conv_softmax_pixels", (4, 4, 2), lambda: L.Conv2D(3, 3, padding="same"), lambda: L.Softmax())
stack("chain_conv_permute", (4, 5, 2), lambda: L.Conv2D(3, 2), lambda: L.Permute((3, 1, 2)), lambda: L.Dense(3))
stack("chain_conv_norm_conv", (4, 5, 2), lambda: L.Conv2D(3, 1), lambda: L.LayerNormalization(),
      lambda: L.Conv2D(2, 1, activation="gelu"))
stack("chain_conv_prelu", (4, 4, 2), lambda: L.Conv2D(3, 3, padding="same"), lambda: L.PReLU(), lambda: L.Conv2D(2, 1))
stack("chain_conv1d_lstm", (8, 2), lambda: L.Conv1D(3, 3, activation="relu"), L.MaxPooling1D, lambda: L.LSTM(4))
stack("chain_unet_up", (4, 4, 2), lambda: L.Conv2DTranspose(3, 2, strides=2), lambda: L.Conv2D(2, 3, padding="same"),
      lambda: L.UpSampling2D(2), lambda: L.ZeroPadding2D(1), lambda: L.Cropping2D(((0, 1), (1, 0))))
if KERAS >= 3:
    layer("upsampling_2d_bicubic", lambda: L.UpSampling2D(2, interpolation="bicubic"), (3, 4, 2))
