"""The Conformer in PyTorch; `model_jax.py` defines the same function.

Dropout, in training, is where the runs that set the targets had it: after the positions
are added, after attention, and after each feed-forward layer.
"""

import functools
import math
from collections.abc import Mapping

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from algoperf.pytorch_backend import layers
from algoperf.spec import ParameterType

from .._speech.modules_pytorch import (
    XAVIER,
    Activation,
    LayerNorm,
    MaskedBatchNorm,
    SpeechModel,
    forward,
    masked,
)
from .definition import ModelConfig
from .positions import sinusoids

__all__ = ["build", "forward"]

_ACTIVATIONS: Mapping[str, Activation] = {
    "swish": functional.silu,
    "gelu": functools.partial(functional.gelu, approximate="tanh"),
}
_Linear = functools.partial(layers.Linear, weight_init=XAVIER)
_MOST_FRAMES = 512  # of 20 s, subsampled: 500


class FeedForward(nn.Module):
    """Half of it is added to its input."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[config.activation]
        self.norm = LayerNorm(config.embed_dim)
        self.expand = _Linear(config.embed_dim, config.mlp_dim)
        self.contract = _Linear(config.mlp_dim, config.embed_dim)
        self.dropout = layers.Dropout()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: [batch, frames, width]; mask: [batch, frames]."""
        y = masked(self.activation(self.expand(self.norm(x))), mask)
        x = x + 0.5 * self.dropout(masked(self.contract(y), mask))
        return x


class Attention(nn.Module):
    """Self-attention whose queries have a learnt factor for each dimension of a head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.temperature = config.num_heads, config.attention_temperature
        width = config.embed_dim
        self.norm = LayerNorm(width)
        self.query = _projection(width, ParameterType.ATTENTION_Q)
        self.key = _projection(width, ParameterType.ATTENTION_K)
        self.value = _projection(width, ParameterType.ATTENTION_V)
        gain = nn.Parameter(torch.empty(width // config.num_heads))
        self.query_gain = layers.typed(gain, ParameterType.WEIGHT)
        self.output = _projection(width, ParameterType.ATTENTION_OUT)
        self.dropout = layers.Dropout()

    def reset_parameters(self, generator: Generator) -> None:
        """See the conventions of `layers`."""
        nn.init.zeros_(self.query_gain)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """As `FeedForward`."""
        y = self.norm(x)
        # Softplus is ln 2 at 0: the factor is 1 at first.
        gain = functional.softplus(self.query_gain) / math.log(2)
        query = self._heads(self.query(y)) * gain
        key, value = self._heads(self.key(y)), self._heads(self.value(y))
        # Where nothing is valid, all keys are: their mean is masked later, NaN is not.
        is_key = (mask > 0) | (mask.amax(dim=1, keepdim=True) == 0)
        y = functional.scaled_dot_product_attention(
            query.to(value.dtype), key, value, attn_mask=is_key[:, None, None, :]
        )
        y = self.temperature * y.transpose(1, 2).flatten(2)
        x = x + self.dropout(self.output(y))
        return x

    def _heads(self, x: Tensor) -> Tensor:
        """[batch, heads, frames, width of a head]."""
        x = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return x


def _projection(width: int, type: ParameterType) -> layers.Linear:
    bias_type = ParameterType.ATTENTION_BIAS
    return _Linear(width, width, weight_type=type, bias_type=bias_type)


class DepthwiseConvolution(nn.Module):
    """Each feature on its own, over the `kernel` nearest frames; without bias."""

    def __init__(self, features: int, kernel: int) -> None:
        super().__init__()
        weight = nn.Parameter(torch.empty(features, 1, kernel))
        self.weight = layers.typed(weight, ParameterType.CONV_WEIGHT)

    def reset_parameters(self, generator: Generator) -> None:
        """See the conventions of `layers`; as in Flax, fan_out counts all features."""
        features, _, kernel = self.weight.shape
        XAVIER(self.weight, generator, kernel, kernel * features)

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, frames, features]; same shape out."""
        features, _, kernel = self.weight.shape
        before = (kernel - 1) // 2
        padded = functional.pad(x.transpose(1, 2), [before, kernel - 1 - before])
        y = functional.conv1d(padded, self.weight, groups=features)
        return y.transpose(1, 2)


class Convolution(nn.Module):
    """A gated linear unit, then a depthwise convolution over frames."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.embed_dim
        self.activation = _ACTIVATIONS[config.activation]
        self.norm = LayerNorm(width)
        self.gate = _Linear(width, width)
        self.value = _Linear(width, width)
        self.depthwise = DepthwiseConvolution(width, config.kernel_size)
        self.batch_norm = MaskedBatchNorm(width, config.batch_norm_momentum)
        self.output = _Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """As `FeedForward`."""
        y = self.norm(x)
        y = masked(self.value(y) * torch.sigmoid(self.gate(y)), mask)
        y = self.batch_norm(self.depthwise(y), mask)
        x = x + self.output(self.activation(y))
        return x


class Block(nn.Module):
    """One block of the encoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.feed_forward_0 = FeedForward(config)
        self.attention = Attention(config)
        self.convolution = Convolution(config)
        self.feed_forward_1 = FeedForward(config)
        self.norm = (
            LayerNorm(config.embed_dim) if config.has_block_norm else nn.Identity()
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """As `FeedForward`."""
        x = self.attention(self.feed_forward_0(x, mask), mask)
        x = self.feed_forward_1(self.convolution(x, mask), mask)
        x = self.norm(x)
        return x


class Conformer(SpeechModel):
    """Positions, blocks and a last layer norm between front end and logits."""

    positions: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        positions = torch.tensor(sinusoids(_MOST_FRAMES, config.embed_dim))
        self.register_buffer("positions", positions, persistent=False)
        self.blocks = config.num_layers
        for i in range(config.num_layers):
            self.add_module(f"block_{i}", Block(config))
        self.norm = LayerNorm(config.embed_dim)

    def encoded(self, x: Tensor, mask: Tensor) -> Tensor:
        """See `SpeechModel`."""
        x = self.dropout(x + self.positions[: x.shape[1]])
        for i in range(self.blocks):
            x = self.get_submodule(f"block_{i}")(x, mask)
        x = self.norm(x)
        return x


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return Conformer(config)
