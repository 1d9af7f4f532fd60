"""Recurrent, attention and wrapper layers in real Keras: one call each, with masks, states and wrapped layers.

Run with each environment's Python; writes ../fixtures/layers/recurrent{2,3}.jsonl, one case a line:

    {"name", "keras_version", "layer": layer, "inputs": [array + "mask"? + "free"], "args": [arg],
     "kwargs": {name: arg}, "outputs": [array + "mask"?]}
    layer = {"class", "config", "weights": [array + "role"], "children": {attribute: layer}}
    arg = {"input": index} | {"list": [arg]} | {"json": value}

Arrays as in layer_cases.py; inputs and weights are float16 values, stored as such with "half" set, whatever their
dtype. `free` are the axes of an input that may be symbolic. The mask of most cases has a row for each way to go wrong:
padded behind, holes in the middle, padded in front, nothing left. What a configuration says about wrapped layers is
left out: `children` says it.
"""
import json
import os
import sys

from kit import KERAS, keras, np, random_weight, say, seed_of, tf
from layer_cases import array, get_mask, set_mask
from layer_cases import slim as without_training

from keras import layers as L

B, T, F, U = 4, 5, 2, 3
MASK = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]], bool)
CASES = {}


def add(name, make, *inputs, masks=(), call=None, kwargs=None, free=None, weights=None, record=None, only=None):
    """`inputs` are shapes or arrays; `call` maps them to (args, kwargs) of references (see `ref`)."""
    if only in (None, KERAS):
        assert name not in CASES, name
        CASES[name] = dict(make=make, inputs=inputs, masks=masks, call=call, kwargs=kwargs or {}, free=free,
                           weights=weights, record=record)


class ref(int):
    """Index of an input, in the place of its tensor."""


LEFT_OUT = {"name", "trainable", "seed", "layer", "backward_layer", "cell", "cells", "batch_input_shape",
            "query_shape", "key_shape", "value_shape"}


def slim(config):
    config = {k: v for k, v in without_training(config).items() if k not in LEFT_OUT}
    policy = config.get("dtype")
    if policy == "float32" or isinstance(policy, dict) and policy["config"]["name"] == "float32":
        del config["dtype"]
    return config


def halved(value):
    return value.astype("float16").astype(value.dtype) if value.dtype.kind == "f" else value


def half(value):
    """The array in half the space; its numbers are float16 values already."""
    value = np.asarray(value)
    if value.dtype.kind != "f":
        return array(value)
    return dict(array(value.astype("float16")), dtype=str(value.dtype), half=True)


def tail(path, parts=1):
    return "/".join(path.split(":")[0].split("/")[-parts:])


def role_of(weight, parts):
    path = getattr(weight, "path", None) if KERAS >= 3 else weight.name
    role = tail(path or weight.name, parts)
    return role.removesuffix("_1")


def children_of(layer):
    if isinstance(layer, L.Bidirectional):
        return {"forward_layer": layer.forward_layer, "backward_layer": layer.backward_layer}
    if isinstance(layer, L.StackedRNNCells):
        return {f"cells/{i}": cell for i, cell in enumerate(layer.cells)}
    if type(layer) is L.RNN:
        return {"cell": layer.cell}
    if isinstance(layer, (L.TimeDistributed, L.SpectralNormalization)):
        return {"layer": layer.layer}
    return {}


def layer_record(layer):
    """As a source plugin hands a layer on."""
    children = children_of(layer)
    parts = 2 if "Multi" in type(layer).__name__ or "Grouped" in type(layer).__name__ else 1
    inner = {id(w) for child in children.values() for w in child.weights}
    own = [w for w in layer.weights if id(w) not in inner and "seed" not in role_of(w, 1)]
    return {
        "class": type(layer).__name__, "config": slim(layer.get_config()),
        "weights": [dict(half(w.numpy()), role=role_of(w, parts)) for w in own],
        "children": {name: layer_record(child) for name, child in children.items()},
    }


