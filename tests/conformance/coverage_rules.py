"""What coverage.py asks of the matrix: the values that an option must have had somewhere, and what need not be tried."""
from kit import KERAS

if KERAS >= 3:
    from keras.src.activations import ALL_OBJECTS_DICT
    ACTIVATIONS = sorted(set(ALL_OBJECTS_DICT) - {"threshold"})
else:
    ACTIVATIONS = """elu exponential gelu hard_sigmoid leaky_relu linear log_softmax mish relu relu6 selu sigmoid silu
        softmax softplus softsign swish tanh""".split()

# Options that do not change what a model computes at inference, or that are no part of a stored model.
EFFECTLESS = {
    "*_initializer": "weights are stored", "*_regularizer": "training", "*_constraint": "training",
    "name": "a name", "trainable": "training", "seed": "training", "dropout": "training", "recurrent_dropout": "training",
    "noise_shape": "training", "rate": "training", "stddev": "training", "momentum": "training", "l1": "training",
    "l2": "training", "renorm_momentum": "training", "renorm_clipping": "training", "adjustment": "never stored",
    "synchronized": "training", "fused": "speed", "virtual_batch_size": "training", "unroll": "speed",
    "use_cudnn": "speed", "flash_attention": "speed", "force_generator": "training", "rng_type": "training",
    "unit_forget_bias": "an initial value", "power_iterations": "training", "lora_rank": "merged when saved",
    "lora_alpha": "merged when saved", "gptq_unpacked_column_size": "another layout, refused by name",
    "quantization_config": "fixtures of keras_v3", "weights": "weights are stored", "input_length": "a shape",
    "num_bins": "adapting", "max_tokens": "adapting", "vocabulary_dtype": "a dtype", "epsilon@Discretization": "adapting",
    "sparse": "a sparse tensor is no value of a model's", "ragged": "a ragged tensor is no value of a model's",
    "bounding_box_format": "of bounding boxes, which are no input of a saved model", "encoding": "UTF-8 is all there is",
    "partitioner": "training", "input_tensor": "never stored", "retstep": "a second result of numpy's",
    "factor@CenterCrop": "unused", "factor@Resizing": "unused", "factor@AutoContrast": "unused",
    "factor@ContrastLimitedAdaptiveHistogramEqualization": "unused", "function@Lambda": "code, by fixtures of lambda",
    "mask@Lambda": "code", "arguments@Lambda": "by fixtures of lambda", "output_shape@Lambda": "a shape",
    "input_dim": "a size", "units": "a size", "filters": "a size", "layer": "any case has one", "cells": "any case has one",
    "cell": "any case has one", "layers": "any case has one", "n": "a size", "num_tokens": "a size",
    "vocabulary": "any case has one", "output_dim": "a size", "num_heads": "a size", "key_dim": "a size",
    "head_dim": "a size", "standardize@TextVectorization": "refused as a whole",
    "split@TextVectorization": "refused as a whole", "ngrams@TextVectorization": "refused as a whole",
}
# Call arguments of which no more than a presence or an absence is asked for elsewhere.
CALLS_EFFECTLESS = {
    "training": "cases of its own: matrix_extra.refused and BatchNormalization's", "kwargs": "code", "args": "code",
    "cols_to_output_tensors": "code",
}
# Classes that are refused whatever their options: one case (or the reason why none can be made) is enough.
REFUSED = {
    "AbstractRNNCell": "a class of one's own", "DenseFeatures": "feature columns cannot be saved", "FlaxLayer": "code",
    "JaxLayer": "code", "TorchModuleWrapper": "code", "TFSMLayer": "another file's graph", "Layer": "a class of one's own",
    "Wrapper": "a class of one's own", "InputLayer": "every case has one", "HashedCrossing": "", "Hashing": "",
    "TextVectorization": "",
}
# Identity at inference: their options are all training's.
IDENTITY = ("Random", "AugMix", "CutMix", "MixUp", "RandAugment")
COMPUTED = ("RandomFourierFeatures",)

