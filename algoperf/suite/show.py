"""Shows a board: in a terminal, as JSON, as a report's section, as a line for a README."""

import dataclasses
import math
import urllib.parse
from collections.abc import Sequence
from typing import Any

import numpy as np

import algoperf
from algoperf import registry
from algoperf.suite.compare import Board, Comparison, Standing
from algoperf.suite.power import POWER
from algoperf.suite.runs import Results
from algoperf.suite.statistics import BETTER, LEVEL, MISS_FACTOR, WORSE, Sample

_COLOURS = {BETTER: "brightgreen", WORSE: "orange"}


def sentence(comparison: Comparison) -> str:
    """What a comparison comes to, in one line."""
    found = comparison.found
    low, high = found.interval
    misses = sum(comparison.misses)
    missed = f"; {misses} runs missed" if misses else ""
    return (
        f"{comparison.first.name} takes {found.ratio:.2f} times the steps of "
        f"{comparison.second.name} [{low:.2f}, {high:.2f}], P(fewer) {found.p_better:.0%}: "
        f"{comparison.verdict}{missed}."
    )


def _tables() -> Any:
    return registry.scoring_module("tables")


def _ratio_cell(comparison: Comparison | None) -> Any:
    tables = _tables()
    if comparison is None:
        return tables.Cell("1", 1.0)
    found = comparison.found
    return tables.Cell(f"{found.ratio:.3f}", found.ratio, interval=found.interval)


def _drawn(table: Any) -> Any:
    """The table with the intervals of its ratios drawn, where a format draws."""
    cells = [cell for row in table.rows for cell in row if cell.interval is not None]
    ends = [end for cell in cells for end in cell.interval if math.isfinite(end)]
    if not ends:
        return table
    scale = min(1.0, *ends), max(1.0, *ends)
    columns = [
        dataclasses.replace(column, scale=scale) if column.name == "steps" else column
        for column in table.columns
    ]
    return dataclasses.replace(table, columns=columns)


def _interval_name(board: Board) -> str:
    return f"{100 * board.level:.4g}% interval"


