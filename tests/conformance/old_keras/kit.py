"""The kit of the conformance scripts for the frameworks of `environments.py`: same names, so that the tables of cases
work with both. It must be found before ../kit.py, and it makes the old framework answer to the name `keras`.

OLD_KERAS is the name of the version. Python 2.7 reads this file, too.
"""
from __future__ import print_function

import glob
import os
import re
import sys
import types
import warnings

NAME = os.environ["OLD_KERAS"]
STANDALONE = NAME.startswith("keras")
warnings.simplefilter("ignore")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ["KERAS_BACKEND"] = NAME.rsplit("-", 1)[1] if STANDALONE else "tensorflow"
os.environ.setdefault("THEANO_FLAGS", "cxx=,device=cpu,floatX=float32,blas.ldflags=,linker=py,optimizer=None")

import numpy as np

import kit_common
from kit_common import all_layers, concrete, finalize, flatten, random_input, save_golden, say, seed_of

THEANO = os.environ["KERAS_BACKEND"] == "theano"
if THEANO:
    tf = types.ModuleType("tensorflow")
    sys.modules["theano.scan_module.scan_perform_ext"] = None
else:
    import tensorflow as tf
    if hasattr(tf, "compat") and hasattr(tf.compat, "v1"):
        tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
if STANDALONE or hasattr(tf, "__version__") and tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 6):
    import keras
else:
    keras = tf.keras
    sys.modules.update({"keras": keras, "keras.layers": keras.layers, "keras.models": keras.models,
                        "keras.backend": keras.backend})
from keras import backend as K
from keras import layers as L

VERSION = keras.__version__
KERAS = 1 if VERSION.startswith("1.") else 2
# Eager: TensorFlow 2.
EAGER = not STANDALONE and tf.__version__.startswith("2.")


class Random(object):
    """What the tables use of numpy's Generator, which the numpy of the old environments has not."""

    def __init__(self, seed):
        self.state = np.random.RandomState(seed % 2**32)
        for name in ("normal", "uniform", "choice", "permutation", "shuffle"):
            setattr(self, name, getattr(self.state, name))

    def integers(self, low, high=None, size=None, dtype="int64", endpoint=False):
        value = self.state.randint(low, high if not endpoint else high + 1, size)
        return value.astype(dtype) if hasattr(value, "astype") else value

    def random(self, size=None):
        return self.state.random_sample(size)


if not hasattr(np.random, "default_rng"):
    np.random.default_rng = Random


def set_random_seed(seed):
    np.random.seed(seed % 2**32)
    if EAGER:
        tf.random.set_seed(seed)


def begin(name):
    K.clear_session() if hasattr(K, "clear_session") else None
    set_random_seed(seed_of(name) % 2**31)


def random_weight(rng, name, shape, dtype):
    # The kernels of Keras 1 have their outputs on any axis.
    return kit_common.random_weight(rng, name, shape, dtype, units=max(shape) if KERAS == 1 and shape else None)


def set_weights(model, choose):
    """`choose(name, array)` gives each weight its value. (get_weights() has another order than `weights`.)"""
    weights = list(model.weights)
    pairs = [(weight, choose(weight.name or "", array)) for weight, array in zip(weights, K.batch_get_value(weights))]
    K.batch_set_value(pairs) if pairs else None
    finalize(model)


def randomise(model, rng):
    set_weights(model, lambda name, array: random_weight(rng, name, array.shape, array.dtype)
                if array.dtype.kind == "f" else array)


def shape_of(tensor):
    shape = getattr(tensor, "_keras_shape", None)
    if shape is None:
        shape = K.int_shape(tensor)
    return tuple(shape)


def dtype_of(tensor):
    dtype = tensor.dtype
    return np.dtype(getattr(dtype, "as_numpy_dtype", dtype))


def feed(model, rng, makers=()):
    makers = list(makers) + [None] * len(model.inputs)
    return [(make or random_input)(rng, concrete(shape_of(tensor)), dtype_of(tensor))
            for make, tensor in zip(makers, model.inputs)]


def call(model, xs, compiled=False):
    """The model's own outputs at inference, in model-output order."""
    if EAGER:
        tensors = [tf.constant(x) for x in xs]
        arguments = tensors if len(tensors) > 1 else tensors[0]
        run = lambda values: model(values, training=False)
        if compiled:
            return flatten(tf.function(run, experimental_compile=True)(arguments))
        return flatten(run(arguments))
    for layer in all_layers(model):
        if getattr(layer, "stateful", False) and hasattr(layer, "reset_states"):
            layer.reset_states()
    return flatten(model.predict(xs if len(xs) > 1 else xs[0], batch_size=len(xs[0])))


def first_shape(layer, shape, dtype):
    """As the argument `batch_input_shape` of the constructor would."""
    while getattr(layer, "layers", None):
        layer = layer.layers[0]
    for name in ("batch_input_shape", "_batch_input_shape"):
        if not STANDALONE or name[0] != "_":
            try:
                setattr(layer, name, shape)
            except AttributeError:
                pass
    if not hasattr(layer, "dtype") or layer.dtype is None:
        layer.dtype = dtype


def sequential(real):
    """Sequential for tables that begin it with an Input: what users of the time wrote, a shape in the first layer."""
    def make(layers=None, name=None):
        layers = list(layers or ())
        if layers and not isinstance(layers[0], (L.Layer, real)) and hasattr(layers[0], "dtype"):
            tensor = layers.pop(0)
            first_shape(layers[0], shape_of(tensor), str(dtype_of(tensor)))
        model = real(name=name)
        for layer in layers:
            model.add(layer)
        return model
    return make


def registered(package="Custom", name=None):
    return lambda cls: cls


def answer_to_today():
    """The few names that the tables use and that came later."""
    from keras.models import Model, Sequential
    keras.Input, keras.Model, keras.Sequential = L.Input, Model, Sequential
    if VERSION < "2.3" or "-tf" in VERSION and VERSION < "2.4":
        keras.Sequential = sequential(Sequential)
    if KERAS == 2:
        for name, function in (("set_random_seed", set_random_seed), ("register_keras_serializable", registered)):
            if not hasattr(keras.utils, name):
                setattr(keras.utils, name, function)
        if not hasattr(L, "Layer"):
            from keras.engine import Layer
            L.Layer = Layer


# Tables ask for these before they use them.
ASKED_FOR = ("Identity", "AlphaDropout", "ThresholdedReLU")


def missing(name):
    def __init__(self, *args, **options):
        raise AttributeError("%s has no %s" % (NAME, name))
    return type(name, (object,), {"__init__": __init__, "missing": True})


def fill_layers(folder):
    """Layers that the tables name and this version has not: building one is an error, naming one is not."""
    for path in glob.glob(os.path.join(folder, "*cases*.py")) + glob.glob(os.path.join(folder, "matrix*.py")):
        with open(path) as file:
            for name in set(re.findall(r"\bL(?:ayers)?\.([A-Z]\w+)", file.read())) - set(ASKED_FOR):
                if not hasattr(L, name):
                    setattr(L, name, missing(name))


answer_to_today()
fill_layers(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
