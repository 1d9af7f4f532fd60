"""Operations as nodes of a model: functions of keras.ops in Keras 3, of tf in Keras 2."""
from keras import Model, layers as L

import kit
from kit import KERAS, keras, np, tf
from matrix_cases import Spec, symbolic

ROWS = []
# TensorFlow takes cubic weights from a table.
CUBIC = 5e-3


def op(name, function, *values):
    """`values`: shapes (normal numbers) or makers of arrays."""
    ROWS.append((name, function, values))


def within(low, high, shape=(2, 3, 4)):
    return lambda rng: rng.uniform(low, high, shape).astype("float32")


def whole(low, high, shape=(2, 3, 4), dtype="int32"):
    return lambda rng: rng.integers(low, high, shape).astype(dtype)


def fixed(*shape):
    """A kernel that the file holds."""
    return np.linspace(-1, 1.3, int(np.prod(shape)), dtype="float32").reshape(shape)


def truth(shape=(2, 3, 4)):
    return lambda rng: rng.random(shape) < 0.5


X, Y, ROW = (2, 3, 4), (2, 3, 4), (2, 4)


def keras3():
    import inspect
    ops = kit.functions()
    unary = """abs absolute arcsinh arctan ceil cos cosh exp exp2 expm1 floor negative round sign sin sinh square tanh
        trunc isnan isinf isfinite cbrt deg2rad rad2deg signbit sinc heaviside_ isposinf isneginf fabs erf erfc relu
        relu6 sigmoid softplus softsign silu swish log_sigmoid hard_sigmoid hard_silu hard_tanh elu selu gelu celu glu
        leaky_relu tanh_shrink hard_shrink soft_shrink squareplus sparse_plus sparse_sigmoid sparsemax softmax
        log_softmax ravel copy zeros_like ones_like flipud fliplr sum mean max min prod std var amax amin ptp median
        count_nonzero argmax argmin cumsum cumprod sort argsort size ndim nan_to_num real logsumexp conj nanmax nanmin
        nanmean nansum nanprod nanstd nanvar average diff threshold_ isreal nancumsum""".split()
    for name in unary:
        function = getattr(ops, name.rstrip("_"), None)
        if function is None:
            continue
        if name == "threshold_":
            op(name, lambda x, f=function: f(x, 0.3, -1.0), X)
        elif name == "heaviside_":
            op(name, function, X, Y)
        else:
            op(name, function, X)
            if "axis" in inspect.signature(function).parameters:
                for axis in (0, 1, -1):
                    op(f"{name}_axis{axis % 5}", lambda x, f=function, a=axis: f(x, axis=a), X)
                if name in ("sum", "mean", "max", "min", "prod", "std", "var", "amax", "amin", "logsumexp", "median"):
                    op(f"{name}_keep", lambda x, f=function: f(x, axis=1, keepdims=True), X)
                    if name not in ("median",):
                        op(f"{name}_two", lambda x, f=function: f(x, axis=(1, 2)), X)
    for name in "sqrt log log10 log1p log2 rsqrt reciprocal i0".split():
        if hasattr(ops, name):
            op(name, getattr(ops, name), within(0.2, 3.0))
    for name in "arccos arcsin arctanh erfinv".split():
        if hasattr(ops, name):
            op(name, getattr(ops, name), within(-0.9, 0.9))
    op("arccosh", ops.arccosh, within(1.1, 4.0))
    op("tan", ops.tan, within(-1.2, 1.2))
    binary = """add subtract multiply divide true_divide floor_divide maximum minimum arctan2 logaddexp logaddexp2 hypot
        equal not_equal less less_equal greater greater_equal mod fmod isclose fmax fmin divide_no_nan""".split()
    for name in binary:
        if hasattr(ops, name):
            op(name, getattr(ops, name), X, Y)
            op(f"{name}_rows", getattr(ops, name), X, (2, 1, 4))
            op(f"{name}_number", lambda x, f=getattr(ops, name): f(x, 1.5), X)
    op("power", ops.power, within(0.2, 3.0), X)
    op("power_number", lambda x: ops.power(x, 3.0), X)
    for name in "logical_and logical_or logical_xor".split():
        op(name, getattr(ops, name), truth(), truth())
    for name in "bitwise_and bitwise_or bitwise_xor gcd lcm".split():
        if hasattr(ops, name):
            op(name, getattr(ops, name), whole(1, 30), whole(1, 30))
    for name in "bitwise_left_shift bitwise_right_shift left_shift right_shift".split():
        if hasattr(ops, name):
            op(name, getattr(ops, name), whole(1, 30), whole(0, 4))
    for name in "bitwise_not bitwise_invert".split():
        if hasattr(ops, name):
            op(name, getattr(ops, name), whole(-30, 30))
    op("logical_not", ops.logical_not, truth())
    for name in "any all".split():
        op(name, getattr(ops, name), truth())
        op(f"{name}_axis", lambda x, f=getattr(ops, name): f(x, axis=1), truth())
    op("where", ops.where, truth(), X, Y)
    op("where_number", lambda c, x: ops.where(c, x, 0.0), truth(), X)
    op("clip", lambda x: ops.clip(x, -0.5, 0.7), X)
    op("cast", lambda x: ops.cast(x, "int32"), X)
    op("saturate_cast", lambda x: ops.saturate_cast(x * 200.0, "uint8"), X)
    op("convert_to_tensor", lambda x: ops.convert_to_tensor(x), X)
    op("select", lambda c, d, x, y: ops.select([c, d], [x, y], 0.5), truth(), truth(), X, Y)
    for interp in ("linear", "nearest", "lower", "higher", "midpoint"):
        op(f"quantile_{interp}", lambda x, i=interp: ops.quantile(x, 0.3, axis=1, method=i), X)
    op("quantile_two", lambda x: ops.quantile(x, [0.2, 0.7], axis=2), X)
    op("digitize", lambda x: ops.digitize(x, np.array([-1.0, 0.0, 1.0])), X)
    op("searchsorted", lambda v: ops.searchsorted(np.array([-1.0, 0.0, 1.0], "float32"), v), (5,))
    op("bincount", lambda x: ops.bincount(x, minlength=6), whole(0, 6, (2, 5)))
    op("argpartition", lambda x: ops.max(ops.argpartition(x, 1), axis=-1), X)
    keras3_shapes(ops)
    keras3_products(ops)
    keras3_nn(ops)
    keras3_image(ops)
    keras3_linalg(ops)
    keras3_more(ops)


