"""The Transformer in JAX; `model_pytorch.py` defines the same function."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from algoperf import spec
from algoperf.forward_context import ForwardContext

from . import beam_jax
from .definition import ModelConfig
from .rows import Side, is_sentence, num_chunks, rows
from .transformer_jax import Transformer, as_bias


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return Transformer(config)


def example_batch(config: ModelConfig) -> dict[str, np.ndarray]:
    """A batch of one row of two tokens; a row may be shorter than `max_length`."""
    tokens = np.ones((1, 2), np.int32)
    return {"inputs": tokens, "targets": tokens}


def init_variables(module: nn.Module, rngs: Any, batch: Mapping[str, Any]) -> Any:
    """Parameters, as the backend asks for them."""
    return module.init(rngs, *rows(batch), 0.0, train=False)


def forward(
    module: nn.Module,
    variables: Mapping[str, Any],
    batch: spec.Batch,
    context: ForwardContext,
) -> tuple[jax.Array, dict[str, Any]]:
    """Logits [batch, length, vocabulary] of the targets; there is no model state."""
    rngs = {} if context.rng is None else {"dropout": context.rng}
    rate, train = context.dropout_rate, context.train
    logits: Any = module.apply(variables, *rows(batch), rate, train=train, rngs=rngs)
    return logits, {}


def outputs(
    module: Transformer,
    variables: Mapping[str, Any],
    batch: spec.Batch,
    context: ForwardContext,
) -> dict[str, jax.Array]:
    """Losses and translations of an evaluation batch; every array [batch, ...].

    `per_example_loss`, `num_tokens`, `num_correct`: sums over the tokens of a sentence;
    `hypothesis`, `reference`: int32 [batch, max_length]; `weights`: 1 for sentences.
    """
    # Every device works on its sentences alone, and stops when it is done with them.
    on_a_device = functools.partial(_outputs_on_a_device, module)
    found: dict[str, jax.Array]
    found = context.over_devices(on_a_device, variables, dict(batch))
    return found


def _outputs_on_a_device(
    module: Transformer, variables: Mapping[str, Any], batch: Mapping[str, Any]
) -> dict[str, jax.Array]:
    apply: Any = functools.partial(module.apply, variables)
    source, target = rows(batch)
    encoded = apply(source, 0.0, train=False, method="encode")
    memory = apply(encoded, method="memory_of")
    is_real = is_sentence(batch)
    decoded = apply(memory, source, target, 0.0, train=False, method="decode")
    counted = sums(module, variables, decoded, target.tokens, is_real)
    hypothesis = translate(module, variables, memory, source, ~is_real)
    return {
        **counted,
        "hypothesis": jnp.where(is_real[:, None], hypothesis, 0),
        "reference": target.tokens.astype(jnp.int32),
        "weights": is_real.astype(jnp.float32),
    }


def sums(
    module: Transformer,
    variables: Mapping[str, Any],
    decoded: jax.Array,
    targets: jax.Array,
    is_real: jax.Array,
) -> dict[str, jax.Array]:
    """Loss, number and correct ones of each row's tokens, float32 [batch]."""

    def of_chunk(chunk: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
        x, labels = chunk
        logits: Any = module.apply(variables, x, method="logits")
        logits = logits.astype(jnp.float32)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        weights = ((labels > 0) & is_real[:, None]).astype(jnp.float32)
        is_correct = logits.argmax(axis=-1) == labels
        return {
            "per_example_loss": jnp.where(weights > 0, loss, 0.0).sum(axis=1),
            "num_tokens": weights.sum(axis=1),
            "num_correct": jnp.where(is_correct, weights, 0.0).sum(axis=1),
        }

    batch, length = targets.shape
    parts = num_chunks(length, module.config.vocab_size)
    if parts == 1:
        return of_chunk((decoded, targets))
    # All logits at once would be gigabytes.
    shape = batch, parts, length // parts
    chunks = decoded.reshape(*shape, -1), targets.reshape(shape)
    in_front = jax.tree.map(lambda x: x.swapaxes(0, 1), chunks)
    by_chunk: dict[str, jax.Array] = jax.lax.map(of_chunk, in_front)
    return {name: values.sum(axis=0) for name, values in by_chunk.items()}


def translate(
    module: Transformer,
    variables: Mapping[str, Any],
    memory: Any,
    source: Side,
    is_padding: jax.Array,
) -> jax.Array:
    """Beam search from the encoder's output: int32 [batch, max_length]."""
    config = module.config
    cross_bias = as_bias((source.tokens > 0)[:, None])  # [batch, 1, 1, source length]
    sizes = len(is_padding), config.num_heads
    head_width, beam = config.embed_dim // config.num_heads, config.beam_size
    dtype = memory[0][0].dtype

    def make_caches(length: int) -> Any:
        keys = jnp.zeros((*sizes, head_width, length * beam), dtype)
        values = jnp.zeros((*sizes, length * beam, head_width), dtype)
        return ((keys, values),) * config.num_layers

    def predict(
        tokens: jax.Array, time: jax.Array, visible: jax.Array, caches: Any
    ) -> tuple[jax.Array, Any]:
        biases = as_bias(visible), cross_bias
        logits, caches = module.apply(
            variables, tokens, time, caches, memory, biases, method="step"
        )
        return jax.nn.log_softmax(logits.astype(jnp.float32)), caches

    return beam_jax.search(config.beam_rule, predict, make_caches, is_padding)
