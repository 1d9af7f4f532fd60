"""Networks as people write them, small: what `compose.py nets` makes, in the containers of composed models.

A row of NETS is a function that gives a model; the versions of Keras that can build it are in VERSIONS where not both.
"""
from kit import KERAS, keras, np, tf
from keras import Model, Sequential, layers as L

NETS = {}
VERSIONS = {}
X = keras.ops if KERAS >= 3 else None


def net(function=None, only=None):
    """Registers a builder; `only`: the one version of Keras that has what it needs."""
    def register(function):
        if only in (None, KERAS):
            NETS[function.__name__] = function
        return function
    return register(function) if function else register


def concat(tensors, axis=-1):
    return X.concatenate(tensors, axis=axis) if X else tf.concat(tensors, axis)


def shape_of(x):
    return X.shape(x) if X else tf.shape(x)


def ids(name="ids", length=None):
    return keras.Input((length,), dtype="int32", name=name)


def steps(width, name=None, length=None):
    return keras.Input((length, width), name=name)


# --- images ---------------------------------------------------------------------------------------------------------
def conv_block(x, filters, name):
    for number in (1, 2):
        x = L.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}/conv{number}" if KERAS < 3 else None)(x)
        x = L.BatchNormalization()(x)
        x = L.ReLU()(x)
    return x


def unet(size):
    x = keras.Input((size, size, 3), name="image")
    first = conv_block(x, 4, "down1")
    second = conv_block(L.MaxPooling2D()(first), 8, "down2")
    middle = L.SpatialDropout2D(0.2)(conv_block(L.MaxPooling2D()(second), 12, "middle"))
    up = L.Concatenate()([L.Conv2DTranspose(8, 2, strides=2, padding="same")(middle), second])
    up = L.Concatenate()([L.UpSampling2D(interpolation="bilinear")(conv_block(up, 8, "up2")), first])
    return Model(x, L.Conv2D(2, 1, activation="softmax")(conv_block(up, 4, "up1")), name="u_net")


@net
def u_net():
    return unet(16)


@net
def u_net_any_size():
    x = keras.Input((None, None, 2))
    first = L.Conv2D(4, 3, padding="same", activation="relu")(x)
    down = L.Conv2D(6, 3, strides=1, padding="same", activation="relu")(L.AveragePooling2D(1)(first))
    up = L.UpSampling2D(2)(down)
    up = L.Conv2D(4, 2, strides=2, padding="same")(up)
    return Model(x, L.Conv2D(1, 1, activation="sigmoid")(L.Concatenate()([up, first])))


@net
def autoencoder():
    encoder = Sequential([keras.Input((8, 8, 1)), L.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
                          L.Conv2D(6, 3, strides=2, padding="same", activation="relu"), L.Flatten(), L.Dense(5)],
                         name="encoder")
    decoder = Sequential([keras.Input((5,)), L.Dense(24, activation="relu"), L.Reshape((2, 2, 6)),
                          L.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu"),
                          L.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid")], name="decoder")
    x = keras.Input((8, 8, 1))
    code = encoder(x)
    return Model(x, [decoder(code), code], name="autoencoder")


@net
def dcgan_generator():
    return Sequential([keras.Input((7,)), L.Dense(2 * 2 * 8, use_bias=False), L.BatchNormalization(), L.LeakyReLU(),
                       L.Reshape((2, 2, 8)), L.Conv2DTranspose(6, 5, strides=1, padding="same", use_bias=False),
                       L.BatchNormalization(), L.LeakyReLU(),
                       L.Conv2DTranspose(4, 5, strides=2, padding="same", use_bias=False), L.BatchNormalization(),
                       L.LeakyReLU(), L.Conv2DTranspose(3, 5, strides=2, padding="same", activation="tanh")])


@net
def mobile_squeeze():
    def block(x, filters, stride):
        y = L.Conv2D(x.shape[-1] * 2, 1, use_bias=False)(x)
        y = L.ReLU(6.0)(L.BatchNormalization(epsilon=1e-3, momentum=0.999)(y))
        y = L.ZeroPadding2D(((0, 1), (0, 1)))(y) if stride == 2 else y
        y = L.DepthwiseConv2D(3, strides=stride, padding="valid" if stride == 2 else "same", use_bias=False)(y)
        y = L.ReLU(6.0)(L.BatchNormalization()(y))
        gate = L.GlobalAveragePooling2D(keepdims=True)(y)
        gate = L.Conv2D(2, 1, activation="relu")(gate)
        gate = L.Conv2D(y.shape[-1], 1, activation="hard_sigmoid")(gate)
        y = L.BatchNormalization()(L.Conv2D(filters, 1, use_bias=False)(L.Multiply()([y, gate])))
        return L.Add()([x, y]) if stride == 1 and x.shape[-1] == filters else y

    x = keras.Input((16, 16, 3), dtype="uint8" if KERAS >= 3 else None)
    y = L.Rescaling(1 / 127.5, offset=-1)(x)
    y = block(block(block(y, 4, 2), 4, 1), 6, 2)
    y = L.Dropout(0.2)(L.GlobalAveragePooling2D()(L.Activation("swish")(y)))
    return Model(x, L.Dense(5, activation="softmax")(y))


@net
def augmented():
    augment = Sequential([L.RandomFlip("horizontal"), L.RandomRotation(0.1), L.RandomZoom(0.1), L.RandomContrast(0.1)],
                         name="augmentation")
    x = keras.Input((12, 10, 3))
    y = L.Resizing(8, 8)(augment(x))
    y = L.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 0.5, 2.0])(L.Rescaling(2.0)(y))
    y = L.Conv2D(4, 3, activation="relu")(y)
    return Model(x, L.Dense(3)(L.GlobalMaxPooling2D()(y)))


