"""`compose.py check`: what the real frameworks compute with the written files, on the recorded inputs.

ONNX files run in ONNX Runtime, .keras and .h5 files in the Keras of this environment, SavedModels in its TensorFlow,
packages in PyTorch. A source that its own Keras does not read back to the same numbers is told apart ("keras itself").
"""
import json
import os
import sys

import numpy as np

import matrix_run

HERE = os.path.dirname(os.path.abspath(__file__))


def arrays_of(path):
    with np.load(path, allow_pickle=True) as file:
        arrays = {key: file[key] for key in file.files}
    count = lambda letter: sum(key[0] == letter for key in arrays)
    return [arrays[f"x{i}"] for i in range(count("x"))], [arrays[f"y{i}"] for i in range(count("y"))]


def variants(folder, name):
    """Recorded inputs and outputs: of the first batch, and of another where there is one."""
    for end in (".golden.npz", ".other.npz"):
        path = os.path.join(folder, name + end)
        if os.path.exists(path):
            yield arrays_of(path)


# --- what runs a file -----------------------------------------------------------------------------------------------
def run_onnx(path, row):
    _, run = matrix_run.onnx_runner(path)
    return run


def run_torch(path, row):
    _, run = matrix_run.torch_runner(path)
    return run


def keras_runner(model, channels_first):
    import tensorflow as tf
    from kit_common import flatten
    inputs = model._inputs_struct if hasattr(model, "_inputs_struct") else getattr(model, "_nested_inputs", model.inputs)
    names = [t.name.split(":")[0] for t in model.inputs]

    def run(xs):
        values = [tf.constant(x) for x in xs]
        if isinstance(inputs, dict):
            values = {key: values[names.index(t.name.split(":")[0])] for key, t in inputs.items()}
        elif len(values) == 1 and not isinstance(inputs, (list, tuple)):
            values = values[0]
        call = lambda fed: model(fed, training=False)
        return flatten((tf.function(call, jit_compile=True) if channels_first else call)(values))
    return run


def run_keras(path, row):
    import keras
    keras.backend.clear_session()
    model = keras.models.load_model(path, compile=False)
    return keras_runner(model, "channels_first" in model.to_json())


def run_saved_model(path, row):
    import tensorflow as tf
    served = tf.saved_model.load(path)

    def run(xs):
        values = [tf.constant(x) for x in xs]
        out = served.serve(values if len(values) > 1 else values[0])
        return [np.asarray(y) for y in (out if isinstance(out, (list, tuple)) else [out])]
    run.held = served
    return run


RUNNERS = {"onnx": run_onnx, "torch": run_torch, "keras": run_keras, "h5": run_keras, "keras2": run_keras,
           "savedmodel": run_saved_model}


# --- comparing ------------------------------------------------------------------------------------------------------
def widened(value):
    """bfloat16 as the goldens have it."""
    value = np.asarray(value)
    return value.astype("float32") if value.dtype.name == "bfloat16" else value


def compared(run, folder, row, loose):
    largest = 0.0
    for xs, ys in variants(folder, row["name"]):
        # Strings of numpy are not those of the runtimes.
        got = run([x.astype(object) if x.dtype.kind == "U" else x for x in xs])
        if len(got) != len(ys):
            raise matrix_run.Wrong(f"{len(got)} outputs, {len(ys)} recorded")
        for i, (g, w) in enumerate(zip(got, ys)):
            largest = max(largest, matrix_run.difference(i, widened(g), w, {"loose": loose}))
    return largest


def row_checked(folder, row):
    """None, or why the written file is not right."""
    with open(os.path.join(folder, f"{row['name']}.recipe.json")) as file:
        loose = json.load(file)["loose"]
    try:
        run = RUNNERS[row["target"]](row["path"], row)
        compared(run, folder, row, loose)
        return None
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def itself(folder, row):
    """What the Keras that wrote the source says of its own file; None: it gives the recorded numbers."""
    if not row["artifact"].endswith((".h5", ".keras")) or row["container"].startswith("json"):
        return None
    return row_checked(folder, dict(row, target="keras", path=row["artifact"]))


def check(args):
    if "torch" not in args.target:
        # Sets TensorFlow up, which it takes only before its first use.
        import kit  # noqa: F401
    with open(os.path.join(args.out, "rows.json")) as file:
        rows = [row for row in json.load(file) if "path" in row and row["target"] in args.target]
    if args.only:
        rows = [row for row in rows if any(part in row["name"] for part in args.only)]
    done, seen = [], {}
    for number, row in enumerate(rows, 1):
        key = (row["target"], row.get("sha256"), row["name"])
        if key in seen and not os.path.isdir(row["path"]):
            why = seen[key]
        else:
            why = seen[key] = row_checked(args.out, row)
        if why:
            print(f"  {row['target']} {row['name']}.{row['container']}: {why[:args.width]}", flush=True)
        if number % 200 == 0:
            print(f"  {number} of {len(rows)}", file=sys.stderr, flush=True)
        done.append({**{k: row[k] for k in ("name", "container", "target")}, "why": why})
    for target in args.target:
        of = [row for row in done if row["target"] == target]
        print(f"{target}: {sum(not row['why'] for row in of)} of {len(of)} right")
    mark = "-".join(args.target) + "." + os.path.basename(os.path.dirname(os.path.dirname(sys.executable)))
    with open(os.path.join(args.out, f"checked.{mark}.json"), "w") as file:
        json.dump(done, file, indent=0)
    return 1 if any(row["why"] for row in done) else 0
