"""Results of the suite, made of numbers."""

import math
from collections.abc import Mapping, Sequence

from algoperf import registry
from algoperf.suite import design
from algoperf.suite.runs import Results, Run

HINT = 4_000


def run(steps: float | None, seed: int = 1) -> Run:
    """A run that reached the target after so many steps; None: it missed it."""
    found = math.inf if steps is None else float(steps)
    curve = ((1, 0.25), (101, 0.5))
    machine = {"cpu": "made up", "versions": {"numpy": "2"}}
    return Run(found, HINT, seed, math.nan, curve, "2026-01-01T00:00:00Z", machine)


def results(
    name: str, steps: Mapping[str, Sequence[float | None]], first_seed: int = 1
) -> Results:
    """Runs by workload; the seeds of two made with the same `first_seed` are the same."""
    return Results(
        name,
        "jax",
        {
            workload: {
                number: run(value, first_seed + number)
                for number, value in enumerate(values, start=1)
            }
            for workload, values in steps.items()
        },
        {w: design.fingerprint(registry.definition(w)) for w in steps},
    )


FOUR = design.QUICK


def even(name: str, factor: float = 1.0, seeds: int = 3) -> Results:
    """Steps that differ a little by seed and a lot by workload, times a factor."""
    wobble = (1.0, 1.06, 0.95, 1.02, 0.98, 1.01)
    return results(
        name,
        {
            workload: [round(factor * 600 * (i + 1) * wobble[k]) for k in range(seeds)]
            for i, workload in enumerate(FOUR)
        },
    )