@net
def residual_3d():
    x = keras.Input((4, 6, 6, 1))
    y = L.Conv3D(4, 3, padding="same", activation="relu")(x)
    z = L.Conv3D(4, 3, padding="same")(L.LayerNormalization()(y))
    y = L.MaxPooling3D((1, 2, 2))(L.add([y, z]))
    return Model(x, L.Dense(2)(L.GlobalAveragePooling3D()(y)))


@net
def vision_transformer():
    x = keras.Input((8, 8, 3))
    y = L.Reshape((16, 8))(L.Conv2D(8, 2, strides=2, name="patches")(x))
    positions = L.Embedding(16, 8, name="positions")
    where = X.arange(16) if X else tf.range(16)
    y = y + positions(where)
    for number in range(2):
        z = L.LayerNormalization(epsilon=1e-6)(y)
        y = L.Add()([y, L.MultiHeadAttention(2, 4, dropout=0.1, name=f"attention_{number}")(z, z)])
        z = L.LayerNormalization(epsilon=1e-6)(y)
        z = L.Dense(12, activation="gelu")(z)
        y = L.Add()([y, L.Dense(8)(L.Dropout(0.1)(z))])
    return Model(x, L.Dense(3)(L.Flatten()(L.LayerNormalization()(y))))


@net
def channels_first():
    x = keras.Input((3, 8, 8))
    y = L.Conv2D(4, 3, padding="same", data_format="channels_first")(x)
    y = L.BatchNormalization(axis=1)(y)
    y = L.PReLU(shared_axes=[2, 3])(y)
    y = L.MaxPooling2D(data_format="channels_first")(y)
    y = L.GlobalAveragePooling2D(data_format="channels_first")(y)
    return Model(x, L.Dense(2)(y))


@net
def ocr():
    x = keras.Input((12, 32, 1), name="line")
    y = L.Conv2D(4, 3, activation="relu", padding="same")(x)
    y = L.MaxPooling2D((2, 2))(y)
    y = L.Conv2D(6, 3, activation="relu", padding="same")(y)
    y = L.MaxPooling2D((3, 2))(y)
    y = L.Permute((2, 1, 3))(y)
    y = L.Reshape((-1, 12))(y)
    y = L.Bidirectional(L.LSTM(4, return_sequences=True, dropout=0.2))(y)
    y = L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="sum")(y)
    return Model(x, L.TimeDistributed(L.Dense(7, activation="softmax"), name="letters")(y))


