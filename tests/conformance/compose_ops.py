"""Functions between layers: operators, slices, keras.ops in Keras 3, tf in Keras 2.

A row says how to run it on tensors, and which numbers it can be given for tensors of these shapes; None: it does not fit.
"""
from dataclasses import dataclass
from typing import Callable

from kit import KERAS, keras, tf

OPS = {}
X = keras.ops if KERAS >= 3 else None


@dataclass
class Op:
    run: Callable                       # (tensors, numbers) -> tensor or tensors
    draw: Callable                      # (rng, shapes) -> numbers or None
    arity: int = 1
    dtypes: str = "f"                   # kinds of numpy dtypes, of every input
    weight: float = 1.0


def any_shape(rng, shapes):
    return {}


def rank(*ranks):
    return lambda rng, shapes: {} if len(shapes[0]) in ranks else None


def known_last(rng, shapes):
    return {} if len(shapes[0]) > 1 and shapes[0][-1] else None


def op(name, run3, run2, draw=any_shape, **options):
    """`run3` for Keras 3, `run2` for Keras 2; None: not there."""
    run = run3 if KERAS >= 3 else run2
    if run is not None:
        OPS[name] = Op(run, draw, **options)


def both(name, run, draw=any_shape, **options):
    op(name, run, run, draw, **options)


def axis_of(rng, shapes):
    if len(shapes[0]) < 2:
        return None
    axis = int(rng.integers(1, len(shapes[0])))
    return {"axis": axis - (len(shapes[0]) if rng.random() < 0.5 else 0)}


def reduction(rng, shapes):
    numbers = axis_of(rng, shapes)
    return numbers and {**numbers, "keepdims": bool(rng.random() < 0.4)}


def number(low=0.3, high=2.0):
    return lambda rng, shapes: {"n": round(float(rng.uniform(low, high)), 3)}


def alike(rng, shapes):
    return {} if shapes[0] == shapes[1] else None


def broadcast(rng, shapes):
    a, b = shapes
    if len(a) != len(b):
        return None
    return {} if all(x == y or x == 1 or y == 1 for x, y in zip(a[1:], b[1:])) else None


# --- operators ------------------------------------------------------------------------------------------------------
both("affine", lambda v, p: v[0] * p["n"] + 0.25, number(), weight=3)
both("minus_from", lambda v, p: p["n"] - v[0], number(), weight=1)
both("negative", lambda v, p: -v[0])
both("absolute", lambda v, p: abs(v[0]))
both("over_number", lambda v, p: v[0] / p["n"], number())
both("number_over", lambda v, p: p["n"] / (v[0] * v[0] + 1.0), number())
both("squared", lambda v, p: v[0] ** 2)
both("plus", lambda v, p: v[0] + v[1], broadcast, arity=2, weight=3)
both("minus", lambda v, p: v[0] - v[1], broadcast, arity=2, weight=2)
both("times", lambda v, p: v[0] * v[1], broadcast, arity=2, weight=2)
both("divided", lambda v, p: v[0] / (abs(v[1]) + 1.5), broadcast, arity=2)
both("greater_mask", lambda v, p: v[0] > 0.0, weight=0.5)


def matmul_fits(rng, shapes):
    a, b = shapes
    if len(a) != 3 or len(b) != 3 or a[2] != b[1] or a[2] is None:
        return None
    return {}


both("at", lambda v, p: v[0] @ v[1], matmul_fits, arity=2)


# --- slices ---------------------------------------------------------------------------------------------------------
def of_rank(least):
    return lambda rng, shapes: {} if len(shapes[0]) >= least else None


def long_enough(size):
    def draw(rng, shapes):
        return {} if len(shapes[0]) >= 3 and (shapes[0][1] or 9) > size else None
    return draw


both("last_step", lambda v, p: v[0][:, -1], of_rank(3), weight=2)
both("first_step", lambda v, p: v[0][:, 0], of_rank(3))
both("without_ends", lambda v, p: v[0][:, 1:-1], long_enough(3))
both("every_second", lambda v, p: v[0][:, ::2], long_enough(3))
both("backwards", lambda v, p: v[0][:, ::-1], of_rank(3))
both("first_channels", lambda v, p: v[0][..., :2], lambda rng, s: {} if len(s[0]) > 1 and (s[0][-1] or 0) > 2 else None)
both("one_channel", lambda v, p: v[0][..., 0:1], known_last)
both("new_axis", lambda v, p: v[0][:, None], rank(2, 3))
both("new_last", lambda v, p: v[0][..., None], rank(2, 3))


# --- functions ------------------------------------------------------------------------------------------------------
def named(name, of3=None, of2=None, draw=any_shape, **options):
    op(name, (lambda v, p: getattr(X, of3 or name)(v[0])) if KERAS >= 3 and hasattr(X, of3 or name) else None,
       (lambda v, p: of2(v[0])) if of2 else None, draw, **options)


