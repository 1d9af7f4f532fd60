"""Benchmarks of whole processes, each beside its peers in the same run: prints a markdown table of medians and ratios.

    keras3/bin/python bench.py [--recast target/release/recast] [--runs 5] [--only PART]... [--no-peer]

Needs the zoo (tests/conformance/zoo.py) and, for tf2onnx, the `peer` environment (tests/conformance/setup.sh peer).
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))
sys.path.insert(0, os.path.join(HERE, "..", "conformance"))
LAYERS = (125, 250, 500, 1000)
PEER_SECONDS_MAX = 600


def home():
    default = os.path.join(os.path.expanduser("~"), ".cache", "recast-conformance")
    return os.environ.get("RECAST_CONFORMANCE_HOME", default)


# --- one process ----------------------------------------------------------------------------------------------------
@dataclass
class Measure:
    """Medians over runs of one command."""
    name: str
    seconds: list = field(default_factory=list)
    cpu: list = field(default_factory=list)
    peak_mb: list = field(default_factory=list)

    @property
    def wall(self):
        return statistics.median(self.seconds)

    @property
    def peak(self):
        return max(self.peak_mb)


class Stopped(Exception):
    """A command that took more than it may."""


def resident_mb(pid):
    """What the process holds in memory now; 0 once it is gone."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0


