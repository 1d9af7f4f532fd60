"""Runs converted packages in PyTorch: the part of run.py that needs it.

Each is imported as a stranger would, loaded with its own `load()`, and compared with Keras' recorded outputs, then with
the ONNX file of the same model for another batch size and, where there are free dimensions, two other lengths.
"""
import importlib.util
import os
import subprocess
import sys

import numpy as np
import torch

import run
from kit_common import apart

VERSION = torch.__version__
torch.set_num_threads(1)
BATCHES = (1, 3)


def lengths(recorded):
    """Two other lengths of an axis: long enough for the windows of a model that was recorded with a long one."""
    return max(9, recorded * 3 // 4), max(14, recorded + 5)


def package(path):
    name = f"converted_{abs(hash(path))}"
    init = os.path.join(path, "__init__.py")
    spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[path])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def call(model, arrays):
    with torch.no_grad():
        results = model(*[torch.from_numpy(np.array(array, order="C")) for array in arrays])
    results = results if isinstance(results, tuple) else (results,)
    return [result.to(torch.float32).numpy() if result.dtype == torch.bfloat16 else result.numpy() for result in results]


def compare(path, onnx_path, golden):
    """(max abs error, max rel error) over everything that was compared."""
    formatted(path)
    module = package(path)
    model = module.load()
    session = run.onnx_session(onnx_path)
    names = [each.name for each in session.get_inputs()]
    # ONNX must call an output that is also an input by another name.
    if tuple(names) != module.INPUTS or len(session.get_outputs()) != len(module.OUTPUTS):
        raise run.Wrong(f"inputs {module.INPUTS} and outputs {module.OUTPUTS} are not the ONNX file's")
    largest = relative = 0.0
    arrays = None
    if golden:
        with np.load(golden) as file:
            arrays = {key: file[key] for key in file.files}
        fed = run.feeds(session, arrays)
        found = run.compared(call(model, [fed[name] for name in names]), arrays)
        largest, relative = max(largest, found[0]), max(relative, found[1])
    for feed in variations(session, arrays):
        try:
            wanted = session.run(None, feed)
        except Exception:
            # Some lengths fit no model: too short for its windows, unequal where two inputs meet.
            continue
        got = call(model, [feed[name] for name in names])
        # What two float32 runtimes make of the same numbers; Keras' own numbers are the measure above.
        for i, (g, w) in enumerate(zip(got, map(np.asarray, wanted), strict=True)):
            if not w.size or not np.isfinite(w.astype(np.float64)).all():
                continue
            if w.dtype == np.float16:
                near(i, g, w)
                continue
            found = run.difference(i, g, w)
            largest, relative = max(largest, found[0]), max(relative, found[1])
    return largest, relative


def near(i, got, wanted):
    """Float16 whose steps were rounded in another order: some units in the last place of the largest number."""
    apart(f"output {i} in float16", got, wanted, 0, 8 * 2.0**-11 * np.abs(wanted.astype(np.float64)).max())


def variations(session, arrays):
    """Inputs of other batch sizes and lengths, made from the recorded ones."""
    generator = np.random.default_rng(7)
    inputs = session.get_inputs()
    free = {dim for each in inputs for dim in each.shape[1:] if isinstance(dim, str)}
    batched = any(isinstance(each.shape[0], str) for each in inputs if each.shape)
    if not free and not batched:
        return
    for which, batch in enumerate(BATCHES):
        feed = {}
        for i, each in enumerate(inputs):
            recorded = None if arrays is None else arrays.get(f"x{i}", arrays.get(each.name))
            known = [1] * len(each.shape) if recorded is None else recorded.shape
            shape = [dim if isinstance(dim, int) else (batch if axis == 0 else lengths(known[axis])[which])
                     for axis, dim in enumerate(each.shape)]
            feed[each.name] = sampled(generator, each.type, shape, recorded)
        yield feed


def sampled(generator, kind, shape, recorded):
    """Values drawn from the recorded ones, so that vocabularies and masks are kept."""
    if recorded is not None and recorded.size:
        return generator.choice(recorded.reshape(-1), size=shape).astype(recorded.dtype)
    if kind == "tensor(float)":
        return generator.normal(size=shape).astype(np.float32)
    dtype = {"tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(bool)": bool, "tensor(uint8)": np.uint8,
             "tensor(double)": np.float64, "tensor(float16)": np.float16}[kind]
    return generator.integers(0, 2, size=shape).astype(dtype)


def formatted(path):
    """Is the text as `ruff format` leaves it?"""
    ruff = os.path.join(os.path.dirname(sys.executable), "ruff")
    files = [os.path.join(path, name) for name in ("model.py", "__init__.py")]
    done = subprocess.run([ruff, "format", "--isolated", "--no-cache", "--diff", *files], capture_output=True, text=True)
    if done.returncode:
        raise run.Wrong(f"not as ruff formats it: {run.tail(done.stdout, 300)}")
    done = subprocess.run([ruff, "check", "--isolated", "--no-cache", "--select", "E,F,I",
                           "--ignore", "E501", *files], capture_output=True,
                          text=True)
    if done.returncode:
        raise run.Wrong(f"ruff check: {run.tail(done.stdout, 300)}")
