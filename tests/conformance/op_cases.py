"""Cases for every op of recast's graph: inputs, attributes, and what TensorFlow, Keras or numpy make of them.

    python tests/conformance/op_cases.py

Run in the Keras 3 environment (setup.sh). Writes op_cases.npz (arrays) and op_cases.txt (one graph a case) beside the
tests of recast-reference, which read them without Python. Arithmetic is in float64 wherever the framework has it.
"""
import os

import kit
import op_cases_layers
import op_cases_shape

import numpy as np
import tensorflow as tf
from op_cases_kit import CASES, case, explicit, ints, normal, raw, uniform, write


def unary():
    x = normal(3, 4)
    positive, unit = uniform(0.1, 4, 3, 4), uniform(-0.95, 0.95, 3, 4)
    beyond = uniform(1.1, 5, 3, 4)
    alike = {  # the function's name in tf.math, and inputs of its domain
        "abs": x, "neg": x, "sign": np.float32([-2, 0, 3]), "square": x, "sqrt": positive, "rsqrt": positive,
        "reciprocal": x, "exp": x, "expm1": x * 1e-3, "log": positive, "log1p": positive, "floor": x * 3,
        "ceil": x * 3, "round": np.float32([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.4999]), "sin": x, "cos": x, "tan": x,
        "asin": unit, "acos": unit, "atan": x, "sinh": x, "cosh": x, "tanh": x, "asinh": x, "acosh": beyond,
        "atanh": unit, "erf": x * 2, "sigmoid": x * 3, "softplus": x * 9, "softsign": x,
    }
    renamed = {"neg": tf.math.negative}
    for name, values in alike.items():
        function = renamed.get(name) or getattr(tf.math, name, None) or getattr(tf.nn, name)
        case(f"unary_{name}", "unary", {"function": name}, [values], [function(values.astype("f8")).numpy()])
    wide = np.concatenate([x.ravel() * 3, np.float32([-9, 9, 0])])
    of_nn = {"relu": tf.nn.relu, "silu": tf.nn.silu, "selu": tf.nn.selu,
             "gelu": lambda v: tf.nn.gelu(v, approximate=False), "gelu_tanh": lambda v: tf.nn.gelu(v, approximate=True),
             "mish": lambda v: v * tf.tanh(tf.math.softplus(v)), "trunc": np.trunc}
    for name, function in of_nn.items():
        case(f"unary_{name}", "unary", {"function": name}, [wide], [np.asarray(function(wide.astype("f8")))])
    odd = np.float32([1, np.nan, np.inf, -np.inf, 0])
    for name in ["is_nan", "is_inf", "is_finite"]:
        case(f"unary_{name}", "unary", {"function": name}, [odd], [getattr(np, name.replace("_", ""))(odd)])
    case("unary_not", "unary", {"function": "not"}, [np.array([True, False])], [np.array([False, True])])
    whole = np.int32([-5, 0, 7, 2**31 - 1])
    by_numpy = {"abs": np.abs, "neg": np.negative, "sign": np.sign, "square": np.square, "bitwise_not": np.invert,
                "relu": lambda v: np.maximum(v, 0)}
    with np.errstate(over="ignore"):
        for name, function in by_numpy.items():
            case(f"unary_int_{name}", "unary", {"function": name}, [whole], [function(whole)])


