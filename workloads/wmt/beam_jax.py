"""Beam search in JAX: loops in the compiled program, which end as early as they may."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from . import beam
from .beam import Beams, Rule

Caches = Any  # nested arrays
# (tokens [batch, beam], time, visible, caches) -> log-probabilities, caches
Predict = Callable[[jax.Array, jax.Array, jax.Array, Caches], tuple[jax.Array, Caches]]

OPERATIONS = beam.Operations(
    where=jnp.where,
    concatenate=jnp.concatenate,
    flip=jnp.flip,
    broadcast=jnp.broadcast_to,
    top_k=jax.lax.top_k,
    take=jnp.take_along_axis,
    arange=jnp.arange,
)


def search(
    rule: Rule,
    predict: Predict,
    make_caches: Callable[[int], Caches],
    is_padding: jax.Array,
) -> jax.Array:
    """Translations of a batch: int32 [batch, max_length]; of padding, anything.

    predict: reads one token more, see `beam.visible`; make_caches: empty ones for that
    many times, whose arrays are larger for more; is_padding: bool [batch].
    """
    state = beam.initial(OPERATIONS, rule, is_padding), jnp.int32(0)
    caches: Caches = None
    for length in rule.cache_lengths():
        empty = make_caches(length)
        caches = empty if caches is None else jax.tree.map(_grown, caches, empty)
        advance = functools.partial(_advance, rule, predict, length)
        goes_on = functools.partial(_goes_on, min(length, rule.last_time))
        state, caches = jax.lax.while_loop(goes_on, advance, (state, caches))
    tokens: jax.Array = beam.answer(OPERATIONS, state[0])
    return tokens.astype(jnp.int32)


def _grown(cache: jax.Array, empty: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice(empty, cache, (0,) * cache.ndim)


def _goes_on(end: int, carry: Any) -> jax.Array:
    (beams, time), _ = carry
    goes_on: jax.Array = (time < end) & ~beams.is_done.all()
    return goes_on


def _advance(rule: Rule, predict: Predict, length: int, carry: Any) -> Any:
    (beams, time), caches = carry
    tokens = _read(beams, time)
    visible = beam.visible(OPERATIONS, beams, time, length)
    log_probs, caches = predict(tokens, time, visible, caches)
    beams = beam.advance(OPERATIONS, rule, beams, log_probs, time)
    return (beams, time + 1), caches


def _read(beams: Beams, time: jax.Array) -> jax.Array:
    """The last token of each live hypothesis: [batch, beam]."""
    last: jax.Array
    last = jax.lax.dynamic_index_in_dim(beams.live_tokens, time, 2, keepdims=False)
    return last
