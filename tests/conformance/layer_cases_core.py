"""Cases of `layer_cases.py`: dense, embedding, masking, activations, dropout, merging, normalization, preprocessing."""
import numpy as np
from keras import layers

from kit import KERAS
from layer_case import Table, floats, given, ints, mask

case = Table()
CASES = case.cases
L = layers
M = (mask("110", "101"),)
ALL = ((0, 1),)

# Dense and its kin
case("dense", lambda: L.Dense(4), (2, 3))
case("dense", lambda: L.Dense(4, use_bias=False, activation="relu"), (2, 3, 5), free=ALL)
case("dense", lambda: L.Dense(3, activation="softmax"), (2, 2, 3, 4))
case("dense", lambda: L.Dense(4), (2, 3, 5), masks=M)
case("dense", lambda: L.Dense(3, dtype="float64"), floats((2, 4), dtype="float64"))
case("dense", lambda: L.Dense(3, dtype="float64"), (2, 4))
case("dense", lambda: L.Dense(3, dtype="mixed_float16"), (2, 4), loose=True)
case("dense", lambda: L.Dense(3, dtype="mixed_bfloat16"), (2, 4), loose=True)
case("dense", lambda: L.Dense(3), ints((2, 4)))
case("dense", lambda: L.Dense(3, activation=L.LeakyReLU()), (2, 4))
if KERAS >= 3:
    case("dense", lambda: L.Dense(3, activation=L.LeakyReLU(negative_slope=0.1)), (2, 4))
    case("dense", lambda: L.Dense(3, activation=L.ReLU(max_value=1.5, negative_slope=0.2, threshold=0.3)), (2, 4))
    case("dense", lambda: L.Dense(4, activation=L.Softmax(axis=1)), (2, 4, 3))
case("dense", lambda: L.Dense(3, activation="elu"), (2, 4))
for equation, shape, out, bias in (
    ("ab,bc->ac", (2, 3), 4, "c"),
    ("abc,cd->abd", (2, 3, 4), (None, 5), "d"),
    ("abc,cd->abd", (2, 3, 4), (3, 5), "bd"),
    ("...x,xy->...y", (2, 3, 2, 4), 5, "y"),
    ("abc,cde->abde", (2, 3, 4), (None, 2, 5), "de"),
    ("abc,cde->abed", (2, 3, 4), (None, 5, 2), "e"),
    ("abc,bd->adc", (2, 3, 4), (5, 4), None),
):
    case("einsum_dense", lambda e=equation, o=out, b=bias: L.EinsumDense(e, o, bias_axes=b, activation="tanh"), shape)
case("embedding", lambda: L.Embedding(8, 3), ints((2, 4)), free=ALL)
case("embedding", lambda: L.Embedding(8, 3), ints((2,)))
case("embedding", lambda: L.Embedding(8, 3), ints((2, 3, 2), dtype="int64"))
case("embedding", lambda: L.Embedding(8, 3), given([[1.0, 2.7, 0.3], [7.9, 0.0, 5.0]]))
case("embedding", lambda: L.Embedding(8, 3, mask_zero=True), given([[1, 0, 3], [0, 2, 0]], "int32"), masks=(None,),
     free=ALL)
case("embedding", lambda: L.Embedding(8, 3, mask_zero=True), given([[1.0, 0.5, 0.0]]), masks=(None,))
case("embedding", lambda: L.Embedding(8, 3, dtype="mixed_float16"), ints((2, 4)), loose=True)
case("embedding", lambda: L.Embedding(8, 3), ints((2, 4), dtype="uint8"))
if KERAS >= 3:
    for tied in (True, False):
        case("reversible_embedding", lambda t=tied: L.ReversibleEmbedding(8, 3, tie_weights=t), ints((2, 4)))
        case("reversible_embedding", lambda t=tied: L.ReversibleEmbedding(8, 3, tie_weights=t, logit_soft_cap=2.0),
             (2, 4, 3), kwargs={"reverse": True})
    case("reversible_embedding", lambda: L.ReversibleEmbedding(8, 3, mask_zero=True), ints((2, 4), 0, 3), masks=(None,))
