"""Cases: recurrent layers, cells, Bidirectional, ConvLSTM, TimeDistributed, SpectralNormalization."""
import itertools

from kit import KERAS, np
from recurrent_cases import B, F, MASK, T, U, L, add, array, ref

X = (B, T, F)
KINDS = {
    "lstm": (L.LSTM, {}, 2), "gru": (L.GRU, {"reset_after": True}, 1),
    "gru_before": (L.GRU, {"reset_after": False}, 1), "simple": (L.SimpleRNN, {}, 1),
}
CELLS = {"lstm": L.LSTMCell, "gru": L.GRUCell, "simple": L.SimpleRNNCell}
OPTIONS = {
    "plain": {}, "sequences": {"return_sequences": True}, "state": {"return_state": True},
    "both": {"return_sequences": True, "return_state": True}, "backwards": {"go_backwards": True},
    "backwards_both": {"go_backwards": True, "return_sequences": True, "return_state": True},
    "no_bias": {"use_bias": False}, "unroll": {"unroll": True, "return_sequences": True},
    "zero": {"zero_output_for_mask": True}, "zero_both": {
        "zero_output_for_mask": True, "return_sequences": True, "return_state": True},
    "elu": {"activation": "elu", "return_sequences": True},
}
GATED = {
    "hard": {"recurrent_activation": "hard_sigmoid", "return_sequences": True},
    "mixed": {"activation": "softsign", "recurrent_activation": "tanh"},
}
# What the IR has no word for in a recurrent op: these become a Scan.
SCANNED = {"softmax": {"activation": "softmax", "return_sequences": True, "return_state": True}}
if KERAS >= 3:
    SCANNED["hard_silu"] = {"activation": "hard_silu", "go_backwards": True, "return_sequences": True}


def with_states(count, first=1):
    """The call with initial states: all inputs but the first. A Keras 2 file lists them beside the sequence."""
    states = [ref(first + i) for i in range(count)]
    call = ([ref(0)], {"initial_state": states})
    return {"call": call, "record": ([[ref(0)] + states], {}) if KERAS < 3 else call}


for kind, (cls, base, states) in KINDS.items():
    gated = {} if kind == "simple" else GATED
    for label, options in {**OPTIONS, **gated, **SCANNED}.items():
        make = lambda c=cls, o={**base, **options}: c(U, **o)
        add(f"{kind}_{label}", make, X)
        add(f"{kind}_{label}_masked", make, X, masks=[MASK])
    for label in ("plain", "both", "backwards_both", "zero"):
        make = lambda c=cls, o={**base, **OPTIONS[label]}: c(U, **o)
        initial = [(B, U)] * states
        add(f"{kind}_{label}_initial", make, X, *initial, **with_states(states))
        add(f"{kind}_{label}_initial_masked", make, X, *initial, masks=[MASK], **with_states(states))
    add(f"{kind}_softmax_initial_masked", lambda c=cls, o={**base, **SCANNED["softmax"]}: c(U, **o), X,
        *[(B, U)] * states, masks=[MASK], **with_states(states))
    add(f"{kind}_explicit_mask", lambda c=cls, o=base: c(U, return_sequences=True, **o), X, MASK,
        call=([ref(0)], {"mask": ref(1)}), free=[[0, 1], [0, 1]])
    add(f"{kind}_time_major", lambda c=cls, o=base: c(U, time_major=True, return_sequences=True, **o), X, only=2)

add("lstm_stateful", lambda: L.LSTM(U, stateful=True), X)
add("lstm_float64", lambda: L.LSTM(U, dtype="float64"), X)


# --- cells ----------------------------------------------------------------------------------------------------------
def stack(*names):
    return L.StackedRNNCells([CELLS[name](U + i) for i, name in enumerate(names)])


for kind, cls in CELLS.items():
    for label in ("plain", "both", "backwards_both"):
        add(f"rnn_{kind}_{label}_masked", lambda c=cls, o=OPTIONS[label]: L.RNN(c(U), **o), X, masks=[MASK])
for label in ("plain", "sequences", "both", "backwards_both", "zero_both"):
    make = lambda o=OPTIONS[label]: L.RNN(stack("lstm", "gru", "simple"), **o)
    add(f"rnn_stacked_{label}", make, X)
    add(f"rnn_stacked_{label}_masked", make, X, masks=[MASK])