def activation():
    x = normal(4, 5) * 2
    wide = x.astype("f8")
    keras_functions = kit.keras.activations
    table = {
        "elu": (1.3, 0.0, lambda v: keras_functions.elu(v, alpha=1.3)),
        "leaky_relu": (0.3, 0.0, lambda v: tf.nn.leaky_relu(v, alpha=0.3)),
        "hard_sigmoid": (1 / 6, 0.5, keras_functions.hard_sigmoid),
        "celu": (0.7, 0.0, lambda v: keras_functions.celu(v, alpha=0.7)),
        "thresholded_relu": (0.6, 0.0, lambda v: v * (v > 0.6)),
        "scaled_tanh": (1.7, 0.6, lambda v: 1.7 * np.tanh(0.6 * v)),
        "affine": (1.7, -0.6, lambda v: 1.7 * v - 0.6),
        "linear": (0.0, 0.0, lambda v: v),
        "gelu_tanh": (0.0, 0.0, lambda v: keras_functions.gelu(v, approximate=True)),
        "gelu": (0.0, 0.0, lambda v: keras_functions.gelu(v, approximate=False)),
        "exp": (0.0, 0.0, keras_functions.exponential),
    }
    for name in ["tanh", "sigmoid", "relu", "softplus", "softsign", "selu", "silu", "mish"]:
        table[name] = (0.0, 0.0, getattr(keras_functions, name))
    for name, (alpha, beta, function) in table.items():
        attrs = {"function": name, "alpha": float(alpha), "beta": float(beta)}
        case(f"activation_{name}", "activation", attrs, [x], [np.asarray(function(wide))])


def binary():
    a, b = normal(3, 1, 4), normal(2, 4)
    b[0, 0] = 0.5
    arithmetic = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum,
                  "min": np.minimum, "atan2": np.arctan2, "floor_div": np.floor_divide, "mod": np.mod}
    for name, function in arithmetic.items():
        case(f"binary_{name}", "binary", {"function": name}, [a, b], [function(a.astype("f8"), b.astype("f8"))])
    base = uniform(0.2, 3, 3, 1, 4)
    case("binary_pow", "binary", {"function": "pow"}, [base, b], [np.power(base.astype("f8"), b.astype("f8"))])
    case("binary_add_row", "binary", {"function": "add"}, [normal(3, 4), normal(4)[:]], None)
    case("binary_sub_scalar", "binary", {"function": "sub"}, [np.float32(1.5), normal(3, 4)], None)
    i, j = ints(-9, 9, 4, 5), ints(-4, 4, 5)
    j[j == 0] = 3
    whole = dict(arithmetic, pow=None)
    for name in ["add", "sub", "mul", "max", "min", "floor_div", "mod"]:
        case(f"binary_int_{name}", "binary", {"function": name}, [i, j], [whole[name](i, j)])
    case("binary_int_pow", "binary", {"function": "pow"}, [i, np.abs(j)], [np.power(i, np.abs(j))])
    with np.errstate(over="ignore"):
        large = np.int32([2**31 - 1, -(2**31), 7])
        case("binary_int_wraps", "binary", {"function": "mul"}, [large, large], [large * large])
    for name in ["and", "or", "xor"]:
        bits = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[name]
        case(f"binary_bitwise_{name}", "binary", {"function": f"bitwise_{name}"}, [i, j], [bits(i, j)])
        p, q = np.array([[True], [False]]), np.array([True, False])
        case(f"binary_{name}", "binary", {"function": name}, [p, q], [bits(p, q)])
    shift = np.int32([0, 1, 2, 3, 4])
    case("binary_shift_left", "binary", {"function": "shift_left"}, [i, shift], [np.left_shift(i, shift)])
    case("binary_shift_right", "binary", {"function": "shift_right"}, [i, shift], [np.right_shift(i, shift)])
    same = np.float32([1, 2, np.nan]), np.float32([1, 3, np.nan])
    for name in ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]:
        case(f"binary_{name}", "binary", {"function": name}, list(same), [getattr(np, name)(*same)])
        case(f"binary_int_{name}", "binary", {"function": name}, [i, j], [getattr(np, name)(i, j)])
    signs = np.float32([5.5, -5.5, 5.5, -5.5]), np.float32([3, 3, -3, -3])
    case("binary_mod_signs", "binary", {"function": "mod"}, list(signs), [tf.math.floormod(*signs).numpy()])


