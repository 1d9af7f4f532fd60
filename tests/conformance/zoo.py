"""Makes the zoo: well-known networks at full size, by the Keras that runs it, with weights that make the check honest.

    python zoo.py [NAME]...        into $RECAST_CONFORMANCE_HOME/zoo/keras{2,3}; what is there is kept

Nothing is downloaded. Random weights alone would make a deep network forget its input, so every BatchNormalization is
fitted to what really arrives there, then disturbed.
"""
import os
import sys
import time

import kit
import numpy as np
import keras
import tensorflow as tf
from keras import Input, Model, Sequential, layers as L

OUT = os.path.join(kit.home(), "zoo", f"keras{kit.KERAS}")
VOCABULARY = 500
# Keras and a runtime each round in their own way, and both must fit into the tolerance.
ROUNDING_MAX = 0.5


def application(name, size):
    """A network of keras.applications with its head, the final softmax dropped."""
    def build():
        return getattr(keras.applications, name)(
            weights=None, input_shape=(size, size, 3), classes=100, classifier_activation=None)
    return build


def mlp():
    return Sequential([Input((784,), name="pixels"), L.Dense(128, activation="relu"), L.Dense(10)], name="mlp")


def lstm_text():
    words = Input((None,), dtype="int32", name="words")
    x = L.Embedding(VOCABULARY, 64, mask_zero=True)(words)
    x = L.LSTM(64, return_sequences=True, dropout=0.2)(x)
    x = L.LSTM(32)(x)
    return Model(words, L.Dense(5)(x), name="lstm_text")


def lstm_text_sequential():
    """The same as a Sequential: Keras 3 writes no mask operations into it."""
    return Sequential([Input((None,), dtype="int32", name="words"), L.Embedding(VOCABULARY, 64, mask_zero=True),
                       L.LSTM(64, return_sequences=True), L.LSTM(32), L.Dense(5)], name="lstm_text_sequential")


def bidirectional_gru():
    steps = Input((None, 24), name="steps")
    x = L.Bidirectional(L.GRU(48, return_sequences=True))(steps)
    x = L.Bidirectional(L.GRU(32))(x)
    return Model(steps, L.Dense(6)(x), name="bidirectional_gru")


def transformer():
    words = Input((None,), dtype="int32", name="words")
    x = L.Embedding(VOCABULARY, 64, name="embedding")(words)
    for i in range(2):
        a = L.MultiHeadAttention(4, 16, dropout=0.1, name=f"attention_{i}")(x, x)
        x = L.LayerNormalization(epsilon=1e-6, name=f"norm_a_{i}")(L.Add(name=f"add_a_{i}")([x, a]))
        f = L.Dense(64, name=f"down_{i}")(L.Dense(128, activation="gelu", name=f"up_{i}")(x))
        x = L.LayerNormalization(epsilon=1e-6, name=f"norm_f_{i}")(L.Add(name=f"add_f_{i}")([x, f]))
    return Model(words, L.Dense(5, name="topic")(L.GlobalAveragePooling1D(name="pool")(x)), name="transformer")


ZOO = {
    "mlp": mlp,
    "lstm_text": lstm_text,
    "lstm_text_sequential": lstm_text_sequential,
    "bidirectional_gru": bidirectional_gru,
    "transformer": transformer,
    "mobilenet_v2": application("MobileNetV2", 96),
    "nasnet_mobile": application("NASNetMobile", 224),
    "efficientnet_b0": application("EfficientNetB0", 128),
    "densenet121": application("DenseNet121", 128),
    "inception_v3": application("InceptionV3", 160),
    "resnet50": lambda: keras.applications.ResNet50(weights=None, classifier_activation=None),
    "convnext_tiny": application("ConvNeXtTiny", 128),
    "vgg16": lambda: keras.applications.VGG16(weights=None, classifier_activation=None),
}


def he(rng, name, shape, dtype):
    """Weights that keep a deep network's signal alive."""
    kind = name.split("/")[-1].split(":")[0]
    if kind == "gamma" and ("project_bn" in name or "_3_bn" in name):
        # Blocks near the identity, gates near one half: 16 blocks at full gain amplify float32 rounding a thousandfold
        # (EfficientNet) or two hundredfold (ResNet), so that Keras misses its own recording.
        value = rng.uniform(0.1, 0.3, shape)
    elif "_se_" in name and len(shape) == 4:
        value = rng.standard_normal(shape, dtype=np.float32) * 0.1 * np.sqrt(2.0 / shape[2])
    elif kind in ("gamma", "moving_variance", "variance"):
        value = rng.uniform(0.5, 1.5, shape)
    elif len(shape) == 4 and "depthwise" in kind:
        value = rng.standard_normal(shape, dtype=np.float32) * np.sqrt(2.0 / (shape[0] * shape[1]))
    elif len(shape) >= 2:
        fan_in = np.prod(shape[:-1])
        value = rng.standard_normal(shape, dtype=np.float32) * np.sqrt((1.0 if kind == "embeddings" else 2.0) / fan_in)
        value = value * (np.sqrt(fan_in / 2) if kind == "embeddings" else 1.0)
    else:
        value = rng.uniform(-0.1, 0.1, shape)
    return value.astype(dtype)