def keras3_shapes(ops):
    op("reshape", lambda x: ops.reshape(x, (-1, 6, 2)), X)
    op("transpose", lambda x: ops.transpose(x, (0, 2, 1)), X)
    op("expand_dims", lambda x: ops.expand_dims(x, 2), X)
    op("squeeze", lambda x: ops.squeeze(x, 1), (2, 1, 4))
    op("moveaxis", lambda x: ops.moveaxis(x, 1, 2), X)
    op("swapaxes", lambda x: ops.swapaxes(x, 1, 2), X)
    op("concatenate", lambda x, y: ops.concatenate([x, y], axis=1), X, Y)
    op("append", lambda x, y: ops.append(x, y, axis=1), X, Y)
    op("stack", lambda x, y: ops.stack([x, y], axis=2), X, Y)
    for name in "vstack hstack dstack".split():
        if hasattr(ops, name):
            op(name, lambda x, y, f=getattr(ops, name): f([x, y]), X, Y)
    op("unstack", lambda x: ops.unstack(x, axis=1), X)
    op("split", lambda x: ops.split(x, 2, axis=2), X)
    op("split_at", lambda x: ops.split(x, [1, 3], axis=2), X)
    op("array_split", lambda x: ops.array_split(x, 3, axis=2), X)
    op("hsplit", lambda x: ops.hsplit(x, 3), X) if hasattr(ops, "hsplit") else None
    op("dsplit", lambda x: ops.dsplit(x, 2), X) if hasattr(ops, "dsplit") else None
    op("flip", lambda x: ops.flip(x, axis=2), X)
    op("pad", lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1))), X)
    op("pad_reflect", lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1)), mode="reflect"), X)
    op("pad_value", lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=2.0), X)
    op("repeat", lambda x: ops.repeat(x, 2, axis=1), X)
    op("tile", lambda x: ops.tile(x, (1, 2, 3)), X)
    op("broadcast_to", lambda x: ops.broadcast_to(x, (2, 3, 4)), (2, 1, 4))
    op("roll", lambda x: ops.roll(x, 1, axis=2), X)
    op("roll_back", lambda x: ops.roll(x, -2, axis=1), X)
    for k in (-1, 0, 1):
        op(f"tril_{k + 1}", lambda x, n=k: ops.tril(x, n), X)
        op(f"triu_{k + 1}", lambda x, n=k: ops.triu(x, n), X)
        op(f"diagonal_{k + 1}", lambda x, n=k: ops.diagonal(x, n, axis1=1, axis2=2), X)
        op(f"trace_{k + 1}", lambda x, n=k: ops.trace(x, n, axis1=1, axis2=2), X)
    op("diag_of_rows", lambda x: ops.diag(ops.mean(x, axis=(0, 1))), X)
    op("diagflat", lambda x: ops.diagflat(ops.mean(x, axis=(0, 1))), X)
    op("rot90", lambda x: ops.rot90(x, 1, axes=(1, 2)), X)
    # Keras 3.15 on TensorFlow turns by two right angles only what is square.
    op("rot90_twice", lambda x: ops.rot90(x, 2, axes=(1, 2)), (2, 3, 3))
    op("meshgrid", lambda x: ops.meshgrid(ops.mean(x, axis=(0, 1)), ops.mean(x, axis=(0, 2))), X)
    op("getitem", lambda x: x[:, 1, ::2], X)
    op("getitem_new", lambda x: x[..., None, 1:3], X)
    op("slice", lambda x: ops.slice(x, (0, 1, 0), (2, 2, 3)), X)
    op("slice_update", lambda x, y: ops.slice_update(x, (0, 1, 0), y[:, :2, :3]), X, Y)
    op("take", lambda x: ops.take(x, [2, 0], axis=1), X)
    op("take_along_axis", lambda x, i: ops.take_along_axis(x, i, axis=1), X, whole(0, 3, (2, 2, 4)))
    op("full_like", lambda x: ops.full_like(x, 2.5) + x, X)
    op("empty_like", lambda x: x + 0 * ops.zeros_like(x), X)
    op("gather_rows", lambda x, i: ops.take(x, i, axis=0), X, whole(0, 2, (2, 3)))
    op("scatter_update", lambda x: ops.scatter_update(x, [[0, 1, 2], [1, 0, 3]], [5.0, 7.0]), X)
    op("view_cast", lambda x: ops.cast(x > 0, "float32"), X)
    op("top_k", lambda x: ops.top_k(x, 2), X)
    op("in_top_k", lambda t, p: ops.in_top_k(t, p, 2), whole(0, 4, (2,)), (2, 4))
    op("isin", lambda x: ops.isin(x, [1, 3, 5]), whole(0, 6)) if hasattr(ops, "isin") else None


