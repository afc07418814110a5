"""What a backend tells the `forward` and `outputs` of a model file besides their data.

A model file asks for nothing else: which devices and processes there are, and how a batch
lies on them, is known to the backend alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# (function, variables, batch) -> function(variables, batch)
OverDevices = Callable[[Callable[[Any, Any], Any], Any, Any], Any]


def _at_once(function: Callable[[Any, Any], Any], variables: Any, batch: Any) -> Any:
    return function(variables, batch)


@dataclass(frozen=True)
class ForwardContext:
    """One call of a model: the mode, its random state, and where the examples come from.

    The defaults are those of an evaluation of a whole batch at once.
    """

    config: Any  # the definition's `model`
    train: bool = False
    rng: Any = None  # as the submission handed it on
    update_batch_norm: bool = False
    dropout_rate: Any = 0.0  # a float or a scalar of the framework, maybe traced
    carry: Any = None  # arrays by name, from the batch before; see `ModelModule`
    # The call sees one of several equal parts of the global batch: which, from 0.
    batch_part: int = 0
    # `over_devices(function, variables, batch)` calls `function(variables, part)` on each
    # device for its part of the batch, so that no device waits for another, and joins the
    # arrays that come back along their first axis.
    over_devices: OverDevices = _at_once

    def first_example(self, num_examples: int) -> int:
        """Index in the global batch of the first of the `num_examples` that the call sees."""
        return self.batch_part * num_examples