case("masking", lambda: L.Masking(), given([[[1, 2], [0, 0], [0, 3]], [[0, 0], [4, 0], [0, 0]]]), masks=(None,),
     free=ALL)
case("masking", lambda: L.Masking(mask_value=-1.0), given([[[-1, 2], [-1, -1]], [[0, -1], [-1, -1]]]), masks=(None,))
case("masking", lambda: L.Masking(mask_value=2.0), (2, 3, 2), masks=M)
case("masking", lambda: L.Masking(), ints((2, 3, 2), 0, 2), masks=(None,), only=3)
case("identity", lambda: L.Identity(), (2, 3, 2), masks=M)

# Activation functions, by name and as layers
if KERAS >= 3:
    from keras.src.activations import ALL_OBJECTS_DICT
    NAMES = sorted(set(ALL_OBJECTS_DICT) - {"threshold"})
else:
    NAMES = ["elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "log_softmax", "mish", "relu",
             "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh"]
for name in NAMES:
    case("activation_" + name, lambda n=name: L.Activation(n), floats((2, 3, 8), -4.0, 4.0), free=ALL)
    case("activation_" + name, lambda n=name: L.Activation(n), floats((2, 6), -2.0, 2.0), masks=(mask("1", "0"),))
EDGES = given([[-7.0, -3.0, -2.6, -2.5, -1.0, -0.5, 0.0, 0.5, 1.0, 2.5, 3.0, 6.0, 9.0, 30.0, -30.0, 0.25]])
for name in NAMES:
    if name != "exponential":
        case("activation_edge_" + name, lambda n=name: L.Activation(n), EDGES)
case("activation_int", lambda: L.Activation("relu"), ints((2, 4), -3, 3))
case("activation_int", lambda: L.Activation("linear"), ints((2, 4), -3, 3))
case("activation_mixed", lambda: L.Activation("gelu", dtype="mixed_float16"), (2, 4), loose=True)
for options in ({}, {"max_value": 6.0}, {"max_value": 1.0}, {"negative_slope": 0.1}, {"threshold": 0.5},
                {"max_value": 2.0, "negative_slope": 0.3, "threshold": 0.7}, {"negative_slope": 0.3, "threshold": 0.7},
                {"max_value": 2.0, "threshold": 0.7}, {"max_value": 2.0, "negative_slope": 0.3}):
    case("relu", lambda o=options: L.ReLU(**o), (2, 3, 4), masks=M)
if KERAS >= 3:
    case("leaky_relu", lambda: L.LeakyReLU(), (2, 4))
    case("leaky_relu", lambda: L.LeakyReLU(negative_slope=0.05), (2, 3, 4), masks=M)
else:
    case("leaky_relu", lambda: L.LeakyReLU(), (2, 4))
    case("leaky_relu", lambda: L.LeakyReLU(alpha=0.05), (2, 3, 4), masks=M)
    case("thresholded_relu", lambda: L.ThresholdedReLU(), (2, 6))
    case("thresholded_relu", lambda: L.ThresholdedReLU(theta=0.4), (2, 3, 4), masks=M)
case("elu", lambda: L.ELU(), (2, 4))
case("elu", lambda: L.ELU(alpha=0.4), (2, 3, 4), masks=M)
case("prelu", lambda: L.PReLU(), (2, 4))
case("prelu", lambda: L.PReLU(shared_axes=[1]), (2, 3, 4), masks=M, free=ALL)
case("prelu", lambda: L.PReLU(shared_axes=[1, 2]), (2, 3, 2, 4), free=((0, 1, 2),))
for axis in (-1, 1, [1, 2], [-1], [-2, -1], 2):
    case("softmax", lambda a=axis: L.Softmax(axis=a), (2, 3, 4), free=ALL)
