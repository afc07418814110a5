"""The DeepSpeech-like network in JAX; `model_pytorch.py` defines the same function.

Dropout, in training, is after the subsampling and in the feed-forward layers.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from algoperf.jax_backend import layers

from .._speech.modules_jax import (
    XAVIER,
    Activation,
    LayerNorm,
    MaskedBatchNorm,
    SpeechModel,
    example_batch,
    forward,
    masked,
)
from .definition import ModelConfig
from .lstm_jax import BidirectionalLstm

__all__ = ["build", "example_batch", "forward"]

_ACTIVATIONS: Mapping[str, Activation] = {"relu": nn.relu, "tanh": jnp.tanh}


class Norm(nn.Module):
    """In front of a layer: batch norm over valid frames, or layer norm."""

    config: ModelConfig
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """x: [batch, frames, width]; mask: [batch, frames]."""
        if self.config.norm == "layer":
            return LayerNorm(name="layer_norm")(x)
        norm = MaskedBatchNorm(
            self.config.batch_norm_momentum, self.train, name="batch_norm"
        )
        return norm(x, mask)


class LstmLayer(nn.Module):
    """Norm, LSTM, addition of the input."""

    config: ModelConfig
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """As `Norm`."""
        y = Norm(self.config, self.train, name="norm")(x, mask)
        y = BidirectionalLstm(self.config.lstm_dim, name="lstm")(y, mask)
        return layers.stored(x + y) if self.config.is_residual else y


class FeedForward(nn.Module):
    """Norm, dense layer, activation, dropout, addition of the input."""

    config: ModelConfig
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, rate: Any) -> jax.Array:
        """As `Norm`; rate: dropout's."""
        config = self.config
        y = Norm(config, self.train, name="norm")(x, mask)
        y = layers.Dense(config.embed_dim, kernel_init=XAVIER, name="dense")(y)
        y = masked(_ACTIVATIONS[config.activation](y), mask)
        y = layers.Dropout()(y, rate, train=self.train)
        return layers.stored(x + y) if config.is_residual else y


class DeepSpeech(SpeechModel):
    """LSTM layers, feed-forward layers and a norm between front end and logits."""

    @property
    def subsampling_activation(self) -> Activation:
        """See `SpeechModel`."""
        return _ACTIVATIONS[self.config.activation]

    def encoded(
        self, x: jax.Array, mask: jax.Array, rate: Any, train: bool
    ) -> jax.Array:
        """See `SpeechModel`."""
        config = self.config
        x = layers.Dropout()(x, rate, train=train)
        for i in range(config.num_lstm_layers):
            x = LstmLayer(config, train, name=f"lstm_{i}")(x, mask)
        for i in range(config.num_mlp_layers):
            x = FeedForward(config, train, name=f"feed_forward_{i}")(x, mask, rate)
        return LayerNorm(name="norm")(x) if config.norm == "batch" else x


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return DeepSpeech(config)
