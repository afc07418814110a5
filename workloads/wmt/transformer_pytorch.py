"""The Transformer's modules in PyTorch; `transformer_jax.py` has their twins.

Keys and values are [batch, heads, n, head width].
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from algoperf.pytorch_backend import layers
from algoperf.pytorch_backend.initializers import normal, xavier_uniform
from algoperf.spec import ParameterType

from .definition import ModelConfig
from .rows import MASKED, Side, mask, sinusoids

KeysValues = tuple[Tensor, Tensor]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "tanh": torch.tanh,
}


def _dense(in_features: int, out_features: int) -> layers.Linear:
    return layers.Linear(
        in_features,
        out_features,
        weight_init=xavier_uniform(),
        bias_init=normal(1e-6),
    )


def _projection(width: int, type: ParameterType) -> layers.Linear:
    return layers.Linear(
        width, width, bias=False, weight_init=xavier_uniform(), weight_type=type
    )


class Attention(nn.Module):
    """Multi-head attention, with dropout of probabilities and of the output."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.temperature = config.attention_temperature
        self.query = _projection(config.embed_dim, ParameterType.ATTENTION_Q)
        self.key = _projection(config.embed_dim, ParameterType.ATTENTION_K)
        self.value = _projection(config.embed_dim, ParameterType.ATTENTION_V)
        self.out = _projection(config.embed_dim, ParameterType.ATTENTION_OUT)
        self.probability_dropout = layers.Dropout()
        self.dropout = layers.Dropout()

    def keys_values(self, x: Tensor) -> KeysValues:
        """x: [batch, n, width]; see the module for the layout."""
        return self._heads(self.key(x)), self._heads(self.value(x))

    def forward(self, x: Tensor, seen: KeysValues, bias: Tensor) -> Tensor:
        """x: [batch, m, width]; bias: [batch, 1, m or 1, n], added to scores."""
        queries = self._heads(self.query(x)) * self.temperature
        mixed = self._mix(queries, seen, bias)  # [batch, heads, m, head width]
        x = self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        return x

    def _mix(self, queries: Tensor, seen: KeysValues, bias: Tensor) -> Tensor:
        keys, values = seen
        dropout = self.probability_dropout
        if not (dropout.training and dropout.is_active):
            return functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=bias.to(queries.dtype)
            )
        # That function draws from PyTorch's generator, not from the step's rng.
        scale = queries.shape[-1] ** -0.5
        scores = (queries @ keys.transpose(-1, -2)) * scale + bias
        probabilities = torch.softmax(scores.float(), dim=-1)
        kept: Tensor = dropout(probabilities)
        return kept.to(values.dtype) @ values

    def _heads(self, x: Tensor) -> Tensor:
        x = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return x


class Mlp(nn.Module):
    """Two dense layers, with dropout after each; gated if the config says so."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[config.activation]
        self.hidden = _dense(config.embed_dim, config.mlp_dim)
        self.gate = (
            _dense(config.embed_dim, config.mlp_dim) if config.is_gated else None
        )
        self.out = _dense(config.mlp_dim, config.embed_dim)
        self.hidden_dropout = layers.Dropout()
        self.dropout = layers.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, n, width]."""
        hidden = self.activation(self.hidden(x))
        if self.gate is not None:
            hidden = hidden * self.gate(x)
        x = self.dropout(self.out(self.hidden_dropout(hidden)))
        return x


class _Layer(nn.Module):
    """What encoder and decoder layers share: where LayerNorms stand."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.is_pre_norm = config.norm_position == "pre"
        self.mlp = Mlp(config)
        self.mlp_norm = layers.LayerNorm(config.embed_dim)

    def _before(self, norm: nn.Module, x: Tensor) -> Tensor:
        return norm(x) if self.is_pre_norm else x

    def _after(self, norm: nn.Module, x: Tensor) -> Tensor:
        return x if self.is_pre_norm else norm(x)

    def _through_mlp(self, x: Tensor) -> Tensor:
        added = self.mlp(self._before(self.mlp_norm, x))
        return self._after(self.mlp_norm, x + added)


class EncoderLayer(_Layer):
    """Self-attention and MLP."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.attention = Attention(config)
        self.attention_norm = layers.LayerNorm(config.embed_dim)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x: [batch, n, width]; bias: [batch, 1, n, n]."""
        h = self._before(self.attention_norm, x)
        attended = self.attention(h, self.attention.keys_values(h), bias)
        return self._through_mlp(self._after(self.attention_norm, x + attended))


def _nothing_before(new: KeysValues) -> KeysValues:
    """Self-attention reads nothing but the tokens of this call."""
    return new


class DecoderLayer(_Layer):
    """Causal self-attention, attention to the encoder's output, MLP."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.self_attention = Attention(config)
        self.self_attention_norm = layers.LayerNorm(config.embed_dim)
        self.cross_attention = Attention(config)
        self.cross_attention_norm = layers.LayerNorm(config.embed_dim)

    def forward(
        self,
        x: Tensor,
        biases: tuple[Tensor, Tensor],
        memory: KeysValues,
        remember: Callable[[KeysValues], KeysValues] = _nothing_before,
    ) -> Tensor:
        """x: [batch, m, width]; biases: of self-attention and attention to memory.

        memory: see `memory_of`. remember: adds the keys and values of this call to those
        of earlier ones, and returns all.
        """
        h = self._before(self.self_attention_norm, x)
        seen = remember(self.self_attention.keys_values(h))
        attended = self.self_attention(h, seen, biases[0])
        x = self._after(self.self_attention_norm, x + attended)
        h = self._before(self.cross_attention_norm, x)
        attended = self.cross_attention(h, memory, biases[1])
        return self._through_mlp(self._after(self.cross_attention_norm, x + attended))

    def memory_of(self, encoded: Tensor) -> KeysValues:
        """Keys and values of the encoder's output, [batch, n, width]."""
        return self.cross_attention.keys_values(encoded)


