"""The matrix' models: every case of the other tables as a whole model, saved in every container that the version has.

A layer case becomes a functional model of that layer. Its masks come the way a user's do: through Masking layers. Where
a case says which axes may be symbolic, a second model leaves them open.
"""
from dataclasses import dataclass, field
from typing import Callable

from kit import KERAS, concrete, feed, keras, np, random_input, randomise, seed_of, finalize
from keras import Input, Model, layers as L

import layer_cases
import layer_cases_core
import layer_cases_spatial
import recurrent_cases
import recurrent_cases_attention  # noqa: F401
import recurrent_cases_rnn  # noqa: F401
import registry
import cases_basic, cases_conv, cases_rnn, cases_attention, cases_graph, cases_beyond  # noqa: F401,E401

MASKED = 77.0
CONTAINERS = ("h5", "keras")


@dataclass
class Spec:
    name: str
    make: Callable                  # rng -> (model, inputs)
    # Old Pythons, too, read this file (old_keras).
    subject: object = ()  # a tuple, or what makes it: class names that the case is about; empty: all that occur
    containers: tuple = CONTAINERS
    loose: bool = False             # float16 or bfloat16 arithmetic
    tolerance: float = 0.0          # absolute; where Keras itself is inexact
    weights: dict = field(default_factory=dict)


class NotAModel(Exception):
    """A call that no functional model can hold; it has its place in the tables of single calls."""


def opened(value, free):
    return [None if axis in free else size for axis, size in enumerate(value.shape)][1:]


def symbolic(value, free=(), stateful=False):
    if value.ndim == 0:
        raise NotAModel("an input without batch")
    dtype = "string" if value.dtype.kind in "OSU" else str(value.dtype)
    if stateful:
        return Input(batch_shape=value.shape, dtype=dtype)
    return Input(opened(value, free), dtype=dtype)


def masked(tensor, value, mask):
    """The tensor behind a Masking layer, and the values that make this mask there."""
    if mask.shape != value.shape[:-1] or value.dtype.kind != "f" or value.ndim < 3:
        raise NotAModel(f"a mask {mask.shape} on {value.shape}")
    return L.Masking(MASKED)(tensor), np.where(mask[..., None], value, np.asarray(MASKED, value.dtype))


def listed(outputs):
    return [leaf for item in outputs for leaf in listed(item)] if isinstance(outputs, (list, tuple)) else [outputs]


def layer_model(case, dynamic):
    def make(rng):
        values = [spec(rng) if callable(spec) else layer_cases.rounded(rng.normal(0, 1.5, spec)).astype("float32")
                  for spec in case.inputs]
        frees = [case.free[min(i, len(case.free) - 1)] for i in range(len(values))]
        if any(0 not in free for free in frees):
            raise NotAModel("no batch axis")
        layer = case.make()
        inputs = [symbolic(value, free if dynamic else ()) for value, free in zip(values, frees)]
        tensors = list(inputs)
        for i, mask in enumerate(case.masks):
            if mask is not None:
                tensors[i], values[i] = masked(tensors[i], values[i], mask)
        kwargs = dict(case.kwargs)
        for key, value in case.kwargs.items():
            if isinstance(value, np.ndarray):
                kwargs[key] = symbolic(value)
                inputs.append(kwargs[key])
                values.append(value)
        outputs = layer(tensors if case.takes_list else tensors[0], **kwargs)
        return Model(inputs, listed(outputs)), values
    return make


