"""The multi-layer perceptron in PyTorch; `model_jax.py` defines the same function."""

import torch
from torch import Tensor, nn

from algoperf.pytorch_backend import layers

from .definition import ModelConfig

_PIXELS = 28 * 28


class Perceptron(nn.Module):
    """Pixels -> hidden units, sigmoid -> logits."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.hidden = layers.Linear(_PIXELS, config.hidden_dim)
        self.output = layers.Linear(
            config.hidden_dim, config.num_classes, is_output=True
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: [batch, 28, 28, 1]; logits: [batch, classes]. There is no dropout."""
        x = torch.sigmoid(self.hidden(inputs.flatten(1)))  # [batch, hidden]
        logits: Tensor = self.output(x)
        return logits


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return Perceptron(config)
