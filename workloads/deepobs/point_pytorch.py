"""A point in a landscape, in PyTorch; `point_jax.py` defines the same function."""

import array_api_compat.torch as array_namespace
import torch
from torch import Tensor, nn

from algoperf.pytorch_backend import layers
from algoperf.spec import ParameterType

from . import landscapes
from .architectures import PointConfig
from .landscape_values import example_values


class Point(nn.Module):
    """The parameters are the point; what it returns for each example is its loss."""

    def __init__(self, config: PointConfig) -> None:
        super().__init__()
        self.landscape = config.landscape
        shape = landscapes.start(config.landscape).shape
        point = nn.Parameter(torch.empty(shape))
        self.point = layers.typed(point, ParameterType.WEIGHT, is_output=True)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draws nothing: every run starts from the same point."""
        self.point.copy_(torch.from_numpy(landscapes.start(self.landscape)))

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: [batch, dimensions]; [batch]."""
        values: Tensor = example_values(
            array_namespace, self.landscape, self.point, inputs
        )
        return values


def build(config: PointConfig) -> nn.Module:
    """The module."""
    return Point(config)