def choices():
    x = normal(3, 4) * 4
    case("clip_both", "clip", {"min": -1.0, "max": 2.5}, [x], [np.clip(x, -1, 2.5)])
    case("clip_max", "clip", {"min": None, "max": 6.0}, [x * 3], [np.minimum(x * 3, 6)])
    whole = ints(-9, 9, 7)
    case("clip_int", "clip", {"min": -3.0, "max": None}, [whole], [np.maximum(whole, -3)])
    c, a, b = np.array([[True], [False], [True]]), normal(3, 4), normal(4)
    case("where", "where", {}, [c, a, b], [np.where(c, a, b)])
    case("where_int", "where", {}, [c, ints(0, 9, 3, 2), ints(0, 9, 1, 2)], None)
    truncated = np.float32([-2.7, -0.2, 0.2, 2.7, 100.9])
    case("cast_f32_i32", "cast", {"to": "i32"}, [truncated], [truncated.astype("i4")])
    case("cast_f32_bool", "cast", {"to": "bool"}, [np.float32([0, -0.0, 0.1, np.nan])],
         [np.array([False, False, True, True])])
    case("cast_f32_f16", "cast", {"to": "f16"}, [x], [x.astype("f2")])
    case("cast_i32_u8", "cast", {"to": "u8"}, [np.int32([-1, 255, 256, 300])], [np.uint8([255, 255, 0, 44])])
    case("cast_i64_f32", "cast", {"to": "f32"}, [np.int64([2**24 + 1, -3])], [np.float32([2**24, -3])])
    case("cast_bool_f32", "cast", {"to": "f32"}, [np.array([True, False])], [np.float32([1, 0])])


def products():
    a, b = normal(2, 1, 3, 4), normal(3, 4, 5)
    case("matmul_stack", "matmul", {}, [a, b], [a.astype("f8") @ b.astype("f8")])
    a, b = normal(2, 3, 4), normal(4, 5)
    case("matmul_shared", "matmul", {}, [a, b], [a.astype("f8") @ b.astype("f8")])
    a, b = ints(-9, 9, 3, 4), ints(-9, 9, 4, 2)
    case("matmul_int", "matmul", {}, [a, b], [a @ b])
    equations = {"abc,cde->abde": [(2, 3, 4), (4, 5, 2)], "abcd,aecd->acbe": [(2, 3, 4, 5), (2, 6, 4, 5)],
                 "ab,cb->ca": [(2, 3), (4, 3)], "ab->b": [(3, 4)], "abc->cab": [(2, 3, 4)],
                 "ab,bc,cd->ad": [(2, 3), (3, 4), (4, 5)], "ab,ab->a": [(3, 4), (3, 4)], "ab,c->ac": [(2, 3), (4,)]}
    for index, (equation, shapes) in enumerate(equations.items()):
        values = [normal(*shape) for shape in shapes]
        want = np.einsum(equation, *[v.astype("f8") for v in values])
        case(f"einsum_{index}", "einsum", {"equation": equation}, values, [want])


def control():
    values = normal(2, 3)
    hexed = values.astype("<f4").tobytes().hex()
    case("constant", "constant", {"tensor": raw(f'tensor f32[2, 3] hex "{hexed}"')}, [], [values])
    turned = raw(f'tensor f32[3, 2] hex "{hexed}" stored [2, 3] perm [1, 0]')
    case("constant_permuted", "constant", {"tensor": turned}, [], [values.T])
    case("dim_size", "dim_size", {"dim": raw("<7>")}, [], [np.int64(7)])
    case("iota_int", "iota", {"dim": raw("<5>"), "dtype": "i32"}, [], [np.arange(5, dtype="i4")])
    case("iota_float", "iota", {"dim": raw("<4>"), "dtype": "f32"}, [], [np.arange(4, dtype="f4")])
    body = """graph "leaky sum" {
  input %0: f32[2, 3] = "h"  input %1: f32[2, 3] = "x"
  %2: f32[] = constant() tensor=tensor f32[] hex "0000003f" @ ""
  %3: f32[2, 3] = binary(%0, %2) function="mul" @ "cell"
  %4: f32[2, 3] = binary(%3, %1) function="add" @ "cell"
  %5: f32[2] = reduce(%4) function="max" axes=[1] keepdims=false @ "cell"
  output %4 = "h"  output %5 = "y"
}"""
    start, x = normal(2, 3), normal(2, 4, 3)
    for reverse in [False, True]:
        h, ys = start.astype("f8"), [None] * 4
        for t in (reversed(range(4)) if reverse else range(4)):
            h = h * 0.5 + x[:, t]
            ys[t] = h.max(axis=1)
        name = "scan_reverse" if reverse else "scan"
        case(name, "scan", {"body": raw(body), "states": 1, "reverse": reverse}, [start, x], [h, np.stack(ys, 1)])


