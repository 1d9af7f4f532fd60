"""Makes tests/fixtures/options_keras2 or options_keras3: options and operations that were wrong, or missing, once.

    keras2/bin/python options_fixtures.py [NAME...]      (and the same with keras3)
"""
import os
import sys

import kit
from kit import KERAS, keras, np
from keras import layers as L

import matrix_ops
import matrix_ops_more  # noqa: F401  (adds to matrix_ops)

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", f"options_keras{KERAS}")
# Operations of the matrix, several to a model.
TOGETHER = {
    "percentiles": ["percentile_nearest", "percentile_higher", "percentile_midpoint", "percentile_two", "median_keep"],
    "missing_numbers": ["nanpercentile_lower", "nanquantile_linear", "nanargmax_keep", "nanmedian_last"],
    "warps": ["affine_reflect_bilinear", "affine_wrap_nearest", "perspective_bilinear", "scale_cubic", "ssim_options"],
    "endless": ["affine_endless"],
    "coordinates": ["map_1_reflect", "map_0_wrap", "map_1_constant"],
    "windows": ["istft", "fold_options", "unfold"],
    "rows": ["linspace_open", "geomspace", "cross_axis", "norm_vector_3", "norm_matrix_1", "normalize_3", "unravel"],
    "biased_attention": ["attention_all"],
    # Where rten, which checks them, has no such op, dtype or number.
    "divisions": ["mod_int", "floor_divide_int"],
    "borders": ["sobel_last", "take_along_axis"],
    "above_one": ["log", "arccosh"],
    # A number that JSON does not know.
    "adaptive_pools": ["adaptive_average_pool", "adaptive_max_pool"],
    "endless_norms": ["norm_inf", "norm_matrix_inf"],
}


def of(layer, shape, dtype="float32"):
    x = keras.Input(shape, dtype=dtype)
    return keras.Model(x, layer(x))


def operations(names):
    rows = {name.removeprefix("more_"): (function, values) for name, function, values in matrix_ops.ROWS}

    def make():
        inputs, arrays, outputs = [], [], []
        rng = np.random.default_rng(3)
        for name in names:
            function, values = rows[name]
            own = [v(rng) if callable(v) else rng.normal(0, 1.5, v).astype("float32") for v in values]
            symbols = [keras.Input(a.shape[1:], dtype=str(a.dtype)) for a in own]
            y = function(*symbols)
            outputs += list(y) if isinstance(y, (list, tuple)) else [y]
            inputs += symbols
            arrays += own
        return keras.Model(inputs, outputs), arrays
    return make


def single(make):
    """A model and inputs of its own shape."""
    def built():
        model = make()
        return model, kit.feed(model, np.random.default_rng(5))
    return built


def gaps(model):
    """A model's inputs, with steps at the beginning, in the middle and at the end that are skipped."""
    xs = kit.feed(model, np.random.default_rng(5))
    xs[0][0, :2] = xs[0][1, 2] = xs[0][1, -1] = 0
    return model, xs


def unrolled_masks():
    """Without a loop, zeros stand where the mask turned around has them."""
    x = keras.Input((5, 3))
    y = L.Masking()(x)
    options = dict(return_sequences=True, unroll=True, zero_output_for_mask=True)
    cells = [L.GRUCell(2), L.SimpleRNNCell(2)]
    back = [L.LSTM(2, go_backwards=True, **options)(y), L.RNN(cells, go_backwards=True, **options)(y)]
    if KERAS >= 3:
        back.append(L.ConvLSTM1D(2, 2, go_backwards=True, **options)(L.Reshape((5, 3, 1))(x), mask=y._keras_mask))
    return gaps(keras.Model(x, [L.Bidirectional(L.GRU(2, return_sequences=True, unroll=True))(y), *back,
                                L.Bidirectional(L.SimpleRNN(2, unroll=True))(y)]))


def masked_or_not():
    """One layer, called with a mask and without."""
    x = keras.Input((5, 3))
    layers = [L.LSTM(2, return_sequences=True), L.GRU(2), L.Bidirectional(L.SimpleRNN(2, return_sequences=True))]
    return gaps(keras.Model(x, [layer(y) for layer in layers for y in (x, L.Masking()(x))]))