# --- sequences ------------------------------------------------------------------------------------------------------
@net
def wave_net():
    x = steps(1)
    y, skips = L.Conv1D(4, 2, padding="causal")(x), []
    for dilation in (1, 2, 4):
        gate = L.Conv1D(4, 2, padding="causal", dilation_rate=dilation, activation="sigmoid")(y)
        value = L.Conv1D(4, 2, padding="causal", dilation_rate=dilation, activation="tanh")(y)
        z = L.Conv1D(4, 1)(L.Multiply()([gate, value]))
        skips.append(z)
        y = L.Add()([y, z])
    y = L.Conv1D(5, 1, activation="relu")(L.Activation("relu")(L.Add()(skips)))
    return Model(x, L.Conv1D(6, 1, activation="softmax")(y))


@net
def temporal_convolution():
    x = steps(3)
    y = x
    for dilation in (1, 2):
        z = y
        for _ in range(2):
            z = L.Conv1D(4, 3, padding="causal", dilation_rate=dilation)(z)
            z = L.SpatialDropout1D(0.1)(L.Activation("relu")(L.LayerNormalization()(z)))
        y = L.Activation("relu")(L.add([L.Conv1D(4, 1)(y), z]))
    return Model(x, L.Dense(2)(y[:, -1, :]))


