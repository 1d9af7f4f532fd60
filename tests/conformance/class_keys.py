"""Prints the table of plugins/keras/src/write/upgrade/classes.rs: which arguments each layer class takes.

    keras3/bin/python class_keys.py dump keras3.json
    keras2/bin/python class_keys.py dump keras2.json
    python3 class_keys.py table keras3.json keras2.json

Measured from the constructors of a class and of its parents, as far as those pass keywords on.
"""
import inspect
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

BASE = {"self", "name", "dtype", "trainable"}
# Where a layer's own arguments end.
ROOTS = ("Layer", "Operation", "KerasSaveable", "Module", "object")
# Arguments that a parent takes from its children, never from a configuration.
INTERNAL = {"pool_dimensions", "pool_mode", "pool_function", "rank", "conv_op", "weights"}
INTERNAL_OF = {"AdditiveAttention": {"score_mode"}}
# No layers to be written, or ones that hold another framework's code.
SKIPPED = {"InputSpec", "Layer", "Wrapper", "InputLayer", "FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper",
           "Lambda"}
# Their configurations say it, their constructors leave it to the base class.
WITH_ACTIVITY = {"EinsumDense", "Embedding"}
LEGACY = {"RandomHeight": "factor interpolation seed", "RandomWidth": "factor interpolation seed",
          "ThresholdedReLU": "theta"}
# Where Keras 2 has another name for an argument, `gone.rs` renames it.
RENAMED = {"LeakyReLU": "negative_slope"}


def arguments(cls):
    found = {}
    for each in cls.__mro__:
        if each.__name__ in ROOTS:
            break
        if "__init__" not in each.__dict__:
            continue
        parameters = inspect.signature(each.__dict__["__init__"]).parameters.values()
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and parameter.name not in BASE:
                default = None if parameter.default is parameter.empty else parameter.default
                found.setdefault(parameter.name, default)
        if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def dump(path):
    from keras import layers
    classes = {name: value for name, value in vars(layers).items() if inspect.isclass(value)}
    # GroupQueryAttention is exported under another name than the class has; other doubles are aliases.
    own = {name: arguments(cls) for name, cls in classes.items()
           if cls.__name__ == name or name == "GroupQueryAttention"}
    with open(path, "w") as file:
        json.dump(own, file, indent=1, default=repr)


def rows(three, two):
    for name, keys in sorted(three.items()):
        if name in SKIPPED:
            continue
        internal = INTERNAL | INTERNAL_OF.get(name, set()) | (set() if name == "RNN" else {"cell"})
        keys = {key: value for key, value in keys.items() if key not in internal}
        both = [key for key in keys if key in two.get(name, {}) or name not in two or key == RENAMED.get(name)]
        both += ["activity_regularizer"] if name in WITH_ACTIVITY else []
        new = [f"{key}={json.dumps(keys[key], separators=(',', ':'))}" for key in keys if key not in both]
        yield name, "Both" if name in two else "Only3", " ".join(both), " ".join(new)


def table(three, two):
    with open(three) as a, open(two) as b:
        found = list(rows(json.load(a), json.load(b)))
    found += [(name, "Legacy", keys, "") for name, keys in LEGACY.items()]
    for name, home, keys, new in sorted(found):
        print(f"    row({json.dumps(name)}, {home}, {json.dumps(keys)}, {json.dumps(new)}),")


if __name__ == "__main__":
    {"dump": dump, "table": table}[sys.argv[1]](*sys.argv[2:])
