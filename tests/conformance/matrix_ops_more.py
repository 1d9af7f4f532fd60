"""Operations and options of operations that matrix_ops.py does not have: what coverage.py found to be missing."""
from itertools import product

import numpy as np

import kit
from kit import KERAS, keras, tf
from matrix_ops import ROW, X, Y, fixed, op, truth, whole, within

FIRST = "channels_first"
IMAGE, IMAGE_FIRST = (2, 6, 5, 3), (2, 3, 6, 5)
UNIT, UNIT_FIRST = within(0, 1, IMAGE), within(0, 1, IMAGE_FIRST)


def values(array, dtype="float32"):
    return lambda rng: np.asarray(array, dtype)


def holes(rng):
    value = rng.normal(0, 1.5, X).astype("float32")
    value[0, 1, 2] = value[1, 0, 0] = value[1, 2, 3] = np.nan
    return value


def odd(rng):
    value = rng.normal(0, 1.5, X).astype("float32")
    value[0, 1, 2], value[1, 0, 0], value[1, 2, 3] = np.nan, np.inf, -np.inf
    return value


def reductions(ops):
    for name in """all any argmax argmin nanmax nanmin nanmean nansum nanprod nanstd nanvar ptp median logsumexp
            nanargmax nanargmin nanmedian""".split():
        if hasattr(ops, name):
            value = truth() if name in ("all", "any") else holes if name.startswith("nan") else X
            op(f"more_{name}_keep", lambda x, f=getattr(ops, name): f(x, axis=1, keepdims=True), value)
            op(f"more_{name}_last", lambda x, f=getattr(ops, name): f(x, axis=-1), value)
            op(f"more_{name}_all", lambda x, f=getattr(ops, name): f(x), value)
    for name in "max min".split():
        op(f"more_{name}_initial", lambda x, f=getattr(ops, name): f(x, axis=1, initial=0.3), X)
    for method in ("linear", "nearest", "lower", "higher", "midpoint"):
        op(f"more_quantile_{method}", lambda x, m=method: ops.quantile(x, [0.1, 0.6], axis=1, method=m, keepdims=True), X)
        for name in ("nanquantile", "percentile", "nanpercentile"):
            if hasattr(ops, name):
                share = 0.4 if name == "nanquantile" else 40.0
                value = X if name == "percentile" else holes
                op(f"more_{name}_{method}", lambda x, f=getattr(ops, name), q=share, m=method: f(x, q, axis=2, method=m),
                   value)
    for name in ("percentile", "nanpercentile"):
        if hasattr(ops, name):
            op(f"more_{name}_two", lambda x, f=getattr(ops, name): f(x, [20.0, 75.0], axis=1, keepdims=True), X)
    op("more_prod_dtype", lambda x: ops.prod(x, axis=1, dtype="float16"), X)
    for name in ("sum", "prod"):
        op(f"more_{name}_int", lambda x, f=getattr(ops, name): f(x, axis=1), whole(1, 5))
    for name in ("mean", "std", "var", "max", "cumsum", "average"):
        op(f"more_{name}_int", lambda x, f=getattr(ops, name): f(x, axis=1), whole(1, 9))
    op("more_average_weights", lambda x, w: ops.average(x, axis=2, weights=w), X, within(0.1, 1.0))
    op("more_norm_keep", lambda x: ops.norm(x, ord=2, axis=2, keepdims=True), X)
    for order in (None, 1, np.inf, -np.inf, "fro"):
        name = {np.inf: "inf", -np.inf: "low"}.get(order, order)
        op(f"more_norm_matrix_{name}", lambda x, o=order: ops.norm(x, ord=o, axis=(1, 2)), X)
    for order in (0, 3, -1, -np.inf, 0.5):
        op(f"more_norm_vector_{str(order).replace('-', 'm')}", lambda x, o=order: ops.norm(x, ord=o, axis=1), X)
    op("more_cumsum_dtype", lambda x: ops.cumsum(x, axis=1, dtype="float64"), X)
    op("more_logsumexp_two", lambda x: ops.logsumexp(x, axis=(1, 2), keepdims=True), X)
    op("more_moments_keep", lambda x: ops.moments(x, axes=(1, 2), keepdims=True), X)


