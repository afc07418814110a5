"""Profiles by steps against those by time: whose steps are cheap (paper, figure 5)."""

from ..figures import Charts
from ..leaderboard import Leaderboard
from ..report.charts import profile_chart
from ..report.document import Section
from ..tables import Cell, number_cell, plain_table


def report(board: Leaderboard) -> Section:
    """Both scores of every submission, and both profiles."""
    rows = [
        [
            entry.submission,
            number_cell(entry.score),
            number_cell(entry.score_by_steps),
            Cell(
                f"{entry.score - entry.score_by_steps:+.4f}",
                entry.score - entry.score_by_steps,
            ),
        ]
        for entry in board.entries
    ]
    header = ["submission", "by time", "by steps", "difference"]
    charts = [profile_chart(board, "seconds"), profile_chart(board, "steps")]
    return Section(
        "steps-vs-time",
        "Steps and time",
        "Submissions that score better by steps than by time have expensive steps.",
        [
            plain_table("steps_vs_time", "Scores by time and by steps", header, rows),
            Charts(charts, [entry.submission for entry in board.entries], is_wide=True),
        ],
    )
