"""Cases for SavedModels alone: what only a traced graph shows. Dilated convolutions, which TensorFlow takes apart, and
cells of one's own: the standard ones in other words, and those that differ from them in one thing.
"""
import keras
import tensorflow as tf
from keras import Input, Model, layers as L

from cases_graph import Scale
from registry import add, layer, stack

STEPS, WIDTH, UNITS = 5, 3, 4

# --- dilated convolutions -------------------------------------------------------------------------------------------
for dilation in (2, 3):
    for padding in ("valid", "same", "causal"):
        for label, length in (("", 11), ("_dynamic", None)):
            layer(f"traced_conv1d_{padding}_dilated_{dilation}{label}",
                  lambda d=dilation, p=padding, k=3 if length else 2: L.Conv1D(3, k, padding=p, dilation_rate=d), (length, 2))
    for padding in ("valid", "same"):
        for label, size in (("", (9, 8)), ("_dynamic", (None, None))):
            layer(f"traced_conv2d_{padding}_dilated_{dilation}{label}",
                  lambda d=dilation, p=padding, k=3 if size[0] else 2: L.Conv2D(3, (k, 2), padding=p, dilation_rate=d),
                  (*size, 2))
layer("traced_conv2d_dilated_2_3_dynamic", lambda: L.Conv2D(3, 2, padding="same", dilation_rate=(2, 3)), (None, None, 2))
layer("traced_depthwise_conv2d_dilated_dynamic", lambda: L.DepthwiseConv2D(2, padding="same", dilation_rate=2),
      (None, None, 2))
layer("traced_separable_conv1d_dilated_dynamic", lambda: L.SeparableConv1D(3, 2, padding="same", dilation_rate=2),
      (None, 2))


# --- cells ----------------------------------------------------------------------------------------------------------
class Cell(L.Layer):
    """x, states -> output, states by a function of the cell, which has a kernel of `gates` gates and more weights."""

    def __init__(self, step, gates, states=2, bias=(), **more):
        super().__init__()
        self.step, self.gates, self.bias_rows, self.more = step, gates, bias, more
        self.state_size = [UNITS] * states
        self.output_size = UNITS

    def build(self, input_shape):
        wide = self.gates * UNITS
        self.kernel = self.add_weight(name="kernel", shape=(WIDTH, wide))
        self.recurrent = self.add_weight(name="recurrent_kernel", shape=(UNITS, wide))
        self.bias = self.add_weight(name="bias", shape=(*self.bias_rows, wide))
        for name, shape in self.more.items():
            setattr(self, name, self.add_weight(name=name, shape=shape))
        self.built = True

    def call(self, x, states, training=None):
        states = list(states) if isinstance(states, (list, tuple)) else [states]
        output, new = self.step(self, tf.convert_to_tensor(x), *states)
        return output, new


CELLS = {}


def cell(name, gates, states, **more):
    """Registers an RNN of a cell that a function of (cell, x, states...) describes."""
    def register(step):
        def make():
            return L.RNN(Cell(step, gates, states, **more), return_sequences=True)
        layer(f"traced_{name}", make, (STEPS, WIDTH))
        CELLS[name] = make
        return step
    return register


def gates_of(c, x, h):
    return tf.split(x @ c.kernel + h @ c.recurrent + c.bias, c.gates, axis=1)


def lstm_of(i, f, g, o, old):
    new = f * old + i * g
    h = o * tf.tanh(new)
    return h, [h, new]


def part(weight, index):
    return weight[..., index * UNITS:(index + 1) * UNITS]


@cell("cell_lstm_in_other_words", 4, 2)
def _(c, x, h, old):
    """Each gate from its own columns, factors and terms turned round."""
    gate = lambda n: part(c.bias, n) + h @ part(c.recurrent, n) + x @ part(c.kernel, n)
    new = tf.tanh(gate(2)) * tf.sigmoid(gate(0)) + old * tf.sigmoid(gate(1))
    h = tf.tanh(new) * tf.sigmoid(gate(3))
    return h, [h, new]


@cell("cell_gru_in_other_words", 3, 1)
def _(c, x, h):
    gate = lambda n: h @ part(c.recurrent, n) + (part(c.bias, n) + x @ part(c.kernel, n))
    z, r = tf.sigmoid(gate(0)), tf.sigmoid(gate(1))
    own = tf.tanh((h * r) @ part(c.recurrent, 2) + part(c.bias, 2) + x @ part(c.kernel, 2))
    h = own * (1.0 - z) + h * z
    return h, [h]


@cell("cell_rnn_in_other_words", 1, 1)
def _(c, x, h):
    h = tf.nn.relu(c.bias + h @ c.recurrent + x @ c.kernel)
    return h, [h]


@cell("cell_lstm_peephole", 4, 2, peephole=(UNITS,))
def _(c, x, h, old):
    i, f, g, o = gates_of(c, x, h)
    return lstm_of(tf.sigmoid(i), tf.sigmoid(f + old * c.peephole), tf.tanh(g), tf.sigmoid(o), old)


@cell("cell_lstm_activations_swapped", 4, 2)
def _(c, x, h, old):
    i, f, g, o = gates_of(c, x, h)
    return lstm_of(tf.tanh(i), tf.sigmoid(f), tf.sigmoid(g), tf.sigmoid(o), old)


@cell("cell_lstm_one_gate_hard", 4, 2)
def _(c, x, h, old):
    i, f, g, o = gates_of(c, x, h)
    return lstm_of(tf.sigmoid(i), tf.clip_by_value(0.2 * f + 0.5, 0.0, 1.0), tf.tanh(g), tf.sigmoid(o), old)