def models():
    if KERAS >= 3:
        found = {name: operations(names) for name, names in TOGETHER.items()}
        found["renorm"] = single(lambda: of(L.BatchNormalization(renorm=True), (3, 4)))
        found["spectral_embedding"] = single(lambda: of(L.SpectralNormalization(L.Embedding(9, 3)), (4,), "int32"))
        found["random_shear"] = single(lambda: of(L.RandomShear(0.5, 0.25), (4, 3, 3)))
        found["quantized_inside_h5"] = single(quantized_inside)
        found["gated_attention"] = single(gated_attention)
        found["spectral_half"] = single(spectral_half)
        found["octets"] = single(octets)
        found["doubles"] = single(doubles)
        found["half_volumes"] = single(half_volumes)
        found["nearest_antialias"] = single(lambda: of(L.Resizing(3, 4, "nearest", antialias=True), (6, 5, 2)))
        found.update(unrolled_masks=unrolled_masks, masked_or_not=masked_or_not, masked_groups=masked_groups)
        found.update(whole_numbers=single(whole_numbers), wrapped_whole_numbers=single(wrapped_whole_numbers))
        found.update(causal_scores=single(causal_scores), masked_softmax=masked_softmax, masked_blocks=masked_blocks)
        found.update(masks_of_none=masks_of_none, joined_inside=joined_inside, one_of_two_masks=one_of_two_masks)
        found.update(no_masks_inside=no_masks_inside, no_masks_attended=no_masks_attended)
        found.update(masks_through_models=masks_through_models, mask_that_hangs=mask_that_hangs)
        return found, "keras"
    found = {f"local_{n}": single(lambda n=n: of(L.LocallyConnected2D(2, (3, 2), strides=(1, 2), implementation=n), (4, 5, 2)))
             for n in (1, 2, 3)}
    for kind in ("gaussian", "mitchellcubic"):
        found[f"resizing_{kind}"] = single(lambda k=kind: of(L.Resizing(4, 7, k), (6, 5, 2)))
        found[f"up_sampling_{kind}"] = single(lambda k=kind: of(L.UpSampling2D((2, 3), interpolation=k), (None, None, 2)))
    found["conv_lstm_time_major"] = single(lambda: of(L.ConvLSTM1D(2, 2, time_major=True), (3, 5, 2)))
    found["unrolled_masks"] = unrolled_masks
    found["renorm"] = single(lambda: of(L.BatchNormalization(renorm=True), (3, 4)))
    found.update(other_dtypes=single(other_dtypes), half_in_floats=single(half_in_floats), masked_scores=masked_scores)
    found.update(wrapped_dtypes=single(wrapped_dtypes), unseen_scores=unseen_scores, masked_softmax=masked_softmax)
    found.update(half_batch_norm=single(half_batch_norm), batch_statistics=single(batch_statistics))
    found["stored_functions"] = single(stored_functions)
    found["cast_query"] = cast_query
    found.update(masked_blocks=masked_blocks, masks_of_none=masks_of_none, no_masks_inside=no_masks_inside)
    found.update(masks_through_models=masks_through_models)
    found["written_attention"] = single(written_attention)
    found["spectral_embedding"] = single(lambda: of(L.SpectralNormalization(L.Embedding(9, 3)), (4,), "int32"))
    found["conv_lstm_of_any_size"] = single(lambda: of(L.ConvLSTM1D(2, 2), (3, None, 2)))
    found["mean_of_whole_numbers"] = single(mean_of_whole_numbers)
    found["conv1d_of_rows"] = single(lambda: of(L.Conv1D(2, 2), (3, 5, 2)))
    found["training_dropout_lstm"] = single(lambda: training(L.LSTM(3, dropout=0.5)))
    found["training_dropout_inside"] = single(lambda: training(L.TimeDistributed(L.Dropout(0.5))))
    return found, "keras"


def masked_groups():
    """Keras 2 normalises masked steps otherwise, and does not put masked steps behind others without a mask."""
    x = keras.Input((5, 4))
    y = L.Masking()(x)
    joined = L.Concatenate(axis=1)([y, x])
    return gaps(keras.Model(x, [L.GroupNormalization(2)(y), L.LSTM(2)(L.GroupNormalization(2)(y)), L.Dense(2)(joined)]))


