def average_pool(x, seen, window, strides):
    """The mean of each window over what is not padding; `seen` is 1 there, else 0."""
    pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[len(window)]
    return pool(x, window, stride=strides) / pool(seen, window, stride=strides)
