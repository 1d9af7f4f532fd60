"""What the kits for today's frameworks (kit.py) and for old ones (old_keras/kit.py) share, and what tells right numbers
from wrong ones. No framework is imported here, and Python 2.7 reads this file, too.
"""
from __future__ import print_function

import os
import sys
import zlib

import numpy as np

BATCH = 2
UNKNOWN_DIMENSIONS = (6, 7, 5)
RTOL, ATOL = 1e-3, 1e-5
# float16 has 11 bits, bfloat16 8: a sum of a few rounded products.
RTOL_LOOSE, ATOL_LOOSE = 3e-2, 3e-2


def home():
    """The work home: environments, zoo models and downloads, never in the repository."""
    default = os.path.join(os.path.expanduser("~"), ".cache", "recast-conformance")
    return os.environ.get("RECAST_CONFORMANCE_HOME", default)


def say(*words):
    print(*words, file=sys.stderr)
    sys.stderr.flush()


# --- making ---------------------------------------------------------------------------------------------------------
def seed_of(name):
    return zlib.crc32(name.encode("utf-8")) & 0xFFFFFFFF


def random_weight(rng, name, shape, dtype, units=None):
    """One array that no default hides: scales and variances positive and unlike 1, biases unlike 0. `units` is how many
    numbers it gives, the size of the last axis where it is not said."""
    kind = name.split("/")[-1].split(":")[0]
    if kind.endswith(("variance", "gamma", "scale", "running_std")):
        value = rng.uniform(0.5, 1.5, shape)
    elif kind.endswith("embeddings"):
        value = rng.normal(0, 1, shape)
    elif len(shape) >= 2:
        fan_in = np.prod(shape) / (units or shape[-1])
        value = rng.normal(0, 1.2 / np.sqrt(max(fan_in, 1)), shape)
    else:
        value = rng.uniform(-0.5, 0.5, shape)
    return np.asarray(value).astype(dtype)


def finalize(model):
    """Normalization computes from copies of its weights."""
    for layer in all_layers(model):
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def all_layers(model):
    for layer in getattr(model, "layers", []):
        yield layer
        for inner in all_layers(layer):
            yield inner


def concrete(shape):
    unknown = iter(UNKNOWN_DIMENSIONS)
    return (shape[0] or BATCH,) + tuple(next(unknown) if d is None else d for d in shape[1:])


def random_input(rng, shape, dtype):
    if dtype == np.bool_:
        return np.asarray(rng.random(shape) < 0.6)
    if dtype == np.uint8:
        return rng.integers(0, 256, shape).astype(dtype)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(1, 8, shape).astype(dtype)
    return rng.normal(0, 1.5, shape).astype(dtype)


def flatten(outputs):
    """Leaves as arrays, in the order of a model's outputs: those of a dictionary by sorted key."""
    if isinstance(outputs, dict):
        return [leaf for key in sorted(outputs) for leaf in flatten(outputs[key])]
    if isinstance(outputs, (list, tuple)):
        return [leaf for item in outputs for leaf in flatten(item)]
    return [np.asarray(outputs.detach() if hasattr(outputs, "detach") else outputs)]


def plain(array):
    """Strings as numpy's own, which need no pickle."""
    array = np.asarray(array)
    if array.dtype.kind not in "OS":
        return array
    return np.array(texts(array), dtype="U").reshape(array.shape)


def save_golden(path, xs, ys):
    arrays = {"x%d" % i: plain(x) for i, x in enumerate(xs)}
    arrays.update(("y%d" % i, plain(y)) for i, y in enumerate(ys))
    np.savez(path, **arrays)


# --- comparing ------------------------------------------------------------------------------------------------------
class Wrong(Exception):
    """The numbers are not Keras' numbers, or something broke its contract."""


def texts(array):
    """The strings of an array; TensorFlow's are bytes."""
    return [text.decode("utf-8") if isinstance(text, bytes) else text for text in array.ravel().tolist()]


def apart(what, got, wanted, rtol, atol):
    """The largest absolute error; an exception where the shapes differ, a number is not finite or not within bounds."""
    got = np.asarray(got)
    if got.shape != wanted.shape:
        raise Wrong("%s: shape %s, wanted %s" % (what, got.shape, wanted.shape))
    g, w = got.astype(np.float64), wanted.astype(np.float64)
    # Nothing compares as larger than a bound that is NaN.
    if not np.isfinite(g).all() or not np.isfinite(w).all():
        raise Wrong("%s: not finite" % what)
    error = np.abs(g - w)
    if (error > atol + rtol * np.abs(w)).any():
        worst = int(np.argmax(error - rtol * np.abs(w)))
        seen = (what, error.max(), g.flat[worst], w.flat[worst])
        raise Wrong("%s: off by up to %.3g; %.6g, wanted %.6g" % seen)
    return float(error.max()) if error.size else 0.0


def difference(i, got, wanted, case):
    """The largest absolute error of output `i`; an exception where it is more than the case allows."""
    if got.shape != wanted.shape:
        raise Wrong("output %d: shape %s, wanted %s" % (i, got.shape, wanted.shape))
    strings = [array.dtype.kind in "OSU" for array in (got, wanted)]
    if got.dtype.kind != wanted.dtype.kind and not all(strings):
        raise Wrong("output %d: %s, wanted %s" % (i, got.dtype, wanted.dtype))
    if all(strings):
        if texts(got) != texts(wanted):
            raise Wrong("output %d: %r, wanted %r" % (i, got.flat[0], wanted.flat[0]))
        return 0.0
    rtol, atol = (RTOL_LOOSE, ATOL_LOOSE) if case.get("loose") else (RTOL, ATOL)
    return apart("output %d" % i, got, wanted, rtol, max(atol, case.get("tolerance", 0)))
