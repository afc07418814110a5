"""How small a difference a number of seeds detects, and how many seeds a difference takes.

For a mean over the same workloads: more seeds cannot tell how other workloads would come out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from algoperf.suite import design
from algoperf.suite.statistics import LEVEL, Sample, pooled_deviation, t_quantile

POWER = 0.8  # probability that a difference of that size comes out significant
ASKED = 0.05  # the difference that a reader usually asks about


@dataclass(frozen=True)
class Power:
    """What the spread over seeds allows; NaN and None where it is unknown."""

    num_seeds: int
    detectable: float  # smallest relative difference of steps, such as 0.08
    asked: float
    seeds_for_asked: int | None  # None: more than `design.MOST_SEEDS`

    def text(self) -> str:
        """One sentence."""
        seeds = f"{self.num_seeds} seed{'s' if self.num_seeds > 1 else ''}"
        if math.isnan(self.detectable):
            return f"{seeds}: the spread over seeds is unknown; run at least 2."
        needed = self.seeds_for_asked
        count = f"more than {design.MOST_SEEDS}" if needed is None else str(needed)
        verb = "detects" if self.num_seeds == 1 else "detect"
        return (
            f"{seeds} {verb} a difference of {self.detectable:.1%} on these workloads "
            f"(with probability {POWER:.0%}); {self.asked:.0%} takes {count}."
        )


def power(found: Sequence[Sample], asked: float = ASKED) -> Power:
    """From the spread that was measured, of as many seeds as each workload had at least."""
    num_seeds = min(min(len(s.first), len(s.second)) for s in found)
    deviation, freedom = pooled_deviation(found)
    if not freedom:
        return Power(num_seeds, math.nan, asked, None)
    # Of one seed of each submission: an unpaired difference has both submissions' spread.
    spread = deviation * math.sqrt(
        sum(1 if s.is_paired else 2 for s in found) / len(found)
    )
    detectable = _detectable(spread, len(found), num_seeds)
    needed = next(
        (
            count
            for count in range(2, design.MOST_SEEDS + 1)
            if _detectable(spread, len(found), count) <= asked
        ),
        None,
    )
    return Power(num_seeds, detectable, asked, needed)


def _detectable(spread: float, num_workloads: int, num_seeds: int) -> float:
    freedom = num_workloads * (num_seeds - 1)
    if not freedom:
        return math.nan
    error = spread / math.sqrt(num_workloads * num_seeds)
    quantiles = t_quantile((1 + LEVEL) / 2, freedom) + t_quantile(POWER, freedom)
    return math.expm1(quantiles * error)
