"""bidirectional_lstm_masked, converted from Keras by recast."""

import torch
from torch import nn


def run_steps(cell, x, mask=None, state=None, reverse=False, zero_masked=False):
    """Runs a cell over x (batch, time, features): all outputs, the last state.

    A step where the mask is False keeps the state and repeats the output before it,
    or gives zeros with `zero_masked`.
    """
    output = x.new_zeros(x.shape[0], cell.hidden_size)
    if state is None:
        state = (output, output) if "LSTM" in type(cell).__name__ else (output,)
    outputs = []
    steps = range(x.shape[1])
    for t in reversed(steps) if reverse else steps:
        new = cell(x[:, t], state if len(state) > 1 else state[0])
        new = new if isinstance(new, tuple) else (new,)
        if mask is None:
            state, output = new, new[0]
        else:
            valid = mask[:, t, None]
            kept = torch.zeros_like(output) if zero_masked else output
            output = torch.where(valid, new[0], kept)
            state = tuple(torch.where(valid, n, s) for n, s in zip(new, state))
        outputs.append(output)
    if reverse:
        outputs.reverse()
    return torch.stack(outputs, dim=1), state


class BidirectionalLstmMasked(nn.Module):
    """Converted from Keras by recast.

    Input input_layer: (batch, 5, 3), float32.
    Output bidirectional: (batch, 5, 8), float32.
    """

    def __init__(self):
        super().__init__()
        self.bidirectional_forward = nn.LSTMCell(3, 4)
        self.bidirectional_forward.bias_hh.requires_grad = False
        self.bidirectional_backward = nn.LSTMCell(3, 4)
        self.bidirectional_backward.bias_hh.requires_grad = False

    def forward(self, input_layer):
        mask = (input_layer != 0.0).any(dim=2, keepdim=True)  # (batch, 5, 1)
        x = torch.where(mask, input_layer, 0.0)  # (batch, 5, 3)
        mask = input_layer != 0.0
        mask = mask.any(dim=2)  # (batch, 5)
        forward_steps, _ = run_steps(
            self.bidirectional_forward, x, mask=mask, zero_masked=True
        )
        backward_steps, _ = run_steps(
            self.bidirectional_backward, x, mask=mask, reverse=True, zero_masked=True
        )
        x = torch.cat((forward_steps, backward_steps), dim=2)  # (batch, 5, 8)
        return x
