"""What is computed at one step, and in which passes: each derivative is taken once."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from algoperf import histograms
from algoperf.histograms import GRADIENT_1D, GRADIENT_2D, PARAMETER_2D, Bins
from algoperf.instruments import configurations, curvature, eigenvalues, quantities
from algoperf.instruments.curvature import Diagonal
from algoperf.probe import (
    NotMeasurable,
    Point,
    Probe,
    Sample,
    Sums,
    Vector,
    Wanted,
    norms,
)

_T = TypeVar("_T")
Coupled = Literal["refuse", "coupled"]
_ALONG_GRADIENT = {"NormTest", "InnerTest", "OrthoTest", "CABS"}
_LARGEST_STORED = 10_000  # parameters that are written out at each step
_SMALLEST_FIT = 1e-3  # relative difference from a step of plain SGD
_COUPLED = (
    "batch norm couples the examples of a batch, so that none has a gradient of its own; "
    "--cockpit-batch-norm coupled takes the gradients of the coupled losses instead, at the "
    "price of a backward pass for each example"
)


@dataclass(frozen=True)
class Ranges:
    """Bins of the histograms; by default the published ones."""

    gradient: Bins = GRADIENT_1D
    joint: tuple[Bins, Bins] = (GRADIENT_2D, PARAMETER_2D)  # by gradient, by parameter

    def adapted(self, gradient: float, parameter: float) -> "Ranges":
        """The same numbers of bins, just as far as the largest magnitudes."""
        by_gradient, by_parameter = self.joint
        return Ranges(
            self.gradient.adapted(gradient),
            (by_gradient.adapted(gradient), by_parameter.adapted(parameter)),
        )

    def reaches(self) -> list[float]:
        """Where the ranges end, for a checkpoint."""
        return [bins.high for bins in (self.gradient, *self.joint)]

    @classmethod
    def reaching(cls, reaches: Sequence[float]) -> "Ranges":
        """The inverse of `reaches`."""
        defaults = (GRADIENT_1D, GRADIENT_2D, PARAMETER_2D)
        bins = [Bins(b.number, -r, r) for b, r in zip(defaults, reaches, strict=True)]
        return cls(bins[0], (bins[1], bins[2]))


@dataclass(frozen=True)
class Options:
    """How quantities are measured."""

    proxy: str = "ggn_mc"  # see `curvature`
    coupled: Coupled = "refuse"  # gradients of single examples under batch norm
    seed: int = 0  # of sampled labels and random vectors
    ranges: Ranges = field(default_factory=Ranges)


@dataclass
class Found:
    """What one step gave."""

    values: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    estimators: dict[str, str] = field(default_factory=dict)
    microseconds: dict[str, float] = field(default_factory=dict)


class Step:
    """All measurements at one point: derivatives are taken when first asked for, and kept."""

    def __init__(
        self,
        probe: Probe,
        options: Options,
        point: Point,
        sample: Sample,
        names: Sequence[str],
        directions: Mapping[str, Vector],
    ) -> None:
        """directions: along which each example's slope will be asked for, by any name."""
        self._probe, self._options = probe, options
        self._point, self._sample = point, sample
        self._names, self._directions = names, dict(directions)
        self._needs = configurations.needs(tuple(names))
        self._kept: dict[str, Any] = {}
        self.found = Found()

    def run(self, update: Vector | None = None) -> Found:
        """Measures all quantities but those that need two steps; update: the step taken."""
        self._refuse_single_examples()
        for name in self._names:
            measure = _MEASURES.get(name)
            if measure is None or name in self.found.refused:
                continue
            try:
                self.found.values[name] = measure(self, update)
            except NotMeasurable as error:
                self.found.refused[name] = str(error)
        return self.found

    def _refuse_single_examples(self) -> None:
        if not self._probe.couples_examples or self._options.coupled == "coupled":
            return
        for name in self._names:
            needs = configurations.QUANTITIES[name].needs
            uses_labels = "curvature" in needs and self._options.proxy == "ggn_mc"
            if needs & {"individual", "squares"} or uses_labels:
                self.found.refused[name] = _COUPLED

    def adapted_ranges(self) -> Ranges:
        """Histograms' ranges that just hold what was counted; the same if nothing was."""
        if not {"GradHist1d", "GradHist2d"} & set(self.found.values):
            return self._options.ranges
        arrays = self._probe.to_numpy(self._point.values)
        parameter = max(histograms.largest(array) for array in arrays.values())
        return self._options.ranges.adapted(self._sums().largest, parameter)

    def observed(self, direction: str) -> tuple[np.ndarray, np.ndarray]:
        """Losses and slopes of all examples along one of the directions."""
        column = list(self._all_directions()).index(direction)
        if self._is_individual:
            sums = self._sums()
            return sums.losses, sums.products[:, column]
        losses, slopes = self._timed("slopes", "", self._slopes)
        return losses, slopes[:, column]

    def _slopes(self) -> tuple[np.ndarray, np.ndarray]:
        directions = tuple(self._all_directions().values())
        return self._probe.slopes(self._point, self._sample, directions)

    def _all_directions(self) -> dict[str, Vector]:
        """Those that were given, and the gradient where it is needed."""
        is_needed = any(name in _ALONG_GRADIENT for name in self._names)
        if is_needed and "gradient" not in self._directions:
            self._directions["gradient"] = self._gradient()[1]
        return self._directions

    @property
    def _is_individual(self) -> bool:
        """Whether a pass over single examples is made in any case."""
        wanted = [n for n in self._names if n not in self.found.refused]
        needs = configurations.needs(tuple(wanted))
        return bool(needs & {"individual", "squares"})

    def _timed(self, part: str, key: str, compute: Callable[[], _T]) -> _T:
        """Computes once; the time counts for a part of the work."""
        place = f"{part}/{key}"
        if place not in self._kept:
            begin = time.perf_counter()
            self._kept[place] = compute()
            spent = (time.perf_counter() - begin) * 1e6
            spent += self.found.microseconds.get(part, 0.0)
            self.found.microseconds[part] = spent
        kept: _T = self._kept[place]
        return kept

    def losses(self) -> np.ndarray:
        """Of all examples, from whatever was computed in any case."""
        if "gradient" in self._needs:
            return self._gradient()[0]
        if self._is_individual:
            return self._sums().losses
        for direction in self._directions:
            return self.observed(direction)[0]
        return self._timed(
            "losses", "", lambda: self._probe.losses(self._point, self._sample)
        )

    def _gradient(self) -> tuple[np.ndarray, Vector]:
        return self._timed(
            "gradient", "", lambda: self._probe.gradient(self._point, self._sample)
        )

    def _sums(self) -> Sums:
        def compute() -> Sums:
            ranges = self._options.ranges
            wanted = Wanted(
                directions=tuple(self._all_directions().values()),
                squares="squares" in self._needs,
                bins=ranges.gradient if "GradHist1d" in self._names else None,
                pair_bins=ranges.joint if "GradHist2d" in self._names else None,
            )
            return self._probe.individual(self._point, self._sample, wanted)

        return self._timed("individual", "", compute)

    def _products(self) -> np.ndarray:
        """g_i . g of all examples."""
        return self.observed("gradient")[1]

    def _squares(self) -> dict[str, np.ndarray]:
        squares = self._sums().squares
        assert squares is not None
        return self._probe.to_numpy(squares)

    def _curvature(self, name: str) -> Diagonal:
        """By the proxy that was asked for, or where it does not exist by Hutchinson's."""
        proxy = self._options.proxy

        def compute(proxy: str) -> Diagonal:
            seed = self._options.seed
            return self._timed(
                "curvature",
                proxy,
                lambda: curvature.diagonal(
                    self._probe, self._point, self._sample, proxy, seed
                ),
            )

        try:
            found = compute(proxy)
        except NotMeasurable:
            if proxy != "ggn_mc" or name == "TICDiag":
                raise
            found = compute("hutchinson")
        self.found.estimators[name] = found.estimator
        return found

    # One method for each quantity; `update` is the step that the submission took

    def _loss(self, _: Any) -> float:
        return float(self.losses().mean())

    def _parameters(self, _: Any) -> dict[str, list[float]]:
        if self._probe.num_parameters > _LARGEST_STORED:
            raise NotMeasurable(
                f"{self._probe.num_parameters:,} parameters would be written at each step; "
                f"at most {_LARGEST_STORED:,} are"
            )
        arrays = self._probe.to_numpy(self._point.values)
        return {name: array.ravel().tolist() for name, array in arrays.items()}

    def _grad_norm(self, _: Any) -> list[float]:
        found: list[float] = norms(self._probe, self._gradient()[1]).tolist()
        return found

    def _norm_test(self, _: Any) -> float:
        square = float(self._products().mean())
        return quantities.norm_test(self._sums().squared_norms, square)

    def _inner_test(self, _: Any) -> float:
        products = self._products()
        return quantities.inner_test(products, float(products.mean()))

    def _ortho_test(self, _: Any) -> float:
        products = self._products()
        sums = self._sums()
        square = float(products.mean())
        return quantities.ortho_test(sums.squared_norms, products, square)

    def _histogram(self, _: Any) -> dict[str, Any]:
        sums = self._sums()
        return {"counts": sums.counts, "bins": self._options.ranges.gradient.to_json()}

    def _joint_histogram(self, _: Any) -> dict[str, Any]:
        pairs = self._sums().pair_counts
        assert pairs is not None
        return {
            "counts": sum(pairs[name] for name in self._probe.names),
            "bins": [bins.to_json() for bins in self._options.ranges.joint],
        }

    def _cabs(self, update: Any) -> float:
        rate = self._sgd_rate(update)
        square = float(self._products().mean())
        squared_norms = self._sums().squared_norms
        loss = float(self.losses().mean())
        return quantities.cabs(squared_norms, square, loss, rate)

    def _early_stopping(self, update: Any) -> float:
        self._sgd_rate(update)
        gradient = self._probe.to_numpy(self._gradient()[1])
        num_examples = len(self.losses())
        return quantities.early_stopping(self._squares(), gradient, num_examples)

    def _sgd_rate(self, update: Vector | None) -> float:
        """The rate of a step of plain SGD; NotMeasurable for any other step."""
        gradient = self._gradient()[1]
        if update is not None:
            square = float(self._probe.dots(gradient, gradient).sum())
            rate = -float(self._probe.dots(update, gradient).sum()) / (square or 1.0)
            rest = self._probe.combine(1.0, update, rate, gradient)
            length = float(norms(self._probe, update).max())
            if float(norms(self._probe, rest).max()) <= _SMALLEST_FIT * length:
                return rate
        raise NotMeasurable(
            "its theory holds for plain SGD, and the step was not the learning rate times "
            "the mean gradient of the batch"
        )

    def _gsnr(self, _: Any) -> float:
        gradient = self._probe.to_numpy(self._gradient()[1])
        return quantities.mean_gsnr(self._squares(), gradient, len(self.losses()))

    def _tic_diagonal(self, _: Any) -> float:
        diagonal = self._curvature("TICDiag")
        if diagonal.may_be_negative and "exact" not in diagonal.estimator:
            raise NotMeasurable(
                f"it divides by the diagonal, and an estimate that may be negative "
                f"({diagonal.estimator}) makes it meaningless; choose a proxy of the GGN"
            )
        num_examples = len(self.losses())
        return quantities.tic_diagonal(self._squares(), diagonal.values, num_examples)

    def _tic_trace(self, _: Any) -> float:
        trace = sum(self._curvature("TICTrace").traces())
        return quantities.tic_trace(self._sums().squared_norms, trace)

    def _trace(self, _: Any) -> list[float]:
        return self._curvature("HessTrace").traces()

    def _largest_eigenvalue(self, _: Any) -> float:
        def compute() -> eigenvalues.Eigenvalue:
            product = self._probe.hessian(self._point, self._sample)
            values = self._point.values
            return eigenvalues.largest(self._probe, product, values, self._options.seed)

        found = self._timed("eigenvalue", "", compute)
        settled = "" if found.has_converged else ", not settled"
        self.found.estimators["HessMaxEV"] = (
            f"Lanczos, {found.num_products} products{settled}"
        )
        return float(found.value)


_MEASURES: dict[str, Callable[[Step, Any], Any]] = {
    "Loss": Step._loss,
    "Parameters": Step._parameters,
    "GradNorm": Step._grad_norm,
    "NormTest": Step._norm_test,
    "InnerTest": Step._inner_test,
    "OrthoTest": Step._ortho_test,
    "GradHist1d": Step._histogram,
    "GradHist2d": Step._joint_histogram,
    "CABS": Step._cabs,
    "EarlyStopping": Step._early_stopping,
    "MeanGSNR": Step._gsnr,
    "TICDiag": Step._tic_diagonal,
    "TICTrace": Step._tic_trace,
    "HessTrace": Step._trace,
    "HessMaxEV": Step._largest_eigenvalue,
}