def to_arg(value):
    if isinstance(value, ref):
        return {"input": int(value)}
    if isinstance(value, (list, tuple)):
        return {"list": [to_arg(item) for item in value]}
    return {"json": value}


def to_real(value, tensors):
    if isinstance(value, ref):
        return tensors[value]
    if isinstance(value, (list, tuple)):
        return [to_real(item, tensors) for item in value]
    return value


def run(name, case):
    rng = np.random.default_rng(seed_of(name))
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    layer = case["make"]()
    normal = lambda shape: halved(rng.normal(0, 1.2, shape).astype("float32"))
    values = [v if isinstance(v, np.ndarray) else normal(v) for v in case["inputs"]]
    masks = list(case["masks"]) + [None] * (len(values) - len(case["masks"]))
    args, kwargs = case["call"] or ([ref(0)], {})
    kwargs = dict(kwargs, **case["kwargs"])
    # The way that Keras takes them at once, and the way that a file of this version states them.
    stated = case["record"] or (args, kwargs)

    def attempt():
        tensors = [tf.constant(v) for v in values]
        for tensor, mask in zip(tensors, masks):
            if mask is not None:
                set_mask(tensor, tf.constant(mask))
        return layer(*to_real(args, tensors), **{k: to_real(v, tensors) for k, v in kwargs.items()})

    attempt()
    for weight in layer.weights:
        dtype = np.dtype(getattr(weight.dtype, "as_numpy_dtype", weight.dtype))
        if np.issubdtype(dtype, np.floating) and "rnn_state" not in weight.name:
            weight.assign(halved(random_weight(rng, weight.name, tuple(weight.shape), dtype)))
    if getattr(layer, "stateful", False):
        layer.reset_states() if KERAS < 3 else layer.reset_state()
    outputs = attempt()
    flat = tf.nest.flatten(list(outputs) if isinstance(outputs, tuple) else outputs)
    records = []
    for output in flat:
        if not np.isfinite(output.numpy()).all():
            raise ValueError("not finite")
        record = array(output.numpy())
        # Attention scores carry a mask of the softmax inside, which no layer reads.
        if get_mask(output) is not None and get_mask(output).shape.rank < 4:
            record["mask"] = array(get_mask(output).numpy())
        records.append(record)
    inputs = []
    for index, (value, mask) in enumerate(zip(values, masks)):
        free = case["free"][index] if case["free"] else [0, 1] if value.ndim > 2 else [0]
        inputs.append(dict(half(value), free=list(free), **({} if mask is None else {"mask": array(mask)})))
    layer = case["weights"](layer) if case["weights"] else layer_record(layer)
    return {
        "name": name, "keras_version": keras.__version__, "layer": layer, "inputs": inputs,
        "args": [to_arg(a) for a in stated[0]], "kwargs": {k: to_arg(v) for k, v in stated[1].items()},
        "outputs": records,
    }


def main():
    import recurrent_cases_attention  # noqa: F401 (both add to CASES)
    import recurrent_cases_rnn  # noqa: F401
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    lines, failed = [], []
    for name, case in CASES.items():
        if only not in name:
            continue
        try:
            lines.append(json.dumps(run(name, case), separators=(",", ":"), sort_keys=True))
        except Exception as error:
            failed.append((name, f"{type(error).__name__}: {str(error)[:300]}"))
    path = os.path.join(os.path.dirname(__file__), "..", "fixtures", "layers", f"recurrent{KERAS}.jsonl")
    if not only:
        with open(path, "w") as out:
            out.write("\n".join(lines) + "\n")
    for name, why in failed:
        say("NOT MADE", name, why)
    say(f"{len(lines)} cases, {sum(map(len, lines))} bytes, {len(failed)} not made")


if __name__ == "__main__":
    # The modules of cases add to the table of this module, not of a second copy named __main__.
    import recurrent_cases
    recurrent_cases.main()
