"""Cases of op_cases.py: pooling, normalisation, recurrence and attention, as Keras layers compute them."""
import kit
import numpy as np
import tensorflow as tf
from op_cases_kit import case, explicit, normal, uniform

keras = kit.keras
layers = keras.layers


def pooling():
    def pool(name, function, x, window, strides, pads, first=False):
        start = -np.inf if function == "max" else 0.0
        spatial = [(0, 0), *pads, (0, 0)]
        wide = np.pad(x, spatial, constant_values=start)
        kind = "MAX" if function == "max" else "AVG"
        want = tf.nn.pool(wide, window, kind, strides=strides, padding="VALID").numpy()
        if function == "average":
            # Averages over the window, padding included, times window over what is not padding.
            counted = np.pad(np.ones(x.shape, "f4"), spatial)
            want = want / tf.nn.pool(counted, window, kind, strides=strides, padding="VALID").numpy()
        if first:
            x, want = np.moveaxis(x, -1, 1), np.moveaxis(want, -1, 1)
        attrs = {"function": function, "window": window, "strides": strides,
                 "padding": [explicit(*pad) for pad in pads], "layout": "channels_first" if first else "channels_last"}
        case(name, "pool", attrs, [x], [want])

    for function in ["max", "average"]:
        pool(f"pool_{function}_1d", function, normal(2, 7, 3), [3], [2], [(1, 1)])
        pool(f"pool_{function}_2d", function, normal(2, 6, 5, 3), [2, 3], [2, 1], [(0, 0), (1, 1)])
        pool(f"pool_{function}_first", function, normal(2, 6, 5, 3), [2, 3], [1, 2], [(1, 0), (1, 1)], True)
        pool(f"pool_{function}_3d", function, normal(1, 4, 4, 4, 2), [2, 2, 2], [2, 2, 2], [(0, 0)] * 3)
        x = normal(1, 7, 7, 2)
        kind = layers.MaxPooling2D if function == "max" else layers.AveragePooling2D
        want = kind(3, 2, padding="same")(x).numpy()
        attrs = {"function": function, "window": [3, 3], "strides": [2, 2], "padding": ["same", "same"],
                 "layout": "channels_last"}
        case(f"pool_{function}_same", "pool", attrs, [x], [want])


def set_weights(layer, values):
    layer.set_weights(values)
    return layer


def normalisation():
    x = normal(2, 3, 4, 6)
    scale, offset, mean, variance = uniform(0.5, 2, 6), normal(6), normal(6), uniform(0.3, 2, 6)
    layer = layers.BatchNormalization(epsilon=1e-3)
    layer.build(x.shape)
    want = set_weights(layer, [scale, offset, mean, variance])(x, training=False).numpy()
    case("batch_norm", "batch_norm", {"axis": 3, "epsilon": 1e-3}, [x, scale, offset, mean, variance], [want])
    plain = layers.BatchNormalization(axis=1, epsilon=1e-2, scale=False, center=False)
    plain.build(x.shape)
    want = set_weights(plain, [mean[:3], variance[:3]])(x, training=False).numpy()
    case("batch_norm_plain", "batch_norm", {"axis": 1, "epsilon": 1e-2}, [x, None, None, mean[:3], variance[:3]],
         [want])

    layer = layers.LayerNormalization(epsilon=1e-3)
    layer.build(x.shape)
    want = set_weights(layer, [scale, offset])(x).numpy()
    case("layer_norm", "layer_norm", {"axes": [3], "epsilon": 1e-3}, [x, scale, offset], [want])
    two = layers.LayerNormalization(axis=[2, 3], epsilon=1e-5)
    two.build(x.shape)
    wide_scale, wide_offset = uniform(0.5, 2, 4, 6), normal(4, 6)
    want = set_weights(two, [wide_scale, wide_offset])(x).numpy()
    case("layer_norm_axes", "layer_norm", {"axes": [2, 3], "epsilon": 1e-5}, [x, wide_scale, wide_offset], [want])

    for axis, groups in [(3, 2), (3, 6), (1, 3)]:
        size = x.shape[axis]
        layer = layers.GroupNormalization(groups=groups, axis=axis, epsilon=1e-3)
        layer.build(x.shape)
        want = set_weights(layer, [scale[:size], offset[:size]])(x).numpy()
        attrs = {"axis": axis, "groups": groups, "epsilon": 1e-3}
        case(f"group_norm_{axis}_{groups}", "group_norm", attrs, [x, scale[:size], offset[:size]], [want])

    layer = layers.RMSNormalization(epsilon=1e-4)
    layer.build(x.shape)
    want = set_weights(layer, [scale])(x).numpy()
    case("rms_norm", "rms_norm", {"axes": [3], "epsilon": 1e-4}, [x, scale], [want])
    case("rms_norm_plain", "rms_norm", {"axes": [3], "epsilon": 1e-4}, [x],
         [x / np.sqrt((x.astype("f8") ** 2).mean(-1, keepdims=True) + 1e-4)])
    for axes in [[3], [1], [1, 2]]:
        want = keras.ops.softmax(x, axis=tuple(axes) if len(axes) > 1 else axes[0]).numpy()
        case("softmax_" + "_".join(map(str, axes)), "softmax", {"axes": axes}, [x], [want])
    case("log_softmax", "log_softmax", {"axis": 3}, [x * 9], [tf.nn.log_softmax(x.astype("f8") * 9).numpy()])


