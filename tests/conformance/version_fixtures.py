"""Makes tests/fixtures/keras3_versions: what earlier versions of Keras 3 computed, or stored, otherwise than today's.

    keras3/bin/python versions.py 3.0 version_fixtures.py [CASE]...     (and 3.5, 3.9, 3.12; see `MADE_BY`)

Each case is made by the versions on both sides of the change that it is about: NAME_of_3.0.keras and its golden.
"""
import os
import sys

import kit
import numpy as np
from keras import Input, Model, layers as L

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "keras3_versions")
HOLE = 7.0


def holes(rng, shape, *masked):
    """Numbers with masked steps: pairs of (row, step)."""
    value = rng.normal(0, 1, shape).astype("float32")
    for row, step in masked:
        value[row, step] = HOLE
    return value


def merged(rng):
    """Several masked sequences joined, and what comes behind: 3.0 has no mask there, 3.4 one where any holds."""
    xs = [holes(rng, (2, 5, 3), (0, 1), (0, 4), (1, 0)), holes(rng, (2, 5, 3), (0, 1), (1, 0), (1, 3))]
    a, b = inputs = [Input((5, 3)), Input((5, 3))]
    a, b = L.Masking(HOLE)(a), L.Masking(HOLE)(b)
    joined = [L.Add()([a, b]), L.Average()([a, b])]
    return Model(inputs, [L.LSTM(2)(each) for each in joined]), xs


def concatenated(rng):
    """As above, of features. In between, Keras can't run what it makes of this."""
    model, xs = merged(rng)
    a, b = (layer.output for layer in model.layers if isinstance(layer, L.Masking))
    return Model(model.inputs, L.LSTM(2)(L.Concatenate()([a, b]))), xs


def mask_argument(rng):
    """A mask that is an argument: handed on since 3.11."""
    xs = [rng.normal(0, 1, (2, 5, 3)).astype("float32"), np.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1]], bool)]
    inputs = [Input((5, 3)), Input((5,), dtype="bool")]
    y = L.GRU(3, return_sequences=True)(inputs[0], mask=inputs[1])
    return Model(inputs, L.GlobalAveragePooling1D()(y)), xs


def encodings(rng):
    """`one_hot` of single numbers, and marks along the last axis."""
    xs = [rng.uniform(0, 4, (2, 1)).astype("float32"), rng.uniform(0, 4, (2, 3, 2)).astype("float32"),
          rng.integers(0, 4, (2, 1)).astype("int64")]
    inputs = [Input((1,)), Input((3, 2)), Input((1,), dtype="int64")]
    bins = dict(bin_boundaries=[1.0, 2.0, 3.0])
    ys = [L.Discretization(output_mode="one_hot", **bins)(inputs[0]),
          L.Discretization(output_mode="multi_hot", **bins)(inputs[1]),
          L.CategoryEncoding(4, output_mode="one_hot")(inputs[2])]
    return Model(inputs, ys), xs


def upsampled(rng):
    """Width and channels taken for height and width."""
    x = Input((2, 3, 5))
    y = L.UpSampling2D((2, 3), data_format="channels_first", interpolation="bilinear")(x)
    return Model(x, y), [rng.normal(0, 1, (2, 2, 3, 5)).astype("float32")]


def rms_scaling(rng):
    """An option that was not written down."""
    x = Input((3, 4))
    return Model(x, L.LayerNormalization(rms_scaling=True)(x)), [rng.normal(1, 1, (2, 3, 4)).astype("float32")]


def dead_rows(rng):
    """Queries that may look at nothing: zero since 3.10 where scores are asked for."""
    xs = [rng.normal(0, 1, (2, 3, 4)).astype("float32"), np.array([[[0, 0, 0], [1, 0, 1], [1, 1, 1]]] * 2, bool)]
    inputs = [Input((3, 4)), Input((3, 3), dtype="bool")]
    outputs = L.MultiHeadAttention(2, 3)(inputs[0], inputs[0], attention_mask=inputs[1], return_attention_scores=True)
    return Model(inputs, list(outputs)), xs


def taken_masks(rng):
    """Since 3.8, MultiHeadAttention takes the masks away from the tensors that it is called on."""
    xs = [holes(rng, (2, 5, 3), (0, 1), (0, 4), (1, 0))]
    x = Input((5, 3))
    block = Model(x, L.Add()([x, L.MultiHeadAttention(2, 3)(x, x)]))
    inputs = Input((5, 3))
    masked = L.Masking(HOLE)(inputs)
    return Model(inputs, [L.GlobalAveragePooling1D()(block(masked)), L.LSTM(2)(block(masked))]), xs


def cast_masks(rng):
    """Until 3.13, the mask does not travel with what is cast."""
    xs = [holes(rng, (2, 5, 3), (0, 1), (0, 4), (1, 0))]
    x = Input((5, 3))
    block = Model(x, L.GRU(2, dtype="float64")(x))
    inputs = Input((5, 3))
    return Model(inputs, block(L.Masking(HOLE)(inputs))), xs


def tiny_rows(rng):
    """Rows that are next to nothing: their square was bounded, since 3.6 their length."""
    x = Input((3, 4))
    value = rng.normal(0, 1, (2, 3, 4)).astype("float32")
    value[:, 1] *= 1e-8
    return Model(x, L.UnitNormalization()(x)), [value]


def resized_bytes(rng):
    """Resized bytes: cut off, since 3.6 rounded."""
    x = Input((4, 4, 3), dtype="uint8")
    return Model(x, L.Resizing(3, 5)(x)), [rng.integers(0, 256, (2, 4, 4, 3)).astype("uint8")]


MADE_BY = {
    merged: ("3.0", "3.5", "3.12"),
    concatenated: ("3.0", "3.12"),
    mask_argument: ("3.0", "3.9", "3.12"),
    encodings: ("3.0", "3.5"),
    upsampled: ("3.0", "3.5"),
    rms_scaling: ("3.0", "3.5"),
    tiny_rows: ("3.5", "3.12"),
    resized_bytes: ("3.5", "3.12"),
    dead_rows: ("3.9", "3.12"),
    taken_masks: ("3.5", "3.9"),
    cast_masks: ("3.12", "3.14"),
}


def main():
    os.makedirs(OUT, exist_ok=True)
    for case, versions in MADE_BY.items():
        if kit.VERSION not in versions or sys.argv[1:] and case.__name__ not in sys.argv[1:]:
            continue
        name = f"{case.__name__}_of_{kit.VERSION}"
        kit.begin(name)
        rng = np.random.default_rng(kit.seed_of(name))
        model, xs = case(rng)
        kit.randomise(model, rng)
        model.save(os.path.join(OUT, f"{name}.keras"))
        kit.save_golden(os.path.join(OUT, f"{name}.golden.npz"), xs, kit.call(model, xs))


if __name__ == "__main__":
    main()
