"""The DeepSpeech-like network in PyTorch; `model_jax.py` defines the same function.

Dropout, in training, is after the subsampling and in the feed-forward layers.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from algoperf.pytorch_backend import layers, weights

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
from .lstm_pytorch import BidirectionalLstm, with_joined_gates

__all__ = ["build", "forward", "weights_from_jax"]

_ACTIVATIONS: Mapping[str, Activation] = {"relu": functional.relu, "tanh": torch.tanh}


class Norm(nn.Module):
    """In front of a layer: batch norm over valid frames, or layer norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.by_layer = config.norm == "layer"
        if self.by_layer:
            self.layer_norm = LayerNorm(config.embed_dim)
        else:
            self.batch_norm = MaskedBatchNorm(
                config.embed_dim, config.batch_norm_momentum
            )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: [batch, frames, width]; mask: [batch, frames]."""
        x = self.layer_norm(x) if self.by_layer else self.batch_norm(x, mask)
        return x


class LstmLayer(nn.Module):
    """Norm, LSTM, addition of the input."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.is_residual = config.is_residual
        self.norm = Norm(config)
        self.lstm = BidirectionalLstm(config.embed_dim, config.lstm_dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """As `Norm`."""
        y = self.lstm(self.norm(x, mask), mask)
        x = x + y if self.is_residual else y
        return x


class FeedForward(nn.Module):
    """Norm, dense layer, activation, dropout, addition of the input."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.is_residual = config.is_residual
        self.activation = _ACTIVATIONS[config.activation]
        self.norm = Norm(config)
        self.dense = layers.Linear(
            config.embed_dim, config.embed_dim, weight_init=XAVIER
        )
        self.dropout = layers.Dropout()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """As `Norm`."""
        y = self.activation(self.dense(self.norm(x, mask)))
        y = self.dropout(masked(y, mask))
        x = x + y if self.is_residual else y
        return x


class DeepSpeech(SpeechModel):
    """LSTM layers, feed-forward layers and a norm between front end and logits."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, _ACTIVATIONS[config.activation])
        self.names = [f"lstm_{i}" for i in range(config.num_lstm_layers)]
        for name in self.names:
            self.add_module(name, LstmLayer(config))
        others = [f"feed_forward_{i}" for i in range(config.num_mlp_layers)]
        for name in others:
            self.add_module(name, FeedForward(config))
        self.names += others
        self.norm = (
            LayerNorm(config.embed_dim) if config.norm == "batch" else nn.Identity()
        )

    def encoded(self, x: Tensor, mask: Tensor) -> Tensor:
        """See `SpeechModel`."""
        x = self.dropout(x)
        for name in self.names:
            x = self.get_submodule(name)(x, mask)
        x = self.norm(x)
        return x


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return DeepSpeech(config)


def weights_from_jax(
    config: ModelConfig, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """See `weights.from_jax`; LSTM gates are parameters of their own in JAX."""
    return weights.from_jax(with_joined_gates(arrays))
