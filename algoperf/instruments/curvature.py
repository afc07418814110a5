"""The curvature's diagonal and traces, by exact products or by estimates of known kind."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from algoperf.errors import UnknownName, near
from algoperf.probe import (
    NotMeasurable,
    Point,
    Probe,
    Sample,
    Vector,
    Wanted,
    random_signs,
)

Proxy = Literal["ggn_mc", "ggn_exact", "hessian_exact", "hutchinson"]
PROXIES: tuple[str, ...] = get_args(Proxy)
_LARGEST_EXACT = 5_000  # parameters; each takes a product
_NUM_SIGNS = 4  # random vectors of Hutchinson's estimate


@dataclass(frozen=True)
class Diagonal:
    """Of a curvature matrix, with how it was found."""

    values: dict[str, np.ndarray]
    estimator: str
    may_be_negative: bool

    def traces(self) -> list[float]:
        """The sum over each tensor."""
        return [float(np.sum(h, dtype=np.float64)) for h in self.values.values()]


def check_proxy(name: str) -> None:
    """Refuses an unknown proxy, with a near name."""
    if name not in PROXIES:
        raise UnknownName(
            f"No curvature proxy named {name!r}.{near(name, PROXIES)} "
            f"Choose one of: {', '.join(PROXIES)}."
        )


def diagonal(
    probe: Probe, point: Point, sample: Sample, proxy: str, seed: int
) -> Diagonal:
    """The diagonal by the proxy of that name.

    ggn_mc: squared gradients for labels drawn from the model, which need no more than a pass
    over single examples; ggn_exact, hessian_exact: a product for each parameter;
    hutchinson: random signs times their products with the Hessian.
    """
    if proxy == "ggn_mc":
        return _monte_carlo(probe, point, sample, seed)
    if proxy == "hutchinson":
        return _hutchinson(probe, point, sample, seed)
    if probe.num_parameters > _LARGEST_EXACT:
        raise NotMeasurable(
            f"an exact diagonal takes a product for each of {probe.num_parameters:,} "
            f"parameters; at most {_LARGEST_EXACT:,} are allowed. Choose ggn_mc or hutchinson"
        )
    matrix = probe.ggn if proxy == "ggn_exact" else probe.hessian
    return _exact(probe, point, matrix(point, sample), proxy)


def _monte_carlo(probe: Probe, point: Point, sample: Sample, seed: int) -> Diagonal:
    drawn = probe.relabelled(point, sample, seed)
    sums = probe.individual(point, drawn.sample, Wanted(squares=True))
    assert sums.squares is not None
    divisor = len(sums.losses) * drawn.scale
    squares = probe.to_numpy(sums.squares)
    return Diagonal(
        {name: np.asarray(squares[name]) / divisor for name in probe.names},
        "GGN, one sampled label for each prediction",
        may_be_negative=False,
    )


def _hutchinson(probe: Probe, point: Point, sample: Sample, seed: int) -> Diagonal:
    product = probe.hessian(point, sample)
    total: dict[str, np.ndarray] = {}
    for number in range(_NUM_SIGNS):
        signs = random_signs(probe, point.values, seed + number)
        arrays, curved = probe.to_numpy(signs), probe.to_numpy(product(signs))
        for name in probe.names:
            part = arrays[name] * curved[name] / _NUM_SIGNS
            total[name] = total[name] + part if name in total else part
    return Diagonal(
        total, f"Hessian, Hutchinson with {_NUM_SIGNS} vectors", may_be_negative=True
    )


def _exact(probe: Probe, point: Point, product: object, proxy: str) -> Diagonal:
    assert callable(product)
    shapes = {name: np.shape(array) for name, array in point.values.items()}
    found = {name: np.zeros(shapes[name], np.float64) for name in probe.names}
    unit: dict[str, np.ndarray] = {
        name: np.zeros(shapes[name], np.float32) for name in probe.names
    }
    for name in probe.names:
        for place in np.ndindex(shapes[name]):
            unit[name][place] = 1.0
            vector: Vector = probe.from_numpy({n: a.copy() for n, a in unit.items()})
            found[name][place] = probe.to_numpy(product(vector))[name][place]
            unit[name][place] = 0.0
    matrix = "GGN" if proxy == "ggn_exact" else "Hessian"
    return Diagonal(found, f"{matrix}, exact", may_be_negative=matrix == "Hessian")
