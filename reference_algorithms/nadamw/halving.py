"""Successive halving: which candidate takes a step, and who goes on. No framework.

Candidates take turns of equal length, each from where it stopped. After a rung, in which
all that are left had one turn, the better half stays; the last one keeps training.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algoperf.reference_algorithms._shared.points import as_point, listed
from algoperf.reference_algorithms._shared.schedules import WarmupCosine

# Of `optlist.json`; the third is the first but for its smoothing.
_NUMBERS = (0, 1, 3, 4)
TURN_FACTOR = 0.03  # of the step hint: 12 % of it go to candidates that are dropped
WARMUP_FACTOR = 0.02  # the same for all, so that a turn is longer than a warm-up

# Dropout and smoothing are those of the self-tuning baseline for all candidates:
# training losses with unequal smoothing cannot be compared.
regularisation_point = listed(__file__, 4)


def candidates() -> list[Any]:
    """Points of which `learning_rate`, `one_minus_beta1`, `beta2`, `weight_decay` count."""
    points = json.loads(Path(__file__).with_name("optlist.json").read_text())
    return [as_point(points[number]) for number in _NUMBERS]


@dataclass
class Bracket:
    """Who takes steps: plain numbers, which checkpoints keep."""

    turn_steps: int
    left: list[int] = field(default_factory=lambda: list(range(len(_NUMBERS))))
    place: int = 0  # of the current candidate among those that are left
    steps: int = 0  # taken in this turn

    @classmethod
    def of(cls, step_hint: int) -> "Bracket":
        """For a run of that many steps."""
        return cls(max(int(TURN_FACTOR * step_hint), 2))

    @property
    def current(self) -> int:
        """The candidate that takes the next step."""
        return self.left[self.place]

    @property
    def is_decided(self) -> bool:
        """Whether one candidate is left."""
        return len(self.left) == 1

    @property
    def is_scored(self) -> bool:
        """Whether the next step's loss counts: in the second half of a turn."""
        return not self.is_decided and self.steps >= self.turn_steps // 2

    def count_step(self) -> bool:
        """Counts one; whether that was the last step of a turn."""
        self.steps += 1
        return not self.is_decided and self.steps == self.turn_steps

    def next_turn(self, scores: Callable[[Sequence[int]], Sequence[float]]) -> None:
        """Passes the turn on; after the last of a rung only the better half is left.

        scores: of candidates, lower is better; NaN is worst. Asked for after a rung only:
        it may wait for the device.
        """
        self.steps = 0
        self.place += 1
        if self.place == len(self.left):
            found = dict(zip(self.left, scores(self.left), strict=True))
            order = sorted(self.left, key=lambda i: _worst_if_nan(found[i]))
            self.left = order[: max(len(order) // 2, 1)]
            self.place = 0


@dataclass
class Tuner:
    """All candidates, by number; None stands for what is dropped, or is in use."""

    bracket: Bracket
    states: list[Any]  # of their optimizers
    parked: list[Any]  # what the harness keeps of the current candidate: parameters, …
    totals: list[Any]  # sums of the losses that count so far, on the device

    def count_loss(self, loss: Any) -> None:
        """Before `count_step`; waits for nothing."""
        if self.bracket.is_scored:
            current = self.bracket.current
            self.totals[current] = self.totals[current] + loss

    def count_step(self, park: Callable[[], Any]) -> Any:
        """What the next candidate had parked, if a turn is over; else None.

        park: makes what the current candidate leaves.
        """
        current = self.bracket.current
        if not self.bracket.count_step():
            return None
        self.parked[current] = park()
        self.bracket.next_turn(lambda left: [float(self.totals[i]) for i in left])
        for i in range(len(self.states)):
            if i not in self.bracket.left:
                self.states[i] = self.parked[i] = self.totals[i] = None
        current = self.bracket.current
        found, self.parked[current] = self.parked[current], None
        return found


def _worst_if_nan(score: float) -> float:
    return math.inf if math.isnan(score) else score


def schedule(peak: float, step_hint: int) -> WarmupCosine:
    """Of a candidate; reaches 0 at the step hint, the steps of dropped ones counted."""
    turn_steps = Bracket.of(step_hint).turn_steps
    num_lost = turn_steps * len(_NUMBERS)  # four turns; the winner has two
    own_steps = max(step_hint - num_lost, 1)
    num_warmup_steps = int(WARMUP_FACTOR * own_steps)
    return WarmupCosine(peak, num_warmup_steps, max(own_steps - num_warmup_steps, 1))