def whole_numbers():
    """What Keras 2 gives as floats, or as wider numbers."""
    image, number = keras.Input((5, 4, 3), dtype="uint8"), keras.Input((4,))
    return keras.Model([image, number], [
        L.Resizing(3, 2, "nearest")(image), L.Discretization([-1.0, 0.0, 1.0])(number),
        keras.ops.argmax(number, axis=1)])


def wrapped_whole_numbers():
    """The same of layers that a wrapper calls, and of those that leave no trace in a graph."""
    images, numbers = keras.Input((2, 5, 4, 3), dtype="uint8"), keras.Input((2, 4))
    image = keras.Input((5, 4, 3), dtype="uint8")
    each = L.TimeDistributed
    return keras.Model([images, numbers, image], [
        each(L.Resizing(3, 2, "nearest"))(images), each(L.Discretization([-1.0, 0.0, 1.0]))(numbers),
        each(L.RandomContrast(0.5))(images), each(L.RandomCrop(2, 2))(images), L.RandomContrast(0.5)(image),
        L.RandomBrightness(0.5)(image), L.RandomCrop(2, 2)(image)])


def wrapped_dtypes():
    """What layers in wrappers give as whole numbers, or narrower ones, in Keras 3."""
    images, numbers = keras.Input((2, 5, 4, 3), dtype="uint8"), keras.Input((2, 4))
    rows, image = keras.Input((2, 3), dtype="int64"), keras.Input((5, 4, 3), dtype="uint8")
    each = L.TimeDistributed
    counted = L.IntegerLookup(vocabulary=[3, 7, 11], output_mode="count")
    return keras.Model([images, numbers, rows, image], [
        each(L.Resizing(3, 2))(images), each(each(L.RandomContrast(0.5)))(L.Reshape((2, 1, 5, 4, 3))(images)),
        each(L.Discretization([-1.0, 0.0, 1.0]))(numbers), each(counted)(rows), L.RandomBrightness(0.5)(image),
        L.RandomCrop(2, 2)(image)])


def unseen_scores():
    """Scores that nobody looks at."""
    x = keras.Input((5, 3))
    y = L.Masking()(x)
    return gaps(keras.Model(x, L.MultiHeadAttention(2, 3)(y, y, return_attention_scores=True)[0]))


def causal_scores():
    """No query but sees itself."""
    x = keras.Input((5, 3))
    return keras.Model(x, list(L.MultiHeadAttention(2, 3, dropout=0.2)(
        x, x, use_causal_mask=True, return_attention_scores=True)))


def masked_softmax():
    x, mask = keras.Input((5, 4)), keras.Input((5, 4), dtype="bool")
    rng = np.random.default_rng(5)
    seen = rng.uniform(size=(2, 5, 4)) < 0.6
    seen[0, 2] = False
    return keras.Model([x, mask], L.Softmax()(x, mask=mask)), [rng.normal(size=(2, 5, 4)).astype("float32"), seen]


def other_dtypes():
    """What Keras 3 gives as whole numbers, or narrower ones."""
    image, row = keras.Input((5, 4, 3), dtype="uint8"), keras.Input((3,), dtype="int64")
    number = keras.Input((4,))
    counted = [L.IntegerLookup(vocabulary=[3, 7, 11], output_mode=mode)(row) for mode in ("count", "multi_hot")]
    inside = keras.Sequential([keras.Input((5, 4, 3), dtype="uint8"), L.Resizing(3, 4)])
    places = keras.Sequential([keras.Input((4,)), L.Discretization([-1.0, 0.0, 1.0])])
    return keras.Model([image, row, number], [
        L.RandomContrast(0.5)(image), L.Resizing(3, 2)(image), inside(image), places(number), *counted,
        keras.backend.argmax(number)])


