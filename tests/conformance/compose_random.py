"""Draws a composed model: random steps, each kept when Keras takes it. Keras itself says what shapes come out."""
import json

from kit import KERAS, np

import compose_ops
from compose_layers import PAIRS, PREPROCESS, RANKS, rnn
from compose_recipe import Session, arranged, build, clone, make_layer  # noqa: F401

ODD3 = ["Dense", "the.name", "Größe μ", "with space", "0_1", "dense_1", "add", "not_equal", "GetItem", "kernel:0", "a-b>c",
        "model_weights", "vars", "layers", "cell", "Multiply", "tf.nn.relu", "lambda", "输入", "x" * 40, "keras_tensor"]
ODD2 = ["Dense", "the.name", "0_1", "dense_1", "add", "tf.nn.relu", "tf.math.multiply", "a-b", "model_weights", "kernel",
        "A>B\\C", "lambda", "cell", "vars", "tf.__operators__.add", "x" * 40, "not_equal"]
ODD = ODD3 if KERAS >= 3 else ODD2
LARGEST = 4000      # elements of a tensor, a batch not counted


class Draw:
    """One recipe in the making, with the session that builds it."""

    def __init__(self, rng, name, depth=0, inputs=None):
        self.rng, self.depth, self.count = rng, depth, 0
        self.recipe = {"name": name, "inputs": inputs or draw_inputs(rng), "layers": {}, "steps": [], "shapes": {},
                       "input_form": "one", "outputs": {"form": "one", "refs": []}}
        forms = ["list", "list", "list", "dict"] if len(self.recipe["inputs"]) > 1 else ["one", "one", "one", "list", "dict"]
        if depth == 0 or KERAS >= 3:
            self.recipe["input_form"] = str(rng.choice(forms))
        elif len(self.recipe["inputs"]) > 1:
            self.recipe["input_form"] = "list"
        self.session = Session(self.recipe)
        self.open = []                  # refs that nothing reads so far
        self.names = set()
        for spec in self.recipe["inputs"]:
            self.note(spec["ref"])

    def chance(self, share):
        return bool(self.rng.random() < share)

    def pick(self, items):
        return items[int(self.rng.integers(len(items)))]

    # --- what there is
    def tensor(self, ref):
        return self.session.tensors[ref]

    def shape(self, ref):
        return tuple(self.tensor(ref).shape)

    def kind(self, ref):
        dtype = self.tensor(ref).dtype
        name = dtype if isinstance(dtype, str) else dtype.name
        return {"string": "S", "bool": "b", "bfloat16": "f"}.get(name, name[0]), name

    def note(self, ref):
        self.open.append(ref)
        self.recipe["shapes"][ref] = [list(self.shape(ref)[1:]), self.kind(ref)[1]]

    def refs(self, kinds="f", ranks=None):
        return [ref for ref in self.session.tensors
                if self.kind(ref)[0] in kinds and (ranks is None or len(self.shape(ref)) in ranks)]

    def one(self, kinds="f", ranks=None):
        """A tensor, those that nothing reads yet first."""
        found = self.refs(kinds, ranks)
        fresh = [ref for ref in found if ref in self.open]
        pool = fresh if fresh and self.chance(0.75) else found
        return self.pick(pool) if pool else None

    # --- what is added
    def key(self):
        self.count += 1
        return f"l{self.count}"

    def add(self, step, spec=None, key=None):
        """Runs a step; whether Keras took it."""
        if spec is not None:
            self.recipe["layers"][key] = spec
        try:
            results = self.session.run(step)
            for tensor in results:
                size = np.prod([d or 6 for d in tensor.shape[1:]])
                if size > LARGEST or size == 0 or len(tensor.shape) > 5 or len(tensor.shape) < 1:
                    raise ValueError("too large")
        except Exception as error:
            self.last_error = error
            if spec is not None:
                del self.recipe["layers"][key]
                self.session.made.pop(key, None)
            return False
        step["out"] = [f"{'ab'[min(self.depth, 1)]}{self.count}_{i}" for i in range(len(results))]
        self.count += 1
        for ref, tensor in zip(step["out"], results):
            self.session.tensors[ref] = tensor
            self.note(ref)
        for ref in step["in"]:
            if ref in self.open:
                self.open.remove(ref)
        self.recipe["steps"].append(step)
        return True

    def call(self, name, config, refs, **how):
        """One step of a new layer."""
        config = dict(config)
        if "name" not in config and self.chance(0.12 if self.depth == 0 else 0.04):
            odd = self.pick(ODD)
            if odd not in self.names:
                config["name"] = odd
                self.names.add(odd)
        if self.chance(0.04):
            config["dtype"] = self.pick(["float16", "mixed_float16", "float64", "mixed_bfloat16", "float32"])
        if self.chance(0.05):
            config["trainable"] = False
        key = self.key()
        return self.add({"layer": key, "in": list(refs), **how}, {"class": name, "config": config}, key)


