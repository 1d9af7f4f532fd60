def pad_same(x, window, strides, dilations=None, value=0.0):
    """Pads so that a window over x gives ceil(length / stride), as Keras' "same"."""
    pads = []
    for i, size in reversed(list(enumerate(window))):
        reach = (size - 1) * (dilations[i] if dilations else 1) + 1
        steps = (x.shape[2 + i] + strides[i] - 1) // strides[i]
        total = max((steps - 1) * strides[i] + reach - x.shape[2 + i], 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)