@cell("cell_lstm_output_relu", 4, 2)
def _(c, x, h, old):
    i, f, g, o = map(lambda f, z: f(z), (tf.sigmoid, tf.sigmoid, tf.tanh, tf.sigmoid), gates_of(c, x, h))
    new = f * old + i * g
    h = o * tf.nn.relu(new)
    return h, [h, new]


@cell("cell_lstm_coupled", 4, 2)
def _(c, x, h, old):
    i, _, g, o = gates_of(c, x, h)
    return lstm_of(tf.sigmoid(i), 1.0 - tf.sigmoid(i), tf.tanh(g), tf.sigmoid(o), old)


@cell("cell_lstm_forget_one", 4, 2)
def _(c, x, h, old):
    i, f, g, o = gates_of(c, x, h)
    return lstm_of(tf.sigmoid(i), tf.sigmoid(f + 1.0), tf.tanh(g), tf.sigmoid(o), old)


@cell("cell_lstm_gates_in_other_order", 4, 2)
def _(c, x, h, old):
    i, g, f, o = gates_of(c, x, h)
    return lstm_of(tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o), old)


@cell("cell_lstm_output_of_old_cell", 4, 2)
def _(c, x, h, old):
    i, f, g, o = gates_of(c, x, h)
    h = tf.sigmoid(o) * tf.tanh(old)
    return h, [h, tf.sigmoid(f) * old + tf.sigmoid(i) * tf.tanh(g)]


@cell("cell_lstm_output_scaled", 4, 2)
def _(c, x, h, old):
    i, f, g, o = gates_of(c, x, h)
    h, states = lstm_of(tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o), old)
    return 2.0 * h, states


@cell("cell_lstm_kernel_scaled", 4, 2)
def _(c, x, h, old):
    i, f, g, o = tf.split(x @ (0.5 * c.kernel) + h @ c.recurrent + c.bias, 4, axis=1)
    return lstm_of(tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o), old)


@cell("cell_lstm_two_kernels", 4, 2, other=(WIDTH, UNITS))
def _(c, x, h, old):
    i, f, _, o = gates_of(c, x, h)
    g = x @ c.other + h @ part(c.recurrent, 2) + part(c.bias, 2)
    return lstm_of(tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o), old)


@cell("cell_lstm_input_twice", 4, 2)
def _(c, x, h, old):
    i, f, g, o = tf.split(x @ c.kernel + h @ c.recurrent + x @ c.kernel + c.bias, 4, axis=1)
    return lstm_of(tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o), old)


@cell("cell_gru_update_swapped", 3, 1)
def _(c, x, h):
    xs, hs = tf.split(x @ c.kernel + c.bias, 3, axis=1), tf.split(h @ c.recurrent, 3, axis=1)
    z, r = tf.sigmoid(xs[0] + hs[0]), tf.sigmoid(xs[1] + hs[1])
    h = (1.0 - z) * h + z * tf.tanh(xs[2] + r * hs[2])
    return h, [h]


@cell("cell_gru_reset_after_one_bias", 3, 1)
def _(c, x, h):
    """Reset after the product, and one bias, which is the input's: no op has that."""
    xs, hs = tf.split(x @ c.kernel + c.bias, 3, axis=1), tf.split(h @ c.recurrent, 3, axis=1)
    z, r = tf.sigmoid(xs[0] + hs[0]), tf.sigmoid(xs[1] + hs[1])
    h = z * h + (1.0 - z) * tf.tanh(xs[2] + r * hs[2])
    return h, [h]


@cell("cell_gru_biases_swapped", 3, 1, bias=(2,))
def _(c, x, h):
    """The second row goes to the input."""
    xs, hs = tf.split(x @ c.kernel + c.bias[1], 3, axis=1), tf.split(h @ c.recurrent + c.bias[0], 3, axis=1)
    z, r = tf.sigmoid(xs[0] + hs[0]), tf.sigmoid(xs[1] + hs[1])
    h = z * h + (1.0 - z) * tf.tanh(xs[2] + r * hs[2])
    return h, [h]


@cell("cell_rnn_residual", 1, 1)
def _(c, x, h):
    h = h + tf.tanh(x @ c.kernel + h @ c.recurrent + c.bias)
    return h, [h]


@cell("cell_rnn_sine", 1, 1)
def _(c, x, h):
    h = tf.sin(x @ c.kernel + h @ c.recurrent + c.bias)
    return h, [h]


def side_by_side(*names):
    """Several in one graph, to be a fixture of moderate size."""
    def build():
        x = Input((STEPS, WIDTH))
        return Model(x, [CELLS[f"cell_{name}"]()(x) for name in names])
    return build


add("traced_cells_alike", side_by_side("lstm_in_other_words", "gru_in_other_words", "rnn_in_other_words"))
add("traced_cells_unlike", side_by_side("lstm_peephole", "lstm_activations_swapped", "gru_update_swapped",
                                        "gru_biases_swapped"))


# --- bits -----------------------------------------------------------------------------------------------------------
def signs():
    """Keras 3 looks at the sign bit: where the largest is zero, minus zero is none of them."""
    x = Input((6,))
    return Model(x, [keras.ops.argmax(x, axis=1), keras.ops.argmin(x), keras.ops.signbit(x), L.Dense(2)(x)])


def zeros(rng, shape, dtype):
    values = rng.choice([-1.5, -0.0, 0.0, -0.25], shape)
    values[0, 0] = -0.0
    return values.astype(dtype)


add("traced_signs", signs, (zeros,), only=3, every_output=False)

# --- a layer that nobody lowers -------------------------------------------------------------------------------------
stack("traced_custom_layer", (4,), lambda: L.Dense(3, name="dense"), lambda: Scale(name="scale"), only=2)
