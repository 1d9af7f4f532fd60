"""Makes tests/fixtures/legacy: what older versions of Keras 2 stored otherwise, made of the files of today's fixtures.

    keras2/bin/python legacy_fixtures.py

The goldens are those of the models that the files are made of; tf.keras 2.15, whose loader has the conversions, must
read each file to the same numbers (but for kernels of Theano, which it does not turn around).
"""
import json
import os
import shutil

import kit
import h5py
import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras.src.engine.base_layer import TensorFlowOpLayer

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
OUT = os.path.join(HERE, "legacy")


def gates(kernel, count):
    """Into the layout of cuDNN: the reverse of `k.T.reshape(k.shape, order="F")` for each gate."""
    return np.hstack([k.T.reshape(k.shape, order="C") for k in np.hsplit(kernel, count)])


def to_cudnn(arrays, count):
    kernel, recurrent, bias = arrays
    recurrent = np.hstack([k.T for k in np.hsplit(recurrent, count)])
    if count == 4:
        bias = np.concatenate([0.25 * bias, 0.75 * bias])
    else:
        bias = bias.reshape(-1)
    return gates(kernel, count), recurrent, bias


def rewrite(source, name, change_config=None, change=None, attrs=()):
    """A copy of a fixture; `change(names, arrays)` gives the new arrays of a layer's group, or None to keep them."""
    path = os.path.join(OUT, f"{name}.h5")
    shutil.copy(os.path.join(HERE, "keras2", f"{source}.h5"), path)
    shutil.copy(os.path.join(HERE, "keras2", f"{source}.golden.npz"), os.path.join(OUT, f"{name}.golden.npz"))
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        if change_config:
            change_config(config)
        file.attrs["model_config"] = json.dumps(config).encode()
        for key, value in attrs:
            file.attrs[key] = value
        weights = file["model_weights"]
        for layer in weights.attrs["layer_names"]:
            group = weights[layer]
            names = list(group.attrs["weight_names"])
            new = change([str(n) for n in names], [group[n][()] for n in names]) if change and names else None
            for n, array in zip(names, new or ()):
                del group[n]
                group[n] = array
    return path


def classes(config, old, new, drop=()):
    if isinstance(config, dict):
        if config.get("class_name") == old:
            config["class_name"] = new
            for key in drop:
                config["config"].pop(key, None)
        for value in config.values():
            classes(value, old, new, drop)
    elif isinstance(config, list):
        for value in config:
            classes(value, old, new, drop)


PLAIN = ("activation", "recurrent_activation", "use_bias", "dropout", "recurrent_dropout", "implementation",
         "reset_after", "unroll")


def turned(names, arrays):
    """As the early files: `transpose(3, 2, 0, 1)` makes the kernel."""
    return [a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for a in arrays]


def theano(names, arrays):
    return [a[::-1, ::-1] if a.ndim == 4 else a for a in arrays]


def cudnn(names, arrays):
    count = 4 if any("lstm" in n for n in names) else 3
    return [b for i in range(0, len(arrays), 3) for b in to_cudnn(arrays[i:i + 3], count)]


