"""SavedModels as TensorFlow 1 wrote them: loops of Enter, Merge, Switch, NextIteration and Exit, branches of Switch and
Merge, TensorArrays, variables by a saver. Used by saved_model_fixtures (way `v1`), with TensorFlow 2's compat.v1.

Each case builds a graph of placeholders and gives inputs and outputs by name; the golden file has what the session gave.
"""
import contextlib
import os

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

v1 = tf.compat.v1
CASES = {}


def case(build):
    CASES[build.__name__] = build
    return build


@contextlib.contextmanager
def control_flow_v1():
    """Loops and branches are written out in the graph, and arrays of tensors are resources."""
    was = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    try:
        yield
    finally:
        if was:
            v1.enable_control_flow_v2()


def make(name, path, rng):
    """Writes the case and returns its arrays."""
    with control_flow_v1(), tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(sum(map(ord, name)))
        given, wanted = CASES[name](rng)
        session.run(v1.global_variables_initializer())
        for variable in v1.global_variables():
            value = rng.normal(0, 0.5, variable.shape).astype(variable.dtype.base_dtype.as_numpy_dtype)
            variable.load(np.abs(value) + 0.5 if "variance" in variable.name else value, session)
        inputs = {key: tensor for key, (tensor, _) in given.items()}
        v1.saved_model.simple_save(session, path, inputs, wanted)
        lighten(path)
        fed = {tensor: value for tensor, value in given.values()}
        outs = session.run(wanted, fed)
    return {**{key: value for key, (_, value) in given.items()}, **outs}


def lighten(path):
    """Takes out what is the larger part of so small a graph, and nobody reads: documentation of ops, known shapes."""
    file = os.path.join(path, "saved_model.pb")
    model = saved_model_pb2.SavedModel()
    with open(file, "rb") as stream:
        model.ParseFromString(stream.read())
    for meta in model.meta_graphs:
        meta.meta_info_def.ClearField("stripped_op_list")
        meta.ClearField("collection_def")
        for node in meta.graph_def.node:
            for name in ("_output_shapes", "_class"):
                node.attr.pop(name, None)
            node.ClearField("experimental_debug_info")
    with open(file, "wb") as stream:
        stream.write(model.SerializeToString(deterministic=True))


def floats(rng, *shape, free=()):
    """A placeholder whose first axis, and those of `free`, are free; and a value for it."""
    sizes = [None if axis == 0 or axis in free else size for axis, size in enumerate(shape)]
    return v1.placeholder(tf.float32, sizes), rng.normal(0, 1, shape).astype(np.float32)


def weight(name, *shape):
    return v1.get_variable(name, shape, tf.float32, use_resource=False)


@case
def v1_cond(rng):
    """Data decides: one branch and the other, several results, a branch in a branch, a constant as a result."""
    x = floats(rng, 3, 4)
    w = weight("w", 4, 4)
    total = tf.reduce_sum(tf.abs(x[0]))
    first, second = v1.cond(total > 0., lambda: (x[0] @ w, x[0] - 1.), lambda: (x[0] * 2., tf.tanh(x[0])))
    inner = lambda: v1.cond(total > 1e6, lambda: x[0] @ w, lambda: tf.nn.relu(x[0]) + first)
    third = v1.cond(total < 0., lambda: second * 3., inner)
    number = v1.cond(total < 0., lambda: tf.constant(3.), lambda: tf.constant(0.25))
    return {"x": x}, {"first": first, "second": second, "third": third, "scaled": third * number}


@case
def v1_training_switch(rng):
    """Layers that ask at run time whether they are trained; by default they are not."""
    x = floats(rng, 3, 5)
    training = v1.placeholder_with_default(False, [], name="training")
    y = v1.layers.dense(x[0], 6, activation=tf.nn.relu)
    y = v1.layers.batch_normalization(y, training=training)
    y = v1.layers.dropout(y, 0.5, training=training)
    return {"x": x}, {"y": v1.layers.dense(y, 3)}


