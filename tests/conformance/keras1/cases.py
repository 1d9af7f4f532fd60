"""The models of Keras 1 by name: (how it is built, vocabulary of its inputs or 0 for numbers). For Python 2.7, too."""
from keras.layers import *  # noqa: F403  the names of Keras 1, all of them
from keras import backend as K
from keras.models import Model, Sequential

CASES = {}


def case(name, build, integers=0):
    assert name not in CASES, name
    CASES[name] = (build, integers)


def first(name, *makers, **options):
    """Layers, built only when asked for; the first brings its own shape, as Keras 1 models mostly do."""
    case(name, lambda: Sequential([make() for make in makers]), **options)


first("dense", lambda: Dense(4, input_dim=5, activation="tanh"), lambda: Dense(3, bias=False))
first("dense_activations", lambda: Dense(6, input_shape=(5,)), lambda: Activation("hard_sigmoid"),
      lambda: Dropout(0.5), lambda: Dense(4, activation="softplus"), lambda: Activation("softmax"))
for ordering, shape in (("tf", (8, 7, 3)), ("th", (3, 8, 7))):
    conv = dict(dim_ordering=ordering)
    first("conv2d_" + ordering, lambda shape=shape, conv=conv: Convolution2D(4, 3, 2, input_shape=shape, **conv),
          lambda: Activation("relu"), lambda: Flatten(), lambda: Dense(3))
    first("conv2d_same_" + ordering,
          lambda shape=shape, conv=conv: Convolution2D(4, 3, 3, border_mode="same", input_shape=shape, **conv))
    first("conv2d_strides_" + ordering,
          lambda shape=shape, conv=conv: Convolution2D(4, 3, 2, subsample=(2, 1), bias=False, input_shape=shape, **conv))
    first("atrous_conv2d_" + ordering,
          lambda shape=shape, conv=conv: AtrousConvolution2D(4, 2, 2, atrous_rate=(2, 2), input_shape=shape, **conv))
    first("small_cnn_" + ordering,
          lambda shape=shape, conv=conv: ZeroPadding2D((1, 2), input_shape=shape, **conv),
          lambda conv=conv: Convolution2D(4, 3, 3, activation="relu", **conv),
          lambda conv=conv, o=ordering: BatchNormalization(axis=1 if o == "th" else -1),
          lambda conv=conv: MaxPooling2D((2, 2), strides=(2, 2), **conv),
          lambda conv=conv: UpSampling2D((2, 1), **conv),
          lambda conv=conv: Cropping2D(((1, 0), (1, 1)), **conv),
          lambda conv=conv: SpatialDropout2D(0.2, **conv),
          lambda conv=conv: AveragePooling2D((2, 2), **conv),
          lambda: Flatten(), lambda: Dense(3))
    first("global_average_pooling_" + ordering,
          lambda shape=shape, conv=conv: GlobalAveragePooling2D(input_shape=shape, **conv), lambda: Dense(2))
    first("zero_padding_sides_" + ordering,
          lambda shape=shape, conv=conv: ZeroPadding2D((1, 0, 2, 1), input_shape=shape, **conv),
          lambda conv=conv: Convolution2D(2, 2, 2, **conv))
    first("locally_connected_2d_" + ordering,
          lambda shape=shape, conv=conv: LocallyConnected2D(2, 3, 2, input_shape=shape, **conv))
    first("deconvolution_" + ordering,
          lambda shape=shape, conv=conv, o=ordering: Deconvolution2D(
              4, 3, 2, output_shape=(None, 4, 17, 14) if o == "th" else (None, 17, 14, 4), subsample=(2, 2),
              input_shape=shape, **conv))
    first("global_max_pooling_" + ordering, lambda shape=shape, conv=conv: GlobalMaxPooling2D(input_shape=shape, **conv),
          lambda: Dense(2))
first("conv3d_tf", lambda: Convolution3D(2, 2, 2, 3, input_shape=(5, 4, 5, 2), dim_ordering="tf"))
first("conv3d_th", lambda: Convolution3D(2, 2, 2, 3, input_shape=(2, 5, 4, 5), dim_ordering="th"),
      lambda: MaxPooling3D((2, 1, 1), dim_ordering="th"), lambda: Flatten(), lambda: Dense(2))