def draw_inputs(rng):
    count = int(rng.choice([1, 1, 2, 2, 3]))
    return [draw_input(rng, at) for at in range(count)]


def draw_input(rng, at):
    def free(size):
        return None if rng.random() < 0.35 else size
    kind = str(rng.choice(["vector", "sequence", "sequence", "steps", "ids", "ids", "image", "image", "video", "scalar",
                           "bool", "uint8", "id", "strings", "half"],
                          p=[.16, .12, .06, .08, .14, .08, .14, .06, .04, .02, .02, .03, .02, .015, .015]))
    width = int(rng.choice([3, 4, 6]))
    shape, dtype, fed, extra = {
        "vector": ([width], None, "normal", {}), "sequence": ([free(6), width], None, "normal", {}),
        "steps": ([free(6), width], None, "steps", {}), "ids": ([free(6)], "int32", "ids", {}),
        "image": ([free(6), free(7), int(rng.choice([1, 2, 4]))], None, "normal", {}),
        "video": ([free(6) and 4, 5, 5, 2], None, "normal", {}), "scalar": ([1], None, "normal", {}),
        "bool": ([free(6)], "bool", "bool", {}), "uint8": ([free(6), free(7), 3], "uint8", "uint8", {}),
        "id": ([1], str(rng.choice(["int32", "int64"])), "ids", {}), "strings": ([1], "string", "strings", {}),
        "half": ([width], "float16", "normal", {})}[kind]
    names = ["x", "input_1", "the_input", "Input", "ids", "image.0", "a"]
    name = f"{names[int(rng.integers(len(names)))]}{at}" if rng.random() < 0.6 else None
    spec = {"ref": f"i{at}", "name": name or f"in_{at}", "shape": shape, "dtype": dtype, "kind": fed, **extra}
    if rng.random() < 0.02:
        spec["batch"] = 2
    return spec


# --- steps ----------------------------------------------------------------------------------------------------------
def layer_step(d):
    ref = d.one("f")
    if ref is None:
        return False
    shape = d.shape(ref)
    rows = RANKS.get(len(shape))
    if not rows:
        return False
    name, config, how = d.pick(rows)(d.rng, shape)
    return d.call(name, config, [ref], **how)


def preprocess_step(d):
    ref = d.one("iubS")
    if ref is None:
        return layer_step(d)
    rows = [row for row in PREPROCESS if d.kind(ref)[0] in row[0]]
    name, config, how = d.pick(rows)[1](d.rng, d.shape(ref))
    return d.call(name, config, [ref], **how)


def pair_step(d):
    a = d.one("f")
    if a is None:
        return False
    pool = [ref for ref in d.refs("f") if ref != a or d.chance(0.1)]
    alike = [ref for ref in pool if d.shape(ref) == d.shape(a)]
    b = d.pick(alike) if alike and d.chance(0.8) else (d.pick(pool) if pool else a)
    name, config, how = d.pick(PAIRS)(d.rng, d.shape(a), d.shape(b))
    refs = [a, b]
    if name in ("Add", "Concatenate", "Average", "Maximum", "Multiply") and alike and d.chance(0.2):
        refs.append(d.pick(alike))
    if name == "MultiHeadAttention" or name == "GroupQueryAttention":
        how = {"form": "args", **how}
        if d.chance(0.3):
            refs.append(b)
    return d.call(name, config, refs, **{"form": "list", **how})


def op_step(d):
    names = list(compose_ops.OPS)
    weights = np.array([compose_ops.OPS[n].weight for n in names])
    for _ in range(6):
        name = str(d.rng.choice(names, p=weights / weights.sum()))
        row = compose_ops.OPS[name]
        refs = [d.one(row.dtypes) for _ in range(row.arity)]
        if any(ref is None for ref in refs):
            continue
        if len({d.kind(ref)[1] for ref in refs}) > 1 and d.chance(0.9):
            continue
        numbers = row.draw(d.rng, [d.shape(ref) for ref in refs])
        if numbers is not None and d.add({"op": name, "in": refs, "with": numbers}):
            return True
    return False


def again_step(d):
    """A layer or model that is there already, called once more."""
    calls = [step for step in d.recipe["steps"] if "layer" in step and not step.get("kw")]
    if not calls:
        return False
    step = d.pick(calls)
    refs = []
    for ref in step["in"]:
        alike = [r for r in d.session.tensors if len(d.shape(r)) == len(d.shape(ref)) and d.shape(r)[-1] == d.shape(ref)[-1]
                 and d.kind(r)[1] == d.kind(ref)[1]]
        refs.append(d.pick(alike))
    if refs == step["in"] and d.chance(0.7):
        return False
    return d.add({key: value for key, value in dict(step, **{"in": refs}).items() if key != "out"})


