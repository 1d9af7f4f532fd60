"""Files of old frameworks, made by these and converted: what of it is right, refused and wrong.

    keras3/bin/python check.py [VERSION]... [--make] [--only PART]... [--targets T,T] [--recast PATH] [--plugins DIR] [--json FILE]

`--make` has each version of `environments.py` make its models first (into RECAST_CONFORMANCE_HOME/old/VERSION). Every
model is then converted to onnx and keras; recast verifies against the outputs that the old framework gave. A refusal must
be one that refusals.json foresees: a list of {"cases" (a pattern of whole names), "versions"? (a pattern), "code", "says"?
(a part of the detail), "why"}.
"""
import argparse
import collections
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile

import environments

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "..", "..", ".."))
REFUSALS = {"unknown-layer", "unknown-format", "unsupported-layer", "unsupported-op", "unsupported-type", "unsafe-code",
            "unsupported-container", "architecture-missing", "random-at-inference"}


def folder_of(name):
    return os.path.join(environments.home(), "old", name)


def make(name, args):
    version = environments.VERSIONS[name]
    folder = folder_of(name)
    if not args.only:
        shutil.rmtree(folder, ignore_errors=True)
    command = [environments.python_of(version), os.path.join(HERE, "make.py"), "--out", folder]
    command += [word for part in args.only for word in ("--only", part)] + ["--models", args.models, "--layers", args.layers]
    # Keras keeps its defaults in the home directory, and versions disagree about them.
    with tempfile.TemporaryDirectory() as home:
        env = dict(os.environ, HOME=home, OLD_KERAS=name, PYTHONPATH=environments.keras_of(version),
                   PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1", TF_NUM_INTRAOP_THREADS="1",
                   TF_NUM_INTEROP_THREADS="1")
        subprocess.run(command, env=env, check=True)


def models_of(name, only):
    """Paths by case name, of one version."""
    with open(os.path.join(folder_of(name), "cases.json")) as file:
        cases = json.load(file)["cases"]
    found = {}
    for case, about in sorted(cases.items()):
        if not only or any(part in case for part in only):
            end = "" if about["save"] == "savedmodel" else ".h5"
            found[case] = os.path.join(folder_of(name), case + end)
    return found


def convert(args, paths, targets):
    """Reports by path."""
    out = tempfile.mkdtemp(prefix="recast-old-")
    command = [args.recast, "convert", *paths, "--to", targets, "--out", out, "--format", "json"]
    command += ["--plugins", args.plugins] if args.plugins else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60 * len(paths))
    finally:
        shutil.rmtree(out, ignore_errors=True)
    reports = {}
    for line in done.stdout.splitlines():
        report = json.loads(line)
        reports[report["artifact"]] = report
    for path in set(paths) - set(reports):
        print(f"no report: {path}: {done.stderr[-300:]}", file=sys.stderr)
    return reports


def judge(report):
    """(outcome, why, error): `golden`, `refused` or `wrong`."""
    if report is None:
        return "wrong", "no report", None
    errors = [d for d in report["diagnostics"] if d["severity"] == "error"]
    why = "; ".join(f"{d['code']} {d['at']}: {d['detail']}" for d in errors[:3])
    if report["status"] == "verified":
        levels = {o["target"]: o["verification"] for o in report["outputs"]}
        first = levels.get("onnx") or next(iter(levels.values()))
        if "onnx" in levels and first["level"] != "golden":
            return "wrong", f"level {first['level']}", None
        return "golden", "", first.get("max_abs_error")
    codes = {d["code"] for d in errors}
    return ("refused" if codes and codes <= REFUSALS else "wrong"), why or report["status"], None


def foreseen(refusals, name, case, why):
    for index, rule in enumerate(refusals):
        at = fnmatch.fnmatchcase(case, rule["cases"]) and fnmatch.fnmatchcase(name, rule.get("versions", "*"))
        if at and rule["code"] in why and rule.get("says", "") in why:
            return index
    return None


def check(args, name, refusals):
    """Rows of one version: {"version", "case", "target", "outcome", "why", "error", "rule"}."""
    models = models_of(name, args.only)
    rows = []
    for targets in args.targets:
        paths = list(models.values())
        reports = {}
        for at in range(0, len(paths), args.batch):
            reports.update(convert(args, paths[at:at + args.batch], targets))
        for case, path in models.items():
            outcome, why, error = judge(reports.get(path))
            rule = foreseen(refusals, name, case, why) if outcome != "golden" else None
            outcome = outcome if rule is None else "refused"
            rows.append({"version": name, "case": case, "target": targets, "outcome": outcome, "why": why,
                         "error": error, "rule": rule})
    return rows


def summary(name, rows):
    for target in sorted({row["target"] for row in rows}):
        of = [row for row in rows if row["target"] == target]
        outcomes = collections.Counter(row["outcome"] for row in of)
        errors = [row["error"] for row in of if row["error"] is not None]
        print(f"{name} {target}: {len(of)} cases, " + ", ".join(f"{n} {o}" for o, n in outcomes.most_common())
              + (f", largest error {max(errors):.2e}" if errors else ""))
    for row in rows:
        if row["outcome"] == "wrong" or row["outcome"] == "refused" and row["rule"] is None:
            print(f"  {row['outcome'].upper()} {row['target']} {row['case']}: {row['why'][:300]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", default=list(environments.VERSIONS))
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--models", default="1", help="see make.py")
    parser.add_argument("--layers", default="8", help="see make.py")
    parser.add_argument("--only", action="append", default=[], help="only cases whose name contains this")
    parser.add_argument("--recast", default=os.path.join(ROOT, "target", "release", "recast"))
    parser.add_argument("--plugins")
    parser.add_argument("--targets", type=lambda text: text.split(","), default=["onnx", "keras"])
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--json", help="write all rows there")
    args = parser.parse_args()
    with open(os.path.join(HERE, "refusals.json")) as file:
        refusals = json.load(file)
    rows = []
    for name in args.versions:
        if args.make:
            make(name, args)
        found = check(args, name, refusals)
        summary(name, found)
        rows += found
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rows, file, indent=0)
    good = rows and all(row["outcome"] == "golden" or row["rule"] is not None for row in rows)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
