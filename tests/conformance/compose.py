"""Composed models: random graphs of layers, saved by the real frameworks, converted, and compared there and back.

    keras3/bin/python compose.py make OUT --seed N --count K        (and the same with keras2)
    keras3/bin/python compose.py masked OUT --seed N --count K      (and with keras2: masks through models in models)
    python compose.py convert OUT [--recast BINARY] [--plugins DIR] [--target T]...
    keras3/bin/python compose.py check OUT --target onnx ..         (keras2/bin/python for keras2, torch/bin/python for torch)
    python compose.py rounds OUT                                    (what was written becomes what is read: convert again)
    python compose.py report OUT
    keras3/bin/python compose.py shrink OUT NAME CONTAINER TARGET   (in the environment that made the model)

`make` writes NAME.recipe.json (compose_recipe.py), the model in every container that its Keras has, NAME.golden.npz, and
NAME.other.npz for another batch size and other lengths. One seed gives the same recipes on every run.
"""
import argparse
import glob
import json
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def make(args):
    import compose_make
    return compose_make.make(args)


def nets(args):
    import compose_make
    return compose_make.nets(args)


def masked(args):
    import compose_make
    return compose_make.masked(args)


def shrink(args):
    import compose_make
    return compose_make.shrink(args)


def check(args):
    import compose_check
    return compose_check.check(args)


# --- convert --------------------------------------------------------------------------------------------------------
TARGETS = ("onnx", "torch", "keras", "h5", "keras2", "savedmodel", "tfjs", "safetensors")
BATCH = 40
OLD = ("keras2", "tfjs")


# What a container's files end in; each lies in a folder of its name, these two beside the recipes. An architecture beside
# weights is NAME.json.
PLAIN = ("h5", "keras")
CONTAINERS = {"h5": ".h5", "keras": ".keras", "json_h5": ".h5", "json_v3": ".weights.h5", "directory": "", "sharded": "",
              "json_shards": ".weights.json", "again": ".keras", "again_h5": ".h5", "int8": ".keras", "lora": ".keras",
              "saved_model": "", "plain": "", "export": "",
              "round_tfjs": "_tfjs", "round_savedmodel": "_savedmodel", "round_keras": ".keras", "round_h5": ".h5",
              "round_keras2": ".h5"}
TRACED = ("export", "plain")


def stem_of(out, container, name):
    return os.path.join(out, name) if container in PLAIN else os.path.join(out, container, name)


def artifacts(out, only):
    """(model, container, path, architecture) of everything that `make` left."""
    for recipe in sorted(glob.glob(os.path.join(out, "*.recipe.json"))):
        name = os.path.basename(recipe)[:-len(".recipe.json")]
        if only and not any(part in name for part in only):
            continue
        for container, end in CONTAINERS.items():
            stem = stem_of(out, container, name)
            if os.path.exists(stem + end) and (container in PLAIN or os.path.exists(stem + ".golden.npz")):
                yield name, container, stem + end, stem + ".json" if os.path.exists(stem + ".json") else None


def recast(args, paths, targets, architecture, out):
    """Reports by path, of one command."""
    command = [args.recast, "convert", *paths, "--to", ",".join(targets), "--out", out, "--format", "json"]
    command += ["--plugins", args.plugins] if args.plugins else []
    command += ["--architecture", architecture] if architecture else []
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60 * len(paths) + 60)
    return {r["artifact"]: r for r in map(json.loads, done.stdout.splitlines())}, done.stderr


def outcome(report):
    """What became of one model at one or several targets."""
    if report is None:
        return {"status": "crash", "errors": [["crash", "", "no report"]]}
    errors = [[d["code"], str(d["at"]), d["detail"]] for d in report["diagnostics"] if d["severity"] == "error"]
    return {"status": report["status"], "errors": errors}


def wanted(args, container):
    targets = args.target or [t for t in TARGETS if t not in ("safetensors", "tfjs")]
    # A graph that Keras 3 exported has no layers to write.
    return [t for t in targets if container not in TRACED or t in ("onnx", "torch", "savedmodel")]


def rows_of(args, model, report, targets, out):
    """A row per target; where one target's refusal hides the others, each is asked alone."""
    name, container, path, architecture = model
    rows = []
    for target in targets:
        row = {"name": name, "container": container, "artifact": path, "target": target}
        found = report
        if found is None or len(targets) > 1 and not any(o["target"] == target for o in found["outputs"]):
            found = recast(args, [path], [target], architecture, os.path.join(out, "alone", target))[0].get(path)
        row.update(outcome(found))
        for output in (found or {"outputs": []})["outputs"]:
            if output["target"] == target:
                row.update(path=os.path.join(found["bundle"], output["path"]), sha256=output["sha256"],
                           level=output["verification"]["level"])
        rows.append(row)
    return rows


