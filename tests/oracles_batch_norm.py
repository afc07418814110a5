"""Batch norm over virtual batches, in plain numpy, part after part."""

import itertools

import numpy as np

FEATURES = 5
# (batch size, virtual batch size, with padding)
CASES = [
    (8, None, False),
    (8, 4, False),
    (8, 16, False),
    (6, 4, False),
    (10, 4, False),
    (8, None, True),
    (8, 4, True),
]
MOMENTUM, EPSILON, OFFSET = 0.75, 1e-3, 1.0


def example(batch_size: int, padded: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """x [batch, 3, 2, features] and a mask of which no row is empty."""
    rng = np.random.default_rng(batch_size)
    x = rng.normal(3, 2, (batch_size, 3, 2, FEATURES)).astype(np.float32)
    mask = (rng.random((batch_size, 3, 2)) < 0.6).astype(np.float32)
    mask[:, 0, 0] = 1
    return x, mask if padded else None


def scale_and_bias() -> tuple[np.ndarray, np.ndarray]:
    features = np.arange(FEATURES, dtype=np.float32)
    return 0.1 * features, features - 2


def normalised(
    x: np.ndarray, mask: np.ndarray | None, virtual: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Output, and running mean and variance after the step, in float64."""
    scale, bias = scale_and_bias()
    number = 1 if virtual is None else -(-len(x) // virtual)
    ends = [-(-len(x) * part // number) for part in range(number + 1)]
    outputs, means, variances = [], [], []
    for first, last in itertools.pairwise(ends):
        rows = x[first:last].astype(np.float64)
        kept = rows.reshape(-1, FEATURES)
        if mask is not None:
            kept = rows[mask[first:last] == 1]
        means.append(kept.mean(0))
        variances.append(kept.var(0))
        unit = (rows - means[-1]) / np.sqrt(variances[-1] + EPSILON)
        outputs.append(unit * (OFFSET + scale) + bias)
    mean = (1 - MOMENTUM) * np.mean(means, 0)
    var = MOMENTUM + (1 - MOMENTUM) * np.mean(variances, 0)
    return np.concatenate(outputs), mean, var
