"""What Cautious NadamW is in every framework."""

from typing import Any

# Of the elements whose update has the gradient's sign; updates are divided by the share.
SMALLEST_SHARE = 1e-3


def has_cautious_decay(point: Any) -> bool:
    """Whether decay is cautious too: `cautious_decay` of a point, 0 where it is absent."""
    return bool(getattr(point, "cautious_decay", 0))