def stray_step(d):
    calls = [step for step in d.recipe["steps"] if step.get("layer") and not step.get("kw") and step.get("form") != "args"
             and step.get("form") != "dict"]
    if not calls:
        return False
    step = d.pick(calls)
    stray = {"stray": step["layer"], "like": step["in"]}
    try:
        d.session.run(stray)
    except Exception:
        return False
    d.recipe["steps"].append(stray)
    return True


def inner_inputs(d, refs):
    specs = []
    for at, ref in enumerate(refs):
        kind, dtype = d.kind(ref)
        specs.append({"ref": f"i{at}", "name": f"in{at}_{d.depth}_{d.count}", "shape": list(d.shape(ref)[1:]),
                      "dtype": None if dtype == "float32" else dtype, "kind": "ids" if kind == "i" else "normal"})
    return specs


def nested_step(d):
    if d.depth > 1:
        return False
    refs = [d.one("fi") for _ in range(d.pick([1, 1, 1, 2]))]
    if any(ref is None for ref in refs) or len(set(refs)) < len(refs):
        return False
    key = d.key()
    name = d.pick(["inner", "encoder", "Block", "sub.net", "functional_1", "model"]) + f"_{d.depth}_{d.count}"
    model = draw_model(d.rng, name, d.depth + 1, inner_inputs(d, refs), int(d.rng.integers(1, 5)))
    if model is None:
        return False
    spec = {"model": model, **({"frozen": True} if d.chance(0.2) else {})}
    form = model["input_form"]
    step = {"layer": key, "in": refs, "form": form}
    if form == "dict":
        step["names"] = [i["name"] for i in model["inputs"]]
    return d.add(step, spec, key)


def sequential_step(d):
    ref = d.one("f")
    if ref is None or d.depth > 1:
        return False
    key = d.key()
    model = draw_sequential(d.rng, f"seq_{d.depth}_{d.count}", d.depth + 1, inner_inputs(d, [ref]), int(d.rng.integers(1, 4)))
    if model is None:
        return False
    return d.add({"layer": key, "in": [ref]}, {"model": model, **({"frozen": True} if d.chance(0.2) else {})}, key)


def distributed_step(d):
    """TimeDistributed of a layer or a model."""
    ref = d.one("f", (3, 4, 5))
    if ref is None:
        return False
    shape = d.shape(ref)
    inside = shape[:1] + shape[2:]
    if d.chance(0.35):
        spec = [{"ref": "i0", "name": f"td_in_{d.depth}_{d.count}", "shape": list(inside[1:]), "dtype": None, "kind": "normal"}]
        draw = draw_sequential if d.chance(0.5) else draw_model
        model = draw(d.rng, f"td_{d.depth}_{d.count}", d.depth + 1, spec, int(d.rng.integers(1, 4)))
        if model is None or len(model["outputs"]["refs"]) != 1:
            return False
        model["outputs"]["form"], model["input_form"] = "one", "one"
        return d.call("TimeDistributed", {"layer": {"$model": model}}, [ref])
    rows = RANKS.get(len(inside))
    name, config, how = d.pick(rows)(d.rng, inside)
    if how:
        return False
    return d.call("TimeDistributed", {"layer": {"$layer": [name, config]}}, [ref])


def decoder_step(d):
    """An RNN that starts from another's states."""
    a, b = d.one("f", (3,)), d.one("f", (3,))
    if a is None or b is None:
        return False
    units = int(d.rng.choice([3, 4]))
    name, config, _ = rnn(d.rng, units=units, plain=True)
    first = {**config, "return_state": True}
    second = {**config, "return_sequences": d.chance(0.6), "return_state": d.chance(0.3)}
    if not d.call(name, first, [a]):
        return False
    states = d.recipe["steps"][-1]["out"]
    states = states[-2:] if "LSTM" in name else states[-1:]
    kw = {"initial_state": [{"$ref": ref} for ref in states]}
    if len(states) == 1 and d.chance(0.5):
        kw = {"initial_state": {"$ref": states[0]}}
    return d.call(name, second, [b], kw=kw)


def bidirectional_step(d):
    ref = d.one("f", (3,))
    if ref is None:
        return False
    name, config, _ = rnn(d.rng)
    options = {"layer": {"$layer": [name, config]}, "merge_mode": d.pick(["concat", "concat", "sum", "mul", "ave", None])}
    return d.call("Bidirectional", options, [ref])


def embedding_step(d):
    ref = d.one("i", (2, 3))
    if ref is None:
        return preprocess_step(d)
    config = {"input_dim": 9, "output_dim": int(d.rng.choice([3, 4])), "mask_zero": d.chance(0.6)}
    return d.call("Embedding", config, [ref])


