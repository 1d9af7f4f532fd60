# -*- coding: utf-8 -*-
"""Cases that the tables beside this directory have not, since only old versions write them. For Python 2.7, too.

`cases()` gives (name, options of make.Case). cuDNN's layers are not among them: no session without a GPU holds one.
"""
from kit import K, KERAS, L, NAME, STANDALONE, feed, keras, seed_of
from keras.models import Model, Sequential

FOUND = []


def built(name, build, makers=(), **options):
    def make(rng):
        model = build()
        if KERAS == 1:
            model.compile("sgd", "mse")
        return model, feed(model, rng, makers)
    FOUND.append((name, dict(options, make=make)))


def ids(rng, shape, dtype):
    values = rng.integers(1, 9, shape).astype(dtype)
    values[0, -2:], values[1, 1] = 0, 0
    return values


def gaps(rng, shape, dtype):
    values = rng.normal(0, 1.5, shape).astype(dtype)
    values[0, 1] = values[0, -1] = values[1, 2] = 0
    return values


# --- Keras 1 --------------------------------------------------------------------------------------------------------
def first(name, *makers, **options):
    built("one-" + name, lambda: Sequential([make() for make in makers]), **options)


def one():
    first("dense_options", lambda: L.Dense(4, init="he_normal", W_regularizer="l2", b_constraint="maxnorm",
                                           activity_regularizer="l1", input_dim=5), lambda: L.Dense(2))
    first("dense_batch_shape", lambda: L.Dense(4, batch_input_shape=(2, 5)), lambda: L.Activation("softsign"))
    first("softmax_steps", lambda: L.TimeDistributed(L.Dense(4, activation="softmax"), input_shape=(3, 5)))
    first("activation_steps", lambda: L.TimeDistributed(L.Dense(4), input_shape=(3, 5)), lambda: L.Activation("softmax"))
    for mode in ("sum", "mul", "ave", "concat"):
        first("bidirectional_" + mode, lambda m=mode: L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode=m,
                                                                      input_shape=(6, 3)))
    first("lstm_options", lambda: L.LSTM(4, forget_bias_init="zero", dropout_W=0.2, dropout_U=0.1, unroll=True,
                                         inner_activation="tanh", activation="softsign", input_shape=(6, 3)))
    first("lstm_stateful", lambda: L.LSTM(4, stateful=True, batch_input_shape=(2, 6, 3)))
    first("lstm_backwards_masked", lambda: L.Masking(0.0, input_shape=(6, 3)),
          lambda: L.LSTM(4, go_backwards=True, return_sequences=True), lambda: L.LSTM(3), makers=[gaps])
    for kind in ("LSTM", "GRU", "SimpleRNN"):
        first("masked_bidirectional_" + kind.lower(), lambda: L.Masking(0.0, input_shape=(6, 3)),
              lambda k=kind: L.Bidirectional(getattr(L, k)(3)), makers=[gaps])
    first("free_length", lambda: L.Embedding(9, 4, mask_zero=True), lambda: L.LSTM(3, return_sequences=True),
          lambda: L.GRU(3), makers=[ids])
    for ordering, shape in (("tf", (5, 6, 7, 2)), ("th", (2, 5, 6, 7))):
        options = {"dim_ordering": ordering}
        first("volumes_" + ordering, lambda s=shape, o=options: L.ZeroPadding3D((1, 0, 1), input_shape=s, **o),
              lambda o=options: L.Convolution3D(2, 2, 3, 2, subsample=(1, 2, 1), **o),
              lambda o=options: L.UpSampling3D((1, 2, 1), **o), lambda o=options: L.AveragePooling3D((2, 1, 2), **o),
              lambda o=options: L.MaxPooling3D((1, 2, 1), **o), lambda: L.Flatten(), lambda: L.Dense(2))
        first("cropping3d_" + ordering, lambda s=shape, o=options: L.Cropping3D(((1, 0), (0, 2), (1, 1)), input_shape=s,
                                                                             **o), lambda: L.Flatten(), lambda: L.Dense(2))
    for ordering, shape in (("tf", (8, 7, 3)), ("th", (3, 8, 7))):
        options = {"dim_ordering": ordering}
        first("separable_" + ordering, lambda s=shape, o=options: L.SeparableConvolution2D(
            4, 3, 2, depth_multiplier=2, input_shape=s, **o))
        first("separable_same_" + ordering, lambda s=shape, o=options: L.SeparableConvolution2D(
            4, 3, 3, border_mode="same", bias=False, input_shape=s, **o))
        for kind in ("Max", "Average"):
            first("%s_pooling_same_%s" % (kind.lower(), ordering), lambda k=kind, s=shape, o=options: getattr(
                L, k + "Pooling2D")((3, 3), strides=(1, 1), border_mode="same", input_shape=s, **o), lambda: L.Flatten(),
                lambda: L.Dense(3))
            first("%s_pooling_strides_%s" % (kind.lower(), ordering), lambda k=kind, s=shape, o=options: getattr(
                L, k + "Pooling2D")((3, 2), strides=(2, 3), input_shape=s, **o), lambda: L.Flatten(), lambda: L.Dense(3))
        first("conv2d_full_" + ordering, lambda s=shape, o=options: L.Convolution2D(2, 3, 2, border_mode="full",
                                                                                    input_shape=s, **o))
        first("atrous_same_" + ordering, lambda s=shape, o=options: L.AtrousConvolution2D(
            2, 3, 3, atrous_rate=(2, 2), border_mode="same", input_shape=s, **o))
        first("conv2d_even_same_" + ordering, lambda s=shape, o=options: L.Convolution2D(
            2, 2, 4, border_mode="same", input_shape=s, **o))
        first("locally_strides_" + ordering, lambda s=shape, o=options: L.LocallyConnected2D(
            2, 3, 2, subsample=(2, 1), activation="relu", bias=False, input_shape=s, **o))
    for name, sides in (("four", (1, 0, 2, 1)), ("named", {"top_pad": 1, "left_pad": 2, "right_pad": 1})):
        first("zero_padding_" + name, lambda p=sides: L.ZeroPadding2D(p, input_shape=(4, 5, 2), dim_ordering="tf"),
              lambda: L.Convolution2D(2, 2, 2, dim_ordering="tf"))
    for name, sides in (("two", (1, 2)), ("named", {"right_pad": 2})):
        first("zero_padding_1d_" + name, lambda p=sides: L.ZeroPadding1D(p, input_shape=(4, 3)),
              lambda: L.Convolution1D(2, 2))
    first("conv_lstm_strides", lambda: L.ConvLSTM2D(2, 2, 2, subsample=(2, 1), dim_ordering="tf",
                                                    input_shape=(3, 6, 5, 2)))
    first("conv1d_full", lambda: L.Convolution1D(3, 3, border_mode="full", input_shape=(7, 2)))
    first("conv1d_no_bias", lambda: L.Convolution1D(3, 4, bias=False, activation="tanh", input_dim=2, input_length=7))
    first("global_average_1d", lambda: L.Convolution1D(3, 2, input_shape=(7, 2)), lambda: L.GlobalAveragePooling1D())
    first("average_pooling_1d_same", lambda: L.AveragePooling1D(3, stride=1, border_mode="same", input_shape=(7, 2)))
    first("elu_and_others", lambda: L.ELU(1.3, input_shape=(6,)), lambda: L.ThresholdedReLU(0.2), lambda: L.Dense(3))
    first("embedding_constraint", lambda: L.Embedding(9, 4, W_constraint="nonneg", input_length=5), lambda: L.Flatten(),
          lambda: L.Dense(2), makers=[ids])
    first("masked_dense", lambda: L.Masking(0.0, input_shape=(6, 3)), lambda: L.TimeDistributed(L.Dense(3)),
          lambda: L.Dropout(0.3), lambda: L.Activation("tanh"), lambda: L.GRU(3), makers=[gaps])
    first("time_lstm", lambda: L.TimeDistributed(L.LSTM(3), input_shape=(3, 4, 2)))
    first("time_model", lambda: L.TimeDistributed(Sequential([L.Dense(3, input_dim=4), L.Activation("relu")]),
                                                  input_shape=(3, 4)))
    first("batch_norm_axis", lambda: L.BatchNormalization(axis=1, epsilon=0.01, input_shape=(3, 4)), lambda: L.Flatten(),
          lambda: L.Dense(2))
    for name, build in (("merge_masks", one_merge_masks), ("two_inputs_two_outputs", one_two), ("three_deep", one_deep),
                        ("frozen_model", one_frozen), ("siamese", one_siamese), ("unicode", one_unicode),
                        ("merge_lambda", one_merge_lambda), ("shared_lstm", one_shared_lstm)):
        built("one-" + name, build, makers=[ids] if name == "merge_masks" else ())