def raw_ops():
    """(name, op, attributes, constants, shape of the inputs)."""
    number = {"T": {"type": "DT_FLOAT"}}
    index = {"Tidx": {"type": "DT_INT32"}}
    yield "add", "AddV2", number, {1: np.float32(2.5)}, [(4,)]
    yield "subtract_from", "Sub", number, {0: np.float32(1.0)}, [(4,)]
    yield "multiply_two", "Mul", number, {}, [(4,), (4,)]
    yield "mean", "Mean", {**number, **index, "keep_dims": {"b": True}}, {1: np.array([1], "int32")}, [(3, 4)]
    yield "concat", "ConcatV2", {**number, **index, "N": {"i": "2"}}, {2: np.int32(1)}, [(3,), (4,)]
    yield "transpose", "Transpose", {**number, "Tperm": {"type": "DT_INT32"}}, {1: np.array([0, 2, 1], "int32")}, [(3, 4)]
    yield "reshape", "Reshape", {**number, "Tshape": {"type": "DT_INT32"}}, {1: np.array([-1, 6], "int32")}, [(3, 4)]
    yield "matmul", "BatchMatMulV2", {**number, "adj_x": {"b": False}, "adj_y": {"b": True}}, {}, [(3, 4), (5, 4)]
    yield "squeeze", "Squeeze", {**number, "squeeze_dims": {"list": {"i": ["1"]}}}, {}, [(1, 4)]
    yield "expand", "ExpandDims", {**number, "Tdim": {"type": "DT_INT32"}}, {1: np.int32(1)}, [(4,)]
    yield "slice", "StridedSlice", {
        **number, "Index": {"type": "DT_INT32"}, "begin_mask": {"i": "1"}, "end_mask": {"i": "1"},
        "shrink_axis_mask": {"i": "2"}, "ellipsis_mask": {"i": "0"}, "new_axis_mask": {"i": "0"},
    }, {1: np.array([0, 1, 1], "int32"), 2: np.array([0, 2, 4], "int32"), 3: np.array([1, 1, 2], "int32")}, [(3, 5)]
    yield "pack", "Pack", {**number, "N": {"i": "2"}, "axis": {"i": "1"}}, {}, [(4,), (4,)]
    yield "relu6", "Relu6", number, {}, [(4,)]
    yield "leaky", "LeakyRelu", {**number, "alpha": {"f": 0.3}}, {}, [(4,)]
    yield "max", "Max", {**number, **index, "keep_dims": {"b": False}}, {1: np.int32(-1)}, [(3, 4)]


def raw_op(name, op, attrs, constants, shapes):
    kit.begin(name)
    rng = np.random.default_rng(kit.seed_of(name))
    xs = [keras.Input(shape) for shape in shapes]
    count = len(xs) + len(constants)
    node = {"name": op, "op": op, "input": [f"in{i}" for i in range(count)], "attr": attrs}
    layer = TensorFlowOpLayer(node_def=node, name=op, constants=constants)
    model = keras.Model(xs, layer(xs if len(xs) > 1 else xs[0]))
    feeds, others = (kit.feed(model, rng) for _ in range(2))
    ys = kit.call(model, feeds)
    kit.check_alive(ys, kit.call(model, others), share=1e-3)
    path = os.path.join(OUT, f"raw_op_{name}.h5")
    kit.save_h5(model, path)
    kit.save_golden(os.path.join(OUT, f"raw_op_{name}.golden.npz"), feeds, ys)


def wrapped_cell(keep):
    x = keras.Input((4, 5))
    return keras.Model(x, L.RNN(tf.nn.RNNCellDropoutWrapper(L.GRUCell(3), input_keep_prob=keep))(x))


def fourier():
    x = keras.Input((5,))
    y = L.experimental.RandomFourierFeatures(6, kernel_initializer="gaussian", scale=1.5)(x)
    return keras.Model(x, L.Dense(2)(y))


def residual_cell():
    x = keras.Input((4, 5))
    return keras.Model(x, L.RNN(tf.nn.RNNCellResidualWrapper(L.GRUCell(5)))(x))


def residual_cells():
    """Masked, in a stack, and around a stack."""
    wrap = tf.nn.RNNCellResidualWrapper
    x = keras.Input((5, 4))
    masked = L.Masking(0.5)(x)
    first = L.RNN(wrap(L.LSTMCell(4)), return_sequences=True)(masked)
    stack = L.RNN([L.GRUCell(4), wrap(L.SimpleRNNCell(4)), L.LSTMCell(3)], go_backwards=True)(masked)
    around = L.RNN(wrap(L.StackedRNNCells([L.GRUCell(3), L.SimpleRNNCell(4)])), return_state=True)(masked)
    model = keras.Model(x, [first, stack] + list(around[:1]) + list(tf.nest.flatten(around[1:])))
    return model


def skipping(rng, shape, dtype):
    """Sequences with steps that a Masking layer of 0.5 masks: in the middle, first and last."""
    value = kit.random_input(rng, shape, dtype)
    value[0, 2] = value[1, 0] = value[1, -1] = 0.5
    return value