first("conv1d", lambda: Convolution1D(4, 3, input_shape=(9, 3), activation="relu"), lambda: MaxPooling1D(2),
      lambda: Convolution1D(3, 3, border_mode="same"), lambda: GlobalMaxPooling1D())
first("conv1d_strides", lambda: Convolution1D(4, 2, subsample_length=2, input_shape=(9, 3)))
first("theano_padding", lambda: Convolution1D(3, 2, border_mode="same", input_shape=(9, 3)), lambda: MaxPooling1D(2),
      lambda: Convolution1D(3, 3, border_mode="same", subsample_length=2))
first("atrous_conv1d", lambda: AtrousConvolution1D(4, 3, atrous_rate=2, input_shape=(9, 3)))
first("sequence_shapes", lambda: ZeroPadding1D(2, input_shape=(6, 3)), lambda: Cropping1D((1, 0)),
      lambda: UpSampling1D(2), lambda: AveragePooling1D(pool_length=3, stride=2), lambda: Permute((2, 1)),
      lambda: Reshape((-1, 3)), lambda: TimeDistributed(Dense(2)))
first("locally_connected_1d", lambda: LocallyConnected1D(3, 2, input_shape=(6, 3)))
for kind in (LSTM, GRU, SimpleRNN):
    low = kind.__name__.lower()
    first(low, lambda kind=kind: kind(4, input_shape=(6, 3)))
    first(low + "_sequences", lambda kind=kind: kind(4, input_dim=3, input_length=6, return_sequences=True),
          lambda kind=kind: kind(3, go_backwards=True))
    first(low + "_gpu", lambda kind=kind: kind(4, input_shape=(6, 3), consume_less="gpu", activation="relu"))
    first(low + "_mem", lambda kind=kind: kind(4, input_shape=(6, 3), consume_less="mem", inner_activation="sigmoid")
          if kind is not SimpleRNN else kind(4, input_shape=(6, 3), consume_less="mem"))
    first("bidirectional_" + low, lambda kind=kind: Bidirectional(kind(3, return_sequences=True), input_shape=(6, 3)),
          lambda kind=kind: Bidirectional(kind(2), merge_mode="sum"))
first("embedding_lstm", lambda: Embedding(9, 4, input_length=6, mask_zero=True), lambda: LSTM(3), integers=9)
first("embedding_conv", lambda: Embedding(9, 4, input_length=8, dropout=0.2), lambda: Convolution1D(3, 3),
      lambda: Flatten(), lambda: Dense(2), integers=9)
first("masking_gru", lambda: Masking(0.0, input_shape=(6, 3)), lambda: GRU(3, return_sequences=True),
      lambda: TimeDistributed(Dense(2)))
first("conv_lstm_2d", lambda: ConvLSTM2D(2, 3, 3, input_shape=(4, 5, 6, 2), dim_ordering="tf", border_mode="same"))
first("conv_lstm_2d_th", lambda: ConvLSTM2D(2, 3, 3, input_shape=(4, 2, 5, 6), dim_ordering="th", border_mode="same",
                                            return_sequences=True))
first("batch_normalization", lambda: BatchNormalization(input_shape=(5,)), lambda: Dense(3))
first("batch_normalization_mode_1", lambda: BatchNormalization(mode=1, input_shape=(5,)), lambda: Dense(3))
first("batch_normalization_mode_2", lambda: BatchNormalization(mode=2, input_shape=(5,)), lambda: Dense(3))
first("noise", lambda: GaussianNoise(0.3, input_shape=(5,)), lambda: GaussianDropout(0.3),
      lambda: ActivityRegularization(0.1), lambda: Dense(3))
first("maxout", lambda: MaxoutDense(4, nb_feature=3, input_dim=5), lambda: Dense(2))
first("maxout_no_bias", lambda: MaxoutDense(4, nb_feature=2, bias=False, input_dim=5))
first("highway", lambda: Highway(activation="tanh", input_dim=5), lambda: Dense(2))
first("highway_no_bias", lambda: Highway(bias=False, input_dim=5))
first("time_distributed_dense", lambda: TimeDistributedDense(4, input_shape=(6, 3), activation="relu"),
      lambda: Flatten(), lambda: Dense(2))
