"""Makes tests/fixtures/feature_space: what keras.utils.FeatureSpace makes of tables, by the Keras that runs it.

    keras2/bin/python feature_space_fixtures.py; keras3/bin/python feature_space_fixtures.py

NAME.keras with NAME.golden.npz beside it. A FeatureSpace's inputs are its columns by the order of their names, of one
number or word in each row; its outputs are one array, or one for each feature, by the order of their names.
"""
import os

import kit
from kit import KERAS, keras, np, tf
from keras import layers as L

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "feature_space")
FS = keras.utils.FeatureSpace
ROWS = 40


def table():
    """Columns by name."""
    rng = np.random.default_rng(1)
    numbers = {name: rng.normal(mean, spread, ROWS).astype("float32")
               for name, mean, spread in (("age", 40, 10), ("size", 0, 1), ("weight", 3, 2), ("ratio", 0, 1))}
    code, area = rng.integers(0, 9, ROWS), rng.integers(0, 99, ROWS)
    return {**numbers, "kind": rng.choice(["red", "a b", "\u00e9"], ROWS), "code": code, "area": area,
            "name": rng.choice(["x", "y", "z"], ROWS)}


def known():
    """What every target has words for."""
    return {"weight": FS.float_discretized(num_bins=4), "age": FS.float_normalized(), "ratio": FS.float(),
            "size": FS.float_rescaled(scale=0.5, offset=1.0), "code": FS.integer_categorical(num_oov_indices=1)}


def hashed():
    """Words and hashes."""
    return {"kind": FS.string_categorical(), "area": FS.integer_hashed(num_bins=4), "age": FS.float_normalized(),
            "name": FS.string_hashed(num_bins=5, output_mode="int"), "code": FS.integer_categorical(output_mode="int")}


def space(features, **options):
    made = FS(features=features, **options)
    columns = {name: column for name, column in table().items() if name in features}
    made.adapt(tf.data.Dataset.from_tensor_slices(columns).batch(7))
    return made, columns


def asked(columns):
    """Rows that it was adapted to, and others, by the order of the columns' names."""
    unseen = {"f": [-300.0, 300.0], "i": [77, 5], "U": ["", "unseen"]}
    xs = []
    for name in sorted(columns):
        column = columns[name]
        others = np.array(unseen[column.dtype.kind])
        xs.append(np.concatenate([column[:4], others.astype("float32") if others.dtype.kind == "f" else others])[:, None])
    return xs


def words(x):
    return tf.constant(x if x.dtype.kind != "i" else x.astype("int32" if KERAS >= 3 else "int64"))


def spaces():
    crosses = [FS.cross(feature_names=("kind", "code"), crossing_dim=8), FS.cross(("code", "area"), 3, output_mode="int")]
    yield "known", known(), {}
    yield "dict", hashed(), {"output_mode": "dict", "crosses": crosses}


def main():
    os.makedirs(OUT, exist_ok=True)
    for name, features, options in spaces():
        kit.begin(name)
        made, columns = space(features, **options)
        xs = asked(columns)
        ys = kit.flatten(made({key: words(x) for key, x in zip(sorted(columns), xs)}))
        stem = os.path.join(OUT, f"k{KERAS}_{name}")
        made.save(f"{stem}.keras")
        save(stem, xs, ys)
        if name == "known":
            # Trained on what was encoded before, and shipped with it.
            y = L.Dense(2)(made.get_encoded_features())
            model = keras.Model(made.get_inputs(), y)
            rng, last = np.random.default_rng(2), model.layers[-1]
            last.set_weights([rng.normal(0, 1, weight.shape) for weight in last.weights])
            model.save(f"{stem}_model.keras")
            save(f"{stem}_model", xs, kit.flatten(model({key: words(x) for key, x in zip(sorted(columns), xs)})))
    kit.say(f"{OUT} by Keras {keras.__version__}")


def save(stem, xs, ys):
    kit.save_golden(f"{stem}.golden.npz", [words(x).numpy() for x in xs], ys)


if __name__ == "__main__":
    main()
