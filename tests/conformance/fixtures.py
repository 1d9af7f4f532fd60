"""Makes tests/fixtures/keras2 or keras3, by the Keras that runs it: one tiny model per layer and important option.

    python fixtures.py [--list] [--only PART]...
"""
import argparse
import json
import os
import sys
import traceback

import kit
import numpy as np
import keras
import registry
import cases_basic, cases_conv, cases_rnn, cases_attention, cases_graph, cases_beyond, cases_masks  # noqa: F401,E401  they fill the table

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", f"keras{kit.KERAS}")
LARGEST = 250_000


def save(model, case, stem):
    """Writes the artifact as the case asks; returns the paths written."""
    if case.save == "h5":
        kit.save_h5(model, f"{stem}.h5")
        return [f"{stem}.h5"]
    with open(f"{stem}.json", "w") as out:
        out.write(model.to_json())
    weights = f"{stem}.weights.h5" if case.save == "weights" else f"{stem}.h5"
    if case.save == "weights" or kit.KERAS < 3:
        model.save_weights(weights)
    else:
        save_legacy_weights(model, weights)
    return [f"{stem}.json", weights]


def save_legacy_weights(model, path):
    """What Keras 2's save_weights wrote; Keras 3 only reaches it through its own legacy module."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def why_not_loaded(case, paths, xs, ys):
    """None when the framework reads its own file back to the same numbers, else what happens instead."""
    if case.save != "h5":
        return None
    try:
        loaded = keras.models.load_model(paths[0], compile=False)
        again = kit.call(loaded, xs)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    same = len(ys) == len(again) and all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(ys, again))
    return None if same else "loads, and gives other numbers"


def make(name, case):
    """Writes one fixture; returns why Keras can't read it back, or None."""
    kit.begin(name)
    rng = np.random.default_rng(kit.seed_of(name))
    model = case.build()
    kit.randomise(model, rng)
    xs, others = (kit.feed(model, rng, case.makers) for _ in range(2))
    ys = kit.call(model, xs, case.compiled)
    kit.check_alive(ys, kit.call(model, others, case.compiled), share=1e-3, every_output=case.every_output)
    kit.check_weights_matter(model, rng, xs, ys, case.compiled)
    stem = os.path.join(OUT, name)
    paths = save(model, case, stem)
    kit.save_golden(f"{stem}.golden.npz", xs, ys)
    size = sum(os.path.getsize(path) for path in paths)
    if size > LARGEST:
        raise AssertionError(f"{size} bytes is too large for a fixture")
    return None if case.compiled else why_not_loaded(case, paths, xs, ys)


def discard(name):
    for suffix in (".h5", ".weights.h5", ".json", ".golden.npz"):
        path = os.path.join(OUT, name + suffix)
        if os.path.exists(path):
            os.remove(path)


def record_unloadable(found, chosen):
    """unloadable.json: the files that the Keras which wrote them can't read back; the live model made the golden."""
    path = os.path.join(OUT, "unloadable.json")
    known = {}
    if os.path.exists(path):
        with open(path) as file:
            known = {name: why for name, why in json.load(file).items() if name not in chosen}
    known.update(found)
    with open(path, "w") as file:
        json.dump(dict(sorted(known.items())), file, indent=1)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", action="append", default=[], help="only cases whose name contains this")
    args = parser.parse_args()
    os.makedirs(OUT, exist_ok=True)
    chosen = {name: case for name, case in registry.CASES.items()
              if case.only in (None, kit.KERAS) and (not args.only or any(part in name for part in args.only))}
    if args.list:
        print("\n".join(chosen))
        return 0
    failed, unloadable = 0, {}
    for name, case in chosen.items():
        try:
            why = make(name, case)
            if why:
                unloadable[name] = why
        except Exception as error:
            failed += 1
            discard(name)
            kit.say(f"FAILED {name}: {type(error).__name__}: {str(error)[:300]}")
            if os.environ.get("TRACE"):
                traceback.print_exc()
    record_unloadable(unloadable, chosen)
    kit.say(f"{len(chosen) - failed} fixtures in {os.path.relpath(OUT)}, {failed} failed, "
            f"{len(unloadable)} that Keras {keras.__version__} can't read back")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