def run(command, environment=None, timeout=900, mb_max=None):
    """Wall seconds, CPU seconds, and peak MB of the largest single process among the command and its children."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        deadline = began + timeout
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            held = resident_mb(child.pid) if mb_max else 0
            if held > (mb_max or 0) or time.monotonic() > deadline:
                child.kill()
                os.waitpid(child.pid, 0)
                raise Stopped(f"stopped after {time.monotonic() - began:.0f} s"
                              + (f" at {held:.0f} MB (the bound is {mb_max})" if held else f" (the bound is {timeout})"))
            time.sleep(0.002)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        if child.returncode != 0:
            output.seek(0)
            said = output.read().decode(errors="replace")[-800:]
            raise RuntimeError(f"exit {child.returncode} of {' '.join(command)}\n{said}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


class Bench:
    def __init__(self, args, scratch):
        self.args, self.scratch = args, scratch
        self.rows = []

    def out(self):
        path = os.path.join(self.scratch, "out")
        shutil.rmtree(path, ignore_errors=True)
        return path

    def recast(self, model, *options):
        command = [self.args.recast, "convert", model, "--to", "onnx", "--out", self.out(), "--format", "json", *options]
        if self.args.plugins:
            command += ["--plugins", self.args.plugins]
        return command

    def round_robin(self, makers, runs=None):
        """Runs the commands in turn, so that a noisy machine hits all of them alike; the first turn warms the caches."""
        measures = {name: Measure(name) for name in makers}
        for turn in range((runs or self.args.runs) + 1):
            for name, make in makers.items():
                wall, cpu, peak = run(make())
                if turn:
                    measures[name].seconds.append(wall)
                    measures[name].cpu.append(cpu)
                    measures[name].peak_mb.append(peak)
        return measures

    def row(self, what, measure, note=""):
        low, high = min(measure.seconds), max(measure.seconds)
        self.rows.append((what, f"{measure.wall:.2f}", f"{low:.2f}-{high:.2f}", f"{statistics.median(measure.cpu):.2f}",
                          f"{measure.peak:.0f}", note))
        print("| " + " | ".join(self.rows[-1]) + " |", flush=True)


# --- what is measured -----------------------------------------------------------------------------------------------
def zoo(name, version="keras2"):
    path = os.path.join(home(), "zoo", version, f"{name}.h5")
    if not os.path.exists(path):
        raise RuntimeError(f"{path} is missing: {version}/bin/python tests/conformance/zoo.py {name}")
    return path


def without_golden(bench, path):
    """The model alone in a directory of its own: a golden beside it would be checked too."""
    alone = os.path.join(bench.scratch, os.path.basename(path))
    if not os.path.exists(alone):
        os.link(path, alone) if same_device(path, bench.scratch) else shutil.copy(path, alone)
    return alone


def same_device(a, b):
    return os.stat(a).st_dev == os.stat(b).st_dev


def resnet(bench):
    """Unverified conversion beside the least that any conversion must do: read, write and hash the file."""
    model = without_golden(bench, zoo("resnet50"))
    size = os.path.getsize(model) / 1e6
    copy = os.path.join(bench.scratch, "copy.h5")
    done = bench.round_robin({
        "cp": lambda: ["cp", model, copy],
        "cp + fsync": lambda: ["dd", f"if={model}", f"of={copy}", "bs=1M", "conv=fsync", "status=none"],
        "sha256sum": lambda: ["sha256sum", model],
        "recast": lambda: bench.recast(model, "--no-verify"),
        "recast verified": lambda: bench.recast(model),
    })
    floor = done["cp"].wall + done["sha256sum"].wall
    synced = done["cp + fsync"].wall + done["sha256sum"].wall
    bench.row("cp ResNet50.h5", done["cp"], f"{size:.0f} MB")
    bench.row("cp ResNet50.h5, fsynced", done["cp + fsync"], "recast fsyncs what it publishes")
    bench.row("sha256sum ResNet50.h5", done["sha256sum"])
    plain = done["recast"]
    bench.row("recast ResNet50 --no-verify", plain,
              f"{plain.wall / floor:.2f} x (cp + sha256sum), {plain.wall / synced:.2f} x with the fsync; "
              f"peak {plain.peak / size:.2f} x the file (bars: 2, 1.2)")
    bench.row("recast ResNet50 verified", done["recast verified"], "bar: 2 s")


def vgg(bench):
    model = without_golden(bench, zoo("vgg16"))
    size = os.path.getsize(model) / 1e6
    done = bench.round_robin({"plain": lambda: bench.recast(model, "--no-verify"),
                              "verified": lambda: bench.recast(model)}, runs=min(3, bench.args.runs))
    bench.row("recast VGG16 --no-verify", done["plain"], f"{size:.0f} MB; peak {done['plain'].peak / size:.2f} x the file")
    bench.row("recast VGG16 verified", done["verified"], "bar: 2000 MB")


def tf2onnx(bench, model):
    """tf2onnx, as its own documentation has one convert a Keras file, in its own environment."""
    python = os.path.join(home(), "peer", "bin", "python")
    if not os.path.exists(python):
        raise RuntimeError("no peer environment: tests/conformance/setup.sh peer")
    code = ("import sys, tensorflow as tf, tf2onnx; m = tf.keras.models.load_model(sys.argv[1], compile=False); "
            "tf2onnx.convert.from_keras(m, opset=17, output_path=sys.argv[2])")
    return [python, "-c", code, model, os.path.join(bench.scratch, "peer.onnx")]


def peer(bench):
    model = without_golden(bench, zoo("resnet50"))
    done = bench.round_robin({
        "tf2onnx": lambda: tf2onnx(bench, model),
        "recast": lambda: bench.recast(model, "--no-verify"),
        "recast verified": lambda: bench.recast(model),
    }, runs=min(3, bench.args.runs))
    theirs = done["tf2onnx"]
    bench.row("tf2onnx 1.17 ResNet50", theirs, "unverified")
    for name in ("recast", "recast verified"):
        ours = done[name]
        bench.row(f"{name} ResNet50, same run", ours,
                  f"{theirs.wall / ours.wall:.0f} x faster, {theirs.peak / ours.peak:.0f} x less memory than tf2onnx")


def peer_vgg(bench):
    """Once, and within bounds: it takes minutes, and more memory than many machines have."""
    measure = Measure("tf2onnx")
    try:
        wall, cpu, peak = run(tf2onnx(bench, without_golden(bench, zoo("vgg16"))), timeout=PEER_SECONDS_MAX,
                              mb_max=bench.args.peer_mb_max)
    except Stopped as stopped:
        bench.rows.append(("tf2onnx 1.17 VGG16", "-", "-", "-", "-", str(stopped)))
        print("| " + " | ".join(bench.rows[-1]) + " |", flush=True)
        return
    measure.seconds, measure.cpu, measure.peak_mb = [wall], [cpu], [peak]
    bench.row("tf2onnx 1.17 VGG16", measure, "unverified; one run")


def deep(bench):
    """1,000 layers in one .keras of ordinary size: what each layer costs beside what its bytes cost."""
    thousand(bench, "deep", 160)


def small(bench):
    """1,000 layers of next to no weights: processes, plugins and layers are all that there is."""
    thousand(bench, "small", 16)


def thousand(bench, name, width):
    chain_models(bench.scratch, name, (LAYERS[-1],), width, "keras")
    model = os.path.join(bench.scratch, f"{name}_{LAYERS[-1]}.keras")
    size = os.path.getsize(model) / 1e6
    copy = os.path.join(bench.scratch, "copy.keras")
    done = bench.round_robin({
        "cp": lambda: ["cp", model, copy],
        "sha256sum": lambda: ["sha256sum", model],
        "recast": lambda: bench.recast(model, "--no-verify"),
    })
    floor = done["cp"].wall + done["sha256sum"].wall
    bench.row("cp 1000 layers.keras", done["cp"], f"{size:.0f} MB")
    bench.row("sha256sum 1000 layers.keras", done["sha256sum"])
    bench.row("recast 1000 layers.keras --no-verify", done["recast"],
              f"{done['recast'].wall / floor:.2f} x (cp + sha256sum) (bar: 2)")


def chain_models(scratch, name, counts, width, extension):
    """Dense chains with a residual every fourth layer, made by Keras."""
    code = f"""