def padding_of(pads):
    return [explicit(before, after) for before, after in pads]


def convolutions():
    def conv(name, x, k, strides, pads, dilations, groups=1, bias=True, first=False):
        rank = len(strides)
        wide = np.pad(x.astype("f8"), [(0, 0), *pads, (0, 0)])
        parts = zip(np.split(wide, groups, -1), np.split(k.astype("f8"), groups, -1))
        one = lambda p, q: tf.nn.convolution(p, q, strides, "VALID", dilations=dilations).numpy()
        want = np.concatenate([one(p, q) for p, q in parts], -1)
        b = normal(k.shape[-1])
        if bias:
            want = want + b
        attrs = {"strides": strides, "dilations": dilations, "padding": padding_of(pads), "groups": groups,
                 "layout": "channels_first" if first else "channels_last", "kernel": "oihw" if first else "hwio"}
        if first:
            x, want = np.moveaxis(x, -1, 1), np.moveaxis(want, -1, 1)
            k = np.moveaxis(k, (-1, -2), (0, 1))
        assert rank == x.ndim - 2
        case(name, "conv", attrs, [x, k, b] if bias else [x, k], [want])

    conv("conv_1d", normal(2, 9, 3), normal(3, 3, 4), [1], [(2, 0)], [1])
    conv("conv_1d_strided_dilated", normal(2, 9, 3), normal(2, 3, 4), [1], [(1, 2)], [3], bias=False)
    conv("conv_1x1", normal(2, 3, 4, 5), normal(1, 1, 5, 6), [1, 1], [(0, 0), (0, 0)], [1, 1])
    conv("conv_2d", normal(2, 6, 7, 3), normal(3, 2, 3, 5), [2, 1], [(1, 1), (0, 1)], [1, 1])
    conv("conv_2d_dilated", normal(1, 8, 8, 2), normal(3, 3, 2, 3), [1, 1], [(2, 2), (1, 3)], [2, 2])
    conv("conv_2d_groups", normal(2, 5, 5, 6), normal(3, 3, 2, 9), [1, 1], [(1, 1), (1, 1)], [1, 1], groups=3)
    conv("conv_2d_depthwise", normal(2, 5, 5, 4), normal(3, 3, 1, 4), [2, 2], [(0, 1), (1, 1)], [1, 1], groups=4)
    conv("conv_2d_depthwise_wide", normal(2, 5, 5, 3), normal(3, 3, 1, 6), [1, 1], [(1, 1), (1, 1)], [1, 1], groups=3)
    conv("conv_2d_first", normal(2, 6, 7, 3), normal(3, 2, 3, 5), [2, 1], [(1, 1), (0, 1)], [1, 1], first=True)
    conv("conv_2d_first_groups", normal(1, 5, 5, 4), normal(3, 3, 2, 6), [1, 1], [(1, 1), (1, 1)], [1, 1], 2,
         first=True)
    conv("conv_3d", normal(1, 5, 4, 4, 2), normal(2, 3, 2, 2, 3), [2, 1, 1], [(1, 0), (1, 1), (0, 0)], [1, 1, 1])

    # What TensorFlow calls "SAME" is what our padding "same" becomes for known lengths.
    x, k = normal(1, 7, 8, 2), normal(3, 3, 2, 3)
    want = tf.nn.conv2d(x.astype("f8"), k.astype("f8"), [2, 3], "SAME").numpy()
    attrs = {"strides": [2, 3], "dilations": [1, 1], "padding": ["same", "same"], "groups": 1,
             "layout": "channels_last", "kernel": "hwio"}
    case("conv_same", "conv", attrs, [x, k], [want])

    def transposed(name, x, k, strides, dilations, cropping, extra, groups=1, first=False):
        sizes = [(n - 1) * s + (w - 1) * d + 1 for n, s, w, d in zip(x.shape[1:], strides, k.shape, dilations)]
        parts = []
        for p, q in zip(np.split(x, groups, -1), np.split(k, groups, -1)):
            z = tf.Variable(np.zeros([x.shape[0], *sizes, q.shape[-2]]))
            with tf.GradientTape() as tape:
                # Strides and dilations together are beyond TensorFlow's gradient: one spread kernel instead.
                spread = np.zeros([(w - 1) * d + 1 for w, d in zip(q.shape, dilations)] + list(q.shape[-2:]))
                spread[tuple(slice(None, None, d) for d in dilations)] = q
                # The general function loses the data format that the gradient in three dimensions needs.
                y = (tf.nn.conv3d(z, spread, [1, *strides, 1], "VALID", data_format="NDHWC") if len(strides) == 3
                     else tf.nn.convolution(z, spread, strides, "VALID"))
                total = tf.reduce_sum(y * p.astype("f8"))
            parts.append(tape.gradient(total, z).numpy())
        want = np.concatenate(parts, -1)
        want = np.pad(want, [(0, 0), *[(0, more) for more in extra], (0, 0)])
        for axis, (before, after) in enumerate(cropping):
            want = np.take(want, range(before, want.shape[axis + 1] - after), axis + 1)
        b = normal(want.shape[-1])
        want = want + b
        attrs = {"strides": strides, "dilations": dilations, "cropping": [[int(p), int(q)] for p, q in cropping],
                 "output_padding": extra, "groups": groups,
                 "layout": "channels_first" if first else "channels_last", "kernel": "iohw" if first else "hwoi"}
        if first:
            x, want = np.moveaxis(x, -1, 1), np.moveaxis(want, -1, 1)
            k = np.moveaxis(k, (-1, -2), (0, 1))
        case(name, "conv_transpose", attrs, [x, k, b], [want])

    transposed("conv_transpose_1d", normal(2, 5, 3), normal(3, 4, 3), [2], [1], [(0, 1)], [0])
    transposed("conv_transpose_2d", normal(1, 4, 3, 2), normal(3, 4, 5, 2), [2, 3], [1, 1], [(1, 0), (2, 1)], [0, 1])
    transposed("conv_transpose_2d_dilated", normal(1, 4, 4, 2), normal(2, 3, 3, 2), [1, 2], [2, 2],
               [(0, 0), (1, 1)], [1, 0])
    transposed("conv_transpose_2d_groups", normal(1, 3, 3, 4), normal(3, 3, 2, 4), [2, 2], [1, 1], [(1, 1), (1, 1)],
               [1, 1], 2)
    transposed("conv_transpose_2d_first", normal(1, 3, 4, 4), normal(3, 2, 3, 4), [2, 1], [1, 1], [(1, 0), (0, 0)],
               [0, 0], 2, True)
    transposed("conv_transpose_3d", normal(1, 2, 3, 2, 2), normal(2, 2, 3, 3, 2), [2, 1, 2], [1, 1, 1],
               [(0, 0)] * 3, [0, 0, 1])


