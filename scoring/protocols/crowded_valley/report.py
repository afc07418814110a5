"""The protocol's report: a table and a figure for each analysis, and every file by name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from algoperf.scoring.figures import Chart, Charts, standalone
from algoperf.scoring.report import html, latex
from algoperf.scoring.report.document import Block, Document, Section

from . import analyses, figures, tables
from .cells import CONSTANT, ONE_SHOT, Grid, is_validated

_TITLE = "Crowded Valley: optimizers by budgets and schedules"


@dataclass(frozen=True)
class Study:
    """What is reported."""

    grid: Grid
    titles: Mapping[str, str]  # of optimizers, by name
    left_out: Sequence[str] = ()
    notes: Sequence[str] = ()
    again: Grid = field(default_factory=lambda: Grid({}))  # tuned a second time
    seeds: Grid = field(default_factory=lambda: Grid({}))  # many rates and seeds

    @property
    def tuned(self) -> list[tuple[str, str]]:
        """Budget and schedule of the cells that were tuned, the largest budget last."""
        pairs = dict.fromkeys((key[2], key[3]) for key in self.grid.cells)
        return [
            (budget, schedule)
            for schedule in self.grid.schedules
            for budget in self.grid.budgets
            if budget != ONE_SHOT and (budget, schedule) in pairs
        ]

    @property
    def legend(self) -> list[str]:
        """The optimizers' titles in the order of their colours."""
        return [self.titles.get(name, name) for name in self.grid.optimizers]


def text(study: Study) -> str:
    """The summary for a terminal."""
    found = [tables.results(study.grid, study.titles, s) for s in study.grid.schedules]
    found += [
        tables.ranks(analyses.ranks(study.grid, *pair), study.titles)
        for pair in study.tuned
    ]
    return "\n\n".join(table.text() for table in found)


def files(study: Study, generator: str) -> dict[str, str]:
    """The content of each file by its name."""
    found = document(study, generator)
    charts = {
        f"figures/{section.key}_{number}.svg": standalone(chart, legend)
        for section in found.sections
        for number, (chart, legend) in enumerate(section.charts(), start=1)
    }
    return {
        "report.html": html.render(found),
        "tables.tex": latex.render(found),
        **charts,
    }


def document(study: Study, generator: str) -> Document:
    """The report as values."""
    grid = study.grid
    cells = list(grid.cells.values())
    # A run may count for several budgets.
    runs = {id(run) for cell in cells for s in cell.settings for run in s.runs}
    warnings = [f"Left out: {phrase}." for phrase in study.left_out]
    unvalidated = sorted(
        {c.problem.name for c in cells if not is_validated(c.settings)}
    )
    if unvalidated:
        warnings.append(
            "Settings were chosen by their test values, because there are no validation "
            f"values of {', '.join(unvalidated)}."
        )
    return Document(
        _TITLE,
        [
            ("Problems", ", ".join(grid.problems)),
            ("Optimizers", ", ".join(study.legend)),
            ("Budgets", ", ".join(grid.budgets)),
            ("Schedules", ", ".join(grid.schedules)),
            ("Runs", f"{len(runs):,}"),
        ],
        [section for section in _sections(study) if section.blocks],
        warnings=warnings,
        notes=list(study.notes),
        generator=generator,
    )


def _sections(study: Study) -> Iterator[Section]:
    grid, titles = study.grid, study.titles
    yield Section(
        "results",
        "Test results",
        "Every optimizer on every problem, by budget.",
        [tables.results(grid, titles, schedule) for schedule in grid.schedules],
    )
    yield _heatmaps(study)
    yield _gains(study)
    yield _parallel(study)
    yield _ranks(study)
    yield _wins(study)
    yield _budgets(study)
    yield _seeds(study)
    yield _again(study)


def _heatmaps(study: Study) -> Section:
    blocks: list[Block] = []
    has_defaults = ONE_SHOT in study.grid.budgets
    for budget, schedule in study.tuned if has_defaults else []:
        found = analyses.heatmap(study.grid, budget, schedule)
        charts = [figures.heatmap(found, study.titles)]
        blocks += [
            Charts(charts, (), is_wide=True),
            tables.heatmap(found, study.titles),
        ]
    return Section(
        "heatmap",
        "Out of the box",
        "What one gains by changing from one optimizer's defaults (row) to another "
        "optimizer that was tuned (column). Rows that are orange across have poor "
        "defaults; pale rows have good ones.",
        blocks,
    )


