"""Constants of Schedule-Free AdamW, version 2: its own point, batch sizes, rates."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from algoperf.reference_algorithms._shared import batch_sizes, points

# The self-tuning submission of the 2024 competition. It passes no dropout rate, so the
# workload's default holds.
SELF_TUNING: Mapping[str, float] = {
    "label_smoothing": 0.2,
    "learning_rate": 0.0025,
    "one_minus_beta1": 0.1,
    "beta2": 0.9955159689799007,
    "weight_decay": 0.08121616522670176,
    "warmup_factor": 0.02,
}
EPSILON = 1e-8
WARMUP_HINT_FACTOR = 0.75  # the warm-up is a share of this share of the step hint
BATCH_SIZES: Mapping[str, int] = {  # where they are not the baselines'
    "fastmri": 16,
    "librispeech_conformer": 224,
    "librispeech_deepspeech": 128,
}
STATISTICS_EVERY_STEPS = 3  # batch norm's are updated at the average, this often


def get_batch_size(workload_name: str) -> int:
    """The global training batch size; ValueError for names that are not published."""
    if workload_name in BATCH_SIZES:
        return BATCH_SIZES[workload_name]
    return batch_sizes.get_batch_size(workload_name)


point = points.given_or(SELF_TUNING)


@dataclass(frozen=True)
class WarmupConstant:
    """A `schedules.Schedule`: linear up to `peak`, which the K-th update has."""

    peak: float
    num_warmup_steps: int

    @classmethod
    def of(cls, chosen: Any, step_hint: int) -> "WarmupConstant":
        """From `learning_rate` and `warmup_factor`."""
        num_steps = int(chosen.warmup_factor * WARMUP_HINT_FACTOR * step_hint)
        return cls(float(chosen.learning_rate), max(num_steps, 1))

    def __call__(self, step: Any, xp: Any = np) -> Any:
        """The rate of the update after `step` updates, never below `EPSILON`."""
        share = xp.minimum(1.0, (step + 1) / self.num_warmup_steps)
        return xp.maximum(self.peak * share, EPSILON)


@dataclass(frozen=True)
class StepSize:
    """The rate times the root of Adam's bias correction: what the fast point moves by."""

    rate: WarmupConstant
    beta2: float

    def __call__(self, step: Any, xp: Any = np) -> Any:
        """See `WarmupConstant.__call__`."""
        correction = -xp.expm1((step + 1) * math.log(self.beta2))
        return self.rate(step, xp) * xp.sqrt(correction)
