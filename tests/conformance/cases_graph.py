"""Cases: kinds of models, the call graph, names, weights files, and what must be refused."""
import keras
from keras import Input, Model, Sequential, layers as L

from kit import KERAS
from registry import add, layer, stack


# --- Sequential -----------------------------------------------------------------------------------------------------
def sequential_first_layer():
    if KERAS < 3:
        return Sequential([L.Dense(4, activation="relu", input_shape=(5,)), L.Dense(3)])
    return Sequential([Input((5,)), L.Dense(4, activation="relu"), L.Dense(3)])


def sequential_deferred():
    """Built by its first call: no InputLayer was ever written by hand."""
    model = Sequential([L.Dense(4, activation="relu"), L.Dense(3)])
    model.build((None, 5))
    return model


def sequential_nested():
    head = Sequential([Input((4,)), L.Dense(4, activation="relu"), L.BatchNormalization()], name="head")
    return Sequential([Input((5,)), L.Dense(4), head, L.Dense(2)])


def sequential_batch_shape():
    return Sequential([L.InputLayer(batch_shape=(2, 5)) if KERAS >= 3 else L.InputLayer(batch_input_shape=(2, 5)),
                       L.Dense(3)])


add("sequential", sequential_first_layer)
add("sequential_nested", sequential_nested)
add("sequential_batch_shape", sequential_batch_shape)
add("sequential_deferred", sequential_deferred)


# --- Functional -----------------------------------------------------------------------------------------------------
def shared_dense():
    a, b = Input((5,), name="a"), Input((5,), name="b")
    shared = L.Dense(4, activation="tanh", name="shared")
    return Model([a, b], L.Concatenate(name="both")([shared(a), shared(b)]))


def shared_in_chain():
    x = Input((4,), name="x")
    shared, other = L.Dense(4, name="shared"), L.Dense(4, activation="tanh", name="other")
    return Model(x, shared(other(shared(x))))


def siamese():
    tower = Sequential([Input((6, 6, 1)), L.Conv2D(2, 3, activation="relu"), L.Flatten(), L.Dense(4)], name="tower")
    left, right = Input((6, 6, 1), name="left"), Input((6, 6, 1), name="right")
    return Model([left, right], L.Dot(axes=1, normalize=True, name="cosine")([tower(left), tower(right)]))


def nested_three_deep():
    i = Input((4,), name="inner_in")
    inner = Model(i, L.Dense(4, activation="tanh", name="dense")(L.BatchNormalization(name="bn")(i)), name="inner")
    m = Input((4,), name="middle_in")
    middle = Model(m, L.Add(name="sum")([inner(m), L.Dense(4, name="beside")(m)]), name="middle")
    x = Input((5,), name="x")
    return Model(x, L.Dense(2, name="last")(middle(L.Dense(4, name="first")(x))), name="outer")


def nested_shared():
    i = Input((4,), name="inner_in")
    inner = Model(i, L.Dense(4, activation="tanh", name="dense")(i), name="inner")
    a, b = Input((4,), name="a"), Input((4,), name="b")
    return Model([a, b], L.Subtract(name="difference")([inner(inner(a)), inner(b)]))


def nested_two_in_two_out():
    p, q = Input((3,), name="p"), Input((4,), name="q")
    s = L.Dense(3, name="mix")(L.Concatenate(name="join")([p, q]))
    inner = Model([p, q], [L.Add(name="plus")([s, p]), L.Dense(2, name="side")(q)], name="inner")
    a, b = Input((4,), name="a"), Input((3,), name="b")
    plus, side = inner([b, a])
    return Model([a, b], [L.Dense(2, name="out_1")(side), L.Dense(3, name="out_2")(plus)])


def nested_with_batch_norms(frozen):
    """Two BatchNormalizations and two Dense inside: the order of the stored arrays depends on trainable."""
    def build():
        i = Input((4,), name="inner_in")
        x = L.BatchNormalization(name="bn_1")(L.Dense(4, name="dense_1")(i))
        x = L.BatchNormalization(name="bn_2")(L.Dense(4, activation="tanh", name="dense_2")(x))
        inner = Model(i, x, name="inner")
        if frozen == "all":
            inner.trainable = False
        elif frozen == "some":
            inner.get_layer("dense_1").trainable = False
            inner.get_layer("bn_2").trainable = False
        x = Input((4,), name="x")
        return Model(x, L.Dense(2, name="last")(inner(x)))
    return build


