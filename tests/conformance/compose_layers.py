"""Layers of a composed model: for each rank of tensor rows that draw a class and its options, of the Keras that runs.

A row is (rng, shape) -> (class, config, how): `how` are the keys of a step (compose_recipe.py) besides the plain call.
"""
from kit import KERAS, np

ACTIVATIONS = ["relu", "tanh", "sigmoid", "elu", "selu", "softplus", "softsign", "exponential", "hard_sigmoid", "linear",
               "gelu", "swish", "softmax", "relu6", "silu", "mish", "leaky_relu", "log_softmax"]
if KERAS >= 3:
    ACTIVATIONS += ["celu", "glu", "log_sigmoid", "hard_silu", "hard_tanh", "hard_shrink", "soft_shrink", "tanh_shrink",
                    "squareplus", "sparse_plus", "sparsemax", "sparse_sigmoid", "threshold"]
SLOPE = "negative_slope" if KERAS >= 3 else "alpha"
OBJECTS = [["LeakyReLU", {SLOPE: 0.15}], ["ReLU", {"max_value": 1.5, "negative_slope": 0.1, "threshold": 0.2}],
           ["ELU", {"alpha": 0.7}], ["Softmax", {"axis": -1}], ["LeakyReLU", {}]]


def pick(rng, items):
    return items[int(rng.integers(len(items)))]


def chance(rng, share):
    return bool(rng.random() < share)


def activation(rng, softmax=True, objects=0.07):
    """A name, a layer object, or nothing."""
    draw = rng.random()
    if draw < 0.35:
        return None
    if draw < 0.35 + objects:
        return {"$layer": pick(rng, OBJECTS[:3])}
    if draw < 0.7:
        return pick(rng, ["relu", "tanh", "sigmoid", "elu"])
    name = pick(rng, ACTIVATIONS)
    return "tanh" if name in ("exponential", "glu", "threshold") and not softmax else name


def units(rng):
    return int(rng.choice([2, 3, 4, 6]))


def row(name, **options):
    """A row whose options are drawn by functions (rng, shape)."""
    def draw(rng, shape):
        config = {k: v(rng, shape) if callable(v) else v for k, v in options.items()}
        return name, {k: v for k, v in config.items() if v is not ...}, {}
    return draw


def of(*items):
    """One of these; ... leaves the option out."""
    return lambda rng, shape: pick(rng, items)


def act(rng, shape):
    return activation(rng)


def count(rng, shape):
    return units(rng)


BIAS = of(..., ..., ..., False)


# --- any rank -------------------------------------------------------------------------------------------------------
def softmax_axis(rng, shape):
    return pick(rng, [-1, -1, 1 if len(shape) > 2 else -1])


def norm_axis(rng, shape):
    axes = [-1, -1, -1]
    if len(shape) > 2 and all(shape[1:]):
        axes += [[1, 2] if len(shape) == 3 else [-2, -1], 1]
    return pick(rng, axes)


def shared_axes(rng, shape):
    free = [axis for axis in range(1, len(shape)) if shape[axis] is None]
    return free or pick(rng, [..., [1]] if len(shape) > 2 else [...])


def norm_options(rng, shape):
    width = shape[-1]
    mean = [round(float(x), 3) for x in rng.normal(0, 1, width)]
    variance = [round(float(x), 3) for x in rng.uniform(0.4, 2, width)]
    config = {"axis": -1}
    if chance(rng, 0.5):
        config.update(mean=mean, variance=variance)
    if chance(rng, 0.2):
        config["invert"] = True
    return "Normalization", config, {}


def permuted(rng, shape):
    return [int(i) + 1 for i in rng.permutation(len(shape) - 1)]


