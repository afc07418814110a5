"""Draws the pictures of `docs/cockpit.md`: `python draw_cockpit_cases.py DATA_DIR FOLDER`.

The quadratic of `tests/instruments/test_cases.py`, and the cases of `test_cockpit_cases.py`,
which are trained for it.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "instruments"))

import test_cases
import test_cockpit_cases

from algoperf import logs
from algoperf.instrument_logs import Measured
from algoperf.scoring.cockpit import dials, record
from algoperf.scoring.figures import Chart, standalone

NET_CHARTS = {"Loss": "Loss", "HessMaxEV": "Largest eigenvalue"}


def shown(measured: Measured) -> record.Record:
    """What was measured outside of a trial, as the screens read it."""
    identity = logs.TrialId("gradient descent", 1, "formula", "numpy", 1)
    trial = logs.Trial(identity, Path(), columns={logs.STEP: np.zeros(0)})
    return record.Record("", Path(), measured, trial, {}, is_running=False)


def write(folder: Path, name: str, chart: Chart) -> None:
    """One picture with its own style."""
    text = standalone(chart, [])
    style = ".bar{stroke:none!important;fill-opacity:.42}.dot.mild{fill-opacity:.45}"
    style += "".join(f".bar.c{i}{{fill:var(--c{i})}}" for i in range(8))
    (folder / f"{name}.svg").write_text(text.replace("</style>", f"{style}</style>"))


def main(data_dir: Path, folder: Path) -> None:
    """Writes all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, rate in test_cases.RATES.items():
            found = shown(test_cases.descend_quadratic(rate, Path(scratch)))
            write(folder, f"quadratic_{name}_alpha", dials.alphas(found))
            loss = dials.time_series(found, "Loss", "Loss")
            write(folder, f"quadratic_{name}_loss", loss)
        for name, batch_size in {"full": 100, "noisy": 95}.items():
            found = shown(test_cases.train_net(batch_size, 100_000, Path(scratch)))
            for quantity, title in NET_CHARTS.items():
                chart = dials.time_series(found, quantity, title)
                write(folder, f"net_{name}_{quantity.lower()}", chart)
    with tempfile.TemporaryDirectory() as experiments:
        for name in test_cockpit_cases.CASES:
            trial = test_cockpit_cases.run_case(name, data_dir, Path(experiments))
            found = record.load(trial)
            write(folder, f"{name}_alpha", dials.alphas(found))
            write(folder, f"{name}_tests", dials.gradient_tests(found))
            write(folder, f"{name}_histogram", dials.histogram(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
