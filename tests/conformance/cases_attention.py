"""Cases: attention layers and a transformer block."""
from keras import Input, Model, layers as L

from cases_basic import ids
from registry import add, stack

STEPS, WIDTH = 5, 6


def allowed(rng, shape, dtype):
    """An attention mask in which every query sees something."""
    mask = rng.random(shape) < 0.6
    mask[..., 0] = True
    return mask.astype(dtype)


def self_attention(call=None, shape=(STEPS, WIDTH), **options):
    def build():
        x = Input(shape)
        attention = L.MultiHeadAttention(**{"num_heads": 2, "key_dim": 3, **options})
        return Model(x, attention(x, x, **(call or {})))
    return build


def cross_attention(key=False, call=None, **options):
    def build():
        query, value = Input((3, WIDTH), name="query"), Input((STEPS, 4), name="value")
        inputs = [query, value] + ([Input((STEPS, 7), name="key")] if key else [])
        attention = L.MultiHeadAttention(**{"num_heads": 2, "key_dim": 3, **options})
        return Model(inputs, attention(*inputs, **(call or {})))
    return build


def given_mask(per_head=False):
    def build():
        x = Input((STEPS, WIDTH), name="x")
        mask = Input((2, STEPS, STEPS) if per_head else (STEPS, STEPS), dtype="bool", name="mask")
        return Model([x, mask], L.MultiHeadAttention(2, 3)(x, x, attention_mask=mask))
    return build


def embedded(attend, steps=STEPS):
    """Word ids with padding, embedded with mask_zero, then attended to."""
    def build():
        words = Input((steps,), dtype="int32", name="words")
        return Model(words, attend(L.Embedding(9, WIDTH, mask_zero=True)(words)))
    return build


def pooled(attend):
    return lambda x: L.GlobalAveragePooling1D()(attend(x))


def of_branches():
    """Three Dense of one shape, which only their order in a list of weights tells apart."""
    x = Input((STEPS, WIDTH))
    names = ("query_of", "value_of", "key_of")
    query, value, key = (L.Dense(4, use_bias=name != "key_of", name=name)(x) for name in names)
    return Model(x, L.MultiHeadAttention(2, 3)(query, value, key))


add("mha", self_attention())
add("mha_of_branches", of_branches)
add("mha_no_bias", self_attention(use_bias=False))
add("mha_value_dim", self_attention(value_dim=5))
add("mha_output_shape", self_attention(output_shape=4))
add("mha_one_head", self_attention(num_heads=1, key_dim=4, dropout=0.2))
add("mha_causal", self_attention(call={"use_causal_mask": True}))
add("mha_scores", self_attention(call={"return_attention_scores": True}))
add("mha_dynamic", self_attention(shape=(None, WIDTH)))
add("mha_dynamic_causal", self_attention(shape=(None, WIDTH), call={"use_causal_mask": True}))
add("mha_attention_axes", self_attention(shape=(2, 3, 4), attention_axes=2))
add("mha_two_attention_axes", self_attention(shape=(2, 3, 4), attention_axes=(1, 2)))
add("mha_cross", cross_attention())
add("mha_cross_key", cross_attention(key=True))
add("mha_cross_scores", cross_attention(call={"return_attention_scores": True}, value_dim=2))
add("mha_mask_input", given_mask(), [None, allowed])
add("mha_mask_input_per_head", given_mask(per_head=True), [None, allowed])
add("mha_embedding_mask", embedded(lambda x: L.MultiHeadAttention(2, 3)(x, x)), [ids(9, pad=True)])
add("mha_embedding_mask_causal", embedded(lambda x: L.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)),
    [ids(9, pad=True)])
add("mha_embedding_mask_pooled", embedded(pooled(lambda x: L.MultiHeadAttention(2, 3)(x, x)), None),
    [ids(9, pad=True)])


def attention(*shapes, masked=False, call=None, **options):
    def build():
        inputs = [Input(shape) for shape in shapes]
        return Model(inputs, L.Attention(**options)(inputs, **(call or {})))
    return build


add("attention", attention((3, 4), (STEPS, 4)))
add("attention_three", attention((3, 4), (STEPS, 6), (STEPS, 4)))
add("attention_scale", attention((3, 4), (STEPS, 4), use_scale=True))
add("attention_concat", attention((3, 4), (STEPS, 4), score_mode="concat"))
add("attention_concat_scale", attention((3, 4), (STEPS, 4), score_mode="concat", use_scale=True))
add("attention_causal", attention((STEPS, 4), (STEPS, 4), call={"use_causal_mask": True}))
add("attention_scores", attention((3, 4), (STEPS, 4), call={"return_attention_scores": True}))
add("attention_dynamic", attention((None, 4), (None, 4), dropout=0.1))
add("attention_embedding_mask", embedded(lambda x: L.Attention()([x, x])), [ids(9, pad=True)])


def transformer_block(mask_zero):
    def build():
        words = Input((None,), dtype="int32", name="words")
        x = L.Embedding(9, WIDTH, mask_zero=mask_zero, name="embedding")(words)
        a = L.MultiHeadAttention(2, 3, name="attention")(x, x)
        x = L.LayerNormalization(epsilon=1e-6, name="norm_1")(L.Add(name="add_1")([x, L.Dropout(0.1)(a)]))
        f = L.Dense(WIDTH, name="ffn_2")(L.Dense(8, activation="gelu", name="ffn_1")(x))
        x = L.LayerNormalization(epsilon=1e-6, name="norm_2")(L.Add(name="add_2")([x, f]))
        x = L.GlobalAveragePooling1D(name="pool")(x)
        return Model(words, L.Dense(3, activation="softmax", name="topic")(x))
    return build


add("transformer_block", transformer_block(False), [ids(9)])
add("transformer_block_masked", transformer_block(True), [ids(9, pad=True)])
stack("squeeze_excite", (4, 4, 6), lambda: L.Conv2D(6, 3, padding="same", activation="swish"),
      lambda: L.GlobalAveragePooling2D(keepdims=True), lambda: L.Conv2D(2, 1, activation="relu"),
      lambda: L.Conv2D(6, 1, activation="sigmoid"))
