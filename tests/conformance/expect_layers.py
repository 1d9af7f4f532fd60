"""Makes tests/fixtures/layers_keras2.json or layers_keras3.json: what recast must find in each fixture.

    keras2/bin/python expect_layers.py [--only PART]...        (and the same with keras3)

The live models say it, rebuilt as fixtures.py builds them (the framework can't read all of its own files back):
inputs, outputs, and by layer path and role the shape, dtype and digest of every weight.
"""
import argparse
import hashlib
import json
import os
import sys

import kit
import numpy as np
import keras
import registry
import samples
import cases_basic, cases_conv, cases_rnn, cases_attention, cases_graph, cases_beyond  # noqa: F401,E401  they fill the table

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
WRAPPERS = {"TimeDistributed": ["layer"], "SpectralNormalization": ["layer"], "RNN": ["cell"],
            "Bidirectional": ["forward_layer", "backward_layer"]}
ATTENTION = ("_query_dense", "_key_dense", "_value_dense", "_output_dense")


def own_weights(layer):
    """(name, variable), without those of layers inside."""
    if kit.KERAS >= 3:
        variables = [v for v in layer._trainable_variables + layer._non_trainable_variables
                     if "seed" not in v.path]
        return [(v.name, v) for v in variables]
    return [(v.name.split(":")[0].split("/")[-1], v) for v in layer._trainable_weights + layer._non_trainable_weights]


def weights_of(layer):
    """(role, variable) of a layer that wraps no other."""
    if layer.__class__.__name__ == "MultiHeadAttention":
        parts = [getattr(layer, name) for name in ATTENTION]
        return [(f"{part.name}/{name}", v) for part in parts for name, v in own_weights(part)]
    if hasattr(layer, "cell") and layer.__class__.__name__ != "RNN":
        return own_weights(layer.cell)
    if layer.__class__.__name__.startswith("DepthwiseConv"):
        return [(name if name == "bias" else "depthwise_kernel", v) for name, v in own_weights(layer)]
    if layer.__class__.__name__ == "SpectralNormalization":
        return [("vector_u", layer.vector_u)]
    return own_weights(layer)


def describe(variable):
    value = np.asarray(variable.numpy())
    return [list(value.shape), value.dtype.name, hashlib.sha256(value.tobytes()).hexdigest()[:16]]


def walk(layer, path, out):
    if isinstance(layer, keras.Model):
        for inner in layer.layers:
            walk(inner, f"{path}/{inner.name}" if path else inner.name, out)
        return
    name = layer.__class__.__name__
    for attribute in WRAPPERS.get(name, []):
        walk(getattr(layer, attribute), f"{path}/{attribute}", out)
    if name == "StackedRNNCells":
        for number, cell in enumerate(layer.cells):
            walk(cell, f"{path}/cells/{number}", out)
        return
    if name in WRAPPERS and name != "SpectralNormalization":
        return
    weights = {role: describe(variable) for role, variable in weights_of(layer)}
    if weights:
        out[path] = weights


def unique(names):
    """Keras 2's rule for an output layer that is named twice; Keras 3 lets the names collide."""
    used, counts = [], {}
    for name in names:
        proposal = name
        while proposal in used:
            counts[name] = counts.get(name, 0) + 1
            proposal = f"{name}_{counts[name]}"
        used.append(proposal)
    return used


def expectation(model):
    weights = {}
    walk(model, "", weights)
    # An unnamed Input of Keras 3 has a tensor name that no file holds; that of its layer is stored.
    names = [i._keras_history.operation.name for i in model.inputs] if kit.KERAS >= 3 else model.input_names
    inputs = [[name, str(np.dtype(getattr(i.dtype, "as_numpy_dtype", i.dtype)).name), list(i.shape)]
              for name, i in zip(names, model.inputs)]
    outputs = model.output_names if hasattr(model, "output_names") else [model.layers[-1].name]
    return {"inputs": inputs, "outputs": unique(outputs), "weights": weights}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="only cases whose name contains this")
    args = parser.parse_args()
    path = os.path.join(FIXTURES, f"layers_keras{kit.KERAS}.json")
    found = {}
    if args.only and os.path.exists(path):
        with open(path) as file:
            found = json.load(file)
    for name, case in registry.CASES.items():
        if case.only in (None, kit.KERAS) and (not args.only or any(part in name for part in args.only)):
            kit.begin(name)
            model = case.build()
            kit.randomise(model, np.random.default_rng(kit.seed_of(name)))
            found[name] = expectation(model)
    for build in {2: [samples.mnist_mlp, samples.text_lstm], 3: [samples.small_cnn]}[kit.KERAS]:
        kit.begin(build.__name__)
        model = build()
        kit.randomise(model, np.random.default_rng(kit.seed_of(build.__name__)))
        found[f"samples/{build.__name__}"] = expectation(model)
    with open(path, "w") as file:
        file.write("{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(found[name], separators=(',', ':'))}"
                                      for name in sorted(found)) + "\n}\n")
    kit.say(f"{len(found)} expectations in {os.path.relpath(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
