"""Cases: masks that meet. Keras 2 and 3 join them by different rules, and Keras 3 computes them by operations that count
among those of the model: for its names, and for the order of its weights."""
from keras import Input, Model, Sequential, layers as L

from cases_basic import masked_steps
from registry import add

STEPS, WIDTH, UNITS = 6, 4, 3


def ids(*padded):
    """Word ids whose last steps are padding: in each row as many as it says."""
    def make(rng, shape, dtype):
        words = rng.integers(1, 9, shape)
        for row, steps in enumerate(padded):
            words[row, shape[1] - steps:] = 0
        return words.astype(dtype)
    return make


def gaps(rng, shape, dtype):
    words = rng.integers(1, 9, shape)
    words[0, 1], words[1, 3] = 0, 0
    return words.astype(dtype)


def words(name, masked=True):
    x = Input((STEPS,), dtype="int32", name=name)
    return x, L.Embedding(9, WIDTH, mask_zero=masked, name=f"{name}_embedding")(x)


def merged(merge, both):
    """Two embedded sequences, joined, read by an LSTM; the second one is masked, or not."""
    def build():
        a, x = words("a")
        b, y = words("b", masked=both)
        return Model([a, b], L.LSTM(UNITS, name="lstm")(merge()([x, y])))
    return build


for name, merge in (("added", lambda: L.Add(name="sum")), ("averaged", lambda: L.Average(name="mean")),
                    ("multiplied", lambda: L.Multiply(name="product")), ("maximum", lambda: L.Maximum(name="largest")),
                    # As Keras 3 would call the operation that joins the masks.
                    ("concatenated", lambda: L.Concatenate(name="concatenate")),
                    ("concatenated_in_time", lambda: L.Concatenate(axis=1, name="concatenate"))):
    add(f"masks_{name}", merged(merge, True), [ids(1, 3), gaps])
    if "time" not in name:
        add(f"masks_{name}_with_none", merged(merge, False), [ids(1, 3), None])


def one_mask_twice():
    """Both inputs of the sum have the same mask."""
    a, x = words("a")
    y = L.Dense(WIDTH, activation="tanh", name="dense")(x)
    return Model(a, L.LSTM(UNITS, name="lstm")(L.Add(name="sum")([x, y])))


def unread():
    """No layer behind the sum asks for a mask."""
    a, x = words("a")
    b, y = words("b", masked=False)
    return Model([a, b], L.Dense(UNITS, name="dense")(L.Add(name="sum")([x, y])))


def behind_layers():
    """The joined mask is read far from where it was joined."""
    a, x = words("a")
    b, y = words("b", masked=False)
    y = L.Dense(WIDTH, activation="tanh", name="dense")(L.Add(name="sum")([x, y]))
    return Model([a, b], L.GlobalAveragePooling1D(name="pool")(L.LayerNormalization(name="norm")(y)))


def order_of_weights():
    """Two Dense of one shape, at one distance from the output but for the operations that compute a mask."""
    a, b = Input((STEPS, WIDTH), name="a"), Input((STEPS, WIDTH), name="b")
    x = L.LSTM(UNITS, name="x_lstm")(L.Masking(0.0, name="x_mask")(L.Dense(WIDTH, name="x_dense")(a)))
    y = L.Activation("tanh", name="y_tanh")(L.Dense(WIDTH, name="y_dense")(b))
    y = L.LSTM(UNITS, name="y_lstm")(y)
    return Model([a, b], L.Concatenate(name="both")([y, x]))


def taken_names():
    """Layers that are called as Keras 3 calls the operations that compute masks."""
    a = Input((STEPS, WIDTH), name="a")
    x = L.Dense(WIDTH, name="not_equal")(L.Masking(0.0, name="any")(a))
    return Model(a, L.LSTM(UNITS, name="logical_or")(x))


add("masks_one_twice", one_mask_twice, [ids(1, 3)])
add("masks_unread", unread, [ids(1, 3), None])
add("masks_behind_layers", behind_layers, [ids(1, 3), None])
add("masks_order_of_weights", order_of_weights, only=2)
add("masks_taken_names", taken_names, [masked_steps(0.0)])


# --- models inside --------------------------------------------------------------------------------------------------
def inside_functional():
    """Keras 3 gives a model inside its mask as an argument; what comes out carries it on, untold."""
    a, x = words("a")
    i = Input((STEPS, WIDTH), name="inner_in")
    inner = Model(i, L.LSTM(WIDTH, return_sequences=True, name="lstm")(i), name="inner")
    return Model(a, L.GRU(UNITS, name="gru")(inner(x)))


def inside_sequential():
    a, x = words("a")
    inner = Sequential([Input((STEPS, WIDTH)), L.Dense(WIDTH, activation="tanh", name="dense"),
                        L.LSTM(UNITS, name="lstm")], name="inner")
    return Model(a, inner(x))


def inside_two_inputs():
    """The mask comes with the second input, the third output has none."""
    p, q = Input((STEPS, WIDTH), name="p"), Input((STEPS, WIDTH), name="q")
    inner = Model([p, q], [L.LSTM(UNITS, name="lstm_p")(p), L.Dense(WIDTH, name="dense")(q),
                           L.GRU(UNITS, name="gru_q")(q)], name="inner")
    a, x = words("a")
    b = Input((STEPS, WIDTH), name="b")
    first, second, third = inner([b, x])
    return Model([a, b], [first, L.LSTM(UNITS, name="lstm")(second), third])


add("masks_inside_functional", inside_functional, [ids(1, 3)])
add("masks_inside_sequential", inside_sequential, [ids(1, 3)])
add("masks_inside_two_inputs", inside_two_inputs, [ids(1, 3), None])
