"""The hyperparameter-transfer gap: what it costs to use one point on all workloads.

`Delta = min over points of max over workloads of (v - best v) / |best v|`, for
minimised metrics and mirrored for maximised ones (paper, tables 4 and 17 to 20).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from algoperf.definition import Target

from ..figures import Chart, Charts, Curve, Figure
from ..leaderboard import Leaderboard
from ..report.document import Section
from ..tables import DataTable, number_cell, plain_table
from .values import as_costs, short_points, targets_of, values_by_point


@dataclass(frozen=True)
class TransferGap:
    """The gaps of all points, and of the one that transfers best."""

    gaps: (
        np.ndarray
    )  # [point, workload] relative loss against the workload's own best point
    best_point: int  # the one with the smallest largest gap
    gap: float  # Delta; infinity if every point diverges or is missing somewhere


def transfer_gap(values: np.ndarray, targets: Sequence[Target]) -> TransferGap:
    """The gap of a submission over its points.

    values: [point, workload]; NaN: diverged or not run. targets: by workload.
    """
    costs = as_costs(values, targets)
    best = costs.min(axis=0)
    gaps = np.full(costs.shape, math.inf)
    known = np.isfinite(costs) & (best != 0)
    np.divide(costs - best, np.abs(best), out=gaps, where=known)
    gaps[costs == best] = 0.0
    gaps[:, np.isinf(best)] = math.inf
    worst = gaps.max(axis=1)
    point = int(worst.argmin())
    return TransferGap(gaps, point, float(worst[point]))


def report(board: Leaderboard) -> Section:
    """The gap of every submission; needs the same points on all its workloads."""
    bases = board.pool.scored_workloads
    tables, charts, rows = [], [], []
    for entry in board.entries:
        points, workloads, values = values_by_point(board, entry.submission)
        found = transfer_gap(values, targets_of(board, workloads))
        label = short_points(points)
        point = points[found.best_point]
        gap = number_cell(found.gap)
        rows.append([entry.submission, gap, label[point], point])
        tables.append(_table(entry.submission, workloads, list(label.values()), found))
        charts.append(_chart(entry.submission, workloads, found, bases))
    header = ["submission", "gap", "best point", "its hyperparameters"]
    summary = plain_table("transfer", "Hyperparameter-transfer gap", header, rows)
    return Section(
        "transfer",
        "Hyperparameter transfer",
        "What it costs to use one hyperparameter point on all workloads: the largest "
        "relative loss against each workload's own best point.",
        [summary, *tables, Charts(charts, bases, is_dashed=True)],
    )


def _table(
    submission: str, workloads: Sequence[str], labels: Sequence[str], found: TransferGap
) -> DataTable:
    order = np.argsort(found.gaps.max(axis=1), kind="stable")
    rows = [
        [labels[i], *(number_cell(gap) for gap in found.gaps[i].tolist())]
        for i in order
    ]
    title = f"{submission}: relative loss against each workload's own best point"
    return plain_table(f"transfer_{submission}", title, ["point", *workloads], rows)


def _chart(
    submission: str,
    workloads: Sequence[str],
    found: TransferGap,
    names: Sequence[str],
) -> Chart:
    shares = (np.arange(len(found.gaps)) + 1.0).tolist()
    curves = [
        Curve(
            names.index(name), shares, np.sort(found.gaps[:, w]).tolist(), kind="line"
        )
        for w, name in enumerate(workloads)
    ]
    return Figure(
        title=submission,
        description=(
            f"For each of {len(workloads)} workloads the relative losses of "
            f"{len(found.gaps)} points, sorted; the best single point for all of them "
            f"loses at most {found.gap:.3g}."
        ),
        x_label="points, best first",
        y_label="relative loss",
        curves=curves,
    ).chart()
