"""Converts every model with the recast binary and compares what ONNX Runtime computes with what Keras computed.

    keras3/bin/python run.py [--recast target/release/recast] [--set fixtures|zoo|published|samples]... [--only PART]...
    keras3/bin/python run.py --set matrix [--sets keras2|keras3] [--only PART]... [--sample N]      (see matrix_run.py)
    torch/bin/python run.py --target torch ...

With `--target torch`, PyTorch is what computes; other batch sizes and lengths than the recorded ones are compared with
the ONNX file of the same model.

Exit code 1 if anything was not as expected, or if there was nothing to check. Results: a table here, and --json FILE.
"""
import argparse
import collections
import glob
import json
import os
import subprocess
import sys
import tempfile
import time

import matrix_run
import numpy as np
import onnx
import onnxruntime
from kit_common import ATOL, RTOL, Wrong, apart, home

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))
LEVELS = ("golden", "oracle", "reference")
SETS = ("samples", "fixtures", "zoo", "published")


# --- what there is to convert ---------------------------------------------------------------------------------------
def models_under(folder, prefix):
    """(name, artifact, architecture or None, golden or None) of every model file under a folder."""
    found = glob.glob(os.path.join(glob.escape(folder), "**", "*"), recursive=True)
    for path in sorted(p for p in found if p.endswith((".h5", ".hdf5"))):
        stem = path
        for end in (".weights.h5", ".hdf5", ".h5"):
            if path.endswith(end):
                stem = path[:-len(end)]
                break
        architecture, golden = stem + ".json", stem + ".golden.npz"
        yield (prefix + os.path.relpath(stem, folder), path, architecture if os.path.exists(architecture) else None,
               golden if os.path.exists(golden) else None)


def models_of(which):
    if which == "fixtures":
        return [m for k in (2, 3) for m in models_under(os.path.join(HERE, "..", which, f"keras{k}"), f"keras{k}/")]
    if which == "samples":
        return list(models_under(os.path.join(HERE, "..", which), "samples/"))
    return list(models_under(os.path.join(home(), which), f"{which}/"))


def expectations():
    """Fixture -> {"code", "why"}: the ones that are refused."""
    with open(os.path.join(HERE, "..", "fixtures", "expected.json")) as file:
        return json.load(file)


def refusal(table, name):
    """The code that a model is refused with, by its full name or its bare case name, or None."""
    entry = table.get(name) or (table.get(name.split("/", 1)[1]) if name.startswith("keras") else None)
    return entry and entry["code"]


def is_expected(args, report, refused):
    if refused:
        return report["status"] in ("failed", "parked") and refused in {d.get("code") for d in report["diagnostics"]}
    return report["status"] == "verified" or (args.no_verify and report["status"] == "unverified")


# --- one conversion -------------------------------------------------------------------------------------------------
def convert(args, artifact, architecture, out):
    targets = "onnx" if args.target == "onnx" else f"{args.target},onnx"
    command = [args.recast, "convert", artifact, "--to", targets, "--out", out, "--format", "json"]
    if args.no_verify:
        command.append("--no-verify")
    if architecture:
        command += ["--architecture", architecture]
    if args.plugins:
        command += ["--plugins", args.plugins]
    began = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=args.timeout)
        code, stdout, stderr = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        code, stdout, stderr = -1, "", f"no end after {args.timeout} s"
    return code, stdout, stderr, (time.monotonic() - began) * 1000


def parse(code, stdout, stderr):
    lines = [line for line in stdout.splitlines() if line.strip()]
    if len(lines) != 1:
        raise Wrong(f"exit {code}, {len(lines)} lines on stdout instead of 1: {tail(stderr)}")
    try:
        report = json.loads(lines[0])
    except ValueError as error:
        raise Wrong(f"exit {code}, stdout is not JSON ({error})")
    missing = [key for key in ("artifact", "digest", "status", "outputs", "diagnostics") if key not in report]
    if missing:
        raise Wrong(f"the JSON lacks {', '.join(missing)}")
    if report["status"] not in ("verified", "unverified", "parked", "failed"):
        raise Wrong(f"unknown status {report['status']!r}")
    wanted = {"verified": {0}, "unverified": {0, 5}, "parked": {3}, "failed": {1, 3, 4, 5, 6, 7}}[report["status"]]
    if code not in wanted:
        raise Wrong(f"status {report['status']} with exit code {code}")
    return report


