"""Makes small models with one old framework, inside its own Python: NAME.h5, NAME.golden.npz and what could not be made.

    OLD_KERAS=VERSION PYTHONPATH=KERAS PYTHON make.py --out DIR [--only PART]... [--models N] [--layers N]

`check.py` starts it for every version of `environments.py`. The cases are those of the tables beside this directory
(../cases_*.py, ../matrix_cases.py and what they take from, ../keras1/cases.py), and in `extra.py` what only old versions
have. The layers that a version has not are not made, and said.
"""
from __future__ import print_function

import argparse
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import kit
from kit import KERAS, np


class Case(object):
    """`make(rng)` gives a model and its inputs; `weights` are values by role that the case needs."""

    def __init__(self, name, make, weights=None, loose=False, tolerance=0.0, save="h5"):
        self.name, self.make, self.save = name, make, save
        self.weights, self.loose, self.tolerance = weights or {}, loose, tolerance


def layer_tables():
    import layer_cases_core
    import layer_cases_spatial
    import matrix_cases
    import recurrent_cases
    import recurrent_cases_attention  # noqa: F401
    import recurrent_cases_rnn  # noqa: F401
    tables = [("layer", layer_cases_core.CASES + layer_cases_spatial.CASES)]
    operations = []
    try:
        import matrix_extra
        tables.append(("extra", matrix_extra.CASES))
        operations = list(matrix_extra.matrix_ops.specs()) if kit.EAGER else []
    except (ImportError, AttributeError) as error:
        kit.say("without matrix_extra:", error)
    for kind, cases in tables:
        for case in cases:
            if case.only in (None, 2) and not case.class_name:
                options = dict(weights=case.weights, loose=case.loose, tolerance=case.tolerance)
                yield Case("%s-%s" % (kind, case.name), matrix_cases.layer_model(case, False), **options)
                if any(axis > 0 for free in case.free for axis in free):
                    yield Case("%s-%s_free" % (kind, case.name), matrix_cases.layer_model(case, True), **options)
    for name, case in recurrent_cases.CASES.items():
        if case["weights"] is None:
            yield Case("recurrent-" + name, matrix_cases.recurrent_model(case))
    for spec in operations:
        yield Case(spec.name, spec.make, spec.weights, spec.loose, spec.tolerance)


def model_tables():
    import cases_attention, cases_basic, cases_beyond, cases_conv, cases_graph, cases_masks, cases_rnn  # noqa: F401,E401
    import registry

    def made(case):
        def make(rng):
            model = case.build()
            return model, kit.feed(model, rng, case.makers)
        return make
    for name, case in registry.CASES.items():
        if case.only in (None, 2) and case.save in ("h5", "legacy-weights"):
            yield Case("model-" + name, made(case), loose="float16" in name, save=case.save)


def first_keras():
    from keras1.cases import CASES

    def made(build, integers):
        def make(rng):
            model = build()
            if integers:
                draw = lambda rng, shape, dtype: rng.integers(0, integers, shape).astype("float32")
            else:
                draw = lambda rng, shape, dtype: rng.normal(0, 1.5, shape).astype("float32")
            model.compile("sgd", "mse")
            return model, kit.feed(model, rng, [draw] * len(model.inputs))
        return make
    for name, (build, integers) in CASES.items():
        yield Case("model-" + name, made(build, integers))


def all_cases(models, layers):
    """One of so many cases of the tables of models and of single layers; which one, differs between versions."""
    some = lambda cases, part: [c for c in cases if part and kit.seed_of(c.name + kit.NAME) % part == 0]
    if KERAS == 1:
        found = list(first_keras())
    else:
        found = some(model_tables(), models) + some(layer_tables(), layers)
    import extra
    found += [Case(name, **options) for name, options in extra.cases()]
    assert len({case.name for case in found}) == len(found)
    return found


def trained(model, xs, ys, name):
    """A third of the files hold what training left: its configuration, or with the optimizer's weights."""
    way = kit.seed_of(name) % 12
    if way == 0 and all(y.dtype.kind == "f" for y in ys):
        model.compile("adam", "mse")
        model.train_on_batch(xs if len(xs) > 1 else xs[0], ys if len(ys) > 1 else ys[0])
    elif way in (1, 2, 3):
        model.compile("rmsprop", "mse", metrics=["mae"])


def make(case, folder):
    kit.begin(case.name)
    rng = kit.Random(kit.seed_of(case.name))
    model, xs = case.make(rng)
    if KERAS == 2 and not model.built:
        model.build(model.input_shape)
    if case.save == "h5":
        try:
            trained(model, xs, kit.call(model, xs), case.name)
        except Exception as error:
            kit.say("not trained:", case.name, type(error).__name__)
    kit.randomise(model, rng)
    special(model, case.weights)
    stem = os.path.join(folder, case.name)
    SAVES[case.save](model, stem)
    ys = outputs(model, xs)
    if any(y.dtype.kind == "f" and not np.isfinite(y).all() for y in ys):
        raise ValueError("an output that is not finite")
    kit.save_golden(stem + ".golden.npz", xs, ys)
    return {"loose": case.loose, "tolerance": case.tolerance, "save": case.save}


def outputs(model, xs):
    try:
        return kit.call(model, xs)
    except Exception:
        if not kit.EAGER:
            raise
        # TensorFlow has no channels-first convolution on a CPU, except through XLA.
        return kit.call(model, xs, compiled=True)


def special(model, values):
    role = lambda name: name.split("/")[-1].split(":")[0]
    kit.set_weights(model, lambda name, array: np.asarray(values.get(role(name), array), array.dtype))


def weights_apart(model, stem, text="to_json", end=".json"):
    with open(stem + end, "w") as file:
        file.write(getattr(model, text)())
    model.save_weights(stem + ".h5")


def saved_model(model, stem):
    if kit.EAGER:
        model.save(stem, save_format="tf")
    elif hasattr(kit.keras.experimental, "export_saved_model"):
        kit.keras.experimental.export_saved_model(model, stem)
    else:
        kit.tf.contrib.saved_model.save_keras_model(model, stem)


SAVES = {"h5": lambda model, stem: model.save(stem + ".h5"), "legacy-weights": weights_apart, "savedmodel": saved_model,
         "yaml": lambda model, stem: weights_apart(model, stem, "to_yaml", ".yaml")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", action="append", default=[], help="only cases whose name contains this")
    parser.add_argument("--models", type=int, default=1, help="of the tables of models, one of how many; 0: none")
    parser.add_argument("--layers", type=int, default=8, help="of the tables of single layers, one of how many; 0: none")
    args = parser.parse_args()
    if not os.path.isdir(args.out):
        os.makedirs(args.out)
    found = {"version": kit.VERSION, "cases": {}, "not_made": {}}
    for case in all_cases(args.models, args.layers):
        if args.only and not any(part in case.name for part in args.only):
            continue
        try:
            found["cases"][case.name] = make(case, args.out)
        except Exception as error:
            why = "%s: %s" % (type(error).__name__, " ".join(str(error).split())[:300])
            found["not_made"][case.name] = why
    with open(os.path.join(args.out, "cases.json"), "w") as file:
        json.dump(found, file, indent=0, sort_keys=True)
    print("%s: %d made, %d not" % (kit.NAME, len(found["cases"]), len(found["not_made"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
