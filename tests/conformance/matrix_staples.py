"""One everyday instance of every layer class, made under every dtype policy, with free sizes, and for every rank."""
from itertools import product

from keras import layers as L

from layer_case import Table, floats, ints
from matrix_cases import Spec, layer_model, recurrent_model, subject_of
from recurrent_cases import ref

case = Table()
CASES = case.cases
POLICIES = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")
T, I, V = (2, 5, 4), (2, 5, 6, 4), (2, 4, 5, 3, 4)     # sequences, images, volumes
# What Keras takes by default does not know bfloat16.
START = {"recurrent_initializer": "glorot_uniform"}

# Class: arguments, options, shapes of the inputs. Options that are layers are made with the policy.
STAPLES = {
    "Activation": (("tanh",), {}, T), "ActivityRegularization": ((), {"l1": 0.1}, T), "ELU": ((), {"alpha": 0.7}, T),
    "LeakyReLU": ((), {}, T), "PReLU": ((), {}, T), "ReLU": ((2.0,), {}, T), "Softmax": ((), {}, T),
    "ThresholdedReLU": ((0.5,), {}, T), "Dense": ((3, "relu"), {}, T),
    "EinsumDense": (("abc,cd->abd", (None, 3)), {"bias_axes": "d"}, T), "Embedding": ((9, 3), {}, ints((2, 5))),
    "Identity": ((), {}, T), "Masking": ((0.5,), {}, T), "ReversibleEmbedding": ((9, 3), {}, ints((2, 5))),
    **{f"{kind}{n}D": (args, {}, (T, I, V)[n - 1]) for kind, args in (
        ("Conv", (3, 2)), ("DepthwiseConv", (2,)), ("SeparableConv", (3, 2)), ("LocallyConnected", (3, 2)),
        ("AveragePooling", (2,)), ("MaxPooling", (2,)), ("GlobalAveragePooling", ()), ("GlobalMaxPooling", ()),
        ("AdaptiveAveragePooling", (2,)), ("AdaptiveMaxPooling", (2,)), ("UpSampling", ()), ("ZeroPadding", ()),
        ("Cropping", (1,)), ("SpatialDropout", (0.5,))) for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": ((3, 2), {}, (T, I, V)[n - 1]) for n in (1, 2, 3)},
    **{f"ConvLSTM{n}D": ((2, 2), START, (2, 3) + (4, 3, 3)[:n] + (2,)) for n in (1, 2, 3)},
    "Cropping3D": ((((1, 0), (1, 1), (0, 1)),), {}, V),
    "BatchNormalization": ((), {}, T), "LayerNormalization": ((), {}, T), "GroupNormalization": ((2,), {}, T),
    "UnitNormalization": ((), {}, T), "RMSNormalization": ((), {}, T),
    "SpectralNormalization": (("Dense",), {}, T), "TimeDistributed": (("Dense",), {}, T),
    "Bidirectional": (("LSTM",), {}, T),
    **{name + cell: ((3,), START, T) for name in ("LSTM", "GRU", "SimpleRNN") for cell in ("", "Cell")},
    **{name: ((), {}, T, T) for name in ("Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract", "Concatenate")},
    "Dot": ((2,), {}, T, T), "Attention": ((True,), {}, T, T), "AdditiveAttention": ((), {}, T, T),
    "Dropout": ((0.5,), {}, T), "AlphaDropout": ((0.5,), {}, T), "GaussianDropout": ((0.5,), {}, T),
    "GaussianNoise": ((0.5,), {}, T), "Flatten": ((), {}, T), "Permute": (((2, 1),), {}, T),
    "RepeatVector": ((3,), {}, (2, 4)), "Reshape": (((2, 10),), {}, T), "Rescaling": ((0.5, 0.25), {}, T),
    "Normalization": ((), {"mean": 0.5, "variance": 2.0}, T), "Resizing": ((3, 4), {}, I), "CenterCrop": ((3, 4), {}, I),
    "AutoContrast": ((), {}, floats((2, 4, 5, 3), 0.0, 255.0)), "Equalization": ((), {}, floats((2, 4, 5, 3), 0.0, 255.0)),
    "Solarization": ((), {}, floats((2, 4, 5, 3), 0.0, 255.0)),
    "ContrastLimitedAdaptiveHistogramEqualization": ((), {"tile_grid_size": (2, 2)}, floats((2, 8, 9, 3), 0.0, 255.0)),
    "STFTSpectrogram": ((), {"frame_length": 8, "mode": "magnitude"}, floats((2, 30, 1), -1.0, 1.0)),
    "MelSpectrogram": ((), {"fft_length": 16, "sequence_stride": 4, "num_mel_bins": 3, "sampling_rate": 8000},
                       floats((2, 40), -1.0, 1.0)),
}
# Called with tensors of their own for query and value.
ATTENTION = {"MultiHeadAttention": (2, 3), "GroupQueryAttention": (3, 4, 2)}
INNER = {"Dense": lambda p: L.Dense(3, dtype=p), "LSTM": lambda p: L.LSTM(3, dtype=p, **START)}
# Kinds whose instances are sizes or windows apart: what axes of their input may be free.
FREE = {T: (0, 1), I: (0, 1, 2), V: (0, 1, 2, 3)}
KNOWN = ("EinsumDense", "Reshape", "Normalization", "LocallyConnected", "Permute", "PReLU")


def made(name, policy):
    args, options = STAPLES[name][:2]
    args = [INNER[arg](policy) if arg in INNER else arg for arg in args]
    layer = getattr(L, name)(*args, dtype=policy, **options)
    return L.RNN(layer, dtype=policy) if name.endswith("Cell") else layer


def frees(shapes):
    return tuple(FREE.get(shape, (0,)) if not callable(shape) else (0,) for shape in shapes)


for name, (_, _, *shapes) in STAPLES.items():
    if not hasattr(L, name):
        continue
    for policy in POLICIES:
        case(f"{policy}_{name}", lambda n=name, p=policy: made(n, p), *shapes, loose=policy != "float64")
    free = frees(shapes) if not name.startswith(KNOWN) else ((0,),)
    if name.startswith("ConvLSTM"):
        free = (tuple(range(len(shapes[0]) - 1)),)
    case(f"plain_{name}", lambda n=name: made(n, "float32"), *shapes, free=free)

# Layers that take any rank
ANY = """Activation ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise ELU LeakyReLU PReLU ReLU
    Softmax Dense Identity Rescaling LayerNormalization UnitNormalization GroupNormalization Flatten RMSNormalization
    BatchNormalization Normalization ThresholdedReLU Add Multiply Average Maximum Minimum Subtract Concatenate""".split()
for name, shape in product(ANY, ((2, 4), (2, 3, 4), (2, 3, 2, 4), (2, 2, 3, 2, 4))):
    if hasattr(L, name):
        inputs = [shape] * (len(STAPLES[name]) - 2)
        case(f"rank{len(shape)}_{name}", lambda n=name: made(n, "float32"), *inputs)


def whole():
    """Layers that say something about whole numbers: what Keras makes of them goes by its promotion."""
    for name, dtype in product(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dense",
                                "Rescaling", "ReLU", "Flatten", "Reshape", "Permute", "RepeatVector", "ZeroPadding2D",
                                "Cropping2D", "UpSampling2D", "MaxPooling2D", "GlobalMaxPooling1D", "Masking",
                                "Embedding", "Identity", "Resizing", "CenterCrop", "Normalization", "Activation"),
                               ("int32", "uint8", "int64")):
        shapes = STAPLES[name][2:]
        inputs = [ints((2, 5) if callable(shape) else shape, 0, 9, dtype) for shape in shapes]
        if hasattr(L, name):
            case(f"{dtype}_{name}", lambda n=name: made(n, "float32"), *inputs)


