"""Cases of the matrix that no other table has: layers of late versions, policies, combinations of options, operations."""
from itertools import product

import numpy as np
from keras import Model, layers as L

import matrix_ops
import matrix_ops_more  # noqa: F401  (adds to matrix_ops)
import text_fixtures
from kit import KERAS
from layer_case import Table, floats, given, mask
from matrix_cases import CONTAINERS, Spec, layer_model, subject_of, symbolic

case = Table()
CASES = case.cases
FIRST = "channels_first"
TIME, IMAGE = ((0, 1),), ((0, 1, 2),)
WAVE = floats((2, 60, 2), -1.0, 1.0)

# Audio
if KERAS >= 3:
    for mode in ("log", "magnitude", "psd", "real", "imag", "angle", "stft"):
        for options in ({}, {"expand_dims": True}, {"padding": "same", "frame_step": 4}):
            case(f"stft_{mode}", lambda m=mode, o=options: L.STFTSpectrogram(mode=m, frame_length=16, **o), WAVE,
                 free=TIME)
    for options in ({}, {"expand_dims": True}, {"frame_step": 5, "fft_length": 32}):
        case("stft_first", lambda o=options: L.STFTSpectrogram(frame_length=16, data_format=FIRST, mode="magnitude",
             **o), floats((2, 2, 60), -1.0, 1.0))
    for options in ({}, {"power_to_db": False}, {"mag_exp": 1.0}, {"window": "hamming"}, {"sequence_length": 20},
                    {"top_db": 5.0, "ref_power": 2.0}, {"min_freq": 100.0, "max_freq": 3000.0}, {"window": None}):
        case("mel", lambda o=options: L.MelSpectrogram(**{"fft_length": 32, "sequence_stride": 8, "num_mel_bins": 5,
             "sampling_rate": 8000, **o}), floats((2, 70), -1.0, 1.0), free=TIME)

# Images
if KERAS >= 3:
    for options, shape in (({}, (2, 16, 24, 3)), ({"clip_limit": 1.5}, (2, 13, 10, 2)), ({"clip_limit": 0.0},
                           (1, 9, 9, 1)), ({"tile_grid_size": (2, 3)}, (2, 8, 9, 1))):
        clahe = lambda o=options: L.ContrastLimitedAdaptiveHistogramEqualization(**{"tile_grid_size": (4, 4), **o})
        case("clahe", clahe, floats(shape, 1.0, 250.0))
        case("clahe_unit", lambda o=options: L.ContrastLimitedAdaptiveHistogramEqualization(
             **{"tile_grid_size": (4, 4), "value_range": (0, 1), **o}), floats(shape, 0.0, 1.0))
    case("pipeline", lambda: L.Pipeline([L.Rescaling(0.5), L.RandomFlip(), L.CenterCrop(3, 2)]), (2, 5, 4, 3))
    case("pipeline", lambda: L.Pipeline([L.Resizing(3, 4), L.Normalization(mean=0.5, variance=2.0)]), (2, 5, 4, 3))
    case("auto_contrast", lambda: L.AutoContrast(data_format=FIRST), floats((2, 3, 4, 5), 0.0, 255.0))

# Resampling to sizes that are only known at run time
for interpolation, size in product(("bilinear", "bicubic", "nearest", "lanczos3", "lanczos5"), ((3, 2), (1, 1))):
    case(f"up_sampling_{interpolation}", lambda i=interpolation, s=size: L.UpSampling2D(s, interpolation=i),
         (2, 5, 3, 2), free=IMAGE, tolerance=5e-3 if interpolation == "bicubic" else 0)
for interpolation, flags in product(("bilinear", "nearest", "bicubic", "lanczos3"), ({"crop_to_aspect_ratio": True},
                                    {"pad_to_aspect_ratio": True} if KERAS >= 3 else {})):
    case(f"resizing_{interpolation}_ratio", lambda i=interpolation, f=flags: L.Resizing(5, 3, interpolation=i, **f),
         (2, 6, 7, 2), tolerance=5e-3 if interpolation == "bicubic" else 0)
