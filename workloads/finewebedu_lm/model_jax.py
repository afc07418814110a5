"""The decoder-only Transformer in JAX; `model_pytorch.py` defines the same function."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from algoperf import spec
from algoperf.forward_context import ForwardContext
from algoperf.jax_backend import layers, output_layer
from algoperf.spec import ParameterType

from .definition import ModelConfig
from .rotary import initial_scale, rotations

_STDDEV = 0.02
_EPSILON = 1e-6


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return Transformer(config)


def example_batch(config: ModelConfig) -> dict[str, np.ndarray]:
    """A batch of one row of two tokens; a row may be shorter than `sequence_length`."""
    tokens = np.zeros((1, 2), np.int32)
    return {"inputs": tokens, "targets": tokens}


def init_variables(module: nn.Module, rngs: Any, batch: Mapping[str, Any]) -> Any:
    """Parameters, as the backend asks for them."""
    return module.init(rngs, batch["inputs"])


def forward(
    module: nn.Module,
    variables: Mapping[str, Any],
    batch: spec.Batch,
    context: ForwardContext,
) -> tuple[Any, dict[str, Any]]:
    """Logits [batch, length, vocabulary], deferred where they are large.

    There is no model state and no dropout.
    """
    hidden: Any = module.apply(variables, batch["inputs"])
    table = variables["params"]["embedding"]["embedding"]
    return output_layer.logits(hidden, table), {}


class Transformer(nn.Module):
    """Tokens int [batch, length] -> hidden states float32 [batch, length, width].

    Their products with the rows of the embedding's table are the logits.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """See the class."""
        config = self.config
        table = nn.Embed(
            config.vocab_size,
            config.embed_dim,
            embedding_init=layers.typed(
                _normal(_STDDEV), ParameterType.EMBEDDING, is_output=True
            ),
            name="embedding",
        )
        x = table(tokens)
        for i in range(config.num_layers):
            x = Layer(config, name=f"layer_{i}")(x)
        return RMSNorm(name="final_norm")(x)


class Layer(nn.Module):
    """Attention, then the MLP; each reads a normalised input and is added to it."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: float32 [batch, length, width], in and out, also with bfloat16 compute."""
        config = self.config
        attended = Attention(config, name="attention")(
            RMSNorm(name="attention_norm")(x)
        )
        x = x + attended
        return x + Mlp(config, name="mlp")(RMSNorm(name="mlp_norm")(x))


class RMSNorm(nn.Module):
    """x * scale / sqrt(mean of x squared + 1e-6) over the last axis, in float32."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: [..., width]."""
        init = layers.typed(nn.initializers.ones_init(), ParameterType.LAYER_NORM_SCALE)
        scale = self.param("scale", init, (x.shape[-1],))
        mean_square = jnp.square(x).mean(axis=-1, keepdims=True)
        x = x * jax.lax.rsqrt(mean_square + _EPSILON) * scale
        return x


class Attention(nn.Module):
    """Causal attention with rotary positions, and queries and keys of length 1."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: [batch, length, width]."""
        config = self.config
        head_width = config.embed_dim // config.num_heads

        def heads(name: str, type: ParameterType) -> jax.Array:
            return nn.DenseGeneral(  # [batch, length, heads, head width]
                (config.num_heads, head_width),
                use_bias=False,
                dtype=layers.compute_dtype(),
                kernel_init=layers.typed(_normal(_STDDEV), type),
                name=name,
            )(x)

        queries = heads("query", ParameterType.ATTENTION_Q)
        keys = heads("key", ParameterType.ATTENTION_K)
        values = heads("value", ParameterType.ATTENTION_V)
        start = nn.initializers.constant(initial_scale(config.sequence_length))
        scale = self.param("scale", layers.typed(start, ParameterType.WEIGHT), ())
        cos, sin = rotations(x.shape[1], head_width, config.rotary_base)
        queries = _normalised(_rotated(queries, cos, sin)) * scale
        keys = _normalised(_rotated(keys, cos, sin))
        mixed = _attend(queries.astype(values.dtype), keys.astype(values.dtype), values)
        return layers.Dense(
            config.embed_dim,
            use_bias=False,
            kernel_init=_scaled_down(config),
            kernel_type=ParameterType.ATTENTION_OUT,
            name="out",
        )(mixed.reshape(x.shape))


def _attend(queries: jax.Array, keys: jax.Array, values: jax.Array) -> jax.Array:
    """Causal softmax attention without a factor; all [batch, length, heads, width].

    cuDNN's fused kernel takes no float32: there XLA's own is used, as on CPUs.
    """
    is_fused = values.dtype == jnp.bfloat16 and jax.default_backend() == "gpu"
    return jax.nn.dot_product_attention(
        queries,
        keys,
        values,
        scale=1.0,
        is_causal=True,
        implementation="cudnn" if is_fused else "xla",
    )


def _rotated(x: jax.Array, cos: np.ndarray, sin: np.ndarray) -> jax.Array:
    """x [batch, length, heads, width] turned by angles [length, width / 2]; float32."""
    pairs = layers.at_least_float32(x).reshape(*x.shape[:-1], -1, 2)
    a, b = pairs[..., 0], pairs[..., 1]
    cos, sin = cos[:, np.newaxis], sin[:, np.newaxis]
    return jnp.stack([a * cos - b * sin, b * cos + a * sin], axis=-1).reshape(x.shape)


def _normalised(x: jax.Array) -> jax.Array:
    """x / (norm + 1e-6) over the last axis."""
    # The gradient of a plain norm at 0 would be NaN.
    square = jnp.square(x).sum(axis=-1, keepdims=True)
    is_zero = square == 0
    norm = jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, square)))
    return x / (norm + _EPSILON)


class Mlp(nn.Module):
    """Half of the hidden units, times the sigmoid of the other half."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: [batch, length, width]."""
        config = self.config
        hidden = layers.Dense(
            2 * config.mlp_dim,
            use_bias=False,
            kernel_init=_normal(_STDDEV),
            name="hidden",
        )(x)
        return layers.Dense(
            config.embed_dim,
            use_bias=False,
            kernel_init=_scaled_down(config),
            name="out",
        )(nn.glu(hidden))


def _normal(stddev: float) -> layers.Initializer:
    return nn.initializers.normal(stddev)


def _scaled_down(config: ModelConfig) -> layers.Initializer:
    """For what is added to the residual stream, twice a layer."""
    return _normal(_STDDEV / (2 * config.num_layers) ** 0.5)