PADDING, FORMATS = ("valid", "same"), ("channels_last", "channels_first")
BY_SIZE = ["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"]
RESIZES = BY_SIZE + ([] if KERAS >= 3 else ["area", "gaussian", "mitchellcubic"])
COUNTS = ("int", "one_hot", "multi_hot", "count")
# Enumerations: an option's values, for `option@Class`, else for `option`.
ENUMS = {
    "padding@Conv1D": (*PADDING, "causal"), "padding@SeparableConv1D": (*PADDING, "causal") if KERAS < 3 else PADDING, "padding": PADDING,
    "padding@ZeroPadding1D": None, "padding@ZeroPadding2D": None, "padding@ZeroPadding3D": None,
    "data_format": FORMATS, "interpolation": BY_SIZE, "interpolation@Resizing": RESIZES,
    "interpolation@UpSampling2D": BY_SIZE + ([] if KERAS >= 3 else ["area", "gaussian", "mitchellcubic"]),
    "fill_mode@Resizing": ("constant",), "output_mode": COUNTS, "output_mode@CategoryEncoding": COUNTS[1:],
    "output_mode@IntegerLookup": (*COUNTS, "tf_idf"), "output_mode@StringLookup": (*COUNTS, "tf_idf"),
    "merge_mode": ("concat", "sum", "mul", "ave", None), "score_mode": ("dot", "concat"),
    "score_mode@AdditiveAttention": None, "implementation": (1, 2, 3),
    "mode@STFTSpectrogram": ("log", "magnitude", "psd", "real", "imag", "angle", "stft"),
    "scaling": ("density", "spectrum", None), "window@STFTSpectrogram": ("hann", "hamming", None),
    "oov_method": ("floormod", "farmhash"),     "reset_after": (True, False), "reduction": (None, "add", "max", "min", "mul"), "method": ("linear", "lower", "higher",
                                                                                           "midpoint", "nearest"),
    "mode@ops.numpy.Pad": ("constant", "reflect", "symmetric"), "mode@ops.numpy.Correlate": ("valid", "same", "full"),
    "side": ("left", "right"), "indexing": ("xy", "ij"),
    "interpolation@ops.image.Resize": BY_SIZE, "interpolation@ops.image.AffineTransform": ("nearest", "bilinear"),
    "fill_mode@ops.image.AffineTransform": ("constant", "nearest", "wrap", "mirror", "reflect"),
    "interpolation@ops.image.PerspectiveTransform": ("nearest", "bilinear"), "order@ops.image.MapCoordinates": (0, 1),
    "fill_mode@ops.image.MapCoordinates": ("constant", "nearest", "wrap", "mirror", "reflect"),
    "method@ops.image.ScaleAndTranslate": ("linear", "cubic", "lanczos3", "lanczos5"),
    "strategy": ("greedy",),
}
# One size for each spatial axis: some case must have two that differ.
SIDES = ("kernel_size", "strides", "pool_size", "dilation_rate", "size", "output_size", "output_padding")

# Layers that take input of several ranks.
RANKS = {name: (2, 3, 4) for name in
         """Activation ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise ELU LeakyReLU PReLU ReLU
         Softmax Dense EinsumDense Identity Rescaling LayerNormalization UnitNormalization GroupNormalization Flatten
         Reshape Permute Add Multiply Average Maximum Minimum Subtract Concatenate Normalization""".split()}
RANKS |= {"BatchNormalization": (2, 3, 4, 5), "Embedding": (1, 2, 3), "TimeDistributed": (3, 4, 5), "Permute": (3, 4),
          "RMSNormalization": (2, 3, 4), "ThresholdedReLU": (2, 3, 4), "Masking": (3, 4), "Dot": (2, 3, 4)}
RANKS = {name: ranks for name, ranks in RANKS.items() if KERAS >= 3 or name != "RMSNormalization"}

# Policies that every layer that computes in floating point is tried with.
POLICIES = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")
# Layers of integers or strings, and containers of layers whose own policy says nothing.
NO_POLICY = """IntegerLookup StringLookup Discretization CategoryEncoding Hashing HashedCrossing TextVectorization Lambda
    RNN StackedRNNCells Pipeline RandomCrop""".split()
# No axis of these but the batch's can be free, or the framework makes no such model.
ALL_KNOWN = """Dense EinsumDense ReversibleEmbedding Normalization CategoryEncoding Permute RepeatVector Reshape
    Flatten""".split()
