"""Cases beyond today's required layers: each may convert, or must be refused with its name, never come out wrong."""
import keras
from keras import Input, Model, layers as L

from kit import KERAS
from registry import add, layer


def rnn_cell():
    x = Input((5, 3))
    return Model(x, L.RNN(L.LSTMCell(4), return_sequences=True)(x))


def rnn_stacked_cells():
    x = Input((5, 3))
    return Model(x, L.RNN([L.GRUCell(4), L.LSTMCell(3)])(x))


def operators():
    """Arithmetic on symbolic tensors: TFOpLambda in Keras 2, bare operations in Keras 3."""
    x = Input((4,), name="x")
    y = L.Dense(4, name="dense")(x)
    return Model(x, (y * 2.0 + x) / 3.0)


def functions():
    x = Input((4,), name="x")
    y = L.Dense(4, name="dense")(x)
    if KERAS >= 3:
        return Model(x, keras.ops.concatenate([keras.ops.relu(y), keras.ops.expand_dims(y[:, 1], -1)], axis=1))
    import tensorflow as tf
    return Model(x, tf.concat([tf.nn.relu(y), tf.expand_dims(y[:, 1], -1)], axis=1))


add("beyond_rnn_cell", rnn_cell)
add("beyond_rnn_stacked_cells", rnn_stacked_cells)
add("beyond_operators", operators)
add("beyond_functions", functions)
layer("beyond_conv_lstm2d", lambda: L.ConvLSTM2D(2, 3, padding="same"), (3, 4, 4, 2))
layer("beyond_group_normalization", lambda: L.GroupNormalization(groups=2), (3, 3, 4))
layer("beyond_unit_normalization", lambda: L.UnitNormalization(), (5,))
layer("beyond_additive_attention", lambda: L.AdditiveAttention(), (3, 4), (5, 4))
layer("beyond_einsum_dense", lambda: L.EinsumDense("abc,cd->abd", output_shape=(None, 4), bias_axes="d"), (3, 5))
layer("beyond_spectral_normalization", lambda: L.SpectralNormalization(L.Dense(3)), (4,))
layer("beyond_resizing", lambda: L.Resizing(6, 5), (4, 4, 2))
layer("beyond_center_crop", lambda: L.CenterCrop(3, 2), (5, 6, 2))
layer("beyond_category_encoding", lambda: L.CategoryEncoding(num_tokens=9, output_mode="multi_hot"), (4,),
      dtype="int32")
layer("beyond_dense_float64", lambda: L.Dense(3, dtype="float64"), (4,), dtype="float64")
layer("beyond_dense_mixed_float16", lambda: L.Dense(3, dtype="mixed_float16"), (4,))
if hasattr(L, "LocallyConnected1D"):
    layer("beyond_locally_connected_1d", lambda: L.LocallyConnected1D(3, 2), (5, 2))
if hasattr(L, "RMSNormalization"):
    layer("beyond_rms_normalization", lambda: L.RMSNormalization(), (5,))


def application_layers():
    """Classes that keras.applications keeps to itself."""
    from keras.src.applications import convnext, inception_resnet_v2
    x = Input((4, 4, 3))
    y = convnext.LayerScale(0.5, 3, name="scale")(L.Conv2D(3, 1, name="conv")(x))
    y = convnext.StochasticDepth(0.1, name="depth")(y)
    return Model(x, inception_resnet_v2.CustomScaleLayer(0.3, name="sum")([x, y]))


add("beyond_application_layers", application_layers)


# --- found among composed models ------------------------------------------------------------------------------------
def norms_of_ints():
    """Keras gives back whole numbers, as they came; the model goes on with what is left of the fractions."""
    x = Input((5,), dtype="int32")
    return Model(x, [L.LayerNormalization(name="layer")(x), L.Dense(3)(L.RMSNormalization(name="rms")(x)),
                     keras.ops.layer_normalization(x), keras.ops.rms_normalization(x)])


def distributed_policies():
    """A wrapper runs the `call` of the layer inside: its own policy counts, not the layer's."""
    x = Input((3, 4))
    narrow = L.TimeDistributed(L.Dense(4, name="wide"), dtype="mixed_bfloat16", name="narrow")(x)
    wide = L.TimeDistributed(L.Dense(4, dtype="mixed_bfloat16", name="small"), name="wide")(x)
    dropped = L.TimeDistributed(L.Dropout(0.2), dtype="bfloat16", name="dropped")(x)
    return Model(x, [L.Dense(3, dtype="float32", name=f"after_{i}")(y) for i, y in enumerate((narrow, wide, dropped))])


if KERAS >= 3:
    add("beyond_norms_of_ints", norms_of_ints, every_output=False)
    add("beyond_distributed_policies", distributed_policies)
