"""`compose.py make` and `shrink`: what needs the Keras that makes the models."""
import json
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
import zlib

import kit
from kit import KERAS, np, tf
import compose
import compose_containers as containers
import compose_random
import compose_recipe as recipes

LARGEST = 1e4
SENSITIVE = 2e-4    # of the largest value, for inputs that differ in the sixth digit


class Unfit(Exception):
    """The model could not tell a right converter from a wrong one."""


def fit(model, recipe, rng):
    """Inputs and outputs of two variants; refuses what is dead, endless, or chaotic."""
    xs, others = recipes.feed(recipe, rng), recipes.feed(recipe, rng)
    ys = recipes.call(model, recipe, xs)
    kit.check_alive(ys, recipes.call(model, recipe, others), share=1e-3)
    near = [x * np.asarray(1 + 2e-6 * rng.choice([-1, 1], x.shape), x.dtype) if x.dtype.kind == "f" else x for x in xs]
    for y, moved in zip(ys, recipes.call(model, recipe, near)):
        if y.dtype.kind != "f":
            if (y != moved).any():
                raise Unfit("an integer that hangs by a hair")
            continue
        largest = np.abs(y.astype("f8")).max()
        if largest > LARGEST:
            raise Unfit(f"values up to {largest:.3g}")
        if np.abs(y.astype("f8") - moved.astype("f8")).max() > SENSITIVE * max(largest, 1e-2):
            if y.dtype == np.float32 and not compose_random.loose(recipe):
                raise Unfit("chaotic")
    return xs, ys


def second(model, recipe, rng):
    """The same for another batch and other lengths; None where only these lengths fit."""
    try:
        xs = recipes.feed(recipe, rng, 1)
        ys = recipes.call(model, recipe, xs)
    except Exception:
        return None
    return None if any(y.dtype.kind == "f" and not np.isfinite(y).all() for y in ys) else (xs, ys)


def by_model_order(model, recipe, xs):
    """The inputs in the order of model.inputs."""
    names = [spec["name"] for spec in recipe["inputs"]]
    own = [t.name.split(":")[0] for t in model.inputs]
    if sorted(own) != sorted(names):
        return xs
    return [xs[names.index(name)] for name in own]


def storable(arrays):
    return {k: v.astype("U") if v.dtype == object else v.astype("float32") if v.dtype == tf.bfloat16.as_numpy_dtype else v
            for k, v in arrays.items()}


def golden(model, recipe, path, xs, ys):
    xs = by_model_order(model, recipe, xs)
    arrays = {f"x{i}": x for i, x in enumerate(xs)} | {f"y{i}": y for i, y in enumerate(ys)}
    np.savez(path, **storable(arrays))


def write(recipe, out, name, number=0):
    """Builds a recipe anew, writes its files; what the containers said that did not take it."""
    kit.begin(name)
    seed = zlib.crc32(name.split("~")[0].encode())
    rng = np.random.default_rng(seed)
    model = recipes.build(recipe)
    kit.randomise(model, rng)
    for layer in model._flatten_layers():
        # Those inside of wrappers too.
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    xs, ys = fit(model, recipe, rng)
    other = second(model, recipe, rng)
    if number % 3 == 1:
        containers.trained(model)
    golden(model, recipe, f"{out}/{name}.golden.npz", xs, ys)
    said = containers.save(model, out, name, number, lambda again: recipes.call(again, recipe, xs))
    if other:
        golden(model, recipe, f"{out}/{name}.other.npz", *other)
    with open(f"{out}/{name}.recipe.json", "w") as file:
        json.dump({"recipe": recipe, "loose": compose_random.loose(recipe), "not_saved": said}, file)
    return said


def make(args):
    quiet()
    began, unfit, failed = time.monotonic(), {}, {}
    made = number = 0
    while made < args.count:
        number += 1
        name = f"k{KERAS}_{args.seed}_{number}"
        kit.begin(name)
        try:
            recipe = compose_random.draw(np.random.default_rng([args.seed, number]), name)
            if recipe is None:
                continue
            why = write(recipe, args.out, name, number)
            made += 1
            for container, text in why.items():
                failed.setdefault(f"{container}: {text[:90]}", []).append(name)
        except Exception as error:
            key = f"{type(error).__name__}: {str(error)[:60]}"
            unfit[key] = unfit.get(key, 0) + 1
    kit.say(f"{made} of {number} in {time.monotonic() - began:.0f} s; not saved:")
    for key, names in failed.items():
        kit.say(f"  {len(names)} {key} ({names[0]})")
    for key, count in sorted(unfit.items(), key=lambda item: -item[1])[:12]:
        kit.say(f"  unfit {count} {key}")
    return 0


# --- networks as people write them ----------------------------------------------------------------------------------
WORDS = np.array(["red", "green", "blue", "???"], object)


def fed(model, rng, variant):
    """Values for each input: ids end in zeros, as padded texts do."""
    batch, lengths = recipes.BATCHES[variant], recipes.LENGTHS[variant]
    xs = []
    for tensor in model.inputs:
        dtype = np.dtype("O" if "string" in str(tensor.dtype) else getattr(tensor.dtype, "as_numpy_dtype", tensor.dtype))
        shape = tuple(tensor.shape)
        shape = (shape[0] or batch, *(lengths[i] if size is None else size for i, size in enumerate(shape[1:])))
        if dtype.kind in "iu" and dtype != np.uint8:
            x = rng.integers(1, 9, shape)
            x = (x * (np.arange(shape[-1]) < rng.integers(2, shape[-1] + 1, (*shape[:-1], 1)))) if shape[-1] > 2 else x
            xs.append(x.astype(dtype))
        else:
            xs.append(rng.choice(WORDS, shape) if dtype.kind == "O" else kit.random_input(rng, shape, dtype))
    return xs


