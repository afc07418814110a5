"""How many studies it takes: what more studies would make certain, from those there are.

For any number of studies, so many are drawn with replacement from those of each submission and
workload, and the pool is scored anew. That tells how often an order would come out the same,
and how large a difference of scores would have to be.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import profiles
from ..drawing import log_ticks
from ..figures import Chart, Charts, Curve, Figure, Mark
from ..leaderboard import TIE, Leaderboard
from ..report.document import Section
from ..tables import Cell, DataTable, number_cell, plain_table, probability_cell
from ..uncertainty import resampled

NUM_STUDIES = (1, 2, 3, 5, 8, 12, 20, 35, 60, 100)
_NUM_RESAMPLES = 400
_CERTAIN = 0.95
_DIFFERENCES = (0.01, 0.02, 0.05, 0.1, 0.2)
_ONE_SIDED = 1.645  # standard deviations that 95 % of a normal distribution lie below


@dataclass(frozen=True)
class Power:
    """Resampled scores, [resample, submission] in the leaderboard's order."""

    names: tuple[str, ...]
    scores: dict[int, np.ndarray]  # by number of studies

    def probability_of_first(self, num_studies: int) -> np.ndarray:
        """[submission] share of resamples in which none has a higher score."""
        scores = self.scores[num_studies]
        share: np.ndarray = (scores >= scores.max(axis=1, keepdims=True) - TIE).mean(
            axis=0
        )
        return share

    def probability_of_order(self, num_studies: int, first: int, second: int) -> float:
        """Share of resamples in which `first` scores higher than `second`."""
        scores = self.scores[num_studies]
        return float((scores[:, first] > scores[:, second] + TIE).mean())

    def studies_for_order(self, first: int, second: int) -> int | None:
        """The smallest tried number from which on the order holds in 95 %; None: none."""
        needed = None
        for count in reversed(self.scores):
            if self.probability_of_order(count, first, second) < _CERTAIN:
                break
            needed = count
        return needed

    def deviation(self, num_studies: int) -> float:
        """Typical standard deviation of the difference of two scores."""
        scores = self.scores[num_studies]
        pairs = itertools.combinations(range(len(self.names)), 2)
        deviations = [float((scores[:, a] - scores[:, b]).std()) for a, b in pairs]
        return float(np.median(deviations)) if deviations else math.nan


def power(
    board: Leaderboard,
    counts: Sequence[int] = NUM_STUDIES,
    *,
    num_resamples: int = _NUM_RESAMPLES,
    seed: int = 0,
) -> Power:
    """Scores for every number of studies in `counts` (ascending)."""
    table = board.hits.table("seconds", compat=board.compat)
    names = tuple(entry.submission for entry in board.entries)
    order = [table.submissions.index(name) for name in names]
    limit = board.pool.ruleset.max_performance_ratio
    scores = {}
    for count in counts:
        rng = np.random.default_rng(seed)
        drawn = resampled(table, num_resamples, rng, count)
        times = np.concatenate(list(drawn))[:, order]
        scores[count] = profiles.score_times(
            times, board.pool.base_index(), limit, compat=board.compat
        )
    return Power(names, scores)


def report(board: Leaderboard) -> Section:
    """Who is first with how many studies, and how many studies a difference takes."""
    found = power(board)
    names = list(found.names)
    return Section(
        "power",
        "How many studies it takes",
        "Numbers of studies are simulated by drawing from the studies that were run, so "
        "what these have not shown is not in it: with few studies, take it as a lower "
        "bound. A number of studies is enough for an order if that order comes out in 95% "
        "of the draws, and for a difference of scores if two submissions that far apart "
        "come out in the right order in 95%.",
        [
            _first_table(found),
            Charts(
                [_first_chart(found, board.pool.num_studies)],
                names,
                is_wide=True,
                is_dashed=True,
            ),
            _pairs_table(board, found),
            _differences_table(found),
        ],
    )


def _first_table(found: Power) -> DataTable:
    rows = [
        [
            Cell(str(count), count),
            *map(probability_cell, found.probability_of_first(count)),
        ]
        for count in found.scores
    ]
    return plain_table(
        "first", "Probability of rank 1", ["studies", *found.names], rows
    )


def _first_chart(found: Power, num_studies: int) -> Chart:
    counts = [math.log10(count) for count in found.scores]
    shares = np.array([found.probability_of_first(count) for count in found.scores])
    return Figure(
        title="Probability of rank 1",
        description=(
            f"For each of {len(found.names)} submissions, the share of draws in which no "
            "other one scores higher, over the number of studies; the table has the "
            "numbers."
        ),
        x_label="studies",
        y_label="probability of rank 1",
        curves=[
            Curve(series, counts, shares[:, series].tolist(), kind="line")
            for series in range(len(found.names))
        ],
        y_range=(0.0, 1.0),
        marks=[Mark("x", math.log10(num_studies), _studies(num_studies))],
        x_ticks=log_ticks(min(found.scores), max(found.scores), 7),
        is_x_log=True,
    ).chart()


def _pairs_table(board: Leaderboard, found: Power) -> DataTable:
    rows = []
    current = min(found.scores, key=lambda count: abs(count - board.pool.num_studies))
    for i in range(len(found.names) - 1):
        needed = found.studies_for_order(i, i + 1)
        difference = board.entries[i].score - board.entries[i + 1].score
        rows.append(
            [
                found.names[i],
                found.names[i + 1],
                number_cell(difference),
                probability_cell(found.probability_of_order(current, i, i + 1)),
                _needed(needed, found),
            ]
        )
    header = [
        "submission",
        "before",
        "difference",
        f"with {_studies(current)}",
        "needed",
    ]
    return plain_table(
        "orders", "Studies that neighbours need", header, rows, _note(found)
    )


def _differences_table(found: Power) -> DataTable:
    deviations = {count: found.deviation(count) for count in found.scores}
    rows = []
    for difference in _DIFFERENCES:
        needed = None
        for count in reversed(deviations):
            if not _ONE_SIDED * deviations[count] <= difference:
                break
            needed = count
        rows.append([Cell(f"{difference:g}", difference), _needed(needed, found)])
    return plain_table(
        "differences",
        "Studies that a difference of scores needs",
        ["difference", "studies"],
        rows,
        f"For two submissions of typical spread. {_note(found)}",
    )


def _studies(count: int) -> str:
    return "1 study" if count == 1 else f"{count} studies"


def _note(found: Power) -> str:
    """What `_needed` writes."""
    most = max(found.scores)
    return f"{most}+: more than {most}."


def _needed(count: int | None, found: Power) -> Cell:
    if count is None:
        return Cell(f"{max(found.scores)}+")
    return Cell(str(count), count)
