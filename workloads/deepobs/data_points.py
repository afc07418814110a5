"""Noise around the landscapes: drawn from fixed generators, nothing is prepared (sheet, §1)."""

import functools

import numpy as np

from algoperf import pipeline
from algoperf.backend import Arrays
from algoperf.definition import Split

from .landscapes import QUADRATIC_DIM

_SEEDS = {"train": 42, "eval_train": 42, "test": 43, "validation": 44}
_QUADRATIC_STDDEV = 0.6


def open_batches(request: pipeline.DataRequest) -> pipeline.Batches:
    """The batches of one split.

    `inputs` float32 [batch, 100] or [batch, 2]; `targets` zeros [batch]; in evaluation
    `weights` float32 [batch].
    """
    size = request.splits.size(request.split)
    noise = examples(request.config, request.split)[:size]

    def read(example_ids: np.ndarray, epochs: np.ndarray) -> Arrays:
        # Submissions hand on targets; the loss of these problems has none.
        none = np.zeros(len(example_ids), np.float32)
        return {"inputs": noise[example_ids], "targets": none}

    return pipeline.ExampleBatches(request, read, num_examples=len(noise))


@functools.cache
def examples(landscape: str, split: Split) -> np.ndarray:
    """The noise of a split: float32 [1000, 100], or [10000, 2]; the latter's test has none."""
    random = np.random.RandomState(_SEEDS[split])
    if landscape == "quadratic_deep":
        drawn = random.normal(0.0, _QUADRATIC_STDDEV, (1000, QUADRATIC_DIM))
    elif split == "test":
        drawn = np.zeros((10_000, 2))
    else:
        # First all of u's noise, then all of v's; validation has its own seed.
        drawn = np.stack([random.normal(size=10_000) for _ in range(2)], axis=1)
    return drawn.astype(np.float32)
