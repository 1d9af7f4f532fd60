"""Makes tests/fixtures/tfjs: models of the table of cases as TensorFlow.js layers models, by its own converter.

    keras2/bin/pip install --no-deps --target TFJS tensorflowjs==4.17.0
    keras2/bin/python tfjs_fixtures.py TFJS

Goldens are the outputs of tf.keras 2.15 with the weights that the files hold, after quantization.
"""
import json
import os
import shutil
import sys
import types

import kit
import keras
import numpy as np
import registry
import cases_basic, cases_conv, cases_rnn, cases_attention, cases_graph, cases_beyond  # noqa: F401,E401  they fill the table

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "tfjs")
# (case, numbers stored as, bytes of a file)
MODELS = [("sequential", None, None), ("conv2d", None, 64), ("conv_batch_norm_relu", "float16", None),
          ("embedding_flatten_dense", "uint8", None), ("lstm", "uint16", None), ("shared_dense", None, None),
          ("nested_trainable", None, None), ("nested_partly_frozen", None, 100), ("bidirectional_stacked", None, None),
          ("gru_reset_before", "float16", 128), ("depthwise_conv2d", None, None), ("separable_conv2d", "uint8", 32),
          ("time_distributed_nested", None, None), ("several_inputs_outputs", None, None)]


def converter(home):
    """The parts of tensorflowjs that write layers models, without what its package imports besides."""
    for name, below in (("tensorflowjs", ""), ("tensorflowjs.converters", "converters")):
        package = types.ModuleType(name)
        package.__path__ = [os.path.join(home, "tensorflowjs", below)]
        sys.modules[name] = package
    from tensorflowjs.converters import keras_h5_conversion
    return keras_h5_conversion


def stored(directory, model):
    """Gives the model the numbers that the files hold."""
    from tensorflowjs import read_weights
    with open(os.path.join(directory, "model.json")) as file:
        manifest = json.load(file)["weightsManifest"]
    groups = read_weights.read_weights(manifest, directory, flatten=True)
    by_name = {entry["name"]: entry["data"] for entry in groups}
    for weight in model.weights:
        weight.assign(by_name[weight.name.split(":")[0]])


def make(conversion, name, quantization, shard):
    kit.begin(name)
    case = registry.CASES[name]
    rng = np.random.default_rng(kit.seed_of(name))
    model = case.build()
    kit.randomise(model, rng)
    folder = os.path.join(OUT, name)
    shutil.rmtree(folder, ignore_errors=True)
    options = {"quantization_dtype_map": {quantization: "*"}} if quantization else {}
    if shard:
        options["weight_shard_size_bytes"] = shard
    conversion.save_keras_model(model, folder, **options)
    stored(folder, model)
    xs, others = (kit.feed(model, rng, case.makers) for _ in range(2))
    ys = kit.call(model, xs, case.compiled)
    kit.check_alive(ys, kit.call(model, others, case.compiled), share=1e-3, every_output=case.every_output)
    kit.save_golden(f"{folder}.golden.npz", xs, ys)


def as_javascript(name):
    """A model as TensorFlow.js itself saves it: the configuration at the top, all trainable weights first."""
    kit.begin(name)
    case = registry.CASES[name]
    rng = np.random.default_rng(kit.seed_of(name))
    model = case.build()
    kit.randomise(model, rng)
    folder = os.path.join(OUT, f"{name}_javascript")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    weights = model.trainable_weights + model.non_trainable_weights
    topology = {"class_name": type(model).__name__, "config": json.loads(model.to_json())["config"],
                "keras_version": "tfjs-layers 4.22.0", "backend": "tensor_flow.js"}
    declared = [{"name": w.name.split(":")[0], "shape": list(w.shape), "dtype": "float32"} for w in weights]
    manifest = [{"paths": ["./model.weights.bin"], "weights": declared}]
    with open(os.path.join(folder, "model.json"), "w") as file:
        json.dump({"modelTopology": topology, "format": "layers-model", "generatedBy": "TensorFlow.js tfjs-layers v4.22.0",
                   "convertedBy": None, "weightsManifest": manifest}, file)
    with open(os.path.join(folder, "model.weights.bin"), "wb") as file:
        file.write(b"".join(np.asarray(w, "<f4").tobytes() for w in weights))
    xs, others = (kit.feed(model, rng, case.makers) for _ in range(2))
    ys = kit.call(model, xs)
    kit.check_alive(ys, kit.call(model, others), share=1e-3)
    kit.save_golden(f"{folder}.golden.npz", xs, ys)


def main():
    os.makedirs(OUT, exist_ok=True)
    conversion = converter(sys.argv[1])
    for name, quantization, shard in MODELS:
        make(conversion, name, quantization, shard)
    for name in ("residual_net", "conv_batch_norm_relu", "lstm_sequences"):
        as_javascript(name)
    kit.say(f"{len(MODELS)} models by Keras {keras.__version__}")


if __name__ == "__main__":
    main()