STEPS = [(layer_step, 30), (op_step, 18), (pair_step, 14), (again_step, 6), (nested_step, 6), (sequential_step, 4),
         (distributed_step, 4), (decoder_step, 3), (bidirectional_step, 3), (embedding_step, 8), (preprocess_step, 4),
         (stray_step, 2)]
FUNCTIONS = [step for step, _ in STEPS]
SHARES = np.array([share for _, share in STEPS], float) / sum(share for _, share in STEPS)


def usable(d, ref):
    return d.kind(ref)[0] in "fib" and d.kind(ref)[1] not in ("bfloat16",)


def draw_model(rng, name, depth=0, inputs=None, steps=None):
    d = Draw(rng, name, depth, inputs)
    wanted = steps or int(rng.integers(3, 14))
    for _ in range(wanted * 4):
        if len([s for s in d.recipe["steps"] if "out" in s]) >= wanted:
            break
        FUNCTIONS[int(rng.choice(len(FUNCTIONS), p=SHARES))](d)
    inputs_of = [spec["ref"] for spec in d.recipe["inputs"]]
    if depth == 0:
        # Ids, flags and words that nothing read are read now.
        for ref in inputs_of:
            if ref in d.open:
                embedding_step(d) if d.kind(ref)[0] == "i" else preprocess_step(d)
    ends = [ref for ref in d.open if ref not in inputs_of and usable(d, ref)]
    if not ends:
        return None
    rng.shuffle(ends)
    ends = ends[:int(rng.choice([1, 2, 3, 4]))] if depth == 0 else ends[:int(rng.choice([1, 1, 2]))]
    if depth == 0:
        finish(d, ends, inputs_of)
    outputs = d.recipe["outputs"]
    outputs["refs"] = ends
    forms = ["list", "list", "dict"] if len(ends) > 1 else ["one", "one", "one", "list", "dict"]
    outputs["form"] = str(rng.choice(forms)) if KERAS >= 3 or depth == 0 else ("list" if len(ends) > 1 else "one")
    if outputs["form"] == "dict":
        names = ["b", "a", "z_out", "Out", "q0", "y", "k", "out-1"]
        outputs["names"] = [names[i] for i in rng.permutation(len(names))[:len(ends)]]
        if len(outputs["names"]) < len(ends):
            outputs["form"] = "list"
    return d.recipe


def finish(d, ends, inputs_of):
    """Now and then an input as an output, one tensor twice, a tensor from the middle."""
    if d.chance(0.08):
        floats = [ref for ref in inputs_of if d.kind(ref)[0] == "f"]
        ends += [d.pick(floats)] if floats else []
    if d.chance(0.06):
        ends.append(d.pick(ends))
    middle = [ref for ref in d.session.tensors if ref not in ends and ref not in inputs_of and usable(d, ref)]
    if middle and d.chance(0.15):
        ends.append(d.pick(middle))


def draw_sequential(rng, name, depth=0, inputs=None, steps=None):
    d = Draw(rng, name, depth, inputs or [draw_input(rng, 0)])
    wanted = steps or int(rng.integers(3, 9))
    ref = d.recipe["inputs"][0]["ref"]
    for _ in range(wanted * 3):
        if len(d.recipe["steps"]) >= wanted:
            break
        shape, kind = d.shape(ref), d.kind(ref)[0]
        if kind == "f":
            rows = RANKS.get(len(shape))
            name_, config, how = d.pick(rows)(d.rng, shape) if rows else ("Identity", {}, {})
        elif kind == "i" and len(shape) == 2:
            name_, config, how = "Embedding", {"input_dim": 9, "output_dim": 4, "mask_zero": d.chance(0.6)}, {}
        else:
            rows = [row for row in PREPROCESS if kind in row[0]]
            name_, config, how = d.pick(rows)[1](d.rng, shape)
        if how or config.get("return_state") or not d.call(name_, config, [ref]):
            continue
        ref = d.recipe["steps"][-1]["out"][0]
    if not d.recipe["steps"] or not usable(d, ref):
        return None
    recipe = d.recipe
    if any(len(step["out"]) != 1 for step in recipe["steps"]):
        return None
    recipe["sequential"], recipe["input_form"] = True, "one"
    recipe["outputs"] = {"form": "one", "refs": [ref]}
    return recipe


def draw(rng, name):
    """A recipe, or None where nothing came together."""
    return draw_sequential(rng, name) if rng.random() < 0.12 else draw_model(rng, name)


def loose(recipe):
    """Whether something is computed in fewer than 24 bits."""
    text = json.dumps(recipe)
    return any(word in text for word in ("float16", "bfloat16", "to_half"))