def frozen_layers():
    x = Input((4,), name="x")
    y = L.BatchNormalization(name="bn", trainable=False)(L.Dense(4, name="dense", trainable=False)(x))
    return Model(x, L.Dense(3, name="last")(y))


def several_inputs_outputs():
    image, words, number = (Input((6, 6, 1), name="image"), Input((5,), dtype="int32", name="words"),
                            Input((2,), name="number"))
    i = L.GlobalAveragePooling2D(name="pool")(L.Conv2D(3, 3, name="conv")(image))
    w = L.Flatten(name="flat")(L.Embedding(9, 2, name="embedding")(words))
    joined = L.Concatenate(name="joined")([i, w, number])
    return Model([number, image, words], [L.Dense(3, activation="softmax", name="label")(joined),
                                          L.Dense(1, name="score")(joined)])


def one_output_twice():
    x = Input((4,), name="x")
    y = L.Dense(3, name="y")(x)
    return Model(x, [y, L.Activation("tanh", name="t")(y), y])


def input_as_output():
    x = Input((4,), name="x")
    return Model(x, [x, L.Dense(3, name="y")(x)])


def dictionary_outputs():
    x = Input((4,), name="x")
    return Model(x, {"b": L.Dense(3, name="first")(x), "a": L.Dense(2, name="second")(x)})


def odd_names():
    free = KERAS >= 3  # Keras 2 names become TensorFlow scopes, which allow less
    x = Input((4,), name="the input" if free else "the.input")
    y = L.Dense(4, name="dense:0 (first)" if free else "dense.0-first\\>")(x)
    y = L.BatchNormalization(name="Größe.μ" if free else "0_1")(y)
    return Model(x, L.Dense(3, name="kernel")(y), name="model_weights")


def slash_names():
    x = Input((4,), name="x")
    y = L.Dense(4, name="block/one/dense")(x)
    y = L.Dense(4, name="block/one/dense_1", activation="tanh")(y)
    return Model(x, L.Dense(3, name="block/two")(y))


def slash_names_in_nested():
    i = Input((4,), name="inner/in")
    inner = Model(i, L.BatchNormalization(name="a/bn")(L.Dense(4, name="a/dense")(i)), name="in/ner")
    x = Input((4,), name="x")
    return Model(x, L.Dense(2, name="out/dense")(inner(x)))


def deep_chain():
    x = y = Input((4,), name="x")
    for i in range(24):
        y = L.Add(name=f"add_{i}")([y, L.Dense(4, activation="tanh", name=f"dense_{i}")(y)])
    return Model(x, y)


def alphabet_order():
    """Names whose alphabetical order is the reverse of their order in the model."""
    x = Input((4,), name="x")
    y = L.Dense(4, name="z")(x)
    y = L.Dense(4, name="m")(y)
    return Model(x, L.Dense(4, name="a")(y))


def residual_net():
    x = Input((8, 8, 3), name="image")
    y = L.Conv2D(4, 3, padding="same", name="stem")(x)
    for i in range(2):
        z = L.ReLU(name=f"relu_{i}")(L.BatchNormalization(name=f"bn_{i}")(y))
        z = L.Conv2D(4, 3, padding="same", use_bias=False, name=f"conv_{i}")(z)
        y = L.Add(name=f"add_{i}")([y, z])
    y = L.Concatenate(name="joined")([y, L.AveragePooling2D(2, strides=1, padding="same", name="average")(y)])
    return Model(x, L.Dense(3, name="last")(L.GlobalAveragePooling2D(name="pool")(y)))


for build in (shared_dense, shared_in_chain, siamese, nested_three_deep, nested_shared, nested_two_in_two_out,
              frozen_layers, several_inputs_outputs, one_output_twice, input_as_output, dictionary_outputs, odd_names,
              deep_chain, alphabet_order, residual_net):
    add(build.__name__, build)
add("slash_names", slash_names, only=2)
add("slash_names_in_nested", slash_names_in_nested, only=2)
add("nested_trainable", nested_with_batch_norms("none"))
add("nested_frozen", nested_with_batch_norms("all"))
add("nested_partly_frozen", nested_with_batch_norms("some"))


