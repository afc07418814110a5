"""Shows a trial's instruments in a terminal: one line each, with a small curve."""

import math

import numpy as np

from ..tables import aligned
from . import screen
from .record import Record, Series

_BLOCKS = "▁▂▃▄▅▆▇█"
_QUANTITIES = (
    "Loss",
    "Alpha",
    "Distance",
    "UpdateSize",
    "GradNorm",
    "NormTest",
    "InnerTest",
    "OrthoTest",
    "HessMaxEV",
    "HessTrace",
    "TICDiag",
    "TICTrace",
    "MeanGSNR",
    "CABS",
    "EarlyStopping",
)
_WIDTH = 40  # characters of a curve


def text(record: Record) -> str:
    """The text of the whole screen."""
    lines = [record.title]
    lines += [f"{name}: {value}" for name, value in screen.facts(record)]
    header = ("instrument", "last", "mean of last 10 %", "over the steps")
    rows = []
    for name in _QUANTITIES:
        series = record.series(name)
        if series:
            last, recent = float(series.finite()[-1]), float(series.recent().mean())
            rows.append((name, f"{last:.4g}", f"{recent:.4g}", curve(series)))
    lines += ["", aligned("Instruments", header, rows), *_histogram(record)]
    remarks = screen.remarks(record)
    if remarks:
        lines += ["", *remarks]
    return "\n".join(lines)


def curve(series: Series) -> str:
    """The values as a row of block characters with eight heights."""
    values = series.finite()
    groups = np.array_split(values, min(_WIDTH, len(values)))
    means = np.array([group.mean() for group in groups])
    low, high = float(means.min()), float(means.max())
    if not math.isfinite(high - low) or high == low:
        return _BLOCKS[0] * len(means)
    places = ((means - low) / (high - low) * (len(_BLOCKS) - 1)).round().astype(int)
    return "".join(_BLOCKS[place] for place in places)


def _histogram(record: Record) -> list[str]:
    found = record.measured.last("GradHist1d")
    if found is None:
        return []
    step, value = found
    counts = np.asarray(value["counts"], np.float64)
    merged = np.log10(counts.reshape(-1, 2).sum(1) + 1)
    places = (merged / (merged.max() or 1.0) * (len(_BLOCKS) - 1)).round().astype(int)
    drawn = "".join(_BLOCKS[place] for place in places)
    _, low, high = value["bins"]
    clipped = (counts[0] + counts[-1]) / counts.sum()
    return [
        "",
        f"gradient elements at step {step}, logarithmic, from {low:g} to {high:g}; "
        f"{clipped:.2%} in the end bins",
        drawn,
    ]