def keras3_products(ops):
    op("matmul", ops.matmul, X, (2, 4, 5))
    op("dot", lambda x, y: ops.dot(x, ops.transpose(y)), ROW, (3, 4))
    op("tensordot", lambda x, y: ops.tensordot(x, y, axes=[[2], [1]]), X, (5, 4))
    op("inner", lambda x, y: ops.inner(x, y), X, (5, 4))
    op("outer", lambda x, y: ops.outer(x, y), ROW, (3,))
    op("vdot", lambda x, y: ops.reshape(ops.vdot(x, y), (1,)), X, Y)
    op("einsum", lambda x, y: ops.einsum("abc,adc->abd", x, y), X, (2, 5, 4))
    op("einsum_dots", lambda x, y: ops.einsum("...c,...c->...", x, y), X, Y)
    op("cross", lambda x, y: ops.cross(x, y), (2, 4, 3), (2, 4, 3))
    op("kron", lambda x, y: ops.kron(x, y), (2, 3), (2, 2)) if hasattr(ops, "kron") else None
    op("correlate", lambda x, y: ops.correlate(x, y, mode="same"), (6,), (3,))
    op("trapezoid", lambda x: ops.trapezoid(x, axis=1), X) if hasattr(ops, "trapezoid") else None
    op("vander", lambda x: ops.vander(x, 3), (4,)) if hasattr(ops, "vander") else None
    for mode in (1, 2, "inf"):
        op(f"norm_{mode}", lambda x, m=mode: ops.norm(x, ord=np.inf if m == "inf" else m, axis=2), X)
    op("norm_all", lambda x: ops.reshape(ops.norm(x), (1,)), X)
    op("average_weighted", lambda x: ops.average(x, axis=1, weights=[0.2, 0.3, 0.5]), X)


