"""Cases of `layer_cases.py`: convolutions, pooling, reshaping, resampling, augmentation."""
from itertools import product

from keras import layers as L

from kit import KERAS
from layer_case import Table, floats, given, ints, mask

case = Table()
CASES = case.cases
M = (mask("110101", "101011"),)
TIME, IMAGE, VOLUME = ((0, 1),), ((0, 1, 2),), ((0, 1, 2, 3),)
FIRST = "channels_first"


def some(**options):
    """Every combination of the listed options."""
    return [dict(zip(options, values)) for values in product(*options.values())]


# One dimension
for options in some(kernel_size=[1, 3, 4], padding=["valid", "same", "causal"], strides=[1, 2]) + [
    {"kernel_size": 3, "dilation_rate": 2, "padding": p} for p in ("valid", "same", "causal")
] + [{"kernel_size": 2, "groups": 2}, {"kernel_size": 2, "use_bias": False, "activation": "relu"},
     {"kernel_size": 3, "groups": 4, "padding": "same", "strides": 2}]:
    case("conv1d", lambda o=options: L.Conv1D(4, **o), (2, 7, 4), free=TIME)
case("conv1d", lambda: L.Conv1D(3, 2), (2, 6, 2), masks=M)
case("conv1d", lambda: L.Conv1D(3, 2, data_format=FIRST), (2, 2, 6), free=((0, 2),))
# With channels first, Keras 3.15 on TensorFlow adds the bias along the last axis when that has as many elements as
# there are filters: no case here has.
case("conv1d", lambda: L.Conv1D(5, 3, data_format=FIRST, padding="same", strides=2), (2, 2, 6), free=((0, 2),))
case("conv1d", lambda: L.Conv1D(3, 3, data_format=FIRST, padding="causal", dilation_rate=2), (2, 2, 6), only=3)
case("conv1d", lambda: L.Conv1D(3, 2), (2, 3, 5, 2), only=2)
case("conv1d", lambda: L.Conv1D(3, 2, dtype="mixed_float16"), (2, 6, 2), loose=True)
case("conv1d", lambda: L.Conv1D(3, 2, dtype="float64"), (2, 6, 2))

# Two dimensions
for options in some(kernel_size=[(3, 3), (1, 2), (4, 3)], padding=["valid", "same"],
     strides=[(1, 1), (2, 2), (2, 1)]) + [
    {"kernel_size": 3, "dilation_rate": (2, 1)}, {"kernel_size": 3, "dilation_rate": 2, "padding": "same"},
    {"kernel_size": 2, "groups": 2}, {"kernel_size": 3, "groups": 2, "padding": "same", "strides": 2},
    {"kernel_size": 2, "use_bias": False}, {"kernel_size": 2, "activation": "hard_sigmoid"},
    {"kernel_size": 1, "strides": 3}, {"kernel_size": 5, "padding": "same", "strides": 3},
]:
    case("conv2d", lambda o=options: L.Conv2D(4, **o), (2, 6, 5, 2), free=IMAGE)
for options in ({}, {"padding": "same", "strides": 2}, {"groups": 2}, {"dilation_rate": 2}):
    case("conv2d", lambda o=options: L.Conv2D(6, 2, data_format=FIRST, **o), (2, 2, 6, 5), free=((0, 2, 3),))
case("conv2d", lambda: L.Conv2D(2, 2), (2, 3, 4, 4, 2), only=2)
case("conv2d", lambda: L.Conv2D(3, 2, dtype="mixed_float16"), (2, 4, 4, 2), loose=True)

# Three dimensions
for options in ({}, {"padding": "same"}, {"strides": 2, "padding": "same"}, {"strides": (1, 2, 1)},
     {"dilation_rate": 2},
                {"use_bias": False, "activation": "relu"}):
    case("conv3d", lambda o=options: L.Conv3D(2, (2, 3, 2), **o), (2, 4, 5, 4, 2), free=VOLUME)
case("conv3d", lambda: L.Conv3D(3, 2, data_format=FIRST, strides=2, padding="same"), (2, 2, 4, 5, 4))
case("conv3d", lambda: L.Conv3D(2, 2, groups=2), (2, 3, 3, 3, 2), only=3)