@case
def v1_while(rng):
    """A state, an array that is read and one that is written, a limit on the steps, a value that stays."""
    x = floats(rng, 2, 5, 3)
    w, u = weight("w", 3, 4), weight("u", 4, 4)
    steps = tf.transpose(x[0], [1, 0, 2])
    taken = tf.TensorArray(tf.float32, size=5).unstack(steps)
    given = tf.TensorArray(tf.float32, size=5)
    scale = tf.reduce_max(tf.abs(x[0]))

    def step(t, h, given):
        h = tf.tanh(taken.read(t) @ w + h @ u) / scale
        return t + 1, h, given.write(t, h * tf.cast(t, tf.float32))
    state = tf.zeros([tf.shape(x[0])[0], 4])
    _, last, given = v1.while_loop(lambda t, *_: t < 5, step, (0, state, given), maximum_iterations=9)
    return {"x": x}, {"last": last, "all": tf.transpose(given.stack(), [1, 0, 2])}


@case
def v1_while_nested(rng):
    """A loop in a loop, which takes what does not change from outside of both."""
    x = floats(rng, 3, 4)
    w, b = weight("w", 4, 4), weight("b", 4)

    def inner(y, t):
        more = lambda i, z: (i + 1, tf.tanh(z @ w) + b * tf.cast(t, tf.float32))
        return v1.while_loop(lambda i, _: i < 3, more, (0, y))[1]
    outer = lambda t, y: (t + 1, inner(y, t) + x[0])
    return {"x": x}, {"y": v1.while_loop(lambda t, _: t < 2, outer, (0, x[0]))[1]}


@case
def v1_while_cond(rng):
    """A branch that the counter chooses in a loop, and a loop in a branch."""
    x = floats(rng, 3, 4)
    w = weight("w", 4, 4)
    step = lambda t, y: (t + 1, v1.cond(t < 2, lambda: tf.tanh(y @ w), lambda: y + 1.))
    walk = lambda: v1.while_loop(lambda t, _: t < 4, step, (0, x[0]))[1]
    return {"x": x}, {"y": v1.cond(tf.reduce_sum(tf.abs(x[0])) > 0., walk, lambda: x[0])}


@case
def v1_while_early(rng):
    """Data says how often it runs, the length how often at most."""
    x = floats(rng, 2, 6, 3, free=(1,))
    count = v1.placeholder(tf.int32, [None]), np.array([3, 4], np.int32)
    steps = tf.transpose(x[0], [1, 0, 2])
    time = tf.shape(steps)[0]
    taken = tf.TensorArray(tf.float32, size=time).unstack(steps)
    given = tf.TensorArray(tf.float32, size=time, element_shape=[None, 3])
    limit = tf.minimum(time, tf.reduce_max(count[0]))

    def step(t, total, given):
        total = total + taken.read(t)
        return t + 1, total, given.write(t, tf.sin(total))
    state = tf.zeros_like(steps[0])
    t, total, _ = v1.while_loop(lambda t, *_: t < limit, step, (0, state, given))
    return {"x": x, "count": count}, {"total": total * tf.cast(t, tf.float32)}


@case
def v1_dynamic_rnn(rng):
    """Sequences of free length, each with its own end."""
    x = floats(rng, 3, 6, 3, free=(1,))
    lengths = v1.placeholder(tf.int32, [None]), np.array([6, 2, 4], np.int32)
    cell = v1.nn.rnn_cell.LSTMCell(4, use_peepholes=True)
    outputs, state = v1.nn.dynamic_rnn(cell, x[0], sequence_length=lengths[0], dtype=tf.float32)
    return {"x": x, "lengths": lengths}, {"outputs": outputs, "c": state.c, "h": state.h}


@case
def v1_dynamic_rnn_stacked(rng):
    x = floats(rng, 2, 5, 3)
    cells = [v1.nn.rnn_cell.BasicLSTMCell(4), v1.nn.rnn_cell.GRUCell(3)]
    outputs, _ = v1.nn.dynamic_rnn(v1.nn.rnn_cell.MultiRNNCell(cells), x[0], dtype=tf.float32)
    return {"x": x}, {"outputs": outputs}


@case
def v1_bidirectional_rnn(rng):
    x = floats(rng, 3, 5, 3)
    lengths = v1.placeholder(tf.int64, [None]), np.array([5, 2, 4], np.int64)
    cells = [v1.nn.rnn_cell.GRUCell(4), v1.nn.rnn_cell.GRUCell(4)]
    both, _ = v1.nn.bidirectional_dynamic_rnn(*cells, x[0], sequence_length=lengths[0], dtype=tf.float32)
    return {"x": x, "lengths": lengths}, {"y": tf.concat(both, 2)}


