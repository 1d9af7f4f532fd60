"""Makes tests/fixtures/text: models that cut, hash and cross texts and numbers, by the Keras that runs it.

    keras2/bin/python text_fixtures.py; keras3/bin/python text_fixtures.py

NAME.keras, NAME.h5 or the SavedModel NAME/, with NAME.golden.npz beside it: what the live model gives. `CASES` are the
models of the matrix, too.
"""
import os

import kit
import numpy as np
from kit import KERAS, keras
from keras import layers as L

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "text")
WORDS = ["red", "fish", "blue fish", "\u00e9", "a", "red fish"]
TEXTS = np.array([["Red  fish, blue\tfish!"], ["the Red-dog's \u00e9 \u00c9 red fish"], ["one two three four five six"],
                  ["a"]])
LEARNT = np.array([["red fish blue fish"], ["red dog"], ["a fish, a dog, a cat"]])
PAIRS = np.array([["green", ""], ["a b", "\u00e9"], ["x" * 20, "y" * 40], ["z" * 70, "red"]])
NUMBERS = np.array([[0, -7], [12345678901, 3], [2, 5], [9, -1]])


def of(values, *layers):
    values = np.array(values)
    x = keras.Input(values.shape[1:], dtype="string" if values.dtype.kind == "U" else str(values.dtype))
    y = x
    for layer in layers:
        y = layer(y)
    return keras.Model(x, y), [values]


def text(adapt=False, values=TEXTS, **options):
    if not adapt:
        options.setdefault("vocabulary", WORDS)
    layer = L.TextVectorization(**options)
    if adapt:
        layer.adapt(LEARNT[:, 0])
    return of(values, layer)


def cross(columns, **options):
    arrays = [np.array(column) for column in columns]
    inputs = [keras.Input(a.shape[1:], dtype="string" if a.dtype.kind == "U" else "int64") for a in arrays]
    return keras.Model(inputs, L.HashedCrossing(**options)(inputs)), arrays


def classifier():
    """Words of any number, as a classifier takes them."""
    embedded = L.Embedding(9, 4, mask_zero=True)
    return of(TEXTS, L.TextVectorization(vocabulary=WORDS), embedded, L.LSTM(3), L.Dense(2))


def twice():
    """One layer on two texts, each with words of its own."""
    layer = L.TextVectorization(vocabulary=WORDS, output_mode="int")
    a, b = keras.Input((1,), dtype="string"), keras.Input((1,), dtype="string")
    embed, pool = L.Embedding(9, 3), L.GlobalMaxPooling1D()
    model = keras.Model([a, b], L.Concatenate()([pool(embed(layer(a))), pool(embed(layer(b)))]))
    return model, [TEXTS, np.array([["fish"], ["a fish"], ["red red red"], ["blue fish a"]])]


def tabular():
    """Hashed words and numbers of a table, crossed and known ones."""
    a, b, c = keras.Input((1,), dtype="string"), keras.Input((1,), dtype="int64"), keras.Input((2,))
    known = L.StringLookup(vocabulary=WORDS, num_oov_indices=2, output_mode="one_hot")(a)
    hashed = L.Hashing(5, output_mode="one_hot")(b)
    crossed = L.HashedCrossing(6, output_mode="one_hot")([a, b])
    y = L.Dense(3)(L.Concatenate()([known, hashed, crossed, c]))
    rng = np.random.default_rng(5)
    return keras.Model([a, b, c], y), [PAIRS[:, :1], NUMBERS[:, :1], rng.normal(0, 1, (4, 2)).astype("float32")]


ONE = PAIRS[:, :1]
HASHES = {
    "plain": dict(num_bins=7), "salt": dict(num_bins=7, salt=133), "salts": dict(num_bins=1000, salt=[133, 137]),
    "count": dict(num_bins=3, output_mode="count"),
}
if KERAS >= 3:
    # Keras 2 gives no more than two axes.
    HASHES["one_hot"] = dict(num_bins=4, output_mode="one_hot")