def one_merge_masks():
    x = L.Input((6,))
    left, right = L.Embedding(9, 3, mask_zero=True)(x), L.Embedding(9, 3, mask_zero=True)(x)
    return Model(x, [L.LSTM(3)(L.merge([left, right], mode="concat")), L.GRU(2)(L.merge([left, right], mode="sum")),
                     L.LSTM(2)(L.merge([left, right], mode="concat", concat_axis=1))])


def one_two():
    a, b = L.Input((4,), name="first"), L.Input((3,), name="second")
    both = L.merge([L.Dense(3)(a), b], mode="max", name="largest")
    return Model([b, a], [L.Dense(2, name="one")(both), L.merge([both, b], mode="cos", dot_axes=1)])


def one_deep():
    inner = Sequential([L.Dense(4, input_dim=4), L.BatchNormalization()], name="inner")
    middle = Sequential([L.Dense(4, input_dim=5), inner, L.Dense(3)], name="middle")
    return Sequential([middle, L.Dense(2)])


def one_frozen():
    x = L.Input((4,))
    y = L.BatchNormalization(mode=0)(L.Dense(4)(x))
    inner = Model(x, L.BatchNormalization()(L.Dense(3)(y)), name="inner")
    inner.trainable = False
    z = L.Input((4,))
    return Model(z, L.Dense(2)(inner(z)))


