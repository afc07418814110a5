"""How a training step can be looked at from outside, off the submission's clock.

A hook sees what a step starts from and what it leaves, and may compute with it; it must change
nothing: a run computes the same, bit for bit, with and without. Data order and keys are made
before a hook sees them.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from algoperf import spec


@dataclass(frozen=True)
class StepView:
    """One training step, before or after its update."""

    step: int  # 0 is the first
    params: spec.ParameterContainer
    model_state: spec.ModelAuxiliaryState
    optimizer_state: spec.OptimizerState
    batch: spec.Batch  # the one that the update gets
    key: spec.RandomState  # the one that the update gets
    hyperparameters: Any


class StepHook(Protocol):
    """What looks at training steps.

    What a view holds is the submission's own: it may be donated or changed in place by the
    update, so a hook copies in `before_step` what it needs later.
    """

    def wants(self, step: int) -> bool:
        """Whether to look at that step. A step that nobody looks at costs nothing."""
        ...

    def before_step(self, view: StepView) -> None:
        """Called between `data_selection` and `update_params`, with the devices idle."""
        ...

    def after_step(self, view: StepView) -> None:
        """Called after `update_params`, with the devices idle."""
        ...

    def state(self) -> Any:
        """What a resumed trial goes on from: a tree as submissions' states may be."""
        ...

    def restore(self, state: Any) -> None:
        """Goes on from what `state` has returned."""
        ...

    def close(self) -> None:
        """Called once, at the end of the trial."""
        ...
