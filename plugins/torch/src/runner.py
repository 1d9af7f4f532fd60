"""Runs a converted package: python -I SCRIPT MODEL INPUTS.npz OUTPUTS.npz [INPUTS.npz OUTPUTS.npz]..."""

import importlib.util
import os
import sys

import numpy as np
import torch

# What is checked is what is published: nothing is to be added to it.
sys.dont_write_bytecode = True


def package(path):
    """The package in the directory `path`, which need not be where Python looks."""
    name = "recast_converted"
    init = os.path.join(path, "__init__.py")
    spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[path])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def run(module, model, inputs, outputs):
    turned = getattr(module, "CHANNELS_FIRST", ())
    with np.load(inputs, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    feeds = []
    for name in module.INPUTS:
        array = arrays[name]
        array = np.moveaxis(array, -1, 1) if name in turned else array
        feeds.append(torch.from_numpy(np.array(array, order="C")))
    with torch.no_grad():
        results = model(*feeds)
    results = results if isinstance(results, tuple) else (results,)
    if len(results) != len(module.OUTPUTS):
        raise SystemExit(f"{len(results)} results for the outputs {module.OUTPUTS}")
    found = {}
    for name, result in zip(module.OUTPUTS, results):
        array = result.to(torch.float32).numpy() if result.dtype == torch.bfloat16 else result.numpy()
        found[name] = np.moveaxis(array, 1, -1) if name in turned else array
    np.savez(outputs, **found)


def main(path, *pairs):
    module = package(path)
    model = module.load()
    for inputs, outputs in zip(pairs[::2], pairs[1::2]):
        run(module, model, inputs, outputs)


if __name__ == "__main__":
    if len(sys.argv) < 4 or len(sys.argv) % 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
