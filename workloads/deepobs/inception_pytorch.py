"""Inception-v3 in PyTorch; `inception_jax.py` defines the same function."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from algoperf.pytorch_backend import layers
from algoperf.pytorch_backend.batch_norm import BatchNorm

from . import inception
from .architectures import GLOROT_UNIFORM
from .inception import Branches, InceptionConfig, Step, Unit, Window
from .kernels_pytorch import initializer, squared
from .planes_pytorch import max_pool, resize


class Normalised(nn.Module):
    """A convolution, batch norm and ReLU."""

    def __init__(self, in_channels: int, unit: Unit) -> None:
        super().__init__()
        self.conv = layers.Conv2d(
            in_channels,
            unit.features,
            unit.size,
            stride=unit.stride,
            padding=unit.padding,
            bias=False,
            weight_init=initializer(GLOROT_UNIFORM),
        )
        self.norm = BatchNorm(
            unit.features,
            momentum=inception.BATCH_NORM_MOMENTUM,
            eps=inception.BATCH_NORM_EPSILON,
        )
        self.features = unit.features

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, in, h, w]; [batch, features, ...]."""
        return functional.relu(self.norm(self.conv(x)))


class Pool(nn.Module):
    """The maximum or the mean over windows; padding never counts."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, channels, h, w]; [batch, channels, ...]."""
        size, stride = self.window.size, self.window.stride
        if self.window.kind == "max":
            return max_pool(x, size, stride, self.window.padding)
        # Windows that are padded have an odd size and stride 1: as much on both sides.
        padding = size // 2 if self.window.padding == "SAME" else 0
        return functional.avg_pool2d(x, size, stride, padding, count_include_pad=False)


class Steps(nn.Module):
    """Steps one after the other."""

    def __init__(self, in_channels: int, steps: Sequence[Step]) -> None:
        super().__init__()
        self.features = in_channels
        self._names: list[list[str]] = []  # of the parts of each step
        for index, step in enumerate(steps):
            parts = self._parts(f"step_{index}", step)
            for name, part in parts.items():
                self.add_module(name, part)
            self._names.append(list(parts))
            if not isinstance(step, Window):
                self.features = sum(part.features for part in parts.values())

    def _parts(self, name: str, step: Step) -> dict[str, Any]:
        match step:
            case Unit():
                return {name: Normalised(self.features, step)}
            case Window():
                return {name: Pool(step)}
            case Branches(branches):
                return {
                    f"{name}_branch_{number}": Steps(self.features, branch)
                    for number, branch in enumerate(branches)
                }

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, in, h, w]; [batch, features, ...]."""
        for names in self._names:
            parts = [self.get_submodule(name)(x) for name in names]
            x = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return x


class Inception(nn.Module):
    """Images -> logits of their classes."""

    def __init__(self, config: InceptionConfig) -> None:
        super().__init__()
        self.side = config.image_size
        self.body = Steps(3, inception.body())
        self.auxiliary = Steps(self.body.features, inception.AUXILIARY_HEAD)
        self.auxiliary_output = _output(self.auxiliary.features, config.num_classes)
        self.tail = Steps(self.body.features, inception.tail())
        self.dropout = layers.Dropout()
        self.output = _output(self.tail.features, config.num_classes)

    def forward(self, inputs: Tensor) -> Any:
        """inputs: [batch, h, w, 3]; logits [batch, classes], in training of both heads."""
        x = self.body(resize(inputs.permute(0, 3, 1, 2), self.side))
        logits = self.output(self.dropout(self.tail(x).mean(dim=(2, 3))))
        if not self.training:
            return logits
        return logits, self.auxiliary_output(self.auxiliary(x).mean(dim=(2, 3)))


def _output(features: int, classes: int) -> layers.Linear:
    init = initializer(GLOROT_UNIFORM)
    return layers.Linear(features, classes, weight_init=init, is_output=True)


def build(config: InceptionConfig) -> nn.Module:
    """The module."""
    return Inception(config)


def parameter_loss(module: nn.Module, config: InceptionConfig) -> Tensor | None:
    """Half the sum of squares of the kernels, times `l2`."""
    return squared(module, config.l2)
