"""Makes tests/fixtures/legacy/preprocessing_VERSION_*: `experimental.preprocessing` as TensorFlow 2.3 to 2.5 stored it;
and peephole_lstm*: cells that later versions no longer have.

    python3.8 -m venv tf23 && tf23/bin/pip install tensorflow-cpu==2.3.4 "protobuf<3.20"
    tf23/bin/python old_tensorflow_fixtures.py      # 2.4.4 with Python 3.8, 2.5.3 with Python 3.9

The keys differ from those of 2.6 on: Normalization without numbers, `bins` of Discretization, `max_tokens` of
CategoryEncoding. IntegerLookup and StringLookup of those versions can't be saved in an .h5 at all.
"""
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "legacy")
VERSION = ".".join(tf.__version__.split(".")[:2])
P = tf.keras.layers.experimental.preprocessing
L = tf.keras.layers


def numbers(rng):
    """Features: adapted, in buckets, and a dense layer behind both."""
    normalize = P.Normalization()
    normalize.adapt(rng.normal(2, 3, (32, 4)).astype("float32"))
    x = tf.keras.Input((4,))
    y = normalize(x)
    buckets = P.Discretization([-0.5, 0.25, 1.5])(x)
    value = rng.normal(0, 2, (2, 4)).astype("float32")
    # On a bound: which bucket it is in depends on the version.
    value[0, :2] = -0.5, 1.5
    return [x], [L.Dense(3)(y), buckets], [value]


def images(rng):
    x = tf.keras.Input((7, 8, 3))
    y = P.Rescaling(1 / 127.5, offset=-1.0)(P.Resizing(5, 6)(x))
    y = P.RandomRotation(0.2)(P.RandomFlip()(P.RandomContrast(0.2)(y)))
    y = P.RandomHeight(0.2)(P.RandomWidth(0.2)(P.RandomZoom(0.2)(P.RandomTranslation(0.1, 0.2)(y))))
    near = P.Resizing(3, 9, interpolation="nearest")(x)
    return [x], [L.Conv2D(2, 3)(y), P.CenterCrop(4, 3)(x), P.RandomCrop(4, 6)(x), near], [
        rng.uniform(0, 255, (2, 7, 8, 3)).astype("float32")]


def categories(rng):
    x = tf.keras.Input((4,), dtype="int64")
    outputs = [P.CategoryEncoding(max_tokens=6, output_mode=mode)(x) for mode in ("binary", "count")]
    return [x], [L.Dense(3)(y) for y in outputs], [rng.integers(0, 6, (2, 4))]


def tf_idf(rng):
    """Until 2.4."""
    encode = P.CategoryEncoding(max_tokens=6, output_mode="tf-idf")
    encode.adapt(rng.integers(0, 6, (16, 4)))
    x = tf.keras.Input((4,), dtype="int64")
    return [x], [L.Dense(3)(encode(x))], [rng.integers(0, 6, (2, 4))]


def peephole_lstm(rng):
    """A layer, a stack, and one that skips masked steps; every option of the layer around the cells."""
    cell = tf.keras.experimental.PeepholeLSTMCell
    x = tf.keras.Input((5, 3))
    first, *states = L.RNN(cell(4, recurrent_activation="sigmoid"), return_sequences=True, return_state=True)(x)
    stack = L.RNN([cell(3), L.GRUCell(4), cell(2, use_bias=False)], go_backwards=True)(first)
    masked = L.RNN(cell(3), return_sequences=True)(L.Masking()(x))
    value = rng.normal(0, 1, (2, 5, 3)).astype("float32")
    value[0, 0] = value[0, 3] = value[1, 4] = 0
    return [x], [first, stack, masked] + states, [value]


def main():
    builders = [numbers, images, categories]
    builders += [tf_idf] if VERSION < "2.5" else [peephole_lstm]
    for build in builders:
        rng = np.random.default_rng(sum(map(ord, VERSION + build.__name__)))
        tf.keras.backend.clear_session()
        inputs, outputs, values = build(rng)
        model = tf.keras.Model(inputs, outputs)
        for weight in model.weights:
            if any(word in weight.name for word in ("kernel", "bias", "peephole")):
                weight.assign(rng.normal(0, 0.6, weight.shape))
        results = model(values[0] if len(values) == 1 else values, training=False)
        results = [np.asarray(y) for y in (results if isinstance(results, list) else [results])]
        assert all(np.isfinite(y).all() and not np.array_equal(y[0], y[1]) for y in results)
        name = build.__name__ if "lstm" in build.__name__ else "preprocessing_%s_%s" % (VERSION, build.__name__)
        path = os.path.join(OUT, name)
        model.save(path + ".h5", include_optimizer=False)
        named = {"x%d" % at: value for at, value in enumerate(values)}
        named.update(("y%d" % at, value) for at, value in enumerate(results))
        np.savez(path + ".golden.npz", **named)
        print(path, [y.shape for y in results])


if __name__ == "__main__":
    main()