for _name, _of2 in (("tanh", tf.tanh), ("sigmoid", tf.sigmoid), ("relu", tf.nn.relu), ("softplus", tf.nn.softplus),
                    ("softsign", tf.nn.softsign), ("silu", tf.nn.silu), ("elu", tf.nn.elu), ("selu", tf.nn.selu),
                    ("gelu", tf.nn.gelu), ("relu6", tf.nn.relu6), ("square", tf.square), ("sin", tf.sin),
                    ("abs", tf.abs), ("leaky_relu", tf.nn.leaky_relu), ("hard_sigmoid", None), ("log_sigmoid", None),
                    ("hard_tanh", None), ("squareplus", None), ("celu", None), ("tanh_shrink", None),
                    ("arctan", tf.atan), ("cos", tf.cos), ("erf", tf.math.erf), ("logaddexp_none", None)):
    named(_name, of2=_of2, weight=0.5)
named("softmax", of2=tf.nn.softmax, draw=known_last)
named("log_softmax", of2=tf.nn.log_softmax, draw=known_last, weight=0.5)
op("exp", lambda v, p: X.exp(X.tanh(v[0])), lambda v, p: tf.exp(tf.tanh(v[0])))
op("sqrt", lambda v, p: X.sqrt(X.abs(v[0]) + 0.5), lambda v, p: tf.sqrt(tf.abs(v[0]) + 0.5))
op("log", lambda v, p: X.log(X.square(v[0]) + 1.0), lambda v, p: tf.math.log(tf.square(v[0]) + 1.0))
op("rsqrt", lambda v, p: X.rsqrt(X.square(v[0]) + 1.0), lambda v, p: tf.math.rsqrt(tf.square(v[0]) + 1.0))
op("clip", lambda v, p: X.clip(v[0], -p["n"], p["n"]), lambda v, p: tf.clip_by_value(v[0], -p["n"], p["n"]), number())
op("stop", lambda v, p: X.stop_gradient(v[0]), lambda v, p: tf.stop_gradient(v[0]), weight=0.5)
op("maximum", lambda v, p: X.maximum(v[0], v[1]), lambda v, p: tf.maximum(v[0], v[1]), broadcast, arity=2)
op("minimum_number", lambda v, p: X.minimum(v[0], p["n"]), lambda v, p: tf.minimum(v[0], p["n"]), number())
op("where", lambda v, p: X.where(v[0] > 0.1, v[0], v[1] * 0.5), lambda v, p: tf.where(v[0] > 0.1, v[0], v[1] * 0.5),
   alike, arity=2)
for _name, _of2 in (("mean", tf.reduce_mean), ("sum", tf.reduce_sum), ("max", tf.reduce_max), ("min", tf.reduce_min),
                    ("logsumexp", tf.reduce_logsumexp), ("std", tf.math.reduce_std), ("var", tf.math.reduce_variance)):
    op("reduce_" + _name,
       lambda v, p, f=_name: getattr(X, f)(v[0], axis=p["axis"], keepdims=p["keepdims"]),
       lambda v, p, f=_of2: f(v[0], axis=p["axis"], keepdims=p["keepdims"]), reduction, weight=0.7)
op("cumsum", lambda v, p: X.cumsum(v[0], axis=p["axis"]), lambda v, p: tf.cumsum(v[0], axis=p["axis"]), axis_of)
op("flip", lambda v, p: X.flip(v[0], axis=p["axis"]), lambda v, p: tf.reverse(v[0], axis=[p["axis"]]), axis_of)
op("roll", lambda v, p: X.roll(v[0], 1, axis=p["axis"]), lambda v, p: tf.roll(v[0], 1, axis=p["axis"]), axis_of)
op("sort", lambda v, p: X.sort(v[0], axis=-1), lambda v, p: tf.sort(v[0], axis=-1), known_last, weight=0.5)
op("repeat", lambda v, p: X.repeat(v[0], 2, axis=p["axis"]), lambda v, p: tf.repeat(v[0], 2, axis=p["axis"]), axis_of)
op("normalize", lambda v, p: X.normalize(v[0], axis=-1), lambda v, p: tf.math.l2_normalize(v[0], axis=-1), known_last)
op("norm", lambda v, p: X.norm(v[0], axis=-1), lambda v, p: tf.norm(v[0], axis=-1), known_last)


def swapped(rng, shapes):
    size = len(shapes[0])
    return {"order": [0, *(int(i) + 1 for i in rng.permutation(size - 1))]} if size > 2 else None


def tiles(rng, shapes):
    size = len(shapes[0])
    return {"times": [1, *(int(n) for n in rng.integers(1, 3, size - 1))]} if size > 1 else None


def paddings(rng, shapes):
    size = len(shapes[0])
    return {"pads": [[0, 0], *([int(n) for n in rng.integers(0, 3, 2)] for _ in range(size - 1))]} if size > 1 else None


def halves(rng, shapes):
    axis = axis_of(rng, shapes)
    return axis if axis and shapes[0][axis["axis"]] and shapes[0][axis["axis"]] % 2 == 0 else None


def expanding(rng, shapes):
    return {"axis": int(rng.integers(1, len(shapes[0]) + 1))} if len(shapes[0]) < 5 else None


