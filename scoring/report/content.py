"""Puts a report together: from a `Leaderboard` to a `Document`."""

import contextlib
from pathlib import Path

import algoperf
from algoperf.errors import BadLogs

from ..analysis import frameworks, grid, power, relax
from ..leaderboard import Leaderboard
from ..uncertainty import Uncertainty, bootstrap
from . import dates, entrants, provenance, results, robustness, runs, trials
from .document import Document, Section

_FEW_STUDIES = 3


_TITLE = "Training-algorithm benchmark report"


def make_document(
    board: Leaderboard,
    *,
    title: str = "",
    description: str = "",
    command: str = "",
    targets_file: Path | None = None,
) -> Document:
    """Everything that a report says about a leaderboard.

    title, description: of the board. command: what was typed to write the report. targets_file:
    the file of targets that was used.
    """
    pool = board.pool
    found = resampled(board)
    sections = [
        results.leaderboard_section(board, found),
        results.profiles_section(board),
        *([results.certainty_section(found)] if found and _is_race(board) else []),
        *([robustness.pool_section(board)] if _is_race(board) else []),
        results.workloads_section(board, found),
        *_present(entrants.entrants_section(board)),
        runs.outcomes_section(board),
        trials.trials_section(board),
        *_present(trials.tuning_section(board)),
        runs.cost_section(board),
        robustness.sensitivity_section(board),
        *(_analyses(board) if _is_race(board) else []),
        provenance.rules_section(board),
        provenance.machines_section(board),
        provenance.reproduce_section(board, command, targets_file),
    ]
    return Document(
        title=title or _TITLE,
        description=description,
        summary=summary(board),
        sections=sections,
        banner=banner(board),
        warnings=[*pool.warnings, *_own_warnings(board, found)],
        notes=pool.notes,
        leaderboard=board.as_dict(),
        generator=f"algoperf {algoperf.__version__}",
    )


def resampled(board: Leaderboard) -> Uncertainty | None:
    """What resampling tells; None where nothing can be drawn anew."""
    can_resample = board.pool.num_studies * board.pool.num_trials > 1
    return bootstrap(board) if can_resample else None


def _present(section: Section | None) -> list[Section]:
    return [] if section is None else [section]


def _analyses(board: Leaderboard) -> list[Section]:
    """Those that tell how far to trust the board; one without data is left out."""
    analyses = [grid.report, relax.report, frameworks.report]
    if board.pool.num_studies > 1:
        analyses.append(power.report)
    found = []
    for report in analyses:
        with contextlib.suppress(BadLogs):
            found.append(report(board))
    return found


def analysis_document(board: Leaderboard, section: Section) -> Document:
    """One analysis as a report of its own."""
    pool = board.pool
    return Document(
        title=section.title,
        summary=summary(board),
        sections=[section],
        banner=banner(board),
        warnings=pool.warnings,
        notes=pool.notes,
        leaderboard=board.as_dict(),
        generator=f"algoperf {algoperf.__version__}",
    )


def _is_race(board: Leaderboard) -> bool:
    return len(board.entries) > 1


def summary(board: Leaderboard) -> list[tuple[str, str]]:
    """What a reader must know of a board before anything else, as (label, value)."""
    pool = board.pool
    num_trials = sum(sum(entry.outcomes.values()) for entry in board.entries)
    workloads = f"{len(pool.bases)} base"
    if pool.held_out:
        workloads += f" + {len(pool.held_out)} held out"
    ran = dates.span(t for e in board.entries for t in pool.trials(e.submission))
    return [
        ("rules", pool.ruleset.name),
        ("tuning", pool.tuning),
        ("submissions", str(len(board.entries))),
        ("workloads", workloads),
        ("studies", str(pool.num_studies)),
        ("trials", f"{num_trials:,}"),
        *([("ran", ran)] if ran else []),
    ]


def banner(board: Leaderboard) -> str:
    """What must not be overlooked; empty: nothing."""
    if board.pool.tier != "full":
        return (
            "Development tier: these workloads are small stand-ins for development. "
            "These are not benchmark results."
        )
    if board.compat:
        return (
            "Compatibility mode: scores reproduce the published scorer exactly, including its "
            "two bugs, to compare with published leaderboards."
        )
    return ""


def _own_warnings(board: Leaderboard, found: Uncertainty | None) -> list[str]:
    count = board.pool.num_studies
    if found is None or count >= _FEW_STUDIES:
        return []
    studies = "study" if count == 1 else "studies"
    return [f"intervals from {count} {studies} are too narrow to rely on"]
