"""What a framework's speed is worth: time per step in JAX and PyTorch, side by side.

Submissions are taken to be one algorithm in two frameworks when their names are equal but for
`jax`, `torch` and `pytorch` (`muon` and `muon_torch`), or when one name has logs of both.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from algoperf.errors import BadLogs
from algoperf.logs import STEP, SUBMISSION_SECONDS, Trial

from .. import profiles
from ..drawing import log_ticks
from ..figures import Chart, Charts, Curve, Figure, Mark
from ..leaderboard import Leaderboard
from ..report.document import Section
from ..tables import NONE, Cell, DataTable, number_cell, percent_cell, plain_table

_PAIRS_NOTE = "The points of a pair have the colour of its JAX submission."
_FRAMEWORK_WORDS = {"jax", "torch", "pytorch"}


@dataclass(frozen=True)
class Pair:
    """One algorithm in both frameworks."""

    algorithm: str
    jax: str  # names of the entries
    pytorch: str


def seconds_per_step(trial: Trial) -> float:
    """Median over the intervals between evaluations; NaN where there is none."""
    if trial.num_evaluations < 2:
        return math.nan
    steps = np.diff(trial.columns[STEP])
    seconds = np.diff(trial.columns[SUBMISSION_SECONDS])
    counted = steps > 0
    return (
        float(np.median(seconds[counted] / steps[counted]))
        if any(counted)
        else math.nan
    )


def framework_of(board: Leaderboard, submission: str) -> str:
    """The framework of an entry's trials."""
    return board.pool.trials(submission)[0].id.framework


def step_times(board: Leaderboard) -> dict[str, dict[str, float]]:
    """By submission and workload: median over the trials of their seconds per step."""
    found = {}
    for entry in board.entries:
        of_entry = {}
        for workload in board.pool.scored_workloads:
            studies = board.pool.studies.get((entry.submission, workload), {})
            times = [seconds_per_step(t) for study in studies.values() for t in study]
            known = [time for time in times if math.isfinite(time)]
            of_entry[workload] = float(np.median(known)) if known else math.nan
        found[entry.submission] = of_entry
    return found


def algorithm_name(submission: str) -> str:
    """The name without words for a framework."""
    words = re.split(r"[ _()-]+", submission)
    return "_".join(w for w in words if w and w.lower() not in _FRAMEWORK_WORDS)


def pairs(board: Leaderboard) -> list[Pair]:
    """Algorithms that are there once in each framework."""
    groups: dict[str, dict[str, list[str]]] = {}
    for entry in board.entries:
        of_algorithm = groups.setdefault(algorithm_name(entry.submission), {})
        framework = framework_of(board, entry.submission)
        of_algorithm.setdefault(framework, []).append(entry.submission)
    return [
        Pair(name, found["jax"][0], found["pytorch"][0])
        for name, found in sorted(groups.items())
        if len(found.get("jax", ())) == len(found.get("pytorch", ())) == 1
    ]


def step_ratios(
    board: Leaderboard, found: Sequence[Pair]
) -> dict[str, dict[str, float]]:
    """By algorithm and workload: seconds per step in PyTorch over those in JAX."""
    times = step_times(board)
    return {
        pair.algorithm: {
            workload: times[pair.pytorch][workload] / times[pair.jax][workload]
            for workload in board.pool.scored_workloads
        }
        for pair in found
    }