def free_middle(rng, shapes):
    return {} if len(shapes[0]) == 4 and shapes[0][2] and shapes[0][3] else None


op("transpose", lambda v, p: X.transpose(v[0], p["order"]), lambda v, p: tf.transpose(v[0], p["order"]), swapped, weight=2)
op("tile", lambda v, p: X.tile(v[0], p["times"]), lambda v, p: tf.tile(v[0], p["times"]), tiles)
op("pad", lambda v, p: X.pad(v[0], p["pads"]), lambda v, p: tf.pad(v[0], p["pads"]), paddings)
op("split", lambda v, p: X.split(v[0], 2, axis=p["axis"]), lambda v, p: tf.split(v[0], 2, axis=p["axis"]), halves, weight=2)
op("expand_dims", lambda v, p: X.expand_dims(v[0], p["axis"]), lambda v, p: tf.expand_dims(v[0], p["axis"]), expanding)
op("squeeze", lambda v, p: X.squeeze(v[0], axis=-1), lambda v, p: tf.squeeze(v[0], axis=-1),
   lambda rng, s: {} if s[0][-1] == 1 and len(s[0]) > 2 else None, weight=4)
op("reshape_flat", lambda v, p: X.reshape(v[0], (-1, v[0].shape[1] * v[0].shape[2])),
   lambda v, p: tf.reshape(v[0], (-1, v[0].shape[1] * v[0].shape[2])),
   lambda rng, s: {} if len(s[0]) == 3 and s[0][1] and s[0][2] else None)
op("reshape_dynamic", lambda v, p: X.reshape(v[0], (X.shape(v[0])[0], -1, v[0].shape[2] * v[0].shape[3])),
   lambda v, p: tf.reshape(v[0], (tf.shape(v[0])[0], -1, v[0].shape[2] * v[0].shape[3])), free_middle, weight=2)


# --- several tensors ------------------------------------------------------------------------------------------------
def joinable(rng, shapes):
    a, b = shapes
    if len(a) != len(b) or len(a) < 2:
        return None
    axes = [i for i in range(1, len(a)) if all(j == i or a[j] == b[j] for j in range(len(a)))]
    return {"axis": int(rng.choice(axes))} if axes else None


op("concat", lambda v, p: X.concatenate(v, axis=p["axis"]), lambda v, p: tf.concat(v, axis=p["axis"]), joinable, arity=2,
   weight=2)
op("stack", lambda v, p: X.stack(v, axis=1), lambda v, p: tf.stack(v, axis=1), alike, arity=2)
op("matmul", lambda v, p: X.matmul(v[0], X.transpose(v[1], (0, 2, 1))), lambda v, p: tf.matmul(v[0], v[1], transpose_b=True),
   lambda rng, s: {} if len(s[0]) == len(s[1]) == 3 and s[0][2] == s[1][2] and s[0][2] else None, arity=2, weight=2)
op("einsum", lambda v, p: X.einsum("btd,bsd->bts", v[0], v[1]), lambda v, p: tf.einsum("btd,bsd->bts", v[0], v[1]),
   lambda rng, s: {} if len(s[0]) == len(s[1]) == 3 and s[0][2] == s[1][2] and s[0][2] else None, arity=2)
op("unstack", lambda v, p: X.unstack(v[0], axis=1), lambda v, p: tf.unstack(v[0], axis=1),
   lambda rng, s: {} if len(s[0]) > 2 and s[0][1] and s[0][1] < 5 else None)
op("top_k", lambda v, p: X.top_k(v[0], 2)[0], lambda v, p: tf.math.top_k(v[0], 2)[0],
   lambda rng, s: {} if len(s[0]) > 1 and (s[0][-1] or 0) > 2 else None)


# --- other types ----------------------------------------------------------------------------------------------------
op("one_hot", lambda v, p: X.one_hot(v[0], 9), lambda v, p: tf.one_hot(v[0], 9), rank(1, 2), dtypes="i", weight=4)
op("to_float", lambda v, p: X.cast(v[0], "float32"), lambda v, p: tf.cast(v[0], "float32"), dtypes="iub", weight=4)
op("to_half", lambda v, p: X.cast(v[0], "float16"), lambda v, p: tf.cast(v[0], "float16"), weight=0.15)
op("to_int", lambda v, p: X.cast(v[0], "int32"), lambda v, p: tf.cast(v[0], "int32"), dtypes="b")
op("double", lambda v, p: v[0] * 2 + 1, lambda v, p: v[0] * 2 + 1, dtypes="i", weight=1)
op("not", lambda v, p: X.logical_not(v[0]), lambda v, p: tf.logical_not(v[0]), dtypes="b")
op("any", lambda v, p: X.any(v[0], axis=-1), lambda v, p: tf.reduce_any(v[0], axis=-1), of_rank(2), dtypes="b")
op("not_zero", lambda v, p: X.not_equal(v[0], 0), lambda v, p: tf.not_equal(v[0], 0), dtypes="i")
op("less_than", lambda v, p: v[0] < 4, lambda v, p: v[0] < 4, dtypes="i")
