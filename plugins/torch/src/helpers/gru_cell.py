class KerasGRUCell(nn.Module):
    """One step of a GRU, r before or after the product with h; gates r, z, n."""

    def __init__(
        self,
        input_size,
        hidden_size,
        bias=True,
        activation=torch.tanh,
        recurrent_activation=torch.sigmoid,
        reset_after=False,
        dtype=None,
    ):
        super().__init__()
        self.hidden_size = hidden_size
        self.activation = activation
        self.recurrent_activation = recurrent_activation
        self.reset_after = reset_after
        width = 3 * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(width, input_size, dtype=dtype))
        self.weight_hh = nn.Parameter(torch.empty(width, hidden_size, dtype=dtype))
        self.bias_ih = nn.Parameter(torch.empty(width, dtype=dtype)) if bias else None
        both = bias and reset_after
        self.bias_hh = nn.Parameter(torch.empty(width, dtype=dtype)) if both else None

    def forward(self, x, h):
        size = self.hidden_size
        x_r, x_z, x_n = F.linear(x, self.weight_ih, self.bias_ih).chunk(3, dim=1)
        if self.reset_after:
            gates = F.linear(h, self.weight_hh, self.bias_hh)
            h_r, h_z, h_n = gates.chunk(3, dim=1)
            r = self.recurrent_activation(x_r + h_r)
            n = self.activation(x_n + r * h_n)
        else:
            h_r, h_z = F.linear(h, self.weight_hh[: 2 * size]).chunk(2, dim=1)
            r = self.recurrent_activation(x_r + h_r)
            n = self.activation(x_n + F.linear(r * h, self.weight_hh[2 * size :]))
        z = self.recurrent_activation(x_z + h_z)
        return z * h + (1 - z) * n
