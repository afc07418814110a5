"""What the launcher concludes from the stamps of a trial: whether its times and rows are true."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from algoperf import logs
from algoperf.errors import BadLogs
from algoperf.evaluations import STEP, SUBMISSION_SECONDS, read_evaluations
from algoperf.runner.clock import Phase
from algoperf.runner.fairness.stamps import (
    Recorder,
    Stamp,
    account_of,
    part_of_resumed,
)

Rows = Sequence[Mapping[str, float]]
# A phase that lasts longer than so many times its usual length, and seconds, is told to people.
_TIMES_USUAL, _SECONDS_MORE = 3.0, 1.0
_MOST_SENTENCES = 3
_TOLD = ("note", "breach")  # kinds of stamps with a sentence about what was done


def rows_of(folder: Path) -> list[dict[str, float]]:
    """The rows in a trial's file, numbers by column; NaN where a cell is empty."""
    path = folder / logs.EVALUATIONS_FILE
    if not path.is_file():
        return []
    columns = read_evaluations(str(path))
    names = list(columns)
    values = [columns[name].tolist() for name in names]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*values, strict=True)]


def rows_before(folder: Path) -> list[dict[str, float]]:
    """As `rows_of`; none where the file is damaged, which the trial itself will tell."""
    try:
        return rows_of(folder)
    except BadLogs:
        return []


def breaches(
    recorder: Recorder, before: Rows, folder: Path, *, is_resumed: bool
) -> list[str]:
    """A sentence for each way in which a trial's own times and rows are not what was stamped.

    `before`: rows in its file when it was launched; `is_resumed`: whether it had a checkpoint.
    """
    stamps = recorder.stamps
    if len(stamps) < 2:
        return []
    found = [
        f"the launcher was told what is no stamp: {f}" for f in recorder.faults[:1]
    ]
    found += [stamp.text for stamp in stamps if stamp.kind in _TOLD and stamp.text]
    found += time_differences(stamps, before, is_resumed=is_resumed)
    try:
        rows = rows_of(folder)
    except BadLogs as error:
        return [*found, f"its rows were damaged: {error}"]
    return found + changed_rows(stamps, before, rows, is_resumed=is_resumed)


def time_differences(
    stamps: Sequence[Stamp], before: Rows, *, is_resumed: bool
) -> list[str]:
    allowance = 0.0
    if is_resumed:
        stamps = part_of_resumed(stamps)
        allowance = before[0][SUBMISSION_SECONDS] if before else math.inf
    rows = [number for number, stamp in enumerate(stamps) if stamp.row]
    if not rows:
        return []
    # What follows the last evaluation counts nowhere.
    return account_of(stamps[: rows[-1] + 1], allowance).differences()


def changed_rows(
    stamps: Sequence[Stamp], before: Rows, rows: Rows, *, is_resumed: bool = False
) -> list[str]:
    """A sentence for each row in the file that is not as it was measured.

    `before`: rows of earlier parts of the trial; `rows`: those in the file now.
    """
    measured: dict[float, Mapping[str, float]] = {row[STEP]: row for row in before}
    sent = {stamp.row[STEP]: stamp.row for stamp in stamps if stamp.row}
    first = min(sent, default=math.inf)
    measured = {step: row for step, row in measured.items() if step < first} | sent
    found = []
    for row in rows:
        known = measured.get(row[STEP])
        if known is not None:
            found += _changed_cells(known, row)
        elif not is_resumed or row[STEP] > first:  # an earlier part's may be restored
            found.append(f"the row of step {row[STEP]:.0f} was never measured")
    missing = sorted(set(sent) - {row[STEP] for row in rows})
    return found + [
        f"the row of step {step:.0f} is missing from the file" for step in missing
    ]


def _changed_cells(
    measured: Mapping[str, float], row: Mapping[str, float]
) -> list[str]:
    found = []
    for name, value in measured.items():
        there = row.get(name, math.nan)
        if there != value and not (math.isnan(there) and math.isnan(value)):
            found.append(
                f"{name} at step {row[STEP]:.0f} was {value!r} when it was measured and is "
                f"{there!r} in the file"
            )
    return found


def said(found: Sequence[str]) -> str:
    """The first sentences of many."""
    more = len(found) - _MOST_SENTENCES
    text = "; ".join(found[:_MOST_SENTENCES])
    return f"{text}; and {more} more" if more > 0 else text


def long_phases(stamps: Sequence[Stamp]) -> list[str]:
    """A sentence for each evaluation or checkpoint that lasted out of proportion."""
    found = []
    for phase in (Phase.EVALUATION, Phase.CHECKPOINT):
        lengths = _lengths(stamps, phase)
        usual = sorted(lengths)[len(lengths) // 2] if lengths else 0.0
        # The first one compiles.
        longest = max(lengths[1:], default=0.0)
        if longest > _TIMES_USUAL * usual + _SECONDS_MORE:
            found.append(
                f"a phase of {phase.value} lasted {longest:.1f} s, usually {usual:.1f} s"
            )
    return found


def _lengths(stamps: Sequence[Stamp], phase: Phase) -> list[float]:
    lengths, begun = [], None
    for stamp in stamps:
        if stamp.phase == phase.value and stamp.kind == "begin":
            begun = stamp.at
        elif stamp.phase == phase.value and stamp.kind == "end" and begun is not None:
            lengths.append(stamp.at - begun)
    return lengths
