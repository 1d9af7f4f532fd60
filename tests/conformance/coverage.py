"""Which classes, options and values the matrix does not try.

    keras3/bin/python coverage.py [--class NAME]... [--write FILE]        (and the same with keras2)

It reads every model that matrix.py has made (HOME/matrix, or the directories of --matrix), notes of each layer and
operation its options, arguments, input ranks, dtypes, unknown sizes and masks, and compares with the signatures that the
framework has. What coverage_rules.py does not excuse is a hole; exit code 1 if there is one.
"""
import argparse
import collections
import fnmatch
import importlib
import inspect
import json
import os
import sys
import zipfile

import h5py
import kit
from kit import KERAS, keras
import coverage_rules as rules

MODULES = ("numpy", "nn", "math", "core", "linalg", "image", "einops")


class Facts:
    """What some case has shown of one class."""

    def __init__(self):
        self.options, self.calls = collections.defaultdict(set), collections.defaultdict(set)
        self.ranks, self.dtypes, self.policies = set(), set(), set()
        self.free = self.masked = False


FACTS = collections.defaultdict(Facts)
RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
# The names of the call's arguments, by class.
ARGUMENTS = {}


# --- what the cases show --------------------------------------------------------------------------------------------
def plain(value):
    """A value as text that equal values share."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(plain(item) for item in value) + "]"
    if isinstance(value, dict):
        return described(value)
    if isinstance(value, (bool, int, float, str)) or value is None:
        return repr(float(value)) if isinstance(value, int) and not isinstance(value, bool) else repr(value)
    return getattr(value, "__name__", type(value).__name__)


def described(value):
    """An object of a configuration: tensors as such, tuples as lists, functions by their names."""
    name, config = value.get("class_name", ""), value.get("config")
    if name == "__keras_tensor__":
        return "tensor"
    if name == "__tuple__":
        return plain(value["items"])
    if name == "function":
        return plain(config)
    if name.endswith("Policy"):
        return plain(config["name"])
    return f"{{{name}}}"


def tensors_of(value):
    """(shape, dtype, layer) of every tensor among the arguments of a call of Keras 3."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        config = value["config"]
        return [(config["shape"], config["dtype"], config["keras_history"][0])]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in items for found in tensors_of(item)]


def key_of(record):
    """As recast names it: the class, `ops.MODULE.CLASS`, `tf.FUNCTION`."""
    name, module = record["class_name"], record.get("module") or ""
    if name == "TFOpLambda":
        return "tf." + record["config"]["function"]
    if module.startswith(("keras.src.ops.", "keras.src.activations")):
        return f"ops.{module.rsplit('.', 1)[-1]}.{name}"
    return name


def walk(record, masks, inputs):
    """Notes a stored layer and those inside of it.

    `masks`: the names of layers whose outputs have one; `inputs`: the shapes of the model's inputs by name."""
    config = record["config"]
    if record["class_name"] == "InputLayer":
        inputs[config["name"]] = config.get("batch_shape") or config.get("batch_input_shape")
        return
    if record["class_name"] in ("Functional", "Sequential", "Model"):
        layers = config["layers"] if isinstance(config, dict) else config
        inner, shapes = set(), {}
        for layer in layers:
            walk(layer, inner, shapes)
        return
    facts = FACTS[key_of(record)]
    for name, value in config.items():
        facts.options[name].add(plain(value))
    policy = config.get("dtype")
    facts.policies.add(policy if isinstance(policy, str) else (policy or {}).get("config", {}).get("name", ""))
    for value in config.values():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict) and isinstance(inner.get("config"), dict) and "class_name" in inner:
                walk(inner, set(), {})
    shapes = record.get("build_config", {}).get("input_shape") or []
    note_shape(facts, shapes[0] if shapes and isinstance(shapes[0], list) else shapes)
    masking = record["class_name"] == "Masking" or config.get("mask_zero")
    came = set()
    for node in record.get("inbound_nodes", []):
        came = note_node(record, facts, node)
        for name in came & set(inputs):
            note_shape(facts, inputs[name])
        facts.masked |= bool(came & masks)
        masking = masking or (came & masks and facts.options)
    if masking:
        masks.add(record.get("name"))
        inputs.update({record.get("name"): inputs[name] for name in came & set(inputs)})


