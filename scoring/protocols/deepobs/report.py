"""The protocol's report: every file that its command writes, by name."""

from collections.abc import Sequence

import numpy as np

from algoperf.scoring.figures import Chart, Charts, standalone
from algoperf.scoring.report import html, latex
from algoperf.scoring.report.document import Document, Section
from algoperf.scoring.tables import DataTable

from . import figures, pgfplots, tables
from .indicators import Result, spread_of
from .runs import CURVES


def files(
    results: Sequence[Result],
    left_out: Sequence[str],
    generator: str,
    runtime: DataTable | None = None,
) -> dict[str, str]:
    """The content of each file by its name; names may have folders."""
    found = document(results, left_out, generator, runtime)
    legend = figures.legend(results)
    charts = {
        "performance.svg": figures.performance(results),
        "learning_rates.svg": figures.sensitivity(results),
    }
    return {
        "report.html": html.render(found),
        "tables.tex": latex.render(found),
        **{name: standalone(chart, legend) for name, chart in charts.items()},
        "performance.tex": pgfplots.performance(results),
        "learning_rates.tex": pgfplots.learning_rates(results),
        **{pgfplots.data_file(r): curve_data(r) for r in results},
    }


def text(results: Sequence[Result]) -> str:
    """The summary for a terminal."""
    return tables.summary(results).text()


def document(
    results: Sequence[Result],
    left_out: Sequence[str],
    generator: str,
    runtime: DataTable | None = None,
) -> Document:
    """The report as values."""
    legend = figures.legend(results)
    charts: list[Chart] = [c for row in figures.curves(results) for c in row if c]
    problems = list(dict.fromkeys(r.problem.name for r in results))
    return Document(
        "DeepOBS: performance, speed and tuning",
        [("Problems", ", ".join(problems)), ("Optimizers", ", ".join(legend))],
        [
            Section(
                "summary",
                "Summary",
                "Each optimizer with its chosen setting.",
                [tables.summary(results), tables.finals(results)],
            ),
            Section(
                "curves",
                "Performance over the epochs",
                "Lines are means over the seeds, bands one standard deviation; the dashed "
                "line is the convergence performance. The middle of the values is shown.",
                [
                    Charts([figures.performance(results)], legend, is_dashed=True),
                    Charts(charts, legend, is_dashed=True),
                ],
            ),
            Section(
                "tuning",
                "Sensitivity to the learning rate",
                "Final performance relative to the best setting of the optimizer.",
                [
                    Charts(figures.sensitivities(results), legend, is_dashed=True),
                    tables.sensitivities(results),
                ],
            ),
            *([_runtime(runtime)] if runtime is not None else []),
        ],
        warnings=[f"Left out: {phrase}." for phrase in left_out],
        generator=generator,
    )


def _runtime(table: DataTable) -> Section:
    words = "How long the optimizers take, whatever they reach: multiply epochs by it."
    return Section("runtime", "Runtime", words, [table])


def curve_data(result: Result) -> str:
    r"""Mean and sample standard deviation of each curve by epoch, for \addplot table."""
    setting = result.chosen
    columns = {"epoch": np.arange(setting.num_epochs + 1, dtype=float)}
    for name in (name for name in CURVES if setting.has(name)):
        mean, spread = spread_of(setting.curve(name))
        columns |= {f"{name}_mean": mean, f"{name}_std": spread}
    rows = np.stack(list(columns.values()), axis=1)
    lines = [" ".join(f"{value:.8g}" for value in row) for row in rows]
    return "\n".join([" ".join(columns), *lines, ""])
