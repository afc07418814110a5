"""Who is on the board: what `submission.toml` says of each submission."""

from algoperf.about import About, read_about
from algoperf.errors import BadLogs
from algoperf.logs import Trial

from ..leaderboard import Leaderboard
from . import dates
from .document import Cell, Column, DataTable, Section, text_cell


def about_of(board: Leaderboard, submission: str) -> About:
    """From the file in the folder of its logs, else from what its trials recorded last."""
    trials = board.pool.trials(submission)
    found = next((a for a in map(_beside_logs, trials[:1]) if a != About()), None)
    if found is not None:
        return found
    recorded = [t for t in trials if t.meta.about]
    if not recorded:
        return About()
    newest = max(recorded, key=lambda trial: trial.meta.began or "")
    return About.from_json(newest.meta.about)


def _beside_logs(trial: Trial) -> About:
    """BadLogs if the file is damaged."""
    for folder in trial.folder.parents:
        if folder.name == trial.id.submission:
            return read_about(folder, BadLogs)
    return About()


def entrants_section(board: Leaderboard) -> Section | None:
    """Authors, links and dates; None where nothing of that is known."""
    rows = [_row(board, entry.submission) for entry in board.entries]
    columns = [
        Column("submission", is_numeric=False),
        Column("description", is_numeric=False),
        Column("authors", is_numeric=False),
        Column("links", is_numeric=False),
        Column("license", is_numeric=False),
        Column("framework", is_numeric=False),
        Column("trials ran", is_numeric=False),
    ]
    kept = [i for i in range(len(columns)) if any(row[i].words for row in rows)]
    has_facts = len(kept) > 2 or any(row[0].detail for row in rows)
    if not has_facts:
        return None
    table = DataTable(
        "submissions",
        "Submissions",
        [columns[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
    )
    return Section(
        "submissions",
        "Submissions",
        "What the submissions' authors say about them, and when their trials ran.",
        [table],
    )


def _row(board: Leaderboard, submission: str) -> list[Cell]:
    about = about_of(board, submission)
    trials = board.pool.trials(submission)
    frameworks = sorted({trial.id.framework for trial in trials})
    return [
        Cell(submission, submission, detail=about.title),
        text_cell(about.description),
        text_cell(", ".join(about.authors)),
        Cell("", ", ".join(about.links.values()) or None, links=[*about.links.items()]),
        text_cell(about.license),
        text_cell(", ".join(frameworks)),
        text_cell(dates.span(trials)),
    ]