def numbers(ops):
    op("more_allclose", lambda x: ops.reshape(ops.allclose(x, x + 1e-6), (1,)), X) if hasattr(ops, "allclose") else None
    op("more_isclose", lambda x, y: ops.isclose(x, y, rtol=0.3, atol=0.2, equal_nan=True), odd, odd)
    op("more_nan_to_num", lambda x: ops.nan_to_num(x, nan=0.5, posinf=9.0, neginf=-7.0), odd)
    op("more_nan_to_num_plain", lambda x: ops.nan_to_num(x, posinf=9.0, neginf=-7.0), odd)
    for decimals in (1, 2, -1):
        op(f"more_round_{decimals + 1}", lambda x, d=decimals: ops.round(x * 7.0, d), X)
    op("more_corrcoef", lambda x: ops.corrcoef(x), (3, 5))
    op("more_nextafter", lambda x, y: ops.nextafter(x, y), X, Y) if hasattr(ops, "nextafter") else None
    op("more_ldexp", lambda x, y: ops.ldexp(x, y), X, whole(-3, 4)) if hasattr(ops, "ldexp") else None
    op("more_imag", lambda x: ops.imag(x), X)
    op("more_conj", lambda x: ops.conj(x), X)
    op("more_view", lambda x: ops.view(x, "int32"), X) if hasattr(ops, "view") else None
    op("more_stop", lambda x: ops.stop_gradient(x) * 2.0, X)
    op("more_array", lambda x: ops.array(x, dtype="float16"), X)
    op("more_histogram", lambda x: ops.histogram(x, bins=4, range=(-2.0, 2.0)), (12,))
    op("more_linspace", lambda x, y: ops.linspace(x, y, 5, axis=1), ROW, ROW)
    op("more_linspace_open", lambda x, y: ops.linspace(x, y, 4, endpoint=False), ROW, ROW)
    op("more_logspace", lambda x, y: ops.logspace(x, y, 4, base=2.0), ROW, ROW)
    if hasattr(ops, "geomspace"):
        op("more_geomspace", lambda x, y: ops.geomspace(x, y, 4), within(0.5, 2.0, ROW), within(3.0, 9.0, ROW))
    op("more_empty_like", lambda x: ops.empty_like(x) * 0.0 + x, X) if hasattr(ops, "empty_like") else None
    op("more_abs", lambda x: abs(x), X)
    for name in ("add", "multiply", "maximum", "divide", "power", "floor_divide", "mod", "subtract"):
        op(f"more_{name}_mixed", lambda x, y, f=getattr(ops, name): f(x, y), within(1, 3), whole(1, 4))
        op(f"more_{name}_int", lambda x, y, f=getattr(ops, name): f(x, y), whole(1, 9), whole(1, 4))
    for name in ("sqrt", "exp", "mean", "sin", "log", "floor", "relu", "sigmoid", "softmax", "square", "sign"):
        op(f"more_{name}_whole", lambda x, f=getattr(ops, name): f(x), whole(1, 9))
        op(f"more_{name}_half", lambda x, f=getattr(ops, name): f(ops.cast(x, "float16")), within(0.5, 3.0))
        op(f"more_{name}_bfloat", lambda x, f=getattr(ops, name): ops.cast(f(ops.cast(x, "bfloat16")), "float32"),
           within(0.5, 3.0))
    op("more_isin_invert", lambda x: ops.isin(x, [1, 3, 5], assume_unique=True, invert=True), whole(0, 6))
    op("more_searchsorted_right", lambda v: ops.searchsorted(np.array([-1.0, 0.0, 1.0], "float32"), v, side="right"),
       values([-1.5, -1.0, 0.3, 1.0, 2.0]))
    op("more_searchsorted_left", lambda v: ops.searchsorted(np.array([-1.0, 0.0, 1.0], "float32"), v),
       values([-1.5, -1.0, 0.3, 1.0, 2.0]))
    op("more_trapezoid_dx", lambda x: ops.trapezoid(x, dx=0.3, axis=2), X)
    op("more_trapezoid_x", lambda x: ops.trapezoid(x, x=np.array([0.0, 0.5, 2.0, 2.5], "float32")), X)
    for mode in ("same", "valid", "full"):
        op(f"more_correlate_{mode}", lambda x, y, m=mode: ops.correlate(x, y, mode=m), (5,), (5,))


def typed(ops):
    """Results of another dtype than the operands'."""
    for name in "cumsum cumprod nancumsum nancumprod".split():
        op(f"typed_{name}_half", lambda x, f=getattr(ops, name): f(x, axis=1, dtype="float16"), X) if hasattr(ops, name) else None
    for name in "ones_like zeros_like empty_like".split():
        op(f"typed_{name}", lambda x, f=getattr(ops, name): f(x, dtype="int32"), X)
    op("typed_full_like", lambda x: ops.full_like(x, 2.5, dtype="float16"), X)
    for name in "linspace logspace".split():
        if hasattr(ops, name):
            op(f"typed_{name}", lambda x, y, f=getattr(ops, name): f(x, y, 4, endpoint=False, dtype="float64", axis=-1),
               within(0.5, 2.0, ROW), within(3.0, 9.0, ROW))
    op("typed_allclose", lambda x, y: ops.reshape(ops.allclose(x, y, rtol=0.3, atol=9.0, equal_nan=True), (1,)), odd, X)
    op("typed_nanquantile", lambda x: ops.nanquantile(x, 0.3, axis=1, keepdims=True), holes)


