"""Fixtures that several tests share: the toy benchmark, and a time that stands still."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from algoperf import frameworks, registry
from algoperf.runner.settings import Settings

TOY_FOLDER = Path(__file__).parent / "toy"
sys.path.insert(0, str(TOY_FOLDER))


class FakeTime:
    """A clock's `now` that moves only when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Settings]:
    """Makes the toy workload and backend known; returns a maker of settings for it."""
    import toy_workload

    definition = toy_workload.DEFINITION
    known = {name: definition.named(name) for name in definition.names()}
    monkeypatch.setattr(registry, "definitions", lambda: known)
    monkeypatch.setattr(registry, "module", lambda wing, folder, name: toy_workload)
    monkeypatch.setitem(
        frameworks.FRAMEWORKS, "toy", frameworks.Framework("toy_backend", "toy")
    )
    toy_workload.prepare(tmp_path / "data")
    space = tmp_path / "space.json"
    space.write_text('{"learning_rate": {"min": 0.05, "max": 0.5, "scaling": "log"}}')

    def settings(**changes: object) -> Settings:
        values = {
            "submission_path": TOY_FOLDER / "sgd.py",
            "framework": "toy",
            "workload": "blobs",
            "experiment_dir": tmp_path / "experiments",
            "experiment_name": "sgd",
            "data_dir": tmp_path / "data",
            "search_space": space,
            "num_trials": 2,
            "num_studies": 1,
            "isolate": False,
        }
        return Settings(**{**values, **changes})

    return settings
