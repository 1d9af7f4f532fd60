"""SavedModels that no Keras made: tf.Modules with signatures, and what TensorFlow 1 saved. Used by saved_model_fixtures.

Each case writes a SavedModel to a path and returns the arrays of its golden file, named as its inputs and outputs.
"""
import numpy as np
import tensorflow as tf

CASES = {}


def case(make):
    CASES[make.__name__] = make
    return make


def rng_of(name):
    return np.random.default_rng(sum(map(ord, name)))


def saved(module, function, path, rng, given=None, **shapes):
    """Saves a tf.function of float inputs as serving_default; free axes are run with six elements, or all is given."""
    specs = {name: tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()}
    signature = tf.function(function).get_concrete_function(**specs)
    tf.saved_model.save(module, path, signatures=signature)
    xs = given or {name: rng.normal(0, 1, [6 if d is None else d for d in shape]).astype(np.float32)
          for name, shape in shapes.items()}
    ys = function(**{name: tf.constant(x) for name, x in xs.items()})
    return {**xs, **{name: np.asarray(y) for name, y in ys.items()}}


def weights(module, rng, **shapes):
    for name, shape in shapes.items():
        setattr(module, name, tf.Variable(rng.normal(0, 0.5, shape).astype(np.float32), name=name))


@case
def module_perceptron(path, rng):
    m = tf.Module()
    weights(m, rng, w=(5, 7), b=(7,), v=(7, 3))
    return saved(m, lambda x: {"logits": tf.nn.relu(x @ m.w + m.b) @ m.v, "norm": tf.norm(x, axis=1)}, path, rng,
                 x=(None, 5))


@case
def module_shapes(path, rng):
    """Shapes computed with tensors, free axes in the middle of it."""
    m = tf.Module()
    weights(m, rng, w=(4, 6))

    def run(x):
        batch, time = tf.shape(x)[0], tf.shape(x)[1]
        flat = tf.reshape(x, [batch * time, 4]) @ m.w
        pairs = tf.reshape(flat, tf.stack([batch, time, 2, -1]))
        places = tf.cast(tf.range(time), tf.float32)[tf.newaxis, :, tf.newaxis, tf.newaxis]
        return {"y": tf.transpose(pairs + places / tf.cast(time, tf.float32), [0, 2, 1, 3])[:, ::-1, 1:]}
    return saved(m, run, path, rng, x=(None, None, 4))


@case
def module_loop(path, rng):
    """A loop that carries a state over a sequence, and one that only counts."""
    m = tf.Module()
    weights(m, rng, w=(3, 4), u=(4, 4))

    def run(x):
        steps = tf.TensorArray(tf.float32, size=tf.shape(x)[1])
        h = tf.zeros([tf.shape(x)[0], 4])
        for t in tf.range(tf.shape(x)[1]):
            h = tf.tanh(x[:, t] @ m.w + h @ m.u)
            steps = steps.write(t, h)
        power = tf.ones([tf.shape(x)[0], 4])
        for _ in tf.range(3):
            power = power @ m.u
        return {"y": tf.transpose(steps.stack(), [1, 0, 2]), "power": power + h}
    return saved(m, tf.function(run), path, rng, x=(None, 5, 3))


@case
def module_recurrent(path, rng):
    """Keras' own recurrent layers: masked, backwards, both ways, with states."""
    from tensorflow.keras import layers as L
    m = tf.Module()
    lstm = L.LSTM(3, return_sequences=True, return_state=True, name="l")
    gru = L.GRU(3, reset_after=False, go_backwards=True, return_sequences=True, name="g")
    rnn = L.SimpleRNN(3, activation="relu", go_backwards=True, zero_output_for_mask=True, return_sequences=True,
                      name="r")
    both = L.Bidirectional(L.GRU(3, return_sequences=True), name="b")

    def run(x):
        mask = tf.reduce_any(x != 0.0, axis=-1)
        sequence, h, c = lstm(x, mask=mask)
        return {"sequence": sequence, "h": h, "c": c, "gru": gru(x), "rnn": rnn(x, mask=mask),
                "both": both(sequence, mask=mask)}
    run(tf.zeros([1, 2, 2]))
    # The variables alone: a layer would be saved with functions of its own.
    m.held = [variable for part in (lstm, gru, rnn, both) for variable in part.weights]
    for variable in m.held:
        variable.assign(rng.normal(0, 0.7, variable.shape))
    xs = rng.normal(0, 1, (3, 6, 2)).astype(np.float32)
    xs[0, 4:], xs[1, 2], xs[2] = 0.0, 0.0, 0.0
    arrays = saved(m, run, path, rng, given={"x": xs}, x=(None, None, 2))
    drop_uncalled(path)
    return arrays