def spec(function, alpha=0.0, beta=0.0):
    return [function, float(alpha), float(beta)]


KERAS_NAMES = {"tanh": spec("tanh"), "sigmoid": spec("sigmoid"), "relu": spec("relu"),
               "hard_sigmoid": spec("hard_sigmoid", 1 / 6, 0.5)}


def mask_of(batch, time):
    mask = np.ones((batch, time), bool)
    mask[0, [0, 2]] = False
    mask[1, -2:] = False
    return mask


def run_layer(layer, x, mask, initial):
    """Sequence, then states, from a layer with return_sequences and return_state."""
    arguments = {} if mask is None else {"mask": mask}
    if initial is not None:
        arguments["initial_state"] = [keras.ops.convert_to_tensor(state) for state in initial]
    return [np.asarray(y) for y in layer(x, **arguments)]


def recurrent_layer(kind, backward, zero_masked, bias, options):
    names = {"lstm": layers.LSTM, "gru": layers.GRU, "simple_rnn": layers.SimpleRNN}
    if zero_masked:
        options = dict(options, zero_output_for_mask=True)
    return names[kind](4, return_sequences=True, return_state=True, use_bias=bias, go_backwards=backward, **options)


def recurrent(name, kind, gates, masked=False, directions=("forward",), zero_masked=False, bias=True, initial=False,
              **options):
    x, u = normal(2, 5, 3), 4
    mask = mask_of(2, 5) if masked else None
    states = 2 if kind == "lstm" else 1
    inputs, sequences, finals = [x, mask], [], []
    for direction in directions:
        backward = direction == "backward"
        layer = recurrent_layer(kind, backward, zero_masked, bias, options)
        layer.build(x.shape)
        # Large enough that gates leave the middle of their range.
        weights = [normal(*w.shape) * (0.9 if len(w.shape) > 1 else 0.5) for w in layer.get_weights()]
        layer.set_weights(weights)
        start = [normal(2, u) for _ in range(states)] if initial else None
        # go_backwards gives the sequence in the order in which it was computed.
        result = run_layer(layer, x, mask, start)
        sequences.append(result[0][:, ::-1] if backward else result[0])
        finals.append(result[1:])
        inputs += [weights[0], weights[1], weights[2] if bias else None, *(start or [None] * states)]
    attrs = {"directions": list(directions), "activation": KERAS_NAMES[options.get("activation", "tanh")]}
    if kind != "simple_rnn":
        attrs["recurrent_activation"] = KERAS_NAMES[options.get("recurrent_activation", "sigmoid")]
    if kind == "gru":
        attrs["reset_after"] = options.get("reset_after", True)
    attrs["zero_masked"] = zero_masked
    stacked = [np.stack([final[i] for final in finals], 1) for i in range(states)]
    case(name, kind, attrs, inputs, [np.stack(sequences, 2), *stacked])


