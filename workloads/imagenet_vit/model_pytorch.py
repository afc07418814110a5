"""A vision transformer in PyTorch; `model_jax.py` defines the same function."""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from algoperf.pytorch_backend import initializers, layers
from algoperf.spec import ParameterType

from .definition import ModelConfig
from .positions import sin_cos_positions


class Attention(nn.Module):
    """Multi-head attention, without dropout of its probabilities."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.query = _projection(config.embed_dim, ParameterType.ATTENTION_Q)
        self.key = _projection(config.embed_dim, ParameterType.ATTENTION_K)
        self.value = _projection(config.embed_dim, ParameterType.ATTENTION_V)
        self.out = _projection(config.embed_dim, ParameterType.ATTENTION_OUT)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """queries: [batch, n, width], memory: [batch, m, width]; [batch, n, width]."""
        q, k = self._heads(self.query(queries)), self._heads(self.key(memory))
        v = self._heads(self.value(memory))
        x = functional.scaled_dot_product_attention(q, k, v)
        mixed: Tensor = self.out(x.transpose(1, 2).flatten(2))
        return mixed

    def _heads(self, x: Tensor) -> Tensor:
        """[batch, n, width] -> [batch, heads, n, head width]."""
        x = x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        return x


def _projection(width: int, type: ParameterType) -> layers.Linear:
    return layers.Linear(
        width,
        width,
        weight_init=initializers.xavier_uniform(),
        weight_type=type,
        bias_type=ParameterType.ATTENTION_BIAS,
    )


class MLP(nn.Module):
    """Dense -> GELU -> dense; the hidden layer optionally gated by itself."""

    def __init__(self, config: ModelConfig, *, has_dropout: bool = True) -> None:
        super().__init__()
        self.hidden = _linear(config.embed_dim, config.mlp_dim)
        self.gate: layers.Linear | None = None
        if config.is_gated:
            self.gate = _linear(config.mlp_dim, config.mlp_dim)
        self.dropout = layers.Dropout() if has_dropout else nn.Identity()
        self.output = _linear(config.mlp_dim, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, tokens, width]; same shape out."""
        hidden = functional.gelu(self.hidden(x), approximate="tanh")
        if self.gate is not None:
            hidden = hidden * self.gate(hidden)
        x = self.output(self.dropout(hidden))
        return x


def _linear(in_features: int, out_features: int) -> layers.Linear:
    return layers.Linear(
        in_features,
        out_features,
        weight_init=initializers.xavier_uniform(),
        bias_init=initializers.normal(1e-6),
    )


class Block(nn.Module):
    """Self-attention, then the MLP, each around a shortcut."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.is_post_norm = config.norm_position == "post"
        self.attention_norm = layers.LayerNorm(config.embed_dim)
        self.attention = Attention(config)
        self.attention_dropout = layers.Dropout()
        self.mlp_norm = layers.LayerNorm(config.embed_dim)
        self.mlp = MLP(config)
        self.mlp_dropout = layers.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, tokens, width]; same shape out."""
        if self.is_post_norm:
            x = self.attention_norm(x + self.attention_dropout(self.attention(x, x)))
            x = self.mlp_norm(x + self.mlp_dropout(self.mlp(x)))
            return x
        y = self.attention_norm(x)
        x = x + self.attention_dropout(self.attention(y, y))
        x = x + self.mlp_dropout(self.mlp(self.mlp_norm(x)))
        return x


class AttentionPooling(nn.Module):
    """A learned probe attends to all tokens; as published, there is no dropout."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        probe = nn.Parameter(torch.empty(1, 1, config.embed_dim))
        self.probe = layers.typed(probe, ParameterType.WEIGHT)
        self.attention = Attention(config)
        self.norm = layers.LayerNorm(config.embed_dim)
        self.mlp = MLP(config, has_dropout=False)

    def reset_parameters(self, generator: Generator) -> None:
        """See the conventions of `layers`; fans as in Flax, of a [1, width] matrix."""
        fans = 1, self.probe.shape[-1]
        initializers.xavier_uniform()(self.probe, generator, *fans)

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, tokens, width]; [batch, width]."""
        x = self.attention(self.probe.expand(len(x), -1, -1), x)
        x = (x + self.mlp(self.norm(x)))[:, 0]
        return x


class VisionTransformer(nn.Module):
    """Images -> logits of their classes."""

    positions: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, size = config.embed_dim, config.patch_size
        side = config.image_size // size
        self.patches = layers.Conv2d(3, width, size, stride=size, padding="VALID")
        positions = torch.tensor(sin_cos_positions(side, side, width))
        self.register_buffer("positions", positions, persistent=False)
        self.dropout = layers.Dropout()
        self.block_names = [f"block_{number}" for number in range(config.num_layers)]
        for name in self.block_names:
            self.add_module(name, Block(config))
        self.final_norm: nn.Module = nn.Identity()
        if config.norm_position == "pre":
            self.final_norm = layers.LayerNorm(width)
        self.pooling: AttentionPooling | None = None
        if config.pooling == "attention":
            self.pooling = AttentionPooling(config)
        self.pre_logits = layers.Linear(width, width)
        self.output = layers.Linear(
            width,
            config.num_classes,
            weight_init=initializers.constant(0.0),
            is_output=True,
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: [batch, h, w, 3]; logits: [batch, classes]."""
        # A view, channels-last in memory, in which patches follow each other.
        x = self.patches(inputs.permute(0, 3, 1, 2))  # [batch, width, rows, columns]
        x = x.flatten(2).transpose(1, 2) + self.positions
        x = self.dropout(x)  # [batch, tokens, width]
        for name in self.block_names:
            x = self.get_submodule(name)(x)
        x = self.final_norm(x)
        if self.pooling is not None:
            x = self.pooling(x)
        else:
            x = x.mean(dim=1, dtype=torch.promote_types(x.dtype, torch.float32))
        logits: Tensor = self.output(torch.tanh(self.pre_logits(x)))
        return logits


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return VisionTransformer(config)
