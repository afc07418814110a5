"""ResNet-50 in PyTorch; `model_jax.py` defines the same function."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from algoperf.pytorch_backend import initializers, layers
from algoperf.pytorch_backend.batch_norm import BatchNorm

from .definition import EXPANSION, ModelConfig

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "silu": functional.silu,
    "gelu": functools.partial(functional.gelu, approximate="tanh"),
}


class Block(nn.Module):
    """1x1 -> 3x3 -> 1x1 convolutions, each with batch norm, around a shortcut."""

    def __init__(
        self, config: ModelConfig, in_channels: int, width: int, stride: int
    ) -> None:
        super().__init__()
        channels = width * EXPANSION
        last_scale = initializers.constant(config.last_scale_init)
        self.activation = _ACTIVATIONS[config.activation]
        self.conv_1 = _conv(in_channels, width, 1)
        self.norm_1 = _norm(config, width)
        self.conv_2 = _conv(width, width, 3, stride)
        self.norm_2 = _norm(config, width)
        self.conv_3 = _conv(width, channels, 1)
        self.norm_3 = _norm(config, channels, last_scale)
        self.has_projection = stride != 1 or in_channels != channels
        if self.has_projection:
            self.shortcut_conv = _conv(in_channels, channels, 1, stride)
            self.shortcut_norm = _norm(config, channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, in, h, w]; [batch, 4 width, h / stride, w / stride]."""
        y = self.activation(self.norm_1(self.conv_1(x)))
        y = self.activation(self.norm_2(self.conv_2(y)))
        y = self.norm_3(self.conv_3(y))
        if self.has_projection:
            x = self.shortcut_norm(self.shortcut_conv(x))
        return self.activation(x + y)


class ResNet(nn.Module):
    """Images -> logits of their classes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = config.num_channels
        self.activation = _ACTIVATIONS[config.activation]
        self.stem_conv = _conv(3, channels, 7, 2, padding=(3, 3))
        self.stem_norm = _norm(config, channels)
        self.block_names = []
        for stage, num_blocks in enumerate(config.stage_sizes):
            width = config.num_channels * 2**stage
            for block in range(num_blocks):
                stride = 2 if stage and not block else 1
                self.block_names.append(f"stage_{stage}_block_{block}")
                layer = Block(config, channels, width, stride)
                self.add_module(self.block_names[-1], layer)
                channels = width * EXPANSION
        self.output = layers.Linear(
            channels,
            config.num_classes,
            weight_init=initializers.normal(0.01),
            is_output=True,
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: [batch, h, w, 3]; logits: [batch, classes]. There is no dropout."""
        # A view: the memory stays channels-last, and so does every activation's.
        x = inputs.permute(0, 3, 1, 2)  # [batch, 3, h, w]
        x = self.activation(self.stem_norm(self.stem_conv(x)))
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for name in self.block_names:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.output(x.mean(dim=(2, 3), dtype=_at_least_float32(x)))
        return logits


def _at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _conv(
    in_channels: int,
    channels: int,
    size: int,
    stride: int = 1,
    *,
    padding: str | tuple[int, int] = "SAME",
) -> layers.Conv2d:
    return layers.Conv2d(
        in_channels, channels, size, stride=stride, padding=padding, bias=False
    )


def _norm(
    config: ModelConfig,
    channels: int,
    scale_init: initializers.Initializer | None = None,
) -> BatchNorm:
    size = config.virtual_batch_size
    return BatchNorm(channels, virtual_batch_size=size, scale_init=scale_init)


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return ResNet(config)