# Transposed
for options in some(kernel_size=[1, 2, 3, 5], padding=["valid", "same"], strides=[1, 2, 3]):
    case("conv1d_transpose", lambda o=options: L.Conv1DTranspose(3, **o), (2, 5, 2), free=TIME)
for kernel, padding, stride, extra in ((3, "same", 2, 1), (3, "same", 2, 0), (4, "same", 2, 1), (3, "valid", 2, 1),
                                       (4, "same", 3, 2), (2, "valid", 3, 0), (5, "same", 3, 1), (5, "valid", 3, 2)):
    case("conv1d_transpose", lambda k=kernel, p=padding, s=stride, e=extra:
         L.Conv1DTranspose(3, k, padding=p, strides=s, output_padding=e), (2, 5, 2), free=TIME)
case("conv1d_transpose", lambda: L.Conv1DTranspose(3, 3, data_format=FIRST, strides=2), (2, 2, 5))
case("conv1d_transpose", lambda: L.Conv1DTranspose(3, 3, dilation_rate=2, padding="same"), (2, 5, 2))
case("conv1d_transpose", lambda: L.Conv1DTranspose(3, 3, dilation_rate=2), (2, 5, 2))
for options in some(kernel_size=[(3, 3), (2, 4), (1, 3)], padding=["valid", "same"],
     strides=[(1, 1), (2, 2), (3, 2)]) + [
    {"kernel_size": 3, "strides": 2, "padding": "same", "output_padding": 1},
    {"kernel_size": 3, "strides": (2, 3), "padding": "valid", "output_padding": (1, 2)},
    {"kernel_size": (4, 3), "strides": (2, 3), "padding": "same", "output_padding": (1, 1)},
    {"kernel_size": 3, "dilation_rate": 2, "padding": "same"}, {"kernel_size": 3, "dilation_rate": 2},
    {"kernel_size": 2, "dilation_rate": 3, "padding": "same"},
    {"kernel_size": 3, "use_bias": False, "activation": "relu"},
]:
    case("conv2d_transpose", lambda o=options: L.Conv2DTranspose(3, **o), (2, 4, 3, 2), free=IMAGE)
case("conv2d_transpose", lambda: L.Conv2DTranspose(3, 3, data_format=FIRST, strides=2, padding="same"), (2, 2, 4, 3))
for options in ({}, {"strides": 2, "padding": "same"}, {"strides": (1, 2, 3), "padding": "valid"},
                {"strides": 2, "padding": "same", "output_padding": 1}, {"use_bias": False}):
    case("conv3d_transpose", lambda o=options: L.Conv3DTranspose(2, (2, 3, 3), **o), (2, 2, 3, 2, 2), free=VOLUME)

# A kernel for each position
if KERAS < 3:
    for implementation, options in product((1, 2), ({}, {"strides": 2}, {"use_bias": False, "activation": "relu"})):
        case("locally_connected1d", lambda i=implementation, o=options:
             L.LocallyConnected1D(2, 3, implementation=i, **o), (2, 7, 3))
        case("locally_connected2d", lambda i=implementation, o=options:
             L.LocallyConnected2D(2, (2, 3), implementation=i, **o), (2, 4, 5, 2))
    for implementation in (1, 2):
        case("locally_connected1d", lambda i=implementation:
             L.LocallyConnected1D(2, 3, implementation=i, data_format=FIRST), (2, 3, 7))
        case("locally_connected2d", lambda i=implementation:
             L.LocallyConnected2D(2, (2, 3), implementation=i, data_format=FIRST), (2, 2, 4, 5))
    case("locally_connected1d", lambda: L.LocallyConnected1D(2, 3, implementation=2, padding="same", strides=2),
         (2, 7, 3))
    case("locally_connected2d", lambda: L.LocallyConnected2D(2, (2, 3), implementation=2, padding="same"), (2, 4, 5, 2))

