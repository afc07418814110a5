"""Profiles chosen steps of a trial with the framework's own profiler: `--profile`.

The profiler slows the steps that it looks at, so such a trial is never scored.
"""

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any, Protocol

from algoperf.errors import BadSettings
from algoperf.frameworks import check_framework
from algoperf.runner.plan import TrialPlan
from algoperf.runner.settings import Settings
from algoperf.runner.step_hooks import StepView

DEFAULT_STEPS = "10:20"
_STEPS = re.compile(r"(\d{1,9}):(\d{1,9})", re.ASCII)


class Profiler(Protocol):
    """What a backend's module `profiling` has as `Profiler`."""

    def start(self) -> None:
        """Begins to record."""
        ...

    def stop(self, folder: Path) -> None:
        """Ends, and writes what was recorded into a folder that exists."""
        ...


def steps_of(text: str) -> range:
    """The steps that `START:END` stands for, without END; the first step is 0."""
    match = _STEPS.fullmatch(text)
    steps = range(int(match[1]), int(match[2])) if match else range(0)
    if not steps:
        raise BadSettings(
            f"--profile-steps is {text!r}; it must be START:END with START below END, such "
            f"as {DEFAULT_STEPS}, which profiles the steps from 10 to 19."
        )
    return steps


def check(settings: Settings) -> None:
    """Raises `BadSettings` for steps or options that do not go together."""
    if settings.profile_dir is None:
        return
    if not _has_profiler(settings.framework):
        raise BadSettings(f"--profile: {settings.framework} has no profiler.")
    steps = steps_of(settings.profile_steps)
    limit = settings.max_global_steps
    if limit is not None and limit < steps.stop:
        raise BadSettings(
            f"--profile-steps {settings.profile_steps} needs {steps.stop} steps, but "
            f"--max-steps is {limit}. Raise it, or profile earlier steps."
        )
    if settings.cockpit is not None:
        raise BadSettings(
            "--profile and --cockpit look at the same steps: the profile would show the "
            "instruments. Give one of them."
        )


def _has_profiler(framework: str) -> bool:
    """Whether the backend has one, without importing the framework."""
    spec = importlib.util.find_spec(check_framework(framework).module)
    folders = spec.submodule_search_locations if spec else None
    return any((Path(folder) / "profiling.py").is_file() for folder in folders or ())


def profiler_of(plan: TrialPlan) -> "StepProfiler | None":
    """The step hook of a trial that is profiled; None for any other."""
    settings = plan.settings
    if settings.profile_dir is None:
        return None
    module = check_framework(settings.framework).module
    profiler = importlib.import_module(f"{module}.profiling").Profiler()
    folder = plan.id.folder(settings.profile_dir)
    return StepProfiler(profiler, folder, steps_of(settings.profile_steps))


class StepProfiler:
    """A `StepHook` that records some steps in one profile."""

    def __init__(self, profiler: Profiler, folder: Path, steps: range) -> None:
        self._profiler = profiler
        self._folder = folder
        self._steps = steps
        self._is_recording = False

    def wants(self, step: int) -> bool:
        """See `StepHook`."""
        return step in self._steps

    def before_step(self, view: StepView) -> None:
        """Begins at the first of the steps."""
        if not self._is_recording:
            self._is_recording = True
            self._profiler.start()

    def after_step(self, view: StepView) -> None:
        """Ends with the last one."""
        if view.step + 1 >= self._steps.stop:
            self.close()

    def state(self) -> Any:
        """Nothing is remembered."""
        return {}

    def restore(self, state: Any) -> None:
        """Nothing was remembered."""

    def close(self) -> None:
        """Writes the profile; of fewer steps, where the trial has ended early."""
        if self._is_recording:
            self._is_recording = False
            self._folder.mkdir(parents=True, exist_ok=True)
            self._profiler.stop(self._folder)
