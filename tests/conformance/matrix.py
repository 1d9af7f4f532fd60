"""Makes the matrix: one small model per layer class, option, shape and container, weights random, outputs recorded.

    keras3/bin/python matrix.py [--only PART]... [--list]        (and the same with keras2)
    keras3/bin/python versions.py 3.5 matrix.py --every 4       (another Keras 3: HOME/matrix/keras3.5)

It writes HOME/matrix/keras3 (or keras2): NAME.h5 and NAME.keras, NAME.want.npz (x0.., y0..: inputs and outputs), and
cases.json, which says of each case what it is about and what tolerance it has, and of what could not be made, why. HOME
is RECAST_CONFORMANCE_HOME, else ~/.cache/recast-conformance. `run.py --set matrix` converts and compares.
"""
import argparse
import json
import logging
import os
import sys
import warnings

import kit
from kit import keras, np, tf
import matrix_cases
import matrix_extra
import matrix_options
import matrix_staples

LARGEST = 1_000_000


def specs():
    found = {}
    for spec in [*matrix_cases.existing(), *matrix_extra.specs(), *matrix_options.specs(), *matrix_staples.specs()]:
        assert spec.name not in found, spec.name
        found[spec.name] = spec
    return found


def outputs_of(model, xs):
    try:
        return kit.call(model, xs)
    except tf.errors.OpError:
        # TensorFlow has no channels-first, grouped or dilated transposed convolution on a CPU, except through XLA.
        return kit.call(model, xs, compiled=True)


def storable(value):
    """Numpy files know no bfloat16."""
    return value.astype("float32") if value.dtype == tf.bfloat16.as_numpy_dtype else value


def make(spec, folder):
    model, xs = matrix_cases.built(spec)
    ys = [storable(y) for y in outputs_of(model, xs)]
    if any(y.dtype.kind == "f" and not np.isfinite(y).all() for y in ys):
        raise ValueError("an output that is not finite")
    stem = os.path.join(folder, spec.name)
    made, why = [], {}
    for container in spec.containers:
        path = f"{stem}.{container}"
        try:
            model.save(path, include_optimizer=False) if container == "h5" else model.save(path)
            made.append(container)
        except Exception as error:
            why[container] = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            if os.path.exists(path):
                os.remove(path)
    if not made:
        raise ValueError(f"no container takes it: {why}")
    size = sum(os.path.getsize(f"{stem}.{container}") for container in made)
    if size > LARGEST:
        raise ValueError(f"{size} bytes is too large")
    arrays = {f"x{i}": x for i, x in enumerate(xs)}
    arrays.update({f"y{i}": y for i, y in enumerate(ys)})
    np.savez(f"{stem}.want.npz", **arrays)
    subject = spec.subject() if callable(spec.subject) else spec.subject
    subject = sorted(subject or matrix_cases.classes_in(model))
    record = {"subject": subject, "containers": made, "size": size}
    record.update({"loose": True} if spec.loose else {})
    record.update({"tolerance": spec.tolerance} if spec.tolerance else {})
    record.update({"not_saved": why} if why else {})
    return record


def why_not_read_back(path, wants, case):
    """What this Keras itself makes of the file that it wrote; none where it gives what the live model gave."""
    with np.load(wants, allow_pickle=True) as file:
        arrays = {key: file[key] for key in file.files}
    xs, ys = ([arrays[key] for key in arrays if key[0] == letter] for letter in "xy")
    keras.backend.clear_session()
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=False)
        got = [storable(y) for y in outputs_of(model, xs)]
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    if len(got) != len(ys):
        return f"gives {len(got)} outputs"
    try:
        [kit.difference(i, g, y, case) for i, (g, y) in enumerate(zip(got, ys))]
    except kit.Wrong as error:
        return f"gives other numbers: {error}"
    return None


def read_back(names, folder, found):
    """Notes of the cases with these names what was lost when they were saved."""
    for name in sorted(names & set(found["cases"])):
        case = found["cases"][name]
        lost = {}
        for container in case["containers"]:
            stem = os.path.join(folder, name)
            why = why_not_read_back(f"{stem}.{container}", f"{stem}.want.npz", case)
            lost.update({container: why} if why else {})
        case.pop("lost", None)
        case.update({"lost": lost} if lost else {})
        kit.say(f"{name}: {lost or 'reads back'}")


def subjects(spec):
    """The classes that a case is about; none where an earlier Keras has no such layer, which is said when it is made."""
    try:
        return set(spec.subject() if callable(spec.subject) else spec.subject)
    except (AttributeError, TypeError, ValueError):
        if kit.KERAS_IS_TODAYS:
            raise
        return set()


def sampled(chosen, every, offset):
    """Every Nth case, and for each class that these do not have, the first that is about it."""
    if every == 1:
        return chosen
    names = sorted(chosen)
    taken = set(names[offset % every::every])
    seen = {subject for name in taken for subject in subjects(chosen[name])}
    for name in names:
        if subjects(chosen[name]) - seen:
            taken.add(name)
            seen |= subjects(chosen[name])
    return {name: spec for name, spec in chosen.items() if name in taken}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", action="append", default=[], help="only cases whose name contains this")
    parser.add_argument("--verbose", action="store_true", help="say which cases could not be made, and why")
    parser.add_argument("--read-back", action="store_true", help="load what was made, with the Keras that made it")
    parser.add_argument("--every", type=int, default=1, help="every Nth case, and of each class at least one")
    parser.add_argument("--offset", type=int, default=0, help="which of the N")
    args = parser.parse_args()
    logging.getLogger("absl").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    chosen = {name: spec for name, spec in specs().items() if not args.only or any(p in name for p in args.only)}
    chosen = sampled(chosen, args.every, args.offset)
    if args.list:
        print("\n".join(chosen))
        return 0
    folder = os.path.join(kit.home(), "matrix", kit.matrix())
    os.makedirs(folder, exist_ok=True)
    table = os.path.join(folder, "cases.json")
    found = {"keras": keras.__version__, "cases": {}, "not_made": {}}
    if (args.only or args.read_back) and os.path.exists(table):
        with open(table) as file:
            found = json.load(file)
    if args.read_back:
        read_back(set(chosen), folder, found)
        chosen = {}
    for name, spec in chosen.items():
        found["cases"].pop(name, None)
        found["not_made"].pop(name, None)
        try:
            found["cases"][name] = make(spec, folder)
        except Exception as error:
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            found["not_made"][name] = why
            if args.verbose:
                kit.say("NOT MADE", name, why)
    # What the tables of cases call otherwise by now, or have no more.
    known = set(specs())
    for kind in ("cases", "not_made"):
        found[kind] = {name: case for name, case in found[kind].items() if name in known}
    with open(table, "w") as file:
        json.dump(found, file, indent=0, sort_keys=True)
    files = sum(len(case["containers"]) for case in found["cases"].values())
    kit.say(f"{len(found['cases'])} cases, {files} models, {len(found['not_made'])} not made: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
