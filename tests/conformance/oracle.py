"""An oracle for `[verify.oracle]`: what does the original framework say that an artifact gives?

    python -I oracle.py ARTIFACT INPUTS.npz OUTPUTS.npz [INPUTS.npz OUTPUTS.npz]...

Inputs and outputs are named as recast names them: inputs by the names of the model's input tensors, outputs by the
names of its outputs. The interpreter decides about the framework: one with Keras 3, or one with tf.keras 2. recast runs
it in an empty directory, with nothing in the environment; Keras keeps its own configuration there (HOME).

    [verify.oracle]
    command = ["/opt/keras/bin/python", "-I", "/opt/keras/oracle.py"]
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

try:
    import keras
except ImportError:
    from tensorflow import keras


def layer_names(tensors):
    """The names of the layers that gave the tensors; numbered where one layer gave several, as recast does it."""
    names = []
    for tensor in tensors:
        layer = tensor._keras_history[0].name
        name, count = layer, 0
        while name in names:
            count += 1
            name = f"{layer}_{count}"
        names.append(name)
    return names


def load(path):
    if keras.__version__.startswith("2."):
        return keras.models.load_model(path, compile=False)
    if os.path.isdir(path):
        sys.exit(f"{path}: Keras 3 does not load a SavedModel as a model; use an interpreter with tf.keras 2")
    return keras.models.load_model(path, compile=False, safe_mode=True)


def given(model, arrays):
    """The arrays in the order of the model's inputs: by name, or the only one there is."""
    names = layer_names(model.inputs)
    if set(names) == set(arrays):
        return [arrays[name] for name in names]
    if len(names) == len(arrays) == 1:
        return list(arrays.values())
    sys.exit(f"inputs {sorted(arrays)} for a model that takes {names}")


def named(model, outputs):
    names = layer_names(model.outputs)
    if len(names) != len(outputs):
        sys.exit(f"{len(outputs)} outputs, but the model names {names}")
    return dict(zip(names, outputs))


def main(arguments):
    artifact, *pairs = arguments
    if not pairs or len(pairs) % 2:
        sys.exit(__doc__)
    model = load(artifact)
    for source, target in zip(pairs[::2], pairs[1::2]):
        with np.load(source) as archive:
            inputs = given(model, {name: archive[name] for name in archive.files})
        outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
        outputs = list(outputs.values()) if isinstance(outputs, dict) else outputs
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        np.savez(target, **named(model, [np.asarray(output) for output in outputs]))


if __name__ == "__main__":
    main(sys.argv[1:])
