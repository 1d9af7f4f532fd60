"""Cases of op_cases.py: shapes, reductions, resizing."""
import numpy as np
import tensorflow as tf
from op_cases_kit import case, dims, explicit, ints, normal, raw


def shapes():
    x = normal(2, 3, 4)
    case("reshape", "reshape", {"shape": dims(4, 6)}, [x], [x.reshape(4, 6)])
    case("transpose", "transpose", {"perm": [2, 0, 1]}, [x], [x.transpose(2, 0, 1)])
    whole = [ints(0, 9, 2, 2), ints(0, 9, 1, 2)]
    for name, axis, parts in [("concat", 1, [x, normal(2, 1, 4), x[:, :2]]), ("concat_int", 0, whole)]:
        case(name, "concat", {"axis": axis}, parts, [np.concatenate(parts, axis)])
    case("slice", "slice", {"axis": 2, "start": raw("<1>"), "stop": raw("<4>"), "step": 2}, [x], [x[:, :, 1:4:2]])
    pads = [explicit(0, 0), explicit(2, 1), explicit(1, 3)]
    width = [(0, 0), (2, 1), (1, 3)]
    case("pad", "pad", {"padding": pads, "mode": "constant"}, [x], [np.pad(x, width)])
    fill = np.float32(-2.5)
    case("pad_fill", "pad", {"padding": pads, "mode": "constant"}, [x, fill], [np.pad(x, width, constant_values=fill)])
    for mode in ["reflect", "symmetric", "edge"]:
        case(f"pad_{mode}", "pad", {"padding": pads, "mode": mode}, [x], [np.pad(x, width, mode=mode)])
    truth = np.array([[True, False]])
    case("pad_bool", "pad", {"padding": [[1, 0], [0, 1]], "mode": "constant"}, [truth], [np.pad(truth,
         [(1, 0), (0, 1)])])
    case("tile", "tile", {"repeats": dims(1, 3, 2)}, [x], [np.tile(x, (1, 3, 2))])
    row = normal(3, 1)
    case("broadcast_to", "broadcast_to", {"shape": dims(2, 3, 4)}, [row], [np.broadcast_to(row, (2, 3, 4))])
    picks = ints(0, 2, 2, 3)
    case("gather", "gather", {"axis": 1}, [x, picks], [np.take(x, picks, 1)])
    table, rows = normal(5, 3), ints(0, 4, 2, 4, dtype="int64")
    case("gather_rows", "gather", {"axis": 0}, [table, rows], [table[rows]])
    along = ints(0, 2, 2, 2, 4, dtype="int64")
    case("gather_elements", "gather_elements", {"axis": 1}, [x, along], [np.take_along_axis(x, along, 1)])
    case("reverse", "reverse", {"axes": [0, 2]}, [x], [x[::-1, :, ::-1]])
    labels = np.int32([[0, 2], [3, -1]])
    for axis in [1, 2]:
        want = tf.one_hot(labels, 3, axis=axis).numpy()
        case(f"one_hot_{axis}", "one_hot", {"depth": 3, "axis": axis, "dtype": "f32"}, [labels], [want])
    case("one_hot_bool", "one_hot", {"depth": 4, "axis": 2, "dtype": "bool"}, [labels],
         [tf.one_hot(labels, 4).numpy() > 0])
    square = normal(2, 4, 5)
    for k in [-1, 0, 2]:
        case(f"triangle_lower_{k + 1}", "triangle", {"lower": True, "k": k}, [square], [np.tril(square, k)])
        case(f"triangle_upper_{k + 1}", "triangle", {"lower": False, "k": k}, [square], [np.triu(square, k)])
    ones = np.ones((3, 3), bool)
    case("triangle_bool", "triangle", {"lower": True, "k": 0}, [ones], [np.tril(ones)])


