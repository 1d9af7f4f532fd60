"""Converts models to SavedModel directories, and checks these in TensorFlow against the outputs that Keras recorded.

    keras3/bin/python savedmodel.py convert --to DIR [--recast target/debug/recast] [--plugins target/debug] [--set ...]
    keras2/bin/python savedmodel.py check DIR [--json FILE]      (and again with keras3/bin/python)
    keras2/bin/python savedmodel.py ops DIR                      (and again with keras3/bin/python)

`check` loads every directory of DIR in one process, calls its signature by name and `serve` by position, with the
recorded batch, with its first row alone and with the batch twice; some also through the loader of TensorFlow 1.
`ops` runs what the suite wrote with RECAST_TEST_SAVEDMODEL_DUMP=DIR, op by op, with two batches and two lengths.
Exit code 1 if anything was not as expected, or if there was nothing to check.
"""
import argparse
import collections
import glob
import json
import os
import subprocess
import sys

from kit_common import ATOL, ATOL_LOOSE, RTOL, RTOL_LOOSE, Wrong, apart

SETS = ("fixtures", "keras_v3", "zoo", "matrix")
# Through TensorFlow 1's loader as well: one of so many, it takes as long as all the rest together.
SESSION_EVERY = 8
PER_CALL = 40
# Their first axis is time, or what they give for one row depends on the others (the loudest of a batch of sounds).
ROWS_TOGETHER = ("time_major", "extra-mel", "op-sparsemax_axis0", "op-tensordot")
# TensorFlow's cubic kernel takes its weights from a table of 1024 places, the evaluator computes them.
TOLERANCES = {"resize_cubic": 5e-3}


# --- converting -----------------------------------------------------------------------------------------------------
def keras_files(folder, prefix, golden_of):
    found = glob.glob(os.path.join(glob.escape(folder), "**", "*.keras"), recursive=True)
    for path in sorted(found):
        golden = golden_of(path[:-len(".keras")])
        yield prefix + os.path.relpath(path, folder)[:-len(".keras")], path, None, golden


def of_the_h5(stem):
    """The archives among the fixtures hold the weights of the .h5 of that name: KIND is 2, 3 or 2.12."""
    folder, name = os.path.split(stem)
    fixtures, kind = os.path.dirname(os.path.dirname(folder)), os.path.basename(folder)
    return os.path.join(fixtures, f"keras{kind[0]}", f"{name}.golden.npz")


def models_of(which):
    import run
    if which == "keras_v3":
        folder = os.path.normpath(os.path.join(run.HERE, "..", "fixtures", which))
        return list(keras_files(folder, which + "/", of_the_h5))
    if which == "matrix":
        return list(keras_files(os.path.join(run.home(), which), which + "/", lambda stem: stem + ".want.npz"))
    return list(run.models_of(which))


def tolerances(artifact):
    """rtol and atol; the matrix says of its models where they are others."""
    case = matrix_case(artifact)
    return (RTOL_LOOSE, ATOL_LOOSE) if case.get("loose") else (RTOL, max(ATOL, case.get("tolerance", 0)))


def matrix_case(artifact):
    path = os.path.join(os.path.dirname(artifact), "cases.json")
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        return json.load(file)["cases"].get(os.path.basename(artifact).rsplit(".", 1)[0], {})


def convert_many(args, models, out):
    """Report of each artifact of one call. Names within a call differ, so that bundles do."""
    command = [args.recast, "convert", *[model[1] for model in models], "--to", "savedmodel", "--out", out,
               "--format", "json"]
    if not args.verify:
        command.append("--no-verify")
    if models[0][2]:
        command += ["--architecture", models[0][2]]
    if args.plugins:
        command += ["--plugins", args.plugins]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    reports = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    if len(reports) != len(models):
        raise SystemExit(f"{len(reports)} reports for {len(models)} models: {done.stderr[-500:]}")
    return {os.path.abspath(report["artifact"]): report for report in reports}


def calls(models):
    """Models in groups for one call each: those with an architecture alone, equal names apart."""
    groups = []
    for model in models:
        stem = os.path.basename(model[1]).split(".")[0]
        fits = lambda group: not (model[2] or group[2] or stem in group[1]) and len(group[0]) < PER_CALL
        place = next(filter(fits, groups), None)
        if place is None:
            place = ([], set(), bool(model[2]))
            groups.append(place)
        place[0].append(model)
        place[1].add(stem)
    return [group[0] for group in groups]


def convert(args):
    import run
    table = run.expectations()
    rows = []
    for which in args.set or SETS:
        models = [m for m in models_of(which) if not args.only or any(part in m[0] for part in args.only)]
        models = models[::args.every]
        for number, group in enumerate(calls(models)):
            reports = convert_many(args, group, os.path.join(args.to, which, str(number)))
            for name, artifact, _, golden in group:
                report = reports[os.path.abspath(artifact)]
                rows.append(row_of(name, artifact, golden, report, table))
        print(f"# {which}: {len(models)} models", flush=True)
    os.makedirs(args.to, exist_ok=True)
    with open(os.path.join(args.to, "rows.json"), "w") as file:
        json.dump(rows, file, indent=1)
    counts = collections.Counter(row["status"] for row in rows)
    print(", ".join(f"{count} {status}" for status, count in counts.most_common()))
    refused = collections.Counter(f"{code} {why}" for row in rows for code, why in row["errors"][:1])
    for reason, count in refused.most_common():
        print(f"{count:5} {reason[:180]}")
    return 0 if rows else 1