def encoder_block(x, heads, width, **how):
    attended = L.MultiHeadAttention(heads, width // heads)(x, x, **how)
    x = L.LayerNormalization(epsilon=1e-6)(x + attended)
    y = L.Dense(width)(L.Dense(10, activation="relu")(x))
    return L.LayerNormalization(epsilon=1e-6)(x + y)


@net
def transformer():
    source, target = ids("source"), ids("target")
    table = L.Embedding(9, 8, mask_zero=True)
    x = encoder_block(table(source), 2, 8)
    y = L.Embedding(9, 8, mask_zero=True)(target)
    y = L.LayerNormalization()(y + L.MultiHeadAttention(2, 4)(y, y, use_causal_mask=True))
    y = L.LayerNormalization()(y + L.MultiHeadAttention(2, 4)(y, x))
    return Model([source, target], L.Dense(9)(y), name="transformer")


@net
def explicit_masks():
    source = ids("source")
    keep = source > 0
    wide = keep[:, None, :]
    x = L.Embedding(9, 8)(source)
    x = encoder_block(x, 2, 8, attention_mask=wide)
    weights = X.cast(keep, "float32") if X else tf.cast(keep, "float32")
    weights = weights[..., None]
    total = X.sum(x * weights, axis=1) if X else tf.reduce_sum(x * weights, axis=1)
    length = X.sum(weights, axis=1) if X else tf.reduce_sum(weights, axis=1)
    return Model(source, L.Dense(3)(total / (length + 1e-3)))


@net
def seq2seq():
    source, target = ids("source"), ids("target")
    x = L.Embedding(9, 4, mask_zero=True)(source)
    sequence, h, c = L.LSTM(4, return_sequences=True, return_state=True, name="encoder")(x)
    y = L.Embedding(9, 4, mask_zero=True)(target)
    y, last_h, last_c = L.LSTM(4, return_sequences=True, return_state=True, name="decoder")(y, initial_state=[h, c])
    context = L.AdditiveAttention()([y, sequence])
    y = L.Concatenate()([y, context])
    return Model([source, target], [L.Dense(9, activation="softmax")(y), last_h, last_c])


@net
def luong():
    source, target = steps(3, "source"), steps(3, "target")
    x, forward, backward = L.Bidirectional(L.GRU(3, return_sequences=True, return_state=True))(L.Masking()(source))
    state = L.Concatenate()([forward, backward])
    y = L.GRU(6, return_sequences=True)(target, initial_state=state)
    scores = L.Softmax()(L.Dot((2, 2))([y, x]))
    context = L.Dot((2, 1))([scores, x])
    return Model([source, target], L.TimeDistributed(L.Dense(2))(L.concatenate([context, y])))


@net
def hierarchical():
    word = ids("words", 5)
    w = L.Bidirectional(L.LSTM(3))(L.Embedding(9, 4, mask_zero=True)(word))
    sentence = Model(word, w, name="sentence")
    x = keras.Input((4, 5), dtype="int32", name="document")
    y = L.TimeDistributed(sentence)(x)
    return Model(x, L.Dense(2, activation="softmax")(L.GRU(3)(y)))


@net
def stacked_cells():
    x = steps(3)
    cells = [L.LSTMCell(3), L.GRUCell(4), L.SimpleRNNCell(2)]
    y = L.RNN(cells, return_sequences=True)(L.Masking()(x))
    both = L.Bidirectional(L.LSTM(2, return_sequences=True), backward_layer=L.GRU(2, return_sequences=True,
                                                                                  go_backwards=True))(y)
    return Model(x, L.Dense(2)(both))


@net
def stateful():
    x = keras.Input(batch_shape=(2, 5, 3)) if KERAS >= 3 else keras.Input(batch_shape=(2, 5, 3))
    return Model(x, L.Dense(2)(L.GRU(3, stateful=True)(L.LSTM(3, stateful=True, return_sequences=True)(x))))


# --- several towers -------------------------------------------------------------------------------------------------
@net
def siamese():
    one = Sequential([keras.Input((8, 8, 1)), L.Conv2D(3, 3, activation="relu"), L.MaxPooling2D(), L.Flatten(),
                      L.Dense(4, activation="sigmoid")], name="tower")
    a, b = keras.Input((8, 8, 1), name="left"), keras.Input((8, 8, 1), name="right")
    x, y = one(a), one(b)
    distance = X.abs(x - y) if X else tf.abs(x - y)
    norm = X.sqrt(X.maximum(X.sum(X.square(x - y), axis=1, keepdims=True), 1e-7)) if X else tf.sqrt(
        tf.maximum(tf.reduce_sum(tf.square(x - y), axis=1, keepdims=True), 1e-7))
    return Model([a, b], [L.Dense(1, activation="sigmoid")(distance), norm])


@net
def two_towers():
    user, item = ids("user", 1), ids("item", 1)
    u = L.Flatten()(L.Embedding(9, 5, name="users")(user))
    i = L.Flatten()(L.Embedding(9, 5, name="items")(item))
    bias = L.Flatten()(L.Embedding(9, 1)(user))
    score = L.Dot(1, normalize=True)([L.Dense(4)(u), L.Dense(4)(i)])
    return Model([user, item], L.Activation("sigmoid")(L.Add()([score, bias])))


@net
def tabular():
    inputs = {"age": keras.Input((1,), name="age"), "kind": keras.Input((1,), dtype="string", name="kind"),
              "code": keras.Input((1,), dtype="int64", name="code"), "amounts": keras.Input((3,), name="amounts")}
    normal = L.Normalization()
    normal.adapt(np.random.default_rng(1).normal(2, 3, (40, 3)).astype("float32"))
    parts = [L.Discretization([-1.0, 0.0, 1.0], output_mode="one_hot")(inputs["age"]),
             L.StringLookup(vocabulary=["red", "blue"], output_mode="one_hot")(inputs["kind"]),
             L.Flatten()(L.Embedding(6, 2)(L.IntegerLookup(vocabulary=[1, 3, 5, 7])(inputs["code"]))),
             normal(inputs["amounts"])]
    y = L.Dense(6, activation="relu")(L.Concatenate()(parts))
    outputs = {"price": L.Dense(1, name="price")(y), "class": L.Dense(3, activation="softmax", name="class")(y)}
    return Model(inputs, outputs)


@net
def mixture_of_experts():
    x = keras.Input((4,))
    gate = L.Dense(3, activation="softmax", name="gate")(x)
    experts = [L.Dense(5, activation="relu", name=f"expert_{n}")(x) for n in range(3)]
    together = X.stack(experts, axis=1) if X else tf.stack(experts, axis=1)
    y = X.sum(together * gate[:, :, None], axis=1) if X else tf.reduce_sum(together * gate[:, :, None], axis=1)
    best = X.argmax(gate, axis=-1) if X else tf.argmax(gate, axis=-1)
    hard = X.one_hot(best, 3) if X else tf.one_hot(best, 3)
    return Model(x, [L.Dense(2)(y), hard * gate])


@net
def radiance_field():
    x = keras.Input((None, 3), name="points")
    sin, cos = (X.sin, X.cos) if X else (tf.sin, tf.cos)
    encoded = concat([x] + [f(x * float(2 ** n)) for n in range(3) for f in (sin, cos)])
    y = encoded
    for number in range(4):
        y = L.Dense(8, activation="relu")(y)
        if number == 2:
            y = concat([y, encoded])
    return Model(x, concat([L.Dense(3, activation="sigmoid")(y), L.Dense(1, activation="softplus")(y)]))


# --- Keras 3 alone --------------------------------------------------------------------------------------------------
@net(only=3)
def gpt():
    x = ids("tokens")
    width, heads = 8, 2
    table = L.ReversibleEmbedding(9, width, name="embedding", dtype="float32")
    y = table(x)
    for _ in range(2):
        z = L.RMSNormalization()(y)
        q, k, v = (X.transpose(X.reshape(L.Dense(width, use_bias=False)(z), (X.shape(z)[0], -1, heads, 4)), (0, 2, 1, 3))
                   for _ in range(3))
        q, k = rotary(q), rotary(k)
        scores = X.matmul(q, X.swapaxes(k, -1, -2)) / 2.0
        length = X.shape(x)[1]
        causal = X.arange(length)[:, None] >= X.arange(length)[None, :]
        scores = X.where(causal[None, None], scores, -1e9)
        z = X.matmul(X.softmax(scores), v)
        z = X.reshape(X.transpose(z, (0, 2, 1, 3)), (X.shape(z)[0], -1, width))
        y = y + L.Dense(width, use_bias=False)(z)
        z = L.RMSNormalization()(y)
        y = y + L.Dense(width)(X.silu(L.Dense(12)(z)) * L.Dense(12)(z))
    return Model(x, table(y, reverse=True))


def rotary(x):
    length = X.shape(x)[2]
    angles = X.cast(X.arange(length), "float32")[:, None] * X.convert_to_tensor([[1.0, 0.1]])
    cos, sin = X.cos(angles), X.sin(angles)
    a, b = x[..., :2], x[..., 2:]
    return X.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


@net(only=3)
def gpt_cached():
    x = keras.Input((1, 8), name="token")
    cache = keras.Input((2, None, 8), name="cache")
    y = L.LayerNormalization()(x)
    k = X.concatenate([cache[:, 0], L.Dense(8)(y)], axis=1)
    v = X.concatenate([cache[:, 1], L.Dense(8)(y)], axis=1)
    scores = X.einsum("bqd,bkd->bqk", L.Dense(8)(y), k) / 8 ** 0.5
    out = x + L.Dense(8)(X.einsum("bqk,bkd->bqd", X.softmax(scores, axis=-1), v))
    return Model([x, cache], {"logits": L.Dense(9)(out), "cache": X.stack([k, v], axis=1)})


@net(only=3)
def speech():
    x = keras.Input((512,), name="wave")
    y = L.MelSpectrogram(num_mel_bins=8, fft_length=64, sequence_stride=32, sampling_rate=4000, max_freq=2000)(x)
    y = X.transpose(y, (0, 2, 1))
    y = L.Conv1D(4, 3, activation="relu")(L.BatchNormalization()(y))
    return Model(x, L.Dense(3)(L.GRU(3)(y)))


@net(only=3)
def spectrogram():
    x = keras.Input((256, 1))
    y = L.STFTSpectrogram(mode="log", frame_length=32, frame_step=16, fft_length=32)(x)
    return Model(x, L.Dense(3)(L.GlobalAveragePooling1D()(L.Dense(4, activation="relu")(y))))


@net(only=3)
def grouped_queries():
    x = steps(8)
    y = L.GroupQueryAttention(4, 4, 2)(x, x, use_causal_mask=True)
    y = L.LayerNormalization()(x + y)
    return Model(x, L.Dense(3)(L.UnitNormalization()(y)))


@net(only=3)
def film():
    image, word = keras.Input((6, 6, 3), name="image"), ids("word", 1)
    code = L.Embedding(9, 8)(word)[:, 0]
    scale, shift = X.split(L.Dense(8)(code), 2, axis=-1)
    y = L.GroupNormalization(2)(L.Conv2D(4, 3)(image))
    y = y * (1 + scale[:, None, None]) + shift[:, None, None]
    return Model({"image": image, "word": word}, L.Dense(2)(X.mean(X.relu(y), axis=(1, 2))))