def keras3_nn(ops):
    image = (2, 6, 5, 2)
    for padding, strides in (("valid", 1), ("same", 2)):
        op(f"max_pool_{padding}", lambda x, p=padding, s=strides: ops.max_pool(x, 2, s, p), image)
        op(f"average_pool_{padding}", lambda x, p=padding, s=strides: ops.average_pool(x, 2, s, p), image)
        op(f"conv_{padding}", lambda x, p=padding, s=strides: ops.conv(x, fixed(3, 3, 2, 4), s, p), image)
        op(f"depthwise_conv_{padding}", lambda x, p=padding, s=strides: ops.depthwise_conv(
            x, fixed(3, 3, 2, 2), s, p), image)
        op(f"separable_conv_{padding}", lambda x, p=padding, s=strides: ops.separable_conv(
            x, fixed(3, 3, 2, 1), fixed(1, 1, 2, 4), s, p), image)
        op(f"conv_transpose_{padding}", lambda x, p=padding, s=strides: ops.conv_transpose(
            x, fixed(3, 3, 4, 2), s, p), image)
    op("adaptive_average_pool", lambda x: ops.adaptive_average_pool(x, (3, 2)), image)
    op("adaptive_max_pool", lambda x: ops.adaptive_max_pool(x, (3, 2)), image)
    op("one_hot", lambda x: ops.one_hot(x, 5), whole(0, 5, (2, 3)))
    op("multi_hot", lambda x: ops.multi_hot(x, 5), whole(0, 5, (2, 3)))
    op("moments", lambda x: ops.moments(x, axes=(1,)), X)
    op("normalize", lambda x: ops.normalize(x, axis=2), X)
    op("batch_normalization", lambda x, m, v: ops.batch_normalization(x, m, v, axis=-1), X, (4,), within(0.3, 2.0, (4,)))
    op("layer_normalization", lambda x: ops.layer_normalization(x), X)
    op("rms_normalization", lambda x: ops.rms_normalization(x), X)
    op("dot_product_attention", lambda q, k, v: ops.dot_product_attention(q, k, v), (2, 3, 2, 4), (2, 5, 2, 4),
       (2, 5, 2, 4))
    op("dot_product_attention_causal", lambda q, k, v: ops.dot_product_attention(q, k, v, is_causal=True),
       (2, 3, 2, 4), (2, 3, 2, 4), (2, 3, 2, 4))
    op("dot_product_attention_scale", lambda q, k, v: ops.dot_product_attention(q, k, v, scale=0.3), (2, 3, 2, 4),
       (2, 5, 2, 4), (2, 5, 2, 4))
    op("depth_to_space", lambda x: ops.depth_to_space(x, 2), (2, 3, 2, 8)) if hasattr(ops, "depth_to_space") else None
    op("space_to_depth", lambda x: ops.space_to_depth(x, 2), (2, 4, 6, 2)) if hasattr(ops, "space_to_depth") else None
    op("polar", lambda x: ops.softmax(x, axis=1), X)
    op("binary_crossentropy", lambda t, p: ops.binary_crossentropy(t, p), within(0, 1), within(0.1, 0.9))
    op("categorical_crossentropy", lambda t, p: ops.categorical_crossentropy(t, p, from_logits=True), within(0, 1), X)
    op("psnr", lambda x, y: ops.reshape(ops.psnr(x, y, 2.0), (1,)), X, Y)
    op("unfold", lambda x: ops.unfold(x, 2), (2, 2, 4, 5)) if hasattr(ops, "unfold") else None
    op("segment_sum", lambda x: ops.segment_sum(x, np.array([0, 2, 0]), num_segments=3), (3, 4))