def note_shape(facts, shape):
    if shape:
        facts.ranks.add(len(shape))
        facts.free |= None in shape[1:]


def note_node(record, facts, node):
    """The arguments of one call; the names of the layers that they come from."""
    if isinstance(node, dict):
        found = tensors_of(node["args"]) + tensors_of(node["kwargs"])
        for shape, dtype, _ in found[:1]:
            note_shape(facts, shape)
        facts.dtypes |= {dtype for _, dtype, _ in found}
        kwargs, args = node["kwargs"], node["args"]
        for name, value in list(kwargs.items()) + list(zip(ARGUMENTS.get(key_of(record), ()), args)):
            if value is not None:
                facts.calls[name].add(plain(value))
        return {name for _, _, name in found}
    entries = entries_of(node)
    for entry in entries:
        for name, value in (entry[3] if len(entry) > 3 else {}).items():
            if value is not None:
                facts.calls[name].add(plain(value))
    if len(entries) > 1 and record["class_name"] in RECURRENT:
        # Keras 2 stores states as further inputs.
        facts.calls["initial_state"].add("tensor")
    return {entry[0] for entry in entries}


def entries_of(node):
    """[layer, node, tensor, arguments] of each input of a call, as Keras 2 nests them."""
    if isinstance(node, list) and len(node) > 2 and isinstance(node[0], str) and isinstance(node[1], int):
        return [node]
    return [entry for item in node for entry in entries_of(item)] if isinstance(node, list) else []


def stored(folder, name, containers):
    """The configuration of a model as a file has it."""
    if "keras" in containers:
        with zipfile.ZipFile(os.path.join(folder, f"{name}.keras")) as file:
            return json.loads(file.read("config.json"))
    with h5py.File(os.path.join(folder, f"{name}.h5")) as file:
        return json.loads(file.attrs["model_config"])


def gather(folders):
    count = 0
    ARGUMENTS.update((key, list(inspect.signature(cls.call).parameters)[1:]) for key, cls, _ in classes())
    for folder in folders:
        folder = os.path.join(folder, f"keras{KERAS}")
        with open(os.path.join(folder, "cases.json")) as file:
            cases = json.load(file)["cases"]
        for name, case in cases.items():
            walk(stored(folder, name, case["containers"]), set(), {})
        count += len(cases)
    return count


# --- what there is --------------------------------------------------------------------------------------------------
def signature(cls, base):
    """Name -> default of everything that the constructor takes, by way of **kwargs too."""
    found = {}
    for kind in cls.__mro__:
        if kind is base or not issubclass(kind, base):
            break
        if "__init__" not in vars(kind):
            continue
        parameters = inspect.signature(kind.__init__).parameters
        for name, parameter in parameters.items():
            if name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                found.setdefault(name, parameter.default)
        if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return found


def classes():
    """(key, class, base) of every layer and operation that the framework has."""
    names = {}
    for name in sorted(dir(keras.layers)):
        cls = getattr(keras.layers, name)
        if inspect.isclass(cls) and issubclass(cls, keras.layers.Layer):
            # Under the name that files have; the others are aliases.
            known = names.get(cls)
            names[cls] = name if known is None or name in FACTS and known not in FACTS else known
    yield from ((name, cls, keras.layers.Layer) for cls, name in names.items())
    if KERAS < 3:
        return
    from keras.src.ops.operation import Operation
    for module in MODULES:
        held = importlib.import_module(f"keras.src.ops.{module}")
        for name, cls in sorted(vars(held).items()):
            if inspect.isclass(cls) and issubclass(cls, Operation) and cls.__module__ == held.__name__:
                yield f"ops.{module}.{name}", cls, Operation


def rule(table, option, key):
    """The entry for `option@Class`, else that for the option's pattern; None where there is none."""
    for pattern in (f"{option}@{key}", option):
        if pattern in table:
            return pattern, table[pattern]
    return next(((p, table[p]) for p in table if "*" in p and fnmatch.fnmatchcase(option, p)), (None, None))