if KERAS < 3:
    states = [(B, U), (B, U), (B, U + 1)]
    add("rnn_stacked_both_initial_masked", lambda: L.RNN(stack("lstm", "gru"), return_sequences=True), X, *states,
        masks=[MASK], call=([ref(0)], {"initial_state": [[ref(1), ref(2)], ref(3)]}),
        record=([[ref(0), ref(1), ref(2), ref(3)]], {}))

for kind, cls in CELLS.items():
    count = 2 if kind == "lstm" else 1
    states = [ref(1 + i) for i in range(count)]
    add(f"cell_{kind}", lambda c=cls: c(U), (B, F), *[(B, U)] * count, call=([ref(0), states], {}))
add("cell_stacked", lambda: stack("lstm", "gru"), (B, F), (B, U), (B, U), (B, U + 1),
    call=([ref(0), [[ref(1), ref(2)], ref(3)]], {}))

# --- Bidirectional --------------------------------------------------------------------------------------------------
for kind, (cls, base, states) in KINDS.items():
    for merge, sequences in itertools.product(("concat", "sum", "mul", "ave", None), (False, True)):
        if kind in ("gru_before", "simple") and merge not in ("concat", None):
            continue
        make = lambda c=cls, o=base, m=merge, s=sequences: L.Bidirectional(c(U, return_sequences=s, **o), merge_mode=m)
        name = f"bidirectional_{kind}_{merge or 'none'}" + ("_sequences" if sequences else "")
        add(name, make, X)
        add(name + "_masked", make, X, masks=[MASK])
    for sequences in (False, True):
        make = lambda c=cls, o=base, s=sequences: L.Bidirectional(c(U, return_sequences=s, return_state=True, **o))
        name = f"bidirectional_{kind}_state" + ("_sequences" if sequences else "")
        add(name, make, X)
        add(name + "_masked", make, X, masks=[MASK])
        initial = [(B, U)] * (2 * states)
        add(name + "_initial", make, X, *initial, **with_states(2 * states))
        add(name + "_initial_masked", make, X, *initial, masks=[MASK], **with_states(2 * states))
    add(f"bidirectional_{kind}_softmax_masked", lambda c=cls, o=base: L.Bidirectional(
        c(U, return_sequences=True, activation="softmax", **o)), X, masks=[MASK])
for label, sequences in (("last", False), ("sequences", True)):
    add(f"bidirectional_two_kinds_{label}_masked", lambda s=sequences: L.Bidirectional(
        L.LSTM(U, return_sequences=s), backward_layer=L.GRU(U + 1, return_sequences=s, go_backwards=True)), X,
        masks=[MASK])
    add(f"bidirectional_two_activations_{label}_masked", lambda s=sequences: L.Bidirectional(
        L.LSTM(U, return_sequences=s),
        backward_layer=L.LSTM(U, activation="relu", return_sequences=s, go_backwards=True)), X, masks=[MASK])
    add(f"bidirectional_cell_{label}_masked", lambda s=sequences: L.Bidirectional(
        L.RNN(stack("lstm", "gru"), return_sequences=s)), X, masks=[MASK])
    add(f"bidirectional_turned_{label}_masked", lambda s=sequences: L.Bidirectional(
        L.GRU(U, return_sequences=s, go_backwards=True)), X, masks=[MASK], only=2)
    add(f"bidirectional_zero_{label}_masked", lambda s=sequences: L.Bidirectional(
        L.LSTM(U, return_sequences=s, zero_output_for_mask=True)), X, masks=[MASK])


