"""Wide residual networks in PyTorch; `wide_resnet_jax.py` defines the same function."""

from torch import Tensor, nn
from torch.nn import functional

from algoperf.pytorch_backend import layers
from algoperf.pytorch_backend.batch_norm import BatchNorm

from .architectures import GLOROT_UNIFORM, WideResnetConfig
from .kernels_pytorch import initializer, squared

_STEM = 16  # features


class Block(nn.Module):
    """Batch norm, ReLU and convolution, twice, beside the identity or a convolution."""

    def __init__(
        self, in_channels: int, features: int, stride: int, is_first: bool
    ) -> None:
        super().__init__()
        self.norm_1 = BatchNorm(in_channels)
        self.shortcut = _conv(in_channels, features, 1, stride) if is_first else None
        self.conv_1 = _conv(in_channels, features, 3, stride)
        self.norm_2 = BatchNorm(features)
        self.conv_2 = _conv(features, features, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, in, h, w]; [batch, features, h / stride, w / stride]."""
        h = functional.relu(self.norm_1(x))
        shortcut: Tensor = x if self.shortcut is None else self.shortcut(h)
        h = functional.relu(self.norm_2(self.conv_1(h)))
        residual: Tensor = self.conv_2(h)
        return shortcut + residual


class WideResnet(nn.Module):
    """Images -> logits of their classes."""

    def __init__(self, config: WideResnetConfig) -> None:
        super().__init__()
        self.stem = _conv(3, _STEM, 3)
        channels, self.block_names = _STEM, []
        for group, (features, stride) in enumerate(config.groups):
            for block in range(config.blocks_per_group):
                is_first = block == 0
                layer = Block(channels, features, stride if is_first else 1, is_first)
                self.block_names.append(f"group_{group}_block_{block}")
                self.add_module(self.block_names[-1], layer)
                channels = features
        self.norm = BatchNorm(channels)
        init = initializer(GLOROT_UNIFORM)
        self.output = layers.Linear(
            channels, config.num_classes, weight_init=init, is_output=True
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: [batch, h, w, 3]; logits: [batch, classes]. There is no dropout."""
        x = self.stem(inputs.permute(0, 3, 1, 2))
        for name in self.block_names:
            x = self.get_submodule(name)(x)
        x = functional.relu(self.norm(x)).mean(dim=(2, 3))
        logits: Tensor = self.output(x)
        return logits


def _conv(in_channels: int, features: int, size: int, stride: int = 1) -> layers.Conv2d:
    init = initializer(GLOROT_UNIFORM)
    return layers.Conv2d(
        in_channels, features, size, stride=stride, bias=False, weight_init=init
    )


def build(config: WideResnetConfig) -> nn.Module:
    """The module."""
    return WideResnet(config)


def parameter_loss(module: nn.Module, config: WideResnetConfig) -> Tensor | None:
    """Half the sum of squares of the kernels, times `l2`."""
    return squared(module, config.l2)
