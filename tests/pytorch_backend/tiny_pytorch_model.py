"""A model file as a workload would have it: a two-layer perceptron, BatchNorm if wanted."""

import dataclasses
import types
from typing import Any

import numpy as np
import torch
from torch import nn

from algoperf import spec
from algoperf.definition import WorkloadDefinition
from algoperf.pytorch_backend import layers, make_backend
from algoperf.pytorch_backend.model import BoundModel
from algoperf.spec import ParameterType
from tests import tiny_workload
from tests.tiny_workload import batch as batch
from tests.tiny_workload import outputs as outputs

TRAIN, EVAL = spec.ForwardPassMode.TRAIN, spec.ForwardPassMode.EVAL


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the model, and what is in it."""

    features: int = 4
    width: int = 8
    classes: int = 3
    stock_batch_norm: bool = False
    running_mean: bool = False


class RunningMean(layers.RunningStatistics):
    """Subtracts the batch's mean in training, the running one in evaluation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.mean: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [batch, width]."""
        if not self.training:
            return x - self.mean
        mean = x.mean(dim=0)
        if self.update_running_statistics:
            self.mean.lerp_(mean.detach(), 0.5)
        return x - mean


class TinyNet(nn.Module):
    """Linear, normalisation, ReLU, dropout, Linear."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.hidden = layers.Linear(config.features, config.width)
        self.norm: nn.Module = nn.Identity()
        if config.running_mean:
            self.norm = RunningMean(config.width)
        if config.stock_batch_norm:
            self.norm = nn.BatchNorm1d(config.width)
            layers.typed(self.norm.weight, ParameterType.BATCH_NORM_SCALE)
            layers.typed(self.norm.bias, ParameterType.BATCH_NORM_BIAS)
        self.dropout = layers.Dropout()
        self.head = layers.Linear(config.width, config.classes, is_output=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [batch, features] -> logits [batch, classes]."""
        return self.head(self.dropout(torch.relu(self.norm(self.hidden(x)))))


def build(config: Config) -> TinyNet:
    """See `algoperf.pytorch_backend.model`."""
    return TinyNet(config)


def definition(config: Config | None = None) -> WorkloadDefinition:
    """A definition around the model."""
    return tiny_workload.definition(config or Config())


def module(**functions: Any) -> Any:
    """A model or metrics module with these functions."""
    return types.SimpleNamespace(**functions)


def bound(
    config: Config | None = None, *, backend: Any = None, **functions: Any
) -> BoundModel:
    """The tiny model on a backend; `functions` are more of the model file's."""
    backend = backend or make_backend()
    model = module(**{"build": build, **functions})
    return backend.bind(definition(config), model, module(outputs=outputs))


def key(number: int) -> np.ndarray:
    """An rng as submissions get it."""
    return np.array([number, 7], np.int64)