def row_of(name, artifact, golden, report, table):
    import run
    errors = [d for d in report["diagnostics"] if d.get("severity") == "error"]
    outputs = [o for o in report["outputs"] if o.get("target") == "savedmodel"]
    # Verification is off: what verifies elsewhere is only written here.
    refused = run.refusal(table, name.replace("/model-", "/").removeprefix("matrix/"))
    path = os.path.join(report["bundle"], outputs[0]["path"]) if outputs else None
    return {"model": name, "artifact": artifact, "golden": golden, "status": report["status"], "path": path,
            "expected": ["failed", "parked"] if refused else ["verified", "unverified"], "errors": [[d["code"], f"{d['at']}: {d['detail']}"] for d in errors]}


# --- checking -------------------------------------------------------------------------------------------------------
def difference(what, got, wanted, tolerance):
    """Largest absolute error; an exception where it is beyond the tolerance."""
    if wanted.size == 0:
        raise Wrong(f"{what}: nothing to compare")
    return apart(what, got, wanted, *tolerance)


def check_model(row, number):
    import numpy as np
    import tensorflow as tf
    with np.load(row["golden"]) as file:
        arrays = {key: file[key] for key in file.files}
    xs = [arrays[f"x{i}"] for i in range(sum(key.startswith("x") for key in arrays))]
    ys = [arrays[f"y{i}"] for i in range(sum(key.startswith("y") for key in arrays))]
    tolerance = tolerances(row["artifact"])
    loaded = tf.saved_model.load(row["path"])
    if sorted(loaded.signatures) != ["serve", "serving_default"]:
        raise Wrong(f"signatures {sorted(loaded.signatures)}")
    serve = loaded.signatures["serving_default"]
    takes = tf.nest.flatten(loaded.serve.input_signature)
    feeds = [tf.cast(x, spec.dtype) for x, spec in zip(xs, takes)]
    if len(xs) != len(takes):
        raise Wrong(f"{len(takes)} inputs, {len(xs)} recorded")
    largest = 0.0
    got = tf.nest.flatten(loaded.serve(feeds if len(feeds) > 1 else feeds[0]))
    if len(got) != len(ys):
        raise Wrong(f"{len(got)} outputs, {len(ys)} recorded")
    for i, (g, w) in enumerate(zip(got, ys)):
        largest = max(largest, difference(f"output {i}", g, w, tolerance))
    names = [tensor.name.split(":")[0] for tensor in takes]
    by_name = serve(**dict(zip(names, feeds)))
    specs = tf.nest.flatten(loaded.serve.concrete_functions[0].structured_outputs)
    for spec, w in zip(specs, ys):
        difference(f"signature output {spec.name}", by_name[spec.name], w, tolerance)
    free = all(len(spec.shape) and spec.shape[0] is None for spec in takes + specs)
    free = free and not any(part in row["model"] for part in ROWS_TOGETHER)
    if free:
        other_batches(loaded, feeds, ys, tolerance)
    row["names"] = {"inputs": names, "outputs": [spec.name for spec in specs]}
    if number % SESSION_EVERY == 0:
        wanted = {spec.name: w for spec, w in zip(specs, ys)}
        in_session(row["path"], dict(zip(names, feeds)), wanted, tolerance)
    return largest, free


def other_batches(loaded, feeds, ys, tolerance):
    import numpy as np
    import tensorflow as tf
    for what, make in (("one row", lambda a: a[:1]), ("twice", lambda a: np.concatenate([a, a]))):
        fed = [tf.constant(make(np.asarray(feed))) for feed in feeds]
        got = tf.nest.flatten(loaded.serve(fed if len(fed) > 1 else fed[0]))
        for i, (g, w) in enumerate(zip(got, ys)):
            difference(f"{what}, output {i}", g, make(w), tolerance)


def in_session(path, feeds, wanted, tolerance):
    """As the C++ loader and TensorFlow Serving do it: restore the variables, then run the signature's tensors."""
    import tensorflow as tf
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        meta = v1.saved_model.load(session, ["serve"], path)
        signature = meta.signature_def["serving_default"]
        if signature.method_name != "tensorflow/serving/predict":
            raise Wrong(f"method {signature.method_name}")
        fed = {signature.inputs[name].name: value.numpy() for name, value in feeds.items()}
        got = session.run({name: info.name for name, info in signature.outputs.items()}, fed)
        for name, w in wanted.items():
            difference(f"session output {name}", got[name], w, tolerance)


def quiet_tensorflow():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tensorflow as tf
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf


