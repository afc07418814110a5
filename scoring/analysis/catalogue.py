"""The analyses by name, for `algoperf analyze NAME DIR`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from algoperf.errors import UnknownName, near

from ..leaderboard import Leaderboard
from ..report.document import Section
from . import budgets, crossing, distinctiveness, steps_vs_time, transfer


@dataclass(frozen=True)
class Analysis:
    """One entry: what it shows, and the function that makes its section."""

    summary: str
    report: Callable[[Leaderboard], Section]


ANALYSES: Mapping[str, Analysis] = {
    "budgets": Analysis("how good the best of B trials is", budgets.report),
    "crossing": Analysis(
        "training curves that cross before the target", crossing.report
    ),
    "distinctiveness": Analysis(
        "how differently points rank on a variant and its base", distinctiveness.report
    ),
    "steps-vs-time": Analysis(
        "profiles by steps beside those by time", steps_vs_time.report
    ),
    "transfer": Analysis("what one point for all workloads costs", transfer.report),
}


def check(name: str) -> None:
    """UnknownName if there is no analysis of that name."""
    if name not in ANALYSES:
        raise UnknownName(
            f"No analysis named {name!r}.{near(name, ANALYSES)} There are: "
            f"{', '.join(ANALYSES)}."
        )


def analyse(name: str, board: Leaderboard) -> Section:
    """The section of the analysis of that name."""
    check(name)
    return ANALYSES[name].report(board)