# Classes of which no case can be made, and why.
NO_CASE = {
    "ops.numpy.Abs": "keras.ops.abs makes Absolute", "ops.numpy.Conj": "keras.ops.conj makes Conjugate",
    "ops.numpy.Arange": "has no tensor", "ops.numpy.Full": "has no tensor",
    "ops.numpy.Histogram": "fails in Keras 3.15 on TensorFlow", "ops.nn.ConvTranspose": "fails in Keras 3.15 as a node",
    "ops.nn.CTCLoss": "a loss: refused", "ops.math.SegmentReduction": "a base class",
    "ops.math.ViewAsComplex": "complex numbers: refused", "ops.math.ViewAsReal": "complex numbers: refused",
    "ops.core.Cond": "code: refused", "ops.core.ForiLoop": "code: refused", "ops.core.WhileLoop": "code: refused",
    "ops.linalg.JVP": "code: refused", "ops.linalg.LuFactor": "fails as a node", "ops.einops.Rearrange": "code in a text",
    "MaxNumBoundingBoxes": "takes bounding boxes",
}
# Holes that stay, as (class, option, value), each a pattern; and why.
EXCUSED = {
    ("*", "attn_logits_soft_cap", "*"): "JAX on a TPU alone has it",
    ("*Conv2D", "strides", "sizes that differ"): "TensorFlow has none for depthwise convolutions",
    ("*", "groups", "*"): "of a base class: these layers refuse it",
    ("*", "salt", "*"): "strings have cases of their own", ("*", "oov_method", "*"): "strings have cases of their own",
    ("StringLookup", "*", "*"): "strings have cases of their own",
    ("*", "call:constants", "*"): "a cell of one's own", ("Lambda", "*", "*"): "cases of its own: fixtures of lambda",
    ("Pipeline", "call:mask", "*"): "of training", ("Pipeline", "input", "*"): "as its layers",
    ("ConvLSTM*", "input", "a free size"): "Keras wants its sizes", ("Embedding", "input", "a mask"): "it makes masks",
    ("*Equalization", "input", "a free size"): "refused: images of known size",
    ("Solarization", "input", "*"): "identity at inference",
    ("IntegerLookup", "*idf*", "*"): "Keras 2 stores no weights of that kind",
    ("IntegerLookup", "output_mode", "'tf_idf'"): "Keras 2 stores no weights of that kind",
    ("*MaxPooling3D", "dtype", "float64"): "TensorFlow has no such kernel",
    ("MelSpectrogram", "dtype", "float64"): "Keras multiplies by a matrix of float32",
    ("ops.numpy.Geomspace", "*", "*"): "Keras 3.15 on TensorFlow fails with them",
    ("STFTSpectrogram", "dtype", "*bfloat16"): "Keras refuses it",
    ("BatchNormalization", "renorm", "False"): "Keras 2 stores it only where it is true",
    ("GroupNormalization", "*", "*mask"): "Keras 2 fails with a mask of steps",
    ("GroupNormalization", "call:mask", "*"): "Keras 2 fails with a mask of steps",
    ("LocallyConnected*", "input", "a free size"): "it has a kernel for each place",
    ("SpatialDropout*", "dtype", "*"): "identity at inference",
    ("GroupQueryAttention", "input", "a free size"): "by fixtures of layers",
    ("ops.nn.*old", "padding", "*"): "numbers here", ("ops.image.AffineTransform", "fill_mode", "'mirror'"): "TensorFlow fails",
    ("ops.image.*", "data_format", "'channels_last'"): "is the default, stored as null",
    ("ops.image.ElasticTransform", "*", "*"): "refused", ("ops.image.Resize", "fill_mode", "*"): "has one value",
    ("ops.numpy.Unique", "*", "*"): "refused", ("ops.nn.CTCDecode", "*", "*"): "refused",
    ("ops.linalg.CholeskyInverse", "*", "*"): "refused", ("ops.linalg.Lstsq", "*", "*"): "refused",
    ("ops.linalg.MatrixRank", "*", "*"): "refused", ("ops.linalg.Pinv", "*", "*"): "refused",
    ("ops.linalg.Qr", "*", "*"): "refused", ("ops.linalg.SVD", "*", "*"): "refused",
    ("ops.core.*can", "*", "*"): "refused", ("ops.math.Segment*", "sorted", "*"): "promises, and changes nothing",
    ("ops.nn.SparseCategoricalCrossentropy", "axis", "*"): "Keras refuses other axes",
    ("ops.core.ConvertToTensor", "dtype", "*"): "Keras makes a Cast of it",
    ("Activation", "activation", "*swish"): "stored as silu or hard_silu", ("Activation", "activation", "silu"): "swish",
    ("ops.numpy.Trapezoid", "x", "*"): "refused: points that are given",
    ("UpSampling2D", "input", "a free size"): "by layer-*_free",
}
