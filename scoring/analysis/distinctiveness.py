"""How different a variant is from its base, by ranks of points (paper, section 6.2).

If the base's best point ranks badly on the variant, and the other way round, tuning on
the one does not solve the other.
"""

from dataclasses import dataclass

import numpy as np

from algoperf.errors import BadLogs

from ..figures import Curve, Figure
from ..leaderboard import Leaderboard
from ..tables import Table
from .values import Report, as_costs, directions, values_by_point


@dataclass(frozen=True)
class Distinctiveness:
    """Ranks from 1 among the points of both; ties share the better rank."""

    num_points: int
    base_best_on_variant: int
    variant_best_on_base: int


def ranks(costs: np.ndarray) -> np.ndarray:
    """[point] -> 1 + the number of points that are strictly better."""
    result: np.ndarray = 1 + (costs[None, :] < costs[:, None]).sum(axis=1)
    return result


def distinctiveness(base: np.ndarray, variant: np.ndarray) -> Distinctiveness:
    """base, variant: [point] costs, smaller is better, infinity diverged."""
    if not len(base):
        raise BadLogs("No hyperparameter point was run on both workloads.")
    on_base, on_variant = ranks(base), ranks(variant)
    return Distinctiveness(
        len(base), int(on_variant[base.argmin()]), int(on_base[variant.argmin()])
    )


def report(board: Leaderboard) -> Report:
    """Ranks for every submission and every held-out workload."""
    rows, figures = [], []
    for entry in board.entries:
        _, workloads, values = values_by_point(board, entry.submission)
        costs = as_costs(values, directions(board, workloads))
        for variant in board.pool.held_out:
            base = board.pool.workloads[variant].base_name
            if variant not in workloads or base not in workloads:
                continue
            a, b = costs[:, workloads.index(base)], costs[:, workloads.index(variant)]
            found = distinctiveness(a, b)
            rows.append(
                [
                    entry.submission,
                    base,
                    variant,
                    f"{found.base_best_on_variant} of {found.num_points}",
                    f"{found.variant_best_on_base} of {found.num_points}",
                ]
            )
            figures.append(_figure(entry.submission, base, variant, ranks(a), ranks(b)))
    if not rows:
        raise BadLogs(
            "The logs hold no base workload together with a variant of it; name the "
            "variants with --held-out if they are not the drawn ones."
        )
    header = ["submission", "base", "variant", "base's best, on variant"]
    table = Table("Variant distinctiveness", [*header, "variant's best, on base"], rows)
    return Report("Variant distinctiveness", (table,), tuple(figures))


def _figure(
    submission: str, base: str, variant: str, a: np.ndarray, b: np.ndarray
) -> Figure:
    return Figure(
        title=f"{submission}: ranks on {base} and {variant}",
        description=(
            f"One point for each of {len(a)} hyperparameter points: its rank on the "
            "base workload to the right, on the variant upwards. On a line: not "
            "distinct."
        ),
        x_label=f"rank on {base}",
        y_label=f"rank on {variant}",
        curves=[Curve("points", a.tolist(), b.tolist(), kind="points")],
    )
