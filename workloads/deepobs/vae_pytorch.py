"""The variational autoencoder in PyTorch; `vae_jax.py` defines the same function."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from algoperf.forward_context import ForwardContext
from algoperf.pytorch_backend import initializers, layers
from algoperf.spec import ParameterType

from .architectures import GLOROT_UNIFORM, VaeConfig
from .kernels_pytorch import initializer

_SLOPE = 0.3  # of the leaky ReLU
_SIZE = 4  # of all kernels


class Transposed(nn.Module):
    """The transpose of a convolution with padding "SAME": `stride` times the side."""

    def __init__(self, in_channels: int, features: int, stride: int) -> None:
        super().__init__()
        kernel = nn.Parameter(torch.empty(in_channels, features, _SIZE, _SIZE))
        self.weight = layers.typed(kernel, ParameterType.CONV_WEIGHT)
        bias = nn.Parameter(torch.empty(features))
        self.bias = layers.typed(bias, ParameterType.BIAS)
        self.stride = stride

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Glorot uniform; the bias is 0."""
        in_channels, features = self.weight.shape[:2]
        positions = _SIZE**2
        initializer(GLOROT_UNIFORM)(
            self.weight, generator, in_channels * positions, features * positions
        )
        initializers.constant(0.0)(self.bias, generator, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, in, h, w]; [batch, features, stride * h, stride * w]."""
        sides = [self.stride * side for side in x.shape[2:]]
        whole = functional.conv_transpose2d(x, self.weight, self.bias, self.stride)
        before = layers.same_padding(sides[0], _SIZE, self.stride)[0]
        return whole[:, :, before : before + sides[0], before : before + sides[1]]


class Autoencoder(nn.Module):
    """Images to a latent point, and back."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        init = initializer(GLOROT_UNIFORM)

        def dense(inputs: int, outputs: int, is_output: bool = False) -> layers.Linear:
            return layers.Linear(inputs, outputs, weight_init=init, is_output=is_output)

        for index, (inputs, stride) in enumerate(((1, 2), (64, 2), (64, 1))):
            conv = layers.Conv2d(inputs, 64, _SIZE, stride=stride, weight_init=init)
            self.add_module(f"encoder_{index}", conv)
        self.mean = dense(7 * 7 * 64, config.latent_dim)
        self.log_variance = dense(7 * 7 * 64, config.latent_dim)
        self.decoder_in_0 = dense(config.latent_dim, 24)
        self.decoder_in_1 = dense(24, 49)
        for index, (inputs, stride) in enumerate(((1, 2), (64, 1), (64, 1))):
            self.add_module(f"decoder_{index}", Transposed(inputs, 64, stride))
        self.output = dense(14 * 14 * 64, 784, is_output=True)
        self.dropouts = nn.ModuleList(layers.Dropout() for _ in range(5))

    def forward(self, inputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """inputs: [batch, 28, 28, 1], 0 to 1; noise: [batch, latent], standard normal.

        Returns the reconstruction [batch, 784], mean and log deviation [batch, latent].
        """
        x = inputs.permute(0, 3, 1, 2)
        for index in range(3):
            x = _leaky(self.get_submodule(f"encoder_{index}")(x))
            x = self.dropouts[index](x)
        x = x.permute(0, 2, 3, 1).flatten(1)  # [batch, 7 * 7 * 64]
        mean, log_stddev = self.mean(x), 0.5 * self.log_variance(x)
        z = mean + noise * torch.exp(log_stddev)
        z = _leaky(self.decoder_in_1(_leaky(self.decoder_in_0(z))))
        z = z.reshape(-1, 1, 7, 7)
        for index in range(3):
            z = functional.relu(self.get_submodule(f"decoder_{index}")(z))
            z = self.dropouts[3 + index](z) if index < 2 else z
        pixels = self.output(z.permute(0, 2, 3, 1).flatten(1))
        return torch.sigmoid(pixels), mean, log_stddev


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, _SLOPE)


def build(config: VaeConfig) -> nn.Module:
    """The module."""
    return Autoencoder(config)


def forward(module: nn.Module, batch: Any, context: ForwardContext) -> Any:
    """See `Autoencoder`."""
    return module(batch["inputs"], batch["noise"])
