"""Makes tests/fixtures/lambda: models with the functions of lambda_known.py in their Lambda layers, and their outputs.

    keras2/bin/python lambda_fixtures.py            # .h5 by tf.keras 2.15
    keras3/bin/python lambda_fixtures.py            # .keras by Keras 3.15
    keras3/bin/python lambda_fixtures.py --all DIR  # every function that this Keras can call, a model for each shape

The functions are ours, and run here alone: what converts the models only reads them.
"""
import itertools
import os
import sys

import kit
import keras
import numpy as np
import tensorflow as tf
from keras import layers as L

import lambda_compile
import lambda_known

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "lambda")
SUFFIX = "h5" if kit.KERAS < 3 else "keras"
# What the letters of a source may be: the first that the function can be called with is taken.
WHOLE = [("1", "2", "3"), ("-1", "-2", "1"), ("2", "3", "1"), ("-1", "1", "2")]
BROKEN = [("0.6", "1.7", "2.3")]
SHAPES = [(4, 5, 4), (4, 6), (1, 5), (5, 1, 3), (7,)]
FIXTURES = ["lambda x: x / a - b", "lambda x: K.l2_normalize(x, axis=a)", "lambda x: x[:, a, :]",
            "lambda x: tf.expand_dims(x, a)", "lambda x: (x - a) / a", "lambda x: tf.nn.relu(x)",
            "lambda x, scale: x * scale", "lambda x, i=1: x[:, i]", "lambda x: tf.reduce_mean(x, axis=a)",
            "lambda x, scale: x[0] + x[1] * scale", "lambda x: x[..., ::a]", "lambda x: x ** a"]


def scope():
    found = {"tf": tf, "keras": keras, "K": keras.backend, "backend": keras.backend, "np": np,
             "activations": keras.activations}
    if kit.KERAS >= 3:
        found["ops"] = keras.ops
    return found


def functions(sources):
    """(source, numbers, function, arguments, how many inputs) of each."""
    for source in sources:
        letters = lambda_known.letters(source)
        several = "x[0]" in source or "x, y = v" in source
        names = [name for name in ("scale", "alpha", "factor") if f"x, {name}" in source.split(":")[0]]
        # What is called or indexed takes whole numbers first: TensorFlow takes an axis of 1.7 for 1.
        picks = "[" in source or "(x" in source or "(v" in source
        for numbers in (WHOLE + BROKEN if picks else BROKEN) if letters else WHOLE[:1]:
            space = scope()
            exec(lambda_compile.spelled(source, dict(zip(letters, numbers))), space)
            yield source, numbers, space["f"], {name: 0.35 for name in names}, 2 if several else 1


def called(sources, shape):
    """A layer of each source that can be called on this shape, once."""
    done = set()
    inputs = [keras.Input(shape), keras.Input(shape)]
    probe = [np.random.default_rng(n).uniform(0.3, 2, (2,) + shape).astype("float32") for n in (1, 2)]
    for source, _, function, arguments, count in functions(sources):
        if source in done:
            continue
        x, value = (inputs[0], probe[0]) if count == 1 else (inputs, probe)
        try:
            result = np.asarray(function(value if count > 1 else tf.constant(value), **arguments))
            layer = L.Lambda(function, arguments=arguments, name=f"l{len(done)}")
            y = layer(x)
        except Exception:  # a function that this Keras lacks, or another rank: both are asked for
            continue
        if result.dtype == np.float32 and np.isfinite(result).all() and np.ndim(result) and result.shape[0] == 2:
            done.add(source)
            yield source, y, inputs


def save(name, inputs, outputs, out):
    rng = np.random.default_rng(kit.seed_of(name))
    model = keras.Model(inputs, outputs)
    kit.randomise(model, rng)
    xs = [rng.uniform(0.3, 2, (2,) + tuple(i.shape[1:])).astype("float32") for i in inputs]
    ys = kit.call(model, xs)
    model.save(os.path.join(out, f"{name}.{SUFFIX}"), **({"include_optimizer": False} if SUFFIX == "h5" else {}))
    kit.save_golden(os.path.join(out, f"{name}.golden.npz"), xs, ys)


def every(out):
    os.makedirs(out, exist_ok=True)
    left = list(dict.fromkeys(itertools.chain(*lambda_known.KNOWN.values())))
    if kit.KERAS >= 3:
        # Keras 3 stores the name of a function alone.
        left = [source for source in left if source.startswith("lambda")]
    for number, shape in enumerate(SHAPES):
        kit.begin(f"known{number}")
        found = list(called(left, shape))
        if found:
            save(f"known{number}", found[0][2], [y for _, y, _ in found], out)
            done = {source for source, _, _ in found}
            left = [source for source in left if source not in done]
            kit.say(f"{shape}: {len(found)} functions")
    kit.say(f"{len(left)} can't be called by Keras {keras.__version__}: {left}")


def main():
    lambda_known.fill()
    if "--all" in sys.argv:
        every(sys.argv[sys.argv.index("--all") + 1])
        return
    os.makedirs(OUT, exist_ok=True)
    name = f"known_keras{kit.KERAS}"
    kit.begin(name)
    found = list(called(FIXTURES, (4, 3, 2)))
    dense = L.Dense(3)(L.Flatten()(found[0][1]))
    save(name, found[0][2], [dense] + [y for _, y, _ in found], OUT)
    kit.begin(f"unknown_keras{kit.KERAS}")
    x = keras.Input((4,))
    unknown = L.Lambda(lambda x: tf.math.atan(x) * 3 + x)
    save(f"unknown_keras{kit.KERAS}", [x], [L.Dense(3)(unknown(x))], OUT)
    kit.say(f"{name}: {[source for source, _, _ in found]}")


if __name__ == "__main__":
    main()