def keras3_image(ops):
    image = within(0, 1, (2, 6, 5, 3))
    op("resize", lambda x: ops.image.resize(x, (4, 7)), image)
    op("resize_nearest", lambda x: ops.image.resize(x, (4, 7), interpolation="nearest"), image)
    op("rgb_to_grayscale", lambda x: ops.image.rgb_to_grayscale(x), image)
    op("rgb_to_hsv", lambda x: ops.image.rgb_to_hsv(x), image)
    op("hsv_to_rgb", lambda x: ops.image.hsv_to_rgb(x), image)
    op("crop_images", lambda x: ops.image.crop_images(x, top_cropping=1, left_cropping=1, target_height=3,
                                                      target_width=2), image)
    op("pad_images", lambda x: ops.image.pad_images(x, top_padding=1, left_padding=2, target_height=9,
                                                    target_width=8), image)
    op("extract_patches", lambda x: ops.image.extract_patches(x, (2, 2)), image)
    op("extract_patches_same", lambda x: ops.image.extract_patches(x, (3, 3), strides=2, padding="same"), image)
    op("gaussian_blur", lambda x: ops.image.gaussian_blur(x, (3, 3), (1.0, 1.0)), image)
    if hasattr(ops.image, "sobel_edges"):
        op("sobel_edges", lambda x: ops.image.sobel_edges(x), image)


def keras3_linalg(ops):
    square = lambda rng: (rng.normal(0, 1, (2, 3, 3)) + 3 * np.eye(3)).astype("float32")
    for name in "det inv cholesky".split():
        if hasattr(ops, name):
            op(name, getattr(ops, name), square)
    op("extract_sequences", lambda x: ops.extract_sequences(x, 4, 2), (2, 10))
    op("rfft", lambda x: ops.rfft(x), (2, 8))
    op("fft", lambda x, y: ops.fft((x, y)), (2, 8), (2, 8))
    op("irfft", lambda x, y: ops.irfft((x, y)), (2, 5), (2, 5))
    op("stft", lambda x: ops.stft(x, 8, 4, 8), (2, 24))
    op("cdist", lambda x, y: ops.cdist(x, y), (2, 3, 4), (2, 5, 4)) if hasattr(ops, "cdist") else None


