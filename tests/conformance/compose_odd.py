"""Models that nobody would draw and somebody has: odd names, tied weights, nothing between input and output, wrapped and
cloned and renamed models. Registered beside those of compose_nets.py.
"""
from kit import KERAS, keras, np, tf
from keras import Model, Sequential, layers as L
from compose_nets import X, ids, net, steps


# --- shapes of models -----------------------------------------------------------------------------------------------
@net
def one_layer():
    x = keras.Input((4,))
    return Model(x, L.Dense(3)(x))


@net
def no_layers():
    x = keras.Input((4,))
    y = keras.Input((3,))
    return Model([x, y], [x, L.Dense(2)(y)])


@net
def identity_alone():
    x = keras.Input((4,))
    return Model(x, L.Activation("linear")(x))


@net
def equal_outputs():
    x = keras.Input((4,))
    y = L.Dense(3)(x)
    return Model(x, [y, y, x])


@net
def equal_outputs_by_name():
    x = keras.Input((4,))
    y = L.Dense(3)(x)
    return Model(x, {"b": y, "a": y, "x": x})


@net
def unused_inputs():
    a, b, c = keras.Input((4,), name="a"), keras.Input((None, 3), name="b"), ids("c")
    return Model([a, b, c], L.Dense(3)(a))


@net
def nested_structures():
    a, b, c = keras.Input((4,), name="a"), keras.Input((4,), name="b"), keras.Input((4,), name="c")
    y = L.Dense(3, name="y")(L.Add()([a, b]))
    z = L.Dense(2, name="z")(c)
    if KERAS >= 3:
        return Model({"left": [a, b], "right": c}, {"first": {"y": y, "z": z}, "second": [L.Multiply()([y, y])]})
    return Model([a, b, c], {"first": y, "second": z})


@net
def inner_dictionaries():
    p, q = keras.Input((3,), name="p"), keras.Input((3,), name="q")
    inner = Model({"q": q, "p": p}, {"s": L.Dense(3)(p) * 2.0, "d": L.Dense(3)(q)}, name="inner")
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    first = inner({"p": a, "q": b})
    second = inner({"p": first["d"], "q": first["s"]})
    return Model([a, b], [second["s"], second["d"], first["s"]])


@net
def deep_nesting():
    def wrap(inside, depth):
        x = keras.Input((4,))
        return Model(x, L.Dense(4, name="dense")(inside(x)), name=f"level_{depth}")
    model = Sequential([keras.Input((4,)), L.Dense(4, name="dense"), L.BatchNormalization(name="dense_1")], name="core")
    for depth in range(4):
        model = wrap(model, depth)
    return model


@net
def sequential_in_sequential():
    inner = Sequential([keras.Input((6, 3)), L.Conv1D(4, 2), L.BatchNormalization()], name="sequential")
    middle = Sequential([keras.Input((6, 3)), inner, L.MaxPooling1D()], name="sequential_1")
    outer = Sequential([keras.Input((6, 3)), middle, L.Flatten(), Sequential([L.Dense(3)], name="head")])
    outer(np.zeros((1, 6, 3), "float32"))
    return outer


@net
def without_input_layer():
    model = Sequential([L.Dense(4, activation="relu"), L.Dense(3)])
    model.build((None, 5))
    return model


@net
def middle_of_another():
    """A model made of the tensors within another, whose layers go by other positions then."""
    x = keras.Input((8, 8, 2))
    y = L.Conv2D(3, 3, name="a")(x)
    z = L.BatchNormalization(name="b")(y)
    whole = Model(x, L.Dense(2)(L.Flatten()(z)))
    inside = Model(whole.get_layer("b").input, whole.layers[-1].output)
    return Model(whole.input, [whole.get_layer("a").output, whole.output]) if KERAS >= 3 else inside


@net
def frozen_backbone():
    x = keras.Input((8, 8, 3))
    y = L.BatchNormalization()(L.Conv2D(4, 3, use_bias=False)(x))
    y = L.SeparableConv2D(3, 2)(L.BatchNormalization()(y))
    backbone = Model(x, L.GlobalAveragePooling2D()(y), name="backbone")
    backbone.trainable = False
    z = keras.Input((8, 8, 3))
    return Model(z, L.Dense(2)(L.Dropout(0.3)(backbone(z, training=False))))