if KERAS >= 3:
    for interpolation in ("bilinear", "bicubic", "nearest"):
        case(f"resizing_{interpolation}_first", lambda i=interpolation: L.Resizing(5, 9, interpolation=i,
             data_format=FIRST), (2, 2, 6, 7), tolerance=5e-3 if interpolation == "bicubic" else 0)

# Lookups
WORDS = ["red", "green", "blue", "a b"]


def words(rows):
    return lambda rng: np.array(rows, dtype=object)


INTEGERS = [3, 7, 11, 2]
for options in ({"invert": True}, {"invert": True, "mask_token": 0}, {"num_oov_indices": 3},
                {"num_oov_indices": 2, "mask_token": 0}, {"output_mode": "count", "num_oov_indices": 2},
                {"output_mode": "multi_hot", "num_oov_indices": 0}, {"output_mode": "one_hot", "num_oov_indices": 2}):
    values = [[1, 2, 3], [4, 0, 1]] if options.get("invert") else [[3, 2, 7], [11, 2, 3]]
    if options.get("num_oov_indices", 0) > 1:
        values = [[3, 5, 17], [11, 2, 100]]
    if options.get("output_mode") == "one_hot":
        values = [[row[0]] for row in values]
    case("integer_lookup_more", lambda o=options: L.IntegerLookup(vocabulary=INTEGERS, **o), given(values, "int64"))
case("integer_lookup_idf", lambda: L.IntegerLookup(vocabulary=INTEGERS, output_mode="tf_idf",
     idf_weights=[0.4, 0.6, 0.9, 1.3]), given([[3, 2, 3], [11, 5, 3]], "int64"))