def one_siamese():
    tower = Sequential([L.Dense(4, input_dim=5, activation="relu"), L.Dropout(0.1), L.Dense(3)])
    a, b = L.Input((5,)), L.Input((5,))
    distance = L.Lambda(lambda x: K.abs(x[0] - x[1]), output_shape=lambda shapes: shapes[0])([tower(a), tower(b)])
    return Model([a, b], L.Dense(1, activation="sigmoid")(distance))


def one_unicode():
    return Sequential([L.Dense(4, input_dim=5, name=u"größe"), L.Dense(2, name=u"μ σ")])


def one_merge_lambda():
    left, right = Sequential([L.Dense(4, input_dim=5)]), Sequential([L.Dense(4, input_dim=3)])
    return Sequential([L.Merge([left, right], mode=lambda x: x[0] - x[1], output_shape=lambda s: s[0]), L.Dense(2)])


def one_shared_lstm():
    a, b = L.Input((5, 3)), L.Input((5, 3))
    shared = L.LSTM(3, name="shared")
    return Model([a, b], L.Dense(2)(L.merge([shared(a), shared(b)], mode="concat", concat_axis=-1)))


# --- Keras 2 --------------------------------------------------------------------------------------------------------
def two_frozen():
    """A frozen model inside: the order of its weights in the file is another one."""
    x = L.Input((4,))
    y = L.BatchNormalization(name="bn_1")(L.Dense(4, name="d_1")(x))
    inner = Model(x, L.BatchNormalization(name="bn_2")(L.Dense(3, name="d_2")(y)), name="inner")
    inner.layers[1].trainable = False
    z = L.Input((4,))
    outer = Model(z, L.Dense(2)(inner(z)))
    return outer


def two_constraints():
    x = L.Input((6, 6, 2))
    y = L.Conv2D(3, 3, kernel_regularizer=keras.regularizers.l2(0.01), bias_constraint=keras.constraints.max_norm(2),
                 kernel_initializer=keras.initializers.RandomUniform(-0.2, 0.2), activity_regularizer="l2")(x)
    y = L.BatchNormalization(gamma_regularizer="l1", beta_constraint="nonneg")(y)
    return Model(x, L.Dense(2, kernel_constraint=keras.constraints.unit_norm(axis=0))(L.Flatten()(y)))


def two_residual_scale():
    """As keras.applications' InceptionResNetV2 scales a residual."""
    x = L.Input((4, 4, 3))
    y = L.Conv2D(3, 1)(x)
    y = L.Lambda(lambda inputs, scale: inputs[0] + inputs[1] * scale, output_shape=K.int_shape(y)[1:],
                 arguments={"scale": 0.17}, name="block")([x, y])
    return Model(x, L.Dense(2)(L.Flatten()(y)))


def two_lambdas():
    x = L.Input((6, 4))
    y = L.Lambda(lambda x: K.l2_normalize(x, axis=-1), name="norm")(L.Dense(4)(x))
    z = L.Lambda(lambda x: x[:, -1, :], name="last")(L.GRU(3, return_sequences=True)(y))
    mean = L.Lambda(lambda x: K.mean(x, axis=1), output_shape=lambda s: (s[0], s[2]), name="mean")(x)
    return Model(x, [L.Dense(2)(z), L.Dense(2)(mean), L.Lambda(lambda x: x / 127.5 - 1.)(x)])


