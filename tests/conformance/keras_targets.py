"""Converts models to .keras and .h5 with the recast binary, loads the outputs with the real Keras, and compares what
they compute with what was recorded when the models were saved.

    keras3/bin/python keras_targets.py convert OUT [--recast BINARY] [--plugins DIR] [--set SET]... [--only PART]
    keras3/bin/python keras_targets.py check OUT --target keras       (KERAS_BACKEND=torch, jax or numpy for the others)
    keras2/bin/python keras_targets.py check OUT --target h5
    jax/bin/python keras_targets.py check OUT --target keras --every 8

Two steps, because the frameworks live in environments of their own. Weights are compared bit by bit as a multiset:
recast may move none and change none. Exit code 1 when a number is wrong or a file does not load.
"""
import argparse
import collections
import glob
import json
import os
import subprocess
import sys
import time
import traceback

import numpy as np

from kit_common import Wrong, flatten, difference, home

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# It remembers kernels by their addresses, where another model's may lie by now.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.path.join(HERE, "..", "fixtures")
TARGETS = ("keras", "h5", "keras2", "tfjs")
SETS = ("fixtures", "v3", "legacy", "containers", "options", "strings", "text", "tfjs", "saved_model", "samples", "zoo",
        "published")
MATRIX = ("matrix2", "matrix3")
DIRECTORIES = ("tfjs", "saved_model", "containers")


# --- what there is --------------------------------------------------------------------------------------------------
def folders(which):
    if which == "fixtures":
        return [(f"keras{k}/", os.path.join(FIXTURES, f"keras{k}")) for k in (1, 2, 3)]
    if which == "v3":
        return [("v3/", os.path.join(FIXTURES, "keras_v3"))]
    if which == "samples":
        return [("samples/", os.path.join(HERE, "..", "samples"))]
    if which == "saved_model":
        # What Keras 2 saved holds layers; an export or a module holds none that a Keras target could name.
        return [("saved_model/", os.path.join(FIXTURES, "saved_model", "save"))]
    if which == "options":
        return [(f"options{k}/", os.path.join(FIXTURES, f"options_keras{k}")) for k in (2, 3)]
    if which in MATRIX:
        return [(which + "/", os.path.join(home(), "matrix", f"keras{which[-1]}"))]
    if which in ("zoo", "published"):
        return [(which + "/", os.path.join(home(), which))]
    return [(which + "/", os.path.join(FIXTURES, which))]


def directories(prefix, folder):
    """Models that are directories: each lies beside its recorded outputs."""
    for golden in sorted(glob.glob(os.path.join(glob.escape(folder), "*.golden.npz"))):
        path = golden[:-len(".golden.npz")]
        if os.path.isdir(path):
            yield prefix + os.path.basename(path), path, None, golden


def models(which):
    for prefix, folder in folders(which):
        if which in DIRECTORIES:
            yield from directories(prefix, folder)
        if which in ("tfjs", "saved_model"):
            continue
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), "**", "*"), recursive=True)):
            end = next((e for e in (".weights.h5", ".hdf5", ".h5", ".keras") if path.endswith(e)), None)
            if end is None:
                continue
            stem = path[:-len(end)]
            recorded = (path + ".golden.npz", stem + ".golden.npz", stem + ".want.npz")
            golden = next((g for g in recorded if os.path.exists(g)), None)
            architecture = stem + ".json" if os.path.exists(stem + ".json") else None
            # A .keras beside an .h5 of the same name is another model.
            mark = "@keras" if end == ".keras" else ""
            yield prefix + os.path.relpath(stem, folder) + mark, path, architecture, golden


# --- convert --------------------------------------------------------------------------------------------------------
BATCH = 40


def run(args, targets, artifacts, architecture, out):
    """artifact -> report, of one command for all of them."""
    command = [args.recast, "convert", *artifacts, "--to", ",".join(targets), "--out", out, "--format", "json"]
    command += [] if args.verify else ["--no-verify"]
    command += ["--architecture", architecture] if architecture else []
    command += ["--plugins", args.plugins] if args.plugins else []
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    return {report["artifact"]: report for report in reports}


def row_of(report):
    if report is None:
        return {"status": "crashed", "codes": [], "said": [], "why": "no report"}
    errors = [d for d in report["diagnostics"] if d["severity"] == "error"]
    row = {"status": report["status"], "codes": sorted({d["code"] for d in errors}),
           "said": sorted({d["code"] for d in report["diagnostics"]}),
           "why": "; ".join(f"{d['at']}: {d['detail']}" for d in errors[:2])}
    for output in report["outputs"]:
        row[output["target"]] = {"path": os.path.join(report["bundle"], output["path"]),
                                 "level": output["verification"]["level"]}
    return row


