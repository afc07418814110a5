"""Which quantities there are, what each one needs, and the named selections of them."""

from dataclasses import dataclass
from typing import Literal

from algoperf.errors import UnknownName, near

Need = Literal["gradient", "slopes", "individual", "squares", "curvature", "step"]


@dataclass(frozen=True)
class Quantity:
    """A quantity's name, what it needs beside the losses, and what it tells."""

    name: str
    needs: frozenset[Need]
    meaning: str


def _quantity(name: str, needs: str, meaning: str) -> Quantity:
    return Quantity(name, frozenset(needs.split()), meaning)  # type: ignore[arg-type]


QUANTITIES = {
    q.name: q
    for q in (
        _quantity("Loss", "", "mean loss of the mini-batch"),
        _quantity("Parameters", "", "the parameters themselves, of toy problems"),
        _quantity("Time", "", "wall-clock seconds since the instruments began"),
        _quantity("GradNorm", "gradient", "norm of the gradient of each tensor"),
        _quantity("Distance", "step", "distance of each tensor from its start"),
        _quantity("UpdateSize", "step", "length of each tensor's update"),
        _quantity("Alpha", "slopes step", "where the step ends on the local parabola"),
        _quantity("NormTest", "gradient individual", "total noise of the gradient"),
        _quantity("InnerTest", "gradient slopes", "noise along the gradient"),
        _quantity("OrthoTest", "gradient individual", "noise across the gradient"),
        _quantity("GradHist1d", "individual", "histogram of gradient elements"),
        _quantity("GradHist2d", "individual", "gradient elements by parameter value"),
        _quantity("CABS", "gradient individual", "batch size suggested for SGD"),
        _quantity("EarlyStopping", "gradient squares", "evidence to stop, above 0"),
        _quantity("MeanGSNR", "gradient squares", "mean signal-to-noise ratio"),
        _quantity("TICDiag", "squares curvature", "Takeuchi's criterion, by diagonals"),
        _quantity(
            "TICTrace", "individual curvature", "Takeuchi's criterion, by traces"
        ),
        _quantity("HessTrace", "curvature", "trace of the curvature of each tensor"),
        _quantity("HessMaxEV", "", "the Hessian's eigenvalue of largest magnitude"),
    )
}

# Need no gradient of a single example: two directional derivatives do.
_LIGHT = ("Alpha", "Distance", "GradNorm", "InnerTest", "Loss", "UpdateSize")
_ECONOMY = (*_LIGHT, "GradHist1d", "NormTest", "OrthoTest")
_BUSINESS = (*_ECONOMY, "TICDiag", "HessTrace")
_FULL = (*_BUSINESS, "HessMaxEV", "GradHist2d")
CONFIGURATIONS = {
    "light": _LIGHT,
    "economy": _ECONOMY,
    "business": _BUSINESS,
    "full": _FULL,
}


def quantities(configuration: str) -> tuple[str, ...]:
    """The quantities of a configuration, or those of a list such as `Alpha,Loss`."""
    if configuration in CONFIGURATIONS:
        return tuple(sorted(CONFIGURATIONS[configuration]))
    names = [name.strip() for name in configuration.split(",")]
    for name in names:
        if name not in QUANTITIES:
            known = (*CONFIGURATIONS, *QUANTITIES)
            raise UnknownName(
                f"No configuration or quantity named {name!r}.{near(name, known)} Choose "
                f"{', '.join(CONFIGURATIONS)}, or list quantities: {', '.join(QUANTITIES)}."
            )
    return tuple(sorted(set(names)))


def needs(names: tuple[str, ...]) -> frozenset[Need]:
    """All that these quantities need."""
    return frozenset().union(*(QUANTITIES[name].needs for name in names))