def rows_together(args, group, targets, out):
    rows, plain = [], [m for m in group if not m[3]]
    for first in range(0, len(plain), BATCH):
        batch = plain[first:first + BATCH]
        reports, _ = recast(args, [m[2] for m in batch], targets, None, out)
        for model in batch:
            rows += rows_of(args, model, reports.get(model[2]), targets, out)
    for model in (m for m in group if m[3]):
        report = recast(args, [model[2]], targets, model[3], out)[0].get(model[2])
        rows += rows_of(args, model, report, targets, out)
    return rows


def convert(args):
    out = os.path.join(args.out, "out")
    shutil.rmtree(out, ignore_errors=True)
    todo, rows = list(artifacts(args.out, args.only)), []
    for layers in (True, False):
        group = [m for m in todo if (m[1] not in TRACED) == layers]
        targets = wanted(args, "h5" if layers else "export")
        # One target's refusal hides the others: those that refuse often are asked apart.
        for together in ([t for t in targets if t in OLD], [t for t in targets if t not in OLD]):
            if group and together:
                # A bundle takes the place of one with other targets.
                rows += rows_together(args, group, together, os.path.join(out, together[0]))
    with open(os.path.join(args.out, "rows.json"), "w") as file:
        json.dump(rows, file, indent=0)
    tables(rows, args.width)
    return 0


def rounds(args):
    """What was written last lies as a container beside the others, with its golden."""
    with open(os.path.join(args.out, "rows.json")) as file:
        rows = [row for row in json.load(file) if "path" in row and f"round_{row['target']}" in CONTAINERS]
    for row in rows:
        container = f"round_{row['target']}"
        stem = stem_of(args.out, container, row["name"])
        os.makedirs(os.path.dirname(stem), exist_ok=True)
        copy = shutil.copytree if os.path.isdir(row["path"]) else shutil.copyfile
        shutil.rmtree(stem + CONTAINERS[container], ignore_errors=True)
        copy(row["path"], stem + CONTAINERS[container])
        golden = os.path.join(args.out, row["name"] + ".golden.npz")
        for beside in {stem, stem + CONTAINERS[container]}:
            # The stem tells that the container is there, and the file's own name is what recast looks for.
            shutil.copyfile(golden, (stem if beside == stem else os.path.splitext(beside)[0]) + ".golden.npz")
    print(f"{len(rows)} files")
    return 0


def tables(rows, width=230):
    """Counts by container and target, and each kind of refusal with one example."""
    for container in sorted({row["container"] for row in rows}):
        for target in TARGETS:
            of = [r for r in rows if r["container"] == container and r["target"] == target]
            if of:
                states = {s: sum(r["status"] == s for r in of) for s in sorted({r["status"] for r in of})}
                golden = sum(r.get("level") == "golden" for r in of)
                print(f"{container:12} {target:11} {len(of):5} models: {states}, {golden} golden")
    kinds = {}
    for row in rows:
        for code, at, detail in row["errors"]:
            shape = "".join("#" if c.isdigit() else c for c in detail)[:70]
            kinds.setdefault((row["target"], code, shape), []).append((row, at, detail))
    for (target, code, _), found in sorted(kinds.items(), key=lambda item: -len(item[1])):
        row, at, detail = found[0]
        models = len({each[0]["name"] for each in found})
        print(f"{models:4} {target:10} {code}: {row['name']}.{row['container']} at {at}: {detail[:width]}")


def report(args):
    with open(os.path.join(args.out, "rows.json")) as file:
        tables(json.load(file), args.width)
    for path in sorted(glob.glob(os.path.join(args.out, "checked.*.json"))):
        with open(path) as file:
            checked = json.load(file)
        for target in sorted({row["target"] for row in checked}):
            of = [row for row in checked if row["target"] == target]
            bad = [row for row in of if row["why"]]
            print(f"{os.path.basename(path)} {target}: {len(of) - len(bad)} of {len(of)} right")
            for row in bad:
                print(f"   {row['name']}.{row['container']}: {row['why'][:args.width]}")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("make", "nets", "masked", "rounds", "convert", "check", "report", "shrink"))
    parser.add_argument("out")
    parser.add_argument("what", nargs="*", help="shrink: NAME CONTAINER TARGET")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--only", action="append")
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--recast", default=os.path.join(HERE, "..", "..", "target", "release", "recast"))
    parser.add_argument("--plugins")
    parser.add_argument("--width", type=int, default=230)
    args = parser.parse_args()
    args.out = os.path.abspath(args.out)
    os.makedirs(args.out, exist_ok=True)
    steps = (make, nets, masked, convert, rounds, check, report, shrink)
    return {step.__name__: step for step in steps}[args.step](args)


if __name__ == "__main__":
    sys.exit(main())
