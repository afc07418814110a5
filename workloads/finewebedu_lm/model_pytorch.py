"""The decoder-only Transformer in PyTorch; `model_jax.py` defines the same function."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from algoperf import spec
from algoperf.forward_context import ForwardContext
from algoperf.pytorch_backend import layers, output_layer
from algoperf.pytorch_backend.initializers import Initializer, normal
from algoperf.spec import ParameterType

from .definition import ModelConfig
from .rotary import initial_scale, rotations

_STDDEV = 0.02
_EPSILON = 1e-6


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return Transformer(config)


def forward(module: nn.Module, batch: spec.Batch, context: ForwardContext) -> Any:
    """Logits [batch, length, vocabulary], deferred where they are large.

    There is no dropout.
    """
    hidden, table = module(batch["inputs"])
    return output_layer.logits(hidden, table)


class Transformer(nn.Module):
    """Tokens -> hidden states, whose products with the table's rows are the logits."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = layers.Embedding(
            config.vocab_size,
            config.embed_dim,
            weight_init=normal(_STDDEV),
            is_output=True,
        )
        for i in range(config.num_layers):
            self.add_module(f"layer_{i}", Layer(config))
        self.final_norm = RMSNorm(config.embed_dim)
        head_width = config.embed_dim // config.num_heads
        tables = rotations(config.sequence_length, head_width, config.rotary_base)
        for name, table in zip(("cos", "sin"), tables, strict=True):
            self.register_buffer(name, torch.tensor(table), persistent=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens: int [batch, length].

        Returns hidden states float32 [batch, length, width], and the table
        [vocabulary, width].
        """
        x = self.embedding(tokens)
        tables = cast(Tensor, self.cos), cast(Tensor, self.sin)
        cos, sin = (table[: tokens.shape[1]] for table in tables)
        for i in range(self.config.num_layers):
            x = self.get_submodule(f"layer_{i}")(x, cos, sin)
        return self.final_norm(x), self.embedding.weight


class Layer(nn.Module):
    """Attention, then the MLP; each reads a normalised input and is added to it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.embed_dim)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.embed_dim)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x: float32 [batch, length, width], in and out, also with bfloat16 compute."""
        x = x + self.attention(self.attention_norm(x), cos, sin)
        return x + cast(Tensor, self.mlp(self.mlp_norm(x)))


class RMSNorm(nn.Module):
    """x * weight / sqrt(mean of x squared + 1e-6) over the last axis, in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        weight = nn.Parameter(torch.empty(width))
        self.weight = layers.typed(weight, ParameterType.LAYER_NORM_SCALE)

    def reset_parameters(self, generator: Generator) -> None:
        """See the conventions of `layers`."""
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., width]."""
        return functional.rms_norm(x, self.weight.shape, self.weight, _EPSILON)


class Attention(nn.Module):
    """Causal attention with rotary positions, and queries and keys of length 1."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.num_heads
        width, start = config.embed_dim, normal(_STDDEV)
        self.query = _dense(width, width, start, ParameterType.ATTENTION_Q)
        self.key = _dense(width, width, start, ParameterType.ATTENTION_K)
        self.value = _dense(width, width, start, ParameterType.ATTENTION_V)
        self.out = _dense(
            width, width, _scaled_down(config), ParameterType.ATTENTION_OUT
        )
        self.scale = layers.typed(nn.Parameter(torch.empty(())), ParameterType.WEIGHT)
        self._initial_scale = initial_scale(config.sequence_length)

    def reset_parameters(self, generator: Generator) -> None:
        """See the conventions of `layers`."""
        nn.init.constant_(self.scale, self._initial_scale)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x: [batch, length, width]; cos, sin: see `rotations`."""
        values = self._heads(self.value(x))
        queries = _normalised(_rotated(self._heads(self.query(x)), cos, sin))
        keys = _normalised(_rotated(self._heads(self.key(x)), cos, sin))
        mixed = functional.scaled_dot_product_attention(
            (queries * self.scale).to(values.dtype),
            keys.to(values.dtype),
            values,
            is_causal=True,
            scale=1.0,
        )
        return cast(Tensor, self.out(mixed.transpose(1, 2).flatten(2)))

    def _heads(self, x: Tensor) -> Tensor:
        """[batch, heads, length, head width]."""
        x = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return x


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [batch, heads, length, width] turned by angles [length, width / 2]; float32."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    a, b = wide.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1)
    return turned.flatten(-2)


def _normalised(x: Tensor) -> Tensor:
    """x / (norm + 1e-6) over the last axis."""
    x = x / (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + _EPSILON)
    return x


class Mlp(nn.Module):
    """Half of the hidden units, times the sigmoid of the other half."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.hidden = _dense(config.embed_dim, 2 * config.mlp_dim, normal(_STDDEV))
        self.out = _dense(config.mlp_dim, config.embed_dim, _scaled_down(config))

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, length, width]."""
        return cast(Tensor, self.out(functional.glu(self.hidden(x))))


def _dense(
    inputs: int,
    features: int,
    init: Initializer,
    type: ParameterType = ParameterType.WEIGHT,
) -> layers.Linear:
    return layers.Linear(
        inputs, features, bias=False, weight_init=init, weight_type=type
    )


def _scaled_down(config: ModelConfig) -> Initializer:
    """For what is added to the residual stream, twice a layer."""
    return normal(_STDDEV / (2 * config.num_layers) ** 0.5)


def weights_from_jax(
    config: ModelConfig, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """JAX parameters (or gradients) by path -> PyTorch's by name.

    JAX's kernels of queries, keys and values have the heads as an axis of their own.
    """
    weights = {}
    for path, array in arrays.items():
        module, _, name = path.rpartition("/")
        if name == "kernel":
            array = array.reshape(len(array), -1).T
        if not module.endswith("attention"):  # whose one own parameter is `scale`
            name = "weight"
        weights[f"{module.replace('/', '.')}.{name}"] = array
    return weights