def reductions():
    x = normal(2, 3, 4)
    wide = x.astype("f8")
    table = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod,
             "log_sum_exp": lambda v, axis, keepdims: tf.reduce_logsumexp(v, axis, keepdims).numpy()}
    for name, function in table.items():
        for suffix, axes, keep in [("one", [1], False), ("two", [0, 2], True), ("all", [0, 1, 2], False)]:
            want = function(wide, axis=tuple(axes), keepdims=keep)
            attrs = {"function": name, "axes": axes, "keepdims": keep}
            case(f"reduce_{name}_{suffix}", "reduce", attrs, [x], [want])
    whole = ints(-9, 9, 3, 4)
    for name in ["sum", "max", "min", "prod"]:
        attrs = {"function": name, "axes": [1], "keepdims": False}
        case(f"reduce_int_{name}", "reduce", attrs, [whole], [table[name](whole, axis=1).astype("i4")])
    truth = np.array([[True, False], [True, True], [False, False]])
    for name in ["any", "all"]:
        case(f"reduce_{name}", "reduce", {"function": name, "axes": [1], "keepdims": True}, [truth],
             [getattr(np, name)(truth, axis=1, keepdims=True)])
    ties = ints(0, 3, 3, 6)
    for name in ["max", "min"]:
        want = getattr(np, f"arg{name}")(ties, axis=1)
        case(f"arg_{name}", "arg_reduce", {"function": name, "axis": 1, "keepdims": False}, [ties], [want])
        want = getattr(np, f"arg{name}")(x, axis=0)[None]
        case(f"arg_{name}_kept", "arg_reduce", {"function": name, "axis": 0, "keepdims": True}, [x], [want])
    for name, function in [("sum", tf.cumsum), ("prod", tf.math.cumprod)]:
        for exclusive in [False, True]:
            for reverse in [False, True]:
                want = function(wide, axis=1, exclusive=exclusive, reverse=reverse).numpy()
                attrs = {"function": name, "axis": 1, "exclusive": exclusive, "reverse": reverse}
                case(f"cumulative_{name}_{exclusive}_{reverse}".lower(), "cumulative", attrs, [x], [want])
    case("cumulative_int", "cumulative", {"function": "sum", "axis": 0, "exclusive": False, "reverse": False}, [whole],
         [np.cumsum(whole, 0, dtype="i4")])
    values, indices = tf.math.top_k(ties, 4)
    case("top_k_ties", "top_k", {"axis": 1, "k": raw("<4>"), "largest": True}, [ties],
         [values.numpy(), indices.numpy().astype("i8")])
    values, indices = tf.math.top_k(-x.transpose(0, 2, 1), 2)
    back = lambda v: v.numpy().transpose(0, 2, 1)
    case("top_k_smallest", "top_k", {"axis": 1, "k": raw("<2>"), "largest": False}, [x],
         [-back(values), back(indices).astype("i8")])


def resizing():
    def resize(name, x, axes, sizes, mode, want, coordinates="half_pixel", rounding="half_up", a=-0.5, antialias=False):
        attrs = {"axes": axes, "sizes": dims(*sizes), "mode": mode, "coordinates": coordinates, "rounding": rounding,
                 "cubic_a": a, "antialias": antialias}
        case(name, "resize", attrs, [x], [want])

    x = normal(1, 5, 4, 2)
    methods = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic", "area": "area", "lanczos3": "lanczos3",
               "lanczos5": "lanczos5"}
    for mode, method in methods.items():
        # TensorFlow looks cubic weights up in a table of 1024: sizes whose fractions are in it.
        sizes = (10, 8) if mode == "cubic" else (7, 9)
        resize(f"resize_{mode}_up", x, [1, 2], sizes, mode, tf.image.resize(x, sizes, method).numpy())
    large = normal(1, 9, 8, 1)
    for mode, method in methods.items():
        sizes = (9, 4) if mode == "cubic" else (4, 3)
        resize(f"resize_{mode}_down", large, [1, 2], sizes, mode, tf.image.resize(large, sizes, method).numpy())
    for mode in ["linear", "cubic", "lanczos3", "lanczos5"]:
        want = tf.image.resize(large, (4, 3), methods[mode], antialias=True).numpy()
        resize(f"resize_{mode}_antialias", large, [1, 2], (4, 3), mode, want, antialias=True)
    v1 = tf.compat.v1.image
    corners = v1.resize_bilinear(x, (7, 9), align_corners=True).numpy()
    resize("resize_linear_corners", x, [1, 2], (7, 9), "linear", corners, "align_corners")
    resize("resize_linear_asymmetric", x, [1, 2], (7, 9), "linear", v1.resize_bilinear(x, (7, 9)).numpy(), "asymmetric")
    resize("resize_nearest_asymmetric", x, [1, 2], (7, 9), "nearest",
           v1.resize_nearest_neighbor(x, (7, 9)).numpy(), "asymmetric", "floor")
    one = normal(2, 3, 2)
    resize("resize_one_axis", one, [1], (6,), "nearest", np.repeat(one, 2, 1), "asymmetric", "floor")
    corners = np.float32([[0, 1, 2, 3]])
    resize("resize_ceil", corners, [1], (3,), "nearest", np.float32([[0, 2, 3]]), "asymmetric", "ceil")
    resize("resize_half_down", corners, [1], (2,), "nearest", np.float32([[0, 2]]), "half_pixel", "half_down")
    whole = ints(0, 255, 1, 4, 4, 1)
    resize("resize_int", whole, [1, 2], (2, 8), "nearest", tf.image.resize(whole, (2, 8), "nearest").numpy())


def main():
    shapes()
    reductions()
    resizing()