# --- cuDNN's layers, which only a GPU runs: Keras' own conversion says what they compute ------------------------------
def cudnn(kind):
    def make():
        return L.LSTM(U, return_sequences=True) if kind == "CuDNNLSTM" else L.GRU(U, return_sequences=True)

    def weights(layer):
        from keras.src.saving.legacy import hdf5_format as legacy
        # The way back exists too, so the stored form is made from the weights that gave the outputs.
        kernel, recurrent, bias = layer.get_weights()
        gates = 4 if kind == "CuDNNLSTM" else 3
        stored = [
            np.hstack([k.T.reshape(k.shape, order="C") for k in np.hsplit(kernel, gates)]),
            np.hstack([k.T for k in np.hsplit(recurrent, gates)]),
            np.concatenate([bias * 0.25, bias * 0.75]) if gates == 4 else bias.reshape(-1),
        ]
        read = legacy._convert_rnn_weights(layer, [np.array(w) for w in stored])
        for a, b in zip(read, layer.get_weights()):
            np.testing.assert_allclose(a, b, rtol=1e-6)
        config = {"units": U, "return_sequences": True, "go_backwards": False}
        roles = ("kernel", "recurrent_kernel", "bias")
        return {"class": kind, "config": config, "children": {},
                "weights": [dict(array(w), role=r) for w, r in zip(stored, roles)]}
    return make, weights


if KERAS < 3:
    for kind in ("CuDNNLSTM", "CuDNNGRU"):
        make, weights = cudnn(kind)
        add(kind.lower(), make, X, weights=weights)

# --- ConvLSTM -------------------------------------------------------------------------------------------------------
SIZES = {1: (6,), 2: (5, 4), 3: (3, 4, 3)}
CLASSES = {1: L.ConvLSTM1D, 2: L.ConvLSTM2D, 3: L.ConvLSTM3D}
for rank, cls in CLASSES.items():
    x = (B, T) + SIZES[rank] + (2,)
    for label, options in {
        "plain": {}, "sequences": {"return_sequences": True, "padding": "same"},
        "both_backwards": {"return_sequences": True, "return_state": True, "go_backwards": True},
        "even_strides": {"kernel_size": 2, "strides": 2, "padding": "same", "use_bias": False},
    }.items():
        if rank == 3 and label == "even_strides":
            continue
        make = lambda c=cls, o={"kernel_size": 3, **options}: c(2, **o)
        add(f"conv_lstm_{rank}_{label}", make, x)
    add(f"conv_lstm_{rank}_masked", lambda c=cls: c(2, 2, return_sequences=True), x, masks=[MASK])
add("conv_lstm_2_dilated", lambda: L.ConvLSTM2D(2, 2, dilation_rate=2, recurrent_activation="hard_sigmoid"),
    (B, T, 5, 4, 2))

# --- TimeDistributed ------------------------------------------------------------------------------------------------
add("time_dense", lambda: L.TimeDistributed(L.Dense(4, activation="tanh")), X)
add("time_dense_masked", lambda: L.TimeDistributed(L.Dense(4)), X, masks=[MASK])
add("time_conv", lambda: L.TimeDistributed(L.Conv2D(2, 2)), (B, T, 4, 3, 2))
add("time_flatten", lambda: L.TimeDistributed(L.Flatten()), (B, T, 2, 3))
add("time_pool", lambda: L.TimeDistributed(L.GlobalMaxPooling1D()), (B, T, 4, 2))
add("time_lstm", lambda: L.TimeDistributed(L.LSTM(3)), (B, T, 4, 2))
add("time_time", lambda: L.TimeDistributed(L.TimeDistributed(L.Dense(3))), (B, T, 4, 2))
words = np.random.default_rng(5).integers(0, 4, (B, T, 3)).astype("int32")
add("time_embedding", lambda: L.TimeDistributed(L.Embedding(5, 3)), words)
# Keras 2 asks the wrapped layer for masks: a sentence is masked word by word.
add("time_embedding_mask", lambda: L.TimeDistributed(L.Embedding(5, 3, mask_zero=True)), words, only=2)
inner = np.random.default_rng(6).random((B, T, 4)) < 0.6
inner[1, 2], inner[3] = False, False
add("time_lstm_masked", lambda: L.TimeDistributed(L.LSTM(3)), (B, T, 4, 2), masks=[inner])
add("time_lstm_sequences_masked", lambda: L.TimeDistributed(L.LSTM(3, return_sequences=True)), (B, T, 4, 2),
    masks=[inner])
add("time_bidirectional_masked", lambda: L.TimeDistributed(L.Bidirectional(L.GRU(3))), (B, T, 4, 2), masks=[inner],
    only=2)

add("spectral_dense", lambda: L.SpectralNormalization(L.Dense(4)), (B, F))
add("spectral_conv", lambda: L.SpectralNormalization(L.Conv2D(2, 2)), (B, 4, 4, 2), free=[[0]])
