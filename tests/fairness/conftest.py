"""Runs tiny submissions that try to cheat, and says how their trial ended."""

from collections.abc import Callable
from pathlib import Path

import pytest
from toy_fixtures import toy_in_processes, written

from algoperf import logs
from algoperf.logs import Trial
from algoperf.runner import experiment
from algoperf.runner.settings import Settings

__all__ = ["cheat", "toy_in_processes", "written"]


@pytest.fixture
def cheat(
    toy_in_processes: Callable[..., Settings], written: Callable[..., Path]
) -> Callable[..., Trial]:
    """Runs the toy submission with code added to it; in a process of its own, unless harmless."""

    def run(
        update: str = "pass",
        top: str = "",
        end: str = "",
        *,
        harmless: bool = False,
        **changes: object,
    ) -> Trial:
        values = {"max_global_steps": 3, "eval_period_steps": 1, **changes}
        settings = toy_in_processes(
            submission_path=written(update, top, end),
            workload="blobs_never",
            isolate=not harmless,
            **values,
        )
        experiment.run(settings, lambda text: None)
        identity = logs.read(settings.experiment_dir)[0].id
        return logs.read_trial(identity, identity.folder(settings.experiment_dir))

    return run