def two_named(name):
    return lambda: Sequential([L.Dense(4, input_shape=(5,), name=name), L.Activation("tanh"), L.Dense(2)])


def two_old_merge():
    from keras.legacy.layers import Merge
    left, right = Sequential([L.Dense(4, input_shape=(5,))]), Sequential([L.Dense(4, input_shape=(3,))])
    return Sequential([Merge([left, right], mode="concat"), L.Dense(2)])


def two_legacy_layers():
    from keras.legacy.layers import Highway, MaxoutDense
    x = L.Input((5,))
    return Model(x, L.Dense(2)(Highway(activation="tanh")(MaxoutDense(5, nb_feature=3)(x))))


def two_seq2seq():
    source, target = L.Input((None, 3)), L.Input((None, 4))
    _, h, c = L.LSTM(5, return_state=True)(source)
    y, _, _ = L.LSTM(5, return_sequences=True, return_state=True)(target, initial_state=[h, c])
    state = L.GRU(5, return_state=True)(source)[1]
    return Model([source, target], [L.Dense(3, activation="softmax")(y), L.GRU(5)(target, initial_state=state)])


def two_spread(sequential):
    """A model of everything that a beginner's network had."""
    layers = [L.Conv2D(4, (3, 3), padding="same", input_shape=(8, 8, 3)), L.Activation("relu"),
              L.BatchNormalization(axis=-1), L.MaxPooling2D(pool_size=(2, 2)), L.Dropout(0.25),
              L.SeparableConv2D(3, (2, 2), activation="elu"), L.Flatten(), L.Dense(4), L.PReLU(),
              L.Dense(3, activation="softmax")]
    if sequential:
        return Sequential(layers)
    x = y = L.Input((8, 8, 3))
    for layer in layers:
        y = layer(y)
    return Model(x, y)


def two_concat_names():
    a, b = L.Input((4,), name="a"), L.Input((4,), name="b")
    y = L.concatenate([L.Dense(3)(a), L.Dense(3)(b)])
    z = L.add([L.multiply([a, b]), L.average([a, b]), L.maximum([a, b])])
    return Model([a, b], [L.Dense(2)(y), L.dot([z, a], axes=-1, normalize=True)])


def two_time_nested():
    inner = Sequential([L.Conv1D(3, 2, input_shape=(6, 2)), L.BatchNormalization(), L.GlobalMaxPooling1D()])
    x = L.Input((4, 6, 2))
    return Model(x, L.Bidirectional(L.LSTM(3))(L.TimeDistributed(inner)(x)))


def channels_first():
    x = L.Input((3, 8, 7))
    y = L.Conv2D(4, 3, data_format="channels_first", padding="same")(x)
    y = L.BatchNormalization(axis=1)(y)
    y = L.AveragePooling2D(2, data_format="channels_first")(y)
    y = L.Conv2DTranspose(3, 3, strides=2, padding="same", data_format="channels_first")(y)
    return Model(x, L.Dense(2)(L.Flatten()(y)))


def by_default(data_format, build):
    """With Keras' own setting: a layer's configuration may say null, or the setting."""
    def make():
        before = K.image_data_format()
        K.set_image_data_format(data_format)
        try:
            return build()
        finally:
            K.set_image_data_format(before)
    return make


def default_first():
    x = L.Input((3, 8, 7))
    y = L.UpSampling2D(2)(L.MaxPooling2D(2)(L.Conv2D(4, 2)(x)))
    return Model(x, L.Dense(2)(L.Flatten()(L.ZeroPadding2D(1)(y))))


def cells(turned):
    """RNN around a stack of cells, with states in and out; once those of the last cell came first."""
    def build():
        x = L.Input((5, 3))
        states = [L.Input((size,)) for size in ((3, 4, 4) if turned else (4, 4, 3))]
        out = L.RNN([L.LSTMCell(4), L.GRUCell(3)], return_state=True)(x, initial_state=states)
        return Model([x] + states, out)
    return build


def cells_masked():
    """Cells of one size: what a masked step gives may be the state of another cell."""
    x = L.Input((6, 3))
    y = L.RNN([L.GRUCell(3), L.SimpleRNNCell(3)], return_sequences=True)(L.Masking(0.0)(x))
    return Model(x, y)