def built(name, build, makers=()):
    kit.begin(name)
    rng = np.random.default_rng(kit.seed_of(name))
    model = build()
    kit.randomise(model, rng)
    xs, others = (kit.feed(model, rng, makers) for _ in range(2))
    ys = kit.call(model, xs)
    kit.check_alive(ys, kit.call(model, others), share=1e-3)
    kit.save_h5(model, os.path.join(OUT, f"{name}.h5"))
    kit.save_golden(os.path.join(OUT, f"{name}.golden.npz"), xs, ys)


def as_tensorflow(name):
    """A file of Keras 1 on Theano as it would be on TensorFlow: names that end in `:0`, kernels the other way round."""
    path = os.path.join(OUT, f"{name}_keras_1_on_tensorflow.h5")
    shutil.copy(os.path.join(HERE, "keras1", f"{name}.h5"), path)
    shutil.copy(os.path.join(HERE, "keras1", f"{name}.golden.npz"), path.replace(".h5", ".golden.npz"))
    with h5py.File(path, "r+") as file:
        channels_first = '"th"' in str(file.attrs["model_config"])
        for layer in file["model_weights"].values():
            names = [str(name) for name in layer.attrs["weight_names"]]
            for name in names:
                array = layer[name][()]
                if array.ndim == 4:
                    array = array[:, :, ::-1, ::-1] if channels_first else array[::-1, ::-1]
                del layer[name]
                layer[f"{name}:0"] = array
            if names:
                layer.attrs["weight_names"] = [f"{name}:0".encode() for name in names]


def check(path, loads=True):
    golden = np.load(path.replace(".h5", ".golden.npz"))
    model = keras.models.load_model(path, compile=False)
    ys = kit.call(model, [golden[f"x{i}"] for i in range(len(model.inputs))])
    same = all(np.allclose(y, golden[f"y{i}"], rtol=1e-4, atol=1e-5) for i, y in enumerate(ys))
    if same != loads:
        raise AssertionError(f"{path}: tf.keras {'gives other numbers' if loads else 'reads it as well'}")


def unsaid(source, name):
    """A file that does not say who wrote it."""
    path = rewrite(source, name)
    with h5py.File(path, "r+") as file:
        for place in (file, file["model_weights"]):
            for key in ("keras_version", "backend"):
                place.attrs.pop(key, None)
    return path


def main():
    os.makedirs(OUT, exist_ok=True)
    for name, *rest in raw_ops():
        raw_op(name, *rest)
    for source in ("lstm", "lstm_sequences", "bidirectional_lstm_last", "gru", "bidirectional_gru_last"):
        check(rewrite(source, f"{source}_of_cudnn", change=cudnn))
        plain = "LSTM" if "lstm" in source else "GRU"
        # Only a GPU runs these layers.
        rewrite(source, f"cudnn_{source}", lambda c, p=plain: classes(c, p, f"CuDNN{p}", PLAIN), cudnn)
        rewrite(source, f"cudnn_{source}_plain", lambda c, p=plain: classes(c, p, f"CuDNN{p}", PLAIN))
    # Their Keras' LSTM and GRU had another activation by themselves.
    rewrite("bidirectional_gru_last", "cudnn_bidirectional_gru_early", lambda c: classes(c, "GRU", "CuDNNGRU", PLAIN),
            cudnn, attrs=[("keras_version", b"2.2.4-tf")])
    built("dropout_wrapper", lambda: wrapped_cell(1.0))
    built("dropout_wrapper_drops", lambda: wrapped_cell(0.5))
    built("residual_wrapper", residual_cell)
    built("residual_wrapper_masked", residual_cells, [skipping])
    built("random_fourier_features", fourier)
    for name in ("conv2d_th", "conv2d_tf", "conv1d", "small_cnn_th", "lstm", "merge_concat"):
        as_tensorflow(name)
    check(unsaid("chain_conv_pool_dense", "nobody_says_who"))
    check(rewrite("conv2d", "conv2d_turned", change=turned))
    check(rewrite("conv2d_transpose", "conv2d_transpose_turned", change=turned))
    check(rewrite("conv2d", "conv2d_theano", change=theano, attrs=[("backend", b"theano")]), loads=False)
    kit.say(f"{len(os.listdir(OUT))} files, Keras {keras.__version__}")


if __name__ == "__main__":
    main()
