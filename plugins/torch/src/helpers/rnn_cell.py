class KerasRNNCell(nn.Module):
    """One step of a simple RNN with an activation of its own."""

    def __init__(
        self, input_size, hidden_size, bias=True, activation=torch.tanh, dtype=None
    ):
        super().__init__()
        self.hidden_size = hidden_size
        self.activation = activation
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size, dtype=dtype))
        self.weight_hh = nn.Parameter(
            torch.empty(hidden_size, hidden_size, dtype=dtype)
        )
        self.bias_ih = (
            nn.Parameter(torch.empty(hidden_size, dtype=dtype)) if bias else None
        )

    def forward(self, x, h):
        return self.activation(
            F.linear(x, self.weight_ih, self.bias_ih) + F.linear(h, self.weight_hh)
        )