def check(args):
    tf = quiet_tensorflow()
    with open(os.path.join(args.dir, "rows.json")) as file:
        rows = json.load(file)
    rows = [row for row in rows if not args.only or any(part in row["model"] for part in args.only)]
    results, wrong, largest, free = [], 0, (0.0, ""), 0
    for number, row in enumerate(rows):
        result = {"model": row["model"], "status": row["status"], "abs": None, "why": ""}
        try:
            if row["path"] and row["golden"]:
                result["abs"], is_free = check_model(row, number)
                largest, free = max(largest, (result["abs"], row["model"])), free + is_free
            if row["status"] not in row["expected"]:
                raise Wrong(f"{row['status']}, expected {' or '.join(row['expected'])}: {row['errors'][:2]}")
        except Exception as error:
            wrong += 1
            result["why"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            print(f"WRONG {row['model']:44} {result['why']}", flush=True)
        results.append(result)
        if number % 100 == 99:
            tf.keras.backend.clear_session()
    compared = sum(result["abs"] is not None for result in results)
    # In the order of the recording, which a signature's own does not tell: for savedmodel_c.py.
    with open(os.path.join(args.dir, "names.json"), "w") as file:
        json.dump({row["model"]: row["names"] for row in rows if "names" in row}, file, indent=1)
    print(f"TensorFlow {tf.__version__}: {len(rows)} models, {compared} right, {free} of them with other batches too; "
          f"largest absolute error {largest[0]:.2e} ({largest[1]}); not as expected: {wrong}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"tensorflow": tf.__version__, "rtol": RTOL, "atol": ATOL, "models": results}, file, indent=1)
    return 0 if compared and not wrong else 1


# --- op by op -------------------------------------------------------------------------------------------------------
def array(stored):
    import numpy as np
    numbers = np.array([float(text) for text in stored["data"]]).reshape(stored["shape"])
    return numbers.astype(stored["dtype"] if stored["dtype"] != "bfloat16" else "float32")


def check_case(folder):
    """Largest error in units of the tolerance."""
    import numpy as np
    import tensorflow as tf
    with open(os.path.join(folder, "case.json")) as file:
        case = json.load(file)
    tolerance = TOLERANCES.get(os.path.basename(folder), case["tolerance"])
    loaded = tf.saved_model.load(os.path.join(folder, "model"))
    takes = tf.nest.flatten(loaded.serve.input_signature)
    largest = 0.0
    for run in case["runs"]:
        feeds = [tf.cast(array(x), spec.dtype) for x, spec in zip(run["x"], takes)]
        given = [] if not feeds else [feeds] if len(feeds) > 1 else feeds
        got = tf.nest.flatten(loaded.serve(*given))
        for i, (g, stored) in enumerate(zip(got, run["y"])):
            w = array(stored).astype(np.float64)
            g = tf.cast(g, tf.float32).numpy() if g.dtype == tf.bfloat16 else g.numpy()
            if g.shape != w.shape:
                raise Wrong(f"output {i}: shape {g.shape}, wanted {w.shape}")
            g = g.astype(np.float64)
            same = (g == w) | (np.isnan(g) & np.isnan(w))
            scale = max([1.0, *np.abs(w[np.isfinite(w)]).flat])
            error = np.where(same, 0.0, np.abs(np.where(same, 0.0, g) - np.where(same, 0.0, w))) / scale
            if not (error <= tolerance).all():
                worst = int(np.argmax(np.nan_to_num(error, nan=np.inf)))
                raise Wrong(f"output {i}, {w.shape}: {g.flat[worst]} where {w.flat[worst]} is right")
            largest = max([largest, *(error / tolerance).flat])
    return largest


def ops(args):
    tf = quiet_tensorflow()
    cases = sorted(path for path in glob.glob(os.path.join(args.dir, "*")) if not args.only or any(
        part in path for part in args.only))
    wrong = 0
    for path in cases:
        try:
            check_case(path)
        except Exception as error:
            wrong += 1
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            print(f"WRONG {os.path.basename(path):40} {why}", flush=True)
    print(f"TensorFlow {tf.__version__}: {len(cases)} cases, not as expected: {wrong}")
    return 0 if cases and not wrong else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("convert")
    root = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    make.add_argument("--to", required=True)
    make.add_argument("--recast", default=os.path.join(root, "target", "release", "recast"))
    make.add_argument("--plugins", help="passed on to recast convert")
    make.add_argument("--set", action="append", choices=SETS, help="default: all")
    make.add_argument("--only", action="append", default=[], help="only models whose name contains this")
    make.add_argument("--every", type=int, default=1, help="one of so many models")
    make.add_argument("--verify", action="store_true", help="let recast verify what it writes")
    look = commands.add_parser("check")
    look.add_argument("dir")
    look.add_argument("--only", action="append", default=[], help="only models whose name contains this")
    look.add_argument("--json", help="write all rows there")
    each = commands.add_parser("ops")
    each.add_argument("dir")
    each.add_argument("--only", action="append", default=[], help="only cases whose name contains this")
    args = parser.parse_args()
    return {"convert": convert, "check": check, "ops": ops}[args.command](args)


if __name__ == "__main__":
    sys.exit(main())