def half_in_floats():
    """TensorFlow resizes to float32; an activation that Keras 3 does not have computes in the layer's dtype."""
    x = keras.Input((3, 4, 2))
    return keras.Model(x, [L.UpSampling2D(2, interpolation="bilinear", dtype="mixed_float16")(x),
                           L.ConvLSTM1D(2, 2, dtype="float16")(x),
                           L.LSTM(2, recurrent_activation="hard_sigmoid", dtype="float16")(L.Reshape((3, 8))(x))])


def half_batch_norm():
    """Keras 2 keeps its weights in float32, whatever the policy."""
    x = keras.Input((4, 3))
    return keras.Model(x, [L.BatchNormalization(dtype=dtype)(x) for dtype in ("float16", "bfloat16")])


def batch_statistics():
    """Keras 2 obeys the call, Keras 3 the model's own `training`."""
    x = keras.Input((4, 3))
    return keras.Model(x, L.BatchNormalization()(x, training=True))


def gated_attention():
    x = keras.Input((5, 4))
    return keras.Model(x, [L.MultiHeadAttention(2, 3, use_gate=True)(x, x),
                           L.GroupQueryAttention(3, 4, 2, use_gate=True, use_bias=False)(x, x)])


def cast_query():
    """Keras 2 does not find the mask of a query that it casts."""
    x = keras.Input((5,), dtype="int32")
    y = L.Embedding(7, 4, mask_zero=True, dtype="float64")(x)
    z = L.MultiHeadAttention(2, 3)(y, y)
    tokens = np.array([[3, 0, 2, 0, 5], [0, 1, 6, 4, 0]], "int32")
    return keras.Model(x, [z, L.LSTM(2)(z)]), [tokens]


def masked_blocks():
    """Since 3.8, MultiHeadAttention of Keras 3 takes the masks away from the tensors that it is called on: in the model
    around it, in others that are called on them later, and on what a dropout gives on."""
    def block(*branches):
        x = keras.Input((5, 4))
        attended = L.MultiHeadAttention(2, 3)(x, x)
        parts = [branch(x, attended) for branch in branches]
        return keras.Model(x, L.Concatenate()(parts) if len(parts) > 1 else parts[0])

    def summed(x, attended):
        return L.LayerNormalization()(L.Add()([L.Dropout(0.1)(x), attended]))

    def before(x, attended):
        return L.LSTM(2, return_sequences=True)(x)

    def after(x, attended):
        return L.Dense(2)(L.LSTM(3, return_sequences=True)(L.Add()([x, attended])))

    x = keras.Input((5,), dtype="int32")
    y = L.Embedding(7, 4, mask_zero=True)(x)
    twice = [L.MultiHeadAttention(2, 3)(y, y), L.MultiHeadAttention(2, 3)(y, L.Dense(4)(y))]
    blocks = [block(summed)(block(summed)(y)), block(summed, before, after)(y), *twice, y]
    tokens = np.array([[3, 0, 2, 0, 5], [0, 1, 6, 4, 0]], "int32")
    return keras.Model(x, [L.GlobalAveragePooling1D()(block) for block in blocks] + twice), [tokens]


def masks_of_none():
    """A list of no masks is an argument, too: what travels with the tensors does not count then."""
    x = keras.Input((5,), dtype="int32")
    y = L.Embedding(7, 4, mask_zero=True)(x)
    found = [layer([y, y], mask=[None, None]) for layer in (L.Attention(), L.AdditiveAttention())]
    tokens = np.array([[3, 0, 2, 0, 5], [0, 1, 6, 4, 0]], "int32")
    return keras.Model(x, found + [L.GlobalAveragePooling1D()(found[0]), L.Attention()([y, y])]), [tokens]


def no_masks_inside():
    """Keras 2 takes a list of no masks for the inputs of a model inside, too; to Keras 3 it says nothing."""
    x = keras.Input((5,), dtype="int32")
    a, b = keras.Input((5, 4)), keras.Input((5, 4))
    inner = keras.Model([a, b], [L.GRU(2)(a), L.GRU(3)(b)])
    y = L.Embedding(7, 4, mask_zero=True)(x)
    tokens = np.array([[3, 0, 2, 0, 5], [0, 1, 6, 4, 0]], "int32")
    return keras.Model(x, inner([y, y], mask=[None, None])), [tokens]