case("softmax", lambda: L.Softmax(), (2, 3), masks=M)
case("softmax", lambda: L.Softmax(), (2, 3), kwargs={"mask": mask("011", "110")})
case("softmax", lambda: L.Softmax(axis=[1, 2]), (2, 2, 3), kwargs={"mask": np.array([[[1, 0, 1], [1, 1, 0]]] * 2,
     bool)})

# Identity at inference
for name, make in {
    "dropout": lambda: L.Dropout(0.5), "alpha_dropout": lambda: L.AlphaDropout(0.3),
    "gaussian_dropout": lambda: L.GaussianDropout(0.3), "gaussian_noise": lambda: L.GaussianNoise(0.5),
    "activity_regularization": lambda: L.ActivityRegularization(l1=0.1),
    "spatial_dropout1d": lambda: L.SpatialDropout1D(0.3),
}.items():
    case(name, make, (2, 3, 4), masks=M, free=ALL)
case("spatial_dropout2d", lambda: L.SpatialDropout2D(0.3), (2, 3, 2, 4))
case("spatial_dropout3d", lambda: L.SpatialDropout3D(0.3), (2, 3, 2, 2, 2))
# One call of Keras 3 obeys `training`; a model of Keras 3 does not.
case("dropout", lambda: L.Dropout(0.0), (2, 3), kwargs={"training": True}, only=2)
case("dropout", lambda: L.Dropout(0.3), (2, 3), kwargs={"training": False})

# Merging
MERGES = {"add": L.Add, "multiply": L.Multiply, "average": L.Average, "maximum": L.Maximum, "minimum": L.Minimum}
for name, make in MERGES.items():
    case(name, make, (2, 3), (2, 3))
    case(name, make, (2, 3, 4), (2, 3, 4), (2, 3, 4), free=(ALL[0],))
    case(name, make, (2, 3, 4), (2, 4))
    case(name, make, (2, 4), (2, 3, 5, 4), (2, 1, 4))
    case(name, make, (2, 3, 4), (2, 3, 4), masks=(mask("110", "101"), mask("011", "111")))
    case(name, make, (2, 3, 4), (2, 3, 4), masks=(mask("110", "101"), None))
    case(name, make, (2, 3, 4), (2, 3, 1), masks=(None, mask("110", "101")))
case("add", L.Add, ints((2, 3)), ints((2, 3)))
case("maximum", L.Maximum, ints((2, 3)), ints((2, 3)))
case("add", lambda: L.Add(dtype="mixed_float16"), (2, 3), (2, 3), loose=True)
case("subtract", L.Subtract, (2, 3), (2, 3))
case("subtract", L.Subtract, (2, 3, 4), (2, 4), masks=(mask("110", "101"), None))
case("subtract", L.Subtract, (2, 3, 4), (2, 3, 4), masks=(mask("110", "101"), mask("011", "111")))
for axis in (-1, 1, 2, -2):
    other = (2, 3, 2) if axis in (-1, 2) else (2, 5, 4)
    case("concatenate", lambda a=axis: L.Concatenate(axis=a), (2, 3, 4), other)
case("concatenate", L.Concatenate, (2, 3), (2, 1), (2, 4))
case("concatenate", L.Concatenate, (2, 3, 4), (2, 3, 2), free=(ALL[0],))
case("concatenate", lambda: L.Concatenate(axis=1), (2, 3, 4), (2, 2, 4), free=((0, 1), (0, 1)))
case("concatenate", L.Concatenate, (2, 3, 4), (2, 3, 2), masks=(mask("110", "101"), mask("011", "111")))
case("concatenate", L.Concatenate, (2, 3, 4), (2, 3, 2), masks=(mask("110", "101"), None))
case("concatenate", lambda: L.Concatenate(axis=1), (2, 3, 4), (2, 2, 4), masks=(mask("110", "101"), mask("01", "11")))
case("concatenate", lambda: L.Concatenate(axis=1), (2, 3, 4), (2, 2, 4), masks=(mask("110", "101"), None), only=3)
case("concatenate", L.Concatenate, ints((2, 3)), ints((2, 2)))
for axes, a, b in ((1, (2, 3), (2, 3)), (-1, (2, 3), (2, 3)), ((2, 1), (2, 3, 4), (2, 4, 5)), (2, (2, 3, 4), (2, 5, 4)),
                   ((1, 1), (2, 3, 4), (2, 3, 5)), ((1, 2), (2, 4, 3), (2, 5, 4)), ((1, 2), (2, 4), (2, 3, 4)),
                   ((3, 1), (2, 3, 2, 4), (2, 4, 5)), ((2, 2), (2, 3, 4), (2, 2, 4, 3)), ((2, 1), (2, 3, 4), (2, 4))):
    for normalize in (False, True):
        case("dot", lambda x=axes, n=normalize: L.Dot(axes=x, normalize=n), a, b)