# Depthwise and separable
for options in some(kernel_size=[2, 3], padding=["valid", "same"], strides=[1, 2], depth_multiplier=[1, 2]) + [
    {"kernel_size": 3, "dilation_rate": 2, "padding": "same"}, {"kernel_size": 3, "dilation_rate": 2},
    {"kernel_size": 2, "use_bias": False, "activation": "relu"},
]:
    case("depthwise_conv1d", lambda o=options: L.DepthwiseConv1D(**o), (2, 7, 3), free=TIME)
    case("depthwise_conv2d", lambda o=options: L.DepthwiseConv2D(**o), (2, 7, 6, 3), free=IMAGE)
    case("separable_conv1d", lambda o=options: L.SeparableConv1D(4, **o), (2, 7, 3), free=TIME)
    case("separable_conv2d", lambda o=options: L.SeparableConv2D(4, **o), (2, 7, 6, 3), free=IMAGE)
case("separable_conv1d", lambda: L.SeparableConv1D(4, 3, padding="causal"), (2, 7, 3), only=2)
case("depthwise_conv2d", lambda: L.DepthwiseConv2D(3, data_format=FIRST, depth_multiplier=2), (2, 3, 6, 5))
case("separable_conv2d", lambda: L.SeparableConv2D(4, 3, data_format=FIRST, padding="same"), (2, 3, 6, 5))
case("depthwise_conv2d", lambda: L.DepthwiseConv2D((2, 3), dilation_rate=(1, 2)), (2, 6, 6, 3))
case("depthwise_conv2d", lambda: L.DepthwiseConv2D(3, strides=2, dilation_rate=2, padding="same"), (2, 7, 6, 3), only=3)

# Pooling
for kind in ("Max", "Average"):
    for options in some(pool_size=[2, 3], padding=["valid", "same"], strides=[None, 1, 3]):
        case(f"{kind.lower()}_pooling1d", lambda k=kind, o=options: getattr(L, k + "Pooling1D")(**o), (2, 7, 3),
             free=TIME)
        case(f"{kind.lower()}_pooling2d", lambda k=kind, o=options: getattr(L, k + "Pooling2D")(**o), (2, 7, 6, 3),
             free=IMAGE)
    case(f"{kind.lower()}_pooling1d", lambda k=kind: getattr(L, k + "Pooling1D")(2), (2, 6, 3), masks=M)
    for options in ({"pool_size": (3, 2), "strides": (2, 1), "padding": "same"}, {"pool_size": (1, 3)}):
        case(f"{kind.lower()}_pooling2d", lambda k=kind, o=options: getattr(L, k + "Pooling2D")(**o), (2, 7, 6, 3),
             free=IMAGE)
    for options in ({"pool_size": 2}, {"pool_size": 2, "padding": "same"}, {"pool_size": (1, 2, 3)},
                    {"strides": 1, "padding": "same", "pool_size": 3}):
        case(f"{kind.lower()}_pooling3d", lambda k=kind, o=options: getattr(L, k + "Pooling3D")(**o), (2, 5, 4, 3, 2),
             free=VOLUME)
    case(f"{kind.lower()}_pooling1d", lambda k=kind: getattr(L, k + "Pooling1D")(2, data_format=FIRST), (2, 3, 6))
    case(f"{kind.lower()}_pooling2d", lambda k=kind: getattr(L, k + "Pooling2D")(2, data_format=FIRST,
         padding="same"), (2, 3, 5, 5))
    for keep in (False, True):
        glob = "Global" + kind + "Pooling"
        name = f"global_{kind.lower()}_pooling"
        case(name + "1d", lambda g=glob, k=keep: getattr(L, g + "1D")(keepdims=k), (2, 6, 3), free=TIME)
        case(name + "1d", lambda g=glob, k=keep: getattr(L, g + "1D")(keepdims=k), (2, 6, 3), masks=M, free=TIME)
        case(name + "1d", lambda g=glob, k=keep: getattr(L, g + "1D")(keepdims=k, data_format=FIRST), (2, 3, 6))
        case(name + "2d", lambda g=glob, k=keep: getattr(L, g + "2D")(keepdims=k), (2, 3, 4, 2), free=IMAGE)
        case(name + "2d", lambda g=glob, k=keep: getattr(L, g + "2D")(keepdims=k, data_format=FIRST), (2, 2, 3, 4))
        case(name + "3d", lambda g=glob, k=keep: getattr(L, g + "3D")(keepdims=k), (2, 3, 2, 2, 2), free=VOLUME)
