"""The zoo as SavedModels: each network saved by its own framework, converted, and compared with the recorded outputs.

    keras3/bin/python savedmodel_zoo.py [--recast target/release/recast] [--plugins DIR] [--only PART]... [--json FILE]

Keras 2 writes `model.save(DIR)`, whose metadata gives the layers: to ONNX, PyTorch and .keras. Keras 3 writes
`model.export(DIR)`, which holds nothing but the traced graph: to ONNX and PyTorch. Needs zoo.py's models and the
environments keras2, keras3 and torch. One model at a time, and nothing is kept: VGG16 alone takes 2.5 GB on its way.
Exit code 1 if anything was not as expected, or if there was nothing to check.
"""
import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile

SMALL_FIRST = ("mlp", "lstm_text", "lstm_text_sequential", "bidirectional_gru", "transformer", "mobilenet_v2",
               "efficientnet_b0", "densenet121", "resnet50", "nasnet_mobile", "inception_v3", "convnext_tiny", "vgg16")
TARGETS = {"keras2": ("onnx", "torch", "keras"), "keras3": ("onnx", "torch")}
# Layers that Keras does not know by itself, by model: (where Keras has it, name).
STRANGERS = {"convnext_tiny": ("keras.src.applications.convnext", "LayerScale")}
# Keras 3 does not load its own .h5 of these (mask operations between the layers), or does not export what it loaded (a
# Sequential inside is called with too many arguments); it makes them again.
NOT_LOADED = ("lstm_text", "convnext_tiny")
RUN_IN = {"torch": "torch", "keras": "keras3"}


def strangers(path):
    """Classes that Keras has to be told of before it loads this file."""
    module, layer = STRANGERS.get(os.path.splitext(os.path.basename(path))[0], (None, None))
    return {layer: getattr(importlib.import_module(module), layer)} if module else None


def save(artifact, directory):
    import kit
    import keras
    name = os.path.basename(artifact)[:-len(".h5")]
    if kit.KERAS >= 3 and name in NOT_LOADED:
        import zoo
        model = zoo.ZOO[name]()
        model.load_weights(artifact)
    else:
        model = keras.models.load_model(artifact, compile=False, custom_objects=strangers(artifact))
    if kit.KERAS >= 3:
        model.export(directory, verbose=False)
    else:
        model.save(directory)


def run_torch(package, golden):
    """Largest absolute error against the recording."""
    import numpy as np
    import run
    import run_torch as torch_kit
    with np.load(golden) as file:
        arrays = {key: file[key] for key in file.files}
    xs = [arrays[f"x{i}"] for i in range(sum(key.startswith("x") for key in arrays))]
    return run.compared(torch_kit.call(torch_kit.package(package).load(), xs), arrays)[0]


def run_keras(path, golden):
    import kit
    import keras
    import numpy as np
    import run
    with np.load(golden) as file:
        arrays = {key: file[key] for key in file.files}
    xs = [arrays[f"x{i}"] for i in range(sum(key.startswith("x") for key in arrays))]
    model = keras.models.load_model(path, compile=False, custom_objects=strangers(path))
    return run.compared(kit.call(model, xs), arrays)[0]


def elsewhere(script, environment, *words):
    """A script of this directory in another environment; the last line that it prints."""
    import run
    python = os.path.join(run.home(), environment, "bin", "python")
    done = subprocess.run([python, os.path.abspath(script), *words], capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise run.Wrong(f"{words[0]} in {environment}: {run.tail(done.stderr, 300)}")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def convert(args, saved, golden, targets, out):
    import run
    command = [args.recast, "convert", saved, "--to", ",".join(targets), "--golden", golden, "--out", out,
               "--format", "json"]
    if args.plugins:
        command += ["--plugins", args.plugins]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return run.parse(done.returncode, done.stdout, done.stderr)


def check_one(args, framework, name, work):
    """One row: level and largest error of each target; raises what went wrong."""
    import run
    stem = os.path.join(run.home(), "zoo", framework, name)
    saved, golden = os.path.join(work, name), stem + ".golden.npz"
    elsewhere(__file__, framework, "--save", stem + ".h5", saved)
    report = convert(args, saved, golden, TARGETS[framework], os.path.join(work, "out"))
    if report["status"] != "verified":
        found = [f"{d['code']} {d['at']}: {d['detail']}" for d in report["diagnostics"] if d["severity"] == "error"]
        raise run.Wrong(f"{report['status']}: {'; '.join(found)[:600]}")
    row = {}
    for target in TARGETS[framework]:
        path, verification = run.output_file(report, target)
        if target == "onnx":
            error = run.compare(path, golden)[0]
        else:
            error = float(elsewhere(__file__, RUN_IN[target], f"--run-{target}", path, golden))
        row[target] = {"level": verification.get("level"), "abs": error}
    return row


def check(args):
    import run
    rows, wrong = [], 0
    for name in SMALL_FIRST:
        for framework in args.framework or TARGETS:
            title = f"{framework}/{name}"
            if args.only and not any(part in title for part in args.only):
                continue
            row = {"model": title, "targets": {}, "why": ""}
            with tempfile.TemporaryDirectory(dir=args.scratch) as work:
                try:
                    row["targets"] = check_one(args, framework, name, work)
                except Exception as error:
                    wrong += 1
                    row["why"] = f"{type(error).__name__}: {error}"
            rows.append(row)
            said = ", ".join(f"{t} {r['level']} {r['abs']:.1e}" for t, r in row["targets"].items())
            print(f"{title:32} {said or row['why']}", flush=True)
            if args.json:
                with open(args.json, "w") as file:
                    json.dump({"rtol": run.RTOL, "atol": run.ATOL, "models": rows}, file, indent=1)
    compared = sum(len(row["targets"]) for row in rows)
    print(f"{len(rows)} SavedModels, {compared} outputs right; not as expected: {wrong}")
    return 0 if compared and not wrong else 1


def main():
    for flag, work in (("--save", save), ("--run-torch", run_torch), ("--run-keras", run_keras)):
        if sys.argv[1:2] == [flag]:
            result = work(*sys.argv[2:])
            print("" if result is None else result)
            return 0
    root = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recast", default=os.path.join(root, "target", "release", "recast"))
    parser.add_argument("--plugins", help="passed on to recast convert")
    parser.add_argument("--only", action="append", default=[], help="only models whose name contains this")
    parser.add_argument("--framework", action="append", choices=sorted(TARGETS))
    parser.add_argument("--scratch", help="where each model lies for its time")
    parser.add_argument("--json", help="write all rows there")
    return check(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
