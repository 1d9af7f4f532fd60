"""There and back: .h5 and .keras -> SavedModel -> .h5 and .keras; every array of Keras' own file bit for bit.

    keras3/bin/python savedmodel_round.py [--recast target/release/recast] [--plugins DIR] FILE...

Exit code 1 if anything was not as expected, or if there was nothing to check.
"""
import argparse
import collections
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile

import h5py


def arrays(path):
    """How often each array is there, by dtype, shape and bytes: names are not the same in both formats."""
    if path.endswith(".keras"):
        with zipfile.ZipFile(path) as archive:
            path = io.BytesIO(archive.read("model.weights.h5"))
    found = collections.Counter()

    def visit(name, node):
        # What the optimizer keeps is not carried over, and is known to be.
        if isinstance(node, h5py.Dataset) and not name.startswith(("optimizer", "/optimizer")):
            found[(str(node.dtype), node.shape, node[()].tobytes())] += 1

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


def computed(found):
    """Without the seeds of dropout, which no inference computes with."""
    seed = lambda key: key[0] == "uint32" and key[1] == (2,)
    return collections.Counter({key: n for key, n in found.items() if not seed(key)})


def convert(args, path, targets, out):
    command = [args.recast, "convert", path, "--to", targets, "--out", out, "--format", "json"]
    if args.plugins:
        command += ["--plugins", args.plugins]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    report = json.loads(done.stdout)
    if report["status"] != "verified":
        raise RuntimeError(f"{report['status']}: {report['diagnostics'][:2]}")
    return {o["target"]: os.path.join(report["bundle"], o["path"].rstrip("/")) for o in report["outputs"]}


def round_trip(args, path):
    with tempfile.TemporaryDirectory() as work:
        saved = convert(args, path, "savedmodel", os.path.join(work, "there"))["savedmodel"]
        back = convert(args, saved, "h5,keras", os.path.join(work, "back"))
        own = computed(arrays(path))
        for target, file in back.items():
            found = computed(arrays(file))
            # Keras 3 stores what two layers share twice in one of its formats, once in the other.
            alike = found == own if path.endswith("." + target) else found.keys() == own.keys()
            if not alike:
                lost, new = own - found, found - own
                raise RuntimeError(f"{target}: {sum(lost.values())} arrays lost, {sum(new.values())} are new")
        return sum(own.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    parser.add_argument("--recast", default=os.path.join(root, "target", "release", "recast"))
    parser.add_argument("--plugins", help="passed on to recast convert")
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    wrong = compared = 0
    for path in args.files:
        try:
            if not computed(arrays(path)):
                print(f"{path}: no weights", flush=True)
                continue
            print(f"{path}: {round_trip(args, path)} arrays, the same in .h5 and .keras", flush=True)
            compared += 1
        except Exception as error:
            wrong += 1
            print(f"WRONG {path}: {error}", flush=True)
    print(f"{len(args.files)} models, {compared} the same, not as expected: {wrong}")
    return 0 if compared and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
