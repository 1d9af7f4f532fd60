"""The matrix converted and compared: what `run.py --set matrix [--target torch]` runs.

One `recast convert` takes a batch of models. Each written file runs on the recorded inputs (in ONNX Runtime or PyTorch);
what it gives must be what Keras gave. A refusal must be one that matrix_refusals.json foresees: a list of {"target"?,
"set"?, "cases" (a pattern of whole names), "container"?, "code", "says"? (a part of the detail), "why"}, each of which
must apply to some case. The code `onnxruntime` is for files that are right by the standard and that ONNX Runtime has no
kernels for.
"""
import collections
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime

from kit_common import Wrong, difference, home

HERE = os.path.dirname(os.path.abspath(__file__))
SETS = ("keras3", "keras2")


def load(which):
    folder = os.path.join(home(), "matrix", which)
    with open(os.path.join(folder, "cases.json")) as file:
        return folder, json.load(file)["cases"]


def models(args):
    """(set, case name, container, path, case) of every model that the arguments ask for."""
    found = []
    for which in args.sets or SETS:
        folder, cases = load(which)
        for number, (name, case) in enumerate(sorted(cases.items())):
            if args.only and not any(part in name for part in args.only):
                continue
            held = case["containers"]
            held = [held[number % len(held)]] if args.once else held
            found += [(which, name, c, os.path.join(folder, f"{name}.{c}"), case) for c in held]
    shard, shards = (int(part) for part in args.shard.split("/"))
    return found[::args.sample][shard::shards]


def convert(args, paths, out):
    """Reports by path."""
    command = [args.recast, "convert", *paths, "--to", args.target, "--out", out, "--format", "json"]
    command += ["--plugins", args.plugins] if args.plugins else []
    command += [] if args.verify else ["--no-verify"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=args.timeout * len(paths))
    reports = {}
    for line in done.stdout.splitlines():
        report = json.loads(line)
        reports[report["artifact"]] = report
    if len(reports) != len(paths):
        missing = sorted(set(paths) - set(reports))
        print(f"no report for {missing[:3]}: {done.stderr[-300:]}", file=sys.stderr)
    return reports


def compare(target, report, wants, case):
    """Runs the written file on the recorded inputs; the largest absolute error."""
    outputs = [o for o in report["outputs"] if o["target"] == target]
    names, run_on = RUNNERS[target](os.path.join(report["bundle"], outputs[0]["path"]))
    with np.load(wants, allow_pickle=True) as file:
        arrays = {key: file[key] for key in file.files}
    if len(names) != sum(key[0] == "x" for key in arrays):
        raise Wrong(f"{len(names)} inputs")
    got = run_on([arrays[f"x{i}"] for i in range(len(names))])
    wanted = [arrays[f"y{i}"] for i in range(sum(key[0] == "y" for key in arrays))]
    if len(got) != len(wanted):
        raise Wrong(f"{len(got)} outputs, {len(wanted)} wanted")
    return max(difference(i, np.asarray(g), w, case) for i, (g, w) in enumerate(zip(got, wanted)))