case("global_average_pooling1d", lambda: L.GlobalAveragePooling1D(data_format=FIRST), (2, 3, 6), masks=M)
if KERAS >= 3 and hasattr(L, "AdaptiveAveragePooling1D"):
    for kind in ("Average", "Max"):
        for size in (1, 2, 3, 4, 6):
            case(f"adaptive_{kind.lower()}_pooling1d", lambda k=kind, s=size: getattr(L, f"Adaptive{k}Pooling1D")(s),
                 (2, 6, 3))
        for size in (1, 2, (3, 2), (4, 5), (6, 5)):
            case(f"adaptive_{kind.lower()}_pooling2d", lambda k=kind, s=size: getattr(L, f"Adaptive{k}Pooling2D")(s),
                 (2, 6, 5, 2))
        case(f"adaptive_{kind.lower()}_pooling2d", lambda k=kind: getattr(L, f"Adaptive{k}Pooling2D")(2,
             data_format=FIRST), (2, 2, 6, 5))
        case(f"adaptive_{kind.lower()}_pooling3d", lambda k=kind: getattr(L, f"Adaptive{k}Pooling3D")((2, 3, 1)),
             (2, 5, 4, 3, 2))

# Reshaping
case("flatten", L.Flatten, (2, 3, 4), free=TIME)
case("flatten", L.Flatten, (2,))
case("flatten", L.Flatten, (2, 3))
case("flatten", lambda: L.Flatten(data_format=FIRST), (2, 2, 3, 4))
case("flatten", lambda: L.Flatten(data_format=FIRST), (2, 3))
case("flatten", L.Flatten, (2, 6, 2), masks=M)
for target in ((6,), (-1,), (3, -1), (2, 3), (-1, 2), (1, 6, 1), (3, 2, -1)):
    case("reshape", lambda t=target: L.Reshape(t), (2, 3, 2))
case("reshape", lambda: L.Reshape((-1, 2)), (2, 3, 4), free=TIME)
case("reshape", lambda: L.Reshape((-1, 6)), (2, 3, 4), free=TIME)
case("reshape", lambda: L.Reshape((-1, 4, 1)), (2, 3, 4), free=TIME, masks=(mask("110", "101"),))
case("permute", lambda: L.Permute((2, 1)), (2, 3, 4), free=TIME)
case("permute", lambda: L.Permute((3, 1, 2)), (2, 3, 4, 2), free=IMAGE)
case("repeat_vector", lambda: L.RepeatVector(3), (2, 4))
case("repeat_vector", lambda: L.RepeatVector(2), (2, 4), masks=(mask("1", "0"),))
case("zero_padding1d", lambda: L.ZeroPadding1D(2), (2, 3, 2), free=TIME)
case("zero_padding1d", lambda: L.ZeroPadding1D((0, 3)), (2, 3, 2))
case("zero_padding1d", lambda: L.ZeroPadding1D((1, 2), data_format=FIRST), (2, 3, 2), only=3)
for padding in (1, (1, 2), ((1, 0), (2, 3))):
    case("zero_padding2d", lambda p=padding: L.ZeroPadding2D(p), (2, 3, 2, 2), free=IMAGE)
    case("zero_padding2d", lambda p=padding: L.ZeroPadding2D(p, data_format=FIRST), (2, 2, 3, 2))
case("zero_padding3d", lambda: L.ZeroPadding3D(((1, 0), (2, 1), (0, 1))), (2, 2, 2, 2, 2))
case("zero_padding3d", lambda: L.ZeroPadding3D((1, 0, 2), data_format=FIRST), (2, 2, 2, 2, 2))
case("cropping1d", lambda: L.Cropping1D(1), (2, 4, 2), free=TIME)
case("cropping1d", lambda: L.Cropping1D((2, 0)), (2, 4, 2))
for cropping in (1, (1, 2), ((1, 0), (0, 2)), 0):
    case("cropping2d", lambda c=cropping: L.Cropping2D(c), (2, 5, 6, 2), free=IMAGE)
    case("cropping2d", lambda c=cropping: L.Cropping2D(c, data_format=FIRST), (2, 2, 5, 6))
