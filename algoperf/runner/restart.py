"""What a resumed trial is not charged again: compiling, which it has paid for before.

The first calls after a restart compile, fill caches and start pools once more. Of each of them
the excess over its usual cost is booked as set-up, in all at most what the trial had been
charged until its first evaluation: a submission that works more after a restart pays for it.
"""

from dataclasses import dataclass

from algoperf.runner.trial_parts import Costs

# Frameworks compile again at the second call, whose inputs are outputs of the first.
NUM_STEPS = 3


@dataclass
class Restart:
    """The allowance of one restart."""

    usual: Costs
    left_seconds: float
    steps_left: int = NUM_STEPS
    may_prepare: bool = True

    @classmethod
    def after(cls, costs: Costs) -> "Restart":
        """The allowance of a trial that had these costs before it was stopped."""
        return cls(costs, costs.until_first_evaluation)

    def of_step(self, seconds: float) -> float:
        """How much of a step's seconds is not charged."""
        if self.steps_left == 0:
            return 0.0
        self.steps_left -= 1
        return self._allowed(seconds - self.usual.step)

    def of_prepare_for_eval(self, seconds: float) -> float:
        """How much of the seconds of a `prepare_for_eval` is not charged."""
        if not self.may_prepare:
            return 0.0
        self.may_prepare = False
        return self._allowed(seconds - self.usual.prepare_for_eval)

    def _allowed(self, excess: float) -> float:
        allowed = min(max(excess, 0.0), self.left_seconds)
        self.left_seconds -= allowed
        return allowed
