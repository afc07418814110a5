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


def quadratic(rate) -> record.Record:
    """The instruments of gradient descent on the quadratic."""
    losses, alphas = test_cases.descend(rate)
    steps = {i: {"Loss": float(loss)} for i, loss in enumerate(losses)}
    for step, value in enumerate(alphas):
        steps[step]["Alpha"] = float(value)
    identity = logs.TrialId("gradient descent", 1, "quadratic", "numpy", 1)
    trial = logs.Trial(identity, Path(), columns={logs.STEP: np.zeros(0)})
    measured = Measured([{"quantities": ["Alpha", "Loss"]}], steps)
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
    rates = {"bounces": lambda step: 0.2, "crawls": lambda step: 7.2e-3 * 0.87**step}
    for name, rate in rates.items():
        shown = quadratic(rate)
        write(folder, f"quadratic_{name}_alpha", dials.alphas(shown))
        loss = dials.time_series(shown, "Loss", "Loss")
        write(folder, f"quadratic_{name}_loss", loss)
    with tempfile.TemporaryDirectory() as experiments:
        for name in test_cockpit_cases.CASES:
            trial = test_cockpit_cases.run_case(name, data_dir, Path(experiments))
            shown = record.load(trial)
            write(folder, f"{name}_alpha", dials.alphas(shown))
            write(folder, f"{name}_tests", dials.gradient_tests(shown))
            write(folder, f"{name}_histogram", dials.histogram(shown))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