def arrangements(ops):
    op("more_argpartition", lambda x: ops.max(ops.argpartition(x, 1, axis=1), axis=1), X)
    for axis in ("", "_0"):
        at = {} if not axis else {"axisa": 1, "axisb": 1, "axisc": 1}
        shape = (2, 4, 3) if not axis else (2, 3, 4)
        op(f"more_cross{axis}", lambda x, y, o=at: ops.cross(x, y, **o), shape, shape)
    op("more_cross_axis", lambda x, y: ops.cross(x, y, axis=1), (2, 3, 4), (2, 3, 4))
    op("more_cross_flat", lambda x, y: ops.cross(x, y), (4, 2), (4, 2))
    for k in (-1, 1):
        op(f"more_diag_{k + 1}", lambda x, n=k: ops.diag(ops.mean(x, axis=(0, 1)), n), X)
        op(f"more_diagflat_{k + 1}", lambda x, n=k: ops.diagflat(ops.mean(x, axis=(0, 1)), n), X)
        op(f"more_diag_matrix_{k + 1}", lambda x, n=k: ops.diag(ops.mean(x, axis=0), n), X)
    op("more_meshgrid", lambda x: ops.meshgrid(ops.mean(x, axis=(0, 1)), ops.mean(x, axis=(0, 2)), indexing="ij"), X)
    for mode in ("symmetric", "reflect", "constant"):
        op(f"more_pad_{mode}", lambda x, m=mode: ops.pad(x, ((0, 0), (2, 1), (1, 2)), mode=m), X)
    op("more_pad_one", lambda x: ops.pad(x, 1), X)
    op("more_unravel", lambda x: ops.unravel_index(x, (3, 4)), whole(0, 12, (2, 5))) if hasattr(ops, "unravel_index") else None
    op("more_vsplit", lambda x: ops.vsplit(x, 2), (4, 3, 2)) if hasattr(ops, "vsplit") else None
    op("more_unstack_num", lambda x: ops.unstack(x, 3, axis=1), X)
    op("more_top_k", lambda x: ops.sum(ops.top_k(x, 3, sorted=False)[0], axis=-1), X)
    op("more_top_k_one", lambda x: ops.top_k(x, 1), X)
    for reduction in ("max", "min", "mul", "add", None):
        name = reduction or "plain"
        op(f"more_scatter_{name}", lambda x, r=reduction: ops.scatter_update(x, [[1, 0], [0, 2], [1, 1]],
           np.full((3, 4), 0.5, "float32"), reduction=r), X)
    op("more_scatter", lambda x: ops.scatter([[1], [0], [1]], x, (4, 4)), (3, 4))
    op("more_scatter_into", lambda x: ops.scatter([[1, 0], [0, 2]], x, (2, 3)), (2,))
    op("more_take_rows", lambda x: ops.take(x, [[1, 0], [-1, 2]], axis=1), X)
    op("more_take_flat", lambda x: ops.take(x, [3, 0, -1]), X)
    op("more_take_along", lambda x: ops.take_along_axis(x, np.array([[[0, 2, 1, 0]]]), axis=1), (1, 3, 4))
    op("more_repeat_list", lambda x: ops.repeat(x, [1, 2, 0], axis=1), X)
    op("more_repeat_flat", lambda x: ops.repeat(x, 2), X)
    op("more_roll_flat", lambda x: ops.roll(x, 2), X)
    op("more_roll_two", lambda x: ops.roll(x, (1, -1), axis=(1, 2)), X)
    op("more_flip_all", lambda x: ops.flip(x), X)
    op("more_flip_two", lambda x: ops.flip(x, axis=(1, 2)), X)
    op("more_rot90_back", lambda x: ops.rot90(x, -1, axes=(1, 2)), X)
    op("more_rot90_plain", lambda x: ops.rot90(x), (2, 3, 4))
    op("more_append_flat", lambda x, y: ops.append(x, y), X, Y)
    op("more_sort_flat", lambda x: ops.sort(x, axis=1), X)
    op("more_moveaxis", lambda x: ops.moveaxis(x, (1, 2), (2, 1)), X)
    op("more_squeeze", lambda x: ops.squeeze(x, axis=(1, 2)), (2, 1, 1, 4))
    op("more_expand", lambda x: ops.expand_dims(x, (1, 3)), X)
    op("more_transpose", lambda x: ops.transpose(x), X)
    op("more_diff_two", lambda x: ops.diff(x, n=2, axis=1), X)
    op("more_split_batch", lambda x: ops.split(x, 2, axis=1), (2, 4, 3))
    op("more_tensordot_one", lambda x, y: ops.tensordot(x, y, axes=1), X, (4, 3))
    op("more_tensordot_two", lambda x, y: ops.tensordot(x, y, axes=[[1, 2], [0, 1]]), X, (3, 4, 2))
    op("more_matmul_vector", lambda x, y: ops.matmul(x, y), X, (4,))
    op("more_dot", lambda x, y: ops.dot(x, y), X, (4, 5))
    op("more_einsum_trace", lambda x: ops.einsum("abb->ab", x), (2, 3, 3))
    op("more_einsum_sum", lambda x: ops.einsum("abc->ca", x), X)
    op("more_einsum_three", lambda x, y, z: ops.einsum("ab,bc,cd->ad", x, y, z), ROW, (4, 3), (3, 2))
    op("more_einsum_implicit", lambda x, y: ops.einsum("ij,jk", x, y), ROW, (4, 3))
    for pattern, sizes in (("b h (w c) -> b (h w) c", {"c": 2}), ("b h w -> b w h", {}), ("b h w -> b (h w)", {})):
        if hasattr(ops, "rearrange"):
            op(f"more_rearrange_{len(pattern)}", lambda x, p=pattern, s=sizes: ops.rearrange(x, p, **s), X)
    op("more_getitem_back", lambda x: x[:, ::-1, -2:], X)
    op("more_getitem_one", lambda x: x[:, -1], X)
    op("more_slice", lambda x: ops.slice(x, [0, 1, 1], [1, 2, 3]), X)
    for name in ("max", "min", "prod", "sum"):
        if hasattr(ops, f"segment_{name}"):
            op(f"more_segment_{name}", lambda x, f=getattr(ops, f"segment_{name}"): f(x, np.array([0, 0, 1, 2, 2, 2]),
               sorted=True), (6, 3))