@case
def v1_static_rnn(rng):
    """Unrolled: a branch for each step."""
    x = floats(rng, 3, 3, 2)
    lengths = v1.placeholder(tf.int32, [None]), np.array([3, 1, 2], np.int32)
    cell = v1.nn.rnn_cell.BasicRNNCell(3)
    outputs, state = v1.nn.static_rnn(cell, tf.unstack(x[0], axis=1), sequence_length=lengths[0], dtype=tf.float32)
    return {"x": x, "lengths": lengths}, {"outputs": tf.stack(outputs, 1), "state": state}


@case
def v1_map_fn(rng):
    x = floats(rng, 3, 4, 4)
    return {"x": x}, {"y": v1.map_fn(lambda a: tf.matmul(a, a, transpose_b=True) / 4., x[0])}


@case
def v1_scan_fold(rng):
    """Sums along a free axis, from the front and the back: loops that begin at one, or count down."""
    x = floats(rng, 2, 4, 3, free=(1,))
    steps = tf.transpose(x[0], [1, 0, 2])
    scanned = v1.scan(lambda a, b: tf.tanh(a) + b, steps)
    folded = v1.foldr(lambda a, b: a * 0.5 + b, steps)
    return {"x": x}, {"scanned": tf.transpose(scanned, [1, 0, 2]), "folded": folded}


@case
def v1_keras_rnn(rng):
    """Keras as it was before TensorFlow 2."""
    layers = v1.keras.layers
    x = v1.keras.Input([None, 3])
    y = layers.Masking()(x)
    y = layers.LSTM(4, return_sequences=True)(y)
    y = layers.GRU(3, go_backwards=True, return_sequences=True)(y)
    model = v1.keras.Model(x, layers.Dense(2)(layers.GlobalMaxPooling1D()(y)))
    value = rng.normal(0, 1, (2, 6, 3)).astype(np.float32)
    value[0, 4:] = 0
    return {"x": (model.inputs[0], value)}, {"y": model.outputs[0]}


@case
def v1_switch_case(rng):
    """Several branches, by conditions and by a number."""
    x = floats(rng, 3, 4)
    number = v1.placeholder(tf.int32, []), np.array(1, np.int32)
    named = v1.case([(tf.equal(number[0], 0), lambda: x[0] * 2.), (tf.equal(number[0], 1), lambda: tf.tanh(x[0]))],
                    default=lambda: x[0] - 1.)
    numbered = tf.switch_case(number[0], [lambda: x[0] * 3., lambda: x[0] * 5., lambda: x[0] - 2.])
    return {"x": x, "number": number}, {"named": named, "numbered": numbered}


@case
def v1_dropout_rnn(rng):
    """What dropout draws where it keeps everything by default."""
    x = floats(rng, 3, 4, 3)
    keep = v1.placeholder_with_default(1.0, [], name="keep")
    cell = v1.nn.rnn_cell.DropoutWrapper(v1.nn.rnn_cell.BasicLSTMCell(4), output_keep_prob=keep)
    return {"x": x}, {"y": v1.nn.dynamic_rnn(cell, x[0], dtype=tf.float32)[0]}


@case
def v1_trained(rng):
    """A loop that was trained: stacks in it keep what the way back needs."""
    x = floats(rng, 2, 3, 2)
    labels = v1.placeholder(tf.float32, [None, 2])
    state = v1.nn.dynamic_rnn(v1.nn.rnn_cell.BasicRNNCell(3), x[0], dtype=tf.float32)[1]
    y = v1.layers.dense(state, 2)
    v1.train.GradientDescentOptimizer(0.1).minimize(v1.losses.mean_squared_error(labels, y))
    return {"x": x}, {"y": y}


@case
def v1_while_endless(rng):
    """Only data ends it: refused."""
    x = floats(rng, 3, 4)
    more = lambda total, y: (total + tf.reduce_sum(tf.abs(y)), y * 1.1)
    return {"x": x}, {"y": v1.while_loop(lambda total, _: total < 10., more, (0., x[0]))[1]}


@case
def v1_integer_table(rng):
    """A lookup table from numbers to numbers, filled when the model is loaded."""
    x = v1.placeholder(tf.int64, [None]), np.array([3, 5, 7, 9], np.int64)
    entries = tf.lookup.KeyValueTensorInitializer(tf.constant([3, 5, 9], tf.int64), tf.constant([1, -2, 4], tf.int64))
    table = tf.lookup.StaticHashTable(entries, -1)
    scale = weight("scale", 1)
    v1.get_default_session().run(v1.tables_initializer())
    return {"x": x}, {"y": tf.cast(table.lookup(x[0]), tf.float32) * scale}
