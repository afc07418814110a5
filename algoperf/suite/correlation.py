"""Does the suite predict the benchmark? Rank correlation with published orders.

python -m algoperf.suite.correlation --framework jax --quick
"""

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf.errors import BadLogs
from algoperf.frameworks import FRAMEWORKS
from algoperf.suite import baselines, design
from algoperf.suite.runs import Results
from algoperf.suite.statistics import LEVEL, log_steps

_ORDERS = Path(__file__).parent / "published.json"
_RESAMPLES = 2_000
_FEWEST = 3  # algorithms of which an order can be said to agree with another


@dataclass(frozen=True)
class Correlation:
    """Kendall's tau of two orders of the same algorithms; 1: the same order."""

    names: tuple[str, ...]  # best first, by the suite
    tau: float
    interval: tuple[float, float]  # of the suite's workloads and seeds, drawn again
    p_value: float  # share of all orders that agree at least as well

    def text(self) -> str:
        """One sentence."""
        low, high = self.interval
        return (
            f"tau = {self.tau:.2f} [{low:.2f}, {high:.2f}], {len(self.names)} algorithms, "
            f"p = {self.p_value:.2f}; by the suite: {', '.join(self.names)}"
        )


def orders() -> Mapping[str, Mapping[str, float]]:
    """Published scores by leaderboard and algorithm; more is better."""
    content = json.loads(_ORDERS.read_text())
    return {name: order["scores"] for name, order in content.items()}


def tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-a: agreeing pairs less disagreeing ones, as a share of all pairs."""
    pairs = list(itertools.combinations(range(len(first)), 2))
    signs = (
        np.sign(first[i] - first[j]) * np.sign(second[i] - second[j]) for i, j in pairs
    )
    return float(sum(signs)) / len(pairs)


def correlate(
    found: Sequence[Results],
    scores: Mapping[str, float],
    workloads: Sequence[str],
    seed: int = 0,
) -> Correlation:
    """Of the algorithms that have a published score and ran on all the workloads."""
    common = [r for r in found if r.name in scores and all(map(r.has, workloads))]
    if len(common) < _FEWEST:
        raise BadLogs(
            f"Only {len(common)} algorithms have both a published score and runs on all "
            f"of {', '.join(workloads)}; an order takes {_FEWEST}."
        )
    common.sort(key=lambda results: _mean(results, workloads))
    published = [scores[results.name] for results in common]
    steps = [_mean(results, workloads) for results in common]
    agreement = tau([-value for value in steps], published)
    drawn = _resampled(common, workloads, np.random.default_rng(seed))
    values = [tau([-value for value in row], published) for row in drawn]
    outside = (1 - LEVEL) / 2
    low, high = np.quantile(values, [outside, 1 - outside], method="nearest")
    return Correlation(
        tuple(results.name for results in common),
        agreement,
        (float(low), float(high)),
        _chance(published, agreement),
    )


def _mean(results: Results, workloads: Sequence[str]) -> float:
    """Mean over workloads of the mean log steps."""
    return float(
        np.mean(
            [
                np.mean([log_steps(run) for run in results.runs[name].values()])
                for name in workloads
            ]
        )
    )


def _resampled(
    found: Sequence[Results], workloads: Sequence[str], rng: np.random.Generator
) -> np.ndarray:
    """[resample, algorithm] mean log steps; workloads are drawn for all algorithms alike."""
    means = np.empty((_RESAMPLES, len(found), len(workloads)))
    for i, results in enumerate(found):
        for j, name in enumerate(workloads):
            values = np.array([log_steps(run) for run in results.runs[name].values()])
            drawn = rng.integers(len(values), size=(_RESAMPLES, len(values)))
            means[:, i, j] = values[drawn].mean(axis=1)
    chosen = rng.integers(len(workloads), size=(_RESAMPLES, 1, len(workloads)))
    result: np.ndarray = np.take_along_axis(means, chosen, axis=2).mean(axis=2)
    return result


def _chance(published: Sequence[float], agreement: float) -> float:
    """Share of all orders that agree with the published one at least as well."""
    count = len(published)
    if count > 8:  # too many to go through
        rng = np.random.default_rng(0)
        drawn = [rng.permutation(count).tolist() for _ in range(10_000)]
        values = [tau(order, published) for order in drawn]
    else:
        values = [
            tau(order, published) for order in itertools.permutations(range(count))
        ]
    return float(np.mean([value >= agreement - 1e-9 for value in values]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the correlation with each published order, of the shipped baselines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--framework", required=True, choices=list(FRAMEWORKS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--workloads", nargs="+", metavar="NAME")
    options = parser.parse_args(arguments)
    workloads = design.chosen(options.workloads, is_quick=options.quick)
    found = baselines.shipped(options.framework)
    for name, scores in orders().items():
        try:
            print(f"{name}: {correlate(found, scores, workloads).text()}")
        except BadLogs as error:
            print(f"{name}: not known. {error}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