whole()


def coarse(name):
    """bfloat16 has 8 bits: pixels up to 255 are whole numbers, and TensorFlow adds up in it. Against the same layers in
    float64, Keras is off by 6.1, 1.7 and 0.08 here, recast's ONNX by less than 4e-5."""
    if "bfloat16" not in name:
        return 0.0
    return 8.0 if "Equalization" in name else 3.0 if "AutoContrast" in name else 0.1 if "Conv3DTranspose" in name else 0.0


def specs():
    """Both containers hold a configuration alike; one is enough for dtypes and ranks."""
    for each in CASES:
        options = dict(subject=subject_of(each.make), loose=each.loose, containers=("keras",), tolerance=coarse(each.name))
        yield Spec(f"staple-{each.name}", layer_model(each, False), **options)
        if any(axis > 0 for free in each.free for axis in free):
            yield Spec(f"staple-{each.name}_free", layer_model(each, True), **options)
    for name, args in ATTENTION.items():
        for policy in POLICIES if hasattr(L, name) else ():
            make = lambda n=name, a=args, p=policy: getattr(L, n)(*a, dtype=p)
            record = dict(make=make, inputs=(T, T), masks=(), call=([ref(0), ref(1)], {}), kwargs={})
            yield Spec(f"staple-{policy}_{name}", recurrent_model(record), subject=(name,), containers=("keras",),
                       loose=policy != "float64")