# --- chunked attributes ---------------------------------------------------------------------------------------------
LONG = "n" * 4000     # arrays of names are as wide as their longest: 17 of these overflow 64512 bytes


def long_names():
    x = y = Input((3,), name="x")
    for i in range(8):
        y = L.Dense(3, name=f"dense_{i}")(y)
        y = L.Activation("tanh", name=f"tanh_{i}")(y)
    return Model(x, L.Dense(2, name=f"last_{LONG}")(y))


def long_names_nested():
    """One nested model whose weight names alone overflow an attribute."""
    inner = Sequential([Input((3,))] + [L.Dense(3, name=f"d_{i}") for i in range(8)]
                       + [L.Dense(3, name=f"last_{LONG}")], name="inner")
    x = Input((3,), name="x")
    return Model(x, L.Dense(2, name="last")(inner(x)))


add("chunked_layer_names", long_names)
add("chunked_weight_names", long_names_nested)


# --- weights apart from the architecture ----------------------------------------------------------------------------
def plain_cnn():
    return Sequential([Input((6, 6, 2)), L.Conv2D(3, 3, activation="relu"), L.BatchNormalization(), L.Flatten(),
                       L.Dense(4)], name="plain_cnn")


add("weights_apart", nested_three_deep, save="legacy-weights")
add("weights_apart_sequential", plain_cnn, save="legacy-weights")
add("weights_apart_v3", nested_three_deep, save="weights")


# --- refused --------------------------------------------------------------------------------------------------------
@keras.utils.register_keras_serializable(package="my_pkg")
class Scale(L.Layer):
    """A stranger's layer: x * factor + shift."""

    def __init__(self, shift=0.5, **kwargs):
        super().__init__(**kwargs)
        self.shift = shift

    def build(self, shape):
        self.factor = self.add_weight(name="factor", shape=(shape[-1],), initializer="ones")
        super().build(shape)

    def call(self, x):
        return x * self.factor + self.shift

    def get_config(self):
        return {**super().get_config(), "shift": self.shift}


@keras.utils.register_keras_serializable(package="acme")
class ScaledTanh(L.Layer):
    """The stranger's layer that tests/strangers/sample-layer lowers."""

    def __init__(self, scale=1.5, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, x):
        return self.scale * keras.activations.tanh(x)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


class Unregistered(L.Layer):
    def call(self, x):
        return x * 2.0


stack("custom_layer", (4,), lambda: L.Dense(3, name="dense"), lambda: Scale(name="scale"))
stack("custom_layer_unregistered", (4,), lambda: L.Dense(3, name="dense"), lambda: Unregistered(name="mystery"))
stack("custom_layers_two", (4,), lambda: Scale(name="scale"), lambda: L.Dense(3), lambda: Unregistered(name="mystery"))
stack("custom_layer_with_plugin", (4,), lambda: L.Dense(3, name="dense"), lambda: ScaledTanh(name="scaled"))
# The file holds the function's bytecode with its file name: compiled so that no path and no line of this file is in it.
TWICE = eval(compile("lambda x: x * 2.0 + 1.0", "twice.py", "eval"), {"__name__": "my_model"})
layer("lambda_layer", lambda: L.Lambda(TWICE, name="twice"), (4,))


# --- found among composed models (compose.py) -------------------------------------------------------------------------
def identity_narrow():
    """An Identity casts to its own dtype, as every layer does."""
    x = Input((5,), name="x")
    return Model(x, L.Dense(3, name="dense")(L.Identity(dtype="mixed_bfloat16", name="narrow")(x)))


def inside_by_name():
    """A model inside whose one input is a dictionary."""
    i = Input((4,), name="inner_in")
    inner = Model({"inner_in": i}, L.Dense(3, activation="tanh", name="dense")(i), name="inner")
    x = Input((4,), name="x")
    return Model(x, L.Dense(2, name="last")(inner({"inner_in": x})))


def augmented():
    """Keras 3 notes how it traced the call of an augmentation: as in training."""
    x = Input((5, 6, 3), name="x")
    y = L.RandomContrast(0.2, name="contrast")(x)
    return Model(x, L.Conv2D(2, 3, name="conv")(y))


add("identity_narrow", identity_narrow)
add("inside_by_name", inside_by_name, only=3)
add("augmented", augmented)
