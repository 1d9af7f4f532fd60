"""Runs a .keras or .h5 file in the Keras of its interpreter: run.py MODEL INPUTS.npz OUTPUTS.npz [INPUTS.npz OUTPUTS.npz]...

Inputs are taken in the order of the model's inputs, outputs come in the order of its outputs.
"""
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# The numbers of one kernel after another, rather than those of a library that remembers kernels by their addresses.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import keras
import numpy as np


def leaves(value):
    """A structure of tensors as Keras flattens it: dictionaries by their sorted keys."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def to_numpy(tensor):
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        # numpy has no bfloat16.
        return (tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy()
    array = np.asarray(tensor)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def runs(model, turned):
    """How to call the model. TensorFlow has no kernels for channels-first images on a CPU; its compiler has."""
    def run(feeds):
        return model(feeds[0] if len(feeds) == 1 else feeds, training=False)
    if not turned:
        return run
    import tensorflow as tf
    return tf.function(run, jit_compile=True)


def main():
    # Keras 3 goes down one call for each layer that stands behind another.
    sys.setrecursionlimit(100_000)
    model = keras.models.load_model(sys.argv[1], compile=False)
    backend = keras.backend.backend()
    run = runs(model, backend == "tensorflow" and '"channels_first"' in model.to_json())
    for inputs, outputs in zip(sys.argv[2::2], sys.argv[3::2]):
        with np.load(inputs, allow_pickle=False) as file:
            arrays = [file[name] for name in file.files]
        feeds = []
        for array, spec in zip(arrays, model.inputs):
            dtype = getattr(spec.dtype, "name", spec.dtype)
            feeds.append(keras.ops.convert_to_tensor(array, dtype) if hasattr(keras, "ops") else cast(array, dtype))
        np.savez(outputs, *map(to_numpy, leaves(run(feeds))))


def cast(array, dtype):
    import tensorflow as tf
    return tf.cast(tf.constant(array), dtype)


if __name__ == "__main__":
    if len(sys.argv) < 4 or len(sys.argv) % 2:
        sys.exit(__doc__)
    main()