def keras3_more(ops):
    """Further options of what keras3_linalg and its like have once."""
    def square(n, b=2):
        return lambda rng: (rng.normal(0, 1, (b, n, n)) + 3 * np.eye(n)).astype("float32")

    def positive(rng, n=4):
        half = rng.normal(0, 1, (2, n, n))
        return (half @ half.transpose(0, 2, 1) + np.eye(n)).astype("float32")

    def holes(rng):
        value = rng.uniform(0.5, 2, X).astype("float32")
        value[0, 1, 2] = value[1, 0, 0] = np.nan
        return value

    for n in (1, 2, 4):
        op(f"det_{n}", ops.det, square(n))
        op(f"inv_{n}", ops.inv, square(n))
    op("det_large", ops.det, square(5))
    op("slogdet", ops.slogdet, square(3))
    op("logdet", ops.logdet, positive)
    op("cholesky_lower", ops.cholesky, positive)
    op("cholesky_upper", lambda a: ops.cholesky(a, upper=True), positive)
    op("solve", ops.solve, square(3), (2, 3, 2))
    op("solve_vector", ops.solve, square(4, 3), (3, 4))
    op("solve_upper", lambda a, b: ops.solve_triangular(a, b), square(4), (2, 4, 3))
    op("solve_lower", lambda a, b: ops.solve_triangular(a, b, lower=True), square(4), (2, 4, 3))
    op("fft_odd", lambda x, y: ops.fft((x, y)), X[:2] + (7,), X[:2] + (7,))
    op("fft2", lambda x, y: ops.fft2((x, y)), (2, 4, 6), (2, 4, 6))
    op("ifft2", lambda x, y: ops.ifft2((x, y)), (2, 5, 4), (2, 5, 4))
    op("rfft_odd", lambda x: ops.rfft(x), (2, 3, 9))
    op("rfft_longer", lambda x: ops.rfft(x, fft_length=12), (2, 8))
    op("rfft_shorter", lambda x: ops.rfft(x, fft_length=6), (2, 8))
    op("irfft_odd", lambda x, y: ops.irfft((x, y), fft_length=7), (2, 5), (2, 5))
    op("irfft_longer", lambda x, y: ops.irfft((x, y), fft_length=12), (2, 5), (2, 5))
    op("stft_plain", lambda x: ops.stft(x, 8, 3, 8, window=None, center=False), (2, 3, 24))
    op("stft_hamming", lambda x: ops.stft(x, 6, 4, 9, window="hamming"), (2, 30))
    for name in "sum prod max min".split():
        if hasattr(ops, f"segment_{name}"):
            op(f"segment_{name}_ids", lambda x, i, f=getattr(ops, f"segment_{name}"): f(x, i, num_segments=3), (6,),
               whole(0, 3, (6,)))
    op("gcd_zeros", ops.gcd, whole(-6, 6), whole(-6, 6))
    op("lcm_zeros", ops.lcm, whole(-6, 6), whole(-6, 6))
    op("gcd_rows", ops.gcd, whole(1, 5000), whole(1, 5000, (2, 1, 4)))
    op("i0_wide", ops.i0, within(-7, 7))
    op("erfinv_edge", ops.erfinv, within(-0.9999, 0.9999))
    op("angle", ops.angle, X)
    op("nancumsum_holes", lambda x: ops.nancumsum(x, axis=1), holes)
    op("nancumprod_holes", lambda x: ops.nancumprod(x, axis=2), holes)
    op("vander_rising", lambda x: ops.vander(x, increasing=True), (4,))
    op("correlate_full", lambda x, y: ops.correlate(x, y, mode="full"), (6,), (4,))
    op("correlate_valid", lambda x, y: ops.correlate(x, y, mode="valid"), (7,), (3,))
    op("correlate_same_even", lambda x, y: ops.correlate(x, y, mode="same"), (7,), (4,))
    op("binary_crossentropy_logits", lambda t, p: ops.binary_crossentropy(t, p, from_logits=True), within(0, 1), X)
    op("categorical_crossentropy_shares", lambda t, p: ops.categorical_crossentropy(t, p, axis=1), within(0, 1),
       within(0.1, 0.9))
    op("sparse_categorical_crossentropy", lambda t, p: ops.sparse_categorical_crossentropy(t, p), whole(0, 4, (2, 3)),
       within(0.1, 0.9))
    op("sparse_categorical_crossentropy_logits",
       lambda t, p: ops.sparse_categorical_crossentropy(t, p, from_logits=True), whole(0, 4, (2, 3)), X)
    op("scatter_update_add", lambda x: ops.scatter_update(x, [[1], [0], [1]], np.ones((3, 3, 4), "float32"),
                                                          reduction="add"), X)
    op("gaussian_blur_wide", lambda x: ops.image.gaussian_blur(x, (5, 3), (0.8, 2.0)), (2, 7, 6, 2))
    op("sobel_edges_first", lambda x: ops.image.sobel_edges(x, data_format="channels_first"), (2, 3, 5, 6))
    op("unfold_options", lambda x: ops.unfold(x, (2, 3), dilation=(2, 1), padding=(1, 0), stride=(1, 2)), (2, 2, 5, 6))
    op("eigh", ops.eigh, positive)