@net
def partly_frozen():
    inner = Sequential([keras.Input((4,)), L.Dense(4), L.BatchNormalization(), L.Dense(4), L.BatchNormalization()])
    inner.layers[1].trainable = False
    inner.layers[2].trainable = False
    x = keras.Input((4,))
    return Model(x, L.Dense(2)(inner(x)))


@net
def training_passed():
    x = keras.Input((4,))
    y = L.BatchNormalization()(x, training=False)
    y = L.Dropout(0.4)(y, training=False)
    return Model(x, L.Dense(3)(y))


# --- names ----------------------------------------------------------------------------------------------------------
@net
def clashing_names():
    x = keras.Input((4,), name="dense")
    y = L.Dense(4, name="Dense")(x)
    y = L.Dense(4, name="DENSE")(y)
    y = L.Dense(4, name="dense_1")(y)
    inner = Sequential([keras.Input((4,)), L.Dense(4, name="dense_1"), L.Dense(4, name="Dense_1")], name="model")
    return Model(x, L.Dense(3, name="model_1")(inner(y)), name="model")


@net
def odd_names():
    x = keras.Input((4,), name="input:0" if KERAS >= 3 else "input.0")
    names = (["a b", "a:b", "ä/b".replace("/", "|"), "日本", "a\\b", "..", "a'b\"c"] if KERAS >= 3
             else ["a.b", "a-b", "a/b", "A/b", "a/b/c", "a>b", "a\\b"])
    for name in names:
        x_ = L.Dense(4, name=name)(x if name == names[0] else x_)
    return Model(x, x_, name="my model" if KERAS >= 3 else "my.model")


@net
def names_of_words():
    x = keras.Input((4,), name="class")
    y = L.Dense(4, name="self")(x)
    y = L.Dense(4, name="def")(y)
    y = L.Dense(4, name="forward")(y)
    y = L.Dense(4, name="weight")(y)
    return Model(x, [L.Dense(2, name="return")(y), L.Dense(2, name="None")(y)], name="import")


@net
def renamed():
    x = keras.Input((4,))
    model = Model(x, L.Dense(3)(L.Dense(4)(x)))
    for layer in model.layers[1:]:
        if KERAS >= 3:
            layer.name = "new_" + layer.name
        else:
            layer._name = "new_" + layer.name
    return model


@net
def cloned():
    x = steps(3)
    y = L.LSTM(4, return_sequences=True)(L.Masking()(x))
    model = Model(x, L.Dense(2)(L.Attention()([y, y])))
    return keras.models.clone_model(model)


@net
def transplanted():
    """Layers of one model in another: their first calls are elsewhere."""
    a = keras.Input((4,))
    one = Model(a, L.Dense(4, name="shared")(a), name="one")
    shared = one.get_layer("shared")
    b = keras.Input((4,))
    return Model(b, L.Add()([one(shared(b)), shared(one(b))]))


# --- weights --------------------------------------------------------------------------------------------------------
@net
def spectral():
    x = keras.Input((8, 8, 2))
    y = L.SpectralNormalization(L.Conv2D(3, 3))(x) if hasattr(L, "SpectralNormalization") else L.Conv2D(3, 3)(x)
    return Model(x, L.SpectralNormalization(L.Dense(2))(L.Flatten()(y)))


@net
def shared_everything():
    dense, norm, rnn = L.Dense(3), L.BatchNormalization(), L.GRU(3, return_sequences=True)
    a, b = steps(3, "a"), steps(3, "b")
    x, y = rnn(norm(dense(a))), rnn(norm(dense(b)))
    z = L.TimeDistributed(dense)(x)
    return Model([a, b], [L.Concatenate(axis=1)([x, y, z]), norm(z)])


@net
def tied():
    x = ids("x")
    if KERAS < 3:
        table = L.Embedding(9, 4)
        return Model(x, L.Add()([table(x), table(x)]))
    table = L.ReversibleEmbedding(9, 4, tie_weights=True, logit_soft_cap=3.0)
    return Model(x, table(L.LayerNormalization()(table(x)), reverse=True))