case("cropping3d", lambda: L.Cropping3D(((1, 0), (0, 1), (1, 1))), (2, 3, 3, 3, 2), free=VOLUME)
case("cropping3d", lambda: L.Cropping3D((1, 0, 1), data_format=FIRST), (2, 2, 3, 3, 3))

# Resampling
case("up_sampling1d", lambda: L.UpSampling1D(3), (2, 3, 2), free=TIME)
# TensorFlow takes the weights of the bicubic kernel from a table of 1024 positions.
INEXACT = {"bicubic": 5e-3}
for interpolation in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"):
    for size in ((2, 3), (1, 4)):
        case(f"up_sampling2d_{interpolation}", lambda i=interpolation, s=size: L.UpSampling2D(s, interpolation=i),
             (2, 4, 3, 2), free=IMAGE, tolerance=INEXACT.get(interpolation, 0))
    case(f"up_sampling2d_{interpolation}", lambda i=interpolation:
         L.UpSampling2D(2, interpolation=i, data_format=FIRST), (1, 2, 4, 3))
case("up_sampling2d_area", lambda: L.UpSampling2D(2, interpolation="area"), (2, 4, 3, 2), only=2)
case("up_sampling2d_bilinear", lambda: L.UpSampling2D(2, interpolation="bilinear", dtype="mixed_float16"),
     (2, 2, 3, 2), loose=True)
case("up_sampling3d", lambda: L.UpSampling3D((2, 1, 3)), (1, 2, 2, 2, 2), free=VOLUME)
case("up_sampling3d", lambda: L.UpSampling3D(2, data_format=FIRST), (1, 2, 2, 2, 2))
for interpolation in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5") + (("area",) if KERAS < 3 else ()):
    for target in ((6, 7), (3, 2), (4, 9)):
        case(f"resizing_{interpolation}", lambda i=interpolation, t=target: L.Resizing(*t, interpolation=i),
             (2, 4, 5, 2), tolerance=INEXACT.get(interpolation, 0))
case("resizing_bilinear", lambda: L.Resizing(3, 3), (4, 5, 2), free=((),))
case("resizing_bilinear", lambda: L.Resizing(3, 7), ints((2, 4, 5, 3), 0, 256, "uint8"), tolerance=1.0)
case("resizing_nearest", lambda: L.Resizing(3, 7, interpolation="nearest"), ints((2, 4, 5, 3), 0, 256, "uint8"))
case("resizing_bilinear", lambda: L.Resizing(3, 7), (2, 4, 5, 2), free=IMAGE)
for shape in ((2, 4, 9, 2), (2, 9, 4, 2), (2, 5, 5, 1)):
    case("resizing_crop", lambda: L.Resizing(3, 4, crop_to_aspect_ratio=True), shape)
    if KERAS >= 3:
        case("resizing_pad", lambda: L.Resizing(3, 4, pad_to_aspect_ratio=True, fill_value=2.0), shape)
if KERAS >= 3:
    for interpolation, target in product(("bilinear", "bicubic", "lanczos3"), ((3, 4), (9, 2))):
        case("resizing_antialias", lambda i=interpolation, t=target:
             L.Resizing(*t, interpolation=i, antialias=True), (1, 8, 9, 2))
    case("resizing_first", lambda: L.Resizing(3, 4, data_format=FIRST), (1, 2, 8, 9))
for shape in ((2, 6, 7, 2), (2, 5, 5, 2), (2, 3, 9, 2), (2, 2, 2, 1)):
    case("center_crop", lambda: L.CenterCrop(4, 5), shape)
case("center_crop", lambda: L.CenterCrop(2, 3), (2, 6, 7, 2), free=IMAGE, only=3)
case("center_crop", lambda: L.CenterCrop(2, 3), ints((2, 6, 7, 2), 0, 9))

