"""How different a variant is from its base, by ranks of points (paper, section 6.2).

If the base's best point ranks badly on the variant, and the other way round, tuning on
the one does not solve the other.
"""

from dataclasses import dataclass

import numpy as np

from algoperf.errors import BadLogs

from ..figures import Chart, Charts, Curve, Figure
from ..leaderboard import Leaderboard
from ..report.document import Section
from ..tables import plain_table
from .values import as_costs, targets_of, values_by_point


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


def report(board: Leaderboard) -> Section:
    """Ranks for every submission and every held-out workload."""
    rows, charts = [], []
    for series, entry in enumerate(board.entries):
        _, workloads, values = values_by_point(board, entry.submission)
        costs = as_costs(values, targets_of(board, workloads))
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
            charts.append(_chart(series, entry.submission, variant, ranks(a), ranks(b)))
    if not rows:
        raise BadLogs(
            "The logs hold no base workload together with a variant of it; name the "
            "variants with --held-out if they are not the drawn ones."
        )
    header = ["submission", "base", "variant", "base's best, on variant"]
    header.append("variant's best, on base")
    table = plain_table("distinctiveness", "Ranks of the best points", header, rows)
    return Section(
        "distinctiveness",
        "Variant distinctiveness",
        "How a workload's best hyperparameter point ranks on a variant of it, and the "
        "other way round. Where it ranks badly, tuning on the one does not solve the "
        "other.",
        [
            table,
            Charts(
                charts, [entry.submission for entry in board.entries], is_dashed=True
            ),
        ],
    )


def _chart(
    series: int, submission: str, variant: str, a: np.ndarray, b: np.ndarray
) -> Chart:
    return Figure(
        title=f"{submission}: {variant}",
        description=(
            f"One point for each of {len(a)} hyperparameter points: its rank on the "
            "base workload to the right, on the variant upwards. On a line: not "
            "distinct."
        ),
        x_label="rank on the base",
        y_label=f"rank on {variant}",
        curves=[Curve(series, a.tolist(), b.tolist(), kind="points")],
    ).chart()
