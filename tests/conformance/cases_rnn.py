"""Cases: recurrent layers, their masks, states and wrappers."""
from keras import Input, Model, Sequential, layers as L

from cases_basic import ids
from kit import KERAS
from registry import add, layer, sequence, stack

STEPS, WIDTH, UNITS = 5, 3, 4
PATTERNS = {
    "end": ((0, -1), (0, -2), (1, -1)),
    "middle": ((0, 2), (1, 1), (1, 3)),
    "left": ((0, 0), (0, 1), (1, 0)),
    "whole_row": tuple((1, step) for step in range(STEPS)),
}


def masked(pattern):
    """Float input for Masking(0.0), with the steps of the pattern masked."""
    def make(rng, shape, dtype):
        x = rng.normal(0, 1.5, shape).astype(dtype)
        for row, step in PATTERNS[pattern]:
            x[row, step] = 0.0
        return x
    return make


def padded(pattern):
    """Word ids for Embedding(mask_zero=True)."""
    def make(rng, shape, dtype):
        x = rng.integers(1, 9, shape).astype(dtype)
        for row, step in PATTERNS[pattern]:
            x[row, step] = 0
        return x
    return make


def kinds():
    yield "lstm", L.LSTM, {}
    yield "gru", L.GRU, {"reset_after": True}
    yield "gru_reset_before", L.GRU, {"reset_after": False}
    yield "simple_rnn", L.SimpleRNN, {}


def options_of(kind):
    yield "", {}
    yield "sequences", {"return_sequences": True}
    yield "state", {"return_state": True}
    yield "sequences_state", {"return_sequences": True, "return_state": True}
    yield "backwards", {"go_backwards": True}
    yield "backwards_sequences", {"go_backwards": True, "return_sequences": True}
    yield "no_bias", {"use_bias": False, "return_sequences": True}
    yield "relu", {"activation": "relu", "return_sequences": True}
    yield "unroll_dropout", {"unroll": True, "dropout": 0.3, "recurrent_dropout": 0.2}
    if kind != "simple_rnn":
        yield "hard_sigmoid", {"recurrent_activation": "hard_sigmoid"}
        yield "softsign_tanh", {"activation": "softsign", "recurrent_activation": "tanh", "return_sequences": True}


SIMPLER = ("gru_reset_before", "simple_rnn")       # same file layout and masking as their richer relatives
SKIPPED_OPTIONS = ("state", "sequences_state", "backwards", "unroll_dropout", "softsign_tanh")


def mask_cases(kind):
    """(pattern, return_sequences): the last step and the whole sequence can go wrong apart from each other."""
    patterns = ("middle", "whole_row") if kind in SIMPLER else tuple(PATTERNS)
    for pattern in patterns:
        yield pattern, True
        if pattern in ("end", "middle"):
            yield pattern, False


for kind, cls, base in kinds():
    for label, options in options_of(kind):
        if kind in SIMPLER and label in SKIPPED_OPTIONS:
            continue
        name = f"{kind}_{label}".rstrip("_")
        layer(name, lambda c=cls, o={**base, **options}: c(UNITS, **o), (STEPS, WIDTH))
    layer(f"{kind}_dynamic", lambda c=cls, o=base: c(UNITS, return_sequences=True, **o), (None, WIDTH))
    for pattern, sequences in mask_cases(kind):
        name = f"{kind}_mask_{pattern}" + ("_sequences" if sequences else "")
        stack(name, (STEPS, WIDTH), lambda: L.Masking(0.0),
              lambda c=cls, o=base, s=sequences: c(UNITS, return_sequences=s, **o), makers=[masked(pattern)])
    stack(f"{kind}_mask_backwards", (STEPS, WIDTH), lambda: L.Masking(0.0),
          lambda c=cls, o=base: c(UNITS, go_backwards=True, return_sequences=True, **o), makers=[masked("middle")])
    stack(f"{kind}_mask_state", (STEPS, WIDTH), lambda: L.Masking(0.0),
          lambda c=cls, o=base: c(UNITS, return_state=True, **o), makers=[masked("end")])
    sequence(f"{kind}_sequential_embedding_mask", (None,), lambda: L.Embedding(9, WIDTH, mask_zero=True),
             lambda c=cls, o=base: c(UNITS, **o), lambda: L.Dense(2), dtype="int32", makers=[padded("end")])
    if kind in SIMPLER:
        continue
    stack(f"{kind}_embedding_mask_two", (STEPS,), lambda: L.Embedding(9, WIDTH, mask_zero=True),
          lambda c=cls, o=base: c(UNITS, return_sequences=True, **o), lambda c=cls, o=base: c(UNITS, **o),
          dtype="int32", makers=[padded("middle")])

