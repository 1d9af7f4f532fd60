"""Options, values and call arguments that no other table sets: what coverage.py found to be missing."""
from itertools import product

import numpy as np
from keras import Model

import kit
from kit import KERAS
from layer_case import Table, floats, given, ints, mask
from matrix_cases import Spec, layer_model, recurrent_model, subject_of, symbolic
from recurrent_cases import B, MASK, T, U, ref

L = kit.layers()

case = Table()
CASES = case.cases
FIRST = "channels_first"
CALLS = {}
STRING = "string"


def call(name, make, *inputs, masks=(), args=None, **kwargs):
    """One call in the words of recurrent_cases.py; `kwargs` are those of the call."""
    CALLS[name] = dict(make=make, inputs=inputs, masks=masks, call=(args or [ref(0)], {}), kwargs=kwargs)


# --- pooling, convolutions, resampling ------------------------------------------------------------------------------
if KERAS >= 3:
    for kind, n in product(("Average", "Max"), (1, 2, 3)):
        cls = getattr(L, f"Adaptive{kind}Pooling{n}D")
        first, last = (2, 3) + (7, 5, 4)[:n], (2,) + (7, 5, 4)[:n] + (3,)
        case(f"adaptive_{kind}_first", lambda c=cls, k=n: c((3, 2, 2)[:k], data_format=FIRST), first)
        case(f"adaptive_{kind}_same", lambda c=cls, k=n: c((7, 5, 4)[:k]), last)
        case(f"adaptive_{kind}_large", lambda c=cls, k=n: c((9, 7, 6)[:k]), last)
for n, cls in ((1, L.Conv1DTranspose), (2, L.Conv2DTranspose), (3, L.Conv3DTranspose)):
    # No width is the number of filters: see matrix_extra.py.
    last, first = (2, 4, 3, 3)[:n + 1] + (2,), (2, 2, 4, 3, 3)[:n + 2]
    case("transpose_no_bias", lambda c=cls: c(3, 2, use_bias=False, activation="relu"), last)
    case("transpose_first", lambda c=cls: c(7, 2, strides=2, data_format=FIRST), first)
    case("transpose_first", lambda c=cls: c(7, 2, padding="same", data_format=FIRST), first)
    case("transpose_dilated", lambda c=cls: c(3, 2, dilation_rate=2), last)
    case("transpose_uneven", lambda c=cls, k=n: c(3, (3, 2, 1)[:k], strides=(1, 2, 3)[:k], padding="same"), last)
for padding, n in product(("valid", "same"), (1, 2)):
    depth, separable = getattr(L, f"DepthwiseConv{n}D"), getattr(L, f"SeparableConv{n}D")
    first = (2, 3) + (9, 11)[:n]
    case("depthwise_first", lambda c=depth, p=padding: c(2, padding=p, data_format=FIRST, depth_multiplier=2), first)
    case("depthwise_first", lambda c=depth, p=padding: c(2, strides=2, padding=p, data_format=FIRST), first)
    case("separable_first", lambda c=separable, p=padding: c(5, 2, padding=p, data_format=FIRST), first)
