"""Every network of keras.applications, weights made as the zoo makes them: saved, converted, compared, deleted.

    keras3/bin/python applications.py [--recast PATH] [--plugins DIR] [--families] [NAME]...     (and with keras2)

From .h5 and .keras to ONNX, run in ONNX Runtime (in the Keras 2 environment: that environment's own), and to .keras,
loaded by Keras 3 (the keras3 environment, asked as `applications.py load MODEL ARRAYS`). The smallest input that a
network takes, 100 classes, the smallest networks first. --families: only the first network of each family. Results are
printed and written to HOME/applications-keras{2,3}.json, which a later run continues (--again: from the start).
"""
import argparse
import inspect
import itertools
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings

import kit
import zoo
from kit_common import ATOL, RTOL, apart
from kit import KERAS, keras, np

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
SIZES = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71, "NASNetLarge": 331, "NASNetMobile": 224}
SIZE = 64
# What run.py accepts, and the same share of the spread: a hundred layers of random weights amplify rounding.
SPREAD = 1e-3
# How far inputs are moved to see what a network makes of rounding; what it may make of it, as a share of the spread.
NUDGE, NUDGED_MAX = 1e-6, SPREAD / 4
# A network that makes more of it than that gets blocks nearer to the identity, so many times.
CALMED_MAX = 4


def networks():
    """Names by family, the smallest first."""
    found = [name for name in dir(keras.applications) if name[0].isupper()]
    families = {}
    for name in sorted(found, key=lambda n: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", n)]):
        family = re.sub(r"(B\d|\d+|L|M|S|Tiny|Small|Base|Large|XLarge|Mobile|X\d+|Y\d+|RS\d+)+$", "", name)
        families.setdefault(re.sub(r"\d+", "", family), []).append(name)
    return families


def build(name):
    make = getattr(keras.applications, name)
    size = SIZES.get(name, SIZE)
    options = {"weights": None, "input_shape": (size, size, 3), "classes": 100, "classifier_activation": None}
    known = inspect.signature(make).parameters
    return make(**{key: value for key, value in options.items() if key in known})


def residual_norms(model):
    """The last BatchNormalization of every branch that ends in a sum: how much its block adds to what came in."""
    found = {}
    # Keras 2 makes a layer of `x + y`, too.
    sums = lambda layer: isinstance(layer, keras.layers.Add) or layer.name.startswith("tf.__operators__.add")
    for add in filter(sums, kit.all_layers(model)):
        for tensor in add.input if isinstance(add.input, (list, tuple)) else [add.input]:
            while True:
                history = tensor._keras_history
                layer = history.layer if hasattr(history, "layer") else history.operation
                if isinstance(layer, keras.layers.BatchNormalization):
                    found[layer.name] = layer
                if isinstance(layer, (keras.layers.BatchNormalization, keras.layers.InputLayer)) or sums(layer):
                    break
                tensor = layer.input[0] if isinstance(layer.input, (list, tuple)) else layer.input
    return found.values()


def prepared(name):
    kit.begin(name)
    rng = np.random.default_rng(kit.seed_of(name))
    model = build(name)
    for weight in model.weights:
        path = getattr(weight, "path", None) or weight.name
        if np.issubdtype(np.dtype(getattr(weight.dtype, "as_numpy_dtype", weight.dtype)), np.floating):
            weight.assign(zoo.he(rng, path, tuple(weight.shape), "float32"))
    for layer in kit.all_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    for _ in range(CALMED_MAX):
        zoo.fit_batch_norms(model, rng)
        xs = [zoo.inputs(model, rng, kit.BATCH)]
        zoo.scale_outputs(model, xs)
        ys = kit.call(model, xs)
        nudged = kit.call(model, [(x * (1 + NUDGE * rng.standard_normal(x.shape))).astype(x.dtype) for x in xs])
        moved = max(float(np.abs(a - b).max() / (a.max() - a.min())) for a, b in zip(ys, nudged))
        if moved <= NUDGED_MAX:
            return model, xs, ys
        for norm in residual_norms(model):
            if norm.scale:
                norm.gamma.assign(norm.gamma * 0.3)
    raise kit.Degenerate(f"inputs moved by {NUDGE} move the outputs by {moved:.2g} of their spread: no number to compare")


def convert(args, path, target, out):
    command = [args.recast, "convert", path, "--to", target, "--out", out, "--no-verify", "--format", "json"]
    command += ["--plugins", args.plugins] if args.plugins else []
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=1800)
    report = json.loads(done.stdout.splitlines()[0])
    if report["status"] not in ("verified", "unverified"):
        errors = [d for d in report["diagnostics"] if d["severity"] == "error"]
        raise ValueError("; ".join(f"{d['code']} {d['at']}: {d['detail']}" for d in errors[:3]))
    return os.path.join(report["bundle"], report["outputs"][0]["path"]), time.monotonic() - began