def dropout():
    """Last of all, so that the draws of the others stay as they were."""
    x = normal(2, 3, 4)
    for function, shared in (("dropout", []), ("dropout", [1]), ("alpha", []), ("gaussian", []), ("noise", [])):
        attrs = {"function": function, "rate": 0.5, "shared": shared}
        case(f"dropout_{function}_{len(shared)}", "dropout", attrs, [x], [x])


def strings():
    """What a lookup table of TensorFlow gives, and strings that are only moved about."""
    words = np.array([["red", "a b", "Red"], ["", "é", "red "]])
    keys, values = ["red", "é", "", "a b"], [3, -1, 0, 2**40]
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, tf.constant(values, tf.int64)), 7)
    attrs = {"keys": keys, "values": values, "fallback": 7}
    case("string_to_index", "string_to_index", attrs, [words], [table.lookup(tf.constant(words)).numpy()])
    places = ints(-2, 3, 2, 4, dtype="int64")
    names, labels = [0, 3, -1], ["none", 'say "x"', "ü"]
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(tf.constant(names, tf.int64), labels), "?")
    found = np.char.decode(table.lookup(tf.constant(places)).numpy().astype("S"), "utf-8")
    case("index_to_string", "index_to_string", {"keys": names, "values": labels, "fallback": "?"}, [places], [found])
    flags = np.array([[True, False, True], [False, False, True]])
    case("where_strings", "where", {}, [flags, words, np.array(["x", "y", "z"])], None)
    case("transpose_strings", "transpose", {"perm": [1, 0]}, [words], [words.T])
    case("concat_strings", "concat", {"axis": 1}, [words, words[:, ::-1]], [np.concatenate([words, words[:, ::-1]], 1)])
    texts()


