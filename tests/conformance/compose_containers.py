"""Every container that a Keras has for a model, and the ways that users come to a file: what `compose.py make` saves."""
import json
import os
import shutil
import warnings

import kit
from kit import KERAS, keras, np
import compose


class Lost(Exception):
    """Keras itself does not get from its file what the live model computed."""


def trained(model):
    """As after `fit`: an optimizer with its state, a loss and a metric, which files hold beside the weights."""
    warnings.simplefilter("ignore")
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    if KERAS >= 3:
        model.optimizer.build(model.trainable_variables)


def architecture(model, stem, number):
    """The forms in which users have it: `to_json`, and Keras 3's own serialization."""
    text = model.to_json()
    if KERAS >= 3 and number and number % 8 == 4:
        text = json.dumps(keras.saving.serialize_keras_object(model), indent=2)
    with open(stem + ".json", "w") as file:
        file.write(text)


def apart(model, stem, end, number, **options):
    architecture(model, stem, number)
    model.save_weights(stem + end, **options)


def directory(model, stem):
    from keras.src.saving import saving_lib
    os.makedirs(stem)
    saving_lib.save_model(model, stem, zipped=False)


def sharded(model, stem):
    directory(model, stem)
    os.remove(os.path.join(stem, "model.weights.h5"))
    model.save_weights(os.path.join(stem, "model.weights.json"), max_shard_size=shard(model))


def shard(model):
    """GB: of the largest array, and some."""
    return max(2e-6, 4e-9 + max((np.prod(w.shape) * 4.0 for w in model.weights), default=0) * 1.1 / 1024 ** 3)


def again(model, stem, first, last, call, change=None):
    """Saved, loaded, perhaps changed, saved: files hold what no builder of layers would write."""
    path = stem + ".first" + first
    model.save(path)
    try:
        loaded = keras.models.load_model(path, compile=False)
    except Exception as error:
        raise Lost(f"Keras does not load its own {first}") from error
    finally:
        os.remove(path)
    if differ(call(loaded), call(model)):
        raise Lost(f"Keras gets other numbers from its own {first}")
    if change:
        change(loaded)
    loaded.save(stem + last)
    ys = call(loaded)
    if change and differ(call(keras.models.load_model(stem + last, compile=False)), ys):
        raise Lost(f"Keras gets other numbers from its own {last}")
    return ys


def differ(ys, wanted):
    return any(not np.allclose(a.astype("f8"), b.astype("f8"), 1e-4, 1e-5) for a, b in zip(ys, wanted) if a.dtype.kind != "O")


def low_rank(model):
    rng = np.random.default_rng(len(model.layers))
    for layer in model._flatten_layers():
        if hasattr(layer, "enable_lora") and layer.built and layer.trainable and hasattr(layer, "_kernel"):
            layer.enable_lora(2)
            layer.lora_kernel_b.assign(rng.normal(0, 0.3, layer.lora_kernel_b.shape))


def whole(end, **options):
    return lambda model, stem, number, call: model.save(stem + end, **options)


def saved_model(model, stem, number, call):
    # Traces take as long as all else together.
    model.save(stem, save_format="tf", include_optimizer=False, save_traces=number is None or number % 16 == 2)


def plain(model, stem, number, call):
    kit.tf.saved_model.save(model, stem)


# container: (versions of Keras, one in how many models, which of these, how: the outputs of what is in the file, if they
# are not those of the model)
SAVERS = {
    "h5": ((2, 3), 1, 0, lambda model, stem, number, call: kit.save_h5(model, stem + ".h5")),
    "keras": ((2, 3), 1, 0, whole(".keras")),
    "json_v3": ((2, 3), 2, 0, lambda model, stem, number, call: apart(model, stem, ".weights.h5", number)),
    "json_h5": ((2,), 2, 1, lambda model, stem, number, call: apart(model, stem, ".h5", number)),
    "directory": ((3,), 4, 1, lambda model, stem, number, call: directory(model, stem)),
    "sharded": ((3,), 4, 2, lambda model, stem, number, call: sharded(model, stem)),
    "json_shards": ((3,), 4, 3,
                    lambda model, stem, number, call: apart(model, stem, ".weights.json", number, max_shard_size=shard(model))),
    "again": ((2, 3), 4, 0, lambda model, stem, number, call: again(model, stem, ".h5", ".keras", call)),
    "again_h5": ((2, 3), 4, 2, lambda model, stem, number, call: again(model, stem, ".keras", ".h5", call)),
    "int8": ((3,), 6, 1,
             lambda model, stem, number, call: again(model, stem, ".keras", ".keras", call, lambda m: m.quantize("int8"))),
    "lora": ((3,), 6, 3, lambda model, stem, number, call: again(model, stem, ".keras", ".keras", call, low_rank)),
    "saved_model": ((2,), 4, 2, saved_model),
    "plain": ((2,), 12, 5, plain),
    "export": ((3,), 8, 2, lambda model, stem, number, call: model.export(stem, verbose=False)),
}


def number_of(container):
    """The number of a model that is saved in a container, as far as `save` goes by it."""
    return SAVERS[container][2] if container in SAVERS else 3


def recorded(stem, source, ys):
    """The golden beside a file: that of the model, or with other outputs."""
    shutil.copyfile(source, stem + ".golden.npz")
    if ys is not None:
        with np.load(source) as file:
            arrays = {key: file[key] for key in file.files if key[0] == "x"}
        np.savez(stem + ".golden.npz", **arrays, **{f"y{i}": y for i, y in enumerate(ys)})


def save(model, out, name, number, call):
    """Every container whose turn it is (all where `number` is None); what each that did not take the model said."""
    said = {}
    for container, (versions, share, turn, how) in SAVERS.items():
        if KERAS not in versions or number is not None and number % share != turn:
            continue
        stem = compose.stem_of(out, container, name)
        os.makedirs(os.path.dirname(stem), exist_ok=True)
        try:
            ys = how(model, stem, number, call)
            if container not in compose.PLAIN:
                recorded(stem, f"{out}/{name}.golden.npz", ys)
        except Exception as error:
            said[container] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            removed(stem, compose.CONTAINERS[container], container)
    return said


def removed(stem, end, container):
    shutil.rmtree(stem, ignore_errors=True)
    ends = [end] if container in compose.PLAIN else [end, ".json", ".golden.npz"]
    for path in (stem + e for e in ends if e):
        if os.path.isfile(path):
            os.remove(path)