import sys
sys.setrecursionlimit(20 * {counts[-1]})  # Keras walks a chain of layers by recursion
sys.path.insert(0, {os.path.join(HERE, "..", "conformance")!r})
import kit, numpy as np
from keras import Input, Model, layers as L
for count in {counts!r}:
    kit.begin(str(count))
    x = y = Input(({width},), name="x")
    for i in range(count):
        y = L.Add(name=f"layer_{{i}}")([y, x]) if i % 4 == 3 else L.Dense({width}, activation="tanh", name=f"layer_{{i}}")(y)
    model = Model(x, y)
    kit.randomise(model, np.random.default_rng(count))
    path = {scratch!r} + f"/{name}_{{count}}.{extension}"
    kit.save_h5(model, path) if {extension!r} == "h5" else model.save(path)
"""
    run([sys.executable, "-c", code])


def scaling(bench):
    """Time per layer must not grow with the number of layers."""
    chain_models(bench.scratch, "chain", LAYERS, 16, "h5")
    def chains(*options):
        return {count: lambda c=count: bench.recast(os.path.join(bench.scratch, f"chain_{c}.h5"), *options)
                for count in LAYERS}
    done = bench.round_robin(chains("--no-verify"))
    checked = bench.round_robin(chains(), runs=min(3, bench.args.runs))
    for label, found in (("--no-verify", done), ("verified", checked)):
        for count in LAYERS:
            note = f"{found[count].wall / count * 1e3:.2f} ms per layer"
            if count == LAYERS[-1]:
                first, last = (statistics.median(found[n].cpu) for n in (LAYERS[0], count))
                note += f"; {count // LAYERS[0]} x the layers of the first row, {last / first:.1f} x its CPU time"
            bench.row(f"recast {count} layers {label}", found[count], note)


BENCHES = {"resnet": resnet, "vgg": vgg, "peer": peer, "peer_vgg": peer_vgg, "scaling": scaling, "deep": deep, "small": small}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recast", default=os.path.join(ROOT, "target", "release", "recast"))
    parser.add_argument("--plugins", help="passed on to recast convert")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", action="append", choices=list(BENCHES), default=[])
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--peer-mb-max", type=int, default=24_000, help="tf2onnx is stopped beyond that much memory")
    parser.add_argument("--scratch", help="a directory for copies and bundles (default: a temporary one)")
    parser.add_argument("--json", help="write the rows there")
    args = parser.parse_args()
    chosen = args.only or [name for name in BENCHES if not (name.startswith("peer") and args.no_peer)]
    failed = 0
    print("| whole process | median s | range s | CPU s | peak MB | |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="recast-bench-", dir=args.scratch) as scratch:
        bench = Bench(args, scratch)
        for name in chosen:
            try:
                BENCHES[name](bench)
            except Exception as error:
                failed += 1
                print(f"| {name} | FAILED | | | | {str(error)[:600]} |", flush=True)
    print(f"\n{args.runs} runs each after one to warm up, in turn with their peers; peak: the largest process of the command")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(bench.rows, file, indent=1)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
