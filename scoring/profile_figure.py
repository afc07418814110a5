"""The performance profiles of a leaderboard as a figure."""

import numpy as np

from .figures import Curve, Figure
from .leaderboard import Leaderboard
from .profiles import profile_steps
from .times import Measure

_WORDS = {"seconds": "time", "steps": "steps"}


def profile_figure(board: Leaderboard, measure: Measure = "seconds") -> Figure:
    """Share of base workloads solved within a factor of the best, by submission."""
    limit = board.pool.ruleset.max_performance_ratio
    what = _WORDS[measure]
    curves = []
    for entry in board.entries:
        ratios = board.ratios(measure)[entry.submission]
        taus, shares = profile_steps(ratios, limit)
        score = entry.score if measure == "seconds" else entry.score_by_steps
        label = f"{entry.submission}  {score:.3f}"
        hover = f"{entry.submission}, score {score:.4f}: " + (
            _solved(board, ratios) or "no workload solved"
        )
        curves.append(Curve(label, taus.tolist(), shares.tolist(), hover=hover))
    tier = "" if board.pool.tier == "full" else " (development tier)"
    best = board.entries[0]
    return Figure(
        title=f"Performance profiles by {what}{tier}",
        description=(
            f"Step curves from 1 to {limit:g} times the best {what} to target; higher "
            f"is better. {len(curves)} submissions on {len(board.pool.bases)} base "
            f"workloads; first by score: {best.submission}."
        ),
        x_label=f"{what} to target, as a multiple of the best submission's",
        y_label="share of base workloads",
        curves=curves,
        x_range=(1.0, limit),
        y_range=(0.0, 1.0),
    )


def _solved(board: Leaderboard, ratios: np.ndarray) -> str:
    """Which workload steps where, from the left."""
    finite = [i for i in np.argsort(ratios, kind="stable") if np.isfinite(ratios[i])]
    return ", ".join(f"{board.pool.bases[i]} at {ratios[i]:.2f}" for i in finite)
