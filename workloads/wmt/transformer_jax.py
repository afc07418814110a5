"""The Transformer's modules in JAX; `transformer_pytorch.py` has their twins.

Keys and values have the heads in front, [batch, heads, head width, n] and [batch,
heads, n, head width]: XLA multiplies these without transposing them, which the caches
of decoding would pay for at every token.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from algoperf.jax_backend import layers
from algoperf.spec import ParameterType

from .definition import ModelConfig
from .rows import MASKED, Side, mask, sinusoids

KeysValues = tuple[jax.Array, jax.Array]

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "tanh": jnp.tanh,
}
_XAVIER = nn.initializers.xavier_uniform()
_Dense = functools.partial(
    layers.Dense, kernel_init=_XAVIER, bias_init=nn.initializers.normal(1e-6)
)
_Projection = functools.partial(
    layers.DenseGeneral, kernel_init=_XAVIER, use_bias=False
)


class Attention(nn.Module):
    """Multi-head attention, with dropout of probabilities and of the output."""

    config: ModelConfig

    def setup(self) -> None:
        """Makes the projections."""
        width, number = self.config.embed_dim, self.config.num_heads
        heads = number, width // number
        self.query = _Projection(heads, kernel_type=ParameterType.ATTENTION_Q)
        self.key = _Projection(heads, kernel_type=ParameterType.ATTENTION_K)
        self.value = _Projection(heads, kernel_type=ParameterType.ATTENTION_V)
        self.out = _Projection(
            width, axis=(-2, -1), kernel_type=ParameterType.ATTENTION_OUT
        )
        self.dropout = layers.Dropout()

    def keys_values(self, x: jax.Array) -> KeysValues:
        """x: [batch, n, width]; see the module for the layout."""
        keys, values = self.key(x), self.value(x)  # [batch, n, heads, head width]
        return keys.transpose(0, 2, 3, 1), values.transpose(0, 2, 1, 3)

    def __call__(
        self, x: jax.Array, seen: KeysValues, bias: jax.Array, rate: Any, *, train: bool
    ) -> jax.Array:
        """x: [batch, m, width]; bias: [batch, 1, m or 1, n], added to scores."""
        keys, values = seen
        queries = self.query(x) * self.config.attention_temperature
        queries = queries.transpose(0, 2, 1, 3)  # [batch, heads, m, head width]
        scores = jnp.einsum("bhmd,bhdn->bhmn", queries, keys)
        scale = (self.config.embed_dim // self.config.num_heads) ** -0.5
        # Float32 also under bf16: bias is.
        probabilities = jax.nn.softmax(scores * scale + bias, axis=-1)
        probabilities = self.dropout(probabilities.astype(x.dtype), rate, train=train)
        # An einsum to [batch, m, heads, head width] takes XLA four times as long on a CPU.
        mixed = (probabilities @ values).transpose(0, 2, 1, 3)
        return self.dropout(self.out(mixed), rate, train=train)


class Mlp(nn.Module):
    """Two dense layers, with dropout after each; gated if the config says so."""

    config: ModelConfig

    def setup(self) -> None:
        """Makes the layers."""
        self.hidden = _Dense(self.config.mlp_dim)
        if self.config.is_gated:
            self.gate = _Dense(self.config.mlp_dim)
        self.out = _Dense(self.config.embed_dim)
        self.dropout = layers.Dropout()

    def __call__(self, x: jax.Array, rate: Any, *, train: bool) -> jax.Array:
        """x: [batch, n, width]."""
        hidden = _ACTIVATIONS[self.config.activation](self.hidden(x))
        if self.config.is_gated:
            hidden = hidden * self.gate(x)
        hidden = self.dropout(hidden, rate, train=train)
        return self.dropout(self.out(hidden), rate, train=train)


class _Layer(nn.Module):
    """What encoder and decoder layers share: where LayerNorms stand."""

    config: ModelConfig

    def _before(self, norm: nn.LayerNorm, x: jax.Array) -> jax.Array:
        return norm(x) if self.config.norm_position == "pre" else x

    def _after(self, norm: nn.LayerNorm, x: jax.Array) -> jax.Array:
        return norm(x) if self.config.norm_position == "post" else x


class EncoderLayer(_Layer):
    """Self-attention and MLP."""

    def setup(self) -> None:
        """Makes the parts."""
        self.attention = Attention(self.config)
        self.attention_norm = layers.LayerNorm()
        self.mlp = Mlp(self.config)
        self.mlp_norm = layers.LayerNorm()

    def __call__(
        self, x: jax.Array, bias: jax.Array, rate: Any, *, train: bool
    ) -> jax.Array:
        """x: [batch, n, width]; bias: [batch, 1, n, n]."""
        h = self._before(self.attention_norm, x)
        attended = self.attention(
            h, self.attention.keys_values(h), bias, rate, train=train
        )
        x = self._after(self.attention_norm, layers.stored(x + attended))
        h = self._before(self.mlp_norm, x)
        return self._after(
            self.mlp_norm, layers.stored(x + self.mlp(h, rate, train=train))
        )


def _nothing_before(new: KeysValues) -> KeysValues:
    """Self-attention reads nothing but the tokens of this call."""
    return new


class DecoderLayer(_Layer):
    """Causal self-attention, attention to the encoder's output, MLP."""

    def setup(self) -> None:
        """Makes the parts."""
        self.self_attention = Attention(self.config)
        self.self_attention_norm = layers.LayerNorm()
        self.cross_attention = Attention(self.config)
        self.cross_attention_norm = layers.LayerNorm()
        self.mlp = Mlp(self.config)
        self.mlp_norm = layers.LayerNorm()

    def __call__(
        self,
        x: jax.Array,
        biases: tuple[jax.Array, jax.Array],
        memory: KeysValues,
        rate: Any,
        *,
        train: bool,
        remember: Callable[[KeysValues], KeysValues] = _nothing_before,
    ) -> tuple[jax.Array, KeysValues]:
        """The layer's output, and what its self-attention read.

        x: [batch, m, width]; biases: of self-attention and of attention to memory;
        memory: see `memory_of`. remember: adds the keys and values of this call to those
        of earlier ones.
        """
        h = self._before(self.self_attention_norm, x)
        seen = remember(self.self_attention.keys_values(h))
        attended = self.self_attention(h, seen, biases[0], rate, train=train)
        x = self._after(self.self_attention_norm, layers.stored(x + attended))
        h = self._before(self.cross_attention_norm, x)
        attended = self.cross_attention(h, memory, biases[1], rate, train=train)
        x = self._after(self.cross_attention_norm, layers.stored(x + attended))
        h = self._before(self.mlp_norm, x)
        return self._after(
            self.mlp_norm, layers.stored(x + self.mlp(h, rate, train=train))
        ), seen

    def memory_of(self, encoded: jax.Array) -> KeysValues:
        """Keys and values of the encoder's output, [batch, n, width]."""
        return self.cross_attention.keys_values(encoded)


