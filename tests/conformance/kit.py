"""What every script here shares: Keras set up to be repeatable, honest weights, inputs, goldens and the liveness check."""
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import tensorflow as tf
import keras

# For the scripts: what needs no framework.
from kit_common import (ATOL, BATCH, RTOL, all_layers, concrete, difference, finalize, flatten, home, plain, random_input,
                        random_weight, save_golden, say, seed_of, texts, Wrong)

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

KERAS = int(keras.__version__.split(".")[0])
VERSION = ".".join(keras.__version__.split(".")[:2])
BACKEND = keras.backend.backend() if KERAS >= 3 else "tensorflow"
# The versions that the tables of cases were written for lack nothing of them.
KERAS_IS_TODAYS = VERSION in ("2.15", "3.15")


class Lenient:
    """A module of an earlier Keras 3: what it has not is a function that can't be called, so that tables can name it."""

    def __init__(self, module):
        self.module = module

    def __getattr__(self, name):
        def missing(*_, **__):
            raise AttributeError(f"{self.module.__name__} has no {name}")
        found = getattr(self.module, name, missing)
        return Lenient(found) if isinstance(found, type(os)) else found


def functions():
    """keras.ops, for tables of cases."""
    return keras.ops if KERAS_IS_TODAYS else Lenient(keras.ops)


def layers():
    """keras.layers, for tables of cases."""
    return keras.layers if KERAS_IS_TODAYS else Lenient(keras.layers)


def matrix():
    """Which matrix this Keras makes: keras2, keras3; by another version or backend keras3.5, keras3.15-torch."""
    name = f"keras{KERAS}" if KERAS_IS_TODAYS and BACKEND == "tensorflow" else f"keras{VERSION}"
    return name if BACKEND == "tensorflow" else f"{name}-{BACKEND}"


def begin(name):
    """Fresh automatic layer names and fixed seeds, so that a fixture comes out the same on every run."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed_of(name) % 2**31)


def randomise(model, rng):
    """Every weight gets a value of its own, states of seed generators and counters excepted."""
    for weight in model.weights:
        name = getattr(weight, "path", None) or weight.name
        dtype = np.dtype(getattr(weight.dtype, "as_numpy_dtype", weight.dtype))
        if np.issubdtype(dtype, np.floating):
            weight.assign(random_weight(rng, name, tuple(weight.shape), dtype))
    finalize(model)


def inputs_of(model):
    """Shape and dtype of each. In Keras 3.0 the first layer's policy changes the symbolic tensor, not the InputLayer."""
    declared = [getattr(getattr(i, "_keras_history", None), "operation", i) for i in model.inputs]
    dtypes = [getattr(layer, "dtype", i.dtype) for layer, i in zip(declared, model.inputs)]
    return [(tuple(i.shape), np.dtype(getattr(dtype, "as_numpy_dtype", dtype)))
            for i, dtype in zip(model.inputs, dtypes)]


def feed(model, rng, makers=()):
    """One array per model input, in order; makers[i](rng, shape, dtype) overrides the default for input i."""
    makers = list(makers) + [None] * len(model.inputs)
    return [
        (make or random_input)(rng, concrete(shape), dtype)
        for make, (shape, dtype) in zip(makers, inputs_of(model))
    ]


def call(model, xs, compiled=False):
    """The model's own outputs at inference, in model-output order."""
    tensors = [tf.constant(x) if BACKEND == "tensorflow" else keras.ops.convert_to_tensor(x) for x in xs]
    arguments = tensors if len(tensors) > 1 else tensors[0]
    run = lambda values: model(values, training=False)
    return flatten(tf.function(run, jit_compile=True)(arguments) if compiled else run(arguments))


class Degenerate(Exception):
    """The outputs could not tell a right converter from a wrong one."""


def check_alive(ys, others, share=1e-2, every_output=True):
    """Outputs are finite, vary, differ between rows, and differ when the inputs do (others: outputs of other inputs)."""
    for i, (y, other) in enumerate(zip(ys, others)):
        if not np.issubdtype(y.dtype, np.floating):
            continue
        if y.size == 0 or not np.isfinite(y).all():
            raise Degenerate(f"output {i}: empty or not finite")
        spread = float(y.max() - y.min())
        if spread < 1e-6:
            raise Degenerate(f"output {i}: constant {y.flat[0]}")
        if every_output and y.ndim > 1 and y.shape[0] > 1:
            rows = float(np.abs(y[0] - y[1]).max())
            if rows < share * spread:
                raise Degenerate(f"output {i}: rows differ by {rows:.3g} of a spread of {spread:.3g}")
        if y.shape == other.shape and float(np.abs(y - other).max()) < share * spread:
            raise Degenerate(f"output {i}: does not follow the inputs")


MOVED = 0.4
# A bias of the keys shifts all scores of a query alike, which softmax takes back; vector_u serves training alone.
UNSEEN = ("key/bias", "vector_u")


def check_weights_matter(model, rng, xs, ys, compiled=False):
    """Each stored array, moved alone, must move an output well past the tolerance: else its loss would go unseen."""
    for weight in model.weights:
        name = getattr(weight, "path", None) or weight.name
        value = np.asarray(weight)
        unseen = name.split(":")[0].endswith(UNSEEN)
        if unseen or not np.issubdtype(value.dtype, np.floating):
            continue
        weight.assign(value + rng.uniform(-MOVED, MOVED, value.shape).astype(value.dtype))
        finalize(model)
        moved = any((np.abs(a - b) > 3 * (ATOL + RTOL * np.abs(b))).any() for a, b in zip(call(model, xs, compiled), ys))
        weight.assign(value)
        if not moved:
            raise Degenerate(f"{name} doesn't matter")
    finalize(model)


def save_h5(model, path):
    if KERAS >= 3:
        import logging
        logging.getLogger("absl").setLevel(logging.ERROR)
        model.save(path, include_optimizer=False)
    else:
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(path, save_format="h5", include_optimizer=False)
