"""A composed model as data: what compose_random.py draws, what is built anew from nothing, and what is made smaller.

    {"name", "inputs": [{"ref", "name", "shape", "dtype", "kind"}], "outputs": {"form", "refs", "names"},
     "layers": {key: {"class", "config", "frozen"?} or {"model": recipe}},
     "steps": [{"layer": key, "in": [ref], "form", "kw": {argument: value}, "out": [ref]},
               {"op": name, "in": [ref], "with": {..}, "out": [ref]},
               {"stray": key, "like": [ref]}],
     "sequential": true?}

A ref names a tensor. A layer that several steps name is one layer, called several times. A stray step calls a layer on
tensors that are no part of the model, which moves the indices of its calls. In a config, {"$layer": [class, config]} is a
layer, {"$model": recipe} a model, {"$ref": ref} (in "kw") a tensor, {"$f32": list} an array.
"""
import json

import kit
from kit import KERAS, keras, np, tf
from keras import Model, Sequential, layers as L

import compose_ops


def clone(recipe):
    return json.loads(json.dumps(recipe))


def decode(value, tensors=None):
    if isinstance(value, dict):
        if "$layer" in value:
            name, config = value["$layer"]
            return getattr(L, name)(**decode(config, tensors))
        if "$model" in value:
            return build(value["$model"])
        if "$ref" in value:
            return tensors[value["$ref"]]
        if "$f32" in value:
            return np.asarray(value["$f32"], "float32")
        return {key: decode(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    return value


def make_layer(spec):
    if "model" in spec:
        layer = build(spec["model"])
    else:
        config = {k: tuple(v) if k in TUPLES and isinstance(v, list) else v for k, v in decode(spec["config"]).items()}
        layer = getattr(L, spec["class"])(**config)
    if spec.get("frozen"):
        layer.trainable = False
    return layer


TUPLES = ("kernel_size", "strides", "pool_size", "dilation_rate", "target_shape", "dims", "size")


def make_input(spec):
    options = {} if spec["dtype"] is None else {"dtype": spec["dtype"]}
    if "batch" in spec:
        return keras.Input(batch_shape=(spec["batch"], *spec["shape"]), name=spec["name"], **options)
    return keras.Input(tuple(spec["shape"]), name=spec["name"], **options)


def flat(value):
    """The tensors that a call gave, dictionaries in their own order."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in flat(item)]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in flat(item)]
    return [value]


def arranged(form, refs, names, tensors):
    """Tensors as a call or a model takes or gives them."""
    values = [tensors[ref] for ref in refs]
    if form == "dict":
        return dict(zip(names, values))
    if form == "list" or len(values) > 1:
        return values
    return values[0]


class Session:
    """The tensors and layers of one model while it is built."""

    def __init__(self, recipe):
        self.recipe, self.tensors, self.made = recipe, {}, {}
        for spec in recipe["inputs"]:
            self.tensors[spec["ref"]] = make_input(spec)

    def layer(self, key):
        if key not in self.made:
            self.made[key] = make_layer(self.recipe["layers"][key])
        return self.made[key]

    def run(self, step):
        """Runs one step; the tensors that it gave, named so far or not."""
        if "stray" in step:
            like = [self.tensors[ref] for ref in step["like"]]
            strays = [keras.Input(tuple(t.shape[1:]), dtype=t.dtype) for t in like]
            self.layer(step["stray"])(strays if len(strays) > 1 else strays[0])
            return []
        values = [self.tensors[ref] for ref in step["in"]]
        if "op" in step:
            results = flat(compose_ops.OPS[step["op"]].run(values, step.get("with", {})))
        else:
            layer, extra = self.layer(step["layer"]), decode(step.get("kw", {}), self.tensors)
            form = step.get("form", "one")
            if form == "twice":
                results = flat(layer(values[0], values[0], **extra))
            elif form == "args":
                results = flat(layer(*values, **extra))
            elif form == "dict":
                results = flat(layer(dict(zip(step["names"], values)), **extra))
            else:
                results = flat(layer(values if form == "list" or len(values) > 1 else values[0], **extra))
        for ref, tensor in zip(step.get("out", []), results):
            self.tensors[ref] = tensor
        return results


def build(recipe):
    """The model of a recipe."""
    if recipe.get("sequential"):
        first = [make_input(spec) for spec in recipe["inputs"]]
        body = [make_layer(recipe["layers"][step["layer"]]) for step in recipe["steps"]]
        if KERAS >= 3:
            model = Sequential([*first, *body], name=recipe["name"])
        else:
            model = Sequential(name=recipe["name"])
            spec = recipe["inputs"][0]
            model.add(L.InputLayer(spec["shape"], dtype=spec["dtype"], name=spec["name"]))
            for layer in body:
                model.add(layer)
        return model
    session = Session(recipe)
    for step in recipe["steps"]:
        session.run(step)
    inputs = arranged(recipe.get("input_form", "one"), [i["ref"] for i in recipe["inputs"]],
                      [i["name"] for i in recipe["inputs"]], session.tensors)
    outputs = recipe["outputs"]
    out = arranged(outputs["form"], outputs["refs"], outputs.get("names"), session.tensors)
    return Model(inputs, out, name=recipe["name"])


def layers_of(recipe):
    """Every layer class of a recipe, and op, those of models inside included."""
    for spec in recipe["layers"].values():
        if "model" in spec:
            yield "Sequential" if spec["model"].get("sequential") else "Functional"
            yield from layers_of(spec["model"])
        else:
            yield spec["class"]
            yield from nested_classes(spec["config"])
    for step in recipe["steps"]:
        if "op" in step:
            yield f"op:{step['op']}"


def nested_classes(value):
    if isinstance(value, dict):
        if "$layer" in value:
            yield value["$layer"][0]
        if "$model" in value:
            yield from layers_of(value["$model"])
        for item in value.values():
            yield from nested_classes(item)
    elif isinstance(value, list):
        for item in value:
            yield from nested_classes(item)


# --- feeding --------------------------------------------------------------------------------------------------------
LENGTHS = ((6, 7, 5, 4), (9, 8, 6, 5))
BATCHES = (2, 3)


def concrete(spec, variant):
    lengths = iter(LENGTHS[variant])
    # One free length per axis, whatever the input: those that meet must be equal.
    by_axis = {axis: next(lengths) for axis in range(1, 5)}
    return (spec.get("batch", BATCHES[variant]),
            *(by_axis[axis] if size is None else size for axis, size in enumerate(spec["shape"], 1)))


def value_of(spec, rng, variant):
    shape, kind = concrete(spec, variant), spec["kind"]
    if kind == "ids":
        ids = rng.integers(0, spec.get("vocabulary", 9), shape)
        return ids.astype(spec["dtype"])
    if kind == "bool":
        return rng.random(shape) < 0.6
    if kind == "uint8":
        return rng.integers(0, 256, shape).astype("uint8")
    if kind == "strings":
        return rng.choice(["red", "green", "blue", "???"], shape).astype(object)
    value = rng.normal(0, 1.2, shape)
    if kind == "steps":
        # Some steps are all zero, in the middle too.
        value *= rng.random(shape[:-1])[..., None] < 0.7
    return value.astype(spec["dtype"] or "float32")


def feed(recipe, rng, variant=0):
    return [value_of(spec, rng, variant) for spec in recipe["inputs"]]


def tensor_feed(recipe, xs):
    """As the model takes its inputs."""
    values = [tf.constant(x) for x in xs]
    if recipe.get("input_form") == "dict":
        return dict(zip([spec["name"] for spec in recipe["inputs"]], values))
    return values if len(values) > 1 or recipe.get("input_form") == "list" else values[0]


def call(model, recipe, xs):
    run = lambda values: model(values, training=False)
    values = tensor_feed(recipe, xs)
    if "channels_first" in json.dumps(recipe):
        return kit.flatten(tf.function(run, jit_compile=True)(values))
    return kit.flatten(run(values))


# --- making smaller -------------------------------------------------------------------------------------------------
def used(recipe):
    """The recipe without steps, layers and inputs that no output needs; stray calls of layers that stay are kept."""
    needed = set(recipe["outputs"]["refs"])
    steps = []
    for step in reversed(recipe["steps"]):
        if "stray" in step:
            steps.append(step)
            continue
        if needed & set(step.get("out", [])):
            needed |= set(step["in"]) | set(refs_in(step.get("kw", {})))
            steps.append(step)
    steps.reverse()
    keys = {step["layer"] for step in steps if "layer" in step}
    steps = [s for s in steps if "stray" not in s or s["stray"] in keys and set(s["like"]) <= needed]
    return dict(recipe, steps=steps, layers={k: v for k, v in recipe["layers"].items() if k in keys},
                inputs=[i for i in recipe["inputs"] if i["ref"] in needed])


def refs_in(value):
    if isinstance(value, dict):
        if "$ref" in value:
            return [value["$ref"]]
        return [ref for item in value.values() for ref in refs_in(item)]
    if isinstance(value, list):
        return [ref for item in value for ref in refs_in(item)]
    return []


def replaced(value, old, new):
    if isinstance(value, dict):
        return {key: replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, old, new) for item in value]
    return new if value == old else value


def smaller(recipe):
    """Recipes with one thing less, the largest cuts first."""
    outputs = recipe["outputs"]
    refs = outputs["refs"]
    if len(refs) > 1:
        for at in range(len(refs)):
            yield used(dict(recipe, outputs={"form": "one", "refs": [refs[at]]}))
        for at in range(len(refs)):
            names = outputs.get("names")
            yield used(dict(recipe, outputs=dict(outputs, refs=refs[:at] + refs[at + 1:],
                                                 names=names and names[:at] + names[at + 1:])))
    if recipe.get("sequential"):
        for at in range(len(recipe["steps"])):
            yield dict(recipe, steps=recipe["steps"][:at] + recipe["steps"][at + 1:])
        yield from smaller_layers(recipe)
        return
    for at in range(len(recipe["steps"]) - 1, -1, -1):
        step = recipe["steps"][at]
        rest = recipe["steps"][:at] + recipe["steps"][at + 1:]
        if "stray" in step:
            yield dict(recipe, steps=rest)
            continue
        # An earlier tensor becomes the output, or takes the place of what the step gives.
        for ref in step["in"]:
            cut = dict(recipe, steps=rest)
            for old in step["out"]:
                cut["steps"] = replaced(cut["steps"], old, ref)
                cut["outputs"] = replaced(cut["outputs"], old, ref)
            yield used(cut)
        if step.get("kw"):
            for key in step["kw"]:
                kw = {k: v for k, v in step["kw"].items() if k != key}
                yield used(dict(recipe, steps=recipe["steps"][:at] + [dict(step, kw=kw)] + recipe["steps"][at + 1:]))
    for step in recipe["steps"]:
        # What a step gives becomes an input.
        for ref in step.get("out", []):
            shape = recipe.get("shapes", {}).get(ref)
            if shape and not any(ref == i["ref"] for i in recipe["inputs"]):
                fresh = {"ref": "cut_" + ref, "name": "cut_" + ref, "shape": shape[0], "dtype": shape[1],
                         "kind": {"bool": "bool", "int32": "ids", "int64": "ids"}.get(shape[1], "normal")}
                rest = [replaced(s, ref, fresh["ref"]) if s is not step else s for s in recipe["steps"]]
                cut = used(dict(recipe, steps=rest, inputs=recipe["inputs"] + [fresh],
                                input_form="list" if recipe.get("input_form") == "dict" else recipe.get("input_form")))
                if len(cut["steps"]) < len(recipe["steps"]):
                    yield cut
    yield from smaller_layers(recipe)


def smaller_layers(recipe):
    for key, spec in recipe["layers"].items():
        if "model" in spec:
            for less in smaller(spec["model"]):
                yield dict(recipe, layers=dict(recipe["layers"], **{key: dict(spec, model=less)}))
            continue
        if spec.get("frozen"):
            yield dict(recipe, layers=dict(recipe["layers"], **{key: {k: v for k, v in spec.items() if k != "frozen"}}))
        for option in spec["config"]:
            config = {k: v for k, v in spec["config"].items() if k != option}
            yield dict(recipe, layers=dict(recipe["layers"], **{key: dict(spec, config=config)}))
