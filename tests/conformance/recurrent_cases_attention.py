"""Cases: attention layers with every kind of mask; some queries have no key left."""
from kit import KERAS, np
from recurrent_cases import B, MASK, T, L, add, ref

D, S = 4, 5
X = (B, T, D)
QUERY, QUERY_MASK = (B, 3, D), np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [0, 0, 0]], bool)
SEEN = np.random.default_rng(1).random((B, T, T)) < 0.6
SEEN[1, 2], SEEN[3] = False, False
HEADS = np.random.default_rng(2).random((B, 2, T, T)) < 0.6
HEADS[2, 1] = False


def itself(name, make, *more, kwargs=None, **options):
    """Query and value are one tensor."""
    add(name, make, *more, call=([ref(0), ref(0)], {}), kwargs=kwargs, **options)


def mha(**options):
    return lambda: L.MultiHeadAttention(**{"num_heads": 2, "key_dim": 3, **options})


CALLS = {
    "": {}, "_causal": {"use_causal_mask": True}, "_scores": {"return_attention_scores": True},
    "_causal_scores": {"use_causal_mask": True, "return_attention_scores": True},
}
for label, kwargs in CALLS.items():
    itself(f"mha{label}", mha(), X, kwargs=kwargs)
    itself(f"mha{label}_masked", mha(), X, kwargs=kwargs, masks=[MASK])
    itself(f"mha{label}_given", mha(), X, SEEN, kwargs={**kwargs, "attention_mask": ref(1)})
    itself(f"mha{label}_given_masked", mha(), X, SEEN, masks=[MASK], kwargs={**kwargs, "attention_mask": ref(1)})
    itself(f"mha{label}_dropout_masked", mha(dropout=0.3), X, kwargs=kwargs, masks=[MASK])
    add(f"mha{label}_cross_masked", mha(value_dim=5), QUERY, (B, S, 3), masks=[QUERY_MASK, MASK], kwargs=kwargs,
        call=([ref(0), ref(1)], {}))
itself("mha_given_heads", mha(), X, HEADS, kwargs={"attention_mask": ref(1)}, free=[[0, 1], [0, 2, 3]])
itself("mha_given_heads_scores", mha(), X, HEADS, free=[[0, 1], [0, 2, 3]],
       kwargs={"attention_mask": ref(1), "return_attention_scores": True})
itself("mha_given_ints", mha(), X, SEEN.astype("int32"), kwargs={"attention_mask": ref(1)})
itself("mha_no_bias", mha(use_bias=False, output_shape=4), X)
itself("mha_output_two", mha(output_shape=(2, 3)), X)
itself("mha_one_head", mha(num_heads=1, value_dim=1), X)
add("mha_key", mha(), QUERY, (B, S, 3), (B, S, 7), call=([ref(0), ref(1), ref(2)], {}))
add("mha_key_masked", mha(), QUERY, (B, S, 3), (B, S, 7), masks=[QUERY_MASK, MASK, MASK[:, ::-1].copy()],
    call=([ref(0), ref(1)], {"key": ref(2)}))
add("mha_only_value_masked", mha(), QUERY, (B, S, 3), masks=[None, MASK], call=([ref(0)], {"value": ref(1)}))
add("mha_only_query_masked", mha(), QUERY, (B, S, 3), masks=[QUERY_MASK], call=([ref(0), ref(1)], {}))

GRID = (B, 2, 3, 4)
for label, axes in (("all", None), ("first", (1,)), ("second", (2,)), ("turned", (2, 1))):
    itself(f"mha_axes_{label}", mha(attention_axes=axes), GRID)
    itself(f"mha_axes_{label}_scores", mha(attention_axes=axes), GRID, kwargs={"return_attention_scores": True})
rng = np.random.default_rng(3)
itself("mha_axes_all_given", mha(), GRID, rng.random((B, 2, 3, 2, 3)) < 0.5, kwargs={"attention_mask": ref(1)},
       free=[[0, 1], [0, 1, 3]])