def no_masks_attended():
    """Attention that is told of no masks, one of which was taken before."""
    x = keras.Input((5,), dtype="int32")
    y = L.Embedding(7, 4, mask_zero=True)(x)
    seen = L.Attention()([L.MultiHeadAttention(2, 3)(y, y), y], mask=[None, None])
    return keras.Model(x, [seen, L.GRU(2)(seen)]), [np.array([[3, 0, 2, 0, 5], [0, 1, 6, 4, 0]], "int32")]


def masks_through_models():
    """Masks that Keras 3 loses where Keras 2 keeps them, needed on the other side of a model inside: one that comes out
    of it, one that goes in, and one that goes through two."""
    ids, inner_ids = keras.Input((5,), dtype="int32"), keras.Input((5,), dtype="int32")
    y = L.Embedding(7, 4, mask_zero=True)(inner_ids)
    x = keras.Model(inner_ids, L.Add()([y, L.Conv1D(4, 1)(y)]))(ids)
    lowest, between = keras.Input((5, 4)), keras.Input((5, 4))
    half = L.Average()([lowest, L.Conv1D(4, 2, padding="same")(lowest)])
    below = keras.Model(lowest, [L.GRU(4, return_sequences=True)(half), half])
    first, second = below(L.Dense(4)(between))
    block = keras.Model(between, L.Add()([L.LSTM(4, return_sequences=True)(first), second]))
    z = block(block(x))
    ends = [L.GRU(2)(x), L.LSTM(2)(z), L.GlobalAveragePooling1D()(z)]
    return keras.Model(ids, ends), [np.array([[3, 0, 2, 0, 5], [0, 1, 6, 4, 0]], "int32")]


def mask_that_hangs():
    """A model called on what came out of it: in Keras 2, a mask that its call names hangs on that tensor."""
    ids = keras.Input((5,), dtype="int32")
    x = L.Embedding(7, 4, mask_zero=True)(ids)
    a, b = keras.Input((5, 4)), keras.Input((5, 4))
    inner = keras.Model([a, b], L.Identity()(L.Dense(4)(L.MultiHeadAttention(2, 3)(b, a))))
    once = inner([x, x])
    both = L.Add()([once, inner([once, once])])
    tokens = np.array([[3, 0, 2, 0, 5], [0, 1, 6, 4, 0]], "int32")
    return keras.Model(ids, L.GRU(2)(L.Attention()([both, both]))), [tokens]


def one_of_two_masks():
    """Attention took the mask from its input, which another one is called on together with what came out."""
    x = keras.Input((5,), dtype="int32")
    y = L.Embedding(7, 4, mask_zero=True)(x)
    seen = L.Attention()([L.MultiHeadAttention(2, 3)(y, y), y])
    return keras.Model(x, [seen, L.GRU(2)(seen)]), [np.array([[3, 0, 2, 0, 5], [0, 1, 6, 4, 0]], "int32")]


def joined_inside():
    """A mask behind none, in a model that is called with masks as arguments here and there."""
    ids = keras.Input((5,), dtype="int32")
    y = L.Embedding(7, 4, mask_zero=True)(ids)
    a, b = keras.Input((5, 4)), keras.Input((5, 4))
    pooled = L.GlobalAveragePooling1D()(L.Concatenate(axis=1)([a, b]))
    inner = keras.Model([a, b], L.Add()([L.RepeatVector(1)(pooled), a]))
    tokens = np.array([[3, 0, 2, 0, 5], [0, 1, 6, 4, 0]], "int32")
    attended = L.MultiHeadAttention(2, 3)(y, y)
    first = inner([attended, L.LSTM(4, return_sequences=True)(y)])
    return keras.Model(ids, [L.GRU(2)(first), L.GRU(2)(inner([first, attended]))]), [tokens]


