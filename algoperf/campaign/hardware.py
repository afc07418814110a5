"""Whether machines may share a study: trials are compared, so they need the same hardware."""

import json
import os
import platform
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algoperf import files
from algoperf.errors import AlgoPerfError, BadLogs
from algoperf.log_folders import CAMPAIGN_FOLDER
from algoperf.runner import machine
from algoperf.runner.plan import TrialPlan
from algoperf.runner.settings import Settings
from algoperf.runner.supervision.folder_lock import locked

_QUERY = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
_PATIENCE_SECONDS = 3_600.0  # of those that wait while another trial calibrates


class UnfitMachine(AlgoPerfError):
    """A machine is of another kind than the one that a study began on, or slower."""


def facts() -> dict[str, Any]:
    """What must be equal on all machines of a study."""
    gpus = _gpus()
    return {
        "cpu": machine.cpu_model(),
        "machine": platform.machine(),
        "gpus": sorted({name for name, _ in gpus}),
        "gpu_count": len(gpus),
        "driver": sorted({driver for _, driver in gpus}),
    }


def gpu_count() -> int:
    """GPUs of this machine that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([word for word in visible.split(",") if word.strip()])
    return len(_gpus())


def _gpus() -> list[tuple[str, str]]:
    """Model and driver of each GPU; empty where there are none."""
    try:
        result = subprocess.run(_QUERY, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if result.returncode:
        return []
    rows = [line.split(", ") for line in result.stdout.splitlines() if ", " in line]
    return [(row[0].strip(), row[-1].strip()) for row in rows]


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """In what two machines differ, in words."""
    return [
        f"{name} {here.get(name)!r} instead of {there.get(name)!r}"
        for name in sorted({*here, *there})
        if here.get(name) != there.get(name)
    ]


def check(folder: Path, plan: TrialPlan) -> None:
    """Refuses a machine that differs from the one on which the trial's study began.

    The first trial of a submission's study on a workload records its machine.
    """
    s = plan.settings
    name = f"{s.experiment_name}/study_{plan.study}/{s.workload}_{s.framework}.json"
    path = folder / CAMPAIGN_FOLDER / "hardware" / name
    here = facts()
    with locked(path, _PATIENCE_SECONDS):
        if not path.exists():
            files.write_json(path, {"host": socket.gethostname(), **here})
            return
        there = _read(path)
    host = there.pop("host", "another machine")
    if found := differences(here, there):
        raise UnfitMachine(
            f"{socket.gethostname()} has {'; '.join(found)}: study {plan.study} of "
            f"{s.experiment_name} on {s.workload} began on {host}, and times on different "
            "hardware cannot be compared. Run it on machines of one kind, or use --unscored."
        )


def calibrate_once(folder: Path, settings: Settings) -> None:
    """Compares this machine's speed with the campaign's other ones, before its first trial."""
    # Late: it imports all of the runner, which every attempt would pay for.
    from algoperf.procedures import calibration

    host = socket.gethostname()
    base = folder / CAMPAIGN_FOLDER / "calibration"
    done = base / f"{host}.json"
    with locked(done, _PATIENCE_SECONDS):
        if done.exists():
            return
        said: list[str] = []
        # One file for all, since the first machine sets the speed that others must have.
        with locked(base / "speeds.json", _PATIENCE_SECONDS):
            try:
                calibration.check(settings, base / "speeds.json", said.append)
            except calibration.SlowMachine as error:
                raise UnfitMachine(f"{host}: {error}") from None
        files.write_json(done, {"host": host, "said": said})


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(files.read_regular(path))
        return dict(content)
    except (ValueError, TypeError) as error:
        raise BadLogs(f"{path} is damaged ({error}). Restore or remove it.") from None