def convert(args):
    todo = [model for which in args.set or SETS for model in models(which)]
    todo = [model for model in todo if not args.only or any(part in model[0] for part in args.only)][::args.every]
    targets = args.target or TARGETS
    plain = [os.path.abspath(model[1]) for model in todo if not model[2]]
    together = {}
    for first in range(0, len(plain), BATCH):
        together.update(run(args, targets, plain[first:first + BATCH], None, os.path.join(args.out, "bundles")))
    rows = []
    for name, artifact, architecture, golden in todo:
        artifact = os.path.abspath(artifact)
        both = row_of(together.get(artifact))
        for target in targets:
            row = {"name": name, "target": target, "golden": golden, "artifact": artifact}
            row["case"] = case_of(row)
            found = both
            if target not in found and (len(targets) > 1 or artifact not in together):
                # One target's refusal hides the other's output.
                alone = run(args, [target], [artifact], architecture, os.path.join(args.out, "alone", target))
                found = row_of(next(iter(alone.values()), None))
            rows.append({**row, **{key: found[key] for key in ("status", "codes", "said", "why")}, **found.get(target, {})})
    with open(os.path.join(args.out, "index.json"), "w") as file:
        json.dump(rows, file, indent=1)
    for target in targets:
        of = [row for row in rows if row["target"] == target]
        print(f"{target}: {sum('path' in r for r in of)} of {len(of)} converted")
        refused = collections.Counter(", ".join(r["codes"]) or r["status"] for r in of if "path" not in r)
        for codes, count in refused.most_common():
            print(f"  {count:4} {codes}")
        for row in of:
            if "path" not in row:
                print(f"       {row['name']}: {row['why'][:150]}")
    return 0


# --- check ----------------------------------------------------------------------------------------------------------
def arrays_of(model):
    """Every weight's bytes; counters and random states are no weights. Keras 3 sorts axes, and with them sizes; Keras 2
    keeps the weights of a BatchNormalization of half precision in float32."""
    counter = collections.Counter()
    for weight in model.weights:
        value = np.asarray(weight.numpy() if hasattr(weight, "numpy") else weight)
        name = (getattr(weight, "path", None) or weight.name).split("/")[-1].split(":")[0]
        if name not in ("count", "seed_generator_state"):
            counter[(tuple(sorted(value.shape)), exactly(value).tobytes())] += 1
    return counter


def exactly(value):
    """Each number of 16 bits is one of 32 bits, too."""
    return value.astype("float32") if value.dtype == np.float16 else value


def stored_arrays(artifact):
    """Every floating-point array of an .h5 or .keras, optimizer and counters left out."""
    import h5py
    import io
    import zipfile
    counter = collections.Counter()

    def visit(name, node):
        skip = ("optimizer", "seed_generator", "_random_generator")
        if isinstance(node, h5py.Dataset) and not any(part in name for part in skip):
            if name.split("/")[-1].split(":")[0] != "count" and node.dtype != np.uint32:
                counter[(tuple(sorted(node.shape)), exactly(np.asarray(node)).tobytes())] += 1

    source = io.BytesIO(zipfile.ZipFile(artifact).read("model.weights.h5")) if zipfile.is_zipfile(artifact) else artifact
    with h5py.File(source, "r") as file:
        file.visititems(visit)
    return counter


def strangers():
    """What tf.keras 2 keeps outside of its layers, and does not register: its own files do not load without, either."""
    import keras
    if keras.__version__ >= "3":
        return {}
    from keras.src.applications.convnext import LayerScale
    return {"LayerScale": LayerScale, "SpectralNormalization": keras.layers.SpectralNormalization}


def users(row):
    """Classes of the models' authors: one is registered, and needs no more than that; one is not."""
    if "custom_layer" not in row["name"]:
        return {}
    import cases_graph
    return {"Unregistered": cases_graph.Unregistered}


def feeds(xs):
    """What a model is called with; texts as TensorFlow has them."""
    if any(x.dtype.kind in "OSU" for x in xs):
        import tensorflow as tf
        xs = [tf.constant(x) for x in xs]
    return xs if len(xs) > 1 else xs[0]


def outputs(keras, model, xs):
    run = lambda fed: model(fed, training=False)
    if keras.backend.backend() != "tensorflow":
        return flatten(run(feeds(xs)))
    import tensorflow as tf
    try:
        return flatten(run(feeds(xs)))
    except tf.errors.OpError:
        # TensorFlow has no kernels for channels-first images and some convolutions on a CPU; its compiler has.
        return flatten(tf.function(run, jit_compile=True)(feeds(xs)))


