"""Makes tests/fixtures/containers: the forms of `.keras` besides the plain zip, by Keras 3.15.

    keras3/bin/python containers_fixtures.py [NAME...]
"""
import os
import shutil
import sys

import kit
import keras
import numpy as np
from keras import layers as L
from keras.src.saving import saving_lib

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "containers")


def dense(**options):
    x = keras.Input((5,))
    return keras.Model(x, L.Dense(3)(L.Dense(4, activation="tanh", **options)(x)))


def half():
    """In bfloat16, whose rounding is two digits away."""
    x = keras.Input((5,))
    return keras.Model(x, L.Dense(3)(L.Dense(12, activation="relu", dtype="bfloat16")(x)))


def convolutions():
    x = keras.Input((6, 6, 2))
    y = L.BatchNormalization()(L.Conv2D(3, 2, activation="relu")(x))
    return keras.Model(x, L.Dense(2)(L.Flatten()(y)))


def words():
    """Layers that learnt their words: Keras stores these beside the weights."""
    lookup, again = L.IntegerLookup(), L.IntegerLookup(mask_token=0, num_oov_indices=1)
    lookup.adapt(np.array([3, 5, 3, 7, 9, 3, 5]))
    again.adapt(np.array([2, 4, 2, 6, 4, 2]))
    x, y = keras.Input((4,), dtype="int64"), keras.Input((4,), dtype="int64")
    table, other = L.Embedding(5, 3), L.Embedding(6, 3)
    return keras.Model([x, y], L.Add()([table(lookup(x)), other(again(y))]))


def embedding():
    x = keras.Input((4,), dtype="int32")
    return keras.Model(x, L.GlobalAveragePooling1D()(L.Embedding(8, 6)(x)))


def einsum():
    x = keras.Input((4, 6))
    return keras.Model(x, L.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3), bias_axes="de")(x))


def shared_inside():
    """Layers and models that wrappers hold, too: stored where Keras comes upon them first."""
    dense = L.Dense(4, activation="tanh", name="dense")
    i = keras.Input((4,))
    inner = keras.Model(i, L.LayerNormalization(name="norm")(L.Dense(4, name="inside")(i)), name="inner")
    x, once = keras.Input((3, 4)), keras.Input((4,))
    y = L.TimeDistributed(dense)(dense(x))
    return keras.Model([x, once], L.Add()([L.TimeDistributed(inner)(y), L.RepeatVector(3)(inner(once))]))


def distributed():
    x = keras.Input((3, 4))
    return keras.Model(x, L.TimeDistributed(L.Dense(3))(x))


def masks():
    """Masks of lists, which Keras 3 does not look for before 3.4."""
    x, y = keras.Input((5,), dtype="int32"), keras.Input((5,), dtype="int32")
    one, other = L.Embedding(9, 4, mask_zero=True)(x), L.Embedding(9, 4, mask_zero=True)(y)
    both = L.Concatenate()([L.Add()([one, other]), L.Multiply()([one, other])])
    return keras.Model([x, y], L.Concatenate()([L.LSTM(6)(both), L.GlobalAveragePooling1D()(both)]))


def save(model, path):
    model.save(f"{path}.keras")


def apart(model, path):
    """What `to_json` gives names no version of Keras, and nor do the weights."""
    model.save_weights(f"{path}.weights.h5")
    with open(f"{path}.json", "w") as file:
        file.write(model.to_json())


def directory(model, path):
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    saving_lib.save_model(model, path, zipped=False)


def sharded(model, path):
    """As a preset of KerasHub lies: config, metadata, and weights over several files."""
    directory(model, path)
    os.remove(os.path.join(path, "model.weights.h5"))
    model.save_weights(os.path.join(path, "model.weights.json"), max_shard_size=6e-7)


# (name, model, how its numbers are stored, the container)
MODELS = [("directory", convolutions, None, directory), ("sharded", convolutions, None, sharded),
          ("words", words, None, save), ("words_directory", words, None, directory),
          ("masks", masks, None, apart), ("bfloat16", half, None, save), ("lora", dense, "lora", save),
          ("int8_dense", dense, "int8", save), ("int8_embedding", embedding, "int8", save),
          ("int8_einsum_dense", einsum, "int8", save), ("int4_dense", dense, "int4", save),
          ("float8_dense", dense, "float8", save),
          ("int8_distributed", distributed, "int8", save), ("shared_inside", shared_inside, None, save)]


def feed(model, rng, low):
    return [rng.integers(low, 8, kit.concrete(shape)).astype(dtype) if np.issubdtype(dtype, np.integer)
            else kit.random_input(rng, kit.concrete(shape), dtype) for shape, dtype in kit.inputs_of(model)]


def make(name, build, numbers, container):
    kit.begin(name)
    rng = np.random.default_rng(kit.seed_of(name))
    model = build()
    kit.randomise(model, rng)
    if numbers == "lora":
        layer = next(layer for layer in model.layers if isinstance(layer, L.Dense))
        layer.enable_lora(2)
        layer.lora_kernel_b.assign(rng.normal(0, 1, layer.lora_kernel_b.shape))
    elif numbers:
        model.quantize(numbers)
    low = 0 if build is masks else 2
    xs, others = feed(model, rng, low), feed(model, rng, low)
    ys = kit.call(model, xs)
    kit.check_alive(ys, kit.call(model, others), share=1e-3)
    container(model, os.path.join(OUT, name))
    kit.save_golden(os.path.join(OUT, f"{name}.golden.npz"), xs, [y.astype("float32") for y in ys])


def main():
    os.makedirs(OUT, exist_ok=True)
    chosen = [model for model in MODELS if model[0] in sys.argv[1:] or not sys.argv[1:]]
    for name, build, numbers, container in chosen:
        make(name, build, numbers, container)
    kit.say(f"{len(chosen)} models by Keras {keras.__version__}")


if __name__ == "__main__":
    main()
