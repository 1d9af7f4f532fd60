"""Makes SavedModels of the cases of the fixture table, by the Keras that runs it: tests/fixtures/saved_model/WAY/NAME/
with WAY/NAME.golden.npz beside it.

    python saved_model_fixtures.py [--all] [--way WAY]... [--only PART]... [--out DIR]

Without --all, only the cases that are committed. Ways:
    save    Keras 2's own, without traces: the configuration in keras_metadata.pb, and no signature
    traces  as Keras 2 writes it when nothing else is asked for: a graph for every layer, and a signature
    plain   tf.saved_model.save, as for any tf.Module
    export  Keras 3's model.export
    module  what no Keras made (saved_model_modules.py)
    v1      what TensorFlow 1 made, with its loops and branches (saved_model_v1.py)
"""
import argparse
import os
import shutil
import sys
import traceback

import kit
import numpy as np
import tensorflow as tf
import registry
import saved_model_modules
import saved_model_v1
import cases_basic, cases_conv, cases_rnn, cases_attention, cases_graph, cases_beyond, cases_traced  # noqa: F401,E401  they fill the table

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "fixtures", "saved_model")
LARGEST = 400_000

# One or two for each kind of layer: the whole table is what --all is for.
COMMITTED = {
    "save": ["dense_relu", "conv_batch_norm_relu", "depthwise_conv2d", "separable_conv2d", "lstm_mask_middle", "gru",
             "bidirectional_lstm_masked", "mha", "transformer_block", "embedding_mask_average", "nested_two_in_two_out",
             "several_inputs_outputs", "shared_dense", "layer_norm", "sequential", "time_distributed_dense",
             "beyond_rnn_stacked_cells", "layer_prelu", "normalization_adapted", "beyond_functions"],
    # No plugin lowers the layer of one: what Keras traced of it is taken.
    "traces": ["dense_relu", "conv_batch_norm_relu", "several_inputs_outputs", "traced_custom_layer"],
    "plain": ["dense_relu", "conv_batch_norm_relu"],
    "export": ["dense_relu", "conv_batch_norm_relu", "depthwise_conv2d", "conv2d_transpose_same", "lstm", "lstm_mask_middle",
               "gru", "bidirectional_lstm_sequences", "mha", "transformer_block", "embedding_mask_average",
               "several_inputs_outputs", "layer_norm", "reshape_dynamic", "average_pooling_2d_same",
               "upsampling_2d_bilinear", "lstm_stateful", "traced_cells_alike", "traced_cells_unlike",
               "traced_conv1d_causal_dilated_2_dynamic", "traced_conv2d_same_dilated_3_dynamic",
               "traced_signs"],
    "module": list(saved_model_modules.CASES),
    "v1": list(saved_model_v1.CASES),
}
WAYS = {2: ["save", "traces", "plain", "module", "v1"], 3: ["export", "plain"]}


def write(model, way, path):
    if way == "export":
        model.export(path, verbose=False)
    elif way == "plain":
        tf.saved_model.save(model, path)
    else:
        model.save(path, save_format="tf", include_optimizer=False, save_traces=way == "traces")


def trim(path):
    """What no reader needs, and differs from run to run."""
    for name in ("fingerprint.pb", "debug", "assets"):
        below = os.path.join(path, name)
        if os.path.isdir(below) and not os.listdir(below):
            os.rmdir(below)
        elif os.path.isfile(below):
            os.remove(below)


def size_of(path):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(path) for name in names)


def signature_golden(model, xs, path):
    """The outputs as the graph that was written gives them, under its names; the live model's must be the same."""
    signature = tf.saved_model.load(path).signatures["serving_default"]
    ys = kit.call(model, xs)
    specs = signature.structured_input_signature[1]
    own = [tensor.name.split(":")[0] for tensor in model.inputs]
    fed = {name: xs[0 if len(specs) == 1 else own.index(name)] for name in sorted(specs)}
    outs = signature(**{name: tf.constant(x) for name, x in fed.items()})
    outs = {name: np.asarray(value) for name, value in outs.items()}
    left = list(ys)
    for name, value in outs.items():
        same = [i for i, y in enumerate(left) if y.shape == value.shape and np.allclose(y, value, rtol=1e-4, atol=1e-6)]
        if not same:
            raise AssertionError(f"the graph gives other numbers for {name}")
        left.pop(same[0])
    return {**fed, **outs}


def make_other(way, name, out):
    """One that is no Keras model: of saved_model_modules or saved_model_v1."""
    path = os.path.join(out, way, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    kit.begin(name)
    rng = saved_model_modules.rng_of(name)
    arrays = saved_model_v1.make(name, path, rng) if way == "v1" else saved_model_modules.CASES[name](path, rng)
    np.savez(f"{path}.golden.npz", **arrays)
    trim(path)


def make(name, way, case, out, largest):
    kit.begin(name)
    rng = np.random.default_rng(kit.seed_of(name))
    model = case.build()
    kit.randomise(model, rng)
    xs = kit.feed(model, rng, case.makers)
    path = os.path.join(out, way + ("" if way != "plain" else str(kit.KERAS)), name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write(model, way, path)
    if way == "save":
        kit.save_golden(f"{path}.golden.npz", xs, kit.call(model, xs))
    else:
        arrays = signature_golden(model, xs, path)
        if way == "traces":
            # Read by its layers: inputs and outputs in the model's order.
            kit.save_golden(f"{path}.golden.npz", xs, kit.call(model, xs))
        else:
            np.savez(f"{path}.golden.npz", **arrays)
    trim(path)
    if largest and size_of(path) > LARGEST:
        raise AssertionError(f"{size_of(path)} bytes is too large for a fixture")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--way", action="append", choices=sorted(COMMITTED))
    parser.add_argument("--only", action="append", default=[], help="only cases whose name contains this")
    parser.add_argument("--out", default=OUT)
    args = parser.parse_args()
    made, failed = 0, 0
    for way in args.way or WAYS[kit.KERAS]:
        if way in ("module", "v1"):
            for name in COMMITTED[way]:
                if not args.only or any(part in name for part in args.only):
                    make_other(way, name, args.out)
                    made += 1
            continue
        for name, case in registry.CASES.items():
            chosen = args.all or name in COMMITTED[way]
            if not chosen or case.only not in (None, kit.KERAS) or case.compiled or case.save != "h5":
                continue
            if args.only and not any(part in name for part in args.only):
                continue
            try:
                make(name, way, case, args.out, not args.all)
                made += 1
            except Exception as error:
                failed += 1
                kit.say(f"FAILED {way}/{name}: {type(error).__name__}: {str(error)[:300]}")
                if os.environ.get("TRACE"):
                    traceback.print_exc()
    kit.say(f"{made} SavedModels, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
