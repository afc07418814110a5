"""The pages of a site as documents: an index, and for each board its report, its submissions and
its workloads."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import algoperf

from ..leaderboard import Entry, Leaderboard
from ..report import content, entrants, provenance, results, runs, trials
from ..report.curves import SWITCHES, workload_chart
from ..report.document import (
    NONE,
    Block,
    Cell,
    Charts,
    Column,
    DataTable,
    Document,
    Link,
    Section,
    count_cell,
    duration_cell,
    number_cell,
    text_cell,
    time_unit,
)
from ..uncertainty import Uncertainty
from .boards import BoardFolder
from .names import file_names

_GENERATOR = f"algoperf {algoperf.__version__}"
_SUBMISSION = Column("submission", is_numeric=False)
_WORKLOAD = Column("workload", is_numeric=False)


@dataclass(frozen=True)
class Board:
    """A leaderboard of the site, with the names of its pages."""

    about: BoardFolder
    board: Leaderboard
    found: Uncertainty | None
    submissions: Mapping[str, str]  # file names without ending
    workloads: Mapping[str, str]
    command: str

    @classmethod
    def of(cls, about: BoardFolder, board: Leaderboard, command: str) -> "Board":
        """Names its pages and asks how sure the numbers are."""
        board = _without_places(board, about.folder)
        names = [entry.submission for entry in board.entries]
        workloads = board.pool.scored_workloads
        return cls(
            about,
            board,
            content.resampled(board),
            dict(zip(names, file_names(names), strict=True)),
            dict(zip(workloads, file_names(workloads), strict=True)),
            command,
        )


def _without_places(board: Leaderboard, folder: Path) -> Leaderboard:
    """The board with remarks that name its files from its folder on."""
    places = [os.path.join(path, "") for path in (folder.resolve(), folder)]

    def shortened(remarks: Sequence[str]) -> tuple[str, ...]:
        for place in places:
            remarks = [remark.replace(place, "") for remark in remarks]
        return tuple(remarks)

    pool = board.pool
    pool = replace(pool, warnings=shortened(pool.warnings), notes=shortened(pool.notes))
    return replace(board, pool=pool)


def board_pages(made: Board) -> dict[str, Document]:
    """The pages of a board by their paths in its folder."""
    links = _Links(made, prefix="")
    report = content.make_document(
        made.board,
        title=made.about.title,
        description=made.about.description,
        command=made.command,
    )
    pages = {
        "index.html": replace(
            links.added(report), trail=[Link("All boards", "../index.html")]
        )
    }
    for entry in made.board.entries:
        name = made.submissions[entry.submission]
        pages[f"submissions/{name}.html"] = _submission_page(made, entry)
    for workload, name in made.workloads.items():
        pages[f"workloads/{name}.html"] = _workload_page(made, workload)
    return pages


@dataclass(frozen=True)
class _Links:
    """Turns names of submissions and workloads in tables into links to their pages."""

    made: Board
    prefix: str  # from the page to the board's folder

    def added(self, document: Document) -> Document:
        """The document with links."""
        sections = [
            replace(section, blocks=[*map(self._linked, section.blocks)])
            for section in document.sections
        ]
        return replace(document, sections=sections)

    def _linked(self, table: Block) -> Block:
        if not isinstance(table, DataTable):
            return table
        folders = {
            "submission": ("submissions", self.made.submissions),
            "workload": ("workloads", self.made.workloads),
        }
        columns = {
            i: folders[column.name]
            for i, column in enumerate(table.columns)
            if column.name in folders
        }
        rows = [
            [
                self._cell(cell, *columns[i]) if i in columns else cell
                for i, cell in enumerate(row)
            ]
            for row in table.rows
        ]
        return replace(table, rows=rows)

    def _cell(self, cell: Cell, folder: str, names: Mapping[str, str]) -> Cell:
        if cell.text not in names:
            return cell
        return replace(cell, href=f"{self.prefix}{folder}/{names[cell.text]}.html")


def _page(
    made: Board,
    title: str,
    facts: Sequence[tuple[str, str]],
    sections: Sequence[Section],
) -> Document:
    """A page one folder below the board's."""
    document = Document(
        title=title,
        summary=facts,
        sections=sections,
        banner=content.banner(made.board),
        generator=_GENERATOR,
        trail=[
            Link("All boards", "../../index.html"),
            Link(made.about.title, "../index.html"),
        ],
    )
    return _Links(made, "../").added(document)


def _submission_page(made: Board, entry: Entry) -> Document:
    board = made.board
    about = entrants.about_of(board, entry.submission)
    own = board.pool.trials(entry.submission)
    only = replace(board, entries=(entry,))
    facts = [
        ("rank", f"{entry.rank} of {len(board.entries)}"),
        ("score", f"{entry.score:.4f}"),
        ("score by steps", f"{entry.score_by_steps:.4f}"),
        ("workloads solved", f"{entry.num_solved} of {len(entry.ratios)}"),
        ("trials", f"{len(own):,}"),
    ]
    if marks := results.verified_cell(own).text:
        facts.append(("verified", marks))
    sections = [
        Section(
            "times",
            "Times by workload",
            "The median time to target with its interval, its rank among the submissions of the "
            "board, and its multiple of the best time.",
            [_submission_times(made, entry)],
        ),
        *([entrants.entrants_section(only)]),
        runs.outcomes_section(only),
        trials.trials_section(only),
        trials.tuning_section(only),
        runs.cost_section(only),
        provenance.machines_section(only),
    ]
    page = _page(
        made, about.title or entry.submission, facts, [s for s in sections if s]
    )
    return replace(page, description=about.description)


