"""What was found: the leaderboard, performance profiles, and times by workload."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from algoperf.logs import Trial

from ..checks import is_verified
from ..leaderboard import Entry, Leaderboard, Speedup
from ..tables import Interval
from ..times import Measure
from ..uncertainty import Uncertainty
from .charts import profile_chart
from .curves import SWITCHES, workload_chart
from .document import (
    NONE,
    TIMES,
    Cell,
    Charts,
    Column,
    DataTable,
    Section,
    TimeUnit,
    interval_words,
    number_cell,
    probability_cell,
    text_cell,
    time_unit,
)

_SUBMISSION = Column("submission", is_numeric=False)
_WORKLOAD = Column("workload", is_numeric=False)
_DESCENDING: Literal["descending"] = "descending"


def leaderboard_section(board: Leaderboard, found: Uncertainty | None) -> Section:
    """Ranks and scores; `found` is None where nothing could be drawn again."""
    pool = board.pool
    limit = pool.ruleset.max_performance_ratio
    explanation = (
        "The score is the area under a submission's performance profile from 1 to "
        f"{limit:g}: 1 is the fastest on every workload, 0 is never within {limit:g} "
        "times the fastest. Scores compare the submissions in this report with each other "
        "and have no meaning outside it."
    )
    if found:
        explanation += (
            f" Brackets hold the middle {found.level:.0%} of {found.num_resamples:,} "
            "bootstrap resamples, in which studies and the trials within them are drawn "
            "anew."
        )
    else:
        explanation += (
            " There are no intervals: one study of one trial tells nothing about how much "
            "another one would differ."
        )
    return Section("leaderboard", "Leaderboard", explanation, [_board(board, found)])


def _board(board: Leaderboard, found: Uncertainty | None) -> DataTable:
    columns = [
        Column("rank"),
        _SUBMISSION,
        Column("score", first_order=_DESCENDING, scale=(0.0, 1.0)),
        Column("score by steps", first_order=_DESCENDING),
        Column("workloads solved", first_order=_DESCENDING),
    ]
    if found:
        columns.append(Column(f"ranks, {found.level:.0%}"))
    marks = {
        entry.submission: verified_cell(board.pool.trials(entry.submission))
        for entry in board.entries
    }
    has_marks = any(cell.text for cell in marks.values())
    if has_marks:
        columns.append(Column("verified", first_order=_DESCENDING))
    if board.reference:
        columns.append(
            Column(f"speed-up over {board.reference}", first_order=_DESCENDING)
        )
    ranks = [entry.rank for entry in board.entries]
    rows = []
    for i, entry in enumerate(board.entries):
        is_tie = ranks.count(entry.rank) > 1
        row = [
            Cell(f"{entry.rank}{' =' if is_tie else ''}", entry.rank),
            text_cell(entry.submission),
            _score_cell(entry, found),
            number_cell(entry.score_by_steps),
            Cell(f"{entry.num_solved} of {len(entry.ratios)}", entry.num_solved),
        ]
        if found:
            row.append(_ranks_cell(found, i))
        if has_marks:
            row.append(marks[entry.submission])
        if entry.speedup:
            row.append(_speedup_cell(entry, found))
        rows.append(row)
    return DataTable("leaderboard", "Leaderboard", columns, rows, _board_note(board))


def _score_cell(entry: Entry, found: Uncertainty | None) -> Cell:
    if not found:
        return number_cell(entry.score)
    interval = found.scores[entry.submission]
    return Cell(f"{entry.score:.4f}", entry.score, interval, interval_words(interval))


def _ranks_cell(found: Uncertainty, index: int) -> Cell:
    """The ranks between which the submission is with the intervals' probability."""
    cumulative = found.ranks[index].cumsum() + 1e-12
    outside = (1 - found.level) / 2
    low = int(np.searchsorted(cumulative, outside)) + 1
    high = min(int(np.searchsorted(cumulative, 1 - outside)) + 1, len(cumulative))
    return Cell(f"{low}" if low == high else f"{low} to {high}", low)