# Policies, layer by layer
POLICIES = ("mixed_float16", "mixed_bfloat16", "float64", "float16", "bfloat16")
POLICY = {
    "conv2d": (lambda p: L.Conv2D(3, 2, dtype=p), (2, 4, 4, 2)), "dense": (lambda p: L.Dense(3, dtype=p), (2, 3, 4)),
    "conv1d_transpose": (lambda p: L.Conv1DTranspose(3, 2, dtype=p), (2, 5, 2)),
    "depthwise": (lambda p: L.DepthwiseConv2D(2, dtype=p), (2, 4, 4, 2)),
    "batch_norm": (lambda p: L.BatchNormalization(dtype=p), (2, 4, 3)),
    "layer_norm": (lambda p: L.LayerNormalization(dtype=p), (2, 4, 3)),
    "group_norm": (lambda p: L.GroupNormalization(2, dtype=p), (2, 4, 4)),
    "lstm": (lambda p: L.LSTM(3, dtype=p), (2, 4, 3)), "gru": (lambda p: L.GRU(3, dtype=p), (2, 4, 3)),
    "softmax": (lambda p: L.Softmax(dtype=p), (2, 4)), "prelu": (lambda p: L.PReLU(dtype=p), (2, 4)),
    "gelu": (lambda p: L.Activation("gelu", dtype=p), (2, 4)), "add": (lambda p: L.ELU(dtype=p), (2, 4)),
    "average": (lambda p: L.AveragePooling2D(2, dtype=p), (2, 4, 4, 2)),
    "global": (lambda p: L.GlobalAveragePooling1D(dtype=p), (2, 4, 3)),
    "up": (lambda p: L.UpSampling2D(2, dtype=p), (2, 3, 3, 2)), "flatten": (lambda p: L.Flatten(dtype=p), (2, 3, 2)),
    "unit": (lambda p: L.UnitNormalization(dtype=p), (2, 4)), "scale": (lambda p: L.Rescaling(0.5, 1.0, dtype=p), (2, 4)),
    "einsum": (lambda p: L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d", dtype=p), (2, 3, 4)),
    "simple_rnn": (lambda p: L.SimpleRNN(3, dtype=p), (2, 4, 3)),
    "separable": (lambda p: L.SeparableConv2D(3, 2, dtype=p), (2, 4, 4, 2)),
    "time": (lambda p: L.TimeDistributed(L.Dense(3, dtype=p), dtype=p), (2, 4, 3)),
    "conv_lstm": (lambda p: L.ConvLSTM1D(2, 2, dtype=p), (2, 3, 5, 2)),
}
for policy, (name, (make, shape)) in product(POLICIES, POLICY.items()):
    case(f"{policy}_{name}", lambda m=make, p=policy: m(p), shape, loose=policy != "float64")

# Recurrent layers with activations that no target's recurrent op has, and masks with them
ODD = ["selu", "silu", "gelu", "exponential", "mish", "softplus", "softsign", "relu", "elu", "hard_sigmoid", "linear"]
ODD += ["celu", "relu6", "log_sigmoid", "hard_tanh", "leaky_relu", "squareplus"] if KERAS >= 3 else []
RECURRENT = {"lstm": L.LSTM, "gru": L.GRU, "simple_rnn": L.SimpleRNN}
for (name, kind), activation in product(RECURRENT.items(), ODD):
    case(f"{name}_{activation}", lambda k=kind, a=activation: k(3, activation=a, return_sequences=True), (2, 4, 3))
    if name != "simple_rnn":
        case(f"{name}_gate_{activation}", lambda k=kind, a=activation: k(3, recurrent_activation=a), (2, 4, 3),
             masks=(mask("1101", "1011"),))

# Convolutions: all options of one rank against each other. With channels first, no width is the number of filters: there
# Keras 3.15 on TensorFlow adds the bias along the wrong axis.
for filters, size, padding, strides, groups, bias in product((4,), (2, 3), ("valid", "same"), (1, 2), (1, 2),
                                                             (True, False)):
    options = dict(kernel_size=size, padding=padding, strides=strides, groups=groups, use_bias=bias)
    case("conv3d_options", lambda o=options, f=filters: L.Conv3D(f, **o), (2, 4, 5, 4, 2)) if groups == 1 else None
    case("conv2d_first", lambda o=options, f=filters: L.Conv2D(f, data_format=FIRST, **o), (2, 2, 5, 13))
for rank, padding, strides, extra in product((1, 2, 3), ("valid", "same"), (2, 3), (None, 1)):
    cls = {1: L.Conv1DTranspose, 2: L.Conv2DTranspose, 3: L.Conv3DTranspose}[rank]
    options = dict(kernel_size=3, padding=padding, strides=strides, output_padding=extra)
    case(f"conv{rank}d_transpose_options", lambda c=cls, o=options: c(2, **o), (2,) + (4, 3, 3)[:rank] + (2,))
for padding, strides in product(("valid", "same"), (1, 2)):
    options = dict(kernel_size=2, padding=padding, strides=strides)
    case("conv3d_first", lambda o=options: L.Conv3D(3, data_format=FIRST, **o), (2, 2, 4, 5, 9))
    case("separable_first", lambda o=options: L.SeparableConv2D(3, data_format=FIRST, **o), (2, 2, 4, 9))
    for kind in ("Max", "Average"):
        case("pooling3d_first", lambda k=kind, p=padding, s=strides: getattr(L, k + "Pooling3D")(2, strides=s,
             padding=p, data_format=FIRST), (2, 2, 4, 5, 4))


def chain(*makes):
    """A model of several layers that are each about the same thing: names, dtypes and shapes between layers."""
    def make(rng):
        value = rng.normal(0, 1.5, (2, 6, 4)).astype("float32")
        x = y = symbolic(value)
        for layer in makes:
            y = layer()(y)
        return Model(x, y), [value]
    return make


CHAINS = {
    "mixed_between": (lambda: L.Dense(4, dtype="mixed_float16"), lambda: L.LayerNormalization(dtype="float32")),
    "float64_between": (lambda: L.Dense(4, dtype="float64"), lambda: L.Dense(3, dtype="float32")),
    "masked_lstm_attention": (lambda: L.Masking(0.5), lambda: L.LSTM(4, return_sequences=True),
                              lambda: L.GlobalAveragePooling1D()),
}


def strings():
    """Lookups of words: their inputs or outputs are strings."""
    rows = [["red", "blue", "x"], ["a b", "green", "red"]]
    for number, options in enumerate((
        {}, {"num_oov_indices": 0}, {"mask_token": ""}, {"output_mode": "multi_hot"}, {"output_mode": "count"},
        {"output_mode": "one_hot"}, {"num_oov_indices": 2}, {"output_mode": "tf_idf", "idf_weights": [1.0, 2.0, 3.0, 4.0]},
    )):
        values = [[row[0]] for row in rows] if options.get("output_mode") == "one_hot" else rows
        values = [["red", "blue"], ["green", "a b"]] if options.get("num_oov_indices") == 0 else values

        def make(rng, o=options, v=values):
            array = np.array(v, dtype=object)
            x = L.Input(array.shape[1:], dtype="string")
            return Model(x, L.StringLookup(vocabulary=WORDS, **o)(x)), [array]
        yield Spec(f"extra-string_lookup_{number}", make, subject=("StringLookup",))


def refused():
    """What must be refused, with its reason."""
    row = np.array([["red", "green"], ["blue", "x"]], dtype=object)
    text = np.array([["red green"], ["blue x"]], dtype=object)

    def of(layer, values, dtype):
        def make(rng):
            x = L.Input(values.shape[1:], dtype=dtype)
            return Model(x, layer()(x)), [values]
        return make
    yield Spec("extra-hashing_string", of(lambda: L.Hashing(5), row, "string"), ("Hashing",))
    yield Spec("extra-hashing_int", of(lambda: L.Hashing(5), np.array([[1, 2], [3, 4]]), "int64"), ("Hashing",))
    vectorize = lambda: L.TextVectorization(vocabulary=WORDS[:3], output_sequence_length=3)
    yield Spec("extra-text_vectorization", of(vectorize, text, "string"), ("TextVectorization",))

    def crossing(rng):
        xs = [np.array([[1], [2]]), np.array([[3], [4]])]
        inputs = [L.Input((1,), dtype="int64") for _ in xs]
        return Model(inputs, L.HashedCrossing(5)(inputs)), xs
    yield Spec("extra-hashed_crossing", crossing, ("HashedCrossing",))
    x = lambda rng: rng.normal(0, 1, (2, 3)).astype("float32")

    def function(rng):
        value = x(rng)
        tensor = symbolic(value)
        return Model(tensor, L.Lambda(lambda t: t * 2.0 + 1.0, output_shape=(3,))(tensor)), [value]
    yield Spec("extra-lambda", function, ("Lambda",))


def specs():
    for each in CASES:
        if each.only in (None, KERAS):
            options = dict(subject=subject_of(each.make), loose=each.loose, tolerance=each.tolerance)
            yield Spec(f"extra-{each.name}", layer_model(each, False), weights=each.weights, **options)
            if any(axis > 0 for free in each.free for axis in free):
                container = ("keras",) if KERAS >= 3 else ("h5",)
                yield Spec(f"extra-{each.name}_free", layer_model(each, True), containers=container,
                           weights=each.weights, **options)
    for name, makes in CHAINS.items():
        yield Spec(f"extra-chain_{name}", chain(*makes), loose="mixed" in name)
    yield from strings()
    yield from refused()
    for name, make in text_fixtures.CASES.items():
        # What a layer of Keras 2 learns can't be saved in an .h5.
        container = ("keras",) if KERAS < 3 and "learnt" in name else CONTAINERS
        yield Spec(f"extra-texts_{name}", lambda rng, m=make: m(), containers=container)
    yield from matrix_ops.specs()
