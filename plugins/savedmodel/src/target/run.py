"""Runs a SavedModel: run.py MODEL INPUTS.npz OUTPUTS.npz [INPUTS.npz OUTPUTS.npz ...]

MODEL is the directory, or one that holds it under a number as TensorFlow Serving wants it.
"""
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf


def model_directory(path):
    if os.path.exists(os.path.join(path, "saved_model.pb")):
        return path
    numbers = [name for name in os.listdir(path) if name.isdigit()]
    return os.path.join(path, max(numbers, key=int))


def fed(array, dtype):
    return tf.constant(array) if dtype == tf.string else tf.cast(array, dtype)


def asked(name, specs, arrays):
    """The array for an input, which may have got `_` at the end of its name when it was written."""
    own = name
    while name not in arrays or (name != own and name in specs):
        if not name.endswith("_"):
            raise KeyError(own)
        name = name[:-1]
    return arrays[name]


def main():
    loaded = tf.saved_model.load(model_directory(sys.argv[1]))
    serve = loaded.signatures["serving_default"]
    specs = serve.structured_input_signature[1]
    for inputs, outputs in zip(sys.argv[2::2], sys.argv[3::2]):
        with np.load(inputs) as arrays:
            feeds = {name: fed(asked(name, specs, arrays), spec.dtype) for name, spec in specs.items()}
        found = {}
        for name, value in serve(**feeds).items():
            # numpy's files know no bfloat16.
            value = tf.cast(value, tf.float32) if value.dtype == tf.bfloat16 else value
            value = value.numpy()
            # Nor arrays of bytes of many lengths.
            found[name] = np.char.decode(value.astype("S"), "utf-8") if value.dtype == object else value
        np.savez(outputs, **found)


main()
