"""Whether this machine is as fast as it was: a few steps of a reference algorithm, before a run.

A file keeps the speed of every (workload, framework, hardware, versions, settings) that was
calibrated. The first calibration records it; later ones compare.
"""

import dataclasses
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algoperf import logs, registry
from algoperf.errors import AlgoPerfError, BadSettings
from algoperf.logs import Outcome, Trial
from algoperf.runner import door, experiment
from algoperf.runner.settings import Settings
from algoperf.trial_meta import Devices, Host

ALGORITHM = "nadamw"
MAX_SLOWDOWN = 1.10
_STEPS_PER_PART, _NUM_PARTS = 20, 6


class SlowMachine(AlgoPerfError):
    """This machine is slower than recorded: what it would measure cannot be compared."""


@dataclass(frozen=True)
class Speed:
    """What a calibration measures."""

    step_seconds: float  # median over parts of the run; compilation is left out
    data_wait: float  # share of submission time


def check(settings: Settings, path: Path, say: Callable[[str], None] = print) -> None:
    """Calibrates; raises `SlowMachine` if a step takes over 10 % longer than `path` says."""
    door.check_before_start(settings)  # before the time that measuring takes
    if path.exists():
        door.check_file(path, "calibration file")
    recorded = _read(path)
    key, speed = measure(settings)
    before = recorded.get(key)
    if before is None:
        recorded[key] = speed
        text = {key: dataclasses.asdict(value) for key, value in recorded.items()}
        logs.write_json(path, text)
        say(f"calibration: {_format_speed(speed)}; recorded in {path}.")
        return
    if speed.step_seconds > MAX_SLOWDOWN * before.step_seconds:
        raise SlowMachine(
            f"A step of {ALGORITHM} takes {_format_speed(speed)}; recorded for the same hardware "
            f"and versions were {_format_speed(before)}. The run is refused: stop whatever "
            f"else uses this machine, or remove the entry from {path} if it is wrong."
        )
    say(f"calibration: {_format_speed(speed)}; recorded were {_format_speed(before)}.")


def measure(settings: Settings) -> tuple[str, Speed]:
    """The speed of this machine, and the key under which it is comparable."""
    folder = registry.wing_folder("reference_algorithms") / ALGORITHM
    with tempfile.TemporaryDirectory(prefix="algoperf-calibration-") as temporary:
        short = dataclasses.replace(
            settings,
            submission_path=folder / f"submission_{settings.framework}.py",
            search_space=folder / "tuning_search_space.json",
            tuning="external",
            experiment_dir=Path(temporary),
            experiment_name="calibration",
            num_trials=1,
            num_studies=1,
            first_study=1,
            first_trial=1,
            last_trial=None,
            seed=0,
            max_global_steps=1 + _STEPS_PER_PART * _NUM_PARTS,
            eval_period_steps=_STEPS_PER_PART,
            on_existing="refuse",
            save_checkpoints=False,
            log_to=(),
            target_setting=False,
        )
        experiment.run(short, lambda text: None)
        (trial,) = logs.read(Path(temporary))
        return key_of(trial), speed_of(trial)


def speed_of(trial: Trial) -> Speed:
    """The speed that a trial shows."""
    if trial.num_evaluations < 2:
        outcome = trial.outcome or Outcome.INFRASTRUCTURE_CRASHED
        raise SlowMachine(
            f"The calibration did not get far: {outcome.value}: {trial.reason}."
        )
    seconds = np.diff(trial.columns[logs.SUBMISSION_SECONDS])
    steps = np.diff(trial.columns[logs.STEP])
    return Speed(
        float(np.median(seconds / steps)), float(trial.shares.get("data_wait", 0.0))
    )


def key_of(trial: Trial) -> str:
    """What must be equal for two speeds to be comparable, as one line."""
    meta = trial.meta
    host, devices = meta.host or Host(), meta.devices or Devices()
    facts: dict[str, Any] = {
        "workload": meta.workload,
        "framework": meta.framework,
        "precision": meta.precision,
        "processes": meta.num_processes,
        "host": [host.cpu, host.cores],
        "devices": dataclasses.replace(devices, warnings=()).to_json(),
        "versions": meta.versions,
    }
    return json.dumps(facts, sort_keys=True, default=str)


def _read(path: Path) -> dict[str, Speed]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
        speeds = {key: Speed(**value) for key, value in content.items()}
        if not all(_is_speed(speed) for speed in speeds.values()):
            raise ValueError("a speed is not a number above 0")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadSettings(
            f"{path} is not a calibration file ({error}). Remove it, or name another."
        ) from None
    return speeds


def _is_speed(speed: Speed) -> bool:
    values = (speed.step_seconds, speed.data_wait)
    return all(isinstance(v, int | float) for v in values) and (
        0 < speed.step_seconds < np.inf and speed.data_wait >= 0
    )


def _format_speed(speed: Speed) -> str:
    return (
        f"{1e3 * speed.step_seconds:.4g} ms (waiting for data: {speed.data_wait:.1%})"
    )