case("dot", lambda: L.Dot(axes=2), (2, 3, 4), (2, 3, 4), masks=(mask("110", "101"), mask("011", "111")))

# Normalization
for options, shape in (
    ({}, (2, 4)), ({}, (2, 3, 4)), ({}, (2, 3, 2, 4)), ({"axis": 1}, (2, 3, 2, 4)), ({"axis": -1}, (2, 2, 3, 2, 4)),
    ({"axis": 1}, (2, 3, 2)), ({"axis": 2}, (2, 3, 2)), ({"scale": False}, (2, 3, 4)), ({"center": False}, (2, 3, 4)),
    ({"scale": False, "center": False}, (2, 4)), ({"epsilon": 1e-5}, (2, 3, 2, 4)), ({"epsilon": 0.1}, (2, 4)),
):
    case("batch_normalization", lambda o=options: L.BatchNormalization(**o), shape)
case("batch_normalization", L.BatchNormalization, (2, 3, 4), masks=M, free=ALL)
case("batch_normalization", lambda: L.BatchNormalization(epsilon=1e-7), (2, 3, 2, 2),
     weights={"moving_variance": [1e-6, 2e-6]})
case("batch_normalization", lambda: L.BatchNormalization(dtype="mixed_float16"), (2, 4), loose=True)
case("batch_normalization", L.BatchNormalization, ints((2, 4), 0, 9), only=3)
case("batch_normalization", L.BatchNormalization, (2, 3, 4), kwargs={"training": True}, free=ALL, only=2)
case("batch_normalization", lambda: L.BatchNormalization(axis=1), (2, 3, 4), kwargs={"training": True}, only=2)
case("batch_normalization", lambda: L.BatchNormalization(trainable=False), (2, 4), kwargs={"training": True}, only=2)
case("batch_normalization", lambda: L.BatchNormalization(axis=[1, 2]), (2, 3, 4), only=2)
case("batch_normalization", lambda: L.BatchNormalization(axis=[1, 3], scale=False), (2, 3, 2, 4), only=2)
for options, shape in (
    ({}, (2, 4)), ({}, (2, 3, 4)), ({"axis": 1}, (2, 3, 4)), ({"axis": [1, 2]}, (2, 3, 4)), ({"axis": [2, 1]},
         (2, 3, 4)),
    ({"axis": [-1, -3]}, (2, 3, 2, 4)), ({"axis": [1, 2, 3]}, (2, 3, 2, 4)), ({"scale": False}, (2, 4)),
    ({"center": False}, (2, 4)), ({"scale": False, "center": False, "epsilon": 0.1}, (2, 4)), ({"epsilon": 1e-6},
         (2, 3, 4)),
):
    case("layer_normalization", lambda o=options: L.LayerNormalization(**o), shape)
case("layer_normalization", L.LayerNormalization, (2, 3, 4), masks=M, free=ALL)
case("layer_normalization", lambda: L.LayerNormalization(dtype="mixed_float16"), (2, 4), loose=True)
if KERAS >= 3:
    for options in ({"rms_scaling": True}, {"rms_scaling": True, "axis": [1, 2]}, {"rms_scaling": True, "axis": 1}):
        case("layer_normalization", lambda o=options: L.LayerNormalization(**o), (2, 3, 4))
    for options in ({}, {"axis": [1, 2]}, {"epsilon": 0.1}):
        case("rms_normalization", lambda o=options: L.RMSNormalization(**o), (2, 3, 4), masks=M)