def drop_uncalled(path):
    """Takes out the functions that nothing calls: training and graphics cards have theirs, ten times what is used."""
    from tensorflow.core.protobuf import saved_model_pb2
    file = f"{path}/saved_model.pb"
    model = saved_model_pb2.SavedModel()
    with open(file, "rb") as stream:
        model.ParseFromString(stream.read())
    meta = model.meta_graphs[0]
    library = {function.signature.name: function for function in meta.graph_def.library.function}
    ahead, called = [node for node in meta.graph_def.node], set(meta.object_graph_def.concrete_functions)
    ahead += [node for name in called for node in library[name].node_def]
    while ahead:
        for value in ahead.pop().attr.values():
            for function in ([value.func] if value.HasField("func") else value.list.func):
                if function.name not in called:
                    called.add(function.name)
                    ahead += library[function.name].node_def
    del meta.graph_def.library.function[:]
    meta.graph_def.library.function.extend(library[name] for name in library if name in called)
    del meta.graph_def.library.gradient[:]
    with open(file, "wb") as stream:
        stream.write(model.SerializeToString(deterministic=True))


@case
def module_blocks(path, rng):
    """Blocks that no convolution stands between, and one that is dilated besides: padded by a free length."""
    m = tf.Module()
    weights(m, rng, k=(2, 2, 3))

    def run(x):
        rest = -tf.shape(x)[1] % 3
        pads = [[0, rest]]
        blocks = tf.nn.relu(tf.space_to_batch(x, [3], pads))
        strided = tf.nn.conv1d(tf.space_to_batch(x, [3], pads), m.k, 2, "SAME")
        cut = tf.nn.conv1d(tf.space_to_batch(x, [3], [[2, 1 + rest]]), m.k, 1, "VALID")
        return {"y": tf.batch_to_space(blocks, [3], pads), "strided": tf.batch_to_space(strided, [3], [[1, 0]]),
                "cut": tf.batch_to_space(cut, [3], [[0, rest]]), "uncut": tf.batch_to_space(cut, [3], [[0, 0]])}
    return saved(m, run, path, rng, x=(None, None, 2))


@case
def module_branch(path, rng):
    """A branch that data chooses, and one that a constant chooses."""
    m = tf.Module()
    weights(m, rng, w=(4, 4))

    def run(x):
        y = tf.cond(tf.reduce_sum(x) > 0, lambda: x @ m.w, lambda: x - 1.0)
        return {"y": tf.cond(tf.constant(False), lambda: y * 0.0, lambda: y * 2.0)}
    return saved(m, run, path, rng, x=(None, 4))


@case
def module_image(path, rng):
    m = tf.Module()
    weights(m, rng, k=(3, 3, 2, 4), d=(3, 3, 4, 2), t=(2, 2, 3, 8))

    def run(x):
        y = tf.nn.relu6(tf.nn.conv2d(x, m.k, 2, "SAME"))
        y = tf.nn.depthwise_conv2d(y, m.d, [1, 1, 1, 1], "SAME")
        y = tf.nn.conv2d_transpose(y, m.t, [tf.shape(x)[0], 8, 8, 3], 2, "SAME")
        up = tf.image.resize(y, [12, 10], method="bilinear")
        return {"y": tf.nn.space_to_depth(up, 2), "p": tf.nn.avg_pool2d(y, 3, 2, "SAME")}
    return saved(m, run, path, rng, x=(None, 8, 8, 2))


