class KerasLSTMCell(nn.Module):
    """One step of an LSTM with activations of its own; gates i, f, g, o."""

    def __init__(
        self,
        input_size,
        hidden_size,
        bias=True,
        activation=torch.tanh,
        recurrent_activation=torch.sigmoid,
        dtype=None,
    ):
        super().__init__()
        self.hidden_size = hidden_size
        self.activation = activation
        self.recurrent_activation = recurrent_activation
        width = 4 * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(width, input_size, dtype=dtype))
        self.weight_hh = nn.Parameter(torch.empty(width, hidden_size, dtype=dtype))
        self.bias_ih = nn.Parameter(torch.empty(width, dtype=dtype)) if bias else None

    def forward(self, x, state):
        h, c = state
        gates = F.linear(x, self.weight_ih, self.bias_ih) + F.linear(h, self.weight_hh)
        i, f, g, o = gates.chunk(4, dim=1)
        i, f, o = (self.recurrent_activation(gate) for gate in (i, f, o))
        c = f * c + i * self.activation(g)
        return o * self.activation(c), c