class Source(NamedTuple):
    """What decoding one sentence after the other's token needs of the source."""

    memory: tuple[KeysValues, ...]  # of each decoder layer
    bias: Tensor  # [batch, 1, 1, source length]


class Transformer(nn.Module):
    """Encoder, decoder, and the table that embeds and is the output layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = layers.Embedding(
            config.vocab_size, config.embed_dim, weight_init=normal(1.0), is_output=True
        )
        table = torch.tensor(sinusoids(config.max_length, config.embed_dim))
        self.register_buffer("positions", table, persistent=False)
        self.source_dropout = layers.Dropout()
        self.target_dropout = layers.Dropout()
        for i in range(config.num_layers):
            self.add_module(f"encoder_{i}", EncoderLayer(config))
            self.add_module(f"decoder_{i}", DecoderLayer(config))
        if config.norm_position == "pre":
            self.encoder_norm: nn.Module = layers.LayerNorm(config.embed_dim)
            self.decoder_norm: nn.Module = layers.LayerNorm(config.embed_dim)
        else:
            self.encoder_norm, self.decoder_norm = nn.Identity(), nn.Identity()

    def forward(self, source: Side, target: Side) -> Tensor:
        """Logits of the target's tokens, each from those before it.

        [batch, target length, vocabulary].
        """
        memory = self.memory_of(self.encode(source))
        return self.logits(self.decode(memory, source, target))

    def encode(self, source: Side) -> Tensor:
        """The encoder's output: [batch, source length, width]."""
        x = self.source_dropout(self._embed(source.tokens, source.positions))
        bias = as_bias(mask(source, source))
        for i in range(self.config.num_layers):
            x = self.get_submodule(f"encoder_{i}")(x, bias)
        encoded: Tensor = self.encoder_norm(x)
        return encoded

    def memory_of(self, encoded: Tensor) -> tuple[KeysValues, ...]:
        """What the decoder's layers read of the encoder's output."""
        return tuple(layer.memory_of(encoded) for layer in self._decoder())

    def decode(
        self, memory: tuple[KeysValues, ...], source: Side, target: Side
    ) -> Tensor:
        """The decoder's output before the output layer: [batch, length, width].

        The target is shifted by one over the whole row. Published, and kept: the first
        token of the second sentence in a packed row is read from the last token of the
        first, not from 0.
        """
        shifted = functional.pad(target.tokens[:, :-1], (1, 0))
        x = self.target_dropout(self._embed(shifted, target.positions))
        biases = as_bias(mask(target, target).tril()), as_bias(mask(target, source))
        for layer, layer_memory in zip(self._decoder(), memory, strict=True):
            x = layer(x, biases, layer_memory)
        decoded: Tensor = self.decoder_norm(x)
        return decoded

    def logits(self, x: Tensor) -> Tensor:
        """The table's products with the decoder's output, [..., vocabulary]."""
        x = functional.linear(x, self.embedding.weight) / self.config.embed_dim**0.5
        return x

    def step(
        self,
        tokens: Tensor,
        time: Tensor,
        visible: Tensor,
        caches: Sequence[KeysValues],
        source: Source,
    ) -> Tensor:
        """Logits [batch, beam, vocabulary] after one more token, which caches take up.

        tokens: [batch, beam], at position `time`, int [1]; visible: bool [batch, beam,
        length * beam]; caches: keys and values [batch, heads, length, beam, head width]
        of each layer.
        """
        x = self._embed(tokens, time.expand_as(tokens))
        biases = as_bias(visible), source.bias
        layers_and_more = zip(self._decoder(), caches, source.memory, strict=True)
        for layer, cache, memory in layers_and_more:
            remember = functools.partial(_written, cache, time)
            x = layer(x, biases, memory, remember)
        return self.logits(self.decoder_norm(x))

    def _decoder(self) -> list[DecoderLayer]:
        found = (
            self.get_submodule(f"decoder_{i}") for i in range(self.config.num_layers)
        )
        return [cast(DecoderLayer, layer) for layer in found]

    def _embed(self, tokens: Tensor, positions: Tensor | None) -> Tensor:
        table = cast(Tensor, self.positions)
        places = table[: tokens.shape[1]] if positions is None else table[positions]
        embedded: Tensor = self.embedding(tokens)
        return embedded + places


def as_bias(seen: Tensor) -> Tensor:
    """What is added to scores: float32 [batch, 1, m, n] from bool [batch, m, n]."""
    return torch.where(seen, 0.0, MASKED)[:, None]


def _written(cache: KeysValues, time: Tensor, new: KeysValues) -> KeysValues:
    """The cache with what is new at `time`, times and beam as one axis."""
    for old, added in zip(cache, new, strict=True):
        old.index_copy_(2, time, added.unsqueeze(2).to(old.dtype))
    return cache[0].flatten(2, 3), cache[1].flatten(2, 3)