case("separable_causal", lambda: L.SeparableConv1D(3, 2, padding="causal"), (2, 6, 2), free=((0, 1),), only=2)
case("separable_causal", lambda: L.SeparableConv1D(3, 3, padding="causal", dilation_rate=2), (2, 9, 2), only=2)
case("separable_uneven", lambda: L.SeparableConv2D(3, (3, 2)), (2, 6, 5, 2))
case("separable_uneven", lambda: L.SeparableConv2D(3, (3, 2), padding="same", depth_multiplier=2), (2, 6, 5, 2))
case("separable_dilated", lambda: L.SeparableConv2D(3, 2, dilation_rate=(2, 1)), (2, 6, 5, 2))
case("separable_dilated", lambda: L.SeparableConv2D(3, 2, dilation_rate=(1, 3), padding="same"), (2, 6, 5, 2))
case("depthwise_dilated", lambda: L.DepthwiseConv2D((2, 3), dilation_rate=(2, 1)), (2, 6, 5, 2))
if KERAS < 3:
    for n, cls in ((1, L.LocallyConnected1D), (2, L.LocallyConnected2D)):
        for implementation in (1, 2, 3):
            options = dict(implementation=implementation)
            case("local_ways", lambda c=cls, k=n, o=options: c(2, (3, 2)[:k], strides=(2, 1)[:k], **o), (2, 6, 5)[:n + 1] + (2,))
    case("local_same", lambda: L.LocallyConnected2D(2, (3, 2), padding="same", implementation=3), (2, 5, 4, 2))
    for name, interpolation in product(("Resizing", "UpSampling2D"), ("gaussian", "mitchellcubic", "area")):
        make = {"Resizing": lambda s, i: L.Resizing(*s, interpolation=i),
                "UpSampling2D": lambda s, i: L.UpSampling2D(s, interpolation=i)}[name]
        for size in ((3, 4), (9, 7)) if name == "Resizing" else ((2, 2), (3, 1)):
            case(f"{name}_{interpolation}", lambda m=make, s=size, i=interpolation: m(s, i), (2, 5, 6, 2))
    case("gaussian_antialias", lambda: L.Resizing(3, 2, "mitchellcubic", crop_to_aspect_ratio=True), (2, 7, 6, 2))
else:
    for interpolation, antialias in product(("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"), (False, True)):
        for size in ((3, 4), (9, 11)):
            options = dict(interpolation=interpolation, antialias=antialias)
            case("resizing_antialias", lambda s=size, o=options: L.Resizing(*s, **o), (2, 7, 8, 2),
                 tolerance=5e-3 if interpolation == "bicubic" else 0)
    for options in ({"pad_to_aspect_ratio": True, "fill_value": 0.7}, {"crop_to_aspect_ratio": True},
                    {"pad_to_aspect_ratio": True, "fill_value": -1.0, "interpolation": "nearest"}):
        case("resizing_ratio_first", lambda o=options: L.Resizing(4, 5, data_format=FIRST, **o), (2, 2, 7, 4))
    case("center_crop_first", lambda: L.CenterCrop(3, 2, data_format=FIRST), (2, 2, 5, 6))
    case("center_crop_first", lambda: L.CenterCrop(7, 4, data_format=FIRST), (2, 2, 5, 6))
    case("center_crop_one", lambda: L.CenterCrop(2, 3), (4, 5, 6, 2))
for n in (2, 3):
    cls = getattr(L, f"SpatialDropout{n}D")
    case("spatial_dropout_first", lambda c=cls: c(0.3, data_format=FIRST), (2, 3, 4, 2, 3)[:n + 2])

# --- normalization, core --------------------------------------------------------------------------------------------
case("batch_renorm", lambda: L.BatchNormalization(renorm=True), (2, 3, 4))
case("batch_renorm", lambda: L.BatchNormalization(renorm=True, axis=1, scale=False), (2, 3, 4))
case("group_mask", lambda: L.GroupNormalization(2), (2, 3, 4), masks=(mask("110", "101"),))
case("spectral", lambda: L.SpectralNormalization(L.Conv1D(3, 2)), (2, 5, 4), free=((0, 1),))
case("spectral", lambda: L.SpectralNormalization(L.Embedding(8, 3)), ints((2, 5)))
case("softmax_mask", lambda: L.Softmax(axis=1), (2, 3), kwargs={"mask": mask("011", "110")})
case("reversible_dtype", lambda: L.ReversibleEmbedding(8, 3, reverse_dtype="float16"), (2, 4, 3), loose=True,
     kwargs={"reverse": True}) if KERAS >= 3 else None