def written_attention():
    """As people write it by hand, and what they put around it."""
    import tensorflow as tf
    x, places = keras.Input((5, 4)), keras.Input((6, 6, 2))
    q, k, v = (L.Dense(3, name=name)(x) for name in "qkv")
    scores = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / 3 ** 0.5)
    y = tf.math.l2_normalize(tf.gather(tf.matmul(scores, v), [0, 2, 1], axis=1), axis=-1)
    z = tf.image.resize(tf.pad(places, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT"), (4, 4))
    return keras.Model([x, places], [y, tf.squeeze(tf.argsort(scores)), tf.nn.space_to_depth(z, 2)])


def quantized_inside():
    """An .h5 has the trainable arrays of a model first, of which a kernel of eight bits is none."""
    x = keras.Input((5,), dtype="int32")
    inner = keras.Sequential([keras.Input((5, 4)), L.Dense(3), L.EinsumDense("abc,cd->abd", (None, 2), bias_axes="d")])
    each = L.TimeDistributed(keras.Sequential([keras.Input((2,)), L.Dense(6)]))
    model = keras.Model(x, L.Dense(2)(each(inner(L.Embedding(9, 4)(x)))))
    kit.randomise(model, np.random.default_rng(kit.seed_of("quantized_inside")))
    model.quantize("int8")
    return model


def spectral_half():
    """The wrapper casts what it gives as it casts what it is given."""
    x = keras.Input((4,))
    policies = ("float16", "float16"), ("float32", "float16"), ("float16", "float32")
    return keras.Model(x, [L.SpectralNormalization(L.Dense(3, dtype=inner), dtype=own)(x) for own, inner in policies])


def mean_of_whole_numbers():
    import tensorflow as tf
    x = keras.Input((3, 4), dtype="int32")
    return keras.Model(x, tf.reduce_mean(x, 1))


def stored_functions():
    """What Keras 2 writes and does not read: a list before a tensor, a dtype's name where it wants the dtype."""
    import tensorflow as tf
    x = keras.Input((3,))
    return keras.Model(x, [tf.fill((2, 3), 1.5) + x, tf.size(x) + tf.rank(x), tf.norm(x, ord=np.inf, axis=1)])


def masked_scores():
    x = keras.Input((5, 3))
    y = L.Masking()(x)
    return gaps(keras.Model(x, L.MultiHeadAttention(2, 3, dropout=0.3)(y, y)))


def octets():
    x, y = keras.Input((4, 5, 2), dtype="uint8"), keras.Input((4, 5, 2), dtype="uint8")
    z = [L.Add(dtype="uint8")([x, y]), L.Maximum(dtype="uint8")([x, y]), L.Concatenate(axis=1, dtype="uint8")([x, y])]
    return keras.Model([x, y], z + [L.UpSampling2D(2, dtype="uint8")(x), L.GlobalMaxPooling2D(dtype="uint8")(y)])


def doubles():
    x = keras.Input((6, 3), dtype="float64")
    y = L.Conv1D(4, 2, activation="elu", dtype="float64")(x)
    y = L.Bidirectional(L.LSTM(3, return_sequences=True, dtype="float64"), dtype="float64")(y)
    return keras.Model(x, [L.AveragePooling1D(2, dtype="float64")(y), L.GRU(2, dtype="float64")(y)])


def half_volumes():
    x = keras.Input((4, 5, 4, 2))
    return keras.Model(x, [L.AveragePooling3D(2, padding=padding, dtype="bfloat16")(x)
                           for padding in ("same", "valid")])


def training(layer):
    x = keras.Input((4, 3))
    return keras.Model(x, layer(x, training=True))


def main():
    os.makedirs(OUT, exist_ok=True)
    found, suffix = models()
    found = {name: build for name, build in found.items() if name in sys.argv[1:] or not sys.argv[1:]}
    for name, build in found.items():
        kit.begin(name)
        model, xs = build()
        if not name.startswith("quantized_"):
            kit.randomise(model, np.random.default_rng(kit.seed_of(name)))
        ys = kit.call(model, xs)
        assert all(np.isfinite(y).all() for y in ys if y.dtype.kind == "f"), name
        model.save(os.path.join(OUT, f"{name}.{'h5' if name.endswith('_h5') else suffix}"))
        if not name.startswith("training_"):
            kit.save_golden(os.path.join(OUT, f"{name}.golden.npz"), xs, ys)
    kit.say(f"{len(found)} models in {os.path.relpath(OUT)}")


if __name__ == "__main__":
    main()