def networks(ops):
    image, first = (2, 6, 5, 2), (2, 2, 6, 5)
    op("more_adaptive_average_first", lambda x: ops.adaptive_average_pool(x, (3, 2), data_format=FIRST), first)
    op("more_adaptive_max_first", lambda x: ops.adaptive_max_pool(x, (4, 3), data_format=FIRST), first)
    for padding in ("valid", "same"):
        shared = dict(padding=padding)
        op(f"more_max_pool_first_{padding}", lambda x, o=shared: ops.max_pool(x, 2, 1, data_format=FIRST, **o), first)
        op(f"more_average_pool_first_{padding}", lambda x, o=shared: ops.average_pool(x, (3, 2), None, data_format=FIRST,
           **o), first)
        op(f"more_conv_first_{padding}", lambda x, o=shared: ops.conv(x, fixed(3, 3, 2, 4), 1, data_format=FIRST, **o), first)
        op(f"more_conv_dilated_{padding}", lambda x, o=shared: ops.conv(x, fixed(2, 2, 2, 4), 1, dilation_rate=2, **o), image)
        op(f"more_conv_1d_{padding}", lambda x, o=shared: ops.conv(x, fixed(2, 3, 4), 1, **o), (2, 6, 3))
        op(f"more_conv_3d_{padding}", lambda x, o=shared: ops.conv(x, fixed(2, 2, 2, 2, 3), 1, **o), (2, 4, 4, 3, 2))
        op(f"more_depthwise_first_{padding}", lambda x, o=shared: ops.depthwise_conv(x, fixed(3, 3, 2, 2), 1,
           data_format=FIRST, **o), first)
        op(f"more_depthwise_dilated_{padding}", lambda x, o=shared: ops.depthwise_conv(x, fixed(2, 2, 2, 1), 1,
           dilation_rate=2, **o), image)
        op(f"more_separable_first_{padding}", lambda x, o=shared: ops.separable_conv(x, fixed(2, 2, 2, 1),
           fixed(1, 1, 2, 4), 1, data_format=FIRST, **o), first)
        op(f"more_separable_dilated_{padding}", lambda x, o=shared: ops.separable_conv(x, fixed(2, 2, 2, 2),
           fixed(1, 1, 4, 3), 1, dilation_rate=2, **o), image)
        for strides in (1, 2):
            options = dict(strides=strides, **shared)
            op(f"more_conv_transpose_{padding}_{strides}", lambda x, o=options: ops.conv_transpose(x, fixed(3, 3, 4, 2), **o),
               image)
            op(f"more_conv_transpose_first_{padding}_{strides}", lambda x, o=options: ops.conv_transpose(
               x, fixed(3, 3, 4, 2), data_format=FIRST, **o), first)
    op("more_conv_transpose_dilated", lambda x: ops.conv_transpose(x, fixed(2, 2, 4, 2), dilation_rate=2), image)
    op("more_conv_transpose_output", lambda x: ops.conv_transpose(x, fixed(3, 3, 4, 2), 2, "same", output_padding=1), image)
    op("more_batch_norm", lambda x, m, v, o, s: ops.batch_normalization(x, m, v, 1, o, s, epsilon=0.1), X, (3,),
       within(0.3, 2.0, (3,)), (3,), (3,))
    op("more_layer_norm", lambda x, g, b: ops.layer_normalization(x, g, b, axis=-1, epsilon=0.1), X, (4,), (4,))
    op("more_layer_norm_two", lambda x: ops.layer_normalization(x, axis=(1, 2)), X)
    op("more_layer_norm_rms", lambda x, g: ops.layer_normalization(x, g, rms_scaling=True), X, (4,))
    op("more_rms_norm", lambda x, s: ops.rms_normalization(x, s, axis=-1, epsilon=0.1), X, (4,))
    op("more_rms_norm_axis", lambda x: ops.rms_normalization(x, axis=1), X)
    q, k = (2, 3, 2, 4), (2, 5, 2, 4)
    attend = ops.dot_product_attention
    op("more_attention_bias", lambda a, b, c, d: attend(a, b, c, bias=d), q, k, k, (2, 2, 3, 5))
    op("more_attention_mask", lambda a, b, c, d: attend(a, b, c, mask=d), q, k, k, truth((2, 2, 3, 5)))
    op("more_attention_mask_row", lambda a, b, c, d: attend(a, b, c, mask=d), q, k, k, truth((2, 1, 1, 5)))
    op("more_attention_all", lambda a, b, c, d, e: attend(a, b, c, bias=d, mask=e, scale=0.4, is_causal=True), q, q, q,
       (2, 2, 3, 3), truth((2, 2, 3, 3)))
    op("more_attention_cap", lambda a, b, c: attend(a, b, c, attn_logits_soft_cap=2.0), q, k, k)
    op("more_attention_cap_mask", lambda a, b, c, d: attend(a, b, c, mask=d, attn_logits_soft_cap=2.0, is_causal=True), q, q,
       q, truth((2, 2, 3, 3)))
    op("more_celu", lambda x: ops.celu(x, 0.4), X)
    op("more_elu", lambda x: ops.elu(x, 0.4), X)
    op("more_gelu", lambda x: ops.gelu(x, approximate=False), X)
    op("more_hard_shrink", lambda x: ops.hard_shrink(x, 0.9), X)
    op("more_soft_shrink", lambda x: ops.soft_shrink(x, 0.9), X)
    op("more_leaky_relu", lambda x: ops.leaky_relu(x, 0.05), X)
    op("more_squareplus", lambda x: ops.squareplus(x, 0.7), X)
    op("more_glu", lambda x: ops.glu(x, axis=2), X)
    op("more_softmax_two", lambda x: ops.softmax(x, axis=(1, 2)), X)
    op("more_log_softmax", lambda x: ops.log_softmax(x, axis=1), X)
    op("more_one_hot", lambda x: ops.one_hot(x, 5, axis=1, dtype="int32"), whole(0, 5, (2, 3)))
    op("more_one_hot_outside", lambda x: ops.one_hot(x, 4), whole(-1, 6, (2, 3)))
    op("more_multi_hot", lambda x: ops.multi_hot(x, 5, axis=1, dtype="int32"), whole(0, 5, (2, 3)))
    op("more_multi_hot_deep", lambda x: ops.multi_hot(x, 5), whole(0, 5, (2, 3, 4)))
    for order in (1, 2, 3):
        op(f"more_normalize_{order}", lambda x, o=order: ops.normalize(x, axis=1, order=o, epsilon=1e-3), X)
    op("more_depth_to_space", lambda x: ops.depth_to_space(x, 2, data_format=FIRST), (2, 8, 3, 2))
    op("more_space_to_depth", lambda x: ops.space_to_depth(x, 2, data_format=FIRST), (2, 2, 4, 6))
    op("more_unfold", lambda x: ops.unfold(x, (3, 2), stride=2), (2, 2, 7, 6))
    if hasattr(ops, "fold"):
        op("more_fold", lambda x: ops.fold(x, (4, 5), 2), (2, 8, 12))
        op("more_fold_options", lambda x: ops.fold(x, (4, 5), (2, 3), dilation=(2, 1), padding=(1, 0), stride=(1, 2)),
           (2, 12, 8))
    op("more_polar", lambda x, y: keras.ops.real(ops.polar(x, y)), within(0, 2), X)
    op("more_sparse_crossentropy", lambda t, p: ops.sparse_categorical_crossentropy(t, p, axis=-1), whole(0, 4, (2, 3)),
       within(0.1, 0.9))
    op("more_binary_crossentropy", lambda t, p: ops.binary_crossentropy(t, p), truth(), within(0.1, 0.9))
    op("more_ctc_loss", lambda o: ops.ctc_loss(np.array([[1, 2, 1], [2, 3, 0]], "int32"), o, np.array([3, 2], "int32"),
       np.array([6, 5], "int32")), (2, 6, 4))
    op("more_ctc_decode", lambda o: ops.ctc_decode(o, np.array([6, 5], "int32")), (2, 6, 4))