def compare(got, ys):
    """The largest error; an exception where one is not within the tolerance."""
    worst = 0.0
    for g, y in zip(got, ys, strict=True):
        spread = float(y.max() - y.min())
        worst = max(worst, apart(f"a spread of {spread:.3g}", g, y, RTOL, ATOL + SPREAD * spread))
    return worst


def run_onnx(path, xs):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {each.name: x for each, x in zip(session.get_inputs(), xs)})


def load(path, arrays):
    """Runs a .keras in this Keras: inputs are read from ARRAYS, outputs written in their place."""
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer  # not registered by Keras itself
    # Keras 3 goes down one call for each layer that stands behind another.
    sys.setrecursionlimit(100_000)
    model = keras.models.load_model(path, compile=False, custom_objects={"CustomScaleLayer": CustomScaleLayer})
    with np.load(arrays) as read:
        xs = [read[name] for name in read.files]
    np.savez(arrays, *kit.call(model, xs))


def run_keras(path, xs):
    python = os.path.join(kit.home(), "keras3", "bin", "python")
    arrays = path + ".npz"
    np.savez(arrays, *xs)
    done = subprocess.run([python, os.path.abspath(__file__), "load", path, arrays], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"Keras 3 does not load it: {done.stderr[-300:]}")
    with np.load(arrays) as read:
        return [read[name] for name in read.files]


def check(args, name):
    model, xs, ys = prepared(name)
    rows = []
    for container in ("h5", "keras"):
        folder = tempfile.mkdtemp(prefix="recast-applications-")
        path = os.path.join(folder, f"{name}.{container}")
        model.save(path, include_optimizer=False) if container == "h5" else model.save(path)
        megabytes = round(os.path.getsize(path) / 1e6, 1)
        for target, run in (("onnx", run_onnx), ("keras", run_keras)):
            row = {"network": name, "container": container, "target": target, "layers": len(model.layers),
                   "mb": megabytes, "ok": False}
            rows.append(row)
            out = os.path.join(folder, target)
            try:
                made, seconds = convert(args, path, target, out)
                row.update(seconds=round(seconds, 2), error=compare(run(made, xs), ys), ok=True)
            except Exception as error:
                row["why"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recast", default=os.path.join(ROOT, "target", "release", "recast"))
    parser.add_argument("--plugins", help="passed on to recast convert")
    parser.add_argument("--families", action="store_true", help="only the first network of each family")
    parser.add_argument("--again", action="store_true", help="forget what an earlier run found")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    logging.getLogger("absl").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    families = networks()
    names = args.names or [n for rank in itertools.zip_longest(*families.values()) for n in rank if n]
    if args.families:
        names = [all_of[0] for all_of in families.values()]
    results = os.path.join(kit.home(), f"applications-keras{KERAS}.json")
    rows = []
    if not args.again and os.path.exists(results):
        with open(results) as file:
            rows = [row for row in json.load(file) if "target" in row and row["network"] not in args.names]
    for name in names:
        if any(row["network"] == name for row in rows):
            continue
        try:
            found = check(args, name)
        except Exception as error:
            found = [{"network": name, "target": None, "ok": False, "why": f"not made: {error!r:.300}"}]
        rows += found
        for row in found:
            print(json.dumps(row), flush=True)
        with open(results, "w") as file:
            json.dump(rows, file, indent=0)
        keras.backend.clear_session()
    rows = [row for row in rows if row["network"] in names]
    good = sum(row["ok"] for row in rows)
    print(f"{good} of {len(rows)} conversions of {len(names)} networks, Keras {keras.__version__}")
    return 0 if rows and good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(load(*sys.argv[2:4]) if sys.argv[1:2] == ["load"] else main())