def pair_masked(kind, **options):
    """Both directions over a sequence whose first, last and middle steps are skipped: what they end with, and each step."""
    def build():
        x = L.Input((6, 3))
        y = L.Masking(0.0)(x)
        last = L.Bidirectional(getattr(L, kind)(3, **options))(y)
        return Model(x, [last, L.Bidirectional(getattr(L, kind)(2, return_sequences=True, **options), merge_mode="sum")(y)])
    return build


def zeros_masked(kind):
    """The option that a Bidirectional sets, set by the user: TensorFlow alone has it."""
    def build():
        x = L.Input((6, 3))
        y = L.Masking(0.0)(x)
        make = lambda **options: getattr(L, kind)(3, zero_output_for_mask=True, **options)
        return Model(x, [make()(y), make(return_sequences=True, go_backwards=True)(y), L.Bidirectional(make())(y)])
    return build


def attention_options():
    q, v = L.Input((4, 3)), L.Input((5, 3))
    return Model([q, v], [L.Attention(use_scale=True)([q, v]), L.AdditiveAttention(use_scale=False)([q, v])])


def ends(rng, shape, dtype):
    values = gaps(rng, shape, dtype)
    values[1, 0] = values[1, -2:] = 0
    return values


def conv_lstm():
    x = L.Input((4, 6, 5, 2))
    y = L.ConvLSTM2D(2, 3, padding="same", return_sequences=True, dropout=0.1)(x)
    return Model(x, L.ConvLSTM2D(2, 2, strides=2, activation="relu", go_backwards=True)(y))


def implementation(kind, number):
    def build():
        x = L.Input((5, 3))
        return Model(x, getattr(L, kind)(4, implementation=number, return_sequences=True)(x))
    return build


def two():
    for kind in ("LSTM", "GRU"):
        for number in (0, 1, 2):
            built("two-%s_implementation_%d" % (kind.lower(), number), implementation(kind, number))
    for name, build in (("frozen_inside", two_frozen), ("constraints", two_constraints), ("lambdas", two_lambdas),
                        ("residual_scale", two_residual_scale), ("old_merge", two_old_merge), ("cells", cells(False)),
                        ("cells_turned", cells(True)),
                        ("legacy_layers", two_legacy_layers), ("seq2seq", two_seq2seq), ("conv_lstm", conv_lstm),
                        ("spread_sequential", lambda: two_spread(True)), ("spread", lambda: two_spread(False)),
                        ("merge_functions", two_concat_names), ("time_nested", two_time_nested),
                        ("unicode", two_named(u"größe μ")), ("dots", two_named("a.b-c/d")),
                        ("channels_first", channels_first),
                        ("default_first", by_default("channels_first", default_first))):
        built("two-" + name, build)
    built("two-cells_masked", cells_masked, [gaps])
    for kind in ("LSTM", "GRU", "SimpleRNN"):
        built("two-pair_masked_" + kind.lower(), pair_masked(kind), [ends])
        built("two-pair_masked_unrolled_" + kind.lower(), pair_masked(kind, unroll=True), [ends])
        if not STANDALONE:
            built("two-zeros_masked_" + kind.lower(), zeros_masked(kind), [ends])
    if hasattr(L, "Attention") and not getattr(L.Attention, "missing", False):
        built("two-attention_options", attention_options)
    built("two-weights_apart", lambda: two_spread(True), save="legacy-weights")
    built("two-yaml", lambda: two_spread(True), save="yaml")
    if not STANDALONE:
        saved_models()


def saved_models():
    """In TensorFlow's own directory, by what each version had for that. Some of these: tracing takes its time."""
    import registry
    chosen = ("dense_relu", "embedding_mask_average", "conv2d_same_strides", "conv1d_causal", "conv2d_transpose",
              "depthwise_conv2d", "separable_conv2d", "batch_norm_4d", "layer_norm", "lstm_sequences", "gru",
              "gru_mask_middle", "bidirectional_lstm_sequences", "time_distributed_dense", "time_distributed_lstm",
              "lstm_initial_state", "nested_three_deep", "shared_dense", "several_inputs_outputs", "sequential",
              "chain_conv_pool_dense", "simple_rnn", "residual_net", "mha", "masking_average")
    for name in chosen:
        known = registry.CASES.get(name)
        if known and seed_of(name + NAME) % 3 == 0:
            built("saved-" + name, known.build, known.makers, save="savedmodel")


def cases():
    del FOUND[:]
    one() if KERAS == 1 else two()
    return FOUND