def tail(text, size=200):
    text = " ".join(text.split())
    return text if len(text) <= size else "..." + text[-size:]


def output_file(report, target):
    outputs = [o for o in report["outputs"] if o.get("target") == target]
    if len(outputs) != 1:
        raise Wrong(f"{len(outputs)} {target} outputs")
    path = os.path.join(report["bundle"], outputs[0]["path"])
    if not os.path.isabs(report["bundle"]) or not os.path.exists(path):
        raise Wrong(f"nothing at {path}")
    return path, outputs[0].get("verification") or {}


def feeds(session, arrays):
    """Golden inputs by name where names were recorded, else by the order of the model's inputs."""
    inputs = session.get_inputs()
    recorded = [key for key in arrays if key.startswith("x")]
    if len(recorded) != len(inputs):
        raise Wrong(f"{len(inputs)} inputs in the file, {len(recorded)} in the golden")
    return {each.name: arrays[f"x{i}"] for i, each in enumerate(inputs)}


def compare(path, golden):
    """Runs the file; returns (max abs error, max rel error), relative to the larger of |wanted| and 1% of the spread."""
    onnx.checker.check_model(path)
    session = onnx_session(path)
    with np.load(golden) as file:
        arrays = {key: file[key] for key in file.files}
    return compared(session.run(None, feeds(session, arrays)), arrays)


def onnx_session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def compared(got, arrays):
    wanted = [arrays[f"y{i}"] for i in range(sum(key.startswith("y") for key in arrays))]
    if not wanted or len(got) != len(wanted):
        raise Wrong(f"{len(got)} outputs, {len(wanted)} wanted")
    largest, relative = 0.0, 0.0
    for i, (g, w) in enumerate(zip(got, wanted)):
        absolute, share = difference(i, np.asarray(g), w)
        largest, relative = max(largest, absolute), max(relative, share)
    return largest, relative


def difference(i, got, wanted):
    """Largest absolute error, and largest relative one."""
    if wanted.size == 0:
        raise Wrong(f"output {i}: nothing to compare")
    largest = apart(f"output {i}", got, wanted, RTOL, ATOL)
    g, w = got.astype(np.float64), wanted.astype(np.float64)
    floor = max(0.01 * float(w.max() - w.min()), 1e-12)
    return largest, float((np.abs(g - w) / np.maximum(np.abs(w), floor)).max())


# --- all of them ----------------------------------------------------------------------------------------------------
def check(args, model, table, out):
    """One row of the result."""
    name, artifact, architecture, golden = model
    row = {"model": name, "status": "-", "ok": False, "level": "-", "runtime": "-", "ms": 0.0, "mb": 0.0,
           "abs": None, "rel": None, "why": "", "codes": []}
    refused = refusal(table, name)
    try:
        code, stdout, stderr, row["ms"] = convert(args, artifact, architecture, out)
        row["mb"] = os.path.getsize(artifact) / 1e6
        report = parse(code, stdout, stderr)
        row["status"] = report["status"]
        errors = [d for d in report["diagnostics"] if d.get("severity") == "error"] or report["diagnostics"]
        row["codes"] = sorted({str(d.get("code")) for d in errors})
        row["why"] = "; ".join(f"{d.get('at')}: {d.get('detail')}" for d in errors[:3]) if errors else ""
        if report["status"] in ("verified", "unverified"):
            row["codes"], row["why"] = [], ""
            path, verification = output_file(report, args.target)
            row["level"], row["runtime"] = verification.get("level", "-"), verification.get("runtime") or "-"
            if args.target == "onnx" and report["status"] == "verified" and row["level"] not in LEVELS:
                raise Wrong(f"verified at level {row['level']}")
            if args.target == "torch":
                row["abs"], row["rel"] = run_torch.compare(path, output_file(report, "onnx")[0], golden)
            elif golden:
                row["abs"], row["rel"] = compare(path, golden)
            elif not artifact.startswith(os.path.join(home(), "published")):
                raise Wrong("no golden to compare with")
        row["ok"] = is_expected(args, report, refused)
        if not row["ok"] and not row["why"]:
            row["why"] = f"should be {refused or 'verified'}"
    except Wrong as error:
        row["why"] = str(error)
    except Exception as error:
        row["why"] = f"{type(error).__name__}: {tail(str(error), 300)}"
    return row