def recurrence():
    both = ("forward", "backward")
    for kind, gates in [("lstm", 4), ("gru", 3), ("simple_rnn", 1)]:
        recurrent(kind, kind, gates)
        recurrent(f"{kind}_masked", kind, gates, masked=True)
        recurrent(f"{kind}_zero_masked", kind, gates, masked=True, zero_masked=True)
        recurrent(f"{kind}_initial_masked", kind, gates, masked=True, initial=True)
        recurrent(f"{kind}_backward", kind, gates, masked=True, directions=("backward",))
        recurrent(f"{kind}_both", kind, gates, masked=True, directions=both, initial=True)
        recurrent(f"{kind}_plain", kind, gates, bias=False, activation="relu")
    recurrent("lstm_hard", "lstm", 4, recurrent_activation="hard_sigmoid")
    recurrent("gru_reset_before", "gru", 3, reset_after=False, masked=True, directions=both)
    recurrent("gru_reset_before_initial", "gru", 3, reset_after=False, initial=True)
    recurrent("gru_hard", "gru", 3, recurrent_activation="hard_sigmoid", bias=False)


def scores_of(q, k, scale, mask, causal, bias):
    heads = q.shape[2] // k.shape[2]
    wide = np.repeat(k, heads, axis=2).astype("f8")
    scores = np.einsum("bthd,bshd->bhts", q.astype("f8"), wide) * scale
    seen = np.ones(scores.shape, bool) if mask is None else np.broadcast_to(mask, scores.shape).copy()
    if causal:
        seen &= np.tri(*scores.shape[-2:], dtype=bool)
    scores = np.where(seen, scores, scores + bias)
    return tf.nn.softmax(scores, axis=-1).numpy()


def attention():
    def attend(name, q, k, v, scale, mask=None, causal=False, bias=-1e9):
        keras_mask = None if mask is None else np.broadcast_to(mask, (q.shape[0], q.shape[2], q.shape[1], k.shape[1]))
        scores = scores_of(q, k, scale, mask, causal, bias)
        if bias == -1e9:
            want = keras.ops.dot_product_attention(q, k, v, mask=keras_mask, scale=scale, is_causal=causal,
                                                   flash_attention=False).numpy()
        else:
            heads = q.shape[2] // k.shape[2]
            want = np.einsum("bhts,bshe->bthe", scores, np.repeat(v, heads, axis=2).astype("f8"))
        attrs = {"scale": float(scale), "causal": causal, "mask_bias": float(bias)}
        case(name, "attention", attrs, [q, k, v] if mask is None else [q, k, v, mask], [want, scores])

    q, k, v = normal(2, 4, 2, 3), normal(2, 5, 2, 3), normal(2, 5, 2, 3)
    attend("attention", q, k, v, 0.5)
    mask = np.ones((2, 1, 1, 5), bool)
    mask[0, ..., 1] = mask[1, ..., 3:] = False
    attend("attention_masked", q, k, v, 0.5, mask)
    attend("attention_causal", q, k, v, 0.5, causal=True)
    attend("attention_causal_masked", q, k, v, 0.5, mask[:, :, :, :], causal=True)
    attend("attention_soft_mask", q, k, normal(2, 5, 2, 6), 1.0, mask, bias=-2.0)
    attend("attention_grouped", normal(2, 3, 4, 3), normal(2, 5, 2, 3), normal(2, 5, 2, 3), 0.7)


def main():
    pooling()
    normalisation()
    recurrence()
    attention()