case("prelu_shared", lambda: L.PReLU(shared_axes=[1]), (2, 5, 4), free=((0, 1),))
case("normalization_axes", lambda: L.Normalization(axis=(1, -1)), (2, 3, 2, 4))
case("normalization_wide", lambda: L.Normalization(mean=[0.5, 1.0, 2.0], variance=[2.0, 1.0, 3.0]), (2, 2, 4, 3))
case("dense_rank5", lambda: L.Dense(3), (2, 2, 3, 2, 4))
case("conv_rank5", lambda: L.Conv2D(3, 2), (2, 3, 5, 4, 2), only=2)
case("conv_rank5", lambda: L.Conv1D(3, 2), (2, 3, 5, 2), only=2)
case("conv_rank5", lambda: L.Conv2D(3, 2, padding="same", strides=2), (2, 3, 5, 4, 2), only=2)

# --- audio ----------------------------------------------------------------------------------------------------------
if KERAS >= 3:
    for options in ({"periodic": True}, {"scaling": "spectrum"}, {"scaling": None}, {"window": "hamming"}, {"window": None},
                    {"window": "hamming", "periodic": True, "scaling": None}, {"window": None, "scaling": "spectrum"}):
        for kind in ("magnitude", "psd"):
            case("stft_options", lambda o=options, k=kind: L.STFTSpectrogram(mode=k, frame_length=9, frame_step=4,
                 fft_length=16, **o), floats((2, 40, 2), -1.0, 1.0))
    case("mel_power", lambda: L.MelSpectrogram(fft_length=16, sequence_stride=4, num_mel_bins=3, sampling_rate=8000,
         min_power=0.1, top_db=3.0), floats((2, 40), -1.0, 1.0))
    case("clahe_first", lambda: L.ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(2, 3),
         data_format=FIRST), floats((2, 3, 8, 9), 1.0, 250.0))
    for options, shape in (({}, (2, 8, 9, 3)), ({"value_range": (0, 1)}, (2, 8, 9, 3)), ({"bins": 16}, (2, 8, 9, 1)),
                           ({"data_format": FIRST}, (2, 3, 8, 9))):
        top = 1.0 if "value_range" in options else 255.0
        # By itself it gives back the tensor that it got, which Keras takes for a cycle.
        case("equalization", lambda o=options: L.Pipeline([L.Equalization(**o), L.Rescaling(0.5)]), floats(shape, 0.0, top))
    for options in ({"addition_factor": 0.3}, {"threshold_factor": 0.5}, {"value_range": (0, 1)}, {"data_format": FIRST}):
        case("solarization", lambda o=options: L.Solarization(**o), floats((2, 3, 4, 3), 0.0, 1.0))
    case("max_boxes", lambda: L.MaxNumBoundingBoxes(3), floats((2, 4, 5, 3), 0.0, 255.0))

# --- recurrent ------------------------------------------------------------------------------------------------------
X = (B, T, 2)
CELLS = {"lstm": L.LSTMCell, "gru": L.GRUCell, "simple": L.SimpleRNNCell}
for name, cls in CELLS.items():
    gates = {} if name == "simple" else {"recurrent_activation": "hard_sigmoid"}
    more = [{"activation": "relu", "use_bias": False, **gates}, {"activation": "softsign"}]
    more += [{"reset_after": False}, {"reset_after": False, "use_bias": False}] if name == "gru" else []
    for number, options in enumerate(more):
        call(f"cell_{name}_{number}", lambda c=cls, o=options: L.RNN(c(U, **o), return_sequences=True), X, masks=[MASK])
    states = [(B, U)] * (2 if name == "lstm" else 1)
    initial = [ref(1 + i) for i in range(len(states))]
    call(f"rnn_{name}_initial", lambda c=cls: L.RNN(c(U), return_state=True), X, *states, initial_state=initial)
    call(f"rnn_{name}_initial_masked", lambda c=cls: L.RNN(c(U), return_sequences=True), X, *states, masks=[MASK],
         initial_state=initial)
    for kind in ("LSTM", "GRU", "SimpleRNN") if name == "lstm" else ():
        call(f"{kind}_stateful", lambda k=kind: getattr(L, k)(U, stateful=True, return_sequences=True), X, masks=[MASK])
    call(f"rnn_{name}_stateful", lambda c=cls: L.RNN(c(U), stateful=True), X)
    if KERAS < 3:
        call(f"rnn_{name}_major", lambda c=cls: L.RNN(c(U), time_major=True, return_sequences=True), (B, 6, 2))