def reshaped(rng, shape):
    rest = shape[1:]
    known = [d for d in rest if d]
    size = int(np.prod(known)) if known else 1
    if None in rest:
        return [-1, *known[:-1], known[-1]] if known and chance(rng, 0.5) else [-1, size]
    options = [[size], [-1], [1, size], [size, 1]]
    for by in (2, 3, 4):
        if size % by == 0:
            options += [[by, size // by], [-1, by], [by, -1, 1]]
    return pick(rng, options)


COMMON = [
    row("Activation", activation=lambda r, s: activation(r) or "relu"),
    row("BatchNormalization", center=of(..., ..., False), scale=of(..., ..., False), momentum=of(..., 0.9), epsilon=of(..., 1e-2)),
    row("LayerNormalization", axis=norm_axis, center=of(..., ..., False), scale=of(..., ..., False)),
    row("Dropout", rate=0.3),
    row("LeakyReLU", **{SLOPE: of(..., 0.15)}),
    row("PReLU", shared_axes=shared_axes),
    row("ELU", alpha=of(..., 0.6)),
    row("ReLU", max_value=of(..., 1.0), negative_slope=of(..., 0.1), threshold=of(..., 0.2)),
    row("Softmax", axis=softmax_axis),
    row("GaussianNoise", stddev=0.2),
    row("Rescaling", scale=of(0.5, 2.0, 1 / 127.5), offset=of(..., -0.3)),
    row("UnitNormalization", axis=of(..., -1)),
    row("ActivityRegularization", l2=0.01),
    row("Reshape", target_shape=reshaped),
    row("Dense", units=count, activation=act, use_bias=BIAS),
    row("Dense", units=count, activation=act, use_bias=BIAS),
    norm_options,
]
if KERAS >= 3:
    COMMON += [row("Identity"), row("RMSNormalization")]
else:
    COMMON += [row("ThresholdedReLU", theta=of(0.2, 1.0))]


# --- vectors --------------------------------------------------------------------------------------------------------
VECTORS = COMMON + [
    row("Dense", units=count, activation=act, use_bias=BIAS), row("Dense", units=count, activation=act, use_bias=BIAS),
    row("RepeatVector", n=of(2, 3)), row("Flatten"),
    row("EinsumDense", equation="ab,bc->ac", output_shape=count, bias_axes=of(..., "c"), activation=act),
    row("GroupNormalization", groups=of(1, -1)),
]
if KERAS < 3:
    VECTORS += [row("AlphaDropout", rate=0.2)]


# --- sequences ------------------------------------------------------------------------------------------------------
def rnn(rng, shape=None, units=None, plain=False):
    name = pick(rng, ["LSTM", "GRU", "SimpleRNN", "LSTM", "GRU"])
    config = {"units": units or int(rng.choice([2, 3, 4]))}
    if plain:
        return name, config, {}
    config["return_sequences"] = chance(rng, 0.6)
    for option, share in (("go_backwards", 0.15), ("stateful_none", 0.0), ("unroll_none", 0.0)):
        if chance(rng, share):
            config[option] = True
    if chance(rng, 0.2):
        config["activation"] = pick(rng, ["relu", "sigmoid", "softsign", "elu", "hard_sigmoid", "selu"])
    if name != "SimpleRNN" and chance(rng, 0.2):
        config["recurrent_activation"] = pick(rng, ["hard_sigmoid", "tanh", "sigmoid"])
    if name == "GRU" and chance(rng, 0.25):
        config["reset_after"] = False
    if chance(rng, 0.12):
        config["use_bias"] = False
    if chance(rng, 0.12):
        config["return_state"] = True
    if chance(rng, 0.08):
        config["zero_output_for_mask"] = True
    if chance(rng, 0.15):
        config["dropout"] = 0.2
    return name, config, {}


def cell(rng):
    name = pick(rng, ["LSTMCell", "GRUCell", "SimpleRNNCell"])
    config = {"units": int(rng.choice([2, 3, 4]))}
    if chance(rng, 0.2):
        config["activation"] = pick(rng, ["relu", "sigmoid"])
    return {"$layer": [name, config]}


def rnn_of_cells(rng, shape):
    cells = [cell(rng) for _ in range(int(rng.integers(1, 4)))]
    held = cells[0] if len(cells) == 1 and chance(rng, 0.7) else cells
    if len(cells) > 1 and chance(rng, 0.4):
        held = {"$layer": ["StackedRNNCells", {"cells": cells}]}
    config = {"cell": held, "return_sequences": chance(rng, 0.5)}
    if chance(rng, 0.2):
        config["go_backwards"] = True
    if chance(rng, 0.2):
        config["return_state"] = True
    return "RNN", config, {}


def same(rng, shape):
    return pick(rng, ["valid", "same", "same"])


def conv1d(rng, shape):
    config = {"filters": units(rng), "kernel_size": int(rng.choice([1, 2, 3])), "activation": activation(rng),
              "padding": pick(rng, ["valid", "same", "causal", "same"])}
    if chance(rng, 0.3):
        config["strides"] = 2
    elif chance(rng, 0.25):
        config["dilation_rate"] = 2
    if shape[-1] and shape[-1] % 2 == 0 and config["filters"] % 2 == 0 and chance(rng, 0.3):
        config["groups"] = 2
    return "Conv1D", config, {}


def attention_of_itself(rng, shape):
    name = "MultiHeadAttention" if KERAS < 3 or chance(rng, 0.7) else "GroupedQueryAttention"
    if name == "MultiHeadAttention":
        config = {"num_heads": int(rng.choice([1, 2])), "key_dim": int(rng.choice([2, 3]))}
        if chance(rng, 0.3):
            config["value_dim"] = 4
        if chance(rng, 0.2):
            config["use_bias"] = False
        if chance(rng, 0.2):
            config["output_shape"] = 5
    else:
        config = {"head_dim": 2, "num_query_heads": 4, "num_key_value_heads": 2}
    return name, config


def mha_itself(rng, shape):
    name, config = attention_of_itself(rng, shape)
    how = {"form": "twice"}
    if chance(rng, 0.25):
        how["kw"] = {"use_causal_mask": True}
    elif chance(rng, 0.15):
        how["kw"] = {"return_attention_scores": True}
    return name, config, how


SEQUENCES = COMMON + [
    rnn, rnn, rnn, rnn, rnn_of_cells, conv1d, conv1d,
    row("MaxPooling1D", pool_size=of(2, 3), strides=of(..., 1), padding=same),
    row("AveragePooling1D", pool_size=of(2, 3), strides=of(..., 1), padding=same),
    row("GlobalAveragePooling1D", keepdims=of(..., True)), row("GlobalAveragePooling1D"), row("GlobalMaxPooling1D", keepdims=of(..., True)),
    row("Masking", mask_value=0.0), row("Masking", mask_value=0.0),
    row("Permute", dims=permuted), row("Flatten"), row("Cropping1D", cropping=of(1, [1, 0])), row("ZeroPadding1D", padding=of(1, [0, 2])),
    row("UpSampling1D", size=2), row("SpatialDropout1D", rate=0.2),
    row("Conv1DTranspose", filters=count, kernel_size=of(2, 3), strides=of(1, 2), padding=of("valid", "same"), activation=act),
    row("SeparableConv1D", filters=count, kernel_size=of(2, 3), padding=same, depth_multiplier=of(1, 2), activation=act),
    row("DepthwiseConv1D", kernel_size=of(2, 3), padding=same, depth_multiplier=of(1, 2), activation=act),
    row("EinsumDense", equation="abc,cd->abd", output_shape=lambda r, s: [None, units(r)], bias_axes=of(..., "d"), activation=act),
    row("GroupNormalization", groups=of(1, -1)),
]
if KERAS < 3:
    SEQUENCES += [row("LocallyConnected1D", filters=count, kernel_size=2)]


# --- images ---------------------------------------------------------------------------------------------------------
def conv2d(rng, shape):
    config = {"filters": units(rng), "kernel_size": pick(rng, [1, 2, 3, [3, 2], [1, 3]]), "activation": activation(rng),
              "padding": pick(rng, ["valid", "same", "same"])}
    if chance(rng, 0.3):
        config["strides"] = pick(rng, [2, [2, 1]]) if KERAS >= 3 else 2
    elif chance(rng, 0.2):
        config["dilation_rate"] = 2
    if shape[-1] and shape[-1] % 2 == 0 and config["filters"] % 2 == 0 and chance(rng, 0.3):
        config["groups"] = 2
    if chance(rng, 0.2):
        config["use_bias"] = False
    return "Conv2D", config, {}


def conv_lstm(name):
    def draw(rng, shape):
        config = {"filters": int(rng.choice([2, 3])), "kernel_size": 2, "padding": pick(rng, ["valid", "same"]),
                  "return_sequences": chance(rng, 0.5)}
        if chance(rng, 0.3):
            config["return_state"] = True
        if chance(rng, 0.2):
            config["go_backwards"] = True
        return name, config, {}
    return draw


FIRST = of(..., ..., ..., ..., ..., "channels_first")
IMAGES = COMMON + [
    conv2d, conv2d, conv2d, conv2d,
    row("MaxPooling2D", pool_size=of(2, [2, 1]), strides=of(..., 1), padding=same, data_format=FIRST),
    row("AveragePooling2D", pool_size=of(2, 3), strides=of(..., 1), padding=same, data_format=FIRST),
    row("GlobalAveragePooling2D", keepdims=of(..., True), data_format=FIRST), row("GlobalAveragePooling2D"),
    row("GlobalMaxPooling2D", keepdims=of(..., True), data_format=FIRST),
    row("UpSampling2D", size=of(2, [1, 2]), interpolation=of("nearest", "bilinear"), data_format=FIRST),
    row("ZeroPadding2D", padding=of(1, [[0, 1], [1, 2]]), data_format=FIRST), row("Cropping2D", cropping=of(1, [[1, 0], [0, 1]]), data_format=FIRST),
    row("Conv2DTranspose", filters=count, kernel_size=of(2, 3), strides=of(1, 2), padding=of("valid", "same"), activation=act),
    row("SeparableConv2D", filters=count, kernel_size=of(2, 3), padding=same, depth_multiplier=of(1, 2), activation=act),
    row("DepthwiseConv2D", kernel_size=of(2, 3), padding=same, depth_multiplier=of(1, 2), activation=act, strides=of(1, 1, 2)),
    row("Permute", dims=permuted), row("Flatten", data_format=FIRST), row("SpatialDropout2D", rate=0.2),
    row("Resizing", height=5, width=6, interpolation=of("bilinear", "nearest")), row("CenterCrop", height=4, width=4),
    row("GroupNormalization", groups=of(1, -1)), row("BatchNormalization", axis=of(-1, 1, -1)),
    row("EinsumDense", equation="...c,cd->...d", output_shape=count, bias_axes=of(..., "d")),
    conv_lstm("ConvLSTM1D"), row("RandomFlip", mode="horizontal"), row("RandomContrast", factor=0.2),
]
if KERAS < 3:
    IMAGES += [row("LocallyConnected2D", filters=count, kernel_size=2)]

VOLUMES = COMMON + [
    conv_lstm("ConvLSTM2D"), conv_lstm("ConvLSTM2D"),
    row("Conv3D", filters=count, kernel_size=of(1, 2, [1, 2, 2]), padding=same, activation=act, strides=of(1, 1, 2)),
    row("Conv3D", filters=count, kernel_size=of(1, 2, [1, 2, 2]), padding=same, activation=act),
    row("MaxPooling3D", pool_size=of(2, [1, 2, 2]), padding=same), row("AveragePooling3D", pool_size=of(2, [1, 2, 2]), padding=same),
    row("GlobalAveragePooling3D"), row("GlobalMaxPooling3D", keepdims=of(..., True)), row("UpSampling3D", size=of([1, 2, 2], [2, 1, 1])),
    row("ZeroPadding3D", padding=of(1, [[0, 1], [1, 0], [0, 0]])), row("Cropping3D", cropping=of([[1, 0], [0, 1], [1, 1]])),
    row("Permute", dims=permuted), row("Flatten"),
    row("Conv3DTranspose", filters=count, kernel_size=2, strides=of(1, 2), padding=of("valid", "same")),
]
RANKS = {2: VECTORS, 3: SEQUENCES + [mha_itself, mha_itself], 4: IMAGES, 5: VOLUMES}


# --- two inputs -----------------------------------------------------------------------------------------------------
def pair(name, **options):
    def draw(rng, a, b):
        return name, {k: v(rng, a) if callable(v) else v for k, v in options.items()}, {}
    return draw


def concatenate(rng, a, b):
    axis = pick(rng, [-1, -1, -1, 1, 2]) if len(a) > 2 else -1
    return "Concatenate", {"axis": axis}, {}


def dot(rng, a, b):
    if len(a) == 2:
        axes = pick(rng, [1, -1])
    else:
        axes = pick(rng, [[2, 2], 2, [1, 1], [2, 1], -1])
    return "Dot", {"axes": axes, "normalize": chance(rng, 0.3)}, {}


def attention(rng, a, b):
    if len(a) != 3 or chance(rng, 0.35):
        name, config = attention_of_itself(rng, a)
        return name, config, {"kw": {"use_causal_mask": True}} if chance(rng, 0.15) else {}
    name = pick(rng, ["Attention", "AdditiveAttention"])
    config = {"use_scale": chance(rng, 0.5)}
    if name == "Attention" and chance(rng, 0.3):
        config["score_mode"] = "concat"
    how = {"kw": {"use_causal_mask": True}} if chance(rng, 0.2) else {}
    if KERAS < 3 and chance(rng, 0.2):
        how = {"kw": {"return_attention_scores": True}}
    return name, config, how


PAIRS = [pair("Add"), pair("Add"), pair("Multiply"), pair("Subtract"), pair("Average"), pair("Maximum"), pair("Minimum"),
         concatenate, concatenate, concatenate, dot, attention, attention]


# --- ids, flags, words ----------------------------------------------------------------------------------------------
def category(rng, shape):
    mode = pick(rng, ["one_hot", "multi_hot", "count"])
    return "CategoryEncoding", {"num_tokens": 9, "output_mode": mode}, {}


def integer_lookup(rng, shape):
    mode = pick(rng, ["int", "one_hot", "multi_hot", "count"])
    return "IntegerLookup", {"vocabulary": [5, 1, 7, 3], "output_mode": mode}, {}


def string_lookup(rng, shape):
    mode = pick(rng, ["int", "one_hot", "multi_hot", "count", "one_hot"])
    return "StringLookup", {"vocabulary": ["blue", "red"], "output_mode": mode}, {}


def embedding(rng, shape):
    return "Embedding", {"input_dim": 9, "output_dim": units(rng), "mask_zero": chance(rng, 0.5)}, {}


def normalize_numbers(rng, shape):
    return "Rescaling", {"scale": pick(rng, [1 / 127.5, 1 / 255]), "offset": pick(rng, [-1.0, 0.0])}, {}


def discretize(rng, shape):
    return "Discretization", {"bin_boundaries": [-0.5, 0.25, 0.5, 1.5, 60.5, 120.5],
                              "output_mode": pick(rng, ["int", "one_hot"])}, {}


PREPROCESS = [("i", category), ("i", integer_lookup), ("i", embedding), ("i", embedding), ("u", normalize_numbers),
              ("u", normalize_numbers), ("S", string_lookup), ("b", lambda rng, s: ("Activation", {"activation": "linear"}, {})),
              ("u", discretize), ("u", lambda rng, s: ("Resizing", {"height": 5, "width": 4}, {}))]