def texts():
    """What TensorFlow makes of texts: written alike, cut, hashed."""
    said = np.array(["Ab-c, dé!", " x\ty  Ünder_score ", "", "one two three"])
    told = tf.constant(said.tolist())
    plain = np.char.decode(tf.strings.lower(told).numpy().astype("S"), "utf-8")
    case("string_map_lower", "string_map", {"function": "lower"}, [said], [plain])
    signs = "[!\"#$%&()\\*\\+,-\\./:;<=>?@\\[\\\\\\]^_`{|}~\\']"
    plain = np.char.decode(tf.strings.regex_replace(told, signs, "").numpy().astype("S"), "utf-8")
    case("string_map_strip_punctuation", "string_map", {"function": "strip_punctuation"}, [said], [plain])
    for by, cut in [("whitespace", tf.strings.split(told)), ("characters", tf.strings.unicode_split(told, "UTF-8"))]:
        found = np.char.decode(cut.to_tensor("").numpy().astype("S"), "utf-8")
        attrs = {"by": by, "ngrams": [1], "words": raw(f"<{found.shape[1]}>")}
        case(f"string_split_{by}", "string_split", attrs, [said], [found])
    runs = tf.strings.ngrams(tf.strings.split(told), (1, 2)).to_tensor("")
    found = np.char.decode(runs.numpy().astype("S"), "utf-8")
    attrs = {"by": "whitespace", "ngrams": [1, 2], "words": raw(f"<{found.shape[1]}>")}
    case("string_split_ngrams", "string_split", attrs, [said], [found])
    lengths = np.array(["x" * n + "é" * (n % 3) for n in (0, 1, 5, 9, 17, 31, 40, 64, 65, 130, 200)])
    told = tf.constant(lengths.tolist())
    found = tf.strings.to_hash_bucket_fast(told, 2**40).numpy()
    attrs = {"function": "fingerprint64", "key": [], "buckets": 2**40}
    case("string_hash_fingerprint64", "string_hash", attrs, [lengths], [found])
    found = tf.strings.to_hash_bucket_strong(told, 2**40, [133, 2**40 + 5]).numpy()
    attrs = {"function": "sip_hash", "key": [133, 2**40 + 5], "buckets": 2**40}
    case("string_hash_sip_hash", "string_hash", attrs, [lengths], [found])
    numbers = ints(-5, 90, len(lengths), dtype="int64")
    crossed = tf.sparse.cross_hashed([told[:, None], tf.constant(numbers[:, None])], 1000)
    attrs = {"function": "cross", "key": [0xDECAFCAFFE], "buckets": 1000}
    case("string_hash_cross", "string_hash", attrs, [lengths, numbers], [tf.sparse.to_dense(crossed).numpy()[:, 0]])


def main():
    for part in [unary, activation, binary, choices, products, control, convolutions]:
        part()
    op_cases_shape.main()
    op_cases_layers.main()
    dropout()
    strings()
    here = os.path.dirname(os.path.abspath(__file__))
    write(os.path.join(here, "..", "..", "plugin-api", "reference", "tests"))
    print(f"{len(CASES)} cases")


if __name__ == "__main__":
    main()