@net
def untied():
    x = ids("x")
    if KERAS < 3:
        return Model(x, L.Embedding(9, 4)(x))
    table = L.ReversibleEmbedding(9, 4, tie_weights=False)
    return Model(x, table(L.Dense(4, activation="relu")(table(x)), reverse=True))


# --- types ----------------------------------------------------------------------------------------------------------
@net
def policies():
    x = keras.Input((4,))
    y = L.Dense(4, dtype="float64")(x)
    y = L.Dense(4, dtype="mixed_float16")(y)
    y = L.BatchNormalization(dtype="mixed_float16")(y)
    y = L.Dense(4, activation="softmax", dtype="float32")(y)
    return Model(x, [y, L.LSTM(3, dtype="mixed_float16")(L.Reshape((2, 2), dtype="float16")(y))])


@net
def mixed():
    x = keras.Input((8, 8, 3))
    y = L.Conv2D(4, 3, dtype="mixed_float16", activation="relu")(x)
    y = L.BatchNormalization(dtype="mixed_float16")(y)
    y = L.GlobalAveragePooling2D(dtype="mixed_float16")(y)
    return Model(x, L.Dense(2, dtype="float32")(y))


@net
def distributed_policies():
    x = steps(4)
    y = L.TimeDistributed(L.Dense(3, dtype="mixed_float16"))(x)
    y = L.TimeDistributed(L.BatchNormalization(), dtype="float32")(y)
    return Model(x, L.Bidirectional(L.LSTM(2, return_sequences=True, dtype="float32"))(y))


@net
def bytes_in():
    x = keras.Input((6, 6, 3), dtype="uint8")
    y = L.Rescaling(1 / 255)(x)
    return Model(x, L.Dense(2)(L.GlobalAveragePooling2D()(L.Conv2D(3, 3)(y))))


@net
def flags_in():
    x, keep = steps(3, "x", 5), keras.Input((5,), dtype="bool", name="keep")
    y = L.LSTM(3)(x, mask=keep)
    z = L.GRU(3, return_sequences=True)(x, mask=keep)
    z = L.GlobalAveragePooling1D()(z, mask=keep)
    return Model([x, keep], [y, z])


@net
def mask_through():
    x = ids("x")
    y = L.Embedding(9, 4, mask_zero=True)(x)
    y = L.Dropout(0.1)(L.LayerNormalization()(y))
    y = L.Activation("tanh")(L.Dense(4)(y))
    both = L.Bidirectional(L.LSTM(3, return_sequences=True))(y)
    y = L.Concatenate()([both, y])
    pooled = L.GlobalAveragePooling1D()(y)
    attended = L.MultiHeadAttention(1, 3)(y, y)
    return Model(x, [L.Dense(2)(pooled), attended, L.GRU(2, go_backwards=True)(y), L.TimeDistributed(L.Dense(1))(y)])


@net
def operators():
    x, z = steps(4, "x", 6), steps(4, "z", 6)
    y = -x + 1.5
    y = y[:, 1:] * z[:, :-1] / 2.0
    y = y @ (X.transpose(z, (0, 2, 1)) if X else tf.transpose(z, (0, 2, 1)))
    y = (X.where(y > 0.2, y, y * 0.1) if X else tf.where(y > 0.2, y, y * 0.1)) ** 2
    return Model([x, z], [abs(y) % 1.3, y[..., ::2], (2 - x)[:, -1], 1.0 / (x * x + 1)])


@net(only=3)
def floor_and_power():
    x = steps(4, "x", 6)
    y = x // 0.7
    return Model(x, [y, X.power(X.abs(x) + 0.1, 1.7), X.mod(x, 2.0), X.round(x * 3), X.sign(x)])


@net(only=3)
def einsum_and_topk():
    x, z = steps(4, "x", 6), steps(4, "z", 6)
    y = X.einsum("btd,bsd->bts", x, z)
    values, where = X.top_k(y, 3)
    taken = X.take_along_axis(y, where, axis=-1)
    return Model([x, z], [values, taken - 1.0, X.argmax(y, axis=1), X.cumsum(y, axis=1), X.sort(y, axis=-1)])