sequence("lstm_sequential_masking", (None, WIDTH), lambda: L.Masking(0.0), lambda: L.LSTM(UNITS),
         makers=[masked("middle")])
stack("lstm_mask_zero_output", (STEPS, WIDTH), lambda: L.Masking(0.0),
      lambda: L.LSTM(UNITS, return_sequences=True, zero_output_for_mask=True), makers=[masked("middle")])
stack("lstm_mask_dense_softmax", (STEPS, WIDTH), lambda: L.Masking(0.0), lambda: L.LSTM(UNITS, return_sequences=True),
      lambda: L.TimeDistributed(L.Dense(3, activation="softmax")), makers=[masked("end")])
stack("lstm_mask_average", (STEPS, WIDTH), lambda: L.Masking(0.0), lambda: L.LSTM(UNITS, return_sequences=True),
      L.GlobalAveragePooling1D, makers=[masked("middle")])


def with_initial_state(make, states):
    def build():
        x = Input((STEPS, WIDTH), name="x")
        initial = [Input((UNITS,), name=f"state_{i}") for i in range(states)]
        out = make()(x, initial_state=initial if states > 1 else initial[0])
        return Model([x] + initial, out)
    return build


add("lstm_initial_state", with_initial_state(lambda: L.LSTM(UNITS), 2))
add("lstm_initial_state_sequences_state", with_initial_state(
    lambda: L.LSTM(UNITS, return_sequences=True, return_state=True), 2))
add("gru_initial_state", with_initial_state(lambda: L.GRU(UNITS), 1))
add("gru_reset_before_initial_state", with_initial_state(lambda: L.GRU(UNITS, reset_after=False), 1))
add("simple_rnn_initial_state", with_initial_state(lambda: L.SimpleRNN(UNITS), 1))


def encoder_decoder():
    """The seq2seq of the Keras tutorial: the decoder starts from the encoder's states."""
    source = Input((None, WIDTH), name="source")
    target = Input((None, WIDTH), name="target")
    _, h, c = L.LSTM(UNITS, return_state=True, name="encoder")(source)
    decoded, _, _ = L.LSTM(UNITS, return_sequences=True, return_state=True, name="decoder")(
        target, initial_state=[h, c])
    return Model([source, target], L.Dense(3, activation="softmax", name="words")(decoded))


add("encoder_decoder", encoder_decoder)


def stateful():
    x = Input(batch_shape=(2, STEPS, WIDTH))
    return Model(x, L.LSTM(UNITS, stateful=True)(x))


def stateful_call_resets(build):
    """A stateful layer starts from zeros, and the golden is its first call."""
    def make():
        model = build()
        plain = model.call

        def call(*args, **kwargs):
            for each in model.layers:
                if getattr(each, "stateful", False):
                    each.reset_states() if KERAS < 3 else each.reset_state()
            return plain(*args, **kwargs)
        model.call = call
        return model
    return make


add("lstm_stateful", stateful_call_resets(stateful))
if KERAS < 3:
    layer("lstm_time_major", lambda: L.LSTM(UNITS, time_major=True, return_sequences=True), (STEPS, WIDTH))

# --- Bidirectional --------------------------------------------------------------------------------------------------
for kind, cls, base in kinds():
    for sequences in (False, True):
        label = "sequences" if sequences else "last"
        layer(f"bidirectional_{kind}_{label}",
              lambda c=cls, o=base, s=sequences: L.Bidirectional(c(UNITS, return_sequences=s, **o)), (STEPS, WIDTH))
    stack(f"bidirectional_{kind}_masked", (STEPS, WIDTH), lambda: L.Masking(0.0),
          lambda c=cls, o=base: L.Bidirectional(c(UNITS, return_sequences=True, **o)), makers=[masked("end")])
    stack(f"bidirectional_{kind}_masked_middle_last", (STEPS, WIDTH), lambda: L.Masking(0.0),
          lambda c=cls, o=base: L.Bidirectional(c(UNITS, **o)), makers=[masked("middle")])
