def resize_axis(
    x, dim, size, mode, coordinates, rounding="floor", a=-0.5, antialias=False
):
    """Resamples one axis to `size` as TensorFlow does: taps outside are left out."""
    length = x.shape[dim]
    out = torch.arange(size, device=x.device, dtype=torch.float64)
    if coordinates == "half_pixel":
        center = ((2 * out + 1) * length - size) / (2 * size)
    elif coordinates == "asymmetric":
        center = out * length / size
    else:
        center = out * (length - 1) / max(size - 1, 1)
    if mode == "nearest":
        pick = {
            "floor": torch.floor(center),
            "ceil": torch.ceil(center),
            "half_up": torch.floor(center + 0.5),
            "half_down": torch.ceil(center - 0.5),
        }[rounding]
        return x.index_select(dim, pick.clamp(0, length - 1).long())
    taps = torch.arange(length, device=x.device, dtype=torch.float64)
    if mode == "area":
        begin, end = out * length / size, (out + 1) * length / size
        weights = torch.minimum(end[:, None], taps + 1)
        weights = (weights - torch.maximum(begin[:, None], taps)).clamp(min=0)
    else:
        stretch = max(length / size, 1.0) if antialias else 1.0
        distance = (taps - center[:, None]).abs() / stretch
        weights = resize_kernel(distance, mode, a)
    total = weights.sum(1, keepdim=True)
    nearest = center.clamp(0, length - 1).round().long()
    edge = F.one_hot(nearest, length).to(weights.dtype)
    weights = torch.where(total == 0, edge, weights / total)
    return torch.movedim(torch.movedim(x, dim, -1) @ weights.T.to(x.dtype), -1, dim)


def resize_kernel(distance, mode, a):
    """The weight of a tap at this distance from the centre."""
    if mode == "linear":
        return (1 - distance).clamp(min=0)
    if mode == "cubic":
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
        far = torch.where(distance < 2, far, torch.zeros_like(far))
        return torch.where(distance < 1, near, far)
    radius = {"lanczos3": 3, "lanczos5": 5}[mode]
    weights = torch.sinc(distance) * torch.sinc(distance / radius)
    return torch.where(distance < radius, weights, torch.zeros_like(weights))