def framework_factors(
    board: Leaderboard, ratios: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """By workload: the geometric mean of the pairs' ratios; 1 where there is no pair."""
    return {
        workload: _geometric_mean([of[workload] for of in ratios.values()], 1.0)
        for workload in board.pool.scored_workloads
    }


def _geometric_mean(values: Sequence[float], default: float) -> float:
    logs = [math.log(value) for value in values if math.isfinite(value) and value > 0]
    return math.exp(math.fsum(logs) / len(logs)) if logs else default


def scores_at_equal_speed(
    board: Leaderboard, factors: Mapping[str, float]
) -> dict[str, float]:
    """Scores if a step in PyTorch took as long as one in JAX, by the pairs' ratios."""
    names = [entry.submission for entry in board.entries]
    workloads = board.pool.scored_workloads
    times = np.array([[e.seconds[w] for w in workloads] for e in board.entries])
    is_pytorch = np.array([framework_of(board, n) == "pytorch" for n in names])
    times[is_pytorch] /= np.array([factors[w] for w in workloads])
    limit = board.pool.ruleset.max_performance_ratio
    scores = profiles.score_times(times, board.pool.base_index(), limit)
    return dict(zip(names, scores.tolist(), strict=True))


def report(board: Leaderboard) -> Section:
    """Step times, their ratios, what the ratios do to the scores, and waiting for data."""
    if not any(
        math.isfinite(t) for of in step_times(board).values() for t in of.values()
    ):
        raise BadLogs(
            "No trial has two evaluations with steps between them, so there are no step "
            "times to compare."
        )
    found = pairs(board)
    ratios = step_ratios(board, found)
    blocks: list[DataTable | Charts] = [_steps_table(board)]
    if found:
        factors = framework_factors(board, ratios)
        blocks += [
            _ratios_table(board, ratios, factors),
            _scores_table(board, factors),
        ]
        chart, note = _ratios_chart(board, found, ratios), _PAIRS_NOTE
    else:
        chart, note = _steps_chart(board), ""
    names = [entry.submission for entry in board.entries]
    blocks.append(Charts([chart], names, is_wide=True, note=note))
    if waits := _waits(board):
        blocks.append(waits)
    return Section(
        "frameworks",
        "Frameworks",
        "Seconds per step are medians over the intervals between evaluations, then over "
        "trials. Where one algorithm ran in both frameworks, their ratio is the "
        "framework's part of a time; scores at equal speed take it out.",
        blocks,
    )


def _steps_table(board: Leaderboard) -> DataTable:
    times = step_times(board)
    names = list(times)
    header = ["workload", *(f"{n}, {framework_of(board, n)}" for n in names)]
    rows = [
        [w, *(_milliseconds(times[name][w]) for name in names)]
        for w in board.pool.scored_workloads
    ]
    return plain_table("step_times", "Milliseconds per step", header, rows)


def _milliseconds(seconds: float) -> Cell:
    if not math.isfinite(seconds):
        return Cell(NONE)
    return Cell(f"{1000 * seconds:.4g}", 1000 * seconds)


def _ratios_table(
    board: Leaderboard,
    ratios: Mapping[str, Mapping[str, float]],
    factors: Mapping[str, float],
) -> DataTable:
    rows = [
        [
            w,
            *(number_cell(of[w], 3) for of in ratios.values()),
            number_cell(factors[w], 3),
        ]
        for w in board.pool.scored_workloads
    ]
    means = [_geometric_mean(list(of.values()), math.nan) for of in ratios.values()]
    overall = _geometric_mean(list(factors.values()), math.nan)
    rows.append(
        ["geometric mean", *(number_cell(m, 3) for m in means), number_cell(overall, 3)]
    )
    return plain_table(
        "framework_ratios",
        "Time per step in PyTorch over that in JAX",
        ["workload", *ratios, "all pairs"],
        rows,
        "Above 1, JAX is faster. The two of a pair may differ in batch size and in more "
        "than the framework.",
    )


def _scores_table(board: Leaderboard, factors: Mapping[str, float]) -> DataTable:
    equal = scores_at_equal_speed(board, factors)
    official = scores_at_equal_speed(board, dict.fromkeys(factors, 1.0))
    rows = []
    for name, score in official.items():
        change = score - equal[name]
        rows.append(
            [
                name,
                framework_of(board, name),
                number_cell(score),
                number_cell(equal[name]),
                Cell(f"{change:+.4f}", change),
            ]
        )
    header = ["submission", "framework", "score", "at equal speed", "framework's part"]
    return plain_table("framework_scores", "Scores at equal speed", header, rows)


def _ratios_chart(
    board: Leaderboard,
    found: Sequence[Pair],
    ratios: Mapping[str, Mapping[str, float]],
) -> Chart:
    names = [entry.submission for entry in board.entries]
    dots = [
        _Dots(pair.algorithm, names.index(pair.jax), ratios[pair.algorithm])
        for pair in found
    ]
    figure = Figure(
        title="Time per step, PyTorch over JAX",
        description="The ratios of the table, a point for each algorithm and workload.",
        x_label="PyTorch over JAX",
        y_label="",
        curves=(),
        marks=[Mark("x", 0.0, "equal")],
    )
    return _by_workload(figure, dots, board.pool.scored_workloads, extra=(1.0,))


def _steps_chart(board: Leaderboard) -> Chart:
    dots = [
        _Dots(name, series, {w: 1000 * seconds for w, seconds in of.items()}, " ms")
        for series, (name, of) in enumerate(step_times(board).items())
    ]
    figure = Figure(
        title="Time per step",
        description="The times of the table, a point for each submission and workload.",
        x_label="milliseconds per step",
        y_label="",
        curves=(),
    )
    return _by_workload(figure, dots, board.pool.scored_workloads)


@dataclass(frozen=True)
class _Dots:
    """A value for each workload, in a colour."""

    name: str
    series: int
    values: Mapping[str, float]
    unit: str = ""


def _by_workload(
    figure: Figure,
    dots: Sequence[_Dots],
    workloads: Sequence[str],
    extra: tuple[float, ...] = (),
) -> Chart:
    """The figure with a row for each workload, and values on an axis of logarithms.

    extra: further values that the axis has to hold.
    """
    rows = {name: float(-row) for row, name in enumerate(workloads)}
    curves, shown = [], list(extra)
    for of in dots:
        known = [w for w in workloads if 0 < of.values[w] < math.inf]
        shown += [of.values[w] for w in known]
        tips = [f"{of.name}\n{w}: {of.values[w]:.4g}{of.unit}" for w in known]
        x = [math.log10(of.values[w]) for w in known]
        curves.append(Curve(of.series, x, [rows[w] for w in known], "points", tips))
    low, high = 0.9 * min(shown, default=1.0), 1.1 * max(shown, default=1.0)
    return replace(
        figure,
        curves=curves,
        x_range=(math.log10(low), math.log10(high)),
        x_ticks=log_ticks(low, high),
        is_x_log=True,
        row_names=workloads,
    ).chart()


def _waits(board: Leaderboard) -> DataTable | None:
    """The share of submission time spent waiting for data; None where nobody logged it."""
    rows = []
    for entry in board.entries:
        trials = board.pool.trials(entry.submission)
        shares = [t.shares["data_wait"] for t in trials if "data_wait" in t.shares]
        if shares:
            median, largest = float(np.median(shares)), max(shares)
            rows.append(
                [
                    entry.submission,
                    framework_of(board, entry.submission),
                    percent_cell(median, is_shaded=False),
                    percent_cell(largest, is_shaded=False),
                ]
            )
    if not rows:
        return None
    header = ["submission", "framework", "median", "largest"]
    return plain_table("data_wait", "Waiting for data", header, rows)
