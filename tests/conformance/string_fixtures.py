"""Makes tests/fixtures/strings: models that look words up, by the Keras that runs it, and lookup tables of TensorFlow.

    keras2/bin/python string_fixtures.py; keras3/bin/python string_fixtures.py

NAME.keras, NAME.h5 or the SavedModel NAME/, with NAME.golden.npz beside it: what the live model gives.
"""
import os
import shutil
import tempfile

import kit
import numpy as np
from kit import KERAS, keras, tf
from keras import layers as L
from saved_model_fixtures import trim

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "strings")
WORDS = ["red", "green", "a b", "Stra\u00dfe", "\u00e9"]
ROWS = np.array([["red", "Red", "x"], ["a b", "\u00e9", ""], ["Stra\u00dfe", "[UNK]", "green"], ["", "red", "red"]])
LEARNT = np.array([["b", "a", "c"], ["a", "c", ""], ["a", "b", "d"]])
ASKED = np.array([["a", "b", "z"], ["", "c", "[UNK]"], ["d", "d", "a"]])


def learnt():
    x = keras.Input((3,), dtype="string")
    lookup = L.StringLookup(mask_token="")
    lookup.adapt(LEARNT)
    return keras.Model(x, lookup(x)), [ASKED]


def tf_idf():
    x = keras.Input((3,), dtype="string")
    lookup = L.StringLookup(output_mode="tf_idf")
    lookup.adapt(LEARNT)
    return keras.Model(x, lookup(x)), [ASKED]


def counted():
    x = keras.Input((3,), dtype="string")
    lookup = L.StringLookup(vocabulary=WORDS, mask_token="", output_mode="count", max_tokens=8, pad_to_max_tokens=True)
    return keras.Model(x, lookup(x)), [ROWS]


def from_file():
    """Its words are a file, which a SavedModel takes along."""
    x = keras.Input((3,), dtype="string")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "words.txt")
        with open(path, "w") as file:
            file.write("\n".join(WORDS) + "\n")
        model = keras.Model(x, L.StringLookup(vocabulary=path)(x))
        ys = kit.call(model, [ROWS])
        save_directory(model, os.path.join(OUT, "k2_from_file"))
    kit.save_golden(os.path.join(OUT, "k2_from_file.golden.npz"), [ROWS], ys)


def names():
    """Words out: what a classifier says."""
    x = keras.Input((3,), dtype="int64")
    lookup = L.StringLookup(vocabulary=WORDS, invert=True, mask_token="-")
    return keras.Model(x, lookup(x)), [np.array([[0, 1, 2], [6, 7, -1], [3, 4, 5]])]


def tabular():
    """A word and two numbers in, as of a table."""
    x, numbers = keras.Input((1,), dtype="string"), keras.Input((2,))
    place = L.StringLookup(vocabulary=WORDS)(x)
    known = L.Flatten()(L.Embedding(6, 3)(place))
    joined = L.Concatenate()([known, L.CategoryEncoding(6, output_mode="one_hot")(place), numbers])
    rng = np.random.default_rng(3)
    return keras.Model([x, numbers], L.Dense(2)(joined)), [ROWS[:, :1], rng.normal(0, 1, (4, 2)).astype("float32")]


def save_directory(model, path):
    shutil.rmtree(path, ignore_errors=True)
    if KERAS >= 3:
        model.export(path, verbose=False)
    else:
        model.save(path, save_format="tf", include_optimizer=False)
    trim(path)


def tables():
    """Tables filled with constants, with a file from either side, with columns of one; constants that are picked."""
    lookup = tf.lookup
    module = tf.Module()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "words.txt")
        columns = os.path.join(folder, "columns.txt")
        with open(path, "w") as file:
            file.write("\n".join(WORDS))
        with open(columns, "w") as file:
            file.write("red;7\r\n\u00e9;-3\r\n")
        line, whole = lookup.TextFileIndex.LINE_NUMBER, lookup.TextFileIndex.WHOLE_LINE
        text = lookup.TextFileInitializer
        pairs = lookup.KeyValueTensorInitializer
        module.places = lookup.StaticHashTable(text(path, tf.string, whole, tf.int64, line), -1)
        module.words = lookup.StaticHashTable(text(path, tf.int64, line, tf.string, whole), "?")
        module.columns = lookup.StaticHashTable(text(columns, tf.string, 0, tf.int64, 1, delimiter=";"), 0)
        module.pairs = lookup.StaticHashTable(pairs(["red", "x"], tf.constant([5, -5], tf.int64)), 9)
        module.others = lookup.StaticHashTable(pairs(["red", "x"], ["rouge", "ics"]), "none")
        module.numbers = lookup.StaticHashTable(pairs(tf.constant([2, 0], tf.int64), tf.constant([20, 7], tf.int64)), 1)

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.string, name="x")])
        def run(x):
            place = module.places.lookup(x)
            size = tf.cast(module.places.size(), tf.int64)
            return {"place": place, "word": module.words.lookup(place + 1), "column": module.columns.lookup(x),
                    "pair": module.pairs.lookup(x), "other": module.others.lookup(x),
                    "same": tf.equal(x, ["red", "x", ""]),
                    "number": module.numbers.lookup(place), "label": tf.gather(["none", *WORDS], (place + 1) % size),
                    "chosen": tf.where(x == "red", "yes", x)}
        module.run = run
        target = os.path.join(OUT, "tables")
        shutil.rmtree(target, ignore_errors=True)
        tf.saved_model.save(module, target, signatures=run)
        ys = {name: kit.plain(y.numpy()) for name, y in run(tf.constant(ROWS)).items()}
    trim(target)
    np.savez(os.path.join(OUT, "tables.golden.npz"), x0=ROWS, **ys)


MODELS = {
    2: [("learnt", learnt, ["keras", ""]), ("tf_idf", tf_idf, ["", "keras"]), ("counted", counted, ["h5"]),
        ("names", names, [""]), ("tabular", tabular, ["h5"])],
    3: [("learnt", learnt, ["keras", ""]), ("tf_idf", tf_idf, ["keras"]), ("counted", counted, ["h5", ""]),
        ("names", names, ["keras", ""]), ("tabular", tabular, ["keras", ""])],
}


def save(out, kind, build, containers, random):
    """One model in several containers, "" for a SavedModel, each with what the live model gives. `random`: it has weights
    besides what was learnt or given."""
    os.makedirs(out, exist_ok=True)
    kit.begin(kind)
    model, xs = build()
    if random:
        kit.randomise(model, np.random.default_rng(kit.seed_of(kind)))
    ys = kit.call(model, xs)
    for container in containers:
        path = os.path.join(out, f"k{KERAS}_{kind}" + ("" if container else "_saved"))
        if container:
            model.save(f"{path}.{container}")
        else:
            save_directory(model, path)
        kit.save_golden(f"{path}.golden.npz", xs, ys)


def main():
    for kind, build, containers in MODELS[KERAS]:
        save(OUT, kind, build, containers, kind == "tabular")
    if KERAS < 3:
        from_file()
        tables()
    kit.say(f"{OUT} by Keras {keras.__version__}")


if __name__ == "__main__":
    main()