def signals(ops):
    op("more_istft", lambda x, y: ops.istft((x, y), 8, 4, 8), (2, 7, 5), (2, 7, 5))
    op("more_istft_plain", lambda x, y: ops.istft((x, y), 8, 4, 8, window=None, center=False), (2, 7, 5), (2, 7, 5))
    op("more_istft_length", lambda x, y: ops.istft((x, y), 8, 4, 8, length=20), (2, 7, 5), (2, 7, 5))
    op("more_extract", lambda x: ops.extract_sequences(x, 3, 1), (2, 3, 10))
    op("more_view_complex", lambda x: ops.view_as_real(ops.view_as_complex(x)), (2, 3, 2))
    op("more_rfft_same", lambda x: ops.rfft(x, fft_length=8), (2, 8))


def images(ops):
    image = ops.image
    for antialias, method in product((False, True), ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")):
        for size in ((4, 7), (3, 3)):
            options = dict(interpolation=method, antialias=antialias)
            op(f"more_resize_{method}_{size[0]}{'_smooth' if antialias else ''}", lambda x, s=size, o=options: image.resize(
                x, s, **o), UNIT)
    for options in ({"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True, "fill_value": 0.3}, {"data_format": FIRST},
                    {"pad_to_aspect_ratio": True, "fill_value": 0.3, "data_format": FIRST},
                    {"crop_to_aspect_ratio": True, "data_format": FIRST}):
        name = "_".join(key[:4] for key in options)
        op(f"more_resize_{name}", lambda x, o=options: image.resize(x, (4, 7), **o),
           UNIT_FIRST if "data_format" in options else UNIT)
    for name in ("rgb_to_grayscale", "rgb_to_hsv", "hsv_to_rgb"):
        op(f"more_{name}", lambda x, f=getattr(image, name): f(x, data_format=FIRST), UNIT_FIRST)
        op(f"more_{name}_last", lambda x, f=getattr(image, name): f(x, data_format="channels_last"), UNIT)
    cut, put = dict(bottom_cropping=1, right_cropping=2), dict(bottom_padding=1, right_padding=2)
    op("more_crop", lambda x: image.crop_images(x, target_height=3, target_width=2, **cut), UNIT)
    op("more_pad_images", lambda x: image.pad_images(x, target_height=8, target_width=9, **put), UNIT)
    for form, value in ((FIRST, UNIT_FIRST), ("channels_last", UNIT)):
        op(f"more_crop_{form}", lambda x, f=form: image.crop_images(x, top_cropping=1, left_cropping=1, data_format=f, **cut),
           value)
        op(f"more_pad_images_{form}", lambda x, f=form: image.pad_images(x, top_padding=1, left_padding=0, data_format=f,
           **put), value)
    for options in ({"data_format": FIRST}, {"data_format": FIRST, "padding": "same"}):
        name = "_".join(key[:4] for key in options)
        op(f"more_patches_{name}", lambda x, o=options: image.extract_patches(x, (2, 2), **o),
           UNIT_FIRST if "data_format" in options else UNIT)
    op("more_patches_dilated", lambda x: image.extract_patches(x, (2, 2), strides=1, dilation_rate=2), UNIT)
    op("more_patches_volume", lambda x: image.extract_patches(x, (2, 2, 2)), within(0, 1, (2, 4, 5, 4, 2)))
    op("more_blur_first", lambda x: image.gaussian_blur(x, (3, 5), (1.0, 0.7), data_format=FIRST), UNIT_FIRST)
    op("more_blur_last", lambda x: image.gaussian_blur(x, (3, 5), (1.0, 0.7), data_format="channels_last"), UNIT)
    op("more_sobel_last", lambda x: image.sobel_edges(x, data_format="channels_last"), UNIT)
    warp = np.array([[1.1, 0.2, -0.7, -0.1, 0.9, 0.4, 0.0, 0.0], [0.8, -0.3, 1.2, 0.2, 1.1, -0.6, 0.01, -0.02]], "float32")
    modes = ("constant", "nearest", "wrap", "reflect")
    for mode, method in product(modes, ("bilinear", "nearest")):
        op(f"more_affine_{mode}_{method}", lambda x, m=mode, i=method: image.affine_transform(
            x, warp, interpolation=i, fill_mode=m, fill_value=0.3), UNIT)
    op("more_affine_one", lambda x: image.affine_transform(x, warp[0]), UNIT)
    op("more_affine_first", lambda x: image.affine_transform(x, warp, data_format=FIRST), UNIT_FIRST)
    # Where x is 2, what is read lies at infinity.
    endless = np.array([[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, -0.5, 0.0]], "float32")
    op("more_affine_endless", lambda x: image.affine_transform(x, endless, fill_value=0.3), UNIT)
    op("more_affine_given", lambda x, t: image.affine_transform(x, t), UNIT, values(warp))
    start = np.array([[[0.0, 0.0], [4.0, 0.0], [0.0, 5.0], [4.0, 5.0]]] * 2, "float32")
    end = start + np.array([[[0.3, -0.4], [0.6, 0.2], [-0.5, 0.4], [0.2, -0.7]]] * 2, "float32")
    for method in ("bilinear", "nearest"):
        op(f"more_perspective_{method}", lambda x, i=method: image.perspective_transform(x, start, end, interpolation=i,
           fill_value=0.2), UNIT)
    op("more_perspective_first", lambda x: image.perspective_transform(x, start, end, data_format=FIRST), UNIT_FIRST)
    op("more_perspective_given", lambda x, a, b: image.perspective_transform(x, a, b), UNIT, values(start), values(end))
    rng = np.random.default_rng(5)
    places = (rng.uniform(-0.4, 1.3, (2, 3, 4)) * np.array([6, 5])[:, None, None]).astype("float32")
    for order, mode in product((0, 1), ("constant", "nearest", "wrap", "mirror", "reflect")):
        op(f"more_map_{order}_{mode}", lambda x, o=order, m=mode: image.map_coordinates(x, places, o, fill_mode=m,
           fill_value=0.3), within(0, 1, (6, 5)))
    volume = np.concatenate([places, places[:1] * 0.5])
    op("more_map_volume", lambda x: image.map_coordinates(x, volume, 1), within(0, 1, (6, 5, 3)))
    op("more_elastic", lambda x: image.elastic_transform(x, alpha=5.0, sigma=2.0, seed=3), UNIT)
    for method in ("linear", "cubic", "lanczos3", "lanczos5"):
        op(f"more_scale_{method}", lambda x, m=method: image.scale_and_translate(x, (2, 7, 4, 3), np.array([1.3, 0.7],
           "float32"), np.array([0.4, -0.2], "float32"), (1, 2), m), UNIT)
    op("more_scale_sharp", lambda x: image.scale_and_translate(x, (2, 3, 4, 3), np.array([0.5, 0.7], "float32"),
       np.array([0.4, -0.2], "float32"), (1, 2), "linear", antialias=False), UNIT)
    if hasattr(image, "ssim"):
        big = within(0, 1, (2, 14, 13, 3))
        op("more_ssim", lambda x, y: image.ssim(x, y), big, big)
        op("more_ssim_options", lambda x, y: image.ssim(x, y, max_val=2.0, filter_size=5, filter_sigma=0.9, k1=0.02,
           k2=0.05), UNIT, UNIT)
        op("more_ssim_first", lambda x, y: image.ssim(x, y, filter_size=5, data_format=FIRST), UNIT_FIRST, UNIT_FIRST)


def matrices(ops):
    square = lambda rng: (rng.normal(0, 1, (2, 3, 3)) + 3 * np.eye(3)).astype("float32")
    tall = (2, 4, 3)
    op("more_qr", ops.qr, tall)
    op("more_svd", lambda x: ops.svd(x), tall)
    op("more_svd_values", lambda x: ops.svd(x, compute_uv=False), tall)
    op("more_lstsq", lambda x, y: ops.lstsq(x, y), (4, 3), (4, 2))
    op("more_lu", ops.lu_factor, square)
    op("more_eig", lambda x: ops.real(ops.eig(x)[0]), square) if hasattr(ops, "eig") else None
    for name in ("pinv", "matrix_rank", "cholesky_inverse"):
        function = getattr(ops, name, None) or getattr(ops.linalg, name, None)
        op(f"more_{name}", function, square) if function else None


def codes(ops):
    """Operations of functions: no file holds the code."""
    op("more_map", lambda x: ops.map(lambda row: row * 2.0, x), X)
    op("more_vectorized_map", lambda x: ops.vectorized_map(lambda row: row * 2.0, x), X)
    op("more_scan", lambda x: ops.scan(lambda c, r: (c + r, c), ops.zeros((3, 4)), x)[1], X)
    op("more_associative_scan", lambda x: ops.associative_scan(lambda a, b: a + b, x, axis=1), X)
    op("more_switch", lambda x: ops.switch(1, [lambda y: y, lambda y: -y], x), X)
    op("more_nonzero", lambda x: ops.nonzero(x), truth())
    op("more_unique", lambda x: ops.unique(x), whole(0, 4, (6,))) if hasattr(ops, "unique") else None


def keras3():
    ops = kit.functions()
    for part in (reductions, numbers, typed, arrangements, networks, signals, images, matrices, codes):
        part(ops)


def keras2():
    for name in "acosh asinh cosh tan sinh".split():
        op(f"more_{name}", getattr(tf.math, name), within(1.1, 1.5))
    op("more_equal", lambda x, y: x == y, whole(0, 3), whole(0, 3))
    op("more_not_equal", lambda x, y: x != y, whole(0, 3), whole(0, 3))
    op("more_broadcast", lambda x: tf.broadcast_to(x, (2, 3, 4)), (2, 1, 4))
    op("more_ensure", lambda x: tf.ensure_shape(x, (None, 3, 4)) * 2.0, X)
    op("more_identity", lambda x: tf.identity(x), X)
    op("more_stop", lambda x: tf.stop_gradient(x), X)
    op("more_add_n", lambda x, y: tf.add_n([x, y]), X, Y)
    op("more_accumulate", lambda x, y: tf.math.add_n([x, y, x]), X, Y)
    op("more_pow", lambda x: tf.pow(x, 3.0), X)
    op("more_pow_tensor", lambda x, y: tf.math.pow(x, y), within(0.2, 3.0), X)
    op("more_scalar_mul", lambda x: tf.math.scalar_mul(2.5, x), X)
    op("more_divide_number", lambda x: tf.math.divide(x, 2.5), X)
    op("more_floordiv", lambda x: x // 1.5, X)
    op("more_floormod", lambda x: x % 1.5, X)
    op("more_xor", lambda x, y: x ^ y, truth(), truth())
    op("more_xor_named", lambda x, y: tf.math.logical_xor(x, y), truth(), truth())
    op("more_and", lambda x, y: (x & y) | ~x, truth(), truth())
    op("more_negative", lambda x: -abs(x), X)
    op("more_reversed", lambda x: 2.0 / (1.5 - x) + 2.0 ** x + 1.0 * x, within(-1, 1))
    op("more_compare", lambda x: tf.cast(x > 0.5, "float32") + tf.cast(x <= -0.5, "float32"), X)
    op("more_euclidean", lambda x: tf.math.reduce_euclidean_norm(x, axis=1), X)
    for name in "sum mean max min prod".split():
        op(f"more_reduce_{name}", lambda x, f=getattr(tf, f"reduce_{name}", None) or getattr(tf.math, f"reduce_{name}"): f(x), X)
        op(f"more_reduce_{name}_two", lambda x, f=getattr(tf.math, f"reduce_{name}"): f(x, [1, 2], True), X)
        op(f"more_reduce_{name}_int", lambda x, f=getattr(tf.math, f"reduce_{name}"): f(x, 1), whole(1, 5))
    for order in (1, 2, np.inf, "euclidean"):
        op(f"more_norm_{order}", lambda x, o=order: tf.norm(x, ord=o, axis=1, keepdims=True), X)
    op("more_norm_all", lambda x: tf.reshape(tf.norm(x), (1,)), X)
    op("more_ones_like", lambda x: tf.ones_like(x) + x, X)
    op("more_zeros_like", lambda x: tf.zeros_like(x, dtype="int32"), X)
    op("more_fill", lambda x: tf.fill((2, 3), 1.5) + x, (2, 3))
    op("more_bias_add", lambda x: tf.nn.bias_add(x, np.array([0.5, -0.5, 1.0, 2.0], "float32")), X)
    op("more_moments_keep", lambda x: tf.nn.moments(x, axes=[1, 2], keepdims=True), X)
    op("more_gather", lambda x, i: tf.gather(x, i, axis=1), X, whole(0, 3, (2, 2)))
    op("more_gather_batch", lambda x, i: tf.gather(x, i, batch_dims=1), X, whole(0, 3, (2, 2)))
    op("more_gather_nd", lambda x: tf.gather_nd(x, [[0, 1], [1, 2]]), X)
    op("more_pad", lambda x: tf.pad(x, [[0, 0], [1, 1], [0, 2]], constant_values=1.5), X)
    op("more_pad_symmetric", lambda x: tf.pad(x, [[0, 0], [1, 1], [0, 2]], mode="SYMMETRIC"), X)
    op("more_squeeze", lambda x: tf.squeeze(x), (2, 1, 4))
    op("more_transpose", lambda x: tf.transpose(x, perm=[0, 2, 1]), X)
    op("more_shape", lambda x: tf.shape(x), X)
    op("more_split_sizes", lambda x: tf.split(x, [1, 3], axis=2), X)
    op("more_stack", lambda x, y: tf.stack([x, y], 1), X, Y)
    op("more_concat", lambda x, y: tf.concat([x, y, x], -1), X, Y)
    op("more_clip_norm", lambda x: tf.clip_by_norm(x, 1.0, axes=[1, 2]), X)
    op("more_where", lambda x: tf.where(x > 0, x, 0.0), X)
    op("more_one_hot", lambda x: tf.one_hot(x, 4, axis=1, dtype="int32"), whole(0, 4, (2, 3)))
    op("more_einsum", lambda x, y: tf.einsum("abc,adc->abd", x, y), X, (2, 5, 4))
    op("more_matmul_left", lambda x, y: tf.matmul(x, y, transpose_a=True), X, (2, 3, 5))
    op("more_matmul_operator", lambda x, y: x @ y, X, (2, 4, 5))
    op("more_sort", lambda x: tf.sort(x, axis=1, direction="DESCENDING"), X)
    op("more_argsort", lambda x: tf.argsort(x, axis=2), X)
    op("more_cumsum_options", lambda x: tf.cumsum(x, axis=1, exclusive=True, reverse=True), X)
    op("more_cumprod_options", lambda x: tf.math.cumprod(x, axis=1, reverse=True), X)
    op("more_nn_softmax", lambda x: tf.nn.softmax(x, axis=1), X)
    op("more_nn_leaky", lambda x: tf.nn.leaky_relu(x, alpha=0.05), X)
    op("more_nn_gelu", lambda x: tf.nn.gelu(x, approximate=True), X)
    op("more_nn_l2", lambda x: tf.nn.l2_normalize(x, axis=[1, 2]), X)
    op("more_nn_max_pool", lambda x: tf.nn.max_pool2d(x, 2, 2, "SAME"), (2, 5, 6, 3))
    op("more_nn_avg_pool", lambda x: tf.nn.avg_pool2d(x, 2, 1, "VALID"), (2, 5, 6, 3))
    op("more_nn_conv", lambda x: tf.nn.conv2d(x, fixed(2, 2, 3, 4), 1, "SAME"), (2, 5, 6, 3))
    op("more_nn_crelu", lambda x: tf.nn.crelu(x), X)
    op("more_nn_swish", lambda x: tf.nn.swish(x), X)
    op("more_resize_nearest", lambda x: tf.image.resize(x, (4, 7), method="nearest"), IMAGE)
    op("more_resize_smooth", lambda x: tf.image.resize(x, (3, 3), antialias=True), IMAGE)
    op("more_strided", lambda x: tf.strided_slice(x, [0, 0, 1], [2, 3, 4], [1, 2, 1]), X)
    op("more_getitem", lambda x: x[..., tf.newaxis, 1:-1], X)
    op("more_linalg_trace", lambda x: tf.linalg.trace(x), (2, 3, 3))
    op("more_band", lambda x: tf.linalg.band_part(x, 1, 0), X)
    op("more_segment", lambda x: tf.math.unsorted_segment_sum(x, [0, 1, 0], 2), (3, 4))
    op("more_dtype", lambda x: tf.cast(x, tf.float16), X)
    op("more_saturate", lambda x: tf.saturate_cast(x * 200.0, tf.uint8), X)
    op("more_rank", lambda x: tf.rank(x) + tf.size(x), X)
    op("more_lerp", lambda x, y: x + 0.3 * (y - x), X, Y)
    op("more_complex", lambda x: tf.math.real(tf.cast(x, tf.complex64)), X)


(keras3 if KERAS >= 3 else keras2)()
