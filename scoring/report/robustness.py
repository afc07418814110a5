"""What the scores depend on besides times: the pool, r_max, studies, held-out rules."""

import numpy as np

from .. import sensitivity
from ..leaderboard import Leaderboard
from ..sensitivity import Comparison
from .document import NONE, Cell, Column, DataTable, Section, number_cell, text_cell


def pool_section(board: Leaderboard) -> Section:
    """Leave one out."""
    found = sensitivity.leave_one_out(board)
    return Section(
        "pool",
        "Leave-one-out",
        "Scores are relative to the best submission in the pool, so removing one can "
        "change the scores and even the order of the others. Each row is the leaderboard "
        "without one submission. Shaded scores differ from those of the full pool.",
        [
            _table(
                "leave_one_out",
                "Scores without one submission",
                "pool",
                found,
                compare=True,
            )
        ],
    )


def sensitivity_section(board: Leaderboard) -> Section:
    """Other limits of the performance ratio, fewer studies, no held-out rule."""
    limit = board.pool.ruleset.max_performance_ratio
    tables = [
        _table(
            "by_ratio_limit",
            "Score by r_max, the limit of the performance ratio",
            "limit",
            sensitivity.by_ratio_limit(board),
        )
    ]
    if board.pool.num_studies > 1:
        tables.append(
            _table(
                "by_num_studies",
                "Mean score with k studies",
                "studies",
                sensitivity.by_num_studies(board),
            )
        )
    if board.pool.held_out:
        tables.append(
            _table(
                "by_held_out_rule",
                "Score with and without the held-out rules",
                "rule",
                sensitivity.by_held_out_rule(board),
            )
        )
    return Section(
        "sensitivity",
        "Sensitivity",
        f"The scores under other rules; r_max is {limit:g} in the "
        "leaderboard above. An order that changes here is not a robust result.",
        tables,
    )


def _table(
    key: str, caption: str, label: str, found: Comparison, *, compare: bool = False
) -> DataTable:
    """A row per condition; with `compare`, what differs from the first is shaded."""
    rows = []
    for name, scores in zip(found.conditions, found.scores, strict=True):
        cells = [number_cell(float(score)) for score in scores]
        if compare:
            cells = [
                _shaded(cell, bool(abs(score - first) > 1e-9))
                for cell, score, first in zip(
                    cells, scores, found.scores[0], strict=True
                )
            ]
        rows.append([text_cell(name), *cells])
    columns = [Column(label, is_numeric=False)]
    columns += [Column(n, first_order="descending") for n in found.submissions]
    has_gaps = bool(np.isnan(found.scores).any())
    return DataTable(
        key,
        caption,
        columns,
        rows,
        f"{NONE}: the one that was left out." if has_gaps else "",
    )


def _shaded(cell: Cell, is_different: bool) -> Cell:
    if not is_different:
        return cell
    return Cell(cell.text, cell.value, share=0.35)