def _gains(study: Study) -> Section:
    found = analyses.gains(study.grid) if ONE_SHOT in study.grid.budgets else []
    blocks: list[Block] = []
    if len(found) > 1:
        chart = figures.gains(found, study.titles, study.grid.optimizers)
        blocks = [Charts([chart], ()), tables.gains(found)]
    return Section(
        "gains",
        "Gain from tuning and schedules",
        "Relative improvement over the defaults with a constant schedule.",
        blocks,
    )


def _parallel(study: Study) -> Section:
    charts: list[Chart] = [
        figures.parallel(study.grid, study.titles, *pair) for pair in study.tuned
    ]
    blocks: list[Block] = [
        tables.parallel(study.grid, study.titles, *pair) for pair in study.tuned
    ]
    if charts:
        is_wide = len(study.grid.problems) > 2
        blocks.insert(0, Charts(charts, study.legend, is_wide, is_dashed=True))
    return Section(
        "parallel",
        "All problems side by side",
        "Better is up on every axis; the best result of the study is at its end. Marks "
        "are defaults: \N{BLACK DOWN-POINTING TRIANGLE} Adam, \N{BLACK UP-POINTING TRIANGLE} "
        "AdaBound.",
        blocks,
    )


def _ranks(study: Study) -> Section:
    found = [analyses.ranks(study.grid, *pair) for pair in study.tuned]
    if ONE_SHOT in study.grid.budgets:
        found.insert(0, analyses.ranks(study.grid, ONE_SHOT, CONSTANT))
    charts = [figures.rank_chart(ranks, study.titles) for ranks in found]
    blocks: list[Block] = [tables.ranks(ranks, study.titles) for ranks in found]
    if charts:
        blocks.insert(0, Charts(charts, ()))
    return Section("ranks", "Ranks", "1 is the best of its problem.", blocks)


def _wins(study: Study) -> Section:
    found = analyses.wins(study.grid)
    blocks: list[Block] = []
    if found:
        chart = figures.win_chart(found, study.titles)
        blocks = [Charts([chart], ()), tables.wins(found, study.titles)]
    return Section(
        "wins",
        "Wins and draws",
        "How often an optimizer is the best, or indistinguishable from the best.",
        blocks,
    )


def _budgets(study: Study) -> Section:
    found = analyses.simulate(study.grid)
    groups: dict[tuple[str, str], list[analyses.Simulation]] = {}
    for item in found:
        groups.setdefault((item.problem.name, item.schedule), []).append(item)
    names = study.grid.optimizers
    blocks: list[Block] = []
    if found:
        charts = [figures.simulation(items, names) for items in groups.values()]
        blocks = [
            Charts(charts, study.legend, is_dashed=True),
            tables.simulations(found, study.titles),
        ]
    return Section(
        "budgets",
        "Simulated budgets",
        "What fewer tuning runs would have found, on average.",
        blocks,
    )


def _seeds(study: Study) -> Section:
    found = analyses.sweeps(study.seeds)
    blocks: list[Block] = []
    if found:
        blocks = [Charts([figures.sweep(item) for item in found], ())]
        blocks += [tables.sweep(item) for item in found]
    return Section(
        "seeds",
        "Seeds",
        "At learning rates between those that always work and those that never do, the "
        "seed decides: a tuning run with one seed may choose from there.",
        blocks,
    )


def _again(study: Study) -> Section:
    tuned = [budget for budget, schedule in study.tuned if schedule == CONSTANT]
    found = analyses.retuned(study.grid, study.again, tuned[0]) if tuned else []
    blocks: list[Block] = []
    if found:
        legend = [
            f"{study.titles.get(s.optimizer, s.optimizer)}, {s.problem}" for s in found
        ]
        chart = figures.shift_chart(found, study.titles)
        blocks = [
            Charts([chart], legend, is_dashed=True),
            tables.shifts(found, study.titles),
        ]
    return Section(
        "retuning",
        "Tuning again",
        "Optimizers that were tuned again with other draws and seeds.",
        blocks,
    )