def _speedup_cell(entry: Entry, found: Uncertainty | None) -> Cell:
    speedup = entry.speedup
    if speedup is None or not math.isfinite(speedup.factor):
        return Cell("unknown")
    interval: Interval | None = found.speedups.get(entry.submission) if found else None
    detail = interval_words(interval, 3) if interval else ""
    mark = " †" if _num_misses(speedup) else ""
    return Cell(f"{speedup.factor:.3f}{TIMES}{mark}", speedup.factor, interval, detail)


def _num_misses(speedup: Speedup) -> int:
    return len(speedup.misses) + len(speedup.reference_misses)


def verified_cell(trials: Sequence[Trial]) -> Cell:
    """How many of the trials that claim their target were evaluated again and agree."""
    claims = [trial for trial in trials if trial.claims_target]
    if not claims:
        return Cell("")
    good = sum(map(is_verified, claims))
    return Cell(f"{good} of {len(claims)}", good)


def _board_note(board: Leaderboard) -> str:
    parts = []
    if len({entry.rank for entry in board.entries}) < len(board.entries):
        parts.append("= marks equal scores.")
    if any(
        t.claims_target for e in board.entries for t in board.pool.trials(e.submission)
    ):
        parts.append(
            "Verified: trials that claim their target and whose results `algoperf verify` "
            "computed again."
        )
    speedups = [entry.speedup for entry in board.entries if entry.speedup]
    if speedups:
        parts.append(
            "The speed-up is the geometric mean over the base workloads of the "
            f"reference's time over the submission's; above 1{TIMES} is faster."
        )
    if any(_num_misses(s) and math.isfinite(s.factor) for s in speedups):
        parts.append("† A miss by either submission counts as the budget plus 1 s.")
    if any(not math.isfinite(s.factor) for s in speedups):
        parts.append("Unknown: a miss on a workload whose budget is not known.")
    return " ".join(parts)


def profiles_section(board: Leaderboard) -> Section:
    """Profiles by time and by steps, and the ratios that they are made of."""
    legend = [entry.submission for entry in board.entries]
    charts = [profile_chart(board, "seconds"), profile_chart(board, "steps")]
    return Section(
        "profiles",
        "Performance profiles",
        "The height of a curve is the share of the base workloads on which a submission reached "
        "the target within that multiple of the best time (or number of steps); each "
        "point is one or more workloads. A curve that is better by steps than by time "
        "belongs to a submission with expensive steps.",
        [
            Charts(charts, legend, is_wide=True, is_dashed=True),
            _ratios_table(board, "seconds"),
            _ratios_table(board, "steps"),
        ],
    )


def _ratios_table(board: Leaderboard, measure: Measure) -> DataTable:
    ratios = board.ratios(measure)
    what = "time" if measure == "seconds" else "steps"
    rows = [
        [text_cell(name), *(number_cell(float(of[w]), 3) for of in ratios.values())]
        for w, name in enumerate(board.pool.bases)
    ]
    limit = board.pool.ruleset.max_performance_ratio
    return DataTable(
        f"ratios_by_{what}",
        f"Performance ratios by {what}: {what} to target over the best",
        [_WORKLOAD, *(Column(name) for name in ratios)],
        rows,
        f"{NONE}: not reached, more than {limit:g} times the best, or excluded because of the "
        "held-out workload.",
        is_long=True,
    )


def workloads_section(board: Leaderboard, found: Uncertainty | None) -> Section:
    """Median times with intervals, and a chart of each workload."""
    charts = [workload_chart(board, name) for name in board.pool.scored_workloads]
    split = board.pool.ruleset.scored_split
    return Section(
        "workloads",
        "Times by workload",
        f"A time is the median over the studies of the submission time to the {split} "
        "target; a study that misses the target counts as infinitely slow. In the charts, "
        "curves are validation values of each study's chosen trial, and the numbered rows "
        "below them show the spread of the studies' times.",
        [
            _times_table(board, found),
            Charts(
                charts,
                [entry.submission for entry in board.entries],
                note=(
                    f"Rows are numbered as the submissions in the legend. {TIMES}: studies that "
                    "missed the target. Curves are shown until half as long again as the "
                    "slowest study took to the target."
                ),
                switches=SWITCHES,
            ),
        ],
    )


