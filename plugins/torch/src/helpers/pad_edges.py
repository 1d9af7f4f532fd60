def pad_edges(x, dim, before, after, mode):
    """Pads one axis with what is in it: edge, reflect or symmetric, as numpy's pad."""
    size = x.shape[dim]
    index = torch.arange(-before, size + after, device=x.device)
    if mode == "edge":
        index = index.clamp(0, size - 1)
    elif mode == "reflect":
        index = size - 1 - (size - 1 - index.abs()).abs()
    else:
        index = torch.where(index < 0, -1 - index, index)
        index = torch.where(index >= size, 2 * size - 1 - index, index)
    return x.index_select(dim, index)