def arranged(model, xs):
    """As the model takes its inputs."""
    names = [t.name.split(":")[0] for t in model.inputs]
    values = dict(zip(names, map(tf.constant, xs)))
    form = getattr(model, "_inputs_struct", getattr(model, "_nested_inputs", model.inputs))
    packed = tf.nest.map_structure(lambda tensor: values[tensor.name.split(":")[0]], form)
    return packed[0] if isinstance(packed, (list, tuple)) and len(packed) == 1 else packed


def answers(model, xs):
    run = lambda values: model(values, training=False)
    compiled = "channels_first" in model.to_json()
    return kit.flatten((tf.function(run, jit_compile=True) if compiled else run)(arranged(model, xs)))


def write_net(name, function, out, number):
    kit.begin(name)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    model = function()
    kit.randomise(model, rng)
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    for variant, end in enumerate((".golden.npz", ".other.npz")):
        xs = fed(model, rng, variant)
        try:
            ys = answers(model, xs)
        except Exception:
            if variant == 0:
                raise
            break
        kit.check_alive(ys, answers(model, fed(model, rng, variant)), share=1e-3, every_output=False)
        arrays = {f"x{i}": x for i, x in enumerate(xs)} | {f"y{i}": y for i, y in enumerate(ys)}
        np.savez(f"{out}/{name}{end}", **storable(arrays))
        first = xs if variant == 0 else first
    containers.trained(model)
    said = containers.save(model, out, name, number, lambda again: answers(again, first))
    loose = any(word in model.to_json() for word in ("float16", "half"))
    with open(f"{out}/{name}.recipe.json", "w") as file:
        json.dump({"recipe": None, "loose": loose, "not_saved": said}, file)
    return said


def nets(args):
    """Every container of every network of the two tables."""
    quiet()
    import compose_nets
    import compose_odd  # noqa: F401
    for name, function in compose_nets.NETS.items():
        if args.only and not any(part in name for part in args.only):
            continue
        try:
            for container, text in write_net(f"k{KERAS}_{name}", function, args.out, None).items():
                kit.say(f"  {name} not in {container}: {text[:160]}")
        except Exception as error:
            kit.say(f"  {name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return 0


def masked(args):
    """Random models of masked sequences."""
    quiet()
    import compose_masked
    made = 0
    for number in range(1, 20 * args.count):
        if made == args.count:
            break
        name = f"k{KERAS}_masked_{args.seed}_{number}"
        try:
            rng = np.random.default_rng([args.seed, number])
            write_net(name, lambda: compose_masked.draw(rng), args.out, number)
            made += 1
        except Exception as error:
            kit.say(f"  {name}: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
    return 0


def quiet():
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    tf.get_logger().setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


# --- shrink ---------------------------------------------------------------------------------------------------------
def symptom(args, container, target, out, name):
    """What goes wrong with a model: the code of the first error at a target, or what the comparison says."""
    found = [m for m in compose.artifacts(out, None) if m[0] == name and m[1] == container]
    if not found:
        return None
    report = compose.recast(args, [found[0][2]], [target], found[0][3], os.path.join(out, "out"))[0].get(found[0][2])
    got = compose.outcome(report)
    if got["errors"]:
        return f"{got['errors'][0][0]} " + "".join("" if c.isdigit() else c for c in got["errors"][0][2])[:30]
    if got["status"] not in ("verified", "unverified"):
        return got["status"]
    import compose_check
    output = report["outputs"][0]
    row = {"name": name, "container": container, "target": target, "artifact": found[0][2],
           "path": os.path.join(report["bundle"], output["path"])}
    why = compose_check.row_checked(out, row)
    return why and "wrong"


def shrink(args):
    quiet()
    name, container, target = args.what
    with open(os.path.join(args.out, f"{name}.recipe.json")) as file:
        recipe = json.load(file)["recipe"]
    folder = tempfile.mkdtemp(prefix="compose-shrink-")
    number = containers.number_of(container)
    trial = 0

    def fails(candidate):
        nonlocal trial
        trial += 1
        at = os.path.join(folder, str(trial))
        os.makedirs(at)
        try:
            write(candidate, at, f"{name}~", number)
            return symptom(args, container, target, at, f"{name}~")
        except Exception:
            return None
        finally:
            shutil.rmtree(at, ignore_errors=True)

    first = fails(recipe)
    kit.say(f"{name}.{container} -> {target}: {first}")
    if first is None:
        return 1
    again = True
    while again and trial < 400:
        again = False
        for candidate in recipes.smaller(recipe):
            if fails(recipes.clone(candidate)) == first:
                recipe, again = recipes.clone(candidate), True
                break
    recipe.pop("shapes", None)
    print(json.dumps(recipe))
    kept = os.path.join(args.out, "small")
    os.makedirs(kept, exist_ok=True)
    write(recipe, kept, f"{name}~{container}~{target}", number)
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit("compose.py runs this")