@case
def module_arithmetic(path, rng):
    m = tf.Module()
    m.c = tf.Variable(rng.normal(0, 1, (6,)).astype(np.float32), name="c")

    def run(a, b):
        top = tf.math.top_k(a + m.c, 3)
        mixed = tf.einsum("...i,...j->...ij", a, b)
        return {"top": top.values, "band": tf.linalg.band_part(mixed, 1, 0), "sum": tf.cumsum(a, axis=1, reverse=True),
                "pick": tf.where(a > b, tf.math.log1p(tf.abs(a)), tf.math.divide_no_nan(a, b)),
                "soft": tf.nn.log_softmax(tf.roll(a, 2, axis=1)), "clip": tf.clip_by_value(b, -0.5, 0.5)}
    return saved(m, run, path, rng, a=(None, 6), b=(None, 6))


def graph_v1(path, rng, save):
    """A small convolutional net as TensorFlow 1 built it: reference variables, a saver, no objects."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 6, 6, 2], name="x")
        init = lambda *shape: rng.normal(0, 0.5, shape).astype(np.float32)
        with v1.variable_scope("net", use_resource=False):
            k = v1.get_variable("kernel", initializer=init(3, 3, 2, 3))
            w = v1.get_variable("weights", initializer=init(48, 4))
            scale = v1.get_variable("scale", initializer=np.abs(init(3)) + 0.5)
        y = tf.nn.conv2d(x, k, 1, "VALID")
        y, _, _ = v1.nn.fused_batch_norm(y, scale, init(3), init(3), np.abs(init(3)) + 0.5, is_training=False)
        y = tf.reshape(tf.nn.relu(y), [-1, 48]) @ w
        out = tf.nn.softmax(y, name="probabilities")
        session.run(v1.global_variables_initializer())
        save(session, x, out, path)
        value = rng.normal(0, 1, (3, 6, 6, 2)).astype(np.float32)
        return {"x": value, "y": session.run(out, {x: value})}


@case
def v1_simple_save(path, rng):
    return graph_v1(path, rng, lambda session, x, y, path: tf.compat.v1.saved_model.simple_save(
        session, path, {"x": x}, {"y": y}))


@case
def v1_frozen(path, rng):
    """Variables turned into constants, as for the old TensorFlow Lite converter."""
    v1 = tf.compat.v1

    def save(session, x, y, path):
        frozen = v1.graph_util.convert_variables_to_constants(session, session.graph_def, [y.op.name])
        with tf.Graph().as_default() as graph, v1.Session() as inner:
            tf.import_graph_def(frozen, name="")
            v1.saved_model.simple_save(inner, path, {"x": graph.get_tensor_by_name(x.name)},
                                       {"y": graph.get_tensor_by_name(y.name)})
    return graph_v1(path, rng, save)


@case
def module_nested_loops(path, rng):
    """A loop in a loop that counts with both counters, and a running sum as tf.scan writes it."""
    m = tf.Module()
    weights(m, rng, w=(4, 4))

    def run(x):
        y = x
        for i in tf.range(3):
            for j in tf.range(2):
                y = tf.tanh(y @ m.w) + tf.cast(i * 2 + j, tf.float32)
        steps = tf.scan(lambda a, b: a * 0.5 + b, tf.transpose(x))
        return {"y": y, "sums": tf.transpose(steps)}
    return saved(m, tf.function(run), path, rng, x=(None, 4))


@case
def module_signatures(path, rng):
    """Two functions, and neither is the one to serve: the golden file is of `scale`."""
    m = tf.Module()
    weights(m, rng, w=(3,))
    spec = tf.TensorSpec([None, 3], tf.float32, name="x")
    m.scale = tf.function(lambda x: {"scaled": x * m.w}, input_signature=[spec])
    m.shift = tf.function(lambda x: {"shifted": tf.nn.relu(x + m.w)}, input_signature=[spec])
    tf.saved_model.save(m, path, signatures={"scale": m.scale, "shift": m.shift})
    x = rng.normal(0, 1, (4, 3)).astype(np.float32)
    return {"x": x, "scaled": m.scale(tf.constant(x))["scaled"].numpy()}