def onnx_runner(path):
    """The names of the inputs, and what computes the outputs from their values."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return names, lambda values: session.run(None, dict(zip(names, values)))


def torch_runner(path):
    # Only here: the other environments have no PyTorch.
    import run_torch
    module = run_torch.package(path)
    model = module.load()
    return module.INPUTS, lambda values: run_torch.call(model, values)


RUNNERS = {"onnx": onnx_runner, "torch": torch_runner}


def check(target, model, report, refusals):
    """One row: passed, refused (by which rule), or wrong (why)."""
    which, name, container, path, case = model
    row = {"target": target, "set": which, "case": name, "container": container, "outcome": "wrong", "abs": None, "why": "",
           "codes": [], "level": "-", "rule": None}
    if report is None:
        return dict(row, why="no report")
    errors = [d for d in report["diagnostics"] if d["severity"] == "error"]
    row["codes"] = sorted({d["code"] for d in errors})
    if report["status"] not in ("verified", "unverified"):
        row["why"] = "; ".join(f"{d['code']} {d['at']}: {d['detail']}" for d in errors[:2])
        row = foreseen(row, refusals)
        return dict(row, outcome="lost") if row["outcome"] == "wrong" and container in case.get("lost", {}) else row
    row["level"] = (report["outputs"][0].get("verification") or {}).get("level", "-")
    try:
        row["abs"] = compare(target, report, re.sub(r"\.\w+$", ".want.npz", path), case)
        row["outcome"] = "passed"
    except Exception as error:
        row["why"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if container in case.get("lost", {}):
            # The file does not hold what the live model computed: its own Keras does not get that from it, either.
            return dict(row, outcome="lost", why=case["lost"][container])
        if type(error).__module__.startswith("onnxruntime"):
            row["codes"] = ["onnxruntime"]
            return foreseen(row, refusals)
    return row


def foreseen(row, refusals):
    """The row as refused, where a rule says so."""
    major = dict(row, set=re.match(r"keras\d", row["set"])[0])
    for index, rule in enumerate(refusals):
        at = all(rule.get(key, major[key]) == major[key] for key in ("target", "set", "container"))
        said = rule["code"] in row["codes"] and rule.get("says", "") in row["why"]
        if at and said and fnmatch.fnmatchcase(row["case"], rule["cases"]):
            return dict(row, outcome="refused", rule=index)
    return row


def counts(rows, cases):
    """Per class: [passed, refused] models that are about it; committed, and printed in the README."""
    table = {}
    for row in rows:
        # Models inside of wrappers are no layers.
        for subject in set(cases[row["set"], row["case"]]["subject"]) - {"Sequential", "Functional"}:
            entry = table.setdefault(subject, [0, 0])
            entry[0] += row["outcome"] == "passed"
            entry[1] += row["outcome"] == "refused"
    return dict(sorted(table.items()))


def summary(rows, refusals):
    for outcome in ("passed", "refused", "lost", "wrong"):
        by_set = collections.Counter(row["set"] for row in rows if row["outcome"] == outcome)
        print(f"{outcome}: {by_set.total()} " + str(dict(by_set)))
    for index, rule in enumerate(refusals):
        hits = sum(row["rule"] == index for row in rows)
        if hits:
            print(f"  refused {hits} {rule['code']} ({rule['cases']}): {rule['why']}")
    levels = {level: sum(row["level"] == level for row in rows) for level in {row["level"] for row in rows}}
    print(f"levels: {levels}")
    compared = [row for row in rows if row["abs"] is not None]
    if compared:
        worst = max(compared, key=lambda row: row["abs"])
        print(f"largest absolute error {worst['abs']:.2e} ({worst['case']}.{worst['container']})")
    return bool(compared) and not any(row["outcome"] == "wrong" for row in rows)


def run(args):
    """Whether all models passed or were refused as foreseen."""
    with open(os.path.join(HERE, "matrix_refusals.json")) as file:
        refusals = json.load(file)
    everything = models(args)
    rows = []
    for at in range(0, len(everything), args.batch):
        batch = everything[at:at + args.batch]
        out = tempfile.mkdtemp(prefix="recast-matrix-")
        try:
            reports = convert(args, [model[3] for model in batch], out)
            for model in batch:
                row = check(args.target, model, reports.get(model[3]), refusals)
                rows.append(row)
                if row["outcome"] == "wrong":
                    print(f"WRONG {row['set']} {row['case']}.{row['container']}: {row['why'][:260]}", flush=True)
        finally:
            shutil.rmtree(out, ignore_errors=True)
    good = summary(rows, refusals)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rows, file, indent=0)
    if not args.only and args.sample == 1 and not args.sets and args.shard == "0/1":
        good = finish(args.target, rows) and good
    return good


def finish(target, rows):
    """Writes the counts of all rows; whether every rule for refusals applied."""
    with open(os.path.join(HERE, "matrix_refusals.json")) as file:
        refusals = json.load(file)
    stale = [rule for i, rule in enumerate(refusals)
             if rule.get("target", target) == target and not any(row["rule"] == i for row in rows)]
    for rule in stale:
        print(f"no case is refused by {rule}")
    cases = {(which, name): case for which in SETS for name, case in load(which)[1].items()}
    write_counts(target, counts(rows, cases))
    return not stale


def write_counts(target, table):
    """The counts of one target in place of its former ones; what is known of other targets stays."""
    path = os.path.join(HERE, "matrix_counts.json")
    with open(path) as file:
        known = json.load(file)
    merged = {}
    for name in sorted(set(known) | set(table)):
        entry = {key: value for key, value in known.get(name, {}).items() if key != target}
        entry |= {target: table[name]} if name in table else {}
        merged |= {name: dict(sorted(entry.items()))} if entry else {}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in merged.items())
    with open(path, "w") as file:
        file.write("{\n" + lines + "\n}\n")


def main():
    """The rows of several shards as one result: matrix_run.py ROWS.json..."""
    rows = []
    for path in sys.argv[1:]:
        with open(path) as file:
            rows += json.load(file)
    with open(os.path.join(HERE, "matrix_refusals.json")) as file:
        good = summary(rows, json.load(file))
    targets = {row["target"] for row in rows}
    if len(targets) != 1:
        sys.exit(f"rows of {sorted(targets)}: those of one target, please")
    return 0 if finish(targets.pop(), rows) and good else 1


if __name__ == "__main__":
    sys.exit(main())