def _submission_times(made: Board, entry: Entry) -> DataTable:
    board = made.board
    rows = []
    for workload in board.pool.scored_workloads:
        seconds = entry.seconds[workload]
        unit = time_unit(seconds if math.isfinite(seconds) else 0.0)
        rows.append(
            [
                results.workload_cell(board, workload),
                results.time_cell(entry, workload, unit, made.found),
                _rank_cell(board, entry, workload),
                number_cell(entry.ratios.get(workload, math.inf), 3),
            ]
        )
    columns = [
        _WORKLOAD,
        Column("time to target"),
        Column("rank"),
        Column("performance ratio"),
    ]
    note = f"{NONE}: missed, or not counted; held-out workloads have no ratio of their own."
    return DataTable("times", "Times by workload", columns, rows, note)


def _rank_cell(board: Leaderboard, entry: Entry, workload: str) -> Cell:
    """Among all submissions by the time on one workload."""
    seconds = entry.seconds[workload]
    if not math.isfinite(seconds):
        return Cell(NONE)
    return count_cell(1 + sum(e.seconds[workload] < seconds for e in board.entries))


def _workload_page(made: Board, workload: str) -> Document:
    board = made.board
    facts_of = board.pool.workloads[workload]
    target = facts_of.target
    facts = [("metric", f"{target.metric}, {target.better} is better")]
    facts.append(("validation target", f"{target.validation:.6g}"))
    if target.test is not None and math.isfinite(target.test):
        facts.append(("test target", f"{target.test:.6g}"))
    if math.isfinite(facts_of.budget_seconds):
        facts.append(("budget", duration_cell(facts_of.budget_seconds).text))
    if workload in board.pool.held_out:
        facts.append(("role", f"held out, a variant of {facts_of.base_name}"))
    names = [entry.submission for entry in board.entries]
    charts = Charts(
        [workload_chart(board, workload)],
        names,
        note="Rows are numbered as the submissions in the legend.",
        switches=SWITCHES,
    )
    sections = [
        Section(
            "times",
            "Times to target",
            f"The median over the studies of the submission time to the "
            f"{board.pool.ruleset.scored_split} target.",
            [_workload_times(made, workload), charts],
        ),
        trials.tuning_section(board, [workload]),
    ]
    return _page(made, workload, facts, [s for s in sections if s])


def _workload_times(made: Board, workload: str) -> DataTable:
    board = made.board
    entries = sorted(board.entries, key=lambda e: (e.seconds[workload], e.rank))
    times = [e.seconds[workload] for e in entries]
    unit = time_unit(max(filter(math.isfinite, times), default=0.0))
    rows = [
        [
            text_cell(entry.submission),
            results.time_cell(entry, workload, unit, made.found),
            _steps_cell(entry.steps[workload]),
            number_cell(entry.ratios.get(workload, math.inf), 3),
        ]
        for entry in entries
    ]
    columns = [
        _SUBMISSION,
        Column("time to target"),
        Column("steps to target"),
        Column("performance ratio"),
    ]
    note = f"{NONE}: missed, or not counted."
    return DataTable("times", "Times to target", columns, rows, note)


def _steps_cell(steps: float) -> Cell:
    return Cell(f"{steps:,.0f}", steps) if math.isfinite(steps) else Cell(NONE)


def index_page(title: str, boards: Mapping[str, Board]) -> Document:
    """The first page; `boards`: by the folders of their pages."""
    columns = [
        Column("board", is_numeric=False),
        Column("first", is_numeric=False),
        Column("submissions"),
        Column("workloads"),
        Column("trials"),
        Column("rules", is_numeric=False),
        Column("ran", is_numeric=False),
        Column("verified", is_numeric=False),
    ]
    rows = [_index_row(folder, made) for folder, made in boards.items()]
    kept = [i for i in range(len(columns)) if i < 2 or any(row[i].text for row in rows)]
    table = DataTable(
        "boards",
        "Boards",
        [columns[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        "Verified: trials that claim their target and whose results `algoperf verify` computed "
        "again, of all that claim it."
        if any(row[-1].text for row in rows)
        else "",
    )
    section = Section(
        "boards",
        "Boards",
        "Each board ranks the submissions in it against each other. Scores of different boards "
        "do not compare.",
        [table],
    )
    return Document(
        title, [("boards", str(len(boards)))], [section], generator=_GENERATOR
    )


def _index_row(folder: str, made: Board) -> list[Cell]:
    board = made.board
    facts = dict(content.summary(board))
    first = [entry.submission for entry in board.entries if entry.rank == 1]
    own = [t for e in board.entries for t in board.pool.trials(e.submission)]
    tier = "" if board.pool.tier == "full" else "development, no benchmark result"
    return [
        Cell(
            made.about.title, made.about.title, detail=tier, href=f"{folder}/index.html"
        ),
        text_cell(", ".join(first)),
        count_cell(len(board.entries)),
        count_cell(len(board.pool.scored_workloads)),
        count_cell(len(own)),
        text_cell(f"{facts['rules']}, {facts['tuning']} tuning"),
        text_cell(facts.get("ran", "")),
        Cell(results.verified_cell(own).text),
    ]
