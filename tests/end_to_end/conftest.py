"""Real runs on the embedded digits, in both frameworks."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from algoperf import cli, registry
from algoperf.runner.settings import Settings

FRAMEWORK_PACKAGES = {"jax": "flax", "pytorch": "torch"}


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with mnist_mini."""
    folder = tmp_path_factory.mktemp("data")
    assert cli.main(["prepare", "mnist_mini", "--data-dir", str(folder)]) == 0
    return folder


@pytest.fixture(params=FRAMEWORK_PACKAGES)
def framework(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(FRAMEWORK_PACKAGES[request.param])
    return request.param


@pytest.fixture
def reference(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Settings]:
    """Settings for a reference algorithm on mnist_mini, one short trial in this process.

    Its budget is long: compilation alone may take longer than the real one on a busy machine.
    """
    mini = registry.definition("mnist_mini")
    limits = {
        name: dataclasses.replace(limit, budget_seconds=1e6)
        for name, limit in mini.limits.items()
    }
    unhurried = dataclasses.replace(mini, limits=limits)
    monkeypatch.setattr(registry, "definition", lambda name: unhurried)

    def settings(algorithm: str, framework: str, **changes: object) -> Settings:
        folder = registry.wing_folder("reference_algorithms") / algorithm
        values = {
            "submission_path": folder / f"submission_{framework}.py",
            "framework": framework,
            "workload": "mnist_mini",
            "experiment_dir": tmp_path / "logs",
            "experiment_name": f"{algorithm}_{framework}",
            "data_dir": digits,
            "search_space": folder / "tuning_search_space.json",
            "num_trials": 1,
            "num_studies": 1,
            "max_global_steps": 10,
            "isolate": False,
        }
        return Settings(**{**values, **changes})

    return settings