def _times_table(board: Leaderboard, found: Uncertainty | None) -> DataTable:
    rows = []
    for name in board.pool.scored_workloads:
        times = [entry.seconds[name] for entry in board.entries]
        unit = time_unit(max((t for t in times if math.isfinite(t)), default=0.0))
        cells = [time_cell(entry, name, unit, found) for entry in board.entries]
        rows.append([workload_cell(board, name), *cells])
    columns = [_WORKLOAD, *(Column(entry.submission) for entry in board.entries)]
    note = f"{NONE}: missed in the median."
    if found:
        note += f" Brackets: {found.level:.0%} intervals."
    note += (
        " Times that are not counted are too slow against the best, or ruled out by the "
        "held-out workload."
    )
    return DataTable("times", "Median time to target", columns, rows, note)


def workload_cell(board: Leaderboard, workload: str) -> Cell:
    """The name, and what must be reached on which split."""
    target = board.pool.target(workload)
    split = board.pool.ruleset.scored_split
    bound = target.bound(split)
    if bound is None:  # the workload has no test target
        split, bound = "validation", target.validation
    held_out = "\nheld out" if workload in board.pool.held_out else ""
    return Cell(
        workload,
        workload,
        detail=f"{split} {target.metric} {target.comparison} {bound:.5g}{held_out}",
    )


def time_cell(
    entry: Entry, workload: str, unit: TimeUnit, found: Uncertainty | None
) -> Cell:
    """A submission's median time on a workload with its interval."""
    seconds = entry.seconds[workload]
    details = []
    interval = found.seconds[entry.submission][workload] if found else None
    if interval and math.isfinite(interval[0]):
        low, high = interval
        details.append(
            interval_words((low / unit.seconds, high / unit.seconds), unit.digits)
        )
    if math.isfinite(seconds) and math.isinf(entry.ratios.get(workload, 1.0)):
        details.append("not counted")
    if not math.isfinite(seconds):
        return Cell(NONE, None, interval, "\n".join(details))
    return Cell(unit.words(seconds), seconds, interval, "\n".join(details))


def certainty_section(found: Uncertainty) -> Section:
    """How often which rank, and who is ahead of whom how often."""
    names = found.submissions
    off_diagonal = ~np.eye(len(names), dtype=bool)
    has_ties = bool((found.ties[off_diagonal] >= 0.005).any())
    ranks = [
        [text_cell(name), *(probability_cell(float(p)) for p in found.ranks[i])]
        for i, name in enumerate(names)
    ]
    wins = [
        [
            text_cell(name),
            *(
                Cell("", None) if i == j else _win_cell(found, i, j)
                for j in range(len(names))
            ),
        ]
        for i, name in enumerate(names)
    ]
    return Section(
        "certainty",
        "Ranking uncertainty",
        "Both tables count bootstrap resamples: at 50% two submissions are equal, and an "
        "order that holds in less than about 95% of them may be due to chance.",
        [
            DataTable(
                "ranks",
                "Probability of each rank",
                [_SUBMISSION, *(Column(str(r + 1)) for r in range(len(names)))],
                ranks,
                "Submissions with equal scores share the better rank. Blank: in none of the "
                "resamples.",
            ),
            DataTable(
                "wins",
                "Probability that the row scores higher than the column",
                [_SUBMISSION, *(Column(name) for name in names)],
                wins,
                "Blank: in none of the resamples."
                + (" =: share of resamples with equal scores." if has_ties else ""),
            ),
        ],
    )


def _win_cell(found: Uncertainty, row: int, column: int) -> Cell:
    win, tie = float(found.wins[row, column]), float(found.ties[row, column])
    cell = probability_cell(win)
    if tie < 0.005:
        return cell
    ties = probability_cell(tie).text
    return Cell(cell.text, win, detail=f"= {ties}", share=cell.share)