CASES = {
    **{f"hash_{name}": lambda o=o: of(PAIRS, L.Hashing(**o)) for name, o in HASHES.items()},
    **{f"hash_int_{name}": lambda o=o: of(NUMBERS, L.Hashing(**o)) for name, o in HASHES.items()},
    "hash_mask": lambda: of(PAIRS, L.Hashing(6, mask_value="red")),
    "hash_int_mask": lambda: of(NUMBERS, L.Hashing(6, mask_value=3, output_mode="multi_hot")),
    "hash_int32": lambda: of((NUMBERS % 100).astype("int32"), L.Hashing(11, mask_value=0)),
    "hash_one_hot_single": lambda: of(ONE, L.Hashing(4, output_mode="one_hot")),
    "hash_one_bin": lambda: of(PAIRS, L.Hashing(2, mask_value="")),
    "cross": lambda: cross([ONE, NUMBERS[:, :1]], num_bins=9),
    "cross_ints": lambda: cross([NUMBERS[:, :1], NUMBERS[:, 1:]], num_bins=9),
    "cross_words": lambda: cross([ONE, PAIRS[:, 1:]], num_bins=1000),
    "cross_one_hot": lambda: cross([ONE, NUMBERS[:, :1]], num_bins=5, output_mode="one_hot"),
    "lookup_oov": lambda: of(PAIRS, L.StringLookup(vocabulary=["red", "a"], num_oov_indices=3)),
    "lookup_oov_mask": lambda: of(PAIRS, L.StringLookup(vocabulary=["red"], num_oov_indices=3, mask_token="")),
    "lookup_oov_count": lambda: of(PAIRS, L.StringLookup(vocabulary=["red"], num_oov_indices=2, mask_token="",
                                                         output_mode="count")),
    "numbers_oov": lambda: of(NUMBERS, L.IntegerLookup(vocabulary=[3, 9], num_oov_indices=3)),
    "numbers_oov_mask": lambda: of(NUMBERS, L.IntegerLookup(vocabulary=[3, 9], num_oov_indices=2, mask_token=0)),
    "numbers_oov_count": lambda: of(NUMBERS, L.IntegerLookup(vocabulary=[3, 9], num_oov_indices=4, mask_token=0,
                                                             output_mode="count")),
    "text": lambda: text(output_sequence_length=4),
    "text_longer": lambda: text(output_sequence_length=12),
    "text_free": lambda: text(),
    "text_vector": lambda: text(values=TEXTS[:, 0], output_sequence_length=5),
    "text_lower": lambda: text(standardize="lower", output_sequence_length=4),
    "text_strip": lambda: text(standardize="strip_punctuation", output_sequence_length=4),
    "text_as_is": lambda: text(standardize=None, output_sequence_length=4),
    "text_characters": lambda: text(split="character", vocabulary=list("abcdefr \u00e9"), output_sequence_length=9),
    "text_whole": lambda: text(split=None, standardize="lower", values=[["Red", "FISH"], ["a", ""]]),
    "text_whole_longer": lambda: text(split=None, values=[["Red", "FISH!"], ["a", ""]], output_sequence_length=3),
    "text_ngrams": lambda: text(ngrams=2, output_sequence_length=8),
    "text_ngrams_pair": lambda: text(ngrams=(3, 2), output_mode="count"),
    "text_multi_hot": lambda: text(output_mode="multi_hot"),
    "text_count": lambda: text(output_mode="count", ngrams=2, max_tokens=12, pad_to_max_tokens=True),
    "text_tf_idf": lambda: text(output_mode="tf_idf", idf_weights=[0.5, 1.5, 0.25, 0.75, 1.0, 2.0]),
    "text_count_characters": lambda: text(output_mode="count", split="character", vocabulary=list("redx")),
    "text_learnt": lambda: text(adapt=True, output_sequence_length=5),
    "text_learnt_tf_idf": lambda: text(adapt=True, output_mode="tf_idf", ngrams=2),
    "text_classifier": classifier,
    "text_twice": twice,
    "tabular": tabular,
}
if KERAS >= 3:
    CASES |= {
        "numbers_oov_hash": lambda: of(NUMBERS, L.IntegerLookup(vocabulary=[3], num_oov_indices=5,
                                                                oov_method="farmhash")),
        "numbers_oov_salt": lambda: of(NUMBERS, L.IntegerLookup(vocabulary=[3], num_oov_indices=5,
                                                                oov_method="farmhash", salt=[3, 4])),
        "lookup_oov_salt": lambda: of(PAIRS, L.StringLookup(vocabulary=["red"], num_oov_indices=5, salt=7)),
    }
# Whose files are kept: what is read differs between the containers.
KEPT = {"hash_salts": ["h5"], "hash_int_mask": [""], "cross": ["keras"], "lookup_oov_mask": ["h5"], "text_free": ["h5"],
        "numbers_oov_count": ["keras"], "text_learnt": ["keras", ""], "text_learnt_tf_idf": ["keras"],
        "text_count": [""], "text_characters": [""], "text_count_characters": [""], "cross_one_hot": [""],
        "text_whole_longer": ["keras"], "tabular": ["keras"], "text_classifier": ["keras"], "text_twice": ["keras"]}


def main():
    # Not above: `CASES` are read by Pythons without what makes SavedModels.
    from string_fixtures import save
    for kind, containers in KEPT.items():
        save(OUT, kind, CASES[kind], containers, kind in ("tabular", "text_classifier", "text_twice"))
    kit.say(f"{OUT} by Keras {keras.__version__}")


if __name__ == "__main__":
    main()
