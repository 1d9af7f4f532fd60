"""mnist_mlp, converted from Keras by recast."""

import torch.nn.functional as F
from torch import nn


class MnistMlp(nn.Module):
    """Converted from Keras by recast.

    Input pixels: (batch, 784), float32.
    Output digit: (batch, 10), float32.
    """

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(784, 128)
        self.dropout = nn.Dropout(0.2)
        self.digit = nn.Linear(128, 10)

    def forward(self, pixels):
        x = F.relu(self.hidden(pixels))
        x = self.dropout(x)
        x = F.softmax(self.digit(x), dim=1)
        return x