call("rnn_stacked_initial", lambda: L.RNN([L.LSTMCell(U), L.GRUCell(2)], return_state=True), X, (B, U), (B, U), (B, 2),
     initial_state=[[ref(1), ref(2)], ref(3)]) if KERAS >= 3 else None
SIZES = {1: (6,), 2: (5, 4), 3: (3, 4, 3)}
for n in (1, 2, 3):
    cls, shape = getattr(L, f"ConvLSTM{n}D"), (B, 3) + SIZES[n] + (2,)
    first = (B, 3, 2) + SIZES[n]
    uneven = (2, 3, 1)[:n]
    ways = {
        "functions": {"activation": "relu", "recurrent_activation": "sigmoid" if KERAS < 3 else "hard_sigmoid"},
        "odd": {"activation": "softsign", "use_bias": False, "return_state": True}, "stateful": {"stateful": True},
        "uneven": {"kernel_size": uneven, "strides": uneven[::-1], "padding": "same"},
        "dilated": {"dilation_rate": (2, 1, 1)[:n], "kernel_size": (2, 2, 1)[:n]},
    }
    for name, options in ways.items():
        call(f"conv_lstm_{n}_{name}", lambda c=cls, o=options: c(2, **{"kernel_size": 2, **o}), shape)
    call(f"conv_lstm_{n}_first", lambda c=cls: c(3, 2, data_format=FIRST, padding="same", return_sequences=True), first)
    call(f"conv_lstm_{n}_first_valid", lambda c=cls: c(3, 2, data_format=FIRST, return_state=True), first)
    three = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0]], bool)
    zero = {"zero_output_for_mask": True} if KERAS >= 3 else {}
    call(f"conv_lstm_{n}_zero", lambda c=cls, o=zero: c(2, 2, return_sequences=True, **o), shape, masks=[three])
    call(f"conv_lstm_{n}_zero_last", lambda c=cls, o=zero: c(2, 2, **o), shape, masks=[three])
    state = (B,) + tuple(size - 1 for size in SIZES[n]) + (2,)
    call(f"conv_lstm_{n}_initial", lambda c=cls: c(2, 2, return_sequences=True), shape, state, state,
         initial_state=[ref(1), ref(2)])
    if KERAS < 3:
        call(f"conv_lstm_{n}_major", lambda c=cls: c(2, 2, time_major=True), (3, B) + SIZES[n] + (2,))

# --- attention ------------------------------------------------------------------------------------------------------
rows = np.array([[1, 1, 0, 1], [1, 0, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]], bool)
Q, V = (B, 4, 4), (B, T, 4)
if KERAS >= 3:
    MAKES = {"mha": lambda **o: L.MultiHeadAttention(2, 3, **o), "gqa": lambda **o: L.GroupQueryAttention(3, 4, 2, **o)}
    for name, make in MAKES.items():
        call(f"{name}_given_masks", make, Q, V, V, rows, MASK, ~MASK, args=[ref(0), ref(1), ref(2)], query_mask=ref(3),
             value_mask=ref(4), key_mask=ref(5))
        call(f"{name}_given_value_mask", make, Q, V, MASK, args=[ref(0), ref(1)], value_mask=ref(2),
             return_attention_scores=True)
        call(f"{name}_gate_window", lambda m=make: m(use_gate=True, sliding_window=2, use_bias=False), V, V,
             args=[ref(0), ref(1)], use_causal_mask=True)

# --- lookups --------------------------------------------------------------------------------------------------------
NUMBERS = given([[3, 2, 7], [11, 5, 3]], "int64")
for options in ({"oov_token": 99}, {"oov_token": 99, "mask_token": 0}, {"oov_token": -7, "invert": True}):
    values = given([[1, 2, 0], [3, 4, 1]], "int64") if options.get("invert") else NUMBERS
    case("integer_token", lambda o=options: L.IntegerLookup(vocabulary=[3, 7, 11, 2], **o), values)