def _interval_words(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"[{low:.2f}, {high:.2f}]" if math.isfinite(high) else "unknown"


def baselines_table(board: Board) -> Any:
    """The submission against each other one."""
    rows = [_comparison_row(comparison) for comparison in board.comparisons]
    header = [
        "against",
        "steps",
        _interval_name(board),
        "P(fewer)",
        "p",
        "verdict",
    ]
    header += ["missed, own", "missed, other", "workloads", "seeds", "seconds"]
    table = _tables().plain_table(
        "comparisons",
        f"Steps to target of {board.own.name}, as multiples",
        header,
        rows,
        "A ratio below 1: fewer steps. Interval: of seeds and workloads. P(fewer): share of "
        "the bootstrap. p: permutation test on these workloads. Seconds: as a multiple, where "
        "both ran here, one at a time.",
    )
    return _drawn(table)


def _comparison_row(comparison: Comparison) -> list[Any]:
    tables = _tables()
    found = comparison.found
    own, other = comparison.misses
    seconds = comparison.seconds_ratio
    return [
        comparison.second.name,
        _ratio_cell(comparison),
        _interval_words(found.interval),
        tables.percent_cell(found.p_better),
        tables.number_cell(comparison.p_value, 4),
        comparison.verdict,
        tables.count_cell(own),
        tables.count_cell(other),
        tables.count_cell(len(comparison.workloads)),
        "paired" if comparison.is_paired else "unpaired",
        tables.number_cell(seconds, 2),
    ]


def workloads_table(comparison: Comparison) -> Any:
    """Workload by workload, against one other submission."""
    rows = [_workload_row(comparison, sample) for sample in comparison.samples]
    first, second = comparison.first.name, comparison.second.name
    return _tables().plain_table(
        "workloads",
        f"Steps to target by workload: {first} and {second}",
        ["workload", first, "spread", second, "spread ", "ratio", "interval of seeds"],
        rows,
        "Steps: geometric mean of the runs that reached the target. Spread: standard deviation "
        "over seeds. The interval of a workload uses the spread of all workloads.",
    )


def _workload_row(comparison: Comparison, sample: Sample) -> list[Any]:
    ratio = math.exp(sample.difference)
    cells: list[Any] = [sample.workload]
    for results in (comparison.first, comparison.second):
        cells += _steps_cells(results, sample.workload)
    return [
        *cells,
        _tables().number_cell(ratio, 3),
        _interval_words(comparison.seed_interval(sample)),
    ]


def _steps_cells(results: Results, workload: str) -> list[Any]:
    """Mean steps, how many runs missed, and the spread of those that did not."""
    tables = _tables()
    runs = list(results.runs[workload].values())
    hits = [run.steps for run in runs if run.is_hit]
    misses = len(runs) - len(hits)
    note = f"({misses} of {len(runs)} missed)" if misses else ""
    if not hits:
        return [
            tables.Cell("missed", detail=f"(all {len(runs)})"),
            tables.Cell(tables.NONE),
        ]
    mean = math.exp(float(np.mean(np.log(hits))))
    spread = float(np.std(np.log(hits), ddof=1)) if len(hits) > 1 else math.nan
    return [
        tables.Cell(f"{mean:,.0f}", mean, detail=note),
        tables.percent_cell(spread, is_shaded=False),
    ]


def standings_table(board: Board) -> Any:
    """All that ran on every workload, best first."""
    rows = [
        _standing_row(number, standing, board)
        for number, standing in enumerate(board.standings, start=1)
    ]
    table = _tables().plain_table(
        "leaderboard",
        f"Steps to target as multiples of those of {board.reference}",
        [
            "rank",
            "submission",
            "steps",
            _interval_name(board),
            "missed",
            "runs",
        ],
        rows,
        f"Geometric mean over {len(board.workloads)} workloads. Neighbours whose intervals "
        "overlap are not told apart.",
    )
    return _drawn(table)


def _standing_row(number: int, standing: Standing, board: Board) -> list[Any]:
    tables = _tables()
    results, comparison = standing.results, standing.against_reference
    count = sum(map(results.num_seeds, board.workloads))
    return [
        tables.count_cell(number),
        results.name + (" (yours)" if results is board.own else ""),
        _ratio_cell(comparison),
        _interval_words(comparison.found.interval) if comparison else tables.NONE,
        tables.count_cell(standing.misses),
        tables.count_cell(count),
    ]


def remarks(board: Board) -> list[str]:
    """What a reader must know: gaps, misses, what is not known."""
    lines = list(board.notes)
    lacking: dict[tuple[str, ...], list[str]] = {}
    for name, workloads in board.not_run.items():
        lacking.setdefault(tuple(workloads), []).append(name)
    lines += [
        f"not run on {', '.join(workloads)}: {', '.join(names)}"
        for workloads, names in lacking.items()
    ]
    if any(sum(comparison.misses) for comparison in board.comparisons):
        lines.append(
            f"a miss counts as {MISS_FACTOR:g} times the step hint; a verdict stands only if it "
            "also holds with once the hint. Two misses are equal."
        )
    if board.level != LEVEL:
        lines.append(
            f"intervals of {100 * board.level:.4g}%, so that all looks together have {LEVEL:.0%}"
        )
    return lines


def text(board: Board) -> str:
    """For a terminal."""
    parts = []
    headline = board.headline
    if headline is not None:
        parts.append(f"{sentence(headline)}\n{headline.power.text()}")
    if board.comparisons:
        parts.append(baselines_table(board).text())
        parts.append(workloads_table(headline or board.comparisons[0]).text())
    else:
        parts.append(f"Nothing to compare {board.own.name} with.\n{_own_lines(board)}")
    if board.standings:
        parts.append(standings_table(board).text())
    parts.append("\n".join(f"- {line}" for line in remarks(board)))
    if headline is not None:
        parts.append(f"For a README:\n{badge(headline)}")
    return "\n\n".join(part for part in parts if part)


def _own_lines(board: Board) -> str:
    cells = (
        (name, *_steps_cells(board.own, name))
        for name in board.workloads
        if board.own.has(name)
    )
    return "\n".join(f"{name}: {steps.words} steps" for name, steps, _ in cells)


def badge(comparison: Comparison) -> str:
    """A line of Markdown; what it says is in its text too."""
    found = comparison.found
    low, high = found.interval
    words = f"{found.ratio:.2f}x the steps of {comparison.second.name} [{low:.2f}, {high:.2f}]"
    count = len(comparison.workloads)
    workloads = f"{count} workload{'s' if count > 1 else ''}"
    label = f"algoperf suite, {workloads}, {comparison.first.framework}"
    colour = _COLOURS.get(comparison.verdict, "lightgrey")
    parts = (part.replace("-", "--").replace("_", "__") for part in (label, words))
    path = "-".join(urllib.parse.quote(part, safe="") for part in (*parts, colour))
    return f"![{label}: {words}](https://img.shields.io/badge/{path})"


def as_json(board: Board) -> dict[str, Any]:
    """Everything in JSON's types; null where a number is not finite."""
    headline = board.headline
    content = {
        "version": algoperf.__version__,
        "submission": board.own.name,
        "framework": board.own.framework,
        "workloads": list(board.workloads),
        "reference": board.reference,
        "level": board.level,
        "runs": {
            workload: {str(seed): _run_json(run) for seed, run in runs.items()}
            for workload, runs in board.own.runs.items()
        },
        "comparisons": [_comparison_json(c) for c in board.comparisons],
        "leaderboard": [
            {"submission": s.results.name, "ratio": s.ratio, "misses": s.misses}
            for s in board.standings
        ],
        "not_run": {name: list(names) for name, names in board.not_run.items()},
        "remarks": remarks(board),
        "badge": badge(headline) if headline else None,
    }
    result: dict[str, Any] = _finite(content)
    return result


def _run_json(run: Any) -> dict[str, Any]:
    return {
        "steps": run.steps,
        "missed": not run.is_hit,
        "last_step": run.last_step,
        "seed": run.seed,
        "curve": [list(pair) for pair in run.curve],
    }


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    found, least, power = comparison.found, comparison.with_least_miss, comparison.power
    return {
        "against": comparison.second.name,
        "ratio": found.ratio,
        "interval": list(found.interval),
        "p_fewer": found.p_better,
        "p_value": comparison.p_value,
        "verdict": comparison.verdict,
        "with_least_miss": {"ratio": least.ratio, "interval": list(least.interval)},
        "misses": list(comparison.misses),
        "is_paired": comparison.is_paired,
        "seconds_ratio": comparison.seconds_ratio,
        "power": {
            "seeds": power.num_seeds,
            "detectable": power.detectable,
            "probability": POWER,
            "asked": power.asked,
            "seeds_for_asked": power.seeds_for_asked,
        },
        "workloads": {
            sample.workload: {
                "ratio": math.exp(sample.difference),
                "interval_of_seeds": list(comparison.seed_interval(sample)),
                "is_paired": sample.is_paired,
            }
            for sample in comparison.samples
        },
    }


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


def section(board: Board) -> Any:
    """A section of a report."""
    document = registry.scoring_module("report.document")
    headline = board.headline
    tables: Sequence[Any] = [baselines_table(board)] if board.comparisons else []
    others = [workloads_table(headline)] if headline else []
    ranking = [standings_table(board)] if board.standings else []
    lines = [sentence(headline), headline.power.text()] if headline else []
    return document.Section(
        "suite",
        "Laptop suite",
        " ".join([*lines, "Steps to target on the mini workloads."]),
        [*ranking, *tables, *others],
    )


def as_document(board: Board) -> Any:
    """A report with nothing but the suite's section."""
    document = registry.scoring_module("report.document")
    return document.Document(
        f"{board.own.name} on the laptop suite",
        [
            ("framework", board.own.framework),
            ("workloads", str(len(board.workloads))),
            ("seeds", str(max(map(len, board.own.runs.values()), default=0))),
        ],
        [section(board)],
        banner="Mini workloads on real but small data: no score of the benchmark.",
        notes=remarks(board),
        leaderboard=as_json(board),
        generator=f"algoperf {algoperf.__version__}",
    )
