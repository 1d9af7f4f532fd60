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
from kit import KERAS, keras, np, tf
import compose
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


def save(model, recipe, out, name, number):
    """Every container that takes it; what each that did not said."""
    said = {}

    def attempt(container, path, function):
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            function(path)
        except Exception as error:
            said[container] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            shutil.rmtree(path, ignore_errors=True)
            if os.path.isfile(path):
                os.remove(path)

    attempt("h5", f"{out}/{name}.h5", lambda p: kit.save_h5(model, p))
    attempt("keras", f"{out}/{name}.keras", model.save)
    if number % 4 == 0:
        attempt("json_v3", f"{out}/json_v3/{name}.weights.h5", lambda p: apart(model, p, f"{out}/json_v3/{name}.json"))
    if number % 4 == 1 and KERAS < 3:
        attempt("json_h5", f"{out}/json_h5/{name}.h5", lambda p: apart(model, p, f"{out}/json_h5/{name}.json"))
    if number % 4 == 2 and KERAS < 3:
        # Traces take as long as all else together.
        options = {"save_format": "tf", "include_optimizer": False, "save_traces": number % 16 == 2}
        attempt("saved_model", f"{out}/saved_model/{name}", lambda p: model.save(p, **options))
    if number % 8 == 2 and KERAS >= 3:
        attempt("export", f"{out}/export/{name}", lambda p: model.export(p, verbose=False))
    return said


def apart(model, path, architecture):
    model.save_weights(path)
    with open(architecture, "w") as file:
        file.write(model.to_json())


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
    said = save(model, recipe, out, name, number)
    golden(model, recipe, f"{out}/{name}.golden.npz", xs, ys)
    for container in ("json_v3", "json_h5", "saved_model"):
        if os.path.exists(f"{out}/{container}/{name}") or os.path.exists(f"{out}/{container}/{name}.json"):
            golden(model, recipe, f"{out}/{container}/{name}.golden.npz", xs, ys)
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


def quiet():
    logging.getLogger("absl").setLevel(logging.ERROR)
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
    number = {"json_v3": 0, "json_h5": 1, "saved_model": 2, "export": 2}.get(container, 3)
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
