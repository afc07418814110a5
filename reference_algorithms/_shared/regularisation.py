"""The hyperparameters that every reference algorithm reads beside those of its rule."""

from dataclasses import dataclass

from algoperf import spec


@dataclass(frozen=True)
class Regularisation:
    """Strengths of one point of a search space, or the published defaults."""

    label_smoothing: float = 0.0
    dropout_rate: float | None = None  # None: the workload's default
    grad_clip: float | None = None  # largest global gradient norm; None: no clipping


def regularisation(hyperparameters: spec.Hyperparameters) -> Regularisation:
    """`label_smoothing`, `dropout_rate`, `grad_clip` of a point; each may be absent."""
    given = {
        name: float(value)
        for name in Regularisation.__dataclass_fields__
        if (value := getattr(hyperparameters, name, None)) is not None
    }
    return Regularisation(**given)
