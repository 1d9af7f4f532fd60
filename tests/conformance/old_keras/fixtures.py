"""Copies some of the models that `check.py --make` has made to tests/fixtures/old_keras, as VERSION_CASE.

    python3 fixtures.py

They are those that once came out wrong, and one of everything for each version.
"""
import os
import shutil

import check

OUT = os.path.join(check.ROOT, "tests", "fixtures", "old_keras")
CHOSEN = {
    "keras1.0.8-theano": ("one-conv2d_even_same_th", "one-max_pooling_same_tf", "one-average_pooling_same_th",
                          "one-zero_padding_four"),
    "keras1.1.2-tensorflow": ("one-shared_lstm", "one-zero_padding_four", "one-zero_padding_1d_named"),
    "keras2.0.9-tensorflow": ("two-legacy_layers", "two-old_merge", "two-seq2seq"),
    "keras2.1.6-tensorflow": ("two-cells_turned",),
    "keras2.2.4-tensorflow": ("recurrent-simple_softmax_initial_masked", "recurrent-gru_both_initial_masked",
                               "two-cells", "two-cells_masked"),
    "keras2.2.4-theano": ("model-conv2d_same_strides", "model-conv2d_transpose_same_output_padding",
                          "model-max_pooling_2d_same_one", "model-separable_conv2d", "two-conv_lstm"),
    "keras2.3.1-tensorflow": ("recurrent-bidirectional_simple_state_initial_masked",),
    "tf1.12": ("two-pair_masked_gru", "two-pair_masked_unrolled_lstm"),
    "tf1.13": ("two-pair_masked_gru", "two-pair_masked_unrolled_lstm"),
    "tf1.15": ("two-frozen_inside",),
    "tf2.0": ("recurrent-bidirectional_gru_none_sequences_masked", "two-merge_functions", "two-zeros_masked_lstm"),
    "tf2.6": ("two-time_nested",),
    "tf2.9": ("model-mha_embedding_mask", "model-mha_embedding_mask_pooled"),
}


def main():
    os.makedirs(OUT, exist_ok=True)
    for version, cases in CHOSEN.items():
        for case in cases:
            for end in (".h5", ".golden.npz"):
                path = os.path.join(check.folder_of(version), case + end)
                name = "%s_%s" % (version, case.split("-", 1)[1])
                # The suite reads what stands before the last dot as the name.
                shutil.copy(path, os.path.join(OUT, name + end))
    print(len(os.listdir(OUT)), "files,", sum(os.path.getsize(os.path.join(OUT, f)) for f in os.listdir(OUT)), "bytes")


if __name__ == "__main__":
    main()
