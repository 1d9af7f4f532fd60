def attention(q, k, v, mask=None, scale=1.0, causal=False, mask_bias=-1e9):
    """Attention and its weights; q, k, v are (batch, time, heads, width)."""
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = scale * (q @ k.transpose(2, 3))
    if causal:
        past = torch.ones(scores.shape[2:], dtype=torch.bool, device=q.device).tril()
        mask = past if mask is None else mask & past
    if mask is not None:
        # Lowered rather than taken away: what is masked wholly attends to all alike.
        scores = scores + mask_bias * (~mask).to(scores.dtype)
    weights = F.softmax(scores, dim=3)
    return (weights @ v).transpose(1, 2), weights
