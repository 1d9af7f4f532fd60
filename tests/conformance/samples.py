"""Makes tests/samples: the small real models that the shipped configuration converts.

    keras2/bin/python samples.py      mnist_mlp.h5, text_lstm.h5 (tf.keras 2.15)
    keras3/bin/python samples.py      small_cnn.h5 (Keras 3)
"""
import os

import kit
import numpy as np
from keras import Input, Model, Sequential, layers

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "samples")


def mnist_mlp():
    return Sequential([
        layers.InputLayer((784,), name="pixels"),
        layers.Dense(128, activation="relu", name="hidden"),
        layers.Dropout(0.2, name="dropout"),
        layers.Dense(10, activation="softmax", name="digit"),
    ], name="mnist_mlp")


def text_lstm():
    words = Input((None,), dtype="int32", name="words")
    x = layers.Embedding(200, 16, mask_zero=True, name="embedding")(words)
    x = layers.LSTM(24, name="lstm")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    return Model(words, layers.Dense(3, activation="softmax", name="topic")(x), name="text_lstm")


def small_cnn():
    def conv_bn(x, name, **options):
        x = layers.Conv2D(16, 3, padding="same", use_bias=False, name=f"{name}_conv", **options)(x)
        return layers.BatchNormalization(name=f"{name}_bn")(x)

    image = Input((32, 32, 3), name="image")
    x = layers.ReLU(name="stem_relu")(conv_bn(image, "stem", strides=2))
    y = layers.DepthwiseConv2D(3, padding="same", name="block_depthwise")(x)
    y = layers.Activation("relu", name="block_relu")(layers.BatchNormalization(name="block_bn")(y))
    y = conv_bn(y, "block_project")
    x = layers.Add(name="residual")([x, y])
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.GlobalAveragePooling2D(name="average")(conv_bn(x, "head"))
    return Model(image, layers.Dense(10, activation="softmax", name="class")(x), name="small_cnn")


def padded_words(rng, shape, dtype):
    words = rng.integers(1, 200, shape).astype(dtype)
    words[0, -2:] = 0
    return words


def main():
    makers = {2: [(mnist_mlp, None), (text_lstm, padded_words)], 3: [(small_cnn, None)]}
    for build, maker in makers[kit.KERAS]:
        name = build.__name__
        kit.begin(name)
        rng = np.random.default_rng(kit.seed_of(name))
        model = build()
        kit.randomise(model, rng)
        xs, others = (kit.feed(model, rng, [maker]) for _ in range(2))
        ys = kit.call(model, xs)
        kit.check_alive(ys, kit.call(model, others))
        kit.save_h5(model, os.path.join(OUT, f"{name}.h5"))
        kit.save_golden(os.path.join(OUT, f"{name}.golden.npz"), xs, ys)
        print(name, [y.tolist() for y in ys])


if __name__ == "__main__":
    main()
