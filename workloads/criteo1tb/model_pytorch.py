"""DLRM-small in PyTorch; `model_jax.py` defines the same function."""

import math

import torch
from torch import Tensor, nn

from algoperf.datasets.criteo1tb.reader import NUM_CATEGORIES, NUM_INTEGERS
from algoperf.pytorch_backend import initializers, layers

from .definition import ModelConfig


class MLP(nn.Module):
    """Linear layers with ReLU after each, and what the variants add."""

    def __init__(
        self,
        in_features: int,
        widths: tuple[int, ...],
        weight_init: initializers.Initializer,
        config: ModelConfig,
        *,
        has_dropout: bool = False,
    ) -> None:
        super().__init__()
        self.is_residual = config.is_residual
        self.num_layers = len(widths)
        for number, width in enumerate(widths):
            layer = _linear(in_features, width, weight_init)
            self.add_module(f"layer_{number}", layer)
            norm = layers.LayerNorm(width) if config.has_layer_norm else nn.Identity()
            self.add_module(f"norm_{number}", norm)
            in_features = width
        self.dropout = layers.Dropout() if has_dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, features]; [batch, widths[-1]]. Dropout after the last ReLU."""
        for number in range(self.num_layers):
            y = torch.relu(self.get_submodule(f"layer_{number}")(x))
            y = self.get_submodule(f"norm_{number}")(y)
            if number == self.num_layers - 1:
                y = self.dropout(y)
            x = x + y if self.is_residual and number else y
        return x


class DLRM(nn.Module):
    """Integers and categories -> the logit of a click."""

    pairs: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, number = config.embed_dim, NUM_CATEGORIES + 1
        self.num_embeddings = config.vocab_size
        self.has_dot_products = config.interaction == "dot"
        scale = config.embed_init_scale or 1 / math.sqrt(config.vocab_size)
        xavier, normal = initializers.xavier_uniform(), _xavier_normal()
        self.bottom = MLP(NUM_INTEGERS, config.bottom_dims, xavier, config)
        # One parameter: the published version joins four chunks in every forward pass.
        self.embedding = layers.Embedding(
            config.vocab_size, dim, weight_init=initializers.uniform(0.0, scale)
        )
        self.embedding_norm = (
            layers.LayerNorm(dim) if config.has_layer_norm else nn.Identity()
        )
        crossed = NUM_CATEGORIES * dim
        if self.has_dot_products:
            crossed = number * (number + 1) // 2
        in_features = config.bottom_dims[-1] + crossed
        self.top = MLP(in_features, config.top_dims, normal, config, has_dropout=True)
        self.output = _linear(config.top_dims[-1], 1, normal, is_output=True)
        rows, columns = torch.triu_indices(number, number, device="cpu")
        self.register_buffer("pairs", rows * number + columns, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: float32 [batch, 39], see data.py; logits: [batch]."""
        integers, buckets = inputs[:, :NUM_INTEGERS], inputs[:, NUM_INTEGERS:]
        x = self.bottom(integers)  # [batch, bottom[-1]]
        embeddings = self.embedding(buckets.int() % self.num_embeddings)
        embeddings = self.embedding_norm(embeddings)  # [batch, 26, dim]
        if self.has_dot_products:
            crossed = self._dot_products(x, embeddings)
        else:
            crossed = embeddings.flatten(1)
        logits: Tensor = self.output(self.top(torch.cat([x, crossed], dim=1)))[:, 0]
        return logits

    def _dot_products(self, x: Tensor, embeddings: Tensor) -> Tensor:
        """Products of all pairs and squares, the upper triangle row by row.

        x: [batch, dim], embeddings: [batch, 26, dim]; [batch, 378].
        """
        vectors = torch.cat([x.unsqueeze(1), embeddings], dim=1)  # [batch, 27, dim]
        products = vectors @ vectors.transpose(1, 2)
        return products.flatten(1).index_select(1, self.pairs)


def _linear(
    in_features: int,
    width: int,
    weight_init: initializers.Initializer,
    *,
    is_output: bool = False,
) -> layers.Linear:
    """A layer whose biases start normal with variance 1 / width: 1 for the output's."""
    return layers.Linear(
        in_features,
        width,
        weight_init=weight_init,
        bias_init=initializers.normal(math.sqrt(1 / width)),
        is_output=is_output,
    )


def _xavier_normal() -> initializers.Initializer:
    return initializers.variance_scaling(1.0, "fan_avg", "normal")


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return DLRM(config)
