"""Rows of tokens as the models see them: positions, masks, shifting.

A row holds one sentence, or several that were packed one behind the other. Everything
here is for both frameworks: NumPy, or written with operators that both have.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

# Added to attention scores of what must not be seen. Published: the smallest float32;
# this one, too, makes a fully masked query attend uniformly, and bfloat16 holds it.
MASKED = -1e30


class Side(NamedTuple):
    """One side (source or target) of a batch, integers [batch, length]."""

    tokens: Any  # 0 is padding
    positions: Any = None  # within the sentence; None: 0, 1, … along the row
    segments: Any = None  # which sentence of a packed row; None: there is one


def rows(batch: Mapping[str, Any]) -> tuple[Side, Side]:
    """Source and target of a batch of `data.open_batches`, packed or not."""
    source, target = (
        Side(batch[key], batch.get(f"{key}_position"), batch.get(f"{key}_segmentation"))
        for key in ("inputs", "targets")
    )
    return source, target


def mask(queries: Side, keys: Side) -> Any:
    """What attends to what: bool [batch, length of queries, length of keys].

    Tokens to tokens, within a sentence; queries that are padding see nothing.
    """
    seen = (queries.tokens > 0)[:, :, None] & (keys.tokens > 0)[:, None, :]
    if queries.segments is None:
        return seen
    return seen & (queries.segments[:, :, None] == keys.segments[:, None, :])


def sinusoids(num_positions: int, width: int) -> np.ndarray:
    """Fixed embeddings of positions: float32 [num_positions, width].

    Sines in the first half, cosines in the second; their frequencies fall
    geometrically from 1 to 1/10000.
    """
    steps = np.arange(width // 2) / max(width // 2 - 1, 1)
    angles = np.arange(num_positions)[:, np.newaxis] * 10_000.0**-steps
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def is_sentence(batch: Mapping[str, Any]) -> Any:
    """False for rows that only fill up an evaluation batch: bool [batch]."""
    return (batch["weights"] > 0).any(1)


def num_chunks(length: int, vocab_size: int) -> int:
    """Into how many parts the logits of a row are cut, so that none exceeds 4 MB."""
    whole = range(1, length + 1)
    parts = (n for n in whole if length % n == 0)
    return next((n for n in parts if length // n * vocab_size <= 2**20), length)
