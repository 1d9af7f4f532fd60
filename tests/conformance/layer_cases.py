"""One layer, one call, real Keras: what the lowerings of the keras-layers plugin are checked against.

Run with each environment's Python; writes ../fixtures/layers/keras{2,3}.jsonl, one case a line:

    {"class", "keras_version", "config", "trainable", "weights": [array + "role"], "inputs": [array + "mask" + "free"],
     "kwargs", "outputs": [array + "mask"], "list": whether the layer takes a list}

An array is {"dtype", "shape", "data"}: base64 of its little-endian bytes; or float32 "parts", 16-bit 256ths of it; or
"texts", the strings.
`free` are the axes of an input that may be symbolic without changing the numbers. Configuration keys that only training
reads are left out.
"""
import base64
import json
import os
import sys

from kit import KERAS, np, say, tf, keras
from kit import random_weight, seed_of

import layer_cases_core
import layer_cases_spatial

TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint")
LEFT_OUT = ("build_config", "name", "trainable")


PARTS = 256


def rounded(value):
    """Inputs and weights are whole 256ths: half as many bytes in a file that is kept."""
    return np.round(value * PARTS) / PARTS if np.abs(value).max(initial=0) < 100 else value


def array(value):
    value = np.asarray(value)
    if value.dtype.kind in "OSU":
        texts = [text.decode() if isinstance(text, bytes) else str(text) for text in value.ravel()]
        return {"dtype": "string", "shape": list(value.shape), "texts": texts}
    bits = np.ascontiguousarray(value)
    if bits.dtype == tf.bfloat16.as_numpy_dtype:
        name, bits = "bfloat16", bits.view(np.uint16)
    else:
        name = str(bits.dtype)
    parts = bits * PARTS if name == "float32" else bits
    if name == "float32" and np.array_equal(parts, parts.astype("int16")):
        data = base64.b64encode(parts.astype("<i2").tobytes()).decode()
        return {"dtype": name, "shape": list(value.shape), "parts": data}
    data = base64.b64encode(bits.astype(bits.dtype.newbyteorder("<")).tobytes()).decode()
    return {"dtype": name, "shape": list(value.shape), "data": data}


def slim(config):
    """A configuration without what only training reads, and without the dtype and name that most layers have."""
    if isinstance(config, dict):
        keep = {k: v for k, v in config.items() if not k.endswith(TRAINING_ONLY)}
        return {k: slim(v) for k, v in keep.items() if k != "dtype" or not is_float32(v)}
    if isinstance(config, (list, tuple)):
        return [slim(item) for item in config]
    if isinstance(config, np.ndarray):
        return config.tolist()
    if isinstance(config, np.generic):
        return config.item()
    return config


def is_float32(dtype):
    return dtype == "float32" or (isinstance(dtype, dict) and dtype.get("config") == {"name": "float32"})


def set_mask(tensor, mask):
    if KERAS >= 3:
        keras.src.backend.set_keras_mask(tensor, mask)
    else:
        tensor._keras_mask = mask


def get_mask(tensor):
    return getattr(tensor, "_keras_mask", None)


def role_of(weight):
    return (getattr(weight, "path", None) or weight.name).split("/")[-1].split(":")[0]


def randomise(layer, rng, special):
    for weight in layer.weights:
        role = role_of(weight)
        dtype = np.dtype(getattr(weight.dtype, "as_numpy_dtype", weight.dtype))
        if role in special:
            weight.assign(np.asarray(special[role], dtype))
        elif np.issubdtype(dtype, np.floating) or dtype == tf.bfloat16.as_numpy_dtype:
            weight.assign(rounded(random_weight(rng, role, tuple(weight.shape), dtype)))
    if hasattr(layer, "finalize_state"):
        layer.finalize_state()


def call(layer, tensors, takes_list, kwargs):
    arguments = tensors if takes_list else tensors[0]
    try:
        return layer(arguments, **kwargs)
    except tf.errors.OpError:
        # TensorFlow has no channels-first, grouped or dilated transposed convolution on a CPU, except through XLA.
        return tf.function(lambda values: layer(values, **kwargs), jit_compile=True)(arguments)


def run(case):
    rng = np.random.default_rng(seed_of(case.name))
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    layer = case.make()
    values = [spec(rng) if callable(spec) else rounded(rng.normal(0, 1.5,
         spec)).astype("float32") for spec in case.inputs]
    masks = list(case.masks) + [None] * len(values)
    takes_list = case.takes_list
    tensors = [tf.constant(value) for value in values]
    if not layer.built:
        shapes = [value.shape for value in values]
        layer.build(shapes if takes_list else shapes[0])
    randomise(layer, rng, case.weights)
    for tensor, mask in zip(tensors, masks):
        if mask is not None:
            set_mask(tensor, tf.constant(mask))
    kwargs = {"training": False} if case.says_training else {}
    kwargs.update(case.kwargs)
    real = {k: tf.constant(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    outputs = call(layer, tensors, takes_list, real)
    outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    inputs = [dict(array(v), free=list(case.free[i] if i < len(case.free) else case.free[-1])) for i,
         v in enumerate(values)]
    for record, mask in zip(inputs, masks):
        if mask is not None:
            record["mask"] = array(mask)
    records = []
    for output in outputs:
        record = array(output.numpy())
        if record["dtype"].startswith("float") and not np.isfinite(output.numpy()).all():
            raise ValueError("not finite")
        if case.masks and get_mask(output) is not None:
            record["mask"] = array(get_mask(output).numpy())
        records.append(record)
    extra = {k: array(v) if isinstance(v, np.ndarray) else v for k, v in case.kwargs.items()}
    return {
        "name": case.name, "class": case.class_name or type(layer).__name__, "keras_version": keras.__version__,
        # The code of a Lambda is never read.
        "config": {} if case.expression else slim({k: v for k, v in layer.get_config().items() if k not in LEFT_OUT}),
        "trainable": layer.trainable, **({"expression": case.expression} if case.expression else {}),
        "weights": [dict(array(w.numpy()), role=role_of(w)) for w in layer.weights if "seed" not in role_of(w)],
        "inputs": inputs, "list": takes_list, "kwargs": extra, "outputs": records,
        "tolerance": case.tolerance or (3e-2 if case.loose else 0),
    }


def main():
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    cases = [c for module in (layer_cases_core, layer_cases_spatial) for c in module.CASES]
    cases = [c for c in cases if c.only in (None, KERAS) and only in c.name]
    lines, failed = [], []
    for case in cases:
        try:
            lines.append(json.dumps(run(case), separators=(",", ":"), sort_keys=True))
        except Exception as error:
            failed.append((case.name, f"{type(error).__name__}: {str(error)[:160]}"))
    path = os.path.join(os.path.dirname(__file__), "..", "fixtures", "layers", f"keras{KERAS}.jsonl")
    if not only:
        with open(path, "w") as out:
            out.write("\n".join(lines) + "\n")
    for name, why in failed:
        say("NOT MADE", name, why)
    say(f"{len(lines)} cases, {sum(map(len, lines))} bytes, {len(failed)} not made")


if __name__ == "__main__":
    main()