def show(row):
    number = lambda value: "-" if value is None else f"{value:.1e}"
    mark = "ok" if row["ok"] else "WRONG"
    print(f"{mark:5} {row['model']:44} {row['status']:10} {row['level']:9} {row['runtime'][:16]:16} {row['ms']:8.0f} "
          f"{number(row['abs']):>8} {number(row['rel']):>8}  {','.join(row['codes'])} {row['why'][:200]}", flush=True)


RUNTIMES = {"onnx": lambda: f"ONNX Runtime {onnxruntime.__version__}", "torch": lambda: f"PyTorch {run_torch.VERSION}"}


def summary(args, rows):
    """Prints the totals; returns whether all is as expected."""
    wrong = [row for row in rows if not row["ok"]]
    compared = [row for row in rows if row["abs"] is not None]
    statuses = collections.Counter(row["status"] for row in rows)
    print(f"\n{len(rows)} models: " + ", ".join(f"{n} {s}" for s, n in statuses.most_common()))
    levels = collections.Counter((row["level"], row["runtime"]) for row in rows if row["level"] != "-")
    print("levels: " + ", ".join(f"{n} {level} ({runtime})" for (level, runtime), n in levels.most_common()))
    codes = collections.Counter(code for row in rows for code in row["codes"])
    if codes:
        print("refusals: " + ", ".join(f"{n} {code}" for code, n in codes.most_common()))
    if compared:
        worst = max(compared, key=lambda row: row["abs"])
        print(f"compared with Keras in {RUNTIMES[args.target]()}: {len(compared)}; largest absolute error "
              f"{worst['abs']:.2e} ({worst['model']}), relative {max(row['rel'] for row in compared):.2e}")
    print(f"not as expected: {len(wrong)}")
    if not compared:
        print("nothing was compared: this run shows nothing")
    return bool(compared) and not wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recast", default=os.path.join(ROOT, "target", "release", "recast"))
    parser.add_argument("--target", choices=sorted(RUNTIMES), default="onnx")
    parser.add_argument("--no-verify", action="store_true", help="passed on: only this script judges")
    parser.add_argument("--plugins", help="passed on to recast convert")
    parser.add_argument("--set", action="append", choices=SETS + ("matrix",), help="default: all but the matrix")
    parser.add_argument("--sets", action="append", help=f"of the matrix; default: {' and '.join(matrix_run.SETS)}; "
                        "others, as keras3.5, are what versions.py made")
    parser.add_argument("--sample", type=int, default=1, help="of the matrix: every Nth model")
    parser.add_argument("--once", action="store_true", help="of the matrix: each case in one container, by turns")
    parser.add_argument("--shard", default="0/1", help="of the matrix: K/N, the Kth of N parts (matrix_run.py joins them)")
    parser.add_argument("--batch", type=int, default=100, help="of the matrix: models to one conversion")
    parser.add_argument("--verify", action="store_true", help="of the matrix: recast itself verifies, too")
    parser.add_argument("--only", action="append", default=[], help="only models whose name contains this")
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--json", help="write all rows there")
    parser.add_argument("--keep", help="keep the bundles in this directory")
    parser.add_argument("--quiet", action="store_true", help="print only what is wrong")
    args = parser.parse_args()
    if args.set == ["matrix"]:
        return 0 if matrix_run.run(args) else 1
    if args.target == "torch":
        # Only here: the other environments have no PyTorch.
        global run_torch
        import run_torch
    table = expectations()
    rows, empty = [], []
    for which in args.set or SETS:
        models = [m for m in models_of(which) if not args.only or any(part in m[0] for part in args.only)]
        print(f"# {which}: {len(models)} models", flush=True)
        empty += [which] if not models and not args.only else []
        for model in models:
            with tempfile.TemporaryDirectory(prefix="recast-conformance-") as temporary:
                out = os.path.join(args.keep, model[0]) if args.keep else temporary
                row = check(args, model, table, out)
            rows.append(row)
            if not args.quiet or not row["ok"]:
                show(row)
    good = summary(args, rows) and not empty
    if empty:
        print(f"no models at all in: {', '.join(empty)} (zoo.py and published.sh make them)")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"runtime": RUNTIMES[args.target](), "rtol": RTOL, "atol": ATOL, "models": rows}, file, indent=1)
    return 0 if good else 1


if __name__ == "__main__":
    # Under its own name, so that run_torch.py sees this module and not a second one.
    sys.modules["run"] = sys.modules["__main__"]
    sys.exit(main())
