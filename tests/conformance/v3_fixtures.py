"""Makes tests/fixtures/keras_v3/2, /3 and /2.12: a few of the fixtures' models as `.keras`, by the Keras that runs it.

    keras2/bin/python v3_fixtures.py        (and the same with keras3, and with tensorflow-cpu==2.12.0)

Keras 2.12 lays the weights out otherwise (`_layer_checkpoint_dependencies`); its models are those of 2.15.
"""
import os

import kit
import keras
import numpy as np
import registry
import cases_basic, cases_conv, cases_rnn, cases_attention, cases_graph, cases_beyond  # noqa: F401,E401  they fill the table

EARLY = keras.__version__.startswith("2.12.")
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "keras_v3",
                   "2.12" if EARLY else str(kit.KERAS))
EARLY_NAMES = ["nested_partly_frozen", "beyond_rnn_stacked_cells", "dropout_family", "alphabet_order"]
NAMES = ["nested_partly_frozen", "time_distributed_nested", "mha_cross", "beyond_rnn_stacked_cells",
         "beyond_spectral_normalization", "shared_dense", "dictionary_outputs", "depthwise_conv2d",
         "normalization_adapted", "gru_state", "bidirectional_stacked", "dropout_family"]


def main():
    os.makedirs(OUT, exist_ok=True)
    for name in EARLY_NAMES if EARLY else NAMES:
        kit.begin(name)
        model = registry.CASES[name].build()
        kit.randomise(model, np.random.default_rng(kit.seed_of(name)))
        options = {"save_format": "keras_v3"} if EARLY else {}
        model.save(os.path.join(OUT, f"{name}.keras"), **options)


if __name__ == "__main__":
    main()