for options, shape in (
    ({"groups": 2}, (2, 4)), ({"groups": 2}, (2, 3, 4)), ({"groups": -1}, (2, 3, 2, 4)), ({"groups": 1}, (2, 3, 2, 4)),
    ({"groups": 3, "axis": 1}, (2, 6, 2, 4)), ({"groups": 2, "scale": False}, (2, 3, 4)),
    ({"groups": 2, "center": False, "epsilon": 0.1}, (2, 3, 4)),
):
    case("group_normalization", lambda o=options: L.GroupNormalization(**o), shape)
case("group_normalization", lambda: L.GroupNormalization(groups=2), (2, 3, 4), masks=M, only=3, free=ALL)
for options in ({}, {"axis": 1}, {"axis": [1, 2]}):
    case("unit_normalization", lambda o=options: L.UnitNormalization(**o), (2, 3, 4), masks=M, free=ALL)
case("unit_normalization", L.UnitNormalization, given([[0, 0, 0], [1e-9, 0, 0], [1e-3, 2e-3, 0]]))

# Numbers in, numbers out
for scale, offset in ((1 / 255, 0.0), (1 / 127.5, -1.0), ([0.5, 2.0, 1.0], [0.1, -0.2, 0.0]), ([0.5, 2.0, 1.0], 0.5)):
    case("rescaling", lambda s=scale, o=offset: L.Rescaling(s, o), (2, 2, 3), masks=(mask("10", "11"),))
case("rescaling", lambda: L.Rescaling(1 / 255), ints((2, 2, 3), 0, 256, "uint8"))
case("rescaling", lambda: L.Rescaling(1 / 255, dtype="float64"), ints((2, 2, 3), 0, 256))
POSITIVE = {"mean": [0.1, -0.5, 2.0], "variance": [0.5, 2.0, 1e-16]}
for options in ({}, {"invert": True}):
    case("normalization", lambda o=options: L.Normalization(**o), (2, 2, 3), weights=POSITIVE,
         masks=(mask("10", "11"),))
case("normalization", lambda: L.Normalization(axis=None), (2, 3), weights={"mean": 0.7, "variance": 3.0})
case("normalization", lambda: L.Normalization(axis=(1, 2)), (2, 2, 3), weights={"variance": [[1, 2, 3], [4, 5, 6]]})
case("normalization", lambda: L.Normalization(axis=1), (2, 3, 2), weights=POSITIVE)
case("normalization", lambda: L.Normalization(mean=0.5, variance=2.0), (2, 3))
case("normalization", lambda: L.Normalization(mean=0.5, variance=2.0, axis=None, invert=True), (2, 3, 4), free=ALL)
case("normalization", lambda: L.Normalization(mean=[0.5, 1.0, 2.0], variance=[2.0, 0.0, 1.0]), (2, 3))
case("normalization", lambda: L.Normalization(mean=[1.0, 2.0, 0.5], variance=[2.0, 1.0, 3.0]), ints((2, 3)))
for mode in ("one_hot", "multi_hot", "count"):
    case("category_encoding", lambda m=mode: L.CategoryEncoding(8, output_mode=m), ints((3, 1)))
    case("category_encoding", lambda m=mode: L.CategoryEncoding(8, output_mode=m), ints((3,)))
    if mode != "one_hot":
        case("category_encoding", lambda m=mode: L.CategoryEncoding(8, output_mode=m), ints((3, 4), 0, 4))
        case("category_encoding", lambda m=mode: L.CategoryEncoding(8, output_mode=m), floats((3, 4), 0, 7))
case("category_encoding", lambda: L.CategoryEncoding(8, output_mode="one_hot"), ints((3, 4)), only=3)
case("category_encoding", lambda: L.CategoryEncoding(8, output_mode="count"), ints((3, 4), 0, 4),
     kwargs={"count_weights": np.arange(12, dtype="float32").reshape(3, 4)})