def keras2():
    unary = """abs acosh_ asinh atan ceil cos cosh erf erfc exp expm1 floor is_finite is_inf is_nan log_sigmoid negative
        rint round sigmoid sign sin sinh softplus square tanh""".split()
    for name in unary:
        if not name.endswith("_"):
            op(name, getattr(tf.math, name), X)
    for name in "sqrt log log1p rsqrt reciprocal".split():
        op(name, getattr(tf.math, name), within(0.2, 3.0))
    for name in "acos asin atanh".split():
        op(name, getattr(tf.math, name), within(-0.9, 0.9))
    for name in "relu relu6 elu selu leaky_relu softsign silu gelu log_softmax softmax".split():
        op(f"nn_{name}", getattr(tf.nn, name), X)
    for name in """add subtract multiply divide maximum minimum atan2 equal not_equal less less_equal greater
            greater_equal floordiv floormod squared_difference divide_no_nan truediv""".split():
        op(name, getattr(tf.math, name), X, Y)
        op(f"{name}_rows", getattr(tf.math, name), X, (2, 1, 4))
    for name in "reduce_sum reduce_mean reduce_max reduce_min reduce_prod reduce_std reduce_variance reduce_logsumexp".split():
        op(name, lambda x, f=getattr(tf.math, name): f(x, axis=1), X)
        op(f"{name}_keep", lambda x, f=getattr(tf.math, name): f(x, axis=[1, 2], keepdims=True), X)
    for name in "argmax argmin cumsum cumprod".split():
        op(name, lambda x, f=getattr(tf.math, name): f(x, axis=1), X)
    for name in "logical_and logical_or logical_xor".split():
        op(name, getattr(tf.math, name), truth(), truth())
    op("logical_not", tf.math.logical_not, truth())
    for name in "reduce_any reduce_all".split():
        op(name, lambda x, f=getattr(tf.math, name): f(x, axis=1), truth())
    op("where", lambda c, x, y: tf.where(c, x, y), truth(), X, Y)
    op("clip", lambda x: tf.clip_by_value(x, -0.5, 0.7), X)
    op("cast", lambda x: tf.cast(x, tf.int32), X)
    op("operators", lambda x, y: (x * 2.0 + y) / 3.0 - x, X, Y)
    op("reshape", lambda x: tf.reshape(x, (-1, 6, 2)), X)
    op("transpose", lambda x: tf.transpose(x, (0, 2, 1)), X)
    op("expand_dims", lambda x: tf.expand_dims(x, 2), X)
    op("squeeze", lambda x: tf.squeeze(x, 1), (2, 1, 4))
    op("concat", lambda x, y: tf.concat([x, y], axis=1), X, Y)
    op("stack", lambda x, y: tf.stack([x, y], axis=2), X, Y)
    op("unstack", lambda x: tf.unstack(x, axis=1), X)
    op("split", lambda x: tf.split(x, 2, axis=2), X)
    op("reverse", lambda x: tf.reverse(x, axis=[2]), X)
    op("pad", lambda x: tf.pad(x, ((0, 0), (1, 2), (0, 1))), X)
    op("pad_reflect", lambda x: tf.pad(x, ((0, 0), (1, 2), (0, 1)), mode="REFLECT"), X)
    op("repeat", lambda x: tf.repeat(x, 2, axis=1), X)
    op("tile", lambda x: tf.tile(x, (1, 2, 3)), X)
    op("roll", lambda x: tf.roll(x, 1, axis=2), X)
    op("getitem", lambda x: x[:, 1, ::2], X)
    op("slice", lambda x: tf.slice(x, (0, 1, 0), (2, 2, 3)), X)
    op("gather", lambda x: tf.gather(x, [2, 0], axis=1), X)
    op("one_hot", lambda x: tf.one_hot(x, 5), whole(0, 5, (2, 3)))
    op("top_k", lambda x: tf.math.top_k(x, 2), X)
    op("matmul", lambda x, y: tf.matmul(x, y), X, (2, 4, 5))
    op("matmul_turned", lambda x, y: tf.matmul(x, y, transpose_b=True), X, (2, 5, 4))
    op("tensordot", lambda x, y: tf.tensordot(x, y, axes=[[2], [1]]), X, (5, 4))
    op("norm", lambda x: tf.norm(x, axis=2), X)
    op("l2_normalize", lambda x: tf.math.l2_normalize(x, axis=2), X)
    op("moments", lambda x: tf.nn.moments(x, axes=[1]), X)
    op("depth_to_space", lambda x: tf.nn.depth_to_space(x, 2), (2, 3, 2, 8))
    op("space_to_depth", lambda x: tf.nn.space_to_depth(x, 2), (2, 4, 6, 2))
    op("resize", lambda x: tf.image.resize(x, (4, 7)), (2, 6, 5, 3))
    op("shape_reshape", lambda x: tf.reshape(x, (tf.shape(x)[0], -1)), X)


(keras3 if KERAS >= 3 else keras2)()


def model(function, values):
    def make(rng):
        arrays = [v(rng) if callable(v) else rng.normal(0, 1.5, v).astype("float32") for v in values]
        inputs = [symbolic(a) if a.ndim > 1 else L.Input(batch_shape=a.shape, dtype=str(a.dtype)) for a in arrays]
        outputs = function(*inputs)
        return Model(inputs, list(outputs) if isinstance(outputs, (list, tuple)) else outputs), arrays
    return make


def specs():
    containers = ("keras",) if KERAS >= 3 else ("h5", "keras")
    for name, function, values in ROWS:
        loose = name.endswith(("_half", "_bfloat"))
        yield Spec(f"op-{name}", model(function, values), containers=containers, loose=loose,
                   tolerance=CUBIC if "bicubic" in name else 0)


__all__ = ["specs", "keras"]