for mode in ("count", "multi_hot", "tf_idf"):
    options = dict(output_mode=mode, pad_to_max_tokens=True, max_tokens=9)
    options |= {"idf_weights": [0.4, 0.6, 0.9, 1.3]} if mode == "tf_idf" else {}
    case("integer_padded", lambda o=options: L.IntegerLookup(vocabulary=[3, 7, 11, 2], **o), NUMBERS)
WORDS = ["red", "green", "blue", "a b"]


def strings():
    """Further options of StringLookup: (options, rows of words or of indices)."""
    text, numbers = [["red", "x"], ["a b", "green"]], [[1, 2], [4, 0]]
    tried = [({"oov_token": "?"}, text), ({"invert": True}, numbers), ({"invert": True, "oov_token": "?"}, numbers),
             ({"invert": True, "mask_token": ""}, numbers), ({"invert": True, "num_oov_indices": 0}, [[1, 2], [3, 0]])]
    for mode in ("count", "multi_hot", "tf_idf"):
        options = dict(output_mode=mode, pad_to_max_tokens=True, max_tokens=9)
        options |= {"idf_weights": np.array([0.4, 0.6, 0.9, 1.3])} if mode == "tf_idf" else {}
        tried.append((options, text))
    for number, (options, values) in enumerate(tried):
        invert = options.get("invert", False)
        array = np.array(values, "int64" if invert else object)

        def make(rng, o=options, a=array, d="int64" if invert else STRING):
            x = L.Input(a.shape[1:], dtype=d)
            return Model(x, L.StringLookup(vocabulary=WORDS, **o)(x)), [a]
        yield Spec(f"option-string_lookup_more_{number}", make, subject=("StringLookup",))


# --- arguments ------------------------------------------------------------------------------------------------------
def training():
    """Called with training=True: what is random then is refused, what is the batch's own is computed."""
    x = lambda rng: rng.normal(0, 1, (2, 4, 3)).astype("float32")
    makes = {"dropout": lambda: L.Dropout(0.5), "noise": lambda: L.GaussianNoise(0.5),
             "gaussian": lambda: L.GaussianDropout(0.5), "alpha": lambda: L.AlphaDropout(0.5),
             "spatial": lambda: L.SpatialDropout1D(0.5), "lstm": lambda: L.LSTM(3, dropout=0.5),
             "attention": lambda: L.Attention(dropout=0.5)}
    for name, make in makes.items():
        def build(rng, m=make):
            value = x(rng)
            tensor = symbolic(value)
            layer = m()
            given = [tensor, tensor] if isinstance(layer, L.Attention) else tensor
            return Model(tensor, layer(given, training=True)), [value]
        yield Spec(f"option-training_{name}", build)
    for name, options in (("batch", {}), ("batch_axis", {"axis": 1}), ("batch_plain", {"center": False, "scale": False})):
        def normalized(rng, o=options):
            value = x(rng)
            tensor = symbolic(value)
            return Model(tensor, L.BatchNormalization(**o)(tensor, training=True)), [value]
        yield Spec(f"option-training_{name}", normalized, subject=("BatchNormalization",))


def specs():
    for each in CASES:
        if each.only not in (None, KERAS):
            continue
        options = dict(subject=subject_of(each.make), loose=each.loose, tolerance=each.tolerance)
        yield Spec(f"option-{each.name}", layer_model(each, False), weights=each.weights, **options)
        if any(axis > 0 for free in each.free for axis in free):
            yield Spec(f"option-{each.name}_free", layer_model(each, True), containers=("keras",), **options)
    for name, record in CALLS.items():
        yield Spec(f"option-{name}", recurrent_model(record), subject=subject_of(record["make"]))
    yield from strings()
    yield from training()