if KERAS >= 3:
    case("auto_contrast", lambda: L.AutoContrast(), floats((2, 3, 4, 2), 20.0, 200.0), free=IMAGE)
    case("auto_contrast", lambda: L.AutoContrast(value_range=(0, 1)), floats((2, 3, 4, 2), 0.2, 0.7))
    case("auto_contrast", lambda: L.AutoContrast(), ints((2, 3, 4, 2), 20, 200, "uint8"))
    case("auto_contrast", lambda: L.AutoContrast(), given([[[[3.0, 5.0]], [[3.0, 9.0]]]]))

    for options, shape in (({}, (1, 13, 10, 2)), ({"clip_limit": 1.5, "value_range": (0, 1)}, (2, 8, 9, 1))):
        case("clahe", lambda o=options: L.ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(2, 3), **o),
             floats(shape, 0.0, 1.0 if options else 250.0))
    for mode in ("log", "psd", "angle"):
        case("stft_spectrogram", lambda m=mode: L.STFTSpectrogram(mode=m, frame_length=8, frame_step=4), (2, 20, 2),
             free=TIME)
    case("stft_spectrogram", lambda: L.STFTSpectrogram(mode="stft", frame_length=8, expand_dims=True, padding="same",
         data_format=FIRST), (2, 2, 20))
    for options in ({}, {"power_to_db": False, "mag_exp": 1.0, "window": "hamming"}):
        case("mel_spectrogram", lambda o=options: L.MelSpectrogram(fft_length=16, sequence_stride=4, num_mel_bins=3,
             sampling_rate=8000, **o), (2, 30))

# A Lambda is lowered by what the user says that it computes.
for function, expression in (
    (lambda x: x / 127.5 - 1, "x / 127.5 - 1"),
    (lambda x: -abs(x) ** 2 + 0.5 * (x % 2), "-abs(x) ** 2 + 0.5 * (x % 2)"),
):
    case("lambda", lambda f=function: L.Lambda(f), (2, 3, 4), expression=expression, free=TIME)

# Augmentation: nothing happens at inference
AUGMENT = dict(says_training=True)
for name, make in {
    "RandomBrightness": lambda: L.RandomBrightness(0.5), "RandomContrast": lambda: L.RandomContrast(0.5),
    "RandomFlip": lambda: L.RandomFlip(), "RandomRotation": lambda: L.RandomRotation(0.3),
    "RandomTranslation": lambda: L.RandomTranslation(0.3, 0.3), "RandomZoom": lambda: L.RandomZoom(0.3),
    "RandomCrop": lambda: L.RandomCrop(3, 2), "RandomHeight": lambda: L.RandomHeight(0.3),
    "RandomWidth": lambda: L.RandomWidth(0.3), "RandomGrayscale": lambda: L.RandomGrayscale(0.9),
    "RandomHue": lambda: L.RandomHue(0.9), "RandomSaturation": lambda: L.RandomSaturation(0.9),
    "RandomSharpness": lambda: L.RandomSharpness(0.9), "RandomShear": lambda: L.RandomShear(0.9, 0.9),
    "RandomColorJitter": lambda: L.RandomColorJitter(brightness_factor=0.5),
    "RandomColorDegeneration": lambda: L.RandomColorDegeneration(0.5),
    "RandomPosterization": lambda: L.RandomPosterization(4), "RandomErasing": lambda: L.RandomErasing(),
    "RandomElasticTransform": lambda: L.RandomElasticTransform(), "RandomGaussianBlur": lambda: L.RandomGaussianBlur(),
    "RandomInvert": lambda: L.RandomInvert(), "RandomPerspective": lambda: L.RandomPerspective(),
    "Equalization": lambda: L.Equalization(), "Solarization": lambda: L.Solarization(), "AugMix": lambda: L.AugMix(),
    "CutMix": lambda: L.CutMix(), "MixUp": lambda: L.MixUp(), "RandAugment": lambda: L.RandAugment(),
}.items():
    if hasattr(L, name):
        case(name, make, floats((2, 5, 4, 3), 0.0, 255.0), **AUGMENT)
        case(name, make, ints((2, 5, 4, 3), 0, 256, "uint8"), **AUGMENT)