first("srelu", lambda: SReLU(input_shape=(5,)), lambda: Dense(3))
first("srelu_shared", lambda: Convolution2D(3, 2, 2, input_shape=(5, 6, 2), dim_ordering="tf"),
      lambda: SReLU(shared_axes=[1, 2]))
first("prelu", lambda: PReLU(input_shape=(5,)), lambda: Dense(3))
first("prelu_shared", lambda: Convolution2D(3, 2, 2, input_shape=(5, 6, 2), dim_ordering="tf"),
      lambda: PReLU(shared_axes=[1, 2]))
first("parametric_softplus", lambda: ParametricSoftplus(input_shape=(5,)), lambda: Dense(3))
first("other_activations", lambda: LeakyReLU(0.2, input_shape=(5,)), lambda: Dense(6), lambda: ELU(0.7),
      lambda: Dense(6), lambda: ThresholdedReLU(0.3), lambda: RepeatVector(3), lambda: Flatten(), lambda: Dense(2))
first("time_distributed_cnn", lambda: TimeDistributed(Convolution2D(2, 2, 2, dim_ordering="th"), input_shape=(3, 2, 5, 4)),
      lambda: TimeDistributed(Flatten()), lambda: LSTM(3))
for mode in ("sum", "mul", "concat", "ave", "max", "dot", "cos"):
    def branches(mode=mode):
        left = Sequential([Dense(4, input_dim=5), Activation("tanh")])
        right = Sequential([Dense(4, input_dim=3)])
        options = {"dot_axes": 1} if mode in ("dot", "cos") else {}
        model = Sequential([Merge([left, right], mode=mode, **options)])
        if mode == "cos":
            model.add(Flatten())
        model.add(Dense(3))
        return model
    case("merge_" + mode, branches)


def merged_thrice():
    inner = Sequential([Merge([Sequential([Dense(3, input_dim=4)]), Sequential([Dense(3, input_dim=2)])], mode="sum"),
                        Activation("tanh")])
    return Sequential([Merge([inner, Sequential([Dense(2, input_dim=3)])], mode="concat"), Dense(2)])


def functional():
    a, b = Input((5,), name="a"), Input((5,), name="b")
    shared = Dense(4, activation="tanh", name="shared")
    x = merge([shared(a), shared(b)], mode="concat", name="both")
    return Model(input=[a, b], output=[Dense(3, name="one")(x), Dense(2, name="two")(merge([x, x], mode="mul"))])


def nested():
    inner = Sequential([Dense(4, input_dim=5), BatchNormalization()], name="inner")
    x = Input((5,))
    return Model(x, Dense(2)(merge([inner(x), inner(Dense(5)(x))], mode="ave")))


def nested_frozen():
    inner = Sequential([Dense(4, input_dim=5), BatchNormalization(), Dense(3)], name="inner")
    inner.layers[0].trainable = False
    return Sequential([inner, Dense(2)])


def attention_dot():
    a, b = Input((4, 3)), Input((5, 3))
    return Model([a, b], Flatten()(merge([LSTM(3, return_sequences=True)(a), b], mode="dot", dot_axes=[2, 2])))


def merged_model():
    x = Input((5,), name="x_in")
    branch = Model(x, Dense(3)(x))
    return Sequential([Merge([branch, Sequential([Dense(3, input_dim=2)])], mode="mul"), Dense(2)])


case("merge_nested", merged_thrice)
case("merge_of_a_model", merged_model)
case("functional", functional)
case("nested", nested)
case("nested_frozen", nested_frozen)
case("merge_dot_sequences", attention_dot)
# Functions that are found by the digest of their code.
first("lambda", lambda: Dense(4, input_dim=5), lambda: Lambda(lambda x: x * 2.5 - 1),
      lambda: Lambda(lambda x: K.l2_normalize(x, axis=1)), lambda: Lambda(lambda x: x[:, 1:], output_shape=(3,)), lambda: Dense(3))
