class Noise(nn.Module):
    """Random in training only; positions that differ along `shared` alone draw once."""

    def __init__(self, kind, rate, shared=()):
        super().__init__()
        self.kind = kind
        self.rate = rate
        self.shared = shared

    def forward(self, x):
        if not self.training:
            return x
        shape = [1 if i in self.shared else size for i, size in enumerate(x.shape)]
        if self.kind == "dropout":
            keep = torch.rand(shape, device=x.device) >= self.rate
            return x * keep.to(x.dtype) / (1 - self.rate)
        noise = torch.randn(shape, dtype=x.dtype, device=x.device)
        if self.kind == "multiply":
            return x * (1 + noise * (self.rate / (1 - self.rate)) ** 0.5)
        return x + noise * self.rate