def recurrent_model(case):
    def make(rng):
        normal = lambda shape: recurrent_cases.halved(rng.normal(0, 1.2, shape).astype("float32"))
        values = [v if isinstance(v, np.ndarray) else normal(v) for v in case["inputs"]]
        layer = case["make"]()
        inputs = [symbolic(value, stateful=getattr(layer, "stateful", False)) for value in values]
        tensors = list(inputs)
        args, kwargs = case["call"] or ([recurrent_cases.ref(0)], {})
        kwargs = dict(kwargs, **case["kwargs"])
        for i, mask in enumerate(case["masks"]):
            if mask is None:
                continue
            if mask.shape != values[i].shape[:-1] and mask.shape == values[i].shape[:2] and i == 0:
                kwargs["mask"] = symbolic(mask)
                inputs.append(kwargs["mask"])
                values.append(mask)
                tensors.append(kwargs["mask"])
            else:
                tensors[i], values[i] = masked(tensors[i], values[i], mask)
        real = {k: recurrent_cases.to_real(v, tensors) for k, v in kwargs.items()}
        outputs = layer(*recurrent_cases.to_real(args, tensors), **real)
        return Model(inputs, listed(outputs)), values
    return make


def registry_model(case):
    def make(rng):
        model = case.build()
        return model, feed(model, rng, case.makers)
    return make


def subject_of(make):
    """What tells the class that a layer case is about, and those that it wraps: only what is made is asked."""
    return lambda: tuple(sorted(classes_of(make())))


def classes_of(layer):
    found = {type(layer).__name__}
    for name in ("layer", "forward_layer", "backward_layer", "cell"):
        inner = getattr(layer, name, None)
        if isinstance(inner, L.Layer):
            found |= classes_of(inner)
    for inner in getattr(layer, "cells", None) or ():
        found |= classes_of(inner)
    if type(layer).__name__ in ("LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"):
        found = {type(layer).__name__}
    return found


def operation_class(operation):
    """As recast names an operation node: `ops.numpy.Add`, `tf.nn.relu`."""
    name, module = type(operation).__name__, type(operation).__module__
    if name == "TFOpLambda":
        return "tf." + operation.get_config()["function"]
    if name == "SlicingOpLambda":
        return "tf.__operators__.getitem"
    if module.startswith("keras.src.ops."):
        return f"ops.{module.rsplit('.', 1)[-1]}.{name}"
    if module.startswith("keras.src.activations"):
        return f"ops.activations.{name}"
    return ""


def classes_in(model):
    found = set()
    for layer in getattr(model, "operations", None) or model.layers:
        if hasattr(layer, "layers"):
            found |= classes_in(layer)
        else:
            found |= {operation_class(layer)} if operation_class(layer) else classes_of(layer)
    return found - {"InputLayer"}


def existing():
    for case in layer_cases_core.CASES + layer_cases_spatial.CASES:
        if case.only not in (None, KERAS) or case.class_name:
            continue
        options = dict(subject=subject_of(case.make), loose=case.loose, tolerance=case.tolerance, weights=case.weights)
        yield Spec(f"layer-{case.name}", layer_model(case, False), **options)
        if any(axis > 0 for free in case.free for axis in free):
            container = CONTAINERS[1:] if KERAS >= 3 else CONTAINERS[:1]
            yield Spec(f"layer-{case.name}_free", layer_model(case, True), containers=container, **options)
    for name, case in recurrent_cases.CASES.items():
        if case["weights"] is None:
            yield Spec(f"recurrent-{name}", recurrent_model(case), subject=subject_of(case["make"]))
    for name, case in registry.CASES.items():
        if case.only in (None, KERAS) and case.save == "h5":
            yield Spec(f"model-{name}", registry_model(case), loose="float16" in name)


def built(spec):
    """The model with weights of its own, and its inputs."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed_of(spec.name) % 2**31)
    rng = np.random.default_rng(seed_of(spec.name))
    model, values = spec.make(rng)
    if not model.built:
        model.build(model.input_shape)
    randomise(model, rng)
    for weight in model.weights:
        role = layer_cases.role_of(weight)
        if role in spec.weights:
            weight.assign(np.asarray(spec.weights[role], "float32"))
    finalize(model)
    return model, values


__all__ = ["Spec", "NotAModel", "built", "classes_in", "existing", "symbolic", "concrete", "random_input"]
