"""Makes tests/fixtures/keras1 with Keras 1.2.2 on Theano: one tiny model for each layer and important option.

    KERAS1/bin/python fixtures.py [--only PART]
"""
import os
import sys
import traceback
import zlib

import shims
import keras.backend as K
import numpy as np
from cases import CASES

shims.ready()
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "fixtures", "keras1")


def value(rng, name, shape):
    """No default hides: scales and variances positive and unlike 1, biases unlike 0."""
    if name.endswith(("gamma", "running_std")):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) >= 2:
        return rng.normal(0, 1.2 / np.sqrt(np.prod(shape) / max(shape)), shape)
    return rng.uniform(-0.5, 0.5, shape)


def feed(rng, model, integers):
    sizes = iter((6, 7, 5))
    arrays = []
    for tensor in model.inputs:
        shape = [2] + [size or next(sizes) for size in tensor._keras_shape[1:]]
        array = rng.integers(0, integers, shape) if integers else rng.normal(0, 1.5, shape)
        arrays.append(array.astype("float32"))
    return arrays


def run(model, xs):
    ys = model.predict(xs if len(xs) > 1 else xs[0])
    return ys if isinstance(ys, list) else [ys]


def make(name, build, integers):
    seed = zlib.crc32(name.encode())
    np.random.seed(seed % 2**31)
    rng = np.random.default_rng(seed)
    model = build()
    model.compile("sgd", "mse") if hasattr(model, "compile") else None
    for weight in model.weights:
        K.set_value(weight, value(rng, weight.name, K.get_value(weight).shape).astype("float32"))
    xs, others = feed(rng, model, integers), feed(rng, model, integers)
    ys = run(model, xs)
    for y, other in zip(ys, run(model, others)):
        spread = float(y.max() - y.min())
        if not np.isfinite(y).all() or spread < 1e-6 or float(np.abs(y - other).max()) < 1e-2 * spread:
            raise AssertionError("the outputs tell nothing")
    model.save(os.path.join(OUT, f"{name}.h5"), include_optimizer=False) if takes_optimizer(model) else save(model, name)
    golden = {f"x{i}": x for i, x in enumerate(xs)}
    golden.update({f"y{i}": y for i, y in enumerate(ys)})
    np.savez(os.path.join(OUT, f"{name}.golden.npz"), **golden)


def takes_optimizer(model):
    import inspect
    return "include_optimizer" in inspect.getfullargspec(model.save).args


def save(model, name):
    """As Model.save does, without the optimizer's state."""
    for part in ("optimizer", "loss"):
        if hasattr(model, part):
            delattr(model, part)
    model.save(os.path.join(OUT, f"{name}.h5"))


def main():
    os.makedirs(OUT, exist_ok=True)
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
    failed = 0
    for name, (build, integers) in CASES.items():
        if only not in name:
            continue
        try:
            make(name, build, integers)
        except Exception as error:
            failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {str(error)[:200]}")
            if os.environ.get("TRACE"):
                traceback.print_exc()
    print(f"{len(CASES) - failed} of {len(CASES)} fixtures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
