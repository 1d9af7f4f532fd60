"""Masks on their way: random models of masked sequences, nested, shared and called twice, for `compose.py masked`.

Single layers say little about masks: what a layer inside a model does to the mask of a tensor outside of it shows only
where something behind it asks for that mask. Every sequence here is (batch, time, WIDTH), so that any may follow any.
"""
from kit import KERAS, keras, np, tf
from keras import Model, Sequential, layers as L

X = keras.ops if KERAS >= 3 else None
WIDTH = 4
# A step more is a segment inside a model, as often as this.
NESTED = 0.35


def floats(flags):
    return X.cast(flags, "float32") if X else tf.cast(flags, "float32")


# --- what begins a masked sequence, of ids (batch, time) ------------------------------------------------------------
def embedded(rng, ids):
    return L.Embedding(9, WIDTH, mask_zero=True)(ids)


def masked(rng, ids):
    keep = floats(ids > 0)
    return L.Masking()(L.Embedding(9, WIDTH)(ids) * keep[:, :, None])


def unmasked(rng, ids):
    return L.Embedding(9, WIDTH)(ids)


def embedded_inside(rng, ids):
    inner = keras.Input((None,), dtype="int32")
    y = step(rng, [L.Embedding(9, WIDTH, mask_zero=True)(inner)], 1)
    return Model(inner, y)(ids)


SOURCES = [embedded, embedded, embedded, masked, embedded_inside, unmasked]


# --- what makes a sequence of one or two ----------------------------------------------------------------------------
def attention(rng, x, z):
    causal = {"use_causal_mask": True} if rng.random() < 0.2 else {}
    return L.MultiHeadAttention(2, 3)(x, x if rng.random() < 0.5 else z, **causal)


def simple_attention(rng, x, z):
    layer = L.Attention() if rng.random() < 0.5 else L.AdditiveAttention()
    return layer([x, z] if rng.random() < 0.7 else [x, z, x])


def recurrent(rng, x, z):
    layer = [L.LSTM, L.GRU, L.SimpleRNN][rng.integers(3)]
    return layer(WIDTH, return_sequences=True, go_backwards=bool(rng.random() < 0.2))(x)


def both_ways(rng, x, z):
    mode = ["concat", "sum", "ave", "mul"][rng.integers(4)]
    inner = [L.LSTM, L.GRU][rng.integers(2)](WIDTH // 2 if mode == "concat" else WIDTH, return_sequences=True)
    return L.Bidirectional(inner, merge_mode=mode)(x)


def handed_on(rng, x, z):
    y, *states = [L.LSTM, L.GRU][rng.integers(2)](WIDTH, return_sequences=True, return_state=True)(x)
    layer = [L.GRU, None, L.LSTM][len(states)] if len(states) == 2 else L.GRU
    return layer(WIDTH, return_sequences=True)(z, initial_state=states if len(states) > 1 else states[0])


def cells(rng, x, z):
    return L.RNN([L.GRUCell(3), L.LSTMCell(WIDTH)], return_sequences=True)(x)


def merged(rng, x, z):
    return [L.Add, L.Multiply, L.Average, L.Maximum, L.Subtract][rng.integers(5)]()([x, z])


def side_by_side(rng, x, z):
    return L.Dense(WIDTH)(L.Concatenate()([x, z]))


def operated(rng, x, z):
    return [lambda: x + z, lambda: x * 0.5, lambda: x - z[:, :1], lambda: x[:, ::-1]][rng.integers(4)]()


def one_to_one(rng, x, z):
    layers = [lambda: L.Dense(WIDTH, activation="tanh"), lambda: L.Dropout(0.3), lambda: L.LayerNormalization(),
              lambda: L.Activation("sigmoid"), lambda: L.TimeDistributed(L.Dense(WIDTH)), lambda: L.ReLU(),
              lambda: L.SpatialDropout1D(0.2), lambda: L.Conv1D(WIDTH, 2, padding="same"), lambda: L.Softmax(),
              lambda: L.BatchNormalization(), lambda: L.UnitNormalization(), lambda: L.Permute((1, 2)),
              lambda: L.Masking(0.0), lambda: L.GaussianNoise(0.1), lambda: L.Reshape((-1, WIDTH))]
    if KERAS >= 3:
        layers += [lambda: L.RMSNormalization(), lambda: L.Identity(), lambda: L.GroupQueryAttention(3, 2, 1)]
    layer = layers[rng.integers(len(layers))]()
    return layer(x, z) if "Query" in type(layer).__name__ else layer(x)


def joined_in_time(rng, x, z):
    joined = L.Concatenate(axis=1)([x, z])
    return L.Add()([x, L.RepeatVector(1)(L.GlobalAveragePooling1D()(joined))])


def straight(rng, x, z):
    """A Sequential of layers."""
    layers = [L.Dense(WIDTH), L.LayerNormalization(), L.Dropout(0.1), L.GRU(WIDTH, return_sequences=True)]
    return Sequential([layers[i] for i in rng.choice(len(layers), 2, replace=False)])(x)


STEPS = [attention, attention, attention, simple_attention, recurrent, both_ways, handed_on, cells, merged, merged,
         side_by_side, operated, one_to_one, one_to_one, one_to_one, joined_in_time, straight]


def inside(rng, sequences, depth):
    """A segment as a model of one or two inputs, called once or twice."""
    count = int(rng.integers(1, 3))
    inputs = [keras.Input((None, WIDTH)) for _ in range(count)]
    found = list(inputs)
    for _ in range(rng.integers(1, 4)):
        found.append(step(rng, found, depth + 1))
    outputs = found[-1] if rng.random() < 0.7 or len(found) < count + 2 else found[-2:]
    model = Model(inputs, outputs)
    def called():
        chosen = [sequences[-1]] + [sequences[rng.integers(len(sequences))] for _ in range(count - 1)]
        given = model(chosen if count > 1 else chosen[0])
        return L.Add()(given) if isinstance(given, (list, tuple)) else given
    y = called()
    if rng.random() < 0.4:
        sequences.append(y)
        y = called()
    return y


def step(rng, sequences, depth=0):
    if depth < 2 and rng.random() < NESTED:
        return inside(rng, sequences, depth)
    x, z = sequences[-1], sequences[rng.integers(len(sequences))]
    return STEPS[rng.integers(len(STEPS))](rng, x, z)


# --- what asks for the mask -----------------------------------------------------------------------------------------
ENDS = [lambda x: L.GlobalAveragePooling1D()(x), lambda x: L.GRU(3)(x), lambda x: L.Bidirectional(L.LSTM(2))(x),
        lambda x: L.GlobalAveragePooling1D()(L.Attention()([x, x])), lambda x: L.Flatten()(L.LSTM(3)(x)),
        lambda x: L.RNN([L.LSTMCell(2), L.GRUCell(3)])(x)]


def draw(rng):
    inputs = [keras.Input((None,), dtype="int32", name=f"ids{i}") for i in range(rng.integers(1, 3))]
    sequences = [SOURCES[rng.integers(len(SOURCES))](rng, ids) for ids in inputs]
    first = len(sequences)
    for _ in range(rng.integers(2, 6)):
        sequences.append(step(rng, sequences))
    asked = {len(sequences) - 1, int(rng.integers(first)), int(rng.integers(len(sequences)))}
    return Model(inputs, [ENDS[rng.integers(len(ENDS))](sequences[at]) for at in sorted(asked)])