for mode in ("sum", "mul", "ave", "concat", None):
    for sequences in (False, True) if mode in ("sum", None) else (True,):
        name = f"bidirectional_lstm_{mode or 'none'}_{'sequences' if sequences else 'last'}_mode"
        layer(name, lambda m=mode, s=sequences: L.Bidirectional(L.LSTM(UNITS, return_sequences=s), merge_mode=m),
              (STEPS, WIDTH))
layer("bidirectional_lstm_state", lambda: L.Bidirectional(L.LSTM(UNITS, return_state=True)), (STEPS, WIDTH))
layer("bidirectional_gru_sequences_state", lambda: L.Bidirectional(
    L.GRU(UNITS, return_sequences=True, return_state=True)), (STEPS, WIDTH))
layer("bidirectional_two_layers", lambda: L.Bidirectional(
    L.LSTM(UNITS, return_sequences=True), backward_layer=L.GRU(UNITS, return_sequences=True, go_backwards=True)),
      (STEPS, WIDTH))
layer("bidirectional_go_backwards", lambda: L.Bidirectional(
    L.GRU(UNITS, return_sequences=True, go_backwards=True)), (STEPS, WIDTH), only=2)
layer("bidirectional_lstm_dynamic", lambda: L.Bidirectional(L.LSTM(UNITS, return_sequences=True)), (None, WIDTH))
stack("bidirectional_stacked", (None,), lambda: L.Embedding(9, WIDTH),
      lambda: L.Bidirectional(L.LSTM(UNITS, return_sequences=True)), lambda: L.Bidirectional(L.GRU(UNITS)),
      lambda: L.Dense(2), dtype="int32", makers=[ids(9)])
sequence("bidirectional_sequential_embedding_mask", (None,), lambda: L.Embedding(9, WIDTH, mask_zero=True),
         lambda: L.Bidirectional(L.LSTM(UNITS)), lambda: L.Dense(2), dtype="int32", makers=[padded("end")])


def bidirectional_initial_state():
    x = Input((STEPS, WIDTH), name="x")
    states = [Input((UNITS,), name=f"state_{i}") for i in range(4)]
    return Model([x] + states, L.Bidirectional(L.LSTM(UNITS))(x, initial_state=states))


add("bidirectional_initial_state", bidirectional_initial_state)

# --- TimeDistributed ------------------------------------------------------------------------------------------------
layer("time_distributed_dense", lambda: L.TimeDistributed(L.Dense(4, activation="tanh")), (STEPS, WIDTH))
layer("time_distributed_dense_dynamic", lambda: L.TimeDistributed(L.Dense(4)), (None, WIDTH))
layer("time_distributed_conv2d", lambda: L.TimeDistributed(L.Conv2D(2, 3, padding="same")), (3, 4, 4, 2))
layer("time_distributed_conv2d_dynamic", lambda: L.TimeDistributed(L.Conv2D(2, 3)), (None, 4, 4, 2))
layer("time_distributed_pool", lambda: L.TimeDistributed(L.MaxPooling2D()), (3, 4, 4, 2))
layer("time_distributed_flatten", lambda: L.TimeDistributed(L.Flatten()), (3, 4, 2))
layer("time_distributed_batch_norm", lambda: L.TimeDistributed(L.BatchNormalization()), (3, 4, 2))
layer("time_distributed_embedding", lambda: L.TimeDistributed(L.Embedding(9, 3)), (3, 4), dtype="int32",
      makers=[ids(9)])
layer("time_distributed_lstm", lambda: L.TimeDistributed(L.LSTM(3)), (3, 4, 2))
layer("time_distributed_nested", lambda: L.TimeDistributed(
    Sequential([Input((4, 4, 2)), L.Conv2D(3, 3), L.BatchNormalization(), L.ReLU(), L.Flatten(), L.Dense(3)],
               name="frame")), (3, 4, 4, 2))
stack("time_distributed_video", (3, 6, 6, 1), lambda: L.TimeDistributed(L.Conv2D(2, 3, activation="relu")),
      lambda: L.TimeDistributed(L.MaxPooling2D()), lambda: L.TimeDistributed(L.Flatten()), lambda: L.LSTM(4),
      lambda: L.Dense(2))