case("category_encoding", lambda: L.CategoryEncoding(8, output_mode="multi_hot"), ints((2, 3, 4)), only=3)
BOUNDS = [-1.0, 0.0, 0.5, 2.0]
for mode in ("int", "one_hot", "multi_hot", "count"):
    case("discretization", lambda m=mode: L.Discretization(BOUNDS, output_mode=m), (3, 1))
    case("discretization", lambda m=mode: L.Discretization(BOUNDS, output_mode=m),
         given([[-1.0, 0.0, 0.4], [0.5, 9.0, -9.0]])
         if mode != "one_hot" else given([[-1.0], [0.5]]))
case("discretization", lambda: L.Discretization(BOUNDS), ints((2, 3), -3, 4))
case("discretization", lambda: L.Discretization(BOUNDS, dtype="int32"), (2, 3), only=3)
case("discretization", lambda: L.Discretization(BOUNDS), (2, 3, 2), free=ALL)
WORDS = [3, 7, 11, 2]
for options in ({}, {"num_oov_indices": 0}, {"mask_token": 0}, {"mask_token": 0, "oov_token": -1},
                {"output_mode": "multi_hot"}, {"output_mode": "count"}, {"output_mode": "one_hot"},
                {"output_mode": "multi_hot", "mask_token": 0}):
    values = [[3, 2, 7], [11, 2, 3]] if options.get("num_oov_indices") == 0 else [[3, 5, 0], [11, 2, -1]]
    values = [[row[0]] for row in values] if options.get("output_mode") == "one_hot" else values
    case("integer_lookup", lambda o=options: L.IntegerLookup(vocabulary=WORDS, **o), given(values, "int64"))
TOKENS = ["red", "a b", "\u00fc", "[UNK]"]
for options in ({}, {"num_oov_indices": 0}, {"mask_token": ""}, {"mask_token": "", "oov_token": "?"},
                {"output_mode": "multi_hot"}, {"output_mode": "count"}, {"output_mode": "one_hot"},
                {"output_mode": "multi_hot", "mask_token": ""}, {"output_mode": "count", "mask_token": ""},
                {"output_mode": "count", "max_tokens": 8, "pad_to_max_tokens": True},
                {"output_mode": "tf_idf", "idf_weights": [0.5, 1.0, 1.5, 2.0]},
                {"output_mode": "tf_idf", "vocabulary": ["[UNK]", "red"], "idf_weights": [0.5, 1.0]}):
    texts = [["red", "a b", "red"], ["\u00fc", "\u00fc", "red"]]
    texts = texts if options.get("num_oov_indices") == 0 else [["red", "Red", ""], ["a b", "[UNK]", "\u00fc"]]
    texts = [[row[0]] for row in texts] if options.get("output_mode") == "one_hot" else texts
    options = {"vocabulary": TOKENS, **options}
    # Weights of Keras 2 have no shape until the layer is in a model.
    case("string_lookup", lambda o=options: L.StringLookup(**o), given(texts, "object"),
         only=3 if "idf_weights" in options else None)
for options in ({}, {"mask_token": "-"}, {"num_oov_indices": 3}, {"num_oov_indices": 0, "oov_token": "none"}):
    options = {"vocabulary": TOKENS[:3], "invert": True, **options}
    case("string_lookup_invert", lambda o=options: L.StringLookup(**o), given([[0, 1, 2], [5, 4, -1]], "int64"))
for options in ({"output_mode": "count", "mask_token": 0}, {"output_mode": "one_hot", "mask_token": 5},
                {"output_mode": "multi_hot", "max_tokens": 9, "pad_to_max_tokens": True}):
    values = [[5], [11]] if options["output_mode"] == "one_hot" else [[3, 5, 0], [11, 2, 0]]
    case("integer_lookup_masked", lambda o=options: L.IntegerLookup(vocabulary=WORDS, **o), given(values, "int64"))