itself("mha_axes_second_given", mha(attention_axes=(2,)), GRID, rng.random((B, 2, 3, 3)) < 0.5,
       kwargs={"attention_mask": ref(1)}, free=[[0, 1], [0, 1]])
itself("mha_axes_second_given_flat", mha(attention_axes=(2,)), GRID, rng.random((B, 3, 3)) < 0.5,
       kwargs={"attention_mask": ref(1)}, free=[[0, 1], [0]])
add("mha_axes_cross", mha(attention_axes=(2,), value_dim=2), (B, 2, 3, 4), (B, 2, 5, 4), call=([ref(0), ref(1)], {}),
    kwargs={"return_attention_scores": True})

if KERAS >= 3:
    def gqa(**options):
        sizes = {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}
        return lambda: L.GroupQueryAttention(**{**sizes, **options})

    for label, kwargs in CALLS.items():
        itself(f"gqa{label}", gqa(), X, kwargs=kwargs)
        itself(f"gqa{label}_masked", gqa(), X, kwargs=kwargs, masks=[MASK])
        add(f"gqa{label}_cross_masked", gqa(), QUERY, (B, S, D), masks=[QUERY_MASK, MASK], kwargs=kwargs,
            call=([ref(0), ref(1)], {}))
    itself("gqa_given", gqa(dropout=0.2), X, SEEN, kwargs={"attention_mask": ref(1)})
    itself("gqa_gate", gqa(use_gate=True), X, masks=[MASK])
    itself("gqa_one", gqa(num_key_value_heads=1, use_bias=False), X)
    itself("gqa_window", gqa(sliding_window=2), X, masks=[MASK])
    itself("mha_gate", mha(use_gate=True, value_dim=5), X)
    itself("mha_window", mha(sliding_window=2), X, kwargs={"use_causal_mask": True})
    itself("mha_window_scores", mha(sliding_window=1), X, masks=[MASK], kwargs={"return_attention_scores": True})


def dense(name, make, *inputs, masks=(), kwargs=None, **options):
    listed = ([[ref(i) for i in range(len(inputs))]], {})
    add(name, make, *inputs, masks=masks, kwargs=kwargs, call=listed, **options)


for cls_name in ("Attention", "AdditiveAttention"):
    cls, short = getattr(L, cls_name), cls_name.lower()
    for label, kwargs in CALLS.items():
        dense(f"{short}{label}", cls, X, X, kwargs=kwargs)
        dense(f"{short}{label}_masked", cls, QUERY, (B, S, D), kwargs=kwargs, masks=[QUERY_MASK, MASK])
        dense(f"{short}{label}_value_masked", cls, X, X, kwargs=kwargs, masks=[None, MASK])
    # Keras 2 sizes the scale of additive attention by the value.
    width = 2 if cls_name == "Attention" else D
    dense(f"{short}_three", cls, QUERY, (B, S, width), (B, S, D))
    dense(f"{short}_scale", lambda c=cls: c(use_scale=cls_name == "Attention"), QUERY, (B, S, D), masks=[QUERY_MASK])
    add(f"{short}_stated_masks", cls, QUERY, (B, S, D), QUERY_MASK, MASK,
        call=([[ref(0), ref(1)]], {"mask": [ref(2), ref(3)]}), free=[[0, 1], [0, 1], [0, 1], [0, 1]])
    add(f"{short}_stated_value_mask", cls, QUERY, (B, S, D), MASK, call=([[ref(0), ref(1)]], {"mask": [None, ref(2)]}),
        free=[[0, 1], [0, 1], [0, 1]])
dense("attention_four_axes", L.Attention, (B, 2, 3, D), (B, 2, S, D))
for scale in (False, True):
    name = f"attention_concat{'_scale' if scale else ''}"
    make = lambda s=scale: L.Attention(score_mode="concat", use_scale=s)
    dense(name, make, QUERY, (B, S, D))
    dense(f"{name}_masked", make, QUERY, (B, S, D), masks=[QUERY_MASK, MASK],
          kwargs={"return_attention_scores": True, "use_causal_mask": True})