class Transformer(nn.Module):
    """Encoder, decoder, and the table that embeds and is the output layer."""

    config: ModelConfig

    def setup(self) -> None:
        """Makes the parts."""
        config = self.config
        self.embedding = layers.Embed(
            config.vocab_size,
            config.embed_dim,
            embedding_init=nn.initializers.normal(1.0),
            is_output=True,
        )
        self.encoder = [EncoderLayer(config) for _ in range(config.num_layers)]
        self.decoder = [DecoderLayer(config) for _ in range(config.num_layers)]
        if config.norm_position == "pre":
            self.encoder_norm = layers.LayerNorm()
            self.decoder_norm = layers.LayerNorm()
        self.dropout = layers.Dropout()

    def __call__(
        self, source: Side, target: Side, rate: Any, *, train: bool
    ) -> jax.Array:
        """Logits of the target's tokens, each from those before it.

        [batch, target length, vocabulary].
        """
        encoded = self.encode(source, rate, train=train)
        memory = self.memory_of(encoded)
        return self.logits(self.decode(memory, source, target, rate, train=train))

    def encode(self, source: Side, rate: Any, *, train: bool) -> jax.Array:
        """The encoder's output: [batch, source length, width]."""
        x = self._embed(source.tokens, source.positions, rate, train=train)
        bias = as_bias(mask(source, source))
        for layer in self.encoder:
            x = layer(x, bias, rate, train=train)
        return self.encoder_norm(x) if self.config.norm_position == "pre" else x

    def memory_of(self, encoded: jax.Array) -> tuple[KeysValues, ...]:
        """What the decoder's layers read of the encoder's output."""
        return tuple(layer.memory_of(encoded) for layer in self.decoder)

    def decode(
        self,
        memory: tuple[KeysValues, ...],
        source: Side,
        target: Side,
        rate: Any,
        *,
        train: bool,
    ) -> jax.Array:
        """The decoder's output before the output layer: [batch, length, width].

        The target is shifted by one over the whole row. Published, and kept: the first
        token of the second sentence in a packed row is read from the last token of the
        first, not from 0.
        """
        shifted = jnp.pad(target.tokens[:, :-1], ((0, 0), (1, 0)))
        x = self._embed(shifted, target.positions, rate, train=train)
        biases = as_bias(jnp.tril(mask(target, target))), as_bias(mask(target, source))
        for layer, layer_memory in zip(self.decoder, memory, strict=True):
            x, _ = layer(x, biases, layer_memory, rate, train=train)
        return self.decoder_norm(x) if self.config.norm_position == "pre" else x

    def logits(self, x: jax.Array) -> jax.Array:
        """The table's products with the decoder's output, [..., vocabulary]."""
        x = self.embedding.attend(x) / self.config.embed_dim**0.5
        return x

    def step(
        self,
        tokens: jax.Array,
        time: jax.Array,
        caches: tuple[KeysValues, ...],
        memory: tuple[KeysValues, ...],
        biases: tuple[jax.Array, jax.Array],
    ) -> tuple[jax.Array, tuple[KeysValues, ...]]:
        """Logits [batch, beam, vocabulary] after one more token, and the new caches.

        tokens: [batch, beam], at position `time`; caches: keys [batch, heads, head width,
        length * beam] and values [batch, heads, length * beam, head width] of each layer.
        """
        x = self._embed(tokens, jnp.full_like(tokens, time), 0.0, train=False)
        new_caches = []
        for layer, cache, layer_memory in zip(
            self.decoder, caches, memory, strict=True
        ):
            remember = functools.partial(_written, cache, time)
            x, seen = layer(
                x, biases, layer_memory, 0.0, train=False, remember=remember
            )
            new_caches.append(seen)
        x = self.decoder_norm(x) if self.config.norm_position == "pre" else x
        return self.logits(x), tuple(new_caches)

    def _embed(
        self, tokens: jax.Array, positions: Any, rate: Any, *, train: bool
    ) -> jax.Array:
        table = jnp.asarray(sinusoids(self.config.max_length, self.config.embed_dim))
        x = self.embedding(tokens)
        places = table[: x.shape[1]] if positions is None else table[positions]
        return self.dropout(x + places.astype(x.dtype), rate, train=train)


def as_bias(seen: jax.Array) -> jax.Array:
    """What is added to scores: float32 [batch, 1, m, n] from bool [batch, m, n]."""
    return jnp.where(seen, 0.0, jnp.float32(MASKED))[:, None]


def _written(cache: KeysValues, time: jax.Array, new: KeysValues) -> KeysValues:
    """The cache with what is new at `time`.

    A cache has one axis for times and beam: with two, XLA would copy it at every token,
    since it fuses the reshaping for attention with the writing.
    """
    keys, values = cache
    new_keys, new_values = new
    zero = jnp.zeros_like(time)
    place = time * new_keys.shape[3]
    keys = jax.lax.dynamic_update_slice(
        keys, new_keys.astype(keys.dtype), (zero, zero, zero, place)
    )
    values = jax.lax.dynamic_update_slice(
        values, new_values.astype(values.dtype), (zero, zero, place, zero)
    )
    return keys, values
