"""How long optimizers take relative to SGD, from pairs of runs."""

from collections.abc import Mapping, Sequence

import numpy as np

from algoperf.scoring.tables import Cell, DataTable, plain_table

_NOTE = (
    "Whole runs of a few epochs, one after the other on the same machine; evaluations are "
    "included. The ratio is the mean over the pairs, with the sample standard deviation."
)


def table(pairs: Mapping[str, Sequence[tuple[float, float]]]) -> DataTable:
    """pairs: by optimizer the seconds of SGD's run and of its own."""
    lines = [_line(name, np.array(found)) for name, found in pairs.items() if found]
    header = ["optimizer", "pairs", "SGD (s)", "optimizer (s)", "ratio"]
    caption = "Runtime relative to SGD"
    return plain_table("deepobs_runtime", caption, header, lines, _NOTE)


def _line(name: str, seconds: np.ndarray) -> list[str | Cell]:
    """seconds: float64 [pairs, 2]."""
    reference, own = seconds.mean(axis=0)
    ratios = seconds[:, 1] / seconds[:, 0]
    words = f"{ratios.mean():.2f}"
    if len(ratios) > 1:
        words += f" ± {ratios.std(ddof=1):.2f}"
    return [
        name,
        Cell(str(len(ratios)), len(ratios)),
        Cell(f"{reference:.1f}", float(reference)),
        Cell(f"{own:.1f}", float(own)),
        Cell(words, float(ratios.mean())),
    ]
