"""What the reference algorithms log while they train."""

from typing import Any

from algoperf import spec

# As the published baselines. Reading a scalar waits for the device, and that wait is on
# the submission's clock; so nothing is read at other steps.
LOG_EVERY_STEPS = 100


def is_due(global_step: int) -> bool:
    """Whether scalars are logged at this step."""
    return global_step % LOG_EVERY_STEPS == 0


def append(workload: spec.Workload, global_step: int, **scalars: Any) -> None:
    """Hands scalars (Python's or a device's) on; waits for those on a device."""
    if workload.metrics_logger is not None:
        values = {name: float(value) for name, value in scalars.items()}
        workload.metrics_logger.append_scalar_metrics(values, global_step)
