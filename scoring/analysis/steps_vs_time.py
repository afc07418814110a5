"""Profiles by steps against those by time: whose steps are cheap (paper, figure 5)."""

from ..leaderboard import Leaderboard
from ..profile_figure import profile_figure
from ..tables import Table
from .values import Report


def report(board: Leaderboard) -> Report:
    """Both scores of every submission, and both figures."""
    rows = [
        [
            entry.submission,
            f"{entry.score:.4f}",
            f"{entry.score_by_steps:.4f}",
            f"{entry.score - entry.score_by_steps:+.4f}",
        ]
        for entry in board.entries
    ]
    header = ["submission", "by time", "by steps", "difference"]
    figures = (profile_figure(board, "seconds"), profile_figure(board, "steps"))
    return Report(
        "Steps and time", (Table("Scores by time and by steps", header, rows),), figures
    )