def case_of(row, cases={}):
    """What the matrix says of a model: tolerances, and what its own Keras does not get from the file."""
    folder, file = os.path.split(row["artifact"])
    if not row["name"].startswith(MATRIX):
        return {}
    if folder not in cases:
        with open(os.path.join(folder, "cases.json")) as table:
            cases[folder] = json.load(table)["cases"]
    return cases[folder].get(os.path.splitext(file)[0], {})


def check_one(keras, row):
    model = keras.models.load_model(row["path"], compile=False, custom_objects={**strangers(), **users(row)})
    # These keep gates and kernels apart, in other orders or as other types; a directory is no HDF5 file.
    elsewhere = row["name"].startswith(("keras1/", "legacy/", "containers/")) or os.path.isdir(row["artifact"])
    strange = collections.Counter() if elsewhere else arrays_of(model) - stored_arrays(row["artifact"])
    if strange:
        raise AssertionError(f"{sum(strange.values())} weights are not those of the source: "
                             f"{[shape for shape, _ in strange][:3]}")
    if not row["golden"]:
        return None
    with np.load(row["golden"], allow_pickle=True) as file:
        arrays = {key: file[key] for key in file.files}
    xs = [arrays[f"x{i}"] for i in range(sum(key.startswith("x") for key in arrays))]
    ys = [arrays[f"y{i}"] for i in range(sum(key.startswith("y") for key in arrays))]
    got = outputs(keras, model, xs)
    if len(got) != len(ys):
        raise AssertionError(f"{len(got)} outputs, {len(ys)} recorded")
    pairs = enumerate(zip(got, ys))
    return max(difference(i, widened(g), widened(w), allowed(row, g, w)) for i, (g, w) in pairs)


def widened(array):
    """Numpy files know no bfloat16."""
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


def allowed(row, got, wanted):
    """The matrix says it of its models; of others, half precision does."""
    half = {"float16", "bfloat16"} & {got.dtype.name, wanted.dtype.name}
    if row["name"].startswith(MATRIX) or not half:
        return case_of(row)
    return {"tolerance": 2e-2 * max(1.0, float(np.abs(wanted.astype(np.float64)).max()))}


def check(args):
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        # Sets TensorFlow up, which it takes only before its first use.
        import cases_graph  # noqa: F401
    import keras
    backend = getattr(keras, "backend", None).backend()
    with open(os.path.join(args.out, "index.json")) as file:
        rows = [row for row in json.load(file) if row["target"] in (args.target or TARGETS) and "path" in row]
    # Classes of the user's own load where they are registered, which they are with TensorFlow only.
    rows = [row for row in rows if "custom_layer" not in row["name"] or backend == "tensorflow"]
    rows = [row for row in rows if not args.only or any(part in row["name"] for part in args.only)]
    shard, shards = (int(part) for part in args.shard.split("/"))
    rows = rows[::args.every][shard - 1::shards]
    passed, unread, failed, largest, started = 0, 0, [], 0.0, time.monotonic()
    for number, row in enumerate(rows, 1):
        keras.backend.clear_session()
        if number % 100 == 0:
            print(f"  {number} of {len(rows)} after {time.monotonic() - started:.0f} s", flush=True)
        if os.path.splitext(row["artifact"])[1][1:] in case_of(row).get("lost", {}):
            continue
        # What tf.keras 2 is said not to load, it may fail to load, and must not compute otherwise.
        newer = keras.__version__ < "3" and "needs-newer" in row["said"]
        try:
            largest = max(largest, check_one(keras, row) or 0.0)
            passed += 1
        except Exception as error:
            if newer and not isinstance(error, (Wrong, AssertionError)):
                unread += 1
                continue
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"
            failed.append(row["name"])
            print(f"  {row['target']} {row['name']}: {why[:args.width]}", flush=True)
            if args.trace:
                traceback.print_exc()
    print(f"Keras {keras.__version__} on {backend}: {passed} of {passed + len(failed)} load with the source's weights and "
          f"give the recorded outputs; largest error {largest:.3g}; {unread} not loaded, as said")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("convert", "check"))
    parser.add_argument("out")
    parser.add_argument("--recast", default=os.path.join(HERE, "..", "..", "target", "release", "recast"))
    parser.add_argument("--plugins")
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("--set", action="append", choices=SETS + MATRIX, help="all but the matrix, where none is given")
    parser.add_argument("--only", action="append")
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--every", type=int, default=1, help="only every N-th model, or output")
    parser.add_argument("--shard", default="1/1", help="I/N: the I-th of N parts, for as many processes")
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--width", type=int, default=200)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    return convert(args) if args.step == "convert" else check(args)


if __name__ == "__main__":
    sys.exit(main())