# --- holes ----------------------------------------------------------------------------------------------------------
def option_holes(key, options, facts):
    for option, default in sorted(options.items()):
        if rule(rules.EFFECTLESS, option, key)[0] or option not in facts.options:
            continue
        seen = facts.options[option]
        pattern, values = rule(rules.ENUMS, option, key)
        if pattern and values is not None:
            yield from ((option, plain(value)) for value in values if plain(value) not in seen)
        elif isinstance(default, bool):
            yield from ((option, plain(value)) for value in (True, False) if plain(value) not in seen)
        elif not seen - {plain(default)}:
            yield option, f"other than {plain(default)}"
        if option in rules.SIDES and key[-2:] in ("2D", "3D") and not any(uneven(text) for text in seen):
            yield option, "sizes that differ"


def uneven(text):
    return text.startswith("[") and len(set(text.strip("[]").split(", "))) > 1


def call_holes(key, cls, facts):
    parameters = list(inspect.signature(cls.call).parameters.items())[2:]
    for name, parameter in parameters:
        if name in rules.CALLS_EFFECTLESS or parameter.kind == parameter.VAR_POSITIONAL:
            continue
        seen = facts.calls.get(name, set())
        if isinstance(parameter.default, bool):
            if plain(not parameter.default) not in seen:
                yield f"call:{name}", plain(not parameter.default)
        elif not seen - {plain(parameter.default)} and not (name == "mask" and facts.masked):
            yield f"call:{name}", "given"


def layer_holes(key, cls, facts):
    for rank in rules.RANKS.get(key, ()):
        if rank not in facts.ranks:
            yield "rank", str(rank)
    if not any(part in key for part in rules.NO_POLICY) or key.startswith("RandomFourier"):
        yield from (("dtype", policy) for policy in rules.POLICIES if policy not in facts.policies)
    if not facts.free and max(facts.ranks, default=0) > 2 and key not in rules.ALL_KNOWN:
        yield "input", "a free size"
    supports = "supports_masking" in inspect.getsource(cls)
    if supports and not facts.masked and not facts.calls["mask"] and max(facts.ranks, default=0) > 2:
        yield "input", "a mask"


def holes():
    for key, cls, base in classes():
        if key in rules.REFUSED or key in rules.NO_CASE:
            continue
        if key not in FACTS:
            yield key, "class", "any case"
            continue
        if key.startswith(rules.IDENTITY) and key not in rules.COMPUTED:
            continue
        facts = FACTS[key]
        yield from ((key, *hole) for hole in option_holes(key, signature(cls, base), facts))
        yield from ((key, *hole) for hole in call_holes(key, cls, facts))
        if not key.startswith("ops."):
            yield from ((key, *hole) for hole in layer_holes(key, cls, facts))
    for name in rules.ACTIVATIONS:
        if plain(name) not in FACTS["Activation"].options["activation"]:
            yield "Activation", "activation", name


def excused(hole):
    return any(all(fnmatch.fnmatchcase(part, pattern) for part, pattern in zip(hole, patterns))
               for patterns in rules.EXCUSED)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--class", action="append", default=[], dest="classes", help="only classes with this in the name")
    parser.add_argument("--matrix", action="append", default=[], help="a directory with keras2 and keras3 in it")
    parser.add_argument("--write", help="the table of holes as a file")
    args = parser.parse_args()
    count = gather(args.matrix or [os.path.join(kit.home(), "matrix")])
    every = [hole for hole in holes() if not args.classes or any(part in hole[0] for part in args.classes)]
    found = [hole for hole in every if not excused(hole)]
    lines = [f"{key}\t{option}\t{value}" for key, option, value in found]
    print("\n".join(lines))
    if args.write:
        with open(args.write, "w") as file:
            file.write("\n".join(lines) + "\n")
    kit.say(f"{count} models of Keras {keras.__version__}; {len(found)} holes; {len(every) - len(found)} excused")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