def images(rng, shape, scale):
    """Unlike pictures: noise, and ramps that run in different ways; never two of a kind."""
    rows, columns = np.meshgrid(np.linspace(0, 1, shape[1]), np.linspace(0, 1, shape[2]), indexing="ij")
    pictures = [rng.uniform(0, 1, shape[1:]), np.stack([rows, columns, 1 - rows * columns], -1)[..., :shape[3]]]
    while len(pictures) < shape[0]:
        a, b, c = rng.uniform(0, 6, 3)
        wave = 0.5 + 0.5 * np.sin(a * rows * 3 + b * columns * 3 + c)
        pictures.append(np.stack([wave, wave ** 2, 1 - wave], -1) * rng.uniform(0.3, 1) + rng.uniform(0, 0.1, shape[1:]))
    return (np.stack(pictures)[:shape[0]] * scale).astype("float32")


def inputs(model, rng, batch):
    shape, dtype = kit.inputs_of(model)[0]
    shape = (batch,) + tuple(19 if d is None else d for d in shape[1:])
    if np.issubdtype(dtype, np.integer):
        words = rng.integers(1, VOCABULARY, shape).astype(dtype)
        if model.name.startswith("lstm"):
            words[0, -7:] = 0
            words[1, :2] = 0
        return words
    if len(shape) == 4:
        rescales = any(type(layer).__name__ in ("Rescaling", "Normalization") for layer in model.layers)
        return images(rng, shape, 255.0 if rescales else 2.0)
    return rng.normal(0, 1, shape).astype(dtype)


def fit_batch_norms(model, rng):
    """Moving statistics become those of a real batch, then each is moved a little off."""
    norms = [layer for layer in kit.all_layers(model) if isinstance(layer, L.BatchNormalization)]
    if not norms:
        return
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(tf.constant(inputs(model, rng, 4)), training=True)
    for layer, momentum in zip(norms, momenta):
        layer.momentum = momentum
        mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
        deviation = np.sqrt(variance + 1e-6)
        layer.moving_mean.assign(mean + rng.uniform(-0.2, 0.2, mean.shape) * deviation)
        layer.moving_variance.assign((variance + 1e-4) * rng.uniform(0.5, 1.5, variance.shape))


def scale_outputs(model, xs):
    """Brings the outputs near 1 by the last layer alone, so that absolute tolerances mean something."""
    last = model.layers[-1]
    spread = max(float(np.std(y)) for y in kit.call(model, xs))
    factor = 1.0 / max(spread, 1e-12)
    for weight in last.weights:
        weight.assign(np.asarray(weight) * np.float32(factor))


def in_float64(name, weights, xs):
    """The outputs of the same network in double precision."""
    three = kit.KERAS >= 3
    set_policy = keras.config.set_dtype_policy if three else keras.mixed_precision.set_global_policy
    keras.backend.set_floatx("float64")
    set_policy("float64")
    try:
        model = ZOO[name]()
        model.set_weights(weights)
        kit.finalize(model)
        return kit.call(model, [x.astype("float64") if x.dtype == np.float32 else x for x in xs])
    finally:
        keras.backend.set_floatx("float32")
        set_policy("float32")


def rounding(ys, exact):
    """How far float32 took Keras itself from the exact outputs, in units of what run.py accepts."""
    return max(float((np.abs(y - e) / (kit.ATOL + kit.RTOL * np.abs(e))).max()) for y, e in zip(ys, exact))


def make(name):
    kit.begin(name)
    rng = np.random.default_rng(kit.seed_of(name))
    model = ZOO[name]()
    for weight in model.weights:
        path = getattr(weight, "path", None) or weight.name
        if np.issubdtype(np.dtype(getattr(weight.dtype, "as_numpy_dtype", weight.dtype)), np.floating):
            weight.assign(he(rng, path, tuple(weight.shape), "float32"))
    for layer in kit.all_layers(model):
        if isinstance(layer, L.Normalization):
            layer.finalize_state()  # it computes with copies of its weights; the saved file has the weights
    fit_batch_norms(model, rng)
    xs = [inputs(model, rng, kit.BATCH)]
    scale_outputs(model, xs)
    ys = kit.call(model, xs)
    kit.check_alive(ys, kit.call(model, [inputs(model, rng, kit.BATCH)[::-1].copy()]), share=1e-2)
    off = rounding(ys, in_float64(name, model.get_weights(), xs))
    if off > ROUNDING_MAX:
        raise kit.Degenerate(f"Keras' own float32 is off by {off:.2f} of the tolerance: nobody could repeat it")
    path = os.path.join(OUT, f"{name}.h5")
    kit.save_h5(model, path + ".tmp.h5")
    kit.save_golden(os.path.join(OUT, f"{name}.golden.npz"), xs, ys)
    os.replace(path + ".tmp.h5", path)
    rows = float(np.abs(ys[0][0] - ys[0][1]).max())
    return os.path.getsize(path), rows / float(ys[0].max() - ys[0].min()), off


def main():
    os.makedirs(OUT, exist_ok=True)
    failed = 0
    for name in sys.argv[1:] or ZOO:
        if not sys.argv[1:] and os.path.exists(os.path.join(OUT, f"{name}.h5")):
            continue
        began = time.time()
        try:
            size, rows, off = make(name)
            kit.say(f"{name}: {size / 1e6:.1f} MB, rows differ by {rows:.0%} of the spread, float32 is off by "
                    f"{off:.0%} of the tolerance, {time.time() - began:.0f} s")
        except Exception as error:
            failed += 1
            kit.say(f"FAILED {name}: {type(error).__name__}: {str(error)[:400]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
